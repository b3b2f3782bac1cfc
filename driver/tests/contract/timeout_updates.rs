//! Updates of running timeouts: the new time counts, and one entry comes.

use crate::kit;
use crate::ledger::Cx;
use crate::races::ROUNDS;
use crate::steps;
use completeio_driver::clock::Instant;
use completeio_driver::driver::{CompleteIo, Refusal};
use completeio_driver::op::{Nop, Recv, Timeout, TimeoutUpdate};
use std::time::Duration;

contract! {
    everywhere: [
        sooner,
        later,
        who_is_not_there,
        user_data_has_61_bits,
        still_cancelled,
        by_a_key,
        one_of_two,
        a_driver_dropped_with_it,
        update_or_expiry,
        update_or_cancelled,
    ],
    on_host: [
        on_any_clock,
        in_one_batch,
        again_and_again,
        by_a_ticket,
    ],
}

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(2);

fn sooner(cx: &mut Cx) {
    let mut l = cx.ledger();
    for absolute in [false, true] {
        l.start(Timeout::after(HOUR), 1);
        l.hand_over();
        let start = Instant::now();
        let op = if absolute {
            TimeoutUpdate::at(1, start + SOON)
        } else {
            TimeoutUpdate::after(1, SOON)
        };
        l.start(op, 2);
        let entries = l.take(2);
        assert!(start.elapsed() >= SOON, "I12");
        assert_eq!(kit::names(&entries), [2, 1]);
        assert_eq!(kit::errnos(&entries), [0, kit::code::ETIME]);
    }
}

fn later(cx: &mut Cx) {
    let mut l = cx.ledger();
    for far in [HOUR, Duration::MAX] {
        l.start(Timeout::after(Duration::from_millis(20)), 1);
        l.start(TimeoutUpdate::after(1, far), 2);
        assert_eq!(kit::names(&l.take(1)), [2]);
        l.submit(Some(Duration::from_millis(30)), &mut None)
            .unwrap();
        assert_eq!(l.in_flight(), 1, "its first time is forgotten");
        l.try_cancel(1).unwrap();
        assert_eq!(kit::errnos(&l.take(1)), [kit::code::ECANCELED]);
    }
}

/// The clock is the timeout's, whatever the update is.
fn on_any_clock(cx: &mut Cx) {
    let mut l = cx.ledger();
    for &clock in kit::CLOCKS {
        let clock_now = || kit::now(clock);
        let start = clock_now();
        l.start(Timeout::after_on(clock, HOUR), 1);
        l.start(TimeoutUpdate::after(1, SOON), 2);
        l.take(2);
        assert!(clock_now() - start >= SOON, "{clock:?}");
        let at = clock_now() + SOON;
        l.start(Timeout::at_on(clock, at + HOUR), 1);
        l.start(TimeoutUpdate::at_time(1, at), 2);
        l.take(2);
        assert!(clock_now() >= at, "{clock:?}");
        l.start(Timeout::after_on(clock, HOUR), 1);
        l.start(TimeoutUpdate::at_time(1, Duration::ZERO), 2);
        assert_eq!(kit::errnos(&l.take_sorted(2)), [kit::code::ETIME, 0]);
    }
}

/// In the order of the pushes.
fn in_one_batch(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(TimeoutUpdate::after(1, HOUR), 0);
    l.start(Timeout::after(HOUR), 1);
    l.start(TimeoutUpdate::after(1, Duration::MAX), 2);
    l.start(TimeoutUpdate::after(1, Duration::ZERO), 3);
    let entries = l.take_sorted(4);
    assert_eq!(
        kit::errnos(&entries),
        [kit::code::ENOENT, kit::code::ETIME, 0, 0]
    );
}

