//! Who is measured.

use crate::{driver, epoll, load, raw, runtime::Runtime};
use bench::child::{Args, Outcome};
use bench::work;
use completeio_driver::driver::Backend;

/// One of those who do the work. What follows `/` in a name of ours is its backend, or that the
/// file is registered, or that it makes a call more for each answer; clients are threads with a
/// `Remote` to a driver that is not alone; `+` is a peer with the best set-up flags that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A loop on the kernel's interface: the limit.
    ByHand,
    Ours,
    /// In the other program.
    Peer,
}

impl Subject {
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }
}

/// All of them.
pub(crate) const ALL: [Subject; 30] = {
    use Kind::{ByHand, Ours, Peer};
    [
        Subject::new("raw", ByHand),
        Subject::new("raw/fixed", ByHand),
        Subject::new("epoll", ByHand),
        Subject::new("epoll/call", ByHand),
        Subject::new("fio", ByHand),
        Subject::new("driver", Ours),
        Subject::new("driver/fixed", Ours),
        Subject::new("driver/epoll", Ours),
        Subject::new("queue", Ours),
        Subject::new("queue/epoll", Ours),
        Subject::new("scope", Ours),
        Subject::new("scope/epoll", Ours),
        Subject::new("runtime", Ours),
        Subject::new("runtime/epoll", Ours),
        Subject::new("alone", Ours),
        Subject::new("1-client", Ours),
        Subject::new("4-clients", Ours),
        Subject::new("tokio", Peer),
        Subject::new("monoio", Peer),
        Subject::new("monoio+", Peer),
        Subject::new("compio-0.19", Peer),
        Subject::new("compio-0.19+", Peer),
        Subject::new("compio-0.20", Peer),
        Subject::new("compio-0.20+", Peer),
        Subject::new("tokio-uring", Peer),
        Subject::new("tokio-uring+", Peer),
        Subject::new("glommio", Peer),
        Subject::new("a10", Peer),
        Subject::new("a10+", Peer),
        Subject::new("completeio-0.1", Peer),
    ]
};

/// The one of this name.
pub(crate) fn named(name: &str) -> Option<Subject> {
    ALL.into_iter().find(|subject| subject.name == name)
}

/// Does the work of a child process, by what this program has.
pub(crate) fn run(args: &Args) -> Result<Outcome, String> {
    let fixed = || args.clone().with("fixed", 1);
    match args.peer.as_str() {
        load::PEER => load::run(args),
        "raw" => raw::run(args),
        "raw/fixed" => raw::run(&fixed()),
        "epoll" => epoll::run(args),
        "epoll/call" => epoll::run(&args.clone().with("call", 1)),
        "driver" => driver::run(Backend::IoUring, args),
        "driver/fixed" => driver::run(Backend::IoUring, &fixed()),
        "driver/epoll" => driver::run(Backend::Readiness, args),
        "queue" => driver::run_queue(Backend::IoUring, args),
        "queue/epoll" => driver::run_queue(Backend::Readiness, args),
        "scope" => driver::run_scope(Backend::IoUring, args),
        "scope/epoll" => driver::run_scope(Backend::Readiness, args),
        "runtime" => work::run::<Runtime<false>>(args),
        "runtime/epoll" => work::run::<Runtime<true>>(args),
        "alone" => driver::run_remote(0, args),
        "1-client" => driver::run_remote(1, args),
        "4-clients" => driver::run_remote(4, args),
        unknown => Err(format!("no peer {unknown:?}")),
    }
}
