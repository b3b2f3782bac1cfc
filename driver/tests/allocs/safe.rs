//! The safe layer: scopes, slots, futures.

use crate::counting::{COUNTS, Marks};
use crate::kit::{Files, Rig, TEXT};
use crate::ops::Ops;
use crate::{ENTRIES, RINGS, SLOTS};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{
    AsRawFd, BorrowedFd, CompleteIo, Cwd, Driver, Holds, OwnedFd, Wait,
};
use completeio_driver::op::{Nop, Op, OpObject, OpenAt, ReadAt, Recv, Send, Timeout};
use completeio_driver::scope::{Done, Event, Scope};
use completeio_driver::slots::Key;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::panic;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll as Progress, Wake, Waker};
use std::time::Duration;

/// What the safe layer lends, and what it moves into slots.
pub(crate) struct Safe<'fd> {
    pub(crate) nops: [Nop; 2 * ENTRIES],
    pub(crate) recv: Recv<BorrowedFd<'fd>, [u8; 64]>,
    pub(crate) send: Send<BorrowedFd<'fd>, &'static [u8]>,
    pub(crate) read: ReadAt<BorrowedFd<'fd>, [u8; 64]>,
    pub(crate) wrong: ReadAt<BorrowedFd<'fd>, [u8; 64]>,
    pub(crate) open: OpenAt<Cwd>,
    pub(crate) long: Timeout,
    pub(crate) pending: [Recv<BorrowedFd<'fd>, [u8; 64]>; 8],
    pub(crate) left: Arc<OwnedFd>,
    pub(crate) right: Arc<OwnedFd>,
    pub(crate) path: Arc<CString>,
    pub(crate) woken: Arc<Woken>,
}

/// Counts how often it was woken.
pub(crate) struct Woken(pub(crate) AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'fd> Safe<'fd> {
    pub(crate) fn new(files: &'fd Files) -> Self {
        let [left, right] = [&files.left, &files.right].map(AsFd::as_fd);
        let owned = |fd: BorrowedFd<'_>| Arc::new(fd.try_clone_to_owned().unwrap());
        let path = CString::new(files.dir.join("file").to_str().unwrap()).unwrap();
        Self {
            nops: [(); 2 * ENTRIES].map(|()| Nop::new()),
            recv: Recv::new(right, [0; 64]),
            send: Send::new(left, TEXT),
            read: ReadAt::new(files.file.as_fd(), 0, [0; 64]),
            wrong: ReadAt::new(files.file.as_fd(), u64::MAX, [0; 64]),
            open: OpenAt::read(Cwd, path.clone()),
            long: Timeout::after(Duration::from_secs(3600)),
            pending: [(); 8].map(|()| Recv::new(right, [0; 64])),
            left: owned(left),
            right: owned(right),
            path: Arc::new(path),
            woken: Arc::new(Woken(AtomicUsize::new(0))),
        }
    }

    /// A receive that pends.
    pub(crate) fn owned_recv(&self) -> Recv<Arc<OwnedFd>, [u8; 64]> {
        Recv::new(self.right.clone(), [0; 64])
    }

    pub(crate) fn owned_send(&self) -> Send<Arc<OwnedFd>, &'static [u8]> {
        Send::new(self.left.clone(), TEXT)
    }
}

/// A path that is shared.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) Arc<CString>);

impl AsRef<CStr> for Shared {
    fn as_ref(&self) -> &CStr {
        &self.0
    }
}

/// Makes what a step needs, and that is not the driver's: it is not counted.
pub(crate) fn aside<T>(make: impl FnOnce() -> T) -> T {
    COUNTS.store(false, Ordering::SeqCst);
    let made = make();
    COUNTS.store(true, Ordering::SeqCst);
    made
}

