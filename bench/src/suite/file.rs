//! Blocks of a file.

use super::{Case, Effort, Run, ms, timed};
use crate::job::Job;
use bench::alloc::PAGE;
use bench::child::{Args, Outcome};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const METRICS: &[&str] = &["cpu_ns_per_op", "ops_per_s", "allocations_per_op"];

pub(super) const SUBJECTS: [&str; 21] = [
    "raw",
    "raw/fixed",
    "fio",
    "driver",
    "driver/fixed",
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

/// A small block.
const BLOCK: usize = PAGE;
const LARGE: usize = 1 << 17;

/// What is done with the file.
#[derive(Clone, Copy)]
struct Access {
    write: bool,
    direct: bool,
    block: usize,
    depth: usize,
}

impl Access {
    fn what(self) -> &'static str {
        match (self.write, self.block == LARGE) {
            (false, false) => "random reads",
            (true, false) => "random writes",
            (false, true) => "sequential reads",
            (true, true) => "sequential writes",
        }
    }

    fn args(self) -> Args {
        Args::new("file", "")
            .with("path", path().display())
            .with("block", self.block)
            .with("depth", self.depth)
            .with("write", u8::from(self.write))
            .with("direct", u8::from(self.direct))
            .with("sequential", u8::from(self.block == LARGE))
    }
}

pub(super) fn read_job(depth: usize) -> Job {
    let reads = Access {
        write: false,
        direct: false,
        block: BLOCK,
        depth,
    };
    Job::Alone(reads.args())
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut all = Vec::new();
    for (write, direct) in [(false, false), (false, true), (true, false), (true, true)] {
        for (block, depth) in [(BLOCK, 1), (BLOCK, 32), (BLOCK, 128), (LARGE, 8)] {
            all.push(Access {
                write,
                direct,
                block,
                depth,
            });
        }
    }
    if effort == Effort::Quick {
        all.retain(|access| !access.write && !access.direct && access.depth == 32);
    }
    let (rounds, warm_up, window) = effort.pick((3, ms(80), ms(250)), (1, ms(40), ms(100)));
    let case = |access: Access| {
        let by_us = timed(Job::Alone(access.args()), warm_up, window);
        let run: Run = Box::new(move |runner, subject| {
            ready_file()?;
            match subject.name {
                "fio" => fio(access, window.as_secs_f64()),
                _ => by_us(runner, subject),
            }
        });
        let cache = if access.direct {
            "O_DIRECT"
        } else {
            "buffered"
        };
        Case::new("file", METRICS, &SUBJECTS, rounds, run)
            .param("access", format!("{}, {cache}", access.what()))
            .param("bytes", access.block)
            .param("depth", access.depth)
            .telling(!access.write && !access.direct && access.depth == 32)
    };
    all.into_iter().map(case).collect()
}

/// Beside what is built, on a disk that has O_DIRECT if any has.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench-file")
}

/// Makes the file, once, and brings it into the page cache. Each page begins with its place.
pub(super) fn ready_file() -> Result<(), String> {
    const BYTES: u64 = 256 << 20;
    static MADE: OnceLock<Result<(), String>> = OnceLock::new();
    let make = || -> io::Result<()> {
        let path = path();
        if fs::metadata(&path).is_ok_and(|file| file.len() == BYTES) {
            return File::open(&path)?.read_to_end(&mut Vec::new()).map(drop);
        }
        eprintln!("file: writing {} MiB to {} …", BYTES >> 20, path.display());
        let mut file = io::BufWriter::new(File::create(&path)?);
        for offset in (0..BYTES).step_by(PAGE) {
            let mut page = [0xA5; PAGE];
            page[..8].copy_from_slice(&offset.to_le_bytes());
            file.write_all(&page)?;
        }
        file.into_inner()?.sync_all()
    };
    let made = MADE.get_or_init(|| make().map_err(|e| format!("{}: {e}", path().display())));
    made.clone()
}

/// The same by fio: what it says of itself.
fn fio(access: Access, seconds: f64) -> Result<Outcome, String> {
    let direction = if access.write { "write" } else { "read" };
    let order = if access.block == LARGE { "" } else { "rand" };
    // It would write over the places.
    let file = path().with_extension(if access.write { "fio" } else { "" });
    let output = Command::new("fio")
        .args([
            "--name=x",
            "--size=256m",
            "--ioengine=io_uring",
            "--time_based",
        ])
        .args([
            "--norandommap",
            "--randrepeat=0",
            "--invalidate=0",
            "--gtod_reduce=1",
        ])
        .args(["--cpus_allowed=0", "--thread", "--output-format=json"])
        .arg(format!("--filename={}", file.display()))
        .arg(format!("--rw={order}{direction}"))
        .arg(format!("--bs={}", access.block))
        .arg(format!("--iodepth={}", access.depth))
        .arg(format!("--direct={}", u8::from(access.direct)))
        .arg(format!("--runtime={}", seconds.ceil()))
        .output()
        .map_err(|e| format!("fio: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = |from: &str, key: &str| -> Option<f64> {
        let section = &said[said.find(from)?..];
        let value = &section[section.find(key)? + key.len()..];
        value
            .trim_start_matches([' ', ':'])
            .split([',', '\n'])
            .next()?
            .trim()
            .parse()
            .ok()
    };
    let found = || {
        let ops = number(&format!("\"{direction}\" :"), "\"iops\"")?;
        let percent = number("\"usr_cpu\"", "\"usr_cpu\"")? + number("\"sys_cpu\"", "\"sys_cpu\"")?;
        Some((ops, percent))
    };
    let (ops, percent) = found().ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        error
            .lines()
            .last()
            .unwrap_or("it said nothing of use")
            .to_owned()
    })?;
    let cpu_ns = percent / 100.0 * 1e9 / ops;
    let outcome = [("cpu_ns_per_op", cpu_ns), ("ops_per_s", ops)];
    Ok(outcome.map(|(name, value)| (name.to_owned(), value)).into())
}
