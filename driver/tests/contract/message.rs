//! Messages: where they come from, what is cut, and that they are whole or not there at all.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::steps;
use completeio_driver::address::Address;
use completeio_driver::ancillary::{Incoming, Outgoing};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Refusal};
use completeio_driver::op::{
    MsgFlags, Recv, RecvFrom, RecvFromVectored, RecvMsg, RecvVectored, Send, SendMsg, SendTo,
    SendToVectored, SendVectored,
};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

contract! {
    everywhere: [
        parts_of_a_stream,
    ],
    on_host: [
        the_right_source,
        truncation_is_flagged,
        an_empty_datagram_is_no_end,
        the_end_of_a_stream,
        any_number_of_parts,
        all_of_a_stream,
        waiting_for_a_peer,
        first_in_first_out,
        errors_of_the_plain_call,
        where_nothing_can_be_sent,
        nobody_there,
        flags_that_are_refused,
        by_the_table,
        used_again,
        cancelled_before_and_while_it_waits,
        abandoned,
        in_a_scope_and_owned,
    ],
    on_unix: [
        unix_datagrams,
        sequenced_packets,
        a_pipe_that_broke_raises_no_signal,
    ],
}

const IOV_MAX: usize = 1024;

fn udp(addr: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(addr).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn os<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

/// I26: v4, v6, and v4 on a socket of v6.
fn the_right_source(cx: &mut Cx) {
    for (from, to, seen) in [
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "[::1]:0", "::1"),
        ("127.0.0.1:0", "[::]:0", "::ffff:127.0.0.1"),
    ] {
        if seen.starts_with("::ffff") && !kit::V6_TAKES_V4 {
            continue;
        }
        let (sender, from) = udp(from);
        let (receiver, mut at) = udp(to);
        if at.ip().is_unspecified() {
            at.set_ip(from.ip());
        }
        let mut l = cx.ledger();
        let fd = l.at(&sender);
        assert_eq!(l.run(SendTo::new(fd, "one", at)).unwrap(), 3);
        assert_eq!(l.run(SendToVectored::new(fd, ["t", "wo"], at)).unwrap(), 3);
        let fd = l.at(&receiver);
        let seen = SocketAddr::new(seen.parse().unwrap(), from.port());
        let (op, entry) = l.entry_of(RecvFrom::new(fd, [0; 8]));
        let received = l.finish(op, entry).unwrap();
        assert_eq!(received.addr.as_socket_addr(), Some(seen));
        assert_eq!((received.len, received.truncated), (3, false));
        assert_eq!(&l.op(op).buf()[..3], b"one");
        let (op, entry) = l.entry_of(RecvFromVectored::new(fd, [[0; 2]; 2]));
        let received = l.finish(op, entry).unwrap();
        assert_eq!(received.addr.as_socket_addr(), Some(seen));
        assert_eq!(l.op(op).bufs(), &[*b"tw", *b"o\0"]);
    }
}

/// I26.
fn truncation_is_flagged(cx: &mut Cx) {
    let (sender, from) = udp("127.0.0.1:0");
    let (receiver, at) = udp("127.0.0.1:0");
    receiver.connect(from).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&receiver);
    for (room, cut) in [(0, true), (1, true), (4, true), (5, false), (6, false)] {
        for _ in 0..4 {
            sender.send_to(b"hello", at).unwrap();
        }
        let len = room.min(5);
        let (op, entry) = l.entry_of(RecvFrom::new(fd, vec![0; room].into_boxed_slice()));
        let received = l.finish(op, entry).unwrap();
        assert_eq!((received.len, received.truncated), (len, cut));
        assert_eq!(l.op(op).buf()[..len], b"hello"[..len]);

        let parts = (vec![0; room].into_boxed_slice(), [0; 0]);
        let (op, entry) = l.entry_of(RecvFromVectored::new(fd, parts));
        let received = l.finish(op, entry).unwrap();
        assert_eq!((received.len, received.truncated), (len, cut));

        let parts = [vec![0; room].into_boxed_slice()];
        let (op, entry) = l.entry_of(RecvVectored::new(fd, parts));
        assert_eq!(l.finish(op, entry).unwrap(), len);
        assert_eq!(l.op(op).truncated(), cut);

        let parts = [vec![0; room].into_boxed_slice()];
        let op = RecvMsg::new(fd, parts, Incoming::<64>::new());
        let received = l.run(op).unwrap();
        assert_eq!((received.len, received.truncated), (len, cut));
        assert_eq!(received.addr.as_socket_addr(), Some(from));
        assert!(!received.control_truncated);
    }
}

