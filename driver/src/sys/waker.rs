//! What ends a driver's wait: an eventfd on Linux, a call in its kqueue on macOS and the BSDs, a
//! pipe elsewhere on Unix, a packet to its completion port on Windows.
//!
//! Its descriptor becomes readable with [`Waker::wake`] and stays so until `Waker::drain`; a kqueue
//! or a port that reports the call has drained it. Whether a wake-up is due at all is not decided
//! here, but by [`Flag`](crate::notify::Flag).
#![allow(unsafe_code, reason = "eventfd, pipe and fcntl are foreign functions")]

use std::io;
#[cfg(all(unix, any(test, not(kqueue))))]
use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
};

#[cfg(all(any(target_os = "linux", target_os = "android"), not(kqueue)))]
pub(crate) use eventfd::Waker;
#[cfg(kqueue)]
pub(crate) use kqueue::Waker;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android", kqueue))))]
pub(crate) use pipe::Waker;
#[cfg(windows)]
pub(crate) use port::Waker;

#[cfg(kqueue)]
mod kqueue {
    use crate::sys::kqueue::{Filter, Kevent, Kqueue, flags};
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::sync::Arc;

    /// A user's event of a kqueue, which is the one that the driver waits in.
    #[derive(Debug)]
    pub(crate) struct Waker {
        kqueue: Arc<Kqueue>,
        ident: usize,
    }

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            Self::of(Arc::new(Kqueue::new()?), 0)
        }

        /// Another one, for the same wait.
        pub(crate) fn beside(&self) -> io::Result<Self> {
            Self::of(self.kqueue.clone(), self.ident + 1)
        }

        fn of(kqueue: Arc<Kqueue>, ident: usize) -> io::Result<Self> {
            kqueue.change(Kevent::change(
                ident,
                Filter::User,
                flags::ADD | flags::CLEAR,
                0,
            ))?;
            Ok(Self { kqueue, ident })
        }

        /// Has the kqueue report it.
        pub(crate) fn wake(&self) {
            if let Err(error) = self.kqueue.change(Kevent::trigger(self.ident)) {
                super::misused(&error);
            }
        }

        /// Has it reported, and tells whether there was something to report.
        #[cfg(test)]
        pub(crate) fn drain(&self) -> u64 {
            let mut events = [Kevent::empty()];
            let now = Some(std::time::Duration::ZERO);
            let reported = self.kqueue.ask(&[], &mut events, now);
            reported.map_or(0, |reported| reported as u64)
        }

        pub(crate) fn kqueue(&self) -> &Arc<Kqueue> {
            &self.kqueue
        }

        pub(crate) fn ident(&self) -> usize {
            self.ident
        }
    }

    impl AsRawFd for Waker {
        fn as_raw_fd(&self) -> RawFd {
            self.kqueue.as_raw_fd()
        }
    }
}

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    any(test, not(kqueue))
))]
mod eventfd {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

    /// A non-blocking, close-on-exec [`eventfd(2)`].
    ///
    /// [`eventfd(2)`]: https://man7.org/linux/man-pages/man2/eventfd.2.html
    #[derive(Debug)]
    pub(crate) struct Waker {
        eventfd: File,
    }

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            // SAFETY: the call takes two integers and touches no memory of ours.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `eventfd` has just opened `fd`, and nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Ok(Self {
                eventfd: File::from(fd),
            })
        }

        /// Another one, for the same wait.
        #[cfg(epoll)]
        pub(crate) fn beside(&self) -> io::Result<Self> {
            Self::new()
        }

        /// Makes the descriptor readable.
        pub(crate) fn wake(&self) {
            super::write(&self.eventfd, &1_u64.to_ne_bytes());
        }

        /// Makes it unreadable, and tells how many calls of `wake` had made it readable.
        pub(crate) fn drain(&self) -> u64 {
            let mut count = [0; 8];
            match super::read(&self.eventfd, &mut count) {
                0 => 0,
                length => {
                    assert_eq!(length, count.len(), "an eventfd is read as a whole");
                    u64::from_ne_bytes(count)
                }
            }
        }
    }

    impl AsFd for Waker {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.eventfd.as_fd()
        }
    }

    impl AsRawFd for Waker {
        fn as_raw_fd(&self) -> RawFd {
            self.eventfd.as_raw_fd()
        }
    }
}

