//! The driver's own entries beside the kernel's, and what the counters say.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::driver::CompleteIo;
use completeio_driver::op::{Nop, ReadAt, Recv, Timeout};
use std::io::Write;
use std::time::Duration;

contract! {
    everywhere: [
        refused_operations_complete_in_order,
        a_flood_of_refused_operations_starves_nobody,
        a_flood_of_refused_operations_starves_no_notifier,
        a_busy_descriptor_starves_nobody,
        in_flight_counts_from_push_to_entry,
        counters_tell_the_truth,
        one_call_a_turn,
        a_refused_operation_is_not_waited_for,
    ],
    on_host: [
        refused_operations_do_not_hold_up_the_kernels,
    ],
}

/// An operation that the driver refuses.
fn refused(l: &mut Ledger, user_data: usize) {
    l.start(
        ReadAt::new(kit::number(kit::CLOSED), u64::MAX, [0; 1]),
        user_data,
    );
}

fn refused_operations_complete_in_order(cx: &mut Cx) {
    let mut l = cx.ledger();
    for n in 0..10 {
        refused(&mut l, n);
    }
    assert_eq!(l.in_flight(), 10);
    assert_eq!(kit::names(&l.take(10)), (0..10).collect::<Vec<_>>());
}

/// Both kinds come out in turn, as long as there are both; on readiness all are of one kind.
fn refused_operations_do_not_hold_up_the_kernels(cx: &mut Cx) {
    let (ours, mut theirs) = kit::pair();
    theirs.write_all(&[0; 8]).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for n in 0..8 {
        refused(&mut l, 100 + n);
        l.start(Recv::new(fd, [0; 1]), n);
    }
    let entries = l.take(16);
    if !cx.is_io_uring() {
        return;
    }
    for pair in entries.chunks(2).skip(1) {
        let own = pair
            .iter()
            .filter(|entry| entry.refusal().is_some())
            .count();
        assert_eq!(own, 1, "{entries:?}");
    }
}

/// Takes one entry a turn, while refusals never cease; `wanted` says which turn is the last.
fn flood(l: &mut Ledger, mut wanted: impl FnMut(&Ledger, usize) -> bool) {
    const TURNS: usize = 1_000;
    for _ in 0..64 {
        refused(l, 1);
    }
    for _ in 0..TURNS {
        refused(l, 1);
        let mut entry = None;
        l.submit(None, &mut entry).unwrap();
        if wanted(l, entry.map_or(0, |entry| entry.user_data())) {
            return;
        }
    }
    panic!("starved for {TURNS} turns");
}

fn a_flood_of_refused_operations_starves_nobody(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 7);
    l.hand_over();
    theirs.write_all(b"x").unwrap();
    flood(&mut l, |_, name| name == 7);
}

fn a_flood_of_refused_operations_starves_no_notifier(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    l.hand_over();
    notifier.notify();
    flood(&mut l, |l, _| l.stats().wake_ups == 1);
}

/// I38: a socket that always has something to read.
fn a_busy_descriptor_starves_nobody(cx: &mut Cx) {
    const TURNS: usize = 10_000;
    let (busy, mut feeder) = cx.pair();
    let (quiet, mut other) = cx.pair();
    let mut l = cx.ledger();
    let (busy, quiet) = (l.at(&busy), l.at(&quiet));
    l.start(Recv::new(quiet, [0; 8]), 7);
    l.start(Timeout::after(Duration::ZERO), 8);
    let op = l.lend(Recv::new(busy, [0; 1]));
    let mut seen = Vec::new();
    for turn in 0..TURNS {
        feeder.write_all(&[0]).unwrap();
        if turn == 0 {
            other.write_all(b"x").unwrap();
            l.push(op, 1);
        }
        let mut entry = None;
        l.submit(None, &mut entry).unwrap();
        match entry.map(|entry| entry.user_data()) {
            Some(1) => l.push(op, 1),
            name => seen.extend(name),
        }
        if seen.len() == 2 {
            return;
        }
    }
    panic!("starved for {TURNS} turns: {seen:?}");
}

fn in_flight_counts_from_push_to_entry(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Nop::new(), 1);
    refused(&mut l, 2);
    l.start(Timeout::after(Duration::MAX), 3);
    l.start(Nop::new(), usize::MAX);
    assert_eq!(l.in_flight(), 4);
    for left in [3, 2, 1] {
        l.take(1);
        assert_eq!(l.in_flight(), left);
    }
    l.try_cancel(3).unwrap();
    assert_eq!(l.in_flight(), 1, "until its entry came");
    l.take(1);
    assert_eq!(l.in_flight(), 0);
}

fn counters_tell_the_truth(cx: &mut Cx) {
    let mut l = cx.ledger();
    assert_eq!(l.stats(), completeio_driver::driver::Stats::default());
    refused(&mut l, 1);
    l.start(Timeout::after(Duration::MAX), 2);
    assert_eq!((l.stats().pushed, l.stats().completed), (2, 0));
    l.take(1);
    assert_eq!((l.stats().local, l.stats().completed), (1, 1));
    l.try_cancel(2).unwrap();
    l.try_cancel(3).unwrap();
    l.take(1);
    let stats = l.stats();
    assert_eq!((stats.pushed, stats.completed, stats.cancelled), (2, 2, 2));
    assert_eq!((stats.overflow, stats.wake_ups, stats.unknown), (0, 0, 0));
    assert!(
        stats.enters > 0 || !cx.is_io_uring(),
        "readiness had nothing to wait for"
    );
}

/// io_uring submits, waits and reaps in one; readiness may need none.
fn one_call_a_turn(cx: &mut Cx) {
    const ROUNDS: u64 = 100;
    let mut l = cx.ledger();
    let ops: Vec<_> = (0..4).map(|_| l.lend(Nop::new())).collect();
    let before = l.stats().enters;
    for _ in 0..ROUNDS {
        ops.iter().enumerate().for_each(|(n, op)| l.push(*op, n));
        let mut entries = Vec::with_capacity(4);
        l.submit(None, &mut entries).unwrap();
        assert_eq!(entries.len(), 4);
    }
    let enters = l.stats().enters - before;
    if cx.is_io_uring() {
        assert_eq!(enters, ROUNDS);
    } else {
        assert!(enters <= ROUNDS, "{enters}");
    }
}

/// Its entry is there at once; one call at most looks for others.
fn a_refused_operation_is_not_waited_for(cx: &mut Cx) {
    let mut l = cx.ledger();
    for n in 0..100 {
        refused(&mut l, n);
        let mut entry = None;
        l.submit(None, &mut entry).unwrap();
        assert_eq!(entry.unwrap().user_data(), n);
    }
    assert!(l.stats().enters <= 100, "{:?}", l.stats());
}
