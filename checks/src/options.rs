//! The arguments of all subcommands.

use completeio_driver::driver::{Backend, Builder, Driver};
use std::path::PathBuf;
use std::str::FromStr;

/// What most of them take.
pub(crate) const COMMON: &str = "\
OPTIONS: --backend io_uring|readiness  --workers N  --tolerate ERRNO";

#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    pub(crate) backend: Option<Backend>,
    pub(crate) workers: Option<usize>,
    /// An operation, or an attach, may fail with this number: it is done again.
    pub(crate) tolerate: Option<i32>,
    pub(crate) work: String,
    pub(crate) case: String,
    pub(crate) rounds: usize,
    pub(crate) cases: u32,
    pub(crate) seed: Option<u64>,
    pub(crate) dir: PathBuf,
    pub(crate) files_left: Option<u64>,
    pub(crate) forbid: String,
    pub(crate) errno: u32,
    pub(crate) seeds: u64,
    pub(crate) ops: usize,
    pub(crate) minutes: f64,
    pub(crate) connections: usize,
    /// What is no option.
    pub(crate) names: Vec<String>,
    /// What follows `--`.
    pub(crate) command: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rounds: 1,
            cases: 64,
            seeds: 1000,
            ops: 200,
            minutes: 10.0,
            connections: 10_000,
            ..Self::default()
        };
        while let Some(option) = args.next() {
            if option == "--" {
                options.command = args.collect();
                break;
            }
            if !option.starts_with("--") {
                options.names.push(option);
                continue;
            }
            let value = args.next().unwrap_or_else(|| crate::usage());
            match option.as_str() {
                "--backend" => options.backend = Some(value_of(&value)),
                "--workers" => options.workers = Some(value_of(&value)),
                "--tolerate" => options.tolerate = Some(value_of(&value)),
                "--work" => options.work = value,
                "--case" => options.case = value,
                "--rounds" => options.rounds = value_of(&value),
                "--cases" => options.cases = value_of(&value),
                "--seed" => options.seed = Some(value_of(&value)),
                "--dir" => options.dir = value.into(),
                "--files-left" => options.files_left = Some(value_of(&value)),
                "--forbid" => options.forbid = value,
                "--errno" => options.errno = value_of(&value),
                "--seeds" => options.seeds = value_of(&value),
                "--ops" => options.ops = value_of(&value),
                "--minutes" => options.minutes = value_of(&value),
                "--connections" => options.connections = value_of(&value),
                _ => crate::usage(),
            }
        }
        options
    }

    /// The builder that these options ask for, small enough to be filled.
    pub(crate) fn builder(&self) -> Builder {
        let builder = Driver::builder()
            .entries(16)
            .in_flight(32)
            .workers(self.workers.unwrap_or(2));
        match self.backend {
            Some(backend) => builder.backend(backend),
            None => builder,
        }
    }
}

fn value_of<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| crate::usage())
}
