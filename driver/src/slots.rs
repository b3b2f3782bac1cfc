//! Operations that the driver owns, each in a preallocated slot: what runtimes build futures on.
//!
//! [`try_push_owned`](crate::driver::Driver::try_push_owned) moves an operation into a slot and
//! returns a [`Key`]. The operation's buffers and descriptors are its own, so nothing has to
//! outlive anything, and no `unsafe` is needed. When it has completed, the key gives the output and
//! the operation back: by [`redeem`](Key::redeem), or as a future.
//!
//! Keys complete while somebody submits: [`Driver::scope`](crate::driver::Driver::scope) with
//! [`Scope::submit`](crate::scope::Scope::submit), or the raw layer's `submit`. Then
//! [`next_finished`](crate::driver::Driver::next_finished) says whose turn it is.
//!
//! Dropping a key makes an orphan of its operation: it is cancelled at the next submit, and the
//! slot keeps operation, buffer and descriptor until the kernel is done with them. Forgetting a key
//! keeps the slot occupied for the driver's life, and does no other harm.
//!
//! | state of a slot | who has the operation | what comes next |
//! |---|---|---|
//! | `Free` | nobody | `InFlight` by a push |
//! | `InFlight` | the kernel, or a worker | `Done`, or `Orphan` when the key is dropped; `Taken` if the push fails |
//! | `Orphan` | the kernel, or a worker | `Taken` with its last completion |
//! | `Done` | the slot, for its key | `Taken` when the key is redeemed or dropped |
//! | `Taken` | the one function that moves it out, or drops it | `Free`, or `Retired` |
//! | `Retired` | nobody, ever: its generations are used up | |
//!
//! ```
//! use completeio_driver::driver::Driver;
//! use completeio_driver::op::ReadAt;
//! use std::{fs::File, os::fd::OwnedFd};
//!
//! let mut driver = Driver::new()?;
//! let file = OwnedFd::from(File::open("Cargo.toml")?);
//! let key = driver.try_push_owned(ReadAt::new(file, 0, Vec::with_capacity(16)), 7).unwrap();
//! driver.scope(|s| s.submit(None, &mut None))??;
//! assert_eq!(driver.next_finished().unwrap().token(), 7);
//! let (read, op) = key.redeem().unwrap();
//! assert_eq!(read?, 16);
//! assert_eq!(op.buf().len(), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(
    unsafe_code,
    reason = "owns operations of any type in memory of one size"
)]

use crate::driver::{Driver, Entry, Full, Holds};
use crate::engine::Engine;
use crate::key::{Completion, Key as Word};
use crate::list::{Linked, Links, List};
use crate::op::{Op, OpHead};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bytes of one slot: the largest operation, descriptor and inline buffer included, that the
/// driver can own. Larger ones fail to compile; box the buffer, or lend the operation to a
/// [scope](crate::scope).
pub const SLOT_SIZE: usize = 512;

/// The alignment of slots, in bytes.
const SLOT_ALIGN: usize = 16;

/// The memory of one slot.
#[repr(C, align(16))]
struct Place(UnsafeCell<MaybeUninit<[u8; SLOT_SIZE]>>);

const _: () = assert!(align_of::<Place>() == SLOT_ALIGN, "see `Fits`");

/// See the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    InFlight,
    Orphan,
    Done,
    Taken,
    Retired,
}

/// What is known about one slot.
#[repr(align(64))]
struct Slot {
    state: State,
    /// How often it was emptied: a key of an earlier time names nothing.
    generation: u32,
    /// What its completion says, once it is done.
    result: i32,
    flags: u32,
    /// Whether a scope must empty it before it ends.
    scoped: bool,
    /// Whether it is in the list of cancellations.
    cancelled: bool,
    /// Whether it is in the list of finished ones.
    announced: bool,
    makes_fd: bool,
    cancellable: bool,
    token: usize,
    waker: Option<Waker>,
    /// In one of the driver's lists: of what is to be cancelled, and is in flight, or of what is
    /// done.
    listed: Links,
    scope: Links,
}

const _: () = assert!(size_of::<Slot>() == 64, "a line of the cache");
const _: () = assert!(
    size_of::<Slot>() + size_of::<Place>() + size_of::<u32>() == 580,
    "as ARCHITECTURE.md's table of memory says"
);

impl Slot {
    /// Whether a completion of this generation is to come.
    #[inline]
    fn expects(&self, generation: u32) -> bool {
        self.generation == generation && matches!(self.state, State::InFlight | State::Orphan)
    }
}

