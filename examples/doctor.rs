//! Which backends work here, what they stand on, and what to do where one does not.
//!
//! ```text
//! cargo run --example doctor
//! ```
//!
//! Shows how a backend is asked for, the report of a driver's capabilities, and the errors of a
//! set-up, which say what to do. Exit status 0 if at least one backend works.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use completeio::driver::{Backend, Driver};
use std::fs;
use std::process::ExitCode;

const HELP: &str = "\
usage: doctor
Tells which backends of completeio work on this system, and why others do not.
COMPLETEIO_BACKEND=io_uring|readiness  changes the default choice.";

/// Those that this system may have.
const BACKENDS: &[Backend] = if cfg!(windows) {
    &[Backend::Iocp]
} else {
    &[Backend::IoUring, Backend::Readiness]
};

fn main() -> ExitCode {
    common::Args::new(HELP).end();
    println!("kernel: {}", read("/proc/sys/kernel/osrelease"));
    println!("sysctl kernel.io_uring_disabled: {}", sysctl());
    println!("open files (ulimit -n): {}", limit("Max open files"));
    println!("locked memory (ulimit -l): {}", limit("Max locked memory"));

    println!();
    let mut works = false;
    for backend in BACKENDS {
        works |= check(*backend);
    }

    println!("\nthe default choice:");
    match Driver::new() {
        Ok(driver) => print!("{}", driver.capabilities()),
        Err(error) => println!("none: {error}"),
    }
    if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Tries one backend, and says what came of it.
fn check(backend: Backend) -> bool {
    let driver = Driver::builder().backend(backend).build();
    match &driver {
        Ok(_) => println!("{backend}: works"),
        Err(error) => println!("{backend}: does not work: {error}"),
    }
    driver.is_ok()
}

/// Whether the administrator allows io_uring.
fn sysctl() -> String {
    let value = read("/proc/sys/kernel/io_uring_disabled");
    match value.as_str() {
        "0" => "0 (allowed)".to_owned(),
        "1" => format!(
            "1 (for group {} only)",
            read("/proc/sys/kernel/io_uring_group")
        ),
        "2" => "2 (forbidden)".to_owned(),
        // Kernels before 6.6 have no such switch.
        _ => value,
    }
}

/// A resource limit of this process: soft, hard, unit.
fn limit(name: &str) -> String {
    let limits = read("/proc/self/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let Some(line) = line else {
        return "unknown".to_owned();
    };
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or("");
    format!("{} of at most {} {}", word(), word(), word())
}

/// What the kernel tells in a file.
fn read(path: &str) -> String {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(error) => format!("unknown ({path}: {error})"),
    }
}
