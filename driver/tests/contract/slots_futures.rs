//! Keys as futures: who is woken, how often, and who lets go of a waker.

use crate::ends::End;
use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::steps::{errno, hand_over, wait};
use completeio_driver::driver::{AsFd, Entry, OwnedFd};
use completeio_driver::op::{Nop, Op, Recv, Timeout};
use completeio_driver::slots::Key;
use std::cell::RefCell;
use std::future::Future;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

contract! {
    everywhere: [
        woken_when_it_has_completed,
        ready_at_the_first_poll,
        the_last_waker_is_woken,
        the_same_waker_is_kept,
        a_waker_goes_with_its_key,
        a_cancelled_future_is_ready,
        a_finished_one_is_polled_by_nobody,
        polled_once_too_often,
        ready_after_the_driver_is_gone,
        tasks_on_an_executor,
        tasks_in_a_scope,
        a_notifier_as_a_waker,
        wakers_that_own_keys,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(waker.clone());
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

type Receiving = Key<'static, Recv<OwnedFd, [u8; 8]>>;

/// A receive that pends until the other end writes.
fn receiving(l: &mut Ledger) -> (Receiving, End) {
    let (ours, theirs) = l.site.pair();
    let recv = Recv::new(kit::owned(ours), [0; 8]);
    (l.try_push_owned(recv, 1).unwrap(), theirs)
}

fn complete<O: Op>(l: &mut Ledger, key: &Key<'_, O>, mut theirs: &End) {
    theirs.write_all(b"text").unwrap();
    wait(l, key);
}

/// By `Finished::wake`, once, and by nobody else.
fn woken_when_it_has_completed(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let (mut key, theirs) = receiving(&mut l);
    assert!(poll(&mut key, &waker).is_pending());
    l.scope(hand_over).unwrap();
    assert!(l.next_finished().is_none());
    // It may be moved between polls.
    let mut key = Box::new(key);
    complete(&mut l, &key, &theirs);
    assert_eq!(waker.woken(), 0, "only whoever drives the driver wakes");
    l.next_finished().unwrap().wake();
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (1, 1));
    let Poll::Ready((received, op)) = poll(&mut key, &waker) else {
        panic!("it is ready")
    };
    assert_eq!((received.unwrap(), &op.buf()[..4]), (4, &b"text"[..]));
    assert!(l.next_finished().is_none());
    assert_eq!(waker.woken(), 1);
}

/// Then nobody is to be woken, and it is not announced any more.
fn ready_at_the_first_poll(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let (mut key, theirs) = receiving(&mut l);
    complete(&mut l, &key, &theirs);
    assert!(poll(&mut key, &waker).is_ready());
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (0, 1));
    assert!(l.next_finished().is_none());
    assert_eq!(l.owned_capacity_left(), 1024);
}

fn the_last_waker_is_woken(cx: &mut Cx) {
    let wakers = [(); 3].map(|()| Arc::new(Count::default()));
    let mut l = cx.ledger();
    let (mut key, theirs) = receiving(&mut l);
    for waker in &wakers {
        assert!(poll(&mut key, waker).is_pending());
    }
    let held = wakers.each_ref().map(Arc::strong_count);
    assert_eq!(held, [1, 1, 2], "the ones before were let go");
    complete(&mut l, &key, &theirs);
    l.next_finished().unwrap().wake();
    assert_eq!(wakers.each_ref().map(|waker| waker.woken()), [0, 0, 1]);
    drop(key);
}

fn the_same_waker_is_kept(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let (mut key, theirs) = receiving(&mut l);
    for _ in 0..10 {
        assert!(poll(&mut key, &waker).is_pending());
        assert_eq!(Arc::strong_count(&waker), 2);
        l.scope(hand_over).unwrap();
    }
    complete(&mut l, &key, &theirs);
    // Who drops the announcement, wakes by that.
    drop(l.next_finished());
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (1, 1));
}

