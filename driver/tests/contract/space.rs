//! I27: files against their synchronous twins: holes. I23: disks that are full, read-only or
//! broken.

use crate::kit;
use crate::ledger::Cx;
use crate::region::Region;
use completeio_driver::driver::{AsRawFd, CompleteIo, OwnedFd};
use completeio_driver::op::{
    Advice, Advise, Allocate, OpenAt, OpenOptions, ReadAt, RwFlags, Stat, Sync, Truncate, WriteAt,
};
use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::ptr;

contract![
    holes,
    advice_changes_nothing,
    a_full_device,
    a_full_file_system,
    a_read_only_file_system,
    a_broken_read,
    beyond_the_limit_of_file_sizes,
];

fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    let [offset, len] = [offset, len].map(|n| n.try_into().unwrap());
    // SAFETY: takes numbers.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where the next hole begins.
fn hole(file: &File, from: u64) -> i64 {
    let from = from.try_into().unwrap();
    // SAFETY: takes numbers.
    unsafe { libc::lseek(file.as_raw_fd(), from, libc::SEEK_HOLE) }
}

/// Space that is taken, given back and emptied: bytes, sizes, blocks and holes are those of a file
/// that the plain calls have changed.
fn holes(cx: &mut Cx) {
    use libc::{FALLOC_FL_KEEP_SIZE as KEEP, FALLOC_FL_PUNCH_HOLE as PUNCH};
    const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
    const LEN: u64 = 1 << 16;
    let [ours, twin] = [(); 2].map(|()| kit::file(&[7; 1 << 16]));
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let fixed = l.register_fd(ours.as_raw_fd(), 3).unwrap();
    let mut step = |op: Allocate<_>, mode, offset: u64, len: u64| {
        let plain = fallocate(&twin, mode, offset, len);
        match (l.run(op), plain) {
            (Ok(()), Ok(())) => {}
            (Err(a), Err(b)) => {
                assert_eq!(a.raw_os_error(), b.raw_os_error(), "{a}, {b}");
                kit::skip(&format!("fallocate, mode {mode}, here: {b}"));
            }
            (a, b) => panic!("{a:?}, but the plain call {b:?}"),
        }
        assert!(
            kit::contents(&ours) == kit::contents(&twin),
            "the bytes after {mode}"
        );
        let [a, b] = [&ours, &twin].map(|file| {
            file.sync_all().unwrap();
            file.metadata().unwrap()
        });
        assert_eq!((a.len(), a.blocks()), (b.len(), b.blocks()), "mode {mode}");
        for from in [0, offset] {
            assert_eq!(hole(&ours, from), hole(&twin, from), "after {mode}");
        }
    };
    let quarter = LEN / 4;
    step(
        Allocate::punch_hole(fd, quarter, quarter),
        PUNCH | KEEP,
        quarter,
        quarter,
    );
    assert!(kit::contents(&ours)[..1 << 14].iter().all(|b| *b == 7));
    step(Allocate::punch_hole(fd, 1, 10), PUNCH | KEEP, 1, 10);
    step(
        Allocate::punch_hole(fd, LEN, LEN).keep_size(),
        PUNCH | KEEP,
        LEN,
        LEN,
    );
    step(Allocate::zero(fd, 2 * quarter, 100), ZERO, 2 * quarter, 100);
    step(
        Allocate::zero(fd, LEN, 4096).keep_size(),
        ZERO | KEEP,
        LEN,
        4096,
    );
    assert_eq!(ours.metadata().unwrap().len(), LEN);
    step(Allocate::zero(fd, LEN - 1, 100), ZERO, LEN - 1, 100);
    step(
        Allocate::new(fd, LEN, 2 * LEN).keep_size(),
        KEEP,
        LEN,
        2 * LEN,
    );
    step(Allocate::new(fd, 0, 4 * LEN), 0, 0, 4 * LEN);
    assert_eq!(ours.metadata().unwrap().len(), 4 * LEN);
    step(
        Allocate::punch_hole(fd, 0, 4 * LEN),
        PUNCH | KEEP,
        0,
        4 * LEN,
    );
    l.run(Allocate::new(fixed, 0, 5 * LEN)).unwrap();
    assert_eq!(ours.metadata().unwrap().len(), 5 * LEN);
}

/// The kernel's release, as far as it counts here.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

