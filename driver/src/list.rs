//! Doubly linked lists through the items of a slab: no memory of their own.
//!
//! Items are named by their index. An item has one pair of links for each role that it can play
//! beside others; roles that exclude each other may share one. It stands in at most one list of a
//! role at a time, and whoever owns the lists knows in which.

use std::fmt;
use std::marker::PhantomData;

/// The index that names no item.
pub(crate) const NONE: u32 = u32::MAX;

/// The place of an item among its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) const UNLINKED: Self = Self {
        prev: NONE,
        next: NONE,
    };
}

/// An item that lists of one role can hold.
pub(crate) trait Linked<Role> {
    fn links(&self) -> &Links;
    fn links_mut(&mut self) -> &mut Links;
}

/// A list, first in, first out, from which any item can be taken.
pub(crate) struct List<Role> {
    head: u32,
    tail: u32,
    _role: PhantomData<fn(Role)>,
}

impl<Role> List<Role> {
    pub(crate) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            _role: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<u32> {
        some(self.head)
    }

    /// The item after one that is in the list.
    #[inline]
    pub(crate) fn after<T: Linked<Role>>(&self, items: &[T], index: u32) -> Option<u32> {
        some(items[index as usize].links().next)
    }

    #[inline]
    pub(crate) fn push_back<T: Linked<Role>>(&mut self, items: &mut [T], index: u32) {
        let links = items[index as usize].links_mut();
        debug_assert_eq!(
            *links,
            Links::UNLINKED,
            "item {index} is in a list of this role"
        );
        *links = Links {
            prev: self.tail,
            next: NONE,
        };
        match some(self.tail) {
            Some(tail) => items[tail as usize].links_mut().next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    #[inline]
    pub(crate) fn push_front<T: Linked<Role>>(&mut self, items: &mut [T], index: u32) {
        let links = items[index as usize].links_mut();
        debug_assert_eq!(
            *links,
            Links::UNLINKED,
            "item {index} is in a list of this role"
        );
        *links = Links {
            prev: NONE,
            next: self.head,
        };
        match some(self.head) {
            Some(head) => items[head as usize].links_mut().prev = index,
            None => self.tail = index,
        }
        self.head = index;
    }

    #[inline]
    pub(crate) fn pop_front<T: Linked<Role>>(&mut self, items: &mut [T]) -> Option<u32> {
        let index = self.front()?;
        let links = std::mem::replace(items[index as usize].links_mut(), Links::UNLINKED);
        self.head = links.next;
        match some(links.next) {
            Some(next) => items[next as usize].links_mut().prev = NONE,
            None => self.tail = NONE,
        }
        Some(index)
    }

    /// Takes out an item, which is in this list.
    #[inline]
    pub(crate) fn remove<T: Linked<Role>>(&mut self, items: &mut [T], index: u32) {
        let links = std::mem::replace(items[index as usize].links_mut(), Links::UNLINKED);
        match some(links.prev) {
            Some(prev) => items[prev as usize].links_mut().next = links.next,
            None => {
                assert_eq!(
                    self.head, index,
                    "item {index} is in another list, or in none"
                );
                self.head = links.next;
            }
        }
        match some(links.next) {
            Some(next) => items[next as usize].links_mut().prev = links.prev,
            None => {
                assert_eq!(
                    self.tail, index,
                    "item {index} is in another list, or in none"
                );
                self.tail = links.prev;
            }
        }
    }
}

impl<Role> fmt::Debug for List<Role> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("head", &self.head)
            .field("tail", &self.tail)
            .finish()
    }
}

#[inline]
fn some(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only;

    impl Linked<Only> for Links {
        fn links(&self) -> &Links {
            self
        }

        fn links_mut(&mut self) -> &mut Links {
            self
        }
    }

    fn indexes(list: &List<Only>, items: &[Links]) -> Vec<u32> {
        std::iter::successors(list.front(), |index| list.after(items, *index)).collect()
    }

    #[test]
    fn first_in_first_out() {
        let mut items = [Links::UNLINKED; 4];
        let mut list = List::<Only>::new();
        assert!(list.is_empty());
        for index in [2, 0, 3] {
            list.push_back(&mut items, index);
        }
        assert_eq!(indexes(&list, &items), [2, 0, 3]);
        assert_eq!(list.pop_front(&mut items), Some(2));
        list.push_back(&mut items, 2);
        list.push_front(&mut items, 1);
        assert_eq!(indexes(&list, &items), [1, 0, 3, 2]);
    }

    #[test]
    fn any_item_can_be_taken() {
        for gone in 0..3 {
            let mut items = [Links::UNLINKED; 3];
            let mut list = List::<Only>::new();
            (0..3).for_each(|index| list.push_back(&mut items, index));
            list.remove(&mut items, gone);
            let rest: Vec<u32> = (0..3).filter(|index| *index != gone).collect();
            assert_eq!(indexes(&list, &items), rest);
            list.push_back(&mut items, gone);
            assert_eq!(indexes(&list, &items).last(), Some(&gone));
            while list.pop_front(&mut items).is_some() {}
            assert!(list.is_empty());
            assert_eq!(items, [Links::UNLINKED; 3]);
        }
    }

    #[test]
    #[should_panic(expected = "item 1 is in another list, or in none")]
    fn a_stranger_is_not_taken() {
        let mut items = [Links::UNLINKED; 2];
        let mut list = List::<Only>::new();
        list.push_back(&mut items, 0);
        list.remove(&mut items, 1);
    }
}
