//! What the tests have on Unix. What the kernels have each in their own way stands in a file for
//! each, and has the same names there.

#[cfg(not(target_os = "linux"))]
mod bsd;
#[cfg(target_os = "linux")]
mod linux;
#[allow(dead_code, reason = "each program of tests uses some of it")]
mod system;

#[cfg(not(target_os = "linux"))]
pub(crate) use self::bsd::*;
#[cfg(target_os = "linux")]
pub(crate) use self::linux::*;
#[allow(unused_imports, reason = "each program of tests uses some of it")]
pub(crate) use self::system::*;

use super::{file, listener};
use completeio_driver::clock::Clock;
use completeio_driver::driver::{BorrowedFd, OwnedFd};
use completeio_driver::op;
use std::ffi::CStr;
use std::fs::{File, FileType, Metadata};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

/// Error numbers.
#[allow(unused_imports, reason = "each program of tests names some of them")]
pub(crate) mod code {
    /// Of a call on a socket that is closed.
    pub(crate) const NO_SOCKET: i32 = libc::EBADF;
    /// Of a send to a peer that is gone.
    pub(crate) const NO_PEER: i32 = libc::EPIPE;
    /// Of a file that is not there.
    pub(crate) const NO_FILE: i32 = libc::ENOENT;
    pub(crate) use super::ETIME;
    pub(crate) use libc::{
        EBADF, ECANCELED, ECONNREFUSED, EEXIST, EINVAL, ENOENT, ENOTSOCK, EPIPE,
    };
    /// Of a name in a directory that is not there, and of an empty one.
    pub(crate) const NO_PATH: i32 = libc::ENOENT;
    /// Of a send after the end of our side.
    pub(crate) const SAID_ALL: i32 = libc::EPIPE;
    /// Of a send on a socket that was never connected.
    pub(crate) const NEVER_A_PEER: i32 = if super::IS_LINUX {
        libc::EPIPE
    } else {
        libc::ENOTCONN
    };
    /// Of a receive after one that was told of a reset: 0 is the end.
    pub(crate) const AFTER_A_RESET: i32 = 0;
    /// Of a connect of a socket that listens.
    pub(crate) const LISTENS: i32 = if super::IS_LINUX {
        libc::EISCONN
    } else {
        libc::EOPNOTSUPP
    };
    /// Of a call that a socket's state does not allow: an accept before it listens.
    pub(crate) const WRONG_STATE: i32 = libc::EINVAL;
    /// Of what is to be made under a name that something has.
    pub(crate) const TAKEN: i32 = libc::EEXIST;
    /// Of a read of what is open for writing, and the other way round.
    pub(crate) const WRONG_DIRECTION: i32 = libc::EBADF;
    /// Of a name in what is no directory, and no file either.
    pub(crate) const NO_DIRECTORY: i32 = libc::ENOTDIR;
    /// Of a write that waited when the last who read went.
    pub(crate) const LAST_READER_GONE: i32 = libc::EPIPE;
    /// Of what was in flight on a number that was closed.
    pub(crate) const CLOSED_UNDER_IT: &[i32] = &[libc::EBADF];
    /// Of a send to no address by what is not connected.
    pub(crate) const NOWHERE: i32 = libc::EDESTADDRREQ;
    /// Of a send to an address of another family.
    pub(crate) const OTHER_FAMILY: &[i32] = &[libc::EAFNOSUPPORT];
    /// Of a receive after a send that nobody took.
    pub(crate) const NOBODY: i32 = libc::ECONNREFUSED;
    /// Of a value of an option that is shorter than the option.
    pub(crate) const TOO_SHORT: i32 = libc::EINVAL;
    /// Of an address that is none.
    pub(crate) const NO_ADDRESS: &[i32] = &[libc::EINVAL];
    pub(crate) use libc::{EMSGSIZE, ENOPROTOOPT};
    /// Of a number that no process has.
    pub(crate) const NO_PROCESS: i32 = libc::ESRCH;
    pub(crate) use libc::{
        EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ECONNABORTED, ECONNRESET, EINTR, EISCONN,
        EISDIR, EMFILE, ENOTCONN, ENOTDIR, EOPNOTSUPP, ESPIPE,
    };
}

/// A file, a pipe's end or a socket, whose reads and writes wait.
pub(crate) struct PlainFile(File);

