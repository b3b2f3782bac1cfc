use crate::common::code;
use crate::kit::{bounded, errno, numbers, poll_once, read_to_end, run};
use completeio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use completeio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use completeio::op::{Linger, SockOpt};
use completeio::task::{block_on, spawn, yield_now};
use completeio::time::Duration;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{self, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::{io, thread};

pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A connection, and its peer of std's.
async fn connection() -> (TcpStream, net::TcpStream) {
    let (listener, address) = listener().await;
    let peer = net::TcpStream::connect(address).unwrap();
    (listener.accept().await.unwrap().0, peer)
}

/// Sends back what comes, until the end, and ends its side then.
pub(crate) async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        let (read, text) = (&stream).read(buffer).await;
        if read? == 0 {
            return (&stream).shutdown().await;
        }
        let (written, text) = (&stream).write_all(text).await;
        written?;
        buffer = text;
        buffer.clear();
    }
}

/// I25: each side ends by itself; what was sent before is still delivered.
#[test]
fn half_closed() {
    run(|| async {
        let (listener, address) = listener().await;
        let bytes = numbers(1 << 18);
        let client = thread::spawn({
            let bytes = bytes.clone();
            move || {
                let stream = net::TcpStream::connect(address).unwrap();
                thread::scope(|scope| {
                    scope.spawn(|| {
                        (&stream).write_all(&bytes).unwrap();
                        stream.shutdown(net::Shutdown::Write).unwrap();
                    });
                    let mut back = Vec::new();
                    (&stream).read_to_end(&mut back).unwrap();
                    assert!(back == bytes, "{} bytes differ", back.len());
                });
            }
        });
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, stream.peer_addr().unwrap());
        assert_eq!(address, stream.local_addr().unwrap());
        echo(stream).await.unwrap();
        client.join().unwrap();
    });
}

/// I25, I24: a reset is an error, and no signal.
#[test]
fn reset_by_the_peer() {
    run(|| async {
        let (mut stream, peer) = connection().await;
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        assert_eq!(errno(stream.read([0; 4]).await.0), code::ECONNRESET);
        assert_eq!(errno(stream.write("x").await.0), code::NO_PEER);
        assert_eq!(
            errno(stream.write_vectored(["x", "y"]).await.0),
            code::NO_PEER
        );
        if cfg!(unix) {
            assert_eq!(stream.read([0; 4]).await.0.unwrap(), 0, "it was told");
        }

        let (stream, mut peer) = connection().await;
        stream
            .set_option(SockOpt::LINGER, Linger::RESET)
            .await
            .unwrap();
        drop(stream);
        assert_eq!(errno(peer.read(&mut [0; 4])), code::ECONNRESET);
    });
}

/// A port on which nobody listens.
fn nobody() -> SocketAddr {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn no_peer() {
    run(|| async {
        let refused = TcpStream::connect(nobody()).await;
        assert_eq!(errno(refused), code::ECONNREFUSED);
        let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
        let errors = [
            errno(TcpStream::connect(nowhere).await),
            errno(net::TcpStream::connect(nowhere)),
        ];
        assert_eq!(errors, [code::ENETUNREACH; 2]);
        let taken = listener().await;
        assert_eq!(errno(TcpListener::bind(taken.1).await), code::EADDRINUSE);
    });
}

#[test]
fn addresses_are_tried_in_turn() {
    run(|| async {
        let (listener, address) = listener().await;
        let nowhere: SocketAddr = "255.255.255.255:9".parse().unwrap();
        let stream = TcpStream::connect(&[nowhere, nobody(), address][..]).await;
        let peer = listener.accept().await.unwrap().1;
        assert_eq!(stream.unwrap().local_addr().unwrap(), peer);
        let none = TcpStream::connect(&[nobody(), nowhere][..]).await;
        assert_eq!(errno(none), code::ENETUNREACH, "the last one's");
        let none = TcpStream::connect(&[][..]).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::InvalidInput);
        let addresses = [address, "127.0.0.1:0".parse().unwrap()];
        let other = TcpListener::bind(&addresses[..]).await.unwrap();
        assert_ne!(other.local_addr().unwrap(), address);
    });
}

