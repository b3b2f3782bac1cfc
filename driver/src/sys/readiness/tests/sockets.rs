//! Waiting for descriptors, cancels, timers.

use super::*;

#[test]
fn attaching_a_known_number_ends_what_waits_there() {
    let (a, _peer) = pair();
    let fd = a.as_raw_fd();
    let mut recvs = [(); 2].map(|()| Recv::new(borrowed(fd), [0; 8]));
    let mut bench = Bench::new(LIMITS);
    bench.backend.attach(&mut bench.core, fd).unwrap();
    for (n, recv) in recvs.iter_mut().enumerate() {
        bench.push(recv, n);
    }
    bench.turn(Block::Never);
    assert!(bench.take().is_empty());
    bench.backend.attach(&mut bench.core, fd).unwrap();
    assert_eq!(bench.take(), [(0, Err(libc::EBADF)), (1, Err(libc::EBADF))]);
}

#[test]
fn events_of_an_older_file_are_dropped() {
    let (old, mut old_peer) = pair();
    let (new, mut new_peer) = pair();
    // The old file stays open, and so the selector goes on reporting about it: nobody can take it
    // out by a number that means another file.
    let old_stays = old.try_clone().unwrap();
    let fd = old.as_raw_fd();
    let mut recvs = [(); 2].map(|()| Recv::new(borrowed(fd), [0; 8]));
    let [first, second] = &mut recvs;
    let mut bench = Bench::new(LIMITS);
    bench.backend.attach(&mut bench.core, fd).unwrap();
    bench.push(first, 0);
    bench.turn(Block::Never);
    let old_key = bench.backend.table.key(u32::try_from(fd).unwrap());
    renumber(new.as_fd(), fd);
    bench.backend.attach(&mut bench.core, fd).unwrap();
    assert_eq!(bench.take(), [(0, Err(libc::EBADF))]);
    bench.push(second, 1);
    bench.turn(Block::Never);
    old_peer.write_all(b"old").unwrap();
    bench.turn(Block::Never);
    bench.turn(Block::Never);
    assert!(bench.take().is_empty());
    let event = |key| Event {
        key,
        readable: true,
        writable: true,
        broken: false,
        supply: 0,
        refused: None,
    };
    // SAFETY: (D1) the operations are where they were.
    unsafe { bench.backend.dispatch(&mut bench.core, event(old_key)) };
    assert_eq!(bench.core.stats.unknown, 0);
    // SAFETY: (D1) as above.
    unsafe { bench.backend.dispatch(&mut bench.core, event(u64::MAX / 2)) };
    assert_eq!(
        bench.core.stats.unknown, 1,
        "a key that was never given out"
    );
    new_peer.write_all(b"new!").unwrap();
    assert_eq!(bench.wait(1), [(1, Ok(4))]);
    drop(old_stays);
}

#[test]
fn one_that_waits_is_served_first() {
    let (a, mut peer) = pair();
    let mut recvs = [(); 3].map(|()| Recv::new(a.as_fd(), [0; 1]));
    let [first, second, third] = &mut recvs;
    let mut bench = Bench::new(LIMITS);
    bench.push(first, 0);
    bench.push(second, 1);
    bench.turn(Block::Never);
    // The third could be served at once, and would overtake.
    peer.write_all(b"abc").unwrap();
    bench.push(third, 2);
    assert_eq!(bench.wait(3), [(0, Ok(1)), (1, Ok(1)), (2, Ok(1))]);
    assert_eq!(recvs.map(|recv| recv.buf()[0]), *b"abc");
}

#[test]
fn a_descriptor_that_was_not_attached_is_watched_while_something_waits() {
    let (a, mut peer) = pair();
    let slot = u32::try_from(a.as_raw_fd()).unwrap();
    let mut recv = Recv::new(a.as_fd(), [0; 8]);
    let mut send = Send::new(a.as_fd(), "x");
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut send, 0);
    bench.push(&mut recv, 1);
    bench.turn(Block::Never);
    assert_eq!(bench.take(), [(0, Ok(1))]);
    assert!(bench.backend.table[slot].is_watched());
    let key = bench.backend.table.key(slot);
    peer.write_all(b"y").unwrap();
    assert_eq!(bench.wait(1), [(1, Ok(1))]);
    assert!(!bench.backend.table[slot].is_watched());
    assert_ne!(bench.backend.table.key(slot), key);
    bench.push(&mut recv, 2);
    bench.turn(Block::Never);
    assert!(bench.backend.table[slot].is_watched());
    bench.cancel(Which::Target(Target::Plain(a.as_raw_fd())));
    assert_eq!(bench.take(), [(2, Err(libc::ECANCELED))]);
    assert!(!bench.backend.table[slot].is_watched());
}

