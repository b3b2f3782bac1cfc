//! I15: after it was made, a driver allocates nothing.
//!
//! Each backend has a process of its own: this program started again, in which the global allocator
//! counts every allocation of every thread between two marks, the test harness's excepted. Nothing
//! is warmed up: the first operation of each kind falls between them.
#![cfg(any(io_uring, readiness))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod control;
mod counting;
mod disk;
mod kit;
mod messages;
mod names;
mod ops;
mod queues;
mod safe;
mod sockets;
#[path = "../contract/kit/system.rs"]
mod system;

use self::control::control;
use self::counting::{COUNTS, HARNESS, Marks};
use self::disk::reach_the_disk;
use self::kit::{Files, Rig};
use self::names::names;
use self::ops::{Ops, attach, complete, fail, refuse, stream};
use self::queues::{cancel, fill, time};
use self::safe::{
    Safe, ends_of_scopes, futures, leave, orphan, own, own_in_a_scope, scopes, wake, wind_down,
};
use self::sockets::sockets;
use self::system::on_the_first_thread;
use completeio_driver::driver::{Backend, Driver};
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::{env, panic, process, thread};

/// What tells the child which backend is its own.
const BACKEND: &str = "COMPLETEIO_ALLOCS_BACKEND";

#[cfg(io_uring)]
#[test]
fn io_uring() {
    in_a_process_of_its_own("io_uring");
}

#[cfg(readiness)]
#[test]
fn readiness() {
    in_a_process_of_its_own("readiness");
}

/// The same, without worker threads: calls on files are made in place.
#[cfg(readiness)]
#[test]
fn readiness_without_workers() {
    in_a_process_of_its_own("in place");
}

fn in_a_process_of_its_own(backend: &str) {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(BACKEND, backend)
        .env_remove("COMPLETEIO_BACKEND")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );
    assert!(
        stdout.contains("1 passed"),
        "the child ran nothing: {stdout}"
    );
}

/// Not a test by itself.
#[test]
#[ignore = "the other tests run it in processes of their own"]
fn child() {
    let builder = Driver::builder()
        .entries(ENTRIES)
        .in_flight(2 * ENTRIES)
        .slots(SLOTS)
        .cancels(CANCELS);
    let builder = match env::var(BACKEND).as_deref() {
        Ok("io_uring") => builder.backend(Backend::IoUring),
        Ok("readiness") => builder.backend(Backend::Readiness),
        Ok("in place") => builder.backend(Backend::Readiness).workers(0),
        _ => return,
    };
    // A step that fails ends the process: the other thread waits at the barrier.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        hook(info);
        process::exit(101);
    }));
    // SAFETY: takes a number. A child that hangs is a failure.
    unsafe { libc::alarm(20) };
    // The first thread is the harness's, unless the test runs on it.
    HARNESS.store(!on_the_first_thread(), Ordering::Relaxed);
    let files = Files::new();
    let mut ops = Ops::new(&files);
    let mut safe = Safe::new(&files);
    let mut sink = Vec::with_capacity(4 * ENTRIES);
    let mut marks = Marks::new();

    // No allocation of the thread's start falls between the marks.
    let (started, ring) = (Barrier::new(2), Barrier::new(2));
    let mut driver = builder.build().unwrap();
    let notifier = driver.notifier();
    thread::scope(|scope| {
        let (started, ring) = (&started, &ring);
        scope.spawn(move || {
            started.wait();
            for _ in 0..RINGS {
                ring.wait();
                notifier.notify();
            }
            // Its end may free, and do what it likes, after the second mark.
            started.wait();
        });
        started.wait();
        COUNTS.store(true, Ordering::SeqCst);
        let rig = Rig {
            driver,
            entries: &mut sink,
        };
        exercise(rig, &mut ops, &mut safe, &files, ring, &mut marks);
        COUNTS.store(false, Ordering::SeqCst);
        started.wait();
    });
    marks.check();
}

pub(crate) const ENTRIES: usize = 16;

pub(crate) const CANCELS: usize = 4;

pub(crate) const SLOTS: usize = 8;

/// How often the other thread rings.
pub(crate) const RINGS: usize = 8;

fn exercise(
    mut rig: Rig<'_>,
    ops: &mut Ops,
    safe: &mut Safe<'_>,
    files: &Files,
    ring: &Barrier,
    marks: &mut Marks,
) {
    attach(&mut rig, files, marks);
    complete(&mut rig, ops, files, marks);
    sockets(&mut rig, &mut ops.sockets, marks);
    stream(&mut rig, ops, marks);
    fail(&mut rig, ops, marks);
    reach_the_disk(&mut rig, &mut ops.disk, marks);
    refuse(&mut rig, ops, marks);
    names(&mut rig, &mut ops.names, marks);
    fill(&mut rig, ops, marks);
    cancel(&mut rig, ops, marks);
    time(&mut rig, ops, marks);
    control(&mut rig, ops, marks);
    wake(&mut rig, ring, marks);
    scopes(&mut rig.driver, safe, marks);
    ends_of_scopes(&mut rig.driver, safe, marks);
    own(&mut rig.driver, safe, marks);
    orphan(&mut rig.driver, safe, marks);
    futures(&mut rig.driver, safe, marks);
    own_in_a_scope(&mut rig.driver, safe, marks);
    wind_down(&mut rig, ops, marks);
    leave(rig, ops, safe, marks);
}
