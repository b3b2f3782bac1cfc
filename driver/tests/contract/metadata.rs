//! I27: what is known of a file is what the plain call says, and its alignment makes direct reads
//! and writes succeed.

use crate::kit;
use crate::ledger::Cx;
use crate::path::c;
#[cfg(target_os = "linux")]
use crate::region::Region;
use crate::steps;
use crate::tree::Tree;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Cwd, OwnedFd, Refusal};
use completeio_driver::op::{
    DirectIo, FileKind, Metadata, OpenAt, OpenOptions, ReadAt, RwFlags, Stat, StatAt, Sync, WriteAt,
};
use std::fs::{self, File, FileTimes};
use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

contract! {
    everywhere: [
        a_fixed_descriptor_has_no_metadata,
    ],
    on_host: [
        by_path_lent_and_owned,
        metadata_is_that_of_stat,
        kinds_of_files,
        by_path,
        paths_that_lead_nowhere,
    ],
    on_linux: [
        direct_reads_and_writes_are_aligned,
    ],
}

/// Field by field.
fn assert_same(ours: &Metadata, theirs: &fs::Metadata) {
    assert_eq!(ours.size(), theirs.len());
    if kit::ACCESS_TIMES_STAND {
        assert_eq!(ours.accessed(), theirs.accessed().unwrap());
    }
    assert_eq!(ours.modified(), theirs.modified().unwrap());
    assert_eq!(ours.created(), theirs.created().ok());
    assert_eq!(ours.is_file(), theirs.is_file());
    assert_eq!(ours.is_dir(), theirs.is_dir());
    assert_eq!(ours.is_symlink(), theirs.is_symlink());
    let is_read_only = ours.mode() & 0o222 == 0;
    assert_eq!(is_read_only, theirs.permissions().readonly());
    kit::assert_same_numbers(ours, theirs);
}

fn metadata_is_that_of_stat(cx: &mut Cx) {
    let path = kit::TempPath::new();
    let second = kit::TempPath::new();
    fs::write(&*path, [7; 12_345]).unwrap();
    fs::hard_link(&*path, &*second).unwrap();
    let file = File::options().read(true).write(true).open(&*path).unwrap();
    // Each time is another, to the nanosecond; one is before 1970.
    let epoch = SystemTime::UNIX_EPOCH;
    let times = FileTimes::new()
        .set_accessed(epoch - Duration::new(1, 999_999_995))
        .set_modified(epoch + Duration::new(1_000_000_000, 123_456_789));
    file.set_times(times).unwrap();
    let mut files = vec![file, kit::open_directory(Path::new("/"))];
    files.extend(kit::devices());
    let mut l = cx.ledger();
    for file in &files {
        let fd = l.at(file);
        let metadata = l.run(Stat::new(fd)).unwrap();
        let theirs = file.metadata().unwrap();
        assert_same(&metadata, &theirs);
        assert_eq!(metadata.accessed(), theirs.accessed().unwrap());
    }
    let first = l.run(Stat::new(kit::plain(&files[0]))).unwrap();
    assert_eq!(first.nlink(), 2);
    let named = l.run(StatAt::new(Cwd, second.c_string())).unwrap();
    assert_eq!(named, first, "one file, two names");
    let metadata = l.run(Stat::new(Cwd)).unwrap();
    assert_ne!(metadata.ino(), first.ino());
    assert_same(&metadata, &fs::metadata(".").unwrap());
    // Again, of a file that has changed.
    let op = l.lend(Stat::new(kit::plain(&files[0])));
    for len in [1, 0, kit::LONG_FILE] {
        fs::OpenOptions::new()
            .write(true)
            .open(&*path)
            .unwrap()
            .set_len(len)
            .unwrap();
        l.push(op, 1);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap().size(), len);
    }
}

