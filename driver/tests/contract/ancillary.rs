//! Control messages: descriptors that are passed and closed, and what headers say.

use crate::kit;
use crate::ledger::{Cx, Ledger, Lent};
use crate::steps;
use completeio_driver::ancillary::{ControlMessage, Credentials, Incoming, Outgoing, space};
use completeio_driver::driver::{AsFd, AsRawFd, BorrowedFd, CompleteIo, Fd, OwnedFd, Refusal};
use completeio_driver::op::{MsgFlags, Nop, Op, Recv, RecvFrom, RecvMsg, SendMsg};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

contract! {
    everywhere: [
        cancelled_and_abandoned,
    ],
    on_host: [
        descriptors_arrive,
        borrowed_descriptors_stay,
        many_descriptors_in_boxes,
        nobody_takes_them,
        used_again,
        disposed_of,
        lost_with_the_driver,
        cancelled_when_it_had_completed,
        orphans,
        cut_for_want_of_room,
        peeked_at,
        the_first_byte_alone_carries_them,
        refused,
        errors_of_the_plain_call,
        in_a_scope_and_owned,
    ],
    on_linux: [
        a_pending_receive_loses_nothing,
        fruitless_tries_forge_no_credentials,
        credentials_and_process,
        what_headers_say_v4,
        what_headers_say_v6,
        the_source_is_chosen,
        segments_out_and_in,
        with_python,
    ],
}

const ROOM: usize = 128;
type Receive = RecvMsg<Fd, [[u8; 16]; 1], Incoming<ROOM>>;

fn set(socket: &impl AsRawFd, level: i32, name: i32) {
    let on = 1_i32;
    // SAFETY: the option's value, of its size.
    kit::checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), 4)
    });
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn os<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

fn receive(l: &mut Ledger, socket: &impl AsRawFd) -> Receive {
    RecvMsg::new(l.at(socket), [[0; 16]], Incoming::new())
}

/// Sends so many descriptors of nothing with one byte.
pub(crate) fn send_fds(l: &mut Ledger, socket: &impl AsRawFd, n: usize) {
    let fds: Vec<OwnedFd> = (0..n).map(|_| null()).collect();
    let control = Box::new(Outgoing::<2048, _>::with_rights(fds).unwrap());
    let op = SendMsg::new(l.at(socket), ["x"], control);
    let (op, entry) = l.entry_of(op);
    assert_eq!(l.finish(op, entry).unwrap(), 1);
    l.free(op);
}

/// The descriptors that came.
fn taken<const N: usize>(control: &mut Incoming<N>) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for message in control.messages() {
        if let ControlMessage::Rights(rights) = message {
            fds.extend(rights);
        }
    }
    fds
}

fn is_close_on_exec(fd: &OwnedFd) -> bool {
    // SAFETY: reads no memory of ours.
    let flags = kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) });
    flags & libc::FD_CLOEXEC != 0
}

/// I16, I20.
fn descriptors_arrive(cx: &mut Cx) {
    for (ours, theirs) in [kit::pair(), {
        let (a, b) = UnixDatagram::pair().unwrap();
        (OwnedFd::from(a).into(), OwnedFd::from(b).into())
    }] {
        let mut l = cx.ledger();
        let (reader, mut writer) = kit::pipe();
        let control = Outgoing::<{ space(8) }, _>::with_rights([OwnedFd::from(reader), null()]);
        let send = SendMsg::new(l.at(&theirs), ["by", "te"], control.unwrap());
        let send = l.lend(send);
        l.push(send, 1);
        let entry = l.one();
        assert_eq!(l.finish(send, entry).unwrap(), 4);
        let (op, entry) = {
            let op = receive(&mut l, &ours);
            l.entry_of(op)
        };
        let received = l.finish(op, entry).unwrap();
        assert_eq!(received.len, 4);
        assert!(!received.truncated && !received.control_truncated);
        assert_eq!(&l.op(op).bufs()[0][..4], b"byte");
        let fds = taken(l.op(op).control_mut());
        assert_eq!(fds.len(), 2);
        assert!(fds.iter().all(is_close_on_exec));
        writer.write_all(b"through").unwrap();
        let mut text = [0; 7];
        let [reader, _null] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        File::from(reader).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"through");
        assert!(
            taken(l.op(op).control_mut()).is_empty(),
            "each is given once"
        );
    }
}

