//! I18: a panic of the user's own code on the driver's thread ends there: who has lost something is
//! told so, and the others go on.

use crate::kit::{self, quietly, silent_panic};
use crate::rig::{At, Count, Cx, Fused, Hand, LONG, accepted, in_flight, message_of, recv};
use completeio_driver::driver::{OwnedFd, Wait};
use completeio_driver::op::{Nop, ReadAt, Recv, Send};
use completeio_driver::remote::{Pending, Remote};
use std::future::Future;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;

on_each_backend![
    in_a_buffer_at_its_push,
    in_a_buffer_with_a_callback,
    in_a_buffer_that_was_filled,
    in_a_waker,
    in_the_destructor_of_what_was_never_started,
    in_the_destructor_of_what_was_abandoned,
    in_the_destructor_of_what_nobody_fetched,
    in_many_at_once,
    in_the_destructor_of_what_was_panicked_with,
    in_a_waker_that_is_cloned,
];

const SLOTS: usize = 3;

/// A neighbour that is in flight, and completes in the end, on a driver that does all it did.
struct Neighbour(Pending<crate::rig::Receiving>, kit::Stream);

impl Neighbour {
    fn new(remote: &Remote) -> Self {
        let (recv, end) = recv();
        Self(in_flight(remote, recv), end)
    }

    fn by_hand(hand: &mut Hand) -> Self {
        let (recv, end) = recv();
        let pending = accepted(hand.remote.try_push(recv));
        hand.turn();
        Self(pending, end)
    }

    fn goes_on(mut self, remote: &Remote) {
        self.1.write_all(b"text").unwrap();
        assert_eq!(self.0.wait().0.unwrap(), 4);
        // All cells are free: so many operations are under way at a time.
        let (pendings, ends): (Vec<_>, Vec<_>) = (0..SLOTS)
            .map(|_| {
                let (recv, end) = recv();
                (accepted(remote.try_push(recv)), end)
            })
            .unzip();
        drop(ends);
        for pending in pendings {
            assert_eq!(pending.wait().0.unwrap(), 0);
        }
    }

    fn goes_on_by_hand(mut self, hand: &mut Hand) {
        self.1.write_all(b"text").unwrap();
        assert_eq!(hand.finish(self.0).0.unwrap(), 4);
        hand.assert_whole(SLOTS);
    }
}

fn file() -> OwnedFd {
    kit::owned(kit::file(b"text"))
}

/// The operation is lost, with a message for who waits for it.
fn in_a_buffer_at_its_push(cx: &Cx) {
    let driver = cx.thread(SLOTS);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    for _ in 0..2 * SLOTS {
        let pending = accepted(remote.try_push(ReadAt::new(file(), 0, Fused::new(At::Parts))));
        let says = message_of(|| drop(pending.wait()));
        assert!(says.contains("lost"), "{says}");
        let send = Send::new(file(), Fused::new(At::Parts));
        let run = remote.run(send);
        let says = message_of(|| drop(crate::rig::block_on(run)));
        assert!(says.contains("lost"), "{says}");
    }
    neighbour.goes_on(&remote);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// The callback is dropped, and not called.
fn in_a_buffer_with_a_callback(cx: &Cx) {
    let driver = cx.thread(SLOTS);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    let owned = Arc::new(());
    for at in [At::Parts, At::Filled] {
        let kept = owned.clone();
        let callback = move |_, _| {
            drop(kept);
            std::process::abort();
        };
        accepted(remote.try_push_with(ReadAt::new(file(), 0, Fused::new(at)), callback));
        while Arc::strong_count(&owned) > 1 {
            remote.run_blocking(Nop::new()).0.unwrap();
        }
    }
    neighbour.goes_on(&remote);
}

/// The kernel has filled it: it panics as the result is looked at.
fn in_a_buffer_that_was_filled(cx: &Cx) {
    let driver = cx.thread(SLOTS);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    for _ in 0..2 * SLOTS {
        let pending = accepted(remote.try_push(ReadAt::new(file(), 0, Fused::new(At::Filled))));
        let says = message_of(|| drop(pending.wait()));
        assert!(says.contains("lost"), "{says}");
    }
    neighbour.goes_on(&remote);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// Panics when it is woken, or cloned; silently.
#[derive(Default)]
struct Bad(AtomicUsize);

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        silent_panic()
    }
}

