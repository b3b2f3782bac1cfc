//! Descriptors: handles and sockets, which Windows keeps apart, under one name.
//!
//! The traits and types have the names and the meaning of those in `std::os::fd`, so that code
//! which names them through [`driver`](crate::driver) is the same on every platform.

use std::fmt;
use std::fs::File;
use std::io::{self, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::windows::io::{
    AsHandle, AsRawHandle, AsRawSocket, AsSocket, BorrowedHandle, BorrowedSocket, FromRawHandle,
    FromRawSocket, IntoRawHandle, IntoRawSocket, OwnedHandle, OwnedSocket, RawHandle, RawSocket,
};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::rc::Rc;
use std::sync::Arc;

/// The number of a handle or of a socket, and which of the two it is.
///
/// Both are handles of the kernel, whose numbers are multiples of four and have 31 bits: a bit
/// tells sockets apart. So a result that is a new descriptor is such a number too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawFd(i32);

/// The bit of a number that is a socket's.
const SOCKET: i32 = 1;
/// The bits that the kernel leaves to those who have a handle.
const OWN: i32 = 3;

impl RawFd {
    /// Nothing: no call finds a handle there.
    pub(crate) const INVALID: Self = Self(-1);
    /// Stands for the current directory, which has no handle.
    pub(crate) const CWD: Self = Self(-100);

    /// That of a handle. One that the kernel never gives, such as the current process's, is that of
    /// none.
    ///
    /// ```
    /// use completeio_driver::driver::{AsRawFd, RawFd};
    /// use std::os::windows::io::AsRawHandle;
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// assert_eq!(RawFd::from_handle(file.as_raw_handle()), file.as_raw_fd());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn from_handle(handle: RawHandle) -> Self {
        Self::of(handle.addr(), 0)
    }

    /// That of a socket.
    pub fn from_socket(socket: RawSocket) -> Self {
        usize::try_from(socket).map_or(Self::INVALID, |number| Self::of(number, SOCKET))
    }

    fn of(number: usize, bit: i32) -> Self {
        match i32::try_from(number) {
            Ok(number) if number & OWN == 0 && number != 0 => Self(number | bit),
            _ => Self::INVALID,
        }
    }

    /// The handle, if it is one.
    pub fn as_handle(self) -> Option<RawHandle> {
        (self.0 > 0 && self.0 & SOCKET == 0)
            .then(|| std::ptr::without_provenance_mut(self.number()))
    }

    /// The socket, if it is one.
    pub fn as_socket(self) -> Option<RawSocket> {
        self.is_socket().then(|| self.number() as RawSocket)
    }

    /// Whether it is that of a socket.
    pub const fn is_socket(self) -> bool {
        self.0 > 0 && self.0 & SOCKET != 0
    }

    /// The number as the kernel has it, whichever it is; what is none has no handle there.
    pub(crate) const fn number(self) -> usize {
        if self.0 > 0 {
            (self.0 & !OWN).unsigned_abs() as usize
        } else {
            0
        }
    }

    /// The same as a result that is no error.
    pub(crate) fn into_result(self) -> i32 {
        assert!(self.0 > 0, "what was made has a number");
        self.0
    }

    /// What a result of an operation names that made it.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Cwd, Driver, Entry, RawFd};
    /// use completeio_driver::op::{Op, OpenAt};
    ///
    /// let mut op = OpenAt::read(Cwd, c"Cargo.toml");
    /// let mut driver = Driver::new()?;
    /// driver.try_push(&mut op, 0).unwrap();
    /// let mut entry: Option<Entry> = None;
    /// // SAFETY: `op` outlives the driver and is not touched while it has it.
    /// unsafe { driver.submit(None, &mut entry)? };
    /// let entry = entry.unwrap();
    /// let number = RawFd::from_number(entry.result()? as i32);
    /// assert!(number.as_handle().is_some());
    /// drop(driver);
    /// // SAFETY: the entry is the operation's last one.
    /// unsafe { op.dispose(entry) };
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub const fn from_number(result: i32) -> Self {
        Self(result)
    }

    /// The same, whatever it is.
    pub(crate) fn as_word(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for RawFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number();
        match *self {
            Self::CWD => f.write_str("CurrentDirectory"),
            Self(..=0) => f.write_str("Invalid"),
            fd if fd.is_socket() => write!(f, "Socket({number:#x})"),
            _ => write!(f, "Handle({number:#x})"),
        }
    }
}