fn borrowed_descriptors_stay(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let file = null();
    let mut l = cx.ledger();
    let mut send = {
        let control = Outgoing::<{ space(4) }, _>::with_rights([file.as_fd()]).unwrap();
        SendMsg::new(theirs.as_fd(), ["x"], control)
    };
    l.scope(|s| assert_eq!(steps::run(s, &mut send).0.unwrap(), 1))
        .unwrap();
    assert!(kit::is_open(file.as_raw_fd()));
    let mut recv = RecvMsg::new(ours.as_fd(), [[0; 4]], Incoming::<32>::new());
    l.scope(|s| assert_eq!(steps::run(s, &mut recv).0.unwrap().len, 1))
        .unwrap();
    assert_eq!(taken(recv.control_mut()).len(), 1);
}

/// As many as the kernel passes at once, and one more.
fn many_descriptors_in_boxes(cx: &mut Cx) {
    const MAX: usize = 253;
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    send_fds(&mut l, &theirs, MAX);
    let control = Box::new(Incoming::<{ space(4 * MAX) }>::new());
    let op = RecvMsg::new(l.at(&ours), [[0; 4]], control);
    let (op, entry) = l.entry_of(op);
    let received = l.finish(op, entry).unwrap();
    assert!(!received.control_truncated);
    assert_eq!(taken(l.op(op).control_mut()).len(), MAX);
    let fds: Vec<BorrowedFd<'_>> = vec![kit::plain(&ours); MAX + 1];
    let control = Box::new(Outgoing::<2048, _>::with_rights(fds).unwrap());
    let op = SendMsg::new(l.at(&theirs), ["x"], control);
    assert_eq!(l.errno(op), libc::EINVAL);
}

/// The runner counts the descriptors before and after.
fn nobody_takes_them(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    send_fds(&mut l, &theirs, 5);
    let (op, entry) = {
        let op = receive(&mut l, &ours);
        l.entry_of(op)
    };
    let before = kit::open_fds().len();
    assert!(l.finish(op, entry).is_ok());
    let Some(ControlMessage::Rights(mut fds)) = l.op(op).control_mut().messages().next() else {
        panic!("they came");
    };
    drop(fds.next());
    assert_eq!(fds.remaining(), 4);
    l.free(op);
    assert_eq!(kit::open_fds().len(), before - 5);
}

/// What came is closed when the operation is pushed again.
fn used_again(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = receive(&mut l, &ours);
    let op = l.lend(op);
    let before = kit::open_fds().len();
    for n in 0..4 {
        send_fds(&mut l, &theirs, 3);
        l.push(op, n);
        let entry = l.one();
        l.finish(op, entry).unwrap();
        assert_eq!(kit::open_fds().len(), before + 3);
    }
    (&theirs).write_all(b"none").unwrap();
    l.push(op, 9);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap().len, 4);
    assert_eq!(kit::open_fds().len(), before);
    assert!(l.op(op).control_mut().messages().next().is_none());
}

fn disposed_of(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let before = kit::open_fds().len();
    send_fds(&mut l, &theirs, 3);
    let (op, entry) = {
        let op = receive(&mut l, &ours);
        l.entry_of(op)
    };
    assert_eq!(kit::open_fds().len(), before + 3);
    // SAFETY: the operation's last entry.
    unsafe { Op::dispose(l.op(op), entry) };
    assert_eq!(kit::open_fds().len(), before);
    // A completion of a scope that is dropped.
    send_fds(&mut l, &theirs, 3);
    let mut op = RecvMsg::new(ours.as_fd(), [[0; 4]], Incoming::<64>::new());
    l.scope(|s| {
        let _ticket = steps::start(s, &mut op, 0);
        drop(steps::next(s));
    })
    .unwrap();
    assert_eq!(kit::open_fds().len(), before);
    // And one that nobody took out before the scope's end.
    send_fds(&mut l, &theirs, 3);
    l.scope(|s| {
        let _ticket = steps::start(s, &mut op, 0);
    })
    .unwrap();
    drop(op);
    assert_eq!(kit::open_fds().len(), before);
}

