//! I11: no operation reaches a wrong file. I16: none leaks. I20: all are close-on-exec.
//! I32: the table of registered descriptors.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger, Lent};
use completeio_driver::buf::Aligned;
use completeio_driver::driver::{AsRawFd, AttachError, CompleteIo, Cwd, Fd, FixedFd};
use completeio_driver::op::{Accept, Close, OpenAt, ReadAt, Recv, Send, Timeout, WriteAt};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

contract! {
    everywhere: [
        a_replaced_registration_is_not_received_from,
        a_registration_keeps_the_file_open,
        a_registration_is_replaced,
        a_registration_that_fails_registers_nothing,
        ids_outside_of_the_table,
        unregistered_in_flight,
        unregistered_twice,
        no_table_at_all,
        close_empties_a_place,
        attached_to_two_drivers,
    ],
    on_host: [
        a_reused_number_is_not_read_from,
        ids_of_another_driver,
        every_operation_takes_a_fixed_descriptor,
        close_detaches,
        operations_need_no_attachment,
        everything_is_close_on_exec,
        cancelled_accepts_and_opens_leak_nothing,
    ],
    on_unix: [
        a_reused_number_is_not_received_from,
        a_reused_number_attached_anew,
        a_reused_number_needs_no_attachment,
        accept_without_a_free_descriptor,
    ],
}

/// What a receive says after its file was closed under it: never the new file's bytes.
fn assert_old(result: std::io::Result<usize>, bytes: &[u8]) {
    match result {
        Ok(n) => assert_eq!(&bytes[..n], b"old"),
        Err(error) => assert!(code::CLOSED_UNDER_IT.contains(&error.raw_os_error().unwrap())),
    }
}

