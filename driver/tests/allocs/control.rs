//! Polls, deadlines, children, updates, futexes.

use crate::counting::Marks;
use crate::kit::{Bytes, CLOSED, Fixed, Lent, Number, PLACE, Rig, TEXT, room};
use crate::ops::Ops;
use crate::system::{ETIME, IS_LINUX};
use completeio_driver::driver::{CompleteIo, OwnedFd, Refusal};
use completeio_driver::op::{
    Deadline, Exact, FutexWait, FutexWake, Nop, Poll, PollEvents, Recv, RecvExact, Splice,
    TimeoutUpdate, WaitId,
};
use std::io::ErrorKind;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Polls, deadlines, children, updates.
pub(crate) struct Control {
    pub(crate) ready: Lent<Poll<Number>>,
    pub(crate) never: Lent<Poll<Number>>,
    pub(crate) closed: Lent<Poll<Number>>,
    pub(crate) in_time: Lent<Deadline<Nop>>,
    pub(crate) late: Lent<Deadline<Recv<Number, Bytes>>>,
    pub(crate) fails: Lent<Deadline<Recv<Number, Bytes>>>,
    pub(crate) late_exact: Lent<Deadline<RecvExact<Number, Bytes>>>,
    pub(crate) splice_fails: Lent<Deadline<Splice<Number, Number>>>,
    pub(crate) child: Lent<WaitId<OwnedFd>>,
    pub(crate) no_child: Lent<WaitId<Number>>,
    pub(crate) fixed_child: Lent<WaitId<Fixed>>,
    pub(crate) update: Lent<TimeoutUpdate>,
    pub(crate) no_update: Lent<TimeoutUpdate>,
    pub(crate) futex_wait: Lent<FutexWait<Arc<AtomicU32>>>,
    pub(crate) futex_wake: Lent<FutexWake<Arc<AtomicU32>>>,
    pub(crate) no_bits: Lent<FutexWake<Arc<AtomicU32>>>,
}

impl Control {
    #[allow(clippy::zombie_processes, reason = "an operation reaps it")]
    pub(crate) fn new(right: Number) -> Self {
        // Reaped by the operation.
        let child = Command::new("true").spawn().unwrap();
        let (hour, moment) = (Duration::from_secs(3600), Duration::from_micros(10));
        let recv = |fd| Recv::new(fd, room());
        let word = Arc::new(AtomicU32::new(0));
        Self {
            ready: Lent::new(Poll::new(right, PollEvents::WRITABLE)),
            never: Lent::new(Poll::new(right, PollEvents::READABLE)),
            closed: Lent::new(Poll::new(Number(CLOSED), PollEvents::READABLE)),
            in_time: Lent::new(Deadline::after(Nop::new(), hour)),
            late: Lent::new(Deadline::after(recv(right), moment)),
            fails: Lent::new(Deadline::after(recv(Number(CLOSED)), hour)),
            late_exact: Lent::new(Deadline::after(Exact::new(recv(right)), moment)),
            splice_fails: {
                let splice = Splice::new(Number(CLOSED), right, TEXT.len());
                Lent::new(Deadline::after(splice, hour))
            },
            child: Lent::new(WaitId::child(child.id()).unwrap()),
            no_child: Lent::new(WaitId::pidfd(Number(CLOSED))),
            fixed_child: Lent::new(WaitId::pidfd(Fixed(PLACE))),
            update: Lent::new(TimeoutUpdate::after(1, Duration::from_micros(10))),
            no_update: Lent::new(TimeoutUpdate::after(usize::MAX, hour)),
            futex_wait: Lent::new(FutexWait::new(word.clone(), 0)),
            futex_wake: Lent::new(FutexWake::new(word.clone(), 1)),
            no_bits: Lent::new(FutexWake::new(word, 1).bits(0)),
        }
    }
}

pub(crate) fn control(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let control = &mut ops.control;
    let ready = rig.run(&mut control.ready, 1).unwrap();
    assert_eq!(ready, PollEvents::WRITABLE);
    rig.push(&control.never, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(rig.fail(&mut control.closed, 1), libc::EBADF);
    marks.step("Poll");
    rig.run(&mut control.in_time, 1).unwrap();
    let late = rig.run(&mut control.late, 1).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    rig.push_typed(&control.late, 1);
    rig.wait(1);
    assert_eq!(rig.fail(&mut control.fails, 1), libc::EBADF);
    let late = rig.run(&mut control.late_exact, 1).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    let error = rig.run(&mut control.splice_fails, 1).unwrap_err();
    assert_eq!(error.raw_os_error() == Some(libc::EBADF), IS_LINUX);
    marks.step("Deadline");
    assert!(rig.run(&mut control.child, 1).unwrap().success());
    assert_eq!(rig.fail(&mut control.child, 1), libc::ECHILD);
    assert_eq!(rig.fail(&mut control.no_child, 1), libc::EBADF);
    let refusal = rig.refuse(&mut control.fixed_child, 1);
    assert_eq!(refusal, Refusal::FixedDescriptor);
    marks.step("WaitId");
    rig.push(&ops.long, 1);
    rig.run(&mut control.update, 2).unwrap();
    assert_eq!(rig.wait(1).raw_os_error(), Some(ETIME));
    assert_eq!(rig.fail(&mut control.update, 2), libc::ENOENT);
    assert_eq!(rig.refuse(&mut control.no_update, 2), Refusal::UserData);
    marks.step("TimeoutUpdate");
    rig.push(&control.futex_wait, 1);
    rig.submit(Some(Duration::ZERO));
    let woken = rig.run(&mut control.futex_wake, 2).unwrap();
    let refusal = rig.wait(1).refusal();
    let refused = (0, Some(Refusal::Unsupported));
    assert!((woken, refusal) == (1, None) || (woken, refusal) == refused);
    rig.push(&control.futex_wait, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert!(rig.wait(1).result().is_err());
    let error = rig.run(&mut control.no_bits, 2).unwrap_err();
    assert_eq!(error.raw_os_error() == Some(libc::EINVAL), IS_LINUX);
    marks.step("FutexWait, FutexWake");
}
