//! Operations on sockets that never wait. Where io_uring has no opcode for one, a plain call inside
//! of `submit` takes its place, but for fixed descriptors: those are refused.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, PlainCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::address::Address;
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::fd::OwnedFd;
use crate::sys::options::kind;
use std::io;
use std::net;

/// Ends one direction of a connection, or both.
///
/// Completes when the socket has taken note; what was sent before is still delivered. A receive
/// that waits on the direction that is ended completes with 0; of datagrams, on readiness, it goes
/// on waiting, for a call that does not block says so (`EAGAIN`).
///
/// Errors: as [shutdown(2)](https://man7.org/linux/man-pages/man2/shutdown.2.html), unchanged.
///
/// io_uring: `IORING_OP_SHUTDOWN`, Linux 5.11. readiness: `shutdown`, in place.
/// IOCP: `shutdown`, in place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Shutdown};
/// use std::io::Read;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (a, mut b) = UnixStream::pair()?;
/// let mut op = Shutdown::new(OwnedFd::from(a), std::net::Shutdown::Write);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(b.read(&mut [0])?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Shutdown<F> {
    head: OpHead,
    fd: F,
    how: net::Shutdown,
}

impl<F: Descriptor> Shutdown<F> {
    /// Ends what `how` says of the connection `fd`.
    pub fn new(fd: F, how: net::Shutdown) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            how,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Shutdown<F> {}

impl<F: Descriptor> Describe for Shutdown<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let target = op.fd.target();
        let how = op.how;
        Ok(Call::Plain(PlainCall::Shutdown { target, how }))
    }
}

impl<F: Descriptor> Op for Shutdown<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

/// Makes a socket.
///
/// Completes with its descriptor, which is close-on-exec.
///
/// Errors: as [socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html), unchanged.
///
/// io_uring: `IORING_OP_SOCKET`, Linux 5.19. readiness: `socket`, in place.
/// IOCP: `WSASocketW`, in place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Socket};
/// use std::{net::SocketAddr, net::UdpSocket};
///
/// let mut op = Socket::datagram(&SocketAddr::from(([127, 0, 0, 1], 0)).into());
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let socket = UdpSocket::from(unsafe { op.finish(entry.unwrap())? });
/// assert_eq!(socket.local_addr()?.port(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Socket {
    head: OpHead,
    domain: i32,
    kind: i32,
    protocol: i32,
}

impl Socket {
    /// A socket of any domain (`AF_…`), kind (`SOCK_…`) and protocol; 0 is the usual protocol.
    pub const fn new(domain: i32, kind: i32, protocol: i32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            domain,
            kind,
            protocol,
        }
    }

    /// A stream for addresses like this one: TCP, or a Unix stream.
    pub fn stream(addr: &Address) -> Self {
        Self::new(addr.family(), kind::STREAM, 0)
    }

    /// A socket of datagrams for addresses like this one: UDP, or Unix datagrams.
    pub fn datagram(addr: &Address) -> Self {
        Self::new(addr.family(), kind::DGRAM, 0)
    }

    /// Plain calls on it fail where they would block (`SOCK_NONBLOCK`). Operations wait.
    pub const fn non_blocking(mut self, yes: bool) -> Self {
        self.kind = if yes {
            self.kind | kind::NONBLOCK
        } else {
            self.kind & !kind::NONBLOCK
        };
        self
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for Socket {}

impl Describe for Socket {
    const MAKES_FD: bool = true;

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Plain(PlainCall::Socket {
            domain: op.domain,
            kind: op.kind | kind::CLOEXEC,
            protocol: op.protocol,
        }))
    }
}

impl Op for Socket {
    type Fd = ();
    type Output = OwnedFd;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<OwnedFd> {
        entry.into_fd().map_err(Entry::into_error)
    }
}

