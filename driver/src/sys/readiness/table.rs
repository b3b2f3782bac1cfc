//! The descriptors that the driver knows: a slot for each number and for each fixed id, and the
//! files that it holds open itself.
//!
//! | slot | occupied | watched | waiters | how it ends |
//! |---|---|---|---|---|
//! | empty | no | no | none | |
//! | lent | no | while something waits | of operations on a number that was not attached | the last waiter leaves |
//! | attached, registered | yes | from the first wait on | any | [`Slot::vacate`] |
//!
//! What the selector reports carries a key: the slot and its generation. A slot that is not
//! watched any more has a new one, so that late reports find nobody.

use super::flights::{Direction, Queued};
use super::selector::Interest;
use crate::fd::Target;
use crate::list::{List, NONE};
use crate::sys::files::Files;
use std::ops::{Index, IndexMut};
use std::os::fd::RawFd;

/// What a descriptor refers to, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sys) enum Kind {
    /// A socket: non-blocking.
    Socket,
    /// A pipe, or a file that only the kernel names (an eventfd): it has no positions.
    Stream,
    /// A regular file, a directory, a block device: calls may wait for a disk.
    File,
    /// A device, or not known.
    Other,
}

impl Kind {
    /// Whether positioned calls fail at once (ESPIPE), and closing waits for no disk.
    pub(super) fn never_blocks(self) -> bool {
        match self {
            Self::Socket | Self::Stream => true,
            Self::File | Self::Other => false,
        }
    }
}

/// What is known of the bytes that a descriptor has for its readers.
///
/// | state | a read | what comes next |
/// |---|---|---|
/// | `Unknown` | is tried | `Some`, when a stream is watched from now on |
/// | `Some` | is tried | `Drained`, by a read that came back short with so many bytes at least, or would block |
/// | `Drained` | waits for a report | `Some`, by that report |
///
/// A short read has emptied a TCP stream, and what arrives after it is reported: descriptors are
/// watched for edges. It has not where the stream ends, or has urgent data, which stop a read. An
/// end is reported with the bytes before it, and leads back to `Unknown` for good; so are urgent
/// data by epoll. kqueue reports how many bytes there are instead, wherever reads stop: one that
/// has taken as many has taken all of them. Other sockets stop for reasons of their own: at a
/// packet's end, at a descriptor that came along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supply {
    Unknown,
    Some(u32),
    Drained,
}

/// One descriptor.
#[derive(Debug)]
pub(super) struct Slot {
    /// The number; of an empty fixed slot, none.
    fd: RawFd,
    generation: u32,
    /// A held file, or [`NONE`].
    file: u32,
    kind: Kind,
    /// Attached, or registered under an id.
    occupied: bool,
    /// What the selector reports about.
    watched: Interest,
    supply: Supply,
    /// One list for each direction.
    waiters: [List<Queued>; 4],
}

