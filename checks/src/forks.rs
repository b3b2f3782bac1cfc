//! Forks with operations in flight: what the child does is an error or nothing, and the parent's
//! operations complete.

mod scope;

use self::scope::Leaves;
use crate::session::{Lent, Session};
use crate::{Options, open_fds};
use completeio_driver::clock::Instant;
use completeio_driver::driver::{
    AsRawFd, CompleteIo, Cwd, Driver, Entry, Fd, FixedFd, Notifier, OwnedFd, PreparedWait, Wait,
};
use completeio_driver::op::{Accept, Nop, OpObject, OpenAt, Recv, Timeout};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::{self, Command};
use std::ptr::NonNull;
use std::time::Duration;
use std::{env, fs};

/// What a child's failed check ends it with.
const CHILD_FAILED: i32 = 9;

pub(crate) fn run(options: &Options) {
    match options.case.as_str() {
        "calls" => harmless(options, |mut rig| {
            check_calls(&mut rig.session.driver, &mut rig.nop, rig.fixed);
            exit_now(0);
        }),
        "drop" => harmless(options, |rig| {
            let Rig { session, .. } = rig;
            drop(session);
            exit_now(0);
        }),
        // The handlers of exit run, and nothing is dropped.
        "exit" => harmless(options, |_rig| process::exit(0)),
        "unwind" => harmless(options, |rig| {
            panic::set_hook(Box::new(|_| {}));
            let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
                let _rig = rig;
                panic!("on purpose");
            }));
            exit_now(if unwound.is_err() { 0 } else { CHILD_FAILED });
        }),
        "exec" => exec(options),
        "notify" => notify(options),
        "outlive" => outlive(options),
        "scope" => scope::run(options, Leaves::Returning),
        "scope-unwind" => scope::run(options, Leaves::Unwinding),
        _ => crate::usage(),
    }
    println!("ok");
}

/// A driver with something of everything in flight.
struct Rig {
    // Dropped first: it has the operations.
    session: Session,
    recv: Lent<Recv<Fd, Box<[u8]>>>,
    accept: Lent<Accept<Fd>>,
    timeout: Lent<Timeout>,
    nop: Lent<Nop>,
    fixed: FixedFd,
    ids: [usize; 4],
    near: UnixStream,
    far: UnixStream,
    listener: TcpListener,
    notifier: Notifier,
}

impl Rig {
    fn new(options: &Options) -> Self {
        let mut session = Session::new(options);
        let (near, far) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (near_fd, listening) = (session.attach(&near), session.attach(&listener));
        let fixed = session.driver.register_fd(far.as_raw_fd(), 3).unwrap();
        let mut recv = Lent::new(Recv::new(near_fd, vec![0; 8].into_boxed_slice()));
        let mut accept = Lent::new(Accept::new(listening));
        let mut timeout = Lent::new(Timeout::after(Duration::from_millis(20)));
        let mut nop = Lent::new(Nop::new());
        let notifier = session.driver.notifier();
        let mut ids = [0; 4];
        ids[0] = session.start(&mut recv);
        ids[1] = session.start(&mut accept);
        ids[2] = session.start(&mut timeout);
        session.turn(Some(Duration::ZERO));
        // Pushed, and not submitted before the fork.
        ids[3] = session.start(&mut nop);
        Self {
            session,
            recv,
            accept,
            timeout,
            nop,
            fixed,
            ids,
            near,
            far,
            listener,
            notifier,
        }
    }

    /// Everything that was in flight completes as if nothing had happened.
    fn complete(&mut self) {
        let session = &mut self.session;
        self.far.write_all(b"12345678").unwrap();
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let [recv, accept, timeout, nop] = self.ids.map(|id| session.wait(id));
        let n = Session::finish(&mut self.recv, recv);
        ensure!(matches!(n, Ok(8)), "the receive gave {n:?}");
        ensure!(
            **self.recv.op().buf() == *b"12345678",
            "{:?}",
            self.recv.op().buf()
        );
        let accepted = Session::finish(&mut self.accept, accept).map(|accepted| accepted.addr);
        let address = accepted
            .as_ref()
            .ok()
            .and_then(|addr| addr.as_socket_addr());
        ensure!(
            address == client.local_addr().ok(),
            "the accept gave {accepted:?}"
        );
        let fired = Session::finish(&mut self.timeout, timeout);
        ensure!(fired.is_ok(), "the timeout gave {fired:?}");
        let nothing = Session::finish(&mut self.nop, nop);
        ensure!(nothing.is_ok(), "the nop gave {nothing:?}");
        session.settle();

        // And it goes on: through the table, by wake-ups.
        self.notifier.notify();
        let entries = session.turn(None);
        ensure!(entries == 0, "{entries} entries by a wake-up");
        let mut recv = Lent::new(Recv::new(self.fixed, vec![0; 2].into_boxed_slice()));
        let receiving = session.start(&mut recv);
        self.near.write_all(b"hi").unwrap();
        let entry = session.wait(receiving);
        let n = Session::finish(&mut recv, entry);
        ensure!(matches!(n, Ok(2)), "a receive by the table gave {n:?}");
        session.settle();
    }
}

