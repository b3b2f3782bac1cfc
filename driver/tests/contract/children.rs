//! The end of child processes: reported once, reaped once. Compared with waitid(2).

use crate::kit;
use crate::ledger::Cx;
use crate::races::{ROUNDS, Rival, is_cancelled, round};
use crate::steps;
use completeio_driver::buf::IntoInner;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, FromRawFd, OwnedFd, RawFd, Refusal};
use completeio_driver::op::{Deadline, Poll, PollEvents, WaitId};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::mpsc;
use std::time::Duration;

contract! {
    on_host: [
        an_exit_code,
        a_signal,
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
    on_linux: [
        who_is_no_child,
        a_non_blocking_pidfd,
        beside_a_poll,
    ],
}

/// A child that waits for a byte, and then exits with it.
struct Child {
    pid: u32,
    tell: File,
}

impl Child {
    fn new() -> Self {
        let (hear, tell) = kit::pipe();
        kit::settle(); // The child needs `hear`.
        // SAFETY: the child calls what may be called after a fork, and exits.
        let pid = kit::checked(unsafe { libc::fork() });
        if pid == 0 {
            let mut code = 0_u8;
            // SAFETY: one byte, on the stack.
            unsafe { libc::read(hear.as_raw_fd(), (&raw mut code).cast(), 1) };
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(code)) };
        }
        let pid = pid.unsigned_abs();
        Self { pid, tell }
    }

    fn exits(&self, code: u8) {
        (&self.tell).write_all(&[code]).unwrap();
    }

    fn op(&self) -> WaitId<OwnedFd> {
        WaitId::child(self.pid).unwrap()
    }

    /// What stands for it.
    fn descriptor(&self) -> OwnedFd {
        self.op().into_inner()
    }

    /// One that has exited, and was not reaped.
    fn ended(code: u8) -> Self {
        let child = Self::new();
        child.exits(code);
        assert_eq!(
            child.ask(libc::WEXITED | libc::WNOWAIT).unwrap(),
            (child.pid, code.into())
        );
        child
    }

    /// What waitid(2) says: the number and the status, or the error.
    fn ask(&self, options: i32) -> Result<(u32, i32), i32> {
        waitid(libc::P_PID, self.pid, options)
    }

    /// Nobody else has reaped it.
    #[track_caller]
    fn reap(&self) {
        assert_eq!(self.ask(libc::WEXITED).map(|(pid, _)| pid), Ok(self.pid));
    }

    #[track_caller]
    fn assert_reaped(&self) {
        assert_eq!(self.ask(libc::WEXITED | libc::WNOHANG), Err(libc::ECHILD));
    }
}

#[allow(clippy::useless_conversion, reason = "the type is another elsewhere")]
fn waitid(kind: libc::idtype_t, id: u32, options: i32) -> Result<(u32, i32), i32> {
    // SAFETY: integers, of which zero is one.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: one `siginfo_t`, on the stack.
    if unsafe { libc::waitid(kind, id.into(), &raw mut info, options) } < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap());
    }
    // SAFETY: the kernel wrote integers, or none.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    Ok((pid.unsigned_abs(), unsafe { info.si_status() }))
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
        let child = Child::ended(code);
        let exit = l.run(child.op()).unwrap();
        assert_eq!(
            (exit.pid(), exit.code()),
            (child.pid, Some(i32::from(code)))
        );
        assert_eq!((exit.signal(), exit.core_dumped()), (None, false));
        assert_eq!(exit.success(), code == 0);
        child.assert_reaped();
        let child = Child::new();
        let op = l.start(child.op(), 1);
        l.hand_over();
        child.exits(code);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().code(), Some(i32::from(code)));
        child.assert_reaped();
    }
}

fn a_signal(cx: &mut Cx) {
    let mut l = cx.ledger();
    let child = Child::new();
    let op = l.start(child.op(), 1);
    l.hand_over();
    // SAFETY: takes numbers; the child is ours, and not reaped.
    kit::checked(unsafe { libc::kill(i32::try_from(child.pid).unwrap(), libc::SIGKILL) });
    let entry = l.one();
    let exit = l.finish(op, entry).unwrap();
    assert_eq!((exit.signal(), exit.code()), (Some(libc::SIGKILL), None));
    assert!(!exit.success() && !exit.core_dumped());
}

