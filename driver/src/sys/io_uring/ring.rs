//! The rings: set-up, mapping, the two queues, and the three system calls.
//!
//! Why not a crate's: entries are encoded in place, and the submission queue's tail is stored by
//! [`publish`](Ring::publish) alone, so that what was pushed and not submitted stays private; see
//! ARCHITECTURE.md.
//!
//! [io_uring_setup(2)](https://man7.org/linux/man-pages/man2/io_uring_setup.2.html),
//! [io_uring_enter(2)](https://man7.org/linux/man-pages/man2/io_uring_enter.2.html),
//! [io_uring_register(2)](https://man7.org/linux/man-pages/man2/io_uring_register.2.html)
#![allow(
    unsafe_code,
    reason = "memory shared with the kernel, and system calls"
)]

use crate::error::SetupError;
use crate::notify::Shared;
use linux_raw_sys::io_uring as k;
use std::ffi::c_void;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A submission entry: `struct io_uring_sqe`, its unions by the names that are used here.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Sqe {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) ioprio: u16,
    pub(super) fd: i32,
    pub(super) off: u64,
    pub(super) addr: u64,
    pub(super) len: u32,
    pub(super) op_flags: u32,
    pub(super) user_data: u64,
    pub(super) buf_index: u16,
    pub(super) personality: u16,
    pub(super) file_index: u32,
    pub(super) addr3: u64,
    pub(super) reserved: u64,
}

const _: () = assert!(size_of::<Sqe>() == 64 && align_of::<Sqe>() == 8);

/// A completion entry: `struct io_uring_cqe`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Cqe {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

const _: () = assert!(size_of::<Cqe>() == 16);

/// Both queues of one io_uring, and the way into the kernel.
#[derive(Debug)]
pub(super) struct Ring {
    /// What `io_uring_enter` is given: the number of the registered ring.
    enter_fd: RawFd,
    enter_flags: u32,
    /// Where the next entry goes: ours alone until `publish`.
    tail: u32,
    sq_mask: u32,
    sqes: NonNull<Sqe>,
    sq_head: NonNull<AtomicU32>,
    sq_tail: NonNull<AtomicU32>,
    sq_flags: NonNull<AtomicU32>,
    /// The next completion to take.
    head: u32,
    cq_mask: u32,
    cqes: NonNull<Cqe>,
    cq_head: NonNull<AtomicU32>,
    cq_tail: NonNull<AtomicU32>,
    cq_flags: NonNull<AtomicU32>,
    pub(super) granted: Granted,
    /// Unmapped and closed in this order, unless this is a forked child.
    queues: Mapping,
    _entries: Mapping,
    fd: OwnedFd,
}

/// What the kernel gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    pub(super) sq_entries: u32,
    pub(super) cq_entries: u32,
    pub(super) setup_flags: u32,
    pub(super) features: u32,
    pub(super) boottime_waits: bool,
}

/// The flags without which this backend does not run: all of them are in Linux 6.1.
const SETUP: u32 = k::IORING_SETUP_CQSIZE
    | k::IORING_SETUP_CLAMP
    | k::IORING_SETUP_SUBMIT_ALL
    | k::IORING_SETUP_SINGLE_ISSUER
    | k::IORING_SETUP_DEFER_TASKRUN;

/// Longer waits end here, and begin anew: 136 years.
const LONGEST_WAIT: Duration = Duration::from_secs(1 << 32);

