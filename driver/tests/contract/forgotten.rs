//! I3, S1: everything that a safe caller holds may be forgotten. The memory that was lent is the
//! caller's all the same when the scope has returned, and an owned one when its destructor runs.
//!
//! The buffers are mapped twice: one view is lent, the other is overwritten and watched.
#![allow(
    clippy::forget_non_drop,
    clippy::mem_forget,
    reason = "that nothing depends on a destructor is what is tested"
)]

use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::region::Region;
use crate::steps::{hand_over, start};
use completeio_driver::buf::IoBufMut;
use completeio_driver::driver::AsFd;
use completeio_driver::op::{Nop, ReadAt, Recv, Timeout};
use completeio_driver::scope::{Event, Scope};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

contract! {
    everywhere: [
        a_scope_inside_of_a_scope,
    ],
    on_host: [
        receives_of_a_scope,
        reads_of_a_scope,
        reads_of_a_scope_on_workers,
        cold_reads_of_a_scope,
        cold_reads_of_a_scope_that_unwound,
        reads_of_a_queue_that_was_forgotten,
        scoped_keys_and_futures,
        orphans_of_a_driver,
        orphans_before_their_last_completion,
    ],
}

/// One read, and how many of them fill the memory.
const PIECE: usize = 1 << 20;
const PIECES: usize = 8;
const ROUNDS: usize = 6;

fn content() -> Vec<u8> {
    vec![1; PIECE * PIECES]
}

/// Lends and forgets reads of all pieces in a scope, and then watches the memory.
fn reads(cx: &mut Cx, file: &File, end: impl Fn(&mut Scope<'_, '_>, usize)) {
    let [lent, watched] = Region::twice(PIECE * PIECES);
    for round in 0..ROUNDS {
        watched.fill(0x55);
        let mut l = cx.ledger();
        let mut ops: Vec<_> = (0..PIECES)
            .map(|n| {
                let buffer = lent.lend(n * PIECE..(n + 1) * PIECE);
                ReadAt::new(file.as_fd(), (n * PIECE) as u64, buffer)
            })
            .collect();
        // A closure that unwinds ends its scope as any other does.
        kit::unless_silent(|| {
            l.scope(|s| {
                for op in &mut ops {
                    mem::forget(start(s, op, 1));
                }
                end(s, round);
            })
            .unwrap();
        });
        assert_eq!(l.in_flight(), 0);
        drop(ops);
        watched.fill(0xAA);
        watched.assert_stays(0xAA);
        l.turn();
        watched.assert_stays(0xAA);
    }
}

/// Hands over, looks for what has completed a few times, and forgets it.
fn forget_some(s: &mut Scope<'_, '_>, turns: usize) {
    for _ in 0..turns {
        let mut event = None;
        s.submit(Some(Duration::ZERO), &mut event).unwrap();
        mem::forget::<Option<Event<'_>>>(event);
    }
}

fn receives_of_a_scope(cx: &mut Cx) {
    let [lent, watched] = Region::twice(4096);
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    for turns in 0..3 {
        let mut recv = Recv::new(ours.as_fd(), lent.lend(0..2048));
        let mut unused = Recv::new(ours.as_fd(), lent.lend(2048..4096));
        l.scope(|s| {
            mem::forget(start(s, &mut recv, 1));
            mem::forget(s.lend(&mut unused, 2));
            forget_some(s, turns);
        })
        .unwrap();
        watched.fill(0xAA);
        (&theirs).write_all(&[1; 4096]).unwrap();
        l.turn();
        watched.assert_stays(0xAA);
        assert_eq!(kit::arrived(&ours).len(), 4096);
        ours.set_nonblocking(false).unwrap();
    }
}

fn reads_of_a_scope(cx: &mut Cx) {
    reads(cx, &kit::file(&content()), forget_some);
}

/// A read of this file may block for all that the kernel knows: io_uring does it on its workers,
/// where no cancellation finds it once it runs.
fn reads_of_a_scope_on_workers(cx: &mut Cx) {
    let Ok(file) = File::open("/proc/self/pagemap") else {
        return kit::skip("there is no /proc/self/pagemap");
    };
    reads(cx, &file, forget_some);
}

fn cold_reads_of_a_scope(cx: &mut Cx) {
    reads(cx, &kit::cold_file(&content()), forget_some);
}

fn cold_reads_of_a_scope_that_unwound(cx: &mut Cx) {
    reads(cx, &kit::cold_file(&content()), |s, round| {
        forget_some(s, round);
        kit::silent_panic()
    });
}

/// A queue of what is to be pushed, forgotten when half of it is in flight.
fn reads_of_a_queue_that_was_forgotten(cx: &mut Cx) {
    let file = kit::cold_file(&content());
    let [lent, watched] = Region::twice(PIECE * PIECES);
    let mut l = kit::leaking(|| cx.with(|limits| limits.entries(2).in_flight(4)));
    for turns in 0..3 {
        let mut ops: Vec<_> = (0..PIECES)
            .map(|n| {
                let buffer = lent.lend(n * PIECE..(n + 1) * PIECE);
                ReadAt::new(file.as_fd(), (n * PIECE) as u64, buffer)
            })
            .collect();
        l.scope(|s| {
            let mut queue = kit::leaking(|| VecDeque::with_capacity(PIECES));
            for op in &mut ops {
                let (prepared, ticket) = s.lend(op, 0);
                queue.push_back(prepared);
                mem::forget(ticket);
            }
            let mut events = kit::leaking(|| Vec::with_capacity(4));
            let wait = completeio_driver::driver::Wait::new().at_least(turns);
            s.submit_queue(&mut queue, wait, &mut events).unwrap();
            assert_eq!(queue.len(), PIECES - 4);
            mem::forget::<Vec<Event<'_>>>(events);
            mem::forget(queue);
        })
        .unwrap();
        watched.fill(0xAA);
        watched.assert_stays(0xAA);
    }
}

