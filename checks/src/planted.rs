//! Tests the tests: the contract suite must turn red for each defect that is planted in the driver.
//!
//! [`DEFECTS`] is the one list of them. A defect stands where the real one would be, behind
//! `planted!` (`driver/src/planted.rs`); one build with `--cfg planted` has all of them, and the
//! environment names the one that is active.

use crate::suite::{Suite, module};
use crate::{Options, watch};
use checks::summary::Summary;
use completeio_driver::driver::{Backend, Driver};
use std::fmt;

/// What names the active defect to the driver.
const VARIABLE: &str = "COMPLETEIO_PLANTED";

const IO_URING: &[Backend] = &[Backend::IoUring];
const READINESS: &[Backend] = &[Backend::Readiness];
const BOTH: &[Backend] = &[Backend::IoUring, Backend::Readiness];

/// One planted defect.
struct Defect {
    name: &'static str,
    /// What goes wrong.
    what: &'static str,
    /// On which backends.
    on: &'static [Backend],
    /// The tests that catch it: `module::`, or `module::test`, of `driver/tests/contract/`.
    tests: &'static [&'static str],
}

macro_rules! defects {
    ($($name:literal $on:ident [$($test:literal),+] $what:literal;)*) => {
        &[$(Defect { name: $name, what: $what, on: $on, tests: &[$($test),+] }),*]
    };
}

#[rustfmt::skip]
const DEFECTS: &[Defect] = defects! {
    // What completes, and how often.
    "cancelled-lost" BOTH ["cancel::"]
        "what was cancelled never completes";
    "cancelled-doubled" BOTH ["cancel::"]
        "what was cancelled completes twice";
    "enoent-lost" BOTH ["errors::"]
        "results that say ENOENT are filtered out";
    "completion-late" BOTH ["outputs::"]
        "the last completion there is comes with the next one";
    "credit-kept" BOTH ["full::"]
        "a credit is not given back";
    "count-off-by-one" BOTH ["outputs::"]
        "a transfer counts a byte less than it moved";
    "part-for-the-whole" BOTH ["exact::"]
        "a part of an exact operation is taken for the whole";
    // Cancellations.
    "cancel-shares-key" IO_URING ["cancel::"]
        "a cancellation completes under the key of what it cancels";
    "accept-not-cancelled" IO_URING ["cancel::all_of_one_user_data_are_cancelled"]
        "what makes descriptors is not cancelled by its user data";
    "exact-goes-on" BOTH ["exact::"]
        "an exact operation that was cancelled goes on after a part";
    // Ends.
    "drop-does-not-drain" BOTH ["memory::", "teardown::"]
        "a driver's drop does not wait for the kernel, or for workers";
    "drop-publishes" BOTH ["teardown::"]
        "a driver's drop hands over what was only pushed";
    "dropped-leaks" BOTH ["teardown::"]
        "a driver's drop leaks the descriptors that it reaps";
    "disposed-leaks" BOTH ["outputs::", "scope_end::"]
        "a result that is disposed of leaks its descriptor";
    // Time.
    "timer-early" READINESS ["timers::"]
        "timers fire before their time";
    "time-rounded-down" BOTH ["timers::"]
        "times are rounded down to milliseconds";
    "deadline-not-told" BOTH ["deadlines::"]
        "a deadline that has passed says ECANCELED";
    // Wake-ups.
    "wake-up-lost" BOTH ["wake::"]
        "a notifier does not wake who sleeps";
    "wake-up-forgotten" BOTH ["wake::"]
        "a wake-up that comes before the wait does not end it";
    // Descriptors.
    "fixed-kept" BOTH ["descriptors::"]
        "a fixed descriptor that was given up stays in the table";
    "half-registered" IO_URING ["descriptors::"]
        "a registration that fails midway is taken for a success";
    "file-not-held" READINESS ["descriptors::"]
        "a worker goes by the number of an attached file, not by the duplicate";
    "queue-jumped" READINESS ["outputs::"]
        "an operation overtakes those that wait";
    "wrong-direction" READINESS ["message::"]
        "what sends a message waits until it can be read";
    "registration-lost" READINESS ["stream::", "outputs::"]
        "a descriptor is watched for one event only";
    "one-waiter-served" READINESS ["outputs::"]
        "an event serves one of several that wait";
    // The safe layer.
    "done-not-disposed" BOTH ["scope_end::"]
        "a `Done` that is dropped does not dispose of its result";
    "loan-kept" BOTH ["scope::", "scope_end::"]
        "a loan stays in the scope's list after its completion";
    "scope-does-not-wait" BOTH ["scope_end::", "forgotten::"]
        "a scope ends with operations in flight";
    "orphan-kept" BOTH ["slots::"]
        "the slot of an orphan is not freed";
};

