//! Pipes and standard streams of the small runtime.
#![cfg(feature = "runtime")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/pipes.rs"]
mod pipes;

use common::{bounded, poll_once, this_test};
use completeio::driver::OwnedFd;
use completeio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, IoBuf};
use completeio::pipe::pipe;
use completeio::stdio::{stderr, stdin, stdout};
use completeio::task::{block_on, spawn, yield_now};
use pipes::{ends_with_its_writer, fills_and_empties};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::pin::pin;
use std::process::{Child, Stdio};

async fn write_all(mut pipe: impl AsyncWrite, bytes: impl IoBuf + 'static) {
    pipe.write_all(bytes).await.0.unwrap();
}

#[test]
fn a_pipe_ends_with_its_writer() {
    bounded(|| block_on(ends_with_its_writer()));
}

#[test]
fn a_pipe_without_readers() {
    bounded(|| {
        block_on(async {
            let (reader, mut writer) = pipe().await.unwrap();
            drop(reader);
            let (written, _) = writer.write("text").await;
            assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
            // And one that waits.
            let (reader, mut writer) = pipe().await.unwrap();
            let waits = spawn(async move {
                loop {
                    let (written, _) = writer.write(vec![0; 1 << 16]).await;
                    if let Err(error) = written {
                        return error.kind();
                    }
                }
            });
            yield_now().await;
            drop(reader);
            assert_eq!(waits.await.unwrap(), ErrorKind::BrokenPipe);
        });
    });
}

#[test]
fn a_full_pipe() {
    bounded(|| block_on(fills_and_empties()));
}

/// A read that was dropped before there was anything takes nothing away.
#[test]
fn a_read_that_is_dropped() {
    bounded(|| {
        block_on(async {
            let (mut reader, mut writer) = pipe().await.unwrap();
            for _ in 0..100 {
                {
                    let mut read = pin!(reader.read([0; 8]));
                    assert!(poll_once(&mut read).await.is_pending());
                    yield_now().await;
                }
                writer.write("text").await.0.unwrap();
                let (read, text) = reader.read([0; 8]).await;
                assert_eq!((read.unwrap(), &text), (4, b"text\0\0\0\0"));
            }
        });
    });
}

/// Given up while a cancelled read has it still.
#[test]
fn an_end_that_is_given_up() {
    bounded(|| {
        block_on(async {
            let (mut reader, mut writer) = pipe().await.unwrap();
            {
                let mut read = pin!(reader.read([0; 8]));
                assert!(poll_once(&mut read).await.is_pending());
            }
            let mut reader = File::from(reader.into_owned_fd().unwrap());
            yield_now().await;
            writer.write("text").await.0.unwrap();
            writer.shutdown().await.unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
            assert!(writer.into_owned_fd().is_err());
        });
    });
}

/// Starts one of the programs below, with the given standard input.
fn start(name: &str, stdin: impl Into<Stdio>) -> (Child, BufReader<File>, BufReader<File>) {
    let mut command = this_test(name);
    command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout: OwnedFd = child.stdout.take().unwrap().into();
    let stderr: OwnedFd = child.stderr.take().unwrap().into();
    (
        child,
        BufReader::new(stdout.into()),
        BufReader::new(stderr.into()),
    )
}

fn expect_line(from: &mut impl BufRead, expected: &str) {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(
            from.read_line(&mut line).unwrap(),
            0,
            "it ends before {expected:?}"
        );
        if line.trim_end().ends_with(expected) {
            return;
        }
    }
}

/// Tells on its standard error that tasks run, while others wait for its input and its output.
#[test]
#[ignore = "a program for the tests below"]
fn reads_its_input() {
    block_on(async {
        // Not a line, and there nevertheless.
        stdout().write("prompt>").await.0.unwrap();
        {
            let mut input = stdin();
            let mut waits = pin!(input.read([0; 8]));
            assert!(poll_once(&mut waits).await.is_pending());
            completeio::time::sleep(std::time::Duration::from_millis(1)).await;
            write_all(stderr(), "it waits\n").await;
            let (read, text) = waits.await;
            assert_eq!((read.unwrap(), &text[..4]), (4, &b"one\n"[..]));
        }
        let mut input = stdin();
        {
            let mut dropped = pin!(input.read(Vec::with_capacity(100)));
            assert!(poll_once(&mut dropped).await.is_pending());
        }
        write_all(stderr(), "it was dropped\n").await;
        assert_eq!(input.read([0; 0]).await.0.unwrap(), 0, "no room");
        for byte in *b"two\n" {
            let (read, text) = input.read([0; 1]).await;
            assert_eq!((read.unwrap(), text), (1, [byte]));
        }
        let (read, text) = input.read_vectored(([0; 2], [0; 5])).await;
        assert_eq!((read.unwrap(), &text.0, &text.1), (6, b"th", b"ree\n\0"));
        assert_eq!(input.read([0; 8]).await.0.unwrap(), 0, "the end");
        write_all(stderr(), "it ended\n").await;
    });
}

