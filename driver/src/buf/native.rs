//! The standard library's buffers.
#![allow(unsafe_code, reason = "implements the unsafe buffer traits")]

use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;

use super::{IoBuf, IoBufMut, Storage};

// Read by the kernel.

// SAFETY: B2 and B3 by the shared borrow: bytes behind `&[u8]` are initialised and nobody writes
// them while the reference lives, wherever it moves.
unsafe impl IoBuf for &[u8] {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: as for `&[u8]`.
unsafe impl IoBuf for &str {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: B2 and B3 by the exclusive borrow: only this reference reaches the bytes, and `&self`
// allows no writes through it.
unsafe impl IoBuf for &mut [u8] {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: B2 and B3: the box owns the bytes, and only `&mut self` writes or frees them.
unsafe impl IoBuf for Box<[u8]> {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: B2 and B3: the vector owns `len` initialised bytes, and only `&mut self` writes, moves
// or frees them.
unsafe impl IoBuf for Vec<u8> {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: as for `Vec<u8>`.
unsafe impl IoBuf for String {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: B2 and B3: the bytes lie in the value itself, so they are valid until it moves or is
// dropped, and only `&mut self` writes them.
unsafe impl<const N: usize> IoBuf for [u8; N] {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), N)
    }
}

// SAFETY: B2: this handle keeps the bytes alive. B3: as long as it does, another handle is not the
// only one, so `Rc::get_mut` gives it nothing.
unsafe impl IoBuf for Rc<[u8]> {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: as for `Rc<[u8]>`, with `Arc::get_mut`.
unsafe impl IoBuf for Arc<[u8]> {
    fn parts(&self) -> (*const u8, usize) {
        (self.as_ptr(), self.len())
    }
}

// SAFETY: B2 and B3 by the shared borrow: `B` is neither moved, dropped nor mutably borrowed while
// the reference lives, so what `B` promised holds.
unsafe impl<B: IoBuf> IoBuf for &B {
    fn parts(&self) -> (*const u8, usize) {
        (**self).parts()
    }
}

// SAFETY: B2 and B3 by the exclusive borrow: `B` is touched through this reference only, so while
// that is untouched, what `B` promised holds.
unsafe impl<B: IoBuf> IoBuf for &mut B {
    fn parts(&self) -> (*const u8, usize) {
        (**self).parts()
    }
}

// Written by the kernel: a length and a capacity.

// SAFETY: B2 and B3: the vector owns its spare capacity, and only `&mut self` reaches or frees it.
// The pointer is to the heap, which a move of the vector leaves in place.
unsafe impl IoBufMut for Vec<u8> {
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
        // SAFETY: B5: the first `n` bytes of the spare capacity, so `len` bytes, are initialised.
        unsafe { self.set_len(len) }
    }
}

// SAFETY: as for `IoBufMut`; `as_mut_ptr` is the start of the whole capacity, and of the bytes
// that `parts` reports (B7).
unsafe impl Storage for Vec<u8> {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.capacity())
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= self.capacity(), "initialised more than there is");
        // SAFETY: the caller: the first `n` bytes are initialised, and within the capacity.
        unsafe { self.set_len(n) }
    }
}

// SAFETY: B2 and B3 by the exclusive borrow: `B` is touched through this reference only, so while
// that is untouched, what `B` promised holds. A move of the reference does not move `B`.
unsafe impl<B: IoBufMut> IoBufMut for &mut B {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (**self).parts_mut()
    }

    unsafe fn set_filled(&mut self, n: usize) {
        // SAFETY: the caller's promise (B5) is about the region that `B` gave.
        unsafe { (**self).set_filled(n) }
    }
}

// SAFETY: as for `IoBufMut`; B7 holds because `parts` and `storage_mut` are both those of `B`.
unsafe impl<B: Storage> Storage for &mut B {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        (**self).storage_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        // SAFETY: the caller's promise is about the region that `B` gave.
        unsafe { (**self).set_initialised(n) }
    }
}

// Written by the kernel: a fixed size. Nothing is noted afterwards: the bytes were initialised
// before and still are (B4), or the type keeps no account of it.

// SAFETY: B2 and B3 by the exclusive borrow: only this reference reaches the bytes.
unsafe impl IoBufMut for &mut [u8] {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }

    unsafe fn set_filled(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "filled more than was lent");
    }
}

// SAFETY: as for `IoBufMut`; both regions, and that of `parts` (B7), are the whole slice.
unsafe impl Storage for &mut [u8] {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "initialised more than there is");
    }
}

// SAFETY: B2 and B3: the box owns the bytes, and only `&mut self` reaches them.
unsafe impl IoBufMut for Box<[u8]> {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), self.len())
    }

    unsafe fn set_filled(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "filled more than was lent");
    }
}

// SAFETY: as for `IoBufMut`; both regions, and that of `parts` (B7), are the whole box.
unsafe impl Storage for Box<[u8]> {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "initialised more than there is");
    }
}

// SAFETY: B2 and B3: the bytes lie in the value itself, so they are valid until it is touched, and
// a move takes them along.
unsafe impl<const N: usize> IoBufMut for [u8; N] {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr(), N)
    }

    unsafe fn set_filled(&mut self, n: usize) {
        debug_assert!(n <= N, "filled more than was lent");
    }
}

// SAFETY: as for `IoBufMut`; both regions, and that of `parts` (B7), are the whole array.
unsafe impl<const N: usize> Storage for [u8; N] {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= N, "initialised more than there is");
    }
}

// SAFETY: B2 and B3 by the exclusive borrow; `MaybeUninit<u8>` has the layout of `u8`.
unsafe impl IoBufMut for &mut [MaybeUninit<u8>] {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr().cast(), self.len())
    }

    unsafe fn set_filled(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "filled more than was lent");
    }
}

// SAFETY: as for `IoBufMut`: both regions are the whole slice. There is no `IoBuf` (B7).
unsafe impl Storage for &mut [MaybeUninit<u8>] {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "initialised more than there is");
    }
}

// SAFETY: B2 and B3: the box owns the bytes, and only `&mut self` reaches them; `MaybeUninit<u8>`
// has the layout of `u8`.
unsafe impl IoBufMut for Box<[MaybeUninit<u8>]> {
    fn parts_mut(&mut self) -> (*mut u8, usize) {
        (self.as_mut_ptr().cast(), self.len())
    }

    unsafe fn set_filled(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "filled more than was lent");
    }
}

// SAFETY: as for `IoBufMut`: both regions are the whole box. There is no `IoBuf` (B7).
unsafe impl Storage for Box<[MaybeUninit<u8>]> {
    fn storage_mut(&mut self) -> (*mut u8, usize) {
        self.parts_mut()
    }

    unsafe fn set_initialised(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "initialised more than there is");
    }
}
