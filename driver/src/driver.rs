//! The driver: push operations, submit them, take their entries.
#![allow(unsafe_code, reason = "`submit` is the one unsafe door")]

pub use crate::builder::{Backend, Builder, Capabilities, Choice, Support};
pub use crate::complete_io::CompleteIo;
pub use crate::entry::Entry;
pub use crate::error::{Full, Refusal, SetupError};
pub use crate::fd::{Attached, Cwd, Descriptor, Fd, FixedFd, Holds, Owns, Target};
pub use crate::notify::Notifier;
pub use crate::stats::Stats;
pub use crate::wait::{PreparedWait, Wait};
pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::builder::Limits;
use crate::clock::Instant;
use crate::local::Core;
use crate::op::{OpCode, OpObject};
use crate::sink::Sink;
use crate::sys::{self, Block, Which};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::time::Duration;

/// A thread's door to the kernel: takes operations, gives entries.
///
/// `'arena` is how long the operations that are lent to it live. A driver stays on the thread that
/// made it.
///
/// Dropping it forgets what was pushed and not submitted, without touching it, cancels what was
/// submitted, and returns when the kernel is done with every operation's memory. That may take as
/// long as a read from a disk takes.
///
/// ```compile_fail,E0277
/// fn is_send<T: Send>() {}
/// is_send::<completeio_driver::driver::Driver<'static>>();
/// ```
/// ```compile_fail,E0277
/// fn is_sync<T: Sync>() {}
/// is_sync::<completeio_driver::driver::Driver<'static>>();
/// ```
pub struct Driver<'arena> {
    // Dropped before `core`: the drain may still complete locally.
    pub(crate) backend: sys::Backend,
    core: Core,
    capabilities: Box<Capabilities>,
    _arena: PhantomData<Cell<&'arena ()>>,
    _not_send: PhantomData<*const ()>,
}

