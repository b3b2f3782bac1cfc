//! The handles and sockets that the driver knows: a slot for each number and for each fixed id.
//!
//! | slot | its way | what comes next |
//! |---|---|---|
//! | empty | none | an attach, or the first call on a number that was not attached |
//! | seen | as it was found; looked at anew by each call, for the number may mean another file | an attach, a close |
//! | attached, registered | as it was found | a detach, which leaves it seen; a close; another attach |
//!
//! A handle stays with its port until it is closed, also when it is detached: that is why a slot
//! remembers it.

use super::super::files::Files;
use crate::fd::Target;
use crate::sys::fd::RawFd;
use std::ops::{Index, IndexMut};

/// How calls on a handle or a socket are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum Way {
    /// Overlapped, and the packet comes to the port.
    Port {
        /// Whether none comes of a call that succeeds at once.
        skips: bool,
        /// Whether it is a file on a disk: it has positions, and no current one.
        has_positions: bool,
    },
    /// By a worker, who waits: it takes no overlapped calls.
    Worker {
        /// Whether it is a file on a disk: it has positions, and a current one.
        has_positions: bool,
    },
}

impl Way {
    pub(super) fn has_positions(self) -> bool {
        let (Self::Port { has_positions, .. } | Self::Worker { has_positions }) = self;
        has_positions
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    fd: RawFd,
    way: Option<Way>,
    attached: bool,
    /// The held file, if the driver holds one.
    file: Option<u32>,
}

impl Slot {
    const EMPTY: Self = Self {
        fd: crate::sys::NO_FD,
        way: None,
        attached: false,
        file: None,
    };

    /// Its way, if it was attached or registered.
    pub(super) fn attached(&self) -> Option<Way> {
        self.way.filter(|_| self.attached)
    }

    /// The way that was found for this number, whoever it was that bore it then.
    pub(super) fn seen(&self, fd: RawFd) -> Option<Way> {
        self.way.filter(|_| self.fd == fd)
    }

    pub(super) fn file(&self) -> Option<u32> {
        self.file
    }

    /// Remembers what was found.
    pub(super) fn see(&mut self, fd: RawFd, way: Way) {
        (self.fd, self.way) = (fd, Some(way));
    }

    pub(super) fn occupy(&mut self, fd: RawFd, way: Way, file: Option<u32>) {
        *self = Self {
            fd,
            way: Some(way),
            attached: true,
            file,
        };
    }

    /// Detaches it, and gives the held file out of its hands.
    pub(super) fn vacate(&mut self) -> Option<u32> {
        self.attached = false;
        self.file.take()
    }

    /// Forgets it: its number means nothing now.
    pub(super) fn forget(&mut self) {
        debug_assert!(self.file.is_none(), "I11: it was vacated");
        *self = Self::EMPTY;
    }
}

pub(super) struct Table {
    slots: Box<[Slot]>,
    /// So many slots are of numbers; those of fixed ids follow.
    numbers: u32,
    pub(super) files: Files<Way>,
}

/// Numbers of handles are multiples of it.
const STEP: usize = 4;

impl Table {
    /// The only place that allocates.
    pub(super) fn new(numbers: u32, file_slots: u32, in_flight: u32) -> Self {
        let slots = numbers + file_slots;
        Self {
            slots: vec![Slot::EMPTY; slots as usize].into_boxed_slice(),
            numbers,
            // One for each slot, one for each job, and those that are to replace others.
            files: Files::with_capacity(slots + in_flight + file_slots),
        }
    }

    pub(super) fn descriptors(&self) -> u32 {
        self.numbers
    }

    pub(super) fn file_slots(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("a limit of 21 bits") - self.numbers
    }

    /// The slot of a number.
    pub(super) fn plain(&self, fd: RawFd) -> Option<u32> {
        let slot = u32::try_from(fd.number() / STEP).ok()?;
        (slot > 0 && slot < self.numbers).then_some(slot)
    }

    /// The slot of a fixed id.
    pub(super) fn fixed(&self, id: u32) -> Option<u32> {
        (id < self.file_slots()).then(|| self.numbers + id)
    }

    /// What an operation is directed at, and its slot. Nothing is at a fixed id where nothing is
    /// registered.
    pub(super) fn resolve(&self, target: Target) -> Option<(RawFd, Option<u32>)> {
        match target {
            Target::Plain(fd) => Some((fd, self.plain(fd))),
            Target::Fixed(id) => {
                let slot = self.fixed(id)?;
                self[slot].attached()?;
                Some((self[slot].fd, Some(slot)))
            }
        }
    }
}

impl Index<u32> for Table {
    type Output = Slot;

    fn index(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Table {
    fn index_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Way = Way::Worker {
        has_positions: true,
    };

    #[test]
    fn numbers_and_ids_have_slots_of_their_own() {
        let mut table = Table::new(4, 2, 1);
        assert_eq!((table.descriptors(), table.file_slots()), (4, 2));
        for (number, slot) in [(4, Some(1)), (12, Some(3)), (16, None), (-1, None)] {
            let fd = RawFd::from_number(number);
            assert_eq!(table.plain(fd), slot);
            assert_eq!(table.resolve(Target::Plain(fd)), Some((fd, slot)));
        }
        for (id, slot) in [(0, Some(4)), (1, Some(5)), (2, None), (u32::MAX, None)] {
            assert_eq!(table.fixed(id), slot);
            assert_eq!(table.resolve(Target::Fixed(id)), None, "nothing is there");
        }
        let fd = RawFd::from_number(8);
        table[5].occupy(fd, WORKER, None);
        assert_eq!(table.resolve(Target::Fixed(1)), Some((fd, Some(5))));
    }

    #[test]
    fn what_is_detached_is_remembered_until_it_is_closed() {
        let mut table = Table::new(4, 0, 1);
        let [fd, socket] = [8, 9].map(RawFd::from_number);
        let slot = &mut table[2];
        slot.occupy(fd, WORKER, None);
        assert_eq!((slot.attached(), slot.vacate()), (Some(WORKER), None));
        assert_eq!((slot.attached(), slot.seen(fd)), (None, Some(WORKER)));
        assert_eq!(slot.seen(socket), None, "the same number, but another kind");
        slot.forget();
        assert_eq!(slot.seen(fd), None);
    }
}
