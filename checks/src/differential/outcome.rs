//! What came of a step.

use std::fmt;
use std::io;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this count, or with 0 where there is nothing to count.
    Done(u64),
    Errno(i32),
    /// With an error that is no system call's.
    Refused(io::ErrorKind),
    /// Not at all: it waits for what others do. Then it was cancelled.
    Waits,
    /// Not at all, though the plain call ended.
    Hangs,
}

impl From<&io::Error> for Outcome {
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Errno(errno),
            None => Self::Refused(error.kind()),
        }
    }
}

/// All that is compared of a step.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    /// What an exact transfer had moved when it failed.
    pub(crate) moved: usize,
    /// The whole memory that was lent.
    pub(crate) bytes: Vec<u8>,
    /// Other facts.
    pub(crate) facts: String,
}

impl Seen {
    pub(crate) fn only(outcome: Outcome) -> Self {
        Self {
            outcome,
            moved: 0,
            bytes: Vec::new(),
            facts: String::new(),
        }
    }

    /// Of what has nothing to count.
    pub(crate) fn unit(result: io::Result<()>) -> Self {
        Self::only(match result {
            Ok(()) => Outcome::Done(0),
            Err(e) => Outcome::from(&e),
        })
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Errno(errno) => write!(f, "{}", io::Error::from_raw_os_error(errno))?,
            outcome => write!(f, "{outcome:?}")?,
        }
        if self.moved > 0 {
            write!(f, ", {} moved before", self.moved)?;
        }
        if !self.bytes.is_empty() {
            let (len, sum) = (self.bytes.len(), digest(&self.bytes));
            write!(
                f,
                ", memory of {len} bytes {:02x?}…",
                &self.bytes[..len.min(8)]
            )?;
            write!(f, " (digest {sum:016x})")?;
        }
        if !self.facts.is_empty() {
            write!(f, ", {}", self.facts)?;
        }
        Ok(())
    }
}

/// FNV-1a.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
