//! D1, D2 and I5 of the raw layer on a model of a kernel, which touches what it was lent at every
//! turn: made to be run by Miri.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::driver::{CompleteIo, Cwd, Driver, Entry};
use crate::op::{Accept, MsgFlags, Op, OpObject, OpenAt, ReadAt, Recv, Timeout, WriteAt};
use crate::sys::model::{self, FILL, HOUR, SEEDS, each_seed};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

/// One turn that does not wait.
fn turn(driver: &mut Driver<'_>, entries: &mut Vec<Entry>) {
    // SAFETY: (D1) the tests keep their operations where they are until the driver is gone.
    unsafe { driver.submit(Some(Duration::ZERO), entries) }.unwrap();
}

/// I5: what was only pushed may be freed before the driver is dropped, which does not touch it.
#[test]
fn pushed_freed_and_dropped() {
    for seed in 0..SEEDS {
        let witness = {
            let (mut driver, witness) = model::driver(seed, 0);
            let mut read = Box::new(ReadAt::new(Cwd, 0, vec![0; 16]));
            let mut inline = Box::new(Recv::new(Cwd, [0; 16]));
            let mut accept = Box::new(Accept::new(Cwd));
            let mut timeout = Box::new(Timeout::after(HOUR));
            driver.try_push(&mut *read, 0).unwrap();
            driver.try_push(&mut *inline, 1).unwrap();
            let mut queue = VecDeque::from([(&mut *accept, 2).into(), (&mut *timeout, 3).into()]);
            driver.push_queue(&mut queue);
            drop(queue);
            drop((read, inline, accept, timeout));
            witness
        };
        witness.assert_all_closed();
    }
}

/// I5: a driver that is dropped returns when the kernel is done with what it had.
#[test]
fn dropped_in_flight() {
    for seed in 0..SEEDS {
        let mut buffer = [0; 16];
        let mut recv = Recv::new(Cwd, &mut buffer[..]).flags(MsgFlags::OUT_OF_BAND);
        let mut read = ReadAt::new(Cwd, 0, [0; 16]);
        let mut write = WriteAt::new(Cwd, 0, vec![1; 16]);
        let mut accept = Accept::new(Cwd);
        let mut open = OpenAt::read(Cwd, c"a path");
        let mut entries = Vec::with_capacity(8);
        let witness = {
            let (mut driver, witness) = model::driver(seed, 0);
            driver.try_push(&mut recv, 0).unwrap();
            driver.try_push(&mut read, 1).unwrap();
            driver.try_push(&mut write, 2).unwrap();
            driver.try_push(&mut accept, 3).unwrap();
            for _ in 0..seed % 4 {
                turn(&mut driver, &mut entries);
            }
            driver.try_push(&mut open, 4).unwrap();
            if seed / 4 % 2 == 1 {
                driver.try_cancel_all().unwrap();
                turn(&mut driver, &mut entries);
            }
            witness
        };
        for entry in entries {
            match entry.user_data() {
                // SAFETY: (D3) the operation's last entry.
                3 => unsafe { accept.dispose(entry) },
                // SAFETY: (D3) the operation's last entry.
                4 => unsafe { open.dispose(entry) },
                _ => {}
            }
        }
        witness.assert_all_closed();
        *read.buf_mut() = [7; 16];
        buffer.fill(7);
        drop((read, write, accept, open));
    }
}

/// D2: one pointer to an operation is good for any number of flights, and for what is between.
#[test]
fn pushed_again_by_pointer() {
    each_seed(0, |seed, mut driver| {
        let mut memory = Box::new(ReadAt::new(Cwd, 0, [0; 16]));
        let mut op = NonNull::from(&mut *memory);
        let mut entries = Vec::with_capacity(1);
        for round in 0..4 {
            // SAFETY: (D1, D2) out of flight, for its last entry came, and reached by this pointer
            // alone until the driver is gone.
            let object = unsafe { OpObject::from_ptr(op, round) };
            driver.try_push_dyn(object).unwrap();
            if seed % 3 == 0 {
                driver.try_cancel(round).unwrap();
            }
            while entries.is_empty() {
                turn(&mut driver, &mut entries);
            }
            let entry = entries.remove(0);
            assert_eq!(entry.user_data(), round);
            // SAFETY: (D1) out of flight.
            let read = unsafe { op.as_mut() };
            // SAFETY: (D3) the last entry of the last flight.
            if let Ok(n) = unsafe { read.finish(entry) } {
                assert_eq!(read.buf()[..n], [FILL; 16][..n]);
            }
            *read.buf_mut() = [7; 16];
        }
        // SAFETY: (D1, D2) as above.
        driver
            .try_push_dyn(unsafe { OpObject::from_ptr(op, 4) })
            .unwrap();
        turn(&mut driver, &mut entries);
        drop(driver);
        *memory.buf_mut() = [7; 16];
    });
}

/// I14: a wait that only a notifier can end.
#[test]
fn rung_from_another_thread() {
    each_seed(0, |_, mut driver| {
        let notifier = driver.notifier();
        let thread = thread::spawn(move || notifier.notify());
        // SAFETY: (D1) nothing is in flight.
        unsafe { driver.submit(None, &mut None::<Entry>) }.unwrap();
        thread.join().unwrap();
        assert_eq!(driver.stats().wake_ups, 1);
    });
}

/// The model itself: it says so, and does not hang.
#[test]
#[should_panic(expected = "nothing ends this wait")]
fn a_wait_without_an_end() {
    let mut timeout = Timeout::after(HOUR);
    let (mut driver, _witness) = model::driver(0, 0);
    driver.try_push(&mut timeout, 0).unwrap();
    // SAFETY: (D1) the operation outlives the driver.
    unsafe { driver.submit(None, &mut None::<Entry>) }.unwrap();
}
