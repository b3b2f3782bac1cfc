//! Every limit and option, validated once, and the report of what came of them.

use crate::driver::Driver;
use crate::error::SetupError;
use std::env;
use std::fmt;
use std::str::FromStr;

/// The backends a driver can stand on.
///
/// ```
/// use completeio_driver::driver::Backend;
/// assert_eq!("readiness".parse::<Backend>()?, Backend::Readiness);
/// # Ok::<(), completeio_driver::driver::SetupError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Linux io_uring, 6.1 and newer.
    IoUring,
    /// Readiness events (epoll, kqueue), worker threads for files, timers of our own.
    Readiness,
    /// Completion ports of Windows, worker threads for what they do not take, timers of our own.
    Iocp,
    /// A simulated system: [`sim`](crate::sim) makes drivers on it, and nothing else does.
    #[cfg(sim)]
    #[cfg_attr(docsrs, doc(cfg(feature = "sim")))]
    Sim,
}

impl Backend {
    const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Readiness => "readiness",
            Self::Iocp => "iocp",
            #[cfg(sim)]
            Self::Sim => "sim",
        }
    }
}

impl FromStr for Backend {
    type Err = SetupError;

    fn from_str(name: &str) -> Result<Self, SetupError> {
        if name == "io-uring" {
            return Ok(Self::IoUring); // As the cargo feature has it.
        }
        let known = [Self::IoUring, Self::Readiness, Self::Iocp]
            .into_iter()
            .find(|known| name == known.name());
        known.ok_or_else(|| SetupError::UnknownBackend(name.to_owned()))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a backend was chosen.
///
/// ```
/// use completeio_driver::driver::{Choice, Driver};
/// if let Choice::Fallback(reason) = &Driver::new()?.capabilities().choice {
///     eprintln!("{reason}");
/// }
/// # Ok::<(), completeio_driver::driver::SetupError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Choice {
    /// It is the first of this platform, and it works.
    Default,
    /// [`Builder::backend`] asked for it.
    Builder,
    /// `COMPLETEIO_BACKEND` asked for it.
    Environment,
    /// The first of this platform is forbidden here, for this reason.
    Fallback(SetupError),
}

/// How an operation is done.
///
/// ```
/// use completeio_driver::driver::{Driver, Support};
/// let driver = Driver::new()?;
/// let operations = &driver.capabilities().operations;
/// assert!(operations.iter().any(|(name, how)| *name == "Recv" && *how != Support::Missing));
/// # Ok::<(), completeio_driver::driver::SetupError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// The kernel has an operation for it.
    Native,
    /// A call that does not block, tried first and then when the descriptor is ready.
    Ready,
    /// A call in place: it never blocks.
    Inline,
    /// A call on a worker thread.
    Worker,
    /// Not there: it completes with [`Refusal::Unsupported`](crate::driver::Refusal::Unsupported).
    Missing,
}

/// What a driver stands on: printed by `cargo run --example doctor`.
///
/// ```
/// let driver = completeio_driver::driver::Driver::new()?;
/// println!("{}", driver.capabilities());
/// # Ok::<(), completeio_driver::driver::SetupError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend.
    pub backend: Backend,
    /// Why this one.
    pub choice: Choice,
    /// What the kernel granted: sizes and flags, by name.
    pub granted: Vec<(&'static str, String)>,
    /// Each operation and how it is done.
    pub operations: Vec<(&'static str, Support)>,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match &self.choice {
            Choice::Default => "the first choice of this platform".to_owned(),
            Choice::Builder => "asked for by the builder".to_owned(),
            Choice::Environment => "asked for by COMPLETEIO_BACKEND".to_owned(),
            Choice::Fallback(error) => format!("the first choice is not to be had: {error}"),
        };
        writeln!(f, "backend: {} ({why})", self.backend)?;
        for (name, value) in &self.granted {
            writeln!(f, "  {name}: {value}")?;
        }
        writeln!(f, "operations:")?;
        for (name, support) in &self.operations {
            writeln!(f, "  {name}: {}", format!("{support:?}").to_lowercase())?;
        }
        Ok(())
    }
}

