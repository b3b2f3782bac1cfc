//! The backends, and the only place that asks for a target.
//!
//! # The contract of a backend
//! A backend is one directory with a type that has these functions. `core` is what all backends
//! share: the local completions, the credits, the counters, the wake-up flag.
//!
//! * `new(&Limits, &Core)`: allocates everything; nothing is allocated after it.
//! * `capacity_left(&self) -> u32`: free submission places, reserved ones not counted.
//! * `unsafe push(&mut self, core, head, Key)` and `push_typed`: encodes one operation into a free
//!   place. The caller has checked `capacity_left` and the credits, and counts the operation
//!   afterwards. A refused one goes to `core.refuse`. Nothing reaches the kernel, and nothing is
//!   kept that points into the operation, except what a later `turn` needs.
//! * `cancel(&mut self, core, Which)`: carries the wish out, or notes it in a reserved place, or
//!   says that there is none left. Each operation still completes once. The cancellation itself
//!   never becomes an entry.
//! * `unsafe turn(&mut self, core, Block)`: hands over everything that was pushed, in order (calls
//!   that it makes in place of a kernel's operation may overtake the others), and collects what has
//!   completed; waits, if told to, until something is there, a notifier rings, or the time is over.
//!   EINTR, EAGAIN, EBUSY, ETIME of the wait end here. `Block::Never` may be satisfied without a
//!   system call if nothing was pushed and something is available.
//! * `available(&self, core) -> usize`: how many entries `next` will give at least.
//! * `next(&mut self, core) -> Option<Completion>`: one of the backend's own queue; what a backend
//!   completes itself goes through `core.complete_locally`.
//! * `attach`, `detach`, `register`, `unregister`: synchronous, errors reported at once.
//! * `unsafe prepare_wait(&mut self, core)`: a turn that does not block, after which whatever a
//!   turn would find makes `as_raw_fd` readable; gives the time until which a foreign loop may
//!   sleep.
//! * io_uring has two doors more, for speed: `push_admitted`, a typed push that counts the
//!   operation itself, and `drain`, which takes many of its completions at once. Readiness and IOCP
//!   have most of these functions from what they share, `Keeper`.
//! * `shut_down(&mut self, core, outlet)`: discards what was pushed and never handed over, without
//!   touching it; cancels the rest, delivers what completes, and returns when nobody can touch an
//!   operation's memory any more. It is called once, before the drop, and not in a forked child:
//!   there the drop closes descriptors of its own and does no more.

#![allow(unsafe_code, reason = "the edge to the system")]

#[cfg(not(any(unix, windows)))]
compile_error!("completeio has no backend for this platform yet");

#[cfg(unix)]
pub(crate) mod address;
pub(crate) mod ancillary;
pub(crate) mod clock;
#[cfg(any(readiness, iocp))]
mod deadlines;
#[cfg(unix)]
pub(crate) mod file;
#[cfg(any(readiness, iocp))]
mod files;
#[cfg(any(readiness, iocp))]
mod flights;
mod fork;
#[cfg(unix)]
mod futex;
#[cfg(io_uring)]
pub(crate) mod io_uring;
#[cfg(iocp)]
pub(crate) mod iocp;
#[cfg(any(readiness, iocp))]
mod keeper;
#[cfg(kqueue)]
pub(crate) mod kqueue;
#[cfg(unix)]
pub(crate) mod message;
#[cfg(all(test, unix))]
pub(crate) mod model;
#[cfg(readiness)]
pub(crate) mod native;
#[cfg(not(target_os = "linux"))]
mod no_flags;
#[cfg(unix)]
pub(crate) mod options;
#[cfg(unix)]
pub(crate) mod plain;
#[cfg(unix)]
pub(crate) mod process;
#[cfg(readiness)]
pub(crate) mod readiness;
#[cfg(not(any(io_uring, readiness, iocp, sim)))]
mod shell;
#[cfg(sim)]
pub(crate) mod sim;
mod storage;
#[cfg(unix)]
mod unix;
mod values;
mod waker;
#[cfg(windows)]
mod windows;
#[cfg(any(readiness, iocp))]
mod workers;

pub(crate) use self::fork::ForkGuard;
#[cfg(unix)]
pub(crate) use self::unix::*;
pub(crate) use self::waker::Waker;
#[cfg(windows)]
pub(crate) use self::windows::*;

use self::fd::RawFd;
#[cfg(any(readiness, iocp))]
use self::keeper::Keeper as _;
use crate::builder::{Backend as Kind, Capabilities, Choice, Limits};
use crate::clock::Instant;
use crate::driver::Full;
use crate::error::SetupError;
use crate::fd::Target;
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::op::{OpCode, OpHead, OpObject};
use crate::outlet::Outlet;
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
#[cfg(sim)]
use std::rc::Rc;

