//! What comes out of each operation, and how operations are used again.

use crate::kit;
use crate::ledger::Cx;
use completeio_driver::address::Address;
use completeio_driver::buf::{Aligned, IntoInner, Sliceable};
use completeio_driver::driver::{AsRawFd, Cwd, OwnedFd};
use completeio_driver::op::{
    Accept, Close, Connect, MsgFlags, OpenAt, OpenOptions, ReadAt, Recv, Send, WriteAt,
};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
use std::thread;

contract! {
    everywhere: [
        a_vector_has_the_length_that_was_read,
        a_file_read_block_by_block,
        a_receive_is_continued,
        what_was_advanced_survives_an_error,
        nothing_is_filled_that_was_not_lent,
        receives_on_one_socket_all_complete,
        what_comes_at_once_is_for_all_that_wait,
        a_receive_overtakes_none,
        flags_of_a_receive,
        more_files_than_workers,
    ],
    on_host: [
        an_unaligned_end_of_an_aligned_buffer,
        an_open_file,
        an_address_of_four_bytes,
        an_address_of_sixteen_bytes,
        a_connection,
        a_closed_descriptor,
        dispose_closes_what_was_made,
        accept_again_and_again,
        both_directions_at_once,
        files_without_workers,
    ],
    on_unix: [
        a_send_is_continued,
        an_address_of_a_path,
        open_options,
        an_open_file_below_a_directory,
    ],
}

fn a_vector_has_the_length_that_was_read(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for before in ["", ">"] {
        let mut buffer = Vec::with_capacity(16);
        buffer.extend_from_slice(before.as_bytes());
        let after = format!("{before}text");
        let (op, entry) = l.entry_of(ReadAt::new(fd, 0, buffer));
        assert_eq!(l.finish(op, entry).unwrap(), 4);
        assert_eq!(l.op(op).buf(), after.as_bytes());
        // At the end of the file nothing is added.
        l.op(op).set_offset(4);
        l.push(op, 1);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), 0);
        assert_eq!(l.op(op).buf(), after.as_bytes());
    }
    let (op, entry) = l.entry_of(ReadAt::new(fd, 1, b"0123456789".to_vec().slice(2..5)));
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    assert_eq!(l.op(op).buf().get_ref(), b"01ext");
}

fn an_unaligned_end_of_an_aligned_buffer(cx: &mut Cx) {
    let file = kit::cold_file(&[7; 5_000]);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let (op, entry) = l.entry_of(ReadAt::new(fd, 0, Aligned::new(8192, 4096)));
    assert_eq!(l.finish(op, entry).unwrap(), 5_000);
    assert_eq!(l.op(op).buf()[..], [7; 5_000]);
}

fn an_open_file(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "text").unwrap();
    let mut l = cx.ledger();
    let opened = l.run(OpenAt::read(Cwd, path.c_string())).unwrap();
    assert_eq!(kit::contents(&File::from(opened)), b"text");
}

#[cfg(unix)]
fn open_options(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let options = OpenOptions::new().read(true).write(true).mode(0o600);
    let new = options.create_new(true);
    let file = File::from(l.run(OpenAt::new(Cwd, path.c_string(), new)).unwrap());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    file.write_all_at(b"first", 0).unwrap();
    let append = OpenOptions::new().append(true);
    let file = File::from(l.run(OpenAt::new(Cwd, path.c_string(), append)).unwrap());
    (&file).write_all(b" second").unwrap();
    assert_eq!(fs::read(&*path).unwrap(), b"first second");
    let truncated = l
        .run(OpenAt::new(Cwd, path.c_string(), options.truncate(true)))
        .unwrap();
    assert_eq!(fs::read(&*path).unwrap(), b"");
    drop(truncated);
}

#[cfg(unix)]
fn an_open_file_below_a_directory(cx: &mut Cx) {
    let directory = File::open("/dev").unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&directory);
    let opened = l.run(OpenAt::read(fd, c"null")).unwrap();
    let [opened, null] = [File::from(opened), File::open("/dev/null").unwrap()];
    let [opened, null] = [opened, null].map(|file| file.metadata().unwrap().ino());
    assert_eq!(opened, null);
}