/// Lends, pushes, submits, redeems, of one alone.
pub(crate) fn round<'env, O: Op + 'env>(
    s: &mut Scope<'_, 'env>,
    op: &'env mut O,
) -> (std::io::Result<O::Output>, &'env mut O)
where
    O::Fd: Holds,
{
    let (prepared, ticket) = s.lend(op, 1);
    assert!(s.try_push(prepared).is_ok(), "full");
    ticket.redeem(next(s)).unwrap()
}

pub(crate) fn next<'s>(s: &mut Scope<'s, '_>) -> Done<'s> {
    loop {
        let mut event = None;
        s.submit(None, &mut event).unwrap();
        if let Some(done) = event.and_then(|event: Event<'s>| event.done()) {
            return done;
        }
    }
}

/// Hands over what pends.
pub(crate) fn hand_over(s: &mut Scope<'_, '_>) {
    let mut event = None;
    s.submit(Some(Duration::ZERO), &mut event).unwrap();
    assert!(event.is_none());
}

/// Loans, from one to more than fit.
pub(crate) fn scopes(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    let Safe { nops, recv, .. } = safe;
    let [nop, nops @ ..] = nops;
    driver
        .scope(|s| {
            let mut queue = aside(|| VecDeque::with_capacity(2 * ENTRIES));
            let mut tickets = aside(|| Vec::with_capacity(2 * ENTRIES));
            let mut events = aside(|| Vec::with_capacity(2 * ENTRIES));
            marks.step("a scope begins");
            let mut nop = nop;
            for _ in 0..100 {
                nop = round(s, nop).1;
            }
            marks.step("lend, push, submit, redeem");
            round(s, &mut safe.read).0.unwrap();
            drop(round(s, &mut safe.open).0.unwrap());
            round(s, &mut safe.wrong).0.unwrap_err();
            marks.step("files in a scope");

            let (prepared, ticket) = s.lend(recv, 2);
            s.try_push(prepared).unwrap();
            hand_over(s);
            round(s, &mut safe.send).0.unwrap();
            let (received, recv) = ticket.redeem(next(s)).unwrap();
            received.unwrap();
            let (prepared, ticket) = s.lend(recv, 3);
            let recv = ticket.take_back(prepared).unwrap();
            let (prepared, ticket) = s.lend(recv, 4);
            s.try_push(prepared).unwrap();
            hand_over(s);
            s.try_cancel(&ticket).unwrap();
            ticket.redeem(next(s)).unwrap().0.unwrap_err();
            marks.step("sockets in a scope");

            for (n, nop) in nops.iter_mut().enumerate() {
                let (prepared, ticket) = s.lend(nop, n);
                queue.push_back(prepared);
                tickets.push(Some(ticket));
            }
            s.push_queue(&mut queue);
            let extra = queue.pop_front().unwrap();
            let extra = s.try_push(extra).unwrap_err().into_inner();
            queue.push_front(extra);
            while tickets.iter().any(Option::is_some) {
                let wait = Wait::new().until(Instant::now() + Duration::from_secs(1));
                s.submit_queue(&mut queue, wait, &mut events).unwrap();
                for event in events.drain(..) {
                    let done = event.done().unwrap();
                    let ticket = tickets[done.token()].take().unwrap();
                    ticket.redeem(done).unwrap().0.unwrap();
                }
            }
            marks.step("batches in a scope");
        })
        .unwrap();
    marks.step("a scope ends");
}

/// With something in every state.
pub(crate) fn ends_of_scopes(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for turns in 0..3 {
        driver
            .scope(|s| {
                for recv in &mut safe.pending {
                    s.try_push(s.lend(recv, 1).0).unwrap();
                }
                for _ in 0..turns {
                    hand_over(s);
                }
                for prepared in [s.lend(&mut safe.open, 2).0, s.lend(&mut safe.long, 2).0] {
                    s.try_push(prepared).unwrap();
                }
                for nop in &mut safe.nops[..4] {
                    s.try_push(s.lend(nop, 3).0).unwrap();
                }
                drop(next(s));
            })
            .unwrap();
        assert_eq!(driver.in_flight(), 0);
    }
    marks.step("ends of scopes");
}

/// Submits until an operation that the driver owns is done.
pub(crate) fn finish<O: Op>(
    driver: &mut Driver<'static>,
    key: Key<'_, O>,
) -> (std::io::Result<O::Output>, O) {
    while !key.is_done() {
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
    }
    key.redeem().unwrap()
}

/// Submits until nothing is in flight.
pub(crate) fn settle(driver: &mut Driver<'static>) {
    while driver.in_flight() > 0 {
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
    }
    while driver.next_finished().is_some() {}
    assert_eq!(driver.owned_capacity_left(), SLOTS);
}

/// Operations of the driver's own.
pub(crate) fn own(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for n in 0..100 {
        let key = driver.try_push_owned(Nop::new(), n).unwrap();
        driver
            .scope(|s| s.submit(None, &mut None))
            .unwrap()
            .unwrap();
        assert_eq!(driver.next_finished().unwrap().token(), n);
        key.redeem().unwrap().0.unwrap();
    }
    marks.step("owned: push, submit, finished, redeem");
    let recv = driver.try_push_owned(safe.owned_recv(), 1).unwrap();
    driver.scope(hand_over).unwrap();
    let recv = recv.redeem().unwrap_err();
    let send = driver.try_push_owned(safe.owned_send(), 2).unwrap();
    finish(driver, send).0.unwrap();
    finish(driver, recv).0.unwrap();
    let open = OpenAt::read(Cwd, Shared(safe.path.clone()));
    let open = driver.try_push_owned(open, 3).unwrap();
    drop(finish(driver, open).0.unwrap());
    let wrong = ReadAt::new(Cwd, u64::MAX, [0; 4]);
    let wrong = driver.try_push_owned(wrong, 4).unwrap();
    finish(driver, wrong).0.unwrap_err();
    settle(driver);
    marks.step("owned: of each kind");
    let keys = [(); SLOTS].map(|()| driver.try_push_owned(safe.owned_recv(), 5).unwrap());
    let full = driver.try_push_owned(safe.owned_recv(), 6).unwrap_err();
    drop(full.into_inner());
    driver.scope(hand_over).unwrap();
    for key in &keys {
        key.cancel();
    }
    for key in keys {
        finish(driver, key).0.unwrap_err();
    }
    settle(driver);
    marks.step("owned: full, and cancelled");
}

/// Keys that are dropped, in each state of their operations.
pub(crate) fn orphan(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for turns in 0..4 {
        let keys = [(); SLOTS - 2].map(|()| driver.try_push_owned(safe.owned_recv(), 1).unwrap());
        let nop = driver.try_push_owned(Nop::new(), 2).unwrap();
        let open = OpenAt::read(Cwd, Shared(safe.path.clone()));
        let open = driver.try_push_owned(open, 3).unwrap();
        for _ in 0..turns {
            let timeout = Some(Duration::ZERO);
            driver
                .scope(|s| s.submit(timeout, &mut None))
                .unwrap()
                .unwrap();
        }
        drop((keys, nop, open));
        settle(driver);
    }
    marks.step("owned: orphans");
}

pub(crate) fn futures(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    for _ in 0..10 {
        let mut key = driver.try_push_owned(safe.owned_recv(), 1).unwrap();
        let mut other = driver.try_push_owned(safe.owned_recv(), 2).unwrap();
        for waker in [Waker::from(safe.woken.clone()), Waker::noop().clone()] {
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut other).poll(&mut context).is_pending());
        }
        let waker = Waker::from(safe.woken.clone());
        let mut context = Context::from_waker(&waker);
        for _ in 0..2 {
            assert!(Pin::new(&mut key).poll(&mut context).is_pending());
            driver.scope(hand_over).unwrap();
        }
        drop(other);
        let send = driver.try_push_owned(safe.owned_send(), 3).unwrap();
        finish(driver, send).0.unwrap();
        while !key.is_done() {
            driver
                .scope(|s| s.submit(None, &mut None))
                .unwrap()
                .unwrap();
        }
        while let Some(finished) = driver.next_finished() {
            finished.wake();
        }
        let Progress::Ready((received, _)) = Pin::new(&mut key).poll(&mut context) else {
            panic!("it is ready");
        };
        received.unwrap();
        settle(driver);
    }
    assert_eq!(safe.woken.0.load(Ordering::Relaxed), 10);
    marks.step("owned: futures");
}