#[test]
fn names_and_what_is_none() {
    run(|| async {
        let (listener, address) = listener().await;
        let port = address.port();
        let text = address.to_string();
        for stream in [
            TcpStream::connect(("localhost", port)).await,
            TcpStream::connect(format!("localhost:{port}")).await,
            TcpStream::connect(&text).await,
            TcpStream::connect(&*text).await,
            TcpStream::connect(("127.0.0.1", port)).await,
            TcpStream::connect((address.ip(), port)).await,
        ] {
            let stream = stream.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            listener.accept().await.unwrap();
        }
        for bad in ["", "localhost", "127.0.0.1", "[::1]", "localhost:70000"] {
            let error = TcpStream::connect(bad).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}: {error}");
        }
        assert!(TcpStream::connect("no-such-host.invalid:1").await.is_err());
        let found: Vec<_> = lookup_host(("::1", 7)).await.unwrap().collect();
        assert_eq!(found, [SocketAddr::from((Ipv6Addr::LOCALHOST, 7))]);
        assert!(
            lookup_host("localhost:7")
                .await
                .unwrap()
                .all(|a| a.ip().is_loopback()),
            "looked up by the system"
        );
    });
}

/// I16, I35: whoever was taken by an accept that is dropped is closed.
#[test]
fn an_accept_that_is_dropped_leaves_no_connection_behind() {
    const ROUNDS: usize = 300;
    bounded(|| {
        let (send, peers) = mpsc::channel();
        block_on(async {
            let (listener, address) = listener().await;
            let connecting = thread::spawn(move || {
                for _ in 0..ROUNDS {
                    send.send(net::TcpStream::connect(address).unwrap())
                        .unwrap();
                }
            });
            for turns in 0..4 * ROUNDS {
                let mut accept = Box::pin(listener.accept());
                for _ in 0..=turns % 4 {
                    if poll_once(&mut accept).await.is_some() {
                        break;
                    }
                    yield_now().await;
                }
            }
            connecting.join().unwrap();
        });
        // What had leaked would never end.
        let peers: Vec<_> = peers.iter().collect();
        assert_eq!(peers.len(), ROUNDS);
        for mut peer in peers {
            let end = peer.read(&mut [0; 1]);
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        }
    });
}

/// An accept that goes on keeps whoever came while nobody looked.
#[test]
fn incoming_loses_no_connection() {
    run(|| async {
        let (listener, address) = listener().await;
        let mut incoming = listener.incoming();
        let mut peers = Vec::new();
        for _ in 0..100 {
            let mut next = Box::pin(incoming.next());
            assert!(poll_once(&mut next).await.is_none());
            drop(next);
            peers.push(net::TcpStream::connect(address).unwrap());
            yield_now().await;
            yield_now().await;
            let (_stream, peer) = incoming.next().await.unwrap();
            assert_eq!(peer, peers.last().unwrap().local_addr().unwrap());
        }
    });
}

/// I5: what 600 receives wait for is given up, and takes no byte from whoever comes after them.
#[test]
fn six_hundred_receives_dropped_at_once() {
    bounded(|| {
        for abort in [true, false] {
            let mut peer = block_on(async {
                let (stream, mut peer) = connection().await;
                let stream = Rc::new(stream);
                let reads: Vec<_> = (0..600)
                    .map(|_| {
                        let stream = stream.clone();
                        spawn(async move { (&*stream).read(Vec::with_capacity(4096)).await.0 })
                    })
                    .collect();
                yield_now().await;
                yield_now().await;
                if abort {
                    reads.iter().for_each(|read| read.abort());
                    for read in reads {
                        assert!(read.await.is_err_and(|error| error.is_cancelled()));
                    }
                    // A turn hands the cancellations over.
                    yield_now().await;
                    peer.write_all(b"for you").unwrap();
                    let (read, text) = (&*stream).read([0; 16]).await;
                    assert_eq!(&text[..read.unwrap()], b"for you");
                }
                peer
            });
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "it was closed");
        }
    });
}

