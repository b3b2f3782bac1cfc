//! I15: after it was made, a driver allocates nothing.
//!
//! Each backend has a process of its own: this program started again, in which the global allocator
//! counts every allocation of every thread between two marks, the test harness's excepted. Nothing
//! is warmed up: the first operation of each kind falls between them.
#![cfg(any(io_uring, readiness))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "contract/kit/system.rs"]
mod system;

use self::system::{ETIME, IS_LINUX, NO_LEVEL, on_the_first_thread};
use completeio_driver::address::Address;
use completeio_driver::ancillary::{ControlMessage, Incoming, Outgoing, space};
use completeio_driver::clock::{Clock, Instant};
use completeio_driver::driver::{
    AsRawFd, Backend, BorrowedFd, CompleteIo, Cwd, Descriptor, Driver, Entry, Holds, OwnedFd, Owns,
    RawFd, Refusal, Target, Wait,
};
use completeio_driver::op::{
    Accept, Advice, Advise, Allocate, Bind, Close, Connect, Deadline, Exact, FutexWait, FutexWake,
    GetPathXattr, GetSockOpt, GetXattr, HardLink, Listen, MakeDir, MsgFlags, Nop, Op, OpCode,
    OpObject, OpenAt, OpenOptions, Pipe, Poll, PollEvents, Raw, Read, ReadAt, ReadVectored,
    ReadVectoredAt, Recv, RecvExact, RecvFrom, RecvFromVectored, RecvMsg, RecvVectored, Rename,
    RwFlags, Send, SendMsg, SendTo, SendToVectored, SendVectored, SetPathXattr, SetSockOpt,
    SetXattr, Shutdown, SockOpt, Socket, SocketOptions, Splice, Stat, StatAt, Symlink, Sync,
    SyncRange, Tee, Timeout, TimeoutUpdate, Truncate, Unlink, WaitId, Write, WriteAt,
    WriteVectored, WriteVectoredAt,
};
use completeio_driver::scope::{Done, Event, Scope};
use completeio_driver::sink;
use completeio_driver::slots::Key;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::future::Future;
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll as Progress, Wake, Waker};
use std::time::Duration;
use std::{env, fs, panic, process, thread};

/// Counts, while it is told to.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Whether the first thread is the harness's, which sets up its wait for the test whenever it comes to it.
static HARNESS: AtomicBool = AtomicBool::new(false);

