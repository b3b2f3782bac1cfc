//! Child processes of the small runtime.
#![cfg(all(feature = "runtime", unix))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, poll_once};
use completeio::io::{AsyncRead, AsyncWrite};
use completeio::process::{Child, Command, ExitStatus, Stdio};
use completeio::task::{block_on, spawn, yield_now};
use std::io::{ErrorKind, Read, Write};
use std::mem::zeroed;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::thread;

/// A program that ends when its standard input does.
fn cat() -> Command {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Waits until a child has ended, and leaves it a zombie.
#[allow(
    clippy::useless_conversion,
    reason = "a number is of another type elsewhere"
)]
fn until_it_has_ended(pid: u32) {
    // SAFETY: a plain struct, to be filled in.
    let mut info = unsafe { zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: `info` is valid.
    let waited = unsafe { libc::waitid(libc::P_PID, pid.into(), &mut info, flags) };
    assert_eq!(waited, 0);
}

/// Waits until nothing is left of a child, not even a zombie.
fn until_it_is_gone(pid: u32) {
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: no signal is sent.
    while unsafe { libc::kill(pid, 0) } == 0 {
        thread::yield_now();
    }
}

#[test]
fn how_it_has_ended() {
    bounded(|| {
        block_on(async {
            let status = |script| async move { shell(script).status().await.unwrap() };
            assert!(status("exit 0").await.success());
            assert_eq!(status("exit 7").await.code(), Some(7));
            assert_eq!(status("kill -TERM $$").await.signal(), Some(libc::SIGTERM));
            let mut child = cat().spawn().unwrap();
            assert!(child.try_wait().unwrap().is_none());
            child.kill().await.unwrap();
            let killed = child.wait().await.unwrap();
            assert_eq!(killed.signal(), Some(libc::SIGKILL), "told again");
            assert_eq!(child.try_wait().unwrap(), Some(killed));
            child.start_kill().unwrap();
            let mut child = cat().spawn().unwrap();
            assert!(
                child.wait().await.unwrap().success(),
                "its input was closed"
            );
            let error = Command::new("/no/such/program").spawn().unwrap_err();
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
                    let mut child = shell("read line; exit 5")
                        .stdin(Stdio::piped())
                        .spawn()
                        .unwrap();
                    let mut stdin = child.stdin.take();
                    let pid = child.id();
                    {
                        let mut wait = pin!(child.wait());
                        assert!(poll_once(&mut wait).await.is_pending());
                        yield_now().await;
                        if ends_first {
                            stdin = None;
                            until_it_has_ended(pid);
                            for _ in 0..turns {
                                yield_now().await;
                            }
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
            let output = shell("echo $0 $1; echo $ONE$TWO$HOME; pwd; cat; echo error >&2; exit 2")
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

/// More than pipes hold, on three of them at once.
#[test]
fn all_streams_at_once() {
    bounded(|| {
        block_on(async {
            let output = shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero");
            let output = { output }.output().await.unwrap();
            assert_eq!(
                (output.stdout.len(), output.stderr.len()),
                (1_000_000, 1_000_000)
            );
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let writer = spawn(async move {
                for _ in 0..1000 {
                    let mut bytes = vec![7; 1000];
                    while !bytes.is_empty() {
                        let (written, back) = stdin.write(bytes).await;
                        bytes = back;
                        bytes.drain(..written.unwrap());
                    }
                }
            });
            let output = child.wait_with_output().await.unwrap();
            writer.await.unwrap();
            assert!(output.status.success());
            assert!(output.stdout == vec![7; 1_000_000]);
            let child = cat().spawn().unwrap();
            let output = child.wait_with_output().await.unwrap();
            assert!(
                output.status.success() && output.stdout.is_empty(),
                "its input was closed"
            );
        });
    });
}

/// Children that end while others begin, each waited for by a task: a storm of `SIGCHLD`.
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

/// No zombie is left: of those that had ended, that end later, that are killed, and that outlive the
/// runtime.
#[test]
fn dropped_children_are_reaped() {
    bounded(|| {
        let mut pids = Vec::new();
        let late = block_on(async {
            let ended = shell("exit 0").spawn().unwrap();
            until_it_has_ended(ended.id());
            let mut waited: Vec<Child> = Vec::new();
            for _ in 0..20 {
                let mut child = cat().spawn().unwrap();
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
            let mut piped = cat();
            piped
                .kill_on_drop(true)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            {
                let mut output = pin!(piped.spawn().unwrap().wait_with_output());
                assert!(poll_once(&mut output).await.is_pending());
            }
            let late = cat().spawn().unwrap();
            pids.extend([ended.id(), killed.id(), late.id()]);
            late
        });
        drop(late);
        pids.into_iter().for_each(until_it_is_gone);
    });
}

/// It goes on without its handle, unless it is to be killed.
#[test]
fn left_alone_or_killed() {
    bounded(|| {
        for kill in [false, true] {
            let (mut input, mut output) = block_on(async {
                let mut command = shell("read line; echo $line");
                command
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .kill_on_drop(kill);
                let mut child = command.spawn().unwrap();
                let input = child.stdin.take().unwrap().into_owned_fd().unwrap();
                let output = child.stdout.take().unwrap().into_owned_fd().unwrap();
                (std::fs::File::from(input), std::fs::File::from(output))
            });
            if kill {
                // The end comes first: nobody has written.
                assert_eq!(output.read(&mut [0; 8]).unwrap(), 0);
            } else {
                input.write_all(b"text\n").unwrap();
                let mut text = String::new();
                output.read_to_string(&mut text).unwrap();
                assert_eq!(text, "text\n");
            }
        }
    });
}

#[test]
fn a_stream_is_read_while_it_runs() {
    bounded(|| {
        block_on(async {
            let mut child = shell("while read line; do echo [$line]; done")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            for n in 0..100 {
                stdin.write(format!("{n}\n")).await.0.unwrap();
                let (read, text) = stdout.read(Vec::with_capacity(16)).await;
                read.unwrap();
                assert_eq!(text, format!("[{n}]\n").into_bytes());
            }
            stdin.shutdown().await.unwrap();
            let status: ExitStatus = child.wait().await.unwrap();
            assert!(status.success());
            assert_eq!(stdout.read([0; 8]).await.0.unwrap(), 0);
        });
    });
}
