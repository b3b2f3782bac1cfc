//! Names in the file system: plain calls on a worker thread.
//!
//! Names are UTF-8. One that is relative to an open directory is looked up from the name that the
//! directory has when the call is made, for the calls of Windows take names only.
#![allow(unsafe_code, reason = "makes the calls")]

use super::attach::handle;
use super::file::{Kit, stat};
use super::{Iocp, Work, net};
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::PathCall;
use crate::sys::fd::{AsRawFd, RawFd};
use crate::sys::file::RawMetadata;
use crate::sys::keeper::Keeper as _;
use crate::sys::plain::{last_error, made, said, unsupported};
use crate::sys::signed;
use crate::sys::{CWD, name_flags, open_flags};
use std::ffi::{CStr, c_char};
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Storage::FileSystem as s;

/// Makes a call on names.
///
/// # Safety
/// (W1) What the call points to is lent to whoever calls this, until it returns.
pub(super) unsafe fn perform(dirs: [RawFd; 2], call: PathCall, kit: &mut Kit) -> i32 {
    // SAFETY: (W1) the caller's contract.
    match unsafe { try_perform(dirs, call, kit) } {
        Ok(result) | Err(result) => result,
    }
}

/// # Safety
/// (W1) As [`perform`].
unsafe fn try_perform(
    [dir, second]: [RawFd; 2],
    call: PathCall,
    kit: &mut Kit,
) -> Result<i32, i32> {
    let [name, other] = &mut kit.names;
    Ok(match call {
        PathCall::Open { path, flags, .. } => {
            // SAFETY: (W1) the path was lent.
            let name = unsafe { wide(name, dir, path) }?;
            open(name, flags)
        }
        PathCall::Unlink { path, flags, .. } => {
            // SAFETY: (W1) the path was lent.
            let name = unsafe { wide(name, dir, path) }?;
            if flags & name_flags::REMOVE_DIR != 0 {
                // SAFETY: (K1) reads a name that ends with a zero.
                said(unsafe { s::RemoveDirectoryW(name) })
            } else {
                // SAFETY: (K1) as above.
                said(unsafe { s::DeleteFileW(name) })
            }
        }
        PathCall::Rename {
            from, to, flags, ..
        } => {
            let how = match flags {
                0 => s::MOVEFILE_REPLACE_EXISTING,
                name_flags::NO_REPLACE => 0,
                _ => return Err(unsupported()),
            };
            // SAFETY: (W1) both paths were lent.
            let from = unsafe { wide(name, dir, from) }?;
            // SAFETY: (W1) as above.
            let to = unsafe { wide(other, second, to) }?;
            // SAFETY: (K1) reads names that end with zeroes.
            said(unsafe { s::MoveFileExW(from, to, how) })
        }
        PathCall::MakeDir { path, .. } => {
            // SAFETY: (W1) the path was lent.
            let name = unsafe { wide(name, dir, path) }?;
            // SAFETY: (K1) reads a name that ends with a zero.
            said(unsafe { s::CreateDirectoryW(name, ptr::null()) })
        }
        PathCall::Symlink { text, path, .. } => {
            // SAFETY: (W1) the text was lent.
            let text = unsafe { wide(name, CWD, text) }?;
            // SAFETY: (W1) the path was lent.
            let path = unsafe { wide(other, dir, path) }?;
            let how = s::SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE;
            // SAFETY: (K1) reads names that end with zeroes.
            said(i32::from(unsafe {
                s::CreateSymbolicLinkW(path, text, how)
            }))
        }
        PathCall::HardLink {
            from, to, flags, ..
        } => {
            if flags & name_flags::EMPTY_PATH != 0 {
                return Err(unsupported());
            }
            // SAFETY: (W1) both paths were lent.
            let from = unsafe { wide(name, dir, from) }?;
            // SAFETY: (W1) as above.
            let to = unsafe { wide(other, second, to) }?;
            // SAFETY: (K1) reads names that end with zeroes.
            said(unsafe { s::CreateHardLinkW(to, from, ptr::null()) })
        }
        PathCall::Stat {
            path, flags, to, ..
        } => {
            // SAFETY: (W1) the path was lent.
            let name = unsafe { wide(name, dir, path) }?;
            let link = if flags & name_flags::NO_FOLLOW != 0 {
                s::FILE_FLAG_OPEN_REPARSE_POINT
            } else {
                0
            };
            let metadata = stat_named(name, link)?;
            // SAFETY: (W1) a place in the operation, which was lent.
            unsafe { to.write(metadata) };
            0
        }
        PathCall::GetXattr { .. } | PathCall::SetXattr { .. } => unsupported(),
    })
}

