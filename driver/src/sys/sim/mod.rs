//! A simulated system: virtual time, a seeded generator, and hosts with a disk and a network.
//!
//! What is simulated is what a kernel does with operations: when each completes, how much of it,
//! with which error, in which order, and whether a cancellation wins. Users see [`crate::sim`].
//!
//! * `world`: what all drivers of one world share: the time, the hosts, the descriptors, the trace.
//! * `flight`: the operations that a driver has in flight.
//! * `calls`: carries them out. `lent`: follows their addresses, as nothing else does after the
//!   push.
//! * `descriptors`: numbers of real descriptors, and the simulated objects behind them.
//! * `fs`, `net`: a host's disk; the network, with its delays and partitions. Neither knows of
//!   operations.
//!
//! A turn tries every operation in flight that is due, in an order that is drawn, and moves the
//! time on to the next event when a wait has nothing else to do. Nothing else moves it.
#![allow(unsafe_code, reason = "keeps the contract of every backend")]

mod calls;
pub(crate) mod clock;
mod descriptors;
mod errno;
mod flight;
mod fs;
mod lent;
mod net;
mod random;
pub(crate) mod world;

pub(crate) use self::calls::{address_of, plain, socket_pair};
pub(crate) use self::fs::Stat;
pub(crate) use self::net::Links;

use self::descriptors::DescriptorId;
use self::flight::Flight;
use self::world::{DriverId, HostId, State, World};
use super::{Block, Which, errno as numbers};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::driver::Full;
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::notify::Shared;
use crate::op::call::Call;
use crate::op::{OpCode, OpHead};
use crate::outlet::Outlet;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The state of one driver.
#[derive(Debug)]
pub(crate) struct Sim {
    world: Rc<World>,
    host: HostId,
    driver: DriverId,
    /// The limits of operations pushed, and of cancellations asked for, before a turn.
    entries: u32,
    cancels_max: u32,
    cancels: u32,
    /// What was pushed or asked for since the last turn.
    pushed: VecDeque<Pushed>,
    /// In the order in which they were handed over.
    flights: Vec<Flight>,
    /// The completion queue.
    done: VecDeque<Completion>,
    /// The table of registered descriptors.
    fixed: Vec<Option<DescriptorId>>,
    /// Whether the last wait ended with nothing: no two in a row do.
    was_spurious: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Pushed {
    Operation {
        key: Key,
        call: Call,
        deadline: Option<Duration>,
    },
    Cancel(Which),
}

/// What became of an operation that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    Done(i32),
    /// Only something else can help it on.
    Blocks,
}

impl Sim {
    pub(crate) fn new(world: Rc<World>, host: HostId, limits: &Limits, core: &Core) -> Self {
        let driver = world.state().add_driver(host);
        Self {
            world,
            host,
            driver,
            entries: limits.entries,
            cancels_max: limits.cancels,
            cancels: 0,
            pushed: VecDeque::new(),
            flights: Vec::new(),
            done: VecDeque::new(),
            fixed: vec![None; limits.file_slots as usize],
            was_spurious: false,
            shared: core.shared.clone(),
        }
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        vec![
            ("host", self.world.state().host_name(self.host).to_owned()),
            ("submission entries", self.entries.to_string()),
            ("fixed descriptors", self.fixed.len().to_string()),
        ]
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        let known = calls::KNOWN.iter().map(|name| (*name, Support::Native));
        let missing = calls::MISSING.iter().map(|name| (*name, Support::Missing));
        known.chain(missing).collect()
    }

