//! What brings bytes to the disk. And what all operations on files without a buffer have in common:
//! the errors of the plain calls (I10, I33), cancellations (I4), drops (I5), the safe layer.

use crate::kit::{self, code};
use crate::ledger::{Cx, Ledger};
use crate::steps;
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Entry, Refusal};
#[cfg(target_os = "linux")]
use completeio_driver::driver::{Backend, BorrowedFd, OwnedFd};
use completeio_driver::op::{
    Advice, Advise, Allocate, Op, ReadAt, Stat, Sync, SyncFlags, SyncRange, Truncate, WriteAt,
};
use std::fs::{self, File};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{FromRawFd, RawFd};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
#[cfg(target_os = "linux")]
use std::thread;
use std::time::Duration;

contract! {
    everywhere: [
        ranges_are_written_out,
        owned_by_the_driver,
    ],
    on_host: [
        syncs,
        offsets_and_lengths_end_at_i64_max,
        cancelled_or_not,
        dropped_in_flight,
        what_was_only_pushed_does_nothing,
        through_a_scope,
    ],
    on_linux: [
        a_sync_is_the_call_that_it_names,
        as_the_plain_call,
    ],
}

fn syncs(cx: &mut Cx) {
    for workers in [0, 2] {
        let file = kit::file(b"");
        let directory = kit::open_directory(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let mut l = cx.with(|limits| limits.workers(workers));
        let fd = l.at(&file);
        for op in [Sync::new(fd), Sync::data(fd)] {
            l.run(WriteAt::new(fd, 0, "text")).unwrap();
            l.run(op).unwrap();
        }
        let fixed = l.register_fd(file.as_raw_fd(), 3).unwrap();
        l.run(Sync::new(fixed)).unwrap();
        l.run(Sync::data(fixed)).unwrap();
        let directory = l.at(&directory);
        let synced = l.run(Sync::new(directory));
        assert_eq!(errno(synced), kit::ERRNO_OF_A_DIRECTORYS_SYNC);
        assert_eq!(l.run(ReadAt::new(fd, 0, [0; 8])).unwrap(), 4);
    }
}

/// Has the calls of this thread fail that sync a file, each with an error of its own.
#[cfg(target_os = "linux")]
fn forbid_syncs() -> io::Result<()> {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let step = |code: u32, jf, k| libc::sock_filter {
        code: code.try_into().unwrap(),
        jt: 0,
        jf,
        k,
    };
    let number = |call: libc::c_long| u32::try_from(call).unwrap();
    let fail = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut steps = [
        step(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, number(libc::SYS_fsync)),
        step(BPF_RET | BPF_K, 0, fail(libc::ENOTBLK)),
        step(BPF_JMP | BPF_JEQ | BPF_K, 1, number(libc::SYS_fdatasync)),
        step(BPF_RET | BPF_K, 0, fail(libc::E2BIG)),
        step(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 6,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: takes numbers.
    kit::checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a program on the stack, which the call copies.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Both do the same as far as anybody can see, until the power fails: so the calls are told apart
/// by forbidding them. Of io_uring's entries the unit tests know.
#[cfg(target_os = "linux")]
fn a_sync_is_the_call_that_it_names(cx: &mut Cx) {
    if cx.is_io_uring() {
        return;
    }
    thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let cx = Cx::new(Backend::Readiness).unwrap();
            let file = kit::file(b"text");
            // Without workers the calls are this thread's.
            let mut l = cx.with(|limits| limits.workers(0));
            let fd = l.at(&file);
            if let Err(error) = forbid_syncs() {
                return kit::skip(&format!("no system call can be forbidden here: {error}"));
            }
            assert_eq!(l.errno(Sync::new(fd)), libc::ENOTBLK);
            assert_eq!(l.errno(Sync::data(fd)), libc::E2BIG);
        });
        calls.join().unwrap();
    });
}

