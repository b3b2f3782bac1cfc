//! Attaching and registering handles and sockets, and taking them out again.
//!
//! A handle is attached to one port, and stays so until the file that it names is closed; so one
//! that has another port is refused. One that takes no overlapped calls, such as those of
//! `std::fs::File`, is attached all the same: workers make its calls.
//!
//! Of what is attached or registered and goes to the workers the driver *holds* a duplicate, and
//! jobs use that, so that a number that is closed and reused while a job waits leads it to no other
//! file. Of a number that was only seen it holds none.
#![allow(unsafe_code, reason = "asks the kernel about handles")]

use super::table::Way;
use super::{Iocp, net};
use crate::error::AttachError;
use crate::local::Core;
use crate::sys::fd::{BorrowedFd, OwnedFd, RawFd};
use crate::sys::plain;
use crate::sys::signed;
use std::io;
use windows_sys::Wdk::Storage::FileSystem::{FileModeInformation, NtQueryInformationFile};
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, HANDLE};
use windows_sys::Win32::Networking::WinSock as w;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_TYPE_DISK, GetFileType, SetFileCompletionNotificationModes,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::WindowsProgramming::{
    FILE_SKIP_COMPLETION_PORT_ON_SUCCESS, FILE_SKIP_SET_EVENT_ON_HANDLE,
};

impl Iocp {
    pub(crate) fn attach(&mut self, _core: &mut Core, fd: RawFd) -> io::Result<()> {
        let slot = self.table.plain(fd).ok_or(io::ErrorKind::InvalidInput)?;
        let way = self.way_of(fd, self.table[slot].seen(fd))?;
        let file = match way {
            Way::Port { .. } => None,
            Way::Worker { .. } => Some(self.table.files.hold(duplicate(fd)?, way)),
        };
        self.retire(slot);
        self.table[slot].occupy(fd, way, file);
        Ok(())
    }

    pub(crate) fn detach(&mut self, _core: &mut Core, fd: RawFd) {
        if let Some(slot) = self.table.plain(fd) {
            self.retire(slot);
        }
    }

    /// Holds a duplicate. It is the same file: what the number is attached to, that is too.
    pub(super) fn hold_duplicate(&mut self, fd: RawFd) -> io::Result<u32> {
        let slot = self.table.plain(fd);
        let way = self.way_of(fd, slot.and_then(|slot| self.table[slot].seen(fd)))?;
        if let Some(slot) = slot {
            self.table[slot].see(fd, way);
        }
        Ok(self.table.files.hold(duplicate(fd)?, way))
    }

    pub(crate) fn unregister(&mut self, _core: &mut Core, id: u32) -> io::Result<()> {
        let slot = self.table.fixed(id).ok_or(io::ErrorKind::InvalidInput)?;
        self.retire(slot);
        Ok(())
    }

    /// Detaches what is in a slot; its held file is closed unless a call still uses it.
    pub(super) fn retire(&mut self, slot: u32) {
        if let Some(file) = self.table[slot].vacate() {
            self.table.files.release(file);
        }
    }

    /// A number means another file from now on, or none.
    pub(super) fn forget(&mut self, fd: RawFd) {
        if let Some(slot) = self.table.plain(fd) {
            self.retire(slot);
            self.table[slot].forget();
        }
    }

    /// How calls on a number are made: as it was attached, or as it is. An error is its number,
    /// negated.
    pub(super) fn way(&mut self, fd: RawFd, slot: Option<u32>) -> Result<Way, i32> {
        let Some(slot) = slot else {
            return Err(match crate::sys::check_open(fd) {
                Ok(()) => -crate::sys::errno::EMFILE,
                Err(_) => net::NOT_OPEN,
            });
        };
        if let Some(way) = self.table[slot].attached() {
            return Ok(way);
        }
        match self.way_of(fd, self.table[slot].seen(fd)) {
            Ok(way) => {
                self.table[slot].see(fd, way);
                Ok(way)
            }
            Err(error) => Err(-error
                .raw_os_error()
                .unwrap_or(signed(ERROR_INVALID_PARAMETER))),
        }
    }

