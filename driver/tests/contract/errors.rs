//! I10, I33: the errors of the plain calls arrive unchanged. I30: what the driver refuses itself.

use crate::kit::{self, code};
use crate::ledger::Cx;
use completeio_driver::address::Address;
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, Entry, IntoRawFd, OwnedFd, Refusal};
use completeio_driver::op::{
    Accept, Close, Connect, MsgFlags, Nop, OpenAt, OpenOptions, Raw, ReadAt, ReadVectoredAt, Recv,
    Send, WriteAt, WriteVectoredAt,
};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

contract! {
    everywhere: [
        a_peer_that_is_gone,
        files_without_a_position,
        a_truncating_receive_is_refused,
        a_close_is_pushed_once,
        raw_entries,
    ],
    on_host: [
        opening,
        opening_below_a_file,
        connecting,
        a_reset_connection,
        sockets_that_are_not_connected,
        a_listener_has_no_peer,
        a_send_before_the_connect,
        an_accept_where_nothing_listens,
        files_and_sockets_confused,
        the_wrong_direction,
        no_such_descriptor,
        offsets_end_at_i64_max,
        user_data_has_61_bits,
        a_fixed_directory_is_refused,
        errors_are_entries_and_no_more,
    ],
    on_unix: [
        opening_what_cannot_be,
        connecting_to_a_path,
    ],
    on_linux: [
        connecting_to_a_broadcast,
    ],
}

fn opening(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let read = OpenOptions::new().read(true);
    let write = OpenOptions::new().write(true);
    let open = |path: &std::ffi::CStr, options| OpenAt::new(Cwd, path.to_owned(), options);
    assert_eq!(l.errno(open(&path.c_string(), read)), code::NO_FILE);
    fs::write(&*path, "x").unwrap();
    let new = write.create_new(true);
    assert_eq!(l.errno(open(&path.c_string(), new)), code::EEXIST);
    assert_eq!(l.errno(open(c"", read)), code::NO_PATH);
    let directory = kit::open_directory(path.parent().unwrap());
    let dir = l.at(&directory);
    assert_eq!(l.errno(OpenAt::read(dir, c"no such file")), code::NO_FILE);
}

fn opening_below_a_file(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let mut l = cx.ledger();
    let below = CString::new(format!("{}/x", path.display())).unwrap();
    assert_eq!(l.errno(OpenAt::read(Cwd, below)), code::ENOTDIR);
    let file = File::open(&*path).unwrap();
    let dir = l.at(&file);
    assert_eq!(l.errno(OpenAt::read(dir, c"x")), code::ENOTDIR);
}

#[cfg(unix)]
fn opening_what_cannot_be(cx: &mut Cx) {
    let mut l = cx.ledger();
    let read = OpenOptions::new().read(true);
    let write = OpenOptions::new().write(true);
    let open = |path: &std::ffi::CStr, options| OpenAt::new(Cwd, path.to_owned(), options);
    assert_eq!(l.errno(open(c"/", write)), libc::EISDIR);
    let long = CString::new(vec![b'x'; 300]).unwrap();
    assert_eq!(l.errno(open(&long, read)), libc::ENAMETOOLONG);
    let longer = CString::new(vec![b'/'; 5_000]).unwrap();
    assert_eq!(l.errno(open(&longer, read)), libc::ENAMETOOLONG);
    let program = std::env::current_exe().unwrap();
    let program = CString::new(program.to_str().unwrap()).unwrap();
    if kit::IS_LINUX {
        assert_eq!(l.errno(open(&program, write)), libc::ETXTBSY);
    }
}

