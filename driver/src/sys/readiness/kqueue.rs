//! The selector on macOS and the BSDs:
//! [kqueue(2)](https://man.freebsd.org/cgi/man.cgi?query=kqueue).
//!
//! Each direction of a descriptor is a registration of its own, made when the first operation has
//! to wait for it, and kept (`EV_CLEAR`). Registrations are queued here, and handed over by the
//! call that waits; so an error of one comes as an event ([`Event::refused`]). Where nobody knows
//! whether the kernel takes a file, it is asked at once.
//!
//! The kqueue belongs to the notifier, whose calls are events in it (`EVFILT_USER`), as the
//! workers' are: they need no descriptors of their own, and are taken by being reported.

use super::attach::kind_of;
use super::selector::{Event, Interest};
use super::table::Kind;
use crate::sys::Waker;
use crate::sys::kqueue::{Filter, Kevent, Kqueue, flags};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// The name in the capability report.
pub(super) const NAME: &str = "kqueue";
/// The call that makes one.
pub(super) const CALL: &str = "kqueue";

/// Events taken by one call. More wait in the kernel.
const EVENTS: usize = 64;
/// Changes that one call hands over: each may have to come back as an event.
const CHANGES: usize = EVENTS;

pub(super) struct Selector {
    kqueue: Arc<Kqueue>,
    changes: Vec<Kevent>,
    events: Box<[Kevent]>,
    /// What events of the notifier and of the workers are to carry, by their idents.
    wakers: [u64; 2],
}

impl Selector {
    /// [`Event::supply`] while nothing was reported. Urgent data stop a read, too, and no kqueue
    /// tells that; it tells how many bytes there were.
    pub(super) const SUPPLY: u32 = u32::MAX;

    /// The one that the notifier's `waker` wakes; its events carry `key`.
    pub(super) fn new(waker: &Waker, key: u64) -> io::Result<Self> {
        let mut selector = Self {
            kqueue: waker.kqueue().clone(),
            changes: Vec::with_capacity(CHANGES),
            events: vec![Kevent::empty(); EVENTS].into_boxed_slice(),
            wakers: [0; 2],
        };
        selector.watch_waker(waker, key)?;
        Ok(selector)
    }

    /// Whether waits are told in nanoseconds.
    pub(super) fn is_precise(&self) -> bool {
        true
    }

    /// Lets one more waker of the same kqueue wake it.
    pub(super) fn watch_waker(&mut self, waker: &Waker, key: u64) -> io::Result<()> {
        self.wakers[waker.ident()] = key;
        Ok(())
    }

    /// Takes the calls of a waker that was reported: that has taken them.
    pub(super) fn drain(&self, _waker: &Waker) {}

    /// Watches directions of a descriptor that are not watched yet, and tells which are from now
    /// on. What is ready already is reported too.
    ///
    /// None: there is nothing to wait for on such a file. The kernel, which is asked at once about
    /// what is neither socket nor pipe, may say so; of a file on a disk it would tell where its end
    /// is.
    pub(super) fn register(
        &mut self,
        fd: RawFd,
        key: u64,
        interest: Interest,
        kind: Option<Kind>,
    ) -> io::Result<Interest> {
        let certain = match kind.map_or_else(|| kind_of(fd), Ok)? {
            Kind::Socket | Kind::Stream => true,
            Kind::Other => false,
            Kind::File => return Ok(Interest::NONE),
        };
        let mut watched = Interest::NONE;
        for (one, filter) in filters(interest) {
            let change = Kevent::change(ident(fd), filter, flags::ADD | flags::CLEAR, key);
            let queued = certain && self.changes.len() < CHANGES;
            if queued {
                self.changes.push(change);
            } else if let Err(e) = self.kqueue.change(change) {
                match e.raw_os_error() {
                    Some(libc::EPERM | libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP)
                        if !certain =>
                    {
                        continue;
                    }
                    _ => {
                        self.deregister(fd, watched);
                        return Err(e);
                    }
                }
            }
            watched = watched.and(one);
        }
        Ok(watched)
    }

