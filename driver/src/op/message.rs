//! Datagrams with an address, and what all operations share that move messages.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, Pieces, SocketCall};
use super::net::MsgFlags;
use super::transfer::Transfer;
use super::vectored::Transfers;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::address::Address;
use crate::buf::{IntoInner, IoBuf, IoBufMut, IoVec};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys;
use crate::sys::message::{self, RawMessage};
use std::fmt;
use std::io;
use std::ptr;

/// The description of a message, inside its operation: filled when that is described, answered by
/// the kernel.
pub(crate) struct Header(RawMessage);

// SAFETY: addresses that are followed by the kernel alone, while what they name is lent.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

impl Header {
    pub(crate) fn empty() -> Self {
        Self(message::empty())
    }

    /// Writes the description, and returns where it is.
    ///
    /// # Safety
    /// (D2) `this` is valid, and nobody else's now; so is what `pieces` names, for the flight.
    pub(crate) unsafe fn fill(this: *mut Self, pieces: Pieces) -> *mut RawMessage {
        let raw = this.cast::<RawMessage>();
        // SAFETY: (D2) the caller's contract; a header is nothing but this.
        unsafe { raw.write(message::of(pieces)) };
        raw
    }

    /// As [`fill`](Self::fill), for a message whose sender's address goes into all of `sender`.
    ///
    /// # Safety
    /// (D2) As there; `sender` too is valid, and lent for the flight.
    pub(crate) unsafe fn fill_from(
        this: *mut Self,
        sender: *mut Address,
        pieces: Pieces,
    ) -> *mut RawMessage {
        // SAFETY: (D2) the caller's contract; the reference ends with the statement.
        unsafe { (*sender).make_room() };
        // SAFETY: (D2) the caller's contract.
        unsafe { Self::fill_to(this, sender, pieces) }
    }

    /// As [`fill`](Self::fill), for a message that goes to `addr`, if that is an address.
    ///
    /// # Safety
    /// (D2) As there; `addr` too is valid, and lent for the flight.
    pub(crate) unsafe fn fill_to(
        this: *mut Self,
        addr: *mut Address,
        pieces: Pieces,
    ) -> *mut RawMessage {
        // SAFETY: (D2) the caller's contract.
        let addr_len = unsafe { (*addr).len() };
        // SAFETY: (D2) the caller's contract.
        let (addr, _len) = unsafe { Address::parts(addr) };
        let pieces = Pieces {
            addr,
            addr_len,
            ..pieces
        };
        // SAFETY: (D2) as above.
        unsafe { Self::fill(this, pieces) }
    }

    /// Whether the message had more bytes than there was room for.
    pub(crate) fn truncated(&self) -> bool {
        message::flags(&self.0) & sys::msg_flags::TRUNC != 0
    }

    /// How much control data the last try of the kernel's has written.
    pub(crate) fn control_len(&self) -> usize {
        message::control_len(&self.0)
    }

    /// What came beside the bytes, with the address that the kernel wrote.
    pub(crate) fn received(&self, len: usize, addr: &mut Address) -> Received {
        addr.set_len(message::addr_len(&self.0));
        Received {
            len,
            addr: *addr,
            truncated: self.truncated(),
            control_truncated: message::flags(&self.0) & sys::msg_flags::CTRUNC != 0,
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header").finish_non_exhaustive()
    }
}

/// Parts without an address and without control data.
pub(crate) fn pieces(places: *const IoVec, count: u32) -> Pieces {
    Pieces {
        addr: ptr::null_mut(),
        addr_len: 0,
        places,
        count,
        control: ptr::null_mut(),
        control_len: 0,
    }
}

/// The flags of a send: never `SIGPIPE`, bytes that are the caller's again when it completes, and
/// control data in this process's own layout.
#[inline]
pub(crate) fn send_flags(flags: i32) -> Result<i32, Refusal> {
    let unknown = message::ZEROCOPY | sys::msg_flags::COMPAT;
    if flags & unknown != 0 {
        return Err(Refusal::Flags);
    }
    Ok(flags | sys::msg_flags::NOSIGNAL)
}

/// The same of a send to an address. To a Unix socket it does not wait: the kernel tells nobody
/// when a receiver has room, and io_uring's forgets the bytes of a send that waits for some.
#[inline]
pub(crate) fn send_to_flags(flags: i32, addr: &Address) -> Result<i32, Refusal> {
    let at_once = if addr.is_unix() { message::DONTWAIT } else { 0 };
    Ok(send_flags(flags)? | at_once)
}

/// The flags of a receive that may have these: its count is one of bytes that were written, and
/// control data has this process's own layout.
pub(crate) fn receive_flags(flags: i32, refused: i32) -> Result<i32, Refusal> {
    if flags & (sys::msg_flags::TRUNC | sys::msg_flags::COMPAT | refused) != 0 {
        return Err(Refusal::Flags);
    }
    Ok(flags)
}

/// What was received, but for the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The bytes that are in the buffers now: 0 for an empty datagram, which is no end of anything,
    /// and when the peer of a stream has ended its side.
    pub len: usize,
    /// The sender; [`unspecified`](Address::unspecified) if it has no address, or the socket tells
    /// none, as TCP does.
    pub addr: Address,
    /// Whether the datagram was longer than the room, and its rest is lost (`MSG_TRUNC`).
    pub truncated: bool,
    /// Whether control messages were lost, wholly or in part, for they had no room (`MSG_CTRUNC`).
    pub control_truncated: bool,
}

