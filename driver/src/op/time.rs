//! Timeouts.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, Named};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::clock::{Clock, Instant};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::key::Key;
use crate::scope::Ticket;
use crate::slots;
use crate::sys;
use std::io;
use std::time::Duration;

/// A point or a span of time as the kernel reads it: `struct __kernel_timespec`.
///
/// ```
/// use completeio_driver::op::Timespec;
/// use std::time::Duration;
/// let spec = Timespec::from(Duration::from_millis(1500));
/// assert_eq!(Duration::from(spec), Duration::from_millis(1500));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl From<Duration> for Timespec {
    /// Durations beyond what the kernel's clocks count are clamped to about 292 years.
    fn from(duration: Duration) -> Self {
        const SECONDS_MAX: u64 = i64::MAX as u64 / 1_000_000_000;
        let duration = duration.min(Duration::from_secs(SECONDS_MAX));
        Self {
            seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: if planted!("time-rounded-down") {
                i64::from(duration.subsec_millis()) * 1_000_000
            } else {
                i64::from(duration.subsec_nanos())
            },
        }
    }
}

impl From<Timespec> for Duration {
    fn from(spec: Timespec) -> Self {
        let seconds = u64::try_from(spec.seconds).unwrap_or(0);
        let nanoseconds = u32::try_from(spec.nanoseconds).unwrap_or(0);
        Self::new(seconds, nanoseconds)
    }
}

/// Completes when a time has passed, or a point in time is reached; never early.
///
/// The clock is the suspend-aware one unless another is chosen. A relative timeout counts from its
/// submission. Its entry carries `ETIME`, unchanged; [`finish`](Op::finish) turns that into
/// `Ok(())`, so that `ECANCELED` alone is an error of it. Zero and huge durations are legal.
///
/// [`TimeoutUpdate`] gives it another time while it runs; a [`Deadline`](super::Deadline) limits
/// any other operation.
///
/// Ten thousands of them are better kept in a structure of the caller's whose nearest deadline
/// goes to [`submit_until`](crate::driver::CompleteIo::submit_until).
///
/// io_uring: `IORING_OP_TIMEOUT`, Linux 5.4; its clocks 5.15.
/// readiness: the driver's own timers; while the system is suspended the wait itself stands still,
/// so one that falls due then fires late by what was left, and a change of the realtime clock is
/// seen at the next turn.
/// [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html),
/// [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html)
/// IOCP: likewise, in whole milliseconds, rounded up.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{Op, Timeout};
/// use std::time::Duration;
///
/// let mut op = Timeout::after(Duration::from_millis(1));
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// unsafe { op.finish(entry.unwrap())? };
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct Timeout {
    head: OpHead,
    spec: Timespec,
    clock: Clock,
    absolute: bool,
}

impl Timeout {
    /// Completes `duration` after it is submitted.
    pub fn after(duration: Duration) -> Self {
        Self::on(Clock::default(), duration, false)
    }

    /// Completes at `deadline`, at once if that has passed.
    pub fn at(deadline: Instant) -> Self {
        Self::on(Clock::default(), deadline.since_zero(), true)
    }

    /// Completes `duration` after it is submitted, as `clock` counts.
    pub fn after_on(clock: Clock, duration: Duration) -> Self {
        Self::on(clock, duration, false)
    }

    /// Completes when `clock` shows `since_zero`: for [`Clock::Realtime`] the time since 1970.
    pub fn at_on(clock: Clock, since_zero: Duration) -> Self {
        Self::on(clock, since_zero, true)
    }

    fn on(clock: Clock, duration: Duration, absolute: bool) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            spec: duration.into(),
            clock,
            absolute,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for Timeout {}

impl Describe for Timeout {
    #[inline]
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let spec = unsafe { &raw const (*this).spec };
        // SAFETY: (D2) `this` is valid and not in flight.
        let clock = unsafe { (*this).clock };
        // SAFETY: (D2) as above.
        let absolute = unsafe { (*this).absolute };
        Ok(Call::Timeout {
            spec,
            clock,
            absolute,
        })
    }
}

impl Op for Timeout {
    type Fd = ();
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        match entry.raw_os_error() {
            Some(sys::errno::ETIME) => Ok(()),
            _ => entry.into_result().map(drop),
        }
    }
}