impl PlainFile {
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        UnixStream::from(OwnedFd::from(self.0.try_clone()?)).shutdown(how)
    }
}

impl From<OwnedFd> for PlainFile {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

impl From<PlainFile> for OwnedFd {
    fn from(file: PlainFile) -> Self {
        file.0.into()
    }
}

impl AsFd for PlainFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PlainFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Read for &PlainFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buf)
    }
}

impl Write for &PlainFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A flag of a receive: it does not wait.
pub(crate) const DONT_WAIT: i32 = libc::MSG_DONTWAIT;

pub(crate) const AF_INET: i32 = libc::AF_INET;
pub(crate) const AF_INET6: i32 = libc::AF_INET6;
pub(crate) const AF_UNIX: i32 = libc::AF_UNIX;
pub(crate) const SOCK_DGRAM: i32 = libc::SOCK_DGRAM;
pub(crate) const SOCK_STREAM: i32 = libc::SOCK_STREAM;

/// So much a pipe takes, where that is known.
pub(crate) const PIPE_ROOM: Option<usize> = if IS_LINUX { Some(1 << 16) } else { None };

/// Whether a connection to a listener that has no room for it is refused; else it is pending.
pub(crate) const FULL_REFUSES: bool = false;

/// Whether there are symbolic links.
pub(crate) fn makes_links() -> bool {
    true
}

/// Makes a symbolic link, where there are some.
pub(crate) fn symlink(text: &str, path: &Path) {
    std::os::unix::fs::symlink(text, path).unwrap();
}

/// The error number of `fstatat` in an open directory; none, if there is such a file.
pub(crate) fn errno_of_stat((dir, _): (&File, &Path), name: &CStr, follow: bool) -> Option<i32> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: plain numbers.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a path that lives as long as the call, and a place on the stack.
    let result = unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), &raw mut stat, flags) };
    let error = io::Error::last_os_error().raw_os_error();
    if result < 0 { error } else { None }
}

/// What Unix alone tells of a file.
pub(crate) fn assert_same_numbers(ours: &op::Metadata, theirs: &Metadata) {
    assert_eq!(ours.mode(), theirs.mode());
    assert_eq!(ours.nlink(), theirs.nlink());
    assert_eq!((ours.uid(), ours.gid()), (theirs.uid(), theirs.gid()));
    assert_eq!((ours.ino(), ours.dev()), (theirs.ino(), theirs.dev()));
    assert_eq!(ours.rdev(), theirs.rdev());
    assert_eq!(ours.blocks(), theirs.blocks());
    assert_eq!(u64::from(ours.block_size()), theirs.blksize());
    let since = ours.changed().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap();
    assert_eq!(since.as_secs(), u64::try_from(theirs.ctime()).unwrap());
    assert_eq!(i64::from(since.subsec_nanos()), theirs.ctime_nsec());
}

/// Devices that are known as files are.
pub(crate) fn devices() -> Vec<File> {
    let tty = File::open("/dev/tty").ok();
    let null = File::open("/dev/null").unwrap();
    std::iter::once(null).chain(tty).collect()
}

/// What is open.
pub(crate) type Open = std::collections::BTreeMap<RawFd, Target>;
/// The modes that the ends of a pipe may be in: whether calls on them do not wait.
pub(crate) const MODES_OF_PIPES: &[bool] = &[false, true];
/// Whether one call moves several parts to and from a pipe.
pub(crate) const PIPES_TAKE_PARTS: bool = true;
/// Whether a write of nothing is made at all: else no error of its is told.
pub(crate) const NOTHING_IS_WRITTEN: bool = true;
/// A wait that goes on for so long is one whose end was lost.
pub(crate) const LOST: Duration = Duration::from_secs(10);

/// Whether looking a name up leaves all times of accesses as they are.
pub(crate) const ACCESS_TIMES_STAND: bool = true;
/// The length of a file that has almost no blocks.
pub(crate) const LONG_FILE: u64 = 1 << 40;
/// Whether two names can be exchanged.
pub(crate) const EXCHANGES: bool = cfg!(any(target_os = "linux", target_vendor = "apple"));
/// What the sync of a directory that is open to read fails with; 0 is success.
pub(crate) const ERRNO_OF_A_DIRECTORYS_SYNC: i32 = 0;

/// What a file may be used for, and how many names it has.
pub(crate) fn mode_and_links(file: &Metadata) -> (u32, u64) {
    (file.mode(), file.nlink())
}

