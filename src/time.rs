//! Sleeps, timeouts and intervals.
//!
//! Times are those of the [`Instant`] of this crate, which goes on while the system is suspended. A
//! timer is an entry in the runtime's own heap: it makes no system call, for the nearest one is how
//! long the driver waits at most.

pub(crate) mod timers;

pub use crate::clock::Instant;
pub use std::time::Duration;

use self::timers::TimerId;
use crate::task::runtime::Inner;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// Waits for so long: see [`Sleep`].
///
/// ```
/// use completeio::task::block_on;
/// use completeio::time::{Duration, Instant, sleep};
///
/// let start = Instant::now();
/// block_on(sleep(Duration::from_millis(2)));
/// assert!(start.elapsed() >= Duration::from_millis(2));
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now().saturating_add(duration))
}

/// Waits until then: see [`Sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        timer: None,
    }
}

/// Ready when its time has come, never before.
///
/// The first poll starts it, in the runtime in which it happens. Dropping it ends it.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sleep {
    deadline: Instant,
    timer: Option<(Weak<Inner>, TimerId)>,
}

impl Sleep {
    /// When it is ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether its time has come.
    pub fn is_elapsed(&self) -> bool {
        self.deadline <= Instant::now()
    }

    /// Gives it another time, earlier or later, whether it is ready or not. It is to be polled
    /// again.
    pub fn reset(&mut self, deadline: Instant) {
        self.stop();
        self.deadline = deadline;
    }

    fn stop(&mut self) {
        if let Some((runtime, timer)) = self.timer.take() {
            if let Some(runtime) = runtime.upgrade() {
                runtime.timers.stop(timer);
            }
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.is_elapsed() {
            this.stop();
            return Poll::Ready(());
        }
        let runtime = Inner::current();
        if let Some((own, timer)) = &this.timer {
            if own.as_ptr() == Rc::as_ptr(&runtime) && runtime.timers.wait(*timer, context.waker())
            {
                return Poll::Pending;
            }
        }
        this.stop();
        let timer = runtime.timers.start(this.deadline, context.waker());
        this.timer = Some((Rc::downgrade(&runtime), timer));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The time of a [`timeout`] was over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(error: Elapsed) -> Self {
        Self::new(io::ErrorKind::TimedOut, error)
    }
}

/// Runs `future` for so long at most: see [`timeout_at`].
///
/// # Errors
/// [`Elapsed`].
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(Instant::now().saturating_add(duration), future).await
}

/// Runs `future` until then at most. When the time is over it is dropped, which cancels what it
/// waits for, and gives up the buffers of that. If both are ready, the future is.
///
/// # Errors
/// [`Elapsed`].
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep_until(deadline));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed(())))
    })
    .await
}

/// What an [`Interval`] does when a tick is late by a period or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MissedTickBehavior {
    /// All that were missed follow at once, and then it is back in its time.
    #[default]
    Burst,
    /// The next one is a period after the late one.
    Delay,
    /// Those that were missed are left out: the next one is where one would have been.
    Skip,
}

/// Ticks now, and with each period that goes by: see [`Interval`].
///
/// # Panics
/// If the period is zero.
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Ticks at `start`, and with each period that goes by after it: see [`Interval`].
///
/// # Panics
/// If the period is zero.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval has a period");
    Interval {
        sleep: sleep_until(start),
        period,
        behavior: MissedTickBehavior::default(),
    }
}

/// Ticks again and again. Ticks are multiples of the period after the first one: they do not drift.
///
/// ```
/// use completeio::task::block_on;
/// use completeio::time::{Duration, Instant, interval};
///
/// block_on(async {
///     let mut interval = interval(Duration::from_millis(2));
///     let first = interval.tick().await;
///     assert_eq!(interval.tick().await - first, Duration::from_millis(2));
/// });
/// ```
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    behavior: MissedTickBehavior,
}

impl Interval {
    /// Waits for the next tick, and tells when that was due. Nothing is lost if it is dropped.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|context| self.poll_tick(context)).await
    }

    fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        let due = self.sleep.deadline();
        if Pin::new(&mut self.sleep).poll(context).is_pending() {
            return Poll::Pending;
        }
        self.sleep.reset(self.next(due, Instant::now()));
        Poll::Ready(due)
    }

    /// When the tick after one is due.
    fn next(&self, due: Instant, now: Instant) -> Instant {
        let next = due.saturating_add(self.period);
        if next > now {
            return next;
        }
        match self.behavior {
            MissedTickBehavior::Burst => next,
            MissedTickBehavior::Delay => now.saturating_add(self.period),
            MissedTickBehavior::Skip => {
                let late = now.duration_since(due).as_nanos() % self.period.as_nanos();
                let late = u64::try_from(late).map_or(Duration::ZERO, Duration::from_nanos);
                now.saturating_add(self.period - late)
            }
        }
    }

    /// The next tick is a period from now.
    pub fn reset(&mut self) {
        self.sleep.reset(Instant::now().saturating_add(self.period));
    }

    /// What happens when a tick is late.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.behavior
    }

    /// Sets what happens when a tick is late.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.behavior = behavior;
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }
}
