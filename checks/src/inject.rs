//! Every fault that the tests of `tests/` inject: each system call at each position, instead of the
//! few that `cargo test` takes.
//!
//! Runs the test programs, and counts their tests. One that says that it skips something counts as
//! skipped, though it may have done the rest.

use crate::progress::Progress;
use crate::summary::Summary;
use crate::{Options, programs, watch};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The tests that inject, forbid, count and fork.
const TESTS: &[&str] = &["inject", "forbidden", "awake", "fork"];

/// A test program is killed after so many seconds; each child of it has a shorter limit of its own.
const LIMIT_S: &str = "3600";

pub(crate) fn run(_: &Options) {
    watch(0); // Each program has its limit.
    let built = programs::build("checks", TESTS, |cargo| {
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
    });
    let mut summary = Summary::default();
    for program in &built {
        let name = program.file_name().unwrap().to_string_lossy();
        println!("== {name}");
        summary += run_one(program);
    }
    summary.end();
}

fn run_one(program: &Path) -> Summary {
    let mut child = Command::new("timeout")
        .args(["--signal=KILL", LIMIT_S])
        .arg(program)
        .arg("--show-output")
        .current_dir(programs::package("checks"))
        .env("CHECKS_FULL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut report, mut progress) = (Report::default(), Progress::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        report.take(&line.unwrap());
        progress.tell(format_args!("{} tests have ended", report.ends.len()));
    }
    progress.pause();
    let status = child.wait().unwrap();
    let mut summary = report.judge();
    if !status.success() && summary.failed == 0 {
        summary.verdict(false, format_args!("{}: {status}", program.display()));
    }
    summary
}

/// What a test program has said.
#[derive(Default)]
struct Report {
    /// How each test has ended.
    ends: BTreeMap<String, String>,
    /// What each has said.
    said: BTreeMap<String, Vec<String>>,
    /// Whose output it is that comes.
    speaks: Option<String>,
}

impl Report {
    fn take(&mut self, line: &str) {
        if let Some((name, end)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            self.ends.insert(name.to_owned(), end.to_owned());
        } else if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|of| of.strip_suffix(" stdout ----"))
        {
            self.speaks = Some(name.to_owned());
        } else if let Some(name) = &self.speaks {
            let said = self.said.entry(name.clone()).or_default();
            said.push(line.to_owned());
        }
    }

    fn judge(&self) -> Summary {
        let mut summary = Summary::default();
        for (name, end) in &self.ends {
            let said = self.said.get(name).map_or(&[][..], Vec::as_slice);
            let skip = said.iter().find_map(|line| line.strip_prefix("skipped: "));
            match (end.as_str(), skip) {
                ("ok", None) => summary.verdict(true, name),
                ("ok", Some(why)) => summary.skip(1, format_args!("{why} ({name})")),
                ("FAILED", _) => {
                    summary.verdict(false, name);
                    said.iter().for_each(|line| println!("  {line}"));
                }
                (other, _) => summary.skip(1, format_args!("{other} ({name})")),
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Summary {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        report.judge()
    }

    #[test]
    fn tests_are_counted() {
        let lines = [
            "running 4 tests",
            "test whole ... ok",
            "test partly ... ok",
            "test other ... ignored, not here",
            "test wrong ... FAILED",
            "successes:",
            "---- partly stdout ----",
            "12 positions",
            "skipped: strace is not installed",
            "",
            "failures:",
            "---- wrong stdout ----",
            "skipped: nothing",
        ];
        let summary = Summary {
            passed: 1,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(judge(&lines), summary);
    }
}