struct Announced;
struct Cancelled;
struct Scoped;

macro_rules! linked {
    ($($role:ident by $field:ident),*) => {$(
        impl Linked<$role> for Slot {
            #[inline]
            fn links(&self) -> &Links {
                &self.$field
            }

            #[inline]
            fn links_mut(&mut self) -> &mut Links {
                &mut self.$field
            }
        }
    )*};
}
linked!(Announced by listed, Cancelled by listed, Scoped by scope);

/// Everything about the slots but their memory. Borrowed for a few lines at a time, in which no
/// code of the user's runs.
struct Table {
    slots: Box<[Slot]>,
    /// Last in, first out: what is touched next is still in the cache.
    free: Vec<u32>,
    finished: List<Announced>,
    cancels: List<Cancelled>,
    scoped: List<Scoped>,
}

/// The slots of a driver, shared with the keys.
pub(crate) struct Slab {
    in_flight: Cell<u32>,
    /// Operations that have completed, ever; wraps.
    completions: Cell<usize>,
    /// Whether a cancellation is to be asked for.
    cancels: Cell<bool>,
    table: RefCell<Table>,
    places: Box<[Place]>,
}

impl Slab {
    /// The only place that allocates.
    pub(crate) fn new(slots: u32) -> Self {
        let slot = |_| Slot {
            state: State::Free,
            generation: 0,
            result: 0,
            flags: 0,
            scoped: false,
            cancelled: false,
            announced: false,
            makes_fd: false,
            cancellable: false,
            token: 0,
            waker: None,
            listed: Links::UNLINKED,
            scope: Links::UNLINKED,
        };
        let place = |_| Place(UnsafeCell::new(MaybeUninit::uninit()));
        Self {
            in_flight: Cell::new(0),
            completions: Cell::new(0),
            cancels: Cell::new(false),
            table: RefCell::new(Table {
                slots: (0..slots).map(slot).collect(),
                free: (0..slots).rev().collect(),
                finished: List::new(),
                cancels: List::new(),
                scoped: List::new(),
            }),
            places: (0..slots).map(place).collect(),
        }
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.places.len()).expect("a limit of 20 bits")
    }

    /// How many slots are free.
    pub(crate) fn free(&self) -> usize {
        self.table.borrow().free.len()
    }

    /// How many operations the driver has, orphans included.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// How many operations have completed, ever; wraps.
    #[inline]
    pub(crate) fn completions(&self) -> usize {
        self.completions.get()
    }

    fn place(&self, index: u32) -> NonNull<OpHead> {
        let place = self.places[index as usize].0.get();
        NonNull::new(place.cast()).expect("a place has an address")
    }

    /// Moves an operation into a slot; gives it back if none is free.
    fn put<O: Op>(&self, op: O, token: usize, scoped: bool) -> Result<Occupied<'_>, O> {
        const { Fits::<O, SLOT_SIZE>::CHECK };
        let mut table = self.table.borrow_mut();
        let Some(index) = table.free.pop() else {
            return Err(op);
        };
        let slot = &mut table.slots[index as usize];
        assert_eq!(slot.state, State::Free, "slot {index} is taken");
        slot.state = State::InFlight;
        slot.token = token;
        slot.scoped = scoped;
        slot.makes_fd = O::MAKES_FD;
        slot.cancellable = O::CANCELLABLE;
        let generation = slot.generation;
        if scoped {
            let Table { slots, scoped, .. } = &mut *table;
            scoped.push_back(slots, index);
        }
        self.in_flight.set(self.in_flight.get() + 1);
        // SAFETY: (S3) the slot was free, so nobody else has the place; `Fits` has checked its size
        // and alignment.
        unsafe { self.place(index).cast::<O>().write(op) };
        drop(table);
        Ok(Occupied {
            slab: self,
            index,
            generation,
        })
    }

    /// The one door to "complete" of the slots. `None` if the completion is for nobody (I37).
    #[inline(always)]
    pub(crate) fn complete(&self, completion: Completion) -> Option<Completed> {
        let (index, generation) = completion.key.as_slot();
        let table = &mut *self.table.borrow_mut();
        let slot = table
            .slots
            .get_mut(index as usize)
            .filter(|slot| slot.expects(generation))?;
        assert!(!completion.more(), "no operation of a slot is a multishot");
        self.in_flight.set(self.in_flight.get() - 1);
        self.completions.set(self.completions.get().wrapping_add(1));
        if slot.cancelled {
            table.forget_cancel(index);
        }
        let slot = &mut table.slots[index as usize];
        Some(match slot.state {
            State::Orphan if planted!("orphan-kept") => Completed::Announced,
            State::Orphan => {
                slot.state = State::Taken;
                let entry = Entry::new(slot.token, completion.result, completion.flags);
                Completed::Orphan(Orphan { index, entry })
            }
            State::InFlight => {
                slot.state = State::Done;
                slot.result = completion.result;
                slot.flags = completion.flags;
                slot.announced = true;
                table.finished.push_back(&mut table.slots, index);
                Completed::Announced
            }
            state => unreachable!("slot {index} is {state:?}"),
        })
    }

    /// Ends an operation whose key is gone.
    pub(crate) fn end_orphan(&self, orphan: Orphan) {
        self.dispose(orphan.index, orphan.entry);
    }

    /// Gives up what an entry names, and drops the operation. The slot is `Taken`.
    fn dispose(&self, index: u32, entry: Entry) {
        // Whatever the operation's destructor does, the slot is empty after it.
        let _emptied = Emptied { slab: self, index };
        let head = self.place(index);
        // SAFETY: (S3) occupied until now, and taken by this function.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (S3, D3) taken, so not in flight; the last entry of this slot's operation.
        unsafe { (table.dispose)(head, entry) };
        // SAFETY: (S3) taken, and dropped here and once.
        unsafe { (table.drop)(head) };
    }

    /// Whether `next_cancel` has something to give.
    #[inline]
    pub(crate) fn has_cancels(&self) -> bool {
        self.cancels.get()
    }

    /// The next one to cancel.
    pub(crate) fn next_cancel(&self) -> Option<Word> {
        let table = self.table.borrow();
        let Some(index) = table.cancels.front() else {
            self.cancels.set(false);
            return None;
        };
        let slot = &table.slots[index as usize];
        Some(Word::slot(index, slot.generation).with_fd(slot.makes_fd))
    }

    /// The cancellation of `next_cancel` was asked for.
    pub(crate) fn cancel_asked(&self) {
        let mut table = self.table.borrow_mut();
        if let Some(index) = table.cancels.front() {
            table.forget_cancel(index);
        }
    }

    fn cancel(&self, index: u32) {
        let mut table = self.table.borrow_mut();
        let slot = &mut table.slots[index as usize];
        let in_flight = matches!(slot.state, State::InFlight | State::Orphan);
        if in_flight && slot.cancellable && !slot.cancelled {
            slot.cancelled = true;
            self.cancels.set(true);
            let Table { slots, cancels, .. } = &mut *table;
            cancels.push_back(slots, index);
        }
    }

    /// The next operation that has completed, once.
    #[inline(always)]
    pub(crate) fn next_finished(&self) -> Option<Finished> {
        let mut table = self.table.borrow_mut();
        let Table {
            slots, finished, ..
        } = &mut *table;
        let index = finished.pop_front(slots)?;
        let slot = &mut slots[index as usize];
        slot.announced = false;
        Some(Finished {
            token: slot.token,
            waker: slot.waker.take(),
        })
    }

    /// A key is gone: cancels its operation, or disposes of it.
    fn orphan(&self, index: u32, generation: u32) {
        let done = self.table.borrow_mut().take_done(index, generation);
        if let Some((entry, _waker)) = done {
            return self.dispose(index, entry);
        }
        let _waker = self.make_orphan(index);
        self.cancel(index);
    }

    /// Nobody waits for it any more; the waker is for the caller to drop.
    fn make_orphan(&self, index: u32) -> Option<Waker> {
        let mut table = self.table.borrow_mut();
        let slot = &mut table.slots[index as usize];
        assert_eq!(slot.state, State::InFlight, "slot {index} has lost its key");
        slot.state = State::Orphan;
        slot.waker.take()
    }

    /// The end of a scope, of which no key is left: disposes of what has completed, and cancels the
    /// rest. Returns whether there is a rest.
    pub(crate) fn end_scope(&self) -> bool {
        let mut at = self.table.borrow().scoped.front();
        while let Some(index) = at {
            let (state, generation) = {
                let table = self.table.borrow();
                at = table.scoped.after(&table.slots, index);
                let slot = &table.slots[index as usize];
                (slot.state, slot.generation)
            };
            match state {
                // Their keys were forgotten.
                State::Done | State::InFlight => self.orphan(index, generation),
                State::Orphan => self.cancel(index),
                State::Free | State::Taken | State::Retired => {
                    unreachable!("slot {index} is {state:?}, and a scope's")
                }
            }
        }
        !self.table.borrow().scoped.is_empty()
    }

    /// The end of the driver: nobody has any operation any more. What was never handed over
    /// completes as cancelled.
    pub(crate) fn end(&self) {
        for index in 0..self.len() {
            let key = {
                let slot = &self.table.borrow().slots[index as usize];
                Word::slot(index, slot.generation).with_fd(slot.makes_fd)
            };
            if let Some(Completed::Orphan(orphan)) = self.complete(Completion::discarded(key)) {
                self.end_orphan(orphan);
            }
        }
    }
}

