//! Sockets: overlapped calls of Winsock.
#![allow(unsafe_code, reason = "makes the calls")]

use super::attach::handle;
use super::status::{self, About, Outcome};
use super::table::Way;
use super::{Begun, Iocp};
use crate::address::{RawAddress, RawAddressLen};
use crate::buf::IoVec;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::SocketCall;
use crate::sys::afd::Question;
use crate::sys::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use crate::sys::keeper::Keeper as _;
use crate::sys::message::RawMessage;
use crate::sys::plain;
use crate::sys::signed;
use std::io;
use std::mem;
use std::ptr;
use windows_sys::Win32::Foundation::{ERROR_INVALID_HANDLE, STATUS_PENDING, STATUS_SUCCESS};
use windows_sys::Win32::Networking::WinSock as w;
use windows_sys::core::GUID;

/// The error of what is directed at nothing.
pub(super) const NOT_OPEN: i32 = -signed(ERROR_INVALID_HANDLE);
/// The error of a call on what is no socket.
pub(super) const NOT_A_SOCKET: i32 = -w::WSAENOTSOCK;

/// Room for one address of those that an accept gives: 16 bytes more than the longest.
const ADDRESS_ROOM: u32 = 28 + 16;

/// Functions of Winsock that its provider has to be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extensions {
    accept: AcceptEx,
    accepted_addresses: GetAcceptExSockaddrs,
    connect: ConnectEx,
    disconnect: DisconnectEx,
    recv_message: RecvMsg,
    transmit_file: TransmitFile,
}

type AcceptEx = unsafe extern "system" fn(
    w::SOCKET,
    w::SOCKET,
    *mut std::ffi::c_void,
    u32,
    u32,
    u32,
    *mut u32,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
) -> i32;
type GetAcceptExSockaddrs = unsafe extern "system" fn(
    *const std::ffi::c_void,
    u32,
    u32,
    u32,
    *mut *mut w::SOCKADDR,
    *mut i32,
    *mut *mut w::SOCKADDR,
    *mut i32,
);
type ConnectEx = unsafe extern "system" fn(
    w::SOCKET,
    *const w::SOCKADDR,
    i32,
    *const std::ffi::c_void,
    u32,
    *mut u32,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
) -> i32;
type DisconnectEx = unsafe extern "system" fn(
    w::SOCKET,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
    u32,
    u32,
) -> i32;
type TransmitFile = unsafe extern "system" fn(
    w::SOCKET,
    windows_sys::Win32::Foundation::HANDLE,
    u32,
    u32,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
    *const w::TRANSMIT_FILE_BUFFERS,
    u32,
) -> i32;
type RecvMsg = unsafe extern "system" fn(
    w::SOCKET,
    *mut w::WSAMSG,
    *mut u32,
    *mut windows_sys::Win32::System::IO::OVERLAPPED,
    w::LPWSAOVERLAPPED_COMPLETION_ROUTINE,
) -> i32;

impl Extensions {
    pub(super) fn find() -> io::Result<Self> {
        let made = plain::new_socket(w::AF_INET.into(), w::SOCK_DGRAM, 0)?;
        let socket = made.as_raw_fd();
        Ok(Self {
            // SAFETY: (K1) what is found under this name is such a function.
            accept: unsafe { mem::transmute::<usize, AcceptEx>(find(socket, w::WSAID_ACCEPTEX)?) },
            // SAFETY: (K1) as above.
            accepted_addresses: unsafe {
                mem::transmute::<usize, GetAcceptExSockaddrs>(find(
                    socket,
                    w::WSAID_GETACCEPTEXSOCKADDRS,
                )?)
            },
            // SAFETY: (K1) as above.
            connect: unsafe {
                mem::transmute::<usize, ConnectEx>(find(socket, w::WSAID_CONNECTEX)?)
            },
            // SAFETY: (K1) as above.
            disconnect: unsafe {
                mem::transmute::<usize, DisconnectEx>(find(socket, w::WSAID_DISCONNECTEX)?)
            },
            // SAFETY: (K1) as above.
            recv_message: unsafe {
                mem::transmute::<usize, RecvMsg>(find(socket, w::WSAID_WSARECVMSG)?)
            },
            // SAFETY: (K1) as above.
            transmit_file: unsafe {
                mem::transmute::<usize, TransmitFile>(find(socket, w::WSAID_TRANSMITFILE)?)
            },
        })
    }
}

fn find(socket: RawFd, name: GUID) -> io::Result<usize> {
    match plain::told_by_provider(socket, w::SIO_GET_EXTENSION_FUNCTION_POINTER, Some(&name)) {
        Ok(0) => Err(io::ErrorKind::Unsupported.into()),
        Ok(found) => Ok(found),
        Err(error) => Err(io::Error::from_raw_os_error(-error)),
    }
}

