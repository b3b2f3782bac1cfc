//! What only this backend has, or has in its own way.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Iocp, PACKETS, Way, milliseconds};
use crate::driver::{AsRawFd, AttachError, CompleteIo, Driver, Entry, OwnedFd, RawFd, Support};
use crate::op::{Accept, Close, Disconnect, Op, OpObject, ReadAt, Recv, Send, SyncRange, Timeout};
use crate::sys::{Backend, errno};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::windows::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

const HOUR: Duration = Duration::from_secs(3600);

fn backend<'d>(driver: &'d mut Driver<'_>) -> &'d mut Iocp {
    match &mut driver.engine.backend {
        Backend::Iocp(iocp) => iocp,
    }
}

/// Pushes what stays where it is until the driver is gone.
fn push<'a, O: Op + 'a>(driver: &mut Driver<'a>, op: &mut O, user_data: usize) {
    // SAFETY: the tests keep operations, untouched, until their last entry came, or longer than
    // drivers.
    let object = unsafe { OpObject::from_ptr(NonNull::from(op), user_data) };
    driver.try_push_dyn(object).unwrap();
}

fn turn(driver: &mut Driver<'_>) -> Vec<Entry> {
    submit(driver, Some(Duration::ZERO), 2 * PACKETS)
}

fn submit(driver: &mut Driver<'_>, timeout: Option<Duration>, room: usize) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(room);
    // SAFETY: see `push`.
    unsafe { driver.submit(timeout, &mut entries).unwrap() };
    entries
}

fn take(driver: &mut Driver<'_>, n: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < n {
        entries.extend(submit(driver, None, n - entries.len()));
    }
    entries
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A file that is removed in the end, and how to open it for overlapped calls.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("iocp-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        Self(path)
    }

    fn open(&self) -> File {
        let flags = FILE_FLAG_OVERLAPPED;
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(flags)
            .open(&self.0)
            .unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_handle_has_one_port() {
    let (socket, _peer) = tcp_pair();
    let [mut first, mut second] = [(); 2].map(|()| Driver::new().unwrap());
    let fd = first.attach(socket.as_raw_fd()).unwrap();
    let error = second.attach(socket.as_raw_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    let why = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<AttachError>());
    assert_eq!(why, Some(&AttachError::Elsewhere));
    let registered = second.register_fd(socket.as_raw_fd(), 0).unwrap_err();
    assert_eq!(registered.kind(), ErrorKind::ResourceBusy);
    // An operation hears so too.
    let mut recv = Recv::new(RawNumber(socket.as_raw_fd()), [0; 8]);
    push(&mut second, &mut recv, 1);
    assert_eq!(take(&mut second, 1).remove(0).raw_os_error(), Some(87));
    // Its own driver remembers it.
    first.detach(fd);
    first.attach(socket.as_raw_fd()).unwrap();
    first.register_fd(socket.as_raw_fd(), 0).unwrap();
}

/// A number without an attachment.
#[derive(Clone, Copy)]
struct RawNumber(RawFd);

// SAFETY: a stored number, never changed.
unsafe impl crate::driver::Descriptor for RawNumber {
    fn target(&self) -> crate::driver::Target {
        crate::driver::Target::Plain(self.0)
    }
}

#[test]
fn what_was_attached_under_a_number_is_not_what_bears_it_next() {
    let mut driver = Driver::new().unwrap();
    for n in 0..50 {
        let (ours, mut theirs) = tcp_pair();
        let mut recv = Recv::new(RawNumber(ours.as_raw_fd()), [0; 8]);
        push(&mut driver, &mut recv, n);
        assert!(turn(&mut driver).is_empty());
        theirs.write_all(b"text").unwrap();
        assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 4);
        let file = File::open("Cargo.toml").unwrap();
        let mut read = ReadAt::new(RawNumber(file.as_raw_fd()), 0, [0; 8]);
        push(&mut driver, &mut read, n);
        assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 8);
    }
}