/// Gives a running [`Timeout`] another time.
///
/// Completes when it has: the timeout then completes at the new time, once, as ever. It is measured
/// on the clock that the timeout has; a relative time counts from the submission of the update. Of
/// several timeouts with one user data, one is changed.
///
/// Errors: `ENOENT` when no such timeout runs (any more); `EALREADY` on io_uring when it fires just
/// now; [`Refusal::UserData`] for user data that none can have.
///
/// io_uring: `IORING_OP_TIMEOUT_REMOVE` with `IORING_TIMEOUT_UPDATE`, Linux 5.11. readiness: in
/// place. [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html) IOCP: in
/// place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, Wait};
/// use completeio_driver::op::{Timeout, TimeoutUpdate};
/// use std::time::Duration;
///
/// let mut op = Timeout::after(Duration::from_secs(3600));
/// let mut update = TimeoutUpdate::after(7, Duration::ZERO);
/// let mut driver = Driver::new()?;
/// driver.try_push(&mut op, 7).unwrap();
/// driver.try_push(&mut update, 8).unwrap();
/// let mut entries = Vec::with_capacity(2);
/// // SAFETY: the operations outlive the driver and are not touched.
/// unsafe { driver.submit_until(Wait::new().at_least(2), &mut entries)? };
/// assert_eq!(entries.len(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct TimeoutUpdate {
    head: OpHead,
    spec: Timespec,
    absolute: bool,
    name: TimeoutName,
}

/// Which [`Timeout`] is meant: made of its user data in the raw layer, of a reference to its
/// [`Ticket`](crate::scope::Ticket) in a scope, of a reference to its [`Key`](crate::slots::Key) in
/// a slot.
#[derive(Debug, Clone, Copy)]
pub struct TimeoutName(Option<Key>);

impl From<usize> for TimeoutName {
    fn from(user_data: usize) -> Self {
        Self(Key::try_raw(user_data))
    }
}

impl From<&Ticket<'_, '_, Timeout>> for TimeoutName {
    fn from(ticket: &Ticket<'_, '_, Timeout>) -> Self {
        Self(Some(ticket.word()))
    }
}

impl From<&slots::Key<'_, Timeout>> for TimeoutName {
    fn from(key: &slots::Key<'_, Timeout>) -> Self {
        Self(Some(key.word()))
    }
}

impl TimeoutUpdate {
    /// It completes `duration` after the update is submitted.
    pub fn after(name: impl Into<TimeoutName>, duration: Duration) -> Self {
        Self::to(name.into(), duration, false)
    }

    /// It completes at `deadline`, if it is on the suspend-aware clock.
    pub fn at(name: impl Into<TimeoutName>, deadline: Instant) -> Self {
        Self::to(name.into(), deadline.since_zero(), true)
    }

    /// It completes when its clock shows `since_zero`.
    pub fn at_time(name: impl Into<TimeoutName>, since_zero: Duration) -> Self {
        Self::to(name.into(), since_zero, true)
    }

    fn to(name: TimeoutName, duration: Duration, absolute: bool) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            spec: duration.into(),
            absolute,
            name,
        }
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl OpCode for TimeoutUpdate {}

impl Describe for TimeoutUpdate {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid; only the field's address is taken.
        let spec = unsafe { &raw const (*this).spec };
        // SAFETY: (D2) `this` is valid and not in flight.
        let absolute = unsafe { (*this).absolute };
        // SAFETY: (D2) as above.
        let TimeoutName(key) = unsafe { (*this).name };
        Ok(Call::TimeoutUpdate {
            of: Named(key.ok_or(Refusal::UserData)?),
            spec,
            absolute,
        })
    }
}

impl Op for TimeoutUpdate {
    type Fd = ();
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_durations_are_clamped() {
        let spec = Timespec::from(Duration::MAX);
        assert_eq!(spec.seconds, i64::MAX / 1_000_000_000);
        assert!(spec.nanoseconds < 1_000_000_000);
        assert_eq!(
            Timespec::from(Duration::ZERO),
            Timespec {
                seconds: 0,
                nanoseconds: 0
            }
        );
        assert_eq!(
            Duration::from(Timespec::from(Duration::from_nanos(1))).as_nanos(),
            1
        );
    }
}
