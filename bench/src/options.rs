//! What was asked for.

use crate::subject::{self, Subject};
use crate::suite::{Effort, Part, WORKLOADS, Wanted, Workload};

/// The command line, explained.
pub(crate) fn usage() -> String {
    let names = |part| {
        let these = WORKLOADS.iter().filter(|workload| workload.part == part);
        these
            .map(|workload| workload.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let peers = subject::ALL.map(|subject| subject.name).join(" ");
    format!(
        "cargo run --release -p bench -- [WORKLOAD …] [OPTIONS]

workloads, all unless one is named: {}
                      without --quick: {}
                         by name only: {}

  --quick          the most telling rows, in less than two minutes
  --peers A,B,…    these only, beside the reference of each table; `none` for no other
                   {peers}
  --instructions   counts user-space instructions of `nop` and `echo` with valgrind, instead of time
  --real-time      runs before everything else on the machine (SCHED_FIFO): less noise
  --json FILE      writes the numbers to FILE too
  --charts         draws charts into bench/results",
        names(Part::Quick),
        names(Part::Full),
        names(Part::ByName)
    )
}

pub(crate) struct Options {
    pub(crate) workloads: Vec<&'static Workload>,
    pub(crate) effort: Effort,
    pub(crate) wanted: Wanted,
    pub(crate) instructions: bool,
    pub(crate) real_time: bool,
    pub(crate) json: Option<String>,
    pub(crate) charts: bool,
}

impl Options {
    /// # Errors
    /// What is not known.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            workloads: Vec::new(),
            effort: Effort::Full,
            wanted: Wanted::All,
            instructions: false,
            real_time: false,
            json: None,
            charts: false,
        };
        let mut named = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} of what?"));
            match arg.as_str() {
                "--quick" => options.effort = Effort::Quick,
                "--peers" => named = Some(peers(value()?)?),
                "--instructions" => options.instructions = true,
                "--real-time" => options.real_time = true,
                "--json" => options.json = Some(value()?.clone()),
                "--charts" => options.charts = true,
                name => {
                    let known = WORKLOADS.iter().find(|workload| workload.name == name);
                    let unknown = || format!("{name}: what is that?");
                    options.workloads.push(known.ok_or_else(unknown)?);
                }
            }
        }
        if options.workloads.is_empty() {
            let all = WORKLOADS.iter();
            let usual = all.filter(|workload| workload.part.is_of(options.effort));
            options.workloads.extend(usual);
        }
        options.wanted = match (named, options.effort) {
            (Some(named), _) => Wanted::Named(named),
            (None, Effort::Quick) => Wanted::Quick,
            (None, Effort::Full) => Wanted::All,
        };
        Ok(options)
    }
}

/// "tokio,a10+"
fn peers(list: &str) -> Result<Vec<Subject>, String> {
    if list == "none" {
        return Ok(Vec::new());
    }
    let find = |name| subject::named(name).ok_or_else(|| format!("no peer {name:?}"));
    list.split(',').map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&args)
    }

    #[test]
    fn a_command_line() {
        let options = parse("echo --quick --json x nop --peers tokio,a10+").unwrap();
        let names: Vec<_> = options
            .workloads
            .iter()
            .map(|workload| workload.name)
            .collect();
        assert_eq!(names, ["echo", "nop"]);
        assert!(options.effort == Effort::Quick && !options.real_time && !options.instructions);
        assert_eq!(options.json.as_deref(), Some("x"));
        let Wanted::Named(named) = options.wanted else {
            panic!("they were named");
        };
        assert_eq!(
            named.iter().map(|subject| subject.name).collect::<Vec<_>>(),
            ["tokio", "a10+"]
        );
    }

    #[test]
    fn all_that_is_usual_unless_said_otherwise() {
        let options = parse("").unwrap();
        assert!(options.workloads.len() < WORKLOADS.len());
        assert!(matches!(options.wanted, Wanted::All));
        let quick = parse("--quick").unwrap();
        assert!((1..options.workloads.len()).contains(&quick.workloads.len()));
        assert!(matches!(quick.wanted, Wanted::Quick));
        let named = parse("--quick epoll").unwrap();
        assert_eq!(named.workloads.len(), 1);
    }

    #[test]
    fn what_is_not_known() {
        for line in ["--json", "--peers", "--peers nobody", "--fast", "walk"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(usage().contains("nop echo turn"));
    }
}
