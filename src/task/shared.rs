//! What other threads may touch of a runtime.

use super::runtime;
use crate::driver::Notifier;
use async_task::Runnable;
use concurrent_queue::ConcurrentQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Wake;

/// Wakes tasks, and ends the runtime's wait for it, from any thread.
///
/// | state | set by | whoever wakes |
/// |---|---|---|
/// | `AWAKE` | the loop | sets `RANG`: the loop looks before it sleeps |
/// | `ASLEEP` | the loop, which may block in the driver | sets `RANG`, and ends the driver's wait |
/// | `RANG` | a wake-up; at first | leaves it so |
pub(super) struct Shared {
    state: AtomicU8,
    notifier: Notifier,
    /// Tasks that were woken elsewhere.
    woken: ConcurrentQueue<Runnable>,
    /// Whether the future of `block_on` was woken.
    root: AtomicBool,
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const RANG: u8 = 2;

impl Shared {
    pub(super) fn new(notifier: Notifier) -> Self {
        Self {
            state: AtomicU8::new(RANG),
            notifier,
            woken: ConcurrentQueue::unbounded(),
            root: AtomicBool::new(false),
        }
    }

    /// Puts a task that is to run into the queue of its runtime.
    pub(super) fn schedule(self: &Arc<Self>, task: Runnable) {
        if let Err(task) = runtime::schedule_here(self, task) {
            self.schedule_elsewhere(task);
        }
    }

    #[cold]
    #[inline(never)]
    fn schedule_elsewhere(&self, task: Runnable) {
        // It is never closed, and grows: nothing comes back.
        let pushed = self.woken.push(task);
        debug_assert!(pushed.is_ok(), "the queue takes all");
        self.ring();
    }

    /// The next task that was woken elsewhere.
    pub(super) fn next_woken(&self) -> Option<Runnable> {
        self.woken.pop().ok()
    }

    /// The future of `block_on` is to be polled.
    pub(super) fn wake_root(&self) {
        self.root.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether the future of `block_on` was woken since the last time.
    pub(super) fn root_was_woken(&self) -> bool {
        self.root.load(Ordering::Relaxed) && self.root.swap(false, Ordering::AcqRel)
    }

    pub(super) fn ring(&self) {
        if self.state.swap(RANG, Ordering::AcqRel) == ASLEEP {
            self.notifier.notify();
        }
    }

    /// From here on a wake-up need not end a wait: the loop is going to look at everything.
    pub(super) fn awake(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// `false`: the loop must not sleep, for somebody rang since it was awake.
    pub(super) fn prepare_sleep(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The wait is over: what is woken from here on is seen without ending another one.
    pub(super) fn woke_up(&self) {
        let _ = self
            .state
            .compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether somebody rang since the loop was awake.
    pub(super) fn rang(&self) -> bool {
        self.state.load(Ordering::Acquire) == RANG
    }
}

/// The waker of the future of `block_on`.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_root();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_root();
    }
}
