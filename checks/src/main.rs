//! Checks, a subcommand each. What people run is told in CONTRIBUTING.md, and ends with a line `N
//! passed, N failed, N skipped`; the others are what the tests of `tests/` run as their children.
//!
//! Each is a bounded program on the driver's public API. Exit status: 0, all was well; 1, something
//! was not, and stderr says what; 2, wrong arguments; 3, the driver could not be made, and stdout
//! says why. A program that hangs is killed by an alarm.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "programs for tests"
)]

/// Ends the process with status 1 unless the condition holds. Nothing is dropped on the way: there
/// may be operations in flight.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            crate::fail(format_args!($($message)+));
        }
    };
}

mod differential;
mod forks;
mod inject;
mod late_writes;
mod limits;
mod options;
mod pattern;
mod planted;
mod process;
mod programs;
mod proxy;
mod quiet;
mod seccomp;
mod session;
mod setup;
mod skips;
mod soak;
mod suite;
mod tasks;
mod victim;

use self::options::{COMMON, Options};
use self::process::{ALARM_S, expect_one_thread, fail, marker, open_fds, watch};
use checks::{progress, random, summary};
use std::{env, fmt};

/// A subcommand: its name, its arguments, what it is for.
struct Subcommand {
    name: &'static str,
    arguments: &'static str,
    purpose: &'static str,
    run: fn(&Options),
}

impl fmt::Display for Subcommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.arguments.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}", self.name, self.arguments)
    }
}

macro_rules! subcommands {
    ($($(#[$attribute:meta])* $name:literal $arguments:literal $purpose:literal $run:expr),* $(,)?) => {
        const SUBCOMMANDS: &[Subcommand] = &[$($(#[$attribute])* Subcommand {
            name: $name,
            arguments: $arguments,
            purpose: $purpose,
            run: $run,
        }),*];
    };
}

subcommands! {
    "list" "" "what subcommands there are" list,
    #[cfg(feature = "sim")]
    "sim" "--seeds N [--ops N] [--seed FIRST]" "random scripts on simulated hosts" simulate,
    "differential" "--cases N [--seed N] [--dir DIR]"
        "the same operations on each backend and by plain system calls" differential::run,
    "proxy" "--seeds N [--seed FIRST]" "connections through a proxy that delays, cuts, resets"
        proxy::run,
    "soak" "[--minutes N] [--connections N] [--seed N]"
        "thousands of connections for minutes, on each backend" soak::run,
    "inject" "" "every system call fails, in every position" inject::run,
    "planted" "[NAME…]" "tests the tests, by defects that are planted in the driver" planted::run,
    "late-writes" "[--rounds N]" "watches the memory of operations that are over" late_writes::run,
    "skips" "RUN <LOG" "holds what a run has skipped to what is recorded in .ci/skips" skips::run,
    "soak-one" "--backend io_uring|readiness [--minutes N] [--connections N] [--seed N]"
        "the part of a soak that is one backend's" soak::run_one,
    "victim" "[OPTIONS] --work nop|net|file|timers|mixed --rounds N --dir DIR"
        "a workload, to be disturbed from outside" victim::run,
    "construct" "[OPTIONS] [--files-left N]" "makes a driver, and says what came of it"
        setup::construct,
    "emfile" "[OPTIONS]" "accepts without a free descriptor" limits::accept_without_descriptors,
    "fork" "[OPTIONS] --case calls|drop|exit|exec|unwind|notify|outlive|scope|scope-unwind --dir DIR"
        "forks with operations in flight" forks::run,
    "quiet" "[OPTIONS] --case awake|asleep|batch|backlog|echo|expiry"
        "does something, to have its system calls counted" quiet::run,
    "fds" "" "prints the open descriptors" |_| open_fds().iter().for_each(|fd| println!("{fd}")),
    // SAFETY: reads a number.
    "uid" "" "prints the effective user" |_| println!("{}", unsafe { libc::geteuid() }),
    "under-seccomp" "--forbid setup|enter|register|calls|all --errno N -- PROGRAM ARGS…"
        "runs a program that may not use io_uring" seccomp::run,
}

fn usage() -> ! {
    for subcommand in SUBCOMMANDS {
        eprintln!("checks {subcommand}");
    }
    eprintln!("\n{COMMON}");
    std::process::exit(2);
}

#[cfg(feature = "sim")]
fn simulate(options: &Options) {
    let first = options.seed.unwrap_or(0);
    let seeds = first..first.saturating_add(options.seeds);
    checks::sim::run(seeds, options.ops, || watch(ALARM_S)).end();
}

fn list(_: &Options) {
    for subcommand in SUBCOMMANDS {
        println!("{subcommand}: {}", subcommand.purpose);
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let name = args.next().unwrap_or_else(|| usage());
    let options = Options::parse(args);
    watch(ALARM_S);
    let subcommand = SUBCOMMANDS
        .iter()
        .find(|subcommand| subcommand.name == name);
    (subcommand.unwrap_or_else(|| usage()).run)(&options);
}
