//! Attaching and registering descriptors, and taking them out again.
//!
//! Regular files, directories and block devices are *held*: the driver keeps a duplicate, and jobs
//! use that, so that a number that is closed and reused while a job waits for a worker leads it to
//! no other file. Sockets become non-blocking, and stay so when they are detached.
//!
//! A duplicate is closed like any descriptor: that gives up the process's record locks on the file
//! ([fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl_locking.2.html)).
#![allow(unsafe_code, reason = "asks the kernel about descriptors")]

use super::Readiness;
use super::flights::Direction;
use super::table::Kind;
use crate::local::Core;
use crate::sys::keeper::Keeper as _;
use crate::sys::native;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

impl Readiness {
    pub(crate) fn attach(&mut self, core: &mut Core, fd: RawFd) -> io::Result<()> {
        let slot = self.table.plain(fd).ok_or(io::ErrorKind::InvalidInput)?;
        let kind = kind_of(fd)?;
        let file = match kind {
            Kind::Socket => {
                make_ready(fd)?;
                None
            }
            Kind::File => Some(self.table.files.hold(duplicate(fd)?, kind)),
            Kind::Stream | Kind::Other => None,
        };
        self.retire(core, slot);
        self.table[slot].occupy(fd, kind, file);
        Ok(())
    }

    pub(crate) fn detach(&mut self, core: &mut Core, fd: RawFd) {
        if let Some(slot) = self.table.plain(fd) {
            self.retire(core, slot);
        }
    }

    /// Holds a duplicate, of whatever kind.
    pub(super) fn hold_duplicate(&mut self, fd: RawFd) -> io::Result<u32> {
        let fd = duplicate(fd)?;
        let kind = kind_of(fd.as_raw_fd())?;
        if kind == Kind::Socket {
            make_ready(fd.as_raw_fd())?;
        }
        Ok(self.table.files.hold(fd, kind))
    }

    pub(crate) fn unregister(&mut self, core: &mut Core, id: u32) -> io::Result<()> {
        let slot = self.table.fixed(id).ok_or(io::ErrorKind::InvalidInput)?;
        if self.table[slot].is_occupied() && !planted!("fixed-kept") {
            self.retire(core, slot);
        }
        Ok(())
    }

    /// Empties a slot: what waits completes with EBADF, the selector forgets it, and its held file
    /// is closed unless a job still uses it.
    pub(super) fn retire(&mut self, core: &mut Core, slot: u32) {
        for direction in Direction::ALL {
            self.dismiss(core, slot, direction, -libc::EBADF);
        }
        self.unwatch(slot);
        if let Some(file) = self.table[slot].vacate() {
            self.table.files.release(file);
        }
    }

    /// What a descriptor refers to: as it was attached, or as it is. An error is its number,
    /// negated.
    pub(super) fn kind(&self, slot: Option<u32>, fd: RawFd) -> Result<Kind, i32> {
        match slot.filter(|slot| self.table[*slot].is_occupied()) {
            Some(slot) => Ok(self.table[slot].kind()),
            None => kind_of(fd).map_err(|e| -e.raw_os_error().unwrap_or(libc::EBADF)),
        }
    }

    /// Completes what waits for a direction of a descriptor by an error, negated.
    pub(super) fn dismiss(&mut self, core: &mut Core, slot: u32, direction: Direction, error: i32) {
        while let Some(index) = self.table[slot].waiters(direction).front() {
            let waiters = self.table[slot].waiters_mut(direction);
            self.kept.flights.stop_waiting(index, waiters);
            self.complete_short(core, index, error);
        }
    }
}

pub(super) fn kind_of(fd: RawFd) -> io::Result<Kind> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: (K1) the kernel writes one `stat` to a local.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (K1) the call succeeded: it has written all of it.
    let stat = unsafe { stat.assume_init() };
    Ok(match stat.st_mode & libc::S_IFMT {
        libc::S_IFSOCK => Kind::Socket,
        libc::S_IFIFO | 0 => Kind::Stream,
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => Kind::File,
        // Devices, and what O_PATH opens.
        _ => Kind::Other,
    })
}

/// Another descriptor of the same file; close-on-exec.
fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: (K1) integers in, one out.
    let fd = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: (R1) the call has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket what calls on it expect: they do not block, and raise no `SIGPIPE`.
pub(super) fn make_ready(fd: RawFd) -> io::Result<()> {
    set_non_blocking(fd)?;
    native::silence(fd);
    Ok(())
}

pub(super) fn set_non_blocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: (K1) integers in, one out.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::O_NONBLOCK != 0 {
        return Ok(());
    }
    // SAFETY: (K1) integers in, one out.
    if unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