/// I34.
#[test]
fn two_readers_of_one_socket() {
    run(|| async {
        let (stream, mut peer) = connection().await;
        let read = || async {
            let (read, text) = (&stream).read([0; 3]).await;
            assert_eq!(read.unwrap(), 3);
            text
        };
        let mut reads = [Box::pin(read()), Box::pin(read())];
        for read in &mut reads {
            assert!(poll_once(read).await.is_none());
        }
        peer.write_all(b"onetwo").unwrap();
        let [one, two] = reads;
        let mut texts = [one.await, two.await];
        texts.sort();
        assert_eq!(texts, [*b"one", *b"two"]);
    });
}

/// I35: where the backlog is full nobody answers.
#[test]
fn a_connect_that_takes_too_long() {
    run(|| async {
        let socket = TcpSocket::new_v4().await.unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let listener = socket.listen(1).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut streams = Vec::new();
        let error = loop {
            match TcpStream::connect_timeout(address, Duration::from_millis(50)).await {
                Ok(stream) => streams.push(stream),
                Err(error) => break error,
            }
            assert!(streams.len() < 100, "the backlog has no end");
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        for stream in streams {
            let peer = listener.accept().await.unwrap().1;
            assert_eq!(stream.local_addr().unwrap(), peer);
        }
    });
}

#[test]
fn an_accept_that_waits_at_the_end() {
    bounded(|| {
        let address = block_on(async {
            let (listener, address) = listener().await;
            drop(spawn(async move { listener.accept().await.map(drop) }));
            yield_now().await;
            yield_now().await;
            address
        });
        assert_eq!(
            errno(net::TcpStream::connect(address)),
            code::ECONNREFUSED,
            "it was closed"
        );
    });
}

#[test]
fn options() {
    run(|| async {
        let (stream, _peer) = connection().await;
        assert!(!stream.nodelay().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.option(SockOpt::NO_DELAY).await.unwrap());
        stream.set_option(SockOpt::KEEP_ALIVE, true).await.unwrap();
        let by_others = socket2::SockRef::from(&stream);
        assert!(by_others.keepalive().unwrap());
        by_others.set_linger(Some(Duration::from_secs(7))).unwrap();
        let linger = stream.option(SockOpt::LINGER).await.unwrap();
        assert_eq!(linger.duration(), Some(Duration::from_secs(7)));

        let bound = TcpSocket::new_v4().await.unwrap();
        bound.bind("127.0.0.9:0".parse().unwrap()).await.unwrap();
        let (listener, address) = listener().await;
        let shares = listener.option(SockOpt::REUSE_ADDR).await.unwrap();
        assert_eq!(shares, cfg!(unix), "with any program, on Windows");
        let _stream = bound.connect(address).await.unwrap();
        let peer = listener.accept().await.unwrap().1;
        assert_eq!(peer.ip().to_string(), "127.0.0.9");
        TcpSocket::new_v6().await.unwrap();
    });
}

#[test]
fn halves() {
    run(|| async {
        let (mut stream, mut peer) = connection().await;
        let (mut reader, mut writer) = stream.split();
        let mut read = Box::pin(reader.read([0; 2]));
        assert!(poll_once(&mut read).await.is_none());
        writer.write_vectored(["be", "side"]).await.0.unwrap();
        let mut text = [0; 6];
        peer.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"beside");
        peer.write_all(b"it").unwrap();
        assert_eq!(read.await.1, *b"it");
        writer.flush().await.unwrap();

        let (reader, writer) = stream.into_split();
        let (other, _peer) = connection().await;
        let (other_reader, other_writer) = other.into_split();
        let error = reader.reunite(other_writer).unwrap_err();
        assert_eq!(error.to_string(), "the halves are of two connections");
        let completeio::net::ReuniteError(reader, other_writer) = error;
        let other = other_writer.reunite(other_reader).unwrap();
        assert!(other.peer_addr().is_ok());
        let stream = reader.reunite(writer).unwrap();
        (&stream).write("still open").await.0.unwrap();
        let mut text = [0; 10];
        peer.read_exact(&mut text).unwrap();

        let (mut reader, writer) = stream.into_split();
        writer.forget();
        let mut read = Box::pin(reader.read([0; 2]));
        assert!(poll_once(&mut read).await.is_none());
        peer.set_nonblocking(true).unwrap();
        assert_eq!(errno(peer.read(&mut [0; 1])), code::EAGAIN, "it goes on");
        peer.set_nonblocking(false).unwrap();
        drop(read);
        drop(reader);
        // What waited holds the socket open until it is cancelled.
        yield_now().await;
        yield_now().await;
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    });
}

