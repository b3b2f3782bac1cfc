//! The operations, and what they have in common.
//!
//! One struct per operation. Each says when it completes, what comes out, which errors arrive and
//! what differs between platforms. An operation is the caller's: the driver borrows it from the
//! push until its last entry came out, and it is reusable after that.
//!
//! | state of an operation | who may touch it | what comes next |
//! |---|---|---|
//! | built | the caller | a push |
//! | pushed | nobody (its words are kept, and not followed) | `submit`, or the driver's drop, which forgets it |
//! | in flight | the kernel, or a worker thread | its last entry |
//! | complete | the caller | `finish`, `dispose`, another push, or its drop |
//!
//! The head of an operation that is lent to a scope, or owned by a slot, is the driver's own
//! bookkeeping: the driver touches it while the operation is in flight, and nothing else of it.
#![allow(
    unsafe_code,
    reason = "operations are reached through raw pointers while in flight"
)]

mod ancillary;
pub(crate) mod call;
mod child;
mod control;
mod deadline;
mod durable;
mod exact;
mod file;
mod futex;
mod message;
mod message_vectored;
mod net;
mod path;
mod pipe;
mod poll;
mod raw;
mod rw_flags;
mod socket;
mod sockopt;
pub(crate) mod space;
mod splice;
pub(crate) mod stat;
mod stream;
mod stream_vectored;
mod time;
mod transfer;
mod vectored;
#[cfg(iocp)]
mod windows;
mod xattr;

/// The accessors of every operation that has one descriptor and one buffer.
macro_rules! transfer_accessors {
    ($($op:ident),*) => {$(
        impl<F, B> $op<F, B> {
            /// The buffer.
            pub fn buf(&self) -> &B {
                &self.transfer.buf
            }

            /// The buffer, to be filled or replaced between two flights. The next one begins with
            /// the whole of it.
            pub fn buf_mut(&mut self) -> &mut B {
                self.transfer.progress.start_over();
                &mut self.transfer.buf
            }

            /// The descriptor.
            pub fn fd(&self) -> &F {
                &self.transfer.fd
            }

            /// The bytes that `advance` has counted since the last `finish` that succeeded.
            pub fn advanced(&self) -> usize {
                self.transfer.progress.done()
            }

            /// Descriptor and buffer.
            pub fn into_parts(self) -> (F, B) {
                (self.transfer.fd, self.transfer.buf)
            }
        }

        impl<F, B> $crate::buf::IntoInner for $op<F, B> {
            type Inner = B;

            fn into_inner(self) -> B {
                self.transfer.buf
            }
        }
    )*};
}
use transfer_accessors;

pub use self::ancillary::{RecvMsg, SendMsg};
pub use self::child::{ChildExit, WaitId};
pub use self::control::Nop;
pub use self::deadline::Deadline;
pub use self::durable::{Sync, SyncFlags, SyncRange};
pub use self::exact::{
    Exact, ReadExact, ReadExactAt, ReadVectoredExact, ReadVectoredExactAt, RecvExact,
    RecvVectoredExact, SendAll, SendVectoredAll, Transfer, WriteAll, WriteAllAt, WriteVectoredAll,
    WriteVectoredAllAt,
};
pub use self::file::{Close, OpenAt, OpenOptions, ReadAt, WriteAt};
pub use self::futex::{FutexWait, FutexWake, FutexWord};
pub use self::message::{Received, RecvFrom, SendTo};
pub use self::message_vectored::{RecvFromVectored, RecvVectored, SendToVectored, SendVectored};
pub use self::net::{Accept, Accepted, Connect, MsgFlags, Recv, Send};
pub use self::path::{HardLink, MakeDir, Rename, Symlink, Unlink};
pub use self::pipe::Pipe;
pub use self::poll::{Poll, PollEvents};
pub use self::raw::Raw;
pub use self::rw_flags::RwFlags;
pub use self::socket::{Bind, Listen, Shutdown, Socket};
pub use self::sockopt::{GetSockOpt, Linger, OptionValue, SetSockOpt, SockOpt, SocketOptions};
pub use self::space::{Advice, Advise, Allocate, Truncate};
pub use self::splice::{Splice, Tee};
pub use self::stat::{DirectIo, FileKind, Metadata, Stat, StatAt};
pub use self::stream::{Read, Write};
pub use self::stream_vectored::{ReadVectored, WriteVectored};
pub use self::time::{Timeout, TimeoutName, TimeoutUpdate, Timespec};
pub use self::vectored::{ReadVectoredAt, WriteVectoredAt};
#[cfg(iocp)]
pub use self::windows::{ConnectNamedPipe, Disconnect, TransmitFile};
pub use self::xattr::{GetPathXattr, GetXattr, SetPathXattr, SetXattr};

