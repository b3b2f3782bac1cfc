//! Signals of the system to this process: `SIGINT` of control-C, `SIGTERM`, `SIGHUP` and others.
//!
//! Each listener has a pair of sockets. The handler, which `signal-hook` installs, sends a byte into one
//! of them, and the listener's runtime receives it from the other: so any number of listeners, on any
//! threads and runtimes, are told each by itself, and nothing but that one system call is made
//! inside the handler.
//!
//! **The first listener ends what the signal does by itself** (of control-C, to end the process), for as
//! long as the process runs, whether or not anybody listens later.

use crate::driver::OwnedFd;
use crate::fd::SharedFd;
use crate::op::Recv;
use crate::task::{Pending, submit};
use signal_hook::SigId;
use signal_hook::consts as number;
use signal_hook::low_level::{pipe, unregister};
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

/// Which signal.
///
/// ```
/// use completeio::signal::SignalKind;
/// assert_eq!(SignalKind::from_raw(2), SignalKind::interrupt());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalKind(i32);

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub const fn $kind() -> Self {
            Self(number::$number)
        }
    )*};
}

impl SignalKind {
    kinds! {
        /// `SIGINT`: control-C at the terminal.
        interrupt = SIGINT;
        /// `SIGTERM`: the process is asked to end.
        terminate = SIGTERM;
        /// `SIGHUP`: the terminal is gone; by custom, the configuration is to be read again.
        hangup = SIGHUP;
        /// `SIGQUIT`: control-\ at the terminal.
        quit = SIGQUIT;
        /// `SIGCHLD`: a child process has ended or stopped.
        child = SIGCHLD;
        /// `SIGALRM`.
        alarm = SIGALRM;
        /// `SIGPIPE`: a write to what nobody reads. Programs of Rust ignore it until somebody listens.
        pipe = SIGPIPE;
        /// `SIGUSR1`.
        user_defined1 = SIGUSR1;
        /// `SIGUSR2`.
        user_defined2 = SIGUSR2;
        /// `SIGWINCH`: the terminal has another size.
        window_change = SIGWINCH;
    }

    /// By the system's number.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The system's number.
    #[must_use]
    pub const fn as_raw_value(self) -> i32 {
        self.0
    }
}

/// Waits for the next control-C, from its first poll on. Between two of these some may be missed: who
/// wants all of them keeps a [`signal`].
///
/// # Errors
/// As [`signal`] and [`Signal::recv`].
///
/// # Panics
/// Outside of a runtime.
pub async fn ctrl_c() -> io::Result<()> {
    signal(SignalKind::interrupt())?.recv().await
}

/// Listens to a signal from now on.
///
/// ```
/// use completeio::signal::{SignalKind, signal};
/// use completeio::{process::Command, task::block_on};
///
/// block_on(async {
///     let mut hangup = signal(SignalKind::hangup())?;
///     let myself = std::process::id().to_string();
///     Command::new("kill").args(["-HUP", &myself]).status().await?;
///     hangup.recv().await
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for those that cannot be listened to: `SIGKILL`,
/// `SIGSTOP`, and those of the program's own faults (`SIGSEGV`, `SIGILL`, `SIGFPE`), and for what is no
/// signal. As [socketpair(2)](https://man7.org/linux/man-pages/man2/socketpair.2.html) and
/// [`attach`](crate::driver::CompleteIo::attach).
///
/// # Panics
/// Outside of a runtime.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    if number::FORBIDDEN.contains(&kind.0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (reader, writer) = UnixStream::pair()?;
    let fd = SharedFd::new(reader)?;
    let id = pipe::register(kind.0, writer)?;
    Ok(Signal { fd, id, next: None })
}

/// So many signals are taken by one receive.
const AT_ONCE: usize = 64;

/// Listens to a signal: see [`signal`].
///
/// Of what arrives between two calls of [`recv`](Self::recv) nothing is lost, but several may become one,
/// as they do in the kernel. It belongs to the runtime in which it was made.
#[derive(Debug)]
pub struct Signal {
    fd: SharedFd,
    id: SigId,
    /// It goes on when the future that waits for it is dropped.
    next: Option<Pending<Recv<Rc<OwnedFd>, [u8; AT_ONCE]>>>,
}

impl Signal {
    /// Waits for the signal: since the last call, or from now on. Nothing is lost if it is dropped.
    ///
    /// # Errors
    /// None that a program could cause.
    ///
    /// # Panics
    /// Outside of the runtime in which it was made.
    pub async fn recv(&mut self) -> io::Result<()> {
        let receive = || submit(Recv::new(self.fd.hold(), [0; AT_ONCE]));
        let received = self.next.get_or_insert_with(receive).await;
        self.next = None;
        received.0.map(drop)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        unregister(self.id);
    }
}
