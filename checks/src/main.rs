//! What the process-level checks run as their children: see `tests/`; and, by themselves, `planted`,
//! which tests the tests, and `late-writes`, which repeats some.
//!
//! Each other subcommand is a small, bounded program on the driver's public API. Exit status: 0, all
//! was well; 1, something was not, and stderr says what; 2, wrong arguments; 3, the driver could not
//! be made, and stdout says why. A program that hangs is killed by an alarm. `sim` and `differential`
//! are for people too: see there.
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
mod late_writes;
mod limits;
mod planted;
mod quiet;
mod seccomp;
mod session;
mod setup;
mod suite;
mod victim;

use completeio_driver::driver::{Backend, Builder, Driver};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// After so many seconds a child is taken for hung, and dies by SIGALRM.
const ALARM_S: u32 = 60;

/// A subcommand: its name, its arguments, what it is for.
struct Subcommand {
    name: &'static str,
    arguments: &'static str,
    purpose: &'static str,
    run: fn(&Options),
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
    "list" "" "tells what subcommands there are" list,
    #[cfg(feature = "sim")]
    "sim" "--seeds N [--ops N] [--seed FIRST]" "random scripts on simulated hosts" simulate,
    "victim" "[OPTIONS] --work nop|net|file|timers|mixed --rounds N --dir DIR"
        "a workload, to be disturbed from outside" victim::run,
    "construct" "[OPTIONS] [--files-left N]" "makes a driver, and says what came of it"
        setup::construct,
    "emfile" "[OPTIONS]" "accepts without a free descriptor" limits::accept_without_descriptors,
    "fork" "[OPTIONS] --case calls|drop|exit|exec|unwind|notify|outlive|scope|scope-unwind --dir DIR"
        "forks with operations in flight" forks::run,
    "quiet" "[OPTIONS] --case awake|asleep|batch|backlog|echo|expiry"
        "does something, to have its system calls counted" quiet::run,
    "differential" "--cases N [--seed N] [--dir DIR]"
        "the same operations on each backend and by plain system calls" differential::run,
    "planted" "[NAME…]" "tests the tests, by defects that are planted in the driver" planted::run,
    "late-writes" "[--rounds N]" "watches the memory of operations that are over" late_writes::run,
    "fds" "" "prints the open descriptors" |_| open_fds().iter().for_each(|fd| println!("{fd}")),
    // SAFETY: reads a number.
    "uid" "" "prints the effective user" |_| println!("{}", unsafe { libc::geteuid() }),
    "under-seccomp" "--forbid setup|enter|register|calls|all --errno N -- PROGRAM ARGS…"
        "runs a program that may not use io_uring" seccomp::run,
}

const OPTIONS: &str = "\
OPTIONS: --backend io_uring|readiness  --workers N  --tolerate ERRNO";

/// The arguments of all subcommands.
#[derive(Debug, Default)]
struct Options {
    backend: Option<Backend>,
    workers: Option<usize>,
    /// An operation, or an attach, may fail with this number: it is done again.
    tolerate: Option<i32>,
    work: String,
    case: String,
    rounds: usize,
    cases: u32,
    seed: Option<u64>,
    dir: PathBuf,
    files_left: Option<u64>,
    forbid: String,
    errno: u32,
    seeds: u64,
    ops: usize,
    /// What is no option.
    names: Vec<String>,
    /// What follows `--`.
    command: Vec<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rounds: 1,
            cases: 64,
            seeds: 1000,
            ops: 200,
            ..Self::default()
        };
        while let Some(option) = args.next() {
            if option == "--" {
                options.command = args.collect();
                break;
            }
            if !option.starts_with("--") {
                options.names.push(option);
                continue;
            }
            let value = args.next().unwrap_or_else(|| usage());
            match option.as_str() {
                "--backend" => options.backend = Some(backend(&value)),
                "--workers" => options.workers = Some(number(&value)),
                "--tolerate" => options.tolerate = Some(number(&value)),
                "--work" => options.work = value,
                "--case" => options.case = value,
                "--rounds" => options.rounds = number(&value),
                "--cases" => options.cases = number(&value),
                "--seed" => options.seed = Some(number(&value)),
                "--dir" => options.dir = value.into(),
                "--files-left" => options.files_left = Some(number(&value)),
                "--forbid" => options.forbid = value,
                "--errno" => options.errno = number(&value),
                "--seeds" => options.seeds = number(&value),
                "--ops" => options.ops = number(&value),
                _ => usage(),
            }
        }
        options
    }

    /// The builder that these options ask for, small enough to be filled.
    fn builder(&self) -> Builder {
        let builder = Driver::builder()
            .entries(16)
            .in_flight(32)
            .workers(self.workers.unwrap_or(2));
        match self.backend {
            Some(backend) => builder.backend(backend),
            None => builder,
        }
    }
}

fn backend(name: &str) -> Backend {
    match name {
        "io_uring" => Backend::IoUring,
        "readiness" => Backend::Readiness,
        _ => usage(),
    }
}

fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| usage())
}

fn usage() -> ! {
    for Subcommand {
        name, arguments, ..
    } in SUBCOMMANDS
    {
        eprintln!("checks {name} {arguments}");
    }
    eprintln!("\n{OPTIONS}");
    process::exit(2);
}

/// Ends the process with status 1.
fn fail(message: impl Display) -> ! {
    eprintln!("failed: {message}");
    process::exit(1);
}

/// The open descriptors of this process and what they name, sorted.
fn open_fds() -> Vec<String> {
    let mut fds = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The one that reads the directory is closed by now, or names the directory itself.
        let Ok(target) = fs::read_link(&path) else {
            continue;
        };
        if target.to_string_lossy().ends_with("/fd") {
            continue;
        }
        let number = path.file_name().unwrap().to_string_lossy();
        fds.push(format!("{number} {}", target.display()));
    }
    fds.sort();
    fds
}

/// Waits until the calling thread is the only one of this process, but for the kernel's own
/// workers. A thread that was joined may be listed for a moment still.
fn expect_one_thread() {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut names = Vec::new();
        for task in fs::read_dir("/proc/self/task").unwrap() {
            // One that is gone meanwhile has no name.
            let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
            if !name.is_empty() && !name.starts_with("iou-") {
                names.push(name);
            }
        }
        if names.len() == 1 {
            return;
        }
        ensure!(Instant::now() < deadline, "threads are left: {names:?}");
        thread::yield_now();
    }
}

/// A system call that no driver makes: it marks a place in a trace.
fn marker() {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// The alarm goes off later.
fn watch() {
    // SAFETY: takes a number.
    unsafe { libc::alarm(ALARM_S) };
}

#[cfg(feature = "sim")]
fn simulate(options: &Options) {
    let first = options.seed.unwrap_or(0);
    let seeds = first..first.saturating_add(options.seeds);
    let have_passed = checks::sim::run(seeds, options.ops, watch);
    process::exit(i32::from(!have_passed));
}

fn list(_: &Options) {
    for Subcommand { name, purpose, .. } in SUBCOMMANDS {
        println!("{name:<14} {purpose}");
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let name = args.next().unwrap_or_else(|| usage());
    let options = Options::parse(args);
    if !["planted", "late-writes"].contains(&&*name) {
        watch(); // They bound their children themselves.
    }
    let subcommand = SUBCOMMANDS
        .iter()
        .find(|subcommand| subcommand.name == name);
    (subcommand.unwrap_or_else(|| usage()).run)(&options);
}
