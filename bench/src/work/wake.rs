//! Wake-ups of a thread by another one: of one that sleeps, or is awake.

use crate::child::{Args, Outcome};
use crate::histogram::Histogram;
use crate::machine::{self, now_ns};
use crate::meter::Meter;
use crate::peer::Peer;
use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

const NOT_WOKEN: &str = "nothing wakes it from another thread";

/// A future that a thread on the load's CPU wakes, again and again, when the runtime sleeps.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    if !P::WAKES_ACROSS_THREADS {
        return Err(NOT_WOKEN.to_owned());
    }
    let goal = args.goal()?;
    let wake_ups = Arc::new(WakeUps::default());
    let others = wake_ups.clone();
    let waker = thread::spawn(move || others.wake_again_and_again());
    let ours = wake_ups.clone();
    let (meter, latency) = P::block_on(args, async move {
        let (meter, mut latency) = (Meter::new(goal), Histogram::default());
        loop {
            let ns = poll_fn(|context| ours.poll(context)).await;
            if meter.has_begun() {
                latency.add(ns);
            }
            if !meter.long_step(1) {
                return (meter, latency);
            }
        }
    })?;
    wake_ups.stop.store(true, Ordering::Relaxed);
    let calls = waker.join().map_err(|_| "the waker panicked")?;
    let mut outcome = meter.outcome()?;
    // The one that wakes spins: the process's time says nothing.
    outcome.remove("cpu_ns_per_op");
    outcome.insert("wake_p50_ns".to_owned(), latency.quantile(0.5));
    outcome.insert("wake_p99_ns".to_owned(), latency.quantile(0.99));
    outcome.insert("call_p50_ns".to_owned(), calls.quantile(0.5));
    Ok(outcome)
}

/// A future in a thread that never sleeps, woken by this one, whose system calls are counted: it
/// needs none.
pub(super) fn awake<P: Peer>(args: &Args) -> Result<Outcome, String> {
    if !P::WAKES_ACROSS_THREADS {
        return Err(NOT_WOKEN.to_owned());
    }
    let goal: u64 = args.need("ops")?;
    let wake_ups = Arc::new(WakeUps::default());
    let (theirs, args) = (wake_ups.clone(), args.clone());
    let runtime = thread::spawn(move || {
        P::block_on(&args, async move {
            let woken = theirs.clone();
            let _woken = P::spawn(poll_fn(move |context| woken.poll_again(context)));
            while !theirs.stop.load(Ordering::Relaxed) {
                P::yield_now().await;
            }
        })
    });
    machine::pin(machine::cpus().1);
    let mut done = 0;
    while done < goal && !runtime.is_finished() {
        // The flag first: a lock that two want may take a call.
        if wake_ups.woken.swap(true, Ordering::AcqRel) {
            spin_loop();
        } else if let Some(waker) = wake_ups.take() {
            waker.wake();
            done += 1;
        }
    }
    wake_ups.stop.store(true, Ordering::Relaxed);
    runtime.join().map_err(|_| "the runtime panicked")??;
    Ok([("ops".to_owned(), done as f64)].into())
}

/// One wake-up at a time, from one thread to another.
#[derive(Debug, Default)]
struct WakeUps {
    woken: AtomicBool,
    at_ns: AtomicU64,
    waker: Mutex<Option<Waker>>,
    stop: AtomicBool,
}

impl WakeUps {
    /// Ready, when it was woken, with the nanoseconds that have passed since then.
    fn poll(&self, context: &mut Context<'_>) -> Poll<u64> {
        let woken = || self.woken.swap(false, Ordering::AcqRel);
        if !woken() {
            self.wait(context);
            if !woken() {
                return Poll::Pending;
            }
        }
        Poll::Ready(now_ns() - self.at_ns.load(Ordering::Acquire))
    }

    /// Waits to be woken, whenever it is polled.
    fn poll_again(&self, context: &mut Context<'_>) -> Poll<()> {
        self.wait(context);
        self.woken.store(false, Ordering::Release);
        Poll::Pending
    }

    fn wait(&self, context: &mut Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        *waker = Some(context.waker().clone());
    }

    /// Whom to wake, if somebody waits.
    fn take(&self) -> Option<Waker> {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        waker.take()
    }

    /// Returns how long the calls took.
    fn wake_again_and_again(&self) -> Histogram {
        /// Meanwhile the other one falls asleep.
        const PAUSE_NS: u64 = 100_000;
        machine::pin(machine::cpus().1);
        let mut calls = Histogram::default();
        while !self.stop.load(Ordering::Relaxed) {
            let pause = now_ns();
            while now_ns() - pause < PAUSE_NS {
                spin_loop();
            }
            let Some(waker) = self.take() else {
                continue;
            };
            let begin = now_ns();
            self.at_ns.store(begin, Ordering::Release);
            self.woken.store(true, Ordering::Release);
            waker.wake();
            calls.add(now_ns() - begin);
        }
        calls
    }
}
