//! Starting children, and watching them.
#![allow(dead_code, reason = "no test file uses all of it")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fmt, fs, process};

/// The program under `src/`.
pub(crate) const CHECKS: &str = env!("CARGO_BIN_EXE_checks");

/// The backends of this build.
pub(crate) const BACKENDS: &[&str] = &[
    #[cfg(feature = "io-uring")]
    "io_uring",
    #[cfg(feature = "readiness")]
    "readiness",
];

/// Whether the default may fall back.
pub(crate) const CAN_FALL_BACK: bool = cfg!(all(feature = "io-uring", feature = "readiness"));

/// How long a child may take, in seconds: only one that hangs takes as long.
const WATCHDOG_S: &str = "20";

/// How a child ended.
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What strace wrote.
    pub(crate) trace: String,
}

impl fmt::Debug for Outcome {
    /// With the last lines of the trace.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status {:?}, signal {:?}", self.status, self.signal)?;
        writeln!(f, "stdout: {}stderr: {}", self.stdout, self.stderr)?;
        let lines: Vec<_> = self.trace.lines().collect();
        let last = lines.len().saturating_sub(20);
        lines[last..]
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl Outcome {
    /// The first line of stdout.
    pub(crate) fn line(&self) -> &str {
        self.stdout.lines().next().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn assert_ok(&self, what: &str) {
        assert_eq!(
            (self.status, self.signal),
            (Some(0), None),
            "{what}: {self:?}"
        );
    }

    /// How many calls strace tampered with.
    pub(crate) fn injected(&self) -> usize {
        self.trace
            .lines()
            .filter(|line| line.contains("(INJECTED)"))
            .count()
    }

    /// The lines of the trace between the two markers.
    #[track_caller]
    pub(crate) fn between_markers(&self) -> Vec<&str> {
        let parts: Vec<_> = self.trace.split("getppid()").collect();
        assert_eq!(parts.len(), 3, "two markers: {self:?}");
        // The rest of the first marker's line, and the process id before the second one.
        let lines: Vec<_> = parts[1].lines().skip(1).collect();
        lines
            .into_iter()
            .filter(|line| line.contains('('))
            .collect()
    }
}

/// The program with these arguments, the environment's choice of backend taken away.
pub(crate) fn checks(args: &[&str]) -> Command {
    command(CHECKS, args)
}

/// A command under the watchdog, which ends its whole process group.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", WATCHDOG_S, program]).args(args);
    command
        .env_remove("COMPLETEIO_BACKEND")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Outcome {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let status = output.status.code();
    assert_ne!(status, Some(124), "{command:?} hangs");
    Outcome {
        status,
        signal: output.status.signal(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        trace: String::new(),
    }
}

/// Runs the program under strace with these options of strace's.
#[track_caller]
pub(crate) fn strace(options: &[&str], args: &[&str]) -> Outcome {
    let dir = Scratch::new();
    let log = dir.path().join("trace");
    let mut all = vec!["-qq", "-o", log.to_str().unwrap()];
    all.extend_from_slice(options);
    all.push("--");
    all.push(CHECKS);
    all.extend_from_slice(args);
    let outcome = run(&mut command("strace", &all));
    Outcome {
        trace: fs::read_to_string(&log).unwrap_or_default(),
        ..outcome
    }
}

/// Whether strace is there and may trace; says so if not.
pub(crate) fn has_strace() -> bool {
    let works = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works("strace", &["-V"]) {
        println!("skipped: strace is not installed");
        return false;
    }
    if !works("strace", &["-o", "/dev/null", "true"]) {
        println!("skipped: strace may not trace here");
        return false;
    }
    true
}

/// Whether everything is asked for, and not the part that takes seconds.
pub(crate) fn is_full() -> bool {
    env::var_os("CHECKS_FULL").is_some_and(|value| value == "1")
}

/// A directory of this test's own, gone when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("completeio-checks-{}-{n}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The names of the system calls in lines of a trace.
pub(crate) fn names<'a>(lines: &[&'a str]) -> BTreeSet<&'a str> {
    lines.iter().map(|line| name(line)).collect()
}

/// The name of the system call in a line of a trace.
pub(crate) fn name(line: &str) -> &str {
    let call = line.split('(').next().unwrap_or_default();
    call.rsplit(' ').next().unwrap_or_default()
}

/// How many of the lines are this system call's.
pub(crate) fn count(lines: &[&str], call: &str) -> usize {
    lines.iter().filter(|line| name(line) == call).count()
}
