//! The readiness backend: a selector for sockets, worker threads for files, timers of its own.
//!
//! A push keeps the operation in plain words. [`Readiness::turn`] starts what was pushed: it tries
//! calls on sockets at once, and puts those that would block among the waiters of their descriptor;
//! it hands calls on files to the workers, and timeouts to the heaps. Then it waits, if it is told
//! to, and completes what has become ready, due or done. Everything completes locally: there is no
//! queue of the kernel's.
//!
//! One turn asks the selector at most once when there is nothing to wait for, and never if nothing
//! waits; one that has something to give does not ask, if the one before it did. What it does is
//! bounded by what was pushed and what waits, since only its beginning starts anything: no busy
//! descriptor keeps it from timers, wake-ups and the others.
//!
//! * `table`, `attach`: the descriptors, and which file a number means.
//! * `net`, `stream`, `splice`, `file`: one family of operations each.
//! * `epoll`, `kqueue`: the selectors, of which `selector` chooses one.
//! * Beside this directory: `flights`, the operations in flight, with the table of their states;
//!   `deadlines`; and `workers`, the threads.
//!
//! Invariants that its SAFETY comments name beside the general ones:
//! * (W1) What a job's words point to is lent until its operation completes, and the operation of
//!   a job that runs does not complete before the worker has put the result down.
//! * (R1) A descriptor that a call has just made is known to its caller only.
//! * (R2) A `Close` has given its descriptor up at its push, and is performed once.
//! * (R3) The workers' pool and their handles go in the destructor of [`Workers`], once; in a
//!   forked child they do not go at all.
#![allow(
    unsafe_code,
    reason = "makes calls with the addresses that it was lent"
)]

mod attach;
#[cfg(epoll)]
mod epoll;
mod file;
#[cfg(kqueue)]
mod kqueue;
mod net;
mod path;
mod plain;
mod selector;
mod splice;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use self::selector::{Event, Interest, Selector};
use self::table::Table;
use super::deadlines::{CLOCKS, Deadlines};
use super::flights::{self, Direction, Flights, State};
use super::{Block, Which, errno, native, open_flags};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::driver::Full;
use crate::error::{Refusal, SetupError};
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::op::call::{Call, FileCall, PathCall, PlainCall};
use crate::op::{OpCode, OpHead, Timespec};
use crate::outlet::Outlet;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

type Workers = super::workers::Workers<file::Work>;

/// The state of one driver.
///
/// In a forked child its drop closes descriptors and does no more: only the workers' would do
/// otherwise, and it asks.
pub(crate) struct Readiness {
    // Dropped before `table`: a job that runs uses a held file's number.
    workers: Option<Workers>,
    /// The limit of operations pushed before a turn.
    entries: u32,
    flights: Flights,
    table: Table,
    deadlines: Deadlines,
    selector: Selector,
    /// Whether a foreign loop sleeps on the selector: what has woken it is to be drained.
    foreign: bool,
    /// Whether the last turn had something to give without asking the selector.
    gave_unasked: bool,
}

/// The selector's key for the notifier's waker. Keys of slots are smaller: see `new`.
const NOTIFIER: u64 = u64::MAX;
/// The one for the workers'.
const WORKERS: u64 = u64::MAX - 1;

