//! Deadlines: an operation completes, or its time is over; once, and never early.

use crate::kit::{self, kind};
use crate::ledger::{Cx, Ledger};
use crate::races::{ROUNDS, Rival, round};
use crate::steps;
use completeio_driver::address::Address;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsFd, AsRawFd, BorrowedFd, CompleteIo, Cwd, Entry, Refusal, Wait};
use completeio_driver::op::{
    self, Accept, Connect, Deadline, MsgFlags, Nop, OpenAt, Poll, PollEvents, ReadAt, Recv, Send,
    Timeout, WriteAt,
};
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

contract! {
    everywhere: [
        in_time,
        out_of_time,
        a_passed_deadline,
        far_deadlines,
        timeouts_under_a_deadline,
        errors_are_unchanged,
        cancelled_before_the_deadline,
        cancelled_before_it_was_handed_over,
        refused_operations,
        a_file_in_time,
        streams,
        counted_from_the_push,
        a_deadline_for_each_of_a_full_queue,
        batches_of_both_kinds,
        a_deadline_ends_no_other_operation,
        one_name_for_two,
        a_driver_dropped_with_deadlines,
        what_was_only_pushed_is_not_executed,
    ],
    on_host: [
        what_has_moved_is_not_lost,
        a_queue_of_the_largest_size,
        by_a_scope,
        by_a_slot,
        descriptors_are_not_lost,
        receive_or_timed_out,
        receive_or_cancelled,
        by_foreign_loop,
    ],
    on_unix: [
        each_kind_that_waits,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

fn pending(socket: &impl AsRawFd) -> Recv<BorrowedFd<'static>, [u8; 8]> {
    Recv::new(kit::plain(socket), [0; 8])
}

fn in_time(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    // At once, and later.
    (&theirs).write_all(b"x").unwrap();
    assert_eq!(l.run(Deadline::after(pending(&ours), HOUR)).unwrap(), 1);
    let op = l.start(Deadline::after(pending(&ours), HOUR), 1);
    l.hand_over();
    (&theirs).write_all(b"yz").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 2);
    assert_eq!(&l.op(op).op().buf()[..2], b"yz");
    assert!(l.turn().is_empty());
    assert_eq!(l.stats().completed, 2);
}

/// I12: never early, and `ECANCELED` in the entry.
fn out_of_time(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(pending(&ours), Duration::ZERO));
    for (n, micros) in [0, 1, 50, 999, 1_001, 4_000]
        .repeat(5)
        .into_iter()
        .enumerate()
    {
        let duration = Duration::from_micros(micros);
        let start = Instant::now();
        if n % 2 == 0 {
            l.op(op).set_after(duration);
        } else {
            l.op(op).set_at(start + duration);
        }
        l.push(op, n);
        let entry = l.one();
        assert!(start.elapsed() >= duration);
        assert_eq!(entry.raw_os_error(), Some(kit::code::ECANCELED));
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    }
}

#[cfg(unix)]
fn each_kind_that_waits(cx: &mut Cx) {
    let (full, _peer) = kit::pair();
    full.set_nonblocking(true).unwrap();
    while (&full).write(&[0; 4096]).is_ok() {}
    let (silent, _theirs) = kit::pair();
    let (deaf, _) = kit::listener();
    let (_listener, addr, _clients) = kit::full_listener();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let out = PollEvents::WRITABLE;
    let full = kit::plain(&full);
    assert_eq!(
        kind(l.run(Deadline::after(Send::new(full, "x"), SOON))),
        ErrorKind::TimedOut
    );
    assert_eq!(
        kind(l.run(Deadline::after(Poll::new(full, out), SOON))),
        ErrorKind::TimedOut
    );
    assert_eq!(
        kind(l.run(Deadline::after(pending(&silent), SOON))),
        ErrorKind::TimedOut
    );
    let fd = l.at(&deaf);
    assert_eq!(
        kind(l.run(Deadline::after(Accept::new(fd), SOON))),
        ErrorKind::TimedOut
    );
    let connect = Connect::new(kit::plain(&socket), Address::from(addr));
    assert_eq!(
        kind(l.run(Deadline::after(connect, SOON))),
        ErrorKind::TimedOut
    );
    let fixed = l.register_fd(silent.as_raw_fd(), 3).unwrap();
    let recv = Recv::new(fixed, [0; 8]);
    assert_eq!(
        kind(l.run(Deadline::after(recv, SOON))),
        ErrorKind::TimedOut
    );
}