/// Also half polled, on the heap, and inside of other futures.
fn scoped_keys_and_futures(cx: &mut Cx) {
    let file = kit::cold_file(&content());
    let [lent, watched] = Region::twice(PIECE * PIECES);
    for round in 0..ROUNDS {
        let mut l = kit::leaking(|| cx.with(|limits| limits));
        let waker = Arc::new(crate::slots_futures::Count::default());
        l.scope(|s| {
            for n in 0..PIECES {
                let buffer = lent.lend(n * PIECE..(n + 1) * PIECE);
                let read = ReadAt::new(file.as_fd(), (n * PIECE) as u64, buffer);
                let mut key = s.try_push_owned(read, n).unwrap();
                match n % 4 {
                    0 => mem::forget(key),
                    1 => {
                        let waker = Waker::from(waker.clone());
                        let mut context = Context::from_waker(&waker);
                        assert!(Pin::new(&mut key).poll(&mut context).is_pending());
                        mem::forget(key);
                    }
                    2 => {
                        let waiting = async move { key.await.0.unwrap() };
                        let mut waiting = kit::leaking(|| Box::pin(waiting));
                        let mut context = Context::from_waker(Waker::noop());
                        assert!(waiting.as_mut().poll(&mut context).is_pending());
                        mem::forget(waiting);
                    }
                    _ => drop(key),
                }
            }
            forget_some(s, round);
            if round % 2 == 0 {
                while s.next_finished().is_some() {}
            }
        })
        .unwrap();
        assert_eq!((l.in_flight(), l.owned_capacity_left()), (0, 1024));
        assert_eq!(Arc::strong_count(&waker), 1);
        watched.fill(0xAA);
        watched.assert_stays(0xAA);
    }
}

/// Memory that says when it was let go.
struct Owned {
    memory: &'static mut [u8],
    dropped: Rc<Cell<usize>>,
}

// SAFETY: the promise is that of the slice, which is moved in and reached by nobody.
unsafe impl IoBufMut for Owned {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.memory.parts_mut()
    }

    unsafe fn set_filled(&mut self, _n: usize) {}
}

impl Drop for Owned {
    fn drop(&mut self) {
        // From now on it is somebody else's.
        self.memory.fill(0xAA);
        self.dropped.set(self.dropped.get() + 1);
    }
}

/// Pushes reads into the pieces, and drops their keys.
fn orphans(
    l: &mut Ledger,
    file: &Rc<completeio_driver::driver::OwnedFd>,
    lent: &Region,
) -> Rc<Cell<usize>> {
    let dropped = Rc::new(Cell::new(0));
    let keys: Vec<_> = (0..PIECES)
        .map(|n| {
            let owned = Owned {
                memory: lent.lend(n * PIECE..(n + 1) * PIECE),
                dropped: dropped.clone(),
            };
            let read = ReadAt::new(file.clone(), (n * PIECE) as u64, owned);
            l.try_push_owned(read, n).map_err(drop).unwrap()
        })
        .collect();
    l.scope(|s| forget_some(s, 1)).unwrap();
    drop(keys);
    dropped
}

/// I5: the driver's drop drops them, when the kernel is done.
fn orphans_of_a_driver(cx: &mut Cx) {
    let file = Rc::new(kit::owned(kit::cold_file(&content())));
    let [lent, watched] = Region::twice(PIECE * PIECES);
    for round in 0..ROUNDS {
        let mut l = cx.ledger();
        let dropped = orphans(&mut l, &file, &lent);
        l.scope(|s| forget_some(s, round)).unwrap();
        l.abandon();
        assert_eq!(dropped.get(), PIECES);
        watched.assert_stays(0xAA);
    }
}

/// Their last completion drops them, and not the drop of their keys nor a cancellation.
fn orphans_before_their_last_completion(cx: &mut Cx) {
    let file = Rc::new(kit::owned(kit::cold_file(&content())));
    let [lent, watched] = Region::twice(PIECE * PIECES);
    for _ in 0..ROUNDS {
        let mut l = cx.ledger();
        let dropped = orphans(&mut l, &file, &lent);
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
            assert_eq!(dropped.get() + l.in_flight(), PIECES);
        }
        watched.assert_stays(0xAA);
    }
}

/// Each scope ends its own, whoever forgets what.
fn a_scope_inside_of_a_scope(cx: &mut Cx) {
    let [lent, watched] = Region::twice(8192);
    let (ours, theirs) = cx.pair();
    let (mut outer, mut inner) = (cx.ledger(), cx.ledger());
    let mut a = Recv::new(ours.as_fd(), lent.lend(0..4096));
    let mut b = Recv::new(theirs.as_fd(), lent.lend(4096..8192));
    let mut timeout = Timeout::after(Duration::MAX);
    let mut nop = Nop::new();
    outer
        .scope(|s| {
            mem::forget(start(s, &mut a, 1));
            mem::forget(start(s, &mut timeout, 1));
            hand_over(s);
            inner
                .scope(|s| {
                    mem::forget(start(s, &mut b, 1));
                    hand_over(s);
                    mem::forget(start(s, &mut nop, 1));
                })
                .unwrap();
            assert_eq!(s.in_flight(), 2);
        })
        .unwrap();
    watched.fill(0xAA);
    (&ours).write_all(&[1; 4096]).unwrap();
    (&theirs).write_all(&[1; 4096]).unwrap();
    outer.turn();
    inner.turn();
    watched.assert_stays(0xAA);
}
