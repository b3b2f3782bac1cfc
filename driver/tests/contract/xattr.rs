//! Extended attributes: by descriptor and by path, as the plain calls.

use crate::kit;
use crate::ledger::Cx;
use crate::path::{c, skipped};
use crate::region::Region;
use crate::steps;
use crate::tree::Tree;
use completeio_driver::buf::{IntoInner, Sliceable};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, FixedFd};
use completeio_driver::op::{GetPathXattr, GetXattr, SetPathXattr, SetXattr};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::ptr;

contract! {
    everywhere: [
        every_operation_is_reported,
    ],
    on_host: [
        set_and_read_back,
        every_way_of_lending,
        the_size_is_asked_for,
        create_and_replace,
        as_the_plain_calls,
        symbolic_links_are_followed,
        wrong_descriptors,
        fixed_descriptors,
        closed_and_reused_before_the_submit,
        huge_lengths,
        set_or_cancelled,
        what_was_only_pushed_is_not_executed,
    ],
}

const NAME: &CStr = c"user.completeio";

/// A file in a directory of its own; nothing where the file system has no such attributes, which it
/// says.
struct Marked {
    tree: Tree,
    file: File,
}

impl Marked {
    fn new(cx: &Cx) -> Option<Self> {
        let tree = Tree::new();
        tree.file("file");
        let file = File::open(tree.at("file")).unwrap();
        let marked = Self { tree, file };
        if let Err(errno) = marked.set(c"user.probe", b"", 0) {
            let error = io::Error::from_raw_os_error(errno);
            skipped(cx, "extended attributes of users", &error);
            return None;
        }
        Some(marked)
    }

    fn path(&self) -> std::ffi::CString {
        self.tree.c_string("file")
    }

    /// By the plain call.
    fn get(&self, name: &CStr, room: &mut [u8]) -> Result<usize, i32> {
        let fd = self.file.as_raw_fd();
        let (at, len) = (room.as_mut_ptr(), room.len());
        // SAFETY: a name, and a slice of that length.
        let size = unsafe { libc::fgetxattr(fd, name.as_ptr(), at.cast(), len) };
        usize::try_from(size).map_err(|_| last_errno())
    }

