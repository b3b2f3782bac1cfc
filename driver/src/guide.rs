//! Two pages to read once: what `submit` asks of you, and how an operation ends.

pub mod safety {
    //! What the one `unsafe` call asks of you.
    //!
    //! Nothing of it is asked in a [`scope`](crate::scope), which submits for you; nor of
    //! operations that the driver owns, in [`slots`](crate::slots) or behind a
    //! [`remote`](crate::remote). This page is for the layer below.
    //!
    //! Pushing is safe, and so is dropping a driver: nothing that was pushed is handed to the
    //! kernel, or looked at again, except by [`submit`](crate::driver::CompleteIo::submit) and its
    //! kin. There the kernel gets addresses that it writes to later, and no compiler follows a
    //! loan across that call. So the caller of `submit` promises four things:
    //!
    //! 1. **Operations and buffers stay.** What was pushed is where it was, untouched, from its
    //!    push until its last entry came out, or until the driver's drop has returned. `Unpin`
    //!    gives nothing here: an inline `[u8; N]` moves with its operation.
    //! 2. **Descriptors stay open until they are submitted.** A plain descriptor is a number, and
    //!    the kernel looks it up at the submit. One that was closed and reused since the push
    //!    names another file. On io_uring the operation then holds its file; in the readiness
    //!    backend a descriptor that is waited on must be detached, or closed through
    //!    [`Close`](crate::op::Close), before its number is reused. A directory that names are
    //!    looked up in ([`OpenAt`](crate::op::OpenAt), [`Rename`](crate::op::Rename) and their kin)
    //!    stays open until the last entry: workers look it up when they come to it.
    //! 3. **What entries name is yours.** An accepted or opened descriptor belongs to whoever
    //!    consumes the entry: [`finish`](crate::op::Op::finish) gives it an owner,
    //!    [`dispose`](crate::op::Op::dispose) closes it. What nobody took out is closed by the
    //!    driver's drop.
    //! 4. **No forgetting.** A driver that is forgotten with operations in flight reaps nothing,
    //!    and the kernel writes on. Let it drop, or let its operations live for ever.
    //!
    //! # The shape that makes the first duty easy
    //! Declare operations and buffers *before* the driver. Rust drops in reverse order, so the
    //! driver is gone, and has drained, before the first of them is freed, on every path out of the
    //! block, panics included:
    //!
    //! ```
    //! use completeio_driver::driver::{CompleteIo, Driver};
    //! use completeio_driver::op::{Op, Recv};
    //! use std::io::Write;
    //! use std::os::{fd::AsFd, unix::net::UnixStream};
    //!
    //! let (here, mut there) = UnixStream::pair()?;
    //! let mut buffer = [0; 16];
    //! let mut op = Recv::new(here.as_fd(), &mut buffer[..]);
    //! let mut entry = None;
    //! {
    //!     let mut driver = Driver::new()?;
    //!     driver.try_push(&mut op, 0).unwrap();
    //!     there.write_all(b"hello")?;
    //!     // SAFETY: (1) `op` and `buffer` outlive the driver, and nobody touches them meanwhile;
    //!     // (2) `here` is open; (3) a receive names nothing; (4) the driver is dropped below.
    //!     unsafe { driver.submit(None, &mut entry)? };
    //! }
    //! // SAFETY: the entry is the last one of this operation.
    //! let n = unsafe { op.finish(entry.unwrap())? };
    //! assert_eq!(&buffer[..n], b"hello");
    //! # Ok::<(), std::io::Error>(())
    //! ```
    //!
    //! Where the driver must come first, because descriptors are attached to it before there are
    //! operations, put both into a struct with the driver as its first field: fields drop in order.
    //! Keep a slab of operations behind raw pointers or `UnsafeCell`s: a `&mut` to the slab, or to
    //! a neighbour through an index, touches those in flight.
    //!
    //! An operation that goes round many times is pushed by
    //! [`OpObject::from_ptr`](crate::op::OpObject::from_ptr), for the borrow of `&'arena mut` would
    //! last as long as the driver.
    //!
    //! # What the driver promises in return
    //! * It borrows: it neither moves, copies nor frees an operation or a buffer.
    //! * An accepted operation completes exactly once, and after its last entry nobody touches it.
    //! * A drop returns when nobody can touch any operation any more. If the ring itself fails
    //!   while operations are in flight, no such moment can be known, and the process aborts.
    //! * A full queue changes nothing, and hands the operation back.
    //! * A panic in a sink, in a buffer's methods or in `dispose` finds the driver consistent. It
    //!   loses at most the entry that the sink had in its hands.
    //! * In a forked child every call is an error, and a drop closes the child's copies only.
}

