//! Names in the file system: each operation does what the plain call does, wholly or not at all.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::steps;
use crate::tree::Tree;
use completeio_driver::driver::{
    AsFd, AsRawFd, CompleteIo, Cwd, Descriptor, Entry, FixedFd, Refusal,
};
use completeio_driver::op::{
    HardLink, MakeDir, OpenAt, OpenOptions, Rename, StatAt, Symlink, Unlink,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
#[cfg(windows)]
use std::ptr;
#[cfg(windows)]
use windows_sys::Win32::Storage::FileSystem as s;

contract! {
    on_host: [
        lent_and_owned,
        fixed_directories_are_refused,
        no_such_directory,
        a_name_inside_the_operation,
        many_at_once,
    ],
    // The plain calls are those of these two.
    not_on_bsd: [
        as_the_plain_calls,
        between_two_directories,
    ],
    on_linux: [
        an_open_file_gets_a_name,
    ],
}

impl Tree {
    /// With something of each kind that the system makes.
    pub(crate) fn full() -> Self {
        let tree = Self::new();
        tree.file("file");
        tree.file("other");
        fs::create_dir(tree.at("empty")).unwrap();
        fs::create_dir(tree.at("full")).unwrap();
        tree.file("full/x");
        kit::symlink("file", &tree.at("link"));
        kit::symlink("nowhere", &tree.at("dangling"));
        tree
    }

    /// All that is in it: names, types and permissions, links, contents.
    pub(crate) fn listing(&self) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut directories = vec![self.0.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let what = path.symlink_metadata().unwrap();
                let kind = what.file_type();
                let bytes = if kind.is_symlink() {
                    let text = fs::read_link(&path).unwrap().into_os_string();
                    text.into_encoded_bytes()
                } else if kind.is_file() {
                    fs::read(&path).unwrap()
                } else {
                    vec![u8::from(kit::is_device(kind))]
                };
                if kind.is_dir() {
                    directories.push(path.clone());
                }
                let name = path.strip_prefix(&self.0).unwrap().to_owned();
                let (mode, links) = kit::mode_and_links(&what);
                all.insert(name, (mode, links, bytes));
            }
        }
        all
    }
}

/// A call on names, to be made in two ways.
#[cfg(any(target_os = "linux", windows))]
#[derive(Debug, Clone)]
enum Call {
    Unlink(CString),
    RemoveDir(CString),
    Rename(CString, CString, u32),
    MakeDir(CString, u32),
    Symlink(CString, CString),
    HardLink(CString, CString, i32),
}

const NO_REPLACE: u32 = 1;
const EXCHANGE: u32 = 2;
const WHITEOUT: u32 = 4;
const FOLLOW: i32 = 0x400;
const EMPTY_PATH: i32 = 0x1000;

/// What Linux says; elsewhere the plain call alone knows.
#[cfg(target_os = "linux")]
macro_rules! linux {
    (0) => {
        Some(0)
    };
    ($errno:ident) => {
        Some(libc::$errno)
    };
}
#[cfg(windows)]
macro_rules! linux {
    ($errno:tt) => {
        None
    };
}

