//! Processes that are measured: started, listened to, and ended in time.

use bench::child::{Args, Outcome, parse_line};
use bench::server::READY;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that does the work, under another one that watches it, if there is one.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) under: Vec<String>,
}

impl Program {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            under: Vec::new(),
        }
    }

    /// The same, watched by the command `under`.
    pub(crate) fn under(&self, under: &[&str]) -> Self {
        Self {
            path: self.path.clone(),
            under: under.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    pub(crate) fn start(&self, args: &Args) -> Result<Process, String> {
        let mut command = match self.under.split_first() {
            None => Command::new(&self.path),
            Some((watcher, words)) => {
                let mut command = Command::new(watcher);
                command.args(words).arg(&self.path);
                command
            }
        };
        let child = command
            .args(args.to_command())
            // A panic says why in its last line.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // With whom it watches, of which it would leave the process alone.
            .process_group(0)
            .spawn();
        let failed = |e| format!("{}: {e}", command.get_program().to_string_lossy());
        Process::new(child.map_err(failed)?)
    }
}

/// A process that runs. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// How a process has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// What it, and whoever watched it, said on the standard error.
    pub(crate) said: String,
}

impl Process {
    fn new(mut child: Child) -> Result<Self, String> {
        let out = child.stdout.take().ok_or("its output was piped")?;
        let (send, lines) = mpsc::channel();
        // It ends with the output.
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is ready, and returns its port.
    pub(crate) fn ready(&mut self) -> Result<u16, String> {
        let line = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err("it is not ready in time".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return Err(self.reason()),
        };
        let port = line
            .strip_prefix(READY)
            .and_then(|port| port.trim().parse().ok());
        port.ok_or_else(|| format!("it said {line:?}"))
    }

    /// Waits until it has ended, for so long beside what it was asked for.
    pub(crate) fn end(mut self, asked_for: Duration) -> Result<Ended, String> {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + asked_for + PATIENCE;
        let mut outcome = Outcome::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => outcome.extend(parse_line(&line)),
                Err(RecvTimeoutError::Timeout) => return Err("it does not end".to_owned()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.child.wait().map_err(|e| e.to_string())?;
        let said = self.said();
        match status.success() {
            true => Ok(Ended { outcome, said }),
            false => Err(reason(&said, &status.to_string())),
        }
    }

    fn said(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(mut err) = self.child.stderr.take() {
            // What is no text is no reason either.
            let _ = err.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Why it has ended.
    fn reason(&mut self) -> String {
        let status = self.child.wait().map(|status| status.to_string());
        reason(&self.said(), &status.unwrap_or_else(|e| e.to_string()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(None) = self.child.try_wait() else {
            return; // It has ended.
        };
        let group = libc::pid_t::try_from(self.child.id()).expect("a number of the kernel's");
        // SAFETY: takes numbers. It was not waited for, so that its number, which is the group's, is
        // nobody else's.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// The last line that a process has said itself: where it panicked, the message.
fn reason(said: &str, status: &str) -> String {
    let own = |line: &&str| {
        !line.is_empty() && !line.starts_with("==") && !line.starts_with("note: run with")
    };
    let last = said.lines().rev().find(own);
    last.map_or_else(|| status.to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Process::new(command.spawn().unwrap()).unwrap()
    }

    #[test]
    fn numbers_are_taken_from_the_output() {
        let mut process = sh("echo ready 80; read line; echo ops 3; echo what");
        assert_eq!(process.ready(), Ok(80));
        let ended = process.end(Duration::ZERO).unwrap();
        assert_eq!(ended.outcome, [("ops".to_owned(), 3.0)].into());
    }

    /// The output ends when nobody has it any more.
    #[test]
    fn whom_it_watches_is_ended_too() {
        let mut process = sh("sh -c 'echo ready 80; exec sleep 1000' & wait");
        assert_eq!(process.ready(), Ok(80));
        let (_, nothing) = mpsc::channel();
        let lines = std::mem::replace(&mut process.lines, nothing);
        drop(process);
        assert_eq!(
            lines.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected)
        );
    }

    #[test]
    fn a_failure_has_its_reason() {
        let failed = sh("echo no such thing >&2; exit 1").end(Duration::ZERO);
        assert_eq!(failed.err().as_deref(), Some("no such thing"));
        assert_eq!(
            sh("echo it ends >&2").ready().err().as_deref(),
            Some("it ends")
        );
        let silent = sh("exit 3").end(Duration::ZERO);
        assert!(silent.err().unwrap().contains('3'));
        assert_eq!(reason("==1== x\nmine\n\n==1== y\n", "0"), "mine");
    }
}
