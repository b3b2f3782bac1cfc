//! I1: an operation that completes and is cancelled at the same time does one of the two, once.

use crate::kit;
use crate::ledger::{Cx, Ledger, Lent};
#[cfg(unix)]
use crate::region::{self, Region};
use completeio_driver::driver::{AsRawFd, CompleteIo, Entry, FixedFd};
use completeio_driver::op::{Accept, Connect, Op, Raw, Read, ReadAt, Recv, Timeout, Write};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

contract! {
    everywhere: [
        timeout_or_cancelled,
        read_or_cancelled,
    ],
    on_host: [
        recv_or_cancelled,
        fixed_recv_or_cancelled,
        accept_or_cancelled,
        read_of_a_pipe_or_cancelled,
        stream_read_or_cancelled,
        stream_write_or_cancelled,
        connect_or_cancelled,
    ],
    on_unix: [
        read_on_a_worker_or_cancelled,
    ],
}

/// On Windows a wait of a few milliseconds may take a tick of the system's, and the watchdog is as
/// patient as elsewhere.
pub(crate) const ROUNDS: usize = if cfg!(any(debug_assertions, windows)) {
    1_000
} else {
    10_000
};
const STOP: usize = usize::MAX;

/// A thread that acts once for each call of `go`, at the same time as its caller.
pub(crate) struct Rival {
    round: Arc<AtomicUsize>,
    acted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Rival {
    pub(crate) fn new(mut act: impl FnMut() + Send + 'static) -> Self {
        let round = Arc::new(AtomicUsize::new(0));
        let acted = Arc::new(AtomicUsize::new(0));
        let (next, done) = (round.clone(), acted.clone());
        let thread = thread::spawn(move || {
            for expected in 1.. {
                let mut looked = 0;
                loop {
                    match next.load(Ordering::Acquire) {
                        STOP => return,
                        n if n == expected => break,
                        // Soon, and else it leaves the processor to whoever it waits for.
                        _ if looked < 100 => thread::yield_now(),
                        _ => thread::park(),
                    }
                    looked += 1;
                }
                act();
                done.store(expected, Ordering::Release);
            }
        });
        Self {
            round,
            acted,
            thread: Some(thread),
        }
    }

    /// Starts the next act.
    pub(crate) fn go(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
        self.unpark();
    }

    fn unpark(&self) {
        self.thread.as_ref().unwrap().thread().unpark();
    }

    /// Waits until it was done.
    pub(crate) fn wait(&self) {
        let thread = self.thread.as_ref().unwrap();
        while self.acted.load(Ordering::Acquire) != self.round.load(Ordering::Acquire) {
            assert!(!thread.is_finished(), "the rival has failed");
            thread::yield_now();
        }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.round.store(STOP, Ordering::Release);
        self.unpark();
        let _ = self.thread.take().unwrap().join();
    }
}

/// Pushes, lets the rival go, cancels, and takes the one entry: in a third of the rounds all in one
/// turn, else after the operation was handed over, with all kinds of delays.
pub(crate) fn round<O: Op + 'static>(
    l: &mut Ledger,
    op: Lent<O>,
    round: usize,
    rival: impl Fn(),
) -> Entry {
    l.push(op, round);
    let mut entry = None;
    if round % 3 != 0 {
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
    }
    rival();
    for _ in 0..round * 7 % 64 * 8 {
        std::hint::spin_loop();
    }
    l.try_cancel(round).unwrap();
    let entry = entry.unwrap_or_else(|| l.one());
    assert_eq!(entry.user_data(), round);
    assert!(!entry.more());
    entry
}

/// Whether the entry is of a cancelled operation; else it must have succeeded.
pub(crate) fn is_cancelled(entry: &Entry) -> bool {
    match entry.raw_os_error() {
        Some(kit::code::ECANCELED) => true,
        _ => {
            assert!(entry.result().is_ok(), "{entry:?}");
            false
        }
    }
}

fn recv_rounds(
    l: &mut Ledger,
    ours: &kit::Stream,
    theirs: kit::Stream,
    op: Lent<impl Op + 'static>,
) {
    let rival = Rival::new(move || (&theirs).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let entry = round(l, op, n, || rival.go());
        let cancelled = is_cancelled(&entry);
        rival.wait();
        // The byte is either in the buffer or still in the socket.
        if cancelled {
            assert_eq!((&*ours).read(&mut [0; 8]).unwrap(), 1);
        } else {
            assert_eq!(entry.result().unwrap(), 1);
        }
    }
    assert_eq!(kit::arrived(ours), []);
}

fn recv_or_cancelled(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = Recv::new(l.at(&ours), [0; 8]);
    let op = l.lend(op);
    recv_rounds(&mut l, &ours, theirs, op);
}

fn fixed_recv_or_cancelled(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd: FixedFd = l.register_fd(ours.as_raw_fd(), 3).unwrap();
    let op = l.lend(Recv::new(fd, [0; 8]));
    recv_rounds(&mut l, &ours, theirs, op);
}

