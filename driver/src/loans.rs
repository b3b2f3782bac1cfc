//! The operations that a scope has in flight: a list through their own heads.
//!
//! The heads are the driver's to touch from the push of an operation to its last completion, by raw
//! pointers that were made of the loan itself. So nothing is allocated, and a scope that ends finds
//! each of its operations, to cancel it.
#![allow(unsafe_code, reason = "the list lies in memory that was lent")]

use crate::op::OpHead;
use std::fmt;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

/// The place of an operation among a scope's loans.
pub(crate) struct Links {
    prev: *mut Links,
    next: *mut Links,
}

impl Links {
    pub(crate) const UNLINKED: Self = Self {
        prev: ptr::null_mut(),
        next: ptr::null_mut(),
    };
}

// SAFETY: (S2) they are followed only by the scope that has the operation in flight, on its thread.
unsafe impl Send for Links {}
// SAFETY: (S2) as above; a shared reference to them gives no access.
unsafe impl Sync for Links {}

/// The list of all loans in flight, the latest first.
///
/// It is a ring, closed by a link that belongs to no operation: so there is always a neighbour on
/// either side, and nothing to ask.
pub(crate) struct Loans {
    end: NonNull<Links>,
}

impl Loans {
    /// The only place that allocates.
    pub(crate) fn new() -> Self {
        let end = Box::into_raw(Box::new(Links::UNLINKED));
        // SAFETY: (S2) made just now.
        unsafe { (*end).prev = end };
        // SAFETY: (S2) made just now.
        unsafe { (*end).next = end };
        Self {
            end: NonNull::new(end).expect("a box has an address"),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let end = self.end.as_ptr();
        // SAFETY: (S2) the list's own link.
        ptr::eq(unsafe { (*end).next }, end)
    }

    /// Adds an operation that was accepted.
    ///
    /// # Safety
    /// `head` is the head of an operation that is lent until it is removed, and in no list.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, head: NonNull<OpHead>) {
        let end = self.end.as_ptr();
        // SAFETY: (S2) the caller's contract.
        let at = unsafe { &raw mut (*head.as_ptr()).links };
        // SAFETY: (S2) the list's own link.
        let next = unsafe { (*end).next };
        // SAFETY: (S2) the caller's contract.
        unsafe { *at = Links { prev: end, next } };
        // SAFETY: (S2) in the list, so it is lent, or the list's own.
        unsafe { (*next).prev = at };
        // SAFETY: (S2) the list's own link.
        unsafe { (*end).next = at };
    }

    /// Removes an operation whose last completion came.
    ///
    /// # Safety
    /// `head` is in this list.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, head: NonNull<OpHead>) {
        // SAFETY: (S2) the caller's contract.
        let Links { prev, next } = unsafe { &(*head.as_ptr()).links };
        let (prev, next) = (*prev, *next);
        // SAFETY: (S2) in the list, so it is lent, or the list's own.
        unsafe { (*prev).next = next };
        // SAFETY: (S2) as above.
        unsafe { (*next).prev = prev };
    }

    /// The latest loan.
    pub(crate) fn first(&self) -> Option<NonNull<OpHead>> {
        // SAFETY: (S2) the list's own link.
        self.head_of(unsafe { (*self.end.as_ptr()).next })
    }

    /// The loan that was made before this one.
    ///
    /// # Safety
    /// `head` is in this list.
    pub(crate) unsafe fn after(&self, head: NonNull<OpHead>) -> Option<NonNull<OpHead>> {
        // SAFETY: (S2) the caller's contract.
        self.head_of(unsafe { (*head.as_ptr()).links.next })
    }

    /// The operation of a link, if it is one's.
    fn head_of(&self, link: *mut Links) -> Option<NonNull<OpHead>> {
        if ptr::eq(link, self.end.as_ptr()) {
            return None;
        }
        // A link was made of a pointer to the whole operation.
        NonNull::new(link.wrapping_byte_sub(offset_of!(OpHead, links)).cast())
    }
}

impl Drop for Loans {
    fn drop(&mut self) {
        // SAFETY: (S2) made by `new` of a box, and nothing is lent any more, or this is a child.
        drop(unsafe { Box::from_raw(self.end.as_ptr()) });
    }
}

impl fmt::Debug for Loans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loans")
            .field("is_empty", &self.is_empty())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Nop;

    fn listed(loans: &Loans) -> Vec<NonNull<OpHead>> {
        // SAFETY: (S2) what `first` and `after` gave is in the list.
        std::iter::successors(loans.first(), |head| unsafe { loans.after(*head) }).collect()
    }

    /// S2: every place of the list can be taken out, and nothing else goes with it.
    #[test]
    fn loans_leave_in_any_order() {
        const ORDERS: [[usize; 3]; 6] = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        for order in ORDERS {
            let mut ops = [Nop::new(), Nop::new(), Nop::new()];
            let heads = ops.each_mut().map(|op| NonNull::from(op).cast::<OpHead>());
            let mut loans = Loans::new();
            assert!(loans.is_empty());
            for head in heads {
                // SAFETY: (S2) the operations live to the end of the round, and are inserted once.
                unsafe { loans.insert(head) };
            }
            let mut left = vec![heads[2], heads[1], heads[0]];
            for index in order {
                assert_eq!(listed(&loans), left);
                // SAFETY: (S2) each is removed once.
                unsafe { loans.remove(heads[index]) };
                left.retain(|head| *head != heads[index]);
            }
            assert!(loans.is_empty());
        }
    }
}