impl Table {
    /// Takes the completion of a slot that is done; it is `Taken` then. The waker is for the caller
    /// to drop, which runs code of the user's.
    #[inline]
    fn take_done(&mut self, index: u32, generation: u32) -> Option<(Entry, Option<Waker>)> {
        let slot = &mut self.slots[index as usize];
        assert!(
            slot.generation == generation,
            "the key of slot {index} is stale"
        );
        if slot.state != State::Done {
            return None;
        }
        slot.state = State::Taken;
        let waker = slot.waker.take();
        let entry = Entry::new(slot.token, slot.result, slot.flags);
        if slot.announced {
            self.forget_announced(index);
        }
        Some((entry, waker))
    }

    /// Empties a slot that is `Taken`, whose key names nothing from here on.
    #[inline]
    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        // A key of the first generation might be taken for one of a new first generation.
        let (generation, is_last) = slot.generation.overflowing_add(1);
        if is_last {
            self.vacate(index, State::Retired);
        } else {
            slot.generation = generation;
            self.vacate(index, State::Free);
        }
    }

    /// Leaves a slot that is `Taken` as it was before its push, or for good.
    #[inline]
    fn vacate(&mut self, index: u32, state: State) {
        let slot = &mut self.slots[index as usize];
        assert!(slot.state == State::Taken, "slot {index} is not empty");
        debug_assert!(
            !slot.announced && !slot.cancelled && slot.listed == Links::UNLINKED,
            "in no list but the scope's"
        );
        slot.state = state;
        let is_scoped = slot.scoped;
        if state == State::Free {
            self.free.push(index);
        }
        if is_scoped {
            self.forget_scoped(index);
        }
    }

    /// Takes a slot that is done out of those that are announced: its key came first.
    #[cold]
    fn forget_announced(&mut self, index: u32) {
        self.slots[index as usize].announced = false;
        self.finished.remove(&mut self.slots, index);
    }

    /// Takes a slot out of those of the scope.
    #[cold]
    fn forget_scoped(&mut self, index: u32) {
        self.slots[index as usize].scoped = false;
        self.scoped.remove(&mut self.slots, index);
    }

    /// Takes a slot out of the cancellations.
    #[cold]
    fn forget_cancel(&mut self, index: u32) {
        self.slots[index as usize].cancelled = false;
        self.cancels.remove(&mut self.slots, index);
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("slots", &self.places.len())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

/// A slot that was filled for a push. Unless that succeeds, the operation is dropped with it: a
/// buffer's method has panicked.
struct Occupied<'slab> {
    slab: &'slab Slab,
    index: u32,
    generation: u32,
}

