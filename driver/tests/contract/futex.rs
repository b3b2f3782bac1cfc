//! Waits for a word of memory, and wakes. I1, I4, I5, I12.

use crate::kit;
use crate::ledger::{Cx, Ledger};
use crate::races::{ROUNDS, Rival, round};
use crate::region::Region;
use crate::steps;
use completeio_driver::driver::{CompleteIo, Refusal, Support};
use completeio_driver::op::{Deadline, FutexWait, FutexWake};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

contract![
    refused_where_nothing_waits,
    woken_by_a_thread,
    woken_by_an_operation,
    a_word_that_differs,
    nobody_waits,
    several_are_woken,
    threads_are_woken,
    by_bits,
    no_bits,
    between_processes,
    cancelled_in_each_state,
    woken_or_cancelled,
    with_a_deadline,
    a_driver_dropped_with_waits,
    what_was_only_pushed_wakes_nobody,
    lent_and_owned,
];

type Word = Arc<AtomicU32>;

fn word() -> Word {
    Word::new(AtomicU32::new(7))
}

/// A driver that has waits; elsewhere there is nothing to be tested.
fn waiting(cx: &mut Cx) -> Option<Ledger> {
    let l = cx.ledger();
    let operations = &l.capabilities().operations;
    operations
        .contains(&("FutexWait", Support::Native))
        .then_some(l)
}

/// Wakes as a thread does that knows of no driver.
fn wake(word: &AtomicU32, count: i32, operation: i32) -> i32 {
    // SAFETY: the address names a queue; nothing is read there.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
    kit::checked(i32::try_from(woken).unwrap())
}

const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

