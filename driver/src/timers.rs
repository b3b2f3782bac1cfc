//! Preallocated timers: an indexed heap, ordered by deadline and then by insertion.
//!
//! Pure: it reads no clock (`now` is a parameter) and does no IO. Memory is taken once, 36 bytes
//! for each key (on the usual targets).

use std::time::Duration;

/// Children of a node: four of them lie in two cache lines.
const ARITY: u32 = 4;

/// The position of a key that is not in the heap.
const ABSENT: u32 = u32::MAX;

/// Up to `capacity` timers, each named by a key below `capacity`.
///
/// A key stands in the heap at most once, so that a key in the caller's hands is room for it:
/// there is no *full*.
///
/// Invariants: `heap[..len]` is a heap of [`ARITY`] (no timer before its parent); `position[key]`
/// is the index of the key's timer there, or [`ABSENT`]; `heap[len..]` is stale.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: Box<[Timer]>,
    position: Box<[u32]>,
    len: u32,
    /// The sequence number of the next insertion. At one per nanosecond it lasts 584 years.
    next_sequence: u64,
}

/// Ordered by its fields from the first to the last. No two have the same `sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    /// Since the clock's zero.
    deadline: Duration,
    sequence: u64,
    key: u32,
}

const _: () = assert!(size_of::<Timer>() <= 32);

impl Timers {
    /// Room for `capacity` timers. The only place that allocates.
    pub(crate) fn with_capacity(capacity: u32) -> Self {
        let stale = Timer {
            deadline: Duration::ZERO,
            sequence: 0,
            key: 0,
        };
        Self {
            heap: vec![stale; capacity as usize].into_boxed_slice(),
            position: vec![ABSENT; capacity as usize].into_boxed_slice(),
            len: 0,
            next_sequence: 0,
        }
    }

    /// How many timers are set.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no timer is set.
    #[cfg(any(readiness, iocp, test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The earliest deadline, since the clock's zero.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.first().map(|timer| timer.deadline)
    }

    /// Sets a timer.
    ///
    /// # Panics
    ///
    /// If `key` is not below the capacity, or its timer is set already.
    pub(crate) fn insert(&mut self, deadline: Duration, key: u32) {
        assert!(
            (key as usize) < self.position.len(),
            "key {key} is beyond the capacity"
        );
        assert_eq!(
            self.position[key as usize], ABSENT,
            "the timer of key {key} is set already"
        );
        let timer = Timer {
            deadline,
            sequence: self.next_sequence,
            key,
        };
        self.next_sequence += 1;
        self.len += 1;
        self.sift_up(self.len - 1, timer);
    }

    /// Takes a timer back. `false`: it was not set, or it expired and was popped.
    ///
    /// # Panics
    ///
    /// If `key` is not below the capacity.
    pub(crate) fn remove(&mut self, key: u32) -> bool {
        assert!(
            (key as usize) < self.position.len(),
            "key {key} is beyond the capacity"
        );
        let index = self.position[key as usize];
        if index == ABSENT {
            return false;
        }
        let timer = self.take(index);
        debug_assert_eq!(timer.key, key);
        true
    }

    /// Takes out the first of the timers whose deadline is not after `now`, and gives its key.
    pub(crate) fn pop_expired(&mut self, now: Duration) -> Option<u32> {
        if self.first()?.deadline > now && !planted!("timer-early") {
            return None;
        }
        Some(self.take(0).key)
    }

    fn first(&self) -> Option<&Timer> {
        self.heap[..self.len as usize].first()
    }

    /// Takes out the timer at `index`; the last one fills the hole.
    fn take(&mut self, index: u32) -> Timer {
        assert!(index < self.len);
        let taken = self.heap[index as usize];
        self.position[taken.key as usize] = ABSENT;
        self.len -= 1;
        if index < self.len {
            let last = self.heap[self.len as usize];
            // It may come from another branch, and belong above the hole as well as below it.
            if index > 0 && last < self.heap[parent(index) as usize] {
                self.sift_up(index, last);
            } else {
                self.sift_down(index, last);
            }
        }
        taken
    }

    /// Places `timer` at `hole` or above it.
    fn sift_up(&mut self, mut hole: u32, timer: Timer) {
        while hole > 0 {
            let above = self.heap[parent(hole) as usize];
            if above < timer {
                break;
            }
            self.place(hole, above);
            hole = parent(hole);
        }
        self.place(hole, timer);
    }

    /// Places `timer` at `hole` or below it.
    fn sift_down(&mut self, mut hole: u32, timer: Timer) {
        while let Some(child) = self.first_child(hole) {
            let below = self.heap[child as usize];
            if timer < below {
                break;
            }
            self.place(hole, below);
            hole = child;
        }
        self.place(hole, timer);
    }

    /// The index of the earliest of a node's children.
    fn first_child(&self, parent: u32) -> Option<u32> {
        // What saturates lies beyond `len`, and so does what it stands for.
        let start = parent.saturating_mul(ARITY).saturating_add(1);
        let end = start.saturating_add(ARITY).min(self.len);
        (start..end).min_by_key(|&index| self.heap[index as usize])
    }

    fn place(&mut self, index: u32, timer: Timer) {
        self.heap[index as usize] = timer;
        self.position[timer.key as usize] = index;
    }
}

