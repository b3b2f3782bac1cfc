//! Clocks, CPUs, medians, and how runs are paired.

use std::io;
use std::time::{Duration, Instant};

/// How long a run lasts.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    Time(Duration),
    Turns(u64),
}

/// What one run gave.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) ops: u64,
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
    /// System calls that hand over or wait, for each operation.
    pub(crate) enters_per_op: Option<f64>,
}

impl Run {
    /// CPU time of the measured thread for each operation, user and kernel.
    pub(crate) fn cpu_ns_per_op(&self) -> f64 {
        self.cpu_ns as f64 / self.ops as f64
    }

    pub(crate) fn ops_per_s(&self) -> f64 {
        self.ops as f64 * 1e9 / self.wall_ns as f64
    }

    /// The part of the time in which the measured thread had a CPU.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_ns as f64 / self.wall_ns as f64
    }
}

/// Calls `turn`, which does `ops_per_turn` operations, until the goal is reached.
#[inline]
pub(crate) fn drive(goal: Goal, ops_per_turn: u64, mut turn: impl FnMut()) -> Run {
    const TURNS_PER_LOOK: u64 = 64;
    let mut turns = 0;
    let clock = Clock::of_this_thread();
    let cpu_ns = || clock.now_ns().expect("this thread is alive");
    let (wall_start, cpu_start) = (Instant::now(), cpu_ns());
    match goal {
        Goal::Turns(goal) => {
            while turns < goal {
                turn();
                turns += 1;
            }
        }
        Goal::Time(goal) => {
            while wall_start.elapsed() < goal {
                for _ in 0..TURNS_PER_LOOK {
                    turn();
                }
                turns += TURNS_PER_LOOK;
            }
        }
    }
    Run {
        ops: turns * ops_per_turn,
        cpu_ns: cpu_ns() - cpu_start,
        wall_ns: elapsed_ns(wall_start),
        enters_per_op: None,
    }
}

pub(crate) fn elapsed_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).expect("a run is shorter than 584 years")
}

/// The CPU-time clock of a thread: readable by others, as long as the thread lives.
#[derive(Clone, Copy)]
pub(crate) struct Clock(libc::clockid_t);

impl Clock {
    pub(crate) fn of_this_thread() -> Self {
        let mut clock = 0;
        // SAFETY: touches nothing.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread is alive; the clock's number is written to a place that has room.
        let failed = unsafe { libc::pthread_getcpuclockid(thread, &raw mut clock) };
        assert_eq!(failed, 0, "a running thread has a clock");
        Self(clock)
    }

    /// `None` when the thread is gone.
    pub(crate) fn now_ns(self) -> Option<u64> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the kernel writes one `timespec` to a place that has room for it.
        let failed = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        let ns = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        (failed == 0).then_some(ns)
    }
}

/// The CPUs that this process may run on: the first is measured on, the last makes the load.
pub(crate) fn cpus() -> (usize, usize) {
    // SAFETY: a set of CPUs is plain bits, and zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size given.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    assert_eq!(
        failed,
        0,
        "sched_getaffinity: {}",
        io::Error::last_os_error()
    );
    // SAFETY: the index is below the size of the set.
    let mut allowed =
        (0..8 * size_of_val(&set)).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
    let first = allowed.next().expect("a process runs somewhere");
    (first, allowed.next_back().unwrap_or(first))
}

/// Ties the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) {
    // SAFETY: as in `cpus`.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number came out of `cpus`.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads at most the size given.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(
        failed,
        0,
        "sched_setaffinity: {}",
        io::Error::last_os_error()
    );
}

/// Lets the calling thread run before all others of the machine, if this process may.
pub(crate) fn run_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the kernel reads one `sched_param`.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the process open as many files as it may.
pub(crate) fn raise_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one `rlimit`.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(failed, 0, "getrlimit: {}", io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max.min(1 << 16);
    // SAFETY: the kernel reads one `rlimit`.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(failed, 0, "setrlimit: {}", io::Error::last_os_error());
}

/// The runs of one peer, and how each compares to the runs of the reference around it.
pub(crate) struct Series {
    pub(crate) peer: &'static str,
    pub(crate) runs: Vec<Run>,
    /// CPU time for each operation, by the mean of the reference's just before and just after.
    pub(crate) ratios: Vec<f64>,
    /// Why there are no runs.
    pub(crate) skipped: Option<String>,
}

