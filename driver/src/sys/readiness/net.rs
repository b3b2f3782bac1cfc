//! Sockets: the call is tried first, and waits for its descriptor only if it would block.
//!
//! Waiters of one descriptor and direction are served first in, first out. A call joins them
//! untried if there are some already, so that it overtakes none. Connects are begun at once, and so
//! are reads of urgent data and of the queue of errors, and polls, which wait in no stream's order.
//!
//! Nor is a receive tried on a stream that an earlier one has emptied, before the selector reports
//! something new: see [`Supply`](super::table::Supply).
//!
//! A descriptor that was not attached is registered with the selector while something waits for it,
//! and accepts and connects make it non-blocking each time; so do sends on Apple. One above the
//! limit of [`descriptors`](crate::driver::Builder::descriptors) cannot be waited for: what would
//! block completes with `EMFILE`.
#![allow(unsafe_code, reason = "makes the calls")]

use super::Readiness;
use super::attach::make_ready;
use super::file::{result, uninterrupted};
use super::flights::{Direction, Flight, State};
use super::selector::{Interest, Selector};
use super::table::{Kind, Slot};
use crate::address::{RawAddress, RawAddressLen};
use crate::fd::Target;
use crate::local::Core;
use crate::op::call::{Call, SocketCall};
use crate::sys::keeper::Keeper as _;
use crate::sys::{message, native, poll_events, process};
use std::os::fd::RawFd;

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Done(i32),
    /// A read that a stream could not give all it had room for.
    Short(i32),
    WouldBlock,
}

use Attempt::{Done, Short, WouldBlock};

impl Attempt {
    /// Says of a read with room for `len` bytes whether it was short. A flag may have made it so.
    #[inline]
    pub(super) fn of_a_read(self, len: u32, flags: i32) -> Self {
        match self {
            Done(read) if flags == 0 && read > 0 && read.unsigned_abs() < len => Short(read),
            other => other,
        }
    }
}

impl Readiness {
    /// Starts an operation on a socket.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    #[inline]
    pub(super) unsafe fn start_socket(
        &mut self,
        core: &mut Core,
        index: u32,
        target: Target,
        call: SocketCall,
    ) {
        let Some((fd, slot)) = self.table.resolve(target) else {
            return self.complete(core, index, -libc::EBADF);
        };
        let direction = direction(call);
        let attached = || slot.is_some_and(|slot| self.table[slot].is_occupied());
        if has_no_flags(call, direction) && !attached() {
            if let Err(e) = make_ready(fd) {
                return self.complete(core, index, -e.raw_os_error().unwrap_or(libc::EBADF));
            }
        }
        let known = slot.map(|slot| &mut self.table[slot]);
        if known
            .is_none_or(|slot| is_worth_a_try(slot, direction, call) || planted!("queue-jumped"))
        {
            // SAFETY: (D1) the caller's contract.
            let attempt = unsafe { first_attempt(&mut self.kept.flights[index], fd, call) };
            if let Some(result) = self.outcome(attempt, slot, direction) {
                return self.complete(core, index, result);
            }
        }
        self.wait_for_socket(core, index, (fd, slot), direction, call);
    }

    /// The result of a try, if it has one; notes what it tells about the descriptor.
    #[inline]
    pub(super) fn outcome(
        &mut self,
        attempt: Attempt,
        slot: Option<u32>,
        direction: Direction,
    ) -> Option<i32> {
        let (result, read) = match attempt {
            Done(result) => return Some(result),
            Short(result) => (Some(result), result.unsigned_abs()),
            WouldBlock if direction == Direction::Read => (None, u32::MAX),
            WouldBlock => return None,
        };
        if let Some(slot) = slot {
            self.table[slot].drain(read);
        }
        result
    }

