//! Each workload once, by each of ours, with a few operations: that numbers come out, not which.
#![allow(clippy::print_stdout, reason = "a test says what it skips")]

use bench::child::{Args, Outcome, parse_line};
use bench::server::READY;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const DRIVERS: [&str; 2] = ["driver", "driver/epoll"];
const RUNTIMES: [&str; 2] = ["runtime", "runtime/epoll"];

/// A process, ended with this.
struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    fn start(args: &Args) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(args.to_command())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, out }
    }

    fn port(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it says something");
        let port = line.strip_prefix(READY).expect("it is ready");
        port.trim().to_owned()
    }

    /// What it has measured.
    fn end(mut self, what: &str) -> Outcome {
        drop(self.child.stdin.take());
        let lines = (&mut self.out).lines().map_while(Result::ok);
        let outcome = lines.filter_map(|line| parse_line(&line)).collect();
        assert!(self.child.wait().expect("it ends").success(), "{what}");
        outcome
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a backend is forbidden here.
fn skipped(peer: &str) -> bool {
    let nop = Args::new("nop", "driver").with("batch", 1).with("ops", 1);
    let needs_io_uring = !peer.ends_with("epoll");
    if needs_io_uring
        && !Process::start(&nop)
            .child
            .wait()
            .expect("it ends")
            .success()
    {
        println!("skipped: io_uring is forbidden here: {peer}");
        return true;
    }
    false
}

fn alone(args: Args, peers: &[&str]) {
    for peer in peers.iter().filter(|peer| !skipped(peer)) {
        let mut args = args.clone().with("ops", 200);
        args.peer = (*peer).to_owned();
        let what = args.to_command().join(" ");
        let outcome = Process::start(&args).end(&what);
        assert!(
            outcome["ops"] >= 200.0 && outcome["cpu_ns_per_op"] > 0.0,
            "{what}"
        );
    }
}

#[test]
fn nops() {
    let peers = [
        "raw",
        "driver",
        "queue",
        "scope",
        "driver/epoll",
        "queue/epoll",
        "scope/epoll",
    ];
    for batch in [1, 32] {
        alone(Args::new("nop", "").with("batch", batch), &peers);
    }
}

#[test]
fn turns() {
    let peers = [
        "raw",
        "epoll",
        DRIVERS[0],
        DRIVERS[1],
        RUNTIMES[0],
        RUNTIMES[1],
    ];
    alone(Args::new("turn", "").with("connections", 10), &peers);
}

#[test]
fn timers_and_tasks() {
    let peers = ["raw", RUNTIMES[0], RUNTIMES[1]];
    // More than the raw loop's ring holds.
    alone(Args::new("fire", "").with("tasks", 3000), &peers);
    for live in [1, 50] {
        alone(Args::new("cancel", "").with("live", live), &peers);
    }
    alone(Args::new("lateness", ""), &peers);
    alone(Args::new("spawn", ""), &RUNTIMES);
    alone(Args::new("yield", "").with("tasks", 3), &RUNTIMES);
}

#[test]
fn wake_ups() {
    for peer in RUNTIMES.into_iter().filter(|peer| !skipped(peer)) {
        let outcome = Process::start(&Args::new("wake", peer).with("ops", 20)).end(peer);
        assert!(
            outcome["ops"] >= 20.0 && outcome["wake_p50_ns"] > 0.0,
            "{peer}"
        );
        let outcome = Process::start(&Args::new("awake", peer).with("ops", 20)).end(peer);
        assert!(outcome["ops"] >= 20.0, "{peer}");
    }
}

/// A row of the suite's JSON: the median of a metric with 50 connections.
fn of_fifty(json: &str, peer: &str, metric: &str) -> Option<f64> {
    let named = [
        "\"connections\": 50".to_owned(),
        format!("\"peer\": \"{peer}\""),
        format!("\"metric\": \"{metric}\""),
    ];
    let row = json
        .lines()
        .find(|row| named.iter().all(|name| row.contains(name)))?;
    let (_, median) = row.split_once("\"median\": ")?;
    median.split(',').next()?.parse().ok()
}

/// A loop by hand makes a receive and a send for each echo, one more call when it is told to, and
/// one wait for many; by whatever counts calls here.
#[test]
fn a_call_more_is_counted() {
    if skipped("raw") {
        return;
    }
    let path = std::env::temp_dir().join(format!("completeio-bench-{}.json", std::process::id()));
    let status = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "syscalls",
            "--quick",
            "--peers",
            "epoll,epoll/call",
            "--json",
        ])
        .arg(&path)
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("it starts").success());
    let json = std::fs::read_to_string(&path).expect("it was written");
    std::fs::remove_file(&path).expect("it was written");
    let count = |peer, metric| of_fifty(&json, peer, metric);
    let Some(all) = count("epoll", "calls_per_op") else {
        println!("skipped: neither perf nor strace counts here");
        return;
    };
    for metric in ["recvfrom_per_op", "sendto_per_op"] {
        let each = count("epoll", metric).expect("it is counted like all");
        assert!((0.99..1.1).contains(&each), "{metric}: {each}");
    }
    // Both wait for one request at least.
    let more = count("epoll/call", "calls_per_op").expect("it is counted like the other");
    assert!((2.0..3.1).contains(&all), "{all} calls");
    assert!((3.0..4.1).contains(&more), "{more} calls, and {all}");
}

