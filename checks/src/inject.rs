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
    let (mut report, mut progress) = (Report::default(), Progress::begin());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        report.take(&line.unwrap());
        progress.tell(format_args!("{} tests have ended", report.ends.len()));
    }
    progress.pause();
    let status = child.wait().unwrap();
    let mut summary = Summary::default();
    for (end, told) in report.ends() {
        match end {
            End::Passed => summary.verdict(true, told),
            End::Failed => summary.verdict(false, told),
            End::Skipped => summary.skip(1, told),
        }
    }
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

    /// How each test has ended, and what is told of it.
    fn ends(&self) -> impl Iterator<Item = (End, String)> {
        self.ends.iter().map(|(name, end)| {
            let said = self.said.get(name).map_or(&[][..], Vec::as_slice);
            let skip = said.iter().find_map(|line| line.strip_prefix("skipped: "));
            match (end.as_str(), skip) {
                ("ok", None) => (End::Passed, name.clone()),
                ("ok", Some(why)) => (End::Skipped, format!("{why} ({name})")),
                ("FAILED", _) => (End::Failed, format!("{name}\n  {}", said.join("\n  "))),
                (other, _) => (End::Skipped, format!("{other} ({name})")),
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut report = Report::default();
        lines.iter().for_each(|line| report.take(line));
        let ends: Vec<_> = report.ends().collect();
        let expected = [
            (End::Skipped, "ignored, not here (other)"),
            (End::Skipped, "strace is not installed (partly)"),
            (End::Passed, "whole"),
            (End::Failed, "wrong\n  skipped: nothing"),
        ];
        assert_eq!(ends, expected.map(|(end, told)| (end, told.to_owned())));
    }
}
