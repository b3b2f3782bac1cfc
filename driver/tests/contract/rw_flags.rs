//! Flags of one read or write, of one buffer or of several.

use crate::kit;
use crate::ledger::Cx;
use crate::path_ends::Plug;
use completeio_driver::driver::{AsRawFd, CompleteIo, Refusal};
use completeio_driver::op::{
    Advice, Advise, ReadAt, ReadVectoredAt, RwFlags, Sync, WriteAt, WriteVectoredAt,
};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

contract! {
    everywhere: [
        a_polling_flag_is_refused,
    ],
    on_host: [
        flags_reach_the_kernel,
        each_flag_as_the_plain_call,
        appending,
        a_read_that_does_not_wait,
        several_buffers_that_do_not_wait,
    ],
}

/// The error number of an outcome; 0 for none.
fn errno<T>(outcome: io::Result<T>) -> i32 {
    match outcome {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().expect("the kernel's error"),
    }
}

/// What no kernel knows is not supported, whichever way it goes.
fn flags_reach_the_kernel(cx: &mut Cx) {
    let file = kit::file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let unknown = RwFlags::from_bits(1 << 30);
    let read = ReadAt::new(fd, 0, [0; 8]).flags(unknown);
    assert_eq!(l.errno(read), libc::EOPNOTSUPP);
    let write = WriteAt::new(fd, 0, "x").flags(unknown);
    assert_eq!(l.errno(write), libc::EOPNOTSUPP);
    let read = ReadVectoredAt::new(fd, 0, [[0; 4]; 2]).flags(unknown);
    assert_eq!(l.errno(read), libc::EOPNOTSUPP);
    let write = WriteVectoredAt::new(fd, 0, ["x", "y"]).flags(unknown);
    assert_eq!(l.errno(write), libc::EOPNOTSUPP);
    for flags in [
        RwFlags::DSYNC,
        RwFlags::SYNC,
        RwFlags::DSYNC | RwFlags::SYNC | RwFlags::APPEND,
    ] {
        let write = WriteAt::new(fd, 0, "more").flags(flags);
        assert_eq!(l.run(write).unwrap(), 4);
        let write = WriteVectoredAt::new(fd, 0, ["mo", "re"]).flags(flags);
        assert_eq!(l.run(write).unwrap(), 4);
    }
    // A flag holds for its operation only.
    assert_eq!(l.run(WriteAt::new(fd, 0, "less")).unwrap(), 4);
    let op = l.lend(ReadAt::new(fd, 2, Vec::with_capacity(16)).flags(RwFlags::DSYNC));
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(l.finish(op, entry).unwrap(), 10);
    assert_eq!(l.op(op).buf(), b"ssmoremore");
    let parts = ReadVectoredAt::new(fd, 2, [[0; 4]; 2]).flags(RwFlags::DSYNC);
    let (op, entry) = l.entry_of(parts);
    assert_eq!(l.finish(op, entry).unwrap(), 8);
    assert_eq!(l.op(op).bufs(), &[*b"ssmo", *b"remo"]);
    // No bytes are no bytes with flags too, and a huge length is clamped.
    let empty = WriteAt::new(fd, 0, "").flags(RwFlags::APPEND);
    assert_eq!(l.run(empty).unwrap(), 0);
    let fixed = l.register_fd(file.as_raw_fd(), 3).unwrap();
    let write = WriteAt::new(fixed, 0, "!").flags(RwFlags::APPEND);
    assert_eq!(l.run(write).unwrap(), 1);
    assert_eq!(
        fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap(),
        b"lessmoremore!"
    );
    let wrong = kit::number(900_000);
    let write = WriteAt::new(wrong, 0, "").flags(RwFlags::SYNC);
    assert_eq!(l.errno(write), libc::EBADF);
    let write = WriteVectoredAt::new(wrong, 0, [""]).flags(RwFlags::SYNC);
    assert_eq!(l.errno(write), libc::EBADF);
}

