//! TCP.

use super::super::calls::{Call, TCP, TCP_6, To, bytes, word};
use super::compare;
use std::net::Ipv4Addr;

/// 0 listens; 1 is connected to 2.
fn connected() -> Vec<Call> {
    vec![
        TCP,
        Call::Bind(0, To::LOCAL),
        Call::Listen(0, 4),
        TCP,
        Call::Connect(1, To::Name(0)),
        Call::Accept(0),
    ]
}

fn after(mut before: Vec<Call>, calls: &[Call]) {
    before.extend_from_slice(calls);
    compare(&before);
}

#[test]
fn tcp_that_is_not_connected() {
    compare(&[
        TCP,
        Call::Poll(0),
        Call::LocalName(0),
        Call::PeerName(0),
        Call::Recv(0, 5),
        Call::Recv(0, 0),
        Call::Send(0, bytes("hey")),
        Call::Send(0, Vec::new()),
        Call::Accept(0),
        Call::Shutdown(0, libc::SHUT_RD),
        Call::Poll(0),
        Call::Recv(0, 5),
        Call::Shutdown(0, 3),
        Call::Bind(0, To::Ip(Ipv4Addr::new(192, 0, 2, 99).into(), 0)),
        Call::Bind(0, To::LOCAL_6),
        Call::Bind(0, To::Path("path")),
        Call::Bind(0, To::ANY),
        Call::LocalName(0),
        Call::Bind(0, To::ANY),
        Call::Bind(0, To::Ip(Ipv4Addr::new(192, 0, 2, 99).into(), 0)),
        Call::Close(0),
        Call::Close(0),
        Call::Recv(0, 1),
    ]);
    compare(&[
        TCP_6,
        Call::LocalName(0),
        Call::Bind(0, To::LOCAL),
        Call::Bind(0, To::Ip("::ffff:127.0.0.1".parse().unwrap(), 0)),
        Call::LocalName(0),
        Call::Connect(0, To::LOCAL),
        Call::Connect(0, To::LOCAL_6),
        Call::Connect(0, To::Path("path")),
    ]);
}

#[test]
fn tcp_of_both_families() {
    let mapped = To::Ip("::ffff:127.0.0.1".parse().unwrap(), 1);
    let far = To::Ip("203.0.113.9".parse().unwrap(), 1);
    compare(&[
        TCP_6,
        Call::Bind(0, To::LOCAL_6),
        Call::Connect(0, mapped),
        TCP_6,
        Call::Bind(1, To::ANY_6),
        Call::Connect(1, mapped),
        TCP_6,
        Call::Set(2, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, word(1)),
        Call::Connect(2, mapped),
        Call::Bind(2, mapped),
        TCP,
        Call::Bind(3, To::LOCAL),
        Call::Connect(3, far),
        TCP,
        Call::Connect(4, To::ANY),
        Call::Connect(4, To::Unspecified),
        TCP_6,
        Call::Bind(5, To::ANY_6),
        Call::Listen(5, 1),
        TCP,
        TCP_6,
        Call::Bind(6, To::LOCAL),
        Call::Connect(7, To::Name(5)),
        Call::PeerName(7),
        Call::LocalName(7),
        Call::Accept(5),
        Call::PeerName(8),
        Call::LocalName(8),
    ]);
}

#[test]
fn tcp_refused() {
    compare(&[
        TCP,
        Call::Bind(0, To::LOCAL),
        TCP,
        Call::Connect(1, To::Name(0)),
        Call::Poll(1),
        Call::Connect(1, To::Name(0)),
        Call::Get(1, libc::SOL_SOCKET, libc::SO_ERROR),
        Call::Recv(1, 1),
        Call::Bind(1, To::LOCAL),
        Call::Listen(0, 1),
        Call::Connect(1, To::Name(0)),
        Call::Connect(1, To::Name(0)),
        Call::PeerName(1),
        Call::Connect(0, To::Name(0)),
        Call::Connect(1, To::Unspecified),
        Call::PeerName(1),
        Call::Poll(1),
    ]);
}

