//! A message as the platform's C library describes it: where its parts, its address and its control
//! data lie.
#![allow(unsafe_code, reason = "reads and writes the C representation")]
#![allow(
    clippy::unnecessary_cast,
    reason = "counts and lengths are of another type in each C library"
)]

use super::address::{ROOM, RawAddressLen};
use crate::op::call::Pieces;
#[cfg(readiness)]
use std::ptr;

/// The description that the kernel reads, and writes its answer into.
pub(crate) type RawMessage = libc::msghdr;

/// A flag of one call: it fails where it would wait.
pub(crate) const DONTWAIT: i32 = libc::MSG_DONTWAIT;
/// A flag of a send: the kernel goes on with the bytes when the call has returned.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const ZEROCOPY: i32 = 0x400_0000; // Not every C library has a name for it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) const ZEROCOPY: i32 = 0;

pub(crate) fn empty() -> RawMessage {
    // SAFETY: (A1) a `msghdr` is integers and pointers: all zeroes are one.
    unsafe { std::mem::zeroed() }
}

#[allow(
    clippy::useless_conversion,
    reason = "the length is of another type elsewhere"
)]
pub(crate) fn of(pieces: Pieces) -> RawMessage {
    let mut raw = empty();
    if pieces.addr_len > 0 {
        raw.msg_name = pieces.addr.cast();
        raw.msg_namelen = pieces.addr_len;
    }
    raw.msg_iov = pieces.places.cast_mut().cast();
    raw.msg_iovlen = pieces.count as _;
    if pieces.control_len > 0 {
        raw.msg_control = pieces.control.cast();
        let len = pieces.control_len.try_into();
        raw.msg_controllen = len.expect("operations have less room");
    }
    raw
}

/// How long the address is that the kernel has written.
pub(crate) fn addr_len(raw: &RawMessage) -> RawAddressLen {
    raw.msg_namelen.min(ROOM)
}

/// How much control data the kernel says that it has written.
pub(crate) fn control_len(raw: &RawMessage) -> usize {
    raw.msg_controllen as usize
}

/// The flags that the kernel has answered with.
pub(crate) fn flags(raw: &RawMessage) -> i32 {
    raw.msg_flags
}

/// How many parts it has.
#[cfg(any(readiness, sim))]
#[allow(
    clippy::useless_conversion,
    reason = "the count is of another type elsewhere"
)]
pub(crate) fn count(raw: &RawMessage) -> usize {
    usize::try_from(raw.msg_iovlen).expect("no more than a call takes")
}

/// Makes ready for a call that goes on after `done` of `len` bytes, of earlier calls of the same
/// flight: these bytes are skipped, and control data is not sent again.
///
/// # Safety
/// `raw` describes parts of `len` bytes together, of which earlier calls of this may have skipped
/// some; nobody else touches it or its parts' places now.
#[cfg(readiness)]
pub(crate) unsafe fn skip(raw: *mut RawMessage, len: u32, done: u32) {
    if done == 0 {
        return;
    }
    // SAFETY: (D1) the caller's contract.
    let raw = unsafe { &mut *raw };
    raw.msg_control = ptr::null_mut();
    raw.msg_controllen = 0;
    // SAFETY: (D1) the caller's contract: so many places are there.
    let mut places = unsafe { std::slice::from_raw_parts_mut(raw.msg_iov, count(raw)) };
    let left: usize = places.iter().map(|place| place.iov_len).sum();
    let mut skip = left + done as usize - len as usize;
    while let Some((first, rest)) = places.split_first_mut() {
        if skip < first.iov_len {
            first.iov_base = first.iov_base.wrapping_byte_add(skip);
            first.iov_len -= skip;
            places = std::slice::from_mut(first);
            raw.msg_iov = places.as_mut_ptr();
            return;
        }
        skip -= first.iov_len;
        raw.msg_iovlen -= 1;
        places = rest;
        raw.msg_iov = places.as_mut_ptr();
    }
}

/// Makes ready for a call that receives: gives the kernel the whole room for an address again, and
/// wipes the room for control data.
///
/// # Safety
/// As [`skip`]; the room for control data is that of the message.
#[cfg(readiness)]
pub(crate) unsafe fn make_room(raw: *mut RawMessage) {
    // SAFETY: (D1) the caller's contract.
    let raw = unsafe { &mut *raw };
    if !raw.msg_name.is_null() {
        raw.msg_namelen = ROOM;
    }
    if !raw.msg_control.is_null() {
        // SAFETY: (D1) the room that was lent, of this length: a call that failed left it alone.
        unsafe { ptr::write_bytes(raw.msg_control.cast::<u8>(), 0, raw.msg_controllen as usize) };
    }
}

#[cfg(all(test, readiness))]
mod tests {
    use super::*;
    use crate::buf::IoVec;

    /// The bytes of the parts that are left.
    fn left(raw: &RawMessage) -> Vec<u8> {
        // SAFETY: the places of the test's own parts.
        let places = unsafe { std::slice::from_raw_parts(raw.msg_iov, count(raw)) };
        let bytes = |place: &libc::iovec| {
            // SAFETY: a part of the test's own.
            unsafe { std::slice::from_raw_parts(place.iov_base.cast::<u8>(), place.iov_len) }
        };
        places.iter().flat_map(bytes).copied().collect()
    }

    #[test]
    fn bytes_are_skipped_once_each() {
        let mut parts = [b"ab".to_vec(), b"c".to_vec(), b"defg".to_vec()];
        for steps in [&[1][..], &[2], &[3], &[1, 2, 3, 4, 5, 6], &[2, 2, 5], &[6]] {
            let mut places = parts
                .each_mut()
                .map(|part| IoVec::new(part.as_mut_ptr(), part.len()));
            let mut raw = of(Pieces {
                addr: ptr::null_mut(),
                addr_len: 0,
                places: places.as_mut_ptr(),
                count: 3,
                control: ptr::null_mut(),
                control_len: 0,
            });
            for done in steps {
                // SAFETY: the places of the test's own parts, 7 bytes together.
                unsafe { skip(&raw mut raw, 7, *done) };
                assert_eq!(left(&raw), b"abcdefg"[*done as usize..]);
            }
        }
    }
}