/// The entry is never taken out: the operation knows what it was given, and it goes after the
/// driver.
fn lost_with_the_driver(cx: &mut Cx) {
    for handed_over in [false, true] {
        let before = kit::open_fds();
        let (ours, theirs) = kit::pair();
        let mut l = cx.with(|limits| limits.entries(4));
        send_fds(&mut l, &theirs, 3);
        let op = receive(&mut l, &ours);
        l.start(op, 1);
        if handed_over {
            // One completion is taken, and it is another's.
            l.start(Nop::new(), 2);
            let mut entry = None;
            l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        }
        l.abandon();
        drop((l, ours, theirs));
        assert_eq!(kit::open_fds(), before);
    }
}

fn cancelled_when_it_had_completed(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let op = receive(&mut l, &ours);
    let op = l.lend(op);
    let before = kit::open_fds().len();
    let mut came = 0;
    for round in 0..200 {
        l.push(op, round);
        if round % 2 == 0 {
            l.hand_over();
        }
        let control = Outgoing::<64, _>::with_rights([null(), null()]).unwrap();
        let send = SendMsg::new(l.at(&theirs), ["x"], control);
        let send = l.start(send, 1000 + round);
        l.try_cancel(round).unwrap();
        let mut entries = l.take_sorted(2).into_iter();
        let entry = entries.next().unwrap();
        let sent = entries.next().unwrap();
        assert_eq!(l.finish(send, sent).unwrap(), 1);
        l.free(send);
        match l.finish(op, entry) {
            Ok(received) => {
                came += 1;
                assert_eq!(received.len, 1);
                assert_eq!(kit::open_fds().len(), before + 2);
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                assert!(l.op(op).control_mut().messages().next().is_none());
                l.push(op, 5000);
                let entry = l.one();
                assert_eq!(l.finish(op, entry).unwrap().len, 1);
                assert_eq!(taken(l.op(op).control_mut()).len(), 2);
            }
        }
        l.op(op).control_mut().clear();
        assert_eq!(kit::open_fds().len(), before);
    }
    assert!(came <= 200);
}

/// Slots: a key that is dropped, before and after the completion; a driver that goes first.
fn orphans(cx: &mut Cx) {
    let before = kit::open_fds().len();
    for case in 0..4 {
        let (ours, theirs) = kit::pair();
        let mut l = cx.ledger();
        let op = RecvMsg::new(OwnedFd::from(ours), [[0; 4]], Incoming::<64>::new());
        let key = l.try_push_owned(op, 0).unwrap();
        if case < 2 {
            l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
                .unwrap()
                .unwrap();
        }
        send_fds(&mut l, &theirs, 3);
        match case {
            0 => drop(key),
            1 => {
                while !key.is_done() {
                    l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
                }
                drop(key);
            }
            2 => {
                drop(key);
                l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
                    .unwrap()
                    .unwrap();
            }
            _ => {
                l.abandon();
                drop(key);
            }
        }
        drop((l, theirs));
        assert_eq!(kit::open_fds().len(), before, "case {case}");
    }
}

