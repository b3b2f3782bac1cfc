//! Files, workers, and the foreign loop that hears of them.

use super::*;

#[test]
fn a_queued_read_keeps_its_file_when_the_number_is_reused() {
    let fifo = Fifo::new();
    let (old, new) = (fifo.file("old", "old"), fifo.file("new", "new"));
    let fd = old.as_raw_fd();
    let mut open = fifo.open();
    let mut attached = ReadAt::new(old.as_fd(), 0, [0; 8]);
    let mut fixed = ReadAt::new(FixedFd::new(0), 0, [0; 8]);
    let mut bench = Bench::new(LIMITS);
    bench.backend.attach(&mut bench.core, fd).unwrap();
    bench.backend.register(&mut bench.core, &[fd], 0).unwrap();
    bench.block_worker(&mut open, 0);
    bench.push(&mut attached, 1);
    bench.push(&mut fixed, 2);
    bench.turn(Block::Never);
    renumber(new.as_fd(), fd);
    bench.backend.attach(&mut bench.core, fd).unwrap();
    bench.backend.register(&mut bench.core, &[fd], 0).unwrap();
    assert_eq!(bench.backend.table.files.held(), 4, "two for the jobs");
    let _writer = fifo.writer();
    let done = bench.wait(3);
    close_result(done[0].1);
    assert_eq!(done[1..], [(1, Ok(3)), (2, Ok(3))]);
    assert_eq!(bench.backend.table.files.held(), 2);
    assert_eq!(
        [attached.buf(), fixed.buf()].map(|buffer| &buffer[..3]),
        [b"old", b"old"]
    );
}

/// A job on names of two directories uses both, and gives both back, done or cancelled.
#[test]
fn a_queued_rename_keeps_both_directories() {
    let fifo = Fifo::new();
    let path = |name: &str| fifo.dir.join(name);
    let dirs = ["a", "b", "new"].map(|name| {
        fs::create_dir(path(name)).unwrap();
        for file in ["w", "x"] {
            fs::write(path(name).join(file), name).unwrap();
        }
        OwnedFd::from(File::open(path(name)).unwrap())
    });
    let [a, b, new] = &dirs;
    let mut open = fifo.open();
    let mut rename = Rename::new(a.as_fd(), c"x", b.as_fd(), c"y");
    let mut within = HardLink::new(a.as_fd(), c"w", a.as_fd(), c"z");
    let mut never = HardLink::new(a.as_fd(), c"w", b.as_fd(), c"z");
    let mut bench = Bench::new(LIMITS);
    let files = |bench: &Bench| bench.backend.table.files.held();
    for fd in [a, b] {
        bench
            .backend
            .attach(&mut bench.core, fd.as_raw_fd())
            .unwrap();
    }
    bench.block_worker(&mut open, 0);
    bench.push(&mut rename, 1);
    bench.push(&mut within, 2);
    bench.push(&mut never, 3);
    bench.turn(Block::Never);
    for fd in [a, b] {
        renumber(new.as_fd(), fd.as_raw_fd());
        bench.backend.detach(&mut bench.core, fd.as_raw_fd());
    }
    let kept_by_three = files(&bench);
    bench.cancel(Which::Raw(Key::raw(3)));
    let cancelled = bench.take();
    let kept_by_two = files(&bench);
    let _writer = fifo.writer(); // What fails before this waits for the worker.
    assert_eq!(cancelled, [(3, Err(libc::ECANCELED))]);
    assert_eq!([kept_by_three, kept_by_two], [2; 2]);
    let done = bench.wait(3);
    close_result(done[0].1);
    assert_eq!(done[1..], [(1, Ok(0)), (2, Ok(0))]);
    assert_eq!(files(&bench), 0);
    for file in ["b/y", "a/w", "a/z"] {
        assert_eq!(fs::read(path(file)).unwrap(), b"a");
    }
    assert!(!path("a/x").exists() && !path("b/z").exists());
    assert_eq!(fs::read(path("new/x")).unwrap(), b"new");
}

/// An attribute of what has no positions is a worker's too: the file may lie on a disk.
#[test]
fn attributes_of_streams_are_jobs() {
    let fifo = Fifo::new();
    let (reader, _writer) = pipe();
    let mut open = fifo.open();
    let mut read = ReadAt::new(reader.as_fd(), 0, [0; 8]);
    let mut get = GetXattr::new(reader.as_fd(), c"user.completeio", [0; 8]);
    let mut bench = Bench::new(LIMITS);
    bench
        .backend
        .attach(&mut bench.core, reader.as_raw_fd())
        .unwrap();
    bench.block_worker(&mut open, 0);
    bench.push(&mut read, 1);
    bench.push(&mut get, 2);
    bench.turn(Block::Never);
    assert_eq!(bench.take(), [(1, Err(libc::ESPIPE))]);
    drop(fifo.writer());
    let done = bench.wait(2);
    close_result(done[0].1);
    let (user_data, result) = done[1];
    assert_eq!(user_data, 2);
    assert!(result.is_err(), "pipes have none");
}

