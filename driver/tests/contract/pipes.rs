//! Pipes that are made by an operation: their ends are given out once, or closed. I16, I20, P1.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::steps::{self, next, outcome, start};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsRawFd, CompleteIo, OwnedFd, Support};
use completeio_driver::op::{Deadline, Pipe, Read, ReadVectored, Write, WriteVectored};
use std::process::Command;
use std::time::Duration;

contract! {
    everywhere: [
        operations_wait_on_both_ends,
        many_at_once,
    ],
    on_host: [
        given_out_or_closed,
        cancelled_or_not,
        ends_of_an_operation_that_outlives_its_driver,
        lent_to_a_scope,
        owned_and_orphaned,
        with_a_deadline,
        it_is_reported,
    ],
    // A limit that is lowered, and programs that there are.
    on_unix: [
        without_free_descriptors,
        between_two_children,
    ],
    on_linux: [
        pipes_of_every_kind,
        packets_stay_apart,
    ],
}

#[track_caller]
fn assert_open(before: &kit::Open) {
    assert_eq!(&kit::open_fds(), before);
}

#[cfg(target_os = "linux")]
fn flags_of(fd: &impl AsRawFd, which: i32) -> i32 {
    // SAFETY: takes numbers.
    kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), which) })
}

/// Writes, and reads back.
fn goes_through(l: &mut Ledger, (reader, writer): &(OwnedFd, OwnedFd), text: &'static str) {
    let (from, to) = (l.at(reader), l.at(writer));
    assert_eq!(l.run(Write::new(to, text)).unwrap(), text.len());
    let (op, entry) = l.entry_of(Read::new(from, Vec::with_capacity(64)));
    assert_eq!(l.finish(op, entry).unwrap(), text.len());
    assert_eq!(l.op(op).buf(), text.as_bytes());
    l.detach(from);
    l.detach(to);
}

#[cfg(target_os = "linux")]
fn pipes_of_every_kind(cx: &mut Cx) {
    let mut l = cx.ledger();
    for non_blocking in [false, true] {
        for packets in [false, true] {
            let op = Pipe::new().packets(true).non_blocking(true);
            let op = op.packets(packets).non_blocking(non_blocking);
            let ends = l.run(op).unwrap();
            for (end, access) in [(&ends.0, libc::O_RDONLY), (&ends.1, libc::O_WRONLY)] {
                assert_eq!(flags_of(end, libc::F_GETFD), libc::FD_CLOEXEC);
                let flags = flags_of(end, libc::F_GETFL);
                assert_eq!(flags & libc::O_ACCMODE, access);
                assert_eq!(flags & libc::O_NONBLOCK != 0, non_blocking);
                // Who writes makes the packets.
                let is_writer = access == libc::O_WRONLY;
                assert_eq!(flags & libc::O_DIRECT != 0, packets && is_writer);
            }
            goes_through(&mut l, &ends, "some bytes");
        }
    }
    let ends = l.run(Pipe::default()).unwrap();
    assert_eq!(flags_of(&ends.0, libc::F_GETFL), libc::O_RDONLY);
    // Room as that of any other pipe, and the end when the writer goes.
    let plain = kit::pipe().1;
    assert_eq!(
        flags_of(&ends.1, libc::F_GETPIPE_SZ),
        flags_of(&plain, libc::F_GETPIPE_SZ)
    );
    drop(ends.1);
    assert_eq!(l.run(Read::new(kit::plain(&ends.0), [0; 8])).unwrap(), 0);
}

#[cfg(target_os = "linux")]
fn packets_stay_apart(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (reader, writer) = l.run(Pipe::new().packets(true)).unwrap();
    let (from, to) = (l.at(&reader), l.at(&writer));
    for packet in ["one", "two", "three"] {
        assert_eq!(l.run(Write::new(to, packet)).unwrap(), packet.len());
    }
    assert_eq!(l.run(WriteVectored::new(to, ["fo", "ur"])).unwrap(), 4);
    assert_eq!(l.run(Write::new(to, vec![7; 5000])).unwrap(), 5000);
    let mut read = |room| {
        let (op, entry) = l.entry_of(Read::new(from, vec![0; room].into_boxed_slice()));
        let n = l.finish(op, entry).unwrap();
        l.op(op).buf()[..n].to_vec()
    };
    assert_eq!(read(64), b"one");
    assert_eq!(read(2), b"tw", "the rest is lost");
    assert_eq!(read(64), b"three");
    assert_eq!([read(64), read(9000)].concat().len(), 4 + 4096);
    assert_eq!(read(9000).len(), 5000 - 4096);
}

