//! Making sockets, their options, and pipes.

use super::super::calls::{Call, TCP, TCP_6, To, UDP, UNIX, UNIX_DGRAM, bytes, word};
use super::compare;

#[test]
fn sockets_are_made_as_the_kernel_makes_them() {
    for domain in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, 200] {
        for kind in [-1, 0, 1, 2, 4, 5, 6, 11] {
            for protocol in [0, 1, 6, 17, 132] {
                let raw = protocol == 132 || (kind, protocol) == (2, 1);
                if raw && domain != libc::AF_UNIX {
                    continue;
                }
                compare(&[Call::Socket(domain, kind, protocol)]);
            }
        }
    }
}

#[test]
fn options() {
    let numbers = [
        libc::SO_REUSEADDR,
        libc::SO_REUSEPORT,
        libc::SO_KEEPALIVE,
        libc::SO_SNDBUF,
        libc::SO_RCVBUF,
        libc::SO_TYPE,
        libc::SO_ERROR,
        9999,
    ];
    for socket in [TCP, TCP_6, UDP, UNIX, UNIX_DGRAM] {
        let mut calls = vec![socket, Call::Poll(0)];
        for name in numbers {
            let level = libc::SOL_SOCKET;
            // How large the buffers are at first is the machine's affair.
            if ![libc::SO_SNDBUF, libc::SO_RCVBUF].contains(&name) {
                calls.push(Call::Get(0, level, name));
            }
            for value in [5, 0, 1, 10_000] {
                calls.push(Call::Set(0, level, name, word(value)));
                calls.push(Call::Get(0, level, name));
            }
            calls.push(Call::Set(0, level, name, vec![1; 3]));
        }
        let name = libc::SO_LINGER;
        for value in [
            [word(5), word(7)].concat(),
            [word(0), word(9)].concat(),
            word(1),
        ] {
            calls.push(Call::Set(0, libc::SOL_SOCKET, name, value));
            calls.push(Call::Get(0, libc::SOL_SOCKET, name));
        }
        for (level, name) in [
            (libc::IPPROTO_TCP, libc::TCP_NODELAY),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            (libc::IPPROTO_TCP, 9999),
            (9999, 1),
        ] {
            calls.push(Call::Get(0, level, name));
            calls.push(Call::Set(0, level, name, word(3)));
            calls.push(Call::Get(0, level, name));
        }
        compare(&calls);
    }
    compare(&[
        Call::Pipe,
        Call::Get(0, libc::SOL_SOCKET, libc::SO_TYPE),
        Call::Recv(0, 1),
        Call::Send(1, bytes("x")),
        Call::Bind(0, To::LOCAL),
        Call::Listen(1, 0),
        Call::Shutdown(1, 7),
        Call::LocalName(0),
    ]);
}

#[test]
fn pipes() {
    compare(&[
        Call::Pipe,
        Call::Poll(0),
        Call::Poll(1),
        Call::Read(0, 5),
        Call::Read(0, 0),
        Call::Read(1, 5),
        Call::Write(0, bytes("x")),
        Call::Write(1, Vec::new()),
        Call::Write(1, bytes("hello")),
        Call::Poll(0),
        Call::Read(0, 2),
        Call::Write(1, vec![7; 70_000]),
        Call::Poll(1),
        Call::Write(1, vec![8; 4_096]),
        Call::Write(1, bytes("x")),
        Call::Read(0, 4_090),
        Call::Poll(1),
        Call::Write(1, vec![8; 4_096]),
        Call::Read(0, 10),
        Call::Write(1, vec![8; 4_096]),
        Call::Close(1),
        Call::Poll(0),
        Call::Read(0, 100_000),
        Call::Poll(0),
        Call::Read(0, 1),
        Call::Pipe,
        Call::Close(2),
        Call::Poll(3),
        Call::Write(3, Vec::new()),
        Call::Write(3, bytes("x")),
    ]);
}
