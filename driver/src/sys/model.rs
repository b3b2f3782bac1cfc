//! A model of a kernel, for tests: as nasty as the contract of a backend lets one be.
//!
//! It makes no system call for an operation, so that Miri can run it. What it was lent it touches
//! itself, at every turn while the operation is in flight, and once more as it completes: it reads
//! all that the kernel may read, which must not change, and writes noise to all that the kernel may
//! write. So Miri sees every reference that is formed, every move and every free that comes too
//! early.
//!
//! What completes when, in which order, and who wins against a cancellation is drawn from a seed:
//!
//! | operation | when it completes |
//! |---|---|
//! | a timeout of an hour or more, a receive of out-of-band data | when it is cancelled, as if it was or as if it was not |
//! | an accept | as the ones above, or as the ones below |
//! | every other one | within a few turns, by itself |
//!
//! A receive that is lent to a scope may also give completions with more to follow.
//!
//! * `flight`: the operations in flight, the only file that follows their addresses.
//! * `rig`: a driver on a model, and what tests begin and end with.
#![allow(unsafe_code, reason = "keeps the contract of every backend")]

mod flight;
mod rig;

pub(crate) use self::flight::{FILL, HOUR};
pub(crate) use self::rig::{SEEDS, driver, each_seed};

use self::flight::{Act, Flight};
use super::{Block, Which, errno};
use crate::builder::Support;
use crate::clock::Instant;
use crate::driver::Full;
use crate::entry::MORE;
use crate::error::Refusal;
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::op::call::Call;
use crate::op::{OpCode, OpHead};
use crate::outlet::Outlet;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

/// The limits: operations pushed and cancellations asked for between two turns; in flight.
pub(crate) const ENTRIES: usize = 16;
const CANCELS: usize = 2;
pub(crate) const IN_FLIGHT: usize = 24;

/// Far longer than any test takes: for a notifier that does not ring, nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of one model.
#[derive(Debug)]
pub(crate) struct Model {
    /// What was pushed or asked for since the last turn.
    pushed: VecDeque<Pushed>,
    flights: Vec<Flight>,
    /// The completion queue.
    done: VecDeque<Completion>,
    /// The descriptors that it makes are copies of this one.
    source: OwnedFd,
    random: Random,
}

#[derive(Debug)]
enum Pushed {
    Operation(Key, Act),
    Cancel(Which),
}

/// Marsaglia's xorshift64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(bound)).expect("below a u32")
    }

    /// True once in `n` times.
    fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

impl Model {
    fn new(source: OwnedFd, seed: u64) -> Self {
        Self {
            pushed: VecDeque::new(),
            flights: Vec::with_capacity(IN_FLIGHT),
            done: VecDeque::new(),
            source,
            // Not zero, and seeds that follow each other have little in common.
            random: Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    }

    /// Gives a completion, whether or not there is such an operation.
    pub(crate) fn inject(&mut self, key: Key) {
        self.done.push_back(Completion::last(key, 0));
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        Vec::new()
    }

    pub(crate) fn capacity_left(&self) -> u32 {
        let operations = self.pushed.len() - self.cancels();
        u32::try_from(ENTRIES - operations).expect("a small number")
    }

    fn cancels(&self) -> usize {
        let is_cancel = |pushed: &&Pushed| matches!(pushed, Pushed::Cancel(_));
        self.pushed.iter().filter(is_cancel).count()
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    pub(crate) unsafe fn push(&mut self, core: &mut Core, head: NonNull<OpHead>, key: Key) {
        // SAFETY: (D2) the caller's contract.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (D2) the table was made for the type of this operation.
        let described = unsafe { (table.describe)(head) };
        self.keep(core, described, key.with_fd(table.makes_fd));
    }

    /// # Safety
    /// (D2) The operation is not in flight.
    pub(crate) unsafe fn push_typed<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) {
        // SAFETY: (D2) the caller's contract.
        let described = unsafe { O::describe(op.as_ptr()) };
        self.keep(core, described, key.with_fd(O::MAKES_FD));
    }

    fn keep(&mut self, core: &mut Core, described: Result<Call, Refusal>, key: Key) {
        assert!(self.capacity_left() > 0, "I2: pushed without a free place");
        match described {
            Ok(call) => match Act::of(call) {
                Some(act) => self.pushed.push_back(Pushed::Operation(key, act)),
                None => core.refuse(key, Refusal::Unsupported),
            },
            Err(refusal) => core.refuse(key, refusal),
        }
    }

    /// Carried out by the next turn, in order with the pushes.
    pub(crate) fn cancel(&mut self, _: &mut Core, which: Which) -> Result<(), Full<()>> {
        if self.cancels() == CANCELS {
            return Err(Full::new(()));
        }
        self.pushed.push_back(Pushed::Cancel(which));
        Ok(())
    }

    fn carry_out(&mut self, which: Which) {
        for flight in &mut self.flights {
            if !flight.is_named(which) || !flight.is_cancellable() {
                continue;
            }
            let wins = !self.random.once_in(3);
            flight.cancelled |= wins;
            if wins || flight.left.is_none() {
                flight.left = Some(self.random.below(3));
            }
        }
    }

    /// # Safety
    /// (D1) As for every backend: what was pushed stays where it was.
    pub(crate) unsafe fn turn(&mut self, core: &mut Core, block: Block) -> io::Result<()> {
        core.stats.enters += 1;
        while let Some(pushed) = self.pushed.pop_front() {
            match pushed {
                Pushed::Operation(key, call) => {
                    // SAFETY: (D1) the caller's contract.
                    let flight = unsafe { Flight::start(key, call, &mut self.random) };
                    self.flights.push(flight);
                }
                Pushed::Cancel(which) => self.carry_out(which),
            }
        }
        let start = Instant::now();
        loop {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.step(core) };
            let (enough, deadline) = match block {
                Block::Never => return Ok(()),
                Block::Until(enough, deadline) => (enough, Some(deadline)),
                Block::Forever(enough) => (enough, None),
            };
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if self.available(core) >= enough || is_over || rang(core) {
                return Ok(());
            }
            if self.flights.iter().any(|flight| flight.left.is_some()) {
                if self.random.once_in(8) {
                    return Ok(()); // Interrupted.
                }
                continue;
            }
            assert!(
                deadline.is_some() || core.notified && start.elapsed() < PATIENCE,
                "nothing ends this wait"
            );
            thread::yield_now();
        }
    }

