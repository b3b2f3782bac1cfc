//! Panics of a program, and what outlives what.

use crate::kit::{create, done, seeds};
use completeio_driver::driver::{AsFd, CompleteIo, Driver, Entry};
use completeio_driver::op::{Nop, Recv, Timeout, WriteAt};
use completeio_driver::scope::Event;
use completeio_driver::sim::{self, Faults, World};
use completeio_driver::sink;
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

/// A program that panics with operations in flight: in a scope, with slots, and in the raw layer.
#[test]
fn a_program_panics_in_flight() {
    for seed in seeds(20) {
        let found = sim::search(seed..seed + 1, &Faults::default(), |world| {
            let host = world.host("a");
            let (a, _b) = host.socket_pair().unwrap();
            let mut raw = Timeout::after(Duration::from_secs(9));
            let mut lent = Recv::new(a.as_fd(), [0; 8]);
            let mut other = host.driver(Driver::builder()).unwrap();
            other.try_push(&mut raw, 0).unwrap();
            // SAFETY: it outlives the driver, and nobody touches it.
            unsafe { other.submit(Some(Duration::ZERO), &mut None::<Entry>) }.unwrap();
            let mut driver = host.driver(Driver::builder().slots(2)).unwrap();
            let _key = driver
                .try_push_owned(Timeout::after(Duration::from_secs(8)), 0)
                .ok();
            let _result = driver.scope(|s| {
                let _ticket = s.try_lend(&mut lent, 0).unwrap();
                s.submit(Some(Duration::ZERO), &mut None::<Event<'_>>)
                    .unwrap();
                panic!("on purpose");
            });
        });
        assert_eq!(found.unwrap().message, "on purpose");
    }
}

#[test]
fn a_sink_panics() {
    let world = World::new(1, Faults::default());
    let host = world.host("a");
    let mut ops = [(); 3].map(|()| Nop::new());
    let mut driver = host.driver(Driver::builder()).unwrap();
    for (i, op) in ops.iter_mut().enumerate() {
        driver.try_push(op, i).unwrap();
    }
    let mut seen = 0;
    let mut sink = sink::bounded(1, |_: Entry| panic!("on purpose"));
    // SAFETY: they outlive the driver, and nobody touches them.
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| unsafe {
        driver.submit(None, &mut sink)
    }));
    assert!(panicked.is_err());
    while driver.in_flight() > 0 {
        let mut entry: Option<Entry> = None;
        // SAFETY: as above.
        unsafe { driver.submit(None, &mut entry) }.unwrap();
        seen += usize::from(entry.is_some());
    }
    assert_eq!(seen, 2);
}

#[test]
fn a_crash_under_a_driver() {
    let world = World::new(1, Faults::default());
    let host = world.host("a");
    let mut driver = host.driver(Driver::builder()).unwrap();
    let file = done(&mut driver, create(c"f"));
    assert!(panic::catch_unwind(AssertUnwindSafe(|| host.crash())).is_err());
    done(&mut driver, WriteAt::new(file.as_fd(), 0, [1; 8]));
    drop(driver);
    host.crash();
    host.crash();
}

/// A driver keeps its thread in its world; other threads are not.
#[test]
fn a_driver_without_its_world() {
    let world = World::new(1, Faults::default());
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    drop(world);
    assert!(panic::catch_unwind(|| World::new(2, Faults::none())).is_err());
    thread::spawn(|| World::new(2, Faults::none()).now())
        .join()
        .unwrap();
    done(&mut driver, create(c"f"));
    drop(driver);
    World::new(2, Faults::none());
}

/// Another thread's ring ends a wait that nothing else would.
#[test]
fn a_notifier_on_another_thread() {
    let world = World::new(1, Faults::none());
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    let notifier = driver.notifier();
    let thread = thread::spawn(move || notifier.notify());
    // SAFETY: nothing is in flight.
    unsafe { driver.submit(None, &mut None::<Entry>) }.unwrap();
    thread.join().unwrap();
}

/// A key holds its slot when the driver and the world are gone.
#[test]
fn a_key_outlives_its_world() {
    let world = World::new(1, Faults::none());
    let host = world.host("a");
    let mut driver = host.driver(Driver::builder().slots(2)).unwrap();
    let (a, _b) = host.socket_pair().unwrap();
    let recv = Recv::new(a, vec![0; 8]);
    let submitted = driver.try_push_owned(recv, 0).ok().unwrap();
    // SAFETY: the slots own the operation.
    unsafe { driver.submit(Some(Duration::ZERO), &mut None::<Entry>) }.unwrap();
    let pushed = driver
        .try_push_owned(Timeout::after(Duration::ZERO), 0)
        .ok()
        .unwrap();
    drop((driver, host, world));
    drop((submitted, pushed));
    World::new(2, Faults::none());
}
