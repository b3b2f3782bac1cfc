//! This process: its descriptors, its threads, its end.

use crate::summary::Summary;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, process, thread};

/// After so many seconds a child is taken for hung, and dies by SIGALRM.
pub(crate) const ALARM_S: u32 = 60;

/// What is being checked, and what was before it.
static CHECKED: Mutex<Option<(String, Summary)>> = Mutex::new(None);

/// From here on a failure is one of this, and ends with a summary.
pub(crate) fn checking(what: String, so_far: Summary) {
    *CHECKED.lock().unwrap() = Some((what, so_far));
}

/// Ends the process with status 1.
pub(crate) fn fail(message: impl Display) -> ! {
    eprintln!("failed: {message}");
    if let Some((what, mut summary)) = CHECKED.lock().unwrap().take() {
        println!("FAILED: {what}");
        summary.failed += 1;
        summary.end();
    }
    process::exit(1);
}

/// The open descriptors of this process and what they name, sorted.
pub(crate) fn open_fds() -> Vec<String> {
    let mut fds = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        // The one that reads the directory is closed by now, or names the directory itself.
        let Ok(target) = fs::read_link(&path) else {
            continue;
        };
        if target.to_string_lossy().ends_with("/fd") {
            continue;
        }
        let number = path.file_name().unwrap().to_string_lossy();
        fds.push(format!("{number} {}", target.display()));
    }
    fds.sort();
    fds
}

/// Waits until the calling thread is the only one of this process, but for the kernel's own
/// workers. A thread that was joined may be listed for a moment still.
pub(crate) fn expect_one_thread() {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut names = Vec::new();
        for task in fs::read_dir("/proc/self/task").unwrap() {
            // One that is gone meanwhile has no name.
            let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
            if !name.is_empty() && !name.starts_with("iou-") {
                names.push(name);
            }
        }
        if names.len() == 1 {
            return;
        }
        ensure!(Instant::now() < deadline, "threads are left: {names:?}");
        thread::yield_now();
    }
}

/// A system call that no driver makes: it marks a place in a trace.
pub(crate) fn marker() {
    // SAFETY: takes nothing, and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

/// The alarm goes off after so many seconds, and never with 0.
pub(crate) fn watch(seconds: u32) {
    // SAFETY: takes a number.
    unsafe { libc::alarm(seconds) };
}
