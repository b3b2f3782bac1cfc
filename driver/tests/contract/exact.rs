//! I9: exact operations complete once, whole, or say how far they came.

use crate::ends::End;
use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::region::Region;
use crate::steps::{hand_over, next, run};
use completeio_driver::buf::{IntoInner, IoBufMut};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Entry, OwnedFd, PreparedWait};
use completeio_driver::op::{
    self, Exact, Nop, ReadAt, ReadVectoredAt, Recv, RecvExact, Send, WriteAt, WriteVectoredAt,
};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        a_receive_in_pieces,
        a_pipe_in_pieces,
        several_buffers_on_a_socket,
        whole_at_once,
        nothing_to_move,
        the_end_of_the_stream,
        the_end_of_the_file,
        a_peer_that_is_gone,
        cancelled_in_each_state,
        a_part_that_comes_with_the_cancel_is_the_last,
        cancelled_by_its_descriptor_and_with_all,
        cancelled_by_the_last_place,
        no_place_cancels_nothing,
        an_old_cancel_never_hits_a_new_one,
        a_driver_dropped_in_each_state,
        a_full_queue_and_one_that_goes_on,
        every_credit_one_that_goes_on,
        a_method_that_panics_at_the_rest,
        as_it_was_before,
    ],
    on_host: [
        a_send_in_pieces,
        more_than_one_call_moves,
        more_parts_than_one_call_takes,
        errors_arrive_unchanged,
        pushed_again_it_begins_anew,
        in_a_scope_and_at_its_end,
        owned_and_orphaned,
        a_foreign_loop,
    ],
}

/// A receive of so many bytes, and the other end.
fn receiving(l: &mut Ledger, len: usize) -> (RecvExact<OwnedFd, Vec<u8>>, End) {
    let (ours, theirs) = l.site.pair();
    l.at(&ours);
    let op = Recv::new(OwnedFd::from(ours), Vec::with_capacity(len));
    (Exact::new(op), theirs)
}

/// Turns until the driver has read what had arrived.
pub(crate) fn swallow(l: &mut Ledger, fd: &impl AsRawFd) {
    while kit::unread(fd) > 0 {
        l.hand_over();
    }
    l.hand_over();
}

fn a_receive_in_pieces(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (op, mut theirs) = receiving(&mut l, 10);
    let room = op.buf().capacity();
    let fd = op.get_ref().fd().as_raw_fd();
    let op = l.start(op, 7);
    let text: Vec<u8> = (0..=255).cycle().take(room).collect();
    for piece in text.chunks(3) {
        l.hand_over();
        theirs.write_all(piece).unwrap();
        if piece.as_ptr_range().end != text.as_ptr_range().end {
            swallow(&mut l, &kit::number(fd));
            assert_eq!(l.in_flight(), 1, "no entry for a piece");
        }
    }
    let entry = l.one();
    assert_eq!(entry.user_data(), 7);
    assert_eq!(l.finish(op, entry).unwrap(), room);
    assert_eq!(l.op(op).buf(), &text);
    assert_eq!(l.in_flight(), 0);
}

fn a_send_in_pieces(cx: &mut Cx) {
    let text: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    let (ours, mut theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let op = l.start(Exact::new(Send::new(fd, text.clone())), 1);
    l.hand_over();
    let reader = thread::spawn(move || {
        let mut read = vec![0; 1 << 20];
        theirs.read_exact(&mut read).map(|()| read)
    });
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), text.len());
    assert!(reader.join().unwrap().unwrap() == text);
}

