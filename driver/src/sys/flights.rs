//! The operations in flight: a preallocated slab of plain words, found again by key.
//!
//! | state | where it is linked | who may touch the operation's memory | what comes next |
//! |---|---|---|---|
//! | `Free` | the free places | its owner | `Pushed` |
//! | `Pushed` | the pushed queue | nobody | `Loose`: the turn starts it, or a cancel takes it |
//! | `Loose` | nowhere: in the hands of one function | the driver's thread, in a turn | any below, or `Free` |
//! | `Waiting` (readiness) | the waiters of a descriptor, in one direction | the driver's thread, in a turn | `Loose` |
//! | `Kernel` (IOCP) | nowhere: the kernel's packet names it | the kernel | `Loose` |
//! | `Timer` | the heap of its clock | nobody: the deadline was copied | `Loose` |
//! | `Job` | the workers' queues | a worker thread | `Loose` |
//!
//! So an operation completes from `Loose` only, by [`Flights::remove`], and that is the one door.
//!
//! What is done at once costs no more than a place in the slab and one in the queue. The buckets,
//! by which a flight is found by its key, are filled by the first search that comes after it: most
//! flights end without one. Those that stay until then stand in a list, whose neighbours are
//! touched together, where those of a bucket lie anywhere.

use crate::clock::Clock;
use crate::fd::Target;
use crate::key::Key;
use crate::list::{Linked, Links, List, NONE};
use crate::op::call::{Call, SpliceCall};
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// What an operation waits for.
#[cfg(readiness)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
    /// A read of what does not stand in the stream: urgent data, the queue of errors.
    Aside,
    /// Whatever happens first, and takes nothing: in no order.
    Either,
}

#[cfg(readiness)]
impl Direction {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Aside, Self::Either];

    /// Whether those that wait for it stand in a queue: the first is served first.
    pub(super) fn is_ordered(self) -> bool {
        match self {
            Self::Read | Self::Write => true,
            Self::Aside | Self::Either => false,
        }
    }
}

/// See the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Pushed,
    Loose,
    #[cfg(readiness)]
    Waiting {
        slot: u32,
        direction: Direction,
    },
    #[cfg(iocp)]
    Kernel,
    Timer {
        clock: Clock,
    },
    /// With the held files that it uses: two at most.
    Job {
        files: [Option<u32>; 2],
    },
}

/// What a search by key has to know of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// In the pushed queue, or not at all: it is done at once.
    Queue,
    /// In the list of those that stay.
    Unnamed,
    /// In its bucket.
    Bucket,
}

/// One operation in flight: a cache line of what it does, and one of where it is.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Flight {
    pub(super) call: Call,
    pub(super) key: Key,
    /// Bytes that earlier attempts of the same flight have moved (`MSG_WAITALL`).
    pub(super) moved: u32,
    /// A cancel came while a worker had it: it is not to wait again.
    pub(super) doomed: bool,
    /// How often it was tried since it last waited.
    pub(super) tries: u8,
    /// Whether it has a deadline, which stands in a heap of its own beside whatever the state is.
    pub(super) limited: bool,
    found: Found,
    pub(super) state: State,
    /// Where in the queue of the pushed ones it stands or stood, counted from the first ever.
    place: u64,
    /// The others that wait.
    queue: Links,
    /// The others that a search finds where it finds this one.
    chain: Links,
}

const _: () = assert!(size_of::<Flight>() == 2 * 64);

impl Flight {
    /// What the operation is directed at, if that is a descriptor.
    pub(super) fn target(&self) -> Option<Target> {
        match self.call {
            Call::File { target, .. }
            | Call::Stream { target, .. }
            | Call::Socket { target, .. }
            | Call::Close { target } => Some(target),
            // As io_uring has it.
            Call::Splice(SpliceCall { to, .. }) => Some(to),
            Call::Plain(call) => call.target(),
            Call::Nop
            | Call::Timeout { .. }
            | Call::TimeoutUpdate { .. }
            | Call::Path(_)
            | Call::FutexWait { .. }
            | Call::Raw { .. } => None,
        }
    }

    #[inline]
    fn is_free(&self) -> bool {
        matches!(self.state, State::Free)
    }

    /// It is in no one's hands but the caller's from now on.
    #[inline]
    fn leave_queue(&mut self) {
        assert!(
            matches!(self.state, State::Pushed),
            "I1: a flight in the queue is {:?}",
            self.state
        );
        self.state = State::Loose;
    }