    #[inline(never)]
    fn wait_for_socket(
        &mut self,
        core: &mut Core,
        index: u32,
        (fd, slot): (RawFd, Option<u32>),
        direction: Direction,
        call: SocketCall,
    ) {
        let Some(slot) = slot else {
            return self.complete_short(core, index, -libc::EMFILE);
        };
        let known = &self.table[slot];
        let (interest, never, kind) = match call {
            SocketCall::Poll { events } => {
                let kind = known.is_occupied().then(|| known.kind());
                (polled(events), -libc::EINVAL, kind)
            }
            SocketCall::Recv { .. }
            | SocketCall::Send { .. }
            | SocketCall::SendTo { .. }
            | SocketCall::SendMsg { .. }
            | SocketCall::RecvMsg { .. }
            | SocketCall::Accept { .. }
            | SocketCall::Connect { .. } => {
                (direction.interest(), -libc::EAGAIN, Some(Kind::Socket))
            }
            SocketCall::WaitId { .. } => (direction.interest(), -libc::EAGAIN, Some(Kind::Stream)),
        };
        if let Err(error) = self.watch(slot, fd, interest, kind, never) {
            return self.complete_short(core, index, error);
        }
        let waiters = self.table[slot].waiters_mut(direction);
        self.kept.flights.wait(index, waiters, slot, direction);
    }

    /// Has the selector report about a descriptor of a kind, if that is known. An error is its
    /// number, negated. For a file that it never reports about that is `never`.
    pub(super) fn watch(
        &mut self,
        slot: u32,
        fd: RawFd,
        interest: Interest,
        kind: Option<Kind>,
        never: i32,
    ) -> Result<(), i32> {
        let missing = interest.without(self.table[slot].watched());
        if missing.is_none() {
            return Ok(());
        }
        let key = self.table.key(slot);
        match self.selector.register(fd, key, missing, kind) {
            // Nothing ever reports about this file: the call's own answer stands.
            Ok(Interest::NONE) if missing == interest => Err(never),
            Ok(watched) => {
                let slot = &mut self.table[slot];
                // A number that was not attached may name another socket at any time.
                let tells = watched.read && slot.is_occupied() && empties(fd);
                slot.watch(watched, tells.then_some(Selector::SUPPLY));
                Ok(())
            }
            Err(e) => Err(-e.raw_os_error().expect("the error of a call has a number")),
        }
    }

    /// Has it report no more.
    pub(super) fn unwatch(&mut self, slot: u32) {
        let slot = &mut self.table[slot];
        if slot.is_watched() {
            self.selector.deregister(slot.fd(), slot.watched());
            slot.watch_only(Interest::NONE);
        }
    }

    /// Retries what waits for a descriptor, in order, until a call would block again.
    ///
    /// This ends: nothing is started here, so each round completes an operation for good.
    ///
    /// # Safety
    /// (D1) As [`turn`](Readiness::turn).
    pub(super) unsafe fn retry(&mut self, core: &mut Core, slot: u32, direction: Direction) {
        let fd = self.table[slot].fd();
        let mut at = self.table[slot].waiters(direction).front();
        while let Some(index) = at {
            let waiters = self.table[slot].waiters(direction);
            at = self.kept.flights.next_waiter(index, waiters);
            let flight = &mut self.kept.flights[index];
            debug_assert_eq!(
                flight.state,
                State::Waiting { slot, direction },
                "a waiter is in its own list"
            );
            if let Call::Splice(call) = flight.call {
                if !self.retry_splice(core, index, call, (fd, slot), direction) {
                    break;
                }
                continue;
            }
            // SAFETY: (D1) the caller's contract.
            let attempt = unsafe { next_attempt(flight, fd) };
            if let Some(result) = self.outcome(attempt, Some(slot), direction) {
                let waiters = self.table[slot].waiters_mut(direction);
                self.kept.flights.stop_waiting(index, waiters);
                self.complete(core, index, result);
                let is_empty = direction == Direction::Read && self.table[slot].is_drained();
                if is_empty || planted!("one-waiter-served") {
                    break;
                }
            } else if direction.is_ordered() {
                break;
            }
        }
    }

    /// Takes a waiter out of its list; it is loose then.
    pub(super) fn leave(&mut self, index: u32, slot: u32, direction: Direction) {
        let waiters = self.table[slot].waiters_mut(direction);
        self.kept.flights.stop_waiting(index, waiters);
        self.forsake(slot);
    }

    /// Stops watching a descriptor that nothing waits for and that nobody has attached: the
    /// number may be closed and reused without a word.
    pub(super) fn forsake(&mut self, slot: u32) {
        let known = &self.table[slot];
        if known.is_watched() && !known.is_occupied() && !known.has_waiters() {
            self.unwatch(slot);
            self.table[slot].grow_older();
        }
    }
}

