//! A bounded workload, to be disturbed from outside.

use crate::session::{Lent, Session};
use crate::{Options, expect_one_thread, open_fds};
use completeio_driver::clock::{Clock, Instant};
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, Fd, FromRawFd, OwnedFd, Stats, Wait};
use completeio_driver::op::{
    Accept, Close, Connect, Nop, OpenAt, OpenOptions, ReadAt, Recv, Send, Timeout, WriteAt,
};
use std::ffi::CString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Runs the rounds, leaves an operation in flight, drops the driver, and looks for leaks.
pub(crate) fn run(options: &Options) {
    let fds = open_fds();
    let mut session = Session::new(options);
    for round in 0..options.rounds {
        match options.work.as_str() {
            "nop" => nops(&mut session),
            "net" => net(&mut session, round),
            "file" => files(&mut session, options, round),
            "timers" => timers(&mut session),
            "mixed" => {
                nops(&mut session);
                net(&mut session, round);
                files(&mut session, options, round);
                timers(&mut session);
                wake_ups(&mut session);
            }
            _ => crate::usage(),
        }
        session.settle();
    }
    let (stats, tolerated) = drop_in_flight(session);
    let after = open_fds();
    ensure!(
        after == fds,
        "leaked descriptors: {after:?}, before {fds:?}"
    );
    expect_one_thread();
    println!("ok tolerated={tolerated} {stats:?}");
}

/// More than the queue takes, in batches, alone, cancelled before they were submitted.
fn nops(session: &mut Session) {
    let mut ops: Vec<_> = (0..20).map(|_| Lent::new(Nop::new())).collect();
    let ids: Vec<_> = ops.iter_mut().map(|op| session.start(op)).collect();
    for (op, id) in ops.iter_mut().zip(ids) {
        let entry = session.wait(id);
        let result = Session::finish(op, entry);
        ensure!(result.is_ok(), "a nop gave {result:?}");
    }
    session.run("nop", &mut ops[0]);

    let id = session.start(&mut ops[0]);
    ensure!(
        session.driver.try_cancel(id).is_ok(),
        "no place for a cancellation"
    );
    let entry = session.wait(id);
    let result = Session::finish(&mut ops[0], entry);
    let cancelled = matches!(&result, Err(e) if e.raw_os_error() == Some(libc::ECANCELED));
    ensure!(
        result.is_ok() || cancelled,
        "a cancelled nop gave {result:?}"
    );
}

/// A connection over loopback: small and large transfers both ways, a cancelled receive, close.
fn net(session: &mut Session, round: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = connect(session, &listener, address);
    for (seed, len) in [1, 100, 4096, 300_000].into_iter().enumerate() {
        exchange(session, client, server, pattern(len, round + seed));
        exchange(session, server, client, pattern(len, round + seed + 7));
    }
    cancel_recv(session, server);
    exchange(session, client, server, pattern(10, round));
    for fd in [client, server] {
        session.run("close", &mut Lent::new(Close::new(fd)));
    }
}

/// A connected pair; both ends are to be closed by `Close`.
fn connect(session: &mut Session, listener: &TcpListener, address: SocketAddr) -> (Fd, Fd) {
    let listener = session.attach(listener);
    let client = tcp_socket();
    let client_fd = session.attach(&client);
    let mut accept = Lent::new(Accept::new(listener));
    let mut connect = Lent::new(Connect::new(client_fd, address));
    let mut accepting = session.start(&mut accept);
    session.run("connect", &mut connect);
    let accepted = loop {
        let entry = session.wait(accepting);
        match Session::finish(&mut accept, entry) {
            Ok(accepted) => break accepted,
            Err(e) if session.tolerates(&e) => accepting = session.start(&mut accept),
            Err(e) => crate::fail(format_args!("accept: {e}")),
        }
    };
    let peer = accepted.addr.as_socket_addr();
    ensure!(
        peer.is_some_and(|a| a.ip() == address.ip()),
        "accepted {peer:?}"
    );
    let server_fd = session.attach(&accepted.fd);
    session.driver.detach(listener);
    // From here on the numbers are the operations', which close them.
    let _ = (into_raw(client), into_raw(accepted.fd));
    (client_fd, server_fd)
}

fn into_raw(fd: OwnedFd) -> i32 {
    std::os::fd::IntoRawFd::into_raw_fd(fd)
}

fn tcp_socket() -> OwnedFd {
    // SAFETY: takes three numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    ensure!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and known to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(len: usize, seed: usize) -> Box<[u8]> {
    (0..len)
        .map(|i| (i * 31 + (i >> 8) + seed * 101).to_le_bytes()[0])
        .collect()
}

