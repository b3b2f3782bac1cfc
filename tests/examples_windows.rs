//! The examples do what they say, on Windows. They are run as programs: `cargo build --examples` makes them.
#![cfg(all(windows, feature = "runtime", feature = "hyper", feature = "signal"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::bounded;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;

/// An example, which is built beside this test.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name).with_extension("exe");
    assert!(path.exists(), "{} is not built", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

/// Runs one, which is to succeed; returns what it said.
fn succeed(command: &mut Command) -> Vec<u8> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let error = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{error}");
    stdout
}

/// So many bytes that repeat in no way that blocks do.
fn bytes(len: u32) -> Vec<u8> {
    (0..len.div_ceil(4)).flat_map(u32::to_le_bytes).collect()
}

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn files_are_copied_and_summed() {
    bounded(|| {
        let dir = directory("examples");
        for size in [0, 1, 4096, (1 << 20) + 17] {
            let (from, to, bytes) = (dir.join("from"), dir.join("to"), bytes(size));
            fs::write(&from, &bytes).unwrap();
            for copier in ["cp", "cp_tasks"] {
                // What was there is longer, and goes.
                fs::write(&to, vec![7; bytes.len() + 8000]).unwrap();
                succeed(example(copier).args(["--depth", "8"]).args([&from, &to]));
                assert!(fs::read(&to).unwrap() == bytes, "{copier}: {size} bytes");
            }
            assert!(succeed(example("cat").arg(&from)) == bytes);
        }
        let name = dir.join("sum");
        fs::write(&name, "foobar").unwrap();
        let said = succeed(example("remote").args([&name; 2]));
        let line = format!("85944171f73967e8          6 {}\n", name.display());
        assert_eq!(String::from_utf8(said).unwrap(), line.repeat(2));
        let said = succeed(example("arena").arg(&name));
        assert!(String::from_utf8(said).unwrap().contains("9ef61f95"));
    });
}

/// An example that listens, running.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Starts one that ends when so many connections were closed.
    fn start(command: &mut Command, exit_after: usize) -> Self {
        command.args(["--exit-after", &exit_after.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect(&line);
        Self {
            address: address.parse().unwrap(),
            child,
            stdout,
        }
    }

    /// Waits for its end.
    fn end(mut self) {
        let mut report = String::new();
        self.stdout.read_to_string(&mut report).unwrap();
        assert!(self.child.wait().unwrap().success(), "{report}");
    }
}

/// Sends bytes, ends that side, and returns what comes back until the other side ends.
fn round_trip(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
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
fn echoes_and_what_stands_before_them() {
    bounded(|| {
        let bytes = bytes(1 << 20);
        for name in ["echo", "echo_tasks", "executor"] {
            let server = Server::start(example(name).args(["--listen", "127.0.0.1:0"]), 2);
            for len in [1, bytes.len()] {
                assert!(round_trip(server.address, &bytes[..len]) == bytes[..len]);
            }
            server.end();
        }
        for name in ["forward", "proxy"] {
            let echo = Server::start(example("echo_tasks").args(["--listen", "127.0.0.1:0"]), 1);
            let (listen, upstream) = ("127.0.0.1:0", echo.address.to_string());
            let server = Server::start(example(name).args([listen, &upstream]), 1);
            assert!(round_trip(server.address, &bytes) == bytes, "{name}");
            server.end();
            echo.end();
        }
    });
}

#[test]
fn http_is_served_and_got() {
    bounded(|| {
        let server = Server::start(example("http").args(["serve", "127.0.0.1:0"]), 1);
        let url = format!("http://{}/", server.address);
        let said = succeed(example("http").args(["get", &url]));
        assert!(!said.is_empty());
        server.end();
    });
}
