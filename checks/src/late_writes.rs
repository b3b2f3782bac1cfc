//! Looks for writes that come too late (I3, I5): runs the tests that watch the memory of operations that
//! are over, or whose driver is gone, again and again, on each backend.

use crate::Options;
use crate::suite::{Suite, module};
use completeio_driver::driver::{Backend, Driver};
use std::process;

/// The files of the contract suite whose memory is mapped twice.
const FILES: [&str; 2] = ["kinds", "memory"];

const BACKENDS: [Backend; 3] = [Backend::IoUring, Backend::Readiness, Backend::Sim];

/// Counts runs, of a round on a backend each.
pub(crate) fn run(options: &Options) {
    println!("building the suite");
    let suite = Suite::build("target/late-writes", "");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for backend in BACKENDS {
        let name = module(backend);
        let is_here = backend == Backend::Sim || Driver::builder().backend(backend).build().is_ok();
        if !is_here {
            println!("skipped: {name}");
            skipped += options.rounds;
            continue;
        }
        let filters = FILES.map(|file| format!("{file}::{name}::"));
        for round in 1..=options.rounds {
            let Some(how) = suite.fails(&filters, &[]) else {
                passed += 1;
                continue;
            };
            println!(
                "FAILED: {name}, round {round}: {how}; see {}",
                suite.log().display()
            );
            failed += 1;
            break; // Its log would be overwritten.
        }
        println!("{name}: done");
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    process::exit(i32::from(failed > 0));
}
