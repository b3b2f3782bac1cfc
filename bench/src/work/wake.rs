//! Wake-ups of a thread that sleeps, by another thread.

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

/// A future that a thread on the load's CPU wakes, again and again, when the runtime sleeps.
pub(super) fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    if !P::WAKES_ACROSS_THREADS {
        return Err("nothing wakes it from another thread".to_owned());
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
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            *waker = Some(context.waker().clone());
            drop(waker);
            if !woken() {
                return Poll::Pending;
            }
        }
        Poll::Ready(now_ns() - self.at_ns.load(Ordering::Acquire))
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
            let waker = self
                .waker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let Some(waker) = waker else {
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
