//! The arguments of an example: `--flag`, `--name value`, and names of files; errors that name what
//! they are about.
#![allow(dead_code, reason = "each example uses a part")]
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process;
use std::str::FromStr;

/// What is left of the process's arguments.
pub(crate) struct Args {
    /// Those before a `--`.
    options: Vec<OsString>,
    /// Those after it: never options.
    names: Vec<OsString>,
}

impl Args {
    /// All arguments. `--help` prints `help`, and ends the process.
    pub(crate) fn new(help: &str) -> Self {
        let mut options: Vec<OsString> = env::args_os().skip(1).collect();
        let names = match options.iter().position(|arg| arg == "--") {
            Some(i) => options.split_off(i).split_off(1),
            None => Vec::new(),
        };
        if options.iter().any(|arg| arg == "--help" || arg == "-h") {
            println!("{}", help.trim_end());
            process::exit(0);
        }
        Self { options, names }
    }

    /// Whether `--name` was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.options.len();
        self.options.retain(|arg| arg != name);
        self.options.len() < before
    }

    /// What follows `--name`; ends the process if that is not a `T`.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let i = self.options.iter().position(|arg| arg == name)?;
        self.options.remove(i);
        if i == self.options.len() {
            wrong(format_args!("{name} needs a value"));
        }
        let value = self.options.remove(i);
        match value.to_str().and_then(|text| text.parse().ok()) {
            Some(value) => Some(value),
            None => wrong(format_args!("{name} cannot be {value:?}")),
        }
    }

    /// The rest, when all options were taken; ends the process if there is another one.
    pub(crate) fn names(self) -> Vec<OsString> {
        for arg in &self.options {
            if arg.as_encoded_bytes().starts_with(b"-") {
                wrong(format_args!("there is no option {arg:?}"));
            }
        }
        self.options.into_iter().chain(self.names).collect()
    }

    /// As `names`, where there must be none.
    pub(crate) fn end(self) {
        if let Some(name) = self.names().first() {
            wrong(format_args!("{name:?} is one argument too many"));
        }
    }
}

/// Ends the process for a mistake in its arguments.
pub(crate) fn wrong(mistake: impl Display) -> ! {
    eprintln!("{mistake}; --help tells more");
    process::exit(2);
}

/// An error, and what it is about.
pub(crate) fn named(what: impl Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Listens on an address, or says on which it cannot.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| named(address, error))
}