/// The backends of this build, the platform's first choice first.
pub(crate) const BACKENDS: &[Kind] = &[
    #[cfg(io_uring)]
    Kind::IoUring,
    #[cfg(readiness)]
    Kind::Readiness,
    #[cfg(iocp)]
    Kind::Iocp,
];

/// How long a turn may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    Never,
    /// Until this many completions are there, or the time is over.
    Until(usize, Instant),
    /// Until this many completions are there.
    Forever(usize),
}

/// Which operations to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Raw operations whose user data this key has, descriptors or not.
    Raw(Key),
    /// One operation of the safe layer.
    Key(Key),
    Target(Target),
    All,
}

/// The backend of a driver: one variant costs nothing, two a well-predicted branch.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one per driver, and where it was made"
)]
pub(crate) enum Backend {
    #[cfg(io_uring)]
    Uring(io_uring::Uring),
    #[cfg(readiness)]
    Readiness(readiness::Readiness),
    #[cfg(iocp)]
    Iocp(iocp::Iocp),
    #[cfg(not(any(io_uring, readiness, iocp, sim)))]
    Shell(shell::Shell),
    #[cfg(sim)]
    Sim(sim::Sim),
    #[cfg(all(test, unix))]
    Model(model::Model),
}

/// The same call on whichever backend it is.
macro_rules! each {
    ($self:expr, $backend:ident => $call:expr) => {
        match $self {
            #[cfg(io_uring)]
            Backend::Uring($backend) => $call,
            #[cfg(readiness)]
            Backend::Readiness($backend) => $call,
            #[cfg(iocp)]
            Backend::Iocp($backend) => $call,
            #[cfg(not(any(io_uring, readiness, iocp, sim)))]
            Backend::Shell($backend) => $call,
            #[cfg(sim)]
            Backend::Sim($backend) => $call,
            #[cfg(all(test, unix))]
            Backend::Model($backend) => $call,
        }
    };
}

