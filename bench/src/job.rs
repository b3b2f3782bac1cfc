//! What is to be done in one case, by whoever it may be.

use crate::load;
use crate::process::{Ended, Process, Program};
use crate::subject::{Kind, Subject};
use bench::child::{Args, Outcome};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The programs, and how they are run.
pub(crate) struct Runner {
    pub(crate) ours: Program,
    /// Or why there is none.
    pub(crate) peers: Result<Program, String>,
    pub(crate) real_time: bool,
}

/// Work for one process, or for a server and its load. The peer of a command line is filled in.
#[derive(Clone)]
pub(crate) enum Job {
    Alone(Args),
    Served {
        server: Args,
        load: Args,
        /// The server ends when its connections are closed, and has an answer of its own.
        ends: bool,
    },
}

impl Job {
    /// For so long.
    pub(crate) fn timed(self, warm_up: Duration, window: Duration) -> Self {
        let timed = |args: Args| {
            args.with("warm-ms", warm_up.as_millis())
                .with("ms", window.as_millis())
        };
        self.with_goal(timed)
    }

    /// So many operations.
    pub(crate) fn counted(self, ops: u64) -> Self {
        self.with_goal(|args| args.with("ops", ops))
    }

    fn with_goal(self, goal: impl Fn(Args) -> Args) -> Self {
        match self {
            Self::Alone(args) => Self::Alone(goal(args)),
            Self::Served { server, load, ends } => Self::Served {
                load: goal(load),
                server,
                ends,
            },
        }
    }
}

impl Runner {
    /// The program of a subject, or why it has none.
    pub(crate) fn program(&self, subject: Subject) -> Result<Program, String> {
        match subject.kind {
            Kind::ByHand | Kind::Ours => Ok(self.ours.clone()),
            Kind::Peer => self.peers.clone(),
        }
    }

    /// The command line of a subject.
    pub(crate) fn args(&self, args: &Args, subject: Subject) -> Args {
        let mut args = args.clone();
        args.peer = subject.name.to_owned();
        // One that spins would keep from its CPU what it waits for: a thread that is awake, glommio with
        // O_DIRECT.
        let spins = args.workload == "awake" || subject.name == "glommio" && args.has("direct");
        args.with("real-time", u8::from(self.real_time && !spins))
    }

    /// Does a job, and returns what was measured.
    pub(crate) fn run(&self, subject: Subject, job: &Job) -> Result<Outcome, String> {
        self.run_under(&self.program(subject)?, subject, job)
            .map(|ended| ended.outcome)
    }

    /// Does a job by this program, which may be watched, and returns what the watched process said
    /// too.
    pub(crate) fn run_under(
        &self,
        program: &Program,
        subject: Subject,
        job: &Job,
    ) -> Result<Ended, String> {
        match job {
            Job::Alone(args) => program
                .start(&self.args(args, subject))?
                .end(asked_for(args)?),
            Job::Served { server, load, ends } => {
                let server = self.args(server, subject);
                let _path = OwnPath(server.get("path")?);
                let mut server = program.start(&server)?;
                let made = self.load(load, &mut server)?.end(asked_for(load)?);
                if !ends {
                    return made;
                }
                // If the load has failed, the server knows better why.
                let ended = server.end(Duration::ZERO)?;
                let mut outcome = made?.outcome;
                outcome.extend(ended.outcome);
                let said = ended.said;
                Ok(Ended { outcome, said })
            }
        }
    }

    /// Starts the load of a server that runs.
    pub(crate) fn load(&self, load: &Args, server: &mut Process) -> Result<Process, String> {
        let port = server.ready()?;
        let mut load = load
            .clone()
            .with("port", port)
            .with("server", server.id())
            .with("real-time", u8::from(self.real_time));
        load.peer = load::PEER.to_owned();
        self.ours.start(&load)
    }
}

fn asked_for(args: &Args) -> Result<Duration, String> {
    let ms = |key| args.get::<u64>(key).map(Option::unwrap_or_default);
    Ok(Duration::from_millis(ms("warm-ms")? + ms("ms")?))
}

/// The path of a server's socket, removed in the end.
struct OwnPath(Option<PathBuf>);

impl Drop for OwnPath {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // One that never listened has made none.
            let _ = fs::remove_file(path);
        }
    }
}