/// Whatever the mode is. The ends can be tried without waiting, as those of any other pipe.
fn operations_wait_on_both_ends(cx: &mut Cx) {
    let mut l = cx.ledger();
    for non_blocking in kit::MODES_OF_PIPES {
        let op = Pipe::new().non_blocking(*non_blocking);
        let (reader, writer) = l.run(op).unwrap();
        kit::assert_tries_find_nothing(&reader);
        let (from, to) = (l.at(&reader), l.at(&writer));
        let read = l.start(ReadVectored::new(from, [[0; 4]; 2]), 1);
        l.hand_over();
        l.start(Write::new(to, "text"), 2);
        let mut entries = l.take_sorted(2);
        assert_eq!(l.finish(read, entries.remove(0)).unwrap(), 4);
        // Full, until somebody reads.
        assert_eq!(l.run(Write::new(to, vec![7; 1 << 16])).unwrap(), 1 << 16);
        l.start(Write::new(to, "more"), 3);
        l.hand_over();
        let room = vec![0; 1 << 16].into_boxed_slice();
        let read = l.start(Read::new(from, room), 4);
        let mut entries = l.take_sorted(2);
        assert_eq!(kit::errnos(&entries), [0; 2]);
        assert!(l.finish(read, entries.remove(1)).unwrap() >= 1 << 15);
        l.detach(from);
        l.detach(to);
    }
}

/// I22: neither is made where there is a number for one only.
#[cfg(unix)]
fn without_free_descriptors(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut none = kit::NoFreeDescriptor::new();
    assert_eq!(l.errno(Pipe::new()), code::EMFILE);
    none.free_one();
    let (op, entry) = l.entry_of(Pipe::new());
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(code::EMFILE));
    none.free_one();
    // It is as good as new.
    l.push(op, 1);
    let entry = l.one();
    let ends = l.finish(op, entry).unwrap();
    drop((ends, none));
}

/// Of each completion one: finished, disposed of, forgotten, pushed again.
fn given_out_or_closed(cx: &mut Cx) {
    let mut l = cx.ledger();
    let before = kit::open_fds();
    let (op, entry) = l.entry_of(Pipe::new());
    let (reader, writer) = l.finish(op, entry).unwrap();
    assert_eq!(kit::open_fds().len(), before.len() + 2);
    l.free(op);
    assert!(kit::is_open(reader.as_raw_fd()) && kit::is_open(writer.as_raw_fd()));
    drop((reader, writer));
    assert_open(&before);

    let (op, entry) = l.entry_of(Pipe::new());
    assert_eq!(entry.result().unwrap(), 0, "no descriptor's number");
    // SAFETY: its last entry.
    unsafe { completeio_driver::op::Op::dispose(l.op(op), entry) };
    assert_open(&before);

    let (op, _entry) = l.entry_of(Pipe::new());
    assert_eq!(kit::open_fds().len(), before.len() + 2);
    for _ in 0..3 {
        l.push(op, 1);
        l.one();
        assert_eq!(
            kit::open_fds().len(),
            before.len() + 2,
            "the old ends are closed"
        );
    }
    l.push(op, 1);
    let entry = l.one();
    let ends = l.finish(op, entry).unwrap();
    goes_through(&mut l, &ends, "text");
    drop(ends);
    l.free(op);
    assert_open(&before);

    let (op, _entry) = l.entry_of(Pipe::new());
    l.free(op);
    assert_open(&before);
}

/// I4: one end, which says whether there is a pipe.
fn cancelled_or_not(cx: &mut Cx) {
    let mut l = cx.ledger();
    let before = kit::open_fds();
    // Each looks twice at all that is open.
    for n in 0..32 {
        let op = l.start(Pipe::new(), n);
        let mut entry = None;
        if n % 2 == 1 {
            l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        }
        l.try_cancel(n).unwrap();
        let entry = entry.unwrap_or_else(|| l.one());
        let made = kit::open_fds().len() - before.len();
        match l.finish(op, entry) {
            Ok(ends) => drop((ends, assert_eq!(made, 2))),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(code::ECANCELED));
                assert_eq!(made, 0);
            }
        }
        assert_open(&before);
    }
}

/// I5: its entry was taken, or was not, or it was never handed over.
fn ends_of_an_operation_that_outlives_its_driver(cx: &mut Cx) {
    let before = kit::open_fds();
    for taken in 0..4 {
        let mut l = cx.ledger();
        for n in 0..4 {
            l.start(Pipe::new(), n);
        }
        if taken > 0 {
            let mut entries = Vec::with_capacity(taken);
            l.submit(None, &mut entries).unwrap();
        }
        l.abandon();
        drop(l);
        assert_open(&before);
    }
    let mut l = cx.ledger();
    let op = l.start(Pipe::new(), 1);
    l.free(op);
    l.abandon();
    assert_open(&before);
}

