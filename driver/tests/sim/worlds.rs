//! Worlds: time, seeds, searches.

use crate::kit::{create, done, seeds};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsFd, Backend, CompleteIo, Driver, Entry};
use completeio_driver::op::{Recv, Timeout, WriteAt};
use completeio_driver::sim::{self, Faults, World};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::panic;
use std::time::Duration;

#[test]
fn time_is_the_worlds() {
    let outside = Instant::now();
    let world = World::new(1, Faults::none());
    let start = Instant::now();
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    done(&mut driver, Timeout::after(Duration::from_secs(3600)));
    assert_eq!(Instant::now() - start, Duration::from_secs(3600));
    drop((driver, world));
    assert!(outside.elapsed() < Duration::from_secs(3600));
}

#[test]
fn a_wait_that_nothing_ends_is_an_error() {
    let world = World::new(1, Faults::none());
    let host = world.host("a");
    let mut driver = host.driver(Driver::builder()).unwrap();
    let _notifier = driver.notifier();
    let addr = std::net::SocketAddr::from((host.ip(), 80)).into();
    let socket = done(&mut driver, completeio_driver::op::Socket::datagram(&addr));
    done(
        &mut driver,
        completeio_driver::op::Bind::new(socket.as_fd(), addr),
    );
    let mut recv = completeio_driver::op::Recv::new(socket.as_fd(), [0; 8]);
    drop(driver);
    let mut driver = host.driver(Driver::builder()).unwrap();
    driver
        .scope(|s| {
            let _ticket = s.try_lend(&mut recv, 0).unwrap();
            let waited = s.submit(None, &mut None);
            assert_eq!(waited.unwrap_err().kind(), ErrorKind::Deadlock);
        })
        .unwrap();
}

/// Every operation is reported, as simulated or as missing: the names are those of the real
/// backends.
#[test]
fn every_operation_is_reported() {
    let names = |driver: &Driver<'_>| {
        let operations = driver.capabilities().operations.iter();
        operations.map(|(name, _)| *name).collect::<BTreeSet<_>>()
    };
    let real = Driver::builder().backend(Backend::Readiness).build();
    let real = names(&real.unwrap());
    let world = World::new(1, Faults::none());
    let simulated = world.host("a").driver(Driver::builder()).unwrap();
    assert_eq!(names(&simulated), real);
}

fn program(world: &World) {
    let mut driver = world.host("a").driver(Driver::builder()).unwrap();
    let file = done(&mut driver, create(c"f"));
    for i in 0..20 {
        done(&mut driver, WriteAt::new(file.as_fd(), i * 100, [7; 100]));
    }
}

/// One seed is one run, bit for bit; and another is another.
#[test]
fn a_seed_repeats() {
    let trace = |seed| {
        let world = World::new(seed, Faults::default());
        program(&world);
        world.trace()
    };
    for seed in seeds(20) {
        assert_eq!(trace(seed), trace(seed));
        assert_ne!(trace(seed), trace(seed + 1));
    }
}

/// A program that takes a short write for a whole one is found, with the faults that it takes.
#[test]
fn a_search_finds_the_seed_and_the_fault() {
    let buggy = |world: &World| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let file = done(&mut driver, create(c"f"));
        assert_eq!(
            done(&mut driver, WriteAt::new(file.as_fd(), 0, [7; 100])),
            100
        );
    };
    let found = panic::catch_unwind(|| sim::check(0..1000, &Faults::default(), buggy));
    let found = found.unwrap_err();
    let report = found.downcast_ref::<String>().unwrap();
    assert!(report.starts_with("seed "), "{report}");
    assert!(report.contains("2 write at: "), "the trace: {report}");
    let Faults { short, .. } = Faults::default();
    let only_short = Faults {
        short,
        ..Faults::none()
    };
    for line in format!("{only_short:#?}").lines() {
        // But for how much, of what does not happen.
        assert!(
            line.contains("latency") || report.contains(line),
            "{line} in {report}"
        );
    }
}

#[test]
fn a_thread_is_in_one_world() {
    let _world = World::new(1, Faults::none());
    assert!(panic::catch_unwind(|| World::new(2, Faults::none())).is_err());
}

/// The raw layer's loop, with a driver that is dropped while operations are in flight.
#[test]
fn a_driver_is_dropped_in_flight() {
    for seed in seeds(100) {
        let world = World::new(seed, Faults::default());
        let mut timeouts: Vec<Timeout> = (1..9)
            .map(|n| Timeout::after(Duration::from_millis(n)))
            .collect();
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        for (i, timeout) in timeouts.iter_mut().enumerate() {
            driver.try_push(timeout, i).unwrap();
        }
        let mut entries: Vec<Entry> = Vec::with_capacity(8);
        // SAFETY: the timeouts outlive the driver, and nobody touches them.
        unsafe { driver.submit(Some(Duration::from_millis(4)), &mut entries) }.unwrap();
        assert!(entries.len() < 8);
    }
}

/// One that waits behind another is cancelled, also where cancellations lose.
#[test]
fn what_waits_for_its_turn_is_cancelled() {
    let faults = Faults {
        cancel_loses: 1.0,
        ..Faults::none()
    };
    let world = World::new(1, faults);
    let host = world.host("a");
    let (socket, _peer) = host.socket_pair().unwrap();
    let mut receives = [0; 2].map(|_| Recv::new(socket.as_fd(), [0; 8]));
    let mut driver = host.driver(Driver::builder()).unwrap();
    for (i, receive) in receives.iter_mut().enumerate() {
        driver.try_push(receive, i).unwrap();
    }
    driver.try_cancel(1).unwrap();
    let mut entry: Option<Entry> = None;
    // SAFETY: the receives outlive the driver, and nobody touches them; the socket is open.
    unsafe { driver.submit(None, &mut entry) }.unwrap();
    let entry = entry.unwrap();
    assert_eq!(entry.user_data(), 1);
    assert_eq!(entry.raw_os_error(), Some(libc::ECANCELED));
}
