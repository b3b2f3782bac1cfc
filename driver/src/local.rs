//! What every backend shares: the local completions, the credits, the counters, the wake-up flag.
#![allow(unsafe_code, reason = "exact operations are told what they have moved")]

use crate::error::Refusal;
use crate::exact::{Exacts, GoesOn, Outcome};
use crate::key::{Class, Completion, Key};
use crate::loans::Loans;
use crate::notify::Shared;
use crate::op::OpHead;
use crate::outlet::Outlet;
use crate::slots::{Completed, Slab};
use crate::stats::Stats;
use crate::sys::{ForkGuard, errno};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// The part of a driver that is not its backend.
#[derive(Debug)]
pub(crate) struct Core {
    /// Completions that no kernel queue holds: preallocated, one place for each credit.
    local: VecDeque<Completion>,
    in_flight_max: u32,
    pub(crate) stats: Stats,
    /// What a scope has in flight.
    pub(crate) loans: Loans,
    /// The operations that the driver owns.
    pub(crate) slots: Rc<Slab>,
    /// The operations that go on after a short result, or are stopped at a deadline.
    pub(crate) exacts: Exacts,
    pub(crate) shared: Arc<Shared>,
    /// A guard of its own beside the shared one: each push asks it.
    guard: ForkGuard,
    /// Whether a notifier was ever handed out.
    pub(crate) notified: bool,
    /// Whether a wake-up was taken out of the flag and no `submit` has returned for it yet.
    pub(crate) woken: bool,
    /// How many operations may be in flight now: none while the driver winds down.
    limit: u64,
    /// Whether the kernel's completions are next, where both have some.
    kernel_next: bool,
}

impl Core {
    pub(crate) fn new(in_flight_max: u32, slots: u32) -> io::Result<Self> {
        Ok(Self {
            local: VecDeque::with_capacity(in_flight_max as usize),
            in_flight_max,
            stats: Stats::default(),
            loans: Loans::new(),
            slots: Rc::new(Slab::new(slots)),
            exacts: Exacts::with_capacity(in_flight_max),
            shared: Shared::new()?,
            guard: ForkGuard::new(),
            notified: false,
            woken: false,
            limit: u64::from(in_flight_max),
            kernel_next: false,
        })
    }

