//! The end of a ring: what was pushed is forgotten, what was handed over is reaped.
#![allow(unsafe_code, reason = "enters the kernel")]

use super::{Uring, control, key};
use crate::engine::abort;
use crate::local::Core;
use crate::outlet::Outlet;
use std::time::Duration;

impl Uring {
    /// Closing a ring is no barrier: the kernel writes on. Only the last completion of the last
    /// operation says that it is done.
    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, outlet: &mut T) {
        self.pushes.discard();
        let queued = self.queued();
        let discarded = self.ring.discard(key::is_operation);
        debug_assert_eq!(discarded, queued, "I1: a pushed operation was lost");
        self.base = self.ring.tail();
        while self.in_kernel(core) > 0 && !planted!("drop-does-not-drain") {
            self.push_internal(control::cancel_all());
            self.ring.publish();
            self.reap_some(core, outlet);
        }
    }

    /// Waits for completions of what is being cancelled, and takes them.
    fn reap_some<T: Outlet>(&mut self, core: &mut Core, outlet: &mut T) {
        // An operation may have been where no cancellation finds it: ask again now and then.
        const PATIENCE: Duration = Duration::from_millis(100);
        // SAFETY: (U4) a cancellation alone is published, and points to nothing.
        match unsafe { self.ring.enter(self.ring.unconsumed(), 1, Some(PATIENCE)) } {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR | libc::ETIME) => {}
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => self.back_off(),
                _ => abort(format_args!(
                    "the ring failed with {} operations in flight ({error})",
                    self.in_kernel(core)
                )),
            },
        }
        self.ring.discard(key::is_operation);
        while let Some(completion) = self.next(core) {
            core.deliver(completion, outlet);
        }
    }
}
