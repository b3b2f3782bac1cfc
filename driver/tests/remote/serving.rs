//! A server on a thread of one's own, beside other uses of its driver.

use crate::kit::{self, code};
use crate::rig::{AT_ONCE, Count, Cx, Drops, LONG, accepted, errno, recv, rejected};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{CompleteIo, Driver, Entry, OwnedFd, Wait};
use completeio_driver::op::{Nop, OpObject, ReadAt, Recv, Timeout};
use completeio_driver::remote::{Rejection, Server};
use std::io::{ErrorKind, Write};
use std::ptr::NonNull;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

on_each_backend![
    served_until_the_last_remote_is_gone,
    a_pending_outlives_the_last_remote,
    served_until_closed,
    turned_until_closed,
    a_driver_without_slots,
    turns_beside_keys_of_ones_own,
    keys_of_ones_own_take_slots,
    a_turn_ends_for_each_of_its_reasons,
    raw_operations_in_flight,
    dropped_with_operations_in_every_state,
    dropped_with_keys_of_ones_own,
    a_server_that_was_run,
    turns_wake_keys_while_room_is_made,
    what_others_take_out_wakes_all_the_same,
    a_driver_that_was_exchanged,
];

fn served_until_the_last_remote_is_gone(cx: &Cx) {
    let driver = cx.builder(4);
    let (send, receive) = mpsc::channel();
    let serves = thread::spawn(move || {
        let (remote, mut server) = Server::new(driver.build().unwrap()).unwrap();
        send.send(remote).unwrap();
        server.run()
    });
    let remote = receive.recv().unwrap();
    let clients = [(); 4].map(|()| {
        let remote = remote.clone();
        thread::spawn(move || remote.run_blocking(Nop::new()).0.unwrap())
    });
    for client in clients {
        client.join().unwrap();
    }
    remote.run_blocking(Nop::new()).0.unwrap();
    assert!(!remote.is_closed());
    drop(remote);
    serves.join().unwrap().unwrap();
}

/// Nobody can send any more, so the server ends, and what is in flight is cancelled.
fn a_pending_outlives_the_last_remote(cx: &Cx) {
    let hand = cx.hand(2);
    let (recv, _end) = recv();
    let pending = accepted(hand.remote.try_push(recv));
    drop(hand.remote);
    let mut server = hand.server;
    server.run().unwrap();
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
}

fn served_until_closed(cx: &Cx) {
    let mut hand = cx.hand(2);
    let closes = hand.remote.clone();
    let client = thread::spawn(move || {
        closes.run_blocking(Nop::new()).0.unwrap();
        closes.close();
    });
    hand.server.run().unwrap();
    client.join().unwrap();
    let (reason, _) = rejected(hand.remote.try_push(Nop::new()));
    assert_eq!(reason, Rejection::Closed);
}

/// A loop of one's own is told, asleep or not.
fn turned_until_closed(cx: &Cx) {
    for closes in [true, false] {
        let mut hand = cx.hand(2);
        let remote = hand.remote;
        let client = thread::spawn(move || {
            remote.run_blocking(Nop::new()).0.unwrap();
            let (recv, end) = recv();
            let pending = accepted(remote.try_push(recv));
            if closes {
                remote.close();
            }
            drop(remote);
            (pending, end)
        });
        while !hand.server.is_closed() {
            hand.server.turn(Wait::new()).unwrap();
        }
        drop(hand.server);
        let (pending, _end) = client.join().unwrap();
        assert_eq!(errno(&pending.wait().0), code::ECANCELED);
    }
}

fn a_driver_without_slots(cx: &Cx) {
    let error = Server::new(cx.builder(0).build().unwrap()).unwrap_err();
    assert!(error.to_string().contains("`slots` is 0"), "{error}");
}

fn turns_beside_keys_of_ones_own(cx: &Cx) {
    let mut hand = cx.hand(4);
    let (own_recv, mut own_end) = recv();
    let mut key = hand.server.driver().try_push_owned(own_recv, 7).unwrap();
    let waker = Count::new();
    assert!(waker.poll(&mut key).is_pending());
    let (recv, mut end) = recv();
    let pending = accepted(hand.remote.try_push(recv));
    end.write_all(b"theirs").unwrap();
    let (received, op) = hand.finish(pending);
    assert_eq!(&op.buf()[..received.unwrap()], b"theirs");
    assert_eq!(waker.woken(), 0);
    own_end.write_all(b"ours").unwrap();
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    let Poll::Ready((received, op)) = waker.poll(&mut key) else {
        panic!("it was woken");
    };
    assert_eq!(&op.buf()[..received.unwrap()], b"ours");
    drop(key);
    hand.assert_whole(4);
}

