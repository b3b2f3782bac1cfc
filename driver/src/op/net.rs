//! Operations on sockets.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, SocketCall};
use super::message::send_flags;
use super::transfer::Transfer;
use super::{Op, OpCode, OpHead, SocketOptions, sealed::Describe};
use crate::address::Address;
use crate::buf::{IoBuf, IoBufMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys;
use crate::sys::fd::OwnedFd;
use std::io;

/// Receives from a connected socket into a buffer.
///
/// Completes with the number of bytes received, at most 0x7fff_f000; 0 when the peer has ended its
/// side, and for a buffer without room, which on some sockets waits for bytes all the same. A `Vec`
/// is received into its spare capacity, a `&mut [u8]` into its whole length.
///
/// Of several that wait on one socket, readiness serves the first pushed first; io_uring's kernel
/// promises no order among them.
///
/// Errors: as [recv(2)](https://man7.org/linux/man-pages/man2/recv.2.html), unchanged; `ENOTSOCK`
/// for what is no socket.
///
/// io_uring: `IORING_OP_RECV`, Linux 5.6. readiness: `recv`, tried first, then when readable.
/// IOCP: `WSARecv`; a datagram that is longer than the room is cut, and no error.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Recv, Send};
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (a, b) = UnixStream::pair()?;
/// let mut send = Send::new(OwnedFd::from(a), "hello");
/// let mut recv = Recv::new(OwnedFd::from(b), [0; 16]);
/// let mut entries = Vec::with_capacity(2);
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut send, 0).unwrap();
///     driver.try_push(&mut recv, 1).unwrap();
///     while entries.len() < 2 {
///         // SAFETY: the operations outlive the driver and are not touched while it has them.
///         unsafe { driver.submit(None, &mut entries)? };
///     }
/// }
/// let entry = entries.into_iter().find(|entry| entry.user_data() == 1).unwrap();
/// // SAFETY: the entry is the operation's last one.
/// let n = unsafe { recv.finish(entry)? };
/// assert_eq!(&recv.buf()[..n], b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Recv<F, B> {
    head: OpHead,
    flags: i32,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBufMut> Recv<F, B> {
    /// Receives from `fd` into `buf`.
    pub fn new(fd: F, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            transfer: Transfer::new(fd, buf),
        }
    }
}

/// Sends a buffer on a connected socket.
///
/// Completes with the number of bytes sent, at most 0x7fff_f000, which may be fewer than given.
/// Never raises `SIGPIPE`: a peer that is gone is `EPIPE`.
///
/// On a Unix socket of datagrams that is connected to a receiver without room it waits. io_uring's
/// kernel then sends an empty datagram in its place, and the count is 0 (seen on Linux 6.18): with
/// `MSG_DONTWAIT` it is `EAGAIN`, and nothing is sent.
///
/// Errors: as [send(2)](https://man7.org/linux/man-pages/man2/send.2.html), unchanged.
///
/// io_uring: `IORING_OP_SEND`, Linux 5.6. readiness: `send`, tried first, then when writable.
/// IOCP: `WSASend`, which takes all of it, or fails.
///
/// ```
/// use completeio_driver::op::{MsgFlags, Send};
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (a, _b) = UnixStream::pair()?;
/// let op = Send::new(OwnedFd::from(a), "all of it").flags(MsgFlags::WAIT_ALL);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Send<F, B> {
    head: OpHead,
    flags: i32,
    pub(super) transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBuf> Send<F, B> {
    /// Sends `buf` on `fd`.
    pub fn new(fd: F, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            transfer: Transfer::new(fd, buf),
        }
    }
}

super::transfer_accessors!(Recv, Send);

impl<F, B> Recv<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced). With a
    /// `Vec` it is simpler to call `finish` each time: the next flight goes on in what is spare.
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, B> Send<F, B> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes.
    ///
    /// Instead of `finish`, for all flights but the last: that one's `finish` then counts every
    /// byte. After an error the count stays, for whoever asks [`advanced`](Self::advanced).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

