//! I19, I20: a forked child does no harm, and what it executes inherits nothing.
//!
//! Each case is a process of its own, `checks fork`: it forks with a receive, an accept and a
//! timeout in flight and a nop that was pushed and not submitted, and they complete after the child
//! has done its part.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{BACKENDS, Scratch, checks, run};

fn case(case: &str) {
    for backend in BACKENDS {
        let dir = Scratch::new();
        let args = [
            "fork",
            "--backend",
            backend,
            "--case",
            case,
            "--dir",
            dir.str(),
        ];
        let outcome = run(&mut checks(&args));
        outcome.assert_ok(&format!("{backend}: {case}"));
        assert_eq!(outcome.line(), "ok");
    }
}

#[test]
fn every_call_of_a_child_is_an_error() {
    case("calls");
}

#[test]
fn a_child_drops_the_driver() {
    case("drop");
}

#[test]
fn a_child_exits() {
    case("exit");
}

#[test]
fn a_child_unwinds() {
    case("unwind");
}

#[test]
fn an_executed_program_inherits_nothing() {
    case("exec");
}

#[test]
fn a_child_does_not_wake_its_parent() {
    case("notify");
}

#[test]
fn a_child_lives_on_while_the_parent_drops_its_driver() {
    case("outlive");
}

#[test]
fn a_child_returns_from_a_scope() {
    case("scope");
}

#[test]
fn a_child_unwinds_out_of_a_scope() {
    case("scope-unwind");
}