/// What was accepted waits for a slot, in its order, and may be given up meanwhile.
fn keys_of_ones_own_take_slots(cx: &Cx) {
    let mut hand = cx.hand(2);
    let keys = [(); 2].map(|()| {
        let hour = Timeout::after(LONG);
        hand.server.driver().try_push_owned(hour, 0).unwrap()
    });
    let drops = Drops::default();
    let op = ReadAt::new(kit::owned(kit::file(b"text")), 0, drops.buffer());
    let given_up = accepted(hand.remote.try_push(op));
    let waiting = accepted(hand.remote.try_push(Nop::new()));
    hand.turn();
    assert_eq!(hand.server.driver().stats().pushed, 2);
    drop(given_up);
    hand.turn();
    assert_eq!(drops.count(), 1);
    drop(keys);
    hand.finish(waiting).0.unwrap();
    hand.assert_whole(2);
}

/// A completion, a message, a time.
fn a_turn_ends_for_each_of_its_reasons(cx: &Cx) {
    let mut hand = cx.hand(2);
    let (recv, mut end) = recv();
    let pending = accepted(hand.remote.try_push(recv));
    hand.turn();
    let soon = Instant::now() + Duration::from_millis(1);
    hand.server.turn(Wait::new().until(soon)).unwrap();
    assert!(Instant::now() >= soon, "nothing else has happened");

    let remote = hand.remote.clone();
    let sends = thread::spawn(move || accepted(remote.try_push(Nop::new())));
    let mut pushed = hand.server.driver().stats().pushed;
    while pushed == 1 {
        hand.server.turn(Wait::new()).unwrap();
        pushed = hand.server.driver().stats().pushed;
    }
    hand.finish(sends.join().unwrap()).0.unwrap();
    end.write_all(b"x").unwrap();
    hand.finish(pending).0.unwrap();
}

/// An operation of the raw layer, on a driver that serves: turns are errors until it is back.
fn raw_operations_in_flight(cx: &Cx) {
    let mut op = Timeout::after(LONG);
    let mut hand = cx.hand(2);
    let pending = accepted(hand.remote.try_push(Nop::new()));
    {
        // SAFETY: not in flight, and out of it before this function ends.
        let object = unsafe { OpObject::from_ptr(NonNull::from(&mut op), 5) };
        let driver = hand.server.driver();
        driver.try_push_dyn(object).unwrap();
        let busy = hand.server.turn(AT_ONCE).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        let busy = hand.server.turn(Wait::new()).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        let driver = hand.server.driver();
        driver.try_cancel(5).unwrap();
        let mut entry = None::<Entry>;
        while entry.is_none() {
            // SAFETY: `op` is not touched before its entry came.
            unsafe { driver.submit(None, &mut entry) }.unwrap();
        }
        assert_eq!(entry.unwrap().raw_os_error(), Some(code::ECANCELED));
    }
    hand.finish(pending).0.unwrap();
    hand.assert_whole(2);
}

/// Not read of, waiting for a slot, in flight, done, and given up in each: all are told, and every
/// buffer is dropped once.
fn dropped_with_operations_in_every_state(cx: &Cx) {
    let mut hand = cx.hand(8);
    let drops = Drops::default();
    let counted = || {
        let (ours, theirs) = kit::pair();
        (Recv::new(kit::owned(ours), drops.buffer()), theirs)
    };
    let remote = hand.remote.clone();
    let (done, mut done_end) = counted();
    let done = accepted(remote.try_push(done));
    let (done_unseen, mut unseen_end) = counted();
    let (in_flight, _end_1) = counted();
    let (given_up, _end_2) = counted();
    let (late_given_up, _end_3) = counted();
    hand.turn();
    done_end.write_all(b"x").unwrap();
    hand.settle();
    let done_unseen = accepted(remote.try_push(done_unseen));
    let in_flight = accepted(remote.try_push(in_flight));
    let given_up = accepted(remote.try_push(given_up));
    let late_given_up = accepted(remote.try_push(late_given_up));
    hand.turn();
    unseen_end.write_all(b"x").unwrap();
    drop(given_up);
    hand.turn();
    let (unread, _end_4) = counted();
    let unread = accepted(remote.try_push(unread));
    let (unread_given_up, _end_5) = counted();
    drop(accepted(remote.try_push(unread_given_up)));
    drop(late_given_up);
    drop(hand);
    assert!(remote.is_closed());
    assert_eq!(done.wait().0.unwrap(), 1);
    assert!([0, code::ECANCELED].contains(&errno(&done_unseen.wait().0)));
    assert_eq!(errno(&in_flight.wait().0), code::ECANCELED);
    assert_eq!(errno(&unread.wait().0), code::ECANCELED);
    assert_eq!(drops.count(), 7);
}

