//! A driver's thread, shared by the tasks of an executor that moves them between threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
#![forbid(unsafe_code)]

use completeio::driver::{Backend, Driver, DriverThread, OwnedFd, spawn_thread};
use completeio::op::{Nop, ReadAt, Recv, Send as SendOp, Timeout};
use completeio::remote::{Rejection, Remote};
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinSet;

const HOUR: Duration = Duration::from_secs(3600);

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(4).enable_time().build().unwrap()
}

/// Drivers of every backend that works here.
fn drivers(slots: usize) -> impl Iterator<Item = DriverThread> {
    let backends = [Backend::IoUring, Backend::Readiness];
    backends.into_iter().filter_map(move |backend| {
        match spawn_thread(Driver::builder().backend(backend).slots(slots)) {
            Ok(driver) => Some(driver),
            Err(error) if error.is_restricted() => {
                println!("skipped: {backend}: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    })
}

/// A file whose block of 8 bytes number `i` is `i`.
fn numbered(name: &str) -> Arc<OwnedFd> {
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let content: Vec<u8> = (0..4096_u64).flat_map(u64::to_le_bytes).collect();
    fs::write(&path, content).unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    Arc::new(file.into())
}

fn pair() -> (Arc<OwnedFd>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Arc::new(ours.into()), theirs)
}

async fn read(remote: &Remote, file: &Arc<OwnedFd>, i: u64) -> u64 {
    let (read, op) = remote.run(ReadAt::new(file.clone(), 8 * i, [0; 8])).await;
    assert_eq!(read.unwrap(), 8);
    u64::from_le_bytes(*op.buf())
}

/// More tasks than slots: each waits its turn, and gets its own.
#[test]
fn many_tasks_over_one_remote() {
    let runtime = runtime();
    for driver in drivers(16) {
        let (remote, file) = (driver.remote(), numbered("many"));
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for task in 0..200_u64 {
                let (remote, file) = (remote.clone(), file.clone());
                tasks.spawn(async move {
                    for n in 0..20 {
                        let i = (task * 31 + n * 97) % 4096;
                        assert_eq!(read(&remote, &file, i).await, i);
                        tokio::task::yield_now().await;
                    }
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        });
        assert_eq!(driver.shut_down(HOUR).unwrap(), 0);
        assert_eq!(Arc::strong_count(&file), 1);
    }
}

/// The loser is cancelled and takes nothing: what is sent later is for who asks later.
#[test]
fn the_loser_of_a_select_takes_nothing() {
    let runtime = runtime();
    for driver in drivers(8) {
        let remote = driver.remote();
        let (left, left_end) = pair();
        let (right, right_end) = pair();
        runtime.block_on(async {
            for round in 0..50_u8 {
                let from_left = remote.run(Recv::new(left.clone(), [0; 4]));
                let from_right = remote.run(Recv::new(right.clone(), [0; 4]));
                let is_left = round % 2 == 0;
                let mut end = if is_left { &left_end } else { &right_end };
                end.write_all(&[round]).unwrap();
                let (won_left, (received, op)) = tokio::select! {
                    outcome = from_left => (true, outcome),
                    outcome = from_right => (false, outcome),
                };
                assert_eq!(won_left, is_left);
                assert_eq!((received.unwrap(), op.buf()[0]), (1, round));
                // In order with the cancellation: it has been read of when this is done.
                remote.run(Nop::new()).await.0.unwrap();
                let (socket, mut end) = if is_left {
                    (&right, &right_end)
                } else {
                    (&left, &left_end)
                };
                end.write_all(b"late").unwrap();
                let (received, op) = remote.run(Recv::new(socket.clone(), [0; 4])).await;
                assert_eq!((received.unwrap(), op.buf()), (4, b"late"));
            }
        });
        assert_eq!(driver.shut_down(HOUR).unwrap(), 0);
    }
}

/// The executor's timer against the driver's: whichever ends, nothing stays behind.
#[test]
fn timed_out_by_the_executor() {
    let runtime = runtime();
    for driver in drivers(2) {
        let remote = driver.remote();
        let (socket, _end) = pair();
        runtime.block_on(async {
            for _ in 0..20 {
                let recv = remote.run(Recv::new(socket.clone(), [0; 4]));
                let timed_out = tokio::time::timeout(Duration::from_millis(1), recv).await;
                assert!(timed_out.is_err(), "nothing was sent");
                let hour = tokio::time::sleep(HOUR);
                tokio::select! {
                    (output, _) = remote.run(Timeout::after(Duration::from_micros(1))) => {
                        output.unwrap();
                    }
                    () = hour => panic!("an hour has passed"),
                }
            }
        });
        drop(remote);
        assert_eq!(driver.shut_down(HOUR).unwrap(), 0);
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}

/// Tasks that are aborted in each state of their operations give them up.
#[test]
fn aborted_tasks() {
    let runtime = runtime();
    for driver in drivers(4) {
        let remote = driver.remote();
        let (socket, mut end) = pair();
        runtime.block_on(async {
            for _ in 0..20 {
                let mut tasks = JoinSet::new();
                for _ in 0..16 {
                    let (remote, socket) = (remote.clone(), socket.clone());
                    tasks.spawn(async move { remote.run(Recv::new(socket, [0; 4])).await });
                }
                tokio::task::yield_now().await;
                tasks.shutdown().await;
                assert!(
                    remote.run(Nop::new()).await.0.is_ok(),
                    "there is room again"
                );
            }
            end.write_all(b"kept").unwrap();
            let (received, _) = remote.run(Recv::new(socket.clone(), [0; 4])).await;
            assert_eq!(received.unwrap(), 4);
        });
    }
}

/// One driver's thread for two runtimes of several threads, one of one thread, and a plain thread.
#[test]
fn several_runtimes() {
    for driver in drivers(8) {
        let file = numbered("several");
        let work = |task: u64| {
            let (remote, file) = (driver.remote(), file.clone());
            async move {
                for n in 0..100 {
                    let i = (task + n * 41) % 4096;
                    assert_eq!(read(&remote, &file, i).await, i);
                }
            }
        };
        let (first, second) = (runtime(), runtime());
        let tasks: Vec<_> = (0..8)
            .flat_map(|i| [first.spawn(work(i)), second.spawn(work(100 + i))])
            .collect();
        let single = Builder::new_current_thread().build().unwrap();
        single.block_on(work(7));
        let remote = driver.remote();
        for i in 0..100 {
            let (read, op) = remote.run_blocking(ReadAt::new(file.clone(), 8 * i, [0; 8]));
            assert_eq!((read.unwrap(), u64::from_le_bytes(*op.buf())), (8, i));
        }
        for task in tasks {
            single.block_on(task).unwrap();
        }
    }
}

/// Sent by one task, awaited by another, on whatever thread.
#[test]
fn a_pending_is_handed_to_another_task() {
    let runtime = runtime();
    for driver in drivers(4) {
        let remote = driver.remote();
        let (socket, mut end) = pair();
        runtime.block_on(async {
            let (send, receive) = oneshot::channel();
            let sender = tokio::spawn(async move {
                let pending = remote.try_push(Recv::new(socket, [0; 4]));
                assert!(send.send(pending.ok().unwrap()).is_ok());
            });
            let pending = receive.await.unwrap();
            sender.await.unwrap();
            let waits = tokio::spawn(pending);
            end.write_all(b"text").unwrap();
            let (received, op) = waits.await.unwrap();
            assert_eq!((received.unwrap(), op.buf()), (4, b"text"));
        });
    }
}

/// What such traits look like that the users of other executors have.
trait ReadBlocks: Send + Sync {
    fn read_block(&self, i: u64) -> Pin<Box<dyn Future<Output = io::Result<u64>> + Send + '_>>;
}

struct OnADriver {
    remote: Remote,
    file: Arc<OwnedFd>,
}

impl ReadBlocks for OnADriver {
    fn read_block(&self, i: u64) -> Pin<Box<dyn Future<Output = io::Result<u64>> + Send + '_>> {
        Box::pin(async move {
            let op = ReadAt::new(self.file.clone(), 8 * i, [0; 8]);
            let (read, op) = self.remote.run(op).await;
            match read? {
                8 => Ok(u64::from_le_bytes(*op.buf())),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }
}

#[test]
fn behind_a_trait_object() {
    let runtime = runtime();
    for driver in drivers(4) {
        let blocks: Arc<dyn ReadBlocks> = Arc::new(OnADriver {
            remote: driver.remote(),
            file: numbered("object"),
        });
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for i in 0..64 {
                let blocks = blocks.clone();
                tasks.spawn(async move { (i, blocks.read_block(i * 60).await) });
            }
            while let Some(task) = tasks.join_next().await {
                let (i, block) = task.unwrap();
                assert_eq!(block.unwrap(), i * 60);
            }
            let error = blocks.read_block(1 << 20).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
    }
}

/// Those that wait for room, and those that wait for results.
#[test]
fn tasks_are_told_of_the_shutdown() {
    const TASKS: usize = 12;
    let runtime = runtime();
    for driver in drivers(4) {
        let remote = driver.remote();
        let (socket, _end) = pair();
        let ready = Arc::new(Barrier::new(TASKS + 1));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (remote, socket) = (remote.clone(), socket.clone());
                let ready = ready.clone();
                runtime.spawn(async move {
                    ready.wait().await;
                    remote.run(Recv::new(socket, [0; 4])).await.0.unwrap_err()
                })
            })
            .collect();
        runtime.block_on(ready.wait());
        assert_eq!(driver.shut_down(HOUR).unwrap(), 0);
        for task in tasks {
            let error = runtime.block_on(task).unwrap();
            let is_closed = error.kind() == io::ErrorKind::BrokenPipe;
            assert!(is_closed || error.raw_os_error() == Some(libc::ECANCELED));
        }
        let rejected = runtime.block_on(remote.push(Nop::new())).unwrap_err();
        assert_eq!(rejected.reason(), Rejection::Closed);
    }
}

/// A runtime that goes away leaves its operations behind, and they are given up.
#[test]
fn a_runtime_is_shut_down() {
    for driver in drivers(4) {
        let remote = driver.remote();
        let (socket, mut end) = pair();
        let gone = runtime();
        let (send, receive) = oneshot::channel();
        let (task_remote, task_socket) = (remote.clone(), socket.clone());
        gone.spawn(async move {
            let pending = task_remote.try_push(Recv::new(task_socket, [0; 4]));
            let _ = send.send(());
            pending.ok().unwrap().await
        });
        gone.block_on(receive).unwrap();
        drop(gone);
        remote.run_blocking(Nop::new()).0.unwrap();
        let send = SendOp::new(socket.clone(), *b"out");
        assert_eq!(remote.run_blocking(send).0.unwrap(), 3);
        let mut out = [0; 3];
        end.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"out");
        assert_eq!(driver.shut_down(HOUR).unwrap(), 0);
        assert_eq!(Arc::strong_count(&socket), 1);
    }
}
