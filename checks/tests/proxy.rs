//! Connections through a proxy that delays, cuts, resets: see `checks proxy`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{BACKENDS, checks, run};

const SEEDS: usize = 100;

#[test]
fn connections_through_a_proxy() {
    let outcome = run(checks(&["proxy", "--seeds"]).arg(SEEDS.to_string()));
    outcome.assert_ok("proxy");
    let skipped = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("skipped"));
    let skipped = skipped.inspect(|line| println!("{line}")).count();
    let passed = (BACKENDS.len() - skipped) * SEEDS;
    let last = outcome.stdout.lines().last().unwrap();
    assert!(
        last.starts_with(&format!("{passed} passed, 0 failed, ")),
        "{last}"
    );
}
