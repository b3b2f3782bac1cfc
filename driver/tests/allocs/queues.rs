//! Batches and full queues, cancels, timers.

use crate::counting::Marks;
use crate::kit::Rig;
use crate::ops::Ops;
use crate::{CANCELS, ENTRIES};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{CompleteIo, Entry, Wait};
use completeio_driver::op::{Op, OpObject};
use completeio_driver::sink;
use std::time::Duration;

/// Batches, and queues that are full.
pub(crate) fn fill(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    for (i, op) in ops.nops.iter().enumerate() {
        // SAFETY: not in flight; it lives until the driver is gone.
        ops.queue.push_back(unsafe { OpObject::from_ptr(op.0, i) });
    }
    while !ops.queue.is_empty() {
        rig.driver.push_queue(&mut ops.queue);
        rig.driver.push_queue(&mut ops.queue);
        rig.submit(None);
    }
    rig.settle();
    marks.step("push_queue");
    for (i, op) in ops.nops.iter().enumerate() {
        // SAFETY: not in flight; it lives until the driver is gone.
        ops.queue.push_back(unsafe { OpObject::from_ptr(op.0, i) });
    }
    while !ops.queue.is_empty() {
        let wait = Wait::new();
        // SAFETY: operations are `Lent`, and outlive the driver.
        unsafe { rig.driver.submit_queue(&mut ops.queue, wait, rig.entries) }.unwrap();
    }
    rig.settle();
    marks.step("submit_queue");

    for (i, op) in ops.nops[..ENTRIES].iter().enumerate() {
        rig.push(op, i);
    }
    // SAFETY: not in flight; it lives until the driver is gone.
    let object = unsafe { OpObject::from_ptr(ops.nops[ENTRIES].0, 99) };
    let back = rig.driver.try_push_dyn(object).unwrap_err().into_inner();
    assert_eq!(back.user_data(), 99);
    // SAFETY: as above.
    let lent = unsafe { &mut *ops.nops[ENTRIES].0.as_ptr() };
    assert!(rig.driver.try_push(lent, 99).is_err());
    marks.step("full of pushed operations");
    rig.settle();

    for (i, op) in ops.nops[..2 * ENTRIES].iter().enumerate() {
        if i == ENTRIES {
            let mut small = sink::bounded(1, drop::<Entry>);
            // SAFETY: operations are `Lent`, and outlive the driver.
            unsafe { rig.driver.submit(Some(Duration::ZERO), &mut small) }.unwrap();
        }
        rig.push(op, i);
    }
    marks.step("a sink with little room");
    rig.settle();
    marks.step("many entries at once");
}

/// Cancelled in each state, by each of the three ways.
pub(crate) fn cancel(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let canceled = Some(libc::ECANCELED);
    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.submit(Some(Duration::ZERO));
    for id in 1..=3 {
        rig.driver.try_cancel(id).unwrap();
        assert_eq!(rig.wait(id).raw_os_error(), canceled);
    }
    marks.step("cancelled by user data");

    let number = *ops.recv.op().fd();
    rig.push(&ops.recv, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_fd(&number).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), canceled);
    marks.step("cancelled by descriptor");

    rig.push(&ops.recv, 1);
    rig.push(&ops.accept, 2);
    rig.push(&ops.long, 3);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_all().unwrap();
    for id in 1..=3 {
        assert_eq!(rig.wait(id).raw_os_error(), canceled);
    }
    marks.step("cancelled with all");

    rig.push(&ops.recv, 1);
    rig.push(&ops.long, 2);
    rig.push(&ops.nops[0], 3);
    for id in 1..=3 {
        rig.driver.try_cancel(id).unwrap();
    }
    for id in 1..=3 {
        rig.wait(id);
    }
    marks.step("cancelled before it was submitted");

    // The places for cancellations run out, where there are any; none of these finds anything.
    for id in 0..=CANCELS {
        let asked = rig.driver.try_cancel(1000 + id);
        assert!(asked.is_ok() || id == CANCELS);
    }
    rig.submit(Some(Duration::ZERO));
    marks.step("cancels of nothing");

    rig.push(&ops.read, 1);
    rig.push(&ops.write, 2);
    rig.push(&ops.open, 3);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel_all().unwrap();
    for id in [1, 2] {
        rig.wait(id);
    }
    let entry = rig.wait(3);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.open.op().dispose(entry) };
    marks.step("cancelled while it may run");
}

/// Timers, and waits with an end.
pub(crate) fn time(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    for (i, op) in ops.timeouts.iter().chain(&ops.clocks).enumerate() {
        rig.push(op, i);
    }
    rig.settle();
    marks.step("timers");

    rig.submit(Some(Duration::ZERO));
    marks.step("a wait of zero");
    rig.submit(Some(Duration::from_millis(1)));
    marks.step("a wait that expires");
    let soon = || Instant::now() + Duration::from_millis(1);
    rig.push(&ops.long, 1);
    rig.push(&ops.timeouts[0], 2);
    rig.submit_until(Wait::new().at_least(2).until(soon()));
    rig.submit_until(Wait::new().at_least(0));
    rig.submit_until(Wait::new().at_least(1).until(soon()));
    marks.step("waits for several");
    rig.driver.try_cancel_all().unwrap();
    rig.settle();
    marks.step("timers cancelled");
}