/// Flags of a send or a receive.
///
/// ```
/// use completeio_driver::op::MsgFlags;
/// let flags = MsgFlags::PEEK | MsgFlags::from_bits(0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsgFlags(i32);

impl MsgFlags {
    /// Leaves what is received in the queue (`MSG_PEEK`).
    ///
    /// With [`WAIT_ALL`](Self::WAIT_ALL), where fewer bytes are there than room, io_uring takes the
    /// same ones again for what is missing, and counts them (seen on Linux 6.18); readiness
    /// completes with what is there.
    pub const PEEK: Self = Self(sys::msg_flags::PEEK);
    /// Completes when the whole buffer was moved, or cannot be (`MSG_WAITALL`).
    ///
    /// On sends too: io_uring since Linux 5.19; readiness on streams. On sequenced packets, which
    /// are whole by themselves, io_uring goes on with the next packet into the same buffers, as of
    /// Linux 6.18.
    pub const WAIT_ALL: Self = Self(sys::msg_flags::WAITALL);
    /// Out-of-band data (`MSG_OOB`).
    pub const OUT_OF_BAND: Self = Self(sys::msg_flags::OOB);

    /// Any flags of the platform: `MSG_…`. A receive with `MSG_TRUNC` is refused
    /// ([`Refusal::Flags`]): its result counts bytes that were not written. So is a send with
    /// `MSG_ZEROCOPY`: the kernel goes on with its bytes after its completion.
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> i32 {
        self.0
    }
}

impl std::ops::BitOr for MsgFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

macro_rules! with_flags {
    ($($op:ident)*) => {$(
        impl<F, B> $op<F, B> {
            /// Sets the flags.
            pub fn flags(mut self, flags: MsgFlags) -> Self {
                self.flags = flags.0;
                self
            }
        }
    )*};
}
with_flags!(Recv Send);

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBufMut> OpCode for Recv<F, B> {}

impl<F: Descriptor, B: IoBufMut> Describe for Recv<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        if op.flags & sys::msg_flags::TRUNC != 0 {
            return Err(Refusal::Flags);
        }
        let (target, ptr, len) = op.transfer.room();
        let flags = op.flags;
        let call = SocketCall::Recv { ptr, len, flags };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor, B: IoBufMut> Op for Recv<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, B: IoBuf> OpCode for Send<F, B> {}

impl<F: Descriptor, B: IoBuf> Describe for Send<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = send_flags(op.flags)?;
        let (target, ptr, len) = op.transfer.bytes();
        let call = SocketCall::Send { ptr, len, flags };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor, B: IoBuf> Op for Send<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

/// A connection that was accepted.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The connection; close-on-exec.
    pub fd: OwnedFd,
    /// The peer.
    pub addr: Address,
}

/// Accepts one connection of a listening socket.
///
/// Completes with the connection, which is close-on-exec, and the peer's address. The operation may
/// be pushed again after each completion. `EMFILE` is an error like others: it completes once, and
/// whoever pushes again at once spins, so free a descriptor first.
///
/// Errors: as [accept4(2)](https://man7.org/linux/man-pages/man2/accept4.2.html), unchanged.
///
/// io_uring: `IORING_OP_ACCEPT`, Linux 5.5. readiness: `accept4`, tried first, then when readable;
/// it sets `O_NONBLOCK` on the listener, attached or not, and leaves it set. The connection is
/// blocking on both.
/// IOCP: `AcceptEx`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Accept, Op};
/// use std::net::{TcpListener, TcpStream};
/// use std::os::fd::OwnedFd;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let mut op = Accept::new(OwnedFd::from(listener));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let accepted = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!(accepted.addr.as_socket_addr(), Some(client.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Accept<F> {
    head: OpHead,
    fd: F,
    addr: Address,
    options: SocketOptions,
}

