//! A read that came back short, and what comes after it: nothing of that is missed.
//!
//! A backend may take a short read for the sign that a stream is empty, and wait for news before it
//! reads again. The sign deceives where a read ends for another reason.

#[cfg(unix)]
use crate::ancillary;
use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger, Lent};
use completeio_driver::driver::{AsRawFd, CompleteIo, Fd};
use completeio_driver::op::{MsgFlags, Read, Recv, RecvVectored, Send};
use std::io::{Read as _, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

contract! {
    everywhere: [],
    on_host: [
        bytes_that_come_before_the_next_receive,
        bytes_that_come_after_the_next_receive,
        the_end_after_a_short_read,
        a_reset_after_a_short_read,
        two_receives_on_one_stream,
        a_stream_that_others_read_too,
        a_peek_is_no_read,
        packets_are_no_stream,
        an_empty_read_waits_for_nothing,
        a_send_that_waits_empties_nothing,
    ],
    on_unix: [
        a_stream_under_two_numbers,
        another_socket_of_the_same_number,
        the_end_that_was_seen_before_a_short_read,
        urgent_data_that_was_seen_before_a_short_read,
        urgent_data_that_was_taken_before_a_short_read,
        one_that_must_not_wait,
        a_descriptor_parts_a_stream,
    ],
}

const ROOM: usize = 64;

type Receive = Recv<Fd, [u8; ROOM]>;

/// Starts a receive that has more room than anything here needs.
fn receive(l: &mut Ledger, fd: Fd) -> Lent<Receive> {
    l.start(Recv::new(fd, [0; ROOM]), 1)
}

/// Waits for it, and gives what it has received.
fn received(l: &mut Ledger, op: Lent<Receive>) -> Vec<u8> {
    let entry = l.one();
    assert_eq!(entry.user_data(), 1);
    let n = l.finish(op, entry).unwrap();
    l.op(op).buf()[..n].to_vec()
}

fn receive_now(l: &mut Ledger, fd: Fd) -> Vec<u8> {
    let op = receive(l, fd);
    received(l, op)
}

/// Has a receive wait on a stream, and end with less than it has room for.
fn one_short_read(l: &mut Ledger, fd: Fd, peer: &mut impl Write) {
    let op = receive(l, fd);
    l.hand_over();
    peer.write_all(b"short").unwrap();
    assert_eq!(received(l, op), b"short");
}

/// A stream that was read short once, its number, and its peer.
fn stream(l: &mut Ledger) -> (TcpStream, Fd, TcpStream) {
    let (ours, mut theirs) = kit::tcp_pair();
    theirs.set_nodelay(true).unwrap();
    let fd = l.at(&ours);
    one_short_read(l, fd, &mut theirs);
    (ours, fd, theirs)
}

/// Lets the driver see what has happened to descriptors for which nothing waits.
fn let_it_look(l: &mut Ledger, quiet: Fd) {
    l.start(Recv::new(quiet, [0; 1]), 9);
    l.hand_over();
    l.try_cancel(9).unwrap();
    assert_eq!(kit::errnos(&l.take(1)), [code::ECANCELED]);
}

fn bytes_that_come_before_the_next_receive(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (ours, fd, mut theirs) = stream(&mut l);
    for n in 0..3 {
        theirs.write_all(&[n; 3]).unwrap();
        kit::wait_readable(&ours);
        assert_eq!(receive_now(&mut l, fd), [n; 3]);
    }
    // As much as there is room for: more may be there.
    theirs.write_all(&[7; ROOM + 1]).unwrap();
    while kit::unread(&ours) < ROOM + 1 {}
    assert_eq!(receive_now(&mut l, fd), [7; ROOM]);
    assert_eq!(receive_now(&mut l, fd), [7]);
    // By other calls that read.
    theirs.write_all(b"abcde").unwrap();
    let op = l.start(RecvVectored::new(fd, [[0; 1], [0; 1]]), 2);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 2);
    assert_eq!(l.run(Read::new(fd, [0; ROOM])).unwrap(), 3);
    theirs.write_all(b"gh").unwrap();
    assert_eq!(l.run(Read::new(fd, [0; ROOM])).unwrap(), 2);
    theirs.write_all(b"ij").unwrap();
    let op = l.start(RecvVectored::new(fd, [[0; ROOM], [0; ROOM]]), 3);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 2);
    theirs.write_all(b"k").unwrap();
    assert_eq!(receive_now(&mut l, fd), b"k");
}

fn bytes_that_come_after_the_next_receive(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (_ours, fd, mut theirs) = stream(&mut l);
    for n in 0..3 {
        let op = receive(&mut l, fd);
        l.hand_over();
        theirs.write_all(&[n; 3]).unwrap();
        assert_eq!(received(&mut l, op), [n; 3]);
    }
}