/// It is tried once all the same.
fn a_passed_deadline(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let past = Instant::now() - HOUR;
    for at in [past, past - Duration::MAX, Instant::now()] {
        l.run(Deadline::at(Nop::new(), at)).unwrap();
        assert_eq!(
            kind(l.run(Deadline::at(pending(&ours), at))),
            ErrorKind::TimedOut
        );
        (&theirs).write_all(b"x").unwrap();
        assert_eq!(l.run(Deadline::at(pending(&ours), at)).unwrap(), 1);
    }
}

fn far_deadlines(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let fars = [
        HOUR,
        Duration::from_secs(u64::from(u32::MAX)),
        Duration::MAX,
    ];
    for (n, far) in fars.into_iter().enumerate() {
        l.start(Deadline::after(pending(&ours), far), n);
        l.start(Deadline::at(pending(&ours), Instant::now() + far), n + 10);
    }
    l.hand_over();
    l.submit(Some(SOON), &mut None).unwrap();
    assert_eq!(l.in_flight(), 6, "none has completed");
    (&theirs).write_all(&[0; 48]).unwrap();
    assert_eq!(kit::errnos(&l.take(6)), [0; 6]);
}

fn timeouts_under_a_deadline(cx: &mut Cx) {
    let mut l = cx.ledger();
    let short = Deadline::after(Timeout::after(SOON), HOUR);
    l.run(short).unwrap();
    let start = Instant::now();
    let long = Deadline::after(Timeout::after(HOUR), SOON);
    assert_eq!(kind(l.run(long)), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SOON);
}

fn what_has_moved_is_not_lost(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    (&theirs).write_all(b"part").unwrap();
    let recv = pending(&ours).flags(MsgFlags::WAIT_ALL);
    assert_eq!(l.run(Deadline::after(recv, SOON)).unwrap(), 4);
}

fn errors_are_unchanged(cx: &mut Cx) {
    let mut l = cx.ledger();
    let past = Instant::now();
    for at in [past, past + HOUR] {
        let closed = Recv::new(kit::number(kit::CLOSED), [0; 8]);
        assert_eq!(l.errno(Deadline::at(closed, at)), kit::code::NO_SOCKET);
        let missing = OpenAt::read(Cwd, c"/no such file");
        assert_eq!(
            l.errno(Deadline::at(missing, past + HOUR)),
            kit::code::NO_FILE
        );
    }
}

/// A cancellation that comes first is told as one.
fn cancelled_before_the_deadline(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    for how in 0..3 {
        let op = l.start(Deadline::after(pending(&ours), HOUR), 7);
        l.hand_over();
        match how {
            0 => l.try_cancel(7).unwrap(),
            1 => l.try_cancel_fd(&kit::plain(&ours)).unwrap(),
            _ => l.try_cancel_all().unwrap(),
        }
        let entry = l.one();
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
    }
}

fn cancelled_before_it_was_handed_over(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = l.start(Deadline::after(pending(&ours), HOUR), 7);
    l.try_cancel(7).unwrap();
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
}

fn refused_operations(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    for _ in 0..3 {
        let read = ReadAt::new(kit::plain(&file), u64::MAX, [0; 8]);
        let (op, entry) = l.entry_of(Deadline::after(read, Duration::ZERO));
        assert_eq!(entry.refusal(), Some(Refusal::Offset));
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::InvalidInput);
    }
    l.run(Deadline::after(Nop::new(), HOUR)).unwrap();
}

