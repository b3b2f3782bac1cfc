//! What came of checks: a line for each, and one for all of them in the end.

use std::fmt::{self, Display};
use std::ops::AddAssign;
use std::process;

/// How many checks there were.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Those that were made, and were well.
    pub passed: u64,
    /// Those that were not.
    pub failed: u64,
    /// Those that were not made.
    pub skipped: u64,
}

impl Summary {
    /// The one in a last line.
    pub fn of_line(line: &str) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut parts = line.split(", ");
        for (number, what) in numbers.iter_mut().zip(["passed", "failed", "skipped"]) {
            let (n, is_what) = parts.next()?.split_once(' ')?;
            *number = n.parse().ok().filter(|_| is_what == what)?;
        }
        let [passed, failed, skipped] = numbers;
        parts.next().is_none().then_some(Self {
            passed,
            failed,
            skipped,
        })
    }

    /// Tells of a check.
    pub fn verdict(&mut self, is_good: bool, what: impl Display) {
        if is_good {
            println!("ok: {what}");
            self.passed += 1;
        } else {
            println!("FAILED: {what}");
            self.failed += 1;
        }
    }

    /// Tells of so many checks that were not made.
    pub fn skip(&mut self, checks: u64, why: impl Display) {
        println!("skipped: {why}");
        self.skipped += checks;
    }

    /// Prints the line, and ends the process: with status 0 only if nothing failed.
    pub fn end(self) -> ! {
        println!("{self}");
        process::exit(i32::from(self.failed > 0));
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let summary = Summary {
            passed: 3,
            failed: 0,
            skipped: 12,
        };
        assert_eq!(Summary::of_line(&summary.to_string()), Some(summary));
        for other in [
            "",
            "3 passed",
            "3 passed, 0 failed, 1 ignored",
            "3 passed, 0 failed, 1 skipped, more",
            "x passed, 0 failed, 1 skipped",
        ] {
            assert_eq!(Summary::of_line(other), None, "{other}");
        }
    }
}
