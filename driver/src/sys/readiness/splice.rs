//! Between two descriptors: the call is tried first, and waits for the one that is not ready.
//!
//! The kernel does not say which of the two a call would block for: `poll` does. Where one of them
//! is a file, a worker makes the call, which waits for the disk and never for the pipe; what the
//! pipe lacks then, the operation waits for anew.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::attach::set_non_blocking;
use super::file::{Resolved, Work};
use super::flights::Direction;
use super::net::would_block;
use super::stream::ready;
use super::table::Kind;
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::SpliceCall;
use crate::sys::keeper::Keeper as _;
use crate::sys::native;
use crate::sys::workers::Work as _;
use std::io;
use std::os::fd::RawFd;

/// One end of a call.
struct End {
    fd: RawFd,
    slot: Option<u32>,
    file: Option<u32>,
    kind: Kind,
    direction: Direction,
}

/// So often is a call tried again at once that would block although both ends are ready: others
/// were at the pipe in between. More often, and something else is wrong.
const TRIES: u8 = 100;

impl Readiness {
    /// Starts a call between two descriptors; or goes on with one, which overtakes what waits
    /// then.
    pub(super) fn start_splice(
        &mut self,
        core: &mut Core,
        index: u32,
        call: SpliceCall,
        fresh: bool,
    ) {
        if fresh {
            let known = [call.from, call.to].map(|target| self.key_of(target));
            self.kept.flights.set_known(index, known);
        }
        loop {
            let ends = match self.ends(index, call) {
                Ok(ends) => ends,
                Err(error) => return self.complete(core, index, error),
            };
            let queued = |end: &&End| {
                let waiters = |slot: u32| !self.table[slot].waiters(end.direction).is_empty();
                fresh && end.slot.is_some_and(waiters)
            };
            if let Some(end) = ends.iter().find(queued) {
                return self.wait_for(core, index, end);
            }
            // The rest is tried first. What has no mode of its own here might block.
            match unready(ends.iter().filter(|end| end.kind == Kind::Other)) {
                Ok(None) => {}
                Ok(Some(end)) => return self.wait_for(core, index, end),
                Err(error) => return self.complete(core, index, error),
            }
            let [from, to] = &ends;
            let work = Work::Splice {
                from: from.fd,
                to: to.fd,
                call,
            };
            if ends.iter().any(|end| self.needs_a_worker(end)) && self.kept.workers.is_some() {
                let files = [from.file, to.file];
                // SAFETY: (D1) the words are the operation's own, and point to nothing.
                return unsafe { self.perform(core, index, work, files, false) };
            }
            // SAFETY: (D1) it points to nothing.
            let result = unsafe { work.perform(&mut ()) };
            if !self.splice_returned(core, index, call, result) {
                return;
            }
        }
    }

    /// Goes on with one that waits for a descriptor. `false`: that is not ready.
    #[inline(never)]
    pub(super) fn retry_splice(
        &mut self,
        core: &mut Core,
        index: u32,
        call: SpliceCall,
        (fd, slot): (RawFd, u32),
        direction: Direction,
    ) -> bool {
        if ready(fd, events(direction)) == 0 {
            return false;
        }
        let waiters = self.table[slot].waiters_mut(direction);
        self.kept.flights.stop_waiting(index, waiters);
        self.start_splice(core, index, call, false);
        true
    }

    /// Completes a call, or waits for what it lacked. `true`: it is worth another try.
    pub(super) fn splice_returned(
        &mut self,
        core: &mut Core,
        index: u32,
        call: SpliceCall,
        result: i32,
    ) -> bool {
        let flight = &mut self.kept.flights[index];
        let end = if !would_block(result) {
            Err(result)
        } else if flight.doomed {
            Err(-libc::ECANCELED)
        } else {
            flight.tries = flight.tries.saturating_add(1);
            self.lacking(index, call)
        };
        match end {
            Ok(Some(end)) => {
                self.kept.flights[index].tries = 0;
                self.wait_for(core, index, &end);
            }
            Ok(None) if self.kept.flights[index].tries < TRIES => return true,
            Ok(None) => self.complete(core, index, result),
            Err(result) => self.complete(core, index, result),
        }
        false
    }

