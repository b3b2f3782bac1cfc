//! The threads that make the calls which may wait for a disk.
//!
//! A job is plain words in a place that was preallocated for its operation: no memory is taken
//! here after the start, and a worker knows neither operations nor buffers.
//!
//! | state of a place | linked in | who may touch what the words point to | what comes next |
//! |---|---|---|---|
//! | `Idle` | nothing | the owner of that memory | `Queued`, by the driver |
//! | `Queued` | the queue | nobody | `Running`, by a worker; or `Idle`, by a cancel |
//! | `Running` | nothing | that worker | `Done`, by the same, which may be [interrupted](Work::interrupt) |
//! | `Done` | the results | the driver, which owns the result | `Idle`, by the driver |
//!
//! # The way back
//! A worker that has put a result down rings the [`Flag`] of the workers, which is the notifier's
//! kind (its table and its model tests are there), and writes to the workers' descriptor only if
//! the driver sleeps. So the driver's side is
//!
//! ```text
//! loop {
//!     if awake() { take the results }   // 1. a swap: were there any since the last time?
//!     if rest() { wait }                // 2. a result since 1 is seen here, and there is no wait
//! }
//! ```
//!
//! It is another flag than the notifier's: a result is no wake-up of the user's.
//!
//! # Signals
//! All of them, where there are some, are blocked in the workers, so that the process's handlers
//! run elsewhere, and so that a write beyond the limit of a file's size is EFBIG and no SIGXFSZ.
//!
//! What a job is, and how it is done, is the backend's.
#![allow(unsafe_code, reason = "threads are lent memory")]

use super::BlockedSignals;
use super::fd::{FromRawFd, OwnedFd};
use crate::list::{Linked, Links, List};
use crate::notify::{Flag, Shared};
use crate::sys;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// A worker calls libc and no more; debuggers and sanitizers want some room.
const STACK_BYTES: usize = 256 * 1024;

/// One call in plain words, as a worker thread gets it.
pub(super) trait Work: Copy + Send + fmt::Debug + 'static {
    /// What each thread keeps for its calls.
    type Kit;

    /// What stands in a place without a job.
    const NONE: Self;

    fn kit() -> Self::Kit;

    /// Makes the call; a negative result is an error number.
    ///
    /// # Safety
    /// (W1) What it points to is lent to whoever calls this, until it returns.
    unsafe fn perform(&self, kit: &mut Self::Kit) -> i32;

    /// Whether a result that is no error is a new descriptor.
    fn makes_fd(&self) -> bool;

    /// Whether it gives up what it is directed at: it is done even when the driver ends.
    fn is_close(&self) -> bool;

    /// Asks the system to end the call, which this thread may not have begun yet, or have ended.
    /// `false`: it ends by itself, and is not asked for again.
    fn interrupt(&self, _thread: &JoinHandle<()>) -> bool {
        false
    }
}

/// The driver's end. Dropping it takes back what no worker has begun, waits for what runs, which it
/// interrupts if it can, and closes what was opened for nobody. Closes are performed even then:
/// their descriptors were given away. In a forked child, where there are no workers, it closes its
/// descriptor.
pub(super) struct Workers<W: Work> {
    pool: ManuallyDrop<Arc<Pool<W>>>,
    threads: ManuallyDrop<Vec<JoinHandle<()>>>,
    /// Jobs that were queued and not taken out.
    outstanding: u32,
    shared: Arc<Shared>,
}

/// What the threads share.
struct Pool<W> {
    places: Mutex<Places<W>>,
    /// There is work, or it is over.
    work: Condvar,
    /// A worker has reached its loop; once it is over, has ended a job.
    told: Condvar,
    flag: Flag,
    bell: sys::Waker,
}

struct Places<W> {
    places: Box<[Place<W>]>,
    queue: List<Job>,
    results: List<Job>,
    /// Workers that wait for work and were not called.
    idle: usize,
    started: usize,
    /// What each worker performs.
    running: Box<[Option<u32>]>,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Place<W> {
    state: State,
    work: W,
    result: i32,
    links: Links,
}

/// See the first table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    Running,
    Done,
}

/// The role of a place's links.
struct Job;