/// Whether no flag of a call keeps it from blocking, so that the socket itself is told.
#[inline]
fn has_no_flags(call: SocketCall, direction: Direction) -> bool {
    match call {
        SocketCall::Accept { .. } | SocketCall::Connect { .. } => true,
        _ => !native::HAS.send_flags && direction == Direction::Write,
    }
}

/// Whether a call that is new may be made now: it overtakes no other, and may find something.
#[inline]
fn is_worth_a_try(slot: &mut Slot, direction: Direction, call: SocketCall) -> bool {
    match direction {
        Direction::Aside => {
            // Urgent data stops other reads, before it is taken and after it.
            slot.distrust();
            true
        }
        Direction::Either => true,
        Direction::Read => slot.admits(direction, waits_for_bytes(call)),
        Direction::Write => {
            matches!(call, SocketCall::Connect { .. }) || slot.admits(direction, false)
        }
    }
}

/// What is watched for a poll: the peer's end is something to read, and an error is reported with
/// either.
fn polled(events: u16) -> Interest {
    if events & poll_events::OUT != 0 {
        Interest::BOTH
    } else {
        Interest::READ
    }
}

/// Whether a call waits while a stream is empty.
#[inline]
fn waits_for_bytes(call: SocketCall) -> bool {
    match call {
        // Whoever sets the flag himself wants to hear of it.
        SocketCall::Recv { flags, .. } | SocketCall::RecvMsg { flags, .. } => {
            flags & libc::MSG_DONTWAIT == 0
        }
        SocketCall::Send { .. }
        | SocketCall::SendTo { .. }
        | SocketCall::SendMsg { .. }
        | SocketCall::Accept { .. }
        | SocketCall::Connect { .. }
        | SocketCall::Poll { .. }
        | SocketCall::WaitId { .. } => false,
    }
}

/// What a call waits for when it would block.
#[inline]
fn direction(call: SocketCall) -> Direction {
    if planted!("wrong-direction") && matches!(call, SocketCall::SendMsg { .. }) {
        return Direction::Read;
    }
    match call {
        SocketCall::Recv { flags, .. } | SocketCall::RecvMsg { flags, .. }
            if flags & native::ASIDE != 0 =>
        {
            Direction::Aside
        }
        SocketCall::Recv { .. } | SocketCall::RecvMsg { .. } | SocketCall::Accept { .. } => {
            Direction::Read
        }
        SocketCall::Send { .. }
        | SocketCall::SendTo { .. }
        | SocketCall::SendMsg { .. }
        | SocketCall::Connect { .. } => Direction::Write,
        SocketCall::Poll { .. } | SocketCall::WaitId { .. } => Direction::Either,
    }
}

/// Makes the call for the first time.
///
/// # Safety
/// (D1) What the call points to is lent, and nobody else touches it now.
#[inline]
unsafe fn first_attempt(flight: &mut Flight, fd: RawFd, call: SocketCall) -> Attempt {
    match call {
        SocketCall::Connect { addr, addr_len } => {
            // SAFETY: (D1) the kernel reads an address that was lent.
            let mut result = unsafe { connect(fd, addr, addr_len) };
            if result == -libc::ECONNABORTED {
                // On Linux what is left of a connect that failed earlier; it is gone now.
                // SAFETY: (D1) as above.
                result = unsafe { connect(fd, addr, addr_len) };
            }
            if result == -libc::EINPROGRESS {
                WouldBlock
            } else {
                Done(result)
            }
        }
        // SAFETY: (D1) the caller's contract.
        _ => unsafe { attempt(flight, fd, call) },
    }
}

/// A connect that a signal interrupts goes on by itself: it counts as in progress.
///
/// # Safety
/// The address is readable, as long as its length says.
unsafe fn connect(fd: RawFd, addr: *const RawAddress, addr_len: RawAddressLen) -> i32 {
    // SAFETY: (K1) the caller's contract.
    let returned = unsafe { libc::connect(fd, addr.cast(), addr_len) };
    match result(returned as isize) {
        error if error == -libc::EINTR => -libc::EINPROGRESS,
        result => result,
    }
}

