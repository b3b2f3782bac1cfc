//! What the tests have on Windows.

use super::{TempPath, tcp_pair};
use completeio_driver::clock::Clock;
use completeio_driver::driver::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use completeio_driver::op;
use std::collections::BTreeSet;
use std::ffi::{CStr, OsString};
use std::fs::{self, File, FileType, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::os::windows::io::{
    AsRawHandle, FromRawHandle, FromRawSocket, OwnedHandle, OwnedSocket, RawHandle,
};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;
use std::time::{Duration, SystemTime};
use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Networking::WinSock as w;
use windows_sys::Win32::Storage::FileSystem as s;
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Memory as m;
use windows_sys::Win32::System::Pipes as p;
use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, CreateEventW, GetExitCodeProcess, INFINITE, TerminateProcess,
    WaitForSingleObject,
};

/// Error numbers, under the names that Unix has for them.
pub(crate) mod code {
    use super::{f, w};

    const fn signed(number: u32) -> i32 {
        i32::from_ne_bytes(number.to_ne_bytes())
    }

    /// Of a call on a socket that is closed.
    pub(crate) const NO_SOCKET: i32 = w::WSAENOTSOCK;
    /// Of a send to a peer that is gone.
    pub(crate) const NO_PEER: i32 = w::WSAECONNRESET;
    /// Of a file that is not there.
    pub(crate) const NO_FILE: i32 = signed(f::ERROR_FILE_NOT_FOUND);
    pub(crate) const ECANCELED: i32 = signed(f::ERROR_OPERATION_ABORTED);
    pub(crate) const ETIME: i32 = signed(f::ERROR_TIMEOUT);
    pub(crate) const ENOENT: i32 = signed(f::ERROR_NOT_FOUND);
    pub(crate) const EBADF: i32 = signed(f::ERROR_INVALID_HANDLE);
    pub(crate) const EPIPE: i32 = signed(f::ERROR_NO_DATA);
    pub(crate) const ECONNREFUSED: i32 = w::WSAECONNREFUSED;
    pub(crate) const ENOTSOCK: i32 = w::WSAENOTSOCK;
    pub(crate) const EINVAL: i32 = signed(f::ERROR_INVALID_PARAMETER);
    pub(crate) const EEXIST: i32 = signed(f::ERROR_FILE_EXISTS);
    /// Of a name in a directory that is not there, and of an empty one.
    pub(crate) const NO_PATH: i32 = signed(f::ERROR_PATH_NOT_FOUND);
    /// Of a send after the end of our side.
    pub(crate) const SAID_ALL: i32 = w::WSAESHUTDOWN;
    /// Of a send on a socket that was never connected.
    pub(crate) const NEVER_A_PEER: i32 = w::WSAENOTCONN;
    /// Of a receive after one that was told of a reset.
    pub(crate) const AFTER_A_RESET: i32 = w::WSAECONNRESET;
    /// Of a connect of a socket that listens.
    pub(crate) const LISTENS: i32 = w::WSAEINVAL;
    /// Of a call that a socket's state does not allow: an accept before it listens.
    pub(crate) const WRONG_STATE: i32 = w::WSAEINVAL;
    /// Of what is to be made under a name that something has.
    pub(crate) const TAKEN: i32 = signed(f::ERROR_ALREADY_EXISTS);
    /// Of a read of what is open for writing, and the other way round.
    pub(crate) const WRONG_DIRECTION: i32 = signed(f::ERROR_ACCESS_DENIED);
    /// Of what was in flight on a number that was closed.
    pub(crate) const CLOSED_UNDER_IT: &[i32] = &[ECANCELED, NO_SOCKET];
    pub(crate) const EAFNOSUPPORT: i32 = w::WSAEAFNOSUPPORT;
    pub(crate) const EAGAIN: i32 = w::WSAEWOULDBLOCK;
    pub(crate) const EINTR: i32 = w::WSAEINTR;
    pub(crate) const ECONNABORTED: i32 = w::WSAECONNABORTED;
    pub(crate) const ECONNRESET: i32 = w::WSAECONNRESET;
    pub(crate) const EISCONN: i32 = w::WSAEISCONN;
    pub(crate) const ENOTCONN: i32 = w::WSAENOTCONN;
    pub(crate) const EISDIR: i32 = signed(f::ERROR_INVALID_FUNCTION);
    pub(crate) const ENOTDIR: i32 = signed(f::ERROR_PATH_NOT_FOUND);
    pub(crate) const ESPIPE: i32 = signed(f::ERROR_SEEK_ON_DEVICE);
    /// Of a send to no address by what is not connected.
    pub(crate) const NOWHERE: i32 = w::WSAENOTCONN;
    /// Of a send to an address of another family: the documents name both.
    pub(crate) const OTHER_FAMILY: &[i32] = &[w::WSAEAFNOSUPPORT, w::WSAEFAULT];
    /// Of a receive after a send that nobody took.
    pub(crate) const NOBODY: i32 = w::WSAECONNRESET;
    /// Of a value of an option that is shorter than the option.
    pub(crate) const TOO_SHORT: i32 = w::WSAEFAULT;
    /// Of an address that is none.
    pub(crate) const NO_ADDRESS: &[i32] = &[w::WSAEFAULT, w::WSAEAFNOSUPPORT];
    pub(crate) const EADDRINUSE: i32 = w::WSAEADDRINUSE;
    pub(crate) const EADDRNOTAVAIL: i32 = w::WSAEADDRNOTAVAIL;
    pub(crate) const EMSGSIZE: i32 = w::WSAEMSGSIZE;
    pub(crate) const ENOPROTOOPT: i32 = w::WSAENOPROTOOPT;
    /// Of a number that no process has.
    pub(crate) const NO_PROCESS: i32 = signed(f::ERROR_INVALID_PARAMETER);
    /// Of a name in what is no directory, and no file either.
    pub(crate) const NO_DIRECTORY: i32 = signed(f::ERROR_DIRECTORY);
    /// Of a write that waited when the last who read went.
    pub(crate) const LAST_READER_GONE: i32 = signed(f::ERROR_BROKEN_PIPE);
}

