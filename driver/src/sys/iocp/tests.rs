//! What only this backend has.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::driver::{AsRawFd, CompleteIo, Driver, Entry};
use crate::op::{Op, ReadAt};

#[test]
fn the_second_program() {
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let mut driver = Driver::new().unwrap();
    let fd = driver.attach(file.as_raw_fd()).unwrap();
    let mut op = ReadAt::new(fd, 0, Vec::with_capacity(4096));
    let mut entries: Vec<Entry> = Vec::with_capacity(1);
    {
        driver.try_push(&mut op, 7).unwrap();
        // SAFETY: the operation outlives the driver, and is not touched.
        unsafe { driver.submit(None, &mut entries).unwrap() };
    }
    drop(driver);
    // SAFETY: its last entry.
    let n = unsafe { op.finish(entries.remove(0)) }.unwrap();
    assert!(n > 100);
}
