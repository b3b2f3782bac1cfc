//! Operations of any type as one: pushed, lent and owned, with plain outcomes.

use crate::lent::Lent;
use completeio_driver::driver::{CompleteIo, Descriptor, Driver, Entry, Holds, OwnedFd, Owns};
use completeio_driver::op::{
    Accept, Bind, Close, Connect, Deadline, Exact, GetXattr, Listen, MakeDir, Metadata, Nop, Op,
    OpObject, OpenAt, Pipe, Poll, PollEvents, Read, ReadAt, ReadVectoredAt, Recv, RecvFrom,
    RecvVectored, Rename, Send, SendTo, SendVectored, SetXattr, Shutdown, Socket, Stat, StatAt,
    Sync, Timeout, TimeoutUpdate, Truncate, Unlink, Write, WriteAt, WriteVectoredAt,
};
use completeio_driver::scope::{Done, Event, Prepared, Scope};
use completeio_driver::slots::Key;
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::slice;
use std::time::Duration;

/// What an operation has given.
#[derive(Debug)]
pub(super) enum Outcome {
    Nothing,
    Count(usize),
    /// What was read.
    Bytes(Vec<u8>),
    /// And its end was cut off.
    Cut(Vec<u8>),
    Fd(OwnedFd),
    Ends(OwnedFd, OwnedFd),
    Metadata(Metadata),
    Ready(PollEvents),
}

/// An operation whose output becomes plain.
pub(super) trait Plain: Op {
    fn outcome(&mut self, output: Self::Output) -> Outcome;
}

macro_rules! plain {
    ($($op:ty $([$($generic:ident),*])? => |$self:pat_param, $output:pat_param| $outcome:expr),* $(,)?) => {$(
        impl$(<$($generic: Descriptor),*>)? Plain for $op {
            fn outcome(&mut self, output: Self::Output) -> Outcome {
                let ($self, $output) = (self, output);
                $outcome
            }
        }
    )*};
}

plain! {
    Nop => |_, ()| Outcome::Nothing,
    Timeout => |_, ()| Outcome::Nothing,
    TimeoutUpdate => |_, ()| Outcome::Nothing,
    ReadAt<F, Bytes> [F] => |op, n| op.buf_mut().read(n),
    Exact<ReadAt<F, Bytes>> [F] => |op, n| op.buf_mut().read(n),
    ReadVectoredAt<F, Parts> [F] => |op, n| op.bufs_mut().concat().read(n),
    WriteAt<F, Bytes> [F] => |_, n| Outcome::Count(n),
    Exact<WriteAt<F, Bytes>> [F] => |_, n| Outcome::Count(n),
    WriteVectoredAt<F, Parts> [F] => |_, n| Outcome::Count(n),
    Sync<F> [F] => |_, ()| Outcome::Nothing,
    Truncate<F> [F] => |_, ()| Outcome::Nothing,
    Stat<F> [F] => |_, metadata| Outcome::Metadata(metadata),
    GetXattr<F, Bytes> [F] => |op, n| op.buf_mut().read(n),
    SetXattr<F, Bytes> [F] => |_, ()| Outcome::Nothing,
    OpenAt<F> [F] => |_, fd| Outcome::Fd(fd),
    MakeDir<F> [F] => |_, ()| Outcome::Nothing,
    Unlink<F> [F] => |_, ()| Outcome::Nothing,
    Rename<F> [F] => |_, ()| Outcome::Nothing,
    StatAt<F> [F] => |_, metadata| Outcome::Metadata(metadata),
    Socket => |_, fd| Outcome::Fd(fd),
    Bind<F> [F] => |_, ()| Outcome::Nothing,
    Listen<F> [F] => |_, ()| Outcome::Nothing,
    Connect<F> [F] => |_, ()| Outcome::Nothing,
    Accept<F> [F] => |_, accepted| Outcome::Fd(accepted.fd),
    Shutdown<F> [F] => |_, ()| Outcome::Nothing,
    Poll<F> [F] => |_, ready| Outcome::Ready(ready),
    Send<F, Bytes> [F] => |_, n| Outcome::Count(n),
    Exact<Send<F, Bytes>> [F] => |_, n| Outcome::Count(n),
    SendVectored<F, Parts> [F] => |_, n| Outcome::Count(n),
    Recv<F, Bytes> [F] => |op, n| op.buf_mut().read(n),
    Exact<Recv<F, Bytes>> [F] => |op, n| op.buf_mut().read(n),
    RecvVectored<F, Parts> [F] => |op, n| op.bufs_mut().concat().read(n),
    SendTo<F, Bytes> [F] => |_, n| Outcome::Count(n),
    RecvFrom<F, Bytes> [F] => |op, received| match op.buf_mut().read(received.len) {
        Outcome::Bytes(bytes) if received.truncated => Outcome::Cut(bytes),
        outcome => outcome,
    },
    Write<F, Bytes> [F] => |_, n| Outcome::Count(n),
    Read<F, Bytes> [F] => |op, n| op.buf_mut().read(n),
    Pipe => |_, (reader, writer)| Outcome::Ends(reader, writer),
}