    /// The result of one that ends by `error`: what it has moved before is not lost.
    pub(super) fn cut_short(&self, error: i32) -> i32 {
        debug_assert!(error < 0, "an error number, negated");
        match i32::try_from(self.moved) {
            Ok(moved) if moved > 0 => moved,
            _ => error,
        }
    }
}

/// The role of [`Flight::queue`]: waiters of a descriptor.
#[cfg(readiness)]
pub(super) struct Queued;
/// The role of [`Flight::chain`].
struct Searched;

#[cfg(readiness)]
impl Linked<Queued> for Flight {
    #[inline]
    fn links(&self) -> &Links {
        &self.queue
    }

    #[inline]
    fn links_mut(&mut self) -> &mut Links {
        &mut self.queue
    }
}

impl Linked<Searched> for Flight {
    #[inline]
    fn links(&self) -> &Links {
        &self.chain
    }

    #[inline]
    fn links_mut(&mut self) -> &mut Links {
        &mut self.chain
    }
}

/// The slab. Indexes of it are checked at every use, and name a flight that is not free.
pub(super) struct Flights {
    flights: Box<[Flight]>,
    /// For each flight that is a splice, the table's keys of both descriptors, where they were
    /// attached, when it was started.
    #[cfg(readiness)]
    known: Box<[[Option<u64>; 2]]>,
    free: Vec<u32>,
    /// In the order of the pushes; [`NONE`] where one was taken out. A place for each credit: none
    /// comes back before a turn has emptied the queue.
    pushed: VecDeque<u32>,
    pushed_len: u32,
    /// How many have left `pushed` at its front: the place of its first.
    started: u64,
    /// All before this place are in their buckets, or have left.
    named: u64,
    #[cfg(readiness)]
    waiting_len: u32,
    /// Those that stay, and were not searched for, in the order of the pushes.
    unnamed: List<Searched>,
    buckets: Box<[List<Searched>]>,
    /// What is left of a hash is the index of a bucket.
    shift: u32,
}

impl Flights {
    /// The only place that allocates.
    pub(super) fn with_capacity(capacity: u32) -> Self {
        let flight = |_| Flight {
            call: Call::Nop,
            key: Key::raw(0),
            moved: 0,
            doomed: false,
            tries: 0,
            limited: false,
            found: Found::Queue,
            state: State::Free,
            place: 0,
            queue: Links::UNLINKED,
            chain: Links::UNLINKED,
        };
        // Two at least: a shift by all 64 bits is none.
        let buckets = capacity.next_power_of_two().max(2);
        Self {
            flights: (0..capacity).map(flight).collect(),
            #[cfg(readiness)]
            known: (0..capacity).map(|_| [None; 2]).collect(),
            free: (0..capacity).rev().collect(),
            pushed: VecDeque::with_capacity(capacity as usize),
            pushed_len: 0,
            started: 0,
            named: 0,
            #[cfg(readiness)]
            waiting_len: 0,
            unnamed: List::new(),
            buckets: (0..buckets).map(|_| List::new()).collect(),
            shift: u64::BITS - buckets.trailing_zeros(),
        }
    }

    /// How many were pushed and not started.
    #[inline]
    pub(super) fn pushed_len(&self) -> u32 {
        self.pushed_len
    }

    /// How many wait for a descriptor.
    #[cfg(readiness)]
    #[inline]
    pub(super) fn waiting_len(&self) -> u32 {
        self.waiting_len
    }