impl Slot {
    fn empty(fd: RawFd) -> Self {
        Self {
            fd,
            generation: 0,
            file: NONE,
            kind: Kind::Other,
            occupied: false,
            watched: Interest::NONE,
            supply: Supply::Unknown,
            waiters: [const { List::new() }; 4],
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn file(&self) -> Option<u32> {
        (self.file != NONE).then_some(self.file)
    }

    pub(super) fn is_occupied(&self) -> bool {
        self.occupied
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.watched.is_none()
    }

    pub(super) fn watched(&self) -> Interest {
        self.watched
    }

    /// More of it is watched from now on; `supply`: which short reads show that nothing is left, if
    /// any.
    pub(super) fn watch(&mut self, interest: Interest, supply: Option<u32>) {
        self.watched = self.watched.and(interest);
        if let Some(supply) = supply {
            self.supply = Supply::Some(supply);
        }
    }

    /// No more of it is watched.
    pub(super) fn watch_only(&mut self, left: Interest) {
        self.watched = left;
        self.supply = Supply::Unknown;
    }

    /// Whether a read would block for sure.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.supply == Supply::Drained
    }

    /// Whether a new call may be made at once: it overtakes none. One `for_bytes` of a stream is
    /// not made where it would block for sure.
    #[inline]
    pub(super) fn admits(&self, direction: Direction, for_bytes: bool) -> bool {
        self.waiters(direction).is_empty() && !(for_bytes && self.is_drained())
    }

    /// A read has come back with less than it had room for.
    #[inline]
    pub(super) fn drain(&mut self, read: u32) {
        if let Supply::Some(supply) = self.supply {
            if read >= supply {
                self.supply = Supply::Drained;
            }
        }
    }

    /// The selector has reported that there is something to read: see
    /// [`Event::supply`](super::selector::Event::supply).
    #[inline]
    pub(super) fn supplied(&mut self, supply: u32) {
        if self.supply != Supply::Unknown {
            self.supply = Supply::Some(supply);
        }
    }

    /// Short reads tell nothing any more.
    pub(super) fn distrust(&mut self) {
        self.supply = Supply::Unknown;
    }

    pub(super) fn waiters(&self, direction: Direction) -> &List<Queued> {
        &self.waiters[lane(direction)]
    }

    pub(super) fn waiters_mut(&mut self, direction: Direction) -> &mut List<Queued> {
        &mut self.waiters[lane(direction)]
    }

    pub(super) fn has_waiters(&self) -> bool {
        self.waiters.iter().any(|list| !list.is_empty())
    }

    /// Nothing that was reported so far is meant for it any more.
    pub(super) fn grow_older(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Fills an empty slot.
    pub(super) fn occupy(&mut self, fd: RawFd, kind: Kind, file: Option<u32>) {
        assert!(
            !self.occupied && !self.is_watched(),
            "a slot is emptied before it is filled"
        );
        assert!(!self.has_waiters(), "waiters leave with their file");
        self.fd = fd;
        self.kind = kind;
        self.file = file.unwrap_or(NONE);
        self.occupied = true;
    }

    /// Empties it; nothing waits and nothing is watched. Returns the file that it held.
    pub(super) fn vacate(&mut self) -> Option<u32> {
        assert!(
            !self.is_watched() && !self.has_waiters(),
            "waiters leave with their file"
        );
        let file = self.file();
        self.file = NONE;
        self.kind = Kind::Other;
        self.occupied = false;
        self.grow_older();
        file
    }
}

fn lane(direction: Direction) -> usize {
    match direction {
        Direction::Read => 0,
        Direction::Write => 1,
        Direction::Aside => 2,
        Direction::Either => 3,
    }
}

/// All slots: those of the numbers, then those of the ids.
pub(super) struct Table {
    slots: Box<[Slot]>,
    /// How many are for numbers.
    descriptors: u32,
    pub(super) files: Files<Kind>,
}

impl Table {
    /// The only place that allocates.
    pub(super) fn new(descriptors: u32, file_slots: u32, in_flight: u32) -> Self {
        let numbers = (0..descriptors).map(|fd| i32::try_from(fd).expect("a limit of 20 bits"));
        let ids = (0..file_slots).map(|_| -1);
        Self {
            slots: numbers.chain(ids).map(Slot::empty).collect(),
            descriptors,
            // One for each slot, two for each job, and those of a registration that replaces all.
            files: Files::with_capacity(descriptors + 1 + 2 * file_slots + 2 * in_flight),
        }
    }

    pub(super) fn descriptors(&self) -> u32 {
        self.descriptors
    }

    pub(super) fn file_slots(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("two limits of 20 bits") - self.descriptors
    }

    /// The slot of a number, if the table has one.
    #[inline]
    pub(super) fn plain(&self, fd: RawFd) -> Option<u32> {
        u32::try_from(fd).ok().filter(|fd| *fd < self.descriptors)
    }

    /// The slot of an id, if the table has one.
    #[inline]
    pub(super) fn fixed(&self, id: u32) -> Option<u32> {
        (id < self.file_slots()).then(|| self.descriptors + id)
    }

    /// The number and the slot of what an operation is directed at; none for an id that names
    /// nothing.
    #[inline]
    pub(super) fn resolve(&self, target: Target) -> Option<(RawFd, Option<u32>)> {
        match target {
            Target::Plain(fd) => Some((fd, self.plain(fd))),
            Target::Fixed(id) => {
                let slot = self.fixed(id).filter(|slot| self[*slot].occupied)?;
                Some((self[slot].fd, Some(slot)))
            }
        }
    }

    /// What reports about a slot are to carry.
    pub(super) fn key(&self, slot: u32) -> u64 {
        u64::from(self[slot].generation) << 32 | u64::from(slot)
    }

    /// The slot that a report is about; none if it is stale. A key that was never given out is an
    /// error.
    pub(super) fn reported(&self, key: u64) -> Result<Option<u32>, ()> {
        let slot = u32::try_from(key & 0xffff_ffff).expect("32 bits");
        match self.slots.get(slot as usize) {
            Some(known) if known.is_watched() && self.key(slot) == key => Ok(Some(slot)),
            Some(_) => Ok(None),
            None => Err(()),
        }
    }
}

impl Index<u32> for Table {
    type Output = Slot;

    #[inline]
    fn index(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }
}

impl IndexMut<u32> for Table {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_have_slots_of_their_own() {
        let mut table = Table::new(4, 2, 1);
        assert_eq!((table.descriptors(), table.file_slots()), (4, 2));
        for (fd, slot) in [
            (0, Some(0)),
            (3, Some(3)),
            (4, None),
            (-1, None),
            (i32::MIN, None),
        ] {
            assert_eq!(table.plain(fd), slot);
            assert_eq!(table.resolve(Target::Plain(fd)), Some((fd, slot)));
        }
        for (id, slot) in [(0, Some(4)), (1, Some(5)), (2, None), (u32::MAX, None)] {
            assert_eq!(table.fixed(id), slot);
            assert_eq!(
                table.resolve(Target::Fixed(id)),
                None,
                "nothing is registered"
            );
        }
        table[5].occupy(9, Kind::Socket, None);
        assert_eq!(table.resolve(Target::Fixed(1)), Some((9, Some(5))));
    }

    #[test]
    fn stale_and_unknown_reports_find_nobody() {
        let mut table = Table::new(2, 0, 1);
        let old = table.key(1);
        assert_eq!(table.reported(old), Ok(None), "it is not watched");
        table[1].watch(Interest::READ, None);
        assert_eq!(table.reported(old), Ok(Some(1)));
        table[1].watch_only(Interest::NONE);
        table[1].grow_older();
        table[1].watch(Interest::READ, None);
        assert_eq!(
            table.reported(old),
            Ok(None),
            "it was meant for an older file"
        );
        assert_eq!(table.reported(table.key(1)), Ok(Some(1)));
        assert_eq!(table.reported(2), Err(()));
        assert_eq!(table.reported(u64::MAX), Err(()));
    }

    #[test]
    fn a_stream_is_empty_when_all_that_was_reported_is_read() {
        let mut table = Table::new(1, 0, 1);
        let slot = &mut table[0];
        slot.watch(Interest::READ, None);
        slot.supplied(0);
        slot.drain(9);
        assert!(!slot.is_drained(), "it is no stream");
        slot.watch(Interest::READ, Some(u32::MAX));
        slot.drain(9);
        assert!(!slot.is_drained(), "nothing was reported");
        slot.supplied(3);
        slot.drain(2);
        assert!(!slot.is_drained(), "one is left");
        slot.drain(3);
        assert!(slot.is_drained());
        slot.supplied(1);
        assert!(!slot.is_drained(), "there is news");
        slot.drain(u32::MAX);
        assert!(slot.is_drained(), "it would block");
        slot.distrust();
        slot.supplied(0);
        slot.drain(9);
        assert!(!slot.is_drained());
    }
}
