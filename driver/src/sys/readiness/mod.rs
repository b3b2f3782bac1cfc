//! The readiness backend: a selector for sockets, worker threads for files, timers of its own.
//!
//! A push keeps the operation in plain words. [`Readiness::turn`] starts what was pushed: it tries
//! calls on sockets at once, and puts those that would block among the waiters of their descriptor;
//! it hands calls on files to the workers, and timeouts to the heaps. Then it waits, if it is told
//! to, and completes what has become ready, due or done. Everything completes locally: there is no
//! queue of the kernel's.
//!
//! One turn asks the selector at most once when there is nothing to wait for, and never if nothing
//! waits; one that has something to give does not ask, if the one before it did. What it does is
//! bounded by what was pushed and what waits, since only its beginning starts anything: no busy
//! descriptor keeps it from timers, wake-ups and the others.
//!
//! * `table`, `attach`: the descriptors, and which file a number means.
//! * `net`, `stream`, `splice`, `file`: one family of operations each.
//! * `epoll`, `kqueue`: the selectors, of which `selector` chooses one.
//! * Beside this directory: `keeper`, what it shares with the other backend that keeps its
//!   operations itself; `flights`, the operations in flight, with the table of their states;
//!   `deadlines`; and `workers`, the threads.
//!
//! Invariants that its SAFETY comments name beside the general ones:
//! * (W1) What a job's words point to is lent until its operation completes, and the operation of
//!   a job that runs does not complete before the worker has put the result down.
//! * (R1) A descriptor that a call has just made is known to its caller only.
//! * (R2) A `Close` has given its descriptor up at its push, and is performed once.
//! * (R3) The workers' pool and their handles go in the destructor of [`Workers`], once; in a
//!   forked child they do not go at all.
#![allow(
    unsafe_code,
    reason = "makes calls with the addresses that it was lent"
)]

mod attach;
#[cfg(epoll)]
mod epoll;
mod file;
#[cfg(kqueue)]
mod kqueue;
mod net;
mod path;
mod plain;
mod selector;
mod splice;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use self::selector::{Event, Interest, Selector};
use self::table::{Kind, Table};
use super::fd::RawFd;
use super::files::Files;
use super::flights::{self, Direction, State};
use super::keeper::{Keeper, Kept, Starts};
use super::{Block, native, open_flags};
use crate::builder::{Limits, Support};
use crate::clock::Instant;
use crate::error::SetupError;
use crate::local::Core;
use crate::op::call::{Call, FileCall, PathCall, PlainCall};
use crate::outlet::Outlet;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

type Workers = super::workers::Workers<file::Work>;

/// The state of one driver.
///
/// In a forked child its drop closes descriptors and does no more: only the workers' would do
/// otherwise, and it asks.
pub(crate) struct Readiness {
    // Dropped before `table`: a job that runs uses a held file's number.
    kept: Kept<file::Work>,
    table: Table,
    selector: Selector,
}

/// The selector's key for the notifier's waker. Keys of slots are smaller: see `new`.
const NOTIFIER: u64 = u64::MAX;
/// The one for the workers'.
const WORKERS: u64 = u64::MAX - 1;

impl Readiness {
    pub(crate) fn new(limits: &Limits, core: &Core) -> Result<Self, SetupError> {
        let descriptors = u32::try_from(limits.descriptors).expect("a limit of 20 bits");
        assert!(
            descriptors + limits.file_slots < u32::MAX - 1,
            "a key of a slot is no key of ours"
        );
        let mut selector = Selector::new(core.shared.waker(), NOTIFIER)
            .map_err(|e| SetupError::os(selector::CALL, e))?;
        let workers = match limits.workers {
            0 => None,
            threads => {
                let workers = Workers::start(threads, limits.in_flight, core.shared.clone())
                    .map_err(|e| SetupError::os("pthread_create", e))?;
                selector
                    .watch_waker(workers.bell(), WORKERS)
                    .map_err(|e| SetupError::os(selector::CALL, e))?;
                Some(workers)
            }
        };
        Ok(Self {
            kept: Kept::new(limits, workers),
            table: Table::new(descriptors, limits.file_slots, limits.in_flight),
            selector,
        })
    }

    pub(crate) fn granted(&self) -> Vec<(&'static str, String)> {
        let wait = if self.selector.is_precise() {
            "nanoseconds"
        } else {
            "milliseconds"
        };
        let mut granted = vec![
            ("selector", selector::NAME.to_owned()),
            ("precision of waits", wait.to_owned()),
        ];
        let (descriptors, file_slots) = (self.table.descriptors(), self.table.file_slots());
        granted.extend(self.kept.granted(descriptors, file_slots));
        granted
    }

