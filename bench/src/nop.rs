//! NOPs in batches: what the way through the driver costs.

use crate::echo::why_not;
use crate::measure::{Goal, Run, drive};
use crate::raw;
use completeio_driver::driver::{Backend, CompleteIo, Driver, Entry};
use completeio_driver::op::{Nop, OpObject};
use completeio_driver::scope::{Event, Ticket};
use completeio_driver::sink;
use std::collections::VecDeque;
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
    let batch = batch as usize;
    let mut ops: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let first = NonNull::new(ops.as_mut_ptr()).expect("a vector has an address");
    let mut queue: VecDeque<OpObject<'_>> = VecDeque::with_capacity(batch);
    let mut driver = Driver::builder()
        .backend(backend)
        .build()
        .map_err(|e| e.to_string())?;
    Ok(drive(goal, batch as u64, || {
        queue.extend((0..batch).map(|i| {
            // SAFETY: one of the `batch` operations.
            let op = unsafe { first.add(i) };
            // SAFETY: out of flight since the last turn; `ops` is not touched before the driver is
            // gone.
            unsafe { OpObject::from_ptr(op, i) }
        }));
        driver.push_queue(&mut queue);
        collect(&mut driver, batch);
    }))
}

/// A typed push for each operation.
fn try_push(backend: Backend, batch: u32, goal: Goal) -> Result<Run, String> {
    let batch = batch as usize;
    let mut ops: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let first = NonNull::new(ops.as_mut_ptr()).expect("a vector has an address");
    let mut driver = Driver::builder()
        .backend(backend)
        .build()
        .map_err(|e| e.to_string())?;
    Ok(drive(goal, batch as u64, || {
        for i in 0..batch {
            // SAFETY: one of the `batch` operations.
            let mut op = unsafe { first.add(i) };
            // SAFETY: out of flight since the last turn; `ops` is not touched before the driver is
            // gone.
            let op: &mut Nop = unsafe { op.as_mut() };
            assert!(driver.try_push(op, i).is_ok(), "a batch fits the queue");
        }
        collect(&mut driver, batch);
    }))
}

/// Submits, and looks at each entry where it comes out, as the raw loop does: keeping the entries in
/// an array first takes about 14 instructions more for each.
#[inline]
fn collect(driver: &mut Driver<'_>, batch: usize) {
    let mut left = batch;
    while left > 0 {
        let mut sink = sink::bounded(left, |entry: Entry| {
            assert!(entry.into_result().is_ok());
            left -= 1;
        });
        // SAFETY: the callers leave the operations alone until the driver is gone.
        unsafe { driver.submit(None, &mut sink) }.expect("the driver works");
    }
}

/// The safe loop: each operation is lent, redeemed, and lent again.
fn scope(backend: Backend, batch: u32, goal: Goal) -> Result<Run, String> {
    let batch = batch as usize;
    let mut ops: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut driver = Driver::builder()
        .backend(backend)
        .build()
        .map_err(|e| e.to_string())?;
    let ran = driver.scope(|s| {
        let mut idle: Vec<Option<&mut Nop>> = ops.iter_mut().map(Some).collect();
        let mut tickets: Vec<Option<Ticket<'_, '_, Nop>>> = (0..batch).map(|_| None).collect();
        let mut queue = VecDeque::with_capacity(batch);
        drive(goal, batch as u64, || {
            for (i, (op, ticket)) in idle.iter_mut().zip(&mut tickets).enumerate() {
                let op = op.take().expect("redeemed in the last turn");
                let (prepared, lent) = s.lend(op, i);
                queue.push_back(prepared);
                *ticket = Some(lent);
            }
            s.push_queue(&mut queue);
            let mut left = batch;
            while left > 0 {
                let mut sink = sink::bounded(left, |event: Event<'_>| {
                    let i = event.token();
                    let done = event.done().expect("a NOP completes once");
                    let ticket = tickets[i].take().expect("lent in this turn");
                    let Ok((output, op)) = ticket.redeem(done) else {
                        unreachable!("the token is the place of the ticket")
                    };
                    assert!(output.is_ok());
                    idle[i] = Some(op);
                    left -= 1;
                });
                s.submit(None, &mut sink).expect("the driver works");
            }
        })
    });
    ran.map_err(|e| e.to_string())
}
