//! I33: sequences of operations, on each backend and by plain system calls. More of them:
//! `cargo run --release -p checks -- differential --cases N`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{BACKENDS, Scratch, checks, run};

/// Few, and always the same.
#[test]
fn sequences_end_alike() {
    let dir = Scratch::new();
    let args = ["--cases", "64", "--seed", "1", "--dir", dir.str()];
    let outcome = run(checks(&["differential"]).args(args));
    outcome.assert_ok("differential");
    for line in outcome.stdout.lines() {
        // A backend that is not there is told.
        if line.starts_with("skipped") {
            println!("{line}");
        }
    }
    let counted = outcome.stdout.lines().last().unwrap();
    let numbers: Vec<usize> = counted.split(' ').filter_map(|n| n.parse().ok()).collect();
    assert_eq!(numbers[1], 0, "{counted}");
    assert_eq!(numbers[0] + numbers[2], 2 * 64, "{counted}");
    assert!(numbers[0] <= BACKENDS.len() * 64, "{counted}");
}
