//! Socket addresses as the platform's C library lays them out.
#![allow(unsafe_code, reason = "reads and writes the C representation")]

use super::storage::{len_of, store, view};
use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) use super::storage::{ROOM, bytes, family};

/// Room for an address of any family.
pub(crate) type RawAddress = libc::sockaddr_storage;
/// Its length, in bytes.
pub(crate) type RawAddressLen = libc::socklen_t;

pub(crate) fn zeroed() -> RawAddress {
    // SAFETY: (A1) a `sockaddr_storage` is integers and bytes: all zeroes are one.
    unsafe { std::mem::zeroed() }
}

pub(crate) fn is_unix(raw: &RawAddress) -> bool {
    family(raw) == libc::AF_UNIX
}

/// The longest address of this family that the kernel takes. It gives longer ones: a Unix path that
/// fills its room counts a zero behind it.
pub(crate) fn longest(raw: &RawAddress) -> RawAddressLen {
    if is_unix(raw) {
        len_of::<libc::sockaddr_un>()
    } else {
        ROOM
    }
}

pub(crate) fn from_socket_addr(addr: SocketAddr) -> (RawAddress, RawAddressLen) {
    match addr {
        SocketAddr::V4(addr) => {
            let mut v4: libc::sockaddr_in = view(&zeroed());
            v4.sin_family = sa_family(libc::AF_INET);
            v4.sin_port = addr.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(addr.ip().octets());
            store(v4)
        }
        SocketAddr::V6(addr) => {
            let mut v6: libc::sockaddr_in6 = view(&zeroed());
            v6.sin6_family = sa_family(libc::AF_INET6);
            v6.sin6_port = addr.port().to_be();
            v6.sin6_addr.s6_addr = addr.ip().octets();
            v6.sin6_flowinfo = addr.flowinfo();
            v6.sin6_scope_id = addr.scope_id();
            store(v6)
        }
    }
}

pub(crate) fn to_socket_addr(raw: &RawAddress, len: RawAddressLen) -> Option<SocketAddr> {
    if family(raw) == libc::AF_INET && len >= len_of::<libc::sockaddr_in>() {
        let v4: libc::sockaddr_in = view(raw);
        let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
        Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
    } else if family(raw) == libc::AF_INET6 && len >= len_of::<libc::sockaddr_in6>() {
        let v6: libc::sockaddr_in6 = view(raw);
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
        let port = u16::from_be(v6.sin6_port);
        Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
    } else {
        None
    }
}

const PATH_AT: usize = offset_of!(libc::sockaddr_un, sun_path);
const PATH_ROOM: usize = size_of::<libc::sockaddr_un>() - PATH_AT;

pub(crate) fn from_path(path: &Path) -> io::Result<(RawAddress, RawAddressLen)> {
    let bytes = path.as_os_str().as_bytes();
    // No path is no name, and a zero at its beginning makes it one outside of the file system.
    if bytes.is_empty() || bytes.len() >= PATH_ROOM || bytes.contains(&0) {
        let longest = PATH_ROOM - 1;
        let why = format!("the path of a Unix socket has 1 to {longest} bytes, none of them zero");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut unix: libc::sockaddr_un = view(&zeroed());
    unix.sun_family = sa_family(libc::AF_UNIX);
    for (to, from) in unix.sun_path.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let (raw, all) = store(unix);
    // With the zero behind it, as the kernel gives it.
    let spare = PATH_ROOM - bytes.len() - 1;
    Ok((
        raw,
        all - RawAddressLen::try_from(spare).expect("108 bytes at most"),
    ))
}

pub(crate) fn to_path(raw: &RawAddress, len: RawAddressLen) -> Option<PathBuf> {
    if !is_unix(raw) {
        return None;
    }
    let unix: libc::sockaddr_un = view(raw);
    let named = usize::try_from(len)
        .ok()?
        .checked_sub(PATH_AT)?
        .min(PATH_ROOM);
    let bytes: Vec<u8> = unix.sun_path[..named]
        .iter()
        .map_while(|c| (*c != 0).then(|| c.to_ne_bytes()[0]))
        .collect();
    (!bytes.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&bytes)))
}

/// Whether names of Unix sockets may begin with a zero, and are none of the file system's then.
const ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

pub(crate) fn from_abstract(name: &[u8]) -> io::Result<(RawAddress, RawAddressLen)> {
    if !ABSTRACT_NAMES {
        return Err(io::ErrorKind::Unsupported.into());
    }
    if name.len() >= PATH_ROOM {
        let longest = PATH_ROOM - 1;
        let why = format!("the abstract name of a Unix socket has at most {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(from_unix_name(&[&[0], name].concat()))
}

pub(crate) fn to_abstract(raw: &RawAddress, len: RawAddressLen) -> Option<&[u8]> {
    if !(ABSTRACT_NAMES && is_unix(raw)) {
        return None;
    }
    to_unix_name(raw, len).strip_prefix(&[0])
}

/// What names a Unix socket: a path, or a name that begins with a zero.
pub(crate) fn to_unix_name(raw: &RawAddress, len: RawAddressLen) -> &[u8] {
    bytes(raw, len).get(PATH_AT..).unwrap_or(&[])
}

/// The same as an address; what does not fit is cut off.
pub(crate) fn from_unix_name(name: &[u8]) -> (RawAddress, RawAddressLen) {
    let mut unix: libc::sockaddr_un = view(&zeroed());
    unix.sun_family = sa_family(libc::AF_UNIX);
    for (to, from) in unix.sun_path.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let len = PATH_AT + name.len().min(PATH_ROOM);
    (
        store(unix).0,
        RawAddressLen::try_from(len).expect("108 bytes at most"),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "families are small positive numbers"
)]
fn sa_family(family: i32) -> libc::sa_family_t {
    family as libc::sa_family_t
}
