//! Deadlines that the driver keeps itself: of what the kernel's workers wait in, and of several
//! flights. I1, I5, I9, I12.

use crate::exact::swallow;
#[cfg(target_os = "linux")]
use crate::kit::small_pipe;
use crate::kit::{self, code, kind};
use crate::ledger::Cx;
use crate::races::{ROUNDS, Rival, round};
use crate::region::Region;
use crate::steps;
#[cfg(unix)]
use crate::stream::ROOM;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsRawFd, CompleteIo, Entry, PreparedWait, Refusal};
use completeio_driver::op::{self, Deadline, Exact, ReadAt, Recv, Send, Splice, Tee, WriteAt};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

contract! {
    everywhere: [
        exact_in_time,
        an_exact_receive_says_how_far_it_came,
        a_push_begins_the_time_anew,
        exact_errors_are_unchanged,
    ],
    on_host: [
        no_piece_begins_the_time_anew,
        received_or_timed_out,
    ],
    on_unix: [
        no_flight_begins_after_the_deadline,
    ],
    on_linux: [
        between_two_in_time,
        between_two_out_of_time,
        for_each_end_that_is_waited_for,
        a_passed_deadline_of_a_splice,
        cancelled_before_the_deadline,
        refused_operations,
        more_deadlines_than_cancellations,
        moved_or_timed_out,
        moved_or_cancelled,
        exact_sends_and_pipes,
        by_a_scope,
        by_a_slot,
        by_foreign_loop,
        a_driver_dropped_with_deadlines,
        others_complete_meanwhile,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

type Borrowed = completeio_driver::driver::BorrowedFd<'static>;

fn between(from: &File, to: &File) -> Splice<Borrowed, Borrowed> {
    Splice::new(kit::plain(from), kit::plain(to), 64)
}

fn receive(socket: &impl AsRawFd, len: usize) -> Exact<Recv<Borrowed, Vec<u8>>> {
    Exact::new(Recv::new(kit::plain(socket), Vec::with_capacity(len)))
}

#[track_caller]
fn is_cancelled<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    result.unwrap_err().raw_os_error() == Some(code::ECANCELED)
}

#[cfg(unix)]
fn between_two_in_time(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    // At once, and later.
    writer.write_all(b"a").unwrap();
    let op = Deadline::after(between(&reader, &middle), HOUR);
    assert_eq!(l.run(op).unwrap(), 1);
    let op = l.start(Deadline::after(between(&reader, &middle), HOUR), 1);
    l.hand_over();
    writer.write_all(b"bc").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 2);
    let (from, to) = (kit::plain(&reader), kit::plain(&middle));
    writer.write_all(b"d").unwrap();
    let op = Deadline::at(Tee::new(from, to, 64), Instant::now() + HOUR);
    assert_eq!(l.run(op).unwrap(), 1);
    let mut bytes = [0; 4];
    end.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"abcd");
}

/// I12: never early.
#[cfg(unix)]
fn between_two_out_of_time(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(between(&reader, &middle), SOON));
    for (n, micros) in [0, 1, 999, 4_000].repeat(3).into_iter().enumerate() {
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
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    }
    // It is gone: it takes nothing any more.
    writer.write_all(b"later").unwrap();
    assert_eq!(l.run(between(&reader, &middle)).unwrap(), 5);
    end.read_exact(&mut [0; 5]).unwrap();
}

#[cfg(target_os = "linux")]
fn for_each_end_that_is_waited_for(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = small_pipe();
    let (ours, _theirs) = kit::pair();
    let file = kit::file(b"text");
    let (_reader, mut full) = small_pipe();
    full.write_all(&[7; ROOM]).unwrap();
    let mut l = cx.ledger();
    let [empty, middle, full] = [&empty, &middle, &full].map(kit::plain);
    let (ours, file) = (kit::plain(&ours), kit::plain(&file));
    let fixed = l.register_fd(empty.as_raw_fd(), 3).unwrap();
    for (from, to) in [(empty, middle), (empty, file), (ours, middle), (file, full)] {
        let op = Splice::new(from, to, 64);
        assert_eq!(kind(l.run(Deadline::after(op, SOON))), ErrorKind::TimedOut);
    }
    let op = Splice::new(fixed, middle, 64);
    assert_eq!(kind(l.run(Deadline::after(op, SOON))), ErrorKind::TimedOut);
    let op = Tee::new(empty, middle, 64);
    assert_eq!(kind(l.run(Deadline::after(op, SOON))), ErrorKind::TimedOut);
}