/// I16: redeemed; completed and dropped; in flight and only pushed at the end.
fn lent_to_a_scope(cx: &mut Cx) {
    let [mut first, mut second, mut third] = [(); 3].map(|()| Pipe::new());
    let mut l = cx.ledger();
    let before = kit::open_fds();
    l.scope(|s| {
        let ends = steps::run(s, &mut first).0.unwrap();
        assert_eq!(kit::open_fds().len(), before.len() + 2);
        drop(ends);
        let _lent = start(s, &mut second, 1);
        let done = next(s);
        assert_eq!(kit::open_fds().len(), before.len() + 2);
        drop(done);
        assert_open(&before);
        let _lent = start(s, &mut third, 2);
    })
    .unwrap();
    assert_open(&before);
    l.scope(|s| {
        let _lent = [start(s, &mut second, 1), start(s, &mut third, 2)];
        // One is taken; the other has completed, too, or does so when the scope ends.
        drop(next(s));
    })
    .unwrap();
    assert_open(&before);
}

/// I16: a key that is dropped before, while and after its operation completes.
fn owned_and_orphaned(cx: &mut Cx) {
    let before = {
        drop(cx.ledger());
        kit::open_fds()
    };
    for turns in 0..3 {
        let mut l = cx.ledger();
        let inside = kit::open_fds();
        let keys = [(); 4].map(|()| l.try_push_owned(Pipe::new(), 1).unwrap());
        for _ in 0..turns {
            l.turn();
        }
        drop(keys);
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert_open(&inside);
        let key = l.try_push_owned(Pipe::new(), 2).unwrap();
        let (ends, op) = outcome(&mut l, key);
        drop(op);
        goes_through(&mut l, &ends.unwrap(), "text");
        assert_open(&inside);
        // A key that outlives the driver.
        let key = l.try_push_owned(Pipe::new(), 3).unwrap();
        if turns > 0 {
            steps::wait(&mut l, &key);
        }
        l.abandon();
        drop(key);
        assert_open(&before);
    }
}

fn with_a_deadline(cx: &mut Cx) {
    let mut l = cx.ledger();
    let before = kit::open_fds();
    let op = Deadline::after(Pipe::new(), Duration::from_secs(3600));
    let ends = l.run(op).unwrap();
    goes_through(&mut l, &ends, "in time");
    drop(ends);
    let op = Deadline::at(Pipe::new(), Instant::now());
    drop(l.run(op));
    assert_open(&before);
}

fn many_at_once(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(32));
    let ops: Vec<_> = (0..32).map(|n| l.start(Pipe::new(), n)).collect();
    let entries = l.take_sorted(32);
    let mut all = Vec::new();
    for (op, entry) in ops.into_iter().zip(entries) {
        all.push(l.finish(op, entry).unwrap());
    }
    let numbers = all.iter().flat_map(|(r, w)| [r.as_raw_fd(), w.as_raw_fd()]);
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 64);
    for ends in &all {
        goes_through(&mut l, ends, "its own");
    }
}

/// Real clients: `cat` and `sort` have nothing of it but the ends that they were given.
#[cfg(unix)]
fn between_two_children(cx: &mut Cx) {
    let mut l = cx.ledger();
    let [first, second, third] = [(); 3].map(|()| l.run(Pipe::new()).unwrap());
    let mut children = [
        Command::new("cat").stdin(first.0).stdout(second.1).spawn(),
        Command::new("sort").stdin(second.0).stdout(third.1).spawn(),
    ]
    .map(Result::unwrap);
    let to = l.at(&first.1);
    assert_eq!(
        l.run(WriteVectored::new(to, ["two\n", "one\n"])).unwrap(),
        8
    );
    l.detach(to);
    // The end: nobody else has this one, for it is close-on-exec.
    drop(first.1);
    let from = l.at(&third.0);
    let (op, entry) = l.entry_of(Read::new(from, [0; 16]));
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(&l.op(op).buf()[..8], b"one\ntwo\n");
    assert_eq!(l.run(Read::new(from, [0; 16])).unwrap(), 0);
    assert!(
        children
            .iter_mut()
            .all(|child| child.wait().unwrap().success())
    );
}

fn it_is_reported(cx: &mut Cx) {
    fn is_send<T: Send>() {} // As a `Remote` asks.
    is_send::<Pipe>();
    let l = cx.ledger();
    let operations = &l.capabilities().operations;
    let (_, support) = operations.iter().find(|(name, _)| *name == "Pipe").unwrap();
    let expected = [Support::Native, Support::Inline];
    assert!(expected[usize::from(!cx.is_io_uring())..].contains(support));
}
