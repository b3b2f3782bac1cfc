//! Control-C to the small runtime, on Windows. What listens is a program of its own, with a console
//! of its own, for everybody at a console is told.
#![cfg(all(feature = "signal", windows))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once, this_test};
use completeio::signal::{SignalKind, ctrl_c, signal};
use completeio::task::{block_on, spawn, yield_now};
use std::io::ErrorKind;
use std::os::windows::process::CommandExt;
use std::pin::pin;
use std::thread;
use windows_sys::Win32::System::Console::{CTRL_C_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

/// Control-C, to this program alone.
fn press() {
    // SAFETY: takes two numbers.
    assert_ne!(unsafe { GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0) }, 0);
}

#[test]
fn control_c() {
    bounded(|| {
        let mut child = this_test("listens_to_control_c");
        let output = child.creation_flags(CREATE_NO_WINDOW).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{failed}");
        assert!(said.contains("1 passed"), "{said}");
    });
}

#[test]
#[ignore = "a program for the test above"]
fn listens_to_control_c() {
    bounded(|| {
        block_on(async {
            let kind = SignalKind::interrupt();
            let mut first = signal(kind).unwrap();
            for _ in 0..100 {
                let early = poll_once(&mut pin!(first.recv())).await;
                assert!(early.is_pending(), "nobody has pressed it");
                press();
                first.recv().await.unwrap();
            }
            // It is told of what came while nobody waited; it may be told once.
            press();
            press();
            first.recv().await.unwrap();
            // On other threads and runtimes, each by itself.
            let mut second = signal(kind).unwrap();
            let other = thread::spawn(move || block_on(second.recv()));
            let task = spawn(async { ctrl_c().await });
            // One that is dropped takes nothing of what comes later.
            let _ = poll_once(&mut pin!(first.recv())).await;
            yield_now().await;
            press();
            first.recv().await.unwrap();
            task.await.unwrap().unwrap();
            other.join().unwrap().unwrap();
        });
    });
}

#[test]
fn what_never_comes() {
    for kind in [SignalKind::terminate(), SignalKind::from_raw(0)] {
        let error = signal(kind).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
