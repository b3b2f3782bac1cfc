//! Between hosts: delays, faults, partitions, crashes.

use super::calls::{bytes, word};
use crate::sys::sim::errno::{Errno, Result};
use crate::sys::sim::net::{Address, ERR, HUP, HostId, IN, Links, Net, OUT, RDHUP, SocketId};
use crate::sys::sim::random::Random;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) const MS: Duration = Duration::from_millis(1);

/// A network in which time goes on as it is told to.
pub(super) struct World {
    pub(super) net: Net,
    pub(super) random: Random,
    pub(super) now: Duration,
    pub(super) hosts: Vec<HostId>,
}

/// Every packet takes a millisecond.
pub(super) fn links() -> Links {
    Links {
        delay: MS..MS,
        ..Links::default()
    }
}

impl World {
    pub(super) fn new(seed: u64, hosts: usize, links: Links) -> Self {
        let mut net = Net::new(links);
        let hosts = (0..hosts).map(|_| net.add_host()).collect();
        Self {
            net,
            random: Random::new(seed),
            now: Duration::ZERO,
            hosts,
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.net.run_until(self.now, &mut self.random);
    }

    /// Goes on to the next event; `false` when there is none.
    pub(super) fn step(&mut self) -> bool {
        let next = self.net.next_event();
        if let Some(next) = next {
            assert!(next >= self.now, "an event in the past");
            self.now = next;
            self.net.run_until(next, &mut self.random);
        }
        next.is_some()
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn host(&self, id: SocketId) -> HostId {
        self.net.sockets.get(id).unwrap().base.host
    }

    /// Where others reach a bound socket.
    pub(super) fn address(&mut self, id: SocketId) -> Address {
        let (v4, v6) = self.net.addresses(self.host(id));
        let Ok(Address::Inet(mut name)) = self.net.local_name(id) else {
            panic!("no internet socket");
        };
        name.set_ip(if name.is_ipv4() { v4.into() } else { v6.into() });
        Address::Inet(name)
    }

    pub(super) fn tcp(&mut self, host: usize) -> SocketId {
        let made = self
            .net
            .socket(self.hosts[host], libc::AF_INET, libc::SOCK_STREAM, 0);
        made.unwrap()
    }

    fn udp(&mut self, host: usize) -> SocketId {
        let host = self.hosts[host];
        let made = self
            .net
            .socket(host, libc::AF_INET, libc::SOCK_DGRAM, 0)
            .unwrap();
        self.net.bind(made, &any()).unwrap();
        made
    }

    pub(super) fn listener(&mut self, host: usize, backlog: i32) -> SocketId {
        let listener = self.tcp(host);
        self.net.listen(listener, backlog).unwrap();
        listener
    }

    /// From host 0 to host 1; the clock goes on.
    fn connected(&mut self) -> (SocketId, SocketId) {
        let listener = self.listener(1, 5);
        let client = self.tcp(0);
        let address = self.address(listener);
        assert_eq!(
            self.net.connect(client, &address),
            Err(Errno(libc::EINPROGRESS))
        );
        self.pass(3 * MS);
        assert_eq!(self.net.connect(client, &address), Ok(()));
        let (server, _) = self.net.accept(listener).unwrap();
        self.net.close(listener).unwrap();
        (client, server)
    }

    fn recv(&mut self, id: SocketId) -> Result<Vec<u8>> {
        self.net
            .recv(id, 1 << 20, false)
            .map(|received| received.bytes)
    }

    fn send(&mut self, id: SocketId, text: &str) -> Result<usize> {
        self.net.send(id, text.as_bytes(), None)
    }

    pub(super) fn poll(&self, id: SocketId) -> u16 {
        self.net.poll(id).unwrap()
    }

    fn error(&mut self, id: SocketId) -> i32 {
        let error = self
            .net
            .option(id, libc::SOL_SOCKET, libc::SO_ERROR)
            .unwrap();
        i32::from_ne_bytes(error.try_into().unwrap())
    }

    /// How many sockets there are, also closed ones.
    pub(super) fn sockets(&self) -> usize {
        self.net.sockets.iter().count()
    }
}

fn any() -> Address {
    Address::Inet(SocketAddr::from(([0; 4], 0)))
}

const AGAIN: Errno = Errno(libc::EAGAIN);
const RESET: Errno = Errno(libc::ECONNRESET);
const TIMED_OUT: Errno = Errno(libc::ETIMEDOUT);
const REFUSED: Errno = Errno(libc::ECONNREFUSED);

#[test]
fn a_connection_takes_a_round_trip() {
    let mut world = World::new(1, 2, links());
    let listener = world.listener(1, 5);
    let client = world.tcp(0);
    let address = world.address(listener);
    let connect = |world: &mut World| world.net.connect(client, &address);
    assert_eq!(connect(&mut world), Err(Errno(libc::EINPROGRESS)));
    world.pass(2 * MS - Duration::from_nanos(1));
    assert_eq!(world.poll(client), 0);
    assert_eq!(connect(&mut world), Err(Errno(libc::EALREADY)));
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.poll(client), OUT);
    assert_eq!(connect(&mut world), Ok(()));
    assert_eq!(connect(&mut world), Err(Errno(libc::EISCONN)));
    assert_eq!(world.send(client, "early"), Ok(5));
    assert_eq!(world.net.accept(listener), Err(AGAIN));
    world.pass(MS);
    let (server, from) = world.net.accept(listener).unwrap();
    assert_eq!(from, world.address(client));
    assert_eq!(world.net.peer_name(server), Ok(from));
    assert_eq!(world.net.peer_name(client), Ok(address));
    assert_eq!(world.recv(server), Ok(bytes("early")));
    assert_eq!(world.recv(server), Err(AGAIN));
}

#[test]
fn who_does_not_listen_refuses_and_nobody_is_unreachable() {
    let mut world = World::new(1, 2, links());
    let bound = world.tcp(1);
    world.net.bind(bound, &any()).unwrap();
    let (client, address) = (world.tcp(0), world.address(bound));
    assert_eq!(
        world.net.connect(client, &address),
        Err(Errno(libc::EINPROGRESS))
    );
    world.pass(2 * MS);
    assert_eq!(world.poll(client), IN | OUT | ERR | HUP | RDHUP);
    assert_eq!(world.net.connect(client, &address), Err(REFUSED));
    let nobody = Address::Inet(SocketAddr::from(([10, 9, 9, 9], 80)));
    let unreachable = Err(Errno(libc::ENETUNREACH));
    assert_eq!(world.net.connect(client, &nobody), unreachable);
    let udp = world.udp(0);
    let sent = world.net.send(udp, &[1], Some(&nobody));
    assert_eq!(sent, Err(Errno(libc::ENETUNREACH)));
    // What is bound to the loopback does not leave the host.
    let local = world.tcp(0);
    let loopback = Address::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
    world.net.bind(local, &loopback).unwrap();
    assert_eq!(world.net.connect(local, &address), Err(Errno(libc::EINVAL)));
}

#[test]
fn a_connect_waits_for_a_partition_to_end_or_times_out() {
    let mut world = World::new(1, 2, links());
    let listener = world.listener(1, 5);
    let address = world.address(listener);
    let (a, b) = (world.hosts[0], world.hosts[1]);
    world.net.partition(a, b);
    let (lucky, late) = (world.tcp(0), world.tcp(0));
    let _ = world.net.connect(late, &address);
    world.pass(100 * Duration::from_secs(1));
    let _ = world.net.connect(lucky, &address);
    world.pass(Duration::from_secs(27) - Duration::from_nanos(1));
    assert_eq!(world.poll(late), 0);
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.net.connect(late, &address), Err(TIMED_OUT));
    world.net.heal(b, a);
    world.pass(Duration::from_secs(40));
    assert_eq!(world.net.connect(lucky, &address), Ok(()));
    assert!(world.net.accept(listener).is_ok());
}