/// More than a pipe has room for, by one that reads all of it and one that writes all of it.
fn a_pipe_in_pieces(cx: &mut Cx) {
    let (reader, writer) = cx.pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    let room = Vec::with_capacity(1 << 18);
    let text: Vec<u8> = (0..=250).cycle().take(room.capacity()).collect();
    let read = l.start(Exact::new(op::Read::new(from, room)), 1);
    let write = l.start(Exact::new(op::Write::new(to, text.clone())), 2);
    let [read_entry, write_entry] = <[Entry; 2]>::try_from(l.take_sorted(2)).unwrap();
    assert_eq!(l.finish(read, read_entry).unwrap(), text.len());
    assert_eq!(l.finish(write, write_entry).unwrap(), text.len());
    assert!(l.op(read).buf() == &text);
    let end = l.lend(Exact::new(op::Read::new(from, [0; 4])));
    drop(writer);
    l.push(end, 3);
    let entry = l.one();
    assert_eq!(
        l.finish(end, entry).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

fn several_buffers_on_a_socket(cx: &mut Cx) {
    const LEN: usize = 1 << 19;
    let text: Vec<u8> = (0..=250).cycle().take(2 * LEN).collect();
    let halves = [0, LEN].map(|at| text[at..at + LEN].to_vec());
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&ours), l.at(&theirs));
    let rooms = [
        vec![0; LEN].into_boxed_slice(),
        vec![0; LEN].into_boxed_slice(),
    ];
    let receive = l.start(Exact::new(op::RecvVectored::new(from, rooms)), 1);
    let send = l.start(Exact::new(op::SendVectored::new(to, halves)), 2);
    let [received, sent] = <[Entry; 2]>::try_from(l.take_sorted(2)).unwrap();
    assert_eq!(l.finish(receive, received).unwrap(), text.len());
    assert_eq!(l.finish(send, sent).unwrap(), text.len());
    assert!(l.op(receive).buf().concat() == text);
}

/// I28: a call moves at most 0x7fff_f000 bytes.
fn more_than_one_call_moves(cx: &mut Cx) {
    const LEN: usize = 5 << 30;
    let null = File::options().write(true).open("/dev/null").unwrap();
    let region = Region::new(LEN);
    let mut l = cx.ledger();
    let fd = l.at(&null);
    let (op, entry) = l.entry_of(Exact::new(WriteAt::new(fd, 0, &*region.lend(0..LEN))));
    assert_eq!(l.finish(op, entry).unwrap(), LEN);
    let halves = [0, 1].map(|n| &*region.lend(n * LEN / 2..(n + 1) * LEN / 2));
    assert_eq!(
        l.run(Exact::new(WriteVectoredAt::new(fd, 0, halves)))
            .unwrap(),
        LEN
    );
}

/// I31.
fn more_parts_than_one_call_takes(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&*path)
        .unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for parts in [1024, 1025, 5000] {
        let text: Vec<u8> = (0..=250).cycle().take(3 * parts).collect();
        let pieces: Vec<[u8; 3]> = text.chunks(3).map(|p| p.try_into().unwrap()).collect();
        let written = l.run(Exact::new(WriteVectoredAt::new(fd, 5, pieces)));
        assert_eq!(written.unwrap(), text.len());
        assert_eq!(fs::read(&*path).unwrap()[5..], text);
        let read = Exact::new(ReadVectoredAt::new(fd, 5, vec![[0; 3]; parts]));
        let (op, entry) = l.entry_of(read);
        assert_eq!(l.finish(op, entry).unwrap(), text.len());
        assert_eq!(l.op(op).buf().concat(), text);
    }
}