impl<F: Owns> Plain for Close<F> {
    fn outcome(&mut self, (): ()) -> Outcome {
        Outcome::Nothing
    }
}

impl<O: Plain> Plain for Deadline<O> {
    fn outcome(&mut self, output: O::Output) -> Outcome {
        self.op_mut().outcome(output)
    }
}

/// A buffer, and two in a row.
pub(super) type Bytes = Vec<u8>;
pub(super) type Parts = [Vec<u8>; 2];

/// What a buffer of its own length was given.
trait Filled {
    fn read(&mut self, n: usize) -> Outcome;
}

impl Filled for Bytes {
    fn read(&mut self, n: usize) -> Outcome {
        assert_eq!(self.len(), n, "the buffer's length is what was read");
        Outcome::Bytes(std::mem::take(self))
    }
}

/// One for the raw layer.
pub(super) trait Raw {
    /// Whether there was room for it.
    fn try_push(&mut self, driver: &mut Driver<'static>, user_data: usize) -> bool;

    fn object(&mut self, user_data: usize) -> OpObject<'static>;

    /// # Safety
    /// As [`Op::finish`].
    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Outcome>;
}

/// One for the safe layer too.
pub(super) trait Safe {
    fn into_raw(self: Box<Self>) -> Lent<dyn Raw>;

    /// Lends itself to a scope, goes on with the next, and takes what came of it.
    fn lend<'s, 'env>(
        &'env mut self,
        scope: &mut Scope<'s, 'env>,
        lending: &mut Lending<'_, 's, 'env>,
    );

    /// Moves into a slot; itself again when there was no room.
    fn own(
        self: Box<Self>,
        driver: &mut Driver<'static>,
        token: usize,
    ) -> Result<Box<dyn Owned>, Box<dyn Safe>>;
}

/// One in a slot.
pub(super) trait Owned {
    fn cancel(&self);

    /// What came of it; `None` while it is in flight.
    fn redeem(self: Box<Self>) -> Result<io::Result<Outcome>, Box<dyn Owned>>;
}

impl<O: Plain + 'static> Raw for O {
    fn try_push(&mut self, driver: &mut Driver<'static>, user_data: usize) -> bool {
        let mut op = NonNull::from(self);
        // SAFETY: `Lent`: at a fixed address until its entry came or its driver is gone, and not
        // touched before. It is not in flight now.
        let op: &'static mut O = unsafe { op.as_mut() };
        driver.try_push(op, user_data).is_ok()
    }

    fn object(&mut self, user_data: usize) -> OpObject<'static> {
        // SAFETY: as above.
        unsafe { OpObject::from_ptr(NonNull::from(self), user_data) }
    }

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Outcome> {
        // SAFETY: the caller's contract.
        let output = unsafe { Op::finish(self, entry) }?;
        Ok(self.outcome(output))
    }
}

