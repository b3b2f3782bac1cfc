//! Each way of sending and of fetching, for each kind of operation.

use crate::kit::{self, code};
use crate::rig::{
    AT_ONCE, Count, Cx, LONG, accepted, block_on, errno, in_flight, message_of, recv,
};
use completeio_driver::driver::{AsRawFd, Cwd, Holds, OwnedFd, Wait};
use completeio_driver::op::{
    Accept, Close, Connect, MsgFlags, Nop, Op, OpenAt, OpenOptions, ReadAt, Recv, Send, Timeout,
    WriteAt,
};
use completeio_driver::remote::Remote;
use std::cell::Cell;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

on_each_backend! {
    everywhere: [
    each_kind_of_operation_by_each_way,
    errors_are_the_systems,
    in_the_order_they_were_sent,
    results_wait_for_whom_they_are,
    polled_by_hand,
    the_last_waker_is_woken,
    polled_by_hand_then_waited_for,
    polled_once_too_often,
    moved_to_another_thread,
    a_wait_that_times_out_and_is_repeated,
    a_wait_of_any_length,
    an_inline_buffer_as_large_as_a_slot,
    remotes_are_cheap_and_all_of_one_driver,
],
    on_unix: [no_system_call_wakes_who_is_awake],
}

type Outcome<O> = (io::Result<<O as Op>::Output>, O);

/// One way from an operation to its outcome.
#[derive(Debug, Clone, Copy)]
enum Way {
    RunBlocking,
    Run,
    TryPushWait,
    TryPushAwait,
    PushBlockingWait,
    PushAwait,
    WaitTimeout,
    Callback,
}

const WAYS: [Way; 8] = [
    Way::RunBlocking,
    Way::Run,
    Way::TryPushWait,
    Way::TryPushAwait,
    Way::PushBlockingWait,
    Way::PushAwait,
    Way::WaitTimeout,
    Way::Callback,
];

/// Sends by ways in turn.
struct Client {
    remote: Remote,
    sent: Cell<usize>,
}

impl Client {
    fn outcome<O>(&self, op: O) -> Outcome<O>
    where
        O: Op<Fd: Holds, Output: std::marker::Send> + std::marker::Send + 'static,
    {
        let sent = self.sent.get();
        self.sent.set(sent + 1);
        let remote = &self.remote;
        match WAYS[sent % WAYS.len()] {
            Way::RunBlocking => remote.run_blocking(op),
            Way::Run => block_on(remote.run(op)),
            Way::TryPushWait => accepted(remote.try_push(op)).wait(),
            Way::TryPushAwait => block_on(accepted(remote.try_push(op))),
            Way::PushBlockingWait => accepted(remote.push_blocking(op)).wait(),
            Way::PushAwait => block_on(async { accepted(remote.push(op).await).await }),
            Way::WaitTimeout => match accepted(remote.try_push(op)).wait_timeout(LONG) {
                Ok(outcome) => outcome,
                Err(_) => panic!("an hour has passed"),
            },
            Way::Callback => {
                let (send, receive) = mpsc::channel();
                let callback = move |output, op| {
                    assert_eq!(thread::current().name(), Some("completeio"));
                    send.send((output, op)).unwrap();
                };
                accepted(remote.try_push_with(op, callback));
                receive.recv().unwrap()
            }
        }
    }

    fn output<O>(&self, op: O) -> O::Output
    where
        O: Op<Fd: Holds, Output: std::marker::Send> + std::marker::Send + 'static,
    {
        self.outcome(op).0.unwrap()
    }
}