fn kept_and_reaped(cx: &mut Cx) {
    let mut l = cx.ledger();
    for ended in [false, true] {
        let child = if ended { Child::ended(3) } else { Child::new() };
        let op = l.start(child.op().keep(true), 1);
        if !ended {
            l.hand_over();
            child.exits(3);
        }
        let entry = l.one();
        let exit = l.finish(op, entry).unwrap();
        let said = child.ask(libc::WEXITED | libc::WNOWAIT).unwrap();
        assert_eq!((exit.pid(), exit.code()), (said.0, Some(said.1)));
        assert_eq!(l.run(child.op()).unwrap(), exit);
        child.assert_reaped();
    }
}

/// I33: as waitid(2) says.
#[cfg(target_os = "linux")]
fn who_is_no_child(cx: &mut Cx) {
    let mut l = cx.ledger();
    let me = pidfd(std::process::id(), 0);
    let child = Child::ended(1);
    let reaped = pidfd(child.pid, 0);
    child.reap();
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
        let said = waitid(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG).unwrap_err();
        assert_eq!(l.errno(WaitId::pidfd(kit::number(fd))), said);
    }
}

fn what_is_no_process(_: &mut Cx) {
    let child = Child::ended(1);
    child.reap();
    let error = WaitId::child(child.pid).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    let error = WaitId::child(u32::MAX).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

fn fixed_descriptors_are_refused(cx: &mut Cx) {
    let child = Child::ended(1);
    let fd = child.descriptor();
    let mut l = cx.ledger();
    let fixed = l.register_fd(fd.as_raw_fd(), 3).unwrap();
    let (_, entry) = l.entry_of(WaitId::pidfd(fixed));
    assert_eq!(entry.refusal(), Some(Refusal::FixedDescriptor));
    child.reap();
}

/// io_uring's kernel does not wait for one; epoll does.
#[cfg(target_os = "linux")]
fn a_non_blocking_pidfd(cx: &mut Cx) {
    let child = Child::new();
    let fd = pidfd(child.pid, libc::PIDFD_NONBLOCK);
    let mut l = cx.ledger();
    let op = l.start(WaitId::pidfd(kit::plain(&fd)), 1);
    if cx.is_io_uring() {
        let entry = l.one();
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        child.exits(3);
        child.reap();
    } else {
        l.hand_over();
        child.exits(3);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().code(), Some(3));
    }
}

/// One reaps it, the others are told that there is none.
fn several_for_one_child(cx: &mut Cx) {
    let child = Child::new();
    let fd = child.descriptor();
    let mut l = cx.ledger();
    let ops = [0, 1, 2].map(|n| l.start(WaitId::pidfd(kit::plain(&fd)), n));
    l.hand_over();
    child.exits(3);
    let mut codes = Vec::new();
    for entry in l.take(3) {
        match l.finish(ops[entry.user_data()], entry) {
            Ok(exit) => codes.push(exit.code()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECHILD)),
        }
    }
    assert_eq!(codes, [Some(3)]);
    child.assert_reaped();
}

fn several_children(cx: &mut Cx) {
    let children = [(); 8].map(|()| Child::new());
    let mut l = cx.ledger();
    let ops = children.each_ref().map(|child| child.op());
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
        assert_eq!(exit.pid(), children[usize::from(n)].pid);
        assert_eq!(exit.code(), Some(i32::from(n)));
    }
}

/// A pidfd is readable when its process has ended.
#[cfg(target_os = "linux")]
fn beside_a_poll(cx: &mut Cx) {
    let child = Child::new();
    let fd = pidfd(child.pid, 0);
    let mut l = cx.ledger();
    l.start(Poll::new(kit::plain(&fd), PollEvents::READABLE), 1);
    l.start(WaitId::pidfd(kit::plain(&fd)), 2);
    l.hand_over();
    child.exits(0);
    assert_eq!(kit::errnos(&l.take_sorted(2)), [0, 0]);
    child.assert_reaped();
}