#[test]
fn a_full_backlog_lets_clients_ask_again() {
    let mut world = World::new(1, 2, links());
    let listener = world.listener(1, 0);
    let address = world.address(listener);
    let (first, second) = (world.tcp(0), world.tcp(0));
    let _ = world.net.connect(first, &address);
    world.pass(MS);
    let _ = world.net.connect(second, &address);
    world.pass(500 * MS);
    assert_eq!((world.poll(first), world.poll(second)), (OUT, 0));
    assert!(world.net.accept(listener).is_ok());
    world.pass(600 * MS);
    assert_eq!(world.poll(second), OUT);
    assert!(world.net.accept(listener).is_ok());
    assert_eq!(world.net.accept(listener), Err(AGAIN));
}

#[test]
fn a_sender_waits_for_room() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let len = |world: &World, id| world.net.sockets.get(id).unwrap().base.options.clone();
    let (send, receive) = (len(&world, client), len(&world, server));
    let (send, window) = (send.send_buffer(), receive.receive_buffer() / 2);
    // All in the send buffer counts until the peer has it.
    assert_eq!(world.net.send(client, &vec![0; 1 << 20], None), Ok(send));
    assert_eq!(world.net.send(client, &[0], None), Err(AGAIN));
    assert_eq!(world.poll(client), 0);
    let mut sent = send;
    while let Some(more) = {
        world.pass(2 * MS);
        world.net.send(client, &vec![0; 1 << 20], None).ok()
    } {
        sent += more;
    }
    assert_eq!(sent, send + window, "what the two have room for");
    assert_eq!(world.recv(server).unwrap().len(), window);
    world.pass(2 * MS);
    assert_eq!(world.recv(server).unwrap().len(), send);
    world.pass(2 * MS);
    assert_eq!(world.poll(client), OUT);
}

