//! What is special to this backend.
#![allow(clippy::unwrap_used, reason = "tests")]

mod inline;

use super::inline::Opcodes;
use crate::driver::{Backend, CompleteIo, Driver, Entry, OwnedFd, Refusal, Support, Wait};
use crate::key::Class;
use crate::op::{Nop, Op, OpObject, Recv, Send, WaitId};
use crate::sys::Backend as Sys;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::ptr::NonNull;

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

/// I21: an opcode that the kernel lacks is refused at its push, and the report says so. Before
/// Linux 6.9 there is no truncation.
#[test]
fn a_missing_opcode_is_unsupported() {
    let mut ops = [(); 2].map(|()| crate::op::Truncate::new(crate::driver::Cwd, 0));
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let mut opcodes = uring.pushes.opcodes;
    opcodes.0[0] &= !(1 << linux_raw_sys::io_uring::io_uring_op::IORING_OP_FTRUNCATE as usize);
    uring.set_opcodes(opcodes);
    assert!(uring.operations().contains(&("Truncate", Support::Missing)));
    let [first, second] = &mut ops;
    driver.try_push(first, 1).unwrap();
    driver.try_push_dyn((second, 2).into()).unwrap();
    let mut entries: Vec<Entry> = Vec::with_capacity(2);
    // SAFETY: (D1) the operations outlive the driver.
    unsafe { driver.submit(None, &mut entries) }.unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        assert_eq!(entry.refusal(), Some(Refusal::Unsupported));
        assert_eq!(
            entry.into_result().unwrap_err().kind(),
            std::io::ErrorKind::Unsupported
        );
    }
}

/// A number above which nothing is old: the kernel of the floor has all below.
#[test]
fn every_old_opcode_is_there() {
    let Some(mut driver) = driver() else { return };
    let Sys::Uring(uring) = &mut driver.engine.backend else {
        unreachable!("asked for io_uring")
    };
    let old = (0..=u8::MAX).take_while(|opcode| Opcodes::is_old(*opcode));
    let missing: Vec<u8> = old.filter(|opcode| !uring.has(*opcode)).collect();
    assert_eq!(missing, []);
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

/// A ping-pong takes one call of the kernel where answer and next request are waited for together:
/// by who knows that the answer does not wait.
#[test]
fn a_ping_pong_can_take_one_call() {
    const ROUNDS: u64 = 50;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut send = Send::new(OwnedFd::from(ours.try_clone().unwrap()), *b"pong");
    let mut recv = Recv::new(OwnedFd::from(ours), [0; 4]);
    let Some(mut driver) = driver() else { return };
    let peer = std::thread::spawn(move || {
        let mut buffer = [0; 4];
        for _ in 0..ROUNDS {
            theirs.write_all(b"ping").unwrap();
            theirs.read_exact(&mut buffer).unwrap();
        }
        theirs.write_all(b"over").unwrap();
    });
    let (send, recv) = (NonNull::from(&mut send), NonNull::from(&mut recv));
    let mut entries: Vec<Entry> = Vec::with_capacity(2);
    for round in 0..=ROUNDS {
        if round > 0 {
            // SAFETY: (D2) its last entry came, and it is reached through this pointer alone.
            let answer = unsafe { OpObject::from_ptr(send, 1) };
            driver.try_push_dyn(answer).unwrap();
        }
        // SAFETY: (D2) as above.
        let request = unsafe { OpObject::from_ptr(recv, 0) };
        driver.try_push_dyn(request).unwrap();
        let all = driver.in_flight();
        // SAFETY: (D1) the operations outlive the driver.
        unsafe { driver.submit_until(Wait::new().at_least(all), &mut entries) }.unwrap();
        assert_eq!(entries.len(), all);
        assert!(
            entries
                .drain(..)
                .all(|entry| entry.into_result().unwrap() == 4)
        );
    }
    peer.join().unwrap();
    assert_eq!(driver.stats().enters, ROUNDS + 1);
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
