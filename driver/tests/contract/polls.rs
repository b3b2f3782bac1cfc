//! Polls: when they complete, with what, and who goes on beside them. Compared with poll(2).

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::races::{ROUNDS, Rival, is_cancelled, round};
use crate::steps;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Entry};
use completeio_driver::op::{Poll, PollEvents, Recv, Send, Shutdown, Timeout};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

contract! {
    everywhere: [
        fixed_descriptors,
        again_and_again,
        cancelled,
        a_driver_dropped_with_polls,
    ],
    on_host: [
        the_peers_end_is_always_reported,
        the_peers_end_ends_a_wait,
        no_such_descriptor,
        when_it_becomes_ready,
        either_direction,
        urgent_data,
        ordinary_data_are_not_urgent,
        several_polls_and_transfers,
        by_a_scope_and_by_a_slot,
        poll_or_cancelled,
        files_that_are_retired,
    ],
    on_unix: [
        as_poll_says,
        what_is_never_ready,
        polls_beyond_the_table,
    ],
}

const IN: PollEvents = PollEvents::READABLE;
const OUT: PollEvents = PollEvents::WRITABLE;

/// What poll(2) says, without waiting.
#[cfg(unix)]
fn asked(fd: &impl AsRawFd, events: PollEvents) -> PollEvents {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: i16::try_from(events.bits()).unwrap(),
        revents: 0,
    };
    // SAFETY: one `pollfd`, on the stack.
    kit::checked(unsafe { libc::poll(&raw mut poll, 1, 0) });
    PollEvents::from_bits(poll.revents.unsigned_abs())
}

/// Fills the buffers of a connection.
fn fill(socket: &kit::Stream) {
    socket.set_nonblocking(true).unwrap();
    loop {
        while (&*socket).write(&[0; 4096]).is_ok() {}
        if !kit::writable_now(socket) {
            return;
        }
    }
}

/// Empties the buffers of a connection at the other end until so many operations are complete.
fn drain(l: &mut Ledger, from: &kit::Stream, n: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < n {
        kit::arrived(from);
        entries.extend(l.turn());
    }
    entries.sort_by_key(Entry::user_data);
    entries
}

#[cfg(unix)]
fn as_poll_says(cx: &mut Cx) {
    let (ready, peer) = kit::pair();
    (&peer).write_all(b"x").unwrap();
    let (reader, writer) = kit::pipe();
    let (no_writer, gone) = kit::pipe();
    drop(gone);
    let (gone, no_reader) = kit::pipe();
    drop(gone);
    let (closed, gone) = kit::pair();
    drop(gone);
    let file = kit::file(b"text");
    let dir = File::open("/").unwrap();
    let null = File::open("/dev/null").unwrap();
    let (listener, addr) = kit::listener();
    let _client = TcpStream::connect(addr).unwrap();
    let mut l = cx.ledger();
    let fds: [&dyn AsRawFd; 9] = [
        &ready, &writer, &no_writer, &no_reader, &closed, &file, &dir, &null, &listener,
    ];
    for fd in fds {
        let fd = kit::number(fd.as_raw_fd());
        for events in [IN, OUT, IN | OUT, PollEvents::PRIORITY, PollEvents::NONE] {
            // The peer's end is reported beyond what poll(2) is asked.
            let expected = asked(&fd, events | PollEvents::READ_CLOSED);
            if !expected.is_empty() {
                assert_eq!(
                    l.run(Poll::new(fd, events)).unwrap(),
                    expected,
                    "{fd:?} {events:?}"
                );
            }
        }
    }
    drop((reader, peer));
}

fn the_peers_end_is_always_reported(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    fill(&ours);
    theirs.shutdown(std::net::Shutdown::Write).unwrap();
    let mut l = cx.ledger();
    for events in [PollEvents::PRIORITY, PollEvents::NONE, OUT] {
        #[cfg(unix)]
        assert!(asked(&ours, events).is_empty());
        let ready = l.run(Poll::new(kit::plain(&ours), events)).unwrap();
        assert_eq!(ready, PollEvents::READ_CLOSED);
    }
    drop(theirs);
    let ready = l
        .run(Poll::new(kit::plain(&ours), PollEvents::NONE))
        .unwrap();
    assert!(ready.contains(PollEvents::HANG_UP), "{ready:?}");
}

fn the_peers_end_ends_a_wait(cx: &mut Cx) {
    let mut l = cx.ledger();
    for (n, events) in [PollEvents::PRIORITY, PollEvents::NONE, IN, OUT]
        .into_iter()
        .enumerate()
    {
        let (ours, theirs) = kit::pair();
        fill(&ours);
        let op = l.start(Poll::new(kit::plain(&ours), events), n);
        l.hand_over();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let entry = l.one();
        let ready = l.finish(op, entry).unwrap();
        assert!(ready.contains(PollEvents::READ_CLOSED), "{events:?}");
    }
}

#[cfg(unix)]
fn what_is_never_ready(cx: &mut Cx) {
    let file = kit::file(b"text");
    let dir = File::open("/").unwrap();
    let mut l = cx.ledger();
    for fd in [&file, &dir] {
        for events in [PollEvents::PRIORITY, PollEvents::NONE] {
            assert_eq!(l.errno(Poll::new(kit::plain(fd), events)), libc::EINVAL);
        }
    }
}