fn count(size: usize) {
    if COUNTS.load(Ordering::Relaxed) && !(HARNESS.load(Ordering::Relaxed) && on_the_first_thread())
    {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
    }
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

const ENTRIES: usize = 16;
const CANCELS: usize = 4;
const SLOTS: usize = 8;
/// How often the other thread rings.
const RINGS: usize = 8;

/// What was counted at which step.
struct Marks {
    steps: Vec<(&'static str, usize, usize)>,
    seen: (usize, usize),
}

impl Marks {
    fn new() -> Self {
        Self {
            steps: Vec::with_capacity(128),
            seen: (0, 0),
        }
    }

    /// Ends a step.
    fn step(&mut self, name: &'static str) {
        let now = (
            ALLOCATIONS.load(Ordering::SeqCst),
            BYTES.load(Ordering::SeqCst),
        );
        assert!(
            self.steps.len() < self.steps.capacity(),
            "the marks do not allocate either"
        );
        self.steps
            .push((name, now.0 - self.seen.0, now.1 - self.seen.1));
        self.seen = now;
    }

    fn check(&self) {
        let guilty: Vec<_> = self
            .steps
            .iter()
            .filter(|(_, count, _)| *count > 0)
            .collect();
        assert!(
            guilty.is_empty(),
            "I15: (step, allocations, bytes): {guilty:#?}"
        );
        assert!(self.steps.len() > 60, "everything was run");
        println!("{} steps without an allocation", self.steps.len());
    }
}

/// An operation at a fixed address, reached through one pointer only.
struct Lent<O>(NonNull<O>);

impl<O> Lent<O> {
    fn new(op: O) -> Self {
        Self(NonNull::from(Box::leak(Box::new(op))))
    }

    /// The operation; not while it is in flight.
    fn op(&mut self) -> &mut O {
        // SAFETY: leaked by `new`; nobody asks while it is in flight.
        unsafe { self.0.as_mut() }
    }
}

impl<O> Drop for Lent<O> {
    fn drop(&mut self) {
        // SAFETY: leaked by `new`, and freed here only; the driver is gone by then.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Descriptors of all kinds.
struct Files {
    /// A directory of this test's own.
    dir: PathBuf,
    directory: File,
    file: File,
    null: File,
    left: UnixStream,
    right: UnixStream,
    listener: TcpListener,
    /// One that connects, one that is refused, one that does not listen.
    sockets: [OwnedFd; 3],
    /// To be closed.
    spare: RawFd,
    /// A pipe, a FIFO opened by its name, and a pipe that nobody reads.
    pipes: [OwnedFd; 5],
}

type Bytes = Box<[u8]>;
/// Of several buffers.
type Texts = [&'static [u8]; 2];

struct Ops {
    nops: [Lent<Nop>; 4 * ENTRIES],
    queue: VecDeque<OpObject<'static>>,
    raw: Lent<Raw>,
    recv: Lent<Recv<Number, Bytes>>,
    send: Lent<Send<Number, &'static [u8]>>,
    fixed_recv: Lent<Recv<Fixed, Bytes>>,
    no_place: Lent<Recv<Fixed, Bytes>>,
    read: Lent<ReadAt<Number, Bytes>>,
    write: Lent<WriteAt<Number, &'static [u8]>>,
    exact: Lent<RecvExact<Number, Bytes>>,
    read_vectored: Lent<ReadVectoredAt<Number, Vec<Bytes>>>,
    write_vectored: Lent<WriteVectoredAt<Number, Texts>>,
    messages: Messages,
    wrong_offset: Lent<ReadAt<Number, Bytes>>,
    write_to_reader: Lent<WriteAt<Number, &'static [u8]>>,
    recv_on_file: Lent<Recv<Number, Bytes>>,
    read_closed: Lent<ReadAt<Number, Bytes>>,
    accept: Lent<Accept<Number>>,
    deaf_accept: Lent<Accept<Number>>,
    connect: Lent<Connect<Number>>,
    refused: Lent<Connect<Number>>,
    open: Lent<OpenAt<Cwd>>,
    create: Lent<OpenAt<Cwd>>,
    missing: Lent<OpenAt<Cwd>>,
    fixed_dir: Lent<OpenAt<Fixed>>,
    disk: Disk,
    close: Lent<Close<Number>>,
    close_closed: Lent<Close<Number>>,
    reads: [Lent<Read<Number, Bytes>>; 4],
    writes: [Lent<Write<Number, &'static [u8]>>; 4],
    vectored_reads: [Lent<ReadVectored<Number, Vec<Bytes>>>; 3],
    vectored_writes: [Lent<WriteVectored<Number, Texts>>; 3],
    splices: [Lent<Splice<Number, Number>>; 2],
    tee: Lent<Tee<Number, Number>>,
    timeouts: [Lent<Timeout>; 8],
    past: Lent<Timeout>,
    clocks: [Lent<Timeout>; 3],
    long: Lent<Timeout>,
    control: Control,
    names: Names,
    sockets: Sockets,
}

/// Operations on names and attributes, in the order in which they succeed.
struct Names {
    make: Lent<MakeDir<Cwd>>,
    symlink: Lent<Symlink<Cwd>>,
    rename: Lent<Rename<Number>>,
    link: Lent<HardLink<Number, Cwd>>,
    unlink: Lent<Unlink<Cwd>>,
    remove: Lent<Unlink<Cwd>>,
    set: Lent<SetXattr<Number, &'static [u8]>>,
    get: Lent<GetXattr<Number, Bytes>>,
    set_path: Lent<SetPathXattr<&'static [u8]>>,
    get_path: Lent<GetPathXattr<Bytes>>,
    closed: Lent<Rename<Number>>,
    fixed: Lent<Rename<Number, Fixed>>,
}

impl Names {
    fn new(files: &Files) -> Self {
        let path = |name: &str| CString::new(files.dir.join(name).to_str().unwrap()).unwrap();
        let name = |name: &str| CString::new(name).unwrap();
        let dir = Number(files.directory.as_raw_fd());
        let file = Number(files.file.as_raw_fd());
        let attribute = || name("user.completeio");
        let link = HardLink::new(dir, name("renamed"), Cwd, path("linked"));
        let closed = Rename::new(Number(CLOSED), name("file"), dir, name("never"));
        let fixed = Rename::new(dir, name("file"), Fixed(PLACE), name("never"));
        Self {
            make: Lent::new(MakeDir::new(Cwd, path("made"), 0o700)),
            symlink: Lent::new(Symlink::new(name("text"), Cwd, path("symbolic"))),
            rename: Lent::new(Rename::new(dir, name("symbolic"), dir, name("renamed"))),
            link: Lent::new(link),
            unlink: Lent::new(Unlink::file(Cwd, path("linked"))),
            remove: Lent::new(Unlink::directory(Cwd, path("made"))),
            set: Lent::new(SetXattr::new(file, attribute(), TEXT)),
            get: Lent::new(GetXattr::new(file, attribute(), room())),
            set_path: Lent::new(SetPathXattr::new(path("file"), attribute(), TEXT)),
            get_path: Lent::new(GetPathXattr::new(path("file"), attribute(), room())),
            closed: Lent::new(closed),
            fixed: Lent::new(fixed),
        }
    }
}

/// Polls, deadlines, children, updates.
struct Control {
    ready: Lent<Poll<Number>>,
    never: Lent<Poll<Number>>,
    closed: Lent<Poll<Number>>,
    in_time: Lent<Deadline<Nop>>,
    late: Lent<Deadline<Recv<Number, Bytes>>>,
    fails: Lent<Deadline<Recv<Number, Bytes>>>,
    late_exact: Lent<Deadline<RecvExact<Number, Bytes>>>,
    splice_fails: Lent<Deadline<Splice<Number, Number>>>,
    child: Lent<WaitId<OwnedFd>>,
    no_child: Lent<WaitId<Number>>,
    fixed_child: Lent<WaitId<Fixed>>,
    update: Lent<TimeoutUpdate>,
    no_update: Lent<TimeoutUpdate>,
    futex_wait: Lent<FutexWait<Arc<AtomicU32>>>,
    futex_wake: Lent<FutexWake<Arc<AtomicU32>>>,
    no_bits: Lent<FutexWake<Arc<AtomicU32>>>,
}

impl Control {
    #[allow(clippy::zombie_processes, reason = "an operation reaps it")]
    fn new(right: Number) -> Self {
        // Reaped by the operation.
        let child = Command::new("true").spawn().unwrap();
        let (hour, moment) = (Duration::from_secs(3600), Duration::from_micros(10));
        let recv = |fd| Recv::new(fd, room());
        let word = Arc::new(AtomicU32::new(0));
        Self {
            ready: Lent::new(Poll::new(right, PollEvents::WRITABLE)),
            never: Lent::new(Poll::new(right, PollEvents::READABLE)),
            closed: Lent::new(Poll::new(Number(CLOSED), PollEvents::READABLE)),
            in_time: Lent::new(Deadline::after(Nop::new(), hour)),
            late: Lent::new(Deadline::after(recv(right), moment)),
            fails: Lent::new(Deadline::after(recv(Number(CLOSED)), hour)),
            late_exact: Lent::new(Deadline::after(Exact::new(recv(right)), moment)),
            splice_fails: {
                let splice = Splice::new(Number(CLOSED), right, TEXT.len());
                Lent::new(Deadline::after(splice, hour))
            },
            child: Lent::new(WaitId::child(child.id()).unwrap()),
            no_child: Lent::new(WaitId::pidfd(Number(CLOSED))),
            fixed_child: Lent::new(WaitId::pidfd(Fixed(PLACE))),
            update: Lent::new(TimeoutUpdate::after(1, Duration::from_micros(10))),
            no_update: Lent::new(TimeoutUpdate::after(usize::MAX, hour)),
            futex_wait: Lent::new(FutexWait::new(word.clone(), 0)),
            futex_wake: Lent::new(FutexWake::new(word.clone(), 1)),
            no_bits: Lent::new(FutexWake::new(word, 1).bits(0)),
        }
    }
}

/// What is done to a file beside reads and writes: to one that is open, and to one that is not.
struct Disk {
    flagged: [Lent<WriteAt<Number, &'static [u8]>>; 2],
    polled: Lent<ReadAt<Number, Bytes>>,
    sync: [Lent<Sync<Number>>; 2],
    sync_range: [Lent<SyncRange<Number>>; 2],
    truncate: [Lent<Truncate<Number>>; 3],
    allocate: [Lent<Allocate<Number>>; 2],
    advise: [Lent<Advise<Number>>; 2],
    stat: [Lent<Stat<Number>>; 2],
    fixed_stat: Lent<Stat<Fixed>>,
    stat_at: [Lent<StatAt<Number, &'static CStr>>; 2],
}

impl Disk {
    fn new(file: Number) -> Self {
        let both = [file, Number(CLOSED)];
        let len = TEXT.len() as u64;
        let flagged = |fd| WriteAt::new(fd, 0, TEXT).flags(RwFlags::DSYNC);
        Self {
            flagged: both.map(|fd| Lent::new(flagged(fd))),
            polled: Lent::new(ReadAt::new(file, 0, room()).flags(RwFlags::from_bits(1))),
            sync: both.map(|fd| Lent::new(Sync::data(fd))),
            sync_range: both.map(|fd| Lent::new(SyncRange::new(fd, 0, 0))),
            truncate: [(file, len), (Number(CLOSED), len), (file, u64::MAX)]
                .map(|(fd, len)| Lent::new(Truncate::new(fd, len))),
            allocate: both.map(|fd| Lent::new(Allocate::new(fd, 0, len))),
            advise: both.map(|fd| Lent::new(Advise::new(fd, Advice::WillNeed))),
            stat: both.map(|fd| Lent::new(Stat::new(fd))),
            fixed_stat: Lent::new(Stat::new(Fixed(PLACE))),
            stat_at: [c"/", c"none"].map(|path| Lent::new(StatAt::new(Number(CLOSED), path))),
        }
    }
}

/// What makes sockets, and what never waits on them.
struct Sockets {
    make: Lent<Socket>,
    no_such: Lent<Socket>,
    pipe: Lent<Pipe>,
    bind: Lent<Bind<OwnedFd>>,
    listen: Lent<Listen<Number>>,
    set: Lent<SetSockOpt<Number, bool>>,
    get: Lent<GetSockOpt<Number, bool>>,
    shutdown: Lent<Shutdown<Number>>,
    fixed_get: Lent<GetSockOpt<Fixed, bool>>,
    bind_file: Lent<Bind<Number>>,
    get_of_file: Lent<GetSockOpt<Number, bool>>,
    accept: Lent<Accept<Number>>,
    connect: Lent<Connect<OwnedFd>>,
    accept_on_unix: Lent<Accept<OwnedFd>>,
    _client: UnixStream,
}

type OneNumber = Outgoing<{ space(4) }, [Number; 1]>;

/// On the pair of sockets.
struct Messages {
    send_to: Lent<SendTo<Number, &'static [u8]>>,
    recv_from: Lent<RecvFrom<Number, Bytes>>,
    send_vectored: Lent<SendVectored<Number, Texts>>,
    recv_vectored: Lent<RecvVectored<Number, Vec<Bytes>>>,
    send_to_vectored: Lent<SendToVectored<Number, Texts>>,
    recv_from_vectored: Lent<RecvFromVectored<Number, [Bytes; 2]>>,
    send_msg: Lent<SendMsg<Number, [&'static [u8]; 1], OneNumber>>,
    recv_msg: Lent<RecvMsg<Number, [Bytes; 1], Box<Incoming<{ space(4) }>>>>,
    refused: Lent<RecvFrom<Number, Bytes>>,
}

impl Messages {
    fn new(left: Number, right: Number) -> Self {
        let nowhere = Address::unspecified();
        let control = Outgoing::with_rights([left]).unwrap();
        let room_for_one = Box::new(Incoming::new());
        let trunc = MsgFlags::from_bits(libc::MSG_TRUNC);
        Self {
            send_to: Lent::new(SendTo::new(left, TEXT, nowhere)),
            recv_from: Lent::new(RecvFrom::new(right, room())),
            send_vectored: Lent::new(SendVectored::new(left, [TEXT, TEXT])),
            recv_vectored: Lent::new(RecvVectored::new(right, vec![room(), room()])),
            send_to_vectored: Lent::new(SendToVectored::new(left, [TEXT, TEXT], nowhere)),
            recv_from_vectored: Lent::new(RecvFromVectored::new(right, [room(), room()])),
            send_msg: Lent::new(SendMsg::new(left, [TEXT], control)),
            recv_msg: Lent::new(RecvMsg::new(right, [room()], room_for_one)),
            refused: Lent::new(RecvFrom::new(right, room()).flags(trunc)),
        }
    }
}

fn control(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let control = &mut ops.control;
    let ready = rig.run(&mut control.ready, 1).unwrap();
    assert_eq!(ready, PollEvents::WRITABLE);
    rig.push(&control.never, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(rig.fail(&mut control.closed, 1), libc::EBADF);
    marks.step("Poll");
    rig.run(&mut control.in_time, 1).unwrap();
    let late = rig.run(&mut control.late, 1).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    rig.push_typed(&control.late, 1);
    rig.wait(1);
    assert_eq!(rig.fail(&mut control.fails, 1), libc::EBADF);
    let late = rig.run(&mut control.late_exact, 1).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    let error = rig.run(&mut control.splice_fails, 1).unwrap_err();
    assert_eq!(error.raw_os_error() == Some(libc::EBADF), IS_LINUX);
    marks.step("Deadline");
    assert!(rig.run(&mut control.child, 1).unwrap().success());
    assert_eq!(rig.fail(&mut control.child, 1), libc::ECHILD);
    assert_eq!(rig.fail(&mut control.no_child, 1), libc::EBADF);
    let refusal = rig.refuse(&mut control.fixed_child, 1);
    assert_eq!(refusal, Refusal::FixedDescriptor);
    marks.step("WaitId");
    rig.push(&ops.long, 1);
    rig.run(&mut control.update, 2).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), Some(ETIME));
    assert_eq!(rig.fail(&mut control.update, 2), libc::ENOENT);
    assert_eq!(rig.refuse(&mut control.no_update, 2), Refusal::UserData);
    marks.step("TimeoutUpdate");
    rig.push(&control.futex_wait, 1);
    rig.submit(Some(Duration::ZERO));
    let woken = rig.run(&mut control.futex_wake, 2).unwrap();
    let refusal = rig.wait(1).refusal();
    let refused = (0, Some(Refusal::Unsupported));
    assert!((woken, refusal) == (1, None) || (woken, refusal) == refused);
    rig.push(&control.futex_wait, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert!(rig.wait(1).result().is_err());
    let error = rig.run(&mut control.no_bits, 2).unwrap_err();
    assert_eq!(error.raw_os_error() == Some(libc::EINVAL), IS_LINUX);
    marks.step("FutexWait, FutexWake");
}

/// A plain number, for operations that are made before the driver is.
#[derive(Debug, Clone, Copy)]
struct Number(RawFd);
// SAFETY: a stored number, never changed.
unsafe impl Descriptor for Number {
    fn target(&self) -> Target {
        Target::Plain(self.0)
    }
}

// SAFETY: a number without a destructor: nothing closes it.
unsafe impl Owns for Number {
    fn give_up(self) {}
}

/// A place in the driver's table.
#[derive(Clone, Copy)]
struct Fixed(u32);

// SAFETY: a stored number, never changed.
unsafe impl Descriptor for Fixed {
    fn target(&self) -> Target {
        Target::Fixed(self.0)
    }
}

/// A number that is never open.
const CLOSED: RawFd = RawFd::MAX;
/// A place of the table that is used, and one that is not there.
const PLACE: u32 = 3;
const NO_PLACE: u32 = 1 << 19;
const TEXT: &[u8] = b"0123456789abcdef";

impl Files {
    fn new() -> Self {
        let dir = env::temp_dir().join(format!("completeio-allocs-{}", process::id()));
        fs::create_dir(&dir).unwrap();
        let path = dir.join("file");
        fs::write(&path, TEXT).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let directory = File::open(&dir).unwrap();
        let null = File::open("/dev/null").unwrap();
        let spare = null.try_clone().unwrap().into_raw_fd();
        let (left, right) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = [tcp_socket(), tcp_socket(), tcp_socket()];
        Self {
            pipes: pipes(&dir),
            dir,
            directory,
            file,
            null,
            left,
            right,
            listener,
            sockets,
            spare,
        }
    }
}

fn pipes(dir: &Path) -> [OwnedFd; 5] {
    let pipe = || {
        let mut fds = [-1; 2];
        // SAFETY: the call writes two numbers.
        assert_eq!(unsafe { libc::pipe(fds.as_mut_ptr()) }, 0);
        // SAFETY: just made, and known to nobody else.
        fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let [reader, writer] = pipe();
    let name = dir.join("fifo");
    let c_string = CString::new(name.to_str().unwrap()).unwrap();
    // SAFETY: a path that lives as long as the call.
    assert_eq!(unsafe { libc::mkfifo(c_string.as_ptr(), 0o600) }, 0);
    let mut both = File::options();
    let fifo = both.read(true).write(true).open(name).unwrap();
    let [other, unread] = pipe();
    drop(other);
    let fifo_writer = fifo.try_clone().unwrap();
    [reader, writer, fifo.into(), fifo_writer.into(), unread]
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn tcp_socket() -> OwnedFd {
    // SAFETY: takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
    assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and known to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn room() -> Bytes {
    vec![0; 64].into_boxed_slice()
}

impl Ops {
    fn new(files: &Files) -> Self {
        let path = |name: &str| CString::new(files.dir.join(name).to_str().unwrap()).unwrap();
        let [left, right] = [&files.left, &files.right].map(|s| Number(s.as_raw_fd()));
        let [file, null] = [&files.file, &files.null].map(|f| Number(f.as_raw_fd()));
        let [first, second, deaf] = files.sockets.each_ref().map(|s| Number(s.as_raw_fd()));
        let pipes = files.pipes.each_ref().map(|p| Number(p.as_raw_fd()));
        let listener = Number(files.listener.as_raw_fd());
        let create = OpenOptions::new().write(true).create_new(true);
        let after = |i: u64| Lent::new(Timeout::after(Duration::from_micros(300 * i)));
        let hour = Duration::from_secs(3600);
        Self {
            nops: [(); 4 * ENTRIES].map(|()| Lent::new(Nop::new())),
            queue: VecDeque::with_capacity(4 * ENTRIES),
            // SAFETY: opcode 0 is a NOP: it touches no memory and posts one completion.
            raw: Lent::new(unsafe { Raw::new([0; 64]) }),
            recv: Lent::new(Recv::new(right, room())),
            send: Lent::new(Send::new(left, TEXT)),
            fixed_recv: Lent::new(Recv::new(Fixed(PLACE), room())),
            no_place: Lent::new(Recv::new(Fixed(NO_PLACE), room())),
            read: Lent::new(ReadAt::new(file, 0, room())),
            write: Lent::new(WriteAt::new(file, 0, TEXT)),
            exact: Lent::new(Exact::new(Recv::new(right, room()))),
            read_vectored: Lent::new(ReadVectoredAt::new(file, 0, vec![room(), room()])),
            write_vectored: Lent::new(WriteVectoredAt::new(file, 0, [TEXT, TEXT])),
            messages: Messages::new(left, right),
            wrong_offset: Lent::new(ReadAt::new(file, u64::MAX, room())),
            write_to_reader: Lent::new(WriteAt::new(null, 0, TEXT)),
            recv_on_file: Lent::new(Recv::new(file, room())),
            read_closed: Lent::new(ReadAt::new(Number(CLOSED), 0, room())),
            accept: Lent::new(Accept::new(listener)),
            deaf_accept: Lent::new(Accept::new(deaf)),
            connect: Lent::new(Connect::new(first, files.listener.local_addr().unwrap())),
            refused: Lent::new(Connect::new(second, nobody())),
            open: Lent::new(OpenAt::read(Cwd, path("file"))),
            create: Lent::new(OpenAt::new(Cwd, path("new"), create)),
            missing: Lent::new(OpenAt::read(Cwd, path("missing"))),
            fixed_dir: Lent::new(OpenAt::read(Fixed(PLACE), path("file"))),
            disk: Disk::new(file),
            close: Lent::new(Close::new(Number(files.spare))),
            close_closed: Lent::new(Close::new(Number(CLOSED))),
            reads: [pipes[0], pipes[2], file, Number(CLOSED)]
                .map(|fd| Lent::new(Read::new(fd, room()))),
            writes: [pipes[1], pipes[3], file, pipes[4]].map(|fd| Lent::new(Write::new(fd, TEXT))),
            vectored_reads: [pipes[0], pipes[2], Number(CLOSED)]
                .map(|fd| Lent::new(ReadVectored::new(fd, vec![room(), room()]))),
            vectored_writes: [pipes[1], pipes[3], pipes[4]]
                .map(|fd| Lent::new(WriteVectored::new(fd, [TEXT, TEXT]))),
            splices: [
                Splice::new(file, pipes[1], TEXT.len()).from_offset(0),
                Splice::new(pipes[0], file, TEXT.len()).to_offset(0),
            ]
            .map(Lent::new),
            tee: Lent::new(Tee::new(pipes[0], pipes[3], 64)),
            timeouts: [5, 0, 3, 1, 4, 2, 7, 6].map(after),
            past: Lent::new(Timeout::at(Instant::now())),
            clocks: [Clock::Boottime, Clock::Monotonic, Clock::Realtime]
                .map(|clock| Lent::new(Timeout::after_on(clock, Duration::from_micros(10)))),
            long: Lent::new(Timeout::after(hour)),
            control: Control::new(right),
            names: Names::new(files),
            sockets: Sockets::new(files),
        }
    }
}

impl Sockets {
    fn new(files: &Files) -> Self {
        let socket = tcp_socket();
        let number = Number(socket.as_raw_fd());
        let file = Number(files.file.as_raw_fd());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let path = files.dir.join("socket");
        let unix = UnixListener::bind(&path).unwrap();
        let options = SocketOptions::new().no_delay(true).keep_alive(true);
        let listener = files.listener.local_addr().unwrap();
        let accept = Accept::new(Number(files.listener.as_raw_fd()));
        let connect = Connect::new(tcp_socket(), listener);
        Self {
            make: Lent::new(Socket::stream(&any.into())),
            no_such: Lent::new(Socket::new(9999, 0, 0)),
            pipe: Lent::new(Pipe::new()),
            bind: Lent::new(Bind::new(socket, any)),
            listen: Lent::new(Listen::new(number, 1)),
            set: Lent::new(SetSockOpt::new(number, SockOpt::NO_DELAY, true)),
            get: Lent::new(GetSockOpt::new(number, SockOpt::NO_DELAY)),
            shutdown: Lent::new(Shutdown::new(number, std::net::Shutdown::Both)),
            fixed_get: Lent::new(GetSockOpt::new(Fixed(PLACE), SockOpt::KEEP_ALIVE)),
            bind_file: Lent::new(Bind::new(file, any)),
            get_of_file: Lent::new(GetSockOpt::new(file, SockOpt::NO_DELAY)),
            accept: Lent::new(accept.options(options)),
            connect: Lent::new(connect.options(options)),
            _client: UnixStream::connect(&path).unwrap(),
            accept_on_unix: Lent::new(Accept::new(unix.into()).options(options)),
        }
    }
}

/// A driver, and where its entries go.
struct Rig<'a> {
    driver: Driver<'static>,
    entries: &'a mut Vec<Entry>,
}

impl Rig<'_> {
    /// Pushes through a thin pointer.
    fn push<O: OpCode + 'static>(&mut self, op: &Lent<O>, id: usize) {
        // SAFETY: not in flight; it lives until the driver is gone.
        let object = unsafe { OpObject::from_ptr(op.0, id) };
        assert!(self.driver.try_push_dyn(object).is_ok(), "full");
    }

    /// Pushes by type.
    fn push_typed<O: OpCode + 'static>(&mut self, op: &Lent<O>, id: usize) {
        // SAFETY: not in flight; it lives until the driver is gone.
        let lent = unsafe { &mut *op.0.as_ptr() };
        assert!(self.driver.try_push(lent, id).is_ok(), "full");
    }

    fn submit(&mut self, timeout: Option<Duration>) {
        // SAFETY: operations are `Lent`, and outlive the driver.
        unsafe { self.driver.submit(timeout, self.entries) }.unwrap();
    }

    fn submit_until(&mut self, wait: Wait) {
        // SAFETY: as above.
        unsafe { self.driver.submit_until(wait, self.entries) }.unwrap();
    }

    /// The entry of an operation.
    fn wait(&mut self, id: usize) -> Entry {
        loop {
            let place = self
                .entries
                .iter()
                .position(|entry| entry.user_data() == id);
            if let Some(place) = place {
                return self.entries.swap_remove(place);
            }
            self.submit(None);
        }
    }

    /// Runs one operation to its end.
    fn run<O: Op + 'static>(&mut self, op: &mut Lent<O>, id: usize) -> std::io::Result<O::Output> {
        self.push(op, id);
        let entry = self.wait(id);
        // SAFETY: the entry of this operation's only flight.
        unsafe { op.op().finish(entry) }
    }

    /// The error number of an operation that fails.
    fn fail<O: Op + 'static>(&mut self, op: &mut Lent<O>, id: usize) -> i32 {
        self.push(op, id);
        self.wait(id).raw_os_error().unwrap()
    }

    /// Why an operation is refused.
    fn refuse<O: Op + 'static>(&mut self, op: &mut Lent<O>, id: usize) -> Refusal {
        self.push_typed(op, id);
        let entry = self.wait(id);
        assert!(entry.result().is_err());
        entry.refusal().unwrap()
    }

    /// Everything out.
    fn settle(&mut self) {
        while self.driver.in_flight() > 0 {
            self.submit(None);
        }
        self.entries.clear();
    }
}

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

fn attach(rig: &mut Rig<'_>, files: &Files, marks: &mut Marks) {
    let driver = &mut rig.driver;
    for fd in [
        files.left.as_raw_fd(),
        files.right.as_raw_fd(),
        files.file.as_raw_fd(),
    ] {
        driver.attach(fd).unwrap();
    }
    driver.attach_fd(files.listener.as_fd()).unwrap();
    let null = driver.attach(files.null.as_raw_fd()).unwrap();
    marks.step("attach");
    assert_eq!(
        driver.attach(CLOSED).unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
    marks.step("attach what is closed");
    driver.detach(null);
    driver.attach(files.null.as_raw_fd()).unwrap();
    marks.step("detach, attach anew");

    let right = files.right.as_raw_fd();
    driver.register_fd(right, PLACE).unwrap();
    driver
        .register_fds(&[right, files.file.as_raw_fd()], PLACE + 1)
        .unwrap();
    marks.step("register");
    let fixed = driver.register_fd(right, PLACE + 1).unwrap();
    driver.unregister_fd(fixed).unwrap();
    marks.step("unregister");
    let _either_way = driver.unregister_fd(fixed);
    let outside = driver.register_fd(right, NO_PLACE).unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::InvalidInput);
    let closed = driver.register_fds(&[right, CLOSED], 0).unwrap_err();
    assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    marks.step("register what is wrong");
}

/// Each kind of operation succeeds.
fn complete(rig: &mut Rig<'_>, ops: &mut Ops, files: &Files, marks: &mut Marks) {
    rig.run(&mut ops.nops[0], 1).unwrap();
    marks.step("Nop");
    rig.push_typed(&ops.nops[0], 1);
    rig.wait(1);
    marks.step("Nop, by type");
    let raw = rig.run(&mut ops.raw, 2);
    assert!(raw.is_ok() || rig.driver.backend() == Backend::Readiness);
    marks.step("Raw");

    // The receive has to wait.
    rig.push(&ops.recv, 3);
    rig.submit(Some(Duration::ZERO));
    assert_eq!(rig.run(&mut ops.send, 4).unwrap(), TEXT.len());
    let entry = rig.wait(3);
    // SAFETY: the entry of this operation's only flight.
    assert_eq!(unsafe { ops.recv.op().finish(entry) }.unwrap(), TEXT.len());
    assert!(ops.recv.op().buf().starts_with(TEXT));
    marks.step("Recv, Send");
    rig.run(&mut ops.send, 4).unwrap();
    assert_eq!(rig.run(&mut ops.fixed_recv, 3).unwrap(), TEXT.len());
    marks.step("Recv by the table");

    messages(rig, &mut ops.messages, marks);
    rig.push(&ops.accept, 5);
    rig.run(&mut ops.connect, 6).unwrap();
    let entry = rig.wait(5);
    // SAFETY: the entry of this operation's only flight.
    let accepted = unsafe { ops.accept.op().finish(entry) }.unwrap();
    assert!(accepted.addr.as_socket_addr().is_some());
    drop(accepted);
    marks.step("Accept, Connect");
    rig.push(&ops.accept, 5);
    rig.submit(Some(Duration::ZERO));
    drop(TcpStream::connect(files.listener.local_addr().unwrap()).unwrap());
    let entry = rig.wait(5);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.accept.op().dispose(entry) };
    marks.step("Accept, disposed of");

    drop(rig.run(&mut ops.open, 7).unwrap());
    drop(rig.run(&mut ops.create, 7).unwrap());
    marks.step("OpenAt");
    assert_eq!(rig.run(&mut ops.write, 8).unwrap(), TEXT.len());
    marks.step("WriteAt");
    assert_eq!(rig.run(&mut ops.read, 9).unwrap(), TEXT.len());
    assert!(ops.read.op().buf().starts_with(TEXT));
    marks.step("ReadAt");
    rig.push(&ops.exact, 14);
    for _ in 0..4 {
        rig.submit(Some(Duration::ZERO));
        rig.run(&mut ops.send, 15).unwrap();
    }
    let entry = rig.wait(14);
    // SAFETY: the entry of this operation's only flight.
    let received = unsafe { ops.exact.op().finish(entry) };
    assert_eq!(received.unwrap(), 4 * TEXT.len());
    rig.push(&ops.exact, 14);
    rig.submit(Some(Duration::ZERO));
    rig.run(&mut ops.send, 15).unwrap();
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(14).unwrap();
    let entry = rig.wait(14);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.exact.op().finish(entry) }.unwrap_err();
    assert_eq!(ops.exact.op().advanced(), TEXT.len());
    marks.step("Exact, in pieces");
    let written = rig.run(&mut ops.write_vectored, 12).unwrap();
    assert_eq!(rig.run(&mut ops.read_vectored, 13).unwrap(), written);
    marks.step("ReadVectoredAt, WriteVectoredAt");
    rig.run(&mut ops.close, 10).unwrap();
    marks.step("Close");
    rig.run(&mut ops.past, 11).unwrap();
    marks.step("Timeout");
}

/// Sockets, from nothing to the end.
fn sockets(rig: &mut Rig<'_>, ops: &mut Sockets, marks: &mut Marks) {
    drop(rig.run(&mut ops.make, 1).unwrap());
    assert_eq!(rig.fail(&mut ops.no_such, 2), libc::EAFNOSUPPORT);
    marks.step("Socket");
    drop(rig.run(&mut ops.pipe, 2).unwrap());
    rig.push(&ops.pipe, 2);
    let entry = rig.wait(2);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.pipe.op().dispose(entry) };
    marks.step("Pipe");
    rig.run(&mut ops.bind, 3).unwrap();
    assert_eq!(rig.fail(&mut ops.bind, 3), libc::EINVAL);
    assert_eq!(rig.fail(&mut ops.bind_file, 3), libc::ENOTSOCK);
    marks.step("Bind");
    rig.run(&mut ops.set, 4).unwrap();
    assert!(rig.run(&mut ops.get, 4).unwrap());
    assert_eq!(rig.fail(&mut ops.get_of_file, 4), libc::ENOTSOCK);
    rig.push(&ops.fixed_get, 4);
    rig.wait(4);
    marks.step("SetSockOpt, GetSockOpt");
    for (id, n) in [(10, 1), (20, 4)] {
        for _ in 0..n {
            rig.push(&ops.set, id);
            rig.push_typed(&ops.get, id + 1);
            rig.driver.try_cancel(id).unwrap();
            rig.settle();
        }
    }
    marks.step("SetSockOpt, cancelled");
    rig.run(&mut ops.listen, 5).unwrap();
    // Linux takes it for the end of the listening.
    assert_eq!(rig.run(&mut ops.shutdown, 5).is_ok(), IS_LINUX);
    assert_eq!(rig.fail(&mut ops.shutdown, 5), libc::ENOTCONN);
    marks.step("Listen, Shutdown");
    rig.push(&ops.accept, 6);
    rig.run(&mut ops.connect, 7).unwrap();
    let entry = rig.wait(6);
    // SAFETY: the entry of this operation's only flight.
    drop(unsafe { ops.accept.op().finish(entry) }.unwrap());
    let error = rig.run(&mut ops.accept_on_unix, 8).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(NO_LEVEL));
    marks.step("options of connections");
}

/// Reads and writes at the current position: of a pipe, a FIFO, a file, and what fails.
fn stream(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let [pipe, fifo, file, closed] = &mut ops.reads;
    let [to_pipe, to_fifo, to_file, unread] = &mut ops.writes;
    for (read, write) in [(pipe, to_pipe), (fifo, to_fifo)] {
        for attached in [false, true] {
            if attached {
                rig.driver.attach(read.op().fd().0).unwrap();
            }
            rig.push(read, 1);
            rig.submit(Some(Duration::ZERO));
            rig.push(write, 2);
            assert_eq!(rig.wait(2).into_result().unwrap(), TEXT.len());
            let entry = rig.wait(1);
            // SAFETY: the entry of this operation's only flight.
            assert_eq!(unsafe { read.op().finish(entry) }.unwrap(), TEXT.len());
            rig.push(read, 1);
            rig.submit(Some(Duration::ZERO));
            rig.driver.try_cancel(1).unwrap();
            assert_eq!(rig.wait(1).raw_os_error(), Some(libc::ECANCELED));
        }
    }
    marks.step("Read, Write");
    // Several buffers at once have made it twice as long.
    assert_eq!(rig.run(file, 1).unwrap(), 2 * TEXT.len());
    assert_eq!(rig.run(to_file, 2).unwrap(), TEXT.len());
    marks.step("Read, Write of a file");
    let [pipe, fifo, vectored_closed] = &mut ops.vectored_reads;
    let [to_pipe, to_fifo, vectored_unread] = &mut ops.vectored_writes;
    for (read, write) in [(pipe, to_pipe), (fifo, to_fifo)] {
        rig.push(read, 1);
        rig.submit(Some(Duration::ZERO));
        assert_eq!(rig.run(write, 2).unwrap(), 2 * TEXT.len());
        let entry = rig.wait(1);
        // SAFETY: the entry of this operation's only flight.
        let read = unsafe { read.op().finish(entry) };
        assert_eq!(read.unwrap(), 2 * TEXT.len());
    }
    marks.step("ReadVectored, WriteVectored");
    let [splice, drain] = &mut ops.splices;
    if IS_LINUX {
        assert_eq!(rig.run(splice, 1).unwrap(), TEXT.len());
        assert_eq!(rig.run(drain, 2).unwrap(), TEXT.len());
    } else {
        assert_eq!(rig.refuse(splice, 1), Refusal::Unsupported);
    }
    marks.step("Splice");
    rig.push(&ops.tee, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert!(rig.wait(1).result().is_err());
    marks.step("Tee, cancelled");
    assert_eq!(rig.fail(unread, 1), libc::EPIPE);
    assert_eq!(rig.fail(closed, 1), libc::EBADF);
    assert_eq!(rig.fail(vectored_unread, 1), libc::EPIPE);
    assert_eq!(rig.fail(vectored_closed, 1), libc::EBADF);
    marks.step("Read, Write that fail");
}

/// Each kind of message succeeds, and fails.
fn messages(rig: &mut Rig<'_>, ops: &mut Messages, marks: &mut Marks) {
    let len = rig.run(&mut ops.send_to, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_from, 21).unwrap().len, len);
    marks.step("SendTo, RecvFrom");
    let len = rig.run(&mut ops.send_vectored, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_vectored, 21).unwrap(), len);
    marks.step("SendVectored, RecvVectored");
    let len = rig.run(&mut ops.send_to_vectored, 20).unwrap();
    assert_eq!(rig.run(&mut ops.recv_from_vectored, 21).unwrap().len, len);
    marks.step("SendToVectored, RecvFromVectored");
    for _ in 0..2 {
        rig.push(&ops.recv_msg, 21);
        rig.submit(Some(Duration::ZERO));
        rig.run(&mut ops.send_msg, 20).unwrap();
        let entry = rig.wait(21);
        // SAFETY: the entry of this operation's last flight.
        let received = unsafe { ops.recv_msg.op().finish(entry) }.unwrap();
        assert_eq!(received.len, TEXT.len());
    }
    let message = ops.recv_msg.op().control_mut().messages().next();
    assert!(matches!(message, Some(ControlMessage::Rights(fds)) if fds.remaining() == 1));
    ops.recv_msg.op().control_mut().clear();
    marks.step("SendMsg, RecvMsg");
    assert_eq!(rig.refuse(&mut ops.refused, 22), Refusal::Flags);
    marks.step("RecvFrom refused");
    let place = *ops.recv_vectored.op().fd();
    rig.push(&ops.recv_vectored, 23);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_fd(&place).unwrap();
    assert_eq!(rig.wait(23).raw_os_error(), Some(libc::ECANCELED));
    marks.step("RecvVectored cancelled");
}

