//! Reads and writes of several buffers, where there are no positions: as the plain vectored calls,
//! whatever the parts are and whatever is at the other end.

use crate::ends::End;
use crate::kit;
#[cfg(any(target_os = "linux", windows))]
use crate::kit::small_pipe;
use crate::ledger::{Cx, Ledger};
use crate::region::Region;
use crate::steps::{outcome as owned_outcome, run};
use crate::stream::ROOM;
#[cfg(target_os = "linux")]
use crate::stream_kinds::counter;
use crate::stream_kinds::null_device;
#[cfg(unix)]
use crate::stream_kinds::{Ears, fifo, outcome, plainly, set_non_blocking, terminal};
use completeio_driver::driver::{AsFd, AsRawFd, BorrowedFd, CompleteIo, Entry, OwnedFd};
use completeio_driver::op::{Exact, Read, ReadVectored, Write, WriteVectored};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek, SeekFrom, Write as _};
use std::process::{Command, Stdio};
use std::thread;

contract! {
    everywhere: [
        parts_are_filled_in_order,
        the_end_of_a_pipe,
        a_read_is_continued,
        fixed_lent_and_owned,
    ],
    on_host: [
        any_number_of_parts,
        lengths_are_clamped,
        no_bytes_at_all,
        one_queue_for_each_direction,
        a_file_where_it_is,
    ],
    // Signals, FIFOs, terminals, and a program that there is.
    on_unix: [
        nobody_reads_and_no_signal_comes,
        no_bytes_for_a_terminal,
        a_fifo_in_blocking_mode,
        a_terminal_in_blocking_mode,
        all_of_it_through_a_child,
    ],
    // Pipes have as little room as a test likes.
    not_on_bsd: [
        a_write_is_continued,
        dropped_in_flight,
    ],
    on_linux: [
        a_full_pipe_takes_a_part,
        cancelled_before_during_and_after,
        as_the_plain_calls,
        an_end_before_the_room_is_full,
    ],
}

const IOV_MAX: usize = 1024;

/// What takes as many parts as a call has: a pipe, or a socket where only those do.
fn ends(cx: &Cx) -> (End, End) {
    if kit::PIPES_TAKE_PARTS {
        cx.pipe()
    } else {
        cx.pair()
    }
}

/// Bytes that tell where they are.
fn content(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn parts_are_filled_in_order(cx: &mut Cx) {
    let (reader, mut writer) = ends(cx);
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    for waits in [true, false] {
        let parts = ([b'-'; 3], Vec::with_capacity(4), [b'-'; 0], *b"----");
        let op = l.lend(ReadVectored::new(from, parts));
        let room = l.op(op).bufs().1.capacity();
        let text = content(3 + room + 2);
        if waits {
            l.push(op, 1);
            l.hand_over();
            writer.write_all(&text).unwrap();
        } else {
            let (head, rest) = text.split_at(5);
            let pieces = [head.to_vec(), Vec::new(), rest.to_vec()];
            assert_eq!(l.run(WriteVectored::new(to, pieces)).unwrap(), text.len());
            l.push(op, 1);
        }
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), text.len());
        let (first, second, _, last) = l.op(op).bufs();
        assert_eq!([&first[..], second, &last[..2]].concat(), text);
        assert_eq!(last[2..], *b"--");
    }
}

fn the_end_of_a_pipe(cx: &mut Cx) {
    let (reader, mut writer) = ends(cx);
    writer.write_all(b"last").unwrap();
    let mut l = cx.ledger();
    let from = l.at(&reader);
    let (op, entry) = l.entry_of(ReadVectored::new(from, [[b'-'; 3]; 2]));
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    assert_eq!(l.op(op).bufs(), &[*b"las", *b"t--"]);
    let rooms = [Vec::with_capacity(8), Vec::with_capacity(8)];
    let op = l.start(ReadVectored::new(from, rooms), 1);
    l.hand_over();
    drop(writer);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 0);
    assert!(l.op(op).bufs().concat().is_empty());
}

