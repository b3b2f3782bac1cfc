//! Connections between hosts.

use crate::kit::{both, done, errno, run};
use completeio_driver::address::Address;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Driver, Entry};
use completeio_driver::op::{
    Accept, Bind, Connect, Listen, Op, Recv, RecvExact, Send, SendAll, Socket,
};
use completeio_driver::scope::Event;
use std::net::SocketAddr;
use std::time::Duration;

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
        assert!(world.now() - start > Duration::from_secs(60));
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
                s.submit(Some(Duration::from_secs(1)), &mut None::<Event<'_>>)
                    .unwrap();
            })
            .unwrap();
        assert_eq!(driver.in_flight(), 0);
    });
}

/// The first thing that a network does takes its time, too.
#[test]
fn a_network_begins_with_its_world() {
    both(|world| {
        let [a, b] = ["a", "b"].map(|name| world.host(name));
        world.partition(&a, &b);
        let start = world.now();
        let mut driver = b.driver(Driver::builder()).unwrap();
        let addr = Address::from(SocketAddr::from((a.ip(), 80)));
        let socket = done(&mut driver, Socket::stream(&addr));
        let connect = Connect::new(socket.as_fd(), addr);
        assert_eq!(errno(&mut driver, connect), libc::ETIMEDOUT);
        assert!(world.now() - start > Duration::from_secs(60));
    });
}

/// What is cancelled by a descriptor is on its file, not on one that had its number before.
#[test]
fn a_number_was_another_files() {
    both(|world| {
        let host = world.host("a");
        let addr = Address::from(SocketAddr::from((host.ip(), 80)));
        let (old, _peer) = host.socket_pair().unwrap();
        let number = old.as_raw_fd();
        let (mut recv, mut again) = (None, Socket::stream(&addr));
        let mut driver = host.driver(Driver::builder()).unwrap();
        let fd = driver.attach(number).unwrap();
        driver
            .try_push(recv.insert(Recv::new(fd, [0; 8])), 7)
            .unwrap();
        let mut entries: Vec<Entry> = Vec::with_capacity(2);
        // SAFETY: the operations outlive the driver, and nobody touches them; the socket is open.
        unsafe { driver.submit(Some(Duration::ZERO), &mut entries) }.unwrap();
        drop(old);
        driver.try_push(&mut again, 8).unwrap();
        // SAFETY: as above.
        unsafe { driver.submit(None, &mut entries) }.unwrap();
        let made = entries.pop().unwrap();
        assert_eq!(made.user_data(), 8);
        if made.result().unwrap() == usize::try_from(number).unwrap() {
            let fd = driver.attach(number).unwrap();
            driver.try_cancel_fd(&fd).unwrap();
            let until = Some(Duration::from_secs(1));
            // SAFETY: as above.
            unsafe { driver.submit(until, &mut entries) }.unwrap();
            assert!(entries.is_empty(), "{entries:?}");
        }
        drop(driver);
        // SAFETY: its last entry.
        unsafe { again.dispose(made) };
    });
}