/// Each kind of operation fails.
fn fail(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    assert_eq!(rig.fail(&mut ops.read_closed, 1), libc::EBADF);
    marks.step("ReadAt fails");
    assert_eq!(rig.fail(&mut ops.write_to_reader, 2), libc::EBADF);
    marks.step("WriteAt fails");
    assert_eq!(rig.fail(&mut ops.recv_on_file, 3), libc::ENOTSOCK);
    marks.step("Recv fails");
    assert_eq!(rig.fail(&mut ops.deaf_accept, 4), libc::EINVAL);
    marks.step("Accept fails");
    // A library that stands in for kqueue takes a socket's pending error.
    let refused = if cfg!(libkqueue) {
        libc::ECONNABORTED
    } else {
        libc::ECONNREFUSED
    };
    assert_eq!(rig.fail(&mut ops.refused, 5), refused);
    marks.step("Connect fails");
    assert_eq!(rig.fail(&mut ops.missing, 6), libc::ENOENT);
    assert_eq!(rig.fail(&mut ops.create, 6), libc::EEXIST);
    marks.step("OpenAt fails");
    assert_eq!(rig.fail(&mut ops.close_closed, 7), libc::EBADF);
    marks.step("Close fails");
}

/// Each succeeds, fails, and is refused.
fn reach_the_disk(rig: &mut Rig<'_>, disk: &mut Disk, marks: &mut Marks) {
    macro_rules! both {
        ($name:literal, $ops:expr) => {
            rig.run(&mut $ops[0], 1).unwrap();
            assert_eq!(rig.fail(&mut $ops[1], 2), libc::EBADF);
            marks.step($name);
        };
    }
    // No flags and no ranges elsewhere.
    if IS_LINUX {
        both!("WriteAt with flags", disk.flagged);
        both!("SyncRange", disk.sync_range);
    } else {
        assert_eq!(rig.fail(&mut disk.flagged[0], 1), libc::EOPNOTSUPP);
        marks.step("WriteAt with flags");
        let refusal = rig.refuse(&mut disk.sync_range[0], 1);
        assert_eq!(refusal, Refusal::Unsupported);
        marks.step("SyncRange");
    }
    both!("Sync", disk.sync);
    both!("Allocate", disk.allocate);
    both!("Advise", disk.advise);
    both!("Stat", disk.stat);
    both!("StatAt", disk.stat_at);
    rig.push(&disk.truncate[0], 1);
    let truncated = rig.wait(1);
    assert!(truncated.result().is_ok() || truncated.refusal() == Some(Refusal::Unsupported));
    rig.push(&disk.truncate[1], 2);
    assert!(rig.wait(2).result().is_err());
    marks.step("Truncate");
    assert_eq!(rig.refuse(&mut disk.truncate[2], 3), Refusal::Offset);
    assert_eq!(
        rig.refuse(&mut disk.fixed_stat, 4),
        Refusal::FixedDescriptor
    );
    assert_eq!(rig.refuse(&mut disk.polled, 5), Refusal::Flags);
    marks.step("a wrong length, a fixed Stat, a flag that polls");
}

