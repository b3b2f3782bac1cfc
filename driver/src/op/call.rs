//! An operation in plain words: numbers and addresses, no types of the caller.
//!
//! This is what passes from the operations to the backends. A backend that keeps one (and a worker
//! thread that performs one) never calls back into an operation or a buffer.

use super::space::{Advice, Space};
use super::time::Timespec;
use crate::address::{RawAddress, RawAddressLen};
use crate::buf::IoVec;
use crate::clock::Clock;
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::Key;
use crate::sys::fd::RawFd;
use crate::sys::file::RawMetadata;
use crate::sys::message::RawMessage;
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
    Stream {
        target: Target,
        call: StreamCall,
    },
    Splice(SpliceCall),
    Socket {
        target: Target,
        call: SocketCall,
    },
    Plain(PlainCall),
    /// Waits for a wake, as long as the word is as expected.
    FutexWait {
        call: FutexCall,
        expected: u32,
    },
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
        flags: i32,
    },
    Write {
        ptr: *const u8,
        len: u32,
        offset: u64,
        flags: i32,
    },
    ReadVectored {
        places: *const IoVec,
        count: u32,
        offset: u64,
        flags: i32,
    },
    WriteVectored {
        places: *const IoVec,
        count: u32,
        offset: u64,
        flags: i32,
    },
    Sync {
        data_only: bool,
    },
    SyncRange {
        offset: u64,
        len: u32,
        flags: u32,
    },
    Truncate {
        len: u64,
    },
    Allocate {
        space: Space,
        keep_size: bool,
        offset: u64,
        len: u64,
    },
    Advise {
        advice: Advice,
        offset: u64,
        len: u64,
    },
    Stat {
        to: *mut RawMetadata,
    },
    GetXattr {
        name: *const c_char,
        ptr: *mut u8,
        len: u32,
    },
    SetXattr {
        name: *const c_char,
        ptr: *const u8,
        len: u32,
        flags: i32,
    },
}

#[cfg(readiness)]
impl FileCall {
    /// Whether it fails rather than wait for a disk.
    pub(crate) fn never_waits(&self) -> bool {
        use crate::sys::file::rw_flags::NOWAIT;
        match *self {
            Self::Read { flags, .. }
            | Self::Write { flags, .. }
            | Self::ReadVectored { flags, .. }
            | Self::WriteVectored { flags, .. } => flags & NOWAIT != 0,
            Self::Sync { .. }
            | Self::SyncRange { .. }
            | Self::Truncate { .. }
            | Self::Allocate { .. }
            | Self::Advise { .. }
            | Self::Stat { .. }
            | Self::GetXattr { .. }
            | Self::SetXattr { .. } => false,
        }
    }

    /// Whether it is about extended attributes: a FIFO has its own on a disk.
    pub(crate) fn is_on_attributes(&self) -> bool {
        match self {
            Self::GetXattr { .. } | Self::SetXattr { .. } => true,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::ReadVectored { .. }
            | Self::WriteVectored { .. }
            | Self::Sync { .. }
            | Self::SyncRange { .. }
            | Self::Truncate { .. }
            | Self::Allocate { .. }
            | Self::Advise { .. }
            | Self::Stat { .. } => false,
        }
    }
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
    Unlink {
        dir: Target,
        path: *const c_char,
        flags: i32,
    },
    Rename {
        dirs: [Target; 2],
        from: *const c_char,
        to: *const c_char,
        flags: u32,
    },
    MakeDir {
        dir: Target,
        path: *const c_char,
        mode: u32,
    },
    Symlink {
        text: *const c_char,
        dir: Target,
        path: *const c_char,
    },
    HardLink {
        dirs: [Target; 2],
        from: *const c_char,
        to: *const c_char,
        flags: i32,
    },
    Stat {
        dir: Target,
        path: *const c_char,
        flags: i32,
        to: *mut RawMetadata,
    },
    GetXattr {
        path: *const c_char,
        name: *const c_char,
        ptr: *mut u8,
        len: u32,
    },
    SetXattr {
        path: *const c_char,
        name: *const c_char,
        ptr: *const u8,
        len: u32,
        flags: i32,
    },
}

impl PathCall {
    /// Where the names are looked up: the first and the second. The current directory stands in for
    /// a directory that the call does not take.
    #[inline]
    pub(crate) fn dirs(&self) -> [Target; 2] {
        const CWD: Target = Target::Plain(crate::sys::CWD);
        match *self {
            Self::Open { dir, .. }
            | Self::Unlink { dir, .. }
            | Self::MakeDir { dir, .. }
            | Self::Symlink { dir, .. }
            | Self::Stat { dir, .. } => [dir, CWD],
            Self::Rename { dirs, .. } | Self::HardLink { dirs, .. } => dirs,
            Self::GetXattr { .. } | Self::SetXattr { .. } => [CWD; 2],
        }
    }