fn connecting(cx: &mut Cx) {
    let (listener, refusing) = kit::listener();
    drop(listener);
    let (listener, addr) = kit::listener();
    let client = TcpStream::connect(addr).unwrap();
    let socket = kit::tcp_socket();
    let file = kit::file(b"");
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    assert_eq!(l.errno(Connect::new(fd, refusing)), code::ECONNREFUSED);
    let fd = l.at(&client);
    assert_eq!(l.errno(Connect::new(fd, addr)), code::EISCONN);
    let fd = l.at(&listener);
    assert_eq!(l.errno(Connect::new(fd, addr)), code::LISTENS);
    let fd = l.at(&file);
    assert_eq!(l.errno(Connect::new(fd, addr)), code::ENOTSOCK);
}

#[cfg(unix)]
fn connecting_to_a_path(cx: &mut Cx) {
    let (_listener, addr) = kit::listener();
    let unix = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let fd = l.at(&unix);
    let named = Address::unix(&*path).unwrap();
    assert_eq!(l.errno(Connect::new(fd, named)), libc::ENOENT);
    drop(std::os::unix::net::UnixListener::bind(&*path).unwrap());
    assert_eq!(l.errno(Connect::new(fd, named)), libc::ECONNREFUSED);
    let foreign = l.errno(Connect::new(fd, addr));
    assert!(!kit::IS_LINUX || foreign == libc::EINVAL);
}

#[cfg(unix)]
fn connecting_to_a_broadcast(cx: &mut Cx) {
    let datagrams = kit::socket(libc::AF_INET, libc::SOCK_DGRAM);
    let mut l = cx.ledger();
    let fd = l.at(&datagrams);
    let broadcast = SocketAddr::from(([127, 255, 255, 255], 9));
    let error = l.errno(Connect::new(fd, broadcast));
    assert!(!kit::IS_LINUX || error == libc::EACCES);
}

fn a_reset_connection(cx: &mut Cx) {
    for before in [true, false] {
        let (ours, theirs) = kit::tcp_pair();
        kit::reset_on_close(&theirs);
        let mut theirs = Some(theirs);
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        if before {
            theirs.take();
        }
        l.start(Recv::new(fd, [0; 8]), 1);
        l.turn()
            .iter()
            .for_each(|entry| assert_eq!(kit::errno(entry), code::ECONNRESET));
        drop(theirs);
        if l.in_flight() > 0 {
            assert_eq!(l.one().raw_os_error(), Some(code::ECONNRESET));
        }
        assert_eq!(l.errno(Send::new(fd, "x")), code::NO_PEER);
    }
}

/// Where a network is between the two, the first send learns of it and the next is told.
fn a_peer_that_is_gone(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    drop(theirs);
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    assert_eq!(l.run(Recv::new(fd, [0; 8])).unwrap(), 0, "the end");
    let mut sent = Ok(0);
    while sent.is_ok() {
        sent = l.run(Send::new(fd, "x"));
    }
    assert_eq!(sent.unwrap_err().raw_os_error(), Some(code::NO_PEER));
}

fn sockets_that_are_not_connected(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::ENOTCONN);
}

fn a_listener_has_no_peer(cx: &mut Cx) {
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::ENOTCONN);
}

fn a_send_before_the_connect(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    assert_eq!(l.errno(Send::new(fd, "x")), code::NEVER_A_PEER);
}

fn an_accept_where_nothing_listens(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    assert_eq!(l.errno(Accept::new(fd)), code::WRONG_STATE);
}

fn files_and_sockets_confused(cx: &mut Cx) {
    let file = kit::file(b"x");
    let directory = kit::open_directory(&std::env::temp_dir());
    let mut l = cx.ledger();
    let fd = l.at(&file);
    assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::ENOTSOCK);
    assert_eq!(l.errno(Send::new(fd, "x")), code::ENOTSOCK);
    assert_eq!(l.errno(Accept::new(fd)), code::ENOTSOCK);
    let fd = l.at(&directory);
    assert_eq!(l.errno(ReadAt::new(fd, 0, [0; 8])), code::EISDIR);
    assert_eq!(
        l.errno(WriteAt::new(fd, 0, "x")),
        code::WRONG_DIRECTION,
        "directories open for reading"
    );
}