#[cfg(any(target_os = "linux", windows))]
impl Call {
    /// As an operation; its error number, 0 for none.
    fn operate<F: Descriptor + Copy + 'static>(self, l: &mut Ledger, from: F, to: F) -> i32 {
        let entry = match self {
            Self::Unlink(path) => l.entry_of(Unlink::file(from, path)).1,
            Self::RemoveDir(path) => l.entry_of(Unlink::directory(from, path)).1,
            Self::Rename(old, new, flags) => {
                let op = Rename::new(from, old, to, new)
                    .no_replace(flags & NO_REPLACE != 0)
                    .exchange(flags & EXCHANGE != 0)
                    .whiteout(flags & WHITEOUT != 0);
                l.entry_of(op).1
            }
            Self::MakeDir(path, mode) => l.entry_of(MakeDir::new(from, path, mode)).1,
            Self::Symlink(text, path) => l.entry_of(Symlink::new(text, from, path)).1,
            Self::HardLink(old, new, flags) => {
                let op = HardLink::new(from, old, to, new)
                    .follow(flags & FOLLOW != 0)
                    .empty_path(flags & EMPTY_PATH != 0);
                l.entry_of(op).1
            }
        };
        assert!(entry.result().unwrap_or(0) == 0, "{entry:?}");
        assert!(entry.result().is_ok() || entry.raw_os_error().is_some());
        kit::errno(&entry)
    }

    /// As a system call; its error number, 0 for none.
    #[cfg(target_os = "linux")]
    fn plain(&self, (from, _): (&File, &Path), (to, _): (&File, &Path)) -> i32 {
        let [from, to] = [from, to].map(AsRawFd::as_raw_fd);
        let result = match self {
            // SAFETY: a path that lives as long as the call, and numbers.
            Self::Unlink(path) => unsafe { libc::unlinkat(from, path.as_ptr(), 0) },
            Self::RemoveDir(path) => {
                // SAFETY: as above.
                unsafe { libc::unlinkat(from, path.as_ptr(), libc::AT_REMOVEDIR) }
            }
            Self::Rename(old, new, flags) => {
                let (call, old, new) = (libc::SYS_renameat2, old.as_ptr(), new.as_ptr());
                // SAFETY: as above, with two paths. Not every C library has a function for it.
                let returned = unsafe { libc::syscall(call, from, old, to, new, *flags) };
                i32::try_from(returned).unwrap()
            }
            // SAFETY: as above.
            Self::MakeDir(path, mode) => unsafe { libc::mkdirat(from, path.as_ptr(), *mode) },
            Self::Symlink(text, path) => {
                // SAFETY: as above, with two texts.
                unsafe { libc::symlinkat(text.as_ptr(), from, path.as_ptr()) }
            }
            Self::HardLink(old, new, flags) => {
                // SAFETY: as above, with two paths.
                unsafe { libc::linkat(from, old.as_ptr(), to, new.as_ptr(), *flags) }
            }
        };
        match result {
            0 => 0,
            _ => io::Error::last_os_error().raw_os_error().unwrap(),
        }
    }

    /// The same, of names that begin at a root.
    #[cfg(windows)]
    fn plain(&self, (_, from): (&File, &Path), (_, to): (&File, &Path)) -> i32 {
        let at = |dir: &Path, name: &CStr| kit::wide(dir, name.to_str().unwrap());
        let call = || {
            Some(match self {
                Self::Unlink(path) => {
                    let path = at(from, path)?;
                    // SAFETY: a name that ends with a zero.
                    unsafe { s::DeleteFileW(path.as_ptr()) }
                }
                Self::RemoveDir(path) => {
                    let path = at(from, path)?;
                    // SAFETY: as above.
                    unsafe { s::RemoveDirectoryW(path.as_ptr()) }
                }
                Self::Rename(old, new, flags) => {
                    let (old, new) = (at(from, old)?, at(to, new)?);
                    let how = match *flags {
                        NO_REPLACE => 0,
                        _ => s::MOVEFILE_REPLACE_EXISTING,
                    };
                    // SAFETY: as above, with two names.
                    unsafe { s::MoveFileExW(old.as_ptr(), new.as_ptr(), how) }
                }
                Self::MakeDir(path, _) => {
                    let path = at(from, path)?;
                    // SAFETY: as above.
                    unsafe { s::CreateDirectoryW(path.as_ptr(), ptr::null()) }
                }
                Self::Symlink(text, path) => {
                    let text = kit::wide(Path::new(""), text.to_str().unwrap())?;
                    let path = at(from, path)?;
                    let how = s::SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE;
                    // SAFETY: as above, with two texts.
                    unsafe { s::CreateSymbolicLinkW(path.as_ptr(), text.as_ptr(), how) }.into()
                }
                Self::HardLink(old, new, _) => {
                    let (old, new) = (at(from, old)?, at(to, new)?);
                    // SAFETY: as above, with two names.
                    unsafe { s::CreateHardLinkW(new.as_ptr(), old.as_ptr(), ptr::null()) }
                }
            })
        };
        match call() {
            None => code::NO_PATH,
            Some(0) => io::Error::last_os_error().raw_os_error().unwrap(),
            Some(_) => 0,
        }
    }

    /// Whether the system has it: Windows exchanges nothing, and Wine makes no links.
    fn is_there(&self) -> bool {
        match self {
            Self::Rename(_, _, flags) => kit::EXCHANGES || *flags & !NO_REPLACE == 0,
            Self::HardLink(_, _, flags) => kit::EXCHANGES || *flags & EMPTY_PATH == 0,
            Self::Symlink(..) => kit::makes_links(),
            Self::Unlink(_) | Self::RemoveDir(_) | Self::MakeDir(..) => true,
        }
    }
}