fn kinds_of_files(cx: &mut Cx) {
    let (reader, _writer) = kit::pipe();
    let null = File::open(kit::NULL.to_str().unwrap()).unwrap();
    let mut files: Vec<(OwnedFd, FileKind)> = vec![
        (kit::owned(kit::file(b"")), FileKind::File),
        (
            kit::owned(kit::open_directory(Path::new("/"))),
            FileKind::Directory,
        ),
        (kit::owned(null), FileKind::CharDevice),
        (kit::owned(reader), FileKind::Pipe),
        (kit::tcp_socket(), FileKind::Socket),
        (kit::owned(kit::pair().0), FileKind::Socket),
    ];
    files.extend(kit::kinds_of_its_own());
    let mut l = cx.ledger();
    for (file, kind) in &files {
        for attached in [false, true] {
            if attached {
                l.at(file);
            }
            let metadata = l.run(Stat::new(kit::plain(file))).unwrap();
            assert_eq!(metadata.kind(), *kind, "attached: {attached}");
        }
    }
    // How it is aligned is asked of files only.
    let metadata = l.run(Stat::new(kit::plain(&files[3].0))).unwrap();
    assert_eq!(metadata.direct_io(), None);
}

fn a_fixed_descriptor_has_no_metadata(cx: &mut Cx) {
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fixed = l.register_fd(file.as_raw_fd(), 0).unwrap();
    let (_, entry) = l.entry_of(Stat::new(fixed));
    assert_eq!(entry.refusal(), Some(Refusal::FixedDescriptor));
}

/// Relative to a directory, and absolute; of a link, and of what it leads to.
fn by_path(cx: &mut Cx) {
    let tree = Tree::full();
    let directory = tree.open();
    let mut l = cx.ledger();
    let dir = l.at(&directory);
    for name in ["file", "full", "full/x", "link", ".", "full/../other"] {
        if name == "link" && !kit::makes_links() {
            continue;
        }
        let (here, path) = (c(name), tree.at(name));
        let followed = fs::metadata(&path).unwrap();
        let absolute = tree.c_string(name);
        let ours = [
            l.run(StatAt::new(dir, here.clone())).unwrap(),
            l.run(StatAt::new(dir, here.clone()).follow(false).follow(true))
                .unwrap(),
            l.run(StatAt::new(Cwd, absolute.clone())).unwrap(),
            // An absolute path needs no directory.
            l.run(StatAt::new(kit::number(kit::CLOSED), absolute))
                .unwrap(),
        ];
        for ours in ours {
            assert_same(&ours, &followed);
        }
        let itself = l.run(StatAt::new(dir, here).follow(false)).unwrap();
        assert_same(&itself, &fs::symlink_metadata(&path).unwrap());
        assert_eq!(itself.is_symlink(), name == "link");
    }
    let ours = l.run(StatAt::new(Cwd, c"Cargo.toml")).unwrap();
    assert_same(&ours, &fs::metadata("Cargo.toml").unwrap());
    // As by the descriptor, alignment included.
    let file = File::open(tree.at("file")).unwrap();
    let fd = l.at(&file);
    let by_descriptor = l.run(Stat::new(fd)).unwrap();
    assert_eq!(l.run(StatAt::new(dir, c"file")).unwrap(), by_descriptor);
    // Again, when it has changed.
    let (op, entry) = l.entry_of(StatAt::new(dir, c"other"));
    assert_eq!(l.finish(op, entry).unwrap().size(), 5);
    fs::write(tree.at("other"), "longer").unwrap();
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap().size(), 6);
}

/// I33.
fn paths_that_lead_nowhere(cx: &mut Cx) {
    let tree = Tree::full();
    kit::symlink("loop", &tree.at("loop"));
    let (directory, file) = (tree.open(), File::open(tree.at("file")).unwrap());
    let mut l = cx.ledger();
    let long = "x".repeat(5000);
    let names = ["", "none", "dangling", "loop", "file/x", "full/none", &long];
    for name in names.map(c) {
        for (dir, path) in [(&directory, tree.at("")), (&file, tree.at("file"))] {
            for follow in [true, false] {
                let expected = kit::errno_of_stat((dir, &path), &name, follow);
                let ours = l.run(StatAt::new(kit::plain(dir), name.clone()).follow(follow));
                let ours = ours.err().map(|e| e.raw_os_error().unwrap());
                assert_eq!(ours, expected, "{name:?} {follow}");
            }
        }
    }
}

