//! Who may touch which operation of a [`Remote`](super::Remote), and who is told of what.
//!
//! Each operation lies in a cell. The cells' memory is elsewhere: this file only says whose it is,
//! so that loom can go through it.
//!
//! | stage of a cell | whose its memory is | what comes next |
//! |---|---|---|
//! | `Free` | nobody's, or that of who has claimed its index | `Sent` |
//! | `Sent` | the driver's thread's, from the `Start` message on | `Done`, or `Abandoned` |
//! | `Abandoned` | the driver's thread's | `Free`, when the `Abandon` message came |
//! | `Done` | the claim's | `Free`, when the result was taken or dropped |
//!
//! Messages go through one queue, first in first out, with room for all that can be there at a time:
//! for each cell one `Start`, one `Abandon` and one `Woken`. An abandoned cell is used again only
//! after its `Abandon` was read, so a message never reaches the wrong operation. Closing the queue
//! is one step: a `Start` comes either before it, and is served, or is refused.

use super::sync::{Mutex, MutexGuard, Thread};
use concurrent_queue::ConcurrentQueue;
use std::fmt;
use std::task::Waker;

/// What the driver's thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// A new operation lies in this cell.
    Start(u32),
    /// Nobody wants the result any more.
    Abandon(u32),
    /// The operation of this cell may have completed.
    Woken(u32),
}

/// Who waits for a result.
#[derive(Debug)]
pub(super) enum Waiter {
    Task(Waker),
    Thread(Thread),
}

impl Waiter {
    pub(super) fn wake(self) {
        match self {
            Self::Task(waker) => waker.wake(),
            Self::Thread(thread) => thread.unpark(),
        }
    }
}

/// See the table above.
#[derive(Debug)]
enum Stage {
    Free,
    Sent(Option<Waiter>),
    Abandoned,
    Done,
}

/// What the driver's thread is to do with a result.
#[derive(Debug)]
pub(super) enum Completed {
    /// It is the claim's now; wake who waits for it.
    Handed(Option<Waiter>),
    /// It is the driver's thread's to drop; the `Abandon` message is still to come.
    Unwanted,
}

/// The stages of all cells, and the queue between the threads.
pub(super) struct Cells {
    stages: Box<[Mutex<Stage>]>,
    free: ConcurrentQueue<u32>,
    messages: ConcurrentQueue<Message>,
}

impl Cells {
    /// The only place that allocates.
    pub(super) fn new(cells: u32) -> Self {
        let len = cells as usize;
        let free = ConcurrentQueue::bounded(len);
        for index in 0..cells {
            free.push(index).expect("one place for each");
        }
        Self {
            stages: (0..len).map(|_| Mutex::new(Stage::Free)).collect(),
            free,
            messages: ConcurrentQueue::bounded(3 * len),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stages.len()
    }

    /// Every critical section leaves its stage whole, so a panic in one is no reason to stop.
    fn stage(&self, index: u32) -> MutexGuard<'_, Stage> {
        super::sync::lock(&self.stages[index as usize])
    }

    /// A cell of one's own, if one is free.
    pub(super) fn claim(&self) -> Option<u32> {
        self.free.pop().ok()
    }

    /// Sends the operation that was written to a claimed cell. `false`: the queue is closed, and
    /// the cell is still the caller's.
    pub(super) fn start(&self, index: u32) -> bool {
        *self.stage(index) = Stage::Sent(None);
        let sent = self.send(Message::Start(index));
        if !sent {
            *self.stage(index) = Stage::Free;
        }
        sent
    }

    /// Tells the driver's thread something; `false` if it does not listen any more.
    pub(super) fn send(&self, message: Message) -> bool {
        match self.messages.push(message) {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_closed(), "I2: there is room for every message");
                false
            }
        }
    }

    /// The next message.
    pub(super) fn receive(&self) -> Option<Message> {
        self.messages.pop().ok()
    }

    /// Accepts no more messages. What was accepted can still be received.
    pub(super) fn close(&self) {
        self.messages.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }

    /// Whether the result is there; else remembers whom to wake. Gives back the waiter that was
    /// replaced, or not needed, for the caller to drop.
    pub(super) fn poll(&self, index: u32, waiter: Waiter) -> (bool, Option<Waiter>) {
        match &mut *self.stage(index) {
            Stage::Done => (true, Some(waiter)),
            Stage::Sent(waiting) => (false, waiting.replace(waiter)),
            stage => unreachable!("cell {index} is {stage:?}, and has a claim"),
        }
    }

    /// Gives a claim up. `true`: the result is there, and the caller's to drop.
    pub(super) fn abandon(&self, index: u32) -> bool {
        let waiting = {
            let mut stage = self.stage(index);
            match &mut *stage {
                Stage::Done => return true,
                Stage::Sent(waiting) => {
                    let waiting = waiting.take();
                    *stage = Stage::Abandoned;
                    waiting
                }
                other => unreachable!("cell {index} is {other:?}, and has a claim"),
            }
        };
        // After the end nobody listens, and nobody uses the cell again either.
        self.send(Message::Abandon(index));
        drop(waiting);
        false
    }

    /// The driver's thread has written the result.
    pub(super) fn complete(&self, index: u32) -> Completed {
        let mut stage = self.stage(index);
        match &mut *stage {
            Stage::Sent(waiting) => {
                let waiting = waiting.take();
                *stage = Stage::Done;
                Completed::Handed(waiting)
            }
            Stage::Abandoned => Completed::Unwanted,
            other => unreachable!("cell {index} is {other:?}, and was sent"),
        }
    }

    /// Nothing is in the cell any more.
    pub(super) fn release(&self, index: u32) {
        *self.stage(index) = Stage::Free;
        self.free.push(index).expect("one place for each");
    }
}

impl fmt::Debug for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells")
            .field("cells", &self.len())
            .field("free", &self.free.len())
            .finish_non_exhaustive()
    }
}
