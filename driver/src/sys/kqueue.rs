//! [kqueue(2)](https://man.freebsd.org/cgi/man.cgi?query=kqueue): the two calls and the words that
//! they take, for the selector, for what wakes it, and for children. Nobody else knows them.
//!
//! Manual pages:
//! [Apple](https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/kqueue.2.html),
//! [NetBSD](https://man.netbsd.org/kqueue.2), [OpenBSD](https://man.openbsd.org/kqueue.2).
#![allow(unsafe_code, reason = "kqueue and kevent are foreign functions")]

use super::plain::result;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process;
use std::ptr;
use std::time::Duration;

#[cfg(not(libkqueue))]
use libc as raw;
#[cfg(libkqueue)]
use library as raw;

/// The longest wait that is asked for at once; whoever waits longer asks again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How wide the kernel's numbers are.
#[cfg(not(target_os = "netbsd"))]
mod width {
    pub(super) type Filter = i16;
    pub(super) type Flags = u16;
}
#[cfg(target_os = "netbsd")]
mod width {
    pub(super) type Filter = u32;
    pub(super) type Flags = u32;
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Whether a descriptor is readable.
    Read,
    /// Whether it is writable.
    Write,
    /// Whether somebody has called.
    User,
    /// Whether a process has ended.
    Process,
}

/// Flags of a change.
pub(crate) mod flags {
    use super::{raw, width::Flags};
    /// Watches from now on.
    pub(crate) const ADD: Flags = raw::EV_ADD;
    /// Watches no more.
    pub(crate) const DELETE: Flags = raw::EV_DELETE;
    /// What was reported is not reported again, before something changes.
    pub(crate) const CLEAR: Flags = raw::EV_CLEAR;
}

/// A change that is asked for, or an event that is reported.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Kevent(raw::kevent);

impl Kevent {
    /// One that nothing has been written to.
    pub(crate) fn empty() -> Self {
        // SAFETY: (Q1) numbers, and an address that is not followed: all zeroes are one.
        Self(unsafe { std::mem::zeroed() })
    }

    /// A change of what is watched of `ident`; events of it carry `key`.
    pub(crate) fn change(ident: usize, filter: Filter, flags: width::Flags, key: u64) -> Self {
        const {
            assert!(
                size_of::<usize>() == size_of::<u64>(),
                "a key is an event's user data"
            )
        };
        let mut change = Self::empty();
        let to = &mut change.0;
        to.ident = ident;
        to.filter = filter.number();
        to.flags = flags;
        to.udata = ptr::without_provenance_mut(usize::from_ne_bytes(key.to_ne_bytes()));
        if filter == Filter::Process {
            to.fflags = raw::NOTE_EXIT;
        }
        change
    }

    /// The call that an event of [`Filter::User`] reports.
    pub(crate) fn trigger(ident: usize) -> Self {
        let mut change = Self::change(ident, Filter::User, 0, 0);
        change.0.fflags = raw::NOTE_TRIGGER;
        change
    }

    pub(crate) fn ident(&self) -> usize {
        self.0.ident
    }

    /// As it was registered.
    pub(crate) fn key(&self) -> u64 {
        u64::from_ne_bytes(self.0.udata.addr().to_ne_bytes())
    }

    pub(crate) fn is(&self, filter: Filter) -> bool {
        self.0.filter == filter.number()
    }

    /// Why a change was not made.
    pub(crate) fn error(&self) -> Option<i32> {
        let failed = self.0.flags & raw::EV_ERROR != 0 && self.0.data != 0;
        failed.then(|| i32::try_from(self.0.data).expect("an error number"))
    }

    /// How much there is to read, or room to write; `u32::MAX` stands for more.
    pub(crate) fn amount(&self) -> u32 {
        u32::try_from(self.0.data).unwrap_or(u32::MAX)
    }

    /// Whether the other end has ended its part, or all of it is broken.
    pub(crate) fn is_eof(&self) -> bool {
        self.0.flags & raw::EV_EOF != 0
    }
}

impl Filter {
    fn number(self) -> width::Filter {
        match self {
            Self::Read => raw::EVFILT_READ,
            Self::Write => raw::EVFILT_WRITE,
            Self::User => raw::EVFILT_USER,
            Self::Process => raw::EVFILT_PROC,
        }
    }
}

/// A kqueue; close-on-exec. Children do not inherit it: there its number is nobody's, or a
/// stranger's, and is not closed.
pub(crate) struct Kqueue {
    fd: ManuallyDrop<OwnedFd>,
    owner: u32,
}