/// Whether it is a device that gives and takes single bytes.
pub(crate) fn is_device(kind: FileType) -> bool {
    kind.is_char_device()
}

/// A program that ends when what it reads does.
pub(crate) fn reader() -> std::process::Command {
    std::process::Command::new("cat")
}

/// The result of a call that says -1 when it fails.
#[track_caller]
pub(crate) fn checked(result: i32) -> i32 {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}

/// Waits until what was closed is. A library that stands in for kqueue does that on a thread of its
/// own; in a child it closes what it has not closed yet, whatever these numbers name by then. What
/// it keeps open, from the first kqueue on, is open from now on.
pub(crate) fn settle() {
    #[cfg(libkqueue)]
    {
        // SAFETY: as the library declares them.
        unsafe extern "C" {
            safe fn kqueue() -> RawFd;
            safe fn libkqueue_drain_pending_close();
        }
        static FIRST: std::sync::Once = std::sync::Once::new();
        FIRST.call_once(|| {
            // SAFETY: a new descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(checked(kqueue())) });
        });
        libkqueue_drain_pending_close();
    }
}

pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: reads no memory of ours.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// How many bytes have arrived on a socket and were not read.
pub(crate) fn unread(fd: &impl AsRawFd) -> usize {
    let mut n = 0_i32;
    // SAFETY: the kernel writes one integer.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut n) });
    usize::try_from(n).unwrap()
}

/// Waits until a descriptor is readable.
pub(crate) fn wait_readable(fd: &impl AsRawFd) {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one `pollfd`.
    checked(unsafe { libc::poll(&raw mut poll, 1, -1) });
}

/// Whether `poll` says so, without waiting.
pub(crate) fn is_now(fd: &impl AsRawFd, events: libc::c_short) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one `pollfd`.
    checked(unsafe { libc::poll(&raw mut poll, 1, 0) });
    poll.revents & events != 0
}

/// Writes to the end of a pipe until it takes no more.
pub(crate) fn fill(fd: BorrowedFd<'_>) {
    let fd = fd.as_raw_fd();
    // SAFETY: takes numbers.
    let mode = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) });
    // SAFETY: takes numbers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, mode | libc::O_NONBLOCK) });
    let bytes = [0_u8; 4096];
    // SAFETY: reads from the stack.
    while unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } >= 0 {}
    let error = io::Error::last_os_error();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
    // SAFETY: takes numbers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, mode) });
}

/// Sends one urgent byte.
pub(crate) fn send_urgent(fd: &impl AsRawFd) {
    // SAFETY: the kernel reads one byte.
    let sent = unsafe { libc::send(fd.as_raw_fd(), c"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
}

/// Makes `to` another number for what `from` is: what was there is closed, in one step.
pub(crate) fn replace(from: &impl AsRawFd, to: RawFd) {
    // SAFETY: `to` is the test's own number.
    checked(unsafe { libc::dup2(from.as_raw_fd(), to) });
    close_on_exec(to);
}

/// A number that no descriptor has.
pub(crate) const CLOSED: RawFd = i32::MAX;
/// Numbers that no descriptor has, within every table and outside.
pub(crate) const ALL_CLOSED: [RawFd; 2] = [900_000, CLOSED];

/// A device that is always there.
pub(crate) const NULL: &CStr = c"/dev/null";

/// Has a receive tell of more than there was room for.
pub(crate) const TRUNCATE: i32 = libc::MSG_TRUNC;

pub(crate) fn open_directory(path: &Path) -> File {
    File::open(path).unwrap()
}

/// How many of the open descriptors a new program would have.
pub(crate) fn inherited() -> usize {
    // SAFETY: reads no memory of ours.
    let flags = |fd: &RawFd| checked(unsafe { libc::fcntl(*fd, libc::F_GETFD) });
    let open = open_fds();
    let kept = open.keys().filter(|fd| flags(fd) & libc::FD_CLOEXEC == 0);
    kept.count()
}

/// The descriptor that a result names.
pub(crate) fn made(result: usize) -> RawFd {
    i32::try_from(result).unwrap()
}

/// All that is in a file.
pub(crate) fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    read_at(file, &mut bytes, 0);
    bytes
}

/// Memory that takes up none until it is used.
pub(crate) fn map(len: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | NO_RESERVE;
    map_with(len, flags, -1)
}

/// The same memory in two places.
pub(crate) fn map_twice(len: usize) -> [*mut u8; 2] {
    let file = file(b"");
    file.set_len(len as u64).unwrap();
    [(); 2].map(|()| map_with(len, libc::MAP_SHARED, file.as_raw_fd()))
}

fn map_with(len: usize, flags: i32, fd: RawFd) -> *mut u8 {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, wherever the kernel likes.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
    assert_ne!(start, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    start.cast()
}

/// # Safety
/// Mapped by one of these, and lent to nobody.
pub(crate) unsafe fn unmap(start: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { libc::munmap(start.cast(), len) };
}

/// Reads all of it, at an offset.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) {
    file.read_exact_at(bytes, offset).unwrap();
}

/// Writes all of it, at an offset.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) {
    file.write_all_at(bytes, offset).unwrap();
}