use self::call::Call;
use crate::driver::Entry;
use crate::error::Refusal;
use crate::exact::GoesOn;
#[cfg(io_uring)]
use crate::key::Key;
use crate::loans::Links;
#[cfg(io_uring)]
use crate::sys::io_uring::{Encoded, Pushes, Sqe};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What every operation begins with: the way from a thin pointer to its functions, and what a scope
/// must know of an operation that it was lent.
#[repr(C)]
pub struct OpHead {
    table: &'static OpTable,
    /// Its neighbours among a scope's loans: see [`Loans`](crate::loans::Loans).
    pub(crate) links: Links,
    /// What the lender wants to be told with its completions.
    pub(crate) token: usize,
}

const _: () = assert!(
    size_of::<OpHead>() <= 48,
    "the head is part of every operation"
);

impl OpHead {
    pub(crate) const fn new<O: Op>() -> Self {
        Self {
            table: const { &OpTable::of::<O>() },
            links: Links::UNLINKED,
            token: 0,
        }
    }

    /// The functions of an operation.
    ///
    /// # Safety
    /// `head` points to the head of an operation that lives.
    #[inline]
    pub(crate) unsafe fn table(head: NonNull<Self>) -> &'static OpTable {
        // SAFETY: (D2) the caller's contract; never written after it was made.
        unsafe { (*head.as_ptr()).table }
    }
}

impl fmt::Debug for OpHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpHead").finish_non_exhaustive()
    }
}

/// See [`encode`].
#[cfg(io_uring)]
type Encode = unsafe fn(NonNull<OpHead>, *mut Sqe, Key, &mut Pushes) -> Encoded;

/// The functions of one operation type, for pointers that have lost it.
pub(crate) struct OpTable {
    /// The operation in plain words.
    #[cfg(any(readiness, iocp, sim, test))]
    pub(crate) describe: unsafe fn(NonNull<OpHead>) -> Result<Call, Refusal>,
    /// The operation as a submission entry, written in place.
    #[cfg(io_uring)]
    pub(crate) encode: Encode,
    /// Its deadline, if the backend keeps one: of an operation that was just described.
    pub(crate) deadline: Option<unsafe fn(NonNull<OpHead>) -> *const Timespec>,
    /// Gives up what the last entry names.
    pub(crate) dispose: unsafe fn(NonNull<OpHead>, Entry),
    /// Drops the operation in place.
    pub(crate) drop: unsafe fn(NonNull<OpHead>),
    /// Whether a result that is no error is a descriptor.
    pub(crate) makes_fd: bool,
    /// Whether a cancellation leaves everything as it was.
    pub(crate) cancellable: bool,
    /// How it goes on after a short result, if it does.
    pub(crate) goes_on: Option<GoesOn>,
}

impl OpTable {
    const fn of<O: Op>() -> Self {
        Self {
            #[cfg(any(readiness, iocp, sim, test))]
            describe: describe::<O>,
            #[cfg(io_uring)]
            encode: encode::<O>,
            deadline: if O::DEADLINE {
                Some(deadline::<O>)
            } else {
                None
            },
            dispose: dispose::<O>,
            drop: drop_in_place::<O>,
            makes_fd: O::MAKES_FD,
            cancellable: O::CANCELLABLE,
            goes_on: O::GOES_ON,
        }
    }
}

/// # Safety
/// `head` points to an `O` that is not in flight.
#[cfg(any(readiness, iocp, sim, test))]
unsafe fn describe<O: OpCode>(head: NonNull<OpHead>) -> Result<Call, Refusal> {
    // SAFETY: (D2) the caller's contract; an `O` begins with its head.
    unsafe { O::describe(head.cast().as_ptr()) }
}

