//! The end of a ring: what was pushed is forgotten, what was handed over is reaped.
#![allow(unsafe_code, reason = "enters the kernel")]

use super::key::Key;
use super::{Uring, control};
use crate::driver::Entry;
use std::io::{self, Write as _};
use std::process;
use std::time::Duration;

impl Drop for Uring {
    /// Closing a ring is no barrier: the kernel writes on. Only the last completion of the last
    /// operation says that it is done.
    fn drop(&mut self) {
        if self.shared.is_child() {
            return;
        }
        let mut guard = AbortUnlessDone { done: false };
        let queued = self.queued();
        let discarded = self.ring.discard(Key::is_operation);
        debug_assert_eq!(discarded, queued, "I1: a pushed operation was lost");
        self.base = self.ring.tail();
        while self.in_kernel() > 0 {
            self.push_internal(control::cancel_all());
            self.ring.publish();
            self.reap_some();
        }
        guard.done = true;
    }
}

/// A drain that unwinds would let memory be freed that the kernel still has.
struct AbortUnlessDone {
    done: bool,
}

impl Drop for AbortUnlessDone {
    fn drop(&mut self) {
        if !self.done {
            process::abort();
        }
    }
}

impl Uring {
    /// Waits for completions of what is being cancelled, and takes them.
    fn reap_some(&mut self) {
        // An operation may have been where no cancellation finds it: ask again now and then.
        const PATIENCE: Duration = Duration::from_millis(100);
        // SAFETY: (U4) a cancellation alone is published, and points to nothing.
        match unsafe { self.ring.enter(self.ring.unconsumed(), 1, Some(PATIENCE)) } {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME) => {}
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => self.back_off(),
                _ => {
                    // Not `eprintln!`, which panics when nobody listens.
                    let _ = writeln!(
                        io::stderr(),
                        "completeio: the ring failed with {} operations in flight ({error}); \
                         their memory cannot be freed safely: aborting",
                        self.in_kernel()
                    );
                    process::abort();
                }
            },
        }
        self.ring.discard(Key::is_operation);
        while self.ring.completions() > 0 {
            let cqe = self.ring.take();
            drop(self.entry(&mut 0, cqe).map(Entry::into_fd));
        }
    }
}
