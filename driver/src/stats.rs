//! Counters.

/// What a driver has done since it was made. Plain numbers, counted on its own thread.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver, Entry};
/// use completeio_driver::op::Nop;
///
/// let mut op = Nop::new();
/// let mut driver = Driver::new()?;
/// driver.try_push(&mut op, 0).unwrap();
/// // SAFETY: `op` outlives the driver and is not touched while it has it.
/// unsafe { driver.submit(None, &mut None::<Entry>)? };
/// assert_eq!(driver.stats().pushed, 1);
/// assert_eq!(driver.stats().completed, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// System calls that handed operations over or waited: `io_uring_enter`, `epoll_pwait2`,
    /// `kevent`. The calls that readiness makes for the operations themselves are not counted.
    pub enters: u64,
    /// Operations accepted.
    pub pushed: u64,
    /// Last entries that came out.
    pub completed: u64,
    /// Cancellations asked for.
    pub cancelled: u64,
    /// Entries that the driver made itself: refused operations, calls made in place.
    pub local: u64,
    /// Turns on which the completion queue had overflowed into the kernel's memory.
    pub overflow: u64,
    /// Wake-ups by a notifier, after coalescing.
    pub wake_ups: u64,
    /// Completions under keys that the driver never gave out.
    pub unknown: u64,
}
