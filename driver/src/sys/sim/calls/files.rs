//! Operations on files, on names, and at a current position.
#![allow(unsafe_code, reason = "follows the addresses of operations in flight")]

use super::super::descriptors::{DescriptorId, Object};
use super::super::errno::{Errno, Result};
use super::super::fs::{Fs, Inode, ROOT};
use super::super::lent;
use super::super::world::{HostId, State};
use super::{count, some_of};
use crate::op::call::{FileCall, PathCall, StreamCall};
use crate::sys::file::{RawMetadata, rw_flags};
use crate::sys::name_flags::EMPTY_PATH;
use std::ffi::c_char;
use std::os::fd::IntoRawFd;

/// A file that was opened, with the flags that stay with it.
#[derive(Clone, Copy)]
struct Opened {
    host: HostId,
    inode: Inode,
    flags: i32,
}

/// # Safety
/// (D1) The operation is in flight, and where it was.
pub(super) unsafe fn perform(
    state: &mut State,
    host: HostId,
    object: Object,
    call: FileCall,
) -> Result<i32> {
    let Object::File { inode, flags } = object else {
        return on_no_file(call);
    };
    let file = Opened { host, inode, flags };
    let now = state.now();
    match call {
        FileCall::Read {
            ptr, len, offset, ..
        } => {
            let bytes = file.read(state, offset, len as usize)?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::write(ptr, &bytes) };
            Ok(count(bytes.len()))
        }
        FileCall::ReadVectored {
            places,
            count: n,
            offset,
            ..
        } => {
            // SAFETY: (D1) the caller's contract.
            let places = unsafe { lent::places(places, n as usize) };
            let bytes = file.read(state, offset, lent::room(&places))?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::scatter(&places, &bytes) };
            Ok(count(bytes.len()))
        }
        FileCall::Write {
            ptr,
            len,
            offset,
            flags,
        } => {
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::read(ptr, len as usize) };
            file.write(state, offset, &bytes, flags).map(|(n, _)| n)
        }
        FileCall::WriteVectored {
            places,
            count: n,
            offset,
            flags,
        } => {
            // SAFETY: (D1) the caller's contract.
            let places = unsafe { lent::places(places, n as usize) };
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::gather(&places) };
            file.write(state, offset, &bytes, flags).map(|(n, _)| n)
        }
        FileCall::Sync { data_only } => {
            state.fs(host).sync(inode, data_only);
            Ok(0)
        }
        FileCall::SyncRange { offset, len, flags } => {
            Fs::sync_range(offset, len.into(), flags).map(|()| 0)
        }
        FileCall::Truncate { len } => {
            // Where write(2) says EBADF, ftruncate(2) says so.
            file.is_for_writing().or(Err(Errno(libc::EINVAL)))?;
            state.fs(host).truncate(inode, len, now).map(|()| 0)
        }
        FileCall::Allocate {
            space,
            keep_size,
            offset,
            len,
        } => {
            file.is_for_writing()?;
            let fs = state.fs(host);
            fs.allocate(inode, space, keep_size, offset, len, now)
                .map(|()| 0)
        }
        FileCall::Advise { .. } => Ok(0),
        FileCall::Stat { to } => {
            let metadata = RawMetadata::simulated(&state.fs(host).stat(inode));
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::put(to, metadata) };
            Ok(0)
        }
        FileCall::GetXattr { name, ptr, len } => {
            // SAFETY: (D1) the caller's contract.
            unsafe { get_xattr(state.fs(host), inode, name, ptr, len) }
        }
        FileCall::SetXattr {
            name,
            ptr,
            len,
            flags,
        } => {
            // SAFETY: (D1) the caller's contract.
            let name = unsafe { lent::name(name) };
            // SAFETY: (D1) the caller's contract.
            let value = unsafe { lent::read(ptr, len as usize) };
            let fs = state.fs(host);
            fs.set_xattr(inode, &name, &value, flags, now).map(|()| 0)
        }
    }
}