    /// The end that a call would wait for.
    fn lacking(&self, index: u32, call: SpliceCall) -> Result<Option<End>, i32> {
        let [from, to] = self.ends(index, call)?;
        for end in [from, to] {
            if unready([&end].into_iter())?.is_some() {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The key of a descriptor that is attached or registered: another file has another one.
    fn key_of(&self, target: Target) -> Option<u64> {
        let (_, slot) = self.table.resolve(target)?;
        let slot = slot.filter(|slot| self.table[*slot].is_occupied())?;
        Some(self.table.key(slot))
    }

    /// Both ends; EBADF if one has left the table since the operation was started (I11).
    fn ends(&self, index: u32, call: SpliceCall) -> Result<[End; 2], i32> {
        let known = self.kept.flights.known(index);
        for (target, known) in [call.from, call.to].into_iter().zip(known) {
            if known.is_some() && known != self.key_of(target) {
                return Err(-libc::EBADF);
            }
        }
        Ok([
            self.end(call.from, Direction::Read)?,
            self.end(call.to, Direction::Write)?,
        ])
    }

    fn end(&self, target: Target, direction: Direction) -> Result<End, i32> {
        let number = |e: io::Error| -e.raw_os_error().unwrap_or(libc::EBADF);
        let Resolved { fd, file, .. } = self.resolved(target).ok_or(-libc::EBADF)?;
        let slot = self.table.resolve(target).and_then(|(_, slot)| slot);
        let kind = self.kind(slot, fd)?;
        if kind == Kind::Socket {
            // Attached or not: nothing else keeps a splice from blocking on it.
            set_non_blocking(fd).map_err(number)?;
        }
        Ok(End {
            fd,
            slot,
            file,
            kind,
            direction,
        })
    }

    /// Whether a call may wait for something that nothing reports about.
    fn needs_a_worker(&mut self, end: &End) -> bool {
        match end.kind {
            Kind::File => true,
            Kind::Socket | Kind::Stream => false,
            Kind::Other => end.slot.is_none_or(|slot| {
                let watched = self.watch_end(slot, end).is_ok();
                self.forsake(slot);
                !watched
            }),
        }
    }

    fn watch_end(&mut self, slot: u32, end: &End) -> Result<(), i32> {
        let interest = end.direction.interest();
        self.watch(slot, end.fd, interest, Some(end.kind), -libc::EAGAIN)
    }

    fn wait_for(&mut self, core: &mut Core, index: u32, end: &End) {
        let Some(slot) = end.slot else {
            return self.complete(core, index, -libc::EMFILE);
        };
        if let Err(error) = self.watch_end(slot, end) {
            return self.complete(core, index, error);
        }
        let waiters = self.table[slot].waiters_mut(end.direction);
        self.kept.flights.wait(index, waiters, slot, end.direction);
    }
}

/// The end that the call would wait for.
fn unready<'a>(ends: impl Iterator<Item = &'a End>) -> Result<Option<&'a End>, i32> {
    for end in ends {
        match ready(end.fd, events(end.direction)) {
            0 => return Ok(Some(end)),
            1 => {}
            error => return Err(error),
        }
    }
    Ok(None)
}

/// What `poll` is asked for.
fn events(direction: Direction) -> libc::c_short {
    match direction {
        Direction::Read | Direction::Aside | Direction::Either => libc::POLLIN,
        Direction::Write => libc::POLLOUT,
    }
}

/// Makes the call; it never waits for a pipe.
pub(super) fn perform(from: RawFd, to: RawFd, call: SpliceCall) -> i32 {
    let offset = |offset: Option<u64>| {
        let offset = offset.map(i64::try_from).transpose();
        offset.map_err(|_| -libc::EOVERFLOW)
    };
    match (offset(call.from_offset), offset(call.to_offset)) {
        (Ok(at), Ok(onto)) => {
            let len = call.len as usize;
            native::splice([from, to], [at, onto], len, call.more, call.tee)
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}