#[test]
fn data_waits_for_a_partition_to_end() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let (a, b) = (world.hosts[0], world.hosts[1]);
    world.send(client, "before, ").unwrap();
    world.net.partition(a, b);
    world.pass(Duration::from_secs(1));
    world.send(client, "during").unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.recv(server), Err(AGAIN));
    world.net.heal(a, b);
    world.send(client, ", after").unwrap();
    world.pass(2 * MS);
    assert_eq!(world.recv(server), Ok(bytes("before, during, after")));
}

#[test]
fn without_progress_a_connection_times_out() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let (a, b) = (world.hosts[0], world.hosts[1]);
    // An idle one does not, whatever happens.
    world.net.partition(a, b);
    world.run();
    world.pass(Duration::from_secs(10_000));
    assert_eq!(world.send(client, "x"), Ok(1));
    world.pass(Duration::from_secs(900));
    // Sending more is no progress.
    assert_eq!(world.send(client, "x"), Ok(1));
    world.pass(Duration::from_secs(24) - Duration::from_nanos(1));
    assert_eq!(world.recv(client), Err(AGAIN));
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.recv(client), Err(TIMED_OUT));
    assert_eq!(world.recv(client), Ok(Vec::new()));
    assert_eq!(world.send(client, "x"), Err(Errno(libc::EPIPE)));
    // The peer finds out when it sends.
    world.net.heal(a, b);
    world.run();
    assert_eq!(world.recv(server), Err(AGAIN));
    world.send(server, "x").unwrap();
    world.run();
    assert_eq!(world.recv(server), Err(RESET));
}

#[test]
fn links_reset_connections() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    world.net.wire.links.reset = 1.0;
    world.send(client, "x").unwrap();
    world.pass(MS);
    for end in [client, server] {
        assert_eq!(world.poll(end) & (ERR | HUP), ERR | HUP);
        assert_eq!(world.error(end), libc::ECONNRESET);
        world.net.close(end).unwrap();
    }
    world.run();
    assert_eq!(world.sockets(), 0);
}

#[test]
fn a_crash_is_found_out_by_sending() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let listener = world.listener(1, 5);
    let address = world.address(listener);
    world.net.crash(world.hosts[1]);
    for gone in [server, listener] {
        assert_eq!(world.net.poll(gone), Err(Errno(libc::EBADF)));
    }
    world.run();
    assert_eq!((world.poll(client), world.recv(client)), (OUT, Err(AGAIN)));
    assert_eq!(world.send(client, "x"), Ok(1));
    world.pass(2 * MS);
    assert_eq!(world.recv(client), Err(RESET));
    // The host is there again, and its ports are free.
    let again = world.tcp(1);
    assert_eq!(world.net.bind(again, &address), Ok(()));
    let client = world.tcp(0);
    let _ = world.net.connect(client, &address);
    world.pass(2 * MS);
    assert_eq!(world.net.connect(client, &address), Err(REFUSED));
}

