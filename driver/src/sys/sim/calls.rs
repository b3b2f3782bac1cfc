//! Carries operations out: reads what they have lent, asks the disk or the network, and writes what
//! came of it.
#![allow(unsafe_code, reason = "follows the addresses of operations in flight")]

mod files;
mod sockets;

use super::Tried;
use super::descriptors::{DescriptorId, Object};
use super::errno::{Errno, Result};
use super::flight::Flight;
use super::fs::{Inode, ROOT};
use super::net::SocketId;
use super::world::{HostId, State};
use crate::address::{RawAddress, RawAddressLen};
use crate::fd::Target;
use crate::op::call::{Call, FileCall, PathCall, PlainCall, SocketCall};
use std::os::fd::{OwnedFd, RawFd};

/// The operations that are simulated.
pub(super) const KNOWN: &[&str] = &[
    "Nop",
    "Timeout",
    "TimeoutUpdate",
    "Deadline",
    "ReadAt",
    "WriteAt",
    "ReadVectoredAt",
    "WriteVectoredAt",
    "Read",
    "Write",
    "ReadVectored",
    "WriteVectored",
    "Pipe",
    "Sync",
    "SyncRange",
    "Truncate",
    "Allocate",
    "Advise",
    "Stat",
    "StatAt",
    "OpenAt",
    "Unlink",
    "Rename",
    "MakeDir",
    "Symlink",
    "HardLink",
    "GetXattr",
    "SetXattr",
    "GetPathXattr",
    "SetPathXattr",
    "Close",
    "Socket",
    "Bind",
    "Listen",
    "Shutdown",
    "SetSockOpt",
    "GetSockOpt",
    "Accept",
    "Connect",
    "Recv",
    "Send",
    "RecvFrom",
    "SendTo",
    "RecvVectored",
    "SendVectored",
    "RecvFromVectored",
    "SendToVectored",
    "RecvMsg",
    "SendMsg",
    "Poll",
];

/// Those that are not.
pub(super) const MISSING: &[&str] = &["Splice", "Tee", "WaitId", "FutexWait", "FutexWake", "Raw"];

/// Whether there is such an operation here.
pub(super) fn is_known(call: &Call) -> bool {
    !matches!(
        call,
        Call::Raw { .. }
            | Call::Splice(_)
            | Call::FutexWait { .. }
            | Call::Plain(PlainCall::FutexWake { .. })
            | Call::Socket {
                call: SocketCall::WaitId { .. },
                ..
            }
    )
}

/// The descriptor that a target names now.
pub(super) fn resolve(
    state: &State,
    host: HostId,
    fixed: &[Option<DescriptorId>],
    target: Target,
) -> Result<DescriptorId> {
    match target {
        Target::Plain(fd) => state.descriptors.find(host, fd),
        Target::Fixed(id) => {
            let place = fixed.get(id as usize).copied().flatten();
            place.ok_or(Errno(libc::EBADF))
        }
    }
}

/// Tries an operation, whose descriptors are there.
///
/// # Safety
/// (D1) The operation is in flight, and where it was.
pub(super) unsafe fn perform(state: &mut State, host: HostId, flight: &Flight) -> Tried {
    // A fault is one of the first try: who waits for long has no more of them.
    let fault = if flight.tried {
        None
    } else {
        fault(state, &flight.call)
    };
    if let Some(errno) = fault {
        return Tried::Done(-errno);
    }
    let object = |at: usize| flight.files[at].map(|id| state.descriptors.object(id));
    let (first, second) = (object(0), object(1));
    let on = || first.expect("it is directed at a descriptor, which was found");
    let result = match flight.call {
        Call::Nop => Ok(0),
        // SAFETY: (D1) the caller's contract.
        Call::File { call, .. } => unsafe { files::perform(state, host, on(), call) },
        Call::Path(call) => directories([first, second]).and_then(|dirs| {
            // SAFETY: (D1) the caller's contract.
            unsafe { files::perform_path(state, host, dirs, call) }
        }),
        Call::Stream { call, .. } => {
            let id = flight.files[0].expect("as above");
            // SAFETY: (D1) the caller's contract.
            unsafe { files::perform_stream(state, host, id, call) }
        }
        // SAFETY: (D1) the caller's contract.
        Call::Socket { call, .. } => unsafe { sockets::perform(state, host, on(), call) },
        // SAFETY: (D1) the caller's contract.
        Call::Plain(call) => unsafe { sockets::perform_plain(state, host, first, call) },
        // Only its time, or its cancellation, ends it.
        Call::Timeout { .. } => Err(Errno(libc::EAGAIN)),
        Call::TimeoutUpdate { .. }
        | Call::Close { .. }
        | Call::Splice(_)
        | Call::FutexWait { .. }
        | Call::Raw { .. } => unreachable!("the driver sees to it, or it was refused"),
    };
    match result {
        Ok(result) => Tried::Done(result),
        Err(Errno(libc::EAGAIN | libc::EINPROGRESS | libc::EALREADY)) if !flight.gives_up() => {
            Tried::Blocks
        }
        Err(Errno(errno)) => Tried::Done(-errno),
    }
}