/// Flags of a receive: none keeps it from waiting.
pub(crate) const DONT_WAIT: i32 = 0;

pub(crate) const AF_INET: i32 = w::AF_INET as i32;
pub(crate) const AF_INET6: i32 = w::AF_INET6 as i32;
pub(crate) const AF_UNIX: i32 = w::AF_UNIX as i32;
pub(crate) use w::{SOCK_DGRAM, SOCK_STREAM};

/// So much a pipe takes.
pub(crate) const PIPE_ROOM: Option<usize> = Some(1 << 16);

/// Fills one of which that is not known: none.
pub(crate) fn fill(_: BorrowedFd<'_>) {
    unreachable!("it is known");
}

pub(crate) const SHORTEST_QUEUE: i32 = 1;
/// Whether a connection to a listener that has no room for it is refused; else it is pending.
pub(crate) const FULL_REFUSES: bool = true;

/// Whether there are symbolic links. Wine only says that it has made one.
pub(crate) fn makes_links() -> bool {
    let path = TempPath::new();
    let made = std::os::windows::fs::symlink_file("nowhere", &*path);
    made.is_ok() && path.symlink_metadata().is_ok()
}

/// A program that ends when what it reads does.
pub(crate) fn reader() -> Command {
    let mut command = Command::new("cmd");
    command.stdout(Stdio::null());
    command
}

/// The flag that tells a caller of a message that was longer than the room.
pub(crate) const TRUNCATE: i32 = 0x100;

/// A device that is always there.
pub(crate) const NULL: &CStr = c"NUL";

/// The open files, pipes and sockets.
pub(crate) fn open_fds() -> BTreeSet<usize> {
    // SAFETY: takes a number.
    let is_open = |number: &usize| unsafe { s::GetFileType(ptr::without_provenance_mut(*number)) };
    (4..1 << 12)
        .step_by(4)
        .filter(|number| is_open(number) != s::FILE_TYPE_UNKNOWN)
        .collect()
}

