//! Operations on sockets.
#![allow(unsafe_code, reason = "follows the addresses of operations in flight")]

use super::super::descriptors::Object;
use super::super::errno::{Errno, Result};
use super::super::lent;
use super::super::net::{Address, Name, Received, SocketId};
use super::super::world::{HostId, State};
use super::{count, socket, some_of};
use crate::address::{RawAddress, RawAddressLen};
use crate::op::call::{PlainCall, SocketCall};
use crate::sys::address as raw;
use crate::sys::message::{self, RawMessage};
use crate::sys::shutdown_how;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

/// # Safety
/// (D1) The operation is in flight, and where it was.
pub(super) unsafe fn perform(
    state: &mut State,
    host: HostId,
    object: Object,
    call: SocketCall,
) -> Result<i32> {
    if let SocketCall::Poll { events } = call {
        return poll(state, object, events);
    }
    let id = socket(object)?;
    match call {
        SocketCall::Recv { ptr, len, flags } => {
            let received = recv(state, id, len as usize, flags)?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::write(ptr, &received.bytes) };
            Ok(count(received.bytes.len()))
        }
        SocketCall::Send { ptr, len, .. } => {
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::read(ptr, len as usize) };
            send(state, id, &bytes, None)
        }
        SocketCall::SendTo {
            ptr,
            len,
            addr,
            addr_len,
            ..
        } => {
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::read(ptr, len as usize) };
            if addr_len == 0 && is_unix(state, id)? {
                return send(state, id, &bytes, None); // Other families want an address to be one.
            }
            // SAFETY: (D1) the caller's contract.
            let to = unsafe { address(addr, addr_len) }?;
            send(state, id, &bytes, Some(&to))
        }
        // SAFETY: (D1) the caller's contract.
        SocketCall::SendMsg { msg, .. } => unsafe { send_message(state, id, msg) },
        // SAFETY: (D1) the caller's contract.
        SocketCall::RecvMsg { msg, flags, .. } => unsafe { recv_message(state, id, msg, flags) },
        SocketCall::Accept { addr, addr_len } => {
            let (connection, peer) = state.net.accept(id)?;
            let fd = make(state, host, connection)?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::write_address(addr, addr_len, raw_address(&peer)) };
            Ok(fd.into_raw_fd())
        }
        SocketCall::Connect { addr, addr_len } => {
            // SAFETY: (D1) the caller's contract.
            let to = unsafe { address(addr, addr_len) }?;
            state.net.connect(id, &to).map(|()| 0)
        }
        SocketCall::Poll { .. } | SocketCall::WaitId { .. } => unreachable!("seen to before"),
    }
}

/// What never waits; `object` is what it is directed at.
///
/// # Safety
/// (D1) What the call points to is lent.
pub(super) unsafe fn perform_plain(
    state: &mut State,
    host: HostId,
    object: Option<Object>,
    call: PlainCall,
) -> Result<i32> {
    if let PlainCall::Socket {
        domain,
        kind,
        protocol,
    } = call
    {
        let id = state.net.socket(host, domain, kind, protocol)?;
        return Ok(make(state, host, id)?.into_raw_fd());
    }
    if let PlainCall::Pipe { flags, ends } = call {
        let made = pipe(state, host, flags)?;
        // SAFETY: (D1) the caller's contract.
        unsafe { lent::put(ends, made) };
        return Ok(0);
    }
    let id = socket(object.ok_or(Errno(libc::EBADF))?)?;
    match call {
        PlainCall::Shutdown { how, .. } => state.net.shutdown(id, shutdown_how(how))?,
        PlainCall::Bind { addr, addr_len, .. } => {
            // SAFETY: (D1) the caller's contract.
            let address = unsafe { address(addr, addr_len) }?;
            state.net.bind(id, &address)?;
        }
        PlainCall::Listen { backlog, .. } => state.net.listen(id, backlog)?,
        PlainCall::SetOption {
            level,
            name,
            value,
            len,
            ..
        } => {
            // SAFETY: (D1) the caller's contract.
            let value = unsafe { lent::read(value, len as usize) };
            state.net.set_option(id, level, name, &value)?;
        }
        PlainCall::GetOption {
            level,
            name,
            value,
            len,
            ..
        } => {
            let mut known = state.net.option(id, level, name)?;
            known.truncate(len as usize);
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::write(value, &known) };
            return Ok(count(known.len()));
        }
        PlainCall::Socket { .. } | PlainCall::Pipe { .. } | PlainCall::FutexWake { .. } => {
            unreachable!("seen to before, or refused")
        }
    }
    Ok(0)
}