impl<O: Plain + 'static> Safe for O
where
    O::Fd: Holds,
{
    fn into_raw(self: Box<Self>) -> Lent<dyn Raw> {
        Lent::boxed(self)
    }

    fn lend<'s, 'env>(
        &'env mut self,
        scope: &mut Scope<'s, 'env>,
        lending: &mut Lending<'_, 's, 'env>,
    ) {
        let token = lending.tokens;
        lending.tokens += 1;
        let (prepared, ticket) = scope.lend(self, token);
        lending.prepared.push_back(prepared);
        if lending.cancelled == Some(token) {
            lending.push(scope);
            if !lending.is_waiting(token) {
                let cancelled = scope.try_cancel(&ticket);
                assert!(cancelled.is_ok(), "no place for the first cancellation");
            }
        }
        lending.go_on(scope);
        let done = lending.done.iter().position(|done| done.token() == token);
        if let Some(at) = done {
            let redeemed = ticket.redeem(lending.done.swap_remove(at));
            let (output, op) = redeemed.unwrap_or_else(|_| panic!("{token} is another's token"));
            let result = output.map(|output| op.outcome(output));
            lending.results.push((token, result));
        } else if let Some(at) = lending.place(token) {
            let prepared = lending.prepared.remove(at).unwrap();
            assert!(ticket.take_back(prepared).is_ok(), "{token}: another's");
            lending.left.push(token);
        }
    }

    fn own(
        self: Box<Self>,
        driver: &mut Driver<'static>,
        token: usize,
    ) -> Result<Box<dyn Owned>, Box<dyn Safe>> {
        match driver.try_push_owned(*self, token) {
            Ok(key) => Ok(Box::new(Slot(key))),
            Err(full) => Err(Box::new(full.into_inner())),
        }
    }
}

struct Slot<O: Op>(Key<'static, O>);

impl<O: Plain + 'static> Owned for Slot<O> {
    fn cancel(&self) {
        self.0.cancel();
    }

    fn redeem(self: Box<Self>) -> Result<io::Result<Outcome>, Box<dyn Owned>> {
        match self.0.redeem() {
            Ok((output, mut op)) => Ok(output.map(|output| op.outcome(output))),
            Err(key) => Err(Box::new(Self(key))),
        }
    }
}

/// What is lent to a scope: each operation has its ticket in a frame of its own, for the next lends
/// itself within it.
pub(super) struct Lending<'a, 's, 'env> {
    rest: slice::IterMut<'env, Box<dyn Safe>>,
    tokens: usize,
    prepared: VecDeque<Prepared<'s, 'env>>,
    done: Vec<Done<'s>>,
    /// The one that is cancelled.
    cancelled: Option<usize>,
    waits: &'a [Duration],
    /// By tokens, which count from 0: what came of them.
    pub(super) results: Vec<(usize, io::Result<Outcome>)>,
    /// Those that were never pushed.
    pub(super) left: Vec<usize>,
}

impl<'a, 's, 'env> Lending<'a, 's, 'env> {
    pub(super) fn new(
        ops: &'env mut [Box<dyn Safe>],
        cancelled: Option<usize>,
        waits: &'a [Duration],
    ) -> Self {
        Self {
            rest: ops.iter_mut(),
            tokens: 0,
            prepared: VecDeque::new(),
            done: Vec::new(),
            cancelled,
            waits,
            results: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Lends what is left, or waits for what was lent.
    pub(super) fn go_on(&mut self, scope: &mut Scope<'s, 'env>) {
        if let Some(next) = self.rest.next() {
            return next.lend(scope, self);
        }
        self.push(scope);
        for wait in self.waits {
            let mut events: Vec<Event<'s>> = Vec::with_capacity(8);
            scope.submit(Some(*wait), &mut events).unwrap();
            let done = events
                .into_iter()
                .map(|event| event.done().expect("no multishot"));
            self.done.extend(done);
            self.push(scope);
        }
    }

    fn push(&mut self, scope: &mut Scope<'s, 'env>) {
        let (before, room) = (self.prepared.len(), scope.capacity_left());
        scope.push_queue(&mut self.prepared);
        let left = before.saturating_sub(room);
        assert_eq!(self.prepared.len(), left, "there was room for {room}");
    }

    fn place(&self, token: usize) -> Option<usize> {
        self.prepared
            .iter()
            .position(|prepared| prepared.token() == token)
    }

    fn is_waiting(&self, token: usize) -> bool {
        self.place(token).is_some()
    }
}
