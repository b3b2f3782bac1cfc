//! NOPs in batches: what the way through the driver costs.

use super::text;
use bench::child::{Args, Outcome};
use bench::meter::Meter;
use completeio_driver::driver::{Builder, CompleteIo, Driver, Entry};
use completeio_driver::op::{Nop, Op, OpObject};
use completeio_driver::scope::{Event, Ticket};
use completeio_driver::sink;
use std::collections::VecDeque;
use std::mem;
use std::ptr::NonNull;

/// A queue of operations, filled again for each turn and pushed as a batch.
pub(super) fn push_queue(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let batch: usize = args.need("batch")?;
    let mut owned: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut ops = Ops::new(&mut owned);
    let mut queue: VecDeque<OpObject<'_>> = VecDeque::with_capacity(batch);
    let mut driver = builder.build().map_err(text)?;
    let meter = Meter::new(args.goal()?);
    loop {
        let Ops { first, idle, .. } = &mut ops;
        queue.extend(idle.drain(..).map(|i| {
            // SAFETY: one of the slice's operations.
            let op = unsafe { first.add(i) };
            // SAFETY: idle; `owned` is not touched before the driver is gone.
            unsafe { OpObject::from_ptr(op, i) }
        }));
        driver.push_queue(&mut queue);
        ops.finish_all(&mut driver);
        if !meter.step(batch as u64) {
            return meter.outcome();
        }
    }
}

/// A typed push for each operation.
pub(super) fn try_push(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let batch: usize = args.need("batch")?;
    let mut owned: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut ops = Ops::new(&mut owned);
    let mut driver = builder.build().map_err(text)?;
    let meter = Meter::new(args.goal()?);
    loop {
        let Ops { first, idle, .. } = &mut ops;
        for i in idle.drain(..) {
            // SAFETY: one of the slice's operations.
            let mut op = unsafe { first.add(i) };
            // SAFETY: idle; `owned` is not touched before the driver is gone.
            let op: &mut Nop = unsafe { op.as_mut() };
            assert!(driver.try_push(op, i).is_ok(), "a batch fits the queue");
        }
        ops.finish_all(&mut driver);
        if !meter.step(batch as u64) {
            return meter.outcome();
        }
    }
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

    /// Submits until all are out of flight, and finishes each where its entry comes out: keeping
    /// the entries in an array first takes about 14 instructions more for each.
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
pub(super) fn scope(builder: Builder, args: &Args) -> Result<Outcome, String> {
    let batch: usize = args.need("batch")?;
    let goal = args.goal()?;
    let mut ops: Vec<Nop> = (0..batch).map(|_| Nop::new()).collect();
    let mut driver = builder.build().map_err(text)?;
    let ran = driver.scope(|s| {
        let mut places: Vec<Place<'_, '_>> = ops.iter_mut().map(Place::Idle).collect();
        let meter = Meter::new(goal);
        loop {
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
            if !meter.step(batch as u64) {
                return meter.outcome();
            }
        }
    });
    ran.map_err(text)?
}
