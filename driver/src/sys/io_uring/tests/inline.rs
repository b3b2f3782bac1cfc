//! I21: calls in place of entries, on a ring whose probe is masked.

use super::super::Uring;
use super::super::encode::opcode;
use crate::address::Address;
use crate::driver::{
    AsFd, AsRawFd, Backend, Builder, CompleteIo, Driver, Entry, Holds, OwnedFd, PreparedWait,
    RawFd, Refusal, Support,
};
use crate::fd::FixedFd;
use crate::op::{
    Accept, Bind, FutexWait, FutexWake, GetSockOpt, Listen, Nop, Op, OpObject, Pipe, SetSockOpt,
    Shutdown, SockOpt, Socket,
};
use crate::scope::{Event, Scope};
use crate::sys::Backend as Sys;
use linux_raw_sys::io_uring::io_uring_op as op;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What Linux 6.1 lacks, and what it does not lack but might.
const MASKED: [op; 8] = [
    op::IORING_OP_SOCKET,
    op::IORING_OP_BIND,
    op::IORING_OP_LISTEN,
    op::IORING_OP_SHUTDOWN,
    op::IORING_OP_PIPE,
    op::IORING_OP_READ_MULTISHOT,
    op::IORING_OP_FUTEX_WAIT,
    op::IORING_OP_FUTEX_WAKE,
];

/// A driver whose kernel lacks these, or none where io_uring is forbidden.
fn masked<'arena>(limits: impl FnOnce(Builder) -> Builder) -> Option<Driver<'arena>> {
    let builder = limits(Driver::builder().entries(8)).backend(Backend::IoUring);
    let mut driver = match builder.build() {
        Ok(driver) => driver,
        Err(error) => {
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let uring = uring(&mut driver);
    let mut opcodes = uring.pushes.opcodes;
    for missing in MASKED {
        let missing = opcode(missing);
        opcodes.0[usize::from(missing / 64)] &= !(1 << (missing % 64));
    }
    uring.set_opcodes(opcodes);
    Some(driver)
}

fn uring<'d>(driver: &'d mut Driver<'_>) -> &'d mut Uring {
    match &mut driver.engine.backend {
        Sys::Uring(uring) => uring,
        other => unreachable!("asked for io_uring: {other:?}"),
    }
}

/// Calls and entries that were pushed, and operations that the kernel has.
fn counts(driver: &mut Driver<'_>) -> (u32, u32, u32) {
    let engine = &mut driver.engine;
    let Sys::Uring(uring) = &engine.backend else {
        unreachable!("asked for io_uring")
    };
    (
        uring.pushes.calls(),
        uring.queued(),
        uring.in_kernel(&engine.core),
    )
}

/// An operation that is pushed through a pointer, and outlives its driver.
struct Kept<O>(Box<O>);

impl<O: Op + 'static> Kept<O> {
    fn new(op: O) -> Self {
        Self(Box::new(op))
    }

    fn push<'arena>(&mut self, driver: &mut Driver<'arena>, user_data: usize) -> bool {
        // SAFETY: (D1) not in flight, and the tests declare it before the driver.
        let object = unsafe { OpObject::from_ptr(NonNull::from(&mut *self.0), user_data) };
        driver.try_push_dyn(object).is_ok()
    }
}

fn submit(driver: &mut Driver<'_>, timeout: Option<Duration>, room: usize) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(room);
    // SAFETY: (D1) operations are declared before the driver.
    unsafe { driver.submit(timeout, &mut entries) }.unwrap();
    entries
}

fn take(driver: &mut Driver<'_>, n: usize) -> Vec<Entry> {
    let mut taken = Vec::new();
    while taken.len() < n {
        taken.extend(submit(driver, None, n - taken.len()));
    }
    taken
}

fn names(entries: &[Entry]) -> Vec<usize> {
    entries.iter().map(Entry::user_data).collect()
}

fn are_cancelled(entries: &[Entry]) -> bool {
    let cancelled = Some(libc::ECANCELED);
    entries.iter().all(|e| e.raw_os_error() == cancelled)
}

