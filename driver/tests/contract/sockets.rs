//! Sockets that are made, bound and told to listen, and their options: what never waits.

use crate::kit::{self, code, os};
use crate::ledger::{Cx, Ledger};
use crate::steps::{errno, next, outcome, run, start};
use completeio_driver::address::Address;
use completeio_driver::ancillary::Credentials;
use completeio_driver::driver::{
    AsFd, AsRawFd, CompleteIo, Entry, OwnedFd, RawFd, Refusal, Support,
};
use completeio_driver::op::{
    Accept, Bind, Close, Connect, GetSockOpt, Linger, Listen, Nop, Recv, Send, SetSockOpt,
    Shutdown, SockOpt, Socket, SocketOptions, Timeout,
};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt;
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

contract! {
    everywhere: [
        everything_is_reported,
    ],
    on_host: [
        bound_to_the_internet,
        descriptors_that_are_no_sockets,
        operations_wait_where_calls_do_not,
        cancelled_after_the_submit,
        a_made_socket_that_nobody_took,
        in_the_order_of_the_pushes,
        a_full_queue,
        a_server_and_a_client,
        sockets_of_every_kind,
        sockets_that_cannot_be_made,
        addresses_that_cannot_be_had,
        listening_twice,
        what_does_not_listen,
        options_of_every_type,
        times_of_keeping_alive,
        options_that_cannot_be_set,
        values_of_another_size,
        fixed_descriptors,
        options_of_fixed_descriptors,
        options_of_an_accepted_connection,
        options_of_a_connected_socket,
        cancelled_before_the_submit,
        what_was_only_pushed_is_not_executed,
        a_server_of_owned_operations,
    ],
    on_unix: [
        bound_to_a_path,
        an_option_that_fails_closes_the_connection,
    ],
    on_linux: [
        an_option_that_fails_leaves_the_socket,
        a_socket_of_a_protocol,
        a_path_where_it_may_not_write,
        options_of_linux,
        nothing_of_an_earlier_value_is_left,
    ],
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The address families of this machine, each with an address that is free.
fn families() -> Vec<SocketAddr> {
    let all = [loopback(), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0))];
    let free = |addr: &SocketAddr| UdpSocket::bind(addr).is_ok();
    all.into_iter().filter(free).collect()
}

/// An option by the plain call.
fn asked_number(fd: &impl AsRawFd, level: i32, name: i32) -> i32 {
    i32::from_ne_bytes(kit::asked(fd, level, name))
}

fn assert_refused(entry: &Entry, refusal: Refusal) {
    assert_eq!(entry.refusal(), Some(refusal));
    assert_eq!(entry.raw_os_error(), None);
}

/// I20: whatever they are asked for, they are close-on-exec, and block unless it is said.
fn sockets_of_every_kind(cx: &mut Cx) {
    let unix = kit::HAS_UNIX_SOCKETS.then(|| Address::unix("/").unwrap());
    let mut l = cx.ledger();
    for addr in families().into_iter().map(Address::from).chain(unix) {
        for non_blocking in [false, true] {
            for (op, kind) in [
                (Socket::stream(&addr), kit::SOCK_STREAM),
                (Socket::datagram(&addr), kit::SOCK_DGRAM),
                (
                    Socket::new(addr.family(), kit::SOCK_STREAM, 0),
                    kit::SOCK_STREAM,
                ),
            ] {
                let before = kit::inherited();
                let socket = l.run(op.non_blocking(non_blocking)).unwrap();
                assert_eq!(kit::family_of(&socket), addr.family());
                assert_eq!(asked_number(&socket, os::SOL_SOCKET, os::SO_TYPE), kind);
                assert_eq!(kit::inherited(), before);
                assert_ne!(kit::blocks(&socket), Some(non_blocking));
            }
        }
    }
}

/// Flags that the call takes with the kind are the operation's, and the protocol is handed on.
#[cfg(target_os = "linux")]
fn a_socket_of_a_protocol(cx: &mut Cx) {
    let mut l = cx.ledger();
    let kind = kit::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let op = Socket::new(kit::AF_INET, kind, libc::IPPROTO_TCP).non_blocking(false);
    let socket = l.run(op).unwrap();
    assert_eq!(kit::blocks(&socket), Some(true));
    let protocol = asked_number(&socket, libc::SOL_SOCKET, libc::SO_PROTOCOL);
    assert_eq!(protocol, libc::IPPROTO_TCP);
}

fn sockets_that_cannot_be_made(cx: &mut Cx) {
    let mut l = cx.ledger();
    for (domain, kind, protocol) in [
        (9999, kit::SOCK_STREAM, 0),
        (-1, kit::SOCK_STREAM, 0),
        (kit::AF_INET, 77, 0),
        (kit::AF_INET, kit::SOCK_STREAM | 1 << 20, 0),
        (kit::AF_INET, kit::SOCK_STREAM, os::IPPROTO_UDP),
        (kit::AF_INET, kit::SOCK_STREAM, -1),
        (kit::AF_UNIX, kit::SOCK_STREAM, 7),
    ] {
        let plain = kit::errno_of_socket(domain, kind, protocol);
        assert_ne!(plain, 0);
        assert_eq!(l.errno(Socket::new(domain, kind, protocol)), plain);
    }
    // Windows has no such limit.
    #[cfg(unix)]
    {
        let mut none_free = kit::NoFreeDescriptor::new();
        let socket = || Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0);
        assert_eq!(l.errno(socket()), code::EMFILE);
        none_free.free_one();
        drop(l.run(socket()).unwrap());
    }
}

