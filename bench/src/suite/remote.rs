//! A driver that is shared between threads.

use super::{Case, Effort, ms, timed};
use crate::job::Job;
use bench::child::Args;

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    const METRICS: &[&str] = &["cpu_ns_per_op", "ops_per_s"];
    const SUBJECTS: [&str; 3] = ["alone", "1-client", "4-clients"];
    let (rounds, window) = effort.pick((7, ms(200)), (3, ms(60)));
    let mut cases = Vec::new();
    for backend in ["io_uring", "epoll"] {
        for work in ["nop", "read"] {
            for in_flight in [1, 32] {
                let args = Args::new("remote", "")
                    .with("backend", backend)
                    .with("work", work)
                    .with("in-flight", in_flight);
                let run = timed(Job::Alone(args), ms(0), window);
                let case = Case::new("remote", METRICS, &SUBJECTS, rounds, run);
                let case = case.param("backend", backend).param("work", work);
                cases.push(case.param("in flight per client", in_flight));
            }
        }
    }
    cases
}