#[test]
fn files() {
    const BLOCK: usize = 4096;
    let path = std::env::temp_dir().join(format!("completeio-bench-smoke-{}", std::process::id()));
    let mut file = vec![0; 16 * BLOCK];
    for (block, offset) in file.chunks_mut(BLOCK).zip((0u64..).step_by(BLOCK)) {
        block[..8].copy_from_slice(&offset.to_le_bytes());
    }
    std::fs::write(&path, file).expect("there is a place for temporary files");
    for write in [0, 1] {
        let args = Args::new("file", "")
            .with("path", path.display())
            .with("block", BLOCK)
            .with("depth", 4)
            .with("write", write);
        let peers = ["raw", "raw/fixed", "driver", "driver/fixed", "driver/epoll"];
        alone(args.clone(), &peers);
        alone(args.with("sequential", 1), &RUNTIMES);
    }
    std::fs::remove_file(&path).expect("it was made above");
}

/// A server, and a load that ends when it has verified so many answers.
fn served(server: Args, connections: usize) {
    const OPS: u64 = 100;
    if skipped(&server.peer) || skipped("load") {
        return;
    }
    let what = server.to_command().join(" ");
    let load = Args::new(&server.workload, "load")
        .with("connections", connections)
        .with("bytes", 64)
        .with("depth", 2)
        .with("ops", OPS);
    let load = match server.get::<String>("path").expect("a path is any text") {
        Some(path) => load.with("path", path),
        None => load,
    };
    let mut process = Process::start(&server);
    let port = process.port();
    Process::start(&load.with("port", port)).end(&what);
    if server.workload == "echo" {
        let outcome = process.end(&what);
        assert!(outcome["allocations"] > 0.0, "{what}");
    }
}

#[test]
fn servers() {
    let path = std::env::temp_dir().join(format!("completeio-bench-{}.sock", std::process::id()));
    for peer in [
        "raw",
        "epoll",
        DRIVERS[0],
        DRIVERS[1],
        RUNTIMES[0],
        RUNTIMES[1],
    ] {
        let echo = Args::new("echo", peer)
            .with("connections", 4)
            .with("buffer", 1024);
        served(echo.clone(), 4);
        served(echo.with("path", path.display()), 4);
        // One that never listened has made none.
        let _ = std::fs::remove_file(&path);
        if peer != "epoll" {
            served(Args::new("udp", peer).with("buffer", 1024), 1);
        }
    }
}

#[test]
fn remote() {
    for backend in ["io_uring", "epoll"]
        .into_iter()
        .filter(|backend| !skipped(backend))
    {
        for work in ["nop", "read"] {
            for peer in ["alone", "1-client"] {
                let args = Args::new("remote", peer)
                    .with("backend", backend)
                    .with("work", work)
                    .with("in-flight", 2)
                    .with("ms", 5);
                let what = args.to_command().join(" ");
                assert!(Process::start(&args).end(&what)["ops"] > 0.0, "{what}");
            }
        }
    }
}