fn refused_where_nothing_waits(cx: &mut Cx) {
    if waiting(cx).is_some() {
        return;
    }
    let mut l = cx.ledger();
    let (op, entry) = l.entry_of(FutexWait::new(word(), 7));
    assert_eq!(entry.refusal(), Some(Refusal::Unsupported));
    assert_eq!(
        l.finish(op, entry).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

fn woken_by_a_thread(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    let op = l.lend(FutexWait::new(word.clone(), 7));
    for n in 0..10 {
        l.op(op).set_expected(word.load(Ordering::Relaxed));
        l.push(op, n);
        l.hand_over();
        let word = word.clone();
        let waker = thread::spawn(move || {
            word.fetch_add(1, Ordering::Release);
            wake(&word, 9, WAKE)
        });
        let entry = l.one();
        l.finish(op, entry).unwrap();
        assert_eq!(waker.join().unwrap(), 1);
    }
}

fn woken_by_an_operation(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    let wait = l.start(FutexWait::new(word.clone(), 7), 1);
    let wake = l.start(FutexWake::new(word.clone(), 1), 2);
    // In the order of the pushes, and the word has not changed: that is nobody's business.
    let mut entries = l.take_sorted(2);
    assert_eq!(l.finish(wake, entries.remove(1)).unwrap(), 1);
    l.finish(wait, entries.remove(0)).unwrap();
    // Of another word.
    l.start(FutexWait::new(word, 7), 3);
    l.hand_over();
    assert_eq!(l.run(FutexWake::new(self::word(), 1)).unwrap(), 0);
    assert_eq!(l.in_flight(), 1);
}

fn a_word_that_differs(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    for expected in [0, 6, 8, u32::MAX] {
        let (op, entry) = l.entry_of(FutexWait::new(word(), expected));
        assert_eq!(entry.raw_os_error(), Some(libc::EAGAIN));
        assert_eq!(
            l.finish(op, entry).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
    let high = Word::new(AtomicU32::new(u32::MAX));
    l.start(FutexWait::new(high.clone(), u32::MAX), 1);
    l.hand_over();
    assert_eq!(wake(&high, 1, WAKE), 1);
    l.one().into_result().unwrap();
}

fn nobody_waits(cx: &mut Cx) {
    let mut l = cx.ledger();
    for count in [0, 1, 1 << 31, u32::MAX] {
        assert_eq!(l.run(FutexWake::new(word(), count)).unwrap(), 0);
    }
}

fn several_are_woken(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    for n in 0..6 {
        l.start(FutexWait::new(word.clone(), 7), n);
    }
    l.hand_over();
    let wakes = l.lend(FutexWake::new(word, 0));
    for (count, woken) in [(0, 0), (2, 2), (1, 1), (u32::MAX, 3), (u32::MAX, 0)] {
        l.op(wakes).set_count(count);
        l.push(wakes, 100);
        let mut entries = l.take_sorted(woken + 1);
        let entry = entries.pop().unwrap();
        assert_eq!(l.finish(wakes, entry).unwrap(), woken);
        assert_eq!(kit::errnos(&entries), vec![0; woken]);
        assert!(l.turn().is_empty(), "no more than were asked for");
    }
}

/// By each backend.
fn threads_are_woken(cx: &mut Cx) {
    let word = word();
    let sleepers: Vec<_> = (0..3)
        .map(|_| {
            let word = word.clone();
            thread::spawn(move || {
                let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                let forever = std::ptr::null::<libc::timespec>();
                // SAFETY: the kernel reads the word.
                unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wait, 7, forever) }
            })
        })
        .collect();
    let mut l = cx.ledger();
    let mut woken = 0;
    // Until they sleep.
    while woken < 3 {
        assert_eq!(l.run(FutexWake::new(word.clone(), 0)).unwrap(), 0);
        woken += l.run(FutexWake::new(word.clone(), 1)).unwrap();
        thread::yield_now();
    }
    for sleeper in sleepers {
        assert_eq!(sleeper.join().unwrap(), 0);
    }
}

fn by_bits(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    for bits in [0b001, 0b010, 0b100] {
        l.start(FutexWait::new(word.clone(), 7).bits(bits), bits as usize);
    }
    l.hand_over();
    for (bits, woken) in [
        (0b1000, &[][..]),
        (0b1010, &[0b010]),
        (0b1111, &[0b001, 0b100]),
    ] {
        let wake = FutexWake::new(word.clone(), u32::MAX).bits(bits);
        let wake = l.start(wake, 8);
        let mut entries = l.take_sorted(woken.len() + 1);
        let entry = entries.pop().unwrap();
        assert_eq!(l.finish(wake, entry).unwrap(), woken.len());
        assert_eq!(kit::names(&entries), woken);
    }
}

fn no_bits(cx: &mut Cx) {
    let mut l = cx.ledger();
    assert_eq!(l.errno(FutexWake::new(word(), 1).bits(0)), libc::EINVAL);
    let Some(mut l) = waiting(cx) else { return };
    assert_eq!(l.errno(FutexWait::new(word(), 7).bits(0)), libc::EINVAL);
}

/// Memory that is mapped twice stands for two processes.
fn between_processes(cx: &mut Cx) {
    let regions = Region::twice(4096);
    let words = regions.each_ref().map(|region| {
        let word = region.lend(0..4).as_mut_ptr();
        // SAFETY: aligned to a page, and used as this word only.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    });
    let [ours, theirs]: [&'static AtomicU32; 2] = words;
    let Some(mut l) = waiting(cx) else {
        let mut l = cx.ledger();
        assert_eq!(l.run(FutexWake::new(ours, 1).shared(true)).unwrap(), 0);
        return;
    };
    ours.store(3, Ordering::Relaxed);
    l.start(FutexWait::new(ours, 3).shared(true), 1);
    l.start(FutexWait::new(ours, 3), 2);
    l.hand_over();
    // This process's own are others.
    assert_eq!(l.run(FutexWake::new(theirs, 9)).unwrap(), 0);
    let woken = FutexWake::new(theirs, 9).shared(true);
    let woken = l.start(woken, 3);
    let mut entries = l.take_sorted(2);
    assert_eq!(l.finish(woken, entries.remove(1)).unwrap(), 1);
    assert_eq!(entries.remove(0).user_data(), 1);
    l.start(FutexWait::new(ours, 3).shared(true), 1);
    l.hand_over();
    assert_eq!(wake(theirs, 9, libc::FUTEX_WAKE), 1);
    assert_eq!(l.one().user_data(), 1);
    assert_eq!(wake(ours, 9, WAKE), 1);
    assert_eq!(l.one().user_data(), 2);
}

/// Pushed, waiting, complete.
fn cancelled_in_each_state(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    for all in [false, true] {
        for state in 0..3 {
            l.start(FutexWait::new(word.clone(), 7), 1);
            if state > 0 {
                l.hand_over();
            }
            if state > 1 {
                assert_eq!(wake(&word, 1, WAKE), 1);
            }
            if all {
                l.try_cancel_all().unwrap();
            } else {
                l.try_cancel(1).unwrap();
            }
            let result = l.one().into_result();
            if state > 1 {
                assert_eq!(result.unwrap(), 0, "a wake is not lost");
            } else {
                assert_eq!(steps::errno(result), libc::ECANCELED);
            }
            assert_eq!(wake(&word, 9, WAKE), 0, "nobody waits any more");
        }
    }
}

/// The one or the other, and what was woken says so.
fn woken_or_cancelled(cx: &mut Cx) {
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    let op = l.lend(FutexWait::new(word.clone(), 7));
    let woken = Arc::new(AtomicI32::new(0));
    let count = woken.clone();
    let rival = Rival::new(move || count.store(wake(&word, 9, WAKE), Ordering::Relaxed));
    for n in 0..ROUNDS {
        let entry = round(&mut l, op, n, || rival.go());
        rival.wait();
        let result = l.finish(op, entry);
        if woken.load(Ordering::Relaxed) == 1 {
            result.unwrap();
        } else {
            assert_eq!(steps::errno(result), libc::ECANCELED);
        }
    }
}

fn with_a_deadline(cx: &mut Cx) {
    const SOON: Duration = Duration::from_millis(2);
    const HOUR: Duration = Duration::from_secs(3600);
    let Some(mut l) = waiting(cx) else { return };
    let word = word();
    let wait = || FutexWait::new(word.clone(), 7);
    let error = l.run(Deadline::after(wait(), SOON)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let op = l.start(Deadline::after(wait(), HOUR), 1);
    l.hand_over();
    assert_eq!(wake(&word, 1, WAKE), 1);
    let entry = l.one();
    l.finish(op, entry).unwrap();
}

/// I5.
fn a_driver_dropped_with_waits(cx: &mut Cx) {
    for handed_over in [false, true] {
        let Some(mut l) = waiting(cx) else { return };
        let word = word();
        for n in 0..4 {
            l.start(FutexWait::new(word.clone(), 7), n);
        }
        if handed_over {
            l.hand_over();
        }
        l.abandon();
        assert_eq!(wake(&word, 9, WAKE), 0, "nobody waits any more");
    }
}

fn what_was_only_pushed_wakes_nobody(cx: &mut Cx) {
    let Some(mut waits) = waiting(cx) else { return };
    let word = word();
    waits.start(FutexWait::new(word.clone(), 7), 1);
    waits.hand_over();
    let mut l = cx.ledger();
    l.start(FutexWake::new(word.clone(), 1), 1);
    l.abandon();
    waits.hand_over();
    assert_eq!(wake(&word, 9, WAKE), 1);
    waits.one().into_result().unwrap();
}

fn lent_and_owned(cx: &mut Cx) {
    let here = AtomicU32::new(1);
    let mut wakes = FutexWake::new(&here, 9);
    let mut waits = [(); 3].map(|()| FutexWait::new(&here, 1));
    let mut l = cx.ledger();
    l.scope(|s| assert_eq!(steps::run(s, &mut wakes).0.unwrap(), 0))
        .unwrap();
    let Some(mut l) = waiting(cx) else { return };
    l.scope(|s| {
        let [a, b, _left] = waits.each_mut().map(|op| s.try_lend(op, 1).unwrap());
        steps::hand_over(s);
        s.try_cancel(&a).unwrap();
        let done = steps::next(s);
        assert_eq!(steps::errno(a.redeem(done).unwrap().0), libc::ECANCELED);
        assert_eq!(wake(&here, 1, WAKE), 1);
        b.redeem(steps::next(s)).unwrap().0.unwrap();
    })
    .unwrap();
    assert_eq!(wake(&here, 9, WAKE), 0, "the scope's end waits");
    let word = word();
    let key = l.try_push_owned(FutexWait::new(word.clone(), 7), 1);
    let key = key.unwrap();
    let orphan = l.try_push_owned(FutexWait::new(word.clone(), 7), 2);
    l.turn();
    drop(orphan.unwrap());
    while l.in_flight() > 1 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    assert_eq!(wake(&word, 9, WAKE), 1);
    let (result, op) = steps::outcome(&mut l, key);
    result.unwrap();
    assert_eq!(op.word().load(Ordering::Relaxed), 7);
}