fn ranges_are_written_out(cx: &mut Cx) {
    let file = cx.file(&[7; 10_000]);
    let mut l = cx.ledger();
    let fd = l.at(&file);
    if !l.supports("SyncRange") {
        let (_, entry) = l.entry_of(SyncRange::new(fd, 0, 0));
        return assert_eq!(entry.refusal(), Some(Refusal::Unsupported));
    }
    let fixed = l.register_fd(file.as_raw_fd(), 3).unwrap();
    for flags in 0..8 {
        let flags = SyncFlags::from_bits(flags);
        for (offset, len) in [(0, 0), (1, 4097), (5_000, u32::MAX), (1 << 40, 1)] {
            l.run(SyncRange::new(fd, offset, len).flags(flags)).unwrap();
        }
        l.run(SyncRange::new(fixed, 0, 1).flags(flags)).unwrap();
    }
    l.run(SyncRange::new(fd, 0, 0)).unwrap();
    let unknown = SyncFlags::from_bits(8) | SyncFlags::WRITE;
    let unknown = SyncRange::new(fd, 0, 0).flags(unknown);
    assert_eq!(l.errno(unknown), code::EINVAL);
    // The end of the range is beyond all offsets.
    let beyond = SyncRange::new(fd, i64::MAX as u64, 2);
    assert_eq!(l.errno(beyond), code::EINVAL);
}

/// The error number of an outcome; 0 for none.
fn errno<T>(outcome: io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().expect("the kernel's error"),
    }
}

