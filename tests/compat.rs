//! Connections behind the traits of other crates, driven by those crates.
#![cfg(all(feature = "runtime", feature = "futures-io", feature = "hyper"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/counting.rs"]
mod counting;

use common::{bounded, bytes};
use completeio::compat::{HyperExecutor, HyperTimer, PollStream};
use completeio::net::TcpStream;
use completeio::task::{JoinHandle, block_on, spawn, spawn_blocking, yield_now};
use completeio::time::sleep;
use counting::allocations;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Executor, Timer};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

const BYTES: usize = 4 << 20;

/// Two connected sockets of std.
fn sockets() -> (net::TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let one = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn stream(socket: net::TcpStream) -> PollStream {
    TcpStream::try_from(socket).unwrap().into()
}

async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut future).poll(context))).await
}

/// Echoes more than the system keeps to a peer with a blocking socket.
fn echoes<S: Read + Write + Send + 'static>(
    own: impl FnOnce() -> PollStream + Send + 'static,
    peer: S,
    mut writer: S,
    end: impl FnOnce(S) + Send + 'static,
) {
    bounded(move || {
        let sent = bytes(BYTES);
        let expected = sent.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            end(writer);
        });
        let reading = thread::spawn(move || read_all(peer));
        block_on(async {
            let (mut from, mut to) = split(own());
            assert_eq!(copy(&mut from, &mut to).await.unwrap(), BYTES as u64);
            to.close().await.unwrap();
        });
        writing.join().unwrap();
        assert!(reading.join().unwrap() == expected);
    });
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn tcp_is_echoed_to_its_half_close() {
    let (own, peer) = sockets();
    let writer = peer.try_clone().unwrap();
    let end = |writer: net::TcpStream| writer.shutdown(net::Shutdown::Write).unwrap();
    echoes(move || stream(own), peer, writer, end);
}

/// A socket in blocking mode, as std makes them.
#[cfg(unix)]
#[test]
fn unix_sockets_are_echoed_to_their_half_close() {
    use completeio::net::UnixStream;
    use std::os::unix;

    let (own, peer) = unix::net::UnixStream::pair().unwrap();
    let writer = peer.try_clone().unwrap();
    let end = |writer: unix::net::UnixStream| writer.shutdown(net::Shutdown::Write).unwrap();
    let own = || PollStream::from(UnixStream::try_from(own).unwrap());
    echoes(own, peer, writer, end);
}

#[test]
fn parts_are_written_in_order() {
    bounded(|| {
        block_on(async {
            let (own, peer) = sockets();
            let mut own = stream(own);
            // More than one call takes.
            let text = bytes(3000);
            let parts: Vec<_> = text
                .iter()
                .map(std::slice::from_ref)
                .map(io::IoSlice::new)
                .collect();
            let mut written = 0;
            while written < parts.len() {
                written += own.write_vectored(&parts[written..]).await.unwrap();
            }
            own.flush().await.unwrap();
            drop(own);
            assert!(read_all(peer) == text, "dropping it has closed it");
        });
    });
}

#[test]
fn nothing_is_read_into_no_room_and_ends_are_ends() {
    bounded(|| {
        block_on(async {
            let (own, peer) = sockets();
            let mut own = stream(own);
            assert_eq!(own.read(&mut []).await.unwrap(), 0);
            drop(peer);
            assert_eq!(own.read(&mut [0; 8]).await.unwrap(), 0);
            assert_eq!(own.read(&mut [0; 8]).await.unwrap(), 0);
            let error = loop {
                match own.write(b"to nobody").await {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ));
            own.close().await.unwrap();
        });
    });
}

/// What a write has taken is the system's when the stream is dropped, though no turn follows.
#[test]
fn what_was_written_is_sent_when_the_runtime_ends() {
    let (one, other) = sockets();
    block_on(async {
        stream(one).write_all(b"bye").await.unwrap();
    });
    assert_eq!(read_all(other), b"bye");
}

/// What waits is cancelled with its stream, and the socket is closed.
#[test]
fn streams_are_dropped_while_they_wait() {
    bounded(|| {
        block_on(async {
            for _ in 0..50 {
                let (own, peer) = sockets();
                let mut own = stream(own);
                let mut bytes = [0; 8];
                assert!(poll_once(own.read(&mut bytes)).await.is_pending());
                let full = vec![7; 1 << 24];
                assert!(poll_once(own.write_all(&full)).await.is_pending());
                drop(own);
                spawn_blocking(move || read_all(peer)).await.unwrap();
            }
        });
    });
}

/// A stream whose peer has ended its own side, and reads nothing yet: a wait for room would end at
/// once, each time.
async fn to_who_has_ended() -> (PollStream, net::TcpStream) {
    let (own, peer) = sockets();
    peer.shutdown(net::Shutdown::Write).unwrap();
    let mut own = stream(own);
    assert_eq!(own.read(&mut [0; 8]).await.unwrap(), 0);
    (own, peer)
}

