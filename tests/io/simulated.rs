//! On simulated hosts.

use crate::buffered::dropped_reads_lose_nothing;
use crate::shared::shared_by_tasks;
use completeio::driver::Driver;
use completeio::net::TcpStream;
use completeio::sim::{Faults, check};
use completeio::task::Runtime;
use std::future::Future;
use std::net;

/// Runs it where completions are late, short, and in spite of their cancellation.
fn simulated<F: Future>(seeds: u64, test: impl Fn((TcpStream, TcpStream)) -> F) {
    check(0..seeds, &Faults::default(), |world| {
        let host = world.host("a");
        let runtime = Runtime::builder().build_on(host.driver(Driver::builder()).unwrap());
        let (one, other) = host.socket_pair().unwrap();
        runtime.block_on(async {
            let stream = |fd| TcpStream::try_from(net::TcpStream::from(fd)).unwrap();
            test((stream(one), stream(other))).await;
        });
    });
}

#[test]
fn a_buffered_read_that_is_dropped_loses_nothing() {
    simulated(20, dropped_reads_lose_nothing);
}

#[test]
fn one_stream_is_shared_by_tasks() {
    simulated(2, shared_by_tasks);
}
