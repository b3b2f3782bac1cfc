//! All operations; and those of them that move bytes, open and close.

use crate::ENTRIES;
use crate::control::Control;
use crate::counting::Marks;
use crate::disk::Disk;
use crate::kit::{
    Bytes, CLOSED, Files, Fixed, Lent, NO_PLACE, Number, PLACE, Rig, TEXT, Texts, nobody, room,
};
use crate::messages::{Messages, messages};
use crate::names::Names;
use crate::sockets::Sockets;
use crate::system::IS_LINUX;
use completeio_driver::clock::{Clock, Instant};
use completeio_driver::driver::{AsRawFd, Backend, CompleteIo, Cwd, Refusal};
use completeio_driver::op::{
    Accept, Close, Connect, Exact, Nop, Op, OpObject, OpenAt, OpenOptions, Raw, Read, ReadAt,
    ReadVectored, ReadVectoredAt, Recv, RecvExact, Send, Splice, Tee, Timeout, Write, WriteAt,
    WriteVectored, WriteVectoredAt,
};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

pub(crate) struct Ops {
    pub(crate) nops: [Lent<Nop>; 4 * ENTRIES],
    pub(crate) queue: VecDeque<OpObject<'static>>,
    pub(crate) raw: Lent<Raw>,
    pub(crate) recv: Lent<Recv<Number, Bytes>>,
    pub(crate) send: Lent<Send<Number, &'static [u8]>>,
    pub(crate) fixed_recv: Lent<Recv<Fixed, Bytes>>,
    pub(crate) no_place: Lent<Recv<Fixed, Bytes>>,
    pub(crate) read: Lent<ReadAt<Number, Bytes>>,
    pub(crate) write: Lent<WriteAt<Number, &'static [u8]>>,
    pub(crate) exact: Lent<RecvExact<Number, Bytes>>,
    pub(crate) read_vectored: Lent<ReadVectoredAt<Number, Vec<Bytes>>>,
    pub(crate) write_vectored: Lent<WriteVectoredAt<Number, Texts>>,
    pub(crate) messages: Messages,
    pub(crate) wrong_offset: Lent<ReadAt<Number, Bytes>>,
    pub(crate) write_to_reader: Lent<WriteAt<Number, &'static [u8]>>,
    pub(crate) recv_on_file: Lent<Recv<Number, Bytes>>,
    pub(crate) read_closed: Lent<ReadAt<Number, Bytes>>,
    pub(crate) accept: Lent<Accept<Number>>,
    pub(crate) deaf_accept: Lent<Accept<Number>>,
    pub(crate) connect: Lent<Connect<Number>>,
    pub(crate) refused: Lent<Connect<Number>>,
    pub(crate) open: Lent<OpenAt<Cwd>>,
    pub(crate) create: Lent<OpenAt<Cwd>>,
    pub(crate) missing: Lent<OpenAt<Cwd>>,
    pub(crate) fixed_dir: Lent<OpenAt<Fixed>>,
    pub(crate) disk: Disk,
    pub(crate) close: Lent<Close<Number>>,
    pub(crate) close_closed: Lent<Close<Number>>,
    pub(crate) reads: [Lent<Read<Number, Bytes>>; 4],
    pub(crate) writes: [Lent<Write<Number, &'static [u8]>>; 4],
    pub(crate) vectored_reads: [Lent<ReadVectored<Number, Vec<Bytes>>>; 3],
    pub(crate) vectored_writes: [Lent<WriteVectored<Number, Texts>>; 3],
    pub(crate) splices: [Lent<Splice<Number, Number>>; 2],
    pub(crate) tee: Lent<Tee<Number, Number>>,
    pub(crate) timeouts: [Lent<Timeout>; 8],
    pub(crate) past: Lent<Timeout>,
    pub(crate) clocks: [Lent<Timeout>; 3],
    pub(crate) long: Lent<Timeout>,
    pub(crate) control: Control,
    pub(crate) names: Names,
    pub(crate) sockets: Sockets,
}

impl Ops {
    pub(crate) fn new(files: &Files) -> Self {
        let path = |name: &str| CString::new(files.dir.join(name).to_str().unwrap()).unwrap();
        let [left, right] = [&files.left, &files.right].map(|s| Number(s.as_raw_fd()));
        let [file, null] = [&files.file, &files.null].map(|f| Number(f.as_raw_fd()));
        let [first, second, deaf] = files.sockets.each_ref().map(|s| Number(s.as_raw_fd()));
        let pipes = files.pipes.each_ref().map(|p| Number(p.as_raw_fd()));
        let listener = Number(files.listener.as_raw_fd());
        let create = OpenOptions::new().write(true).create_new(true);
        let after = |i: u64| Lent::new(Timeout::after(Duration::from_micros(300 * i)));
        let hour = Duration::from_secs(3600);
        Self {
            nops: [(); 4 * ENTRIES].map(|()| Lent::new(Nop::new())),
            queue: VecDeque::with_capacity(4 * ENTRIES),
            // SAFETY: opcode 0 is a NOP: it touches no memory and posts one completion.
            raw: Lent::new(unsafe { Raw::new([0; 64]) }),
            recv: Lent::new(Recv::new(right, room())),
            send: Lent::new(Send::new(left, TEXT)),
            fixed_recv: Lent::new(Recv::new(Fixed(PLACE), room())),
            no_place: Lent::new(Recv::new(Fixed(NO_PLACE), room())),
            read: Lent::new(ReadAt::new(file, 0, room())),
            write: Lent::new(WriteAt::new(file, 0, TEXT)),
            exact: Lent::new(Exact::new(Recv::new(right, room()))),
            read_vectored: Lent::new(ReadVectoredAt::new(file, 0, vec![room(), room()])),
            write_vectored: Lent::new(WriteVectoredAt::new(file, 0, [TEXT, TEXT])),
            messages: Messages::new(left, right),
            wrong_offset: Lent::new(ReadAt::new(file, u64::MAX, room())),
            write_to_reader: Lent::new(WriteAt::new(null, 0, TEXT)),
            recv_on_file: Lent::new(Recv::new(file, room())),
            read_closed: Lent::new(ReadAt::new(Number(CLOSED), 0, room())),
            accept: Lent::new(Accept::new(listener)),
            deaf_accept: Lent::new(Accept::new(deaf)),
            connect: Lent::new(Connect::new(first, files.listener.local_addr().unwrap())),
            refused: Lent::new(Connect::new(second, nobody())),
            open: Lent::new(OpenAt::read(Cwd, path("file"))),
            create: Lent::new(OpenAt::new(Cwd, path("new"), create)),
            missing: Lent::new(OpenAt::read(Cwd, path("missing"))),
            fixed_dir: Lent::new(OpenAt::read(Fixed(PLACE), path("file"))),
            disk: Disk::new(file),
            close: Lent::new(Close::new(Number(files.spare))),
            close_closed: Lent::new(Close::new(Number(CLOSED))),
            reads: [pipes[0], pipes[2], file, Number(CLOSED)]
                .map(|fd| Lent::new(Read::new(fd, room()))),
            writes: [pipes[1], pipes[3], file, pipes[4]].map(|fd| Lent::new(Write::new(fd, TEXT))),
            vectored_reads: [pipes[0], pipes[2], Number(CLOSED)]
                .map(|fd| Lent::new(ReadVectored::new(fd, vec![room(), room()]))),
            vectored_writes: [pipes[1], pipes[3], pipes[4]]
                .map(|fd| Lent::new(WriteVectored::new(fd, [TEXT, TEXT]))),
            splices: [
                Splice::new(file, pipes[1], TEXT.len()).from_offset(0),
                Splice::new(pipes[0], file, TEXT.len()).to_offset(0),
            ]
            .map(Lent::new),
            tee: Lent::new(Tee::new(pipes[0], pipes[3], 64)),
            timeouts: [5, 0, 3, 1, 4, 2, 7, 6].map(after),
            past: Lent::new(Timeout::at(Instant::now())),
            clocks: [Clock::Boottime, Clock::Monotonic, Clock::Realtime]
                .map(|clock| Lent::new(Timeout::after_on(clock, Duration::from_micros(10)))),
            long: Lent::new(Timeout::after(hour)),
            control: Control::new(right),
            names: Names::new(files),
            sockets: Sockets::new(files),
        }
    }
}

pub(crate) fn attach(rig: &mut Rig<'_>, files: &Files, marks: &mut Marks) {
    let driver = &mut rig.driver;
    for fd in [
        files.left.as_raw_fd(),
        files.right.as_raw_fd(),
        files.file.as_raw_fd(),
    ] {
        driver.attach(fd).unwrap();
    }
    driver.attach_fd(files.listener.as_fd()).unwrap();
    let null = driver.attach(files.null.as_raw_fd()).unwrap();
    marks.step("attach");
    assert_eq!(
        driver.attach(CLOSED).unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
    marks.step("attach what is closed");
    driver.detach(null);
    driver.attach(files.null.as_raw_fd()).unwrap();
    marks.step("detach, attach anew");

    let right = files.right.as_raw_fd();
    driver.register_fd(right, PLACE).unwrap();
    driver
        .register_fds(&[right, files.file.as_raw_fd()], PLACE + 1)
        .unwrap();
    marks.step("register");
    let fixed = driver.register_fd(right, PLACE + 1).unwrap();
    driver.unregister_fd(fixed).unwrap();
    marks.step("unregister");
    let _either_way = driver.unregister_fd(fixed);
    let outside = driver.register_fd(right, NO_PLACE).unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::InvalidInput);
    let closed = driver.register_fds(&[right, CLOSED], 0).unwrap_err();
    assert_eq!(closed.raw_os_error(), Some(libc::EBADF));
    marks.step("register what is wrong");
}

/// Each kind of operation succeeds.
pub(crate) fn complete(rig: &mut Rig<'_>, ops: &mut Ops, files: &Files, marks: &mut Marks) {
    rig.run(&mut ops.nops[0], 1).unwrap();
    marks.step("Nop");
    rig.push_typed(&ops.nops[0], 1);
    rig.wait(1);
    marks.step("Nop, by type");
    let raw = rig.run(&mut ops.raw, 2);
    assert!(raw.is_ok() || rig.driver.backend() == Backend::Readiness);
    marks.step("Raw");

    // The receive has to wait.
    rig.push(&ops.recv, 3);
    rig.submit(Some(Duration::ZERO));
    assert_eq!(rig.run(&mut ops.send, 4).unwrap(), TEXT.len());
    let entry = rig.wait(3);
    // SAFETY: the entry of this operation's only flight.
    assert_eq!(unsafe { ops.recv.op().finish(entry) }.unwrap(), TEXT.len());
    assert!(ops.recv.op().buf().starts_with(TEXT));
    marks.step("Recv, Send");
    rig.run(&mut ops.send, 4).unwrap();
    assert_eq!(rig.run(&mut ops.fixed_recv, 3).unwrap(), TEXT.len());
    marks.step("Recv by the table");

    messages(rig, &mut ops.messages, marks);
    rig.push(&ops.accept, 5);
    rig.run(&mut ops.connect, 6).unwrap();
    let entry = rig.wait(5);
    // SAFETY: the entry of this operation's only flight.
    let accepted = unsafe { ops.accept.op().finish(entry) }.unwrap();
    assert!(accepted.addr.as_socket_addr().is_some());
    drop(accepted);
    marks.step("Accept, Connect");
    rig.push(&ops.accept, 5);
    rig.submit(Some(Duration::ZERO));
    drop(TcpStream::connect(files.listener.local_addr().unwrap()).unwrap());
    let entry = rig.wait(5);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.accept.op().dispose(entry) };
    marks.step("Accept, disposed of");