#[test]
fn registering_is_all_or_nothing() {
    let fifo = Fifo::new();
    let files = ["0", "1", "2"].map(|name| fifo.file(name, name));
    let fds = files.each_ref().map(|file| file.as_raw_fd());
    let [id, empty, outside] = [0, 3, 4].map(FixedFd::new);
    let mut read = ReadAt::new(id, 0, [0; 2]);
    let mut none = ReadAt::new(empty, 0, [0; 2]);
    let mut beyond = ReadAt::new(outside, 0, [0; 2]);
    let mut closes = [id, empty, outside].map(Close::new);
    let mut bench = Bench::new(LIMITS);
    let Bench { backend, core } = &mut bench;
    backend.register(core, &fds[..2], 1).unwrap();
    assert_eq!(backend.table.files.held(), 2);
    let error = backend
        .register(core, &[fds[2], fds[2], -1], 0)
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    let error = backend.register(core, &fds, 2).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(backend.register(core, &[], 4).is_ok());
    assert!(backend.register(core, &fds[..1], u32::MAX).is_err());
    assert_eq!(backend.table.files.held(), 2);
    assert!(backend.unregister(core, 0).is_ok(), "it was empty");
    assert_eq!(
        backend.unregister(core, 4).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    // Replaces what is there.
    backend.register(core, &fds, 0).unwrap();
    assert_eq!(backend.table.files.held(), 3);
    drop(files);
    bench.push(&mut read, 0);
    assert_eq!(
        bench.wait(1),
        [(0, Ok(1))],
        "the driver keeps the file open"
    );
    bench.push(&mut none, 1);
    bench.push(&mut beyond, 2);
    assert_eq!(
        bench.wait(2),
        [(1, Err(libc::EBADF)), (2, Err(libc::EBADF))]
    );
    for (n, close) in closes.iter_mut().enumerate() {
        bench.push(close, n);
    }
    let results = [(0, Ok(0)), (1, Err(libc::EBADF)), (2, Err(libc::EINVAL))];
    assert_eq!(bench.wait(3), results);
    assert_eq!(bench.backend.table.files.held(), 2);
}

#[test]
fn a_job_is_cancelled_until_a_worker_has_begun_it() {
    let fifo = Fifo::new();
    let file = fifo.file("file", "text");
    let mut open = fifo.open();
    let mut read = ReadAt::new(file.as_fd(), 0, [0; 8]);
    let (reader, pipe) = pipe();
    let mut close = Close::new(reader);
    let mut bench = Bench::new(LIMITS);
    bench
        .backend
        .attach(&mut bench.core, file.as_raw_fd())
        .unwrap();
    bench.block_worker(&mut open, 0);
    bench.push(&mut read, 1);
    bench.push(&mut close, 2);
    bench.turn(Block::Never);
    bench.cancel(Which::All);
    assert_eq!(
        bench.take(),
        [(1, Err(libc::ECANCELED))],
        "neither what runs nor a close"
    );
    assert_eq!(bench.backend.table.files.held(), 1, "the attachment's");
    let _writer = fifo.writer();
    let done = bench.wait(2);
    assert_eq!(done[1], (2, Ok(0)));
    assert!(is_abandoned(&pipe));
    let (user_data, opened) = done[0];
    assert_eq!(user_data, 0, "it completes late, with its own result");
    close_result(opened);
}

#[test]
fn without_workers_files_are_read_in_place() {
    let fifo = Fifo::new();
    let file = fifo.file("file", "text");
    let number = file.as_raw_fd();
    let mut read = ReadAt::new(file.as_fd(), 1, [0; 8]);
    let mut empty = ReadAt::new(file.as_fd(), 0, [0; 0]);
    let mut close = Close::new(borrow_forever(&file));
    let mut bench = Bench::new(Limits {
        workers: 0,
        ..LIMITS
    });
    bench.backend.attach(&mut bench.core, number).unwrap();
    bench.push(&mut read, 0);
    bench.push(&mut empty, 1);
    bench.push(&mut close, 2);
    bench.turn(Block::Never);
    assert_eq!(bench.take(), [(0, Ok(3)), (1, Ok(0)), (2, Ok(0))]);
    assert_eq!(bench.backend.table.files.held(), 0);
    assert_eq!(read.buf()[..3], *b"ext");
    let _closed_above = file.into_raw_fd();
}

/// An owner of the number of `fd`: the test sees to it that only one of them closes it.
fn borrow_forever(fd: &OwnedFd) -> OwnedFd {
    // SAFETY: (R2) the other owner gives it up.
    unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) }
}