/// # Safety
/// `head` points to an `O` that is not in flight, `slot` to a free submission entry.
#[cfg(io_uring)]
#[inline(always)]
pub(crate) unsafe fn encode<O: OpCode>(
    head: NonNull<OpHead>,
    slot: *mut Sqe,
    key: Key,
    pushes: &mut Pushes,
) -> Encoded {
    // SAFETY: (D2) the caller's contract; an `O` begins with its head.
    let call = match unsafe { O::describe(head.cast().as_ptr()) } {
        Ok(call) => call,
        Err(refusal) => return Encoded::Refused(refusal),
    };
    let key = key.with_fd(O::MAKES_FD);
    // SAFETY: (D2) made just now, from an operation that is not in flight.
    let sqe = match unsafe { crate::sys::io_uring::encode(&call, key, pushes) } {
        Ok(Some(sqe)) => sqe,
        Ok(None) => return Encoded::Inline,
        Err(refusal) => return Encoded::Refused(refusal),
    };
    if O::MAKES_FD {
        pushes.makes_fds = true;
    }
    // SAFETY: (U1) `slot` is a free entry of the submission queue.
    unsafe { slot.write(sqe) };
    if O::DEADLINE {
        Encoded::EntryUntil
    } else {
        Encoded::of(&sqe)
    }
}

/// # Safety
/// `head` points to an `O` that was just described.
unsafe fn deadline<O: OpCode>(head: NonNull<OpHead>) -> *const Timespec {
    // SAFETY: (D2) the caller's contract; an `O` begins with its head.
    unsafe { O::deadline(head.cast().as_ptr()) }
}

/// # Safety
/// `head` points to an `O`, and `entry` is the last one of its last flight.
unsafe fn dispose<O: Op>(head: NonNull<OpHead>, entry: Entry) {
    // SAFETY: (D2) the caller's contract: it is not in flight any more.
    let op = unsafe { head.cast::<O>().as_mut() };
    // SAFETY: (D3) the caller's contract.
    unsafe { op.dispose(entry) };
}

/// # Safety
/// `head` points to an `O` that is not in flight, and that nobody uses again.
unsafe fn drop_in_place<O>(head: NonNull<OpHead>) {
    // SAFETY: (D2) the caller's contract; an `O` begins with its head.
    unsafe { head.cast::<O>().drop_in_place() };
}

/// An operation of this crate.
///
/// Sealed: a backend knows what each one means. An opcode that is not modelled goes through
/// [`Raw`].
///
/// # Safety
/// The type is `repr(C)` and begins with an [`OpHead`] made for it.
pub unsafe trait OpCode: sealed::Describe + Sized {}

pub(crate) mod sealed {
    use super::{Call, GoesOn, Refusal, Timespec};

    /// An operation in plain words.
    pub trait Describe {
        /// Whether a result that is no error is a new descriptor.
        const MAKES_FD: bool = false;
        /// Whether the safe layer may cancel it: what it names is then as it was before.
        const CANCELLABLE: bool = true;
        /// How it goes on after a short result, if it does.
        #[allow(private_interfaces, reason = "sealed")]
        const GOES_ON: Option<GoesOn> = None;
        /// How the driver follows it until its deadline, if no backend's way stops it wherever it
        /// is.
        #[allow(private_interfaces, reason = "sealed")]
        const FOLLOWED: Option<GoesOn> = Self::GOES_ON;
        /// Whether it has a deadline.
        const LIMITED: bool = false;
        /// Whether that is kept by the backend.
        const DEADLINE: bool = false;

        /// What is asked of the kernel, with the addresses that hold for this flight.
        ///
        /// Pointers into the operation are made here, from `this`, and are valid until the
        /// operation is next touched.
        ///
        /// # Safety
        /// `this` points to an operation that is not in flight, with the provenance of the whole
        /// of it.
        unsafe fn describe(this: *mut Self) -> Result<Call, Refusal>;

        /// Where the deadline of one that was just described stands, on the suspend-aware clock.
        ///
        /// # Safety
        /// `this` points to an operation, with the provenance of the whole of it.
        unsafe fn deadline(_this: *const Self) -> *const Timespec {
            std::ptr::null()
        }
    }
}

