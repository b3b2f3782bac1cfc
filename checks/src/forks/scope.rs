//! A fork inside of a scope: the child leaves it without a wait, and the parent's loans complete.

use super::{CHILD_FAILED, exit_now, fork, reap};
use crate::Options;
use completeio_driver::driver::{AsFd, Driver, OwnedFd};
use completeio_driver::op::{Nop, Recv, Timeout};
use completeio_driver::scope::{Done, Event, Scope, ScopeError};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

/// How the child leaves the scope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    Returning,
    Unwinding,
}

pub(super) fn run(options: &Options, leaves: Leaves) {
    let (near, mut far) = UnixStream::pair().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut recv = Recv::new(near.as_fd(), [0; 8]);
    let mut timeout = Timeout::after(Duration::from_secs(3600));
    let (mut nop, mut late) = (Nop::new(), Nop::new());
    let mut driver: Driver<'_> = options.builder().build().unwrap();
    let owned = Recv::new(OwnedFd::from(ours), [0; 8]);
    let key = driver.try_push_owned(owned, 0).unwrap();

    let left = panic::catch_unwind(AssertUnwindSafe(|| {
        let scope = driver.scope(|s| {
            let received = s.try_lend(&mut recv, 1).unwrap();
            let _pending = s.try_lend(&mut timeout, 2).unwrap();
            s.submit(Some(Duration::ZERO), &mut None).unwrap();
            // Pushed, and not submitted before the fork.
            let nothing = s.try_lend(&mut nop, 3).unwrap();
            let pid = fork();
            if pid == 0 {
                let error = s.submit(None, &mut None).unwrap_err();
                expect(error.kind() == ErrorKind::Unsupported, "submit worked");
                expect(s.capacity_left() == 0, "there is room");
                expect(s.try_lend(&mut late, 4).is_err(), "try_lend accepted");
                expect(s.try_push_owned(Nop::new(), 5).is_err(), "owned accepted");
                expect(s.try_cancel(&received).is_err(), "try_cancel accepted");
                if leaves == Leaves::Unwinding {
                    panic::resume_unwind(Box::new("on purpose"));
                }
                return true;
            }
            reap(pid);
            far.write_all(b"12345678").unwrap();
            let [first, second] = [next(s), next(s)];
            let (nop, recv) = match first.token() {
                3 => (first, second),
                _ => (second, first),
            };
            ensure!(nothing.redeem(nop).unwrap().0.is_ok(), "the nop failed");
            let (n, recv) = received.redeem(recv).unwrap();
            ensure!(matches!(n, Ok(8)), "the receive gave {n:?}");
            ensure!(recv.buf() == b"12345678", "{:?}", recv.buf());
            false
        });
        scope.unwrap()
    }));
    if left.unwrap_or(true) {
        let again = driver.scope(|_| ());
        expect(again == Err(ScopeError::ForkedChild), "a scope began");
        key.cancel();
        drop(key);
        drop(driver);
        exit_now(0);
    }
    theirs.write_all(b"87654321").unwrap();
    while !key.is_done() {
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
    }
    let (n, recv) = key.redeem().unwrap();
    ensure!(matches!(n, Ok(8)), "the owned receive gave {n:?}");
    ensure!(recv.buf() == b"87654321", "{:?}", recv.buf());
    ensure!(driver.in_flight() == 0, "{driver:?}");
}

fn next<'s>(s: &mut Scope<'s, '_>) -> Done<'s> {
    loop {
        let mut event = None;
        s.submit(None, &mut event).unwrap();
        if let Some(done) = event.and_then(Event::done) {
            return done;
        }
    }
}

fn expect(holds: bool, what: &str) {
    if !holds {
        eprintln!("in the child: {what}");
        exit_now(CHILD_FAILED);
    }
}
