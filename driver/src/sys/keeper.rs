//! What the backends share that keep their operations themselves, and not in a queue of the
//! kernel's: how one comes in, is found again and cancelled, waits for a timer or a worker, and
//! what a turn does.
#![allow(unsafe_code, reason = "hands on what was lent")]

use super::deadlines::{CLOCKS, Deadlines};
use super::fd::RawFd;
use super::files::{Files, Unused};
use super::flights::{Flights, State};
use super::workers::{Work, Workers};
use super::{Block, Which, errno};
use crate::builder::Limits;
use crate::clock::{Clock, Instant};
use crate::driver::Full;
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::{Completion, Key};
use crate::list::List;
use crate::local::Core;
use crate::op::call::{Call, FileCall, PathCall, PlainCall, SocketCall, SpliceCall, StreamCall};
use crate::op::{OpCode, OpHead, Timespec};
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

/// The state that they have in common.
pub(super) struct Kept<W: Work> {
    pub(super) workers: Option<Workers<W>>,
    /// For calls that are made in place.
    pub(super) kit: W::Kit,
    /// The limit of operations pushed before a turn.
    pub(super) entries: u32,
    pub(super) flights: Flights,
    pub(super) deadlines: Deadlines,
    /// Whether a foreign loop sleeps on the descriptor: what has woken it is to be drained.
    pub(super) foreign: bool,
    /// Whether the last turn had something to give without asking the kernel.
    pub(super) gave_unasked: bool,
}

impl<W: Work> Kept<W> {
    /// The only place that allocates.
    pub(super) fn new(limits: &Limits, workers: Option<Workers<W>>) -> Self {
        Self {
            workers,
            kit: W::kit(),
            entries: limits.entries,
            flights: Flights::with_capacity(limits.in_flight),
            deadlines: Deadlines::with_capacity(limits.in_flight),
            foreign: false,
            gave_unasked: false,
        }
    }

    /// What was granted, beside what is a backend's own.
    pub(super) fn granted(&self, descriptors: u32, file_slots: u32) -> [(&'static str, String); 5] {
        let workers = self.workers.as_ref().map_or(0, Workers::threads);
        let in_flight = self.flights.indexes().len();
        [
            ("submission entries", self.entries.to_string()),
            ("operations in flight", in_flight.to_string()),
            ("descriptors", descriptors.to_string()),
            ("file slots", file_slots.to_string()),
            ("workers", workers.to_string()),
        ]
    }

    /// Starts a timer of this flight.
    ///
    /// # Safety
    /// (D1) `spec` is in the operation, which is where it was when it was pushed.
    pub(super) unsafe fn set_timer(
        &mut self,
        index: u32,
        spec: *const Timespec,
        clock: Clock,
        absolute: bool,
    ) {
        // SAFETY: (D1) the caller's contract.
        let spec = unsafe { *spec };
        self.deadlines.set(index, spec, clock, absolute);
        self.flights.hand_over(index, State::Timer { clock });
    }

    /// Gives a running timeout another time; 0, or an error, negated.
    ///
    /// # Safety
    /// (D1) As [`set_timer`](Self::set_timer).
    pub(super) unsafe fn update_timer(
        &mut self,
        of: Key,
        spec: *const Timespec,
        absolute: bool,
    ) -> i32 {
        // SAFETY: (D1) the caller's contract.
        let spec = unsafe { *spec };
        self.deadlines.update(&mut self.flights, of, spec, absolute)
    }

    /// The one door to "complete" of a backend: the flight is loose, and is gone after it.
    #[inline]
    pub(super) fn complete(&mut self, core: &mut Core, index: u32, result: i32) {
        let (key, limited) = self.flights.remove(index);
        if limited {
            self.deadlines.lift_limit(index);
        }
        core.complete_locally(Completion::last(key, result));
    }

    /// Discards what was pushed and never handed over: it was never there.
    pub(super) fn discard_pushed(&mut self) {
        while let Some(index) = self.flights.start_next() {
            self.flights.remove(index);
        }
    }

    /// The kernel is asked now.
    pub(super) fn begin_to_ask(&mut self, core: &mut Core) {
        self.foreign = false;
        self.gave_unasked = false;
        core.stats.enters += 1;
    }

    /// Whether no worker has a result; from now on one that has rings.
    #[inline]
    fn rest(&self) -> bool {
        self.workers.as_ref().is_none_or(Workers::rest)
    }

    /// Sets the deadline of an operation that was pushed.
    #[inline(never)]
    fn limit(&mut self, index: u32, deadline: Timespec) {
        self.flights[index].limited = true;
        self.deadlines.limit(index, deadline);
    }
}

/// How a backend starts an operation of each family. All have the contract of [`Keeper::turn`]:
/// (D1).
pub(super) struct Starts<K> {
    pub(super) socket: unsafe fn(&mut K, &mut Core, u32, Target, SocketCall),
    pub(super) stream: unsafe fn(&mut K, &mut Core, u32, Target, StreamCall),
    pub(super) file: unsafe fn(&mut K, &mut Core, u32, Target, FileCall),
    pub(super) path: unsafe fn(&mut K, &mut Core, u32, PathCall),
    pub(super) close: unsafe fn(&mut K, &mut Core, u32, Target),
    /// None where it is missing.
    pub(super) splice: Option<unsafe fn(&mut K, &mut Core, u32, SpliceCall)>,
    /// Makes the call, and gives its result.
    pub(super) plain: unsafe fn(&mut K, PlainCall) -> i32,
}

/// Such a backend: what it has of its own comes first. See the contract in `sys.rs`.
pub(super) trait Keeper: Sized {
    type Work: Work;
    /// What is known of a file that the driver holds.
    type Kind: Copy;
    /// How an operation of each family is started.
    const STARTS: Starts<Self>;

