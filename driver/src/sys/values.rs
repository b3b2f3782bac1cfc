//! Values of socket options, as far as all systems have them in the same form.
#![allow(unsafe_code, reason = "the promise of a representation")]

use super::fd::RawFd;
use super::options::RawLinger;
use super::plain;
use crate::fd::Target;
use crate::op::call::PlainCall;
use std::io;
use std::time::Duration;

/// A value as the kernel reads and writes it.
///
/// # Safety
/// It is integers or bytes: any bytes are one.
pub(crate) unsafe trait RawValue: Copy {}

// SAFETY: (K1) an integer.
unsafe impl RawValue for i32 {}
// SAFETY: (K1) an integer.
unsafe impl RawValue for u32 {}
// SAFETY: (K1) bytes.
unsafe impl<const N: usize> RawValue for [u8; N] {}
// SAFETY: (K1) two integers.
unsafe impl RawValue for RawLinger {}
// SAFETY: (K1) integers.
unsafe impl RawValue for RawCredentials {}

/// Process, user and group.
pub(crate) type RawCredentials = [u32; 3];

/// One whose bytes are all zero.
pub(crate) fn zeroed<T: RawValue>() -> T {
    // SAFETY: (K1) any bytes are one.
    unsafe { std::mem::zeroed() }
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(time: Duration) -> u64 {
    let up = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(up)
}

/// Sets an option at once.
pub(crate) fn set<T: RawValue>(fd: RawFd, level: i32, name: i32, value: T) -> io::Result<()> {
    let value = &raw const value;
    let call = PlainCall::SetOption {
        target: Target::Plain(fd),
        level,
        name,
        value: value.cast(),
        len: len_of::<T>(),
    };
    // SAFETY: (K1) the kernel reads a local.
    done(unsafe { plain::perform(fd, call) })
}

/// The size of a value, in bytes.
pub(crate) fn len_of<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("values of options are small")
}

/// A result of 0, or an error number, negated.
pub(crate) fn done(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(())
}
