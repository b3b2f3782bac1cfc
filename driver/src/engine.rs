//! The part of a driver that names no lifetime: the backend, what all backends share, the wait.
//!
//! The raw layer and the safe one are two ways into it. It has the destructor that a
//! [`Driver`](crate::driver::Driver) must not have.
#![allow(unsafe_code, reason = "hands operations over")]

use crate::builder::{Backend, Capabilities, Choice, Limits};
use crate::clock::Instant;
use crate::driver::{AsRawFd, Attached, BorrowedFd, Full, Notifier, RawFd, SetupError, Wait};
use crate::key::Key;
use crate::local::Core;
use crate::op::OpCode;
use crate::outlet::{Nowhere, Outlet};
use crate::sys::{self, Block, Pushable, Which};
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::mem::{self, ManuallyDrop};
use std::process;
use std::ptr::NonNull;

pub(crate) struct Engine {
    pub(crate) backend: sys::Backend,
    pub(crate) core: Core,
}

impl Engine {
    pub(crate) fn new(
        limits: &Limits,
        candidates: &[Backend],
        choice: Choice,
    ) -> Result<(Self, Capabilities), SetupError> {
        let core = Core::new(limits.in_flight, limits.slots)
            .map_err(|e| SetupError::os("making the notifier", e))?;
        let (backend, capabilities) = sys::Backend::choose(limits, &core, candidates, choice)?;
        Ok((Self { backend, core }, capabilities))
    }