fn no_such_descriptor(cx: &mut Cx) {
    let path = kit::path_only("/");
    let path = path.as_ref().map(AsRawFd::as_raw_fd);
    let negative = [-2, i32::MIN].map(kit::negative);
    let numbers = kit::ALL_CLOSED.into_iter().chain(negative).chain(path);
    let mut l = cx.ledger();
    for number in numbers {
        for events in [IN, PollEvents::NONE] {
            let poll = Poll::new(kit::number(number), events);
            assert_eq!(l.errno(poll), code::NO_SOCKET);
        }
    }
    let empty = completeio_driver::driver::FixedFd::from_id(3);
    assert_eq!(l.errno(Poll::new(empty, IN)), code::NO_SOCKET);
    let cwd = completeio_driver::driver::Cwd;
    assert_eq!(l.errno(Poll::new(cwd, IN)), code::NO_SOCKET);
}

fn when_it_becomes_ready(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let (listener, addr) = kit::listener();
    let (mut reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    for attached in [false, true] {
        if attached {
            l.at(&ours);
            l.at(&listener);
            l.at(&reader);
        }
        let polls = [ours.as_raw_fd(), listener.as_raw_fd(), reader.as_raw_fd()];
        for (n, fd) in polls.into_iter().enumerate().take(kit::POLLED) {
            l.start(Poll::new(kit::number(fd), IN), n);
        }
        l.hand_over();
        (&theirs).write_all(b"x").unwrap();
        assert_eq!(kit::names(&l.take(1)), [0]);
        let _client = TcpStream::connect(addr).unwrap();
        assert_eq!(kit::names(&l.take(1)), [1]);
        (&writer).write_all(b"x").unwrap();
        if kit::POLLED > 2 {
            assert_eq!(kit::names(&l.take(1)), [2]);
        }
        // Nothing was taken.
        listener.accept().unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
    }
}

/// A poll for both directions completes with the one that comes first.
fn either_direction(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    fill(&ours);
    let mut l = cx.ledger();
    let op = l.start(Poll::new(kit::plain(&ours), IN | OUT), 1);
    l.hand_over();
    (&theirs).write_all(b"x").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), IN);
    assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
    l.push(op, 2);
    l.hand_over();
    let entry = drain(&mut l, &theirs, 1).remove(0);
    assert_eq!(l.finish(op, entry).unwrap(), OUT);
}

fn urgent_data(cx: &mut Cx) {
    let (ours, theirs) = kit::tcp_pair();
    let mut l = cx.ledger();
    let op = l.start(Poll::new(kit::plain(&ours), PollEvents::PRIORITY), 1);
    l.hand_over();
    kit::send_urgent(&theirs);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), PollEvents::PRIORITY);
    // One that is there already.
    l.push(op, 2);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), PollEvents::PRIORITY);
}

/// On io_uring they may be taken for it.
fn ordinary_data_are_not_urgent(cx: &mut Cx) {
    let (ours, theirs) = kit::tcp_pair();
    let mut l = cx.ledger();
    let op = l.start(Poll::new(kit::plain(&ours), PollEvents::PRIORITY), 1);
    l.hand_over();
    (&theirs).write_all(b"x").unwrap();
    assert!(kit::becomes_readable(&ours));
    let early = l.turn();
    l.try_cancel(1).unwrap();
    let entry = early.into_iter().next().unwrap_or_else(|| l.one());
    match l.finish(op, entry) {
        Ok(events) => assert!(cx.is_io_uring() && events == PollEvents::PRIORITY),
        Err(error) => assert_eq!(error.raw_os_error(), Some(code::ECANCELED)),
    }
    // What was there before is told apart.
    l.push(op, 2);
    l.hand_over();
}

/// I34, I38: each completes, whatever waits beside it on the same descriptor.
fn several_polls_and_transfers(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    fill(&ours);
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for n in 0..3 {
        l.start(Poll::new(fd, IN), n);
    }
    l.start(Poll::new(fd, OUT), 10);
    l.start(Poll::new(fd, PollEvents::NONE), 11);
    l.start(Recv::new(fd, [0; 1]), 20);
    l.start(Recv::new(fd, [0; 1]), 21);
    l.start(Send::new(fd, "later"), 22);
    l.start(Poll::new(fd, IN | OUT), 12);
    l.hand_over();
    // No more than the receives take where the polls look first.
    let bytes = if kit::POLLS_LOOK_FIRST { "xx" } else { "xxx" };
    (&theirs).write_all(bytes.as_bytes()).unwrap();
    let names = kit::names(&l.take_sorted(6));
    assert_eq!(names, [0, 1, 2, 12, 20, 21]);
    let entries = drain(&mut l, &theirs, 2);
    assert_eq!(kit::names(&entries), [10, 22]);
    kit::arrived(&ours);
    theirs.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(kit::names(&l.take(1)), [11]);
}