fn bound_to_the_internet(cx: &mut Cx) {
    let mut l = cx.ledger();
    for addr in families() {
        let socket = l.run(Socket::datagram(&addr.into())).unwrap();
        let fd = l.at(&socket);
        l.run(Bind::new(fd, addr)).unwrap();
        let socket = UdpSocket::from(socket);
        let bound = socket.local_addr().unwrap();
        assert_eq!(bound.ip(), addr.ip());
        assert_ne!(bound.port(), 0, "of the kernel's choice");
        let client = UdpSocket::bind(addr).unwrap();
        client.send_to(b"hello", bound).unwrap();
        assert_eq!(l.run(Recv::new(fd, [0; 8])).unwrap(), 5);
    }
}

#[cfg(unix)]
fn bound_to_a_path(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let addr = Address::unix(&*path).unwrap();
    let mut l = cx.ledger();
    let socket = l.run(Socket::stream(&addr)).unwrap();
    l.run(Bind::new(kit::plain(&socket), addr)).unwrap();
    l.run(Listen::new(kit::plain(&socket), 1)).unwrap();
    let listener = UnixListener::from(socket);
    let name = listener.local_addr().unwrap();
    assert_eq!(name.as_pathname(), Some(&*path));
    drop(UnixStream::connect(&*path).unwrap());
    drop(listener);
    let again = l.run(Socket::stream(&addr)).unwrap();
    let taken = l.errno(Bind::new(kit::plain(&again), addr));
    assert_eq!(taken, code::EADDRINUSE, "the path stays");
}

/// Each as the plain call has it.
fn addresses_that_cannot_be_had(cx: &mut Cx) {
    let (listener, taken) = kit::listener();
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let mut l = cx.ledger();
    let mut bind = |socket: OwnedFd, addr: Address| {
        let fd = l.at(&socket);
        l.errno(Bind::new(fd, addr))
    };
    let tcp = kit::tcp_socket;
    assert_eq!(bind(tcp(), taken.into()), code::EADDRINUSE);
    assert_eq!(bind(tcp(), elsewhere.into()), code::EADDRNOTAVAIL);
    assert!(code::NO_ADDRESS.contains(&bind(tcp(), Address::unspecified())));
    #[cfg(unix)]
    {
        let missing = Address::unix(kit::TempPath::new().join("x")).unwrap();
        let unix = || kit::socket(libc::AF_UNIX, kit::SOCK_STREAM);
        assert_eq!(bind(tcp(), missing), code::EAFNOSUPPORT);
        assert_eq!(bind(unix(), missing), code::ENOENT);
        assert_eq!(bind(unix(), taken.into()), code::EINVAL);
    }
    assert_eq!(bind(listener.into(), loopback().into()), code::WRONG_STATE);
}

/// Where the process may not write, root without its rights included.
#[cfg(target_os = "linux")]
fn a_path_where_it_may_not_write(cx: &mut Cx) {
    let mut l = cx.ledger();
    let directory = kit::TempPath::new();
    fs::create_dir(&*directory).unwrap();
    fs::set_permissions(&*directory, fs::Permissions::from_mode(0o555)).unwrap();
    let addr = Address::unix(directory.join("x")).unwrap();
    // SAFETY: takes a number, and is this thread's alone.
    let before = unsafe { libc::setfsuid(65_534) };
    let socket = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let forbidden = l.errno(Bind::new(kit::plain(&socket), addr));
    // SAFETY: as above.
    unsafe { libc::setfsuid(before.unsigned_abs()) };
    assert_eq!(forbidden, libc::EACCES);
}

/// I33: options too, where the kernel's own command would say something else.
fn descriptors_that_are_no_sockets(cx: &mut Cx) {
    let file = kit::file(b"");
    let null = File::options()
        .write(true)
        .open(kit::NULL.to_str().unwrap());
    let null = null.unwrap();
    let (_reader, writer) = kit::pipe();
    for (number, errno) in [
        (file.as_raw_fd(), code::ENOTSOCK),
        (null.as_raw_fd(), code::ENOTSOCK),
        (writer.as_raw_fd(), code::ENOTSOCK),
        (kit::ALL_CLOSED[0], code::NO_SOCKET),
    ] {
        let mut l = cx.ledger();
        let fd = || kit::number(number);
        assert_eq!(l.errno(Bind::new(fd(), loopback())), errno);
        assert_eq!(l.errno(Listen::new(fd(), 1)), errno);
        let shutdown = Shutdown::new(fd(), std::net::Shutdown::Both);
        assert_eq!(l.errno(shutdown), errno);
        let set = SetSockOpt::new(fd(), SockOpt::KEEP_ALIVE, true);
        assert_eq!(l.errno(set), errno);
        let set = SetSockOpt::new(fd(), SockOpt::NO_DELAY, true);
        assert_eq!(l.errno(set), errno);
        assert_eq!(l.errno(GetSockOpt::new(fd(), SockOpt::TYPE)), errno);
        assert_eq!(l.errno(GetSockOpt::new(fd(), SockOpt::NO_DELAY)), errno);
    }
}

