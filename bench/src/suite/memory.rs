//! What a connection that waits takes.

use super::{Case, Effort, net};
use crate::job::Runner;
use crate::load;
use crate::subject::Subject;
use bench::child::{Args, Outcome};
use bench::machine;
use std::fs;
use std::time::Duration;

/// Or fewer, if a process may not have so many files.
const CONNECTIONS: u64 = 10_000;

/// The buffer of each.
const BUFFER: usize = 1024;

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["bytes_per_connection"];
    const SPARE: u64 = 100;
    let most = CONNECTIONS.min(machine::raise_open_files().saturating_sub(SPARE));
    if most < CONNECTIONS {
        eprintln!("memory: {most} connections, for a process may have no more files");
    }
    let connections = effort.pick(most, most / 5);
    let run = move |runner: &Runner, subject| per_connection(runner, subject, connections);
    let case = Case::new("memory", METRICS, &net::SUBJECTS, 1, Box::new(run));
    vec![
        case.param("connections", connections)
            .param("buffer", BUFFER)
            .counted()
            .telling(true),
    ]
}

/// Resident memory of a server with as many, less that of one with a tenth.
fn per_connection(runner: &Runner, subject: Subject, most: u64) -> Result<Outcome, String> {
    let few = most / 10;
    let of_few = resident(runner, subject, few, most)?;
    let of_all = resident(runner, subject, most, most)?;
    let each = of_all.saturating_sub(of_few) as f64 / (most - few) as f64;
    Ok([("bytes_per_connection".to_owned(), each)].into())
}

/// Resident bytes of a server that could have `most`.
fn resident(runner: &Runner, subject: Subject, count: u64, most: u64) -> Result<u64, String> {
    let server = Args::new("echo", "")
        .with("connections", count)
        .with("room-for", most)
        .with("buffer", BUFFER);
    let program = runner.program(subject)?;
    let mut server = program.start(&runner.args(&server, subject))?;
    let holding = Args::new("memory", load::PEER).with("connections", count);
    let mut load = runner.load(&holding, &mut server)?;
    load.ready()?;
    let status = fs::read_to_string(format!("/proc/{}/status", server.id()));
    let status = status.map_err(|e| e.to_string())?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|kib| kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let resident = kib.ok_or("it has no memory")? * 1024;
    load.end(Duration::ZERO)?;
    server.end(Duration::ZERO)?;
    Ok(resident)
}