fn whole_at_once(cx: &mut Cx) {
    let file = cx.file(b"some text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    assert_eq!(l.run(Exact::new(WriteAt::new(fd, 5, "TEXT"))).unwrap(), 4);
    let (op, entry) = l.entry_of(Exact::new(ReadAt::new(fd, 2, [0; 7])));
    assert_eq!(l.finish(op, entry).unwrap(), 7);
    assert_eq!(l.op(op).buf(), b"me TEXT");
    assert_eq!(l.op(op).advanced(), 0);
}

/// I29: it is no end.
fn nothing_to_move(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    assert_eq!(l.run(Exact::new(ReadAt::new(fd, 9, [0; 0]))).unwrap(), 0);
    assert_eq!(l.run(Exact::new(WriteAt::new(fd, 9, ""))).unwrap(), 0);
    assert_eq!(
        l.run(Exact::new(ReadVectoredAt::new(fd, 9, [[0; 0]; 2])))
            .unwrap(),
        0
    );
    assert_eq!(
        l.run(Exact::new(WriteVectoredAt::new(fd, 9, [""; 0])))
            .unwrap(),
        0
    );
}

fn the_end_of_the_stream(cx: &mut Cx) {
    for came in [&b""[..], b"a few"] {
        let mut l = cx.ledger();
        let (op, mut theirs) = receiving(&mut l, 100);
        let fd = op.get_ref().fd().as_raw_fd();
        let op = l.start(op, 1);
        l.hand_over();
        theirs.write_all(came).unwrap();
        swallow(&mut l, &kit::number(fd));
        theirs.shutdown(Shutdown::Write).unwrap();
        let entry = l.one();
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(l.op(op).advanced(), came.len());
        assert_eq!(l.op(op).buf(), came);
    }
}

fn the_end_of_the_file(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(Exact::new(ReadAt::new(fd, 1, [b'-'; 5])));
    assert_eq!(
        l.finish(op, entry).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(l.op(op).advanced(), 3);
    assert_eq!(l.op(op).buf(), b"ext--");
    let parts = [[b'-'; 2], [b'-'; 2], [b'-'; 2]];
    let (op, entry) = l.entry_of(Exact::new(ReadVectoredAt::new(fd, 1, parts)));
    assert_eq!(
        l.finish(op, entry).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(l.op(op).advanced(), 3);
    assert_eq!(l.op(op).buf(), &[*b"ex", *b"t-", *b"--"]);
}

/// I24: and no signal comes.
fn a_peer_that_is_gone(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let op = l.start(Exact::new(Send::new(fd, vec![7; 1 << 22])), 1);
    l.hand_over();
    let mut some = vec![0; 1 << 16];
    theirs.read_exact(&mut some).unwrap();
    drop(theirs);
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(kit::code::NO_PEER));
    // Windows says nothing of what a send has done that fails.
    if cfg!(unix) {
        assert!(l.op(op).advanced() >= 1 << 16, "{}", l.op(op).advanced());
    }
}

fn errors_arrive_unchanged(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let file = l.at(&file);
    assert_eq!(
        l.errno(Exact::new(Recv::new(file, [0; 4]))),
        kit::code::ENOTSOCK
    );
    #[cfg(unix)]
    {
        if let Some(full) = kit::full_device() {
            let full = l.at(&full);
            let write = Exact::new(WriteAt::new(full, 0, "x"));
            assert_eq!(l.errno(write), libc::ENOSPC);
        }
    }
    let (_, entry) = l.entry_of(Exact::new(ReadAt::new(file, u64::MAX, [0; 4])));
    assert_eq!(
        entry.into_result().unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    // Its user data does not fit, and it completes all the same.
    let op = l.start(Exact::new(ReadAt::new(file, 0, [0; 4])), usize::MAX);
    let entry = l.one();
    assert_eq!(entry.user_data(), usize::MAX);
    assert_eq!(
        l.finish(op, entry).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

/// Pushed, in its first flight, between two flights, in its second one, complete.
fn cancelled_in_each_state(cx: &mut Cx) {
    for state in 0..5 {
        let mut l = cx.ledger();
        let (op, mut theirs) = receiving(&mut l, 8);
        let room = op.buf().capacity();
        let fd = op.get_ref().fd().as_raw_fd();
        let op = l.start(op, 7);
        let mut came = 0;
        if state > 0 {
            l.hand_over();
        }
        if state > 1 {
            came = 3;
            theirs.write_all(b"abc").unwrap();
            swallow(&mut l, &kit::number(fd));
        }
        if state == 3 {
            l.hand_over();
        }
        if state == 4 {
            theirs.write_all(&vec![b'x'; room - 3]).unwrap();
            let entry = l.one();
            l.try_cancel(7).unwrap();
            assert_eq!(l.finish(op, entry).unwrap(), room);
            continue;
        }
        l.try_cancel(7).unwrap();
        let entry = l.one();
        assert_eq!(entry.user_data(), 7);
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(kit::code::ECANCELED),
            "state {state}"
        );
        assert_eq!(l.op(op).advanced(), came);
        assert_eq!(l.op(op).buf(), &b"abc"[..came], "what came is not lost");
    }
}

/// A cancellation that comes after a short flight, before the driver has seen that: it goes on no
/// more.
fn a_part_that_comes_with_the_cancel_is_the_last(cx: &mut Cx) {
    let file = cx.file(b"abc");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let op = l.start(Exact::new(ReadAt::new(fd, 0, [0; 8])), 7);
    if let PreparedWait::Until(None) = l.prepare_wait() {
        kit::wait_readable(&kit::number(l.as_raw_fd()));
    }
    l.try_cancel(7).unwrap();
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
    assert_eq!(l.op(op).advanced(), 3, "what came is not lost");
}

fn cancelled_by_its_descriptor_and_with_all(cx: &mut Cx) {
    for all in [false, true] {
        for turns in [0, 1] {
            let (ours, mut theirs) = cx.pair();
            let mut l = cx.ledger();
            let fd = l.at(&ours);
            let op = l.start(Exact::new(Recv::new(fd, [0; 8])), 1);
            if turns > 0 {
                l.hand_over();
                theirs.write_all(b"abc").unwrap();
                swallow(&mut l, &ours);
            }
            if all {
                l.try_cancel_all().unwrap();
            } else {
                l.try_cancel_fd(&fd).unwrap();
            }
            let entry = l.one();
            let error = l.finish(op, entry).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
            assert_eq!(l.op(op).advanced(), 3 * turns);
        }
    }
}

/// One place is enough for what it takes two cancellations to find.
fn cancelled_by_the_last_place(cx: &mut Cx) {
    for first in [false, true] {
        let mut l = cx.with(|limits| limits.cancels(1));
        let [(first_op, _one), (second_op, _two)] = [(); 2].map(|()| receiving(&mut l, 8));
        let ops = [l.start(first_op, 7), l.start(second_op, 7)];
        if first {
            l.hand_over();
        }
        l.try_cancel(7).unwrap();
        for _ in 0..2 {
            assert_eq!(l.one().raw_os_error(), Some(kit::code::ECANCELED));
        }
        assert_eq!(ops.map(|op| l.op(op).advanced()), [0, 0]);
    }
}

/// I2, I4: who hears that there is no place has cancelled nothing. Readiness needs none.
fn no_place_cancels_nothing(cx: &mut Cx) {
    for way in 0..3 {
        let mut l = cx.with(|limits| limits.cancels(1));
        let (op, mut theirs) = receiving(&mut l, 8);
        let len = op.buf().capacity();
        let fd = l.at(&kit::number(op.get_ref().fd().as_raw_fd()));
        let op = l.start(op, 7);
        l.hand_over();
        l.try_cancel(8).unwrap(); // Nobody's: it takes the place.
        let cancelled = match way {
            0 => l.try_cancel(7),
            1 => l.try_cancel_fd(&fd),
            _ => l.try_cancel_all(),
        };
        if cancelled.is_ok() {
            assert_eq!(l.one().raw_os_error(), Some(kit::code::ECANCELED));
            continue;
        }
        l.hand_over();
        // In pieces, for what was cancelled does not go on.
        theirs.write_all(b"abc").unwrap();
        l.hand_over();
        theirs.write_all(&vec![b'x'; len - 3]).unwrap();
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), len, "way {way}");
    }
}

/// I4: neither under the same user data, nor in the same place of the table.
fn an_old_cancel_never_hits_a_new_one(cx: &mut Cx) {
    let mut l = cx.ledger();
    for _ in 0..10 {
        let (first, mut theirs) = receiving(&mut l, 4);
        let len = first.buf().capacity();
        let first = l.start(first, 7);
        l.hand_over();
        theirs.write_all(&vec![1; len]).unwrap();
        l.try_cancel(7).unwrap();
        let (second, mut other) = receiving(&mut l, 4);
        let len = second.buf().capacity();
        let entry = l.one();
        let _either = l.finish(first, entry);
        let second = l.start(second, 7);
        l.hand_over();
        other.write_all(&vec![2; len]).unwrap();
        let entry = l.one();
        assert_eq!(l.finish(second, entry).unwrap(), len);
    }
}

/// I5.
fn a_driver_dropped_in_each_state(cx: &mut Cx) {
    for state in 0..4 {
        let mut l = cx.ledger();
        let (op, mut theirs) = receiving(&mut l, 8);
        let fd = op.get_ref().fd().as_raw_fd();
        l.start(op, 7);
        if state > 0 {
            l.hand_over();
        }
        if state > 1 {
            theirs.write_all(b"abc").unwrap();
            swallow(&mut l, &kit::number(fd));
        }
        if state > 2 {
            l.hand_over();
        }
        l.abandon();
    }
}

fn pushed_again_it_begins_anew(cx: &mut Cx) {
    let file = kit::file(b"0123456789");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(Exact::new(ReadAt::new(fd, 4, [0; 8])));
    assert_eq!(
        l.finish(op, entry).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(l.op(op).advanced(), 6);
    kit::write_at(&file, b"abcd", 10);
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(l.op(op).buf(), b"456789ab");
    *l.op(op).buf_mut() = [0; 8];
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(l.op(op).buf(), b"456789ab");
}

/// Its rest waits for a submission place, and takes the next.
fn a_full_queue_and_one_that_goes_on(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(2).in_flight(16));
    let (op, mut theirs) = receiving(&mut l, 12);
    let room = op.buf().capacity();
    let fd = op.get_ref().fd().as_raw_fd();
    let op = l.start(op, 100);
    l.hand_over();
    for at in (0..room).step_by(3) {
        theirs.write_all(&vec![b'x'; 3.min(room - at)]).unwrap();
        if at + 3 >= room {
            break;
        }
        // The queue is full when the piece has been found.
        while kit::unread(&kit::number(fd)) > 0 {
            let nops: Vec<_> = (0..2).map(|n| l.start(Nop::new(), n)).collect();
            assert_eq!(l.capacity_left(), 0);
            for entry in l.take(nops.len()) {
                assert!(entry.user_data() < 2, "{entry:?}");
            }
        }
    }
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), room);
}

