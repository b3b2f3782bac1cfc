//! I13: how long a submit waits, for how much, and what a foreign event loop is told.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{Backend, CompleteIo, PreparedWait, Wait};
use completeio_driver::op::{Exact, Nop, Recv, Timeout};
use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        never_before_its_time,
        zero_never_blocks,
        a_wait_that_nothing_can_end_is_an_error,
        a_huge_timeout_is_one_wait,
        at_least_so_many,
        at_least_until_a_deadline,
        at_least_what_can_come,
        at_least_none,
        prepared_with_nothing,
        prepared_with_an_entry,
        prepared_for_a_notifier,
        prepared_before_the_notifier_was_made,
        quiesced_and_resumed,
        quiesced_between_two_flights,
        quiesced_into_a_small_sink,
        quiesced_with_all_cancels_used,
        the_backend_that_was_asked_for,
    ],
    on_host: [
        at_least_or_a_wake_up,
        prepared_for_a_completion,
        prepared_for_a_timeout,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);
const LOST: &str = "a sleeper was not told";

fn never_before_its_time(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for pending in 0..2 {
        for nanoseconds in [1, 999, 50_000, 999_999, 1_000_001, 5_000_000].repeat(8) {
            let timeout = Duration::from_nanos(nanoseconds);
            let start = Instant::now();
            l.submit(Some(timeout), &mut None).unwrap();
            let waited = start.elapsed();
            assert!(waited >= timeout, "{waited:?} of {timeout:?}");
        }
        l.start(Recv::new(fd, [0; 8]), pending);
    }
}

fn zero_never_blocks(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    l.hand_over();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    l.start(Timeout::after(HOUR), 2);
    for _ in 0..100 {
        l.hand_over();
    }
    (&theirs).write_all(b"x").unwrap();
    assert_eq!(kit::names(&l.take(1)), [1]);
}

fn a_wait_that_nothing_can_end_is_an_error(cx: &mut Cx) {
    let mut l = cx.ledger();
    for _ in 0..2 {
        let error = l.submit(None, &mut None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        l.submit(Some(Duration::ZERO), &mut None).unwrap();
        l.submit(Some(Duration::from_millis(1)), &mut None).unwrap();
        l.start(Nop::new(), 1);
        l.submit(None, &mut None).unwrap();
    }
    // Now somebody could ring.
    l.notifier().notify();
    l.submit(None, &mut None).unwrap();
}

/// I6: it does not spin, either.
fn a_huge_timeout_is_one_wait(cx: &mut Cx) {
    for timeout in [
        HOUR * 24 * 365 * 100,
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ] {
        let mut l = cx.ledger();
        let enters = l.stats().enters;
        l.start(Timeout::after(Duration::from_millis(50)), 1);
        let mut entry = None;
        l.submit(Some(timeout), &mut entry).unwrap();
        assert_eq!(entry.unwrap().raw_os_error(), Some(kit::code::ETIME));
        let enters = l.stats().enters - enters;
        // A ring that was closed on this thread interrupts a few; one that spins makes one a
        // millisecond at least.
        assert!(enters <= 20, "{enters} calls for a wait of {timeout:?}");
    }
}

/// Timers that expire one after the other, not all at once.
fn staggered(l: &mut Ledger, count: usize) {
    let start = Instant::now();
    for n in 0..count {
        let delay = Duration::from_millis(2) * u32::try_from(n).unwrap();
        l.start(Timeout::at(start + delay), n);
    }
}

fn at_least_so_many(cx: &mut Cx) {
    for min in [1, 3, 5] {
        let mut l = cx.ledger();
        staggered(&mut l, 5);
        let mut entries = Vec::with_capacity(16);
        l.submit_until(Wait::new().at_least(min), &mut entries)
            .unwrap();
        assert!(
            (min..=5).contains(&entries.len()),
            "{} of {min}",
            entries.len()
        );
    }
}

fn at_least_until_a_deadline(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Nop::new(), 1);
    l.start(Timeout::after(HOUR), 2);
    let deadline = Instant::now() + Duration::from_millis(5);
    let mut entries = Vec::with_capacity(16);
    l.submit_until(Wait::new().at_least(2).until(deadline), &mut entries)
        .unwrap();
    assert!(Instant::now() >= deadline);
    assert_eq!(kit::names(&entries), [1]);
    // One that has passed.
    l.start(Nop::new(), 3);
    l.submit_until(Wait::new().at_least(2).until(deadline), &mut entries)
        .unwrap();
    l.submit_until(Wait::new().at_least(2).until(deadline), &mut entries)
        .unwrap();
    assert_eq!(kit::names(&entries), [1, 3]);
}

/// Never for more than are in flight, or than the sink has room for.
fn at_least_what_can_come(cx: &mut Cx) {
    let mut l = cx.ledger();
    staggered(&mut l, 3);
    let mut entries = Vec::with_capacity(16);
    l.submit_until(Wait::new().at_least(100), &mut entries)
        .unwrap();
    assert_eq!(entries.len(), 3);
    staggered(&mut l, 3);
    let mut entry = None;
    l.submit_until(Wait::new().at_least(2), &mut entry).unwrap();
    assert!(entry.is_some());
}

fn at_least_none(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Timeout::after(HOUR), 1);
    l.submit_until(Wait::new().at_least(0), &mut None).unwrap();
    l.submit_until(
        Wait::new().at_least(0).until(Instant::now() + HOUR),
        &mut None,
    )
    .unwrap();
}

fn at_least_or_a_wake_up(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    l.start(Timeout::after(HOUR), 1);
    for n in 0..100 {
        l.start(Nop::new(), 2);
        let mut entries = Vec::with_capacity(2);
        thread::scope(|scope| {
            scope.spawn(|| notifier.notify());
            l.submit_until(Wait::new().at_least(2), &mut entries)
                .unwrap();
        });
        if entries.is_empty() {
            entries = l.take(1);
        }
        assert_eq!((kit::names(&entries), l.stats().wake_ups), (vec![2], n + 1));
    }
}