    pub(crate) fn check_process(&self) -> io::Result<()> {
        if self.core.is_child() {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        Ok(())
    }

    pub(crate) fn notifier(&mut self) -> Notifier {
        self.core.notified = true;
        Notifier::new(self.core.shared.clone())
    }

    pub(crate) fn attach(&mut self, fd: RawFd) -> io::Result<()> {
        self.check_process()?;
        sys::check_open(fd)?;
        self.backend.attach(&mut self.core, fd)
    }

    pub(crate) fn attach_fd<'fd>(&mut self, fd: BorrowedFd<'fd>) -> io::Result<Attached<'fd>> {
        self.attach(fd.as_raw_fd())?;
        Ok(Attached::new(fd))
    }

    #[inline]
    pub(crate) fn capacity_left(&self) -> usize {
        let credits = u32::try_from(self.core.credits()).unwrap_or(u32::MAX);
        self.backend.capacity_left().min(credits) as usize
    }

    /// How many operations were accepted and have not given their last completion.
    pub(crate) fn in_flight(&self) -> usize {
        usize::try_from(self.core.in_flight()).expect("I2: no more than there are credits")
    }

    /// How many of them belong to callers of `submit`, while no scope has any.
    pub(crate) fn raw_in_flight(&self) -> usize {
        self.in_flight() - self.core.slots.in_flight() as usize
    }

    /// Pushes an operation of a known type; `false` when there is no place for it.
    ///
    /// # Safety
    /// (D2) `op` is not in flight. It is handed over by `turn` only.
    #[inline(always)]
    pub(crate) unsafe fn try_push<O: OpCode>(&mut self, op: NonNull<O>, key: Key) -> bool {
        // The usual way is compiled into the caller, and returns from no call: so it need not keep
        // anything over one.
        // SAFETY: (D2) the caller's contract.
        if unsafe { self.backend.push_admitted(&mut self.core, op, key) } {
            return true;
        }
        // SAFETY: (D2) the caller's contract; it was not pushed.
        unsafe { self.try_push_anew(op, key) }
    }

    /// The same where places and credits may have to be counted, or on another backend.
    ///
    /// # Safety
    /// As [`try_push`](Self::try_push).
    #[inline(never)]
    unsafe fn try_push_anew<O: OpCode>(&mut self, op: NonNull<O>, key: Key) -> bool {
        // SAFETY: (D2) the caller's contract.
        unsafe { self.backend.try_push(&mut self.core, op, key) }
    }

    /// Accepts an operation whose user data does not fit, and completes it; `false` when there is
    /// no place for it.
    #[cold]
    pub(crate) fn refuse_user_data(&mut self, user_data: usize) -> bool {
        let Self { core, backend } = self;
        if !core.admit(|| backend.capacity_left()) {
            return false;
        }
        let refused = core.raw_key(user_data);
        debug_assert_eq!(refused, None, "asked before");
        core.accepted();
        true
    }

    /// The same for one whose type was lost.
    ///
    /// # Safety
    /// (D2) The operation is not in flight. It is handed over by `turn` only.
    #[inline]
    pub(crate) unsafe fn try_push_dyn<P: Pushable>(&mut self, op: &P) -> bool {
        // SAFETY: (D2) the caller's contract.
        unsafe { self.backend.try_push_dyn(&mut self.core, op) }
    }

    /// Pushes of `queue` what there is room for.
    ///
    /// # Safety
    /// (D2) The operations are not in flight. They are handed over by `turn` only.
    #[inline]
    pub(crate) unsafe fn push_queue<P: Pushable>(&mut self, queue: &mut VecDeque<P>) {
        let n = self.capacity_left().min(queue.len());
        // SAFETY: (D2) the caller's contract.
        unsafe { self.backend.push_queue(&mut self.core, queue, n) };
    }

    pub(crate) fn cancel(&mut self, which: Which) -> Result<(), Full<()>> {
        if self.core.is_child() {
            return Err(Full::new(()));
        }
        // First: who hears that there is no place for it has cancelled nothing.
        self.backend.cancel(&mut self.core, which)?;
        if !self.core.exacts.is_empty() {
            self.cancel_exacts(which);
        }
        self.core.stats.cancelled += 1;
        Ok(())
    }

    /// Cancels those that go on after a short result: the kernel knows them by other keys, and has
    /// none of them between two flights.
    #[cold]
    fn cancel_exacts(&mut self, which: Which) {
        let mut next = self.core.exacts.find_cancelled(None, which);
        while let Some(index) = next {
            next = self.core.exacts.find_cancelled(Some(index), which);
            // By its descriptor, or with all others, the kernel finds it under any key.
            let is_found = matches!(which, Which::Target(_) | Which::All);
            if !is_found && self.cancel_flight(index).is_err() {
                self.core.exacts.hurry(index);
            }
            self.core.cancel_exact(index);
        }
    }

    /// Cancels the flight of one of these, if it has one.
    fn cancel_flight(&mut self, index: u32) -> Result<(), Full<()>> {
        match self.core.exacts.key_in_flight(index) {
            Some(key) => self.backend.cancel(&mut self.core, Which::Key(key)),
            None => Ok(()),
        }
    }

    /// Cancels those whose time is over. What was pushed has been handed over: it is tried once.
    ///
    /// # Safety
    /// As [`submit`](Self::submit).
    #[cold]
    unsafe fn stop_late(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(index) = self.core.exacts.next_late(now) {
            while self.cancel_flight(index).is_err() {
                // SAFETY: (D1) the caller's contract. A turn frees the reserved places.
                unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
            }
            self.core.cancel_exact(index);
        }
        Ok(())
    }

    /// Hands over what was pushed, waits as `wait` says, and puts up to `room` completions of the
    /// outlet's class into it.
    ///
    /// # Safety
    /// (D1) Operations and buffers that were pushed are where they were, and stay there until their
    /// last completion came out, or until this value is dropped.
    #[inline]
    pub(crate) unsafe fn submit<T: Outlet>(
        &mut self,
        wait: Wait,
        room: usize,
        outlet: &mut T,
    ) -> io::Result<()> {
        self.check_process()?;
        if room == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let in_flight = self.in_flight();
        // Nothing can end such a wait: nobody can ring, and no time is set.
        if in_flight == 0 && wait.is_endless() && !self.core.notified {
            return Err(io::Error::from(io::ErrorKind::Deadlock));
        }
        // A wait for more than can come would never end; one for nothing ends at once.
        let min = wait.min.min(room).min(in_flight.max(1));
        let owned = self.core.slots.completions();
        let mut put = 0;
        let mut came = 0;
        loop {
            if self.core.slots.has_cancels() {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.cancel_owned() }?;
            }
            if self.core.exacts.is_waiting() {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.backend.push_waiting(&mut self.core) };
            }
            let block = self.block(min - came, wait.deadline);
            // SAFETY: (D1) the caller's contract.
            let turned = unsafe { self.backend.turn(&mut self.core, block) };
            if self.core.notified && self.core.shared.flag().awake() {
                self.core.woken = true;
            }
            turned?;
            if !self.core.exacts.is_empty() {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.stop_late() }?;
            }
            put += self.backend.drain(&mut self.core, room - put, outlet);
            if mem::take(&mut self.core.woken) {
                self.core.stats.wake_ups += 1;
                return Ok(());
            }
            let expired = || {
                wait.deadline
                    .is_some_and(|deadline| Instant::now() >= deadline)
            };
            came = put + self.core.slots.completions().wrapping_sub(owned);
            if came >= min || expired() {
                return Ok(());
            }
        }
    }

    /// As [`push_queue`](Self::push_queue), with as many turns as it takes, and then
    /// [`submit`](Self::submit).
    ///
    /// # Safety
    /// As both.
    pub(crate) unsafe fn submit_queue<P: Pushable, T: Outlet>(
        &mut self,
        queue: &mut VecDeque<P>,
        wait: Wait,
        room: usize,
        outlet: &mut T,
    ) -> io::Result<()> {
        self.check_process()?;
        // SAFETY: (D2) the caller's contract.
        unsafe { self.push_queue(queue) };
        while !queue.is_empty() && self.core.credits() > 0 {
            let before = queue.len();
            // SAFETY: (D1) the caller's contract.
            unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
            // SAFETY: (D2) the caller's contract.
            unsafe { self.push_queue(queue) };
            if queue.len() == before {
                break; // The kernel takes nothing now; the next call tries again.
            }
        }
        // SAFETY: (D1) the caller's contract.
        unsafe { self.submit(wait, room, outlet) }
    }

    /// Asks for the cancellation of slots' operations that nobody wants.
    ///
    /// # Safety
    /// As [`submit`](Self::submit).
    #[cold]
    pub(crate) unsafe fn cancel_owned(&mut self) -> io::Result<()> {
        while let Some(key) = self.core.slots.next_cancel() {
            if self.cancel(Which::Key(key)).is_ok() {
                self.core.slots.cancel_asked();
            } else {
                // SAFETY: (D1) the caller's contract. A turn frees the reserved places.
                unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
            }
        }
        Ok(())
    }

    /// How a turn waits for `want` completions; not at all when a wake-up is there instead.
    #[inline]
    fn block(&mut self, want: usize, deadline: Option<Instant>) -> Block {
        let is_there = want == 0 || self.core.woken || self.backend.available(&self.core) >= want;
        // A turn makes places for what is to go on.
        if is_there || self.core.exacts.is_waiting() {
            return Block::Never;
        }
        let rung = self.core.notified && !self.core.shared.flag().prepare_sleep();
        if rung && !planted!("wake-up-forgotten") {
            self.core.woken = true;
            return Block::Never;
        }
        match self.core.exacts.nearest(deadline) {
            Some(deadline) => Block::Until(want, deadline),
            None => Block::Forever(want),
        }
    }
}