/// The first of two events of one descriptor ends what waits for both, and the watch with it.
#[test]
fn both_directions_in_one_batch_complete_a_poll_once() {
    let (a, mut peer) = pair();
    a.set_nonblocking(true).unwrap();
    while (&a).write(&[0; 4096]).is_ok() {}
    let slot = u32::try_from(a.as_raw_fd()).unwrap();
    let both = PollEvents::READABLE | PollEvents::WRITABLE;
    let mut poll = Poll::new(a.as_fd(), both);
    let mut recv = Recv::new(a.as_fd(), [0; 8]);
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut poll, 0);
    bench.turn(Block::Never);
    assert!(bench.take().is_empty());
    peer.set_nonblocking(true).unwrap();
    while peer.read(&mut [0; 4096]).is_ok() {}
    peer.write_all(b"x").unwrap();
    assert!(has_come(
        a.as_raw_fd(),
        libc::POLLIN | libc::POLLOUT,
        60_000
    ));
    assert_eq!(bench.wait(1), [(0, Ok(usize::from(both.bits())))]);
    assert!(!bench.backend.table[slot].is_watched());
    assert_eq!(bench.core.stats.unknown, 0);
    bench.push(&mut recv, 1);
    assert_eq!(bench.wait(1), [(1, Ok(1))]);
    bench.turn(Block::Never);
    assert!(bench.take().is_empty());
}

#[test]
fn what_waits_for_a_refused_direction_completes_with_its_error() {
    let (a, _peer) = pair();
    let slot = u32::try_from(a.as_raw_fd()).unwrap();
    let mut recvs = [0, 1].map(|_| Recv::new(a.as_fd(), [0; 8]));
    let mut poll = Poll::new(a.as_fd(), PollEvents::PRIORITY);
    let mut bench = Bench::new(LIMITS);
    for (n, recv) in recvs.iter_mut().enumerate() {
        bench.push(recv, n);
    }
    bench.push(&mut poll, 2);
    bench.turn(Block::Never);
    let refused = |readable: bool| Event {
        key: bench.backend.table.key(slot),
        readable,
        writable: !readable,
        broken: false,
        supply: 0,
        refused: Some(libc::EPIPE),
    };
    let [write, read] = [false, true].map(refused);
    // SAFETY: (D1) the operations are where they were.
    unsafe { bench.backend.dispatch(&mut bench.core, write) };
    assert!(bench.take().is_empty(), "nothing waits for it");
    assert!(bench.backend.table[slot].watched().read);
    // SAFETY: (D1) as above.
    unsafe { bench.backend.dispatch(&mut bench.core, read) };
    assert_eq!(bench.take(), [0, 1, 2].map(|n| (n, Err(libc::EPIPE))));
    assert!(!bench.backend.table[slot].is_watched());
}

#[test]
fn what_a_refused_direction_still_has_is_taken() {
    let (a, mut peer) = pair();
    let slot = u32::try_from(a.as_raw_fd()).unwrap();
    for (error, first) in [(libc::EPIPE, Ok(1)), (libc::EBADF, Err(libc::EBADF))] {
        let mut recvs = [0, 1].map(|_| Recv::new(a.as_fd(), [0; 8]));
        let mut bench = Bench::new(LIMITS);
        for (n, recv) in recvs.iter_mut().enumerate() {
            bench.push(recv, n);
        }
        bench.turn(Block::Never);
        peer.write_all(b"x").unwrap();
        let refused = Event {
            key: bench.backend.table.key(slot),
            readable: true,
            writable: false,
            broken: false,
            supply: 0,
            refused: Some(error),
        };
        // SAFETY: (D1) the operations are where they were.
        unsafe { bench.backend.dispatch(&mut bench.core, refused) };
        assert_eq!(bench.take(), [(0, first), (1, Err(error))]);
    }
}