    /// Whether a result that is no error is a new descriptor.
    #[cfg(any(readiness, iocp))]
    pub(crate) fn makes_fd(&self) -> bool {
        match self {
            Self::Open { .. } => true,
            Self::Unlink { .. }
            | Self::Rename { .. }
            | Self::MakeDir { .. }
            | Self::Symlink { .. }
            | Self::HardLink { .. }
            | Self::Stat { .. }
            | Self::GetXattr { .. }
            | Self::SetXattr { .. } => false,
        }
    }
}

/// At the current position, or where there are none: may wait for whoever is at the other end, or
/// for a disk.
#[derive(Debug, Clone, Copy)]
pub enum StreamCall {
    Read {
        ptr: *mut u8,
        len: u32,
    },
    Write {
        ptr: *const u8,
        len: u32,
    },
    ReadVectored {
        places: *const IoVec,
        count: u32,
    },
    /// The parts have `len` bytes together.
    WriteVectored {
        places: *const IoVec,
        count: u32,
        len: u32,
    },
    #[cfg(iocp)]
    ConnectNamedPipe,
    #[cfg(iocp)]
    Disconnect,
}

/// Between two descriptors: may wait for either, or for a disk. Touches no memory.
#[cfg_attr(
    any(iocp, all(sim, not(any(io_uring, readiness)))),
    expect(dead_code, reason = "nobody has it")
)]
#[derive(Debug, Clone, Copy)]
pub struct SpliceCall {
    pub(crate) from: Target,
    pub(crate) to: Target,
    pub(crate) from_offset: Option<u64>,
    pub(crate) to_offset: Option<u64>,
    pub(crate) len: u32,
    pub(crate) more: bool,
    /// Copies, and leaves what was copied where it was.
    pub(crate) tee: bool,
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
    SendTo {
        ptr: *const u8,
        len: u32,
        flags: i32,
        addr: *const RawAddress,
        addr_len: RawAddressLen,
    },
    /// The message's parts have `len` bytes together.
    SendMsg {
        msg: *mut RawMessage,
        len: u32,
        flags: i32,
    },
    RecvMsg {
        msg: *mut RawMessage,
        len: u32,
        flags: i32,
        /// Whether there is room for control data.
        control: bool,
    },
    Poll {
        events: u16,
    },
    WaitId {
        info: *mut RawExit,
        keep: bool,
    },
    #[cfg(iocp)]
    TransmitFile {
        file: RawFd,
        offset: u64,
        len: u32,
    },
}

/// Where the pieces of a message lie. What is not there has no length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces {
    pub(crate) addr: *mut RawAddress,
    pub(crate) addr_len: RawAddressLen,
    pub(crate) places: *const IoVec,
    pub(crate) count: u32,
    pub(crate) control: *mut u8,
    pub(crate) control_len: usize,
}

/// On a word of memory that threads wait for.
#[cfg_attr(
    any(iocp, all(kqueue, not(libkqueue))),
    expect(dead_code, reason = "there are no such words")
)]
#[derive(Debug, Clone, Copy)]
pub struct FutexCall {
    pub(crate) word: *const u32,
    pub(crate) bits: u32,
    /// With other processes.
    pub(crate) shared: bool,
}

/// Never waits.
#[derive(Debug, Clone, Copy)]
pub enum PlainCall {
    Shutdown {
        target: Target,
        how: std::net::Shutdown,
    },
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
    },
    Pipe {
        flags: i32,
        /// The descriptors' numbers: to read, to write.
        ends: *mut [RawFd; 2],
    },
    Bind {
        target: Target,
        addr: *const RawAddress,
        addr_len: RawAddressLen,
    },
    Listen {
        target: Target,
        backlog: i32,
    },
    SetOption {
        target: Target,
        level: i32,
        name: i32,
        value: *const u8,
        len: u32,
    },
    GetOption {
        target: Target,
        level: i32,
        name: i32,
        value: *mut u8,
        len: u32,
    },
    FutexWake {
        call: FutexCall,
        count: i32,
    },
}

impl PlainCall {
    /// What it is directed at, if that is a descriptor.
    #[cfg(any(io_uring, readiness, iocp, sim))]
    #[inline]
    pub(crate) fn target(&self) -> Option<Target> {
        match *self {
            Self::Socket { .. } | Self::Pipe { .. } | Self::FutexWake { .. } => None,
            Self::Shutdown { target, .. }
            | Self::Bind { target, .. }
            | Self::Listen { target, .. }
            | Self::SetOption { target, .. }
            | Self::GetOption { target, .. } => Some(target),
        }
    }
}

/// A length that the kernel takes, with progress at least 1 when there is something to move.
#[inline]
pub(crate) fn clamp_len(len: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "no more than LEN_MAX")]
    let len = len.min(LEN_MAX as usize) as u32;
    len
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
