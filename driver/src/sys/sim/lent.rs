//! Copies in and out of lent memory: what a kernel does with addresses.
//!
//! Each function's contract is D1: what an operation in flight has lent is where it was described
//! to be, and nobody else touches it.
#![allow(unsafe_code, reason = "follows the addresses of operations in flight")]

use crate::address::{RawAddress, RawAddressLen};
use crate::buf::IoVec;
use crate::op::call::LEN_MAX;
use crate::sys::address::{ROOM, bytes, zeroed};
use std::ffi::{CStr, c_char};
use std::ptr;

/// # Safety
/// (D1) `len` bytes are lent for reading.
pub(super) unsafe fn read(ptr: *const u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    if len > 0 {
        // SAFETY: (D1) lent for reading, and the vector has room for as many.
        unsafe { ptr::copy_nonoverlapping(ptr, bytes.as_mut_ptr(), len) };
    }
    // SAFETY: written just now.
    unsafe { bytes.set_len(len) };
    bytes
}

/// # Safety
/// (D1) As many bytes as there are in `bytes` are lent for writing.
pub(super) unsafe fn write(ptr: *mut u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: (D1) lent for writing, and `bytes` is the simulation's own.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ptr, bytes.len()) };
    }
}

/// # Safety
/// (D1) A string that ends with a zero is lent for reading.
pub(super) unsafe fn name(ptr: *const c_char) -> Vec<u8> {
    // SAFETY: (D1) the caller's contract.
    unsafe { CStr::from_ptr(ptr) }.to_bytes().to_vec()
}

/// # Safety
/// (D1) `count` places are lent for reading.
pub(super) unsafe fn places(ptr: *const IoVec, count: usize) -> Vec<IoVec> {
    (0..count)
        .map(|i| {
            // SAFETY: (D1) the caller's contract.
            unsafe { ptr.wrapping_add(i).read() }
        })
        .collect()
}

/// How many bytes they have together, at most as many as one call moves.
pub(super) fn room(places: &[IoVec]) -> usize {
    let lens = places.iter().map(|place| place.parts().1);
    lens.fold(0, usize::saturating_add).min(LEN_MAX as usize)
}

/// The bytes of `places`, as many as one call moves.
///
/// # Safety
/// (D1) They are lent for reading.
pub(super) unsafe fn gather(places: &[IoVec]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for place in places {
        let (ptr, len) = place.parts();
        let some = len.min(LEN_MAX as usize - bytes.len());
        // SAFETY: (D1) the caller's contract.
        bytes.extend(unsafe { read(ptr, some) });
    }
    bytes
}

/// Fills `places`, one after the other.
///
/// # Safety
/// (D1) They are lent for writing, and have room for all of `bytes`.
pub(super) unsafe fn scatter(places: &[IoVec], mut bytes: &[u8]) {
    for place in places {
        let (ptr, room) = place.parts();
        let (some, rest) = bytes.split_at(room.min(bytes.len()));
        // SAFETY: (D1) the caller's contract.
        unsafe { write(ptr, some) };
        bytes = rest;
    }
}

/// `None` if it is longer than any address.
///
/// # Safety
/// (D1) `len` bytes of an address are lent for reading.
pub(super) unsafe fn address(
    ptr: *const RawAddress,
    len: RawAddressLen,
) -> Option<(RawAddress, RawAddressLen)> {
    let mut storage = zeroed();
    if len > ROOM {
        return None;
    }
    let to: *mut RawAddress = &raw mut storage;
    // SAFETY: (D1, A1) the caller's contract; it fits into the storage.
    unsafe { ptr::copy_nonoverlapping(ptr.cast::<u8>(), to.cast(), len as usize) };
    Some((storage, len))
}

/// # Safety
/// (D1) An address, and its length, are lent for writing.
pub(super) unsafe fn write_address(
    to: *mut RawAddress,
    to_len: *mut RawAddressLen,
    (address, len): (RawAddress, RawAddressLen),
) {
    // SAFETY: (D1) the caller's contract.
    unsafe { write(to.cast(), bytes(&address, len)) };
    // SAFETY: (D1) the caller's contract.
    unsafe { to_len.write(len) };
}

/// # Safety
/// (D1) A value is lent for reading.
pub(super) unsafe fn get<T: Copy>(from: *const T) -> T {
    // SAFETY: (D1) the caller's contract.
    unsafe { from.read() }
}

/// # Safety
/// (D1) A value is lent for writing.
pub(super) unsafe fn put<T>(to: *mut T, value: T) {
    // SAFETY: (D1) the caller's contract.
    unsafe { to.write(value) };
}
