//! Scopes: what is lent comes back once, to its own ticket.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::steps::{errno, hand_over, next, run, start, take, tokens, turn};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsFd, AsRawFd, Cwd, Driver, OwnedFd, Wait};
use completeio_driver::op::{
    Accept, Close, Connect, Nop, OpenAt, ReadAt, Recv, Send, Timeout, WriteAt,
};
use completeio_driver::scope::{Event, ScopeError};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::ptr;
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        operations_leave_the_scope,
        refused_operations_complete,
        batches_beyond_the_queue,
        a_queue_keeps_what_does_not_fit,
        full_hands_the_loan_back,
        lent_and_pushed_at_once,
        take_back_undoes_a_loan,
        only_the_right_pair_is_taken_back,
        only_the_right_pair_is_redeemed,
        tokens_are_whole_numbers,
        lent_again_and_again,
        a_pushed_operation_is_cancelled,
        a_late_cancel_does_nothing,
        a_cancel_before_the_push_does_nothing,
        a_cancel_hits_its_own_operation,
        a_close_is_not_cancelled,
        a_deadline_ends_a_wait,
        a_wait_for_several,
        a_wait_without_end_is_refused,
        a_sink_without_room_is_refused,
        a_full_sink_loses_nothing,
        a_notifier_ends_a_wait,
        raw_operations_are_in_the_way,
        one_after_the_other,
        nested_on_two_drivers,
    ],
    on_host: [
        each_kind_of_operation,
        an_operation_in_flight_is_cancelled,
        cancels_are_counted_or_have_no_limit,
        on_a_driver_that_was_leaked,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

/// I1: every kind, with operations and buffers on the stack, gives its typed output once.
fn each_kind_of_operation(cx: &mut Cx) {
    let file = kit::file(b"before");
    let (ours, theirs) = kit::pair();
    let (listener, addr) = kit::listener();
    let socket = kit::tcp_socket();
    let path = kit::TempPath::new();
    fs::write(&*path, "opened").unwrap();
    let name = path.c_string();
    let (left, right) = kit::pair();
    let number = right.as_raw_fd();
    let (mut read_into, mut received_into) = ([0; 16], [0; 16]);
    let message = *b"a message";

    let mut l = cx.ledger();
    let mut nop = Nop::new();
    let mut write = WriteAt::new(file.as_fd(), 0, "after!");
    let attached = l.attach_fd(file.as_fd()).unwrap();
    let mut read = ReadAt::new(attached, 0, &mut read_into[..]);
    let mut recv = Recv::new(ours.as_fd(), &mut received_into[..]);
    let mut send = Send::new(theirs.as_fd(), &message[..]);
    let mut accept = Accept::new(listener.as_fd());
    let mut connect = Connect::new(socket.as_fd(), addr);
    let mut open = OpenAt::read(Cwd, name.as_c_str());
    let mut close = Close::new(kit::owned(right));
    let mut timeout = Timeout::after(Duration::from_micros(10));
    let mut opened = String::new();
    l.scope(|s| {
        run(s, &mut nop).0.unwrap();
        assert_eq!(run(s, &mut write).0.unwrap(), 6);
        assert_eq!(run(s, &mut read).0.unwrap(), 6);
        run(s, &mut timeout).0.unwrap();
        run(s, &mut close).0.unwrap();
        let file = run(s, &mut open).0.unwrap();
        opened = String::from_utf8(kit::contents(&File::from(file))).unwrap();

        let recv = start(s, &mut recv, 1);
        hand_over(s);
        assert_eq!(run(s, &mut send).0.unwrap(), message.len());
        let (received, recv) = recv.redeem(next(s)).unwrap();
        assert_eq!(received.unwrap(), message.len());
        assert_eq!(recv.buf()[..9], message);

        s.attach_fd(listener.as_fd()).unwrap();
        let accept = start(s, &mut accept, 2);
        let connect = start(s, &mut connect, 3);
        let mut done = take(s, 2);
        done.sort_by_key(|done| done.token());
        connect.redeem(done.remove(1)).unwrap().0.unwrap();
        let accepted = accept.redeem(done.remove(0)).unwrap().0.unwrap();
        assert!(accepted.addr.as_socket_addr().is_some());
    })
    .unwrap();
    assert_eq!(&read_into[..6], b"after!");
    assert_eq!(&received_into[..9], &message);
    assert_eq!(opened, "opened");
    assert!(!kit::is_open(number));
    drop(left);
    assert_eq!(l.in_flight(), 0);
}

/// A redeemed operation outlives the scope, for it was lent for longer.
fn operations_leave_the_scope(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let mut read = ReadAt::new(file.as_fd(), 0, Vec::with_capacity(16));
    let mut unused = Nop::new();
    let (read, unused) = l
        .scope(|s| {
            let (prepared, ticket) = s.lend(&mut unused, 0);
            (run(s, &mut read).1, ticket.take_back(prepared).unwrap())
        })
        .unwrap();
    assert_eq!(read.buf(), b"text");
    read.buf_mut().clear();
    l.scope(|s| run(s, unused).0).unwrap().unwrap();
}

/// What the driver refuses comes through the local completions, and to its own ticket.
fn refused_operations_complete(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let mut wrong = [(); 4].map(|()| ReadAt::new(file.as_fd(), u64::MAX, [0; 4]));
    let mut nops = [(); 4].map(|()| Nop::new());
    l.scope(|s| {
        let mut tickets: Vec<_> = wrong.iter_mut().map(Some).collect();
        for (n, nop) in nops.iter_mut().enumerate() {
            let _lent = start(s, nop, 100 + n);
            let op = tickets[n].take().unwrap();
            let ticket = start(s, op, n);
            let (mine, other): (Vec<_>, Vec<_>) =
                take(s, 2).into_iter().partition(|done| done.token() == n);
            assert_eq!(tokens(&other), [100 + n]);
            let [done] = <[_; 1]>::try_from(mine).unwrap();
            let (read, _) = ticket.redeem(done).unwrap();
            assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    })
    .unwrap();
}

/// I2: a queue that is longer than the submission queue, and than the credits, comes out whole.
fn batches_beyond_the_queue(cx: &mut Cx) {
    const COUNT: usize = 100;
    for in_flight in [4, 16, 256] {
        let mut l = cx.with(|limits| limits.entries(4).in_flight(in_flight));
        let mut nops = [(); COUNT].map(|()| Nop::new());
        l.scope(|s| {
            let mut queue = VecDeque::new();
            let mut tickets = Vec::new();
            for (n, nop) in nops.iter_mut().enumerate() {
                let (prepared, ticket) = s.lend(nop, n);
                queue.push_back(prepared);
                tickets.push(Some(ticket));
            }
            let mut left = COUNT;
            while left > 0 {
                let before = queue.len();
                let mut events = Vec::with_capacity(COUNT);
                s.submit_queue(&mut queue, Wait::new(), &mut events)
                    .unwrap();
                assert!(before == 0 || queue.len() < before, "it goes on");
                let first = queue.front().map_or(COUNT, |prepared| prepared.token());
                assert_eq!(first, COUNT - queue.len(), "what stays is in order");
                for event in events {
                    let done = event.done().unwrap();
                    let ticket = tickets[done.token()].take().expect("I1: completed twice");
                    ticket.redeem(done).unwrap().0.unwrap();
                    left -= 1;
                }
            }
        })
        .unwrap();
        assert_eq!(l.in_flight(), 0);
    }
}

/// I2: `push_queue` takes as many as there is room for, in order.
fn a_queue_keeps_what_does_not_fit(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(3));
    let mut nops = [(); 8].map(|()| Nop::new());
    l.scope(|s| {
        let mut queue: VecDeque<_> = nops
            .iter_mut()
            .enumerate()
            .map(|(n, nop)| s.lend(nop, n).0)
            .collect();
        for round in [0..3, 3..6, 6..8] {
            s.push_queue(&mut queue);
            s.push_queue(&mut queue);
            assert_eq!(queue.len(), 8 - round.end);
            assert_eq!(s.in_flight(), round.len());
            let mut tokens = tokens(&take(s, round.len()));
            tokens.sort_unstable();
            assert_eq!(tokens, round.collect::<Vec<_>>());
        }
    })
    .unwrap();
}

/// I2: nothing is accepted when full, and the operation is not lost.
fn full_hands_the_loan_back(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(2));
    let mut nops = [(); 2].map(|()| Nop::new());
    let (mut third, mut fourth) = (Nop::new(), Nop::new());
    l.scope(|s| {
        for (n, nop) in nops.iter_mut().enumerate() {
            let _lent = start(s, nop, n);
        }
        let before = s.stats();
        let (prepared, ticket) = s.lend(&mut third, 3);
        let prepared = s.try_push(prepared).unwrap_err().into_inner();
        assert_eq!(prepared.token(), 3);
        let prepared = s.try_push(prepared).unwrap_err().into_inner();
        let (other, other_ticket) = s.lend(&mut fourth, 4);
        let other = s.try_push(other).unwrap_err().into_inner();
        assert_eq!(s.stats(), before, "nothing else was done");
        assert!(other_ticket.take_back(other).is_ok());
        assert_eq!(take(s, 2).len(), 2);
        s.try_push(prepared).unwrap();
        ticket.redeem(next(s)).unwrap().0.unwrap();
    })
    .unwrap();
}

