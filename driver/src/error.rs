//! The typed errors: of a set-up, of a full queue, of an argument.

use crate::builder::Backend;
use crate::sys::errno;
use std::error::Error;
use std::fmt;
use std::io;

/// A queue was full: nothing was done, and what was to be queued is handed back. So is everything
/// while the driver winds down ([`quiesce`](crate::driver::Driver::quiesce)), and in a forked
/// child.
///
/// See [`try_push`](crate::driver::CompleteIo::try_push) for a running example.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Full<T>(T);

impl<T> Full<T> {
    pub(crate) fn new(returned: T) -> Self {
        Self(returned)
    }

    /// What was not accepted.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not accepted: the queue is full (submit, take entries out, and push again), or every \
             slot is taken (redeem keys, or ask the builder for more `slots`), the driver is winding \
             down, or this is a forked child",
        )
    }
}

/// Whatever was handed back.
impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Full").finish_non_exhaustive()
    }
}

impl<T> Error for Full<T> {}

/// Why the driver refused an operation that it had accepted: an argument that no type excludes.
///
/// The operation completes with one entry that says so; the kernel never sees it.
///
/// ```
/// use completeio_driver::driver::{CompleteIo, Cwd, Driver, Entry, Refusal};
/// use completeio_driver::op::ReadAt;
///
/// let mut op = ReadAt::new(Cwd, u64::MAX, [0; 16]);
/// let mut driver = Driver::new()?;
/// driver.try_push(&mut op, 0).unwrap();
/// let mut entry: Option<Entry> = None;
/// // SAFETY: `op` outlives the driver and is not touched while it has it.
/// unsafe { driver.submit(None, &mut entry)? };
/// assert_eq!(entry.unwrap().refusal(), Some(Refusal::Offset));
/// # Ok::<(), std::io::Error>(())
/// ```
// The discriminants are results below every errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(i32)]
pub enum Refusal {
    /// An offset or a length in a file lies above `i64::MAX`.
    Offset = i32::MIN,
    /// The user data needs more than 61 bits: the driver needs three of the kernel's 64.
    UserData,
    /// This operation takes no fixed descriptor here.
    FixedDescriptor,
    /// The kernel, or this backend, has no such operation.
    Unsupported,
    /// A flag that this operation does not take: one that would make the result claim more bytes
    /// than were written, or name descriptors that nobody finds, or that leaves the bytes with the
    /// kernel after the completion, or asks for a ring of another kind. The operation says which.
    Flags,
    /// A `Close` that was pushed before: its descriptor is gone.
    Closed,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Offset,
        Self::UserData,
        Self::FixedDescriptor,
        Self::Unsupported,
        Self::Flags,
        Self::Closed,
    ];

    pub(crate) const fn code(self) -> i32 {
        self as i32
    }

    #[inline]
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// The kind of [`io::Error`] that stands for it.
    pub fn kind(self) -> io::ErrorKind {
        match self {
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::Offset | Self::UserData | Self::FixedDescriptor | Self::Flags | Self::Closed => {
                io::ErrorKind::InvalidInput
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offset => "offsets and lengths in files go up to i64::MAX",
            Self::UserData => "user data has 61 bits",
            Self::FixedDescriptor => "this operation takes a plain descriptor, not a fixed one",
            Self::Unsupported => "the kernel or this backend has no such operation",
            Self::Flags => "the operation takes no such flag: its documentation says which",
            Self::Closed => "this close was pushed before: its descriptor is gone",
        })
    }
}

impl Error for Refusal {}

/// Why a descriptor could not be attached: inside of an [`io::Error`] of the kind
/// [`ResourceBusy`](io::ErrorKind::ResourceBusy).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachError {
    /// Windows attaches a handle to one completion port, until the file that it names is closed: it
    /// has another driver's, or another library's.
    Elsewhere,
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elsewhere => {
                "the handle is attached elsewhere, and Windows attaches one once: open the file again"
            }
        })
    }
}

impl Error for AttachError {}

impl From<AttachError> for io::Error {
    fn from(error: AttachError) -> Self {
        Self::new(io::ErrorKind::ResourceBusy, error)
    }
}