/// Makes the call of one that has waited again.
///
/// # Safety
/// (D1) What the call points to is lent, and nobody else touches it now.
#[inline]
unsafe fn next_attempt(flight: &mut Flight, fd: RawFd) -> Attempt {
    match flight.call {
        // SAFETY: (D1) the caller's contract.
        Call::Socket { call, .. } => unsafe { attempt(flight, fd, call) },
        // SAFETY: (D1) the caller's contract.
        Call::Stream { call, .. } => unsafe { super::stream::attempt(fd, call) },
        call => unreachable!("{call:?} waits for no socket"),
    }
}

/// Makes a call; for a connect, looks what became of it.
///
/// # Safety
/// (D1) What the call points to is lent, and nobody else touches it now.
unsafe fn attempt(flight: &mut Flight, fd: RawFd, call: SocketCall) -> Attempt {
    match call {
        SocketCall::Recv { ptr, len, flags } => {
            let attempt = transfer(flight, fd, len, flags, |done, flags| {
                let room = (len - done) as usize;
                let ptr = ptr.wrapping_add(done as usize);
                // SAFETY: (D1) the kernel writes at most the rest of a buffer that was lent.
                unsafe { native::recv(fd, ptr, room, flags) }
            });
            attempt.of_a_read(len, flags)
        }
        SocketCall::Send { ptr, len, flags } => transfer(flight, fd, len, flags, |done, flags| {
            let rest = (len - done) as usize;
            let ptr = ptr.wrapping_add(done as usize);
            // SAFETY: (D1) the kernel reads at most the rest of a buffer that was lent.
            unsafe { native::send(fd, ptr, rest, flags) }
        }),
        SocketCall::SendTo {
            ptr,
            len,
            flags,
            addr,
            addr_len,
        } => transfer(flight, fd, len, flags, |done, flags| {
            let rest = (len - done) as usize;
            let ptr = ptr.wrapping_add(done as usize);
            // SAFETY: (D1) the kernel reads at most the rest of a buffer that was lent, and an
            // address in the operation.
            unsafe { libc::sendto(fd, ptr.cast(), rest, flags, addr.cast(), addr_len) }
        }),
        SocketCall::SendMsg { msg, len, flags } => {
            transfer(flight, fd, len, flags, |done, flags| {
                // SAFETY: (D1) a message in the operation, which nobody else touches.
                unsafe { message::skip(msg, len, done) };
                // SAFETY: (D1) the kernel reads what it describes, which was lent.
                unsafe { libc::sendmsg(fd, msg, flags) }
            })
        }
        SocketCall::RecvMsg {
            msg,
            len,
            flags,
            control,
        } => {
            let attempt = transfer(flight, fd, len, flags, |done, flags| {
                // SAFETY: (D1) a message in the operation, which nobody else touches.
                unsafe { message::skip(msg, len, done) };
                // SAFETY: (D1) as above.
                unsafe { message::make_room(msg) };
                // SAFETY: (D1) the kernel writes where it describes, which was lent.
                unsafe { native::recv_message(fd, msg, flags) }
            });
            // What comes beside the bytes may part them.
            if control {
                attempt
            } else {
                attempt.of_a_read(len, flags)
            }
        }
        SocketCall::Accept { addr, addr_len } => {
            // SAFETY: (D1) the kernel writes an address and its length into fields of the
            // operation; the length says how much room there is.
            let result = unsafe { native::accept(fd, addr.cast(), addr_len) };
            if !would_block(result) {
                return Done(result);
            }
            // Of a Unix listener that was shut down the call says so for ever, where one that may
            // block is `EINVAL` (seen on Linux 6.18).
            match poll(fd, 0) {
                WouldBlock => WouldBlock,
                Done(_) | Short(_) => Done(-libc::EINVAL),
            }
        }
        SocketCall::Connect { addr, addr_len } => match pending_error(fd) {
            // Asked again, so that the socket itself learns that it is connected: otherwise the
            // next connect on it, which is to fail, would (`a_connect_is_settled`).
            0 => match uninterrupted(|| {
                // SAFETY: (D1) the kernel reads an address that was lent.
                let returned = unsafe { libc::connect(fd, addr.cast(), addr_len) };
                returned as isize
            }) {
                // Woken for something else, an ICMP report in the error queue for instance.
                error if error == -libc::EALREADY || error == -libc::EINPROGRESS => WouldBlock,
                // Some protocols know already, and say so.
                error if native::is_connected(error) => Done(0),
                result => Done(result),
            },
            error => Done(error),
        },
        SocketCall::Poll { events } => poll(fd, events),
        SocketCall::WaitId { info, keep } => {
            // SAFETY: (D1) a field of the operation, which is lent.
            let result = unsafe { process::ask(fd, info, keep) };
            // SAFETY: (D1) as above; nobody else touches it now.
            if result == 0 && unsafe { &*info }.decode().is_none() {
                WouldBlock
            } else {
                Done(result)
            }
        }
    }
}

