//! NOPs.

use super::{Case, Effort, ms, timed};
use crate::job::Job;
use bench::child::Args;

pub(super) const SUBJECTS: [&str; 13] = [
    "raw",
    "driver",
    "queue",
    "scope",
    "driver/epoll",
    "queue/epoll",
    "scope/epoll",
    "compio-0.19",
    "compio-0.19+",
    "compio-0.20",
    "compio-0.20+",
    "tokio-uring",
    "completeio-0.1",
];

pub(super) const BATCHES: [usize; 3] = [1, 32, 256];

pub(super) fn job(batch: usize) -> Job {
    Job::Alone(Args::new("nop", "").with("batch", batch))
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["cpu_ns_per_op", "ops_per_s"];
    let (rounds, window) = effort.pick((11, ms(100)), (3, ms(40)));
    let batches = effort.pick(&BATCHES[..], &[1, 32]);
    let case = |batch: &usize| {
        let run = timed(job(*batch), ms(10), window);
        Case::new("nop", METRICS, &SUBJECTS, rounds, run)
            .param("batch", batch)
            .telling(*batch == 32)
    };
    batches.iter().map(case).collect()
}