impl Ring {
    /// Sets up a ring of at least these sizes.
    pub(super) fn new(
        sq_entries: u32,
        cq_entries: u32,
        shared: &Arc<Shared>,
    ) -> Result<Self, SetupError> {
        // SAFETY: (U2) the parameters are plain numbers.
        let mut params: k::io_uring_params = unsafe { std::mem::zeroed() };
        let fd = setup(sq_entries, cq_entries, &mut params)?;

        let queue_bytes = (params.sq_off.array as usize + params.sq_entries as usize * 4)
            .max(params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<Cqe>());
        let entry_bytes = params.sq_entries as usize * size_of::<Sqe>();
        let queues = Mapping::new(&fd, queue_bytes, k::IORING_OFF_SQ_RING, shared)?;
        let entries = Mapping::new(&fd, entry_bytes, k::IORING_OFF_SQES, shared)?;

        let word = |offset: u32| queues.at::<AtomicU32>(offset);
        let cqes = queues.at::<Cqe>(params.cq_off.cqes);
        let mut ring = Self {
            enter_fd: fd.as_raw_fd(),
            enter_flags: k::IORING_ENTER_GETEVENTS,
            tail: 0,
            sq_mask: params.sq_entries - 1,
            sqes: entries.at(0),
            sq_head: word(params.sq_off.head),
            sq_tail: word(params.sq_off.tail),
            sq_flags: word(params.sq_off.flags),
            head: 0,
            cq_mask: params.cq_entries - 1,
            cqes,
            cq_head: word(params.cq_off.head),
            cq_tail: word(params.cq_off.tail),
            cq_flags: word(params.cq_off.flags),
            granted: Granted {
                sq_entries: params.sq_entries,
                cq_entries: params.cq_entries,
                setup_flags: params.flags,
                features: params.features,
                boottime_waits: false,
            },
            queues,
            _entries: entries,
            fd,
        };
        if params.flags & k::IORING_SETUP_NO_SQARRAY == 0 {
            ring.fill_array(params.sq_off.array);
        }
        if params.features & k::IORING_FEAT_NO_IOWAIT != 0 {
            ring.enter_flags |= k::IORING_ENTER_NO_IOWAIT;
        }
        ring.register_ring()?;
        ring.granted.boottime_waits = ring.register_clock();
        // A filter may allow the set-up and forbid this call.
        // SAFETY: (U4) nothing is published.
        unsafe { ring.enter(0, 0, None) }.map_err(|e| refused("io_uring_enter", e))?;
        Ok(ring)
    }

    /// Kernels before 6.6 take entries by an index: each slot always names itself.
    fn fill_array(&mut self, offset: u32) {
        let array = self.queues.at::<AtomicU32>(offset);
        for i in 0..self.granted.sq_entries {
            // SAFETY: (U2) the array has a word for each entry.
            let word = unsafe { array.add(i as usize) };
            // SAFETY: (U2) as above; the kernel reads it in `enter` only.
            unsafe { word.as_ref() }.store(i, Ordering::Relaxed);
        }
    }

