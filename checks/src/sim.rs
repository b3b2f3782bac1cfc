//! Random scripts on simulated hosts, and a ledger that nothing gets past.
//!
//! A script is drawn from a seed (`script`): operations of every family, pushed in each way there is,
//! cancelled, lost with their drivers and hosts. It is carried out by a driver on each of two hosts
//! (`machine`, `side`), with what each operation may come to (`calls`), and what the disks and
//! the network are known to hold (`disk`, `network`).

mod calls;
mod disk;
mod expect;
mod machine;
mod network;
mod plan;
mod script;
mod side;

use crate::Options;
use completeio_driver::sim::{Failure, Faults, World, search};
use network::Role;
use script::Script;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process;
use std::time::{Duration, Instant};

/// What is cancelled by its descriptor, and closed whatever is in flight on it.
const CANCELLED: &[Role] = &[
    Role::Connected,
    Role::Unix,
    Role::Reader,
    Role::Writer,
    Role::Tcp,
];

/// Every so many seeds are run twice, to see whether they repeat.
const REPEATED: u64 = 16;

/// So many failures are told in full.
const REPORTED: u64 = 3;

/// How often the progress is told, but on a terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

pub(crate) fn run(options: &Options) {
    let first = options.seed.unwrap_or(0);
    let seeds = first..first.saturating_add(options.seeds);
    let (mut failed, mut told) = (0, Instant::now());
    let is_watched = io::stderr().is_terminal();
    panic::set_hook(Box::new(only_the_second));
    for seed in seeds.clone() {
        crate::watch();
        if let Some(report) = check(seed, options.ops, failed < REPORTED) {
            failed += 1;
            println!("{report}");
        }
        let done = seed - seeds.start + 1;
        let line = format!("{done} of {} seeds, {failed} failed", options.seeds);
        if is_watched {
            eprint!("\r{line}");
        } else if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("{line}");
        }
    }
    if is_watched {
        eprintln!();
    }
    println!(
        "{} passed, {failed} failed, 0 skipped",
        options.seeds - failed
    );
    process::exit(i32::from(failed > 0));
}

thread_local! {
    /// Whether a run has panicked.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// A panic is part of a report, but for one on the way out of another: that ends the process.
fn only_the_second(panic: &panic::PanicHookInfo<'_>) {
    if PANICKED.replace(true) {
        eprintln!("after a first panic: {panic}");
    }
}

fn run_once(world: &World, script: &Script, faults: &Faults) {
    PANICKED.set(false);
    machine::run(world, script, faults);
}

/// Half of the seeds have the faults that any program must bear, half have all.
fn faults(seed: u64) -> Faults {
    if seed % 2 == 0 {
        Faults::default()
    } else {
        Faults::all()
    }
}

/// One seed; how it fails, if it does: in full, or in a line.
fn check(seed: u64, ops: usize, in_full: bool) -> Option<String> {
    let script = Script::draw(seed, ops);
    let faults = faults(seed);
    let found = search(seed..seed + 1, &faults, |world| {
        run_once(world, &script, &faults);
    });
    let trace = || {
        let world = World::new(seed, faults.clone());
        run_once(&world, &script, &faults);
        world.trace()
    };
    match found {
        Some(failure) if in_full => Some(report(seed, script, failure)),
        Some(failure) => Some(format!("seed {seed} fails, too: {}", failure.message)),
        None if seed % REPEATED == 0 => {
            let first = trace();
            // The numbers of descriptors are the real system's choice, and play no part.
            let _others = File::open("/dev/null");
            (trace() != first).then(|| format!("seed {seed} does not repeat:\n{script}"))
        }
        None => None,
    }
}

/// Takes steps out of a script for as long as it fails without them.
fn report(seed: u64, mut script: Script, failure: Failure) -> String {
    let fails = |script: &Script| {
        let world = World::new(failure.seed, failure.faults.clone());
        let run = || run_once(&world, script, &failure.faults);
        catch_unwind(AssertUnwindSafe(run)).is_err()
    };
    let steps = script.0.len();
    let mut size = steps;
    while size > 0 {
        let mut at = 0;
        while at < script.0.len() {
            let mut fewer = script.clone();
            fewer.0.drain(at..(at + size).min(fewer.0.len()));
            if fails(&fewer) {
                script = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    let shortest = search(failure.seed..failure.seed + 1, &failure.faults, |world| {
        run_once(world, &script, &failure.faults);
    });
    let failure = shortest.unwrap_or(failure);
    let left = script.0.len();
    format!("the script of seed {seed}: {left} of {steps} steps\n{script}{failure}")
}
