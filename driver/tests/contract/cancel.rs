//! I4: cancellations: whom they reach, and whom never.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::ancillary::Incoming;
use completeio_driver::driver::{AsRawFd, CompleteIo, Descriptor, Entry, FixedFd};
use completeio_driver::op::{
    Accept, Connect, Nop, Op, Poll, PollEvents, Read, Recv, RecvFrom, RecvMsg, RecvVectored, Send,
    Timeout,
};
use std::io::Write;
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        a_pending_operation_is_cancelled,
        a_pushed_operation_is_cancelled,
        a_pushed_close_is_not_lost,
        an_old_cancel_never_hits_a_new_operation,
        a_cancel_hits_what_was_pushed_before_it_only,
        a_late_cancel_does_nothing,
        a_cancel_is_no_entry,
        user_data_beyond_61_bits_names_nobody,
        by_descriptor,
        by_fixed_descriptor,
        all_leaves_the_notifier,
        cancels_are_counted_or_have_no_limit,
        cancels_beyond_one_turn,
        user_data_that_nobody_can_have_takes_no_place,
    ],
    on_host: [
        all_of_one_user_data_are_cancelled,
        whatever_waits_by_its_descriptor,
        all,
    ],
    on_unix: [
        connect_is_cancelled,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

/// A receive that pends until the other end writes; not attached, for that is done once.
fn pending(l: &mut Ledger, socket: &impl AsRawFd, user_data: usize) {
    l.start(Recv::new(kit::plain(socket), [0; 8]), user_data);
}

fn assert_cancelled(entries: &[Entry], user_data: &[usize]) {
    assert_eq!(kit::names(entries), user_data);
    assert_eq!(
        kit::errnos(entries),
        vec![kit::code::ECANCELED; user_data.len()]
    );
}

fn a_pending_operation_is_cancelled(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    pending(&mut l, &ours, 7);
    l.hand_over();
    l.try_cancel(7).unwrap();
    l.try_cancel(7).unwrap();
    assert_cancelled(&l.take(1), &[7]);
    assert_eq!(l.stats().cancelled, 2);
    (&theirs).write_all(b"later").unwrap();
    assert!(l.turn().is_empty());
    assert_eq!(
        ours.arrived(),
        b"later",
        "a cancelled receive takes nothing"
    );
}

fn a_pushed_operation_is_cancelled(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    pending(&mut l, &ours, 7);
    l.try_cancel(7).unwrap();
    assert_cancelled(&l.take(1), &[7]);
    drop(theirs);
}

/// I16: whatever a cancelled close says, the descriptor is closed.
fn a_pushed_close_is_not_lost(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let number = theirs.as_raw_fd();
    l.start(completeio_driver::op::Close::new(kit::owned(theirs)), 1);
    l.try_cancel(1).unwrap();
    l.one();
    assert!(!kit::is_open(number));
    assert_eq!(ours.arrived(), []);
}

fn an_old_cancel_never_hits_a_new_operation(cx: &mut Cx) {
    let [(a, _a), (b, b_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    pending(&mut l, &a, 7);
    l.hand_over();
    l.try_cancel(7).unwrap();
    assert_cancelled(&l.take(1), &[7]);
    // The same user data again.
    pending(&mut l, &b, 7);
    for _ in 0..10 {
        l.hand_over();
    }
    (&b_peer).write_all(b"new").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 3);
}

fn a_cancel_hits_what_was_pushed_before_it_only(cx: &mut Cx) {
    let [(a, _a), (b, b_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    pending(&mut l, &a, 7);
    l.try_cancel(7).unwrap();
    pending(&mut l, &b, 7);
    assert_cancelled(&l.take(1), &[7]);
    l.hand_over();
    (&b_peer).write_all(b"new").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 3);
}

fn a_late_cancel_does_nothing(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    l.start(Nop::new(), 7);
    assert_eq!(l.one().into_result().unwrap(), 0);
    l.try_cancel(7).unwrap();
    pending(&mut l, &ours, 7);
    l.hand_over();
    (&theirs).write_all(b"new").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 3);
}

fn a_cancel_is_no_entry(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for _ in 0..10 {
        l.try_cancel(99).unwrap();
        l.try_cancel_fd(&fd).unwrap();
        l.try_cancel_all().unwrap();
    }
    assert!(l.turn().is_empty());
    l.start(Nop::new(), 1);
    l.try_cancel(99).unwrap();
    assert_eq!(kit::names(&l.take(1)), [1]);
    assert!(l.turn().is_empty());
    assert_eq!(l.stats().completed, 1);
    drop(theirs);
}

/// Those whose result is a descriptor, too.
fn all_of_one_user_data_are_cancelled(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    for _ in 0..2 {
        pending(&mut l, &ours, 7);
        let accept = Accept::new(l.at(&listener));
        l.start(accept, 7);
        l.start(Timeout::after(HOUR), 7);
    }
    l.start(Timeout::after(HOUR), 8);
    l.hand_over();
    l.try_cancel(7).unwrap();
    assert_cancelled(&l.take(6), &[7; 6]);
    l.hand_over();
    assert_eq!(l.in_flight(), 1);
}

fn user_data_beyond_61_bits_names_nobody(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let _notifier = l.notifier();
    pending(&mut l, &ours, 1);
    l.hand_over();
    for top in 1..8 {
        l.try_cancel(top << 61 | 1).unwrap();
    }
    l.hand_over();
    (&theirs).write_all(b"here").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 4);
}

fn by_descriptor(cx: &mut Cx) {
    let [(a, _a), (b, b_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    let fd = l.at(&a);
    pending(&mut l, &a, 1);
    pending(&mut l, &b, 2);
    l.hand_over();
    pending(&mut l, &a, 3); // Not handed over yet.
    l.try_cancel_fd(&fd).unwrap();
    assert_cancelled(&l.take_sorted(2), &[1, 3]);
    (&b_peer).write_all(b"x").unwrap();
    assert_eq!(kit::names(&l.take(1)), [2]);
}

fn by_fixed_descriptor(cx: &mut Cx) {
    let [(a, _a), (b, b_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    l.register_fds(&[a.as_raw_fd(), b.as_raw_fd()], 5).unwrap();
    let first = l.register_fd(a.as_raw_fd(), 5).unwrap();
    let second = l.register_fd(b.as_raw_fd(), 6).unwrap();
    for n in [1, 2] {
        l.start(Recv::new(first, [0; 8]), n);
    }
    l.start(Recv::new(second, [0; 8]), 3);
    l.hand_over();
    l.try_cancel_fd(&first).unwrap();
    assert_cancelled(&l.take_sorted(2), &[1, 2]);
    (&b_peer).write_all(b"x").unwrap();
    assert_eq!(kit::names(&l.take(1)), [3]);
}

/// Each family that waits, on a plain descriptor and on a fixed one.
fn whatever_waits_by_its_descriptor(cx: &mut Cx) {
    fn cancels<F: Descriptor, O: Op + 'static>(l: &mut Ledger, fd: &F, op: O) {
        l.start(op, 1);
        l.hand_over();
        l.try_cancel_fd(fd).unwrap();
        assert_cancelled(&l.take(1), &[1]);
    }
    fn all<F: Descriptor + Copy + 'static>(l: &mut Ledger, [socket, listener, pipe]: [F; 3]) {
        cancels(l, &socket, RecvFrom::new(socket, [0; 8]));
        cancels(l, &socket, RecvVectored::new(socket, [[0; 8]]));
        let control = Incoming::<64>::new();
        cancels(l, &socket, RecvMsg::new(socket, [[0; 8]], control));
        if cfg!(unix) {
            cancels(l, &socket, Poll::new(socket, PollEvents::READABLE));
        }
        cancels(l, &listener, Accept::new(listener));
        cancels(l, &pipe, Read::new(pipe, [0; 8]));
    }
    let (socket, _peer) = kit::pair();
    let (listener, _) = kit::listener();
    let (reader, _writer) = kit::pipe();
    let numbers = [socket.as_raw_fd(), listener.as_raw_fd(), reader.as_raw_fd()];
    let mut l = cx.ledger();
    all(&mut l, numbers.map(kit::number));
    l.register_fds(&numbers, 5).unwrap();
    all(&mut l, [5, 6, 7].map(FixedFd::from_id));
}

fn all(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    pending(&mut l, &ours, 1);
    let accept = Accept::new(l.at(&listener));
    l.start(accept, 2);
    l.hand_over();
    l.start(Timeout::after(HOUR), 3);
    l.start(Timeout::after(Duration::MAX), 4);
    l.try_cancel_all().unwrap();
    assert_cancelled(&l.take_sorted(4), &[1, 2, 3, 4]);
    assert_eq!(l.in_flight(), 0);
}

/// The driver's own wait for its notifier survives a cancellation of everything (I14).
fn all_leaves_the_notifier(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    l.hand_over();
    for _ in 0..100 {
        l.try_cancel_all().unwrap();
        let thread = thread::spawn({
            let notifier = notifier.clone();
            move || notifier.notify()
        });
        l.submit(None, &mut None).unwrap();
        thread.join().unwrap();
    }
}

#[cfg(unix)]
fn connect_is_cancelled(cx: &mut Cx) {
    let (_listener, addr, _clients) = kit::full_listener();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let connect = Connect::new(l.at(&socket), addr);
    l.start(connect, 1);
    l.hand_over();
    l.try_cancel(1).unwrap();
    assert_cancelled(&l.take(1), &[1]);
}

/// io_uring reserves places for cancellations, and says when they are used up.
fn cancels_are_counted_or_have_no_limit(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(4).cancels(2));
    for n in 1..=3 {
        pending(&mut l, &ours, n);
    }
    l.hand_over();
    let cancelled = (1..=3).take_while(|n| l.try_cancel(*n).is_ok()).count();
    if cx.is_io_uring() {
        assert_eq!(cancelled, 2);
        assert!(l.try_cancel_fd(&kit::plain(&ours)).is_err() && l.try_cancel_all().is_err());
    } else {
        assert!(cancelled >= 2);
    }
    assert_eq!(
        l.stats().cancelled,
        cancelled as u64,
        "one that is full is not counted"
    );
    assert_eq!(l.take(cancelled).len(), cancelled);
    l.try_cancel(3).unwrap();
    if cancelled < 3 {
        assert_cancelled(&l.take(1), &[3]);
    }
}

/// The reserved places are free again after each turn, with every entry in use.
fn cancels_beyond_one_turn(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(2).cancels(1));
    let send = Send::new(l.at(&ours), "x");
    let send = l.lend(send);
    for n in 0..100 {
        pending(&mut l, &ours, n);
        l.push(send, 1000);
        assert_eq!(l.capacity_left(), 0);
        l.try_cancel(n).unwrap();
        let entries = l.take_sorted(2);
        assert_eq!(kit::names(&entries), [n, 1000]);
        assert_eq!(kit::errnos(&entries), [kit::code::ECANCELED, 0]);
    }
}

fn user_data_that_nobody_can_have_takes_no_place(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.cancels(1));
    for _ in 0..3 {
        l.try_cancel(usize::MAX).unwrap();
    }
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    l.try_cancel(1).unwrap();
    assert_eq!(l.one().raw_os_error(), Some(kit::code::ECANCELED));
}