impl Readiness {
    pub(crate) fn new(limits: &Limits, core: &Core) -> Result<Self, SetupError> {
        let descriptors = u32::try_from(limits.descriptors).expect("a limit of 20 bits");
        assert!(
            descriptors + limits.file_slots < u32::MAX - 1,
            "a key of a slot is no key of ours"
        );
        let mut selector = Selector::new(core.shared.waker(), NOTIFIER)
            .map_err(|e| SetupError::os(selector::CALL, e))?;
        let workers = match limits.workers {
            0 => None,
            threads => {
                let workers = Workers::start(threads, limits.in_flight, core.shared.clone())
                    .map_err(|e| SetupError::os("pthread_create", e))?;
                selector
                    .watch_waker(workers.bell(), WORKERS)
                    .map_err(|e| SetupError::os(selector::CALL, e))?;
                Some(workers)
            }
        };
        Ok(Self {
            workers,
            entries: limits.entries,
            flights: Flights::with_capacity(limits.in_flight),
            table: Table::new(descriptors, limits.file_slots, limits.in_flight),
            deadlines: Deadlines::with_capacity(limits.in_flight),
            selector,
            foreign: false,
            gave_unasked: false,
        })
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        let wait = if self.selector.is_precise() {
            "nanoseconds"
        } else {
            "milliseconds"
        };
        vec![
            ("selector", selector::NAME.to_owned()),
            ("precision of waits", wait.to_owned()),
            ("submission entries", self.entries.to_string()),
            (
                "operations in flight",
                self.flights.indexes().len().to_string(),
            ),
            ("descriptors", self.table.descriptors().to_string()),
            ("file slots", self.table.file_slots().to_string()),
            (
                "workers",
                self.workers
                    .as_ref()
                    .map_or(0, Workers::threads)
                    .to_string(),
            ),
        ]
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        let file = if self.workers.is_some() {
            Support::Worker
        } else {
            Support::Inline
        };
        let only_if = |has: bool, support: Support| if has { support } else { Support::Missing };
        let has = native::HAS;
        let xattr = only_if(has.xattrs, file);
        vec![
            ("Nop", Support::Inline),
            ("Timeout", Support::Inline),
            ("ReadAt", file),
            ("WriteAt", file),
            ("Read", Support::Ready),
            ("Write", Support::Ready),
            ("ReadVectored", Support::Ready),
            ("WriteVectored", Support::Ready),
            ("Splice", only_if(has.splice, Support::Ready)),
            ("Tee", only_if(has.splice, Support::Ready)),
            ("ReadVectoredAt", file),
            ("WriteVectoredAt", file),
            ("Sync", file),
            ("SyncRange", only_if(has.sync_range, file)),
            ("Truncate", file),
            ("Allocate", only_if(has.allocate, file)),
            ("Advise", only_if(has.advise, file)),
            ("Stat", file),
            ("StatAt", file),
            ("Recv", Support::Ready),
            ("Send", Support::Ready),
            ("Accept", Support::Ready),
            ("Connect", Support::Ready),
            ("SendTo", Support::Ready),
            ("RecvFrom", Support::Ready),
            ("SendVectored", Support::Ready),
            ("RecvVectored", Support::Ready),
            ("SendToVectored", Support::Ready),
            ("RecvFromVectored", Support::Ready),
            ("SendMsg", Support::Ready),
            ("RecvMsg", Support::Ready),
            ("Shutdown", Support::Inline),
            ("Socket", Support::Inline),
            ("Pipe", Support::Inline),
            ("Bind", Support::Inline),
            ("Listen", Support::Inline),
            ("SetSockOpt", Support::Inline),
            ("GetSockOpt", Support::Inline),
            ("FutexWake", only_if(has.futexes, Support::Inline)),
            ("FutexWait", Support::Missing),
            ("WaitId", Support::Ready),
            ("Deadline", Support::Inline),
            ("TimeoutUpdate", Support::Inline),
            ("Poll", Support::Ready),
            ("OpenAt", file),
            ("Unlink", file),
            ("Rename", file),
            ("MakeDir", file),
            ("Symlink", file),
            ("HardLink", file),
            ("GetXattr", xattr),
            ("SetXattr", xattr),
            ("GetPathXattr", xattr),
            ("SetPathXattr", xattr),
            ("Close", file),
            ("Raw", Support::Missing),
        ]
    }

    #[inline]
    pub(crate) fn capacity_left(&self) -> u32 {
        self.entries - self.flights.pushed_len()
    }

    /// See the contract in `sys.rs`.
    ///
    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    pub(crate) unsafe fn push(&mut self, core: &mut Core, head: NonNull<OpHead>, key: Key) {
        // SAFETY: (D2) the caller's contract.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (D2) the table was made for the type of this operation.
        let described = unsafe { (table.describe)(head) };
        let kept = self.keep(core, described, key.with_fd(table.makes_fd));
        if let (Some(index), Some(deadline)) = (kept, table.deadline) {
            // SAFETY: (D2) described just now.
            let deadline = unsafe { deadline(head) };
            // SAFETY: (D2) a field of it.
            self.limit(index, unsafe { *deadline });
        }
    }