/// An open handle or socket, which is closed when it is dropped.
#[derive(Debug)]
pub struct OwnedFd(Owned);

#[derive(Debug)]
enum Owned {
    Handle(OwnedHandle),
    Socket(OwnedSocket),
}

impl OwnedFd {
    /// Another descriptor of the same file or socket, which no child inherits.
    ///
    /// # Errors
    /// Those of `DuplicateHandle` or `WSADuplicateSocketW`, unchanged.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.as_fd().try_clone_to_owned()
    }
}

/// A handle or a socket that somebody else keeps open for `'fd`.
#[derive(Debug, Clone, Copy)]
pub struct BorrowedFd<'fd>(Borrowed<'fd>);

#[derive(Debug, Clone, Copy)]
enum Borrowed<'fd> {
    Handle(BorrowedHandle<'fd>),
    Socket(BorrowedSocket<'fd>),
}

impl<'fd> BorrowedFd<'fd> {
    /// The handle, if it is one.
    pub fn as_handle(&self) -> Option<BorrowedHandle<'fd>> {
        match self.0 {
            Borrowed::Handle(handle) => Some(handle),
            Borrowed::Socket(_) => None,
        }
    }

    /// The socket, if it is one: as std and other crates take it.
    pub fn as_socket(&self) -> Option<BorrowedSocket<'fd>> {
        match self.0 {
            Borrowed::Socket(socket) => Some(socket),
            Borrowed::Handle(_) => None,
        }
    }

    /// Borrows what a number names.
    ///
    /// # Safety
    /// It stays open for the lifetime.
    pub const unsafe fn borrow_raw(fd: RawFd) -> Self {
        let number = fd.number();
        if fd.is_socket() {
            // SAFETY: (F1) the caller's contract.
            Self(Borrowed::Socket(unsafe {
                BorrowedSocket::borrow_raw(number as RawSocket)
            }))
        } else {
            let handle = std::ptr::without_provenance_mut(number);
            // SAFETY: (F1) the caller's contract.
            Self(Borrowed::Handle(unsafe {
                BorrowedHandle::borrow_raw(handle)
            }))
        }
    }

    /// Another descriptor of the same file or socket, which no child inherits.
    ///
    /// # Errors
    /// Those of `DuplicateHandle` or `WSADuplicateSocketW`, unchanged.
    pub fn try_clone_to_owned(&self) -> io::Result<OwnedFd> {
        Ok(OwnedFd(match self.0 {
            Borrowed::Handle(handle) => Owned::Handle(handle.try_clone_to_owned()?),
            Borrowed::Socket(socket) => Owned::Socket(socket.try_clone_to_owned()?),
        }))
    }
}

/// What has the number of a handle or a socket.
pub trait AsRawFd {
    /// The number, which says nothing of how long it is open.
    fn as_raw_fd(&self) -> RawFd;
}

/// What is made of a number.
pub trait FromRawFd {
    /// Takes over what a number names.
    ///
    /// # Safety
    /// It is open, and nobody else owns it.
    unsafe fn from_raw_fd(fd: RawFd) -> Self;
}

/// What gives up its number.
pub trait IntoRawFd {
    /// The number, which the caller owns from now on.
    fn into_raw_fd(self) -> RawFd;
}

/// What lends a handle or a socket.
pub trait AsFd {
    /// Lends it.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

impl AsRawFd for RawFd {
    fn as_raw_fd(&self) -> RawFd {
        *self
    }
}

impl FromRawFd for RawFd {
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        fd
    }
}

impl IntoRawFd for RawFd {
    fn into_raw_fd(self) -> RawFd {
        self
    }
}

impl AsRawFd for OwnedFd {
    fn as_raw_fd(&self) -> RawFd {
        match &self.0 {
            Owned::Handle(handle) => RawFd::from_handle(handle.as_raw_handle()),
            Owned::Socket(socket) => RawFd::from_socket(socket.as_raw_socket()),
        }
    }
}

impl FromRawFd for OwnedFd {
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        match fd.as_socket() {
            // SAFETY: (F1) the caller's contract.
            Some(socket) => unsafe { OwnedSocket::from_raw_socket(socket) }.into(),
            None => {
                let handle = std::ptr::without_provenance_mut(fd.number());
                // SAFETY: (F1) the caller's contract.
                unsafe { OwnedHandle::from_raw_handle(handle) }.into()
            }
        }
    }
}