#[cfg(windows)]
mod port {
    use crate::sys::windows::port::{Port, Sender};
    use std::io;
    use std::sync::Arc;

    /// Packets of one sender to a completion port, which is the one that the driver waits for.
    #[derive(Debug)]
    pub(crate) struct Waker {
        port: Arc<Port>,
        sender: Sender,
    }

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            let port = Arc::new(Port::new()?);
            let sender = Sender::Notifier;
            Ok(Self { port, sender })
        }

        /// The workers', for the same wait.
        pub(crate) fn beside(&self) -> io::Result<Self> {
            let port = self.port.clone();
            let sender = Sender::Workers;
            Ok(Self { port, sender })
        }

        /// Sends a packet.
        pub(crate) fn wake(&self) {
            if let Err(error) = self.port.post(self.sender) {
                super::misused(&error);
            }
        }

        pub(crate) fn port(&self) -> &Arc<Port> {
            &self.port
        }

        /// Whether there is a packet within so many milliseconds.
        #[cfg(all(test, not(loom)))]
        pub(crate) fn is_readable_within(&self, milliseconds: i32) -> bool {
            self.port
                .is_signalled(u32::try_from(milliseconds).expect("a time"))
        }

        /// Takes the packets, and tells how many there were.
        #[cfg(all(test, not(loom)))]
        pub(crate) fn drain(&self) -> u64 {
            let mut room = [const { std::mem::MaybeUninit::uninit() }; 64];
            self.port
                .take(&mut room, 0)
                .expect("room for more than come") as u64
        }
    }
}

/// Compiled elsewhere for the tests.
#[cfg(all(
    unix,
    any(test, not(any(target_os = "linux", target_os = "android", kqueue)))
))]
mod pipe {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

    /// Both ends of a non-blocking, close-on-exec [`pipe(2)`]. Neither is closed before the other,
    /// so that a write never meets EPIPE or SIGPIPE.
    ///
    /// [`pipe(2)`]: https://man7.org/linux/man-pages/man2/pipe.2.html
    #[derive(Debug)]
    pub(crate) struct Waker {
        reader: File,
        writer: File,
    }

    impl Waker {
        pub(crate) fn new() -> io::Result<Self> {
            let [reader, writer] = open()?;
            Ok(Self {
                reader: File::from(reader),
                writer: File::from(writer),
            })
        }

        /// Makes the descriptor readable.
        pub(crate) fn wake(&self) {
            super::write(&self.writer, &[1]);
        }

        /// Makes it unreadable, and tells how many calls of `wake` had made it readable.
        pub(crate) fn drain(&self) -> u64 {
            let mut total = 0;
            let mut bytes = [0; 64];
            loop {
                let length = super::read(&self.reader, &mut bytes);
                total += length as u64;
                if length < bytes.len() {
                    return total;
                }
            }
        }
    }

    /// The end to wait for.
    impl AsFd for Waker {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }

    impl AsRawFd for Waker {
        fn as_raw_fd(&self) -> RawFd {
            self.reader.as_raw_fd()
        }
    }

