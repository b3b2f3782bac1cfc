//! S1, S2 and S4 on a model of a kernel, which touches what it was lent at every turn: made to be
//! run by Miri.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::driver::{Cwd, OwnedFd};
use crate::op::{
    Accept, Close, Connect, MsgFlags, Nop, OpenAt, ReadAt, Recv, Send, Timeout, WriteAt,
};
use crate::slots::tests::{Drops, forget, is_cancelled};
use crate::sys::model::{self, ENTRIES, FILL, HOUR, IN_FLIGHT, Model, each_seed};
use std::array;
use std::ffi::CString;
use std::fs::File;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Lends and pushes.
fn start<'s, 'env, O: Op + 'env>(
    s: &mut Scope<'s, 'env>,
    op: &'env mut O,
    token: usize,
) -> Ticket<'s, 'env, O>
where
    O::Fd: Holds,
{
    let (prepared, ticket) = s.lend(op, token);
    s.try_push(prepared).unwrap();
    ticket
}

/// A turn that does not wait; what completes is dropped, and so disposed of.
fn turn(s: &mut Scope<'_, '_>) {
    let nobody = |_: Event<'_>| ();
    let sink = &mut crate::sink::bounded(usize::MAX, nobody);
    s.submit(Some(Duration::ZERO), sink).unwrap();
}

/// A turn after which nothing is taken out of the completion queue.
fn hand_over(s: &mut Scope<'_, '_>) {
    let Engine { backend, core } = &mut *s.engine;
    // SAFETY: (S1) what is pushed is lent until the scope's end.
    unsafe { backend.turn(core, Block::Never) }.unwrap();
}

/// Waits for the last completion of some operation.
fn done<'s>(s: &mut Scope<'s, '_>) -> Done<'s> {
    loop {
        let mut event: Option<Event<'s>> = None;
        s.submit(None, &mut event).unwrap();
        if let Some(done) = event.and_then(Event::done) {
            return done;
        }
    }
}

/// Waits for the last completions of operations with the tokens 0 to `N`.
fn all_done<'s, const N: usize>(s: &mut Scope<'s, '_>) -> [Done<'s>; N] {
    let mut dones = [const { None }; N];
    while dones.iter().any(Option::is_none) {
        let done = done(s);
        let token = done.token();
        assert!(
            dones[token].replace(done).is_none(),
            "I1: {token} completes twice"
        );
    }
    dones.map(Option::unwrap)
}

/// Nothing of a scope is left, and the driver does what it did before.
fn assert_over(driver: &mut Driver<'_>) {
    assert!(driver.engine.core.loans.is_empty());
    assert_eq!(driver.in_flight(), 0);
    let mut nop = Nop::new();
    let output = driver.scope(|s| {
        let ticket = start(s, &mut nop, 0);
        let done = done(s);
        ticket.redeem(done).unwrap().0
    });
    output.unwrap().unwrap();
    assert_eq!(driver.stats().unknown, 0);
}

/// Unwinds without a word of the panic hook, or does nothing.
fn unwind(unwinds: bool) {
    if unwinds {
        resume_unwind(Box::new(()));
    }
}

/// Runs `f` in a scope, and catches what it unwinds with by [`unwind`].
fn run<'env>(driver: &mut Driver<'_>, f: impl for<'s> FnOnce(&mut Scope<'s, 'env>)) {
    match catch_unwind(AssertUnwindSafe(|| driver.scope(f))) {
        Ok(scope) => scope.unwrap(),
        Err(panic) if panic.is::<()>() => {}
        Err(panic) => resume_unwind(panic),
    }
}

/// One operation of each kind, with inline buffers and with lent ones.
struct Ops<'b> {
    nop: Nop,
    timeouts: [Timeout; 2],
    read: ReadAt<Cwd, &'b mut [u8]>,
    write: WriteAt<Cwd, &'b [u8]>,
    recv: Recv<Cwd, [u8; 16]>,
    silent: Recv<Cwd, [u8; 16]>,
    send: Send<Cwd, [u8; 16]>,
    accept: Accept<Cwd>,
    connect: Connect<Cwd>,
    open: OpenAt<Cwd, CString>,
    close: Close<OwnedFd>,
}

fn silent<B: crate::buf::IoBufMut>(buffer: B) -> Recv<Cwd, B> {
    Recv::new(Cwd, buffer).flags(MsgFlags::OUT_OF_BAND)
}