/// The driver refuses what the types cannot exclude.
fn refuse(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    assert_eq!(rig.refuse(&mut ops.wrong_offset, 1), Refusal::Offset);
    marks.step("a wrong offset");
    assert_eq!(rig.refuse(&mut ops.nops[0], usize::MAX), Refusal::UserData);
    marks.step("wrong user data");
    assert_eq!(rig.refuse(&mut ops.fixed_dir, 2), Refusal::FixedDescriptor);
    marks.step("a fixed directory");
    rig.push(&ops.no_place, 3);
    assert!(rig.wait(3).result().is_err());
    marks.step("a place that is not there");
}

/// Names and attributes: each kind succeeds, fails, and is refused.
fn names(rig: &mut Rig<'_>, ops: &mut Names, marks: &mut Marks) {
    rig.run(&mut ops.make, 1).unwrap();
    assert_eq!(rig.fail(&mut ops.make, 1), libc::EEXIST);
    marks.step("MakeDir");
    rig.run(&mut ops.symlink, 2).unwrap();
    assert_eq!(rig.fail(&mut ops.symlink, 2), libc::EEXIST);
    marks.step("Symlink");
    rig.run(&mut ops.rename, 3).unwrap();
    assert_eq!(rig.fail(&mut ops.rename, 3), libc::ENOENT);
    assert_eq!(rig.fail(&mut ops.closed, 3), libc::EBADF);
    assert_eq!(rig.refuse(&mut ops.fixed, 3), Refusal::FixedDescriptor);
    marks.step("Rename");
    rig.run(&mut ops.link, 4).unwrap();
    assert_eq!(rig.fail(&mut ops.link, 4), libc::EEXIST);
    marks.step("HardLink");
    rig.run(&mut ops.unlink, 5).unwrap();
    assert_eq!(rig.fail(&mut ops.unlink, 5), libc::ENOENT);
    rig.run(&mut ops.remove, 5).unwrap();
    assert_eq!(rig.fail(&mut ops.remove, 5), libc::ENOENT);
    marks.step("Unlink");

    // Where the file system has no attributes, all of them fail: that takes no memory either.
    let has = rig.run(&mut ops.set, 6).is_ok();
    assert_eq!(rig.run(&mut ops.set_path, 6).is_ok(), has);
    marks.step("SetXattr");
    assert_eq!(rig.run(&mut ops.get, 7).is_ok(), has);
    assert_eq!(rig.run(&mut ops.get_path, 7).is_ok(), has);
    assert!(!has || ops.get.op().buf().starts_with(TEXT));
    marks.step("GetXattr");
    rig.push(&ops.set, 8);
    rig.push(&ops.rename, 9);
    rig.driver.try_cancel(8).unwrap();
    rig.driver.try_cancel(9).unwrap();
    rig.wait(8);
    assert!(rig.wait(9).result().is_err());
    marks.step("names cancelled");
}

