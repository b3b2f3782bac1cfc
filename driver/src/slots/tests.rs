//! S3, and the generations at their end, on a model of a kernel, which touches what it was lent at
//! every turn: made to be run by Miri.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::buf::{IoBuf, IoBufMut};
use crate::driver::{Cwd, OwnedFd, Wait};
use crate::op::{
    Accept, Close, Connect, MsgFlags, Nop, OpenAt, ReadAt, Recv, Send, Timeout, WriteAt,
};
use crate::scope::Event;
use crate::sys::errno::ECANCELED;
use crate::sys::model::{FILL, HOUR, IN_FLIGHT, Model, each_seed};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

/// Counts how many of its buffers were dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops(Arc<AtomicUsize>);

impl Drops {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A buffer on the heap; its drop writes to it once more.
    pub(crate) fn buffer(&self) -> Counted {
        Counted {
            bytes: Box::new([0; 8]),
            drops: self.clone(),
        }
    }
}

/// See [`Drops`].
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: Box<[u8]>,
    drops: Drops,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.bytes.fill(7);
        self.drops.0.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: (B2, B3) as the box.
unsafe impl IoBuf for Counted {
    fn parts(&self) -> (*const u8, usize) {
        self.bytes.parts()
    }
}

// SAFETY: (B2, B3) as the box.
unsafe impl IoBufMut for Counted {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.bytes.parts_mut()
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: (B5) the caller's contract.
        unsafe { self.bytes.set_filled(n) };
    }
}

/// Forgets a key, but gives back its count of the slab, which would be a leak to Miri.
pub(crate) fn forget<O: Op>(key: Key<'_, O>) {
    let key = ManuallyDrop::new(key);
    // SAFETY: the forgotten key's own, given back once.
    drop(unsafe { std::ptr::read(&raw const key.slab) });
}

/// A receive that completes only when it is cancelled.
fn silent<B: IoBufMut>(buffer: B) -> Recv<Cwd, B> {
    Recv::new(Cwd, buffer).flags(MsgFlags::OUT_OF_BAND)
}

/// A turn that waits for something, or does not.
fn submit(driver: &mut Driver<'_>, wait: Wait) {
    let nothing = |_: Event<'_>| unreachable!("nothing was lent");
    let sink = &mut crate::sink::bounded(1, nothing);
    driver
        .scope(|s| s.submit_until(wait, sink))
        .unwrap()
        .unwrap();
}

fn turn(driver: &mut Driver<'_>) {
    submit(driver, Wait::new().at_least(0));
}

fn outcome<O: Op>(driver: &mut Driver<'_>, key: Key<'_, O>) -> (io::Result<O::Output>, O) {
    while !key.is_done() {
        submit(driver, Wait::new());
    }
    key.redeem().unwrap()
}

/// Whether it fails by `ECANCELED`; nothing else fails here.
pub(crate) fn is_cancelled<T>(output: &io::Result<T>) -> bool {
    match output {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(ECANCELED));
            true
        }
    }
}

