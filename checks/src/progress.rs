//! How far something came, for who watches.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How often it is told, but on a terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// One line on stderr: rewritten on a terminal, else told now and then.
#[derive(Debug)]
pub struct Progress {
    is_watched: bool,
    told: Instant,
}

impl Progress {
    /// Nothing is told yet.
    pub fn begin() -> Self {
        Self {
            is_watched: io::stderr().is_terminal(),
            told: Instant::now(),
        }
    }

    /// Tells how far it came.
    pub fn tell(&mut self, line: impl Display) {
        if self.is_watched {
            eprint!("\r\x1b[K{line}");
        } else if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            eprintln!("{line}");
        }
    }

    /// What is printed next begins a line.
    pub fn pause(&self) {
        if self.is_watched {
            eprintln!();
        }
    }
}