/// What has no positions.
fn on_no_file(call: FileCall) -> Result<i32> {
    Err(Errno(match call {
        FileCall::Read { .. }
        | FileCall::Write { .. }
        | FileCall::ReadVectored { .. }
        | FileCall::WriteVectored { .. }
        | FileCall::SyncRange { .. }
        | FileCall::Allocate { .. }
        | FileCall::Advise { .. } => libc::ESPIPE,
        FileCall::Sync { .. } | FileCall::Truncate { .. } => libc::EINVAL,
        FileCall::Stat { .. } | FileCall::GetXattr { .. } | FileCall::SetXattr { .. } => {
            libc::EOPNOTSUPP
        }
    }))
}

/// On names; `dirs` are where the first and the second are looked up.
///
/// # Safety
/// (D1) The operation is in flight, and where it was.
pub(super) unsafe fn perform_path(
    state: &mut State,
    host: HostId,
    [first, second]: [Inode; 2],
    call: PathCall,
) -> Result<i32> {
    let now = state.now();
    // SAFETY: (D1) the caller's contract: each is a string that was lent.
    let text = |ptr: *const c_char| unsafe { lent::name(ptr) };
    match call {
        PathCall::Open {
            path, flags, mode, ..
        } => return open(state, host, first, &text(path), flags, mode),
        PathCall::Unlink { path, flags, .. } => {
            let path = text(path);
            match state.fs(host).unlink(first, &path, flags, now) {
                // The name of a Unix socket is no file here.
                Err(Errno(libc::ENOENT)) if flags == 0 && state.net.unlink(host, &path) => {}
                result => result?,
            }
        }
        PathCall::Rename {
            from, to, flags, ..
        } => {
            let [from, to] = [text(from), text(to)];
            let fs = state.fs(host);
            fs.rename((first, &from), (second, &to), flags, now)?;
        }
        PathCall::MakeDir { path, mode, .. } => {
            state.fs(host).mkdir(first, &text(path), mode, now)?;
        }
        PathCall::Symlink {
            text: target, path, ..
        } => {
            let [target, path] = [text(target), text(path)];
            state.fs(host).symlink(&target, first, &path, now)?;
        }
        PathCall::HardLink {
            from, to, flags, ..
        } => {
            let [from, to] = [text(from), text(to)];
            let fs = state.fs(host);
            fs.hard_link((first, &from), (second, &to), flags, now)?;
        }
        PathCall::Stat {
            path, flags, to, ..
        } => {
            let path = text(path);
            let fs = state.fs(host);
            let inode = if path.is_empty() && flags & EMPTY_PATH != 0 {
                first
            } else {
                fs.find(first, &path, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?
            };
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::put(to, RawMetadata::simulated(&fs.stat(inode))) };
        }
        PathCall::GetXattr {
            path,
            name,
            ptr,
            len,
        } => {
            let fs = state.fs(host);
            let inode = fs.find(ROOT, &text(path), true)?;
            // SAFETY: (D1) the caller's contract.
            return unsafe { get_xattr(fs, inode, name, ptr, len) };
        }
        PathCall::SetXattr {
            path,
            name,
            ptr,
            len,
            flags,
        } => {
            // SAFETY: (D1) the caller's contract.
            let value = unsafe { lent::read(ptr, len as usize) };
            let fs = state.fs(host);
            let inode = fs.find(ROOT, &text(path), true)?;
            fs.set_xattr(inode, &text(name), &value, flags, now)?;
        }
    }
    Ok(0)
}

fn open(
    state: &mut State,
    host: HostId,
    dir: Inode,
    path: &[u8],
    flags: i32,
    mode: u32,
) -> Result<i32> {
    let now = state.now();
    let inode = state.fs(host).open(dir, path, flags, mode, now)?;
    state.fs(host).retain(inode);
    match state.descriptors.make(host, Object::File { inode, flags }) {
        Ok(fd) => Ok(fd.into_raw_fd()),
        Err(errno) => {
            state.fs(host).release(inode);
            Err(errno)
        }
    }
}

/// # Safety
/// (D1) The name is lent for reading, and `len` bytes for writing.
unsafe fn get_xattr(
    fs: &Fs,
    inode: Inode,
    name: *const c_char,
    ptr: *mut u8,
    len: u32,
) -> Result<i32> {
    // SAFETY: (D1) the caller's contract.
    let name = unsafe { lent::name(name) };
    let value = fs.get_xattr(inode, &name, len as usize)?;
    if len > 0 {
        // SAFETY: (D1) the caller's contract; it is no longer than the room.
        unsafe { lent::write(ptr, value) };
    }
    Ok(count(value.len()))
}

