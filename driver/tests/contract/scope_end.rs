//! I5: a scope that ends, or unwinds, returns when nothing of it is in flight any more; what nobody
//! redeemed is given up, and what the driver owns goes on.

use crate::kit::{self, quietly, silent_panic, unless_silent};
use crate::ledger::{Cx, Ledger};
use crate::steps::{finished, hand_over, next, run, start, take, turn};
use completeio_driver::driver::{AsFd, AsRawFd, Cwd, Entry, Wait};
use completeio_driver::op::{
    Accept, Close, Connect, Nop, OpenAt, OpenOptions, ReadAt, Recv, Send, Timeout, WriteAt,
};
use completeio_driver::scope::{Event, Scope};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        with_nothing,
        with_events_that_nobody_took,
        with_a_queue_half_pushed,
        with_more_in_flight_than_cancel_places,
        with_cancellations_asked_for,
        an_error_of_the_closure_is_no_error_of_the_scope,
        forgotten_halves_change_nothing,
        owned_operations_that_were_only_pushed_go_on,
        a_wake_up_survives,
        raw_operations_come_after,
    ],
    on_host: [
        with_pushed_operations,
        with_operations_in_flight,
        with_reads_in_flight,
        with_events_in_hand,
        after_the_closure_unwound,
        accepted_connections_are_closed,
        opened_files_are_closed,
        dropped_completions_are_disposed_of,
        a_pushed_close_closes,
        halves_are_dropped_in_any_order,
        owned_operations_go_on,
        owned_operations_complete_at_the_end,
    ],
    on_unix: [
        a_close_that_was_put_off_closes,
        with_a_pending_connect,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

/// Nothing of a scope is left, and the driver does what it did before.
fn assert_over(l: &mut Ledger) {
    assert_eq!(l.in_flight(), 0);
    let stats = l.stats();
    assert_eq!(stats.pushed, stats.completed, "I1: {stats:?}");
    assert_eq!(stats.unknown, 0, "I37: {stats:?}");
    let mut nop = Nop::new();
    l.scope(|s| run(s, &mut nop).0).unwrap().unwrap();
    assert!(l.turn().is_empty(), "no entry of a scope comes out later");
}

/// Does something with operations of each kind that pend: pushes them, and tells `then`.
fn with_pending(cx: &mut Cx, then: impl Fn(&mut Scope<'_, '_>)) {
    let (ours, theirs) = cx.pair();
    let (listener, _) = kit::listener();
    let (reader, _writer) = cx.pipe();
    let mut l = cx.ledger();
    let attached = l.attach_fd(ours.as_fd()).unwrap();
    let mut buffers = [[0; 64]; 4];
    let mut recvs = buffers
        .each_mut()
        .map(|b| Recv::new(ours.as_fd(), &mut b[..]));
    let mut attached = [(); 4].map(|()| Recv::new(attached, [0; 64]));
    let mut accepts = [(); 4].map(|()| Accept::new(listener.as_fd()));
    let mut timeouts = [HOUR, Duration::MAX].map(Timeout::after);
    // Pends on io_uring; readiness knows at once that a pipe has no offsets.
    let mut read = ReadAt::new(reader.as_fd(), 0, [0; 64]);
    unless_silent(|| {
        l.scope(|s| {
            for recv in &mut recvs {
                let _lent = start(s, recv, 1);
            }
            for recv in &mut attached {
                let _lent = start(s, recv, 1);
            }
            for accept in &mut accepts {
                let _lent = start(s, accept, 1);
            }
            for timeout in &mut timeouts {
                let _lent = start(s, timeout, 1);
            }
            let _lent = start(s, &mut read, 1);
            then(s);
        })
        .unwrap();
    });
    assert_over(&mut l);
    // All of it is the test's again.
    buffers[0].fill(7);
    (&theirs).write_all(b"later").unwrap();
    assert_over(&mut l);
    assert_eq!(ours.arrived(), b"later", "nobody receives any more");
    assert_eq!(buffers[1..], [[0; 64]; 3]);
}

fn with_nothing(cx: &mut Cx) {
    let mut l = cx.ledger();
    assert_eq!(l.scope(|_| 7).unwrap(), 7);
    assert_over(&mut l);
}

/// Pushed and not submitted: the end may publish it, for the loans live.
fn with_pushed_operations(cx: &mut Cx) {
    with_pending(cx, |_| {});
    let file = kit::file(b"before");
    let mut l = cx.ledger();
    let mut write = WriteAt::new(file.as_fd(), 0, "after!");
    let mut nop = Nop::new();
    l.scope(|s| {
        let _lent = (start(s, &mut write, 1), start(s, &mut nop, 2));
    })
    .unwrap();
    assert_over(&mut l);
    let text = kit::contents(&file);
    assert!([&b"before"[..], b"after!"].contains(&&text[..]));
}

fn with_operations_in_flight(cx: &mut Cx) {
    with_pending(cx, |s| drop(turn(s)));
    with_pending(cx, |s| {
        drop(turn(s));
        drop(turn(s));
        let _notifier = s.notifier();
        drop(turn(s));
    });
}

#[cfg(unix)]
fn with_a_pending_connect(cx: &mut Cx) {
    let (_listener, addr, _clients) = kit::full_listener();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let mut connect = Connect::new(socket.as_fd(), addr);
    l.scope(|s| {
        let _lent = start(s, &mut connect, 1);
        hand_over(s);
    })
    .unwrap();
    assert_over(&mut l);
}

/// Of files, past the page cache where the file system lets one: what runs is waited for.
fn with_reads_in_flight(cx: &mut Cx) {
    const PIECE: usize = 1 << 16;
    let file = kit::cold_file(&vec![1; 8 * PIECE]);
    let mut buffers: Vec<_> = (0..8)
        .map(|_| completeio_driver::buf::Aligned::new(PIECE, 4096))
        .collect();
    for turns in 0..4 {
        let mut l = cx.ledger();
        let mut reads: Vec<_> = buffers
            .iter_mut()
            .enumerate()
            .map(|(n, buffer)| ReadAt::new(file.as_fd(), (n * PIECE) as u64, buffer))
            .collect();
        l.scope(|s| {
            for (n, read) in reads.iter_mut().enumerate() {
                let _lent = start(s, read, n);
            }
            for _ in 0..turns {
                drop(turn(s));
            }
        })
        .unwrap();
        assert_over(&mut l);
    }
}

/// Completed, and not taken out: they have no ticket any more, and are counted all the same.
fn with_events_that_nobody_took(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(64).completion_entries(64));
    let mut nops = [(); 32].map(|()| Nop::new());
    let mut wrong = [(); 32].map(|()| ReadAt::new(Cwd, u64::MAX, [0; 4]));
    l.scope(|s| {
        for (nop, wrong) in nops.iter_mut().zip(&mut wrong) {
            let _lent = (start(s, nop, 1), start(s, wrong, 2));
        }
        drop(next(s));
        assert_eq!(s.in_flight(), 63);
    })
    .unwrap();
    assert_over(&mut l);
}

