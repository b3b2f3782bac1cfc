//! What these tests share.

pub(crate) use crate::common::bounded;
use completeio::io::{AsyncRead, AsyncReadExt};
use completeio::task::block_on;
use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::Poll;

/// Runs a test that hangs when a completion is lost.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    bounded(move || block_on(test()));
}

/// Polls once; whether it was ready.
pub(crate) async fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

pub(crate) async fn read_to_end(mut stream: impl AsyncRead) -> io::Result<Vec<u8>> {
    let (read, all) = stream.read_to_end(Vec::new()).await;
    read.map(|_| all)
}

/// Bytes that tell where they belong.
pub(crate) fn numbers(n: u32) -> Vec<u8> {
    (0..n).flat_map(u32::to_le_bytes).collect()
}

/// The error of what has failed, as the system has it.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    let error = result.unwrap_err();
    error.raw_os_error().unwrap_or_else(|| panic!("{error:?}"))
}

/// A test that needs what is not here.
pub(crate) fn skipped(what: &str, error: &io::Error) {
    // Not `eprintln!`, which the test harness would swallow.
    let _ = writeln!(io::stderr(), "skipped: {what}: {error}");
}
