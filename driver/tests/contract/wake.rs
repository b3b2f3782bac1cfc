//! I14: wake-ups are never lost, and coalesce.

use crate::kit;
use crate::ledger::Cx;
use completeio_driver::driver::PreparedWait;
use completeio_driver::op::{Nop, Timeout};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        none_is_lost_of_eight_threads,
        before_the_first_wait,
        while_asleep,
        while_the_driver_is_dropped,
        after_the_driver_is_gone,
        as_a_waker,
        together_with_entries,
        for_an_awake_driver_costs_no_call,
    ],
    on_host: [
        they_coalesce,
    ],
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// A thread posts a number, and notifies; every other one waits until the driver has seen it, so
/// that the driver falls asleep meanwhile. A wake-up that is lost leaves the driver asleep.
fn none_is_lost_of_eight_threads(cx: &mut Cx) {
    const WAKES: u32 = 10_000;
    let mut l = cx.ledger();
    let posted = [const { AtomicU32::new(0) }; 8];
    let seen = [const { AtomicU32::new(0) }; 8];
    thread::scope(|scope| {
        for (index, (posted, seen)) in posted.iter().zip(&seen).enumerate() {
            let notifier = l.notifier();
            scope.spawn(move || {
                for n in 1..=WAKES {
                    posted.store(n, Ordering::Relaxed);
                    notifier.notify();
                    while index % 2 == 0 && seen.load(Ordering::Relaxed) < n {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut done = false;
        while !done {
            l.submit(None, &mut None).unwrap();
            done = true;
            for (posted, seen) in posted.iter().zip(&seen) {
                let n = posted.load(Ordering::Relaxed);
                seen.store(n, Ordering::Relaxed);
                done &= n == WAKES;
            }
        }
    });
}

fn before_the_first_wait(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.notifier().notify();
    l.submit(None, &mut None).unwrap();
    assert_eq!(l.stats().wake_ups, 1);
    // Handed out and used after the first wait.
    let mut l = cx.ledger();
    l.hand_over();
    l.notifier().notify();
    l.submit(None, &mut None).unwrap();
}

fn while_asleep(cx: &mut Cx) {
    let mut l = cx.ledger();
    for _ in 0..1_000 {
        let notifier = l.notifier();
        let thread = thread::spawn(move || notifier.notify());
        l.submit(None, &mut None).unwrap();
        thread.join().unwrap();
    }
    assert_eq!(l.stats().wake_ups, 1_000);
}

fn they_coalesce(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    for _ in 0..1_000 {
        notifier.notify();
    }
    l.submit(None, &mut None).unwrap();
    l.submit(Some(MILLISECOND), &mut None).unwrap();
    assert_eq!(l.stats().wake_ups, 1);
    // The same while it is said to sleep.
    assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
    for _ in 0..1_000 {
        notifier.notify();
    }
    assert!(kit::becomes_readable(&*l));
    l.submit(None, &mut None).unwrap();
    l.submit(Some(MILLISECOND), &mut None).unwrap();
    assert_eq!(l.stats().wake_ups, 2);
    assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
    assert!(!kit::readable_within(&*l, 0));
}

fn while_the_driver_is_dropped(cx: &mut Cx) {
    for _ in 0..50 {
        let mut l = cx.ledger();
        l.start(Timeout::after(Duration::MAX), 1);
        let threads = [0; 2].map(|_| {
            let notifier = l.notifier();
            thread::spawn(move || (0..200).for_each(|_| notifier.notify()))
        });
        l.submit(None, &mut None).unwrap();
        l.abandon();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

fn after_the_driver_is_gone(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
    l.abandon();
    notifier.notify();
    notifier.clone().notify();
    assert_eq!(notifier, notifier.clone());
    thread::spawn(move || notifier.notify()).join().unwrap();
}

fn as_a_waker(cx: &mut Cx) {
    let mut l = cx.ledger();
    let waker = Waker::from(l.notifier());
    for _ in 0..100 {
        let waker = waker.clone();
        let thread = thread::spawn(move || waker.wake());
        l.submit(None, &mut None).unwrap();
        thread.join().unwrap();
    }
    waker.wake_by_ref();
    l.submit(None, &mut None).unwrap();
}

/// A wake-up ends a wait for more, and takes no entry's place.
fn together_with_entries(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    for n in 0..100 {
        l.start(Nop::new(), n);
        notifier.notify();
        assert_eq!(kit::names(&l.take(1)), [n]);
    }
    assert_eq!(l.in_flight(), 0);
}

fn for_an_awake_driver_costs_no_call(cx: &mut Cx) {
    const ROUNDS: u64 = 100;
    let mut l = cx.ledger();
    let notifier = l.notifier();
    let nop = l.lend(Nop::new());
    let mut enters_of = |notified: bool| {
        let before = l.stats().enters;
        for _ in 0..ROUNDS {
            if notified {
                notifier.notify();
            }
            l.push(nop, 1);
            l.submit(None, &mut None).unwrap();
            assert_eq!(l.in_flight(), 0);
        }
        l.stats().enters - before
    };
    enters_of(true);
    let plain = enters_of(false);
    assert_eq!(enters_of(true), plain);
    assert!(plain <= ROUNDS, "one call a turn at most");
}
