//! Messages of several buffers, with an address and without.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, Pieces, SocketCall};
use super::message::{
    Header, Received, pieces, receive_flags, receives_from, send_flags, send_to_flags,
};
use super::net::MsgFlags;
use super::vectored::{Parts, Transfers, vectored_accessors};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::address::Address;
use crate::buf::{IoBufs, IoBufsMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::IOV_MAX;
use std::io;

/// As many parts as are told to the kernel for a message that has more than it takes: that is
/// `EMSGSIZE`, found before it looks at any, where a part of the message would be sent otherwise.
#[expect(clippy::cast_possible_truncation, reason = "1,025")]
const TOO_MANY: u32 = IOV_MAX as u32 + 1;

/// The parts of a message to be sent: all of them or none.
pub(crate) fn whole(parts: &Parts) -> Pieces {
    let count = if parts.more { TOO_MANY } else { parts.count };
    pieces(parts.places, count)
}

/// Sends several buffers on a connected socket, one after the other: one datagram, or a piece of a
/// stream.
///
/// Completes with the number of bytes sent, at most 0x7fff_f000, which on a stream may be fewer
/// than given. Never raises `SIGPIPE`. The places of the buffers are kept as
/// [`ReadVectoredAt`](super::ReadVectoredAt) keeps them.
///
/// Errors: as [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html), unchanged:
/// `EMSGSIZE` for more than 1,024 buffers that have bytes, or than `new` was given: a message is
/// never sent in part. Connected Unix sockets of datagrams: see [`Send`](super::Send).
///
/// io_uring: `IORING_OP_SENDMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `sendmsg`, tried first, then when writable. IOCP: `WSASend`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SendVectored};
/// use std::io::Read;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (a, mut b) = UnixStream::pair()?;
/// let mut op = SendVectored::new(OwnedFd::from(a), ["head", "body"]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 8);
/// assert_eq!(b.read(&mut [0; 16])?, 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SendVectored<F, V: IoBufs> {
    head: OpHead,
    flags: i32,
    header: Header,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

/// Receives from a connected socket into several buffers, one after the other.
///
/// Completes with the number of bytes received, at most 0x7fff_f000, in at most the first 1,024
/// buffers that have room; 0 as [`Recv`](super::Recv) does. [`truncated`](Self::truncated) says
/// whether a datagram was longer. The places of the buffers are kept as
/// [`ReadVectoredAt`](super::ReadVectoredAt) keeps them.
///
/// Errors: as [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html), unchanged. The
/// flag `MSG_TRUNC` is refused ([`Refusal::Flags`]).
///
/// io_uring: `IORING_OP_RECVMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `recvmsg`, tried first, then when readable. IOCP: `WSARecv`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, RecvVectored};
/// use std::io::Write;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (mut a, b) = UnixStream::pair()?;
/// a.write_all(b"headbody")?;
/// let mut op = RecvVectored::new(OwnedFd::from(b), ([0; 4], Vec::with_capacity(16)));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 8);
/// assert_eq!(op.bufs(), &(*b"head", b"body".to_vec()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct RecvVectored<F, V: IoBufsMut> {
    head: OpHead,
    flags: i32,
    header: Header,
    pub(super) transfer: Transfers<F, V, V::Table>,
}

/// Sends several buffers to an address, one after the other: one datagram.
///
/// Completes, and fails, as [`SendTo`](super::SendTo) does; `EMSGSIZE` also as
/// [`SendVectored`] says.
///
/// io_uring: `IORING_OP_SENDMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `sendmsg`, tried first, then when writable. See
/// [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html). IOCP: `WSASendTo`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SendToVectored};
/// use std::net::UdpSocket;
/// use std::os::fd::OwnedFd;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = OwnedFd::from(UdpSocket::bind("127.0.0.1:0")?);
/// let mut op = SendToVectored::new(sender, ["head", "body"], receiver.local_addr()?);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 8);
/// assert_eq!(receiver.recv(&mut [0; 16])?, 8);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SendToVectored<F, V: IoBufs> {
    head: OpHead,
    flags: i32,
    addr: Address,
    header: Header,
    transfer: Transfers<F, V, V::Table>,
}

/// Receives into several buffers, one after the other, and tells who sent it: one datagram.
///
/// Completes, and fails, as [`RecvFrom`](super::RecvFrom) does, in at most the first 1,024 buffers
/// that have room.
///
/// io_uring: `IORING_OP_RECVMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `recvmsg`, tried first, then when readable. See
/// [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html). IOCP: `WSARecvFrom`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, RecvFromVectored};
/// use std::net::UdpSocket;
/// use std::os::fd::OwnedFd;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = UdpSocket::bind("127.0.0.1:0")?;
/// sender.send_to(b"headbody", receiver.local_addr()?)?;
/// let mut op = RecvFromVectored::new(OwnedFd::from(receiver), [[0; 4], [0; 4]]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let received = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!((received.len, received.truncated), (8, false));
/// assert_eq!(received.addr.as_socket_addr(), Some(sender.local_addr()?));
/// assert_eq!(op.bufs(), &[*b"head", *b"body"]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct RecvFromVectored<F, V: IoBufsMut> {
    head: OpHead,
    flags: i32,
    addr: Address,
    header: Header,
    transfer: Transfers<F, V, V::Table>,
}

