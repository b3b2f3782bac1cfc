//! Echo over loopback TCP: a server on one CPU, its load on another.

use crate::load::Load;
use crate::measure::{self, Clock, Run, elapsed_ns};
use crate::{epoll, raw, runtime};
use completeio_driver::driver::{Backend, CompleteIo, Driver, Entry, Fd};
use completeio_driver::op::{Op, Recv, Send};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const CONNECTIONS: [usize; 3] = [1, 50, 1000];
/// The size of a request, which is the size of its answer.
pub(crate) const REQUEST_BYTES: usize = 64;
/// The room that a server has for what it receives at once.
pub(crate) const BUFFER_BYTES: usize = 4096;

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Raw,
    Driver(Backend),
    Epoll,
    Tokio,
}

impl Peer {
    /// All but the reference.
    pub(crate) const OTHERS: [Self; 4] = [
        Self::Driver(Backend::IoUring),
        Self::Driver(Backend::Readiness),
        Self::Epoll,
        Self::Tokio,
    ];
    /// Those that wait by epoll, without the one by hand.
    pub(crate) const ON_EPOLL: [Self; 2] = [Self::Driver(Backend::Readiness), Self::Tokio];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Driver(Backend::IoUring) => "io_uring",
            Self::Driver(_) => "readiness",
            Self::Epoll => "epoll by hand",
            Self::Tokio => "tokio",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        std::iter::once(Self::Raw)
            .chain(Self::OTHERS)
            .find(|peer| peer.name() == name)
    }

    /// Why it cannot run here.
    pub(crate) fn why_not(self) -> Option<String> {
        match self {
            Self::Raw | Self::Epoll | Self::Tokio => None,
            Self::Driver(backend) => why_not(backend),
        }
    }
}

/// Why there is no driver on this backend.
pub(crate) fn why_not(backend: Backend) -> Option<String> {
    let build = move || Driver::builder().backend(backend).build().map(drop);
    let built = thread::spawn(build)
        .join()
        .expect("building a driver does not panic");
    built.err().map(|error| error.to_string())
}

/// What a server has done until its last connection closed.
pub(crate) struct Served {
    pub(crate) requests: u64,
    /// Calls of `io_uring_enter` or `epoll_wait`, where the server knows.
    pub(crate) enters: Option<u64>,
}

/// Where a server shows its count to the thread that measures it.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    #[inline]
    pub(crate) fn show(&self, requests: u64) {
        self.0.store(requests, Ordering::Relaxed);
    }

    /// For one thread.
    #[inline]
    pub(crate) fn show_one_more(&self) {
        self.show(self.requests() + 1);
    }

    fn requests(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves `connections` for the time of `window`, after `warm_up`.
pub(crate) fn run(
    peer: Peer,
    connections: usize,
    warm_up: Duration,
    window: Duration,
) -> Result<Run, String> {
    let gauge = Gauge::default();
    let (send_clock, clock) = mpsc::channel();
    let listener = listener()?;
    let load = Load::start(&listener, connections, None)?;
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            measure::pin(measure::cpus().0);
            let sockets = accept_all(&listener, connections)?;
            let _ = send_clock.send(Clock::of_this_thread());
            drop(send_clock);
            serve(peer, &sockets, &gauge)
        });
        let measured = watch(&clock, &gauge, warm_up, window);
        let verified = load.stop();
        let served = server
            .join()
            .map_err(|_| "the server panicked".to_owned())??;
        let mut run = measured?;
        let verified = verified?;
        if verified != served.requests {
            return Err(format!("{} served, {verified} verified", served.requests));
        }
        let enters = served.enters.map(|enters| enters as f64);
        run.enters_per_op = enters.map(|enters| enters / served.requests as f64);
        Ok(run)
    })
}

/// Serves exactly `requests`; for counting instructions. Returns the number of enters.
pub(crate) fn serve_exactly(
    peer: Peer,
    connections: usize,
    requests: u64,
) -> Result<Option<u64>, String> {
    let listener = listener()?;
    let load = Load::start(&listener, connections, Some(requests))?;
    let sockets = accept_all(&listener, connections)?;
    let served = serve(peer, &sockets, &Gauge::default())?;
    let verified = load.stop()?;
    if served.requests != requests || verified != requests {
        return Err(format!(
            "{requests} asked, {} served, {verified} verified",
            served.requests
        ));
    }
    Ok(served.enters)
}

