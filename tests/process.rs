//! Child processes of the small runtime: the system's shell, and programs of this one.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once, this_test};
use completeio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use completeio::process::{Command, Stdio};
use completeio::task::{block_on, spawn, yield_now};
use std::io::{ErrorKind, Read, Write, copy, stderr, stdin, stdout};
use std::pin::pin;
use std::process::exit;

#[cfg(unix)]
mod kit {
    use std::mem::zeroed;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use std::thread;

    pub(super) const SHELL: [&str; 2] = ["sh", "-c"];
    /// A script that says what two variables are, and more to its other stream.
    pub(super) const TWO_VARIABLES: &str = "echo $ONE$TWO; echo error >&2; exit 2";
    /// One that says where it is.
    pub(super) const DIRECTORY: &str = "pwd";

    pub(super) fn was_killed(status: ExitStatus) -> bool {
        status.signal() == Some(libc::SIGKILL)
    }

    /// Waits until a child has ended, and leaves it a zombie.
    #[allow(
        clippy::useless_conversion,
        reason = "a number is of another type elsewhere"
    )]
    pub(super) fn until_it_has_ended(pid: u32) {
        // SAFETY: a plain struct, to be filled in.
        let mut info = unsafe { zeroed() };
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: `info` is valid.
        let waited = unsafe { libc::waitid(libc::P_PID, pid.into(), &mut info, flags) };
        assert_eq!(waited, 0);
    }

    /// Waits until nothing is left of a child, not even a zombie.
    pub(super) fn until_it_is_gone(pid: u32) {
        let pid = i32::try_from(pid).unwrap();
        // SAFETY: no signal is sent.
        while unsafe { libc::kill(pid, 0) } == 0 {
            thread::yield_now();
        }
    }
}

#[cfg(windows)]
mod kit {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    use std::process::ExitStatus;
    use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
    use windows_sys::Win32::System::Threading as t;

    pub(super) const SHELL: [&str; 2] = ["cmd", "/c"];
    /// A script that says what two variables are, and more to its other stream.
    pub(super) const TWO_VARIABLES: &str = "echo %ONE%%TWO% & echo error>&2 & exit 2";
    /// One that says where it is.
    pub(super) const DIRECTORY: &str = "cd";

    pub(super) fn was_killed(status: ExitStatus) -> bool {
        status.code() == Some(1)
    }

    /// Waits until a child has ended, which is still known.
    pub(super) fn until_it_has_ended(pid: u32) {
        // SAFETY: takes numbers.
        let process = unsafe { t::OpenProcess(t::PROCESS_SYNCHRONIZE, 0, pid) };
        assert!(!process.is_null(), "a child of this test's");
        // SAFETY: just opened, and nobody else knows it.
        let process = unsafe { OwnedHandle::from_raw_handle(process) };
        // SAFETY: it is open.
        let waited = unsafe { t::WaitForSingleObject(process.as_raw_handle(), t::INFINITE) };
        assert_eq!(waited, WAIT_OBJECT_0);
    }

    /// What is left of a child goes with its handles.
    pub(super) fn until_it_is_gone(_pid: u32) {}
}

use kit::{until_it_has_ended, until_it_is_gone};

/// What a program of this one says before it does anything.
const HEAD: &[u8] = b"\nrunning 1 test\n";

fn shell(script: &str) -> Command {
    let [program, option] = kit::SHELL;
    let mut command = Command::new(program);
    command.args([option, script]);
    command
}