/// The result is there all the same.
fn in_a_waker(cx: &Cx) {
    let driver = cx.thread(SLOTS);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    for n in 1..=2 * SLOTS {
        let bad = Arc::new(Bad::default());
        let waker = Waker::from(bad.clone());
        let (recv, mut end) = recv();
        let mut pending = accepted(remote.try_push(recv));
        let polled = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        end.write_all(&vec![1; n]).unwrap();
        while bad.0.load(Ordering::SeqCst) == 0 {
            remote.run_blocking(Nop::new()).0.unwrap();
        }
        assert_eq!(pending.wait().0.unwrap(), n);
    }
    neighbour.goes_on(&remote);
}

fn in_the_destructor_of_what_was_never_started(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let neighbour = Neighbour::by_hand(&mut hand);
    for _ in 0..2 * SLOTS {
        let op = ReadAt::new(file(), 0, Fused::new(At::Drop));
        drop(accepted(hand.remote.try_push(op)));
        hand.turn();
    }
    neighbour.goes_on_by_hand(&mut hand);
}

/// It is dropped when the kernel is done with it, inside the driver's wait.
fn in_the_destructor_of_what_was_abandoned(cx: &Cx) {
    let driver = cx.thread(SLOTS);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    for _ in 0..4 * SLOTS {
        let (ours, _theirs) = kit::pair();
        let op = Recv::new(kit::owned(ours), Fused::new(At::Drop));
        drop(accepted(remote.push_blocking(op)));
        let (ours, _theirs) = kit::pair();
        let op = Recv::new(kit::owned(ours), Fused::new(At::Drop));
        let pending = accepted(remote.push_blocking(op));
        remote.run_blocking(Nop::new()).0.unwrap();
        drop(pending);
        remote.run_blocking(Nop::new()).0.unwrap();
    }
    neighbour.goes_on(&remote);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// The result is there: the destructor panics where the claim is dropped.
fn in_the_destructor_of_what_nobody_fetched(cx: &Cx) {
    let mut hand = cx.hand(SLOTS);
    let neighbour = Neighbour::by_hand(&mut hand);
    for _ in 0..2 * SLOTS {
        let waker = Count::new();
        let op = ReadAt::new(file(), 0, Fused::new(At::Drop));
        let mut pending = accepted(hand.remote.try_push(op));
        assert!(waker.poll(&mut pending).is_pending());
        while waker.woken() == 0 {
            hand.server.turn(Wait::new()).unwrap();
        }
        quietly(|| drop(pending));
    }
    neighbour.goes_on_by_hand(&mut hand);
}

/// Of each kind, from several threads, between operations that are none of it.
fn in_many_at_once(cx: &Cx) {
    let driver = cx.thread(8);
    thread::scope(|scope| {
        for i in 0..4 {
            let remote = driver.remote();
            scope.spawn(move || {
                for n in 0..50 {
                    match (i + n) % 4 {
                        0 => {
                            let (ours, _theirs) = kit::pair();
                            let op = Recv::new(kit::owned(ours), Fused::new(At::Drop));
                            drop(accepted(remote.push_blocking(op)));
                        }
                        1 => {
                            let op = ReadAt::new(file(), 0, Fused::new(At::Drop));
                            let pending = accepted(remote.push_blocking(op));
                            let _whoever_drops_it =
                                catch_unwind(AssertUnwindSafe(|| drop(pending)));
                        }
                        2 => {
                            let callback = |_, _| silent_panic();
                            let _full = remote.try_push_with(Nop::new(), callback);
                        }
                        _ => remote.run_blocking(Nop::new()).0.unwrap(),
                    }
                }
            });
        }
    });
    driver.remote().run_blocking(Nop::new()).0.unwrap();
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

/// On the caller's own thread; the operation goes on.
fn in_a_waker_that_is_cloned(cx: &Cx) {
    use std::task::{RawWaker, RawWakerVTable};
    const TABLE: RawWakerVTable = RawWakerVTable::new(|_| silent_panic(), |_| (), |_| (), |_| ());
    let driver = cx.thread(1);
    let mut pending = accepted(driver.remote().try_push(Nop::new()));
    // SAFETY: the table's functions take any pointer.
    let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) };
    quietly(|| {
        let _ = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker));
    });
    pending.wait().0.unwrap();
}

/// Nor does what unwinds out of a callback end anything else.
fn in_the_destructor_of_what_was_panicked_with(cx: &Cx) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            kit::silent_panic();
        }
    }
    let driver = cx.thread(4);
    let remote = driver.remote();
    let neighbour = Neighbour::new(&remote);
    for _ in 0..3 {
        let callback = |_, _| std::panic::resume_unwind(Box::new(Bomb));
        accepted(remote.try_push_with(Nop::new(), callback));
        accepted(remote.push_blocking(Nop::new())).wait().0.unwrap();
    }
    neighbour.goes_on(&remote);
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}
