//! The selector on Linux: [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html). The only
//! file that knows it.
//!
//! Descriptors are watched for both directions, edge-triggered: one call when the first operation
//! has to wait, none after. The descriptors that wake the driver are level-triggered: they are
//! drained when they are reported.
//!
//! Waits are told in nanoseconds where the kernel has
//! [epoll_pwait2(2)](https://man7.org/linux/man-pages/man2/epoll_wait.2.html) (Linux 5.11) and no
//! filter forbids it; else in milliseconds, rounded up, and for good.
#![allow(unsafe_code, reason = "epoll is a set of foreign functions")]

use super::selector::{Event, Interest};
use super::table::Kind;
use crate::op::Timespec;
use crate::sys::Waker;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The name in the capability report.
pub(super) const NAME: &str = "epoll";
/// The call that makes one.
pub(super) const CALL: &str = "epoll_create1";

/// Events taken by one call. More wait in the kernel, which reports in turn. They are as few as one
/// call is worth: what a receive has touched, in the kernel too, is to be in the cache when its
/// answer is sent.
const EVENTS: u16 = 64;

/// The longest wait that is asked for at once; whoever waits longer asks again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How a descriptor is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Both directions; reported when something changes.
    Edges,
    /// Reported for as long as it is readable.
    Readable,
}

pub(super) struct Selector {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
    /// Whether `epoll_pwait2` may be called.
    precise: bool,
}

impl Selector {
    /// [`Event::supply`] while nothing was reported: whatever stops a read otherwise is reported.
    pub(super) const SUPPLY: u32 = 0;

    /// One that the notifier's `waker` wakes; its events carry `key`.
    pub(super) fn new(waker: &Waker, key: u64) -> io::Result<Self> {
        let mut selector = Self::bare()?;
        selector.watch_waker(waker, key)?;
        Ok(selector)
    }

    fn bare() -> io::Result<Self> {
        // SAFETY: (K1) one integer in, one out.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: (R1) the call has just opened it, and nobody else knows it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; usize::from(EVENTS)];
        let mut selector = Self {
            epoll,
            events: events.into_boxed_slice(),
            precise: true,
        };
        // Nothing is registered: it returns at once, or says that there is no such call.
        if let Err(e) = selector.wait_ns(Duration::from_nanos(1)) {
            selector.precise = !is_missing(&e);
        }
        Ok(selector)
    }

    /// Whether waits are told in nanoseconds.
    pub(super) fn is_precise(&self) -> bool {
        self.precise
    }

    /// Lets one more waker wake it.
    pub(super) fn watch_waker(&mut self, waker: &Waker, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, waker.as_raw_fd(), key, Watch::Readable)
    }

    /// Takes the calls of a waker that was reported.
    pub(super) fn drain(&self, waker: &Waker) {
        waker.drain();
    }

    /// Watches a descriptor, both directions at once, whatever is asked for. What is ready already
    /// is reported too.
    ///
    /// None: there is nothing to wait for on such a file (EPERM: most regular files, directories).
    pub(super) fn register(
        &mut self,
        fd: RawFd,
        key: u64,
        _interest: Interest,
        _kind: Option<Kind>,
    ) -> io::Result<Interest> {
        match self.control(libc::EPOLL_CTL_ADD, fd, key, Watch::Edges) {
            Ok(()) => Ok(Interest::BOTH),
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => Ok(Interest::NONE),
            // An old registration of the same file under the same number: it was closed and made
            // again by dup2(2), and a third descriptor kept the registration.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => self
                .control(libc::EPOLL_CTL_MOD, fd, key, Watch::Edges)
                .map(|()| Interest::BOTH),
            Err(e) => Err(e),
        }
    }

    /// Stops watching. Closing the file's last descriptor does it too, and then this finds
    /// nothing, or a stranger: ENOENT and EBADF are no errors here.
    pub(super) fn deregister(&mut self, fd: RawFd, _watched: Interest) {
        let result = self.control(libc::EPOLL_CTL_DEL, fd, 0, Watch::Edges);
        let error = result.err().and_then(|e| e.raw_os_error());
        debug_assert!(
            matches!(error, None | Some(libc::ENOENT | libc::EBADF | libc::EPERM)),
            "a descriptor leaves the selector: {error:?}"
        );
    }

    fn control(&self, how: i32, fd: RawFd, key: u64, watch: Watch) -> io::Result<()> {
        const IN: i32 = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLPRI;
        const BOTH: u32 = bits(IN | libc::EPOLLOUT | libc::EPOLLET);
        let events = match watch {
            Watch::Edges if planted!("registration-lost") => BOTH | bits(libc::EPOLLONESHOT),
            Watch::Edges => BOTH,
            Watch::Readable => bits(libc::EPOLLIN),
        };
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: (K1) the kernel reads one local event.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), how, fd, &raw mut event) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// Whether the kernel has not heard of all that is to be watched.
    pub(super) fn has_changes(&self) -> bool {
        false
    }

    /// Waits for events, at most so long, and tells how many there are. None: the time is over,
    /// or a signal came, or the wait was longer than is asked for at once.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let result = match timeout {
            None => self.wait_ms(-1),
            Some(Duration::ZERO) => self.wait_ms(0),
            Some(timeout) if self.precise => match self.wait_ns(timeout.min(LONGEST)) {
                Err(e) if is_missing(&e) => {
                    self.precise = false;
                    self.wait_ms(milliseconds(timeout))
                }
                result => result,
            },
            Some(timeout) => self.wait_ms(milliseconds(timeout)),
        };
        match result {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            result => result,
        }
    }

    fn wait_ms(&mut self, timeout_ms: i32) -> io::Result<usize> {
        let events = self.events.as_mut_ptr();
        // SAFETY: (K1) the kernel writes at most `EVENTS` events, and the buffer has as many.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                events,
                i32::from(EVENTS),
                timeout_ms,
            )
        };
        self.counted(libc::c_long::from(count))
    }

    fn wait_ns(&mut self, timeout: Duration) -> io::Result<usize> {
        let timeout = Timespec::from(timeout);
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: (K1) the kernel reads one local timespec (64 bits a field, as this call takes
        // it everywhere) and writes at most `EVENTS` events; the buffer has as many.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                i32::from(EVENTS),
                &raw const timeout,
                no_mask,
                0_usize,
            )
        };
        self.counted(count)
    }

    fn counted(&self, count: libc::c_long) -> io::Result<usize> {
        let Ok(count) = usize::try_from(count) else {
            return Err(io::Error::last_os_error());
        };
        assert!(
            count <= self.events.len(),
            "I37: more events than were asked for"
        );
        Ok(count)
    }

    /// One of the events that the last wait has counted.
    pub(super) fn event(&self, index: usize) -> Event {
        const FAILED: u32 = bits(libc::EPOLLHUP | libc::EPOLLERR);
        const READABLE: u32 = bits(libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP) | FAILED;
        const WRITABLE: u32 = bits(libc::EPOLLOUT) | FAILED;
        const BROKEN: u32 = bits(libc::EPOLLPRI | libc::EPOLLRDHUP) | FAILED;
        let event = self.events[index];
        Event {
            key: event.u64,
            readable: event.events & READABLE != 0,
            writable: event.events & WRITABLE != 0,
            broken: event.events & BROKEN != 0,
            supply: Self::SUPPLY,
            refused: None,
        }
    }

    /// As if the kernel had no `epoll_pwait2`.
    #[cfg(test)]
    pub(super) fn make_coarse(&mut self) {
        self.precise = false;
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// The flags as the kernel's unsigned word.
const fn bits(flags: i32) -> u32 {
    u32::from_ne_bytes(flags.to_ne_bytes())
}

/// Whether the call itself is not there: ENOSYS says the kernel, and filters say what they like.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)
    )
}

