//! Signals of the system to this process: `SIGINT` of control-C, `SIGTERM`, `SIGHUP` and others.
//!
//! **Windows** has one of them, `SIGINT`: control-C or control-break at the console. That the
//! console is closed looks the same, and ends the process soon. A thread tells all listeners; the
//! others are never told, for to listen to anything else is an error.
//!
//! On Unix each listener has a pair of sockets. The handler, which `signal-hook` installs, sends a
//! byte into one of them, and the listener's runtime receives it from the other: so any number of
//! listeners, on any threads and runtimes, are told each by itself, and nothing but that one system
//! call is made inside the handler.
//!
//! **The first listener ends what the signal does by itself** (of control-C, to end the process),
//! for as long as the process runs, whether or not anybody listens later.

#[cfg(unix)]
#[path = "signal/unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "signal/windows.rs"]
mod sys;

use self::sys::{Listener, number};
use std::io;

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
        /// `SIGPIPE`: a write to what nobody reads. Programs of Rust ignore it until somebody
        /// listens.
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

/// Waits for the next control-C, from its first poll on. Between two of these some may be missed:
/// who wants all of them keeps a [`signal`].
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
/// `SIGSTOP`, and those of the program's own faults (`SIGSEGV`, `SIGILL`, `SIGFPE`), and for what
/// is no signal; on Windows, for all but [`interrupt`](SignalKind::interrupt), and an error if
/// somebody else uses the `ctrlc` crate. As
/// [socketpair(2)](https://man7.org/linux/man-pages/man2/socketpair.2.html) and
/// [`attach`](crate::driver::CompleteIo::attach).
///
/// # Panics
/// Outside of a runtime.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    Listener::new(kind.0).map(Signal)
}

/// Listens to a signal: see [`signal`].
///
/// Of what arrives between two calls of [`recv`](Self::recv) nothing is lost, but several may
/// become one, as they do in the kernel. It belongs to the runtime in which it was made.
#[derive(Debug)]
pub struct Signal(Listener);

impl Signal {
    /// Waits for the signal: since the last call, or from now on. Nothing is lost if it is dropped.
    ///
    /// # Errors
    /// None that a program could cause.
    ///
    /// # Panics
    /// Outside of the runtime in which it was made.
    pub async fn recv(&mut self) -> io::Result<()> {
        self.0.recv().await
    }
}