#[test]
fn closed_with_operations_in_flight() {
    let mut driver = Driver::new().unwrap();
    // By an operation, by its owner, and while a duplicate keeps the socket open.
    for (by_operation, cloned) in [(true, false), (false, false), (true, true)] {
        let (ours, theirs) = tcp_pair();
        let clone = cloned.then(|| ours.try_clone().unwrap());
        let mut ops = [(); 3].map(|()| Recv::new(RawNumber(ours.as_raw_fd()), [0; 8]));
        for (n, op) in ops.iter_mut().enumerate() {
            push(&mut driver, op, n);
        }
        assert!(turn(&mut driver).is_empty());
        let mut close = Some(Close::new(OwnedFd::from(ours)));
        if by_operation {
            push(&mut driver, close.as_mut().unwrap(), 3);
        } else {
            close = None;
        }
        let entries = take(&mut driver, 3 + usize::from(by_operation));
        for entry in entries {
            assert_eq!(entry.result().is_ok(), entry.user_data() == 3, "{entry:?}");
        }
        assert_eq!(driver.in_flight(), 0);
        drop((theirs, clone, close));
    }
}

/// Its duplicate goes on listening.
#[test]
fn a_listener_is_closed_with_an_accept_in_flight() {
    let mut driver = Driver::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clone = listener.try_clone().unwrap();
    let mut accept = Accept::new(RawNumber(listener.as_raw_fd()));
    push(&mut driver, &mut accept, 0);
    assert!(turn(&mut driver).is_empty());
    let mut close = Close::new(OwnedFd::from(listener));
    push(&mut driver, &mut close, 1);
    for entry in take(&mut driver, 2) {
        assert_eq!(entry.result().is_ok(), entry.user_data() == 1, "{entry:?}");
    }
    let client = TcpStream::connect(clone.local_addr().unwrap()).unwrap();
    assert_eq!(
        clone.accept().unwrap().1,
        client.local_addr().unwrap(),
        "nobody else has taken it"
    );
}

/// The duplicate of a socket that is attached bears a number whose last bearer sent packets always.
#[test]
fn what_sends_no_packets_is_not_taken_for_what_bore_its_number() {
    let mut driver = Driver::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    driver.attach(ours.as_raw_fd()).unwrap();
    let clone = ours.try_clone().unwrap();
    let fd = clone.as_raw_fd();
    let iocp = backend(&mut driver);
    let slot = iocp.table.plain(fd).unwrap();
    let before = Way::Port {
        skips: false,
        has_positions: false,
    };
    iocp.table[slot].see(fd, before);
    theirs.write_all(b"text").unwrap();
    while ours.peek(&mut [0; 8]).unwrap() < 4 {}
    let mut recv = Recv::new(RawNumber(fd), [0; 8]);
    push(&mut driver, &mut recv, 1);
    assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 4);
}

/// As one of a call that was cut short, and had told its end already.
#[test]
fn a_packet_that_is_late_completes_nothing_twice() {
    let mut driver = Driver::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    let mut recv = Recv::new(RawNumber(ours.as_raw_fd()), [0; 8]);
    let late = |driver: &mut Driver<'_>| {
        let iocp = backend(driver);
        for place in iocp.kept.flights.indexes() {
            iocp.port.post_for(iocp.packets.overlapped(place));
        }
    };
    for _ in 0..3 {
        late(&mut driver);
        push(&mut driver, &mut recv, 1);
        assert!(turn(&mut driver).is_empty(), "its place is in flight");
        late(&mut driver);
        assert!(turn(&mut driver).is_empty(), "it is not over");
        theirs.write_all(b"text").unwrap();
        assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 4);
        late(&mut driver);
        assert!(turn(&mut driver).is_empty(), "it is over already");
    }
    assert_eq!(driver.stats().unknown, 0);
    assert_eq!(driver.in_flight(), 0);
}

