//! Operations that the driver owns: each comes back by its key, or is cancelled with it.

use crate::ends::End;
use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::steps::{Drops, errno, finished, hand_over, outcome, run, start, take, wait};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsFd, AsRawFd, Builder, Cwd, Entry, OwnedFd, PreparedWait, Wait};
use completeio_driver::op::{
    Accept, Close, Connect, Nop, OpenAt, OpenOptions, ReadAt, Recv, Send, Timeout, WriteAt,
};
use completeio_driver::slots::SLOT_SIZE;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

contract! {
    everywhere: [
        the_largest_operation,
        full_hands_the_operation_back,
        without_slots,
        finished_in_order,
        redeemed_before_and_after,
        a_late_cancel_does_nothing,
        a_close_that_was_never_handed_over,
        a_spent_key_names_nothing,
        more_cancellations_than_places,
        a_slot_is_used_again_and_again,
        an_old_cancel_never_hits_a_new_operation,
        a_driver_dropped_with_orphans,
        a_forgotten_key_keeps_its_slot,
        borrowed_buffers_in_a_scope,
        dropped_scoped_keys,
        keys_of_two_drivers,
        keys_that_own_keys,
        a_raw_wait_ends,
        a_wait_for_several_counts_them,
        wound_down_with_the_driver,
        cancelled_by_a_foreign_loop,
    ],
    on_host: [
        each_kind_of_operation,
        a_key_dropped_in_flight,
        a_key_dropped_before_the_submit,
        a_key_dropped_when_done,
        a_key_dropped_with_an_error,
        an_orphans_descriptor_is_closed,
        a_cancelled_operation_comes_back,
        a_close_is_not_cancelled,
        a_key_outlives_its_driver,
        what_was_only_pushed_is_not_executed,
        the_end_of_a_scope_empties_slots,
        raw_entries_keep_their_room,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

/// The first of a pair of sockets as an owned one; the other.
fn pair(cx: &Cx) -> (OwnedFd, End) {
    let (ours, theirs) = cx.pair();
    (kit::owned(ours), theirs)
}

/// All slots are free again, and nothing is in flight.
fn assert_empty(l: &mut Ledger, slots: usize) {
    assert_eq!((l.in_flight(), l.owned_capacity_left()), (0, slots));
    assert_eq!(finished(l), []);
}

fn few(slots: usize) -> impl Fn(Builder) -> Builder {
    move |limits| limits.entries(64).slots(slots)
}

/// I1: every kind gives its typed output and itself, and its slot is free after that.
fn each_kind_of_operation(cx: &mut Cx) {
    let file = Rc::new(kit::owned(kit::file(b"before")));
    let (ours, theirs) = pair(cx);
    let (listener, addr) = kit::listener();
    let path = kit::TempPath::new();
    fs::write(&*path, "opened").unwrap();
    let (left, right) = kit::pair();
    let number = right.as_raw_fd();

    let mut l = cx.with(few(4));
    macro_rules! outcome {
        ($op:expr) => {{
            let key = l.try_push_owned($op, 0).unwrap();
            let (output, op) = outcome(&mut l, key);
            (output.unwrap(), op)
        }};
    }
    outcome!(Nop::new());
    outcome!(Timeout::after(Duration::from_micros(10)));
    assert_eq!(outcome!(WriteAt::new(file.clone(), 0, "after!")).0, 6);
    let (read, op) = outcome!(ReadAt::new(file.clone(), 0, Vec::with_capacity(16)));
    assert_eq!((read, &op.buf()[..]), (6, &b"after!"[..]));
    drop(op);
    let opened = outcome!(OpenAt::read(Cwd, path.c_string())).0;
    assert_eq!(kit::contents(&File::from(opened)), b"opened");
    outcome!(Close::new(kit::owned(right)));
    assert!(!kit::is_open(number));
    drop(left);

    let recv = l.try_push_owned(Recv::new(ours, [0; 16]), 1).unwrap();
    assert_eq!(outcome!(Send::new(kit::owned(theirs), "a message")).0, 9);
    let (received, op) = outcome(&mut l, recv);
    assert_eq!(&op.buf()[..received.unwrap()], b"a message");

    let accept = Accept::new(kit::owned(listener));
    let accept = l.try_push_owned(accept, 2).unwrap();
    outcome!(Connect::new(kit::tcp_socket(), addr));
    let accepted = outcome(&mut l, accept).0.unwrap();
    assert!(accepted.addr.as_socket_addr().is_some());
    finished(&mut l);
    assert_empty(&mut l, 4);
}

/// An inline buffer may use up all of a slot, to the byte, and is where the kernel wrote.
fn the_largest_operation(cx: &mut Cx) {
    const REST: usize = SLOT_SIZE - size_of::<ReadAt<OwnedFd, [u8; 0]>>();
    let content: Vec<u8> = (0..=255).cycle().take(REST).collect();
    let mut l = cx.with(few(2));
    for _ in 0..3 {
        let read = |l: &mut Ledger| {
            let op = ReadAt::new(kit::owned(cx.file(&content)), 0, [0; REST]);
            assert_eq!(size_of_val(&op), SLOT_SIZE);
            l.try_push_owned(op, 0).unwrap()
        };
        let keys = [read(&mut l), read(&mut l)];
        for key in keys {
            let (read, op) = outcome(&mut l, key);
            assert_eq!(read.unwrap(), REST);
            assert_eq!(op.buf()[..], content);
        }
    }
}

/// I2: no slot, no submission entry, no credit: the same operation comes back, nothing else was
/// done.
fn full_hands_the_operation_back(cx: &mut Cx) {
    let limits: [fn(Builder) -> Builder; 3] = [
        |limits| limits.entries(8).slots(2),
        |limits| limits.entries(2).slots(8),
        |limits| limits.entries(8).slots(8).in_flight(2),
    ];
    for limits in limits {
        let drops = Drops::default();
        let mut l = cx.with(limits);
        let keys = [0, 1].map(|n| {
            assert_eq!(l.owned_capacity_left(), 2 - n);
            l.try_push_owned(Nop::new(), n).unwrap()
        });
        let before = l.stats();
        let file = kit::owned(cx.file(b"text"));
        let mut op = ReadAt::new(file, 0, drops.buffer());
        for _ in 0..3 {
            assert_eq!(l.owned_capacity_left(), 0);
            op = l.try_push_owned(op, 2).unwrap_err().into_inner();
        }
        assert_eq!((drops.count(), l.stats()), (0, before));
        for key in keys {
            outcome(&mut l, key).0.unwrap();
        }
        let key = l.try_push_owned(op, 2).unwrap();
        let (read, op) = outcome(&mut l, key);
        assert_eq!((read.unwrap(), &op.buf().bytes()[..4]), (4, &b"text"[..]));
        drop(op);
        assert_eq!(drops.count(), 1);
    }
}

/// A driver may own nothing at all; lending is as before.
fn without_slots(cx: &mut Cx) {
    let mut l = cx.with(few(0));
    assert_eq!(l.owned_capacity_left(), 0);
    let nop = l.try_push_owned(Nop::new(), 0).unwrap_err().into_inner();
    let mut other = Nop::new();
    let full = l.scope(|s| {
        run(s, &mut other).0.unwrap();
        s.try_push_owned(nop, 0).is_err()
    });
    assert!(full.unwrap());
    assert!(l.next_finished().is_none());
}

/// `next_finished` gives each once, in the order of completion, whatever the order of pushes.
fn finished_in_order(cx: &mut Cx) {
    let mut l = cx.ledger();
    let sockets: Vec<_> = (0..4).map(|_| pair(cx)).collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    let mut keys: Vec<_> = ours
        .into_iter()
        .enumerate()
        .map(|(n, socket)| Some(l.try_push_owned(Recv::new(socket, [0; 8]), n).unwrap()))
        .collect();
    l.scope(hand_over).unwrap();
    assert!(l.next_finished().is_none());
    for n in [2, 0, 3, 1] {
        (&theirs[n]).write_all(b"text").unwrap();
        wait(&mut l, keys[n].as_ref().unwrap());
    }
    // One that was redeemed before is not announced any more.
    keys[0].take().unwrap().redeem().unwrap().0.unwrap();
    // One whose key is dropped neither.
    keys[3] = None;
    assert_eq!(finished(&mut l), [2, 1]);
    assert!(l.next_finished().is_none());
    for n in [1, 2] {
        keys[n].take().unwrap().redeem().unwrap().0.unwrap();
    }
    assert_empty(&mut l, 1024);
}

/// A key is no worse for having been asked too early.
fn redeemed_before_and_after(cx: &mut Cx) {
    let (ours, theirs) = pair(cx);
    let mut l = cx.with(few(1));
    let mut key = l.try_push_owned(Recv::new(ours, [0; 8]), 7).unwrap();
    for _ in 0..3 {
        assert!(!key.is_done());
        key = key.redeem().unwrap_err();
        l.scope(hand_over).unwrap();
    }
    (&theirs).write_all(b"text").unwrap();
    wait(&mut l, &key);
    assert_eq!(finished(&mut l), [7]);
    assert_eq!(l.owned_capacity_left(), 0, "it waits for its key");
    assert_eq!((l.in_flight(), key.is_done()), (0, true));
    let (received, op) = key.redeem().unwrap();
    assert_eq!(&op.buf()[..received.unwrap()], b"text");
    assert_empty(&mut l, 1);
}

/// I3: the kernel has the buffer until the last completion; then it is dropped, and once.
fn a_key_dropped_in_flight(cx: &mut Cx) {
    let drops = Drops::default();
    let (ours, theirs) = pair(cx);
    let other = ours.try_clone().unwrap();
    let mut l = cx.with(few(1));
    let key = Recv::new(ours, drops.buffer());
    let key = l.try_push_owned(key, 1).unwrap();
    l.scope(hand_over).unwrap();
    drop(key);
    assert_eq!((drops.count(), l.in_flight()), (0, 1), "not waited for");
    assert_eq!(l.owned_capacity_left(), 0);
    l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    assert_eq!(drops.count(), 1);
    assert_empty(&mut l, 1);
    (&theirs).write_all(b"later").unwrap();
    l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
        .unwrap()
        .unwrap();
    drop(theirs);
    assert_eq!(kit::arrived(&other), b"later");
    assert_eq!(drops.count(), 1);
}

/// The same when the kernel has not seen it yet.
fn a_key_dropped_before_the_submit(cx: &mut Cx) {
    let drops = Drops::default();
    let (ours, theirs) = pair(cx);
    let other = ours.try_clone().unwrap();
    let mut l = cx.with(few(1));
    let op = Recv::new(ours, drops.buffer());
    drop(l.try_push_owned(op, 1).unwrap());
    assert_eq!((drops.count(), l.in_flight()), (0, 1));
    l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    assert_eq!(drops.count(), 1);
    assert_empty(&mut l, 1);
    (&theirs).write_all(b"later").unwrap();
    drop(theirs);
    assert_eq!(kit::arrived(&other), b"later");
}

/// I16: what the completion names goes with the key, at once; so does the operation.
fn a_key_dropped_when_done(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut client = TcpStream::connect(addr).unwrap();
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let drops = Drops::default();
    let mut l = cx.with(few(4));
    let accept = Accept::new(kit::owned(listener));
    let accept = l.try_push_owned(accept, 1).unwrap();
    let open = OpenAt::read(Cwd, path.c_string());
    let open = l.try_push_owned(open, 2).unwrap();
    let read = ReadAt::new(kit::owned(kit::file(b"text")), 0, drops.buffer());
    let read = l.try_push_owned(read, 3).unwrap();
    wait(&mut l, &accept);
    wait(&mut l, &open);
    wait(&mut l, &read);
    assert!(kit::is_open_somewhere(&path));
    drop(open);
    assert!(!kit::is_open_somewhere(&path));
    drop(accept);
    assert!(
        matches!(client.read(&mut [0]), Ok(0) | Err(_)),
        "it was closed"
    );
    assert_eq!(drops.count(), 0);
    drop(read);
    assert_eq!(drops.count(), 1);
    assert_empty(&mut l, 4);
}

/// An error names nothing: no descriptor is closed for it.
fn a_key_dropped_with_an_error(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let mut l = cx.with(few(4));
    let missing = OpenAt::read(Cwd, path.c_string());
    let missing = l.try_push_owned(missing, 1).unwrap();
    let wrong = ReadAt::new(Cwd, u64::MAX, [0; 4]);
    let wrong = l.try_push_owned(wrong, 2).unwrap();
    let deaf = Accept::new(kit::tcp_socket());
    let deaf = l.try_push_owned(deaf, 3).unwrap();
    wait(&mut l, &missing);
    wait(&mut l, &wrong);
    wait(&mut l, &deaf);
    let before = kit::open_fds();
    drop(missing);
    drop(wrong);
    assert_eq!(kit::open_fds(), before);
    drop(deaf);
    assert_eq!(kit::open_fds().len(), before.len() - 1, "its own socket");
    assert_empty(&mut l, 4);
}

/// I16: of an open or an accept that completes when nobody has its key any more.
fn an_orphans_descriptor_is_closed(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let (listener, addr) = kit::listener();
    let listener = Rc::new(kit::owned(listener));
    for turns in 0..3 {
        let mut l = cx.with(few(8));
        for _ in 0..4 {
            let open = OpenAt::read(Cwd, path.c_string());
            drop(l.try_push_owned(open, 1).unwrap());
        }
        let accept = Accept::new(listener.clone());
        let accept = l.try_push_owned(accept, 2).unwrap();
        for _ in 0..turns {
            l.turn();
        }
        let _client = TcpStream::connect(addr).unwrap();
        drop(accept);
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert!(!kit::is_open_somewhere(&path));
        assert_eq!(Rc::strong_count(&listener), 1);
        assert_empty(&mut l, 8);
    }
}

/// I4: one end, with the operation; a second request changes nothing.
fn a_cancelled_operation_comes_back(cx: &mut Cx) {
    let (ours, theirs) = pair(cx);
    let listener = Rc::new(kit::owned(kit::listener().0));
    let mut l = cx.with(few(3));
    for handed_over in [true, false] {
        let recv = Recv::new(ours.try_clone().unwrap(), vec![0; 8].into_boxed_slice());
        let recv = l.try_push_owned(recv, 1).unwrap();
        let timeout = l.try_push_owned(Timeout::after(HOUR), 2).unwrap();
        let accept = Accept::new(listener.clone());
        let accept = l.try_push_owned(accept, 3).unwrap();
        if handed_over {
            l.scope(hand_over).unwrap();
        }
        recv.cancel();
        recv.cancel();
        timeout.cancel();
        accept.cancel();
        assert!(!recv.is_done(), "at the next submit");
        let (received, op) = outcome(&mut l, recv);
        assert_eq!(errno(received), kit::code::ECANCELED);
        assert_eq!(op.buf().len(), 8);
        assert_eq!(errno(outcome(&mut l, timeout).0), kit::code::ECANCELED);
        assert_eq!(errno(outcome(&mut l, accept).0), kit::code::ECANCELED);
        finished(&mut l);
        assert_empty(&mut l, 3);
    }
    (&theirs).write_all(b"later").unwrap();
    drop(theirs);
    assert_eq!(kit::arrived(&ours), b"later");
}

/// I4: what has completed has.
fn a_late_cancel_does_nothing(cx: &mut Cx) {
    let (ours, theirs) = pair(cx);
    let mut l = cx.with(few(1));
    let key = l.try_push_owned(Recv::new(ours, [0; 8]), 1).unwrap();
    (&theirs).write_all(b"text").unwrap();
    wait(&mut l, &key);
    key.cancel();
    l.turn();
    let (received, op) = key.redeem().unwrap();
    assert_eq!(received.unwrap(), 4);
    let again = l.try_push_owned(op, 2).unwrap();
    l.scope(hand_over).unwrap();
    (&theirs).write_all(b"again").unwrap();
    assert_eq!(outcome(&mut l, again).0.unwrap(), 5);
    assert_eq!(l.stats().cancelled, 0);
}

/// I16: nor by its key's drop, at whatever time.
fn a_close_is_not_cancelled(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let mut l = cx.with(few(4));
    for turns in 0..3 {
        for cancelled in [false, true] {
            let (ours, theirs) = kit::pair();
            let file = File::create(&*path).unwrap();
            let socket = Close::new(kit::owned(theirs));
            let socket = l.try_push_owned(socket, 1).unwrap();
            let file = Close::new(kit::owned(file));
            let file = l.try_push_owned(file, 2).unwrap();
            for _ in 0..turns {
                l.turn();
            }
            if cancelled {
                socket.cancel();
                file.cancel();
                outcome(&mut l, socket).0.unwrap();
                outcome(&mut l, file).0.unwrap();
            } else {
                drop(socket);
                drop(file);
            }
            while l.in_flight() > 0 {
                l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
            }
            assert_eq!(kit::arrived(&ours), []);
            assert!(!kit::is_open_somewhere(&path));
            finished(&mut l);
            assert_empty(&mut l, 4);
        }
    }
}

/// Wishes of keys have no limit: a submit carries them out in as many turns as it takes.
/// I16: its descriptor is its owner's again.
fn a_close_that_was_never_handed_over(cx: &mut Cx) {
    for kept in [true, false] {
        let mut l = cx.ledger();
        let fd = OwnedFd::from(cx.file(b"text"));
        let number = fd.as_raw_fd();
        let key = l.try_push_owned(Close::new(fd), 0).unwrap();
        if kept {
            l.abandon();
            let (closed, op) = key.redeem().unwrap();
            assert_eq!(
                closed.unwrap_err().raw_os_error(),
                Some(kit::code::ECANCELED)
            );
            assert!(kit::is_open(number));
            drop(op);
        } else {
            drop(key);
            l.abandon();
        }
        assert!(!kit::is_open(number));
    }
}

/// I4: nor what has its slot now.
fn a_spent_key_names_nothing(cx: &mut Cx) {
    let mut l = cx.with(few(1));
    let mut spent = l.try_push_owned(Nop::new(), 0).unwrap();
    l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert!(Future::poll(Pin::new(&mut spent), &mut context).is_ready());
    let other = l.try_push_owned(Timeout::after(Duration::ZERO), 0).unwrap();
    spent.cancel();
    while !other.is_done() {
        assert!(!spent.is_done());
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    assert!(!spent.is_done());
    spent.cancel();
    drop(spent);
    other.redeem().unwrap().0.unwrap();
}

fn more_cancellations_than_places(cx: &mut Cx) {
    const COUNT: usize = 50;
    let (ours, _theirs) = pair(cx);
    let ours = Rc::new(ours);
    for handed_over in [true, false] {
        let mut l = cx.with(|limits| limits.entries(2 * COUNT).cancels(1));
        let mut keys = Vec::new();
        for n in 0..COUNT {
            let recv = Recv::new(ours.clone(), [0; 8]);
            keys.push(l.try_push_owned(recv, n).unwrap());
            drop(l.try_push_owned(Timeout::after(HOUR), COUNT).unwrap());
        }
        if handed_over {
            l.turn();
        }
        for key in &keys {
            key.cancel();
        }
        for key in keys {
            assert_eq!(errno(outcome(&mut l, key).0), kit::code::ECANCELED);
        }
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert_eq!(Rc::strong_count(&ours), 1);
        finished(&mut l);
        assert_empty(&mut l, 2 * COUNT);
    }
}

/// Generations: a slot has its operation's own completions, thousands of times.
fn a_slot_is_used_again_and_again(cx: &mut Cx) {
    const ROUNDS: usize = 5000;
    let (ours, theirs) = pair(cx);
    let ours = Rc::new(ours);
    let drops = Drops::default();
    let mut l = cx.with(few(1));
    for round in 0..ROUNDS {
        match round % 4 {
            0 => {
                let key = l.try_push_owned(Nop::new(), round).unwrap();
                outcome(&mut l, key).0.unwrap();
            }
            1 => {
                let recv = Recv::new(ours.clone(), drops.buffer());
                drop(l.try_push_owned(recv, round).unwrap());
            }
            2 => {
                let recv = Recv::new(ours.clone(), drops.buffer());
                let key = l.try_push_owned(recv, round).unwrap();
                l.turn();
                drop(key);
            }
            _ => {
                (&theirs).write_all(&[7]).unwrap();
                let recv = Recv::new(ours.clone(), [0; 8]);
                let key = l.try_push_owned(recv, round).unwrap();
                assert_eq!(outcome(&mut l, key).0.unwrap(), 1);
            }
        }
        while l.owned_capacity_left() == 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert_eq!(finished(&mut l), []);
        assert_eq!(Rc::strong_count(&ours), 1);
    }
    assert_eq!(drops.count(), ROUNDS / 2);
    assert_empty(&mut l, 1);
}

/// I4: neither what was asked for before the last completion, nor after it.
fn an_old_cancel_never_hits_a_new_operation(cx: &mut Cx) {
    let (ours, theirs) = pair(cx);
    let ours = Rc::new(ours);
    let mut l = cx.with(few(1));
    for _ in 0..100 {
        let key = Recv::new(ours.clone(), [0; 8]);
        let key = l.try_push_owned(key, 1).unwrap();
        l.turn();
        key.cancel();
        outcome(&mut l, key).0.unwrap_err();
        let key = Recv::new(ours.clone(), [0; 8]);
        let key = l.try_push_owned(key, 2).unwrap();
        l.turn();
        l.turn();
        (&theirs).write_all(b"new").unwrap();
        assert_eq!(outcome(&mut l, key).0.unwrap(), 3);
    }
}

/// I5: the drop of a driver completes what it had, and what was done stays done.
fn a_key_outlives_its_driver(cx: &mut Cx) {
    let drops = Drops::default();
    let (listener, addr) = kit::listener();
    let mut client = TcpStream::connect(addr).unwrap();
    let (ours, theirs) = pair(cx);
    let mut l = cx.ledger();
    let done = l.try_push_owned(Nop::new(), 1).unwrap();
    let accepted = Accept::new(kit::owned(listener));
    let accepted = l.try_push_owned(accepted, 2).unwrap();
    wait(&mut l, &done);
    wait(&mut l, &accepted);
    let ours = Rc::new(ours);
    let mut recv = || {
        let recv = Recv::new(ours.clone(), drops.buffer());
        l.try_push_owned(recv, 3).unwrap()
    };
    let [redeemed, dropped, cancelled, orphan] = [recv(), recv(), recv(), recv()];
    l.turn();
    drop(orphan);
    l.abandon();
    assert_eq!(drops.count(), 1, "the orphan's");
    (&theirs).write_all(b"later").unwrap();
    done.redeem().unwrap().0.unwrap();
    drop(accepted);
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert!(redeemed.is_done());
    let (received, op) = redeemed.redeem().unwrap();
    assert_eq!(errno(received), kit::code::ECANCELED);
    drop(op);
    drop(dropped);
    cancelled.cancel();
    assert_eq!(drops.count(), 3);
    assert_eq!(errno(cancelled.redeem().unwrap().0), kit::code::ECANCELED);
    assert_eq!((drops.count(), Rc::strong_count(&ours)), (4, 1));
    drop(theirs);
    let ours = Rc::into_inner(ours).unwrap();
    assert_eq!(kit::arrived(&ours), b"later");
}

/// I5: it completes as cancelled, and has done nothing.
fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let file = kit::file(b"before");
    let (ours, theirs) = pair(cx);
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let write = WriteAt::new(kit::owned(file.try_clone().unwrap()), 0, "after!");
    let write = l.try_push_owned(write, 1).unwrap();
    let send = Send::new(ours, "nobody asked");
    let send = l.try_push_owned(send, 2).unwrap();
    let create = OpenOptions::new().write(true).create(true);
    let create = OpenAt::new(Cwd, path.c_string(), create);
    let create = l.try_push_owned(create, 3).unwrap();
    let orphan = WriteAt::new(kit::owned(file.try_clone().unwrap()), 0, "after!");
    drop(l.try_push_owned(orphan, 4).unwrap());
    l.abandon();
    assert_eq!(errno(write.redeem().unwrap().0), kit::code::ECANCELED);
    let (sent, op) = send.redeem().unwrap();
    assert_eq!(errno(sent), kit::code::ECANCELED);
    drop(op);
    assert_eq!(errno(create.redeem().unwrap().0), kit::code::ECANCELED);
    let text = kit::contents(&file);
    assert_eq!(text, b"before");
    assert_eq!(kit::arrived(&theirs), b"");
    assert!(!path.exists());
}

/// I5: their destructors run in the driver's drop, once.
fn a_driver_dropped_with_orphans(cx: &mut Cx) {
    let (ours, _theirs) = pair(cx);
    let ours = Rc::new(ours);
    for turns in 0..3 {
        let drops = Drops::default();
        let mut l = cx.ledger();
        for n in 0..8 {
            let key = Recv::new(ours.clone(), drops.buffer());
            let key = l.try_push_owned(key, n).unwrap();
            if n % 2 == 0 {
                l.turn();
            }
            drop(key);
        }
        for _ in 0..turns {
            l.turn();
        }
        l.abandon();
        assert_eq!((drops.count(), Rc::strong_count(&ours)), (8, 1));
    }
}

/// Forgotten for the driver's life: its slot is lost, and nothing else is.
fn a_forgotten_key_keeps_its_slot(cx: &mut Cx) {
    let drops = Drops::default();
    let file = Rc::new(kit::owned(cx.file(b"text")));
    let (ours, _theirs) = pair(cx);
    let mut l = cx.with(few(3));
    let read = ReadAt::new(file.clone(), 0, drops.buffer());
    let done = ManuallyDrop::new(l.try_push_owned(read, 1).unwrap());
    let recv = Recv::new(ours, drops.buffer());
    let pending = ManuallyDrop::new(l.try_push_owned(recv, 2).unwrap());
    wait(&mut l, &done);
    assert_eq!(finished(&mut l), [1]);
    for n in 0..100 {
        assert_eq!(l.owned_capacity_left(), 1);
        let key = l.try_push_owned(Nop::new(), n).unwrap();
        assert!(l.try_push_owned(Nop::new(), n).is_err());
        outcome(&mut l, key).0.unwrap();
    }
    assert_eq!((l.in_flight(), drops.count()), (1, 0));
    l.abandon();
    assert_eq!(drops.count(), 0, "they wait for their keys");
    drop(ManuallyDrop::into_inner(done));
    drop(ManuallyDrop::into_inner(pending));
    assert_eq!((drops.count(), Rc::strong_count(&file)), (2, 1));
}

/// In a scope an owned operation may borrow what lives as long as the scope's loans.
fn borrowed_buffers_in_a_scope(cx: &mut Cx) {
    let file = cx.file(b"0123");
    let (ours, theirs) = cx.pair();
    let (mut read_into, mut received_into) = ([0; 8], [0; 8]);
    let mut lent = Nop::new();
    let mut l = cx.with(few(2));
    let before = l.try_push_owned(Nop::new(), 1).unwrap();
    l.scope(|s| {
        let read = ReadAt::new(file.as_fd(), 0, &mut read_into[..]);
        let read = s.try_push_owned(read, 2).unwrap();
        assert_eq!(s.owned_capacity_left(), 0);
        let nop = s.try_push_owned(Nop::new(), 3).unwrap_err().into_inner();
        run(s, &mut lent).0.unwrap();
        while !(before.is_done() && read.is_done()) {
            s.submit(None, &mut None).unwrap();
        }
        let tokens = [(); 2].map(|()| s.next_finished().unwrap().token());
        assert!(tokens == [1, 2] || tokens == [2, 1], "{tokens:?}");
        before.redeem().unwrap().0.unwrap();
        let (read, op) = read.redeem().unwrap();
        assert_eq!(read.unwrap(), 4);
        assert_eq!(&op.buf()[..4], b"0123");

        let recv = Recv::new(ours.as_fd(), &mut received_into[..]);
        let recv = s.try_push_owned(recv, 4).unwrap();
        hand_over(s);
        let recv = recv.redeem().unwrap_err();
        (&theirs).write_all(b"text").unwrap();
        while !recv.is_done() {
            s.submit(None, &mut None).unwrap();
        }
        assert_eq!(recv.redeem().unwrap().0.unwrap(), 4);
        drop(s.try_push_owned(nop, 5).unwrap());
    })
    .unwrap();
    assert_eq!(
        (&read_into[..4], &received_into[..4]),
        (&b"0123"[..], &b"text"[..])
    );
    finished(&mut l);
    assert_empty(&mut l, 2);
}

/// S1: whatever became of its keys: destructors have run, and borrowed buffers are free.
#[allow(clippy::mem_forget, reason = "what it does is tested")]
fn the_end_of_a_scope_empties_slots(cx: &mut Cx) {
    let drops = Drops::default();
    let (ours, theirs) = kit::pair();
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    // A forgotten key keeps the slab for ever: see what is empty of it, and not that.
    let mut l = kit::leaking(|| cx.with(|limits| limits.entries(64).slots(16).cancels(1)));
    let mut buffers = [[0; 8]; 4];
    for _ in 0..4 {
        let before = drops.count();
        let static_key = l.try_push_owned(Timeout::after(HOUR), 99).unwrap();
        l.scope(|s| {
            let [pushed, in_flight, ..] = buffers.each_mut();
            let recv = Recv::new(ours.as_fd(), &mut in_flight[..]);
            std::mem::forget(s.try_push_owned(recv, 1).unwrap());
            let recv = Recv::new(ours.as_fd(), drops.buffer());
            let cancelled = s.try_push_owned(recv, 2).unwrap();
            let recv = Recv::new(ours.as_fd(), drops.buffer());
            std::mem::forget(s.try_push_owned(recv, 3).unwrap());
            let open = OpenAt::read(Cwd, path.c_string());
            let open = s.try_push_owned(open, 4).unwrap();
            while !open.is_done() {
                s.submit(None, &mut None).unwrap();
            }
            std::mem::forget(open); // Announced, and not asked for.
            let recv = Recv::new(ours.as_fd(), drops.buffer());
            drop(s.try_push_owned(recv, 5).unwrap());
            let recv = Recv::new(ours.as_fd(), drops.buffer());
            let redeemed = s.try_push_owned(recv, 6).unwrap();
            std::mem::forget(redeemed.redeem().unwrap_err());
            let recv = Recv::new(ours.as_fd(), &mut pushed[..]);
            std::mem::forget(s.try_push_owned(recv, 7).unwrap());
            cancelled.cancel();
            std::mem::forget(cancelled);
        })
        .unwrap();
        assert_eq!(drops.count() - before, 4, "before the scope has returned");
        assert!(!kit::is_open_somewhere(&path));
        buffers.as_flattened_mut().fill(7);
        assert_eq!(l.in_flight(), 1, "the driver's own");
        drop(static_key);
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        assert_empty(&mut l, 16);
    }
    (&theirs).write_all(b"later").unwrap();
    l.turn();
    assert_eq!(kit::arrived(&ours), b"later");
    assert_eq!(buffers, [[7; 8]; 4]);
}

/// The same for keys that were dropped, also by unwinding.
fn dropped_scoped_keys(cx: &mut Cx) {
    let drops = Drops::default();
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(few(4));
    for round in 0..4 {
        let mut scope = || {
            l.scope(|s| {
                let recv = Recv::new(ours.as_fd(), drops.buffer());
                let _one = s.try_push_owned(recv, 1).unwrap();
                if round % 2 == 0 {
                    hand_over(s);
                }
                let recv = Recv::new(ours.as_fd(), drops.buffer());
                drop(s.try_push_owned(recv, 1).unwrap());
                let _done = s.try_push_owned(Nop::new(), 1).unwrap();
                if round < 2 {
                    kit::silent_panic();
                }
            })
            .unwrap();
        };
        if round < 2 {
            kit::quietly(scope);
        } else {
            scope();
        }
        assert_eq!(drops.count(), 2 * (round + 1));
        assert_empty(&mut l, 4);
    }
}

/// The same slots of two drivers are different ones.
fn keys_of_two_drivers(cx: &mut Cx) {
    let mut ledgers = [cx.with(few(1)), cx.with(few(1))];
    let sockets = [pair(cx), pair(cx)];
    let [(a, b_peer), (b, a_peer)] = sockets;
    let mut keys = [(a, 1), (b, 2)]
        .into_iter()
        .zip(&mut ledgers)
        .map(|((fd, n), l)| {
            let key = l.try_push_owned(Recv::new(fd, [0; 8]), n).unwrap();
            l.scope(hand_over).unwrap();
            key
        });
    let [a, b] = [keys.next().unwrap(), keys.next().unwrap()];
    drop(keys);
    let [first, second] = &mut ledgers;
    (&a_peer).write_all(b"text").unwrap();
    wait(second, &b);
    assert!(!a.is_done());
    let b = b.redeem().unwrap();
    drop(a);
    first.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    assert_eq!(first.owned_capacity_left(), 1);
    assert_eq!(b.0.unwrap(), 4);
    drop(b_peer);
}

/// A buffer whose destructor drops the key of another slot, in each state of that one.
fn keys_that_own_keys(cx: &mut Cx) {
    #[derive(Debug)]
    struct Owner<K>(#[allow(dead_code, reason = "it is dropped")] K);
    // SAFETY: lends nothing.
    unsafe impl<K: Unpin> completeio_driver::buf::IoBufMut for Owner<K> {
        fn parts_mut(&mut self) -> (*mut u8, usize) {
            (std::ptr::NonNull::dangling().as_ptr(), 0)
        }
        unsafe fn set_filled(&mut self, _n: usize) {}
    }
    let (ours, _theirs) = pair(cx);
    let ours = Rc::new(ours);
    let drops = Drops::default();
    for turns in 0..3 {
        let mut l = cx.with(few(8));
        let inner = Recv::new(ours.clone(), drops.buffer());
        let inner = l.try_push_owned(inner, 1).unwrap();
        for _ in 0..turns {
            l.turn();
        }
        let middle = ReadAt::new(kit::owned(cx.file(b"x")), 0, Owner(inner));
        let middle = l.try_push_owned(middle, 2).unwrap();
        let outer = Recv::new(ours.clone(), Owner(middle));
        let outer = l.try_push_owned(outer, 3).unwrap();
        if turns == 2 {
            l.turn();
        }
        drop(outer);
        if turns == 0 {
            l.abandon();
        } else {
            while l.in_flight() > 0 {
                l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
            }
            assert_empty(&mut l, 8);
        }
        assert_eq!((drops.count(), Rc::strong_count(&ours)), (turns + 1, 1));
    }
}

/// The raw layer's wait ends with an owned completion, which is no entry.
fn a_raw_wait_ends(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    for token in 0..10 {
        let key = l.try_push_owned(Nop::new(), token).unwrap();
        let mut entry = None;
        l.submit(None, &mut entry).unwrap();
        assert!(entry.is_none());
        assert_eq!(finished(&mut l), [token]);
        key.redeem().unwrap().0.unwrap();
    }
    assert_eq!(l.in_flight(), 1);
}

/// I2: raw entries come out beside any number of owned completions, none is lost in a small sink.
fn raw_entries_keep_their_room(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut keys = Vec::new();
    for n in 0..30 {
        keys.push(l.try_push_owned(Nop::new(), n).unwrap());
        if n % 3 == 0 {
            l.start(Nop::new(), n);
        }
        let wrong = ReadAt::new(Cwd, u64::MAX, [0; 4]);
        drop(l.try_push_owned(wrong, 100).unwrap());
    }
    let mut seen = Vec::new();
    while l.in_flight() > 0 {
        let mut entries: Vec<Entry> = Vec::with_capacity(2);
        l.submit(None, &mut entries).unwrap();
        seen.extend(kit::names(&entries));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).step_by(3).collect::<Vec<_>>());
    assert_eq!(finished(&mut l), (0..30).collect::<Vec<_>>());
    for key in keys {
        key.redeem().unwrap().0.unwrap();
    }
}

/// A wait for two ends with one entry and one owned completion, and not with one alone.
fn a_wait_for_several_counts_them(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Nop::new(), 1);
    let soon = Timeout::after(Duration::from_millis(1));
    let key = l.try_push_owned(soon, 2).unwrap();
    let forever = l.try_push_owned(Timeout::after(HOUR), 3).unwrap();
    let mut entries = Vec::with_capacity(8);
    l.submit_until(Wait::new().at_least(2), &mut entries)
        .unwrap();
    assert_eq!(kit::names(&entries), [1]);
    assert!(key.is_done() && !forever.is_done());
    let mut nop = Nop::new();
    l.scope(|s| {
        let ticket = start(s, &mut nop, 4);
        let other = s.try_push_owned(Timeout::after(Duration::ZERO), 5).unwrap();
        let mut events = Vec::with_capacity(8);
        s.submit_until(Wait::new().at_least(2), &mut events)
            .unwrap();
        assert!(other.is_done());
        let event = events.remove(0);
        ticket.redeem(event.done().unwrap()).unwrap().0.unwrap();
        assert_eq!(take(s, 0).len(), 0);
    })
    .unwrap();
}

/// `quiesce` ends what the driver owns too, and hands nothing new out.
fn wound_down_with_the_driver(cx: &mut Cx) {
    let (ours, _theirs) = pair(cx);
    let mut l = cx.with(few(4));
    let key = l.try_push_owned(Recv::new(ours, [0; 8]), 1).unwrap();
    let orphan = l.try_push_owned(Timeout::after(HOUR), 2).unwrap();
    l.turn();
    let pushed = l.try_push_owned(Timeout::after(HOUR), 3).unwrap();
    drop(orphan);
    let mut entries = Vec::with_capacity(1);
    let survivors = l.quiesce(Instant::now() + HOUR, &mut entries);
    assert_eq!((survivors, entries.len()), (0, 0));
    assert_eq!(l.owned_capacity_left(), 0);
    assert!(l.try_push_owned(Nop::new(), 4).is_err());
    assert_eq!(errno(key.redeem().unwrap().0), kit::code::ECANCELED);
    assert_eq!(errno(pushed.redeem().unwrap().0), kit::code::ECANCELED);
    l.resume();
    assert_empty(&mut l, 4);
}

/// A foreign loop hears of an orphan's end, which it asked for by `prepare_wait`.
fn cancelled_by_a_foreign_loop(cx: &mut Cx) {
    let drops = Drops::default();
    let (ours, _theirs) = pair(cx);
    let mut l = cx.with(few(1));
    let key = Recv::new(ours, drops.buffer());
    let key = l.try_push_owned(key, 1).unwrap();
    l.scope(hand_over).unwrap();
    drop(key);
    while drops.count() == 0 {
        match l.prepare_wait() {
            PreparedWait::Ready => {}
            PreparedWait::Until(_) => assert!(kit::becomes_readable(&l.as_raw_fd())),
        }
        assert!(l.turn().is_empty());
    }
    assert_empty(&mut l, 1);
}
