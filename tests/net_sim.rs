//! Sockets of the small runtime on simulated hosts, where time, order and faults are drawn.
//!
//! A program of its own, for it counts the descriptors that are left: a descriptor of a simulated
//! host is open as long as a child has it that another test has forked, and that has not begun its
//! program yet.
#![allow(clippy::unwrap_used, reason = "tests")]

use completeio::driver::Driver;
use completeio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use completeio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use completeio::op::SockOpt;
use completeio::sim::{self, Faults, Host, World};
use completeio::task::{Runtime, spawn};
use completeio::time::{Duration, Instant, timeout};
use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

fn on<F: Future>(host: &Host, future: F) -> F::Output {
    let driver = host.driver(Driver::builder()).unwrap();
    Runtime::builder().build_on(driver).block_on(future)
}

/// A server and its clients on one host.
#[test]
fn tcp() {
    sim::check(0..20, &Faults::default(), |world| {
        let bytes: Vec<u8> = (0..1 << 12).flat_map(u32::to_le_bytes).collect();
        on(&world.host("a"), async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).await.unwrap();
            let clients: Vec<_> = (0..3)
                .map(|_| {
                    let bytes = bytes.clone();
                    spawn(async move {
                        let stream = TcpStream::connect("127.0.0.1:80").await.unwrap();
                        stream.set_option(SockOpt::NO_DELAY, true).await.unwrap();
                        let (mut reader, mut writer) = stream.into_split();
                        let all = bytes.clone();
                        let written = spawn(async move {
                            // Dropped, it ends its side.
                            writer.write_all(all).await.0.unwrap();
                        });
                        let (read, back) = reader.read_to_end(Vec::new()).await;
                        read.unwrap();
                        assert!(back == bytes);
                        written.await.unwrap();
                    })
                })
                .collect();
            let mut incoming = listener.incoming();
            for _ in 0..clients.len() {
                let (mut stream, peer) = incoming.next().await.unwrap();
                assert!(peer.ip().is_loopback());
                drop(spawn(async move {
                    let (read, all) = stream.read_to_end(Vec::new()).await;
                    read.unwrap();
                    stream.write_all(all).await.0.unwrap();
                    stream.shutdown().await.unwrap();
                }));
            }
            for client in clients {
                client.await.unwrap();
            }
        });
        assert_eq!(world.open_descriptors(), 0);
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

/// Datagrams may be lost and change places: each round asks until it is answered.
#[test]
fn udp() {
    sim::check(0..20, &Faults::all(), |world| {
        on(&world.host("a"), async {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            let server = UdpSocket::bind(at).await.unwrap();
            drop(spawn(async move {
                loop {
                    let (received, text) = server.recv_from([0; 4]).await;
                    let (_, from) = received.unwrap();
                    server.send_to(text, from).await.0.unwrap();
                }
            }));
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(at).await.unwrap();
            for round in 0..10_u32 {
                let asked = round.to_le_bytes();
                loop {
                    client.send(asked).await.0.unwrap();
                    let answer = timeout(Duration::from_secs(1), client.recv([0; 4]));
                    if answer.await.is_ok_and(|(_, text)| text == asked) {
                        break;
                    }
                }
            }
        });
        assert_eq!(world.open_descriptors(), 0);
    });
}

/// An accept, a receive and a wait that are dropped at some moment leave nothing behind.
#[test]
fn dropped_at_any_moment() {
    sim::check(0..200, &Faults::default(), |world| {
        on(&world.host("a"), async {
            let listener = UnixListener::bind("/socket").await.unwrap();
            let server = spawn(async move {
                for wait in 0..8 {
                    let limit = Duration::from_micros(10 * wait);
                    if let Ok(accepted) = timeout(limit, listener.accept()).await {
                        let (mut stream, _) = accepted.unwrap();
                        drop(timeout(limit, stream.read([0; 8])).await);
                        drop(timeout(limit, stream.readable()).await);
                    }
                }
            });
            for wait in 0..8 {
                let limit = Duration::from_micros(30 * wait);
                let connect = timeout(limit, UnixStream::connect("/socket"));
                if let Ok(Ok(mut stream)) = connect.await {
                    drop(timeout(limit, stream.write("hello")).await);
                }
            }
            server.await.unwrap();
        });
        assert_eq!(world.open_descriptors(), 0);
    });
}