/// What has a number beyond the driver's table is asked once, and not waited for.
#[cfg(unix)]
fn polls_beyond_the_table(cx: &mut Cx) {
    if cx.is_io_uring() {
        return;
    }
    let (ours, theirs) = kit::pair();
    let mut l = cx.with(|limits| limits.descriptors(1));
    assert_eq!(l.run(Poll::new(kit::plain(&ours), OUT)).unwrap(), OUT);
    assert_eq!(l.errno(Poll::new(kit::plain(&ours), IN)), libc::EMFILE);
    drop(theirs);
}

fn fixed_descriptors(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.register_fd(ours.as_raw_fd(), 3).unwrap();
    assert_eq!(l.run(Poll::new(fd, OUT | IN)).unwrap(), OUT);
    let op = l.start(Poll::new(fd, IN), 1);
    l.hand_over();
    (&theirs).write_all(b"x").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), IN);
    l.unregister_fd(fd).unwrap();
}

fn by_a_scope_and_by_a_slot(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut op = Poll::new(ours.as_fd(), IN);
    let mut l = cx.ledger();
    l.scope(|s| {
        let ticket = steps::start(s, &mut op, 1);
        steps::hand_over(s);
        s.try_cancel(&ticket).unwrap();
        let (result, op) = ticket.redeem(steps::next(s)).unwrap();
        assert_eq!(steps::errno(result), code::ECANCELED);
        let ticket = steps::start(s, op, 2);
        steps::hand_over(s);
        (&theirs).write_all(b"x").unwrap();
        assert_eq!(ticket.redeem(steps::next(s)).unwrap().0.unwrap(), IN);
    })
    .unwrap();
    let owned = kit::owned(ours.try_clone().unwrap());
    let key = l.try_push_owned(Poll::new(owned, IN | OUT), 3).unwrap();
    let (result, _op) = steps::outcome(&mut l, key);
    assert_eq!(result.unwrap(), IN | OUT);
    let owned = kit::owned(ours.try_clone().unwrap());
    drop(
        l.try_push_owned(Poll::new(owned, PollEvents::NONE), 4)
            .unwrap(),
    );
    l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
        .unwrap()
        .unwrap();
}

/// Once for each push, whoever else waits.
fn again_and_again(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let op = l.lend(Poll::new(kit::plain(&ours), IN));
    for n in 0..100 {
        l.push(op, n);
        l.hand_over();
        (&theirs).write_all(b"x").unwrap();
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), IN);
        assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1);
    }
}

/// Before, and after it was handed over; by its user data and by its descriptor.
fn cancelled(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    for handed_over in [false, true] {
        for by_fd in [false, true] {
            l.start(Poll::new(kit::plain(&ours), IN), 1);
            if handed_over {
                l.hand_over();
            }
            if by_fd {
                l.try_cancel_fd(&kit::plain(&ours)).unwrap();
            } else {
                l.try_cancel(1).unwrap();
            }
            assert_eq!(kit::errnos(&l.take(1)), [code::ECANCELED]);
        }
    }
    (&theirs).write_all(b"x").unwrap();
    assert_eq!(l.run(Poll::new(kit::plain(&ours), IN)).unwrap(), IN);
    l.try_cancel(1).unwrap();
    assert!(l.turn().is_empty());
}

fn a_driver_dropped_with_polls(cx: &mut Cx) {
    for handed_over in [false, true] {
        let (ours, theirs) = cx.pair();
        let mut l = cx.ledger();
        for n in 0..4 {
            l.start(Poll::new(kit::plain(&ours), IN), n);
        }
        if handed_over {
            l.hand_over();
        }
        l.abandon();
        (&theirs).write_all(b"x").unwrap();
    }
}

fn poll_or_cancelled(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let op = l.lend(Poll::new(fd, IN));
    let rival = Rival::new(move || (&theirs).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        let cancelled = is_cancelled(&entry);
        rival.wait();
        if !cancelled {
            assert_eq!(l.finish(op, entry).unwrap(), IN);
        }
        assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 1, "nothing was taken");
    }
}

/// What waits on a descriptor that is detached is told so on readiness, and goes on elsewhere.
fn files_that_are_retired(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Poll::new(fd, IN), 1);
    l.hand_over();
    l.detach(fd);
    if !cx.is_readiness() {
        (&theirs).write_all(b"x").unwrap();
        assert!(l.one().into_result().is_ok());
    } else {
        assert_eq!(kit::errnos(&l.take(1)), [code::EBADF]);
    }
    #[cfg(unix)]
    shut_down_wakes(&mut l);
}

/// The end of our own side is an end that a poll reports; of Windows no document says so.
#[cfg(unix)]
fn shut_down_wakes(l: &mut Ledger) {
    let (ours, _theirs) = l.site.pair();
    l.start(Poll::new(kit::plain(&ours), IN), 1);
    l.start(Timeout::after(Duration::from_secs(3600)), 2);
    l.hand_over();
    l.start(
        Shutdown::new(kit::plain(&ours), std::net::Shutdown::Both),
        3,
    );
    assert_eq!(kit::names(&l.take_sorted(2)), [1, 3]);
}
