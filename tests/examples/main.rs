//! The examples do what they say, on every backend that works here.
//!
//! They are run as programs. `cargo test` builds them; `cargo test --test examples` alone does not
//! build them anew. What needs a tool that is not installed is skipped, and says so.
#![cfg(feature = "runtime")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod files;
#[cfg(all(unix, feature = "signal"))] // A shell, and signals.
mod follow;
mod kit;
mod servers;
#[cfg(unix)] // Windows has none of them.
mod tools;

use common::code;
use kit::{backends, command, example, fail, succeed};
#[cfg(feature = "sim")]
use kit::{run, text};
use std::process::Command;

#[test]
fn every_example_explains_itself() {
    let http = cfg!(feature = "hyper").then_some("http");
    let follow = cfg!(feature = "signal").then_some("follow");
    let others = [
        "cat",
        "cp",
        "cp_tasks",
        "echo",
        "timer",
        "doctor",
        "remote",
        "echo_tasks",
        "forward",
    ];
    for name in others.into_iter().chain(http).chain(follow) {
        let help = succeed(Command::new(example(name)).arg("--help"));
        assert!(help.starts_with(&format!("usage: {name}")), "{help}");
        let error = fail(Command::new(example(name)).arg("--no-such-option"), 2);
        assert!(error.contains("--no-such-option"), "{error}");
    }
}

#[test]
fn doctor_reports() {
    let report = kit::doctor();
    for key in [
        "kernel: ",
        "sysctl kernel.io_uring_disabled: ",
        "open files (ulimit -n): ",
        "locked memory (ulimit -l): ",
        "the default choice:\nbackend: ",
        "operations:\n",
        "ReadAt: ",
    ] {
        assert!(report.contains(key), "{key:?} is missing in:\n{report}");
    }
    for backend in kit::BACKENDS {
        let line = format!("\n{backend}: ");
        assert!(report.contains(&line), "{line:?} is missing in:\n{report}");
    }
    for &backend in backends() {
        let report = succeed(&mut command("doctor", backend));
        let choice = format!("backend: {backend} (asked for by COMPLETEIO_BACKEND)");
        assert!(report.contains(&choice), "{report}");
    }
}

#[test]
fn timer_is_never_early() {
    for &backend in backends() {
        let report = succeed(&mut command("timer", backend));
        let cancelled = format!("cancelled: Err(Os {{ code: {}", code::ECANCELED);
        for key in [
            "no entry, after 1",
            &cancelled,
            "\nrelative         16",
            "\nabsolute         16",
            "\nrealtime         16",
            "\n0 early\n",
        ] {
            assert!(
                report.contains(key),
                "{backend}: {key:?} is missing in:\n{report}"
            );
        }
    }
}

#[cfg(feature = "sim")]
#[test]
fn crashes_are_survived_and_a_careless_store_is_found() {
    let said = succeed(Command::new(example("crashes")).args(["--seeds", "200"]));
    assert_eq!(said, "200 machines have crashed, and nothing was lost\n");
    let found = run(Command::new(example("crashes")).arg("--careless"));
    assert_eq!(found.status.code(), Some(1));
    let said = text(&found.stderr);
    // Which seed, is the generator's affair; no fault is needed.
    for part in [
        "seed ",
        "what was acknowledged is there",
        "short: 0.0",
        "store crashes",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
