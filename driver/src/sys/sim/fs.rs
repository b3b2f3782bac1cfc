//! The disk of a simulated host: files, directories and symbolic links in memory, what the calls on
//! them give, and what is left of them after a crash.
//!
//! * `data`: the bytes of a file, and which of them are on the disk.
//! * `path`: from a path to the directory and the name that it leads to.
//! * `names`: the calls that take paths.
//! * `journal`: the changes of names that a crash may take back.
//!
//! Linux with ext4 is the model, for a user who may do everything: permissions are kept and not
//! checked. Nothing is drawn here but in a crash. Reading leaves the time of the last access alone.

mod data;
mod journal;
mod names;
mod path;
#[cfg(test)]
mod tests;

use self::data::{Data, FILE_MAX, PAGE, SECTOR};
use self::journal::Journal;
use super::errno::{Errno, Result};
use super::random::Random;
use crate::op::space::Space;
use crate::sys::file::sync_flags;
use crate::sys::name_flags::{XATTR_CREATE, XATTR_REPLACE};
use std::collections::BTreeMap;
use std::time::Duration;

/// A file, directory or symbolic link, by its number, which no other ever has.
///
/// It is good as long as a name leads to it or it is held: see [`Fs::retain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode(u64);

/// The directory that absolute paths start from, and the current directory.
pub(crate) const ROOT: Inode = Inode(1);

/// A disk.
#[derive(Debug)]
pub(crate) struct Fs {
    nodes: BTreeMap<Inode, Node>,
    /// The number of the node that was made last.
    last: Inode,
    /// In pages, as what is used of it.
    capacity: u64,
    used: u64,
    journal: Journal,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) inode: u64,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// Of 512 bytes.
    pub(crate) blocks: u64,
    pub(crate) times: Times,
}

/// In virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) accessed: Duration,
    pub(crate) modified: Duration,
    pub(crate) changed: Duration,
    pub(crate) created: Duration,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many bytes; fewer than there were where the disk, or the largest size, ends.
    pub(crate) count: usize,
    /// The offset behind them.
    pub(crate) end: u64,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    permissions: u32,
    /// How many names lead to it.
    links: u32,
    /// How many have it open, and how many changes in the journal could bring it back.
    holds: u32,
    attributes: Attributes,
    /// As of the last `sync`.
    synced: Attributes,
}

#[derive(Debug)]
enum Kind {
    File(Data),
    Directory(Directory),
    Symlink(Box<[u8]>),
}

#[derive(Debug)]
struct Directory {
    /// Where its name is, or was.
    parent: Inode,
    entries: BTreeMap<Box<[u8]>, Inode>,
}

#[derive(Debug, Clone)]
struct Attributes {
    times: Times,
    extended: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// The longest name of a file or of an extended attribute, in bytes.
const NAME_MAX: usize = 255;

/// The longest value of an extended attribute, in bytes.
const XATTR_MAX: usize = 65_536;

impl Fs {
    /// An empty disk for `capacity` bytes of files' contents, in whole pages of 4096; names and
    /// attributes take none of it.
    pub(crate) fn new(capacity: u64) -> Self {
        let root = Node {
            links: 1,
            ..Node::new(Kind::directory(ROOT), 0o755, Duration::ZERO)
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            last: ROOT,
            capacity: capacity / PAGE as u64,
            used: 0,
            journal: Journal::default(),
        }
    }

    /// One more has it open.
    pub(crate) fn retain(&mut self, inode: Inode) {
        self.node_mut(inode).holds += 1;
    }

    /// One fewer has it open. With the last one it is gone, if no name leads to it.
    pub(crate) fn release(&mut self, inode: Inode) {
        let node = self.node_mut(inode);
        node.holds -= 1;
        if node.is_over() {
            self.used -= node.pages();
            self.nodes.remove(&inode);
        }
    }

    /// Up to `len` bytes from `offset` on: fewer where the file ends.
    pub(crate) fn read_at(&self, inode: Inode, offset: u64, len: usize) -> Result<Vec<u8>> {
        match &self.node(inode).kind {
            Kind::File(data) => Ok(data.read(offset, len)),
            Kind::Directory(_) => Err(Errno(libc::EISDIR)),
            Kind::Symlink(_) => Err(Errno(libc::EINVAL)),
        }
    }

    /// Writes at `offset`, or at the end of the file if it is to `append`. What lies between the end
    /// and the offset reads as zeroes.
    pub(crate) fn write_at(
        &mut self,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
        append: bool,
        now: Duration,
    ) -> Result<Written> {
        let data = self.data(inode, libc::EISDIR)?;
        if bytes.is_empty() {
            return Ok(Written {
                count: 0,
                end: offset,
            });
        }
        let offset = if append { data.size() } else { offset };
        if offset >= FILE_MAX {
            return Err(Errno(libc::EFBIG));
        }
        let end = FILE_MAX.min(offset.saturating_add(bytes.len() as u64));
        let missing = data.missing(offset, end);
        let room = self.room(missing);
        let fits = usize::try_from(end - offset).map_or(bytes, |len| &bytes[..len]);
        let count = self.change(inode, now, |data| data.write(offset, fits, room));
        if count == 0 {
            return Err(Errno(libc::ENOSPC));
        }
        Ok(Written {
            count,
            end: offset + count as u64,
        })
    }