impl IntoRawFd for OwnedFd {
    fn into_raw_fd(self) -> RawFd {
        match self.0 {
            Owned::Handle(handle) => RawFd::from_handle(handle.into_raw_handle()),
            Owned::Socket(socket) => RawFd::from_socket(socket.into_raw_socket()),
        }
    }
}

impl AsFd for OwnedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        BorrowedFd(match &self.0 {
            Owned::Handle(handle) => Borrowed::Handle(handle.as_handle()),
            Owned::Socket(socket) => Borrowed::Socket(socket.as_socket()),
        })
    }
}

impl AsRawFd for BorrowedFd<'_> {
    fn as_raw_fd(&self) -> RawFd {
        match self.0 {
            Borrowed::Handle(handle) => RawFd::from_handle(handle.as_raw_handle()),
            Borrowed::Socket(socket) => RawFd::from_socket(socket.as_raw_socket()),
        }
    }
}

impl AsFd for BorrowedFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        *self
    }
}

/// What points to something that has a descriptor has it too.
macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<T: AsRawFd> AsRawFd for $pointer {
            fn as_raw_fd(&self) -> RawFd {
                (**self).as_raw_fd()
            }
        }

        impl<T: AsFd> AsFd for $pointer {
            fn as_fd(&self) -> BorrowedFd<'_> {
                (**self).as_fd()
            }
        }
    )*};
}
pointers!(&T &mut T Box<T> Rc<T> Arc<T>);

/// What has a handle.
macro_rules! handles {
    ($($of:ty)*) => {$(
        impl AsRawFd for $of {
            fn as_raw_fd(&self) -> RawFd {
                RawFd::from_handle(self.as_raw_handle())
            }
        }

        impl AsFd for $of {
            fn as_fd(&self) -> BorrowedFd<'_> {
                BorrowedFd(Borrowed::Handle(self.as_handle()))
            }
        }
    )*};
}
handles!(File OwnedHandle BorrowedHandle<'_> Child ChildStdin ChildStdout ChildStderr
    Stdin StdinLock<'_> Stdout StdoutLock<'_> Stderr StderrLock<'_>);

/// What has a socket.
macro_rules! sockets {
    ($($of:ty)*) => {$(
        impl AsRawFd for $of {
            fn as_raw_fd(&self) -> RawFd {
                RawFd::from_socket(self.as_raw_socket())
            }
        }

        impl AsFd for $of {
            fn as_fd(&self) -> BorrowedFd<'_> {
                BorrowedFd(Borrowed::Socket(self.as_socket()))
            }
        }
    )*};
}
sockets!(TcpStream TcpListener UdpSocket OwnedSocket BorrowedSocket<'_>);
#[cfg(feature = "socket2")]
sockets!(socket2::Socket);

#[cfg(feature = "socket2")]
impl AsRawFd for socket2::SockRef<'_> {
    fn as_raw_fd(&self) -> RawFd {
        (**self).as_raw_fd()
    }
}

#[cfg(feature = "socket2")]
impl AsFd for socket2::SockRef<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}

