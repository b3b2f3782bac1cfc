//! What the tests of the small runtime share.
#![allow(dead_code, unused_imports, reason = "not all tests use all of it")]

#[cfg(unix)]
#[path = "unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "windows.rs"]
mod sys;

pub(crate) use sys::{code, kill, open_files, open_on};

use std::fs;
use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// Runs a test that hangs when a wake-up is lost.
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (running, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _running = running;
        test();
    });
    let waited = ended.recv_timeout(Duration::from_secs(120));
    assert_ne!(waited, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// A file in the target's directory that is removed with its handle.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// A command that runs one test of this program, which is ignored otherwise, as a program of its
/// own.
pub(crate) fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command
}

/// So many bytes that repeat in no way that blocks do.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(len).collect()
}