/// One step instead of two: the same events, and the loan itself when there is no room.
fn lent_and_pushed_at_once(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.in_flight(2));
    let mut nops = [(); 2].map(|()| Nop::new());
    let mut wrong = ReadAt::new(Cwd, u64::MAX, [0; 4]);
    let mut pending = Timeout::after(HOUR);
    let mut close = Close::new(OwnedFd::from(cx.pair().0));
    l.scope(|s| {
        let [first, second] = nops.each_mut();
        let first = s.try_lend(first, usize::MAX).unwrap();
        let refused = s.try_lend(&mut wrong, 7).unwrap();
        let before = s.stats();
        let address = ptr::from_ref(second);
        let second = s.try_lend(second, 8).unwrap_err().into_inner();
        assert!(ptr::eq(second, address));
        assert_eq!(s.stats(), before, "nothing else was done");
        let mut done = take(s, 2);
        done.sort_unstable_by_key(|done| done.token());
        let [refusal, nop] = done.try_into().unwrap();
        assert_eq!((refusal.token(), nop.token()), (7, usize::MAX));
        let error = refused.redeem(refusal).unwrap().0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let (output, first) = first.redeem(nop).unwrap();
        output.unwrap();

        // Its end is cancelled, and it can be lent again.
        let ticket = s.try_lend(&mut pending, 9).unwrap();
        hand_over(s);
        s.try_cancel(&ticket).unwrap();
        assert_eq!(
            errno(ticket.redeem(next(s)).unwrap().0),
            kit::code::ECANCELED
        );
        for nop in [first, second] {
            let ticket = s.try_lend(nop, 10).unwrap();
            ticket.redeem(next(s)).unwrap().0.unwrap();
        }
        // Neither half is missed at the end.
        let _lost = s.try_lend(&mut close, 11).unwrap();
    })
    .unwrap();
}

