//! The operations that a scope has in flight: a list through their own heads.
//!
//! The heads are the driver's to touch from the push of an operation to its last completion, by raw
//! pointers that were made of the loan itself. So nothing is allocated, and a scope that ends finds
//! each of its operations, to cancel it.
#![allow(unsafe_code, reason = "the list lies in memory that was lent")]

use crate::op::OpHead;
use std::fmt;
use std::ptr::{self, NonNull};

/// The place of an operation among a scope's loans.
pub(crate) struct Links {
    prev: *mut OpHead,
    next: *mut OpHead,
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
pub(crate) struct Loans {
    first: *mut OpHead,
}

impl Loans {
    pub(crate) const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// Adds an operation that was accepted.
    ///
    /// # Safety
    /// `head` is the head of an operation that is lent until it is removed, and in no list.
    #[inline]
    pub(crate) unsafe fn insert(&mut self, head: NonNull<OpHead>) {
        let head = head.as_ptr();
        let links = Links {
            prev: ptr::null_mut(),
            next: self.first,
        };
        // SAFETY: (S2) the caller's contract.
        unsafe { (*head).links = links };
        if !self.first.is_null() {
            // SAFETY: (S2) in the list, so it is lent.
            unsafe { (*self.first).links.prev = head };
        }
        self.first = head;
    }

    /// Removes an operation whose last completion came.
    ///
    /// # Safety
    /// `head` is in this list.
    #[inline]
    pub(crate) unsafe fn remove(&mut self, head: NonNull<OpHead>) {
        // SAFETY: (S2) the caller's contract.
        let prev = unsafe { (*head.as_ptr()).links.prev };
        // SAFETY: (S2) the caller's contract.
        let next = unsafe { (*head.as_ptr()).links.next };
        if prev.is_null() {
            debug_assert_eq!(self.first, head.as_ptr(), "I1: no loan of this scope");
            self.first = next;
        } else {
            // SAFETY: (S2) in the list, so it is lent.
            unsafe { (*prev).links.next = next };
        }
        if !next.is_null() {
            // SAFETY: (S2) in the list, so it is lent.
            unsafe { (*next).links.prev = prev };
        }
    }

    /// The latest loan.
    pub(crate) fn first(&self) -> Option<NonNull<OpHead>> {
        NonNull::new(self.first)
    }

    /// The loan that was made before this one.
    ///
    /// # Safety
    /// `head` is in this list.
    pub(crate) unsafe fn after(&self, head: NonNull<OpHead>) -> Option<NonNull<OpHead>> {
        // SAFETY: (S2) the caller's contract.
        NonNull::new(unsafe { (*head.as_ptr()).links.next })
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
