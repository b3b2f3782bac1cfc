//! What the drivers of a world share.

use super::clock::Clock;
use super::descriptors::{DescriptorId, Descriptors, Object};
use super::fs::Fs;
use super::net::Net;
use super::random::Random;
use crate::sim::Faults;
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::{Rc, Weak};
use std::time::Duration;

/// One of a world's hosts.
pub(crate) use super::net::HostId;

/// One of a world's drivers, also when it is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct DriverId(usize);

/// A world. Its drivers, and who made it, hold it together.
pub(crate) struct World {
    state: RefCell<State>,
}

pub(crate) struct State {
    clock: Clock,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) net: Net,
    pub(super) descriptors: Descriptors,
    hosts: Vec<Host>,
    drivers: Vec<DriverState>,
    /// How many operations were handed over, ever.
    operations: u64,
    trace: Trace,
}

struct Host {
    name: String,
    fs: Fs,
}

/// What the world knows of a driver.
struct DriverState {
    host: HostId,
    lives: bool,
    /// When it has something to do next, as of its last turn.
    due: Option<Duration>,
}

/// The last things that happened, a line each.
struct Trace {
    lines: VecDeque<String>,
    left_out: u64,
}

thread_local! {
    static CURRENT: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

/// The world that this thread is in; none when the thread has ended so far.
pub(super) fn current() -> Option<Rc<World>> {
    let current = CURRENT.try_with(|current| current.borrow().upgrade());
    current.ok().flatten()
}

/// So many lines are kept.
const TRACE_LINES: usize = 4096;

impl World {
    /// `None` when the thread is in a world.
    pub(crate) fn new(seed: u64, faults: Faults) -> Option<Rc<Self>> {
        let clock = Clock::enter()?;
        let mut random = Random::new(seed);
        let mut net = Net::new(faults.links());
        net.run_until(clock.now(), &mut random); // Its time begins with the world's.
        let state = State {
            clock,
            random,
            faults,
            net,
            descriptors: Descriptors::default(),
            hosts: Vec::new(),
            drivers: Vec::new(),
            operations: 0,
            trace: Trace {
                lines: VecDeque::new(),
                left_out: 0,
            },
        };
        let world = Rc::new(Self {
            state: RefCell::new(state),
        });
        CURRENT.set(Rc::downgrade(&world));
        Some(world)
    }

    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }
}

impl State {
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    pub(crate) fn add_host(&mut self, name: &str) -> HostId {
        let id = self.net.add_host();
        let fs = Fs::new(self.faults.disk_size);
        let name = name.to_owned();
        self.hosts.push(Host { name, fs });
        id
    }

    pub(crate) fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.index()].name
    }

    pub(super) fn fs(&mut self, host: HostId) -> &mut Fs {
        &mut self.hosts[host.index()].fs
    }

    pub(super) fn add_driver(&mut self, host: HostId) -> DriverId {
        self.drivers.push(DriverState {
            host,
            lives: true,
            due: None,
        });
        DriverId(self.drivers.len() - 1)
    }

    pub(super) fn remove_driver(&mut self, driver: DriverId) {
        self.drivers[driver.0].lives = false;
        self.drivers[driver.0].due = None;
    }

    pub(super) fn set_due(&mut self, driver: DriverId, due: Option<Duration>) {
        self.drivers[driver.0].due = due;
    }

    /// A number for an operation that is handed over: the trace knows it by that.
    pub(super) fn next_operation(&mut self) -> u64 {
        self.operations += 1;
        self.operations
    }

    /// When something happens next, of what does not wait for a program.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let now = self.now();
        // What is due by now waits for its program.
        let due = |driver: &DriverState| driver.due.filter(|due| *due > now);
        let drivers = self.drivers.iter().filter_map(due);
        drivers.chain(self.net.next_event()).min()
    }

    /// Lets everything up to `time` happen, and moves on to it.
    pub(super) fn run_until(&mut self, time: Duration) {
        if time > self.now() {
            self.clock.set(time);
        }
        self.net.run_until(self.clock.now(), &mut self.random);
    }

    /// Moves on to the next event; `false` when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        let Some(next) = self.next_event() else {
            return false;
        };
        self.run_until(next);
        true
    }

    pub(crate) fn partition(&mut self, a: HostId, b: HostId) {
        self.net.partition(a, b);
    }

    pub(crate) fn heal(&mut self, a: HostId, b: HostId) {
        self.net.heal(a, b);
    }

    pub(crate) fn addresses(&self, host: HostId) -> (Ipv4Addr, Ipv6Addr) {
        self.net.addresses(host)
    }

    pub(crate) fn open_descriptors(&mut self) -> usize {
        self.sweep();
        self.descriptors.len()
    }

    /// Ends what has no descriptor and no operation any more.
    pub(super) fn sweep(&mut self) {
        for object in self.descriptors.sweep() {
            self.close(object);
        }
    }

    /// Ends an operation's use of its descriptor.
    pub(super) fn release(&mut self, id: DescriptorId) {
        if let Some(object) = self.descriptors.release(id) {
            self.close(object);
        }
    }

    fn close(&mut self, (host, object): (HostId, Object)) {
        match object {
            Object::File { inode, .. } => self.fs(host).release(inode),
            Object::Socket(socket) => {
                let closed = self.net.close(socket);
                debug_assert_eq!(closed, Ok(()), "it is there until its descriptor is gone");
            }
        }
    }

    /// The machine stops: its sockets vanish, and its disk keeps what was durable, and some of the
    /// rest. `false` while a driver is on it.
    pub(crate) fn crash(&mut self, host: HostId) -> bool {
        let is_used = |driver: &DriverState| driver.lives && driver.host == host;
        if self.drivers.iter().any(is_used) {
            return false;
        }
        self.descriptors.crash(host);
        self.net.crash(host);
        let torn = self.faults.torn;
        let random = &mut self.random;
        self.hosts[host.index()].fs.crash(random, torn);
        self.note(host, format_args!("crashes"));
        true
    }

    /// A time to come, by a latency.
    pub(super) fn later(&mut self) -> Duration {
        let latency = self.random.between(&self.faults.latency);
        self.now().saturating_add(latency)
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, host: HostId, what: fmt::Arguments<'_>) {
        let trace = &mut self.trace;
        if trace.lines.len() == TRACE_LINES {
            trace.lines.pop_front();
            trace.left_out += 1;
        }
        let since = self.clock.now() - super::clock::START;
        let mut line = String::new();
        let name = &self.hosts[host.index()].name;
        write!(line, "{:>14.9} {name} {what}", since.as_secs_f64()).expect("a string takes it");
        trace.lines.push_back(line);
    }

    pub(crate) fn trace(&self) -> String {
        let mut text = String::new();
        if self.trace.left_out > 0 {
            writeln!(text, "({} lines before)", self.trace.left_out).expect("a string takes it");
        }
        for line in &self.trace.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain call in the destructor of a thread-local.
    #[test]
    fn at_a_threads_end_it_is_in_no_world() {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                assert!(current().is_none());
            }
        }
        thread_local! {
            static LAST: Last = const { Last };
        }
        let thread = std::thread::spawn(|| {
            LAST.with(|_| {}); // Destroyed after what comes to be later.
            drop(World::new(1, Faults::none()));
        });
        thread.join().expect("no panic");
    }
}