fn listening_twice(cx: &mut Cx) {
    let mut l = cx.ledger();
    for addr in families() {
        let socket = l.run(Socket::stream(&addr.into())).unwrap();
        let fd = l.at(&socket);
        l.run(Bind::new(fd, addr)).unwrap();
        for backlog in [1, 0, u32::MAX] {
            l.run(Listen::new(fd, backlog)).unwrap();
            assert!(listens(&socket));
        }
        assert_eq!(l.errno(Bind::new(fd, addr)), code::WRONG_STATE);
        let listener = TcpListener::from(socket);
        let op = l.start(Accept::new(fd), 1);
        l.hand_over();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let entry = l.one();
        let accepted = l.finish(op, entry).unwrap();
        let from = accepted.addr.as_socket_addr();
        assert_eq!(from, Some(client.local_addr().unwrap()));
    }
    // Without an address the kernel chooses one; on Windows it has to be bound.
    let socket = kit::tcp_socket();
    let listen = Listen::new(kit::plain(&socket), 1);
    if kit::LISTENS_UNBOUND {
        l.run(listen).unwrap();
        let addr = TcpListener::from(socket).local_addr().unwrap();
        assert_ne!(addr.port(), 0);
    } else {
        assert_eq!(l.errno(listen), code::WRONG_STATE);
    }
}

fn listens(socket: &impl AsRawFd) -> bool {
    asked_number(socket, os::SOL_SOCKET, os::SO_ACCEPTCONN) != 0
}

fn what_does_not_listen(cx: &mut Cx) {
    let (client, _server) = kit::tcp_pair();
    let datagrams = UdpSocket::bind(loopback()).unwrap();
    #[cfg(unix)]
    let another = kit::socket(libc::AF_UNIX, kit::SOCK_STREAM);
    #[cfg(windows)]
    let another = kit::tcp_socket();
    let mut l = cx.ledger();
    for socket in [client.into(), datagrams.into(), another] {
        let plain = kit::errno_of_listen(&socket);
        assert_ne!(plain, 0);
        assert_eq!(l.errno(Listen::new(kit::plain(&socket), 1)), plain);
    }
}

fn options_of_every_type(cx: &mut Cx) {
    use os::{IPPROTO_TCP, SOL_SOCKET};
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    for yes in [true, false] {
        for (option, level, name) in [
            (SockOpt::KEEP_ALIVE, SOL_SOCKET, os::SO_KEEPALIVE),
            (SockOpt::REUSE_ADDR, SOL_SOCKET, os::SO_REUSEADDR),
            #[cfg(unix)]
            (SockOpt::REUSE_PORT, SOL_SOCKET, libc::SO_REUSEPORT),
            (SockOpt::BROADCAST, SOL_SOCKET, os::SO_BROADCAST),
            (SockOpt::NO_DELAY, IPPROTO_TCP, os::TCP_NODELAY),
        ] {
            l.run(SetSockOpt::new(fd, option, yes)).unwrap();
            assert_eq!(asked_number(&socket, level, name) != 0, yes);
            assert_eq!(l.run(GetSockOpt::new(fd, option)).unwrap(), yes);
        }
    }
    for (option, level, name, factor) in [
        (
            SockOpt::RECV_BUFFER,
            SOL_SOCKET,
            os::SO_RCVBUF,
            kit::ROOM_FACTOR,
        ),
        (
            SockOpt::SEND_BUFFER,
            SOL_SOCKET,
            os::SO_SNDBUF,
            kit::ROOM_FACTOR,
        ),
    ] {
        let value = 32_000;
        l.run(SetSockOpt::new(fd, option, value)).unwrap();
        assert_eq!(asked_number(&socket, level, name), factor * value);
        let got = l.run(GetSockOpt::new(fd, option)).unwrap();
        assert_eq!(got, factor * value);
    }
    assert_eq!(l.run(GetSockOpt::new(fd, SockOpt::ERROR)).unwrap(), 0);
    let kind = l.run(GetSockOpt::new(fd, SockOpt::TYPE)).unwrap();
    assert_eq!(kind, kit::SOCK_STREAM);
    for linger in [
        Linger::after(Duration::from_secs(7)),
        Linger::RESET,
        Linger::OFF,
    ] {
        l.run(SetSockOpt::new(fd, SockOpt::LINGER, linger)).unwrap();
        assert_eq!(kit::lingers(&socket), linger.duration());
        assert_eq!(l.run(GetSockOpt::new(fd, SockOpt::LINGER)).unwrap(), linger);
    }
    for option in [SockOpt::RECV_TIMEOUT, SockOpt::SEND_TIMEOUT] {
        for wait in [Some(Duration::from_secs(3)), None] {
            l.run(SetSockOpt::new(fd, option, wait)).unwrap();
            assert_eq!(l.run(GetSockOpt::new(fd, option)).unwrap(), wait);
        }
    }
    let v6 = l.run(Socket::new(kit::AF_INET6, kit::SOCK_STREAM, 0));
    let v6 = v6.unwrap();
    for yes in [false, true] {
        let set = SetSockOpt::new(kit::plain(&v6), SockOpt::V6_ONLY, yes);
        l.run(set).unwrap();
        let plain = asked_number(&v6, os::IPPROTO_IPV6, os::IPV6_V6ONLY);
        assert_eq!(plain != 0, yes);
    }
}

fn times_of_keeping_alive(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    for (option, name) in [
        (SockOpt::KEEP_IDLE, kit::KEEP_IDLE),
        (SockOpt::KEEP_INTERVAL, kit::KEEP_INTERVAL),
    ] {
        l.run(SetSockOpt::new(fd, option, 32_000)).unwrap();
        assert_eq!(asked_number(&socket, os::IPPROTO_TCP, name), 32_000);
        assert_eq!(l.run(GetSockOpt::new(fd, option)).unwrap(), 32_000);
    }
    l.run(SetSockOpt::new(fd, SockOpt::KEEP_COUNT, 5)).unwrap();
    assert_eq!(l.run(GetSockOpt::new(fd, SockOpt::KEEP_COUNT)).unwrap(), 5);
}

