//! I33: where a backend says something else than the plain call, which no argument makes worse.
//! `checks differential` excuses these and no others.

use crate::kit;
use crate::ledger::Cx;
use crate::stream::ROOM;
use completeio_driver::driver::CompleteIo;
use completeio_driver::op::{
    HardLink, MsgFlags, OpenAt, OpenOptions, ReadAt, Recv, Rename, RwFlags, Splice, Tee, Write,
};
use std::fs::File;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixStream};

contract![
    peeking_at_more_than_there_is,
    datagrams_behind_a_shutdown,
    flags_where_none_are_taken,
    reading_nothing,
    splices_that_are_wrong_in_two_ways,
    no_length_of_a_closed_descriptor,
    names_that_can_be_none,
    a_spliced_pipe_is_written_by_pages,
];

fn peeking_at_more_than_there_is(cx: &mut Cx) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (&theirs).write_all(b"ab").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let mut l = cx.ledger();
    let flags = MsgFlags::PEEK | MsgFlags::WAIT_ALL;
    let fd = l.at(&ours);
    let (op, entry) = l.entry_of(Recv::new(fd, [0; 4]).flags(flags));
    let n = l.finish(op, entry).unwrap();
    let expected: &[u8] = if cx.is_io_uring() { b"abab" } else { b"ab" };
    assert_eq!(&l.op(op).buf()[..n], expected);
}

fn datagrams_behind_a_shutdown(cx: &mut Cx) {
    let (ours, _theirs) = UnixDatagram::pair().unwrap();
    ours.shutdown(Shutdown::Read).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let op = l.start(Recv::new(fd, [0; 4]), 1);
    l.hand_over();
    if !cx.is_io_uring() {
        l.try_cancel(1).unwrap();
    }
    let entry = l.one();
    let expected = if cx.is_io_uring() {
        None
    } else {
        Some(libc::ECANCELED)
    };
    let errno = l.finish(op, entry).err().and_then(|e| e.raw_os_error());
    assert_eq!(errno, expected);
}

fn flags_where_none_are_taken(cx: &mut Cx) {
    let (directory, file) = (File::open("/").unwrap(), kit::file(b"text"));
    let mut l = cx.ledger();
    let (dir, fd) = (l.at(&directory), l.at(&file));
    let apart = |io_uring: i32, readiness: i32| {
        if cx.is_io_uring() {
            io_uring
        } else {
            readiness
        }
    };
    let read = ReadAt::new(dir, 0, [0; 8]).flags(RwFlags::DSYNC);
    assert_eq!(l.errno(read), apart(libc::EISDIR, libc::EOPNOTSUPP));
    // A flag and an offset, both wrong.
    let unknown = RwFlags::from_bits(1 << 30);
    let read = ReadAt::new(fd, i64::MAX as u64, [0; 8]).flags(unknown);
    assert_eq!(l.errno(read), apart(libc::EOPNOTSUPP, libc::EINVAL));
    let nothing = l.run(ReadAt::new(fd, 0, [0; 0]).flags(unknown));
    assert_eq!(nothing.is_ok(), !cx.is_io_uring());
}

fn reading_nothing(cx: &mut Cx) {
    let directory = File::open("/").unwrap();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    let read = l.run(ReadAt::new(dir, 0, [0; 0]));
    assert_eq!(read.is_ok(), cx.is_io_uring());
}

fn splices_that_are_wrong_in_two_ways(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    let (reading, writing) = (l.at(&reader), l.at(&writer));
    let op = Splice::new(writing, reading, 1).to_offset(0);
    let expected = if cx.is_io_uring() {
        libc::EBADF
    } else {
        libc::ESPIPE
    };
    assert_eq!(l.errno(op), expected);
}

fn no_length_of_a_closed_descriptor(cx: &mut Cx) {
    let (reader, _writer) = kit::pipe();
    let mut l = cx.ledger();
    let (fd, closed) = (l.at(&reader), kit::number(900_000));
    assert_eq!(l.errno(Splice::new(fd, closed, 0)), libc::EBADF);
    assert_eq!(l.errno(Tee::new(closed, fd, 0)), libc::EBADF);
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::tee(900_000, 900_000, 0, 0) }, 0);
}

fn names_that_can_be_none(cx: &mut Cx) {
    let file = kit::file(b"");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let apart = |readiness| {
        if cx.is_io_uring() {
            libc::ENOENT
        } else {
            readiness
        }
    };
    let flags = OpenOptions::new()
        .create(true)
        .custom_flags(libc::O_DIRECTORY);
    assert_eq!(l.errno(OpenAt::new(fd, c"", flags)), apart(libc::EINVAL));
    assert_eq!(
        l.errno(Rename::new(fd, c"a", fd, c"")),
        apart(libc::ENOTDIR)
    );
    assert_eq!(
        l.errno(HardLink::new(fd, c"a", fd, c"")),
        apart(libc::ENOTDIR)
    );
}

fn a_spliced_pipe_is_written_by_pages(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    let (reading, writing) = (l.at(&reader), l.at(&writer));
    // It need not have moved anything.
    assert_eq!(l.errno(Splice::new(writing, reading, 1)), libc::EBADF);
    assert_eq!(l.run(Write::new(writing, "x")).unwrap(), 1);
    let n = l.run(Write::new(writing, vec![7; 16 * ROOM + 1])).unwrap();
    // One byte more has room in the page of the first one.
    assert_eq!(n, 15 * ROOM + usize::from(cx.is_io_uring()));
}
