//! The same calls on a simulated disk and on a real one give the same results and errors.
#![cfg(target_os = "linux")]

use super::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// How deep the directory is in which the paths begin: deeper than one path can lead up, through
/// [`TEXTS`] with at most one `..` and through at most 40 of them.
const DEPTH: usize = 60;

const PATHS: [&str; 34] = [
    "a", "b", "c", "d", "a", "b", "a/a", "a/b", "b/a", "b/c", "c/a", "a/b/c", "b/a/d", "a/", "b/",
    "c//", "a/b/", ".", "..", "./", "./a", "a/.", "a/..", "b/./", "b/../", "a/../b", "a/./b/",
    "../a", "none/a", "none/", "LONG", "LONG/a", "a/LONG", "LONGEST",
];

const TEXTS: [&str; 10] = [
    "a", "b", "c", "a/b", "b/", ".", "..", "../b", "c/.", "none/a",
];

/// A simulated disk and a real directory.
struct Both {
    disk: Disk,
    /// Where the paths begin.
    at: Inode,
    top: PathBuf,
    base: PathBuf,
}

impl Both {
    fn new() -> Self {
        let name = format!("completeio-disk-{}", std::process::id());
        let top = std::env::temp_dir().join(name);
        let base = top.join("x/".repeat(DEPTH));
        fs::create_dir_all(&base).unwrap();
        let mut disk = Disk::new();
        let mut at = ROOT;
        for _ in 0..DEPTH {
            disk.0.mkdir(at, b"x", 0o755, NOW).unwrap();
            at = disk.0.find(at, b"x", false).unwrap();
        }
        Self {
            disk,
            at,
            top,
            base,
        }
    }

    /// The path as the kernel is given it.
    fn real(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.top);
        assert!(removed.is_ok() || std::thread::panicking());
    }
}

fn result<T>(result: io::Result<T>) -> Result<T> {
    result.map_err(|e| Errno(e.raw_os_error().unwrap()))
}

fn pick<'a>(from: &[&'a str], random: &mut Random) -> &'a str {
    from[to_usize(random.below(from.len() as u64))]
}

/// A path; names and paths that are too long stand in the table by a word.
fn path(random: &mut Random) -> String {
    let path = pick(&PATHS, random);
    path.replace("LONGEST", &"a/".repeat(2048))
        .replace("LONG", &"n".repeat(NAME_MAX + 1))
}

/// Opens a file, writes to it and reads it, on both.
fn open(both: &mut Both, random: &mut Random) -> (Result<Vec<u8>>, Result<Vec<u8>>) {
    let path = path(random);
    let access = [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR][to_usize(random.below(3))];
    let mut flags = 0;
    let all = [libc::O_CREAT, libc::O_EXCL, libc::O_TRUNC, libc::O_NOFOLLOW];
    for flag in all.into_iter().filter(|_| random.below(3) == 0) {
        flags |= flag;
    }
    // Before Linux 6.4 it made a file.
    if random.below(4) == 0 && flags & libc::O_CREAT == 0 {
        flags |= libc::O_DIRECTORY;
    }
    let (offset, byte) = (random.below(6000), random.below(2) + 1);
    let bytes = byte.to_ne_bytes();

    let (reads, writes) = (access != libc::O_WRONLY, access != libc::O_RDONLY);
    let opened = OpenOptions::new()
        .read(reads)
        .write(writes)
        .custom_flags(flags)
        .open(both.real(&path));
    let on_both = |file: File| {
        if writes {
            file.write_all_at(&bytes, offset)?;
        }
        let mut read = Vec::new();
        if reads {
            read.resize(7000, 0);
            let count = file.read_at(&mut read, 1)?;
            read.truncate(count);
        }
        Ok(read)
    };
    let real = result(opened.and_then(on_both));

    let disk = &mut both.disk.0;
    let opened = disk.open(both.at, path.as_bytes(), access | flags, 0o644, NOW);
    let simulated = opened.and_then(|inode| {
        if writes {
            disk.write_at(inode, offset, &bytes, false, NOW)?;
        }
        if reads {
            disk.read_at(inode, 1, 7000)
        } else {
            Ok(Vec::new())
        }
    });
    (real, simulated)
}

/// Compares what there is to know of what a path leads to.
fn stat(both: &mut Both, random: &mut Random) -> (Result<Known>, Result<Known>) {
    let path = path(random);
    let follow = random.below(2) == 0;
    let real = both.real(&path);
    let real = result(if follow {
        fs::metadata(real)
    } else {
        fs::symlink_metadata(real)
    });
    let found = both.disk.0.find(both.at, path.as_bytes(), follow);
    let found = found.map(|inode| both.disk.0.stat(inode));
    (
        real.map(|of| Known::new(of.mode(), of.nlink(), of.len())),
        found.map(|of| Known::new(of.mode, of.links.into(), of.size)),
    )
}

/// What is known of a file on both sides alike.
#[derive(Debug, PartialEq)]
struct Known {
    kind: u32,
    links: Option<u64>,
    size: Option<u64>,
}

