//! The limit: hand-written loops on the `io-uring` crate, with the set-up flags of the driver.

mod accept;
mod echo;
mod file;
mod nop;
mod timer;
mod udp;

use crate::by_hand;
use bench::child::{Args, Outcome};
use bench::work::unknown_workload;
use io_uring::{CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, squeue};
use std::io;

/// Does what is asked for.
pub(crate) fn run(args: &Args) -> Result<Outcome, String> {
    let mut io = ring().map_err(|e| format!("no ring: {e}"))?;
    let mut ring = Ring::new(&mut io).map_err(|e| format!("no registered ring: {e}"))?;
    match args.workload.as_str() {
        "nop" => nop::run(&mut ring, args),
        "echo" | "turn" => by_hand::echo(args, |sockets, room, serve| {
            echo::run(&mut ring, sockets, room, serve)
        }),
        "udp" => udp::run(&mut ring, args),
        "accept" => accept::run(&mut ring, args),
        "file" => file::run(&mut ring, args),
        "fire" | "lateness" => timer::fire(&mut ring, args),
        "cancel" => timer::cancel(&mut ring, args),
        unknown => Err(unknown_workload(unknown)),
    }
}

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
        pushed.expect("who queues more than the ring holds makes room");
    }

    /// Hands over what was queued if there is no room for more.
    pub(crate) fn make_room(&mut self) {
        if self.sq.is_full() {
            self.enter(0);
            // What was handed over is free again.
            self.sq.sync();
        }
    }

    /// Hands over everything that was queued, and waits for `want` completions.
    #[inline]
    pub(crate) fn enter(&mut self, want: u32) {
        self.sq.sync();
        // What was taken out is free again: else the wait would end at once.
        self.cq.sync();
        let queued = u32::try_from(self.sq.len()).expect("a queue's length is a u32");
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
}

impl Drop for Ring<'_> {
    /// A registered descriptor keeps its ring until the thread ends.
    fn drop(&mut self) {
        self.submitter
            .unregister_ring_fd()
            .expect("was registered by `new`");
    }
}
