//! I21, I22: io_uring forbidden, an environment that chooses, limits reached.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{BACKENDS, CAN_FALL_BACK, CHECKS, Outcome, Scratch, checks, command, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Somebody without rights.
const NOBODY: u32 = 65534;

fn has_io_uring() -> bool {
    BACKENDS.contains(&"io_uring")
}

#[track_caller]
fn assert_error(outcome: &Outcome, variant: &str, remedy: &str) {
    assert_eq!(outcome.status, Some(3), "{outcome:?}");
    let line = outcome.line();
    assert!(line.starts_with(&format!("error {variant}: ")), "{line}");
    assert!(line.contains(remedy), "{line}");
}

#[track_caller]
fn assert_backend(outcome: &Outcome, backend: &str, choice: &str) {
    outcome.assert_ok(backend);
    let line = outcome.line();
    assert!(
        line.starts_with(&format!("ok {backend} {choice}")),
        "{line}, not {choice}"
    );
}

/// `checks construct` under a filter that answers `errno` to some calls of io_uring.
fn under_seccomp(forbid: &str, errno: i32, args: &[&str]) -> Outcome {
    let errno = errno.to_string();
    let mut all = vec!["under-seccomp", "--forbid", forbid, "--errno", &errno];
    all.extend_from_slice(&["--", CHECKS, "construct"]);
    all.extend_from_slice(args);
    run(&mut checks(&all))
}

/// Whichever of the three calls is forbidden, and however: the default is another backend, and the
/// report says why; who asked for io_uring is told what to allow.
#[test]
fn by_a_seccomp_filter() {
    if !has_io_uring() {
        return;
    }
    let errnos = [
        (
            libc::EPERM,
            "DeniedBySeccomp",
            "io_uring is forbidden by a seccomp filter",
        ),
        (libc::ENOSYS, "KernelTooOld", "io_uring needs Linux 6.1"),
    ];
    for forbid in ["setup", "enter", "register", "calls", "all"] {
        for (errno, variant, remedy) in errnos {
            let outcome = under_seccomp(forbid, errno, &[]);
            if CAN_FALL_BACK {
                assert_backend(&outcome, "readiness", &format!("Fallback {variant}"));
                assert!(
                    outcome.stdout.contains(remedy),
                    "{forbid}: {}",
                    outcome.stdout
                );
            } else {
                assert_error(&outcome, variant, remedy);
            }
            let outcome = under_seccomp(forbid, errno, &["--backend", "io_uring"]);
            assert_error(&outcome, variant, remedy);
            if CAN_FALL_BACK {
                let outcome = under_seccomp(forbid, errno, &["--backend", "readiness"]);
                assert_backend(&outcome, "readiness", "Builder");
            }
        }
    }
}

/// The environment's choice is no wish but an order, too.
#[test]
fn by_a_seccomp_filter_and_asked_for_by_the_environment() {
    if !has_io_uring() {
        return;
    }
    let errno = libc::EPERM.to_string();
    let args = [
        "under-seccomp",
        "--forbid",
        "all",
        "--errno",
        &errno,
        "--",
        CHECKS,
        "construct",
    ];
    let outcome = run(checks(&args).env("COMPLETEIO_BACKEND", "io_uring"));
    assert_error(&outcome, "DeniedBySeccomp", "seccomp");
}

/// The sysctl is the whole machine's, so it is not changed here: a private mount shows the process
/// a file that says 2, and a filter answers as the kernel would.
#[test]
fn by_the_sysctl() {
    if !has_io_uring() {
        return;
    }
    let dir = Scratch::new();
    let two = dir.path().join("two");
    fs::write(&two, "2\n").unwrap();
    let sysctl = "/proc/sys/kernel/io_uring_disabled";
    let mount = format!("mount --bind {} {sysctl}", two.display());
    let unshare = |script: &str| {
        let mut args = vec!["--mount", "--propagation", "private"];
        // SAFETY: reads a number.
        if unsafe { libc::geteuid() } != 0 {
            args.extend_from_slice(&["--user", "--map-root-user"]);
        }
        args.extend_from_slice(&["sh", "-c", script]);
        run(&mut command("unshare", &args))
    };
    if unshare(&mount).status != Some(0) {
        println!("skipped: no private mounts over {sysctl} here");
        return;
    }
    let errno = libc::EPERM;
    let construct = format!(
        "{mount} && exec {CHECKS} under-seccomp --forbid setup --errno {errno} -- {CHECKS} construct"
    );
    let outcome = unshare(&construct);
    if CAN_FALL_BACK {
        assert_backend(&outcome, "readiness", "Fallback DisabledBySysctl");
    } else {
        assert_error(&outcome, "DisabledBySysctl", "kernel.io_uring_disabled");
    }
    let outcome = unshare(&format!("{construct} --backend io_uring"));
    assert_error(&outcome, "DisabledBySysctl", "set it to 0");
}

