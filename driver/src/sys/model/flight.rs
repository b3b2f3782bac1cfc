//! What a model has in flight, and how it touches that.

use super::Random;
use crate::address::{RawAddress, RawAddressLen};
use crate::fd::Target;
use crate::key::{Class, Key};
use crate::op::Timespec;
use crate::op::call::{Call, FileCall, PathCall, SocketCall};
use crate::sys::address::{ROOM, from_socket_addr};
use crate::sys::{Which, errno, msg_flags};
use std::ffi::c_char;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a read or a receive gives.
pub(crate) const FILL: u8 = b'x';

/// A timeout as long as this one never fires.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What a model knows of operations, in plain words.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Nop,
    Timeout {
        spec: *const Timespec,
    },
    Read {
        ptr: *mut u8,
        len: u32,
    },
    Recv {
        ptr: *mut u8,
        len: u32,
        flags: i32,
    },
    /// Or a send.
    Write {
        ptr: *const u8,
        len: u32,
    },
    Accept {
        addr: *mut RawAddress,
        addr_len: *mut RawAddressLen,
    },
    Connect {
        addr: *const RawAddress,
        addr_len: RawAddressLen,
    },
    Open {
        path: *const c_char,
    },
    Close {
        target: Target,
    },
}

impl Act {
    /// `None` for what a model does not know.
    pub(super) fn of(call: Call) -> Option<Self> {
        Some(match call {
            Call::Nop => Self::Nop,
            Call::Timeout { spec, .. } => Self::Timeout { spec },
            Call::File { call, .. } => match call {
                FileCall::Read { ptr, len, .. } => Self::Read { ptr, len },
                FileCall::Write { ptr, len, .. } => Self::Write { ptr, len },
                _ => return None,
            },
            Call::Path(PathCall::Open { path, .. }) => Self::Open { path },
            Call::Socket { call, .. } => match call {
                SocketCall::Recv { ptr, len, flags } => Self::Recv { ptr, len, flags },
                SocketCall::Send { ptr, len, .. } => Self::Write { ptr, len },
                SocketCall::Accept { addr, addr_len } => Self::Accept { addr, addr_len },
                SocketCall::Connect { addr, addr_len } => Self::Connect { addr, addr_len },
                _ => return None,
            },
            Call::Close { target } => Self::Close { target },
            _ => return None,
        })
    }
}

/// An operation in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) key: Key,
    act: Act,
    /// What the kernel has read when it was handed over.
    read: u64,
    /// After how many turns it completes; `None`: not before it is cancelled.
    pub(super) left: Option<u32>,
    pub(super) cancelled: bool,
    /// Whether it has given a completion with more to follow, which none may overtake.
    pub(super) shot: bool,
}

impl Flight {
    /// # Safety
    /// (D1) The operation of `act` is where it was when it was described.
    pub(super) unsafe fn start(key: Key, act: Act, random: &mut Random) -> Self {
        let pends = match act {
            // SAFETY: (D1) the caller's contract.
            Act::Timeout { spec, .. } => Duration::from(unsafe { spec.read() }) >= HOUR,
            Act::Recv { flags, .. } => flags & msg_flags::OOB != 0,
            Act::Accept { .. } => random.once_in(2),
            _ => false,
        };
        Self {
            key,
            act,
            // SAFETY: (D1) the caller's contract.
            read: unsafe { read(&act) },
            left: (!pends).then(|| random.below(4)),
            cancelled: false,
            shot: false,
        }
    }

    /// Reads and writes all that the kernel may.
    ///
    /// # Safety
    /// (D1) The operation is in flight, and where it was.
    pub(super) unsafe fn touch(&self, random: &mut Random) {
        // SAFETY: (D1) the caller's contract.
        let read = unsafe { read(&self.act) };
        assert_eq!(read, self.read, "D1: it was touched in flight");
        let [noise, ..] = random.below(256).to_le_bytes();
        // SAFETY: (D1) the caller's contract.
        unsafe { write(&self.act, noise) };
    }

