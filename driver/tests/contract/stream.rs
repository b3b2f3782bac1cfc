//! Reads and writes of pipes, alone and with children at the other end. I9, I16, I34.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::steps::{self, hand_over, take};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, OwnedFd};
use completeio_driver::op::{Read, Recv, Write, WriteVectored};
use std::collections::VecDeque;
use std::io::{Read as _, Seek, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        a_read_is_woken_by_data,
        a_read_is_woken_by_the_end,
        reads_on_one_pipe_all_complete,
        a_read_and_a_receive_share_a_queue,
        a_vector_grows,
        cancelled_by_the_descriptor,
        lent_by_a_scope,
        owned_by_a_slot,
    ],
    on_host: [
        fixed_descriptors,
    ],
    // The programs, and a read without a place in a table.
    on_unix: [
        descriptors_beyond_the_limit,
        children,
        a_child_that_reads_little,
    ],
    // Pipes have as little room as a test likes.
    not_on_bsd: [
        a_write_is_woken_by_room,
        a_write_is_woken_by_the_last_readers_close,
        a_write_of_nothing_waits_for_nothing,
        a_write_is_continued,
        cancelled_before_during_and_after,
        dropped_in_flight,
    ],
    on_linux: [
        a_full_pipe_takes_a_part,
    ],
}

/// So much room a small pipe has.
pub(crate) const ROOM: usize = 4096;

/// A read waits, gets what `write` brings, and its end.
pub(crate) fn reads(l: &mut Ledger, reader: &impl AsRawFd, mut write: impl FnMut(&[u8])) {
    let fd = l.at(reader);
    for waits in [true, false] {
        let op = l.lend(Read::new(fd, [0; 8]));
        if waits {
            l.push(op, 1);
            l.hand_over();
        }
        write(b"text");
        if !waits {
            l.push(op, 1);
        }
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), 4);
        assert_eq!(l.op(op).buf(), b"text\0\0\0\0");
    }
}

fn a_read_is_woken_by_data(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    let mut l = cx.ledger();
    reads(&mut l, &reader, |bytes| writer.write_all(bytes).unwrap());
    // Not attached.
    let op = l.start(Read::new(kit::plain(&reader), [0; 8]), 1);
    l.hand_over();
    writer.write_all(b"x").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 1);
}

fn a_read_is_woken_by_the_end(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    writer.write_all(b"the last").unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&reader);
    assert_eq!(l.run(Read::new(fd, [0; 8])).unwrap(), 8);
    let op = l.start(Read::new(fd, Vec::with_capacity(8)), 1);
    l.hand_over();
    drop(writer);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 0);
    assert!(l.op(op).buf().is_empty());
    assert_eq!(l.run(Read::new(fd, [0; 8])).unwrap(), 0, "and again");
}

/// I34. io_uring's kernel promises no order.
fn reads_on_one_pipe_all_complete(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    let mut l = cx.ledger();
    let fd = l.at(&reader);
    let ops: Vec<_> = (0..5).map(|n| l.start(Read::new(fd, [0; 1]), n)).collect();
    l.hand_over();
    for n in 0..3 {
        writer.write_all(&[n]).unwrap();
        let served = l.one().user_data();
        assert!(cx.is_io_uring() || served == usize::from(n));
        assert_eq!(l.op(ops[served]).buf(), &[n]);
    }
    // Several at once, and one that comes later overtakes none.
    l.start(Read::new(fd, [0; 1]), 5);
    writer.write_all(&[7; 3]).unwrap();
    let mut served = kit::names(&l.take(3));
    if cx.is_io_uring() {
        served.sort_unstable();
        assert_eq!(served.len(), 3);
    } else {
        assert_eq!(served, [3, 4, 5]);
    }
}

/// One direction of a descriptor has one queue, whatever waits in it.
fn a_read_and_a_receive_share_a_queue(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 1]), 0);
    l.start(Read::new(fd, [0; 1]), 1);
    l.start(Recv::new(fd, [0; 1]), 2);
    l.hand_over();
    theirs.write_all(b"abc").unwrap();
    let served = kit::names(&l.take(3));
    assert!(cx.is_io_uring() || served == [0, 1, 2]);
}