pub(crate) fn is_open(fd: RawFd) -> bool {
    let mut flags = 0;
    if let Some(socket) = fd.as_socket() {
        // Other threads have handles that are none, under any number.
        let (socket, to, mut len) = (socket.try_into().unwrap(), (&raw mut flags).cast(), 4);
        // SAFETY: writes two locals.
        return unsafe { w::getsockopt(socket, w::SOL_SOCKET, w::SO_TYPE, to, &raw mut len) } == 0;
    }
    // SAFETY: writes a local.
    unsafe { f::GetHandleInformation(raw(fd), &raw mut flags) != 0 }
}

/// The number as a handle, which a socket's is too.
fn raw(fd: RawFd) -> RawHandle {
    let socket = fd
        .as_socket()
        .map(|socket| usize::try_from(socket).unwrap());
    let handle = fd.as_handle().map(|handle| handle.addr());
    ptr::without_provenance_mut(socket.or(handle).unwrap_or(0))
}

fn socket(fd: &impl AsRawFd) -> w::SOCKET {
    fd.as_raw_fd().as_socket().unwrap().try_into().unwrap()
}

/// How many bytes have arrived on a socket and were not read.
pub(crate) fn unread(fd: &impl AsRawFd) -> usize {
    let mut n = 0;
    // SAFETY: writes a local.
    let failed = unsafe { w::ioctlsocket(socket(fd), w::FIONREAD, &raw mut n) };
    assert_eq!(failed, 0);
    n as usize
}

/// Waits until a socket is readable, or until a driver has something to do.
pub(crate) fn wait_readable(fd: &impl AsRawFd) {
    assert!(readable_within(fd, -1));
}

/// What has arrived on a socket and was not read, without waiting.
pub(crate) fn arrived(socket: &impl AsRawFd) -> Vec<u8> {
    let mut bytes = vec![0; unread(socket)];
    let len = i32::try_from(bytes.len()).unwrap();
    if len > 0 {
        // SAFETY: a place of that length.
        let n = unsafe { w::recv(self::socket(socket), bytes.as_mut_ptr(), len, 0) };
        assert_eq!(n, len);
    }
    bytes
}

/// Waits until a socket is readable, or there is something for who waits for a handle: a driver's,
/// or a process's.
pub(crate) fn becomes_readable(fd: &impl AsRawFd) -> bool {
    readable_within(fd, 10_000)
}

/// The same, at most so many milliseconds.
pub(crate) fn readable_within(fd: &impl AsRawFd, milliseconds: i32) -> bool {
    if fd.as_raw_fd().is_socket() {
        return is_within(fd, w::POLLRDNORM, milliseconds);
    }
    let milliseconds = u32::from_ne_bytes(milliseconds.to_ne_bytes());
    // SAFETY: takes numbers.
    unsafe { WaitForSingleObject(raw(fd.as_raw_fd()), milliseconds) == f::WAIT_OBJECT_0 }
}

/// A new TCP socket.
pub(crate) fn tcp_socket() -> OwnedFd {
    // The library is started by this.
    drop(super::listener());
    let flags = w::WSA_FLAG_OVERLAPPED | w::WSA_FLAG_NO_HANDLE_INHERIT;
    // SAFETY: takes numbers.
    let socket =
        unsafe { w::WSASocketW(w::AF_INET.into(), w::SOCK_STREAM, 0, ptr::null(), 0, flags) };
    assert_ne!(socket, w::INVALID_SOCKET);
    // SAFETY: a new socket.
    unsafe { OwnedSocket::from_raw_socket(socket as u64) }.into()
}

/// A new TCP socket that blocks by itself, or does not.
pub(crate) fn tcp_socket_that(blocks: bool) -> OwnedFd {
    let made = TcpStream::from(tcp_socket());
    made.set_nonblocking(!blocks).unwrap();
    made.into()
}

