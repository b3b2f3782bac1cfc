//! Knowing a forked child from the process that made the driver.
#![allow(unsafe_code, reason = "mmap, madvise and munmap are foreign functions")]

use std::process;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

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
    words: NonNull<Words>,
    owner: Owner,
}

#[derive(Debug)]
struct Words {
    /// Not zero, on a page; else it is.
    mark: AtomicU32,
    allowance: AtomicU32,
}

/// Who is told from a child, and how; and where the words are.
#[derive(Debug)]
enum Owner {
    /// Whose page is not wiped.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    OfPage,
    /// Who has this process id. The words are in a box.
    ById(u32),
}

// SAFETY: nothing refers to the thread that made the words; any may read or free them.
unsafe impl Send for ForkGuard {}
// SAFETY: the words are reached through shared references to atomics only.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    pub(crate) fn new() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(words) = page::map() {
            return Self {
                words,
                owner: Owner::OfPage,
            };
        }
        Self::by_pid()
    }

    fn by_pid() -> Self {
        let words = Box::new(Words {
            mark: AtomicU32::new(0),
            allowance: AtomicU32::new(0),
        });
        Self {
            words: NonNull::from(Box::leak(words)),
            owner: Owner::ById(process::id()),
        }
    }

    /// Whether this process is a child of the one that made the guard. Async-signal-safe.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        self.words().mark.load(Ordering::Relaxed) == 0 && self.is_no_owner()
    }

    #[cold]
    fn is_no_owner(&self) -> bool {
        match self.owner {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Owner::OfPage => true,
            Owner::ById(pid) => process::id() != pid,
        }
    }

    /// Whether something was left of what was allowed, of which this spends one. Nothing is left in
    /// a child.
    #[inline]
    pub(crate) fn spend(&self) -> bool {
        let allowance = &self.words().allowance;
        let left = allowance.load(Ordering::Relaxed);
        if left > 0 {
            allowance.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// Sets how often `spend` may be called; never where a child would have it too.
    #[inline]
    pub(crate) fn allow(&self, allowance: u32) {
        if self.words().mark.load(Ordering::Relaxed) != 0 {
            self.words().allowance.store(allowance, Ordering::Relaxed);
        }
    }

    #[inline]
    fn words(&self) -> &Words {
        // SAFETY: made by `new`, to be read and written, and freed by `drop` only.
        unsafe { self.words.as_ref() }
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        match self.owner {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Owner::OfPage => page::unmap(self.words),
            // SAFETY: `by_pid` made it of a box, and no reference outlives `self`.
            Owner::ById(_) => drop(unsafe { Box::from_raw(self.words.as_ptr()) }),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod page {
    use super::Words;
    use std::ptr::{self, NonNull};
    use std::sync::atomic::Ordering;

    /// The beginning of the page stands for all of it: the kernel rounds up to pages wherever a
    /// length is given.
    const LENGTH: usize = size_of::<Words>();

    /// A page of our own, whose mark is not zero, and all of which is zero in a forked child.
    /// `None`: out of memory, or the kernel cannot wipe pages.
    pub(super) fn map() -> Option<NonNull<Words>> {
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
        let words: NonNull<Words> = NonNull::new(address.cast())?;
        // Emulators take any advice and do nothing (QEMU before 7.1): it is taken here for
        // granted only where nonsense is refused.
        if advise(words, -1) || !advise(words, libc::MADV_WIPEONFORK) {
            unmap(words);
            return None;
        }
        // SAFETY: mapped above to be read and written, aligned to more than two words, of which any
        // bytes are an `AtomicU32`.
        unsafe { words.as_ref() }.mark.store(1, Ordering::Relaxed);
        Some(words)
    }

    fn advise(words: NonNull<Words>, advice: libc::c_int) -> bool {
        // SAFETY: the page is ours and anonymous. MADV_WIPEONFORK leaves this process's view as it
        // is, and a number that is no advice is refused.
        unsafe { libc::madvise(words.as_ptr().cast(), LENGTH, advice) == 0 }
    }

    /// Frees what `map` has made.
    pub(super) fn unmap(words: NonNull<Words>) {
        // SAFETY: `map` made it, and its owner gives it up.
        let result = unsafe { libc::munmap(words.as_ptr().cast(), LENGTH) };
        debug_assert_eq!(result, 0, "a page that `mmap` gave can be unmapped");
    }
}

#[cfg(all(test, unix))]
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

#[cfg(all(test, unix))]
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
    fn a_child_is_allowed_nothing() {
        let guard = ForkGuard::new();
        if !matches!(guard.owner, Owner::OfPage) {
            eprintln!("skipped: this kernel wipes no pages");
            return;
        }
        guard.allow(2);
        assert!(ForkGuard::in_child(|| {
            let wiped = !guard.spend();
            guard.allow(2);
            wiped && !guard.spend()
        }));
        assert!(guard.spend() && guard.spend() && !guard.spend());
    }

    /// A child that is known by its id only would find what its parent was allowed.
    #[test]
    fn nobody_is_allowed_anything_by_pid() {
        let guard = ForkGuard::by_pid();
        guard.allow(2);
        assert!(!guard.spend());
    }

    #[test]
    fn is_shared_and_sent() {
        fn assert_send_and_sync<T: Send + Sync>() {}
        assert_send_and_sync::<ForkGuard>();
    }
}
