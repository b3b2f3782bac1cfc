//! I35. Listeners under a storm, with a full backlog, and addresses that others have.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger, Lent};
use completeio_driver::address::Address;
use completeio_driver::driver::{AsRawFd, Fd, OwnedFd};
use completeio_driver::op::{Accept, Bind, Connect, Listen, SetSockOpt, Shutdown, SockOpt};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown as How, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

contract! {
    everywhere: [],
    on_host: [
        an_accept_storm,
        a_connect_that_failed_before,
    ],
    on_unix: [
        a_full_backlog_of_the_internet,
        an_address_that_is_taken,
        an_address_that_lingers,
    ],
    on_linux: [
        a_storm_on_a_short_backlog,
        a_full_backlog_of_a_path,
        a_listener_that_is_shut_down,
    ],
}

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const CLIENTS: usize = 200;
/// Accepts in flight.
const ACCEPTS: usize = 8;

/// Clients on some threads: each connects, hears a byte, and goes. They give what `connect` gave
/// with each connection.
fn clients<S: Read + 'static, T: Send + 'static>(
    connect: impl Fn() -> (S, T) + Clone + Send + 'static,
) -> Vec<JoinHandle<Vec<T>>> {
    const THREADS: usize = 4;
    let visit = move || {
        let (mut peer, name) = connect();
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"!");
        name
    };
    let visits = move || (0..CLIENTS / THREADS).map(|_| visit()).collect();
    (0..THREADS)
        .map(|_| thread::spawn(visits.clone()))
        .collect()
}

/// Accepts every client by accepts that are pushed again and again, and greets it.
fn serve(l: &mut Ledger, fd: Fd) -> Vec<Address> {
    let ops: Vec<Lent<Accept<Fd>>> = (0..ACCEPTS).map(|n| l.start(Accept::new(fd), n)).collect();
    let mut peers = Vec::new();
    while peers.len() < CLIENTS {
        let entry = l.one();
        let op = ops[entry.user_data()];
        let number = entry.user_data();
        let accepted = l.finish(op, entry).unwrap();
        kit::Stream::from(accepted.fd).write_all(b"!").unwrap();
        peers.push(accepted.addr);
        l.push(op, number);
    }
    peers
}

/// Each connection is accepted once, with its own peer.
fn an_accept_storm(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    l.run(Listen::new(fd, 1024)).unwrap();
    let clients = clients(move || {
        let client = TcpStream::connect(addr).unwrap();
        let name = client.local_addr().unwrap();
        (client, name)
    });
    let peers = serve(&mut l, fd);
    let accepted: Vec<SocketAddr> = peers.iter().filter_map(Address::as_socket_addr).collect();
    let connected = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap());
    assert_eq!(accepted.len(), CLIENTS);
    // A port may be used again by a later client, so the same number of times each.
    let sorted = |mut names: Vec<SocketAddr>| {
        names.sort();
        names
    };
    assert_eq!(sorted(accepted), sorted(connected.collect()));
}

/// Clients that find the backlog full wait for room, and none is lost.
#[cfg(unix)]
fn a_storm_on_a_short_backlog(cx: &mut Cx) {
    let (listener, addr) = kit::unix_listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    l.run(Listen::new(fd, 1)).unwrap();
    let clients = clients(move || (UnixStream::connect_addr(&addr).unwrap(), ()));
    assert_eq!(serve(&mut l, fd).len(), CLIENTS);
    clients
        .into_iter()
        .for_each(|client| drop(client.join().unwrap()));
}

/// A connect waits for a place; it gets one when those before it are accepted.
#[cfg(unix)]
fn a_full_backlog_of_the_internet(cx: &mut Cx) {
    let (listener, addr, _before) = kit::full_listener();
    let ours = kit::tcp_socket();
    let mut l = cx.ledger();
    let [listens, connects] = [listener.as_raw_fd(), ours.as_raw_fd()].map(kit::number);
    let connect = l.start(Connect::new(connects, addr), 1);
    l.hand_over();
    let accept = l.start(Accept::new(listens), 2);
    let (mut name, mut accepted) = (None, Vec::new());
    while name.is_none_or(|name| !accepted.contains(&name)) {
        let entry = l.one();
        if entry.user_data() == 1 {
            l.finish(connect, entry).unwrap();
            let ours = TcpStream::from(ours.try_clone().unwrap());
            name = Some(ours.local_addr().unwrap());
        } else {
            let peer = l.finish(accept, entry).unwrap().addr;
            accepted.extend(peer.as_socket_addr());
            l.push(accept, 2);
        }
    }
}

