//! The sleeps of a runtime.

use crate::clock::Instant;
use slab::Slab;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::task::Waker;

/// Timers that there is room for from the beginning.
const TIMERS: usize = 1024;

/// Stale entries that the heap has at most beside as many as there are timers.
const STALE_MAX: usize = 64;

/// A heap of deadlines, and whom to wake. Nothing is allocated for up to 1,024 of them, nor for
/// more, once there were as many before.
///
/// A timer that ends early leaves its place in the heap behind, which names nobody then: the number
/// of a timer is never given twice.
pub(crate) struct Timers {
    inner: RefCell<Inner>,
}

struct Inner {
    /// By deadline, then by number: the earlier one first.
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    timers: Slab<Timer>,
    started: u64,
}

struct Timer {
    number: u64,
    waker: Waker,
}

/// One timer that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: usize,
    number: u64,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            inner: RefCell::new(Inner {
                heap: BinaryHeap::with_capacity(2 * TIMERS + STALE_MAX),
                timers: Slab::with_capacity(TIMERS),
                started: 0,
            }),
        }
    }

    pub(crate) fn start(&self, deadline: Instant, waker: &Waker) -> TimerId {
        // A clone is the user's code: nothing is borrowed.
        let waker = waker.clone();
        let inner = &mut *self.inner.borrow_mut();
        let number = inner.started;
        inner.started += 1;
        let index = inner.timers.insert(Timer { number, waker });
        inner.heap.push(Reverse((deadline, number, index)));
        TimerId { index, number }
    }

    /// Wakes another one when the time has come; `false` if it has.
    pub(crate) fn wait(&self, id: TimerId, waker: &Waker) -> bool {
        let is_known = |timer: &Timer| timer.waker.will_wake(waker);
        match self.inner.borrow().get(id) {
            None => return false,
            Some(timer) if is_known(timer) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        if let Some(timer) = self.inner.borrow_mut().get_mut(id) {
            mem::swap(&mut timer.waker, &mut waker);
        }
        true
    }

    /// Ends a timer, if it runs.
    pub(crate) fn stop(&self, id: TimerId) {
        let mut inner = self.inner.borrow_mut();
        if inner.get(id).is_none() {
            return;
        }
        let timer = inner.timers.remove(id.index);
        inner.tidy();
        drop(inner);
        drop(timer); // Its waker is the user's.
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let inner = &mut *self.inner.borrow_mut();
        loop {
            let Reverse((deadline, number, index)) = *inner.heap.peek()?;
            if inner.get(TimerId { index, number }).is_some() {
                return Some(deadline);
            }
            inner.heap.pop();
        }
    }

    /// Wakes those that are due, in their order.
    pub(crate) fn fire(&self) {
        if self.inner.borrow().timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(waker) = self.pop_due(now) {
            waker.wake();
        }
    }

    fn pop_due(&self, now: Instant) -> Option<Waker> {
        self.next().filter(|deadline| *deadline <= now)?;
        let inner = &mut *self.inner.borrow_mut();
        let Reverse((_, _, index)) = inner.heap.pop()?;
        Some(inner.timers.remove(index).waker)
    }
}

impl Inner {
    fn get(&self, id: TimerId) -> Option<&Timer> {
        let timer = self.timers.get(id.index)?;
        (timer.number == id.number).then_some(timer)
    }

    fn get_mut(&mut self, id: TimerId) -> Option<&mut Timer> {
        let timer = self.timers.get_mut(id.index)?;
        (timer.number == id.number).then_some(timer)
    }

    /// Takes out what is stale, when it is more than the rest.
    fn tidy(&mut self) {
        if self.heap.len() > 2 * self.timers.len() + STALE_MAX {
            let timers = &self.timers;
            self.heap.retain(|Reverse((_, number, index))| {
                timers
                    .get(*index)
                    .is_some_and(|timer| timer.number == *number)
            });
        }
    }
}