impl Occupied<'_> {
    /// The operation is in flight: it stays where it is.
    fn pushed(self) -> (u32, u32) {
        let this = mem::ManuallyDrop::new(self);
        (this.index, this.generation)
    }

    /// There was no place for it: the operation, which is an `O`, again.
    #[cold]
    fn take_back<O: Op>(self) -> O {
        let this = mem::ManuallyDrop::new(self);
        this.taken();
        // SAFETY: (S3) not in flight, and taken here and once, as the type that `put` was given.
        let op = unsafe { this.slab.place(this.index).cast::<O>().read() };
        // No key has named it: its generation is not used up.
        let mut table = this.slab.table.borrow_mut();
        table.vacate(this.index, State::Free);
        op
    }

    /// Nothing is in flight.
    fn taken(&self) {
        let mut table = self.slab.table.borrow_mut();
        let slot = &mut table.slots[self.index as usize];
        let index = self.index;
        assert!(slot.state == State::InFlight, "slot {index} was not filled");
        slot.state = State::Taken;
        self.slab.in_flight.set(self.slab.in_flight.get() - 1);
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        self.taken();
        let slab = self.slab;
        let entry = Entry::new(0, 0, 0);
        slab.dispose(self.index, entry);
    }
}

/// Empties a `Taken` slot at the end of a function, also when it unwinds.
struct Emptied<'slab> {
    slab: &'slab Slab,
    index: u32,
}

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        self.slab.table.borrow_mut().release(self.index);
    }
}