/// `MSG_CTRUNC`: what has no room never becomes a descriptor.
fn cut_for_want_of_room(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let before = kit::open_fds().len();
    send_fds(&mut l, &theirs, 5);
    let op = RecvMsg::new(l.at(&ours), [[0; 4]], Incoming::<{ space(8) }>::new());
    let (op, entry) = l.entry_of(op);
    let received = l.finish(op, entry).unwrap();
    assert!(received.control_truncated && !received.truncated);
    assert_eq!(kit::open_fds().len(), before + 2);
    assert_eq!(taken(l.op(op).control_mut()).len(), 2);
    // No room at all, here and in operations that have none.
    send_fds(&mut l, &theirs, 5);
    let op = RecvMsg::new(l.at(&ours), [[0; 4]], Incoming::<0>::new());
    let received = l.run(op).unwrap();
    assert!(received.control_truncated);
    send_fds(&mut l, &theirs, 5);
    let op = RecvFrom::new(l.at(&ours), [0; 4]);
    assert!(l.run(op).unwrap().control_truncated);
    assert_eq!(kit::open_fds().len(), before);
    // No descriptor is free: as the plain call, it comes without.
    send_fds(&mut l, &theirs, 2);
    let full = kit::NoFreeDescriptor::new();
    let (op, entry) = {
        let op = receive(&mut l, &ours);
        l.entry_of(op)
    };
    let received = l.finish(op, entry).unwrap();
    drop(full);
    assert_eq!((received.len, received.control_truncated), (1, true));
    assert!(taken(l.op(op).control_mut()).is_empty());
}

/// Each look makes descriptors of its own.
fn peeked_at(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    send_fds(&mut l, &theirs, 1);
    let mut all = Vec::new();
    for flags in [MsgFlags::PEEK, MsgFlags::PEEK, MsgFlags::default()] {
        let op = receive(&mut l, &ours).flags(flags);
        let (op, entry) = l.entry_of(op);
        assert_eq!(l.finish(op, entry).unwrap().len, 1);
        all.extend(taken(l.op(op).control_mut()));
    }
    assert_eq!(all.len(), 3);
}

/// A send that goes on sends its bytes on, and its descriptors once.
fn the_first_byte_alone_carries_them(cx: &mut Cx) {
    const ALL: usize = 2 << 20;
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let control = Outgoing::<64, _>::with_rights([null()]).unwrap();
    let parts = [vec![7; ALL / 2], vec![8; ALL / 2]];
    let send = SendMsg::new(l.at(&theirs), parts, control).flags(MsgFlags::WAIT_ALL);
    let send = l.start(send, 1);
    let mut came = (0, 0);
    let op = RecvMsg::new(l.at(&ours), [vec![0; 50_000]], Incoming::<64>::new());
    let op = l.lend(op);
    let mut sent = None;
    while came.0 < ALL {
        l.op(op).bufs_mut()[0].clear();
        l.push(op, 2);
        loop {
            let entry = l.one();
            if entry.user_data() == 2 {
                came.0 += l.finish(op, entry).unwrap().len;
                break;
            }
            sent = Some(entry);
        }
        came.1 += taken(l.op(op).control_mut()).len();
    }
    let entry = sent.unwrap_or_else(|| l.one());
    assert_eq!(l.finish(send, entry).unwrap(), ALL);
    assert_eq!(came, (ALL, 1));
}

/// With exactly the room that is needed, on a socket where each message has credentials.
#[cfg(target_os = "linux")]
fn a_pending_receive_loses_nothing(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    set(&ours, libc::SOL_SOCKET, libc::SO_PASSCRED);
    for handed_over in [false, true] {
        let mut l = cx.ledger();
        let control = Incoming::<{ space(12) + space(4) }>::new();
        let op = RecvMsg::new(l.at(&ours), [[0; 16]], control);
        let op = l.lend(op);
        if handed_over {
            l.push(op, 1);
            l.hand_over();
        }
        send_fds(&mut cx.ledger(), &theirs, 1);
        if !handed_over {
            l.push(op, 1);
        }
        let entry = l.one();
        let received = l.finish(op, entry).unwrap();
        assert!(!received.control_truncated);
        let control = l.op(op).control_mut();
        assert_eq!(credentials(control), [own()]);
        assert_eq!(taken(control).len(), 1);
    }
}

fn own() -> Credentials {
    // SAFETY: takes nothing, and cannot fail.
    let uid = unsafe { libc::getuid() };
    // SAFETY: as above.
    let gid = unsafe { libc::getgid() };
    Credentials {
        pid: i32::try_from(std::process::id()).unwrap(),
        uid,
        gid,
    }
}

