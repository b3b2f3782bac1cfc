//! I18: a panic in code of the user's, which the driver calls, costs at most the entry in its
//! hands.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::address::Address;
use completeio_driver::ancillary::{Incoming, Outgoing};
use completeio_driver::buf::{IoBuf, IoBufMut};
use completeio_driver::driver::{CompleteIo, Cwd, Descriptor, Entry, Target};
use completeio_driver::op::{
    Accept, Bind, Connect, GetXattr, HardLink, Nop, Op, OpenAt, Poll, PollEvents, Read, ReadAt,
    Recv, RecvFrom, RecvMsg, RecvVectored, Rename, SendMsg, SendTo, SetPathXattr, SetSockOpt,
    SockOpt, Stat, Symlink, Sync, Timeout, Unlink, WaitId, WriteAt,
};
use completeio_driver::sink;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

contract! {
    everywhere: [
        in_a_sink,
        in_a_sink_with_refused_operations,
        in_a_buffer_at_a_push,
        in_a_buffer_in_a_queue,
        in_whatever_is_asked,
        in_flight_while_unwinding,
        in_a_sink_beside_a_wake_up,
    ],
}

/// Without a message on the terminal.
fn quietly(f: impl FnOnce()) {
    assert!(
        catch_unwind(AssertUnwindSafe(f)).is_err(),
        "it was to panic"
    );
}

fn silent_panic() -> ! {
    resume_unwind(Box::new(()))
}

/// `push` makes five entries; the sink panics on each of them in turn.
fn panic_on_each(cx: &mut Cx, user_data: impl Fn(usize) -> usize) {
    const COUNT: usize = 5;
    for fatal in 0..COUNT {
        let mut l = cx.ledger();
        for n in 0..COUNT {
            l.start(Nop::new(), user_data(n));
        }
        let mut seen = 0;
        quietly(|| {
            while seen < COUNT {
                let mut put = |_: Entry| {
                    if seen == fatal {
                        silent_panic();
                    }
                    seen += 1;
                };
                l.submit(None, &mut sink::bounded(COUNT, &mut put)).unwrap();
            }
        });
        assert_eq!(seen, fatal);
        assert_eq!(
            l.in_flight(),
            COUNT - fatal - 1,
            "one is lost, in the hands of the sink"
        );
        assert_eq!(l.take(COUNT - fatal - 1).len(), COUNT - fatal - 1);
        l.start(Nop::new(), 100);
        assert_eq!(kit::names(&l.take(1)), [100]);
    }
}

fn in_a_sink(cx: &mut Cx) {
    panic_on_each(cx, |n| n);
}

fn in_a_sink_with_refused_operations(cx: &mut Cx) {
    panic_on_each(cx, |n| if n % 2 == 0 { n } else { usize::MAX - n });
}

/// A buffer, a name or a descriptor that cannot be lent.
struct Broken;

// SAFETY: lends nothing.
unsafe impl IoBufMut for Broken {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        silent_panic()
    }
    unsafe fn set_filled(&mut self, _n: usize) {}
}

// SAFETY: lends nothing.
unsafe impl IoBuf for Broken {
    fn parts(&self) -> (*const u8, usize) {
        silent_panic()
    }
}

// SAFETY: names nothing.
unsafe impl Descriptor for Broken {
    fn target(&self) -> Target {
        silent_panic()
    }
}

impl AsRef<CStr> for Broken {
    fn as_ref(&self) -> &CStr {
        silent_panic()
    }
}

fn in_a_buffer_at_a_push(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.with(|limits| limits.entries(2).in_flight(2));
    let fd = l.at(&file);
    let read = l.lend(ReadAt::new(fd, 0, Broken));
    let write = l.lend(WriteAt::new(fd, 0, Broken));
    for n in 0..10 {
        quietly(|| drop(l.try_push(read, n)));
        quietly(|| drop(l.try_push_typed(read, n)));
        quietly(|| drop(l.try_push(write, n)));
        quietly(|| drop(l.try_push_typed(write, n)));
        assert_eq!(
            (l.in_flight(), l.capacity_left()),
            (0, 2),
            "nothing was accepted"
        );
        assert_eq!(l.run(ReadAt::new(fd, 0, [0; 8])).unwrap(), 4);
    }
}

/// What stands before the broken one is accepted; what stands behind it stays.
fn in_a_buffer_in_a_queue(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let nops: Vec<_> = (0..4).map(|_| l.lend(Nop::new())).collect();
    let broken = l.lend(ReadAt::new(fd, 0, Broken));
    let mut queue = VecDeque::new();
    for (n, nop) in nops.iter().enumerate() {
        if n == 2 {
            queue.push_back(l.object(broken, 99));
        }
        queue.push_back(l.object(*nop, n));
    }
    quietly(|| CompleteIo::push_queue(&mut *l, &mut queue));
    l.expect(&[0, 1]);
    assert_eq!(l.in_flight(), 2);
    assert_eq!(kit::names(&l.take(2)), [0, 1]);
    if queue.front().is_some_and(|op| op.user_data() == 99) {
        queue.pop_front();
    }
    l.push_queue(&mut queue);
    assert_eq!(kit::names(&l.take(2)), [2, 3]);
}

