//! How the examples are run, and what is run against them.

use crate::common::kill;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// After which a program that does not end is killed.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);

/// Where an example was built: beside this test.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    let path = path.with_extension(env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    path
}

/// An example on a backend.
pub(crate) fn command(name: &str, backend: &str) -> Command {
    let mut command = Command::new(example(name));
    command
        .env("COMPLETEIO_BACKEND", backend)
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::new(&child);
    child.wait_with_output().unwrap()
}

/// Runs an example, which is to succeed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// Runs an example, which is to fail with this status; returns what it said.
pub(crate) fn fail(command: &mut Command, status: i32) -> String {
    let output = run(command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}:\n{out}\n{err}"
    );
    err
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Kills a child that outlives its time.
pub(crate) struct Watchdog {
    _done: Sender<()>,
}

impl Watchdog {
    pub(crate) fn new(child: &Child) -> Self {
        let (_done, receiver) = mpsc::channel();
        let pid = child.id();
        thread::spawn(move || {
            if receiver.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
                println!("the watchdog kills {pid}");
                kill(pid); // It was not waited for: it has its pid.
            }
        });
        Self { _done }
    }
}

/// What `doctor` says.
pub(crate) fn doctor() -> &'static str {
    static REPORT: OnceLock<String> = OnceLock::new();
    REPORT.get_or_init(|| succeed(Command::new(example("doctor")).env_remove("COMPLETEIO_BACKEND")))
}

/// Examples, each on every backend.
pub(crate) fn on_backends<const N: usize>(
    examples: [&'static str; N],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let backends = backends().iter();
    backends.flat_map(move |&backend| examples.map(|name| (name, backend)))
}

/// Those that `doctor` reports of.
#[cfg(unix)]
pub(crate) const BACKENDS: &[&str] = &["io_uring", "readiness"];
#[cfg(windows)]
pub(crate) const BACKENDS: &[&str] = &["iocp"];

/// The backends that work here. Says once which do not.
pub(crate) fn backends() -> &'static [&'static str] {
    static WORKING: OnceLock<Vec<&str>> = OnceLock::new();
    WORKING.get_or_init(|| {
        let works = |backend: &&str| {
            let report = doctor()
                .lines()
                .find(|line| line.starts_with(backend))
                .unwrap();
            let works = report.ends_with(": works");
            if !works {
                println!("skipped: {report}");
            }
            works
        };
        BACKENDS.iter().copied().filter(works).collect()
    })
}

/// An empty directory for one test.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("examples")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// An example that listens, running.
pub(crate) struct Server {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    _watchdog: Watchdog,
}

impl Server {
    /// Starts an echo that ends when so many connections were closed.
    pub(crate) fn echo(command: &mut Command, exit_after: usize) -> Self {
        Self::start(command.args(["--listen", "127.0.0.1:0"]), exit_after)
    }

    /// Starts one that ends when so many connections were closed.
    pub(crate) fn start(command: &mut Command, exit_after: usize) -> Self {
        command.args(["--exit-after", &exit_after.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let _watchdog = Watchdog::new(&child);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect(&line)
            .parse()
            .unwrap();
        Self {
            child,
            stdout,
            address,
            _watchdog,
        }
    }

    /// Waits for its end; returns what it said.
    pub(crate) fn end(mut self) -> String {
        let mut report = String::new();
        self.stdout.read_to_string(&mut report).unwrap();
        assert!(self.child.wait().unwrap().success(), "{report}");
        report
    }
}

/// Sends bytes, ends that side, and returns what comes back until the other side ends.
pub(crate) fn round_trip(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut back = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut back).unwrap();
    });
    back
}