/// Closing the socket resets the connection, and leaves no port behind.
pub(crate) fn reset_on_close(fd: &impl AsRawFd) {
    let linger = w::LINGER {
        l_onoff: 1,
        l_linger: 0,
    };
    let value = (&raw const linger).cast();
    // SAFETY: the option's value, of its size.
    let failed = unsafe { w::setsockopt(socket(fd), w::SOL_SOCKET, w::SO_LINGER, value, 4) };
    assert_eq!(failed, 0);
}

/// A file that takes overlapped calls.
pub(crate) fn cold_file(bytes: &[u8]) -> File {
    let path = TempPath::new();
    fs::write(&*path, bytes).unwrap();
    File::options()
        .read(true)
        .custom_flags(s::FILE_FLAG_OVERLAPPED)
        .open(&*path)
        .unwrap()
}

/// The same file for another driver: opened again, to read and to take overlapped calls.
pub(crate) fn again(file: &File) -> File {
    let share = s::FILE_SHARE_READ | s::FILE_SHARE_WRITE | s::FILE_SHARE_DELETE;
    let (handle, how) = (file.as_raw_handle(), s::FILE_FLAG_OVERLAPPED);
    // SAFETY: takes numbers.
    let again = unsafe { s::ReOpenFile(handle, f::GENERIC_READ, share, how) };
    assert_ne!(again, f::INVALID_HANDLE_VALUE);
    // SAFETY: a new handle.
    unsafe { OwnedHandle::from_raw_handle(again) }.into()
}

/// A number that nothing has.
pub(crate) const CLOSED: RawFd = RawFd::from_number(0x7fff_fff0);
/// Numbers that nothing has, within every table and outside: a handle's and a socket's of each.
pub(crate) const ALL_CLOSED: [RawFd; 4] = [
    CLOSED,
    RawFd::from_number(0x7fff_fff1),
    RawFd::from_number(0x0ff0),
    RawFd::from_number(0x0ff1),
];

pub(crate) fn open_directory(path: &Path) -> File {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(s::FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)
        .unwrap()
}

/// How many of the open handles a child would have.
pub(crate) fn inherited() -> usize {
    let is_inherited = |number: &usize| {
        let (handle, mut flags) = (ptr::without_provenance_mut(*number), 0);
        // SAFETY: writes a local.
        let ok = unsafe { f::GetHandleInformation(handle, &raw mut flags) };
        ok != 0 && flags & f::HANDLE_FLAG_INHERIT != 0
    };
    (4..1 << 12).step_by(4).filter(|n| is_inherited(n)).count()
}

/// Makes `to` another number for what `from` is: what was there is closed. Both are files, for Wine
/// gives the number of a socket to nobody else at once.
pub(crate) fn replace(from: &impl AsRawFd, to: RawFd) {
    // SAFETY: `to` is the test's own number.
    drop(unsafe { OwnedFd::from_raw_fd(to) });
    let mut others = Vec::new();
    loop {
        let another = super::plain(from).try_clone_to_owned().unwrap();
        if another.as_raw_fd() == to {
            let _number = another.into_raw_fd();
            return;
        }
        others.push(another);
        assert!(others.len() < 1 << 12, "nobody else has taken it");
    }
}

/// What a result names.
pub(crate) fn made(result: usize) -> RawFd {
    RawFd::from_number(i32::try_from(result).unwrap())
}

/// Whether this file is open.
pub(crate) fn is_open_somewhere(path: &Path) -> bool {
    let name = path.file_name().unwrap();
    open_fds().iter().any(|number| {
        let handle = ptr::without_provenance_mut(*number);
        let mut room = [0; 1024];
        // SAFETY: room of that length.
        let len = unsafe { s::GetFinalPathNameByHandleW(handle, room.as_mut_ptr(), 1024, 0) };
        let target = OsString::from_wide(&room[..len.min(1024) as usize]);
        Path::new(&target).file_name() == Some(name)
    })
}

/// All that is in a file.
pub(crate) fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    read_at(file, &mut bytes, 0);
    bytes
}

/// Memory that takes up none until it is used.
pub(crate) fn map(len: usize) -> *mut u8 {
    view(&section(len))
}