impl<'arena> Driver<'arena> {
    /// A driver with the limits that [`Builder`] documents: 1,024 submission entries.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn new() -> Result<Self, SetupError> {
        Self::builder().build()
    }

    /// Sets the limits first.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn with(
        limits: &Limits,
        candidates: &[Backend],
        choice: Choice,
    ) -> Result<Self, SetupError> {
        let core =
            Core::new(limits.in_flight).map_err(|e| SetupError::os("making the notifier", e))?;
        let (backend, capabilities) = sys::Backend::choose(limits, &core, candidates, choice)?;
        let capabilities = Box::new(capabilities);
        Ok(Self {
            backend,
            core,
            capabilities,
            _arena: PhantomData,
            _not_send: PhantomData,
        })
    }

    /// The backend that was chosen.
    pub fn backend(&self) -> Backend {
        self.capabilities.backend
    }

    /// What the driver stands on, and why.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// How many operations were accepted and have not given their last entry.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.core.in_flight()).expect("I2: no more than there are credits")
    }

    /// A handle that wakes a blocked [`submit`](CompleteIo::submit) from any thread.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry};
    ///
    /// let mut driver = Driver::new()?;
    /// let notifier = driver.notifier();
    /// let thread = std::thread::spawn(move || notifier.notify());
    /// // SAFETY: nothing is in flight. Returns when the other thread rings.
    /// unsafe { driver.submit(None, &mut None::<Entry>)? };
    /// thread.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn notifier(&mut self) -> Notifier {
        self.core.notified = true;
        Notifier::new(self.core.shared.clone())
    }

    /// Hands over what was pushed, and says how a foreign event loop may wait for the driver: until
    /// its descriptor ([`AsRawFd`], the same for the driver's life) is readable (`POLLIN`), at most
    /// until the time given. The notifier then makes the descriptor readable. After the sleep, call
    /// [`submit`](CompleteIo::submit) with `Some(Duration::ZERO)`. With nothing in flight and no
    /// notifier the descriptor never becomes readable.
    ///
    /// ```
    /// use completeio_driver::clock::Instant;
    /// use completeio_driver::driver::{AsRawFd, CompleteIo, Driver, PreparedWait};
    /// use completeio_driver::op::Timeout;
    /// use std::time::Duration;
    ///
    /// let mut op = Timeout::after(Duration::from_millis(1));
    /// let mut driver = Driver::new()?;
    /// driver.try_push(&mut op, 7).unwrap();
    /// let mut entry = None;
    /// while entry.is_none() {
    ///     // SAFETY: `op` outlives the driver and is not touched while it has it.
    ///     if let PreparedWait::Until(until) = unsafe { driver.prepare_wait()? } {
    ///         // Rounded up: poll(2) counts milliseconds.
    ///         let left = until.map(|until| until.duration_since(Instant::now()));
    ///         let millis = left.map_or(-1, |left| left.as_millis() as i32 + 1);
    ///         let mut fd = libc::pollfd { fd: driver.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    ///         // SAFETY: the kernel reads and writes one `pollfd`.
    ///         unsafe { libc::poll(&mut fd, 1, millis) };
    ///     }
    ///     // SAFETY: as above.
    ///     unsafe { driver.submit(Some(Duration::ZERO), &mut entry)? };
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](CompleteIo::submit).
    ///
    /// # Safety
    /// As [`submit`](CompleteIo::submit).
    pub unsafe fn prepare_wait(&mut self) -> io::Result<PreparedWait> {
        self.check_process()?;
        // SAFETY: (D1) the caller's contract.
        let deadline = unsafe { self.backend.prepare_wait(&mut self.core) }?;
        // Also before the first notifier is made: it may be made before the sleep.
        let rung = !self.core.shared.flag().prepare_sleep();
        if rung || self.core.woken || self.backend.available(&self.core) > 0 {
            return Ok(PreparedWait::Ready);
        }
        Ok(PreparedWait::Until(deadline))
    }

    /// Winds the driver down: accepts no more operations, cancels what can be cancelled, takes
    /// entries until nothing is in flight, the sink is full, or the deadline has passed. Returns how
    /// many operations survive; call it again for the rest. [`resume`](Self::resume) ends it.
    ///
    /// ```
    /// use completeio_driver::clock::Instant;
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// use completeio_driver::op::Timeout;
    /// use std::time::Duration;
    ///
    /// let mut op = Timeout::after(Duration::from_secs(3600));
    /// let mut driver = Driver::new()?;
    /// driver.try_push(&mut op, 0).unwrap();
    /// let mut entry = None;
    /// // SAFETY: `op` outlives the driver and is not touched while it has it.
    /// let survivors =
    ///     unsafe { driver.quiesce(Instant::now() + Duration::from_secs(5), &mut entry)? };
    /// assert_eq!(survivors, 0);
    /// assert_eq!(driver.capacity_left(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](CompleteIo::submit).
    ///
    /// # Safety
    /// As [`submit`](CompleteIo::submit).
    pub unsafe fn quiesce<S: Sink + ?Sized>(
        &mut self,
        deadline: Instant,
        sink: &mut S,
    ) -> io::Result<usize> {
        self.core.close();
        self.check_process()?;
        let mut cancelled = self.backend.cancel(&mut self.core, Which::All).is_ok();
        let wake_ups = self.core.stats.wake_ups;
        while self.core.in_flight() > 0 && sink.room() > 0 {
            if !cancelled {
                // SAFETY: (D1) the caller's contract. A turn frees the reserved places.
                unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
                cancelled = self.backend.cancel(&mut self.core, Which::All).is_ok();
            }
            let wait = Wait::new().at_least(self.in_flight()).until(deadline);
            // SAFETY: (D1) the caller's contract.
            unsafe { self.submit_until(wait, sink) }?;
            if Instant::now() >= deadline {
                break;
            }
        }
        // A wake-up is for the next `submit`.
        self.core.woken |= self.core.stats.wake_ups != wake_ups;
        self.core.stats.wake_ups = wake_ups;
        Ok(self.in_flight())
    }

    /// Accepts operations again after [`quiesce`](Self::quiesce).
    ///
    /// ```
    /// use completeio_driver::clock::Instant;
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry};
    ///
    /// let mut driver = Driver::new()?;
    /// // SAFETY: nothing is in flight.
    /// unsafe { driver.quiesce(Instant::now(), &mut None::<Entry>)? };
    /// driver.resume();
    /// assert!(driver.capacity_left() > 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resume(&mut self) {
        self.core.reopen();
    }

    /// Attaches a borrowed descriptor, which is then known to be open for `'fd`.
    ///
    /// ```
    /// use completeio_driver::{driver::{AsFd, Driver}, op::ReadAt};
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let mut driver = Driver::new()?;
    /// let op = ReadAt::new(driver.attach_fd(file.as_fd())?, 0, [0; 16]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`attach`](CompleteIo::attach).
    pub fn attach_fd<'fd>(&mut self, fd: BorrowedFd<'fd>) -> io::Result<Attached<'fd>> {
        self.attach(fd.as_raw_fd())?;
        Ok(Attached::new(fd))
    }

    fn check_process(&self) -> io::Result<()> {
        if self.core.shared.is_child() {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
        Ok(())
    }

    fn cancel(&mut self, which: Which) -> Result<(), Full<()>> {
        if self.core.shared.is_child() {
            return Err(Full::new(()));
        }
        self.backend.cancel(&mut self.core, which)?;
        self.core.stats.cancelled += 1;
        Ok(())
    }
}

