//! The examples do what they say, on every backend that works here.
//!
//! They are run as programs. `cargo test` builds them; `cargo test --test examples` alone does not
//! build them anew. What needs a tool that is not installed is skipped, and says so.
#![cfg(unix)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

/// After which a program that does not end is killed.
const WATCHDOG: Duration = Duration::from_secs(120);

// Running programs.

/// Where an example was built: beside this test.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    path
}

/// An example on a backend.
fn command(name: &str, backend: &str) -> Command {
    let mut command = Command::new(example(name));
    command
        .env("COMPLETEIO_BACKEND", backend)
        .stdin(Stdio::null());
    command
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _watchdog = Watchdog::new(&child);
    child.wait_with_output().unwrap()
}

/// Runs an example, which is to succeed.
fn succeed(command: &mut Command) -> String {
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
fn fail(command: &mut Command, status: i32) -> String {
    let output = run(command);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(status),
        "{command:?}:\n{out}\n{err}"
    );
    err
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Kills a child that outlives its time.
struct Watchdog {
    _done: Sender<()>,
}

impl Watchdog {
    fn new(child: &Child) -> Self {
        let (_done, receiver) = mpsc::channel();
        let pid = libc::pid_t::try_from(child.id()).unwrap();
        thread::spawn(move || {
            if receiver.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
                println!("the watchdog kills {pid}");
                // SAFETY: kill(2) touches no memory. The child was not waited for: it has its pid.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        Self { _done }
    }
}

/// What `doctor` says.
fn doctor() -> &'static str {
    static REPORT: OnceLock<String> = OnceLock::new();
    REPORT.get_or_init(|| succeed(Command::new(example("doctor")).env_remove("COMPLETEIO_BACKEND")))
}

/// Examples, each on every backend.
fn on_backends(examples: [&'static str; 2]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let backends = backends().iter();
    backends.flat_map(move |&backend| examples.map(|name| (name, backend)))
}

/// The backends that work here. Says once which do not.
fn backends() -> &'static [&'static str] {
    static BACKENDS: OnceLock<Vec<&str>> = OnceLock::new();
    BACKENDS.get_or_init(|| {
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
        ["io_uring", "readiness"]
            .into_iter()
            .filter(works)
            .collect()
    })
}

// Files.

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("examples")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// So many bytes that repeat in no way that blocks do.
fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn every_example_explains_itself() {
    let http = cfg!(feature = "hyper").then_some("http");
    let follow = cfg!(feature = "signal").then_some("follow");
    let others = [
        "cat",
        "cp",
        "cp_tasks",
        "echo",
        "timer",
        "doctor",
        "remote",
        "echo_tasks",
        "forward",
    ];
    for name in others.into_iter().chain(http).chain(follow) {
        let help = succeed(Command::new(example(name)).arg("--help"));
        assert!(help.starts_with(&format!("usage: {name}")), "{help}");
        let error = fail(Command::new(example(name)).arg("--no-such-option"), 2);
        assert!(error.contains("--no-such-option"), "{error}");
    }
}

#[test]
fn doctor_reports() {
    let report = doctor();
    for key in [
        "kernel: ",
        "sysctl kernel.io_uring_disabled: ",
        "open files (ulimit -n): ",
        "locked memory (ulimit -l): ",
        "\nio_uring: ",
        "\nreadiness: ",
        "the default choice:\nbackend: ",
        "operations:\n",
        "ReadAt: ",
    ] {
        assert!(report.contains(key), "{key:?} is missing in:\n{report}");
    }
    for &backend in backends() {
        let report = succeed(&mut command("doctor", backend));
        let choice = format!("backend: {backend} (asked for by COMPLETEIO_BACKEND)");
        assert!(report.contains(&choice), "{report}");
    }
}

#[test]
fn timer_is_never_early() {
    for &backend in backends() {
        let report = succeed(&mut command("timer", backend));
        for key in [
            "no entry, after 1",
            "a timeout of an hour, cancelled: Err(Os { code: 125",
            "\nrelative         16",
            "\nabsolute         16",
            "\nrealtime         16",
            "\n0 early\n",
        ] {
            assert!(
                report.contains(key),
                "{backend}: {key:?} is missing in:\n{report}"
            );
        }
    }
}

#[test]
fn cat_copies_files() {
    let dir = directory("cat");
    for &backend in backends() {
        let mut all = Vec::new();
        let mut names = Vec::new();
        for len in [0, 1, 5 << 20] {
            let (name, bytes) = (dir.join(len.to_string()), bytes(len));
            fs::write(&name, &bytes).unwrap();
            let output = run(command("cat", backend).arg(&name));
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert!(output.stdout == bytes, "{backend}: {len} bytes differ");
            all.extend(bytes);
            names.push(name);
        }
        let output = run(command("cat", backend).args(&names));
        assert!(
            output.status.success() && output.stdout == all,
            "{backend}: several differ"
        );
    }
}

#[test]
fn cat_says_what_is_wrong_and_goes_on() {
    let dir = directory("cat-errors");
    let (good, missing) = (dir.join("good"), dir.join("missing"));
    fs::write(&good, "good").unwrap();
    for &backend in backends() {
        let output = run(command("cat", backend).args([&missing, &dir, &good]));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert_eq!(output.stdout, b"good");
        let missing = format!("cat: {}: No such file or directory", missing.display());
        let directory = format!("cat: {}: Is a directory", dir.display());
        assert!(
            error.contains(&missing) && error.contains(&directory),
            "{error}"
        );
    }
}

/// By tasks and by threads, which the example compares; checked against known sums.
#[test]
fn remote_sums_files() {
    let dir = directory("remote");
    let sums = [
        ("empty", Vec::new(), "cbf29ce484222325          0"),
        ("a", b"a".to_vec(), "af63dc4c8601ec8c          1"),
        ("foobar", b"foobar".to_vec(), "85944171f73967e8          6"),
    ];
    let mut names = Vec::new();
    let mut expected = String::new();
    for (name, bytes, sum) in sums {
        let name = dir.join(name);
        fs::write(&name, bytes).unwrap();
        expected += &format!("{sum} {}\n", name.display());
        names.push(name);
    }
    let (large, missing) = (dir.join("large"), dir.join("missing"));
    fs::write(&large, bytes(1 << 20)).unwrap();
    for &backend in backends() {
        let out = succeed(command("remote", backend).args(&names));
        assert_eq!(out, expected, "{backend}");
        // More files than the driver has slots.
        let out = succeed(command("remote", backend).args([&large; 40]));
        assert_eq!(out.matches("    1048576 ").count(), 40, "{out}");
        let output = run(command("remote", backend).args([&missing, &dir, &names[1]]));
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(text(&output.stdout).starts_with("af63dc4c8601ec8c"));
        assert!(
            error.contains("missing: No such file") && error.contains("Is a directory"),
            "{error}"
        );
    }
}

#[test]
fn cat_reads_pipes() {
    for &backend in backends() {
        let mut child = command("cat", backend)
            .arg("/dev/stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _watchdog = Watchdog::new(&child);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"through a pipe")
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout == b"through a pipe");
    }
}

/// By operations that are the caller's, and by tasks.
const COPIERS: [&str; 2] = ["cp", "cp_tasks"];

const SIZES: [usize; 6] = [0, 1, 4095, 4096, (1 << 20) + 17, 20 << 20];

/// Copies files of all sizes; `false` where the file system has no direct IO.
fn copies_are_identical(example: &str, dir: &Path, options: &[&str]) -> bool {
    let (from, to) = (dir.join("from"), dir.join("to"));
    for size in SIZES {
        let bytes = bytes(size);
        fs::write(&from, &bytes).unwrap();
        for &backend in backends() {
            for depth in ["1", "32"] {
                // What was there is longer, and goes.
                fs::write(&to, &[7; 8000][..]).unwrap();
                let mut cp = command(example, backend);
                let cp = cp.args(options).args(["--depth", depth]).args([&from, &to]);
                let output = run(cp);
                let error = text(&output.stderr);
                if error.contains("past the page cache: Invalid argument") {
                    println!("skipped: {error}");
                    return false;
                }
                assert!(output.status.success(), "{cp:?}: {error}");
                assert!(
                    fs::read(&to).unwrap() == bytes,
                    "{cp:?}: {size} bytes differ"
                );
            }
        }
    }
    true
}

#[test]
fn cp_makes_identical_files() {
    for example in COPIERS {
        let dir = directory(example);
        copies_are_identical(example, &dir, &[]);
        // Blocks that divide nothing, and a file in which they all are short.
        copies_are_identical(example, &dir, &["--block", "50021"]);
    }
}

/// Files of others' making, and others compare them.
#[test]
fn cp_serves_dd_and_cmp() {
    if !is_installed("cmp", "--version") {
        return;
    }
    let dir = directory("cp-cmp");
    let (from, to) = (dir.join("from"), dir.join("to"));
    let made = format!("of={}", from.display());
    let dd = [
        "if=/dev/urandom",
        &made,
        "bs=50021",
        "count=100",
        "status=none",
    ];
    succeed(Command::new("dd").args(dd));
    for (example, backend) in on_backends(COPIERS) {
        succeed(command(example, backend).args([&from, &to]));
        succeed(Command::new("cmp").args([&from, &to]));
        fs::remove_file(&to).unwrap();
    }
}

#[test]
fn cp_direct_makes_identical_files() {
    let dir = directory("cp-direct");
    if copies_are_identical("cp", &dir, &["--direct"]) {
        copies_are_identical("cp", &dir, &["--direct", "--block", "4096"]);
    }
}

#[test]
fn cp_copies_holes_modes_and_files_without_a_size() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory("cp-special");
    let (from, to) = (dir.join("from"), dir.join("to"));
    let sparse = fs::File::create(&from).unwrap();
    sparse.set_len((3 << 20) + 5).unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
    for (example, backend) in on_backends(COPIERS) {
        let _ = fs::remove_file(&to);
        succeed(command(example, backend).args([&from, &to]));
        assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o777,
            0o640
        );
        let version = Path::new("/proc/version");
        if version.exists() {
            succeed(command(example, backend).args([version, &to]));
            assert_eq!(fs::read(&to).unwrap(), fs::read(version).unwrap());
        }
    }
}