/// Events that were taken out and not looked at, in a sink that ends with the closure.
fn with_events_in_hand(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let mut l = cx.ledger();
    let mut opens = [(); 4].map(|()| OpenAt::read(Cwd, path.c_string()));
    l.scope(|s| {
        for open in &mut opens {
            let _lent = start(s, open, 1);
        }
        let mut events = Vec::with_capacity(4);
        s.submit_until(Wait::new().at_least(4), &mut events)
            .unwrap();
        assert_eq!(events.len(), 4);
    })
    .unwrap();
    assert_over(&mut l);
    assert!(!kit::is_open_somewhere(&path));
}

fn with_a_queue_half_pushed(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(4).in_flight(6));
    let mut recvs = [(); 10].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    l.scope(|s| {
        let mut queue: VecDeque<_> = recvs.iter_mut().map(|recv| s.lend(recv, 0).0).collect();
        let mut events: Vec<Event<'_>> = Vec::with_capacity(1);
        s.submit_queue(&mut queue, Wait::new().at_least(0), &mut events)
            .unwrap();
        assert_eq!((queue.len(), s.in_flight()), (4, 6));
    })
    .unwrap();
    assert_over(&mut l);
}

fn with_more_in_flight_than_cancel_places(cx: &mut Cx) {
    const COUNT: usize = 100;
    let (ours, theirs) = cx.pair();
    for submitted in [0, 1] {
        let mut l = cx.with(|limits| limits.entries(2 * COUNT).cancels(1));
        let mut recvs: Vec<_> = (0..COUNT)
            .map(|_| Recv::new(ours.as_fd(), [0; 8]))
            .collect();
        let mut timeouts: Vec<_> = (0..COUNT).map(|_| Timeout::after(HOUR)).collect();
        l.scope(|s| {
            for (recv, timeout) in recvs.iter_mut().zip(&mut timeouts) {
                let _lent = (start(s, recv, 1), start(s, timeout, 2));
            }
            for _ in 0..submitted {
                hand_over(s);
            }
        })
        .unwrap();
        assert_over(&mut l);
    }
    (&theirs).write_all(b"later").unwrap();
    assert_eq!(ours.arrived(), b"later");
}

