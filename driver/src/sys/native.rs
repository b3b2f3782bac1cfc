//! The system calls that platforms have in different forms, or not at all, for a backend that makes
//! them itself: one file for each family of platforms, with the same functions in the same order;
//! what families have in common is in `unix` and `xattr`.
//!
//! All of them return a result, or an error number, negated; none is interrupted by a signal,
//! unless it says so. The memory that addresses point to is lent until they return.

#[cfg(not(any(epoll, libkqueue)))]
pub(crate) use self::bsd::*;
#[cfg(any(epoll, libkqueue))]
pub(crate) use self::linux::*;

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(not(any(epoll, libkqueue)))]
mod bsd;
#[cfg(any(epoll, libkqueue))]
mod linux;
#[cfg(not(target_vendor = "apple"))]
mod sigpipe;
mod unix;
#[cfg(any(epoll, libkqueue, target_vendor = "apple"))]
mod xattr;

/// What a platform has at all. What it lacks is refused when it is pushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Has {
    /// Opens files past the page cache.
    pub(crate) direct: bool,
    /// Moves between two descriptors.
    pub(crate) splice: bool,
    /// Writes a range of a file back.
    pub(crate) sync_range: bool,
    /// Reserves space.
    pub(crate) allocate: bool,
    /// Takes advice.
    pub(crate) advise: bool,
    pub(crate) xattrs: bool,
    /// Words that threads wait for.
    pub(crate) futexes: bool,
    /// Reads and writes that block in no mode of the descriptor.
    pub(crate) unblocked_streams: bool,
    /// Flags of sends that keep `SIGPIPE` away, and keep them from blocking. Apple's `send` knows
    /// `MSG_DONTWAIT`, and does not heed it.
    pub(crate) send_flags: bool,
}
