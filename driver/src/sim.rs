//! A simulated system to run drivers on: virtual time, a seed, and everything that can go wrong.
//!
//! A [`World`] has [`Host`]s; each has a disk and addresses in the world's network.
//! [`Host::driver`] makes a [`Driver`] on one, and that runs unchanged whatever gets its
//! descriptors from operations: files from [`OpenAt`](crate::op::OpenAt), sockets from
//! [`Socket`](crate::op::Socket), connections from [`Accept`](crate::op::Accept). A descriptor of
//! the real system is refused.
//!
//! * **Time** is the world's: [`Instant::now`] and all clocks of this crate show it, on the world's
//!   thread, and it moves only when a wait has nothing else to do: an hour passes at once.
//! * **One seed gives one run**, bit for bit: everything is drawn from it, and nothing else enters,
//!   as long as the program asks nothing else of the real system and no other thread for anything.
//! * **[`Faults`]** say what may happen, and how often: operations that complete late, partly, in
//!   any order, or in spite of their cancellation; errors of disks; packets that are slow or lost;
//!   and at a [`crash`](Host::crash), what was not synced is lost in part.
//!
//! [`check`] runs a program on many seeds, and for one that fails tells the seed, the fewest faults
//! that make it fail, and the trace of that run. The example `crashes` has a key-value store that
//! loses data at a crash, and finds when.
//!
//! ```
//! use completeio_driver::driver::{CompleteIo, Driver, Entry};
//! use completeio_driver::op::Timeout;
//! use completeio_driver::sim::{Faults, World};
//! use std::time::Duration;
//!
//! let world = World::new(7, Faults::default());
//! let mut op = Timeout::after(Duration::from_secs(3600));
//! let mut driver = world.host("a").driver(Driver::builder())?;
//! driver.try_push(&mut op, 0).unwrap();
//! let mut entry: Option<Entry> = None;
//! let start = world.now();
//! // SAFETY: `op` outlives the driver and is not touched while it has it.
//! unsafe { driver.submit(None, &mut entry)? };
//! assert_eq!(world.now() - start, Duration::from_secs(3600));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is simulated
//! Every operation but [`Raw`](crate::op::Raw), which is refused, and those that the driver's
//! [capabilities](Driver::capabilities) report as missing. What differs from Linux is said at
//! [`World::host`] and [`Faults`]; beside that:
//! * A descriptor is known by its number. A duplicate
//!   ([`try_clone`](std::os::fd::OwnedFd::try_clone)) is no descriptor of the host's, and keeps
//!   what it was made of from being closed.
//! * Control data is refused (`EOPNOTSUPP`), and so are pipes of packets (`EINVAL`).
//!
//! A driver of the real system has no place on a world's thread: its timed waits would go by the
//! world's time.

use crate::address::Address;
use crate::builder::{Backend, Builder, Choice};
use crate::clock::Instant;
use crate::driver::{Driver, SetupError};
use crate::engine::Engine;
use crate::local::Core;
use crate::sys;
use crate::sys::sim::Links;
use crate::sys::sim::world::{self, HostId};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::Duration;

/// A simulated system: see the [module](self).
///
/// A thread is in one world at a time; it stays in it until the last driver, host and handle of it
/// is gone.
#[derive(Debug, Clone)]
pub struct World {
    inner: Rc<world::World>,
}

/// A machine in a world.
#[derive(Debug, Clone)]
pub struct Host {
    world: Rc<world::World>,
    id: HostId,
}