fn with_cancellations_asked_for(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recvs = [(); 3].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    l.scope(|s| {
        let [a, b, c] = recvs.each_mut();
        let a = start(s, a, 1);
        hand_over(s);
        let b = start(s, b, 2);
        let (never_pushed, c) = s.lend(c, 3);
        for ticket in [&a, &b, &c] {
            s.try_cancel(ticket).unwrap();
        }
        drop(never_pushed);
    })
    .unwrap();
    assert_over(&mut l);
}

/// I18: unwinding ends a scope as returning does, in each state of its operations.
fn after_the_closure_unwound(cx: &mut Cx) {
    with_pending(cx, |_| silent_panic());
    with_pending(cx, |s| {
        drop(turn(s));
        silent_panic();
    });
    let (ours, _theirs) = kit::pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    let mut nops = [(); 4].map(|()| Nop::new());
    quietly(|| {
        let _ = l.scope(|s| {
            let _ticket = start(s, &mut recv, 1);
            for nop in &mut nops {
                let _lent = start(s, nop, 2);
            }
            let _done = next(s);
            silent_panic()
        });
    });
    assert_over(&mut l);
}

fn an_error_of_the_closure_is_no_error_of_the_scope(cx: &mut Cx) {
    let mut l = cx.ledger();
    let result: Result<(), _> = l.scope(|_| Err("an error")).unwrap();
    assert_eq!(result, Err("an error"));
    assert_over(&mut l);
}

/// I16: whether nobody took them, dropped them or lost their tickets.
fn accepted_connections_are_closed(cx: &mut Cx) {
    for take_out in [0, 1, 3] {
        let (listener, addr) = kit::listener();
        let mut clients = [(); 3].map(|()| TcpStream::connect(addr).unwrap());
        let mut l = cx.ledger();
        let mut accepts = [(); 4].map(|()| Accept::new(listener.as_fd()));
        l.scope(|s| {
            let mut tickets = Vec::new();
            for accept in &mut accepts {
                tickets.push(start(s, accept, 1));
            }
            let done = take(s, take_out);
            if take_out == 3 {
                drop(tickets);
            }
            drop(done);
        })
        .unwrap();
        assert_over(&mut l);
        drop(listener);
        for client in &mut clients {
            assert!(
                matches!(client.read(&mut [0]), Ok(0) | Err(_)),
                "it was closed"
            );
        }
    }
}

