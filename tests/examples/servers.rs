//! Those that listen, and their clients of ours.

use crate::common::bytes;
use crate::kit::{Server, backends, command, example, on_backends, round_trip, succeed};
use std::net::TcpStream;
use std::process::Command;

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
fn every_echo_and_what_stands_before_one() {
    let bytes = bytes(1 << 20);
    for (name, backend) in on_backends(["echo", "echo_tasks", "executor"]) {
        let server = Server::echo(&mut command(name, backend), 2);
        for len in [1, bytes.len()] {
            let stream = TcpStream::connect(server.address).unwrap();
            assert!(round_trip(stream, &bytes[..len]) == bytes[..len], "{name}");
        }
        server.end();
    }
    for (name, backend) in on_backends(["forward", "proxy"]) {
        let echo = Server::echo(&mut command("echo_tasks", backend), 1);
        let mut between = command(name, backend);
        between.args(["127.0.0.1:0", &echo.address.to_string()]);
        let server = Server::start(&mut between, 1);
        let stream = TcpStream::connect(server.address).unwrap();
        assert!(round_trip(stream, &bytes) == bytes, "{name}");
        server.end();
        echo.end();
    }
}

#[cfg(feature = "hyper")]
#[test]
fn http_is_served_and_got() {
    for &backend in backends() {
        let mut http = command("http", backend);
        let server = Server::start(http.args(["serve", "127.0.0.1:0"]), 1);
        let url = format!("http://{}/", server.address);
        let said = succeed(command("http", backend).args(["get", &url]));
        assert_eq!(said, "hello from completeio\n");
        server.end();
    }
}

/// Resets, limits of a process, and errors as Unix words them.
#[cfg(unix)]
mod unix_only {
    use super::*;
    use crate::kit::fail;
    use crate::tools::ECHOES;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Stdio;

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
}