    /// Whether this process is a forked child of the driver's.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        self.guard.is_child()
    }

    /// Operations accepted whose last entry has not come out.
    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.stats.pushed - self.stats.completed
    }

    /// How many more operations may be accepted now.
    #[inline]
    pub(crate) fn credits(&self) -> u64 {
        if self.is_child() {
            return 0;
        }
        self.limit.saturating_sub(self.in_flight())
    }

    /// Whether one more operation may be pushed to a backend with so many free `places`.
    ///
    /// That is three questions: a place, a credit, and the process. Their answer holds for a number
    /// of pushes, the allowance, of which a forked child has none. What else takes places or
    /// credits [withdraws](Self::withdraw) it.
    #[inline(always)]
    pub(crate) fn admit(&self, places: impl FnOnce() -> u32) -> bool {
        self.spend_allowance() || self.admit_anew(places())
    }

    /// Whether an allowance is left for one more, which this spends.
    #[inline(always)]
    pub(crate) fn spend_allowance(&self) -> bool {
        self.guard.spend()
    }

    #[inline(never)]
    fn admit_anew(&self, places: u32) -> bool {
        let credits = u32::try_from(self.credits()).unwrap_or(u32::MAX);
        let room = places.min(credits);
        self.guard.allow(room.saturating_sub(1));
        room > 0
    }

    /// What [`admit`](Self::admit) was told holds no more.
    #[inline]
    pub(crate) fn withdraw(&self) {
        self.guard.allow(0);
    }

    /// Accepts no more operations.
    pub(crate) fn close(&mut self) {
        self.limit = 0;
        self.withdraw();
    }

    /// Accepts operations again.
    pub(crate) fn reopen(&mut self) {
        self.limit = u64::from(self.in_flight_max);
    }

    /// The key of a raw operation; refuses one whose user data does not fit. The caller counts it
    /// either way, once it is pushed (I18: a buffer's method may panic at the encoding, then
    /// nothing was accepted).
    #[inline]
    pub(crate) fn raw_key(&mut self, user_data: usize) -> Option<Key> {
        let key = Key::try_raw(user_data);
        if key.is_none() {
            self.complete_locally(Completion::refused_whole(user_data));
        }
        key
    }

    /// A place for an exact operation that is being pushed; the key for the kernel.
    ///
    /// # Safety
    /// (D2) `head` is that of an operation that is not in flight, with these functions.
    #[cold]
    pub(crate) unsafe fn enter(&mut self, goes_on: GoesOn, head: NonNull<OpHead>, key: Key) -> Key {
        // SAFETY: (D2) the caller's contract.
        let start = unsafe { (goes_on.begin)(head) };
        self.exacts.enter(head, key, start)
    }

    /// Cancels an exact operation; one between two flights completes by that.
    pub(crate) fn cancel_exact(&mut self, index: u32) {
        if let Some(last) = self.exacts.cancel(index) {
            self.complete_locally(last);
        }
    }

    /// Counts an operation that was accepted.
    #[inline]
    pub(crate) fn accepted(&mut self) {
        debug_assert!(self.credits() > 0, "I2: accepted without a credit");
        self.stats.pushed += 1;
    }

    /// The one door to "complete": counts a completion of the outlet's class, and puts it there.
    #[inline(always)]
    pub(crate) fn put<T: Outlet>(&mut self, completion: Completion, outlet: &mut T) {
        debug_assert_eq!(completion.class(), T::CLASS, "I37: not for this outlet");
        if planted!("cancelled-lost") && completion.result == -errno::ECANCELED {
            return;
        }
        if planted!("enoent-lost") && completion.result == -errno::ENOENT {
            return;
        }
        self.count(&completion);
        if planted!("cancelled-doubled") && completion.result == -errno::ECANCELED {
            outlet.put(self, completion);
        }
        outlet.put(self, completion);
    }

    /// Whether a completion of the outlet's class can be for it: a head is followed (I37).
    #[inline(always)]
    pub(crate) fn takes<T: Outlet>(&self) -> bool {
        T::CLASS == Class::Raw || !self.loans.is_empty()
    }

    /// Hands a completion to whom it is for.
    pub(crate) fn deliver<T: Outlet>(&mut self, completion: Completion, outlet: &mut T) {
        if let Some(completion) = self.sort::<T>(completion) {
            self.put(completion, outlet);
        }
    }

    /// The completion, if it is for the outlet, which is to get it by `put`; sees to any other.
    ///
    /// An exact operation's last one comes back as a local completion: there is a place for it.
    pub(crate) fn sort<T: Outlet>(&mut self, completion: Completion) -> Option<Completion> {
        if completion.key.is_exact() && completion.class() == Class::Internal {
            self.continue_exact(&completion);
            return None;
        }
        if completion.class() == T::CLASS && self.takes::<T>() {
            return Some(completion);
        }
        self.deliver_aside(completion);
        None
    }

    /// Has an exact operation go on, or gives its last completion out under its owner's key.
    #[cold]
    fn continue_exact(&mut self, completion: &Completion) {
        // SAFETY: (D1) completions are taken in a submit, or in the driver's drop.
        match unsafe { self.exacts.complete(completion) } {
            Outcome::Unknown => self.stats.unknown += 1,
            Outcome::GoesOn => {}
            Outcome::Last(last) => self.complete_locally(last),
        }
    }

    /// One that is not for the outlet: a slot's, or one that nobody knows (I37).
    #[inline(never)]
    fn deliver_aside(&mut self, completion: Completion) {
        match completion.class() {
            Class::Slot => self.deliver_owned(completion),
            _ => self.stats.unknown += 1,
        }
    }

    /// One of class `Slot`, whoever waits.
    #[inline]
    pub(crate) fn deliver_owned(&mut self, completion: Completion) {
        let Some(completed) = self.slots.complete(completion) else {
            self.stats.unknown += 1;
            return;
        };
        self.count(&completion);
        if let Completed::Orphan(orphan) = completed {
            self.slots.end_orphan(orphan);
        }
    }

    #[inline(always)]
    fn count(&mut self, completion: &Completion) {
        if !completion.more() && !planted!("credit-kept") {
            debug_assert!(self.in_flight() > 0, "I1: completed twice");
            self.stats.completed += 1;
        }
    }

    /// The next local completion, if it is of the class that the outlet [takes](Self::takes); sees
    /// to any other.
    #[cfg(any(readiness, iocp))]
    #[inline]
    pub(crate) fn take_local<T: Outlet>(&mut self) -> Option<Completion> {
        let completion = self.local.pop_front()?;
        if completion.class() == T::CLASS {
            return Some(completion);
        }
        self.sort::<T>(completion)
    }

    /// Queues a completion that the driver made itself.
    #[inline]
    pub(crate) fn complete_locally(&mut self, completion: Completion) {
        assert!(
            self.local.len() < self.in_flight_max as usize,
            "I1: more entries than credits"
        );
        self.stats.local += 1;
        self.local.push_back(completion);
    }

    /// Completes an operation that is refused: its push is counted by the caller.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(&mut self, key: Key, refusal: Refusal) {
        self.complete_locally(Completion::last(key, refusal.code()));
    }

    /// How many local completions wait.
    #[inline]
    pub(crate) fn local_len(&self) -> usize {
        self.local.len()
    }

    /// The next completion: local ones and the kernel's in turn, where there are both.
    pub(crate) fn next(
        &mut self,
        kernel: impl FnOnce(&mut Self) -> Option<Completion>,
    ) -> Option<Completion> {
        self.kernel_next = !self.kernel_next;
        let local_first = self.kernel_next && !self.local.is_empty();
        let first = if local_first { None } else { kernel(self) };
        first.or_else(|| self.local.pop_front())
    }
}