#[test]
fn cp_says_what_is_wrong() {
    let dir = directory("cp-errors");
    let [file, link, missing] = ["file", "link", "missing"].map(|name| dir.join(name));
    fs::write(&file, "content").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let nowhere = missing.join("file");
    for (example, backend) in on_backends(COPIERS) {
        for (from, to, wrong, what) in [
            (&file, &file, &file, "is the source itself"),
            (&file, &link, &link, "is the source itself"),
            (
                &missing,
                &file,
                &missing,
                "opening: No such file or directory",
            ),
            (
                &file,
                &nowhere,
                &nowhere,
                "opening: No such file or directory",
            ),
            (&dir, &file, &dir, "is no regular file"),
            (&file, &dir, &dir, "opening: Is a directory"),
        ] {
            let error = fail(command(example, backend).args([from, to]), 1);
            let expected = format!("{example}: {}: {what}", wrong.display());
            assert!(error.starts_with(&expected), "{error} is not {expected}");
            assert_eq!(fs::read(&file).unwrap(), b"content", "{what}");
        }
    }
}

#[test]
fn echo_measures_without_allocating() {
    for &backend in backends() {
        for options in [
            "--connections 8",
            "--connections 1 --size 65536",
            "--connections 300 --size 1",
            "--connections 5 --size 20011",
        ] {
            let mut echo = command("echo", backend);
            echo.args(["--seconds", "600", "--round-trips", "1000"]);
            let report = succeed(echo.args(options.split(' ')));
            let made = report.split_once(" round trips, ").unwrap().0;
            let made: u64 = made.rsplit('\n').next().unwrap().parse().unwrap();
            assert!(made >= 1000, "{report}");
            for key in [
                format!("backend: {backend}\n"),
                "\n0 mismatches, 0 failed".to_owned(),
                "\n0 allocations".to_owned(),
                "operations a turn".to_owned(),
                "per second".to_owned(),
            ] {
                assert!(
                    report.contains(&key),
                    "{options}: {key:?} is missing in:\n{report}"
                );
            }
        }
        // The option, against the environment.
        let mut echo = Command::new(example("echo"));
        let report = succeed(echo.args(["--backend", backend, "--round-trips", "1"]));
        assert!(
            report.contains(&format!("backend: {backend}\n")),
            "{report}"
        );
    }
}

