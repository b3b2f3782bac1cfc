//! Requests and their answers, of which every byte is checked.
//!
//! On io_uring with multishot receives and sends that post nothing, so that it is faster than the
//! servers.

use super::Window;
use super::buffers::Buffers;
use super::connect::connect;
use crate::raw::{self, Ring};
use bench::child::{Args, Goal, Outcome};
use bench::histogram::Histogram;
use bench::machine::{ProcessClock, Random, now_ns};
use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use std::collections::VecDeque;
use std::iter::repeat_with;
use std::os::fd::{AsRawFd, OwnedFd};

/// The bytes that are sent: a sequence that fits no power of two.
const PATTERN_BYTES: usize = 65_521;

/// Marks the user data of a send.
const SEND: u64 = 1 << 63;

struct Connection {
    socket: OwnedFd,
    /// Where in the pattern its first byte is.
    start: usize,
    sent: usize,
    received: usize,
    /// When the requests began that are on their way.
    begun_ns: VecDeque<u64>,
}

impl Connection {
    fn at(&self, bytes: usize) -> usize {
        (self.start + bytes) % PATTERN_BYTES
    }
}

/// `connections=N` with `depth=N` requests of `bytes=N` on their way each: so many of them
/// (`ops=N`), or until the process `server=ID` was measured for long enough.
pub(super) fn run(args: &Args) -> Result<Outcome, String> {
    let (bytes, depth) = (args.need::<usize>("bytes")?, args.need::<usize>("depth")?);
    let count: usize = args.need("connections")?;
    let connection = |i| {
        Ok(Connection {
            socket: connect(args)?,
            start: i * 977,
            sent: 0,
            received: 0,
            begun_ns: VecDeque::with_capacity(depth),
        })
    };
    let connections = (0..count).map(connection).collect::<Result<_, String>>()?;
    let (requests, window) = match args.goal()? {
        Goal::Ops(ops) => (ops, None),
        Goal::Time { warm_up, window } => {
            let server = ProcessClock::of(args.need("server")?).map_err(|e| e.to_string())?;
            (u64::MAX, Some(Window::new(server, warm_up, window)))
        }
    };
    Exchange {
        pattern: pattern(bytes * depth),
        bytes,
        depth,
        requests,
        started: 0,
        verified: 0,
        latency: Histogram::default(),
    }
    .run(connections, window)
}

/// Bytes that do not repeat soon, with as many as are sent or received at once of the start at the
/// end.
fn pattern(at_once: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    let byte = || random.number().to_le_bytes()[3];
    let mut bytes: Vec<u8> = repeat_with(byte).take(PATTERN_BYTES).collect();
    bytes.extend_from_within(..at_once.max(buffer_bytes(at_once)));
    bytes
}

/// The room for what is received at once.
fn buffer_bytes(at_once: usize) -> usize {
    at_once.clamp(256, 1 << 15)
}

struct Exchange {
    pattern: Vec<u8>,
    bytes: usize,
    depth: usize,
    requests: u64,
    started: u64,
    verified: u64,
    latency: Histogram,
}

impl Exchange {
    fn run(
        mut self,
        mut connections: Vec<Connection>,
        mut window: Option<Window>,
    ) -> Result<Outcome, String> {
        let mut buffers = Buffers::new(buffer_bytes(self.bytes * self.depth));
        let mut io = raw::ring().map_err(|e| e.to_string())?;
        let mut ring = Ring::new(&mut io).map_err(|e| e.to_string())?;
        buffers.register(&ring).map_err(|e| e.to_string())?;
        let mut found = Outcome::new();
        for (i, connection) in connections.iter_mut().enumerate() {
            ring.make_room();
            receive(&mut ring, i, connection);
            self.send(&mut ring, i, connection, self.depth, now_ns());
        }
        loop {
            ring.enter(1);
            let now = now_ns();
            while let Some(cqe) = ring.cq.next() {
                if cqe.user_data() & SEND != 0 {
                    return Err(format!("a send failed: error {}", -cqe.result()));
                }
                let i = usize::try_from(cqe.user_data()).expect("the number of a connection");
                let connection = &mut connections[i];
                let len = match usize::try_from(cqe.result()) {
                    Ok(0) => return Err(format!("the server closed connection {i}")),
                    Ok(len) => len,
                    Err(_) if cqe.result() == -libc::ENOBUFS => {
                        receive(&mut ring, i, connection);
                        continue;
                    }
                    Err(_) => return Err(format!("a receive failed: error {}", -cqe.result())),
                };
                let id = cqueue::buffer_select(cqe.flags()).expect("bytes come in a buffer");
                let expected = &self.pattern[connection.at(connection.received)..][..len];
                if buffers.bytes(id, len) != expected {
                    return Err(format!("connection {i}: not what was sent"));
                }
                buffers.give_back(id);
                if !cqueue::more(cqe.flags()) {
                    receive(&mut ring, i, connection);
                }
                let answers = self.verify(connection, len, now);
                self.send(&mut ring, i, connection, answers, now);
            }
            buffers.publish();
            if let Some(measured) = &mut window {
                let warm = measured.is_warm();
                if !measured.goes_on(now, self.verified)? {
                    found = self.outcome(measured);
                    window = None;
                    // What is on its way comes back before the connections are closed.
                    self.requests = self.started;
                } else if warm != measured.is_warm() {
                    self.latency = Histogram::default();
                }
            }
            if self.verified == self.requests {
                return Ok(found);
            }
        }
    }

    /// Counts what has come; returns how many answers that completes.
    fn verify(&mut self, connection: &mut Connection, len: usize, now_ns: u64) -> usize {
        let before = connection.received / self.bytes;
        connection.received += len;
        let answers = connection.received / self.bytes - before;
        for begun_ns in connection.begun_ns.drain(..answers) {
            self.latency.add(now_ns.saturating_sub(begun_ns));
        }
        self.verified += answers as u64;
        answers
    }

    /// Sends so many requests in one piece, or what is left of all.
    fn send(
        &mut self,
        ring: &mut Ring<'_>,
        i: usize,
        connection: &mut Connection,
        requests: usize,
        now_ns: u64,
    ) {
        let left = self.requests - self.started;
        let requests = requests.min(usize::try_from(left).unwrap_or(usize::MAX));
        if requests == 0 {
            return;
        }
        let bytes = &self.pattern[connection.at(connection.sent)..][..requests * self.bytes];
        let len = u32::try_from(bytes.len()).expect("requests are small");
        let entry = opcode::Send::new(Fd(connection.socket.as_raw_fd()), bytes.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(Flags::SKIP_SUCCESS);
        // SAFETY: the pattern is there longer than the ring.
        unsafe { ring.push(&entry.user_data(SEND | i as u64)) };
        connection.sent += bytes.len();
        connection.begun_ns.extend((0..requests).map(|_| now_ns));
        self.started += requests as u64;
    }

    fn outcome(&self, window: &mut Window) -> Outcome {
        let mut found = window.found.take().expect("it is over");
        found.insert("latency_p50_ns".to_owned(), self.latency.quantile(0.5));
        found.insert("latency_p99_ns".to_owned(), self.latency.quantile(0.99));
        found
    }
}

fn receive(ring: &mut Ring<'_>, i: usize, connection: &Connection) {
    let fd = Fd(connection.socket.as_raw_fd());
    // SAFETY: it takes its buffers from the registered ones, which are there longer than the ring.
    unsafe { ring.push(&opcode::RecvMulti::new(fd, 0).build().user_data(i as u64)) };
}
