//! I7, I8, I21, I22: system calls that fail, one at a time, in every position.
//!
//! strace replaces the n-th call of a kind by an error, or by a return value, without making it.
//! While the driver is made, the outcome must be a driver or a typed error with its remedy, and
//! nothing may be left behind. After that, what interrupts a wait never reaches the caller, what a
//! call for an operation says arrives unchanged, once, and every operation completes once.
//!
//! A few of each kind are tried; `checks inject` sets `CHECKS_FULL=1`, and that goes through all.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{
    BACKENDS, CAN_FALL_BACK, Outcome, Scratch, checks, has_strace, is_full, name, strace,
};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A system call of the set-up: its name, which of that name it is in the process, and its line.
#[derive(Debug)]
struct Call {
    name: String,
    n: usize,
    line: String,
}

/// The system calls between the two markers of `checks construct` that belong to the driver.
fn calls_of_the_setup(args: &[&str]) -> Vec<Call> {
    let outcome = strace(&["-y"], args);
    outcome.assert_ok("construct");
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    let mut markers = 0;
    for line in outcome.trace.lines() {
        let name = name(line);
        let n = counts.entry(name.to_owned()).or_insert(0);
        *n += 1;
        markers += usize::from(name == "getppid");
        if markers == 1 && !errors(name, line).is_empty() {
            calls.push(Call {
                name: name.to_owned(),
                n: *n,
                line: line.to_owned(),
            });
        }
    }
    assert_eq!(markers, 2, "{outcome:?}");
    calls
}

/// What to inject for a system call of the set-up; nothing for one that is not the driver's (the
/// allocator's, those of the thread library that cannot fail).
fn errors(name: &str, line: &str) -> &'static [&'static str] {
    match name {
        "io_uring_setup" => &["ENOSYS", "EPERM", "EINVAL", "ENOMEM", "EMFILE", "ENFILE"],
        "io_uring_register" => &["EPERM", "EINVAL", "ENOMEM", "EMFILE"],
        "io_uring_enter" => &["EPERM", "ENOSYS", "EINTR", "EAGAIN", "EBUSY"],
        "eventfd2" => &["EMFILE", "ENFILE", "ENOMEM"],
        "epoll_create1" => &["EMFILE", "ENFILE", "ENOMEM"],
        "epoll_ctl" => &["ENOMEM", "ENOSPC"],
        "epoll_pwait2" => &["ENOSYS", "EPERM", "EINTR"],
        "madvise" => &["EINVAL", "ENOMEM"],
        "prlimit64" => &["EPERM"],
        "clone" | "clone3" => &["EAGAIN"],
        "mmap" if line.contains("io_uring") => &["ENOMEM", "EAGAIN"],
        // The fork guard's page; a worker's stack.
        "mmap" if line.contains("mmap(NULL, 1,") => &["ENOMEM"],
        "mmap" if line.contains("MAP_STACK") => &["ENOMEM"],
        _ => &[],
    }
}

/// What the driver must make of it; `""` where any typed outcome will do.
fn expected(call: &Call, error: &str) -> &'static str {
    match (call.name.as_str(), error) {
        ("io_uring_setup", "ENOSYS") => "KernelTooOld",
        // Tried again, without the newest flags.
        ("io_uring_setup", "EINVAL") => "ok",
        ("io_uring_setup" | "io_uring_enter", "EPERM") => "DeniedBySeccomp",
        ("io_uring_enter", "ENOSYS") => "KernelTooOld",
        ("io_uring_setup" | "mmap", "ENOMEM") if call.line.contains("io_uring") => "LockedMemory",
        // The waits count on another clock then.
        ("io_uring_register", _) if call.line.contains("0x1d ") => "ok",
        ("io_uring_register", "EPERM") if call.line.contains("RING_FDS") => "DeniedBySeccomp",
        ("io_uring_register", "EMFILE") if call.line.contains("FILES2") => "OpenFiles",
        ("io_uring_setup" | "eventfd2" | "epoll_create1", "EMFILE" | "ENFILE") => "OpenFiles",
        // An older kernel, or a filter: epoll_wait serves.
        ("epoll_pwait2", _) => "ok",
        // The fork guard compares process ids then.
        ("madvise", _) if !call.line.contains("DONTFORK") => "ok",
        ("mmap", "ENOMEM") if call.line.contains("mmap(NULL, 1,") => "ok",
        ("prlimit64", _) => "ok",
        _ => "",
    }
}