/// Owned ones that borrow, and that the end of their scope empties.
pub(crate) fn own_in_a_scope(driver: &mut Driver<'static>, safe: &mut Safe<'_>, marks: &mut Marks) {
    let mut buffers = [[0; 8]; 4];
    for turns in 0..3 {
        let fd = safe.right.as_fd();
        driver
            .scope(|s| {
                for buffer in &mut buffers {
                    let recv = Recv::new(fd, &mut buffer[..]);
                    // Forgotten: the end of the scope sees to it.
                    let _forgotten = ManuallyDrop::new(s.try_push_owned(recv, 1).unwrap());
                }
                let _dropped = s.try_push_owned(Timeout::after(Duration::MAX), 2).unwrap();
                let nop = s.try_push_owned(Nop::new(), 3).unwrap();
                for _ in 0..turns {
                    s.submit(Some(Duration::ZERO), &mut None).unwrap();
                }
                assert_eq!(s.next_finished().is_some(), turns > 0);
                assert!(nop.redeem().is_ok() == (turns > 0));
            })
            .unwrap();
        settle(driver);
    }
    marks.step("owned in a scope");
}

/// Wake-ups from the other thread, and by this one.
pub(crate) fn wake(rig: &mut Rig<'_>, ring: &Barrier, marks: &mut Marks) {
    for _ in 0..RINGS {
        ring.wait();
        rig.submit(None);
    }
    assert!(rig.entries.is_empty());
    marks.step("wake-ups from another thread");

    let notifier = rig.driver.notifier();
    notifier.clone().notify();
    rig.submit(None);
    let waker = Waker::from(notifier);
    waker.wake_by_ref();
    waker.wake();
    rig.submit(None);
    marks.step("wake-ups by this thread");

    // SAFETY: nothing is in flight.
    let _asleep = unsafe { rig.driver.prepare_wait() }.unwrap();
    rig.driver.notifier().notify();
    assert!(rig.driver.as_raw_fd() >= 0);
    rig.submit(Some(Duration::ZERO));
    marks.step("a foreign loop");
}