/// Why a driver could not be made, and what to do about it.
///
/// ```
/// use completeio_driver::driver::{Driver, SetupError};
///
/// match Driver::builder().in_flight(0).build() {
///     Err(SetupError::Limit { option, min, .. }) => assert_eq!((option, min), ("in_flight", 1)),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// An option of the builder lies outside its range.
    Limit {
        /// The builder's method.
        option: &'static str,
        /// What was asked for.
        value: usize,
        /// The smallest value allowed.
        min: usize,
        /// The largest value allowed.
        max: usize,
    },
    /// `COMPLETEIO_BACKEND`, or a name that was parsed, names no backend.
    UnknownBackend(String),
    /// This build has no backend for this platform, or not the one that was asked for.
    NotCompiled(Option<Backend>),
    /// A simulated driver stands on a host of a simulated world, which alone makes it.
    #[cfg(sim)]
    #[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
    Simulated,
    /// The kernel has no io_uring (ENOSYS), or one older than Linux 6.1.
    KernelTooOld(io::Error),
    /// `kernel.io_uring_disabled` forbids io_uring to this process.
    DisabledBySysctl(io::Error),
    /// A seccomp filter, as container runtimes install by default, forbids io_uring.
    DeniedBySeccomp(io::Error),
    /// The limit of locked memory (`ulimit -l`) is too low for the rings.
    LockedMemory(io::Error),
    /// The limit of open files (`ulimit -n`) is reached.
    OpenFiles(io::Error),
    /// A system call of the set-up failed.
    Os {
        /// The call.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl SetupError {
    /// A call of the set-up failed, for a reason that any call may have.
    pub(crate) fn os(call: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno::EMFILE | errno::ENFILE) => Self::OpenFiles(source),
            _ => Self::Os { call, source },
        }
    }

    /// Whether the environment forbids this backend, so that another one may work.
    pub fn is_restricted(&self) -> bool {
        matches!(
            self,
            Self::KernelTooOld(_)
                | Self::DisabledBySysctl(_)
                | Self::DeniedBySeccomp(_)
                | Self::LockedMemory(_)
        )
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit {
                option,
                value,
                min,
                max,
            } => {
                write!(
                    f,
                    "`{option}` is {value}; it must lie between {min} and {max}"
                )
            }
            Self::UnknownBackend(name) => write!(
                f,
                "there is no backend `{name}`: COMPLETEIO_BACKEND must be `io_uring`, \
                 `readiness`, `iocp`, or not set at all"
            ),
            Self::NotCompiled(Some(backend)) => write!(
                f,
                "the backend `{backend}` is not in this build: enable its cargo feature, \
                 on a platform that has it"
            ),
            Self::NotCompiled(None) => f.write_str(
                "this build has no backend: enable the cargo feature `io-uring` or `readiness`, \
                 on a platform that has one",
            ),
            #[cfg(sim)]
            Self::Simulated => {
                f.write_str("a simulated driver is made by the method `driver` of a `sim::Host`")
            }
            Self::KernelTooOld(e) => {
                write!(
                    f,
                    "io_uring needs Linux 6.1 ({e}); the readiness backend runs without"
                )
            }
            Self::DisabledBySysctl(e) => write!(
                f,
                "io_uring is forbidden by sysctl kernel.io_uring_disabled ({e}): set it to 0, or \
                 to 1 with this process in kernel.io_uring_group, or use the readiness backend"
            ),
            Self::DeniedBySeccomp(e) => write!(
                f,
                "io_uring is forbidden by a seccomp filter ({e}): allow io_uring_setup, \
                 io_uring_enter and io_uring_register in the container's profile, or use the \
                 readiness backend"
            ),
            Self::LockedMemory(e) => write!(
                f,
                "the rings need more locked memory than allowed ({e}): raise `ulimit -l`, ask for \
                 fewer entries, or use the readiness backend"
            ),
            Self::OpenFiles(e) => {
                write!(
                    f,
                    "the limit of open files is reached ({e}): raise `ulimit -n`, or ask for fewer `file_slots`"
                )
            }
            Self::Os { call, source } => write!(f, "{call} failed: {source}"),
        }
    }
}

impl Error for SetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::KernelTooOld(e)
            | Self::DisabledBySysctl(e)
            | Self::DeniedBySeccomp(e)
            | Self::LockedMemory(e)
            | Self::OpenFiles(e)
            | Self::Os { source: e, .. } => Some(e),
            #[cfg(sim)]
            Self::Simulated => None,
            Self::Limit { .. } | Self::UnknownBackend(_) | Self::NotCompiled(_) => None,
        }
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        let kind = match &error {
            SetupError::Limit { .. } | SetupError::UnknownBackend(_) => io::ErrorKind::InvalidInput,
            #[cfg(sim)]
            SetupError::Simulated => io::ErrorKind::InvalidInput,
            SetupError::NotCompiled(_) | SetupError::KernelTooOld(_) => io::ErrorKind::Unsupported,
            SetupError::DisabledBySysctl(_) | SetupError::DeniedBySeccomp(_) => {
                io::ErrorKind::PermissionDenied
            }
            SetupError::LockedMemory(e)
            | SetupError::OpenFiles(e)
            | SetupError::Os { source: e, .. } => e.kind(),
        };
        Self::new(kind, error)
    }
}