/// I26, I29.
fn an_empty_datagram_is_no_end(cx: &mut Cx) {
    let (sender, from) = udp("127.0.0.1:0");
    let (receiver, at) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.at(&sender);
    assert_eq!(l.run(SendTo::new(fd, "", at)).unwrap(), 0);
    assert_eq!(l.run(SendToVectored::new(fd, [""; 0], at)).unwrap(), 0);
    assert_eq!(l.run(SendTo::new(fd, "more", at)).unwrap(), 4);
    let fd = l.at(&receiver);
    for len in [0, 0, 4] {
        let received = l.run(RecvFrom::new(fd, [0; 8])).unwrap();
        assert_eq!((received.len, received.truncated), (len, false));
        assert_eq!(received.addr.as_socket_addr(), Some(from));
    }
}

#[cfg(unix)]
fn unix_datagrams(cx: &mut Cx) {
    let (path, other) = (kit::TempPath::new(), kit::TempPath::new());
    let receiver = UnixDatagram::bind(&*path).unwrap();
    let named = UnixDatagram::bind(&*other).unwrap();
    let unnamed = UnixDatagram::unbound().unwrap();
    let at = Address::unix(&*path).unwrap();
    let mut l = cx.ledger();
    let (fd, named, unnamed) = (l.at(&receiver), l.at(&named), l.at(&unnamed));
    assert_eq!(l.run(SendTo::new(named, "from me", at)).unwrap(), 7);
    assert_eq!(l.run(SendTo::new(unnamed, "from nobody", at)).unwrap(), 11);
    let op = l.lend(RecvFrom::new(fd, [0; 8]));
    l.push(op, 1);
    let entry = l.one();
    let received = l.finish(op, entry).unwrap();
    assert_eq!(received.addr.as_pathname().as_deref(), Some(&*other));
    assert!(!received.truncated);
    // The same operation again: nothing of the last sender is left.
    l.push(op, 2);
    let entry = l.one();
    let received = l.finish(op, entry).unwrap();
    assert_eq!(received.addr, Address::unspecified());
    assert_eq!((received.len, received.truncated), (8, true));
}

/// Sockets that keep the boundaries of messages, connected.
#[cfg(unix)]
fn sequenced_packets(cx: &mut Cx) {
    if !kit::SEQUENCED {
        return kit::skip("there are no sequenced packets on sockets of Unix");
    }
    let (ours, theirs) = kit::pair_of(libc::SOCK_SEQPACKET);
    let mut l = cx.ledger();
    let (fd, peer) = (l.at(&ours), l.at(&theirs));
    for _ in 0..2 {
        assert_eq!(l.run(SendVectored::new(peer, ["pack", "et"])).unwrap(), 6);
    }
    let wait_all = MsgFlags::WAIT_ALL;
    let op = RecvVectored::new(fd, [[0; 8]]).flags(wait_all);
    // io_uring's kernel joins the next one to it, and loses its rest.
    let joined = if cx.is_io_uring() { 2 } else { 0 };
    assert_eq!(l.run(op).unwrap(), 6 + joined);
    if joined > 0 {
        assert_eq!(l.run(SendVectored::new(peer, ["pack", "et"])).unwrap(), 6);
    }
    let (op, entry) = l.entry_of(RecvVectored::new(fd, ([0; 3], [0; 1])));
    assert_eq!(l.finish(op, entry).unwrap(), 4);
    assert!(l.op(op).truncated());
    drop(theirs);
    assert_eq!(l.run(RecvVectored::new(fd, [[0; 3]])).unwrap(), 0);
}

