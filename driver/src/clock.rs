//! The suspend-aware clock that timeouts and deadlines are measured on.

use crate::sys;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// Which clock a [`Timeout`](crate::op::Timeout) is measured on.
///
/// | | Linux, Android | macOS, iOS | BSDs | elsewhere |
/// |---|---|---|---|---|
/// | `Boottime` | `CLOCK_BOOTTIME` | `mach_continuous_time` | `CLOCK_MONOTONIC` | [`std::time::Instant`] |
/// | `Monotonic` | `CLOCK_MONOTONIC` | `mach_absolute_time` | `CLOCK_MONOTONIC` | [`std::time::Instant`] |
/// | `Realtime` | `CLOCK_REALTIME` | `CLOCK_REALTIME` | `CLOCK_REALTIME` | [`std::time::SystemTime`] |
///
/// Manual page: [`clock_gettime(2)`](https://man7.org/linux/man-pages/man2/clock_gettime.2.html).
///
/// ```
/// use completeio_driver::clock::Clock;
///
/// assert_eq!(Clock::default(), Clock::Boottime);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// Never set, and counts the time for which the machine was suspended, where the platform has
    /// such a clock: [`Instant`] tells which do.
    #[default]
    Boottime,
    /// Never set, and stands still during suspend on Linux, Android, macOS and iOS. Not promised
    /// elsewhere.
    Monotonic,
    /// The wall clock, since 1970-01-01 00:00 UTC. It jumps when it is set.
    Realtime,
}

/// A point in time on the clock [`Clock::Boottime`], which goes on while the machine is suspended.
///
/// It is used like [`std::time::Instant`]. The two are different clocks: on Linux and macOS
/// std's stands still during suspend.
///
/// | Platform | Clock | During suspend |
/// |---|---|---|
/// | Linux, Android | [`CLOCK_BOOTTIME`] | counts |
/// | macOS, iOS | [`mach_continuous_time`] | counts |
/// | BSDs | `CLOCK_MONOTONIC` | not promised: as the system has it |
/// | elsewhere | [`std::time::Instant`], since the process first asked | not promised |
///
/// An instant is good within one boot of one machine; it means nothing in a file or on the wire.
///
/// Arithmetic never panics. `+` and `-` clamp where std's would overflow: `Instant::now() +
/// Duration::MAX` is the far future, a legal deadline that is never reached, and nothing lies
/// before the clock's zero. [`checked_add`](Self::checked_add) and
/// [`checked_sub`](Self::checked_sub) tell.
///
/// ```
/// use completeio_driver::clock::Instant;
/// use std::time::Duration;
///
/// let start = Instant::now();
/// let deadline = start + Duration::from_millis(5);
/// assert_eq!(deadline - start, Duration::from_millis(5));
/// assert_eq!(start - deadline, Duration::ZERO);
/// assert!(start.elapsed() < Duration::MAX);
/// ```
///
/// [`CLOCK_BOOTTIME`]: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
/// [`mach_continuous_time`]: https://developer.apple.com/documentation/kernel/1646199-mach_continuous_time
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    since_zero: Duration,
}

impl Instant {
    /// The present.
    pub fn now() -> Self {
        Self::from_since_zero(sys::clock::now(Clock::Boottime))
    }

    /// The time since this instant; zero if it lies in the future.
    pub fn elapsed(&self) -> Duration {
        Self::now().duration_since(*self)
    }

    /// The time from `earlier` to this instant; zero if `earlier` is the later one.
    pub fn duration_since(&self, earlier: Self) -> Duration {
        self.since_zero.saturating_sub(earlier.since_zero)
    }

    /// The time from `earlier` to this instant; `None` if `earlier` is the later one.
    pub fn checked_duration_since(&self, earlier: Self) -> Option<Duration> {
        self.since_zero.checked_sub(earlier.since_zero)
    }

    /// This instant and `duration`; `None` if it cannot be represented.
    pub fn checked_add(&self, duration: Duration) -> Option<Self> {
        self.since_zero
            .checked_add(duration)
            .map(Self::from_since_zero)
    }

    /// This instant less `duration`; `None` if it would lie before the clock's zero.
    pub fn checked_sub(&self, duration: Duration) -> Option<Self> {
        self.since_zero
            .checked_sub(duration)
            .map(Self::from_since_zero)
    }

    /// This instant and `duration`, or the last instant there is.
    ///
    /// ```
    /// use completeio_driver::clock::Instant;
    /// use std::time::Duration;
    ///
    /// let never = Instant::now().saturating_add(Duration::MAX);
    /// assert_eq!(never.saturating_add(Duration::from_secs(1)), never);
    /// ```
    #[must_use]
    pub fn saturating_add(&self, duration: Duration) -> Self {
        Self::from_since_zero(self.since_zero.saturating_add(duration))
    }

    /// The instant that lies `since_zero` after the clock's zero.
    pub(crate) const fn from_since_zero(since_zero: Duration) -> Self {
        Self { since_zero }
    }

    /// The time since the clock's zero.
    pub(crate) const fn since_zero(self) -> Duration {
        self.since_zero
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// [`saturating_add`](Self::saturating_add).
    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// This instant less `duration`, or the clock's zero.
    fn sub(self, duration: Duration) -> Self {
        Self::from_since_zero(self.since_zero.saturating_sub(duration))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// [`duration_since`](Self::duration_since).
    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_present_moves_on() {
        let start = Instant::now();
        while start.elapsed().is_zero() {}
        assert!(Instant::now() > start);
    }

    #[test]
    fn huge_durations_clamp() {
        let now = Instant::now();
        let never = now + Duration::MAX;
        assert_eq!(never.since_zero(), Duration::MAX);
        assert_eq!(never + SECOND, never);
        assert_eq!(
            now - Duration::MAX,
            Instant::from_since_zero(Duration::ZERO)
        );
        assert_eq!(now.checked_add(Duration::MAX), None);
        assert_eq!(now.checked_sub(Duration::MAX), None);
    }

    #[test]
    fn differences() {
        let early = Instant::from_since_zero(Duration::from_nanos(5));
        let mut late = early;
        late += SECOND;
        assert_eq!(late - early, SECOND);
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(late.checked_duration_since(early), Some(SECOND));
        assert_eq!(early.checked_duration_since(late), None);
        assert_eq!(early.checked_add(SECOND), Some(late));
        assert_eq!(late.checked_sub(SECOND), Some(early));
        late -= SECOND;
        assert_eq!(late, early);
    }
}