impl World {
    /// A world without hosts.
    ///
    /// # Panics
    /// When this thread is in a world.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let world = world::World::new(seed, faults);
        Self {
            inner: world.expect("a thread is in one world at a time"),
        }
    }

    /// A new host, whose addresses are the next of 10.0.0.0/8 and of fd00::/8. `name` is for the
    /// trace.
    ///
    /// Its disk is empty. Its programs run as one user, who may do everything: no permission is
    /// checked. It has no child processes, no terminals and no devices.
    pub fn host(&self, name: &str) -> Host {
        Host {
            world: self.inner.clone(),
            id: self.inner.state().add_host(name),
        }
    }

    /// The time of the world.
    pub fn now(&self) -> Instant {
        Instant::from_since_zero(self.inner.state().now())
    }

    /// Moves the time on to the next thing that happens by itself: a packet that arrives, an
    /// operation that was late, a timeout. `false` if there is none, so that the programs have to
    /// go on.
    ///
    /// For programs of several hosts on one thread: let each do what it can, with
    /// [`submit`](crate::driver::CompleteIo::submit) and no wait, and when none can do anything,
    /// this.
    pub fn advance(&self) -> bool {
        self.inner.state().advance()
    }

    /// Cuts all links between two hosts: packets are lost, and connections stand still, until
    /// [`heal`](Self::heal) or until their time is over.
    pub fn partition(&self, a: &Host, b: &Host) {
        self.inner.state().partition(a.id, b.id);
    }

    /// Ends a [`partition`](Self::partition).
    pub fn heal(&self, a: &Host, b: &Host) {
        self.inner.state().heal(a.id, b.id);
    }

    /// The last few thousand things that have happened, a line each: when, on which host, the
    /// operation's number and name; with its result when it completes.
    pub fn trace(&self) -> String {
        self.inner.state().trace()
    }

    /// The address that a socket is bound to, as getsockname(2) tells it of a real one.
    ///
    /// # Errors
    /// `EBADF` for a descriptor that is not of this world, `ENOTSOCK` for one that is no socket.
    pub fn local_address(&self, socket: impl AsFd) -> io::Result<Address> {
        self.address_of(socket.as_fd(), false)
    }

    /// The address of a socket's peer, as getpeername(2) tells it of a real one.
    ///
    /// # Errors
    /// As [`local_address`](Self::local_address), and `ENOTCONN`.
    pub fn peer_address(&self, socket: impl AsFd) -> io::Result<Address> {
        self.address_of(socket.as_fd(), true)
    }

    fn address_of(&self, socket: BorrowedFd<'_>, peer: bool) -> io::Result<Address> {
        let state = &mut *self.inner.state();
        match sys::sim::address_of(state, socket.as_raw_fd(), peer) {
            Ok(raw) => Ok(Address::from_raw(raw)),
            Err(errno) => Err(io::Error::from_raw_os_error(errno.0)),
        }
    }

    /// How many descriptors are open on all hosts, those included that only operations in flight
    /// use.
    pub fn open_descriptors(&self) -> usize {
        self.inner.state().open_descriptors()
    }
}

impl Host {
    /// The name that it was given.
    pub fn name(&self) -> String {
        self.world.state().host_name(self.id).to_owned()
    }

    /// Its address, beside 127.0.0.1.
    pub fn ip(&self) -> Ipv4Addr {
        self.world.state().addresses(self.id).0
    }

    /// Its address, beside ::1.
    pub fn ip6(&self) -> Ipv6Addr {
        self.world.state().addresses(self.id).1
    }

    /// Two Unix stream sockets that are connected to each other, as socketpair(2) makes real ones.
    ///
    /// # Errors
    /// `EMFILE` of the real system, in which each is a descriptor.
    pub fn socket_pair(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let made = sys::sim::socket_pair(&mut self.world.state(), self.id);
        made.map_err(|errno| io::Error::from_raw_os_error(errno.0))
    }

    /// A driver on this host, with the limits of `builder`. The backend that was chosen there is
    /// not asked for.
    ///
    /// # Errors
    /// A limit outside its range; no descriptor for the notifier.
    pub fn driver<'arena>(&self, builder: Builder) -> Result<Driver<'arena>, SetupError> {
        let limits = builder.limits()?;
        let core = Core::new(limits.in_flight, limits.slots)
            .map_err(|e| SetupError::os("making the notifier", e))?;
        let backend = sys::Backend::simulated(self.world.clone(), self.id, &limits, &core);
        let capabilities = backend.capabilities(Backend::Sim, Choice::Builder);
        Ok(Driver::of(Engine { backend, core }, capabilities))
    }

