//! Waking a driver from other threads: the flag that says whether that takes a system call, and
//! the handle that makes it.

use crate::sys;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};

use sync::{AtomicU8, Ordering};

/// Ends the wait of a driver in [`submit`], from any thread.
///
/// It is the only part of a driver that is `Send + Sync`, and it is cheap to clone. A wake-up is
/// not lost if it comes before the wait: the next `submit` that would block does not. Wake-ups
/// coalesce: any number of them before the driver looks ends one wait, and makes one system call.
/// None is made while the driver is awake.
///
/// What was written before [`notify`](Self::notify) is seen after the wait that it ended.
///
/// It remains harmless: after the driver is gone, and in a forked child, it wakes nobody.
///
/// A [`std::task::Waker`] is made of it without allocation, and wakes the driver the same way.
///
/// Manual pages: [`eventfd(2)`](https://man7.org/linux/man-pages/man2/eventfd.2.html) on Linux,
/// [`kqueue(2)`](https://man.freebsd.org/cgi/man.cgi?query=kqueue) (`EVFILT_USER`) on macOS and the
/// BSDs,
/// [`PostQueuedCompletionStatus`](https://learn.microsoft.com/en-us/windows/win32/api/ioapiset/nf-ioapiset-postqueuedcompletionstatus)
/// on Windows.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, Entry};
/// use std::thread;
///
/// let mut driver = Driver::new()?;
/// let notifier = driver.notifier();
/// let thread = thread::spawn(move || notifier.notify());
///
/// let mut entries: Vec<Entry> = Vec::with_capacity(1);
/// // SAFETY: nothing was pushed.
/// unsafe { driver.submit(None, &mut entries)? };
/// assert!(entries.is_empty(), "the wake-up ended the wait, and is no entry");
/// # thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`submit`]: crate::driver::CompleteIo::submit
#[derive(Clone)]
pub struct Notifier {
    inner: Arc<Shared>,
}

impl Notifier {
    pub(crate) fn new(inner: Arc<Shared>) -> Self {
        Self { inner }
    }

    /// Wakes the driver: its wait ends, or the next one does not begin.
    ///
    /// # Panics
    ///
    /// If other code has closed the driver's wake-up descriptor, which it does not own.
    pub fn notify(&self) {
        self.inner.notify();
    }

    /// Whether this process is a forked child of the driver's.
    pub(crate) fn is_child(&self) -> bool {
        self.inner.is_child()
    }
}

/// Whether both wake the same driver.
impl PartialEq for Notifier {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Notifier {}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier")
            .field("waker", &self.inner.waker)
            .finish_non_exhaustive()
    }
}

impl From<Notifier> for Waker {
    fn from(notifier: Notifier) -> Self {
        Self::from(notifier.inner)
    }
}

/// What a driver shares with its notifiers. The descriptor lives as long as the last of them.
#[derive(Debug)]
pub(crate) struct Shared {
    flag: Flag,
    waker: sys::Waker,
    guard: sys::ForkGuard,
}

