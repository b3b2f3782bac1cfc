//! S5 on a model of a kernel, which touches what it was lent at every turn: made to be run by Miri.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::driver::{Cwd, Driver, Wait};
use crate::op::{Accept, MsgFlags, Nop, OpenAt, ReadAt, Recv, Send, Timeout};
use crate::slots::tests::{Count, Counted, Drops, is_cancelled, poll};
use crate::sys::model::{self, HOUR, SEEDS, each_seed};
use std::array;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread;

const SLOTS: u32 = 6;

/// A receive that completes only when it is cancelled.
fn silent(drops: &Drops) -> Recv<Cwd, Counted> {
    Recv::new(Cwd, drops.buffer()).flags(MsgFlags::OUT_OF_BAND)
}

/// A driver that the test turns by hand.
struct Hand {
    remote: Remote,
    server: Server,
}

impl Hand {
    fn new(driver: Driver<'static>) -> Self {
        let (remote, server) = Server::new(driver).unwrap();
        Self { remote, server }
    }

    /// Turns that do not wait.
    fn turn(&mut self, times: u64) {
        for _ in 0..times {
            self.server.turn(Wait::new().at_least(0)).unwrap();
        }
    }

    /// Turns until a future is ready.
    fn finish<F: Future + Unpin>(&mut self, mut future: F) -> F::Output {
        let waker = Arc::new(Count::default());
        loop {
            match poll(&mut future, &waker) {
                Poll::Ready(output) => return output,
                Poll::Pending => self.server.turn(Wait::new()).unwrap(),
            }
        }
    }
}

/// Sent, started, completed and handed over; and every cell is used again.
#[test]
fn each_gets_its_own() {
    each_seed(SLOTS, |_, driver| {
        let drops = Drops::default();
        let mut hand = Hand::new(driver);
        for round in 1..3 {
            let recv = hand.remote.try_push(silent(&drops)).unwrap();
            let read = ReadAt::new(Cwd, 0, [0; 16]);
            let read = hand.remote.try_push(read).unwrap();
            let send = Send::new(Cwd, drops.buffer());
            let (sender, receiver) = mpsc::sync_channel(1);
            let callback = move |sent, op| sender.send((sent, op)).unwrap();
            assert!(hand.remote.try_push_with(send, callback).is_ok());
            let open = OpenAt::read(Cwd, c"a path".to_owned());
            let remote = hand.remote.clone();
            let mut open = Box::pin(remote.run(open));
            let _polled = poll(&mut open, &Arc::new(Count::default()));
            hand.turn(1);
            assert!(hand.finish(read).0.is_ok());
            assert!(hand.finish(open).0.is_ok());
            let (sent, op) = loop {
                match receiver.try_recv() {
                    Ok(outcome) => break outcome,
                    Err(_) => hand.turn(1),
                }
            };
            assert!((1..=8).contains(&sent.unwrap()));
            drop((op, recv));
            hand.turn(2);
            while hand.server.driver().in_flight() > 0 {
                hand.server.turn(Wait::new()).unwrap();
            }
            hand.turn(1);
            assert_eq!(drops.count(), 2 * round);
        }
        let all: Vec<_> = (0..SLOTS)
            .map(|_| hand.remote.try_push(Nop::new()).unwrap())
            .collect();
        assert_eq!(
            hand.remote.try_push(Nop::new()).unwrap_err().reason(),
            Rejection::Full
        );
        drop(all);
    });
}

/// Dropped before its start, in flight, completed unseen, done; then the end comes, in the one way
/// or the other.
#[test]
fn claims_dropped_in_every_state() {
    each_seed(SLOTS, |seed, driver| {
        let drops = Drops::default();
        let waker = Arc::new(Count::default());
        let mut hand = Hand::new(driver);
        let mut recv = hand.remote.try_push(silent(&drops)).unwrap();
        let read = ReadAt::new(Cwd, 0, drops.buffer());
        let read = hand.remote.try_push(read).unwrap();
        let accept = hand.remote.try_push(Accept::new(Cwd)).unwrap();
        let open = OpenAt::read(Cwd, c"a path".to_owned());
        let open = hand.remote.try_push(open).unwrap();
        let kept = hand.remote.try_push(silent(&drops)).unwrap();
        let captured = drops.buffer();
        let callback = move |_, _| drop(captured);
        let timeout = Timeout::after(HOUR);
        assert!(hand.remote.try_push_with(timeout, callback).is_ok());
        assert!(poll(&mut recv, &waker).is_pending());
        hand.turn(seed % 5);
        drop((recv, open));
        hand.turn(seed / 2 % 2);
        drop((read, accept));
        hand.turn(seed / 4 % 2);
        if seed % 2 == 1 {
            drop(hand.remote);
            hand.server.run().unwrap();
        }
        drop(hand.server);
        // What is kept outlives the server.
        assert_eq!((drops.count(), Arc::strong_count(&waker)), (3, 1));
        let _outcome = kept.wait();
        assert_eq!(drops.count(), 3);
        drop(_outcome);
        assert_eq!(drops.count(), 4);
    });
}

/// I18: what a callback has in its hands when it panics is dropped once, and the others go on.
#[test]
fn a_callback_that_panics() {
    each_seed(SLOTS, |_, driver| {
        let drops = Drops::default();
        let mut hand = Hand::new(driver);
        let captured = drops.buffer();
        let callback = move |_, _op| {
            let _captured = captured;
            resume_unwind(Box::new(()));
        };
        let send = Send::new(Cwd, drops.buffer());
        assert!(hand.remote.try_push_with(send, callback).is_ok());
        let read = ReadAt::new(Cwd, 0, drops.buffer());
        let read = hand.remote.try_push(read).unwrap();
        assert!(hand.finish(read).0.is_ok());
        while drops.count() < 3 {
            hand.server.turn(Wait::new()).unwrap();
        }
    });
}

/// Operations cross threads, with their buffers, and back; the last handle ends the server.
#[test]
fn on_a_thread_of_its_own() {
    for seed in 0..SEEDS {
        let drops = Drops::default();
        let (sender, receiver) = mpsc::sync_channel(1);
        let server = thread::spawn(move || {
            let (driver, witness) = model::driver(seed, 2);
            let (remote, mut server) = Server::new(driver).unwrap();
            sender.send(remote).unwrap();
            server.run().unwrap();
            drop(server);
            witness
        });
        let remote = receiver.recv().unwrap();
        let clients = array::from_fn::<_, 2, _>(|_| {
            let (remote, drops) = (remote.clone(), drops.clone());
            thread::spawn(move || {
                let (output, op) = remote.run_blocking(ReadAt::new(Cwd, 0, drops.buffer()));
                assert!((1..=8).contains(&output.unwrap()));
                drop(op);
                drop(remote.push_blocking(silent(&drops)).unwrap());
                drop(remote.push_blocking(Accept::new(Cwd)).unwrap());
                remote.run_blocking(Nop::new()).0.unwrap();
            })
        });
        for client in clients {
            client.join().unwrap();
        }
        let left = remote.push_blocking(silent(&drops)).unwrap();
        drop(remote);
        let (output, op) = left.wait();
        let _ = is_cancelled(&output);
        drop(op);
        server.join().unwrap().assert_all_closed();
        assert_eq!(drops.count(), 5);
    }
}
