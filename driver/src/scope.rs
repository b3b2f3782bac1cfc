//! The safe way to lend operations to a driver: a scope that does not end before they have.
//!
//! [`Driver::scope`](crate::driver::Driver::scope) runs a closure with a [`Scope`]. What is
//! declared *outside* of the closure, on the stack or in an arena, can be lent inside: operations,
//! their buffers, borrowed descriptors. Nothing is allocated, nothing needs to be `'static`, and
//! there is no `unsafe`. When the closure returns or unwinds, the scope cancels what is still in
//! flight, and waits until the kernel is done with it.
//!
//! | step | gives | and then |
//! |---|---|---|
//! | [`Scope::try_lend`] | a [`Ticket`] | submit |
//! | or [`Scope::lend`] | a [`Prepared`] and a [`Ticket`] | push the one, keep the other |
//! | and [`Scope::try_push`], [`push_queue`](Scope::push_queue) | | submit |
//! | [`Scope::submit`] and its kin | an [`Event`]: any number of [`More`]s, one [`Done`] | |
//! | [`Ticket::redeem`] with the `Done` | the output, and the operation back | lend it again |
//! | [`Ticket::take_back`] with the `Prepared` | the operation back, never pushed | |
//!
//! Each of these may be dropped or forgotten. A dropped `Done` gives up what the completion names
//! (it closes an accepted descriptor); an operation whose ticket or `Prepared` is lost stays
//! borrowed until `'env` ends, and is no less safe.
//!
//! ```
//! use completeio_driver::driver::{AsFd, Driver};
//! use completeio_driver::op::ReadAt;
//!
//! let mut driver = Driver::new()?;
//! let file = std::fs::File::open("Cargo.toml")?;
//! let mut buffer = [0; 9];
//! let mut op = ReadAt::new(file.as_fd(), 0, &mut buffer[..]);
//! let read = driver.scope(|s| {
//!     let ticket = s.try_lend(&mut op, 7).unwrap();
//!     let mut event = None;
//!     s.submit(None, &mut event)?;
//!     let done = event.and_then(|event| event.done()).unwrap();
//!     assert_eq!(done.token(), 7);
//!     let (read, _op) = ticket.redeem(done).unwrap();
//!     read
//! })??;
//! assert_eq!(&buffer[..read], b"[package]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(
    unsafe_code,
    reason = "submits what was lent: the scope's end waits for it"
)]

use crate::clock::Instant;
use crate::driver::{Attached, BorrowedFd, Driver, Entry, Full, Holds, Notifier, Stats, Wait};
use crate::engine::{AbortOnUnwind, Engine, abort};
use crate::key::{Class, Completion, Key as Word};
use crate::local::Core;
use crate::op::{Op, OpHead};
use crate::outlet::Outlet;
use crate::sink::Sink;
use crate::slots::{Finished, Key};
use crate::sys::{Block, Pushable, Which};
use std::cell::Cell;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::time::Duration;

/// Invariant in both lifetimes, and bound to the driver's thread.
type Brand<'s, 'env> = PhantomData<(Cell<&'s ()>, Cell<&'env ()>, *const ())>;

/// A driver for the time of a closure: the loans of `'env` end with it.
///
/// `'s` is the scope's own brand: what belongs to one scope is not taken by another. See the
/// [module](self).
pub struct Scope<'s, 'env> {
    engine: &'s mut Engine,
    _brand: Brand<'s, 'env>,
}

/// An operation that was lent, to be pushed.
///
/// Dropping it pushes nothing; the operation then stays borrowed until `'env` ends.
#[must_use = "push it, or take it back with its ticket"]
pub struct Prepared<'s, 'env> {
    head: NonNull<OpHead>,
    _brand: Brand<'s, 'env>,
}

/// The claim on an operation that was lent.
#[must_use = "without its ticket an operation stays lent until `'env` ends"]
pub struct Ticket<'s, 'env, O> {
    op: NonNull<O>,
    _brand: Brand<'s, 'env>,
    _lent: PhantomData<Cell<&'env mut O>>,
}

/// One of several completions of an operation that is still in flight.
#[derive(Debug)]
pub struct More {
    entry: Entry,
}

/// The last completion of an operation: [`Ticket::redeem`] takes it.
///
/// Dropping it gives up what it names, as [`Op::dispose`] does.
#[must_use = "redeem it with its ticket; dropping it disposes of the result"]
pub struct Done<'s> {
    head: NonNull<OpHead>,
    /// Taken out by `redeem`.
    entry: ManuallyDrop<Entry>,
    _brand: Brand<'s, 's>,
}

