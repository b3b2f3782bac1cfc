//! Words of memory that threads wait for.
//!
//! [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html)
#![allow(unsafe_code, reason = "system calls")]

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::plain::result;
use crate::op::call::FutexCall;

/// Wakes at most `count`, and says how many; a negative result is an error number.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn wake(call: FutexCall, count: i32) -> i32 {
    if count == 0 {
        return 0; // The call would wake one.
    }
    let scope = if call.shared {
        0
    } else {
        libc::FUTEX_PRIVATE_FLAG
    };
    let operation = libc::FUTEX_WAKE_BITSET | scope;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: (K1) the address names a queue: what is there is neither read nor written.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            call.word,
            operation,
            count,
            nothing,
            nothing,
            call.bits,
        )
    };
    result(isize::try_from(woken).expect("a count, or -1"))
}

/// Only Linux has words that processes wait for.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn wake(_call: FutexCall, _count: i32) -> i32 {
    -libc::ENOSYS
}