impl<W> Linked<Job> for Place<W> {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<W: Work> Workers<W> {
    /// Starts so many threads, with a place for each of `in_flight` operations. They are all in
    /// their loops when this returns: what a thread allocates, it has allocated.
    pub(super) fn start(threads: usize, in_flight: u32, shared: Arc<Shared>) -> io::Result<Self> {
        let pool = Arc::new(Pool {
            places: Mutex::new(Places::new(in_flight, threads)),
            work: Condvar::new(),
            told: Condvar::new(),
            flag: Flag::new(),
            bell: shared.waker().beside()?,
        });
        let mut workers = Self {
            pool: ManuallyDrop::new(pool.clone()),
            threads: ManuallyDrop::new(Vec::with_capacity(threads)),
            outstanding: 0,
            shared,
        };
        let _signals = BlockedSignals::new();
        for n in 0..threads {
            let pool = pool.clone();
            let builder = Builder::new()
                .name(format!("completeio-{n}"))
                .stack_size(STACK_BYTES);
            workers.threads.push(builder.spawn(move || pool.run(n))?);
        }
        let mut places = pool.lock();
        while places.started < threads {
            places = pool
                .told
                .wait(places)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(places);
        Ok(workers)
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Queues a job in the place of its operation.
    pub(super) fn queue(&mut self, index: u32, work: W) {
        let mut places = self.pool.lock();
        let calls = places.queue(index, work);
        drop(places);
        self.outstanding += 1;
        if calls {
            self.pool.work.notify_one();
        }
    }

    /// Takes a job back. `false`: it runs, or has run.
    pub(super) fn cancel(&mut self, index: u32) -> bool {
        let cancelled = self.pool.lock().cancel(index);
        self.outstanding -= u32::from(cancelled);
        cancelled
    }

    /// Whether results may have come since the last call.
    #[inline]
    pub(super) fn awake(&self) -> bool {
        self.outstanding > 0 && self.pool.flag.awake()
    }

    /// The driver is about to block. `false`: it must not, there are results.
    #[inline]
    pub(super) fn rest(&self) -> bool {
        self.outstanding == 0 || self.pool.flag.prepare_sleep()
    }

    /// One job that is done, and its result.
    pub(super) fn finished(&mut self) -> Option<(u32, i32)> {
        let (index, place) = self.pool.lock().finished()?;
        self.outstanding -= 1;
        Some((index, place.result))
    }

    /// Ends the threads: what runs, and the closes that are queued, they finish first. Results are
    /// there to be taken after it.
    pub(super) fn stop(&mut self) {
        self.pool.lock().wind_up();
        self.pool.work.notify_all();
        if planted!("drop-does-not-drain") {
            self.threads.clear();
            return;
        }
        // All of them first: one may wait for what another one does.
        self.pool.interrupt(&self.threads);
        for thread in self.threads.drain(..) {
            let result = thread.join();
            debug_assert!(result.is_ok(), "a worker has panicked");
        }
    }

    /// Wakes the driver when a result has come while it slept.
    #[cfg(readiness)]
    pub(super) fn bell(&self) -> &sys::Waker {
        &self.pool.bell
    }

    /// Whether a worker has begun the job.
    #[cfg(all(test, readiness))]
    pub(super) fn is_running(&self, index: u32) -> bool {
        self.pool.lock().places[index as usize].state == State::Running
    }
}

impl<W: Work> Drop for Workers<W> {
    fn drop(&mut self) {
        if self.shared.is_child() {
            // SAFETY: (R3) the pool is never dropped in this process, for the counts of threads
            // that it does not have keep it alive: nobody else drops this.
            drop(unsafe { ptr::read(&raw const self.pool.bell) });
            return;
        }
        self.stop();
        while let Some((_, place)) = self.pool.lock().finished() {
            if place.work.makes_fd() && place.result >= 0 {
                // SAFETY: (R1) what the open gave; its operation is gone, so nobody else has it.
                drop(unsafe { OwnedFd::from_raw_fd(sys::fd_of(place.result)) });
            }
        }
        // SAFETY: (R3) dropped here and once, in the destructor.
        unsafe { ManuallyDrop::drop(&mut self.threads) };
        // SAFETY: (R3) dropped here and once, in the destructor.
        unsafe { ManuallyDrop::drop(&mut self.pool) };
    }
}

impl<W: Work> Pool<W> {
    /// Every critical section leaves the places whole, so a panic in one is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Places<W>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Interrupts what the workers perform, until nothing is left that can be interrupted. It is
    /// over, so that they begin no more than closes; and for that, too, they need the lock.
    fn interrupt(&self, threads: &[JoinHandle<()>]) {
        const LONGEST: Duration = Duration::from_millis(64);
        let mut moment = Duration::from_millis(1);
        let mut places = self.lock();
        while places.interrupt(threads) {
            let told = self.told.wait_timeout(places, moment);
            (places, _) = told.unwrap_or_else(PoisonError::into_inner);
            moment = LONGEST.min(2 * moment);
        }
    }

    /// A worker's life.
    fn run(&self, worker: usize) {
        let mut kit = W::kit();
        let mut places = self.lock();
        places.started += 1;
        self.told.notify_one();
        loop {
            if let Some((_, work)) = places.begin(worker) {
                drop(places);
                // SAFETY: (W1) what the words point to is lent from the push of the operation to
                // its completion, which follows the result that is put down below.
                let result = unsafe { work.perform(&mut kit) };
                places = self.lock();
                places.finish(worker, result);
                if places.over {
                    self.told.notify_one();
                }
                if self.flag.wake() {
                    drop(places);
                    self.bell.wake();
                    places = self.lock();
                }
            } else if places.over {
                return;
            } else {
                places.idle += 1;
                places = self
                    .work
                    .wait(places)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<W: Work> Places<W> {
    fn new(capacity: u32, workers: usize) -> Self {
        let place = Place {
            state: State::Idle,
            work: W::NONE,
            result: 0,
            links: Links::UNLINKED,
        };
        Self {
            places: vec![place; capacity as usize].into_boxed_slice(),
            queue: List::new(),
            results: List::new(),
            idle: 0,
            started: 0,
            running: vec![None; workers].into_boxed_slice(),
            over: false,
        }
    }

    /// Whether a worker must be called. One that was called counts as idle no more, so that a
    /// batch of jobs makes no more calls than there are idle workers.
    fn queue(&mut self, index: u32, work: W) -> bool {
        let place = &mut self.places[index as usize];
        assert_eq!(place.state, State::Idle, "I1: place {index} has a job");
        place.work = work;
        place.state = State::Queued;
        self.queue.push_back(&mut self.places, index);
        let calls = self.idle > 0;
        self.idle -= usize::from(calls);
        calls
    }

    fn cancel(&mut self, index: u32) -> bool {
        let place = &mut self.places[index as usize];
        assert_ne!(place.state, State::Idle, "place {index} has no job");
        let queued = place.state == State::Queued;
        if queued {
            place.state = State::Idle;
            self.queue.remove(&mut self.places, index);
        }
        queued
    }

    /// Whether one of the workers performs what it was asked to end.
    fn interrupt(&self, threads: &[JoinHandle<()>]) -> bool {
        let interrupt = |(worker, thread)| {
            let work = self.performed_by(worker);
            work.is_some_and(|work| work.interrupt(thread))
        };
        threads
            .iter()
            .enumerate()
            .map(interrupt)
            .fold(false, |a, b| a | b)
    }

    fn performed_by(&self, worker: usize) -> Option<W> {
        let index = self.running[worker]?;
        Some(self.places[index as usize].work)
    }

    fn begin(&mut self, worker: usize) -> Option<(u32, W)> {
        let index = self.queue.pop_front(&mut self.places)?;
        let place = &mut self.places[index as usize];
        assert_eq!(
            place.state,
            State::Queued,
            "I1: place {index} is in the queue"
        );
        place.state = State::Running;
        self.running[worker] = Some(index);
        Some((index, place.work))
    }

    fn finish(&mut self, worker: usize, result: i32) {
        let index = self.running[worker].take();
        let index = index.expect("I1: it performs one");
        let place = &mut self.places[index as usize];
        assert_eq!(
            place.state,
            State::Running,
            "I1: place {index} is a worker's"
        );
        place.state = State::Done;
        place.result = result;
        self.results.push_back(&mut self.places, index);
    }

    fn finished(&mut self) -> Option<(u32, Place<W>)> {
        let index = self.results.pop_front(&mut self.places)?;
        let place = &mut self.places[index as usize];
        assert_eq!(
            place.state,
            State::Done,
            "I1: place {index} is among the results"
        );
        place.state = State::Idle;
        Some((index, *place))
    }

    /// No more work after this but the closes that are queued.
    fn wind_up(&mut self) {
        self.over = true;
        let mut at = self.queue.front();
        while let Some(index) = at {
            at = self.queue.after(&self.places, index);
            if !self.places[index as usize].work.is_close() {
                self.cancel(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done nowhere.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Paper {
        Open,
        Close(i32),
    }

    impl Work for Paper {
        type Kit = ();
        const NONE: Self = Self::Open;

        fn kit() {}

        unsafe fn perform(&self, (): &mut ()) -> i32 {
            0
        }

        fn makes_fd(&self) -> bool {
            *self == Self::Open
        }

        fn is_close(&self) -> bool {
            matches!(self, Self::Close(_))
        }
    }

    fn close(which: i32) -> Paper {
        Paper::Close(which)
    }

    #[test]
    fn first_in_first_out() {
        let mut places = Places::new(3, 3);
        for index in [2, 0, 1] {
            assert!(!places.queue(index, close(-1)), "nobody is idle");
        }
        let begun = [1, 2, 0].map(|worker| places.begin(worker).map(|(index, _)| index));
        assert_eq!(begun, [Some(2), Some(0), Some(1)]);
        places.places[1].work = close(7);
        assert_eq!(places.performed_by(0), Some(close(7)));
        assert!(places.finished().is_none());
        for (index, worker) in [(0, 2), (1, 0), (2, 1)] {
            assert!(!places.cancel(index), "it runs");
            places.finish(worker, -5);
            assert_eq!(places.performed_by(worker), None);
            assert!(!places.cancel(index), "it has run");
        }
        let done = [(); 3].map(|()| places.finished().map(|(index, p)| (index, p.result)));
        assert_eq!(done, [Some((0, -5)), Some((1, -5)), Some((2, -5))]);
        assert!(places.places.iter().all(|place| place.state == State::Idle));
        assert!(places.begin(0).is_none());
    }

    #[test]
    fn no_more_calls_than_idle_workers() {
        let mut places = Places::new(3, 3);
        places.idle = 2;
        assert_eq!(
            [0, 1, 2].map(|index| places.queue(index, close(-1))),
            [true, true, false]
        );
    }

    #[test]
    fn closes_outlive_the_end() {
        let mut places = Places::new(3, 1);
        places.queue(0, Paper::Open);
        places.queue(1, close(7));
        places.queue(2, Paper::Open);
        places.wind_up();
        let (index, work) = places.begin(0).expect("the close is still there");
        assert_eq!((index, work), (1, close(7)));
        places.finish(0, 0);
        assert!(places.begin(0).is_none());
    }

    /// What jobs and a test wait for.
    #[derive(Debug, Default)]
    struct Events(Mutex<Vec<Event>>, Condvar);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Event {
        Begun(usize),
        Interrupted,
        Ended,
    }

    impl Events {
        fn tell(&self, event: Event) {
            self.told().push(event);
            self.1.notify_all();
        }

        fn wait_for(&self, event: Event) {
            let missing = |events: &mut Vec<Event>| !events.contains(&event);
            let waited = self.1.wait_while(self.told(), missing);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }

        fn told(&self) -> MutexGuard<'_, Vec<Event>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// The first ends when the second has, and that one when it is interrupted.
    #[derive(Debug, Clone, Copy)]
    enum Pair {
        First(&'static Events),
        Second(&'static Events),
        Nothing,
    }

    impl Work for Pair {
        type Kit = ();
        const NONE: Self = Self::Nothing;

        fn kit() {}

        unsafe fn perform(&self, (): &mut ()) -> i32 {
            match self {
                Self::First(events) => {
                    events.tell(Event::Begun(0));
                    events.wait_for(Event::Ended);
                }
                Self::Second(events) => {
                    events.tell(Event::Begun(1));
                    events.wait_for(Event::Interrupted);
                    events.tell(Event::Ended);
                }
                Self::Nothing => {}
            }
            0
        }

        fn makes_fd(&self) -> bool {
            false
        }

        fn is_close(&self) -> bool {
            false
        }

        fn interrupt(&self, _: &JoinHandle<()>) -> bool {
            match self {
                Self::Second(events) => {
                    events.tell(Event::Interrupted);
                    true
                }
                Self::First(_) | Self::Nothing => false,
            }
        }
    }

    /// Whichever worker has which of them.
    #[test]
    fn one_waits_for_what_is_interrupted() {
        for _ in 0..32 {
            let events: &Events = Box::leak(Box::default());
            let shared = Shared::new().expect("a descriptor");
            let mut workers = Workers::start(2, 2, shared).expect("two threads");
            workers.queue(0, Pair::First(events));
            workers.queue(1, Pair::Second(events));
            events.wait_for(Event::Begun(0));
            events.wait_for(Event::Begun(1));
            drop(workers);
            events.wait_for(Event::Ended);
        }
    }

    #[test]
    #[should_panic(expected = "I1: place 0 has a job")]
    fn a_place_has_one_job() {
        let mut places = Places::new(1, 1);
        places.queue(0, close(-1));
        places.queue(0, close(-1));
    }
}