#[test]
fn tcp_listens() {
    compare(&[
        TCP,
        Call::Listen(0, 0),
        Call::LocalName(0),
        Call::Poll(0),
        Call::Accept(0),
        Call::Recv(0, 1),
        Call::Send(0, bytes("x")),
        Call::PeerName(0),
        Call::Listen(0, 5),
        Call::Bind(0, To::LOCAL),
        TCP,
        Call::Bind(1, To::Name(0)),
        Call::Connect(1, To::Name(0)),
        Call::Poll(0),
        Call::Listen(1, 1),
        Call::Shutdown(0, libc::SHUT_WR),
        Call::Poll(0),
        Call::Accept(0),
        Call::LocalName(2),
        Call::Shutdown(0, libc::SHUT_RD),
        Call::Poll(0),
        Call::Accept(0),
        Call::Send(2, bytes("still")),
        Call::Recv(1, 10),
        Call::Listen(0, 1),
    ]);
}

#[test]
fn tcp_shares_addresses() {
    let reuse = |place, name| Call::Set(place, libc::SOL_SOCKET, name, word(1));
    let bound = |more: &[Call]| {
        after(
            vec![
                TCP,
                TCP,
                reuse(0, libc::SO_REUSEADDR),
                Call::Bind(0, To::LOCAL),
            ],
            more,
        );
    };
    bound(&[Call::Bind(1, To::Name(0))]);
    bound(&[
        reuse(1, libc::SO_REUSEADDR),
        Call::Bind(1, To::Name(0)),
        Call::Listen(0, 1),
        Call::Listen(1, 1),
    ]);
    bound(&[
        Call::Listen(0, 1),
        reuse(1, libc::SO_REUSEADDR),
        Call::Bind(1, To::Name(0)),
        Call::Set(1, libc::SOL_SOCKET, libc::SO_REUSEPORT, word(1)),
        Call::Bind(1, To::Name(0)),
    ]);
    compare(&[
        TCP,
        TCP,
        reuse(0, libc::SO_REUSEPORT),
        reuse(1, libc::SO_REUSEPORT),
        Call::Bind(0, To::ANY),
        Call::Bind(1, To::Name(0)),
        Call::Listen(0, 1),
        Call::Listen(1, 1),
        TCP,
        Call::Bind(2, To::Name(0)),
        reuse(2, libc::SO_REUSEPORT),
        Call::Bind(2, To::Name(0)),
        Call::Listen(2, 1),
    ]);
    // A connection of a listener that is gone.
    after(
        connected(),
        &[Call::Close(0), TCP, Call::Bind(3, To::Name(0))],
    );
    compare(&[
        TCP_6,
        Call::Bind(0, To::ANY_6),
        Call::LocalName(0),
        TCP,
        Call::Listen(0, 1),
        Call::Set(0, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, word(1)),
        Call::Get(0, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    ]);
}

#[test]
fn tcp_sends_and_ends() {
    after(
        connected(),
        &[
            Call::Poll(1),
            Call::Poll(2),
            Call::Connect(1, To::Name(0)),
            Call::Bind(1, To::LOCAL),
            Call::Listen(1, 1),
            Call::Accept(1),
            Call::PeerName(1),
            Call::LocalName(2),
            Call::Recv(2, 5),
            Call::Recv(2, 0),
            Call::Send(1, bytes("hello")),
            Call::Recv(2, 0),
            Call::Peek(2, 2),
            Call::Recv(2, 2),
            Call::Recv(2, 20),
            Call::SendTo(1, bytes("to"), To::Name(0)),
            Call::Shutdown(1, libc::SHUT_WR),
            Call::Shutdown(1, libc::SHUT_WR),
            Call::Send(1, bytes("x")),
            Call::Poll(1),
            Call::Poll(2),
            Call::Recv(2, 20),
            Call::Recv(2, 20),
            Call::Poll(2),
            Call::Send(2, bytes("back")),
            Call::Recv(1, 20),
            Call::Close(2),
            Call::Poll(1),
            Call::Recv(1, 20),
            Call::PeerName(1),
            Call::Shutdown(1, libc::SHUT_RDWR),
        ],
    );
    after(
        connected(),
        &[
            Call::Shutdown(1, libc::SHUT_RD),
            Call::Poll(1),
            Call::Recv(1, 5),
            Call::Send(2, bytes("late")),
            Call::Recv(1, 5),
            Call::Recv(1, 5),
            Call::Send(1, bytes("ok")),
            Call::Recv(2, 5),
        ],
    );
}

#[test]
fn tcp_resets() {
    // Closed with bytes unread.
    after(
        connected(),
        &[
            Call::Send(1, bytes("unread")),
            Call::Send(2, bytes("kept")),
            Call::Close(2),
            Call::Poll(1),
            Call::Recv(1, 2),
            Call::PeerName(1),
            Call::Recv(1, 5),
            Call::Recv(1, 5),
            Call::Recv(1, 5),
            Call::Send(1, bytes("x")),
            Call::Poll(1),
            Call::Connect(1, To::Name(0)),
            Call::Shutdown(1, libc::SHUT_WR),
        ],
    );
    // Closed, and then sent to.
    after(
        connected(),
        &[
            Call::Close(2),
            Call::Poll(1),
            Call::Send(1, bytes("x")),
            Call::Poll(1),
            Call::Recv(1, 5),
            Call::Send(1, bytes("y")),
            Call::Send(1, bytes("z")),
            Call::Get(1, libc::SOL_SOCKET, libc::SO_ERROR),
        ],
    );
    let linger = [word(1), word(0)].concat();
    let linger = |place| Call::Set(place, libc::SOL_SOCKET, libc::SO_LINGER, linger.clone());
    after(
        connected(),
        &[
            linger(2),
            Call::Close(2),
            Call::Poll(1),
            Call::Send(1, bytes("x")),
            Call::Send(1, bytes("x")),
            Call::Recv(1, 5),
            Call::Recv(1, 5),
        ],
    );
    after(
        connected(),
        &[
            linger(2),
            Call::Close(2),
            Call::Poll(1),
            Call::Get(1, libc::SOL_SOCKET, libc::SO_ERROR),
            Call::Get(1, libc::SOL_SOCKET, libc::SO_ERROR),
            Call::Recv(1, 5),
        ],
    );
    // Reset before it was accepted.
    compare(&[
        TCP,
        Call::Bind(0, To::LOCAL),
        Call::Listen(0, 1),
        TCP,
        linger(1),
        Call::Connect(1, To::Name(0)),
        Call::Poll(0),
        Call::Close(1),
        Call::Poll(0),
        Call::Accept(0),
        Call::Poll(2),
        Call::PeerName(2),
        Call::Recv(2, 1),
        Call::Recv(2, 1),
    ]);
    // The listener goes.
    compare(&[
        TCP,
        Call::Bind(0, To::LOCAL),
        Call::Listen(0, 1),
        TCP,
        Call::Connect(1, To::Name(0)),
        Call::Close(0),
        Call::Poll(1),
        Call::Recv(1, 1),
    ]);
}

#[test]
fn a_full_backlog() {
    compare(&[
        TCP,
        Call::Bind(0, To::LOCAL),
        Call::Listen(0, 1),
        TCP,
        TCP,
        TCP,
        Call::Connect(1, To::Name(0)),
        Call::Connect(2, To::Name(0)),
        Call::Connect(3, To::Name(0)),
        Call::Poll(3),
        Call::Send(3, bytes("x")),
        Call::Recv(3, 5),
        Call::PeerName(3),
        Call::LocalName(3),
        Call::Connect(3, To::Name(0)),
        Call::Shutdown(3, libc::SHUT_WR),
        Call::Poll(3),
        Call::Get(3, libc::SOL_SOCKET, libc::SO_ERROR),
        Call::Recv(3, 1),
    ]);
}
