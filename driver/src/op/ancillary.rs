//! Messages with control data: descriptors, credentials, what a datagram's header says.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, Pieces, SocketCall};
use super::message::{Header, Received, pieces, receive_flags, send_to_flags};
use super::message_vectored::whole;
use super::net::MsgFlags;
use super::vectored::Transfers;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::address::Address;
use crate::ancillary::{ToFill, ToSend};
use crate::buf::{IntoInner, IoBufs, IoBufsMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::Descriptor;
use crate::sys::msg_flags;
use std::io;

/// Sends several buffers with control messages, on a connected socket or to an address.
///
/// Completes with the number of bytes sent, as [`SendVectored`](super::SendVectored) and
/// [`SendToVectored`](super::SendToVectored) do. `C` is an
/// [`Outgoing`](crate::ancillary::Outgoing), or a box of one; the descriptors that it sends stay
/// open as long as the operation lives. They are sent with the first byte.
///
/// Errors: as [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html), unchanged: also
/// `EBADF` for a descriptor that is not open, `EINVAL` for a control message that the socket does
/// not know, `ETOOMANYREFS` for too many descriptors under way, `EPERM` for the credentials of
/// others.
///
/// io_uring: `IORING_OP_SENDMSG`, Linux 5.3, with the `msghdr` in the operation. readiness:
/// `sendmsg`, tried first, then when writable. IOCP: `WSASendMsg`; without control data
/// `WSASendTo`.
///
/// See [`ancillary`](crate::ancillary) for a running example.
#[derive(Debug)]
#[repr(C)]
pub struct SendMsg<F, V: IoBufs, C> {
    head: OpHead,
    flags: i32,
    addr: Address,
    header: Header,
    transfer: Transfers<F, V, V::Table>,
    control: C,
}

/// Receives into several buffers, with control messages and the sender.
///
/// Completes as [`RecvFromVectored`](super::RecvFromVectored) does. `C` is an
/// [`Incoming`](crate::ancillary::Incoming), or a box of one: what came is there,
/// [`control_mut`](Self::control_mut). Descriptors are close-on-exec. What it holds is closed, and
/// forgotten, when the operation is pushed again.
///
/// On a stream where descriptors may come, the bytes of one receive end before the next that came
/// with some. `MSG_WAITALL` would lose those, and is refused ([`Refusal::Flags`]), as `MSG_TRUNC`
/// is.
///
/// Errors: as [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html), unchanged. Too
/// many open files, or too little room, are no errors: what came is cut, and `control_truncated`
/// says so.
///
/// io_uring: `IORING_OP_RECVMSG`, Linux 5.3, with the `msghdr` in the operation; it waits for the
/// socket to become readable before it tries, for a try that finds nothing uses up room: on Unix
/// sockets with `SO_PASSCRED` the kernel writes credentials of nobody then. These are taken out
/// again, but on such a socket let one receive wait at a time: each try in vain of one that waits
/// uses up its room, until what comes is cut. readiness: `recvmsg`, tried first, then when
/// readable. IOCP: `WSARecvMsg`, of datagrams; without room for control data `WSARecvFrom`.
///
/// See [`ancillary`](crate::ancillary) for a running example.
#[derive(Debug)]
#[repr(C)]
pub struct RecvMsg<F, V: IoBufsMut, C> {
    head: OpHead,
    flags: i32,
    addr: Address,
    header: Header,
    transfer: Transfers<F, V, V::Table>,
    control: C,
}

impl<F: Descriptor, V: IoBufs, C: ToSend> SendMsg<F, V, C> {
    /// Sends `bufs` and `control` on `fd`.
    pub fn new(fd: F, bufs: V, control: C) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: Address::unspecified(),
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
            control,
        }
    }

    /// Sends to an address, instead of the one that the socket is connected to.
    pub fn to(mut self, addr: impl Into<Address>) -> Self {
        self.addr = addr.into();
        self
    }
}

impl<F: Descriptor, V: IoBufsMut, C: ToFill> RecvMsg<F, V, C> {
    /// Receives from `fd` into `bufs` and `control`.
    pub fn new(fd: F, bufs: V, control: C) -> Self {
        let table = bufs.table();
        Self {
            head: OpHead::new::<Self>(),
            flags: 0,
            addr: Address::unspecified(),
            header: Header::empty(),
            transfer: Transfers::new(fd, bufs, table),
            control,
        }
    }
}