fn the_end_of_a_stream(cx: &mut Cx) {
    let (ours, theirs) = kit::tcp_pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    (&theirs).write_all(b"last").unwrap();
    drop(theirs);
    let received = l.run(RecvFrom::new(fd, [0; 8])).unwrap();
    assert_eq!((received.len, received.truncated), (4, false));
    assert_eq!(received.addr, Address::unspecified());
    assert_eq!(l.run(RecvFrom::new(fd, [0; 8])).unwrap().len, 0);
    assert_eq!(l.run(RecvVectored::new(fd, [[0; 8]])).unwrap(), 0);
}

/// I31: a message is sent as a whole or not at all, and received into what one call takes.
fn any_number_of_parts(cx: &mut Cx) {
    let (ours, theirs) = kit::datagram_pair();
    let mut l = cx.ledger();
    let (fd, peer) = (l.at(&ours), l.at(&theirs));
    for parts in [0, 1, 2, IOV_MAX - 1, IOV_MAX] {
        assert_eq!(
            l.run(SendVectored::new(peer, vec![*b"ab"; parts])).unwrap(),
            2 * parts
        );
        let (op, entry) = l.entry_of(RecvVectored::new(fd, vec![[0; 2]; parts]));
        assert_eq!(l.finish(op, entry).unwrap(), 2 * parts);
        assert!(!l.op(op).truncated());
        assert_eq!(l.op(op).bufs().concat(), b"ab".repeat(parts));
    }
    let too_many = vec![*b"ab"; IOV_MAX + 1];
    // As the plain call says.
    assert_eq!(
        os(l.run(SendVectored::new(peer, too_many.clone()))),
        code::EMSGSIZE
    );
    let (sender, _) = udp("127.0.0.1:0");
    let (receiver, at) = udp("127.0.0.1:0");
    let udp_fd = l.at(&sender);
    let op = SendToVectored::new(udp_fd, too_many, at);
    assert_eq!(os(l.run(op)), code::EMSGSIZE);
    receiver.set_nonblocking(true).unwrap();
    assert!(receiver.recv(&mut [0; 1]).is_err(), "nothing was sent");
    // Parts without bytes take no place.
    let mut parts = vec![""; 2 * IOV_MAX];
    parts.push("text");
    assert_eq!(l.run(SendVectored::new(peer, parts)).unwrap(), 4);
    assert_eq!(
        l.run(RecvVectored::new(fd, vec![[0; 1]; IOV_MAX + 1]))
            .unwrap(),
        4
    );
    // A part that came later has no place.
    let op = l.lend(SendVectored::new(peer, vec!["one"]));
    l.op(op).bufs_mut().push("two");
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(os(l.finish(op, entry)), code::EMSGSIZE);
    // More room than one call takes: what is behind it is lost, and that is told.
    let text = vec![7; 2 * IOV_MAX + 2];
    theirs.send(&text).unwrap();
    let (op, entry) = l.entry_of(RecvVectored::new(fd, vec![[0; 2]; IOV_MAX + 1]));
    assert_eq!(l.finish(op, entry).unwrap(), 2 * IOV_MAX);
    assert!(l.op(op).truncated());
}

/// I9.
fn parts_of_a_stream(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let (fd, peer) = (l.at(&ours), l.at(&theirs));
    let (op, entry) = l.entry_of(SendVectored::new(peer, ["abcd", "efgh"]));
    assert_eq!(entry.into_result().unwrap(), 8);
    // As if it had moved 5.
    l.op(op).advance(5);
    assert_eq!(ours.arrived(), b"abcdefgh");
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    let (op, entry) = l.entry_of(RecvVectored::new(fd, [[b'-'; 2]; 3]));
    assert_eq!(entry.into_result().unwrap(), 3);
    // SAFETY: it moved three.
    unsafe { l.op(op).advance(3) };
    l.push(op, 1);
    (&theirs).write_all(b"xyz").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 6);
    assert_eq!(l.op(op).bufs().concat(), b"fghxyz");
}