/// An operation that was never pushed can be lent anew at once.
fn take_back_undoes_a_loan(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut nop = Nop::new();
    l.scope(|s| {
        let mut nop = &mut nop;
        for n in 0..10 {
            let (prepared, ticket) = s.lend(nop, n);
            nop = ticket.take_back(prepared).unwrap();
        }
        assert_eq!(s.in_flight(), 0);
        run(s, nop).0.unwrap();
        assert_eq!(s.stats().pushed, 1);
    })
    .unwrap();
}

/// Halves of two loans stay apart, and are none the worse for the attempt.
fn only_the_right_pair_is_taken_back(cx: &mut Cx) {
    let mut l = cx.ledger();
    let [mut a, mut b] = [1, 2].map(|n| Timeout::after(n * HOUR));
    l.scope(|s| {
        let (prepared_a, a) = s.lend(&mut a, 1);
        let (prepared_b, b) = s.lend(&mut b, 2);
        let (a, prepared_b) = a.take_back(prepared_b).unwrap_err();
        let (b, prepared_a) = b.take_back(prepared_a).unwrap_err();
        assert_eq!((prepared_a.token(), prepared_b.token()), (1, 2));
        a.take_back(prepared_a).unwrap();
        b.take_back(prepared_b).unwrap();
    })
    .unwrap();
}

