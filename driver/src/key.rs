//! What travels with an operation to the kernel and back: 64 bits, of which the low three are the
//! driver's.
//!
//! | bits 1–0 | bit 2 | bits 63–3 |
//! |---|---|---|
//! | `Raw` | its result is a descriptor | its user data |
//! | `Head` | its result is a descriptor | the address of its head, whose own low three bits are 0 |
//! | `Slot` | its result is a descriptor | generation and index of its slot |
//! | `Internal` | 0 | which of the backend's own entries; or, with bit 63, generation and index of an exact operation's place |
//!
//! So no completion of one class is ever taken for one of another, and a drain closes accepted
//! descriptors without a table.

#[cfg(io_uring)]
use crate::entry::BUFFER;
use crate::entry::{DISCARDED, IS_FD, MORE, WHOLE};
use crate::error::Refusal;
use crate::op::OpHead;
use std::ptr::NonNull;

/// See the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u64);

/// Whose completion it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Pushed by way of the raw layer: the caller of `submit` answers for it.
    Raw = 0,
    /// Lent to a scope.
    Head = 1,
    /// Owned by the slab of slots.
    Slot = 2,
    /// The backend's own.
    Internal = 3,
}

const CLASS: u64 = 3;
const FD: u64 = 1 << 2;
/// So many bits are the driver's. Of an address they are 0: there is room for all others, tags
/// included.
const OWN_BITS: u32 = 3;
const OWN: u64 = CLASS | FD;
const VALUE_MAX: u64 = u64::MAX >> OWN_BITS;
/// Of an internal key's value: it is an exact operation's.
const EXACT: u64 = 1 << 60;
/// The builder allows as many slots.
const INDEX_BITS: u32 = 20;

impl Key {
    const fn new(class: Class, value: u64) -> Self {
        debug_assert!(value <= VALUE_MAX, "the low three bits are the driver's");
        Self(value << OWN_BITS | class as u64)
    }

    /// The key of a raw operation, for user data that is known to fit.
    #[inline]
    pub(crate) const fn raw(user_data: usize) -> Self {
        debug_assert!(user_data as u64 <= VALUE_MAX, "it fits");
        Self::new(Class::Raw, user_data as u64)
    }

    /// The key of a raw operation, if its user data leaves the driver its bits.
    #[inline]
    pub(crate) const fn try_raw(user_data: usize) -> Option<Self> {
        // What does not fit comes round to where these bits are.
        let word = (user_data as u64).rotate_left(OWN_BITS);
        if word & OWN == Class::Raw as u64 {
            Some(Self(word))
        } else {
            None
        }
    }

    /// The key of an operation that is found again by its head, whose provenance is exposed.
    #[inline]
    pub(crate) fn head(head: NonNull<OpHead>) -> Self {
        const { assert!(align_of::<OpHead>() >= 1 << OWN_BITS, "no bit is lost") };
        let address = head.as_ptr().expose_provenance() as u64;
        Self(address | Class::Head as u64)
    }

    pub(crate) const fn slot(index: u32, generation: u32) -> Self {
        debug_assert!(index < 1 << INDEX_BITS, "the builder's limit");
        Self::new(
            Class::Slot,
            (generation as u64) << INDEX_BITS | index as u64,
        )
    }

    /// The key of an operation that goes on until it is whole: that of its place.
    pub(crate) const fn exact(index: u32, generation: u32) -> Self {
        Self::new(
            Class::Internal,
            EXACT | (generation as u64) << INDEX_BITS | index as u64,
        )
    }

    /// Whether it is the key of a place of an exact operation.
    #[inline]
    pub(crate) const fn is_exact(self) -> bool {
        matches!(self.class(), Class::Internal) && self.value() & EXACT != 0
    }

    /// One of a backend's own.
    #[cfg(io_uring)]
    pub(crate) const fn internal(which: u64) -> Self {
        Self::new(Class::Internal, which)
    }

    /// The same for an operation whose result is a descriptor, if it is.
    #[inline]
    pub(crate) const fn with_fd(self, is_fd: bool) -> Self {
        if is_fd { Self(self.0 | FD) } else { self }
    }

    /// The same, whatever its result is.
    #[inline]
    pub(crate) const fn without_fd(self) -> Self {
        Self(self.0 & !FD)
    }

    /// As the kernel carries it.
    #[cfg(any(io_uring, readiness, iocp, test))]
    #[inline]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// As the kernel gives it back.
    #[cfg(any(io_uring, test))]
    #[inline]
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline]
    pub(crate) const fn class(self) -> Class {
        match self.0 & CLASS {
            0 => Class::Raw,
            1 => Class::Head,
            2 => Class::Slot,
            _ => Class::Internal,
        }
    }

    /// Whether it is of this class, its result no descriptor, and `flags` empty: the usual case.
    #[cfg(any(io_uring, test))]
    #[inline]
    pub(crate) const fn is_plain(self, class: Class, flags: u32) -> bool {
        (self.0 & OWN ^ class as u64) | flags as u64 == 0
    }

    #[inline]
    pub(crate) const fn is_fd(self) -> bool {
        self.0 & FD != 0
    }

    #[inline]
    const fn value(self) -> u64 {
        self.0 >> OWN_BITS
    }

    /// The head's address, with the provenance that `head` has exposed.
    #[inline]
    pub(crate) fn as_head(self) -> *mut OpHead {
        debug_assert_eq!(self.class(), Class::Head, "not every key is an address");
        std::ptr::with_exposed_provenance_mut(address(self.0 & !OWN))
    }

    /// Index and generation of a slot, or of an exact operation's place; no more than a claim.
    #[inline]
    pub(crate) const fn as_slot(self) -> (u32, u32) {
        let index = self.value() & ((1 << INDEX_BITS) - 1);
        let generation = self.value() >> INDEX_BITS & u32::MAX as u64;
        #[expect(clippy::cast_possible_truncation, reason = "masked to fewer bits")]
        (index as u32, generation as u32)
    }
}

