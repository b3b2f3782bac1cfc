//! Descriptors: what an operation is directed at, and who keeps it open.
#![allow(
    unsafe_code,
    reason = "Descriptor and Holds are promises: see their Safety sections"
)]

use crate::sys::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

/// How an operation names its file.
///
/// ```
/// use completeio_driver::driver::{Cwd, Descriptor, FixedFd, Target};
/// assert_eq!(FixedFd::from_id(7).target(), Target::Fixed(7));
/// assert!(matches!(Cwd.target(), Target::Plain(_)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A descriptor of the process.
    Plain(RawFd),
    /// An id in the driver's table of registered descriptors.
    Fixed(u32),
}

/// Something that an operation can be directed at.
///
/// # Safety
/// [`target`](Self::target) returns the same value for as long as `self` is neither touched
/// mutably nor dropped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a descriptor that operations take",
    note = "attach a raw descriptor with `driver.attach(fd)`, or pass an `OwnedFd` or `BorrowedFd`"
)]
pub unsafe trait Descriptor: Unpin {
    /// What the kernel is told.
    fn target(&self) -> Target;
}

/// What keeps open the file that an operation is directed at, for as long as it lives.
///
/// The safe layer asks for it. [`Fd`] and [`FixedFd`] are plain numbers and keep nothing open;
/// operations without a descriptor have `()` in its place, those with two a pair.
///
/// # Safety
/// The file that [`target`](Descriptor::target) names stays open until `self` is dropped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not keep its file open",
    note = "the safe layer takes an `OwnedFd`, a `BorrowedFd`, an `Attached` of \
            `driver.attach_fd(fd)`, or an `Rc` or `Arc` of one; a bare number may be closed \
            while the kernel has the operation"
)]
pub unsafe trait Holds {}

// SAFETY: (I11) nothing is named.
unsafe impl Holds for () {}

// SAFETY: (I11) each keeps its own file open, and both are dropped together.
unsafe impl<F: Holds, G: Holds> Holds for (F, G) {}

/// A descriptor that [`Close`](crate::op::Close) may close.
///
/// # Safety
/// `give_up` leaves the descriptor open and makes sure that dropping it does not close it.
pub unsafe trait Owns: Descriptor {
    /// Forgets the descriptor: somebody else has closed it.
    fn give_up(self);
}

/// A descriptor attached to a driver by [`attach`](crate::driver::CompleteIo::attach).
///
/// A plain number for the raw layer: it keeps nothing open. `Copy`, and bound to the driver's
/// thread.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<completeio_driver::driver::Fd>();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fd {
    raw: RawFd,
    _not_send: PhantomData<*const ()>,
}

impl Fd {
    pub(crate) fn new(raw: RawFd) -> Self {
        Self {
            raw,
            _not_send: PhantomData,
        }
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.raw
    }
}

/// A descriptor in the driver's table, put there by
/// [`register_fd`](crate::driver::CompleteIo::register_fd): the driver keeps its file open until
/// the id is unregistered or registered anew.
///
/// See [`register_fd`](crate::driver::CompleteIo::register_fd) for a running example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedFd {
    id: u32,
    _not_send: PhantomData<*const ()>,
}

impl FixedFd {
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            _not_send: PhantomData,
        }
    }

    /// The one at `id`, whether something is registered there or not: an operation on an empty
    /// place completes with `EBADF`.
    pub fn from_id(id: u32) -> Self {
        Self::new(id)
    }

    /// Its place in the table.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// A borrowed descriptor that was attached: it is open for `'fd`.
#[derive(Debug, Clone, Copy)]
pub struct Attached<'fd> {
    fd: BorrowedFd<'fd>,
    _not_send: PhantomData<*const ()>,
}

impl<'fd> Attached<'fd> {
    pub(crate) fn new(fd: BorrowedFd<'fd>) -> Self {
        Self {
            fd,
            _not_send: PhantomData,
        }
    }
}

/// The current directory, for operations that take one: `AT_FDCWD`.
///
/// ```
/// use completeio_driver::{driver::Cwd, op::OpenAt};
/// let open = OpenAt::read(Cwd, c"Cargo.toml");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cwd;

// SAFETY: (I11) a stored number, never changed.
unsafe impl Descriptor for Fd {
    #[inline]
    fn target(&self) -> Target {
        Target::Plain(self.raw)
    }
}

// SAFETY: (I11) a number without a destructor: nothing closes it.
unsafe impl Owns for Fd {
    fn give_up(self) {}
}

// SAFETY: (I11) a stored id, never changed.
unsafe impl Descriptor for FixedFd {
    #[inline]
    fn target(&self) -> Target {
        Target::Fixed(self.id)
    }
}

// SAFETY: (I11) a number without a destructor: nothing closes it.
unsafe impl Owns for FixedFd {
    fn give_up(self) {}
}

// SAFETY: (I11) a stored number, never changed.
unsafe impl Descriptor for Attached<'_> {
    #[inline]
    fn target(&self) -> Target {
        Target::Plain(self.fd.as_raw_fd())
    }
}

// SAFETY: (I11) a `BorrowedFd` is open for its lifetime.
unsafe impl Holds for Attached<'_> {}

// SAFETY: (I11) a stored number, never changed.
unsafe impl Descriptor for BorrowedFd<'_> {
    #[inline]
    fn target(&self) -> Target {
        Target::Plain(self.as_raw_fd())
    }
}

// SAFETY: (I11) a `BorrowedFd` is open for its lifetime.
unsafe impl Holds for BorrowedFd<'_> {}

// SAFETY: (I11) a stored number, never changed.
unsafe impl Descriptor for OwnedFd {
    #[inline]
    fn target(&self) -> Target {
        Target::Plain(self.as_raw_fd())
    }
}

// SAFETY: (I11) an `OwnedFd` is open until it is dropped.
unsafe impl Holds for OwnedFd {}

// SAFETY: (I11) `into_raw_fd` leaves the file open and drops nothing.
unsafe impl Owns for OwnedFd {
    fn give_up(self) {
        let _closed_by_the_kernel = self.into_raw_fd();
    }
}

// SAFETY: (I11) a constant.
unsafe impl Descriptor for Cwd {
    #[inline]
    fn target(&self) -> Target {
        Target::Plain(crate::sys::CWD)
    }
}

// SAFETY: (I11) a process always has a current directory.
unsafe impl Holds for Cwd {}

/// Shared ownership of a descriptor: an operation keeps its file open.
macro_rules! shared {
    ($($pointer:ident)*) => {$(
        // SAFETY: (I11) the inner value is neither moved nor touched mutably while it is shared.
        unsafe impl<F: Descriptor> Descriptor for $pointer<F> {
            #[inline]
            fn target(&self) -> Target {
                (**self).target()
            }
        }

        // SAFETY: (I11) the inner value lives as long as the last pointer to it.
        unsafe impl<F: Holds + Descriptor> Holds for $pointer<F> {}
    )*};
}
shared!(Rc Arc);