/// Opens a file for overlapped calls.
fn open(name: *const u16, flags: i32) -> i32 {
    let has = |flag: i32| flags & flag != 0;
    let access = match flags & (open_flags::WRONLY | open_flags::RDWR) {
        open_flags::RDONLY => f::GENERIC_READ,
        open_flags::WRONLY => f::GENERIC_WRITE,
        _ => f::GENERIC_READ | f::GENERIC_WRITE,
    };
    let access = if has(open_flags::APPEND) {
        // All that a write asks for, but not to write over what is there.
        access & !f::GENERIC_WRITE | s::FILE_GENERIC_WRITE & !s::FILE_WRITE_DATA
    } else {
        access
    };
    let disposition = match [open_flags::CREAT, open_flags::EXCL, open_flags::TRUNC].map(has) {
        [true, true, _] => s::CREATE_NEW,
        [true, false, true] => s::CREATE_ALWAYS,
        [true, false, false] => s::OPEN_ALWAYS,
        [false, _, true] => s::TRUNCATE_EXISTING,
        [false, _, false] => s::OPEN_EXISTING,
    };
    match create(name, access, disposition, file_flags(flags)) {
        Ok(file) => made(Ok(file.into())),
        Err(error) => error,
    }
}

/// The flags of an open that are the file's own: `FILE_FLAG_…` stand in the upper half.
fn file_flags(flags: i32) -> u32 {
    const GIVEN: u32 = 0xffff_0000;
    let given = u32::from_ne_bytes(flags.to_ne_bytes()) & GIVEN;
    s::FILE_FLAG_OVERLAPPED | s::FILE_FLAG_BACKUP_SEMANTICS | given
}

/// What is known of the current directory.
pub(super) fn stat_here() -> Result<RawMetadata, i32> {
    const HERE: [u16; 2] = [0x2e, 0];
    stat_named(HERE.as_ptr(), 0)
}

fn stat_named(name: *const u16, link: u32) -> Result<RawMetadata, i32> {
    let how = s::FILE_FLAG_BACKUP_SEMANTICS | link;
    let file = create(name, s::FILE_READ_ATTRIBUTES, s::OPEN_EXISTING, how)?;
    stat(file.as_raw_fd())
}

fn create(name: *const u16, access: u32, disposition: u32, how: u32) -> Result<OwnedHandle, i32> {
    let share = s::FILE_SHARE_READ | s::FILE_SHARE_WRITE | s::FILE_SHARE_DELETE;
    let (default, nobody) = (ptr::null(), ptr::null_mut());
    // SAFETY: (K1) reads a name that ends with a zero.
    let file = unsafe { s::CreateFileW(name, access, share, default, disposition, how, nobody) };
    if file == f::INVALID_HANDLE_VALUE {
        return Err(last_error());
    }
    // SAFETY: (R1) the call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedHandle::from_raw_handle(file) })
}

/// A name as the system takes it: from the directory's, unless it begins at a root.
///
/// # Safety
/// (W1) `path` ends with a zero, and was lent.
unsafe fn wide(to: &mut [u16], dir: RawFd, path: *const c_char) -> Result<*const u16, i32> {
    const TOO_LONG: i32 = -signed(f::ERROR_FILENAME_EXCED_RANGE);
    // SAFETY: (W1) the caller's contract.
    let path = unsafe { CStr::from_ptr(path) };
    let path = path.to_str().map_err(|_| -signed(f::ERROR_INVALID_NAME))?;
    if path.is_empty() {
        return Err(-signed(f::ERROR_PATH_NOT_FOUND));
    }
    let mut len = 0;
    if dir != CWD && !is_absolute(path) {
        len = name_of(to, dir)?;
        *to.get_mut(len).ok_or(TOO_LONG)? = u16::from(b'\\');
        len += 1;
    }
    for unit in path.encode_utf16().chain([0]) {
        let slash = unit == u16::from(b'/');
        *to.get_mut(len).ok_or(TOO_LONG)? = if slash { u16::from(b'\\') } else { unit };
        len += 1;
    }
    Ok(to.as_ptr())
}