fn by_a_scope_and_by_a_slot(cx: &mut Cx) {
    let child = Child::new();
    let fd = child.descriptor();
    let mut op = WaitId::pidfd(fd.as_fd());
    let mut l = cx.ledger();
    l.scope(|s| {
        let ticket = steps::start(s, &mut op, 1);
        steps::hand_over(s);
        s.try_cancel(&ticket).unwrap();
        let (result, op) = ticket.redeem(steps::next(s)).unwrap();
        assert_eq!(steps::errno(result), libc::ECANCELED);
        let ticket = steps::start(s, op, 2);
        steps::hand_over(s);
        child.exits(9);
        let (result, _) = ticket.redeem(steps::next(s)).unwrap();
        assert_eq!(result.unwrap().code(), Some(9));
    })
    .unwrap();
    let child = Child::ended(8);
    let key = l.try_push_owned(child.op(), 3).unwrap();
    assert_eq!(steps::outcome(&mut l, key).0.unwrap().code(), Some(8));
    // An orphan reaps nobody.
    let child = Child::new();
    drop(l.try_push_owned(child.op(), 4).unwrap());
    l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
        .unwrap()
        .unwrap();
    child.exits(0);
    child.reap();
}

fn until_a_deadline(cx: &mut Cx) {
    let child = Child::new();
    let mut l = cx.ledger();
    let soon = Duration::from_millis(2);
    let error = l.run(Deadline::after(child.op(), soon)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    child.exits(5);
    let hour = Duration::from_secs(3600);
    let exit = l.run(Deadline::after(child.op(), hour)).unwrap();
    assert_eq!(exit.code(), Some(5));
}

fn cancelled(cx: &mut Cx) {
    let child = Child::new();
    let mut l = cx.ledger();
    for handed_over in [false, true] {
        l.start(child.op(), 1);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        assert_eq!(kit::errnos(&l.take(1)), [libc::ECANCELED]);
    }
    child.exits(1);
    child.reap();
}

fn a_driver_dropped_with_it(cx: &mut Cx) {
    for handed_over in [false, true] {
        let child = Child::new();
        let mut l = cx.ledger();
        l.start(child.op(), 1);
        if handed_over {
            l.hand_over();
        }
        l.abandon();
        child.exits(1);
        child.reap();
    }
}

fn what_was_only_pushed_reaps_nothing(cx: &mut Cx) {
    let child = Child::ended(1);
    let mut l = cx.ledger();
    l.start(child.op(), 1);
    l.abandon();
    child.reap();
}

/// I20.
fn the_descriptor_is_close_on_exec(_: &mut Cx) {
    let child = Child::ended(1);
    let fd = child.descriptor();
    // SAFETY: takes numbers.
    let flags = kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) });
    assert_eq!(flags, libc::FD_CLOEXEC);
    child.reap();
}

/// Reported and reaped, or cancelled and left.
fn exited_or_cancelled(cx: &mut Cx) {
    let (give, get) = mpsc::channel::<File>();
    let rival = Rival::new(move || {
        let mut tell = get.recv().unwrap();
        tell.write_all(&[7]).unwrap();
    });
    let mut l = cx.ledger();
    let op = l.lend(WaitId::child(std::process::id()).unwrap());
    // Each is a fork.
    for n in 0..ROUNDS.min(1_000) {
        let Child { pid, tell } = Child::new();
        *l.op(op) = WaitId::child(pid).unwrap();
        give.send(tell).unwrap();
        let entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        let left = if is_cancelled(&entry) {
            waitid(libc::P_PID, pid, libc::WEXITED)
        } else {
            assert_eq!(l.finish(op, entry).unwrap().code(), Some(7));
            waitid(libc::P_PID, pid, libc::WEXITED | libc::WNOHANG)
        };
        match left {
            Ok(left) => assert_eq!(left, (pid, 7)),
            Err(error) => assert_eq!(error, libc::ECHILD),
        }
    }
}