#[test]
fn a_crash_loses_what_a_partition_held() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let (a, b) = (world.hosts[0], world.hosts[1]);
    world.net.partition(a, b);
    world.send(server, "lost").unwrap();
    world.send(client, "held").unwrap();
    world.pass(2 * MS);
    world.net.crash(b);
    world.net.heal(a, b);
    world.run();
    assert_eq!(world.recv(client), Err(RESET));
    world.net.close(client).unwrap();
    assert_eq!(world.sockets(), 0);
}

#[test]
fn what_is_closed_still_sends_and_then_goes() {
    let mut world = World::new(1, 2, links());
    let (client, server) = world.connected();
    let sent = world.net.send(client, &[7; 10_000], None).unwrap();
    world.net.close(client).unwrap();
    assert_eq!(world.net.poll(client), Err(Errno(libc::EBADF)));
    world.pass(10 * MS);
    assert_eq!(world.recv(server).unwrap().len(), sent);
    assert_eq!(world.recv(server), Ok(Vec::new()));
    world.net.close(server).unwrap();
    world.pass(10 * MS);
    assert_eq!(world.sockets(), 0);
    // Whose peer never closes goes too, after a while, and takes nothing with it.
    let (client, server) = world.connected();
    world.net.send(client, &[7; 10_000], None).unwrap();
    world.net.close(client).unwrap();
    world.pass(10 * MS);
    assert_eq!(world.sockets(), 2);
    world.run();
    assert_eq!(world.sockets(), 1);
    for _ in 0..2 {
        assert_eq!(world.net.read(server, 5_000).unwrap().len(), 5_000);
        world.run();
    }
    assert_eq!(world.poll(server), IN | OUT | RDHUP);
}

#[test]
fn a_connection_that_gets_on_does_not_time_out() {
    let slow = Links {
        delay: 4 * MS..4 * MS,
        stall_timeout: 10 * MS,
        ..Links::default()
    };
    let mut world = World::new(1, 2, slow);
    let listener = world.listener(1, 5);
    let (client, address) = (world.tcp(0), world.address(listener));
    let _ = world.net.connect(client, &address);
    world.pass(8 * MS);
    for _ in 0..20 {
        world.send(client, "x").unwrap();
        world.pass(2 * MS);
    }
    assert_eq!(world.poll(client), OUT);
}

#[test]
fn a_connection_that_is_over_frees_its_address() {
    let mut world = World::new(1, 2, links());
    let listener = world.listener(1, 5);
    let (client, address) = (world.tcp(0), world.address(listener));
    let _ = world.net.connect(client, &address);
    world.pass(3 * MS);
    let (server, _) = world.net.accept(listener).unwrap();
    world.net.close(listener).unwrap();
    let next = world.tcp(1);
    assert_eq!(world.net.bind(next, &address), Err(Errno(libc::EADDRINUSE)));
    world.net.crash(world.hosts[0]);
    world.send(server, "x").unwrap();
    world.pass(2 * MS);
    assert_eq!(world.net.bind(next, &address), Ok(()));
    assert_eq!(world.recv(server), Err(RESET));
}

#[test]
fn unix_senders_wait_for_room() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM] {
        let mut world = World::new(1, 1, links());
        let (a, b) = world.net.socket_pair(world.hosts[0], kind, 0).unwrap();
        for _ in 0..3 {
            let mut sent = 0;
            while world.net.send(a, &[1; 1000], None).is_ok() {
                sent += 1;
            }
            assert!((100..=213).contains(&sent), "{sent} messages");
            assert_eq!(world.net.send(a, &[1], None), Err(AGAIN));
            assert_eq!(world.poll(a), 0);
            while world.recv(b).is_ok() {}
            assert_eq!(world.poll(a), OUT);
        }
    }
}

#[test]
fn a_client_that_crashed_is_never_accepted() {
    let mut world = World::new(1, 2, links());
    let listener = world.listener(1, 5);
    let (client, address) = (world.tcp(0), world.address(listener));
    let _ = world.net.connect(client, &address);
    world.pass(MS);
    world.net.crash(world.hosts[0]);
    world.pass(10 * MS);
    assert_eq!(world.net.accept(listener), Err(AGAIN));
    assert_eq!(world.sockets(), 1);
}