impl<F: Descriptor, V: IoBufs> SendVectored<F, V> {
    /// Sends `bufs` on `fd`.
    pub fn new(fd: F, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

impl<F: Descriptor, V: IoBufsMut> RecvVectored<F, V> {
    /// Receives from `fd` into `bufs`.
    pub fn new(fd: F, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

impl<F: Descriptor, V: IoBufs> SendToVectored<F, V> {
    /// Sends `bufs` on `fd` to `addr`.
    pub fn new(fd: F, bufs: V, addr: impl Into<Address>) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: addr.into(),
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

impl<F: Descriptor, V: IoBufsMut> RecvFromVectored<F, V> {
    /// Receives from `fd` into `bufs`.
    pub fn new(fd: F, bufs: V) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: Address::unspecified(),
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
        }
    }
}

vectored_accessors!(
    SendVectored: IoBufs,
    RecvVectored: IoBufsMut,
    SendToVectored: IoBufs,
    RecvFromVectored: IoBufsMut
);

macro_rules! with_flags {
    ($($op:ident: $buffers:ident),*) => {$(
        impl<F, V: $buffers> $op<F, V> {
            /// Sets the flags.
            pub fn flags(mut self, flags: MsgFlags) -> Self {
                self.flags = flags.bits();
                self
            }
        }
    )*};
}
with_flags!(
    SendVectored: IoBufs,
    RecvVectored: IoBufsMut,
    SendToVectored: IoBufs,
    RecvFromVectored: IoBufsMut
);

impl<F, V: IoBufs> SendVectored<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`Send::advance`](super::Send::advance).
    pub fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }
}

impl<F, V: IoBufsMut> RecvVectored<F, V> {
    /// Makes the rest pushable again after a flight that moved only `n` bytes: see
    /// [`Recv::advance`](super::Recv::advance).
    ///
    /// # Safety
    /// The last flight wrote at least `n` bytes: its last entry said so, and `finish` was not
    /// called with it.
    pub unsafe fn advance(&mut self, n: usize) {
        self.transfer.progress.advance(n);
    }

    /// Whether the datagram of the last flight, if that succeeded, was longer than the room, and
    /// its rest is lost (`MSG_TRUNC`).
    pub fn truncated(&self) -> bool {
        self.header.truncated()
    }
}

impl<F, V: IoBufs> SendToVectored<F, V> {
    /// Where it goes.
    pub fn addr(&self) -> &Address {
        &self.addr
    }

    /// Sends to another address at the next push.
    pub fn set_addr(&mut self, addr: impl Into<Address>) {
        self.addr = addr.into();
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufs> OpCode for SendVectored<F, V> {}

impl<F: Descriptor, V: IoBufs> Describe for SendVectored<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = send_flags(op.flags)?;
        let parts = op.transfer.bytes();
        let len = op.transfer.progress.lent();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let header = unsafe { &raw mut (*this).header };
        // SAFETY: (D2) a field of what is valid, and places in it.
        let msg = unsafe { Header::fill(header, whole(&parts)) };
        Ok(Call::Socket {
            target: parts.target,
            call: SocketCall::SendMsg { msg, len, flags },
        })
    }
}

impl<F: Descriptor, V: IoBufs> Op for SendVectored<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufsMut> OpCode for RecvVectored<F, V> {}

impl<F: Descriptor, V: IoBufsMut> Describe for RecvVectored<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = receive_flags(op.flags, 0)?;
        let parts = op.transfer.room();
        let len = op.transfer.progress.lent();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let header = unsafe { &raw mut (*this).header };
        // SAFETY: (D2) a field of what is valid, and places in it.
        let msg = unsafe { Header::fill(header, pieces(parts.places, parts.count)) };
        Ok(Call::Socket {
            target: parts.target,
            call: SocketCall::RecvMsg {
                msg,
                len,
                flags,
                control: false,
            },
        })
    }
}

impl<F: Descriptor, V: IoBufsMut> Op for RecvVectored<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        // SAFETY: (D3) the caller's contract.
        unsafe { self.transfer.finish_read(entry) }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufs> OpCode for SendToVectored<F, V> {}

impl<F: Descriptor, V: IoBufs> Describe for SendToVectored<F, V> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = send_to_flags(op.flags, &op.addr)?;
        let parts = op.transfer.bytes();
        let len = op.transfer.progress.lent();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) as above.
        let header = unsafe { &raw mut (*this).header };
        // SAFETY: (D2) fields of what is valid, with others of it.
        let msg = unsafe { Header::fill_to(header, addr, whole(&parts)) };
        Ok(Call::Socket {
            target: parts.target,
            call: SocketCall::SendMsg { msg, len, flags },
        })
    }
}

impl<F: Descriptor, V: IoBufs> Op for SendToVectored<F, V> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

receives_from!(RecvFromVectored: IoBufsMut);
