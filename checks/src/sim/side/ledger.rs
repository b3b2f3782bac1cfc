//! The ledger: what is in flight, and what has come of it.

use super::Side;
use crate::sim::calls::Model;
use crate::sim::expect::{Expect, Fault, Settled};
use crate::sim::plan::Outcome;
use crate::sim::script::Kind;
use completeio_driver::clock::Instant;
use completeio_driver::driver::Entry;
use completeio_driver::sim::Faults;
use std::io;
use std::time::Duration;

/// After so long, a cancelled operation has completed: no effect of any fault lasts longer.
const PATIENCE: Duration = Duration::from_millis(10);

/// What the ledger knows of an operation.
pub(super) struct Record {
    pub(super) id: usize,
    pub(super) expect: Expect,
    pub(super) is_submitted: bool,
    /// It was cancelled; when that was submitted.
    pub(super) is_cancelled: bool,
    pub(super) cancelled: Option<Instant>,
}

impl Side {
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        let raw = self.raw.values().map(|(_, record)| record);
        raw.chain(self.owned.values().map(|(_, record)| record))
            .chain(&self.orphans)
    }

    pub(super) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        let raw = self.raw.values_mut().map(|(_, record)| record);
        let owned = self.owned.values_mut().map(|(_, record)| record);
        raw.chain(owned).chain(&mut self.orphans)
    }

    pub(super) fn complete(&mut self, model: &mut Model, entry: Entry) {
        let id = entry.user_data();
        let Some((mut op, record)) = self.raw.remove(&id) else {
            panic!("{id} completes, and is not in flight: {entry:?}");
        };
        assert!(!entry.more(), "{id} is no multishot");
        assert!(
            entry.refusal().is_none(),
            "{:?} was refused: {entry:?}",
            record.expect.kind
        );
        // SAFETY: its last entry, for it was in flight once.
        let result = unsafe { op.op().finish(entry) };
        self.book(model, record, result);
    }

    /// Takes the owned ones that have completed; how many?
    pub(super) fn finish_owned(&mut self, model: &mut Model) -> usize {
        let mut came = 0;
        while let Some(finished) = self.driver().next_finished() {
            let id = finished.token();
            let Some((key, record)) = self.owned.remove(&id) else {
                panic!("{id} is finished, and is not owned");
            };
            let Ok(result) = key.redeem() else {
                panic!("{id} is finished, and in flight")
            };
            self.book(model, record, result);
            came += 1;
        }
        let (raw, owned) = (self.raw.len(), self.owned.len());
        if self.driver().in_flight() == raw + owned {
            for record in std::mem::take(&mut self.orphans) {
                self.settle(model, record, Settled::Lost);
                came += 1;
            }
        }
        came
    }

    /// Whether a result is one that there may be; tells the model.
    pub(super) fn book(&mut self, model: &mut Model, record: Record, result: io::Result<Outcome>) {
        let Expect {
            kind,
            most,
            is_exact,
            earliest,
            ..
        } = record.expect;
        let settled = match result {
            Ok(outcome) => {
                let is_early = earliest.is_some_and(|earliest| Instant::now() < earliest);
                assert!(!is_early, "{kind:?} {} is too early", record.id);
                let moved = match &outcome {
                    Outcome::Count(n) => Some(*n),
                    Outcome::Bytes(bytes) | Outcome::Cut(bytes) => Some(bytes.len()),
                    _ => None,
                };
                if let Some(n) = moved {
                    let is_legal = n <= most && (!is_exact || n == most);
                    assert!(
                        is_legal,
                        "{kind:?} {} has moved {n} of {most} bytes",
                        record.id
                    );
                }
                Settled::Done(outcome)
            }
            Err(error) => match error.raw_os_error() {
                Some(errno) => {
                    let is_legal = self.may_fail(&record, errno);
                    assert!(is_legal, "{kind:?} {} fails: {error}", record.id);
                    Settled::Failed(errno)
                }
                None => {
                    let is_legal = match error.kind() {
                        io::ErrorKind::TimedOut => record.expect.has_deadline,
                        io::ErrorKind::UnexpectedEof => is_exact,
                        _ => false,
                    };
                    assert!(is_legal, "{kind:?} {} fails: {error:?}", record.id);
                    Settled::Failed(libc::ECANCELED)
                }
            },
        };
        self.settle(model, record, settled);
    }

    pub(super) fn settle(&mut self, model: &mut Model, record: Record, settled: Settled) {
        let (_, alone) = model.disks[self.at].claims.remove(record.id);
        (record.expect.settle)(model, settled, alone);
    }

    fn may_fail(&self, record: &Record, errno: i32) -> bool {
        let Faults {
            disk_error,
            disk_full,
            no_descriptor,
            ..
        } = self.faults;
        let injected = match record.expect.fault {
            Fault::None => &[][..],
            Fault::Disk => &[(libc::EIO, disk_error)],
            Fault::Space => &[(libc::EIO, disk_error), (libc::ENOSPC, disk_full)],
            Fault::MakesFd => &[(libc::EMFILE, no_descriptor)],
            Fault::Open => &[(libc::EIO, disk_error), (libc::EMFILE, no_descriptor)],
        };
        let is_injected = |(of, chance): &(i32, f64)| *of == errno && *chance > 0.0;
        errno == libc::ECANCELED && (record.is_cancelled || record.expect.has_deadline)
            || record.expect.errnos.contains(&errno)
            || injected.iter().any(is_injected)
    }

    /// What was cancelled long ago has completed by this turn.
    pub(super) fn check_cancelled(&self, start: Instant) {
        for record in self.records() {
            let is_late = |cancelled: Instant| start > cancelled + PATIENCE;
            assert!(
                !record.cancelled.is_some_and(is_late),
                "{:?} {} was cancelled, and does not complete",
                record.expect.kind,
                record.id
            );
        }
    }

    pub(super) fn check_counts(&mut self) {
        let (raw, owned, orphans) = (self.raw.len(), self.owned.len(), self.orphans.len());
        let driver = self.driver();
        let (in_flight, stats) = (driver.in_flight(), driver.stats());
        assert!(
            (raw + owned..=raw + owned + orphans).contains(&in_flight),
            "{in_flight} in flight; the ledger has {raw}, {owned} owned, {orphans} orphans"
        );
        assert_eq!(
            stats.pushed - stats.completed,
            in_flight as u64,
            "{stats:?}"
        );
        assert_eq!(stats.unknown, 0, "completions that nobody knows");
    }
}

impl Record {
    /// A close has its descriptor already.
    pub(super) fn is_cancellable(&self) -> bool {
        !matches!(self.expect.kind, Kind::Close | Kind::CloseFixed)
    }

    /// Whether it needs nobody for its end.
    pub(super) fn ends_by_itself(&self) -> bool {
        self.expect.has_deadline || matches!(self.expect.kind, Kind::Timeout | Kind::Nop)
    }
}
