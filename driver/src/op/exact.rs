//! Transfers that go on until they are whole.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::Call;
use super::{
    Op, OpCode, OpHead, Read, ReadAt, ReadVectored, ReadVectoredAt, Recv, RecvVectored, Send,
    SendVectored, Write, WriteAt, WriteVectored, WriteVectoredAt, sealed::Describe,
};
use crate::buf::{IntoInner, IoBuf, IoBufMut, IoBufs, IoBufsMut};
use crate::driver::Entry;
use crate::error::Refusal;
use crate::exact::{GoesOn, Start};
use crate::fd::{Descriptor, Target};
use std::fmt;
use std::io;
use std::ptr::NonNull;

/// A transfer that moves all of its buffers, or fails.
///
/// The driver sends the rest after a short result, in as many flights as it takes, and completes
/// once: no short result is ever taken for success. It splits what one call does not take: more
/// than 0x7fff_f000 bytes, more than 1,024 buffers (but for a [`SendVectored`], which gives
/// `EMSGSIZE` then).
///
/// Completes with the number of all bytes. When it fails, [`advanced`](Self::advanced) says how far
/// it came, and a buffer that grows (`Vec`) has grown by so much.
///
/// Errors: those of the inner operation, unchanged, and
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when a read or a receive meets the end before
/// its room is full, [`WriteZero`](io::ErrorKind::WriteZero) when a write moves nothing. A
/// cancellation that reaches it between two flights is `ECANCELED`. A plain [`Entry::result`] is
/// that of the last flight only.
///
/// Made for what is a stream of bytes: on datagrams each flight is one datagram. On a stream that
/// others use at the same time their bytes may come between two flights.
///
/// ```
/// use completeio_driver::driver::{AsFd, Driver};
/// use completeio_driver::op::{Exact, Recv};
/// use completeio_driver::scope::Event;
/// use std::{io::Write, os::unix::net::UnixStream, thread};
///
/// let (ours, mut theirs) = UnixStream::pair()?;
/// let peer = thread::spawn(move || {
///     theirs.write_all(b"in two ")?;
///     theirs.write_all(b"pieces")
/// });
/// let mut op = Exact::new(Recv::new(ours.as_fd(), [0; 13]));
/// let mut driver = Driver::new()?;
/// let received = driver.scope(|s| {
///     let ticket = s.try_lend(&mut op, 0).unwrap();
///     let mut event = None;
///     s.submit(None, &mut event)?;
///     ticket.redeem(event.and_then(Event::done).unwrap()).unwrap().0
/// })??;
/// assert_eq!((received, op.get_ref().buf()), (13, b"in two pieces"));
/// # peer.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[repr(C)]
pub struct Exact<O> {
    op: O,
    /// What a failure has left behind.
    moved: usize,
}

/// A [`ReadAt`] that fills its buffer.
pub type ReadExactAt<F, B> = Exact<ReadAt<F, B>>;
/// A [`WriteAt`] of its whole buffer.
pub type WriteAllAt<F, B> = Exact<WriteAt<F, B>>;
/// A [`Read`] that fills its buffer.
pub type ReadExact<F, B> = Exact<Read<F, B>>;
/// A [`Write`] of its whole buffer.
pub type WriteAll<F, B> = Exact<Write<F, B>>;
/// A [`Recv`] that fills its buffer.
pub type RecvExact<F, B> = Exact<Recv<F, B>>;
/// A [`Send`] of its whole buffer.
pub type SendAll<F, B> = Exact<Send<F, B>>;
/// A [`ReadVectored`] that fills its buffers.
pub type ReadVectoredExact<F, V> = Exact<ReadVectored<F, V>>;
/// A [`WriteVectored`] of all of its buffers.
pub type WriteVectoredAll<F, V> = Exact<WriteVectored<F, V>>;
/// A [`RecvVectored`] that fills its buffers.
pub type RecvVectoredExact<F, V> = Exact<RecvVectored<F, V>>;
/// A [`SendVectored`] of all of its buffers.
pub type SendVectoredAll<F, V> = Exact<SendVectored<F, V>>;
/// A [`ReadVectoredAt`] that fills its buffers.
pub type ReadVectoredExactAt<F, V> = Exact<ReadVectoredAt<F, V>>;
/// A [`WriteVectoredAt`] of all of its buffers.
pub type WriteVectoredAllAt<F, V> = Exact<WriteVectoredAt<F, V>>;

/// An operation that may move less than it was given: what [`Exact`] takes.
///
/// Sealed.
pub trait Transfer: Op<Output = usize> + sealed::Part {}

mod sealed {
    use super::{Target, io};

    pub trait Part {
        /// What it means when nothing was moved, though there was something to move.
        const NOTHING: io::ErrorKind;
        /// The buffer, or the buffers.
        type Buffers;

        fn buffers(&self) -> &Self::Buffers;
        fn buffers_mut(&mut self) -> &mut Self::Buffers;
        fn target(&self) -> Target;
        /// The bytes that were to be moved when the last flight began.
        fn rest(&self) -> usize;
        /// Counts `n` bytes of the last flight.
        fn count(&mut self, n: usize);
        /// Ends it for good: what the flights before the last have moved.
        ///
        /// # Safety
        /// The last flight is over.
        unsafe fn give_up(&mut self) -> usize;
    }
}

impl<O: Transfer> Exact<O> {
    /// Makes `op` exact. It has not been pushed, or begins anew.
    pub fn new(op: O) -> Self {
        let mut exact = Self { op, moved: 0 };
        // SAFETY: (D2) an operation begins with its head; this one is `Exact`'s from here on.
        unsafe {
            (&raw mut exact.op)
                .cast::<OpHead>()
                .write(OpHead::new::<Self>())
        };
        exact
    }
}

