//! I7: signals interrupt waits, and nobody notices. I24: `SIGPIPE` is never raised.

use crate::kit;
use crate::ledger::Cx;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{PreparedWait, Wait};
use completeio_driver::op::{Nop, Recv, Send, Timeout, WriteAt};
use std::io::Write;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

contract![
    a_wait_keeps_its_remaining_time,
    a_wait_without_end_goes_on,
    entries_survive,
    a_drop_goes_on,
    writing_to_nobody_raises_no_signal,
];

const HOUR: Duration = Duration::from_secs(3600);

fn a_wait_keeps_its_remaining_time(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Timeout::after(HOUR), 1);
    let alarm = Signals::every_millisecond();
    for timeout in [1, 10, 50].map(Duration::from_millis) {
        let (start, heard) = (Instant::now(), alarm.heard());
        l.submit(Some(timeout), &mut None).unwrap();
        assert!(start.elapsed() >= timeout);
        assert!(
            timeout < Duration::from_millis(50) || alarm.heard() > heard,
            "none came"
        );
        let deadline = Instant::now() + timeout;
        l.submit_until(Wait::new().until(deadline), &mut None)
            .unwrap();
        assert!(Instant::now() >= deadline);
    }
}

/// A signal is no completion and no wake-up: `submit(None)` returns with an entry.
fn a_wait_without_end_goes_on(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let fd = l.at(&ours);
    let alarm = Signals::every_millisecond();
    for n in 0..5 {
        l.start(Recv::new(fd, [0; 8]), n);
        let (mut peer, alarm) = (&theirs, &alarm);
        thread::scope(|scope| {
            scope.spawn(move || {
                let heard = alarm.heard();
                while alarm.heard() < heard + 10 {
                    thread::yield_now();
                }
                peer.write_all(b"x").unwrap();
            });
            let mut entry = None;
            l.submit(None, &mut entry).unwrap();
            assert_eq!(entry.unwrap().into_result().unwrap(), 1);
        });
    }
}

fn entries_survive(cx: &mut Cx) {
    let file = kit::file(b"");
    let (ours, theirs) = kit::pair();
    let mut l = cx.ledger();
    let (file, socket, peer) = (l.at(&file), l.at(&ours), l.at(&theirs));
    let alarm = Signals::every_millisecond();
    let mut n = 0;
    while alarm.heard() < 100 {
        l.start(WriteAt::new(file, 0, vec![7; 4096]), n);
        l.start(Timeout::after(Duration::from_micros(300)), n + 1);
        l.start(Recv::new(socket, [0; 8]), n + 2);
        l.start(Send::new(peer, "x"), n + 3);
        l.start(Nop::new(), n + 4);
        for entry in l.take_sorted(5) {
            match entry.raw_os_error() {
                Some(errno) => assert_eq!((errno, entry.user_data()), (kit::code::ETIME, n + 1)),
                None => assert_ne!(entry.user_data(), n + 1),
            }
        }
        n += 5;
    }
}

fn a_drop_goes_on(cx: &mut Cx) {
    let file = kit::cold_file(&[7; 1 << 20]);
    let (ours, _theirs) = kit::pair();
    let alarm = Signals::every_millisecond();
    while alarm.heard() < 50 {
        let mut l = cx.ledger();
        let fd = l.at(&ours);
        l.start(Recv::new(fd, [0; 8]), 1);
        let fd = l.at(&file);
        let read = completeio_driver::op::ReadAt::new(fd, 0, vec![0; 1 << 20].into_boxed_slice());
        l.start(read, 2);
        l.start(Timeout::after(HOUR), 3);
        l.submit(Some(Duration::ZERO), &mut None).unwrap();
        assert!(matches!(
            l.prepare_wait(),
            PreparedWait::Ready | PreparedWait::Until(_)
        ));
        l.abandon();
    }
}

/// I24.
fn writing_to_nobody_raises_no_signal(cx: &mut Cx) {
    let (ours, theirs) = kit::pair();
    let (reader, writer) = kit::pipe();
    drop((reader, theirs));
    let mut l = cx.ledger();
    let (socket, pipe) = (l.at(&ours), l.at(&writer));
    let raised = Signals::of(libc::SIGPIPE);
    assert_eq!(l.errno(Send::new(socket, "x")), libc::EPIPE);
    assert_eq!(raised.heard(), 0, "SIGPIPE, which kills most programs");
    let granted = &l.capabilities().granted;
    if granted.contains(&("writes without SIGPIPE", "no (Linux 6.18)".to_owned())) {
        eprintln!("skipped: io_uring's writes without SIGPIPE need Linux 6.18");
        return;
    }
    let gone = l.errno(WriteAt::new(socket, 0, "x"));
    assert_eq!(
        gone,
        if cx.is_io_uring() {
            libc::EPIPE
        } else {
            libc::ESPIPE
        }
    );
    let gone = l.errno(WriteAt::new(pipe, 0, "x"));
    assert_eq!(
        gone,
        if cx.is_io_uring() {
            libc::EPIPE
        } else {
            libc::ESPIPE
        }
    );
    assert_eq!(raised.heard(), 0, "SIGPIPE, which kills most programs");
}

/// Counts the signals of one kind, with a handler that lets them interrupt system calls.
struct Signals {
    signal: i32,
    before: libc::sigaction,
    ringer: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

static HEARD: AtomicU64 = AtomicU64::new(0);

extern "C" fn hear(_signal: i32) {
    HEARD.fetch_add(1, Ordering::Relaxed);
}

impl Signals {
    fn of(signal: i32) -> Self {
        HEARD.store(0, Ordering::Relaxed);
        // SAFETY: an action of plain numbers.
        let [mut action, mut before]: [libc::sigaction; 2] = unsafe { std::mem::zeroed() };
        action.sa_sigaction = (hear as *const ()).addr();
        // SAFETY: the handler only adds to an atomic number.
        kit::checked(unsafe { libc::sigaction(signal, &raw const action, &raw mut before) });
        Self {
            signal,
            before,
            ringer: None,
        }
    }

    /// About a thousand a second, all of them to the calling thread.
    fn every_millisecond() -> Self {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let mut signals = Self::of(libc::SIGALRM);
        let (end, ended) = mpsc::channel();
        // SAFETY: takes nothing.
        let heard_by = Listener(unsafe { libc::pthread_self() });
        let ringer = thread::spawn(move || {
            while ended.recv_timeout(MILLISECOND) == Err(mpsc::RecvTimeoutError::Timeout) {
                heard_by.ring();
            }
        });
        signals.ringer = Some((end, ringer));
        signals
    }

    fn heard(&self) -> u64 {
        HEARD.load(Ordering::Relaxed)
    }
}

/// A thread that lives as long as somebody rings.
struct Listener(libc::pthread_t);

// SAFETY: a thread's name is as good on others.
unsafe impl std::marker::Send for Listener {}

impl Listener {
    fn ring(&self) {
        // SAFETY: the thread is there.
        assert_eq!(unsafe { libc::pthread_kill(self.0, libc::SIGALRM) }, 0);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if let Some((end, ringer)) = self.ringer.take() {
            drop(end);
            let _ = ringer.join();
        }
        // A signal on its way is taken before this call returns to the thread.
        // SAFETY: the action that was there before.
        unsafe { libc::sigaction(self.signal, &raw const self.before, ptr::null_mut()) };
    }
}
