//! The driver: push operations, submit them, take their entries.
#![allow(unsafe_code, reason = "`submit` is the one unsafe door")]

pub use crate::builder::{Backend, Builder, Capabilities, Choice, Support};
pub use crate::complete_io::CompleteIo;
pub use crate::entry::Entry;
pub use crate::error::{AttachError, Full, Refusal, SetupError};
pub use crate::fd::{Attached, Cwd, Descriptor, Fd, FixedFd, Holds, Owns, Target};
pub use crate::notify::Notifier;
pub use crate::remote::{DriverThread, spawn_thread};
pub use crate::stats::Stats;
pub use crate::sys::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
pub use crate::wait::{PreparedWait, Wait};

use crate::builder::Limits;
use crate::clock::Instant;
use crate::engine::Engine;
use crate::key::Key;
use crate::op::{OpCode, OpObject};
use crate::outlet::Raw;
use crate::sink::Sink;
use crate::sys::{self, Block, Which};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
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
    pub(crate) engine: Engine,
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
        let made = Engine::new(limits, candidates, choice);
        made.map(|(engine, capabilities)| Self::of(engine, capabilities))
    }

    pub(crate) fn of(engine: Engine, capabilities: Capabilities) -> Self {
        Self {
            engine,
            capabilities: Box::new(capabilities),
            _arena: PhantomData,
            _not_send: PhantomData,
        }
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
        self.engine.core.stats
    }

    /// How many operations were accepted and have not given their last entry.
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
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
        self.engine.notifier()
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
        let engine = &mut self.engine;
        engine.check_process()?;
        // SAFETY: (D1) the caller's contract.
        unsafe { engine.cancel_owned() }?;
        // SAFETY: (D1) the caller's contract.
        unsafe { engine.backend.push_waiting(&mut engine.core) };
        // SAFETY: (D1) the caller's contract.
        let deadline = unsafe { engine.backend.prepare_wait(&mut engine.core) }?;
        // Also before the first notifier is made: it may be made before the sleep.
        let rung = !engine.core.shared.flag().prepare_sleep();
        let goes_on = engine.core.exacts.is_waiting();
        if rung || goes_on || engine.core.woken || engine.backend.available(&engine.core) > 0 {
            return Ok(PreparedWait::Ready);
        }
        let until = engine.core.exacts.nearest(deadline);
        Ok(PreparedWait::Until(until))
    }

    /// Winds the driver down: accepts no more operations, cancels what can be cancelled, takes
    /// entries until nothing is in flight, the sink is full, or the deadline has passed. Returns
    /// how many operations survive; call it again for the rest. [`resume`](Self::resume) ends it.
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
        self.engine.core.close();
        self.engine.check_process()?;
        let mut cancelled = self.engine.cancel(Which::All).is_ok();
        let wake_ups = self.engine.core.stats.wake_ups;
        while self.engine.core.in_flight() > 0 && sink.room() > 0 {
            if !cancelled {
                // SAFETY: (D1) the caller's contract. A turn frees the reserved places.
                unsafe {
                    self.engine
                        .backend
                        .turn(&mut self.engine.core, Block::Never)
                }?;
                cancelled = self.engine.cancel(Which::All).is_ok();
            }
            let wait = Wait::new().at_least(self.in_flight()).until(deadline);
            // SAFETY: (D1) the caller's contract.
            unsafe { self.submit_until(wait, sink) }?;
            if Instant::now() >= deadline {
                break;
            }
        }
        // A wake-up is for the next `submit`.
        self.engine.core.woken |= self.engine.core.stats.wake_ups != wake_ups;
        self.engine.core.stats.wake_ups = wake_ups;
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
        self.engine.core.reopen();
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
        self.engine.attach_fd(fd)
    }
}

impl AsRawFd for Driver<'_> {
    /// Readable when a turn has something to do; for foreign event loops, see
    /// [`Driver::prepare_wait`].
    fn as_raw_fd(&self) -> RawFd {
        self.engine.backend.as_raw_fd()
    }
}