/// What a scope's [`submit`](Scope::submit) puts into its sink.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'s> {
    /// The operation is still in flight.
    More(More),
    /// The operation has completed.
    Done(Done<'s>),
}

/// Why a scope did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeError {
    /// So many raw operations are pushed or in flight: a scope would submit them without their
    /// owner's promise. Take their entries out first.
    RawInFlight(usize),
    /// This is a forked child: the driver is its parent's.
    ForkedChild,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RawInFlight(n) => write!(
                f,
                "{n} raw operations are pushed or in flight: submit until their last entries \
                 came out, then begin the scope"
            ),
            Self::ForkedChild => f.write_str("the driver belongs to the process that has forked"),
        }
    }
}

impl Error for ScopeError {}

impl From<ScopeError> for io::Error {
    fn from(error: ScopeError) -> Self {
        let kind = match error {
            ScopeError::RawInFlight(_) => io::ErrorKind::ResourceBusy,
            ScopeError::ForkedChild => io::ErrorKind::Unsupported,
        };
        Self::new(kind, error)
    }
}

impl Driver<'_> {
    /// Runs `f` with a scope, in which operations that live for `'env` can be lent safely. See
    /// [`scope`](crate::scope).
    ///
    /// When `f` returns or unwinds, what is still in flight of the scope is published, cancelled
    /// and waited for; that may take as long as what [cannot be
    /// cancelled](crate::guide::cancellation#what-cannot-be-cancelled) takes. If the ring itself
    /// fails meanwhile, or a destructor panics, the process is aborted, for memory would be freed
    /// that the kernel still has.
    ///
    /// # Errors
    /// [`ScopeError`]; `f` is not run then.
    pub fn scope<'env, R>(
        &mut self,
        f: impl for<'s> FnOnce(&mut Scope<'s, 'env>) -> R,
    ) -> Result<R, ScopeError> {
        let engine = &mut self.engine;
        if engine.core.is_child() {
            return Err(ScopeError::ForkedChild);
        }
        match engine.raw_in_flight() {
            0 => {}
            n => return Err(ScopeError::RawInFlight(n)),
        }
        debug_assert!(engine.core.loans.is_empty(), "S1: the last scope has ended");
        let mut ending = Ending(Scope {
            engine,
            _brand: PhantomData,
        });
        Ok(f(&mut ending.0))
    }
}

/// Ends the scope when it is dropped; it lies where nobody can forget it.
struct Ending<'s, 'env>(Scope<'s, 'env>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        self.0.engine.end_scope();
    }
}

