//! NOPs in batches: what the way through the driver costs.

use crate::echo::why_not;
use crate::measure::{Goal, Run, drive};
use crate::raw;
use completeio_driver::driver::{Backend, CompleteIo, Driver, Entry};
use completeio_driver::op::{Nop, Op, OpObject};
use completeio_driver::scope::{Event, Ticket};
use completeio_driver::sink;
use std::collections::VecDeque;
use std::mem;
use std::ptr::NonNull;

pub(crate) const BATCHES: [u32; 3] = [1, 32, 256];

/// Who does the NOPs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Raw,
    PushQueue(Backend),
    TryPush(Backend),
    Scope(Backend),
}

impl Peer {
    /// All but the reference.
    pub(crate) const OTHERS: [Self; 6] = [
        Self::PushQueue(Backend::IoUring),
        Self::TryPush(Backend::IoUring),
        Self::Scope(Backend::IoUring),
        Self::PushQueue(Backend::Readiness),
        Self::TryPush(Backend::Readiness),
        Self::Scope(Backend::Readiness),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::PushQueue(Backend::IoUring) => "io_uring, push_queue",
            Self::TryPush(Backend::IoUring) => "io_uring, try_push",
            Self::Scope(Backend::IoUring) => "io_uring, scope",
            Self::PushQueue(_) => "readiness, push_queue",
            Self::TryPush(_) => "readiness, try_push",
            Self::Scope(_) => "readiness, scope",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        std::iter::once(Self::Raw)
            .chain(Self::OTHERS)
            .find(|peer| peer.name() == name)
    }

    /// Why it cannot run here.
    pub(crate) fn why_not(self) -> Option<String> {
        match self {
            Self::Raw => None,
            Self::PushQueue(backend) | Self::TryPush(backend) | Self::Scope(backend) => {
                why_not(backend)
            }
        }
    }
}

/// Does batches of NOPs on the calling thread.
pub(crate) fn run(peer: Peer, batch: u32, goal: Goal) -> Result<Run, String> {
    match peer {
        Peer::Raw => raw_loop(batch, goal),
        Peer::PushQueue(backend) => push_queue(backend, batch, goal),
        Peer::TryPush(backend) => try_push(backend, batch, goal),
        Peer::Scope(backend) => scope(backend, batch, goal),
    }
}

fn raw_loop(batch: u32, goal: Goal) -> Result<Run, String> {
    let mut io = raw::ring().map_err(|e| format!("no ring: {e}"))?;
    let mut ring = raw::Ring::new(&mut io).map_err(|e| format!("no registered ring: {e}"))?;
    Ok(drive(goal, u64::from(batch), || ring.nops(batch)))
}

/// A queue of operations, filled again for each turn and pushed as a batch.
fn push_queue(backend: Backend, batch: u32, goal: Goal) -> Result<Run, String> {
    let mut owned: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut ops = Ops::new(&mut owned);
    let mut queue: VecDeque<OpObject<'_>> = VecDeque::with_capacity(batch as usize);
    let mut driver = driver(backend)?;
    Ok(drive(goal, u64::from(batch), || {
        let Ops { first, idle, .. } = &mut ops;
        queue.extend(idle.drain(..).map(|i| {
            // SAFETY: one of the slice's operations.
            let op = unsafe { first.add(i) };
            // SAFETY: idle; `owned` is not touched before the driver is gone.
            unsafe { OpObject::from_ptr(op, i) }
        }));
        driver.push_queue(&mut queue);
        ops.finish_all(&mut driver);
    }))
}

/// A typed push for each operation.
fn try_push(backend: Backend, batch: u32, goal: Goal) -> Result<Run, String> {
    let mut owned: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut ops = Ops::new(&mut owned);
    let mut driver = driver(backend)?;
    Ok(drive(goal, u64::from(batch), || {
        let Ops { first, idle, .. } = &mut ops;
        for i in idle.drain(..) {
            // SAFETY: one of the slice's operations.
            let mut op = unsafe { first.add(i) };
            // SAFETY: idle; `owned` is not touched before the driver is gone.
            let op: &mut Nop = unsafe { op.as_mut() };
            assert!(driver.try_push(op, i).is_ok(), "a batch fits the queue");
        }
        ops.finish_all(&mut driver);
    }))
}

fn driver<'arena>(backend: Backend) -> Result<Driver<'arena>, String> {
    let built = Driver::builder().backend(backend).build();
    built.map_err(|e| e.to_string())
}

/// Operations of the raw layer, and which of them are out of flight.
struct Ops {
    first: NonNull<Nop>,
    len: usize,
    idle: Vec<usize>,
}

impl Ops {
    fn new(ops: &mut [Nop]) -> Self {
        Self {
            idle: (0..ops.len()).collect(),
            len: ops.len(),
            first: NonNull::from(ops).cast(),
        }
    }

    #[inline]
    fn at(&self, i: usize) -> NonNull<Nop> {
        assert!(i < self.len);
        // SAFETY: one of the slice's operations.
        unsafe { self.first.add(i) }
    }

    /// Submits until all are out of flight, and finishes each where its entry comes out: keeping the
    /// entries in an array first takes about 14 instructions more for each.
    #[inline]
    fn finish_all(&mut self, driver: &mut Driver<'_>) {
        while self.idle.len() < self.len {
            let mut sink = sink::bounded(self.len, |entry: Entry| {
                let i = entry.user_data();
                // SAFETY: its last entry is here.
                let op = unsafe { self.at(i).as_mut() };
                // SAFETY: the user data is the operation's place.
                let output = unsafe { op.finish(entry) };
                assert!(output.is_ok());
                self.idle.push(i);
            });
            // SAFETY: the callers leave the operations alone until the driver is gone.
            unsafe { driver.submit(None, &mut sink) }.expect("the driver works");
        }
    }
}

/// Where an operation of the safe loop is.
enum Place<'s, 'env> {
    Idle(&'env mut Nop),
    Lent(Ticket<'s, 'env, Nop>),
    /// On its way from the one to the other.
    Between,
}

/// The safe loop does the same: each operation is lent, redeemed, and lent again.
fn scope(backend: Backend, batch: u32, goal: Goal) -> Result<Run, String> {
    let mut ops: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut driver = driver(backend)?;
    let ran = driver.scope(|s| {
        let mut places: Vec<Place<'_, '_>> = ops.iter_mut().map(Place::Idle).collect();
        drive(goal, u64::from(batch), || {
            for (i, place) in places.iter_mut().enumerate() {
                let Place::Idle(op) = mem::replace(place, Place::Between) else {
                    unreachable!("redeemed in the last turn")
                };
                let Ok(ticket) = s.try_lend(op, i) else {
                    unreachable!("a batch fits the queue")
                };
                *place = Place::Lent(ticket);
            }
            let mut idle = 0;
            while idle < places.len() {
                let mut sink = sink::bounded(places.len(), |event: Event<'_>| {
                    let place = &mut places[event.token()];
                    let Place::Lent(ticket) = mem::replace(place, Place::Between) else {
                        unreachable!("lent in this turn")
                    };
                    let done = event.done().expect("a NOP completes once");
                    let Ok((output, op)) = ticket.redeem(done) else {
                        unreachable!("the token is the ticket's place")
                    };
                    assert!(output.is_ok());
                    *place = Place::Idle(op);
                    idle += 1;
                });
                s.submit(None, &mut sink).expect("the driver works");
            }
        })
    });
    ran.map_err(|e| e.to_string())
}