    pub(crate) fn capacity_left(&self) -> u32 {
        let pushed = u32::try_from(self.pushed.len()).expect("I2: no more than there are places");
        self.entries - (pushed - self.cancels)
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    pub(crate) unsafe fn push(&mut self, core: &mut Core, head: NonNull<OpHead>, key: Key) {
        // SAFETY: (D2) the caller's contract.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (D2) the table was made for the type of this operation.
        let described = unsafe { (table.describe)(head) };
        let deadline = table.deadline.map(|deadline| {
            // SAFETY: (D2) described just now.
            let deadline = unsafe { deadline(head) };
            // SAFETY: (D2) a field of it.
            Duration::from(unsafe { *deadline })
        });
        self.keep(core, described, key.with_fd(table.makes_fd), deadline);
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    pub(crate) unsafe fn push_typed<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) {
        // SAFETY: (D2) the caller's contract; an `O` begins with its head.
        unsafe { self.push(core, op.cast(), key) };
    }

    fn keep(
        &mut self,
        core: &mut Core,
        described: Result<Call, Refusal>,
        key: Key,
        deadline: Option<Duration>,
    ) {
        assert!(self.capacity_left() > 0, "I2: pushed without a free place");
        match described {
            Ok(call) if calls::is_known(&call) => self.pushed.push_back(Pushed::Operation {
                key,
                call,
                deadline,
            }),
            Ok(_) => core.refuse(key, Refusal::Unsupported),
            Err(refusal) => core.refuse(key, refusal),
        }
    }

    /// Carried out by the next turn, in order with the pushes.
    pub(crate) fn cancel(&mut self, _: &mut Core, which: Which) -> Result<(), Full<()>> {
        if self.cancels == self.cancels_max {
            return Err(Full::new(()));
        }
        self.cancels += 1;
        self.pushed.push_back(Pushed::Cancel(which));
        Ok(())
    }

    /// # Safety
    /// (D1) As for every backend: what was pushed stays where it was.
    pub(crate) unsafe fn turn(&mut self, core: &mut Core, block: Block) -> io::Result<()> {
        core.stats.enters += 1;
        let world = self.world.clone();
        let state = &mut *world.state();
        state.sweep();
        // SAFETY: (D1) the caller's contract.
        unsafe { self.hand_over(state) };
        loop {
            // SAFETY: (D1) the caller's contract.
            while unsafe { self.step(state) } {}
            let due = self.due(state.now());
            state.set_due(self.driver, due);
            let (enough, deadline) = match block {
                Block::Never => return Ok(()),
                Block::Until(enough, deadline) => (enough, Some(deadline.since_zero())),
                Block::Forever(enough) => (enough, None),
            };
            let is_over = deadline.is_some_and(|deadline| state.now() >= deadline);
            if self.available(core) >= enough || is_over || self.rang(core) {
                return Ok(());
            }
            self.was_spurious = !self.was_spurious && state.random.chance(state.faults.spurious);
            if self.was_spurious {
                return Ok(());
            }
            match state.next_event().into_iter().chain(deadline).min() {
                Some(next) => state.run_until(next),
                None if core.notified => self.wait_for_the_notifier(),
                None => return Err(io::ErrorKind::Deadlock.into()),
            }
        }
    }

    /// Puts what was pushed in flight.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn hand_over(&mut self, state: &mut State) {
        self.cancels = 0;
        while let Some(pushed) = self.pushed.pop_front() {
            match pushed {
                Pushed::Operation {
                    key,
                    call,
                    deadline,
                } => {
                    // SAFETY: (D1) the caller's contract.
                    let flight = unsafe { self.start(state, key, call, deadline) };
                    self.flights.push(flight);
                }
                Pushed::Cancel(which) => self.carry_out(state, which),
            }
        }
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn start(
        &mut self,
        state: &mut State,
        key: Key,
        call: Call,
        deadline: Option<Duration>,
    ) -> Flight {
        let now = state.now();
        let mut flight = Flight {
            key,
            call,
            number: state.next_operation(),
            files: [None; 2],
            from: now,
            expires: None,
            deadline,
            cancelled: false,
            tried: false,
            result: None,
        };
        for (target, file) in flight::targets(&call).into_iter().zip(&mut flight.files) {
            let Some(target) = target else { continue };
            match calls::resolve(state, self.host, &self.fixed, target) {
                Ok(id) => {
                    state.descriptors.keep(id);
                    *file = Some(id);
                }
                Err(errno) => flight.result = Some(-errno.0),
            }
        }
        if let Call::Timeout {
            spec,
            clock,
            absolute,
        } = call
        {
            // SAFETY: (D1) the caller's contract.
            let spec = Duration::from(unsafe { lent::get(spec) });
            flight.expires = Some(flight::expiry(spec, clock, absolute, now));
        }
        if state.random.chance(state.faults.late) {
            flight.from = state.later();
        }
        let (number, name) = (flight.number, flight::name(&call));
        state.note(self.host, format_args!("{number} {name}"));
        flight
    }

    fn carry_out(&mut self, state: &State, which: Which) {
        // By the file: its number may be another's by now.
        let file = match which {
            Which::Target(target) => calls::resolve(state, self.host, &self.fixed, target).ok(),
            Which::Raw(_) | Which::Key(_) | Which::All => None,
        };
        for flight in &mut self.flights {
            flight.cancelled |= flight.is_cancellable() && flight.is_named(which, file);
        }
    }

    /// Tries what is due, in an order that is drawn, and completes what is done. Whether anything
    /// came of that, by which another may go on.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn step(&mut self, state: &mut State) -> bool {
        let mut moved = false;
        let mut order: Vec<u64> = self.flights.iter().map(|flight| flight.number).collect();
        state.random.shuffle(&mut order);
        for number in order {
            let at = self.place_of(number);
            let before = self.flights[at].stage();
            // SAFETY: (D1) the caller's contract.
            if let Some(result) = unsafe { self.try_one(state, at) } {
                let flight = self.flights.remove(at);
                self.complete(state, &flight, result);
                moved = true;
            } else {
                moved |= self.flights[at].stage() != before;
            }
        }
        moved
    }

