//! The steps of the safe layer, in short: through a scope, and by keys.

use crate::kit;
use crate::ledger::Ledger;
use completeio_driver::driver::Holds;
use completeio_driver::op::Op;
use completeio_driver::scope::{Done, Event, Scope, Ticket};
use completeio_driver::slots::Key;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Lends, and pushes.
pub(crate) fn start<'s, 'env, O: Op + 'env>(
    s: &mut Scope<'s, 'env>,
    op: &'env mut O,
    token: usize,
) -> Ticket<'s, 'env, O>
where
    O::Fd: Holds,
{
    let (prepared, ticket) = s.lend(op, token);
    s.try_push(prepared).expect("there is room");
    ticket
}

/// One turn without waiting: hands over, and takes what is there.
pub(crate) fn turn<'s>(s: &mut Scope<'s, '_>) -> Vec<Done<'s>> {
    let mut events = Vec::with_capacity(s.in_flight().max(1));
    s.submit(Some(Duration::ZERO), &mut events).unwrap();
    let done = |event: Event<'s>| event.done().expect("no multishot");
    events.into_iter().map(done).collect()
}

/// Hands over what was pushed, where nothing can complete.
pub(crate) fn hand_over(s: &mut Scope<'_, '_>) {
    let done = turn(s);
    assert!(done.is_empty(), "nothing completes yet: {done:?}");
}

/// Waits for so many.
pub(crate) fn take<'s>(s: &mut Scope<'s, '_>, n: usize) -> Vec<Done<'s>> {
    let mut taken = Vec::with_capacity(n);
    while taken.len() < n {
        let mut event = None;
        s.submit(None, &mut event).unwrap();
        kit::goes_on();
        taken.extend(event.map(|event: Event<'s>| event.done().expect("no multishot")));
    }
    taken
}

/// Waits for one.
pub(crate) fn next<'s>(s: &mut Scope<'s, '_>) -> Done<'s> {
    take(s, 1).remove(0)
}

/// Pushes alone, and waits for what comes out of it.
pub(crate) fn run<'env, O: Op + 'env>(
    s: &mut Scope<'_, 'env>,
    op: &'env mut O,
) -> (io::Result<O::Output>, &'env mut O)
where
    O::Fd: Holds,
{
    let ticket = start(s, op, usize::MAX / 3);
    ticket.redeem(next(s)).expect("nothing else is in flight")
}

/// The tokens of what has completed, in their order.
pub(crate) fn tokens(done: &[Done<'_>]) -> Vec<usize> {
    done.iter().map(Done::token).collect()
}

/// The error number of a result.
#[track_caller]
pub(crate) fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("it should fail"),
        Err(error) => error.raw_os_error().expect("the kernel's error"),
    }
}

/// Submits until an operation that the driver owns is done.
pub(crate) fn wait<O: Op>(l: &mut Ledger, key: &Key<'_, O>) {
    while !key.is_done() {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
}

/// Submits until an operation that the driver owns is done, and redeems it.
pub(crate) fn outcome<O: Op>(l: &mut Ledger, key: Key<'_, O>) -> (io::Result<O::Output>, O) {
    wait(l, &key);
    key.redeem().expect("it is done")
}

/// The tokens of the owned operations that have completed and were not yet asked for.
pub(crate) fn finished(l: &mut Ledger) -> Vec<usize> {
    std::iter::from_fn(|| l.next_finished())
        .map(|finished| finished.token())
        .collect()
}

/// Counts how many of it were dropped.
#[derive(Clone, Default)]
pub(crate) struct Drops(Rc<Cell<usize>>);

impl Drops {
    pub(crate) fn count(&self) -> usize {
        self.0.get()
    }

    /// A buffer whose drop is counted.
    pub(crate) fn buffer(&self) -> Counted {
        Counted {
            bytes: vec![0; 64],
            drops: self.0.clone(),
        }
    }
}

/// See [`Drops`].
#[derive(Debug)]
pub(crate) struct Counted {
    bytes: Vec<u8>,
    drops: Rc<Cell<usize>>,
}

impl Counted {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

// SAFETY: the bytes are those of a vector that only `&mut Counted` reaches.
unsafe impl completeio_driver::buf::IoBufMut for Counted {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.bytes.as_mut_ptr(), self.bytes.len())
    }

    unsafe fn set_filled(&mut self, _n: usize) {}
}
