//! Between two descriptors. I1, I5, I11, I24, I27, I30, I33.

use crate::kit;
use crate::kit::small_pipe;
use crate::ledger::{Cx, Ledger, Lent};
use crate::steps::{hand_over, take};
use crate::stream::ROOM;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Entry, OwnedFd, Refusal};
use completeio_driver::op::{Op, Read, Splice, Tee};
use std::fs::{self, File};
use std::io::{Read as _, Seek, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use std::thread;

contract! {
    everywhere: [
        offsets_end_at_i64_max,
    ],
    on_host: [
        from_a_file_to_a_pipe,
        from_a_pipe_to_a_file,
        between_pipes,
        to_and_from_sockets,
        from_a_device,
        a_full_pipe_is_waited_for,
        the_end_of_a_pipe,
        nobody_reads,
        several_on_one_pipe,
        several_that_write_to_a_file,
        cancelled,
        dropped_in_flight,
        both_are_fixed,
        another_file_under_its_number,
        tee_leaves_what_it_copies,
        no_length,
        errors_of_the_plain_call,
        without_workers,
        through_a_child,
        lent_and_owned,
    ],
}

fn text(reader: &mut File) -> String {
    let mut bytes = [0; 64];
    let n = reader.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..n].to_vec()).unwrap()
}

fn from_a_file_to_a_pipe(cx: &mut Cx) {
    let mut file = kit::file(b"one two three");
    file.seek(SeekFrom::Start(4)).unwrap();
    let (mut reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    for attached in [true, false] {
        let (from, to) = (kit::plain(&file), kit::plain(&writer));
        if attached {
            l.at(&file);
            l.at(&writer);
        }
        // Where it is, and elsewhere.
        assert_eq!(l.run(Splice::new(from, to, 3)).unwrap(), 3);
        assert_eq!(text(&mut reader), "two");
        assert_eq!(file.stream_position().unwrap(), 7);
        let op = Splice::new(from, to, 64).from_offset(8);
        assert_eq!(l.run(op).unwrap(), 5);
        assert_eq!(text(&mut reader), "three");
        assert_eq!(file.stream_position().unwrap(), 7);
        let op = Splice::new(from, to, 64).from_offset(13);
        assert_eq!(l.run(op).unwrap(), 0, "the end");
        file.seek(SeekFrom::Start(4)).unwrap();
    }
}

fn from_a_pipe_to_a_file(cx: &mut Cx) {
    let mut file = kit::file(b"one two three");
    file.seek(SeekFrom::Start(4)).unwrap();
    let (reader, mut writer) = kit::pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&file));
    l.start(Splice::new(from, to, 64), 1);
    l.hand_over();
    writer.write_all(b"TWO").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 3);
    assert_eq!(file.stream_position().unwrap(), 7);
    writer.write_all(b"ONE").unwrap();
    let op = Splice::new(from, to, 64).to_offset(0).more(true);
    assert_eq!(l.run(op).unwrap(), 3);
    file.rewind().unwrap();
    assert_eq!(text(&mut file), "ONE TWO three");
}

fn between_pipes(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    for attached in [true, false] {
        let (from, to) = (kit::plain(&reader), kit::plain(&middle));
        if attached {
            l.at(&reader);
            l.at(&middle);
        }
        l.start(Splice::new(from, to, 64), 1);
        l.hand_over();
        writer.write_all(b"text").unwrap();
        assert_eq!(l.one().into_result().unwrap(), 4);
        assert_eq!(text(&mut end), "text");
    }
}

fn to_and_from_sockets(cx: &mut Cx) {
    for tcp in [true, false] {
        let (ours, mut theirs): (OwnedFd, File) = if tcp {
            let (ours, theirs) = kit::tcp_pair();
            (ours.into(), OwnedFd::from(theirs).into())
        } else {
            let (ours, theirs) = kit::pair();
            (ours.into(), OwnedFd::from(theirs).into())
        };
        let (mut reader, writer) = kit::pipe();
        let mut l = cx.ledger();
        let (socket, to) = (kit::plain(&ours), kit::plain(&writer));
        l.start(Splice::new(socket, to, 64), 1);
        l.hand_over();
        theirs.write_all(b"text").unwrap();
        assert_eq!(l.one().into_result().unwrap(), 4);
        assert_eq!(text(&mut reader), "text");
        // More than the socket takes: it goes in parts, and blocks nobody.
        let from = kit::plain(&reader);
        let total = 400 * ROOM;
        let receiver = thread::spawn(move || {
            let mut bytes = vec![0; total];
            theirs.read_exact(&mut bytes).unwrap();
            bytes
        });
        let feeder = thread::spawn(move || {
            (&writer).write_all(&vec![7; total]).unwrap();
            writer
        });
        let mut moved = 0;
        while moved < total {
            moved += l.run(Splice::new(from, socket, total)).unwrap();
        }
        assert!(receiver.join().unwrap() == vec![7; total]);
        drop(feeder.join().unwrap());
    }
}