fn run<'env, O: Op>(s: &mut Scope<'_, 'env>, op: &'env mut O) -> io::Result<O::Output>
where
    O::Fd: Holds,
{
    let ticket = s.try_lend(op, 0).map_err(drop).unwrap();
    let mut event = None;
    s.submit(None, &mut event).unwrap();
    let done = event.and_then(Event::done).unwrap();
    ticket.redeem(done).unwrap().0
}

/// A path of a test's own for a socket.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("completeio-inline-{}-{n}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn address(&self) -> Address {
        Address::unix(&self.0).unwrap()
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unix_socket() -> OwnedFd {
    UnixStream::pair().unwrap().0.into()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn keep_alive(fd: &impl AsRawFd) -> bool {
    let (mut value, mut len) = (0_i32, 4);
    // SAFETY: (K1) an integer and its length, on the stack.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_KEEPALIVE,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0);
    value != 0
}

fn number_of(fd: &impl AsRawFd) -> RawFd {
    fd.as_raw_fd()
}

#[test]
fn the_report_says_inline() {
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    let operations = uring(&mut driver).operations();
    for name in ["Shutdown", "Socket", "Pipe", "Bind", "Listen", "FutexWake"] {
        assert!(operations.contains(&(name, Support::Inline)), "{name}");
    }
    assert!(operations.contains(&("Accept", Support::Native)));
    assert!(operations.contains(&("FutexWait", Support::Missing)));
}

/// A wake in place; nothing stands in for a wait.
#[test]
fn words_without_opcodes() {
    let word = AtomicU32::new(0);
    let mut wait = FutexWait::new(&word, 0);
    let mut wake = FutexWake::new(&word, 1);
    let mut no_bits = FutexWake::new(&word, 1).bits(0);
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    driver
        .scope(|s| {
            let error = run(s, &mut wait).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert_eq!(run(s, &mut wake).unwrap(), 0);
            let error = run(s, &mut no_bits).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "I10");
        })
        .unwrap();
}

/// Through a scope: a socket is made, bound, told to listen, connected to and shut down.
#[test]
fn a_server_without_opcodes() {
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    let mut socket = Socket::stream(&loopback().into());
    let socket = driver.scope(|s| run(s, &mut socket)).unwrap().unwrap();
    // SAFETY: (K1) takes two numbers.
    let flags = unsafe { libc::fcntl(number_of(&socket), libc::F_GETFD) };
    assert_ne!(flags & libc::FD_CLOEXEC, 0, "I20");
    let mut bind = Bind::new(socket.as_fd(), loopback());
    let mut again = Bind::new(socket.as_fd(), loopback());
    let mut listen = Listen::new(socket.as_fd(), 4);
    driver
        .scope(|s| {
            run(s, &mut bind).unwrap();
            let error = run(s, &mut again).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "I10");
            run(s, &mut listen).unwrap();
        })
        .unwrap();
    let listener = TcpListener::from(socket);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut accept = Accept::new(listener.as_fd());
    let served = driver.scope(|s| run(s, &mut accept)).unwrap().unwrap();
    let mut end = Shutdown::new(served.fd.as_fd(), std::net::Shutdown::Write);
    driver.scope(|s| run(s, &mut end)).unwrap().unwrap();
    assert_eq!(io::Read::read(&mut &client, &mut [0]).unwrap(), 0);
    assert_eq!(counts(&mut driver), (0, 0, 0));
}