pub(crate) fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Calls, and what must come of them; where that depends on the file system, nothing is said.
#[cfg(any(target_os = "linux", windows))]
fn calls() -> Vec<(Call, Option<i32>)> {
    let name = |text: &str| c(text);
    let unlink = |path: &str| Call::Unlink(c(path));
    let remove = |path: &str| Call::RemoveDir(c(path));
    let rename = |from: &str, to: &str, flags| Call::Rename(c(from), c(to), flags);
    let make = |path: &str, mode| Call::MakeDir(c(path), mode);
    let link = |text: &str, path: &str| Call::Symlink(c(text), c(path));
    let hard = |from: &str, to: &str, flags| Call::HardLink(c(from), c(to), flags);
    let long = "x".repeat(256); // More than a name may have.
    let longer = "./".repeat(4_000); // More than a path may have.
    let (long, longer) = (long.as_str(), longer.as_str());
    let mut calls = vec![
        (unlink("file"), linux!(0)),
        (unlink("full/x"), linux!(0)),
        (unlink("link"), linux!(0)),
        (unlink("missing"), linux!(ENOENT)),
        (unlink(""), linux!(ENOENT)),
        (unlink("file/x"), linux!(ENOTDIR)),
        (unlink("empty"), linux!(EISDIR)),
        (unlink("/"), linux!(EISDIR)),
        (remove("empty"), linux!(0)),
        (remove("empty/"), linux!(0)),
        (remove("full"), linux!(ENOTEMPTY)),
        (remove("full/.."), linux!(ENOTEMPTY)),
        (remove("."), linux!(EINVAL)),
        (remove("file"), linux!(ENOTDIR)),
        (remove("link"), linux!(ENOTDIR)),
        (remove("missing"), linux!(ENOENT)),
        (rename("file", "new", 0), linux!(0)),
        (rename("file", "other", 0), linux!(0)),
        (rename("full", "empty", 0), linux!(0)),
        (rename("empty", "full", 0), linux!(ENOTEMPTY)),
        (rename("empty", "file", 0), linux!(ENOTDIR)),
        (rename("file", "empty", 0), linux!(EISDIR)),
        (rename("missing", "new", 0), linux!(ENOENT)),
        (rename("file", "missing/new", 0), linux!(ENOENT)),
        (rename("", "new", 0), linux!(ENOENT)),
        (rename("file", "", 0), linux!(ENOENT)),
        (rename("full", "full/x", 0), None), // Into itself, where both are one directory.
        (rename("file", "/proc/completeio", 0), linux!(EXDEV)),
        (rename("file", "new", NO_REPLACE), linux!(0)),
        (rename("file", "other", NO_REPLACE), linux!(EEXIST)),
        (rename("file", "full", EXCHANGE), linux!(0)),
        (rename("file", "missing", EXCHANGE), linux!(ENOENT)),
        (
            rename("file", "other", NO_REPLACE | EXCHANGE),
            linux!(EINVAL),
        ),
        (rename("file", "other", WHITEOUT | EXCHANGE), linux!(EINVAL)),
        (rename("file", "new", WHITEOUT), None),
        (make("new", 0o777), linux!(0)),
        (make("new", 0o500), linux!(0)),
        (make("full/new/", 0o1777), linux!(0)),
        (make("file", 0o777), linux!(EEXIST)),
        (make("dangling", 0o777), linux!(EEXIST)),
        (make("missing/new", 0o777), linux!(ENOENT)),
        (make("file/new", 0o777), linux!(ENOTDIR)),
        (make("", 0o777), linux!(ENOENT)),
        (make("/proc/completeio", 0o777), linux!(ENOENT)),
        (link("text", "new"), linux!(0)),
        (link("text", "other"), linux!(EEXIST)),
        (link("", "new"), linux!(ENOENT)),
        (link("text", ""), linux!(ENOENT)),
        (link("text", "file/new"), linux!(ENOTDIR)),
        (hard("file", "new", 0), linux!(0)),
        (hard("file", "other", 0), linux!(EEXIST)),
        (hard("missing", "new", 0), linux!(ENOENT)),
        (hard("empty", "new", 0), linux!(EPERM)),
        (hard("link", "new", 0), linux!(0)),
        (hard("link", "new", FOLLOW), linux!(0)),
        (hard("dangling", "new", 0), linux!(0)),
        (hard("dangling", "new", FOLLOW), linux!(ENOENT)),
        (hard("", "new", 0), linux!(ENOENT)),
        (hard("", "new", EMPTY_PATH), None), // A directory: EPERM, or ENOENT.
    ];
    #[cfg(target_os = "linux")]
    if is_elsewhere(Path::new("/dev/shm")) {
        let shared = "/dev/shm/completeio";
        calls.push((hard("file", shared, 0), linux!(EXDEV)));
        calls.push((rename("file", shared, EXCHANGE), linux!(EXDEV)));
        calls.push((rename("file", shared, NO_REPLACE), linux!(EXDEV)));
    }
    for path in [long, longer] {
        calls.extend(
            [
                unlink(path),
                remove(path),
                rename(path, "new", 0),
                rename("file", path, 0),
                make(path, 0o777),
                link("text", path),
                hard(path, "new", 0),
                hard("file", path, 0),
            ]
            .map(|call| (call, linux!(ENAMETOOLONG))),
        );
    }
    calls.push((link(longer, "new"), linux!(ENAMETOOLONG)));
    calls.push((Call::Symlink(name(long), c("new")), linux!(0)));
    calls
}

