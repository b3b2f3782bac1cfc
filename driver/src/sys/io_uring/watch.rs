//! What foreign event loops poll.
//!
//! The ring's own descriptor would not do: with `DEFER_TASKRUN` the kernel posts completions in our
//! calls only, and wakes nobody who polls the ring already. It does signal an eventfd, the *bell*.
//! A notifier's eventfd that the ring polls would ring the bell from within its own wake-up, which
//! the kernel leaves to later, or never does (seen on 6.18). So a foreign loop polls both, through
//! an epoll instance.
//! [io_uring_register_eventfd(3)](https://man7.org/linux/man-pages/man3/io_uring_register_eventfd.3.html)
#![allow(unsafe_code, reason = "makes an epoll instance")]

use super::ring::Ring;
use crate::error::SetupError;
use crate::sys::Waker;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

#[derive(Debug)]
pub(super) struct Watch {
    epoll: OwnedFd,
    bell: Waker,
    /// Whether the ring knows the bell.
    registered: bool,
    /// Whether the kernel rings the bell for each completion.
    armed: bool,
}

impl Watch {
    pub(super) fn new(notifier: &Waker) -> Result<Self, SetupError> {
        // SAFETY: (K1) touches no memory of ours.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(SetupError::os("epoll_create1", io::Error::last_os_error()));
        }
        // SAFETY: (U3) a new descriptor that nobody else knows.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let bell = Waker::new().map_err(|e| SetupError::os("eventfd", e))?;
        for fd in [bell.as_raw_fd(), notifier.as_raw_fd()] {
            let events = super::encode::bits(libc::EPOLLIN);
            let mut event = libc::epoll_event { events, u64: 0 };
            let add = libc::EPOLL_CTL_ADD;
            // SAFETY: (K1) the kernel reads one event.
            if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), add, fd, ptr::from_mut(&mut event)) } < 0
            {
                return Err(SetupError::os("epoll_ctl", io::Error::last_os_error()));
            }
        }
        Ok(Self {
            epoll,
            bell,
            registered: false,
            armed: false,
        })
    }

    /// From now on the descriptor is readable when something has happened since.
    pub(super) fn arm(&mut self, ring: &Ring, notifier: &Waker) -> io::Result<()> {
        if !self.registered {
            ring.register_eventfd(self.bell.as_raw_fd())?;
            self.registered = true;
        }
        self.armed = true;
        ring.silence_eventfd(false);
        self.bell.drain();
        // A wake-up that is drained here is still in the notifier's flag.
        notifier.drain();
        Ok(())
    }

    /// Spares the kernel the signals while nobody polls.
    #[inline]
    pub(super) fn disarm(&mut self, ring: &Ring) {
        if self.armed {
            self.armed = false;
            ring.silence_eventfd(true);
        }
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
