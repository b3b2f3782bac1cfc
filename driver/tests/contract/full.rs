//! I2: nothing is accepted when full, nothing is lost. I6: nor when nobody takes entries out.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{Builder, CompleteIo, Entry, Wait};
use completeio_driver::op::{Nop, Op, OpObject, Recv, Send, Timeout};
use completeio_driver::sink;
use std::collections::VecDeque;
use std::ptr;
use std::time::Duration;

contract! {
    everywhere: [
        full_hands_the_same_operation_back,
        full_hands_the_same_reference_back,
        full_whichever_way_it_was_filled,
        as_many_as_may_be_in_flight,
        a_queue_keeps_what_does_not_fit,
        a_long_queue_is_handed_over_in_one_call,
        unreaped_completions_are_kept,
        unreaped_timeouts_are_kept,
        the_smallest_and_largest_limits,
    ],
    on_host: [
        a_queue_is_pushed_in_order,
        a_long_queue_keeps_what_has_no_credit,
    ],
}

const SIZES: [usize; 5] = [1, 2, 3, 8, 4096];

/// Pushes until it is full; `capacity_left` tells the truth before each push.
fn fill(l: &mut Ledger) -> usize {
    let room = l.capacity_left();
    for n in 0..room {
        assert_eq!(l.capacity_left(), room - n);
        assert_eq!(l.in_flight(), n);
        l.start(Nop::new(), n);
    }
    assert_eq!(l.capacity_left(), 0);
    room
}

fn full_hands_the_same_operation_back(cx: &mut Cx) {
    for size in SIZES {
        let mut l = cx.with(|limits| limits.entries(size));
        assert_eq!(fill(&mut l), size);
        let extra = l.lend(Nop::new());
        let pushed = format!("{:?}", l.object(extra, size));
        let before = l.stats();
        for _ in 0..3 {
            let returned = l.try_push(extra, size).unwrap_err().into_inner();
            assert_eq!(format!("{returned:?}"), pushed);
        }
        assert_eq!(l.stats(), before, "nothing else was done");
        assert_eq!(
            kit::names(&l.take_sorted(size)),
            (0..size).collect::<Vec<_>>()
        );
        assert_eq!(l.capacity_left(), size);
        l.push(extra, size);
        assert_eq!(kit::names(&l.take(1)), [size]);
    }
}

fn full_hands_the_same_reference_back(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(2));
    fill(&mut l);
    let extra = l.lend(Nop::new());
    let address = ptr::from_mut(l.op(extra));
    let returned = l.try_push_typed(extra, 9).unwrap_err().into_inner();
    assert!(ptr::eq(returned, address));
    assert_eq!(l.take(2).len(), 2);
    assert!(l.try_push_typed(extra, 9).is_ok());
    assert_eq!(kit::names(&l.take(1)), [9]);
}

/// Each way of pushing counts what the others have taken, places and credits.
fn full_whichever_way_it_was_filled(cx: &mut Cx) {
    const ROOM: usize = 8;
    for (entries, in_flight) in [(ROOM, 64), (64, ROOM)] {
        for first in 0..4 {
            let mut l = cx.with(|limits| limits.entries(entries).in_flight(in_flight));
            for n in 0..ROOM {
                assert_eq!(l.capacity_left(), ROOM - n);
                let nop = l.lend(Nop::new());
                match (first + n) % 4 {
                    0 => assert!(l.try_push_typed(nop, n).is_ok()),
                    // Refused, and accepted all the same: it takes a credit, and no place.
                    1 if entries > in_flight => {
                        assert!(l.try_push_typed(nop, usize::MAX - n).is_ok());
                    }
                    1 | 2 => l.push(nop, n),
                    _ => {
                        let mut queue = VecDeque::from([l.object(nop, n)]);
                        l.push_queue(&mut queue);
                        assert!(queue.is_empty());
                    }
                }
            }
            let extra = l.lend(Nop::new());
            assert!(l.try_push_typed(extra, 99).is_err());
            assert!(l.try_push(extra, 99).is_err());
            assert_eq!(l.take(ROOM).len(), ROOM);
            assert!(l.try_push_typed(extra, 99).is_ok());
            assert_eq!(kit::names(&l.take(1)), [99]);
            assert_eq!(l.quiesce(Instant::now(), &mut None), 0);
            assert!(l.try_push_typed(extra, 99).is_err(), "it winds down");
            l.resume();
            assert!(l.try_push_typed(extra, 99).is_ok());
            assert_eq!(kit::names(&l.take(1)), [99]);
        }
    }
}

/// The limit of operations in flight counts those in the kernel and those not taken out.
fn as_many_as_may_be_in_flight(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(8).in_flight(3));
    let timeouts: Vec<_> = (0..3)
        .map(|_| l.lend(Timeout::after(Duration::MAX)))
        .collect();
    for (n, timeout) in timeouts.iter().enumerate() {
        assert_eq!(l.capacity_left(), 3 - n);
        l.push(*timeout, n);
    }
    let extra = l.lend(Nop::new());
    assert!(l.try_push(extra, 3).is_err());
    l.hand_over();
    assert!(l.try_push(extra, 3).is_err(), "still in flight");
    l.try_cancel(1).unwrap();
    assert_eq!(kit::names(&l.take(1)), [1]);
    assert_eq!(l.capacity_left(), 1);
    l.push(extra, 3);
    assert_eq!(l.capacity_left(), 0);
}

