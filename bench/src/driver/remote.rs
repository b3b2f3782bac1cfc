//! The same operations by a driver of the own thread, and by a `Remote` of another's: what two
//! crossings between threads cost.

use super::text;
use bench::child::{Args, Goal, Outcome};
use bench::machine::{cpu_ns, now_ns};
use bench::meter::{Meter, outcome};
use completeio_driver::driver::{Builder, Driver, Holds, OwnedFd, Wait, spawn_thread};
use completeio_driver::op::{Nop, Op, ReadAt};
use completeio_driver::remote::{Pending, Remote};
use completeio_driver::sink;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Bytes of a read.
const BLOCK: usize = 4096;

/// Does `work=nop` or `work=read` for so long, `in-flight=N` at a time, by so many `clients`, or by
/// the driver alone.
pub(super) fn run(builder: Builder, clients: usize, args: &Args) -> Result<Outcome, String> {
    if args.need::<String>("work")? == "nop" {
        return run_with(builder, clients, args, Nop::new);
    }
    let file = file().map_err(|e| format!("no file to read: {e}"))?;
    run_with(builder, clients, args, || {
        ReadAt::new(file.clone(), 0, vec![0; BLOCK].into_boxed_slice())
    })
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
    builder: Builder,
    clients: usize,
    args: &Args,
    make: impl Fn() -> O + Sync,
) -> Result<Outcome, String>
where
    O: Op<Fd: Holds, Output: Send> + Send + 'static,
{
    let builder = builder.slots(128);
    let in_flight = args.need("in-flight")?;
    if clients == 0 {
        return alone(
            builder.build().map_err(text)?,
            in_flight,
            args.goal()?,
            make,
        );
    }
    let Goal::Time { window, .. } = args.goal()? else {
        return Err("it is measured by time".to_owned());
    };
    let driver = spawn_thread(builder).map_err(text)?;
    let found = by_clients(&driver.remote(), clients, in_flight, window, &make);
    driver.shut_down(Duration::from_secs(5)).map_err(text)?;
    found
}

/// The driver owns the operations here too; each is pushed again as soon as it is back.
fn alone<O: Op<Fd: Holds> + 'static>(
    mut driver: Driver<'static>,
    in_flight: usize,
    goal: Goal,
    make: impl Fn() -> O,
) -> Result<Outcome, String> {
    let mut keys: Vec<_> = (0..in_flight)
        .map(|token| driver.try_push_owned(make(), token).ok())
        .collect();
    let meter = Meter::new(goal);
    loop {
        let submitted = driver.scope(|s| s.submit_until(Wait::new(), &mut sink::bounded(1, drop)));
        submitted.map_err(text)?.map_err(text)?;
        while let Some(finished) = driver.next_finished() {
            let token = finished.token();
            let key = keys[token].take().expect("in flight until now");
            let Ok((output, op)) = key.redeem() else {
                unreachable!("it has finished")
            };
            output.map_err(text)?;
            if !meter.step(1) {
                return meter.outcome();
            }
            keys[token] = driver.try_push_owned(op, token).ok();
        }
    }
}

/// Wall time, and CPU time of the whole process.
fn by_clients<O>(
    remote: &Remote,
    clients: usize,
    in_flight: usize,
    time: Duration,
    make: &(impl Fn() -> O + Sync),
) -> Result<Outcome, String>
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
        let (begin_ns, begin_cpu_ns) = (now_ns(), cpu_ns());
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let ops = clients
            .into_iter()
            .map(|client| client.join().expect("it does not panic"));
        let ops = ops.sum();
        outcome(ops, now_ns() - begin_ns, cpu_ns() - begin_cpu_ns, 0)
    })
}
