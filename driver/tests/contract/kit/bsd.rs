//! What the tests have on macOS and the BSDs.

use super::super::TempPath;
use super::checked;
use completeio_driver::clock::Clock;
use completeio_driver::driver::OwnedFd;
use completeio_driver::op::FileKind;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

/// A mapping takes up nothing until it is used, without a flag.
pub(super) const NO_RESERVE: i32 = 0;
/// The length of the shortest queue of a listener: none at all is the longest one, on macOS.
pub(crate) const SHORTEST_QUEUE: i32 = 1;

/// The kernel gives the room that is asked for.
pub(crate) const ROOM_FACTOR: i32 = 1;
/// In seconds.
#[cfg(target_vendor = "apple")]
pub(crate) const LINGER: i32 = libc::SO_LINGER_SEC;
#[cfg(not(target_vendor = "apple"))]
pub(crate) const LINGER: i32 = libc::SO_LINGER;
#[cfg(target_vendor = "apple")]
pub(crate) const KEEP_IDLE: i32 = libc::TCP_KEEPALIVE;
#[cfg(not(any(target_vendor = "apple", target_os = "openbsd")))]
pub(crate) const KEEP_IDLE: i32 = libc::TCP_KEEPIDLE;
#[cfg(not(target_os = "openbsd"))]
pub(crate) const KEEP_INTERVAL: i32 = libc::TCP_KEEPINTVL;
/// There are no such options.
#[cfg(target_os = "openbsd")]
pub(crate) const KEEP_IDLE: i32 = -1;
#[cfg(target_os = "openbsd")]
pub(crate) const KEEP_INTERVAL: i32 = -1;
/// There are sequenced packets on sockets of Unix.
pub(crate) const SEQUENCED: bool = !cfg!(target_vendor = "apple");
/// Nobody knows it.
pub(crate) const NO_FLAGS_OF_A_SEND: [i32; 1] = [i32::MIN];

/// The clocks of the driver.
#[cfg(target_vendor = "apple")]
pub(super) fn clock_id(clock: Clock) -> libc::clockid_t {
    match clock {
        Clock::Monotonic => libc::CLOCK_UPTIME_RAW,
        Clock::Realtime => libc::CLOCK_REALTIME,
        _ => libc::CLOCK_MONOTONIC_RAW,
    }
}

/// The clocks of the driver.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn clock_id(clock: Clock) -> libc::clockid_t {
    match clock {
        Clock::Realtime => libc::CLOCK_REALTIME,
        _ => libc::CLOCK_MONOTONIC,
    }
}

/// What a descriptor is for: its device, and its number there.
pub(crate) type Target = (u64, u64);

/// The open descriptors, and what they are. Not by /dev/fd, which has but three of them on FreeBSD.
pub(crate) fn open_fds() -> BTreeMap<RawFd, Target> {
    (0..1 << 12)
        .filter(|fd| super::is_open(*fd))
        .map(|fd| (fd, identity(fd)))
        .collect()
}

/// Zeroes for what has neither.
fn identity(fd: RawFd) -> Target {
    // SAFETY: only asked for its metadata, and not closed.
    let file = mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    let metadata = file.metadata();
    metadata.map_or((0, 0), |metadata| (metadata.dev(), metadata.ino()))
}

/// Whether this file is open.
pub(crate) fn is_open_somewhere(path: &Path) -> bool {
    let metadata = fs::symlink_metadata(path).unwrap();
    let sought = (metadata.dev(), metadata.ino());
    open_fds().values().any(|identity| *identity == sought)
}

/// How many of the bytes that a TCP socket has sent may not have arrived yet.
#[cfg(target_vendor = "apple")]
pub(crate) fn unacknowledged(fd: &impl AsRawFd) -> usize {
    let (mut n, mut len) = (0_i32, 4);
    let (fd, level, name) = (fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NWRITE);
    // SAFETY: the kernel writes one integer.
    checked(unsafe { libc::getsockopt(fd, level, name, (&raw mut n).cast(), &raw mut len) });
    usize::try_from(n).unwrap()
}

/// How many of the bytes that a TCP socket has sent may not have arrived yet.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn unacknowledged(fd: &impl AsRawFd) -> usize {
    /// `_IOR('f', number, int)`, of <sys/filio.h>.
    const FIONWRITE: libc::c_ulong = 0x4004_6600
        | if cfg!(target_os = "freebsd") {
            119
        } else {
            121
        };
    let mut n = 0_i32;
    // SAFETY: the kernel writes one integer.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), FIONWRITE, &raw mut n) });
    usize::try_from(n).unwrap()
}

/// Whether the end of what the peer sends has arrived on a socket.
pub(crate) fn has_ended(fd: &impl AsRawFd) -> bool {
    // SAFETY: takes nothing.
    let kqueue = checked(unsafe { libc::kqueue() });
    // SAFETY: a new descriptor.
    let kqueue = unsafe { OwnedFd::from_raw_fd(kqueue) };
    // SAFETY: plain numbers.
    let [mut change, mut event]: [libc::kevent; 2] = unsafe { mem::zeroed() };
    change.ident = usize::try_from(fd.as_raw_fd()).unwrap();
    change.filter = libc::EVFILT_READ;
    change.flags = libc::EV_ADD;
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let kqueue = kqueue.as_raw_fd();
    // SAFETY: one change, a place for one event, and a time, on the stack.
    let n = checked(unsafe {
        libc::kevent(
            kqueue,
            &raw const change,
            1,
            &raw mut event,
            1,
            &raw const at_once,
        )
    });
    n == 1 && event.flags & libc::EV_EOF != 0
}

/// A listener under a name that is nobody else's, and that goes with the thread: it is a path.
pub(crate) fn unix_listener() -> (UnixListener, SocketAddr) {
    thread_local! {
        static NAMES: RefCell<Vec<TempPath>> = const { RefCell::new(Vec::new()) };
    }
    let path = TempPath::new();
    let addr = SocketAddr::from_pathname(&*path).unwrap();
    let listener = UnixListener::bind_addr(&addr).unwrap();
    NAMES.with_borrow_mut(|names| names.push(path));
    (listener, addr)
}

/// Credentials are no messages that the driver knows here.
pub(crate) fn ask_for_credentials(_fd: &impl AsRawFd) {}

/// A descriptor for a path alone, where there are some: neither to read nor to write.
pub(crate) fn path_only(_path: &str) -> Option<File> {
    None
}

/// No call tries a pipe's end whose mode is to wait.
pub(crate) fn assert_tries_find_nothing(_reader: &impl AsRawFd) {}

/// Files that only this system opens, and what they are.
pub(crate) fn kinds_of_its_own() -> Vec<(OwnedFd, FileKind)> {
    Vec::new()
}

/// A file on a real disk, opened so that reads of it do not come from memory where it can be asked
/// for.
pub(crate) fn cold_file(bytes: &[u8]) -> File {
    let path = TempPath::new();
    fs::write(&*path, bytes).unwrap();
    let file = File::open(&*path).unwrap();
    file.sync_all().unwrap();
    #[cfg(target_vendor = "apple")]
    // SAFETY: takes numbers.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_NOCACHE, 1) });
    file
}

/// A descriptor that io_uring closes on a worker: there is no io_uring.
pub(crate) fn flushed() -> Option<OwnedFd> {
    None
}
