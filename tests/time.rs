//! Sleeps, timeouts and intervals, on the simulated time of a host and on the system's.
#![cfg(all(feature = "runtime", feature = "sim"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio::driver::Driver;
use completeio::sim::{Faults, World};
use completeio::task::{Runtime, block_on, spawn, yield_now};
use completeio::time::{
    Duration, Instant, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout,
    timeout_at,
};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Runs `future` where time goes by only while there is nothing else to do.
fn simulated<F: Future>(future: F) -> F::Output {
    let world = World::new(1, Faults::none());
    let driver = world.host("a").driver(Driver::builder()).unwrap();
    Runtime::builder().build_on(driver).block_on(future)
}

#[test]
fn sleeps_end_when_they_are_due() {
    simulated(async {
        let start = Instant::now();
        sleep(HOUR).await;
        assert_eq!(start.elapsed(), HOUR);
        sleep(Duration::from_nanos(1)).await;
        assert_eq!(start.elapsed(), HOUR + Duration::from_nanos(1));
        sleep(Duration::ZERO).await;
        sleep_until(start).await;
        assert_eq!(
            start.elapsed(),
            HOUR + Duration::from_nanos(1),
            "it was over"
        );
    });
}

#[test]
fn in_the_order_of_their_times() {
    let log = Rc::new(RefCell::new(Vec::new()));
    simulated(async {
        let start = Instant::now();
        let seconds = [5, 1, 3, 1, 4, 1, 5, 9, 2, 6];
        let tasks: Vec<_> = seconds
            .into_iter()
            .enumerate()
            .map(|(n, s)| {
                let log = log.clone();
                spawn(async move {
                    sleep_until(start + s * SECOND).await;
                    assert_eq!(start.elapsed(), s * SECOND);
                    log.borrow_mut().push((s, n));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let log = log.borrow();
    assert_eq!(log.len(), 10);
    assert!(
        log.is_sorted(),
        "by time, then by the order of their beginnings: {log:?}"
    );
}

#[test]
fn a_sleep_without_an_end() {
    simulated(async {
        let start = Instant::now();
        let endless = timeout(HOUR, sleep(Duration::MAX)).await;
        assert_eq!(endless.unwrap_err().to_string(), "the time is over");
        assert_eq!(start.elapsed(), HOUR);
    });
}

#[test]
fn dropped_and_reset() {
    simulated(async {
        let start = Instant::now();
        let mut kept = pin!(sleep(2 * SECOND));
        for n in 1..1000 {
            let mut dropped = pin!(sleep(n * SECOND));
            let polled = poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context)));
            assert!(polled.await.is_pending());
        }
        let polled = poll_fn(|context| Poll::Ready(kept.as_mut().poll(context)));
        assert!(polled.await.is_pending());
        kept.reset(start + HOUR);
        assert_eq!(kept.deadline(), start + HOUR);
        kept.as_mut().await;
        assert_eq!(start.elapsed(), HOUR, "none of the others has ended a wait");
        kept.reset(start + HOUR + SECOND);
        assert!(!kept.is_elapsed());
        kept.as_mut().await;
        assert_eq!(start.elapsed(), HOUR + SECOND, "ready, and used again");
    });
}

/// A sleep that is polled by one task, and then by another.
#[test]
fn it_wakes_whoever_polled_last() {
    simulated(async {
        let start = Instant::now();
        let mut moved = Box::pin(sleep(SECOND));
        let polled = poll_fn(|context| Poll::Ready(moved.as_mut().poll(context)));
        assert!(polled.await.is_pending());
        let task = spawn(moved);
        task.await.unwrap();
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn timeouts() {
    simulated(async {
        let start = Instant::now();
        assert_eq!(timeout(SECOND, ready(1)).await.unwrap(), 1);
        assert_eq!(
            timeout_at(start, ready(2)).await.unwrap(),
            2,
            "both are ready"
        );
        let slow = timeout(HOUR, async {
            sleep(SECOND).await;
            3
        });
        assert_eq!(slow.await.unwrap(), 3);
        assert_eq!(start.elapsed(), SECOND);
        let error = timeout_at(start + 2 * SECOND, pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(start.elapsed(), 2 * SECOND);
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

/// A tick is where it should be, however late the one before was seen.
#[test]
fn intervals_do_not_drift() {
    simulated(async {
        let start = Instant::now();
        let mut ticks = interval(SECOND);
        assert_eq!(ticks.period(), SECOND);
        assert_eq!(ticks.tick().await, start, "the first is now");
        for n in 1..1000 {
            sleep(Duration::from_millis(u64::from(n) % 900)).await;
            assert_eq!(ticks.tick().await, start + n * SECOND);
            assert_eq!(start.elapsed(), n * SECOND);
        }
    });
}

#[test]
fn ticks_that_are_missed() {
    let seen = |behavior| {
        simulated(async move {
            let start = Instant::now();
            let mut ticks = interval_at(start + SECOND, SECOND);
            ticks.set_missed_tick_behavior(behavior);
            assert_eq!(ticks.missed_tick_behavior(), behavior);
            sleep(Duration::from_millis(3500)).await;
            let mut seen = Vec::new();
            for _ in 0..5 {
                let due = ticks.tick().await;
                seen.push([due - start, start.elapsed()].map(|t| t.as_millis()));
            }
            seen
        })
    };
    let burst = [
        [1000, 3500],
        [2000, 3500],
        [3000, 3500],
        [4000, 4000],
        [5000, 5000],
    ];
    assert_eq!(seen(MissedTickBehavior::Burst), burst);
    let delay = [
        [1000, 3500],
        [4500, 4500],
        [5500, 5500],
        [6500, 6500],
        [7500, 7500],
    ];
    assert_eq!(seen(MissedTickBehavior::Delay), delay);
    let skip = [
        [1000, 3500],
        [4000, 4000],
        [5000, 5000],
        [6000, 6000],
        [7000, 7000],
    ];
    assert_eq!(seen(MissedTickBehavior::Skip), skip);
}

#[test]
fn a_tick_that_is_dropped_is_not_lost() {
    simulated(async {
        let start = Instant::now();
        let mut ticks = interval(SECOND);
        ticks.tick().await;
        assert!(timeout(SECOND / 2, ticks.tick()).await.is_err());
        assert_eq!(ticks.tick().await, start + SECOND);
        ticks.reset();
        sleep(SECOND / 2).await;
        ticks.reset();
        assert_eq!(ticks.tick().await, start + 5 * SECOND / 2);
    });
}

#[test]
#[should_panic(expected = "an interval has a period")]
fn an_interval_of_nothing() {
    let _ = interval(Duration::ZERO);
}

/// I38: timers among tasks that are always ready.
#[test]
fn busy_tasks_starve_no_timer() {
    block_on(async {
        for _ in 0..200 {
            drop(spawn(async {
                loop {
                    yield_now().await;
                }
            }));
        }
        let start = Instant::now();
        sleep(Duration::from_millis(1)).await;
        assert!(start.elapsed() >= Duration::from_millis(1), "never early");
    });
}
