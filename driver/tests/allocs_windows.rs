//! I15 on Windows: after it was made, a driver allocates nothing.
//!
//! One test, so that nobody else allocates between its marks: its thread, the workers, and those of
//! the system. Nothing is warmed up: the first operation of each kind falls between them.
#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio_driver::address::Address;
use completeio_driver::driver::{
    AsFd, AsRawFd, CompleteIo, Cwd, Driver, Entry, FixedFd, FromRawFd, OwnedFd, RawFd,
};
use completeio_driver::op::{
    Accept, Bind, Close, Connect, ConnectNamedPipe, Deadline, Disconnect, Exact, Listen, MakeDir,
    Nop, Op, OpObject, OpenAt, OpenOptions, Pipe, Poll, PollEvents, Read, ReadAt, ReadVectoredAt,
    Recv, RecvFrom, RecvVectored, Rename, Send, SendTo, SendVectored, SetSockOpt, Shutdown,
    SockOpt, Socket, Stat, StatAt, Sync, SyncRange, Timeout, TimeoutUpdate, TransmitFile, Truncate,
    Unlink, WaitId, Write, WriteAt, WriteVectoredAt,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::net::{Shutdown as How, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HOUR: Duration = Duration::from_secs(3600);

/// A driver, and how many allocations each step may have: none.
struct Counted {
    driver: Driver<'static>,
    entries: Vec<Entry>,
}

impl Counted {
    /// Pushes, and waits for the last of so many entries.
    #[track_caller]
    fn run<O: Op + 'static>(&mut self, what: &str, op: &mut O) -> Entry {
        self.start(op, 1);
        let entry = self.wait(what, 1);
        assert_eq!(entry.user_data(), 1);
        entry
    }

    fn start<O: Op + 'static>(&mut self, op: &mut O, user_data: usize) {
        // SAFETY: the test keeps operations, untouched, until they are over.
        let object = unsafe { OpObject::from_ptr(NonNull::from(op), user_data) };
        self.counted("a push", |counted| {
            counted.driver.try_push_dyn(object).unwrap();
        });
    }

    /// Takes so many entries; gives the last.
    #[track_caller]
    fn wait(&mut self, what: &str, n: usize) -> Entry {
        self.counted(what, |counted| {
            while counted.entries.len() < n {
                // SAFETY: see `start`.
                unsafe { counted.driver.submit(None, &mut counted.entries).unwrap() };
            }
        });
        let entry = self.entries.pop().unwrap();
        self.entries.clear();
        entry
    }

    #[track_caller]
    fn counted(&mut self, what: &str, f: impl FnOnce(&mut Self)) {
        COUNT.store(0, Ordering::Relaxed);
        COUNTS.store(true, Ordering::Relaxed);
        f(self);
        COUNTS.store(false, Ordering::Relaxed);
        assert_eq!(COUNT.load(Ordering::Relaxed), 0, "{what} allocates");
    }
}