fn from_a_device(cx: &mut Cx) {
    let zero = File::open("/dev/zero").unwrap();
    let (mut reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    let op = Splice::new(kit::plain(&zero), kit::plain(&writer), 5);
    assert_eq!(l.run(op).unwrap(), 5);
    assert_eq!(text(&mut reader), "\0\0\0\0\0");
}

/// Whatever the other side is.
fn a_full_pipe_is_waited_for(cx: &mut Cx) {
    let mut file = kit::file(&[7; ROOM]);
    file.rewind().unwrap();
    let (source, mut feed) = kit::pipe();
    feed.write_all(b"text").unwrap();
    for from in [kit::plain(&file), kit::plain(&source)] {
        let (mut reader, mut writer) = small_pipe();
        writer.write_all(&[1; ROOM]).unwrap();
        let mut l = cx.ledger();
        let to = l.at(&writer);
        let op = Splice::new(from, to, 4);
        l.start(op, 1);
        l.hand_over();
        reader.read_exact(&mut [0; ROOM]).unwrap();
        assert_eq!(l.one().into_result().unwrap(), 4);
    }
}

fn the_end_of_a_pipe(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let file = kit::file(b"");
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&file));
    l.start(Splice::new(from, to, 64), 1);
    l.hand_over();
    drop(writer);
    assert_eq!(l.one().into_result().unwrap(), 0);
}

/// I24: the process lives, and no signal is left.
fn nobody_reads(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    writer.write_all(b"text").unwrap();
    let (end, to) = kit::pipe();
    let (ours, theirs) = kit::pair();
    drop((end, theirs));
    let mut l = cx.ledger();
    let from = l.at(&reader);
    let ears = crate::stream_kinds::Ears::new();
    for to in [to.as_raw_fd(), ours.as_raw_fd()] {
        assert_eq!(l.errno(Splice::new(from, kit::number(to), 64)), libc::EPIPE);
    }
    assert_eq!(l.errno(Tee::new(from, kit::plain(&to), 64)), libc::EPIPE);
    ears.heard_nothing();
}

/// I34. There is no order.
fn several_on_one_pipe(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&middle));
    for n in 0..4 {
        l.start(Splice::new(from, to, 1), n);
    }
    l.start(Read::new(from, [0; 1]), 4);
    l.hand_over();
    writer.write_all(b"abcde").unwrap();
    let entries = l.take_sorted(5);
    assert_eq!(kit::errnos(&entries), [0; 5]);
    assert_eq!(text(&mut end).len(), 4);
}

/// One takes what all workers were told is there: the others wait on.
fn several_that_write_to_a_file(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let file = kit::file(b"");
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&file));
    for round in 0..50 {
        for n in 0..4 {
            l.start(Splice::new(from, to, 64).to_offset(0), n);
        }
        if round % 2 == 0 {
            l.hand_over();
        }
        for _ in 0..4 {
            writer.write_all(b"x").unwrap();
            let entry = l.one();
            assert_eq!(entry.into_result().unwrap(), 1);
        }
    }
}

/// io_uring's kernel interrupts the worker that has it, and lets its own word for that out.
fn assert_cancelled<O: Op<Output = usize> + 'static>(
    cx: &Cx,
    l: &mut Ledger,
    op: Lent<O>,
    entry: Entry,
) {
    let raw = entry.raw_os_error();
    assert!(raw == Some(libc::ECANCELED) || cx.is_io_uring() && raw == Some(512));
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
}