/// Two sockets for datagrams that are connected to each other.
pub(crate) fn datagram_pair() -> (UnixDatagram, UnixDatagram) {
    UnixDatagram::pair().unwrap()
}

/// The clocks that [`now`] reads.
pub(crate) const CLOCKS: &[Clock] = &[Clock::Boottime, Clock::Monotonic, Clock::Realtime];

/// A socket that is connected within the machine.
pub(crate) type Stream = UnixStream;

/// A listener within the machine.
pub(crate) fn local_listener() -> (UnixListener, UnixAddr) {
    unix_listener()
}

/// A connection to one.
pub(crate) fn connect(addr: &UnixAddr) -> Stream {
    UnixStream::connect_addr(addr).unwrap()
}

pub(crate) fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// A listener whose queue is full, so that a connection to it stays pending; with what fills it.
pub(crate) fn full_listener() -> (TcpListener, SocketAddr, Vec<OwnedFd>) {
    let (listener, addr) = listener();
    // SAFETY: takes two numbers.
    checked(unsafe { libc::listen(listener.as_raw_fd(), SHORTEST_QUEUE) });
    let SocketAddr::V4(v4) = addr else {
        unreachable!()
    };
    // SAFETY: plain numbers. Of those that have a length in it, none reads it.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    name.sin_family = libc::AF_INET.try_into().unwrap();
    name.sin_port = v4.port().to_be();
    name.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
    let fill = || {
        let client = tcp_socket();
        // SAFETY: an address of that length, on the stack.
        unsafe { libc::connect(client.as_raw_fd(), (&raw const name).cast(), 16) };
        client
    };
    (listener, addr, (0..4).map(|_| fill()).collect())
}

/// A new non-blocking TCP socket.
pub(crate) fn tcp_socket() -> OwnedFd {
    tcp_socket_that(false)
}

/// A new TCP socket that blocks by itself, or does not.
pub(crate) fn tcp_socket_that(blocks: bool) -> OwnedFd {
    let made = TcpStream::from(socket(libc::AF_INET, libc::SOCK_STREAM));
    made.set_nonblocking(!blocks).unwrap();
    made.into()
}

pub(crate) fn socket(family: i32, kind: i32) -> OwnedFd {
    // SAFETY: takes numbers.
    let fd = checked(unsafe { libc::socket(family, kind, 0) });
    close_on_exec(fd);
    // SAFETY: a new descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A pair of Unix sockets of a kind.
pub(crate) fn pair_of(kind: i32) -> (OwnedFd, OwnedFd) {
    let mut fds = [-1; 2];
    // SAFETY: the call writes two numbers.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) });
    fds.into_iter().for_each(close_on_exec);
    // SAFETY: new descriptors.
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into()
}

fn close_on_exec(fd: RawFd) {
    // SAFETY: takes numbers.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) });
}

/// A device that has no room for what is written to it, where there is one.
pub(crate) fn full_device() -> Option<File> {
    let full = File::options().read(true).write(true).open("/dev/full");
    if full.is_err() {
        super::skip("there is no /dev/full");
    }
    full.ok()
}

/// Closing the socket resets the connection, and leaves no port behind.
pub(crate) fn reset_on_close(socket: &impl AsRawFd) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value, of its size.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            8,
        )
    });
}

/// Both ends of a pipe: to read, to write.
pub(crate) fn pipe() -> (File, File) {
    let mut fds = [-1; 2];
    // SAFETY: the call writes two numbers.
    checked(unsafe { libc::pipe(fds.as_mut_ptr()) });
    fds.into_iter().for_each(close_on_exec);
    // SAFETY: new descriptors.
    fds.map(|fd| unsafe { File::from_raw_fd(fd) }).into()
}