    /// Spares each `enter` the look-up of the descriptor. A thread has 16 places for that: the
    /// rings after them go without.
    fn register_ring(&mut self) -> Result<(), SetupError> {
        let mut update = k::io_uring_rsrc_update {
            offset: u32::MAX,
            resv: 0,
            data: u64::from(self.fd.as_raw_fd().unsigned_abs()),
        };
        let op = k::io_uring_register_op::IORING_REGISTER_RING_FDS;
        // SAFETY: (U3) one update, which the kernel reads and writes.
        match unsafe { self.register(op, (&raw mut update).cast(), 1) } {
            Ok(_) => {
                let index = i32::try_from(update.offset);
                self.enter_fd = index.expect("U3: the index is a small number");
                self.enter_flags |= k::IORING_ENTER_REGISTERED_RING;
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            Err(error) => Err(refused("io_uring_register", error)),
        }
    }

    /// Has the kernel signal an eventfd for each completion, unless it is silenced.
    pub(super) fn register_eventfd(&self, fd: RawFd) -> io::Result<()> {
        let mut fd = fd;
        let op = k::io_uring_register_op::IORING_REGISTER_EVENTFD;
        // SAFETY: (U3) one descriptor, which the kernel reads.
        unsafe { self.register(op, (&raw mut fd).cast(), 1) }.map(drop)
    }

    /// Tells the kernel whether to signal the eventfd.
    pub(super) fn silence_eventfd(&self, silent: bool) {
        let flags = if silent {
            k::IORING_CQ_EVENTFD_DISABLED
        } else {
            0
        };
        // SAFETY: (U2) a word of the mapped rings, which only we write.
        unsafe { self.cq_flags.as_ref() }.store(flags, Ordering::Release);
    }

    pub(super) fn is_registered(&self) -> bool {
        self.enter_flags & k::IORING_ENTER_REGISTERED_RING != 0
    }

    /// Lets waits count the time of a suspend, where the kernel can (6.12).
    fn register_clock(&self) -> bool {
        let clock = libc::CLOCK_BOOTTIME.unsigned_abs();
        let mut clock = k::io_uring_clock_register {
            clockid: clock,
            __resv: [0; 3],
        };
        let op = k::io_uring_register_op::IORING_REGISTER_CLOCK;
        // SAFETY: (U3) the clock, which the kernel reads; it wants no count.
        unsafe { self.register(op, (&raw mut clock).cast(), 0) }.is_ok()
    }

    /// `io_uring_register`.
    ///
    /// # Safety
    /// `argument` points to what `op` documents, `count` elements of it, for as long as `op` says.
    pub(super) unsafe fn register(
        &self,
        op: k::io_uring_register_op,
        argument: *mut c_void,
        count: u32,
    ) -> io::Result<u32> {
        // SAFETY: (U3) the caller's contract.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                op as u32,
                argument,
                count,
            )
        };
        u32::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// `io_uring_enter`: takes `to_submit` published entries, waits for `min_complete` completions.
    ///
    /// # Safety
    /// What the published entries point to is lent until their last completions.
    pub(super) unsafe fn enter(
        &self,
        to_submit: u32,
        min_complete: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let spec;
        let argument;
        let (flags, argument_ptr, argument_size) = match timeout {
            None => (self.enter_flags, ptr::null(), 0),
            Some(timeout) => {
                // The kernel adds the time now, and must not overflow.
                spec = crate::op::Timespec::from(timeout.min(LONGEST_WAIT));
                argument = k::io_uring_getevents_arg {
                    sigmask: 0,
                    sigmask_sz: 0,
                    min_wait_usec: 0,
                    ts: (&raw const spec).expose_provenance() as u64,
                };
                let flags = self.enter_flags | k::IORING_ENTER_EXT_ARG;
                (
                    flags,
                    &raw const argument,
                    size_of::<k::io_uring_getevents_arg>(),
                )
            }
        };
        // SAFETY: (U4) the rings are mapped, the argument lives on this stack; the entries are the
        // caller's contract.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                to_submit,
                min_complete,
                flags,
                argument_ptr,
                argument_size,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The free entry that `advance` will add.
    #[inline]
    pub(super) fn slot(&mut self) -> *mut Sqe {
        debug_assert!(
            self.unconsumed() < self.granted.sq_entries,
            "U1: the queue is full"
        );
        let index = self.tail & self.sq_mask;
        // SAFETY: (U1) the index is masked to the size of the array.
        unsafe { self.sqes.add(index as usize) }.as_ptr()
    }

    /// Adds the entry that was written to `slot`.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.tail = self.tail.wrapping_add(1);
    }

    /// Where the next entry goes; wraps.
    #[inline]
    pub(super) fn tail(&self) -> u32 {
        self.tail
    }

    /// How many completions were taken, ever; wraps.
    #[inline]
    pub(super) fn taken(&self) -> u32 {
        self.head
    }

    /// Shows the kernel every entry that was added. Only `hand_over` calls it, and the drop.
    #[inline]
    pub(super) fn publish(&mut self) {
        // SAFETY: (U2) a word of the mapped rings.
        unsafe { self.sq_tail.as_ref() }.store(self.tail, Ordering::Release);
    }