// A server for clients that are not ours.

/// An example that listens, running.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    _watchdog: Watchdog,
}

impl Server {
    /// Starts an echo that ends when so many connections were closed.
    fn echo(command: &mut Command, exit_after: usize) -> Self {
        Self::start(command.args(["--listen", "127.0.0.1:0"]), exit_after)
    }

    /// Starts one that ends when so many connections were closed.
    fn start(command: &mut Command, exit_after: usize) -> Self {
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
    fn end(mut self) -> String {
        let mut report = String::new();
        self.stdout.read_to_string(&mut report).unwrap();
        assert!(self.child.wait().unwrap().success(), "{report}");
        report
    }
}

/// Sends bytes, ends that side, and returns what comes back until the other side ends.
fn round_trip(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
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

#[test]
fn echo_serves_sockets_of_std() {
    let message = bytes(3 << 20);
    for &backend in backends() {
        let server = Server::echo(&mut command("echo", backend), 3);
        for len in [0, 1, message.len()] {
            let stream = TcpStream::connect(server.address).unwrap();
            assert!(
                round_trip(stream, &message[..len]) == message[..len],
                "{backend}: {len}"
            );
        }
        let report = server.end();
        assert!(
            report.contains(&format!("backend: {backend}\n")),
            "{report}"
        );
        assert!(
            report.contains("\n3 connections closed, 0 failed\n"),
            "{report}"
        );
    }
}

#[test]
fn echo_closes_connections_that_fail_and_serves_the_others() {
    for (name, backend) in on_backends(ECHOES) {
        let server = Server::echo(&mut command(name, backend), 2);
        let mut other = TcpStream::connect(server.address).unwrap();
        other.write_all(b"before").unwrap();
        let mut failing = TcpStream::connect(server.address).unwrap();
        failing.write_all(b"reset").unwrap();
        // There is something to read: the close is a reset.
        failing.read_exact(&mut [0; 1]).unwrap();
        drop(failing);
        assert_eq!(
            round_trip(other, b" and after"),
            b"before and after",
            "{backend}"
        );
        let report = server.end();
        assert!(
            report.contains("2 connections closed, 1 failed\n"),
            "{report}"
        );
    }
}

#[test]
fn echo_waits_for_descriptors_without_spinning() {
    const CONNECTIONS: usize = 100;
    for &backend in backends() {
        // The hard limit too, so that the server cannot raise it.
        let mut shell = Command::new("sh");
        shell.env("COMPLETEIO_BACKEND", backend);
        shell.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\" --connections 200"]);
        let server = Server::echo(shell.arg(example("echo")), CONNECTIONS);
        let connect = |_| TcpStream::connect(server.address).unwrap();
        let streams: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        for (i, stream) in streams.into_iter().enumerate() {
            let message = format!("message {i}");
            assert_eq!(round_trip(stream, message.as_bytes()), message.as_bytes());
        }
        let report = server.end();
        assert!(
            report.contains("\n100 connections closed, 0 failed\n"),
            "{report}"
        );
        let pauses = report
            .lines()
            .find_map(|line| line.strip_suffix(" times out of descriptors"));
        let pauses: usize = pauses.expect(&report).parse().unwrap();
        // At most one after each close, and not one after the other.
        assert!((1..=CONNECTIONS + 1).contains(&pauses), "{report}");
    }
}