/// I16: completed in time or not.
fn opened_files_are_closed(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    for turns in 0..3 {
        let mut l = cx.ledger();
        let mut opens = [(); 16].map(|()| OpenAt::read(Cwd, path.c_string()));
        l.scope(|s| {
            for open in &mut opens {
                let _lent = start(s, open, 1);
            }
            for _ in 0..turns {
                let mut none = None;
                s.submit(Some(Duration::ZERO), &mut none).unwrap();
            }
        })
        .unwrap();
        assert!(!kit::is_open_somewhere(&path));
        assert_over(&mut l);
    }
}

/// I16: at once, when they are dropped; the error of one that failed names nothing.
fn dropped_completions_are_disposed_of(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut client = TcpStream::connect(addr).unwrap();
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let mut accept = Accept::new(listener.as_fd());
    let create = OpenOptions::new().write(true).create_new(true);
    let [mut open, mut again] = [(); 2].map(|()| OpenAt::new(Cwd, path.c_string(), create));
    let (_ours, theirs) = kit::pair();
    let number = theirs.as_raw_fd();
    let mut close = Close::new(kit::owned(theirs));
    l.scope(|s| {
        let ticket = start(s, &mut accept, 1);
        let done = next(s);
        assert!(done.result().is_ok());
        drop(done);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is closed");
        drop(ticket);
        let _lent = start(s, &mut open, 2);
        let done = next(s);
        assert!(kit::is_open_somewhere(&path));
        drop(done);
        assert!(!kit::is_open_somewhere(&path));
        let _lent = start(s, &mut again, 3);
        let done = next(s);
        assert_eq!(
            done.result().unwrap_err().raw_os_error(),
            Some(kit::code::EEXIST)
        );
        drop(done);
        let _lent = start(s, &mut close, 4);
        drop(next(s));
        assert!(!kit::is_open(number));
    })
    .unwrap();
    // Whoever gets the number next keeps it.
    let next = File::open("/dev/null").unwrap();
    drop(close);
    assert!(kit::is_open(next.as_raw_fd()));
    assert_over(&mut l);
}

/// I16: a close is not cancelled by the end, wherever it is.
fn a_pushed_close_closes(cx: &mut Cx) {
    for submitted in [false, true] {
        let (ours, theirs) = kit::pair();
        let path = kit::TempPath::new();
        let file = File::create(&*path).unwrap();
        let mut l = cx.ledger();
        let mut socket = Close::new(kit::owned(theirs));
        let mut file = Close::new(kit::owned(file));
        let mut unused = Close::new(kit::owned(File::open(&*path).unwrap()));
        l.scope(|s| {
            let (_never_pushed, _ticket) = s.lend(&mut unused, 0);
            let _lent = (start(s, &mut socket, 1), start(s, &mut file, 2));
            if submitted {
                drop(turn(s));
            }
        })
        .unwrap();
        assert_eq!(kit::arrived(&ours), []);
        assert_over(&mut l);
        assert!(
            kit::is_open_somewhere(&path),
            "never pushed, so still its own"
        );
        drop(unused);
        assert!(!kit::is_open_somewhere(&path));
        drop((socket, file));
    }
}

/// I16: nor is one that waits for a worker, where a cancellation would find it.
#[cfg(unix)]
fn a_close_that_was_put_off_closes(cx: &mut Cx) {
    const COUNT: usize = 64;
    let Some(queue) = kit::flushed() else {
        return;
    };
    let mut l = cx.with(|limits| limits.entries(2 * COUNT).cancels(4 * COUNT));
    let before = kit::open_fds().len();
    for turns in 0..8 {
        let close = |_| Close::new(queue.try_clone().unwrap());
        let (mut ended, mut cancelled): (Vec<_>, Vec<_>) =
            (0..COUNT).map(|n| (close(n), close(n))).unzip();
        l.scope(|s| {
            for (ended, cancelled) in ended.iter_mut().zip(&mut cancelled) {
                let _lent = start(s, ended, 1);
                let ticket = start(s, cancelled, 1);
                s.try_cancel(&ticket).unwrap();
            }
            for _ in 0..turns % 2 {
                drop(turn(s));
            }
        })
        .unwrap();
        drop((ended, cancelled));
        assert_eq!(kit::open_fds().len(), before);
        for round in 0..COUNT {
            let close = l.try_push_owned(close(round), round).unwrap();
            if round % 2 == 0 {
                close.cancel();
            }
        }
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert_eq!(kit::open_fds().len(), before);
    }
}

