//! The books: who was pushed, who completed, and who holds the operations.

use crate::kit;
use completeio_driver::driver::Entry;
use completeio_driver::op::Op;
use completeio_driver::sink::Sink;
use std::collections::HashMap;
use std::ptr::NonNull;

/// An operation in the ledger's keeping, at an address that does not change.
pub(crate) struct Lent<O>(pub(crate) NonNull<O>);

impl<O> Clone for Lent<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Lent<O> {}

/// The memory of an operation, freed with this.
pub(crate) struct Held {
    op: NonNull<()>,
    free: unsafe fn(NonNull<()>),
}

impl Held {
    pub(crate) fn new<O>(op: O) -> (Self, Lent<O>) {
        let op = NonNull::from(Box::leak(Box::new(op)));
        let held = Self {
            op: op.cast(),
            free: free::<O>,
        };
        (held, Lent(op))
    }

    /// The same in memory that is kept for longer, and not freed.
    pub(crate) fn at<O>(op: O, place: NonNull<O>) -> (Self, Lent<O>) {
        // SAFETY: memory of its size and alignment, which is nobody else's.
        unsafe { place.write(op) };
        let held = Self {
            op: place.cast(),
            free: drop_in_place::<O>,
        };
        (held, Lent(place))
    }

    pub(crate) fn is<O>(&self, op: Lent<O>) -> bool {
        self.op == op.0.cast()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: made by `new` for this operation, which the driver no longer has.
        unsafe { (self.free)(self.op) }
    }
}

/// # Safety
/// `op` came out of a `Box<O>`.
unsafe fn free<O>(op: NonNull<()>) {
    // SAFETY: the caller's contract.
    drop(unsafe { Box::from_raw(op.cast::<O>().as_ptr()) });
}

/// # Safety
/// `op` is an `O` that nobody uses again.
unsafe fn drop_in_place<O>(op: NonNull<()>) {
    // SAFETY: the caller's contract.
    unsafe { op.cast::<O>().drop_in_place() };
}

/// # Safety
/// `op` is an `O` out of flight, and `entry` its last one.
unsafe fn dispose<O: Op>(op: NonNull<()>, entry: Entry) {
    // SAFETY: the caller's contract.
    let op = unsafe { op.cast::<O>().as_mut() };
    // SAFETY: the caller's contract.
    unsafe { op.dispose(entry) };
}

/// What happened under one user data.
struct Line {
    pushed: u64,
    last: u64,
    op: NonNull<()>,
    dispose: unsafe fn(NonNull<()>, Entry),
}

/// I1: pushes and last entries, by user data.
#[derive(Default)]
pub(crate) struct Book(HashMap<usize, Line>);

impl Book {
    /// Notes which operation the next push under this user data is of.
    pub(crate) fn open<O: Op>(&mut self, op: Lent<O>, user_data: usize) {
        let new = Line {
            pushed: 0,
            last: 0,
            op: op.0.cast(),
            dispose: dispose::<O>,
        };
        let line = self.0.entry(user_data).or_insert(new);
        line.op = op.0.cast();
        line.dispose = dispose::<O>;
    }

    pub(crate) fn pushed(&mut self, user_data: usize) {
        let line = self.0.get_mut(&user_data);
        line.expect("opened before").pushed += 1;
    }

    /// Takes back a push that was booked and not made.
    pub(crate) fn kept(&mut self, user_data: usize) {
        let line = self.0.get_mut(&user_data);
        line.expect("opened before").pushed -= 1;
    }

    pub(crate) fn dispose(&self, entry: Entry) {
        let line = &self.0[&entry.user_data()];
        // SAFETY: the operation that was pushed under this user data, and its entry.
        unsafe { (line.dispose)(line.op, entry) };
    }

    fn note(&mut self, entry: &Entry) {
        kit::goes_on();
        let user_data = entry.user_data();
        let Some(line) = self.0.get_mut(&user_data) else {
            panic!("I1: an entry under {user_data:#x}, which was never pushed");
        };
        line.last += u64::from(!entry.more());
        assert!(
            line.last <= line.pushed,
            "I1: {user_data:#x} completed twice"
        );
    }

    pub(crate) fn check(&self) {
        for (user_data, line) in &self.0 {
            assert_eq!(
                line.last, line.pushed,
                "I1: last entries and pushes of {user_data:#x}"
            );
        }
    }
}

/// A sink that books what passes through.
pub(crate) struct Booked<'a, S: ?Sized> {
    pub(crate) book: &'a mut Book,
    pub(crate) sink: &'a mut S,
}

impl<S: Sink + ?Sized> Sink for Booked<'_, S> {
    fn room(&self) -> usize {
        self.sink.room()
    }

    fn put(&mut self, entry: Entry) {
        self.book.note(&entry);
        self.sink.put(entry);
    }
}
