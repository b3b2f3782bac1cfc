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
    /// `InvalidInput` when the path is empty, longer than the platform takes (107 bytes on Linux),
    /// or contains a zero byte.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let (raw, len) = sys::from_path(path.as_ref())?;
        Ok(Self { raw, len })
    }

    /// The address of a Unix socket outside of the file system: any bytes, which nobody has to
    /// remove.
    ///
    /// # Errors
    /// `InvalidInput` when the name is longer than the platform takes (107 bytes), `Unsupported` on
    /// all platforms but Linux.
    ///
    /// ```
    /// use completeio_driver::address::Address;
    ///
    /// let address = Address::unix_abstract("app")?;
    /// assert_eq!(address.as_abstract_name(), Some(&b"app"[..]));
    /// assert_eq!(address.as_pathname(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unix_abstract(name: impl AsRef<[u8]>) -> io::Result<Self> {
        let (raw, len) = sys::from_abstract(name.as_ref())?;
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

    /// The name of a Unix socket outside of the file system, if it has one.
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        sys::to_abstract(&self.raw, self.len)
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
        if let Some(addr) = self.as_socket_addr() {
            write!(f, "{addr}")
        } else if let Some(path) = self.as_pathname() {
            write!(f, "{}", path.display())
        } else if let Some(name) = self.as_abstract_name() {
            write!(f, "@{}", name.escape_ascii())
        } else {
            write!(f, "(family {})", self.family())
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Addresses as kernels write them.
#[cfg(all(unix, any(test, fuzzing)))]
pub(crate) mod written {
    use super::*;
    use std::ffi::OsStr;
    use std::net::{Ipv6Addr, SocketAddrV6};
    use std::os::unix::ffi::OsStrExt;

    /// Whatever a kernel writes, and however long it says that is (the first two bytes), is the
    /// address that socket.h has there, or none.
    pub fn check(bytes: &[u8]) {
        let Some((said, bytes)) = bytes.split_first_chunk() else {
            return;
        };
        let said = RawAddressLen::from(u16::from_le_bytes(*said));
        let mut storage = [0; 128];
        let filled = bytes.len().min(storage.len());
        storage[..filled].copy_from_slice(&bytes[..filled]);
        let mut address = Address::unspecified();
        address.make_room();
        // SAFETY: (A1) as many bytes as the storage has, any of which are one.
        unsafe { (&raw mut address.raw).cast::<[u8; 128]>().write(storage) };
        address.set_len(said);

        if said == 0 {
            storage.fill(0);
        }
        let at = |from: usize| storage.split_at(from).1;
        let family = i32::from(u16::from_ne_bytes([storage[0], storage[1]]));
        let port = u16::from_be_bytes([storage[2], storage[3]]);
        let word = |from| u32::from_ne_bytes(*at(from).first_chunk().expect("within the storage"));
        let socket_addr = match family {
            libc::AF_INET if said >= 16 => Some(SocketAddr::from((word(4).to_ne_bytes(), port))),
            libc::AF_INET6 if said >= 28 => {
                let ip: [u8; 16] = *at(8).first_chunk().expect("within the storage");
                Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, word(4), word(24)).into())
            }
            _ => None,
        };
        let longest = if family == libc::AF_UNIX { 110 } else { 128 };
        let said = usize::try_from(said).expect("16 bits").min(longest);
        let name = storage[..said].get(2..).unwrap_or_default();
        let path = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let path = (family == libc::AF_UNIX && !path.is_empty()).then(|| OsStr::from_bytes(path));

        assert_eq!(address.family(), family);
        assert_eq!(address.len() as usize, said);
        assert_eq!(address.as_socket_addr(), socket_addr);
        assert_eq!(address.as_pathname().as_deref(), path.map(Path::new));
        let shown = match (socket_addr, path) {
            (Some(addr), _) => addr.to_string(),
            (None, Some(path)) => Path::new(path).display().to_string(),
            (None, None) => match name.split_first() {
                Some((0, name)) if family == libc::AF_UNIX => format!("@{}", name.escape_ascii()),
                _ => format!("(family {family})"),
            },
        };
        assert_eq!(address.to_string(), shown);
        let again = match (socket_addr, path) {
            (Some(addr), _) => Address::from(addr),
            (None, Some(path)) if path.len() < 108 => Address::unix(path).expect("it fits"),
            _ => address,
        };
        let same = |a: &Address| (a.as_socket_addr(), a.as_pathname(), a.family());
        assert_eq!(same(&again), same(&address), "made again");
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::fuzzing::noise;

    #[test]
    fn whatever_a_kernel_writes() {
        for round in 0_u8..if cfg!(miri) { 60 } else { 240 } {
            let mut bytes = noise(round.into(), 2 + 128);
            bytes[..2].copy_from_slice(&[round, 0]);
            // A family that is known, and names of any length.
            bytes[2..4].copy_from_slice(&[[1, 10, 2, 77][usize::from(round % 4)], 0]);
            bytes[4 + usize::from(round / 2)..].fill(0);
            written::check(&bytes);
        }
        written::check(&[]);
        written::check(&[255, 255, 1, 0]);
    }

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
        let [a, b] = ["a", "b"].map(|name| Address::unix_abstract(name).unwrap());
        assert_eq!(a.as_pathname(), None);
        assert!(a == a && a != b && a != Address::unspecified());
        let internet = Address::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(internet == internet && internet != a);
    }

    #[test]
    fn abstract_names_are_any_bytes_up_to_a_limit() {
        for name in [&b""[..], b"\0a\0", &[b'x'; 107]] {
            let addr = Address::unix_abstract(name).unwrap();
            assert_eq!(addr.as_abstract_name(), Some(name));
        }
        let long = Address::unix_abstract([b'x'; 108]).unwrap_err();
        assert!(long.to_string().contains("at most 107 bytes"), "{long}");
        let path = Address::unix("/a").unwrap();
        assert_eq!(path.as_abstract_name(), None);
        assert_eq!(Address::unspecified().as_abstract_name(), None);
    }

    #[test]
    fn the_unspecified_address_is_nothing() {
        let none = Address::unspecified();
        assert_eq!((none.as_socket_addr(), none.as_pathname()), (None, None));
    }
}