impl<'b> Ops<'b> {
    fn new(sent: &'b [u8], received: &'b mut [u8]) -> Self {
        Self {
            nop: Nop::new(),
            timeouts: [Duration::ZERO, HOUR].map(Timeout::after),
            read: ReadAt::new(Cwd, 0, received),
            write: WriteAt::new(Cwd, 0, sent),
            recv: Recv::new(Cwd, [0; 16]),
            silent: silent([0; 16]),
            send: Send::new(Cwd, [2; 16]),
            accept: Accept::new(Cwd),
            connect: Connect::new(Cwd, SocketAddr::from(([127, 0, 0, 1], 80))),
            open: OpenAt::read(Cwd, c"a path".to_owned()),
            close: Close::new(File::open("/dev/null").unwrap().into()),
        }
    }

    /// Pushes all of them; some of the tickets are dropped, others forgotten.
    fn start<'env>(&'env mut self, s: &mut Scope<'_, 'env>) {
        let [soon, never] = &mut self.timeouts;
        drop(start(s, &mut self.nop, 0));
        drop(start(s, soon, 1));
        drop(start(s, never, 2));
        let _forgotten = ManuallyDrop::new(start(s, &mut self.read, 3));
        let _forgotten = ManuallyDrop::new(start(s, &mut self.write, 4));
        let _forgotten = ManuallyDrop::new(start(s, &mut self.recv, 5));
        let _forgotten = ManuallyDrop::new(start(s, &mut self.silent, 6));
        drop(start(s, &mut self.send, 7));
        drop(start(s, &mut self.accept, 8));
        drop(start(s, &mut self.connect, 9));
        drop(start(s, &mut self.open, 10));
        drop(start(s, &mut self.close, 11));
    }
}

/// S1: an operation is its owner's again each time, with what the kernel wrote.
#[test]
fn lent_again_and_again() {
    each_seed(0, |_, mut driver| {
        let mut received = [0; 8];
        let mut recv = Recv::new(Cwd, [0; 16]);
        let mut read = ReadAt::new(Cwd, 0, &mut received[..]);
        let mut write = WriteAt::new(Cwd, 0, [0; 8]);
        let scope = driver.scope(|s| {
            let (mut read, mut recv, mut write) = (&mut read, &mut recv, &mut write);
            for round in 1..4 {
                let tickets = (start(s, recv, 0), start(s, read, 1), start(s, write, 2));
                let [one, two, three] = all_done(s);
                let (output, op) = tickets.0.redeem(one).unwrap();
                let n = output.unwrap();
                assert_eq!(op.buf()[..n], [FILL; 16][..n]);
                *op.buf_mut() = [round; 16];
                recv = op;
                let (output, op) = tickets.1.redeem(two).unwrap();
                let n = output.unwrap();
                assert_eq!(op.buf()[..n], [FILL; 8][..n]);
                op.buf_mut().fill(round);
                read = op;
                let (output, op) = tickets.2.redeem(three).unwrap();
                assert!((1..=8).contains(&output.unwrap()));
                *op.buf_mut() = [round; 8];
                write = op;
            }
        });
        scope.unwrap();
        assert_eq!(recv.buf(), &[3; 16]);
        assert_eq!(write.buf(), &[3; 8]);
        assert_eq!(received, [3; 8]);
        assert_over(&mut driver);
    });
}

/// S1: while more is to follow, the operation is the kernel's, also when the scope ends.
#[test]
fn more_comes_before_the_last() {
    let seen = Cell::new(0);
    each_seed(0, |seed, mut driver| {
        let mut recv = Recv::new(Cwd, [0; 16]);
        run(&mut driver, |s| {
            let mut recv = &mut recv;
            for round in 0..3 {
                let ticket = start(s, recv, round);
                let done = loop {
                    let mut event = None;
                    s.submit(None, &mut event).unwrap();
                    match event {
                        Some(Event::Done(done)) => break done,
                        Some(Event::More(more)) => {
                            assert_eq!((more.token(), more.result().unwrap()), (round, 1));
                            seen.set(seen.get() + 1);
                        }
                        None => {}
                    }
                };
                recv = ticket.redeem(done).unwrap().1;
                *recv.buf_mut() = [7; 16];
            }
            drop(start(s, recv, 3));
            hand_over(s);
            hand_over(s);
            unwind(seed % 2 == 1);
        });
        *recv.buf_mut() = [7; 16];
        assert_over(&mut driver);
    });
    assert!(seen.get() > 0);
}

