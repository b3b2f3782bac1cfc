//! What the tests have on Windows.

use super::Temp;
use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::path::PathBuf;
use std::ptr;
use windows_sys::Win32::Storage::FileSystem as s;
use windows_sys::Win32::System::Threading as t;

/// Error numbers, under the names that Unix has for them.
pub(crate) mod code {
    use windows_sys::Win32::Networking::WinSock as w;

    pub(crate) const EADDRINUSE: i32 = w::WSAEADDRINUSE;
    pub(crate) const EAGAIN: i32 = w::WSAEWOULDBLOCK;
    /// `ERROR_OPERATION_ABORTED`.
    pub(crate) const ECANCELED: i32 = 995;
    pub(crate) const ECONNREFUSED: i32 = w::WSAECONNREFUSED;
    pub(crate) const ECONNRESET: i32 = w::WSAECONNRESET;
    pub(crate) const EMSGSIZE: i32 = w::WSAEMSGSIZE;
    pub(crate) const ENETUNREACH: i32 = w::WSAENETUNREACH;
    pub(crate) const ENOTCONN: i32 = w::WSAENOTCONN;
    /// `ERROR_ACCESS_DENIED`: of a write to a file that was opened for reading.
    pub(crate) const NOT_FOR_WRITING: i32 = 5;
    /// Of a datagram that nobody takes.
    pub(crate) const NOBODY: i32 = w::WSAECONNRESET;
    /// Of a send to a peer that is gone.
    pub(crate) const NO_PEER: i32 = w::WSAECONNRESET;
}

/// Kills a child, which was not waited for.
pub(crate) fn kill(pid: u32) {
    // SAFETY: takes numbers.
    let process = unsafe { t::OpenProcess(t::PROCESS_TERMINATE, 0, pid) };
    assert!(!process.is_null(), "a child of this test's");
    // SAFETY: just opened, and nobody else knows it.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    // SAFETY: it is open.
    unsafe { t::TerminateProcess(process.as_raw_handle(), 1) };
}

/// The numbers of this process's handles, as far as they are those of files, pipes or sockets.
fn files() -> impl Iterator<Item = RawHandle> {
    let numbers = (4..1 << 14).step_by(4).map(ptr::without_provenance_mut);
    // SAFETY: takes a number.
    numbers.filter(|handle| unsafe { s::GetFileType(*handle) } != s::FILE_TYPE_UNKNOWN)
}

/// How many files, pipes and sockets of this process are open.
pub(crate) fn open_files() -> usize {
    files().count()
}

/// How many handles of this process are open on `temp`; other tests open others meanwhile.
pub(crate) fn open_on(temp: &Temp) -> usize {
    let name = temp.0.file_name().unwrap();
    files()
        .filter(|handle| path(*handle).file_name() == Some(name))
        .count()
}

/// The path of a file; of what has none, an empty one.
fn path(handle: RawHandle) -> PathBuf {
    let mut room = [0; 1024];
    let len = u32::try_from(room.len()).unwrap();
    // SAFETY: a place of that length.
    let len = unsafe { s::GetFinalPathNameByHandleW(handle, room.as_mut_ptr(), len, 0) };
    OsString::from_wide(&room[..len as usize]).into()
}