fn every_credit_one_that_goes_on(cx: &mut Cx) {
    const MANY: usize = 4;
    let mut l = cx.with(|limits| limits.entries(2).in_flight(MANY));
    for _ in 0..3 {
        let mut ops: Vec<_> = (0..MANY).map(|_| receiving(&mut l, 9)).collect();
        let mut ends = Vec::new();
        for (n, (op, theirs)) in ops.drain(..).enumerate() {
            while l.capacity_left() == 0 {
                l.hand_over();
            }
            let (room, fd) = (op.buf().capacity(), op.get_ref().fd().as_raw_fd());
            ends.push((l.start(op, n), theirs, room, fd));
        }
        l.hand_over();
        for (_, theirs, ..) in &mut ends {
            theirs.write_all(b"abcd").unwrap();
        }
        for (.., fd) in &ends {
            swallow(&mut l, &kit::number(*fd));
        }
        assert_eq!(l.in_flight(), MANY);
        for (_, theirs, room, _) in &mut ends {
            theirs.write_all(&vec![b'x'; *room - 4]).unwrap();
        }
        let entries = l.take_sorted(MANY);
        for (entry, (op, _, room, _)) in entries.into_iter().zip(ends) {
            assert_eq!(l.finish(op, entry).unwrap(), room);
        }
    }
}