    /// Touches everything in flight, and completes what is due.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn step(&mut self, core: &mut Core) {
        let mut at = 0;
        while let Some(flight) = self.flights.get_mut(at) {
            // SAFETY: (D1) the caller's contract.
            unsafe { flight.touch(&mut self.random) };
            match flight.left {
                Some(0) => {
                    let flight = self.flights.swap_remove(at);
                    // SAFETY: (D1) the caller's contract.
                    unsafe { self.complete(core, &flight) };
                    continue;
                }
                Some(left) => {
                    flight.left = Some(left - 1);
                    if flight.is_multishot() && self.random.once_in(3) {
                        flight.shot = true;
                        self.done.push_back(Completion::new(flight.key, 1, MORE));
                    }
                }
                None => {}
            }
            at += 1;
        }
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn complete(&mut self, core: &mut Core, flight: &Flight) {
        let result = if flight.cancelled {
            -errno::ECANCELED
        } else {
            // SAFETY: (D1) the caller's contract.
            unsafe { flight.perform(&mut self.random, &self.source) }
        };
        let completion = Completion::last(flight.key, result);
        match self.random.below(4) {
            0 if !flight.shot => core.complete_locally(completion),
            1 if !flight.shot => self.done.push_front(completion),
            _ => self.done.push_back(completion),
        }
    }

    pub(crate) fn available(&self, core: &Core) -> usize {
        core.local_len() + self.done.len()
    }

    pub(crate) fn next(&mut self, _: &mut Core) -> Option<Completion> {
        self.done.pop_front()
    }

    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, outlet: &mut T) {
        self.pushed.clear(); // Never handed over: it was never there.
        self.carry_out(Which::All);
        while !self.flights.is_empty() {
            // SAFETY: (D1) what was handed over is where it was until this function has returned.
            unsafe { self.step(core) };
        }
        while let Some(completion) = self.next(core) {
            core.deliver(completion, outlet);
        }
    }

    pub(crate) fn attach(&mut self, _: &mut Core, _: RawFd) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn detach(&mut self, _: &mut Core, _: RawFd) {}

    pub(crate) fn register(&mut self, _: &mut Core, _: &[RawFd], _: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn unregister(&mut self, _: &mut Core, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.turn(core, Block::Never) }?;
        Ok(Some(Instant::now()))
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.source.as_raw_fd()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let is_shut_down = self.pushed.is_empty() && self.flights.is_empty();
        assert!(is_shut_down, "I5: it was shut down before");
    }
}

/// Whether a notifier has rung.
fn rang(core: &Core) -> bool {
    let rang = core.notified && !core.shared.flag().prepare_sleep();
    if rang {
        core.shared.waker().drain();
    }
    rang
}
