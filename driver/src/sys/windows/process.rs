//! Children and what becomes of them.
#![allow(unsafe_code, reason = "system calls")]

use super::fd::{OwnedFd, RawFd};
use super::numbers::signed;
use super::plain::last_error;
use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading as t;

/// What is known of a child that has ended.
#[derive(Debug, Clone, Copy)]
pub struct RawExit {
    pid: u32,
    code: u32,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(dead_code, reason = "there are no signals")]
pub(crate) enum How {
    Exited,
    Killed,
    Dumped,
}

impl RawExit {
    pub(crate) fn empty() -> Self {
        Self { pid: 0, code: 0 }
    }

    /// Whose end it is, how it ended, and its exit code; none while it is empty.
    pub(crate) fn decode(&self) -> Option<(u32, How, i32)> {
        (self.pid != 0).then_some((self.pid, How::Exited, signed(self.code)))
    }
}

/// Opens a process by its number; no child inherits the handle.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let access = t::PROCESS_SYNCHRONIZE | t::PROCESS_QUERY_LIMITED_INFORMATION;
    // SAFETY: (K1) takes numbers.
    let handle = unsafe { t::OpenProcess(access, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (R1) the call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) }.into())
}

/// Asks without waiting what became of a process: 0, or an error, negated. `info` stays empty if it
/// runs. It can be asked again, whether it was to be kept or not.
///
/// # Safety
/// `info` can be written.
pub(crate) unsafe fn ask(fd: RawFd, info: *mut RawExit, _keep: bool) -> i32 {
    let handle = handle(fd);
    // SAFETY: (K1) takes numbers.
    match unsafe { t::WaitForSingleObject(handle, 0) } {
        WAIT_OBJECT_0 => {}
        WAIT_TIMEOUT => return 0,
        _ => return last_error(),
    }
    let mut code = 0;
    // SAFETY: (K1) the kernel writes a local.
    if unsafe { t::GetExitCodeProcess(handle, &raw mut code) } == 0 {
        return last_error();
    }
    // SAFETY: (K1) takes a number.
    let pid = unsafe { t::GetProcessId(handle) };
    // SAFETY: (K1) the caller's contract.
    unsafe { info.write(RawExit { pid, code }) };
    0
}

fn handle(fd: RawFd) -> HANDLE {
    fd.as_handle().unwrap_or(ptr::null_mut())
}
