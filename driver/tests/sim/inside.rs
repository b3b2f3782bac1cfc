//! Buffers, tables, addresses and numbers that lie inside of their operations: made to be run by
//! Miri, which sees every borrow of an operation that comes after the address of a part of it was
//! taken.

use crate::kit::{create, done, run};
use completeio_driver::address::Address;
use completeio_driver::buf::IntoInner;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsFd, Cwd, Driver};
use completeio_driver::op::{
    Accept, Bind, Connect, Deadline, Exact, GetPathXattr, GetSockOpt, GetXattr, Listen, Pipe, Read,
    ReadAt, ReadVectored, ReadVectoredAt, Recv, RecvFrom, RecvFromVectored, RecvVectored, Send,
    SendTo, SendToVectored, SendVectored, SetPathXattr, SetSockOpt, SetXattr, SockOpt, Socket,
    Stat, StatAt, Timeout, TimeoutUpdate, Write, WriteAt, WriteVectored, WriteVectoredAt,
};
use completeio_driver::scope::Event;
use completeio_driver::sim::{self, Faults, World};
use std::net::SocketAddr;
use std::time::Duration;

/// Runs `test` with late entries, short transfers, and with neither.
fn each(test: impl Fn(&World)) {
    let shorter = Faults {
        short: 1.0,
        burst: 0.5,
        ..Faults::none()
    };
    for faults in [Faults::none(), shorter] {
        sim::check(0..1, &faults, &test);
    }
}

/// What a vectored receive of two parts of 2 bytes has got.
fn joined(parts: [[u8; 2]; 2], n: usize) -> Vec<u8> {
    parts.concat()[..n].to_vec()
}

#[test]
fn files() {
    each(|world| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let d = &mut driver;
        let file = done(d, create(c"f"));
        assert_eq!(
            done(d, Exact::new(WriteAt::new(file.as_fd(), 0, *b"abcd"))),
            4
        );
        let read = Exact::new(ReadAt::new(file.as_fd(), 0, [0; 4]));
        assert_eq!(run(d, read).1.into_inner(), *b"abcd");
        let parts = [*b"ef", *b"gh"];
        assert_eq!(
            done(d, Exact::new(WriteVectoredAt::new(file.as_fd(), 0, parts))),
            4
        );
        let late = Instant::now() + Duration::from_secs(1);
        let read = Exact::new(ReadVectoredAt::new(file.as_fd(), 0, [[0; 2]; 2]));
        let (read, op) = run(d, Deadline::at(read, late));
        assert_eq!(joined(op.into_inner().into_inner(), read.unwrap()), b"efgh");
        assert_eq!(done(d, Stat::new(file.as_fd())).size(), 4);
        assert_eq!(done(d, StatAt::new(Cwd, c"f")).size(), 4);
        done(d, SetXattr::new(file.as_fd(), c"user.a", *b"one"));
        let (n, op) = run(d, GetXattr::new(file.as_fd(), c"user.a", [0; 3]));
        assert_eq!((n.unwrap(), op.into_inner().2), (3, *b"one"));
        done(d, SetPathXattr::new(c"f", c"user.a", *b"two"));
        let (n, op) = run(d, GetPathXattr::new(c"f", c"user.a", [0; 3]));
        assert_eq!((n.unwrap(), op.into_inner().2), (3, *b"two"));
    });
}

#[test]
fn streams() {
    each(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let d = &mut driver;
        let (reader, writer) = done(d, Pipe::new());
        assert_eq!(done(d, Exact::new(Write::new(writer.as_fd(), *b"abcd"))), 4);
        let read = Exact::new(Read::new(reader.as_fd(), [0; 4]));
        assert_eq!(run(d, read).1.into_inner(), *b"abcd");
        let parts = [*b"ef", *b"gh"];
        assert_eq!(
            done(d, Exact::new(WriteVectored::new(writer.as_fd(), parts))),
            4
        );
        let read = Exact::new(ReadVectored::new(reader.as_fd(), [[0; 2]; 2]));
        assert_eq!(run(d, read).1.into_inner(), [*b"ef", *b"gh"]);
        let (a, b) = host.socket_pair().unwrap();
        assert_eq!(done(d, Exact::new(Send::new(a.as_fd(), *b"abcd"))), 4);
        let recv = Exact::new(Recv::new(b.as_fd(), [0; 4]));
        assert_eq!(run(d, recv).1.into_inner(), *b"abcd");
        assert_eq!(done(d, Exact::new(SendVectored::new(a.as_fd(), parts))), 4);
        let recv = Exact::new(RecvVectored::new(b.as_fd(), [[0; 2]; 2]));
        assert_eq!(run(d, recv).1.into_inner(), [*b"ef", *b"gh"]);
    });
}

#[test]
fn addresses() {
    each(|world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let d = &mut driver;
        let addr = Address::from(SocketAddr::from((host.ip(), 80)));
        let listener = done(d, Socket::stream(&addr));
        done(
            d,
            SetSockOpt::new(listener.as_fd(), SockOpt::REUSE_ADDR, true),
        );
        assert!(done(
            d,
            GetSockOpt::new(listener.as_fd(), SockOpt::REUSE_ADDR)
        ));
        done(d, Bind::new(listener.as_fd(), addr));
        done(d, Listen::new(listener.as_fd(), 8));
        let client = done(d, Socket::stream(&addr));
        done(d, Connect::new(client.as_fd(), addr));
        let accepted = done(d, Accept::new(listener.as_fd()));
        assert_eq!(accepted.addr, world.local_address(&client).unwrap());

        let socket = done(d, Socket::datagram(&addr));
        done(d, Bind::new(socket.as_fd(), addr));
        assert_eq!(done(d, SendTo::new(socket.as_fd(), *b"abcd", addr)), 4);
        let (received, op) = run(d, RecvFrom::new(socket.as_fd(), [0; 4]));
        let received = received.unwrap();
        assert_eq!((received.len, received.addr), (4, addr));
        assert_eq!(op.into_inner(), *b"abcd");
        let parts = [*b"ef", *b"gh"];
        assert_eq!(done(d, SendToVectored::new(socket.as_fd(), parts, addr)), 4);
        let (received, op) = run(d, RecvFromVectored::new(socket.as_fd(), [[0; 2]; 2]));
        let received = received.unwrap();
        assert_eq!((received.len, received.addr), (4, addr));
        assert_eq!(op.into_inner(), parts);
    });
}

/// The time of an update is in it, as that of the timeout is.
#[test]
fn times() {
    each(|world| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let mut timeout = Timeout::after(Duration::from_secs(9));
        let start = Instant::now();
        driver
            .scope(|s| {
                let ticket = s.try_lend(&mut timeout, 0).unwrap();
                let update = TimeoutUpdate::after(&ticket, Duration::from_secs(1));
                let _update = s.try_push_owned(update, 1).unwrap();
                let mut event = None;
                while event.is_none() {
                    s.submit(None, &mut event).unwrap();
                }
                let done = event.and_then(Event::done).unwrap();
                ticket.redeem(done).unwrap().0.unwrap();
            })
            .unwrap();
        assert_eq!(Instant::now() - start, Duration::from_secs(1));
    });
}