impl<F: Descriptor> Accept<F> {
    /// Accepts on `fd`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            addr: Address::unspecified(),
            options: SocketOptions::new(),
        }
    }

    /// Sets options on the connection, in `finish`, before it is given out. If one fails, the
    /// connection is closed, and its error is that of the accept.
    pub fn options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Accept<F> {}

impl<F: Descriptor> Describe for Accept<F> {
    const MAKES_FD: bool = true;

    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let target = unsafe { (*this).fd.target() };
        // SAFETY: (D2) as above; the reference ends with the statement.
        unsafe { (*this).addr.make_room() };
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) a field of what is valid.
        let (addr, addr_len) = unsafe { Address::parts(addr) };
        let call = SocketCall::Accept { addr, addr_len };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor> Op for Accept<F> {
    type Fd = F;
    type Output = Accepted;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Accepted> {
        let fd = entry.into_fd().map_err(Entry::into_error)?;
        self.addr.set_len(self.addr.len());
        self.options.apply(fd.target())?;
        Ok(Accepted {
            fd,
            addr: self.addr,
        })
    }
}

/// Connects a socket to an address.
///
/// Completes when the connection stands, or cannot be made. The socket is the caller's to make, by
/// [`Socket`](super::Socket), the `socket2` crate, or the like; blocking or not is all the same.
///
/// Errors: as [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html), unchanged.
///
/// io_uring: `IORING_OP_CONNECT`, Linux 5.5. readiness: `connect`, then `SO_ERROR` when writable;
/// it sets `O_NONBLOCK` on the socket, attached or not, and leaves it set. A Unix socket whose
/// peer's backlog is full completes with `EAGAIN` there, and waits on io_uring. IOCP: `ConnectEx`,
/// of a socket that is bound first if it is not; of datagrams `connect`, in place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, FromRawFd, OwnedFd};
/// use completeio_driver::op::{Connect, Op};
/// use std::net::TcpListener;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// // SAFETY: a new descriptor, or -1, which is caught.
/// let socket = unsafe {
///     let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
///     assert!(fd >= 0);
///     OwnedFd::from_raw_fd(fd)
/// };
/// let mut op = Connect::new(socket, listener.local_addr()?);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Connect<F> {
    head: OpHead,
    fd: F,
    addr: Address,
    options: SocketOptions,
}

impl<F: Descriptor> Connect<F> {
    /// Connects `fd` to `addr`.
    pub fn new(fd: F, addr: impl Into<Address>) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
            addr: addr.into(),
            options: SocketOptions::new(),
        }
    }

    /// Sets options on the socket, in `finish`, when the connection stands; it is to be open until
    /// then. If one fails, its error is that of the connect, and the socket stays connected and the
    /// caller's. A fixed descriptor is refused ([`Refusal::FixedDescriptor`]). What matters before,
    /// as large buffers do for TCP's window, is for [`SetSockOpt`](super::SetSockOpt).
    pub fn options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor> OpCode for Connect<F> {}

impl<F: Descriptor> Describe for Connect<F> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let target = unsafe { (*this).fd.target() };
        // SAFETY: (D2) as above.
        unsafe { (*this).options }.check(target)?;
        // SAFETY: (D2) as above.
        let addr_len = unsafe { (*this).addr.len() };
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) a field of what is valid.
        let (addr, _len) = unsafe { Address::parts(addr) };
        let call = SocketCall::Connect { addr, addr_len };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor> Op for Connect<F> {
    type Fd = F;
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result()?;
        self.options.apply(self.fd.target())
    }
}

macro_rules! into_descriptor {
    ($($op:ident)*) => {$(
        impl<F> $crate::buf::IntoInner for $op<F> {
            type Inner = F;

            fn into_inner(self) -> F {
                self.fd
            }
        }
    )*};
}
into_descriptor!(Accept Connect);
