//! The load of the echo servers: a process of its own, which checks every byte that comes back.
//!
//! Each connection has one request on its way. Made on io_uring with multishot receives and sends
//! that post nothing, so that it is faster than the servers.

use crate::echo::REQUEST_BYTES;
use crate::measure;
use crate::raw::{self, Ring};
use io_uring::squeue::Flags;
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{cqueue, opcode};
use std::alloc::{self, Layout};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The hidden subcommand.
pub(crate) const COMMAND: &str = "load";

/// A running load.
pub(crate) struct Load {
    process: Child,
}

impl Load {
    /// Starts the process, which connects at once and sends `requests`, or until it is stopped.
    pub(crate) fn start(
        listener: &TcpListener,
        connections: usize,
        requests: Option<u64>,
    ) -> Result<Self, String> {
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let process = Command::new(program)
            .arg(COMMAND)
            .args([port.to_string(), connections.to_string()])
            .args(requests.map(|n| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the load does not start: {e}"))?;
        Ok(Self { process })
    }

    /// Asks it to end, and returns how many answers it has verified.
    pub(crate) fn stop(mut self) -> Result<u64, String> {
        drop(self.process.stdin.take());
        let mut said = String::new();
        let mut out = self.process.stdout.take().expect("it was piped");
        out.read_to_string(&mut said).map_err(|e| e.to_string())?;
        let status = self.process.wait().map_err(|e| e.to_string())?;
        let verified = said.trim().parse();
        verified.map_err(|_| format!("the load failed: {status}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Only does something when it was not stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes that are sent: a sequence that is longer than a request and fits no power of two.
const PATTERN_BYTES: usize = 65_521;

/// User data beside the numbers of connections.
const STOP: u64 = 1 << 62;
const SEND: u64 = 1 << 63;

struct Connection {
    socket: TcpStream,
    /// Where in the pattern its first byte is.
    start: usize,
    sent: usize,
    received: usize,
}

impl Connection {
    fn at(&self, bytes: usize) -> usize {
        (self.start + bytes) % PATTERN_BYTES
    }
}

/// `load PORT CONNECTIONS [REQUESTS]`: without a number, until the standard input is closed.
pub(crate) fn main(args: &[String]) -> io::Result<()> {
    measure::pin(measure::cpus().1);
    let number = |i: usize| args.get(i).and_then(|arg| arg.parse::<u64>().ok());
    let usage = || io::Error::other("load PORT CONNECTIONS [REQUESTS]");
    let port = number(0)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or_else(usage)?;
    let count = number(1).ok_or_else(usage)?;
    let requests = number(2).unwrap_or(u64::MAX);
    let mut connections = Vec::new();
    for i in 0..usize::try_from(count).map_err(io::Error::other)? {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        connections.push(Connection {
            socket,
            start: i * 977,
            sent: 0,
            received: 0,
        });
    }
    println!("{}", run(connections, requests)?);
    Ok(())
}

/// Bytes that do not repeat soon (xorshift64), with a request's length of the start at the end.
fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(PATTERN_BYTES)
    .collect();
    bytes.extend_from_within(..BUFFER_BYTES);
    bytes
}

fn run(mut connections: Vec<Connection>, requests: u64) -> io::Result<u64> {
    let pattern = pattern();
    let mut buffers = Buffers::new();
    let mut io = raw::ring()?;
    let mut ring = Ring::new(&mut io)?;
    buffers.register(&ring)?;
    let mut started = 0;
    let mut verified = 0;
    let mut stopping = false;
    let send = |ring: &mut Ring<'_>, i: usize, connection: &mut Connection| {
        let bytes = &pattern[connection.at(connection.sent)..][..REQUEST_BYTES];
        let len = u32::try_from(bytes.len()).expect("a small constant");
        let entry = opcode::Send::new(Fd(connection.socket.as_raw_fd()), bytes.as_ptr(), len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(Flags::SKIP_SUCCESS);
        // SAFETY: the pattern outlives the ring.
        unsafe { ring.push(&entry.user_data(SEND | i as u64)) };
        connection.sent += REQUEST_BYTES;
    };
    let receive = |ring: &mut Ring<'_>, i: usize, connection: &Connection| {
        let fd = Fd(connection.socket.as_raw_fd());
        // SAFETY: it takes its buffers from the registered ones, which outlive the ring.
        unsafe { ring.push(&opcode::RecvMulti::new(fd, 0).build().user_data(i as u64)) };
    };
    let poll = opcode::PollAdd::new(Fd(0), libc::POLLIN.unsigned_abs().into()).build();
    // SAFETY: a poll points nowhere.
    unsafe { ring.push(&poll.user_data(STOP)) };
    for (i, connection) in connections.iter_mut().enumerate() {
        receive(&mut ring, i, connection);
        if started < requests {
            started += 1;
            send(&mut ring, i, connection);
        }
    }
    let stops =
        |stopping, verified, started| verified == started && (stopping || verified == requests);
    while !stops(stopping, verified, started) {
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            if cqe.user_data() == STOP {
                stopping = true;
                continue;
            }
            assert_eq!(cqe.user_data() & SEND, 0, "a send failed: {}", cqe.result());
            let i = usize::try_from(cqe.user_data()).expect("the number of a connection");
            let connection = &mut connections[i];
            let Ok(len) = usize::try_from(cqe.result()) else {
                assert_eq!(cqe.result(), -libc::ENOBUFS, "a receive failed");
                receive(&mut ring, i, connection);
                continue;
            };
            assert_ne!(len, 0, "the server closed connection {i}");
            let id = cqueue::buffer_select(cqe.flags()).expect("bytes come in a buffer");
            let expected = &pattern[connection.at(connection.received)..][..len];
            assert!(
                buffers.bytes(id, len) == expected,
                "connection {i}: not what was sent"
            );
            buffers.give_back(id);
            connection.received += len;
            if !cqueue::more(cqe.flags()) {
                receive(&mut ring, i, connection);
            }
            if connection.received == connection.sent {
                verified += 1;
                if !stopping && started < requests {
                    started += 1;
                    send(&mut ring, i, connection);
                }
            }
        }
        buffers.publish();
    }
    Ok(verified)
}

const BUFFERS: u16 = 2048;
const BUFFER_BYTES: usize = 256;

/// Buffers that the kernel chooses from when bytes come, and the ring that names them.
struct Buffers {
    ring: NonNull<BufRingEntry>,
    memory: Vec<[u8; BUFFER_BYTES]>,
    tail: u16,
}

impl Buffers {
    fn layout() -> Layout {
        let ring = Layout::array::<BufRingEntry>(BUFFERS.into());
        ring.and_then(|ring| ring.align_to(4096)).expect("32 KiB")
    }

    fn new() -> Self {
        // SAFETY: the layout has a size.
        let ring = unsafe { alloc::alloc_zeroed(Self::layout()) };
        let ring = NonNull::new(ring.cast()).expect("32 KiB of memory");
        Self {
            ring,
            memory: vec![[0; BUFFER_BYTES]; BUFFERS.into()],
            tail: 0,
        }
    }

    fn register(&mut self, ring: &Ring<'_>) -> io::Result<()> {
        let address = self.ring.as_ptr().expose_provenance() as u64;
        // SAFETY: the memory is as large as said; this value is dropped after the ring.
        unsafe {
            ring.submitter
                .register_buf_ring_with_flags(address, BUFFERS, 0, 0)
        }?;
        for id in 0..BUFFERS {
            self.give_back(id);
        }
        self.publish();
        Ok(())
    }

    fn bytes(&self, id: u16, len: usize) -> &[u8] {
        &self.memory[usize::from(id)][..len]
    }

    fn give_back(&mut self, id: u16) {
        let place = usize::from(self.tail % BUFFERS);
        // SAFETY: within the ring; the kernel reads it after `publish` only.
        let mut entry = unsafe { self.ring.add(place) };
        // SAFETY: as above, and zeroed when it was allocated.
        let entry = unsafe { entry.as_mut() };
        let buffer = &mut self.memory[usize::from(id)];
        entry.set_addr(buffer.as_mut_ptr().expose_provenance() as u64);
        entry.set_len(u32::try_from(BUFFER_BYTES).expect("a small constant"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the ring is allocated; the tail lies in its first entry.
        let tail = unsafe { BufRingEntry::tail(self.ring.as_ptr()) };
        // SAFETY: aligned, allocated, and touched by atomics only, here and in the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { alloc::dealloc(self.ring.as_ptr().cast(), Self::layout()) };
    }
}
