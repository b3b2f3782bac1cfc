//! Races of each kind of operation that waits: those that lose leave nothing behind, and take
//! nothing with them.
//!
//! A program of its own, for it counts the descriptors of its process.
#![cfg(feature = "runtime")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bounded, open_files, poll_once};
use completeio::ancillary::{Incoming, space};
use completeio::event::Event;
use completeio::io::{AsyncRead, AsyncWrite};
use completeio::net::{TcpListener, TcpStream, UdpSocket};
use completeio::pipe::pipe;
use completeio::task::{CancelToken, block_on, yield_now};
use completeio::time::{Duration, Instant, sleep, timeout, timeout_at};
use futures_lite::future::or;
use std::future::{Future, pending, ready};
use std::pin::pin;

const HOUR: Duration = Duration::from_secs(3600);

/// Has what waits for something that does not happen lose against all kinds of others.
async fn loses(what: &str, mut wait: impl AsyncFnMut()) {
    let over = async {
        wait().await;
        true
    };
    assert!(!or(over, ready(false)).await, "{what}, not submitted");
    let over = async {
        wait().await;
        true
    };
    let other = async {
        yield_now().await;
        yield_now().await;
        false
    };
    assert!(!or(over, other).await, "{what}, in flight");
    timeout(Duration::from_micros(1), wait())
        .await
        .expect_err(what);
    timeout_at(Instant::now(), wait()).await.expect_err(what);
    let token = CancelToken::new();
    let mut waits = Box::pin(token.run(wait()));
    assert!(poll_once(&mut waits).await.is_pending(), "{what}");
    yield_now().await;
    token.cancel();
    waits.await;
}

/// What has something to wait for wins.
async fn wins<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let wait = or(wait, pending());
    timeout(HOUR, wait).await.expect(what)
}

/// Fills a stream.
async fn fill(mut stream: impl AsyncWrite) {
    loop {
        let write = pin!(stream.write(vec![7; 1 << 16]));
        let first = or(async { Some(write.await.0) }, async {
            for _ in 0..100 {
                yield_now().await;
            }
            None
        });
        let Some(written) = first.await else { return };
        written.unwrap();
    }
}

async fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    loses("accept", async || drop(listener.accept().await)).await;
    loses("next", async || drop(listener.incoming().next().await)).await;
    let connect = wins("connect", TcpStream::connect(address)).await;
    let (peer, _) = wins("accept", listener.accept()).await.unwrap();
    let stream = connect.unwrap();
    loses("read", async || drop((&stream).read([0; 8]).await)).await;
    loses("read_vectored", async || {
        drop((&stream).read_vectored([[0; 4]; 2]).await);
    })
    .await;
    loses("peek", async || drop(stream.peek([0; 8]).await)).await;
    loses("readable", async || drop(stream.readable().await)).await;
    assert_eq!((&peer).write(*b"text").await.0.unwrap(), 4);
    wins("readable", stream.readable()).await.unwrap();
    let (read, text) = wins("read", (&stream).read([0; 4])).await;
    assert_eq!((read.unwrap(), &text), (4, b"text"), "nobody else took it");
}

async fn datagrams() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    loses("recv", async || drop(udp.recv([0; 8]).await)).await;
    loses("recv_from", async || drop(udp.recv_from([0; 8]).await)).await;
    loses("recv_from_vectored", async || {
        drop(udp.recv_from_vectored([[0; 4]; 2]).await);
    })
    .await;
    loses("peek_from", async || drop(udp.peek_from([0; 8]).await)).await;
    loses("recv_msg", async || {
        let room = Incoming::<{ space(4) }>::new();
        drop(udp.recv_msg([[0; 8]], room).await);
    })
    .await;
    let address = udp.local_addr().unwrap();
    wins("send_to", udp.send_to("all", address))
        .await
        .0
        .unwrap();
    let (received, text) = wins("recv_from", udp.recv_from([0; 3])).await;
    assert_eq!((received.unwrap(), &text), ((3, address), b"all"));
}

#[cfg(unix)]
async fn unix_sockets() {
    use completeio::ancillary::Outgoing;
    use completeio::net::{UnixDatagram, UnixListener, UnixStream};

    let path = format!("\0races {}", std::process::id());
    let listener = UnixListener::bind(&path).await.unwrap();
    loses("accept", async || drop(listener.accept().await)).await;
    let (a, b) = UnixStream::pair().unwrap();
    loses("recv_msg", async || {
        let room = Incoming::<{ space(4) }>::new();
        drop(a.recv_msg([[0; 8]], room).await);
    })
    .await;
    fill(&a).await;
    loses("write", async || drop((&a).write([1; 8]).await)).await;
    loses("write_vectored", async || {
        drop((&a).write_vectored([[1; 4]; 2]).await);
    })
    .await;
    loses("writable", async || drop(a.writable().await)).await;
    loses("send_msg", async || {
        drop(a.send_msg(["text"], Outgoing::<0>::new()).await)
    })
    .await;
    drop(b);
    let (a, _b) = UnixDatagram::pair().unwrap();
    loses("recv_vectored", async || {
        drop(a.recv_vectored([[0; 4]; 2]).await);
    })
    .await;
}

async fn pipes() {
    let (mut reader, mut writer) = wins("pipe", pipe()).await.unwrap();
    loses("read", async || drop(reader.read([0; 8]).await)).await;
    loses("read_vectored", async || {
        drop(reader.read_vectored([[0; 4]; 2]).await);
    })
    .await;
    writer.write(*b"text").await.0.unwrap();
    let (read, text) = wins("read", reader.read([0; 8])).await;
    assert_eq!((read.unwrap(), &text[..4]), (4, &b"text"[..]));
    fill(&mut writer).await;
    loses("write", async || drop(writer.write([1; 8]).await)).await;
    loses("write_vectored", async || {
        drop(writer.write_vectored([[1; 4]; 2]).await);
    })
    .await;
}

#[cfg(unix)]
async fn children() {
    let (reader, writer) = pipe().await.unwrap();
    let mut cat = completeio::process::Command::new("cat");
    let mut cat = cat.stdin(reader.into_owned_fd().unwrap()).spawn().unwrap();
    loses("wait", async || drop(cat.wait().await)).await;
    drop(writer);
    assert!(wins("wait", cat.wait()).await.unwrap().success());
}

#[test]
fn whoever_loses_leaves_nothing_behind() {
    bounded(|| {
        let before = open_files();
        block_on(async {
            sockets().await;
            datagrams().await;
            pipes().await;
            #[cfg(unix)]
            {
                unix_sockets().await;
                children().await;
            }
            let event = Event::new();
            let never = async || event.wait_until(|| None::<()>).await;
            let lost = timeout(Duration::from_micros(1), never()).await;
            lost.expect_err("an event");
            let lost = timeout(Duration::from_micros(1), sleep(HOUR)).await;
            lost.expect_err("a sleep");
        });
        assert_eq!(open_files(), before);
    });
}