/// I9.
#[cfg(target_os = "linux")]
fn a_full_pipe_takes_a_part(cx: &mut Cx) {
    let (mut reader, writer) = kit::small_pipe();
    let mut l = cx.ledger();
    let fd = l.at(&writer);
    assert_eq!(l.run(Write::new(fd, vec![7; 10_000])).unwrap(), ROOM);
    let mut bytes = vec![0; 10_000];
    assert_eq!(reader.read(&mut bytes).unwrap(), ROOM);
    assert_eq!(bytes[..ROOM], [7; ROOM]);
}

#[cfg(any(target_os = "linux", windows))]
fn a_write_is_woken_by_room(cx: &mut Cx) {
    let (mut reader, mut writer) = kit::small_pipe();
    writer.write_all(&[1; ROOM]).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&writer);
    for n in 0..2 {
        l.start(Write::new(fd, [2; ROOM]), n);
    }
    l.hand_over();
    for n in 0..2 {
        let mut bytes = [0; ROOM];
        reader.read_exact(&mut bytes).unwrap();
        let entry = l.one();
        assert!(cx.is_io_uring() || entry.user_data() == n);
        assert_eq!(entry.into_result().unwrap(), ROOM);
    }
}

#[cfg(any(target_os = "linux", windows))]
fn a_write_is_woken_by_the_last_readers_close(cx: &mut Cx) {
    let (reader, mut writer) = kit::small_pipe();
    writer.write_all(&[1; ROOM]).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&writer);
    l.start(Write::new(fd, "x"), 1);
    l.hand_over();
    drop(reader);
    assert_eq!(l.one().raw_os_error(), Some(code::LAST_READER_GONE));
}

/// Where there is no room, and where there never is any: the end to read from.
#[cfg(any(target_os = "linux", windows))]
fn a_write_of_nothing_waits_for_nothing(cx: &mut Cx) {
    let (reader, mut writer) = kit::small_pipe();
    writer.write_all(&[7; ROOM]).unwrap();
    let mut l = cx.ledger();
    let (reading, writing) = (l.at(&reader), l.at(&writer));
    assert_eq!(l.run(Write::new(writing, "")).unwrap(), 0);
    assert_eq!(l.run(WriteVectored::new(writing, ["", ""])).unwrap(), 0);
    if kit::NOTHING_IS_WRITTEN {
        assert_eq!(l.errno(Write::new(reading, "")), code::EBADF);
        assert_eq!(l.errno(WriteVectored::new(reading, [""; 0])), code::EBADF);
    }
}

#[cfg(any(target_os = "linux", windows))]
fn a_write_is_continued(cx: &mut Cx) {
    let bytes: Vec<u8> = (0..400_000_u32).map(|n| (n / 5).to_le_bytes()[0]).collect();
    let (mut reader, writer) = kit::small_pipe();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        received
    });
    let mut l = cx.ledger();
    let op = Write::new(l.at(&writer), bytes.clone());
    let op = l.lend(op);
    let mut left = bytes.len();
    loop {
        l.push(op, left);
        let entry = l.one();
        let written = entry.result().unwrap();
        assert!(written > 0);
        left -= written;
        if left == 0 {
            assert_eq!(l.finish(op, entry).unwrap(), bytes.len());
            break;
        }
        l.op(op).advance(written);
    }
    drop((l, writer));
    assert!(reader.join().unwrap() == bytes);
}

fn a_vector_grows(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    let mut l = cx.ledger();
    let op = Read::new(l.at(&reader), Vec::with_capacity(8));
    let op = l.lend(op);
    for (part, all) in [("one", "one"), (" two", "one two"), ("three", "one twot")] {
        writer.write_all(part.as_bytes()).unwrap();
        l.push(op, 1);
        let entry = l.one();
        l.finish(op, entry).unwrap();
        assert_eq!(l.op(op).buf(), all.as_bytes());
    }
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 0, "no room, and no end");
    // Or all of it is counted in the end.
    *l.op(op).buf_mut() = Vec::with_capacity(8);
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(entry.into_result().unwrap(), 4);
    // SAFETY: the flight that just ended wrote so many bytes.
    unsafe { l.op(op).advance(4) };
    writer.write_all(b"!").unwrap();
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 5);
    assert_eq!(l.op(op).buf(), b"hree!");
}