/// One run of a defect on a backend, as it is shown.
struct Run {
    defect: &'static Defect,
    backend: Backend,
}

impl Run {
    /// The names of tests that are enough, as the test harness takes them.
    fn filters(&self) -> impl Iterator<Item = String> {
        let backend = module(self.backend);
        self.defect.tests.iter().map(move |test| {
            let (file, name) = test.split_once("::").expect("a module and a test");
            format!("{file}::{backend}::{name}")
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { defect, backend } = self;
        write!(f, "{}, {}: {}", defect.name, module(*backend), defect.what)
    }
}

/// Runs the suite once for each of the defects on each backend, all of them if none is named.
pub(crate) fn run(options: &Options) {
    watch(0); // It bounds its children itself.
    let names = &options.names;
    let is_known = |name: &&String| DEFECTS.iter().any(|defect| defect.name == **name);
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        let known: Vec<_> = DEFECTS.iter().map(|defect| defect.name).collect();
        crate::fail(format_args!("no defect is named {name}, but {known:?}"));
    }
    let runs: Vec<Run> = DEFECTS
        .iter()
        .filter(|defect| names.is_empty() || names.iter().any(|name| name == defect.name))
        .flat_map(|defect| defect.on.iter().map(move |on| (defect, *on)))
        .map(|(defect, backend)| Run { defect, backend })
        .collect();
    let (possible, skipped): (Vec<_>, Vec<_>) = runs
        .iter()
        .partition(|run| Driver::builder().backend(run.backend).build().is_ok());

    println!("building the suite with its defects");
    let suite = Suite::build("target/planted", "--cfg planted");
    let mut all = Vec::new(); // That is the whole suite.
    if !names.is_empty() {
        all.extend(possible.iter().flat_map(|run| run.filters()));
    }
    if let Some(how) = suite.fails(&all, &[]) {
        crate::fail(format_args!("without a defect: {how}"));
    }
    println!("without a defect: green");
    let mut missed = 0;
    for run in &possible {
        let filters: Vec<String> = run.filters().collect();
        match suite.fails(&filters, &[(VARIABLE, run.defect.name)]) {
            Some(how) => println!("caught: {run} ({how})"),
            None => {
                println!("NOT CAUGHT: {run}");
                missed += 1;
            }
        }
    }
    for run in &skipped {
        println!("skipped: {}: {run}", run.backend);
    }
    let summary = Summary {
        passed: possible.len() as u64 - missed,
        failed: missed,
        skipped: skipped.len() as u64,
    };
    summary.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// The names that `planted!` is asked for in the sources below a directory.
    fn planted(dir: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                planted(&path, names);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let asked = text.split("planted!(\"").skip(1);
            names.extend(asked.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }

    /// Each defect of the list stands in the driver, and no other.
    #[test]
    fn the_list_is_whole() {
        let mut there = BTreeSet::new();
        let sources = crate::programs::package("driver").join("src");
        planted(&sources, &mut there);
        let listed: Vec<_> = DEFECTS
            .iter()
            .map(|defect| defect.name.to_owned())
            .collect();
        assert_eq!(there, listed.iter().cloned().collect());
        assert_eq!(there.len(), listed.len(), "each has a name of its own");
    }
}