    /// Attaches a number to the port, if it is not, and says how calls on it are made. `seen` is
    /// how they were made on what bore the number before: one that was attached here is taken to be
    /// so still, for the system does not tell to which port a handle is.
    fn way_of(&self, fd: RawFd, seen: Option<Way>) -> io::Result<Way> {
        const REFUSED: Option<i32> = Some(signed(ERROR_INVALID_PARAMETER));
        let handle = handle(fd);
        let waits = || waits_itself(handle);
        let was_here = matches!(seen, Some(Way::Port { .. }));
        match self.port.attach(handle) {
            Err(error) if error.raw_os_error() != REFUSED => Err(error),
            Ok(()) => Ok(by_port(fd)),
            Err(_) if !fd.is_socket() && waits() == Some(true) => Ok(by_worker(fd)),
            // Asked anew, for it may be a duplicate of another file that is attached.
            Err(_) if was_here => Ok(by_port(fd)),
            // Wine does not tell; there, what has no port is taken for such a one.
            Err(_) if !fd.is_socket() && waits().is_none() => Ok(by_worker(fd)),
            Err(_) => Err(AttachError::Elsewhere.into()),
        }
    }
}

/// The number as a handle, which a socket's is too.
pub(super) fn handle(fd: RawFd) -> HANDLE {
    std::ptr::without_provenance_mut(fd.number())
}

/// Another number of the same file or socket, which no child inherits.
pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: (F1) only lent for the call: a number that is not open is an error there.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

fn by_port(fd: RawFd) -> Way {
    Way::Port {
        skips: skips_packets(fd),
        has_positions: has_positions(fd),
    }
}

fn by_worker(fd: RawFd) -> Way {
    Way::Worker {
        has_positions: has_positions(fd),
    }
}

/// Has the kernel send no packet for a call that succeeds at once, where that can be relied on: a
/// layered service provider may complete a socket's calls itself, and datagrams had packets all the
/// same.
fn skips_packets(fd: RawFd) -> bool {
    if fd.is_socket() && !is_plain_stream(fd) {
        return false;
    }
    // Messages of pipes that are longer than the room are neither a success nor an error.
    if !fd.is_socket() && !has_positions(fd) {
        return false;
    }
    let modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
    let modes = u8::try_from(modes).expect("two bits");
    // SAFETY: (K1) takes numbers.
    unsafe { SetFileCompletionNotificationModes(handle(fd), modes) != 0 }
}

/// Whether it is a stream whose handle is the kernel's own.
fn is_plain_stream(fd: RawFd) -> bool {
    plain::protocol(fd).is_ok_and(|protocol| {
        protocol.iSocketType == w::SOCK_STREAM && protocol.dwServiceFlags1 & w::XP1_IFS_HANDLES != 0
    })
}

pub(super) fn has_positions(fd: RawFd) -> bool {
    // SAFETY: (K1) takes a number.
    !fd.is_socket() && unsafe { GetFileType(handle(fd)) } == FILE_TYPE_DISK
}

/// Whether calls on a handle wait for their end, whatever they are given; none if the system does
/// not tell.
fn waits_itself(handle: HANDLE) -> Option<bool> {
    /// `FILE_SYNCHRONOUS_IO_ALERT` and `FILE_SYNCHRONOUS_IO_NONALERT`.
    const WAITS: u32 = 0x10 | 0x20;
    let mut answer = IO_STATUS_BLOCK::default();
    let mut mode = 0_u32;
    let to = (&raw mut mode).cast();
    // SAFETY: (K1) the kernel writes two locals.
    let status =
        unsafe { NtQueryInformationFile(handle, &raw mut answer, to, 4, FileModeInformation) };
    (status >= 0).then_some(mode & WAITS != 0)
}