impl Backend {
    /// Makes the first of `candidates` that this system allows.
    pub(crate) fn choose(
        limits: &Limits,
        core: &Core,
        candidates: &[Kind],
        mut choice: Choice,
    ) -> Result<(Self, Capabilities), SetupError> {
        let mut refused = SetupError::NotCompiled(None);
        for (i, kind) in candidates.iter().enumerate() {
            match Self::new(*kind, limits, core) {
                Ok(backend) => {
                    if i > 0 {
                        choice = Choice::Fallback(refused);
                    }
                    let capabilities = backend.capabilities(*kind, choice);
                    return Ok((backend, capabilities));
                }
                Err(error) if error.is_restricted() => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    #[cfg_attr(
        all(sim, not(any(io_uring, readiness))),
        expect(unused_variables, reason = "a host makes simulated ones")
    )]
    fn new(kind: Kind, limits: &Limits, core: &Core) -> Result<Self, SetupError> {
        match kind {
            #[cfg(io_uring)]
            Kind::IoUring => io_uring::Uring::new(limits, core).map(Self::Uring),
            #[cfg(readiness)]
            Kind::Readiness => readiness::Readiness::new(limits, core).map(Self::Readiness),
            #[cfg(not(any(io_uring, readiness, iocp, sim)))]
            _ => shell::Shell::new(limits, core).map(Self::Shell),
            #[cfg(sim)]
            Kind::Sim => Err(SetupError::Simulated),
            #[cfg(iocp)]
            Kind::Iocp => iocp::Iocp::new(limits, core).map(Self::Iocp),
            #[cfg(any(io_uring, readiness, iocp, sim))]
            _ => Err(SetupError::NotCompiled(Some(kind))),
        }
    }

    /// One that is made by its host alone.
    #[cfg(sim)]
    pub(crate) fn simulated(
        world: Rc<sim::world::World>,
        host: sim::world::HostId,
        limits: &Limits,
        core: &Core,
    ) -> Self {
        Self::Sim(sim::Sim::new(world, host, limits, core))
    }

    pub(crate) fn capabilities(&self, backend: Kind, choice: Choice) -> Capabilities {
        let (granted, operations) = each!(self, b => (b.granted(), b.operations()));
        Capabilities {
            backend,
            choice,
            granted,
            operations,
        }
    }

    #[inline]
    pub(crate) fn capacity_left(&self) -> u32 {
        each!(self, b => b.capacity_left())
    }

    /// Pushes an operation of a known type as most are: into the kernel's queue, admitted before,
    /// and not followed. `false` if it is none of these: then nothing was done.
    ///
    /// # Safety
    /// (D2) `op` is not in flight.
    #[inline(always)]
    #[cfg_attr(
        not(io_uring),
        expect(unused_variables, reason = "there is no such queue")
    )]
    pub(crate) unsafe fn push_admitted<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) -> bool {
        match self {
            #[cfg(io_uring)]
            Self::Uring(uring) if O::GOES_ON.is_none() && core.spend_allowance() => {
                // SAFETY: (D2) the caller's contract.
                unsafe { uring.push_admitted(core, op, key) };
                true
            }
            _ => false,
        }
    }

    /// Pushes an operation of a known type; `false` when there is no place for it.
    ///
    /// # Safety
    /// (D2) `op` is not in flight.
    #[inline]
    pub(crate) unsafe fn try_push<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) -> bool {
        each!(self, b => {
            if !core.admit(|| b.capacity_left()) {
                return false;
            }
            let key = match O::GOES_ON {
                None => key,
                // SAFETY: (D2) the caller's contract.
                Some(goes_on) => unsafe { core.enter(goes_on, op.cast(), key) },
            };
            // SAFETY: (D2) the caller's contract.
            unsafe { b.push_typed(core, op, key) };
        });
        if O::GOES_ON.is_some() {
            core.exacts.entered();
        }
        core.accepted();
        true
    }

    /// The same for one whose type was lost.
    ///
    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    pub(crate) unsafe fn try_push_dyn<P: Pushable>(&mut self, core: &mut Core, op: &P) -> bool {
        each!(self, b => {
            if !core.admit(|| b.capacity_left()) {
                return false;
            }
            if let Some(key) = op.key(core) {
                // SAFETY: (D2) the caller's contract.
                let push = |core: &mut Core, key| unsafe { b.push(core, op.head(), key) };
                // SAFETY: (D2) the caller's contract.
                unsafe { push_under(core, op.head(), key, push) };
            }
        });
        core.accepted();
        op.pushed(core);
        true
    }

    /// Pushes what goes on after a short result, as long as there is a place.
    ///
    /// # Safety
    /// (D1) Operations that were handed over are where they were.
    #[cold]
    pub(crate) unsafe fn push_waiting(&mut self, core: &mut Core) {
        while self.capacity_left() > 0 {
            let Some((index, head, key)) = core.exacts.next_waiting() else {
                return;
            };
            core.withdraw();
            // SAFETY: (D1, D2) out of flight between two flights, and where it was.
            each!(self, b => unsafe { b.push(core, head, key) });
            core.exacts.pushed(index);
        }
    }

    /// Pushes the first `n` of `queue`, which fit. An operation leaves the queue when it is
    /// accepted: its buffer's method may panic (I18).
    ///
    /// # Safety
    /// (D2) The operations are not in flight.
    #[inline]
    pub(crate) unsafe fn push_queue<P: Pushable>(
        &mut self,
        core: &mut Core,
        queue: &mut VecDeque<P>,
        n: usize,
    ) {
        core.withdraw();
        let mut batch = Batch { queue, pushed: 0 };
        let (first, second) = batch.queue.as_slices();
        let second = &second[..n.saturating_sub(first.len())];
        let first = &first[..n.min(first.len())];
        each!(self, b => for half in [first, second] {
            for op in half {
                if let Some(key) = op.key(core) {
                    // SAFETY: (D2) the caller's contract.
                    let push = |core: &mut Core, key| unsafe { b.push(core, op.head(), key) };
                    // SAFETY: (D2) the caller's contract.
                    unsafe { push_under(core, op.head(), key, push) };
                }
                core.accepted();
                op.pushed(core);
                batch.pushed += 1;
            }
        });
    }

    pub(crate) fn cancel(&mut self, core: &mut Core, which: Which) -> Result<(), Full<()>> {
        each!(self, b => b.cancel(core, which))
    }

    /// # Safety
    /// Operations and buffers that were pushed are where they were, and stay there until their
    /// last entry came out, or until this value is dropped.
    #[inline]
    pub(crate) unsafe fn turn(&mut self, core: &mut Core, block: Block) -> io::Result<()> {
        // SAFETY: (D1) the caller's contract.
        each!(self, b => unsafe { b.turn(core, block) })
    }

    #[inline]
    pub(crate) fn available(&self, core: &Core) -> usize {
        each!(self, b => b.available(core))
    }

    /// Puts completions into `outlet` until its `room` is used up, and returns how much was. The
    /// driver is consistent before each call of it.
    #[inline]
    pub(crate) fn drain<T: Outlet>(
        &mut self,
        core: &mut Core,
        room: usize,
        outlet: &mut T,
    ) -> usize {
        // What comes after this is for the next time.
        let mut n = self.available(core);
        // There is room for those that are not for the outlet.
        if core.takes::<T>() {
            n = n.min(room);
        }
        let n = n.saturating_sub(usize::from(planted!("completion-late")));
        match self {
            #[cfg(io_uring)]
            Self::Uring(uring) if core.local_len() == 0 => uring.drain(core, n, outlet),
            #[cfg(iocp)]
            Self::Iocp(_) if core.takes::<T>() => {
                put_each(core, n, 0..n, outlet, |core, _| core.take_local::<T>())
            }
            #[cfg(readiness)]
            Self::Readiness(_) if core.takes::<T>() => {
                put_each(core, n, 0..n, outlet, |core, _| core.take_local::<T>())
            }
            other => {
                let mut put = 0;
                while put < n {
                    let Some(completion) = other.take_in_turn::<T>(core) else {
                        break;
                    };
                    core.put(completion, outlet);
                    put += 1;
                }
                put
            }
        }
    }

    /// Takes local ones and the kernel's, in turn, until one is of the outlet's class; sees to the
    /// others.
    #[inline(never)]
    fn take_in_turn<T: Outlet>(&mut self, core: &mut Core) -> Option<Completion> {
        loop {
            let completion = each!(self, b => core.next(|core| b.next(core)))?;
            let sorted = core.sort::<T>(completion);
            if sorted.is_some() {
                return sorted;
            }
        }
    }

    /// Returns when nobody can touch an operation's memory any more; nothing is pushed after it.
    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, outlet: &mut T) {
        each!(self, b => b.shut_down(core, outlet));
        while let Some(completion) = core.next(|_| None) {
            core.deliver(completion, outlet);
        }
    }

    pub(crate) fn attach(&mut self, core: &mut Core, fd: RawFd) -> io::Result<()> {
        each!(self, b => b.attach(core, fd))
    }

    pub(crate) fn detach(&mut self, core: &mut Core, fd: RawFd) {
        each!(self, b => b.detach(core, fd));
    }

    pub(crate) fn register(
        &mut self,
        core: &mut Core,
        fds: &[RawFd],
        first_id: u32,
    ) -> io::Result<()> {
        each!(self, b => b.register(core, fds, first_id))
    }

    pub(crate) fn unregister(&mut self, core: &mut Core, id: u32) -> io::Result<()> {
        each!(self, b => b.unregister(core, id))
    }

    /// # Safety
    /// As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        each!(self, b => unsafe { b.prepare_wait(core) })
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        each!(self, b => b.as_raw_fd())
    }
}