/// Sends a buffer to an address: one datagram.
///
/// Completes with the number of bytes sent, which is all of them for a datagram; an empty one is
/// sent too. An address that is [`unspecified`](Address::unspecified) is none. Never raises
/// `SIGPIPE`.
///
/// Errors: as [sendto(2)](https://man7.org/linux/man-pages/man2/sendto.2.html), unchanged:
/// `EMSGSIZE` for more than fits into a datagram, `EAFNOSUPPORT` or `EINVAL` for an address of
/// another family, `EDESTADDRREQ` for none on a socket that is not connected, `ECONNREFUSED` for an
/// earlier datagram that nobody took, on a connected socket. An address is ignored on TCP, and
/// `EISCONN` on other streams. To the address of a Unix socket it does not wait: without room there
/// it is `EAGAIN`, for the kernel tells nobody when there is some.
///
/// io_uring: `IORING_OP_SEND` with an address, Linux 6.0. readiness: `sendto`, tried first, then
/// when writable. IOCP: `WSASendTo`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, SendTo};
/// use std::net::UdpSocket;
/// use std::os::fd::OwnedFd;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = OwnedFd::from(UdpSocket::bind("127.0.0.1:0")?);
/// let mut op = SendTo::new(sender, "hello", receiver.local_addr()?);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 5);
/// assert_eq!(receiver.recv(&mut [0; 16])?, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct SendTo<F, B> {
    head: OpHead,
    flags: i32,
    addr: Address,
    transfer: Transfer<F, B>,
}

impl<F: Descriptor, B: IoBuf> SendTo<F, B> {
    /// Sends `buf` on `fd` to `addr`.
    pub fn new(fd: F, buf: B, addr: impl Into<Address>) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: addr.into(),
            transfer: Transfer::new(fd, buf),
        }
    }
}

super::transfer_accessors!(SendTo);

impl<F, B> SendTo<F, B> {
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
unsafe impl<F: Descriptor, B: IoBuf> OpCode for SendTo<F, B> {}

impl<F: Descriptor, B: IoBuf> Describe for SendTo<F, B> {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = send_to_flags(op.flags, &op.addr)?;
        let (target, bytes, len) = op.transfer.bytes();
        let addr_len = op.addr.len();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) a field of what is valid.
        let (addr, _len) = unsafe { Address::parts(addr) };
        // No address is not one of no length, which is `EINVAL`.
        let addr = if addr_len > 0 { addr } else { ptr::null_mut() };
        let call = SocketCall::SendTo {
            ptr: bytes,
            len,
            flags,
            addr,
            addr_len,
        };
        Ok(Call::Socket { target, call })
    }
}

