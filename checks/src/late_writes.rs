//! Looks for writes that come too late (I3, I5): runs the tests that watch the memory of operations
//! that are over, or whose driver is gone, again and again, on each backend.

use crate::suite::Suite;
use crate::{Options, watch};
use checks::summary::Summary;
use completeio_driver::driver::{Backend, Driver};

/// The suite's columns, the backends that they need, and their tests whose memory is mapped twice.
/// The simulated one is part of the suite.
const COLUMNS: [(&str, Option<Backend>, &[&str]); 3] = [
    (
        "io_uring",
        Some(Backend::IoUring),
        &["kinds::io_uring::", "memory::io_uring::"],
    ),
    (
        "readiness",
        Some(Backend::Readiness),
        &["kinds::readiness::", "memory::readiness::"],
    ),
    ("sim", None, &["kinds::sim::"]),
];

/// Counts runs, of a round on a backend each.
pub(crate) fn run(options: &Options) {
    watch(0); // It bounds its children itself.
    println!("building the suite");
    let suite = Suite::build("target/late-writes", "");
    let (rounds, mut summary) = (options.rounds as u64, Summary::default());
    for (name, backend, tests) in COLUMNS {
        let is_here = |backend| Driver::builder().backend(backend).build().is_ok();
        if !backend.is_none_or(is_here) {
            summary.skip(rounds, format_args!("{name}: there is no driver"));
            continue;
        }
        for round in 1..=rounds {
            let Some(how) = suite.fails(tests, &[]) else {
                summary.passed += 1;
                continue;
            };
            println!(
                "FAILED: {name}, round {round}: {how}; see {}",
                suite.log().display()
            );
            summary.failed += 1;
            break; // Its log would be overwritten.
        }
        println!("{name}: done");
    }
    summary.end();
}