/// What owns a handle or a socket, and can be made of one.
macro_rules! owners {
    ($($of:ty: $owned:ident, $variant:ident, $what:literal;)*) => {$(
        impl From<$of> for OwnedFd {
            fn from(of: $of) -> Self {
                Self(Owned::$variant($owned::from(of)))
            }
        }

        impl From<OwnedFd> for $of {
            #[doc = concat!("# Panics\n\nIf it is no ", $what, ".")]
            fn from(fd: OwnedFd) -> Self {
                match fd.0 {
                    Owned::$variant(of) => Self::from(of),
                    other => panic!(concat!("no ", $what, ": {:?}"), other),
                }
            }
        }

        impl IntoRawFd for $of {
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }

        impl FromRawFd for $of {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: (F1) the caller's contract.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }
    )*};
}
owners! {
    OwnedHandle: OwnedHandle, Handle, "handle";
    File: OwnedHandle, Handle, "handle";
    ChildStdin: OwnedHandle, Handle, "handle";
    ChildStdout: OwnedHandle, Handle, "handle";
    ChildStderr: OwnedHandle, Handle, "handle";
    OwnedSocket: OwnedSocket, Socket, "socket";
    TcpStream: OwnedSocket, Socket, "socket";
    TcpListener: OwnedSocket, Socket, "socket";
    UdpSocket: OwnedSocket, Socket, "socket";
}

impl From<OwnedFd> for Stdio {
    /// # Panics
    ///
    /// If it is no handle.
    fn from(fd: OwnedFd) -> Self {
        OwnedHandle::from(fd).into()
    }
}

#[cfg(feature = "socket2")]
owners! {
    socket2::Socket: OwnedSocket, Socket, "socket";
}

impl From<Child> for OwnedFd {
    fn from(child: Child) -> Self {
        OwnedHandle::from(child).into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_handles_from_sockets() {
        let file = File::open("Cargo.toml").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let [handle, number] = [file.as_raw_fd(), socket.as_raw_fd()];
        assert_eq!(handle.as_handle(), Some(file.as_raw_handle()));
        assert_eq!((handle.as_socket(), handle.is_socket()), (None, false));
        assert_eq!(number.as_socket(), Some(socket.as_raw_socket()));
        assert_eq!((number.as_handle(), number.is_socket()), (None, true));
        let (file, socket) = (file.as_fd(), socket.as_fd());
        assert!(file.as_handle().is_some() && file.as_socket().is_none());
        assert!(socket.as_socket().is_some() && socket.as_handle().is_none());
        for fd in [handle, number] {
            assert_eq!(RawFd::from_number(fd.into_result()), fd);
        }
    }

    #[test]
    fn what_the_kernel_never_gives_names_nothing() {
        for number in [0, 1, 2, 3, 5, usize::MAX, usize::MAX - 3, 1 << 31, 1 << 32] {
            let handle = std::ptr::without_provenance_mut(number);
            assert_eq!(RawFd::from_handle(handle), RawFd::INVALID, "{number:#x}");
            assert_eq!(RawFd::from_socket(number as RawSocket), RawFd::INVALID);
        }
        for fd in [RawFd::INVALID, RawFd::CWD] {
            assert_eq!(
                (fd.as_handle(), fd.as_socket(), fd.number()),
                (None, None, 0)
            );
        }
    }

    #[test]
    fn owned_ones_go_both_ways() {
        let file = File::open("Cargo.toml").unwrap();
        let number = file.as_raw_fd();
        let owned = OwnedFd::from(file);
        assert_eq!(owned.as_raw_fd(), number);
        let copy = owned.try_clone().unwrap();
        assert_ne!(copy.as_raw_fd(), number);
        assert_eq!(File::from(owned).as_raw_fd(), number);
        assert!(File::from(copy).metadata().unwrap().is_file());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let copy = OwnedFd::from(socket).try_clone().unwrap();
        assert_eq!(UdpSocket::from(copy).local_addr().unwrap(), addr);
    }

    #[test]
    fn a_program_writes_to_one() {
        let path = std::env::temp_dir().join(format!("completeio-{}", std::process::id()));
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).open(&path);
        let mut command = std::process::Command::new("cmd");
        command
            .args(["/c", "echo", "text"])
            .stdout(OwnedFd::from(file.unwrap()));
        assert!(command.status().unwrap().success());
        assert!(std::fs::read(&path).unwrap().starts_with(b"text"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    #[cfg(feature = "socket2")]
    fn sockets_of_socket2_are_attached_as_they_are() {
        use crate::driver::{CompleteIo, Driver};
        use socket2::{Domain, SockRef, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let mut driver = Driver::new().unwrap();
        driver.attach(socket.as_raw_fd()).unwrap();
        driver.attach(SockRef::from(&socket).as_raw_fd()).unwrap();
        let number = socket.as_raw_fd();
        assert_eq!(socket.as_fd().as_raw_fd(), number);
        assert_eq!(SockRef::from(&socket).as_fd().as_raw_fd(), number);
        let owned = OwnedFd::from(socket);
        assert_eq!(Socket::from(owned).as_raw_fd(), number);
    }

    #[test]
    #[should_panic(expected = "no socket")]
    fn a_handle_is_no_socket() {
        let file = OwnedFd::from(File::open("Cargo.toml").unwrap());
        drop(TcpStream::from(file));
    }
}