/// I1: typed outputs, and the operations with what they own, whatever way they went.
fn each_kind_of_operation_by_each_way(cx: &Cx) {
    let driver = cx.thread(8);
    let client = Client {
        remote: driver.remote(),
        sent: Cell::new(0),
    };
    for turn in 0..WAYS.len() {
        client.sent.set(turn);
        // Each time another way comes first: there are 11 operations, and 8 ways.
        let file = Arc::new(kit::owned(kit::file(b"before")));
        client.output(Nop::new());
        client.output(Timeout::after(Duration::from_micros(10)));
        let (written, op) = client.outcome(WriteAt::new(file.clone(), 0, String::from("after!")));
        assert_eq!((written.unwrap(), op.buf().as_str()), (6, "after!"));
        let read = ReadAt::new(file.clone(), 2, Vec::with_capacity(16));
        let (read, op) = client.outcome(read);
        assert_eq!((read.unwrap(), &op.buf()[..]), (4, &b"ter!"[..]));

        let path = kit::TempPath::new();
        let create = OpenOptions::new().write(true).create_new(true);
        let created = client.output(OpenAt::new(Cwd, path.c_string(), create));
        kit::write_at(&File::from(created), b"opened", 0);
        let file = client.output(OpenAt::read(Cwd, path.c_string()));
        assert_eq!(kit::contents(&File::from(file)), b"opened");
        assert_eq!(fs::read(&*path).unwrap(), b"opened");

        let (ours, theirs) = kit::pair();
        let number = ours.as_raw_fd();
        let (sent, op) = client.outcome(Send::new(kit::owned(theirs), *b"a message"));
        assert_eq!(sent.unwrap(), 9);
        let (peeked, ours) =
            client.outcome(Recv::new(kit::owned(ours), [0; 16]).flags(MsgFlags::PEEK));
        assert_eq!(peeked.unwrap(), 9);
        let (ours, _) = ours.into_parts();
        let (received, ours) = client.outcome(Recv::new(ours, [0; 16]));
        assert_eq!(&ours.buf()[..received.unwrap()], b"a message");
        let (ours, _) = ours.into_parts();
        drop(op);
        let (closed, _) = client.outcome(Close::new(ours));
        closed.unwrap();
        assert!(!kit::is_open(number));

        let (listener, addr) = kit::listener();
        let accept = accepted(client.remote.try_push(Accept::new(kit::owned(listener))));
        let socket = Arc::new(kit::tcp_socket());
        client.output(Connect::new(socket.clone(), addr));
        let (connection, _) = accept.wait();
        let connection = connection.unwrap();
        let client_side = TcpStream::from(Arc::into_inner(socket).unwrap());
        let peer = client_side.local_addr().unwrap();
        assert_eq!(connection.addr.as_socket_addr(), Some(peer));
        kit::reset_on_close(&client_side);
    }
    assert_eq!(driver.shut_down(LONG).unwrap(), 0);
}

fn errors_are_the_systems(cx: &Cx) {
    let driver = cx.thread(4);
    let remote = driver.remote();
    let file = kit::owned(kit::open_directory("src".as_ref()));
    let (read, op) = remote.run_blocking(ReadAt::new(file, 0, [0; 4]));
    assert_eq!(errno(&read), code::EISDIR);
    let (read, op) = remote.run_blocking(ReadAt::new(op.into_parts().0, u64::MAX, [0; 4]));
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let (received, _) = remote.run_blocking(Recv::new(op.into_parts().0, [0; 4]));
    assert_eq!(errno(&received), code::ENOTSOCK);
    let missing = kit::TempPath::new();
    let (opened, op) = block_on(remote.run(OpenAt::read(Cwd, missing.c_string())));
    assert_eq!(errno(&opened), code::NO_FILE);
    drop(op);
}

/// What one thread sends is started in that order: bytes on a stream stay in theirs.
fn in_the_order_they_were_sent(cx: &Cx) {
    const COUNT: u8 = 200;
    let driver = cx.thread(usize::from(COUNT));
    let remote = driver.remote();
    let (ours, mut theirs) = kit::pair();
    let ours = Arc::new(kit::owned(ours));
    let pendings: Vec<_> = (0..COUNT)
        .map(|i| accepted(remote.try_push(Send::new(ours.clone(), [i; 3]))))
        .collect();
    for pending in pendings {
        assert_eq!(pending.wait().0.unwrap(), 3);
    }
    let mut arrived = vec![0; 3 * usize::from(COUNT)];
    theirs.read_exact(&mut arrived).unwrap();
    let expected: Vec<u8> = (0..COUNT).flat_map(|i| [i; 3]).collect();
    assert_eq!(arrived, expected);
}