/// A receive in flight on a number that then names another socket; `meanwhile` the number's old
/// attachment is dealt with.
#[cfg(unix)]
fn reuse(cx: &mut Cx, meanwhile: impl Fn(&mut Ledger, Fd)) {
    let [(old, old_peer), (new, new_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    let fd = l.at(&old);
    let op = l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    (&new_peer).write_all(b"new").unwrap();
    meanwhile(&mut l, fd);
    kit::replace(&new, old.as_raw_fd());
    let attached = l.at(&old);
    let mut entries = l.turn();
    (&old_peer).write_all(b"old").unwrap_or_default(); // EPIPE where nobody has it any more.
    if entries.is_empty() {
        entries = l.take(1);
    }
    let result = l.finish(op, entries.remove(0));
    assert_old(result, &l.op(op).buf()[..]);
    // The new file is reached by new operations.
    let (op, entry) = l.entry_of(Recv::new(attached, [0; 8]));
    assert_eq!(l.finish(op, entry).unwrap(), 3);
    assert_eq!(&l.op(op).buf()[..3], b"new");
}

#[cfg(unix)]
fn a_reused_number_is_not_received_from(cx: &mut Cx) {
    reuse(cx, |l, fd| l.detach(fd));
}

#[cfg(unix)]
fn a_reused_number_attached_anew(cx: &mut Cx) {
    reuse(cx, |_, _| {});
}

enum AnyRead {
    Plain(Lent<ReadAt<Fd, Aligned>>),
    Fixed(Lent<ReadAt<FixedFd, Aligned>>),
}

fn a_reused_number_is_not_read_from(cx: &mut Cx) {
    const LEN: usize = 1 << 20;
    let new = kit::file(&[2; LEN]);
    for fixed in [false, true].repeat(4) {
        let old = kit::cold_file(&[1; LEN]);
        let buffer = Aligned::new(LEN, 4096);
        let mut l = cx.ledger();
        let op = if fixed {
            let fd = l.register_fd(old.as_raw_fd(), 0).unwrap();
            AnyRead::Fixed(l.start(ReadAt::new(fd, 0, buffer), 1))
        } else {
            let fd = l.at(&old);
            AnyRead::Plain(l.start(ReadAt::new(fd, 0, buffer), 1))
        };
        let mut entry = None;
        l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        kit::replace(&new, old.as_raw_fd());
        l.register_fd(new.as_raw_fd(), 0).unwrap();
        let entry = entry.unwrap_or_else(|| l.one());
        let (read, buffer) = match op {
            AnyRead::Plain(op) => (l.finish(op, entry), l.op(op).buf()),
            AnyRead::Fixed(op) => (l.finish(op, entry), l.op(op).buf()),
        };
        assert_eq!(read.unwrap(), LEN);
        assert!(buffer.iter().all(|byte| *byte == 1));
    }
}

/// What comes and goes under one number, and is neither attached nor detached.
#[cfg(unix)]
fn a_reused_number_needs_no_attachment(cx: &mut Cx) {
    let file = kit::file(b"file");
    let (listener, addr) = kit::unix_listener();
    let place = kit::tcp_socket();
    let number = place.as_raw_fd();
    let mut l = cx.ledger();
    for _ in 0..50 {
        let (ours, mut theirs) = kit::pair();
        kit::replace(&ours, number);
        l.start(Recv::new(kit::number(number), [0; 8]), 1);
        l.hand_over();
        theirs.write_all(b"x").unwrap();
        assert_eq!(l.one().into_result().unwrap(), 1);
        kit::replace(&file, number);
        assert_eq!(
            l.run(ReadAt::new(kit::number(number), 0, [0; 8])).unwrap(),
            4
        );
        kit::replace(&listener, number);
        l.start(Accept::new(kit::number(number)), 2);
        l.hand_over();
        let _client = kit::connect(&addr);
        let entry = l.one();
        l.dispose(entry);
    }
}

fn a_replaced_registration_is_not_received_from(cx: &mut Cx) {
    let [(old, mut old_peer), (new, mut new_peer)] = [cx.pair(), cx.pair()];
    let mut l = cx.ledger();
    let fd = l.register_fd(old.as_raw_fd(), 0).unwrap();
    let op = l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    new_peer.write_all(b"new").unwrap();
    assert_eq!(l.register_fd(new.as_raw_fd(), 0).unwrap(), fd);
    let mut entries = l.turn();
    old_peer.write_all(b"old").unwrap();
    if entries.is_empty() {
        entries = l.take(1);
    }
    let result = l.finish(op, entries.remove(0));
    assert_old(result, &l.op(op).buf()[..]);
    assert_eq!(l.run(Recv::new(fd, [0; 8])).unwrap(), 3);
}

fn a_registration_keeps_the_file_open(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let socket = l.register_fd(ours.as_raw_fd(), 1).unwrap();
    let fd = l.register_fd(file.as_raw_fd(), 2).unwrap();
    drop((ours, file));
    assert_eq!(l.run(ReadAt::new(fd, 0, [0; 8])).unwrap(), 4);
    theirs.write_all(b"x").unwrap();
    assert_eq!(l.run(Recv::new(socket, [0; 8])).unwrap(), 1);
    // Until it is taken out.
    l.unregister_fd(socket).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the end");
}

fn a_registration_is_replaced(cx: &mut Cx) {
    let (first, second) = (cx.file(b"1"), cx.file(b"22"));
    let mut l = cx.ledger();
    let fd = l.register_fd(first.as_raw_fd(), 0).unwrap();
    assert_eq!(l.run(ReadAt::new(fd, 0, [0; 8])).unwrap(), 1);
    let fd = l.register_fd(second.as_raw_fd(), 0).unwrap();
    assert_eq!(
        (fd.id(), l.run(ReadAt::new(fd, 0, [0; 8])).unwrap()),
        (0, 2)
    );
    // One file in two places.
    let other = l.register_fd(second.as_raw_fd(), 1).unwrap();
    l.unregister_fd(fd).unwrap();
    assert_eq!(l.run(ReadAt::new(other, 0, [0; 8])).unwrap(), 2);
}

fn a_registration_that_fails_registers_nothing(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let error = l
        .register_fds(&[file.as_raw_fd(), kit::CLOSED], 0)
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(code::EBADF));
    #[cfg(unix)]
    if cx.is_io_uring() {
        // A ring is refused late, by the kernel, which has taken the file before it by then.
        let open = kit::open_fds();
        let mut rings = open
            .iter()
            .filter(|(_, what)| format!("{what:?}").contains("anon_inode:[io_uring]"));
        let (ring, _) = rings.next().unwrap();
        let error = l.register_fds(&[file.as_raw_fd(), *ring], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code::EBADF));
    }
    let ids = [0, 1].map(|id| fixed(cx, id));
    for id in ids {
        assert_eq!(l.errno(ReadAt::new(id, 0, [0; 8])), code::EBADF);
    }
}