/// A completion is only for the ticket of its own operation.
fn only_the_right_pair_is_redeemed(cx: &mut Cx) {
    let file = cx.file(b"0123456789");
    let mut l = cx.ledger();
    let [mut a, mut b] =
        [2, 4].map(|n| ReadAt::new(file.as_fd(), 0, vec![0; n].into_boxed_slice()));
    l.scope(|s| {
        // Under one token: that is no identity.
        let a = start(s, &mut a, 7);
        let b = start(s, &mut b, 7);
        let mut done = take(s, 2);
        let is_a = |read: &_| matches!(read, Ok(2));
        let of_a = done.iter().position(|done| is_a(&done.result())).unwrap();
        let (done_a, done_b) = (done.remove(of_a), done.remove(0));
        let (a, done_b) = a.redeem(done_b).unwrap_err();
        let (b, done_a) = b.redeem(done_a).unwrap_err();
        assert_eq!(a.redeem(done_a).unwrap().0.unwrap(), 2);
        assert_eq!(b.redeem(done_b).unwrap().0.unwrap(), 4);
    })
    .unwrap();
}

/// The driver's bits are not taken from a token, as they are from raw user data.
fn tokens_are_whole_numbers(cx: &mut Cx) {
    let all = [0, 1, 1 << 61, 1 << 62, 1 << 63, usize::MAX - 1, usize::MAX];
    let mut l = cx.ledger();
    let mut nops = all.map(|_| Nop::new());
    let mut wrong = all.map(|_| ReadAt::new(Cwd, u64::MAX, [0; 4]));
    l.scope(|s| {
        for ((token, nop), wrong) in all.into_iter().zip(&mut nops).zip(&mut wrong) {
            let (prepared, ticket) = s.lend(nop, token);
            assert_eq!(prepared.token(), token);
            s.try_push(prepared).unwrap();
            let done = next(s);
            assert_eq!(done.token(), token);
            ticket.redeem(done).unwrap().0.unwrap();
            let ticket = start(s, wrong, token);
            let mut event = None;
            s.submit(None, &mut event).unwrap();
            let event: Event<'_> = event.unwrap();
            assert_eq!(event.token(), token);
            ticket.redeem(event.done().unwrap()).unwrap().0.unwrap_err();
        }
    })
    .unwrap();
}

/// An operation goes round as often as it likes, with its buffer changed between.
fn lent_again_and_again(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), Vec::with_capacity(1));
    let mut send = Send::new(theirs.as_fd(), [0]);
    l.scope(|s| {
        let (mut recv, mut send) = (&mut recv, &mut send);
        for round in 0..=u8::MAX {
            recv.buf_mut().clear();
            send.buf_mut()[0] = round;
            let receiving = start(s, recv, 1);
            if round % 2 == 0 {
                hand_over(s);
            }
            let sending = start(s, send, 2);
            let mut done = take(s, 2);
            done.sort_by_key(|done| done.token());
            let sent;
            (sent, send) = sending.redeem(done.remove(1)).unwrap();
            assert_eq!(sent.unwrap(), 1);
            let received;
            (received, recv) = receiving.redeem(done.remove(0)).unwrap();
            assert_eq!(received.unwrap(), 1);
            assert_eq!(recv.buf(), &[round]);
        }
        assert_eq!(s.stats().pushed, 512);
    })
    .unwrap();
}

/// I4: what was pushed and not submitted is cancelled like everything else.
fn a_pushed_operation_is_cancelled(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    l.scope(|s| {
        let ticket = start(s, &mut recv, 1);
        s.try_cancel(&ticket).unwrap();
        let (received, _) = ticket.redeem(next(s)).unwrap();
        assert_eq!(errno(received), kit::code::ECANCELED);
        (&theirs).write_all(b"later").unwrap();
        assert!(turn(s).is_empty());
    })
    .unwrap();
    assert_eq!(ours.arrived(), b"later");
}