/// I31: 0, 1, `IOV_MAX`, and more: what one call does not take is left.
fn any_number_of_parts(cx: &mut Cx) {
    let (reader, writer) = ends(cx);
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    for parts in [0, 1, 2, IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 3 * IOV_MAX] {
        let text = content(2 * parts);
        let moved = 2 * parts.min(IOV_MAX);
        let bytes: Vec<[u8; 2]> = text.chunks(2).map(|two| two.try_into().unwrap()).collect();
        assert_eq!(l.run(WriteVectored::new(to, bytes)).unwrap(), moved);
        let (op, entry) = l.entry_of(ReadVectored::new(from, vec![[0; 2]; parts]));
        assert_eq!(l.finish(op, entry).unwrap(), moved);
        assert_eq!(l.op(op).bufs().concat()[..moved], text[..moved]);
    }
    assert_eq!(kit::unread(&reader), 0);
}

/// I28: the sum, too.
fn lengths_are_clamped(cx: &mut Cx) {
    const PART: usize = 1 << 30;
    let null = null_device();
    let region = Region::new(3 * PART);
    let parts = [0, 1, 2].map(|n| &*region.lend(n * PART..(n + 1) * PART));
    let mut l = cx.ledger();
    let fd = l.at(&null);
    assert_eq!(
        l.run(WriteVectored::new(fd, parts)).unwrap(),
        0x7fff_f000,
        "no more than one call moves"
    );
    let all = l.run(Exact::new(WriteVectored::new(fd, parts)));
    assert_eq!(all.unwrap(), 3 * PART);
}

/// I29: as a read and a write of one buffer without bytes.
fn no_bytes_at_all(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let (ours, _theirs) = kit::pair();
    let file = kit::file(b"text");
    let null = null_device();
    let (datagrams, receiver) = kit::datagram_pair();
    receiver.set_read_timeout(Some(kit::LOST)).unwrap();
    let mut l = cx.ledger();
    for fd in [reader.as_raw_fd(), ours.as_raw_fd(), file.as_raw_fd()] {
        let fd = kit::number(fd);
        assert_eq!(l.run(ReadVectored::new(fd, [[0; 4]; 0])).unwrap(), 0);
        assert_eq!(l.run(ReadVectored::new(fd, [[0; 0]; 3])).unwrap(), 0);
    }
    for fd in [writer.as_raw_fd(), file.as_raw_fd(), null.as_raw_fd()] {
        writes_nothing(&mut l, kit::number(fd));
    }
    let to = kit::plain(&datagrams);
    for _ in 0..2 {
        assert_eq!(l.run(WriteVectored::new(to, ["", ""])).unwrap(), 0);
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 0, "one has come");
    }
    assert_eq!(
        l.run(WriteVectored::new(to, ["one", " datagram"])).unwrap(),
        12
    );
    assert_eq!(receiver.recv(&mut [0; 16]).unwrap(), 12);
}

fn writes_nothing(l: &mut Ledger, fd: BorrowedFd<'static>) {
    assert_eq!(l.run(WriteVectored::new(fd, [""; 0])).unwrap(), 0);
    assert_eq!(l.run(WriteVectored::new(fd, ["", ""])).unwrap(), 0);
}

#[cfg(unix)]
fn no_bytes_for_a_terminal(cx: &mut Cx) {
    let (_master, terminal) = terminal();
    writes_nothing(&mut cx.ledger(), kit::plain(&terminal));
}

/// I9: in the middle of a part.
#[cfg(target_os = "linux")]
fn a_full_pipe_takes_a_part(cx: &mut Cx) {
    let (mut reader, writer) = small_pipe();
    let text = content(3 * 1500);
    let parts: Vec<Vec<u8>> = text.chunks(1500).map(<[u8]>::to_vec).collect();
    let mut l = cx.ledger();
    let to = l.at(&writer);
    let (op, entry) = l.entry_of(WriteVectored::new(to, parts));
    assert_eq!(entry.result().unwrap(), ROOM);
    l.op(op).advance(ROOM);
    assert_eq!(l.op(op).advanced(), ROOM);
    // The rest waits for room, and counts all of it.
    l.push(op, 1);
    l.hand_over();
    let mut read = vec![0; ROOM];
    reader.read_exact(&mut read).unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), text.len());
    read.resize(text.len(), 0);
    reader.read_exact(&mut read[ROOM..]).unwrap();
    assert_eq!(read, text);
}

