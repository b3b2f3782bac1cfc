//! Random scripts on simulated hosts, and a ledger that nothing gets past.
//!
//! A script is drawn from a seed, or spelled by bytes (`script`): operations of every family,
//! pushed in each way there is, cancelled, lost with their drivers and hosts. It is carried out by
//! a driver on each of two hosts (`machine`, `side`), with what each operation may come to
//! (`calls`), and what the disks and the network are known to hold (`disk`, `network`).

mod calls;
mod disk;
mod expect;
mod machine;
mod network;
mod plan;
mod script;
mod side;

use crate::progress::Progress;
use crate::summary::Summary;
use completeio_driver::sim::{Failure, Faults, World, search};
use network::Role;
use script::Script;
use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

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

/// Carries out the scripts of so many steps that these seeds give, after a `watch` for each, and
/// prints how those fail that do.
pub fn run(seeds: Range<u64>, steps: usize, watch: fn()) -> Summary {
    let (all, mut failed, mut progress) = (seeds.end - seeds.start, 0, Progress::begin());
    panic::set_hook(Box::new(only_the_second));
    for seed in seeds.clone() {
        watch();
        if let Some(report) = check(seed, Script::draw(seed, steps), failed < REPORTED) {
            failed += 1;
            progress.pause();
            println!("{report}");
        }
        let done = seed - seeds.start + 1;
        progress.tell(format_args!("{done} of {all} seeds, {failed} failed"));
    }
    progress.pause();
    Summary {
        passed: all - failed,
        failed,
        skipped: 0,
    }
}

/// Carries out the script that bytes spell, on a seed that is their first two. How it fails, if it
/// does, with the shortest script that does. Panics are printed by the process's hook on the way.
///
/// Other bytes at a place are another choice there, and leave the rest as it is where they can: for
/// who changes bytes to find scripts that do something new.
pub fn run_bytes(bytes: &[u8]) -> Option<String> {
    let (seed, steps) = bytes.split_first_chunk()?;
    check(
        u16::from_le_bytes(*seed).into(),
        Script::spelled(steps),
        true,
    )
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

/// A script on one seed; how it fails, if it does: in full, or in a line.
fn check(seed: u64, script: Script, in_full: bool) -> Option<String> {
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
