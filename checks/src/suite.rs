//! The contract suite, as a program to be run.

use crate::programs;
use completeio_driver::driver::Backend;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A run of the suite is killed after so many seconds. A test that hangs ends it earlier, by the
/// suite's own watchdog.
const LIMIT_S: &str = "300";

/// The tests of a backend, in each file of the suite.
pub(crate) fn module(backend: Backend) -> &'static str {
    match backend {
        Backend::IoUring => "io_uring",
        _ => "readiness",
    }
}

pub(crate) struct Suite {
    program: PathBuf,
    /// Where its package is: its tests run there.
    package: PathBuf,
    /// What the last run has said.
    log: PathBuf,
}

impl Suite {
    /// Builds it in a directory of the project, with more flags for the compiler.
    pub(crate) fn build(target: &str, flags: &str) -> Self {
        let target = programs::root().join(target);
        let others = env::var("RUSTFLAGS").unwrap_or_default();
        let built = programs::build("completeio-driver", &["contract"], |cargo| {
            cargo
                .args(["--features", "sim"])
                .env("CARGO_TARGET_DIR", &target)
                .env("RUSTFLAGS", format!("{others} {flags}"));
        });
        Self {
            program: built[0].clone(),
            package: programs::package("driver"),
            log: target.join("log"),
        }
    }

    /// Runs what `filters` name; how it failed, if it did. Each has to name something.
    pub(crate) fn fails(
        &self,
        filters: &[impl AsRef<str>],
        variables: &[(&str, &str)],
    ) -> Option<String> {
        let log = File::create(&self.log).unwrap();
        let start = Instant::now();
        let status = Command::new("timeout")
            .args(["--signal=KILL", LIMIT_S])
            .arg(&self.program)
            .args(filters.iter().map(AsRef::as_ref))
            .current_dir(&self.package)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let log = fs::read(&self.log).unwrap();
        let log = String::from_utf8_lossy(&log);
        if status.success() {
            for filter in filters.iter().map(AsRef::as_ref) {
                let is_named = log.contains(&format!("test {filter}"));
                ensure!(is_named, "no test is named {filter}");
            }
            return None;
        }
        let says = |line: &&str| line.ends_with("FAILED") || line.ends_with("aborting");
        let first = log.lines().find(says).unwrap_or_default();
        let took = start.elapsed();
        Some(format!("{status} after {took:.1?}; {first}"))
    }

    /// Where to read more of the last run.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}