/// Waits for what is in flight; all slots are free again then.
fn assert_empty(driver: &mut Driver<'_>, slots: usize) {
    while driver.in_flight() > 0 {
        submit(driver, Wait::new());
    }
    while driver.next_finished().is_some() {}
    assert_eq!(driver.engine.core.slots.free(), slots);
    assert_eq!(driver.stats().unknown, 0);
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn poll<F: Future + Unpin>(future: &mut F, waker: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(waker.clone());
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// S3: moved into its slot, lent from there, and moved out with what the kernel wrote.
#[test]
fn each_kind_comes_back() {
    each_seed(3, |_, mut driver| {
        let l = &mut driver;
        macro_rules! outcome {
            ($op:expr) => {{
                let key = l.try_push_owned($op, 7).unwrap();
                outcome(l, key)
            }};
        }
        for _ in 0..2 {
            outcome!(Nop::new()).0.unwrap();
            outcome!(Timeout::after(Duration::ZERO)).0.unwrap();
            let (n, op) = outcome!(ReadAt::new(Cwd, 0, [0; 16]));
            assert_eq!(op.buf()[..n.unwrap()].first(), Some(&FILL));
            let (n, op) = outcome!(Recv::new(Cwd, Vec::with_capacity(16)));
            assert_eq!(op.buf()[..], vec![FILL; n.unwrap()]);
            outcome!(WriteAt::new(Cwd, 0, "text")).0.unwrap();
            outcome!(Send::new(Cwd, vec![1; 16])).0.unwrap();
            outcome!(Connect::new(Cwd, SocketAddr::from(([127, 0, 0, 1], 80))))
                .0
                .unwrap();
            outcome!(OpenAt::read(Cwd, c"a path".to_owned())).0.unwrap();
            let null = OwnedFd::from(File::open("/dev/null").unwrap());
            outcome!(Close::new(null)).0.unwrap();
            let accept = l.try_push_owned(Accept::new(Cwd), 7).unwrap();
            turn(l);
            accept.cancel();
            if let (Ok(accepted), _op) = outcome(l, accept) {
                assert_eq!(accepted.addr, SocketAddr::from(([127, 0, 0, 1], 7)).into());
            }
        }
        assert_empty(l, 3);
    });
}

/// Whatever waits for it is woken once, and the future may be moved meanwhile.
#[test]
fn keys_are_futures() {
    each_seed(2, |_, mut driver| {
        let waker = Arc::new(Count::default());
        let mut key = driver.try_push_owned(silent([0; 16]), 1).unwrap();
        let mut other = driver
            .try_push_owned(ReadAt::new(Cwd, 0, vec![0; 16]), 2)
            .unwrap();
        assert!(poll(&mut key, &waker).is_pending());
        turn(&mut driver);
        let mut key = Box::new(key);
        assert!(poll(&mut key, &waker).is_pending());
        key.cancel();
        let mut waiting = 1 + usize::from(poll(&mut other, &waker).is_pending());
        let was_ready = waiting == 1;
        while waiting > 0 {
            submit(&mut driver, Wait::new());
            while let Some(finished) = driver.next_finished() {
                finished.wake();
                waiting -= 1;
            }
        }
        assert_eq!(waker.0.load(Ordering::Relaxed), 2 - usize::from(was_ready));
        assert!(poll(&mut key, &waker).is_ready());
        assert!(was_ready || poll(&mut other, &waker).is_ready());
        drop((key, other));
        assert_eq!(Arc::strong_count(&waker), 1);
        assert_empty(&mut driver, 2);
    });
}

/// S3: an orphan keeps its slot until the kernel is done with it, and is dropped once; the
/// descriptor that it has made is closed.
#[test]
fn keys_dropped_in_every_state() {
    each_seed(6, |seed, mut driver| {
        let drops = Drops::default();
        let waker = Arc::new(Count::default());
        let mut recv = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
        let read = ReadAt::new(Cwd, 0, drops.buffer());
        let read = driver.try_push_owned(read, 0).unwrap();
        let send = driver
            .try_push_owned(Send::new(Cwd, drops.buffer()), 0)
            .unwrap();
        let accept = driver.try_push_owned(Accept::new(Cwd), 0).unwrap();
        let open = OpenAt::read(Cwd, c"a path".to_owned());
        let open = driver.try_push_owned(open, 0).unwrap();
        let timeout = driver.try_push_owned(Timeout::after(HOUR), 0).unwrap();
        assert!(poll(&mut recv, &waker).is_pending());
        for _ in 0..seed % 5 {
            turn(&mut driver);
        }
        if seed % 2 == 1 {
            while driver.next_finished().is_some() {}
        }
        drop(recv);
        assert_eq!(drops.count(), 0);
        drop((accept, open, timeout));
        if seed / 2 % 2 == 1 {
            turn(&mut driver);
        }
        drop((read, send));
        assert_eq!(Arc::strong_count(&waker), 1);
        if seed / 4 % 2 == 1 {
            assert_empty(&mut driver, 6);
        }
        drop(driver);
        assert_eq!((drops.count(), waker.0.load(Ordering::Relaxed)), (3, 0));
    });
}

/// S3: a forgotten key keeps its slot, and the kernel may write there until the driver is gone.
#[test]
fn keys_forgotten_in_every_state() {
    each_seed(3, |seed, mut driver| {
        let recv = driver.try_push_owned(silent([0; 16]), 0).unwrap();
        let read = driver
            .try_push_owned(ReadAt::new(Cwd, 0, [0; 16]), 0)
            .unwrap();
        for _ in 0..seed % 5 {
            turn(&mut driver);
        }
        forget(read);
        turn(&mut driver);
        forget(recv);
        for _ in 0..3 {
            let key = driver
                .try_push_owned(ReadAt::new(Cwd, 0, vec![0; 16]), 0)
                .unwrap();
            outcome(&mut driver, key).0.unwrap();
        }
        assert_eq!(driver.owned_capacity_left(), 1);
    });
}

/// S3: the driver's drop completes what it still had, and its keys have the operations.
#[test]
fn keys_outlive_their_driver() {
    each_seed(5, |seed, mut driver| {
        let drops = Drops::default();
        let waker = Arc::new(Count::default());
        let mut recv = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
        let read = ReadAt::new(Cwd, 0, drops.buffer());
        let read = driver.try_push_owned(read, 0).unwrap();
        let open = OpenAt::read(Cwd, c"a path".to_owned());
        let open = driver.try_push_owned(open, 0).unwrap();
        for _ in 0..seed % 4 {
            turn(&mut driver);
        }
        let accept = driver.try_push_owned(Accept::new(Cwd), 0).unwrap();
        let send = driver
            .try_push_owned(Send::new(Cwd, drops.buffer()), 0)
            .unwrap();
        assert!(poll(&mut recv, &waker).is_pending());
        drop(driver);
        assert!(poll(&mut recv, &waker).is_ready());
        drop(recv);
        let (output, op) = read.redeem().unwrap();
        assert!(is_cancelled(&output) || op.buf().bytes[0] == FILL);
        drop(open);
        // Never handed over.
        assert!(is_cancelled(&accept.redeem().unwrap().0));
        assert_eq!(drops.count(), 1);
        drop((op, send));
        assert_eq!(drops.count(), 3);
    });
}

/// I4: it completes once, by its own result or as cancelled.
#[test]
fn cancelled_keys_complete_once() {
    let outcomes = [const { Cell::new(0) }; 2];
    each_seed(3, |seed, mut driver| {
        let drops = Drops::default();
        for round in 0..3 {
            let recv = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
            let accept = driver.try_push_owned(Accept::new(Cwd), 0).unwrap();
            let read = ReadAt::new(Cwd, 0, drops.buffer());
            let read = driver.try_push_owned(read, 0).unwrap();
            for _ in 0..(seed >> round) % 3 {
                turn(&mut driver);
            }
            // More than there are places for.
            recv.cancel();
            accept.cancel();
            read.cancel();
            recv.cancel();
            let outputs = [
                is_cancelled(&outcome(&mut driver, recv).0),
                is_cancelled(&outcome(&mut driver, accept).0),
                is_cancelled(&outcome(&mut driver, read).0),
            ];
            for output in outputs {
                let count = &outcomes[usize::from(output)];
                count.set(count.get() + 1);
            }
            assert_eq!(drops.count(), 2 * (round + 1));
        }
        assert_empty(&mut driver, 3);
    });
    let outcomes = outcomes.map(|count| count.get());
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// A buffer that owns the key of another operation of the same driver.
#[derive(Debug)]
struct Owner<K>(#[allow(dead_code, reason = "it is dropped")] K, [u8; 8]);

// SAFETY: (B2, B3) as the array.
unsafe impl<K: Unpin> IoBufMut for Owner<K> {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        self.1.parts_mut()
    }

    unsafe fn set_filled(&mut self, _: usize) {}
}

/// Dropping an orphan may drop keys, and so make orphans, while its slot is being emptied.
#[test]
fn operations_that_own_keys() {
    each_seed(4, |seed, mut driver| {
        let drops = Drops::default();
        let inner = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
        let middle = ReadAt::new(Cwd, 0, Owner(inner, [0; 8]));
        let middle = driver.try_push_owned(middle, 0).unwrap();
        let outer = driver
            .try_push_owned(silent(Owner(middle, [0; 8])), 0)
            .unwrap();
        for _ in 0..seed % 4 {
            turn(&mut driver);
        }
        if seed / 4 % 2 == 0 {
            drop(outer);
            assert_empty(&mut driver, 4);
        } else {
            let _ = outer.redeem().map(drop);
        }
        drop(driver);
        assert_eq!(drops.count(), 1);
    });
}

/// No key of an earlier operation can ever name a later one: a slot retires before its generations
/// begin anew.
#[test]
fn generations_end() {
    each_seed(2, |_, mut driver| {
        let drops = Drops::default();
        let slab = driver.engine.core.slots.clone();
        for slot in &mut slab.table.borrow_mut().slots {
            slot.generation = u32::MAX - 1;
        }
        // Last in, first out: each takes the same slot.
        for (free, generation) in [(2, u32::MAX), (1, u32::MAX)] {
            let read = ReadAt::new(Cwd, 0, drops.buffer());
            let key = driver.try_push_owned(read, 0).unwrap();
            assert_eq!(key.index, 0);
            outcome(&mut driver, key).0.unwrap();
            let slot = &slab.table.borrow().slots[0];
            assert_eq!((slab.free(), slot.generation), (free, generation));
        }
        assert_eq!(slab.table.borrow().slots[0].state, State::Retired);
        assert_eq!(driver.owned_capacity_left(), 1);

        // Its keys name nothing, whatever their generation.
        for generation in [u32::MAX, u32::MAX - 1, 0, 1] {
            Model::of(&mut driver).inject(Word::slot(0, generation));
        }
        turn(&mut driver);
        assert_eq!(driver.stats().unknown, 4);

        // The other slot comes to the same end, by an orphan.
        let key = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
        assert_eq!(driver.owned_capacity_left(), 0);
        drop(key);
        submit(&mut driver, Wait::new());
        let key = driver.try_push_owned(silent(drops.buffer()), 0).unwrap();
        turn(&mut driver);
        drop(key);
        submit(&mut driver, Wait::new());
        assert_eq!((drops.count(), driver.in_flight(), slab.free()), (4, 0, 0));
        assert!(driver.try_push_owned(Nop::new(), 0).is_err());
    });
}

/// I40: a push that finds no place leaves its slot as it was.
#[test]
fn a_push_without_a_place_uses_nothing_up() {
    let slots = u32::try_from(IN_FLIGHT).unwrap() + 1;
    each_seed(slots, |_, mut driver| {
        let slab = driver.engine.core.slots.clone();
        for slot in &mut slab.table.borrow_mut().slots {
            slot.generation = u32::MAX;
        }
        let mut keys = Vec::new();
        while driver.owned_capacity_left() > 0 {
            keys.push(driver.try_push_owned(silent([0; 8]), 0).unwrap());
        }
        let free = slab.free();
        for _ in 0..free + 1 {
            let drops = Drops::default();
            let read = ReadAt::new(Cwd, 0, drops.buffer());
            let full = driver.try_push_owned(read, 0).unwrap_err();
            assert_eq!((drops.count(), slab.free()), (0, free));
            drop(full);
            assert_eq!(drops.count(), 1);
        }
        drop(keys);
    });
}

/// I37: a completion that names no operation in flight is counted, and touches nothing.
#[test]
fn unknown_keys_name_nothing() {
    each_seed(3, |_, mut driver| {
        let key = driver.try_push_owned(silent([0; 8]), 0).unwrap();
        let done = driver.try_push_owned(Nop::new(), 0).unwrap();
        while !done.is_done() {
            submit(&mut driver, Wait::new());
        }
        let (index, generation) = (key.index, key.generation);
        let unknown = [
            Word::slot(index, generation + 1),
            Word::slot(index, u32::MAX),
            Word::slot(done.index, done.generation), // Complete.
            Word::slot(2, 0),                        // Free.
            Word::slot(3, 0),                        // No slot at all.
            Word::slot((1 << 20) - 1, 0),
            Word::from_word(u64::MAX),
        ];
        for key in unknown {
            Model::of(&mut driver).inject(key);
        }
        turn(&mut driver);
        assert_eq!(driver.stats().unknown, 7);
        assert!(!key.is_done());
        assert_eq!(driver.in_flight(), 1);

        // A slot that was emptied and filled again.
        key.cancel();
        outcome(&mut driver, key).1.into_parts();
        let again = driver.try_push_owned(silent([0; 8]), 0).unwrap();
        assert_eq!((again.index, again.generation), (index, generation + 1));
        Model::of(&mut driver).inject(Word::slot(index, generation));
        turn(&mut driver);
        assert_eq!(driver.stats().unknown, 8);
        assert!(!again.is_done());
        done.redeem().unwrap().0.unwrap();
    });
}
