//! What the two ends do: each sends all it has, and receives until the end.

use super::relay::LANES;
use crate::pattern::Pattern;
use crate::random::Random;
use crate::tasks::Tasks;
use completeio_driver::buf::IntoInner;
use completeio_driver::driver::{Fd, OwnedFd};
use completeio_driver::op::{Deadline, Exact, Op, Recv, Send, Shutdown};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net;
use std::rc::Rc;
use std::time::Duration;

/// What a buffer holds before it is received into.
const FILL: u8 = 0xee;

/// What became of the bytes from one end to the other.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What the kernel took, and what was received.
    pub(super) sent: Cell<usize>,
    pub(super) received: Cell<usize>,
    /// How sending ended, unless all was sent; how receiving ended, but by the end of the stream.
    pub(super) not_sent: Cell<Option<ErrorKind>>,
    pub(super) not_received: Cell<Option<ErrorKind>>,
}

/// The plan of both ends.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) seed: u64,
    pub(super) lens: [usize; LANES],
    pub(super) lanes: [Lane; LANES],
}

impl Talk {
    pub(super) fn draw(random: &mut Random) -> Self {
        let mut len = || {
            let longest = [100, 3000, 40_000, 400_000][random.below(4)];
            1 + random.below(longest)
        };
        Self {
            lens: [len(), len()],
            seed: random.word(),
            lanes: Default::default(),
        }
    }

    fn pattern(&self, lane: usize) -> Pattern {
        Pattern(self.seed + lane as u64)
    }
}

/// One end: sends on the lane of its number, receives on the other, and closes.
pub(super) async fn speak(tasks: Tasks, talk: Rc<Talk>, end: usize, fd: OwnedFd) {
    let socket = tasks.attach(&fd);
    let open = Rc::new(fd);
    let sending = open.clone();
    let mut sends = End {
        tasks: tasks.clone(),
        socket,
        random: Random(talk.seed ^ end as u64),
    };
    let mut receives = End {
        tasks: tasks.clone(),
        socket,
        random: Random(talk.seed ^ (2 + end as u64)),
    };
    let sent = talk.clone();
    tasks.spawn(async move {
        sends.send(&sent, end).await;
        close(&sends.tasks, sending).await;
    });
    receives.receive(&talk, 1 - end).await;
    close(&tasks, open).await;
}

/// The last of both closes it.
async fn close(tasks: &Tasks, fd: Rc<OwnedFd>) {
    if let Some(fd) = Rc::into_inner(fd) {
        tasks.close(fd).await;
    }
}

/// How an operation is stopped, if it has not completed by then.
#[derive(Debug, Clone, Copy)]
enum Stop {
    None,
    /// It is cancelled after so many turns.
    Cancel(usize),
    Deadline(Duration),
}

struct End {
    tasks: Tasks,
    socket: Fd,
    random: Random,
}

impl End {
    async fn send(&mut self, talk: &Talk, lane: usize) {
        let (len, pattern) = (talk.lens[lane], talk.pattern(lane));
        let Lane { sent, not_sent, .. } = &talk.lanes[lane];
        while sent.get() < len {
            let size = self.size().min(len - sent.get());
            let send = Send::new(self.socket, pattern.bytes(sent.get(), size));
            let (end, n) = if self.random.one_in(2) {
                let (end, op) = self.perform(Exact::new(send)).await;
                end.expect_whole(size);
                (end, op.advanced())
            } else {
                (self.perform(send).await.0, 0)
            };
            sent.set(sent.get() + end.moved(n));
            if let Ended::Failed(e) = end {
                return not_sent.set(Some(e));
            }
        }
        let shutdown = Shutdown::new(self.socket, net::Shutdown::Write);
        // It may have been reset meanwhile.
        let _ = self.tasks.attempt(shutdown).await;
    }

    async fn receive(&mut self, talk: &Talk, lane: usize) {
        let pattern = talk.pattern(lane);
        let Lane {
            received,
            not_received,
            ..
        } = &talk.lanes[lane];
        loop {
            let size = self.size();
            let receive = Recv::new(self.socket, vec![FILL; size].into_boxed_slice());
            let (end, n, bytes) = if self.random.one_in(2) {
                let (end, op) = self.perform(Exact::new(receive)).await;
                end.expect_whole(size);
                (end, op.advanced(), op.into_inner())
            } else {
                let (end, op) = self.perform(receive).await;
                (end, 0, op.into_inner())
            };
            let n = end.moved(n);
            let at = received.get();
            let wrong = pattern.first_wrong(at, &bytes[..n]);
            ensure!(
                wrong.is_none(),
                "lane {lane}: a wrong byte at {at} + {wrong:?}"
            );
            let is_untouched = bytes[n..].iter().all(|byte| *byte == FILL);
            ensure!(
                is_untouched,
                "lane {lane}: {n} bytes at {at}, and others behind them"
            );
            received.set(at + n);
            match end {
                Ended::Done(0) | Ended::Failed(ErrorKind::UnexpectedEof) => return,
                Ended::Failed(e) => return not_received.set(Some(e)),
                Ended::Done(_) | Ended::Stopped => {}
            }
        }
    }

    fn size(&mut self) -> usize {
        let longest = [10, 1000, 50_000][self.random.below(3)];
        1 + self.random.below(longest)
    }

    /// An operation that may be stopped on its way; it goes on behind what it has moved.
    async fn perform<O>(&mut self, op: O) -> (Ended, O)
    where
        O: Op<Output = usize> + 'static,
    {
        let stop = match self.random.below(8) {
            0 => Stop::Cancel(self.random.below(4)),
            1 => Stop::Deadline(Duration::from_micros(1 << self.random.below(12))),
            _ => Stop::None,
        };
        let (result, op) = match stop {
            Stop::None => self.tasks.attempt(op).await,
            Stop::Cancel(turns) => {
                let flight = self.tasks.start(op).await;
                for _ in 0..turns {
                    self.tasks.next_turn().await;
                }
                flight.cancel().await;
                flight.await
            }
            Stop::Deadline(after) => {
                let (result, op) = self.tasks.attempt(Deadline::after(op, after)).await;
                (result, op.into_inner())
            }
        };
        (Ended::of(result, stop), op)
    }
}

/// How an operation has ended.
enum Ended {
    Done(usize),
    /// As it was told to.
    Stopped,
    Failed(ErrorKind),
}

impl Ended {
    fn of(result: io::Result<usize>, stop: Stop) -> Self {
        let error = match result {
            Ok(n) => return Self::Done(n),
            Err(error) => error,
        };
        let is_stopped = match stop {
            Stop::None => false,
            Stop::Cancel(_) => error.raw_os_error() == Some(libc::ECANCELED),
            Stop::Deadline(_) => error.kind() == ErrorKind::TimedOut,
        };
        if is_stopped {
            Self::Stopped
        } else {
            Self::Failed(error.kind())
        }
    }

    /// How many bytes it has moved; `advanced` before it was over.
    fn moved(&self, advanced: usize) -> usize {
        match self {
            Self::Done(n) => *n,
            Self::Stopped | Self::Failed(_) => advanced,
        }
    }

    /// An exact operation moves all, or fails.
    fn expect_whole(&self, size: usize) {
        let is_whole = !matches!(self, Self::Done(n) if *n != size);
        ensure!(is_whole, "an exact operation was done, and not all {size}");
    }
}