/// Whether this is a directory of another file system.
#[cfg(target_os = "linux")]
fn is_elsewhere(path: &Path) -> bool {
    let here = fs::metadata(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::metadata(path).is_ok_and(|there| there.is_dir() && there.dev() != here.dev())
}

/// Drivers that are given directories in different ways.
#[cfg(any(target_os = "linux", windows))]
struct Ways([(&'static str, Ledger); 3]);

#[cfg(any(target_os = "linux", windows))]
impl Ways {
    fn new(cx: &Cx) -> Self {
        let ledger = |workers| cx.with(|limits| limits.workers(workers));
        Self([
            ("attached", ledger(1)),
            ("by number", ledger(1)),
            ("in place", ledger(0)),
        ])
    }

    /// Makes a call in all ways, each in a tree of its own, and compares errors and effects with
    /// those of the plain call.
    fn compare(&mut self, call: &Call, expected: Option<i32>, from: &str, to: &str) {
        let plain = Tree::full();
        let paths = [from, to].map(|name| plain.at(name));
        let [a, b] = paths.each_ref().map(|path| kit::open_directory(path));
        let errno = call.plain((&a, &paths[0]), (&b, &paths[1]));
        if let Some(expected) = expected {
            assert_eq!(errno, expected, "the plain call: {call:?}");
        }
        for (way, l) in &mut self.0 {
            let tree = Tree::full();
            let [a, b] = [from, to].map(|name| kit::open_directory(&tree.at(name)));
            let result = if *way == "attached" {
                let [a, b] = [l.at(&a), l.at(&b)];
                let result = call.clone().operate(l, a, b);
                // What is held cannot be removed everywhere.
                l.detach(a);
                l.detach(b);
                result
            } else {
                call.clone().operate(l, kit::plain(&a), kit::plain(&b))
            };
            assert_eq!(result, errno, "{way}: {call:?}");
            assert_eq!(tree.listing(), plain.listing(), "{way}: {call:?}");
        }
    }
}

/// I10, I33: the errors of the plain calls, and their effects.
#[cfg(any(target_os = "linux", windows))]
fn as_the_plain_calls(cx: &mut Cx) {
    let mut ways = Ways::new(cx);
    for (call, expected) in calls().into_iter().filter(|(call, _)| call.is_there()) {
        ways.compare(&call, expected, ".", ".");
    }
}

/// The first name is looked up in the first directory, the second in the second.
#[cfg(any(target_os = "linux", windows))]
fn between_two_directories(cx: &mut Cx) {
    let mut ways = Ways::new(cx);
    let rename = |flags| Call::Rename(c("x"), c("new"), flags);
    for (call, expected) in [
        (rename(0), 0),
        (rename(NO_REPLACE), 0),
        (rename(EXCHANGE), code::NO_FILE),
        (Call::Rename(c("new"), c("x"), 0), code::NO_FILE),
        (Call::HardLink(c("x"), c("new"), 0), 0),
        (Call::HardLink(c("new"), c("x"), 0), code::NO_FILE),
    ] {
        if call.is_there() {
            ways.compare(&call, Some(expected), "full", "empty");
        }
    }
    let open_file = Call::HardLink(c(""), c("x"), EMPTY_PATH);
    if open_file.is_there() {
        ways.compare(&open_file, None, "file", "empty"); // Not everyone may.
    }
    ways.compare(&rename(0), Some(code::ENOTDIR), "full", "file");
    ways.compare(&rename(0), Some(code::ENOTDIR), "file", "empty");
}

/// Whether a link named so was made; where none can be, a file stands for it from now on.
fn is_linked(tree: &Tree, made: io::Result<()>) {
    if kit::makes_links() {
        made.unwrap();
    } else {
        tree.file("link");
    }
}

/// Each kind through a scope, and moved into a slot; directories of two types.
fn lent_and_owned(cx: &mut Cx) {
    let tree = Tree::new();
    let directory = tree.open();
    let dir = directory.as_fd();
    let path = tree.c_string("linked");
    let mut l = cx.ledger();
    let mut make = MakeDir::new(dir, c"directory", 0o700);
    let mut link = Symlink::new(c"text", dir, c"link");
    let mut rename = Rename::new(dir, c"link", dir, c"directory/link").no_replace(true);
    let mut hard = HardLink::new(dir, c"directory/link", Cwd, path.as_c_str());
    let mut unlink = Unlink::file(Cwd, path.as_c_str());
    let mut again = MakeDir::new(dir, c"directory", 0o700);
    l.scope(|s| {
        steps::run(s, &mut make).0.unwrap();
        is_linked(&tree, steps::run(s, &mut link).0);
        steps::run(s, &mut rename).0.unwrap();
        steps::run(s, &mut hard).0.unwrap();
        steps::run(s, &mut unlink).0.unwrap();
        let ticket = s.try_lend(&mut again, 7).unwrap();
        let result = ticket.redeem(steps::next(s)).unwrap().0;
        assert_eq!(steps::errno(result), code::TAKEN);
    })
    .unwrap();
    if kit::makes_links() {
        let text = fs::read_link(tree.at("directory/link")).unwrap();
        assert_eq!(text, Path::new("text"));
    }
    assert!(!tree.has("link") && !tree.has("linked"));

    let owned = || kit::owned(directory.try_clone().unwrap());
    let shared = std::rc::Rc::new(owned());
    macro_rules! outcome {
        ($op:expr) => {{
            let key = l.try_push_owned($op, 0).unwrap();
            let (output, op) = steps::outcome(&mut l, key);
            output.map(|()| op)
        }};
    }
    outcome!(HardLink::new(owned(), c"directory/link", Cwd, path.clone())).unwrap();
    outcome!(Rename::new(Cwd, path.clone(), shared.clone(), c"renamed")).unwrap();
    outcome!(Unlink::file(shared.clone(), c("renamed"))).unwrap();
    let link = outcome!(Symlink::new(c("text"), shared.clone(), c"link"));
    is_linked(&tree, link.map(drop));
    outcome!(MakeDir::new(owned(), c("new"), 0o700)).unwrap();
    let op = outcome!(Unlink::directory(shared.clone(), c("new"))).unwrap();
    let (_, name) = completeio_driver::buf::IntoInner::into_inner(op);
    assert_eq!(name, c("new"), "directory and path come back");
    let error = outcome!(Unlink::directory(shared, c"new")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(code::NO_FILE));
    steps::finished(&mut l);
    assert_eq!(l.in_flight(), 0);
    let names: Vec<_> = tree.listing().into_keys().collect();
    assert_eq!(
        names,
        ["directory", "directory/link", "link"].map(PathBuf::from)
    );
}

/// `AT_EMPTY_PATH`: a file without a name of its own, and one that has lost its last.
#[cfg(target_os = "linux")]
fn an_open_file_gets_a_name(cx: &mut Cx) {
    let tree = Tree::new();
    let unnamed = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE);
    let mut l = cx.ledger();
    let directory = tree.open();
    let dir = l.at(&directory);
    let lost = kit::file(b"text");
    tree.file("file");
    let file = File::open(tree.at("file")).unwrap();
    let allowed = Call::HardLink(c(""), c("allowed"), EMPTY_PATH);
    match allowed.plain((&file, &tree.at("file")), (&directory, &tree.at(""))) {
        0 => {}
        errno => return skipped(cx, "AT_EMPTY_PATH", &io::Error::from_raw_os_error(errno)),
    }
    match l.run(OpenAt::new(dir, c".", unnamed)) {
        Ok(file) => {
            let mut file = File::from(file);
            file.write_all(b"text").unwrap();
            let fd = l.at(&file);
            let op = HardLink::new(fd, c"", dir, c"named").empty_path(true);
            l.run(op).unwrap();
            assert_eq!(fs::read(tree.at("named")).unwrap(), b"text");
        }
        Err(error) => skipped(cx, "O_TMPFILE", &error),
    }
    let fd = l.at(&lost);
    let op = HardLink::new(fd, c"", dir, c"again").empty_path(true);
    assert_eq!(l.errno(op), libc::ENOENT);
    // Without the flag, or with a name, it must be a directory.
    assert_eq!(l.errno(HardLink::new(fd, c"", dir, c"again")), libc::ENOENT);
    let op = HardLink::new(fd, c"x", dir, c"again").empty_path(true);
    assert_eq!(l.errno(op), libc::ENOTDIR);
}

/// Says what this system cannot show.
pub(crate) fn skipped(cx: &Cx, what: &str, error: &io::Error) {
    let backend = if cx.is_io_uring() {
        "io_uring"
    } else {
        "readiness"
    };
    // Not `eprintln!`, which the test harness would swallow.
    let _ = writeln!(io::stderr(), "skipped: {what}, on {backend}: {error}");
}

/// In either place, and before the kernel sees anything.
fn fixed_directories_are_refused(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let directory = tree.open();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    let fixed = l.register_fd(directory.as_raw_fd(), 0).unwrap();
    let refused = |entry: Entry| {
        assert_eq!(entry.refusal(), Some(Refusal::FixedDescriptor));
        assert_eq!(entry.raw_os_error(), None);
    };
    for fixed in [fixed, FixedFd::from_id(u32::MAX)] {
        refused(l.entry_of(Unlink::file(fixed, c"file")).1);
        refused(l.entry_of(Unlink::directory(fixed, c"empty")).1);
        refused(l.entry_of(StatAt::new(fixed, c"file")).1);
        refused(l.entry_of(MakeDir::new(fixed, c"new", 0o777)).1);
        refused(l.entry_of(Symlink::new(c"text", fixed, c"new")).1);
        refused(l.entry_of(Rename::new(fixed, c"file", dir, c"new")).1);
        refused(l.entry_of(Rename::new(dir, c"file", fixed, c"new")).1);
        refused(l.entry_of(HardLink::new(fixed, c"file", Cwd, c"new")).1);
        refused(l.entry_of(HardLink::new(dir, c"file", fixed, c"new")).1);
    }
    assert_eq!(tree.listing(), before);
}

/// I33: closed numbers and other files, in either place; an absolute path needs no directory.
fn no_such_directory(cx: &mut Cx) {
    let tree = Tree::full();
    let before = tree.listing();
    let directory = tree.open();
    let (socket, _peer) = kit::pair();
    let (pipe, _writer) = kit::pipe();
    let file = File::open(tree.at("file")).unwrap();
    let mut l = cx.ledger();
    for (wrong, errno) in [
        (kit::plain(&file), code::ENOTDIR),
        (kit::plain(&socket), code::NO_DIRECTORY),
        (kit::plain(&pipe), code::NO_DIRECTORY),
    ]
    .into_iter()
    .chain(kit::ALL_CLOSED.map(|fd| (kit::number(fd), code::EBADF)))
    {
        let dir = kit::plain(&directory);
        assert_eq!(l.errno(Unlink::file(wrong, c"file")), errno);
        assert_eq!(l.errno(Unlink::directory(wrong, c"empty")), errno);
        assert_eq!(l.errno(StatAt::new(wrong, c"file")), errno);
        assert_eq!(l.errno(MakeDir::new(wrong, c"new", 0o777)), errno);
        // Wine looks for no directory when it makes none.
        if kit::makes_links() {
            assert_eq!(l.errno(Symlink::new(c"text", wrong, c"new")), errno);
        }
        assert_eq!(l.errno(Rename::new(wrong, c"file", dir, c"new")), errno);
        assert_eq!(l.errno(Rename::new(dir, c"file", wrong, c"new")), errno);
        assert_eq!(l.errno(HardLink::new(wrong, c"file", dir, c"new")), errno);
        assert_eq!(l.errno(HardLink::new(dir, c"file", wrong, c"new")), errno);
    }
    assert_eq!(tree.listing(), before);
    let closed = kit::number(kit::CLOSED);
    l.run(MakeDir::new(closed, tree.c_string("new"), 0o777))
        .unwrap();
    let made = l.run(StatAt::new(closed, tree.c_string("new"))).unwrap();
    assert!(made.is_dir());
    let op = Rename::new(
        closed,
        tree.c_string("new"),
        kit::plain(&directory),
        c"newer",
    );
    l.run(op).unwrap();
    l.run(Unlink::directory(closed, tree.c_string("newer")))
        .unwrap();
    assert_eq!(tree.listing(), before);
}

/// A path that moves with its operation: its address is taken by the push.
struct Inline([u8; 8]);

impl AsRef<CStr> for Inline {
    fn as_ref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap()
    }
}

fn a_name_inside_the_operation(cx: &mut Cx) {
    let tree = Tree::new();
    let directory = tree.open();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    let make = MakeDir::new(dir, Inline(*b"made\0..."), 0o777);
    let rename = Rename::new(dir, Inline(*b"made\0..."), dir, Inline(*b"moved\0.."));
    let stat = StatAt::new(dir, Inline(*b"moved\0.."));
    let moved = [make];
    let [make] = moved;
    l.run(make).unwrap();
    let moved = Box::new(rename);
    l.run(*moved).unwrap();
    assert!(l.run(stat).unwrap().is_dir());
    let names: Vec<_> = tree.listing().into_keys().collect();
    assert_eq!(names, [PathBuf::from("moved")]);
}

fn many_at_once(cx: &mut Cx) {
    let tree = Tree::new();
    let directory = tree.open();
    let mut l = cx.with(|limits| limits.entries(128));
    let dir = l.at(&directory);
    let names: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
    for (n, name) in names.iter().enumerate() {
        l.start(MakeDir::new(dir, c(name), 0o777), n);
    }
    l.take(100).into_iter().for_each(|entry| {
        entry.into_result().unwrap();
    });
    assert_eq!(tree.listing().len(), 100);
    for (n, name) in names.iter().enumerate() {
        l.start(Unlink::directory(dir, c(name)), n);
    }
    l.take(100).into_iter().for_each(|entry| {
        entry.into_result().unwrap();
    });
    assert_eq!(tree.listing().len(), 0);
}