#[test]
fn an_accept_that_nobody_takes_closes_its_socket() {
    // Cancelled after it has succeeded; and dropped with the driver.
    for cancels in [true, false] {
        let mut driver = Driver::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut accept = Accept::new(RawNumber(listener.as_raw_fd()));
        push(&mut driver, &mut accept, 1);
        assert!(turn(&mut driver).is_empty());
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        if cancels {
            driver.try_cancel(1).unwrap();
            let entry = take(&mut driver, 1).remove(0);
            if entry.result().is_ok() {
                // SAFETY: its last entry.
                unsafe { accept.dispose(entry) };
            } else {
                assert_eq!(entry.raw_os_error(), Some(errno::ECANCELED));
                drop(listener.accept());
            }
        } else {
            drop(driver);
            drop(listener);
        }
        // The end, or a reset where the connection was never accepted.
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn what_finishes_at_once_completes_once_and_starves_nobody() {
    let mut driver = Driver::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    let fd = driver.attach(ours.as_raw_fd()).unwrap();
    theirs.write_all(&[7; 100]).unwrap();
    let (other, mut other_peer) = tcp_pair();
    let mut slow = Recv::new(driver.attach(other.as_raw_fd()).unwrap(), [0; 8]);
    push(&mut driver, &mut slow, 1000);
    let mut timer = Timeout::after(Duration::ZERO);
    assert!(turn(&mut driver).is_empty());
    other_peer.write_all(b"text").unwrap();
    push(&mut driver, &mut timer, 1001);
    let mut seen = Vec::new();
    let mut busy = [(); 100].map(|()| Recv::new(fd, [0; 1]));
    for (n, op) in busy.iter_mut().enumerate() {
        push(&mut driver, op, n);
        // Always ready; the others come out all the same, within a few turns.
        seen.extend(submit(&mut driver, None, 1).iter().map(Entry::user_data));
    }
    assert!(
        seen[..10].contains(&1000) && seen[..10].contains(&1001),
        "{seen:?}"
    );
    while driver.in_flight() > 0 {
        seen.extend(take(&mut driver, 1).iter().map(Entry::user_data));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).chain([1000, 1001]).collect::<Vec<_>>());
    assert_eq!(driver.stats().unknown, 0);
}

#[test]
fn what_is_unregistered_in_flight_can_be_cancelled() {
    let mut driver = Driver::new().unwrap();
    let (ours, _theirs) = tcp_pair();
    let mut recv = Recv::new(driver.register_fd(ours.as_raw_fd(), 7).unwrap(), [0; 8]);
    let fd = *recv.fd();
    push(&mut driver, &mut recv, 1);
    assert!(turn(&mut driver).is_empty());
    driver.unregister_fd(fd).unwrap();
    driver.try_cancel(1).unwrap();
    let entries = submit(&mut driver, Some(Duration::from_secs(10)), 1);
    assert_eq!(entries[0].raw_os_error(), Some(errno::ECANCELED));
}

#[test]
fn many_packets_in_one_call() {
    let mut driver = Driver::new().unwrap();
    let (ours, mut theirs) = tcp_pair();
    let fd = driver.attach(ours.as_raw_fd()).unwrap();
    let mut ops = [(); PACKETS].map(|()| Recv::new(fd, [0; 1]));
    let mut queue: VecDeque<OpObject<'_>> = VecDeque::new();
    for (n, op) in ops.iter_mut().enumerate() {
        // SAFETY: see `push`.
        queue.push_back(unsafe { OpObject::from_ptr(NonNull::from(op), n) });
    }
    driver.push_queue(&mut queue);
    assert!(turn(&mut driver).is_empty());
    theirs.write_all(&[1; PACKETS]).unwrap();
    // All of them have come when the last has.
    let mut peer_sees_nothing = [0; 1];
    theirs.set_nonblocking(true).unwrap();
    assert!(theirs.read(&mut peer_sees_nothing).is_err());
    let before = driver.stats().enters;
    let mut entries = Vec::new();
    while entries.len() < PACKETS {
        entries.extend(submit(&mut driver, None, PACKETS));
    }
    let enters = driver.stats().enters - before;
    assert!(enters < 8, "{enters} calls for {PACKETS} packets");
    let names: Vec<usize> = entries.iter().map(Entry::user_data).collect();
    assert_eq!(
        names,
        (0..PACKETS).collect::<Vec<_>>(),
        "first in, first out"
    );
}

#[test]
fn woken_by_eight_threads() {
    let mut driver = Driver::new().unwrap();
    let notifier = driver.notifier();
    let mut threads: Vec<_> = (0..8)
        .map(|_| {
            let notifier = notifier.clone();
            thread::spawn(move || (0..2_000).for_each(|_| notifier.notify()))
        })
        .collect();
    while !threads.is_empty() {
        let entries = submit(&mut driver, Some(Duration::from_millis(1)), 1);
        assert!(entries.is_empty(), "a wake-up is no entry");
        threads.retain(|thread| !thread.is_finished());
    }
    notifier.notify();
    let start = Instant::now();
    submit(&mut driver, Some(HOUR), 1);
    assert!(start.elapsed() < HOUR, "the last one was not lost");
}

#[test]
fn dropped_with_reads_in_flight() {
    let file = Temporary::new("dropped", &[7; 1 << 20]);
    let mut buffers: Vec<Box<[u8]>> = (0..16).map(|_| vec![0; 1 << 16].into()).collect();
    {
        let mut driver = Driver::new().unwrap();
        let (socket, _peer) = tcp_pair();
        let open = file.open();
        let mut reads: Vec<_> = buffers
            .iter_mut()
            .enumerate()
            .map(|(n, buffer)| {
                let fd = RawNumber(open.as_raw_fd());
                ReadAt::new(fd, (n << 16) as u64, &mut buffer[..])
            })
            .collect();
        let mut recv = Recv::new(RawNumber(socket.as_raw_fd()), [0; 8]);
        for (n, op) in reads.iter_mut().enumerate() {
            push(&mut driver, op, n);
        }
        push(&mut driver, &mut recv, 99);
        submit(&mut driver, Some(Duration::ZERO), 1);
        drop(driver);
        assert!(reads.iter().all(|read| read.buf().len() == 1 << 16));
    }
    // A read is there as a whole, or not at all: nobody writes now.
    for buffer in buffers {
        let first = buffer[0];
        assert!(buffer.iter().all(|byte| *byte == first));
    }
}

#[test]
fn packets_of_others_are_not_followed() {
    let mut driver = Driver::new().unwrap();
    let mut child = Command::new("cmd");
    child.args(["/c", "echo text& echo more 1>&2"]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let attached = child
        .stdout
        .as_ref()
        .map(|out| driver.attach(out.as_raw_fd()));
    assert!(attached.unwrap().is_ok());
    // The standard library makes overlapped calls on both, with events of its own.
    let output = child.wait_with_output().unwrap();
    assert!(output.stdout.starts_with(b"text"), "{output:?}");
    // Something has to be asked for, or the port is not.
    let mut timeout = Timeout::after(HOUR);
    push(&mut driver, &mut timeout, 1);
    assert!(submit(&mut driver, Some(Duration::from_millis(1)), 1).is_empty());
    assert!(driver.stats().unknown > 0, "they come, and are counted");
}

#[test]
fn what_a_handle_takes_decides_who_makes_its_calls() {
    let file = Temporary::new("ways", b"text");
    let mut driver = Driver::new().unwrap();
    let [waits, overlaps] = [File::open(&file.0).unwrap(), file.open()];
    for open in [&waits, &overlaps] {
        let mut read = ReadAt::new(driver.attach(open.as_raw_fd()).unwrap(), 0, [0; 8]);
        let mut beyond = ReadAt::new(*read.fd(), 4, [0; 8]);
        push(&mut driver, &mut read, 1);
        push(&mut driver, &mut beyond, 2);
        let mut entries = take(&mut driver, 2);
        entries.sort_by_key(Entry::user_data);
        assert_eq!(entries[0].result().unwrap(), 4);
        assert_eq!(entries[1].result().unwrap(), 0, "the end is no error");
    }
    let held = |fd: &File, driver: &mut Driver<'_>| {
        let table = &backend(driver).table;
        let slot = table.plain(fd.as_raw_fd()).unwrap();
        table[slot].file().is_some()
    };
    assert!(
        held(&waits, &mut driver),
        "workers have a handle of their own"
    );
    assert!(!held(&overlaps, &mut driver));
}

#[test]
fn a_datagram_that_is_cut_is_no_error() {
    let mut driver = Driver::new().unwrap();
    let [ours, theirs] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    for early in [true, false] {
        let mut recv = Recv::new(RawNumber(ours.as_raw_fd()), [0; 2]);
        if early {
            theirs.send(b"long").unwrap();
        }
        push(&mut driver, &mut recv, 1);
        if !early {
            assert!(turn(&mut driver).is_empty());
            theirs.send(b"long").unwrap();
        }
        assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 2);
        assert_eq!(recv.buf(), b"lo");
    }
}

