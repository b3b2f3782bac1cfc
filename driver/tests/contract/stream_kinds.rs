//! Reads and writes of what is neither pipe nor child: FIFOs, terminals, devices, counters,
//! sockets, and files at their position. I23, I24, I29, I33.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::stream::{ROOM, reads};
use completeio_driver::driver::{AsRawFd, CompleteIo, Cwd, FromRawFd};
use completeio_driver::op::{Op, Read, Write};
#[cfg(windows)]
use kit::pipe as fifo; // All pipes have names.
use std::fs::{self, File};
use std::io::{self, Read as _, Seek, SeekFrom, Write as _};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

contract! {
    on_host: [
        both_directions_of_one_descriptor,
        a_number_that_is_used_again,
        the_null_device,
        a_file_where_it_is,
        a_file_that_is_appended_to,
        empty_buffers,
        an_empty_datagram,
        without_workers,
    ],
    // Modes of descriptors, FIFOs, terminals, signals, and pairs of sockets of any kind.
    on_unix: [
        both_directions_of_a_terminal,
        modes_stay_as_they_are,
        a_fifo_that_does_not_block,
        a_terminal_in_blocking_mode,
        a_terminal_that_does_not_block,
        the_end_of_a_terminal,
        devices,
        sockets,
        wrong_descriptors,
        nobody_reads_and_no_signal_comes,
    ],
    on_linux: [
        counters_of_events,
        a_fifo_in_blocking_mode,
    ],
}

#[cfg(unix)]
/// The result of a plain call: a count, or an error number, negated.
pub(crate) fn plainly(result: isize) -> i64 {
    if result < 0 {
        -i64::from(io::Error::last_os_error().raw_os_error().unwrap())
    } else {
        i64::try_from(result).unwrap()
    }
}

#[cfg(unix)]
fn read_plainly(fd: &impl AsRawFd, buf: &mut [u8]) -> i64 {
    // SAFETY: a buffer of that length.
    plainly(unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) })
}

#[cfg(unix)]
fn write_plainly(fd: &impl AsRawFd, buf: &[u8]) -> i64 {
    // SAFETY: a buffer of that length.
    plainly(unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len()) })
}

/// The result of an operation in the same words.
pub(crate) fn outcome<O: Op<Output = usize> + 'static>(l: &mut Ledger, op: O) -> i64 {
    match l.run(op) {
        Ok(n) => i64::try_from(n).unwrap(),
        Err(e) => -i64::from(e.raw_os_error().expect("an error of the kernel")),
    }
}

#[cfg(unix)]
fn is_non_blocking(fd: &impl AsRawFd) -> bool {
    // SAFETY: takes numbers.
    kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }) & libc::O_NONBLOCK != 0
}

#[cfg(unix)]
pub(crate) fn set_non_blocking(fd: &impl AsRawFd) {
    // SAFETY: takes numbers.
    let flags = kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) });
    // SAFETY: takes numbers.
    kit::checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) });
}

#[cfg(unix)]
/// Both ends of a FIFO, opened by its name, in blocking mode.
pub(crate) fn fifo() -> (File, File) {
    let path = kit::TempPath::new();
    // SAFETY: a path that lives as long as the call.
    kit::checked(unsafe { libc::mkfifo(path.c_string().as_ptr(), 0o600) });
    let mut both = File::options();
    // With both ends open, neither open waits.
    let keeps = both.read(true).write(true).open(&*path).unwrap();
    let reader = File::open(&*path).unwrap();
    let writer = File::options().write(true).open(&*path).unwrap();
    drop(keeps);
    (reader, writer)
}

#[cfg(unix)]
/// A terminal that takes bytes as they are, in blocking mode: its master, and itself.
pub(crate) fn terminal() -> (File, File) {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes a number.
    let master = kit::checked(unsafe { libc::posix_openpt(flags) });
    // SAFETY: a new descriptor.
    let master = unsafe { File::from_raw_fd(master) };
    // SAFETY: takes a number.
    kit::checked(unsafe { libc::unlockpt(master.as_raw_fd()) });
    // SAFETY: takes a number; the name stays until it is asked again, and no other test runs.
    let name = unsafe { libc::ptsname(master.as_raw_fd()) };
    assert!(!name.is_null());
    // SAFETY: the name ends with a zero.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    let mut options = File::options();
    let options = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let terminal = options.open(name.to_str().unwrap()).unwrap();
    // SAFETY: a struct of plain numbers.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: fills a local.
    kit::checked(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) });
    // SAFETY: changes a local.
    unsafe { libc::cfmakeraw(&raw mut settings) };
    // SAFETY: reads a local.
    kit::checked(unsafe {
        libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings)
    });
    (master, terminal)
}

