//! What is special to this backend; the contract of all backends is tested through the driver.
#![allow(clippy::unwrap_used, reason = "tests")]

mod jobs;
mod sockets;

use super::*;
use crate::driver::{Backend as Kind, CompleteIo, Cwd, Driver, Entry, PreparedWait, Target};
use crate::fd::FixedFd;
use crate::key::Key;
use crate::op::{
    Accept, Close, Connect, GetXattr, HardLink, MsgFlags, Nop, OpCode, OpenAt, Poll, PollEvents,
    ReadAt, Recv, Rename, Send, Timeout,
};
use crate::outlet::Raw;
use crate::sys::{ForkGuard, Which, check_open, errno};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The backend without its driver: its parts can be looked at. Declared after the operations that
/// it is lent, so that it goes first.
struct Bench {
    backend: Readiness,
    core: Core,
}

const LIMITS: Limits = Limits {
    entries: 16,
    completion_entries: 64,
    in_flight: 16,
    cancels: 4,
    file_slots: 4,
    descriptors: 4096,
    workers: 1,
    slots: 0,
};

impl Bench {
    fn new(limits: Limits) -> Self {
        let core = Core::new(limits.in_flight, limits.slots).unwrap();
        Self {
            backend: Readiness::new(&limits, &core).unwrap(),
            core,
        }
    }

    /// The index of its flight; where there is none, it was refused.
    fn push<O: OpCode>(&mut self, op: &mut O, user_data: usize) -> Option<u32> {
        self.core.accepted();
        let op = NonNull::from(op);
        // SAFETY: (D2) exclusively borrowed, so not in flight.
        unsafe {
            self.backend
                .push_typed(&mut self.core, op, Key::raw(user_data))
        };
        self.backend.kept.flights.find(Key::raw(user_data))
    }

    fn turn(&mut self, block: Block) {
        // SAFETY: (D1) the tests keep their operations where they are until the bench is gone.
        unsafe { self.backend.turn(&mut self.core, block) }.unwrap();
    }

    fn cancel(&mut self, which: Which) {
        self.backend.cancel(&mut self.core, which).unwrap();
    }

    /// What has completed: user data, and the result or its error number.
    fn take(&mut self) -> Vec<(usize, Result<usize, i32>)> {
        let entries = self.entries().into_iter().map(|entry| {
            let result = entry.result().map_err(|e| e.raw_os_error().unwrap());
            (entry.user_data(), result)
        });
        entries.collect()
    }

    fn entries(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Some(completion) = self.core.next(|_| None) {
            self.core.deliver(completion, &mut Raw(&mut entries));
        }
        entries
    }

    /// Waits until so many have completed, and takes them.
    fn wait(&mut self, count: usize) -> Vec<(usize, Result<usize, i32>)> {
        self.turn(Block::Forever(count));
        self.take()
    }

    /// Pushes an open that no worker finishes until the fifo is opened at its other end; returns
    /// when a worker has begun it.
    fn block_worker(&mut self, open: &mut OpenAt<Cwd>, user_data: usize) {
        let index = self.push::<OpenAt<Cwd>>(open, user_data).unwrap();
        self.turn(Block::Never);
        while !self
            .backend
            .kept
            .workers
            .as_ref()
            .unwrap()
            .is_running(index)
        {
            thread::yield_now();
        }
    }
}

/// A named pipe in a directory of its own.
struct Fifo {
    dir: PathBuf,
}

impl Fifo {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("completeio-{}-{n}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let fifo = Self { dir };
        // SAFETY: (K1) reads a path that ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(fifo.path().as_ptr(), 0o600) }, 0);
        fifo
    }

    fn path(&self) -> CString {
        CString::new(self.dir.join("fifo").as_os_str().as_bytes()).unwrap()
    }

    fn open(&self) -> OpenAt<Cwd> {
        OpenAt::read(Cwd, self.path())
    }

    /// Opens the other end: this waits for a reader, and ends its wait.
    fn writer(&self) -> File {
        File::options()
            .write(true)
            .open(self.dir.join("fifo"))
            .unwrap()
    }

    /// A regular file beside it.
    fn file(&self, name: &str, text: &str) -> OwnedFd {
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        File::open(path).unwrap().into()
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Makes `number` mean what `fd` means.
fn renumber(fd: BorrowedFd<'_>, number: RawFd) {
    // SAFETY: (K1) the test owns both numbers.
    let result = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    assert_eq!(result, number);
}

/// A descriptor by its number, which an operation then uses unattached.
fn borrowed<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: (R1) the tests keep it open, or want to see what happens if they do not.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// Whether nobody reads from the pipe any more, or soon: a child that another test forks has all
/// descriptors until it ends.
fn is_abandoned(pipe: &File) -> bool {
    has_come(pipe.as_raw_fd(), libc::POLLERR, 60_000)
}

fn pipe() -> (OwnedFd, File) {
    let mut ends = [-1; 2];
    // SAFETY: (K1) the kernel writes two integers to a local.
    let result = unsafe { libc::pipe(ends.as_mut_ptr()) };
    assert_eq!(result, 0);
    // SAFETY: (R1) new descriptors.
    let [reader, writer] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    (reader, writer.into())
}

/// Whether this has come to a descriptor, or comes within so many milliseconds.
fn has_come(fd: RawFd, events: i16, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: (K1) one local pollfd.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    poll.revents & events != 0
}

/// What an open or an accept gave is closed.
fn close_result(result: Result<usize, i32>) {
    // SAFETY: (R1) nobody else has it.
    drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(result.unwrap()).unwrap()) });
}
