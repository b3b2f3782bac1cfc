//! What every backend shares: the local completions, the credits, the counters, the wake-up flag.

use crate::driver::Entry;
use crate::error::Refusal;
use crate::fd::adopt;
use crate::notify::Shared;
use crate::stats::Stats;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// The part of a driver that is not its backend.
#[derive(Debug)]
pub(crate) struct Core {
    /// Entries that no kernel queue holds: preallocated, one place for each credit.
    local: VecDeque<Entry>,
    /// How many more operations may be accepted.
    credits: u32,
    in_flight_max: u32,
    pub(crate) stats: Stats,
    pub(crate) shared: Arc<Shared>,
    /// Whether a notifier was ever handed out.
    pub(crate) notified: bool,
    /// Whether new operations are refused.
    pub(crate) closed: bool,
    /// Whether the kernel's entries are next, where both have some.
    kernel_next: bool,
}

impl Core {
    pub(crate) fn new(in_flight_max: u32) -> io::Result<Self> {
        Ok(Self {
            local: VecDeque::with_capacity(in_flight_max as usize),
            credits: in_flight_max,
            in_flight_max,
            stats: Stats::default(),
            shared: Shared::new()?,
            notified: false,
            closed: false,
            kernel_next: false,
        })
    }

    /// Operations accepted whose last entry has not come out.
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight_max - self.credits
    }

    /// How many operations may be accepted now.
    #[inline]
    pub(crate) fn credits(&self) -> u32 {
        if self.closed || self.shared.is_child() {
            0
        } else {
            self.credits
        }
    }

    /// Counts an operation that was accepted.
    #[inline]
    pub(crate) fn accepted(&mut self) {
        debug_assert!(self.credits > 0, "I2: accepted without a credit");
        self.credits -= 1;
        self.stats.pushed += 1;
    }

    /// The one door to "complete": counts an entry on its way out.
    #[inline]
    pub(crate) fn completed(&mut self, entry: &Entry) {
        if !entry.more() {
            debug_assert!(self.credits < self.in_flight_max, "I1: completed twice");
            self.credits += 1;
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

    /// Accepts an operation that was refused at encoding.
    #[cold]
    pub(crate) fn refuse(&mut self, user_data: usize, refusal: Refusal) {
        self.complete_locally(Entry::refused(user_data, refusal));
    }

    /// How many local entries wait.
    #[inline]
    pub(crate) fn local_len(&self) -> usize {
        self.local.len()
    }

    /// The next entry: the local ones and the kernel's in turn, where both have some.
    #[inline]
    pub(crate) fn next(
        &mut self,
        mut kernel: impl FnMut(&mut Self) -> Option<Entry>,
    ) -> Option<Entry> {
        if self.local.is_empty() {
            return kernel(self);
        }
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
            if let Some(fd) = entry.fd() {
                drop(adopt(fd));
            }
        }
    }
}