#[cfg(target_os = "linux")]
pub(crate) fn counter(flags: i32) -> File {
    // SAFETY: takes numbers.
    let fd = kit::checked(unsafe { libc::eventfd(0, flags | libc::EFD_CLOEXEC) });
    // SAFETY: a new descriptor.
    unsafe { File::from_raw_fd(fd) }
}

fn both_directions_of_one_descriptor(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    both_directions(cx, &ours, theirs);
}

#[cfg(unix)]
fn both_directions_of_a_terminal(cx: &mut Cx) {
    let (master, terminal) = terminal();
    set_non_blocking(&master);
    both_directions(cx, &master, terminal);
}

fn both_directions(cx: &mut Cx, ours: &impl AsRawFd, mut theirs: impl io::Write) {
    let mut l = cx.ledger();
    let fd = l.at(ours);
    l.start(Read::new(fd, [0; 8]), 1);
    l.hand_over();
    l.start(Write::new(fd, "ping"), 2);
    assert_eq!(kit::names(&l.take(1)), [2]);
    theirs.write_all(b"pong").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 4);
}

#[cfg(unix)]
/// Others may share them: whoever reads the terminal after us expects it to block.
fn modes_stay_as_they_are(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let (from, to) = fifo();
    let (master, terminal) = terminal();
    let files = [&reader, &writer, &from, &to, &master, &terminal];
    let mut l = cx.ledger();
    for (n, file) in files.into_iter().enumerate() {
        l.at(file);
        l.register_fd(file.as_raw_fd(), u32::try_from(n).unwrap())
            .unwrap();
    }
    for file in [&reader, &from, &terminal] {
        l.start(Read::new(kit::plain(file), [0; 8]), 1);
    }
    l.hand_over();
    for file in [&writer, &to, &master] {
        l.start(Write::new(kit::plain(file), "text"), 2);
    }
    for entry in l.take(6) {
        assert_eq!(entry.into_result().unwrap(), 4);
    }
    for file in files {
        assert!(!is_non_blocking(file));
    }
}

#[cfg(target_os = "linux")]
fn a_fifo_in_blocking_mode(cx: &mut Cx) {
    let (mut reader, mut writer) = fifo();
    let mut l = cx.ledger();
    reads(&mut l, &reader, |bytes| writer.write_all(bytes).unwrap());
    let (from, to) = (l.at(&reader), l.at(&writer));
    l.start(Read::new(from, [0; 8]), 1);
    l.hand_over();
    l.try_cancel(1).unwrap();
    assert_eq!(l.one().raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(l.run(Write::new(to, "text")).unwrap(), 4);
    assert_eq!(l.run(Read::new(from, [0; 2])).unwrap(), 2);
    assert_eq!(l.run(Read::new(from, [0; 8])).unwrap(), 2);
    if !cx.is_io_uring() {
        // The kernel's own write would not return before all of it was read.
        // SAFETY: takes numbers.
        kit::checked(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 3 * 4096) });
        assert_eq!(l.run(Write::new(to, vec![1; 100_000])).unwrap(), 4 * ROOM);
        let op = l.lend(Write::new(to, vec![2; 100_000]));
        l.push(op, 1);
        l.hand_over();
        let mut bytes = vec![0; 4 * ROOM];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(l.one().into_result().unwrap(), 4 * ROOM);
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes == [2; 4 * ROOM]);
    }
    l.start(Read::new(from, [0; 8]), 1);
    l.hand_over();
    l.detach(to);
    drop(writer);
    assert_eq!(l.one().into_result().unwrap(), 0);
}

