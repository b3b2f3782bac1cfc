//! Unix sockets: their names as operations give and take them, and receivers without room.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::address::Address;
use completeio_driver::ancillary::Outgoing;
use completeio_driver::driver::{Fd, OwnedFd};
use completeio_driver::op::{
    Accept, Bind, Connect, MsgFlags, Recv, RecvFrom, Send, SendMsg, SendTo, SendToVectored,
    SendVectored,
};
use std::fs;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

contract! {
    on_host: [
        a_name_is_the_same_from_both_sides,
    ],
    on_linux: [
        a_path_without_an_end,
        names_that_are_no_paths,
        a_receiver_without_room,
        a_receiver_without_room_that_is_connected,
    ],
}

/// Who sent the next datagram.
fn sender(l: &mut Ledger, fd: Fd) -> Address {
    l.run(RecvFrom::new(fd, [0; 8])).unwrap().addr
}

/// Who connects, of which the socket `client` has a name.
fn peer(l: &mut Ledger, client: &OwnedFd) -> Address {
    let path = kit::TempPath::new();
    let listener = UnixListener::bind(&*path).unwrap();
    let (listens, client) = (l.at(&listener), l.at(client));
    l.run(Connect::new(client, Address::unix(&*path).unwrap()))
        .unwrap();
    l.run(Accept::new(listens)).unwrap().addr
}

/// What was asked for by its path is found again by it.
fn a_name_is_the_same_from_both_sides(cx: &mut Cx) {
    let paths = [(); 3].map(|()| kit::TempPath::new());
    let [at, from, connects] = paths.each_ref().map(|path| Address::unix(&**path).unwrap());
    let receiver = UnixDatagram::bind(&*paths[0]).unwrap();
    let ours = kit::socket(libc::AF_UNIX, libc::SOCK_DGRAM);
    let mut l = cx.ledger();
    l.run(Bind::new(kit::plain(&ours), from)).unwrap();
    l.run(SendTo::new(kit::plain(&ours), "hello", at)).unwrap();
    let fd = l.at(&receiver);
    assert_eq!(sender(&mut l, fd), from);
    let client = kit::unix_socket_at(&paths[2]);
    assert_eq!(peer(&mut l, &client), connects);
}

/// A path of 108 bytes has no zero behind it, and the kernel gives it a length that it does not
/// take.
#[cfg(target_os = "linux")]
fn a_path_without_an_end(cx: &mut Cx) {
    const LONGEST: usize = 108;
    let directory = kit::TempPath::new();
    fs::create_dir(&*directory).unwrap();
    let short = std::env::temp_dir().join(kit::unique());
    symlink(&*directory, &short).unwrap();
    let path = |first: &str| {
        let rest = LONGEST - short.as_os_str().len() - 1 - first.len();
        short.join(first.to_owned() + &"x".repeat(rest))
    };
    let (datagrams, stream) = (path("datagrams"), path("stream"));
    let ours = kit::unix_socket_of(libc::SOCK_DGRAM, &datagrams);
    let client = kit::unix_socket_of(libc::SOCK_STREAM, &stream);

    let receives = kit::TempPath::new();
    let receiver = UnixDatagram::bind(&*receives).unwrap();
    let at = Address::unix(&*receives).unwrap();
    let mut l = cx.ledger();
    let (ours, fd) = (l.at(&ours), l.at(&receiver));
    l.run(SendTo::new(ours, "hello", at)).unwrap();
    let from = sender(&mut l, fd);
    assert_eq!(from.as_pathname().as_deref(), Some(&*datagrams));
    assert_eq!(l.run(SendTo::new(fd, "back", from)).unwrap(), 4);
    assert_eq!(l.run(Recv::new(ours, [0; 8])).unwrap(), 4);

    // One that was accepted is as good.
    let from = peer(&mut l, &client);
    assert_eq!(from.as_pathname().as_deref(), Some(&*stream));
    let other = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let refused = l.errno(Connect::new(kit::plain(&other), from));
    assert_eq!(refused, libc::ECONNREFUSED, "it does not listen");
    for path in [&datagrams, &stream, &short] {
        fs::remove_file(path).unwrap();
    }
}