fn advice_changes_nothing(cx: &mut Cx) {
    let file = kit::file(&[7; 10_000]);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let fixed = l.register_fd(file.as_raw_fd(), 3).unwrap();
    for advice in [
        Advice::Normal,
        Advice::Sequential,
        Advice::Random,
        Advice::NoReuse,
        Advice::WillNeed,
        Advice::DontNeed,
    ] {
        l.run(Advise::new(fd, advice)).unwrap();
        l.run(Advise::new(fixed, advice)).unwrap();
        for (offset, len) in [(0, 1), (5_000, 0), (1 << 40, u32::MAX.into())] {
            l.run(Advise::new(fd, advice).range(offset, len)).unwrap();
        }
        for len in [1 << 32, (1 << 32) + 1, i64::MAX as u64] {
            let (op, entry) = l.entry_of(Advise::new(fd, advice).range(0, len));
            if cx.is_io_uring() && kernel() < (6, 11) {
                assert_eq!(entry.raw_os_error(), Some(libc::EINVAL));
            } else {
                l.finish(op, entry).unwrap();
            }
        }
    }
    assert!(kit::contents(&file) == [7; 10_000]);
}

/// I23.
fn a_full_device(cx: &mut Cx) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&full);
    assert_eq!(l.errno(WriteAt::new(fd, 0, "x")), libc::ENOSPC);
    // The driver of this device knows no flags: io_uring then does without.
    let errno = l.errno(WriteAt::new(fd, 0, "x").flags(RwFlags::DSYNC));
    assert!(errno == libc::ENOSPC || !cx.is_io_uring() && errno == libc::EOPNOTSUPP);
}

/// A file system in memory that is mounted nowhere: its root. It goes with its last descriptor.
fn memory_file_system(size: &std::ffi::CStr, attributes: u32) -> io::Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    const SET_STRING: u32 = 1;
    const CREATE: u32 = 6;
    let made = |result: libc::c_long| match i32::try_from(result) {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(io::Error::last_os_error()),
    };
    let none = ptr::null::<libc::c_char>();
    // SAFETY: a name that lives as long as the call, and a number.
    let context = made(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), CLOEXEC) })?;
    // SAFETY: a new descriptor.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let configure = |what: u32, key: *const libc::c_char, value: *const libc::c_char| {
        let fd: RawFd = context.as_raw_fd();
        // SAFETY: strings that live as long as the call, or none.
        made(unsafe { libc::syscall(libc::SYS_fsconfig, fd, what, key, value, 0) })
    };
    configure(SET_STRING, c"size".as_ptr(), size.as_ptr())?;
    configure(CREATE, none, none)?;
    let fd = context.as_raw_fd();
    // SAFETY: takes numbers.
    let root = made(unsafe { libc::syscall(libc::SYS_fsmount, fd, CLOEXEC, attributes) })?;
    // SAFETY: a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(root) })
}

/// I23: what fits is written, and then nothing is; what is given back can be used again.
fn a_full_file_system(cx: &mut Cx) {
    const SIZE: usize = 1 << 16;
    let root = match memory_file_system(c"65536", 0) {
        Ok(root) => root,
        Err(error) => return kit::skip(&format!("a file system of its own: {error}")),
    };
    let mut l = cx.ledger();
    let dir = l.at(&root);
    let create = OpenOptions::new().read(true).write(true).create(true);
    let file = l.run(OpenAt::new(dir, c"file", create)).unwrap();
    let fd = l.at(&file);
    let all = vec![7; 2 * SIZE].into_boxed_slice();
    assert_eq!(l.run(WriteAt::new(fd, 0, all)).unwrap(), SIZE, "what fits");
    let more = WriteAt::new(fd, SIZE as u64, "more");
    assert_eq!(l.errno(more), libc::ENOSPC);
    let beyond = Allocate::new(fd, 0, 2 * SIZE as u64);
    assert_eq!(l.errno(beyond), libc::ENOSPC);
    let beyond = Allocate::new(fd, SIZE as u64, 4096).keep_size();
    assert_eq!(l.errno(beyond), libc::ENOSPC);
    let synced = WriteAt::new(fd, SIZE as u64, "x").flags(RwFlags::DSYNC);
    assert_eq!(l.errno(synced), libc::ENOSPC);
    l.run(Sync::new(fd)).unwrap();
    assert_eq!(l.run(Stat::new(fd)).unwrap().size(), SIZE as u64);
    let hole = Allocate::punch_hole(fd, 0, 4096);
    l.run(hole).unwrap();
    let more = WriteAt::new(fd, SIZE as u64, "more");
    assert_eq!(l.run(more).unwrap(), 4);
    if l.supports("Truncate") {
        l.run(Truncate::new(fd, 0)).unwrap();
        l.run(Allocate::new(fd, 0, SIZE as u64)).unwrap();
    }
}