/// Asks what a descriptor is ready for, in the words of io_uring: it looks for the peer's end
/// always, and what is not open is an error, negative numbers too.
fn poll(fd: RawFd, events: u16) -> Attempt {
    if fd < 0 {
        return Done(-libc::EBADF);
    }
    let result = uninterrupted(|| {
        let events = (events | poll_events::RDHUP).to_ne_bytes();
        let mut asked = libc::pollfd {
            fd,
            events: i16::from_ne_bytes(events),
            revents: 0,
        };
        // SAFETY: (K1) the kernel reads and writes one local.
        match unsafe { libc::poll(&raw mut asked, 1, 0) } {
            1 => u16::from_ne_bytes(asked.revents.to_ne_bytes()) as isize,
            n => n as isize,
        }
    });
    match result {
        0 => WouldBlock,
        ready if ready > 0 && ready & i32::from(libc::POLLNVAL) != 0 => Done(-libc::EBADF),
        result => Done(result),
    }
}

/// Sends or receives without blocking, whatever the socket's own mode is.
///
/// With `MSG_WAITALL` a stream goes on until the buffer is done with: the kernel cannot do that
/// for a call that must not block. An error after that is left to the next call.
fn transfer(
    flight: &mut Flight,
    fd: RawFd,
    len: u32,
    flags: i32,
    call: impl Fn(u32, i32) -> isize,
) -> Attempt {
    loop {
        let done = flight.moved;
        let result = uninterrupted(|| call(done, flags | libc::MSG_DONTWAIT));
        let Ok(moved) = u32::try_from(result) else {
            // Whoever sets the flag himself wants to hear of it.
            if would_block(result) && flags & libc::MSG_DONTWAIT == 0 {
                return WouldBlock;
            }
            return Done(flight.cut_short(result));
        };
        let total = done + moved;
        assert!(
            total <= len || flags & libc::MSG_TRUNC != 0,
            "I9: more was moved than there is"
        );
        let goes_on = flags & (libc::MSG_WAITALL | libc::MSG_PEEK) == libc::MSG_WAITALL;
        if !goes_on || moved == 0 || total >= len || !is_stream(fd) {
            return Done(i32::try_from(total).expect("I28: lengths are clamped to 31 bits"));
        }
        flight.moved = total;
    }
}

pub(super) fn would_block(result: i32) -> bool {
    result == -libc::EAGAIN || result == -libc::EWOULDBLOCK
}

/// The error that waits on a socket, negated and taken; 0 if there is none. If there is no way to
/// ask, that error.
fn pending_error(fd: RawFd) -> i32 {
    match option(fd, libc::SOL_SOCKET, libc::SO_ERROR) {
        Ok(error) => -error,
        Err(error) => error,
    }
}

/// Whether a short read empties it, as [`Supply`](super::table::Supply) says.
fn empties(fd: RawFd) -> bool {
    native::empties(|level, name| option(fd, level, name))
}

fn is_stream(fd: RawFd) -> bool {
    option(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

/// An integer, or the first bytes of a text, as one.
fn option(fd: RawFd, level: i32, name: i32) -> Result<i32, i32> {
    const LEN: libc::socklen_t = 4;
    const { assert!(size_of::<i32>() == LEN as usize) };
    let (mut value, mut len) = (0_i32, LEN);
    let result = result({
        // SAFETY: (K1) the kernel writes one integer and its length to locals.
        let result =
            unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
        result as isize
    });
    if result < 0 { Err(result) } else { Ok(value) }
}
