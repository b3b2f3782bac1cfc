//! The cases of each workload: its parameters, who takes part, and what is shown.

mod count;
mod file;
mod memory;
mod net;
mod nop;
mod remote;
mod time;

use crate::job::{Job, Runner};
use crate::subject::{self, Kind, Subject};
use bench::child::Outcome;
use std::time::Duration;

/// One table's rows of the same parameters.
pub(crate) struct Case {
    pub(crate) workload: &'static str,
    pub(crate) params: Vec<(&'static str, String)>,
    /// What is shown; the first is the main figure.
    pub(crate) metrics: &'static [&'static str],
    pub(crate) reference: Subject,
    pub(crate) others: Vec<Subject>,
    pub(crate) rounds: usize,
    /// Whether it is counted, not timed: then there are no pairs.
    pub(crate) is_counted: bool,
    /// Whether it has a chart.
    pub(crate) is_telling: bool,
    pub(crate) run: Run,
}

/// How a subject does the work of a case.
pub(crate) type Run = Box<dyn Fn(&Runner, Subject) -> Result<Outcome, String>>;

impl Case {
    /// The first of `subjects` is the reference.
    fn new(
        workload: &'static str,
        metrics: &'static [&'static str],
        subjects: &[&str],
        rounds: usize,
        run: Run,
    ) -> Self {
        let find = |name: &&str| subject::named(name).expect("the lists here name known ones");
        let mut subjects = subjects.iter().map(find);
        Self {
            workload,
            params: Vec::new(),
            metrics,
            reference: subjects.next().expect("a list has a first"),
            others: subjects.collect(),
            rounds,
            is_counted: false,
            is_telling: false,
            run,
        }
    }

    /// The same without pairs.
    fn counted(mut self) -> Self {
        self.is_counted = true;
        self
    }

    /// The same with a chart.
    fn telling(mut self, is_telling: bool) -> Self {
        self.is_telling = is_telling;
        self
    }

    fn param(mut self, name: &'static str, value: impl ToString) -> Self {
        self.params.push((name, value.to_string()));
        self
    }

    /// Whether a parameter has this value.
    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.params
            .iter()
            .any(|param| *param == (name, value.to_owned()))
    }

    /// The parameters, as a heading.
    pub(crate) fn title(&self) -> String {
        let params = self
            .params
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        std::iter::once(self.workload.to_owned())
            .chain(params)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Leaves out whom nobody asked for: the reference always stays.
    pub(crate) fn only(&mut self, wanted: &Wanted) {
        self.others.retain(|subject| wanted.has(*subject));
    }
}

/// Who was asked for.
pub(crate) enum Wanted {
    All,
    /// The most telling ones.
    Quick,
    Named(Vec<Subject>),
}

impl Wanted {
    fn has(&self, subject: Subject) -> bool {
        const QUICK: [&str; 5] = ["tokio", "monoio", "compio-0.19", "glommio", "a10"];
        match self {
            Self::All => true,
            Self::Quick => subject.kind != Kind::Peer || QUICK.contains(&subject.name),
            Self::Named(named) => named.contains(&subject),
        }
    }
}

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Full,
    Quick,
}

impl Effort {
    /// The one or the other.
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A job that is timed.
fn timed(job: Job, warm_up: Duration, window: Duration) -> Run {
    let job = job.timed(warm_up, window);
    Box::new(move |runner, subject| runner.run(subject, &job))
}

/// The workloads, in the order of their tables, and what each does not show.
pub(crate) const WORKLOADS: [Workload; 19] = [
    Workload {
        name: "nop",
        cases: nop::cases,
        not_shown: "what a program gains or loses: NOPs neither wait nor move bytes, so that the \
                    driver's own cost is as visible as it can be. On epoll they complete in place, \
                    without any system call",
        part: Part::Quick,
    },
    Workload {
        name: "echo",
        cases: net::echo,
        not_shown: "a real network, more than one server thread, or what the kernel does on the \
                    load's CPU",
        part: Part::Quick,
    },
    Workload {
        name: "epoll",
        cases: net::on_epoll,
        not_shown: "what io_uring would give",
        part: Part::ByName,
    },
    Workload {
        name: "turn",
        cases: net::turn,
        not_shown: "waiting and waking: all requests are there when a turn begins",
        part: Part::Quick,
    },
    Workload {
        name: "unix",
        cases: net::unix,
        not_shown: "what TCP costs",
        part: Part::Full,
    },
    Workload {
        name: "udp",
        cases: net::udp,
        not_shown: "batches: there is one socket, and one datagram at a time",
        part: Part::Full,
    },
    Workload {
        name: "accept",
        cases: net::accept,
        not_shown: "what a connection does before it is closed",
        part: Part::Quick,
    },
    Workload {
        name: "file",
        cases: file::cases,
        not_shown: "a disk, when buffered: the blocks are in the page cache",
        part: Part::Quick,
    },
    Workload {
        name: "fire",
        cases: time::fire,
        not_shown: "timers of different lengths",
        part: Part::Quick,
    },
    Workload {
        name: "cancel",
        cases: time::cancel,
        not_shown: "timers that fire",
        part: Part::Quick,
    },
    Workload {
        name: "lateness",
        cases: time::lateness,
        not_shown: "a thread that is busy with something else",
        part: Part::Quick,
    },
    Workload {
        name: "spawn",
        cases: time::spawn,
        not_shown: "tasks that do something",
        part: Part::Quick,
    },
    Workload {
        name: "yield",
        cases: time::yield_now,
        not_shown: "tasks that do something",
        part: Part::Quick,
    },
    Workload {
        name: "wake",
        cases: time::wake,
        not_shown: "a thread that is awake",
        part: Part::Full,
    },
    Workload {
        name: "awake",
        cases: time::awake,
        not_shown: "many that wake one thread at once, or what a wake-up costs without a call",
        part: Part::Full,
    },
    Workload {
        name: "memory",
        cases: memory::cases,
        not_shown: "the kernel's memory, which no process has",
        part: Part::Full,
    },
    Workload {
        name: "allocs",
        cases: count::allocations,
        not_shown: "how large they are",
        part: Part::Full,
    },
    Workload {
        name: "syscalls",
        cases: count::calls,
        not_shown: "what the calls cost; and the batches of many connections are those of a \
                    machine at rest",
        part: Part::Full,
    },
    Workload {
        name: "remote",
        cases: remote::cases,
        not_shown: "work beside the operations, which a client could do meanwhile",
        part: Part::ByName,
    },
];

/// When a workload is run that was not named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// With each effort: it is among the most telling ones.
    Quick,
    /// In a full run.
    Full,
    /// Never.
    ByName,
}

impl Part {
    /// Whether it is run with this effort.
    pub(crate) fn is_of(self, effort: Effort) -> bool {
        match self {
            Self::Quick => true,
            Self::Full => effort == Effort::Full,
            Self::ByName => false,
        }
    }
}

/// A workload that can be asked for by name.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) cases: fn(Effort) -> Vec<Case>,
    pub(crate) not_shown: &'static str,
    pub(crate) part: Part,
}

/// The cases whose instructions are counted.
pub(crate) use self::count::instructions;
