//! The io_uring backend: Linux 6.1 and newer.
//!
//! Operations are encoded straight into the submission queue; `turn` alone publishes them. Nothing
//! is kept about an operation in flight but its user data, which the kernel carries. What never
//! waits, and has no opcode here, is called by `turn` itself: see `inline`.
#![allow(unsafe_code, reason = "hands addresses to the kernel")]

mod control;
mod encode;
mod file;
mod futex;
mod inline;
mod key;
mod net;
mod path;
mod plain;
mod ring;
mod splice;
mod stream;
mod teardown;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use self::encode::encode;
pub(crate) use self::inline::{Encoded, Pushes};
pub(crate) use self::ring::Sqe;

use self::inline::Opcodes;
use self::key::Internal;
use self::ring::{Cqe, Ring};
use self::watch::Watch;
use super::{Block, Which, put_each};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::driver::Full;
use crate::error::{Refusal, SetupError};
use crate::key::{Class, Completion, Key};
use crate::local::Core;
use crate::notify::Shared;
use crate::op::{self, OpCode, OpHead};
use crate::outlet::Outlet;
use linux_raw_sys::io_uring as k;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// The state of one ring.
#[derive(Debug)]
pub(crate) struct Uring {
    /// The limit of operations pushed before a turn.
    entries: u32,
    /// Where the submission queue's tail would be without the operations that the kernel has not
    /// consumed; wraps.
    base: u32,
    /// Operations that were handed over, ever; wraps.
    handed_over: u32,
    pushes: Pushes,
    /// Whether the kernel lacks an opcode that is modelled, and whose place no call takes.
    lacks_opcodes: bool,
    /// Cancellations asked for since the last turn.
    cancels: u32,
    cancels_max: u32,
    file_slots: u32,
    own: Own,
    watch: Watch,
    /// Whether a write to a pipe without a reader is an error only.
    no_signal: bool,
    shared: Arc<Shared>,
    ring: Ring,
}

/// What has come of the driver's own entries, and of completions that end no operation.
#[derive(Debug, Default)]
struct Own {
    /// Whether the notifier's descriptor is being polled.
    doorbell: bool,
    /// Completions that ended no operation, ever, but for unknown ones; wraps.
    completions: u32,
}

/// What came of one call of the kernel.
struct Entered {
    /// Entries that it did not consume.
    left: u32,
    /// Whether it refused to work.
    refused: bool,
}

/// Entries that an operation takes at most: itself and its deadline.
const ENTRIES_PER_OPERATION: u32 = 2;
/// The kernel's limit.
const SQ_ENTRIES_MAX: u32 = 1 << 15;
/// Entries that a cancellation takes at most: descriptors' makers have keys of their own.
const ENTRIES_PER_CANCEL: u32 = 2;
/// Entries that the driver needs beside: the notifier's poll.
const ENTRIES_OF_OWN: u32 = 1;
/// After so many fruitless calls a turn stops asking at once.
const ATTEMPTS: u32 = 8;
/// How long it then waits before it asks again.
const BACK_OFF_MS: i32 = 1;

impl Uring {
    pub(crate) fn new(limits: &Limits, core: &Core) -> Result<Self, SetupError> {
        let reserved = limits.cancels * ENTRIES_PER_CANCEL + ENTRIES_OF_OWN;
        let sq_entries = (ENTRIES_PER_OPERATION * limits.entries + reserved)
            .next_power_of_two()
            .min(SQ_ENTRIES_MAX);
        let entries = limits
            .entries
            .min((sq_entries - reserved) / ENTRIES_PER_OPERATION);
        // Cancellations post a completion only when they fail, the notifier one per ring.
        let cq_entries = (limits.completion_entries + reserved)
            .next_power_of_two()
            .min(1 << 16);
        let ring = Ring::new(sq_entries, cq_entries.max(sq_entries), &core.shared)?;
        assert!(
            ring.granted.sq_entries >= ENTRIES_PER_OPERATION * entries + reserved,
            "U1: too few entries"
        );
        let mut uring = Self {
            entries,
            base: 0,
            handed_over: 0,
            pushes: Pushes::with_capacity(limits.entries),
            lacks_opcodes: false,
            cancels: 0,
            cancels_max: limits.cancels,
            file_slots: limits.file_slots,
            own: Own::default(),
            watch: Watch::new(core.shared.waker())?,
            no_signal: false,
            shared: core.shared.clone(),
            ring,
        };
        let opcodes = uring.probe()?;
        uring.set_opcodes(opcodes);
        uring.make_table()?;
        uring.no_signal = file::probe_no_signal().map_err(|e| SetupError::os("pipe2", e))?;
        Ok(uring)
    }

