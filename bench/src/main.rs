//! Measures the drivers against hand-written loops on the same kernel interfaces.
//!
//! `cargo run --release -p bench -- [nop] [echo] [epoll] [remote] [OPTIONS]`; see `USAGE`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that prints tables, and its tests"
)]

mod callgrind;
mod calls;
mod echo;
mod epoll;
mod load;
mod measure;
mod nop;
mod raw;
mod remote;
mod report;
mod runtime;

use crate::measure::{Goal, alternate};
use crate::report::{Group, Report};
use completeio_driver::driver::Backend;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

const USAGE: &str = "\
cargo run --release -p bench -- [nop] [echo] [epoll] [remote] [OPTIONS]

  nop, echo       the workloads; both unless one is named
  epoll           the echo again, of those that wait by epoll, beside the loop by hand
  remote          what a `Remote` costs, by the driver alone; no instructions
  --quick         few and short runs: an impression in less than two minutes
  --instructions  counts user-space instructions with valgrind, instead of time
  --calls         counts the echo's system calls with perf, instead of time
  --real-time     runs before everything else on the machine (SCHED_FIFO): less noise
  --json FILE     writes the numbers to FILE too";

/// What was asked for.
struct Options {
    nop: bool,
    echo: bool,
    epoll: bool,
    remote: bool,
    quick: bool,
    instructions: bool,
    calls: bool,
    real_time: bool,
    json: Option<String>,
}