#[cfg(unix)]
fn a_fifo_that_does_not_block(cx: &mut Cx) {
    let (mut reader, mut writer) = fifo();
    set_non_blocking(&reader);
    set_non_blocking(&writer);
    let mut l = cx.ledger();
    reads(&mut l, &reader, |bytes| writer.write_all(bytes).unwrap());
    let to = l.at(&writer);
    assert_eq!(l.run(Write::new(to, vec![1; 100_000])).unwrap(), 65_536);
    l.start(Write::new(to, "x"), 1);
    l.hand_over();
    let mut bytes = vec![0; 65_536];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(l.one().into_result().unwrap(), 1);
}

/// I11: nothing of a file that was not attached outlives its operations.
fn a_number_that_is_used_again(cx: &mut Cx) {
    let (reader, mut writer) = fifo();
    let mut l = cx.ledger();
    let fd = kit::plain(&reader);
    writer.write_all(b"text").unwrap();
    assert_eq!(l.run(Read::new(fd, [0; 8])).unwrap(), 4);
    let (other, mut writer) = fifo();
    kit::replace(&other, reader.as_raw_fd());
    l.start(Read::new(fd, [0; 8]), 1);
    l.hand_over();
    writer.write_all(b"x").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 1);
}

#[cfg(unix)]
fn a_terminal_in_blocking_mode(cx: &mut Cx) {
    let (mut master, mut terminal) = terminal();
    let mut l = cx.ledger();
    reads(&mut l, &terminal, |bytes| master.write_all(bytes).unwrap());
    reads(&mut l, &master, |bytes| terminal.write_all(bytes).unwrap());
    let fd = l.at(&terminal);
    l.start(Read::new(fd, [0; 8]), 1);
    l.hand_over();
    l.try_cancel(1).unwrap();
    assert_eq!(l.one().raw_os_error(), Some(libc::ECANCELED));
    let line = "a line of some length\n".repeat(10);
    assert_eq!(l.run(Write::new(fd, line.clone())).unwrap(), line.len());
    let mut read = vec![0; line.len()];
    master.read_exact(&mut read).unwrap();
    assert_eq!(read, line.as_bytes());
}

#[cfg(unix)]
fn a_terminal_that_does_not_block(cx: &mut Cx) {
    let (mut master, terminal) = terminal();
    set_non_blocking(&terminal);
    let mut l = cx.ledger();
    let fd = l.at(&terminal);
    reads(&mut l, &terminal, |bytes| master.write_all(bytes).unwrap());
    let (op, mut total) = (l.lend(Write::new(fd, vec![7; 1 << 20])), 0);
    loop {
        l.push(op, 1);
        match l.turn().pop() {
            Some(entry) => total += entry.into_result().unwrap(),
            None => break,
        }
    }
    assert!((1..1 << 20).contains(&total), "it was to be full: {total}");
    l.try_cancel(1).unwrap();
    // The kernel passes bytes on by itself, and may make room at any time.
    match l.one().into_result() {
        Ok(n) => total += n,
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ECANCELED)),
    }
    loop {
        l.start(Write::new(fd, "x"), 2);
        match l.turn().pop() {
            Some(entry) => total += entry.into_result().unwrap(),
            None => break,
        }
    }
    let mut read = vec![0; total];
    master.read_exact(&mut read).unwrap();
    assert_eq!(l.one().into_result().unwrap(), 1);
}

#[cfg(unix)]
fn the_end_of_a_terminal(cx: &mut Cx) {
    let (master, terminal) = terminal();
    let mut l = cx.ledger();
    let fd = l.at(&terminal);
    l.start(Read::new(fd, [0; 8]), 1);
    l.hand_over();
    drop(master);
    let ended = l.one();
    let ended = match ended.raw_os_error() {
        Some(errno) => -i64::from(errno),
        None => i64::try_from(ended.result().unwrap()).unwrap(),
    };
    assert_eq!(ended, read_plainly(&terminal, &mut [0; 8]));
    let refused = write_plainly(&terminal, b"x");
    assert!(refused == -i64::from(libc::EIO) || !kit::IS_LINUX);
    assert!(refused < 0);
    assert_eq!(outcome(&mut l, Write::new(fd, "x")), refused);
}