fn by_path_lent_and_owned(cx: &mut Cx) {
    let tree = Tree::new();
    tree.file("file");
    let directory = tree.open();
    let mut stat = StatAt::new(directory.as_fd(), c"file");
    let mut l = cx.ledger();
    l.scope(|s| assert_eq!(steps::run(s, &mut stat).0.unwrap().size(), 4))
        .unwrap();
    let op = StatAt::new(kit::owned(directory), c"file");
    let key = l.try_push_owned(op, 0).unwrap();
    let (metadata, op) = steps::outcome(&mut l, key);
    assert_eq!(metadata.unwrap().size(), 4);
    // An orphan writes into nothing that is gone.
    drop(l.try_push_owned(op, 1).unwrap());
    while l.in_flight() > 0 {
        l.submit(Some(Duration::ZERO), &mut None).unwrap();
    }
}

/// What the plain call says of the alignment of direct reads: of memory, of offsets.
#[cfg(target_os = "linux")]
fn plain_alignment(file: &OwnedFd) -> Option<(u32, u32)> {
    // SAFETY: plain numbers.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (empty, at) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: a path that lives as long as the call, and a place for the answer, on the stack.
    kit::checked(unsafe {
        let mask = libc::STATX_DIOALIGN;
        libc::statx(file.as_raw_fd(), empty, at, mask, &raw mut stat)
    });
    let alignment = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
    (stat.stx_mask & libc::STATX_DIOALIGN != 0 && alignment.0 > 0).then_some(alignment)
}

/// What `Stat` says makes direct reads and writes succeed; what is not aligned so is EINVAL.
#[cfg(target_os = "linux")]
fn direct_reads_and_writes_are_aligned(cx: &mut Cx) {
    const LEN: usize = 1 << 16;
    let path = kit::TempPath::new();
    fs::write(&*path, [7; LEN]).unwrap();
    let mut l = cx.ledger();
    let direct = OpenOptions::new().read(true).write(true).direct(true);
    let file = match l.run(OpenAt::new(Cwd, path.c_string(), direct)) {
        Ok(file) => file,
        Err(error) => return kit::skip(&format!("no O_DIRECT here: {error}")),
    };
    // SAFETY: takes numbers.
    let mode = kit::checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) });
    assert_ne!(mode & libc::O_DIRECT, 0);
    let fd = l.at(&file);
    let by_path = l.run(StatAt::new(Cwd, path.c_string())).unwrap();
    let ours = l.run(Stat::new(fd)).unwrap().direct_io();
    assert_eq!(by_path.direct_io(), ours);
    let ours = ours.map(|DirectIo { memory, offset, .. }| (memory, offset));
    assert_eq!(ours, plain_alignment(&file));
    let Some((memory, offset)) = ours else {
        return kit::skip("this file system does not say how O_DIRECT is aligned");
    };
    assert!(memory.is_power_of_two() && offset.is_power_of_two());
    let (align, block) = (memory as usize, offset as usize);
    // Its start is a page's.
    let region = Region::new(2 * LEN);
    let aligned = || region.lend(align..align + block);
    let read = ReadAt::new(fd, offset.into(), aligned());
    assert_eq!(l.run(read).unwrap(), block);
    assert_eq!(aligned(), vec![7; block]);
    region.fill(9);
    let write = WriteAt::new(fd, offset.into(), &*aligned()).flags(RwFlags::DSYNC);
    assert_eq!(l.run(write).unwrap(), block);
    let written = fs::read(&*path).unwrap();
    assert!(written[block..2 * block].iter().all(|byte| *byte == 9));
    assert!(written[2 * block..].iter().all(|byte| *byte == 7));
    if block > 1 {
        assert_eq!(l.errno(ReadAt::new(fd, 1, aligned())), libc::EINVAL);
        assert_eq!(l.errno(WriteAt::new(fd, 1, &*aligned())), libc::EINVAL);
        let short = region.lend(0..block - 1);
        assert_eq!(l.errno(WriteAt::new(fd, 0, &*short)), libc::EINVAL);
    }
    // Newer kernels split what others refuse.
    let twin = File::from(file.try_clone().unwrap());
    let plain = twin.read_at(region.lend(1..1 + block), 0);
    let ours = l.run(ReadAt::new(fd, 0, region.lend(1..1 + block)));
    let errno = |result: io::Result<usize>| result.map_err(|e| e.raw_os_error());
    assert_eq!(errno(ours), errno(plain), "memory aligned to one byte");
    assert_eq!(l.run(ReadAt::new(fd, 0, region.lend(0..LEN))).unwrap(), LEN);
    l.run(Sync::data(fd)).unwrap();
}