fn accepted_from(cx: &mut Cx, listen: SocketAddr) {
    let listener = TcpListener::bind(listen).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let op = l.start(Accept::new(fd), 1);
    l.hand_over();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let entry = l.one();
    let accepted = l.finish(op, entry).unwrap();
    assert_eq!(
        accepted.addr.as_socket_addr(),
        Some(client.local_addr().unwrap())
    );
    assert_eq!(accepted.addr.as_pathname(), None);
    TcpStream::from(accepted.fd).write_all(b"hello").unwrap();
    let mut hello = String::new();
    client.read_to_string(&mut hello).unwrap();
    assert_eq!(hello, "hello");
}

fn an_address_of_four_bytes(cx: &mut Cx) {
    accepted_from(cx, "127.0.0.1:0".parse().unwrap());
}

fn an_address_of_sixteen_bytes(cx: &mut Cx) {
    let any: SocketAddr = "[::1]:0".parse().unwrap();
    match TcpListener::bind(any) {
        Ok(_) => accepted_from(cx, any),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: no IPv6 here: {error}");
        }
    }
}

#[cfg(unix)]
fn an_address_of_a_path(cx: &mut Cx) {
    let [listens, connects] = [kit::TempPath::new(), kit::TempPath::new()];
    let listener = UnixListener::bind(&*listens).unwrap();
    let named = kit::unix_socket_at(&connects);
    let unnamed = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    for (socket, name) in [(named, Some(connects.to_path_buf())), (unnamed, None)] {
        let accept = l.start(Accept::new(fd), 1);
        let connect = Connect::new(l.at(&socket), Address::unix(&*listens).unwrap());
        l.start(connect, 2);
        let mut entries = l.take_sorted(2);
        assert_eq!(kit::errnos(&entries), [0, 0]);
        let accepted = l.finish(accept, entries.remove(0)).unwrap();
        assert_eq!(accepted.addr.as_pathname(), name);
        assert_eq!(accepted.addr.family(), libc::AF_UNIX);
        assert_eq!(accepted.addr.as_socket_addr(), None);
    }
}

fn a_connection(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    // Whether or not the socket blocks by itself.
    for blocks in [true, false] {
        let socket = kit::tcp_socket_that(blocks);
        let mut l = cx.ledger();
        let fd = l.at(&socket);
        l.run(Connect::new(fd, addr)).unwrap();
        let (mut peer, from) = listener.accept().unwrap();
        assert_eq!(
            TcpStream::from(socket.try_clone().unwrap())
                .local_addr()
                .unwrap(),
            from
        );
        assert_eq!(l.run(Send::new(fd, "hello")).unwrap(), 5);
        let mut hello = [0; 5];
        peer.read_exact(&mut hello).unwrap();
    }
}

fn a_closed_descriptor(cx: &mut Cx) {
    let (reader, _writer) = kit::pipe();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    for owned in [OwnedFd::from(reader), kit::owned(kit::file(b"x")), socket] {
        let number = owned.as_raw_fd();
        l.run(Close::new(owned)).unwrap();
        assert!(!kit::is_open(number));
    }
    // Never pushed: still ours, and dropped with the operation.
    let (reader, _writer) = kit::pipe();
    let number = reader.as_raw_fd();
    drop(Close::new(OwnedFd::from(reader)));
    assert!(!kit::is_open(number));
}

fn dispose_closes_what_was_made(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut client = TcpStream::connect(addr).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let (_, entry) = l.entry_of(Accept::new(fd));
    l.dispose(entry);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the end");
    let path = kit::TempPath::new();
    fs::write(&*path, "text").unwrap();
    let (_, entry) = l.entry_of(OpenAt::read(Cwd, path.c_string()));
    let number = kit::made(entry.result().unwrap());
    assert!(kit::is_open(number));
    l.dispose(entry);
    assert!(!kit::is_open(number));
    // A count is no descriptor.
    let (_, entry) = l.entry_of(ReadAt::new(kit::plain(&listener), 0, [0; 0]));
    l.dispose(entry);
    assert!(kit::is_open(listener.as_raw_fd()));
}