/// I23.
fn a_read_only_file_system(cx: &mut Cx) {
    const READ_ONLY: u32 = 1;
    let root = match memory_file_system(c"65536", READ_ONLY) {
        Ok(root) => root,
        Err(error) => return kit::skip(&format!("a file system of its own: {error}")),
    };
    let mut l = cx.ledger();
    let dir = l.at(&root);
    let create = OpenOptions::new().write(true).create(true);
    let open = OpenAt::new(dir, c"file", create);
    assert_eq!(l.errno(open), libc::EROFS);
    assert!(l.run(Stat::new(dir)).unwrap().is_dir());
}

/// I23: the memory of this process at an address that it does not have.
fn a_broken_read(cx: &mut Cx) {
    let memory = File::open("/proc/self/mem").unwrap();
    let expected = memory.read_at(&mut [0; 8], 0).unwrap_err().raw_os_error();
    assert_eq!(expected, Some(libc::EIO));
    let mut l = cx.ledger();
    let fd = l.at(&memory);
    assert_eq!(l.errno(ReadAt::new(fd, 0, [0; 8])), libc::EIO);
}

/// The process's limit of the size of files, lowered, and the signal that reports it kept away,
/// until it is dropped.
struct FileSizeLimit {
    before: libc::rlimit,
    signals: libc::sigset_t,
}

impl FileSizeLimit {
    fn new(limit: u64) -> Self {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a place for the limit, on the stack.
        kit::checked(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut before) });
        let lower = libc::rlimit {
            rlim_cur: limit,
            ..before
        };
        // SAFETY: the limit, on the stack.
        kit::checked(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const lower) });
        let (signal, mut signals) = (Self::signal(), Self::signal());
        // SAFETY: two sets, on the stack.
        kit::checked(unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, &raw mut signals)
        });
        Self { before, signals }
    }

    /// SIGXFSZ alone.
    fn signal() -> libc::sigset_t {
        // SAFETY: a set of plain numbers.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: a set on the stack.
        kit::checked(unsafe { libc::sigaddset(&raw mut set, libc::SIGXFSZ) });
        set
    }

    /// Takes the signal back that was raised in this thread; whether there was one.
    fn take_signal(&self) -> bool {
        let signal = Self::signal();
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a set, no information, and no time at all.
        unsafe { libc::sigtimedwait(&raw const signal, ptr::null_mut(), &raw const now) > 0 }
    }
}

impl Drop for FileSizeLimit {
    fn drop(&mut self) {
        self.take_signal();
        let none = ptr::null_mut();
        // SAFETY: the signals that were there before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.signals, none) };
        // SAFETY: the limit that was there before.
        unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const self.before) };
    }
}

/// I23: EFBIG. The thread that makes the call is sent SIGXFSZ too: this one, if it is made at once,
/// as io_uring does with direct writes and readiness with those that do not wait.
fn beyond_the_limit_of_file_sizes(cx: &mut Cx) {
    const LIMIT: u64 = 1 << 30;
    let path = kit::TempPath::new();
    let file = File::create(&*path).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let has_truncate = l.supports("Truncate");
    let limit = FileSizeLimit::new(LIMIT);
    assert_eq!(l.run(WriteAt::new(fd, LIMIT - 4, "up to it")).unwrap(), 4);
    assert!(!limit.take_signal(), "it was only cut short");
    assert_eq!(l.errno(WriteAt::new(fd, LIMIT, "beyond")), libc::EFBIG);
    assert!(cx.is_io_uring() || !limit.take_signal(), "workers block it");
    limit.take_signal();
    let append = WriteAt::new(fd, 0, "x").flags(RwFlags::APPEND);
    assert_eq!(l.errno(append), libc::EFBIG);
    limit.take_signal();
    let space = Allocate::new(fd, LIMIT, 1);
    assert_eq!(l.errno(space), libc::EFBIG);
    if has_truncate {
        assert_eq!(l.errno(Truncate::new(fd, LIMIT + 1)), libc::EFBIG);
        l.run(Truncate::new(fd, LIMIT)).unwrap();
    }
    assert!(!limit.take_signal(), "those were made by other threads");
    let direct = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&*path);
    if let Ok(direct) = &direct {
        let region = Region::new(4096);
        let bytes = || &*region.lend(0..4096);
        let fd = l.at(direct);
        assert_eq!(l.errno(WriteAt::new(fd, LIMIT, bytes())), libc::EFBIG);
        assert!(cx.is_io_uring() || !limit.take_signal(), "workers block it");
        limit.take_signal();
        let at_once = WriteAt::new(fd, LIMIT, bytes()).flags(RwFlags::NOWAIT);
        let errno = l.errno(at_once);
        assert!([libc::EFBIG, libc::EOPNOTSUPP].contains(&errno), "{errno}");
        assert!(errno != libc::EFBIG || limit.take_signal(), "made at once");
    }
    drop(limit);
    assert_eq!(l.run(WriteAt::new(fd, LIMIT, "beyond")).unwrap(), 6);
}
