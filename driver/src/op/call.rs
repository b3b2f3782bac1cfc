//! An operation in plain words: numbers and addresses, no types of the caller.
//!
//! This is what passes from the operations to the backends. A backend that keeps one (and a worker
//! thread that performs one) never calls back into an operation or a buffer.

use super::time::Timespec;
use crate::address::{RawAddress, RawAddressLen};
use crate::clock::Clock;
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::Key;
use crate::sys::process::RawExit;
use std::ffi::c_char;

/// The bytes that one read or write moves at most: what Linux clamps to.
pub(crate) const LEN_MAX: u32 = 0x7fff_f000;

/// Grouped by what an operation waits for, which is what a backend without a queue of the kernel's
/// has to know of it.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    Nop,
    Timeout {
        spec: *const Timespec,
        clock: Clock,
        absolute: bool,
    },
    TimeoutUpdate {
        /// The running timeout.
        of: Named,
        spec: *const Timespec,
        absolute: bool,
    },
    File {
        target: Target,
        call: FileCall,
    },
    Path(PathCall),
    Socket {
        target: Target,
        call: SocketCall,
    },
    Plain(PlainCall),
    Close {
        target: Target,
    },
    /// A submission entry of the caller's.
    Raw {
        entry: *const [u8; 64],
    },
}

/// An operation in flight, by its key.
#[derive(Debug, Clone, Copy)]
pub struct Named(pub(crate) Key);

/// On an open file: may wait for a disk.
#[derive(Debug, Clone, Copy)]
pub enum FileCall {
    Read {
        ptr: *mut u8,
        len: u32,
        offset: u64,
    },
    Write {
        ptr: *const u8,
        len: u32,
        offset: u64,
    },
}

/// On names in the file system: may wait for a disk.
#[derive(Debug, Clone, Copy)]
pub enum PathCall {
    Open {
        dir: Target,
        path: *const c_char,
        flags: i32,
        mode: u32,
    },
}

impl PathCall {
    /// Where the name is looked up.
    #[inline]
    pub(crate) fn dir(&self) -> Target {
        match *self {
            Self::Open { dir, .. } => dir,
        }
    }

    /// Whether a result that is no error is a new descriptor.
    #[cfg(readiness)]
    pub(crate) fn makes_fd(&self) -> bool {
        match self {
            Self::Open { .. } => true,
        }
    }
}

/// On a socket, or whatever tells when it is ready: may wait for its peer.
#[derive(Debug, Clone, Copy)]
pub enum SocketCall {
    Recv {
        ptr: *mut u8,
        len: u32,
        flags: i32,
    },
    Send {
        ptr: *const u8,
        len: u32,
        flags: i32,
    },
    Accept {
        addr: *mut RawAddress,
        addr_len: *mut RawAddressLen,
    },
    Connect {
        addr: *const RawAddress,
        addr_len: RawAddressLen,
    },
    Poll {
        events: u16,
    },
    WaitId {
        info: *mut RawExit,
        keep: bool,
    },
}

/// Never waits.
#[derive(Debug, Clone, Copy)]
pub enum PlainCall {
    Shutdown {
        target: Target,
        how: std::net::Shutdown,
    },
}

/// A length that the kernel takes, with progress at least 1 when there is something to move.
#[inline]
pub(crate) fn clamp_len(len: usize) -> u32 {
    match u32::try_from(len) {
        Ok(len) => len.min(LEN_MAX),
        Err(_) => LEN_MAX,
    }
}

/// An offset that no kernel takes for "the current position".
#[inline]
pub(crate) fn check_offset(offset: u64) -> Result<u64, Refusal> {
    if i64::try_from(offset).is_ok() {
        Ok(offset)
    } else {
        Err(Refusal::Offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_clamped_and_never_wrap() {
        for (len, clamped) in [
            (0, 0),
            (1, 1),
            (0x7fff_efff, 0x7fff_efff),
            (0x7fff_f000, 0x7fff_f000),
            (0x7fff_f001, 0x7fff_f000),
            (1 << 31, 0x7fff_f000),
            ((1 << 32) - 1, 0x7fff_f000),
            (1 << 32, 0x7fff_f000),
            ((1 << 32) + 1, 0x7fff_f000),
            (usize::MAX, 0x7fff_f000),
        ] {
            assert_eq!(clamp_len(len), clamped, "{len:#x}");
        }
    }

    #[test]
    fn offsets_end_at_i64_max() {
        assert_eq!(check_offset(0), Ok(0));
        assert_eq!(check_offset(i64::MAX as u64), Ok(i64::MAX as u64));
        assert_eq!(check_offset(1 << 63), Err(Refusal::Offset));
        assert_eq!(check_offset(u64::MAX), Err(Refusal::Offset));
    }
}