fn parent(index: u32) -> u32 {
    (index - 1) / ARITY
}

/// The heap beside what it must do.
#[cfg(any(test, fuzzing))]
pub(crate) mod model {
    use super::*;
    use std::collections::BTreeMap;

    pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

    fn assert_invariants(timers: &Timers) {
        let heap = &timers.heap[..timers.len()];
        for (index, timer) in (0..timers.len).zip(heap) {
            assert_eq!(timers.position[timer.key as usize], index);
            assert!(index == 0 || heap[parent(index) as usize] < *timer);
        }
        let set = timers
            .position
            .iter()
            .filter(|&&index| index != ABSENT)
            .count();
        assert_eq!(set, timers.len());
    }

    /// What the heap must do, done by an ordered map.
    #[derive(Default)]
    struct Model {
        queue: BTreeMap<(Duration, u64), u32>,
        set: BTreeMap<u32, (Duration, u64)>,
        sequence: u64,
    }

    impl Model {
        fn insert(&mut self, deadline: Duration, key: u32) {
            let place = (deadline, self.sequence);
            self.sequence += 1;
            assert_eq!(self.queue.insert(place, key), None);
            assert_eq!(self.set.insert(key, place), None);
        }

        fn remove(&mut self, key: u32) -> bool {
            let Some(place) = self.set.remove(&key) else {
                return false;
            };
            assert_eq!(self.queue.remove(&place), Some(key));
            true
        }

        fn pop_expired(&mut self, now: Duration) -> Option<u32> {
            let (&(deadline, _), &key) = self.queue.first_key_value()?;
            (deadline <= now && self.remove(key)).then_some(key)
        }

        fn next_deadline(&self) -> Option<Duration> {
            self.queue
                .first_key_value()
                .map(|(&(deadline, _), _)| deadline)
        }
    }

    /// Does to a heap what the bytes say, and to an ordered map, which must agree; says how many
    /// timers have expired. The first is the capacity; then it is three for a step.
    pub fn compare(bytes: &[u8]) -> usize {
        let Some((capacity, steps)) = bytes.split_first() else {
            return 0;
        };
        let capacity = u32::from(*capacity).max(1);
        let mut timers = Timers::with_capacity(capacity);
        let memory = (timers.heap.as_ptr(), timers.position.as_ptr());
        let mut model = Model::default();
        let mut now = Duration::ZERO;
        let mut popped = 0;
        for step in steps.chunks_exact(3) {
            let key = u32::from(step[1]) % capacity;
            match step[0] % 8 {
                0..=3 if model.set.contains_key(&key) => {}
                0..=3 => {
                    let deadline = deadline(step[2], now);
                    timers.insert(deadline, key);
                    model.insert(deadline, key);
                }
                4 => assert_eq!(timers.remove(key), model.remove(key)),
                5..=6 => now += u32::from(step[2] % 8) * MILLISECOND,
                _ => loop {
                    let expired = timers.pop_expired(now);
                    assert_eq!(expired, model.pop_expired(now));
                    if expired.is_none() {
                        break;
                    }
                    popped += 1;
                },
            }
            assert_eq!(timers.next_deadline(), model.next_deadline());
            assert_eq!(timers.len(), model.queue.len());
            assert_eq!(timers.is_empty(), model.queue.is_empty());
            assert_invariants(&timers);
        }
        while let Some(key) = timers.pop_expired(Duration::MAX) {
            assert_eq!(Some(key), model.pop_expired(Duration::MAX));
        }
        assert!(timers.is_empty() && model.queue.is_empty());
        assert_eq!(
            memory,
            (timers.heap.as_ptr(), timers.position.as_ptr()),
            "no new memory"
        );
        popped
    }

