//! What a process that is measured is told, and what it answers.
//!
//! `PROGRAM child WORKLOAD PEER key=value …`; the answer is lines of a name and a number. Whoever
//! has none to give says why on its standard error, and fails.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// The first argument of a process that is measured.
pub const COMMAND: &str = "child";

/// Ends the name of a peer whose ring is set up by its own options for one thread, and for work
/// that is done when it is waited for.
pub const TUNED: char = '+';

/// A command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// What is done.
    pub workload: String,
    /// Who does it.
    pub peer: String,
    values: BTreeMap<String, String>,
}

impl Args {
    /// The one without values.
    pub fn new(workload: &str, peer: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            peer: peer.to_owned(),
            values: BTreeMap::new(),
        }
    }

    /// The same with a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.values.insert(key.to_owned(), value.to_string());
        self
    }

    /// Takes a command line apart, behind [`COMMAND`].
    ///
    /// # Errors
    /// It is none.
    pub fn parse(args: &[String]) -> Result<Self, String> {
        let usage = || format!("{COMMAND} WORKLOAD PEER key=value …");
        let [workload, peer, values @ ..] = args else {
            return Err(usage());
        };
        values
            .iter()
            .try_fold(Self::new(workload, peer), |args, value| {
                let (key, value) = value.split_once('=').ok_or_else(usage)?;
                Ok(args.with(key, value))
            })
    }

    /// The command line, [`COMMAND`] included.
    pub fn to_command(&self) -> Vec<String> {
        let values = self
            .values
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        [COMMAND, &self.workload, &self.peer]
            .map(str::to_owned)
            .into_iter()
            .chain(values)
            .collect()
    }

    /// A value, if it was given.
    ///
    /// # Errors
    /// It is not of this type.
    pub fn get<T: FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        let parsed = value
            .parse()
            .map_err(|_| format!("{key}={value}: what is that?"));
        parsed.map(Some)
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn need<T: FromStr>(&self, key: &str) -> Result<T, String> {
        self.get(key)?.ok_or_else(|| format!("{key}=… is missing"))
    }

    /// Whether a value is there, and not 0.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| value != "0")
    }

    /// Whether the peer is to be set up as well as it can be: its name ends in [`TUNED`].
    pub fn is_tuned(&self) -> bool {
        self.peer.ends_with(TUNED)
    }

    /// How long, or how much, is measured: `ops=N`, or `ms=T` after `warm-ms=T`.
    ///
    /// # Errors
    /// Neither is there.
    pub fn goal(&self) -> Result<Goal, String> {
        match self.get("ops")? {
            Some(ops) => Ok(Goal::Ops(ops)),
            None => Ok(Goal::Time {
                warm_up: Duration::from_millis(self.get("warm-ms")?.unwrap_or(0)),
                window: Duration::from_millis(self.need("ms")?),
            }),
        }
    }
}

/// How long a process is measured.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So many operations, from the first one on.
    Ops(u64),
    /// For so long, after some time that is not measured.
    Time {
        /// What is not measured.
        warm_up: Duration,
        /// What is.
        window: Duration,
    },
}

/// What was measured, by name. Names end in their unit; what begins with `cpu_ns` is the main
/// figure.
pub type Outcome = BTreeMap<String, f64>;

/// Prints an outcome.
#[expect(clippy::print_stdout, reason = "it is the answer of a process")]
pub fn answer(outcome: &Outcome) {
    for (name, value) in outcome {
        println!("{name} {value}");
    }
}

/// A line of an answer.
pub fn parse_line(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.split_once(' ')?;
    Some((name.to_owned(), value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_as_it_was_written() {
        let args = Args::new("echo", "raw")
            .with("connections", 50)
            .with("path", "/a=b");
        let command = args.to_command();
        assert_eq!(command[..3], ["child", "echo", "raw"]);
        assert_eq!(Args::parse(&command[1..]), Ok(args.clone()));
        assert_eq!(args.need::<usize>("connections"), Ok(50));
        assert_eq!(args.need::<String>("path"), Ok("/a=b".to_owned()));
        assert_eq!(args.get::<u64>("depth"), Ok(None));
        assert!(args.need::<u64>("path").is_err());
        assert!(args.goal().is_err());
        assert!(Args::parse(&command[..1]).is_err());
        assert!(matches!(args.with("ops", 3).goal(), Ok(Goal::Ops(3))));
    }

    #[test]
    fn lines_of_an_answer() {
        assert_eq!(parse_line("ops 12.5"), Some(("ops".to_owned(), 12.5)));
        assert_eq!(parse_line("port"), None);
        assert_eq!(parse_line("it failed"), None);
    }
}