    /// Stops watching, at once. Closing the descriptor does it too, whoever has another one of the
    /// file, and then this finds nothing, or a stranger: ENOENT and EBADF are no errors here.
    pub(super) fn deregister(&mut self, fd: RawFd, watched: Interest) {
        let ident = ident(fd);
        for (_, filter) in filters(watched) {
            let before = self.changes.len();
            self.changes
                .retain(|change| change.ident() != ident || !change.is(filter));
            if self.changes.len() < before {
                continue; // The kernel has not heard of it.
            }
            let result = self
                .kqueue
                .change(Kevent::change(ident, filter, flags::DELETE, 0));
            let error = result.err().and_then(|e| e.raw_os_error());
            debug_assert!(
                matches!(error, None | Some(libc::ENOENT | libc::EBADF)),
                "a descriptor leaves the selector: {error:?}"
            );
        }
    }

    /// Whether the kernel has not heard of all that is to be watched.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Hands the changes over, waits for events, at most so long, and tells how many there are.
    /// None: the time is over, or a signal came, or the wait was longer than is asked for at once.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let result = self.kqueue.ask(&self.changes, &mut self.events, timeout);
        // Also where a signal has ended the wait.
        self.changes.clear();
        match result {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            result => result,
        }
    }

    /// One of the events that the last wait has counted.
    pub(super) fn event(&self, index: usize) -> Event {
        let event = self.events[index];
        let key = if event.is(Filter::User) {
            self.wakers[event.ident()]
        } else {
            event.key()
        };
        Event {
            key,
            readable: event.is(Filter::Read),
            writable: event.is(Filter::Write),
            broken: event.is_eof(),
            supply: event.amount(),
            refused: event.error(),
        }
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.kqueue.as_raw_fd()
    }
}

fn ident(fd: RawFd) -> usize {
    usize::try_from(fd).expect("a descriptor in the table")
}