/// Whatever becomes of the key, nobody keeps the waker.
fn a_waker_goes_with_its_key(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let waiting = |l: &mut Ledger| {
        let (mut key, theirs) = receiving(l);
        assert!(poll(&mut key, &waker).is_pending());
        assert_eq!(Arc::strong_count(&waker), 2);
        (key, theirs)
    };
    // Pushed, and in flight.
    drop(waiting(&mut l));
    assert_eq!(Arc::strong_count(&waker), 1);
    let (key, theirs) = waiting(&mut l);
    l.turn();
    drop(key);
    assert_eq!(Arc::strong_count(&waker), 1);
    drop(theirs);
    // Done: dropped, redeemed, polled.
    let (key, theirs) = waiting(&mut l);
    complete(&mut l, &key, &theirs);
    drop(key);
    assert_eq!(Arc::strong_count(&waker), 1);
    let (key, theirs) = waiting(&mut l);
    complete(&mut l, &key, &theirs);
    key.redeem().unwrap().0.unwrap();
    assert_eq!(Arc::strong_count(&waker), 1);
    let (mut key, theirs) = waiting(&mut l);
    complete(&mut l, &key, &theirs);
    assert!(poll(&mut key, &waker).is_ready());
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (0, 1));
    while l.in_flight() > 0 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    assert!(l.next_finished().is_none());
}

fn a_cancelled_future_is_ready(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let mut key = l.try_push_owned(Timeout::after(HOUR), 1).unwrap();
    assert!(poll(&mut key, &waker).is_pending());
    key.cancel();
    assert!(poll(&mut key, &waker).is_pending(), "at the next submit");
    wait(&mut l, &key);
    l.next_finished().unwrap().wake();
    assert_eq!(waker.woken(), 1);
    let Poll::Ready((result, _)) = poll(&mut key, &waker) else {
        panic!("it is ready")
    };
    assert_eq!(errno(result), kit::code::ECANCELED);
}

/// One whose turn was announced before anybody polled it.
fn a_finished_one_is_polled_by_nobody(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let mut key = l.try_push_owned(Nop::new(), 1).unwrap();
    wait(&mut l, &key);
    l.next_finished().unwrap().wake();
    assert!(poll(&mut key, &waker).is_ready());
    assert_eq!(waker.woken(), 0);
}

/// A mistake of the executor's that names itself; the key is spent, and its drop does nothing.
fn polled_once_too_often(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let mut key = l.try_push_owned(Nop::new(), 1).unwrap();
    wait(&mut l, &key);
    assert!(poll(&mut key, &waker).is_ready());
    // The slot has a new owner by now.
    let (other, theirs) = receiving(&mut l);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let polled = panic::catch_unwind(AssertUnwindSafe(|| poll(&mut key, &waker).is_ready()));
    panic::set_hook(hook);
    assert!(polled.is_err());
    drop(key);
    complete(&mut l, &other, &theirs);
    assert_eq!(other.redeem().unwrap().0.unwrap(), 4);
}

fn ready_after_the_driver_is_gone(cx: &mut Cx) {
    let waker = Arc::new(Count::default());
    let mut l = cx.ledger();
    let (mut key, _theirs) = receiving(&mut l);
    assert!(poll(&mut key, &waker).is_pending());
    l.turn();
    l.abandon();
    let Poll::Ready((received, _)) = poll(&mut key, &waker) else {
        panic!("it is ready")
    };
    assert_eq!(errno(received), kit::code::ECANCELED);
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (0, 1));
}

/// A task is polled again when it was woken, and not before.
struct Task<'a> {
    future: Pin<Box<dyn Future<Output = usize> + 'a>>,
    waker: Arc<Count>,
    seen: usize,
}

impl<'a> Task<'a> {
    fn new(future: impl Future<Output = usize> + 'a) -> Self {
        let waker = Arc::new(Count(AtomicUsize::new(1)));
        Self {
            future: Box::pin(future),
            waker,
            seen: 0,
        }
    }

    fn poll(&mut self) -> Option<usize> {
        let woken = self.waker.woken();
        if woken == self.seen {
            return None;
        }
        self.seen = woken;
        match poll(&mut self.future, &self.waker) {
            Poll::Ready(n) => Some(n),
            Poll::Pending => None,
        }
    }
}

/// Runs tasks to their end; `turn` submits and wakes.
fn run(mut tasks: Vec<Task<'_>>, mut turn: impl FnMut()) -> usize {
    let mut sum = 0;
    while !tasks.is_empty() {
        tasks.retain_mut(|task| match task.poll() {
            Some(n) => {
                sum += n;
                false
            }
            None => true,
        });
        if !tasks.is_empty() {
            turn();
        }
    }
    sum
}

