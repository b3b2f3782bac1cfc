//! What Unix systems have in files beside this directory, for Windows.
#![allow(unsafe_code, reason = "asks the system")]

pub(crate) mod address;
pub(crate) mod afd;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod message;
mod numbers;
pub(crate) mod options;
pub(crate) mod pipe;
pub(crate) mod plain;
pub(crate) mod port;
pub(crate) mod process;

pub(crate) use self::numbers::{
    errno, msg_flags, name_flags, open_flags, pipe_flags, poll_events, signed,
};

use self::fd::RawFd;
use std::io;
use windows_sys::Win32::Foundation::GetHandleInformation;
use windows_sys::Win32::Networking::WinSock as w;

/// A number that nothing has.
pub(crate) const NO_FD: RawFd = RawFd::INVALID;

/// What a result that is no error names, if it is a handle or a socket.
pub(crate) fn fd_of(number: i32) -> RawFd {
    RawFd::from_number(number)
}

/// Its number as a message would carry it, which none does.
pub(crate) fn number_of(fd: RawFd) -> i32 {
    fd.as_word()
}

/// The current directory as a descriptor.
pub(crate) const CWD: RawFd = RawFd::CWD;

/// A part of a vectored transfer.
pub(crate) type RawIoVec = w::WSABUF;

/// No part is longer than one call takes: that fits.
pub(crate) const fn io_vec(ptr: *mut u8, len: usize) -> RawIoVec {
    assert!(
        len <= u32::MAX as usize,
        "I28: lengths are clamped to 31 bits"
    );
    #[expect(clippy::cast_possible_truncation, reason = "asserted")]
    let len = len as u32;
    RawIoVec { len, buf: ptr }
}

/// Where the bytes lie, and how many there are.
pub(crate) fn io_vec_parts(raw: &RawIoVec) -> (*mut u8, usize) {
    (raw.buf, raw.len as usize)
}

/// How many parts one call takes: as everywhere else.
pub(crate) const IOV_MAX: usize = 1024;

/// Whether a handle or a socket is open.
pub(crate) fn check_open(fd: RawFd) -> io::Result<()> {
    let Some(handle) = fd.as_handle() else {
        return plain::kind_of_socket(fd).map(drop);
    };
    let mut flags = 0;
    // SAFETY: (K1) the kernel writes a local.
    if unsafe { GetHandleInformation(handle, &raw mut flags) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How many handles the tables are made for unless said otherwise; the system's limit is far above.
pub(crate) fn open_files_max() -> usize {
    1 << 16
}

/// No program has more rights than who starts it without that being asked for.
pub(crate) fn is_privileged() -> bool {
    false
}

/// There are no signals to block.
pub(crate) struct BlockedSignals;

impl BlockedSignals {
    pub(crate) fn new() -> Self {
        Self
    }
}