    /// The indexes there are, of free ones too.
    pub(super) fn indexes(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.flights.len()).expect("a limit of 32 bits")
    }

    /// Whether nothing is under this index.
    pub(super) fn is_free(&self, index: u32) -> bool {
        self.flights[index as usize].is_free()
    }

    /// Keeps an operation that was pushed.
    #[inline]
    pub(super) fn insert(&mut self, call: Call, key: Key) -> u32 {
        let index = self.free.pop().expect("I2: a credit is a free place");
        let ahead = self.pushed.len();
        assert!(
            ahead < self.flights.len(),
            "I2: a credit is a place in the queue"
        );
        let flight = &mut self.flights[index as usize];
        assert!(flight.is_free(), "I1: flight {index} is taken");
        flight.call = call;
        flight.key = key;
        flight.moved = 0;
        flight.doomed = false;
        flight.tries = 0;
        flight.limited = false;
        flight.state = State::Pushed;
        flight.place = self.started + ahead as u64;
        self.pushed.push_back(index);
        self.pushed_len += 1;
        index
    }

    /// The one door to "complete": frees a loose flight; says whose it was, and whether it had a
    /// deadline.
    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> (Key, bool) {
        let flight = &mut self.flights[index as usize];
        assert!(
            matches!(flight.state, State::Loose),
            "I1: flight {index} completes while it is {:?}",
            flight.state
        );
        flight.state = State::Free;
        let of = (flight.key, flight.limited);
        if flight.found != Found::Queue {
            self.unfind(index);
        }
        // Last in, first out: what is touched next is still in the cache.
        self.free.push(index);
        of
    }

    /// The next one to start, in the order of the pushes.
    #[inline]
    pub(super) fn start_next(&mut self) -> Option<u32> {
        loop {
            let index = self.pushed.pop_front()?;
            self.started += 1;
            if index != NONE {
                self.pushed_len -= 1;
                self[index].leave_queue();
                return Some(index);
            }
        }
    }

    /// Takes one out of the pushed queue.
    pub(super) fn take_pushed(&mut self, index: u32) {
        let flight = &mut self[index];
        flight.leave_queue();
        let at = usize::try_from(flight.place - self.started).expect("a place in the queue");
        self.pushed[at] = NONE;
        self.pushed_len -= 1;
        while self.pushed.back() == Some(&NONE) {
            self.pushed.pop_back();
        }
        self.named = self.named.min(self.started + self.pushed.len() as u64);
    }

    /// Notes where a loose one has gone: a timer, a job, or the kernel.
    pub(super) fn hand_over(&mut self, index: u32, state: State) {
        assert!(is_handed_over(state), "{state:?} has no door");
        self.stay(index, state);
    }

    /// Notes where a loose one stays. It may be there for long: a search by its key is to find it.
    fn stay(&mut self, index: u32, state: State) {
        let flight = &mut self[index];
        assert!(
            matches!(flight.state, State::Loose),
            "flight {index} is linked"
        );
        flight.state = state;
        if flight.found == Found::Queue {
            flight.found = Found::Unnamed;
            self.unnamed.push_back(&mut self.flights, index);
        }
    }

    /// Takes back one from where [`hand_over`](Self::hand_over) had noted it; returns that.
    pub(super) fn take_back(&mut self, index: u32) -> State {
        let state = std::mem::replace(&mut self[index].state, State::Loose);
        assert!(
            is_handed_over(state),
            "flight {index} is {state:?}, and was not handed over"
        );
        state
    }

    /// Appends a loose one to the waiters of a descriptor.
    #[cfg(readiness)]
    pub(super) fn wait(
        &mut self,
        index: u32,
        waiters: &mut List<Queued>,
        slot: u32,
        direction: Direction,
    ) {
        self.stay(index, State::Waiting { slot, direction });
        waiters.push_back(&mut self.flights, index);
        self.waiting_len += 1;
    }

    /// Takes one out of the waiters that it was appended to.
    #[cfg(readiness)]
    pub(super) fn stop_waiting(&mut self, index: u32, waiters: &mut List<Queued>) {
        let state = self[index].state;
        assert!(
            matches!(state, State::Waiting { .. }),
            "flight {index} is {state:?}"
        );
        waiters.remove(&mut self.flights, index);
        self.waiting_len -= 1;
        self[index].state = State::Loose;
    }

    /// Keeps the table's keys of a splice's descriptors.
    #[cfg(readiness)]
    pub(super) fn set_known(&mut self, index: u32, known: [Option<u64>; 2]) {
        self.known[index as usize] = known;
    }

    /// What was kept of a splice's descriptors.
    #[cfg(readiness)]
    pub(super) fn known(&self, index: u32) -> [Option<u64>; 2] {
        self.known[index as usize]
    }

    /// The waiter behind one.
    #[cfg(readiness)]
    #[inline]
    pub(super) fn next_waiter(&self, index: u32, waiters: &List<Queued>) -> Option<u32> {
        waiters.after(&self.flights, index)
    }

    /// No search finds it any more.
    #[inline(never)]
    fn unfind(&mut self, index: u32) {
        let flight = &mut self.flights[index as usize];
        let key = flight.key;
        match std::mem::replace(&mut flight.found, Found::Queue) {
            Found::Queue => {}
            Found::Unnamed => self.unnamed.remove(&mut self.flights, index),
            Found::Bucket => {
                let bucket = self.bucket(key);
                self.buckets[bucket].remove(&mut self.flights, index);
            }
        }
    }

    /// Puts one that is in no list into its bucket, behind all that were pushed before it.
    fn name(&mut self, index: u32) {
        let flight = &mut self.flights[index as usize];
        flight.found = Found::Bucket;
        let key = flight.key;
        let bucket = self.bucket(key);
        self.buckets[bucket].push_back(&mut self.flights, index);
    }

    /// Puts all that there are into their buckets: those that stay were pushed first.
    fn name_all(&mut self) {
        while let Some(index) = self.unnamed.pop_front(&mut self.flights) {
            self.name(index);
        }
        let done = self.named.saturating_sub(self.started);
        let done = usize::try_from(done).expect("no more than the queue has");
        for at in done..self.pushed.len() {
            let index = self.pushed[at];
            if index != NONE {
                self.name(index);
            }
        }
        self.named = self.started + self.pushed.len() as u64;
    }

    /// The oldest one with this key, whether its result is a descriptor or not.
    pub(super) fn find(&mut self, key: Key) -> Option<u32> {
        self.name_all();
        self.matching(self.buckets[self.bucket(key)].front(), key)
    }

    /// The one with the same key that was pushed next after `index`.
    pub(super) fn find_after(&self, index: u32) -> Option<u32> {
        let key = self[index].key;
        let bucket = &self.buckets[self.bucket(key)];
        self.matching(bucket.after(&self.flights, index), key)
    }

    fn matching(&self, mut at: Option<u32>, key: Key) -> Option<u32> {
        let bucket = &self.buckets[self.bucket(key)];
        while let Some(index) = at {
            if self[index].key.without_fd() == key.without_fd() {
                return at;
            }
            at = bucket.after(&self.flights, index);
        }
        None
    }

    /// Multiplies by the golden ratio: neighbours, and multiples of powers of two, part well.
    #[inline]
    fn bucket(&self, key: Key) -> usize {
        let hash = key.without_fd().word().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        usize::try_from(hash >> self.shift).expect("a shift leaves the bits of an index")
    }
}