/// The halves of a loan are dropped in each order, in each state, and no state is worse than
/// others.
fn halves_are_dropped_in_any_order(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    for order in 0..6 {
        let mut l = cx.ledger();
        let mut open = OpenAt::read(Cwd, path.c_string());
        l.scope(|s| {
            let (prepared, ticket) = s.lend(&mut open, 1);
            match order {
                0 => drop((prepared, ticket)),
                1 => drop((ticket, prepared)),
                2 => {
                    s.try_push(prepared).unwrap();
                    drop(ticket);
                }
                3 => {
                    drop(ticket);
                    s.try_push(prepared).unwrap();
                    drop(next(s));
                }
                4 => {
                    s.try_push(prepared).unwrap();
                    let done = next(s);
                    drop(ticket);
                    drop(done);
                }
                _ => {
                    s.try_push(prepared).unwrap();
                    drop(next(s));
                    drop(ticket);
                }
            }
        })
        .unwrap();
        assert!(!kit::is_open_somewhere(&path));
        assert_over(&mut l);
    }
}

/// I3: what is forgotten is not waited for by its owner; the scope waits.
#[allow(
    clippy::forget_non_drop,
    clippy::mem_forget,
    reason = "that nothing depends on a destructor is what is tested"
)]
fn forgotten_halves_change_nothing(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recvs = [(); 3].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    let mut nop = Nop::new();
    l.scope(|s| {
        let [unused, pushed, in_flight] = recvs.each_mut();
        std::mem::forget(start(s, in_flight, 1));
        hand_over(s);
        std::mem::forget(start(s, pushed, 2));
        std::mem::forget(s.lend(unused, 3));
        let ticket = start(s, &mut nop, 4);
        std::mem::forget(next(s));
        std::mem::forget(ticket);
    })
    .unwrap();
    assert_over(&mut l);
    (&theirs).write_all(b"later").unwrap();
    assert_eq!(ours.arrived(), b"later");
}

/// What the driver owns is in flight before, during and after a scope, and is not cancelled by it.
fn owned_operations_go_on(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let (listener, addr) = kit::listener();
    let mut l = cx.ledger();
    let recv = Recv::new(kit::owned(ours), [0; 8]);
    let recv = l.try_push_owned(recv, 1).unwrap();
    let timeout = l.try_push_owned(Timeout::after(HOUR), 2).unwrap();
    l.scope(hand_over).unwrap();
    for _ in 0..3 {
        let mut pending = Accept::new(listener.as_fd());
        let mut nop = Nop::new();
        l.scope(|s| {
            let _lent = start(s, &mut pending, 3);
            run(s, &mut nop).0.unwrap();
            hand_over(s);
            assert_eq!(s.in_flight(), 3);
        })
        .unwrap();
        assert_eq!(l.in_flight(), 2);
        assert!(!recv.is_done() && !timeout.is_done());
    }
    quietly(|| {
        l.scope(|s| -> () {
            hand_over(s);
            silent_panic()
        })
        .unwrap();
    });
    assert_eq!((l.in_flight(), finished(&mut l)), (2, vec![]));
    let accept = Accept::new(kit::owned(listener));
    let accept = l
        .scope(|s| {
            hand_over(s);
            (&theirs).write_all(b"text").unwrap();
            while !recv.is_done() {
                s.submit(None, &mut None).unwrap();
            }
            let token = s.next_finished().unwrap().token();
            let (received, recv) = recv.redeem().unwrap();
            assert_eq!(
                (token, received.unwrap(), &recv.buf()[..4]),
                (1, 4, &b"text"[..])
            );
            accept
        })
        .unwrap();
    let accept = l.try_push_owned(accept, 4).unwrap();
    let _client = TcpStream::connect(addr).unwrap();
    crate::steps::outcome(&mut l, accept).0.unwrap();
    assert!(!timeout.is_done());
    drop(timeout);
    l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    assert_over(&mut l);
}

