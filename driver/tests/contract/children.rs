//! The end of child processes: reported once, reaped once. Compared with waitid(2).

use crate::kit::{self, Child, code};
use crate::ledger::Cx;
use crate::races::{ROUNDS, Rival, is_cancelled, round};
use crate::steps;
use completeio_driver::buf::IntoInner;
use completeio_driver::driver::{
    AsFd, AsRawFd, CompleteIo, FixedFd, FromRawFd, OwnedFd, RawFd, Refusal,
};
use completeio_driver::op::{Deadline, Poll, PollEvents, WaitId};
use std::io::ErrorKind;
use std::sync::{Arc, mpsc};
use std::time::Duration;

contract! {
    on_host: [
        an_exit_code,
        kept_and_reaped,
        what_is_no_process,
        fixed_descriptors_are_refused,
        several_for_one_child,
        several_children,
        by_a_scope_and_by_a_slot,
        until_a_deadline,
        cancelled,
        a_driver_dropped_with_it,
        what_was_only_pushed_reaps_nothing,
        the_descriptor_is_close_on_exec,
        exited_or_cancelled,
    ],
    on_unix: [
        a_signal,
    ],
    on_linux: [
        who_is_no_child,
        a_non_blocking_pidfd,
        beside_a_poll,
    ],
}

fn waits(child: &Child) -> WaitId<OwnedFd> {
    WaitId::child(child.pid()).unwrap()
}

/// What stands for it.
fn descriptor(child: &Child) -> OwnedFd {
    waits(child).into_inner()
}

/// One that has exited, and was not reaped.
fn gone(code: u8) -> Child {
    let child = Child::new();
    child.exits(code);
    assert_eq!(child.code(), code.into());
    child
}

/// It has exited, and nobody has reaped it, unless the end is told as often as it is asked for.
#[track_caller]
fn assert_reaped(child: &Child) {
    assert_eq!(child.reap().is_none(), kit::REAPS);
}

#[cfg(target_os = "linux")]
fn pidfd(pid: u32, flags: u32) -> OwnedFd {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
    let fd = kit::checked(i32::try_from(fd).unwrap());
    // SAFETY: a new descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn an_exit_code(cx: &mut Cx) {
    let mut l = cx.ledger();
    for code in [0, 1, 7, 255] {
        // One that has exited already, and one that does later.
        let child = gone(code);
        let exit = l.run(waits(&child)).unwrap();
        assert_eq!(
            (exit.pid(), exit.code()),
            (child.pid(), Some(i32::from(code)))
        );
        assert_eq!((exit.signal(), exit.core_dumped()), (None, false));
        assert_eq!(exit.success(), code == 0);
        assert_reaped(&child);
        let child = Child::new();
        let op = l.start(waits(&child), 1);
        l.hand_over();
        child.exits(code);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().code(), Some(i32::from(code)));
        assert_reaped(&child);
    }
}

#[cfg(unix)]
fn a_signal(cx: &mut Cx) {
    let mut l = cx.ledger();
    let child = Child::new();
    let op = l.start(waits(&child), 1);
    l.hand_over();
    // SAFETY: takes numbers; the child is ours, and not reaped.
    kit::checked(unsafe { libc::kill(i32::try_from(child.pid()).unwrap(), libc::SIGKILL) });
    let entry = l.one();
    let exit = l.finish(op, entry).unwrap();
    assert_eq!((exit.signal(), exit.code()), (Some(libc::SIGKILL), None));
    assert!(!exit.success() && !exit.core_dumped());
}

fn kept_and_reaped(cx: &mut Cx) {
    let mut l = cx.ledger();
    for ended in [false, true] {
        let child = if ended { gone(3) } else { Child::new() };
        let op = l.start(waits(&child).keep(true), 1);
        if !ended {
            l.hand_over();
            child.exits(3);
        }
        let entry = l.one();
        let exit = l.finish(op, entry).unwrap();
        let told = (exit.pid(), exit.code());
        assert_eq!(told, (child.pid(), Some(child.code())));
        assert_eq!(l.run(waits(&child)).unwrap(), exit);
        assert_reaped(&child);
    }
}