/// Whether it is the state of one that somebody else has, who gives it back.
fn is_handed_over(state: State) -> bool {
    match state {
        State::Timer { .. } | State::Job { .. } => true,
        #[cfg(iocp)]
        State::Kernel => true,
        #[cfg(readiness)]
        State::Waiting { .. } => false,
        State::Free | State::Pushed | State::Loose => false,
    }
}

impl Index<u32> for Flights {
    type Output = Flight;

    #[inline]
    fn index(&self, index: u32) -> &Flight {
        let flight = &self.flights[index as usize];
        assert!(!flight.is_free(), "I37: flight {index} is free");
        flight
    }
}

impl IndexMut<u32> for Flights {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Flight {
        let flight = &mut self.flights[index as usize];
        assert!(!flight.is_free(), "I37: flight {index} is free");
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_user_data(flights: &mut Flights, user_data: usize) -> Vec<u32> {
        let first = flights.find(Key::raw(user_data));
        std::iter::successors(first, |i| flights.find_after(*i)).collect()
    }

    #[test]
    fn started_in_the_order_of_the_pushes() {
        let mut flights = Flights::with_capacity(3);
        let [a, b, c] = [5, 6, 7].map(|user_data| flights.insert(Call::Nop, Key::raw(user_data)));
        assert_eq!(flights.pushed_len(), 3);
        flights.take_pushed(b);
        assert_eq!(flights.start_next(), Some(a));
        assert_eq!(flights.start_next(), Some(c));
        assert_eq!(flights.start_next(), None);
        for index in [c, a, b] {
            flights.remove(index);
        }
        assert!(flights.indexes().all(|index| flights.is_free(index)));
    }