/// In the order of the pushes, and before the entries that were pushed with them.
#[test]
fn in_one_batch_with_entries() {
    let mut made = Kept::new(Socket::stream(&loopback().into()));
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    assert!(made.push(&mut driver, 1));
    let entry = take(&mut driver, 1).remove(0);
    drop(driver);
    // SAFETY: (D3) its only entry.
    let socket = unsafe { made.0.finish(entry) }.unwrap();
    let shared = std::rc::Rc::new(socket);
    let mut accept = Kept::new(Accept::new(shared.clone()));
    let mut nop = Kept::new(Nop::new());
    let mut bind = Kept::new(Bind::new(shared.clone(), loopback()));
    let mut listen = Kept::new(Listen::new(shared.clone(), 4));
    let mut late = Kept::new(Bind::new(shared, loopback()));
    let mut driver = masked(|limits| limits).unwrap();
    assert!(accept.push(&mut driver, 1), "an entry before the calls");
    assert!(bind.push(&mut driver, 2));
    assert!(nop.push(&mut driver, 3));
    assert!(listen.push(&mut driver, 4));
    assert!(late.push(&mut driver, 5));
    assert_eq!(counts(&mut driver), (3, 2, 0));
    assert_eq!(driver.capacity_left(), 3);
    let entries = submit(&mut driver, Some(Duration::ZERO), 8);
    assert_eq!(counts(&mut driver).0, 0);
    // It would have failed on a socket that does not listen.
    assert_eq!((driver.in_flight(), counts(&mut driver).2), (1, 1));
    let local: Vec<_> = entries.iter().filter(|e| e.user_data() != 3).collect();
    let [first, second, third] = local[..] else {
        panic!("{entries:?}")
    };
    assert_eq!([first, second, third].map(Entry::user_data), [2, 4, 5]);
    assert!(first.result().is_ok() && second.result().is_ok());
    assert_eq!(third.raw_os_error(), Some(libc::EINVAL));
    assert_eq!(driver.stats().local, 3);
}

#[test]
fn cancelled_before_they_are_made() {
    let mut sockets = [(); 2].map(|()| Kept::new(Socket::stream(&loopback().into())));
    let sock = std::rc::Rc::new(unix_socket());
    let mut listens = [(); 4].map(|()| Kept::new(Listen::new(sock.clone(), 1)));
    let Some(mut driver) = masked(|limits| limits.cancels(2)) else {
        return;
    };
    // By user data: both with the same, one of which makes a descriptor.
    assert!(sockets[0].push(&mut driver, 7));
    assert!(listens[0].push(&mut driver, 7));
    assert!(listens[1].push(&mut driver, 8));
    driver.try_cancel(7).unwrap();
    assert_eq!(counts(&mut driver).0, 1, "at once");
    driver.try_cancel(9).unwrap();
    // No place for one more: then nothing is cancelled.
    assert!(driver.try_cancel(8).is_err());
    assert_eq!(counts(&mut driver).0, 1);
    let entries = take(&mut driver, 3);
    assert_eq!(names(&entries), [7, 7, 8]);
    assert!(are_cancelled(&entries[..2]));
    // A socket that is connected does not listen; what matters is that it was asked.
    assert_eq!(entries[2].raw_os_error(), Some(libc::EINVAL));
    // By descriptor.
    assert!(sockets[0].push(&mut driver, 1));
    assert!(listens[0].push(&mut driver, 2));
    driver.try_cancel_fd(&*sock).unwrap();
    let mut entries = take(&mut driver, 2);
    entries.sort_by_key(Entry::user_data);
    assert!(are_cancelled(&entries[1..]));
    // SAFETY: (D3) its last entry.
    drop(unsafe { sockets[0].0.finish(entries.remove(0)) }.unwrap());
    // All, in between entries.
    assert!(sockets[1].push(&mut driver, 1));
    assert!(listens[2].push(&mut driver, 2));
    assert!(listens[3].push(&mut driver, 3));
    driver.try_cancel_all().unwrap();
    let entries = take(&mut driver, 3);
    assert_eq!(names(&entries), [1, 2, 3]);
    assert!(are_cancelled(&entries));
    // A cancel does not hit what is pushed after it.
    driver.try_cancel(4).unwrap();
    assert!(sockets[1].push(&mut driver, 4));
    let entry = take(&mut driver, 1).remove(0);
    // SAFETY: (D3) its last entry.
    drop(unsafe { sockets[1].0.finish(entry) }.unwrap());
}

/// I5: neither made nor touched: the memory is gone by then.
#[test]
fn a_drop_forgets_them() {
    let path = SocketPath::new();
    let socket = std::rc::Rc::new(unix_socket());
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    let mut bind = Kept::new(Bind::new(socket.clone(), path.address()));
    let mut set = Kept::new(SetSockOpt::new(socket.clone(), SockOpt::KEEP_ALIVE, true));
    assert!(bind.push(&mut driver, 1));
    assert!(set.push(&mut driver, 2));
    drop((bind, set));
    assert_eq!((driver.in_flight(), counts(&mut driver).0), (2, 2));
    drop(driver);
    assert!(!path.0.exists());
    assert!(!keep_alive(&*socket));
}

