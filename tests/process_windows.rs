//! Child processes of the small runtime, on Windows: programs of the system's, and this one.
#![cfg(all(feature = "runtime", windows))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once, this_test};
use completeio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use completeio::process::{Command, Stdio};
use completeio::task::{block_on, spawn, yield_now};
use std::io::{ErrorKind, Read, Write, copy, stderr, stdin, stdout};
use std::pin::pin;
use std::process::exit;

/// What a program of this one says before it does anything.
const HEAD: &[u8] = b"\nrunning 1 test\n";

fn cmd(line: &str) -> Command {
    let mut command = Command::new("cmd");
    command.args(["/c", line]);
    command
}

/// A program that says what it is told.
fn cat() -> Command {
    let mut command = Command::from(this_test("copies_its_input"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
#[ignore = "a program for the tests below"]
fn copies_its_input() {
    copy(&mut stdin(), &mut stdout()).unwrap();
    exit(5);
}

#[test]
#[ignore = "a program for the tests below"]
fn writes_much() {
    stderr().write_all(&[1; 1_000_000]).unwrap();
    stdout().write_all(&[2; 1_000_000]).unwrap();
    exit(0);
}

#[test]
fn how_it_has_ended() {
    bounded(|| {
        block_on(async {
            assert!(cmd("exit 0").status().await.unwrap().success());
            assert_eq!(cmd("exit 7").status().await.unwrap().code(), Some(7));
            let mut child = cat().spawn().unwrap();
            assert!(child.try_wait().unwrap().is_none());
            child.kill().await.unwrap();
            let killed = child.wait().await.unwrap();
            assert_eq!(killed.code(), Some(1));
            assert_eq!(child.try_wait().unwrap(), Some(killed), "told again");
            child.start_kill().unwrap();
            let mut child = cat().spawn().unwrap();
            let ended = child.wait().await.unwrap();
            assert_eq!(ended.code(), Some(5), "its input was closed");
            let mut child = cmd("exit 3").spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                yield_now().await;
            }
            assert_eq!(child.wait().await.unwrap().code(), Some(3));
            let error = Command::new("no-such-program").spawn().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        });
    });
}

#[test]
fn a_wait_that_is_dropped() {
    bounded(|| {
        block_on(async {
            for turns in 0..5 {
                let mut child = cat().spawn().unwrap();
                let stdin = child.stdin.take();
                {
                    let mut wait = pin!(child.wait());
                    assert!(poll_once(&mut wait).await.is_pending());
                    for _ in 0..turns {
                        yield_now().await;
                    }
                }
                drop(stdin);
                assert_eq!(child.wait().await.unwrap().code(), Some(5));
            }
        });
    });
}

#[test]
fn what_it_is_given() {
    bounded(|| {
        block_on(async {
            let mut command = cmd("echo %ONE%%TWO% & echo error>&2 & exit 2");
            let command = command.env("ONE", "1").envs([("TWO", "2")]);
            let output = command.stdin(Stdio::null()).output().await.unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(output.stdout.trim_ascii(), b"12");
            assert_eq!(output.stderr.trim_ascii(), b"error");
            let directory = std::env::temp_dir().canonicalize().unwrap();
            let name = directory.file_name().unwrap().to_str().unwrap();
            let output = cmd("cd").current_dir(&directory).output().await.unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.trim().ends_with(name), "{said}");
        });
    });
}

/// More than pipes hold, on three of them at once.
#[test]
fn all_streams_at_once() {
    bounded(|| {
        block_on(async {
            let output = Command::from(this_test("writes_much")).output().await;
            let output = output.unwrap();
            assert!(output.status.success());
            assert!(output.stderr == [1; 1_000_000]);
            assert!(output.stdout.ends_with(&[2; 1_000_000]));

            let mut child = cat().spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let bytes: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
            let all = bytes.clone();
            let writer = spawn(async move { stdin.write_all(all).await.0.unwrap() });
            let output = child.wait_with_output().await.unwrap();
            writer.await.unwrap();
            assert_eq!(output.stdout.len(), HEAD.len() + bytes.len());
            assert!(output.stdout.ends_with(&bytes));
        });
    });
}

#[test]
fn many_children() {
    bounded(|| {
        block_on(async {
            let exits = |n| async move { cmd(&format!("exit {n}")).status().await.unwrap() };
            let tasks: Vec<_> = (0..20).map(|n| (n, spawn(exits(n)))).collect();
            for (n, task) in tasks {
                assert_eq!(task.await.unwrap().code(), Some(n));
            }
        });
    });
}

/// It goes on without its handle, unless it is to be killed.
#[test]
fn left_alone_or_killed() {
    bounded(|| {
        for kill in [false, true] {
            let (mut input, mut output) = block_on(async {
                let mut child = cat().kill_on_drop(kill).spawn().unwrap();
                let mut stdout = child.stdout.take().unwrap();
                let (read, head) = stdout.read_exact([0; HEAD.len()]).await;
                read.unwrap();
                assert_eq!(head, HEAD);
                let input = child.stdin.take().unwrap().into_owned_fd().unwrap();
                let output = stdout.into_owned_fd().unwrap();
                (std::fs::File::from(input), std::fs::File::from(output))
            });
            if kill {
                // The end comes first: nobody has written.
                assert_eq!(output.read(&mut [0; 8]).unwrap(), 0);
            } else {
                input.write_all(b"text").unwrap();
                drop(input);
                let mut text = String::new();
                output.read_to_string(&mut text).unwrap();
                assert_eq!(text, "text");
            }
        }
    });
}

#[test]
fn a_stream_is_read_while_it_runs() {
    bounded(|| {
        block_on(async {
            let mut child = cat().spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            stdout.read_exact([0; HEAD.len()]).await.0.unwrap();
            {
                // One that is dropped takes nothing.
                let mut read = pin!(stdout.read([0; 8]));
                assert!(poll_once(&mut read).await.is_pending());
                yield_now().await;
            }
            for n in 0..100 {
                let line = format!("{n}\n").into_bytes();
                stdin.write(line.clone()).await.0.unwrap();
                let (read, text) = stdout.read(Vec::with_capacity(16)).await;
                read.unwrap();
                assert_eq!(text, line);
            }
            stdin.shutdown().await.unwrap();
            assert_eq!(stdout.read([0; 8]).await.0.unwrap(), 0);
            assert_eq!(child.wait().await.unwrap().code(), Some(5));
        });
    });
}
