//! I25. Peers that are std's, on threads of their own, and end a connection in every way.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use completeio_driver::driver::{AsRawFd, Fd, OwnedFd};
use completeio_driver::op::{Accept, Close, Linger, Recv, Send, SetSockOpt, Shutdown, SockOpt};
use std::io::{self, Read, Write};
use std::net::{Shutdown as How, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

contract! {
    everywhere: [],
    on_host: [
        a_peer_that_says_no_more,
        nothing_more_to_say,
        a_reset_under_a_send,
        a_close_that_resets,
        a_close_that_delivers,
    ],
    on_unix: [
        reset_before_it_is_accepted,
    ],
}

/// Receives until the end of the peer's side.
fn receive_all(l: &mut Ledger, fd: Fd) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let op = l.lend(Recv::new(fd, Vec::with_capacity(1000)));
        l.push(op, 1);
        let entry = l.one();
        if l.finish(op, entry)? == 0 {
            return Ok(all);
        }
        all.extend_from_slice(l.op(op).buf());
    }
}

/// More than a socket keeps, and never the same for long.
fn much() -> Vec<u8> {
    (0_u32..1 << 18).flat_map(u32::to_le_bytes).collect()
}

/// The peer ends its side after its question, and the answer still arrives.
fn a_peer_that_says_no_more(cx: &mut Cx) {
    fn ask<S: Read + Write>(mut peer: S, end: fn(&S, How) -> io::Result<()>) -> Vec<u8> {
        peer.write_all(b"a question").unwrap();
        end(&peer, How::Write).unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        answer
    }
    let tcp = || {
        let (ours, peer) = kit::tcp_pair();
        let asks = move || ask(peer, TcpStream::shutdown);
        (OwnedFd::from(ours), thread::spawn(asks))
    };
    let unix = || {
        let (ours, peer) = kit::pair();
        let asks = move || ask(peer, kit::Stream::shutdown);
        (OwnedFd::from(ours), thread::spawn(asks))
    };
    let much = much();
    for (ours, peer) in [tcp(), unix()] {
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        assert_eq!(receive_all(&mut l, fd).unwrap(), b"a question");
        let ended = l.run(Recv::new(fd, [0; 8])).unwrap();
        assert_eq!(ended, 0, "and it stays so");
        let mut sent = 0;
        while sent < much.len() {
            sent += l.run(Send::new(fd, much[sent..].to_vec())).unwrap();
        }
        l.run(Close::new(ours)).unwrap();
        assert!(peer.join().unwrap() == much, "all of the answer");
    }
}

/// Our side ends first, and the peer's still arrives.
fn nothing_more_to_say(cx: &mut Cx) {
    let (ours, mut theirs) = kit::tcp_pair();
    let (checked, go) = mpsc::channel();
    let peer = thread::spawn(move || {
        let mut question = String::new();
        theirs.read_to_string(&mut question).unwrap();
        go.recv().unwrap();
        theirs.write_all(&much()).unwrap();
        question
    });
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let waiting = l.start(Recv::new(fd, [0; 1]), 7);
    l.hand_over();
    l.start(Send::new(fd, "a question"), 8);
    assert_eq!(kit::names(&l.take(1)), [8]);
    l.run(Shutdown::new(fd, How::Write)).unwrap();
    assert_eq!(l.errno(Send::new(fd, "more")), code::SAID_ALL);
    checked.send(()).unwrap();
    let entry = l.one();
    assert_eq!(entry.user_data(), 7, "it was not ended");
    assert_eq!(l.finish(waiting, entry).unwrap(), 1);
    assert!(receive_all(&mut l, fd).unwrap() == much()[1..]);
    assert_eq!(peer.join().unwrap(), "a question");
}

/// A send that waits for room hears of the reset.
fn a_reset_under_a_send(cx: &mut Cx) {
    let (ours, theirs) = kit::tcp_pair();
    let (stuck, go) = mpsc::channel();
    let peer = thread::spawn(move || {
        kit::reset_on_close(&theirs);
        go.recv().unwrap();
    });
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let bytes = much();
    let op = l.lend(Send::new(fd, bytes));
    let mut error = None;
    while error.is_none() {
        l.push(op, 1);
        let mut entries = l.turn();
        if entries.is_empty() {
            let _ = stuck.send(());
            entries.push(l.one());
        }
        error = entries[0].raw_os_error();
    }
    assert_eq!(error, Some(code::ECONNRESET));
    assert_eq!(l.errno(Send::new(fd, "x")), code::NO_PEER);
    let (_, entry) = l.entry_of(Recv::new(fd, [0; 8]));
    assert_eq!(kit::errno(&entry), code::AFTER_A_RESET);
    peer.join().unwrap();
}

/// A client that connects, says so much, and resets the connection.
#[cfg(unix)]
fn short_visit(listener: &TcpListener, text: &'static [u8]) {
    let addr = listener.local_addr().unwrap();
    let visit = move || {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(text).unwrap();
        kit::reset_on_close(&client);
    };
    thread::spawn(visit).join().unwrap();
}

/// As accept(2) has it: there is a connection, what came before the reset, and the reset.
#[cfg(unix)]
fn reset_before_it_is_accepted(cx: &mut Cx) {
    let (listener, _) = kit::listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    for text in [&b""[..], b"before"] {
        short_visit(&listener, text);
        let (mut plain, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        let error = plain.read_to_end(&mut received).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code::ECONNRESET));
        drop(plain);

        short_visit(&listener, text);
        let accepted = l.run(Accept::new(fd)).unwrap();
        assert!(accepted.addr.as_socket_addr().is_some());
        let connection = l.at(&accepted.fd);
        if !received.is_empty() {
            let op = l.lend(Recv::new(connection, Vec::with_capacity(16)));
            l.push(op, 1);
            let entry = l.one();
            l.finish(op, entry).unwrap();
            assert_eq!(l.op(op).buf(), &received);
        }
        let reset = l.errno(Recv::new(connection, [0; 8]));
        assert_eq!(reset, code::ECONNRESET);
        l.run(Close::new(accepted.fd)).unwrap();
    }
}

/// What the peer of a connection gets, which is closed with this linger after these bytes.
fn closed_with(cx: &mut Cx, linger: Linger, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let (ours, mut theirs) = kit::tcp_pair();
    let (closed, go) = mpsc::channel();
    let slow = linger == Linger::RESET;
    let peer = thread::spawn(move || {
        // Nothing is read before a reset, for what was read would be so or not.
        if slow {
            go.recv().unwrap();
        }
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).map(|_| received)
    });
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.run(SetSockOpt::new(fd, SockOpt::LINGER, linger)).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        sent += l.run(Send::new(fd, bytes[sent..].to_vec())).unwrap();
    }
    let number = ours.as_raw_fd();
    l.run(Close::new(OwnedFd::from(ours))).unwrap();
    assert!(!kit::is_open(number));
    let _nobody_waits = closed.send(());
    peer.join().unwrap()
}

/// Linger 0: the peer hears of the reset, and not of an end.
fn a_close_that_resets(cx: &mut Cx) {
    for bytes in [Vec::new(), b"lost".to_vec()] {
        let error = closed_with(cx, Linger::RESET, bytes).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code::ECONNRESET));
    }
}

/// Any other: every byte, and the end.
fn a_close_that_delivers(cx: &mut Cx) {
    let much = much();
    for linger in [
        Linger::OFF,
        Linger::after(std::time::Duration::from_secs(30)),
    ] {
        let received = closed_with(cx, linger, much.clone()).unwrap();
        assert!(received == much, "{linger:?}");
    }
}
