//! Makes a driver, says what came of it, and that nothing was left behind.

use crate::session::variant;
use crate::{Options, expect_one_thread, limits, marker, open_fds};
use completeio_driver::driver::{Choice, CompleteIo, Driver, Entry};
use completeio_driver::op::Nop;
use std::{fs, process};

/// Prints `ok BACKEND CHOICE [REASON]` or `error VARIANT: MESSAGE` (status 3).
pub(crate) fn construct(options: &Options) {
    let fds = open_fds();
    let limit = options.files_left.map(limits::leave_descriptors);
    marker();
    let built = options.builder().build();
    marker();
    if let Some(limit) = limit {
        limits::set_descriptors(limit);
    }
    let status = match built {
        Ok(driver) => {
            works(driver);
            0
        }
        Err(error) => {
            println!("error {}: {error}", variant(&error));
            3
        }
    };
    limits::close_fillers();
    let after = open_fds();
    ensure!(
        after == fds,
        "leaked descriptors: {after:?}, before {fds:?}"
    );
    expect_one_thread();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    ensure!(!maps.contains("io_uring"), "a ring is mapped still");
    process::exit(status);
}

/// Reports a driver, and lets it do something.
fn works(mut driver: Driver<'static>) {
    let capabilities = driver.capabilities();
    let reason = match &capabilities.choice {
        Choice::Fallback(error) => variant(error),
        _ => String::new(),
    };
    println!(
        "ok {} {} {reason}",
        driver.backend(),
        variant(&capabilities.choice)
    );
    println!("{capabilities}");
    let nop = Box::leak(Box::new(Nop::new()));
    ensure!(driver.try_push(nop, 7).is_ok(), "a new driver is full");
    let mut entry = None::<Entry>;
    while entry.is_none() {
        // SAFETY: the operation lives for ever.
        let submitted = unsafe { driver.submit(None, &mut entry) };
        ensure!(submitted.is_ok(), "submit: {submitted:?}");
    }
    ensure!(entry.as_ref().unwrap().user_data() == 7, "{entry:?}");
}
