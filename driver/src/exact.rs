//! Operations that the driver follows: until they are whole, or until their time is over.
//!
//! An exact operation travels under a key of its own, which names its place in this table, so that
//! a short result is found before it is anybody's completion. So does one whose deadline no backend
//! keeps: that of several flights, and of what io_uring's linked timeout does not end. The place
//! knows under which key the operation was pushed; its last completion goes out under that.
//!
//! | state of a place | who has the operation | what comes next |
//! |---|---|---|
//! | `Free` | nobody | `Entering` |
//! | `Entering` | the push that encodes it | `InFlight`; `Free` if a method of its buffer panics |
//! | `InFlight` | the kernel, or a worker | `Waiting` after a short result; `Free` with its last |
//! | `Waiting` | the driver, until there is a submission place | `InFlight`; `Free` when it is cancelled |
//!
//! A place that was cancelled does not go on. At its deadline, or when a cancellation found no
//! place of the backend's, the driver cancels it in a submit, and again from time to time: what is
//! between a worker and a queue of the kernel's no cancellation finds. The operation's own memory
//! is touched in a submit only: what a cancellation must know of it, by its safe door, stands in
//! the place.
#![allow(
    unsafe_code,
    reason = "tells operations in flight what they have moved"
)]

use crate::clock::Instant;
use crate::fd::Target;
use crate::key::{Completion, Key};
use crate::list::{Linked, Links, List};
use crate::op::OpHead;
use crate::sys::Which;
use crate::sys::errno::ECANCELED;
use crate::timers::Timers;
use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

/// After so long what was cancelled at its deadline, and goes on, is cancelled again.
const AGAIN: Duration = Duration::from_millis(100);

/// What the table of a followed operation's functions has more than others'.
#[derive(Clone, Copy)]
pub(crate) struct GoesOn {
    /// Begins its first flight. For an operation that is not in flight.
    pub(crate) begin: unsafe fn(NonNull<OpHead>) -> Start,
    /// Counts what its flight has moved, if that is not all. Whether it is not.
    pub(crate) moved: unsafe fn(NonNull<OpHead>, i32) -> bool,
}

/// What is asked of an operation before its first flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// What it is directed at.
    pub(crate) target: Target,
    /// When all of its flights are to be over.
    pub(crate) deadline: Option<Instant>,
}