#[test]
fn a_drop_waits_for_what_runs_and_closes_what_it_opened() {
    let fifo = Fifo::new();
    let (reader, pipe) = pipe();
    let mut open = fifo.open();
    let mut read = ReadAt::new(reader.as_fd(), 0, [0; 8]);
    let mut close = Close::new(borrow_forever(&reader));
    let mut never = Close::new(borrow_forever(&reader));
    let mut bench = Bench::new(LIMITS);
    bench.block_worker(&mut open, 0);
    bench.push(&mut read, 1);
    bench.push(&mut close, 2);
    bench.turn(Block::Never);
    bench.push(&mut never, 3);
    let writer = thread::scope(|scope| {
        let writer = scope.spawn(|| fifo.writer());
        drop(bench);
        writer.join().unwrap()
    });
    assert!(is_abandoned(&writer), "what the open gave is closed");
    assert!(
        is_abandoned(&pipe),
        "a close that was submitted is performed"
    );
    let _closed_above = reader.into_raw_fd();
}

#[test]
fn the_bell_is_rung_for_a_sleeper_only() {
    let fifo = Fifo::new();
    let mut open = fifo.open();
    let mut bench = Bench::new(LIMITS);
    bench.block_worker(&mut open, 0);
    let index = bench.backend.kept.flights.find(Key::raw(0)).unwrap();
    drop(fifo.writer());
    let workers = bench.backend.kept.workers.as_ref().unwrap();
    while workers.is_running(index) {
        thread::yield_now();
    }
    assert!(!has_come(workers.bell().as_raw_fd(), libc::POLLIN, 0));
    assert!(!workers.rest(), "but there is no sleep over it");
    let done = bench.wait(1);
    close_result(done[0].1);
}

#[test]
fn a_foreign_loop_hears_of_jobs() {
    let fifo = Fifo::new();
    let mut open = fifo.open();
    let mut entries = Vec::with_capacity(1);
    let mut driver = Driver::builder()
        .backend(Kind::Readiness)
        .workers(1)
        .build()
        .unwrap();
    driver.try_push(&mut open, 0).unwrap();
    // SAFETY: (D1) the operation outlives the driver.
    let prepare = |driver: &mut Driver<'_>| unsafe { driver.prepare_wait() }.unwrap();
    assert_eq!(prepare(&mut driver), PreparedWait::Until(None));
    drop(fifo.writer());
    while entries.is_empty() {
        assert!(has_come(driver.as_raw_fd(), libc::POLLIN, -1));
        // SAFETY: (D1) the operation outlives the driver.
        unsafe { driver.submit(Some(Duration::ZERO), &mut entries) }.unwrap();
        if entries.is_empty() {
            let _prepared = prepare(&mut driver);
        }
    }
    close_result(entries[0].result().map_err(|_| 0));
    assert_eq!(prepare(&mut driver), PreparedWait::Until(None));
    assert!(
        !has_come(driver.as_raw_fd(), libc::POLLIN, 0),
        "what has rung was drained"
    );
}

#[test]
fn workers_take_no_signals() {
    let bench = Bench::new(Limits {
        workers: 2,
        ..LIMITS
    });
    let mut seen = 0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        // Those of other tests come and go.
        let Ok(status) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        if !status.contains("Name:\tcompleteio-") {
            continue;
        }
        let blocked = status
            .lines()
            .find_map(|line| line.strip_prefix("SigBlk:\t"))
            .unwrap();
        let blocked = u64::from_str_radix(blocked, 16).unwrap();
        for signal in [libc::SIGALRM, libc::SIGTERM, libc::SIGXFSZ, libc::SIGUSR1] {
            assert_ne!(blocked & 1 << (signal - 1), 0, "signal {signal}");
        }
        seen += 1;
    }
    assert!(seen >= 2, "{seen}");
    drop(bench);
}

#[test]
#[cfg_attr(miri, ignore = "Miri cannot fork")]
fn a_forked_child_leaves_the_workers_alone() {
    let fifo = Fifo::new();
    let mut open = fifo.open();
    let mut bench = Some(Bench::new(LIMITS));
    bench.as_mut().unwrap().block_worker(&mut open, 0);
    let bell = bench
        .as_ref()
        .unwrap()
        .backend
        .kept
        .workers
        .as_ref()
        .unwrap()
        .bell()
        .as_raw_fd();
    // glibc makes the heap usable in the child of a process with threads.
    assert!(ForkGuard::in_child(|| {
        drop(bench.take());
        check_open(bell).is_err()
    }));
    drop(fifo.writer());
    let done = bench.unwrap().wait(1);
    close_result(done[0].1);
}
