//! What the tests do on a simulated driver.

use completeio_driver::driver::{Driver, Holds};
use completeio_driver::op::{self, Op};
use completeio_driver::scope::Event;
use completeio_driver::sim::{Faults, World};
use std::io;
use std::ops::Range;

/// Does one operation, and gives it back with its output.
pub(crate) fn run<O: Op>(driver: &mut Driver<'_>, mut op: O) -> (io::Result<O::Output>, O)
where
    O::Fd: Holds,
{
    let output = driver.scope(|s| {
        let ticket = s.try_lend(&mut op, 0).unwrap();
        let mut event = None;
        while event.is_none() {
            s.submit(None, &mut event).unwrap();
        }
        let done = event.and_then(Event::done).unwrap();
        ticket.redeem(done).unwrap().0
    });
    (output.unwrap(), op)
}

/// The same, of one that has to succeed.
#[track_caller]
pub(crate) fn done<O: Op>(driver: &mut Driver<'_>, op: O) -> O::Output
where
    O::Fd: Holds,
{
    run(driver, op).0.unwrap()
}

/// The error of one that has to fail.
#[track_caller]
pub(crate) fn errno<O: Op>(driver: &mut Driver<'_>, op: O) -> i32
where
    O::Fd: Holds,
    O::Output: std::fmt::Debug,
{
    run(driver, op).0.unwrap_err().raw_os_error().unwrap()
}

/// Every kind of fault, and none.
pub(crate) fn both(test: impl Fn(&World)) {
    for faults in [Faults::none(), Faults::default()] {
        completeio_driver::sim::check(seeds(50), &faults, &test);
    }
}

/// So many seeds; fewer where each takes long.
pub(crate) fn seeds(n: u64) -> Range<u64> {
    0..if cfg!(miri) { 2 } else { n }
}

pub(crate) fn create(
    path: &'static std::ffi::CStr,
) -> op::OpenAt<completeio_driver::driver::Cwd, &'static std::ffi::CStr> {
    let options = op::OpenOptions::new().read(true).write(true).create(true);
    op::OpenAt::new(completeio_driver::driver::Cwd, path, options)
}