fn accept_again_and_again(cx: &mut Cx) {
    let (listener, addr) = kit::local_listener();
    let mut l = cx.ledger();
    let op = Accept::new(l.at(&listener));
    let op = l.lend(op);
    for n in 0..200 {
        l.push(op, n);
        if n % 2 == 0 {
            l.hand_over();
        }
        let _client = kit::connect(&addr);
        let entry = l.one();
        assert_eq!(entry.user_data(), n);
        let accepted = l.finish(op, entry).unwrap();
        assert_eq!(accepted.addr.as_pathname(), None);
    }
}

fn a_file_read_block_by_block(cx: &mut Cx) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n / 7).to_le_bytes()[0]).collect();
    let file = cx.file(&bytes);
    let mut l = cx.ledger();
    let op = ReadAt::new(l.at(&file), 0, vec![0; 4096].into_boxed_slice());
    let op = l.lend(op);
    let mut read = Vec::new();
    loop {
        l.op(op).set_offset(read.len() as u64);
        l.push(op, 1);
        let entry = l.one();
        match l.finish(op, entry).unwrap() {
            0 => break,
            n => read.extend_from_slice(&l.op(op).buf()[..n]),
        }
    }
    assert!(read == bytes);
}

fn a_receive_is_continued(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = Recv::new(l.at(&ours), Vec::with_capacity(16));
    let op = l.lend(op);
    for part in ["one", " and "] {
        theirs.write_all(part.as_bytes()).unwrap();
        l.push(op, 1);
        assert_eq!(l.one().into_result().unwrap(), part.len());
        // SAFETY: the flight that just ended wrote so many bytes.
        unsafe { l.op(op).advance(part.len()) };
    }
    assert_eq!(l.op(op).advanced(), 8);
    assert_eq!(l.op(op).buf(), b"", "not before it is finished");
    theirs.write_all(b"another, too long").unwrap();
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 16);
    assert_eq!(l.op(op).buf(), b"one and another,");
    assert_eq!(
        l.run(Recv::new(kit::plain(&ours), [0; 16])).unwrap(),
        9,
        "the rest"
    );
}

#[cfg(unix)]
fn a_send_is_continued(cx: &mut Cx) {
    let bytes: Vec<u8> = (0..4_000_000_u32)
        .map(|n| (n / 5).to_le_bytes()[0])
        .collect();
    let (ours, mut theirs) = kit::pair();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).unwrap();
        received
    });
    let mut l = cx.ledger();
    let op = Send::new(l.at(&ours), bytes.clone());
    let op = l.lend(op);
    let mut left = bytes.len();
    let mut flights = 0;
    loop {
        l.push(op, flights);
        let entry = l.one();
        let sent = entry.result().unwrap();
        flights += 1;
        left -= sent;
        if left == 0 {
            assert_eq!(
                l.finish(op, entry).unwrap(),
                bytes.len(),
                "all flights count"
            );
            break;
        }
        assert!(sent > 0);
        l.op(op).advance(sent);
    }
    assert!(flights > 1, "it was to be too large for one");
    drop((l, ours));
    assert!(reader.join().unwrap() == bytes);
    let _: Vec<u8> = WriteAt::new(Cwd, 0, bytes).into_inner();
}

/// A flight that fails takes nothing from what earlier ones moved; another buffer starts over.
fn what_was_advanced_survives_an_error(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = Send::new(l.at(&ours), "hello");
    let op = l.lend(op);
    l.push(op, 1);
    assert_eq!(l.one().into_result().unwrap(), 5);
    l.op(op).advance(2);
    drop(theirs);
    l.push(op, 1);
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(kit::code::NO_PEER));
    assert_eq!(l.op(op).advanced(), 2);
    *l.op(op).buf_mut() = "another";
    assert_eq!(l.op(op).advanced(), 0);
}

/// What is counted is what the last flight was lent, each byte once, and of its own buffer.
fn nothing_is_filled_that_was_not_lent(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    theirs.write_all(b"hello").unwrap();
    let op = l.lend(Recv::new(fd, Vec::with_capacity(8)));
    l.push(op, 1);
    let entry = l.one();
    *l.op(op).buf_mut() = Vec::new();
    assert_eq!(l.finish(op, entry).unwrap(), 0);
    assert!(l.op(op).buf().is_empty());

    theirs.write_all(b"hello").unwrap();
    *l.op(op).buf_mut() = Vec::with_capacity(8);
    l.push(op, 2);
    assert_eq!(l.one().into_result().unwrap(), 5);
    for _ in 0..3 {
        // SAFETY: the last flight wrote five bytes.
        unsafe { l.op(op).advance(5) };
    }
    assert!(l.op(op).advanced() <= 8, "no more than it was lent");
}