/// Sends all of `bytes` and receives them, both in flight at once, however few a flight moves.
fn exchange(session: &mut Session, from: Fd, to: Fd, bytes: Box<[u8]>) {
    let len = bytes.len();
    let mut recv = Lent::new(Recv::new(to, vec![0; len].into_boxed_slice()));
    let mut send = Lent::new(Send::new(from, bytes));
    let (mut receiving, mut sending) = (session.start(&mut recv), session.start(&mut send));
    let (mut received, mut sent) = (0, 0);
    while received < len || sent < len {
        session.turn(None);
        if let Some(entry) = session.take(receiving) {
            match entry.into_result() {
                Ok(0) => crate::fail(format_args!("the end after {received} of {len} bytes")),
                Ok(n) => {
                    received += n;
                    // SAFETY: the last entry said that so many bytes were received.
                    unsafe { recv.op().advance(n) };
                }
                Err(e) if session.tolerates(&e) => {}
                Err(e) => crate::fail(format_args!("recv: {e}")),
            }
            if received < len {
                receiving = session.start(&mut recv);
            }
        }
        if let Some(entry) = session.take(sending) {
            match entry.into_result() {
                Ok(n) => {
                    sent += n;
                    send.op().advance(n);
                }
                Err(e) if session.tolerates(&e) => {}
                Err(e) => crate::fail(format_args!("send: {e}")),
            }
            if sent < len {
                sending = session.start(&mut send);
            }
        }
    }
    ensure!(
        (received, sent) == (len, len),
        "{received} and {sent} of {len}"
    );
    ensure!(
        recv.op().buf() == send.op().buf(),
        "{len} bytes came otherwise than they went"
    );
}

/// A receive that waits, and is cancelled: by its user data, by its descriptor.
fn cancel_recv(session: &mut Session, fd: Fd) {
    let mut recv = Lent::new(Recv::new(fd, vec![0; 8].into_boxed_slice()));
    for by_fd in [false, true] {
        loop {
            let id = session.start(&mut recv);
            session.turn(Some(Duration::ZERO));
            let asked = match by_fd {
                false => session.driver.try_cancel(id),
                true => session.driver.try_cancel_fd(&fd),
            };
            ensure!(asked.is_ok(), "no place for a cancellation");
            match session.wait(id).into_result() {
                Err(e) if e.raw_os_error() == Some(libc::ECANCELED) => break,
                Err(e) if session.tolerates(&e) => {}
                other => crate::fail(format_args!("a cancelled receive gave {other:?}")),
            }
        }
    }
}

/// A file: opened, written in a batch, read back, closed.
fn files(session: &mut Session, options: &Options, round: usize) {
    const BLOCK: usize = 4096;
    let path = options.dir.join("file");
    let path = CString::new(path.into_os_string().into_encoded_bytes()).unwrap();
    let how = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true);
    let mut open = Lent::new(OpenAt::new(Cwd, path, how));
    let file = session.run("open", &mut open);
    let fd = session.attach(&file);

    let blocks = [0, 1, 2, 3];
    let mut writes = blocks.map(|i| {
        Lent::new(WriteAt::new(
            fd,
            (i * BLOCK) as u64,
            pattern(BLOCK, round + i),
        ))
    });
    let ids: Vec<_> = writes.iter_mut().map(|op| session.start(op)).collect();
    for (op, id) in writes.iter_mut().zip(ids) {
        let entry = session.wait(id);
        let n = Session::finish(op, entry).or_else(|e| match session.tolerates(&e) {
            true => Ok(session.run("write", op)),
            false => Err(e),
        });
        ensure!(matches!(n, Ok(BLOCK)), "a write gave {n:?}");
    }
    let mut reads = blocks.map(|i| {
        Lent::new(ReadAt::new(
            fd,
            (i * BLOCK) as u64,
            vec![0; BLOCK].into_boxed_slice(),
        ))
    });
    let ids: Vec<_> = reads.iter_mut().map(|op| session.start(op)).collect();
    for ((i, op), id) in reads.iter_mut().enumerate().zip(ids) {
        let entry = session.wait(id);
        let n = Session::finish(op, entry).or_else(|e| match session.tolerates(&e) {
            true => Ok(session.run("read", op)),
            false => Err(e),
        });
        ensure!(matches!(n, Ok(BLOCK)), "a read gave {n:?}");
        ensure!(
            *op.op().buf() == pattern(BLOCK, round + i),
            "block {i} was read wrong"
        );
    }
    let mut end = Lent::new(ReadAt::new(
        fd,
        (4 * BLOCK) as u64,
        vec![0; 8].into_boxed_slice(),
    ));
    let n = session.run("read at the end", &mut end);
    ensure!(n == 0, "{n} bytes at the end of the file");
    let _closed_by_the_operation = into_raw(file);
    session.run("close", &mut Lent::new(Close::new(fd)));
}