/// Whether a name begins at a root, or at that of a drive.
fn is_absolute(path: &str) -> bool {
    matches!(path.as_bytes(), [b'/' | b'\\', ..] | [_, b':', ..])
}

/// Writes the name of an open directory, without the prefix that would have the system take it as
/// it is; returns how long it is.
fn name_of(to: &mut [u16], dir: RawFd) -> Result<usize, i32> {
    // SAFETY: (K1) takes a number.
    match unsafe { s::GetFileType(handle(dir)) } {
        s::FILE_TYPE_DISK => {}
        s::FILE_TYPE_UNKNOWN => return Err(net::NOT_OPEN),
        // A socket, a pipe, a device.
        _ => return Err(-signed(f::ERROR_DIRECTORY)),
    }
    let room = u32::try_from(to.len()).expect("room for a name");
    let how = s::FILE_NAME_NORMALIZED | s::VOLUME_NAME_DOS;
    // SAFETY: (K1) the kernel writes at most so many words.
    let len = unsafe { s::GetFinalPathNameByHandleW(handle(dir), to.as_mut_ptr(), room, how) };
    if len == 0 {
        return Err(last_error());
    }
    let len = len as usize;
    if len >= to.len() {
        return Err(-signed(f::ERROR_FILENAME_EXCED_RANGE));
    }
    Ok(shorten(&mut to[..len]))
}

/// Takes from a name the prefix that would have the system take it as it is; returns how long it is
/// then.
fn shorten(name: &mut [u16]) -> usize {
    let begins = |with: &[u8]| {
        let units = with.iter().map(|unit| u16::from(*unit));
        name.len() > with.len() && units.zip(&*name).all(|(a, b)| a == *b)
    };
    // Of the prefix of a share two strokes stay.
    let longer = if begins(br"\\?\UNC\") {
        name[6] = u16::from(b'\\');
        6
    } else if begins(br"\\?\") && name.get(5) == Some(&u16::from(b':')) {
        4
    } else {
        0
    };
    name.copy_within(longer.., 0);
    name.len() - longer
}

impl Iocp {
    /// Starts a call on names.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn start_path(&mut self, core: &mut Core, index: u32, call: PathCall) {
        let place = |target: Target| {
            let (fd, slot) = self.table.resolve(target)?;
            let file = slot.and_then(|slot| self.table[slot].file());
            Some((file.map_or(fd, |file| self.table.files.fd(file)), file))
        };
        let [Some((first, held)), Some((second, other))] = call.dirs().map(place) else {
            return self.complete(core, index, net::NOT_OPEN);
        };
        let dirs = [first, second];
        // SAFETY: (D1) the caller's contract; the words are the operation's own.
        unsafe { self.perform(core, index, Work::Path { dirs, call }, [held, other], false) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_names_that_others_can_be_put_behind() {
        for (given, short) in [
            (r"\\?\C:\some\where", r"C:\some\where"),
            (r"\\?\UNC\server\share\where", r"\\server\share\where"),
            (r"\\?\Volume{0}\where", r"\\?\Volume{0}\where"),
            (r"\\?\UN", r"\\?\UN"),
            ("", ""),
        ] {
            let mut name: Vec<u16> = given.encode_utf16().collect();
            let len = shorten(&mut name);
            assert_eq!(String::from_utf16_lossy(&name[..len]), short);
        }
    }

    #[test]
    fn a_file_is_opened_past_the_cache_where_that_is_asked_for() {
        let plain = s::FILE_FLAG_OVERLAPPED | s::FILE_FLAG_BACKUP_SEMANTICS;
        assert_eq!(file_flags(open_flags::RDWR | open_flags::CREAT), plain);
        let past = file_flags(open_flags::RDWR | open_flags::DIRECT);
        assert_eq!(past, plain | s::FILE_FLAG_NO_BUFFERING);
    }
}