    fn place_of(&self, number: u64) -> usize {
        let at = self
            .flights
            .binary_search_by_key(&number, |flight| flight.number);
        at.expect("only this one completes an operation that was tried")
    }

    /// The result of an operation that completes now.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn try_one(&mut self, state: &mut State, at: usize) -> Option<i32> {
        let now = state.now();
        let flight = &self.flights[at];
        if let Some(result) = flight.result {
            return (flight.from <= now).then_some(result); // Too late for a cancellation.
        }
        let is_late = flight.deadline.is_some_and(|deadline| deadline <= now);
        self.flights[at].cancelled |= is_late;
        let flight = &self.flights[at];
        if flight.expires.is_some_and(|expires| expires <= now) {
            return Some(-numbers::ETIME);
        }
        // Whatever its deadline is, it is tried once.
        let is_owed = is_late && !flight.tried;
        if flight.cancelled && !is_owed && !state.random.chance(state.faults.cancel_loses) {
            return Some(-numbers::ECANCELED);
        }
        if flight.from > now && !flight.cancelled {
            return None;
        }
        let stopped = flight.cancelled.then_some(-numbers::ECANCELED);
        if self.is_behind(at) {
            return stopped;
        }
        // SAFETY: (D1) the caller's contract.
        let tried = unsafe { self.perform(state, at) };
        let flight = &mut self.flights[at];
        flight.tried = true;
        let Tried::Done(result) = tried else {
            return stopped;
        };
        if state.random.chance(state.faults.burst) {
            flight.from = state.later();
            if flight.from > now {
                flight.result = Some(result);
                return None;
            }
        }
        Some(result)
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn perform(&mut self, state: &mut State, at: usize) -> Tried {
        match self.flights[at].call {
            Call::TimeoutUpdate { of, spec, absolute } => {
                // SAFETY: (D1) the caller's contract.
                let spec = Duration::from(unsafe { lent::get(spec) });
                self.update(of.0, spec, absolute, state.now())
            }
            Call::Close { target } => self.close(state, target, self.flights[at].files[0]),
            // SAFETY: (D1) the caller's contract.
            _ => unsafe { calls::perform(state, self.host, &self.flights[at]) },
        }
    }

    /// Gives a descriptor up; what it stands for lives until nobody uses it. Another close may have
    /// been first, and the number be anybody's: that is left alone.
    fn close(&mut self, state: &mut State, target: Target, id: Option<DescriptorId>) -> Tried {
        let closed = match target {
            Target::Fixed(place) => {
                let there = self.fixed[place as usize].take();
                there.map(|id| state.release(id))
            }
            Target::Plain(number) => {
                let now = state.descriptors.find(self.host, number).ok();
                now.filter(|now| Some(*now) == id).map(|id| {
                    // SAFETY: (I16) given up by the operation, and closed here and once.
                    drop(unsafe { OwnedFd::from_raw_fd(number) });
                    state.descriptors.close(id);
                })
            }
        };
        Tried::Done(closed.map_or(-libc::EBADF, |()| 0))
    }

    /// Sets the time of a running timeout.
    fn update(&mut self, key: Key, spec: Duration, absolute: bool, now: Duration) -> Tried {
        let running = self.flights.iter_mut().find(|flight| flight.key == key);
        let Some((timeout, clock)) = running.and_then(|flight| match flight.call {
            Call::Timeout { clock, .. } if !flight.cancelled => Some((flight, clock)),
            _ => None,
        }) else {
            return Tried::Done(-libc::ENOENT);
        };
        timeout.expires = Some(flight::expiry(spec, clock, absolute, now));
        Tried::Done(0)
    }