/// A buffer whose method panics at its n-th call.
struct Touchy(Box<[u8]>, usize);

// SAFETY: the promises are the box's.
unsafe impl IoBufMut for Touchy {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        if self.1 == 0 {
            self.1 = usize::MAX;
            kit::silent_panic();
        }
        self.1 -= 1;
        self.0.parts_mut()
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: the caller's contract.
        unsafe { self.0.set_filled(n) };
    }
}

/// I18: it is still the driver's, and goes on at the next submit.
fn a_method_that_panics_at_the_rest(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let at_push = Exact::new(Recv::new(fd, Touchy(Box::new([0; 4]), 0)));
    let at_push = l.lend(at_push);
    assert!(kit::unless_silent(|| drop(l.try_push(at_push, 1))).is_none());
    assert_eq!(l.in_flight(), 0, "nothing was accepted");

    let op = l.start(Exact::new(Recv::new(fd, Touchy(Box::new([0; 6]), 1))), 2);
    l.hand_over();
    theirs.write_all(b"abc").unwrap();
    while kit::unless_silent(|| l.hand_over()).is_some() {}
    assert_eq!(l.in_flight(), 1);
    theirs.write_all(b"def").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 6);
    assert_eq!(*l.op(op).buf().0, *b"abcdef");
}

fn in_a_scope_and_at_its_end(cx: &mut Cx) {
    let (ours, mut theirs) = kit::pair();
    let mut op = Exact::new(Recv::new(ours.as_fd(), [0; 6]));
    let mut left = Exact::new(Recv::new(ours.as_fd(), [0; 6]));
    let mut l = cx.ledger();
    l.scope(|s| {
        let ticket = s.try_lend(&mut op, 7).unwrap();
        hand_over(s);
        theirs.write_all(b"abc").unwrap();
        while kit::unread(&ours) > 0 {
            hand_over(s);
        }
        theirs.write_all(b"def").unwrap();
        let done = next(s);
        assert_eq!(done.token(), 7);
        let (received, op) = ticket.redeem(done).unwrap();
        assert_eq!(received.unwrap(), 6);
        assert_eq!(op.buf(), b"abcdef");

        // Cancelled by its ticket, after a piece.
        let ticket = s.try_lend(op, 8).unwrap();
        hand_over(s);
        theirs.write_all(b"gh").unwrap();
        while kit::unread(&ours) > 0 {
            hand_over(s);
        }
        s.try_cancel(&ticket).unwrap();
        let (received, op) = ticket.redeem(next(s)).unwrap();
        assert_eq!(
            received.unwrap_err().raw_os_error(),
            Some(kit::code::ECANCELED)
        );
        assert_eq!((op.advanced(), &op.buf()[..2]), (2, &b"gh"[..]));

        // And by the scope's end, with a piece taken and a timeout beside it.
        let _lost = s.try_lend(&mut left, 9).unwrap();
        hand_over(s);
        theirs.write_all(b"ij").unwrap();
        while kit::unread(&ours) > 0 {
            hand_over(s);
        }
    })
    .unwrap();
    assert_eq!(l.in_flight(), 0);
    assert_eq!(&left.buf()[..2], b"ij");
}