/// I4: one end each, for whatever pends; a second request changes nothing.
fn an_operation_in_flight_is_cancelled(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    let mut accept = Accept::new(listener.as_fd());
    let mut timeout = Timeout::after(HOUR);
    l.scope(|s| {
        let recv = start(s, &mut recv, 1);
        let accept = start(s, &mut accept, 2);
        let timeout = start(s, &mut timeout, 3);
        hand_over(s);
        s.try_cancel(&accept).unwrap();
        s.try_cancel(&accept).unwrap();
        assert_eq!(
            errno(accept.redeem(next(s)).unwrap().0),
            kit::code::ECANCELED
        );
        s.try_cancel(&timeout).unwrap();
        assert_eq!(
            errno(timeout.redeem(next(s)).unwrap().0),
            kit::code::ECANCELED
        );
        s.try_cancel(&recv).unwrap();
        assert_eq!(errno(recv.redeem(next(s)).unwrap().0), kit::code::ECANCELED);
        hand_over(s);
        assert_eq!((s.in_flight(), s.stats().cancelled), (0, 4));
    })
    .unwrap();
}

/// I4: a cancellation that comes after the completion hits neither it nor the next loan.
fn a_late_cancel_does_nothing(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    l.scope(|s| {
        (&theirs).write_all(b"first").unwrap();
        let ticket = start(s, &mut recv, 1);
        let done = next(s);
        s.try_cancel(&ticket).unwrap();
        let (received, recv) = ticket.redeem(done).unwrap();
        assert_eq!(received.unwrap(), 5);
        let ticket = start(s, recv, 2);
        hand_over(s);
        (&theirs).write_all(b"second").unwrap();
        assert_eq!(ticket.redeem(next(s)).unwrap().0.unwrap(), 6);
    })
    .unwrap();
}

/// I4: a cancellation is for what was pushed before it.
fn a_cancel_before_the_push_does_nothing(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    l.scope(|s| {
        let (prepared, ticket) = s.lend(&mut recv, 1);
        s.try_cancel(&ticket).unwrap();
        s.try_push(prepared).unwrap();
        hand_over(s);
        (&theirs).write_all(b"text").unwrap();
        assert_eq!(ticket.redeem(next(s)).unwrap().0.unwrap(), 4);
    })
    .unwrap();
}

/// I4: whatever has the same token.
fn a_cancel_hits_its_own_operation(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recvs = [(); 8].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    l.scope(|s| {
        let mut tickets: Vec<_> = recvs.iter_mut().map(|recv| start(s, recv, 7)).collect();
        hand_over(s);
        // From the middle outwards.
        for index in [4, 3, 3, 3, 2, 0, 1, 0] {
            let ticket = tickets.remove(index);
            s.try_cancel(&ticket).unwrap();
            let (received, _) = ticket.redeem(next(s)).expect("no other one");
            assert_eq!(errno(received), kit::code::ECANCELED);
        }
    })
    .unwrap();
}

/// I16: its descriptor is closed, whoever wanted to cancel that.
fn a_close_is_not_cancelled(cx: &mut Cx) {
    let (_ours, theirs) = cx.pair();
    let number = theirs.as_raw_fd();
    let mut l = cx.ledger();
    let mut close = Close::new(kit::owned(theirs));
    l.scope(|s| {
        let ticket = start(s, &mut close, 1);
        s.try_cancel(&ticket).unwrap();
        ticket.redeem(next(s)).unwrap().0.unwrap();
    })
    .unwrap();
    assert!(!kit::is_open(number));
}

/// Full is an answer here too, and nothing of what was asked for is lost.
fn cancels_are_counted_or_have_no_limit(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let mut l = cx.with(|limits| limits.cancels(2));
    let mut recvs = [(); 5].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    let ring = cx.is_io_uring();
    l.scope(|s| {
        let tickets: Vec<_> = recvs.iter_mut().map(|recv| start(s, recv, 0)).collect();
        hand_over(s);
        let asked = tickets.iter().filter(|ticket| s.try_cancel(ticket).is_ok());
        assert_eq!(asked.count(), if ring { 2 } else { 5 });
        let ended = take(s, if ring { 2 } else { 5 });
        assert_eq!(s.in_flight(), 5 - ended.len());
        hand_over(s);
    })
    .unwrap();
}