fn credentials<const N: usize>(control: &mut Incoming<N>) -> Vec<Credentials> {
    let creds = |message| match message {
        ControlMessage::Credentials(who) => Some(who),
        _ => None,
    };
    control.messages().filter_map(creds).collect()
}

/// io_uring's tries that find nothing write credentials of process 0 and user 0, and go on behind
/// them: whoever believed these would take anybody for root, and lose the descriptors.
#[cfg(target_os = "linux")]
fn fruitless_tries_forge_no_credentials(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    set(&ours, libc::SOL_SOCKET, libc::SO_PASSCRED);
    let mut l = cx.ledger();
    let ops: Vec<Lent<Receive>> = (0..3)
        .map(|n| {
            let op = receive(&mut l, &ours);
            l.start(op, n)
        })
        .collect();
    l.hand_over();
    for _ in 0..3 {
        send_fds(&mut cx.ledger(), &theirs, 1);
        let entry = l.one();
        let op = ops[entry.user_data()];
        assert_eq!(l.finish(op, entry).unwrap().len, 1);
        let control = l.op(op).control_mut();
        assert_eq!(credentials(control), [own()]);
        assert_eq!(taken(control).len(), 1);
    }
}

#[cfg(target_os = "linux")]
fn credentials_and_process(cx: &mut Cx) {
    const SO_PASSPIDFD: i32 = 76;
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    set(&ours, libc::SOL_SOCKET, libc::SO_PASSCRED);
    let on = 1_i32;
    // SAFETY: the option's value, of its size. Older kernels have no such option.
    let has_pid_fd = unsafe {
        libc::setsockopt(
            ours.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast(),
            4,
        ) == 0
    };
    let mut l = cx.ledger();
    let mut control = Outgoing::<{ space(12) }>::new();
    control.credentials(own()).unwrap();
    let op = SendMsg::new(l.at(&theirs), ["x"], control);
    assert_eq!(l.run(op).unwrap(), 1);
    let before = kit::open_fds().len();
    let op = receive(&mut l, &ours);
    let (op, entry) = l.entry_of(op);
    l.finish(op, entry).unwrap();
    let control = l.op(op).control_mut();
    assert_eq!(credentials(control), [own()]);
    let pid_fds = control.messages().filter_map(|message| match message {
        ControlMessage::PidFd(mut fd) => fd.next(),
        _ => None,
    });
    let pid_fds: Vec<OwnedFd> = pid_fds.collect();
    assert_eq!(pid_fds.len(), usize::from(has_pid_fd));
    assert!(pid_fds.iter().all(is_close_on_exec));
    drop(pid_fds);
    assert_eq!(kit::open_fds().len(), before);
    // Not taken, it is closed too.
    theirs.send(b"x").unwrap();
    let op = receive(&mut l, &ours);
    let (op, entry) = l.entry_of(op);
    l.finish(op, entry).unwrap();
    assert_eq!(kit::open_fds().len(), before + usize::from(has_pid_fd));
    l.op(op).control_mut().clear();
    assert_eq!(kit::open_fds().len(), before);
}

/// What a datagram's control messages say, apart from when it came.
fn told(l: &mut Ledger, socket: &UdpSocket) -> Vec<String> {
    let op = RecvMsg::new(
        l.at(socket),
        [vec![0; 70_000].into_boxed_slice()],
        Incoming::<ROOM>::new(),
    );
    let (op, entry) = l.entry_of(op);
    let received = l.finish(op, entry).unwrap();
    assert!(!received.truncated && !received.control_truncated);
    assert!(received.addr.as_socket_addr().is_some());
    let mut told = Vec::new();
    for message in l.op(op).control_mut().messages() {
        match message {
            ControlMessage::Timestamp(time) => {
                let age = SystemTime::now().duration_since(time).unwrap_or_default();
                assert!(age < Duration::from_secs(3600), "{time:?}");
                told.push("Timestamp".to_owned());
            }
            other => told.push(format!("{other:?}")),
        }
    }
    told
}