impl<'s, 'env> Scope<'s, 'env> {
    /// Lends an operation: the one half is to be pushed, the other redeems it. `token` comes with
    /// its events.
    #[inline]
    pub fn lend<O: Op + 'env>(
        &self,
        op: &'env mut O,
        token: usize,
    ) -> (Prepared<'s, 'env>, Ticket<'s, 'env, O>)
    where
        O::Fd: Holds,
    {
        let op = NonNull::from(op);
        let head: NonNull<OpHead> = op.cast();
        // SAFETY: (S1, S2) exclusively borrowed until now, and by this loan from here on.
        unsafe { (*head.as_ptr()).token = token };
        let prepared = Prepared {
            head,
            _brand: PhantomData,
        };
        let ticket = Ticket {
            op,
            _brand: PhantomData,
            _lent: PhantomData,
        };
        (prepared, ticket)
    }

    /// Lends an operation and pushes it, in one step. `token` comes with its events.
    ///
    /// [`lend`](Self::lend) is for a batch, whose operations may be of different types.
    ///
    /// # Errors
    /// [`Full`], with the loan, when there is no submission entry or no credit left.
    #[inline]
    pub fn try_lend<O: Op + 'env>(
        &mut self,
        op: &'env mut O,
        token: usize,
    ) -> Result<Ticket<'s, 'env, O>, Full<&'env mut O>>
    where
        O::Fd: Holds,
    {
        let (prepared, mut ticket) = self.lend(op, token);
        let key = Word::head(prepared.head);
        // SAFETY: (S1) lent, and not in flight.
        if unsafe { self.engine.try_push(ticket.op, key) } {
            prepared.pushed(&mut self.engine.core);
            return Ok(ticket);
        }
        // SAFETY: (S1) not pushed: the loan ends here.
        Err(Full::new(unsafe { ticket.op.as_mut() }))
    }

    /// Pushes one operation.
    ///
    /// # Errors
    /// [`Full`], with the operation, when there is no submission entry or no credit left.
    #[inline]
    pub fn try_push(
        &mut self,
        prepared: Prepared<'s, 'env>,
    ) -> Result<(), Full<Prepared<'s, 'env>>> {
        // SAFETY: (S1) lent, and not in flight: this is its one `Prepared`.
        if unsafe { self.engine.try_push_dyn(&prepared) } {
            Ok(())
        } else {
            Err(Full::new(prepared))
        }
    }

    /// Pushes a batch; what does not fit stays in the queue, in order.
    #[inline]
    pub fn push_queue(&mut self, queue: &mut VecDeque<Prepared<'s, 'env>>) {
        // SAFETY: (S1) lent, and not in flight: each is the one `Prepared` of its operation.
        unsafe { self.engine.push_queue(queue) };
    }

    /// Moves an operation into a slot of the driver's and pushes it: it may borrow for `'env`, and
    /// the scope empties the slot before it ends. See [`slots`](crate::slots).
    ///
    /// # Errors
    /// As [`Driver::try_push_owned`].
    ///
    /// # Panics
    /// As [`Driver::try_push_owned`].
    pub fn try_push_owned<O: Op + 'env>(
        &mut self,
        op: O,
        token: usize,
    ) -> Result<Key<'s, O>, Full<O>>
    where
        O::Fd: Holds,
    {
        self.engine.try_push_owned(op, token, true)
    }

    /// Submits what was pushed and waits: `None` for at least one completion or wake-up,
    /// `Some(ZERO)` not at all, `Some(d)` at most `d`. Completions of owned operations end the wait
    /// too, and are asked for by [`next_finished`](Self::next_finished), until it gives none: those
    /// that have completed before, also at the end of another scope, do not end this wait.
    ///
    /// # Errors
    /// As [`CompleteIo::submit`](crate::driver::CompleteIo::submit).
    #[inline]
    pub fn submit<S: Sink<Event<'s>> + ?Sized>(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut S,
    ) -> io::Result<()> {
        self.submit_until(Wait::for_timeout(timeout), sink)
    }

    /// The same, waiting as `wait` says: for so many completions, until a deadline.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    #[inline]
    pub fn submit_until<S: Sink<Event<'s>> + ?Sized>(
        &mut self,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        let room = sink.room();
        // SAFETY: (S1, S3) what is pushed is lent until the scope's end, or lies in a slot.
        unsafe { self.engine.submit(wait, room, &mut Lent::new(sink)) }
    }

    /// Pushes and submits as much of `queue` as there are credits for, however few submission
    /// entries there are, then waits as [`submit_until`](Self::submit_until) does.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_queue<S: Sink<Event<'s>> + ?Sized>(
        &mut self,
        queue: &mut VecDeque<Prepared<'s, 'env>>,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        let room = sink.room();
        let outlet = &mut Lent::new(sink);
        // SAFETY: (S1, S3) as above.
        unsafe { self.engine.submit_queue(queue, wait, room, outlet) }
    }

    /// Cancels a lent operation, if it is in flight: it completes once, with its own result or
    /// `ECANCELED`.
    ///
    /// # Errors
    /// [`Full`] when as many cancellations were asked for as the builder allows between two
    /// submits.
    pub fn try_cancel<O: Op>(&mut self, ticket: &Ticket<'s, 'env, O>) -> Result<(), Full<()>> {
        if !O::CANCELLABLE {
            return Ok(());
        }
        let key = Word::head(ticket.op.cast()).with_fd(O::MAKES_FD);
        self.engine.cancel(Which::Key(key))
    }

    /// The next owned operation that has completed, in the order of their completions: of this
    /// scope, or pushed to the driver before.
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.engine.core.slots.next_finished()
    }

    /// How many more operations may be pushed now.
    #[inline]
    pub fn capacity_left(&self) -> usize {
        self.engine.capacity_left()
    }

    /// How many more operations [`try_push_owned`](Self::try_push_owned) will take now.
    pub fn owned_capacity_left(&self) -> usize {
        self.engine.owned_capacity_left()
    }

    /// How many operations the driver has, those of slots included.
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    /// The driver's counters.
    pub fn stats(&self) -> Stats {
        self.engine.core.stats
    }

    /// As [`Driver::notifier`].
    pub fn notifier(&mut self) -> Notifier {
        self.engine.notifier()
    }

    /// As [`Driver::attach_fd`].
    ///
    /// # Errors
    /// As [`Driver::attach_fd`].
    pub fn attach_fd<'fd>(&mut self, fd: BorrowedFd<'fd>) -> io::Result<Attached<'fd>> {
        self.engine.attach_fd(fd)
    }
}