/// What does not wait for a peer: complete, whether it was fast enough or not.
fn a_file_in_time(cx: &mut Cx) {
    let file = cx.file(b"before");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    assert_eq!(
        l.run(Deadline::after(WriteAt::new(fd, 0, "after!"), HOUR))
            .unwrap(),
        6
    );
    let (op, entry) = l.entry_of(Deadline::after(ReadAt::new(fd, 0, [0; 8]), HOUR));
    assert_eq!(l.finish(op, entry).unwrap(), 6);
    assert_eq!(&l.op(op).op().buf()[..6], b"after!");
    for _ in 0..100 {
        match l.run(Deadline::after(ReadAt::new(fd, 0, [0; 8]), Duration::ZERO)) {
            Ok(n) => assert_eq!(n, 6),
            Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut),
        }
    }
}

/// Each push begins the time anew.
fn streams(cx: &mut Cx) {
    let (empty, _writer) = cx.pipe();
    let mut l = cx.ledger();
    let op = Deadline::after(op::Read::new(kit::plain(&empty), [0; 8]), SOON);
    assert_eq!(kind(l.run(op)), ErrorKind::TimedOut);
}

fn counted_from_the_push(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(pending(&ours), SOON));
    for n in 0..3 {
        let start = Instant::now();
        l.push(op, n);
        let entry = l.one();
        assert!(start.elapsed() >= SOON);
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    }
}

/// I2: a deadline takes no place of the operations'.
fn a_deadline_for_each_of_a_full_queue(cx: &mut Cx) {
    for entries in [1, 2, 3, 8, 64, 1024] {
        let (ours, theirs) = cx.pair();
        let mut l = cx.with(|limits| limits.entries(entries).in_flight(2 * entries));
        for batch in 0..2 {
            for n in 0..entries {
                assert_eq!(l.capacity_left(), entries - n);
                l.start(Deadline::after(pending(&ours), HOUR), batch * entries + n);
                // As many cancellations as there may be beside them.
                if n < 64 {
                    l.try_cancel(usize::MAX >> 4).unwrap();
                }
            }
            let more = l.lend(Nop::new());
            assert!(l.try_push(more, 1 << 30).is_err(), "it is full");
            l.hand_over();
        }
        assert_eq!(l.capacity_left(), 0, "no credit");
        (&theirs).write_all(&vec![0; 8 * entries]).unwrap();
        assert_eq!(kit::errnos(&l.take(entries)), vec![0; entries]);
        assert_eq!(l.capacity_left(), entries);
        l.try_cancel_all().unwrap();
        assert_eq!(
            kit::errnos(&l.take(entries)),
            vec![kit::code::ECANCELED; entries]
        );
    }
}

fn a_queue_of_the_largest_size(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(16384));
    let n = l.capacity_left();
    assert!(n > 16_000);
    let mut ops: Vec<_> = Vec::with_capacity(n);
    for i in 0..n {
        ops.push(l.start(Deadline::after(Nop::new(), HOUR), i));
    }
    assert_eq!(l.capacity_left(), 0);
    l.try_cancel(usize::MAX >> 4).unwrap();
    let entries = l.take(n);
    assert_eq!(kit::names(&entries), (0..n).collect::<Vec<_>>());
    assert_eq!(l.capacity_left(), n);
}

/// In one batch through a queue: those without a deadline are not linked to those with one.
fn batches_of_both_kinds(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(8));
    let mut queue = std::collections::VecDeque::new();
    let mut late = Vec::new();
    for n in 0..20 {
        if n % 2 == 0 {
            let op = l.lend(Nop::new());
            queue.push_back(l.object(op, n));
        } else {
            let op = l.lend(Deadline::after(pending(&ours), SOON));
            queue.push_back(l.object(op, n));
            late.push(op);
        }
    }
    let mut entries = Vec::with_capacity(20);
    while entries.len() < 20 {
        let left = 20 - entries.len();
        l.submit_queue(&mut queue, Wait::new().at_least(left), &mut entries)
            .unwrap();
    }
    assert!(queue.is_empty());
    for entry in entries {
        let n = entry.user_data();
        if n % 2 == 0 {
            assert_eq!(entry.into_result().unwrap(), 0);
        } else {
            assert_eq!(kind(l.finish(late[n / 2], entry)), ErrorKind::TimedOut);
        }
    }
}