fn accept_or_cancelled(cx: &mut Cx) {
    let (listener, addr) = kit::local_listener();
    let mut l = cx.ledger();
    let op = Accept::new(l.at(&listener));
    let op = l.lend(op);
    let mut clients = Vec::new();
    let rival = Rival::new(move || {
        clients.clear();
        clients.push(kit::connect(&addr));
    });
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        let cancelled = is_cancelled(&entry);
        rival.wait();
        if cancelled {
            listener.accept().unwrap();
        } else {
            l.finish(op, entry).unwrap();
        }
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "no connection is left");
}

fn timeout_or_cancelled(cx: &mut Cx) {
    let mut l = cx.ledger();
    let op = l.lend(Timeout::after(Duration::ZERO));
    for n in 0..ROUNDS {
        *l.op(op) = Timeout::after(Duration::from_micros(n as u64 % 40));
        let entry = round(&mut l, op, n, || {});
        let errno = entry.raw_os_error();
        assert!(
            matches!(errno, Some(kit::code::ETIME | kit::code::ECANCELED)),
            "{entry:?}"
        );
    }
}

fn read_or_cancelled(cx: &mut Cx) {
    let file = cx.file(&[7; 16384]);
    let mut l = cx.ledger();
    let op = ReadAt::new(l.at(&file), 0, vec![0; 16384].into_boxed_slice());
    let op = l.lend(op);
    for n in 0..ROUNDS {
        l.op(op).buf_mut().fill(0);
        let entry = round(&mut l, op, n, || {});
        if !is_cancelled(&entry) {
            assert_eq!(l.finish(op, entry).unwrap(), 16384);
            assert!(l.op(op).buf().iter().all(|byte| *byte == 7));
        }
    }
}

/// On readiness, a pipe cannot be read at an offset.
fn read_of_a_pipe_or_cancelled(cx: &mut Cx) {
    if !cx.is_io_uring() {
        return;
    }
    let (mut reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    let op = ReadAt::new(l.at(&reader), 0, [0; 8]);
    let op = l.lend(op);
    let rival = Rival::new(move || (&writer).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        if is_cancelled(&entry) {
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
        } else {
            assert_eq!(l.finish(op, entry).unwrap(), 1);
        }
    }
}

fn stream_read_or_cancelled(cx: &mut Cx) {
    let (mut reader, writer) = kit::pipe();
    let mut l = cx.ledger();
    let op = Read::new(l.at(&reader), [0; 8]);
    let op = l.lend(op);
    let rival = Rival::new(move || (&writer).write_all(&[7]).unwrap());
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        if is_cancelled(&entry) {
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
        } else {
            assert_eq!(l.finish(op, entry).unwrap(), 1);
        }
    }
}

/// What was cancelled was not written.
fn stream_write_or_cancelled(cx: &mut Cx) {
    const ROOM: usize = 65_536;
    let (reader, writer) = kit::pipe();
    (&writer).write_all(&[0; ROOM]).unwrap();
    let mut l = cx.ledger();
    let op = l.lend(Write::new(kit::plain(&writer), [7; ROOM]));
    let from = kit::plain(&reader);
    let rival = Rival::new(move || {
        let mut reader = File::from(from.try_clone_to_owned().unwrap());
        reader.read_exact(&mut [0; ROOM]).unwrap();
    });
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        if is_cancelled(&entry) {
            (&writer).write_all(&[0; ROOM]).unwrap();
        } else {
            let written = l.finish(op, entry).unwrap();
            (&writer).write_all(&vec![0; ROOM - written]).unwrap();
        }
    }
}

/// A read that io_uring gives to a worker of its own.
#[cfg(unix)]
fn read_on_a_worker_or_cancelled(cx: &mut Cx) {
    if !cx.is_io_uring() {
        return;
    }
    let file = kit::file(&[7; 16384]);
    let buffer = Region::new(16384);
    let mut l = cx.ledger();
    let op = l.lend(region::read_on_a_worker(&file, 0, buffer.lend(0..16384)));
    for n in 0..ROUNDS {
        buffer.fill(0);
        let entry = round::<Raw>(&mut l, op, n, || {});
        if !is_cancelled(&entry) {
            assert_eq!(entry.into_result().unwrap(), 16384);
            buffer.assert_is(7);
        }
    }
}

fn connect_or_cancelled(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    listener.set_nonblocking(true).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let op = l.lend(Connect::new(fd, addr));
    for n in 0..ROUNDS {
        let socket = kit::tcp_socket();
        kit::reset_on_close(&socket);
        let fd = l.at(&socket);
        *l.op(op) = Connect::new(fd, addr);
        let entry = round(&mut l, op, n, || {});
        is_cancelled(&entry);
        l.detach(fd);
        drop(socket);
        while listener.accept().is_ok() {}
    }
}