#[cfg(target_os = "linux")]
fn what_headers_say_v4(cx: &mut Cx) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    set(&receiver, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
    set(&receiver, libc::IPPROTO_IP, libc::IP_RECVTOS);
    set(&receiver, libc::IPPROTO_IP, libc::IP_PKTINFO);
    set(&receiver, libc::IPPROTO_IP, libc::IP_RECVTTL);
    let mut l = cx.ledger();
    let mut control = Outgoing::<{ space(4) }>::new();
    control.traffic_class_v4(0b1010_0010).unwrap();
    let op = SendMsg::new(l.at(&sender), ["ecn"], control);
    let op = op.to(receiver.local_addr().unwrap());
    assert_eq!(l.run(op).unwrap(), 3);
    let told = told(&mut l, &receiver);
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], "Timestamp");
    assert!(told.contains(&"TrafficClass(162)".to_owned()), "{told:?}");
    let info = told
        .iter()
        .find(|text| text.starts_with("PacketInfo"))
        .unwrap();
    assert!(
        info.contains("destination: 127.0.0.1, local: 127.0.0.1"),
        "{info}"
    );
    let ttl = format!(
        "Other {{ level: 0, kind: {}, data: [64, 0, 0, 0] }}",
        libc::IP_TTL
    );
    assert!(told.contains(&ttl), "{told:?}");
}

#[cfg(target_os = "linux")]
fn what_headers_say_v6(cx: &mut Cx) {
    let receiver = UdpSocket::bind("[::1]:0").unwrap();
    let sender = UdpSocket::bind("[::1]:0").unwrap();
    set(&receiver, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS);
    set(&receiver, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO);
    let mut l = cx.ledger();
    let mut control = Outgoing::<{ space(4) }>::new();
    control.traffic_class_v6(1).unwrap();
    let op = SendMsg::new(l.at(&sender), ["ecn"], control);
    let op = op.to(receiver.local_addr().unwrap());
    assert_eq!(l.run(op).unwrap(), 3);
    let told = told(&mut l, &receiver);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&"TrafficClass(1)".to_owned()), "{told:?}");
    let info = told
        .iter()
        .find(|text| text.starts_with("PacketInfo"))
        .unwrap();
    assert!(info.contains("destination: ::1, local: ::1"), "{info}");
}

/// A sender that is bound to no address says which one it is, and where it leaves.
#[cfg(target_os = "linux")]
fn the_source_is_chosen(cx: &mut Cx) {
    for (any, source, at) in [
        ("0.0.0.0:0", "127.0.0.7", "127.0.0.1:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let sender = UdpSocket::bind(any).unwrap();
        let receiver = UdpSocket::bind(at).unwrap();
        let mut l = cx.ledger();
        let mut control = Outgoing::<{ space(20) }>::new();
        control.source(source.parse().unwrap(), 0).unwrap();
        let op = SendMsg::new(l.at(&sender), ["x"], control);
        let op = op.to(receiver.local_addr().unwrap());
        assert_eq!(l.run(op).unwrap(), 1);
        let (_, from) = receiver.recv_from(&mut [0; 4]).unwrap();
        let port = sender.local_addr().unwrap().port();
        assert_eq!(from, SocketAddr::new(source.parse().unwrap(), port));
    }
}

/// `UDP_SEGMENT` and `UDP_GRO`.
#[cfg(target_os = "linux")]
fn segments_out_and_in(cx: &mut Cx) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = receiver.local_addr().unwrap();
    let mut l = cx.ledger();
    let send = |l: &mut Ledger| {
        let mut control = Outgoing::<{ space(2) }>::new();
        control.segment_size(1000).unwrap();
        let op = SendMsg::new(l.at(&sender), [[1; 1500], [2; 1500]], control).to(at);
        l.run(op).unwrap()
    };
    assert_eq!(send(&mut l), 3000);
    for _ in 0..3 {
        assert_eq!(receiver.recv(&mut [0; 4000]).unwrap(), 1000);
    }
    set(&receiver, libc::SOL_UDP, libc::UDP_GRO);
    assert_eq!(send(&mut l), 3000);
    assert_eq!(told(&mut l, &receiver), ["SegmentSize(1000)"]);
}