/// `MSG_WAITALL` on messages of several parts: on with what is left of each.
fn all_of_a_stream(cx: &mut Cx) {
    const ALL: usize = 3 << 20;
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let (fd, peer) = (l.at(&ours), l.at(&theirs));
    let text: Vec<u8> = (0..=250).cycle().take(ALL).collect();
    let parts: Vec<Vec<u8>> = text.chunks(40_000).map(<[u8]>::to_vec).collect();
    let room: Vec<Box<[u8]>> = text
        .chunks(30_011)
        .map(|c| vec![0; c.len()].into())
        .collect();
    let send = l.start(SendVectored::new(peer, parts).flags(MsgFlags::WAIT_ALL), 1);
    let recv = l.start(RecvVectored::new(fd, room).flags(MsgFlags::WAIT_ALL), 2);
    let mut entries = l.take_sorted(2).into_iter();
    assert_eq!(l.finish(send, entries.next().unwrap()).unwrap(), ALL);
    assert_eq!(l.finish(recv, entries.next().unwrap()).unwrap(), ALL);
    assert!(l.op(recv).bufs().concat() == text);
    // The end comes first: what there was is the result.
    let recv = l.start(
        RecvVectored::new(fd, [[0; 4]; 2]).flags(MsgFlags::WAIT_ALL),
        3,
    );
    l.hand_over();
    (&theirs).write_all(b"five5").unwrap();
    drop(theirs);
    let entry = l.one();
    assert_eq!(l.finish(recv, entry).unwrap(), 5);
    assert_eq!(l.op(recv).bufs(), &[*b"five", *b"5\0\0\0"]);
}

fn waiting_for_a_peer(cx: &mut Cx) {
    let (sender, from) = udp("127.0.0.1:0");
    for non_blocking in [false, true] {
        let (receiver, at) = udp("127.0.0.1:0");
        receiver.set_nonblocking(non_blocking).unwrap();
        let mut l = cx.ledger();
        let fd = l.at(&receiver);
        let op = l.start(RecvFrom::new(fd, [0; 8]), 1);
        l.hand_over();
        sender.send_to(b"late", at).unwrap();
        let entry = l.one();
        let received = l.finish(op, entry).unwrap();
        assert_eq!((received.len, received.addr), (4, from.into()));
        assert!(!received.truncated);
    }
    // One that may not wait, where there is such a flag.
    if kit::DONT_WAIT == 0 {
        return;
    }
    let (receiver, _) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.at(&receiver);
    let flags = MsgFlags::from_bits(kit::DONT_WAIT);
    let op = RecvFrom::new(fd, [0; 8]).flags(flags);
    assert_eq!(l.errno(op), code::EAGAIN);
}

/// I34, with receives of other kinds.
fn first_in_first_out(cx: &mut Cx) {
    let (ours, theirs) = kit::datagram_pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let plain = l.start(Recv::new(fd, [0; 4]), 1);
    let from = l.start(RecvFrom::new(fd, [0; 4]), 2);
    let parts = l.start(RecvVectored::new(fd, [[0; 2]; 2]), 3);
    l.hand_over();
    for text in ["1", "22", "333"] {
        theirs.send(text.as_bytes()).unwrap();
    }
    let mut entries = l.take_sorted(3).into_iter();
    let mut lens = [
        l.finish(plain, entries.next().unwrap()).unwrap(),
        l.finish(from, entries.next().unwrap()).unwrap().len,
        l.finish(parts, entries.next().unwrap()).unwrap(),
    ];
    if cx.is_io_uring() {
        lens.sort_unstable();
    }
    assert_eq!(lens, [1, 2, 3]);
}

