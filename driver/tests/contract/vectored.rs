//! Several buffers in one operation: as the plain vectored calls, whatever the parts are.

use crate::kit;
use crate::ledger::Cx;
use crate::region::Region;
use crate::steps::run;
use completeio_driver::driver::{AsFd, AsRawFd, OwnedFd, Refusal};
use completeio_driver::op::{ReadVectoredAt, WriteVectoredAt};
use std::fs::{self, File};
use std::io::ErrorKind;

contract! {
    everywhere: [
        reads_fill_parts_in_order,
        parts_without_bytes,
        the_end_of_the_file,
        offsets_end_at_i64_max,
    ],
    on_host: [
        writes_take_parts_in_order,
        any_number_of_parts,
        no_parts_at_all,
        the_rest_after_a_short_flight,
        parts_that_came_later_have_no_place,
        lengths_are_clamped,
        in_a_scope_and_owned,
    ],
    on_unix: [
        errors_of_the_plain_call,
    ],
}

const IOV_MAX: usize = 1024;

/// Bytes that tell where they are.
fn content(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// A file to be read and written.
fn opened() -> (kit::TempPath, File) {
    let path = kit::TempPath::new();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&*path)
        .unwrap();
    (path, file)
}

fn reads_fill_parts_in_order(cx: &mut Cx) {
    let text = content(40);
    let file = cx.file(&text);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let parts = (
        [0; 3],
        Vec::with_capacity(10),
        vec![0; 7].into_boxed_slice(),
    );
    let (op, entry) = l.entry_of(ReadVectoredAt::new(fd, 5, parts));
    let room = 3 + l.op(op).bufs().1.capacity() + 7;
    assert_eq!(l.finish(op, entry).unwrap(), room.min(35));
    let (array, vec, boxed) = l.op(op).bufs();
    let all = [&array[..], vec, boxed].concat();
    assert_eq!(all[..room.min(35)], text[5..5 + room.min(35)]);
}

fn writes_take_parts_in_order(cx: &mut Cx) {
    let (path, file) = opened();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let parts = ("head ", String::from("and "), *b"body", vec![b'!'; 3]);
    assert_eq!(l.run(WriteVectoredAt::new(fd, 2, parts)).unwrap(), 16);
    assert_eq!(fs::read(&*path).unwrap(), b"\0\0head and body!!!");
    let parts: Vec<&[u8]> = vec![b"HE", b"", b"A"];
    assert_eq!(l.run(WriteVectoredAt::new(fd, 2, parts)).unwrap(), 3);
    assert_eq!(fs::read(&*path).unwrap(), b"\0\0HEAd and body!!!");
}

/// I31: 0, 1, `IOV_MAX`, and more: what one call does not take is left.
fn any_number_of_parts(cx: &mut Cx) {
    let (path, file) = opened();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for parts in [1, 2, IOV_MAX - 1, IOV_MAX, IOV_MAX + 1, 3 * IOV_MAX] {
        let text = content(2 * parts);
        let moved = 2 * parts.min(IOV_MAX);
        let bytes: Vec<[u8; 2]> = text.chunks(2).map(|two| two.try_into().unwrap()).collect();
        assert_eq!(l.run(WriteVectoredAt::new(fd, 0, bytes)).unwrap(), moved);
        assert_eq!(fs::read(&*path).unwrap()[..moved], text[..moved]);

        let (op, entry) = l.entry_of(ReadVectoredAt::new(fd, 0, vec![[0; 2]; parts]));
        assert_eq!(l.finish(op, entry).unwrap(), moved);
        assert_eq!(l.op(op).bufs().concat()[..moved], text[..moved]);
    }
}

/// I29: they take no place of the 1,024.
fn parts_without_bytes(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let mut parts: Vec<Box<[u8]>> = vec![Box::new([]); 2 * IOV_MAX];
    parts.push(Box::new([0; 2]));
    parts.push(Box::new([]));
    parts.push(Box::new([0; 2]));
    let (op, entry) = l.entry_of(ReadVectoredAt::new(fd, 0, parts));
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    assert_eq!(l.op(op).bufs().concat(), b"text");
}

fn no_parts_at_all(cx: &mut Cx) {
    let (path, file) = opened();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    assert_eq!(l.run(WriteVectoredAt::new(fd, 9, [""; 0])).unwrap(), 0);
    assert_eq!(l.run(WriteVectoredAt::new(fd, 9, ["", ""])).unwrap(), 0);
    assert_eq!(
        fs::metadata(&*path).unwrap().len(),
        0,
        "nothing was written"
    );
    assert_eq!(l.run(ReadVectoredAt::new(fd, 0, [[0; 4]; 0])).unwrap(), 0);
    assert_eq!(l.run(ReadVectoredAt::new(fd, 0, [[0; 0]; 3])).unwrap(), 0);
}

fn the_end_of_the_file(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(ReadVectoredAt::new(
        fd,
        1,
        [[b'-'; 2], [b'-'; 2], [b'-'; 2]],
    ));
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    assert_eq!(l.op(op).bufs(), &[*b"ex", *b"t-", *b"--"]);
    assert_eq!(l.run(ReadVectoredAt::new(fd, 4, [[0; 2]; 2])).unwrap(), 0);
}