/// What was not pushed comes back without a turn, and nobody else has it meanwhile.
#[test]
fn taken_back() {
    each_seed(0, |seed, mut driver| {
        let mut ops = [silent([0; 8]), silent([0; 8])];
        let scope = driver.scope(|s| {
            let [one, two] = &mut ops;
            let (first, ticket) = s.lend(one, 1);
            assert_eq!(first.token(), 1);
            let other = start(s, two, 2);
            turn(s);
            let (ticket, first) = match seed % 2 {
                0 => (ticket, first),
                _ => {
                    // Halves of two loans.
                    let (other, first) = other.take_back(first).unwrap_err();
                    s.try_cancel(&other).unwrap();
                    let two = done(s);
                    let (ticket, two) = ticket.redeem(two).unwrap_err();
                    assert!(other.redeem(two).is_ok());
                    (ticket, first)
                }
            };
            let op = ticket.take_back(first).unwrap();
            *op.buf_mut() = [7; 8];
            let ticket = start(s, op, 3);
            turn(s);
            s.try_cancel(&ticket).unwrap();
        });
        scope.unwrap();
        for op in &mut ops {
            *op.buf_mut() = [7; 8];
        }
        assert_over(&mut driver);
        assert_eq!(ops.map(|op| op.into_parts().1), [[7; 8]; 2]);
    });
}

/// I5, S1: whatever is pushed, in flight, complete, or complete and not taken out when a scope
/// ends, nothing of it is after that. It is freed then, and the model goes on.
#[test]
fn a_scope_ends_in_every_state() {
    each_seed(0, |seed, mut driver| {
        let (mut sent, mut received) = ([1; 16], [0; 16]);
        let mut ops = Box::new(Ops::new(&sent, &mut received));
        run(&mut driver, |s| {
            ops.start(s);
            for _ in 0..seed / 2 % 4 {
                s.submit(Some(Duration::ZERO), &mut None).unwrap();
            }
            unwind(seed % 2 == 1);
        });
        drop(ops);
        sent.fill(7);
        received.fill(7);
        assert_over(&mut driver);
        assert_eq!((sent, received), ([7; 16], [7; 16]));
    });
}

/// The last completions are there, and nobody has taken them out.
#[test]
fn a_scope_ends_before_its_events_are_taken() {
    each_seed(0, |seed, mut driver| {
        let mut ops: Vec<_> = (0..8).map(|_| OpenAt::read(Cwd, c"a path")).collect();
        run(&mut driver, |s| {
            for (token, op) in ops.iter_mut().enumerate() {
                drop(start(s, op, token));
            }
            drop(done(s));
            while s.engine.backend.available(&s.engine.core) < 7 {
                hand_over(s);
            }
            assert_eq!(s.in_flight(), 7);
            unwind(seed % 2 == 1);
        });
        drop(ops);
        assert_over(&mut driver);
    });
}

/// S4: a completion is redeemed, or disposed of, or forgotten. What makes no descriptor is
/// forgotten here, for nobody else would close that.
#[test]
fn a_completion_is_used_once() {
    each_seed(0, |seed, mut driver| {
        let mut opens = array::from_fn::<_, 3, _>(|_| OpenAt::read(Cwd, c"a path"));
        let mut reads = array::from_fn::<_, 3, _>(|_| ReadAt::new(Cwd, 0, [0; 8]));
        run(&mut driver, |s| {
            let [a, b, c] = &mut opens;
            let tickets = [a, b, c].map(|op| start(s, op, 0));
            let [d, e, f] = &mut reads;
            let others = [d, e, f].map(|op| start(s, op, 1));
            let mut events = Vec::with_capacity(4);
            let (mut opened, mut read) = (Vec::new(), Vec::new());
            while opened.len() + read.len() < 6 {
                s.submit(None, &mut events).unwrap();
                for done in events.drain(..).filter_map(Event::done) {
                    [&mut opened, &mut read][done.token()].push(done);
                }
            }
            for (n, ticket) in tickets.into_iter().enumerate() {
                let at = opened.iter().position(|done| done.head == ticket.op.cast());
                let done = opened.swap_remove(at.unwrap());
                match n {
                    0 => drop(ticket.redeem(done).unwrap().0.unwrap()),
                    1 => drop(done),
                    // It outlives its ticket, until the end or the unwinding.
                    _ => opened.push(done),
                }
            }
            drop(others);
            for done in read {
                let _forgotten = ManuallyDrop::new(done);
            }
            unwind(seed % 2 == 1);
        });
        assert!(reads.iter().all(|read| read.advanced() == 0));
        assert_over(&mut driver);
    });
}

