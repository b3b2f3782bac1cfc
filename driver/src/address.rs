//! Socket addresses, for what `std::net::SocketAddr` lacks.
#![allow(unsafe_code, reason = "reads the kernel's representation")]

use crate::sys::address as sys;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) use crate::sys::address::{RawAddress, RawAddressLen};

/// The address of a socket: IPv4, IPv6, Unix, or one of a family that is only passed through.
///
/// ```
/// use completeio_driver::address::Address;
/// use std::net::SocketAddr;
///
/// let local: SocketAddr = "127.0.0.1:80".parse().unwrap();
/// assert_eq!(Address::from(local).as_socket_addr(), Some(local));
///
/// let unix = Address::unix("/run/app.sock")?;
/// assert_eq!(unix.as_pathname(), Some("/run/app.sock".into()));
/// assert_eq!(unix.as_socket_addr(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Address {
    raw: RawAddress,
    len: RawAddressLen,
}

impl Address {
    /// No address: what an operation's out parameter holds before it completes.
    pub fn unspecified() -> Self {
        Self {
            raw: sys::zeroed(),
            len: 0,
        }
    }

    /// The address of a Unix socket in the file system.
    ///
    /// # Errors
    /// `InvalidInput` when the path is empty, longer than the platform takes (107 bytes on Linux), or
    /// contains a zero byte.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let (raw, len) = sys::from_path(path.as_ref())?;
        Ok(Self { raw, len })
    }

    /// Of a simulated kernel's representation.
    #[cfg(sim)]
    pub(crate) fn from_raw((raw, len): (RawAddress, RawAddressLen)) -> Self {
        Self { raw, len }
    }

    /// The IPv4 or IPv6 address, if it is one.
    pub fn as_socket_addr(&self) -> Option<SocketAddr> {
        sys::to_socket_addr(&self.raw, self.len)
    }

    /// The path of a Unix socket that has one.
    pub fn as_pathname(&self) -> Option<PathBuf> {
        sys::to_path(&self.raw, self.len)
    }

    /// The address family: `AF_…`.
    pub fn family(&self) -> i32 {
        sys::family(&self.raw)
    }

    /// Its length in the kernel's representation, in bytes.
    pub(crate) fn len(&self) -> RawAddressLen {
        self.len
    }

    /// Gives the kernel the whole room to write an address into.
    pub(crate) fn make_room(&mut self) {
        self.len = sys::ROOM;
    }

    /// Whether it is that of a Unix socket.
    #[inline]
    pub(crate) fn is_unix(&self) -> bool {
        sys::is_unix(&self.raw)
    }

    /// Notes how long an address is, as the kernel says that wrote it; nothing is no address.
    pub(crate) fn set_len(&mut self, len: RawAddressLen) {
        match len {
            0 => *self = Self::unspecified(),
            len => self.len = len.min(sys::longest(&self.raw)),
        }
    }

    /// Where the kernel reads or writes address and length.
    ///
    /// # Safety
    /// `this` is valid.
    pub(crate) unsafe fn parts(this: *mut Self) -> (*mut RawAddress, *mut RawAddressLen) {
        // SAFETY: (D2) the caller's contract; only the field's address is taken.
        let raw = unsafe { &raw mut (*this).raw };
        // SAFETY: (D2) as above.
        let len = unsafe { &raw mut (*this).len };
        (raw, len)
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        let (raw, len) = sys::from_socket_addr(addr);
        Self { raw, len }
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        sys::bytes(&self.raw, self.len) == sys::bytes(&other.raw, other.len)
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.as_socket_addr(), self.as_pathname()) {
            (Some(addr), _) => write!(f, "{addr}"),
            (None, Some(path)) => write!(f, "{}", path.display()),
            (None, None) => write!(f, "(family {})", self.family()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn internet_addresses_survive_the_round_trip() {
        for text in [
            "127.0.0.1:0",
            "255.1.2.3:65535",
            "[::1]:80",
            "[fe80::1%3]:9",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::from(addr).as_socket_addr(), Some(addr));
            assert_eq!(Address::from(addr).as_pathname(), None);
        }
    }

    #[test]
    fn paths_have_a_limit() {
        assert!(Address::unix("x".repeat(107)).is_ok());
        assert!(Address::unix("x".repeat(108)).is_err());
        assert!(Address::unix("a\0b").is_err());
        let empty = Address::unix("").unwrap_err();
        assert!(empty.to_string().contains("1 to 107 bytes"), "{empty}");
    }

    #[test]
    fn addresses_are_equal_by_their_bytes() {
        // Abstract names have neither a path nor an internet address to go by.
        let [a, b] = [b'a', b'b'].map(|name| {
            let mut addr = Address::unix("/").unwrap();
            let path = (&raw mut addr.raw).cast::<u8>().wrapping_add(2);
            // SAFETY: (A1) within the storage: two bytes of family come before the name.
            unsafe { path.cast::<[u8; 2]>().write([0, name]) };
            addr.len = 4;
            addr
        });
        assert_eq!(a.as_pathname(), None);
        assert!(a == a && a != b && a != Address::unspecified());
        let internet = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(internet == internet && internet != a);
    }

    #[test]
    fn the_unspecified_address_is_nothing() {
        let none = Address::unspecified();
        assert_eq!((none.as_socket_addr(), none.as_pathname()), (None, None));
    }
}