pub(crate) fn wind_down(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    rig.push(&ops.recv, 1);
    rig.push(&ops.long, 2);
    rig.submit(Some(Duration::ZERO));
    rig.push(&ops.nops[0], 3);
    let deadline = Instant::now() + Duration::from_secs(30);
    // SAFETY: operations are `Lent`, and outlive the driver.
    let survivors = unsafe { rig.driver.quiesce(deadline, rig.entries) }.unwrap();
    assert_eq!(survivors, 0);
    // SAFETY: not in flight; it lives until the driver is gone.
    let object = unsafe { OpObject::from_ptr(ops.nops[0].0, 4) };
    assert!(rig.driver.try_push_dyn(object).is_err());
    rig.driver.resume();
    rig.entries.clear();
    assert_eq!(rig.driver.stats().pushed, rig.driver.stats().completed);
    marks.step("quiesce");
}

/// The driver's drop, with something in every state.
pub(crate) fn leave(mut rig: Rig<'_>, ops: &mut Ops, safe: &mut Safe<'_>, marks: &mut Marks) {
    let done = rig.driver.try_push_owned(Nop::new(), 10).unwrap();
    drop(rig.driver.try_push_owned(safe.owned_recv(), 11).unwrap());
    let pending = rig.driver.try_push_owned(safe.owned_recv(), 12).unwrap();
    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.push(&ops.read, 4);
    rig.submit(Some(Duration::ZERO));
    rig.push(&ops.nops[0], 5);
    let pushed = rig.driver.try_push_owned(Nop::new(), 13).unwrap();
    drop(rig);
    marks.step("drop");
    assert!(done.redeem().unwrap().0.is_ok());
    for output in [
        pending.redeem().unwrap().0.map(drop),
        pushed.redeem().unwrap().0,
    ] {
        assert_eq!(output.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
    }
    marks.step("keys of a driver that is gone");
}