/// I4, S2: it completes once, by its own result or as cancelled, and so does what is lent after it.
#[test]
fn cancelled_loans_complete_once() {
    let outcomes = [const { Cell::new(0) }; 2];
    each_seed(0, |seed, mut driver| {
        let mut timeout = Timeout::after(HOUR);
        let mut accept = Accept::new(Cwd);
        let mut recv = silent([0; 8]);
        let count = |is_cancelled: bool| {
            let count = &outcomes[usize::from(is_cancelled)];
            count.set(count.get() + 1);
        };
        let scope = driver.scope(|s| {
            let (mut timeout, mut accept, mut recv) = (&mut timeout, &mut accept, &mut recv);
            for round in 0..3 {
                let tickets = (start(s, timeout, 0), start(s, accept, 1), start(s, recv, 2));
                if (seed >> round) % 2 == 1 {
                    hand_over(s);
                }
                let mut cancels = 0;
                while cancels < 3 {
                    let asked = match cancels {
                        0 => s.try_cancel(&tickets.0),
                        1 => s.try_cancel(&tickets.1),
                        _ => s.try_cancel(&tickets.2),
                    };
                    match asked {
                        Ok(()) => cancels += 1,
                        Err(_) => hand_over(s), // There is a place for it after that.
                    }
                }
                let [one, two, three] = all_done(s);
                let output;
                (output, timeout) = tickets.0.redeem(one).unwrap();
                count(is_cancelled(&output));
                let output;
                (output, accept) = tickets.1.redeem(two).unwrap();
                count(is_cancelled(&output));
                let output;
                (output, recv) = tickets.2.redeem(three).unwrap();
                count(is_cancelled(&output));
            }
        });
        scope.unwrap();
        assert_over(&mut driver);
    });
    let outcomes = outcomes.map(|count| count.get());
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// More than there is room for: what is accepted leaves the queue, and the rest is nobody's loss.
#[test]
fn queues_in_every_state() {
    const MANY: usize = IN_FLIGHT + 8;
    each_seed(0, |seed, mut driver| {
        let mut buffers = [[0; 4]; MANY];
        let mut ops: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| ReadAt::new(Cwd, 0, &mut buffer[..]))
            .collect();
        run(&mut driver, |s| {
            let mut queue = VecDeque::new();
            let mut tickets = Vec::new();
            for (token, op) in ops.iter_mut().enumerate() {
                let (prepared, ticket) = s.lend(op, token);
                queue.push_back(prepared);
                tickets.push(Some(ticket));
            }
            match seed % 4 {
                0 => drop(queue), // Never pushed.
                1 => {
                    s.push_queue(&mut queue);
                    assert_eq!((queue.len(), s.in_flight()), (MANY - ENTRIES, ENTRIES));
                }
                2 => {
                    let wait = Wait::new().at_least(0);
                    s.submit_queue(&mut queue, wait, &mut None).unwrap();
                    assert_eq!(queue.len(), MANY - IN_FLIGHT);
                    tickets.clear();
                }
                _ => {
                    let mut events = Vec::with_capacity(5);
                    while tickets.iter().any(Option::is_some) {
                        s.submit_queue(&mut queue, Wait::new(), &mut events)
                            .unwrap();
                        for done in events.drain(..).filter_map(Event::done) {
                            let ticket = tickets[done.token()].take().unwrap();
                            let (output, op) = ticket.redeem(done).unwrap();
                            assert_eq!(op.buf()[..output.unwrap()].first(), Some(&FILL));
                        }
                    }
                }
            }
            unwind(seed / 4 % 2 == 1);
        });
        drop(ops);
        buffers.as_flattened_mut().fill(7);
        assert_over(&mut driver);
        assert_eq!(buffers, [[7; 4]; MANY]);
    });
}

/// Neither half has to be kept: the scope knows what it has.
#[test]
fn halves_dropped_and_forgotten() {
    each_seed(0, |seed, mut driver| {
        let mut ops = array::from_fn::<_, 5, _>(|_| silent([0; 8]));
        run(&mut driver, |s| {
            let [a, b, c, d, e] = &mut ops;
            let (prepared, ticket) = s.lend(a, 0);
            drop((prepared, ticket)); // Never pushed.
            let _forgotten = ManuallyDrop::new(s.lend(b, 0));
            let (prepared, ticket) = s.lend(c, 0);
            drop(ticket); // Before the push.
            s.try_push(prepared).unwrap();
            drop(start(s, d, 0)); // Before the submit.
            let ticket = start(s, e, 0);
            turn(s);
            drop(ticket);
            turn(s);
            unwind(seed % 2 == 1);
        });
        for op in &mut ops {
            *op.buf_mut() = [7; 8];
        }
        assert_over(&mut driver);
        assert!(ops.into_iter().all(|op| op.into_parts().1 == [7; 8]));
    });
}

