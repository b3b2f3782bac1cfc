//! What is counted instead of timed.

use super::{Case, Effort, Run, file, ms, net, nop, timed};
use crate::counted::Counter;
use crate::job::Job;
use bench::child::Args;

/// The difference of two runs.
pub(super) fn per_op(counter: Counter, job: Job, ops: [u64; 2]) -> Run {
    Box::new(move |runner, subject| counter.per_op(runner, subject, &job, ops))
}

/// How many requests the servers are counted with: rounds of all connections, so that the load is
/// the same to the end.
fn rounds(connections: usize) -> [u64; 2] {
    [20, 80].map(|rounds| rounds * connections as u64)
}

/// Allocations: of servers by the difference, of others while they are measured.
pub(super) fn allocations(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["allocations_per_op"];
    const CONNECTIONS: usize = 50;
    let echo = per_op(
        Counter::Allocations,
        net::echo_job(CONNECTIONS),
        rounds(CONNECTIONS),
    );
    let mut cases = vec![
        Case::new("allocs", METRICS, &net::SUBJECTS, 1, echo)
            .counted()
            .param("of", "echo, 50 connections"),
    ];
    let alone = |of, subjects: &[&str], job: Job| {
        let run = timed(job, ms(40), ms(60));
        Case::new("allocs", METRICS, subjects, 1, run)
            .counted()
            .param("of", of)
    };
    let file_subjects: Vec<&str> = file::SUBJECTS
        .into_iter()
        .filter(|name| *name != "fio")
        .collect();
    let read = alone("read, depth 32", &file_subjects, file::read_job(32));
    cases.push(Case {
        run: Box::new(move |runner, subject| {
            file::ready_file()?;
            (read.run)(runner, subject)
        }),
        ..read
    });
    if effort == Effort::Full {
        let cancel = Args::new("cancel", "").with("live", 1);
        let spawn = Args::new("spawn", "");
        cases.push(alone(
            "sleep, dropped",
            &super::time::SUBJECTS,
            Job::Alone(cancel),
        ));
        cases.push(alone(
            "spawn and join",
            super::time::tasks(),
            Job::Alone(spawn),
        ));
    }
    cases
}

/// System calls of a server.
pub(super) fn calls(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &[
        "calls_per_op",
        "io_uring_enter_per_op",
        "recvfrom_per_op",
        "sendto_per_op",
        "epoll_wait_per_op",
        "epoll_pwait2_per_op",
        "epoll_ctl_per_op",
    ];
    let subjects = [&net::SUBJECTS[..], &["epoll/call"]].concat();
    let (rounds, requests) = effort.pick((3, 10_000), (1, 2_000));
    let case = |connections: &usize| {
        // A request on each connection, and those that are counted: so many that what a run has of
        // its own, for its requests come one by one or many at once, is nothing beside them.
        let first = *connections as u64;
        let ops = [first, first + requests * first.min(10)];
        let run = per_op(Counter::Calls, net::echo_job(*connections), ops);
        Case::new("syscalls", METRICS, &subjects, rounds, run)
            .counted()
            .param("connections", connections)
    };
    effort
        .pick(&[1, 50, 1000][..], &[1, 50])
        .iter()
        .map(case)
        .collect()
}

/// Instructions in user space, of NOPs or of an echo.
pub(crate) fn instructions(workload: &str, effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["instructions_per_op"];
    let case = |subjects: &[&str], rounds, run| {
        Case::new("instructions", METRICS, subjects, rounds, run).counted()
    };
    match workload {
        "nop" => {
            let of = |batch: &usize| {
                let ops = [160, 480].map(|turns| turns * *batch as u64);
                let run = per_op(Counter::Instructions, nop::job(*batch), ops);
                case(&nop::SUBJECTS, 1, run).param("of", format!("NOPs, batch {batch}"))
            };
            nop::BATCHES.iter().map(of).collect()
        }
        "echo" => {
            const CONNECTIONS: usize = 50;
            let job = net::echo_job(CONNECTIONS);
            let run = per_op(Counter::Instructions, job, rounds(CONNECTIONS));
            let of = format!("echo, {CONNECTIONS} connections");
            vec![case(&net::SUBJECTS, effort.pick(3, 1), run).param("of", of)]
        }
        _ => Vec::new(),
    }
}
