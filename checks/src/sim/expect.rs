//! What may come of an operation.

use super::calls::Model;
use super::disk::{Disk, Region};
use super::plan::Outcome;
use super::script::Kind;
use completeio_driver::clock::Instant;

/// What may come of an operation.
pub(super) struct Expect {
    pub(super) kind: Kind,
    /// What its manual page has, as it is used here; injected errors come beside.
    pub(super) errnos: &'static [i32],
    pub(super) fault: Fault,
    /// How many bytes it moves at most; if it is exact: in all.
    pub(super) most: usize,
    pub(super) is_exact: bool,
    pub(super) has_deadline: bool,
    /// It does not complete before.
    pub(super) earliest: Option<Instant>,
    /// The timeout whose time it sets.
    pub(super) updates: Option<usize>,
    /// The socket that it is directed at.
    pub(super) sock: Option<usize>,
    /// What it uses of its host's disk.
    pub(super) regions: Vec<Region>,
    /// Tells the model.
    pub(super) settle: Settle,
}

type Settle = Box<dyn FnOnce(&mut Model, Settled, Alone)>;

/// Which errors are injected into an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Disk,
    Space,
    MakesFd,
    Open,
}

/// What has come of an operation.
pub(super) enum Settled {
    Done(Outcome),
    /// Nothing has happened, unless it was exact.
    Failed(i32),
    /// It was never handed over.
    Never,
    /// Nobody was told.
    Lost,
}

/// Whether no other operation in flight had anything to do with what it uses of a disk.
pub(super) type Alone = bool;
impl Expect {
    pub(super) fn new(kind: Kind, errnos: &'static [i32]) -> Self {
        Self {
            kind,
            errnos,
            fault: Fault::None,
            most: usize::MAX,
            is_exact: false,
            has_deadline: false,
            earliest: None,
            updates: None,
            sock: None,
            regions: Vec::new(),
            settle: Box::new(|_, _, _| {}),
        }
    }

    pub(super) fn on(self, sock: usize) -> Self {
        Self {
            sock: Some(sock),
            ..self
        }
    }

    pub(super) fn with(self, settle: impl FnOnce(&mut Model, Settled, Alone) + 'static) -> Self {
        Self {
            settle: Box::new(settle),
            ..self
        }
    }

    /// Tells the model when it succeeds.
    pub(super) fn done(self, settle: impl FnOnce(&mut Model, Outcome) + 'static) -> Self {
        self.with(|model, settled, _| {
            if let Settled::Done(outcome) = settled {
                settle(model, outcome);
            }
        })
    }

    /// Uses something of a disk; `apply` is for what is done, and nobody else was there.
    pub(super) fn on_disk(
        self,
        host: usize,
        regions: Vec<Region>,
        apply: impl FnOnce(&mut Disk, Outcome) + 'static,
    ) -> Self {
        let (used, is_exact) = (regions.clone(), self.is_exact);
        let expect = self.with(move |model, settled, alone| {
            let disk = &mut model.disks[host];
            match settled {
                Settled::Done(outcome) if alone => apply(disk, outcome),
                Settled::Done(_) | Settled::Lost => disk.blur(&used),
                Settled::Failed(_) if is_exact => disk.blur(&used),
                Settled::Failed(_) | Settled::Never => {}
            }
        });
        Self { regions, ..expect }
    }
}