fn cancelled(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = small_pipe();
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let (from, to, file) = (l.at(&reader), l.at(&middle), l.at(&file));
    for handed_over in [false, true] {
        let ops = [(from, to), (from, file)].map(|(from, to)| Splice::new(from, to, 64));
        let ops = ops.map(|op| l.start(op, 1));
        let tee = l.start(Tee::new(from, to, 64), 2);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        l.try_cancel(2).unwrap();
        let mut entries = l.take_sorted(3);
        assert_cancelled(cx, &mut l, tee, entries.remove(2));
        for (op, entry) in ops.into_iter().zip(entries) {
            assert_cancelled(cx, &mut l, op, entry);
        }
    }
    // One that waits for room; and a late one.
    (&middle).write_all(&[1; ROOM]).unwrap();
    let op = l.start(Splice::new(file, to, 64), 2);
    l.hand_over();
    l.try_cancel(2).unwrap();
    let entry = l.one();
    assert_cancelled(cx, &mut l, op, entry);
    end.read_exact(&mut [0; ROOM]).unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(l.run(Splice::new(from, to, 64)).unwrap(), 1);
    l.try_cancel(1).unwrap();
}

/// I5.
fn dropped_in_flight(cx: &mut Cx) {
    let (mut reader, mut writer) = kit::pipe();
    let (_end, middle) = kit::pipe();
    let file = kit::file(b"text");
    for handed_over in [true, false] {
        let mut l = cx.ledger();
        let (from, to, file) = (l.at(&reader), l.at(&middle), l.at(&file));
        for n in 0..4 {
            l.start(Splice::new(from, to, 64), n);
            l.start(Splice::new(from, file, 64), n);
            l.start(Splice::new(file, to, 1), n);
        }
        if handed_over {
            l.turn();
        }
        l.abandon();
        writer.write_all(b"later").unwrap();
        assert_eq!(text(&mut reader), "later");
    }
}

fn both_are_fixed(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let file = kit::file(b"file");
    let mut l = cx.ledger();
    let from = l.register_fd(reader.as_raw_fd(), 7).unwrap();
    let to = l.register_fd(middle.as_raw_fd(), 3).unwrap();
    let file = l.register_fd(file.as_raw_fd(), 5).unwrap();
    l.start(Splice::new(from, to, 64), 1);
    l.hand_over();
    writer.write_all(b"pipe").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 4);
    assert_eq!(text(&mut end), "pipe");
    let op = Splice::new(file, to, 64).from_offset(0);
    assert_eq!(l.run(op).unwrap(), 4);
    assert_eq!(text(&mut end), "file");
    writer.write_all(b"text").unwrap();
    assert_eq!(l.run(Tee::new(from, to, 64)).unwrap(), 4);
    assert_eq!(text(&mut end), "text");
}

/// I11: it waits for one end while the other leaves the table. io_uring's kernel looks the numbers
/// up on its worker, some time after the submission: there they must stay what they are.
fn another_file_under_its_number(cx: &mut Cx) {
    if cx.is_io_uring() {
        return;
    }
    let (reader, mut writer) = kit::pipe();
    let (end, middle) = kit::pipe();
    let (mut other, innocent) = kit::pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&middle));
    l.start(Splice::new(from, to, 64), 1);
    l.hand_over();
    l.detach(to);
    kit::replace(&innocent, middle.as_raw_fd());
    l.at(&middle);
    writer.write_all(b"text").unwrap();
    assert_eq!(l.one().raw_os_error(), Some(libc::EBADF));
    drop((innocent, middle, end));
    assert_eq!(text(&mut other), "", "nothing came here");
}

fn tee_leaves_what_it_copies(cx: &mut Cx) {
    let (mut reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&middle));
    let op = l.start(Tee::new(from, to, 3), 1);
    l.hand_over();
    writer.write_all(b"text").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    assert_eq!(text(&mut end), "tex");
    l.op(op).set_len(64);
    l.push(op, 2);
    assert_eq!(l.one().into_result().unwrap(), 4);
    assert_eq!(text(&mut end), "text");
    assert_eq!(text(&mut reader), "text");
}

/// I29.
fn no_length(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    writer.write_all(b"text").unwrap();
    let (_end, middle) = kit::pipe();
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let (from, to, file) = (l.at(&reader), l.at(&middle), l.at(&file));
    assert_eq!(l.run(Splice::new(from, to, 0)).unwrap(), 0);
    assert_eq!(l.run(Splice::new(file, to, 0)).unwrap(), 0);
    assert_eq!(l.run(Tee::new(from, to, 0)).unwrap(), 0);
}

/// I30.
fn offsets_end_at_i64_max(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    writer.write_all(b"text").unwrap();
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let (from, file) = (l.at(&reader), l.at(&file));
    for offset in [1 << 63, u64::MAX] {
        let (_, entry) = l.entry_of(Splice::new(file, from, 64).from_offset(offset));
        assert_eq!(entry.refusal(), Some(Refusal::Offset));
        let (_, entry) = l.entry_of(Splice::new(from, file, 64).to_offset(offset));
        assert_eq!(entry.refusal(), Some(Refusal::Offset));
    }
}