/// Abstract ones, and none at all.
#[cfg(target_os = "linux")]
fn names_that_are_no_paths(cx: &mut Cx) {
    let named = || {
        let name = SocketAddr::from_abstract_name(kit::unique()).unwrap();
        UnixDatagram::bind_addr(&name).unwrap()
    };
    let (ours, theirs) = (named(), named());
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    theirs
        .send_to_addr(b"hello", &ours.local_addr().unwrap())
        .unwrap();
    let from = sender(&mut l, fd);
    assert_eq!((from.as_pathname(), from.family()), (None, libc::AF_UNIX));
    assert_eq!(l.run(SendTo::new(fd, "back", from)).unwrap(), 4);
    assert_eq!(theirs.recv(&mut [0; 8]).unwrap(), 4);

    let unnamed = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let nobody = peer(&mut l, &unnamed);
    assert_eq!(
        (nobody.as_pathname(), nobody.family()),
        (None, libc::AF_UNIX)
    );
    let ours = kit::socket(libc::AF_UNIX, libc::SOCK_STREAM);
    let nowhere = l.errno(Connect::new(kit::plain(&ours), nobody));
    assert_eq!(nowhere, libc::EINVAL);
    // As bind(2) has it: one of the kernel's choice.
    l.run(Bind::new(kit::plain(&ours), nobody)).unwrap();
    let chosen = UnixStream::from(ours).local_addr().unwrap();
    assert!(chosen.as_abstract_name().is_some());
}

/// A receiver at a path whose queue is full.
fn full_receiver(path: &Path) -> UnixDatagram {
    let receiver = UnixDatagram::bind(path).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"filler", path).is_ok() {}
    receiver
}

/// The datagrams that have come, but for those that filled the queue.
fn received(receiver: &UnixDatagram) -> Vec<Vec<u8>> {
    let mut bytes = [0; 16];
    let mut all = Vec::new();
    while let Ok(n) = receiver.recv(&mut bytes) {
        all.push(bytes[..n].to_vec());
    }
    all.retain(|datagram| datagram != b"filler");
    all
}

/// The kernel tells nobody when there is room; nothing is lost, nobody spins.
fn a_receiver_without_room(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let receiver = full_receiver(&path);
    let at = Address::unix(&*path).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let one = l.lend(SendTo::new(fd, "one", at));
    let two = l.lend(SendToVectored::new(fd, ["tw", "o"], at));
    let three = l.lend(SendMsg::new(fd, ["three"], Outgoing::<0>::new()).to(at));
    let push_all = |l: &mut Ledger| {
        l.push(one, 1);
        l.push(two, 2);
        l.push(three, 3);
        l.take_sorted(3)
    };
    assert_eq!(kit::errnos(&push_all(&mut l)), [libc::EAGAIN; 3]);
    assert_eq!(received(&receiver), [b""; 0]);
    let sent = push_all(&mut l);
    let counts: Vec<usize> = sent.iter().map(|entry| entry.result().unwrap()).collect();
    assert_eq!(counts, [3, 3, 5]);
    assert_eq!(received(&receiver), [&b"one"[..], b"two", b"three"]);
}

/// On a connected socket a send waits for room. io_uring's kernel then sends nothing in its place,
/// and says so; one that may not wait is sent or not.
fn a_receiver_without_room_that_is_connected(cx: &mut Cx) {
    for vectored in [false, true] {
        let path = kit::TempPath::new();
        let receiver = full_receiver(&path);
        let ours = UnixDatagram::unbound().unwrap();
        ours.connect(&*path).unwrap();
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        let at_once = MsgFlags::from_bits(libc::MSG_DONTWAIT);
        let refused = Send::new(fd, "now").flags(at_once);
        assert_eq!(l.errno(refused), libc::EAGAIN);
        let refused = SendVectored::new(fd, ["no", "w"]).flags(at_once);
        assert_eq!(l.errno(refused), libc::EAGAIN);
        if vectored {
            l.start(SendVectored::new(fd, ["la", "ter"]), 1);
        } else {
            l.start(Send::new(fd, "later"), 1);
        }
        l.hand_over();
        assert_eq!(received(&receiver), [b""; 0]);
        let sent = l.one().into_result().unwrap();
        let whole = &b"later"[..if cx.is_io_uring() { sent } else { 5 }];
        assert_eq!(sent, whole.len());
        assert_eq!(received(&receiver), [whole]);
    }
}