impl AsRawFd for Driver<'_> {
    /// Readable when a turn has something to do; for foreign event loops, see
    /// [`Driver::prepare_wait`].
    fn as_raw_fd(&self) -> RawFd {
        self.backend.as_raw_fd()
    }
}

impl fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("backend", &self.backend())
            .field("in_flight", &self.in_flight())
            .field("stats", &self.core.stats)
            .finish_non_exhaustive()
    }
}

impl<'arena> CompleteIo<'arena> for Driver<'arena> {
    fn attach(&mut self, fd: RawFd) -> io::Result<Fd> {
        self.check_process()?;
        sys::check_open(fd)?;
        self.backend.attach(&mut self.core, fd)?;
        Ok(Fd::new(fd))
    }

    fn detach(&mut self, fd: Fd) {
        if !self.core.shared.is_child() {
            self.backend.detach(&mut self.core, fd.as_raw_fd());
        }
    }

    fn register_fd(&mut self, fd: RawFd, id: u32) -> io::Result<FixedFd> {
        self.register_fds(&[fd], id)?;
        Ok(FixedFd::new(id))
    }

    fn register_fds(&mut self, fds: &[RawFd], first_id: u32) -> io::Result<()> {
        self.check_process()?;
        for fd in fds {
            sys::check_open(*fd)?;
        }
        self.backend.register(&mut self.core, fds, first_id)
    }

    fn unregister_fd(&mut self, fd: FixedFd) -> io::Result<()> {
        self.check_process()?;
        self.backend.unregister(&mut self.core, fd.id())
    }

    #[inline]
    fn try_push<O: OpCode + 'arena>(
        &mut self,
        op: &'arena mut O,
        user_data: usize,
    ) -> Result<(), Full<&'arena mut O>> {
        if self.backend.try_push(&mut self.core, &mut *op, user_data) {
            Ok(())
        } else {
            Err(Full::new(op))
        }
    }

    #[inline]
    fn try_push_dyn(&mut self, op: OpObject<'arena>) -> Result<(), Full<OpObject<'arena>>> {
        if self.backend.try_push_dyn(&mut self.core, &op) {
            Ok(())
        } else {
            Err(Full::new(op))
        }
    }

    #[inline]
    fn push_queue(&mut self, queue: &mut VecDeque<OpObject<'arena>>) {
        let n = self.capacity_left().min(queue.len());
        self.backend.push_queue(&mut self.core, queue, n);
    }

    #[inline]
    fn capacity_left(&self) -> usize {
        let credits = u32::try_from(self.core.credits()).unwrap_or(u32::MAX);
        self.backend.capacity_left().min(credits) as usize
    }

    fn try_cancel(&mut self, user_data: usize) -> Result<(), Full<()>> {
        self.cancel(Which::UserData(user_data))
    }

    fn try_cancel_fd<F: Descriptor>(&mut self, fd: &F) -> Result<(), Full<()>> {
        self.cancel(Which::Target(fd.target()))
    }

    fn try_cancel_all(&mut self) -> Result<(), Full<()>> {
        self.cancel(Which::All)
    }

    unsafe fn submit<S: Sink + ?Sized>(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut S,
    ) -> io::Result<()> {
        let wait = match timeout {
            None => Wait::new(),
            Some(Duration::ZERO) => Wait::new().at_least(0),
            Some(timeout) => Wait::new().until(Instant::now().saturating_add(timeout)),
        };
        // SAFETY: (D1) the caller's contract.
        unsafe { self.submit_until(wait, sink) }
    }

    unsafe fn submit_until<S: Sink + ?Sized>(
        &mut self,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        self.check_process()?;
        let room = sink.room();
        if room == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        if self.would_wait_for_ever(wait) {
            return Err(io::Error::from(io::ErrorKind::Deadlock));
        }
        // A wait for more than can come would never end; one for nothing ends at once.
        let min = wait.min.min(room).min(self.in_flight().max(1));
        let mut put = 0;
        loop {
            let want = min - put;
            let block = self.block(want, wait.deadline);
            // SAFETY: (D1) the caller's contract.
            let turned = unsafe { self.backend.turn(&mut self.core, block) };
            if self.core.notified && self.core.shared.flag().awake() {
                self.core.woken = true;
            }
            turned?;
            put += self.backend.drain(&mut self.core, room - put, sink);
            if mem::take(&mut self.core.woken) {
                self.core.stats.wake_ups += 1;
                return Ok(());
            }
            let expired = || {
                wait.deadline
                    .is_some_and(|deadline| Instant::now() >= deadline)
            };
            if put >= min || expired() {
                return Ok(());
            }
        }
    }

    unsafe fn submit_queue<S: Sink + ?Sized>(
        &mut self,
        queue: &mut VecDeque<OpObject<'arena>>,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        self.check_process()?;
        self.push_queue(queue);
        while !queue.is_empty() && self.core.credits() > 0 {
            let before = queue.len();
            // SAFETY: (D1) the caller's contract.
            unsafe { self.backend.turn(&mut self.core, Block::Never) }?;
            self.push_queue(queue);
            if queue.len() == before {
                break; // The kernel takes nothing now; the next call tries again.
            }
        }
        // SAFETY: (D1) the caller's contract.
        unsafe { self.submit_until(wait, sink) }
    }
}

impl Driver<'_> {
    /// Whether nothing can end a wait: nothing is in flight, nobody can ring, no time is set.
    fn would_wait_for_ever(&self, wait: Wait) -> bool {
        let endless = wait.min > 0 && wait.deadline.is_none();
        endless && self.core.in_flight() == 0 && !self.core.notified
    }

    /// How a turn waits for `want` entries; not at all when a wake-up is there instead.
    #[inline]
    fn block(&mut self, want: usize, deadline: Option<Instant>) -> Block {
        if want == 0 || self.core.woken || self.backend.available(&self.core) >= want {
            return Block::Never;
        }
        if self.core.notified && !self.core.shared.flag().prepare_sleep() {
            self.core.woken = true;
            return Block::Never;
        }
        match deadline {
            Some(deadline) => Block::Until(want, deadline),
            None => Block::Forever(want),
        }
    }
}