#[cfg(any(target_os = "linux", windows))]
fn a_write_is_continued(cx: &mut Cx) {
    let text = content(400_000);
    let parts: Vec<Vec<u8>> = text.chunks(7777).map(<[u8]>::to_vec).collect();
    let (mut reader, writer) = small_pipe();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        received
    });
    let mut l = cx.ledger();
    let op = WriteVectored::new(l.at(&writer), parts);
    let op = l.lend(op);
    let mut left = text.len();
    loop {
        l.push(op, left);
        let entry = l.one();
        let written = entry.result().unwrap();
        assert!(written > 0);
        left -= written;
        if left == 0 {
            assert_eq!(l.finish(op, entry).unwrap(), text.len());
            break;
        }
        l.op(op).advance(written);
    }
    drop((l, writer));
    assert!(reader.join().unwrap() == text);
}

fn a_read_is_continued(cx: &mut Cx) {
    let (reader, mut writer) = ends(cx);
    let mut l = cx.ledger();
    let op = ReadVectored::new(l.at(&reader), [[0; 4], [0; 4]]);
    let op = l.lend(op);
    for piece in ["abc", "de"] {
        writer.write_all(piece.as_bytes()).unwrap();
        l.push(op, 1);
        assert_eq!(l.one().into_result().unwrap(), piece.len());
        // SAFETY: the flight that just ended wrote so many bytes.
        unsafe { l.op(op).advance(piece.len()) };
    }
    writer.write_all(b"fgh, and more").unwrap();
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(l.op(op).bufs(), &[*b"abcd", *b"efgh"]);
}

/// I34. io_uring's kernel promises no order.
fn one_queue_for_each_direction(cx: &mut Cx) {
    let (ours, mut theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Read::new(fd, [0; 2]), 0);
    l.start(ReadVectored::new(fd, [[0; 1]; 2]), 1);
    l.start(Read::new(fd, [0; 2]), 2);
    l.hand_over();
    l.start(WriteVectored::new(fd, ["pi", "ng"]), 3);
    l.start(Write::new(fd, "pong"), 4);
    assert_eq!(kit::names(&l.take(2)), [3, 4]);
    theirs.write_all(b"abcdef").unwrap();
    let served = kit::names(&l.take(3));
    assert!(cx.is_io_uring() || served == [0, 1, 2]);
    assert_eq!(kit::arrived(&theirs), b"pingpong");
}

#[cfg(target_os = "linux")]
fn cancelled_before_during_and_after(cx: &mut Cx) {
    let (reader, mut writer) = small_pipe();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    for handed_over in [false, true] {
        let rooms = [Vec::with_capacity(8), Vec::with_capacity(8)];
        let op = l.start(ReadVectored::new(from, rooms), 1);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        let entry = l.one();
        assert_eq!(entry.raw_os_error(), Some(libc::ECANCELED));
        l.finish(op, entry).unwrap_err();
        assert!(l.op(op).bufs().concat().is_empty());
    }
    writer.write_all(&[1; ROOM]).unwrap();
    for handed_over in [false, true] {
        l.start(WriteVectored::new(to, ["x", "y"]), 2);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel_fd(&to).unwrap();
        assert_eq!(l.one().raw_os_error(), Some(libc::ECANCELED));
    }
    assert_eq!(l.run(Read::new(from, [0; ROOM])).unwrap(), ROOM);
    // Nothing was taken and nothing was written; a late cancel finds nothing.
    l.try_cancel(1).unwrap();
    assert_eq!(l.turn().len(), 0);
    assert_eq!(l.run(WriteVectored::new(to, ["la", "ter"])).unwrap(), 5);
    assert_eq!(l.run(ReadVectored::new(from, [[0; 4]; 2])).unwrap(), 5);
}