/// The same memory in two places.
pub(crate) fn map_twice(len: usize) -> [*mut u8; 2] {
    let section = section(len);
    [(); 2].map(|()| view(&section))
}

fn section(len: usize) -> OwnedHandle {
    let [low, high] = [len, len >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap());
    let (nobody, default) = (f::INVALID_HANDLE_VALUE, ptr::null());
    // SAFETY: takes numbers.
    let section = unsafe {
        m::CreateFileMappingW(nobody, default, m::PAGE_READWRITE, high, low, ptr::null())
    };
    assert!(!section.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: a new handle.
    unsafe { OwnedHandle::from_raw_handle(section) }
}

fn view(section: &OwnedHandle) -> *mut u8 {
    // SAFETY: a new mapping, wherever the kernel likes.
    let view = unsafe { m::MapViewOfFile(section.as_raw_handle(), m::FILE_MAP_WRITE, 0, 0, 0) };
    assert!(!view.Value.is_null(), "{}", io::Error::last_os_error());
    view.Value.cast()
}

/// # Safety
/// Mapped by one of these, and lent to nobody.
pub(crate) unsafe fn unmap(start: *mut u8, _len: usize) {
    let view = m::MEMORY_MAPPED_VIEW_ADDRESS {
        Value: start.cast(),
    };
    // SAFETY: the caller's contract.
    unsafe { m::UnmapViewOfFile(view) };
}

/// Reads all of it, at an offset.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], offset: u64) {
    assert_eq!(file.seek_read(bytes, offset).unwrap(), bytes.len());
}

/// Writes all of it, at an offset.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) {
    assert_eq!(file.seek_write(bytes, offset).unwrap(), bytes.len());
}

/// Two sockets for datagrams that are connected to each other.
pub(crate) fn datagram_pair() -> (UdpSocket, UdpSocket) {
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    (a, b)
}

/// The clocks that [`now`] reads: the others' zeroes are not told.
pub(crate) const CLOCKS: &[Clock] = &[Clock::Realtime];

/// What a clock shows.
pub(crate) fn now(_: Clock) -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

/// A socket that is connected within the machine.
pub(crate) type Stream = TcpStream;

/// A listener within the machine.
pub(crate) fn local_listener() -> (TcpListener, SocketAddr) {
    super::listener()
}

/// A connection to one.
pub(crate) fn connect(addr: &SocketAddr) -> Stream {
    TcpStream::connect(addr).unwrap()
}

pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let (a, b) = tcp_pair();
    a.set_nodelay(true).unwrap();
    b.set_nodelay(true).unwrap();
    (a, b)
}

/// Both ends of a pipe that takes overlapped calls: to read, to write.
pub(crate) fn pipe() -> (PlainFile, PlainFile) {
    pipe_with(1 << 16)
}

/// The same, with room for one page.
pub(crate) fn small_pipe() -> (PlainFile, PlainFile) {
    pipe_with(4096)
}

fn pipe_with(room: u32) -> (PlainFile, PlainFile) {
    let name = format!(r"\\.\pipe\{}", super::unique());
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let open = s::PIPE_ACCESS_INBOUND | s::FILE_FLAG_OVERLAPPED | s::FILE_FLAG_FIRST_PIPE_INSTANCE;
    let (kind, default) = (p::PIPE_TYPE_BYTE, ptr::null());
    // SAFETY: a name that ends with a zero.
    let reader =
        unsafe { p::CreateNamedPipeW(name.as_ptr(), open, kind, 1, room, room, 0, default) };
    assert_ne!(reader, f::INVALID_HANDLE_VALUE);
    // SAFETY: a name that ends with a zero.
    let writer = unsafe {
        s::CreateFileW(
            name.as_ptr(),
            f::GENERIC_WRITE,
            0,
            default,
            s::OPEN_EXISTING,
            s::FILE_FLAG_OVERLAPPED,
            ptr::null_mut(),
        )
    };
    assert_ne!(writer, f::INVALID_HANDLE_VALUE);
    // SAFETY: new handles.
    let [reader, writer] = [reader, writer].map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
    (PlainFile(reader.into()), PlainFile(writer.into()))
}