    /// Does what it is for, and gives its result.
    ///
    /// # Safety
    /// (D1) As [`touch`](Self::touch).
    pub(super) unsafe fn perform(&self, random: &mut Random, source: &OwnedFd) -> i32 {
        let mut some_of = |len: u32| if len == 0 { 0 } else { 1 + random.below(len) };
        match self.act {
            Act::Nop | Act::Connect { .. } => 0,
            Act::Timeout { .. } => -errno::ETIME,
            Act::Read { ptr, len, .. } | Act::Recv { ptr, len, .. } => {
                let n = some_of(len);
                // SAFETY: (D1) lent for writing, and no more of it.
                unsafe { ptr.write_bytes(FILL, n as usize) };
                count(n)
            }
            Act::Write { len, .. } => count(some_of(len)),
            Act::Accept { addr, addr_len } => {
                let (peer, len) = from_socket_addr(([127, 0, 0, 1], 7).into());
                // SAFETY: (D1) lent for writing.
                unsafe { addr.write(peer) };
                // SAFETY: (D1) lent for writing.
                unsafe { addr_len.write(len) };
                copy(source)
            }
            Act::Open { .. } => copy(source),
            Act::Close { target } => {
                let Target::Plain(fd) = target else {
                    unreachable!("nothing is registered with a model")
                };
                // SAFETY: (I16) given up by the operation, and closed here and once.
                unsafe { libc::close(fd) }
            }
        }
    }

    pub(super) fn is_named(&self, which: Which) -> bool {
        match which {
            Which::Raw(key) => self.key.without_fd() == key,
            Which::Key(key) => self.key == key,
            Which::Target(_) => unreachable!("no test of the model asks for it"),
            Which::All => true,
        }
    }

    pub(super) fn is_cancellable(&self) -> bool {
        !matches!(self.act, Act::Close { .. })
    }

    /// Whether it gives several completions: the safe layer alone is to be asked for that.
    pub(super) fn is_multishot(&self) -> bool {
        matches!(self.act, Act::Recv { .. }) && self.key.class() == Class::Head
    }
}

fn copy(source: &OwnedFd) -> RawFd {
    source.try_clone().expect("a descriptor").into_raw_fd()
}

fn count(n: u32) -> i32 {
    i32::try_from(n).expect("a length that the kernel takes")
}

/// Reads all that the kernel may read of an operation; the same bytes give the same number.
///
/// # Safety
/// (D1) The operation is in flight, and where it was.
unsafe fn read(act: &Act) -> u64 {
    let (at, len): (*const u8, usize) = match *act {
        Act::Timeout { spec, .. } => (spec.cast(), size_of::<Timespec>()),
        Act::Write { ptr, len } => (ptr, len as usize),
        Act::Connect { addr, addr_len, .. } => (addr.cast(), addr_len as usize),
        Act::Open { path, .. } => {
            let mut len = 0;
            // SAFETY: (D1) lent for reading, up to the zero that ends it.
            while unsafe { path.wrapping_add(len).read() } != 0 {
                len += 1;
            }
            (path.cast(), len)
        }
        Act::Nop | Act::Read { .. } | Act::Recv { .. } | Act::Accept { .. } | Act::Close { .. } => {
            return 0;
        }
    };
    (0..len).fold(0, |sum: u64, i| {
        // SAFETY: (D1) lent for reading, and initialised.
        let byte = unsafe { at.wrapping_add(i).read() };
        sum.wrapping_mul(31).wrapping_add(byte.into())
    })
}

/// Writes `noise` to all that the kernel may write of an operation.
///
/// # Safety
/// (D1) The operation is in flight, and where it was.
unsafe fn write(act: &Act, noise: u8) {
    match *act {
        Act::Read { ptr, len, .. } | Act::Recv { ptr, len, .. } => {
            // SAFETY: (D1) lent for writing.
            unsafe { ptr.write_bytes(noise, len as usize) };
        }
        Act::Accept { addr, addr_len } => {
            let addr: *mut RawAddress = addr;
            // SAFETY: (D1, A1) lent for writing, and any bytes are an address.
            unsafe { addr.write_bytes(noise, 1) };
            // SAFETY: (D1) lent for writing.
            unsafe { addr_len.write(RawAddressLen::from(noise).min(ROOM)) };
        }
        Act::Nop
        | Act::Timeout { .. }
        | Act::Write { .. }
        | Act::Connect { .. }
        | Act::Open { .. }
        | Act::Close { .. } => {}
    }
}