/// Those of control messages and of credentials, and one that has no type of its own.
#[cfg(target_os = "linux")]
fn options_of_linux(cx: &mut Cx) {
    use libc::{IPPROTO_TCP, SOL_SOCKET};
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let [udp4, udp6] = [libc::AF_INET, libc::AF_INET6].map(|af| kit::socket(af, libc::SOCK_DGRAM));
    let (unix, _peer) = kit::pair();
    let unix = OwnedFd::from(unix);
    for yes in [true, false] {
        for (socket, option, level, name) in [
            (
                &udp4,
                SockOpt::RECV_TRAFFIC_CLASS_V4,
                libc::IPPROTO_IP,
                libc::IP_RECVTOS,
            ),
            (
                &udp4,
                SockOpt::RECV_PACKET_INFO_V4,
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
            ),
            (&udp4, SockOpt::RECV_SEGMENTS, libc::SOL_UDP, libc::UDP_GRO),
            (
                &udp6,
                SockOpt::RECV_TRAFFIC_CLASS_V6,
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVTCLASS,
            ),
            (
                &udp6,
                SockOpt::RECV_PACKET_INFO_V6,
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
            ),
            (
                &unix,
                SockOpt::RECV_CREDENTIALS,
                SOL_SOCKET,
                libc::SO_PASSCRED,
            ),
        ] {
            let fd = kit::plain(socket);
            l.run(SetSockOpt::new(fd, option, yes)).unwrap();
            assert_eq!(asked_number(socket, level, name) != 0, yes);
            assert_eq!(l.run(GetSockOpt::new(fd, option)).unwrap(), yes);
        }
    }
    let peer = GetSockOpt::new(kit::plain(&unix), SockOpt::PEER_CREDENTIALS);
    let peer = l.run(peer).unwrap();
    // SAFETY: asks for numbers.
    let user = unsafe { libc::getuid() };
    // SAFETY: as above.
    let ids = (user, unsafe { libc::getgid() });
    assert_eq!(peer.pid.unsigned_abs(), std::process::id());
    assert_eq!((peer.uid, peer.gid), ids);
    let set = SetSockOpt::new(kit::plain(&unix), SockOpt::PEER_CREDENTIALS, peer);
    assert_eq!(l.errno(set), libc::ENOPROTOOPT);
    // SAFETY: the option is a name of at most 16 bytes.
    let congestion = unsafe { SockOpt::from_raw(IPPROTO_TCP, libc::TCP_CONGESTION) };
    let name: [u8; 16] = l.run(GetSockOpt::new(fd, congestion)).unwrap();
    assert_eq!(name, kit::asked(&socket, IPPROTO_TCP, libc::TCP_CONGESTION));
    l.run(SetSockOpt::new(fd, congestion, name)).unwrap();
}

fn options_that_cannot_be_set(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let no_option = code::ENOPROTOOPT;
    // SAFETY: there is no such option.
    let unknown: SockOpt<i32> = unsafe { SockOpt::from_raw(os::SOL_SOCKET, 9999) };
    assert_eq!(l.errno(SetSockOpt::new(fd, unknown, 1)), no_option);
    assert_eq!(l.errno(GetSockOpt::new(fd, unknown)), no_option);
    let read_only = SetSockOpt::new(fd, SockOpt::TYPE, 1);
    assert_eq!(l.errno(read_only), no_option);
    #[cfg(unix)]
    {
        let (unix, _peer) = kit::pair();
        let fd = l.at(&unix);
        let no_delay = SetSockOpt::new(fd, SockOpt::NO_DELAY, true);
        assert_eq!(l.errno(no_delay), kit::NO_LEVEL);
        let no_delay = GetSockOpt::new(fd, SockOpt::NO_DELAY);
        assert_eq!(l.errno(no_delay), kit::NO_LEVEL);
        // What works at the level of sockets works on those of Unix.
        l.run(SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, true))
            .unwrap();
        assert!(l.run(GetSockOpt::new(fd, SockOpt::KEEP_ALIVE)).unwrap());
    }
}