/// I34: each gets one byte. readiness serves the first pushed first; io_uring's kernel promises no
/// order, and Unix sockets wake the newest first.
fn receives_on_one_socket_all_complete(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let ops: Vec<_> = (0..5).map(|n| l.start(Recv::new(fd, [0; 1]), n)).collect();
    l.hand_over();
    for n in 0..5 {
        theirs.write_all(&[n]).unwrap();
        let served = l.one().user_data();
        assert!(cx.is_io_uring() || served == usize::from(n));
        assert_eq!(l.op(ops[served]).buf(), &[n]);
    }
}

/// I34: the second one is not left behind with what came for it.
fn what_comes_at_once_is_for_all_that_wait(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for n in 0..5 {
        l.start(Recv::new(fd, [0; 1]), n);
    }
    l.hand_over();
    theirs.write_all(&[7; 5]).unwrap();
    assert_eq!(kit::names(&l.take_sorted(5)), [0, 1, 2, 3, 4]);
}

/// I34: one that is pushed when its data is there stands behind those that wait for it. (On
/// io_uring the order is the kernel's, which tries what is new first.)
fn a_receive_overtakes_none(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let first = l.start(Recv::new(fd, [0; 1]), 0);
    l.hand_over();
    theirs.write_all(b"01").unwrap();
    let second = l.start(Recv::new(fd, [0; 1]), 1);
    assert_eq!(kit::names(&l.take_sorted(2)), [0, 1]);
    let received = [first, second].map(|op| l.op(op).buf()[0]);
    assert!(cx.is_io_uring() || received == *b"01", "{received:?}");
}

fn flags_of_a_receive(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    theirs.write_all(b"hello").unwrap();
    assert_eq!(
        l.run(Recv::new(fd, [0; 2]).flags(MsgFlags::PEEK)).unwrap(),
        2
    );
    assert_eq!(
        l.run(Recv::new(fd, [0; 8]).flags(MsgFlags::PEEK)).unwrap(),
        5
    );
    assert_eq!(l.run(Recv::new(fd, [0; 8])).unwrap(), 5);
}

/// I34: a receive that waits stands in no send's way.
fn both_directions_at_once(cx: &mut Cx) {
    let (ours, mut theirs) = kit::tcp_pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    l.start(Send::new(fd, "ping"), 2);
    assert_eq!(kit::names(&l.take(1)), [2]);
    let mut ping = [0; 4];
    theirs.read_exact(&mut ping).unwrap();
    theirs.write_all(b"pong").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 4);
}

/// With no worker, calls on files are made in place.
fn files_without_workers(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let mut l = cx.with(|limits| limits.workers(0));
    let options = OpenOptions::new().read(true).write(true).create(true);
    let file = l.run(OpenAt::new(Cwd, path.c_string(), options)).unwrap();
    let fd = l.at(&file);
    assert_eq!(l.run(WriteAt::new(fd, 2, "text")).unwrap(), 4);
    assert_eq!(l.run(ReadAt::new(fd, 0, [0; 8])).unwrap(), 6);
    l.run(Close::new(file)).unwrap();
    assert_eq!(fs::read(&*path).unwrap(), b"\0\0text");
}

/// Each read comes back with its own bytes.
fn more_files_than_workers(cx: &mut Cx) {
    const COUNT: u8 = 64;
    let files: Vec<_> = (0..COUNT).map(|n| cx.file(&[n; 5_000])).collect();
    let mut l = cx.with(|limits| limits.workers(1));
    let start = |n: u8| {
        let fd = l.at(&files[usize::from(n)]);
        l.start(
            ReadAt::new(fd, 0, Vec::with_capacity(5_000)),
            usize::from(n),
        )
    };
    let ops: Vec<_> = (0..COUNT).map(start).collect();
    for entry in l.take(COUNT.into()) {
        let n = entry.user_data();
        assert_eq!(l.finish(ops[n], entry).unwrap(), 5_000);
        assert!(
            l.op(ops[n])
                .buf()
                .iter()
                .all(|byte| usize::from(*byte) == n)
        );
    }
}