    /// Whether one that was handed over before it has to be tried before it.
    fn is_behind(&self, at: usize) -> bool {
        let lane = self.flights[at].lane();
        let before = &self.flights[..at];
        let waits = !self.flights[at].gives_up();
        // What would rather fail than wait has its turn when those before it have had theirs.
        let is_before = |other: &Flight| other.result.is_none() && (waits || !other.tried);
        lane.is_some()
            && before
                .iter()
                .any(|other| is_before(other) && other.lane() == lane)
    }

    fn complete(&mut self, state: &mut State, flight: &Flight, result: i32) {
        for file in flight.files.into_iter().flatten() {
            state.release(file);
        }
        let (number, name) = (flight.number, flight::name(&flight.call));
        if flight.key.is_fd() && result >= 0 {
            // Its number is the real system's choice.
            state.note(self.host, format_args!("{number} {name}: a descriptor"));
        } else {
            state.note(self.host, format_args!("{number} {name}: {result}"));
        }
        let completion = Completion::last(flight.key, result);
        // Entries come in any order.
        let at = state.random.below(self.done.len() as u64 + 1);
        let at = usize::try_from(at).expect("no more than there are");
        self.done.insert(at, completion);
    }

    /// When something happens next in this driver.
    fn due(&self, now: Duration) -> Option<Duration> {
        self.flights
            .iter()
            .filter_map(|flight| flight.due(now))
            .min()
    }

    /// Whether a notifier has rung.
    fn rang(&self, core: &Core) -> bool {
        let rang = core.notified && !self.shared.flag().prepare_sleep();
        if rang {
            self.shared.waker().drain();
        }
        rang
    }

    /// Nothing in the world helps: another thread may.
    fn wait_for_the_notifier(&self) {
        self.shared.waker().is_readable_within(-1);
    }

    pub(crate) fn available(&self, core: &Core) -> usize {
        core.local_len() + self.done.len()
    }

    pub(crate) fn next(&mut self, _: &mut Core) -> Option<Completion> {
        self.done.pop_front()
    }

    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, outlet: &mut T) {
        self.pushed.clear(); // Never handed over: it was never there.
        let world = self.world.clone();
        self.carry_out(&world.state(), Which::All);
        while !self.flights.is_empty() {
            let state = &mut *world.state();
            // SAFETY: (D1) what was handed over is where it was until this function has returned.
            while unsafe { self.step(state) } {}
            if let Some(due) = self.due(state.now()) {
                state.run_until(due);
            }
        }
        while let Some(completion) = self.next(core) {
            core.deliver(completion, outlet);
        }
    }

    pub(crate) fn attach(&mut self, _: &mut Core, fd: RawFd) -> io::Result<()> {
        self.find(fd).map(drop)
    }

    pub(crate) fn detach(&mut self, _: &mut Core, _: RawFd) {}

    /// A descriptor of the host's.
    fn find(&self, fd: RawFd) -> io::Result<DescriptorId> {
        let state = &mut *self.world.state();
        state.sweep();
        state.descriptors.find(self.host, fd).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "this descriptor is not of the simulated host: take those that its operations make",
            )
        })
    }

    pub(crate) fn register(
        &mut self,
        _: &mut Core,
        fds: &[RawFd],
        first_id: u32,
    ) -> io::Result<()> {
        let first = first_id as usize;
        let places = first..first.saturating_add(fds.len());
        if self.fixed.get(places.clone()).is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let ids: Vec<DescriptorId> = fds
            .iter()
            .map(|fd| self.find(*fd))
            .collect::<Result<_, _>>()?;
        for (place, id) in places.zip(ids) {
            self.world.state().descriptors.keep(id);
            self.empty(place);
            self.fixed[place] = Some(id);
        }
        Ok(())
    }

    pub(crate) fn unregister(&mut self, _: &mut Core, id: u32) -> io::Result<()> {
        if id as usize >= self.fixed.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.empty(id as usize);
        Ok(())
    }

    fn empty(&mut self, place: usize) {
        if let Some(id) = self.fixed[place].take() {
            self.world.state().release(id);
        }
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.turn(core, Block::Never) }?;
        let due = self.world.state().next_event();
        Ok(due.map(Instant::from_since_zero))
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.shared.waker().as_raw_fd()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for place in 0..self.fixed.len() {
            self.empty(place);
        }
        self.world.state().remove_driver(self.driver);
    }
}