    fn set_opcodes(&mut self, opcodes: Opcodes) {
        self.pushes.opcodes = opcodes;
        let missing =
            |(_, support): &(_, Support)| matches!(support, Support::Missing | Support::Ready);
        self.lacks_opcodes = self.operations().iter().any(missing);
    }

    /// Which opcodes the kernel has, a bit each.
    fn probe(&self) -> Result<Opcodes, SetupError> {
        #[repr(C)]
        struct Probe {
            head: [u32; 4],
            ops: [[u8; 8]; 256],
        }
        const SUPPORTED: u8 = 1;
        let mut probe = Probe {
            head: [0; 4],
            ops: [[0; 8]; 256],
        };
        let op = k::io_uring_register_op::IORING_REGISTER_PROBE;
        // SAFETY: (U3) a head and 256 places, which the kernel writes.
        unsafe { self.ring.register(op, (&raw mut probe).cast(), 256) }
            .map_err(|e| SetupError::os("io_uring_register(PROBE)", e))?;
        let mut opcodes = Opcodes::default();
        for (i, op) in probe.ops.iter().enumerate() {
            if op[2] & SUPPORTED != 0 {
                opcodes.0[i / 64] |= 1 << (i % 64);
            }
        }
        Ok(opcodes)
    }

    /// The table of fixed descriptors, all places empty.
    fn make_table(&self) -> Result<(), SetupError> {
        if self.file_slots == 0 {
            return Ok(());
        }
        let mut table = k::io_uring_rsrc_register {
            nr: self.file_slots,
            flags: k::IORING_RSRC_REGISTER_SPARSE,
            resv2: 0,
            data: 0,
            tags: 0,
        };
        let op = k::io_uring_register_op::IORING_REGISTER_FILES2;
        let size = u32::try_from(size_of_val(&table)).expect("U3: a small struct");
        // SAFETY: (U3) one table's description, of which `size` is the size.
        match unsafe { self.ring.register(op, (&raw mut table).cast(), size) } {
            Ok(_) => Ok(()),
            Err(e) => Err(SetupError::os("io_uring_register(FILES2)", e)),
        }
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        let granted = &self.ring.granted;
        let flags = [
            ("SUBMIT_ALL", k::IORING_SETUP_SUBMIT_ALL),
            ("SINGLE_ISSUER", k::IORING_SETUP_SINGLE_ISSUER),
            ("DEFER_TASKRUN", k::IORING_SETUP_DEFER_TASKRUN),
            ("NO_SQARRAY", k::IORING_SETUP_NO_SQARRAY),
        ];
        let set = flags
            .iter()
            .filter(|(_, bit)| granted.setup_flags & bit != 0);
        let set: Vec<_> = set.map(|(name, _)| *name).collect();
        let no_iowait = granted.features & k::IORING_FEAT_NO_IOWAIT != 0;
        let clock = if granted.boottime_waits {
            "BOOTTIME"
        } else {
            "MONOTONIC"
        };
        vec![
            (
                "submission entries",
                format!("{} of {}", self.entries, granted.sq_entries),
            ),
            ("completion entries", granted.cq_entries.to_string()),
            ("fixed descriptors", self.file_slots.to_string()),
            ("set-up flags", set.join(" ")),
            (
                "registered ring",
                if self.ring.is_registered() {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
            ),
            (
                "NO_IOWAIT",
                if no_iowait { "yes" } else { "no (Linux 6.15)" }.to_owned(),
            ),
            (
                "writes without SIGPIPE",
                if self.no_signal {
                    "yes"
                } else {
                    "no (Linux 6.18)"
                }
                .to_owned(),
            ),
            ("clock of waits", clock.to_owned()),
        ]
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        use k::io_uring_op as op;
        let names = [
            ("Nop", op::IORING_OP_NOP),
            ("Timeout", op::IORING_OP_TIMEOUT),
            ("ReadAt", op::IORING_OP_READ),
            ("WriteAt", op::IORING_OP_WRITE),
            ("Read", op::IORING_OP_READ),
            ("Write", op::IORING_OP_WRITE),
            ("ReadVectored", op::IORING_OP_READV),
            ("WriteVectored", op::IORING_OP_WRITEV),
            ("Splice", op::IORING_OP_SPLICE),
            ("Tee", op::IORING_OP_TEE),
            ("ReadVectoredAt", op::IORING_OP_READV),
            ("WriteVectoredAt", op::IORING_OP_WRITEV),
            ("Sync", op::IORING_OP_FSYNC),
            ("SyncRange", op::IORING_OP_SYNC_FILE_RANGE),
            ("Truncate", op::IORING_OP_FTRUNCATE),
            ("Allocate", op::IORING_OP_FALLOCATE),
            ("Advise", op::IORING_OP_FADVISE),
            ("Stat", op::IORING_OP_STATX),
            ("StatAt", op::IORING_OP_STATX),
            ("Recv", op::IORING_OP_RECV),
            ("Send", op::IORING_OP_SEND),
            ("Accept", op::IORING_OP_ACCEPT),
            ("Connect", op::IORING_OP_CONNECT),
            ("SendTo", op::IORING_OP_SEND),
            ("RecvFrom", op::IORING_OP_RECVMSG),
            ("SendVectored", op::IORING_OP_SENDMSG),
            ("RecvVectored", op::IORING_OP_RECVMSG),
            ("SendToVectored", op::IORING_OP_SENDMSG),
            ("RecvFromVectored", op::IORING_OP_RECVMSG),
            ("SendMsg", op::IORING_OP_SENDMSG),
            ("RecvMsg", op::IORING_OP_RECVMSG),
            ("Deadline", op::IORING_OP_LINK_TIMEOUT),
            ("TimeoutUpdate", op::IORING_OP_TIMEOUT_REMOVE),
            ("Poll", op::IORING_OP_POLL_ADD),
            ("OpenAt", op::IORING_OP_OPENAT),
            ("Unlink", op::IORING_OP_UNLINKAT),
            ("Rename", op::IORING_OP_RENAMEAT),
            ("MakeDir", op::IORING_OP_MKDIRAT),
            ("Symlink", op::IORING_OP_SYMLINKAT),
            ("HardLink", op::IORING_OP_LINKAT),
            ("GetXattr", op::IORING_OP_FGETXATTR),
            ("SetXattr", op::IORING_OP_FSETXATTR),
            ("GetPathXattr", op::IORING_OP_GETXATTR),
            ("SetPathXattr", op::IORING_OP_SETXATTR),
            ("Close", op::IORING_OP_CLOSE),
            ("FutexWait", op::IORING_OP_FUTEX_WAIT),
        ];
        // What never waits is done by a call in place where there is no entry for it.
        let plain = [
            ("Shutdown", op::IORING_OP_SHUTDOWN),
            ("Socket", op::IORING_OP_SOCKET),
            ("Pipe", op::IORING_OP_PIPE),
            ("Bind", op::IORING_OP_BIND),
            ("Listen", op::IORING_OP_LISTEN),
            ("FutexWake", op::IORING_OP_FUTEX_WAKE),
        ];
        let support = |opcode, otherwise| {
            if self.has(encode::opcode(opcode)) {
                Support::Native
            } else {
                otherwise
            }
        };
        let known = names.map(|(name, op)| (name, support(op, Support::Missing)));
        let plain = plain.map(|(name, op)| (name, support(op, Support::Inline)));
        // See `net::stand_in`.
        let child = ("WaitId", support(op::IORING_OP_WAITID, Support::Ready));
        let options = ["SetSockOpt", "GetSockOpt"].map(|name| (name, Support::Inline));
        known
            .into_iter()
            .chain(plain)
            .chain(options)
            .chain([child, ("Raw", Support::Native)])
            .collect()
    }

    #[inline]
    fn has(&self, opcode: u8) -> bool {
        self.pushes.opcodes.has(opcode)
    }

    #[inline]
    pub(crate) fn capacity_left(&self) -> u32 {
        self.entries - self.queued() - self.pushes.calls()
    }

    /// Operations in the submission queue that the kernel has not consumed.
    #[inline]
    fn queued(&self) -> u32 {
        self.ring.tail().wrapping_sub(self.base)
    }

    /// Operations that the kernel has, or whose completions have not been taken.
    fn in_kernel(&self, core: &Core) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "all of these wrap")]
        let unknown = core.stats.unknown as u32;
        let others = self.own.completions.wrapping_add(unknown);
        let ended = self.ring.taken().wrapping_sub(others);
        self.handed_over.wrapping_sub(ended)
    }

    /// See the contract in `sys.rs`.
    ///
    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    pub(crate) unsafe fn push(&mut self, core: &mut Core, head: NonNull<OpHead>, key: Key) {
        let slot = self.ring.slot();
        // SAFETY: (D2) the caller's contract.
        let table = unsafe { OpHead::table(head) };
        // SAFETY: (D2, U1) the table was made for the type of this operation; `slot` is free.
        let place = unsafe { (table.encode)(head, slot, key, &mut self.pushes) };
        self.pushed(core, place, key, head);
    }

    /// See the contract in `sys.rs`.
    ///
    /// # Safety
    /// (D2) The operation is not in flight.
    #[inline]
    pub(crate) unsafe fn push_typed<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) {
        let slot = self.ring.slot();
        // SAFETY: (D2, U1) the caller's contract; `slot` is free.
        let place = unsafe { op::encode::<O>(op.cast(), slot, key, &mut self.pushes) };
        self.pushed(core, place, key, op.cast());
    }

    /// Pushes an operation that was admitted, and counts it: after its buffer's methods, which may
    /// panic (I18), and before the rest, which is the last that is done.
    ///
    /// # Safety
    /// As [`push_typed`](Self::push_typed).
    #[inline(always)]
    pub(crate) unsafe fn push_admitted<O: OpCode>(
        &mut self,
        core: &mut Core,
        op: NonNull<O>,
        key: Key,
    ) {
        let slot = self.ring.slot();
        // SAFETY: (D2, U1) the caller's contract; `slot` is free.
        let place = unsafe { op::encode::<O>(op.cast(), slot, key, &mut self.pushes) };
        core.accepted();
        self.pushed(core, place, key, op.cast());
    }

    /// Keeps the entry that was written to the free place, unless the operation is refused, or went
    /// elsewhere.
    #[inline(always)]
    fn pushed(&mut self, core: &mut Core, place: Encoded, key: Key, head: NonNull<OpHead>) {
        if let Encoded::Entry = place {
            self.ring.advance();
        } else {
            self.pushed_aside(core, place, key, head);
        }
    }

    /// The same where there is more to do than to keep it, or less.
    #[cold]
    #[inline(never)]
    fn pushed_aside(&mut self, core: &mut Core, place: Encoded, key: Key, head: NonNull<OpHead>) {
        match place {
            Encoded::Entry => self.ring.advance(),
            Encoded::NewEntry => self.keep(core, key),
            Encoded::EntryUntil => self.keep_until(core, key, head),
            Encoded::Inline => {}
            Encoded::Refused(refusal) => core.refuse(key, refusal),
        }
    }

    /// Keeps an entry, if the kernel has its opcode.
    fn keep(&mut self, core: &mut Core, key: Key) {
        let slot = self.ring.slot();
        // SAFETY: (U1) just written.
        if self.lacks_opcodes && !self.has(unsafe { (*slot).opcode }) {
            // SAFETY: (U1) as above.
            let Some(other) = net::stand_in(unsafe { &*slot }) else {
                return core.refuse(key, Refusal::Unsupported);
            };
            // SAFETY: (U1) the same entry, not published.
            unsafe { slot.write(other) };
        }
        self.ring.advance();
    }

    /// The same for one with a deadline: an entry of the driver's own behind it, linked to it. Both
    /// are published and taken in one; a kernel without memory may take the first alone, which
    /// then has no deadline.
    fn keep_until(&mut self, core: &mut Core, key: Key, head: NonNull<OpHead>) {
        let slot = self.ring.slot();
        let before = self.ring.tail();
        self.keep(core, key);
        if self.ring.tail() == before {
            return; // It was refused.
        }
        // SAFETY: (U1) just written, and not published.
        unsafe { (*slot).flags |= control::LINKED };
        // SAFETY: (D2) described just now.
        let deadline = unsafe { OpHead::table(head) }.deadline;
        let deadline = deadline.expect("U1: encoded as one that has it");
        // SAFETY: (D2) as above.
        let deadline = unsafe { deadline(head) };
        self.push_internal(control::deadline(deadline));
    }

    /// Queues an entry of the driver's own in one of the reserved places.
    fn push_internal(&mut self, sqe: Sqe) {
        let slot = self.ring.slot();
        // SAFETY: (U1) `slot` is free.
        unsafe { slot.write(sqe) };
        self.ring.advance();
        self.base = self.base.wrapping_add(1);
    }

    pub(crate) fn cancel(&mut self, core: &mut Core, which: Which) -> Result<(), Full<()>> {
        if self.cancels == self.cancels_max {
            return Err(Full::new(()));
        }
        self.cancels += 1;
        self.cancel_calls(core, which);
        match which {
            Which::Raw(key) => {
                self.push_internal(control::cancel_key(key));
                if self.pushes.makes_fds && !planted!("accept-not-cancelled") {
                    self.push_internal(control::cancel_key(key.with_fd(true)));
                }
            }
            Which::Key(key) => self.push_internal(control::cancel_key(key)),
            Which::Target(target) => self.push_internal(control::cancel_target(target)),
            Which::All => self.push_internal(control::cancel_all()),
        }
        Ok(())
    }

    /// See the contract in `sys.rs`.
    ///
    /// # Safety
    /// What was pushed, and what it lends, is where it was and stays there.
    pub(crate) unsafe fn turn(&mut self, core: &mut Core, block: Block) -> io::Result<()> {
        self.watch.disarm(&self.ring);
        // SAFETY: (D1) the caller's contract.
        unsafe { self.hand_over(core, block) }
    }

    /// See the contract in `sys.rs`. The kernel keeps the timers, so there is no deadline.
    ///
    /// # Safety
    /// As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        self.watch.arm(&self.ring, self.shared.waker())?;
        // SAFETY: (D1) the caller's contract.
        unsafe { self.hand_over(core, Block::Never) }?;
        Ok(None)
    }

    /// # Safety
    /// As [`turn`](Self::turn).
    unsafe fn hand_over(&mut self, core: &mut Core, block: Block) -> io::Result<()> {
        if core.notified && !self.own.doorbell {
            self.own.doorbell = true;
            self.push_internal(control::poll(self.shared.waker().as_raw_fd()));
        }
        if self.pushes.has_calls() {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.make_calls(core) };
        }
        self.ring.publish();
        let (want, deadline) = match block {
            // Not for local entries alone: a flood of them would starve what the kernel has ready,
            // which it posts in a call only.
            Block::Never if self.ring.unconsumed() == 0 && self.ring.completions() > 0 => {
                return Ok(());
            }
            Block::Never => (0, None),
            Block::Until(want, deadline) => (want, Some(deadline)),
            Block::Forever(want) => (want, None),
        };
        let mut fruitless = 0;
        loop {
            // SAFETY: (D1) the caller's contract.
            let entered = unsafe { self.enter(core, want, deadline) }?;
            let is_done = entered.left == 0 && (want == 0 || self.available(core) > 0);
            if is_done || self.gives_up(core, want, deadline, &entered, &mut fruitless) {
                return Ok(());
            }
        }
    }

    /// Whether a turn ends with what a call has not done.
    #[cold]
    fn gives_up(
        &self,
        core: &Core,
        want: usize,
        deadline: Option<Instant>,
        entered: &Entered,
        fruitless: &mut u32,
    ) -> bool {
        let expired = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let satisfied = want == 0 || self.available(core) > 0 || expired();
        // A wait that was interrupted waits on; what the kernel does not take is asked for again,
        // though not without end.
        if entered.left == 0 && (satisfied || !entered.refused) {
            return satisfied;
        }
        *fruitless += 1;
        if *fruitless < ATTEMPTS {
            return false;
        }
        if !satisfied {
            self.back_off();
        }
        satisfied
    }

    /// One `io_uring_enter`. What interrupts it ends here; the caller looks at the queues.
    ///
    /// # Safety
    /// As [`turn`](Self::turn).
    #[inline(always)]
    unsafe fn enter(
        &mut self,
        core: &mut Core,
        want: usize,
        deadline: Option<Instant>,
    ) -> io::Result<Entered> {
        let missing = want.saturating_sub(core.local_len());
        let timeout = match deadline {
            Some(deadline) if missing > 0 => Some(deadline.duration_since(Instant::now())),
            _ => None,
        };
        let to_submit = self.ring.unconsumed();
        let min_complete = u32::try_from(missing).unwrap_or(u32::MAX);
        core.stats.enters += 1;
        // SAFETY: (U4, D1) the caller's contract.
        let result = unsafe { self.ring.enter(to_submit, min_complete, timeout) };
        let left = self.account(to_submit);
        if self.ring.has_overflow() {
            core.stats.overflow += 1;
        }
        let refused = match result {
            Ok(()) => false,
            Err(error) => Self::is_refused(error)?,
        };
        Ok(Entered { left, refused })
    }

    /// Whether the kernel refused to work, so that asking again at once would be in vain.
    #[cold]
    fn is_refused(error: io::Error) -> io::Result<bool> {
        match error.raw_os_error() {
            // A signal came; the time is over.
            Some(libc::EINTR | libc::ETIME) => Ok(false),
            // No memory for a request now; the completion queue has to be emptied first.
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Ok(true),
            // EBADR: completions were dropped, for the kernel had no memory to keep them.
            // EBADF, EBADFD, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP: the ring is broken, or was
            // closed by others; see io_uring_enter(2).
            _ => Err(error),
        }
    }

    /// Counts what the kernel consumed of `before` entries; returns how many it left.
    #[inline]
    fn account(&mut self, before: u32) -> u32 {
        let left = self.ring.unconsumed();
        if left == before {
            return left;
        }
        let queued = self.queued();
        let still_queued = if left == 0 {
            self.cancels = 0;
            0
        } else {
            self.ring.count_unconsumed(key::is_operation)
        };
        self.handed_over = self.handed_over.wrapping_add(queued - still_queued);
        self.base = self.ring.tail().wrapping_sub(still_queued);
        left
    }

    /// Waits a little for something to change, without spinning.
    #[cold]
    fn back_off(&self) {
        let mut fd = libc::pollfd {
            fd: self.ring.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: (K1) the kernel reads and writes one `pollfd`.
        unsafe { libc::poll(&raw mut fd, 1, BACK_OFF_MS) };
    }

    #[inline]
    pub(crate) fn available(&self, core: &Core) -> usize {
        core.local_len() + self.ring.completions() as usize
    }

    #[inline]
    pub(crate) fn next(&mut self, _core: &mut Core) -> Option<Completion> {
        while self.ring.completions() > 0 {
            let cqe = self.ring.take(1).next()?;
            if let Some(completion) = self.own.decode(cqe.user_data, cqe.result, cqe.flags) {
                return Some(completion);
            }
        }
        None
    }

    /// Puts `n` of the kernel's completions into the outlet, but for those that are not for it;
    /// returns how many it got.
    #[inline]
    pub(crate) fn drain<T: Outlet>(&mut self, core: &mut Core, n: usize, outlet: &mut T) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no more than the queue has"
        )]
        let cqes = self.ring.take(n as u32);
        let own = &mut self.own;
        // A loop for each, so that none asks at each completion.
        if core.takes::<T>() {
            put_each(core, n, cqes, outlet, |core, cqe| {
                own.sort::<T, true>(core, cqe)
            })
        } else {
            put_each(core, n, cqes, outlet, |core, cqe| {
                own.sort::<T, false>(core, cqe)
            })
        }
    }

    pub(crate) fn attach(&mut self, _core: &mut Core, _fd: RawFd) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn detach(&mut self, _core: &mut Core, _fd: RawFd) {}

    pub(crate) fn register(
        &mut self,
        _core: &mut Core,
        fds: &[RawFd],
        first_id: u32,
    ) -> io::Result<()> {
        let count = self.check_range(first_id, fds.len())?;
        if count == 0 {
            return Ok(()); // The kernel calls that EINVAL.
        }
        let updated = self.update_table(first_id, fds)?;
        if updated < count && !planted!("half-registered") {
            for id in first_id..first_id + updated {
                self.update_table(id, &[EMPTY])?;
            }
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        Ok(())
    }

    pub(crate) fn unregister(&mut self, _core: &mut Core, id: u32) -> io::Result<()> {
        self.check_range(id, 1)?;
        if planted!("fixed-kept") {
            return Ok(());
        }
        self.update_table(id, &[EMPTY]).map(drop)
    }

    fn check_range(&self, first_id: u32, count: usize) -> io::Result<u32> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match first_id.checked_add(count) {
            Some(end) if end <= self.file_slots => Ok(count),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Replaces as many places of the table as there are `fds`.
    fn update_table(&self, first_id: u32, fds: &[RawFd]) -> io::Result<u32> {
        let data = fds.as_ptr().expose_provenance() as u64;
        let mut update = k::io_uring_rsrc_update {
            offset: first_id,
            resv: 0,
            data,
        };
        let count = u32::try_from(fds.len()).unwrap_or(u32::MAX);
        let op = k::io_uring_register_op::IORING_REGISTER_FILES_UPDATE;
        // SAFETY: (U3) one update, which names `count` descriptors; the kernel reads both.
        unsafe { self.ring.register(op, (&raw mut update).cast(), count) }
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.watch.as_raw_fd()
    }
}

impl Own {
    /// A completion, if it is for the outlet, which may take those of its class now; sees to any
    /// other.
    #[inline(always)]
    fn sort<T: Outlet, const TAKES: bool>(
        &mut self,
        core: &mut Core,
        cqe: Cqe,
    ) -> Option<Completion> {
        let key = Key::from_word(cqe.user_data);
        // Nearly all of them: the last of an operation, no descriptor, no flags.
        let (key, flags) = if TAKES && key.is_plain(T::CLASS, cqe.flags) {
            (key, 0)
        } else if key.is_plain(Class::Slot, cqe.flags) {
            core.deliver_owned(Completion::last(key, cqe.result));
            return None;
        } else {
            let flags = self.sort_other::<T>(core, cqe.user_data, cqe.result, cqe.flags)?;
            (key.without_fd(), flags)
        };
        Some(Completion {
            key,
            result: cqe.result,
            flags,
        })
    }

    /// The flags of a completion, if it is for the outlet. In registers, as what it is given:
    /// a completion in memory would be so for the usual ones too.
    #[cold]
    #[inline(never)]
    fn sort_other<T: Outlet>(
        &mut self,
        core: &mut Core,
        word: u64,
        result: i32,
        flags: u32,
    ) -> Option<u32> {
        let completion = self.decode(word, result, flags)?;
        Some(core.sort::<T>(completion)?.flags)
    }

    /// A completion, unless it is the driver's own.
    fn decode(&mut self, word: u64, result: i32, flags: u32) -> Option<Completion> {
        let key = Key::from_word(word);
        let more = flags & k::IORING_CQE_F_MORE != 0;
        let internal = Internal::from_key(key);
        if more || internal.is_some() {
            self.completions = self.completions.wrapping_add(1);
        }
        match internal {
            Some(Internal::Doorbell) => self.doorbell = more,
            // Only a cancellation that found nothing it could stop posts one, or a deadline whose
            // operation the kernel took without it.
            Some(Internal::Cancel | Internal::Deadline) => {}
            None => {
                let has_buffer = flags & k::IORING_CQE_F_BUFFER != 0;
                let [_, _, low, high] = flags.to_le_bytes();
                let buffer = has_buffer.then(|| u16::from_le_bytes([low, high]));
                return Some(Completion::shot(key, result, more, buffer));
            }
        }
        None
    }
}

/// An empty place of the table, as the kernel spells it.
const EMPTY: RawFd = -1;