fn a_queue_keeps_what_does_not_fit(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(4));
    let ops: Vec<_> = (0..10).map(|_| l.lend(Nop::new())).collect();
    let mut queue: VecDeque<_> = ops
        .iter()
        .enumerate()
        .map(|(n, op)| l.object(*op, n))
        .collect();
    let mut seen = Vec::new();
    for left in [6, 2, 0] {
        let expected: Vec<_> = queue.iter().map(|op| format!("{op:?}")).collect();
        l.push_queue(&mut queue);
        let kept: Vec<_> = queue.iter().map(|op| format!("{op:?}")).collect();
        assert_eq!(kept, expected[expected.len() - left..]);
        l.push_queue(&mut queue);
        assert_eq!(queue.len(), left, "a full driver takes nothing");
        let pushed = l.in_flight();
        seen.extend(kit::names(&l.take(pushed)));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    l.push_queue(&mut queue);
}

/// What is handed over is handed over in the order of the pushes.
fn a_queue_is_pushed_in_order(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut queue = nops(&mut l, 100);
    l.push_queue(&mut queue);
    assert_eq!(kit::names(&l.take(100)), (0..100).collect::<Vec<_>>());
}

fn nops(l: &mut Ledger, count: usize) -> VecDeque<OpObject<'static>> {
    let op = |n| {
        let op = l.lend(Nop::new());
        l.object(op, n)
    };
    (0..count).map(op).collect()
}

/// Even the last one, which alone can end the wait.
fn a_long_queue_is_handed_over_in_one_call(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(2));
    let (ours, theirs) = (l.at(&ours), l.at(&theirs));
    let mut queue = VecDeque::new();
    for n in 0..7 {
        let recv = l.lend(Recv::new(ours, [0; 1]));
        queue.push_back(l.object(recv, n));
    }
    let send = l.lend(Send::new(theirs, "7 bytes"));
    queue.push_back(l.object(send, 7));
    let mut entries = Vec::with_capacity(8);
    let wait = Wait::new().at_least(8);
    l.submit_queue(&mut queue, wait, &mut entries).unwrap();
    assert_eq!((queue.len(), entries.len()), (0, 8));
}

fn a_long_queue_keeps_what_has_no_credit(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(2).in_flight(5));
    let mut queue = nops(&mut l, 12);
    let mut seen = Vec::new();
    for left in [7, 2, 0] {
        let mut entries = Vec::with_capacity(5);
        let wait = Wait::new().at_least(5);
        l.submit_queue(&mut queue, wait, &mut entries).unwrap();
        let kept: Vec<_> = queue.iter().map(OpObject::user_data).collect();
        assert_eq!(kept, (12 - left..12).collect::<Vec<_>>());
        seen.extend(kit::names(&entries));
    }
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
}

/// Pushes thousands with a queue of sixteen places, and takes out as few as it can.
fn flood<O: Op + 'static>(cx: &mut Cx, count: usize, op: impl Fn() -> O) -> Ledger {
    let small = |n| sink::bounded(n, |_: Entry| {});
    let mut l = cx.with(|limits| {
        limits
            .entries(8)
            .completion_entries(8)
            .cancels(1)
            .in_flight(count)
    });
    for n in 0..count {
        if l.capacity_left() == 0 {
            l.submit(Some(Duration::ZERO), &mut small(1)).unwrap();
        }
        l.start(op(), n);
    }
    assert!(l.in_flight() > count / 2, "they were to be left unreaped");
    let enters = l.stats().enters;
    let left = l.in_flight();
    while l.in_flight() > 0 {
        l.submit(None, &mut small(3)).unwrap();
    }
    let turns = l.stats().enters - enters;
    assert!(
        turns <= left as u64 + 64,
        "{turns} calls to take {left} entries"
    );
    l
}

fn unreaped_completions_are_kept(cx: &mut Cx) {
    let l = flood(cx, 4096, Nop::new);
    if cx.is_io_uring() {
        assert!(l.stats().overflow > 0, "{:?}", l.stats());
    }
}

fn unreaped_timeouts_are_kept(cx: &mut Cx) {
    flood(cx, 2048, || Timeout::after(Duration::from_micros(1)));
}

fn the_smallest_and_largest_limits(cx: &mut Cx) {
    let smallest = |limits: Builder| {
        let limits = limits.entries(1).completion_entries(1).in_flight(1);
        limits.cancels(1).file_slots(0).workers(0).descriptors(1)
    };
    let largest = |limits: Builder| limits.entries(1 << 14).cancels(4096).workers(8);
    for limits in [smallest as fn(Builder) -> Builder, largest] {
        let mut l = cx.with(limits);
        let n = l.capacity_left().min(3);
        for i in 0..n {
            l.start(Nop::new(), i);
        }
        assert_eq!(l.take(n).len(), n);
    }
}
