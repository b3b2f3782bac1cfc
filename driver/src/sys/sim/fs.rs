//! The disk of a simulated host: files, directories and symbolic links in memory, what the calls on
//! them give, and what is left of them after a crash.
//!
//! * `file`, `attributes`: the calls on what is open.
//! * `data`: the bytes of a file, and which of them are on the disk.
//! * `names`: the calls that take paths.
//! * `path`: from a path to the directory and the name that it leads to.
//! * `journal`: the changes of names that a crash may take back.
//!
//! Linux with ext4 is the model, for a user who may do everything: permissions are kept and not
//! checked. Nothing is drawn here but in a crash. Reading leaves the time of the last access alone.

mod attributes;
mod data;
mod file;
mod journal;
mod names;
mod path;
#[cfg(test)]
mod tests;

use self::attributes::{Attributes, Times};
use self::data::{Data, PAGE, SECTOR};
use self::journal::Journal;
use super::random::Random;
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

/// The longest name of a file or of an extended attribute, in bytes.
const NAME_MAX: usize = 255;

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

    /// The machine stops, and starts again. Nothing is open then: what was held is not to be
    /// released. What was synced is there; of what was changed since, some is and some is not:
    ///
    /// * The changes of names are there up to one that is drawn, and none of those behind it.
    /// * Each sector of a file, of 512 bytes, is as it was synced or as it was last; or empty, if
    ///   the file was cut off before it and grew again. If sectors may be `torn`, one may begin as
    ///   the one and end as the other.
    /// * A file's size is the synced one, or any from the least to the last that it had since: in
    ///   whole sectors, unless they may be torn.
    /// * Each extended attribute is the old or the new one, and so are the times.
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
        let node = self.nodes.get(&inode);
        node.expect("named, or held by who has it")
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
        let attributes = Attributes::new(now);
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
