//! The same operations by a driver of the own thread, and by a `Remote` of another's: what two
//! crossings between threads cost.

use crate::measure::{Run, elapsed_ns};
use completeio_driver::driver::{Backend, Driver, Holds, OwnedFd, Wait, spawn_thread};
use completeio_driver::op::{Nop, Op, ReadAt};
use completeio_driver::remote::{Pending, Remote};
use completeio_driver::sink;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Operations that one client has under way at a time.
pub(crate) const IN_FLIGHT: [usize; 2] = [1, 32];

/// Bytes of a read.
const BLOCK: usize = 4096;

/// What is done.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Nops,
    Reads,
}

impl Work {
    pub(crate) const ALL: [Self; 2] = [Self::Nops, Self::Reads];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nops => "NOPs",
            Self::Reads => "reads of 4 KiB of a cached file",
        }
    }
}

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Alone,
    Clients(usize),
}

impl Peer {
    pub(crate) const OTHERS: [Self; 2] = [Self::Clients(1), Self::Clients(4)];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alone => "the driver alone",
            Self::Clients(1) => "Remote, 1 client thread",
            Self::Clients(_) => "Remote, 4 client threads",
        }
    }
}

/// Does operations for so long; the CPU time is that of all threads of this process.
pub(crate) fn run(
    peer: Peer,
    work: Work,
    backend: Backend,
    in_flight: usize,
    time: Duration,
) -> Result<Run, String> {
    let file = file().map_err(|e| format!("no file to read: {e}"))?;
    match work {
        Work::Nops => run_with(peer, backend, in_flight, time, Nop::new),
        Work::Reads => run_with(peer, backend, in_flight, time, || {
            ReadAt::new(file.clone(), 0, vec![0; BLOCK].into_boxed_slice())
        }),
    }
}

/// A file of one block, read once.
fn file() -> io::Result<Arc<OwnedFd>> {
    let path = std::env::temp_dir().join(format!("completeio-bench-{}", std::process::id()));
    fs::write(&path, [7; BLOCK])?;
    let file = File::open(&path)?;
    fs::remove_file(&path)?;
    Ok(Arc::new(file.into()))
}

fn run_with<O>(
    peer: Peer,
    backend: Backend,
    in_flight: usize,
    time: Duration,
    make: impl Fn() -> O + Sync,
) -> Result<Run, String>
where
    O: Op<Fd: Holds, Output: Send> + Send + 'static,
{
    let builder = Driver::builder().backend(backend).slots(128);
    match peer {
        Peer::Alone => alone(builder.build().map_err(text)?, in_flight, time, make),
        Peer::Clients(clients) => {
            let driver = spawn_thread(builder).map_err(text)?;
            let run = by_clients(&driver.remote(), clients, in_flight, time, &make);
            driver.shut_down(Duration::from_secs(5)).map_err(text)?;
            Ok(run)
        }
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// The driver owns the operations here too; each is pushed again as soon as it is back.
fn alone<O: Op<Fd: Holds> + 'static>(
    mut driver: Driver<'static>,
    in_flight: usize,
    time: Duration,
    make: impl Fn() -> O,
) -> Result<Run, String> {
    let mut keys: Vec<_> = (0..in_flight)
        .map(|token| driver.try_push_owned(make(), token).ok())
        .collect();
    let (mut ops, clock) = (0, Clock::start());
    while clock.wall.elapsed() < time {
        for _ in 0..64 {
            let submitted =
                driver.scope(|s| s.submit_until(Wait::new(), &mut sink::bounded(1, drop)));
            submitted.map_err(text)?.map_err(text)?;
            while let Some(finished) = driver.next_finished() {
                let token = finished.token();
                let key = keys[token].take().expect("in flight until now");
                let Ok((output, op)) = key.redeem() else {
                    unreachable!("it has finished")
                };
                output.map_err(text)?;
                keys[token] = driver.try_push_owned(op, token).ok();
                ops += 1;
            }
        }
    }
    Ok(clock.stop(ops))
}

fn by_clients<O>(
    remote: &Remote,
    clients: usize,
    in_flight: usize,
    time: Duration,
    make: &(impl Fn() -> O + Sync),
) -> Run
where
    O: Op<Fd: Holds, Output: Send> + Send + 'static,
{
    let (start, stop) = (Barrier::new(clients + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let client = || {
            let send = |op| remote.push_blocking(op).expect("the driver is open");
            let mut pendings: VecDeque<Pending<O>> = (1..in_flight).map(|_| send(make())).collect();
            let mut next = make();
            start.wait();
            let mut ops = 0;
            while !stop.load(Ordering::Relaxed) {
                pendings.push_back(send(next));
                let (output, op) = pendings.pop_front().expect("pushed above").wait();
                assert!(output.is_ok());
                next = op;
                ops += 1;
            }
            ops
        };
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        start.wait();
        let clock = Clock::start();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let ops = clients
            .into_iter()
            .map(|client| client.join().expect("it does not panic"));
        let ops = ops.sum();
        clock.stop(ops)
    })
}

/// Wall time, and CPU time of the whole process.
struct Clock {
    wall: Instant,
    cpu_ns: u64,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu_ns: cpu_ns(),
        }
    }

    fn stop(&self, ops: u64) -> Run {
        Run {
            ops,
            wall_ns: elapsed_ns(self.wall),
            cpu_ns: cpu_ns() - self.cpu_ns,
            enters_per_op: None,
        }
    }
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec` to a place that has room for it.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "every process has this clock");
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