fn filters(interest: Interest) -> impl Iterator<Item = (Interest, Filter)> {
    let read = interest.read.then_some((Interest::READ, Filter::Read));
    let write = interest.write.then_some((Interest::WRITE, Filter::Write));
    read.into_iter().chain(write)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, unsafe_code, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn selector() -> (Selector, Waker) {
        let waker = Waker::new().unwrap();
        (Selector::new(&waker, 9).unwrap(), waker)
    }

    fn watch(selector: &mut Selector, fd: &impl AsRawFd, key: u64, interest: Interest) {
        let watched = selector.register(fd.as_raw_fd(), key, interest, Some(Kind::Socket));
        assert_eq!(watched.unwrap(), interest);
    }

    /// A number that no other test is given when it is closed: others are given the lowest.
    fn far(from: RawFd, least: RawFd) -> OwnedFd {
        // SAFETY: (K1) takes numbers.
        let fd = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, least) };
        assert!(fd >= 0);
        // SAFETY: (R1) the call has just made it, and nobody else knows it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    #[test]
    fn edges_are_reported_once() {
        let (mut selector, _waker) = selector();
        let (a, mut b) = UnixStream::pair().unwrap();
        watch(&mut selector, &a, 7, Interest::BOTH);
        let event = |supply, broken| Event {
            key: 7,
            readable: true,
            writable: false,
            broken,
            supply,
            refused: None,
        };
        assert!(selector.has_changes());
        assert_eq!(selector.wait(None).unwrap(), 1);
        let first = selector.event(0);
        assert!((first.key, first.writable, first.broken) == (7, true, false));
        assert!(!selector.has_changes());
        // The library reports the other direction once more.
        let mut reports = |expected| {
            let reported = selector.wait(None).unwrap();
            assert!((0..reported).any(|index| selector.event(index) == expected));
            assert_eq!(selector.wait(NOW).unwrap(), 0, "once");
        };
        b.write_all(b"x").unwrap();
        reports(event(1, false));
        b.write_all(b"yz").unwrap();
        reports(event(3, false));
        drop(b);
        reports(event(3, true));
        selector.deregister(a.as_raw_fd(), Interest::BOTH);
        selector.deregister(a.as_raw_fd(), Interest::BOTH);
    }

    #[test]
    fn what_is_not_watched_is_not_reported() {
        let (mut selector, _waker) = selector();
        let (a, mut b) = UnixStream::pair().unwrap();
        watch(&mut selector, &a, 1, Interest::READ);
        assert_eq!(selector.wait(NOW).unwrap(), 0, "it is writable");
        b.write_all(b"x").unwrap();
        selector.deregister(a.as_raw_fd(), Interest::READ);
        assert_eq!(selector.wait(NOW).unwrap(), 0);
    }

    #[test]
    fn a_queued_registration_can_be_taken_back() {
        let (mut selector, _waker) = selector();
        let (a, _b) = UnixStream::pair().unwrap();
        watch(&mut selector, &a, 1, Interest::BOTH);
        selector.deregister(a.as_raw_fd(), Interest::BOTH);
        assert!(!selector.has_changes());
        assert_eq!(selector.wait(NOW).unwrap(), 0);
        watch(&mut selector, &a, 2, Interest::WRITE);
        assert_eq!(selector.wait(None).unwrap(), 1);
        assert_eq!(selector.event(0).key, 2);
    }

    #[test]
    fn more_registrations_than_are_queued() {
        let (mut selector, _waker) = selector();
        let pairs: Vec<_> = (0..EVENTS).map(|_| UnixStream::pair().unwrap()).collect();
        for (key, (a, _)) in (0..).zip(&pairs) {
            watch(&mut selector, a, key, Interest::BOTH);
        }
        let mut seen = vec![0; pairs.len()];
        let mut left = pairs.len();
        while left > 0 {
            let reported = selector.wait(None).unwrap();
            for index in 0..reported {
                let event = selector.event(index);
                assert!(event.writable);
                seen[usize::try_from(event.key).unwrap()] += 1;
            }
            left -= reported;
        }
        assert!(seen.iter().all(|seen| *seen == 1));
    }

    #[test]
    fn what_is_refused_is_an_event() {
        let (mut selector, _waker) = selector();
        let (a, b) = UnixStream::pair().unwrap();
        let b = far(b.as_raw_fd(), 600);
        let closed = b.as_raw_fd();
        watch(&mut selector, &b, 1, Interest::READ);
        // The library needs one event to tell of the other.
        watch(&mut selector, &a, 2, Interest::WRITE);
        drop(b);
        assert_eq!(selector.wait(None).unwrap(), 2);
        let refused = selector.event(0);
        assert_eq!((refused.key, refused.readable), (1, true));
        assert_eq!(refused.refused, Some(libc::EBADF));
        assert_eq!(selector.event(1).key, 2);
        selector.deregister(closed, Interest::READ);
        let known = selector.register(closed, 3, Interest::READ, None);
        assert_eq!(known.unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn all_that_was_queued_is_refused() {
        let (mut selector, _waker) = selector();
        let (open, _peer) = UnixStream::pair().unwrap();
        let closed: Vec<_> = (1..CHANGES).map(|_| far(open.as_raw_fd(), 700)).collect();
        for (key, closed) in (1..).zip(&closed) {
            watch(&mut selector, closed, key, Interest::READ);
        }
        watch(&mut selector, &open, 0, Interest::WRITE);
        drop(closed);
        let mut seen = [None; CHANGES];
        while seen.contains(&None) {
            for index in 0..selector.wait(None).unwrap() {
                let event = selector.event(index);
                let seen = &mut seen[usize::try_from(event.key).unwrap()];
                assert_eq!(seen.replace(event.refused), None, "each is told once");
            }
        }
        assert_eq!(seen[0], Some(None));
        assert!(
            seen[1..]
                .iter()
                .all(|seen| *seen == Some(Some(libc::EBADF)))
        );
    }

    #[test]
    fn of_two_directions_both_are_watched_or_none() {
        let (mut selector, _waker) = selector();
        let (open, _peer) = UnixStream::pair().unwrap();
        let closed = far(open.as_raw_fd(), 800);
        // There is room for one.
        for key in 1..CHANGES {
            let key = u64::try_from(key).unwrap();
            watch(&mut selector, &open, key, Interest::READ);
        }
        let number = closed.as_raw_fd();
        drop(closed);
        let queued = selector.changes.len();
        let refused = selector.register(number, 0, Interest::BOTH, Some(Kind::Socket));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(selector.changes.len(), queued, "the first is taken back");
    }

    #[test]
    fn a_call_is_told_behind_a_full_list() {
        let (mut selector, waker) = selector();
        let pairs: Vec<_> = (0..=EVENTS).map(|_| UnixStream::pair().unwrap()).collect();
        for (key, (a, _)) in (100..).zip(&pairs) {
            watch(&mut selector, a, key, Interest::WRITE);
        }
        waker.wake();
        waker.wake();
        let mut keys = Vec::new();
        while keys.len() <= pairs.len() {
            let reported = selector.wait(None).unwrap();
            assert!(reported <= EVENTS);
            keys.extend((0..reported).map(|index| selector.event(index).key));
        }
        keys.sort_unstable();
        let sockets = (100..).take(pairs.len());
        assert!(keys.into_iter().eq([9].into_iter().chain(sockets)));
        assert_eq!(selector.wait(NOW).unwrap(), 0, "once");
    }

    #[test]
    fn what_is_interrupted_was_handed_over() {
        extern "C" fn nothing(_: libc::c_int) {}
        let (mut selector, _waker) = selector();
        let (a, mut b) = UnixStream::pair().unwrap();
        // SAFETY: (K1) all zeroes are one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        // SAFETY: (K1) reads a local; the handler does nothing, and nobody else uses this signal.
        let set = unsafe { libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut()) };
        assert_eq!(set, 0);
        // SAFETY: (K1) takes nothing.
        let waiter = unsafe { libc::pthread_self() };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // SAFETY: (K1) that thread waits for this one.
                    unsafe { libc::pthread_kill(waiter, libc::SIGURG) };
                    std::thread::yield_now();
                }
            });
            watch(&mut selector, &a, 7, Interest::READ);
            let reported = selector.wait(None);
            over.store(true, Ordering::Relaxed);
            assert_eq!(reported.unwrap(), 0, "interrupted");
            assert!(!selector.has_changes());
        });
        b.write_all(b"x").unwrap();
        let mut reported = 0;
        while reported == 0 {
            reported = selector.wait(None).unwrap();
        }
        assert_eq!((reported, selector.event(0).key), (1, 7));
    }

    #[test]
    fn files_have_nothing_to_report() {
        let (mut selector, _waker) = selector();
        let file = std::fs::File::open("/").unwrap();
        let watched = selector.register(file.as_raw_fd(), 1, Interest::BOTH, None);
        assert_eq!(watched.unwrap(), Interest::NONE);
        assert!(!selector.has_changes());
    }

    #[test]
    fn wakers_end_waits_and_are_told_apart() {
        let (mut selector, waker) = selector();
        let bell = waker.beside().unwrap();
        selector.watch_waker(&bell, 8).unwrap();
        for (waker, key) in [(&waker, 9), (&bell, 8), (&waker, 9)] {
            waker.wake();
            waker.wake();
            assert_eq!(selector.wait(None).unwrap(), 1);
            assert_eq!(selector.event(0).key, key);
            assert_eq!(selector.wait(NOW).unwrap(), 0, "it was taken");
        }
        std::thread::scope(|scope| {
            scope.spawn(|| bell.wake());
            assert_eq!(selector.wait(None).unwrap(), 1);
        });
    }

    #[test]
    fn no_wait_ends_early() {
        let (mut selector, _waker) = selector();
        for timeout in [Duration::from_nanos(1), Duration::from_micros(1500)] {
            let start = std::time::Instant::now();
            // A signal may end it: that is told as no event, too.
            while start.elapsed() < timeout {
                assert_eq!(selector.wait(Some(timeout)).unwrap(), 0);
            }
        }
    }
}