    pub(crate) fn operations(&self) -> Vec<(&'static str, Support)> {
        let file = if self.kept.workers.is_some() {
            Support::Worker
        } else {
            Support::Inline
        };
        let only_if = |has: bool, support: Support| if has { support } else { Support::Missing };
        let has = native::HAS;
        let xattr = only_if(has.xattrs, file);
        vec![
            ("Nop", Support::Inline),
            ("Timeout", Support::Inline),
            ("ReadAt", file),
            ("WriteAt", file),
            ("Read", Support::Ready),
            ("Write", Support::Ready),
            ("ReadVectored", Support::Ready),
            ("WriteVectored", Support::Ready),
            ("Splice", only_if(has.splice, Support::Ready)),
            ("Tee", only_if(has.splice, Support::Ready)),
            ("ReadVectoredAt", file),
            ("WriteVectoredAt", file),
            ("Sync", file),
            ("SyncRange", only_if(has.sync_range, file)),
            ("Truncate", file),
            ("Allocate", only_if(has.allocate, file)),
            ("Advise", only_if(has.advise, file)),
            ("Stat", file),
            ("StatAt", file),
            ("Recv", Support::Ready),
            ("Send", Support::Ready),
            ("Accept", Support::Ready),
            ("Connect", Support::Ready),
            ("SendTo", Support::Ready),
            ("RecvFrom", Support::Ready),
            ("SendVectored", Support::Ready),
            ("RecvVectored", Support::Ready),
            ("SendToVectored", Support::Ready),
            ("RecvFromVectored", Support::Ready),
            ("SendMsg", Support::Ready),
            ("RecvMsg", Support::Ready),
            ("Shutdown", Support::Inline),
            ("Socket", Support::Inline),
            ("Pipe", Support::Inline),
            ("Bind", Support::Inline),
            ("Listen", Support::Inline),
            ("SetSockOpt", Support::Inline),
            ("GetSockOpt", Support::Inline),
            ("FutexWake", only_if(has.futexes, Support::Inline)),
            ("FutexWait", Support::Missing),
            ("WaitId", Support::Ready),
            ("Deadline", Support::Inline),
            ("TimeoutUpdate", Support::Inline),
            ("Poll", Support::Ready),
            ("OpenAt", file),
            ("Unlink", file),
            ("Rename", file),
            ("MakeDir", file),
            ("Symlink", file),
            ("HardLink", file),
            ("GetXattr", xattr),
            ("SetXattr", xattr),
            ("GetPathXattr", xattr),
            ("SetPathXattr", xattr),
            ("Close", file),
            ("Raw", Support::Missing),
        ]
    }

    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn dispatch(&mut self, core: &mut Core, event: Event) {
        let slot = match self.table.reported(event.key) {
            Ok(Some(slot)) => slot,
            Ok(None) => return,
            Err(()) => {
                core.stats.unknown += 1;
                return;
            }
        };
        if let Some(error) = event.refused {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.refuse(core, slot, event, error) };
            return self.forsake(slot);
        }
        let known = &mut self.table[slot];
        if event.readable {
            known.supplied(event.supply);
        }
        if event.broken {
            known.distrust();
        }
        let due = [
            (Direction::Either, true), // First: what follows takes what it looks at.
            (Direction::Read, event.readable),
            (Direction::Aside, event.readable),
            (Direction::Write, event.writable),
        ];
        for (direction, due) in due {
            if due && !self.table[slot].waiters(direction).is_empty() {
                // SAFETY: (D1) the caller's contract.
                unsafe { self.retry(core, slot, direction) };
            }
        }
        self.forsake(slot);
    }

    /// Completes what has waited for directions of a descriptor that cannot be watched; and what
    /// waits for either, if none is left. What a call says itself comes first: a pipe that nobody
    /// reads may be refused. But a number that was closed may be another file's.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    unsafe fn refuse(&mut self, core: &mut Core, slot: u32, event: Event, error: i32) {
        let refused = Interest {
            read: event.readable,
            write: event.writable,
        };
        let left = self.table[slot].watched().without(refused);
        self.table[slot].watch_only(left);
        for direction in Direction::ALL {
            let concerned = match direction {
                Direction::Read | Direction::Aside => refused.read,
                Direction::Write => refused.write,
                Direction::Either => left.is_none(),
            };
            if concerned {
                if error != libc::EBADF {
                    // SAFETY: (D1) the caller's contract.
                    unsafe { self.retry(core, slot, direction) };
                }
                self.dismiss(core, slot, direction, -error);
            }
        }
    }

    /// See the contract in `sys.rs`.
    pub(crate) fn shut_down<T: Outlet>(&mut self, core: &mut Core, _: &mut T) {
        self.wind_down(core);
    }

    /// See the contract in `sys.rs`. The descriptor is going to be readable when a worker has a
    /// result; if one has come already, the time is now.
    ///
    /// # Safety
    /// (D1) As [`turn`](Self::turn).
    pub(crate) unsafe fn prepare_wait(&mut self, core: &mut Core) -> io::Result<Option<Instant>> {
        // SAFETY: (D1) the caller's contract.
        unsafe { self.turn(core, Block::Never) }?;
        while self.selector.has_changes() {
            // SAFETY: (D1) the caller's contract.
            unsafe { self.ask(core, Some(Duration::ZERO)) }?;
        }
        Ok(self.until())
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.selector.as_raw_fd()
    }
}