/// Handed over before it is cancelled; io_uring's worker may come too late all the same.
#[cfg(unix)]
fn a_passed_deadline_of_a_splice(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    writer.write_all(b"x").unwrap();
    let mut l = cx.ledger();
    let past = Instant::now() - HOUR;
    match l.run(Deadline::at(between(&reader, &middle), past)) {
        Ok(n) => assert_eq!(n, 1),
        Err(error) => {
            assert!(cx.is_io_uring());
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert_eq!(kit::unread(&reader), 1);
        }
    }
}

/// A cancellation that comes first is told as one: pushed, handed over, between two flights.
#[cfg(unix)]
fn cancelled_before_the_deadline(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let (ours, mut theirs) = kit::pair();
    let mut l = cx.ledger();
    for (all, handed_over) in [(false, false), (true, false), (false, true), (true, true)] {
        let splice = l.start(Deadline::after(between(&empty, &middle), HOUR), 7);
        let exact = l.start(Deadline::after(receive(&ours, 8), HOUR), 8);
        if handed_over {
            l.hand_over();
            theirs.write_all(b"abc").unwrap();
            swallow(&mut l, &ours);
        }
        if all {
            l.try_cancel_all().unwrap();
        } else {
            l.try_cancel(7).unwrap();
            l.try_cancel(8).unwrap();
        }
        for entry in l.take(2) {
            if entry.user_data() == 7 {
                assert!(is_cancelled(l.finish(splice, entry)));
            } else {
                assert!(is_cancelled(l.finish(exact, entry)));
                let came = if handed_over { 3 } else { 0 };
                assert_eq!(l.op(exact).op().advanced(), came);
            }
        }
    }
}

#[cfg(unix)]
fn refused_operations(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    for _ in 0..3 {
        let op = between(&file, &empty).from_offset(u64::MAX);
        let (op, entry) = l.entry_of(Deadline::after(op, Duration::ZERO));
        assert_eq!(entry.refusal(), Some(Refusal::Offset));
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::InvalidInput);
    }
}

/// The driver has one reserved place for them, in each turn.
#[cfg(unix)]
fn more_deadlines_than_cancellations(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let mut l = cx.with(|limits| limits.cancels(1));
    let at = Instant::now() + SOON;
    let ops: Vec<_> = (0..5)
        .map(|n| l.start(Deadline::at(between(&empty, &middle), at), n))
        .collect();
    for entry in l.take(5) {
        let op = ops[entry.user_data()];
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    }
}

/// Moved or timed out, once, and never both.
#[cfg(unix)]
fn moved_or_timed_out(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(between(&reader, &middle), Duration::ZERO));
    let rival = Rival::new(move || writer.write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        l.op(op).set_after(Duration::from_micros(n as u64 % 200));
        l.push(op, n);
        rival.go();
        let entry = l.one();
        rival.wait();
        match l.finish(op, entry) {
            Ok(n) => {
                assert_eq!(n, 1);
                end.read_exact(&mut [0]).unwrap();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                (&reader).read_exact(&mut [0]).unwrap();
            }
        }
    }
    assert_eq!(kit::unread(&end), 0);
}

/// Moved, timed out, or cancelled.
#[cfg(unix)]
fn moved_or_cancelled(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(between(&reader, &middle), Duration::ZERO));
    let rival = Rival::new(move || writer.write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let delay = Duration::from_micros(n as u64 % 100);
        l.op(op).set_after(if n % 2 == 0 { delay } else { HOUR });
        let entry: Entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        match l.finish(op, entry) {
            Ok(_) => end.read_exact(&mut [0]).unwrap(),
            Err(error) => {
                let cancelled = error.raw_os_error() == Some(code::ECANCELED);
                let timed_out = error.kind() == ErrorKind::TimedOut;
                assert!(cancelled || n % 2 == 0 && timed_out, "{error}");
                (&reader).read_exact(&mut [0]).unwrap();
            }
        }
    }
    assert_eq!(kit::unread(&end), 0);
}

fn exact_in_time(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = receive(&ours, 8);
    let len = op.buf().capacity();
    let op = l.start(Deadline::after(op, HOUR), 7);
    for _ in 1..len {
        theirs.write_all(b"x").unwrap();
        swallow(&mut l, &ours);
    }
    theirs.write_all(b"y").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), len);
}