impl Options {
    fn parse(args: &[String]) -> Option<Self> {
        let mut options = Self {
            nop: false,
            echo: false,
            epoll: false,
            remote: false,
            quick: false,
            instructions: false,
            calls: false,
            real_time: false,
            json: None,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "nop" => options.nop = true,
                "echo" => options.echo = true,
                "epoll" => options.epoll = true,
                "remote" => options.remote = true,
                "--quick" => options.quick = true,
                "--instructions" => options.instructions = true,
                "--calls" => options.calls = true,
                "--real-time" => options.real_time = true,
                "--json" => options.json = Some(args.next()?.clone()),
                _ => return None,
            }
        }
        if !options.nop && !options.echo && !options.epoll && !options.remote {
            (options.nop, options.echo) = (true, true);
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    measure::raise_open_files();
    let result = match args.first().map(String::as_str) {
        Some(load::COMMAND) => load::main(&args[1..]).map_err(|e| e.to_string()),
        Some(command @ (callgrind::COUNT_NOP | callgrind::COUNT_ECHO)) => {
            callgrind::child(command, &args[1..])
        }
        _ => match Options::parse(&args) {
            Some(options) => run(&options),
            None => Err(USAGE.to_owned()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.real_time {
        // Threads and processes that are started from here inherit it.
        measure::run_first().map_err(|e| format!("--real-time: {e}"))?;
    }
    let (measured, load) = measure::cpus();
    if measured == load {
        println!("There is one CPU only: the load of `echo` and its server share it.");
    }
    let mut report = Report::default();
    if options.calls {
        echo_calls(&mut report);
    }
    if options.instructions {
        if options.nop {
            nop_instructions(&mut report);
        }
        if options.echo {
            echo_instructions(&mut report, if options.quick { 1 } else { 3 });
        }
    }
    if !options.calls && !options.instructions {
        if options.nop {
            nop_times(&mut report, options.quick);
        }
        if options.echo {
            let peers = &echo::Peer::OTHERS;
            echo_times(&mut report, echo::Peer::Raw, peers, options.quick);
        }
        if options.epoll {
            let peers = &echo::Peer::ON_EPOLL;
            echo_times(&mut report, echo::Peer::Epoll, peers, options.quick);
        }
        if options.remote {
            remote_times(&mut report, options.quick);
        }
    }
    match &options.json {
        Some(file) => report.write_json(file).map_err(|e| format!("{file}: {e}")),
        None => Ok(()),
    }
}

fn nop_times(report: &mut Report, quick: bool) {
    let (rounds, time) = if quick { (5, 60) } else { (11, 250) };
    let time = Duration::from_millis(time);
    let mut groups = Vec::new();
    for batch in nop::BATCHES {
        eprintln!("nop, batch {batch}: {rounds} rounds …");
        // Each run has a thread of its own: the threads' rings end with them.
        let run = |peer: nop::Peer| {
            let run = move || {
                measure::pin(measure::cpus().0);
                nop::run(peer, batch, Goal::Time(time))
            };
            thread::spawn(run)
                .join()
                .unwrap_or_else(|_| Err("it panicked".to_owned()))
        };
        let series = alternate(
            rounds,
            nop::Peer::Raw,
            &nop::Peer::OTHERS,
            nop::Peer::name,
            run,
        );
        groups.push(Group {
            size: u64::from(batch),
            series,
        });
    }
    report.times(
        "nop",
        "batch",
        &groups,
        "It does not show what a program gains or loses: NOPs neither wait nor move bytes, so that \
         the driver's own cost is as visible here as it can be, and readiness, which completes \
         them in place, makes no system call at all.",
    );
}

fn echo_times(report: &mut Report, reference: echo::Peer, peers: &[echo::Peer], quick: bool) {
    let (rounds, warm_up, window) = if quick { (3, 80, 350) } else { (7, 200, 1000) };
    let (warm_up, window) = (
        Duration::from_millis(warm_up),
        Duration::from_millis(window),
    );
    let mut groups = Vec::new();
    for connections in echo::CONNECTIONS {
        eprintln!("echo, {connections} connections: {rounds} rounds …");
        let run = |peer: echo::Peer| match peer.why_not() {
            Some(reason) => Err(reason),
            None => echo::run(peer, connections, warm_up, window),
        };
        let series = alternate(rounds, reference, peers, echo::Peer::name, run);
        groups.push(Group {
            size: connections as u64,
            series,
        });
    }
    report.times(
        "echo",
        "connections",
        &groups,
        "It does not show latency, large messages, accepting and closing, a real network, or more \
         than one server thread; and work that the kernel does on the load's CPU is not counted.",
    );
}

fn remote_times(report: &mut Report, quick: bool) {
    let (rounds, time) = if quick { (3, 60) } else { (7, 200) };
    let time = Duration::from_millis(time);
    for backend in [Backend::IoUring, Backend::Readiness] {
        for work in remote::Work::ALL {
            eprintln!("remote, {backend}, {}: {rounds} rounds …", work.name());
            let groups: Vec<_> = remote::IN_FLIGHT
                .iter()
                .map(|&in_flight| Group {
                    size: in_flight as u64,
                    series: alternate(
                        rounds,
                        remote::Peer::Alone,
                        &remote::Peer::OTHERS,
                        remote::Peer::name,
                        |peer| match echo::why_not(backend) {
                            Some(reason) => Err(reason),
                            None => remote::run(peer, work, backend, in_flight, time),
                        },
                    ),
                })
                .collect();
            report.remote(&backend.to_string(), work.name(), &groups);
        }
    }
}

fn nop_instructions(report: &mut Report) {
    let mut counts = Vec::new();
    for batch in nop::BATCHES {
        eprintln!("nop, batch {batch}: counting …");
        for peer in std::iter::once(nop::Peer::Raw).chain(nop::Peer::OTHERS) {
            let count = callgrind::nops(peer, batch);
            counts.push((u64::from(batch), peer.name(), count));
        }
    }
    report.counts("nop", "batch", &counts);
}

fn echo_calls(report: &mut Report) {
    let mut counts = Vec::new();
    for connections in echo::CONNECTIONS {
        eprintln!("echo, {connections} connections: counting system calls …");
        for peer in std::iter::once(echo::Peer::Raw).chain(echo::Peer::OTHERS) {
            let calls = calls::echoes(peer, connections);
            counts.push((connections as u64, peer.name(), calls));
        }
    }
    report.calls(&counts);
}

fn echo_instructions(report: &mut Report, runs: usize) {
    const CONNECTIONS: usize = 50;
    let mut counts = Vec::new();
    eprintln!("echo, {CONNECTIONS} connections: counting …");
    for peer in std::iter::once(echo::Peer::Raw).chain(echo::Peer::OTHERS) {
        let count = callgrind::echoes(peer, CONNECTIONS, runs);
        counts.push((CONNECTIONS as u64, peer.name(), count));
    }
    report.counts("echo", "connections", &counts);
}
