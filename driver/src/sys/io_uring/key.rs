//! What the kernel carries for each entry: 64 bits, of which the top three are the driver's.
//!
//! | bits 63–62 | bit 61 | bits 60–0 |
//! |---|---|---|
//! | 0: a raw operation | its result is a descriptor | its user data |
//! | 1, 2: for the safe layer's heads and slots | | |
//! | 3: the driver's own entries | 0 | which one |

use crate::local::USER_DATA_BITS;

const CLASS_SHIFT: u32 = USER_DATA_BITS + 1;
const FD_BIT: u64 = 1 << USER_DATA_BITS;
const VALUE: u64 = FD_BIT - 1;
const RAW: u64 = 0;
const INTERNAL: u64 = 3;

/// Whose completion it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Raw { user_data: usize, is_fd: bool },
    Internal(Internal),
}

/// The driver's own entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Internal {
    /// The poll of the notifier's descriptor.
    Doorbell = 1,
    Cancel = 2,
}

impl Key {
    /// The key of a raw operation; `fits` was asked before.
    #[inline]
    pub(super) const fn raw(user_data: usize, is_fd: bool) -> Self {
        Self::Raw { user_data, is_fd }
    }

    /// Whether user data leaves the driver its bits.
    #[inline]
    pub(super) const fn fits(user_data: usize) -> bool {
        user_data as u64 & !VALUE == 0
    }

    #[inline]
    pub(super) const fn word(self) -> u64 {
        match self {
            Self::Raw { user_data, is_fd } => {
                debug_assert!(Self::fits(user_data), "user data is checked at the push");
                RAW << CLASS_SHIFT | if is_fd { FD_BIT } else { 0 } | user_data as u64
            }
            Self::Internal(internal) => INTERNAL << CLASS_SHIFT | internal as u64,
        }
    }

    /// `None` for a word that the driver never made.
    #[inline]
    pub(super) fn decode(word: u64) -> Option<Self> {
        match word >> CLASS_SHIFT {
            RAW => {
                let user_data = usize::try_from(word & VALUE).ok()?;
                Some(Self::Raw {
                    user_data,
                    is_fd: word & FD_BIT != 0,
                })
            }
            INTERNAL if word == Self::Internal(Internal::Doorbell).word() => {
                Some(Self::Internal(Internal::Doorbell))
            }
            INTERNAL if word == Self::Internal(Internal::Cancel).word() => {
                Some(Self::Internal(Internal::Cancel))
            }
            _ => None,
        }
    }

    /// The user data, if a completion has nothing else to say: the usual case.
    #[inline]
    pub(super) fn plain(word: u64, flags: u32) -> Option<usize> {
        if word & !VALUE | u64::from(flags) == 0 {
            usize::try_from(word).ok()
        } else {
            None
        }
    }

    /// Whether a word is a raw operation's.
    pub(super) fn is_operation(word: u64) -> bool {
        word >> CLASS_SHIFT == RAW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_the_kernel() {
        for is_fd in [false, true] {
            for user_data in [0, 1, usize::MAX >> 3] {
                let key = Key::raw(user_data, is_fd);
                assert_eq!(Key::decode(key.word()), Some(key));
                assert!(Key::is_operation(key.word()));
            }
        }
        for internal in [Internal::Doorbell, Internal::Cancel] {
            let key = Key::Internal(internal);
            assert_eq!(Key::decode(key.word()), Some(key));
            assert!(!Key::is_operation(key.word()));
        }
    }

    #[test]
    fn user_data_has_61_bits() {
        assert!(Key::fits(usize::MAX >> 3));
        assert!(!Key::fits(1 << 61));
        assert!(!Key::fits(usize::MAX));
    }

    /// I37: a word that the driver never made names nothing.
    #[test]
    fn unknown_words_are_nothing() {
        for word in [1 << 62, 2 << 62, 3 << 62, (3 << 62) + 3, u64::MAX] {
            assert_eq!(Key::decode(word), None, "{word:#x}");
        }
    }
}
