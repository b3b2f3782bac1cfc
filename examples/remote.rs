//! `remote`: the sizes and checksums of files, by tasks of tokio and by plain threads that share
//! one driver's thread.
//!
//! ```text
//! cargo run --example remote -- Cargo.toml README.md
//! ```
//!
//! Shows [`Remote`]: a handle that is `Send + Sync`, for executors of any kind; operations that own
//! their buffers, which come back with them; and no `unsafe`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::Args;
use completeio::driver::{Cwd, Driver, Holds, OwnedFd, spawn_thread};
use completeio::op::{Op, OpenAt, ReadAt};
use completeio::remote::Remote;
use std::ffi::{CString, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const HELP: &str = "\
usage: remote FILE...
Tells the size and the checksum of files, which are read through completeio by tasks of tokio, and
by threads.";

/// Bytes that one read asks for.
const BLOCK: usize = 64 * 1024;

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    /// FNV-1a.
    hash: u64,
}

impl Sum {
    const EMPTY: Self = Self {
        bytes: 0,
        hash: 0xcbf2_9ce4_8422_2325,
    };

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {:>10}", self.hash, self.bytes)
    }
}

fn open(name: &OsString) -> io::Result<OpenAt<Cwd>> {
    let name = CString::new(name.as_encoded_bytes())?;
    Ok(OpenAt::read(Cwd, name))
}

/// On an executor: each operation is a future.
async fn sum(remote: Remote, name: OsString) -> io::Result<Sum> {
    let file = remote.run(open(&name)?).await.0?;
    let mut sum = Sum::EMPTY;
    let mut read = ReadAt::new(file, 0, vec![0; BLOCK].into_boxed_slice());
    loop {
        // The operation comes back, and is sent again.
        let (n, op) = remote.run(read).await;
        read = match n? {
            0 => return Ok(sum),
            n => next(op, n, &mut sum),
        };
    }
}

/// On a thread of its own: each operation is waited for.
fn sum_blocking(remote: &Remote, name: &OsString) -> io::Result<Sum> {
    let file = run(remote, open(name)?)?.0;
    let mut sum = Sum::EMPTY;
    let mut read = ReadAt::new(file, 0, vec![0; BLOCK].into_boxed_slice());
    loop {
        let (n, op) = run(remote, read)?;
        read = match n {
            0 => return Ok(sum),
            n => next(op, n, &mut sum),
        };
    }
}

fn run<O>(remote: &Remote, op: O) -> io::Result<(O::Output, O)>
where
    O: Op<Fd: Holds, Output: Send> + Send + 'static,
{
    let (output, op) = remote.run_blocking(op);
    Ok((output?, op))
}

type Read = ReadAt<OwnedFd, Box<[u8]>>;

/// Takes what was read, and goes on after it.
fn next(mut read: Read, n: usize, sum: &mut Sum) -> Read {
    sum.add(&read.buf()[..n]);
    read.set_offset(sum.bytes);
    read
}

fn main() -> ExitCode {
    let names = Args::new(HELP).names();
    if names.is_empty() {
        common::wrong("remote needs the name of a file");
    }
    match compare(&names) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("remote: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every file twice at a time, by a task and by a thread; whether all were read, and were the same.
fn compare(names: &[OsString]) -> io::Result<bool> {
    let driver = spawn_thread(Driver::builder().slots(32)).map_err(io::Error::other)?;
    let tokio = tokio::runtime::Builder::new_multi_thread().build()?;
    let tasks: Vec<_> = names
        .iter()
        .map(|name| tokio.spawn(sum(driver.remote(), name.clone())))
        .collect();
    let by_threads: Vec<_> = thread::scope(|scope| {
        let start = |name| {
            let remote = driver.remote();
            scope.spawn(move || sum_blocking(&remote, name))
        };
        let threads: Vec<_> = names.iter().map(start).collect();
        let sums = threads.into_iter().map(|thread| thread.join());
        sums.map(|sum| sum.expect("it does not panic")).collect()
    });
    let mut good = true;
    for ((name, task), by_thread) in names.iter().zip(tasks).zip(by_threads) {
        let name = Path::new(name).display();
        match (tokio.block_on(task)?, by_thread) {
            (Ok(sum), Ok(other)) if sum == other => println!("{sum} {name}"),
            (Ok(_), Ok(_)) => {
                eprintln!("remote: {name}: it has changed meanwhile");
                good = false;
            }
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("remote: {name}: {error}");
                good = false;
            }
        }
    }
    // Nobody sends any more.
    let survivors = driver.shut_down(Duration::from_secs(5))?;
    Ok(good && survivors == 0)
}