/// The ends of a new pipe: to read, to write.
fn pipe(state: &mut State, host: HostId, flags: i32) -> Result<[RawFd; 2]> {
    if flags & libc::O_DIRECT != 0 {
        return Err(Errno(libc::EINVAL)); // No packets are simulated.
    }
    let ends = state.net.pipe(host);
    let (reader, writer) = make_both(state, host, ends)?;
    Ok([reader.into_raw_fd(), writer.into_raw_fd()])
}

/// Descriptors for two that were made together; none, where there is none for one.
pub(super) fn make_both(
    state: &mut State,
    host: HostId,
    (first, second): (SocketId, SocketId),
) -> Result<(OwnedFd, OwnedFd)> {
    match make(state, host, first) {
        Ok(first) => Ok((first, make(state, host, second)?)),
        Err(errno) => {
            state.net.close(second)?;
            Err(errno)
        }
    }
}

/// A descriptor for a new socket, which is closed where there is none.
fn make(state: &mut State, host: HostId, id: SocketId) -> Result<OwnedFd> {
    let made = state.descriptors.make(host, Object::Socket(id));
    if made.is_err() {
        state.net.close(id)?;
    }
    made
}

fn poll(state: &mut State, object: Object, events: u16) -> Result<i32> {
    const ALWAYS: u16 = libc::POLLERR.unsigned_abs() | libc::POLLHUP.unsigned_abs();
    let ready = match object {
        Object::Socket(id) => state.net.poll(id)?,
        Object::File { .. } => libc::POLLIN.unsigned_abs() | libc::POLLOUT.unsigned_abs(),
    };
    match ready & (events | ALWAYS) {
        0 => Err(Errno(libc::EAGAIN)),
        ready => Ok(ready.into()),
    }
}

fn recv(state: &mut State, id: SocketId, len: usize, flags: i32) -> Result<Received> {
    let peek = flags & libc::MSG_PEEK != 0;
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EINVAL)); // There never is any.
    }
    if flags & libc::MSG_WAITALL != 0 && !peek {
        wait_for_all(state, id, len)?;
        return state.net.recv(id, len, false);
    }
    let len = if is_stream(state, id)? {
        some_of(state, len)
    } else {
        len
    };
    state.net.recv(id, len, peek)
}

/// Whether it keeps no boundaries between what is sent.
fn is_stream(state: &mut State, id: SocketId) -> Result<bool> {
    let kind = state.net.option(id, libc::SOL_SOCKET, libc::SO_TYPE)?;
    Ok(kind == libc::SOCK_STREAM.to_ne_bytes())
}

fn is_unix(state: &mut State, id: SocketId) -> Result<bool> {
    Ok(matches!(state.net.local_name(id)?, Address::Unix(_)))
}

/// Fails as long as less than `len` bytes are there, and more may come.
fn wait_for_all(state: &mut State, id: SocketId, len: usize) -> Result<()> {
    const ENDS: u16 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR).unsigned_abs();
    // The window is not larger than that: the kernel takes part after part.
    const PART: usize = 32 << 10;
    let is_over = state.net.poll(id)? & ENDS != 0 || !is_stream(state, id)?;
    let enough = is_over || state.net.recv(id, len, true)?.bytes.len() >= len.min(PART);
    if enough {
        Ok(())
    } else {
        Err(Errno(libc::EAGAIN))
    }
}

fn send(state: &mut State, id: SocketId, bytes: &[u8], to: Option<&Address>) -> Result<i32> {
    let len = if is_stream(state, id)? {
        some_of(state, bytes.len())
    } else {
        bytes.len()
    };
    state.net.send(id, &bytes[..len], to).map(count)
}

