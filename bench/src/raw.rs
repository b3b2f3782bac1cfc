//! The limit: hand-written loops on the `io-uring` crate, with the set-up flags of the driver.

use crate::echo::{BUFFER_BYTES, Gauge, Served};
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter};
use io_uring::{opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The sizes of the ring that the driver makes by default.
const SQ_ENTRIES: u32 = 2048;
const CQ_ENTRIES: u32 = 8192;

/// A ring with the driver's flags.
pub(crate) fn ring() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(CQ_ENTRIES)
        .setup_clamp()
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_no_sqarray()
        .build(SQ_ENTRIES)
}

/// A ring taken apart, its descriptor registered.
pub(crate) struct Ring<'a> {
    pub(crate) submitter: Submitter<'a>,
    pub(crate) sq: SubmissionQueue<'a>,
    pub(crate) cq: CompletionQueue<'a>,
    flags: u32,
    pub(crate) enters: u64,
}

impl<'a> Ring<'a> {
    pub(crate) fn new(io: &'a mut IoUring) -> io::Result<Self> {
        let mut flags = EnterFlags::GETEVENTS;
        if io.params().is_feature_no_iowait() {
            flags |= EnterFlags::NO_IOWAIT;
        }
        let (mut submitter, sq, cq) = io.split();
        submitter.register_ring_fd()?;
        Ok(Self {
            submitter,
            sq,
            cq,
            flags: flags.bits(),
            enters: 0,
        })
    }

    /// Queues an entry.
    ///
    /// # Safety
    /// What it points to stays valid until its completion.
    #[inline]
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's contract.
        let pushed = unsafe { self.sq.push(entry) };
        pushed.expect("the loops queue less than the ring holds");
    }

    /// Hands over everything that was queued, and waits for `want` completions.
    #[inline]
    pub(crate) fn enter(&mut self, want: u32) {
        self.sq.sync();
        // What was taken out is free again: else the wait would end at once.
        self.cq.sync();
        let queued = u32::try_from(self.sq.len()).expect("a queue's length is a u32");
        self.enters += 1;
        // SAFETY: there is no argument; what the entries point to was promised to `push`.
        let entered = unsafe {
            self.submitter
                .enter::<libc::sigset_t>(queued, want, self.flags, None)
        };
        match entered {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => panic!("io_uring_enter: {e}"),
        }
        self.cq.sync();
    }

    /// One batch of NOPs: queues them, submits and waits in one call, looks at each completion.
    #[inline]
    pub(crate) fn nops(&mut self, batch: u32) {
        for i in 0..batch {
            // SAFETY: a NOP points nowhere.
            unsafe { self.push(&opcode::Nop::new().build().user_data(u64::from(i))) };
        }
        let mut left = batch;
        while left > 0 {
            self.enter(left);
            for cqe in &mut self.cq {
                assert_eq!(cqe.result(), 0);
                left -= 1;
            }
        }
    }
}

impl Drop for Ring<'_> {
    /// A registered descriptor keeps its ring until the thread ends.
    fn drop(&mut self) {
        self.submitter
            .unregister_ring_fd()
            .expect("was registered by `new`");
    }
}

/// Marks the user data of a send.
const SEND: u64 = 1 << 32;

/// Sends back what comes on each socket, until all are closed by their peers: a receive, then a
/// send, from one buffer for each connection.
pub(crate) fn echo(sockets: &[OwnedFd], gauge: &Gauge) -> io::Result<Served> {
    let mut buffers = vec![[0u8; BUFFER_BYTES]; sockets.len()];
    let first = buffers.as_mut_ptr();
    let mut io = ring()?;
    let mut ring = Ring::new(&mut io)?;
    let mut received = vec![0; sockets.len()];
    let len = u32::try_from(BUFFER_BYTES).expect("a small constant");

    let recv = |ring: &mut Ring<'_>, i: usize| {
        let fd = types::Fd(sockets[i].as_raw_fd());
        let entry = opcode::Recv::new(fd, first.wrapping_add(i).cast(), len).build();
        // SAFETY: the buffer outlives the ring, and nothing else is in flight on it.
        unsafe { ring.push(&entry.user_data(i as u64)) };
    };
    for i in 0..sockets.len() {
        recv(&mut ring, i);
    }
    let mut open = sockets.len();
    let mut requests = 0;
    while open > 0 {
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            let i = (cqe.user_data() & (SEND - 1)) as usize;
            let result = cqe.result();
            if cqe.user_data() & SEND != 0 {
                assert_eq!(result, received[i], "one request always fits the socket");
                recv(&mut ring, i);
            } else if result > 0 {
                requests += 1;
                received[i] = result;
                let fd = types::Fd(sockets[i].as_raw_fd());
                let buffer = first.wrapping_add(i).cast::<u8>();
                let entry = opcode::Send::new(fd, buffer, result.unsigned_abs())
                    .flags(libc::MSG_NOSIGNAL)
                    .build();
                // SAFETY: the buffer outlives the ring, and its receive is complete.
                unsafe { ring.push(&entry.user_data(SEND | i as u64)) };
            } else {
                open -= 1;
            }
        }
        gauge.show(requests);
    }
    Ok(Served {
        requests,
        enters: Some(ring.enters),
    })
}