/// Whether a tool can be started; says so if not.
fn is_installed(tool: &str, version: &str) -> bool {
    let started = Command::new(tool)
        .arg(version)
        .stdin(Stdio::null())
        .output();
    let installed = started.as_ref().is_ok_and(|output| output.status.success());
    if !installed {
        println!("skipped: {tool} is not installed");
    }
    installed
}

/// Lets a program send its input to the server, and returns what it printed.
fn pipe_through(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap();
    let _watchdog = Watchdog::new(&child);
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        output.stdout
    })
}

#[test]
fn echo_serves_python() {
    const CLIENT: &str = "
import socket, sys, threading
data = sys.stdin.buffer.read()
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while chunk := s.recv(65536):
    sys.stdout.buffer.write(chunk)
";
    if is_installed("python3", "--version") {
        serves("python3", |address| {
            vec!["-c".into(), CLIENT.into(), ip(address), port(address)]
        });
    }
}

#[test]
fn echo_serves_socat() {
    if is_installed("socat", "-V") {
        // It waits so long for the echo after the end of its input.
        serves("socat", |address| {
            vec!["-t60".into(), "-".into(), format!("TCP:{address}")]
        });
    }
}

#[test]
fn echo_serves_nc() {
    // Of the many programs of this name, the one that can end its side.
    let help = Command::new("nc").arg("-h").stdin(Stdio::null()).output();
    let can = help.is_ok_and(|help| (text(&help.stdout) + &text(&help.stderr)).contains("-N"));
    if can {
        serves("nc", |address| {
            vec!["-N".into(), ip(address), port(address)]
        });
    } else {
        println!("skipped: nc is not installed, or has no -N");
    }
}