/// Gives a socket its address.
///
/// Completes when it has it. The port 0 of the internet is one of the kernel's choice. A path of a
/// Unix socket is made in the file system, and stays when the socket is closed.
///
/// Errors: as [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html), unchanged:
/// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`.
///
/// io_uring: `IORING_OP_BIND`, Linux 6.11; before that `bind`, in place, and fixed descriptors are
/// refused ([`Refusal::FixedDescriptor`]). readiness: `bind`, in place.
/// IOCP: `bind`, in place.
///
/// ```
/// use completeio_driver::address::Address;
/// use completeio_driver::driver::{AsFd, Driver, Holds};
/// use completeio_driver::op::{Bind, Listen, Op, Socket};
/// use completeio_driver::scope::{Event, Scope};
/// use std::{io, net::SocketAddr, net::TcpListener};
///
/// fn run<'env, O: Op>(s: &mut Scope<'_, 'env>, op: &'env mut O) -> io::Result<O::Output>
/// where
///     O::Fd: Holds,
/// {
///     let ticket = s.try_lend(op, 0).map_err(drop).expect("there is room");
///     let mut event = None;
///     s.submit(None, &mut event)?;
///     let done = event.and_then(Event::done).expect("it completes once");
///     ticket.redeem(done).expect("nothing else was lent").0
/// }
///
/// let addr = Address::from(SocketAddr::from(([127, 0, 0, 1], 0)));
/// let mut driver = Driver::new()?;
/// let mut socket = Socket::stream(&addr);
/// let socket = driver.scope(|s| run(s, &mut socket))??;
/// let mut bind = Bind::new(socket.as_fd(), addr);
/// let mut listen = Listen::new(socket.as_fd(), 128);
/// driver.scope(|s| run(s, &mut bind).and_then(|()| run(s, &mut listen)))??;
/// assert_ne!(TcpListener::from(socket).local_addr()?.port(), 0);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Bind<F> {
    head: OpHead,
    fd: F,
    addr: Address,
}

impl<F: Descriptor> Bind<F> {
    /// Gives the socket `fd` the address `addr`.
    pub fn new(fd: F, addr: impl Into<Address>) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            addr: addr.into(),
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Bind<F> {}

impl<F: Descriptor> Describe for Bind<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let target = unsafe { (*this).fd.target() };
        // SAFETY: (D2) as above.
        let addr_len = unsafe { (*this).addr.len() };
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) a field of what is valid.
        let (addr, _len) = unsafe { Address::parts(addr) };
        Ok(Call::Plain(PlainCall::Bind {
            target,
            addr,
            addr_len,
        }))
    }
}

impl<F: Descriptor> Op for Bind<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

/// Has a socket take connections, for [`Accept`](super::Accept).
///
/// Completes when it listens. One that listens already gets the new backlog: how many connections
/// may wait to be accepted, which the kernel limits (`net.core.somaxconn`).
///
/// Errors: as [listen(2)](https://man7.org/linux/man-pages/man2/listen.2.html), unchanged.
///
/// io_uring: `IORING_OP_LISTEN`, Linux 6.11; before that `listen`, in place, and fixed descriptors
/// are refused ([`Refusal::FixedDescriptor`]). readiness: `listen`, in place.
/// IOCP: `listen`, in place.
///
/// See [`Bind`] for a running example.
#[derive(Debug)]
#[repr(C)]
pub struct Listen<F> {
    head: OpHead,
    fd: F,
    backlog: i32,
}

impl<F: Descriptor> Listen<F> {
    /// Has the socket `fd` keep so many connections that wait.
    pub fn new(fd: F, backlog: u32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            backlog: i32::try_from(backlog).unwrap_or(i32::MAX),
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Listen<F> {}

impl<F: Descriptor> Describe for Listen<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Plain(PlainCall::Listen {
            target: op.fd.target(),
            backlog: op.backlog,
        }))
    }
}

impl<F: Descriptor> Op for Listen<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

macro_rules! into_descriptor {
    ($($op:ident)*) => {$(
        impl<F> IntoInner for $op<F> {
            type Inner = F;

            fn into_inner(self) -> F {
                self.fd
            }
        }
    )*};
}
into_descriptor!(Shutdown Bind Listen);