#[test]
fn a_full_stream_of_a_peer_that_has_ended_does_not_spin() {
    bounded(|| {
        block_on(async {
            let (mut own, peer) = to_who_has_ended().await;
            let sent = bytes(1 << 24);
            let expected = sent.clone();
            let polls = Rc::new(Cell::new(0));
            let counter = polls.clone();
            let task = spawn(async move {
                {
                    let mut writing = pin!(own.write_all(&sent));
                    poll_fn(|context| {
                        counter.set(counter.get() + 1);
                        writing.as_mut().poll(context)
                    })
                    .await
                    .unwrap();
                }
                own.flush().await.unwrap();
                own.close().await.unwrap();
            });
            for _ in 0..10_000 {
                yield_now().await;
            }
            // Where it copies it is polled for each part.
            assert!(polls.get() < 1000, "{}", polls.get());
            let reading = thread::spawn(move || read_all(peer));
            task.await.unwrap();
            assert!(reading.join().unwrap() == expected);
        });
    });
}

/// What it was told that is written arrives.
#[test]
fn a_full_stream_of_a_peer_that_has_ended_is_dropped() {
    bounded(|| {
        block_on(async {
            let (mut own, peer) = to_who_has_ended().await;
            let all = bytes(1 << 24);
            let (mut told, mut waits) = (0, 0);
            while waits < 1000 {
                match poll_once(own.write(&all[told..])).await {
                    Poll::Ready(written) => (told, waits) = (told + written.unwrap(), 0),
                    Poll::Pending => {
                        yield_now().await;
                        waits += 1;
                    }
                }
            }
            assert!(told < all.len(), "it is full");
            assert!(
                poll_once(own.flush()).await.is_pending(),
                "a part was copied"
            );
            drop(own);
            let reading = spawn_blocking(move || read_all(peer));
            assert!(reading.await.unwrap() == all[..told]);
        });
    });
}

/// I38: a stream that is always ready.
#[test]
fn a_busy_stream_starves_no_task() {
    bounded(|| {
        block_on(async {
            let (own, peer) = sockets();
            let (ended, mut peer) = (Rc::new(Cell::new(false)), stream(peer));
            let end = ended.clone();
            let beside = spawn(async move {
                sleep(Duration::from_millis(1)).await;
                end.set(true);
            });
            let mut own = stream(own);
            // One task, which never has to wait.
            while !ended.get() {
                own.write_all(b"x").await.unwrap();
                peer.read_exact(&mut [0; 1]).await.unwrap();
            }
            beside.await.unwrap();
        });
    });
}

/// I15.
#[test]
fn a_round_trip_allocates_nothing() {
    bounded(|| {
        block_on(async {
            let (own, peer) = sockets();
            let echo = spawn(async move {
                let (mut from, mut to) = split(stream(peer));
                let mut bytes = [0; 64];
                loop {
                    let n = from.read(&mut bytes).await.unwrap();
                    if n == 0 {
                        break;
                    }
                    to.write_all(&bytes[..n]).await.unwrap();
                }
            });
            let mut own = stream(own);
            let mut before = 0;
            for round in 0..1000 {
                if round == 100 {
                    before = allocations();
                }
                own.write_all(b"a message").await.unwrap();
                let mut answer = [0; 9];
                own.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"a message");
            }
            assert_eq!(allocations() - before, 0);
            own.close().await.unwrap();
            echo.await.unwrap();
        });
    });
}

// hyper.

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = Response::builder().header("path", path);
    Ok(answer.body(Full::new(body)).unwrap())
}

/// A server that gives a client up when that says nothing for so long.
fn serve(stream: PollStream, patience: Duration) -> JoinHandle<hyper::Result<()>> {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(HyperTimer).header_read_timeout(patience);
    spawn(server.serve_connection(stream, service_fn(answer)))
}

/// Bodies of all sizes, one request after the other, both sides on this runtime.
#[test]
fn hyper_serves_hyper() {
    bounded(|| {
        block_on(async {
            let (one, other) = sockets();
            let server = serve(stream(one), Duration::from_secs(3600));
            let client = hyper::client::conn::http1::handshake(stream(other));
            let (mut requests, connection) = client.await.unwrap();
            let connection = spawn(connection);
            for len in [0, 1, 5000, BYTES] {
                let request = Request::post(format!("/{len}"));
                let request = request.body(Full::new(Bytes::from(bytes(len)))).unwrap();
                let response = requests.send_request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(response.headers()["path"], format!("/{len}"));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body == bytes(len), "{len}");
            }
            drop(requests);
            connection.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
        });
    });
}

/// A client that says nothing is given up by hyper's own timeout.
#[test]
fn hyper_has_timeouts() {
    bounded(|| {
        block_on(async {
            let (one, _other) = sockets();
            let server = serve(stream(one), Duration::from_millis(2));
            let error = server.await.unwrap().unwrap_err();
            assert!(error.is_timeout(), "{error}");
        });
    });
}

#[test]
fn hyper_starts_tasks_and_sleeps() {
    bounded(|| {
        block_on(async {
            let ran = Rc::new(Cell::new(false));
            let run = ran.clone();
            HyperExecutor.execute(async move { run.set(true) });
            let start = std::time::Instant::now();
            let mut sleep = HyperTimer.sleep(Duration::from_secs(3600));
            assert!(poll_once(sleep.as_mut()).await.is_pending());
            HyperTimer.reset(&mut sleep, start + Duration::from_millis(2));
            sleep.await;
            assert!(start.elapsed() >= Duration::from_millis(2));
            assert!(ran.get());
        });
    });
}
