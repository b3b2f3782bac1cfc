//! What every backend shares: the local completions, the credits, the counters, the wake-up flag.

use crate::driver::Entry;
use crate::error::Refusal;
use crate::notify::Shared;
use crate::stats::Stats;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What user data may need: the kernel's top three bits are the driver's.
pub(crate) const USER_DATA_BITS: u32 = 61;

/// The part of a driver that is not its backend.
#[derive(Debug)]
pub(crate) struct Core {
    /// Entries that no kernel queue holds: preallocated, one place for each credit.
    local: VecDeque<Entry>,
    in_flight_max: u32,
    pub(crate) stats: Stats,
    pub(crate) shared: Arc<Shared>,
    /// Whether a notifier was ever handed out.
    pub(crate) notified: bool,
    /// Whether a wake-up was taken out of the flag and no `submit` has returned for it yet.
    pub(crate) woken: bool,
    /// How many operations may be in flight now: none while the driver winds down.
    limit: u64,
    /// Whether the kernel's entries are next, where both have some.
    kernel_next: bool,
}

impl Core {
    pub(crate) fn new(in_flight_max: u32) -> io::Result<Self> {
        Ok(Self {
            local: VecDeque::with_capacity(in_flight_max as usize),
            in_flight_max,
            stats: Stats::default(),
            shared: Shared::new()?,
            notified: false,
            woken: false,
            limit: u64::from(in_flight_max),
            kernel_next: false,
        })
    }

    /// Operations accepted whose last entry has not come out.
    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.stats.pushed - self.stats.completed
    }

    /// How many more operations may be accepted now.
    #[inline]
    pub(crate) fn credits(&self) -> u64 {
        if self.shared.is_child() {
            return 0;
        }
        self.limit.saturating_sub(self.in_flight())
    }

    /// Accepts no more operations.
    pub(crate) fn close(&mut self) {
        self.limit = 0;
    }

    /// Accepts operations again.
    pub(crate) fn reopen(&mut self) {
        self.limit = u64::from(self.in_flight_max);
    }

    /// Counts an operation that was accepted.
    #[inline]
    pub(crate) fn accepted(&mut self) {
        debug_assert!(self.credits() > 0, "I2: accepted without a credit");
        self.stats.pushed += 1;
    }

    /// Refuses an operation if its user data does not fit. The caller counts it either way, once it
    /// is pushed (I18: a buffer's method may panic at the encoding, then nothing was accepted).
    #[inline]
    pub(crate) fn admits(&mut self, user_data: usize) -> bool {
        let fits = (user_data as u64) >> USER_DATA_BITS == 0;
        if !fits {
            self.refuse(user_data, Refusal::UserData);
        }
        fits
    }

    /// The one door to "complete": counts an entry on its way out.
    #[inline]
    pub(crate) fn completed(&mut self, entry: &Entry) {
        if !entry.more() {
            debug_assert!(self.in_flight() > 0, "I1: completed twice");
            self.stats.completed += 1;
        }
    }

    /// Queues an entry that the driver made itself.
    pub(crate) fn complete_locally(&mut self, entry: Entry) {
        assert!(
            self.local.len() < self.in_flight_max as usize,
            "I1: more entries than credits"
        );
        self.stats.local += 1;
        self.local.push_back(entry);
    }

    /// Completes an operation that is refused: its push is counted by the caller.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(&mut self, user_data: usize, refusal: Refusal) {
        self.complete_locally(Entry::refused(user_data, refusal));
    }

    /// How many local entries wait.
    #[inline]
    pub(crate) fn local_len(&self) -> usize {
        self.local.len()
    }

    /// The next entry while there are local ones: those and the kernel's in turn.
    pub(crate) fn next(
        &mut self,
        kernel: impl FnOnce(&mut Self) -> Option<Entry>,
    ) -> Option<Entry> {
        self.kernel_next = !self.kernel_next;
        let first = if self.kernel_next { None } else { kernel(self) };
        first.or_else(|| self.local.pop_front())
    }
}

impl Drop for Core {
    /// Entries that nobody took out: closes the descriptors that they name.
    fn drop(&mut self) {
        if self.shared.is_child() {
            return;
        }
        for entry in self.local.drain(..) {
            drop(entry.into_fd());
        }
    }
}