/// A descriptor that is kept open by the test.
fn at(fd: &impl AsRawFd) -> completeio_driver::driver::BorrowedFd<'static> {
    // SAFETY: the test keeps it open.
    unsafe { completeio_driver::driver::BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

fn made(entry: &Entry) -> OwnedFd {
    let number = RawFd::from_number(i32::try_from(entry.result().unwrap()).unwrap());
    // SAFETY: the entry of an operation that was neither finished nor disposed of.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[test]
fn nothing_is_allocated_after_init() {
    let dir = std::env::temp_dir();
    let name = |part: &str| {
        let path = dir.join(format!("allocs-{}-{part}", std::process::id()));
        CString::new(path.to_str().unwrap()).unwrap()
    };
    let driver = Driver::builder().entries(64).build().unwrap();
    let mut c = Counted {
        driver,
        entries: Vec::with_capacity(64),
    };
    c.run("Nop", &mut Nop::new());
    c.run("Timeout", &mut Timeout::after(Duration::from_millis(1)));

    // Files: of the driver's own, and of the standard library's.
    let options = OpenOptions::new().read(true).write(true).create(true);
    let entry = c.run("OpenAt", &mut OpenAt::new(Cwd, name("file"), options));
    let own = made(&entry);
    c.run("WriteAt", &mut WriteAt::new(at(&own), 0, [7_u8; 4096]));
    c.run("ReadAt", &mut ReadAt::new(at(&own), 0, [0_u8; 4096]));
    let waits = File::options()
        .read(true)
        .write(true)
        .open(name("file").to_str().unwrap());
    let waits = waits.unwrap();
    c.run(
        "WriteAt by a worker",
        &mut WriteAt::new(at(&waits), 0, [7_u8; 64]),
    );
    c.run(
        "ReadAt by a worker",
        &mut ReadAt::new(at(&waits), 0, [0_u8; 64]),
    );
    c.run("Read", &mut Read::new(at(&waits), [0_u8; 64]));
    c.run("Write", &mut Write::new(at(&waits), [0_u8; 64]));
    let parts = [[1_u8; 8], [2; 8]];
    c.run(
        "WriteVectoredAt",
        &mut WriteVectoredAt::new(at(&own), 0, parts),
    );
    c.run(
        "ReadVectoredAt",
        &mut ReadVectoredAt::new(at(&own), 0, parts),
    );
    c.run(
        "Exact",
        &mut Exact::new(ReadAt::new(at(&own), 0, [0_u8; 16])),
    );
    c.run("Sync", &mut Sync::new(at(&own)));
    c.run("Truncate", &mut Truncate::new(at(&own), 100));
    c.run("Stat", &mut Stat::new(at(&own)));
    c.run("StatAt", &mut StatAt::new(Cwd, name("file")));
    c.run("MakeDir", &mut MakeDir::new(Cwd, name("dir"), 0o700));
    c.run(
        "Unlink of a directory",
        &mut Unlink::directory(Cwd, name("dir")),
    );
    c.run(
        "an open that fails",
        &mut OpenAt::read(Cwd, name("missing")),
    );
    c.counted("register", |c| {
        c.driver.register_fd(own.as_raw_fd(), 3).unwrap();
    });
    c.run(
        "ReadAt of a fixed one",
        &mut ReadAt::new(FixedFd::from_id(3), 0, [0_u8; 8]),
    );
    c.counted("unregister", |c| {
        c.driver.unregister_fd(FixedFd::from_id(3)).unwrap()
    });
    c.run("Close", &mut Close::new(own));
    drop(waits);
    c.run(
        "Rename",
        &mut Rename::new(Cwd, name("file"), Cwd, name("other")),
    );
    c.run("Unlink", &mut Unlink::file(Cwd, name("other")));

    // Sockets.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut accept = Accept::new(at(&listener));
    c.start(&mut accept, 2);
    let entry = c.run("Socket", &mut Socket::stream(&addr.into()));
    let client = made(&entry);
    let mut connect = Connect::new(at(&client), addr);
    c.start(&mut connect, 1);
    c.wait("Accept and Connect", 2);
    let ours = TcpStream::connect(addr).unwrap();
    let theirs = listener.accept().unwrap().0;
    let fd = at(&ours);
    c.counted("attach", |c| {
        let _fd = c.driver.attach(theirs.as_raw_fd()).unwrap();
    });
    for round in 0..2 {
        let mut recv = Recv::new(fd, [0_u8; 8]);
        let mut send = Send::new(at(&theirs), *b"text");
        c.start(&mut recv, 1);
        c.counted("a turn", |c| {
            // SAFETY: see `start`.
            unsafe {
                c.driver
                    .submit(Some(Duration::ZERO), &mut c.entries)
                    .unwrap()
            };
        });
        c.start(&mut send, 10 + round);
        c.wait("Recv and Send", 2);
    }
    c.run("SendVectored", &mut SendVectored::new(at(&theirs), parts));
    c.run("RecvVectored", &mut RecvVectored::new(fd, parts));
    let mut recv = Recv::new(fd, [0_u8; 8]);
    c.start(&mut recv, 9);
    c.counted("a cancellation", |c| c.driver.try_cancel(9).unwrap());
    c.wait("what was cancelled", 1);
    let mut late = Deadline::after(Recv::new(fd, [0_u8; 8]), Duration::from_millis(1));
    c.run("Deadline", &mut late);
    let mut timeout = Timeout::after(HOUR);
    c.start(&mut timeout, 5);
    let mut update = TimeoutUpdate::after(5, Duration::ZERO);
    c.start(&mut update, 6);
    c.wait("TimeoutUpdate", 2);
    c.run("Shutdown", &mut Shutdown::new(fd, How::Both));
    c.run("Recv at the end", &mut Recv::new(fd, [0_u8; 8]));
    c.run(
        "SetSockOpt",
        &mut SetSockOpt::new(fd, SockOpt::NO_DELAY, true),
    );
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = Address::from(b.local_addr().unwrap());
    c.run("SendTo", &mut SendTo::new(at(&a), *b"text", to));
    c.run("RecvFrom", &mut RecvFrom::new(at(&b), [0_u8; 8]));
    let entry = c.run("Socket", &mut Socket::stream(&addr.into()));
    let server = made(&entry);
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    c.run("Bind", &mut Bind::new(at(&server), any));
    c.run("Listen", &mut Listen::new(at(&server), 8));
    let mut pipe = Pipe::new();
    let entry = c.run("Pipe", &mut pipe);
    // SAFETY: the entry is the operation's last one.
    let (reader, writer) = unsafe { pipe.finish(entry).unwrap() };
    c.run("Write to a pipe", &mut Write::new(at(&writer), [1_u8; 8]));
    c.run("Read of a pipe", &mut Read::new(at(&reader), [0_u8; 8]));
    c.run(
        "ConnectNamedPipe, where a client is",
        &mut ConnectNamedPipe::new(at(&reader)),
    );
    c.run("Disconnect", &mut Disconnect::new(at(&reader)));
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    c.run(
        "TransmitFile",
        &mut TransmitFile::new(at(&program), 0, 64, at(&client)),
    );
    c.run("Poll", &mut Poll::new(at(&client), PollEvents::WRITABLE));
    let range = &mut SyncRange::new(at(&program), 0, 1);
    c.run("what is missing", range);

    // A child, and wake-ups.
    let mut child = Command::new("cmd").args(["/c", "exit 3"]).spawn().unwrap();
    let mut wait = WaitId::child(child.id()).unwrap();
    let entry = c.run("WaitId", &mut wait);
    // SAFETY: its last entry.
    assert_eq!(unsafe { wait.finish(entry) }.unwrap().code(), Some(3));
    child.wait().unwrap();
    let notifier = c.driver.notifier();
    c.counted("a wake-up", |c| {
        notifier.notify();
        // SAFETY: nothing is in flight.
        unsafe { c.driver.submit(None, &mut c.entries).unwrap() };
    });
    let mut queue: VecDeque<OpObject<'static>> = VecDeque::new();
    c.counted("an empty queue", |c| c.driver.push_queue(&mut queue));
    let _lent = at(&client).as_fd();
}