impl Kqueue {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: (K1) takes nothing.
        let fd = unsafe { raw::kqueue() };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: (R1) the call has just opened it, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: (K1) takes numbers.
        if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            fd: ManuallyDrop::new(fd),
            owner: process::id(),
        })
    }

    /// Its descriptor, which whoever has it closes.
    #[cfg(any(test, not(libkqueue)))]
    pub(crate) fn into_fd(self) -> OwnedFd {
        let mut kqueue = ManuallyDrop::new(self);
        // SAFETY: (Q2) taken once: the destructor does not run.
        unsafe { ManuallyDrop::take(&mut kqueue.fd) }
    }

    /// Makes one change, and no more.
    pub(crate) fn change(&self, change: Kevent) -> io::Result<()> {
        match self.ask(&[change], &mut [], Some(Duration::ZERO)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            asked => asked.map(drop),
        }
    }

    /// Makes the changes, waits for events, at most so long, and tells how many there are. A change
    /// that was not made is one of them, if `events` has room for all that are asked for. An
    /// interrupted wait has made the changes.
    pub(crate) fn ask(
        &self,
        changes: &[Kevent],
        events: &mut [Kevent],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        ask(self.as_raw_fd(), changes, events, timeout)
    }
}

/// Asks whatever kqueue has this number.
#[allow(
    clippy::useless_conversion,
    reason = "a count is of another type elsewhere"
)]
pub(crate) fn ask(
    kqueue: RawFd,
    changes: &[Kevent],
    events: &mut [Kevent],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let timeout = timeout.map(|timeout| {
        let timeout = timeout.min(LONGEST);
        libc::timespec {
            tv_sec: timeout.as_secs().try_into().expect("a day at most"),
            tv_nsec: timeout.subsec_nanos().into(),
        }
    });
    let count = |len: usize| len.try_into().expect("a few of them");
    let room = events.len();
    // SAFETY: (Q1) the kernel reads the changes and a local, and writes at most as many events as
    // there is room for.
    let reported = result(unsafe {
        raw::kevent(
            kqueue,
            changes.as_ptr().cast(),
            count(changes.len()),
            events.as_mut_ptr().cast(),
            count(room),
            timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
        )
    } as isize);
    match usize::try_from(reported) {
        Ok(reported) => {
            assert!(reported <= room, "I37: more events than were asked for");
            Ok(reported)
        }
        Err(_) => Err(io::Error::from_raw_os_error(-reported)),
    }
}

impl Drop for Kqueue {
    fn drop(&mut self) {
        if self.owner == process::id() {
            // SAFETY: (Q2) dropped here and once, in the destructor.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

impl AsRawFd for Kqueue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Debug for Kqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kqueue").field(&self.as_raw_fd()).finish()
    }
}

/// A library that provides kqueues where the system has none, for tests: the words of
/// `<sys/event.h>` as it has them.
#[cfg(libkqueue)]
mod library {
    use std::ffi::{c_int, c_void};

    #[derive(Clone, Copy)]
    #[repr(C)]
    pub(super) struct kevent {
        pub(super) ident: usize,
        pub(super) filter: i16,
        pub(super) flags: u16,
        pub(super) fflags: u32,
        pub(super) data: isize,
        pub(super) udata: *mut c_void,
    }

    pub(super) const EVFILT_READ: i16 = -1;
    pub(super) const EVFILT_WRITE: i16 = -2;
    pub(super) const EVFILT_PROC: i16 = -5;
    pub(super) const EVFILT_USER: i16 = -11;
    pub(super) const EV_ADD: u16 = 0x1;
    pub(super) const EV_DELETE: u16 = 0x2;
    pub(super) const EV_CLEAR: u16 = 0x20;
    pub(super) const EV_ERROR: u16 = 0x4000;
    pub(super) const EV_EOF: u16 = 0x8000;
    pub(super) const NOTE_TRIGGER: u32 = 0x0100_0000;
    pub(super) const NOTE_EXIT: u32 = 0x8000_0000;

    // SAFETY: as that header declares them.
    unsafe extern "C" {
        pub(super) fn kqueue() -> c_int;
        pub(super) fn kevent(
            kqueue: c_int,
            changes: *const kevent,
            change_count: c_int,
            events: *mut kevent,
            event_count: c_int,
            timeout: *const libc::timespec,
        ) -> c_int;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::check_open;

    #[test]
    fn only_its_own_process_closes_it() {
        let mut kqueue = Kqueue::new().unwrap();
        let number = kqueue.as_raw_fd();
        kqueue.owner = 0; // As if this were a child.
        drop(kqueue);
        assert!(check_open(number).is_ok());
        // SAFETY: (Q2) it was not closed.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }

    #[test]
    fn a_number_is_as_large_as_its_type() {
        let mut event = Kevent::empty();
        for (data, amount) in [(0, 0), (7, 7), (1 << 40, u32::MAX), (-1, u32::MAX)] {
            event.0.data = data;
            assert_eq!(event.amount(), amount);
            assert_eq!(event.error(), None);
        }
        event.0.data = 9;
        event.0.flags = raw::EV_ERROR;
        assert_eq!(event.error(), Some(9));
    }
}
