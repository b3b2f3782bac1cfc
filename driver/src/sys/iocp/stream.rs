//! What has no positions: sockets, pipes, consoles. And files where they are, by the workers.
#![allow(unsafe_code, reason = "makes the calls")]

use super::attach::handle;
use super::file::Work;
use super::status::About;
use super::table::Way;
use super::{Begun, Iocp, net};
use crate::buf::IoVec;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::StreamCall;
use crate::sys::fd::RawFd;
use crate::sys::keeper::Keeper as _;
use crate::sys::pipe;
use crate::sys::signed;
use std::ptr;
use windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER;
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::Pipes::ConnectNamedPipe;

impl Iocp {
    /// Starts a read or a write at the current position.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn start_stream(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: StreamCall,
    ) {
        let Some((fd, slot)) = self.table.resolve(target) else {
            return self.complete(core, index, net::NOT_OPEN);
        };
        let way = match self.way(fd, slot) {
            Ok(way) => way,
            Err(error) => return self.complete(core, index, error),
        };
        match way {
            Way::Port { .. } if matches!(call, StreamCall::Disconnect) && !fd.is_socket() => {
                let result = pipe::disconnect(handle(fd));
                self.complete(core, index, result);
            }
            // The calls would wait for something to read.
            _ if has_no_room(call) => self.complete(core, index, 0),
            // To whoever reads a pipe it would be the end. An empty datagram is one.
            _ if !fd.is_socket() && writes_nothing(call) => self.complete(core, index, 0),
            Way::Worker { has_positions } => {
                let waits = !has_positions;
                let work = |fd| Work::Stream { fd, call, waits };
                // SAFETY: (D1) the caller's contract; the words are the operation's own.
                unsafe { self.perform_on(core, index, (fd, slot), work) };
            }
            Way::Port { skips, .. } if matches!(call, StreamCall::ConnectNamedPipe) => {
                // SAFETY: (D1) nothing was lent but the place.
                unsafe { self.connect_named_pipe(core, index, fd, skips) };
            }
            Way::Port { skips, .. } if fd.is_socket() => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.begin_on_socket(core, index, fd, skips, call) };
            }
            // Overlapped calls know no current position.
            Way::Port {
                has_positions: true,
                ..
            } => self.complete(core, index, -signed(ERROR_INVALID_PARAMETER)),
            Way::Port { skips, .. } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.begin_on_handle(core, index, fd, skips, call) };
            }
        }
    }

    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    unsafe fn begin_on_socket(
        &mut self,
        core: &mut Core,
        index: u32,
        fd: RawFd,
        skips: bool,
        call: StreamCall,
    ) {
        let (one, parts, count, reads);
        (parts, count, reads) = match call {
            StreamCall::Read { ptr, len } => {
                one = IoVec::new(ptr, len as usize);
                (&raw const one, 1, true)
            }
            StreamCall::Write { ptr, len } => {
                one = IoVec::new(ptr.cast_mut(), len as usize);
                (&raw const one, 1, false)
            }
            StreamCall::ReadVectored { places, count } => (places, count, true),
            StreamCall::WriteVectored { places, count, .. } => (places, count, false),
            StreamCall::Disconnect => {
                let call = |iocp: &mut Self| iocp.disconnect(index, fd, skips);
                // SAFETY: (D1) nothing was lent but the place.
                return unsafe { self.begin(core, index, (fd, About::Socket), call) };
            }
            StreamCall::ConnectNamedPipe => unreachable!("it has another door"),
        };
        let call = |iocp: &mut Self| {
            if reads {
                // SAFETY: (V2) parts that were lent for writing.
                unsafe { iocp.recv(index, fd, (parts, count), 0, skips) }
            } else {
                // SAFETY: (V2) parts that were lent.
                unsafe { iocp.send(index, fd, (parts, count), 0, skips) }
            }
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin(core, index, (fd, About::Socket), call) };
    }

    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    unsafe fn begin_on_handle(
        &mut self,
        core: &mut Core,
        index: u32,
        fd: RawFd,
        skips: bool,
        call: StreamCall,
    ) {
        let (ptr, len, about) = match call {
            StreamCall::Read { ptr, len } => (ptr, len, About::Read),
            StreamCall::Write { ptr, len } => (ptr.cast_mut(), len, About::Handle),
            StreamCall::ReadVectored { places, count } => {
                // SAFETY: (D1) the caller's contract.
                let (ptr, len) = unsafe { first(places, count) };
                (ptr, len, About::Read)
            }
            StreamCall::WriteVectored { places, count, .. } => {
                // SAFETY: (D1) the caller's contract.
                let (ptr, len) = unsafe { first(places, count) };
                (ptr, len, About::Handle)
            }
            StreamCall::ConnectNamedPipe | StreamCall::Disconnect => {
                unreachable!("it has another door")
            }
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin_transfer(core, index, (fd, about), skips, (ptr, len), 0) };
    }

    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    unsafe fn connect_named_pipe(&mut self, core: &mut Core, index: u32, fd: RawFd, skips: bool) {
        let call = |iocp: &mut Self| {
            iocp.packets.begin(index, 0, 0);
            let overlapped = iocp.packets.overlapped(index);
            // SAFETY: (V1) the kernel has the place.
            Begun::of(unsafe { ConnectNamedPipe(handle(fd), overlapped) }, skips)
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin(core, index, (fd, About::Handle), call) };
    }

    /// Begins a read or a write of a handle.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn): `ptr` points to `len` bytes that were lent.
    pub(super) unsafe fn begin_transfer(
        &mut self,
        core: &mut Core,
        index: u32,
        (fd, about): (RawFd, About),
        skips: bool,
        (ptr, len): (*mut u8, u32),
        offset: u64,
    ) {
        let call = |iocp: &mut Self| {
            iocp.packets.begin(index, offset, 0);
            let overlapped = iocp.packets.overlapped(index);
            let nowhere = ptr::null_mut();
            let ok = if about == About::Read {
                // SAFETY: (V1, V2) the kernel has the place, and what was lent for writing.
                unsafe { ReadFile(handle(fd), ptr, len, nowhere, overlapped) }
            } else {
                // SAFETY: (V1, V2) the kernel has the place, and what was lent.
                unsafe { WriteFile(handle(fd), ptr, len, nowhere, overlapped) }
            };
            Begun::of(ok, skips)
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin(core, index, (fd, about), call) };
    }
}

/// Whether it is a read, and of nothing.
fn has_no_room(call: StreamCall) -> bool {
    matches!(
        call,
        StreamCall::Read { len: 0, .. } | StreamCall::ReadVectored { count: 0, .. }
    )
}

fn writes_nothing(call: StreamCall) -> bool {
    matches!(
        call,
        StreamCall::Write { len: 0, .. } | StreamCall::WriteVectored { count: 0, .. }
    )
}

/// The first of so many parts, none of which is empty; a handle takes one at a time, and a transfer
/// may be short.
///
/// # Safety
/// (D1) There are so many places, at least one, which were lent.
unsafe fn first(places: *const IoVec, count: u32) -> (*mut u8, u32) {
    debug_assert!(count > 0, "nothing is done at once");
    // SAFETY: (D1) the caller's contract.
    let (ptr, len) = unsafe { &*places }.parts();
    (ptr, u32::try_from(len).expect("I28: lengths are clamped"))
}
