//! A host's disk.

use crate::kit::{both, create, done, errno, run, seeds};
use completeio_driver::driver::{AsFd, AsRawFd, CompleteIo, Cwd, Driver, Entry, FixedFd};
use completeio_driver::op::{
    Close, MakeDir, OpenAt, OpenOptions, ReadAt, ReadExactAt, Rename, Stat, Sync, Unlink,
    WriteAllAt, WriteAt,
};
use completeio_driver::sim::{self, Faults};
use std::time::Duration;

#[test]
fn what_is_written_is_read() {
    both(|world| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let file = done(&mut driver, create(c"f"));
        let bytes: Vec<u8> = (0..=255).collect();
        done(
            &mut driver,
            WriteAllAt::new(WriteAt::new(file.as_fd(), 100, &bytes[..])),
        );
        let (read, op) = run(
            &mut driver,
            ReadExactAt::new(ReadAt::new(file.as_fd(), 100, Vec::with_capacity(256))),
        );
        read.unwrap();
        assert_eq!(*op.buf(), bytes);
        let metadata = done(&mut driver, Stat::new(file.as_fd()));
        assert_eq!(metadata.size(), 356);
        assert!(metadata.is_file());
        // Beyond the end is nothing.
        assert_eq!(done(&mut driver, ReadAt::new(file.as_fd(), 356, [0; 8])), 0);
        done(&mut driver, Close::new(file));
        drop(driver);
        assert_eq!(world.open_descriptors(), 0);
    });
}

#[test]
fn errors_are_those_of_the_kernel() {
    both(|world| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        assert_eq!(errno(&mut driver, OpenAt::read(Cwd, c"none")), libc::ENOENT);
        done(&mut driver, MakeDir::new(Cwd, c"d", 0o755));
        assert_eq!(
            errno(&mut driver, MakeDir::new(Cwd, c"d", 0o755)),
            libc::EEXIST
        );
        assert_eq!(errno(&mut driver, Unlink::file(Cwd, c"d")), libc::EISDIR);
        let dir = done(&mut driver, OpenAt::read(Cwd, c"d"));
        let inside = OpenOptions::new().write(true).create(true);
        let file = done(&mut driver, OpenAt::new(dir.as_fd(), c"f", inside));
        assert_eq!(
            errno(&mut driver, ReadAt::new(file.as_fd(), 0, [0; 8])),
            libc::EBADF
        );
        assert_eq!(
            errno(&mut driver, ReadAt::new(dir.as_fd(), 0, [0; 8])),
            libc::EISDIR
        );
        done(&mut driver, OpenAt::read(Cwd, c"d/f"));
    });
}

/// Whoever has a descriptor closes it as any other.
#[test]
fn descriptors_that_are_dropped_are_gone() {
    both(|world| {
        let mut driver = world.host("a").driver(Driver::builder()).unwrap();
        let file = done(&mut driver, create(c"f"));
        assert_eq!(world.open_descriptors(), 1);
        drop(file);
        assert_eq!(world.open_descriptors(), 0);
    });
}

/// A file that is written, synced and then renamed over another, in a directory that is synced too,
/// is there after a crash, as it was or as it is; what was not synced is lost sometimes.
#[test]
fn a_crash_takes_what_was_not_synced() {
    let lost = std::cell::Cell::new(0);
    let faults = Faults {
        torn: true,
        ..Faults::default()
    };
    sim::check(seeds(200), &faults, |world| {
        let host = world.host("a");
        let mut driver = host.driver(Driver::builder()).unwrap();
        let dir = done(&mut driver, OpenAt::read(Cwd, c"."));
        let old = done(&mut driver, create(c"data"));
        done(
            &mut driver,
            WriteAllAt::new(WriteAt::new(old.as_fd(), 0, [b'o'; 3000])),
        );
        done(&mut driver, Sync::new(old.as_fd()));
        done(&mut driver, Sync::new(dir.as_fd()));
        let new = done(&mut driver, create(c"temporary"));
        done(
            &mut driver,
            WriteAllAt::new(WriteAt::new(new.as_fd(), 0, [b'n'; 3000])),
        );
        done(&mut driver, Sync::new(new.as_fd()));
        done(&mut driver, Rename::new(Cwd, c"temporary", Cwd, c"data"));
        let unsynced = done(&mut driver, create(c"unsynced"));
        done(&mut driver, WriteAt::new(unsynced.as_fd(), 0, [b'u'; 3000]));
        drop((driver, dir, old, new, unsynced));
        host.crash();

        let mut driver = host.driver(Driver::builder()).unwrap();
        let data = done(&mut driver, OpenAt::read(Cwd, c"data"));
        let (read, op) = run(
            &mut driver,
            ReadExactAt::new(ReadAt::new(data.as_fd(), 0, Vec::with_capacity(3000))),
        );
        read.unwrap();
        let first = op.buf()[0];
        assert!(first == b'o' || first == b'n');
        assert!(
            op.buf().iter().all(|byte| *byte == first),
            "it is the one or the other"
        );
        if run(&mut driver, OpenAt::read(Cwd, c"unsynced")).0.is_err() {
            lost.set(lost.get() + 1);
        }
    });
    assert!(lost.get() > 0 && lost.get() < seeds(200).end);
}

/// A place of the table is closed as it is by then: filled anew since, or empty.
#[test]
fn places_of_the_table_are_closed() {
    sim::check(seeds(50), &Faults::default(), |world| {
        let host = world.host("a");
        let mut closes = [0; 3].map(|_| Close::new(FixedFd::from_id(0)));
        let mut driver = host.driver(Driver::builder()).unwrap();
        let files = [c"f", c"g"].map(|name| done(&mut driver, create(name)));
        driver.register_fd(files[0].as_raw_fd(), 0).unwrap();
        let mut entries: Vec<Entry> = Vec::with_capacity(3);
        for (i, close) in closes.iter_mut().enumerate() {
            driver.try_push(close, i).unwrap();
        }
        // SAFETY: the closes outlive the driver, and nobody touches them.
        unsafe { driver.submit(Some(Duration::ZERO), &mut entries) }.unwrap();
        driver.register_fd(files[1].as_raw_fd(), 0).unwrap();
        while driver.in_flight() > 0 {
            // SAFETY: as above.
            unsafe { driver.submit(None, &mut entries) }.unwrap();
        }
        let closed = entries.iter().filter(|entry| entry.result().is_ok());
        assert!((1..=2).contains(&closed.count()), "{entries:?}");
        drop((driver, files));
        assert_eq!(world.open_descriptors(), 0);
    });
}