/// I5.
#[cfg(any(target_os = "linux", windows))]
fn dropped_in_flight(cx: &mut Cx) {
    for handed_over in [true, false] {
        let (mut reader, mut writer) = kit::pipe();
        let (_reads, full) = small_pipe();
        let file = kit::file(&[7; 100]);
        let mut l = cx.ledger();
        for n in 0..4 {
            let (pipe, full, file) = (l.at(&reader), l.at(&full), l.at(&file));
            l.start(ReadVectored::new(pipe, vec![[0; 16]; 4]), n);
            l.start(WriteVectored::new(full, [[0; ROOM]; 2]), n);
            l.start(ReadVectored::new(file, [[0; 8]; 2]), n);
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

#[cfg(unix)]
/// I24.
fn nobody_reads_and_no_signal_comes(cx: &mut Cx) {
    let (reader, pipe) = kit::pipe();
    let (other, fifo) = fifo();
    let (theirs, socket) = kit::pair();
    drop((reader, other, theirs));
    let mut l = cx.ledger();
    let granted = &l.capabilities().granted;
    if granted.contains(&("writes without SIGPIPE", "no (Linux 6.18)".to_owned())) {
        return kit::skip("it needs Linux 6.18");
    }
    let ears = Ears::new();
    for non_blocking in [false, true] {
        for fd in [pipe.as_raw_fd(), fifo.as_raw_fd(), socket.as_raw_fd()] {
            let fd = kit::number(fd);
            if non_blocking {
                set_non_blocking(&fd);
            }
            assert_eq!(l.errno(WriteVectored::new(fd, ["x", "y"])), libc::EPIPE);
            let large = [[0; 3000]; 3];
            assert_eq!(l.errno(WriteVectored::new(fd, large)), libc::EPIPE);
            ears.heard_nothing();
        }
    }
}

#[cfg(unix)]
/// More than `poll` promises room for goes in pieces, in order, as far as there is room.
fn a_fifo_in_blocking_mode(cx: &mut Cx) {
    let (mut reader, writer) = fifo();
    let mut l = cx.ledger();
    let (from, to) = (l.at(&reader), l.at(&writer));
    let op = l.start(ReadVectored::new(from, [[0; 4]; 2]), 1);
    l.hand_over();
    assert_eq!(l.run(WriteVectored::new(to, ["head", "er"])).unwrap(), 6);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 6);
    assert_eq!(l.op(op).bufs().concat(), b"header\0\0");
    if cx.is_io_uring() {
        return; // The kernel's own write would not return before all of it was read.
    }
    for size in [100, 3000, 5000] {
        let text = content(200_000);
        let parts: Vec<Vec<u8>> = text.chunks(size).map(<[u8]>::to_vec).collect();
        let written = l.run(WriteVectored::new(to, parts)).unwrap();
        assert!(written >= ROOM, "{written}");
        let mut read = vec![0; written];
        reader.read_exact(&mut read).unwrap();
        assert!(read == text[..written]);
        assert_eq!(kit::unread(&reader), 0);
    }
}

#[cfg(unix)]
fn a_terminal_in_blocking_mode(cx: &mut Cx) {
    let (mut master, terminal) = terminal();
    let mut l = cx.ledger();
    let fd = l.at(&terminal);
    let op = l.start(ReadVectored::new(fd, [[0; 3]; 2]), 1);
    l.hand_over();
    master.write_all(b"text").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    assert_eq!(l.op(op).bufs(), &[*b"tex", *b"t\0\0"]);
    for size in [1, 20, 100, 300] {
        let text = content(300);
        let parts: Vec<Vec<u8>> = text.chunks(size).map(<[u8]>::to_vec).collect();
        assert_eq!(l.run(WriteVectored::new(fd, parts)).unwrap(), 300);
        let mut read = [0; 300];
        master.read_exact(&mut read).unwrap();
        assert_eq!(read[..], text);
    }
}

fn a_file_where_it_is(cx: &mut Cx) {
    let mut file = kit::file(b"one two three");
    let mut l = cx.ledger();
    file.seek(SeekFrom::Start(4)).unwrap();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(ReadVectored::new(fd, [[0; 2]; 2]));
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    assert_eq!(l.op(op).bufs().concat(), b"two ");
    assert_eq!(file.stream_position().unwrap(), 8);
    assert_eq!(l.run(WriteVectored::new(fd, ["TH", "R"])).unwrap(), 3);
    assert_eq!(file.stream_position().unwrap(), 11);
    assert_eq!(l.run(ReadVectored::new(fd, [[0; 2]; 2])).unwrap(), 2);
    assert_eq!(l.run(ReadVectored::new(fd, [[0; 2]; 2])).unwrap(), 0);
    file.rewind().unwrap();
    assert_eq!(io::read_to_string(&file).unwrap(), "one two THRee");
}

#[cfg(unix)]
/// A read into, and a write of, `N` parts of so many bytes.
fn plain_calls<const N: usize, const LEN: usize>(fd: &impl AsRawFd) -> [i64; 2] {
    let mut bytes = [[1_u8; LEN]; N];
    let parts = bytes.each_mut().map(|part| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: LEN,
    });
    let count = i32::try_from(N).unwrap();
    // SAFETY: vectors of bytes on the stack.
    let read = plainly(unsafe { libc::readv(fd.as_raw_fd(), parts.as_ptr(), count) });
    // SAFETY: as above.
    let written = plainly(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), count) });
    [read, written]
}