#[cfg(unix)]
fn devices(cx: &mut Cx) {
    let [zero, random] = ["/dev/zero", "/dev/urandom"]
        .map(|path| File::options().read(true).write(true).open(path).unwrap());
    let full = kit::full_device();
    let mut l = cx.ledger();
    for attached in [false, true] {
        let fd = |l: &mut Ledger, file: &File| {
            if attached {
                l.at(file);
            }
            kit::plain(file)
        };
        let op = Read::new(fd(&mut l, &zero), [1; 8]);
        let (op, entry) = l.entry_of(op);
        assert_eq!(l.finish(op, entry).unwrap(), 8);
        assert_eq!(l.op(op).buf(), &[0; 8]);
        if let Some(full) = &full {
            let op = Read::new(fd(&mut l, full), [1; 8]);
            assert_eq!(l.run(op).unwrap(), 8);
            let op = Write::new(fd(&mut l, full), "x");
            assert_eq!(l.errno(op), libc::ENOSPC, "I23");
            assert_eq!(write_plainly(full, b"x"), -i64::from(libc::ENOSPC));
        }
        let op = Read::new(fd(&mut l, &random), [0; 64]);
        let (op, entry) = l.entry_of(op);
        assert_eq!(l.finish(op, entry).unwrap(), 64);
        assert_ne!(l.op(op).buf(), &[0; 64]);
        let op = Write::new(fd(&mut l, &zero), vec![7; 100_000]);
        assert_eq!(l.run(op).unwrap(), 100_000);
    }
}

fn the_null_device(cx: &mut Cx) {
    let null = null_device();
    let mut l = cx.ledger();
    for attached in [false, true] {
        if attached {
            l.at(&null);
        }
        let fd = kit::plain(&null);
        assert_eq!(l.run(Read::new(fd, [1; 8])).unwrap(), 0);
        assert_eq!(l.run(Write::new(fd, vec![7; 100_000])).unwrap(), 100_000);
    }
}

/// It takes everything, and gives nothing.
pub(crate) fn null_device() -> File {
    let mut options = File::options();
    let options = options.read(true).write(true);
    options.open(kit::NULL.to_str().unwrap()).unwrap()
}

fn a_file_where_it_is(cx: &mut Cx) {
    let mut file = kit::file(b"one two three");
    let mut l = cx.ledger();
    for attached in [false, true] {
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(b"one two three").unwrap();
        file.seek(SeekFrom::Start(4)).unwrap();
        if attached {
            l.at(&file);
        }
        let fd = kit::plain(&file);
        let (op, entry) = l.entry_of(Read::new(fd, [0; 3]));
        assert_eq!(l.finish(op, entry).unwrap(), 3);
        assert_eq!(l.op(op).buf(), b"two");
        assert_eq!(file.stream_position().unwrap(), 7);
        assert_eq!(l.run(Write::new(fd, "-")).unwrap(), 1);
        assert_eq!(file.stream_position().unwrap(), 8);
        assert_eq!(l.run(Read::new(fd, [0; 16])).unwrap(), 5);
        assert_eq!(l.run(Read::new(fd, [0; 16])).unwrap(), 0, "the end");
        file.rewind().unwrap();
        assert_eq!(io::read_to_string(&file).unwrap(), "one two-three");
    }
}

fn a_file_that_is_appended_to(cx: &mut Cx) {
    let path = kit::TempPath::new();
    fs::write(&*path, "text").unwrap();
    let file = File::options().append(true).open(&*path).unwrap();
    let mut l = cx.ledger();
    let fd = l.at(&file);
    for _ in 0..2 {
        assert_eq!(l.run(Write::new(fd, "+")).unwrap(), 1);
    }
    assert_eq!(fs::read(&*path).unwrap(), b"text++");
}