/// The error of sendto(2) for the same arguments.
#[cfg(unix)]
fn plain_send_to(socket: &impl AsRawFd, len: usize, addr: Option<&[u8]>) -> i32 {
    let bytes = vec![0_u8; len];
    // SAFETY: bytes and an address of these lengths.
    let n = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            len,
            libc::MSG_NOSIGNAL,
            addr.map_or(std::ptr::null(), <[u8]>::as_ptr).cast(),
            u32::try_from(addr.map_or(0, <[u8]>::len)).unwrap(),
        )
    };
    assert!(n < 0);
    io::Error::last_os_error().raw_os_error().unwrap()
}

/// I10, I33.
fn errors_of_the_plain_call(cx: &mut Cx) {
    let (socket, _) = udp("127.0.0.1:0");
    let (_receiver, at) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let long = vec![0; 70_000];
    assert_eq!(l.errno(SendTo::new(fd, long.clone(), at)), code::EMSGSIZE);
    assert_eq!(l.errno(SendToVectored::new(fd, [long], at)), code::EMSGSIZE);
    // No sockets.
    let file = kit::null();
    let file = l.at(&file);
    assert_eq!(l.errno(SendTo::new(file, "x", at)), code::ENOTSOCK);
    assert_eq!(l.errno(RecvFrom::new(file, [0; 1])), code::ENOTSOCK);
    assert_eq!(l.errno(SendVectored::new(file, ["x"])), code::ENOTSOCK);
    assert_eq!(l.errno(RecvVectored::new(file, [[0; 1]])), code::ENOTSOCK);
    assert_eq!(
        l.errno(RecvFromVectored::new(file, [[0; 1]])),
        code::ENOTSOCK
    );
    // Not open.
    let closed = kit::number(kit::CLOSED);
    assert_eq!(l.errno(SendTo::new(closed, "x", at)), code::NO_SOCKET);
    assert_eq!(l.errno(RecvFrom::new(closed, [0; 1])), code::NO_SOCKET);
    // Not connected.
    let tcp = kit::tcp_socket();
    let tcp = l.at(&tcp);
    assert_eq!(l.errno(RecvFrom::new(tcp, [0; 1])), code::ENOTCONN);
}

/// I10.
fn where_nothing_can_be_sent(cx: &mut Cx) {
    let (socket, _) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let v6: SocketAddr = "[::1]:9".parse().unwrap();
    let nowhere = Address::unspecified();
    assert_eq!(l.errno(SendTo::new(fd, "x", nowhere)), code::NOWHERE);
    let op = SendToVectored::new(fd, ["x"], nowhere);
    assert_eq!(l.errno(op), code::NOWHERE);
    assert_eq!(l.errno(SendVectored::new(fd, ["x"])), code::NOWHERE);
    #[cfg(unix)]
    assert_eq!(plain_send_to(&socket, 1, None), code::NOWHERE);
    // An address of another family.
    let wrong = l.errno(SendTo::new(fd, "x", v6));
    assert!(code::OTHER_FAMILY.contains(&wrong), "{wrong}");
    assert_eq!(l.errno(SendToVectored::new(fd, ["x"], v6)), wrong);
    #[cfg(unix)]
    {
        let mut raw = [0; 28];
        raw[..2].copy_from_slice(&u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes());
        assert_eq!(plain_send_to(&socket, 1, Some(&raw)), wrong);
        let missing = Address::unix("/nonexistent/socket").unwrap();
        let unix = UnixDatagram::unbound().unwrap();
        let unix = l.at(&unix);
        assert_eq!(l.errno(SendTo::new(unix, "x", missing)), libc::ENOENT);
    }
    let tcp = kit::tcp_socket();
    let tcp = l.at(&tcp);
    assert_eq!(l.errno(SendVectored::new(tcp, ["x"])), code::NEVER_A_PEER);
}