fn the_end_after_a_short_read(cx: &mut Cx) {
    let mut l = cx.ledger();
    for waits in [false, true] {
        let (_ours, fd, theirs) = stream(&mut l);
        let mut op = receive(&mut l, fd);
        if waits {
            l.hand_over();
        }
        theirs.shutdown(Shutdown::Write).unwrap();
        for _ in 0..2 {
            assert_eq!(received(&mut l, op), b"");
            op = receive(&mut l, fd);
        }
        assert_eq!(received(&mut l, op), b"");
    }
}

/// The end stops a read short, and is no news after it.
#[cfg(unix)]
fn the_end_that_was_seen_before_a_short_read(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let (ours, fd, mut theirs) = stream(&mut l);
    theirs.write_all(b"last").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    while kit::unacknowledged(&theirs) > 0 || !kit::has_ended(&ours) {}
    let_it_look(&mut l, quiet);
    assert_eq!(receive_now(&mut l, fd), b"last");
    assert_eq!(receive_now(&mut l, fd), b"");
}

fn a_reset_after_a_short_read(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    for seen in [false, true] {
        let (ours, fd, theirs) = stream(&mut l);
        kit::reset_on_close(&theirs);
        drop(theirs);
        if seen {
            kit::wait_readable(&ours);
            let_it_look(&mut l, quiet);
        }
        assert_eq!(l.errno(Recv::new(fd, [0; ROOM])), code::ECONNRESET);
    }
}

/// Sends some bytes, an urgent one, and some more; returns when they have arrived.
#[cfg(unix)]
fn send_with_urgent(theirs: &mut TcpStream) {
    theirs.write_all(b"ab").unwrap();
    kit::send_urgent(theirs);
    theirs.write_all(b"cd").unwrap();
    while kit::unacknowledged(theirs) > 0 {}
}

/// The mark stops a read short, and what is behind it is no news then.
#[cfg(unix)]
fn urgent_data_that_was_seen_before_a_short_read(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let (_ours, fd, mut theirs) = stream(&mut l);
    send_with_urgent(&mut theirs);
    let_it_look(&mut l, quiet);
    assert_eq!(receive_now(&mut l, fd), b"ab");
    assert_eq!(receive_now(&mut l, fd), b"cd");
}

/// Nothing tells of the mark once its byte was taken; it stops a read all the same.
#[cfg(unix)]
fn urgent_data_that_was_taken_before_a_short_read(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let (_ours, fd, mut theirs) = stream(&mut l);
    send_with_urgent(&mut theirs);
    let urgent = Recv::new(fd, [0; 1]).flags(MsgFlags::OUT_OF_BAND);
    assert_eq!(l.run(urgent).unwrap(), 1);
    let_it_look(&mut l, quiet);
    assert_eq!(receive_now(&mut l, fd), b"ab");
    assert_eq!(receive_now(&mut l, fd), b"cd");
}

fn two_receives_on_one_stream(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (_ours, fd, mut theirs) = stream(&mut l);
    let [a, b] = [(), ()].map(|()| receive(&mut l, fd));
    l.hand_over();
    theirs.write_all(b"one").unwrap();
    // Neither backend says which of them it is for, but that it is for one.
    let first = l.one();
    l.hand_over();
    theirs.write_all(b"more").unwrap();
    let second = l.one();
    let results = [first, second].map(|entry| entry.result().unwrap());
    assert_eq!(results, [3, 4]);
    let bytes = [a, b].map(|op| l.op(op).buf().to_vec());
    assert!(bytes.iter().any(|bytes| bytes.starts_with(b"one\0")));
    assert!(bytes.iter().any(|bytes| bytes.starts_with(b"more\0")));
}

#[cfg(unix)]
fn a_stream_under_two_numbers(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (ours, fd, mut theirs) = stream(&mut l);
    let other = ours.try_clone().unwrap();
    let other_fd = l.at(&other);
    one_short_read(&mut l, other_fd, &mut theirs);
    for fd in [fd, other_fd, other_fd, fd, fd] {
        theirs.write_all(b"x").unwrap();
        kit::wait_readable(&ours);
        assert_eq!(receive_now(&mut l, fd), b"x");
    }
    let op = receive(&mut l, fd);
    l.hand_over();
    theirs.write_all(b"y").unwrap();
    assert_eq!(received(&mut l, op), b"y");
    l.abandon(); // The clone goes first.
}