fn plainly(from: i32, to: i32, offset: Option<i64>) -> i32 {
    let mut offset = offset;
    let at = offset
        .as_mut()
        .map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: reads and writes a local, if anything.
    let n = unsafe { libc::splice(from, at, to, std::ptr::null_mut(), 64, 0) };
    assert!(n < 0, "it should fail");
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// I33.
fn errors_of_the_plain_call(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    writer.write_all(b"text").unwrap();
    let (end, middle) = kit::pipe();
    let [file, other] = [kit::file(b"text"), kit::file(b"")];
    let directory = File::open("/").unwrap();
    let append = kit::TempPath::new();
    fs::write(&*append, "").unwrap();
    let append = File::options().append(true).open(&*append).unwrap();
    let [reader, writer, end, middle, file, other, directory, append] = [
        &reader, &writer, &end, &middle, &file, &other, &directory, &append,
    ]
    .map(AsRawFd::as_raw_fd);
    let mut l = cx.ledger();
    for (from, to, offset) in [
        (file, other, None),
        (reader, writer, None),
        (reader, end, None),
        (middle, file, None),
        (reader, append, None),
        (directory, middle, None),
        (reader, middle, Some(0_i64)),
        (reader, 900_000, None),
        (900_000, middle, None),
    ] {
        let op = Splice::new(kit::number(from), kit::number(to), 64);
        let op = match offset {
            Some(offset) => op.from_offset(offset.unsigned_abs()),
            None => op,
        };
        assert_eq!(l.errno(op), plainly(from, to, offset), "{from} {to}");
    }
    let op = Tee::new(kit::number(file), kit::number(middle), 64);
    assert_eq!(l.errno(op), libc::EINVAL);
}

fn without_workers(cx: &mut Cx) {
    let file = kit::file(b"text");
    let (reader, writer) = kit::pipe();
    let mut l = cx.with(|limits| limits.workers(0));
    let op = Splice::new(kit::plain(&file), kit::plain(&writer), 64).from_offset(0);
    assert_eq!(l.run(op).unwrap(), 4);
    let op = Splice::new(kit::plain(&reader), kit::plain(&file), 64).to_offset(4);
    assert_eq!(l.run(op).unwrap(), 4);
    assert_eq!(file.metadata().unwrap().len(), 8);
}

/// A file goes through `cat` and comes out in another one.
fn through_a_child(cx: &mut Cx) {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n / 3).to_le_bytes()[0]).collect();
    let from = kit::file(&bytes);
    (&from).rewind().unwrap();
    let mut to = kit::file(b"");
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = Some(child.stdin.take().unwrap());
    let stdout = child.stdout.take().unwrap();
    let mut l = cx.ledger();
    let feeds = Splice::new(
        kit::plain(&from),
        kit::plain(stdin.as_ref().unwrap()),
        1 << 20,
    );
    let feeds = l.start(feeds, 1);
    let takes = l.start(
        Splice::new(kit::plain(&stdout), kit::plain(&to), 1 << 20),
        2,
    );
    loop {
        let entry = l.one();
        match (entry.user_data(), entry.result().unwrap()) {
            (1, 0) => drop(stdin.take()),
            (1, _) => l.push(feeds, 1),
            (_, 0) => break,
            _ => l.push(takes, 2),
        }
    }
    assert!(child.wait().unwrap().success());
    to.rewind().unwrap();
    let mut copied = Vec::new();
    to.read_to_end(&mut copied).unwrap();
    assert!(copied == bytes);
}

fn lent_and_owned(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let (mut end, middle) = kit::pipe();
    let mut op = Splice::new(reader.as_fd(), middle.as_fd(), 64);
    let mut l: Ledger = cx.ledger();
    l.scope(|s| {
        let ticket = s.try_lend(&mut op, 1).unwrap();
        hand_over(s);
        writer.write_all(b"text").unwrap();
        let done = take(s, 1).remove(0);
        assert_eq!(ticket.redeem(done).unwrap().0.unwrap(), 4);
    })
    .unwrap();
    assert_eq!(text(&mut end), "text");
    let owned = Splice::new(OwnedFd::from(reader), OwnedFd::from(middle), 64);
    let key = l.try_push_owned(owned, 2).unwrap();
    writer.write_all(b"more").unwrap();
    let (moved, _) = crate::steps::outcome(&mut l, key);
    assert_eq!(moved.unwrap(), 4);
    assert_eq!(text(&mut end), "more");
}