fn values_of_another_size(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    // SAFETY: the value is an integer.
    let two = unsafe { SockOpt::<[u8; 2]>::from_raw(os::SOL_SOCKET, os::SO_RCVBUF) };
    assert_eq!(l.errno(SetSockOpt::new(fd, two, [1; 2])), code::TOO_SHORT);
    // SAFETY: as above.
    let none = unsafe { SockOpt::<[u8; 0]>::from_raw(os::SOL_SOCKET, os::SO_RCVBUF) };
    assert_eq!(l.errno(SetSockOpt::new(fd, none, [])), code::TOO_SHORT);
    match l.run(GetSockOpt::new(fd, none)) {
        Ok(nothing) => assert_eq!(nothing, [0; 0]),
        Err(error) => assert!(cfg!(windows) && error.raw_os_error() == Some(code::TOO_SHORT)),
    }
    // SAFETY: as above.
    let kind = unsafe { SockOpt::<[u8; 8]>::from_raw(os::SOL_SOCKET, os::SO_TYPE) };
    let mut expected = [0; 8];
    expected[..4].copy_from_slice(&kit::SOCK_STREAM.to_ne_bytes());
    assert_eq!(l.run(GetSockOpt::new(fd, kind)).unwrap(), expected);
    // SAFETY: as above.
    let short = unsafe { SockOpt::<Credentials>::from_raw(os::SOL_SOCKET, os::SO_LINGER) };
    let error = l.run(GetSockOpt::new(fd, short)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

/// The name of a device that a socket is bound to is as long as it is.
#[cfg(target_os = "linux")]
fn nothing_of_an_earlier_value_is_left(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
    // SAFETY: the option is a name of at most 16 bytes, here and below.
    let device = unsafe { SockOpt::<[u8; 16]>::from_raw(level, name) };
    // SAFETY: as above.
    let loopback = unsafe { SockOpt::<[u8; 3]>::from_raw(level, name) };
    // SAFETY: as above.
    let none = unsafe { SockOpt::<[u8; 1]>::from_raw(level, name) };
    let op = l.lend(GetSockOpt::new(fd, device));
    l.run(SetSockOpt::new(fd, loopback, *b"lo\0")).unwrap();
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(entry.result().unwrap(), 3);
    assert_eq!(l.finish(op, entry).unwrap()[..4], *b"lo\0\0");
    match l.run(SetSockOpt::new(fd, none, [0])) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return, // Not root.
        unset => unset.unwrap(),
    }
    l.push(op, 2);
    let entry = l.one();
    assert_eq!(entry.result().unwrap(), 0);
    assert_eq!(l.finish(op, entry).unwrap(), [0; 16]);
}

/// Where the kernel has opcodes for them, as here; without, see the backend's own tests.
fn fixed_descriptors(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let reported = |name| {
        let operations = &l.capabilities().operations;
        let found = operations.iter().find(|(known, _)| *known == name);
        found.unwrap().1
    };
    if cx.is_io_uring() && reported("Bind") == Support::Inline {
        let _ = writeln!(std::io::stderr(), "skipped: no opcode, before Linux 6.11");
        return;
    }
    let fd = l.register_fd(socket.as_raw_fd(), 5).unwrap();
    l.run(Bind::new(fd, loopback())).unwrap();
    l.run(Listen::new(fd, 1)).unwrap();
    let addr = TcpListener::from(socket).local_addr().unwrap();
    let client = TcpStream::connect(addr).unwrap();
    let accepted = l.run(Accept::new(fd)).unwrap();
    let fd = l.register_fd(accepted.fd.as_raw_fd(), 6).unwrap();
    l.run(Shutdown::new(fd, std::net::Shutdown::Write)).unwrap();
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    let empty = completeio_driver::driver::FixedFd::from_id(9);
    assert_eq!(l.errno(Bind::new(empty, loopback())), code::NO_SOCKET);
    assert_eq!(l.errno(Listen::new(empty, 1)), code::NO_SOCKET);
}

/// io_uring has a command for them, with words of its own for what is no socket.
fn options_of_fixed_descriptors(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let file = kit::file(b"");
    let null = kit::null();
    let mut l = cx.ledger();
    let fd = l.register_fd(socket.as_raw_fd(), 0).unwrap();
    let set = |fd| SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, true);
    let (_, entry) = l.entry_of(set(fd));
    if entry.refusal() == Some(Refusal::FixedDescriptor) {
        assert!(cx.is_io_uring());
        let _ = writeln!(std::io::stderr(), "skipped: no command, before Linux 6.7");
        return;
    }
    entry.into_result().unwrap();
    assert!(l.run(GetSockOpt::new(fd, SockOpt::KEEP_ALIVE)).unwrap());
    l.run(SetSockOpt::new(fd, SockOpt::NO_DELAY, true)).unwrap();
    let no_delay = asked_number(&socket, os::IPPROTO_TCP, os::TCP_NODELAY);
    assert_ne!(no_delay, 0);
    let linger = Linger::after(Duration::from_secs(7));
    l.run(SetSockOpt::new(fd, SockOpt::LINGER, linger)).unwrap();
    assert_eq!(l.run(GetSockOpt::new(fd, SockOpt::LINGER)).unwrap(), linger);
    let (op, entry) = l.entry_of(GetSockOpt::new(fd, SockOpt::NO_DELAY));
    if cx.is_io_uring() {
        assert_refused(&entry, Refusal::FixedDescriptor);
    } else {
        assert!(l.finish(op, entry).unwrap());
    }
    let fd = l.register_fd(file.as_raw_fd(), 1).unwrap();
    let null = l.register_fd(null.as_raw_fd(), 2).unwrap();
    #[cfg(target_os = "linux")]
    if cx.is_io_uring() {
        assert_eq!(l.errno(set(fd)), libc::EOPNOTSUPP);
        let get = GetSockOpt::new(null, SockOpt::KEEP_ALIVE);
        let error = l.run(get).unwrap_err();
        // It takes every command, and does nothing (seen on 6.18).
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    if !cx.is_io_uring() {
        assert_eq!(l.errno(set(fd)), code::ENOTSOCK);
        assert_eq!(l.errno(set(null)), code::ENOTSOCK);
    }
    let empty = completeio_driver::driver::FixedFd::from_id(9);
    assert_eq!(l.errno(set(empty)), code::NO_SOCKET);
}

fn all_options() -> SocketOptions {
    SocketOptions::new()
        .no_delay(true)
        .keep_alive(true)
        .non_blocking(true)
        .recv_buffer(32_000)
        .send_buffer(16_000)
        .linger(Linger::after(Duration::from_secs(7)))
}

fn assert_has_all_options(fd: &impl AsRawFd) {
    let number = |name| asked_number(fd, os::SOL_SOCKET, name);
    assert!(has_no_delay(fd));
    assert_ne!(number(os::SO_KEEPALIVE), 0);
    assert_eq!(number(os::SO_RCVBUF), kit::ROOM_FACTOR * 32_000);
    assert_eq!(number(os::SO_SNDBUF), kit::ROOM_FACTOR * 16_000);
    assert_eq!(kit::lingers(fd), Some(Duration::from_secs(7)));
    assert_ne!(kit::blocks(fd), Some(true));
}

fn options_of_an_accepted_connection(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let plain = l.lend(Accept::new(fd));
    let all = l.lend(Accept::new(fd).options(all_options()));
    for (op, has) in [(plain, false), (all, true), (plain, false)] {
        let before = kit::inherited();
        l.push(op, 1);
        l.hand_over();
        let mut client = TcpStream::connect(addr).unwrap();
        let entry = l.one();
        let accepted = l.finish(op, entry).unwrap();
        assert_eq!(kit::inherited(), before);
        if has {
            assert_has_all_options(&accepted.fd);
        } else {
            assert_ne!(kit::blocks(&accepted.fd), Some(false));
            assert!(!has_no_delay(&accepted.fd));
        }
        TcpStream::from(accepted.fd).write_all(b"hello").unwrap();
        let mut hello = String::new();
        client.read_to_string(&mut hello).unwrap();
        assert_eq!(hello, "hello");
    }
    // Disposed of: closed, whatever the options are.
    l.push(all, 2);
    l.hand_over();
    let mut client = TcpStream::connect(addr).unwrap();
    let entry = l.one();
    l.dispose(entry);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

fn is_bound(fd: &impl AsRawFd) -> bool {
    let socket = kit::plain(fd).try_clone_to_owned().unwrap();
    let addr = TcpStream::from(socket).local_addr();
    addr.is_ok_and(|addr| addr.port() != 0)
}

fn has_no_delay(fd: &impl AsRawFd) -> bool {
    let socket = kit::plain(fd).try_clone_to_owned().unwrap();
    TcpStream::from(socket).nodelay().unwrap()
}

/// `O_NONBLOCK` is for plain calls, and so is `SO_RCVTIMEO`.
fn operations_wait_where_calls_do_not(cx: &mut Cx) {
    let options = SocketOptions::new().non_blocking(true);
    let mut l = cx.ledger();
    let socket = Socket::stream(&loopback().into()).non_blocking(true);
    let listener = TcpListener::from(l.run(socket).unwrap());
    let fd = l.at(&listener);
    l.run(Bind::new(fd, loopback())).unwrap();
    l.run(Listen::new(fd, 4)).unwrap();
    let op = l.start(Accept::new(fd).options(options), 1);
    l.hand_over();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let entry = l.one();
    let mut accepted = TcpStream::from(l.finish(op, entry).unwrap().fd);
    let blocked = accepted.read(&mut [0]).unwrap_err();
    assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
    let fd = l.at(&accepted);
    let soon = Some(Duration::from_micros(1));
    l.run(SetSockOpt::new(fd, SockOpt::RECV_TIMEOUT, soon))
        .unwrap();
    let op = l.start(Recv::new(fd, [0; 8]), 2);
    l.hand_over();
    l.start(Timeout::after(Duration::from_millis(5)), 3);
    assert_eq!(l.one().user_data(), 3, "the receive waits on");
    client.write_all(b"hello").unwrap();
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 5);
}

/// I16: there is no TCP below a Unix socket.
#[cfg(unix)]
fn an_option_that_fails_closes_the_connection(cx: &mut Cx) {
    let (listener, addr) = kit::unix_listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let options = SocketOptions::new().no_delay(true);
    let op = l.lend(Accept::new(fd).options(options));
    for n in 0..3 {
        let mut client = UnixStream::connect_addr(&addr).unwrap();
        l.push(op, n);
        let entry = l.one();
        assert!(entry.result().is_ok(), "the accept itself succeeded");
        let error = l.finish(op, entry).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(kit::NO_LEVEL));
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "closed");
    }
    // An accept that fails says so, and no option is tried.
    let socket = kit::tcp_socket();
    let deaf = Accept::new(kit::plain(&socket)).options(options);
    assert_eq!(errno(l.run(deaf)), code::EINVAL);
}