/// At the current position of a file, or on what has none.
///
/// # Safety
/// (D1) The operation is in flight, and where it was.
pub(super) unsafe fn perform_stream(
    state: &mut State,
    host: HostId,
    id: DescriptorId,
    call: StreamCall,
) -> Result<i32> {
    match call {
        StreamCall::Read { ptr, len } => {
            let bytes = read(state, host, id, len as usize)?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::write(ptr, &bytes) };
            Ok(count(bytes.len()))
        }
        StreamCall::ReadVectored { places, count: n } => {
            // SAFETY: (D1) the caller's contract.
            let places = unsafe { lent::places(places, n as usize) };
            let bytes = read(state, host, id, lent::room(&places))?;
            // SAFETY: (D1) the caller's contract.
            unsafe { lent::scatter(&places, &bytes) };
            Ok(count(bytes.len()))
        }
        StreamCall::WriteVectored {
            places, count: n, ..
        } => {
            // SAFETY: (D1) the caller's contract.
            let places = unsafe { lent::places(places, n as usize) };
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::gather(&places) };
            write(state, host, id, &bytes)
        }
        StreamCall::Write { ptr, len } => {
            // SAFETY: (D1) the caller's contract.
            let bytes = unsafe { lent::read(ptr, len as usize) };
            write(state, host, id, &bytes)
        }
    }
}

fn read(state: &mut State, host: HostId, id: DescriptorId, len: usize) -> Result<Vec<u8>> {
    let position = *state.descriptors.position(id);
    match state.descriptors.object(id) {
        Object::Socket(socket) => {
            let len = some_of(state, len);
            state.net.read(socket, len)
        }
        Object::File { inode, flags } => {
            let bytes = Opened { host, inode, flags }.read(state, position, len)?;
            *state.descriptors.position(id) += bytes.len() as u64;
            Ok(bytes)
        }
    }
}

fn write(state: &mut State, host: HostId, id: DescriptorId, bytes: &[u8]) -> Result<i32> {
    let position = *state.descriptors.position(id);
    match state.descriptors.object(id) {
        Object::Socket(socket) => {
            let len = some_of(state, bytes.len());
            state.net.write(socket, &bytes[..len]).map(count)
        }
        Object::File { inode, flags } => {
            let (written, end) = Opened { host, inode, flags }.write(state, position, bytes, 0)?;
            *state.descriptors.position(id) = end;
            Ok(written)
        }
    }
}

impl Opened {
    fn read(self, state: &mut State, offset: u64, len: usize) -> Result<Vec<u8>> {
        if self.flags & libc::O_ACCMODE == libc::O_WRONLY {
            return Err(Errno(libc::EBADF));
        }
        let len = some_of(state, len);
        state.fs(self.host).read_at(self.inode, offset, len)
    }

    /// How much was written, and the offset behind it.
    fn write(self, state: &mut State, offset: u64, bytes: &[u8], how: i32) -> Result<(i32, u64)> {
        self.is_for_writing()?;
        let len = some_of(state, bytes.len());
        let append = self.flags & libc::O_APPEND != 0 || how & rw_flags::APPEND != 0;
        let now = state.now();
        let fs = state.fs(self.host);
        let written = fs.write_at(self.inode, offset, &bytes[..len], append, now)?;
        // O_SYNC has the bit of O_DSYNC, and another.
        if self.flags & libc::O_DSYNC != 0 || how & (rw_flags::DSYNC | rw_flags::SYNC) != 0 {
            let all = self.flags & libc::O_SYNC == libc::O_SYNC || how & rw_flags::SYNC != 0;
            fs.sync(self.inode, !all);
        }
        Ok((count(written.count), written.end))
    }

    fn is_for_writing(self) -> Result<()> {
        if self.flags & libc::O_ACCMODE == libc::O_RDONLY {
            return Err(Errno(libc::EBADF));
        }
        Ok(())
    }
}
