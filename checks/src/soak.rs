//! I40: thousands of connections for minutes, and memory and descriptors stay flat.
//!
//! A server on one driver sends back what clients on a second one say (`server`, `client`), over
//! loopback. What becomes of each connection is drawn from its number (`life`): closes, resets,
//! half-closes, receives that are cancelled or come to their deadlines, connects to a full
//! listener. Each byte is known by its place; each operation completes once, by the sessions'
//! ledgers.
//!
//! Each backend has a process of its own (`soak-one`), so that it is judged by its own memory, and
//! a crash is a failure like any other.

mod client;
mod life;
mod samples;
mod server;

use self::client::Targets;
use self::samples::{Histogram, Sample, Tolerance, compare};
use self::server::Server;
use crate::process::checking;
use crate::progress::Progress;
use crate::summary::Summary;
use crate::tasks::Tasks;
use crate::{Options, expect_one_thread, limits, open_fds, session, watch};
use completeio_driver::driver::{Backend, Driver, Fd, Stats};
use completeio_driver::op::{Linger, SetSockOpt, SockOpt, SocketOptions};
use std::env;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The server's addresses, 127.0.0.1 and so on: each has source ports of its own.
const ADDRESSES: u8 = 16;
/// Descriptors beside those of the connections.
const OTHERS: usize = 256;
/// So often it is measured, unless that is more than every 200 ms.
const SAMPLES: u32 = 60;
const INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Until the measuring begins, and from its end until all connections are gone.
const EDGES_S: u32 = 600;
/// Of the descriptors that leaked, so many are told.
const LEAKS_TOLD: usize = 8;
/// The checks of a backend: the lines that its process ends with.
const CHECKS: u64 = 5;

/// Of each connection: nothing waits for an acknowledgement.
const OPTIONS: SocketOptions = SocketOptions::new().no_delay(true);

const MEMORY: Tolerance = Tolerance {
    percent: 5,
    and: 4096,
};
const DESCRIPTORS: Tolerance = Tolerance {
    percent: 2,
    and: 16,
};

/// What both sides and who measures them share.
struct Shared {
    seed: u64,
    connections: usize,
    /// No new connections are wanted; no more will come.
    is_enough: AtomicBool,
    is_over: AtomicBool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    /// Connections that have ended.
    lives: AtomicU64,
    /// What the server received.
    bytes: AtomicU64,
    round_trips: Histogram,
}