fn a_deadline_ends_no_other_operation(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    for n in 0..8 {
        l.start(pending(&ours), n);
        l.start(Deadline::after(pending(&ours), SOON), n + 10);
        l.start(Deadline::after(pending(&ours), HOUR), n + 20);
    }
    let entries = l.take_sorted(8);
    assert_eq!(kit::names(&entries), (10..18).collect::<Vec<_>>());
    assert_eq!(kit::errnos(&entries), [kit::code::ECANCELED; 8]);
    // The names are used again: deadlines of the past are gone.
    for n in 10..18 {
        l.start(pending(&ours), n);
    }
    l.submit(Some(2 * SOON), &mut None).unwrap();
    assert_eq!(l.in_flight(), 24);
    (&theirs).write_all(&[0; 24 * 8]).unwrap();
    assert_eq!(kit::errnos(&l.take(24)), [0; 24]);
}

/// In the raw layer two may have one name. io_uring's kernel then cancels one of them.
fn one_name_for_two(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let limited = l.start(Deadline::after(pending(&ours), SOON), 7);
    l.start(pending(&ours), 7);
    let entry = l.one();
    assert_eq!(entry.raw_os_error(), Some(kit::code::ECANCELED));
    l.submit(Some(2 * SOON), &mut None).unwrap();
    assert_eq!(l.in_flight(), 1, "the other goes on");
    (&theirs).write_all(b"x").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 1);
    if !cx.is_io_uring() {
        assert_eq!(kind(l.finish(limited, entry)), ErrorKind::TimedOut);
    }
}

fn by_a_scope(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut ops = [(); 4].map(|()| Deadline::after(Recv::new(ours.as_fd(), [0; 8]), HOUR));
    let (mut accept, mut other) = {
        let accept = || Deadline::after(Accept::new(kit::owned(kit::listener().0)), SOON);
        (accept(), accept())
    };
    let mut l = cx.ledger();
    ops[1].set_after(SOON);
    l.scope(|s| {
        let [a, b, c, d] = ops.each_mut().map(|op| s.try_lend(op, 7).unwrap());
        let done = steps::next(s);
        assert_eq!(kind(b.redeem(done).unwrap().0), ErrorKind::TimedOut);
        s.try_cancel(&c).unwrap();
        let done = steps::next(s);
        assert_eq!(
            steps::errno(c.redeem(done).unwrap().0),
            kit::code::ECANCELED
        );
        s.try_cancel(&d).unwrap();
        let done = steps::next(s);
        assert_eq!(
            steps::errno(d.redeem(done).unwrap().0),
            kit::code::ECANCELED
        );
        (&theirs).write_all(b"x").unwrap();
        assert_eq!(a.redeem(steps::next(s)).unwrap().0.unwrap(), 1);
        let (result, _) = steps::run(s, &mut accept);
        assert_eq!(kind(result), ErrorKind::TimedOut);
        let _pending = s.try_lend(&mut other, 8).unwrap();
    })
    .unwrap();
}

fn by_a_slot(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let owned = || kit::owned(ours.try_clone().unwrap());
    let mut l = cx.ledger();
    let op = Deadline::after(Recv::new(owned(), vec![0; 8]), SOON);
    let key = l.try_push_owned(op, 1).unwrap();
    let far = Deadline::after(Recv::new(owned(), vec![0; 8]), HOUR);
    let orphan = l.try_push_owned(far, 2).unwrap();
    let (result, op) = steps::outcome(&mut l, key);
    assert_eq!(kind(result), ErrorKind::TimedOut);
    assert_eq!(op.op().buf().len(), 8);
    drop(orphan);
    while l.in_flight() > 0 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
}