impl Shared {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            flag: Flag::new(),
            waker: sys::Waker::new()?,
            guard: sys::ForkGuard::new(),
        }))
    }

    /// The driver's side of the flag.
    pub(crate) fn flag(&self) -> &Flag {
        &self.flag
    }

    /// The descriptor that the driver waits for, and drains when the wait says it is readable.
    pub(crate) fn waker(&self) -> &sys::Waker {
        &self.waker
    }

    /// Whether this process is a forked child of the driver's.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        self.guard.is_child()
    }

    fn notify(&self) {
        // A child has a flag of its own, but the descriptor is its parent's too.
        if self.flag.wake() && !self.is_child() && !planted!("wake-up-lost") {
            self.waker.wake();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// Whether a wake-up takes a system call.
///
/// | State | Set by | Meaning | A waker |
/// |---|---|---|---|
/// | `AWAKE` | the driver: at first, and in `awake` | it runs, and looks at its inputs before it sleeps | sets `NOTIFIED`, no more |
/// | `ASLEEP` | the driver, in `prepare_sleep` | it is about to block, or blocks | sets `NOTIFIED` and makes the system call |
/// | `NOTIFIED` | a waker, in `wake` | a wake-up that the driver has not taken | sets `NOTIFIED` again, no more |
///
/// The driver's loop, in which the order matters:
///
/// ```text
/// loop {
///     flag.awake();                      // 1. take the wake-up, then
///     …                                  // 2. look at what it may be about
///     if flag.prepare_sleep() { wait }   // 3. a wake-up since 1 is seen here
/// }
/// ```
///
/// `awake` is also due between a wait and a drain of the descriptor, or between the drain and the
/// next `prepare_sleep`: either order will do. A waker may be late with its system call: then the
/// next wait ends at once, though nothing is to be taken. That is why the descriptor is drained
/// when it is readable, whatever `awake` returned.
///
/// Every access is a read-modify-write. There lies the whole argument: those of one location are
/// totally ordered, and each reads the one before it. So of `prepare_sleep` and `wake` one comes
/// first, and the other sees it. And as all of them acquire and release, whoever reads a state
/// also sees what *every* waker before had written. For that reason a waker that finds `NOTIFIED`
/// stores it again, and does not merely load it.
#[derive(Debug)]
pub(crate) struct Flag {
    state: AtomicU8,
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

impl Flag {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(AWAKE),
        }
    }

    /// The driver is about to block. `false`: it must not, a wake-up came; `awake` takes it.
    ///
    /// It may be called again without `awake` between.
    pub(crate) fn prepare_sleep(&self) -> bool {
        let change =
            self.state
                .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        match change {
            Ok(_) => true,
            Err(state) => {
                debug_assert!(
                    state == ASLEEP || state == NOTIFIED,
                    "the flag is in state {state}"
                );
                state == ASLEEP
            }
        }
    }

    /// The driver is up, and looks at its inputs next. Takes the wake-up; was there one?
    pub(crate) fn awake(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Wakes the driver. `true`: the caller must make the system call that ends its wait.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP
    }
}

mod sync {
    #[cfg(loom)]
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
    #[cfg(not(loom))]
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::thread;

    /// Far more than any wait here takes: who waits so long waits for a lost wake-up.
    const LOST_MS: i32 = 60_000;

    /// The wait of a driver: how many system calls woke it. `None`: a wake-up was lost.
    fn sleep(shared: &Shared) -> Option<u64> {
        if !shared.flag().prepare_sleep() {
            return Some(0);
        }
        shared
            .waker()
            .is_readable_within(LOST_MS)
            .then(|| shared.waker().drain())
    }

    /// Every thread posts 1 to `wakes`, and wakes the driver for each.
    fn run_wakers<const THREADS: usize>(wakes: u32) {
        let shared = Shared::new().unwrap();
        let posted = [const { AtomicU32::new(0) }; THREADS];
        let seen = [const { AtomicU32::new(0) }; THREADS];
        thread::scope(|scope| {
            for (index, (posted, seen)) in posted.iter().zip(&seen).enumerate() {
                let notifier = Notifier::new(shared.clone());
                scope.spawn(move || {
                    for n in 1..=wakes {
                        posted.store(n, Ordering::Relaxed);
                        notifier.notify();
                        // Every other thread lets the driver fall asleep, and wakes it as it does.
                        while index % 2 == 0 && seen.load(Ordering::Relaxed) < n {
                            thread::yield_now();
                        }
                    }
                });
            }
            let (mut sleeps, mut system_calls) = (0, 0);
            loop {
                shared.flag().awake();
                let mut done = true;
                for (posted, seen) in posted.iter().zip(&seen) {
                    let n = posted.load(Ordering::Relaxed);
                    seen.store(n, Ordering::Relaxed);
                    done &= n == wakes;
                }
                if done {
                    break;
                }
                sleeps += 1;
                let Some(count) = sleep(&shared) else {
                    // Or the scope would wait for the threads forever.
                    seen.iter()
                        .for_each(|seen| seen.store(wakes, Ordering::Relaxed));
                    panic!("a wake-up was lost");
                };
                system_calls += count;
            }
            assert!(
                system_calls <= sleeps,
                "{system_calls} system calls in {sleeps} waits"
            );
        });
    }

    #[test]
    fn states() {
        let flag = Flag::new();
        assert!(!flag.awake());
        assert!(flag.prepare_sleep());
        assert!(flag.prepare_sleep(), "it is asleep already");
        assert!(flag.wake(), "a sleeper takes a system call");
        assert!(!flag.wake(), "one");
        assert!(!flag.prepare_sleep());
        assert!(!flag.prepare_sleep(), "the wake-up stays until it is taken");
        assert!(flag.awake());
        assert!(!flag.awake(), "and is taken once");
        assert!(!flag.wake(), "nobody sleeps");
        assert!(!flag.prepare_sleep(), "but it is noted");
    }

    #[test]
    fn wake_ups_coalesce() {
        let shared = Shared::new().unwrap();
        let notifier = Notifier::new(shared.clone());
        for _ in 0..1000 {
            notifier.notify();
        }
        assert_eq!(
            shared.waker().drain(),
            0,
            "no system call while the driver is awake"
        );
        assert!(!shared.flag().prepare_sleep());
        assert!(shared.flag().awake());
        assert!(shared.flag().prepare_sleep());
        for _ in 0..1000 {
            notifier.notify();
        }
        assert_eq!(shared.waker().drain(), 1, "one while it sleeps");
        assert!(shared.flag().awake());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot poll")]
    fn none_is_lost_of_eight_threads() {
        run_wakers::<8>(10_000);
    }

    /// Here no later wake-up makes good for a lost one.
    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot poll")]
    fn none_is_lost_of_one_thread() {
        run_wakers::<1>(50_000);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot poll")]
    fn a_waker_wakes() {
        let shared = Shared::new().unwrap();
        let waker = Waker::from(Notifier::new(shared.clone()));
        assert_eq!(
            Arc::strong_count(&shared),
            2,
            "the waker is the same allocation"
        );
        assert!(shared.flag().prepare_sleep());
        waker.wake_by_ref();
        assert!(shared.waker().is_readable_within(0));
        assert!(shared.flag().awake());
        waker.wake();
        assert!(shared.flag().awake());
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn is_harmless_after_the_driver() {
        let shared = Shared::new().unwrap();
        let notifier = Notifier::new(shared.clone());
        assert!(shared.flag().prepare_sleep());
        drop(shared);
        notifier.notify();
        thread::spawn(move || notifier.notify()).join().unwrap();
    }

    #[cfg(unix)]
    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn a_child_does_not_wake_its_parent() {
        let shared = Shared::new().unwrap();
        let notifier = Notifier::new(shared.clone());
        assert!(shared.flag().prepare_sleep());
        assert!(sys::ForkGuard::in_child(|| {
            notifier.notify();
            shared.is_child()
        }));
        assert!(!shared.waker().is_readable_within(0));
        notifier.notify();
        assert!(shared.waker().is_readable_within(0));
        assert!(shared.flag().awake());
    }

    #[test]
    fn equal_for_one_driver() {
        let shared = Shared::new().unwrap();
        let notifier = Notifier::new(shared.clone());
        assert_eq!(notifier, notifier.clone());
        assert_ne!(notifier, Notifier::new(Shared::new().unwrap()));
    }

    #[test]
    fn is_shared_and_sent() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<Notifier>();
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test --release loom_`. All interleavings of the two wakers take
/// about 20 seconds; `LOOM_MAX_PREEMPTIONS=3` makes it one.
#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    /// A modelled eventfd: `wait` blocks until `ring`. A lost wake-up is a deadlock.
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn ring(&self) {
            *self.rung.lock().unwrap() = true;
            self.changed.notify_one();
        }

        fn wait_and_drain(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.changed.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    struct Model {
        flag: Flag,
        bell: Bell,
        /// Relaxed in every access: only the flag orders them.
        data: [AtomicU32; 2],
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                flag: Flag::new(),
                bell: Bell {
                    rung: Mutex::new(false),
                    changed: Condvar::new(),
                },
                data: [AtomicU32::new(0), AtomicU32::new(0)],
            })
        }

        fn publish_and_wake(&self, index: usize) {
            self.data[index].store(1, Ordering::Relaxed);
            if self.flag.wake() {
                self.bell.ring();
            }
        }

        fn is_published(&self, index: usize) -> bool {
            self.data[index].load(Ordering::Relaxed) == 1
        }
    }

    fn spawn_waker(model: &Arc<Model>, index: usize) -> thread::JoinHandle<()> {
        let model = model.clone();
        thread::spawn(move || model.publish_and_wake(index))
    }

    #[test]
    fn loom_wake_before_the_first_wait() {
        loom::model(|| {
            let model = Model::new();
            spawn_waker(&model, 0).join().unwrap();
            assert!(!model.flag.prepare_sleep());
            assert!(model.flag.awake());
            assert!(!*model.bell.rung.lock().unwrap(), "no system call");
        });
    }

    #[test]
    fn loom_wake_races_with_prepare_sleep() {
        loom::model(|| {
            let model = Model::new();
            let waker = spawn_waker(&model, 0);
            if model.flag.prepare_sleep() {
                model.bell.wait_and_drain();
            }
            assert!(model.flag.awake(), "the only cause is the wake-up");
            assert!(model.is_published(0), "what came before it is visible");
            waker.join().unwrap();
        });
    }

    /// The driver's loop, as `Flag` shows it, until it has seen what two wakers published.
    fn run_two_wakers(wake: fn(&Model, usize)) {
        loom::model(move || {
            let model = Model::new();
            let wakers = [0, 1].map(|index| {
                let model = model.clone();
                thread::spawn(move || wake(&model, index))
            });
            loop {
                if model.flag.awake() && model.is_published(0) && model.is_published(1) {
                    break;
                }
                if model.flag.prepare_sleep() {
                    model.bell.wait_and_drain();
                }
            }
            for waker in wakers {
                waker.join().unwrap();
            }
        });
    }

    #[test]
    fn loom_two_wakers() {
        run_two_wakers(Model::publish_and_wake);
    }

    /// The driver takes a wake-up without having seen what the second waker published.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_a_waker_that_merely_loads_is_caught() {
        run_two_wakers(|model, index| {
            model.data[index].store(1, Ordering::Relaxed);
            if model.flag.state.load(Ordering::SeqCst) != NOTIFIED && model.flag.wake() {
                model.bell.ring();
            }
        });
    }

    /// Look first, say so afterwards: the wake-up between the two is lost, and loom knows it.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_the_wrong_order_is_caught() {
        loom::model(|| {
            let model = Model::new();
            let waker = spawn_waker(&model, 0);
            if model.flag.state.load(Ordering::SeqCst) != NOTIFIED {
                model.flag.state.store(ASLEEP, Ordering::SeqCst);
                model.bell.wait_and_drain();
            }
            waker.join().unwrap();
        });
    }
}