fn owned_and_orphaned(cx: &mut Cx) {
    for orphaned in [false, true] {
        let (ours, mut theirs) = kit::pair();
        let fd = ours.as_raw_fd();
        let mut l = cx.ledger();
        let op = Exact::new(Recv::new(OwnedFd::from(ours), [0; 6]));
        let key = l.try_push_owned(op, 1).unwrap();
        l.hand_over();
        theirs.write_all(b"abc").unwrap();
        swallow(&mut l, &kit::number(fd));
        if orphaned {
            drop(key);
            while l.in_flight() > 0 {
                l.turn();
            }
            continue;
        }
        theirs.write_all(b"def").unwrap();
        while !key.is_done() {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        let (received, op) = key.redeem().unwrap();
        assert_eq!(received.unwrap(), 6);
        assert_eq!(op.buf(), b"abcdef");
    }
}

/// It goes on there too.
fn a_foreign_loop(cx: &mut Cx) {
    let (ours, mut theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let op = l.start(Exact::new(Recv::new(fd, [0; 6])), 1);
    let mut entry: Option<Entry> = None;
    for piece in [&b"ab"[..], b"cd", b"ef"] {
        let prepared = l.prepare_wait();
        assert!(
            matches!(prepared, PreparedWait::Until(_)),
            "nothing is there"
        );
        theirs.write_all(piece).unwrap();
        kit::wait_readable(&kit::number(l.as_raw_fd()));
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        while kit::unread(&ours) > 0 {
            l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        }
    }
    let entry = entry.unwrap_or_else(|| l.one());
    assert_eq!(l.finish(op, entry).unwrap(), 6);
    assert_eq!(l.op(op).buf(), b"abcdef");
}

fn as_it_was_before(cx: &mut Cx) {
    let file = cx.file(b"text");
    let owned = OwnedFd::from(file);
    let mut l = cx.ledger();
    let op = Exact::new(ReadAt::new(owned, 0, [0; 6])).into_operation();
    assert_eq!(l.run(op).unwrap(), 4, "short results are its own again");
    let (ours, mut theirs) = cx.pair();
    theirs.write_all(b"ab").unwrap();
    let mut op = Exact::new(Recv::new(ours.as_fd(), [0; 4])).into_operation();
    l.scope(|s| assert_eq!(run(s, &mut op).0.unwrap(), 2))
        .unwrap();
    assert_eq!(Exact::new(op).into_inner(), *b"ab\0\0");
}