fn ip(address: SocketAddr) -> String {
    address.ip().to_string()
}

fn port(address: SocketAddr) -> String {
    address.port().to_string()
}

/// The echo servers, of the driver and of the runtime.
const ECHOES: [&str; 2] = ["echo", "echo_tasks"];

/// Echoes to a foreign client on every backend.
fn serves(tool: &str, arguments: impl Fn(SocketAddr) -> Vec<String>) {
    let message = bytes(1 << 20);
    for (name, backend) in on_backends(ECHOES) {
        let server = Server::echo(&mut command(name, backend), 2);
        for message in [&b"hello"[..], &message] {
            let mut client = Command::new(tool);
            let back = pipe_through(client.args(arguments(server.address)), message);
            assert!(
                back == message,
                "{tool} of {name} on {backend}: {} bytes differ",
                message.len()
            );
        }
        let report = server.end();
        assert!(
            report.contains("2 connections closed, 0 failed\n"),
            "{report}"
        );
    }
}

/// A server of others' making, which ends with this.
struct Foreign {
    child: Child,
    address: SocketAddr,
}

impl Foreign {
    /// Starts one, and waits for the line in which it says on which port of 127.0.0.1 it listens.
    fn start(command: &mut Command, port: impl Fn(&str) -> Option<&str>) -> Self {
        let mut both = Command::new("sh");
        both.args(["-c", "exec \"$0\" \"$@\" 2>&1"])
            .arg(command.get_program());
        both.args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = both.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut lines = said.lines().map(Result::unwrap);
        let port = lines.find_map(|line| port(&line)?.parse::<u16>().ok());
        thread::spawn(move || lines.for_each(drop)); // It goes on talking.
        Self {
            child,
            address: ([127, 0, 0, 1], port.expect("it listens")).into(),
        }
    }