fn options_of_a_connected_socket(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut l = cx.ledger();
    let socket = kit::tcp_socket();
    let fd = l.at(&socket);
    l.run(Connect::new(fd, addr).options(all_options()))
        .unwrap();
    assert_has_all_options(&socket);
    let _accepted = listener.accept().unwrap();
    // A fixed descriptor has no number for a call.
    let socket = kit::tcp_socket();
    let fd = l.register_fd(socket.as_raw_fd(), 0).unwrap();
    let (_, entry) = l.entry_of(Connect::new(fd, addr).options(all_options()));
    assert_refused(&entry, Refusal::FixedDescriptor);
    l.run(Connect::new(fd, addr).options(SocketOptions::new()))
        .unwrap();
    assert!(!has_no_delay(&socket));
}

#[cfg(unix)]
fn an_option_that_fails_leaves_the_socket(cx: &mut Cx) {
    let (listener, _) = kit::listener();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let path = kit::TempPath::new();
    let listener = UnixListener::bind(&*path).unwrap();
    let options = SocketOptions::new().no_delay(true);
    let mut l = cx.ledger();
    let socket = kit::tcp_socket();
    let fd = l.at(&socket);
    let connect = Connect::new(fd, refusing).options(options);
    assert_eq!(errno(l.run(connect)), code::ECONNREFUSED);
    assert!(!has_no_delay(&socket), "no option of what failed");
    let socket = kit::socket(libc::AF_UNIX, kit::SOCK_STREAM);
    let fd = l.at(&socket);
    let connect = Connect::new(fd, Address::unix(&*path).unwrap()).options(options);
    assert_eq!(errno(l.run(connect)), kit::NO_LEVEL);
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(l.run(Send::new(fd, "hello")).unwrap(), 5, "it is connected");
    peer.read_exact(&mut [0; 5]).unwrap();
}