fn who_is_not_there(cx: &mut Cx) {
    let (ours, _theirs) = cx.pair();
    let mut l = cx.ledger();
    assert_eq!(l.errno(TimeoutUpdate::after(1, SOON)), kit::code::ENOENT);
    l.run(Timeout::after(Duration::ZERO)).unwrap();
    // Not a timeout.
    l.start(Recv::new(kit::plain(&ours), [0; 8]), 1);
    l.hand_over();
    assert_eq!(l.errno(TimeoutUpdate::after(1, SOON)), kit::code::ENOENT);
    l.try_cancel(1).unwrap();
    l.one();
    // One that is over, and one that was cancelled.
    for delay in [Duration::ZERO, HOUR] {
        l.start(Timeout::after(delay), 7);
        if delay == HOUR {
            l.try_cancel(7).unwrap();
        }
        l.one();
        assert_eq!(l.errno(TimeoutUpdate::after(7, SOON)), kit::code::ENOENT);
    }
}

fn user_data_has_61_bits(cx: &mut Cx) {
    let mut l = cx.ledger();
    let (op, entry) = l.entry_of(TimeoutUpdate::after(usize::MAX, SOON));
    assert_eq!(entry.refusal(), Some(Refusal::UserData));
    assert!(l.finish(op, entry).is_err());
}

fn again_and_again(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Timeout::after(HOUR), 1);
    let update = l.lend(TimeoutUpdate::after(1, HOUR));
    for n in 2..200 {
        l.push(update, n);
        assert_eq!(kit::errnos(&l.take(1)), [0]);
    }
    l.run(TimeoutUpdate::after(1, Duration::ZERO)).unwrap();
    assert_eq!(kit::errnos(&l.take(1)), [kit::code::ETIME]);
}

fn still_cancelled(cx: &mut Cx) {
    let mut l = cx.ledger();
    for handed_over in [false, true] {
        l.start(Timeout::after(HOUR), 1);
        l.start(TimeoutUpdate::after(1, Duration::MAX), 2);
        if handed_over {
            l.one();
        }
        l.try_cancel(1).unwrap();
        let entry = loop {
            let entry = l.one();
            if entry.user_data() == 1 {
                break entry;
            }
        };
        assert_eq!(kit::errno(&entry), kit::code::ECANCELED);
    }
}

fn by_a_ticket(cx: &mut Cx) {
    let mut ops = [Timeout::after(HOUR), Timeout::after(HOUR)];
    let mut updates = [const { None }; 2];
    let mut l = cx.ledger();
    l.scope(|s| {
        let [a, b] = ops.each_mut().map(|op| s.try_lend(op, 7).unwrap());
        let [first, second] = &mut updates;
        let update = first.insert(TimeoutUpdate::after(&b, Duration::ZERO));
        let update = s.try_lend(update, 8).unwrap();
        let mut done = steps::take(s, 2);
        done.sort_by_key(completeio_driver::scope::Done::token);
        let [b_done, update_done] = <[_; 2]>::try_from(done).unwrap();
        update.redeem(update_done).unwrap().0.unwrap();
        b.redeem(b_done).unwrap().0.unwrap();
        let update = second.insert(TimeoutUpdate::at(&a, Instant::now()));
        steps::run(s, update).0.unwrap();
        a.redeem(steps::next(s)).unwrap().0.unwrap();
    })
    .unwrap();
}

fn by_a_key(cx: &mut Cx) {
    let mut l = cx.ledger();
    let key = l.try_push_owned(Timeout::after(HOUR), 1).unwrap();
    let update = l
        .try_push_owned(TimeoutUpdate::after(&key, Duration::ZERO), 2)
        .unwrap();
    steps::outcome(&mut l, update).0.unwrap();
    steps::outcome(&mut l, key).0.unwrap();
    // The slot is another's now.
    let key = l.try_push_owned(Timeout::after(HOUR), 1).unwrap();
    let stale = TimeoutUpdate::after(&key, Duration::ZERO);
    drop(key);
    l.scope(|s| s.submit(Some(Duration::ZERO), &mut None))
        .unwrap()
        .unwrap();
    while l.in_flight() > 0 {
        l.scope(|s| s.submit(None, &mut None)).unwrap().unwrap();
    }
    let _other = l.try_push_owned(Timeout::after(HOUR), 1).unwrap();
    let stale = l.try_push_owned(stale, 2).unwrap();
    assert_eq!(
        steps::errno(steps::outcome(&mut l, stale).0),
        kit::code::ENOENT
    );
}

