//! How loops are driven that are given sockets: until these are closed, or a turn at a time.

use bench::alloc::allocations;
use bench::child::{Args, Outcome};
use bench::server::{Listening, TURN_ROOM, Turns, listen};
use std::io;
use std::os::fd::OwnedFd;

/// What one step of a loop has done: a wait, and all that came of it.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) answers: usize,
    pub(crate) closed: usize,
}

/// How long a loop goes on.
pub(crate) enum Serve<'a> {
    UntilClosed {
        /// Whether it makes a system call for each answer that means nothing: the count of calls
        /// must see it.
        call: bool,
    },
    Turns(&'a mut Turns),
}

impl Serve<'_> {
    /// Makes steps. All `connections` are open at first.
    #[inline]
    pub(crate) fn run(
        self,
        connections: usize,
        mut step: impl FnMut() -> io::Result<Step>,
    ) -> io::Result<()> {
        match self {
            Self::UntilClosed { call } => {
                let mut open = connections;
                while open > 0 {
                    let done = step()?;
                    open -= done.closed;
                    for _ in 0..if call { done.answers } else { 0 } {
                        // SAFETY: touches no memory.
                        unsafe { libc::getppid() };
                    }
                }
            }
            Self::Turns(turns) => {
                while turns.begin()? {
                    let mut left = turns.requests();
                    while left > 0 {
                        left -= step()?.answers;
                    }
                    turns.end()?;
                }
            }
        }
        Ok(())
    }
}

/// Does `echo` or `turn` by a loop that is given the sockets, and the room for each.
pub(crate) fn echo(
    args: &Args,
    echo: impl FnOnce(&[OwnedFd], usize, Serve<'_>) -> io::Result<()>,
) -> Result<Outcome, String> {
    let connections = args.need("connections")?;
    if args.workload == "turn" {
        let (mut turns, listener) = Turns::new(args)?;
        let sockets = Listening::Tcp(listener).accept_all(connections)?;
        echo(&sockets, TURN_ROOM, Serve::Turns(&mut turns)).map_err(|e| e.to_string())?;
        return turns.outcome();
    }
    let (listening, ready) = listen(args)?;
    ready.tell();
    let sockets = listening.accept_all(connections)?;
    let serve = Serve::UntilClosed {
        call: args.has("call"),
    };
    echo(&sockets, args.need("buffer")?, serve).map_err(|e| e.to_string())?;
    Ok([("allocations".to_owned(), allocations() as f64)].into())
}
