//! Who waits for a place of the driver's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::task::Waker;

/// Those whose operation found no place, in the order in which they came.
///
/// A place is offered, not given: whoever is called and does not come holds up nobody, for the next
/// one is called before the thread sleeps. Whoever is called too early waits again where they were.
#[derive(Default)]
pub(super) struct Places {
    /// By ticket, ascending.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

impl Places {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    fn find(queue: &VecDeque<(u64, Waker)>, ticket: u64) -> Result<usize, usize> {
        queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket)
    }

    /// Whether it is the turn of one with this ticket, or of a newcomer.
    pub(super) fn may_try(&self, ticket: Option<u64>) -> bool {
        let queue = self.queue.borrow();
        match ticket {
            Some(ticket) => Self::find(&queue, ticket).is_err(),
            None => queue.is_empty(),
        }
    }

    /// Waits to be called; returns the ticket.
    pub(super) fn wait(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let ticket = ticket.unwrap_or_else(|| self.next.replace(self.next.get() + 1));
        // A waker's clone and drop are the user's code: nothing is borrowed there.
        let mut waker = Some(waker.clone());
        let mut queue = self.queue.borrow_mut();
        match Self::find(&queue, ticket) {
            Ok(at) => mem::swap(&mut queue[at].1, waker.as_mut().expect("set above")),
            Err(at) => queue.insert(at, (ticket, waker.take().expect("set above"))),
        }
        drop(queue);
        ticket
    }

    /// Calls the first `n`; returns whether there was one.
    pub(super) fn call(&self, n: usize) -> bool {
        for i in 0..n {
            let first = self.queue.borrow_mut().pop_front();
            let Some((_, waker)) = first else {
                return i > 0;
            };
            waker.wake();
        }
        n > 0
    }

    /// Somebody waits no more, if they did.
    pub(super) fn leave(&self, ticket: u64) {
        let mut queue = self.queue.borrow_mut();
        let left = match Self::find(&queue, ticket) {
            Ok(at) => queue.remove(at),
            Err(_) => None,
        };
        drop(queue);
        drop(left);
    }
}
