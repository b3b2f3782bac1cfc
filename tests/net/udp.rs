use crate::common::code;
use crate::kit::{errno, poll_once, run, skipped};
use completeio::ancillary::{ControlMessage, Incoming, Outgoing, space};
use completeio::net::UdpSocket;
use completeio::op::SockOpt;
use completeio::task::{block_on, spawn, yield_now};
use std::io::ErrorKind;
use std::net::{self, IpAddr, SocketAddr};
use std::rc::Rc;
use std::thread;

pub(crate) async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// I26.
#[test]
fn datagrams_with_their_senders() {
    run(|| async {
        let (a, at_a) = socket().await;
        let (b, at_b) = socket().await;
        a.send_to("first", at_b).await.0.unwrap();
        a.send_to_vectored(["sec", "ond"], at_b).await.0.unwrap();
        a.send_to("", at_b).await.0.unwrap();
        a.send_to("cut off", at_b).await.0.unwrap();
        let (peeked, text) = b.peek_from([0; 16]).await;
        assert_eq!((peeked.unwrap(), &text[..5]), ((5, at_a), &b"first"[..]));
        let (peeked, text) = b.peek([0; 3]).await;
        assert_eq!((peeked.unwrap(), text), (3, *b"fir"));
        let (received, text) = b.recv_from(Vec::with_capacity(16)).await;
        assert_eq!((received.unwrap(), &text[..]), ((5, at_a), &b"first"[..]));
        let (received, texts) = b.recv_from_vectored([[0; 3], [0; 3]]).await;
        assert_eq!((received.unwrap(), texts), ((6, at_a), [*b"sec", *b"ond"]));
        let (received, _) = b.recv_from([0; 16]).await;
        assert_eq!(received.unwrap(), (0, at_a), "an empty one is no end");
        let (received, text) = b.recv_from([0; 3]).await;
        assert_eq!((received.unwrap(), text), ((3, at_a), *b"cut"));
        let mut next = Box::pin(b.recv([0; 3]));
        assert!(poll_once(&mut next).await.is_none(), "its rest is lost");
    });
}

#[test]
fn connected() {
    run(|| async {
        let (a, at_a) = socket().await;
        let (b, at_b) = socket().await;
        a.send("nowhere").await.0.unwrap_err();
        assert_eq!(errno(a.peer_addr()), code::ENOTCONN);
        a.connect(at_b).await.unwrap();
        assert_eq!(a.peer_addr().unwrap(), at_b);
        let (stranger, _) = socket().await;
        stranger.send_to("not heard", at_a).await.0.unwrap();
        a.send("to").await.0.unwrap();
        b.readable().await.unwrap();
        assert_eq!(b.recv([0; 4]).await.0.unwrap(), 2);
        b.send_to("back", at_a).await.0.unwrap();
        a.send_vectored(["a", "b"]).await.0.unwrap();
        let (received, texts) = a.recv_vectored([[0; 2], [0; 2]]).await;
        assert_eq!((received.unwrap(), texts), (4, [*b"ba", *b"ck"]));
    });
}

/// Nobody takes it, and that is told to the next call.
#[test]
fn connected_to_nobody() {
    run(|| async {
        let (a, _) = socket().await;
        let (b, at_b) = socket().await;
        a.connect(at_b).await.unwrap();
        drop(b);
        a.send("lost").await.0.unwrap();
        assert_eq!(errno(a.recv([0; 4]).await.0), code::NOBODY);
    });
}

