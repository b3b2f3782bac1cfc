//! Connects, sends, receives the same, ends in one of the ways of `life`, and begins anew.

use super::life::{End, Life, Lull, Round};
use super::{OPTIONS, Shared, reset};
use crate::pattern::Pattern;
use crate::tasks::Tasks;
use completeio_driver::buf::IntoInner;
use completeio_driver::driver::{CompleteIo, Driver, Fd, OwnedFd, Stats};
use completeio_driver::op::{Connect, Deadline, Exact, Recv, Send, Shutdown, Socket};
use std::io;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// So many lives has each place at least, and so many all of them before it is measured.
const LIVES_MIN: u64 = 3;
const LIVES_BEFORE: u64 = 2;
/// A connection is there by then.
const CONNECTED: Duration = Duration::from_secs(60);
/// Deadlines that nothing but themselves ends.
const SHORT: Duration = Duration::from_millis(1);

/// Where the clients connect to.
pub(super) struct Targets {
    pub(super) addresses: Vec<SocketAddr>,
    /// One with a full backlog.
    pub(super) full: SocketAddr,
}

/// Keeps so many connections, until it is said that no more are wanted.
pub(super) fn run(
    driver: Driver<'static>,
    shared: &Arc<Shared>,
    targets: Targets,
    is_steady: Sender<()>,
) -> Stats {
    let tasks = Tasks::new(driver);
    let targets = Rc::new(targets);
    let is_steady = Rc::new(is_steady);
    for place in 0..shared.connections as u64 {
        let client = Client {
            tasks: tasks.clone(),
            shared: shared.clone(),
            targets: targets.clone(),
            is_steady: is_steady.clone(),
        };
        tasks.spawn(async move { client.stay(place).await });
    }
    tasks.run();
    tasks.session(|session| session.driver.stats())
}

struct Client {
    tasks: Tasks,
    shared: Arc<Shared>,
    targets: Rc<Targets>,
    is_steady: Rc<Sender<()>>,
}

impl Client {
    /// One life after the other.
    async fn stay(&self, place: u64) {
        for n in 0.. {
            if n >= LIVES_MIN && self.shared.is_enough.load(Ordering::Acquire) {
                return;
            }
            let id = place + n * self.shared.connections as u64;
            let life = Life::draw(self.shared.seed, id);
            if let Some(cancelled) = life.in_vain {
                self.connect_in_vain(cancelled).await;
            }
            let (fd, socket) = self.socket().await;
            let to =
                self.targets.addresses[usize::try_from(id).unwrap() % self.targets.addresses.len()];
            let connect = Deadline::after(Connect::new(socket, to).options(OPTIONS), CONNECTED);
            self.tasks.perform("connect", connect).await;
            if !life.rounds.is_empty() {
                Talk {
                    client: self,
                    life: &life,
                    socket,
                    pattern: Pattern(id),
                    at: 0,
                }
                .all()
                .await;
            }
            if matches!(life.end, End::Reset | End::ResetUnread | End::UnsaidReset) {
                reset(&self.tasks, socket).await;
            }
            self.tasks.close(fd).await;
            self.has_lived();
        }
    }

    /// Counts a life. With so many of them the places differ as much as they ever will.
    fn has_lived(&self) {
        let Shared {
            counts,
            connections,
            ..
        } = &*self.shared;
        let lives = counts.lives.fetch_add(1, Ordering::Relaxed) + 1;
        if lives == LIVES_BEFORE * *connections as u64 {
            ensure!(self.is_steady.send(()).is_ok(), "nobody measures");
        }
    }

    async fn socket(&self) -> (OwnedFd, Fd) {
        let socket = Socket::stream(&self.targets.full.into());
        let fd = self.tasks.perform("socket", socket).await;
        let socket = self.tasks.attach(&fd);
        (fd, socket)
    }

    /// Nobody accepts: there may be a place in the backlog, seldom.
    async fn connect_in_vain(&self, cancelled: bool) {
        let (fd, socket) = self.socket().await;
        let connect = Connect::new(socket, self.targets.full);
        let (connected, is_expected): (_, fn(&io::Error) -> bool) = if cancelled {
            let flight = self.tasks.start(connect).await;
            self.tasks.next_turn().await;
            flight.cancel().await;
            (flight.await.0, was_cancelled)
        } else {
            let connect = Deadline::after(connect, SHORT);
            (self.tasks.attempt(connect).await.0, was_late)
        };
        let is_expected = connected.as_ref().map_or_else(is_expected, |()| true);
        ensure!(
            is_expected,
            "a connect to a full listener gave {connected:?}"
        );
        self.tasks.close(fd).await;
    }
}

fn was_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

fn was_late(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
}

/// What is said on one connection.
struct Talk<'c> {
    client: &'c Client,
    life: &'c Life,
    socket: Fd,
    pattern: Pattern,
    /// How many bytes came back.
    at: usize,
}

