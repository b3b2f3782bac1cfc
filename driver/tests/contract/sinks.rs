//! Sinks: entries beyond their room wait, and none is lost.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use completeio_driver::driver::Entry;
use completeio_driver::op::Nop;
use completeio_driver::sink::{self, Sink};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

contract! {
    everywhere: [
        no_room_is_an_error,
        a_vector_offers_its_spare_capacity,
        a_closure_takes_so_many,
        a_reference_or_an_object_will_do,
        the_room_is_asked_for_once,
    ],
    on_host: [
        no_room_does_nothing,
        a_deque_offers_its_spare_capacity,
        an_option_takes_one,
        an_array_takes_what_is_left,
    ],
}

fn with_nops(cx: &mut Cx, count: usize) -> Ledger {
    let mut l = cx.ledger();
    for n in 0..count {
        l.start(Nop::new(), n);
    }
    l
}

fn assert_no_room(l: &mut Ledger, sink: &mut impl Sink) {
    for timeout in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
        let error = l.submit(timeout, sink).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

fn no_room_is_an_error(cx: &mut Cx) {
    let mut l = with_nops(cx, 1);
    let mut full = None;
    l.submit(None, &mut full).unwrap();
    assert_no_room(&mut l, &mut full);
    assert_no_room(&mut l, &mut Vec::new());
    assert_no_room(&mut l, &mut VecDeque::new());
    assert_no_room(&mut l, &mut sink::bounded(0, |_| unreachable!()));
}

fn no_room_does_nothing(cx: &mut Cx) {
    let mut l = with_nops(cx, 3);
    let before = l.stats();
    assert_no_room(&mut l, &mut Vec::new());
    assert_eq!((l.stats(), l.in_flight()), (before, 3));
    assert_eq!(kit::names(&l.take(3)), [0, 1, 2]);
}

fn a_vector_offers_its_spare_capacity(cx: &mut Cx) {
    let mut l = with_nops(cx, 10);
    let mut entries: Vec<Entry> = Vec::with_capacity(4);
    let capacity = entries.capacity();
    while l.in_flight() > 0 {
        let before = l.in_flight();
        entries.truncate(1);
        let kept = entries.len();
        l.submit(None, &mut entries).unwrap();
        let taken = before - l.in_flight();
        assert!(
            taken <= capacity - kept,
            "{taken} beside {kept} of {capacity}"
        );
        assert_eq!(entries.capacity(), capacity, "it never grows");
    }
}

fn a_deque_offers_its_spare_capacity(cx: &mut Cx) {
    let mut l = with_nops(cx, 10);
    let mut entries: VecDeque<Entry> = VecDeque::with_capacity(4);
    let capacity = entries.capacity();
    let mut seen = Vec::new();
    while l.in_flight() > 0 {
        l.submit(None, &mut entries).unwrap();
        assert_eq!(entries.capacity(), capacity, "it never grows");
        seen.extend(entries.drain(..).map(|entry| entry.user_data()));
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

fn an_option_takes_one(cx: &mut Cx) {
    let mut l = with_nops(cx, 3);
    for n in 0..3 {
        let mut entry = None;
        l.submit(None, &mut entry).unwrap();
        assert_eq!((entry.unwrap().user_data(), l.in_flight()), (n, 2 - n));
    }
}

fn a_closure_takes_so_many(cx: &mut Cx) {
    let mut l = with_nops(cx, 5);
    for expected in [2, 2, 1] {
        let mut seen = 0;
        l.submit(None, &mut sink::bounded(2, |_| seen += 1))
            .unwrap();
        assert_eq!(seen, expected);
    }
}

#[cfg(feature = "arrayvec")]
fn an_array_takes_what_is_left(cx: &mut Cx) {
    let mut l = with_nops(cx, 5);
    let mut entries = arrayvec::ArrayVec::<Entry, 4>::new();
    l.submit(None, &mut entries).unwrap();
    assert_eq!(kit::names(&entries), [0, 1, 2, 3]);
    assert_no_room(&mut l, &mut entries);
    entries.truncate(3);
    l.submit(None, &mut entries).unwrap();
    assert_eq!(kit::names(&entries), [0, 1, 2, 4]);
}

#[cfg(not(feature = "arrayvec"))]
fn an_array_takes_what_is_left(_cx: &mut Cx) {}

fn a_reference_or_an_object_will_do(cx: &mut Cx) {
    let mut l = with_nops(cx, 3);
    let mut entries = Vec::with_capacity(1);
    l.submit(None, &mut &mut entries).unwrap();
    let object: &mut dyn Sink = &mut VecDeque::with_capacity(1);
    l.submit(None, object).unwrap();
    assert_eq!(l.in_flight(), 1);
}

/// A sink that counts the questions.
struct Asked {
    room: usize,
    questions: std::cell::Cell<usize>,
    taken: usize,
}

impl Sink for Asked {
    fn room(&self) -> usize {
        self.questions.set(self.questions.get() + 1);
        self.room
    }

    fn put(&mut self, _entry: Entry) {
        self.taken += 1;
    }
}

/// A sink that always says the same gets no more than that in one call.
fn the_room_is_asked_for_once(cx: &mut Cx) {
    let mut l = with_nops(cx, 10);
    for calls in 1..=3 {
        let mut sink = Asked {
            room: 3,
            questions: 0.into(),
            taken: 0,
        };
        l.submit(None, &mut sink).unwrap();
        assert_eq!((sink.questions.get(), sink.taken), (1, 3), "call {calls}");
    }
}
