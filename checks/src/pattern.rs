//! The bytes of a stream, each known by its place.

use crate::random::Random;

/// Those of the stream of this number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern(pub(crate) u64);

impl Pattern {
    /// So many bytes from this place on.
    pub(crate) fn bytes(self, at: usize, len: usize) -> Box<[u8]> {
        let skipped = at % 8;
        let mut bytes = Vec::with_capacity(skipped + len + 8);
        let mut word = at as u64 / 8;
        while bytes.len() < skipped + len {
            bytes.extend_from_slice(&Random(self.0 ^ (word << 20)).word().to_le_bytes());
            word += 1;
        }
        bytes[skipped..skipped + len].into()
    }

    /// Which of the bytes that were received from this place on is the first wrong one.
    pub(crate) fn first_wrong(self, at: usize, bytes: &[u8]) -> Option<usize> {
        let expected = self.bytes(at, bytes.len());
        if *expected == *bytes {
            return None;
        }
        let differ = |(is, should): (&u8, &u8)| is != should;
        bytes.iter().zip(&expected).position(differ)
    }
}