/// One operation, and the plain call that it stands for.
#[cfg(target_os = "linux")]
type Twin = (
    &'static str,
    fn(&mut Ledger, BorrowedFd<'static>) -> i32,
    fn(RawFd) -> i32,
);

/// Defines a twin; the plain call returns 0 or says its error.
#[cfg(target_os = "linux")]
macro_rules! twin {
    ($name:literal, |$fd:ident| $op:expr, $plain:expr) => {
        (
            $name,
            |l, $fd| errno(l.run($op)),
            |$fd| {
                // SAFETY: takes numbers, and what is on the stack.
                let returned = unsafe { $plain };
                if returned < 0 {
                    io::Error::last_os_error().raw_os_error().unwrap()
                } else {
                    0
                }
            },
        )
    };
}

#[cfg(target_os = "linux")]
const TWINS: &[Twin] = &[
    twin!("Sync", |fd| Sync::new(fd), libc::fsync(fd)),
    twin!("Sync::data", |fd| Sync::data(fd), libc::fdatasync(fd)),
    twin!(
        "SyncRange",
        |fd| SyncRange::new(fd, 1, 2),
        libc::sync_file_range(fd, 1, 2, 7)
    ),
    twin!(
        "SyncRange without flags",
        |fd| SyncRange::new(fd, 1, 2).flags(SyncFlags::default()),
        libc::sync_file_range(fd, 1, 2, 0)
    ),
    twin!(
        "Truncate",
        |fd| Truncate::new(fd, 9_000),
        libc::ftruncate(fd, 9_000)
    ),
    twin!(
        "Truncate, too long",
        |fd| Truncate::new(fd, i64::MAX as u64),
        libc::ftruncate(fd, i64::MAX)
    ),
    twin!(
        "Allocate",
        |fd| Allocate::new(fd, 4096, 8192),
        libc::fallocate(fd, 0, 4096, 8192)
    ),
    twin!(
        "Allocate, keeping the size",
        |fd| Allocate::new(fd, 4096, 32768).keep_size(),
        libc::fallocate(fd, libc::FALLOC_FL_KEEP_SIZE, 4096, 32768)
    ),
    twin!(
        "Allocate nothing",
        |fd| Allocate::new(fd, 0, 0),
        libc::fallocate(fd, 0, 0, 0)
    ),
    twin!(
        "Allocate, beyond all offsets",
        |fd| Allocate::new(fd, i64::MAX as u64, i64::MAX as u64),
        libc::fallocate(fd, 0, i64::MAX, i64::MAX)
    ),
    twin!(
        "Allocate::punch_hole",
        |fd| Allocate::punch_hole(fd, 0, 4096),
        libc::fallocate(
            fd,
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            0,
            4096
        )
    ),
    twin!(
        "Allocate::zero",
        |fd| Allocate::zero(fd, 0, 4096),
        libc::fallocate(fd, libc::FALLOC_FL_ZERO_RANGE, 0, 4096)
    ),
    twin!(
        "Advise",
        |fd| Advise::new(fd, Advice::WillNeed),
        advise(fd, 0, 0, libc::POSIX_FADV_WILLNEED)
    ),
    twin!(
        "Advise, a range",
        |fd| Advise::new(fd, Advice::Random).range(i64::MAX as u64, u32::MAX.into()),
        advise(fd, i64::MAX, u32::MAX.into(), libc::POSIX_FADV_RANDOM)
    ),
    twin!("Stat", |fd| Stat::new(fd), {
        let mut stat = std::mem::zeroed::<libc::stat>();
        libc::fstat(fd, &raw mut stat)
    }),
];

/// The plain call, in the manner of the others.
///
/// # Safety
/// None is needed.
#[cfg(target_os = "linux")]
unsafe fn advise(fd: RawFd, offset: i64, len: i64, advice: i32) -> i32 {
    // SAFETY: takes numbers.
    let error = unsafe { libc::posix_fadvise(fd, offset, len, advice) };
    // SAFETY: takes nothing.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the thread's own error number.
    unsafe { *place = error };
    -i32::from(error != 0)
}

/// A socket, a pipe, a directory, a device … each twice, for the plain call changes it too.
#[cfg(target_os = "linux")]
fn descriptors() -> Vec<(&'static str, [OwnedFd; 2])> {
    let path = kit::TempPath::new();
    fs::write(&*path, [7; 10_000]).unwrap();
    let open = |options: &mut fs::OpenOptions, path: &str| kit::owned(options.open(path).unwrap());
    let name = path.to_str().unwrap();
    let (mut read, mut write) = (File::options(), File::options());
    read.read(true);
    write.write(true);
    let twice = |make: &mut dyn FnMut() -> OwnedFd| [make(), make()];
    let memory = || {
        // SAFETY: a name that lives as long as the call.
        let fd = kit::checked(unsafe { libc::memfd_create(c"memory".as_ptr(), libc::MFD_CLOEXEC) });
        // SAFETY: a new descriptor.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    let event = || {
        // SAFETY: takes numbers.
        let fd = kit::checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) });
        // SAFETY: a new descriptor.
        unsafe { OwnedFd::from_raw_fd(fd) }
    };
    let only_path = || {
        kit::owned(fs::OpenOptions::open(read.clone().custom_flags(libc::O_PATH), name).unwrap())
    };
    vec![
        ("file", twice(&mut || kit::owned(kit::file(&[7; 10_000])))),
        ("read only", twice(&mut || open(&mut read.clone(), name))),
        ("write only", twice(&mut || open(&mut write.clone(), name))),
        ("directory", twice(&mut || open(&mut read.clone(), "/"))),
        ("null", twice(&mut || open(&mut write.clone(), "/dev/null"))),
        ("pipe to read", twice(&mut || kit::owned(kit::pipe().0))),
        ("pipe to write", twice(&mut || kit::owned(kit::pipe().1))),
        ("stream", twice(&mut || kit::owned(kit::pair().0))),
        ("socket", twice(&mut kit::tcp_socket)),
        ("memory", twice(&mut { memory })),
        ("eventfd", twice(&mut { event })),
        ("path only", twice(&mut { only_path })),
    ]
}