/// The same file for another driver.
pub(crate) fn again(file: &File) -> File {
    file.try_clone().unwrap()
}

/// What has arrived on a socket and was not read, without waiting.
pub(crate) fn arrived(socket: &impl AsRawFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let (fd, room) = (socket.as_raw_fd(), part.as_mut_ptr().cast());
        // SAFETY: a place of that length, on the stack.
        let n = unsafe { libc::recv(fd, room, part.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(n) {
            Ok(0) => return bytes,
            Ok(n) => bytes.extend(&part[..n]),
            Err(_) => {
                let error = io::Error::last_os_error();
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                return bytes;
            }
        }
    }
}

/// Waits until a descriptor becomes readable, and is told so: `poll` looks again when its time is
/// over, so a wait that goes on for so long is one whose end was lost.
pub(crate) fn becomes_readable(fd: &impl AsRawFd) -> bool {
    let start = Instant::now();
    readable_within(fd, 10_000) && start.elapsed() < LOST
}

/// Waits until a descriptor is readable, at most so many milliseconds (-1: without end).
pub(crate) fn readable_within(fd: &impl AsRawFd, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: one `pollfd`, on the stack.
        let n = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        if n >= 0 {
            return n == 1;
        }
        assert_eq!(
            io::Error::last_os_error().kind(),
            io::ErrorKind::Interrupted
        );
    }
}

/// What a clock shows.
pub(crate) fn now(clock: Clock) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the time, on the stack.
    checked(unsafe { libc::clock_gettime(clock_id(clock), &raw mut now) });
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap(),
    )
}

/// Uses up every descriptor that the process may have, until it is dropped.
pub(crate) struct NoFreeDescriptor {
    taken: Vec<File>,
    limit: libc::rlimit,
}

impl NoFreeDescriptor {
    pub(crate) fn new() -> Self {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a place for the limit, on the stack.
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) });
        let highest = open_fds().into_keys().max().unwrap();
        let lower = libc::rlimit {
            rlim_cur: libc::rlim_t::from(highest.unsigned_abs()) + 4,
            ..limit
        };
        // SAFETY: the limit, on the stack.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const lower) });
        let taken = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        Self { taken, limit }
    }

    pub(crate) fn free_one(&mut self) {
        assert!(self.taken.pop().is_some());
    }
}

impl Drop for NoFreeDescriptor {
    fn drop(&mut self) {
        // SAFETY: the limit that was there before.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.limit) };
    }
}

/// A Unix stream that has a name, so that its peer is told one.
pub(crate) fn unix_socket_at(path: &Path) -> OwnedFd {
    unix_socket_of(libc::SOCK_STREAM, path)
}

/// A Unix socket of a kind that has a name, as long as there is room for one.
pub(crate) fn unix_socket_of(kind: i32, path: &Path) -> OwnedFd {
    let socket = socket(libc::AF_UNIX, kind);
    // SAFETY: plain numbers. Of those that have a length in it, none reads it.
    let mut name: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    name.sun_family = libc::AF_UNIX.try_into().unwrap();
    for (to, from) in name.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let len = u32::try_from(size_of_val(&name)).unwrap();
    // SAFETY: an address of that length, on the stack.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), len) });
    socket
}

/// Whether the end of a child is told to one who waits, which reaps it, or to all.
pub(crate) const REAPS: bool = true;
/// As many as a test makes that makes many.
pub(crate) const MANY_CHILDREN: usize = 1_000;

/// A child that waits for a byte, and then exits with it.
pub(crate) struct Child {
    pid: u32,
    tell: File,
}