/// Sleeps as a foreign loop does.
fn sleep(l: &mut Ledger, prepared: PreparedWait) {
    match prepared {
        PreparedWait::Ready => {}
        PreparedWait::Until(None) => assert!(kit::becomes_readable(&**l), "{LOST}"),
        PreparedWait::Until(Some(deadline)) => {
            let left = deadline.duration_since(Instant::now()).as_millis() + 1;
            kit::readable_within(&**l, i32::try_from(left).unwrap_or(i32::MAX));
        }
    }
}

/// Waits for one entry as a foreign loop does.
fn one_by_foreign_loop(l: &mut Ledger) -> completeio_driver::driver::Entry {
    loop {
        let mut entry = None;
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        if let Some(entry) = entry {
            return entry;
        }
        let prepared = l.prepare_wait();
        sleep(l, prepared);
    }
}

fn prepared_with_nothing(cx: &mut Cx) {
    let mut l = cx.ledger();
    let _notifier = l.notifier();
    for _ in 0..3 {
        assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
        assert!(!kit::readable_within(&*l, 0));
        l.hand_over();
    }
}

fn prepared_with_an_entry(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Nop::new(), 1);
    assert_eq!(l.prepare_wait(), PreparedWait::Ready);
    assert_eq!(l.prepare_wait(), PreparedWait::Ready, "still there");
    assert_eq!(kit::names(&l.turn()), [1]);
}

/// With `DEFER_TASKRUN` the kernel wakes nobody who polls the ring itself.
fn prepared_for_a_completion(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for n in 0..100 {
        l.start(Recv::new(fd, [0; 8]), n);
        assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
        let mut peer = &theirs;
        thread::scope(|scope| {
            scope.spawn(move || peer.write_all(b"x").unwrap());
            assert!(kit::becomes_readable(&*l), "{LOST}");
        });
        assert_eq!(one_by_foreign_loop(&mut l).into_result().unwrap(), 1);
    }
}

fn prepared_for_a_notifier(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    for n in 1..=100 {
        assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
        thread::scope(|scope| {
            scope.spawn(|| notifier.notify());
            assert!(kit::becomes_readable(&*l), "{LOST}");
        });
        assert!(l.turn().is_empty());
        assert_eq!(l.stats().wake_ups, n);
    }
    notifier.notify();
    assert_eq!(l.prepare_wait(), PreparedWait::Ready);
}

fn prepared_for_a_timeout(cx: &mut Cx) {
    let mut l = cx.ledger();
    for n in 0..10 {
        let start = Instant::now();
        l.start(Timeout::after(Duration::from_millis(3)), n);
        let entry = one_by_foreign_loop(&mut l);
        assert_eq!(entry.raw_os_error(), Some(kit::code::ETIME));
        assert!(start.elapsed() >= Duration::from_millis(3));
    }
}

fn prepared_before_the_notifier_was_made(cx: &mut Cx) {
    let mut l = cx.ledger();
    assert_eq!(l.prepare_wait(), PreparedWait::Until(None));
    l.notifier().notify();
    assert!(kit::becomes_readable(&*l), "{LOST}");
    assert!(l.turn().is_empty());
}

fn quiesced_and_resumed(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    l.start(Timeout::after(HOUR), 2);
    let mut entries = Vec::with_capacity(16);
    assert_eq!(l.quiesce(Instant::now() + HOUR, &mut entries), 0);
    assert_eq!(kit::errnos(&entries), [kit::code::ECANCELED; 2]);
    assert_eq!((l.in_flight(), l.capacity_left()), (0, 0));
    let nop = l.lend(Nop::new());
    assert!(l.try_push(nop, 3).is_err());
    assert!(l.try_push_typed(nop, 3).is_err());
    l.resume();
    l.push(nop, 3);
    assert_eq!(kit::names(&l.take(1)), [3]);
    drop(theirs);
}

/// What goes on after a short result does not: one in flight, and one that would be.
fn quiesced_between_two_flights(cx: &mut Cx) {
    for turns in [0, 1] {
        let (ours, mut theirs) = cx.pair();
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        theirs.write_all(b"abc").unwrap();
        let op = l.start(Exact::new(Recv::new(fd, [0; 8])), 1);
        for _ in 0..turns {
            l.hand_over();
        }
        let mut entries = Vec::with_capacity(16);
        let patience = Instant::now() + Duration::from_secs(5);
        assert_eq!(l.quiesce(patience, &mut entries), 0, "{turns} turns");
        let error = l.finish(op, entries.remove(0)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
    }
}

fn quiesced_into_a_small_sink(cx: &mut Cx) {
    let mut l = cx.ledger();
    for n in 0..3 {
        l.start(Timeout::after(HOUR), n);
    }
    for survivors in [2, 1, 0] {
        assert_eq!(l.quiesce(Instant::now() + HOUR, &mut None), survivors);
    }
}

fn quiesced_with_all_cancels_used(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.cancels(1));
    l.start(Timeout::after(HOUR), 1);
    l.start(Timeout::after(HOUR), 2);
    l.try_cancel(99).unwrap();
    let mut entries = Vec::with_capacity(16);
    assert_eq!(l.quiesce(Instant::now() + HOUR, &mut entries), 0);
    assert_eq!(entries.len(), 2);
}

fn the_backend_that_was_asked_for(cx: &mut Cx) {
    let l = cx.ledger();
    assert_eq!(l.backend() == Backend::IoUring, cx.is_io_uring());
    assert_eq!(l.capabilities().backend, l.backend());
}
