//! Files: positioned reads and writes by overlapped calls, all else by plain calls on a worker
//! thread, or in place. And what a worker is given.
#![allow(unsafe_code, reason = "makes the calls")]

use super::attach::{handle, has_positions};
use super::packets::overlapped;
use super::status::{self, About};
use super::table::Way;
use super::{Iocp, net};
use crate::buf::IoVec;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::{FileCall, PathCall, StreamCall};
use crate::op::space::Space;
use crate::sys::CWD;
use crate::sys::fd::{FromRawFd, OwnedFd, RawFd};
use crate::sys::file::RawMetadata;
use crate::sys::flights::State;
use crate::sys::keeper::Keeper as _;
use crate::sys::pipe;
use crate::sys::plain::{last_error, said, unsupported};
use crate::sys::signed;
use crate::sys::workers;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::thread::JoinHandle;
use windows_sys::Win32::Foundation as f;
use windows_sys::Win32::Storage::FileSystem as s;
use windows_sys::Win32::System::IO::{CancelSynchronousIo, GetOverlappedResult};
use windows_sys::Win32::System::Threading::CreateEventW;

/// One call in plain words, as a worker thread gets it.
#[derive(Debug, Clone, Copy)]
pub(in crate::sys) enum Work {
    File {
        fd: RawFd,
        call: FileCall,
    },
    Stream {
        fd: RawFd,
        call: StreamCall,
        /// Whether it may wait for somebody, and not only for a disk.
        waits: bool,
    },
    Path {
        dirs: [RawFd; 2],
        call: PathCall,
    },
    Close {
        fd: RawFd,
    },
}

// SAFETY: (W1) what it points to is lent until the job is done, belongs to no thread, and is
// touched by the one that performs it only.
unsafe impl Send for Work {}

/// What a thread keeps for its calls.
#[derive(Debug)]
pub(in crate::sys) struct Kit {
    /// Signalled when a call of this thread's is over, of a handle that takes overlapped ones.
    event: OwnedHandle,
    /// Names as the system takes them.
    pub(super) names: [Box<[u16]>; 2],
}

/// The longest name that the system takes, in words.
const NAME_ROOM: usize = 1 << 15;

impl workers::Work for Work {
    type Kit = Kit;
    const NONE: Self = Self::Close {
        fd: crate::sys::NO_FD,
    };

    fn kit() -> Kit {
        // SAFETY: (K1) takes numbers.
        let event = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        assert!(!event.is_null(), "an event is a few words of the kernel's");
        Kit {
            // SAFETY: (R1) the call has just made it, and nobody else knows it.
            event: unsafe { OwnedHandle::from_raw_handle(event) },
            names: [(); 2].map(|()| vec![0; NAME_ROOM].into_boxed_slice()),
        }
    }

    unsafe fn perform(&self, kit: &mut Kit) -> i32 {
        match *self {
            // SAFETY: (W1) the caller's contract.
            Self::File { fd, call } => unsafe { perform(fd, call, kit) },
            // SAFETY: (W1) the caller's contract.
            Self::Stream { fd, call, .. } => unsafe { stream(fd, call, kit) },
            // SAFETY: (W1) the caller's contract.
            Self::Path { dirs, call } => unsafe { super::path::perform(dirs, call, kit) },
            Self::Close { fd } => close(fd),
        }
    }

    fn makes_fd(&self) -> bool {
        match self {
            Self::Path { call, .. } => call.makes_fd(),
            Self::File { .. } | Self::Stream { .. } | Self::Close { .. } => false,
        }
    }

    fn is_close(&self) -> bool {
        matches!(self, Self::Close { .. })
    }

    /// Who is at the other end of a pipe or a console may never come. Closes are not ended, and
    /// files are left to end.
    fn interrupt(&self, thread: &JoinHandle<()>) -> bool {
        let waits = matches!(self, Self::Stream { waits: true, .. });
        if waits {
            // Whatever it says, the call may not have begun, or be over.
            // SAFETY: (K1) takes a number, of a thread that is there until it is joined.
            unsafe { CancelSynchronousIo(thread.as_raw_handle()) };
        }
        waits
    }
}

fn close(fd: RawFd) -> i32 {
    if crate::sys::check_open(fd).is_err() {
        return net::NOT_OPEN;
    }
    // SAFETY: (R2) the operation gave up the descriptor: it is closed here and once.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    0
}