/// Timeouts of all kinds, one cancelled; waits that end by their own deadline, never early.
fn timers(session: &mut Session) {
    let start = Instant::now();
    let spans = [0, 1, 2, 3].map(Duration::from_millis);
    let mut ops = spans.map(|span| Lent::new(Timeout::after(span)));
    let mut long = Lent::new(Timeout::after_on(Clock::Monotonic, Duration::MAX));
    let mut past = Lent::new(Timeout::at(start));
    let long_id = session.start(&mut long);
    let past_id = session.start(&mut past);
    let ids: Vec<_> = ops.iter_mut().map(|op| session.start(op)).collect();
    for ((op, id), span) in ops.iter_mut().zip(ids).zip(spans) {
        let entry = session.wait(id);
        let fired = Session::finish(op, entry);
        ensure!(fired.is_ok(), "a timeout gave {fired:?}");
        ensure!(
            start.elapsed() >= span,
            "early: {:?} of {span:?}",
            start.elapsed()
        );
    }
    let entry = session.wait(past_id);
    let fired = Session::finish(&mut past, entry);
    ensure!(fired.is_ok(), "a timeout in the past gave {fired:?}");

    // Nothing completes: the wait lasts as long as it was told to.
    let span = Duration::from_millis(5);
    for wait in [false, true] {
        let start = Instant::now();
        let entries = match wait {
            false => session.turn(Some(span)),
            true => session.turn_until(Wait::new().at_least(3).until(start + span)),
        };
        ensure!(entries == 0, "{entries} entries out of nothing");
        ensure!(
            start.elapsed() >= span,
            "a wait of {span:?} ended after {:?}",
            start.elapsed()
        );
    }
    // One of two completes: the wait for both lasts on.
    let start = Instant::now();
    let id = session.start(&mut ops[1]);
    let entries = session.turn_until(Wait::new().at_least(2).until(start + span));
    ensure!(entries <= 1, "{entries} entries of a timeout");
    ensure!(
        start.elapsed() >= span,
        "a wait of {span:?} for two ended after {:?}",
        start.elapsed()
    );
    let entry = session.wait(id);
    let fired = Session::finish(&mut ops[1], entry);
    ensure!(fired.is_ok(), "a timeout gave {fired:?}");

    ensure!(
        session.driver.try_cancel(long_id).is_ok(),
        "no place for a cancellation"
    );
    let entry = session.wait(long_id);
    let cancelled = Session::finish(&mut long, entry);
    ensure!(
        matches!(&cancelled, Err(e) if e.raw_os_error() == Some(libc::ECANCELED)),
        "a cancelled timeout gave {cancelled:?}"
    );
}

/// Wake-ups end waits that nothing else would end.
fn wake_ups(session: &mut Session) {
    let notifier = session.driver.notifier();
    for _ in 0..3 {
        notifier.notify();
        let entries = session.turn(None);
        ensure!(entries == 0, "a wake-up gave {entries} entries");
    }
}

/// Drops the driver with operations that wait, and one that was not submitted. Returns its
/// counters, and how many errors it was forgiven.
fn drop_in_flight(mut session: Session) -> (Stats, usize) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = session.attach(&ours);
    let mut recv = Lent::new(Recv::new(fd, vec![0; 8].into_boxed_slice()));
    let mut timeout = Lent::new(Timeout::after(Duration::from_secs(3600)));
    let mut nop = Lent::new(Nop::new());
    let receiving = session.start(&mut recv);
    session.start(&mut timeout);
    session.turn(Some(Duration::ZERO));
    if let Some(entry) = session.take(receiving) {
        let failed = entry.into_result();
        let forgiven = failed.as_ref().is_err_and(|e| session.tolerates(e));
        ensure!(forgiven, "a receive of nothing gave {failed:?}");
        session.start(&mut recv);
        session.turn(Some(Duration::ZERO));
    }
    session.start(&mut nop);
    let counted = (session.driver.stats(), session.tolerated);
    drop(session);
    drop(theirs);
    ensure!(
        recv.op().buf().iter().all(|byte| *byte == 0),
        "somebody wrote into the buffer"
    );
    ensure!(ours.as_raw_fd() >= 0, "the socket is ours still");
    counted
}