/// Batches, and queues that are full.
fn fill(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    for (i, op) in ops.nops.iter().enumerate() {
        // SAFETY: not in flight; it lives until the driver is gone.
        ops.queue.push_back(unsafe { OpObject::from_ptr(op.0, i) });
    }
    while !ops.queue.is_empty() {
        rig.driver.push_queue(&mut ops.queue);
        rig.driver.push_queue(&mut ops.queue);
        rig.submit(None);
    }
    rig.settle();
    marks.step("push_queue");
    for (i, op) in ops.nops.iter().enumerate() {
        // SAFETY: not in flight; it lives until the driver is gone.
        ops.queue.push_back(unsafe { OpObject::from_ptr(op.0, i) });
    }
    while !ops.queue.is_empty() {
        let wait = Wait::new();
        // SAFETY: operations are `Lent`, and outlive the driver.
        unsafe { rig.driver.submit_queue(&mut ops.queue, wait, rig.entries) }.unwrap();
    }
    rig.settle();
    marks.step("submit_queue");

    for (i, op) in ops.nops[..ENTRIES].iter().enumerate() {
        rig.push(op, i);
    }
    // SAFETY: not in flight; it lives until the driver is gone.
    let object = unsafe { OpObject::from_ptr(ops.nops[ENTRIES].0, 99) };
    let back = rig.driver.try_push_dyn(object).unwrap_err().into_inner();
    assert_eq!(back.user_data(), 99);
    // SAFETY: as above.
    let lent = unsafe { &mut *ops.nops[ENTRIES].0.as_ptr() };
    assert!(rig.driver.try_push(lent, 99).is_err());
    marks.step("full of pushed operations");
    rig.settle();

    for (i, op) in ops.nops[..2 * ENTRIES].iter().enumerate() {
        if i == ENTRIES {
            let mut small = sink::bounded(1, drop::<Entry>);
            // SAFETY: operations are `Lent`, and outlive the driver.
            unsafe { rig.driver.submit(Some(Duration::ZERO), &mut small) }.unwrap();
        }
        rig.push(op, i);
    }
    marks.step("a sink with little room");
    rig.settle();
    marks.step("many entries at once");
}