/// I11: they are published by a scope like by any submit, and not taken back.
fn owned_operations_that_were_only_pushed_go_on(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let file = cx.file(b"before");
    let mut l = cx.ledger();
    let recv = Recv::new(kit::owned(ours), [0; 8]);
    let recv = l.try_push_owned(recv, 1).unwrap();
    let write = WriteAt::new(kit::owned(file), 0, "after!");
    let write = l.try_push_owned(write, 2).unwrap();
    let mut pending = Timeout::after(HOUR);
    l.scope(|s| {
        let _lent = start(s, &mut pending, 3);
    })
    .unwrap();
    let (written, op) = crate::steps::outcome(&mut l, write);
    assert_eq!(written.unwrap(), 6);
    drop(op);
    (&theirs).write_all(b"text").unwrap();
    assert_eq!(crate::steps::outcome(&mut l, recv).0.unwrap(), 4);
    assert_over(&mut l);
}

/// What completes while a scope is ended is not lost: the driver's own is announced after it.
fn owned_operations_complete_at_the_end(cx: &mut Cx) {
    let (ours, _theirs) = kit::pair();
    let mut l = cx.ledger();
    let keys: Vec<_> = (0..8)
        .map(|n| l.try_push_owned(Nop::new(), n).unwrap())
        .collect();
    let mut recvs = [(); 8].map(|()| Recv::new(ours.as_fd(), [0; 8]));
    l.scope(|s| {
        for recv in &mut recvs {
            let _lent = start(s, recv, 100);
        }
    })
    .unwrap();
    assert_eq!(finished(&mut l), (0..8).collect::<Vec<_>>());
    for key in keys {
        key.redeem().unwrap().0.unwrap();
    }
    assert_over(&mut l);
}

/// I14: what rang while a scope was ended is for the next submit.
fn a_wake_up_survives(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    let notifier = l.notifier();
    l.submit(Some(Duration::ZERO), &mut None).unwrap();
    l.scope(|s| {
        let _lent = start(s, &mut recv, 1);
        hand_over(s);
        thread::spawn(move || notifier.notify()).join().unwrap();
    })
    .unwrap();
    // Nothing is in flight: the wake-up alone ends this wait.
    l.submit(None, &mut None::<Entry>).unwrap();
    assert_eq!(l.stats().wake_ups, 1);
    assert_over(&mut l);
}

/// The raw layer is as it was: its entries are its own.
fn raw_operations_come_after(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let mut recv = Recv::new(ours.as_fd(), [0; 8]);
    let mut nop = Nop::new();
    for round in 0..5 {
        l.start(Send::new(kit::plain(&theirs), "text"), round);
        assert_eq!(kit::names(&l.take(1)), [round]);
        l.scope(|s| {
            let _lent = start(s, &mut nop, round);
            let ticket = start(s, &mut recv, round);
            // Under one token: the ticket knows its own.
            let mut done = take(s, 2);
            let (received, _) = match ticket.redeem(done.remove(0)) {
                Ok(redeemed) => redeemed,
                Err((ticket, _other)) => ticket.redeem(done.remove(0)).unwrap(),
            };
            assert_eq!(received.unwrap(), 4);
        })
        .unwrap();
    }
    assert_over(&mut l);
}