fn tasks_on_an_executor(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut tasks = Vec::new();
    let mut others = Vec::new();
    for n in 0..20 {
        let (first, theirs) = receiving(&mut l);
        let nop = l.try_push_owned(Nop::new(), n).unwrap();
        tasks.push(Task::new(async move {
            nop.await.0.unwrap();
            let (received, op) = first.await;
            received.unwrap() + usize::from(op.buf()[0])
        }));
        others.push((n, theirs));
    }
    let sum = run(tasks, || {
        if let Some((n, mut theirs)) = others.pop() {
            theirs.write_all(&[u8::try_from(n).unwrap()]).unwrap();
        }
        l.submit(None, &mut None::<Entry>).unwrap();
        while let Some(finished) = l.next_finished() {
            finished.wake();
        }
    });
    assert_eq!(sum, 20 + (0..20).sum::<usize>());
}

/// Futures that borrow the stack, as long as the scope lasts; one is left behind.
fn tasks_in_a_scope(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let (other, _silent) = cx.pair();
    let mut buffers = [[0; 8]; 3];
    let mut l = cx.ledger();
    let waker = Arc::new(Count::default());
    let sum = l
        .scope(|s| {
            let mut tasks = Vec::new();
            let [a, b, c] = buffers.each_mut();
            for buffer in [a, b] {
                let recv = Recv::new(ours.as_fd(), &mut buffer[..1]);
                let key = s.try_push_owned(recv, 1).unwrap();
                tasks.push(Task::new(async move { key.await.0.unwrap() }));
            }
            let recv = Recv::new(other.as_fd(), &mut c[..]);
            let mut pending = pin!(s.try_push_owned(recv, 2).unwrap());
            assert!(poll(&mut pending, &waker).is_pending());
            (&theirs).write_all(b"xy").unwrap();
            run(tasks, || {
                s.submit(None, &mut None).unwrap();
                while let Some(finished) = s.next_finished() {
                    finished.wake();
                }
            })
        })
        .unwrap();
    assert_eq!(sum, 2);
    assert_eq!((waker.woken(), Arc::strong_count(&waker)), (0, 1));
    let mut received = [buffers[0][0], buffers[1][0]];
    received.sort_unstable();
    assert_eq!(&received, b"xy");
}

/// A future that is woken by ringing its own driver: the next wait does not begin.
fn a_notifier_as_a_waker(cx: &mut Cx) {
    let mut l = cx.ledger();
    let waker = Waker::from(l.notifier());
    let (mut key, theirs) = receiving(&mut l);
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut key).poll(&mut context).is_pending());
    complete(&mut l, &key, &theirs);
    l.next_finished().unwrap().wake();
    // Nothing is in flight: this ends by the wake-up.
    l.submit(None, &mut None::<Entry>).unwrap();
    assert_eq!(l.stats().wake_ups, 1);
    assert!(Pin::new(&mut key).poll(&mut context).is_ready());
}

thread_local! {
    /// What a waker drops, for wakers are `Send` and keys are not.
    static OWNED: RefCell<Vec<Receiving>> = const { RefCell::new(Vec::new()) };
}

/// A waker whose destructor drops keys of the same driver: it is let go while nothing is borrowed.
fn wakers_that_own_keys(cx: &mut Cx) {
    struct Owner;
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {
            drop(self);
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            drop(OWNED.take());
        }
    }
    let mut l = cx.with(|limits| limits.entries(64).slots(8));
    let own = |l: &mut Ledger| OWNED.with_borrow_mut(|owned| owned.push(receiving(l).0));
    let poll = |key: &mut Receiving| {
        let waker = Waker::from(Arc::new(Owner));
        let _pending = Pin::new(key).poll(&mut Context::from_waker(&waker));
    };
    for end in 0..4 {
        let (mut key, theirs) = receiving(&mut l);
        poll(&mut key);
        own(&mut l);
        poll(&mut key); // Another one: the first is let go.
        assert!(OWNED.with_borrow(Vec::is_empty));
        own(&mut l);
        match end {
            0 => drop(key),
            1 => {
                complete(&mut l, &key, &theirs);
                drop(key);
            }
            2 => {
                complete(&mut l, &key, &theirs);
                key.redeem().unwrap().0.unwrap();
            }
            _ => {
                complete(&mut l, &key, &theirs);
                l.next_finished().unwrap().wake();
                key.redeem().unwrap().0.unwrap();
            }
        }
        assert!(OWNED.with_borrow(Vec::is_empty));
        while l.in_flight() > 0 {
            l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
        }
        assert_eq!(l.owned_capacity_left(), 8);
    }
}