/// Options are calls in place on both backends, and are taken back untouched.
fn cancelled_before_the_submit(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let unbound = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    for how in 0..3 {
        l.start(SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, true), 1);
        l.start(GetSockOpt::new(fd, SockOpt::KEEP_ALIVE), 2);
        match how {
            0 => [1, 2].map(|n| l.try_cancel(n).unwrap()).len(),
            1 => l.try_cancel_fd(&fd).map(|()| 0).unwrap(),
            _ => l.try_cancel_all().map(|()| 0).unwrap(),
        };
        let entries = l.take_sorted(2);
        assert_eq!(kit::errnos(&entries), [code::ECANCELED; 2]);
        let on = asked_number(&socket, os::SOL_SOCKET, os::SO_KEEPALIVE);
        assert_eq!(on, 0, "never set");
    }
    // The others have entries on io_uring, which comes to them before it comes to the cancel.
    let op = l.start(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0), 1);
    l.start(Bind::new(kit::plain(&unbound), loopback()), 2);
    l.try_cancel(1).unwrap();
    l.try_cancel(2).unwrap();
    let mut entries = l.take_sorted(2);
    let bound = kit::errno(&entries[1]) == 0;
    assert_eq!(bound, is_bound(&unbound));
    assert!(bound || kit::errno(&entries[1]) == code::ECANCELED);
    let made = l.finish(op, entries.remove(0));
    assert!(made.is_ok() || errno(made) == code::ECANCELED);
}

/// I4: they are complete by then, and a cancel hits nobody else.
fn cancelled_after_the_submit(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    for n in 0..100 {
        let on = n % 2 == 0;
        l.start(SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, on), 1);
        l.start(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0), 2);
        let mut entries = l.turn();
        l.try_cancel(1).unwrap();
        l.try_cancel(2).unwrap();
        while entries.len() < 2 {
            entries.extend(l.take(1));
        }
        for entry in entries {
            assert!(entry.result().is_ok());
            l.dispose(entry);
        }
        assert_eq!(l.run(GetSockOpt::new(fd, SockOpt::KEEP_ALIVE)).unwrap(), on);
    }
}

/// I5: a drop without a submit.
fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let unbound = kit::tcp_socket();
    let tcp = kit::tcp_socket();
    let before = kit::open_fds();
    let mut l = cx.ledger();
    l.start(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0), 1);
    l.start(Bind::new(kit::plain(&unbound), loopback()), 2);
    l.start(Listen::new(kit::plain(&unbound), 1), 3);
    let set = SetSockOpt::new(kit::plain(&tcp), SockOpt::NO_DELAY, true);
    let set = l.start(set, 4);
    let get = l.start(GetSockOpt::new(kit::plain(&tcp), SockOpt::NO_DELAY), 5);
    assert_eq!(l.in_flight(), 5);
    // The memory may be gone by then.
    l.free(set);
    l.free(get);
    l.abandon();
    assert_eq!(kit::open_fds(), before);
    assert!(!is_bound(&unbound));
    assert!(!has_no_delay(&tcp));
    assert!(!listens(&unbound));
}

/// I16: the runner counts descriptors.
fn a_made_socket_that_nobody_took(cx: &mut Cx) {
    let before = kit::open_fds();
    for n in 0..4 {
        let mut l = cx.ledger();
        for n in 0..4 {
            l.start(Socket::new(kit::AF_INET, kit::SOCK_STREAM, 0), n);
        }
        if n > 0 {
            let mut entry = None;
            l.submit(None, &mut entry).unwrap();
            l.dispose(entry.unwrap());
        }
        l.abandon();
        assert_eq!(kit::open_fds(), before);
    }
}

fn in_the_order_of_the_pushes(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let linger = |n| Linger::after(Duration::from_secs(n));
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    let mut gets = Vec::new();
    for n in 1..=20 {
        l.start(SetSockOpt::new(fd, SockOpt::LINGER, linger(n)), 0);
        gets.push(l.start(GetSockOpt::new(fd, SockOpt::LINGER), gets.len() + 1));
    }
    let mut n = 0;
    for entry in l.take(40) {
        if entry.user_data() > 0 {
            assert_eq!(entry.user_data(), n + 1, "in order");
            let value = l.finish(gets[n], entry).unwrap();
            n += 1;
            assert_eq!(value, linger(n as u64));
        }
    }
    assert_eq!(n, 20);
}

/// I2: a call in place takes a place and a credit like any other.
fn a_full_queue(cx: &mut Cx) {
    let socket = kit::tcp_socket();
    let mut l = cx.with(|limits| limits.entries(4).completion_entries(8).in_flight(6));
    let fd = l.at(&socket);
    let set = || SetSockOpt::new(fd, SockOpt::KEEP_ALIVE, true);
    for round in 0..50 {
        for n in 0..4 {
            assert_eq!(l.capacity_left(), 4 - n);
            if (n + round) % 3 == 0 {
                l.start(Nop::new(), n);
            } else {
                l.start(set(), n);
            }
        }
        assert_eq!(l.capacity_left(), 0);
        let one_more = l.lend(set());
        assert!(l.try_push(one_more, 9).is_err());
        assert!(l.try_push_typed(one_more, 9).is_err());
        // One out, and three that stay: of six credits three are left.
        let mut entries = Vec::with_capacity(1);
        l.submit(None, &mut entries).unwrap();
        assert_eq!((l.in_flight(), l.capacity_left()), (3, 3));
        for n in 4..7 {
            l.start(set(), n);
        }
        assert!(l.try_push(one_more, 9).is_err());
        entries.extend(l.take(6));
        assert!(entries.iter().all(|entry| entry.result().is_ok()));
    }
}