/// I10, I33: each operation on each kind of descriptor gives the plain call's error; attached, and
/// not.
#[cfg(target_os = "linux")]
fn as_the_plain_call(cx: &mut Cx) {
    let descriptors = descriptors();
    let mut l = cx.ledger();
    for (kind, [ours, theirs]) in &descriptors {
        for (name, op, plain) in TWINS {
            let expected = plain(theirs.as_raw_fd());
            assert_eq!(op(&mut l, kit::plain(ours)), expected, "{name}, {kind}");
            // What the first has changed does not matter to what the second says.
            l.at(ours);
            assert_eq!(op(&mut l, kit::plain(ours)), expected, "{name}, {kind}");
        }
    }
    for closed in [900_000, i32::MAX] {
        for (name, op, _) in TWINS {
            assert_eq!(op(&mut l, kit::number(closed)), libc::EBADF, "{name}");
        }
    }
}

/// I30.
fn offsets_and_lengths_end_at_i64_max(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for beyond in [1 << 63, u64::MAX - 1, u64::MAX] {
        let entries = [
            l.entry_of(Truncate::new(fd, beyond)).1,
            l.entry_of(Allocate::new(fd, beyond, 1)).1,
            l.entry_of(Allocate::zero(fd, 1, beyond)).1,
            l.entry_of(Advise::new(fd, Advice::DontNeed).range(beyond, 1))
                .1,
            l.entry_of(Advise::new(fd, Advice::DontNeed).range(1, beyond))
                .1,
            l.entry_of(SyncRange::new(fd, beyond, 1)).1,
        ];
        for entry in entries {
            assert_eq!(entry.refusal(), Some(Refusal::Offset), "{entry:?}");
            assert_eq!(entry.raw_os_error(), None);
        }
    }
    assert_eq!(file.metadata().unwrap().len(), 4);
}

/// Starts one of the operations on a file, by number.
fn start(l: &mut Ledger, n: usize, file: &File) {
    fn started<O: Op + 'static>(l: &mut Ledger, op: O, n: usize) {
        l.start(op, n);
    }
    let fd = kit::plain(file);
    match n % 6 {
        0 => started(l, Sync::new(fd), n),
        1 if l.supports("SyncRange") => started(l, SyncRange::new(fd, 0, 0), n),
        1 => started(l, Sync::data(fd), n),
        2 => started(l, Truncate::new(fd, 100), n),
        3 => started(l, Allocate::new(fd, 0, 4096), n),
        4 if l.supports("Advise") => started(l, Advise::new(fd, Advice::WillNeed), n),
        _ => started(l, Stat::new(fd), n),
    }
}

/// I1, I4: cancelled before it is handed over, after, and too late: one end, which is its own or
/// ECANCELED; and a truncation that was cancelled has not been made.
fn cancelled_or_not(cx: &mut Cx) {
    let mut l = cx.ledger();
    for round in 0..300 {
        let file = kit::file(b"text");
        l.at(&file);
        start(&mut l, round, &file);
        let mut entry: Option<Entry> = None;
        if round % 18 >= 6 {
            l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        }
        if round % 18 >= 12 && entry.is_none() {
            entry = Some(l.one());
        }
        l.try_cancel(round).unwrap();
        let entry = entry.unwrap_or_else(|| l.one());
        assert_eq!((entry.user_data(), entry.more()), (round, false));
        let length = file.metadata().unwrap().len();
        match kit::errno(&entry) {
            0 => assert!(round % 6 != 2 || length == 100),
            code::ECANCELED => assert_eq!(length, 4, "nothing was done"),
            error => panic!("{error}: {entry:?}"),
        }
        // The cancellation was of that one.
        start(&mut l, round, &file);
        assert_eq!(kit::errnos(&l.take(1)), [0]);
    }
}