/// Forks; the child runs `child` and must end with status 0.
fn harmless(options: &Options, child: impl FnOnce(Rig)) {
    let mut rig = Rig::new(options);
    let pid = fork();
    if pid == 0 {
        child(rig);
        exit_now(CHILD_FAILED);
    }
    reap(pid);
    rig.complete();
}

fn fork() -> libc::pid_t {
    // SAFETY: the child uses the memory of the calling thread only, and glibc makes its allocator
    // usable there.
    let pid = unsafe { libc::fork() };
    ensure!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: takes a number. Alarms are not inherited.
        unsafe { libc::alarm(crate::ALARM_S / 2) };
    }
    pid
}

/// Ends the child without handlers and destructors.
fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number, and does not return.
    unsafe { libc::_exit(status) }
}

/// Waits for a child, which must have ended well.
fn reap(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the kernel writes one number.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    ensure!(
        reaped == pid,
        "waitpid: {}",
        std::io::Error::last_os_error()
    );
    ensure!(status == 0, "the child ended with status {status:#x}");
}

/// I19: every call is an error, and none changes anything.
fn check_calls(driver: &mut Driver<'static>, nop: &mut Lent<Nop>, fixed: FixedFd) {
    let unsupported = |result: std::io::Result<()>, call: &str| {
        let kind = result.as_ref().err().map(std::io::Error::kind);
        if kind != Some(ErrorKind::Unsupported) {
            eprintln!("in the child, {call} gave {result:?}");
            exit_now(CHILD_FAILED);
        }
    };
    let expect = |holds: bool, what: &str| {
        if !holds {
            eprintln!("in the child: {what}");
            exit_now(CHILD_FAILED);
        }
    };
    let mut entries = Vec::<Entry>::with_capacity(4);
    for timeout in [None, Some(Duration::ZERO), Some(Duration::from_millis(1))] {
        // SAFETY: the operations live in this process too, and nothing reaches the kernel.
        unsupported(unsafe { driver.submit(timeout, &mut entries) }, "submit");
    }
    // SAFETY: as above.
    unsupported(unsafe { driver.prepare_wait() }.map(drop), "prepare_wait");
    // SAFETY: as above.
    let left = unsafe { driver.quiesce(Instant::now(), &mut entries) };
    unsupported(left.map(drop), "quiesce");
    driver.resume();
    expect(entries.is_empty(), "entries came");

    unsupported(driver.attach(0).map(drop), "attach");
    unsupported(driver.register_fd(0, 0).map(drop), "register_fd");
    unsupported(driver.register_fds(&[0], 0), "register_fds");
    unsupported(driver.unregister_fd(fixed), "unregister_fd");

    expect(driver.capacity_left() == 0, "there is room");
    let pushed = driver.stats().pushed;
    let new = Box::leak(Box::new(Nop::new()));
    expect(driver.try_push(new, 77).is_err(), "try_push accepted");
    // SAFETY: it is not accepted, as is checked.
    let mut object = || unsafe { OpObject::from_ptr(NonNull::from(nop.op()), 78) };
    expect(
        driver.try_push_dyn(object()).is_err(),
        "try_push_dyn accepted",
    );
    let mut queue = VecDeque::from([object()]);
    driver.push_queue(&mut queue);
    expect(queue.len() == 1, "push_queue accepted");
    // SAFETY: as above.
    let submitted = unsafe { driver.submit_queue(&mut queue, Wait::new(), &mut entries) };
    unsupported(submitted, "submit_queue");
    expect(queue.len() == 1, "submit_queue accepted");
    expect(driver.stats().pushed == pushed, "a push was counted");

    expect(driver.try_cancel(1).is_err(), "try_cancel accepted");
    expect(
        driver.try_cancel_fd(&fixed).is_err(),
        "try_cancel_fd accepted",
    );
    expect(driver.try_cancel_all().is_err(), "try_cancel_all accepted");
    driver.notifier().notify();
}