/// # Safety
/// (W1) What the call points to is lent to whoever calls this, until it returns.
unsafe fn perform(fd: RawFd, call: FileCall, kit: &mut Kit) -> i32 {
    match call {
        FileCall::Read {
            ptr,
            len,
            offset,
            flags: 0,
        } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfer(fd, About::Read, ptr, len, Some(offset), kit) }
        }
        FileCall::Write {
            ptr,
            len,
            offset,
            flags: 0,
        } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfer(fd, About::Handle, ptr.cast_mut(), len, Some(offset), kit) }
        }
        FileCall::ReadVectored {
            places,
            count,
            offset,
            flags: 0,
        } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfers(fd, About::Read, (places, count), Some(offset), kit) }
        }
        FileCall::WriteVectored {
            places,
            count,
            offset,
            flags: 0,
        } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfers(fd, About::Handle, (places, count), Some(offset), kit) }
        }
        // There are no such flags.
        FileCall::Read { .. }
        | FileCall::Write { .. }
        | FileCall::ReadVectored { .. }
        | FileCall::WriteVectored { .. } => unsupported(),
        // It would wait until all was read. A socket is such a file, too.
        // SAFETY: (K1) takes a number.
        FileCall::Sync { .. } if unsafe { s::GetFileType(handle(fd)) } == s::FILE_TYPE_PIPE => {
            -signed(f::ERROR_INVALID_PARAMETER)
        }
        FileCall::Sync { .. } => {
            // SAFETY: (K1) takes a number.
            said(unsafe { s::FlushFileBuffers(handle(fd)) })
        }
        FileCall::Truncate { len } => {
            let Ok(end) = i64::try_from(len) else {
                return -signed(f::ERROR_INVALID_PARAMETER);
            };
            set(
                fd,
                s::FileEndOfFileInfo,
                s::FILE_END_OF_FILE_INFO { EndOfFile: end },
            )
        }
        FileCall::Allocate {
            space: Space::Reserve,
            keep_size,
            offset,
            len,
        } => reserve(fd, offset.saturating_add(len), keep_size),
        FileCall::Stat { to } => match stat(fd) {
            Ok(metadata) => {
                // SAFETY: (W1) a place in the operation, which was lent.
                unsafe { to.write(metadata) };
                0
            }
            Err(error) => error,
        },
        FileCall::Allocate { .. }
        | FileCall::SyncRange { .. }
        | FileCall::Advise { .. }
        | FileCall::GetXattr { .. }
        | FileCall::SetXattr { .. } => unsupported(),
    }
}

/// # Safety
/// (W1) As [`perform`].
unsafe fn stream(fd: RawFd, call: StreamCall, kit: &mut Kit) -> i32 {
    match call {
        StreamCall::Read { ptr, len } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfer(fd, About::Read, ptr, len, None, kit) }
        }
        StreamCall::Write { ptr, len } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfer(fd, About::Handle, ptr.cast_mut(), len, None, kit) }
        }
        StreamCall::ReadVectored { places, count } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfers(fd, About::Read, (places, count), None, kit) }
        }
        StreamCall::WriteVectored { places, count, .. } => {
            // SAFETY: (W1) the caller's contract.
            unsafe { transfers(fd, About::Handle, (places, count), None, kit) }
        }
        StreamCall::ConnectNamedPipe => pipe::connect(handle(fd)),
        StreamCall::Disconnect => pipe::disconnect(handle(fd)),
    }
}

/// Reads or writes, and waits for it; at the current position, or at an offset.
///
/// # Safety
/// (W1) `ptr` points to `len` bytes that were lent.
unsafe fn transfer(
    fd: RawFd,
    about: About,
    ptr: *mut u8,
    len: u32,
    offset: Option<u64>,
    kit: &mut Kit,
) -> i32 {
    let handle = handle(fd);
    // Of an event that is marked so no packet is sent to any port.
    let event = kit.event.as_raw_handle().map_addr(|event| event | 1);
    let mut overlapped = overlapped(offset.unwrap_or(0), event);
    let at = match offset {
        Some(_) => &raw mut overlapped,
        None => ptr::null_mut(),
    };
    let mut moved = 0;
    let ok = if about == About::Read {
        // SAFETY: (W1) the kernel writes at most `len` bytes that were lent, and two locals, until
        // it was waited for.
        unsafe { s::ReadFile(handle, ptr, len, &raw mut moved, at) }
    } else {
        // SAFETY: (W1) the kernel reads `len` bytes that were lent, as above.
        unsafe { s::WriteFile(handle, ptr, len, &raw mut moved, at) }
    };
    let mut error = if ok != 0 { 0 } else { last_error() };
    if error == -signed(f::ERROR_IO_PENDING) {
        // SAFETY: (W1) the local that the kernel has.
        let ok = unsafe { GetOverlappedResult(handle, at, &raw mut moved, 1) };
        error = if ok != 0 { 0 } else { last_error() };
    }
    match error.unsigned_abs() {
        0 | f::ERROR_MORE_DATA => i32::try_from(moved).expect("I28: lengths are clamped"),
        error => status::decode_error(about, error),
    }
}