impl Keeper for Readiness {
    type Work = file::Work;
    type Kind = Kind;
    const STARTS: Starts<Self> = Starts {
        socket: Self::start_socket,
        stream: Self::start_stream,
        file: Self::start_file,
        path: Self::start_path,
        close: Self::start_close,
        splice: Some(|kept, core, index, call| kept.start_splice(core, index, call, true)),
        plain: Self::perform_plain,
    };

    #[inline]
    fn kept(&self) -> &Kept<file::Work> {
        &self.kept
    }

    #[inline]
    fn kept_mut(&mut self) -> &mut Kept<file::Work> {
        &mut self.kept
    }

    fn files(&mut self) -> &mut Files<Kind> {
        &mut self.table.files
    }

    #[inline]
    fn is_missing(call: &Call) -> bool {
        match call {
            Call::Raw { .. } | Call::FutexWait { .. } => true,
            Call::Splice(_) => !native::HAS.splice,
            Call::Plain(PlainCall::FutexWake { .. }) => !native::HAS.futexes,
            Call::File { call, .. } => match call {
                FileCall::SyncRange { .. } => !native::HAS.sync_range,
                FileCall::Allocate { .. } => !native::HAS.allocate,
                FileCall::Advise { .. } => !native::HAS.advise,
                FileCall::GetXattr { .. } | FileCall::SetXattr { .. } => !native::HAS.xattrs,
                FileCall::Read { .. }
                | FileCall::Write { .. }
                | FileCall::ReadVectored { .. }
                | FileCall::WriteVectored { .. }
                | FileCall::Sync { .. }
                | FileCall::Truncate { .. }
                | FileCall::Stat { .. } => false,
            },
            Call::Path(PathCall::GetXattr { .. } | PathCall::SetXattr { .. }) => {
                !native::HAS.xattrs
            }
            Call::Path(PathCall::Open { flags, .. }) => {
                !native::HAS.direct && flags & open_flags::DIRECT != 0
            }
            Call::Nop
            | Call::Timeout { .. }
            | Call::TimeoutUpdate { .. }
            | Call::Path(_)
            | Call::Stream { .. }
            | Call::Socket { .. }
            | Call::Plain(_)
            | Call::Close { .. } => false,
        }
    }

    unsafe fn ask(&mut self, core: &mut Core, patience: Option<Duration>) -> io::Result<bool> {
        self.kept.begin_to_ask(core);
        let mut rang = false;
        for i in 0..self.selector.wait(patience)? {
            match self.selector.event(i) {
                Event { key: NOTIFIER, .. } => {
                    self.selector.drain(core.shared.waker());
                    rang = true;
                }
                Event { key: WORKERS, .. } => {
                    let workers = self.kept.workers.as_ref().expect("they have rung");
                    self.selector.drain(workers.bell());
                }
                // SAFETY: (D1) the caller's contract.
                event => unsafe { self.dispatch(core, event) },
            }
        }
        Ok(rang)
    }

    #[inline]
    fn has_news(&self) -> bool {
        self.kept.flights.waiting_len() > 0
    }

    fn stop(&mut self, index: u32, state: State) -> bool {
        let State::Waiting { slot, direction } = state else {
            unreachable!("flight {index} is {state:?}")
        };
        self.leave(index, slot, direction);
        true
    }

    fn complete(&mut self, core: &mut Core, index: u32, result: i32) {
        self.kept.complete(core, index, result);
    }

    fn performed(&mut self, core: &mut Core, index: u32, result: i32) {
        if let Call::Splice(call) = self.kept.flights[index].call {
            if self.splice_returned(core, index, call, result) {
                self.start_splice(core, index, call, false);
            }
            return;
        }
        self.complete(core, index, result);
    }

    fn file_slots(&self) -> u32 {
        self.table.file_slots()
    }

    fn hold(&mut self, fd: RawFd) -> io::Result<u32> {
        self.hold_duplicate(fd)
    }

    fn direct(&mut self, core: &mut Core, id: u32, file: u32) {
        let slot = self.table.fixed(id).expect("the range was checked");
        self.retire(core, slot);
        let (fd, kind) = (self.table.files.fd(file), self.table.files.kind(file));
        self.table[slot].occupy(fd, kind, Some(file));
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("pushed", &self.kept.flights.pushed_len())
            .field("waiting", &self.kept.flights.waiting_len())
            .finish_non_exhaustive()
    }
}