    /// By the plain call.
    fn set(&self, name: &CStr, value: &[u8], flags: i32) -> Result<(), i32> {
        let (fd, at) = (self.file.as_raw_fd(), value.as_ptr());
        // SAFETY: a name, and a slice of that length.
        match unsafe { libc::fsetxattr(fd, name.as_ptr(), at.cast(), value.len(), flags) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }

    /// The value now, by the plain call.
    fn value(&self) -> Option<Vec<u8>> {
        let mut room = vec![0; 1 << 16];
        let size = self.get(NAME, &mut room).ok()?;
        room.truncate(size);
        Some(room)
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap()
}

fn errno<T>(result: io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().expect("the kernel's error"))
}

fn set_and_read_back(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    l.run(SetXattr::new(fd, NAME, "by descriptor")).unwrap();
    assert_eq!(marked.value().unwrap(), b"by descriptor");
    // Into the spare part of a vector, behind what is there.
    let mut buffer = Vec::with_capacity(64);
    buffer.extend(b"it was ");
    let (op, entry) = l.entry_of(GetXattr::new(fd, NAME, buffer));
    assert_eq!(l.finish(op, entry).unwrap(), 13);
    assert_eq!(l.op(op).buf(), b"it was by descriptor");

    l.run(SetPathXattr::new(marked.path(), NAME, b"by path".to_vec()))
        .unwrap();
    assert_eq!(marked.value().unwrap(), b"by path");
    let op = GetPathXattr::new(marked.path(), NAME, [7; 16]);
    let (op, entry) = l.entry_of(op);
    assert_eq!(l.finish(op, entry).unwrap(), 7);
    assert_eq!(
        l.op(op).buf(),
        b"by path\x07\x07\x07\x07\x07\x07\x07\x07\x07"
    );

    // No bytes are a value, and its size.
    l.run(SetXattr::new(fd, NAME, "")).unwrap();
    assert_eq!(marked.value().unwrap(), b"");
    assert_eq!(l.run(GetXattr::new(fd, NAME, [0; 4])).unwrap(), 0);
    assert_eq!(l.run(GetXattr::new(fd, NAME, [0; 0])).unwrap(), 0);
    l.run(SetPathXattr::new(marked.path(), NAME, [])).unwrap();
    assert_eq!(
        l.run(GetPathXattr::new(marked.path(), NAME, [0; 4]))
            .unwrap(),
        0
    );
}

/// Through a scope, and moved into a slot.
fn every_way_of_lending(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let path = marked.path();
    let mut room = [0; 8];
    let mut l = cx.ledger();
    let mut set = SetXattr::new(marked.file.as_fd(), NAME, "lent");
    let mut get = GetXattr::new(marked.file.as_fd(), NAME, &mut room[..]);
    let mut replace = SetPathXattr::new(path.as_c_str(), NAME, "path").replace_only(true);
    let mut again = GetPathXattr::new(path.as_c_str(), NAME, Vec::with_capacity(8));
    l.scope(|s| {
        steps::run(s, &mut set).0.unwrap();
        assert_eq!(steps::run(s, &mut get).0.unwrap(), 4);
        let ticket = s.try_lend(&mut replace, 1).unwrap();
        ticket.redeem(steps::next(s)).unwrap().0.unwrap();
        assert_eq!(steps::run(s, &mut again).0.unwrap(), 4);
    })
    .unwrap();
    assert_eq!((&room[..4], &again.buf()[..]), (&b"lent"[..], &b"path"[..]));

    let owned = || kit::owned(marked.file.try_clone().unwrap());
    let key = l.try_push_owned(SetXattr::new(owned(), c("user.completeio"), "owned"), 0);
    steps::outcome(&mut l, key.unwrap()).0.unwrap();
    let key = l.try_push_owned(GetXattr::new(owned(), NAME, vec![0; 8].slice(..)), 0);
    let (size, op) = steps::outcome(&mut l, key.unwrap());
    let (_, _, buffer) = op.into_inner();
    assert_eq!(
        (size.unwrap(), &buffer.into_inner()[..]),
        (5, &b"owned"[..])
    );
    let key = l.try_push_owned(SetPathXattr::new(path.clone(), NAME, "slot"), 0);
    steps::outcome(&mut l, key.unwrap()).0.unwrap();
    let key = l.try_push_owned(GetPathXattr::new(path, c"user.none", [0; 8]), 0);
    let (none, _) = steps::outcome(&mut l, key.unwrap());
    assert_eq!(steps::errno(none), libc::ENODATA);
    assert_eq!(marked.value().unwrap(), b"slot");
    steps::finished(&mut l);
}

/// A buffer without room asks; then it is replaced, and the same operation goes again.
fn the_size_is_asked_for(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    marked.set(NAME, &[5; 100], 0).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    let get = l.lend(GetXattr::new(fd, NAME, Vec::new()));
    let by_path = l.lend(GetPathXattr::new(marked.path(), NAME, Vec::new()));
    l.push(get, 1);
    l.push(by_path, 2);
    for entry in l.take(2) {
        let size = if entry.user_data() == 1 {
            l.finish(get, entry)
        } else {
            l.finish(by_path, entry)
        };
        assert_eq!(size.unwrap(), 100);
    }
    assert!(l.op(get).buf().is_empty() && l.op(by_path).buf().is_empty());
    for room in [99, 1] {
        assert_eq!(
            l.errno(GetXattr::new(fd, NAME, vec![0; room].slice(..))),
            libc::ERANGE
        );
        let op = GetPathXattr::new(marked.path(), NAME, vec![0; room].into_boxed_slice());
        assert_eq!(l.errno(op), libc::ERANGE);
    }
    *l.op(get).buf_mut() = Vec::with_capacity(100);
    l.push(get, 3);
    let entry = l.one();
    assert_eq!(l.finish(get, entry).unwrap(), 100);
    assert_eq!(l.op(get).buf()[..], [5; 100]);
    // It is full now: the next one asks again, and the bytes stay.
    l.push(get, 4);
    let entry = l.one();
    assert_eq!(l.finish(get, entry).unwrap(), 100);
    assert_eq!(l.op(get).buf()[..], [5; 100]);
}

fn create_and_replace(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let path = || marked.path();
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    let set = |value| SetXattr::new(fd, NAME, value);
    assert_eq!(l.errno(set("x").replace_only(true)), libc::ENODATA);
    let op = SetPathXattr::new(path(), NAME, "x").replace_only(true);
    assert_eq!(l.errno(op), libc::ENODATA);
    assert_eq!(marked.value(), None);
    l.run(set("first").create_only(true)).unwrap();
    assert_eq!(l.errno(set("x").create_only(true)), libc::EEXIST);
    let op = SetPathXattr::new(path(), NAME, "x").create_only(true);
    assert_eq!(l.errno(op), libc::EEXIST);
    assert_eq!(marked.value().unwrap(), b"first");
    l.run(set("second").replace_only(true)).unwrap();
    let op = set("third").create_only(true).create_only(false);
    assert_eq!(marked.value().unwrap(), b"second");
    l.run(op).unwrap();
    let op = SetPathXattr::new(path(), NAME, "fourth").replace_only(true);
    l.run(op).unwrap();
    assert_eq!(marked.value().unwrap(), b"fourth");
}

/// I10, I33: names and values of all lengths, read-only files among them.
fn as_the_plain_calls(cx: &mut Cx) {
    let [Some(plain), Some(marked)] = [Marked::new(cx), Marked::new(cx)] else {
        return;
    };
    let long = |len: usize| c(&format!("user.{}", "x".repeat(len - 5)));
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    for name in [
        c("user.a"),
        c("user."),
        c("user"),
        c(""),
        c("nowhere.a"),
        c("system.a"),
        c("trusted.completeio"),
        long(255),
        long(256),
        long(5_000),
    ] {
        for len in [0, 1, 100, 65_536, 65_537] {
            let value = vec![3; len].into_boxed_slice();
            let expected = plain.set(&name, &value, 0);
            let set = errno(l.run(SetXattr::new(fd, name.clone(), value.clone())));
            assert_eq!(set, expected, "{name:?}, {len} bytes");
            let by_path = SetPathXattr::new(marked.path(), name.clone(), value);
            assert_eq!(errno(l.run(by_path)), expected, "{name:?}, {len} bytes");
            for room in [0, 1, 100, 65_536, 65_537] {
                let mut room = vec![0; room].into_boxed_slice();
                let expected = plain.get(&name, &mut room);
                let (op, entry) = l.entry_of(GetXattr::new(fd, name.clone(), room.clone()));
                assert_eq!(errno(l.finish(op, entry)), expected, "{name:?}");
                if expected.is_ok() {
                    assert_eq!(l.op(op).buf(), &room);
                }
                let op = GetPathXattr::new(marked.path(), name.clone(), room.clone());
                assert_eq!(errno(l.run(op)), expected, "{name:?}");
            }
        }
    }
}

fn symbolic_links_are_followed(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    symlink("file", marked.tree.at("link")).unwrap();
    symlink("nowhere", marked.tree.at("dangling")).unwrap();
    let path = |name: &str| marked.tree.c_string(name);
    let mut l = cx.ledger();
    l.run(SetPathXattr::new(path("link"), NAME, "text"))
        .unwrap();
    assert_eq!(marked.value().unwrap(), b"text");
    assert_eq!(
        l.run(GetPathXattr::new(path("link"), NAME, [0; 8]))
            .unwrap(),
        4
    );
    for (path, errno) in [
        (path("dangling"), libc::ENOENT),
        (path("missing"), libc::ENOENT),
        (c(""), libc::ENOENT),
        (path("file/x"), libc::ENOTDIR),
        (path(&"x".repeat(256)), libc::ENAMETOOLONG),
        (c(&"/".repeat(5_000)), libc::ENAMETOOLONG),
    ] {
        let op = GetPathXattr::new(path.clone(), NAME, [0; 8]);
        assert_eq!(l.errno(op), errno, "{path:?}");
        assert_eq!(l.errno(SetPathXattr::new(path, NAME, "x")), errno);
    }
    // A relative path starts in the current directory.
    assert_eq!(
        l.errno(GetPathXattr::new(c"Cargo.toml", c"x.y", [0; 8])),
        libc::ENOTSUP
    );
}

/// I33: as the plain calls, whatever it is.
fn wrong_descriptors(cx: &mut Cx) {
    let (socket, _peer) = kit::pair();
    let (reader, _writer) = kit::pipe();
    let directory = File::open("/").unwrap();
    let null = File::open("/dev/null").unwrap();
    let mut o_path = File::options();
    let o_path = o_path
        .read(true)
        .custom_flags(libc::O_PATH)
        .open("/")
        .unwrap();
    let mut l = cx.ledger();
    for fd in [
        kit::number(900_000),
        kit::number(i32::MAX),
        kit::plain(&o_path),
        kit::plain(&socket),
        kit::plain(&reader),
        kit::plain(&directory),
        kit::plain(&null),
    ] {
        let name = c"user.completeio.none";
        let (raw, nowhere) = (fd.as_raw_fd(), ptr::null_mut());
        // SAFETY: a name, and no room.
        let size = unsafe { libc::fgetxattr(raw, name.as_ptr(), nowhere, 0) };
        assert_eq!(size, -1);
        assert_eq!(
            l.errno(GetXattr::new(fd, name, [0; 0])),
            last_errno(),
            "{fd:?}"
        );
        let replace = libc::XATTR_REPLACE;
        // SAFETY: a name, and no value.
        let set = unsafe { libc::fsetxattr(raw, name.as_ptr(), nowhere, 0, replace) };
        assert_eq!(set, -1);
        let errno = last_errno();
        let op = SetXattr::new(fd, name, "").replace_only(true);
        assert_eq!(l.errno(op), errno, "{fd:?}");
    }
}

/// I33: by a place of the driver's table, and by one where nothing is.
fn fixed_descriptors(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let mut l = cx.ledger();
    let fd = l.register_fd(marked.file.as_raw_fd(), 3).unwrap();
    l.run(SetXattr::new(fd, NAME, "fixed")).unwrap();
    assert_eq!(l.run(GetXattr::new(fd, NAME, [0; 8])).unwrap(), 5);
    assert_eq!(marked.value().unwrap(), b"fixed");
    for empty in [FixedFd::from_id(4), FixedFd::from_id(u32::MAX)] {
        assert_eq!(l.errno(GetXattr::new(empty, NAME, [0; 8])), libc::EBADF);
        assert_eq!(l.errno(SetXattr::new(empty, NAME, "x")), libc::EBADF);
    }
}

/// I11: a number means what it means when it is submitted.
fn closed_and_reused_before_the_submit(cx: &mut Cx) {
    let [Some(old), Some(new)] = [Marked::new(cx), Marked::new(cx)] else {
        return;
    };
    let place = old.file.try_clone().unwrap();
    let fd = kit::plain(&place);
    let mut l = cx.ledger();
    l.start(SetXattr::new(fd, NAME, "new"), 1);
    kit::replace(&new.file, fd.as_raw_fd());
    assert_eq!(l.one().into_result().unwrap(), 0);
    assert_eq!((old.value(), new.value().unwrap()), (None, b"new".to_vec()));
    l.start(SetXattr::new(fd, NAME, "nobody"), 1);
    l.start(GetXattr::new(fd, NAME, [0; 8]), 2);
    drop(place);
    assert_eq!(kit::errnos(&l.take(2)), [libc::EBADF; 2]);
    assert_eq!(new.value().unwrap(), b"new");
}

/// I28: too much is too much, and never a little.
fn huge_lengths(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let region = Region::new((1 << 32) + 4096);
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    for len in [65_537, 0x7fff_f000, 1 << 31, 1 << 32, (1 << 32) + 1] {
        let op = SetXattr::new(fd, NAME, &*region.lend(0..len));
        assert_eq!(l.errno(op), libc::E2BIG, "{len:#x}");
        assert_eq!(marked.value(), None);
    }
    marked.set(NAME, b"short", 0).unwrap();
    for len in [65_537, 0x7fff_f000, 1 << 31, 1 << 32, (1 << 32) + 1] {
        let op = GetXattr::new(fd, NAME, region.lend(0..len));
        assert_eq!(l.run(op).unwrap(), 5, "{len:#x}");
    }
}

/// I1: wholly, or not at all; the entry says which.
fn set_or_cancelled(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    for n in 0..300 {
        marked.set(NAME, b"before", 0).unwrap();
        l.start(SetXattr::new(fd, NAME, "after"), n);
        let get = l.start(GetXattr::new(fd, NAME, [0; 8]), n + 1_000);
        let mut taken = if n % 3 == 0 { Vec::new() } else { l.turn() };
        l.try_cancel(n).unwrap();
        l.try_cancel(n + 1_000).unwrap();
        taken.extend(l.take(2 - taken.len()));
        let mut done = false;
        for entry in taken {
            let errno = kit::errno(&entry);
            assert!([0, libc::ECANCELED].contains(&errno), "{entry:?}");
            if entry.user_data() == n {
                done = errno == 0;
            } else if errno == 0 {
                let size = l.finish(get, entry).unwrap();
                let value = &l.op(get).buf()[..size];
                assert!([&b"before"[..], b"after"].contains(&value));
            }
        }
        let expected = if done { "after" } else { "before" };
        assert_eq!(marked.value().unwrap(), expected.as_bytes());
        l.free(get);
    }
}

/// I5: names and values may be gone.
fn what_was_only_pushed_is_not_executed(cx: &mut Cx) {
    let Some(marked) = Marked::new(cx) else {
        return;
    };
    let mut l = cx.ledger();
    let fd = l.at(&marked.file);
    let set = l.start(SetXattr::new(fd, c("user.completeio"), vec![1; 100]), 1);
    let by_path = l.start(SetPathXattr::new(marked.path(), NAME, vec![1; 100]), 2);
    let get = l.start(GetXattr::new(fd, NAME, vec![1; 100].slice(..)), 3);
    l.free(set);
    l.free(by_path);
    l.free(get);
    l.abandon();
    assert_eq!(marked.value(), None);
}

fn every_operation_is_reported(cx: &mut Cx) {
    let report = cx.driver(|limits| limits).capabilities().to_string();
    for name in [
        "Unlink",
        "Rename",
        "MakeDir",
        "Symlink",
        "HardLink",
        "GetXattr",
        "SetXattr",
        "GetPathXattr",
        "SetPathXattr",
    ] {
        assert!(report.contains(name), "{name}: {report}");
    }
}
