//! Timeouts: a heap for each clock, and one for the deadlines of other operations, which are on the
//! suspend-aware clock. The kernel knows of the nearest one only.

use super::flights::{Flights, State};
use super::{Block, clock, errno};
use crate::clock::{Clock, Instant};
use crate::key::Key;
use crate::op::Timespec;
use crate::timers::Timers;
use std::time::Duration;

/// The timers of a driver, named by the indexes of their flights.
pub(super) struct Deadlines {
    boottime: Timers,
    monotonic: Timers,
    realtime: Timers,
    limits: Timers,
}

pub(super) const CLOCKS: [Clock; 3] = [Clock::Boottime, Clock::Monotonic, Clock::Realtime];

impl Deadlines {
    /// The only place that allocates.
    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self {
            boottime: Timers::with_capacity(capacity),
            monotonic: Timers::with_capacity(capacity),
            realtime: Timers::with_capacity(capacity),
            limits: Timers::with_capacity(capacity),
        }
    }

    /// Whether none is set, and no deadline.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        let timers = [
            &self.boottime,
            &self.monotonic,
            &self.realtime,
            &self.limits,
        ];
        timers.iter().all(|timers| timers.is_empty())
    }

    /// Sets a timer. A relative one counts from now.
    pub(super) fn set(&mut self, index: u32, spec: Timespec, clock: Clock, absolute: bool) {
        let given = Duration::from(spec);
        let zero = if absolute {
            Duration::ZERO
        } else {
            clock::now(clock)
        };
        self.on(clock).insert(zero.saturating_add(given), index);
    }

    /// Takes a timer back, which is set.
    pub(super) fn cancel(&mut self, index: u32, clock: Clock) {
        let was_set = self.on(clock).remove(index);
        assert!(was_set, "I12: flight {index} has a timer");
    }

    /// What the clock shows, if there are timers on it.
    pub(super) fn now(&mut self, clock: Clock) -> Option<Duration> {
        (!self.on(clock).is_empty()).then(|| clock::now(clock))
    }

    /// The earliest timer of a clock that shows `now`, if it is due.
    pub(super) fn pop_expired(&mut self, clock: Clock, now: Duration) -> Option<u32> {
        self.on(clock).pop_expired(now)
    }

    /// Sets the deadline of an operation that may be a timeout itself.
    pub(super) fn limit(&mut self, index: u32, deadline: Timespec) {
        self.limits.insert(deadline.into(), index);
    }

    /// Takes such a deadline back, which is set.
    pub(super) fn lift_limit(&mut self, index: u32) {
        let was_set = self.limits.remove(index);
        assert!(was_set, "I12: flight {index} has a deadline");
    }

    /// What the clock of these shows, if there are some.
    pub(super) fn now_of_limits(&self) -> Option<Duration> {
        (!self.limits.is_empty()).then(|| clock::now(Clock::Boottime))
    }

    /// The earliest of them, if it has passed at `now`.
    pub(super) fn pop_limit(&mut self, now: Duration) -> Option<u32> {
        self.limits.pop_expired(now)
    }

    /// The time until the nearest deadline of any clock.
    pub(super) fn remaining(&self) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let left = |clock: Clock, timers: &Timers| {
            timers
                .next_deadline()
                .map(|deadline| deadline.saturating_sub(clock::now(clock)))
        };
        let [boottime, monotonic, realtime] = CLOCKS;
        [
            left(boottime, &self.boottime),
            left(monotonic, &self.monotonic),
            left(realtime, &self.realtime),
            left(boottime, &self.limits),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How long a turn may still wait that has so many completions to give: no longer than until
    /// the next timer. Zero: it is over.
    #[inline]
    pub(super) fn patience(&self, there: usize, block: Block) -> Option<Duration> {
        let (enough, left) = match block {
            Block::Never => return Some(Duration::ZERO),
            Block::Until(enough, deadline) => {
                (enough, Some(deadline.duration_since(Instant::now())))
            }
            Block::Forever(enough) => (enough, None),
        };
        if there >= enough || left == Some(Duration::ZERO) {
            return Some(Duration::ZERO);
        }
        // A timer that is due by now fires in the next round: that is not the end of the wait.
        let timer = self
            .remaining()
            .map(|left| left.max(Duration::from_nanos(1)));
        left.into_iter().chain(timer).min()
    }

    /// Gives a running timeout another time; 0, or an error, negated.
    pub(super) fn update(
        &mut self,
        flights: &mut Flights,
        key: Key,
        spec: Timespec,
        absolute: bool,
    ) -> i32 {
        let mut at = flights.find(key);
        while let Some(index) = at {
            if let State::Timer { clock } = flights[index].state {
                self.cancel(index, clock);
                self.set(index, spec, clock, absolute);
                return 0;
            }
            at = flights.find_after(index);
        }
        -errno::ENOENT
    }

    fn on(&mut self, clock: Clock) -> &mut Timers {
        match clock {
            Clock::Boottime => &mut self.boottime,
            Clock::Monotonic => &mut self.monotonic,
            Clock::Realtime => &mut self.realtime,
        }
    }
}
