//! The contract that every backend serves, as a trait.
#![allow(unsafe_code, reason = "`submit` is the one unsafe door")]

use crate::driver::{Descriptor, Driver, Fd, FixedFd, Full, RawFd, Wait};
use crate::op::{OpCode, OpObject};
use crate::sink::Sink;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// The driver's contract: what a user of any backend calls.
///
/// Sealed: it names what [`Driver`] does, so that code can be generic over it.
pub trait CompleteIo<'arena>: sealed::Sealed {
    /// Attaches a descriptor, so that operations can be directed at its number.
    ///
    /// Owned and borrowed descriptors need not be attached: operations take them as they are.
    /// readiness then registers a socket for each wait, instead of once.
    ///
    /// A number that the driver knows means a new file: what still waits on the old one completes
    /// with `EBADF`, or, on io_uring, goes on with the old file. readiness makes sockets (those
    /// that are registered, too) non-blocking, and keeps a duplicate of regular files until they
    /// are detached, closed by [`Close`](crate::op::Close), attached anew, or the driver is
    /// dropped. A socket that cannot be made non-blocking is not attached, and the error says why;
    /// what is no socket keeps its mode, and is polled before each call where calls on it may
    /// block. On Apple a socket is told to raise no `SIGPIPE` (`SO_NOSIGPIPE`). Closing a duplicate
    /// drops the process's POSIX record locks on that file, as any close does. A socket that is not
    /// attached becomes non-blocking by its first accept or connect, on Apple by its first send,
    /// too.
    ///
    /// **Detach before you close** by other means than [`Close`](crate::op::Close): in the
    /// readiness backend, and on Windows, the driver cannot see that a number was closed. Nor can
    /// it see that a TCP socket has got a protocol with records on top (`TCP_ULP`, kernel TLS):
    /// that is done before its first receive has to wait, or by
    /// [`SetSockOpt`](crate::op::SetSockOpt).
    ///
    /// Windows tells of an operation's end where the handle is attached that bears the number then,
    /// so that an operation which is pushed on a reused number may end unheard: a number that was
    /// attached to one driver is closed by `Close` before it is used with another. And one that was
    /// in flight may not end before the last duplicate of its handle is closed: no cancellation and
    /// no deadline finds it by a number that is closed. The drop of the driver waits for both.
    ///
    /// Windows attaches a handle to one completion port, until the file that it names is closed:
    /// again to the same driver is no error, to another is one
    /// ([`AttachError`](crate::driver::AttachError)). A handle that takes no overlapped calls, as
    /// those of [`std::fs::File`], is attached all the same, and workers make its calls, with a
    /// duplicate. What is not attached is so by its first operation.
    ///
    /// ```
    /// use completeio_driver::driver::{AsRawFd, CompleteIo, Driver};
    /// use completeio_driver::op::ReadAt;
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let mut driver = Driver::new()?;
    /// let fd = driver.attach(file.as_raw_fd())?;
    /// let op = ReadAt::new(fd, 0, Vec::with_capacity(16));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `EBADF` when it is not open; on readiness those of `fcntl` with `O_NONBLOCK` for a socket,
    /// unchanged; `InvalidInput` when it lies above
    /// [`descriptors`](crate::driver::Builder::descriptors).
    fn attach(&mut self, fd: RawFd) -> io::Result<Fd>;

    /// Detaches a descriptor: call it before closing what may still be waited on. It stays open.
    ///
    /// What waits on it completes with `EBADF` in the readiness backend, and goes on on io_uring.
    ///
    /// ```
    /// use completeio_driver::driver::{AsRawFd, CompleteIo, Driver};
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let mut driver = Driver::new()?;
    /// let fd = driver.attach(file.as_raw_fd())?;
    /// driver.detach(fd);
    /// drop(file);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn detach(&mut self, fd: Fd);

    /// Puts a descriptor into the driver's table; what was there before is replaced. The driver
    /// keeps the file open, so that `fd` itself may be closed.
    ///
    /// ```
    /// use completeio_driver::driver::{AsRawFd, CompleteIo, Driver};
    /// use completeio_driver::op::{Op, ReadAt};
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let mut driver = Driver::new()?;
    /// let fd = driver.register_fd(file.as_raw_fd(), 7)?;
    /// drop(file); // The driver keeps it open.
    /// let mut op = ReadAt::new(fd, 0, Vec::with_capacity(16));
    /// driver.try_push(&mut op, 0).unwrap();
    /// let mut entry = None;
    /// // SAFETY: `op` stays where it is until its entry came.
    /// unsafe { driver.submit(None, &mut entry)? };
    /// driver.unregister_fd(fd)?;
    /// // SAFETY: the entry is the operation's last one.
    /// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 16);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` when `id` lies outside the table
    /// ([`file_slots`](crate::driver::Builder::file_slots)), else the kernel's error.
    fn register_fd(&mut self, fd: RawFd, id: u32) -> io::Result<FixedFd>;

    /// Puts descriptors into the table, at `first_id` and the places after it, in one call;
    /// [`FixedFd::from_id`] names them.
    ///
    /// ```
    /// use completeio_driver::driver::{AsRawFd, CompleteIo, Driver, FixedFd};
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let mut driver = Driver::new()?;
    /// driver.register_fds(&[file.as_raw_fd(), file.as_raw_fd()], 4)?;
    /// let second = FixedFd::from_id(5);
    /// driver.unregister_fd(second)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`register_fd`](Self::register_fd). Nothing of `fds` is registered then, and places that
    /// were to be replaced may be empty.
    fn register_fds(&mut self, fds: &[RawFd], first_id: u32) -> io::Result<()>;

    /// Empties a place of the table. An empty one stays empty.
    ///
    /// # Errors
    /// `InvalidInput` when `id` lies outside the table.
    fn unregister_fd(&mut self, fd: FixedFd) -> io::Result<()>;

    /// Pushes one operation, which is lent for as long as the driver is used. One that goes round
    /// many times is pushed by [`OpObject::from_ptr`] instead.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// use completeio_driver::op::Nop;
    ///
    /// let (mut one, mut two) = (Nop::new(), Nop::new());
    /// let mut driver = Driver::builder().entries(1).build()?;
    /// assert!(driver.try_push(&mut one, 1).is_ok());
    /// let full = driver.try_push(&mut two, 2).unwrap_err();
    /// let _two_again: &mut Nop = full.into_inner();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Full`] hands it back; nothing else was done.
    fn try_push<O: OpCode + 'arena>(
        &mut self,
        op: &'arena mut O,
        user_data: usize,
    ) -> Result<(), Full<&'arena mut O>>;

    /// Pushes one operation of any type.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// use completeio_driver::op::Nop;
    ///
    /// let mut op = Nop::new();
    /// let mut driver = Driver::new()?;
    /// assert!(driver.try_push_dyn((&mut op, 7).into()).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Full`] hands it back; nothing else was done.
    fn try_push_dyn(&mut self, op: OpObject<'arena>) -> Result<(), Full<OpObject<'arena>>>;

    /// Pushes a batch from the front of `queue`. What does not fit stays, in order.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// use completeio_driver::op::{Nop, OpObject};
    /// use std::collections::VecDeque;
    ///
    /// let mut ops = [Nop::new(), Nop::new(), Nop::new()];
    /// let mut driver = Driver::builder().entries(2).build()?;
    /// let mut queue: VecDeque<OpObject<'_>> =
    ///     ops.iter_mut().enumerate().map(|(i, op)| (op, i).into()).collect();
    /// driver.push_queue(&mut queue);
    /// assert_eq!(queue.len(), 1);
    /// assert_eq!(queue[0].user_data(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn push_queue(&mut self, queue: &mut VecDeque<OpObject<'arena>>);

    /// How many operations can be pushed now: free submission places or credits, whichever is less.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// let driver = Driver::builder().entries(8).build()?;
    /// assert_eq!(driver.capacity_left(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn capacity_left(&self) -> usize;

    /// Asks for the cancellation of all operations with this user data.
    ///
    /// Each then completes once, with its own result or with `ECANCELED`. The cancellation is no
    /// entry, and never reaches an operation that is pushed after it. It takes effect at the next
    /// submit; what was pushed and not submitted is cancelled too.
    ///
    /// See [`guide::cancellation`](crate::guide::cancellation) for a running example.
    ///
    /// # Errors
    /// [`Full`] when the reserved places ([`cancels`](crate::driver::Builder::cancels)) are used
    /// up: submit first. readiness needs none.
    fn try_cancel(&mut self, user_data: usize) -> Result<(), Full<()>>;

    /// Asks for the cancellation of all operations on a descriptor: io_uring goes by the file, so
    /// that duplicates of the descriptor count, readiness by the number.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver};
    /// use completeio_driver::op::Recv;
    /// use std::os::{fd::AsFd, unix::net::UnixStream};
    ///
    /// let (here, _there) = UnixStream::pair()?;
    /// let mut op = Recv::new(here.as_fd(), [0; 16]);
    /// let mut driver = Driver::new()?;
    /// driver.try_push(&mut op, 7).unwrap();
    /// driver.try_cancel_fd(&here.as_fd()).unwrap();
    /// let mut entry = None;
    /// // SAFETY: `op` outlives the driver and is not touched; `here` is open.
    /// unsafe { driver.submit(None, &mut entry)? };
    /// assert_eq!(entry.unwrap().raw_os_error(), Some(libc::ECANCELED));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_cancel`](Self::try_cancel).
    fn try_cancel_fd<F: Descriptor>(&mut self, fd: &F) -> Result<(), Full<()>>;

    /// Asks for the cancellation of everything in flight.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver, Wait};
    /// use completeio_driver::op::Timeout;
    /// use std::time::Duration;
    ///
    /// let mut ops = [(); 2].map(|()| Timeout::after(Duration::from_secs(3600)));
    /// let mut driver = Driver::new()?;
    /// for op in &mut ops {
    ///     driver.try_push(op, 0).unwrap();
    /// }
    /// driver.try_cancel_all().unwrap();
    /// let mut entries = Vec::with_capacity(2);
    /// // SAFETY: the operations outlive the driver and are not touched.
    /// unsafe { driver.submit_until(Wait::new().at_least(2), &mut entries)? };
    /// assert_eq!(entries.len(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_cancel`](Self::try_cancel).
    fn try_cancel_all(&mut self) -> Result<(), Full<()>>;

    /// Hands over what was pushed, and collects entries into `sink`.
    ///
    /// `None` waits for at least one completion or wake-up; `Some(Duration::ZERO)` never blocks;
    /// `Some(d)` waits at most `d`, rounded up. Interruptions of the wait are dealt with here.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry};
    /// use completeio_driver::op::Nop;
    /// use std::time::Duration;
    ///
    /// let mut op = Nop::new();
    /// let mut driver = Driver::new()?;
    /// driver.try_push(&mut op, 7).unwrap();
    /// let mut entries: Vec<Entry> = Vec::with_capacity(8);
    /// // SAFETY: `op` outlives the driver and is not touched while it has it.
    /// unsafe { driver.submit(Some(Duration::from_secs(1)), &mut entries)? };
    /// assert_eq!(entries[0].user_data(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// Completions of operations that the driver owns ([`slots`](crate::slots)) end the wait too,
    /// if they come in it: ask [`next_finished`](Driver::next_finished) until it gives none before
    /// you wait.
    ///
    /// # Errors
    /// `InvalidInput` for a sink without room; `Deadlock` for a wait without end when nothing is in
    /// flight and no [`notifier`](Driver::notifier) was ever made; `Unsupported` in a forked child;
    /// else the ring or the selector is broken. An operation's own error is in its entry.
    ///
    /// # Safety
    /// This is where the kernel gets the addresses of operations and buffers:
    /// * Every operation that was pushed, and every buffer it lends, is where it was, and stays
    ///   there, untouched, until its last entry came out or the driver's drop has returned.
    /// * A plain descriptor that an operation is directed at is open now, and was not closed and
    ///   reused since the push.
    /// * A descriptor, once accepted or opened, is the caller's to close, through `finish` or
    ///   `dispose`.
    /// * The driver is not forgotten (`mem::forget`) while operations are in flight, unless they
    ///   live for ever.
    unsafe fn submit<S: Sink + ?Sized>(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut S,
    ) -> io::Result<()>;

    /// The same with all options.
    ///
    /// ```
    /// use completeio_driver::clock::Instant;
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry, Wait};
    /// use std::time::Duration;
    ///
    /// let mut driver = Driver::new()?;
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// // SAFETY: nothing was pushed.
    /// unsafe { driver.submit_until(Wait::new().until(deadline), &mut None::<Entry>)? };
    /// assert!(Instant::now() >= deadline);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Safety
    /// As [`submit`](Self::submit).
    unsafe fn submit_until<S: Sink + ?Sized>(&mut self, wait: Wait, sink: &mut S)
    -> io::Result<()>;

    /// Pushes and hands over as much of `queue` as there are credits for, however few submission
    /// entries there are, then waits as [`submit_until`](Self::submit_until) does.
    ///
    /// With [`push_queue`](Self::push_queue) and [`submit`](Self::submit) alone a wait may begin
    /// while the very operation that would end it is still in the queue.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry, Wait};
    /// use completeio_driver::op::{Nop, OpObject};
    /// use std::collections::VecDeque;
    ///
    /// let mut ops = [Nop::new(), Nop::new(), Nop::new()];
    /// let mut driver = Driver::builder().entries(2).build()?;
    /// let mut queue: VecDeque<OpObject<'_>> =
    ///     ops.iter_mut().enumerate().map(|(i, op)| (op, i).into()).collect();
    /// let mut entries: Vec<Entry> = Vec::with_capacity(3);
    /// // SAFETY: the operations outlive the driver and are not touched.
    /// unsafe { driver.submit_queue(&mut queue, Wait::new().at_least(3), &mut entries)? };
    /// assert_eq!((queue.len(), entries.len()), (0, 3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Safety
    /// As [`submit`](Self::submit).
    unsafe fn submit_queue<S: Sink + ?Sized>(
        &mut self,
        queue: &mut VecDeque<OpObject<'arena>>,
        wait: Wait,
        sink: &mut S,
    ) -> io::Result<()>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Driver<'_> {}
}