#[cfg(any(target_os = "linux", windows))]
fn cancelled_before_during_and_after(cx: &mut Cx) {
    let (reader, mut writer) = kit::small_pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    for handed_over in [false, true] {
        let op = l.start(Read::new(from, Vec::with_capacity(8)), 1);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        let entry = l.one();
        assert_eq!(entry.raw_os_error(), Some(code::ECANCELED));
        l.finish(op, entry).unwrap_err();
        assert!(l.op(op).buf().is_empty());
    }
    writer.write_all(&[1; ROOM]).unwrap();
    for handed_over in [false, true] {
        l.start(Write::new(to, "x"), 2);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(2).unwrap();
        assert_eq!(l.one().raw_os_error(), Some(code::ECANCELED));
    }
    assert_eq!(l.run(Read::new(from, [0; ROOM])).unwrap(), ROOM);
    // Nothing was taken and nothing was written; a late cancel finds nothing.
    l.try_cancel(1).unwrap();
    assert_eq!(l.turn().len(), 0);
    assert_eq!(l.run(Write::new(to, "later")).unwrap(), 5);
    assert_eq!(l.run(Read::new(from, [0; 8])).unwrap(), 5);
}

fn cancelled_by_the_descriptor(cx: &mut Cx) {
    let [one, other] = [cx.pipe(), cx.pipe()];
    let mut l = cx.ledger();
    let (first, second) = (l.at(&one.0), l.at(&other.0));
    for n in 0..3 {
        l.start(Read::new(first, [0; 8]), n);
        l.start(Read::new(second, [0; 8]), 10 + n);
    }
    l.hand_over();
    l.try_cancel_fd(&first).unwrap();
    let entries = l.take_sorted(3);
    assert_eq!(kit::names(&entries), [0, 1, 2]);
    assert_eq!(kit::errnos(&entries), [code::ECANCELED; 3]);
}

/// I5.
#[cfg(any(target_os = "linux", windows))]
fn dropped_in_flight(cx: &mut Cx) {
    for handed_over in [true, false] {
        let (mut reader, mut writer) = kit::pipe();
        let (_, full) = kit::small_pipe();
        let file = kit::file(&[7; 100]);
        let mut l = cx.ledger();
        for n in 0..4 {
            let (pipe, full, file) = (l.at(&reader), l.at(&full), l.at(&file));
            l.start(Read::new(pipe, [0; 64]), n);
            l.start(Write::new(full, [0; 2 * ROOM]), n);
            l.start(Read::new(file, [0; 8]), n);
        }
        if handed_over {
            l.turn();
        }
        l.abandon();
        writer.write_all(b"later").unwrap();
        let mut later = [0; 8];
        assert_eq!(reader.read(&mut later).unwrap(), 5, "nobody reads any more");
    }
}

fn fixed_descriptors(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let mut file = kit::file(b"text");
    file.rewind().unwrap();
    let mut l = cx.ledger();
    let [from, to, at] = [reader.as_raw_fd(), writer.as_raw_fd(), file.as_raw_fd()];
    let from = l.register_fd(from, 0).unwrap();
    let to = l.register_fd(to, 1).unwrap();
    let at = l.register_fd(at, 2).unwrap();
    let op = l.start(Read::new(from, [0; 8]), 1);
    l.hand_over();
    l.start(Write::new(to, "pipe"), 2);
    let mut entries = l.take_sorted(2);
    assert_eq!(kit::errnos(&entries), [0, 0]);
    assert_eq!(l.finish(op, entries.remove(0)).unwrap(), 4);
    for expected in [4, 0] {
        assert_eq!(l.run(Read::new(at, [0; 8])).unwrap(), expected);
    }
    l.unregister_fd(from).unwrap();
    assert_eq!(l.errno(Read::new(from, [0; 8])), code::EBADF);
}

#[cfg(unix)]
fn descriptors_beyond_the_limit(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let mut l = cx.with(|limits| limits.descriptors(1));
    let fd = kit::plain(&reader);
    writer.write_all(b"text").unwrap();
    assert_eq!(l.run(Read::new(fd, [0; 8])).unwrap(), 4);
    let file = kit::file(b"text");
    (&file).rewind().unwrap();
    assert_eq!(l.run(Read::new(kit::plain(&file), [0; 8])).unwrap(), 4);
    if !cx.is_io_uring() {
        assert_eq!(l.errno(Read::new(fd, [0; 8])), code::EMFILE);
    }
}