/// A descriptor of nothing, but for the second time that it is asked.
struct Unsteady(Cell<bool>);

// SAFETY: names nothing that anybody has.
unsafe impl Descriptor for Unsteady {
    fn target(&self) -> Target {
        if self.0.replace(true) {
            silent_panic();
        }
        Target::Plain(crate::kit::CLOSED)
    }
}

/// Each family asks at the push, and nothing of it is accepted.
fn in_whatever_is_asked(cx: &mut Cx) {
    fn refuse<O: Op + 'static>(l: &mut Ledger, op: O) {
        let op = l.lend(op);
        for n in 0..3 {
            quietly(|| drop(l.try_push(op, n)));
            quietly(|| drop(l.try_push_typed(op, n)));
        }
        assert_eq!((l.in_flight(), l.capacity_left()), (0, 2));
    }
    let (socket, _peer) = cx.pair();
    let mut l = cx.with(|limits| limits.entries(2).in_flight(2));
    let l = &mut l;
    let fd = l.at(&socket);
    let at = Address::from(SocketAddr::from(([127, 0, 0, 1], 1)));
    refuse(l, Sync::new(Broken));
    refuse(l, Stat::new(Broken));
    refuse(l, Read::new(Broken, [0; 8]));
    refuse(l, Poll::new(Broken, PollEvents::READABLE));
    refuse(l, WaitId::pidfd(Broken));
    refuse(l, Accept::new(Broken));
    refuse(l, Connect::new(Broken, at));
    refuse(l, Bind::new(Broken, at));
    refuse(l, SetSockOpt::new(Broken, SockOpt::KEEP_ALIVE, true));
    refuse(l, OpenAt::read(Broken, c"x"));
    refuse(l, OpenAt::read(Cwd, Broken));
    refuse(l, Unlink::file(Cwd, Broken));
    refuse(l, Rename::new(Cwd, c"x", Broken, c"y"));
    refuse(l, HardLink::new(Cwd, c"x", Cwd, Broken));
    refuse(l, Symlink::new(Broken, Cwd, c"x"));
    refuse(l, GetXattr::new(fd, c"user.x", Broken));
    refuse(l, GetXattr::new(fd, Broken, [0; 8]));
    refuse(l, SetPathXattr::new(c"x", Broken, "value"));
    refuse(l, SendTo::new(fd, Broken, at));
    refuse(l, RecvFrom::new(fd, Broken));
    refuse(l, RecvVectored::new(fd, ([0; 8], Broken)));
    refuse(l, RecvMsg::new(fd, ([0; 8], Broken), Incoming::<64>::new()));
    // Asked for their number before, for it is part of the message, where there are such messages.
    #[cfg(unix)]
    {
        let fds = [Unsteady(Cell::new(false))];
        let control = Outgoing::<64, _>::with_rights(fds).ok().unwrap();
        refuse(l, SendMsg::new(fd, ["x"], control));
    }
    l.run(Nop::new()).unwrap();
}

/// The ledger's driver is dropped by the unwinding, with operations in flight.
fn in_flight_while_unwinding(cx: &mut Cx) {
    let (ours, mut theirs) = cx.pair();
    let witness = Rc::new(());
    let _held = witness.clone();
    quietly(|| {
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        l.start(Recv::new(fd, [0; 64]), 1);
        l.start(Timeout::after(Duration::MAX), 2);
        l.hand_over();
        l.start(Recv::new(fd, [0; 64]), 3);
        let _witness = witness;
        silent_panic();
    });
    assert_eq!(Rc::strong_count(&_held), 1);
    theirs.write_all(b"later").unwrap();
    assert_eq!(ours.arrived(), b"later");
}

/// The wake-up is not the entry in the sink's hands.
fn in_a_sink_beside_a_wake_up(cx: &mut Cx) {
    let mut l = cx.ledger();
    let notifier = l.notifier();
    l.start(Nop::new(), 1);
    notifier.notify();
    quietly(|| {
        let mut sink = sink::bounded(1, |_: Entry| silent_panic());
        l.submit(None, &mut sink).unwrap();
    });
    // Nothing is in flight: the wake-up alone ends this wait.
    l.submit(None, &mut None::<Entry>).unwrap();
    assert_eq!(l.stats().wake_ups, 1);
    l.abandon();
}