fn one_of_two(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.start(Timeout::after(HOUR), 1);
    l.start(Timeout::after(HOUR), 1);
    l.start(TimeoutUpdate::after(1, Duration::ZERO), 2);
    assert_eq!(kit::errnos(&l.take_sorted(2)), [kit::code::ETIME, 0]);
    assert_eq!(l.in_flight(), 1);
}

fn a_driver_dropped_with_it(cx: &mut Cx) {
    for handed_over in [false, true] {
        let mut l = cx.ledger();
        l.start(Timeout::after(HOUR), 1);
        l.start(TimeoutUpdate::after(1, Duration::MAX), 2);
        l.start(Nop::new(), 3);
        if handed_over {
            l.turn();
        }
        l.abandon();
    }
}

/// The update finds it, or comes too late; the timeout ends once.
fn update_or_expiry(cx: &mut Cx) {
    let mut l = cx.ledger();
    let op = l.lend(Timeout::after(Duration::ZERO));
    let update = l.lend(TimeoutUpdate::after(1, Duration::ZERO));
    for n in 0..ROUNDS {
        *l.op(op) = Timeout::after(Duration::from_micros(n as u64 % 40));
        *l.op(update) = TimeoutUpdate::after(1, Duration::from_micros(n as u64 % 7));
        l.push(op, 1);
        let mut entries = Vec::with_capacity(2);
        if n % 3 != 0 {
            l.submit(Some(Duration::ZERO), &mut entries).unwrap();
        }
        for _ in 0..n * 7 % 64 * 8 {
            std::hint::spin_loop();
        }
        l.push(update, 2);
        entries.extend(l.take(2 - entries.len()));
        entries.sort_by_key(completeio_driver::driver::Entry::user_data);
        assert_eq!(kit::names(&entries), [1, 2]);
        let [timeout, update] = <[i32; 2]>::try_from(kit::errnos(&entries)).unwrap();
        assert_eq!(timeout, kit::code::ETIME);
        assert!(
            [0, kit::code::ENOENT, libc::EALREADY].contains(&update),
            "{update}"
        );
    }
}

fn update_or_cancelled(cx: &mut Cx) {
    let mut l = cx.ledger();
    let op = l.lend(Timeout::after(HOUR));
    let update = l.lend(TimeoutUpdate::after(1, Duration::ZERO));
    for n in 0..ROUNDS {
        l.push(op, 1);
        if n % 3 != 0 {
            l.hand_over();
        }
        *l.op(update) = TimeoutUpdate::after(1, Duration::from_micros(n as u64 % 40));
        l.push(update, 2);
        let mut entries = Vec::with_capacity(2);
        if n % 2 != 0 {
            l.submit(Some(Duration::ZERO), &mut entries).unwrap();
        }
        for _ in 0..n * 7 % 64 * 8 {
            std::hint::spin_loop();
        }
        l.try_cancel(1).unwrap();
        entries.extend(l.take(2 - entries.len()));
        entries.sort_by_key(completeio_driver::driver::Entry::user_data);
        assert_eq!(kit::names(&entries), [1, 2]);
        let [timeout, update] = <[i32; 2]>::try_from(kit::errnos(&entries)).unwrap();
        assert!(
            [kit::code::ETIME, kit::code::ECANCELED].contains(&timeout),
            "{timeout}"
        );
        // readiness cancels at once, before what was only pushed.
        let gone = timeout == kit::code::ECANCELED && update == kit::code::ENOENT;
        assert!(update == 0 || gone, "{update}");
    }
}
