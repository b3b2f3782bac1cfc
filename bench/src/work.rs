//! The work, written once over what each peer offers.

mod accept;
mod echo;
mod file;
mod task;
mod timer;
mod turn;
mod udp;
mod wake;

pub use self::file::{Blocks, open};
pub use self::timer::{LATENESS_TASKS, add_lateness};

use crate::child::{Args, Outcome, answer};
use crate::machine;
use crate::meter::Meter;
use crate::peer::Peer;
use std::process::ExitCode;
use std::rc::Rc;

/// Does what a command line says, behind [`COMMAND`](crate::child::COMMAND): on the first CPU,
/// before all others if it says `real-time`, by `peer`.
pub fn main(args: &[String], peer: impl FnOnce(&Args) -> Result<Outcome, String>) -> ExitCode {
    let done = Args::parse(args).and_then(|args| {
        machine::raise_open_files();
        machine::pin(machine::cpus().0);
        if args.has("real-time") {
            machine::run_first().map_err(|e| format!("real-time: {e}"))?;
        }
        peer(&args)
    });
    match done {
        Ok(outcome) => {
            answer(&outcome);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

/// Does it on a runtime.
///
/// # Errors
/// It cannot be done on it, or fails.
pub fn run<P: Peer>(args: &Args) -> Result<Outcome, String> {
    match args.workload.as_str() {
        "nop" => {
            let batch = args.need("batch")?;
            let meter = Rc::new(Meter::new(args.goal()?));
            P::nops(args, batch, meter.clone())?;
            meter.outcome()
        }
        "echo" => echo::run::<P>(args),
        "udp" => udp::run::<P>(args),
        "accept" => accept::run::<P>(args),
        "turn" => turn::run::<P>(args),
        "file" => file::run::<P>(args),
        "fire" | "cancel" | "lateness" | "spawn" | "yield" | "wake" | "awake" if !P::IS_RUNTIME => {
            Err("it has no tasks and timers of its own".to_owned())
        }
        "fire" => timer::fire::<P>(args),
        "cancel" => timer::cancel::<P>(args),
        "lateness" => timer::lateness::<P>(args),
        "spawn" => task::spawn::<P>(args),
        "yield" => task::yield_now::<P>(args),
        "wake" => wake::run::<P>(args),
        "awake" => wake::awake::<P>(args),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Why a peer does not do what nobody knows.
pub fn unknown_workload(name: &str) -> String {
    format!("it does no {name:?}")
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
