//! Pipes of the small runtime on simulated hosts.
//!
//! A program of its own: an end of a pipe is open as long as a child has it that another test has
//! forked, and that has not begun its program yet.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/pipes.rs"]
mod pipes;

use completeio::driver::Driver;
use completeio::sim::{self, Faults, World};
use completeio::task::Runtime;
use pipes::{ends_with_its_writer, fills_and_empties};
use std::future::Future;

fn run(world: &World, future: impl Future<Output = ()>) {
    let driver = world.host("a").driver(Driver::builder()).unwrap();
    Runtime::builder().build_on(driver).block_on(future);
}

#[test]
fn a_full_pipe() {
    sim::check(0..20, &Faults::default(), |world| {
        run(world, fills_and_empties())
    });
}

#[test]
fn a_pipe_ends_with_its_writer() {
    sim::check(0..1, &Faults::none(), |world| {
        run(world, ends_with_its_writer())
    });
}