#[test]
fn an_attached_descriptor_stays_watched() {
    let (a, mut peer) = pair();
    let slot = u32::try_from(a.as_raw_fd()).unwrap();
    let mut recv = Recv::new(a.as_fd(), [0; 8]);
    let mut bench = Bench::new(LIMITS);
    bench
        .backend
        .attach(&mut bench.core, a.as_raw_fd())
        .unwrap();
    assert!(
        !bench.backend.table[slot].is_watched(),
        "nothing has waited yet"
    );
    for n in 0..3 {
        bench.push(&mut recv, n);
        bench.turn(Block::Never);
        assert!(bench.backend.table[slot].is_watched());
        peer.write_all(b"y").unwrap();
        assert_eq!(bench.wait(1), [(n, Ok(1))]);
    }
    bench.backend.detach(&mut bench.core, a.as_raw_fd());
    assert!(!bench.backend.table[slot].is_watched());
}

/// Our end of a TCP stream that a receive has emptied, and its slot.
fn emptied(
    bench: &mut Bench,
    recv: &mut Recv<BorrowedFd<'_>, [u8; 8]>,
    peer: &mut TcpStream,
) -> u32 {
    let fd = recv.fd().as_raw_fd();
    bench.backend.attach(&mut bench.core, fd).unwrap();
    let slot = u32::try_from(fd).unwrap();
    bench.push(recv, 0);
    bench.turn(Block::Never);
    assert!(!bench.backend.table[slot].is_drained(), "not known yet");
    peer.write_all(b"x").unwrap();
    assert_eq!(bench.wait(1), [(0, Ok(1))]);
    assert!(bench.backend.table[slot].is_drained());
    slot
}

#[test]
fn an_emptied_stream_is_not_tried_before_there_is_news() {
    let (a, mut peer) = tcp_pair();
    let mut recvs = [(); 2].map(|()| Recv::new(a.as_fd(), [0; 8]));
    let [first, second] = &mut recvs;
    let mut bench = Bench::new(LIMITS);
    let slot = emptied(&mut bench, first, &mut peer);
    peer.write_all(b"news").unwrap();
    while a.peek(&mut [0; 4]).unwrap() < 4 {}
    let index = bench.push(second, 1).unwrap();
    assert_eq!(bench.backend.kept.flights.start_next(), Some(index));
    // SAFETY: (D1) the operations are where they were.
    unsafe { bench.backend.start(&mut bench.core, index) };
    assert!(
        bench.take().is_empty(),
        "it was there, and not reported yet"
    );
    assert!(bench.backend.table[slot].is_drained());
    assert_eq!(bench.wait(1), [(1, Ok(4))]);
}

#[cfg(any(epoll, libkqueue))]
#[test]
fn a_stream_with_a_protocol_on_top_stops_between_records() {
    use crate::op::{SetSockOpt, SockOpt};
    let (a, mut peer) = tcp_pair();
    let mut recv = Recv::new(a.as_fd(), [0; 8]);
    // SAFETY: the option is a name.
    let protocol = unsafe { SockOpt::from_raw(libc::IPPROTO_TCP, libc::TCP_ULP) };
    let mut set = SetSockOpt::new(a.as_fd(), protocol, *b"none");
    let mut bench = Bench::new(LIMITS);
    let slot = emptied(&mut bench, &mut recv, &mut peer);
    bench.push(&mut set, 1);
    bench.turn(Block::Never);
    assert_eq!(bench.take(), [(1, Err(libc::ENOENT))]);
    for user_data in 2..4 {
        assert!(!bench.backend.table[slot].is_drained());
        peer.write_all(b"x").unwrap();
        bench.push(&mut recv, user_data);
        assert_eq!(bench.wait(1), [(user_data, Ok(1))]);
    }
}

#[test]
fn a_number_above_the_table_cannot_be_waited_for() {
    let (a, mut peer) = pair();
    let mut recv = Recv::new(a.as_fd(), [0; 8]);
    let mut bench = Bench::new(Limits {
        descriptors: 1,
        ..LIMITS
    });
    let error = bench
        .backend
        .attach(&mut bench.core, a.as_raw_fd())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    bench.push(&mut recv, 0);
    bench.turn(Block::Never);
    assert_eq!(bench.take(), [(0, Err(libc::EMFILE))]);
    peer.write_all(b"y").unwrap();
    bench.push(&mut recv, 1);
    assert_eq!(
        bench.wait(1),
        [(1, Ok(1))],
        "what does not block needs no table"
    );
}

