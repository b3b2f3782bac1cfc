//! Where completions go on their way out, by class.

use crate::entry::Entry;
use crate::key::{Class, Completion};
use crate::local::Core;
use crate::sink::Sink;

/// Takes the completions of one class; those of slots go to the slab, whoever waits.
pub(crate) trait Outlet {
    /// The class that it takes. No other can be in flight while it is in use.
    const CLASS: Class;

    /// Takes one, which is counted already: the driver is consistent.
    fn put(&mut self, core: &mut Core, completion: Completion);
}

/// The sink of a caller of `submit`.
pub(crate) struct Raw<'a, S: ?Sized>(pub(crate) &'a mut S);

impl<S: Sink + ?Sized> Outlet for Raw<'_, S> {
    const CLASS: Class = Class::Raw;

    #[inline]
    fn put(&mut self, _core: &mut Core, completion: Completion) {
        self.0.put(Entry::raw(&completion));
    }
}

/// Nobody is left: closes the descriptors that raw operations have made.
pub(crate) struct Nowhere;

impl Outlet for Nowhere {
    const CLASS: Class = Class::Raw;

    fn put(&mut self, _core: &mut Core, completion: Completion) {
        if planted!("dropped-leaks") {
            return;
        }
        drop(Entry::raw(&completion).into_fd());
    }
}
