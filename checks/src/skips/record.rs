//! What is recorded, and how a run compares with it.
//!
//! ```text
//! [everywhere]
//! strace is not installed: if missing strace
//! io_uring: *: if no io_uring
//! [.ci/run]
//! at least 2000 passed
//! 2 times ignored: child, it is run by others
//! [Miri]
//! at least 200 passed
//! 28 skipped
//! ```
//!
//! A `*` at the end of a skip stands for whatever follows.

use super::condition::Condition;
use super::log::Log;

#[derive(Debug, Default)]
pub(super) struct Record {
    /// What is skipped in any run under a condition, however often.
    conditional: Vec<(Pattern, Condition)>,
    runs: Vec<Run>,
}

/// What is recorded for one run, by its name.
#[derive(Debug, Default)]
struct Run {
    name: String,
    /// What is skipped everywhere, so often.
    always: Vec<(Pattern, u64)>,
    /// So many pass at least.
    passed: u64,
    /// What its summary counts.
    skipped: u64,
}

#[derive(Debug)]
struct Pattern(String);

impl Pattern {
    fn fits(&self, skip: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => skip.starts_with(start),
            None => skip == self.0,
        }
    }
}

/// How a run compares.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) right: Vec<String>,
    pub(super) wrong: Vec<String>,
}

impl Record {
    /// The line that is wrong, if one is.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut record = Self::default();
        let lines = text.lines().filter(|line| !line.is_empty());
        for line in lines.filter(|line| !line.starts_with('#')) {
            let section = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'));
            if let Some(name) = section {
                let name = name.to_owned();
                record.runs.push(Run {
                    name,
                    ..Run::default()
                });
                continue;
            }
            record.add(line).ok_or_else(|| line.to_owned())?;
        }
        Ok(record)
    }

    /// A line of the last section.
    fn add(&mut self, line: &str) -> Option<()> {
        let run = self.runs.last_mut()?;
        if run.name == EVERYWHERE {
            let (skip, condition) = line.rsplit_once(": if ")?;
            let condition = Condition::parse(condition)?;
            self.conditional.push((Pattern(skip.to_owned()), condition));
        } else if let Some(passed) = line.strip_prefix("at least ") {
            run.passed = passed.strip_suffix(" passed")?.parse().ok()?;
        } else if let Some(skipped) = line.strip_suffix(" skipped") {
            run.skipped = skipped.parse().ok()?;
        } else {
            let (n, skip) = line.split_once(" times ")?;
            run.always.push((Pattern(skip.to_owned()), n.parse().ok()?));
        }
        Some(())
    }

    pub(super) fn compare(&self, run: &str, log: &Log) -> Found {
        let mut found = Found::default();
        let Some(recorded) = self.runs.iter().find(|recorded| recorded.name == run) else {
            found.note(false, format!("nothing is recorded for {run}"));
            return found;
        };
        for (skip, n) in &log.skips {
            if recorded
                .always
                .iter()
                .any(|(pattern, _)| pattern.fits(skip))
            {
                continue;
            }
            let mut known = self
                .conditional
                .iter()
                .filter(|(pattern, _)| pattern.fits(skip));
            let mut told = String::new();
            let reason = known.find(|(_, condition)| {
                told += &format!(" (recorded, but not so: {condition})");
                condition.holds()
            });
            match reason {
                Some((_, condition)) => {
                    found
                        .right
                        .push(format!("{n} × {skip} – here: {condition}"));
                }
                None => found.wrong.push(format!("{n} × {skip}{told}")),
            }
        }
        if log.summary.is_some() && !found.right.is_empty() {
            return found; // Its numbers are those of a machine that lacks nothing.
        }
        for (pattern, times) in &recorded.always {
            let fit = log.skips.iter().filter(|(skip, _)| pattern.fits(skip));
            let n: u64 = fit.map(|(_, n)| n).sum();
            found.note(
                n == *times,
                format!("{n} × {}, {times} recorded", pattern.0),
            );
        }
        if recorded.passed > 0 {
            let (n, least) = (log.passed, recorded.passed);
            found.note(n >= least, format!("{n} passed, at least {least} recorded"));
        }
        if let Some(summary) = log.summary {
            let (n, recorded) = (summary.skipped, recorded.skipped);
            found.note(n == recorded, format!("{n} skipped, {recorded} recorded"));
        }
        found
    }
}