/// I16: what was made and not taken is closed.
#[test]
fn a_drop_closes_what_was_made() {
    let mut ops = [(); 3].map(|()| Kept::new(Socket::stream(&loopback().into())));
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    for (n, op) in ops.iter_mut().enumerate() {
        assert!(op.push(&mut driver, n));
    }
    let entries = submit(&mut driver, None, 1);
    let first = i32::try_from(entries[0].result().unwrap()).unwrap();
    // SAFETY: (K1) takes two numbers.
    let is_socket = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 };
    assert!(is_socket(first));
    assert_eq!(driver.in_flight(), 2);
    for entry in entries {
        // SAFETY: (D3) its only entry.
        unsafe { ops[0].0.dispose(entry) };
    }
    drop(driver);
}

/// P1: the numbers are where the kernel would have put them.
#[test]
fn a_pipe_without_an_opcode() {
    let mut ops = [(); 2].map(|()| Kept::new(Pipe::new().non_blocking(true)));
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    for (n, op) in ops.iter_mut().enumerate() {
        assert!(op.push(&mut driver, n));
    }
    assert_eq!(counts(&mut driver), (2, 0, 0));
    let entry = submit(&mut driver, None, 1).remove(0);
    // SAFETY: (D3) its only entry.
    let (reader, writer) = unsafe { ops[0].0.finish(entry) }.unwrap();
    // SAFETY: (K1) takes two numbers.
    let flags = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETFL) };
    assert_ne!(flags & libc::O_NONBLOCK, 0);
    io::Write::write_all(&mut File::from(writer), b"text").unwrap();
    assert_eq!(io::read_to_string(File::from(reader)).unwrap(), "text");
}

/// I2: calls and entries share the places; a place is free again after the turn.
#[test]
fn a_full_queue() {
    let socket = std::rc::Rc::new(unix_socket());
    let mut sets = [(); 9].map(|()| {
        let set = SetSockOpt::new(socket.clone(), SockOpt::KEEP_ALIVE, true);
        Kept::new(set)
    });
    let mut nops = [(); 9].map(|()| Kept::new(Nop::new()));
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    for calls in 0..=8 {
        for n in 0..8 {
            assert_eq!(driver.capacity_left(), 8 - n);
            let pushed = if n < calls {
                sets[n].push(&mut driver, n)
            } else {
                nops[n].push(&mut driver, n)
            };
            assert!(pushed);
        }
        let pushed = u32::try_from(calls).unwrap();
        assert_eq!(counts(&mut driver), (pushed, 8 - pushed, 0));
        assert!(!sets[8].push(&mut driver, 8));
        assert!(!nops[8].push(&mut driver, 8));
        let mut entries = take(&mut driver, 8);
        entries.sort_by_key(Entry::user_data);
        assert_eq!(names(&entries), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(entries.iter().all(|entry| entry.result().is_ok()));
        assert_eq!(counts(&mut driver), (0, 0, 0));
    }
}

/// A credit for each, held until the entry is taken: the local completions never overflow.
#[test]
fn no_more_than_there_are_credits() {
    let socket = std::rc::Rc::new(unix_socket());
    let mut sets = [(); 5].map(|()| {
        let set = SetSockOpt::new(socket.clone(), SockOpt::KEEP_ALIVE, true);
        Kept::new(set)
    });
    let Some(mut driver) = masked(|limits| limits.in_flight(4)) else {
        return;
    };
    let [first, second, third, fourth, fifth] = &mut sets;
    for op in [&mut *first, second, third, fourth] {
        assert!(op.push(&mut driver, 1));
    }
    assert!(!fifth.push(&mut driver, 5));
    for _ in 0..100 {
        assert_eq!(submit(&mut driver, None, 1).len(), 1);
        assert_eq!((driver.in_flight(), driver.capacity_left()), (3, 1));
        // The first is out: they complete in order.
        assert!(first.push(&mut driver, 1));
        assert!(!fifth.push(&mut driver, 5));
        assert_eq!(submit(&mut driver, Some(Duration::ZERO), 3).len(), 3);
        for op in [&mut *second, third, fourth] {
            assert!(op.push(&mut driver, 1));
        }
    }
}

/// The kernel's table cannot be read.
#[test]
fn fixed_descriptors_are_refused() {
    let fd = FixedFd::from_id(0);
    let mut bind = Kept::new(Bind::new(fd, loopback()));
    let mut listen = Kept::new(Listen::new(fd, 1));
    let mut end = Kept::new(Shutdown::new(fd, std::net::Shutdown::Both));
    let mut set = Kept::new(SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, true));
    let mut get = Kept::new(GetSockOpt::new(fd, SockOpt::KEEP_ALIVE));
    let socket = unix_socket();
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    driver.register_fd(number_of(&socket), 0).unwrap();
    assert!(bind.push(&mut driver, 1) && listen.push(&mut driver, 2));
    assert!(end.push(&mut driver, 3) && set.push(&mut driver, 4));
    assert!(get.push(&mut driver, 5));
    let entries = take(&mut driver, 5);
    assert_eq!(names(&entries), [1, 2, 3, 4, 5]);
    let fixed = Some(Refusal::FixedDescriptor);
    assert!(entries.iter().all(|entry| entry.refusal() == fixed));
}