impl Start {
    pub(crate) fn at(target: Target) -> Self {
        Self {
            target,
            deadline: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Entering,
    InFlight,
    Waiting,
}

/// What is known of one operation that is followed.
struct Followed {
    state: State,
    cancelled: bool,
    /// How often it was freed: a key of an earlier time names nothing.
    generation: u32,
    head: *mut OpHead,
    /// The key under which it was pushed.
    outer: Key,
    target: Target,
    /// Among the free ones, or those in use.
    links: Links,
}

/// The role of [`Followed::links`].
struct Listed;

impl Linked<Listed> for Followed {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// The table: as many places as operations may be in flight.
pub(crate) struct Exacts {
    places: Box<[Followed]>,
    free: List<Listed>,
    used: List<Listed>,
    waiting: u32,
    /// The deadlines of places that have one.
    limits: Timers,
    /// The place of a push that has not returned, or has unwound, and its deadline.
    entering: Option<(u32, Option<Instant>)>,
    /// Whether none goes on any more.
    over: bool,
}

/// What became of a followed operation's completion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No such operation is in flight (I37).
    Unknown,
    /// It goes on.
    GoesOn,
    /// It was the last, and this is what it is to its owner.
    Last(Completion),
}

impl Exacts {
    /// The only place that allocates.
    pub(crate) fn with_capacity(capacity: u32) -> Self {
        let place = |_| Followed {
            state: State::Free,
            cancelled: false,
            generation: 0,
            head: std::ptr::null_mut(),
            outer: Key::raw(0),
            target: Target::Plain(crate::sys::NO_FD),
            links: Links::UNLINKED,
        };
        let mut places: Box<[Followed]> = (0..capacity).map(place).collect();
        let mut free = List::new();
        for index in 0..capacity {
            free.push_back(&mut places, index);
        }
        Self {
            places,
            free,
            used: List::new(),
            waiting: 0,
            limits: Timers::with_capacity(capacity),
            entering: None,
            over: false,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Whether some are to be pushed again.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// A place for an operation that is being pushed; the key for the kernel.
    pub(crate) fn enter(&mut self, head: NonNull<OpHead>, outer: Key, start: Start) -> Key {
        if let Some((index, _)) = self.entering.take() {
            self.release(index); // Its push has unwound.
        }
        let index = self.free.pop_front(&mut self.places);
        let index = index.expect("I2: as many as there are credits");
        self.used.push_back(&mut self.places, index);
        self.entering = Some((index, start.deadline));
        let place = &mut self.places[index as usize];
        assert_eq!(place.state, State::Free, "place {index} is taken");
        place.state = State::Entering;
        place.cancelled = false;
        place.head = head.as_ptr();
        place.outer = outer;
        place.target = start.target;
        Key::exact(index, place.generation)
    }

    /// The operation of the last `enter` was accepted.
    pub(crate) fn entered(&mut self) {
        let (index, deadline) = self.entering.take().expect("it has entered");
        self.places[index as usize].state = State::InFlight;
        if let Some(deadline) = deadline {
            self.limits.insert(deadline.since_zero(), index);
        }
    }

    /// Takes a completion that bears a key of ours.
    ///
    /// # Safety
    /// (D1) Operations that were handed over are where they were.
    pub(crate) unsafe fn complete(&mut self, completion: &Completion) -> Outcome {
        let Some((index, head)) = self.find(completion.key) else {
            return Outcome::Unknown;
        };
        // SAFETY: (D1) in flight until now, by the state of its place.
        let table = unsafe { OpHead::table(head) };
        let goes_on = table.goes_on.expect("what is in a place is followed");
        // SAFETY: (D1) as above: it was handed over, and has come back.
        let is_short = completion.result > 0 && unsafe { (goes_on.moved)(head, completion.result) };
        let place = &mut self.places[index as usize];
        let ends = place.cancelled && !planted!("exact-goes-on") || self.over;
        if is_short && !ends {
            place.state = State::Waiting;
            self.waiting += 1;
            return Outcome::GoesOn;
        }
        let last = Completion {
            key: place.outer,
            result: if is_short {
                -ECANCELED
            } else {
                completion.result
            },
            flags: completion.flags,
        };
        self.release(index);
        Outcome::Last(last)
    }

    /// The next to be pushed again; `pushed` follows when it was.
    pub(crate) fn next_waiting(&self) -> Option<(u32, NonNull<OpHead>, Key)> {
        let mut at = self.used.front();
        while let Some(index) = at {
            let place = &self.places[index as usize];
            if place.state == State::Waiting {
                let head = NonNull::new(place.head).expect("it was entered");
                return Some((index, head, Key::exact(index, place.generation)));
            }
            at = self.used.after(&self.places, index);
        }
        None
    }

    pub(crate) fn pushed(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        assert_eq!(place.state, State::Waiting, "place {index} does not wait");
        place.state = State::InFlight;
        self.waiting -= 1;
    }

    /// The nearer of a deadline and the time when the next place is to be cancelled.
    #[inline]
    pub(crate) fn nearest(&self, deadline: Option<Instant>) -> Option<Instant> {
        if self.is_empty() {
            return deadline;
        }
        let limit = self.limits.next_deadline().map(Instant::from_since_zero);
        deadline.into_iter().chain(limit).min()
    }

    /// There was no place to cancel what it has in flight: the next submit does, as if its time
    /// were over.
    pub(crate) fn hurry(&mut self, index: u32) {
        self.limits.remove(index);
        self.limits.insert(Duration::ZERO, index);
    }

    /// A place whose time is over, and which is to be cancelled: again and again until it is free.
    pub(crate) fn next_late(&mut self, now: Instant) -> Option<u32> {
        let index = self.limits.pop_expired(now.since_zero())?;
        let again = now.saturating_add(AGAIN);
        self.limits.insert(again.since_zero(), index);
        Some(index)
    }

    /// The first place from `at` on, or of all, that a cancellation means.
    pub(crate) fn find_cancelled(&self, at: Option<u32>, which: Which) -> Option<u32> {
        let mut at = match at {
            Some(index) => self.used.after(&self.places, index),
            None => self.used.front(),
        };
        while let Some(index) = at {
            let place = &self.places[index as usize];
            let is_meant = match which {
                Which::Raw(key) | Which::Key(key) => place.outer == key,
                Which::Target(target) => place.target == target,
                Which::All => true,
            };
            if is_meant && place.state != State::Entering {
                return Some(index);
            }
            at = self.used.after(&self.places, index);
        }
        None
    }

    /// The key of a place that is in flight: the kernel's name for it.
    pub(crate) fn key_in_flight(&self, index: u32) -> Option<Key> {
        let place = &self.places[index as usize];
        (place.state == State::InFlight).then(|| Key::exact(index, place.generation))
    }

    /// Cancels what is in a place; one that waits completes by that.
    pub(crate) fn cancel(&mut self, index: u32) -> Option<Completion> {
        let place = &mut self.places[index as usize];
        if place.state == State::InFlight {
            place.cancelled = true;
            return None;
        }
        assert_eq!(place.state, State::Waiting, "place {index} is not in use");
        let last = Completion::last(place.outer, -ECANCELED);
        self.waiting -= 1;
        self.release(index);
        Some(last)
    }

    /// From here on none goes on; what waits is forgotten, for its owner is.
    pub(crate) fn end(&mut self) {
        self.over = true;
        self.waiting = 0;
    }

    fn find(&self, key: Key) -> Option<(u32, NonNull<OpHead>)> {
        let (index, generation) = key.as_slot();
        let place = self.places.get(index as usize)?;
        let is_known = place.generation == generation
            && matches!(place.state, State::InFlight | State::Entering);
        is_known.then(|| NonNull::new(place.head).map(|head| (index, head)))?
    }

    fn release(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.state = State::Free;
        place.head = std::ptr::null_mut();
        place.generation = place.generation.wrapping_add(1);
        self.limits.remove(index);
        self.used.remove(&mut self.places, index);
        self.free.push_front(&mut self.places, index);
    }
}

impl fmt::Debug for Exacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exacts")
            .field("places", &self.places.len())
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Deadline, Exact, WriteAt};

    fn op() -> Exact<WriteAt<crate::driver::Cwd, &'static str>> {
        Exact::new(WriteAt::new(crate::driver::Cwd, 0, "text"))
    }

    /// I37: a key that is not of an operation in flight names nothing.
    #[test]
    fn old_and_unknown_keys_are_nobodys() {
        let mut exacts = Exacts::with_capacity(2);
        let mut op = op();
        let head: NonNull<OpHead> = NonNull::from(&mut op).cast();
        let key = exacts.enter(
            head,
            Key::raw(7),
            Start::at(Target::Plain(crate::sys::NO_FD)),
        );
        exacts.entered();
        let stale = Key::exact(0, 1);
        for unknown in [
            stale,
            Key::exact(1, 0),
            Key::exact(2, 0),
            Key::exact(1 << 19, 9),
        ] {
            // SAFETY: the one operation is where it was.
            let outcome = unsafe { exacts.complete(&Completion::last(unknown, 4)) };
            assert_eq!(outcome, Outcome::Unknown, "{unknown:?}");
        }
        // SAFETY: as above.
        let outcome = unsafe { exacts.complete(&Completion::last(key, -5)) };
        assert_eq!(outcome, Outcome::Last(Completion::last(Key::raw(7), -5)));
        // SAFETY: as above.
        let outcome = unsafe { exacts.complete(&Completion::last(key, -5)) };
        assert_eq!(outcome, Outcome::Unknown);
        assert!(exacts.is_empty());
    }

    #[test]
    fn a_push_that_unwound_leaves_its_place() {
        let mut exacts = Exacts::with_capacity(1);
        let mut op = op();
        let head: NonNull<OpHead> = NonNull::from(&mut op).cast();
        for user_data in 0..3 {
            let _unwound = exacts.enter(
                head,
                Key::raw(user_data),
                Start::at(Target::Plain(crate::sys::NO_FD)),
            );
            assert_eq!(
                exacts.find_cancelled(None, Which::All),
                None,
                "it is nobody's"
            );
        }
    }

    /// I12: what is late is late again and again, until it is complete.
    #[test]
    fn deadlines_end_with_their_operations() {
        let mut exacts = Exacts::with_capacity(2);
        let mut op = op();
        let head: NonNull<OpHead> = NonNull::from(&mut op).cast();
        let now = Instant::from_since_zero(Duration::from_secs(7));
        let start = Start {
            deadline: Some(now),
            ..Start::at(Target::Plain(crate::sys::NO_FD))
        };
        let _unwound = exacts.enter(head, Key::raw(1), start);
        assert_eq!(exacts.next_late(now), None, "it is nobody's");
        let key = exacts.enter(head, Key::raw(1), start);
        exacts.entered();
        assert_eq!(exacts.nearest(None), Some(now));
        for late in [now, now + AGAIN, now + 3 * AGAIN] {
            assert_eq!(exacts.next_late(late), Some(0));
            assert_eq!(exacts.cancel(0), None);
            assert_eq!(exacts.next_late(late), None);
        }
        // SAFETY: the one operation is where it was.
        let outcome = unsafe { exacts.complete(&Completion::last(key, -ECANCELED)) };
        assert_eq!(
            outcome,
            Outcome::Last(Completion::last(Key::raw(1), -ECANCELED))
        );
        assert_eq!(exacts.nearest(None), None);
    }

    /// By way of its own table: the operation inside is told what its flights have moved.
    #[test]
    fn under_a_deadline_the_operation_inside_goes_on() {
        let mut exacts = Exacts::with_capacity(1);
        let mut op = Deadline::after(self::op(), Duration::MAX);
        let head: NonNull<OpHead> = NonNull::from(&mut op).cast();
        // SAFETY: it lives, and is reached through this pointer alone.
        let table = unsafe { OpHead::table(head) };
        let goes_on = table.goes_on.expect("the driver keeps its deadline");
        // SAFETY: not in flight.
        let start = unsafe { (goes_on.begin)(head) };
        let deadline = start.deadline;
        assert!(deadline > Some(Instant::now()));
        let key = exacts.enter(head, Key::raw(1), start);
        exacts.entered();
        for (result, outcome) in [
            (1, Outcome::GoesOn),
            (3, Outcome::Last(Completion::last(Key::raw(1), 3))),
        ] {
            // SAFETY: not in flight.
            unsafe { (table.describe)(head) }.expect("nothing is wrong with it");
            // SAFETY: the one operation is where it was.
            let came = unsafe { exacts.complete(&Completion::last(key, result)) };
            assert_eq!(came, outcome);
            if came == Outcome::GoesOn {
                assert_eq!(exacts.nearest(None), deadline, "that of all its flights");
                exacts.pushed(0);
            }
        }
        assert_eq!(exacts.nearest(None), None);
    }
}