/// A program that says what it is told, and ends when its standard input does, with 5.
fn copier() -> Command {
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
            let status = |script| async move { shell(script).status().await.unwrap() };
            assert!(status("exit 0").await.success());
            assert_eq!(status("exit 7").await.code(), Some(7));
            let mut child = copier().spawn().unwrap();
            assert!(child.try_wait().unwrap().is_none());
            child.kill().await.unwrap();
            let killed = child.wait().await.unwrap();
            assert!(kit::was_killed(killed), "{killed}");
            assert_eq!(child.try_wait().unwrap(), Some(killed), "told again");
            child.start_kill().unwrap();
            let mut child = copier().spawn().unwrap();
            let ended = child.wait().await.unwrap();
            assert_eq!(ended.code(), Some(5), "its input was closed");
            let mut child = shell("exit 3").spawn().unwrap();
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
fn ended_before_it_is_waited_for() {
    bounded(|| {
        block_on(async {
            let mut child = shell("exit 3").spawn().unwrap();
            until_it_has_ended(child.id());
            assert_eq!(child.wait().await.unwrap().code(), Some(3));
            until_it_is_gone(child.id());
            let mut child = shell("exit 4").spawn().unwrap();
            until_it_has_ended(child.id());
            assert_eq!(child.try_wait().unwrap().unwrap().code(), Some(4));
            assert_eq!(child.wait().await.unwrap().code(), Some(4));
        });
    });
}

/// A wait that is dropped, before or after the child has ended, has reaped nothing.
#[test]
fn a_wait_that_is_dropped() {
    bounded(|| {
        block_on(async {
            for ends_first in [false, true] {
                for turns in 0..10 {
                    let mut child = copier().spawn().unwrap();
                    let mut stdin = child.stdin.take();
                    let pid = child.id();
                    {
                        let mut wait = pin!(child.wait());
                        assert!(poll_once(&mut wait).await.is_pending());
                        yield_now().await;
                        if ends_first {
                            stdin = None;
                            until_it_has_ended(pid);
                        }
                        for _ in 0..turns {
                            yield_now().await;
                        }
                    }
                    drop(stdin);
                    assert_eq!(child.wait().await.unwrap().code(), Some(5));
                }
            }
        });
    });
}

#[test]
fn what_it_is_given() {
    bounded(|| {
        block_on(async {
            let mut command = shell(kit::TWO_VARIABLES);
            let command = command.env("ONE", "1").envs([("TWO", "2")]);
            let output = command.stdin(Stdio::null()).output().await.unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(output.stdout.trim_ascii(), b"12");
            assert_eq!(output.stderr.trim_ascii(), b"error");
            let directory = std::env::temp_dir().canonicalize().unwrap();
            let name = directory.file_name().unwrap().to_str().unwrap();
            let mut command = shell(kit::DIRECTORY);
            let output = command.current_dir(&directory).output().await.unwrap();
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

            let mut child = copier().spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let bytes: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
            let all = bytes.clone();
            let writer = spawn(async move { stdin.write_all(all).await.0.unwrap() });
            let output = child.wait_with_output().await.unwrap();
            writer.await.unwrap();
            assert_eq!(output.stdout.len(), HEAD.len() + bytes.len());
            assert!(output.stdout.ends_with(&bytes));

            let child = copier().stdout(Stdio::null()).spawn().unwrap();
            let output = child.wait_with_output().await.unwrap();
            assert_eq!(output.status.code(), Some(5), "its input was closed");
            assert!(output.stdout.is_empty());
        });
    });
}

/// Children that end while others begin, each waited for by a task; on Unix, a storm of `SIGCHLD`.
#[test]
fn many_children() {
    bounded(|| {
        block_on(async {
            for _ in 0..4 {
                let tasks: Vec<_> = (0..50)
                    .map(|n| {
                        spawn(async move {
                            let mut child = shell(&format!("exit {n}")).spawn().unwrap();
                            (child.wait().await.unwrap(), child.id())
                        })
                    })
                    .collect();
                for (n, task) in tasks.into_iter().enumerate() {
                    let (status, pid) = task.await.unwrap();
                    assert_eq!(status.code(), Some(i32::try_from(n).unwrap()));
                    until_it_is_gone(pid);
                }
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
                let mut child = copier().kill_on_drop(kill).spawn().unwrap();
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
            let mut child = copier().spawn().unwrap();
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

/// Signals and zombies, and a shell that says more.
#[cfg(unix)]
mod unix_only {
    use super::*;
    use completeio::process::Child;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_signal_has_ended_it() {
        bounded(|| {
            let status = block_on(shell("kill -TERM $$").status()).unwrap();
            assert_eq!(status.signal(), Some(libc::SIGTERM));
        });
    }

    #[test]
    fn all_that_it_is_given() {
        bounded(|| {
            block_on(async {
                let output =
                    shell("echo $0 $1; echo $ONE$TWO$HOME; pwd; cat; echo error >&2; exit 2")
                        .args(["zero", "one"])
                        .env("GONE", "gone")
                        .env_clear()
                        .env("ONE", "1")
                        .envs([("TWO", "2"), ("HOME", "home")])
                        .env_remove("HOME")
                        .current_dir("/")
                        .stdin(Stdio::null())
                        .output()
                        .await
                        .unwrap();
                assert_eq!(output.status.code(), Some(2));
                assert_eq!(output.stdout, b"zero one\n12\n/\n");
                assert_eq!(output.stderr, b"error\n");
                let mut command = std::process::Command::new("echo");
                command.arg("std's");
                let mut command = Command::from(command);
                command.as_std_mut().arg("own");
                assert_eq!(command.output().await.unwrap().stdout, b"std's own\n");
            });
        });
    }

    /// No zombie is left: of those that had ended, that end later, that are killed, and that
    /// outlive the runtime.
    #[test]
    fn dropped_children_are_reaped() {
        bounded(|| {
            let mut pids = Vec::new();
            let late = block_on(async {
                let ended = shell("exit 0").spawn().unwrap();
                until_it_has_ended(ended.id());
                let mut waited: Vec<Child> = Vec::new();
                for _ in 0..20 {
                    let mut child = copier().spawn().unwrap();
                    pids.push(child.id());
                    {
                        let mut kept = child.stdin.take();
                        let mut wait = pin!(child.wait());
                        assert!(poll_once(&mut wait).await.is_pending());
                        kept.take();
                    }
                    waited.push(child);
                }
                let killed = Command::new("sleep")
                    .arg("1000")
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                let mut piped = copier();
                piped
                    .kill_on_drop(true)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                {
                    let mut output = pin!(piped.spawn().unwrap().wait_with_output());
                    assert!(poll_once(&mut output).await.is_pending());
                }
                let late = copier().spawn().unwrap();
                pids.extend([ended.id(), killed.id(), late.id()]);
                late
            });
            drop(late);
            pids.into_iter().for_each(until_it_is_gone);
        });
    }
}
