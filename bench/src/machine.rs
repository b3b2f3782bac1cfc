//! CPUs, clocks, priorities and limits of the machine.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// CPU time of this process so far, all its threads, those of the kernel for it included:
/// nanoseconds.
#[inline]
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).expect("every process has this clock")
}

/// Nanoseconds since the machine started.
#[inline]
pub fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).expect("every machine has this clock")
}

fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes one `timespec`.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: it was written.
    let time = unsafe { time.assume_init() };
    Some(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// The CPU-time clock of another process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessClock(libc::clockid_t);

impl ProcessClock {
    /// The clock of this process.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(process: u32) -> io::Result<Self> {
        let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
        let mut clock = 0;
        // SAFETY: the number of the clock is written.
        match unsafe { libc::clock_getcpuclockid(process, &raw mut clock) } {
            0 => Ok(Self(clock)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// CPU time of all its threads; `None` when it is gone.
    pub fn now_ns(self) -> Option<u64> {
        clock_ns(self.0)
    }
}

/// The CPUs that this process may run on: the first is measured on, the last makes the load.
pub fn cpus() -> (usize, usize) {
    static FOUND: OnceLock<(usize, usize)> = OnceLock::new();
    // Once it is pinned it finds one only.
    *FOUND.get_or_init(find_cpus)
}

fn find_cpus() -> (usize, usize) {
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

/// Ties the calling thread, and those that it starts, to one CPU.
///
/// Ask [`cpus`] before.
pub fn pin(cpu: usize) {
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

/// Lets the calling thread, and what it starts, run before all others of the machine.
///
/// # Errors
/// This process may not.
pub fn run_first() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the kernel reads one `sched_param`.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the process open as many files as it may, and tells how many.
pub fn raise_open_files() -> u64 {
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
    limit.rlim_cur
}

/// Random numbers (xorshift64): the same ones in each run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