/// Measures a server while it runs: its thread's CPU time, and the requests that it shows.
fn watch(
    clock: &Receiver<Clock>,
    gauge: &Gauge,
    warm_up: Duration,
    window: Duration,
) -> Result<Run, String> {
    let ended = || "the server ended too early".to_owned();
    let clock = clock.recv().map_err(|_| ended())?;
    thread::sleep(warm_up);
    let (wall, cpu_start, requests) = (Instant::now(), clock.now_ns(), gauge.requests());
    thread::sleep(window);
    let (cpu_end, ops) = (clock.now_ns(), gauge.requests() - requests);
    let cpu_ns = cpu_end
        .zip(cpu_start)
        .map(|(end, start)| end - start)
        .ok_or_else(ended)?;
    if ops == 0 {
        return Err("the server stood still".to_owned());
    }
    Ok(Run {
        ops,
        cpu_ns,
        wall_ns: elapsed_ns(wall),
        enters_per_op: None,
    })
}

/// A listener that keeps all connections of a load waiting without dropping one.
fn listener() -> Result<TcpListener, String> {
    const BACKLOG: libc::c_int = 4096;
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("bind: {e}"))?;
    // SAFETY: touches no memory of ours.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } != 0 {
        return Err(format!("listen: {}", io::Error::last_os_error()));
    }
    Ok(listener)
}

fn accept_all(listener: &TcpListener, connections: usize) -> Result<Vec<OwnedFd>, String> {
    const PATIENCE_MS: libc::c_int = 10_000;
    let accept = || {
        let mut fd = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the kernel reads and writes one `pollfd`.
        if unsafe { libc::poll(&raw mut fd, 1, PATIENCE_MS) } != 1 {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        Ok(OwnedFd::from(socket))
    };
    (0..connections)
        .map(|_| accept().map_err(|e| format!("accept: {e}")))
        .collect()
}

fn serve(peer: Peer, sockets: &[OwnedFd], gauge: &Gauge) -> Result<Served, String> {
    let served = match peer {
        Peer::Raw => raw::echo(sockets, gauge),
        Peer::Epoll => epoll::echo(sockets, gauge),
        Peer::Tokio => runtime::echo(sockets, gauge),
        Peer::Driver(backend) => driver_echo(backend, sockets, gauge),
    };
    served.map_err(|e| format!("{}: {e}", peer.name()))
}

/// One connection of the driver's server; one of its operations is in flight at a time.
struct Connection {
    recv: Recv<Fd, Vec<u8>>,
    send: Send<Fd, Vec<u8>>,
}

/// The same loop as [`raw::echo`], on the driver.
fn driver_echo(backend: Backend, sockets: &[OwnedFd], gauge: &Gauge) -> io::Result<Served> {
    let mut connections: Vec<Connection> = Vec::with_capacity(sockets.len());
    let mut entries: Vec<Entry> = Vec::with_capacity(sockets.len());
    let mut driver = Driver::builder()
        .backend(backend)
        .build()
        .map_err(io::Error::other)?;
    for socket in sockets {
        let fd = driver.attach(socket.as_raw_fd())?;
        connections.push(Connection {
            recv: Recv::new(fd, Vec::with_capacity(BUFFER_BYTES)),
            send: Send::new(fd, Vec::new()),
        });
    }
    let first = NonNull::new(connections.as_mut_ptr()).expect("a vector has an address");
    let at = |i: usize| {
        // SAFETY: `i` is below the number of connections.
        let mut connection = unsafe { first.add(i) };
        // SAFETY: called when none of its operations is in flight; `connections` itself is not
        // touched until the driver is gone.
        unsafe { connection.as_mut() }
    };
    for i in 0..sockets.len() {
        push(driver.try_push(&mut at(i).recv, i << 1));
    }
    let mut open = sockets.len();
    let mut requests = 0;
    while open > 0 {
        // SAFETY: operations in flight are left alone; the sockets outlive the driver.
        unsafe { driver.submit(None, &mut entries)? };
        for entry in entries.drain(..) {
            let i = entry.user_data() >> 1;
            let connection = at(i);
            if entry.user_data() & 1 == 1 {
                let sent = entry.into_result()?;
                assert_eq!(sent, connection.send.buf().len(), "one request always fits");
                connection.send.buf_mut().clear();
                std::mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                push(driver.try_push(&mut connection.recv, i << 1));
                continue;
            }
            // SAFETY: the last entry of this very operation.
            match unsafe { connection.recv.finish(entry) } {
                Ok(1..) => {
                    requests += 1;
                    std::mem::swap(connection.recv.buf_mut(), connection.send.buf_mut());
                    push(driver.try_push(&mut connection.send, i << 1 | 1));
                }
                Ok(0) => open -= 1,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => open -= 1,
                Err(e) => return Err(e),
            }
        }
        gauge.show(requests);
    }
    Ok(Served {
        requests,
        enters: Some(driver.stats().enters),
    })
}

#[inline]
fn push<T>(pushed: Result<(), T>) {
    assert!(
        pushed.is_ok(),
        "each connection has one operation, and the queue has room for all"
    );
}