    /// See the contract in `sys.rs`.
    ///
    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    pub(crate) unsafe fn push_typed<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) {
        // SAFETY: (D2) the caller's contract.
        let described = unsafe { O::describe(op.as_ptr()) };
        let kept = self.keep(core, described, key.with_fd(O::MAKES_FD));
        if let (Some(index), true) = (kept, O::DEADLINE) {
            // SAFETY: (D2) described just now.
            let deadline = unsafe { O::deadline(op.as_ptr()) };
            // SAFETY: (D2) a field of it.
            self.limit(index, unsafe { *deadline });
        }
    }

    /// The flight of an operation, unless it is refused.
    #[inline]
    fn keep(&mut self, core: &mut Core, described: Result<Call, Refusal>, key: Key) -> Option<u32> {
        debug_assert!(self.capacity_left() > 0, "I2: pushed without a free place");
        match described {
            Ok(call) if is_missing(&call) => core.refuse(key, Refusal::Unsupported),
            Ok(call) => return Some(self.flights.insert(call, key)),
            Err(refusal) => core.refuse(key, refusal),
        }
        None
    }

    /// Takes effect at once: no memory of an operation is touched, so no turn is needed, and no
    /// place is ever used up.
    ///
    /// What runs on a worker completes late, with its own result. A close is not cancelled, pushed
    /// or queued: its descriptor was given up.
    pub(crate) fn cancel(&mut self, core: &mut Core, which: Which) -> Result<(), Full<()>> {
        match which {
            Which::Raw(key) | Which::Key(key) => self.cancel_key(core, key),
            Which::Target(target) => {
                self.cancel_where(core, |flights, index| {
                    flights[index].target() == Some(target)
                });
            }
            Which::All => self.cancel_where(core, |_, _| true),
        }
        Ok(())
    }

    fn cancel_key(&mut self, core: &mut Core, key: Key) {
        let mut at = self.flights.find(key);
        while let Some(index) = at {
            at = self.flights.find_after(index);
            self.cancel_one(core, index);
        }
    }

    fn cancel_where(&mut self, core: &mut Core, matches: impl Fn(&Flights, u32) -> bool) {
        for index in self.flights.indexes() {
            if !self.flights.is_free(index) && matches(&self.flights, index) {
                self.cancel_one(core, index);
            }
        }
    }

    fn cancel_one(&mut self, core: &mut Core, index: u32) {
        if matches!(self.flights[index].call, Call::Close { .. }) {
            return;
        }
        let state = self.flights[index].state;
        match state {
            State::Pushed => self.flights.take_pushed(index),
            State::Waiting { slot, direction } => self.leave(index, slot, direction),
            State::Timer { clock } => {
                self.deadlines.cancel(index, clock);
                self.flights.take_back(index);
            }
            State::Job { .. } if self.cancel_job(index) => {}
            State::Job { .. } => {
                self.flights[index].doomed = true;
                return;
            }
            State::Free | State::Loose => unreachable!("flight {index} is in no one's hands"),
        }
        self.complete_short(core, index, -libc::ECANCELED);
    }

    /// Starts what was pushed, in order, and collects what has completed; waits if told to.
    ///
    /// # Safety
    /// (D1) Operations and buffers that were pushed are where they were, and stay there until
    /// their last entry came out, or until this value is dropped.
    pub(crate) unsafe fn turn(&mut self, core: &mut Core, mut block: Block) -> io::Result<()> {
        while let Some(index) = self.flights.start_next() {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.start(core, index) };
        }
        let mut asked = false;
        loop {
            if self.workers.as_ref().is_some_and(Workers::awake) {
                self.finish_jobs(core);
            }
            if !self.deadlines.is_empty() {
                self.fire(core);
            }
            let patience = self.deadlines.patience(core.local_len(), block);
            if patience == Some(Duration::ZERO) {
                if asked || !self.has_news() {
                    return Ok(());
                }
                // What was pushed has completed in part: its caller is served first, and the
                // descriptors by the next turn at the latest (I38).
                if core.local_len() > 0 && !self.gave_unasked {
                    self.gave_unasked = true;
                    return Ok(());
                }
            } else if !self.workers.as_ref().is_none_or(Workers::rest) {
                continue;
            }
            // SAFETY: (D1) the caller's contract.
            if unsafe { self.ask(core, patience) }? {
                // A wake-up ends the wait, whatever came with it.
                block = Block::Never;
            }
            asked = true;
        }
    }

    /// Whether the selector may have something to say that matters now.
    fn has_news(&self) -> bool {
        self.flights.waiting_len() > 0 || self.foreign
    }

    /// Asks the selector, and acts on what it reports. Returns whether a notifier rang.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn ask(&mut self, core: &mut Core, patience: Option<Duration>) -> io::Result<bool> {
        self.foreign = false;
        self.gave_unasked = false;
        core.stats.enters += 1;
        let mut rang = false;
        for i in 0..self.selector.wait(patience)? {
            match self.selector.event(i) {
                Event { key: NOTIFIER, .. } => {
                    self.selector.drain(core.shared.waker());
                    rang = true;
                }
                Event { key: WORKERS, .. } => {
                    let workers = self.workers.as_ref().expect("they have rung");
                    self.selector.drain(workers.bell());
                }
                // SAFETY: (D1) the caller's contract.
                event => unsafe { self.dispatch(core, event) },
            }
        }
        Ok(rang)
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn dispatch(&mut self, core: &mut Core, event: Event) {
        let slot = match self.table.reported(event.key) {
            Ok(Some(slot)) => slot,
            Ok(None) => return,
            Err(()) => {
                core.stats.unknown += 1;
                return;
            }
        };
        if let Some(error) = event.refused {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.refuse(core, slot, event, error) };
            return self.forsake(slot);
        }
        let known = &mut self.table[slot];
        if event.readable {
            known.supplied(event.supply);
        }
        if event.broken {
            known.distrust();
        }
        let due = [
            (Direction::Either, true), // First: what follows takes what it looks at.
            (Direction::Read, event.readable),
            (Direction::Aside, event.readable),
            (Direction::Write, event.writable),
        ];
        for (direction, due) in due {
            if due && !self.table[slot].waiters(direction).is_empty() {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.retry(core, slot, direction) };
            }
        }
        self.forsake(slot);
    }

    /// Completes what has waited for directions of a descriptor that cannot be watched; and what waits
    /// for either, if none is left. What a call says itself comes first: a pipe that nobody reads may be
    /// refused. But a number that was closed may be another file's.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn refuse(&mut self, core: &mut Core, slot: u32, event: Event, error: i32) {
        let refused = Interest {
            read: event.readable,
            write: event.writable,
        };
        let left = self.table[slot].watched().without(refused);
        self.table[slot].watch_only(left);
        for direction in Direction::ALL {
            let concerned = match direction {
                Direction::Read | Direction::Aside => refused.read,
                Direction::Write => refused.write,
                Direction::Either => left.is_none(),
            };
            if concerned {
                if error != libc::EBADF {
                    // SAFETY: (D1) the caller's contract.
                    unsafe { self.retry(core, slot, direction) };
                }
                self.dismiss(core, slot, direction, -error);
            }
        }
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    #[inline]
    unsafe fn start(&mut self, core: &mut Core, index: u32) {
        match self.flights[index].call {
            Call::Nop => self.complete(core, index, 0),
            Call::Socket { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_socket(core, index, target, call) };
            }
            call => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_other(core, index, call) };
            }
        }
    }

    /// Starts what is no call on a socket.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    #[inline(never)]
    unsafe fn start_other(&mut self, core: &mut Core, index: u32, call: Call) {
        match call {
            Call::Timeout {
                spec,
                clock,
                absolute,
            } => {
                // SAFETY: (D1) the operation is where it was when it was pushed.
                let spec = unsafe { *spec };
                self.deadlines.set(index, spec, clock, absolute);
                self.flights.hand_over(index, State::Timer { clock });
            }
            Call::TimeoutUpdate { of, spec, absolute } => {
                // SAFETY: (D1) the operation is where it was when it was pushed.
                let spec = unsafe { *spec };
                let result = self
                    .deadlines
                    .update(&mut self.flights, of.0, spec, absolute);
                self.complete(core, index, result);
            }
            Call::File { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_file(core, index, target, call) };
            }
            Call::Path(call) => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_path(core, index, call) };
            }
            Call::Stream { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_stream(core, index, target, call) };
            }
            Call::Splice(call) => {
                self.start_splice(core, index, call, true);
            }
            Call::Plain(call) => {
                // SAFETY: (D1) the caller's contract.
                let result = unsafe { self.perform_plain(call) };
                self.complete(core, index, result);
            }
            Call::Close { target } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.start_close(core, index, target) };
            }
            Call::Raw { .. } | Call::FutexWait { .. } => {
                unreachable!("it was refused when it was pushed")
            }
            Call::Nop | Call::Socket { .. } => unreachable!("it is started in place"),
        }
    }

    /// Sets the deadline of an operation that was pushed.
    #[inline(never)]
    fn limit(&mut self, index: u32, deadline: Timespec) {
        self.flights[index].limited = true;
        self.deadlines.limit(index, deadline);
    }

    /// Completes the timeouts that are due, and stops what has reached its deadline.
    fn fire(&mut self, core: &mut Core) {
        if let Some(now) = self.deadlines.now_of_limits() {
            while let Some(index) = self.deadlines.pop_limit(now) {
                self.flights[index].limited = false;
                self.cancel_one(core, index);
            }
        }
        for clock in CLOCKS {
            let Some(now) = self.deadlines.now(clock) else {
                continue;
            };
            while let Some(index) = self.deadlines.pop_expired(clock, now) {
                let state = self.flights.take_back(index);
                debug_assert_eq!(state, State::Timer { clock }, "I12: it is its own timer");
                self.complete(core, index, -errno::ETIME);
            }
        }
    }

    /// The one door to "complete" of this backend: the flight is loose, and is gone after it.
    fn complete(&mut self, core: &mut Core, index: u32, result: i32) {
        let (key, limited) = self.flights.remove(index);
        if limited {
            self.deadlines.lift_limit(index);
        }
        core.complete_locally(Completion::last(key, result));
    }

    /// Completes one that ends by `error`, or with what it has moved before.
    fn complete_short(&mut self, core: &mut Core, index: u32, error: i32) {
        let result = self.flights[index].cut_short(error);
        self.complete(core, index, result);
    }

    #[inline]
    pub(crate) fn available(&self, core: &Core) -> usize {
        core.local_len()
    }

    #[inline]
    pub(crate) fn next(&mut self, _core: &mut Core) -> Option<Completion> {
        None
    }

    /// See the contract in `sys.rs`. What runs on a worker is waited for; its completion is local,
    /// like all of them, and delivered by the caller.
    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, _: &mut T) {
        while let Some(index) = self.flights.start_next() {
            self.flights.remove(index); // Never handed over: it was never there.
        }
        self.cancel_where(core, |_, _| true);
        if let Some(workers) = &mut self.workers {
            workers.stop();
            self.finish_jobs(core);
        }
    }

    /// See the contract in `sys.rs`. The descriptor is going to be readable when a worker has a
    /// result; if one has come already, the time is now.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.turn(core, Block::Never) }?;
        while self.selector.has_changes() {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.ask(core, Some(Duration::ZERO)) }?;
        }
        self.foreign = true;
        if !self.workers.as_ref().is_none_or(Workers::rest) {
            return Ok(Some(Instant::now()));
        }
        let left = self.deadlines.remaining();
        Ok(left.map(|left| Instant::now().saturating_add(left)))
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.selector.as_raw_fd()
    }
}