/// A write of one vector, and a read of it.
fn plain_calls(file: &File, flags: i32) -> [i32; 2] {
    let mut bytes = [7; 512];
    let vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let fd = file.as_raw_fd();
    // SAFETY: one vector, of bytes on the stack.
    let written = unsafe { libc::pwritev2(fd, &raw const vector, 1, 512, flags) };
    let written = if written < 0 {
        errno::<()>(Err(io::Error::last_os_error()))
    } else {
        0
    };
    // SAFETY: one vector, of bytes on the stack.
    let read = unsafe { libc::preadv2(fd, &raw const vector, 1, 0, flags) };
    let read = if read < 0 {
        errno::<()>(Err(io::Error::last_os_error()))
    } else {
        0
    };
    [written, read]
}

/// What a file system does not have, it says, and the operation repeats it.
fn each_flag_as_the_plain_call(cx: &mut Cx) {
    let [ours, twin] = [(); 2].map(|()| kit::file(&[7; 4096]));
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    for bit in 1..12 {
        let bits = 1 << bit;
        let flags = RwFlags::from_bits(bits);
        let [written, read] = plain_calls(&twin, bits);
        let write = WriteAt::new(fd, 512, [7; 512]).flags(flags);
        let parts = WriteVectoredAt::new(fd, 512, [[7; 256]; 2]).flags(flags);
        let found = [errno(l.run(write)), errno(l.run(parts))];
        if flags == RwFlags::NOWAIT {
            // The page cache of most file systems is not filled without a wait.
            let refused = [libc::EAGAIN, libc::EOPNOTSUPP];
            for found in found {
                assert!(found == written || cx.is_io_uring() && refused.contains(&found));
            }
            continue; // Whether it is cached, the next test asks.
        }
        assert_eq!(found, [written; 2], "a write with {bits:#x}");
        let read_back = ReadAt::new(fd, 0, [0; 512]).flags(flags);
        let parts = ReadVectoredAt::new(fd, 0, [[0; 256]; 2]).flags(flags);
        let found = [errno(l.run(read_back)), errno(l.run(parts))];
        assert_eq!(found, [read; 2], "a read with {bits:#x}");
    }
}

/// Its ring would have to poll for completions.
fn a_polling_flag_is_refused(cx: &mut Cx) {
    const HIPRI: i32 = 1;
    let file = cx.file(b"text");
    let mut l = cx.ledger();
    let fd = l.at(&file);
    let flags = RwFlags::from_bits(HIPRI) | RwFlags::DSYNC;
    let read = l.entry_of(ReadAt::new(fd, 0, [0; 8]).flags(flags)).1;
    let write = l.entry_of(WriteAt::new(fd, 0, "x").flags(flags)).1;
    let parts = ReadVectoredAt::new(fd, 0, [[0; 4]; 2]).flags(flags);
    let reads = l.entry_of(parts).1;
    let parts = WriteVectoredAt::new(fd, 0, ["x", "y"]).flags(flags);
    let writes = l.entry_of(parts).1;
    for entry in [read, write, reads, writes] {
        assert_eq!(entry.refusal(), Some(Refusal::Flags));
    }
}