impl<F: Descriptor, B: IoBuf> Op for SendTo<F, B> {
    type Fd = F;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

/// Receives into a buffer, and tells who sent it: one datagram.
///
/// Completes with what was [`Received`]: a datagram that is longer than the room loses its rest,
/// and that is told; an empty one is `len: 0` with a sender. Several that wait on one socket are
/// served as [`Recv`](super::Recv) says.
///
/// Errors: as [recvfrom(2)](https://man7.org/linux/man-pages/man2/recvfrom.2.html), unchanged:
/// `ECONNREFUSED` for an earlier datagram that nobody took, on a connected socket. The flag
/// `MSG_TRUNC` is refused ([`Refusal::Flags`]).
///
/// io_uring: `IORING_OP_RECVMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `recvmsg`, tried first, then when readable. IOCP: `WSARecvFrom`.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, RecvFrom};
/// use std::net::UdpSocket;
/// use std::os::fd::OwnedFd;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = UdpSocket::bind("127.0.0.1:0")?;
/// sender.send_to(b"too long", receiver.local_addr()?)?;
/// let mut op = RecvFrom::new(OwnedFd::from(receiver), [0; 3]);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// let received = unsafe { op.finish(entry.unwrap())? };
/// assert_eq!((received.len, received.truncated), (3, true));
/// assert_eq!(received.addr.as_socket_addr(), Some(sender.local_addr()?));
/// assert_eq!(op.buf(), b"too");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct RecvFrom<F, B> {
    head: OpHead,
    flags: i32,
    addr: Address,
    header: Header,
    transfer: Transfers<F, [B; 1], [IoVec; 1]>,
}

impl<F: Descriptor, B: IoBufMut> RecvFrom<F, B> {
    /// Receives from `fd` into `buf`.
    pub fn new(fd: F, buf: B) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: Address::unspecified(),
            header: Header::empty(),
            transfer: Transfers::new(fd, [buf], [IoVec::EMPTY]),
        }
    }
}

impl<F, B> RecvFrom<F, B> {
    /// The buffer.
    pub fn buf(&self) -> &B {
        let [buf] = &self.transfer.bufs;
        buf
    }

    /// The buffer, to be emptied or replaced between two flights.
    pub fn buf_mut(&mut self) -> &mut B {
        self.transfer.progress.start_over();
        let [buf] = &mut self.transfer.bufs;
        buf
    }

    /// The descriptor.
    pub fn fd(&self) -> &F {
        &self.transfer.fd
    }

    /// Descriptor and buffer.
    pub fn into_parts(self) -> (F, B) {
        let [buf] = self.transfer.bufs;
        (self.transfer.fd, buf)
    }
}

impl<F, B> IntoInner for RecvFrom<F, B> {
    type Inner = B;

    fn into_inner(self) -> B {
        self.into_parts().1
    }
}

/// What a receive is that also tells who sent it, into one buffer or several.
macro_rules! receives_from {
    ($op:ident: $buffers:ident) => {
        // SAFETY: (D2) `repr(C)` with its head first.
        unsafe impl<F: Descriptor, B: $buffers> OpCode for $op<F, B> {}

        impl<F: Descriptor, B: $buffers> Describe for $op<F, B> {
            #[inline]
            unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
                // SAFETY: (D2) `this` is valid and not in flight.
                let op = unsafe { &mut *this };
                let flags = receive_flags(op.flags, 0)?;
                let parts = op.transfer.room();
                let len = op.transfer.progress.lent();
                // SAFETY: (D2) `this` is valid; only the field's address is taken.
                let sender = unsafe { &raw mut (*this).addr };
                // SAFETY: (D2) as above.
                let header = unsafe { &raw mut (*this).header };
                let pieces = pieces(parts.places, parts.count);
                // SAFETY: (D2) fields of what is valid, with others of it.
                let msg = unsafe { Header::fill_from(header, sender, pieces) };
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

        impl<F: Descriptor, B: $buffers> Op for $op<F, B> {
            type Fd = F;
            type Output = Received;

            unsafe fn finish(&mut self, entry: Entry) -> io::Result<Received> {
                // SAFETY: (D3) the caller's contract.
                let len = unsafe { self.transfer.finish_read(entry) }?;
                Ok(self.header.received(len, &mut self.addr))
            }
        }
    };
}
pub(super) use receives_from;
receives_from!(RecvFrom: IoBufMut);

macro_rules! with_flags {
    ($($op:ident)*) => {$(
        impl<F, B> $op<F, B> {
            /// Sets the flags.
            pub fn flags(mut self, flags: MsgFlags) -> Self {
                self.flags = flags.bits();
                self
            }
        }
    )*};
}
with_flags!(SendTo RecvFrom);