/// What a completion was to the slots.
pub(crate) enum Completed {
    /// Its key has the operation from now on.
    Announced,
    /// Nobody has it: it is to be ended.
    Orphan(Orphan),
}

/// An operation that has completed, and whose key is gone.
#[must_use = "nobody else ends it"]
pub(crate) struct Orphan {
    index: u32,
    entry: Entry,
}

/// An operation that has completed: [`next_finished`](crate::driver::Driver::next_finished) gives
/// each one once, in the order of their completions, unless its key was redeemed before.
///
/// Dropping it wakes the task that polled the key, if one did.
#[must_use = "somebody waits for it: call `wake`, or look at the token"]
#[derive(Debug)]
pub struct Finished {
    token: usize,
    waker: Option<Waker>,
}

impl Finished {
    /// The number given at the push.
    pub fn token(&self) -> usize {
        self.token
    }

    /// Wakes the task that polled the key, if one did.
    pub fn wake(self) {
        drop(self);
    }
}

impl Drop for Finished {
    /// Whoever only looks at tokens must not keep a task asleep.
    fn drop(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The claim on an operation that a driver owns.
///
/// It is a future: ready with the output and the operation when that has completed. Whoever drives
/// the driver wakes it by [`Finished::wake`]. Without an executor, [`redeem`](Self::redeem) asks.
///
/// Dropping it cancels the operation, which is not waited for. A key may outlive its driver, whose
/// drop completes what it still had.
#[must_use = "dropping a key cancels its operation"]
pub struct Key<'s, O: Op> {
    slab: Rc<Slab>,
    index: u32,
    generation: u32,
    /// Whether the operation was given back.
    spent: bool,
    _scope: PhantomData<Cell<&'s ()>>,
    /// Invariant: the operation is taken out as the type that was pushed.
    _owns: PhantomData<Cell<O>>,
}

impl<O: Op> Key<'_, O> {
    /// What travels with the operation while it is in flight.
    pub(crate) fn word(&self) -> Word {
        Word::slot(self.index, self.generation).with_fd(O::MAKES_FD)
    }

    /// The output and the operation, if it has completed; else the key again.
    ///
    /// # Errors
    /// The key, while the operation is in flight.
    pub fn redeem(mut self) -> Result<(io::Result<O::Output>, O), Self> {
        self.take().ok_or(self)
    }

    /// Asks for the operation to be cancelled at the next submit. It then completes once, with its
    /// own result or `ECANCELED`. One that has completed is not affected, and a
    /// [`Close`](crate::op::Close) is never cancelled.
    pub fn cancel(&self) {
        // A spent key's slot may be another operation's by now.
        if !self.spent {
            self.slab.cancel(self.index);
        }
    }

    /// Whether the operation has completed, so that `redeem` will succeed.
    pub fn is_done(&self) -> bool {
        let table = self.slab.table.borrow();
        !self.spent && table.slots[self.index as usize].state == State::Done
    }

    #[inline]
    fn take(&mut self) -> Option<(io::Result<O::Output>, O)> {
        let mut table = self.slab.table.borrow_mut();
        let (entry, _waker) = table.take_done(self.index, self.generation)?;
        self.spent = true;
        let place = self.slab.place(self.index).cast::<O>();
        // SAFETY: (S3) done, and taken here and once; the key's type is that of the push, for it is
        // invariant.
        let mut op = unsafe { place.read() };
        table.release(self.index);
        drop(table);
        // SAFETY: (D3) the last entry of this slot's operation.
        let output = unsafe { op.finish(entry) };
        Some((output, op))
    }

    /// Remembers whom to wake.
    fn wait(&self, waker: &Waker) {
        let known = |waiting: &Waker| waiting.will_wake(waker);
        let is_known = |table: &Table| {
            let waiting = table.slots[self.index as usize].waker.as_ref();
            waiting.is_some_and(known)
        };
        if is_known(&self.slab.table.borrow()) {
            return;
        }
        // The clone, and the drop of the one before, are code of the user's: nothing is borrowed.
        let mut replaced = Some(waker.clone());
        let mut table = self.slab.table.borrow_mut();
        mem::swap(&mut table.slots[self.index as usize].waker, &mut replaced);
    }
}

