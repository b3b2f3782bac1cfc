//! Holds what a run has skipped to what is recorded for it in `.ci/skips`.
//!
//! A skip may be because its condition holds: a tool that is missing, a kernel that is too old.
//! That is looked at here, not taken from who skips. All else must be recorded, and be as often as
//! it says; so must be how much passes at least. What silently stops running is then either one
//! fewer that has passed, or a skip for which there is no reason.

mod condition;
mod log;
mod record;

use self::log::Log;
use self::record::Record;
use crate::{Options, programs};
use std::{fs, io};

/// Reads the log of the run that is named.
pub(crate) fn run(options: &Options) {
    let [run] = &options.names[..] else {
        crate::usage()
    };
    let path = programs::root().join(".ci/skips");
    let record = Record::parse(&fs::read_to_string(path).unwrap());
    let record = record.unwrap_or_else(|line| crate::fail(format_args!(".ci/skips: {line}")));
    let log = Log::read(&io::read_to_string(io::stdin()).unwrap());
    let found = record.compare(run, &log);
    for line in &found.right {
        println!("as it should be: {line}");
    }
    for line in &found.wrong {
        println!("NOT AS RECORDED: {line}");
    }
    std::process::exit(i32::from(!found.wrong.is_empty()));
}
