//! Where entries go: anything that can say how much room it has.

use crate::driver::Entry;
use std::collections::VecDeque;
use std::fmt;

/// Takes the entries of a [`submit`](crate::driver::CompleteIo::submit), or the
/// [`Event`](crate::scope::Event)s of a scope's.
///
/// A submit asks for the room once and never puts more than that; what does not fit
/// waits for the next call. `Vec` and `VecDeque` offer their spare capacity, so that they never
/// grow in here; an `Option` takes one entry; `ArrayVec` (feature `arrayvec`) what is left of its
/// array; [`bounded`] makes a sink of a closure.
///
/// ```
/// use completeio_driver::driver::Entry;
/// use completeio_driver::sink::Sink;
///
/// /// Counts what fails, and drops the rest.
/// struct Failures(usize);
///
/// impl Sink for Failures {
///     fn room(&self) -> usize {
///         usize::MAX
///     }
///     fn put(&mut self, entry: Entry) {
///         self.0 += usize::from(entry.into_result().is_err());
///     }
/// }
/// ```
///
/// A process that was forked in a `put`, or in a destructor that the driver calls, must end there:
/// it has no rings to go on with.
///
/// A `put` that panics loses at most the entry in its hands: the driver is consistent before each
/// call, and what it did not put comes out of the next `submit`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no sink of `{T}`",
    note = "use a `Vec` of it with spare capacity, an `Option`, or `sink::bounded(n, f)`; \
            `ArrayVec` needs the feature `arrayvec`"
)]
pub trait Sink<T = Entry> {
    /// How many may be put.
    fn room(&self) -> usize;
    /// Takes one; called at most [`room`](Self::room) times.
    fn put(&mut self, item: T);
}

impl<T> Sink<T> for Vec<T> {
    #[inline]
    fn room(&self) -> usize {
        self.capacity() - self.len()
    }
    #[inline]
    fn put(&mut self, item: T) {
        self.push(item);
    }
}

impl<T> Sink<T> for VecDeque<T> {
    #[inline]
    fn room(&self) -> usize {
        self.capacity() - self.len()
    }
    #[inline]
    fn put(&mut self, item: T) {
        self.push_back(item);
    }
}

impl<T> Sink<T> for Option<T> {
    #[inline]
    fn room(&self) -> usize {
        usize::from(self.is_none())
    }
    #[inline]
    fn put(&mut self, item: T) {
        *self = Some(item);
    }
}

#[cfg(feature = "arrayvec")]
#[cfg_attr(docsrs, doc(cfg(feature = "arrayvec")))]
impl<T, const N: usize> Sink<T> for arrayvec::ArrayVec<T, N> {
    #[inline]
    fn room(&self) -> usize {
        self.remaining_capacity()
    }
    #[inline]
    fn put(&mut self, item: T) {
        self.push(item);
    }
}

impl<T, S: Sink<T> + ?Sized> Sink<T> for &mut S {
    #[inline]
    fn room(&self) -> usize {
        (**self).room()
    }
    #[inline]
    fn put(&mut self, item: T) {
        (**self).put(item);
    }
}

/// A sink that calls `f` with at most `n` entries or events.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::{op::Nop, sink};
///
/// let mut ops = [Nop::new(), Nop::new(), Nop::new()];
/// let mut driver = Driver::new()?;
/// for (i, op) in ops.iter_mut().enumerate() {
///     driver.try_push(op, i).unwrap();
/// }
/// let mut seen = 0;
/// while seen < 3 {
///     // SAFETY: `ops` outlive the driver and are not touched while it has them.
///     unsafe { driver.submit(None, &mut sink::bounded(2, |_entry| seen += 1))? };
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn bounded<T, F: FnMut(T)>(n: usize, f: F) -> Bounded<F> {
    Bounded { room: n, f }
}

/// A closure as a sink; made by [`bounded`].
pub struct Bounded<F> {
    room: usize,
    f: F,
}

impl<T, F: FnMut(T)> Sink<T> for Bounded<F> {
    #[inline]
    fn room(&self) -> usize {
        self.room
    }
    #[inline(always)]
    fn put(&mut self, item: T) {
        debug_assert!(
            self.room > 0,
            "a sink is given no more than it has room for"
        );
        self.room = self.room.wrapping_sub(1);
        (self.f)(item);
    }
}

impl<F> fmt::Debug for Bounded<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded")
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}