#[cfg(target_os = "linux")]
fn counters_of_events(cx: &mut Cx) {
    for flags in [0, libc::EFD_NONBLOCK] {
        let counter = counter(flags);
        let mut l = cx.ledger();
        let fd = l.at(&counter);
        let op = l.start(Read::new(fd, [0; 8]), 1);
        l.hand_over();
        assert_eq!(write_plainly(&counter, &5_u64.to_ne_bytes()), 8);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(*l.op(op).buf()), 5);
        for n in [1_u64, 2] {
            assert_eq!(l.run(Write::new(fd, n.to_ne_bytes())).unwrap(), 8);
        }
        let (op, entry) = l.entry_of(Read::new(fd, [0; 8]));
        assert_eq!(l.finish(op, entry).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(*l.op(op).buf()), 3);
        assert_eq!(l.errno(Read::new(fd, [0; 7])), libc::EINVAL);
        assert_eq!(l.errno(Write::new(fd, [0; 7])), libc::EINVAL);
    }
}

#[cfg(unix)]
fn sockets(cx: &mut Cx) {
    for (kind, gone) in [
        (libc::SOCK_STREAM, libc::EPIPE),
        (libc::SOCK_SEQPACKET, libc::EPIPE),
        (libc::SOCK_DGRAM, libc::ECONNREFUSED),
    ] {
        if kind == libc::SOCK_SEQPACKET && !kit::SEQUENCED {
            continue;
        }
        let (ours, theirs) = kit::pair_of(kind);
        let mut l = cx.ledger();
        // Not attached: its mode is not ours.
        let fd = kit::plain(&ours);
        let op = l.start(Read::new(fd, [0; 8]), 1);
        l.hand_over();
        assert_eq!(write_plainly(&theirs, b"text"), 4);
        let entry = l.one();
        assert_eq!(l.finish(op, entry).unwrap(), 4);
        assert_eq!(l.run(Write::new(fd, "back")).unwrap(), 4);
        assert_eq!(read_plainly(&theirs, &mut [0; 8]), 4);
        assert!(!is_non_blocking(&ours));
        drop(theirs);
        let error = l.errno(Write::new(fd, "x"));
        assert!(error == gone || !kit::IS_LINUX && kind == libc::SOCK_DGRAM);
    }
}

/// I29.
fn empty_buffers(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let (ours, _theirs) = kit::pair();
    let file = kit::file(b"text");
    let null = null_device();
    let mut l = cx.ledger();
    for fd in [reader.as_raw_fd(), ours.as_raw_fd(), file.as_raw_fd()] {
        assert_eq!(l.run(Read::new(kit::number(fd), [0; 0])).unwrap(), 0);
    }
    for fd in [writer.as_raw_fd(), file.as_raw_fd(), null.as_raw_fd()] {
        assert_eq!(l.run(Write::new(kit::number(fd), "")).unwrap(), 0);
    }
    assert_eq!(l.run(Write::new(kit::plain(&ours), "")).unwrap(), 0);
}

fn an_empty_datagram(cx: &mut Cx) {
    let (ours, theirs) = kit::datagram_pair();
    theirs.set_read_timeout(Some(kit::LOST)).unwrap();
    let mut l = cx.ledger();
    assert_eq!(l.run(Write::new(kit::plain(&ours), "")).unwrap(), 0);
    assert_eq!(theirs.recv(&mut [0; 8]).unwrap(), 0, "one has come");
}

#[cfg(unix)]
/// I33.
fn wrong_descriptors(cx: &mut Cx) {
    let (reader, writer) = kit::pipe();
    let directory = File::open("/").unwrap();
    let path_only = kit::path_only("/dev/null");
    let read_only = File::open("/dev/null").unwrap();
    let listener = kit::listener().0;
    let unconnected = kit::tcp_socket();
    let open = [
        writer.as_raw_fd(),
        directory.as_raw_fd(),
        listener.as_raw_fd(),
        unconnected.as_raw_fd(),
    ];
    let path_only = path_only.as_ref().map(AsRawFd::as_raw_fd);
    let mut l = cx.ledger();
    let none = [900_000, i32::MAX].into_iter().chain(path_only);
    for fd in open.into_iter().chain(none.clone()).map(kit::number) {
        let expected = read_plainly(&fd, &mut [0; 8]);
        assert!(expected < 0);
        assert_eq!(outcome(&mut l, Read::new(fd, [0; 8])), expected);
    }
    let closed = [reader.as_raw_fd(), read_only.as_raw_fd()];
    let closed = open[1..].iter().copied().chain(closed);
    for fd in closed.chain(none).map(kit::number) {
        let expected = write_plainly(&fd, b"x");
        assert!(expected < 0);
        assert_eq!(outcome(&mut l, Write::new(fd, "x")), expected);
    }
    assert_eq!(l.errno(Read::new(Cwd, [0; 8])), libc::EBADF);
}