/// Pushes an operation under its key, or under one of its own if it goes on after a short result.
///
/// # Safety
/// (D2) `head` is that of an operation that is not in flight.
#[inline(always)]
unsafe fn push_under(
    core: &mut Core,
    head: NonNull<OpHead>,
    key: Key,
    push: impl FnOnce(&mut Core, Key),
) {
    // SAFETY: (D2) the caller's contract.
    let table = unsafe { OpHead::table(head) };
    match table.goes_on {
        None => push(core, key),
        Some(goes_on) => {
            // SAFETY: (D2) the caller's contract.
            let key = unsafe { core.enter(goes_on, head, key) };
            push(core, key);
            core.exacts.entered();
        }
    }
}

/// Puts what is made of each of the `n` that are taken into `outlet`, and returns how much that
/// was: what is not of its class was seen to. A loop for each source of completions, with the sink
/// compiled into it.
#[cfg(any(io_uring, readiness, iocp))]
#[inline]
fn put_each<I, T: Outlet>(
    core: &mut Core,
    n: usize,
    taken: impl Iterator<Item = I>,
    outlet: &mut T,
    mut sort: impl FnMut(&mut Core, I) -> Option<Completion>,
) -> usize {
    let mut aside = 0;
    for one in taken {
        match sort(core, one) {
            Some(completion) => core.put(completion, outlet),
            None => aside += 1,
        }
    }
    n - aside
}

/// What can be pushed from a queue.
pub(crate) trait Pushable {
    /// The operation.
    fn head(&self) -> NonNull<OpHead>;
    /// The key of its completions; `None` if the operation is refused, which was seen to.
    fn key(&self, core: &mut Core) -> Option<Key>;
    /// It was accepted.
    fn pushed(&self, _core: &mut Core) {}
}

impl Pushable for OpObject<'_> {
    #[inline]
    fn head(&self) -> NonNull<OpHead> {
        self.head()
    }

    #[inline]
    fn key(&self, core: &mut Core) -> Option<Key> {
        core.raw_key(self.user_data())
    }
}

/// A queue, and how many of its first have been pushed: these leave it at the end, also when a
/// buffer's method panics.
struct Batch<'q, P> {
    queue: &'q mut VecDeque<P>,
    pushed: usize,
}

impl<P> Drop for Batch<'_, P> {
    fn drop(&mut self) {
        self.queue.drain(..self.pushed);
    }
}
