//! The time of the world that a thread is in.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Where a world's time begins: far enough from zero for what is before it.
pub(super) const START: Duration = Duration::from_secs(1_000_000);

/// The time of this thread's world, if it is in one.
pub(crate) fn now() -> Option<Duration> {
    NOW.get()
}

/// The thread's world, which there is one of: its time stands here as long as this lives.
#[derive(Debug)]
pub(super) struct Clock(());

impl Clock {
    /// `None` when the thread is in a world.
    pub(super) fn enter() -> Option<Self> {
        if NOW.get().is_some() {
            return None;
        }
        NOW.set(Some(START));
        Some(Self(()))
    }

    pub(super) fn now(&self) -> Duration {
        NOW.get().unwrap_or(START)
    }

    pub(super) fn set(&mut self, now: Duration) {
        debug_assert!(now >= self.now(), "time does not go back");
        NOW.set(Some(now));
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        NOW.set(None);
    }
}
