//! Knowing a forked child from the process that made the driver.
#![allow(unsafe_code, reason = "mmap, madvise and munmap are foreign functions")]

use std::process;

/// Remembers the process that made it.
///
/// On Linux and Android it is a page with a mark on it, which the kernel wipes in a child
/// ([`MADV_WIPEONFORK`]): a check is one load. Elsewhere, or if the kernel has no such pages, the
/// process ids are compared: a check is a system call, and a process that was forked twice may in
/// theory bear the number of its grandparent.
///
/// A child of `vfork` shares its parent's memory, and passes for the parent.
///
/// [`MADV_WIPEONFORK`]: https://man7.org/linux/man-pages/man2/madvise.2.html
#[derive(Debug)]
pub(crate) struct ForkGuard {
    mark: Mark,
}

#[derive(Debug)]
enum Mark {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Page(page::Page),
    Pid(u32),
}

impl ForkGuard {
    pub(crate) fn new() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(page) = page::Page::new() {
            return Self {
                mark: Mark::Page(page),
            };
        }
        Self::by_pid()
    }

    fn by_pid() -> Self {
        Self {
            mark: Mark::Pid(process::id()),
        }
    }

    /// Whether this process is a child of the one that made the guard. Async-signal-safe.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        match &self.mark {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Mark::Page(page) => page.is_wiped(),
            Mark::Pid(pid) => process::id() != *pid,
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod page {
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicU8, Ordering};

    /// The first byte of the page, which stands for all of it: the kernel rounds up to pages
    /// wherever a length is given.
    const LENGTH: usize = 1;

    /// A page of our own, not zero at its first byte, and zero in a forked child.
    #[derive(Debug)]
    pub(super) struct Page {
        mark: NonNull<AtomicU8>,
    }

    // SAFETY: nothing refers to the thread that mapped the page; any may read or unmap it.
    unsafe impl Send for Page {}
    // SAFETY: the page is reached through a shared reference to an atomic only.
    unsafe impl Sync for Page {}

    impl Page {
        /// `None`: out of memory, or the kernel cannot wipe pages.
        pub(super) fn new() -> Option<Self> {
            // Miri knows no `madvise`.
            if cfg!(miri) {
                return None;
            }
            // SAFETY: without MAP_FIXED a new private mapping replaces no memory of ours.
            let address = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    LENGTH,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            if address == libc::MAP_FAILED {
                return None;
            }
            let page = Self {
                mark: NonNull::new(address.cast())?,
            };
            // Emulators take any advice and do nothing (QEMU before 7.1): it is taken here for
            // granted only where nonsense is refused.
            if page.advise(-1) || !page.advise(libc::MADV_WIPEONFORK) {
                return None;
            }
            page.mark().store(1, Ordering::Relaxed);
            Some(page)
        }

        pub(super) fn is_wiped(&self) -> bool {
            self.mark().load(Ordering::Relaxed) == 0
        }

        fn advise(&self, advice: libc::c_int) -> bool {
            // SAFETY: the page is ours and anonymous. MADV_WIPEONFORK leaves this process's view
            // as it is, and a number that is no advice is refused.
            unsafe { libc::madvise(self.mark.as_ptr().cast(), LENGTH, advice) == 0 }
        }

        fn mark(&self) -> &AtomicU8 {
            // SAFETY: `new` mapped the page to be read and written, it is aligned to more than a
            // byte, any byte is an `AtomicU8`, and only `drop` unmaps it.
            unsafe { self.mark.as_ref() }
        }
    }

    impl Drop for Page {
        fn drop(&mut self) {
            // SAFETY: `new` mapped the page, and no reference outlives `self`.
            let result = unsafe { libc::munmap(self.mark.as_ptr().cast(), LENGTH) };
            debug_assert_eq!(result, 0, "a page that `mmap` gave can be unmapped");
        }
    }
}

#[cfg(test)]
impl ForkGuard {
    /// Whether `check` holds in a forked child, which calls nothing else than `check` and
    /// `_exit`. `check` must be async-signal-safe: another thread may have held any lock.
    pub(crate) fn in_child(check: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls only what is async-signal-safe, and never returns from here.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let status = if check() { 0 } else { 1 };
            // SAFETY: `_exit` ends the process at once, without handlers and destructors.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: `status` is a local, and `pid` a child that nobody else waits for.
        while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
            assert_eq!(
                std::io::Error::last_os_error().kind(),
                std::io::ErrorKind::Interrupted
            );
        }
        // Neither a signal nor the status 1.
        status == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn the_parent_is_no_child() {
        let guard = ForkGuard::new();
        assert!(!guard.is_child());
        assert!(ForkGuard::in_child(|| guard.is_child()));
        assert!(!guard.is_child(), "and it is none after a fork either");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn by_pid() {
        let guard = ForkGuard::by_pid();
        assert!(!guard.is_child());
        assert!(ForkGuard::in_child(|| guard.is_child()));
        assert!(!guard.is_child());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn a_childs_own_guard_is_marked() {
        let inherited = ForkGuard::new();
        assert!(ForkGuard::in_child(|| {
            // A mapping, no heap.
            let own = ForkGuard::new();
            inherited.is_child() && !own.is_child()
        }));
    }

    /// MADV_WIPEONFORK came with Linux 4.14.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn by_page() {
        let Some(page) = page::Page::new() else {
            eprintln!("skipped: this kernel wipes no pages");
            return;
        };
        assert!(!page.is_wiped());
        assert!(ForkGuard::in_child(|| page.is_wiped()));
        assert!(!page.is_wiped());
    }

    #[test]
    fn is_shared_and_sent() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<ForkGuard>();
    }
}