#[test]
fn urgent_data_waits_behind_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let mut recv = Recv::new(a.as_fd(), [0; 1]);
    let mut urgent = Recv::new(a.as_fd(), [0; 1]).flags(MsgFlags::OUT_OF_BAND);
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut recv, 0);
    bench.turn(Block::Never);
    // SAFETY: (K1) reads one byte of a constant.
    let sent = unsafe { libc::send(peer.as_raw_fd(), b"!".as_ptr().cast(), 1, libc::MSG_OOB) };
    assert_eq!(sent, 1);
    assert!(has_come(a.as_raw_fd(), libc::POLLPRI, -1));
    bench.push(&mut urgent, 1);
    bench.turn(Block::Forever(1));
    assert_eq!(bench.take(), [(1, Ok(1))]);
    peer.write_all(b".").unwrap();
    assert_eq!(bench.wait(1), [(0, Ok(1))]);
    assert_eq!((urgent.buf(), recv.buf()), (b"!", b"."));
}

#[test]
fn the_whole_of_a_stream_is_waited_for() {
    let (a, mut peer) = pair();
    let new = || Recv::new(a.as_fd(), [0; 4]).flags(MsgFlags::WAIT_ALL);
    let (mut whole, mut part, mut end) = (new(), new(), new());
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut whole, 0);
    bench.push(&mut part, 1);
    peer.write_all(b"ab").unwrap();
    bench.turn(Block::Never);
    assert!(bench.take().is_empty());
    peer.write_all(b"cdef").unwrap();
    assert_eq!(bench.wait(1), [(0, Ok(4))]);
    bench.cancel(Which::Raw(Key::raw(1)));
    assert_eq!(
        bench.take(),
        [(1, Ok(2))],
        "what a cancelled one has moved is not lost"
    );
    peer.write_all(b"g").unwrap();
    drop(peer);
    bench.push(&mut end, 2);
    assert_eq!(bench.wait(1), [(2, Ok(1))]);
    assert_eq!(whole.buf(), b"abcd");
    assert_eq!(part.buf()[..2], *b"ef");
}

#[test]
fn a_connect_is_settled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let socket = || {
        // SAFETY: (K1) integers in, one out.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) };
        // SAFETY: (R1) a new descriptor.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    let (a, b) = (socket(), socket());
    let mut accept = Accept::new(listener.as_fd());
    let mut connect = Connect::new(a.as_fd(), addr);
    let mut again = Connect::new(a.as_fd(), addr);
    let mut refused = Connect::new(b.as_fd(), gone);
    let mut after = Connect::new(b.as_fd(), addr);
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut accept, 0);
    bench.push(&mut connect, 1);
    bench.push(&mut refused, 2);
    let mut done = bench.wait(3);
    done.sort_unstable_by_key(|(user_data, _)| *user_data);
    let (_, accepted) = done.remove(0);
    assert_eq!(done, [(1, Ok(0)), (2, Err(libc::ECONNREFUSED))]);
    close_result(accepted);
    bench.push(&mut again, 3);
    assert_eq!(
        bench.wait(1),
        [(3, Err(libc::EISCONN))],
        "the socket knows that it is"
    );
    bench.push(&mut after, 4);
    assert_eq!(bench.wait(1), [(4, Ok(0))], "and that it is not");
}

#[test]
fn replacing_a_registered_socket_ends_what_waits_there() {
    let (a, _a_peer) = pair();
    let (b, mut b_peer) = pair();
    let mut recvs = [(); 2].map(|()| Recv::new(FixedFd::new(3), [0; 8]));
    let [first, second] = &mut recvs;
    let mut bench = Bench::new(LIMITS);
    let Bench { backend, core } = &mut bench;
    backend.register(core, &[a.as_raw_fd()], 3).unwrap();
    bench.push(first, 0);
    bench.turn(Block::Never);
    let Bench { backend, core } = &mut bench;
    backend.register(core, &[b.as_raw_fd()], 3).unwrap();
    assert_eq!(bench.take(), [(0, Err(libc::EBADF))]);
    bench.push(second, 1);
    bench.turn(Block::Never);
    b_peer.write_all(b"b").unwrap();
    assert_eq!(bench.wait(1), [(1, Ok(1))]);
}