/// I5: the drop returns when nobody writes into a `Stat` any more, and nothing is closed too early.
fn dropped_in_flight(cx: &mut Cx) {
    for handed_over in [true, false] {
        let file = kit::file(&[7; 100_000]);
        let mut l = cx.ledger();
        l.at(&file);
        for n in 0..36 {
            start(&mut l, n, &file);
        }
        if handed_over {
            let mut entry = None;
            l.submit(Some(Duration::ZERO), &mut entry).unwrap();
        }
        l.abandon();
        drop(l); // Frees the operations.
        let length = file.metadata().unwrap().len();
        assert!(handed_over || length == 100_000);
        file.set_len(3).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 3, "nobody is at it");
    }
}

/// I5: neither executed, nor touched.
fn what_was_only_pushed_does_nothing(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let truncate = l.start(Truncate::new(fd, 1), 1);
    let allocate = l.start(Allocate::new(fd, 0, 1 << 20), 2);
    let stat = l.start(Stat::new(fd), 3);
    l.free(truncate);
    l.free(allocate);
    l.free(stat);
    l.abandon();
    assert_eq!(kit::contents(&file), b"text");
}

/// Lent from the stack, with typed outputs.
fn through_a_scope(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let fd = file.as_fd();
    let [has_ranges, has_advice] = ["SyncRange", "Advise"].map(|name| l.supports(name));
    let mut sync = Sync::new(fd);
    let mut range = SyncRange::new(fd, 0, 0);
    let mut truncate = Truncate::new(l.attach_fd(fd).unwrap(), 2);
    let mut allocate = Allocate::new(fd, 0, 9);
    let mut advise = Advise::new(fd, Advice::Normal);
    let mut stat = Stat::new(fd);
    let mut write = WriteAt::new(fd, 9, "!");
    let mut wrong = Truncate::new(fd, u64::MAX);
    l.scope(|s| {
        steps::run(s, &mut sync).0.unwrap();
        if has_ranges {
            steps::run(s, &mut range).0.unwrap();
        }
        steps::run(s, &mut truncate).0.unwrap();
        steps::run(s, &mut allocate).0.unwrap();
        if has_advice {
            steps::run(s, &mut advise).0.unwrap();
        }
        assert_eq!(steps::run(s, &mut write).0.unwrap(), 1);
        let (metadata, stat) = steps::run(s, &mut stat);
        assert_eq!(metadata.unwrap().size(), 10);
        let ticket = s.try_lend(stat, 1).unwrap();
        let metadata = ticket.redeem(steps::next(s)).unwrap().0.unwrap();
        assert!(metadata.is_file());
        let refused = steps::run(s, &mut wrong).0.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    })
    .unwrap();
    assert_eq!(kit::contents(&file), b"te\0\0\0\0\0\0\0!");
}

fn owned_by_the_driver(cx: &mut Cx) {
    let file = Rc::new(kit::owned(cx.file(b"text")));
    let mut l = cx.ledger();
    macro_rules! outcome {
        ($op:expr) => {{
            let key = l.try_push_owned($op, 0).unwrap();
            steps::outcome(&mut l, key).0.unwrap()
        }};
    }
    outcome!(Truncate::new(file.clone(), 2));
    outcome!(Allocate::new(file.clone(), 0, 9));
    outcome!(Sync::data(file.clone()));
    if l.supports("SyncRange") {
        outcome!(SyncRange::new(file.clone(), 0, 0));
    }
    if l.supports("Advise") {
        outcome!(Advise::new(file.clone(), Advice::NoReuse));
    }
    assert_eq!(outcome!(Stat::new(file.clone())).size(), 9);
    // Orphans: they hold their file until they are done.
    for n in 0..4 {
        drop(l.try_push_owned(Stat::new(file.clone()), n).unwrap());
        drop(l.try_push_owned(Sync::new(file.clone()), n).unwrap());
        l.scope(|s| drop(steps::turn(s))).unwrap();
    }
    l.settle();
    while l.next_finished().is_some() {}
    assert_eq!(Rc::strong_count(&file), 1);
}