/// A file, a pipe's end or a socket, whose reads and writes wait, whatever calls it takes.
pub(crate) struct PlainFile(OwnedFd);

impl PlainFile {
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TcpStream::from(self.0.try_clone()?).shutdown(how)
    }

    /// Makes an overlapped call, and waits for it.
    fn wait(
        &self,
        call: impl FnOnce(RawHandle, *mut u32, *mut OVERLAPPED) -> i32,
    ) -> io::Result<usize> {
        // SAFETY: takes numbers.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        // SAFETY: a new handle.
        let _event = unsafe { OwnedHandle::from_raw_handle(event) };
        // Marked, so that no packet is sent to the port that the driver waits for.
        let mut overlapped = OVERLAPPED {
            hEvent: event.map_addr(|event| event | 1),
            ..OVERLAPPED::default()
        };
        let (handle, mut moved) = (raw(self.0.as_raw_fd()), 0);
        let ok = call(handle, &raw mut moved, &raw mut overlapped);
        if ok != 0 {
            return Ok(moved as usize);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(997) {
            return Err(error);
        }
        // SAFETY: the local that the kernel has.
        if unsafe { GetOverlappedResult(handle, &raw const overlapped, &raw mut moved, 1) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(moved as usize)
    }
}

impl Read for &PlainFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = u32::try_from(buf.len()).unwrap();
        let read = self.wait(|handle, moved, overlapped| {
            // SAFETY: a place of that length, until the call is over.
            unsafe { s::ReadFile(handle, buf.as_mut_ptr(), len, moved, overlapped) }
        });
        match read {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            read => read,
        }
    }
}

