//! What is special to this backend.
#![allow(clippy::unwrap_used, reason = "tests")]

mod inline;

use crate::driver::{Backend, CompleteIo, Driver, Entry, Refusal, Support};
use crate::key::Class;
use crate::op::{Nop, Op, WaitId};
use crate::sys::Backend as Sys;

/// A driver on io_uring, or none where it is forbidden; the suite's other tests say so.
fn driver<'arena>() -> Option<Driver<'arena>> {
    match Driver::builder()
        .entries(8)
        .backend(Backend::IoUring)
        .build()
    {
        Ok(driver) => Some(driver),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn complete_a_nop<'arena>(driver: &mut Driver<'arena>, op: &'arena mut Nop) -> Entry {
    driver.try_push(op, 7).unwrap();
    let mut entry = None;
    // SAFETY: (D1) the operation outlives the driver.
    unsafe { driver.submit(None, &mut entry) }.unwrap();
    entry.unwrap()
}

/// A thread has 16 places for registered rings, and a ring that holds one is not freed.
#[test]
fn a_thread_may_have_many_drivers_and_make_them_again_and_again() {
    for _ in 0..3 {
        let mut ops = [const { Nop::new() }; 20];
        let mut drivers: Vec<_> = (0..20).filter_map(|_| driver()).collect();
        // All places are free again: those of the drivers that are gone were given up.
        let registered = |driver: &&Driver<'_>| {
            let granted = &driver.capabilities().granted;
            granted.contains(&("registered ring", "yes".to_owned()))
        };
        let places = drivers.len().min(16);
        assert_eq!(drivers.iter().filter(registered).count(), places);
        for (driver, op) in drivers.iter_mut().zip(&mut ops) {
            assert_eq!(complete_a_nop(driver, op).into_result().unwrap(), 0);
        }
    }
}

/// I21: an opcode that the kernel lacks is refused at its push, and the report says so.
#[test]
fn a_missing_opcode_is_unsupported() {
    let mut op = Nop::new();
    let Some(mut driver) = driver() else { return };
    let nop = linux_raw_sys::io_uring::io_uring_op::IORING_OP_NOP as usize;
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let mut opcodes = uring.pushes.opcodes;
    opcodes.0[nop / 64] &= !(1 << (nop % 64));
    uring.set_opcodes(opcodes);
    assert!(uring.operations().contains(&("Nop", Support::Missing)));
    let entry = complete_a_nop(&mut driver, &mut op);
    assert_eq!(entry.refusal(), Some(Refusal::Unsupported));
    assert_eq!(
        entry.into_result().unwrap_err().kind(),
        std::io::ErrorKind::Unsupported
    );
}

/// I21: before Linux 6.9 there is no truncation.
#[test]
fn a_kernel_without_truncation() {
    let mut op = crate::op::Truncate::new(crate::driver::Cwd, 0);
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let mut opcodes = uring.pushes.opcodes;
    opcodes.0[0] &= !(1 << linux_raw_sys::io_uring::io_uring_op::IORING_OP_FTRUNCATE as usize);
    uring.set_opcodes(opcodes);
    assert!(uring.operations().contains(&("Truncate", Support::Missing)));
    driver.try_push(&mut op, 1).unwrap();
    let mut entry: Option<Entry> = None;
    // SAFETY: (D1) the operation outlives the driver.
    unsafe { driver.submit(None, &mut entry) }.unwrap();
    assert_eq!(entry.unwrap().refusal(), Some(Refusal::Unsupported));
}

/// Before Linux 6.7 a child's descriptor is polled, and `finish` reaps: the same comes out.
#[test]
#[allow(clippy::zombie_processes, reason = "an operation reaps it")]
fn a_child_is_waited_for_without_the_opcode() {
    let waitid = linux_raw_sys::io_uring::io_uring_op::IORING_OP_WAITID as usize;
    let child = std::process::Command::new("false").spawn().unwrap();
    let [mut cancelled, mut kept, mut op, mut reaped] =
        [(); 4].map(|()| WaitId::child(child.id()).unwrap());
    kept = kept.keep(true);
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let mut opcodes = uring.pushes.opcodes;
    opcodes.0[waitid / 64] &= !(1 << (waitid % 64));
    uring.set_opcodes(opcodes);
    assert!(uring.operations().contains(&("WaitId", Support::Ready)));
    assert!(driver.try_push(&mut cancelled, 0).is_ok());
    driver.try_cancel(0).unwrap();
    let ops = [&mut kept, &mut op, &mut reaped].map(std::ptr::NonNull::from);
    for (n, this) in (1..).zip(ops) {
        // SAFETY: (D2) not in flight, and reached through this pointer alone until its entry came.
        let object = unsafe { crate::op::OpObject::from_ptr(this, n) };
        assert!(driver.try_push_dyn(object).is_ok());
    }
    let mut entries = Vec::with_capacity(4);
    let wait = crate::driver::Wait::new().at_least(4);
    // SAFETY: (D1) the operations outlive the driver.
    unsafe { driver.submit_until(wait, &mut entries) }.unwrap();
    drop(driver);
    entries.sort_by_key(Entry::user_data);
    let mut entries = entries.into_iter();
    let mut next = || entries.next().unwrap();
    // The child may have ended before the cancellation; then it is ready, and not reaped.
    next();
    // SAFETY: (D3) the entry is the operation's last one.
    let exit = unsafe { kept.finish(next()) }.unwrap();
    assert_eq!((exit.pid(), exit.code()), (child.id(), Some(1)));
    // SAFETY: (D3) as above.
    assert_eq!(unsafe { op.finish(next()) }.unwrap(), exit);
    // SAFETY: (D3) as above.
    let error = unsafe { reaped.finish(next()) }.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
}

/// A deadline whose operation the kernel took alone posts an entry of the driver's own.
#[test]
fn a_deadline_without_its_operation_is_no_entry() {
    let mut op = Nop::new();
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let spec = crate::op::Timespec::from(std::time::Duration::ZERO);
    uring.push_internal(super::control::deadline(&raw const spec));
    assert_eq!(complete_a_nop(&mut driver, &mut op).user_data(), 7);
    assert_eq!((driver.stats().unknown, driver.in_flight()), (0, 0));
}

/// I37: a completion whose key the driver never made is counted, and names nothing.
#[test]
fn a_completion_with_an_unknown_key_is_dropped() {
    let mut op = Nop::new();
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    uring.push_internal(super::Sqe {
        user_data: Class::Head as u64,
        ..super::control::nop()
    });
    assert_eq!(complete_a_nop(&mut driver, &mut op).user_data(), 7);
    assert_eq!(driver.stats().unknown, 1);
    assert_eq!(driver.in_flight(), 0);
}