    drop(rig.run(&mut ops.open, 7).unwrap());
    drop(rig.run(&mut ops.create, 7).unwrap());
    marks.step("OpenAt");
    assert_eq!(rig.run(&mut ops.write, 8).unwrap(), TEXT.len());
    marks.step("WriteAt");
    assert_eq!(rig.run(&mut ops.read, 9).unwrap(), TEXT.len());
    assert!(ops.read.op().buf().starts_with(TEXT));
    marks.step("ReadAt");
    rig.push(&ops.exact, 14);
    for _ in 0..4 {
        rig.submit(Some(Duration::ZERO));
        rig.run(&mut ops.send, 15).unwrap();
    }
    let entry = rig.wait(14);
    // SAFETY: the entry of this operation's only flight.
    let received = unsafe { ops.exact.op().finish(entry) };
    assert_eq!(received.unwrap(), 4 * TEXT.len());
    rig.push(&ops.exact, 14);
    rig.submit(Some(Duration::ZERO));
    rig.run(&mut ops.send, 15).unwrap();
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(14).unwrap();
    let entry = rig.wait(14);
    // SAFETY: the entry of this operation's only flight.
    unsafe { ops.exact.op().finish(entry) }.unwrap_err();
    assert_eq!(ops.exact.op().advanced(), TEXT.len());
    marks.step("Exact, in pieces");
    let written = rig.run(&mut ops.write_vectored, 12).unwrap();
    assert_eq!(rig.run(&mut ops.read_vectored, 13).unwrap(), written);
    marks.step("ReadVectoredAt, WriteVectoredAt");
    rig.run(&mut ops.close, 10).unwrap();
    marks.step("Close");
    rig.run(&mut ops.past, 11).unwrap();
    marks.step("Timeout");
}