    #[test]
    fn found_by_user_data_in_the_order_of_the_pushes() {
        for capacity in [1, 2, 3, if cfg!(miri) { 16 } else { 64 }] {
            let mut flights = Flights::with_capacity(capacity);
            for round in 0..3 {
                let pushed: Vec<(u32, usize)> = (0..capacity)
                    .map(|n| (n % 5) as usize * (usize::MAX >> 8) + round)
                    .map(|user_data| (flights.insert(Call::Nop, Key::raw(user_data)), user_data))
                    .collect();
                for (_, user_data) in &pushed {
                    let same = pushed.iter().filter(|(_, other)| other == user_data);
                    let same: Vec<u32> = same.map(|(index, _)| *index).collect();
                    assert_eq!(with_user_data(&mut flights, *user_data), same);
                }
                assert_eq!(flights.find(Key::raw(usize::MAX >> 3)), None);
                // From the middle outwards: every place of a chain is taken from.
                for n in 0..capacity {
                    let (index, user_data) = pushed[((n + capacity / 2) % capacity) as usize];
                    flights.take_pushed(index);
                    assert_eq!(flights.remove(index).0, Key::raw(user_data));
                    assert!(!with_user_data(&mut flights, user_data).contains(&index));
                }
            }
        }
    }

    #[cfg(readiness)]
    #[test]
    fn found_in_the_order_of_the_pushes_wherever_they_are() {
        let mut flights = Flights::with_capacity(8);
        let mut waiters = List::new();
        let mut pushed = Vec::new();
        // One more has started with each search, and the one before it stays.
        for started in 0..4 {
            pushed.extend([(); 2].map(|()| flights.insert(Call::Nop, Key::raw(7))));
            let next = flights.start_next();
            assert_eq!(next, Some(pushed[started]));
            if started % 2 == 0 {
                flights.wait(pushed[started], &mut waiters, 3, Direction::Read);
            } else {
                let clock = Clock::Monotonic;
                flights.hand_over(pushed[started], State::Timer { clock });
            }
            if started != 2 {
                assert_eq!(with_user_data(&mut flights, 7), pushed);
            }
        }
        // One from a bucket, and one that no search has come upon.
        let [first, last] = [pushed.remove(0), pushed.pop().expect("eight were pushed")];
        flights.stop_waiting(first, &mut waiters);
        flights.remove(first);
        flights.take_pushed(last);
        flights.remove(last);
        let new = flights.insert(Call::Nop, Key::raw(7));
        while flights.start_next().is_some_and(|index| index != new) {}
        flights.wait(new, &mut waiters, 3, Direction::Read);
        flights.stop_waiting(new, &mut waiters);
        flights.remove(new);
        assert_eq!(with_user_data(&mut flights, 7), pushed);
    }

    #[test]
    fn found_in_a_place_that_was_searched_before() {
        let mut flights = Flights::with_capacity(2);
        for user_data in 0..3 {
            let index = flights.insert(Call::Nop, Key::raw(user_data));
            assert_eq!(with_user_data(&mut flights, user_data), [index]);
            flights.take_pushed(index);
            flights.remove(index);
        }
        let [first, second] = [3, 4].map(|n| flights.insert(Call::Nop, Key::raw(n)));
        assert_eq!(with_user_data(&mut flights, 4), [second]);
        assert_eq!(flights.start_next(), Some(first));
        assert_eq!(with_user_data(&mut flights, 3), [first]);
    }

    #[cfg(readiness)]
    #[test]
    fn waiters_are_counted() {
        let mut flights = Flights::with_capacity(2);
        let mut waiters = List::new();
        for user_data in 0..2 {
            flights.insert(Call::Nop, Key::raw(user_data).with_fd(true));
            let index = flights.start_next().expect("it was pushed");
            flights.wait(index, &mut waiters, 3, Direction::Write);
        }
        assert_eq!(flights.waiting_len(), 2);
        let first = waiters.front().expect("two wait");
        flights.stop_waiting(first, &mut waiters);
        assert_eq!(flights.waiting_len(), 1);
        assert_eq!(flights.remove(first), (Key::raw(0).with_fd(true), false));
    }

    #[test]
    #[should_panic(expected = "I2: a credit is a free place")]
    fn a_full_slab_is_a_bug() {
        let mut flights = Flights::with_capacity(1);
        flights.insert(Call::Nop, Key::raw(0));
        flights.insert(Call::Nop, Key::raw(0));
    }

    #[test]
    #[should_panic(expected = "completes while it is Pushed")]
    fn none_completes_while_it_is_linked() {
        let mut flights = Flights::with_capacity(1);
        let index = flights.insert(Call::Nop, Key::raw(0));
        flights.remove(index);
    }

    #[test]
    #[should_panic(expected = "completes while it is Free")]
    fn none_completes_twice() {
        let mut flights = Flights::with_capacity(1);
        let index = flights.insert(Call::Nop, Key::raw(0));
        flights.take_pushed(index);
        flights.remove(index);
        flights.remove(index);
    }
}