    /// Cuts a file off, or extends it by zeroes that take no space.
    pub(crate) fn truncate(&mut self, inode: Inode, size: u64, now: Duration) -> Result<()> {
        self.data(inode, libc::EINVAL)?;
        if size > FILE_MAX {
            return Err(Errno(libc::EFBIG));
        }
        self.change(inode, now, |data| data.resize(size));
        Ok(())
    }

    /// Takes space for a range, gives it back, or makes it read as zeroes: all of it, or nothing.
    pub(crate) fn allocate(
        &mut self,
        inode: Inode,
        space: Space,
        keep_size: bool,
        offset: u64,
        len: u64,
        now: Duration,
    ) -> Result<()> {
        if len == 0 {
            return Err(Errno(libc::EINVAL));
        }
        let data = self.data(inode, libc::EISDIR)?;
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= FILE_MAX)
            .ok_or(Errno(libc::EFBIG))?;
        if space != Space::PunchHole {
            let missing = data.missing(offset, end);
            if self.room(missing) < missing {
                return Err(Errno(libc::ENOSPC));
            }
        }
        self.change(inode, now, |data| {
            match space {
                Space::Reserve => data.reserve(offset, end),
                Space::PunchHole => data.punch(offset, end),
                Space::Zero => {
                    data.punch(offset, end);
                    data.reserve(offset, end);
                }
            }
            let keeps = keep_size || space == Space::PunchHole;
            if !keeps && end > data.size() {
                data.resize(end);
            }
        });
        Ok(())
    }

    /// Makes what is there durable: a file's bytes and size, and unless `data_only` its attributes;
    /// a directory's names, with all changes of names anywhere that came before the last one here.
    pub(crate) fn sync(&mut self, inode: Inode, data_only: bool) {
        let node = self.node_mut(inode);
        if !data_only {
            node.synced = node.attributes.clone();
        }
        match &mut node.kind {
            Kind::File(data) => data.sync(),
            Kind::Directory(_) => self.commit(self.journal.up_to(inode)),
            Kind::Symlink(_) => {}
        }
    }

    /// Writes a range out, which makes nothing durable: the disk's own cache may lose it.
    pub(crate) fn sync_range(offset: u64, len: u64, flags: u32) -> Result<()> {
        let end = offset.checked_add(len);
        let is_offset = |end| i64::try_from(end).is_ok();
        let known = sync_flags::WAIT_BEFORE | sync_flags::WRITE | sync_flags::WAIT_AFTER;
        if flags & !known == 0 && end.is_some_and(is_offset) {
            Ok(())
        } else {
            Err(Errno(libc::EINVAL))
        }
    }

    pub(crate) fn stat(&self, inode: Inode) -> Stat {
        let node = self.node(inode);
        let (kind, size, blocks) = match &node.kind {
            Kind::File(data) => (
                libc::S_IFREG,
                data.size(),
                data.pages() * (PAGE / SECTOR) as u64,
            ),
            Kind::Directory(_) => (libc::S_IFDIR, PAGE as u64, (PAGE / SECTOR) as u64),
            Kind::Symlink(text) => (libc::S_IFLNK, text.len() as u64, 0),
        };
        Stat {
            inode: inode.0,
            mode: kind | node.permissions,
            links: self.links(node),
            size,
            blocks,
            times: node.attributes.times,
        }
    }

    /// The value of an extended attribute. `room` is what the caller has for it, in bytes: with none
    /// it asks for the size.
    pub(crate) fn get_xattr(&self, inode: Inode, name: &[u8], room: usize) -> Result<&[u8]> {
        check_xattr(name)?;
        let value = self.node(inode).attributes.extended.get(name);
        let value = value.ok_or(Errno(libc::ENODATA))?;
        if room != 0 && room < value.len() {
            return Err(Errno(libc::ERANGE));
        }
        Ok(value)
    }

    /// Sets an extended attribute, as the flags of setxattr(2) say.
    pub(crate) fn set_xattr(
        &mut self,
        inode: Inode,
        name: &[u8],
        value: &[u8],
        flags: i32,
        now: Duration,
    ) -> Result<()> {
        if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        if value.len() > XATTR_MAX {
            return Err(Errno(libc::E2BIG));
        }
        check_xattr(name)?;
        let attributes = &mut self.node_mut(inode).attributes;
        let exists = attributes.extended.contains_key(name);
        if exists && flags & XATTR_CREATE != 0 {
            return Err(Errno(libc::EEXIST));
        }
        if !exists && flags & XATTR_REPLACE != 0 {
            return Err(Errno(libc::ENODATA));
        }
        attributes.extended.insert(name.into(), value.into());
        attributes.times.changed = now;
        Ok(())
    }

