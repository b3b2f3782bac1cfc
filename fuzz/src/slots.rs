//! Operations that a driver owns, and their keys, against a list of what is in which state; and
//! beside them raw ones under user data of any kind, which must never be taken for one of them.

use checks::lent::Lent;
use completeio_driver::driver::{CompleteIo, Driver, Entry, Holds, OwnedFd};
use completeio_driver::op::{Deadline, Exact, Nop, Op, OpObject, Recv, Send};
use completeio_driver::sim::{Faults, Host, World};
use completeio_driver::slots::Key;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const ENTRIES: usize = 4;
const IN_FLIGHT: usize = 6;
const SLOTS: usize = 5;

/// Each operation has one, so that they can be counted.
type Fd = Rc<OwnedFd>;

/// A key of any type.
trait AnyKey {
    fn cancel(&self);
    fn is_done(&self) -> bool;
    /// Polled once, it may be ready. Whether it is spent then.
    fn poll(&mut self, context: &mut Context<'_>) -> bool;
    /// Whether it was spent; else the key again.
    fn redeem(self: Box<Self>) -> Option<Box<dyn AnyKey>>;
}

impl<O: Op + 'static> AnyKey for Key<'static, O> {
    fn cancel(&self) {
        Key::cancel(self);
    }

    fn is_done(&self) -> bool {
        Key::is_done(self)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        matches!(Future::poll(Pin::new(self), context), Poll::Ready(_))
    }

    fn redeem(self: Box<Self>) -> Option<Box<dyn AnyKey>> {
        let key = Key::redeem(*self).err()?;
        Some(Box::new(key))
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Owned {
    key: Box<dyn AnyKey>,
    /// `next_finished` has given it.
    is_announced: bool,
    /// It was polled, and not woken since.
    waits: bool,
    woken: Arc<Count>,
    wakes: usize,
}

struct Slots {
    world: World,
    host: Host,
    /// Before what it has in flight.
    driver: Option<Driver<'static>>,
    ours: Fd,
    peer: Fd,
    /// By tokens, from the oldest to the newest.
    owned: BTreeMap<usize, Owned>,
    next_token: usize,
    orphans: usize,
    /// In flight, each with its user data.
    raw: Vec<(Lent<Nop>, usize)>,
}

/// Pushes, cancels, drops, polls and redeems operations: three bytes for a step, eight more for
/// user data. The first byte is the seed.
pub fn slots(mut bytes: &[u8]) {
    let Some([seed]) = crate::take(&mut bytes) else {
        return;
    };
    let faults = if seed % 2 == 0 {
        Faults::none()
    } else {
        Faults::default()
    };
    let world = World::new(seed.into(), faults);
    let host = world.host("a");
    let (ours, peer) = host.socket_pair().expect("two descriptors");
    let mut slots = Slots {
        driver: Some(driver(&host)),
        world,
        host,
        ours: Rc::new(ours),
        peer: Rc::new(peer),
        owned: BTreeMap::new(),
        next_token: 0,
        orphans: 0,
        raw: Vec::new(),
    };
    while let Some(step) = crate::take(&mut bytes) {
        slots.step(step, &mut bytes);
        slots.check();
    }
    slots.end();
    let Slots {
        world, ours, peer, ..
    } = slots;
    drop((ours, peer));
    assert_eq!(world.open_descriptors(), 0);
}

fn driver(host: &Host) -> Driver<'static> {
    let builder = Driver::builder()
        .entries(ENTRIES)
        .in_flight(IN_FLIGHT)
        .cancels(2)
        .slots(SLOTS);
    host.driver(builder).expect("it is within its limits")
}

impl Slots {
    fn driver(&mut self) -> &mut Driver<'static> {
        self.driver.as_mut().expect("only `end` has none")
    }

    fn step(&mut self, [what, which, number]: [u8; 3], bytes: &mut &[u8]) {
        let duration = Duration::from_micros(u64::from(number) * 16);
        let silent = || Recv::new(self.ours.clone(), [0; 8]);
        match what % 16 {
            0 => self.push(silent()),
            1 => self.push(Recv::new(self.ours.clone(), [0; 0])),
            2 => self.push(Deadline::after(silent(), duration)),
            3 => self.push(Deadline::after(Exact::new(silent()), duration)),
            4 => self.push(Send::new(self.ours.clone(), [number; 4])),
            5 => self.push_raw(usize::from_le_bytes(crate::take(bytes).unwrap_or_default())),
            6 => {
                let at = usize::from(which).checked_rem(self.raw.len());
                let of = at.map_or(usize::from(number), |at| self.raw[at].1);
                // It may have no place for it.
                let _ = self.driver().try_cancel(of);
            }
            7 => {
                // Cancelled before and after it was dropped is cancelled.
                let orphan = self.pick(which).and_then(|token| self.owned.remove(&token));
                if let Some(orphan) = orphan {
                    self.orphans += usize::from(!orphan.key.is_done());
                }
            }
            8 | 9 => self.with_key(which, |owned| owned.key.cancel()),
            10 => self.poll(which),
            11 => self.redeem(which),
            12 => self.announce(usize::from(number % 4)),
            13 if number % 16 == 0 => self.renew(),
            13 | 14 => self.submit(Duration::ZERO, usize::from(number % 4)),
            _ => self.submit(duration, 4),
        }
    }