fn a_stream_that_others_read_too(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let (mut ours, fd, mut theirs) = stream(&mut l);
    theirs.write_all(b"taken").unwrap();
    kit::wait_readable(&ours);
    let_it_look(&mut l, quiet);
    assert_eq!(ours.read(&mut [0; ROOM]).unwrap(), 5);
    let op = receive(&mut l, fd);
    l.hand_over();
    theirs.write_all(b"left").unwrap();
    assert_eq!(received(&mut l, op), b"left");
}

fn a_peek_is_no_read(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (_ours, fd, mut theirs) = stream(&mut l);
    for _ in 0..2 {
        theirs.write_all(b"seen").unwrap();
        for _ in 0..2 {
            let peek = Recv::new(fd, [0; ROOM]).flags(MsgFlags::PEEK);
            assert_eq!(l.run(peek).unwrap(), 4);
        }
        assert_eq!(receive_now(&mut l, fd), b"seen");
    }
}

fn udp_pair() -> [UdpSocket; 2] {
    let [ours, theirs] = [(), ()].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    [ours, theirs]
}

/// Receives several packets that are seen at once.
fn receive_packets(l: &mut Ledger, fd: Fd, theirs: &UdpSocket, quiet: Fd) {
    let op = receive(l, fd);
    l.hand_over();
    theirs.send(b"short").unwrap();
    assert_eq!(received(l, op), b"short");
    for packet in ["a", "bc", "def"] {
        theirs.send(packet.as_bytes()).unwrap();
    }
    let_it_look(l, quiet);
    for packet in ["a", "bc", "def"] {
        assert_eq!(receive_now(l, fd), packet.as_bytes());
    }
}

fn packets_are_no_stream(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let [ours, theirs] = udp_pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let fd = l.at(&ours);
    receive_packets(&mut l, fd, &theirs, quiet);
}

#[cfg(unix)]
fn a_descriptor_parts_a_stream(cx: &mut Cx) {
    let (quiet, _peer) = kit::pair();
    let (unix, mut unix_peer) = kit::pair();
    let mut l = cx.ledger();
    let [quiet, fd] = [&quiet, &unix].map(|stream| l.at(stream));
    one_short_read(&mut l, fd, &mut unix_peer);
    for _ in 0..2 {
        ancillary::send_fds(&mut l, &unix_peer, 1);
    }
    let_it_look(&mut l, quiet);
    for _ in 0..2 {
        assert_eq!(receive_now(&mut l, fd), b"x");
    }
}

/// An empty receive waits, as the plain call does.
fn an_empty_read_waits_for_nothing(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (_ours, fd, _theirs) = stream(&mut l);
    assert_eq!(l.run(Read::new(fd, [0; 0])).unwrap(), 0);
}

#[cfg(unix)]
fn another_socket_of_the_same_number(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (ours, fd, _theirs) = stream(&mut l);
    let (new, mut new_peer) = kit::tcp_pair();
    new_peer.write_all(b"new").unwrap();
    l.detach(fd);
    kit::replace(&new, ours.as_raw_fd());
    let fd = l.at(&ours);
    assert_eq!(receive_now(&mut l, fd), b"new");
    // And packets.
    let (quiet, _peer) = kit::pair();
    let quiet_fd = l.at(&quiet);
    let [packets, theirs] = udp_pair();
    l.detach(fd);
    kit::replace(&packets, ours.as_raw_fd());
    let fd = l.at(&ours);
    receive_packets(&mut l, fd, &theirs, quiet_fd);
    l.abandon(); // The sockets go first.
}

#[cfg(unix)]
fn one_that_must_not_wait(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (ours, fd, mut theirs) = stream(&mut l);
    let now = || Recv::new(fd, [0; ROOM]).flags(MsgFlags::from_bits(kit::DONT_WAIT));
    assert_eq!(l.errno(now()), code::EAGAIN);
    theirs.write_all(b"x").unwrap();
    kit::wait_readable(&ours);
    assert_eq!(l.run(now()).unwrap(), 1);
}

fn a_send_that_waits_empties_nothing(cx: &mut Cx) {
    const MUCH: usize = 16 << 20;
    let (quiet, _peer) = kit::pair();
    let mut l = cx.ledger();
    let quiet = l.at(&quiet);
    let (ours, fd, mut theirs) = stream(&mut l);
    theirs.write_all(b"there").unwrap();
    kit::wait_readable(&ours);
    let_it_look(&mut l, quiet);
    let mut sent = Ok(0);
    while let Ok(_part) = sent {
        // Until one waits: the socket is full.
        let op = l.lend(Send::new(fd, vec![0; MUCH]));
        l.push(op, 2);
        match l.turn().pop() {
            Some(entry) => sent = l.finish(op, entry),
            None => break,
        }
    }
    assert_eq!(receive_now(&mut l, fd), b"there");
}
