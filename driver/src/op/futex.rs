//! Waiting for a word of memory, and waking who does.
#![allow(unsafe_code, reason = "operations are described through raw pointers")]

use super::call::{Call, FutexCall, PlainCall};
use super::{Op, OpCode, OpHead, sealed::Describe};
use crate::buf::IntoInner;
use crate::driver::Entry;
use crate::error::Refusal;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Holds a word that threads, or processes, wait for: a reference or an [`Arc`], so that the word
/// stays where it is for as long as an operation names it.
///
/// Sealed. Memory that was mapped comes as a reference: [`AtomicU32::from_ptr`].
pub trait FutexWord: sealed::Word {}

mod sealed {
    use super::AtomicU32;

    pub trait Word {
        fn word(&self) -> &AtomicU32;
    }
}

impl FutexWord for &AtomicU32 {}

impl sealed::Word for &AtomicU32 {
    fn word(&self) -> &AtomicU32 {
        self
    }
}

impl FutexWord for Arc<AtomicU32> {}

impl sealed::Word for Arc<AtomicU32> {
    fn word(&self) -> &AtomicU32 {
        self
    }
}

/// All bits: each wake means each wait.
const ANY: u32 = u32::MAX;

/// Waits until a thread wakes those that wait for a word: with [`FutexWake`], or `futex` itself.
///
/// When it is handed over, the kernel compares the word to what is expected, and waits only if they
/// are equal: in one step with regard to a wake, so that none between both is missed. Else it
/// completes with `EAGAIN` ([`WouldBlock`](io::ErrorKind::WouldBlock)): the word has changed
/// already. The word is not looked at again. It is the program's to change it before a wake; and to
/// look at it after one, for a wake says no more than that somebody has called.
///
/// One that is cancelled takes no wake from others; a wake that came first is its result. One that
/// is dropped with its driver may have taken one.
///
/// Errors: as [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html), `FUTEX_WAIT_BITSET`:
/// `EAGAIN`, and `EINVAL` when there are no [`bits`](Self::bits).
///
/// io_uring: `IORING_OP_FUTEX_WAIT`, Linux 6.7; before that it is refused
/// ([`Refusal::Unsupported`](crate::driver::Refusal::Unsupported)). readiness: refused. No
/// descriptor tells of a wake, so a thread would have to block for each wait: of a few threads the
/// last is taken by the wait whose waker is queued behind it. One thread for many words
/// (`futex_waitv`) learns of one wake where two have come at once, and knows no bits. Let such a
/// thread, of the program's own, ring a [`Notifier`](crate::driver::Notifier).
///
/// ```
/// use completeio_driver::driver::Driver;
/// use completeio_driver::op::FutexWait;
/// use completeio_driver::scope::Event;
/// use std::io::ErrorKind;
/// use std::sync::atomic::AtomicU32;
///
/// let word = AtomicU32::new(7);
/// let mut op = FutexWait::new(&word, 6);
/// let mut driver = Driver::new()?;
/// let result = driver.scope(|s| {
///     let ticket = s.try_lend(&mut op, 0).unwrap();
///     let mut event = None;
///     s.submit(None, &mut event)?;
///     ticket.redeem(event.and_then(Event::done).unwrap()).unwrap().0
/// })?;
/// // It is not 6 any more; or there are no such waits here.
/// let kind = result.unwrap_err().kind();
/// assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::Unsupported));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct FutexWait<W> {
    head: OpHead,
    word: W,
    expected: u32,
    bits: u32,
    shared: bool,
}

impl<W: FutexWord> FutexWait<W> {
    /// Waits for a wake, as long as `word` is `expected`.
    pub fn new(word: W, expected: u32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            word,
            expected,
            bits: ANY,
            shared: false,
        }
    }

    /// Sets what the word is expected to be in the next flight.
    pub fn set_expected(&mut self, expected: u32) {
        self.expected = expected;
    }
}