impl Begun {
    /// What a call of Winsock's says that returns an error, or 0.
    fn of_winsock(failed: i32, skips: bool) -> Self {
        match plain::winsock_result(failed) {
            0 if skips => Self::Done,
            0 => Self::Pending,
            error if error == -w::WSA_IO_PENDING => Self::Pending,
            error => Self::Failed(error.unsigned_abs()),
        }
    }

    /// The same of a receive: what was too long for its room has come nevertheless.
    fn of_receive(failed: i32, skips: bool) -> Self {
        match Self::of_winsock(failed, skips) {
            Self::Failed(error) if error == w::WSAEMSGSIZE.unsigned_abs() => Self::Cut,
            begun => begun,
        }
    }
}

impl Iocp {
    /// Starts an operation on a socket, or on a process.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn start_socket(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: SocketCall,
    ) {
        let Some((fd, slot)) = self.table.resolve(target) else {
            return self.complete(core, index, NOT_A_SOCKET);
        };
        if let SocketCall::WaitId { .. } = call {
            return self.start_wait(core, index, fd);
        }
        if !fd.is_socket() {
            return self.complete(core, index, NOT_A_SOCKET);
        }
        if let SocketCall::Poll { events } = call {
            return self.start_poll(core, index, fd, events);
        }
        let skips = match self.way(fd, slot) {
            Ok(Way::Port { skips, .. }) => skips,
            Ok(Way::Worker { .. }) => unreachable!("a socket's calls are overlapped"),
            Err(error) if error == NOT_OPEN => return self.complete(core, index, NOT_A_SOCKET),
            Err(error) => return self.complete(core, index, error),
        };
        // None would be the whole file.
        if let SocketCall::TransmitFile { len: 0, .. } = call {
            return self.complete(core, index, 0);
        }
        // None would be no file, of which nothing is sent.
        if let SocketCall::TransmitFile { file, .. } = call {
            if file.as_handle().is_none() {
                return self.complete(core, index, NOT_OPEN);
            }
        }
        let about = match call {
            SocketCall::TransmitFile { .. } => About::FileToSocket,
            _ => About::Socket,
        };
        let begin = |iocp: &mut Self| {
            // SAFETY: (D1) the caller's contract.
            unsafe { iocp.begin_socket(index, fd, skips, call) }
        };
        if let SocketCall::Connect { addr, addr_len } = call {
            match ready_to_connect(fd, addr, addr_len) {
                Ready::Yes => {}
                Ready::Over(result) => return self.complete(core, index, result),
            }
        }
        if let SocketCall::Accept { .. } = call {
            match accepting(fd) {
                Ok(socket) => self.ongoing[index as usize].own = Some(socket),
                Err(error) => return self.complete(core, index, error),
            }
        }
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin(core, index, (fd, about), begin) };
    }

    /// Starts a poll of a socket, which may be attached anywhere.
    fn start_poll(&mut self, core: &mut Core, index: u32, fd: RawFd, events: u16) {
        if self.afd.is_err() {
            return self.complete(core, index, plain::unsupported());
        }
        let question = match Question::new(fd, events) {
            Ok(question) => question,
            Err(error) => return self.complete(core, index, error),
        };
        let call = |iocp: &mut Self| {
            let afd = iocp.afd.as_ref().expect("asked above");
            iocp.packets.begin(index, 0, 0);
            let (place, overlapped) =
                (iocp.packets.question(index), iocp.packets.overlapped(index));
            // SAFETY: (V1) at rest: nobody else touches it.
            unsafe { place.write(question) };
            // SAFETY: (V1) the kernel has the place.
            match unsafe { afd.ask(place, overlapped) } {
                STATUS_SUCCESS | STATUS_PENDING => Begun::Pending,
                status => Begun::Failed(status::winsock(status).unsigned_abs()),
            }
        };
        // SAFETY: (D1) nothing was lent but the place.
        unsafe { self.begin(core, index, (fd, About::Socket), call) };
    }

    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    unsafe fn begin_socket(
        &mut self,
        index: u32,
        fd: RawFd,
        skips: bool,
        call: SocketCall,
    ) -> Begun {
        let s = plain::socket(fd);
        match call {
            SocketCall::Recv { ptr, len, flags } => {
                let part = IoVec::new(ptr, len as usize);
                // SAFETY: (V2) lent for writing; the part itself is read by the call.
                unsafe { self.recv(index, fd, (&raw const part, 1), flags, skips) }
            }
            SocketCall::Send { ptr, len, flags } => {
                let part = IoVec::new(ptr.cast_mut(), len as usize);
                // SAFETY: (V2) lent; the part itself is read by the call.
                unsafe { self.send(index, fd, (&raw const part, 1), flags, skips) }
            }
            SocketCall::SendTo {
                ptr,
                len,
                flags,
                addr,
                addr_len,
            } => {
                let part = IoVec::new(ptr.cast_mut(), len as usize);
                let to = (addr, addr_len);
                // SAFETY: (V2) lent; part and address are read by the call.
                unsafe { self.send_to(index, fd, (&raw const part, 1), flags, to, skips) }
            }
            SocketCall::SendMsg { msg, flags, .. } => {
                // SAFETY: (D1) a part of the operation.
                let message = unsafe { &*msg };
                if message.Control.len > 0 {
                    self.packets.begin(index, 0, 0);
                    let overlapped = self.packets.overlapped(index);
                    let flags = u32::from_ne_bytes(flags.to_ne_bytes());
                    // SAFETY: (V1, V2) the kernel has the place, and what was lent.
                    let failed =
                        unsafe { w::WSASendMsg(s, msg, flags, ptr::null_mut(), overlapped, None) };
                    return Begun::of_winsock(failed, skips);
                }
                let parts = (message.lpBuffers.cast_const().cast(), message.dwBufferCount);
                let to = (message.name.cast_const().cast(), message.namelen);
                // SAFETY: (V2) lent; parts and address are read by the call.
                unsafe { self.send_to(index, fd, parts, flags, to, skips) }
            }
            SocketCall::RecvMsg {
                msg,
                flags,
                control,
                ..
            } => {
                // SAFETY: (V2) lent for writing.
                unsafe { self.recv_message(index, fd, msg, flags, control, skips) }
            }
            SocketCall::Accept { addr, .. } => {
                self.packets.begin(index, 0, 0);
                let overlapped = self.packets.overlapped(index);
                let own = self.ongoing[index as usize].own.as_ref();
                let socket = plain::socket(own.expect("made for it").as_raw_fd());
                let (room, mut nobody) = (ADDRESS_ROOM, 0);
                // SAFETY: (V1, V2) the kernel has the place, and the room for both addresses.
                let ok = unsafe {
                    (self.extensions.accept)(
                        s,
                        socket,
                        addr.cast(),
                        0,
                        room,
                        room,
                        &raw mut nobody,
                        overlapped,
                    )
                };
                Begun::of(ok, skips)
            }
            SocketCall::Connect { addr, addr_len } => {
                self.packets.begin(index, 0, 0);
                let overlapped = self.packets.overlapped(index);
                let nothing = ptr::null();
                // SAFETY: (V1, V2) the kernel has the place, and reads an address that was lent.
                let ok = unsafe {
                    (self.extensions.connect)(
                        s,
                        addr.cast(),
                        addr_len,
                        nothing,
                        0,
                        ptr::null_mut(),
                        overlapped,
                    )
                };
                Begun::of(ok, skips)
            }
            SocketCall::TransmitFile { file, offset, len } => {
                self.packets.begin(index, offset, 0);
                let overlapped = self.packets.overlapped(index);
                let (file, nothing, piece) = (handle(file), ptr::null(), 0);
                // SAFETY: (V1) the kernel has the place; the file stays open (D1).
                let ok = unsafe {
                    (self.extensions.transmit_file)(s, file, len, piece, overlapped, nothing, 0)
                };
                Begun::of(ok, skips)
            }
            SocketCall::Poll { .. } | SocketCall::WaitId { .. } => {
                unreachable!("it has another door")
            }
        }
    }

    /// # Safety
    /// (V2) So many parts, which were lent for writing.
    pub(super) unsafe fn recv(
        &mut self,
        index: u32,
        fd: RawFd,
        (parts, count): (*const IoVec, u32),
        flags: i32,
        skips: bool,
    ) -> Begun {
        self.packets.begin(index, 0, flags);
        let (overlapped, flags) = (self.packets.overlapped(index), self.packets.flags(index));
        // SAFETY: (V1, V2) the kernel has the place, and what was lent.
        let failed = unsafe {
            w::WSARecv(
                plain::socket(fd),
                parts.cast(),
                count,
                ptr::null_mut(),
                flags,
                overlapped,
                None,
            )
        };
        Begun::of_receive(failed, skips)
    }

    /// # Safety
    /// (V2) So many parts, which were lent.
    pub(super) unsafe fn send(
        &mut self,
        index: u32,
        fd: RawFd,
        parts: (*const IoVec, u32),
        flags: i32,
        skips: bool,
    ) -> Begun {
        // SAFETY: (V2) the caller's contract.
        unsafe { self.send_to(index, fd, parts, flags, (ptr::null(), 0), skips) }
    }

    /// Sends to an address, if there is one.
    ///
    /// # Safety
    /// (V2) As [`send`](Self::send); the address is read by the call.
    unsafe fn send_to(
        &mut self,
        index: u32,
        fd: RawFd,
        (parts, count): (*const IoVec, u32),
        flags: i32,
        (addr, addr_len): (*const RawAddress, RawAddressLen),
        skips: bool,
    ) -> Begun {
        self.packets.begin(index, 0, 0);
        let overlapped = self.packets.overlapped(index);
        let flags = u32::from_ne_bytes(flags.to_ne_bytes());
        let (socket, parts, nowhere) = (plain::socket(fd), parts.cast(), ptr::null_mut());
        let failed = if addr_len > 0 {
            // SAFETY: (V1, V2) the kernel has the place, and what was lent.
            unsafe {
                w::WSASendTo(
                    socket,
                    parts,
                    count,
                    nowhere,
                    flags,
                    addr.cast(),
                    addr_len,
                    overlapped,
                    None,
                )
            }
        } else {
            // SAFETY: (V1, V2) the kernel has the place, and what was lent.
            unsafe { w::WSASend(socket, parts, count, nowhere, flags, overlapped, None) }
        };
        Begun::of_winsock(failed, skips)
    }

    /// Ends a connection, so that the socket may be connected again.
    pub(super) fn disconnect(&mut self, index: u32, fd: RawFd, skips: bool) -> Begun {
        self.packets.begin(index, 0, 0);
        let overlapped = self.packets.overlapped(index);
        let (socket, reuse) = (plain::socket(fd), w::TF_REUSE_SOCKET);
        // SAFETY: (V1) the kernel has the place.
        let ok = unsafe { (self.extensions.disconnect)(socket, overlapped, reuse, 0) };
        Begun::of(ok, skips)
    }

    /// # Safety
    /// (V2) A message of the operation, whose pieces were lent for writing.
    unsafe fn recv_message(
        &mut self,
        index: u32,
        fd: RawFd,
        msg: *mut RawMessage,
        flags: i32,
        control: bool,
        skips: bool,
    ) -> Begun {
        self.packets.begin(index, 0, flags);
        let (overlapped, flags_at) = (self.packets.overlapped(index), self.packets.flags(index));
        let (socket, nowhere) = (plain::socket(fd), ptr::null_mut());
        // SAFETY: (D1) a part of the operation; the reference ends before the call.
        let message = unsafe { &mut *msg };
        if control {
            message.dwFlags = u32::from_ne_bytes(flags.to_ne_bytes());
            // SAFETY: (V1, V2) the kernel has the place, and what was lent.
            let failed =
                unsafe { (self.extensions.recv_message)(socket, msg, nowhere, overlapped, None) };
            return Begun::of_receive(failed, skips);
        }
        message.dwFlags = 0;
        let (parts, count, name) = (message.lpBuffers, message.dwBufferCount, message.name);
        if name.is_null() {
            // SAFETY: (V2) the caller's contract.
            return unsafe { self.recv(index, fd, (parts.cast(), count), flags, skips) };
        }
        // A stream writes no address: then there is none.
        // SAFETY: (D1) room for an address, in the operation.
        unsafe { (*name).sa_family = 0 };
        // SAFETY: (D1) only the field's address is taken.
        let name_len = unsafe { &raw mut (*msg).namelen };
        // SAFETY: (V1, V2) the kernel has the place, and what was lent, the address with its length
        // too.
        let failed = unsafe {
            w::WSARecvFrom(
                socket, parts, count, nowhere, flags_at, name, name_len, overlapped, None,
            )
        };
        Begun::of_receive(failed, skips)
    }

    /// What is left to do for a call on a socket that is over; its result.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn finish_socket(
        &mut self,
        index: u32,
        call: SocketCall,
        outcome: Outcome,
    ) -> i32 {
        let Outcome { result, truncated } = outcome;
        match call {
            SocketCall::WaitId { .. } => self.waited(index),
            _ if result < 0 => result,
            SocketCall::Poll { .. } => {
                // SAFETY: (V1) the call is over: its place is at rest.
                unsafe { *self.packets.question(index) }.answer()
            }
            SocketCall::Accept { addr, addr_len } => {
                // SAFETY: (D1) places of the operation.
                unsafe { self.accepted(index, addr, addr_len) }
            }
            SocketCall::Connect { .. } => {
                let socket = plain::socket(self.ongoing[index as usize].fd);
                let (level, name) = (w::SOL_SOCKET, w::SO_UPDATE_CONNECT_CONTEXT);
                // SAFETY: (K1) no value is read.
                let failed = unsafe { w::setsockopt(socket, level, name, ptr::null(), 0) };
                plain::winsock_result(failed)
            }
            SocketCall::RecvMsg { msg, .. } => {
                // SAFETY: (D1) a part of the operation.
                let message = unsafe { &mut *msg };
                if truncated {
                    message.dwFlags |= w::MSG_TRUNC;
                }
                // SAFETY: (D1) room for an address, in the operation.
                if !message.name.is_null() && unsafe { (*message.name).sa_family } == 0 {
                    message.namelen = 0;
                }
                result
            }
            SocketCall::Recv { .. }
            | SocketCall::Send { .. }
            | SocketCall::SendTo { .. }
            | SocketCall::SendMsg { .. }
            | SocketCall::TransmitFile { .. } => result,
        }
    }

    /// Makes a whole socket of what an accept has given, and says its number; writes the peer's
    /// address where both were.
    ///
    /// # Safety
    /// (D1) Places of the operation.
    unsafe fn accepted(
        &mut self,
        index: u32,
        addr: *mut RawAddress,
        addr_len: *mut RawAddressLen,
    ) -> i32 {
        let ongoing = &mut self.ongoing[index as usize];
        let own = ongoing.own.take().expect("made for it");
        let (level, name) = (w::SOL_SOCKET, w::SO_UPDATE_ACCEPT_CONTEXT);
        let listener = plain::socket(ongoing.fd);
        let value = (&raw const listener).cast();
        let socket = plain::socket(own.as_raw_fd());
        // SAFETY: (K1) the kernel reads a local.
        let failed = unsafe { w::setsockopt(socket, level, name, value, 8) };
        match plain::winsock_result(failed) {
            0 => {}
            error => return error,
        }
        let (mut local, mut local_len) = (ptr::null_mut(), 0);
        let (mut peer, mut peer_len) = (ptr::null_mut(), 0);
        let room = ADDRESS_ROOM;
        // SAFETY: (D1) the room that the call was given; it writes four locals.
        unsafe {
            (self.extensions.accepted_addresses)(
                addr.cast(),
                0,
                room,
                room,
                &raw mut local,
                &raw mut local_len,
                &raw mut peer,
                &raw mut peer_len,
            );
        }
        let len = usize::try_from(peer_len)
            .unwrap_or(0)
            .min(ADDRESS_ROOM as usize);
        // SAFETY: (D1) within the room, of which one part may overlap the other.
        unsafe { ptr::copy(peer.cast::<u8>(), addr.cast(), len) };
        // SAFETY: (D1) a place of the operation.
        unsafe { addr_len.write(RawAddressLen::try_from(len).expect("a few bytes")) };
        self.forget(own.as_raw_fd());
        own.into_raw_fd().into_result()
    }
}