/// The same for parts, one after the other, until one is short; an error after the first is told by
/// the next call.
///
/// # Safety
/// (W1) So many parts, which were lent.
unsafe fn transfers(
    fd: RawFd,
    about: About,
    (places, count): (*const IoVec, u32),
    offset: Option<u64>,
    kit: &mut Kit,
) -> i32 {
    // A stream gives what it has: it is not waited for what comes next.
    let is_stream = about == About::Read && offset.is_none() && count > 1 && !has_positions(fd);
    let mut moved = 0_i32;
    for i in 0..count as usize {
        // SAFETY: (W1) the caller's contract.
        let (ptr, len) = unsafe { &*places.wrapping_add(i) }.parts();
        let len = u32::try_from(len).expect("I28: lengths are clamped");
        let offset = offset.map(|offset| offset.saturating_add(moved.unsigned_abs().into()));
        // SAFETY: (W1) the caller's contract.
        let result = unsafe { transfer(fd, about, ptr, len, offset, kit) };
        if result < 0 {
            return if moved > 0 { moved } else { result };
        }
        moved += result;
        if result.unsigned_abs() < len || is_stream {
            break;
        }
    }
    moved
}

/// Sets what is known of a file.
fn set<T>(fd: RawFd, class: s::FILE_INFO_BY_HANDLE_CLASS, value: T) -> i32 {
    let len = u32::try_from(size_of::<T>()).expect("a small struct");
    let value = (&raw const value).cast();
    // SAFETY: (K1) the kernel reads a local of the class's type.
    said(unsafe { s::SetFileInformationByHandle(handle(fd), class, value, len) })
}

fn get<T: Default>(fd: RawFd, class: s::FILE_INFO_BY_HANDLE_CLASS) -> Result<T, i32> {
    let mut value = T::default();
    let len = u32::try_from(size_of::<T>()).expect("a small struct");
    let to = (&raw mut value).cast();
    // SAFETY: (K1) the kernel writes a local of the class's type.
    match said(unsafe { s::GetFileInformationByHandleEx(handle(fd), class, to, len) }) {
        0 => Ok(value),
        error => Err(error),
    }
}

/// Has so many bytes of a file on the disk, and makes it as long unless it is to keep its size.
fn reserve(fd: RawFd, end: u64, keep_size: bool) -> i32 {
    let known: s::FILE_STANDARD_INFO = match get(fd, s::FileStandardInfo) {
        Ok(known) => known,
        Err(error) => return error,
    };
    let end = i64::try_from(end).unwrap_or(i64::MAX);
    // Less than there is would cut the file.
    if end > known.AllocationSize {
        let info = s::FILE_ALLOCATION_INFO {
            AllocationSize: end,
        };
        let result = set(fd, s::FileAllocationInfo, info);
        if result < 0 {
            return result;
        }
    }
    if keep_size || end <= known.EndOfFile {
        return 0;
    }
    set(
        fd,
        s::FileEndOfFileInfo,
        s::FILE_END_OF_FILE_INFO { EndOfFile: end },
    )
}

/// What is known of an open file, pipe or device.
pub(super) fn stat(fd: RawFd) -> Result<RawMetadata, i32> {
    const PIPE: u32 = 0o010_000;
    const DEVICE: u32 = 0o020_000;
    const SOCKET: u32 = 0o140_000;
    if fd == CWD {
        return super::path::stat_here();
    }
    let other = |kind| RawMetadata {
        kind,
        ..RawMetadata::default()
    };
    // SAFETY: (K1) takes a number.
    match unsafe { s::GetFileType(handle(fd)) } {
        _ if fd.is_socket() => return Ok(other(SOCKET)),
        s::FILE_TYPE_DISK => {}
        s::FILE_TYPE_PIPE => return Ok(other(PIPE)),
        s::FILE_TYPE_CHAR => return Ok(other(DEVICE)),
        _ => return Err(net::NOT_OPEN),
    }
    let mut by_handle = s::BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: (K1) the kernel writes a local.
    match said(unsafe { s::GetFileInformationByHandle(handle(fd), &raw mut by_handle) }) {
        0 => {}
        error => return Err(error),
    }
    let basic: s::FILE_BASIC_INFO = get(fd, s::FileBasicInfo)?;
    let standard: s::FILE_STANDARD_INFO = get(fd, s::FileStandardInfo)?;
    let whole = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    Ok(RawMetadata {
        attributes: by_handle.dwFileAttributes,
        size: whole(by_handle.nFileSizeHigh, by_handle.nFileSizeLow),
        links: by_handle.nNumberOfLinks,
        index: whole(by_handle.nFileIndexHigh, by_handle.nFileIndexLow),
        volume: by_handle.dwVolumeSerialNumber,
        allocated: u64::try_from(standard.AllocationSize).unwrap_or(0),
        accessed: basic.LastAccessTime,
        modified: basic.LastWriteTime,
        changed: basic.ChangeTime,
        created: basic.CreationTime,
        kind: 0,
    })
}