/// A plain call of this thread's on one of its world's descriptors; `None` if it is none.
///
/// # Safety
/// What the call points to is lent until this returns.
pub(crate) unsafe fn plain(fd: RawFd, call: PlainCall) -> Option<i32> {
    let world = super::world::current()?;
    let state = &mut *world.state();
    state.sweep();
    let (host, id) = state.descriptors.find_anywhere(fd)?;
    let object = state.descriptors.object(id);
    // SAFETY: the caller's contract.
    let result = unsafe { sockets::perform_plain(state, host, Some(object), call) };
    Some(result.unwrap_or_else(|Errno(errno)| -errno))
}

/// Two sockets that are connected to each other.
pub(crate) fn socket_pair(state: &mut State, host: HostId) -> Result<(OwnedFd, OwnedFd)> {
    let pair = state.net.socket_pair(host, libc::SOCK_STREAM, 0)?;
    sockets::make_both(state, host, pair)
}

/// The address of a socket, or of its peer.
pub(crate) fn address_of(
    state: &mut State,
    fd: RawFd,
    peer: bool,
) -> Result<(RawAddress, RawAddressLen)> {
    state.sweep();
    let (_, id) = state
        .descriptors
        .find_anywhere(fd)
        .ok_or(Errno(libc::EBADF))?;
    let id = socket(state.descriptors.object(id))?;
    let address = if peer {
        state.net.peer_name(id)?
    } else {
        state.net.local_name(id)?
    };
    Ok(sockets::raw_address(&address))
}

/// The error that an operation fails with for no reason of its own.
fn fault(state: &mut State, call: &Call) -> Option<i32> {
    let State { random, faults, .. } = state;
    let on_disk = matches!(call, Call::File { .. } | Call::Path(_));
    let takes_space = matches!(
        call,
        Call::File {
            call: FileCall::Write { .. }
                | FileCall::WriteVectored { .. }
                | FileCall::Allocate { .. },
            ..
        }
    );
    let makes_descriptor = matches!(
        call,
        Call::Path(PathCall::Open { .. })
            | Call::Plain(PlainCall::Socket { .. } | PlainCall::Pipe { .. })
            | Call::Socket {
                call: SocketCall::Accept { .. },
                ..
            }
    );
    if on_disk && random.chance(faults.disk_error) {
        return Some(libc::EIO);
    }
    if takes_space && random.chance(faults.disk_full) {
        return Some(libc::ENOSPC);
    }
    (makes_descriptor && random.chance(faults.no_descriptor)).then_some(libc::EMFILE)
}

/// The directories that an operation's paths start from.
fn directories(objects: [Option<Object>; 2]) -> Result<[Inode; 2]> {
    let mut dirs = [ROOT; 2];
    for (object, dir) in objects.into_iter().zip(&mut dirs) {
        match object {
            None => {}
            Some(Object::File { inode, .. }) => *dir = inode,
            Some(Object::Socket(_)) => return Err(Errno(libc::ENOTDIR)),
        }
    }
    Ok(dirs)
}

fn socket(object: Object) -> Result<SocketId> {
    match object {
        Object::Socket(socket) => Ok(socket),
        Object::File { .. } => Err(Errno(libc::ENOTSOCK)),
    }
}

/// How much of `len` bytes is moved: all, or by chance a part.
fn some_of(state: &mut State, len: usize) -> usize {
    if len > 1 && state.random.chance(state.faults.short) {
        let part = 1 + state.random.below(len as u64);
        return usize::try_from(part).expect("no more than the length");
    }
    len
}

/// A number of bytes as a result: no call moves more than an `i32` has.
fn count(n: usize) -> i32 {
    i32::try_from(n).expect("I28: lengths are clamped to 31 bits")
}
