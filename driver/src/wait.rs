//! How long a submit waits, and how a foreign event loop does.

use crate::clock::Instant;
use std::time::Duration;

/// How long to wait, and for how much.
///
/// ```
/// use completeio_driver::clock::Instant;
/// use completeio_driver::driver::Wait;
/// use std::time::Duration;
///
/// let wait = Wait::new().at_least(32).until(Instant::now() + Duration::from_millis(1));
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Wait {
    pub(crate) min: usize,
    pub(crate) deadline: Option<Instant>,
}

impl Wait {
    /// For one completion, without end.
    pub const fn new() -> Self {
        Self {
            min: 1,
            deadline: None,
        }
    }

    /// For so many completions; never for more than are in flight or the sink has room for. 0 does
    /// not wait.
    pub const fn at_least(mut self, min: usize) -> Self {
        self.min = min;
        self
    }

    /// No longer than until then.
    pub const fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl Wait {
    /// Whether it waits for something, and no time ends it.
    #[inline]
    pub(crate) fn is_endless(&self) -> bool {
        self.min > 0 && self.deadline.is_none()
    }

    /// As the timeout of a submit says: `None` without end, zero not at all.
    #[inline]
    pub(crate) fn for_timeout(timeout: Option<Duration>) -> Self {
        match timeout {
            None => Self::new(),
            Some(Duration::ZERO) => Self::new().at_least(0),
            Some(timeout) => Self::new().until(Instant::now().saturating_add(timeout)),
        }
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`prepare_wait`](crate::driver::Driver::prepare_wait) says to a foreign event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PreparedWait {
    /// Do not sleep: entries, or a wake-up, are there. Call `submit`.
    Ready,
    /// Sleep until the driver's descriptor is readable, or until then.
    Until(Option<Instant>),
}
