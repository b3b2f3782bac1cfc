//! I14, in part: what a loop costs in system calls. Counted in a trace, not timed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{BACKENDS, count, has_strace, names, strace};

/// The system calls of the driver's own thread in a case of `checks quiet`.
#[track_caller]
fn with_calls(backend: &str, case: &str, check: impl FnOnce(&[&str])) {
    let outcome = strace(&[], &["quiet", "--backend", backend, "--case", case]);
    outcome.assert_ok(case);
    assert_eq!(outcome.line(), "ok 100");
    check(&outcome.between_markers());
}

#[test]
fn a_notify_of_an_awake_driver_makes_no_system_call() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "awake", |calls| {
            assert!(calls.is_empty(), "{backend}: {calls:#?}")
        });
    }
}

#[test]
fn notifies_of_a_sleeping_driver_make_one_system_call() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "asleep", |calls| {
            assert_eq!(count(calls, "write"), 1, "{backend}: {calls:#?}");
            assert_eq!(calls.len(), 1, "{backend}: {calls:#?}");
        });
    }
}

/// A hundred batches of nops: one `io_uring_enter` each; readiness needs none.
#[test]
fn a_turn_is_one_enter() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "batch", |calls| {
            let expected = if *backend == "io_uring" { 100 } else { 0 };
            assert_eq!(
                count(calls, "io_uring_enter"),
                expected,
                "{backend}: {calls:#?}"
            );
            assert_eq!(calls.len(), expected, "{backend}: {calls:#?}");
        });
    }
}

#[test]
fn what_has_completed_is_taken_without_a_system_call() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "backlog", |calls| {
            assert!(calls.is_empty(), "{backend}: {calls:#?}")
        });
    }
}

/// A hundred waits that end by their time, and nothing else: one call each, or none when their time
/// was over before, for the thread was held up.
#[test]
fn a_wait_that_expires_is_one_call() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "expiry", |calls| {
            let waits = 1..=100;
            assert!(
                waits.contains(&calls.len()),
                "{backend}: {} of {:#?}",
                calls.len(),
                names(calls)
            );
        });
    }
}

/// A hundred times a receive that has to wait, a send that answers it, and two or three turns.
#[test]
fn an_exchange_makes_no_registration() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        with_calls(backend, "echo", |calls| {
            let seen = names(calls);
            if *backend == "io_uring" {
                assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["io_uring_enter"]);
                // The turn that starts the receive, the one that sends, perhaps one that waits.
                let enters = count(calls, "io_uring_enter");
                assert!((200..=300).contains(&enters), "{enters} enters");
                return;
            }
            assert_eq!(count(calls, "epoll_ctl"), 0, "{calls:#?}");
            assert_eq!(count(calls, "sendto"), 100);
            // Tried once in vain, and once when it is readable.
            assert_eq!(count(calls, "recvfrom"), 200);
            let waits = calls.len() - 300;
            let epoll: usize = ["epoll_pwait2", "epoll_wait", "epoll_pwait"]
                .iter()
                .map(|name| count(calls, name))
                .sum();
            assert_eq!(waits, epoll, "{seen:?}");
            assert!(epoll <= 300, "{epoll} waits for 100 exchanges in 300 turns");
        });
    }
}