fn everything_is_reported(cx: &mut Cx) {
    fn is_send<T: std::marker::Send>() {} // As a `Remote` asks.
    is_send::<(Socket, Bind<OwnedFd>, Listen<OwnedFd>)>();
    is_send::<(SetSockOpt<OwnedFd, Linger>, GetSockOpt<OwnedFd, [u8; 8]>)>();
    let l = cx.ledger();
    let operations = &l.capabilities().operations;
    for name in ["Socket", "Bind", "Listen", "SetSockOpt", "GetSockOpt"] {
        let found = operations.iter().find(|(known, _)| *known == name);
        assert_ne!(found.unwrap().1, Support::Missing);
    }
}

/// Operations alone, on the stack, and no `unsafe`.
fn a_server_and_a_client(cx: &mut Cx) {
    for addr in families() {
        let mut l = cx.ledger();
        serve(&mut l, addr);
    }
}

fn serve(l: &mut Ledger, addr: SocketAddr) {
    let mut ops = [Socket::stream(&addr.into()), Socket::stream(&addr.into())];
    let [listens, connects] = &mut ops;
    let (listens, connects) = l
        .scope(|s| (run(s, listens).0.unwrap(), run(s, connects).0.unwrap()))
        .unwrap();
    let mut reuse = SetSockOpt::new(listens.as_fd(), SockOpt::REUSE_ADDR, true);
    let mut bind = Bind::new(listens.as_fd(), addr);
    let mut listen = Listen::new(listens.as_fd(), 16);
    l.scope(|s| {
        run(s, &mut reuse).0.unwrap();
        run(s, &mut bind).0.unwrap();
        run(s, &mut listen).0.unwrap();
    })
    .unwrap();
    let listens = TcpListener::from(listens);
    let bound = listens.local_addr().unwrap();

    let options = SocketOptions::new().no_delay(true);
    let mut accept = Accept::new(listens.as_fd()).options(options);
    let mut connect = Connect::new(connects.as_fd(), bound).options(options);
    let served = l
        .scope(|s| {
            let accept = start(s, &mut accept, 1);
            let connect = start(s, &mut connect, 2);
            let mut done = [next(s), next(s)];
            done.sort_by_key(|done| done.token());
            let [accepted, connected] = done;
            connect.redeem(connected).unwrap().0.unwrap();
            accept.redeem(accepted).unwrap().0.unwrap().fd
        })
        .unwrap();
    assert!(has_no_delay(&served) && has_no_delay(&connects));

    let mut request = Send::new(connects.as_fd(), "ping");
    let mut end = Shutdown::new(connects.as_fd(), std::net::Shutdown::Write);
    let mut receive = Recv::new(served.as_fd(), [0; 16]);
    let mut receive_end = Recv::new(served.as_fd(), [0; 16]);
    let mut answer = Send::new(served.as_fd(), "pong!");
    let mut receive_answer = Recv::new(connects.as_fd(), [0; 16]);
    let mut alive = GetSockOpt::new(connects.as_fd(), SockOpt::ERROR);
    l.scope(|s| {
        assert_eq!(run(s, &mut request).0.unwrap(), 4);
        assert_eq!(run(s, &mut receive).0.unwrap(), 4);
        run(s, &mut end).0.unwrap();
        assert_eq!(run(s, &mut receive_end).0.unwrap(), 0, "the end");
        assert_eq!(run(s, &mut answer).0.unwrap(), 5);
        assert_eq!(run(s, &mut receive_answer).0.unwrap(), 5);
        assert_eq!(run(s, &mut alive).0.unwrap(), 0);
    })
    .unwrap();
    assert_eq!(&receive.buf()[..4], b"ping");
    assert_eq!(&receive_answer.buf()[..5], b"pong!");
    let fds = [OwnedFd::from(listens), connects, served];
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut closes = fds.map(Close::new);
    l.scope(|s| {
        for close in &mut closes {
            run(s, close).0.unwrap();
        }
    })
    .unwrap();
    assert!(numbers.iter().all(|number| !kit::is_open(*number)));
}

/// Operations that the driver owns.
fn a_server_of_owned_operations(cx: &mut Cx) {
    let addr = Address::from(loopback());
    let mut l = cx.ledger();
    let key = l.try_push_owned(Socket::stream(&addr), 1).unwrap();
    let (socket, _op) = outcome(&mut l, key);
    let socket = Rc::new(socket.unwrap());
    let key = l.try_push_owned(Bind::new(socket.clone(), addr), 2);
    outcome(&mut l, key.unwrap()).0.unwrap();
    let key = l.try_push_owned(Listen::new(socket.clone(), 4), 3);
    let (listening, op) = outcome(&mut l, key.unwrap());
    listening.unwrap();
    let set = SetSockOpt::new(socket.clone(), SockOpt::SEND_BUFFER, 9_000);
    let key = l.try_push_owned(set, 4).unwrap();
    outcome(&mut l, key).0.unwrap();
    let get = GetSockOpt::new(socket.clone(), SockOpt::SEND_BUFFER);
    let key = l.try_push_owned(get, 5).unwrap();
    let room = outcome(&mut l, key).0.unwrap();
    assert_eq!(room, kit::ROOM_FACTOR * 9_000);
    // Orphans: their descriptors are closed, and what was pushed alone is not done.
    drop(l.try_push_owned(Socket::stream(&addr), 6).unwrap());
    drop(l.try_push_owned(op, 7).unwrap());
    let listener = socket.try_clone().unwrap();
    let bound = TcpListener::from(listener).local_addr().unwrap();
    let _client = TcpStream::connect(bound).unwrap();
    while l.in_flight() > 0 {
        l.submit(None, &mut None).unwrap();
    }
    while l.next_finished().is_some() {}
}