impl fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("backend", &self.backend())
            .field("in_flight", &self.in_flight())
            .field("stats", &self.engine.core.stats)
            .finish_non_exhaustive()
    }
}

impl<'arena> CompleteIo<'arena> for Driver<'arena> {
    fn attach(&mut self, fd: RawFd) -> io::Result<Fd> {
        self.engine.attach(fd)?;
        Ok(Fd::new(fd))
    }

    fn detach(&mut self, fd: Fd) {
        if !self.engine.core.is_child() {
            self.engine
                .backend
                .detach(&mut self.engine.core, fd.as_raw_fd());
        }
    }

    fn register_fd(&mut self, fd: RawFd, id: u32) -> io::Result<FixedFd> {
        self.register_fds(&[fd], id)?;
        Ok(FixedFd::new(id))
    }

    fn register_fds(&mut self, fds: &[RawFd], first_id: u32) -> io::Result<()> {
        self.engine.check_process()?;
        for fd in fds {
            sys::check_open(*fd)?;
        }
        self.engine
            .backend
            .register(&mut self.engine.core, fds, first_id)
    }

    fn unregister_fd(&mut self, fd: FixedFd) -> io::Result<()> {
        self.engine.check_process()?;
        self.engine
            .backend
            .unregister(&mut self.engine.core, fd.id())
    }

    #[inline(always)]
    fn try_push<O: OpCode + 'arena>(
        &mut self,
        op: &'arena mut O,
        user_data: usize,
    ) -> Result<(), Full<&'arena mut O>> {
        let pushed = match Key::try_raw(user_data) {
            // SAFETY: (D2) exclusively borrowed, so not in flight.
            Some(key) => unsafe { self.engine.try_push(NonNull::from(&mut *op), key) },
            None => self.engine.refuse_user_data(user_data),
        };
        if pushed { Ok(()) } else { Err(Full::new(op)) }
    }

    #[inline]
    fn try_push_dyn(&mut self, op: OpObject<'arena>) -> Result<(), Full<OpObject<'arena>>> {
        // SAFETY: (D2) an `OpObject` promises it.
        if unsafe { self.engine.try_push_dyn(&op) } {
            Ok(())
        } else {
            Err(Full::new(op))
        }
    }

    #[inline]
    fn push_queue(&mut self, queue: &mut VecDeque<OpObject<'arena>>) {
        // SAFETY: (D2) an `OpObject` promises it.
        unsafe { self.engine.push_queue(queue) };
    }

    #[inline]
    fn capacity_left(&self) -> usize {
        self.engine.capacity_left()
    }

    fn try_cancel(&mut self, user_data: usize) -> Result<(), Full<()>> {
        match Key::try_raw(user_data) {
            Some(key) => self.engine.cancel(Which::Raw(key)),
            None => Ok(()), // No operation has it.
        }
    }

    fn try_cancel_fd<F: Descriptor>(&mut self, fd: &F) -> Result<(), Full<()>> {
        self.engine.cancel(Which::Target(fd.target()))
    }

    fn try_cancel_all(&mut self) -> Result<(), Full<()>> {
        self.engine.cancel(Which::All)
    }

    unsafe fn submit<S: Sink + ?Sized>(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut S,
    ) -> io::Result<()> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.submit_until(Wait::for_timeout(timeout), sink) }
    }

    #[inline]
    unsafe fn submit_until<S: Sink + ?Sized>(
        &mut self,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        let room = sink.room();
        // SAFETY: (D1) the caller's contract.
        unsafe { self.engine.submit(wait, room, &mut Raw(sink)) }
    }

    unsafe fn submit_queue<S: Sink + ?Sized>(
        &mut self,
        queue: &mut VecDeque<OpObject<'arena>>,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()> {
        let room = sink.room();
        let outlet = &mut Raw(sink);
        // SAFETY: (D1, D2) the caller's contract.
        unsafe { self.engine.submit_queue(queue, wait, room, outlet) }
    }
}