/// A fixed id that `l` did not give out.
fn fixed(cx: &mut Cx, id: u32) -> FixedFd {
    let file = cx.file(b"");
    cx.ledger().register_fd(file.as_raw_fd(), id).unwrap()
}

fn ids_outside_of_the_table(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.with(|limits| limits.file_slots(4));
    let raw = file.as_raw_fd();
    for id in [4, 5, u32::MAX] {
        assert_eq!(
            l.register_fd(raw, id).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    assert_eq!(
        l.register_fds(&[raw; 2], 3).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        l.register_fds(&[raw; 5], 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    l.register_fds(&[raw; 4], 0).unwrap();
    l.register_fds(&[], 4).unwrap();
}

/// An id that only another driver's table has names nothing, as an empty place does.
fn ids_of_another_driver(cx: &mut Cx) {
    let [outside, empty] = [40, 3].map(|id| fixed(cx, id));
    let mut l = cx.with(|limits| limits.file_slots(4));
    assert_eq!(l.errno(ReadAt::new(empty, 0, [0; 8])), code::EBADF);
    assert_eq!(
        l.unregister_fd(outside).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(l.errno(ReadAt::new(outside, 0, [0; 8])), code::EBADF);
    assert_eq!(l.errno(Close::new(outside)), code::EINVAL);
}

fn unregistered_in_flight(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.register_fd(ours.as_raw_fd(), 0).unwrap();
    let op = l.start(Recv::new(fd, [0; 8]), 1);
    l.hand_over();
    l.unregister_fd(fd).unwrap();
    theirs.write_all(b"old").unwrap();
    let entry = l.one();
    let result = l.finish(op, entry);
    assert_old(result, &l.op(op).buf()[..]);
    assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::NO_SOCKET);
}

fn unregistered_twice(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.register_fd(file.as_raw_fd(), 0).unwrap();
    l.unregister_fd(fd).unwrap();
    assert_eq!(l.errno(ReadAt::new(fd, 0, [0; 8])), code::EBADF);
    l.unregister_fd(fd).expect("an empty place stays empty");
}

fn no_table_at_all(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.with(|limits| limits.file_slots(0));
    let error = l.register_fd(file.as_raw_fd(), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

fn every_operation_takes_a_fixed_descriptor(cx: &mut Cx) {
    let file = kit::file(b"text");
    let (ours, theirs) = kit::pair();
    let (listener, addr) = kit::listener();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let mut register = |fd: &dyn AsRawFd, id| l.register_fd(fd.as_raw_fd(), id).unwrap();
    let [f, a, b] = [register(&file, 0), register(&ours, 1), register(&theirs, 2)];
    let [listens, connects] = [register(&listener, 3), register(&socket, 4)];
    assert_eq!(l.run(WriteAt::new(f, 4, "more")).unwrap(), 4);
    assert_eq!(l.run(ReadAt::new(f, 0, [0; 16])).unwrap(), 8);
    assert_eq!(l.run(Send::new(a, "hello")).unwrap(), 5);
    assert_eq!(l.run(Recv::new(b, [0; 16])).unwrap(), 5);
    l.run(completeio_driver::op::Connect::new(connects, addr))
        .unwrap();
    drop(l.run(Accept::new(listens)).unwrap());
    l.run(Close::new(f)).unwrap();
}

fn close_empties_a_place(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.register_fd(ours.as_raw_fd(), 7).unwrap();
    drop(ours);
    l.run(Close::new(fd)).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the end");
    assert_eq!(l.errno(Recv::new(fd, [0; 8])), code::NO_SOCKET);
    assert_eq!(l.errno(Close::new(fd)), code::EBADF);
    l.unregister_fd(fd).expect("an empty place stays empty");
}

/// Neither a socket nor a file, which readiness keeps open of its own, survives its close.
fn close_detaches(cx: &mut Cx) {
    let before = kit::open_fds();
    let (ours, mut theirs) = kit::pair();
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let with_driver = kit::open_fds().len();
    l.at(&ours);
    l.at(&file);
    l.run(Close::new(kit::owned(ours))).unwrap();
    l.run(Close::new(kit::owned(file))).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0, "the end");
    assert_eq!(kit::open_fds().len(), with_driver - 2);
    drop((theirs, l));
    assert_eq!(kit::open_fds(), before);
}

fn attached_to_two_drivers(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let mut drivers = [cx.ledger(), cx.ledger()];
    if cfg!(windows) {
        // A handle has one port for all its life.
        drivers[0].at(&ours);
        let error = drivers[1].attach(ours.as_raw_fd()).unwrap_err();
        let why = error.get_ref().and_then(|error| error.downcast_ref());
        assert_eq!(why, Some(&AttachError::Elsewhere));
        return;
    }
    for l in &mut drivers {
        let fd = l.at(&ours);
        assert_eq!(l.at(&ours), fd, "twice");
        l.start(Recv::new(fd, [0; 1]), 1);
        l.hand_over();
    }
    theirs.write_all(b"ab").unwrap();
    for l in &mut drivers {
        assert_eq!(l.one().into_result().unwrap(), 1);
    }
}

/// An owned or borrowed descriptor will do.
fn operations_need_no_attachment(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let (listener, addr) = kit::listener();
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    assert_eq!(l.run(ReadAt::new(kit::plain(&file), 0, [0; 8])).unwrap(), 4);
    l.start(Recv::new(kit::plain(&ours), [0; 8]), 1);
    l.start(Accept::new(kit::plain(&listener)), 2);
    l.hand_over();
    l.start(Send::new(kit::plain(&theirs), "hello"), 3);
    assert_eq!(kit::names(&l.take_sorted(2)), [1, 3]);
    let _client = TcpStream::connect(addr).unwrap();
    let entry = l.one();
    assert_eq!(entry.user_data(), 2);
    l.dispose(entry);
    // Owned, and shared.
    let shared = std::rc::Rc::new(kit::owned(file));
    for _ in 0..2 {
        assert_eq!(l.run(ReadAt::new(shared.clone(), 0, [0; 8])).unwrap(), 4);
    }
}

fn everything_is_close_on_exec(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let _client = TcpStream::connect(addr).unwrap();
    let file = kit::file(b"text");
    let before = [kit::open_fds().len(), kit::inherited()];
    let mut l = cx.ledger();
    let _notifier = l.notifier();
    let fd = l.at(&file);
    l.register_fd(file.as_raw_fd(), 0).unwrap();
    l.run(ReadAt::new(fd, 0, [0; 8])).unwrap();
    let fd = l.at(&listener);
    let accepted = l.run(Accept::new(fd)).unwrap();
    let opened = l.run(OpenAt::read(Cwd, kit::NULL)).unwrap();
    let after = [kit::open_fds().len(), kit::inherited()];
    assert!(
        after[0] >= before[0] + 3,
        "the driver's, the accepted and the opened one: {after:?}"
    );
    assert_eq!(after[1], before[1]);
    drop((accepted, opened));
}

/// Whichever they are by then, completed or cancelled; the runner counts the descriptors.
fn cancelled_accepts_and_opens_leak_nothing(cx: &mut Cx) {
    for round in 0..50 {
        let (listener, addr) = kit::local_listener();
        let mut l = cx.ledger();
        let fd = l.at(&listener);
        for n in 0..4 {
            l.start(Accept::new(fd), n);
            l.start(OpenAt::read(Cwd, kit::NULL), n + 10);
        }
        if round % 2 == 0 {
            l.turn().into_iter().for_each(|entry| l.dispose(entry));
        }
        let _clients = [0; 2].map(|_| kit::connect(&addr));
        l.try_cancel_all().unwrap();
        l.abandon();
    }
}

/// `EMFILE` is one entry per push (I22): it neither spins nor gets lost.
#[cfg(unix)]
fn accept_without_a_free_descriptor(cx: &mut Cx) {
    let (listener, addr) = kit::unix_listener();
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    let op = l.lend(Accept::new(fd));
    let _client = kit::connect(&addr);
    let timeout = l.lend(Timeout::after(Duration::from_millis(2)));
    let mut none_free = kit::NoFreeDescriptor::new();
    for n in 0..10 {
        l.push(op, n);
        assert_eq!(l.one().raw_os_error(), Some(code::EMFILE));
        l.push(timeout, 100);
        assert_eq!(l.one().user_data(), 100, "and nothing more");
        assert_eq!(l.errno(OpenAt::read(Cwd, kit::NULL)), code::EMFILE);
    }
    none_free.free_one();
    l.push(op, 10);
    let entry = l.one();
    let accepted = l.finish(op, entry).unwrap();
    drop(none_free);
    drop(accepted);
}
