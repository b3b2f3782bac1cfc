//! Calls made in place: what never waits, and has no entry on this kernel.
//!
//! A push keeps the call in plain words, in a queue that was allocated for as many as may be
//! pushed; it takes a submission place like any other. A turn makes them, in the order of the
//! pushes and before it enters the kernel, and they complete locally. Until then one can be
//! cancelled, and a drop of the driver forgets it. Between such calls and entries there is no
//! order.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Uring;
use super::encode::opcode;
use super::ring::Sqe;
use crate::error::Refusal;
use crate::fd::Target;
use crate::key::{Completion, Key};
use crate::local::Core;
use crate::op::call::PlainCall;
use crate::sys::{Which, plain};
use linux_raw_sys::io_uring::io_uring_op as op;
use std::collections::VecDeque;

/// The opcodes that the kernel has, a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Opcodes(pub(super) [u64; 4]);

impl Opcodes {
    /// Whether every kernel has it on which this backend runs: it is in Linux 6.1.
    #[inline(always)]
    pub(super) const fn is_old(opcode: u8) -> bool {
        opcode <= op::IORING_OP_SENDMSG_ZC as u8
    }

    #[inline]
    pub(super) fn has(&self, opcode: u8) -> bool {
        self.0[usize::from(opcode >> 6)] >> (opcode & 63) & 1 != 0
    }

    /// Whether sockets take commands that set options and ask for them: no probe tells, but these
    /// and this opcode came together, in Linux 6.7.
    #[inline]
    pub(super) fn has_socket_options(&self) -> bool {
        self.has(opcode(op::IORING_OP_READ_MULTISHOT))
    }
}

/// What the pushes of a ring leave beside its entries.
#[derive(Debug)]
pub(crate) struct Pushes {
    /// Whether an operation was ever pushed whose result is a descriptor.
    pub(crate) makes_fds: bool,
    pub(super) opcodes: Opcodes,
    calls: VecDeque<Inline>,
    calls_max: u32,
}

/// A call that was pushed and not made.
#[derive(Debug)]
struct Inline {
    call: PlainCall,
    key: Key,
}

const _: () = assert!(
    size_of::<Inline>() <= 48,
    "as ARCHITECTURE.md's table of memory says"
);

/// Where an operation was encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Encoded {
    /// Into the entry that it was given.
    Entry,
    /// The same, by an opcode that the kernel may lack.
    NewEntry,
    /// The same, and its deadline is to follow it.
    EntryUntil,
    /// Among the calls that are made in place.
    Inline,
    /// Nowhere.
    Refused(Refusal),
}

impl Encoded {
    /// That of an operation which was encoded into this entry.
    #[inline(always)]
    pub(crate) fn of(sqe: &Sqe) -> Self {
        if Opcodes::is_old(sqe.opcode) {
            Self::Entry
        } else {
            Self::NewEntry
        }
    }
}

impl Pushes {
    /// The only place that allocates.
    pub(super) fn with_capacity(calls_max: u32) -> Self {
        Self {
            makes_fds: false,
            opcodes: Opcodes::default(),
            calls: VecDeque::with_capacity(calls_max as usize),
            calls_max,
        }
    }

    /// How many calls were pushed and not made.
    #[inline]
    pub(super) fn calls(&self) -> u32 {
        u32::try_from(self.calls.len()).expect("I2: no more than there are places")
    }

    #[inline]
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Keeps a call. The kernel's table of fixed descriptors cannot be read: one there has no
    /// number.
    #[cold]
    pub(super) fn keep(&mut self, call: PlainCall, key: Key) -> Result<(), Refusal> {
        if let Some(Target::Fixed(_)) = call.target() {
            return Err(Refusal::FixedDescriptor);
        }
        assert!(
            self.calls() < self.calls_max,
            "I2: pushed without a free place"
        );
        self.calls.push_back(Inline { call, key });
        Ok(())
    }

    /// Forgets all calls, and touches nothing that they point to.
    pub(super) fn discard(&mut self) {
        self.calls.clear();
    }
}

impl Uring {
    /// Makes the calls that were pushed, in order.
    ///
    /// # Safety
    /// (D1) As [`turn`](Uring::turn).
    #[cold]
    pub(super) unsafe fn make_calls(&mut self, core: &mut Core) {
        while let Some(Inline { call, key }) = self.pushes.calls.pop_front() {
            let fd = match call.target() {
                Some(Target::Plain(fd)) => fd,
                None => plain::NO_FD,
                Some(Target::Fixed(_)) => unreachable!("it was refused when it was pushed"),
            };
            // SAFETY: (D1) the caller's contract: lent until it completes, below.
            let result = unsafe { plain::perform(fd, call) };
            core.complete_locally(Completion::last(key, result));
        }
    }

    /// Takes back the calls that are meant; they complete at once.
    pub(super) fn cancel_calls(&mut self, core: &mut Core, which: Which) {
        self.pushes.calls.retain(|Inline { call, key }| {
            let meant = match which {
                Which::Raw(raw) => key.without_fd() == raw,
                Which::Key(other) => key.without_fd() == other.without_fd(),
                Which::Target(target) => call.target() == Some(target),
                Which::All => true,
            };
            if meant {
                core.complete_locally(Completion::last(*key, -libc::ECANCELED));
            }
            !meant
        });
    }
}
