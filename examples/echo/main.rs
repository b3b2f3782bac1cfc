//! A TCP echo server, and the clients that load it, each on a thread and a driver of its own.
//!
//! ```text
//! cargo run --release --example echo
//! cargo run --release --example echo -- --connections 2000 --backend readiness
//! cargo run --release --example echo -- --listen 127.0.0.1:7777
//! ```
//!
//! Shows connections at fixed places whose operations are lent again and again (`lane.rs`), an
//! accept that does not spin when descriptors run out (`server.rs`), and a notifier (here). The
//! allocator counts: once all connections stand, nothing is allocated. Exit status 1 if something
//! was, or if an echo was wrong.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod lane;
mod server;

use client::Client;
use common::Args;
use completeio::driver::{Backend, Notifier};
use server::Server;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

const HELP: &str = "\
usage: echo [--connections N] [--seconds S] [--round-trips N] [--size BYTES] [--backend NAME]
       echo --listen ADDRESS [--connections N] [--exit-after N] [--backend NAME]
Measures a TCP echo on completeio, or serves one for other clients.
  --connections N   at the same time (64)
  --seconds S       how long to measure (3)
  --round-trips N   or until so many were made
  --size BYTES      of a message, up to 65536 (64)
  --backend NAME    io_uring, readiness or iocp
  --listen ADDRESS  no clients of our own; port 0 takes a free one
  --exit-after N    end when so many connections were closed";

fn main() -> ExitCode {
    let options = Options::new(Args::new(HELP));
    let result = match options.listen {
        Some(address) => listen(&options, address),
        None => measure(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    connections: usize,
    seconds: f64,
    round_trips: u64,
    size: usize,
    backend: Option<Backend>,
    listen: Option<SocketAddr>,
    exit_after: Option<u64>,
}

impl Options {
    fn new(mut args: Args) -> Self {
        let options = Self {
            connections: args.value("--connections").unwrap_or(64),
            seconds: args.value("--seconds").unwrap_or(3.0),
            round_trips: args.value("--round-trips").unwrap_or(u64::MAX),
            size: args.value("--size").unwrap_or(64),
            backend: args
                .value("--backend")
                .map(|name: String| match name.as_str() {
                    "io_uring" => Backend::IoUring,
                    "readiness" => Backend::Readiness,
                    "iocp" => Backend::Iocp,
                    _ => common::wrong("--backend is io_uring, readiness or iocp"),
                }),
            listen: args.value("--listen"),
            exit_after: args.value("--exit-after"),
        };
        args.end();
        let sensible = (1..=100_000).contains(&options.connections)
            && (0.01..=1e6).contains(&options.seconds)
            && (1..=65536).contains(&options.size);
        if !sensible {
            common::wrong("--connections, --seconds or --size is out of range");
        }
        options
    }

    /// How many descriptors may be open at the same time.
    fn descriptors(&self) -> usize {
        let per_connection = if self.listen.is_some() { 1 } else { 2 };
        per_connection * self.connections + 64
    }
}

/// Serves until enough connections were closed, or for ever.
fn listen(options: &Options, address: SocketAddr) -> io::Result<bool> {
    raise_open_files(options.descriptors())?;
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    let address = listener.local_addr()?;
    let mut server = Server::new(options, listener)?;
    println!("listening on {address}");
    println!("backend: {}", server.lane.driver.backend());
    server.run(&AtomicBool::new(false), options.exit_after)?;
    println!("server: {}", server.lane);
    println!(
        "{} connections closed, {} failed",
        server.closed, server.failed
    );
    println!("{} times out of descriptors", server.pauses);
    Ok(true)
}

/// Runs a server and its clients.
fn measure(options: &Options) -> io::Result<bool> {
    let needed = options.descriptors();
    let allowed = raise_open_files(needed)?;
    if allowed < needed {
        let why = format!("{needed} open files needed, {allowed} allowed: raise `ulimit -Hn`");
        return Err(io::Error::other(why));
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = &AtomicBool::new(false);
    let (sender, receiver) = mpsc::sync_channel::<Notifier>(1);

    let (client, server) = thread::scope(|scope| {
        // A driver stays on its thread; what others may have of it is the notifier.
        let server = scope.spawn(move || -> io::Result<String> {
            let mut server = Server::new(options, listener)?;
            sender
                .send(server.lane.driver.notifier())
                .expect("the receiver waits");
            server.run(stop, None)?;
            Ok(server.lane.to_string())
        });
        let notifier = receiver.recv();
        let client = Client::new(options, address).and_then(|mut client| {
            client.run()?;
            Ok(client)
        });
        // Whatever came of that, the server is to end.
        stop.store(true, Ordering::Release);
        if let Ok(notifier) = notifier {
            notifier.notify();
        }
        let server = server.join().expect("the server does not panic");
        server.and_then(|server| Ok((client?, server)))
    })?;

    let Client {
        lane,
        time,
        round_trips,
        mismatches,
        failed,
        allocations,
        ..
    } = &client;
    let per_second = *round_trips as f64 / time.as_secs_f64();
    println!("backend: {}", lane.driver.backend());
    println!(
        "{} connections, {} bytes a message",
        options.connections, options.size
    );
    println!("{round_trips} round trips, {per_second:.0} per second");
    println!("server: {server}");
    println!("client: {lane}");
    println!("{mismatches} mismatches, {failed} failed connections");
    println!("{allocations} allocations since all were connected");
    Ok(*round_trips > 0 && *mismatches == 0 && *failed == 0 && *allocations == 0)
}

/// There is no such limit.
#[cfg(not(unix))]
fn raise_open_files(_needed: usize) -> io::Result<usize> {
    Ok(usize::MAX)
}

/// Raises the limit of open files to `needed`, or as far as it goes; returns what it is then.
#[cfg(unix)]
fn raise_open_files(needed: usize) -> io::Result<usize> {
    let needed = needed as libc::rlim_t;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit(2) writes one `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < needed {
        limit.rlim_cur = needed.min(limit.rlim_max);
        // SAFETY: setrlimit(2) reads one `rlimit`.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// The system's allocator, with a count.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(old, layout) }
    }
}