fn refused(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    for bits in [libc::MSG_WAITALL, libc::MSG_TRUNC, i32::MIN] {
        let op = receive(&mut l, &ours).flags(MsgFlags::from_bits(bits));
        let (_, entry) = l.entry_of(op);
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
    }
    let op = SendMsg::new(l.at(&theirs), ["x"], Outgoing::<0>::new());
    let (_, entry) = l.entry_of(op.flags(MsgFlags::from_bits(i32::MIN)));
    assert_eq!(entry.refusal(), Some(Refusal::Flags));
    let fixed = l.register_fd(ours.as_raw_fd(), 1).unwrap();
    let control = Outgoing::<{ space(4) }, _>::with_rights([fixed]).unwrap();
    let op = SendMsg::new(l.at(&theirs), ["x"], control);
    let (_, entry) = l.entry_of(op);
    assert_eq!(entry.refusal(), Some(Refusal::FixedDescriptor));
    assert_eq!(kit::arrived(&ours), b"");
    // The descriptors come back.
    let three = [null(), null(), null()];
    let no_room = Outgoing::<{ space(8) }, _>::with_rights(three).unwrap_err();
    assert_eq!(no_room.into_inner().len(), 3);
    let none = Outgoing::<0, _>::with_rights([(); 0].map(|()| null())).unwrap();
    let op = SendMsg::new(l.at(&theirs), ["x"], none);
    assert_eq!(l.run(op).unwrap(), 1);
}

/// I10, I24, I33.
fn errors_of_the_plain_call(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut l = cx.ledger();
    let closed = Outgoing::<{ space(4) }, _>::with_rights([kit::number(i32::MAX)]).unwrap();
    let op = SendMsg::new(l.at(&theirs), ["x"], closed);
    assert_eq!(l.errno(op), libc::EBADF);
    assert_eq!(kit::arrived(&ours), b"", "not even the bytes");
    let mut unknown = Outgoing::<{ space(4) }>::new();
    // SAFETY: bytes that mean nothing.
    unsafe { unknown.other(libc::IPPROTO_IP, 9999, &[0; 4]) }.unwrap();
    let op = SendMsg::new(l.at(&udp), ["x"], unknown).to(udp.local_addr().unwrap());
    assert_eq!(l.errno(op), libc::EINVAL);
    let file = null();
    let op = SendMsg::new(l.at(&file), ["x"], Outgoing::<0>::new());
    assert_eq!(l.errno(op), libc::ENOTSOCK);
    let op = receive(&mut l, &file);
    assert_eq!(l.errno(op), libc::ENOTSOCK);
    let op = RecvMsg::new(kit::number(i32::MAX), [[0; 1]], Incoming::<64>::new());
    assert_eq!(l.errno(op), libc::EBADF);
    let flags = MsgFlags::from_bits(libc::MSG_DONTWAIT);
    let op = receive(&mut l, &udp).flags(flags);
    assert_eq!(l.errno(op), libc::EAGAIN);
    // What is there comes at once.
    udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
    let op = receive(&mut l, &udp).flags(flags);
    assert_eq!(l.run(op).unwrap().len, 1);
    let op = SendMsg::new(l.at(&udp), ["x"], Outgoing::<0>::new());
    assert_eq!(l.errno(op), libc::EDESTADDRREQ);
    drop(ours);
    let op = SendMsg::new(l.at(&theirs), ["x"], Outgoing::<0>::new());
    assert_eq!(l.errno(op), libc::EPIPE);
}

fn cancelled_and_abandoned(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    kit::ask_for_credentials(&ours);
    for handed_over in [false, true] {
        let mut l = cx.ledger();
        let op = receive(&mut l, &ours);
        let op = l.start(op, 1);
        if handed_over {
            l.hand_over();
        }
        l.try_cancel(1).unwrap();
        let entry = l.one();
        assert_eq!(os(l.finish(op, entry)), libc::ECANCELED);
        assert!(l.op(op).control_mut().messages().next().is_none());
        l.push(op, 2);
        if handed_over {
            l.hand_over();
        }
        l.abandon();
    }
}