    fn deadline(number: u8, now: Duration) -> Duration {
        match number {
            0..=15 => Duration::ZERO,
            16..=31 => Duration::MAX,
            // Few different ones, some of them in the past: many are equal.
            _ => (now + u32::from(number % 32) * MILLISECOND).saturating_sub(4 * MILLISECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::model::{MILLISECOND, compare};
    use super::*;
    use crate::fuzzing::noise;

    #[test]
    fn as_an_ordered_map() {
        let steps = if cfg!(miri) { 100 } else { 50_000 };
        for (seed, capacity) in [(1, 1), (2, 2), (3, 5), (4, 21), (5, 64)] {
            let mut bytes = noise(seed, 1 + 3 * steps);
            bytes[0] = capacity;
            let popped = compare(&bytes);
            assert!(
                popped >= steps / 100,
                "the run did not test what it should: {popped} popped"
            );
        }
    }

    #[test]
    fn never_early() {
        let mut timers = Timers::with_capacity(1);
        let deadline = Duration::from_nanos(1_000);
        timers.insert(deadline, 0);
        assert_eq!(timers.pop_expired(deadline - Duration::from_nanos(1)), None);
        assert_eq!(timers.pop_expired(deadline), Some(0));
        assert_eq!(timers.pop_expired(Duration::MAX), None);
    }

    #[test]
    fn equal_deadlines_expire_in_the_order_of_insertion() {
        let mut timers = Timers::with_capacity(100);
        let keys = || (0..100).map(|n| n * 37 % 100);
        for key in keys() {
            timers.insert(MILLISECOND, key);
        }
        for key in keys() {
            assert_eq!(timers.pop_expired(MILLISECOND), Some(key));
        }
        assert!(timers.is_empty());
    }

    #[test]
    fn set_anew_is_last_among_equals() {
        let mut timers = Timers::with_capacity(2);
        timers.insert(MILLISECOND, 0);
        timers.insert(MILLISECOND, 1);
        assert!(timers.remove(0));
        timers.insert(MILLISECOND, 0);
        assert_eq!(timers.pop_expired(MILLISECOND), Some(1));
        assert_eq!(timers.pop_expired(MILLISECOND), Some(0));
    }

    #[test]
    fn zero_and_huge_deadlines() {
        let mut timers = Timers::with_capacity(2);
        timers.insert(Duration::MAX, 0);
        timers.insert(Duration::ZERO, 1);
        assert_eq!(timers.next_deadline(), Some(Duration::ZERO));
        assert_eq!(timers.pop_expired(Duration::ZERO), Some(1));
        assert_eq!(timers.next_deadline(), Some(Duration::MAX));
        assert_eq!(
            timers.pop_expired(Duration::MAX - Duration::from_nanos(1)),
            None
        );
        assert_eq!(timers.pop_expired(Duration::MAX), Some(0));
    }

    #[test]
    fn without_capacity() {
        let mut timers = Timers::with_capacity(0);
        assert_eq!(timers.next_deadline(), None);
        assert_eq!(timers.pop_expired(Duration::MAX), None);
    }

    #[test]
    #[should_panic(expected = "the timer of key 0 is set already")]
    fn a_key_is_set_once() {
        let mut timers = Timers::with_capacity(2);
        timers.insert(MILLISECOND, 0);
        timers.insert(MILLISECOND, 0);
    }

    #[test]
    #[should_panic(expected = "key 2 is beyond the capacity")]
    fn a_key_is_below_the_capacity() {
        Timers::with_capacity(2).insert(MILLISECOND, 2);
    }
}