#[test]
fn a_send_after_a_reset_has_winsocks_error() {
    let mut driver = Driver::new().unwrap();
    let (ours, theirs) = tcp_pair();
    drop(theirs);
    let mut kinds = Vec::new();
    for _ in 0..50 {
        let mut send = Send::new(RawNumber(ours.as_raw_fd()), [0; 4096]);
        push(&mut driver, &mut send, 1);
        if let Err(error) = take(&mut driver, 1)[0].result() {
            kinds.push(error.kind());
            break;
        }
    }
    let reset = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
    assert!(reset.contains(&kinds[0]), "{kinds:?}");
}

#[test]
fn times_are_rounded_up_and_never_for_ever() {
    for (nanos, expected) in [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)] {
        assert_eq!(milliseconds(Some(Duration::from_nanos(nanos))), expected);
    }
    assert_eq!(milliseconds(Some(Duration::MAX)), u32::MAX - 1);
    assert_eq!(milliseconds(None), u32::MAX);
    let days = Duration::from_millis(u64::from(u32::MAX));
    assert_eq!(milliseconds(Some(days)), u32::MAX - 1);
}

/// Wine does this, and no more of it: the socket is not to be connected again, and if no packet is
/// to come of a success, none comes.
#[test]
fn a_connection_is_ended_by_an_operation() {
    let (socket, mut peer) = tcp_pair();
    let mut driver = Driver::new().unwrap();
    let (fd, iocp) = (socket.as_raw_fd(), backend(&mut driver));
    let slot = iocp.table.plain(fd).unwrap();
    iocp.port.attach(super::attach::handle(fd)).unwrap();
    let way = super::Way::Port {
        skips: false,
        has_positions: false,
    };
    iocp.table[slot].occupy(fd, way, None);
    let mut send = Send::new(RawNumber(fd), "text");
    push(&mut driver, &mut send, 1);
    assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 4);
    let mut end = Disconnect::new(RawNumber(fd));
    push(&mut driver, &mut end, 2);
    assert_eq!(take(&mut driver, 1)[0].result().unwrap(), 0);
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
}