/// What a message must say, so that its reader knows what to do.
fn remedy(variant: &str) -> &'static str {
    match variant {
        "KernelTooOld" => "Linux 6.1",
        "DeniedBySeccomp" => "seccomp",
        "DisabledBySysctl" => "kernel.io_uring_disabled",
        "LockedMemory" => "ulimit -l",
        "OpenFiles" => "ulimit -n",
        "Os" => "failed: ",
        other => panic!("{other} is no error of a set-up"),
    }
}

/// `ok`, or the variant of the error, whose message is checked.
#[track_caller]
fn judge(outcome: &Outcome, what: &str) -> String {
    assert!(matches!(outcome.status, Some(0 | 3)), "{what}: {outcome:?}");
    let line = outcome.line();
    if line.starts_with("ok ") {
        return "ok".to_owned();
    }
    let error = line
        .strip_prefix("error ")
        .unwrap_or_else(|| panic!("{what}: {outcome:?}"));
    let (variant, message) = error.split_once(": ").unwrap();
    assert!(message.contains(remedy(variant)), "{what}: {line}");
    variant.to_owned()
}

/// Every call of a set-up, every error.
fn sweep_setup(backend: &str) {
    if !has_strace() {
        return;
    }
    let args = ["construct", "--backend", backend];
    let calls = calls_of_the_setup(&args);
    assert!(calls.len() > 5, "{calls:#?}");
    let mut wrong = Vec::new();
    for call in &calls {
        for error in errors(&call.name, &call.line) {
            let what = format!("{backend}, {error} for {} ({})", call.n, call.line);
            let inject = format!("inject={}:error={error}:when={}", call.name, call.n);
            let trace = format!("trace={}", call.name);
            let outcome = strace(&["-e", &trace, "-e", &inject], &args);
            assert_eq!(outcome.injected(), 1, "{what}: {outcome:?}");
            let got = judge(&outcome, &what);
            let expected = expected(call, error);
            if !expected.is_empty() && got != expected {
                wrong.push(format!("{what}: {}, expected {expected}", outcome.line()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn setup_of_each_backend() {
    for backend in BACKENDS {
        sweep_setup(backend);
    }
}

/// What is forbidden, or takes memory that may not be locked, is no error where there is another
/// backend.
#[test]
fn setup_by_default() {
    if !has_strace() || !BACKENDS.contains(&"io_uring") {
        return;
    }
    let cases = [
        ("io_uring_setup", "ENOSYS", "1+", "KernelTooOld"),
        ("io_uring_setup", "EPERM", "1+", "DeniedBySeccomp"),
        ("io_uring_setup", "EINVAL", "1+", "KernelTooOld"),
        ("io_uring_setup", "ENOMEM", "1+", "LockedMemory"),
        ("io_uring_enter", "EPERM", "1+", "DeniedBySeccomp"),
        ("io_uring_register", "EPERM", "1+", "DeniedBySeccomp"),
    ];
    for (call, error, when, variant) in cases {
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:error={error}:when={when}");
        let options = ["-f", "-e", &trace, "-e", &inject];
        let outcome = strace(&options, &["construct"]);
        let what = format!("{error} for {call}");
        if CAN_FALL_BACK {
            outcome.assert_ok(&what);
            assert_eq!(
                outcome.line(),
                format!("ok readiness Fallback {variant}"),
                "{what}"
            );
        } else {
            assert_eq!(judge(&outcome, &what), variant, "{what}");
        }
        let outcome = strace(&options, &["construct", "--backend", "io_uring"]);
        assert_eq!(judge(&outcome, &what), variant, "{what}");
    }
}

/// What would stop any backend is an error, not a fall-back.
#[test]
fn setup_by_default_without_resources() {
    if !has_strace() || !BACKENDS.contains(&"io_uring") {
        return;
    }
    let outcome = strace(
        &[
            "-e",
            "trace=io_uring_setup",
            "-e",
            "inject=io_uring_setup:error=EMFILE:when=1",
        ],
        &["construct"],
    );
    assert_eq!(judge(&outcome, "EMFILE"), "OpenFiles");
}

/// One kind of disturbance of a running driver.
struct Disturbance {
    backend: &'static str,
    work: &'static str,
    call: &'static str,
    /// `error=…` or `retval=…`.
    inject: &'static str,
    /// The number that the operation must then fail with, once per injected call.
    arrives: Option<i32>,
    /// The first call of the kind that is not the set-up's.
    first: usize,
    /// Only calls on this file, of the victim's directory or the kernel's.
    path: Option<&'static str>,
}

impl Disturbance {
    const fn new(backend: &'static str, call: &'static str, inject: &'static str) -> Self {
        let (work, arrives, first, path) = ("mixed", None, 1, None);
        Self {
            backend,
            work,
            call,
            inject,
            arrives,
            first,
            path,
        }
    }

    /// Runs the victim once; how many calls were tampered with?
    #[track_caller]
    fn run(&self, when: &str) -> usize {
        let dir = Scratch::new();
        let what = format!("{} {} {}:when={when}", self.backend, self.call, self.inject);
        let trace = format!("trace={}", self.call);
        let inject = format!("inject={}:{}:when={when}", self.call, self.inject);
        let mut options = vec!["-f", "-e", &trace, "-e", &inject];
        let path = self.path.map(|path| path.replace("DIR", dir.str()));
        if let Some(path) = &path {
            options.extend_from_slice(&["-P", path]);
        }
        let errno = self.arrives.map(|errno| errno.to_string());
        let mut args = vec!["victim", "--backend", self.backend, "--work", self.work];
        args.extend_from_slice(&["--workers", "1", "--dir", dir.str()]);
        if let Some(errno) = &errno {
            args.extend_from_slice(&["--tolerate", errno]);
        }
        let outcome = strace(&options, &args);
        outcome.assert_ok(&what);
        let injected = outcome.injected();
        let expected = if self.arrives.is_some() { injected } else { 0 };
        let arrived = format!("ok tolerated={expected} ");
        assert!(
            outcome.line().starts_with(&arrived),
            "{what}, {injected} times: {outcome:?}"
        );
        injected
    }

    /// Each position alone, up to `quick` of them unless everything is asked for.
    #[track_caller]
    fn sweep(&self, quick: usize) {
        let mut reached = 0;
        while is_full() || reached < quick {
            if self.run(&(self.first + reached).to_string()) == 0 {
                break;
            }
            reached += 1;
        }
        let what = format!("{} {} {}", self.backend, self.call, self.inject);
        assert!(reached > 0, "{what}: the victim makes no such call");
        let told = format!("{what}: {reached} positions");
        if is_full() {
            // Not kept back: it takes minutes until the test ends.
            let _ = writeln!(io::stderr(), "{told}");
        } else {
            println!("{told}");
        }
    }

    /// Each position of a work that is short enough to reach the driver's drop: alone, and as the
    /// first of many, so that a turn gives up with entries that were not taken.
    #[track_caller]
    fn through_the_drop(&self) {
        self.sweep(usize::MAX);
        let mut first = self.first;
        while self.run(&format!("{first}..{}", first + 20)) > 0 {
            first += 1;
        }
    }

    /// Many positions at once.
    #[track_caller]
    fn storm(&self) {
        let first = self.first;
        for when in [format!("{first}+2"), format!("{}+3", first + 1)] {
            assert!(
                self.run(&when) > 1,
                "{} {}: no storm",
                self.backend,
                self.call
            );
        }
        // More in a row than any loop asks again at once.
        assert!(self.run(&format!("{}..{}", first + 1, first + 12)) > 0);
    }
}

/// I7: what ends a wait early is the driver's business.
#[test]
fn waits_of_io_uring() {
    if !has_strace() || !BACKENDS.contains(&"io_uring") {
        return;
    }
    for error in ["EINTR", "EAGAIN", "EBUSY", "ENOMEM", "ETIME"] {
        let inject = match error {
            "EINTR" => "error=EINTR",
            "EAGAIN" => "error=EAGAIN",
            "EBUSY" => "error=EBUSY",
            "ENOMEM" => "error=ENOMEM",
            _ => "error=ETIME",
        };
        let mixed = Disturbance {
            first: 2,
            ..Disturbance::new("io_uring", "io_uring_enter", inject)
        };
        mixed.storm();
        mixed.sweep(4);
        // Short enough to reach the driver's drop.
        Disturbance {
            work: "nop",
            ..mixed
        }
        .through_the_drop();
    }
}

/// I8: a call that takes fewer entries than it was given loses none.
#[test]
fn short_submits_of_io_uring() {
    if !has_strace() || !BACKENDS.contains(&"io_uring") {
        return;
    }
    for inject in ["retval=0", "retval=1"] {
        let mixed = Disturbance {
            first: 2,
            ..Disturbance::new("io_uring", "io_uring_enter", inject)
        };
        mixed.storm();
        mixed.sweep(6);
        Disturbance {
            work: "nop",
            ..mixed
        }
        .through_the_drop();
    }
}

/// I7, of epoll; and a kernel without epoll_pwait2 (before 5.11).
#[test]
fn waits_of_readiness() {
    if !has_strace() || !BACKENDS.contains(&"readiness") {
        return;
    }
    let waits = "epoll_pwait2,epoll_wait,epoll_pwait";
    let first = 2;
    let mixed = Disturbance {
        first,
        ..Disturbance::new("readiness", waits, "error=EINTR")
    };
    mixed.storm();
    mixed.sweep(8);
    Disturbance {
        work: "timers",
        ..mixed
    }
    .sweep(8);
    let old = Disturbance::new("readiness", "epoll_pwait2", "error=ENOSYS");
    assert_eq!(old.run("1+"), 1, "asked once, and never again");
}

/// The calls for operations on sockets: interrupted ones are made again, others arrive unchanged.
#[test]
fn calls_on_sockets() {
    if !has_strace() || !BACKENDS.contains(&"readiness") {
        return;
    }
    for call in ["recvfrom", "sendto", "accept4", "connect"] {
        let mut net = Disturbance::new("readiness", call, "error=EINTR");
        net.work = "net";
        if call != "connect" {
            net.sweep(3);
        }
        let errors = [
            ("error=ENOBUFS", libc::ENOBUFS),
            ("error=ENOMEM", libc::ENOMEM),
            ("error=ECONNRESET", libc::ECONNRESET),
        ];
        for (inject, errno) in errors {
            Disturbance {
                inject,
                arrives: Some(errno),
                ..net
            }
            .sweep(2);
        }
    }
}

/// A connect that is interrupted, whichever of its calls it is: the one that begins it, the one
/// that looks what became of it.
#[test]
fn connect_interrupted() {
    if !has_strace() || !BACKENDS.contains(&"readiness") {
        return;
    }
    let connect = Disturbance::new("readiness", "connect", "error=EINTR");
    Disturbance {
        work: "net",
        ..connect
    }
    .sweep(3);
}

/// The calls for operations on files, on worker threads and in place.
#[test]
fn calls_on_files() {
    if !has_strace() || !BACKENDS.contains(&"readiness") {
        return;
    }
    for call in ["pread64", "pwrite64"] {
        let mut file = Disturbance::new("readiness", call, "error=EINTR");
        file.work = "file";
        file.path = Some("DIR/file");
        file.sweep(3);
        for (inject, errno) in [("error=EIO", libc::EIO), ("error=ENOSPC", libc::ENOSPC)] {
            Disturbance {
                inject,
                arrives: Some(errno),
                ..file
            }
            .sweep(3);
        }
    }
}

/// The notifier's descriptor, and the registrations.
#[test]
fn calls_of_the_machinery() {
    if !has_strace() {
        return;
    }
    for backend in BACKENDS {
        let eventfd = Some("anon_inode:[eventfd]");
        for (call, inject) in [
            ("read", "error=EINTR"),
            ("write", "error=EINTR"),
            ("read", "error=EAGAIN"),
        ] {
            let bell = Disturbance {
                path: eventfd,
                ..Disturbance::new(backend, call, inject)
            };
            for n in 1..=3 {
                bell.run(&n.to_string());
            }
        }
    }
    if BACKENDS.contains(&"readiness") {
        for (inject, errno) in [
            ("error=ENOMEM", libc::ENOMEM),
            ("error=ENOSPC", libc::ENOSPC),
        ] {
            let mut epoll = Disturbance::new("readiness", "epoll_ctl", inject);
            epoll.work = "net";
            epoll.arrives = Some(errno);
            // The listener's and the client's: after those of the set-up, before the first that
            // takes one away, which cannot fail.
            for n in ["3", "4"] {
                assert_eq!(epoll.run(n), 1);
            }
        }
    }
}

/// The victim by itself, so that a failure elsewhere is the injection's.
#[test]
fn undisturbed() {
    for backend in BACKENDS {
        for work in ["nop", "net", "file", "timers", "mixed"] {
            let dir = Scratch::new();
            let args = [
                "victim",
                "--backend",
                backend,
                "--work",
                work,
                "--rounds",
                "3",
            ];
            let outcome = common::run(checks(&args).args(["--dir", dir.str()]));
            outcome.assert_ok(work);
        }
    }
}
