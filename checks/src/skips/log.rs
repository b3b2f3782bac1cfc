//! What a run has printed.

use crate::summary::Summary;
use std::collections::BTreeMap;

/// What of it counts.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What was skipped, and how often.
    pub(super) skips: BTreeMap<String, u64>,
    /// What passed: by its summary, or of the tests that cargo has run.
    pub(super) passed: u64,
    /// Its last line, if that is a summary.
    pub(super) summary: Option<Summary>,
}

impl Log {
    pub(super) fn read(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines() {
            log.summary = Summary::of_line(line);
            log.passed += passed(line).unwrap_or(0);
            if let Some(skip) = skip(line) {
                *log.skips.entry(skip).or_default() += 1;
            }
        }
        if let Some(summary) = log.summary {
            log.passed = summary.passed;
            // It counts those that are ignored.
            log.skips.retain(|skip, _| !skip.starts_with(IGNORED));
        }
        log
    }
}

const IGNORED: &str = "ignored: ";

/// `skipped: WHY`, and `test NAME ... ignored, WHY`. Where one test runs at a time, its name stands
/// before what it says.
fn skip(line: &str) -> Option<String> {
    let test = line.strip_prefix("test ");
    let test = test.and_then(|test| test.split_once(" ... "));
    let said = test.map_or(line, |(_, said)| said);
    if let Some(why) = said.strip_prefix("skipped: ") {
        return Some(why.to_owned());
    }
    let ((name, _), why) = (test?, said.strip_prefix("ignored")?);
    Some(format!("{IGNORED}{name}{why}"))
}

/// `test result: ok. N passed; …`
fn passed(line: &str) -> Option<u64> {
    let counts = line.strip_prefix("test result: ok. ")?;
    counts.split_once(" passed; ")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_tests_and_the_summary_are_found() {
        let text = "\
test alone::child ... ignored, elsewhere
test it ... ok
skipped: strace is not installed
test another ... skipped: strace is not installed
ok
ignored: a word
  skipped: in a table
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured
";
        let log = Log::read(text);
        let skips: Vec<_> = log.skips.iter().map(|(skip, n)| (&skip[..], *n)).collect();
        let expected = [
            ("ignored: alone::child, elsewhere", 1),
            ("strace is not installed", 2),
        ];
        assert_eq!(skips, expected);
        assert_eq!((log.passed, log.summary), (15, None));

        let log = Log::read(&format!("{text}14 passed, 0 failed, 2 skipped\n"));
        assert_eq!((log.skips.len(), log.passed), (1, 14));
        assert_eq!(log.summary.unwrap().skipped, 2);
    }
}