/// Reads and writes at the current position: of a pipe, a FIFO, a file, and what fails.
pub(crate) fn stream(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    let [pipe, fifo, file, closed] = &mut ops.reads;
    let [to_pipe, to_fifo, to_file, unread] = &mut ops.writes;
    for (read, write) in [(pipe, to_pipe), (fifo, to_fifo)] {
        for attached in [false, true] {
            if attached {
                rig.driver.attach(read.op().fd().0).unwrap();
            }
            rig.push(read, 1);
            rig.submit(Some(Duration::ZERO));
            rig.push(write, 2);
            assert_eq!(rig.wait(2).into_result().unwrap(), TEXT.len());
            let entry = rig.wait(1);
            // SAFETY: the entry of this operation's only flight.
            assert_eq!(unsafe { read.op().finish(entry) }.unwrap(), TEXT.len());
            rig.push(read, 1);
            rig.submit(Some(Duration::ZERO));
            rig.driver.try_cancel(1).unwrap();
            assert_eq!(rig.wait(1).raw_os_error(), Some(libc::ECANCELED));
        }
    }
    marks.step("Read, Write");
    // Several buffers at once have made it twice as long.
    assert_eq!(rig.run(file, 1).unwrap(), 2 * TEXT.len());
    assert_eq!(rig.run(to_file, 2).unwrap(), TEXT.len());
    marks.step("Read, Write of a file");
    let [pipe, fifo, vectored_closed] = &mut ops.vectored_reads;
    let [to_pipe, to_fifo, vectored_unread] = &mut ops.vectored_writes;
    for (read, write) in [(pipe, to_pipe), (fifo, to_fifo)] {
        rig.push(read, 1);
        rig.submit(Some(Duration::ZERO));
        assert_eq!(rig.run(write, 2).unwrap(), 2 * TEXT.len());
        let entry = rig.wait(1);
        // SAFETY: the entry of this operation's only flight.
        let read = unsafe { read.op().finish(entry) };
        assert_eq!(read.unwrap(), 2 * TEXT.len());
    }
    marks.step("ReadVectored, WriteVectored");
    let [splice, drain] = &mut ops.splices;
    if IS_LINUX {
        assert_eq!(rig.run(splice, 1).unwrap(), TEXT.len());
        assert_eq!(rig.run(drain, 2).unwrap(), TEXT.len());
    } else {
        assert_eq!(rig.refuse(splice, 1), Refusal::Unsupported);
    }
    marks.step("Splice");
    rig.push(&ops.tee, 1);
    rig.submit(Some(Duration::ZERO));
    rig.driver.try_cancel(1).unwrap();
    assert!(rig.wait(1).result().is_err());
    marks.step("Tee, cancelled");
    assert_eq!(rig.fail(unread, 1), libc::EPIPE);
    assert_eq!(rig.fail(closed, 1), libc::EBADF);
    assert_eq!(rig.fail(vectored_unread, 1), libc::EPIPE);
    assert_eq!(rig.fail(vectored_closed, 1), libc::EBADF);
    marks.step("Read, Write that fail");
}