/// A loan of the outer scope stays in flight while an inner one, of another driver and of memory
/// that lives shorter, begins and ends; one panic ends both.
#[test]
fn nested_scopes_on_two_drivers() {
    each_seed(0, |seed, mut outer| {
        let (mut inner, witness) = model::driver(seed + 1000, 0);
        let mut received = [0; 16];
        let mut op = silent(&mut received[..]);
        run(&mut outer, |s| {
            let ticket = start(s, &mut op, 1);
            turn(s);
            let (mut sent, mut filled) = ([1; 16], [0; 16]);
            let mut ops = Box::new(Ops::new(&sent, &mut filled));
            let scope = inner.scope(|t| {
                ops.start(t);
                for _ in 0..seed / 2 % 4 {
                    turn(s);
                    turn(t);
                }
                s.try_cancel(&ticket).unwrap();
                unwind(seed % 2 == 1);
            });
            scope.unwrap();
            drop(ops);
            sent.fill(7);
            filled.fill(7);
            turn(s);
        });
        received.fill(7);
        assert_over(&mut inner);
        assert_over(&mut outer);
        assert_eq!(received, [7; 16]);
        drop(inner);
        witness.assert_all_closed();
    });
}

/// S3: an operation in a slot may borrow what outlives the scope, whatever becomes of its key.
#[test]
fn owned_operations_borrow_from_the_stack() {
    each_seed(4, |seed, mut driver| {
        let slab = driver.engine.core.slots.clone();
        let drops = Drops::default();
        let mut buffers = [[0; 8]; 3];
        run(&mut driver, |s| {
            let [one, two, three] = &mut buffers;
            let redeemed = s
                .try_push_owned(ReadAt::new(Cwd, 0, &mut one[..]), 1)
                .unwrap();
            let dropped = s.try_push_owned(silent(&mut two[..]), 2).unwrap();
            let lost = s.try_push_owned(silent(&mut three[..]), 3).unwrap();
            let counted = s.try_push_owned(Send::new(Cwd, drops.buffer()), 4).unwrap();
            forget(lost);
            for _ in 0..seed / 2 % 3 {
                turn(s);
            }
            drop(dropped);
            while !redeemed.is_done() {
                s.submit(None, &mut None).unwrap();
            }
            let (output, op) = redeemed.redeem().unwrap();
            let n = output.unwrap();
            assert_eq!(op.buf()[..n], [FILL; 8][..n]);
            forget(counted);
            unwind(seed % 2 == 1);
        });
        assert_eq!(drops.count(), 1);
        buffers.as_flattened_mut().fill(7);
        assert_eq!((slab.free(), slab.in_flight()), (4, 0));
        assert_over(&mut driver);
        assert_eq!(buffers, [[7; 8]; 3]);
    });
}

/// I18: a sink that panics loses what it has in its hands, and the scope ends as ever.
#[test]
fn a_sink_that_panics() {
    each_seed(0, |_, mut driver| {
        let (sent, mut received) = ([1; 16], [0; 16]);
        let mut ops = Box::new(Ops::new(&sent, &mut received));
        run(&mut driver, |s| {
            ops.start(s);
            let panics = AssertUnwindSafe(|| {
                let sink = &mut crate::sink::bounded(4, |event: Event<'_>| {
                    let _in_hand = event;
                    resume_unwind(Box::new(()));
                });
                while s.submit(None, sink).is_ok() {}
            });
            assert!(catch_unwind(panics).is_err());
        });
        drop(ops);
        received.fill(7);
        assert_over(&mut driver);
    });
}

/// I37: a completion that could only name an operation of a scope names nothing while none has any.
#[test]
fn a_head_that_nobody_lent() {
    let (mut driver, _witness) = model::driver(0, 0);
    Model::of(&mut driver).inject(Word::head(NonNull::dangling()));
    driver.scope(turn).unwrap();
    assert_eq!(driver.stats().unknown, 1);
    assert_eq!(driver.in_flight(), 0);
}
