//! What a run has printed.

use crate::summary::Summary;
use std::collections::BTreeMap;

/// What of it counts.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What was skipped, and how often.
    pub(super) skips: BTreeMap<String, u64>,
    /// Tests that passed, of those that cargo has run.
    pub(super) tests: u64,
    /// Its last line, if that is a summary.
    pub(super) summary: Option<Summary>,
}

impl Log {
    pub(super) fn read(text: &str) -> Self {
        let mut log = Self::default();
        for line in text.lines() {
            log.summary = Summary::of_line(line);
            log.tests += tests(line).unwrap_or(0);
            if let Some(skip) = skip(line) {
                *log.skips.entry(skip).or_default() += 1;
            }
        }
        if log.summary.is_some() {
            // It counts those that are ignored.
            log.skips.retain(|skip, _| !skip.starts_with(IGNORED));
        }
        log
    }
}

const IGNORED: &str = "ignored: ";

/// `skipped: WHY`, and `test NAME ... ignored, WHY`.
fn skip(line: &str) -> Option<String> {
    if let Some(why) = line.strip_prefix("skipped: ") {
        return Some(why.to_owned());
    }
    let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let why = end.strip_prefix("ignored")?;
    Some(format!("{IGNORED}{name}{why}"))
}

/// `test result: ok. N passed; …`
fn tests(line: &str) -> Option<u64> {
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
skipped: strace is not installed
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
        assert_eq!((log.tests, log.summary), (15, None));

        let log = Log::read(&format!("{text}15 passed, 0 failed, 1 skipped\n"));
        assert_eq!(log.skips.len(), 1);
        assert_eq!(log.summary.unwrap().skipped, 1);
    }
}
