//! The same on simulated hosts, where time, order and faults are drawn.

use crate::kit::{numbers, read_to_end, write_all};
use completeio::driver::Driver;
use completeio::io::AsyncWrite;
use completeio::net::{TcpListener, TcpStream};
use completeio::op::SockOpt;
use completeio::sim::{self, Faults, Host, World};
use completeio::task::{Runtime, spawn};
use completeio::time::{Duration, Instant};
use std::future::Future;
use std::io::ErrorKind;
use std::net::Ipv4Addr;

fn on<F: Future>(host: &Host, future: F) -> F::Output {
    let driver = host.driver(Driver::builder()).unwrap();
    Runtime::builder().build_on(driver).block_on(future)
}

/// A server and its clients on one host.
#[test]
fn tcp() {
    sim::check(0..20, &Faults::default(), |world| {
        let bytes = numbers(1 << 12);
        on(&world.host("a"), async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).await.unwrap();
            let clients: Vec<_> = (0..3)
                .map(|_| {
                    let bytes = bytes.clone();
                    spawn(async move {
                        let stream = TcpStream::connect("127.0.0.1:80").await.unwrap();
                        stream.set_option(SockOpt::NO_DELAY, true).await.unwrap();
                        let (reader, mut writer) = stream.into_split();
                        let all = bytes.clone();
                        let written = spawn(async move {
                            // Dropped, it ends its side.
                            write_all(&mut writer, all).await.unwrap();
                        });
                        assert!(read_to_end(reader).await.unwrap() == bytes);
                        written.await.unwrap();
                    })
                })
                .collect();
            let mut incoming = listener.incoming();
            for _ in 0..clients.len() {
                let (mut stream, peer) = incoming.next().await.unwrap();
                assert!(peer.ip().is_loopback());
                drop(spawn(async move {
                    let all = read_to_end(&stream).await.unwrap();
                    write_all(&mut &stream, all).await.unwrap();
                    stream.shutdown().await.unwrap();
                }));
            }
            for client in clients {
                client.await.unwrap();
            }
        });
    });
}

/// A host that nobody hears.
#[test]
fn a_connect_that_takes_too_long() {
    let world = World::new(1, Faults::none());
    let [a, b] = ["a", "b"].map(|name| world.host(name));
    world.partition(&a, &b);
    let address = (b.ip(), 80);
    on(&a, async {
        let start = Instant::now();
        let limit = Duration::from_secs(10);
        let error = TcpStream::connect_timeout(address, limit)
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), start.elapsed()),
            (ErrorKind::TimedOut, limit)
        );
    });
    assert_eq!(world.open_descriptors(), 0, "and leaves nothing behind");
}