impl Prepared<'_, '_> {
    /// The number given when it was lent.
    pub fn token(&self) -> usize {
        // SAFETY: (S1) lent, and not in flight.
        unsafe { (*self.head.as_ptr()).token }
    }
}

impl Pushable for Prepared<'_, '_> {
    #[inline]
    fn head(&self) -> NonNull<OpHead> {
        self.head
    }

    #[inline]
    fn key(&self, _core: &mut Core) -> Option<Word> {
        Some(Word::head(self.head))
    }

    #[inline]
    fn pushed(&self, core: &mut Core) {
        // SAFETY: (S2) lent until its last completion takes it out again, and pushed once.
        unsafe { core.loans.insert(self.head) };
    }
}

impl<'s, 'env, O: Op> Ticket<'s, 'env, O> {
    /// What travels with the operation while it is in flight.
    pub(crate) fn word(&self) -> Word {
        Word::head(self.op.cast()).with_fd(O::MAKES_FD)
    }

    /// The output of a completed operation, and the operation, which can be lent again.
    ///
    /// # Errors
    /// Both, unchanged, when they are not of one loan.
    #[inline]
    #[expect(clippy::type_complexity, reason = "both are handed back")]
    pub fn redeem(
        mut self,
        done: Done<'s>,
    ) -> Result<(io::Result<O::Output>, &'env mut O), (Self, Done<'s>)> {
        if self.op.cast() != done.head {
            return Err((self, done));
        }
        let entry = done.into_entry();
        // SAFETY: (S1) complete, and lent to this ticket alone: the loan ends here.
        let op: &'env mut O = unsafe { self.op.as_mut() };
        // SAFETY: (D3, S4) the last entry of the operation's last flight, for there is one `Done`
        // for each.
        let output = unsafe { op.finish(entry) };
        Ok((output, op))
    }

    /// The operation, if it was not pushed.
    ///
    /// # Errors
    /// Both, unchanged, when they are not of one loan.
    pub fn take_back(
        mut self,
        prepared: Prepared<'s, 'env>,
    ) -> Result<&'env mut O, (Self, Prepared<'s, 'env>)> {
        if self.op.cast() != prepared.head {
            return Err((self, prepared));
        }
        // SAFETY: (S1) not pushed, for here is its `Prepared`: the loan ends here.
        Ok(unsafe { self.op.as_mut() })
    }
}

impl<'s> Done<'s> {
    /// The number given when the operation was lent.
    #[inline]
    pub fn token(&self) -> usize {
        self.entry.user_data()
    }

    /// The plain result: a count, a descriptor's number, zero, or the error.
    ///
    /// # Errors
    /// As [`Entry::result`].
    #[inline]
    pub fn result(&self) -> io::Result<usize> {
        self.entry.result()
    }

    #[inline]
    fn into_entry(self) -> Entry {
        let mut done = ManuallyDrop::new(self);
        // SAFETY: (S4) taken here and once: the destructor does not run.
        unsafe { ManuallyDrop::take(&mut done.entry) }
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if planted!("done-not-disposed") {
            return;
        }
        // SAFETY: (S4) taken here and once, in the destructor.
        let entry = unsafe { ManuallyDrop::take(&mut self.entry) };
        // SAFETY: (S1, S4) still lent, complete, and the last entry of its last flight.
        unsafe { dispose(self.head, entry) };
    }
}

/// # Safety
/// (D3) `entry` is the last one of the operation's last flight, and the operation lives.
unsafe fn dispose(head: NonNull<OpHead>, entry: Entry) {
    // SAFETY: (D2) the caller's contract.
    let table = unsafe { OpHead::table(head) };
    // SAFETY: (D3) the caller's contract.
    unsafe { (table.dispose)(head, entry) };
}

impl More {
    /// The number given when the operation was lent.
    pub fn token(&self) -> usize {
        self.entry.user_data()
    }

    /// The plain result of this completion.
    ///
    /// # Errors
    /// As [`Entry::result`].
    pub fn result(&self) -> io::Result<usize> {
        self.entry.result()
    }

    /// The id of the provided buffer that was used, if one was.
    pub fn buffer(&self) -> Option<u16> {
        self.entry.buffer()
    }
}