/// A wait ends without an event when its time is over; the operation stays in flight.
fn a_deadline_ends_a_wait(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    l.scope(|s| {
        let ticket = start(s, &mut recv, 1);
        for after in [Duration::ZERO, Duration::from_millis(1)] {
            let mut event = None;
            let deadline = Instant::now() + after;
            s.submit_until(Wait::new().until(deadline), &mut event)
                .unwrap();
            assert!(Instant::now() >= deadline);
            assert!(event.is_none());
        }
        (&theirs).write_all(b"text").unwrap();
        assert_eq!(ticket.redeem(next(s)).unwrap().0.unwrap(), 4);
    })
    .unwrap();
}

/// A wait for more than one does not end with the first.
fn a_wait_for_several(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut timeouts = [1, 300, 600].map(|n| Timeout::after(Duration::from_micros(n)));
    l.scope(|s| {
        for (n, timeout) in timeouts.iter_mut().enumerate() {
            let _lent = start(s, timeout, n);
        }
        let mut events = Vec::with_capacity(3);
        s.submit_until(Wait::new().at_least(3), &mut events)
            .unwrap();
        assert_eq!(events.len(), 3);
    })
    .unwrap();
}

/// Nothing in flight, nobody to ring, no time: an error and no hang.
fn a_wait_without_end_is_refused(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.scope(|s| {
        let error = s.submit(None, &mut None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadlock);
        s.submit(Some(Duration::ZERO), &mut None).unwrap();
    })
    .unwrap();
}

/// No room at all is an error and not a wait; nothing is lost by it.
fn a_sink_without_room_is_refused(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut nop = Nop::new();
    l.scope(|s| {
        let ticket = start(s, &mut nop, 1);
        let error = s.submit(None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        ticket.redeem(next(s)).unwrap().0.unwrap();
    })
    .unwrap();
}

/// I2: what has no room in a sink comes out of the next submit, refused operations included.
fn a_full_sink_loses_nothing(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut nops = [(); 8].map(|()| Nop::new());
    let mut wrong = [(); 8].map(|()| ReadAt::new(Cwd, u64::MAX, [0; 4]));
    l.scope(|s| {
        for (n, (nop, wrong)) in nops.iter_mut().zip(&mut wrong).enumerate() {
            let _lent = (start(s, nop, 2 * n), start(s, wrong, 2 * n + 1));
        }
        let mut seen = Vec::new();
        while seen.len() < 16 {
            let mut events = Vec::with_capacity(3);
            s.submit(None, &mut events).unwrap();
            assert!((1..=3).contains(&events.len()));
            seen.extend(events.iter().map(Event::token));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..16).collect::<Vec<_>>());
    })
    .unwrap();
}

/// I14: another thread ends a wait inside a scope, and is no event.
fn a_notifier_ends_a_wait(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    l.scope(|s| {
        let ticket = start(s, &mut recv, 1);
        for _ in 0..10 {
            let notifier = s.notifier();
            let thread = thread::spawn(move || notifier.notify());
            let mut event = None;
            s.submit(None, &mut event).unwrap();
            assert!(event.is_none());
            thread.join().unwrap();
        }
        assert_eq!(s.stats().wake_ups, 10);
        (&theirs).write_all(b"text").unwrap();
        assert_eq!(ticket.redeem(next(s)).unwrap().0.unwrap(), 4);
    })
    .unwrap();
}