impl Child {
    pub(crate) fn new() -> Self {
        let (hear, tell) = pipe();
        settle(); // The child needs `hear`.
        // SAFETY: the child calls what may be called after a fork, and exits.
        let pid = checked(unsafe { libc::fork() });
        if pid == 0 {
            let mut code = 0_u8;
            // SAFETY: one byte, on the stack.
            unsafe { libc::read(hear.as_raw_fd(), (&raw mut code).cast(), 1) };
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(code)) };
        }
        let pid = pid.unsigned_abs();
        Self { pid, tell }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn exits(&self, code: u8) {
        (&self.tell).write_all(&[code]).unwrap();
    }

    /// Waits for its exit, and leaves it: its code.
    pub(crate) fn code(&self) -> i32 {
        let (pid, code) = waitid(libc::P_PID, self.pid, libc::WEXITED | libc::WNOWAIT).unwrap();
        assert_eq!(pid, self.pid);
        code
    }

    /// Waits for its exit, and reaps it: its code, unless somebody else has reaped it.
    pub(crate) fn reap(&self) -> Option<i32> {
        match waitid(libc::P_PID, self.pid, libc::WEXITED) {
            Ok((pid, code)) => {
                assert_eq!(pid, self.pid);
                Some(code)
            }
            Err(error) => {
                assert_eq!(error, libc::ECHILD);
                None
            }
        }
    }
}

/// What waitid(2) says: the number and the status, or the error.
#[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
pub(crate) fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> Result<(u32, i32), i32> {
    // SAFETY: integers, of which zero is one.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: one `siginfo_t`, on the stack.
    if unsafe { libc::waitid(kind, id.into(), &raw mut info, options) } < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap());
    }
    // SAFETY: the kernel wrote integers, or none.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    Ok((pid.unsigned_abs(), unsafe { info.si_status() }))
}

/// A number below zero.
pub(crate) fn negative(number: i32) -> RawFd {
    number
}

/// How many can be polled of a socket, a listener and a pipe.
pub(crate) const POLLED: usize = 3;
/// Whether polls are told of what receives beside them take.
pub(crate) const POLLS_LOOK_FIRST: bool = true;

pub(crate) fn writable_now(fd: &impl AsRawFd) -> bool {
    is_now(fd, libc::POLLOUT)
}

/// Whether a socket of v6 that is bound to any address takes what is sent to v4.
pub(crate) const V6_TAKES_V4: bool = true;

/// Names of levels and options.
#[allow(unused_imports, reason = "each program of tests uses some of it")]
pub(crate) use libc as os;

pub(crate) const HAS_UNIX_SOCKETS: bool = true;
/// Whether a socket that is told to listen and has no address gets one.
pub(crate) const LISTENS_UNBOUND: bool = true;

/// The result of a plain call: its error number, or 0.
fn errno_of(result: i32) -> i32 {
    if result < 0 {
        io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        0
    }
}

/// The error of the plain call, which is to fail.
pub(crate) fn errno_of_socket(family: i32, kind: i32, protocol: i32) -> i32 {
    // SAFETY: takes numbers.
    errno_of(unsafe { libc::socket(family, kind, protocol) })
}

pub(crate) fn errno_of_listen(socket: &impl AsRawFd) -> i32 {
    // SAFETY: takes numbers.
    errno_of(unsafe { libc::listen(socket.as_raw_fd(), 1) })
}

/// An option by the plain call.
pub(crate) fn asked<const N: usize>(fd: &impl AsRawFd, level: i32, name: i32) -> [u8; N] {
    let mut value = [0; N];
    let mut len = u32::try_from(N).unwrap();
    let to = value.as_mut_ptr().cast();
    // SAFETY: a value and its length, on the stack.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, to, &raw mut len) });
    value
}

/// How long the close of a socket waits for what was sent.
pub(crate) fn lingers(fd: &impl AsRawFd) -> Option<Duration> {
    let [on, _, _, _, seconds, ..] = asked::<8>(fd, libc::SOL_SOCKET, LINGER);
    (on != 0).then_some(Duration::from_secs(seconds.into()))
}

pub(crate) fn family_of(fd: &impl AsRawFd) -> i32 {
    // SAFETY: plain numbers.
    let mut name: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&name).try_into().unwrap();
    let fd = fd.as_raw_fd();
    // SAFETY: a place for the name, of that length, on the stack.
    checked(unsafe { libc::getsockname(fd, (&raw mut name).cast(), &raw mut len) });
    name.ss_family.into()
}

/// Whether plain calls wait, where the system tells.
pub(crate) fn blocks(fd: &impl AsRawFd) -> Option<bool> {
    // SAFETY: takes numbers.
    let mode = checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) });
    Some(mode & libc::O_NONBLOCK == 0)
}

/// The second asks for control data in another layout.
pub(crate) const NO_FLAGS_OF_A_RECEIVE: [i32; 2] = [TRUNCATE, i32::MIN];
