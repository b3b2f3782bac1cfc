//! The calls; what they have in common with the kernel's is in `kernel`, crashes are in `crash`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod kernel;

use super::attributes::XATTR_MAX;
use super::data::FILE_MAX;
use super::file::Written;
use super::*;
use crate::op::space::Space;
use crate::sys::name_flags::{
    EMPTY_PATH, EXCHANGE, FOLLOW, NO_REPLACE, REMOVE_DIR, XATTR_CREATE, XATTR_REPLACE,
};
use crate::sys::sim::errno::{Errno, Result};
use std::collections::BTreeSet;

const DISK: u64 = 1 << 20;

/// What everything happens at.
const NOW: Duration = Duration::from_secs(5);

/// A disk that is easy to ask.
struct Disk(Fs);

impl Disk {
    fn new() -> Self {
        Self(Fs::new(DISK))
    }

    fn open(&mut self, path: &str, flags: i32) -> Result<Inode> {
        let inode = self.0.open(ROOT, path.as_bytes(), flags, 0o644, NOW)?;
        self.0.retain(inode);
        Ok(inode)
    }

    /// A file with these bytes, open.
    fn file(&mut self, path: &str, bytes: &[u8]) -> Inode {
        let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY;
        let inode = self.open(path, flags).unwrap();
        self.write(inode, 0, bytes);
        inode
    }

    fn write(&mut self, inode: Inode, offset: u64, bytes: &[u8]) {
        let written = self.0.write_at(inode, offset, bytes, false, NOW).unwrap();
        assert_eq!(written.count, bytes.len());
    }

    fn mkdir(&mut self, path: &str) -> Inode {
        self.0.mkdir(ROOT, path.as_bytes(), 0o755, NOW).unwrap();
        self.find(path).unwrap()
    }

    fn symlink(&mut self, text: &str, path: &str) {
        let made = self.0.symlink(text.as_bytes(), ROOT, path.as_bytes(), NOW);
        made.unwrap();
    }

    fn unlink(&mut self, path: &str, flags: i32) -> Result<()> {
        self.0.unlink(ROOT, path.as_bytes(), flags, NOW)
    }

    fn rename(&mut self, from: &str, to: &str, flags: u32) -> Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        self.0.rename((ROOT, from), (ROOT, to), flags, NOW)
    }

    fn hard_link(&mut self, from: &str, to: &str, flags: i32) -> Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        self.0.hard_link((ROOT, from), (ROOT, to), flags, NOW)
    }

    fn find(&self, path: &str) -> Result<Inode> {
        self.0.find(ROOT, path.as_bytes(), true)
    }

    fn contents(&self, inode: Inode) -> Vec<u8> {
        self.0.read_at(inode, 0, usize::MAX).unwrap()
    }

    /// The contents of a file by its name, if there is one.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.find(path).ok().map(|inode| self.contents(inode))
    }

    /// What must be so between any two calls.
    fn check(&self) {
        let Self(fs) = self;
        let used: u64 = fs.nodes.values().map(Node::pages).sum();
        assert_eq!(fs.used, used);
        let mut links = BTreeMap::from([(ROOT, 1)]);
        for (dir, node) in &fs.nodes {
            assert!(!node.is_over(), "nobody reaches {dir:?}");
            let Kind::Directory(directory) = &node.kind else {
                continue;
            };
            for inode in directory.entries.values() {
                *links.entry(*inode).or_insert(0) += 1;
                if let Ok(inside) = fs.directory(*inode) {
                    assert_eq!(inside.parent, *dir);
                }
            }
        }
        for (inode, node) in &fs.nodes {
            let counted = links.get(inode).copied().unwrap_or(0);
            assert_eq!(node.links, counted, "names of {inode:?}");
        }
    }
}

fn error<T>(number: i32) -> Result<T> {
    Err(Errno(number))
}