#[test]
fn listeners_that_share_a_port_share_its_clients() {
    let mut world = World::new(1, 2, links());
    let (first, second) = (world.tcp(1), world.tcp(1));
    for listener in [first, second] {
        let on = word(1);
        let set = world
            .net
            .set_option(listener, libc::SOL_SOCKET, libc::SO_REUSEPORT, &on);
        set.unwrap();
    }
    world.net.bind(first, &any()).unwrap();
    let address = world.address(first);
    world.net.bind(second, &address).unwrap();
    for listener in [first, second] {
        world.net.listen(listener, 20).unwrap();
    }
    // The second is bound more exactly.
    let exact = world.tcp(0);
    let _ = world.net.connect(exact, &address);
    world.pass(3 * MS);
    assert!(world.net.accept(second).is_ok());
    world.net.close(second).unwrap();
    let third = world.tcp(1);
    let on = word(1);
    let set = world
        .net
        .set_option(third, libc::SOL_SOCKET, libc::SO_REUSEPORT, &on);
    set.unwrap();
    let Ok(name) = world.net.local_name(first) else {
        panic!("bound");
    };
    world.net.bind(third, &name).unwrap();
    world.net.listen(third, 20).unwrap();
    for _ in 0..10 {
        let client = world.tcp(0);
        let _ = world.net.connect(client, &address);
    }
    world.pass(3 * MS);
    for listener in [first, third] {
        assert!(world.net.accept(listener).is_ok());
    }
}

#[test]
fn datagrams_are_lost_doubled_and_late() {
    let lossy = Links {
        delay: MS..100 * MS,
        lose: 0.3,
        duplicate: 0.3,
        ..Links::default()
    };
    let mut world = World::new(1, 2, lossy);
    let (from, to) = (world.udp(0), world.udp(1));
    let address = world.address(to);
    let sender = world.address(from);
    for number in 0..100 {
        world.net.send(from, &[number], Some(&address)).unwrap();
    }
    world.run();
    let mut counts = [0; 100];
    let mut order = Vec::new();
    while let Ok(received) = world.net.recv(to, 10, false) {
        assert_eq!(received.from.as_ref(), Some(&sender));
        counts[usize::from(received.bytes[0])] += 1;
        order.push(received.bytes[0]);
    }
    for times in 0..=2 {
        assert!(
            counts.contains(&times),
            "some arrive {times} times: {counts:?}"
        );
    }
    assert!(counts.iter().all(|times| *times <= 2));
    assert!(!order.is_sorted());
}

#[test]
fn datagrams_do_not_wait() {
    let mut world = World::new(1, 2, links());
    let (from, to) = (world.udp(0), world.udp(1));
    let (a, b) = (world.hosts[0], world.hosts[1]);
    let address = world.address(to);
    // For a partition to end.
    world.net.partition(a, b);
    world.net.send(from, &[1], Some(&address)).unwrap();
    world.pass(MS / 2);
    world.net.heal(a, b);
    world.run();
    assert_eq!(world.recv(to), Err(AGAIN));
    // In the air when it begins.
    world.net.send(from, &[2], Some(&address)).unwrap();
    world.pass(MS / 2);
    world.net.partition(a, b);
    world.run();
    world.net.heal(a, b);
    assert_eq!(world.recv(to), Err(AGAIN));
    // For room.
    for _ in 0..3 {
        for _ in 0..10 {
            world.net.send(from, &[3; 60_000], Some(&address)).unwrap();
        }
        world.run();
        let mut received = 0;
        while let Ok(datagram) = world.net.recv(to, 10, false) {
            assert!(datagram.is_truncated());
            assert_eq!((datagram.len, datagram.bytes), (60_000, vec![3; 10]));
            received += 1;
        }
        assert_eq!(received, 3);
    }
}

