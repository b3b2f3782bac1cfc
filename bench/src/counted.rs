//! What is counted instead of timed: instructions in user space, system calls, allocations.
//!
//! The work is done twice, exactly so many times; the difference, divided by that of the
//! operations, is free of what starting costs.

use crate::job::{Job, Runner};
use crate::process::{Ended, Program};
use crate::subject::Subject;
use bench::child::Outcome;
use std::process::{Command, Stdio};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// By callgrind.
    Instructions,
    /// Of the main thread, by the kernel's tracepoints, which slow nothing down; else by strace,
    /// which does.
    Calls,
    /// By the process itself.
    Allocations,
}

/// System calls that are told apart.
const CALLS: [&str; 6] = [
    "recvfrom",
    "sendto",
    "epoll_wait",
    "epoll_pwait2",
    "io_uring_enter",
    "epoll_ctl",
];

const INSTRUCTIONS: &str = "instructions";
const ALL_CALLS: &str = "calls";
const ALLOCATIONS: &str = "allocations";

impl Counter {
    /// Counts for each operation: the job's with `ops[0]` of them, and with `ops[1]`.
    pub(crate) fn per_op(
        self,
        runner: &Runner,
        subject: Subject,
        job: &Job,
        ops: [u64; 2],
    ) -> Result<Outcome, String> {
        let [fewer, more] = ops.map(|ops| self.count(runner, subject, &job.clone().counted(ops)));
        let (fewer, more) = (fewer?, more?);
        let per_op = |(name, more): (String, f64)| {
            let less = fewer.get(&name).copied().unwrap_or_default();
            let per_op = (more - less).max(0.0) / (ops[1] - ops[0]) as f64;
            (format!("{name}_per_op"), per_op)
        };
        Ok(more.into_iter().map(per_op).collect())
    }

    fn count(self, runner: &Runner, subject: Subject, job: &Job) -> Result<Outcome, String> {
        let program = runner.program(subject)?;
        let program = match self {
            Self::Instructions => program.under(&[
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
            ]),
            Self::Calls if perf_counts() => under_perf(&program),
            Self::Calls => program.under(&["strace", "-c", "-qq"]),
            Self::Allocations => program,
        };
        let Ended { outcome, said } = runner.run_under(&program, subject, job)?;
        let counted = match self {
            Self::Instructions => instructions(&said),
            Self::Calls if perf_counts() => perf_calls(&said),
            Self::Calls => strace_calls(&said),
            Self::Allocations => outcome.get(ALLOCATIONS).map(|n| only(ALLOCATIONS, *n)),
        };
        counted.ok_or_else(|| "nothing was counted".to_owned())
    }
}

fn only(name: &str, number: f64) -> Outcome {
    [(name.to_owned(), number)].into()
}

fn under_perf(program: &Program) -> Program {
    let kinds = CALLS
        .map(|call| format!("syscalls:sys_enter_{call}"))
        .join(",");
    let all = "raw_syscalls:sys_enter";
    program.under(&[
        "perf",
        "stat",
        "--no-inherit",
        "-x,",
        "-e",
        &kinds,
        "-e",
        all,
    ])
}

/// Whether perf may count here.
fn perf_counts() -> bool {
    let probe = Command::new("perf")
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

/// "==1234== Collected : 5678"
fn instructions(said: &str) -> Option<Outcome> {
    let line = said
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))?;
    Some(only(INSTRUCTIONS, line.trim().parse().ok()?))
}

/// "1234,,syscalls:sys_enter_sendto,…"
fn perf_calls(said: &str) -> Option<Outcome> {
    let mut calls = Outcome::new();
    for line in said.lines() {
        let mut fields = line.split(',');
        let (count, name) = (fields.next()?, fields.nth(1).unwrap_or(""));
        let Ok(count) = count.parse() else {
            continue;
        };
        if let Some(call) = name.strip_prefix("syscalls:sys_enter_") {
            calls.insert(call.to_owned(), count);
        } else if name == "raw_syscalls:sys_enter" {
            calls.insert(ALL_CALLS.to_owned(), count);
        }
    }
    calls.contains_key(ALL_CALLS).then_some(calls)
}

/// "  0.00    0.000000           0        29         1 total"
fn strace_calls(said: &str) -> Option<Outcome> {
    let mut calls: Outcome = CALLS.iter().map(|call| ((*call).to_owned(), 0.0)).collect();
    for line in said.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (fields.get(3), fields.last()) else {
            continue;
        };
        let Ok(count) = count.parse() else {
            continue;
        };
        if *name == "total" {
            calls.insert(ALL_CALLS.to_owned(), count);
        } else if let Some(place) = calls.get_mut(*name) {
            *place = count;
        }
    }
    calls.contains_key(ALL_CALLS).then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_watchers_say() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(instructions(said), Some(only(INSTRUCTIONS, 123_456.0)));
        let said =
            "12,,syscalls:sys_enter_sendto,1,100.00,,\n29,,raw_syscalls:sys_enter,1,100.00,,\n";
        let calls = perf_calls(said).unwrap();
        assert_eq!((calls["sendto"], calls[ALL_CALLS]), (12.0, 29.0));
        let said = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    0.00    0.000000           0         8         1 sendto\n\
                    100.00    0.000000           0        29         1 total\n";
        let calls = strace_calls(said).unwrap();
        assert_eq!(
            (calls["sendto"], calls["recvfrom"], calls[ALL_CALLS]),
            (8.0, 0.0, 29.0)
        );
        assert!(instructions("").is_none() && perf_calls("").is_none());
        assert!(strace_calls("").is_none());
    }
}