#[test]
fn a_file_is_what_was_written_to_it() {
    let mut disk = Disk::new();
    let inode = disk.file("f", b"");
    let mut model: Vec<u8> = Vec::new();
    let mut random = Random::new(1);
    let max = 20_000;
    for round in 0..3000_u64 {
        let (start, len) = (random.below(max), random.below(max / 4) + 1);
        let end = start + len;
        let (from, to) = (to_usize(start), to_usize(end));
        match random.below(7) {
            0 | 1 => {
                let append = random.below(2) == 0;
                let bytes = vec![round.to_le_bytes()[0] | 1; to - from];
                if append && model.len() > to_usize(max) {
                    continue;
                }
                let written = disk.0.write_at(inode, start, &bytes, append, NOW);
                let from = if append { model.len() } else { from };
                model.resize(model.len().max(from + bytes.len()), 0);
                model[from..from + bytes.len()].copy_from_slice(&bytes);
                let end = (from + bytes.len()) as u64;
                let count = bytes.len();
                assert_eq!(written, Ok(Written { count, end }));
            }
            2 => {
                disk.0.truncate(inode, start, NOW).unwrap();
                model.resize(from, 0);
            }
            3 => {
                let keeps = random.below(2) == 0;
                let space = [Space::Reserve, Space::Zero][to_usize(random.below(2))];
                let done = disk.0.allocate(inode, space, keeps, start, len, NOW);
                done.unwrap();
                if !keeps {
                    model.resize(model.len().max(to), 0);
                }
                if space == Space::Zero {
                    zero(&mut model, from, to);
                }
            }
            4 => {
                let keeps = random.below(2) == 0;
                let space = Space::PunchHole;
                let done = disk.0.allocate(inode, space, keeps, start, len, NOW);
                done.unwrap();
                zero(&mut model, from, to);
            }
            5 => disk.0.sync(inode, true),
            _ => {
                let expected = &model[from.min(model.len())..to.min(model.len())];
                let read = disk.0.read_at(inode, start, to - from);
                assert_eq!(read.as_deref(), Ok(expected));
            }
        }
        assert_eq!(disk.contents(inode), model, "round {round}");
        assert_eq!(disk.0.stat(inode).size, model.len() as u64);
        disk.check();
    }
}