/// Cancelled in each state, by each of the three ways.
fn cancel(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let canceled = Some(libc::ECANCELED);
    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.submit(Some(Duration::ZERO));
    for id in 1..=3 {
        rig.driver.try_cancel(id).unwrap();
        assert_eq!(rig.wait(id).raw_os_error(), canceled);
    }
    marks.step("cancelled by user data");

    let number = *ops.recv.op().fd();
    rig.push(&ops.recv, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_fd(&number).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), canceled);
    marks.step("cancelled by descriptor");

    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_all().unwrap();
    for id in 1..=3 {
        assert_eq!(rig.wait(id).raw_os_error(), canceled);
    }
    marks.step("cancelled with all");

    rig.push(&ops.recv, 1);
    rig.push(&ops.long, 2);
    rig.push(&ops.nops[0], 3);
    for id in 1..=3 {
        rig.driver.try_cancel(id).unwrap();
    }
    for id in 1..=3 {
        rig.wait(id);
    }
    marks.step("cancelled before it was submitted");

    // The places for cancellations run out, where there are any; none of these finds anything.
    for id in 0..=CANCELS {
        let asked = rig.driver.try_cancel(1000 + id);
        assert!(asked.is_ok() || id == CANCELS);
    }
    rig.submit(Some(Duration::ZERO));
    marks.step("cancels of nothing");

    rig.push(&ops.read, 1);
    rig.push(&ops.write, 2);
    rig.push(&ops.open, 3);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_all().unwrap();
    for id in [1, 2] {
        rig.wait(id);
    }
    let entry = rig.wait(3);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.open.op().dispose(entry) };
    marks.step("cancelled while it may run");
}