/// A scope would submit what raw code has pushed without its owner's promise: it does not begin.
fn raw_operations_are_in_the_way(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let refused = |l: &mut Ledger, n| {
        let error = l.scope(|_| panic!("it is not run")).unwrap_err();
        assert_eq!(error, ScopeError::RawInFlight(n));
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(error.to_string().starts_with(&n.to_string()), "{error}");
    };
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    refused(&mut l, 1); // Pushed.
    l.start(Nop::new(), 2);
    refused(&mut l, 2);
    assert_eq!(kit::names(&l.take(1)), [2]);
    refused(&mut l, 1); // In flight.
    (&theirs).write_all(b"text").unwrap();
    l.start(Nop::new(), 3);
    // Completed, and not taken out.
    for left in [2, 1] {
        refused(&mut l, left);
        l.one();
    }
    let mut nop = Nop::new();
    l.scope(|s| run(s, &mut nop).0).unwrap().unwrap();
}

/// `'env` is the scope's own: the driver may live for ever.
fn on_a_driver_that_was_leaked(cx: &mut Cx) {
    fn go(driver: &'static mut Driver<'static>) {
        let file = kit::file(b"text");
        let mut buffer = [0; 4];
        let mut read = ReadAt::new(file.as_fd(), 0, &mut buffer[..]);
        driver.scope(|s| run(s, &mut read).0.unwrap()).unwrap();
        assert_eq!(&buffer, b"text");
    }
    let driver = Box::into_raw(Box::new(cx.driver(|limits| limits)));
    // SAFETY: leaked a line before, and used through this reference alone.
    go(unsafe { &mut *driver });
    // SAFETY: leaked above, and nobody uses it any more.
    drop(unsafe { Box::from_raw(driver) });
}

/// What one scope has left in flight is over when the next begins.
fn one_after_the_other(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), Vec::with_capacity(16));
    for round in 1..=3 {
        l.scope(|s| {
            let _lost = start(s, &mut recv, round);
            hand_over(s);
        })
        .unwrap();
        assert_eq!(l.in_flight(), 0);
        l.scope(|s| {
            let ticket = start(s, &mut recv, 10 + round);
            hand_over(s);
            (&theirs).write_all(b"text").unwrap();
            let done = next(s);
            assert_eq!(done.token(), 10 + round);
            let (received, recv) = ticket.redeem(done).unwrap();
            assert_eq!(received.unwrap(), 4);
            recv.buf_mut().clear();
        })
        .unwrap();
    }
    assert_eq!(ours.arrived(), []);
}

/// Each waits for what the other's operation causes; both end with something in flight.
fn nested_on_two_drivers(cx: &mut Cx) {
    let (left, right) = cx.pair();
    let (mut outer, mut inner) = (cx.ledger(), cx.ledger());
    let mut outer_recv = Recv::new(left.as_fd(), [0; 8]);
    let mut outer_send = Send::new(left.as_fd(), "to inner");
    let mut outer_last = Recv::new(left.as_fd(), [0; 8]);
    let mut inner_recv = Recv::new(right.as_fd(), [0; 8]);
    let mut inner_send = Send::new(right.as_fd(), "to outer");
    let mut inner_last = Recv::new(right.as_fd(), [0; 8]);
    outer
        .scope(|a| {
            let a_recv = start(a, &mut outer_recv, 1);
            hand_over(a);
            inner
                .scope(|b| {
                    let b_recv = start(b, &mut inner_recv, 1);
                    hand_over(b);
                    assert_eq!(run(b, &mut inner_send).0.unwrap(), 8);
                    let (received, op) = a_recv.redeem(next(a)).unwrap();
                    assert_eq!(received.unwrap(), 8);
                    assert_eq!(op.buf(), b"to outer");
                    assert_eq!(run(a, &mut outer_send).0.unwrap(), 8);
                    let (received, op) = b_recv.redeem(next(b)).unwrap();
                    assert_eq!(received.unwrap(), 8);
                    assert_eq!(op.buf(), b"to inner");
                    let _lent = start(b, &mut inner_last, 3);
                    let _lent = start(a, &mut outer_last, 3);
                    hand_over(b);
                    hand_over(a);
                })
                .unwrap();
            assert_eq!(a.in_flight(), 1, "only the inner one has ended");
        })
        .unwrap();
    assert_eq!((outer.in_flight(), inner.in_flight()), (0, 0));
    (&left).write_all(b"later").unwrap();
    assert_eq!(right.arrived(), b"later");
}