impl Known {
    fn new(mode: u32, links: u64, size: u64) -> Self {
        let kind = mode & libc::S_IFMT;
        // Of directories, each file system has its own idea.
        let is_file = kind != libc::S_IFDIR;
        Self {
            kind,
            links: is_file.then_some(links),
            size: is_file.then_some(size),
        }
    }
}

/// One call on names, on both: its name, and the results.
fn change(both: &mut Both, random: &mut Random) -> (&'static str, Result<()>, Result<()>) {
    let (first, second) = (path(random), path(random));
    let (from, to) = (both.real(&first), both.real(&second));
    let (first, second) = (first.as_bytes(), second.as_bytes());
    let at = both.at;
    let disk = &mut both.disk.0;
    match random.below(6) {
        0 => {
            let simulated = disk.mkdir(at, first, 0o755, NOW);
            ("mkdir", result(fs::create_dir(from)), simulated)
        }
        1 => {
            let simulated = disk.unlink(at, first, 0, NOW);
            ("unlink", result(fs::remove_file(from)), simulated)
        }
        2 => {
            let simulated = disk.unlink(at, first, REMOVE_DIR, NOW);
            ("rmdir", result(fs::remove_dir(from)), simulated)
        }
        3 => {
            let text = pick(&TEXTS, random);
            let simulated = disk.symlink(text.as_bytes(), at, first, NOW);
            ("symlink", result(symlink(text, from)), simulated)
        }
        4 => {
            let simulated = disk.hard_link((at, first), (at, second), 0, NOW);
            ("link", result(fs::hard_link(from, to)), simulated)
        }
        _ => {
            let simulated = disk.rename((at, first), (at, second), 0, NOW);
            ("rename", result(fs::rename(from, to)), simulated)
        }
    }
}

/// Whether both directories have the same names in them, and the same files.
fn compare(disk: &Disk, dir: Inode, real: &Path) {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(real).unwrap() {
        names.insert(entry.unwrap().file_name().into_encoded_bytes());
    }
    let expected: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
    assert_eq!(disk.0.names(dir).unwrap(), expected, "{real:?}");
    for name in expected {
        let path = real.join(OsStr::from_bytes(name));
        let inode = disk.0.find(dir, name, false).unwrap();
        let (of, stat) = (fs::symlink_metadata(&path).unwrap(), disk.0.stat(inode));
        let known = Known::new(stat.mode, stat.links.into(), stat.size);
        assert_eq!(
            known,
            Known::new(of.mode(), of.nlink(), of.len()),
            "{path:?}"
        );
        match &disk.0.node(inode).kind {
            Kind::Directory(_) => compare(disk, inode, &path),
            Kind::File(_) => assert_eq!(disk.contents(inode), fs::read(&path).unwrap()),
            Kind::Symlink(text) => {
                let to = fs::read_link(&path).unwrap();
                assert_eq!(**text, *to.as_os_str().as_encoded_bytes());
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "makes system calls")]
fn every_call_gives_what_the_kernel_gives() {
    let mut both = Both::new();
    let mut random = Random::new(1);
    let mut seen = BTreeSet::new();
    for round in 0..10_000 {
        let (name, error) = match random.below(8) {
            0 | 1 => {
                let (real, simulated) = open(&mut both, &mut random);
                assert_eq!(simulated, real, "open, round {round}");
                ("open", simulated.err())
            }
            2 => {
                let (real, simulated) = stat(&mut both, &mut random);
                assert_eq!(simulated, real, "stat, round {round}");
                ("stat", simulated.err())
            }
            _ => {
                let (name, real, simulated) = change(&mut both, &mut random);
                assert_eq!(simulated, real, "{name}, round {round}");
                (name, simulated.err())
            }
        };
        seen.insert((name, error.map_or(0, |error| error.0)));
        if round % 500 == 0 {
            compare(&both.disk, ROOT, &both.top);
            both.disk.check();
        }
    }
    compare(&both.disk, ROOT, &both.top);
    // Each of these has happened, and each call has succeeded.
    let expected = [
        ("mkdir", &[libc::EEXIST, libc::ENOTDIR, libc::ELOOP][..]),
        ("unlink", &[libc::EISDIR, libc::ENOTDIR]),
        ("rmdir", &[libc::ENOTEMPTY, libc::EINVAL, libc::ENOTDIR]),
        ("symlink", &[libc::EEXIST]),
        ("link", &[libc::EPERM, libc::EEXIST]),
        (
            "rename",
            &[
                libc::EBUSY,
                libc::EINVAL,
                libc::EISDIR,
                libc::ENOTDIR,
                libc::ENOTEMPTY,
            ],
        ),
        (
            "open",
            &[libc::EEXIST, libc::EISDIR, libc::ENOTDIR, libc::ELOOP],
        ),
        ("stat", &[libc::ENOTDIR, libc::ELOOP]),
    ];
    for (name, errors) in expected {
        for error in errors.iter().chain(&[0, libc::ENOENT, libc::ENAMETOOLONG]) {
            assert!(seen.contains(&(name, *error)), "{name} never gave {error}");
        }
    }
}