/// I10, I23, I33: devices, counters, and what can be neither read nor written.
#[cfg(target_os = "linux")]
fn as_the_plain_calls(cx: &mut Cx) {
    let open = |path| File::options().read(true).write(true).open(path).unwrap();
    let both = |make: &dyn Fn() -> OwnedFd| [make(), make()];
    let pairs = [
        both(&|| open("/dev/zero").into()),
        both(&|| open("/dev/null").into()),
        both(&|| open("/dev/full").into()),
        both(&|| File::open("/").unwrap().into()),
        both(&|| kit::path_only("/dev/null").unwrap().into()),
        both(&|| kit::listener().0.into()),
        both(&|| kit::tcp_socket()),
        both(&|| File::open("Cargo.toml").unwrap().into()),
    ];
    let mut l = cx.ledger();
    for [ours, twin] in &pairs {
        let plain = plain_calls::<2, 4>(twin);
        let fd = kit::plain(ours);
        let read = outcome(&mut l, ReadVectored::new(fd, [[1; 4]; 2]));
        let written = outcome(&mut l, WriteVectored::new(fd, [[1; 4]; 2]));
        assert_eq!([read, written], plain);
    }
    // A counter gives its number to any parts, and takes it in one part only.
    let [ours, twin] = [(); 2].map(|()| counter(0));
    for counter in [&ours, &twin] {
        (&*counter).write_all(&5_u64.to_ne_bytes()).unwrap();
    }
    let plain = plain_calls::<2, 4>(&twin);
    let fd = l.at(&ours);
    let (op, entry) = l.entry_of(ReadVectored::new(fd, [[1; 4]; 2]));
    let read = l.finish(op, entry).unwrap();
    assert_eq!(
        u64::from_ne_bytes(l.op(op).bufs().concat().try_into().unwrap()),
        5
    );
    let written = outcome(&mut l, WriteVectored::new(fd, [[1; 4]; 2]));
    assert_eq!([i64::try_from(read).unwrap(), written], plain);
    for number in [900_000, i32::MAX].map(kit::number) {
        let read = outcome(&mut l, ReadVectored::new(number, [[1; 4]; 2]));
        let written = outcome(&mut l, WriteVectored::new(number, [[1; 4]; 2]));
        assert_eq!([read, written], [-i64::from(libc::EBADF); 2]);
    }
}