    /// Takes back every entry that the kernel has not consumed, and returns how many were raw
    /// operations, by `is_operation` of their user data.
    pub(super) fn discard(&mut self, is_operation: impl Fn(u64) -> bool) -> u32 {
        let operations = self.count_unconsumed(is_operation);
        self.tail = self.sq_head();
        self.publish();
        operations
    }

    /// How many entries that the kernel has not consumed satisfy `is_operation`.
    pub(super) fn count_unconsumed(&self, is_operation: impl Fn(u64) -> bool) -> u32 {
        let mut count = 0;
        let mut at = self.sq_head();
        while at != self.tail {
            let index = at & self.sq_mask;
            // SAFETY: (U1) masked to the size of the array.
            let sqe = unsafe { self.sqes.add(index as usize) };
            // SAFETY: (U1) written by us, and the kernel only reads it.
            if is_operation(unsafe { (*sqe.as_ptr()).user_data }) {
                count += 1;
            }
            at = at.wrapping_add(1);
        }
        count
    }

    /// How many entries were added and not consumed by the kernel.
    #[inline]
    pub(super) fn unconsumed(&self) -> u32 {
        self.tail.wrapping_sub(self.sq_head())
    }

    #[inline]
    fn sq_head(&self) -> u32 {
        // SAFETY: (U2) a word of the mapped rings.
        unsafe { self.sq_head.as_ref() }.load(Ordering::Acquire)
    }

    /// Whether completions overflowed into the kernel's own memory.
    #[inline]
    pub(super) fn has_overflow(&self) -> bool {
        // SAFETY: (U2) a word of the mapped rings.
        let flags = unsafe { self.sq_flags.as_ref() }.load(Ordering::Relaxed);
        flags & k::IORING_SQ_CQ_OVERFLOW != 0
    }

    /// How many completions are there.
    #[inline]
    pub(super) fn completions(&self) -> u32 {
        // SAFETY: (U2) a word of the mapped rings.
        unsafe { self.cq_tail.as_ref() }
            .load(Ordering::Acquire)
            .wrapping_sub(self.head)
    }

    /// Takes `n` completions, of those that `completions` counted, out of the queue.
    #[inline]
    pub(super) fn take(&mut self, n: u32) -> Taking<'_> {
        debug_assert!(n <= self.completions(), "U1: the queue has no more");
        Taking {
            head: self.head,
            end: self.head.wrapping_add(n),
            cq_mask: self.cq_mask,
            cqes: self.cqes,
            ring: self,
        }
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Completions that leave the queue. The places of those that were taken are free when this is
/// dropped: also when whoever was given one has panicked.
pub(super) struct Taking<'r> {
    ring: &'r mut Ring,
    /// The next to take, where to stop, and what leads there: of its own, so that it stays in
    /// registers.
    head: u32,
    end: u32,
    cq_mask: u32,
    cqes: NonNull<Cqe>,
}

impl Iterator for Taking<'_> {
    type Item = Cqe;

    #[inline]
    fn next(&mut self) -> Option<Cqe> {
        if self.head == self.end {
            return None;
        }
        let index = self.head & self.cq_mask;
        // SAFETY: (U1) masked to the size of the array.
        let cqe = unsafe { self.cqes.add(index as usize) };
        // SAFETY: (U1) between head and tail: the kernel wrote it before it stored the tail, and
        // writes there again only after the head has moved.
        let Cqe {
            user_data,
            result,
            flags,
        } = *unsafe { cqe.as_ref() };
        self.head = self.head.wrapping_add(1);
        Some(Cqe {
            user_data,
            result,
            flags,
        })
    }
}

impl Drop for Taking<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ring.head = self.head;
        // SAFETY: (U2) a word of the mapped rings.
        unsafe { self.ring.cq_head.as_ref() }.store(self.head, Ordering::Release);
    }
}