    #[cfg(not(target_vendor = "apple"))]
    fn open() -> io::Result<[OwnedFd; 2]> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` is a local array of two integers, which is what the call writes.
        let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(own(ends))
    }

    /// Apple has no `pipe2`: a process that another thread forks between the calls, and that
    /// calls exec, inherits the pipe. The wake-ups do not suffer from it.
    #[cfg(target_vendor = "apple")]
    fn open() -> io::Result<[OwnedFd; 2]> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` is a local array of two integers, which is what the call writes.
        let result = unsafe { libc::pipe(ends.as_mut_ptr()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let ends = own(ends);
        for end in &ends {
            set(end, libc::F_SETFD, libc::FD_CLOEXEC)?;
            set(end, libc::F_SETFL, libc::O_NONBLOCK)?;
        }
        Ok(ends)
    }

    #[cfg(target_vendor = "apple")]
    fn set(fd: &OwnedFd, command: libc::c_int, flags: libc::c_int) -> io::Result<()> {
        // SAFETY: `fd` is open, and both commands that are used here take an integer.
        let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, flags) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn own(ends: [RawFd; 2]) -> [OwnedFd; 2] {
        ends.map(|fd| {
            // SAFETY: the caller has just opened `fd` as one end of a pipe, and nobody else
            // knows it.
            unsafe { OwnedFd::from_raw_fd(fd) }
        })
    }
}

/// Writes `token`, unless there is no room: then the descriptor is readable already.
#[cfg(all(unix, any(test, not(kqueue))))]
fn write(mut file: &File, token: &[u8]) {
    loop {
        match file.write(token) {
            Ok(length) => {
                assert_eq!(length, token.len(), "a token is written as a whole");
                return;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => misused(&error),
        }
    }
}

/// How many bytes were there to be read.
#[cfg(all(unix, any(test, not(kqueue))))]
fn read(mut file: &File, bytes: &mut [u8]) -> usize {
    loop {
        match file.read(bytes) {
            Ok(length) => return length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => misused(&error),
        }
    }
}

/// What remains are the errors of a descriptor that is not ours any more (EBADF, EINVAL …): some
/// other code closed the number. To go on would be a wait that nobody ends.
#[cold]
fn misused(error: &io::Error) -> ! {
    panic!("a driver's wake-up descriptor was closed by someone else: {error}")
}

#[cfg(any(sim, all(test, unix, not(loom))))]
impl Waker {
    /// Waits until the descriptor is readable; `false` after so many milliseconds, of which -1 are
    /// without end.
    pub(crate) fn is_readable_within(&self, milliseconds: i32) -> bool {
        is_readable(self, milliseconds)
    }
}

#[cfg(any(sim, all(test, unix)))]
fn is_readable(fd: &impl std::os::fd::AsRawFd, milliseconds: i32) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: `poll` is one local pollfd, as the second argument says.
        match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
            0 => return false,
            1 => return poll.revents == libc::POLLIN,
            _ => assert_eq!(io::Error::last_os_error().kind(), ErrorKind::Interrupted),
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn flags(fd: &impl AsRawFd, command: libc::c_int) -> libc::c_int {
        // SAFETY: `fd` is open, and the two commands used here take no argument.
        unsafe { libc::fcntl(fd.as_raw_fd(), command) }
    }

    /// What both kinds have to do.
    macro_rules! contract {
        ($kind:ident) => {
            mod $kind {
                use super::*;
                use crate::sys::waker::$kind::Waker;

                #[test]
                #[cfg_attr(miri, ignore = "Miri cannot poll")]
                fn is_readable_from_wake_to_drain() {
                    let waker = Waker::new().unwrap();
                    assert!(!is_readable(&waker, 0));
                    assert_eq!(waker.drain(), 0);
                    for wakes in [1, 2, 63, 64, 65, 200] {
                        for _ in 0..wakes {
                            waker.wake();
                        }
                        assert!(is_readable(&waker, 0));
                        assert_eq!(waker.drain(), wakes);
                        assert!(!is_readable(&waker, 0));
                    }
                }

                #[test]
                #[cfg_attr(miri, ignore = "Miri knows no flags of an eventfd")]
                fn does_not_block_and_is_closed_on_exec() {
                    let waker = Waker::new().unwrap();
                    assert_ne!(flags(&waker, libc::F_GETFL) & libc::O_NONBLOCK, 0);
                    assert_ne!(flags(&waker, libc::F_GETFD) & libc::FD_CLOEXEC, 0);
                }
            }
        };
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    contract!(eventfd);
    contract!(pipe);

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot poll")]
    fn a_full_eventfd_stays_readable() {
        use std::os::fd::AsFd;

        let waker = crate::sys::waker::eventfd::Waker::new().unwrap();
        let mut eventfd = File::from(waker.as_fd().try_clone_to_owned().unwrap());
        assert_eq!(eventfd.write(&(u64::MAX - 1).to_ne_bytes()).unwrap(), 8);
        waker.wake();
        assert!(is_readable(&waker, 0));
        assert_eq!(waker.drain(), u64::MAX - 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot poll")]
    fn a_full_pipe_stays_readable() {
        let waker = crate::sys::waker::pipe::Waker::new().unwrap();
        for _ in 0..100_000 {
            waker.wake();
        }
        assert!(is_readable(&waker, 0));
        assert!((4096..100_000).contains(&waker.drain()));
        assert!(!is_readable(&waker, 0));
        waker.wake();
        assert!(is_readable(&waker, 0));
    }
}