fn an_exact_receive_says_how_far_it_came(cx: &mut Cx) {
    for came in [&b""[..], b"abc"] {
        let (ours, mut theirs) = cx.pair();
        let mut l = cx.ledger();
        let start = Instant::now();
        let op = l.start(Deadline::after(receive(&ours, 8), SOON), 7);
        theirs.write_all(came).unwrap();
        let entry = l.one();
        assert!(start.elapsed() >= SOON);
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
        let exact = l.op(op).op();
        assert_eq!((exact.advanced(), &exact.buf()[..]), (came.len(), came));
        // It is gone: it takes nothing any more.
        theirs.write_all(b"later").unwrap();
        assert!(l.turn().is_empty());
        assert_eq!(ours.arrived(), b"later");
    }
}

/// With a time of its own for each flight it would be whole in the end.
fn no_piece_begins_the_time_anew(cx: &mut Cx) {
    const LEN: usize = 1 << 17;
    let (ours, mut theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = l.start(Deadline::after(receive(&ours, LEN), 5 * SOON), 7);
    let mut sent = 0;
    let entry = loop {
        theirs.write_all(b"x").unwrap();
        sent += 1;
        if let Some(entry) = l.turn().pop() {
            break entry;
        }
        assert!(sent < LEN, "it goes on and on");
    };
    assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    let came = l.op(op).op().advanced();
    assert_eq!(came + kit::arrived(&ours).len(), sent);
}

fn a_push_begins_the_time_anew(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = l.lend(Deadline::after(receive(&ours, 8), SOON));
    for n in 0..3 {
        let start = Instant::now();
        l.push(op, n);
        theirs.write_all(b"x").unwrap();
        let entry = l.one();
        assert!(start.elapsed() >= SOON);
        assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
        assert_eq!(l.op(op).op().advanced(), 1);
        l.op(op).op_mut().buf_mut().clear();
    }
}

/// The first one is tried, unless a worker comes too late; a call moves no more than 0x7fff_f000
/// bytes.
#[cfg(unix)]
fn no_flight_begins_after_the_deadline(cx: &mut Cx) {
    const LEN: usize = 5 << 30;
    let null = File::options().write(true).open("/dev/null").unwrap();
    let region = Region::new(LEN);
    let mut l = cx.ledger();
    let write = WriteAt::new(l.at(&null), 0, &*region.lend(0..LEN));
    let op = Deadline::after(Exact::new(write), Duration::ZERO);
    let (op, entry) = l.entry_of(op);
    assert_eq!(kind(l.finish(op, entry)), ErrorKind::TimedOut);
    assert!([0, 0x7fff_f000].contains(&l.op(op).op().advanced()));
}

fn exact_errors_are_unchanged(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for at in [Instant::now(), Instant::now() + HOUR] {
        let op = Exact::new(Recv::new(fd, [0; 4]));
        assert_eq!(l.errno(Deadline::at(op, at)), code::ENOTSOCK);
    }
    let op = Deadline::after(Exact::new(ReadAt::new(fd, 1, [0; 8])), HOUR);
    let (op, entry) = l.entry_of(op);
    assert_eq!(kind(l.finish(op, entry)), ErrorKind::UnexpectedEof);
    assert_eq!(l.op(op).op().advanced(), 3);
}

#[cfg(target_os = "linux")]
fn exact_sends_and_pipes(cx: &mut Cx) {
    let (ours, mut theirs) = kit::pair();
    let (mut end, writer) = small_pipe();
    let mut l = cx.ledger();
    let send = Exact::new(Send::new(kit::plain(&ours), vec![7; 1 << 22]));
    let write = Exact::new(op::Write::new(kit::plain(&writer), vec![7; 2 * ROOM]));
    let send = l.start(Deadline::after(send, SOON), 1);
    let write = l.start(Deadline::after(write, SOON), 2);
    for entry in l.take(2) {
        let advanced = if entry.user_data() == 1 {
            assert_eq!(kind(l.finish(send, entry)), ErrorKind::TimedOut);
            l.op(send).op().advanced()
        } else {
            assert_eq!(kind(l.finish(write, entry)), ErrorKind::TimedOut);
            l.op(write).op().advanced()
        };
        assert!(advanced > 0);
    }
    theirs.set_nonblocking(true).unwrap();
    let _would_block = theirs.read_to_end(&mut Vec::new());
    end.read_exact(&mut [0; ROOM]).unwrap();
}

/// Whole, or timed out after some, and nothing is lost.
fn received_or_timed_out(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = Exact::new(Recv::new(kit::plain(&ours), [0; 3]));
    let op = l.lend(Deadline::after(op, Duration::ZERO));
    let rival = Rival::new(move || {
        for _ in 0..3 {
            (&theirs).write_all(&[7]).unwrap();
        }
    });
    for n in 0..ROUNDS {
        l.op(op).set_after(Duration::from_micros(n as u64 % 50));
        l.push(op, n);
        rival.go();
        let entry = l.one();
        rival.wait();
        let came = match l.finish(op, entry) {
            Ok(n) => n,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                l.op(op).op().advanced()
            }
        };
        let mut rest = vec![0; 3 - came];
        (&ours).read_exact(&mut rest).unwrap();
    }
    assert_eq!(kit::unread(&ours), 0);
}

