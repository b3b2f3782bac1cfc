//! What the tests of a model begin with and end with.

use super::{IN_FLIGHT, Model};
use crate::builder::{Backend as Kind, Choice};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::local::Core;
use crate::sys::Backend;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// How many seeds a test goes through. Eight make all the ways that the tests tell apart.
pub(crate) const SEEDS: u64 = if cfg!(miri) { 8 } else { 256 };

/// Gives `test` the seeds, and a driver of each, which it has to leave without open descriptors.
pub(crate) fn each_seed(slots: u32, test: impl Fn(u64, Driver<'static>)) {
    for seed in 0..SEEDS {
        let reported = Reported(seed);
        let (driver, witness) = driver(seed, slots);
        test(seed, driver);
        witness.assert_all_closed();
        drop(reported);
    }
}

/// A driver on a model. It reports itself as a known kind, for there is no other name.
pub(crate) fn driver<'arena>(seed: u64, slots: u32) -> (Driver<'arena>, Witness) {
    let (source, witness) = UnixStream::pair().expect("two descriptors");
    // SAFETY: (K1) F_SETFL takes an integer. Miri does not know what `set_nonblocking` does.
    let failed = unsafe { libc::fcntl(witness.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(failed, 0, "a socket can be told not to block");
    let in_flight = u32::try_from(IN_FLIGHT).expect("a small number");
    let core = Core::new(in_flight, slots).expect("a descriptor");
    let backend = Backend::Model(Model::new(source.into(), seed));
    let capabilities = backend.capabilities(Kind::Readiness, Choice::Builder);
    let driver = Driver::of(Engine { backend, core }, capabilities);
    (driver, Witness(File::from(OwnedFd::from(witness))))
}

impl Model {
    /// The model that a driver stands on.
    pub(crate) fn of<'d>(driver: &'d mut Driver<'_>) -> &'d mut Self {
        match &mut driver.engine.backend {
            Backend::Model(model) => model,
            _ => unreachable!("it was made by `driver`"),
        }
    }
}

/// The other end of all descriptors that a model makes.
pub(crate) struct Witness(File);

impl Witness {
    /// For when the driver is gone: nobody has one of them any more.
    pub(crate) fn assert_all_closed(mut self) {
        let start = Instant::now();
        // A process that another test forks has copies of them for a moment.
        while let Err(error) = self.0.read(&mut [0]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "I16: a descriptor that an operation has made was left open"
            );
            thread::yield_now();
        }
    }
}

/// Tells the seed of a test that fails.
struct Reported(u64);

impl Drop for Reported {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}