/// I33: as waitid(2) says.
#[cfg(target_os = "linux")]
fn who_is_no_child(cx: &mut Cx) {
    let mut l = cx.ledger();
    let me = pidfd(std::process::id(), 0);
    let child = gone(1);
    let reaped = pidfd(child.pid(), 0);
    assert!(child.reap().is_some());
    let file = kit::file(b"text");
    for fd in [
        me.as_raw_fd(),
        reaped.as_raw_fd(),
        file.as_raw_fd(),
        RawFd::MAX,
        RawFd::MIN,
        -2,
    ] {
        let id = libc::id_t::from_ne_bytes(fd.to_ne_bytes());
        let said = kit::waitid(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG).unwrap_err();
        assert_eq!(l.errno(WaitId::pidfd(kit::number(fd))), said);
    }
}

fn what_is_no_process(_: &mut Cx) {
    let child = gone(1);
    assert!(child.reap().is_some());
    let reaped = kit::REAPS.then(|| child.pid());
    for number in reaped.into_iter().chain([u32::MAX]) {
        let error = WaitId::child(number).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code::NO_PROCESS));
    }
}

fn fixed_descriptors_are_refused(cx: &mut Cx) {
    let child = gone(1);
    let fd = descriptor(&child);
    let mut l = cx.ledger();
    // Where a process is none that the table takes, the slot is empty.
    let fixed = l.register_fd(fd.as_raw_fd(), 3);
    let fixed = fixed.unwrap_or(FixedFd::from_id(3));
    let (_, entry) = l.entry_of(WaitId::pidfd(fixed));
    assert_eq!(entry.refusal(), Some(Refusal::FixedDescriptor));
    assert!(child.reap().is_some());
}

/// io_uring's kernel does not wait for one; epoll does.
#[cfg(target_os = "linux")]
fn a_non_blocking_pidfd(cx: &mut Cx) {
    let child = Child::new();
    let fd = pidfd(child.pid(), libc::PIDFD_NONBLOCK);
    let mut l = cx.ledger();
    let op = l.start(WaitId::pidfd(kit::plain(&fd)), 1);
    if cx.is_io_uring() {
        let entry = l.one();
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        child.exits(3);
        assert!(child.reap().is_some());
    } else {
        l.hand_over();
        child.exits(3);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().code(), Some(3));
    }
}

/// One reaps it, the others are told that there is none; where nobody reaps, all are told.
fn several_for_one_child(cx: &mut Cx) {
    let child = Child::new();
    let fd = descriptor(&child);
    let mut l = cx.ledger();
    let ops = [0, 1, 2].map(|n| l.start(WaitId::pidfd(kit::plain(&fd)), n));
    l.hand_over();
    child.exits(3);
    let mut codes = Vec::new();
    for entry in l.take(3) {
        match l.finish(ops[entry.user_data()], entry) {
            Ok(exit) => codes.push(exit.code()),
            #[cfg(unix)]
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
            #[cfg(windows)]
            Err(error) => panic!("{error}"),
        }
    }
    let told = if kit::REAPS { 1 } else { 3 };
    assert_eq!(codes, vec![Some(3); told]);
    assert_reaped(&child);
}

fn several_children(cx: &mut Cx) {
    let children = [(); 8].map(|()| Child::new());
    let mut l = cx.ledger();
    let ops = children.each_ref().map(waits);
    let mut n = 0;
    let ops = ops.map(|op| {
        n += 1;
        l.start(op, n - 1)
    });
    l.hand_over();
    for n in [3, 0, 7, 1, 6, 2, 5, 4_u8] {
        children[usize::from(n)].exits(n);
        let entry = l.one();
        assert_eq!(entry.user_data(), usize::from(n));
        let exit = l.finish(ops[usize::from(n)], entry).unwrap();
        assert_eq!(exit.pid(), children[usize::from(n)].pid());
        assert_eq!(exit.code(), Some(i32::from(n)));
    }
}