fn fixed_lent_and_owned(cx: &mut Cx) {
    let (reader, writer) = ends(cx);
    let mut l = cx.ledger();
    let from = l.register_fd(reader.as_raw_fd(), 0).unwrap();
    let to = l.register_fd(writer.as_raw_fd(), 1).unwrap();
    let op = l.start(ReadVectored::new(from, [[0; 4]; 2]), 1);
    l.hand_over();
    l.start(WriteVectored::new(to, ["fi", "xed"]), 2);
    let [entry, written] = <[Entry; 2]>::try_from(l.take_sorted(2)).unwrap();
    assert_eq!((l.finish(op, entry).unwrap(), kit::errno(&written)), (5, 0));
    drop(l);

    // Others, for a handle of Windows may belong to the driver that it was first attached to.
    let (reader, writer) = ends(cx);
    let (mut head, mut tail) = ([0; 3], [0; 5]);
    let mut write = WriteVectored::new(writer.as_fd(), ["in a", " scope"]);
    let mut read = ReadVectored::new(reader.as_fd(), (&mut head, &mut tail));
    let mut l = cx.ledger();
    l.scope(|s| {
        assert_eq!(run(s, &mut write).0.unwrap(), 10);
        assert_eq!(run(s, &mut read).0.unwrap(), 8);
    })
    .unwrap();
    assert_eq!((&head, &tail), (b"in ", b"a sco"));

    let rooms = [Vec::with_capacity(1), Vec::with_capacity(20)];
    let op = ReadVectored::new(OwnedFd::from(reader), rooms);
    let key = l.try_push_owned(op, 0).unwrap();
    let (read, op) = owned_outcome(&mut l, key);
    assert_eq!((read.unwrap(), &op.bufs().concat()[..]), (2, &b"pe"[..]));
}

#[cfg(unix)]
/// A real client: a head, many lines and an end go to `cat`, and come back in other parts.
fn all_of_it_through_a_child(cx: &mut Cx) {
    const LEN: usize = 1_000_000;
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let stdout = child.stdout.take().unwrap();
    let text = content(LEN);
    let parts: Vec<Vec<u8>> = text.chunks(333).map(<[u8]>::to_vec).collect();
    let rooms = vec![vec![0; 12_345].into_boxed_slice(); LEN / 12_345 + 1];
    let room = rooms.len() * 12_345;
    let mut l = cx.ledger();
    let write = WriteVectored::new(OwnedFd::from(stdin), parts);
    let write = l.start(Exact::new(write), 1);
    let read = l.start(Exact::new(ReadVectored::new(kit::plain(&stdout), rooms)), 2);
    let entry = l.one();
    assert_eq!(entry.user_data(), 1);
    assert_eq!(l.finish(write, entry).unwrap(), LEN);
    l.free(write);
    // The child sees the end, and so do we.
    let entry = l.one();
    let error = l.finish(read, entry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(room > LEN && l.op(read).advanced() == LEN);
    assert!(l.op(read).buf().concat()[..LEN] == text);
    assert!(child.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
fn an_end_before_the_room_is_full(cx: &mut Cx) {
    let (reader, mut writer) = kit::pipe();
    let mut l = cx.ledger();
    let rooms = [Vec::with_capacity(4), Vec::with_capacity(4)];
    let fd = l.at(&reader);
    let op = l.start(Exact::new(ReadVectored::new(fd, rooms)), 1);
    l.hand_over();
    writer.write_all(b"a few").unwrap();
    while kit::unread(&reader) > 0 {
        l.hand_over();
    }
    drop(writer);
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(l.op(op).advanced(), 5);
    assert_eq!(l.op(op).buf().concat(), b"a few");
    // A write that nobody takes says how far it came.
    let (mut reader, writer) = small_pipe();
    let to = l.at(&writer);
    let op = l.start(Exact::new(WriteVectored::new(to, [[7; 3000]; 4])), 2);
    l.hand_over();
    reader.read_exact(&mut [0; ROOM]).unwrap();
    while kit::unread(&reader) < ROOM {
        l.hand_over();
    }
    drop(reader);
    let entry = l.one();
    assert_eq!(
        l.finish(op, entry).unwrap_err().raw_os_error(),
        Some(libc::EPIPE)
    );
    assert_eq!(l.op(op).advanced(), 2 * ROOM);
}