#[test]
fn what_is_sent_is_whole() {
    run(|| async {
        let (a, _) = socket().await;
        let (_b, at_b) = socket().await;
        let sent = a.send_to(vec![0; 65_508], at_b).await.0;
        assert_eq!(errno(sent), code::EMSGSIZE);
        let v6 = "[::1]:9".parse().unwrap();
        a.send_to("x", v6).await.0.unwrap_err();
        let error = UdpSocket::bind("no address").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// I26: ECN and the address that it was sent to, of both families; the answer goes out from there.
#[test]
fn what_a_header_says() {
    run(|| async {
        for (any, to, class, info) in [
            (
                "0.0.0.0:0",
                "127.0.0.7",
                SockOpt::RECV_TRAFFIC_CLASS_V4,
                SockOpt::RECV_PACKET_INFO_V4,
            ),
            (
                "[::]:0",
                "::1",
                SockOpt::RECV_TRAFFIC_CLASS_V6,
                SockOpt::RECV_PACKET_INFO_V6,
            ),
        ] {
            let to: IpAddr = to.parse().unwrap();
            let server = match UdpSocket::bind(any).await {
                Ok(server) => server,
                Err(error) => {
                    skipped(any, &error);
                    continue;
                }
            };
            server.set_option(class, true).await.unwrap();
            server.set_option(info, true).await.unwrap();
            let at = SocketAddr::from((to, server.local_addr().unwrap().port()));
            let client = UdpSocket::bind(any).await.unwrap();
            client.connect(at).await.unwrap();
            let mut control = Outgoing::<{ space(4) }>::new();
            match to {
                IpAddr::V4(_) => control.traffic_class_v4(3).unwrap(),
                IpAddr::V6(_) => control.traffic_class_v6(3).unwrap(),
            }
            let (sent, (texts, _)) = client.send_msg(["head", "body"], control).await;
            assert_eq!((sent.unwrap(), texts), (8, ["head", "body"]));

            let room = Incoming::<{ space(4) + space(20) }>::new();
            let (received, (texts, mut control)) = server.recv_msg([[0; 4], [0; 4]], room).await;
            let received = received.unwrap();
            assert_eq!((received.len, texts), (8, [*b"head", *b"body"]));
            assert!(!received.truncated && !received.control_truncated);
            let (mut classes, mut local) = (Vec::new(), None);
            for message in control.messages() {
                match message {
                    ControlMessage::TrafficClass(class) => classes.push(class),
                    ControlMessage::PacketInfo(info) => {
                        assert_eq!(info.destination, to);
                        local = Some((info.local, info.interface));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(classes, [3]);
            let mut control = Outgoing::<{ space(20) }>::new();
            let (local, interface) = local.unwrap();
            control.source(local, interface).unwrap();
            let back = received.addr.as_socket_addr().unwrap();
            server.send_msg_to(["back"], control, back).await.0.unwrap();
            let (received, _) = client.recv_from([0; 4]).await;
            assert_eq!(received.unwrap(), (4, at), "it came from there");

            // Too little room for either is told.
            client.send("too long").await.0.unwrap();
            let (received, _) = server.recv_msg([[0; 3]], Incoming::<8>::new()).await;
            let received = received.unwrap();
            assert!(received.truncated && received.control_truncated);
        }
    });
}

/// I5: 600 of them, and what comes later is for whoever comes later.
#[test]
fn receives_dropped_at_once() {
    run(|| async {
        let (socket, address) = socket().await;
        let socket = Rc::new(socket);
        let receives: Vec<_> = (0..600)
            .map(|_| {
                let socket = socket.clone();
                spawn(async move { socket.recv_from(vec![0; 512].into_boxed_slice()).await.0 })
            })
            .collect();
        yield_now().await;
        yield_now().await;
        receives.iter().for_each(|receive| receive.abort());
        for receive in receives {
            assert!(receive.await.is_err_and(|error| error.is_cancelled()));
        }
        yield_now().await;
        socket.send_to("for you", address).await.0.unwrap();
        let (received, text) = socket.recv_from([0; 7]).await;
        assert_eq!((received.unwrap().0, &text), (7, b"for you"));
    });
}

#[test]
fn taken_over_from_std() {
    run(|| async {
        let socket = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let socket = UdpSocket::try_from(socket).unwrap();
        let peer = thread::spawn(move || {
            let peer = net::UdpSocket::bind("127.0.0.1:0").unwrap();
            peer.send_to(b"hello", address).unwrap();
            let mut text = [0; 8];
            let (n, from) = peer.recv_from(&mut text).unwrap();
            (text[..n].to_vec(), from)
        });
        let (received, _) = socket.recv_from([0; 8]).await;
        let (_, from) = received.unwrap();
        socket.writable().await.unwrap();
        socket.send_to("back", from).await.0.unwrap();
        assert_eq!(peer.join().unwrap(), (b"back".to_vec(), address));
    });
}

/// A receive that nobody waits for is no hindrance to the end.
#[test]
fn left_at_the_end() {
    crate::kit::bounded(|| {
        block_on(async {
            let (socket, _) = socket().await;
            drop(spawn(
                async move { socket.recv_from([0; 8]).await.0.map(drop) },
            ));
            yield_now().await;
            yield_now().await;
        });
    });
}
