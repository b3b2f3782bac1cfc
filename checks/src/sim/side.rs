//! A host's driver and its ledger: each operation that was accepted completes once, in a way that
//! its manual page knows, and what it has come to is told to the model.

mod ledger;

use super::calls::{Asker, Made, Model, RawUse};
use super::expect::Settled;
use super::plan::{Lending, Outcome, Owned, Raw, Safe};
use super::script::{Call, Cancel, Kind, Way};
use crate::lent::Lent;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{AsRawFd, CompleteIo, Driver, Entry, FixedFd, Wait};
use completeio_driver::op::OpObject;
use completeio_driver::scope::ScopeError;
use completeio_driver::sim::{Faults, Host};
use completeio_driver::sink;
use ledger::Record;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

/// The limits of a driver: small, to be reached.
const ENTRIES: usize = 4;
const IN_FLIGHT: usize = 8;
const CANCELS: usize = 4;
const SLOTS: usize = 6;
const FIXED: usize = 3;

pub(super) struct Side {
    at: usize,
    /// Before what it has in flight, which it is done with when it is dropped.
    driver: Option<Driver<'static>>,
    host: Host,
    faults: Faults,
    /// By user data.
    raw: BTreeMap<usize, (Lent<dyn Raw>, Record)>,
    owned: BTreeMap<usize, (Box<dyn Owned>, Record)>,
    /// Owned ones whose keys are gone.
    orphans: Vec<Record>,
    /// An external queue, and what is in it.
    queue: VecDeque<OpObject<'static>>,
    waiting: BTreeMap<usize, (Lent<dyn Raw>, Record)>,
    fixed: [Option<usize>; FIXED],
    /// Cancellations since the last submit.
    cancels: usize,
    next_id: usize,
}

/// What a cancellation means.
#[derive(Clone, Copy)]
enum Named {
    All,
    Id(usize),
    Sock(usize),
}

impl Side {
    pub(super) fn new(at: usize, host: Host, faults: &Faults) -> Self {
        let mut side = Self {
            at,
            driver: None,
            host,
            faults: faults.clone(),
            raw: BTreeMap::new(),
            owned: BTreeMap::new(),
            orphans: Vec::new(),
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            fixed: [None; FIXED],
            cancels: 0,
            next_id: 1,
        };
        side.start();
        side
    }

    fn start(&mut self) {
        let builder = Driver::builder()
            .entries(ENTRIES)
            .in_flight(IN_FLIGHT)
            .cancels(CANCELS);
        let builder = builder.slots(SLOTS).file_slots(FIXED);
        self.driver = Some(self.host.driver(builder).unwrap());
        self.fixed = [None; FIXED];
        self.cancels = 0;
    }