/// In whatever order they complete and are asked for.
fn results_wait_for_whom_they_are(cx: &Cx) {
    let driver = cx.thread(8);
    let remote = driver.remote();
    let (pendings, ends): (Vec<_>, Vec<_>) = (0..8)
        .map(|_| {
            let (recv, end) = recv();
            (accepted(remote.try_push(recv)), end)
        })
        .unzip();
    for (i, mut end) in ends.iter().enumerate().rev() {
        end.write_all(&[u8::try_from(i).unwrap()]).unwrap();
    }
    for (i, pending) in pendings.into_iter().enumerate() {
        let (received, op) = pending.wait();
        assert_eq!(received.unwrap(), 1);
        assert_eq!(usize::from(op.buf()[0]), i);
    }
}

/// Without an executor: pending, woken once, ready.
fn polled_by_hand(cx: &Cx) {
    let mut hand = cx.hand(2);
    let waker = Count::new();
    let (recv, mut end) = recv();
    let mut pending = accepted(hand.remote.try_push(recv));
    assert!(waker.poll(&mut pending).is_pending());
    hand.turn();
    assert!(waker.poll(&mut pending).is_pending());
    assert_eq!(waker.woken(), 0);
    end.write_all(b"text").unwrap();
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    let Poll::Ready((received, op)) = waker.poll(&mut pending) else {
        panic!("it was woken");
    };
    assert_eq!(&op.buf()[..received.unwrap()], b"text");
    drop(pending);
    hand.turn();
    assert_eq!(waker.woken(), 1);
    assert_eq!(Arc::strong_count(&waker), 1, "no waker is kept");
    hand.assert_whole(2);
}

fn the_last_waker_is_woken(cx: &Cx) {
    let mut hand = cx.hand(1);
    let (first, second, third) = (Count::new(), Count::new(), Count::new());
    let (recv, mut end) = recv();
    let mut pending = accepted(hand.remote.try_push(recv));
    assert!(first.poll(&mut pending).is_pending());
    assert!(second.poll(&mut pending).is_pending());
    assert_eq!(Arc::strong_count(&first), 1, "it was replaced");
    hand.turn();
    assert!(third.poll(&mut pending).is_pending());
    end.write_all(b"x").unwrap();
    while third.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    assert_eq!((first.woken(), second.woken(), third.woken()), (0, 0, 1));
    assert!(first.poll(&mut pending).is_ready());
}

fn polled_by_hand_then_waited_for(cx: &Cx) {
    let driver = cx.thread(1);
    let waker = Count::new();
    let (recv, mut end) = recv();
    let mut pending = accepted(driver.remote().try_push(recv));
    assert!(waker.poll(&mut pending).is_pending());
    let waits = thread::spawn(move || pending.wait().0.unwrap());
    end.write_all(b"text").unwrap();
    assert_eq!(waits.join().unwrap(), 4);
}

fn polled_once_too_often(cx: &Cx) {
    let mut hand = cx.hand(1);
    let waker = Count::new();
    let mut pending = accepted(hand.remote.try_push(Nop::new()));
    assert!(waker.poll(&mut pending).is_pending());
    while waker.woken() == 0 {
        hand.server.turn(Wait::new()).unwrap();
    }
    assert!(waker.poll(&mut pending).is_ready());
    // Its cell is another's now.
    let mut other = accepted(hand.remote.try_push(Nop::new()));
    let says = message_of(|| drop(waker.poll(&mut pending)));
    assert!(says.contains("polled until it is ready"), "{says}");
    drop(pending);
    assert!(hand.finish(&mut other).0.is_ok());
}

fn moved_to_another_thread(cx: &Cx) {
    let driver = cx.thread(2);
    let remote = driver.remote();
    let (recv, mut end) = recv();
    let pending = in_flight(&remote, recv);
    let waits = thread::spawn(move || {
        let (received, op) = pending.wait();
        op.buf()[..received.unwrap()].to_vec()
    });
    end.write_all(b"moved").unwrap();
    assert_eq!(waits.join().unwrap(), b"moved");
}

