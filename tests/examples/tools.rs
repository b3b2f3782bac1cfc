//! Clients, servers and files of others' making.

use crate::common::bytes;
use crate::files::COPIERS;
use crate::kit::{Server, Watchdog, backends, command, directory, on_backends, succeed, text};
#[cfg(feature = "hyper")]
use crate::kit::{example, fail, run};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

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
pub(crate) const ECHOES: [&str; 2] = ["echo", "echo_tasks"];

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
