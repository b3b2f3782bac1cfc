//! I27: files that are made shorter and longer.

use crate::kit;
use crate::ledger::Cx;
use completeio_driver::driver::{AsRawFd, CompleteIo, Refusal};
use completeio_driver::op::{Allocate, ReadAt, Truncate};
use std::io::ErrorKind;

contract![lengths, room_for_more, truncated_while_read];

/// Longer, shorter, nothing; in place too.
fn lengths(cx: &mut Cx) {
    for workers in [0, 2] {
        let file = kit::file(b"text");
        let mut l = cx.with(|limits| limits.workers(workers));
        let fd = l.at(&file);
        if !l.supports("Truncate") {
            let (_, entry) = l.entry_of(Truncate::new(fd, 1));
            assert_eq!(entry.refusal(), Some(Refusal::Unsupported));
            return kit::skip("Truncate needs Linux 6.9 on io_uring");
        }
        for (len, bytes) in [(6, "text\0\0"), (2, "te"), (2, "te"), (3, "te\0"), (0, "")] {
            l.run(Truncate::new(fd, len)).unwrap();
            assert_eq!(kit::contents(&file), bytes.as_bytes());
        }
        let fixed = l.register_fd(file.as_raw_fd(), 3).unwrap();
        l.run(Truncate::new(fixed, 5_000_000_000)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5_000_000_000);
    }
}

/// Room is taken behind the end, or the file is made longer; none is made shorter, and nothing is
/// lost.
fn room_for_more(cx: &mut Cx) {
    for workers in [0, 2] {
        let file = kit::file(b"text");
        let mut l = cx.with(|limits| limits.workers(workers));
        let fd = l.at(&file);
        for (op, len) in [
            (Allocate::new(fd, 0, 100).keep_size(), 4),
            (Allocate::new(fd, 0, 2), 4),
            (Allocate::new(fd, 2, 7), 9),
            (Allocate::new(fd, 0, 8).keep_size(), 9),
        ] {
            match l.run(op) {
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                made => made.unwrap(),
            }
            assert_eq!(file.metadata().unwrap().len(), len);
        }
        let bytes = kit::contents(&file);
        assert!(b"text\0\0\0\0\0".starts_with(&bytes[..]) && bytes.starts_with(b"text"));
    }
}

/// A read of a file that becomes shorter meanwhile gives bytes of the one length or the other, and
/// none that were never there.
fn truncated_while_read(cx: &mut Cx) {
    const LEN: usize = 1 << 18;
    let mut l = cx.ledger();
    if !l.supports("Truncate") {
        return kit::skip("Truncate needs Linux 6.9 on io_uring");
    }
    for round in 0..50 {
        let file = kit::file(&[7; LEN]);
        let fd = l.at(&file);
        let cut = if round % 2 == 0 { 0 } else { 10_000 };
        let truncate = l.lend(Truncate::new(fd, cut as u64));
        let read = l.lend(ReadAt::new(fd, 0, vec![1; LEN].into_boxed_slice()));
        if round % 4 < 2 {
            l.push(read, 1);
            l.push(truncate, 0);
        } else {
            l.push(truncate, 0);
            l.push(read, 1);
        }
        let mut entries = l.take_sorted(2);
        assert_eq!(kit::errno(&entries[0]), 0);
        let n = l.finish(read, entries.remove(1)).unwrap();
        assert!((cut..=LEN).contains(&n), "{n}");
        let bytes = l.op(read).buf();
        assert!(bytes[..cut].iter().all(|byte| *byte == 7));
        assert!(bytes[cut..n].iter().all(|byte| [0, 7].contains(byte)));
        // Afterwards the end is where it was put.
        assert_eq!(l.run(ReadAt::new(fd, cut as u64, [0; 8])).unwrap(), 0);
        let all = ReadAt::new(fd, 0, vec![0; LEN].into_boxed_slice());
        assert_eq!(l.run(all).unwrap(), cut);
    }
}