/// The name of the reference when it is measured against itself.
pub(crate) const AGAIN: &str = "again";

/// Runs the peers in turn, each between two runs of the reference: R A R B R C R …
///
/// The reference is the first of the result, and the second is the reference against itself: how
/// far its ratios are from 1 is the noise floor.
pub(crate) fn alternate<P: Copy>(
    rounds: usize,
    reference: P,
    peers: &[P],
    name: impl Fn(P) -> &'static str,
    mut run: impl FnMut(P) -> Result<Run, String>,
) -> Vec<Series> {
    let series = |peer| Series {
        peer,
        runs: Vec::new(),
        ratios: Vec::new(),
        skipped: None,
    };
    let mut first = series(name(reference));
    let mut rest: Vec<Series> = vec![series(AGAIN)];
    rest.extend(peers.iter().map(|peer| series(name(*peer))));
    let mut before = match run(reference) {
        Ok(run) => run,
        Err(reason) => {
            // Without the reference there is nothing to compare with.
            first.skipped = Some(reason);
            return vec![first];
        }
    };
    first.runs.push(before);
    for _ in 0..rounds {
        for (i, series) in rest.iter_mut().enumerate() {
            if series.skipped.is_some() {
                continue;
            }
            let peer = if i == 0 { reference } else { peers[i - 1] };
            let result = run(peer).and_then(|this| Ok((this, run(reference)?)));
            match result {
                Ok((this, after)) => {
                    let around = (before.cpu_ns_per_op() + after.cpu_ns_per_op()) / 2.0;
                    series.ratios.push(this.cpu_ns_per_op() / around);
                    series.runs.push(this);
                    first.runs.push(after);
                    before = after;
                }
                Err(reason) => series.skipped = Some(reason),
            }
        }
    }
    std::iter::once(first).chain(rest).collect()
}

/// The middle of some numbers, and their range.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let half = numbers.len() / 2;
        let median = match numbers.len() % 2 {
            0 => (numbers[half - 1] + numbers[half]) / 2.0,
            _ => numbers[half],
        };
        Some(Self { median, min, max })
    }

    /// The same without the lowest and the highest, where there are enough for that.
    pub(crate) fn trimmed(mut numbers: Vec<f64>) -> Option<Self> {
        const ENOUGH: usize = 5;
        numbers.sort_by(f64::total_cmp);
        let odd_ones = usize::from(numbers.len() >= ENOUGH);
        Self::of(numbers[odd_ones..numbers.len() - odd_ones].iter().copied())
    }

    pub(crate) fn contains(&self, number: f64) -> bool {
        self.min <= number && number <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu_ns: u64) -> Run {
        Run {
            ops: 1,
            wall_ns: 1,
            cpu_ns,
            enters_per_op: None,
        }
    }

    #[test]
    fn each_run_is_compared_to_the_references_around_it() {
        // The machine gets slower and slower; the peer costs twice as much at any time.
        let mut slowness = 9;
        let series = alternate(
            3,
            "raw",
            &["twice", "absent"],
            |peer| peer,
            |peer| {
                slowness += 1;
                match peer {
                    "raw" => Ok(run(slowness * 100)),
                    "twice" => Ok(run(slowness * 200)),
                    _ => Err("not here".to_owned()),
                }
            },
        );
        let names: Vec<_> = series.iter().map(|series| series.peer).collect();
        assert_eq!(names, ["raw", AGAIN, "twice", "absent"]);
        assert_eq!(series[0].runs.len(), 7);
        for (series, ratio) in series[1..3].iter().zip([1.0, 2.0]) {
            assert_eq!(series.ratios.len(), 3);
            for found in &series.ratios {
                assert!((found - ratio).abs() < 0.05, "{}: {found}", series.peer);
            }
        }
        assert_eq!(series[3].skipped.as_deref(), Some("not here"));
    }

    #[test]
    fn medians_and_ranges() {
        assert!(Spread::of([]).is_none());
        let spread = Spread::of([3.0, 1.0, 2.0, 8.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 8.0));
        let trimmed = Spread::trimmed(vec![9.0, 1.0, 1.1, 0.2, 0.9]).unwrap();
        assert_eq!((trimmed.min, trimmed.max), (0.9, 1.1));
    }
}