/// An operation with a typed output.
pub trait Op: OpCode {
    /// What the operation is directed at.
    type Fd;
    /// What it gives when it succeeds.
    type Output;

    /// Turns the last entry into the typed output, which owns what it names; sets the length of a
    /// buffer that was read into.
    ///
    /// # Errors
    /// As [`Entry::into_result`], or what the operation documents.
    ///
    /// # Safety
    /// `entry` is the last entry of the last flight of this very operation.
    unsafe fn finish(&mut self, entry: Entry) -> io::Result<Self::Output>;

    /// Gives up what the entry names: a descriptor that was accepted or opened is closed.
    ///
    /// Exactly one of `finish` and `dispose` is called for a completion that names something.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Cwd, Driver};
    /// use completeio_driver::op::{Op, OpenAt};
    ///
    /// let mut op = OpenAt::read(Cwd, c"Cargo.toml");
    /// let mut entry = None;
    /// {
    ///     let mut driver = Driver::new()?;
    ///     driver.try_push(&mut op, 0).unwrap();
    ///     // SAFETY: `op` outlives the driver and is not touched while it has it.
    ///     unsafe { driver.submit(None, &mut entry)? };
    /// }
    /// // SAFETY: the entry is the operation's last one. Nobody wants the file: it is closed.
    /// unsafe { op.dispose(entry.unwrap()) };
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Safety
    /// As [`finish`](Self::finish).
    unsafe fn dispose(&mut self, entry: Entry) {
        if planted!("disposed-leaks") {
            return;
        }
        drop(entry.into_fd());
    }
}

/// An operation to be pushed: a thin pointer to it, and its user data.
///
/// Made of `(&mut op, user_data)`; queues of it may mix operations of any type.
///
/// ```
/// use completeio_driver::op::{Nop, OpObject};
/// use std::collections::VecDeque;
///
/// let mut op = Nop::new();
/// let queue: VecDeque<OpObject<'_>> = VecDeque::from([(&mut op, 7).into()]);
/// ```
pub struct OpObject<'arena> {
    head: NonNull<OpHead>,
    user_data: usize,
    _lent: PhantomData<&'arena mut OpHead>,
}

impl<'arena> OpObject<'arena> {
    /// An operation without its loan: the way to push one again while the driver lives.
    ///
    /// ```
    /// use completeio_driver::driver::{CompleteIo, Driver, Entry};
    /// use completeio_driver::op::{Nop, OpObject};
    /// use std::ptr::NonNull;
    ///
    /// let mut op = Nop::new();
    /// let op = NonNull::from(&mut op); // Reached through this pointer alone from here on.
    /// let mut driver = Driver::new()?;
    /// for round in 0..3 {
    ///     // SAFETY: out of flight, for its last entry came; it outlives the driver.
    ///     let object = unsafe { OpObject::from_ptr(op, round) };
    ///     driver.try_push_dyn(object).unwrap();
    ///     let mut entry: Option<Entry> = None;
    ///     // SAFETY: the operation stays where it is, and nobody touches it.
    ///     unsafe { driver.submit(None, &mut entry)? };
    ///     assert_eq!(entry.unwrap().user_data(), round);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Safety
    /// The operation is not in flight now, and stays where it is, untouched, from its push until
    /// its last entry came out, or until the driver is gone.
    pub unsafe fn from_ptr<O: OpCode + 'arena>(op: NonNull<O>, user_data: usize) -> Self {
        Self {
            head: op.cast(),
            user_data,
            _lent: PhantomData,
        }
    }

    /// What its entries will carry.
    pub fn user_data(&self) -> usize {
        self.user_data
    }

    /// The operation's head: lent for `'arena`, and not in flight before its push.
    #[inline]
    pub(crate) fn head(&self) -> NonNull<OpHead> {
        self.head
    }
}

impl<'arena, O: OpCode + 'arena> From<(&'arena mut O, usize)> for OpObject<'arena> {
    #[inline]
    fn from((op, user_data): (&'arena mut O, usize)) -> Self {
        Self {
            head: NonNull::from(op).cast(),
            user_data,
            _lent: PhantomData,
        }
    }
}

impl fmt::Debug for OpObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpObject")
            .field("op", &self.head)
            .field("user_data", &self.user_data)
            .finish()
    }
}