#[test]
fn the_environment_chooses() {
    let construct = |value: &str| run(checks(&["construct"]).env("COMPLETEIO_BACKEND", value));
    for backend in ["io_uring", "readiness"] {
        let outcome = construct(backend);
        if BACKENDS.contains(&backend) {
            assert_backend(&outcome, backend, "Environment");
        } else {
            assert_error(&outcome, "NotCompiled", "cargo feature");
        }
    }
    // `sim` is for tests: no environment can ask for it.
    for other in [
        "sim",
        "garbage",
        "IO_URING",
        "io_uring ",
        "epoll",
        "\u{fffd}",
    ] {
        assert_error(
            &construct(other),
            "UnknownBackend",
            "COMPLETEIO_BACKEND must be",
        );
    }
    assert_backend(&construct(""), BACKENDS[0], "Default");
}

/// `Builder::backend`: "Without it, `COMPLETEIO_BACKEND` is asked". With it, it is not.
#[test]
fn the_builder_overrides_the_environment() {
    for backend in BACKENDS {
        for value in ["io_uring", "readiness", "", "garbage"] {
            let args = ["construct", "--backend", backend];
            let outcome = run(checks(&args).env("COMPLETEIO_BACKEND", value));
            assert_backend(&outcome, backend, "Builder");
        }
    }
}

/// A set-uid program does not listen to the environment of who starts it.
#[test]
fn a_privileged_process_ignores_the_environment() {
    // SAFETY: reads a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can make a set-uid program");
        return;
    }
    let dir = Scratch::new();
    let program = dir.path().join("checks");
    fs::copy(CHECKS, &program).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let program = program.to_str().unwrap();
    let as_nobody = |program: &str, args: &[&str]| {
        run(command(program, args)
            .uid(NOBODY)
            .gid(NOBODY)
            .current_dir("/"))
    };
    let who = as_nobody("sh", &["-c", "exit 0"]);
    let can_execute = as_nobody(program, &["fds"]);
    let set_uid = as_nobody(program, &["uid"]);
    if who.status != Some(0) || can_execute.status != Some(0) || set_uid.line() != "0" {
        println!("skipped: set-uid programs do not work in {}", dir.str());
        return;
    }
    let mut garbage = command(program, &["construct"]);
    garbage
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .env("COMPLETEIO_BACKEND", "garbage");
    assert_backend(&run(&mut garbage), BACKENDS[0], "Default");
}

/// However many descriptors are left, the set-up succeeds or says what to do.
#[test]
fn without_descriptors() {
    for backend in BACKENDS {
        let mut left = 0;
        loop {
            let n = left.to_string();
            let outcome = run(&mut checks(&[
                "construct",
                "--backend",
                backend,
                "--files-left",
                &n,
            ]));
            if outcome.status == Some(0) {
                break;
            }
            assert_error(&outcome, "OpenFiles", "ulimit -n");
            left += 1;
            assert!(left < 64, "{backend} needs {left} descriptors and more");
        }
        assert!(left > 0, "{backend} needs no descriptor");
        println!("{backend} needs {left} descriptors");
    }
}

/// Linux 6.18 charges the rings to the user's locked memory, unless the process has CAP_IPC_LOCK;
/// not all kernels do. Either the driver works, or its error says what to raise.
#[test]
fn without_locked_memory() {
    for backend in BACKENDS {
        let limited = |uid: Option<u32>| {
            // prlimit lowers the limit of what it executes.
            let args = ["--memlock=0:0", CHECKS, "construct", "--backend", backend];
            let mut command = command("prlimit", &args);
            if let Some(uid) = uid {
                command.uid(uid).gid(uid);
            }
            run(&mut command)
        };
        let mut outcomes = vec![("this user", limited(None))];
        // SAFETY: reads a number. Root's limits do not bind.
        if unsafe { libc::geteuid() } == 0 {
            let reachable = run(command(CHECKS, &["fds"]).uid(NOBODY).gid(NOBODY));
            if reachable.status == Some(0) {
                outcomes.push(("nobody", limited(Some(NOBODY))));
            } else {
                println!("skipped: nobody cannot execute {CHECKS}");
            }
        }
        for (who, outcome) in outcomes {
            if outcome.status == Some(0) {
                println!("{who}, {backend}: works without locked memory");
            } else {
                assert_error(&outcome, "LockedMemory", "ulimit -l");
                println!("{who}, {backend}: {}", outcome.line());
            }
        }
    }
}

#[test]
fn an_accept_without_descriptors_does_not_spin() {
    for backend in BACKENDS {
        let outcome = run(&mut checks(&["emfile", "--backend", backend]));
        outcome.assert_ok(backend);
        println!("{backend}: {}", outcome.line());
    }
}

/// The watchdog of these tests works: a child that hangs is a failure, and is gone.
#[test]
fn the_watchdog_bites() {
    let status = Command::new("timeout")
        .args(["-k", "2", "0.1", "sleep", "60"])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(124));
}
