//! Socket addresses as Winsock lays them out.
#![allow(unsafe_code, reason = "reads and writes the C representation")]

use crate::sys::storage::{len_of, store, view};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use windows_sys::Win32::Networking::WinSock as w;

pub(crate) use crate::sys::storage::{ROOM, bytes, family};

/// Room for an address of any family.
pub(crate) type RawAddress = w::SOCKADDR_STORAGE;
/// Its length, in bytes.
pub(crate) type RawAddressLen = i32;

pub(crate) fn zeroed() -> RawAddress {
    RawAddress::default()
}

pub(crate) fn is_unix(raw: &RawAddress) -> bool {
    raw.ss_family == w::AF_UNIX
}

/// The longest address of this family that the kernel takes.
pub(crate) fn longest(_raw: &RawAddress) -> RawAddressLen {
    ROOM
}

pub(crate) fn from_socket_addr(addr: SocketAddr) -> (RawAddress, RawAddressLen) {
    match addr {
        SocketAddr::V4(addr) => store(w::SOCKADDR_IN {
            sin_family: w::AF_INET,
            sin_port: addr.port().to_be(),
            sin_addr: w::IN_ADDR {
                S_un: w::IN_ADDR_0 {
                    S_addr: u32::from_ne_bytes(addr.ip().octets()),
                },
            },
            sin_zero: [0; 8],
        }),
        SocketAddr::V6(addr) => store(w::SOCKADDR_IN6 {
            sin6_family: w::AF_INET6,
            sin6_port: addr.port().to_be(),
            sin6_flowinfo: addr.flowinfo(),
            sin6_addr: w::IN6_ADDR {
                u: w::IN6_ADDR_0 {
                    Byte: addr.ip().octets(),
                },
            },
            Anonymous: w::SOCKADDR_IN6_0 {
                sin6_scope_id: addr.scope_id(),
            },
        }),
    }
}

pub(crate) fn to_socket_addr(raw: &RawAddress, len: RawAddressLen) -> Option<SocketAddr> {
    if raw.ss_family == w::AF_INET && len >= len_of::<w::SOCKADDR_IN>() {
        let v4: w::SOCKADDR_IN = view(raw);
        // SAFETY: (A1) any bytes are an integer.
        let ip = Ipv4Addr::from(unsafe { v4.sin_addr.S_un.S_addr }.to_ne_bytes());
        Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
    } else if raw.ss_family == w::AF_INET6 && len >= len_of::<w::SOCKADDR_IN6>() {
        let v6: w::SOCKADDR_IN6 = view(raw);
        // SAFETY: (A1) any bytes are bytes.
        let ip = Ipv6Addr::from(unsafe { v6.sin6_addr.u.Byte });
        // SAFETY: (A1) any bytes are an integer.
        let scope = unsafe { v6.Anonymous.sin6_scope_id };
        Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, scope).into())
    } else {
        None
    }
}

/// No operation here takes the address of a Unix socket.
pub(crate) fn from_path(_path: &Path) -> io::Result<(RawAddress, RawAddressLen)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn to_path(_raw: &RawAddress, _len: RawAddressLen) -> Option<PathBuf> {
    None
}

pub(crate) fn from_abstract(_name: &[u8]) -> io::Result<(RawAddress, RawAddressLen)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn to_abstract(_raw: &RawAddress, _len: RawAddressLen) -> Option<&[u8]> {
    None
}
