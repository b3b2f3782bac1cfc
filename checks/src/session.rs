//! A driver with a ledger: each operation completes exactly once, or the process ends.

use crate::Options;
pub(crate) use checks::lent::Lent;
use completeio_driver::driver::{AsRawFd, CompleteIo, Driver, Entry, Fd, Full, SetupError, Wait};
use completeio_driver::op::{Op, OpCode, OpObject};
use std::collections::{HashMap, HashSet};
use std::io;
use std::process;
use std::time::Duration;

/// A driver and its ledger.
pub(crate) struct Session {
    pub(crate) driver: Driver<'static>,
    in_flight: HashSet<usize>,
    done: HashMap<usize, Entry>,
    next_id: usize,
    sink: Vec<Entry>,
    /// What the last turn has completed.
    latest: Vec<usize>,
    tolerate: Option<i32>,
    /// How many errors were tolerated.
    pub(crate) tolerated: usize,
}

impl Session {
    pub(crate) fn new(options: &Options) -> Self {
        let driver = options.builder().build().unwrap_or_else(|e| no_driver(&e));
        Self {
            tolerate: options.tolerate,
            ..Self::of(driver)
        }
    }

    /// With a driver that is there, and without errors to be tolerated.
    pub(crate) fn of(driver: Driver<'static>) -> Self {
        Self::taking(8, driver)
    }

    /// The same, taking so many entries at a time.
    pub(crate) fn taking(entries: usize, driver: Driver<'static>) -> Self {
        Self {
            driver,
            in_flight: HashSet::new(),
            done: HashMap::new(),
            next_id: 1,
            latest: Vec::new(),
            sink: Vec::with_capacity(entries),
            tolerate: None,
            tolerated: 0,
        }
    }

    /// Whether an error is one that was announced: then it is counted.
    pub(crate) fn tolerates(&mut self, error: &io::Error) -> bool {
        let tolerated = self.tolerate.is_some() && error.raw_os_error() == self.tolerate;
        self.tolerated += usize::from(tolerated);
        tolerated
    }

    pub(crate) fn attach(&mut self, fd: &impl AsRawFd) -> Fd {
        loop {
            match self.driver.attach(fd.as_raw_fd()) {
                Ok(fd) => return fd,
                Err(e) if self.tolerates(&e) => {}
                Err(e) => crate::fail(format_args!("attach: {e}")),
            }
        }
    }

    /// Pushes an operation under a new id, submitting first when the driver is full.
    pub(crate) fn start<O: OpCode + 'static>(&mut self, op: &mut Lent<O>) -> usize {
        loop {
            if let Some(id) = self.try_start(op) {
                return id;
            }
            self.turn(Some(Duration::ZERO));
        }
    }

    /// Pushes an operation under a new id, unless the driver is full.
    pub(crate) fn try_start<O: OpCode + 'static>(&mut self, op: &mut Lent<O>) -> Option<usize> {
        let id = self.next_id;
        // SAFETY: `op` is at a fixed address and not in flight; whoever drops it waits for its
        // entry, or drops the session first; failures end the process.
        let object = unsafe { OpObject::from_ptr(op.as_ptr(), id) };
        let before = self.driver.in_flight();
        if let Err(full) = self.driver.try_push_dyn(object) {
            let back = Full::into_inner(full);
            ensure!(back.user_data() == id, "another operation was handed back");
            ensure!(
                self.driver.in_flight() == before,
                "a refused push was counted"
            );
            return None;
        }
        self.next_id += 1;
        self.in_flight.insert(id);
        ensure!(
            self.driver.in_flight() == self.in_flight.len(),
            "the driver counts {} in flight, the ledger {}",
            self.driver.in_flight(),
            self.in_flight.len()
        );
        Some(id)
    }

    /// One `submit`; its entries go through the ledger. How many came?
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> usize {
        // SAFETY: operations are `Lent`, see `start`.
        let submitted = unsafe { self.driver.submit(timeout, &mut self.sink) };
        self.book(submitted)
    }

    /// The same for a wait with options.
    pub(crate) fn turn_until(&mut self, wait: Wait) -> usize {
        // SAFETY: operations are `Lent`, see `start`.
        let submitted = unsafe { self.driver.submit_until(wait, &mut self.sink) };
        self.book(submitted)
    }

    fn book(&mut self, submitted: io::Result<()>) -> usize {
        if let Err(e) = submitted {
            crate::fail(format_args!("submit: {e}"));
        }
        let entries = self.sink.len();
        self.latest.clear();
        for entry in self.sink.drain(..) {
            let id = entry.user_data();
            ensure!(
                self.in_flight.remove(&id),
                "{id} completed, and was not in flight: {entry:?}"
            );
            ensure!(!entry.more(), "{id} is no multishot: {entry:?}");
            self.latest.push(id);
            self.done.insert(id, entry);
        }
        let counted = self.driver.in_flight();
        ensure!(
            counted == self.in_flight.len(),
            "{counted} in flight: {:?}",
            self.in_flight
        );
        entries
    }

    /// What the last turn has completed.
    pub(crate) fn latest(&self) -> &[usize] {
        &self.latest
    }

    /// The entry of an operation, if it came.
    pub(crate) fn take(&mut self, id: usize) -> Option<Entry> {
        self.done.remove(&id)
    }

    /// Waits for the entry of an operation.
    pub(crate) fn wait(&mut self, id: usize) -> Entry {
        loop {
            if let Some(entry) = self.take(id) {
                return entry;
            }
            self.turn(None);
        }
    }

    /// The typed output of the operation whose last entry is `entry`.
    pub(crate) fn finish<O: Op>(op: &mut Lent<O>, entry: Entry) -> io::Result<O::Output> {
        // SAFETY: by the ledger it is the last entry of the last flight; callers pass the entry of
        // this operation's id.
        unsafe { op.op().finish(entry) }
    }

    /// Starts an operation and waits for it.
    pub(crate) fn attempt<O: Op + 'static>(&mut self, op: &mut Lent<O>) -> io::Result<O::Output> {
        let id = self.start(op);
        let entry = self.wait(id);
        Self::finish(op, entry)
    }

    /// The same, until it succeeds; only an announced error is tried again.
    pub(crate) fn run<O: Op + 'static>(&mut self, what: &str, op: &mut Lent<O>) -> O::Output {
        loop {
            match self.attempt(op) {
                Ok(output) => return output,
                Err(e) if self.tolerates(&e) => {}
                Err(e) => crate::fail(format_args!("{what}: {e}")),
            }
        }
    }

    /// Strikes everything off the ledger: its entries went elsewhere.
    pub(crate) fn forget(&mut self) {
        self.in_flight.clear();
    }

    /// Everything that was accepted has completed, and every entry was looked at.
    pub(crate) fn settle(&mut self) {
        ensure!(
            self.in_flight.is_empty(),
            "still in flight: {:?}",
            self.in_flight
        );
        ensure!(self.done.is_empty(), "nobody took: {:?}", self.done);
        let stats = self.driver.stats();
        ensure!(stats.pushed == stats.completed, "{stats:?}");
        ensure!(stats.unknown == 0, "{stats:?}");
    }
}

/// Tells why there is no driver, and ends the process with status 3.
pub(crate) fn no_driver(error: &SetupError) -> ! {
    println!("error {}: {error}", variant(error));
    process::exit(3);
}

/// The name of a variant.
pub(crate) fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
        .to_owned()
}