/// Each kind of operation fails.
pub(crate) fn fail(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    assert_eq!(rig.fail(&mut ops.read_closed, 1), libc::EBADF);
    marks.step("ReadAt fails");
    assert_eq!(rig.fail(&mut ops.write_to_reader, 2), libc::EBADF);
    marks.step("WriteAt fails");
    assert_eq!(rig.fail(&mut ops.recv_on_file, 3), libc::ENOTSOCK);
    marks.step("Recv fails");
    assert_eq!(rig.fail(&mut ops.deaf_accept, 4), libc::EINVAL);
    marks.step("Accept fails");
    // A library that stands in for kqueue takes a socket's pending error.
    let refused = if cfg!(libkqueue) {
        libc::ECONNABORTED
    } else {
        libc::ECONNREFUSED
    };
    assert_eq!(rig.fail(&mut ops.refused, 5), refused);
    marks.step("Connect fails");
    assert_eq!(rig.fail(&mut ops.missing, 6), libc::ENOENT);
    assert_eq!(rig.fail(&mut ops.create, 6), libc::EEXIST);
    marks.step("OpenAt fails");
    assert_eq!(rig.fail(&mut ops.close_closed, 7), libc::EBADF);
    marks.step("Close fails");
}

/// The driver refuses what the types cannot exclude.
pub(crate) fn refuse(rig: &mut Rig<'_>, ops: &mut Ops, marks: &mut Marks) {
    assert_eq!(rig.refuse(&mut ops.wrong_offset, 1), Refusal::Offset);
    marks.step("a wrong offset");
    assert_eq!(rig.refuse(&mut ops.nops[0], usize::MAX), Refusal::UserData);
    marks.step("wrong user data");
    assert_eq!(rig.refuse(&mut ops.fixed_dir, 2), Refusal::FixedDescriptor);
    marks.step("a fixed directory");
    rig.push(&ops.no_place, 3);
    assert!(rig.wait(3).result().is_err());
    marks.step("a place that is not there");
}