pub mod cancellation {
    //! How an operation ends.
    //!
    //! An accepted operation ends in exactly one of these ways, each with one last entry (or none,
    //! in the last case, for nobody is there to take it):
    //!
    //! | it ends | the entry says |
    //! |---|---|
    //! | by itself | its result, or the kernel's error, unchanged |
    //! | refused when it was encoded | [`Entry::refusal`](crate::driver::Entry::refusal) |
    //! | cancelled | `ECANCELED`, or its own result, if that came first |
    //! | by the driver's drop | nothing: what it would have named is closed |
    //!
    //! # Asking
    //! [`try_cancel`](crate::driver::CompleteIo::try_cancel) names operations by their user data,
    //! [`try_cancel_fd`](crate::driver::CompleteIo::try_cancel_fd) by their descriptor,
    //! [`try_cancel_all`](crate::driver::CompleteIo::try_cancel_all) all. The wish takes effect at
    //! the next submit. It is a wish: an operation may complete on the way, and then its result is
    //! a real one. **Bytes that were received are delivered, never lost**, so look at the result of
    //! a cancelled operation before its buffer is reused. The memory is lent until that entry came,
    //! cancelled or not.
    //!
    //! A cancellation is no operation: it makes no entry and takes no credit. It has a reserved
    //! place, [`cancels`](crate::driver::Builder::cancels) of them for each submit, or says that it
    //! has none left. It reaches what was pushed before it, submitted or not, and never what is
    //! pushed after it, even under the same user data.
    //!
    //! # In the safe layer
    //! | to cancel | and then |
    //! |---|---|
    //! | [`Scope::try_cancel`](crate::scope::Scope::try_cancel) with the ticket | its `Done` comes, as always |
    //! | end the scope | everything in flight in it is cancelled, waited for and disposed of |
    //! | [`Key::cancel`](crate::slots::Key::cancel) | the key gives output, operation and buffer back, as always |
    //! | drop a `Key`, or a future of it | the slot keeps operation, buffer and descriptor until the kernel is done, then drops them |
    //! | drop a [`Pending`](crate::remote::Pending) | the same, on the driver's thread, unless the result was there |
    //!
    //! A read that completed while it was cancelled gives its bytes to whoever kept the ticket or
    //! the key; whoever dropped it has given them up. To race a read against something else and
    //! lose nothing, keep its key, cancel, and redeem it.
    //!
    //! A [`Deadline`](crate::op::Deadline) around an operation cancels it when its time is over.
    //!
    //! # What cannot be cancelled
    //! * A read or a write of a regular file that the kernel, or a worker thread, has begun. It
    //!   completes late, with its own result; a drop, and the end of a scope, wait for it.
    //! * In the readiness backend, any call that a worker has begun: an open of a FIFO, for
    //!   instance, waits there for the other end. Open it with `O_NONBLOCK`.
    //! * [`Close`](crate::op::Close): once it has begun. Do not close the descriptor again whatever
    //!   its entry says.
    //!
    //! # Winding down
    //! [`Driver::quiesce`](crate::driver::Driver::quiesce) stops admitting, cancels everything, and
    //! delivers the entries; it returns how many operations survive at its deadline. Dropping the
    //! driver does the same without delivering, and without a deadline.
    //!
    //! ```
    //! use completeio_driver::driver::{CompleteIo, Driver};
    //! use completeio_driver::op::Recv;
    //! use std::os::{fd::AsFd, unix::net::UnixStream};
    //!
    //! let (here, _there) = UnixStream::pair()?;
    //! let mut op = Recv::new(here.as_fd(), [0; 16]);
    //! let mut driver = Driver::new()?;
    //! driver.try_push(&mut op, 7).unwrap();
    //! driver.try_cancel(7).unwrap();
    //! let mut entry = None;
    //! // SAFETY: `op` outlives the driver and is not touched; `here` is open.
    //! unsafe { driver.submit(None, &mut entry)? };
    //! let error = entry.unwrap().into_result().unwrap_err();
    //! assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    //! # Ok::<(), std::io::Error>(())
    //! ```
}