    /// The machine stops and starts again: what was not synced is lost in part, as
    /// [`Faults::torn`] says, its sockets are gone without a word to their peers, and its
    /// descriptors are no longer known.
    ///
    /// # Panics
    /// While a driver is on it: drop the programs first.
    pub fn crash(&self) {
        let crashed = self.world.state().crash(self.id);
        assert!(crashed, "a driver is on the host: drop it before the crash");
    }
}

/// What may happen in a world, and with which probability: 0 is never, 1 always.
///
/// [`Faults::default`] has what every program must bear, for a kernel does it without anything
/// being wrong: late, partial, reordered completions, delays of packets. [`Faults::none`] has
/// nothing. Errors of disks and networks are asked for one by one, or all together as
/// [`Faults::all`].
///
/// ```
/// use completeio_driver::sim::Faults;
///
/// let faults = Faults { disk_error: 0.01, ..Faults::default() };
/// assert_eq!(faults.torn, Faults::default().torn);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// An operation is tried later than it was submitted, by a `latency`.
    pub late: f64,
    /// Its entry comes later than its effect, by a `latency`: so entries come in bursts, and a
    /// cancellation may come too late.
    pub burst: f64,
    /// By how much.
    pub latency: Range<Duration>,
    /// A read, write, send or receive moves a part of what it could, at least one byte.
    pub short: f64,
    /// A wait ends with nothing; no two in a row do.
    pub spurious: f64,
    /// An operation that is cancelled completes as if it was not, if it can.
    pub cancel_loses: f64,
    /// An operation on a file fails with `EIO`.
    pub disk_error: f64,
    /// A write or an allocation fails with `ENOSPC`, though there is room.
    pub disk_full: f64,
    /// The bytes that a host's disk holds; beyond it is `ENOSPC`.
    pub disk_size: u64,
    /// What makes a descriptor fails with `EMFILE`.
    pub no_descriptor: f64,
    /// At a crash, a sector may be written in part, where it would be old or new.
    pub torn: bool,
    /// How long a packet takes between two hosts.
    pub delay: Range<Duration>,
    /// A datagram is lost.
    pub lose: f64,
    /// A datagram arrives twice.
    pub duplicate: f64,
    /// A connection dies with `ECONNRESET`, for each segment that is sent.
    pub reset: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            late: 0.2,
            burst: 0.2,
            latency: Duration::from_micros(10)..Duration::from_millis(2),
            short: 0.2,
            spurious: 0.05,
            cancel_loses: 0.5,
            delay: Duration::from_micros(50)..Duration::from_millis(5),
            ..Self::none()
        }
    }
}

impl Faults {
    /// Everything at once, in full, and without an error; orders are drawn nevertheless.
    pub fn none() -> Self {
        Self {
            late: 0.0,
            burst: 0.0,
            latency: Duration::ZERO..Duration::ZERO,
            short: 0.0,
            spurious: 0.0,
            cancel_loses: 0.0,
            disk_error: 0.0,
            disk_full: 0.0,
            disk_size: 1 << 26,
            no_descriptor: 0.0,
            torn: false,
            delay: Duration::from_micros(50)..Duration::from_micros(51),
            lose: 0.0,
            duplicate: 0.0,
            reset: 0.0,
        }
    }

    /// Everything, each rare enough for a program to get on.
    pub fn all() -> Self {
        Self {
            disk_error: 0.01,
            disk_full: 0.01,
            no_descriptor: 0.01,
            torn: true,
            lose: 0.05,
            duplicate: 0.05,
            reset: 0.001,
            ..Self::default()
        }
    }