fn the_wrong_direction(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let read_only = File::open(&*path).unwrap();
    let write_only = File::options().write(true).open(&*path).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&read_only);
    assert_eq!(l.errno(WriteAt::new(fd, 0, "x")), code::WRONG_DIRECTION);
    let fd = l.at(&write_only);
    assert_eq!(l.errno(ReadAt::new(fd, 0, [0; 8])), code::WRONG_DIRECTION);
}

fn no_such_descriptor(cx: &mut Cx) {
    for closed in kit::ALL_CLOSED {
        let mut l = cx.ledger();
        let fd = kit::number(closed);
        assert_eq!(l.errno(ReadAt::new(fd, 0, [0; 8])), code::EBADF);
        assert_eq!(l.errno(WriteAt::new(fd, 0, "x")), code::EBADF);
        assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::NO_SOCKET);
        assert_eq!(l.errno(Send::new(fd, "x")), code::NO_SOCKET);
        assert_eq!(l.errno(Accept::new(fd)), code::NO_SOCKET);
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(l.errno(Connect::new(fd, addr)), code::NO_SOCKET);
        assert_eq!(l.errno(OpenAt::read(fd, c"x")), code::EBADF);
        let attached = l.attach(closed).unwrap_err();
        let registered = l.register_fd(closed, 0).unwrap_err();
        for error in [attached, registered] {
            let number = error.raw_os_error().unwrap();
            assert!([code::EBADF, code::NO_SOCKET].contains(&number), "{error}");
        }
    }
    let mut l = cx.ledger();
    let fd = l.attach(kit::tcp_socket().into_raw_fd()).unwrap();
    l.run(Close::new(fd)).unwrap();
    assert_eq!(l.errno(Close::new(fd)), code::EBADF);
}

/// io_uring reads pipes whatever the offset is, and sockets at offset 0; `pread` reads neither.
fn files_without_a_position(cx: &mut Cx) {
    let (reader, mut writer) = cx.pipe();
    let (ours, mut theirs) = cx.pair();
    writer.write_all(b"pipe").unwrap();
    theirs.write_all(b"sock").unwrap();
    let mut l = cx.ledger();
    let (pipe, socket) = (l.at(&reader), l.at(&ours));
    assert_eq!(l.errno(ReadAt::new(socket, 3, [0; 8])), code::ESPIPE);
    for read in [ReadAt::new(pipe, 3, [0; 8]), ReadAt::new(socket, 0, [0; 8])] {
        if cx.is_io_uring() {
            assert_eq!(l.run(read).unwrap(), 4);
        } else {
            assert_eq!(l.errno(read), code::ESPIPE);
        }
    }
    if !cx.is_io_uring() {
        let to = l.at(&writer);
        let parts = [[0; 4], [0; 4]];
        assert_eq!(l.errno(ReadVectoredAt::new(pipe, 0, parts)), code::ESPIPE);
        assert_eq!(l.errno(WriteAt::new(to, 0, "no")), code::ESPIPE);
        let write = WriteVectoredAt::new(to, 0, ["n", "o"]);
        assert_eq!(l.errno(write), code::ESPIPE);
    }
}

fn assert_refused(entry: &Entry, refusal: Refusal) {
    assert_eq!(entry.refusal(), Some(refusal));
    assert_eq!(entry.raw_os_error(), None);
    assert_eq!(entry.result().unwrap_err().kind(), refusal.kind());
}