/// A new socket of a listener's kind.
fn accepting(listener: RawFd) -> Result<OwnedFd, i32> {
    let info = plain::protocol(listener)?;
    let made = plain::new_socket(info.iAddressFamily, info.iSocketType, info.iProtocol);
    made.map_err(|error| -error.raw_os_error().unwrap_or(w::WSAEMFILE))
}

enum Ready {
    Yes,
    /// What came of it.
    Over(i32),
}

/// A stream has to be bound before it is connected; what is none never waits.
fn ready_to_connect(fd: RawFd, addr: *const RawAddress, addr_len: RawAddressLen) -> Ready {
    let socket = plain::socket(fd);
    match plain::kind_of_socket(fd) {
        Ok(w::SOCK_STREAM) => {}
        Ok(_) => {
            // SAFETY: (D1) an address that was lent.
            let failed = unsafe { w::connect(socket, addr.cast(), addr_len) };
            return Ready::Over(plain::winsock_result(failed));
        }
        Err(_) => return Ready::Over(NOT_A_SOCKET),
    }
    let any = RawAddress {
        // SAFETY: (D1) an address that was lent.
        ss_family: unsafe { (*addr).ss_family },
        ..RawAddress::default()
    };
    // SAFETY: (K1) the kernel reads a local.
    let failed = unsafe { w::bind(socket, (&raw const any).cast(), addr_len) };
    match plain::winsock_result(failed) {
        0 => Ready::Yes,
        // It is bound.
        error if error == -w::WSAEINVAL => Ready::Yes,
        error => Ready::Over(error),
    }
}