/// Whether the platform has no such call, or this backend.
#[inline]
fn is_missing(call: &Call) -> bool {
    match call {
        Call::Raw { .. } | Call::FutexWait { .. } => true,
        Call::Splice(_) => !native::HAS.splice,
        Call::Plain(PlainCall::FutexWake { .. }) => !native::HAS.futexes,
        Call::File { call, .. } => match call {
            FileCall::SyncRange { .. } => !native::HAS.sync_range,
            FileCall::Allocate { .. } => !native::HAS.allocate,
            FileCall::Advise { .. } => !native::HAS.advise,
            FileCall::GetXattr { .. } | FileCall::SetXattr { .. } => !native::HAS.xattrs,
            FileCall::Read { .. }
            | FileCall::Write { .. }
            | FileCall::ReadVectored { .. }
            | FileCall::WriteVectored { .. }
            | FileCall::Sync { .. }
            | FileCall::Truncate { .. }
            | FileCall::Stat { .. } => false,
        },
        Call::Path(PathCall::GetXattr { .. } | PathCall::SetXattr { .. }) => !native::HAS.xattrs,
        Call::Path(PathCall::Open { flags, .. }) => {
            !native::HAS.direct && flags & open_flags::DIRECT != 0
        }
        Call::Nop
        | Call::Timeout { .. }
        | Call::TimeoutUpdate { .. }
        | Call::Path(_)
        | Call::Stream { .. }
        | Call::Socket { .. }
        | Call::Plain(_)
        | Call::Close { .. } => false,
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("pushed", &self.flights.pushed_len())
            .field("waiting", &self.flights.waiting_len())
            .finish_non_exhaustive()
    }
}