/// I20: what the child executes has none of the driver's descriptors, nor of those that operations
/// made.
fn exec(options: &Options) {
    let before = fds_of_an_executed_child();
    let mut rig = Rig::new(options);
    let name = options.dir.join("opened");
    fs::write(&name, "x").unwrap();
    let name = std::ffi::CString::new(name.into_os_string().into_encoded_bytes()).unwrap();
    let opened = rig
        .session
        .run("open", &mut Lent::new(OpenAt::read(Cwd, name)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let listening = rig.session.attach(&listener);
    let accepted = rig
        .session
        .run("accept", &mut Lent::new(Accept::new(listening)))
        .fd;
    // Regular files may be kept open by the driver.
    rig.session.attach(&opened);
    let held: [&dyn AsRawFd; 3] = [&opened, &accepted, &client];
    ensure!(
        held.iter().all(|fd| fd.as_raw_fd() > 2),
        "the descriptors are there"
    );
    for (what, fd) in [("opened", &opened), ("accepted", &accepted)] {
        check_cloexec(what, fd);
    }

    let after = fds_of_an_executed_child();
    ensure!(before == after, "inherited: {after:?}, before {before:?}");
    let own = open_fds();
    ensure!(
        own.len() > before.len(),
        "the driver has descriptors: {own:?}"
    );
    rig.complete();
}

fn check_cloexec(what: &str, fd: &OwnedFd) {
    // SAFETY: reads a flag.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
    ensure!(
        flags & libc::FD_CLOEXEC != 0,
        "the {what} descriptor survives an exec"
    );
}

/// What a fork that executes `checks fds` has open, but for its standard output.
fn fds_of_an_executed_child() -> Vec<String> {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let pid = fork();
    if pid == 0 {
        // SAFETY: takes two numbers; the standard output is this process's own.
        unsafe { libc::dup2(writer.as_raw_fd(), 1) };
        let _error = Command::new(env::current_exe().unwrap()).arg("fds").exec();
        exit_now(CHILD_FAILED);
    }
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    reap(pid);
    text.lines()
        .filter(|line| !line.starts_with("1 "))
        .map(str::to_owned)
        .collect()
}

/// The child's notifier does not wake the parent; the parent's does.
fn notify(options: &Options) {
    let mut session = Session::new(options);
    let notifier = session.driver.notifier();
    session.turn(Some(Duration::ZERO));
    // SAFETY: nothing is in flight.
    let prepared = unsafe { session.driver.prepare_wait() };
    ensure!(
        matches!(prepared, Ok(PreparedWait::Until(_))),
        "{prepared:?}"
    );
    let pid = fork();
    if pid == 0 {
        for _ in 0..100 {
            notifier.notify();
        }
        let waker = std::task::Waker::from(notifier.clone());
        waker.wake_by_ref();
        drop(session.driver.notifier());
        exit_now(0);
    }
    reap(pid);
    ensure!(
        !is_readable(&session.driver, 0),
        "the child woke the parent"
    );
    ensure!(
        session.turn(Some(Duration::ZERO)) == 0,
        "entries out of nothing"
    );
    ensure!(
        session.driver.stats().wake_ups == 0,
        "the child's wake-up was counted"
    );

    // SAFETY: nothing is in flight.
    let prepared = unsafe { session.driver.prepare_wait() };
    ensure!(
        matches!(prepared, Ok(PreparedWait::Until(_))),
        "{prepared:?}"
    );
    notifier.notify();
    ensure!(
        is_readable(&session.driver, -1),
        "the parent's notifier rings"
    );
    session.turn(None);
    ensure!(
        session.driver.stats().wake_ups == 1,
        "{:?}",
        session.driver.stats()
    );
}

fn is_readable(fd: &impl AsRawFd, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one `pollfd`.
    unsafe { libc::poll(&raw mut poll, 1, milliseconds) == 1 }
}

/// A child that lives on, with its copies of everything, while the parent completes, drops its
/// driver with operations in flight, and makes another.
fn outlive(options: &Options) {
    let mut rig = Rig::new(options);
    let (mut stop, stopped) = UnixStream::pair().unwrap();
    let pid = fork();
    if pid == 0 {
        drop(stop);
        let mut byte = [0];
        let _ = (&stopped).read(&mut byte);
        let Rig { session, .. } = rig;
        drop(session);
        exit_now(0);
    }
    rig.complete();
    rig.session.start(&mut rig.recv);
    rig.session.start(&mut rig.accept);
    rig.session.turn(Some(Duration::ZERO));
    drop(rig);
    let mut second = Rig::new(options);
    stop.write_all(b"!").unwrap();
    reap(pid);
    second.complete();
}