/// I25: a writing half that is dropped ends its side; the other one goes on.
#[test]
fn a_dropped_half_ends_its_side() {
    run(|| async {
        let (stream, mut peer) = connection().await;
        let (reader, mut writer) = stream.into_split();
        writer.write("last words").await.0.unwrap();
        drop(writer);
        let ended = thread::spawn(move || {
            let mut text = Vec::new();
            peer.read_to_end(&mut text).unwrap();
            (peer, text)
        });
        while !ended.is_finished() {
            yield_now().await;
        }
        let (mut peer, text) = ended.join().unwrap();
        assert_eq!(text, b"last words");
        peer.write_all(&numbers(1000)).unwrap();
        drop(peer);
        assert_eq!(read_to_end(reader).await.unwrap(), numbers(1000));
    });
}

#[test]
fn looked_at_and_waited_for() {
    run(|| async {
        let (mut stream, mut peer) = connection().await;
        stream.writable().await.unwrap();
        let mut readable = Box::pin(stream.readable());
        assert!(poll_once(&mut readable).await.is_none());
        drop(readable);
        peer.write_all(b"here").unwrap();
        stream.readable().await.unwrap();
        for _ in 0..2 {
            let (read, text) = stream.peek(Vec::with_capacity(8)).await;
            assert_eq!((read.unwrap(), &text[..]), (4, &b"here"[..]));
        }
        let (read, texts) = stream.read_vectored([[0; 1], [0; 1]]).await;
        assert_eq!((read.unwrap(), texts), (2, [*b"h", *b"e"]));
        assert_eq!(stream.read([0; 8]).await.0.unwrap(), 2);
    });
}

#[test]
fn taken_over_from_std() {
    run(|| async {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let listener = TcpListener::try_from(listener).unwrap();
        let mut stream = TcpStream::try_from(stream).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        (&accepted).write("hello").await.0.unwrap();
        assert_eq!(stream.read([0; 8]).await.0.unwrap(), 5);
    });
}

/// I25: a peer that has gone before it was accepted.
#[test]
fn reset_before_it_was_accepted() {
    run(|| async {
        let (listener, address) = listener().await;
        let peer = net::TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&peer)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        // Linux gives it all the same.
        match listener.accept().await {
            Ok((mut stream, _)) => {
                assert_eq!(errno(stream.read([0; 1]).await.0), code::ECONNRESET);
                assert_eq!(errno(stream.peer_addr()), code::ENOTCONN);
            }
            Err(error) if cfg!(unix) => panic!("{error}"),
            Err(_gone) => {}
        }
        let peer = net::TcpStream::connect(address).unwrap();
        let accepted = listener.accept().await.unwrap().1;
        assert_eq!(accepted, peer.local_addr().unwrap());
    });
}

/// A future that nobody polls again does not hold up the runtime's end.
#[test]
fn left_at_the_end() {
    bounded(|| {
        let (reader, peer) = block_on(async {
            let (stream, peer) = connection().await;
            let stream = Rc::new(stream);
            let other = stream.clone();
            let mut read = Box::pin(async move { (&*other).read([0; 4]).await.0 });
            assert!(poll_once(&mut read).await.is_none());
            drop(spawn(pending::<()>()));
            (read, peer)
        });
        drop(reader);
        drop(peer);
    });
}