    fn push<O: Op<Fd: Holds> + 'static>(&mut self, op: O) {
        let token = self.next_token;
        let room = self.driver().owned_capacity_left();
        match self.driver().try_push_owned(op, token) {
            Ok(key) => {
                assert!(room > 0, "it has no room");
                self.next_token += 1;
                let owned = Owned {
                    key: Box::new(key),
                    is_announced: false,
                    waits: false,
                    woken: Arc::default(),
                    wakes: 0,
                };
                self.owned.insert(token, owned);
            }
            Err(_op) => assert_eq!(room, 0, "it has room"),
        }
    }

    fn push_raw(&mut self, user_data: usize) {
        if self.driver().capacity_left() == 0 {
            return;
        }
        let op = Lent::new(Nop::new());
        // SAFETY: `Lent`: where it is until its entry came or its driver is gone; not in flight.
        let object = unsafe { OpObject::from_ptr(op.as_ptr(), user_data) };
        let pushed = self.driver().try_push_dyn(object).is_ok();
        assert!(pushed, "there was room");
        self.raw.push((op, user_data));
    }

    fn pick(&self, which: u8) -> Option<usize> {
        let at = usize::from(which).checked_rem(self.owned.len())?;
        self.owned.keys().nth(at).copied()
    }

    fn with_key(&mut self, which: u8, f: impl FnOnce(&mut Owned)) {
        let token = self.pick(which);
        if let Some(owned) = token.and_then(|token| self.owned.get_mut(&token)) {
            f(owned);
        }
    }

    fn poll(&mut self, which: u8) {
        let Some(token) = self.pick(which) else {
            return;
        };
        let owned = self.owned.get_mut(&token).expect("just picked");
        let is_done = owned.key.is_done();
        let waker = Waker::from(owned.woken.clone());
        let is_ready = owned.key.poll(&mut Context::from_waker(&waker));
        assert_eq!(is_ready, is_done, "ready when it has completed");
        owned.waits = true;
        if is_ready {
            // A spent key is nobody's.
            let owned = self.owned.remove(&token).expect("just picked");
            owned.key.cancel();
            assert!(!owned.key.is_done());
        }
    }

    fn redeem(&mut self, which: u8) {
        let Some(token) = self.pick(which) else {
            return;
        };
        let owned = self.owned.remove(&token).expect("just picked");
        let is_done = owned.key.is_done();
        let left = owned.key.redeem();
        assert_eq!(left.is_none(), is_done, "redeemed when it has completed");
        if let Some(key) = left {
            self.owned.insert(token, Owned { key, ..owned });
        }
    }

    fn announce(&mut self, most: usize) {
        for _ in 0..most {
            let Some(finished) = self.driver().next_finished() else {
                break;
            };
            let owned = self.owned.get_mut(&finished.token());
            let owned = owned.expect("finished, and nobody has its key");
            assert!(owned.key.is_done() && !owned.is_announced);
            owned.is_announced = true;
            owned.wakes += usize::from(std::mem::take(&mut owned.waits));
            drop(finished);
        }
    }

    fn submit(&mut self, wait: Duration, room: usize) {
        let mut entries: Vec<Entry> = Vec::with_capacity(room.max(1));
        // SAFETY: what is pushed raw is `Lent`, and stays where it is until its entry came or the
        // driver is gone, which goes first and is never forgotten.
        let submitted = unsafe { self.driver().submit(Some(wait), &mut entries) };
        submitted.expect("a wait with an end");
        for entry in entries {
            let user_data = entry.user_data();
            let at = self.raw.iter().position(|(_, of)| *of == user_data);
            let at = at.expect("in flight under this number");
            self.raw.swap_remove(at);
            let fits = user_data <= usize::MAX >> 3;
            assert_eq!(entry.refusal().is_none(), fits, "{user_data:#x}");
        }
    }

    fn renew(&mut self) {
        self.driver = None;
        self.raw.clear();
        self.orphans = 0;
        for (token, owned) in std::mem::take(&mut self.owned) {
            assert!(owned.key.is_done(), "{token} is in flight without a driver");
            assert!(owned.key.redeem().is_none());
        }
        self.driver = Some(driver(&self.host));
    }

    fn check(&mut self) {
        let running = self
            .owned
            .values()
            .filter(|owned| !owned.key.is_done())
            .count();
        let (owned, raw) = (self.owned.len(), self.raw.len());
        let driver = self.driver.as_ref().expect("there is one");
        let orphans = driver.in_flight() - running - raw;
        assert!(
            orphans <= self.orphans,
            "{orphans} orphans of {}",
            self.orphans
        );
        self.orphans = orphans;
        let slots = SLOTS - owned - orphans;
        let left = driver.capacity_left();
        assert_eq!(driver.owned_capacity_left(), slots.min(left));
        let living = Rc::strong_count(&self.ours) - 1;
        assert_eq!(living, owned + orphans, "operations that are still there");
        for owned in self.owned.values() {
            let woken = owned.woken.0.load(Ordering::Relaxed);
            assert_eq!(woken, owned.wakes, "how often a task was woken");
        }
        assert_eq!(driver.stats().unknown, 0);
    }

    fn end(&mut self) {
        self.renew();
        self.check();
        self.driver = None;
    }
}