impl Talk<'_> {
    async fn all(&mut self) {
        let tasks = &self.client.tasks;
        let id = self.life.id.to_le_bytes();
        tasks
            .perform("a number", Exact::new(Send::new(self.socket, id)))
            .await;
        let receive = Exact::new(Recv::new(self.socket, [0; 8]));
        let (received, op) = tasks.attempt(receive).await;
        ensure!(
            received.is_ok() && *op.buf() == id,
            "{}: {received:?}",
            self.life.id
        );

        let (last, rounds) = self.life.rounds.split_last().expect("one at least");
        for round in rounds {
            self.round(*round).await;
        }
        match self.life.end {
            End::ResetUnread => self.send(last.len).await,
            End::HalfClosed => {
                self.send(last.len).await;
                let shutdown = Shutdown::new(self.socket, net::Shutdown::Write);
                tasks.perform("shutdown", shutdown).await;
                self.receive(*last).await;
                self.expect_end().await;
            }
            End::ResetByServer => {
                self.send(last.len).await;
                self.expect_reset().await;
            }
            End::ClosedByServer => {
                self.round(*last).await;
                self.expect_end().await;
            }
            End::Closed | End::Reset | End::Unsaid | End::UnsaidReset => self.round(*last).await,
        }
    }

    async fn round(&mut self, round: Round) {
        self.lull(round.lull).await;
        let start = Instant::now();
        self.send(round.len).await;
        self.receive(round).await;
        let counts = &self.client.shared.counts;
        counts.round_trips.add(start.elapsed());
    }

    /// The next bytes: few enough for the kernel to take them at once.
    async fn send(&self, len: usize) {
        let bytes = self.pattern.bytes(self.at, len);
        let send = Exact::new(Send::new(self.socket, bytes));
        self.client.tasks.perform("send", send).await;
    }

    async fn receive(&mut self, round: Round) {
        let (id, end) = (self.life.id, self.at + round.len);
        while self.at < end {
            let n = self.receive_some(end - self.at, round.exact).await;
            let n = n.unwrap_or_else(|e| crate::fail(format_args!("{id}: {e}")));
            ensure!(n > 0, "{id}: the end after {} of {end}", self.at);
        }
    }

    /// At most so many bytes, or exactly so many.
    async fn receive_some(&mut self, len: usize, exact: bool) -> io::Result<usize> {
        let tasks = &self.client.tasks;
        let receive = Recv::new(self.socket, vec![0; len].into_boxed_slice());
        let (received, bytes) = if exact {
            let (received, op) = tasks.attempt(Exact::new(receive)).await;
            (received, op.into_inner())
        } else {
            let (received, op) = tasks.attempt(receive).await;
            (received, op.into_inner())
        };
        let n = received?;
        let wrong = self.pattern.first_wrong(self.at, &bytes[..n]);
        let (id, at) = (self.life.id, self.at);
        ensure!(wrong.is_none(), "{id}: a wrong byte at {at} + {wrong:?}");
        self.at += n;
        Ok(n)
    }

    /// All came, and no more.
    async fn expect_end(&mut self) {
        let came = self.receive_some(1, false).await;
        let Life { id, end, .. } = self.life;
        ensure!(matches!(came, Ok(0)), "{id}, {end:?}: {came:?}");
    }

    /// The server's reset throws away what it has not sent.
    async fn expect_reset(&mut self) {
        let reset = loop {
            match self.receive_some(4096, false).await {
                Ok(n) if n > 0 => {}
                other => break other,
            }
        };
        let is_reset = matches!(&reset, Err(e) if e.kind() == io::ErrorKind::ConnectionReset);
        ensure!(is_reset, "{}: {reset:?}, and no reset", self.life.id);
    }

    /// What is begun while there is nothing to receive moves nothing.
    async fn lull(&self, lull: Lull) {
        let tasks = &self.client.tasks;
        let receive = Recv::new(self.socket, [0; 1]);
        let (received, is_expected): (_, fn(&io::Error) -> bool) = match lull {
            Lull::None => return,
            Lull::Late => {
                let late = tasks.attempt(Deadline::after(receive, SHORT)).await.0;
                (late, was_late)
            }
            Lull::Cancelled { by_fd, submitted } => {
                let flight = tasks.start(receive).await;
                if submitted {
                    tasks.next_turn().await;
                }
                if by_fd {
                    let fd = self.socket;
                    while tasks
                        .session(|session| session.driver.try_cancel_fd(&fd))
                        .is_err()
                    {
                        tasks.next_turn().await;
                    }
                } else {
                    flight.cancel().await;
                }
                (flight.await.0, was_cancelled)
            }
        };
        let is_expected = received.as_ref().is_err_and(is_expected);
        ensure!(is_expected, "{}, {lull:?}: {received:?}", self.life.id);
    }
}