#[test]
fn a_datagram_that_nobody_receives_is_told_to_who_is_connected() {
    let mut world = World::new(1, 2, links());
    let (connected, other, gone) = (world.udp(0), world.udp(0), world.udp(1));
    let address = world.address(gone);
    world.net.connect(connected, &address).unwrap();
    world.net.close(gone).unwrap();
    world.send(connected, "x").unwrap();
    world.net.send(other, &[1], Some(&address)).unwrap();
    world.pass(2 * MS);
    assert_eq!(world.poll(connected), OUT | ERR);
    assert_eq!(world.recv(connected), Err(REFUSED));
    assert_eq!(world.recv(connected), Err(AGAIN));
    assert_eq!(world.recv(other), Err(AGAIN));
}

#[test]
fn hosts_have_their_own_names_and_addresses() {
    let mut world = World::new(1, 2, links());
    let [a, b] = [world.hosts[0], world.hosts[1]];
    let (v4, v6) = world.net.addresses(b);
    let mut bound = |host, kind, ip| {
        let domain = if matches!(ip, std::net::IpAddr::V6(_)) {
            libc::AF_INET6
        } else {
            libc::AF_INET
        };
        let socket = world.net.socket(host, domain, kind, 0).unwrap();
        world
            .net
            .bind(socket, &Address::Inet(SocketAddr::new(ip, 80)))
    };
    assert_eq!(bound(b, libc::SOCK_STREAM, v4.into()), Ok(()));
    assert_eq!(bound(b, libc::SOCK_STREAM, v6.into()), Ok(()));
    assert_eq!(bound(b, libc::SOCK_DGRAM, v4.into()), Ok(()));
    let in_use = Err(Errno(libc::EADDRINUSE));
    assert_eq!(bound(b, libc::SOCK_STREAM, v4.into()), in_use);
    let not_here = Err(Errno(libc::EADDRNOTAVAIL));
    assert_eq!(bound(a, libc::SOCK_STREAM, v4.into()), not_here);
    assert_eq!(bound(a, libc::SOCK_STREAM, v6.into()), not_here);

    let path = Address::Unix(crate::sys::sim::net::Name::Path(bytes("/run/x")));
    let unix = |net: &mut Net, host| {
        let made = net.socket(host, libc::AF_UNIX, libc::SOCK_STREAM, 0);
        made.unwrap()
    };
    let (first, second) = (unix(&mut world.net, a), unix(&mut world.net, b));
    assert_eq!(world.net.bind(first, &path), Ok(()));
    assert_eq!(world.net.connect(second, &path), Err(Errno(libc::ENOENT)));
    assert_eq!(world.net.bind(second, &path), Ok(()));
    // A path outlives its socket, and its host's crash.
    world.net.crash(a);
    let third = unix(&mut world.net, a);
    assert_eq!(world.net.connect(third, &path), Err(REFUSED));
    assert_eq!(world.net.bind(third, &path), in_use);
    assert!(world.net.unlink(a, b"/run/x"));
    assert!(!world.net.unlink(a, b"/run/x"));
    assert_eq!(world.net.bind(third, &path), Ok(()));
}

#[test]
#[cfg_attr(miri, ignore = "tens of thousands of sockets")]
fn ports_are_picked_until_there_are_none() {
    let mut world = World::new(1, 1, links());
    let mut seen = std::collections::BTreeSet::new();
    let mut made = Vec::new();
    for _ in 32_768..=60_999 {
        let socket = world.udp(0);
        let Ok(Address::Inet(name)) = world.net.local_name(socket) else {
            panic!("bound");
        };
        assert!(seen.insert(name.port()));
        made.push(socket);
    }
    let host = world.hosts[0];
    let socket = world
        .net
        .socket(host, libc::AF_INET, libc::SOCK_DGRAM, 0)
        .unwrap();
    let none = Err(Errno(libc::EADDRINUSE));
    assert_eq!(world.net.bind(socket, &any()), none);
    world.net.close(made[1000]).unwrap();
    assert_eq!(world.net.bind(socket, &any()), Ok(()));
}

#[test]
fn a_negative_or_huge_buffer_is_the_largest() {
    let mut world = World::new(1, 1, links());
    let socket = world.tcp(0);
    for asked in [-1, i32::MAX] {
        for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let level = libc::SOL_SOCKET;
            world
                .net
                .set_option(socket, level, name, &word(asked))
                .unwrap();
            assert_eq!(world.net.option(socket, level, name), Ok(word(8 << 20)));
        }
    }
}