    /// The machine stops and starts again: nothing is open, and of what was changed since it was
    /// synced, some is there and some is not.
    ///
    /// The changes of names are there up to one of them, and not beyond. Each file then has each of
    /// its sectors of 512 bytes as it was synced or as it was last, or empty where it was cut off
    /// in between; if sectors may be `torn`, the first bytes of one and the others of the other. Its
    /// size is the one that was synced, or any that it grew through since it was shortest. Each of its
    /// attributes is the one or the other.
    pub(crate) fn crash(&mut self, random: &mut Random, torn: bool) {
        self.undo(random);
        for node in self.nodes.values_mut() {
            node.holds = 0;
        }
        self.nodes.retain(|_, node| !node.is_over());
        for node in self.nodes.values_mut() {
            node.crash(random, torn);
        }
        // May be beyond the capacity: what was cut off is back, and its space was used again.
        self.used = self.nodes.values().map(Node::pages).sum();
    }

    fn node(&self, inode: Inode) -> &Node {
        self.nodes
            .get(&inode)
            .expect("named, or held by who has it")
    }

    fn node_mut(&mut self, inode: Inode) -> &mut Node {
        let node = self.nodes.get_mut(&inode);
        node.expect("named, or held by who has it")
    }

    /// A new node, that no name leads to yet.
    fn make(&mut self, kind: Kind, permissions: u32, now: Duration) -> Inode {
        self.last.0 += 1;
        let node = Node::new(kind, permissions, now);
        self.nodes.insert(self.last, node);
        self.last
    }

    /// The bytes of a file; `otherwise` is the error for what is none.
    fn data(&self, inode: Inode, otherwise: i32) -> Result<&Data> {
        match &self.node(inode).kind {
            Kind::File(data) => Ok(data),
            Kind::Directory(_) | Kind::Symlink(_) => Err(Errno(otherwise)),
        }
    }

    /// Changes the bytes of what is known to be a file, and counts what it takes.
    fn change<T>(&mut self, inode: Inode, now: Duration, change: impl FnOnce(&mut Data) -> T) -> T {
        let node = self.nodes.get_mut(&inode).expect("looked up before");
        let Kind::File(data) = &mut node.kind else {
            unreachable!("looked up as a file before");
        };
        self.used -= data.pages();
        let done = change(data);
        self.used += data.pages();
        node.attributes.times.modified = now;
        node.attributes.times.changed = now;
        done
    }

    /// The free pages, of which some are `wanted`: if there are too few, what was removed and could
    /// come back is given up.
    fn room(&mut self, wanted: u64) -> u64 {
        if self.capacity.saturating_sub(self.used) < wanted {
            self.commit(self.journal.len());
        }
        self.capacity.saturating_sub(self.used)
    }

    fn links(&self, node: &Node) -> u32 {
        let Kind::Directory(directory) = &node.kind else {
            return node.links;
        };
        if node.links == 0 {
            return 0;
        }
        // Its name, its `.`, and the `..` of those in it.
        let inside = directory.entries.values();
        inside.fold(2, |links, inode| {
            links + u32::from(self.node(*inode).is_directory())
        })
    }
}

impl Node {
    fn new(kind: Kind, permissions: u32, now: Duration) -> Self {
        let attributes = Attributes {
            times: Times {
                accessed: now,
                modified: now,
                changed: now,
                created: now,
            },
            extended: BTreeMap::new(),
        };
        Self {
            kind,
            permissions,
            links: 0,
            holds: 0,
            synced: attributes.clone(),
            attributes,
        }
    }

    /// Whether nobody can reach it any more.
    fn is_over(&self) -> bool {
        self.links == 0 && self.holds == 0
    }

    fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    fn pages(&self) -> u64 {
        match &self.kind {
            Kind::File(data) => data.pages(),
            Kind::Directory(_) | Kind::Symlink(_) => 0,
        }
    }

    fn crash(&mut self, random: &mut Random, torn: bool) {
        if let Kind::File(data) = &mut self.kind {
            data.crash(random, torn);
        }
        self.attributes.crash(&self.synced, random);
        self.synced = self.attributes.clone();
    }
}

impl Kind {
    fn directory(parent: Inode) -> Self {
        Self::Directory(Directory {
            parent,
            entries: BTreeMap::new(),
        })
    }
}

impl Attributes {
    /// Each is as it is, or as it was synced.
    fn crash(&mut self, synced: &Self, random: &mut Random) {
        let mut survives = || random.below(2) == 0;
        if self.times != synced.times && !survives() {
            self.times = synced.times;
        }
        // None is ever removed: what was synced is there, with this or another value.
        self.extended.retain(|name, value| {
            let old = synced.extended.get(name);
            if old == Some(value) || survives() {
                return true;
            }
            if let Some(old) = old {
                value.clone_from(old);
            }
            old.is_some()
        });
    }
}

/// Whether there can be an attribute of this name.
fn check_xattr(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Errno(libc::ERANGE));
    }
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let rest = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix));
    match rest {
        None => Err(Errno(libc::EOPNOTSUPP)),
        Some([]) => Err(Errno(libc::EINVAL)),
        Some(_) => Ok(()),
    }
}