/// Timers, and waits with an end.
fn time(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    for (i, op) in ops.timeouts.iter().chain(&ops.clocks).enumerate() {
        rig.push(op, i);
    }
    rig.settle();
    marks.step("timers");

    rig.submit(Some(Duration::ZERO));
    marks.step("a wait of zero");
    rig.submit(Some(Duration::from_millis(1)));
    marks.step("a wait that expires");
    let soon = || Instant::now() + Duration::from_millis(1);
    rig.push(&ops.long, 1);
    rig.push(&ops.timeouts[0], 2);
    rig.submit_until(Wait::new().at_least(2).until(soon()));
    rig.submit_until(Wait::new().at_least(0));
    rig.submit_until(Wait::new().at_least(1).until(soon()));
    marks.step("waits for several");
    rig.driver.try_cancel_all().unwrap();
    rig.settle();
    marks.step("timers cancelled");
}

/// What the safe layer lends, and what it moves into slots.
struct Safe<'fd> {
    nops: [Nop; 2 * ENTRIES],
    recv: Recv<BorrowedFd<'fd>, [u8; 64]>,
    send: Send<BorrowedFd<'fd>, &'static [u8]>,
    read: ReadAt<BorrowedFd<'fd>, [u8; 64]>,
    wrong: ReadAt<BorrowedFd<'fd>, [u8; 64]>,
    open: OpenAt<Cwd>,
    long: Timeout,
    pending: [Recv<BorrowedFd<'fd>, [u8; 64]>; 8],
    left: Arc<OwnedFd>,
    right: Arc<OwnedFd>,
    path: Arc<CString>,
    woken: Arc<Woken>,
}

/// Counts how often it was woken.
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'fd> Safe<'fd> {
    fn new(files: &'fd Files) -> Self {
        let [left, right] = [&files.left, &files.right].map(AsFd::as_fd);
        let owned = |fd: BorrowedFd<'_>| Arc::new(fd.try_clone_to_owned().unwrap());
        let path = CString::new(files.dir.join("file").to_str().unwrap()).unwrap();
        Self {
            nops: [(); 2 * ENTRIES].map(|()| Nop::new()),
            recv: Recv::new(right, [0; 64]),
            send: Send::new(left, TEXT),
            read: ReadAt::new(files.file.as_fd(), 0, [0; 64]),
            wrong: ReadAt::new(files.file.as_fd(), u64::MAX, [0; 64]),
            open: OpenAt::read(Cwd, path.clone()),
            long: Timeout::after(Duration::from_secs(3600)),
            pending: [(); 8].map(|()| Recv::new(right, [0; 64])),
            left: owned(left),
            right: owned(right),
            path: Arc::new(path),
            woken: Arc::new(Woken(AtomicUsize::new(0))),
        }
    }

    /// A receive that pends.
    fn owned_recv(&self) -> Recv<Arc<OwnedFd>, [u8; 64]> {
        Recv::new(self.right.clone(), [0; 64])
    }

    fn owned_send(&self) -> Send<Arc<OwnedFd>, &'static [u8]> {
        Send::new(self.left.clone(), TEXT)
    }
}

/// A path that is shared.
#[derive(Debug)]
struct Shared(Arc<CString>);

impl AsRef<CStr> for Shared {
    fn as_ref(&self) -> &CStr {
        &self.0
    }
}

/// Makes what a step needs, and that is not the driver's: it is not counted.
fn aside<T>(make: impl FnOnce() -> T) -> T {
    COUNTS.store(false, Ordering::SeqCst);
    let made = make();
    COUNTS.store(true, Ordering::SeqCst);
    made
}

