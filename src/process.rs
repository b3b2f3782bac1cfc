//! Child processes.

use crate::driver::OwnedFd;
use crate::io::AsyncReadExt;
use crate::op::WaitId;
use crate::pipe::{PipeReader, PipeWriter};
use crate::task::{submit, try_both};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process as std_process;
use std::thread;

pub use std::process::{ExitStatus, Output, Stdio};

/// The pipe to a child's standard input.
pub type ChildStdin = PipeWriter;
/// The pipe from a child's standard output.
pub type ChildStdout = PipeReader;
/// The pipe from a child's standard error.
pub type ChildStderr = PipeReader;

/// A program to run, as [`std::process::Command`], which does the work.
///
/// ```
/// use completeio::{process::Command, task::block_on};
///
/// let output = block_on(Command::new("echo").arg("hello").output())?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Command {
    command: std_process::Command,
    kill_on_drop: bool,
}

macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, $($argument: $type),*) -> &mut Self {
            self.command.$name($($argument),*);
            self
        }
    )*};
}

impl Command {
    /// Runs `program`, without arguments, in this process's environment and directory, with its
    /// standard streams.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std_process::Command::new(program).into()
    }

    forward! {
        /// One more argument.
        arg(argument: impl AsRef<OsStr>);
        /// More arguments.
        args(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>);
        /// Sets a variable of its environment.
        env(key: impl AsRef<OsStr>, value: impl AsRef<OsStr>);
        /// Sets variables of its environment.
        envs(variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>);
        /// Removes a variable from its environment.
        env_remove(key: impl AsRef<OsStr>);
        /// Removes all variables from its environment.
        env_clear();
        /// The directory that it starts in.
        current_dir(dir: impl AsRef<Path>);
        /// Its standard input: [`Stdio::piped`] is [`Child::stdin`].
        stdin(stdio: impl Into<Stdio>);
        /// Its standard output: [`Stdio::piped`] is [`Child::stdout`].
        stdout(stdio: impl Into<Stdio>);
        /// Its standard error: [`Stdio::piped`] is [`Child::stderr`].
        stderr(stdio: impl Into<Stdio>);
    }

    /// Whether the child is killed (`SIGKILL`; on Windows, with the code 1) when its handle is
    /// dropped before it was waited for. It is not, unless this says so.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// For options that only std's has.
    pub fn as_std_mut(&mut self) -> &mut std_process::Command {
        &mut self.command
    }

    /// Starts the program, which takes the thread as long as a fork and an exec.
    ///
    /// # Errors
    /// As [`std::process::Command::spawn`]; as [`attach`](crate::driver::CompleteIo::attach) of its
    /// pipes.
    ///
    /// # Panics
    /// Outside of a runtime, if there are pipes.
    pub fn spawn(&mut self) -> io::Result<Child> {
        fn attach<T: TryFrom<OwnedFd, Error = io::Error>>(
            end: Option<impl Into<OwnedFd>>,
        ) -> io::Result<Option<T>> {
            end.map(|end| end.into().try_into()).transpose()
        }
        let mut child = self.command.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // From here on it is reaped.
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            child: Some(child),
            kill_on_drop: self.kill_on_drop,
        };
        child.stdin = attach(stdin)?;
        child.stdout = attach(stdout)?;
        child.stderr = attach(stderr)?;
        Ok(child)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait`].
    pub async fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait().await
    }

    /// Runs the program to its end, and collects its standard output and error, wherever these were
    /// to go. Its standard input is what was set, or this process's.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn) and [`Child::wait_with_output`].
    pub async fn output(&mut self) -> io::Result<Output> {
        self.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn()?.wait_with_output().await
    }
}

impl From<std_process::Command> for Command {
    fn from(command: std_process::Command) -> Self {
        Self {
            command,
            kill_on_drop: false,
        }
    }
}

/// A child process.
///
/// Dropping it leaves the process to itself, unless [`Command::kill_on_drop`] says otherwise. If it
/// has not ended by then, on Unix a thread, with little more than a stack, waits for its end, and
/// reaps it: no zombie is left, whatever becomes of the runtime. (One is, if no thread can be had.)
#[derive(Debug)]
pub struct Child {
    /// Its standard input, if that is a pipe. [`wait`](Self::wait) closes it.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// Its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    /// Until it is dropped.
    child: Option<std_process::Child>,
    kill_on_drop: bool,
}

impl Child {
    fn child(&mut self) -> &mut std_process::Child {
        self.child.as_mut().expect("it is there until the drop")
    }

    /// Its number. When it was waited for, it may be another process's.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("as above").id()
    }

    /// Closes its standard input, waits until it has ended, and reaps it: see [`WaitId`]. Then it
    /// is ready with the same status again. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// As [`WaitId::child`] and [`WaitId`]: on Unix `ECHILD` if somebody else has reaped it.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            // It is std's to reap, which would otherwise not know that its number is another's.
            let ended = WaitId::child(self.id())?.keep(true);
            submit(ended).await.0?;
        }
    }

    /// How it has ended, if it has; it is reaped then.
    ///
    /// # Errors
    /// As [`std::process::Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child().try_wait()
    }

    /// Closes its standard input, collects what is left of its output, and waits until it has
    /// ended. If the future is dropped, so is the child.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and of the reads.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        self.stdin = None;
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = try_both(read_all(stdout), read_all(stderr)).await?;
        let status = self.wait().await?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Kills it (`SIGKILL`; on Windows, with the code 1). It is to be waited for nevertheless. Of
    /// one that has ended it is no error.
    ///
    /// # Errors
    /// As [`std::process::Child::kill`].
    pub fn start_kill(&mut self) -> io::Result<()> {
        self.child().kill()
    }

    /// Kills it, and waits until it has ended.
    ///
    /// # Errors
    /// As [`start_kill`](Self::start_kill) and [`wait`](Self::wait).
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        /// A thread that waits needs no more.
        const STACK_BYTES: usize = 64 << 10;
        let Some(mut child) = self.child.take() else {
            return;
        };
        if self.kill_on_drop {
            // Of one that has ended there is nothing to kill.
            let _ = child.kill();
        }
        // Elsewhere nothing is left of who has ended.
        if cfg!(unix) && matches!(child.try_wait(), Ok(None)) {
            let thread = thread::Builder::new().name("completeio-reaper".into());
            let reaper = thread.stack_size(STACK_BYTES).spawn(move || child.wait());
            // Without a thread there is nobody to wait.
            drop(reaper);
        }
    }
}

/// All that comes out of a pipe.
async fn read_all(pipe: Option<PipeReader>) -> io::Result<Vec<u8>> {
    let Some(mut pipe) = pipe else {
        return Ok(Vec::new());
    };
    let (read, bytes) = pipe.read_to_end(Vec::new()).await;
    read.map(|_| bytes)
}