impl Iocp {
    /// Starts a call on a file.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn start_file(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: FileCall,
    ) {
        let Some((fd, slot)) = self.table.resolve(target) else {
            return self.complete(core, index, net::NOT_OPEN);
        };
        let way = match call {
            FileCall::Read { .. }
            | FileCall::Write { .. }
            | FileCall::ReadVectored { .. }
            | FileCall::WriteVectored { .. } => match self.way(fd, slot) {
                // As on other systems, though the call itself would take no notice.
                Ok(way) if !way.has_positions() => {
                    return self.complete(core, index, -signed(f::ERROR_SEEK_ON_DEVICE));
                }
                Ok(way) => Some(way),
                Err(error) => return self.complete(core, index, error),
            },
            _ => None,
        };
        let (skips, about, (ptr, len), offset) = match (way, call) {
            (
                Some(Way::Port { skips, .. }),
                FileCall::Read {
                    ptr,
                    len,
                    offset,
                    flags: 0,
                },
            ) => (skips, About::Read, (ptr, len), offset),
            (
                Some(Way::Port { skips, .. }),
                FileCall::Write {
                    ptr,
                    len,
                    offset,
                    flags: 0,
                },
            ) => (skips, About::Handle, (ptr.cast_mut(), len), offset),
            _ => {
                let work = |fd| Work::File { fd, call };
                // SAFETY: (D1) the caller's contract; the words are the operation's own.
                return unsafe { self.perform_on(core, index, (fd, slot), work) };
            }
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.begin_transfer(core, index, (fd, about), skips, (ptr, len), offset) };
    }

    /// Starts a close. What the kernel has of ours on it is ended first, and the number is taken
    /// out of the tables, so that nothing of ours is directed at whatever bears it next.
    ///
    /// # Safety
    /// (D1) As [`turn`](Iocp::turn).
    pub(super) unsafe fn start_close(&mut self, core: &mut Core, index: u32, target: Target) {
        let fd = match target {
            Target::Plain(fd) => fd,
            Target::Fixed(id) => {
                let result = match self.table.fixed(id) {
                    None => -signed(f::ERROR_INVALID_PARAMETER),
                    Some(slot) if self.table[slot].attached().is_none() => net::NOT_OPEN,
                    Some(slot) => {
                        self.retire(slot);
                        0
                    }
                };
                return self.complete(core, index, result);
            }
        };
        let all = if self.kernel > 0 {
            self.kept.flights.indexes()
        } else {
            0..0
        };
        for other in all {
            let is_on_it = !self.kept.flights.is_free(other)
                && self.kept.flights[other].state == State::Kernel
                && !self.waits_for_process(other)
                && self.ongoing[other as usize].fd == fd;
            if is_on_it {
                self.cancel_call(other);
            }
        }
        self.forget(fd);
        // SAFETY: (D1) a close points to nothing.
        unsafe { self.perform_on(core, index, (fd, None), |fd| Work::Close { fd }) };
    }

    /// Has a worker make a call on a number, or makes it in place. It uses the held file, where
    /// there is one.
    ///
    /// # Safety
    /// (D1) `work` gives the words of the operation `index`.
    pub(super) unsafe fn perform_on(
        &mut self,
        core: &mut Core,
        index: u32,
        (fd, slot): (RawFd, Option<u32>),
        work: impl FnOnce(RawFd) -> Work,
    ) {
        let file = slot.and_then(|slot| self.table[slot].file());
        let fd = file.map_or(fd, |file| self.table.files.fd(file));
        // SAFETY: (D1) the caller's contract.
        unsafe { self.perform(core, index, work(fd), [file, None], false) };
    }
}