/// A key outlives its driver, as always.
fn dropped_with_keys_of_ones_own(cx: &Cx) {
    let mut hand = cx.hand(2);
    let (recv, _end) = recv();
    let key = hand.server.driver().try_push_owned(recv, 0).unwrap();
    let pending = accepted(hand.remote.try_push(Nop::new()));
    drop(hand);
    let (received, _) = key.redeem().unwrap();
    assert_eq!(errno(&received), code::ECANCELED);
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
}

/// Its driver is still there for others.
fn a_server_that_was_run(cx: &Cx) {
    let mut hand = cx.hand(2);
    hand.remote.close();
    hand.server.run().unwrap();
    hand.server.run().unwrap();
    let key = hand.server.driver().try_push_owned(Nop::new(), 0).unwrap();
    while !key.is_done() {
        hand.server.turn(Wait::new()).unwrap();
    }
    key.redeem().unwrap().0.unwrap();
    let driver: &mut Driver<'static> = hand.server.driver();
    assert_eq!(driver.in_flight(), 0);
}

/// A turn that has woken somebody does not go to sleep over it.
fn turns_wake_keys_while_room_is_made(cx: &Cx) {
    let mut hand = cx.hand_with(cx.builder(4).entries(1));
    let waker = Count::new();
    for _ in 0..10 {
        let mut key = hand.server.driver().try_push_owned(Nop::new(), 0).unwrap();
        assert!(waker.poll(&mut key).is_pending());
        let held: Vec<(_, OwnedFd)> = (0..3)
            .map(|_| {
                let (recv, end) = recv();
                (accepted(hand.remote.try_push(recv)), kit::owned(end))
            })
            .collect();
        // Nothing but the key can end it.
        while !key.is_done() {
            hand.server.turn(Wait::new()).unwrap();
        }
        assert!(waker.poll(&mut key).is_ready());
        drop(held);
        hand.settle();
    }
    assert_eq!(waker.woken(), 10);
}

/// A loop of one's own looks at tokens only; or another thread gets to wake.
fn what_others_take_out_wakes_all_the_same(cx: &Cx) {
    for elsewhere in [false, true] {
        let mut hand = cx.hand(2);
        let (recv, mut end) = recv();
        let mut pending = accepted(hand.remote.try_push(recv));
        let waker = Count::new();
        assert!(waker.poll(&mut pending).is_pending());
        hand.turn();
        end.write_all(b"text").unwrap();
        let driver = hand.server.driver();
        let finished = loop {
            if let Some(finished) = driver.next_finished() {
                break finished;
            }
            driver
                .scope(|s| s.submit(None, &mut None))
                .unwrap()
                .unwrap();
        };
        if elsewhere {
            thread::spawn(move || finished.wake()).join().unwrap();
            // It ends a wait, as it would have if the driver had slept by then.
            hand.server.turn(Wait::new()).unwrap();
        } else {
            assert_eq!(finished.token(), 0);
            drop(finished);
        }
        hand.turn();
        assert_eq!(waker.woken(), 1);
        assert_eq!(hand.finish(pending).0.unwrap(), 4);
    }
}

/// Nobody waits for ever.
fn a_driver_that_was_exchanged(cx: &Cx) {
    let mut other = cx.builder(2).build().unwrap();
    let mut hand = cx.hand(2);
    let (recv, _end) = recv();
    let pending = accepted(hand.remote.try_push(recv));
    hand.turn();
    std::mem::swap(hand.server.driver(), &mut other);
    drop(hand);
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pending.wait().1));
    assert!(waited.is_err(), "it was lost");
}
