//! Outcomes given to functions, on the driver's thread.

use crate::kit::{self, code};
use crate::rig::{Count, Cx, LONG, accepted, errno, recv, rejected};
use completeio_driver::op::{Nop, ReadAt, Timeout};
use completeio_driver::remote::{Rejection, Remote};
use std::cell::Cell;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

on_each_backend![
    outcomes_on_the_drivers_thread,
    each_is_called_once,
    a_callback_that_panics,
    a_callback_that_sends_again,
    a_callback_that_finds_no_room,
    a_callback_that_closes,
    a_callback_has_the_last_remote,
    a_callback_has_the_thread_itself,
    cancelled_by_the_shutdown,
    never_started,
    not_called_when_closed,
    a_callback_as_large_as_the_rest_of_a_cell,
    what_a_callback_owns_is_dropped_with_it,
];

fn outcomes_on_the_drivers_thread(cx: &Cx) {
    let driver = cx.thread(2);
    let (send, receive) = mpsc::channel();
    let file = kit::owned(kit::file(b"contents"));
    let op = ReadAt::new(file, 3, Vec::with_capacity(3));
    let callback = move |output, op| {
        let name = thread::current().name().map(str::to_owned);
        send.send((output, op, name)).unwrap();
    };
    accepted(driver.remote().try_push_with(op, callback));
    let (output, op, name) = receive.recv().unwrap();
    assert_eq!((output.unwrap(), &op.buf()[..]), (3, &b"ten"[..]));
    assert_eq!(name.as_deref(), Some("completeio"));
}

fn each_is_called_once(cx: &Cx) {
    const COUNT: usize = 500;
    let driver = cx.thread(8);
    let remote = driver.remote();
    let calls: Arc<[AtomicUsize]> = (0..COUNT).map(|_| AtomicUsize::new(0)).collect();
    let (send, receive) = mpsc::channel();
    for i in 0..COUNT {
        let (calls, send) = (calls.clone(), send.clone());
        let mut pushed = remote.try_push_with(Nop::new(), move |output, _| {
            output.unwrap();
            calls[i].fetch_add(1, Ordering::Relaxed);
            send.send(()).unwrap();
        });
        while let Err(full) = pushed {
            assert_eq!(full.reason(), Rejection::Full);
            // Waits for room.
            remote.run_blocking(Nop::new()).0.unwrap();
            let (op, callback) = full.into_inner();
            pushed = remote.try_push_with(op, callback);
        }
    }
    assert_eq!(receive.iter().take(COUNT).count(), COUNT);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert!(calls.iter().all(|call| call.load(Ordering::Relaxed) == 1));
}