/// I9: a flight that moved less is gone on with, in the middle of a part.
fn the_rest_after_a_short_flight(cx: &mut Cx) {
    let text = content(12);
    let file = kit::file(&text);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let parts = [[0; 4], [0; 4], [0; 4]];
    let (op, entry) = l.entry_of(ReadVectoredAt::new(fd, 0, parts));
    assert_eq!(entry.into_result().unwrap(), 12);
    // As if it had moved 5.
    // SAFETY: it moved more.
    unsafe { l.op(op).advance(5) };
    assert_eq!(l.op(op).advanced(), 5);
    l.push(op, 1);
    let entry = l.take(1).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), 12);
    assert_eq!(l.op(op).bufs().concat(), text);

    let (path, file) = opened();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(WriteVectoredAt::new(fd, 3, ["abcd", "efgh"]));
    assert_eq!(entry.into_result().unwrap(), 8);
    fs::write(&*path, "").unwrap();
    l.op(op).advance(6);
    l.push(op, 1);
    let entry = l.take(1).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(fs::read(&*path).unwrap(), b"\0\0\0\0\0\0\0\0\0gh");
    // Replaced buffers begin anew.
    *l.op(op).bufs_mut() = ["x", "y"];
    l.push(op, 1);
    let entry = l.take(1).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), 2);
}

/// The table is made once, so that a push allocates nothing.
fn parts_that_came_later_have_no_place(cx: &mut Cx) {
    let (path, file) = opened();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(WriteVectoredAt::new(fd, 0, vec!["one"]));
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    l.op(op).bufs_mut().push("two");
    l.push(op, 1);
    let entry = l.take(1).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), 3, "a short write, as others");
    assert_eq!(fs::read(&*path).unwrap(), b"one");
}

/// I10, I33.
#[cfg(unix)]
fn errors_of_the_plain_call(cx: &mut Cx) {
    let mut l = cx.ledger();
    let errno = |result: std::io::Result<usize>| result.unwrap_err().raw_os_error();
    let reader = File::open("Cargo.toml").unwrap();
    let reader = l.at(&reader);
    let written = l.run(WriteVectoredAt::new(reader, 0, ["a", "b"]));
    assert_eq!(errno(written), Some(kit::code::EBADF));
    let dir = File::open("/").unwrap();
    let dir = l.at(&dir);
    let read = l.run(ReadVectoredAt::new(dir, 0, [[0; 2]; 2]));
    assert_eq!(errno(read), Some(libc::EISDIR));
    let Some(full) = kit::full_device() else {
        return;
    };
    let full = l.at(&full);
    let written = l.run(WriteVectoredAt::new(full, 0, ["a", "b"]));
    assert_eq!(errno(written), Some(libc::ENOSPC));
}

/// I30.
fn offsets_end_at_i64_max(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for offset in [1 << 63, u64::MAX] {
        let (_, entry) = l.entry_of(ReadVectoredAt::new(fd, offset, [[0; 2]; 2]));
        assert_eq!(entry.refusal(), Some(Refusal::Offset));
        let (_, entry) = l.entry_of(WriteVectoredAt::new(fd, offset, ["a"]));
        assert_eq!(
            entry.into_result().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

/// I28: the sum, too.
fn lengths_are_clamped(cx: &mut Cx) {
    const MAX: usize = 0x7fff_f000;
    let null = File::options().write(true).open("/dev/null").unwrap();
    const PART: usize = 1 << 30;
    let region = Region::new(5 * PART);
    let parts = [0, 1, 2, 3, 4].map(|n| &*region.lend(n * PART..(n + 1) * PART));
    let mut l = cx.ledger();
    let fd = l.at(&null);
    assert_eq!(l.run(WriteVectoredAt::new(fd, 0, parts)).unwrap(), MAX);
}

fn in_a_scope_and_owned(cx: &mut Cx) {
    let text = content(8);
    let file = kit::file(&text);
    let owned = OwnedFd::from(file.try_clone().unwrap());
    let (mut head, mut tail) = ([0; 3], [0; 5]);
    let mut read = ReadVectoredAt::new(file.as_fd(), 0, (&mut head, &mut tail));
    let mut l = cx.ledger();
    l.scope(|s| assert_eq!(run(s, &mut read).0.unwrap(), 8))
        .unwrap();
    assert_eq!([&head[..], &tail].concat(), text);

    let op = ReadVectoredAt::new(owned, 0, [Vec::with_capacity(3), Vec::with_capacity(20)]);
    let key = l.try_push_owned(op, 0).unwrap();
    while !key.is_done() {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    let (read, op) = key.redeem().unwrap();
    assert_eq!(read.unwrap(), 8);
    assert_eq!(op.bufs().concat(), text);
    assert!(kit::is_open(op.fd().as_raw_fd()));
    let mut again = [0; 8];
    kit::read_at(&file, &mut again, 0);
    assert_eq!(again[..], text);
}