#[test]
fn what_was_pushed_and_cancelled_is_not_started() {
    let (a, mut peer) = pair();
    let mut send = Send::new(a.as_fd(), "never");
    let mut nop = Nop::new();
    let mut timeout = Timeout::after(Duration::from_secs(3600));
    let mut bench = Bench::new(LIMITS);
    bench.push(&mut send, 7);
    bench.push(&mut nop, 7);
    bench.push(&mut timeout, 8);
    assert_eq!(bench.backend.capacity_left(), 13);
    bench.cancel(Which::Raw(Key::raw(7)));
    assert_eq!(
        bench.take(),
        [(7, Err(libc::ECANCELED)), (7, Err(libc::ECANCELED))]
    );
    assert_eq!(bench.backend.capacity_left(), 15);
    bench.turn(Block::Never);
    bench.cancel(Which::Raw(Key::raw(8)));
    assert_eq!(bench.take(), [(8, Err(libc::ECANCELED))]);
    bench.push(&mut nop, 8);
    assert_eq!(
        bench.wait(1),
        [(8, Ok(0))],
        "an old cancel hits no new operation"
    );
    peer.set_nonblocking(true).unwrap();
    assert_eq!(
        peer.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[cfg(epoll)]
#[test]
fn timers_are_never_early_in_milliseconds_either() {
    for coarse in [false, true] {
        let span = Duration::from_micros(1_500);
        let mut bench = Bench::new(LIMITS);
        if coarse {
            bench.backend.selector.make_coarse();
        }
        let start = Instant::now();
        // Not from their submissions, between which a stalled machine may let any time pass.
        let mut timeouts = [3, 1, 2].map(|n| Timeout::at(start + n * span));
        for (n, timeout) in timeouts.iter_mut().enumerate() {
            bench.push(timeout, n);
        }
        for (n, user_data) in [(1, 1), (2, 2), (3, 0)] {
            // A stalled machine may have let the next one fall due meanwhile.
            while bench.core.local_len() == 0 {
                bench.turn(Block::Forever(1));
            }
            assert!(start.elapsed() >= n * span);
            let completion = bench.core.next(|_| None).unwrap();
            let mut entry: Option<Entry> = None;
            bench.core.deliver(completion, &mut Raw(&mut entry));
            let entry = entry.unwrap();
            assert_eq!(
                (entry.user_data(), entry.raw_os_error()),
                (user_data, Some(errno::ETIME))
            );
        }
        let deadline = Instant::now() + span;
        bench.turn(Block::Until(1, deadline));
        assert!(Instant::now() >= deadline);
    }
}

#[test]
fn a_busy_descriptor_starves_nobody() {
    let (busy, mut busy_peer) = pair();
    let (idle, mut idle_peer) = pair();
    let mut busy_recv = Recv::new(busy.as_fd(), [0; 1]);
    let mut idle_recv = Recv::new(idle.as_fd(), [0; 1]);
    let mut timeout = Timeout::after(Duration::from_micros(100));
    let mut bench = Bench::new(LIMITS);
    busy_peer.write_all(&[0; 1000]).unwrap();
    idle_peer.set_nonblocking(true).unwrap();
    bench.push(&mut idle_recv, 1);
    bench.push(&mut timeout, 2);
    bench.turn(Block::Never);
    let due = Instant::now() + Duration::from_micros(100);
    idle_peer.write_all(b"x").unwrap();
    let mut seen = Vec::new();
    while Instant::now() < due {
        bench.push(&mut busy_recv, 0);
        bench.turn(Block::Forever(1));
        let taken = bench.take();
        assert_eq!(
            taken
                .iter()
                .filter(|(user_data, _)| *user_data == 0)
                .count(),
            1
        );
        seen.extend(taken.into_iter().filter(|(user_data, _)| *user_data != 0));
        busy_peer.write_all(b"x").unwrap();
    }
    bench.push(&mut busy_recv, 0);
    bench.turn(Block::Never);
    seen.extend(
        bench
            .take()
            .into_iter()
            .filter(|(user_data, _)| *user_data != 0),
    );
    seen.sort_unstable_by_key(|(user_data, _)| *user_data);
    assert_eq!(seen, [(1, Ok(1)), (2, Err(errno::ETIME))]);
}