/// The kernel reports no room of that kind to who waits, so that on readiness it is an error.
#[cfg(unix)]
fn a_full_backlog_of_a_path(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let listener = std::os::unix::net::UnixListener::bind(&*path).unwrap();
    let addr = Address::unix(&*path).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    l.run(Listen::new(fd, 0)).unwrap();
    let _first = UnixStream::connect(&*path).unwrap();
    let ours = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let connects = Connect::new(kit::plain(&ours), addr);
    if !cx.is_io_uring() {
        assert_eq!(l.errno(connects), code::EAGAIN);
        return;
    }
    let op = l.start(connects, 1);
    l.hand_over();
    drop(listener.accept().unwrap());
    let entry = l.one();
    l.finish(op, entry).unwrap();
    drop(listener.accept().unwrap());
}

/// The error number of a bind, or 0.
fn bind(l: &mut Ledger, socket: &OwnedFd, addr: SocketAddr) -> i32 {
    let (_, entry) = l.entry_of(Bind::new(kit::plain(socket), addr));
    kit::errno(&entry)
}

/// Two may have bound it; one listens, and nobody may bind it then.
#[cfg(unix)]
fn an_address_that_is_taken(cx: &mut Cx) {
    let [first, second, third] = [(); 3].map(|()| kit::tcp_socket());
    let mut l = cx.ledger();
    for socket in [&first, &second, &third] {
        let reuse = SetSockOpt::new(kit::plain(socket), SockOpt::REUSE_ADDR, true);
        l.run(reuse).unwrap();
    }
    assert_eq!(bind(&mut l, &first, LOOPBACK), 0);
    let first = TcpListener::from(first);
    let addr = first.local_addr().unwrap();
    assert_eq!(bind(&mut l, &second, addr), 0);
    l.run(Listen::new(kit::plain(&first), 1)).unwrap();
    let taken = l.errno(Listen::new(kit::plain(&second), 1));
    assert_eq!(taken, code::EADDRINUSE);
    assert_eq!(bind(&mut l, &third, addr), code::EADDRINUSE);
    // The first goes, and the second may.
    drop(first);
    l.run(Listen::new(kit::plain(&second), 1)).unwrap();
    drop(TcpStream::connect(addr).unwrap());
}

/// A connection that our side ended keeps its address for a while, but for who may reuse it.
#[cfg(unix)]
fn an_address_that_lingers(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut client = TcpStream::connect(addr).unwrap();
    drop((listener.accept().unwrap(), listener));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    let mut l = cx.ledger();
    let socket = kit::tcp_socket();
    assert_eq!(bind(&mut l, &socket, addr), code::EADDRINUSE);
    let reuse = SetSockOpt::new(kit::plain(&socket), SockOpt::REUSE_ADDR, true);
    l.run(reuse).unwrap();
    assert_eq!(bind(&mut l, &socket, addr), 0);
}

/// What is left of a connect that failed is `ECONNABORTED` to the next one; nobody is told that.
fn a_connect_that_failed_before(cx: &mut Cx) {
    if cfg!(all(unix, not(target_os = "linux"))) {
        return; // There, a socket is of no use after it.
    }
    let mut l = cx.ledger();
    // Nobody else gets the address: it is bound, and does not listen yet.
    let bound = kit::tcp_socket();
    assert_eq!(bind(&mut l, &bound, LOOPBACK), 0);
    let listener = TcpListener::from(bound);
    let ours = kit::tcp_socket();
    let fd = l.at(&ours);
    let op = l.lend(Connect::new(fd, listener.local_addr().unwrap()));
    for n in 0..3 {
        l.push(op, n);
        assert_eq!(l.one().raw_os_error(), Some(code::ECONNREFUSED));
    }
    l.run(Listen::new(kit::plain(&listener), 1)).unwrap();
    l.push(op, 3);
    let entry = l.one();
    l.finish(op, entry).unwrap();
    drop(listener.accept().unwrap());
}

/// As accept(2) has it, of who waits and of who comes later.
#[cfg(unix)]
fn a_listener_that_is_shut_down(cx: &mut Cx) {
    let listeners = [kit::listener().0.into(), kit::unix_listener().0.into()];
    for listener in listeners as [OwnedFd; 2] {
        let mut l = cx.ledger();
        let fd = l.at(&listener);
        l.start(Accept::new(fd), 1);
        l.hand_over();
        l.start(Shutdown::new(fd, How::Both), 2);
        let entries = l.take_sorted(2);
        assert_eq!(kit::errnos(&entries), [code::EINVAL, 0]);
        assert_eq!(l.errno(Accept::new(fd)), code::EINVAL);
    }
}
