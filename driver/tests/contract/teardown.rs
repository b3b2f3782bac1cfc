//! I5: a driver that is dropped waits for what it has handed over, and never executes nor touches
//! what it has not.

use crate::kit;
use crate::ledger::Cx;
use crate::region::Region;
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd};
use completeio_driver::op::{
    Accept, Close, Connect, Nop, OpenAt, OpenOptions, Recv, Send, Timeout, WriteAt,
};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

contract! {
    everywhere: [
        with_entries_that_nobody_took,
        with_cancellations_asked_for,
        with_nothing,
        a_pushed_close_closes_nothing,
    ],
    on_host: [
        with_pending_operations,
        what_was_only_pushed_is_not_executed,
        what_was_only_pushed_is_not_touched,
        a_half_submitted_batch,
        an_accepted_connection_is_closed,
        opened_files_are_closed,
    ],
    on_unix: [
        with_a_pending_connect,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);

fn with_pending_operations(cx: &mut Cx) {
    for handed_over in [true, false] {
        let (ours, theirs) = kit::pair();
        let (listener, _) = kit::listener();
        let mut l = cx.ledger();
        for n in 0..4 {
            let fd = l.at(&ours);
            l.start(Recv::new(fd, [0; 64]), n);
            let fd = l.at(&listener);
            l.start(Accept::new(fd), n);
            l.start(Timeout::after(HOUR), n);
            l.start(Timeout::after(Duration::MAX), n);
        }
        if handed_over {
            l.hand_over();
        }
        l.abandon();
        (&theirs).write_all(b"later").unwrap();
        assert_eq!(kit::arrived(&ours), b"later", "nobody receives any more");
    }
}

#[cfg(unix)]
fn with_a_pending_connect(cx: &mut Cx) {
    let (_listener, addr, _clients) = kit::full_listener();
    let socket = kit::tcp_socket();
    let mut l = cx.ledger();
    let fd = l.at(&socket);
    l.start(Connect::new(fd, addr), 1);
    l.hand_over();
    l.abandon();
}

fn with_entries_that_nobody_took(cx: &mut Cx) {
    let mut l = cx.with(|limits| limits.entries(64).completion_entries(64));
    for n in 0..64 {
        l.start(Nop::new(), n);
    }
    l.submit(None, &mut None).unwrap();
    assert_eq!(l.in_flight(), 63);
    l.abandon();
}

fn with_cancellations_asked_for(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Recv::new(fd, [0; 64]), 1);
    l.hand_over();
    l.start(Recv::new(fd, [0; 64]), 2);
    for n in 1..=3 {
        l.try_cancel(n).unwrap();
    }
    l.try_cancel_fd(&fd).unwrap();
    l.try_cancel_all().unwrap();
    l.abandon();
}

fn with_nothing(cx: &mut Cx) {
    let (file, _) = cx.pipe();
    let mut l = cx.ledger();
    let _notifier = l.notifier();
    l.at(&file);
    l.register_fd(file.as_raw_fd(), 0).unwrap();
    l.abandon();
}

fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let file = kit::file(b"before");
    let (ours, theirs) = kit::pair();
    let path = kit::TempPath::new();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    l.start(WriteAt::new(fd, 0, "after!"), 1);
    let fd = l.at(&ours);
    l.start(Send::new(fd, "nobody asked"), 2);
    let create = OpenOptions::new().write(true).create(true);
    l.start(OpenAt::new(Cwd, path.c_string(), create), 3);
    l.abandon();
    assert_eq!(read(&file), b"before");
    assert_eq!(kit::arrived(&theirs), b"");
    assert!(!path.exists());
}

/// Push is safe: the memory may be gone long before the driver is.
fn what_was_only_pushed_is_not_touched(cx: &mut Cx) {
    let file = kit::file(b"before");
    let buffer = Region::new(4096);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let read = l.start(
        completeio_driver::op::ReadAt::new(fd, 0, vec![0; 1 << 20]),
        1,
    );
    let write = l.start(WriteAt::new(fd, 0, vec![7; 1 << 20]), 2);
    let mapped = l.start(WriteAt::new(fd, 0, &*buffer.lend(0..4096)), 3);
    let timeout = l.start(Timeout::after(HOUR), 4);
    l.free(read);
    l.free(write);
    l.free(mapped);
    l.free(timeout);
    drop(buffer); // Who reads it now dies of it.
    l.abandon();
    assert_eq!(self::read(&file), b"before");
}

fn a_half_submitted_batch(cx: &mut Cx) {
    let file = kit::file(&[b'-'; 64]);
    let (ours, _theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for n in 0..8 {
        l.start(WriteAt::new(fd, n as u64, "1"), n);
    }
    let socket = l.at(&ours);
    l.start(Recv::new(socket, [0; 8]), 8);
    l.submit(Some(Duration::ZERO), &mut None).unwrap();
    for n in 32..40 {
        l.start(WriteAt::new(fd, n as u64, "2"), n);
    }
    l.start(Recv::new(socket, [0; 8]), 40);
    l.abandon();
    let bytes = read(&file);
    assert!(
        bytes[..8].iter().all(|byte| b"-1".contains(byte)),
        "executed or cancelled"
    );
    assert_eq!(bytes[8..], [b'-'; 56], "never executed");
}

/// I16: a close that was not executed leaves its descriptor open, for whoever knows the number.
fn a_pushed_close_closes_nothing(cx: &mut Cx) {
    let (ours, theirs) = cx.pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    l.start(Close::new(fd), 1);
    l.abandon();
    (&theirs).write_all(b"still open").unwrap();
    assert_eq!(ours.arrived(), b"still open");
}

fn an_accepted_connection_is_closed(cx: &mut Cx) {
    let (listener, addr) = kit::listener();
    let mut clients = [0, 1].map(|_| TcpStream::connect(addr).unwrap());
    let mut l = cx.ledger();
    let fd = l.at(&listener);
    l.start(Nop::new(), 1);
    l.start(Accept::new(fd), 2);
    l.start(Accept::new(fd), 3);
    // Both are accepted here, and not taken out.
    let mut first = None;
    l.submit(None, &mut first).unwrap();
    l.abandon();
    drop(listener);
    for client in &mut clients {
        assert!(
            matches!(client.read(&mut [0]), Ok(0) | Err(_)),
            "it was closed"
        );
    }
}

fn opened_files_are_closed(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "x").unwrap();
    let mut l = cx.ledger();
    for n in 0..16 {
        l.start(OpenAt::read(Cwd, path.c_string()), n);
    }
    let mut first = None;
    l.submit(None, &mut first).unwrap();
    l.dispose(first.unwrap());
    l.abandon();
    assert!(!kit::is_open_somewhere(&path));
}

fn read(file: &fs::File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    kit::read_at(file, &mut bytes, 0);
    bytes
}