#[cfg(unix)]
static RAISED: AtomicU32 = AtomicU32::new(0);

#[cfg(unix)]
extern "C" fn raised(_signal: i32) {
    RAISED.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
/// Hears `SIGPIPE`, which kills most programs, until it is dropped.
pub(crate) struct Ears(libc::sigaction);

#[cfg(unix)]
impl Ears {
    /// Nothing was raised, and nothing is left of it.
    pub(crate) fn heard_nothing(&self) {
        assert_eq!(RAISED.load(Ordering::Relaxed), 0);
        assert_eq!(sigpipe(), [false, false]);
    }

    pub(crate) fn new() -> Self {
        RAISED.store(0, Ordering::Relaxed);
        // SAFETY: actions of plain numbers.
        let [mut action, mut before]: [libc::sigaction; 2] = unsafe { std::mem::zeroed() };
        action.sa_sigaction = (raised as *const ()).addr();
        // SAFETY: the handler only adds to an atomic number.
        kit::checked(unsafe { libc::sigaction(libc::SIGPIPE, &raw const action, &raw mut before) });
        Self(before)
    }
}

#[cfg(unix)]
impl Drop for Ears {
    fn drop(&mut self) {
        // SAFETY: the action that was there before.
        unsafe { libc::sigaction(libc::SIGPIPE, &raw const self.0, ptr::null_mut()) };
    }
}

#[cfg(unix)]
/// Whether `SIGPIPE` waits for this thread, and whether it is blocked.
fn sigpipe() -> [bool; 2] {
    // SAFETY: sets of plain numbers.
    let [mut pending, mut blocked]: [libc::sigset_t; 2] = unsafe { std::mem::zeroed() };
    // SAFETY: fills a local.
    kit::checked(unsafe { libc::sigpending(&raw mut pending) });
    // SAFETY: fills a local.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &raw mut blocked) };
    // SAFETY: reads locals.
    [pending, blocked].map(|set| unsafe { libc::sigismember(&raw const set, libc::SIGPIPE) } == 1)
}

#[cfg(unix)]
/// I24. A pipe by `RWF_NOSIGNAL`, a FIFO by a mask, on readiness.
fn nobody_reads_and_no_signal_comes(cx: &mut Cx) {
    let (reader, pipe) = kit::pipe();
    let (other, fifo) = fifo();
    let (theirs, socket) = kit::pair();
    drop((reader, other, theirs));
    let mut l = cx.ledger();
    let granted = &l.capabilities().granted;
    if granted.contains(&("writes without SIGPIPE", "no (Linux 6.18)".to_owned())) {
        let _ = writeln!(io::stderr(), "skipped: it needs Linux 6.18");
        return;
    }
    let ears = Ears::new();
    for non_blocking in [false, true] {
        for fd in [pipe.as_raw_fd(), fifo.as_raw_fd(), socket.as_raw_fd()] {
            let fd = kit::number(fd);
            if non_blocking {
                set_non_blocking(&fd);
            }
            assert_eq!(l.errno(Write::new(fd, "x")), libc::EPIPE);
            ears.heard_nothing();
        }
    }
    drop(ears);
}

/// With no worker, calls on files and on what cannot be waited for are made in place.
fn without_workers(cx: &mut Cx) {
    let mut file = kit::file(b"text");
    file.rewind().unwrap();
    let full = kit::full_device();
    let (reader, mut writer) = kit::pipe();
    let mut l = cx.with(|limits| limits.workers(0));
    assert_eq!(l.run(Read::new(kit::plain(&file), [0; 8])).unwrap(), 4);
    if let Some(full) = &full {
        assert_eq!(l.errno(Write::new(kit::plain(full), "x")), libc::ENOSPC);
    }
    l.start(Read::new(kit::plain(&reader), [0; 8]), 1);
    l.hand_over();
    writer.write_all(b"x").unwrap();
    assert_eq!(l.one().into_result().unwrap(), 1);
}