/// Real clients: what is written to `cat` comes back through `sh`, in both backends' own time.
#[cfg(unix)]
fn children(cx: &mut Cx) {
    let mut child = Command::new("sh")
        .args(["-c", "cat | cat; echo end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32)
        .map(|n| (n / 3).to_le_bytes()[0])
        .collect();
    let mut stdin = Some(child.stdin.take().unwrap());
    let stdout = child.stdout.take().unwrap();
    let mut l = cx.ledger();
    let to = l.at(stdin.as_ref().unwrap());
    let write = l.start(Write::new(to, bytes.clone()), 1);
    let read = l.start(
        Read::new(kit::plain(&stdout), vec![0; 10_000].into_boxed_slice()),
        2,
    );
    let (mut left, mut received) = (bytes.len(), Vec::new());
    let mut entries = VecDeque::new();
    loop {
        entries.extend(l.take(1));
        let entry = entries.pop_front().unwrap();
        let n = entry.result().unwrap();
        match entry.user_data() {
            1 => {
                left -= n;
                if left > 0 {
                    l.op(write).advance(n);
                    l.push(write, 1);
                } else {
                    l.detach(to);
                    stdin.take();
                }
            }
            _ if n == 0 => break,
            _ => {
                let n = l.finish(read, entry).unwrap();
                received.extend_from_slice(&l.op(read).buf()[..n]);
                l.push(read, 2);
            }
        }
    }
    assert_eq!((left, received.len()), (0, bytes.len() + 4));
    assert!(received.starts_with(&bytes) && received.ends_with(b"end\n"));
    assert!(child.wait().unwrap().success());
}

/// `head` goes when it has enough: the writes that follow are EPIPE.
#[cfg(unix)]
fn a_child_that_reads_little(cx: &mut Cx) {
    let mut child = Command::new("head")
        .args(["-c", "3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut l = cx.ledger();
    let fd = l.at(&stdin);
    let error = loop {
        if let Err(error) = l.run(Write::new(fd, vec![b'x'; 1 << 16])) {
            break error;
        }
    };
    assert_eq!(error.raw_os_error(), Some(code::EPIPE));
    assert!(child.wait().unwrap().success());
    let (op, entry) = l.entry_of(Read::new(kit::plain(&stdout), [0; 8]));
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    assert_eq!(l.op(op).buf(), b"xxx\0\0\0\0\0");
}

fn lent_by_a_scope(cx: &mut Cx) {
    let (reader, writer) = cx.pipe();
    let mut buffer = [0; 8];
    let mut read = Read::new(reader.as_fd(), &mut buffer[..]);
    let mut write = Write::new(writer.as_fd(), "text");
    let mut l = cx.ledger();
    l.scope(|s| {
        let reads = s.try_lend(&mut read, 1).unwrap();
        let writes = s.try_lend(&mut write, 2).unwrap();
        let mut done = take(s, 2);
        done.sort_unstable_by_key(|done| done.token());
        let [read, written] = done.try_into().unwrap();
        assert_eq!(reads.redeem(read).unwrap().0.unwrap(), 4);
        assert_eq!(writes.redeem(written).unwrap().0.unwrap(), 4);
    })
    .unwrap();
    // One that still waits when its scope ends is cancelled, and takes nothing.
    l.scope(|s| {
        let _lost = s.try_lend(&mut read, 3).unwrap();
        hand_over(s);
    })
    .unwrap();
    drop((read, write, l));
    assert_eq!(&buffer, b"text\0\0\0\0");
    (&writer).write_all(b"later").unwrap();
    assert_eq!((&reader).read(&mut buffer).unwrap(), 5);
}

/// The slot closes both ends when nobody has the keys any more (I16).
fn owned_by_a_slot(cx: &mut Cx) {
    let (reader, writer) = cx.pipe();
    let mut l = cx.ledger();
    let read = Read::new(OwnedFd::from(reader), Vec::with_capacity(8));
    let read = l.try_push_owned(read, 1).unwrap();
    let write = Write::new(OwnedFd::from(writer), "text");
    let write = l.try_push_owned(write, 2).unwrap();
    let (written, write) = steps::outcome(&mut l, write);
    assert_eq!(written.unwrap(), 4);
    let (n, op) = steps::outcome(&mut l, read);
    assert_eq!((n.unwrap(), &op.buf()[..]), (4, &b"text"[..]));
    // An orphan is cancelled.
    drop(l.try_push_owned(op, 3).unwrap());
    while l.in_flight() > 0 {
        l.submit(Some(Duration::ZERO), &mut None).unwrap();
    }
    drop(write);
}