// Nothing of the operation is in the key.
impl<O: Op> Unpin for Key<'_, O> {}

impl<O: Op> Future for Key<'_, O> {
    type Output = (io::Result<O::Output>, O);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.get_mut();
        assert!(!key.spent, "a future is polled until it is ready");
        match key.take() {
            Some(output) => Poll::Ready(output),
            None => {
                key.wait(context.waker());
                Poll::Pending
            }
        }
    }
}

impl<O: Op> Drop for Key<'_, O> {
    fn drop(&mut self) {
        if !self.spent {
            self.slab.orphan(self.index, self.generation);
        }
    }
}

impl<O: Op> fmt::Debug for Key<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("index", &self.index)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Driver<'_> {
    /// Moves an operation into a slot and pushes it; `token` is what
    /// [`next_finished`](Self::next_finished) will say. See [`slots`](crate::slots).
    ///
    /// # Errors
    /// [`Full`], with the operation, when there is no slot, no submission entry or no credit left.
    ///
    /// # Panics
    /// What a buffer's own method panics with; the operation is dropped.
    pub fn try_push_owned<O: Op + 'static>(
        &mut self,
        op: O,
        token: usize,
    ) -> Result<Key<'static, O>, Full<O>>
    where
        O::Fd: Holds,
    {
        self.engine.try_push_owned(op, token, false)
    }

    /// The next owned operation that has completed, in the order of their completions.
    #[inline]
    pub fn next_finished(&mut self) -> Option<Finished> {
        self.engine.core.slots.next_finished()
    }

    /// How many more operations [`try_push_owned`](Self::try_push_owned) will take now.
    pub fn owned_capacity_left(&self) -> usize {
        self.engine.owned_capacity_left()
    }
}

impl Engine {
    /// The push of both [`Driver`] and [`Scope`](crate::scope::Scope).
    pub(crate) fn try_push_owned<'s, O: Op>(
        &mut self,
        op: O,
        token: usize,
        scoped: bool,
    ) -> Result<Key<'s, O>, Full<O>> {
        let slab = self.core.slots.clone();
        let occupied = slab.put(op, token, scoped).map_err(Full::new)?;
        let key = Word::slot(occupied.index, occupied.generation);
        let head = slab.place(occupied.index).cast::<O>();
        // SAFETY: (S3) the slot keeps the operation until its last completion came, whatever
        // becomes of the key.
        if !unsafe { self.try_push(head, key) } {
            return Err(Full::new(occupied.take_back()));
        }
        let (index, generation) = occupied.pushed();
        Ok(Key {
            slab,
            index,
            generation,
            spent: false,
            _scope: PhantomData,
            _owns: PhantomData,
        })
    }

    pub(crate) fn owned_capacity_left(&self) -> usize {
        self.capacity_left().min(self.core.slots.free())
    }
}

/// The largest operation, checked where one is pushed.
pub(crate) struct Fits<O, const SIZE: usize>(PhantomData<O>);

impl<O, const SIZE: usize> Fits<O, SIZE> {
    pub(crate) const CHECK: () = {
        assert!(
            align_of::<O>() <= SLOT_ALIGN,
            "the driver owns operations of an alignment up to 16 bytes: box the buffer, or lend \
             the operation to a scope"
        );
        assert!(size_of::<O>() <= SIZE, "{}", Self::TOO_LARGE.as_str());
    };

    const TOO_LARGE: Message = Message::EMPTY
        .text("this operation has ")
        .number(size_of::<O>())
        .text(" bytes, and a slot of the driver has ")
        .number(SIZE)
        .text(": box its buffer, or lend the operation to a scope");
}

/// A text that is put together while compiling.
struct Message {
    bytes: [u8; 192],
    len: usize,
}

impl Message {
    const EMPTY: Self = Self {
        bytes: [0; 192],
        len: 0,
    };

    const fn byte(mut self, byte: u8) -> Self {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    const fn text(mut self, text: &str) -> Self {
        let mut i = 0;
        while i < text.len() {
            self = self.byte(text.as_bytes()[i]);
            i += 1;
        }
        self
    }

    const fn number(mut self, number: usize) -> Self {
        if number >= 10 {
            self = self.number(number / 10);
        }
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        self.byte(b'0' + (number % 10) as u8)
    }

    const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "this operation is larger than a slot of the driver",
        }
    }
}

#[cfg(all(test, unix))]
pub(crate) mod tests;