fn in_a_scope_and_owned(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let control = Outgoing::<{ space(4) }, _>::with_rights([null()]).unwrap();
    let send = SendMsg::new(OwnedFd::from(theirs), ["owned"], control);
    let recv = RecvMsg::new(
        OwnedFd::from(ours),
        [[0; 8]],
        Incoming::<{ space(4) }>::new(),
    );
    let recv = l.try_push_owned(recv, 0).unwrap();
    let send = l.try_push_owned(send, 0).unwrap();
    while !(send.is_done() && recv.is_done()) {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    let (sent, op) = send.redeem().unwrap();
    assert_eq!(sent.unwrap(), 5);
    let (_socket, _bufs, control) = op.into_parts();
    let [file] = control.into_rights();
    assert!(kit::is_open(file.as_raw_fd()));
    let (received, mut op) = recv.redeem().unwrap();
    assert_eq!(received.unwrap().len, 5);
    assert_eq!(taken(op.control_mut()).len(), 1);
}

/// A child that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another program at the other end.
#[cfg(target_os = "linux")]
fn with_python(cx: &mut Cx) {
    const PROGRAM: &str = "
import array, os, socket, sys
s = socket.socket(fileno=0)
text, fds, flags, addr = socket.recv_fds(s, 16, 4)
assert text == b'to python' and len(fds) == 2, (text, fds)
os.write(fds[1], b'python was here')
socket.send_fds(s, [b'from ', b'python'], [fds[0]])
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 0))
u.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
s.sendall(u.getsockname()[1].to_bytes(2, 'big'))
text, control, flags, addr = u.recvmsg(16, 64)
assert control == [(socket.IPPROTO_IP, socket.IP_TOS, b'\\x02')], control
assert addr[0] == '127.0.0.5', addr
u.sendmsg([b'tos'], [(socket.IPPROTO_IP, socket.IP_TOS, (1).to_bytes(4, sys.byteorder))], 0, addr)
";
    let (ours, theirs) = kit::pair();
    let child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn();
    let mut child = match child {
        Ok(child) => Ended(child),
        Err(error) => {
            // Not `eprintln!`, which the test harness would swallow.
            let _ = writeln!(io::stderr(), "skipped: with_python: python3: {error}");
            return;
        }
    };
    let mut l = cx.ledger();
    let (reader, writer) = kit::pipe();
    let fds = [null(), OwnedFd::from(writer)];
    let control = Outgoing::<{ space(8) }, _>::with_rights(fds).unwrap();
    let (send, entry) = {
        let op = SendMsg::new(l.at(&ours), ["to ", "python"], control);
        l.entry_of(op)
    };
    assert_eq!(l.finish(send, entry).unwrap(), 9);
    l.free(send);
    let op = receive(&mut l, &ours);
    let (op, entry) = l.entry_of(op);
    assert_eq!(l.finish(op, entry).unwrap().len, 11);
    assert_eq!(&l.op(op).bufs()[0][..11], b"from python");
    assert_eq!(taken(l.op(op).control_mut()).len(), 1);
    let mut text = [0; 15];
    (&reader).read_exact(&mut text).unwrap();
    assert_eq!(&text, b"python was here");
    let port = Recv::new(l.at(&ours), [0; 2]);
    let (port, entry) = l.entry_of(port);
    assert_eq!(l.finish(port, entry).unwrap(), 2);
    let port = u16::from_be_bytes(*l.op(port).buf());
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Python answers to the address that it was sent from, which is told as the packet's source.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    set(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS);
    let mut control = Outgoing::<{ space(4) + space(12) }>::new();
    control.traffic_class_v4(2).unwrap();
    let from = Ipv4Addr::new(127, 0, 0, 5);
    control.source(from.into(), 0).unwrap();
    let op = SendMsg::new(l.at(&socket), ["tos"], control).to(at);
    assert_eq!(l.run(op).unwrap(), 3);
    assert_eq!(told(&mut l, &socket), ["TrafficClass(1)"]);
    assert!(child.0.wait().unwrap().success());
}