/// A foreign loop does not sleep on what a turn has completed.
#[test]
fn a_prepared_wait_is_over() {
    let socket = unix_socket();
    let mut set = Kept::new(SetSockOpt::new(socket, SockOpt::KEEP_ALIVE, true));
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    assert!(set.push(&mut driver, 1));
    // SAFETY: (D1) the operation is declared before the driver.
    let wait = unsafe { driver.prepare_wait() }.unwrap();
    assert!(matches!(wait, PreparedWait::Ready));
    assert_eq!(submit(&mut driver, Some(Duration::ZERO), 1).len(), 1);
}

/// S1: a scope ends with calls that were pushed and not made.
#[test]
fn the_end_of_a_scope_cancels_them() {
    let path = SocketPath::new();
    let socket = unix_socket();
    let mut bind = Bind::new(socket.as_fd(), path.address());
    let mut makes = Socket::stream(&path.address());
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    driver
        .scope(|s| {
            drop(s.try_lend(&mut bind, 1).unwrap());
            drop(s.try_lend(&mut makes, 2).unwrap());
        })
        .unwrap();
    assert_eq!(driver.in_flight(), 0);
    assert_eq!(counts(&mut driver), (0, 0, 0));
    assert!(!path.0.exists());
}

/// A wait for several counts both kinds, whichever comes first.
#[test]
fn a_wait_for_several() {
    let socket = unix_socket();
    let mut set = Kept::new(SetSockOpt::new(socket, SockOpt::KEEP_ALIVE, true));
    let mut nop = Kept::new(Nop::new());
    let Some(mut driver) = masked(|limits| limits) else {
        return;
    };
    assert!(set.push(&mut driver, 1) && nop.push(&mut driver, 2));
    let mut entries = Vec::with_capacity(2);
    let wait = crate::driver::Wait::new().at_least(2);
    // SAFETY: (D1) the operations are declared before the driver.
    unsafe { driver.submit_until(wait, &mut entries) }.unwrap();
    entries.sort_by_key(Entry::user_data);
    assert_eq!(names(&entries), [1, 2]);
}

/// The mask is the test's alone: without it the kernel has entries for them.
#[test]
fn no_call_where_there_is_an_opcode() {
    let path = SocketPath::new();
    let listener = UnixListener::bind(&path.0).unwrap();
    let mut listen = Kept::new(Listen::new(OwnedFd::from(listener), 1));
    let Some(mut driver) = super::driver() else {
        return;
    };
    let native = uring(&mut driver)
        .operations()
        .contains(&("Listen", Support::Native));
    assert!(listen.push(&mut driver, 1));
    assert_eq!(counts(&mut driver).0, u32::from(!native));
    assert!(take(&mut driver, 1).remove(0).result().is_ok());
}
