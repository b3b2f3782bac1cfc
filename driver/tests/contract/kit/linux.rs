//! What the tests have on Linux.

use super::super::{TempPath, unique};
use super::checked;
use completeio_driver::clock::Clock;
use completeio_driver::driver::OwnedFd;
use completeio_driver::op::FileKind;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::ptr;

/// A mapping takes up nothing until it is used.
pub(super) const NO_RESERVE: i32 = libc::MAP_NORESERVE;
/// The length of the shortest queue of a listener: it has room for one more than that.
pub(crate) const SHORTEST_QUEUE: i32 = 0;

/// With the first a send would go on with the bytes after its completion; nobody knows the other.
pub(crate) const NO_FLAGS_OF_A_SEND: [i32; 2] = [libc::MSG_ZEROCOPY, i32::MIN];

/// The kernel doubles the room that is asked for.
pub(crate) const ROOM_FACTOR: i32 = 2;
pub(crate) const LINGER: i32 = libc::SO_LINGER;
pub(crate) const KEEP_IDLE: i32 = libc::TCP_KEEPIDLE;
pub(crate) const KEEP_INTERVAL: i32 = libc::TCP_KEEPINTVL;
/// There are sequenced packets on sockets of Unix.
pub(crate) const SEQUENCED: bool = true;

pub(super) fn clock_id(clock: Clock) -> libc::clockid_t {
    match clock {
        Clock::Monotonic => libc::CLOCK_MONOTONIC,
        Clock::Realtime => libc::CLOCK_REALTIME,
        _ => libc::CLOCK_BOOTTIME,
    }
}

/// What a descriptor is for.
pub(crate) type Target = PathBuf;

/// The open descriptors, and what they are; none under Miri, whose descriptors the system does not
/// know.
pub(crate) fn open_fds() -> BTreeMap<RawFd, Target> {
    if cfg!(miri) {
        return BTreeMap::new();
    }
    super::settle();
    let names = fs::read_dir("/proc/self/fd").unwrap();
    let numbers: Vec<RawFd> = names
        .map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    // The directory's own descriptor is closed by now.
    let target = |fd: &RawFd| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    numbers
        .iter()
        .filter_map(|fd| Some((*fd, target(fd)?)))
        .collect()
}

/// Whether this file is open.
pub(crate) fn is_open_somewhere(path: &Path) -> bool {
    open_fds().values().any(|target| target == path)
}

/// How many of the bytes that a TCP socket has sent may not have arrived yet.
pub(crate) fn unacknowledged(fd: &impl AsRawFd) -> usize {
    let mut n = 0_i32;
    // SAFETY: the kernel writes one integer.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut n) });
    usize::try_from(n).unwrap()
}

/// Whether the end of what the peer sends has arrived on a socket.
pub(crate) fn has_ended(fd: &impl AsRawFd) -> bool {
    super::is_now(fd, libc::POLLRDHUP)
}

/// A listener under a name that is nobody else's and leaves nothing behind.
pub(crate) fn unix_listener() -> (UnixListener, SocketAddr) {
    let addr = SocketAddr::from_abstract_name(unique()).unwrap();
    (UnixListener::bind_addr(&addr).unwrap(), addr)
}

/// Each message that a socket receives is to come with the credentials of its sender.
pub(crate) fn ask_for_credentials(fd: &impl AsRawFd) {
    let (fd, on) = (fd.as_raw_fd(), (&raw const ON).cast());
    // SAFETY: the option's value, of its size.
    checked(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, on, 4) });
}

static ON: i32 = 1;

/// A descriptor for a path alone, where there are some: neither to read nor to write.
pub(crate) fn path_only(path: &str) -> Option<File> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_PATH);
    Some(options.open(path).unwrap())
}

/// A pipe's end can be tried without waiting, whatever its mode is; there is nothing.
pub(crate) fn assert_tries_find_nothing(reader: &impl AsRawFd) {
    let mut byte = 0_u8;
    let room = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let (fd, nowait) = (reader.as_raw_fd(), libc::RWF_NOWAIT);
    // SAFETY: one vector of a byte on the stack.
    let tried = unsafe { libc::preadv2(fd, &raw const room, 1, -1, nowait) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((tried, error), (-1, Some(libc::EAGAIN)));
}

/// Files that only this system opens, and what they are.
pub(crate) fn kinds_of_its_own() -> Vec<(OwnedFd, FileKind)> {
    // SAFETY: takes numbers.
    let event = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) });
    // SAFETY: a new descriptor.
    let event = unsafe { OwnedFd::from_raw_fd(event) };
    let link = TempPath::new();
    symlink("nowhere", &*link).unwrap();
    let mut options = File::options();
    let options = options
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW);
    let link = options.open(&*link).unwrap().into();
    let mut files = vec![(event, FileKind::Other), (link, FileKind::Symlink)];
    let block = fs::read_dir("/dev")
        .unwrap()
        .flatten()
        .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
    let block = block.and_then(|entry| path_only(entry.path().to_str().unwrap()));
    files.extend(block.map(|file| (file.into(), FileKind::BlockDevice)));
    files
}

/// A file on a real disk, opened so that reads of it do not come from the page cache; buffered
/// where the file system has no O_DIRECT.
pub(crate) fn cold_file(bytes: &[u8]) -> File {
    let path = TempPath::new();
    fs::write(&*path, bytes).unwrap();
    let written = File::open(&*path).unwrap();
    written.sync_all().unwrap();
    // SAFETY: takes numbers.
    unsafe { libc::posix_fadvise(written.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    File::options()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&*path)
        .unwrap_or_else(|_| File::open(&*path).unwrap())
}

/// A descriptor that io_uring closes on a worker, for it has to be flushed: a message queue, where
/// there are some.
pub(crate) fn flushed() -> Option<OwnedFd> {
    let name = std::ffi::CString::new(format!("/{}", unique())).unwrap();
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    let default = ptr::null_mut::<libc::mq_attr>();
    // SAFETY: a name that lives as long as the call, a mode, and the default attributes.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, default) };
    if fd < 0 {
        return None;
    }
    // SAFETY: a name that lives as long as the call.
    checked(unsafe { libc::mq_unlink(name.as_ptr()) });
    // SAFETY: a new descriptor.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pipe with room for one page.
pub(crate) fn small_pipe() -> (File, File) {
    let (reader, writer) = super::pipe();
    // SAFETY: takes numbers.
    let room = checked(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 1) });
    assert_eq!(room, 4096);
    (reader, writer)
}
