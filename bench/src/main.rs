//! Measures the drivers and the runtime against hand-written loops and other runtimes.
//!
//! `cargo run --release -p bench -- [WORKLOAD …] [OPTIONS]`; see `options`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints tables, and its tests"
)]

mod bars;
mod by_hand;
mod chart;
mod counted;
mod driver;
mod epoll;
mod job;
mod json;
mod load;
mod measure;
mod metric;
mod options;
mod peers;
mod process;
mod raw;
mod report;
mod runtime;
mod scene;
mod subject;
mod suite;
mod table;

use crate::job::Runner;
use crate::measure::{alternate, each};
use crate::options::{Options, usage};
use crate::process::Program;
use crate::report::Found;
use crate::subject::Kind;
use crate::suite::{Case, Workload, instructions};
use crate::table::Table;
use bench::{child, machine, work};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, thread};

const EXPLAINED: &str = "\
Each run stands between two of the table's reference, and × is its main figure by the mean of
theirs. The reference against itself is the noise; a median inside of it, or a range that includes
1, is a tie: from five rounds on, both ranges without their extremes. `/epoll`: on that backend;
`/fixed`: the file is registered; `+`: a peer set up for one thread whose work is done when it
waits.";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Some((child::COMMAND, args)) = args.split_first().map(|(first, args)| (&**first, args)) {
        return work::main(args, subject::run);
    }
    let done = Options::parse(&args)
        .map_err(|error| format!("{error}\n\n{}", usage()))
        .and_then(|options| run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.real_time {
        let allowed = thread::spawn(machine::run_first).join();
        let allowed = allowed.map_err(|_| "--real-time: a panic")?;
        allowed.map_err(|e| format!("--real-time: {e}"))?;
    }
    let (measured, load) = machine::cpus();
    if measured == load {
        println!("There is one CPU only: servers and their load share it.");
    }
    let groups = groups(options);
    let peers = groups.iter().flat_map(|group| &group.cases);
    let mut peers = peers.flat_map(|case| &case.others);
    let runner = Runner {
        ours: Program::new(env::current_exe().map_err(|e| e.to_string())?),
        peers: match peers.any(|subject| subject.kind == Kind::Peer) {
            true => peers::build(),
            false => Err("nobody asked for it".to_owned()),
        },
        real_time: options.real_time,
    };
    let scene = scene::describe();
    println!("{scene}\n\n{EXPLAINED}");
    let mut all = Vec::new();
    for group in groups {
        let cases = group.cases.into_iter();
        let found: Vec<Found> = cases.map(|case| measure(&runner, case)).collect();
        println!("\n{}: median [min–max]\n", group.name);
        print(&report::table(&found));
        println!("\nIt does not show {}.", group.not_shown);
        all.extend(found);
    }
    println!("\nbars\n");
    print(&bars::table(&all));
    if options.charts {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        for found in all.iter().filter(|found| found.case.is_telling) {
            chart::draw(found, &scene, &directory)?;
        }
    }
    let Some(file) = &options.json else {
        return Ok(());
    };
    let objects: Vec<String> = all.iter().flat_map(Found::objects).collect();
    let json = format!("[\n{}\n]\n", objects.join(",\n"));
    fs::write(file, json).map_err(|e| format!("{file}: {e}"))
}

/// The cases of one table.
struct Group {
    name: &'static str,
    not_shown: &'static str,
    cases: Vec<Case>,
}

fn groups(options: &Options) -> Vec<Group> {
    let mut groups: Vec<Group> = if options.instructions {
        let counted = options.workloads.iter();
        let cases = counted.flat_map(|workload| instructions(workload.name, options.effort));
        vec![Group {
            name: "instructions",
            not_shown: "time: the kernel's share, cache misses and the price of a system call \
                        are no instructions of theirs",
            cases: cases.collect(),
        }]
    } else {
        let group = |workload: &&'static Workload| Group {
            name: workload.name,
            not_shown: workload.not_shown,
            cases: (workload.cases)(options.effort),
        };
        options.workloads.iter().map(group).collect()
    };
    let cases = groups.iter_mut().flat_map(|group| &mut group.cases);
    cases.for_each(|case| case.only(&options.wanted));
    groups
}

fn measure(runner: &Runner, case: Case) -> Found {
    let Case {
        reference, others, ..
    } = &case;
    eprintln!(
        "{}: {} beside {} …",
        case.title(),
        others.len(),
        reference.name
    );
    let run = |subject| (case.run)(runner, subject);
    let series = if case.is_counted {
        let subjects = std::iter::once(reference).chain(others);
        each(case.rounds, subjects.copied(), run)
    } else {
        alternate(case.rounds, case.metrics[0], *reference, others, run)
    };
    Found { case, series }
}

fn print(table: &Table) {
    for line in table.lines() {
        println!("{line}");
    }
}