/// Wakes those that wait for a word: [`FutexWait`]s, and threads in `futex`.
///
/// Never waits. Completes with how many it has woken: at most so many as were asked for. In which
/// order they had come plays no part.
///
/// Errors: as [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html), `FUTEX_WAKE_BITSET`:
/// `EINVAL` when there are no [`bits`](Self::bits).
///
/// io_uring: `IORING_OP_FUTEX_WAKE`, Linux 6.7; before that a call in place. readiness: a call in
/// place.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Driver};
/// use completeio_driver::op::{FutexWake, Op};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let word = Arc::new(AtomicU32::new(0));
/// let mut op = FutexWake::new(word.clone(), 1);
/// let mut entry = None;
/// {
///     let mut driver = Driver::new()?;
///     word.store(1, Ordering::Release);
///     driver.try_push(&mut op, 0).unwrap();
///     // SAFETY: `op` outlives the driver and is not touched while it has it.
///     unsafe { driver.submit(None, &mut entry)? };
/// }
/// // SAFETY: the entry is the operation's last one.
/// assert_eq!(unsafe { op.finish(entry.unwrap())? }, 0, "nobody waits");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct FutexWake<W> {
    head: OpHead,
    word: W,
    count: u32,
    bits: u32,
    shared: bool,
}

impl<W: FutexWord> FutexWake<W> {
    /// Wakes at most `count` of those that wait for `word`: `u32::MAX` means all of them.
    pub fn new(word: W, count: u32) -> Self {
        Self {
            head: OpHead::new::<Self>(),
            word,
            count,
            bits: ANY,
            shared: false,
        }
    }

    /// Sets how many the next flight wakes at most.
    pub fn set_count(&mut self, count: u32) {
        self.count = count;
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<W: FutexWord> OpCode for FutexWait<W> {}

impl<W: FutexWord> Describe for FutexWait<W> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::FutexWait {
            call: op.call(),
            expected: op.expected,
        })
    }
}

impl<W: FutexWord> Op for FutexWait<W> {
    type Fd = ();
    type Output = ();

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<()> {
        entry.into_result().map(drop)
    }
}

// SAFETY: (D2) `repr(C)` with its head first.
unsafe impl<W: FutexWord> OpCode for FutexWake<W> {}

impl<W: FutexWord> Describe for FutexWake<W> {
    unsafe fn describe(this: *mut Self) -> Result<Call, Refusal> {
        // SAFETY: (D2) `this` is valid and not in flight.
        let op = unsafe { &*this };
        Ok(Call::Plain(PlainCall::FutexWake {
            call: op.call(),
            // The kernel counts in an `int`.
            count: i32::try_from(op.count).unwrap_or(i32::MAX),
        }))
    }
}

impl<W: FutexWord> Op for FutexWake<W> {
    type Fd = ();
    type Output = usize;

    unsafe fn finish(&mut self, entry: Entry) -> io::Result<usize> {
        entry.into_result()
    }
}

macro_rules! on_a_word {
    ($($op:ident)*) => {$(
        impl<W: FutexWord> $op<W> {
            /// A wake means those waits only that have one of its bits; at first both have all.
            pub fn bits(mut self, bits: u32) -> Self {
                self.bits = bits;
                self
            }

            /// Whether waits and wakes of other processes are meant, which have mapped the same
            /// memory; at first those of this process are, which is cheaper. A wait and its wake
            /// must agree.
            pub fn shared(mut self, yes: bool) -> Self {
                self.shared = yes;
                self
            }

            /// The word.
            pub fn word(&self) -> &AtomicU32 {
                self.word.word()
            }

            fn call(&self) -> FutexCall {
                FutexCall {
                    word: self.word.word().as_ptr(),
                    bits: self.bits,
                    shared: self.shared,
                }
            }
        }

        impl<W> IntoInner for $op<W> {
            type Inner = W;

            fn into_inner(self) -> W {
                self.word
            }
        }
    )*};
}
on_a_word!(FutexWait FutexWake);
