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
use crate::list::{Linked, Links, List, NONE};
use std::ops::{Index, IndexMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What a descriptor refers to, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
/// watched for edges. It has not where the stream ends, or has urgent data, which stop a read. An end is
/// reported with the bytes before it, and leads back to `Unknown` for good; so are urgent data by epoll.
/// kqueue reports how many bytes there are instead, wherever reads stop: one that has taken as many has
/// taken all of them. Other sockets stop for reasons of their own: at a packet's end, at a descriptor that
/// came along.
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

    /// More of it is watched from now on; `supply`: which short reads show that nothing is left, if any.
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

    /// Whether a new call may be made at once: it overtakes none. One `for_bytes` of a stream is not
    /// made where it would block for sure.
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
    pub(super) files: Files,
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

/// Files that the driver holds open under numbers of its own, for as long as they are attached or
/// registered, and until no job uses them.
pub(super) struct Files {
    files: Box<[File]>,
    free: List<Unused>,
}

struct File {
    fd: Option<OwnedFd>,
    kind: Kind,
    users: u32,
    links: Links,
}

/// The role of a file's links: free, or on its way into the table.
pub(super) struct Unused;

impl Linked<Unused> for File {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Files {
    fn with_capacity(capacity: u32) -> Self {
        let file = |_| File {
            fd: None,
            kind: Kind::Other,
            users: 0,
            links: Links::UNLINKED,
        };
        let mut files: Box<[File]> = (0..capacity).map(file).collect();
        let mut free = List::new();
        (0..capacity).for_each(|index| free.push_back(&mut files, index));
        Self { files, free }
    }

    /// Takes a descriptor, for one user.
    pub(super) fn hold(&mut self, fd: OwnedFd, kind: Kind) -> u32 {
        let index = self
            .free
            .pop_front(&mut self.files)
            .expect("a place for every slot and job");
        let file = &mut self.files[index as usize];
        assert!(
            file.fd.is_none() && file.users == 0,
            "a free place holds nothing"
        );
        (file.fd, file.kind, file.users) = (Some(fd), kind, 1);
        index
    }

    /// Counts one more user.
    pub(super) fn share(&mut self, index: u32) {
        let file = &mut self.files[index as usize];
        assert!(file.users > 0, "I11: file {index} is not held");
        file.users += 1;
    }

    /// Counts one user less, and closes the file after the last.
    pub(super) fn release(&mut self, index: u32) {
        let file = &mut self.files[index as usize];
        assert!(file.users > 0, "I11: file {index} is not held");
        file.users -= 1;
        if file.users == 0 {
            drop(file.fd.take());
            self.free.push_front(&mut self.files, index);
        }
    }

    pub(super) fn fd(&self, index: u32) -> RawFd {
        let fd = self.files[index as usize].fd.as_ref();
        fd.expect("I11: a file is held while it has users")
            .as_raw_fd()
    }

    pub(super) fn kind(&self, index: u32) -> Kind {
        self.files[index as usize].kind
    }

    /// Appends a file that is in no slot yet.
    pub(super) fn stage(&mut self, staged: &mut List<Unused>, index: u32) {
        staged.push_back(&mut self.files, index);
    }

    /// Takes the first of those.
    pub(super) fn unstage(&mut self, staged: &mut List<Unused>) -> Option<u32> {
        staged.pop_front(&mut self.files)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.files.iter().filter(|file| file.users > 0).count()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::check_open;

    fn some_file() -> OwnedFd {
        std::fs::File::open("/proc/self/exe").unwrap().into()
    }

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

    #[test]
    fn a_file_is_closed_after_its_last_user() {
        let mut files = Files::with_capacity(2);
        let index = files.hold(some_file(), Kind::File);
        let fd = files.fd(index);
        files.share(index);
        files.release(index);
        assert!(check_open(fd).is_ok());
        files.release(index);
        assert_eq!(files.held(), 0);
        let [a, b] = [(), ()].map(|()| files.hold(some_file(), Kind::File));
        assert_ne!(a, b);
    }

    #[test]
    fn staged_files_keep_their_order() {
        let mut files = Files::with_capacity(3);
        let mut staged = List::new();
        let held = [(), (), ()].map(|()| files.hold(some_file(), Kind::File));
        for index in held {
            files.stage(&mut staged, index);
        }
        assert_eq!(
            [(), (), ()].map(|()| files.unstage(&mut staged)),
            held.map(Some)
        );
        assert_eq!(files.unstage(&mut staged), None);
    }

    #[test]
    #[should_panic(expected = "I11: file 0 is not held")]
    fn nobody_releases_twice() {
        let mut files = Files::with_capacity(1);
        let index = files.hold(some_file(), Kind::File);
        files.release(index);
        files.release(index);
    }
}
