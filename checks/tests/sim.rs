//! Random scripts on simulated hosts: see `checks sim`.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{CHECKS, checks, run};
use std::process::Command;

/// So many scripts; fewer where each takes long, for `.ci/run` has a thousand anyway.
const SEEDS: u32 = if cfg!(debug_assertions) { 200 } else { 1000 };

#[test]
fn scripts_on_simulated_hosts() {
    let seeds = SEEDS.to_string();
    // Each script is under the program's own watchdog; all of them take as long as they take.
    let mut program = Command::new(CHECKS);
    let outcome = run(program.args(["sim", "--seeds", &seeds]));
    outcome.assert_ok("a script fails");
    assert_eq!(
        outcome.line(),
        format!("{SEEDS} passed, 0 failed, 0 skipped")
    );
}

#[test]
fn what_there_is_to_run() {
    let outcome = run(&mut checks(&["list"]));
    outcome.assert_ok("list");
    let names = outcome.stdout.lines().map(|line| {
        let end = line.find([' ', ':']).unwrap();
        &line[..end]
    });
    let names: Vec<&str> = names.collect();
    for name in [
        "list",
        "sim",
        "differential",
        "proxy",
        "soak",
        "inject",
        "planted",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}
