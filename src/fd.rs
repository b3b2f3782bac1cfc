//! Descriptors that operations share.

use crate::driver::{AsFd, AsRawFd, BorrowedFd, Fd, OwnedFd, RawFd};
use crate::task::runtime::Inner;
use std::io;
use std::rc::{Rc, Weak};

/// A socket or a pipe that is attached to the current runtime's driver, as long as anybody shares
/// it.
///
/// Operations in flight hold it open by themselves: see [`hold`](Self::hold).
#[derive(Debug, Clone)]
pub(crate) struct SharedFd(Rc<Attachment>);

#[derive(Debug)]
struct Attachment {
    fd: Rc<OwnedFd>,
    attached: Fd,
    runtime: Weak<Inner>,
}

impl SharedFd {
    /// # Errors
    /// As [`attach`](crate::driver::CompleteIo::attach).
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn new(fd: impl Into<OwnedFd>) -> io::Result<Self> {
        let fd = Rc::new(fd.into());
        let runtime = Inner::current();
        let attached = runtime.attach(fd.as_raw_fd())?;
        Ok(Self(Rc::new(Attachment {
            fd,
            attached,
            runtime: Rc::downgrade(&runtime),
        })))
    }

    /// For an operation: the file stays open until that is over, whatever becomes of its future.
    pub(crate) fn hold(&self) -> Rc<OwnedFd> {
        self.0.fd.clone()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.upgrade() {
            // Before it is closed: its number may be another's then.
            runtime.detach(self.attached, &self.fd);
        }
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}