macro_rules! accessors {
    ($($op:ident: $buffers:ident),*) => {$(
        impl<F, V: $buffers, C> $op<F, V, C> {
            /// Sets the flags.
            pub fn flags(mut self, flags: MsgFlags) -> Self {
                self.flags = flags.bits();
                self
            }

            /// The buffers.
            pub fn bufs(&self) -> &V {
                &self.transfer.bufs
            }

            /// The buffers, to be filled or replaced between two flights. Parts beyond the number
            /// that `new` was given have no place.
            pub fn bufs_mut(&mut self) -> &mut V {
                self.transfer.progress.start_over();
                &mut self.transfer.bufs
            }

            /// The control messages.
            pub fn control(&self) -> &C {
                &self.control
            }

            /// The control messages, to be taken or replaced between two flights.
            pub fn control_mut(&mut self) -> &mut C {
                &mut self.control
            }

            /// The descriptor.
            pub fn fd(&self) -> &F {
                &self.transfer.fd
            }

            /// Descriptor, buffers and control messages.
            pub fn into_parts(self) -> (F, V, C) {
                (self.transfer.fd, self.transfer.bufs, self.control)
            }
        }

        impl<F, V: $buffers, C> IntoInner for $op<F, V, C> {
            type Inner = V;

            fn into_inner(self) -> V {
                self.transfer.bufs
            }
        }
    )*};
}
accessors!(SendMsg: IoBufs, RecvMsg: IoBufsMut);

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufs, C: ToSend> OpCode for SendMsg<F, V, C> {}

impl<F: Descriptor, V: IoBufs, C: ToSend> Describe for SendMsg<F, V, C> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        let flags = send_to_flags(op.flags, &op.addr)?;
        let (control, control_len) = op.control.prepare()?;
        let parts = op.transfer.bytes();
        let len = op.transfer.progress.lent();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let addr = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) as above.
        let header = unsafe { &raw mut (*this).header };
        let pieces = Pieces {
            control,
            control_len,
            ..whole(&parts)
        };
        // SAFETY: (D2) fields of what is valid, with others of it.
        let msg = unsafe { Header::fill_to(header, addr, pieces) };
        Ok(Call::Socket {
            target: parts.target,
            call: SocketCall::SendMsg { msg, len, flags },
        })
    }
}

impl<F: Descriptor, V: IoBufs, C: ToSend> Op for SendMsg<F, V, C> {
    /// The socket, and what is sent.
    type Fd = (F, C::Rights);
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        self.transfer.finish_write(entry)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, V: IoBufsMut, C: ToFill> OpCode for RecvMsg<F, V, C> {}

impl<F: Descriptor, V: IoBufsMut, C: ToFill> Describe for RecvMsg<F, V, C> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &mut *this };
        // A call that goes on after a part of its bytes puts its control data where nobody looks.
        let flags = receive_flags(op.flags, msg_flags::WAITALL)? | msg_flags::CMSG_CLOEXEC;
        let (control, control_len) = op.control.make_room();
        let parts = op.transfer.room();
        let len = op.transfer.progress.lent();
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let sender = unsafe { &raw mut (*this).addr };
        // SAFETY: (D2) as above.
        let header = unsafe { &raw mut (*this).header };
        let pieces = Pieces {
            control,
            control_len,
            ..pieces(parts.places, parts.count)
        };
        // SAFETY: (D2) fields of what is valid, with others of it.
        let msg = unsafe { Header::fill_from(header, sender, pieces) };
        Ok(Call::Socket {
            target: parts.target,
            call: SocketCall::RecvMsg {
                msg,
                len,
                flags,
                control: control_len > 0,
            },
        })
    }
}

impl<F: Descriptor, V: IoBufsMut, C: ToFill> Op for RecvMsg<F, V, C> {
    type Fd = F;
    type Output = Received;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Received> {
        // SAFETY: (D3) the caller's contract.
        let len =
            unsafe { self.transfer.finish_read(entry) }.inspect_err(|_| self.control.give_up())?;
        self.control.settle(self.header.control_len());
        Ok(self.header.received(len, &mut self.addr))
    }

    unsafe fn dispose(&mut self, _entry: Entry) {
        self.control.give_up();
    }
}