/// A connected socket is told that nobody took what it sent.
fn nobody_there(cx: &mut Cx) {
    let (gone, at) = udp("127.0.0.1:0");
    drop(gone);
    let (socket, _) = udp("127.0.0.1:0");
    socket.connect(at).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    assert_eq!(l.run(SendTo::new(fd, "x", at)).unwrap(), 1);
    assert_eq!(l.errno(RecvFrom::new(fd, [0; 8])), code::NOBODY);
    // While it waits, too.
    let op = l.start(RecvVectored::new(fd, [[0; 8]]), 1);
    l.hand_over();
    socket.send(b"x").unwrap();
    let entry = l.one();
    assert_eq!(os(l.finish(op, entry)), code::NOBODY);
}

/// A result that is larger than the room cannot be told apart from one that is not.
fn flags_that_are_refused(cx: &mut Cx) {
    let (socket, at) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    for bits in kit::NO_FLAGS_OF_A_RECEIVE {
        let flags = MsgFlags::from_bits(bits);
        let (_, entry) = l.entry_of(RecvFrom::new(fd, [0; 8]).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let (_, entry) = l.entry_of(RecvVectored::new(fd, [[0; 8]]).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let (_, entry) = l.entry_of(RecvFromVectored::new(fd, [[0; 8]]).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
    }
    // Nor may a send go on with the bytes after its completion.
    for bits in kit::NO_FLAGS_OF_A_SEND {
        let flags = MsgFlags::from_bits(bits);
        let (_, entry) = l.entry_of(Send::new(fd, "x").flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let (_, entry) = l.entry_of(SendTo::new(fd, "x", at).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let (_, entry) = l.entry_of(SendVectored::new(fd, ["x"]).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let (_, entry) = l.entry_of(SendToVectored::new(fd, ["x"], at).flags(flags));
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
        let op = SendMsg::new(fd, ["x"], Outgoing::<0>::new()).flags(flags);
        let (_, entry) = l.entry_of(op);
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
    }
    // Those that are not.
    socket.send_to(b"twice", at).unwrap();
    for flags in [MsgFlags::PEEK, MsgFlags::default()] {
        let received = l.run(RecvFrom::new(fd, [0; 8]).flags(flags)).unwrap();
        assert_eq!((received.len, received.addr), (5, at.into()));
    }
}

/// I24.
#[cfg(unix)]
fn a_pipe_that_broke_raises_no_signal(cx: &mut Cx) {
    // SAFETY: sets a disposition that the test sets back.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let (ours, theirs) = kit::pair();
    drop(theirs);
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    assert_eq!(l.errno(SendVectored::new(fd, ["x"])), libc::EPIPE);
    assert_eq!(
        l.errno(SendTo::new(fd, "x", Address::unspecified())),
        libc::EPIPE
    );
    let op = SendToVectored::new(fd, ["x"], Address::unspecified());
    assert_eq!(l.errno(op), libc::EPIPE);
    // SAFETY: the one that was there.
    unsafe { libc::signal(libc::SIGPIPE, before) };
}

fn by_the_table(cx: &mut Cx) {
    let (socket, at) = udp("127.0.0.1:0");
    let mut l = cx.ledger();
    let fd = l.register_fd(socket.as_raw_fd(), 2).unwrap();
    assert_eq!(l.run(SendTo::new(fd, "x", at)).unwrap(), 1);
    assert_eq!(l.run(SendToVectored::new(fd, ["y"], at)).unwrap(), 1);
    assert_eq!(l.run(RecvFrom::new(fd, [0; 4])).unwrap().addr, at.into());
    assert_eq!(l.run(RecvFromVectored::new(fd, [[0; 4]])).unwrap().len, 1);
    l.unregister_fd(fd).unwrap();
    assert_eq!(l.errno(RecvFrom::new(fd, [0; 4])), code::NO_SOCKET);
}

/// An operation that is pushed again begins anew, to another address.
fn used_again(cx: &mut Cx) {
    let (sender, _) = udp("127.0.0.1:0");
    let receivers = [udp("127.0.0.1:0"), udp("127.0.0.1:0")];
    let mut l = cx.ledger();
    let fd = l.at(&sender);
    let op = l.lend(SendTo::new(fd, "x", receivers[0].1));
    for (socket, addr) in &receivers {
        l.op(op).set_addr(*addr);
        assert_eq!(l.op(op).addr().as_socket_addr(), Some(*addr));
        l.push(op, 1);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), 1);
        assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 1);
    }
    let fd = l.at(&receivers[0].0);
    let op = l.lend(RecvFrom::new(fd, Vec::with_capacity(16)));
    for (n, text) in ["first", "second"].into_iter().enumerate() {
        sender.send_to(text.as_bytes(), receivers[0].1).unwrap();
        l.push(op, n);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().len, text.len());
        assert_eq!(l.op(op).buf().as_slice(), text.as_bytes());
        l.op(op).buf_mut().clear();
    }
}

fn cancelled_before_and_while_it_waits(cx: &mut Cx) {
    for handed_over in [false, true] {
        let (socket, at) = udp("127.0.0.1:0");
        let mut l = cx.ledger();
        let fd = l.at(&socket);
        let op = l.start(RecvFrom::new(fd, [0; 4]), 1);
        l.start(RecvFromVectored::new(fd, [[0; 4]]), 2);
        l.start(RecvVectored::new(fd, [[0; 4]]), 3);
        let with_control = RecvMsg::new(fd, [[0; 4]], Incoming::<64>::new());
        let with_control = l.start(with_control, 4);
        if handed_over {
            l.hand_over();
        }
        for n in 1..=4 {
            l.try_cancel(n).unwrap();
        }
        let entries = l.take_sorted(4);
        assert_eq!(kit::errnos(&entries), [code::ECANCELED; 4]);
        let control = l.op(with_control).control_mut();
        assert!(control.messages().next().is_none());
        // After it has completed, too.
        socket.send_to(b"x", at).unwrap();
        l.push(op, 5);
        let entry = l.one();
        l.try_cancel(5).unwrap();
        assert_eq!(l.finish(op, entry).unwrap().len, 1);
    }
}

/// I5.
fn abandoned(cx: &mut Cx) {
    for handed_over in [false, true] {
        let (socket, at) = udp("127.0.0.1:0");
        let mut l = cx.ledger();
        let fd = l.at(&socket);
        l.start(RecvFrom::new(fd, [0; 4]), 1);
        l.start(RecvFromVectored::new(fd, vec![[0; 4]]), 2);
        l.start(RecvMsg::new(fd, [[0; 4]], Incoming::<64>::new()), 3);
        if handed_over {
            l.hand_over();
        } else {
            l.start(SendTo::new(fd, "never", at), 4);
        }
        l.abandon();
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "nothing was sent");
    }
}

fn in_a_scope_and_owned(cx: &mut Cx) {
    let (sender, from) = udp("127.0.0.1:0");
    let (receiver, at) = udp("127.0.0.1:0");
    let mut l: Ledger = cx.ledger();
    let mut buffer = [0; 8];
    let mut send = SendTo::new(sender.as_fd(), "lent", at);
    let mut recv = RecvFrom::new(receiver.as_fd(), &mut buffer[..]);
    l.scope(|s| {
        assert_eq!(steps::run(s, &mut send).0.unwrap(), 4);
        let received = steps::run(s, &mut recv).0.unwrap();
        assert_eq!((received.len, received.addr), (4, from.into()));
    })
    .unwrap();
    assert_eq!(&buffer[..4], b"lent");

    let (ours, theirs) = kit::pair();
    let parts = [Vec::with_capacity(3), Vec::with_capacity(20)];
    let key = l
        .try_push_owned(RecvVectored::new(kit::owned(ours), parts), 0)
        .unwrap();
    (&theirs).write_all(b"owned").unwrap();
    while !key.is_done() {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    let (read, op) = key.redeem().unwrap();
    assert_eq!(read.unwrap(), 5);
    assert_eq!(op.bufs().concat(), b"owned");
    drop(op);
    assert_eq!((&theirs).read(&mut [0; 1]).unwrap(), 0, "closed with it");
}
