//! Buffers of other crates, each behind the feature of its name.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

#[cfg(feature = "arrayvec")]
mod arrayvec {
    use arrayvec::ArrayVec;

    use crate::buf::{IoBuf, IoBufMut, Storage};

    // SAFETY: B2 and B3: the bytes lie in the value itself, so they are valid until it moves or is
    // dropped; the first `len` are initialised, and only `&mut self` writes them.
    unsafe impl<const N: usize> IoBuf for ArrayVec<u8, N> {
        fn parts(&self) -> (*const u8, usize) {
            (self.as_ptr(), self.len())
        }
    }

    // SAFETY: B2 and B3: the spare bytes lie in the value itself, so they are valid until it is
    // touched; a move takes them along, for they are `MaybeUninit<u8>` and so never padding.
    unsafe impl<const N: usize> IoBufMut for ArrayVec<u8, N> {
        fn parts_mut(&mut self) -> (*mut u8, usize) {
            let len = self.len();
            // `as_mut_ptr` covers the whole capacity, `len` is within it.
            (self.as_mut_ptr().wrapping_add(len), N - len)
        }

        unsafe fn set_filled(&mut self, n: usize) {
            debug_assert!(n <= N - self.len(), "filled more than was lent");
            let len = self.len() + n;
            // SAFETY: B5: the first `n` spare bytes, so `len` bytes, are initialised.
            unsafe { self.set_len(len) }
        }
    }

    // SAFETY: as for `IoBufMut`; `as_mut_ptr` is the start of the whole capacity, and of the bytes
    // that `parts` reports (B7).
    unsafe impl<const N: usize> Storage for ArrayVec<u8, N> {
        fn storage_mut(&mut self) -> (*mut u8, usize) {
            (self.as_mut_ptr(), N)
        }

        unsafe fn set_initialised(&mut self, n: usize) {
            debug_assert!(n <= N, "initialised more than there is");
            // SAFETY: the caller: the first `n` bytes are initialised, and within the capacity.
            unsafe { self.set_len(n) }
        }
    }
}

#[cfg(feature = "bytes")]
mod bytes {
    use bytes::{Bytes, BytesMut};

    use crate::buf::{IoBuf, IoBufMut, Storage};

    // SAFETY: B2: this handle keeps the bytes alive. B3: a `Bytes` is immutable, and becomes
    // mutable (`try_into_mut`) only as the last handle, by value.
    unsafe impl IoBuf for Bytes {
        fn parts(&self) -> (*const u8, usize) {
            (self.as_ptr(), self.len())
        }
    }

    // SAFETY: B2 and B3: this handle owns its range of the allocation alone, the first `len` bytes
    // of it are initialised, and only `&mut self` writes them.
    unsafe impl IoBuf for BytesMut {
        fn parts(&self) -> (*const u8, usize) {
            (self.as_ptr(), self.len())
        }
    }

    // SAFETY: B2 and B3: this handle owns its range of the allocation alone, spare capacity
    // included: handles that were split off have other ranges, and reclaim none that is in use.
    unsafe impl IoBufMut for BytesMut {
        fn parts_mut(&mut self) -> (*mut u8, usize) {
            let spare = self.spare_capacity_mut();
            (spare.as_mut_ptr().cast(), spare.len())
        }

        unsafe fn set_filled(&mut self, n: usize) {
            debug_assert!(
                n <= self.capacity() - self.len(),
                "filled more than was lent"
            );
            let len = self.len() + n;
            // SAFETY: B5: the first `n` bytes of the spare capacity, so `len` bytes, are
            // initialised.
            unsafe { self.set_len(len) }
        }
    }

    // SAFETY: as for `IoBufMut`; the spare capacity of an empty handle is all of its range, which
    // begins with the bytes that `parts` reports (B7).
    unsafe impl Storage for BytesMut {
        fn storage_mut(&mut self) -> (*mut u8, usize) {
            // `as_mut_ptr` reaches the initialised bytes only, and `spare_capacity_mut` the others
            // only. A pointer to both is had from a handle that is empty for a moment.
            let len = self.len();
            self.clear();
            let whole = self.parts_mut();
            // SAFETY: `len` bytes were initialised above, and nothing was written since.
            unsafe { self.set_len(len) };
            whole
        }

        unsafe fn set_initialised(&mut self, n: usize) {
            debug_assert!(n <= self.capacity(), "initialised more than there is");
            // SAFETY: the caller: the first `n` bytes are initialised, and within the capacity.
            unsafe { self.set_len(n) }
        }
    }
}