/// Each backend in turn, in processes of their own.
pub(crate) fn run(options: &Options) {
    watch(0); // Each has its own alarm.
    let backends = [Backend::IoUring, Backend::Readiness];
    let seed = options.seed.unwrap_or(1);
    println!("{} connections, seed {seed}", options.connections);
    let mut summary = Summary::default();
    for backend in backends {
        if let Err(e) = Driver::builder().backend(backend).build() {
            summary.skip(CHECKS, format_args!("{backend}: {e}"));
            continue;
        }
        let minutes = options.minutes / backends.len() as f64;
        let arguments = [
            ("--backend", backend.to_string()),
            ("--minutes", minutes.to_string()),
            ("--connections", options.connections.to_string()),
            ("--seed", seed.to_string()),
        ];
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("soak-one")
            .args(arguments.iter().flat_map(|(name, value)| [*name, value]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ended = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            ended = Summary::of_line(&line);
            if ended.is_none() {
                println!("{line}");
            }
        }
        let status = child.wait().unwrap();
        match ended {
            Some(checks) if status.success() || checks.failed > 0 => summary += checks,
            _ => summary.verdict(false, format_args!("{backend}: {status}")),
        }
    }
    summary.end();
}

/// One backend, in this process.
pub(crate) fn run_one(options: &Options) {
    let steady = Duration::from_secs_f64(options.minutes * 60.0);
    watch(EDGES_S + u32::try_from(steady.as_secs()).unwrap());
    let driver = options.builder().build();
    let name = driver.map_or_else(|e| session::no_driver(&e), |driver| driver.backend());
    let mut summary = Summary::default();
    checking(name.to_string(), summary);
    let before = open_fds();
    let shared = Arc::new(Shared {
        seed: options.seed.unwrap_or(1),
        connections: fitting(options.connections, before.len()),
        is_enough: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let (samples, operations) = soak(options, &shared, steady);
    expect_one_thread();

    let Counts { lives, bytes, .. } = &shared.counts;
    let (lives, bytes) = (lives.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    summary.verdict(
        true,
        format_args!("{name}: bytes: {bytes} came as they went, on {lives} connections"),
    );
    summary.verdict(
        true,
        format_args!("{name}: each of {operations} operations completed once, none is in flight"),
    );
    let after = open_fds();
    let other: Vec<_> = after.iter().filter(|fd| !before.contains(fd)).collect();
    summary.verdict(
        after == before,
        format_args!(
            "{name}: descriptors: {} in the end, {} before; others: {:?}",
            after.len(),
            before.len(),
            &other[..other.len().min(LEAKS_TOLD)],
        ),
    );
    let flat: [(_, fn(&Sample) -> _, _); 2] = [
        ("memory in KiB", |sample| sample.memory, MEMORY),
        ("descriptors", |sample| sample.descriptors, DESCRIPTORS),
    ];
    for (what, of, tolerance) in flat {
        match compare(&samples, of, &tolerance) {
            Some((is_flat, told)) => {
                summary.verdict(is_flat, format_args!("{name}: {what}: {told}"));
            }
            None => summary.skip(1, format_args!("{name}: {what}: too short to be compared")),
        }
    }
    summary.end();
}

/// How many connections there are descriptors for: both ends are in this process.
fn fitting(connections: usize, open: usize) -> usize {
    let wanted = connections * 2 + open + OTHERS;
    let granted = usize::try_from(limits::raise_descriptors(wanted as u64)).unwrap();
    if granted >= wanted {
        return connections;
    }
    let fit = granted.saturating_sub(open + OTHERS) / 2;
    println!("{connections} connections do not fit into {granted} descriptors: {fit} are made");
    ensure!(fit > 0, "{granted} descriptors are too few");
    fit
}

/// Makes the connections, measures them, and ends them. How many operations were that?
fn soak(options: &Options, shared: &Arc<Shared>, steady: Duration) -> (Vec<Sample>, u64) {
    let (full, _filling) = full_listener();
    let (up, is_up) = mpsc::channel();
    let server = spawn(options, shared, move |driver, shared| {
        server::run(driver, shared, &up)
    });
    let Ok(Server {
        addresses,
        notifier,
    }) = is_up.recv()
    else {
        crate::fail("there is no server");
    };
    let targets = Targets { addresses, full };
    let (up, is_steady) = mpsc::channel();
    let client = spawn(options, shared, move |driver, shared| {
        client::run(driver, &shared, targets, up)
    });
    let samples = measure(shared, steady, &is_steady);
    shared.is_enough.store(true, Ordering::Release);
    let client = join(client);
    shared.is_over.store(true, Ordering::Release);
    notifier.notify();
    let server = join(server);
    (samples, client.completed + server.completed)
}

/// A side of the connections: its own thread, and its own driver.
fn spawn(
    options: &Options,
    shared: &Arc<Shared>,
    side: impl FnOnce(Driver<'static>, Arc<Shared>) -> Stats + Send + 'static,
) -> JoinHandle<Stats> {
    let in_flight = shared.connections * 2 + OTHERS;
    let builder = options
        .builder()
        .entries(4096)
        .cancels(4096)
        .completion_entries(in_flight.clamp(4096, 1 << 16))
        .in_flight(in_flight)
        .descriptors(shared.connections * 2 + OTHERS);
    let shared = shared.clone();
    thread::spawn(move || {
        let driver = builder.build();
        side(driver.unwrap_or_else(|e| session::no_driver(&e)), shared)
    })
}

fn join(side: JoinHandle<Stats>) -> Stats {
    side.join()
        .unwrap_or_else(|_| crate::fail("a side has panicked"))
}

/// A listener whose backlog is full, and what fills it.
fn full_listener() -> (SocketAddr, Vec<OwnedFd>) {
    let any = SocketAddr::from((Ipv4Addr::new(127, 0, 0, ADDRESSES + 1), 0));
    let listener = TcpListener::bind(any).unwrap();
    // SAFETY: takes two numbers.
    let failed = unsafe { libc::listen(listener.as_raw_fd(), 0) } != 0;
    ensure!(!failed, "listen: {}", io::Error::last_os_error());
    let address = listener.local_addr().unwrap();
    // One has room in a backlog of 0.
    let client = TcpStream::connect(address).unwrap();
    (address, vec![listener.into(), client.into()])
}

/// Waits until the places have lived a while, and measures from then on.
fn measure(shared: &Shared, steady: Duration, is_steady: &Receiver<()>) -> Vec<Sample> {
    ensure!(is_steady.recv().is_ok(), "the clients have ended");
    let interval = (steady / SAMPLES).max(INTERVAL_MIN);
    let mut progress = Progress::begin();
    let mut samples = Vec::new();
    let start = Instant::now();
    shared.counts.round_trips.take();
    while start.elapsed() + interval <= steady {
        let waited = is_steady.recv_timeout(interval);
        ensure!(
            waited == Err(RecvTimeoutError::Timeout),
            "the clients have ended"
        );
        let sample = Sample::take();
        let (round_trips, half, most) = shared.counts.round_trips.take();
        progress.tell(format_args!(
            "{:.0?} of {steady:.0?}: {sample}, {round_trips} round trips in {interval:.1?}, \
             half of them in {half:.1?}, 99 % in {most:.1?}",
            start.elapsed()
        ));
        samples.push(sample);
    }
    progress.pause();
    samples
}

/// What closes the socket from now on resets its connection.
async fn reset(tasks: &Tasks, socket: Fd) {
    let linger = SetSockOpt::new(socket, SockOpt::LINGER, Linger::RESET);
    tasks.perform("linger", linger).await;
}