/// A pidfd is readable when its process has ended.
#[cfg(target_os = "linux")]
fn beside_a_poll(cx: &mut Cx) {
    let child = Child::new();
    let fd = pidfd(child.pid(), 0);
    let mut l = cx.ledger();
    l.start(Poll::new(kit::plain(&fd), PollEvents::READABLE), 1);
    l.start(WaitId::pidfd(kit::plain(&fd)), 2);
    l.hand_over();
    child.exits(0);
    assert_eq!(kit::errnos(&l.take_sorted(2)), [0, 0]);
    assert_reaped(&child);
}

fn by_a_scope_and_by_a_slot(cx: &mut Cx) {
    let child = Child::new();
    let fd = descriptor(&child);
    let mut op = WaitId::pidfd(fd.as_fd());
    let mut l = cx.ledger();
    l.scope(|s| {
        let ticket = steps::start(s, &mut op, 1);
        steps::hand_over(s);
        s.try_cancel(&ticket).unwrap();
        let (result, op) = ticket.redeem(steps::next(s)).unwrap();
        assert_eq!(steps::errno(result), code::ECANCELED);
        let ticket = steps::start(s, op, 2);
        steps::hand_over(s);
        child.exits(9);
        let (result, _) = ticket.redeem(steps::next(s)).unwrap();
        assert_eq!(result.unwrap().code(), Some(9));
    })
    .unwrap();
    let child = gone(8);
    let key = l.try_push_owned(waits(&child), 3).unwrap();
    assert_eq!(steps::outcome(&mut l, key).0.unwrap().code(), Some(8));
    // An orphan reaps nobody.
    let child = Child::new();
    drop(l.try_push_owned(waits(&child), 4).unwrap());
    l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
        .unwrap()
        .unwrap();
    child.exits(0);
    assert!(child.reap().is_some());
}

fn until_a_deadline(cx: &mut Cx) {
    let child = Child::new();
    let mut l = cx.ledger();
    let soon = Duration::from_millis(2);
    let error = l.run(Deadline::after(waits(&child), soon)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    child.exits(5);
    let hour = Duration::from_secs(3600);
    let exit = l.run(Deadline::after(waits(&child), hour)).unwrap();
    assert_eq!(exit.code(), Some(5));
}

fn cancelled(cx: &mut Cx) {
    let child = Child::new();
    let mut l = cx.ledger();
    for handed_over in [false, true] {
        l.start(waits(&child), 1);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        assert_eq!(kit::errnos(&l.take(1)), [code::ECANCELED]);
    }
    child.exits(1);
    assert!(child.reap().is_some());
}

fn a_driver_dropped_with_it(cx: &mut Cx) {
    for handed_over in [false, true] {
        let child = Child::new();
        let mut l = cx.ledger();
        l.start(waits(&child), 1);
        if handed_over {
            l.hand_over();
        }
        l.abandon();
        child.exits(1);
        assert!(child.reap().is_some());
    }
}

fn what_was_only_pushed_reaps_nothing(cx: &mut Cx) {
    let child = gone(1);
    let mut l = cx.ledger();
    l.start(waits(&child), 1);
    l.abandon();
    assert!(child.reap().is_some());
}

/// I20.
fn the_descriptor_is_close_on_exec(_: &mut Cx) {
    let child = gone(1);
    let before = kit::inherited();
    let fd = descriptor(&child);
    assert_eq!(kit::inherited(), before);
    drop(fd);
    assert!(child.reap().is_some());
}

/// Reported and reaped, or cancelled and left.
fn exited_or_cancelled(cx: &mut Cx) {
    let (give, get) = mpsc::channel::<Arc<Child>>();
    let rival = Rival::new(move || get.recv().unwrap().exits(7));
    let mut l = cx.ledger();
    let op = l.lend(WaitId::child(std::process::id()).unwrap());
    // Each makes a process.
    for n in 0..ROUNDS.min(kit::MANY_CHILDREN) {
        let child = Arc::new(Child::new());
        *l.op(op) = WaitId::child(child.pid()).unwrap();
        give.send(child.clone()).unwrap();
        let entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        if !is_cancelled(&entry) {
            assert_eq!(l.finish(op, entry).unwrap().code(), Some(7));
        }
        if let Some(code) = child.reap() {
            assert_eq!(code, 7);
        }
    }
}