    /// socat: each connection gets a shell's command.
    fn socat(shell: &str) -> Self {
        let mut socat = Command::new("socat");
        socat.args(["-d", "-d", "-t60", "TCP-LISTEN:0,bind=127.0.0.1,fork"]);
        socat.arg(format!("SYSTEM:{shell}"));
        Self::start(&mut socat, |line| {
            line.contains("listening on")
                .then(|| line.rsplit(':').next())?
        })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One client of others' making, and a server of theirs behind the proxy.
#[test]
fn forward_stands_between_two_socats() {
    if !is_installed("socat", "-V") {
        return;
    }
    let message = bytes(1 << 20);
    let (echo, count) = (Foreign::socat("cat"), Foreign::socat("wc -c"));
    for &backend in backends() {
        let start = |upstream: &Foreign, connections| {
            let mut forward = command("forward", backend);
            forward.args(["127.0.0.1:0", &upstream.address.to_string()]);
            Server::start(&mut forward, connections)
        };
        let send = |server: &Server, message: &[u8]| {
            let to = format!("TCP:{}", server.address);
            pipe_through(Command::new("socat").args(["-t60", "-", &to]), message)
        };
        let server = start(&echo, 3);
        for message in [&b""[..], b"hello", &message] {
            assert!(send(&server, message) == message, "{backend}");
        }
        let report = server.end();
        for bytes in [0, 5, 1 << 20] {
            let line = format!(": {bytes} bytes up, {bytes} bytes down\n");
            assert!(report.contains(&line), "{report}");
        }
        // It answers when the client has ended its side.
        let server = start(&count, 1);
        assert_eq!(text(&send(&server, &message)).trim(), "1048576");
        server.end();
    }
}

#[test]
fn forward_says_what_is_wrong_and_goes_on() {
    // An address on which nobody listens.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    for &backend in backends() {
        let mut forward = command("forward", backend);
        forward.args(["127.0.0.1:0", &upstream]);
        let server = Server::start(forward.stderr(Stdio::piped()), 2);
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.address).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "it was closed");
        }
        let mut server = server;
        let mut said = String::new();
        let mut stderr = server.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        server.end();
        let line = format!("{upstream}: Connection refused");
        assert_eq!(said.matches(&line).count(), 2, "{said}");
        for (listen, upstream, wrong) in [
            (
                "127.0.0.1:0",
                "no.such.name.invalid:1",
                "no.such.name.invalid:1: ",
            ),
            ("127.0.0.1:0", "no port", "no port: "),
            ("192.0.2.1:0", "127.0.0.1:1", "192.0.2.1:0: "),
        ] {
            let error = fail(command("forward", backend).args([listen, upstream]), 1);
            assert!(error.starts_with(&format!("forward: {wrong}")), "{error}");
        }
    }
}

#[cfg(feature = "hyper")]
#[test]
fn http_serves_curl() {
    if !is_installed("curl", "--version") {
        return;
    }
    let dir = directory("http");
    let file = dir.join("body");
    fs::write(&file, bytes(3 << 20)).unwrap();
    for &backend in backends() {
        let mut http = command("http", backend);
        let server = Server::start(http.args(["serve", "127.0.0.1:0"]), 4);
        let url = format!("http://{}", server.address);
        let curl = |arguments: &[&str]| {
            let mut curl = Command::new("curl");
            let output = run(curl.args(["--silent", "--show-error"]).args(arguments));
            assert!(output.status.success(), "{}", text(&output.stderr));
            output.stdout
        };
        assert_eq!(curl(&[&url]), b"hello from completeio\n");
        let (body, echo) = (format!("@{}", file.display()), format!("{url}/echo"));
        assert!(curl(&["--data-binary", &body, &echo]) == bytes(3 << 20));
        let code = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        assert_eq!(
            curl(&[&code[..], &[&format!("{url}/nothing")]].concat()),
            b"404"
        );
        // Three requests of one connection.
        let three = curl(&["--write-out", "%{num_connects} ", &url, &url, &url]);
        let hello = "hello from completeio\n";
        assert_eq!(text(&three), format!("{hello}1 {hello}0 {hello}0 "));
        server.end();
    }
}

#[cfg(feature = "hyper")]
#[test]
fn http_serves_wrk() {
    let found = Command::new("wrk")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    if found.is_err() {
        println!("skipped: wrk is not installed");
        return;
    }
    for &backend in backends() {
        let mut http = command("http", backend);
        let mut server = Server::start(http.args(["serve", "127.0.0.1:0"]), 1_000_000);
        let url = format!("http://{}/", server.address);
        let mut wrk = Command::new("wrk");
        let report = succeed(wrk.args(["--threads", "1", "--connections", "16"]).args([
            "--duration",
            "1s",
            &url,
        ]));
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        assert!(report.contains(" requests in ") && !report.contains(" 0 requests in "));
        for wrong in ["Non-2xx", "Socket errors"] {
            assert!(!report.contains(wrong), "{report}");
        }
    }
}