#[cfg(unix)]
fn by_a_scope(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let (ours, mut theirs) = kit::pair();
    let mut ops = [SOON, HOUR, HOUR].map(|time| Deadline::after(between(&empty, &middle), time));
    let mut exacts = [SOON, HOUR].map(|time| Deadline::after(receive(&ours, 8), time));
    theirs.write_all(b"x").unwrap();
    let mut l = cx.ledger();
    l.scope(|s| {
        let [late, cancelled, _left] = ops.each_mut().map(|op| s.try_lend(op, 7).unwrap());
        let done = steps::next(s);
        assert_eq!(kind(late.redeem(done).unwrap().0), ErrorKind::TimedOut);
        s.try_cancel(&cancelled).unwrap();
        let done = steps::next(s);
        assert!(is_cancelled(cancelled.redeem(done).unwrap().0));
        let [late, left] = &mut exacts;
        let (result, late) = steps::run(s, late);
        assert_eq!(kind(result), ErrorKind::TimedOut);
        assert_eq!(late.op().advanced(), 1);
        let _left = s.try_lend(left, 8).unwrap();
    })
    .unwrap();
}

#[cfg(unix)]
fn by_a_slot(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let owned = |file: &File| kit::owned(file.try_clone().unwrap());
    let op = |time| Deadline::after(Splice::new(owned(&empty), owned(&middle), 64), time);
    let mut l = cx.ledger();
    let key = l.try_push_owned(op(SOON), 1).unwrap();
    let orphan = l.try_push_owned(op(HOUR), 2).unwrap();
    let (result, _) = steps::outcome(&mut l, key);
    assert_eq!(kind(result), ErrorKind::TimedOut);
    drop(orphan);
    while l.in_flight() > 0 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
}

/// It is told until when it may sleep.
#[cfg(unix)]
fn by_foreign_loop(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let op = l.start(Deadline::after(between(&empty, &middle), SOON), 1);
    let mut entry = None;
    while entry.is_none() {
        if let PreparedWait::Until(until) = l.prepare_wait() {
            let left = until
                .expect("there is a deadline")
                .duration_since(Instant::now());
            kit::readable_within(&*l, i32::try_from(left.as_millis()).unwrap() + 1);
        }
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
    }
    assert_eq!(kind(l.finish(op, entry.unwrap())), ErrorKind::TimedOut);
}

/// I5.
#[cfg(unix)]
fn a_driver_dropped_with_deadlines(cx: &mut Cx) {
    for handed_over in [false, true] {
        for delay in [Duration::ZERO, Duration::from_micros(100), HOUR] {
            let (mut reader, mut writer) = kit::pipe();
            let (_end, middle) = kit::pipe();
            let (ours, mut theirs) = kit::pair();
            let mut l = cx.ledger();
            for n in 0..4 {
                l.start(Deadline::after(between(&reader, &middle), delay), n);
                l.start(Deadline::after(receive(&ours, 8), delay), n);
            }
            if handed_over {
                l.turn();
            }
            l.abandon();
            writer.write_all(b"later").unwrap();
            theirs.write_all(b"later").unwrap();
            reader.read_exact(&mut [0; 5]).unwrap();
            assert_eq!(kit::arrived(&ours), b"later", "nobody receives any more");
        }
    }
}

/// A submit that is satisfied each time keeps deadlines all the same.
#[cfg(unix)]
fn others_complete_meanwhile(cx: &mut Cx) {
    let (empty, _writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let late = l.start(Deadline::after(between(&empty, &middle), SOON), 1);
    let busy = l.lend(op::Nop::new());
    loop {
        l.push(busy, 2);
        let entry = l.one();
        if entry.user_data() == 1 {
            assert_eq!(kind(l.finish(late, entry)), ErrorKind::TimedOut);
            return;
        }
    }
}
