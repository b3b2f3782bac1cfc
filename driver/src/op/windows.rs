//! What only Windows has: connections of named pipes, files sent by the kernel, sockets for another
//! connection.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, SocketCall, StreamCall, check_offset, clamp_len};
use super::durable::on_one_descriptor;
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::{Descriptor, Target};
use std::io;

/// Waits for a client of a named pipe's server end, as [`Accept`](super::Accept) does for one of a
/// socket.
///
/// Completes when there is one, at once if it has come already; reads and writes of the same handle
/// are then the connection's. After it [`Disconnect`] makes the end ready for the next client;
/// until that is waited for, clients of a pipe with one end are refused (`ERROR_PIPE_BUSY`).
///
/// The end is made by `CreateNamedPipeW`, best with `FILE_FLAG_OVERLAPPED`; of one without, a
/// worker waits, which no cancellation ends, but the drop of the driver; the end of a scope waits.
/// A client opens the name, by [`OpenAt`](super::OpenAt) for instance. In a pipe of messages a read
/// gets one, or as much of it as it has room for: the next one gets the rest.
///
/// Errors: as
/// [ConnectNamedPipe](https://learn.microsoft.com/en-us/windows/win32/api/namedpipeapi/nf-namedpipeapi-connectnamedpipe),
/// unchanged, but for `ERROR_PIPE_CONNECTED`, which is success; `ERROR_NO_DATA` when a client has
/// come and gone.
///
/// IOCP only.
#[derive(Debug)]
#[repr(C)]
pub struct ConnectNamedPipe<F> {
    head: OpHead,
    fd: F,
}

impl<F: Descriptor> ConnectNamedPipe<F> {
    /// Waits for a client of `fd`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
        }
    }
}

impl<F: Descriptor> Describe for ConnectNamedPipe<F> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Stream {
            target: op.fd.target(),
            call: StreamCall::ConnectNamedPipe,
        })
    }
}

/// Ends a connection, and leaves its descriptor for another one.
///
/// Completes when that is done. A socket of a stream is ended on both sides when what was sent has
/// gone out, and [`Connect`](super::Connect) may take it then, to another peer too. Of a named
/// pipe's server end the client is cut off, and what it has not read is lost; [`ConnectNamedPipe`]
/// may wait for another.
///
/// Errors: as
/// [DisconnectEx](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nc-mswsock-lpfn_disconnectex)
/// with `TF_REUSE_SOCKET`, or
/// [DisconnectNamedPipe](https://learn.microsoft.com/en-us/windows/win32/api/namedpipeapi/nf-namedpipeapi-disconnectnamedpipe),
/// unchanged.
///
/// IOCP only; of a pipe in place. That a socket can be connected again rests on the system's
/// documentation: no run of the tests has shown it yet.
#[derive(Debug)]
#[repr(C)]
pub struct Disconnect<F> {
    head: OpHead,
    fd: F,
}

impl<F: Descriptor> Disconnect<F> {
    /// Ends the connection of `fd`.
    pub fn new(fd: F) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            fd,
        }
    }
}

impl<F: Descriptor> Describe for Disconnect<F> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Stream {
            target: op.fd.target(),
            call: StreamCall::Disconnect,
        })
    }
}

/// Sends a part of a file to a socket, without a buffer of the program's.
///
/// Completes with the number of bytes sent, at most 0x7fff_f000 and what was asked for; fewer where
/// the file ends, 0 from its end on; 0 for no length. (That it is fewer was seen under Wine only.)
/// The file's current position is left alone.
///
/// The file is a plain descriptor (a fixed one is refused, [`Refusal::FixedDescriptor`]), and stays
/// open until it completes. Editions of Windows that are no servers make two such calls at a time;
/// the others wait for their turn.
///
/// Errors: as
/// [TransmitFile](https://learn.microsoft.com/en-us/windows/win32/api/mswsock/nf-mswsock-transmitfile),
/// unchanged; an offset above `i64::MAX` is refused ([`Refusal::Offset`]).
///
/// IOCP only; see [`Splice`](super::Splice) for what Linux has.
#[derive(Debug)]
#[repr(C)]
pub struct TransmitFile<F, G> {
    head: OpHead,
    file: F,
    to: G,
    offset: u64,
    len: usize,
}

impl<F: Descriptor, G: Descriptor> TransmitFile<F, G> {
    /// Sends at most `len` bytes of `file`, from `offset` on, to the socket `to`.
    pub fn new(file: F, offset: u64, len: usize, to: G) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            file,
            to,
            offset,
            len,
        }
    }

    /// Sets which part the next flight sends.
    pub fn set_part(&mut self, offset: u64, len: usize) {
        (self.offset, self.len) = (offset, len);
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<F: Descriptor, G: Descriptor> OpCode for TransmitFile<F, G> {}

impl<F: Descriptor, G: Descriptor> Describe for TransmitFile<F, G> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        let Target::Plain(file) = op.file.target() else {
            return Err(Refusal::FixedDescriptor);
        };
        Ok(Call::Socket {
            target: op.to.target(),
            call: SocketCall::TransmitFile {
                file,
                offset: check_offset(op.offset)?,
                len: clamp_len(op.len),
            },
        })
    }
}

impl<F: Descriptor, G: Descriptor> Op for TransmitFile<F, G> {
    type Fd = (F, G);
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        entry.into_result()
    }
}

impl<F, G> IntoInner for TransmitFile<F, G> {
    type Inner = (F, G);

    fn into_inner(self) -> (F, G) {
        (self.file, self.to)
    }
}

on_one_descriptor!(ConnectNamedPipe Disconnect);
