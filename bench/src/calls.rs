//! System calls of a server's thread, counted by the kernel's tracepoints: nothing is slowed down,
//! so that the batches are what they are without counting.
//!
//! As for instructions, this program runs itself with an exact number of requests, twice.

use crate::callgrind::{COUNT_ECHO, last_line, supported};
use crate::echo;
use std::process::Command;

/// What is counted beside the sum of all.
pub(crate) const NAMES: [&str; 6] = [
    "recvfrom",
    "sendto",
    "epoll_wait",
    "epoll_pwait2",
    "io_uring_enter",
    "epoll_ctl",
];

/// How often a server makes each.
pub(crate) struct Calls {
    /// For each request.
    pub(crate) per_op: [f64; NAMES.len()],
    pub(crate) all_per_op: f64,
    /// In a whole run, from the first connection to the last close.
    pub(crate) epoll_ctl: u64,
}

pub(crate) fn echoes(peer: echo::Peer, connections: usize) -> Result<Calls, String> {
    supported(peer.why_not())?;
    const REQUESTS: [u64; 2] = [10_000, 50_000];
    let [fewer, more] = REQUESTS.map(|requests| count(peer, connections, requests));
    let ((fewer, fewer_all), (more, more_all)) = (fewer?, more?);
    let per_op = |fewer: u64, more: u64| {
        more.saturating_sub(fewer) as f64 / (REQUESTS[1] - REQUESTS[0]) as f64
    };
    Ok(Calls {
        per_op: std::array::from_fn(|i| per_op(fewer[i], more[i])),
        all_per_op: per_op(fewer_all, more_all),
        epoll_ctl: more[NAMES.len() - 1],
    })
}

type Counts = ([u64; NAMES.len()], u64);

fn count(peer: echo::Peer, connections: usize, requests: u64) -> Result<Counts, String> {
    const ALL: &str = "raw_syscalls:sys_enter";
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let events = NAMES.map(|name| format!("syscalls:sys_enter_{name}"));
    let output = Command::new("perf")
        // The main thread alone, which serves: not the load, nor any workers.
        .args(["stat", "--no-inherit", "-x,"])
        .args(["-e", &events.join(","), "-e", ALL])
        .arg(program)
        .args([COUNT_ECHO, peer.name()])
        .args([connections.to_string(), requests.to_string()])
        .output()
        .map_err(|e| format!("perf does not start: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "under perf: {} {}",
            output.status,
            last_line(&said)
        ));
    }
    // "1234,,syscalls:sys_enter_sendto,…"
    let counted = |event: &str| {
        let mut lines = said.lines().map(|line| line.split(','));
        let mut line = lines.find(|line| line.clone().nth(2) == Some(event))?;
        line.next()?.parse().ok()
    };
    let counted = |event: &str| counted(event).ok_or_else(|| format!("no count of {event}"));
    let mut counts = [0; NAMES.len()];
    for (count, event) in counts.iter_mut().zip(&events) {
        *count = counted(event)?;
    }
    Ok((counts, counted(ALL)?))
}