    fn kept(&self) -> &Kept<Self::Work>;
    fn kept_mut(&mut self) -> &mut Kept<Self::Work>;
    fn files(&mut self) -> &mut Files<Self::Kind>;

    /// Whether the platform has no such call, or this backend.
    fn is_missing(call: &Call) -> bool;

    /// Asks the kernel what has happened, and acts on it. Returns whether a notifier rang.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn ask(&mut self, core: &mut Core, patience: Option<Duration>) -> io::Result<bool>;

    /// Whether the kernel may have something to say that matters now.
    fn has_news(&self) -> bool;

    /// Asks for the end of what waits in this state, which is the backend's own. `false`: it ends
    /// later.
    fn stop(&mut self, index: u32, state: State) -> bool;

    /// The one door to "complete".
    fn complete(&mut self, core: &mut Core, index: u32, result: i32);

    /// What becomes of a call that was made in place, or by a worker.
    fn performed(&mut self, core: &mut Core, index: u32, result: i32);

    /// How many fixed ids there are.
    fn file_slots(&self) -> u32;

    /// Holds a duplicate of what is to be registered.
    fn hold(&mut self, fd: RawFd) -> io::Result<u32>;

    /// Directs an id at a held file.
    fn direct(&mut self, core: &mut Core, id: u32, file: u32);