#[test]
fn what_is_missing_is_refused_and_said() {
    let mut driver = Driver::new().unwrap();
    let mut range = SyncRange::new(RawNumber(RawFd::INVALID), 0, 1);
    push(&mut driver, &mut range, 1);
    assert!(take(&mut driver, 1)[0].refusal().is_some());
    let operations = &driver.capabilities().operations;
    assert!(operations.contains(&("SyncRange", Support::Missing)));
}

/// README.md's table says what the driver reports.
#[test]
fn the_table_of_operations() {
    let readme = include_str!("../../../../README.md");
    let driver = Driver::new().unwrap();
    for (name, support) in &driver.capabilities().operations {
        let named = format!("`{name}`");
        // In the table of all systems, or in that of this one alone.
        let mut cell = None;
        for (header, column) in [("| operation |", 6), ("| operation of Windows alone |", 2)] {
            let rows = readme.lines().skip_while(|line| !line.starts_with(header));
            let mut rows = rows.take_while(|line| line.starts_with('|'));
            let row = rows.find(|row| {
                let first = row.split('|').nth(1).unwrap();
                first.split(" of ").next().unwrap().contains(&named)
            });
            cell = cell.or(row.and_then(|row| row.split('|').nth(column)));
        }
        let cell = cell.unwrap_or_else(|| panic!("{named} has no row"));
        let word = format!("{support:?}").to_lowercase();
        assert!(cell.contains(&word), "{named}: {cell:?}, and not {word}");
    }
}
