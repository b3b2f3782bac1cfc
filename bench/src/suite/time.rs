//! Timers, tasks, and wake-ups.

use super::count::per_op;
use super::{Case, Effort, ms, timed};
use crate::counted::Counter;
use crate::job::Job;
use bench::child::Args;

/// The kernel's timers, and whoever has tasks.
pub(super) const SUBJECTS: [&str; 13] = [
    "raw",
    "runtime",
    "runtime/epoll",
    "tokio",
    "monoio",
    "monoio+",
    "compio-0.19",
    "compio-0.19+",
    "compio-0.20",
    "compio-0.20+",
    "tokio-uring",
    "glommio",
    "completeio-0.1",
];

/// Without the kernel, the reference is the runtime.
pub(super) fn tasks() -> &'static [&'static str] {
    &SUBJECTS[1..]
}

const METRICS: &[&str] = &["cpu_ns_per_op", "allocations_per_op"];
const LATENESS: &[&str] = &["late_p50_ns", "late_p99_ns", "cpu_ns_per_op"];
const WAKE: &[&str] = &["wake_p50_ns", "wake_p99_ns", "call_p50_ns"];

pub(super) fn fire(effort: Effort) -> Vec<Case> {
    const TASKS: usize = 10_000;
    let (rounds, window) = effort.pick((5, ms(300)), (1, ms(100)));
    let job = Job::Alone(Args::new("fire", "").with("tasks", TASKS));
    let run = timed(job, ms(50), window);
    vec![Case::new("fire", METRICS, &SUBJECTS, rounds, run).param("tasks", TASKS)]
}

pub(super) fn cancel(effort: Effort) -> Vec<Case> {
    let (rounds, window) = effort.pick((5, ms(300)), (1, ms(100)));
    let case = |live: &usize| {
        let job = Job::Alone(Args::new("cancel", "").with("live", live));
        let run = timed(job, ms(50), window);
        Case::new("cancel", METRICS, &SUBJECTS, rounds, run)
            .param("live", live)
            .telling(*live == 1)
    };
    [1, 10_000].iter().map(case).collect()
}

pub(super) fn lateness(effort: Effort) -> Vec<Case> {
    let (rounds, window) = effort.pick((3, ms(500)), (1, ms(150)));
    let run = timed(Job::Alone(Args::new("lateness", "")), ms(20), window);
    vec![Case::new("lateness", LATENESS, &SUBJECTS, rounds, run)]
}

pub(super) fn spawn(effort: Effort) -> Vec<Case> {
    let (rounds, window) = effort.pick((5, ms(200)), (1, ms(60)));
    let run = timed(Job::Alone(Args::new("spawn", "")), ms(10), window);
    vec![Case::new("spawn", METRICS, tasks(), rounds, run).telling(true)]
}

pub(super) fn yield_now(effort: Effort) -> Vec<Case> {
    let (rounds, window) = effort.pick((5, ms(200)), (1, ms(60)));
    let case = |tasks_count: &usize| {
        let job = Job::Alone(Args::new("yield", "").with("tasks", tasks_count));
        let run = timed(job, ms(10), window);
        Case::new("yield", METRICS, tasks(), rounds, run).param("tasks", tasks_count)
    };
    effort.pick(&[1, 1000][..], &[1]).iter().map(case).collect()
}

pub(super) fn wake(effort: Effort) -> Vec<Case> {
    let (rounds, window) = effort.pick((3, ms(400)), (1, ms(100)));
    let run = timed(Job::Alone(Args::new("wake", "")), ms(20), window);
    vec![Case::new("wake", WAKE, tasks(), rounds, run)]
}

/// System calls of whoever wakes a thread that is awake.
pub(super) fn awake(_: Effort) -> Vec<Case> {
    let job = Job::Alone(Args::new("awake", ""));
    let run = per_op(Counter::Calls, job, [1_000, 11_000]);
    vec![Case::new("awake", &["calls_per_op"], tasks(), 1, run).counted()]
}