    #[inline]
    fn capacity_left(&self) -> u32 {
        let kept = self.kept();
        kept.entries - kept.flights.pushed_len()
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    unsafe fn push(&mut self, core: &mut Core, head: NonNull<OpHead>, key: Key) {
        // SAFETY: (D2) the caller's contract.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (D2) the table was made for the type of this operation.
        let described = unsafe { (table.describe)(head) };
        let kept = self.keep(core, described, key.with_fd(table.makes_fd));
        if let (Some(index), Some(deadline)) = (kept, table.deadline) {
            // SAFETY: (D2) described just now.
            let deadline = unsafe { deadline(head) };
            // SAFETY: (D2) a field of it.
            self.kept_mut().limit(index, unsafe { *deadline });
        }
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    unsafe fn push_typed<O: OpCode>(&mut self, core: &mut Core, op: NonNull<O>, key: Key) {
        // SAFETY: (D2) the caller's contract.
        let described = unsafe { O::describe(op.as_ptr()) };
        let kept = self.keep(core, described, key.with_fd(O::MAKES_FD));
        if let (Some(index), true) = (kept, O::DEADLINE) {
            // SAFETY: (D2) described just now.
            let deadline = unsafe { O::deadline(op.as_ptr()) };
            // SAFETY: (D2) a field of it.
            self.kept_mut().limit(index, unsafe { *deadline });
        }
    }

    /// The flight of an operation, unless it is refused.
    #[inline]
    fn keep(&mut self, core: &mut Core, described: Result<Call, Refusal>, key: Key) -> Option<u32> {
        debug_assert!(self.capacity_left() > 0, "I2: pushed without a free place");
        match described {
            Ok(call) if Self::is_missing(&call) => core.refuse(key, Refusal::Unsupported),
            Ok(call) => return Some(self.kept_mut().flights.insert(call, key)),
            Err(refusal) => core.refuse(key, refusal),
        }
        None
    }

    /// Takes effect at once: no memory of an operation is touched, so no turn is needed, and no
    /// place is ever used up.
    ///
    /// What the kernel has ends when it says so, and what runs on a worker late, with its own
    /// result. A close is not cancelled, pushed or queued: its descriptor was given up.
    fn cancel(&mut self, core: &mut Core, which: Which) -> Result<(), Full<()>> {
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
        let mut at = self.kept_mut().flights.find(key);
        while let Some(index) = at {
            at = self.kept_mut().flights.find_after(index);
            self.cancel_one(core, index);
        }
    }

    fn cancel_where(&mut self, core: &mut Core, matches: impl Fn(&Flights, u32) -> bool) {
        for index in self.kept().flights.indexes() {
            let flights = &self.kept().flights;
            if !flights.is_free(index) && matches(flights, index) {
                self.cancel_one(core, index);
            }
        }
    }

    fn cancel_one(&mut self, core: &mut Core, index: u32) {
        let kept = self.kept_mut();
        if matches!(kept.flights[index].call, Call::Close { .. }) {
            return;
        }
        let state = kept.flights[index].state;
        match state {
            State::Pushed => kept.flights.take_pushed(index),
            State::Timer { clock } => {
                kept.deadlines.cancel(index, clock);
                kept.flights.take_back(index);
            }
            State::Job { .. } if self.cancel_job(index) => {}
            State::Job { .. } => {
                self.kept_mut().flights[index].doomed = true;
                return;
            }
            State::Free | State::Loose => unreachable!("flight {index} is in no one's hands"),
            state => {
                if !self.stop(index, state) {
                    return;
                }
            }
        }
        self.complete_short(core, index, -errno::ECANCELED);
    }

    /// Starts what was pushed, in order, and collects what has completed; waits if told to.
    ///
    /// # Safety
    /// (D1) Operations and buffers that were pushed are where they were, and stay there until
    /// their last entry came out, or until this value is dropped.
    #[inline(never)]
    unsafe fn turn(&mut self, core: &mut Core, mut block: Block) -> io::Result<()> {
        while let Some(index) = self.kept_mut().flights.start_next() {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.start(core, index) };
        }
        let mut asked = false;
        loop {
            if self.kept().workers.as_ref().is_some_and(Workers::awake) {
                self.finish_jobs(core);
            }
            if !self.kept().deadlines.is_empty() {
                self.fire(core);
            }
            let patience = self.kept().deadlines.patience(core.local_len(), block);
            if patience == Some(Duration::ZERO) {
                if asked || !(self.has_news() || self.kept().foreign) {
                    return Ok(());
                }
                // What was pushed has completed in part: its caller is served first, and the
                // kernel by the next turn at the latest (I38).
                if core.local_len() > 0 && !self.kept().gave_unasked {
                    self.kept_mut().gave_unasked = true;
                    return Ok(());
                }
            } else if !self.kept().rest() {
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

    /// Starts what was pushed.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    #[inline]
    unsafe fn start(&mut self, core: &mut Core, index: u32) {
        match self.kept().flights[index].call {
            Call::Nop => self.complete(core, index, 0),
            Call::Socket { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { (Self::STARTS.socket)(self, core, index, target, call) };
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
                // SAFETY: (D1) the caller's contract.
                unsafe { self.kept_mut().set_timer(index, spec, clock, absolute) };
            }
            Call::TimeoutUpdate { of, spec, absolute } => {
                // SAFETY: (D1) the caller's contract.
                let result = unsafe { self.kept_mut().update_timer(of.0, spec, absolute) };
                self.complete(core, index, result);
            }
            Call::File { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { (Self::STARTS.file)(self, core, index, target, call) };
            }
            Call::Path(call) => {
                // SAFETY: (D1) the caller's contract.
                unsafe { (Self::STARTS.path)(self, core, index, call) };
            }
            Call::Stream { target, call } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { (Self::STARTS.stream)(self, core, index, target, call) };
            }
            Call::Splice(call) => {
                let start = Self::STARTS.splice.expect("refused when it was pushed");
                // SAFETY: (D1) the caller's contract.
                unsafe { start(self, core, index, call) };
            }
            Call::Plain(call) => {
                // SAFETY: (D1) the caller's contract.
                let result = unsafe { (Self::STARTS.plain)(self, call) };
                self.complete(core, index, result);
            }
            Call::Close { target } => {
                // SAFETY: (D1) the caller's contract.
                unsafe { (Self::STARTS.close)(self, core, index, target) };
            }
            Call::Raw { .. } | Call::FutexWait { .. } => {
                unreachable!("it was refused when it was pushed")
            }
            Call::Nop | Call::Socket { .. } => unreachable!("it is started in place"),
        }
    }

    /// Completes the timeouts that are due, and stops what has reached its deadline.
    fn fire(&mut self, core: &mut Core) {
        if let Some(now) = self.kept().deadlines.now_of_limits() {
            while let Some(index) = self.kept_mut().deadlines.pop_limit(now) {
                self.kept_mut().flights[index].limited = false;
                self.cancel_one(core, index);
            }
        }
        for clock in CLOCKS {
            let Some(now) = self.kept_mut().deadlines.now(clock) else {
                continue;
            };
            while let Some(index) = self.kept_mut().deadlines.pop_expired(clock, now) {
                let state = self.kept_mut().flights.take_back(index);
                debug_assert_eq!(state, State::Timer { clock }, "I12: it is its own timer");
                self.complete(core, index, -errno::ETIME);
            }
        }
    }

    /// Completes one that ends by `error`, or with what it has moved before.
    fn complete_short(&mut self, core: &mut Core, index: u32, error: i32) {
        let result = self.kept().flights[index].cut_short(error);
        self.complete(core, index, result);
    }

    /// Has a worker make a call, or makes it in place. The held `files` are what it uses.
    ///
    /// # Safety
    /// (D1) `work` are the words of the operation `index`.
    unsafe fn perform(
        &mut self,
        core: &mut Core,
        index: u32,
        work: Self::Work,
        files: [Option<u32>; 2],
        in_place: bool,
    ) {
        if in_place || self.kept().workers.is_none() {
            // SAFETY: (W1) by (D1): lent until the operation completes, below.
            let result = unsafe { work.perform(&mut self.kept_mut().kit) };
            return self.performed(core, index, result);
        }
        for file in files.into_iter().flatten() {
            self.files().share(file);
        }
        let kept = self.kept_mut();
        kept.flights.hand_over(index, State::Job { files });
        let workers = kept.workers.as_mut().expect("asked above");
        workers.queue(index, work);
    }

    /// Takes what the workers have finished.
    fn finish_jobs(&mut self, core: &mut Core) {
        loop {
            let workers = self.kept_mut().workers.as_mut();
            let Some((index, result)) = workers.and_then(Workers::finished) else {
                return;
            };
            self.release_job(index);
            self.performed(core, index, result);
        }
    }

    /// Takes a job back that no worker has begun. `false`: one has.
    fn cancel_job(&mut self, index: u32) -> bool {
        let workers = self.kept_mut().workers.as_mut();
        let cancelled = workers.is_some_and(|workers| workers.cancel(index));
        if cancelled {
            self.release_job(index);
        }
        cancelled
    }

    fn release_job(&mut self, index: u32) {
        match self.kept_mut().flights.take_back(index) {
            State::Job { files } => {
                for file in files.into_iter().flatten() {
                    self.files().release(file);
                }
            }
            state => unreachable!("flight {index} is {state:?}, and was with the workers"),
        }
    }

    fn register(&mut self, core: &mut Core, fds: &[RawFd], first_id: u32) -> io::Result<()> {
        let count = u32::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = first_id
            .checked_add(count)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.file_slots() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut staged: List<Unused> = List::new();
        for fd in fds {
            match self.hold(*fd) {
                Ok(file) => self.files().stage(&mut staged, file),
                Err(e) => {
                    while let Some(file) = self.files().unstage(&mut staged) {
                        self.files().release(file);
                    }
                    return Err(e);
                }
            }
        }
        for id in first_id..end {
            let file = self.files().unstage(&mut staged);
            self.direct(core, id, file.expect("one for each id"));
        }
        Ok(())
    }

    /// What begins every shutdown: what was pushed is discarded, the rest cancelled, and what runs
    /// on a worker is waited for. Its completion is local, and delivered by the caller.
    fn wind_down(&mut self, core: &mut Core) {
        self.kept_mut().discard_pushed();
        self.cancel_where(core, |_, _| true);
        if let Some(workers) = &mut self.kept_mut().workers {
            workers.stop();
            self.finish_jobs(core);
        }
    }

    /// What ends every preparation of a foreign wait: if a worker has a result already, the time is
    /// now.
    fn until(&mut self) -> Option<Instant> {
        let kept = self.kept_mut();
        kept.foreign = true;
        if !kept.rest() {
            return Some(Instant::now());
        }
        let left = kept.deadlines.remaining();
        left.map(|left| Instant::now().saturating_add(left))
    }

    #[inline]
    fn available(&self, core: &Core) -> usize {
        core.local_len()
    }

    /// Everything completes locally: there is no queue of the kernel's.
    #[inline]
    fn next(&mut self, _core: &mut Core) -> Option<Completion> {
        None
    }
}