impl<O: Transfer> Exact<O> {
    /// The operation inside.
    pub fn get_ref(&self) -> &O {
        &self.op
    }

    /// The buffer or the buffers.
    pub fn buf(&self) -> &O::Buffers {
        self.op.buffers()
    }

    /// The buffer or the buffers, to be filled or replaced between two flights. The next one begins
    /// with the whole of them.
    pub fn buf_mut(&mut self) -> &mut O::Buffers {
        self.op.buffers_mut()
    }

    /// How many bytes had been moved when it last failed.
    pub fn advanced(&self) -> usize {
        self.moved
    }

    /// The operation inside, as it was before: it does not go on any more.
    pub fn into_operation(self) -> O {
        let mut op = self.op;
        // SAFETY: (D2) an operation begins with its head; this one is its own again.
        unsafe { (&raw mut op).cast::<OpHead>().write(OpHead::new::<O>()) };
        op
    }
}

impl<O: IntoInner> IntoInner for Exact<O> {
    type Inner = O::Inner;

    fn into_inner(self) -> O::Inner {
        self.op.into_inner()
    }
}

// SAFETY: (D2) `repr(C)`, and begins with an operation, which begins with its head.
unsafe impl<O: Transfer> OpCode for Exact<O> {}

impl<O: Transfer> Describe for Exact<O> {
    #[allow(private_interfaces, reason = "sealed")]
    const GOES_ON: Option<GoesOn> = Some(GoesOn {
        begin: begin::<O>,
        moved: moved::<O>,
    });

    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) the caller's contract; it begins with the operation inside.
        unsafe { O::describe(this.cast()) }
    }
}

/// # Safety
/// (D2) `head` is that of an `Exact<O>` that is not in flight.
unsafe fn begin<O: Transfer>(head: NonNull<OpHead>) -> Start {
    // SAFETY: (D2) the caller's contract.
    let exact = unsafe { head.cast::<Exact<O>>().as_ref() };
    Start::at(exact.op.target())
}

/// # Safety
/// (D2) `head` is that of an `Exact<O>` whose flight is over, and moved `result` bytes.
unsafe fn moved<O: Transfer>(head: NonNull<OpHead>, result: i32) -> bool {
    // SAFETY: (D2) the caller's contract.
    let exact = unsafe { head.cast::<Exact<O>>().as_mut() };
    let n = usize::try_from(result).unwrap_or(0);
    let is_short = n < exact.op.rest() && !planted!("part-for-the-whole");
    if is_short {
        exact.op.count(n);
    }
    is_short
}

impl<O: Transfer> Op for Exact<O> {
    type Fd = O::Fd;
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        let error = match entry.result() {
            Ok(n) if n >= self.op.rest() || planted!("part-for-the-whole") => {
                // SAFETY: (D3) the caller's contract.
                return unsafe { self.op.finish(entry) };
            }
            Ok(_) => O::NOTHING.into(),
            Err(error) => error,
        };
        // SAFETY: (D3) the last entry is here.
        self.moved = unsafe { self.op.give_up() };
        Err(error)
    }
}

impl<O: fmt::Debug> fmt::Debug for Exact<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exact").field(&self.op).finish()
    }
}

macro_rules! part {
    ($op:ident<$buffer:ident: $bound:ident>, $nothing:ident, $buf:ident, $buf_mut:ident) => {
        impl<F: Descriptor, $buffer: $bound> Transfer for $op<F, $buffer> {}

        impl<F: Descriptor, $buffer: $bound> sealed::Part for $op<F, $buffer> {
            const NOTHING: io::ErrorKind = io::ErrorKind::$nothing;
            type Buffers = $buffer;

            fn buffers(&self) -> &$buffer {
                self.$buf()
            }

            fn buffers_mut(&mut self) -> &mut $buffer {
                self.$buf_mut()
            }

            fn target(&self) -> Target {
                self.fd().target()
            }

            fn rest(&self) -> usize {
                self.transfer.progress.rest()
            }

            fn count(&mut self, n: usize) {
                self.transfer.progress.advance(n);
            }

            unsafe fn give_up(&mut self) -> usize {
                part!($nothing self)
            }
        }
    };
    (UnexpectedEof $self:ident) => {
        // SAFETY: the caller's contract.
        unsafe { $self.transfer.give_up_read() }
    };
    (WriteZero $self:ident) => {
        $self.transfer.progress.give_up()
    };
}
part!(ReadAt<B: IoBufMut>, UnexpectedEof, buf, buf_mut);
part!(WriteAt<B: IoBuf>, WriteZero, buf, buf_mut);
part!(Read<B: IoBufMut>, UnexpectedEof, buf, buf_mut);
part!(Write<B: IoBuf>, WriteZero, buf, buf_mut);
part!(Recv<B: IoBufMut>, UnexpectedEof, buf, buf_mut);
part!(Send<B: IoBuf>, WriteZero, buf, buf_mut);
part!(ReadVectored<V: IoBufsMut>, UnexpectedEof, bufs, bufs_mut);
part!(WriteVectored<V: IoBufs>, WriteZero, bufs, bufs_mut);
part!(RecvVectored<V: IoBufsMut>, UnexpectedEof, bufs, bufs_mut);
part!(SendVectored<V: IoBufs>, WriteZero, bufs, bufs_mut);
part!(ReadVectoredAt<V: IoBufsMut>, UnexpectedEof, bufs, bufs_mut);
part!(WriteVectoredAt<V: IoBufs>, WriteZero, bufs, bufs_mut);
