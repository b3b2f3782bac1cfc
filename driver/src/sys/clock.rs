//! Reading the platform's clocks.
#![allow(unsafe_code, reason = "`clock_gettime` is a foreign function")]

use crate::clock::Clock;
use std::time::Duration;

/// The time on `clock`, since that clock's zero.
///
/// Manual pages: [Linux], [Apple], [FreeBSD], [NetBSD], [OpenBSD].
///
/// [Linux]: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
/// [Apple]: https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man3/clock_gettime.3.html
/// [FreeBSD]: https://man.freebsd.org/cgi/man.cgi?query=clock_gettime&sektion=2
/// [NetBSD]: https://man.netbsd.org/clock_gettime.2
/// [OpenBSD]: https://man.openbsd.org/clock_gettime.2
pub(crate) fn now(clock: Clock) -> Duration {
    #[cfg(sim)]
    if let Some(now) = super::sim::clock::now() {
        return now;
    }
    platform::now(clock)
}

#[cfg(unix)]
mod platform {
    use crate::clock::Clock;
    use std::io;
    use std::time::Duration;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn id(clock: Clock) -> libc::clockid_t {
        match clock {
            // Miri knows no CLOCK_BOOTTIME.
            Clock::Boottime if cfg!(miri) => libc::CLOCK_MONOTONIC,
            Clock::Boottime => libc::CLOCK_BOOTTIME,
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Realtime => libc::CLOCK_REALTIME,
        }
    }

    /// CLOCK_MONOTONIC_RAW is `mach_continuous_time` in nanoseconds, and CLOCK_UPTIME_RAW
    /// `mach_absolute_time`: see `tests::boottime_is_the_continuous_time`.
    #[cfg(target_vendor = "apple")]
    fn id(clock: Clock) -> libc::clockid_t {
        match clock {
            Clock::Boottime => libc::CLOCK_MONOTONIC_RAW,
            Clock::Monotonic => libc::CLOCK_UPTIME_RAW,
            Clock::Realtime => libc::CLOCK_REALTIME,
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    fn id(clock: Clock) -> libc::clockid_t {
        match clock {
            Clock::Boottime | Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Realtime => libc::CLOCK_REALTIME,
        }
    }

    pub(super) fn now(clock: Clock) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a local timespec, writable and alive during the call, which is all
        // that the call writes to.
        let result = unsafe { libc::clock_gettime(id(clock), &raw mut time) };
        // EFAULT: `time` is a local. EINVAL: the clock is unknown, and those of `id` are older
        // than any system that this crate supports.
        assert_eq!(
            result,
            0,
            "{clock:?} cannot be read: {}",
            io::Error::last_os_error()
        );
        // A wall clock set to before 1970 reads zero: a `Duration` has no sign.
        let Ok(seconds) = u64::try_from(time.tv_sec) else {
            return Duration::ZERO;
        };
        let nanoseconds = u32::try_from(time.tv_nsec).expect("a timespec has under 10^9 ns");
        Duration::new(seconds, nanoseconds)
    }
}

/// The interrupt time, which [counts while the system sleeps], and the same [without that], both
/// since Windows 10. Where they are missing a clock stands in for both that may stop with the
/// system.
///
/// [counts while the system sleeps]: https://learn.microsoft.com/en-us/windows/win32/api/realtimeapiset/nf-realtimeapiset-queryinterrupttimeprecise
/// [without that]: https://learn.microsoft.com/en-us/windows/win32/api/realtimeapiset/nf-realtimeapiset-queryunbiasedinterrupttimeprecise
#[cfg(windows)]
mod platform {
    use crate::clock::Clock;
    use std::mem;
    use std::sync::OnceLock;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
    use windows_sys::core::{s, w};

    /// Writes a number of 100 ns.
    type Ask = unsafe extern "system" fn(*mut u64);

    pub(super) fn now(clock: Clock) -> Duration {
        static ASK: OnceLock<Option<[Ask; 2]>> = OnceLock::new();
        let [boottime, monotonic] = match (clock, *ASK.get_or_init(find)) {
            (Clock::Realtime, _) => {
                return SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
            }
            (_, Some(ask)) => ask,
            (_, None) => return stand_in(),
        };
        let ask = match clock {
            Clock::Boottime => boottime,
            _ => monotonic,
        };
        let mut ticks = 0;
        // SAFETY: (K1) the call writes a local.
        unsafe { ask(&raw mut ticks) };
        let part = u32::try_from(ticks % 10_000_000).expect("less than ten million");
        Duration::new(ticks / 10_000_000, part * 100)
    }

    fn find() -> Option<[Ask; 2]> {
        // SAFETY: (K1) reads a constant; the module stays where it is.
        let module = unsafe { GetModuleHandleW(w!("kernelbase.dll")) };
        let find = |name| {
            // SAFETY: (K1) reads a constant.
            unsafe { GetProcAddress(module, name) }
        };
        let names = [
            s!("QueryInterruptTimePrecise"),
            s!("QueryUnbiasedInterruptTimePrecise"),
        ];
        let [Some(boottime), Some(monotonic)] = names.map(find) else {
            return None;
        };
        // SAFETY: (K1) as realtimeapiset.h declares them both.
        Some([boottime, monotonic].map(|found| unsafe { mem::transmute::<_, Ask>(found) }))
    }

    fn stand_in() -> Duration {
        /// When the process first asked.
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn monotonic_clocks_do_not_run_backwards() {
        for clock in [Clock::Boottime, Clock::Monotonic] {
            let mut last = now(clock);
            for _ in 0..100 {
                let next = now(clock);
                assert!(next >= last, "{clock:?}");
                last = next;
            }
        }
    }

    #[test]
    fn realtime_is_the_wall_clock() {
        let before = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock set after 1970");
        let read = now(Clock::Realtime);
        let after = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock set after 1970");
        assert!(before <= read && read <= after);
    }

    /// Without a suspend the two are equal, with one the first is ahead; never behind.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn boottime_is_not_behind_monotonic() {
        let monotonic = now(Clock::Monotonic);
        assert!(now(Clock::Boottime) >= monotonic);
    }

    #[cfg(target_vendor = "apple")]
    #[test]
    fn boottime_is_the_continuous_time() {
        #[repr(C)]
        struct Timebase {
            numerator: u32,
            denominator: u32,
        }
        // SAFETY: as declared in <mach/mach_time.h>.
        unsafe extern "C" {
            safe fn mach_continuous_time() -> u64;
            safe fn mach_timebase_info(timebase: &mut Timebase) -> i32;
        }
        let mut base = Timebase {
            numerator: 0,
            denominator: 0,
        };
        assert_eq!(mach_timebase_info(&mut base), 0);
        let continuous = || {
            let ticks = u128::from(mach_continuous_time());
            ticks * u128::from(base.numerator) / u128::from(base.denominator)
        };
        let before = continuous();
        let read = now(Clock::Boottime).as_nanos();
        assert!(before <= read && read <= continuous());
    }
}