/// I27: a file that appends does so whatever the offset, and so does one write that is to.
fn appending(cx: &mut Cx) {
    const NO_APPEND: i32 = 0x20;
    let path = kit::TempPath::new();
    let twin = kit::TempPath::new();
    fs::write(&*path, "start").unwrap();
    fs::write(&*twin, "start").unwrap();
    let appends = File::options().append(true).open(&*path).unwrap();
    let writes = File::options().write(true).open(&*path).unwrap();
    let twin_appends = File::options().append(true).open(&*twin).unwrap();
    let mut l = cx.ledger();
    let (appends, writes) = (l.at(&appends), l.at(&writes));
    let mut step = |fd, offset, bytes: &'static str, flags| {
        let op = WriteAt::new(fd, offset, bytes).flags(flags);
        assert_eq!(l.run(op).unwrap(), bytes.len());
        fs::read(&*path).unwrap()
    };
    let none = RwFlags::default();
    let after = step(appends, 1, "-a", none);
    twin_appends.write_all_at(b"-a", 1).unwrap();
    assert_eq!(after, fs::read(&*twin).unwrap());
    assert_eq!(after, b"start-a");
    assert_eq!(step(writes, 1, "-b", RwFlags::APPEND), b"start-a-b");
    assert_eq!(step(writes, 0, "S", none), b"Start-a-b");
    assert_eq!(step(writes, 1 << 40, "-c", RwFlags::APPEND), b"Start-a-b-c");
    assert_eq!(step(appends, 0, "-d", RwFlags::APPEND), b"Start-a-b-c-d");
    let op = WriteVectoredAt::new(writes, 1, ["-", "e"]).flags(RwFlags::APPEND);
    assert_eq!(l.run(op).unwrap(), 2);
    assert_eq!(fs::read(&*path).unwrap(), b"Start-a-b-c-d-e");
    let op = WriteAt::new(appends, 0, "T").flags(RwFlags::from_bits(NO_APPEND));
    match errno(l.run(op)) {
        0 => assert_eq!(fs::read(&*path).unwrap(), b"Ttart-a-b-c-d-e"),
        error => assert_eq!(error, libc::EOPNOTSUPP, "before Linux 6.9"),
    }
}

/// A read of what is not cached fails instead of waiting for the disk; without the flag it waits.
fn a_read_that_does_not_wait(cx: &mut Cx) {
    const LEN: usize = 1 << 16;
    let mut would_wait = 0;
    let mut l = cx.ledger();
    for _ in 0..20 {
        let file = kit::file(&[7; LEN]);
        let fd = l.at(&file);
        l.run(Sync::new(fd)).unwrap();
        l.run(Advise::new(fd, Advice::DontNeed)).unwrap();
        let op = l.lend(ReadAt::new(fd, 0, [0; LEN]).flags(RwFlags::NOWAIT));
        l.push(op, 1);
        let entry = l.one();
        match errno(l.finish(op, entry)) {
            libc::EAGAIN => would_wait += 1,
            error => assert!([0, libc::EOPNOTSUPP].contains(&error), "{error}"),
        }
        let (op, entry) = l.entry_of(ReadAt::new(fd, 0, [0; LEN]));
        assert_eq!(l.finish(op, entry).unwrap(), LEN);
        assert!(l.op(op).buf().iter().all(|byte| *byte == 7));
        // It is cached now, at least its beginning; whoever evicts it makes it EAGAIN again.
        let op = l.lend(ReadAt::new(fd, 0, [0; 64]).flags(RwFlags::NOWAIT));
        l.push(op, 2);
        let entry = l.one();
        match l.finish(op, entry) {
            Ok(n) => assert_eq!(&l.op(op).buf()[..n], &[7; 64][..n]),
            Err(e) => assert!(
                [Some(libc::EAGAIN), Some(libc::EOPNOTSUPP)].contains(&e.raw_os_error()),
                "{e}"
            ),
        }
    }
    if would_wait == 0 {
        kit::skip("RWF_NOWAIT: nothing was evicted from the page cache");
    }
}

/// On readiness such a call is made in place, whatever the workers are at.
fn several_buffers_that_do_not_wait(cx: &mut Cx) {
    let file = kit::file(&[7; 512]);
    let mut l = Plug::ledger(cx);
    let plug = Plug::new(&mut l);
    let fd = l.at(&file);
    let op = l.lend(ReadVectoredAt::new(fd, 0, [[0; 256]; 2]).flags(RwFlags::NOWAIT));
    l.push(op, 1);
    let entry = l.one();
    assert_eq!(entry.user_data(), 1);
    match l.finish(op, entry) {
        Ok(n) => assert_eq!(&l.op(op).bufs().concat()[..n], &[7; 512][..n]),
        Err(e) => assert!(
            [Some(libc::EAGAIN), Some(libc::EOPNOTSUPP)].contains(&e.raw_os_error()),
            "{e}"
        ),
    }
    let write = WriteVectoredAt::new(fd, 0, ["a", "b"]).flags(RwFlags::NOWAIT);
    l.start(write, 2);
    assert_eq!(l.one().user_data(), 2);
    assert!(plug.pull(&mut l, 0).is_empty());
}
