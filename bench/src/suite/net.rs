//! Servers.

use super::{Case, Effort, ms, timed};
use crate::job::Job;
use bench::child::Args;
use std::env::temp_dir;
use std::process;

const METRICS: &[&str] = &[
    "cpu_ns_per_op",
    "ops_per_s",
    "busy",
    "latency_p50_ns",
    "latency_p99_ns",
];

/// Whoever has sockets.
pub(super) const SUBJECTS: [&str; 19] = [
    "raw",
    "epoll",
    "driver",
    "driver/epoll",
    "runtime",
    "runtime/epoll",
    "tokio",
    "monoio",
    "monoio+",
    "compio-0.19",
    "compio-0.19+",
    "compio-0.20",
    "compio-0.20+",
    "tokio-uring",
    "tokio-uring+",
    "glommio",
    "a10",
    "a10+",
    "completeio-0.1",
];

/// The same without the loop on epoll.
fn without_epoll() -> Vec<&'static str> {
    SUBJECTS
        .into_iter()
        .filter(|name| *name != "epoll")
        .collect()
}

/// So many connections, with so many requests of so many bytes on their way at a time.
#[derive(Clone, Copy)]
struct Size {
    connections: usize,
    bytes: usize,
    depth: usize,
}

const fn size(connections: usize, bytes: usize, depth: usize) -> Size {
    Size {
        connections,
        bytes,
        depth,
    }
}

/// Room for all that comes at once; less than a page for small requests, for a buffer is then no
/// more.
fn room(size: Size) -> usize {
    (size.bytes * size.depth).clamp(1024, 1 << 14) + 64
}

fn served(server: Args, size: Size, ends: bool) -> Job {
    let load = Args::new(&server.workload, "")
        .with("connections", size.connections)
        .with("bytes", size.bytes)
        .with("depth", size.depth);
    let server = server.with("buffer", room(size));
    Job::Served { server, load, ends }
}

/// An echo by TCP.
pub(super) fn echo_job(connections: usize) -> Job {
    tcp(size(connections, 64, 1))
}

fn tcp(size: Size) -> Job {
    let server = Args::new("echo", "").with("connections", size.connections);
    served(server, size, true)
}

pub(super) fn echo(effort: Effort) -> Vec<Case> {
    exchange("echo", &SUBJECTS, effort)
}

/// The same of those who wait by epoll, held against the loop by hand.
pub(super) fn on_epoll(effort: Effort) -> Vec<Case> {
    let subjects = ["epoll", "driver/epoll", "runtime/epoll", "tokio"];
    exchange("epoll", &subjects, effort)
}

fn exchange(workload: &'static str, subjects: &[&str], effort: Effort) -> Vec<Case> {
    const SIZES: [Size; 7] = [
        size(1, 64, 1),
        size(50, 64, 1),
        size(1000, 64, 1),
        size(1, 1 << 14, 1),
        size(50, 1 << 14, 1),
        size(1000, 1 << 14, 1),
        size(50, 64, 16),
    ];
    let (rounds, warm_up, window) = effort.pick((5, ms(100), ms(300)), (3, ms(40), ms(120)));
    let sizes = effort.pick(&SIZES[..], &SIZES[1..2]);
    let case = |size: &Size| {
        let run = timed(tcp(*size), warm_up, window);
        Case::new(workload, METRICS, subjects, rounds, run)
            .param("connections", size.connections)
            .param("bytes", size.bytes)
            .param("depth", size.depth)
            .telling((size.connections, size.bytes, size.depth) == (50, 64, 1))
    };
    sizes.iter().map(case).collect()
}

pub(super) fn turn(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["cpu_ns_per_op", "allocations_per_op"];
    let (rounds, window) = effort.pick((7, ms(200)), (3, ms(50)));
    let case = |connections: &usize| {
        let job = Job::Alone(Args::new("turn", "").with("connections", connections));
        let run = timed(job, ms(30), window);
        Case::new("turn", METRICS, &SUBJECTS, rounds, run)
            .param("requests", connections)
            .telling(*connections == 50)
    };
    effort
        .pick(&[1, 50, 500][..], &[50])
        .iter()
        .map(case)
        .collect()
}

pub(super) fn unix(effort: Effort) -> Vec<Case> {
    let (rounds, warm_up, window) = effort.pick((5, ms(100), ms(250)), (1, ms(40), ms(120)));
    let case = |connections: usize| {
        let path = temp_dir().join(format!("completeio-bench-{}.sock", process::id()));
        let Job::Served { server, load, ends } = echo_job(connections) else {
            unreachable!("an echo is served")
        };
        let job = Job::Served {
            server: server.with("path", path.display()),
            load: load.with("path", path.display()),
            ends,
        };
        let run = timed(job, warm_up, window);
        Case::new("unix", METRICS, &SUBJECTS, rounds, run).param("connections", connections)
    };
    vec![case(50)]
}

pub(super) fn udp(effort: Effort) -> Vec<Case> {
    const CLIENTS: usize = 32;
    let (rounds, warm_up, window) = effort.pick((5, ms(100), ms(250)), (1, ms(40), ms(120)));
    let job = served(Args::new("udp", ""), size(CLIENTS, 64, 1), false);
    let run = timed(job, warm_up, window);
    vec![Case::new("udp", METRICS, &without_epoll(), rounds, run).param("clients", CLIENTS)]
}

pub(super) fn accept(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["cpu_ns_per_op", "ops_per_s", "busy"];
    let (rounds, warm_up, window) = effort.pick((5, ms(100), ms(250)), (1, ms(40), ms(120)));
    let job = Job::Served {
        server: Args::new("accept", ""),
        load: Args::new("accept", ""),
        ends: false,
    };
    let run = timed(job, warm_up, window);
    vec![Case::new("accept", METRICS, &without_epoll(), rounds, run)]
}
