//! Connections between hosts.

use crate::kit::{both, done, errno, run};
use completeio_driver::address::Address;
use completeio_driver::driver::{AsFd, Driver};
use completeio_driver::op::{
    Accept, Bind, Connect, Listen, Recv, RecvExact, Send, SendAll, Socket,
};
use completeio_driver::scope::Event;
use std::net::SocketAddr;

/// A server and a client, each on its host, both on this thread.
#[test]
fn an_echo_between_two_hosts() {
    both(|world| {
        let [a, b] = ["a", "b"].map(|name| world.host(name));
        let mut server = a.driver(Driver::builder()).unwrap();
        let mut client = b.driver(Driver::builder()).unwrap();
        let addr = Address::from(SocketAddr::from((a.ip(), 80)));
        let listener = done(&mut server, Socket::stream(&addr));
        done(&mut server, Bind::new(listener.as_fd(), addr));
        done(&mut server, Listen::new(listener.as_fd(), 8));
        let socket = done(&mut client, Socket::stream(&addr));
        // A connection is made by the hosts alone.
        done(&mut client, Connect::new(socket.as_fd(), addr));
        let accepted = done(&mut server, Accept::new(listener.as_fd()));
        assert_eq!(accepted.addr.as_socket_addr().unwrap().ip(), b.ip());
        let connection = accepted.fd;

        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        done(
            &mut client,
            SendAll::new(Send::new(socket.as_fd(), &bytes[..])),
        );
        let (got, op) = run(
            &mut server,
            RecvExact::new(Recv::new(connection.as_fd(), Vec::with_capacity(5000))),
        );
        got.unwrap();
        assert_eq!(*op.buf(), bytes);
        done(
            &mut server,
            SendAll::new(Send::new(connection.as_fd(), &bytes[..])),
        );
        let (got, op) = run(
            &mut client,
            RecvExact::new(Recv::new(socket.as_fd(), Vec::with_capacity(5000))),
        );
        got.unwrap();
        assert_eq!(*op.buf(), bytes);
    });
}

#[test]
fn nobody_listens() {
    both(|world| {
        let [a, b] = ["a", "b"].map(|name| world.host(name));
        let mut driver = b.driver(Driver::builder()).unwrap();
        let addr = Address::from(SocketAddr::from((a.ip(), 80)));
        let socket = done(&mut driver, Socket::stream(&addr));
        assert_eq!(
            errno(&mut driver, Connect::new(socket.as_fd(), addr)),
            libc::ECONNREFUSED
        );
        world.partition(&a, &b);
        let start = world.now();
        let socket = done(&mut driver, Socket::stream(&addr));
        assert_eq!(
            errno(&mut driver, Connect::new(socket.as_fd(), addr)),
            libc::ETIMEDOUT
        );
        assert!(world.now() - start > std::time::Duration::from_secs(60));
    });
}

/// What waits is cancelled when its scope ends.
#[test]
fn a_scope_ends_with_an_accept_in_flight() {
    both(|world| {
        let a = world.host("a");
        let mut driver = a.driver(Driver::builder()).unwrap();
        let addr = Address::from(SocketAddr::from((a.ip(), 80)));
        let listener = done(&mut driver, Socket::stream(&addr));
        done(&mut driver, Bind::new(listener.as_fd(), addr));
        done(&mut driver, Listen::new(listener.as_fd(), 8));
        let mut accept = Accept::new(listener.as_fd());
        driver
            .scope(|s| {
                let _ticket = s.try_lend(&mut accept, 0).unwrap();
                s.submit(
                    Some(std::time::Duration::from_secs(1)),
                    &mut None::<Event<'_>>,
                )
                .unwrap();
            })
            .unwrap();
        assert_eq!(driver.in_flight(), 0);
    });
}