/// The section of conditions.
const EVERYWHERE: &str = "everywhere";

impl Found {
    fn note(&mut self, is_right: bool, line: String) {
        let lines = if is_right {
            &mut self.right
        } else {
            &mut self.wrong
        };
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RECORD: &str = "
# A comment.
[everywhere]
no tool: if missing no-such-tool
no shell: if missing sh
old: *: if before 2.6
old: *: if missing no-such-tool
[run]
at least 10 passed
2 times ignored: child*
[part]
at least 2 passed
3 skipped
2 times by name: *
[program]
";

    /// What is wrong with a run that has printed this.
    fn wrong(run: &str, text: &str) -> Vec<String> {
        let record = Record::parse(RECORD).unwrap();
        record.compare(run, &Log::read(text)).wrong
    }

    const TESTS: &str = "test child ... ignored\ntest child ... ignored\n\
        test result: ok. 12 passed; 0 failed\n";

    const PART: &str = "skipped: by name: a\nskipped: by name: b\n2 passed, 0 failed, 3 skipped";

    #[test]
    fn a_run_is_as_it_is_recorded() {
        let none: [&str; 0] = [];
        assert_eq!(wrong("run", TESTS), none);
        let excused = "skipped: no tool\nskipped: no tool\nskipped: old: whatever\n";
        assert_eq!(wrong("run", &format!("{TESTS}{excused}")), none);
        assert_eq!(wrong("part", PART), none);
        let lacking = "skipped: no tool\n0 passed, 0 failed, 1 skipped";
        assert_eq!(wrong("part", lacking), none);
        assert_eq!(wrong("program", "hello"), none);
    }

    #[test]
    fn what_has_stopped_running_is_found() {
        let with = |line: &str| wrong("run", &format!("{TESTS}skipped: {line}\n"));
        // For a reason that is none here; for none that is known.
        assert_eq!(
            with("no shell"),
            ["1 × no shell (recorded, but not so: missing sh)"]
        );
        assert_eq!(with("on a whim"), ["1 × on a whim"]);
        // Fewer tests, and more or fewer of those that are left out.
        let fewer = TESTS.replace("12 passed", "9 passed");
        assert_eq!(wrong("run", &fewer), ["9 passed, at least 10 recorded"]);
        assert_eq!(wrong("run", &TESTS.replacen("child", "other", 1)).len(), 2);
        let more = format!("{TESTS}test child ... ignored\n");
        assert_eq!(wrong("run", &more), ["3 × ignored: child*, 2 recorded"]);
        // The same of a summary, and of what has none any more.
        for (from, to) in [
            ("2 passed", "1 passed"),
            ("3 skipped", "2 skipped"),
            ("3 skipped", "4 skipped"),
            ("by name: b", "by number: 1"),
            ("2 passed, 0 failed, 3 skipped", ""),
        ] {
            assert!(!wrong("part", &PART.replace(from, to)).is_empty(), "{to}");
        }
        assert_eq!(wrong("other", PART).len(), 1);
        assert_eq!(wrong("program", PART).len(), 3);
    }

    #[test]
    fn wrong_lines_are_told() {
        for wrong in [
            "no section",
            "[everywhere]\nno condition",
            "[a]\n3 things",
            "[a]\nat least 3 tests",
        ] {
            let line = wrong.lines().last().unwrap();
            assert_eq!(Record::parse(wrong).unwrap_err(), line);
        }
        let ours = fs::read_to_string(crate::programs::root().join(".ci/skips")).unwrap();
        let ours = Record::parse(&ours).unwrap();
        assert!(!ours.conditional.is_empty() && !ours.runs.is_empty());
    }
}