/// I5.
fn a_driver_dropped_with_deadlines(cx: &mut Cx) {
    for handed_over in [false, true] {
        for delay in [Duration::ZERO, Duration::from_micros(100), HOUR] {
            let (ours, theirs) = cx.pair();
            let mut l = cx.ledger();
            for n in 0..8 {
                l.start(Deadline::after(pending(&ours), delay), n);
            }
            if handed_over {
                l.turn();
            }
            l.abandon();
            (&theirs).write_all(b"later").unwrap();
            assert_eq!(ours.arrived(), b"later", "nobody receives any more");
        }
    }
}

fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    l.start(
        Deadline::after(Send::new(kit::plain(&ours), "never"), HOUR),
        1,
    );
    l.abandon();
    assert_eq!(theirs.arrived(), []);
}

/// I16: an accept that comes about at its deadline.
fn descriptors_are_not_lost(cx: &mut Cx) {
    let (listener, addr) = kit::local_listener();
    let mut l = cx.ledger();
    let op = Accept::new(l.at(&listener));
    let op = l.lend(Deadline::after(op, Duration::ZERO));
    let mut clients = Vec::new();
    let rival = Rival::new(move || {
        clients.clear();
        clients.push(kit::connect(&addr));
    });
    listener.set_nonblocking(true).unwrap();
    for n in 0..ROUNDS {
        l.op(op).set_after(Duration::from_micros(n as u64 % 60));
        l.push(op, n);
        rival.go();
        let entry = l.one();
        rival.wait();
        match l.finish(op, entry) {
            Ok(_) => assert!(listener.accept().is_err()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                listener.accept().unwrap();
            }
        }
    }
}

/// Received or timed out, once, and never both.
fn receive_or_timed_out(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(pending(&ours), Duration::ZERO));
    let rival = Rival::new(move || (&theirs).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        l.op(op).set_after(Duration::from_micros(n as u64 % 50));
        l.push(op, n);
        rival.go();
        let entry = l.one();
        rival.wait();
        match l.finish(op, entry) {
            Ok(n) => assert_eq!(n, 1),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
            }
        }
    }
    assert_eq!(kit::arrived(&ours), []);
}

/// Received, timed out, or cancelled.
fn receive_or_cancelled(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(pending(&ours), Duration::ZERO));
    let rival = Rival::new(move || (&theirs).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let delay = Duration::from_micros(n as u64 % 30);
        l.op(op).set_after(if n % 2 == 0 { delay } else { HOUR });
        let entry: Entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        let result = l.finish(op, entry);
        if let Err(error) = &result {
            let cancelled = error.raw_os_error() == Some(kit::code::ECANCELED);
            assert!(
                cancelled || n % 2 == 0 && error.kind() == ErrorKind::TimedOut,
                "{error}"
            );
            assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
        }
    }
    assert_eq!(kit::arrived(&ours), []);
}

/// A foreign loop is told until when it may sleep, or is woken.
fn by_foreign_loop(cx: &mut Cx) {
    use completeio_driver::driver::PreparedWait;
    let (ours, _theirs) = kit::pair();
    let mut l: Ledger = cx.ledger();
    let op = l.start(Deadline::after(pending(&ours), SOON), 1);
    let mut entry = None;
    while entry.is_none() {
        if let PreparedWait::Until(until) = l.prepare_wait() {
            let left = until.map(|until| until.duration_since(Instant::now()));
            let millis = left.map_or(10_000, |left| i32::try_from(left.as_millis()).unwrap() + 1);
            kit::readable_within(&*l, millis);
        }
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
    }
    assert_eq!(kind(l.finish(op, entry.unwrap())), ErrorKind::TimedOut);
}
