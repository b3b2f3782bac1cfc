//! Operations that a driver has borrowed, for programs that keep books of them.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// An operation at a fixed address, reached through one pointer only: what a driver has in flight
/// must not be touched by other ways. Dropped by hand or by its owner when it is not in flight.
pub struct Lent<O: ?Sized>(NonNull<O>);

impl<O> Lent<O> {
    /// Moves an operation to where it stays.
    pub fn new(op: O) -> Self {
        Self::boxed(Box::new(op))
    }

    /// The operation by itself; not while it is in flight.
    pub fn into_op(self) -> O {
        let op = ManuallyDrop::new(self).0;
        // SAFETY: leaked by `boxed`, and freed here only, for nothing is dropped.
        *unsafe { Box::from_raw(op.as_ptr()) }
    }
}

impl<O: ?Sized> Lent<O> {
    /// The same for one that has its place already.
    pub fn boxed(op: Box<O>) -> Self {
        Self(NonNull::from(Box::leak(op)))
    }

    /// The operation; not while it is in flight.
    pub fn op(&mut self) -> &mut O {
        // SAFETY: boxed before; callers do not ask while it is in flight.
        unsafe { self.0.as_mut() }
    }

    /// Where it stays.
    pub fn as_ptr(&self) -> NonNull<O> {
        self.0
    }
}

impl<O: ?Sized> Drop for Lent<O> {
    fn drop(&mut self) {
        // SAFETY: leaked by `boxed`, and freed here only.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<O: ?Sized> fmt::Debug for Lent<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.0).finish()
    }
}