/// Its cell is free, and the others go on.
fn a_callback_that_panics(cx: &Cx) {
    let driver = cx.thread(2);
    let remote = driver.remote();
    let (pending, mut end) = {
        let (recv, end) = recv();
        (accepted(remote.try_push(recv)), end)
    };
    let guard = Arc::new(());
    for _ in 0..5 {
        let guard = guard.clone();
        let callback = move |_, _| {
            let _dropped = guard;
            kit::silent_panic();
        };
        accepted(remote.try_push_with(Nop::new(), callback));
        accepted(remote.push_blocking(Nop::new())).wait().0.unwrap();
    }
    assert_eq!(Arc::strong_count(&guard), 1);
    end.write_all(b"text").unwrap();
    assert_eq!(pending.wait().0.unwrap(), 4);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

fn again(remote: Remote, left: usize, done: mpsc::Sender<usize>) {
    let own = remote.clone();
    let callback = move |output: std::io::Result<()>, _| {
        output.unwrap();
        match left {
            0 => done.send(7).unwrap(),
            _ => again(own, left - 1, done),
        }
    };
    accepted(remote.try_push_with(Nop::new(), callback));
}

/// Two cells: its own is freed after it has returned.
fn a_callback_that_sends_again(cx: &Cx) {
    let driver = cx.thread(2);
    let (send, receive) = mpsc::channel();
    again(driver.remote(), 1000, send);
    assert_eq!(receive.recv().unwrap(), 7);
}

fn a_callback_that_finds_no_room(cx: &Cx) {
    let driver = cx.thread(1);
    let remote = driver.remote();
    let (send, receive) = mpsc::channel();
    let own = remote.clone();
    let callback = move |_, _| {
        let (reason, _) = rejected(own.try_push(Nop::new()));
        send.send(reason).unwrap();
    };
    accepted(remote.try_push_with(Nop::new(), callback));
    assert_eq!(receive.recv().unwrap(), Rejection::Full);
    remote.run_blocking(Nop::new()).0.unwrap();
}

fn a_callback_that_closes(cx: &Cx) {
    let driver = cx.thread(2);
    let remote = driver.remote();
    let (recv, _end) = recv();
    let pending = accepted(remote.try_push(recv));
    let own = remote.clone();
    accepted(remote.try_push_with(Nop::new(), move |_, _| own.close()));
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
    assert!(remote.is_closed());
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// Its drop ends the server that runs it.
fn a_callback_has_the_last_remote(cx: &Cx) {
    let mut hand = cx.hand(1);
    let own = hand.remote.clone();
    accepted(hand.remote.try_push_with(Nop::new(), move |_, _| drop(own)));
    drop(hand.remote);
    hand.server.run().unwrap();
}

/// It cannot wait for itself.
fn a_callback_has_the_thread_itself(cx: &Cx) {
    thread_local! {
        /// Dropped when the thread is over.
        static END: Cell<Option<mpsc::Sender<()>>> = const { Cell::new(None) };
    }
    let driver = cx.thread(2);
    let remote = driver.remote();
    let (send, receive) = mpsc::channel();
    let callback = move |_, _| {
        END.set(Some(send));
        drop(driver);
    };
    accepted(remote.try_push_with(Nop::new(), callback));
    receive.recv().unwrap_err();
    assert!(remote.is_closed());
}

fn cancelled_by_the_shutdown(cx: &Cx) {
    let driver = cx.thread(1);
    let (send, receive) = mpsc::channel();
    let callback = move |output, _| send.send(errno(&output)).unwrap();
    let hour = Timeout::after(LONG);
    accepted(driver.remote().try_push_with(hour, callback));
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
    assert_eq!(receive.recv(), Ok(code::ECANCELED));
}

/// Accepted, and the end came before its start: it is as if it had been cancelled.
fn never_started(cx: &Cx) {
    let mut hand = cx.hand(2);
    let (send, receive) = mpsc::channel();
    let callback = move |output, _| send.send(errno(&output)).unwrap();
    accepted(hand.remote.try_push_with(Nop::new(), callback));
    let pending = accepted(hand.remote.try_push(Nop::new()));
    hand.remote.close();
    hand.server.run().unwrap();
    assert_eq!(receive.recv(), Ok(code::ECANCELED));
    assert_eq!(errno(&pending.wait().0), code::ECANCELED);
    assert_eq!(hand.server.driver().stats().pushed, 0);
}

fn not_called_when_closed(cx: &Cx) {
    let driver = cx.thread(1);
    let remote = driver.remote();
    drop(driver);
    let (send, receive) = mpsc::channel();
    let callback = move |_, _| send.send(()).unwrap();
    let (reason, (op, callback)) = rejected(remote.try_push_with(Nop::new(), callback));
    assert_eq!(reason, Rejection::Closed);
    assert!(receive.try_recv().is_err());
    drop((op, callback));
    assert_eq!(receive.recv(), Err(mpsc::RecvError));
}

fn a_callback_as_large_as_the_rest_of_a_cell(cx: &Cx) {
    let driver = cx.thread(1);
    let (send, receive) = mpsc::channel();
    let words: [usize; 24] = std::array::from_fn(|i| i * 3);
    let callback = move |output: std::io::Result<()>, _| {
        output.unwrap();
        send.send(words).unwrap();
    };
    accepted(driver.remote().try_push_with(Nop::new(), callback));
    assert_eq!(receive.recv().unwrap(), words);
}

/// Called or not.
fn what_a_callback_owns_is_dropped_with_it(cx: &Cx) {
    let mut hand = cx.hand(3);
    let owned = Arc::new(());
    let waker = Count::new();
    for _ in 0..2 {
        let owned = owned.clone();
        let callback = move |_, _| {
            let _dropped = &owned;
        };
        accepted(hand.remote.try_push_with(Nop::new(), callback));
    }
    assert_eq!(Arc::strong_count(&owned), 3);
    hand.turn();
    hand.settle();
    assert_eq!(Arc::strong_count(&owned), 1);
    let mut pending = accepted(hand.remote.try_push(Nop::new()));
    let kept = owned.clone();
    let callback = move |_, _| drop(kept);
    accepted(hand.remote.try_push_with(Timeout::after(LONG), callback));
    while waker.poll(&mut pending).is_pending() {
        hand.turn();
    }
    drop(hand);
    assert_eq!(Arc::strong_count(&owned), 1);
}
