//! Sockets, files and descriptors for the tests. What only one kind of systems has stands in a file
//! of its own, and what both need has the same names there.

#[cfg(unix)]
#[path = "kit/unix.rs"]
mod unix;
#[cfg(windows)]
#[path = "kit/windows.rs"]
mod windows;

#[cfg(unix)]
pub(crate) use self::unix::*;
#[cfg(windows)]
pub(crate) use self::windows::*;

use completeio_driver::driver::{AsRawFd, BorrowedFd, Entry, OwnedFd, RawFd};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A descriptor that the test keeps open as long as it is used, without its lifetime.
pub(crate) fn plain(fd: &impl AsRawFd) -> BorrowedFd<'static> {
    number(fd.as_raw_fd())
}

/// A number for a descriptor, open or not.
pub(crate) fn number(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: only its number is used.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener();
    let client = TcpStream::connect(addr).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A name that no other test or process uses.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "contract-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A path of a test's own; what is there is removed in the end.
pub(crate) struct TempPath(PathBuf);

impl TempPath {
    pub(crate) fn new() -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique()))
    }

    pub(crate) fn c_string(&self) -> std::ffi::CString {
        std::ffi::CString::new(self.0.to_str().unwrap()).unwrap()
    }
}

impl std::ops::Deref for TempPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

/// A file without a name that holds these bytes.
pub(crate) fn file(bytes: &[u8]) -> File {
    let path = TempPath::new();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&*path)
        .unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The user data of entries, in their order.
pub(crate) fn names(entries: &[Entry]) -> Vec<usize> {
    entries.iter().map(Entry::user_data).collect()
}

/// The error numbers of entries, in their order; 0 for none.
pub(crate) fn errnos(entries: &[Entry]) -> Vec<i32> {
    entries.iter().map(errno).collect()
}

/// What takes all and gives nothing.
pub(crate) fn null() -> OwnedFd {
    let path = NULL.to_str().unwrap();
    let null = File::options().read(true).write(true).open(path);
    null.unwrap().into()
}

pub(crate) fn owned(fd: impl Into<OwnedFd>) -> OwnedFd {
    fd.into()
}

/// The kind of an error that is told by no cancellation's number: that is of the kind `TimedOut` on
/// Windows.
#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    let error = result.unwrap_err();
    assert_ne!(error.raw_os_error(), Some(code::ECANCELED));
    error.kind()
}

/// The error number of an entry; 0 for none.
pub(crate) fn errno(entry: &Entry) -> i32 {
    entry.raw_os_error().unwrap_or(0)
}

/// What [`silent_panic`] unwinds with.
struct Silent;

/// Panics without a message on the terminal.
pub(crate) fn silent_panic() -> ! {
    panic::resume_unwind(Box::new(Silent))
}

/// What `f` gives; nothing if it ended by [`silent_panic`].
pub(crate) fn unless_silent<T>(f: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(panic::AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) if payload.is::<Silent>() => None,
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Runs what ends by [`silent_panic`].
#[track_caller]
pub(crate) fn quietly(f: impl FnOnce()) {
    assert!(unless_silent(f).is_none(), "it was to panic");
}

/// Makes what is lost on purpose: leak checkers look away from this function, by its name.
#[inline(never)]
pub(crate) fn leaking<T>(make: impl FnOnce() -> T) -> T {
    make()
}

/// Says what was not tested. Not `eprintln!`, which the test harness would swallow.
pub(crate) fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// How many times [`goes_on`] was called.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Tells the watchdog that something has completed: who is slow is not taken for hung.
pub(crate) fn goes_on() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// Ends the process when a test hangs: nothing has completed for so long, or things complete
/// without end.
pub(crate) struct Watchdog {
    bell: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn new(name: &'static str, patience: Duration) -> Self {
        let (bell, silence) = mpsc::channel();
        let thread = thread::spawn(move || {
            for _ in 0..10 {
                let before = STEPS.load(Ordering::Relaxed);
                if silence.recv_timeout(patience) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                if STEPS.load(Ordering::Relaxed) == before {
                    break;
                }
            }
            let _ = writeln!(io::stderr(), "{name} hangs: aborting");
            std::process::abort();
        });
        Self {
            bell: Some(bell),
            thread: Some(thread),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.bell.take();
        let _ = self.thread.take().unwrap().join();
    }
}