fn zero(model: &mut [u8], from: usize, to: usize) {
    let len = model.len();
    model[from.min(len)..to.min(len)].fill(0);
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[test]
fn space_is_taken_by_pages_and_ends() {
    let mut disk = Disk::new();
    let blocks = |disk: &Disk, inode| disk.0.stat(inode).blocks;
    let f = disk.file("f", &[1; 4097]);
    assert_eq!(blocks(&disk, f), 16);
    // What is sparse takes none.
    disk.0.truncate(f, DISK * 4, NOW).unwrap();
    disk.write(f, DISK * 4, &[1]);
    assert_eq!(blocks(&disk, f), 24);
    assert_eq!(disk.0.read_at(f, DISK, 3), Ok(vec![0; 3]));
    // What fits is written; where nothing does, it is an error.
    let pages = to_usize(DISK) / PAGE;
    let g = disk.file("g", b"");
    let bytes = vec![1; to_usize(DISK)];
    let written = disk.0.write_at(g, 10, &bytes, false, NOW).unwrap();
    assert_eq!(written.count, (pages - 3) * PAGE - 10);
    assert_eq!(written.end, ((pages - 3) * PAGE) as u64);
    assert_eq!(
        disk.0.write_at(g, written.end, &[1], false, NOW),
        error(libc::ENOSPC)
    );
    let reserved = disk
        .0
        .allocate(g, Space::Reserve, true, written.end, 1, NOW);
    assert_eq!(reserved, error(libc::ENOSPC));
    // What has space can be written, and reserved.
    disk.write(g, 0, &[2; 10]);
    let reserved = disk
        .0
        .allocate(g, Space::Reserve, true, 0, written.end, NOW);
    assert_eq!(reserved, Ok(()));
    // A hole gives space back, and so does a removed file, also if a crash could bring it back.
    let punched = disk.0.allocate(g, Space::PunchHole, false, 4096, 4096, NOW);
    punched.unwrap();
    let punched = disk
        .0
        .allocate(f, Space::PunchHole, true, DISK, DISK * 2, NOW);
    punched.unwrap();
    disk.write(f, 8192, &[1]);
    assert_eq!(
        disk.0.write_at(f, 12_288, &[1], false, NOW),
        error(libc::ENOSPC)
    );
    disk.unlink("g", 0).unwrap();
    assert_eq!(
        disk.0.write_at(f, 12_288, &[1], false, NOW),
        error(libc::ENOSPC),
        "it is open"
    );
    disk.0.release(g);
    disk.write(f, 12_288, &[1]);
    disk.check();
}

#[test]
fn reserved_space_is_beyond_the_end_until_it_is_cut_off() {
    let mut disk = Disk::new();
    let f = disk.file("f", b"text");
    let reserve =
        |disk: &mut Disk, keeps, len| disk.0.allocate(f, Space::Reserve, keeps, 0, len, NOW);
    reserve(&mut disk, true, 10_000).unwrap();
    let stat = disk.0.stat(f);
    assert_eq!((stat.size, stat.blocks), (4, 24));
    disk.0.truncate(f, 3, NOW).unwrap();
    assert_eq!(disk.0.stat(f).blocks, 8);
    reserve(&mut disk, false, 5000).unwrap();
    let stat = disk.0.stat(f);
    assert_eq!((stat.size, stat.blocks), (5000, 16));
    assert_eq!(disk.contents(f)[..5], *b"tex\0\0");
    assert_eq!(reserve(&mut disk, false, 0), error(libc::EINVAL));
    assert_eq!(reserve(&mut disk, false, FILE_MAX + 1), error(libc::EFBIG));
    assert_eq!(reserve(&mut disk, false, DISK + 1), error(libc::ENOSPC));
}

#[test]
fn files_have_a_largest_size() {
    let mut disk = Disk::new();
    let f = disk.file("f", b"");
    assert_eq!(disk.0.truncate(f, FILE_MAX + 1, NOW), error(libc::EFBIG));
    let written = disk.0.write_at(f, FILE_MAX - 2, b"text", false, NOW);
    let (count, end) = (2, FILE_MAX);
    assert_eq!(written, Ok(Written { count, end }));
    let beyond = disk.0.write_at(f, 0, b"text", true, NOW);
    assert_eq!(beyond, error(libc::EFBIG));
    assert_eq!(disk.0.read_at(f, u64::MAX, 1), Ok(Vec::new()));
    let nothing = disk.0.write_at(f, 7, b"", true, NOW);
    assert_eq!(nothing, Ok(Written { count: 0, end: 7 }));
}

#[test]
fn a_file_lives_until_it_is_released() {
    let mut disk = Disk::new();
    let root = ROOT;
    let [f, g] = ["f", "g"].map(|name| disk.file(name, name.as_bytes()));
    disk.unlink("f", 0).unwrap();
    disk.0.sync(root, false);
    assert_eq!(disk.0.stat(f).links, 0);
    disk.rename("g", "h", 0).unwrap();
    let h = disk.file("i", b"i");
    disk.rename("i", "h", 0).unwrap();
    disk.0.sync(root, false);
    assert_eq!(disk.contents(f), b"f");
    assert_eq!(disk.contents(g), b"g");
    assert_eq!(disk.read("h").unwrap(), b"i");
    disk.0.retain(f);
    disk.0.release(f);
    disk.check();
    for inode in [f, g, h] {
        disk.0.release(inode);
    }
    assert_eq!(disk.0.nodes.len(), 2);
    disk.check();
}

#[test]
fn what_is_open_can_be_named_by_its_directory() {
    let mut disk = Disk::new();
    disk.mkdir("d");
    let d = disk.open("d", libc::O_DIRECTORY).unwrap();
    let file = disk.0.open(d, b"f", libc::O_CREAT, 0o640, NOW).unwrap();
    assert_eq!(disk.find("d/f"), Ok(file));
    assert_eq!(disk.0.find(d, b"/d/f", true), Ok(file));
    assert_eq!(disk.0.find(d, b"../d/./f", true), Ok(file));
    assert_eq!(disk.0.find(file, b"f", true), error(libc::ENOTDIR));
    assert_eq!(disk.0.find(file, b"/d", true), Ok(d));
    assert_eq!(disk.find("/../.."), Ok(ROOT));
    assert_eq!(disk.0.names(d), Ok(vec![&b"f"[..]]));
    assert_eq!(disk.0.names(file), error(libc::ENOTDIR));
    // In a directory that is removed nothing is found or made; it still has a parent.
    disk.0.unlink(d, b"f", 0, NOW).unwrap();
    disk.unlink("d", REMOVE_DIR).unwrap();
    assert_eq!(disk.0.stat(d).links, 0);
    assert_eq!(disk.0.find(d, b".", true), Ok(d));
    assert_eq!(disk.0.find(d, b"..", true), Ok(ROOT));
    assert_eq!(disk.0.mkdir(d, b"new", 0o755, NOW), error(libc::ENOENT));
    let made = disk.0.open(d, b"new", libc::O_CREAT, 0o644, NOW);
    assert_eq!(made, error(libc::ENOENT));
    // Also if its parent is gone altogether.
    disk.mkdir("p");
    disk.mkdir("p/q");
    let q = disk.open("p/q", 0).unwrap();
    disk.unlink("p/q", REMOVE_DIR).unwrap();
    disk.unlink("p", REMOVE_DIR).unwrap();
    disk.0.sync(ROOT, false);
    assert_eq!(disk.0.find(q, b"..", true), error(libc::ENOENT));
}

#[test]
fn renames_replace_exchange_or_refuse() {
    let mut disk = Disk::new();
    disk.mkdir("d");
    disk.mkdir("d/e");
    disk.file("f", b"f");
    disk.file("d/g", b"g");
    assert_eq!(disk.rename("f", "d/g", NO_REPLACE), error(libc::EEXIST));
    assert_eq!(disk.rename("f", "d", NO_REPLACE), error(libc::EEXIST));
    assert_eq!(disk.rename("f", ".", NO_REPLACE), error(libc::EEXIST));
    assert_eq!(disk.rename("f", "new", EXCHANGE), error(libc::ENOENT));
    assert_eq!(disk.rename("d", "d/e", EXCHANGE), error(libc::EINVAL));
    assert_eq!(disk.rename("d/e", "d", EXCHANGE), error(libc::EINVAL));
    assert_eq!(disk.rename("f", "d/g/", EXCHANGE), error(libc::ENOTDIR));
    let both = EXCHANGE | NO_REPLACE;
    assert_eq!(disk.rename("f", "d/g", both), error(libc::EINVAL));
    assert_eq!(
        disk.rename("f", "d/g", 4),
        error(libc::EINVAL),
        "no whiteouts"
    );
    disk.rename("f", "d/g", EXCHANGE).unwrap();
    assert_eq!(disk.read("f").unwrap(), b"g");
    assert_eq!(disk.read("d/g").unwrap(), b"f");
    // A file and a directory, which then has another parent.
    disk.rename("f", "d/e/", EXCHANGE).unwrap();
    assert_eq!(disk.find("f/.."), Ok(ROOT));
    assert_eq!(disk.read("d/e").unwrap(), b"g");
    disk.rename("f", "h/", NO_REPLACE).unwrap();
    assert_eq!(disk.0.names(ROOT), Ok(vec![&b"d"[..], b"h"]));
    disk.check();
}

#[test]
fn links_lead_to_files() {
    let mut disk = Disk::new();
    let f = disk.file("f", b"f");
    disk.symlink("f", "s");
    disk.hard_link("s", "followed", FOLLOW).unwrap();
    disk.hard_link("s", "kept", 0).unwrap();
    assert_eq!(disk.find("followed"), Ok(f));
    let kept = disk.0.find(ROOT, b"kept", false).unwrap();
    let stat = disk.0.stat(kept);
    assert_eq!((stat.mode, stat.size), (libc::S_IFLNK | 0o777, 1));
    assert_eq!((stat.links, disk.0.stat(f).links), (2, 2));
    // By the descriptor alone, as long as it has a name.
    let link = |disk: &mut Disk, name: &[u8]| {
        let (from, to) = ((f, &b""[..]), (ROOT, name));
        disk.0.hard_link(from, to, EMPTY_PATH, NOW)
    };
    link(&mut disk, b"third").unwrap();
    for name in ["f", "followed", "third"] {
        disk.unlink(name, 0).unwrap();
    }
    assert_eq!(link(&mut disk, b"fourth"), error(libc::ENOENT));
    assert_eq!(disk.hard_link("", "new", 0), error(libc::ENOENT));
    assert_eq!(disk.hard_link("s", "new", 1), error(libc::EINVAL));
    assert_eq!(disk.unlink("s", 1), error(libc::EINVAL));
    let mut make = |text: &[u8]| disk.0.symlink(text, ROOT, b"text", NOW);
    assert_eq!(make(b""), error(libc::ENOENT));
    assert_eq!(make(&[b'a'; 4096]), error(libc::ENAMETOOLONG));
    assert_eq!(make(&[b'a'; 4095]), Ok(()));
    // So many links lead on, and not one more.
    disk.file("l0", b"end");
    for i in 1..=41 {
        disk.symlink(&format!("l{}", i - 1), &format!("l{i}"));
    }
    assert_eq!(disk.read("l40").unwrap(), b"end");
    assert_eq!(disk.find("l41"), error(libc::ELOOP));
    // A new file is made where a link leads to.
    disk.symlink("/d/new", "into");
    disk.mkdir("d");
    let new = disk.open("into", libc::O_CREAT).unwrap();
    assert_eq!(disk.find("d/new"), Ok(new));
    disk.check();
}

#[test]
fn the_root_has_no_name() {
    let mut disk = Disk::new();
    disk.mkdir("d");
    disk.symlink("/", "d/top");
    assert_eq!(disk.find("d/top"), Ok(ROOT));
    assert_eq!(disk.find("//"), Ok(ROOT));
    assert_eq!(disk.unlink("/", 0), error(libc::EISDIR));
    assert_eq!(disk.unlink("/", REMOVE_DIR), error(libc::EBUSY));
    assert_eq!(disk.rename("d", "/", 0), error(libc::EBUSY));
    assert_eq!(disk.rename("/", "d/new", 0), error(libc::EBUSY));
    assert_eq!(disk.0.mkdir(ROOT, b"/", 0o755, NOW), error(libc::EEXIST));
    assert_eq!(disk.open("/", libc::O_CREAT), error(libc::EISDIR));
}

#[test]
fn what_is_not_modelled_says_so() {
    let mut disk = Disk::new();
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    assert_eq!(disk.open("/", flags), error(libc::EOPNOTSUPP));
    assert_eq!(disk.open("/", libc::O_PATH), error(libc::EOPNOTSUPP));
    let flags = libc::O_CREAT | libc::O_DIRECTORY;
    assert_eq!(disk.open("new", flags), error(libc::EINVAL));
}

#[test]
fn times_say_what_was_changed() {
    let mut disk = Disk::new();
    let at = |seconds| Duration::from_secs(seconds);
    let f = disk.file("f", b"f");
    let times = |disk: &Disk, inode| disk.0.stat(inode).times;
    disk.0.write_at(f, 0, b"g", false, at(10)).unwrap();
    let set = disk.0.set_xattr(f, b"user.a", b"1", 0, at(11));
    set.unwrap();
    let expected = Times {
        accessed: NOW,
        modified: at(10),
        changed: at(11),
        created: NOW,
    };
    assert_eq!(times(&disk, f), expected);
    disk.0.mkdir(ROOT, b"d", 0o755, at(12)).unwrap();
    let to = disk.find("d").unwrap();
    let moved = disk.0.rename((ROOT, b"f"), (to, b"f"), 0, at(13));
    moved.unwrap();
    for dir in [ROOT, to] {
        let times = times(&disk, dir);
        assert_eq!((times.modified, times.changed), (at(13), at(13)));
    }
    assert_eq!(times(&disk, f).changed, at(13));
    assert_eq!(times(&disk, f).modified, at(10));
    disk.0.truncate(f, 1, at(14)).unwrap();
    let times = times(&disk, f);
    assert_eq!((times.modified, times.changed), (at(14), at(14)));
}

#[test]
fn attributes_are_made_replaced_and_measured() {
    let mut disk = Disk::new();
    let f = disk.file("f", b"");
    let mut set = |name: &[u8], value: &[u8], flags| disk.0.set_xattr(f, name, value, flags, NOW);
    assert_eq!(set(b"user.a", b"", XATTR_REPLACE), error(libc::ENODATA));
    assert_eq!(set(b"user.a", b"value", XATTR_CREATE), Ok(()));
    assert_eq!(set(b"user.a", b"", XATTR_CREATE), error(libc::EEXIST));
    assert_eq!(set(b"user.a", b"longer", XATTR_REPLACE), Ok(()));
    assert_eq!(set(b"user.empty", b"", 0), Ok(()));
    assert_eq!(set(b"user.a", b"", 4), error(libc::EINVAL));
    assert_eq!(
        set(b"user.a", &vec![0; XATTR_MAX + 1], 0),
        error(libc::E2BIG)
    );
    assert_eq!(set(b"user.", b"", 0), error(libc::EINVAL));
    assert_eq!(set(b"none.a", b"", 0), error(libc::EOPNOTSUPP));
    assert_eq!(set(b"user", b"", 0), error(libc::EOPNOTSUPP));
    assert_eq!(set(b"", b"", 0), error(libc::ERANGE));
    assert_eq!(set(&[b'a'; NAME_MAX + 1], b"", 0), error(libc::ERANGE));
    let get = |name: &[u8], room| disk.0.get_xattr(f, name, room);
    assert_eq!(get(b"user.a", 6), Ok(&b"longer"[..]));
    assert_eq!(get(b"user.a", 0), Ok(&b"longer"[..]), "asks for the size");
    assert_eq!(get(b"user.a", 5), error(libc::ERANGE));
    assert_eq!(get(b"user.empty", 0), Ok(&b""[..]));
    assert_eq!(get(b"user.none", 9), error(libc::ENODATA));
    assert_eq!(get(b"none.a", 9), error(libc::EOPNOTSUPP));
}

#[test]
fn directories_are_no_files() {
    let mut disk = Disk::new();
    let d = disk.mkdir("d");
    disk.mkdir("d/e");
    assert_eq!(disk.0.read_at(d, 0, 1), error(libc::EISDIR));
    assert_eq!(disk.0.truncate(d, 0, NOW), error(libc::EINVAL));
    let reserved = disk.0.allocate(d, Space::Reserve, false, 0, 1, NOW);
    assert_eq!(reserved, error(libc::EISDIR));
    disk.0.sync(d, true);
    let stat = disk.0.stat(d);
    assert_eq!((stat.mode, stat.links), (libc::S_IFDIR | 0o755, 3));
}

#[test]
fn of_a_mode_the_permissions_count() {
    let mut disk = Disk::new();
    let f = disk
        .0
        .open(ROOT, b"f", libc::O_CREAT, u32::MAX, NOW)
        .unwrap();
    assert_eq!(disk.0.stat(f).mode, libc::S_IFREG | 0o7777);
    disk.0.mkdir(ROOT, b"d", u32::MAX, NOW).unwrap();
    let d = disk.find("d").unwrap();
    assert_eq!(disk.0.stat(d).mode, libc::S_IFDIR | 0o1777);
}

#[test]
fn ranges_to_write_out_are_checked() {
    let end = i64::MAX as u64;
    assert_eq!(Fs::sync_range(0, 0, 7), Ok(()));
    assert_eq!(Fs::sync_range(end, 0, 0), Ok(()));
    assert_eq!(Fs::sync_range(end, 1, 0), error(libc::EINVAL));
    assert_eq!(Fs::sync_range(u64::MAX, 1, 0), error(libc::EINVAL));
    assert_eq!(Fs::sync_range(0, 0, 8), error(libc::EINVAL));
}