/// The limits of a driver. Everything is allocated when it is built, and nothing grows after.
///
/// ```
/// use completeio_driver::driver::{Backend, Driver};
///
/// let driver = Driver::builder().entries(64).in_flight(256).file_slots(16).build()?;
/// assert_eq!(driver.in_flight(), 0);
///
/// let error = Driver::builder().entries(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "`entries` is 0; it must lie between 1 and 16384");
/// # Ok::<(), completeio_driver::driver::SetupError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    entries: usize,
    completion_entries: Option<usize>,
    in_flight: Option<usize>,
    cancels: usize,
    file_slots: Option<usize>,
    descriptors: Option<usize>,
    workers: usize,
    slots: usize,
    backend: Option<Backend>,
}

/// The same, validated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) entries: u32,
    #[cfg_attr(
        not(io_uring),
        expect(dead_code, reason = "a limit of the io_uring backend")
    )]
    pub(crate) completion_entries: u32,
    pub(crate) in_flight: u32,
    #[cfg_attr(
        not(any(io_uring, sim)),
        expect(dead_code, reason = "a limit of the io_uring backend")
    )]
    pub(crate) cancels: u32,
    pub(crate) file_slots: u32,
    #[cfg_attr(
        not(any(readiness, iocp)),
        expect(dead_code, reason = "a limit of the other backends")
    )]
    pub(crate) descriptors: usize,
    #[cfg_attr(
        not(any(readiness, iocp)),
        expect(dead_code, reason = "a limit of the other backends")
    )]
    pub(crate) workers: usize,
    pub(crate) slots: u32,
}

const ENTRIES_MAX: usize = 1 << 14;
pub(crate) const SLOTS_MAX: usize = 1 << 20;
const COMPLETION_ENTRIES_MAX: usize = 1 << 16;
const IN_FLIGHT_MAX: usize = 1 << 20;

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            entries: 1024,
            completion_entries: None,
            in_flight: None,
            cancels: 64,
            file_slots: None,
            descriptors: None,
            workers: 2,
            slots: 1024,
            backend: None,
        }
    }

    /// Operations that may be pushed before a submit: 1 to 16,384; 1,024 unless said otherwise.
    ///
    /// io_uring keeps a second place for each, for its [`Deadline`](crate::op::Deadline): of the
    /// largest number it grants some fewer, for the kernel's queue has 32,768.
    pub fn entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// Places in the completion queue: up to 65,536, at least as many as `entries`; four times
    /// `entries` unless said otherwise. With places for the driver's own entries added, the kernel
    /// rounds up to a power of two.
    pub fn completion_entries(mut self, entries: usize) -> Self {
        self.completion_entries = Some(entries);
        self
    }

    /// Operations in flight, from push to last entry: 1 to 1,048,576. Unless said otherwise, what
    /// the completion queue holds, so that it cannot overflow; with more, the kernel keeps the
    /// overflow in memory of its own.
    pub fn in_flight(mut self, operations: usize) -> Self {
        self.in_flight = Some(operations);
        self
    }

    /// Cancellations that may be asked for between two submits of io_uring: 1 to 4,096; 64 unless
    /// said otherwise. Their places are reserved beside `entries`. readiness needs none.
    pub fn cancels(mut self, cancels: usize) -> Self {
        self.cancels = cancels;
        self
    }

    /// Size of the table of registered descriptors: 0 to 1,048,576; 64 unless said otherwise. The
    /// kernel grants no more than the process's limit of open files.
    pub fn file_slots(mut self, slots: usize) -> Self {
        self.file_slots = Some(slots);
        self
    }

    /// One more than the highest descriptor that the readiness backend attaches: 1 to 1,048,576;
    /// the process's limit of open files, at most 65,536, unless said otherwise. io_uring needs no
    /// table.
    pub fn descriptors(mut self, descriptors: usize) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// Threads that do what can block on a file in the readiness backend: 0 to 256; 2 unless said
    /// otherwise. With 0 such calls are made in place, inside `submit`.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = threads;
        self
    }

    /// Operations that the driver itself owns at a time, orphans included: 0 to 1,048,576; 1,024
    /// unless said otherwise. Each takes [`SLOT_SIZE`](crate::slots::SLOT_SIZE) bytes and about 100
    /// more. See [`slots`](crate::slots).
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// This backend and no other. Without it, `COMPLETEIO_BACKEND` (`io_uring`, `readiness` or
    /// `iocp`; empty is as not set) is asked; and then io_uring is taken, or readiness where
    /// io_uring is too old, forbidden, or short of locked memory. Any other failure is an error.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Makes the driver: allocates everything, sets up the kernel's side, starts the workers.
    ///
    /// # Errors
    /// A limit outside its range, a backend that this build or this system does not have, a
    /// resource limit, each with what to do about it; any other failure of a system call, by name.
    pub fn build<'arena>(self) -> Result<Driver<'arena>, SetupError> {
        let limits = self.limits()?;
        if let Some(backend) = self.backend {
            return Driver::with(&limits, &[backend], Choice::Builder);
        }
        match backend_of_environment()? {
            Some(backend) => Driver::with(&limits, &[backend], Choice::Environment),
            None => Driver::with(&limits, crate::sys::BACKENDS, Choice::Default),
        }
    }

    pub(crate) fn limits(&self) -> Result<Limits, SetupError> {
        let entries = limit("entries", self.entries, 1, ENTRIES_MAX)?;
        let cancels = limit("cancels", self.cancels, 1, 4096)?;
        let completion_entries = match self.completion_entries {
            Some(n) => limit(
                "completion_entries",
                n,
                self.entries,
                COMPLETION_ENTRIES_MAX,
            )?,
            None => (entries * 4).min(1 << 16),
        };
        let in_flight = match self.in_flight {
            Some(n) => limit("in_flight", n, 1, IN_FLIGHT_MAX)?,
            None => completion_entries,
        };
        let file_slots = self
            .file_slots
            .unwrap_or_else(|| crate::sys::open_files_max().min(64));
        let file_slots = limit("file_slots", file_slots, 0, 1 << 20)?;
        let descriptors = match self.descriptors {
            Some(n) => limit("descriptors", n, 1, 1 << 20)? as usize,
            None => crate::sys::open_files_max().min(1 << 16),
        };
        let workers = limit("workers", self.workers, 0, 256)? as usize;
        let slots = limit("slots", self.slots, 0, SLOTS_MAX)?;
        Ok(Limits {
            entries,
            completion_entries,
            in_flight,
            cancels,
            file_slots,
            descriptors,
            workers,
            slots,
        })
    }
}