fn talk_to_reader(stdin: impl Into<Stdio>, input: Option<File>, end: &[u8]) {
    let (mut child, mut stdout, mut stderr) = start("reads_its_input", stdin);
    let piped = || OwnedFd::from(child.stdin.take().unwrap()).into();
    let mut input: File = input.unwrap_or_else(piped);
    stdout.read_until(b'>', &mut Vec::new()).unwrap();
    expect_line(&mut stderr, "it waits");
    input.write_all(b"one\n").unwrap();
    expect_line(&mut stderr, "it was dropped");
    input.write_all(b"two\n").unwrap();
    // A line of a terminal is a read of its own.
    input.write_all(b"three\n").unwrap();
    input.write_all(end).unwrap();
    // A pipe ends with its writer.
    let kept = (!end.is_empty()).then_some(input);
    expect_line(&mut stderr, "it ended");
    drop(kept);
    assert!(child.wait().unwrap().success());
}

#[test]
fn standard_input_from_a_pipe() {
    bounded(|| talk_to_reader(Stdio::piped(), None, b""));
}

/// Writes more than a pipe holds, and tells on its standard error that tasks run meanwhile.
#[test]
#[ignore = "a program for the test below"]
fn writes_its_output() {
    block_on(async {
        let writes = spawn(async {
            let mut output = stdout();
            // Whether the pool has done it by then or not.
            let _ = poll_once(&mut pin!(output.write(vec![b'a'; 10]))).await;
            let parts = output.write_vectored(("bb", vec![b'c'; 1 << 20])).await.0;
            let parts = parts.unwrap();
            assert!((3..=1 << 16).contains(&parts), "a part of it");
            write_all(&mut output, vec![b'c'; (1 << 20) + 2 - parts]).await;
            output.shutdown().await.unwrap();
            print!("end");
            output.write("\n").await.0.unwrap();
        });
        completeio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(!writes.is_finished());
        write_all(stderr(), "it waits\n").await;
        writes.await.unwrap();
    });
}

#[test]
fn standard_output_that_nobody_takes() {
    bounded(|| {
        let (mut child, mut stdout, mut stderr) = start("writes_its_output", Stdio::null());
        expect_line(&mut stderr, "it waits");
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).unwrap();
        let mut expected = vec![b'a'; 10];
        expected.extend_from_slice(b"bb");
        expected.resize(expected.len() + (1 << 20), b'c');
        expected.extend_from_slice(b"end\n");
        let found = text.windows(expected.len()).any(|part| part == expected);
        assert!(found, "{} bytes", text.len());
        assert!(child.wait().unwrap().success());
    });
}

/// Ends that others have too, and terminals.
#[cfg(unix)]
mod unix {
    use super::*;
    use completeio::driver::{AsFd, AsRawFd};
    use completeio::io::AsyncReadExt;
    use completeio::pipe::{PipeReader, PipeWriter};
    use std::os::fd::FromRawFd;

    #[test]
    fn the_ends_of_others() {
        bounded(|| {
            block_on(async {
                let (mut reader, writer) = pipe().await.unwrap();
                let number = reader.as_fd().as_raw_fd();
                let given_up = reader.into_owned_fd().unwrap();
                assert_eq!(given_up.as_raw_fd(), number, "no other one");
                reader = given_up.try_into().unwrap();
                let given_up = writer.into_owned_fd().unwrap();
                let number = given_up.as_raw_fd();
                let writer = PipeWriter::try_from(given_up).unwrap();
                let given_up = writer.into_owned_fd().unwrap();
                assert_eq!(given_up.as_raw_fd(), number, "no other one");
                let mut child = std::process::Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(given_up)
                    .spawn()
                    .unwrap();
                let stdin: OwnedFd = child.stdin.take().unwrap().into();
                let mut stdin = PipeWriter::try_from(stdin).unwrap();
                stdin.write("through a cat").await.0.unwrap();
                drop(stdin);
                assert_eq!(reader.read_to_end(Vec::new()).await.1, b"through a cat");
                child.wait().unwrap();
            });
        });
    }

    /// Ends of pipes that are closed while hundreds of reads wait on them.
    #[test]
    fn many_readers_of_one_pipe() {
        bounded(|| {
            block_on(async {
                let (reader, mut writer) = pipe().await.unwrap();
                let fd = reader.into_owned_fd().unwrap();
                let tasks: Vec<_> = (0..600)
                    .map(|_| {
                        let mut reader = PipeReader::try_from(fd.try_clone().unwrap()).unwrap();
                        spawn(async move { reader.read([0; 1]).await.0.unwrap() })
                    })
                    .collect();
                yield_now().await;
                write_all(&mut writer, vec![7; 300]).await;
                drop(writer);
                let mut read = 0;
                for task in tasks {
                    read += task.await.unwrap();
                }
                assert_eq!(read, 300, "each byte once");
            });
        });
    }

    #[test]
    fn standard_input_from_a_terminal() {
        bounded(|| {
            let (mut master, mut slave) = (-1, -1);
            use std::ptr::null_mut;
            // SAFETY: two numbers to be filled in; nothing else is asked for.
            let made = unsafe {
                libc::openpty(&mut master, &mut slave, null_mut(), null_mut(), null_mut())
            };
            assert_eq!(made, 0);
            // SAFETY: they were made just now, and are nobody else's.
            let [master, slave] = [master, slave].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
            talk_to_reader(slave, Some(master.into()), b"\x04");
        });
    }
}