/// `u64::MAX`, which io_uring takes for "where the file is", is no exception.
fn offsets_end_at_i64_max(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for offset in [1 << 63, u64::MAX - 1, u64::MAX] {
        let (_, entry) = l.entry_of(ReadAt::new(fd, offset, [0; 8]));
        assert_refused(&entry, Refusal::Offset);
        assert_eq!(
            entry.into_result().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let (_, entry) = l.entry_of(WriteAt::new(fd, offset, "nowhere"));
        assert_refused(&entry, Refusal::Offset);
    }
    assert_eq!(
        l.run(ReadAt::new(fd, i64::MAX as u64 - 8, [0; 8])).unwrap(),
        0
    );
    // What earlier flights moved counts.
    let op = l.lend(WriteAt::new(fd, i64::MAX as u64, "text"));
    l.push(op, 1);
    assert!(l.one().into_result().is_err());
    l.op(op).advance(1);
    l.push(op, 1);
    assert_refused(&l.one(), Refusal::Offset);
    assert_eq!(file.metadata().unwrap().len(), 4);
}

/// Its result would count bytes that nobody wrote.
fn a_truncating_receive_is_refused(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    theirs.write_all(b"hello").unwrap();
    let mut l = cx.ledger();
    let flags = MsgFlags::from_bits(kit::TRUNCATE) | MsgFlags::PEEK;
    let op = Recv::new(l.at(&ours), Vec::with_capacity(2)).flags(flags);
    let (_, entry) = l.entry_of(op);
    assert_refused(&entry, Refusal::Flags);
}

/// The number may be somebody else's by the second time.
fn a_close_is_pushed_once(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (op, entry) = l.entry_of(Close::new(OwnedFd::from(cx.file(b""))));
    l.finish(op, entry).unwrap();
    l.push(op, 2);
    assert_refused(&l.one(), Refusal::Closed);
}

fn user_data_has_61_bits(cx: &mut Cx) {
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    for user_data in [1 << 61, 1 << 62, 1 << 63, (1 << 63) + 7, usize::MAX] {
        l.start(Nop::new(), user_data);
        let accept = l.lend(Accept::new(fd));
        l.try_push_typed(accept, user_data).unwrap();
        for entry in l.take(2) {
            assert_eq!(entry.user_data(), user_data, "whole");
            assert_refused(&entry, Refusal::UserData);
        }
    }
    l.start(Nop::new(), (1 << 61) - 1);
    let entry = l.one();
    assert_eq!(entry.user_data(), (1 << 61) - 1);
    assert_eq!(entry.into_result().unwrap(), 0);
}

fn a_fixed_directory_is_refused(cx: &mut Cx) {
    let directory = kit::open_directory(&std::env::temp_dir());
    let mut l = cx.ledger();
    let fd = l.register_fd(directory.as_raw_fd(), 0).unwrap();
    let (_, entry) = l.entry_of(OpenAt::read(fd, c"etc"));
    assert_refused(&entry, Refusal::FixedDescriptor);
}

fn raw_entries(cx: &mut Cx) {
    const NO_SUCH_OPCODE: u8 = 250;
    let mut l = cx.ledger();
    let mut entry_of = |opcode, junk| {
        let mut entry = [0; 64];
        entry[0] = opcode;
        entry[32..40].fill(junk); // Its user data is the driver's to set.
        // SAFETY: a NOP, or nothing at all: neither touches memory.
        l.entry_of(unsafe { Raw::new(entry) }).1
    };
    if cx.is_io_uring() {
        assert_eq!(entry_of(0, 0xFF).into_result().unwrap(), 0);
    } else {
        assert_refused(&entry_of(0, 0), Refusal::Unsupported);
    }
    let entry = entry_of(NO_SUCH_OPCODE, 0);
    if entry.refusal() != Some(Refusal::Unsupported) {
        assert_eq!(
            entry.raw_os_error(),
            Some(code::EINVAL),
            "the kernel's word for it"
        );
    }
}

/// The driver works on as if nothing had been.
fn errors_are_entries_and_no_more(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.with(|limits| limits.entries(4));
    let fd = l.at(&socket);
    for n in 0..100 {
        l.start(Recv::new(fd, [0; 8]), n);
        l.start(WriteAt::new(fd, u64::MAX, "x"), n);
        l.start(Nop::new(), n);
        l.start(Nop::new(), usize::MAX);
        assert_eq!(l.take(4).len(), 4);
        assert_eq!((l.in_flight(), l.capacity_left()), (0, 4));
    }
}