#[cfg(feature = "hyper")]
#[test]
fn http_gets_from_python() {
    if !is_installed("python3", "--version") {
        return;
    }
    let dir = directory("http-get");
    fs::write(dir.join("file"), bytes(3 << 20)).unwrap();
    let mut python = Command::new("python3");
    python.args([
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
    ]);
    let server = Foreign::start(python.arg(&dir), |line| {
        line.split_once(" port ")?.1.split(' ').next()
    });
    for &backend in backends() {
        let get = |path: &str| {
            let url = format!("http://{}/{path}", server.address);
            run(command("http", backend).args(["get", &url]))
        };
        let output = get("file");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(output.stdout == bytes(3 << 20), "{backend}");
        let output = get("nothing");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains("/nothing: 404 "),
            "{output:?}"
        );
    }
    for (url, wrong) in [
        ("https://localhost/", "is to begin with http://"),
        ("http://no.such.name.invalid/", "no.such.name.invalid: "),
        ("http://127.0.0.1:1/", "127.0.0.1:1: Connection refused"),
    ] {
        let error = fail(Command::new(example("http")).args(["get", url]), 1);
        assert!(error.contains(wrong), "{error}");
    }
}

/// A shell appends to the file, and cuts it off.
#[cfg(feature = "signal")]
#[test]
fn follow_prints_what_a_shell_appends_until_control_c() {
    let file = directory("follow").join("log");
    for &backend in backends() {
        fs::write(&file, "one\n").unwrap();
        let mut follow = command("follow", backend);
        follow.args(["--interval", "1"]).arg(&file);
        let piped = follow.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let _watchdog = Watchdog::new(&child);
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut warned = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut line = || said.next().unwrap().unwrap();
        let shell = |script| succeed(Command::new("sh").arg("-c").arg(script).arg(&file));
        assert_eq!(line(), "one");
        shell("echo two >> \"$0\"; echo three >> \"$0\"");
        assert_eq!((&*line(), &*line()), ("two", "three"));
        shell("head -c 300000 /dev/zero | tr '\\0' x >> \"$0\"; echo >> \"$0\"");
        assert_eq!(line(), "x".repeat(300_000));
        shell(": > \"$0\"");
        let warning = warned.next().unwrap().unwrap();
        assert!(warning.ends_with("/log: it was cut off"), "{warning}");
        shell("echo four >> \"$0\"");
        assert_eq!(line(), "four");
        succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
        assert!(child.wait().unwrap().success(), "control-C is its end");
        assert!(said.next().is_none() && warned.next().is_none());
        let error = fail(command("follow", backend).arg("no-such-file"), 1);
        assert!(error.contains("no-such-file: No such file"), "{error}");
    }
}

/// What it can print has no end.
#[cfg(feature = "signal")]
#[test]
fn follow_obeys_control_c_while_there_is_more() {
    for &backend in backends() {
        let mut follow = command("follow", backend);
        let mut child = follow
            .arg("/dev/zero")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _watchdog = Watchdog::new(&child);
        let mut printed = child.stdout.take().unwrap();
        printed.read_exact(&mut [0; 1 << 20]).unwrap();
        succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
        std::io::copy(&mut printed, &mut std::io::sink()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

// Simulated hosts.

#[cfg(feature = "sim")]
#[test]
fn crashes_are_survived_and_a_careless_store_is_found() {
    let said = succeed(Command::new(example("crashes")).args(["--seeds", "200"]));
    assert_eq!(said, "200 machines have crashed, and nothing was lost\n");
    let found = run(Command::new(example("crashes")).arg("--careless"));
    assert_eq!(found.status.code(), Some(1));
    let said = text(&found.stderr);
    // Which seed, is the generator's affair; no fault is needed.
    for part in [
        "seed ",
        "what was acknowledged is there",
        "short: 0.0",
        "store crashes",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