/// The operation goes on when a wait for it ends.
fn a_wait_that_times_out_and_is_repeated(cx: &Cx) {
    let driver = cx.thread(1);
    let (recv, mut end) = recv();
    let mut pending = accepted(driver.remote().try_push(recv));
    for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::ZERO] {
        pending = match pending.wait_timeout(timeout) {
            Err(pending) => pending,
            Ok(_) => panic!("nothing was sent"),
        };
    }
    end.write_all(b"late").unwrap();
    let Ok((received, op)) = pending.wait_timeout(LONG) else {
        panic!("an hour has passed");
    };
    assert_eq!(&op.buf()[..received.unwrap()], b"late");
}

fn a_wait_of_any_length(cx: &Cx) {
    let driver = cx.thread(1);
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), LONG] {
        let pending = accepted(driver.remote().try_push(Nop::new()));
        assert!(pending.wait_timeout(timeout).is_ok());
    }
    assert_eq!(driver.shut_down(Duration::MAX).unwrap(), 0);
}

/// Size and bytes: all of it goes there and back.
fn an_inline_buffer_as_large_as_a_slot(cx: &Cx) {
    use completeio_driver::slots::SLOT_SIZE;
    const REST: usize = SLOT_SIZE - size_of::<ReadAt<OwnedFd, [u8; 0]>>();
    let content: Vec<u8> = (0..=255).cycle().take(REST).collect();
    let driver = cx.thread(1);
    let file = kit::owned(kit::file(&content));
    let op = ReadAt::new(file, 0, [0; REST]);
    assert_eq!(size_of_val(&op), SLOT_SIZE);
    let (read, op) = driver.remote().run_blocking(op);
    assert_eq!(read.unwrap(), REST);
    assert_eq!(op.buf()[..], content);
}

/// How often the wake-up descriptor was written since it was last read; 0 where it is not told.
#[cfg(unix)]
fn eventfd_count() -> u64 {
    let fds = kit::open_fds();
    let counts = fds
        .iter()
        .filter(|(_, what)| format!("{what:?}").contains("[eventfd]"));
    let counts = counts.filter_map(|(fd, _)| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let line = info.lines().find(|l| l.starts_with("eventfd-count:"))?;
        let count = line.split_whitespace().nth(1)?;
        Some(u64::from_str_radix(count, 16).unwrap())
    });
    counts.sum()
}

/// I14: neither a push nor a drop makes one, however many there are.
#[cfg(unix)]
fn no_system_call_wakes_who_is_awake(cx: &Cx) {
    let mut hand = cx.hand(64);
    hand.turn();
    for _ in 0..3 {
        let sends = |remote: Remote| {
            move || {
                let mut pendings: Vec<_> = (0..64)
                    .map(|_| accepted(remote.try_push(recv().0)))
                    .collect();
                drop(pendings.split_off(32));
                pendings
            }
        };
        let sender = thread::spawn(sends(hand.remote.clone()));
        let pendings = sender.join().unwrap();
        assert_eq!(eventfd_count(), 0, "the driver is awake");
        drop(pendings);
        assert_eq!(eventfd_count(), 0, "the driver is awake");
        hand.turn();
        hand.settle();
    }
    let before = hand.server.driver().stats().wake_ups;
    hand.remote
        .try_push(Nop::new())
        .map(drop)
        .map_err(drop)
        .unwrap();
    hand.turn();
    assert_eq!(hand.server.driver().stats().wake_ups, before + 1);
}

fn remotes_are_cheap_and_all_of_one_driver(cx: &Cx) {
    fn shared<T: std::marker::Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: std::marker::Send + Sync + Unpin + Future + 'static>(_: &T) {}
    let mut hand = cx.hand(1);
    shared(&hand.remote);
    let others = [(); 100].map(|()| hand.remote.clone());
    let pending = accepted(others[99].try_push(Nop::new()));
    sent(&pending);
    assert!(others[0].try_push(Nop::new()).is_err(), "one slot, for all");
    assert!(hand.finish(pending).0.is_ok());
    drop(others);
    assert!(!hand.remote.is_closed());
    hand.server.turn(AT_ONCE).unwrap();
    hand.assert_whole(1);
}