impl Drop for Ring {
    /// A registered ring keeps itself alive: the kernel holds its file until the place is given up.
    fn drop(&mut self) {
        if self.queues.shared.is_child() || !self.is_registered() {
            return;
        }
        let mut update = k::io_uring_rsrc_update {
            offset: self.enter_fd.unsigned_abs(),
            resv: 0,
            data: 0,
        };
        let op = k::io_uring_register_op::IORING_UNREGISTER_RING_FDS;
        // SAFETY: (U3) one update, which the kernel reads.
        let unregistered = unsafe { self.register(op, (&raw mut update).cast(), 1) };
        debug_assert!(unregistered.is_ok(), "U3: {unregistered:?}");
    }
}

/// `io_uring_setup`, with the newest flags that the kernel takes.
fn setup(sq: u32, cq: u32, params: &mut k::io_uring_params) -> Result<OwnedFd, SetupError> {
    let mut error = io::Error::from_raw_os_error(libc::EINVAL);
    for extra in [k::IORING_SETUP_NO_SQARRAY, 0] {
        params.flags = SETUP | extra;
        params.cq_entries = cq;
        // SAFETY: (U3) the kernel reads and writes one `io_uring_params`.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, sq, &raw mut *params) };
        if fd >= 0 {
            let fd = i32::try_from(fd).expect("U3: descriptors are small numbers");
            // SAFETY: (U3) a new descriptor that nobody else knows; the kernel made it CLOEXEC.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            break;
        }
    }
    Err(refused("io_uring_setup", error))
}

/// What an error of the set-up means, and what can be done about it.
fn refused(call: &'static str, error: io::Error) -> SetupError {
    match error.raw_os_error() {
        // No such call, or a kernel before 6.1, which does not know the flags.
        Some(libc::ENOSYS | libc::EINVAL) => SetupError::KernelTooOld(error),
        Some(libc::EPERM | libc::EACCES) if is_disabled() => SetupError::DisabledBySysctl(error),
        Some(libc::EPERM | libc::EACCES) => SetupError::DeniedBySeccomp(error),
        Some(libc::ENOMEM) => SetupError::LockedMemory(error),
        _ => SetupError::os(call, error),
    }
}

/// Whether the sysctl forbids io_uring, wholly (2) or to most processes (1).
fn is_disabled() -> bool {
    let value = fs::read("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    matches!(value.first(), Some(b'1' | b'2'))
}

/// Memory shared with the kernel.
#[derive(Debug)]
struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
    shared: Arc<Shared>,
}

impl Mapping {
    fn new(
        fd: &OwnedFd,
        bytes: usize,
        offset: u32,
        shared: &Arc<Shared>,
    ) -> Result<Self, SetupError> {
        // SAFETY: (U2) a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                i64::from(offset),
            )
        };
        if start == libc::MAP_FAILED {
            return Err(refused("mmap of the rings", io::Error::last_os_error()));
        }
        let start = NonNull::new(start).expect("U2: the kernel maps nothing at zero");
        let mapping = Self {
            start,
            bytes,
            shared: shared.clone(),
        };
        // SAFETY: (U2) the mapping is ours.
        if unsafe { libc::madvise(start.as_ptr(), bytes, libc::MADV_DONTFORK) } != 0 {
            return Err(SetupError::os(
                "madvise of the rings",
                io::Error::last_os_error(),
            ));
        }
        Ok(mapping)
    }

    fn at<T>(&self, offset: u32) -> NonNull<T> {
        let offset = offset as usize;
        assert!(
            offset + size_of::<T>() <= self.bytes,
            "U2: beyond the mapping"
        );
        // SAFETY: (U2) within the mapping, as asserted.
        let at = unsafe { self.start.byte_add(offset) }.cast::<T>();
        assert!(at.is_aligned(), "U2: the kernel aligns what it lays out");
        at
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.shared.is_child() {
            return; // Never mapped here: something else may be at the address.
        }
        // SAFETY: (U2) mapped by `new`; the ring that pointed into it is being dropped.
        unsafe { libc::munmap(self.start.as_ptr(), self.bytes) };
    }
}