    /// What the network has to know.
    pub(crate) fn links(&self) -> Links {
        Links {
            delay: self.delay.clone(),
            lose: self.lose,
            duplicate: self.duplicate,
            reset: self.reset,
            ..Links::default()
        }
    }

    /// The same without one kind of fault, for each kind that it has.
    fn without_one(&self) -> Vec<Self> {
        let none = Self::none();
        let mut fewer = Vec::new();
        macro_rules! leave_out {
            ($($field:ident),*) => {$(
                if self.$field != none.$field {
                    fewer.push(Self { $field: none.$field.clone(), ..self.clone() });
                }
            )*};
        }
        leave_out!(
            late,
            burst,
            short,
            spurious,
            cancel_loses,
            disk_error,
            disk_full,
            no_descriptor,
            torn,
            lose,
            duplicate,
            reset,
            delay
        );
        fewer
    }
}

/// Runs `program` once on each seed, in a world of its own each time. What fails is reported as
/// [`search`] does.
///
/// ```
/// use completeio_driver::sim::{self, Faults};
///
/// sim::check(0..100, &Faults::default(), |world| {
///     let host = world.host("a");
///     assert!(host.ip().is_private());
/// });
/// ```
///
/// # Panics
/// When the program does, on any seed, with the [`Failure`] as its message.
pub fn check(seeds: Range<u64>, faults: &Faults, program: impl Fn(&World)) {
    if let Some(failure) = search(seeds, faults, program) {
        panic!("{failure}");
    }
}

/// Runs `program` on each seed until it panics, and then with fewer and fewer faults, on that seed
/// and some of the next, for as long as it still does. `None` if it never does.
///
/// Each panic is printed by the process's panic hook, as any other.
pub fn search(seeds: Range<u64>, faults: &Faults, program: impl Fn(&World)) -> Option<Failure> {
    let fails = |seeds: Range<u64>, faults: &Faults| {
        seeds
            .into_iter()
            .find_map(|seed| run(seed, faults, &program))
    };
    let mut found = fails(seeds, faults)?;
    let fewer = |found: &Failure| {
        let seeds = found.seed..found.seed.saturating_add(SEARCHED);
        let fewer = found.faults.without_one();
        fewer.iter().find_map(|faults| fails(seeds.clone(), faults))
    };
    while let Some(smaller) = fewer(&found) {
        found = smaller;
    }
    Some(found)
}

/// So many seeds are tried for a failure with fewer faults.
const SEARCHED: u64 = 64;

/// A run of a program that has panicked. `check(seed..seed + 1, &faults, …)` repeats it.
///
/// Its display has all of it, of the trace the end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The faults, of which as many were left out as it fails without.
    pub faults: Faults,
    /// What the program said.
    pub message: String,
    /// The [trace](World::trace) up to then.
    pub trace: String,
}

/// How it fails, if it does.
fn run(seed: u64, faults: &Faults, program: &impl Fn(&World)) -> Option<Failure> {
    let world = World::new(seed, faults.clone());
    let ran = panic::catch_unwind(AssertUnwindSafe(|| program(&world)));
    let payload = ran.err()?;
    Some(Failure {
        seed,
        faults: faults.clone(),
        message: message(&*payload).to_owned(),
        trace: world.trace(),
    })
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("(no message)")
}

/// How many lines of the trace a report has.
const REPORTED_LINES: usize = 60;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            faults,
            message,
            trace,
        } = self;
        writeln!(f, "seed {seed} fails: {message}")?;
        writeln!(f, "the fewest faults that it fails with: {faults:#?}")?;
        let lines: Vec<&str> = trace.lines().collect();
        let first = lines.len().saturating_sub(REPORTED_LINES);
        writeln!(f, "the trace, from line {} of {}:", first + 1, lines.len())?;
        for line in &lines[first..] {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