/// What came from a `usize`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "keys are made of as many bits"
)]
const fn address(value: u64) -> usize {
    value as usize
}

/// One completion as a backend gives it: whose it is, and what the kernel said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completion {
    /// Whatever its result is: that is a flag here.
    pub(crate) key: Key,
    pub(crate) result: i32,
    /// As [`Entry`](crate::driver::Entry) has them.
    pub(crate) flags: u32,
}

impl Completion {
    /// The last one of an operation.
    #[inline]
    pub(crate) const fn last(key: Key, result: i32) -> Self {
        Self::new(key, result, 0)
    }

    /// One of an operation whose key may say that its result is a descriptor.
    #[inline]
    pub(crate) const fn new(key: Key, result: i32, flags: u32) -> Self {
        Self {
            key: key.without_fd(),
            result,
            flags: flags | if key.is_fd() { IS_FD } else { 0 },
        }
    }

    /// The end of an operation that was never handed over, when the driver ends.
    pub(crate) const fn discarded(key: Key) -> Self {
        Self::new(key, -crate::sys::errno::ECANCELED, DISCARDED)
    }

    /// One with what the kernel says beside the result.
    #[cfg(io_uring)]
    pub(crate) const fn shot(key: Key, result: i32, more: bool, buffer: Option<u16>) -> Self {
        let mut flags = if more { MORE } else { 0 };
        if let Some(id) = buffer {
            flags |= BUFFER | (id as u32) << 16;
        }
        Self::new(key, result, flags)
    }

    /// The refusal of an operation whose user data is too large for a key.
    pub(crate) const fn refused_whole(user_data: usize) -> Self {
        Self {
            key: Key((user_data as u64).rotate_left(OWN_BITS)),
            result: Refusal::UserData.code(),
            flags: WHOLE,
        }
    }

    #[inline]
    pub(crate) const fn class(&self) -> Class {
        if self.flags & WHOLE != 0 {
            return Class::Raw;
        }
        self.key.class()
    }

    /// The user data of a raw operation.
    #[inline]
    pub(crate) fn user_data(&self) -> usize {
        debug_assert_eq!(self.class(), Class::Raw, "user data is a raw operation's");
        address(self.key.0.rotate_right(OWN_BITS))
    }

    #[inline]
    pub(crate) const fn more(&self) -> bool {
        self.flags & MORE != 0
    }
}

const _: () = assert!(
    size_of::<Completion>() <= 16,
    "completions are copied on the hot path"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Nop;

    #[test]
    fn keys_survive_the_kernel() {
        let mut op = Nop::new();
        let head: NonNull<OpHead> = NonNull::from(&mut op).cast();
        for is_fd in [false, true] {
            for user_data in [0, 1, usize::MAX >> 3] {
                let key = Key::raw(user_data).with_fd(is_fd);
                let back = Key::from_word(key.word());
                assert_eq!((back.class(), back.is_fd()), (Class::Raw, is_fd));
                assert_eq!(Completion::last(back, 0).user_data(), user_data);
                assert_eq!(back.is_plain(Class::Raw, 0), !is_fd);
                assert!(!back.is_plain(Class::Raw, 1));
                assert!(!back.is_plain(Class::Slot, 0));
            }
            for slot in [(0, 0), (1, 7), ((1 << INDEX_BITS) - 1, u32::MAX)] {
                let key = Key::slot(slot.0, slot.1).with_fd(is_fd);
                assert_eq!((key.class(), key.is_fd()), (Class::Slot, is_fd));
                assert_eq!(key.as_slot(), slot);
            }
            let key = Key::head(head).with_fd(is_fd);
            assert_eq!((key.class(), key.is_fd()), (Class::Head, is_fd));
            assert_eq!(key.as_head(), head.as_ptr());
        }
    }

    /// Tagged addresses, too (arm64, HWASan): no bit of one is lost, and none is taken for a class.
    #[test]
    fn addresses_have_64_bits() {
        for address in [8, 0xb400_0070_1234_5680, usize::MAX & !7] {
            let head = std::ptr::with_exposed_provenance_mut(address);
            let key = Key::head(NonNull::new(head).expect("no null"));
            assert_eq!((key.class(), key.is_fd()), (Class::Head, false));
            assert_eq!(key.with_fd(true).as_head().addr(), address);
        }
    }

    #[test]
    fn user_data_has_61_bits() {
        let largest = usize::MAX >> 3;
        assert_eq!(Key::try_raw(largest), Some(Key::raw(largest)));
        for too_large in [1 << 61, 1 << 62, 1 << 63, usize::MAX] {
            assert_eq!(Key::try_raw(too_large), None);
            let refused = Completion::refused_whole(too_large);
            assert_eq!(refused.class(), Class::Raw);
            assert_eq!(refused.user_data(), too_large);
        }
    }
}