/// # Safety
/// (D1) The message is lent, with all that it describes.
unsafe fn send_message(state: &mut State, id: SocketId, msg: *const RawMessage) -> Result<i32> {
    // SAFETY: (D1) the caller's contract.
    let msg = unsafe { lent::get(msg) };
    if msg.msg_controllen > 0 {
        return Err(Errno(libc::EOPNOTSUPP)); // No ancillary data is simulated.
    }
    // SAFETY: (D1) the caller's contract.
    let places = unsafe { lent::places(msg.msg_iov.cast(), message::count(&msg)) };
    // SAFETY: (D1) the caller's contract.
    let bytes = unsafe { lent::gather(&places) };
    if msg.msg_name.is_null() || msg.msg_namelen == 0 {
        return send(state, id, &bytes, None);
    }
    // SAFETY: (D1) the caller's contract.
    let to = unsafe { address(msg.msg_name.cast(), msg.msg_namelen) }?;
    send(state, id, &bytes, Some(&to))
}

/// # Safety
/// (D1) The message is lent, with all that it describes.
unsafe fn recv_message(
    state: &mut State,
    id: SocketId,
    to: *mut RawMessage,
    flags: i32,
) -> Result<i32> {
    // SAFETY: (D1) the caller's contract.
    let mut msg = unsafe { lent::get(to) };
    // SAFETY: (D1) the caller's contract.
    let places = unsafe { lent::places(msg.msg_iov.cast(), message::count(&msg)) };
    let received = recv(state, id, lent::room(&places), flags)?;
    // SAFETY: (D1) the caller's contract.
    unsafe { lent::scatter(&places, &received.bytes) };
    msg.msg_flags = if received.is_truncated() {
        libc::MSG_TRUNC
    } else {
        0
    };
    msg.msg_controllen = 0;
    if !msg.msg_name.is_null() {
        let (address, len) = received
            .from
            .as_ref()
            .map_or((raw::zeroed(), 0), raw_address);
        // SAFETY: (D1) the caller's contract.
        unsafe {
            lent::write_address(
                msg.msg_name.cast(),
                &raw mut msg.msg_namelen,
                (address, len),
            )
        };
    }
    // SAFETY: (D1) the caller's contract.
    unsafe { lent::put(to, msg) };
    Ok(count(received.bytes.len()))
}

/// # Safety
/// (D1) `len` bytes of an address are lent for reading.
unsafe fn address(ptr: *const RawAddress, len: RawAddressLen) -> Result<Address> {
    // SAFETY: (D1) the caller's contract.
    let (storage, len) = unsafe { lent::address(ptr, len) }.ok_or(Errno(libc::EINVAL))?;
    if let Some(address) = raw::to_socket_addr(&storage, len) {
        return Ok(Address::Inet(address));
    }
    match raw::family(&storage) {
        libc::AF_UNSPEC => Ok(Address::Unspecified),
        libc::AF_UNIX => Ok(Address::Unix(match raw::to_unix_name(&storage, len) {
            [] => Name::Unnamed,
            [0, name @ ..] => Name::Abstract(name.to_vec()),
            path => {
                let end = path.iter().position(|byte| *byte == 0);
                Name::Path(path[..end.unwrap_or(path.len())].to_vec())
            }
        })),
        _ => Err(Errno(libc::EAFNOSUPPORT)),
    }
}

pub(super) fn raw_address(address: &Address) -> (RawAddress, RawAddressLen) {
    match address {
        Address::Unspecified => (raw::zeroed(), 0),
        Address::Inet(address) => raw::from_socket_addr(*address),
        Address::Unix(Name::Unnamed) => raw::from_unix_name(&[]),
        Address::Unix(Name::Path(path)) => raw::from_unix_name(&[path.as_slice(), &[0]].concat()),
        Address::Unix(Name::Abstract(name)) => {
            raw::from_unix_name(&[&[0], name.as_slice()].concat())
        }
    }
}