impl<'s> Event<'s> {
    /// The number given when the operation was lent.
    #[inline]
    pub fn token(&self) -> usize {
        match self {
            Self::More(more) => more.token(),
            Self::Done(done) => done.token(),
        }
    }

    /// The last completion, if this is one.
    #[inline]
    pub fn done(self) -> Option<Done<'s>> {
        match self {
            Self::More(_) => None,
            Self::Done(done) => Some(done),
        }
    }
}

/// The sink of a scope's caller.
struct Lent<'a, 's, S: ?Sized> {
    sink: &'a mut S,
    _brand: Brand<'s, 's>,
}

impl<'a, S: ?Sized> Lent<'a, '_, S> {
    #[inline]
    fn new(sink: &'a mut S) -> Self {
        Self {
            sink,
            _brand: PhantomData,
        }
    }
}

impl<'s, S: Sink<Event<'s>> + ?Sized> Outlet for Lent<'_, 's, S> {
    const CLASS: Class = Class::Head;

    #[inline(always)]
    fn put(&mut self, core: &mut Core, completion: Completion) {
        let (head, entry) = take(core, &completion);
        self.sink.put(if completion.more() {
            Event::More(More { entry })
        } else {
            Event::Done(Done {
                head,
                entry: ManuallyDrop::new(entry),
                _brand: PhantomData,
            })
        });
    }
}

/// The scope ends: nobody asks any more.
struct Disposing;

impl Outlet for Disposing {
    const CLASS: Class = Class::Head;

    fn put(&mut self, core: &mut Core, completion: Completion) {
        let (head, entry) = take(core, &completion);
        if completion.more() {
            drop(entry.into_fd());
        } else {
            // SAFETY: (S1, S4) still lent, for the scope has not ended; its last entry.
            unsafe { dispose(head, entry) };
        }
    }
}

/// Takes the operation of a completion out of the loans, if it was the last.
#[inline(always)]
fn take(core: &mut Core, completion: &Completion) -> (NonNull<OpHead>, Entry) {
    // SAFETY: (S2) a key of this class is made of a head alone, and none lies at 0.
    let head = unsafe { NonNull::new(completion.key.as_head()).unwrap_unchecked() };
    // SAFETY: (S1) in flight until now, so it is lent.
    let token = unsafe { (*head.as_ptr()).token };
    if !completion.more() && !planted!("loan-kept") {
        // SAFETY: (S2) it was inserted when it was pushed.
        unsafe { core.loans.remove(head) };
    }
    (head, Entry::new(token, completion.result, completion.flags))
}

impl Engine {
    /// Returns when nothing of the scope is in flight any more.
    fn end_scope(&mut self) {
        if self.core.is_child() {
            return; // The operations are the parent's.
        }
        let unwinding = AbortOnUnwind;
        while (self.core.slots.end_scope() | !self.core.loans.is_empty())
            && !planted!("scope-does-not-wait")
        {
            if let Err(error) = self.end_some() {
                abort(format_args!(
                    "the ring failed with {} operations of a scope in flight ({error})",
                    self.in_flight()
                ));
            }
        }
        unwinding.did_not();
    }

    /// Cancels everything of the scope, and takes what has completed.
    #[cold]
    fn end_some(&mut self) -> io::Result<()> {
        // An operation may have been where no cancellation finds it: ask again now and then.
        const PATIENCE: Duration = Duration::from_millis(100);
        let mut at = self.core.loans.first();
        while let Some(head) = at {
            // SAFETY: (S2) in the list: only `drain` takes it out.
            let table = unsafe { OpHead::table(head) };
            let key = Word::head(head).with_fd(table.makes_fd);
            if table.cancellable && self.cancel(Which::Key(key)).is_err() {
                // SAFETY: (S1, S3) what is pushed is lent, or lies in a slot.
                unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
                continue; // There is a place for the cancellation now.
            }
            // SAFETY: (S2) as above.
            at = unsafe { self.core.loans.after(head) };
        }
        // SAFETY: (S1, S3) as above.
        unsafe { self.cancel_owned() }?;
        let block = Block::Until(1, Instant::now().saturating_add(PATIENCE));
        // SAFETY: (S1, S3) as above.
        unsafe { self.backend.turn(&mut self.core, block) }?;
        self.backend
            .drain(&mut self.core, usize::MAX, &mut Disposing);
        Ok(())
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Prepared<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("token", &self.token())
            .finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Ticket<'_, '_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("op", &self.op)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Done<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Done").field("entry", &*self.entry).finish()
    }
}

#[cfg(all(test, unix))]
mod tests;