impl Write for &PlainFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = u32::try_from(buf.len()).unwrap();
        self.wait(|handle, moved, overlapped| {
            // SAFETY: bytes of that length, until the call is over.
            unsafe { s::WriteFile(handle, buf.as_ptr(), len, moved, overlapped) }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for PlainFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for PlainFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

impl FromRawFd for PlainFile {
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl From<OwnedFd> for PlainFile {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<PlainFile> for OwnedFd {
    fn from(file: PlainFile) -> Self {
        file.0
    }
}

/// Whether the end of a child is told to one who waits, which reaps it, or to all.
pub(crate) const REAPS: bool = false;
/// As many as a test makes that makes many: each takes tens of milliseconds.
pub(crate) const MANY_CHILDREN: usize = 40;

/// A child that never begins, and exits with the code that it is told.
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn new() -> Self {
        Self(reader().creation_flags(CREATE_SUSPENDED).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn exits(&self, code: u8) {
        // SAFETY: takes numbers; the handle is the child's.
        let ok = unsafe { TerminateProcess(self.0.as_raw_handle(), code.into()) };
        assert_ne!(ok, 0, "{}", io::Error::last_os_error());
    }

    /// Waits for its exit: its code.
    pub(crate) fn code(&self) -> i32 {
        let mut code = 0;
        // SAFETY: takes numbers; the handle is the child's.
        let ended = unsafe { WaitForSingleObject(self.0.as_raw_handle(), INFINITE) };
        assert_eq!(ended, f::WAIT_OBJECT_0);
        // SAFETY: writes a local.
        let ok = unsafe { GetExitCodeProcess(self.0.as_raw_handle(), &raw mut code) };
        assert_ne!(ok, 0, "{}", io::Error::last_os_error());
        i32::try_from(code).unwrap()
    }

    /// The same: nobody reaps.
    pub(crate) fn reap(&self) -> Option<i32> {
        Some(self.code())
    }
}

fn is_within(fd: &impl AsRawFd, events: i16, milliseconds: i32) -> bool {
    let mut poll = w::WSAPOLLFD {
        fd: socket(fd),
        events,
        revents: 0,
    };
    // SAFETY: one `WSAPOLLFD`, on the stack.
    unsafe { w::WSAPoll(&raw mut poll, 1, milliseconds) == 1 }
}

pub(crate) fn writable_now(fd: &impl AsRawFd) -> bool {
    is_within(fd, w::POLLWRNORM, 0)
}

/// A number below zero.
pub(crate) fn negative(number: i32) -> RawFd {
    RawFd::from_number(number)
}

/// A path that cannot be polled: none can.
pub(crate) fn path_only(_: &str) -> Option<File> {
    None
}

/// How many can be polled of a socket, a listener and a pipe.
pub(crate) const POLLED: usize = 2;
/// Whether polls are told of what receives beside them take.
pub(crate) const POLLS_LOOK_FIRST: bool = false;

/// Sends one urgent byte.
pub(crate) fn send_urgent(fd: &impl AsRawFd) {
    // SAFETY: reads one byte.
    let sent = unsafe { w::send(socket(fd), c"!".as_ptr().cast(), 1, w::MSG_OOB) };
    assert_eq!(sent, 1);
}

/// Whether a socket of v6 that is bound to any address takes what is sent to v4: not unless it is
/// told to.
pub(crate) const V6_TAKES_V4: bool = false;
pub(crate) const NO_FLAGS_OF_A_RECEIVE: [i32; 1] = [TRUNCATE];
/// Those that nobody knows are the system's to refuse.
pub(crate) const NO_FLAGS_OF_A_SEND: [i32; 0] = [];

/// Names of levels and options.
pub(crate) use windows_sys::Win32::Networking::WinSock as os;

/// The kernel takes the room that is asked for.
pub(crate) const ROOM_FACTOR: i32 = 1;
pub(crate) const KEEP_IDLE: i32 = w::TCP_KEEPIDLE;
pub(crate) const KEEP_INTERVAL: i32 = w::TCP_KEEPINTVL;
pub(crate) const HAS_UNIX_SOCKETS: bool = false;
/// Whether a socket that is told to listen and has no address gets one.
pub(crate) const LISTENS_UNBOUND: bool = false;

fn winsock_error() -> i32 {
    // SAFETY: reads a number of the thread's.
    unsafe { w::WSAGetLastError() }
}

/// The error of the plain call, which is to fail.
pub(crate) fn errno_of_socket(family: i32, kind: i32, protocol: i32) -> i32 {
    // SAFETY: takes numbers.
    match unsafe { w::socket(family, kind, protocol) } {
        w::INVALID_SOCKET => winsock_error(),
        _ => 0,
    }
}

pub(crate) fn errno_of_listen(fd: &impl AsRawFd) -> i32 {
    // SAFETY: takes numbers.
    match unsafe { w::listen(socket(fd), 1) } {
        0 => 0,
        _ => winsock_error(),
    }
}

/// An option by the plain call.
pub(crate) fn asked<const N: usize>(fd: &impl AsRawFd, level: i32, name: i32) -> [u8; N] {
    let mut value = [0; N];
    let mut len = i32::try_from(N).unwrap();
    // SAFETY: a value and its length, on the stack.
    let failed =
        unsafe { w::getsockopt(socket(fd), level, name, value.as_mut_ptr(), &raw mut len) };
    assert_eq!(failed, 0, "{}", winsock_error());
    value
}

/// How long the close of a socket waits for what was sent.
pub(crate) fn lingers(fd: &impl AsRawFd) -> Option<Duration> {
    let [on, _, low, high] = asked(fd, w::SOL_SOCKET, w::SO_LINGER);
    (on != 0).then_some(Duration::from_secs(u16::from_ne_bytes([low, high]).into()))
}

pub(crate) fn family_of(fd: &impl AsRawFd) -> i32 {
    const SIZE: usize = size_of::<w::WSAPROTOCOL_INFOW>();
    const AT: usize = std::mem::offset_of!(w::WSAPROTOCOL_INFOW, iAddressFamily);
    let info: [u8; SIZE] = asked(fd, w::SOL_SOCKET, w::SO_PROTOCOL_INFOW);
    i32::from_ne_bytes(*info[AT..].first_chunk().unwrap())
}

/// Whether plain calls wait, where the system tells.
pub(crate) fn blocks(_: &impl AsRawFd) -> Option<bool> {
    None
}

/// Whether this is the thread that the process began with, which no call tells: a program that runs
/// its tests one at a time has them there.
pub(crate) fn on_the_first_thread() -> bool {
    true
}
/// Makes a symbolic link, where there are some.
pub(crate) fn symlink(text: &str, path: &Path) {
    // Who may not make one is told so; Wine tells nobody.
    let _made = std::os::windows::fs::symlink_file(text, path);
}

/// What a file may be used for; how many names it has is not told here.
pub(crate) fn mode_and_links(file: &Metadata) -> (u32, u64) {
    (file.file_attributes(), 0)
}

/// Whether it is a device: none has a name in a directory.
pub(crate) fn is_device(_: FileType) -> bool {
    false
}

/// The operations and answers of Linux alone.
pub(crate) const IS_LINUX: bool = false;

/// The error number of a plain call on a name in a directory whose path is this; none, if there is
/// such a file.
pub(crate) fn errno_of_stat((_, dir): (&File, &Path), name: &CStr, follow: bool) -> Option<i32> {
    let name = name.to_str().unwrap();
    if name.is_empty() {
        return Some(code::NO_PATH);
    }
    let path = dir.join(name);
    let known = if follow {
        fs::metadata(path)
    } else {
        fs::symlink_metadata(path)
    };
    known.err().and_then(|error| error.raw_os_error())
}

/// What is known of a file here is told by all systems.
pub(crate) fn assert_same_numbers(_: &op::Metadata, _: &Metadata) {}

/// Devices that are known as files are: none.
pub(crate) fn devices() -> Vec<File> {
    Vec::new()
}

/// Whether looking a name up leaves all times of accesses as they are. Wine reads the directories.
pub(crate) const ACCESS_TIMES_STAND: bool = false;
/// The length of a file that is still quickly made: it has all of its blocks.
pub(crate) const LONG_FILE: u64 = 1 << 24;
/// Whether two names can be exchanged.
pub(crate) const EXCHANGES: bool = false;
/// What the sync of a directory that is open to read fails with.
pub(crate) const ERRNO_OF_A_DIRECTORYS_SYNC: i32 = code::WRONG_DIRECTION;

/// Files that only this system opens, and what they are.
pub(crate) fn kinds_of_its_own() -> Vec<(OwnedFd, op::FileKind)> {
    Vec::new()
}

/// Both ends of a pipe whose calls wait, whoever makes them: to read, to write.
pub(crate) fn waiting_pipe() -> (File, File) {
    let mut ends = [ptr::null_mut(); 2];
    let [reader, writer] = &mut ends;
    // SAFETY: writes two locals.
    let ok = unsafe { p::CreatePipe(reader, writer, ptr::null(), 0) };
    assert_ne!(ok, 0, "{}", io::Error::last_os_error());
    // SAFETY: new handles.
    ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) }.into())
        .into()
}

/// What is open.
pub(crate) type Open = BTreeSet<usize>;
/// The modes that the ends of a pipe may be in: calls on them always wait.
pub(crate) const MODES_OF_PIPES: &[bool] = &[false];
/// Whether one call moves several parts to and from a pipe.
pub(crate) const PIPES_TAKE_PARTS: bool = false;
/// Whether a write of nothing is made at all: else no error of its is told.
pub(crate) const NOTHING_IS_WRITTEN: bool = false;
/// A wait that goes on for so long is one whose end was lost.
pub(crate) const LOST: Duration = Duration::from_secs(10);

/// Nor is there a call that tries a pipe without waiting.
pub(crate) fn assert_tries_find_nothing(_: &impl AsRawFd) {}

/// A device that has no room for what is written to it: none.
pub(crate) fn full_device() -> Option<File> {
    None
}

/// A name in a directory as the calls take it; none of an empty one.
pub(crate) fn wide(dir: &Path, name: &str) -> Option<Vec<u16>> {
    let path = dir.join(name).into_os_string();
    (!name.is_empty()).then(|| path.encode_wide().chain([0]).collect())
}
