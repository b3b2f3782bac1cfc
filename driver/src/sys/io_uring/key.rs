//! The keys of the backend's own entries.

use crate::key::{Class, Key};

/// The driver's own entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Internal {
    /// The poll of the notifier's descriptor.
    Doorbell = 1,
    Cancel = 2,
    /// The deadline of the operation before it.
    Deadline = 3,
}

impl Internal {
    pub(super) const fn key(self) -> Key {
        Key::internal(self as u64)
    }

    /// `None` for a key that the backend never made.
    pub(super) fn from_key(key: Key) -> Option<Self> {
        [Self::Doorbell, Self::Cancel, Self::Deadline]
            .into_iter()
            .find(|internal| internal.key() == key)
    }
}

/// Whether a word of the submission queue is an operation's.
pub(super) fn is_operation(word: u64) -> bool {
    let key = Key::from_word(word);
    key.class() != Class::Internal || key.is_exact()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_entries_survive_the_kernel() {
        for internal in [Internal::Doorbell, Internal::Cancel, Internal::Deadline] {
            let word = internal.key().word();
            assert!(!is_operation(word));
            assert_eq!(Internal::from_key(Key::from_word(word)), Some(internal));
        }
        assert!(is_operation(Key::raw(1).word()));
        assert!(is_operation(Key::slot(1, 1).word()));
        assert!(is_operation(Key::exact(1, 1).word()));
    }

    /// I37: a word that the driver never made names nothing.
    #[test]
    fn unknown_words_are_nothing() {
        for word in [3, 9 << 3 | 3, u64::MAX] {
            assert_eq!(Internal::from_key(Key::from_word(word)), None, "{word:#x}");
        }
    }
}