/// Rounded up, so that no wait ends early.
fn milliseconds(timeout: Duration) -> i32 {
    let timeout = timeout.min(LONGEST);
    i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).expect("a day in ms has 27 bits")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    fn watch(selector: &mut Selector, fd: &impl AsRawFd, key: u64) -> Interest {
        selector
            .register(fd.as_raw_fd(), key, Interest::READ, None)
            .unwrap()
    }

    #[test]
    fn milliseconds_are_rounded_up() {
        for (nanoseconds, expected) in [
            (0, 0),
            (1, 1),
            (999_999, 1),
            (1_000_000, 1),
            (1_000_001, 2),
            (u64::MAX, 86_400_000),
        ] {
            assert_eq!(milliseconds(Duration::from_nanos(nanoseconds)), expected);
        }
        assert_eq!(milliseconds(Duration::MAX), 86_400_000);
    }

    #[test]
    fn no_wait_ends_early() {
        for coarse in [false, true] {
            let mut selector = Selector::bare().unwrap();
            if coarse {
                selector.make_coarse();
            }
            for timeout in [Duration::from_nanos(1), Duration::from_micros(1500)] {
                let start = Instant::now();
                // A signal may end it: that is told as no event, too.
                while start.elapsed() < timeout {
                    assert_eq!(selector.wait(Some(timeout)).unwrap(), 0);
                }
            }
        }
    }

    #[test]
    fn edges_are_reported_once_and_levels_until_they_are_gone() {
        let mut selector = Selector::bare().unwrap();
        let (a, mut b) = UnixStream::pair().unwrap();
        let waker = Waker::new().unwrap();
        assert_eq!(watch(&mut selector, &a, 7), Interest::BOTH);
        selector.watch_waker(&waker, 9).unwrap();
        assert_eq!(selector.wait(None).unwrap(), 1);
        assert_eq!(
            selector.event(0),
            Event {
                key: 7,
                readable: false,
                writable: true,
                broken: false,
                supply: 0,
                refused: None,
            }
        );
        b.write_all(b"x").unwrap();
        waker.wake();
        assert_eq!(selector.wait(None).unwrap(), 2);
        assert_eq!(selector.wait(None).unwrap(), 1);
        assert_eq!(
            selector.event(0),
            Event {
                key: 9,
                readable: true,
                writable: false,
                broken: false,
                supply: 0,
                refused: None,
            }
        );
        selector.drain(&waker);
        assert_eq!(selector.wait(Some(Duration::ZERO)).unwrap(), 0);
        drop(b);
        assert_eq!(selector.wait(None).unwrap(), 1);
        assert_eq!(
            selector.event(0),
            Event {
                key: 7,
                readable: true,
                writable: true,
                broken: true,
                supply: 0,
                refused: None,
            }
        );
        selector.deregister(a.as_raw_fd(), Interest::BOTH);
        selector.deregister(a.as_raw_fd(), Interest::BOTH);
    }

    #[test]
    fn a_second_registration_takes_the_place_of_the_first() {
        let mut selector = Selector::bare().unwrap();
        let (a, _b) = UnixStream::pair().unwrap();
        assert_eq!(watch(&mut selector, &a, 1), Interest::BOTH);
        assert_eq!(watch(&mut selector, &a, 2), Interest::BOTH);
        assert_eq!(selector.wait(None).unwrap(), 1);
        assert_eq!(selector.event(0).key, 2);
    }

    #[test]
    fn regular_files_are_refused() {
        let mut selector = Selector::bare().unwrap();
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(watch(&mut selector, &file, 0), Interest::NONE);
    }
}