fn limit(option: &'static str, value: usize, min: usize, max: usize) -> Result<u32, SetupError> {
    let fits = (min..=max).contains(&value);
    match u32::try_from(value) {
        Ok(value) if fits => Ok(value),
        _ => Err(SetupError::Limit {
            option,
            value,
            min,
            max,
        }),
    }
}

/// The environment's choice; a process with raised privileges does not listen to it.
fn backend_of_environment() -> Result<Option<Backend>, SetupError> {
    if crate::sys::is_privileged() {
        return Ok(None);
    }
    match env::var_os("COMPLETEIO_BACKEND") {
        None => Ok(None),
        Some(name) if name.is_empty() => Ok(None),
        Some(name) => name.to_string_lossy().parse().map(Some),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_checked() {
        let wrong: [(&str, Builder); 10] = [
            ("entries", Builder::new().entries(0)),
            ("entries", Builder::new().entries(ENTRIES_MAX + 1)),
            (
                "completion_entries",
                Builder::new().entries(8).completion_entries(7),
            ),
            (
                "completion_entries",
                Builder::new().completion_entries(usize::MAX),
            ),
            ("in_flight", Builder::new().in_flight(0)),
            ("cancels", Builder::new().cancels(0)),
            ("file_slots", Builder::new().file_slots(1 << 21)),
            ("descriptors", Builder::new().descriptors(0)),
            ("workers", Builder::new().workers(257)),
            ("slots", Builder::new().slots(1 << 21)),
        ];
        for (name, builder) in wrong {
            match builder.build() {
                Err(SetupError::Limit { option, .. }) => assert_eq!(option, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn names_are_those_of_the_environment() {
        for backend in [Backend::IoUring, Backend::Readiness, Backend::Iocp] {
            assert_eq!(backend.to_string().parse::<Backend>().unwrap(), backend);
        }
        let error = "sim".parse::<Backend>().unwrap_err().to_string();
        assert!(error.contains("`sim`"), "{error}");
    }
}