    pub(super) fn driver(&mut self) -> &mut Driver<'static> {
        self.driver
            .as_mut()
            .expect("taken between two drivers only")
    }

    pub(super) fn push(&mut self, model: &mut Model, way: Way, call: &Call) {
        let is_owned = way == Way::Owned && self.queue.is_empty();
        let driver = self.driver();
        let is_full = driver.capacity_left() == 0 || driver.owned_capacity_left() == 0;
        if call.kind == Kind::Close && is_full {
            return; // One that is handed back closes its descriptor: others are pushed on it.
        }
        let Some((made, record)) = self.make(model, call, !is_owned) else {
            return;
        };
        match made {
            Made::Safe(op) if is_owned => self.push_owned(model, op, record),
            Made::Safe(op) => self.push_raw(model, way, op.into_raw(), record),
            Made::Raw(op) => self.push_raw(model, way, op, record),
        }
        self.check_counts();
    }

    fn make(&mut self, model: &mut Model, call: &Call, raw: bool) -> Option<(Made, Record)> {
        let is_timeout = |record: &Record| record.expect.kind == Kind::Timeout;
        let timeouts = self.raw.values().filter(|(_, record)| is_timeout(record));
        let timeouts = timeouts.map(|(_, record)| record.id).collect();
        let host = self.at;
        let raw = raw.then_some(RawUse {
            driver: self.driver.as_mut().expect("there is one"),
            fixed: &self.fixed,
            timeouts,
        });
        let (made, expect) = Asker { model, host, raw }.make(call)?;
        let id = self.next_id;
        self.next_id += 1;
        if let Some((_, timeout)) = expect.updates.and_then(|of| self.raw.get_mut(&of)) {
            timeout.expect.earliest = None;
        }
        model.disks[host].claims.add(id, expect.regions.clone());
        let record = Record {
            id,
            expect,
            is_submitted: false,
            is_cancelled: false,
            cancelled: None,
        };
        Some((made, record))
    }

    fn push_owned(&mut self, model: &mut Model, op: Box<dyn Safe>, record: Record) {
        let driver = self.driver();
        let has_room = driver.owned_capacity_left() > 0;
        match op.own(driver, record.id) {
            Ok(key) => {
                assert!(has_room, "owned without a slot");
                self.owned.insert(record.id, (key, record));
            }
            Err(_op) => {
                assert!(!has_room, "refused with a slot");
                self.settle(model, record, Settled::Never);
            }
        }
    }

    fn push_raw(&mut self, model: &mut Model, way: Way, mut op: Lent<dyn Raw>, record: Record) {
        let id = record.id;
        if way == Way::Queue || !self.queue.is_empty() {
            self.queue.push_back(op.op().object(id));
            self.waiting.insert(id, (op, record));
            return self.push_queue();
        }
        let driver = self.driver();
        let has_room = driver.capacity_left() > 0;
        let is_pushed = match way {
            Way::Dyn => driver.try_push_dyn(op.op().object(id)).is_ok(),
            _ => op.op().try_push(driver, id),
        };
        assert_eq!(is_pushed, has_room, "whether there was room");
        if is_pushed {
            self.raw.insert(id, (op, record));
        } else {
            self.settle(model, record, Settled::Never);
        }
    }

    fn push_queue(&mut self) {
        let Self { driver, queue, .. } = self;
        let driver = driver.as_mut().expect("there is one");
        let left = queue.len().saturating_sub(driver.capacity_left());
        driver.push_queue(queue);
        assert_eq!(queue.len(), left, "what does not fit stays");
        self.accept();
    }

    /// What has left the external queue is the driver's.
    fn accept(&mut self) {
        let first = self.queue.front().map_or(usize::MAX, OpObject::user_data);
        let left = self.waiting.split_off(&first);
        let accepted = std::mem::replace(&mut self.waiting, left);
        self.raw.extend(accepted);
        let ids = self.queue.iter().map(OpObject::user_data);
        assert!(
            ids.eq(self.waiting.keys().copied()),
            "the queue keeps its order"
        );
    }

    pub(super) fn submit(
        &mut self,
        model: &mut Model,
        wait: Option<Duration>,
        room: usize,
        queue: bool,
    ) {
        let start = Instant::now();
        let mut entries: Vec<Entry> = Vec::new();
        let mut sink = sink::bounded(room, |entry| entries.push(entry));
        let driver = self.driver.as_mut().expect("there is one");
        let submitted = if queue {
            let wait = match wait {
                Some(Duration::ZERO) => Wait::new().at_least(0),
                Some(wait) => Wait::new().until(start + wait),
                None => Wait::new(),
            };
            // SAFETY: what is pushed is `Lent`, and stays where it is until its entry came or the
            // driver is gone, which goes first and is never forgotten. Its descriptors are held by
            // it, or closed by `drop_fd`, which hands over first, or by a `Close`.
            unsafe { driver.submit_queue(&mut self.queue, wait, &mut sink) }
        } else {
            // SAFETY: as above.
            unsafe { driver.submit(wait, &mut sink) }
        };
        self.accept();
        let is_stuck = match submitted {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::Deadlock && wait.is_none() => true,
            Err(error) => panic!("submit: {error}"),
        };
        self.submitted(start);
        let is_full = entries.len() == room;
        let mut came = entries.len();
        for entry in entries {
            self.complete(model, entry);
        }
        came += self.finish_owned(model);
        if !is_stuck && !is_full {
            self.check_cancelled(start);
        }
        if is_stuck {
            let mut records = self.records();
            let ends = records.find(|record| record.is_cancelled || record.ends_by_itself());
            let ends = ends.map(|record| (record.id, record.expect.kind));
            assert!(came > 0 || ends.is_none(), "{ends:?} was to end the wait");
        } else if came == 0 && self.orphans.is_empty() && self.driver().in_flight() > 0 {
            let is_over = wait.is_some_and(|wait| Instant::now() >= start + wait);
            assert!(is_over, "a wait of {wait:?} has ended with nothing");
        }
        self.check_counts();
    }

    /// All that was pushed is handed over.
    fn submitted(&mut self, start: Instant) {
        self.cancels = 0;
        for record in self.records_mut() {
            record.is_submitted = true;
            if record.is_cancelled {
                record.cancelled.get_or_insert(start);
            }
        }
    }

    pub(super) fn cancel(&mut self, model: &mut Model, what: Cancel, pick: usize) {
        let ids: Vec<usize> = self.raw.keys().copied().collect();
        let of = pick.checked_rem(ids.len()).map(|at| ids[at]);
        let driver = self.driver.as_mut().expect("there is one");
        let (asked, named) = match (what, of) {
            (Cancel::All, _) => (driver.try_cancel_all(), Named::All),
            (Cancel::UserData, Some(of)) => (driver.try_cancel(of), Named::Id(of)),
            (Cancel::UserData, None) => return,
            (Cancel::Fd, _) => {
                let Some(id) = model.network.pick(self.at, super::CANCELLED, pick) else {
                    return;
                };
                let fd = &model.network.get(id).expect("just picked").fd;
                (driver.try_cancel_fd(fd), Named::Sock(id))
            }
            (Cancel::Owned, _) => {
                let at = pick.checked_rem(self.owned.len());
                if let Some((key, record)) = at.and_then(|at| self.owned.values_mut().nth(at)) {
                    key.cancel();
                    record.is_cancelled |= record.is_cancellable();
                }
                return;
            }
        };
        if asked.is_err() {
            return assert!(self.cancels > 0, "no place for the first cancellation");
        }
        self.cancels += 1;
        for record in self.records_mut() {
            let is_named = match named {
                Named::All => true,
                Named::Id(id) => record.id == id,
                Named::Sock(id) => record.expect.sock == Some(id),
            };
            record.is_cancelled |= is_named && record.is_cancellable();
        }
    }

    pub(super) fn orphan(&mut self, pick: usize) {
        let Some(at) = pick.checked_rem(self.owned.len()) else {
            return;
        };
        let id = *self.owned.keys().nth(at).unwrap();
        let (key, mut record) = self.owned.remove(&id).unwrap();
        drop(key);
        record.is_cancelled |= record.is_cancellable();
        self.orphans.push(record);
    }

    pub(super) fn register(&mut self, model: &mut Model, pick: usize, filled: bool) {
        // What is pushed means what is registered when it is handed over.
        if !self.hand_over(model) {
            return;
        }
        let place = pick % FIXED;
        let id = u32::try_from(place).unwrap();
        let files = &model.files[self.at];
        let file = pick.checked_rem(files.len()).filter(|_| filled);
        let Self { driver, fixed, .. } = self;
        let driver = driver.as_mut().expect("there is one");
        match file.map(|at| &files[at]) {
            Some(open) => {
                driver.register_fd(open.fd.as_raw_fd(), id).unwrap();
                fixed[place] = Some(open.file);
            }
            None => {
                driver.unregister_fd(FixedFd::from_id(id)).unwrap();
                fixed[place] = None;
            }
        }
    }

    /// Whether all that is pushed, or waits to be, could be handed over.
    fn hand_over(&mut self, model: &mut Model) -> bool {
        self.submit(model, Some(Duration::ZERO), IN_FLIGHT, true);
        self.queue.is_empty()
    }

    /// Closes a descriptor, on which operations may be in flight.
    pub(super) fn drop_fd(&mut self, model: &mut Model, pick: usize) {
        // What is pushed is directed at a number that is open.
        if !self.hand_over(model) {
            return;
        }
        let files = &mut model.files[self.at];
        if let Some(at) = pick.checked_rem(files.len()).filter(|_| pick % 2 == 0) {
            files.remove(at);
        } else if let Some(id) = model.network.pick(self.at, super::CANCELLED, pick) {
            model.network.remove(id);
        }
    }

    pub(super) fn scope(
        &mut self,
        model: &mut Model,
        (clear, calls): (bool, &[Call]),
        cancelled: Option<usize>,
        waits: &[Duration],
    ) {
        if clear {
            self.clear(model);
        }
        if !self.queue.is_empty() {
            return;
        }
        if !self.raw.is_empty() {
            let refused = self.driver().scope(|_| ());
            return assert_eq!(refused, Err(ScopeError::RawInFlight(self.raw.len())));
        }
        let mut ops: Vec<Box<dyn Safe>> = Vec::new();
        let mut records = Vec::new();
        for call in calls {
            if let Some((Made::Safe(op), record)) = self.make(model, call, false) {
                ops.push(op);
                records.push(record);
            }
        }
        let driver = self.driver.as_mut().expect("there is one");
        let ended = driver.scope(|scope| {
            let mut lending = Lending::new(&mut ops, cancelled, waits);
            lending.go_on(scope);
            (lending.results, lending.left)
        });
        let (results, left) = ended.unwrap();
        let mut results: BTreeMap<usize, io::Result<Outcome>> = results.into_iter().collect();
        for (token, mut record) in records.into_iter().enumerate() {
            record.is_cancelled = cancelled == Some(token);
            match results.remove(&token) {
                Some(result) => self.book(model, record, result),
                None if left.contains(&token) => self.settle(model, record, Settled::Never),
                None => self.settle(model, record, Settled::Lost),
            }
        }
        self.submitted(Instant::now());
        self.finish_owned(model);
        self.check_counts();
    }

    /// Has nothing of the raw layer in flight.
    fn clear(&mut self, model: &mut Model) {
        for _ in 0..1000 {
            if self.raw.is_empty() && self.queue.is_empty() {
                return;
            }
            self.cancel(model, Cancel::All, 0);
            self.submit(model, Some(Duration::from_millis(1)), IN_FLIGHT, true);
        }
        panic!("{} operations do not end", self.raw.len());
    }

    /// Cancels all, and takes what has completed; how much is in flight then?
    pub(super) fn wind_down(&mut self, model: &mut Model) -> usize {
        self.cancel(model, Cancel::All, 0);
        self.submit(model, Some(Duration::ZERO), IN_FLIGHT, true);
        self.driver().in_flight() + self.queue.len()
    }

    /// The driver is dropped; what was not handed over has never happened.
    pub(super) fn stop(&mut self, model: &mut Model) {
        let closes = |record: &Record| record.expect.kind == Kind::Close && !record.is_submitted;
        if self.raw.values().any(|(_, record)| closes(record)) {
            // It has given its descriptor to the driver, which would not close it.
            self.submit(model, Some(Duration::ZERO), IN_FLIGHT, false);
        }
        let handed_over = model.handed_over();
        self.driver = None;
        assert_eq!(
            model.handed_over(),
            handed_over,
            "the drop has handed something over"
        );
        self.queue.clear();
        for (id, (_op, record)) in std::mem::take(&mut self.waiting) {
            debug_assert_eq!(id, record.id);
            self.settle(model, record, Settled::Never);
        }
        for (_, (_op, record)) in std::mem::take(&mut self.raw) {
            let settled = if record.is_submitted {
                Settled::Lost
            } else {
                Settled::Never
            };
            self.settle(model, record, settled);
        }
        for (id, (key, mut record)) in std::mem::take(&mut self.owned) {
            let Ok(result) = key.redeem() else {
                panic!("{id} is in flight without a driver")
            };
            record.is_cancelled = true;
            if record.is_submitted {
                self.book(model, record, result);
            } else {
                assert!(result.is_err(), "{id} was never handed over: {result:?}");
                self.settle(model, record, Settled::Never);
            }
        }
        for record in std::mem::take(&mut self.orphans) {
            self.settle(model, record, Settled::Lost);
        }
    }

    pub(super) fn renew(&mut self, model: &mut Model) {
        self.stop(model);
        self.start();
    }

    pub(super) fn crash(&mut self, model: &mut Model) {
        self.stop(model);
        model.crash(self.at);
        self.host.crash();
        self.start();
    }
}
