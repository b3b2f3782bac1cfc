//! The room for a socket address, which every system has; `address` has what lies in it.
#![allow(unsafe_code, reason = "reads and writes the C representation")]

use super::address::{RawAddress, RawAddressLen, zeroed};

pub(crate) const ROOM: RawAddressLen = len_of::<RawAddress>();

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "addresses have at most 256 bytes"
)]
pub(crate) const fn len_of<T>() -> RawAddressLen {
    assert!(size_of::<T>() <= 256);
    size_of::<T>() as RawAddressLen
}

/// The bytes that the kernel goes by.
pub(crate) fn bytes(raw: &RawAddress, len: RawAddressLen) -> &[u8] {
    let len = usize::try_from(len).map_or(0, |len| len.min(size_of::<RawAddress>()));
    // SAFETY: (A1) within the storage, whose bytes were all zeroed or written.
    unsafe { std::slice::from_raw_parts((&raw const *raw).cast(), len) }
}

pub(crate) fn family(raw: &RawAddress) -> i32 {
    i32::from(raw.ss_family)
}

/// The beginning of the storage as an address of one family.
pub(crate) fn view<T: Copy>(raw: &RawAddress) -> T {
    const { assert!(size_of::<T>() <= size_of::<RawAddress>()) };
    const { assert!(align_of::<T>() <= align_of::<RawAddress>()) };
    // SAFETY: (A1) `T` is one of the C address types, any bytes are one, and it is no larger than
    // the storage.
    unsafe { (&raw const *raw).cast::<T>().read() }
}

/// An address of one family at the beginning of the storage.
pub(crate) fn store<T: Copy>(addr: T) -> (RawAddress, RawAddressLen) {
    const { assert!(size_of::<T>() <= size_of::<RawAddress>()) };
    const { assert!(align_of::<T>() <= align_of::<RawAddress>()) };
    let mut raw = zeroed();
    // SAFETY: (A1) the storage is large enough and aligned for `T`.
    unsafe { (&raw mut raw).cast::<T>().write(addr) };
    (raw, len_of::<T>())
}