/// Lends, pushes, submits, redeems, of one alone.
fn round<'env, O: Op + 'env>(
    s: &mut Scope<'_, 'env>,
    op: &'env mut O,
) -> (std::io::Result<O::Output>, &'env mut O)
where
    O::Fd: Holds,
{
    let (prepared, ticket) = s.lend(op, 1);
    assert!(s.try_push(prepared).is_ok(), "full");
    ticket.redeem(next(s)).unwrap()
}

fn next<'s>(s: &mut Scope<'s, '_>) -> Done<'s> {
    loop {
        let mut event = None;
        s.submit(None, &mut event).unwrap();
        if let Some(done) = event.and_then(|event: Event<'s>| event.done()) {
            return done;
        }
    }
}

/// Hands over what pends.
fn hand_over(s: &mut Scope<'_, '_>) {
    let mut event = None;
    s.submit(Some(Duration::ZERO), &mut event).unwrap();
    assert!(event.is_none());
}

/// Loans, from one to more than fit.
fn scopes(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    let Safe { nops, recv, .. } = safe;
    let [nop, nops @ ..] = nops;
    driver
        .scope(|s| {
            let mut queue = aside(|| VecDeque::with_capacity(2 * ENTRIES));
            let mut tickets = aside(|| Vec::with_capacity(2 * ENTRIES));
            let mut events = aside(|| Vec::with_capacity(2 * ENTRIES));
            marks.step("a scope begins");
            let mut nop = nop;
            for _ in 0..100 {
                nop = round(s, nop).1;
            }
            marks.step("lend, push, submit, redeem");
            round(s, &mut safe.read).0.unwrap();
            drop(round(s, &mut safe.open).0.unwrap());
            round(s, &mut safe.wrong).0.unwrap_err();
            marks.step("files in a scope");

            let (prepared, ticket) = s.lend(recv, 2);
            s.try_push(prepared).unwrap();
            hand_over(s);
            round(s, &mut safe.send).0.unwrap();
            let (received, recv) = ticket.redeem(next(s)).unwrap();
            received.unwrap();
            let (prepared, ticket) = s.lend(recv, 3);
            let recv = ticket.take_back(prepared).unwrap();
            let (prepared, ticket) = s.lend(recv, 4);
            s.try_push(prepared).unwrap();
            hand_over(s);
            s.try_cancel(&ticket).unwrap();
            ticket.redeem(next(s)).unwrap().0.unwrap_err();
            marks.step("sockets in a scope");

            for (n, nop) in nops.iter_mut().enumerate() {
                let (prepared, ticket) = s.lend(nop, n);
                queue.push_back(prepared);
                tickets.push(Some(ticket));
            }
            s.push_queue(&mut queue);
            let extra = queue.pop_front().unwrap();
            let extra = s.try_push(extra).unwrap_err().into_inner();
            queue.push_front(extra);
            while tickets.iter().any(Option::is_some) {
                let wait = Wait::new().until(Instant::now() + Duration::from_secs(1));
                s.submit_queue(&mut queue, wait, &mut events).unwrap();
                for event in events.drain(..) {
                    let done = event.done().unwrap();
                    let ticket = tickets[done.token()].take().unwrap();
                    ticket.redeem(done).unwrap().0.unwrap();
                }
            }
            marks.step("batches in a scope");
        })
        .unwrap();
    marks.step("a scope ends");
}

/// With something in every state.
fn ends_of_scopes(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for turns in 0..3 {
        driver
            .scope(|s| {
                for recv in &mut safe.pending {
                    s.try_push(s.lend(recv, 1).0).unwrap();
                }
                for _ in 0..turns {
                    hand_over(s);
                }
                for prepared in [s.lend(&mut safe.open, 2).0, s.lend(&mut safe.long, 2).0] {
                    s.try_push(prepared).unwrap();
                }
                for nop in &mut safe.nops[..4] {
                    s.try_push(s.lend(nop, 3).0).unwrap();
                }
                drop(next(s));
            })
            .unwrap();
        assert_eq!(driver.in_flight(), 0);
    }
    marks.step("ends of scopes");
}

/// Submits until an operation that the driver owns is done.
fn finish<O: Op>(driver: &mut Driver<'static>, key: Key<'_, O>) -> (std::io::Result<O::Output>, O) {
    while !key.is_done() {
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
    }
    key.redeem().unwrap()
}

/// Submits until nothing is in flight.
fn settle(driver: &mut Driver<'static>) {
    while driver.in_flight() > 0 {
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
    }
    while driver.next_finished().is_some() {}
    assert_eq!(driver.owned_capacity_left(), SLOTS);
}

/// Operations of the driver's own.
fn own(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for n in 0..100 {
        let key = driver.try_push_owned(Nop::new(), n).unwrap();
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
        assert_eq!(driver.next_finished().unwrap().token(), n);
        key.redeem().unwrap().0.unwrap();
    }
    marks.step("owned: push, submit, finished, redeem");
    let recv = driver.try_push_owned(safe.owned_recv(), 1).unwrap();
    driver.scope(hand_over).unwrap();
    let recv = recv.redeem().unwrap_err();
    let send = driver.try_push_owned(safe.owned_send(), 2).unwrap();
    finish(driver, send).0.unwrap();
    finish(driver, recv).0.unwrap();
    let open = OpenAt::read(Cwd, Shared(safe.path.clone()));
    let open = driver.try_push_owned(open, 3).unwrap();
    drop(finish(driver, open).0.unwrap());
    let wrong = ReadAt::new(Cwd, u64::MAX, [0; 4]);
    let wrong = driver.try_push_owned(wrong, 4).unwrap();
    finish(driver, wrong).0.unwrap_err();
    settle(driver);
    marks.step("owned: of each kind");
    let keys = [(); SLOTS].map(|()| driver.try_push_owned(safe.owned_recv(), 5).unwrap());
    let full = driver.try_push_owned(safe.owned_recv(), 6).unwrap_err();
    drop(full.into_inner());
    driver.scope(hand_over).unwrap();
    for key in &keys {
        key.cancel();
    }
    for key in keys {
        finish(driver, key).0.unwrap_err();
    }
    settle(driver);
    marks.step("owned: full, and cancelled");
}

/// Keys that are dropped, in each state of their operations.
fn orphan(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for turns in 0..4 {
        let keys = [(); SLOTS - 2].map(|()| driver.try_push_owned(safe.owned_recv(), 1).unwrap());
        let nop = driver.try_push_owned(Nop::new(), 2).unwrap();
        let open = OpenAt::read(Cwd, Shared(safe.path.clone()));
        let open = driver.try_push_owned(open, 3).unwrap();
        for _ in 0..turns {
            let timeout = Some(Duration::ZERO);
            driver
                .scope(|s| s.submit(timeout, &mut None))
                .unwrap()
                .unwrap();
        }
        drop((keys, nop, open));
        settle(driver);
    }
    marks.step("owned: orphans");
}

fn futures(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for _ in 0..10 {
        let mut key = driver.try_push_owned(safe.owned_recv(), 1).unwrap();
        let mut other = driver.try_push_owned(safe.owned_recv(), 2).unwrap();
        for waker in [Waker::from(safe.woken.clone()), Waker::noop().clone()] {
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut other).poll(&mut context).is_pending());
        }
        let waker = Waker::from(safe.woken.clone());
        let mut context = Context::from_waker(&waker);
        for _ in 0..2 {
            assert!(Pin::new(&mut key).poll(&mut context).is_pending());
            driver.scope(hand_over).unwrap();
        }
        drop(other);
        let send = driver.try_push_owned(safe.owned_send(), 3).unwrap();
        finish(driver, send).0.unwrap();
        while !key.is_done() {
            driver
                .scope(|s| s.submit(None, &mut None))
                .unwrap()
                .unwrap();
        }
        while let Some(finished) = driver.next_finished() {
            finished.wake();
        }
        let Progress::Ready((received, _)) = Pin::new(&mut key).poll(&mut context) else {
            panic!("it is ready");
        };
        received.unwrap();
        settle(driver);
    }
    assert_eq!(safe.woken.0.load(Ordering::Relaxed), 10);
    marks.step("owned: futures");
}

/// Owned ones that borrow, and that the end of their scope empties.
fn own_in_a_scope(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    let mut buffers = [[0; 8]; 4];
    for turns in 0..3 {
        let fd = safe.right.as_fd();
        driver
            .scope(|s| {
                for buffer in &mut buffers {
                    let recv = Recv::new(fd, &mut buffer[..]);
                    // Forgotten: the end of the scope sees to it.
                    let _forgotten = ManuallyDrop::new(s.try_push_owned(recv, 1).unwrap());
                }
                let _dropped = s.try_push_owned(Timeout::after(Duration::MAX), 2).unwrap();
                let nop = s.try_push_owned(Nop::new(), 3).unwrap();
                for _ in 0..turns {
                    s.submit(Some(Duration::ZERO), &mut None).unwrap();
                }
                assert_eq!(s.next_finished().is_some(), turns > 0);
                assert!(nop.redeem().is_ok() == (turns > 0));
            })
            .unwrap();
        settle(driver);
    }
    marks.step("owned in a scope");
}

/// Wake-ups from the other thread, and by this one.
fn wake(rig: &mut Rig<'_>, ring: &Barrier, marks: &mut Marks) {
    for _ in 0..RINGS {
        ring.wait();
        rig.submit(None);
    }
    assert!(rig.entries.is_empty());
    marks.step("wake-ups from another thread");

    let notifier = rig.driver.notifier();
    notifier.clone().notify();
    rig.submit(None);
    let waker = Waker::from(notifier);
    waker.wake_by_ref();
    waker.wake();
    rig.submit(None);
    marks.step("wake-ups by this thread");

    // SAFETY: nothing is in flight.
    let _asleep = unsafe { rig.driver.prepare_wait() }.unwrap();
    rig.driver.notifier().notify();
    assert!(rig.driver.as_raw_fd() >= 0);
    rig.submit(Some(Duration::ZERO));
    marks.step("a foreign loop");
}

fn wind_down(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    rig.push(&ops.recv, 1);
    rig.push(&ops.long, 2);
    rig.submit(Some(Duration::ZERO));
    rig.push(&ops.nops[0], 3);
    let deadline = Instant::now() + Duration::from_secs(30);
    // SAFETY: operations are `Lent`, and outlive the driver.
    let survivors = unsafe { rig.driver.quiesce(deadline, rig.entries) }.unwrap();
    assert_eq!(survivors, 0);
    // SAFETY: not in flight; it lives until the driver is gone.
    let object = unsafe { OpObject::from_ptr(ops.nops[0].0, 4) };
    assert!(rig.driver.try_push_dyn(object).is_err());
    rig.driver.resume();
    rig.entries.clear();
    assert_eq!(rig.driver.stats().pushed, rig.driver.stats().completed);
    marks.step("quiesce");
}

/// The driver's drop, with something in every state.
fn leave(mut rig: Rig<'_>, ops: &mut Ops, safe: &mut Safe<'_>, marks: &mut Marks) {
    let done = rig.driver.try_push_owned(Nop::new(), 10).unwrap();
    drop(rig.driver.try_push_owned(safe.owned_recv(), 11).unwrap());
    let pending = rig.driver.try_push_owned(safe.owned_recv(), 12).unwrap();
    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.push(&ops.read, 4);
    rig.submit(Some(Duration::ZERO));
    rig.push(&ops.nops[0], 5);
    let pushed = rig.driver.try_push_owned(Nop::new(), 13).unwrap();
    drop(rig);
    marks.step("drop");
    assert!(done.redeem().unwrap().0.is_ok());
    for output in [
        pending.redeem().unwrap().0.map(drop),
        pushed.redeem().unwrap().0,
    ] {
        assert_eq!(output.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    }
    marks.step("keys of a driver that is gone");
}
