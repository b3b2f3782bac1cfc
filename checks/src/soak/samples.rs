//! What must stay flat.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is measured at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Resident memory, in KiB.
    pub(super) memory: u64,
    pub(super) descriptors: u64,
}

impl Sample {
    pub(super) fn take() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let memory = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Self {
            memory: memory.expect("Linux tells it"),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count() as u64,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memory,
            descriptors,
        } = self;
        write!(f, "{descriptors} descriptors, {memory} KiB")
    }
}

/// Fewer cannot be compared.
const SAMPLES_MIN: usize = 6;

/// What something may grow by, from the first third of the samples to the last: so many parts of a
/// hundred, and this.
pub(super) struct Tolerance {
    pub(super) percent: u64,
    pub(super) and: u64,
}

/// Whether the median of the last third of the samples is within its limit, by that of the first
/// third; and both. Nothing if there are too few samples.
pub(super) fn compare(
    samples: &[Sample],
    of: impl Fn(&Sample) -> u64,
    tolerance: &Tolerance,
) -> Option<(bool, String)> {
    if samples.len() < SAMPLES_MIN {
        return None;
    }
    let median = |samples: &[Sample]| {
        let mut values: Vec<u64> = samples.iter().map(&of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let third = samples.len() / 3;
    let first = median(&samples[..third]);
    let last = median(&samples[samples.len() - third..]);
    let Tolerance { percent, and } = tolerance;
    let told = format!(
        "{first} in the first third, {last} in the last (at most {percent} % and {and} more)"
    );
    Some((last <= first + first * percent / 100 + and, told))
}

/// How long something took, so often each: four classes for each power of two of microseconds.
pub(super) struct Histogram([AtomicU64; 128]);

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 128])
    }
}

impl Histogram {
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(4);
        let power = u64::from(micros.ilog2());
        let class = (power - 2) * 4 + ((micros >> (power - 2)) & 3);
        let class = usize::try_from(class).unwrap().min(self.0.len() - 1);
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were since the last call, and the upper bounds of half of them and of 99 %.
    pub(super) fn take(&self) -> (u64, Duration, Duration) {
        let counts = self.0.each_ref().map(|n| n.swap(0, Ordering::Relaxed));
        let all: u64 = counts.iter().sum();
        let bound = |percent: u64| {
            let mut left = all * percent / 100;
            let class = counts.iter().position(|n| {
                let is_here = *n > left;
                left = left.saturating_sub(*n);
                is_here
            });
            let class = class.unwrap_or(0);
            let (power, part) = (class / 4, class as u64 % 4);
            Duration::from_micros((5 + part) << power)
        };
        (all, bound(50), bound(99))
    }
}
