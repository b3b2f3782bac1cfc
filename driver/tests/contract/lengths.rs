//! I28: lengths beyond what one call moves are clamped, never wrapped. I29: no length is a length.

use crate::kit;
use crate::ledger::Cx;
use crate::region::Region;
use completeio_driver::op::{MsgFlags, ReadAt, Recv, Send, WriteAt};
use std::fs::File;
use std::io::Write;

contract! {
    everywhere: [
        huge_reads_end_with_the_file,
        huge_receives_take_what_is_there,
        a_full_vector_has_no_room,
    ],
    on_host: [
        huge_writes_are_clamped,
        huge_sends_make_progress,
        empty_reads_and_writes,
        empty_sends_and_receives,
        empty_datagrams,
    ],
}

/// What one call moves at most.
const MAX: usize = 0x7fff_f000;
const LENGTHS: [usize; 9] = [
    MAX - 1,
    MAX,
    MAX + 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    (1 << 32) - 1,
    1 << 32,
    (1 << 32) + 1,
];

fn region() -> Region {
    Region::new((1 << 32) + 4096)
}

fn huge_reads_end_with_the_file(cx: &mut Cx) {
    let file = cx.file(&[7; 10_000]);
    let region = region();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for len in LENGTHS {
        assert_eq!(
            l.run(ReadAt::new(fd, 0, region.lend(0..len))).unwrap(),
            10_000,
            "{len:#x}"
        );
    }
    assert_eq!(
        region.lend(0..10_001),
        [[7; 10_000].as_slice(), &[0]].concat()
    );
}

fn huge_writes_are_clamped(cx: &mut Cx) {
    let null = File::options().write(true).open("/dev/null").unwrap();
    let region = region();
    let mut l = cx.ledger();
    let fd = l.at(&null);
    for len in LENGTHS {
        let written = l.run(WriteAt::new(fd, 0, &*region.lend(0..len))).unwrap();
        assert_eq!(written, len.min(MAX), "{len:#x}");
    }
}

fn huge_receives_take_what_is_there(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let region = region();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for len in LENGTHS {
        theirs.write_all(b"hello").unwrap();
        assert_eq!(
            l.run(Recv::new(fd, region.lend(0..len))).unwrap(),
            5,
            "{len:#x}"
        );
    }
}

fn huge_sends_make_progress(cx: &mut Cx) {
    let region = region();
    for len in LENGTHS {
        let (ours, theirs) = kit::pair();
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        let sent = l.run(Send::new(fd, &*region.lend(0..len))).unwrap();
        assert!((1..len).contains(&sent), "{sent:#x} of {len:#x}");
        assert_eq!(kit::arrived(&theirs).len(), sent);
    }
}

fn empty_reads_and_writes(cx: &mut Cx) {
    let file = kit::file(b"text");
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let mut l = cx.ledger();
    for fd in [l.at(&file), l.at(&null)] {
        assert_eq!(l.run(ReadAt::new(fd, 0, [0; 0])).unwrap(), 0);
        assert_eq!(l.run(ReadAt::new(fd, 1 << 40, Vec::new())).unwrap(), 0);
        assert_eq!(l.run(WriteAt::new(fd, 0, "")).unwrap(), 0);
        assert_eq!(l.run(WriteAt::new(fd, 1 << 40, Vec::new())).unwrap(), 0);
    }
    assert_eq!(
        file.metadata().unwrap().len(),
        4,
        "nothing was written anywhere"
    );
}

fn empty_sends_and_receives(cx: &mut Cx) {
    let unix = kit::pair();
    let tcp = kit::tcp_pair();
    let mut l = cx.ledger();
    for [ours, theirs] in [[l.at(&unix.0), l.at(&unix.1)], [l.at(&tcp.0), l.at(&tcp.1)]] {
        assert_eq!(l.run(Send::new(theirs, "")).unwrap(), 0);
        assert_eq!(l.run(Send::new(theirs, "text")).unwrap(), 4);
        assert_eq!(
            l.run(Recv::new(ours, [0; 4]).flags(MsgFlags::PEEK))
                .unwrap(),
            4
        );
        assert_eq!(l.run(Recv::new(ours, [0; 0])).unwrap(), 0);
        assert_eq!(
            l.run(Recv::new(ours, Vec::with_capacity(16))).unwrap(),
            4,
            "all still there"
        );
        // With nothing there it may wait, as the plain call does; it completes once.
        l.start(Recv::new(ours, [0; 0]), 1);
        l.turn();
        l.settle();
    }
}

fn empty_datagrams(cx: &mut Cx) {
    let (ours, theirs) = kit::datagram_pair();
    let mut l = cx.ledger();
    let (ours, theirs) = (l.at(&ours), l.at(&theirs));
    assert_eq!(l.run(Send::new(theirs, "")).unwrap(), 0);
    assert_eq!(l.run(Send::new(theirs, "text")).unwrap(), 4);
    assert_eq!(l.run(Recv::new(ours, [0; 8])).unwrap(), 0, "the empty one");
    assert_eq!(l.run(Recv::new(ours, [0; 8])).unwrap(), 4);
}

/// A `Vec` lends its spare capacity.
fn a_full_vector_has_no_room(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let full = b"full".to_vec().into_boxed_slice().into_vec();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(ReadAt::new(fd, 0, full));
    assert_eq!(l.finish(op, entry).unwrap(), 0);
    assert_eq!(l.op(op).buf(), b"full");
}