impl Drop for Engine {
    /// Discards what was pushed without touching it, cancels the rest, and returns when nobody can
    /// touch an operation's memory any more.
    fn drop(&mut self) {
        if self.core.is_child() {
            return;
        }
        let unwinding = AbortOnUnwind;
        self.core.close();
        if planted!("drop-publishes") {
            // SAFETY: (D1) of what was only pushed nobody has promised anything: that is the
            // defect.
            let _result = unsafe { self.backend.turn(&mut self.core, Block::Never) };
        }
        self.core.exacts.end();
        self.backend.shut_down(&mut self.core, &mut Nowhere);
        self.core.slots.end();
        unwinding.did_not();
    }
}

/// A drain that unwinds would let memory be freed that the kernel still has.
pub(crate) struct AbortOnUnwind;

impl AbortOnUnwind {
    pub(crate) fn did_not(self) {
        let _defused = ManuallyDrop::new(self);
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        abort("a destructor panicked while operations were in flight");
    }
}

/// Ends the process, for memory would be freed that the kernel still has.
pub(crate) fn abort(why: impl std::fmt::Display) -> ! {
    // Not `eprintln!`, which panics when nobody listens.
    let _ = writeln!(
        io::stderr(),
        "completeio: {why}; their memory cannot be freed safely: aborting"
    );
    process::abort();
}

#[cfg(all(test, unix))]
mod tests;
