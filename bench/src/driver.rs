//! The driver alone: its raw layer, and its safe one.

mod accept;
mod echo;
mod file;
mod nop;
mod remote;
mod udp;

use crate::by_hand;
use bench::child::{Args, Outcome};
use bench::work::unknown_workload;
use completeio_driver::driver::{Backend, Builder, Driver};

/// A driver on this backend.
pub(crate) fn builder(backend: Backend) -> Builder {
    Driver::builder().backend(backend)
}

/// Does what is asked for on the raw layer.
pub(crate) fn run(backend: Backend, args: &Args) -> Result<Outcome, String> {
    let builder = builder(backend);
    match args.workload.as_str() {
        "nop" => nop::try_push(builder, args),
        "echo" | "turn" => by_hand::echo(args, |sockets, room, serve| {
            echo::run(builder, sockets, room, serve)
        }),
        "udp" => udp::run(builder, args),
        "accept" => accept::run(builder, args),
        "file" => file::run(builder, args),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Does NOPs from a queue.
pub(crate) fn run_queue(backend: Backend, args: &Args) -> Result<Outcome, String> {
    match args.workload.as_str() {
        "nop" => nop::push_queue(builder(backend), args),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Does NOPs in a scope.
pub(crate) fn run_scope(backend: Backend, args: &Args) -> Result<Outcome, String> {
    match args.workload.as_str() {
        "nop" => nop::scope(builder(backend), args),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Does operations by a driver of the own thread, or by one that `clients` share.
pub(crate) fn run_remote(clients: usize, args: &Args) -> Result<Outcome, String> {
    let backend = match args.need::<String>("backend")?.as_str() {
        "epoll" => Backend::Readiness,
        _ => Backend::IoUring,
    };
    match args.workload.as_str() {
        "remote" => remote::run(builder(backend), clients, args),
        unknown => Err(unknown_workload(unknown)),
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
