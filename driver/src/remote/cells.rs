//! Who may touch which operation of a [`Remote`](super::Remote), and who is told of what.
//!
//! Each operation lies in a cell. The cells' memory is elsewhere: this file only says whose it is,
//! so that loom can go through it.
//!
//! | stage of a cell | whose its memory is | what comes next |
//! |---|---|---|
//! | `Free` | nobody's, or that of who has claimed its index | `Sent` |
//! | `Sent` | the driver's thread's, from the `Start` message on | `Done`, or `Abandoned` |
//! | `Abandoned` | the driver's thread's | `Free`, when the `Abandon` message came and it is not in flight |
//! | `Done` | the claim's | `Free`, when the result was taken or dropped |
//!
//! Messages go through one queue, first in first out, with room for all that can be there at a
//! time: for each cell one `Start`, one `Abandon` and one `Woken`. An abandoned cell is used again
//! only after its `Abandon` was read, so a message never reaches the wrong operation. Closing the
//! queue is one step: a `Start` comes either before it, and is served, or is refused.

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
pub(super) enum Delivery {
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
    pub(super) fn complete(&self, index: u32) -> Delivery {
        let mut stage = self.stage(index);
        match &mut *stage {
            Stage::Sent(waiting) => {
                let waiting = waiting.take();
                *stage = Stage::Done;
                Delivery::Handed(waiting)
            }
            Stage::Abandoned => Delivery::Unwanted,
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

/// Every interleaving of senders, their claims, and the driver's thread, which sleeps by the
/// notifier's flag.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::notify::Flag;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    /// Cells with tracked memory, a flag, and a descriptor to sleep on.
    struct Model {
        cells: Cells,
        memory: Vec<UnsafeCell<usize>>,
        flag: Flag,
        bell: loom::sync::Mutex<bool>,
        rung: loom::sync::Condvar,
        dropped: AtomicUsize,
    }

    impl Model {
        fn new(cells: u32) -> Arc<Self> {
            Arc::new(Self {
                cells: Cells::new(cells),
                memory: (0..cells).map(|_| UnsafeCell::new(0)).collect(),
                flag: Flag::new(),
                bell: loom::sync::Mutex::new(false),
                rung: loom::sync::Condvar::new(),
                dropped: AtomicUsize::new(0),
            })
        }

        fn set(&self, index: u32, value: usize) {
            // SAFETY: (S5) what loom is here to check.
            self.memory[index as usize].with_mut(|place| unsafe { *place = value });
        }

        fn get(&self, index: u32) -> usize {
            // SAFETY: (S5) what loom is here to check.
            self.memory[index as usize].with(|place| unsafe { *place })
        }

        fn notify(&self) {
            if self.flag.wake() {
                *super::super::sync::lock(&self.bell) = true;
                self.rung.notify_one();
            }
        }

        /// A sender's way: `None` when the driver is closed, or full.
        fn send(&self, value: usize) -> Option<u32> {
            let index = self.cells.claim()?;
            self.set(index, value);
            if self.cells.start(index) {
                self.notify();
                return Some(index);
            }
            assert_eq!(self.get(index), value, "what was not sent is handed back");
            self.cells.release(index);
            None
        }

        fn wait(&self, index: u32) -> usize {
            loop {
                let waiter = Waiter::Thread(thread::current());
                if self.cells.poll(index, waiter).0 {
                    let outcome = self.get(index);
                    self.cells.release(index);
                    return outcome;
                }
                thread::park();
            }
        }

        fn abandon(&self, index: u32) {
            if self.cells.abandon(index) {
                self.get(index);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                self.cells.release(index);
            } else {
                self.notify();
            }
        }

        fn sleep(&self) {
            if self.flag.prepare_sleep() {
                let mut rung = super::super::sync::lock(&self.bell);
                while !*rung {
                    rung = self.rung.wait(rung).unwrap();
                }
                *rung = false;
            }
            self.flag.awake();
        }

        /// The driver's thread, until so many operations have come to their end: it doubles
        /// numbers.
        fn serve(&self, mut left: usize) {
            let mut unwanted = Vec::new();
            while left > 0 {
                while let Some(message) = self.cells.receive() {
                    match message {
                        Message::Start(index) => {
                            self.set(index, self.get(index) * 2);
                            match self.cells.complete(index) {
                                Delivery::Handed(waiter) => {
                                    left -= 1;
                                    if let Some(waiter) = waiter {
                                        waiter.wake();
                                    }
                                }
                                Delivery::Unwanted => unwanted.push(index),
                            }
                        }
                        Message::Abandon(index) => {
                            // A message that reached a later operation would not be found here.
                            let at = unwanted.iter().position(|other| *other == index);
                            unwanted.swap_remove(at.expect("its completion found it abandoned"));
                            self.get(index);
                            self.dropped.fetch_add(1, Ordering::Relaxed);
                            self.cells.release(index);
                            left -= 1;
                        }
                        Message::Woken(_) => unreachable!("nobody sends it here"),
                    }
                }
                if left > 0 {
                    self.sleep();
                }
            }
            assert!(unwanted.is_empty());
        }
    }

    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(f);
    }

    /// I14, S5: two senders, each gets its own result, and nobody sleeps for ever.
    #[test]
    fn loom_each_gets_its_own() {
        model(|| {
            let shared = Model::new(2);
            let server = {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(2))
            };
            let other = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let index = shared.send(5).unwrap();
                    assert_eq!(shared.wait(index), 10);
                })
            };
            let index = shared.send(7).unwrap();
            assert_eq!(shared.wait(index), 14);
            other.join().unwrap();
            server.join().unwrap();
        });
    }

    /// S5: a result that nobody wants is dropped once, by one of the two, and its cell serves the
    /// next operation, which no old message reaches.
    #[test]
    fn loom_abandoned_and_used_again() {
        model(|| {
            let shared = Model::new(1);
            let server = {
                let shared = shared.clone();
                thread::spawn(move || {
                    // The first operation ends here only if its completion came after the drop.
                    shared.serve(2);
                })
            };
            let index = shared.send(3).unwrap();
            shared.abandon(index);
            let next = loop {
                match shared.send(4) {
                    Some(index) => break index,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(shared.wait(next), 8);
            server.join().unwrap();
            assert_eq!(shared.dropped.load(Ordering::Relaxed), 1);
        });
    }

    /// Closing is one step: a sender's operation is served, or handed back.
    #[test]
    fn loom_closed_or_served() {
        model(|| {
            let shared = Model::new(1);
            let sender = {
                let shared = shared.clone();
                thread::spawn(move || shared.send(6).map(|index| shared.wait(index)))
            };
            shared.cells.close();
            // The end of the driver's thread: what was accepted is there to be received.
            let mut served = false;
            while let Some(Message::Start(index)) = shared.cells.receive() {
                shared.set(index, shared.get(index) * 2);
                if let Delivery::Handed(Some(waiter)) = shared.cells.complete(index) {
                    waiter.wake();
                }
                served = true;
            }
            assert_eq!(sender.join().unwrap(), served.then_some(12));
        });
    }
}
