//! I12: timeouts are never early, and in order; any duration is legal.

use crate::kit::{self, now};
use crate::ledger::Cx;
use completeio_driver::clock::Instant;
use completeio_driver::driver::CompleteIo;
use completeio_driver::op::Timeout;
use std::time::Duration;

contract! {
    everywhere: [
        never_early,
        passed_deadlines_complete_at_once,
        far_deadlines_pend_until_cancelled,
        in_the_order_of_their_deadlines,
        a_shorter_wait_leaves_them,
        time_is_the_outcome,
    ],
    on_host: [
        never_early_on_any_clock,
        equal_deadlines_in_the_order_of_the_pushes,
        many_at_once,
    ],
}

fn never_early(cx: &mut Cx) {
    let mut l = cx.ledger();
    for (n, micros) in [0, 1, 50, 999, 1_000, 1_001, 4_000]
        .repeat(5)
        .into_iter()
        .enumerate()
    {
        let duration = Duration::from_micros(micros);
        let start = Instant::now();
        l.start(Timeout::after(duration), n);
        assert_eq!(l.one().raw_os_error(), Some(kit::code::ETIME));
        assert!(start.elapsed() >= duration);
        let deadline = Instant::now() + duration;
        l.start(Timeout::at(deadline), n);
        assert_eq!(l.one().raw_os_error(), Some(kit::code::ETIME));
        assert!(Instant::now() >= deadline);
    }
}

fn never_early_on_any_clock(cx: &mut Cx) {
    let mut l = cx.ledger();
    for (n, clock) in kit::CLOCKS.repeat(5).into_iter().enumerate() {
        let duration = Duration::from_micros(1_500);
        let start = now(clock);
        l.start(Timeout::after_on(clock, duration), n);
        l.one();
        assert!(now(clock) - start >= duration, "{clock:?}");
        let deadline = now(clock) + duration;
        l.start(Timeout::at_on(clock, deadline), n);
        l.one();
        assert!(now(clock) >= deadline, "{clock:?}");
    }
}

fn passed_deadlines_complete_at_once(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut n = 0;
    for &clock in kit::CLOCKS {
        for deadline in [Duration::ZERO, Duration::from_nanos(1), now(clock)] {
            l.start(Timeout::at_on(clock, deadline), n);
            n += 1;
        }
        l.start(Timeout::after_on(clock, Duration::ZERO), n);
        n += 1;
    }
    l.start(Timeout::at(Instant::now() - Duration::MAX), n);
    assert_eq!(kit::errnos(&l.take(n + 1)), vec![kit::code::ETIME; n + 1]);
}

fn far_deadlines_pend_until_cancelled(cx: &mut Cx) {
    let mut l = cx.ledger();
    let mut n = 0;
    for &clock in kit::CLOCKS {
        for far in [Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
            l.start(Timeout::after_on(clock, far), n);
            l.start(Timeout::at_on(clock, far), n + 1);
            n += 2;
        }
    }
    l.start(Timeout::at(Instant::now() + Duration::MAX), n);
    l.submit(Some(Duration::from_millis(2)), &mut None).unwrap();
    assert_eq!(l.in_flight(), n + 1, "none has completed");
    l.try_cancel_all().unwrap();
    assert_eq!(
        kit::errnos(&l.take(n + 1)),
        vec![kit::code::ECANCELED; n + 1]
    );
}

/// Pushes them all before the first is due; `None` if that did not work out.
fn in_order(cx: &mut Cx, delays_ms: &[u64]) -> Option<Vec<usize>> {
    let mut l = cx.ledger();
    let start = Instant::now() + Duration::from_millis(10);
    for (n, delay) in delays_ms.iter().enumerate() {
        l.start(Timeout::at(start + Duration::from_millis(*delay)), n);
    }
    let early = l.turn();
    let in_time = Instant::now() < start;
    let left = l.in_flight();
    let entries = l.take(left);
    (in_time && early.is_empty()).then(|| kit::names(&entries))
}

fn in_the_order_of_their_deadlines(cx: &mut Cx) {
    for _ in 0..5 {
        if let Some(order) = in_order(cx, &[4, 0, 3, 1, 2, 5]) {
            assert_eq!(order, [1, 3, 4, 2, 0, 5]);
        }
    }
}

fn equal_deadlines_in_the_order_of_the_pushes(cx: &mut Cx) {
    for _ in 0..5 {
        if let Some(order) = in_order(cx, &[1; 32]) {
            assert_eq!(order, (0..32).collect::<Vec<_>>());
        }
    }
}

fn many_at_once(cx: &mut Cx) {
    const COUNT: usize = 4_000;
    let mut l = cx.with(|limits| limits.entries(4096));
    let start = Instant::now();
    let delay = |n: usize| Duration::from_micros((n as u64 * 7_919) % 20_000);
    for n in 0..COUNT {
        l.start(Timeout::at(start + delay(n)), n);
    }
    for _ in 0..COUNT {
        let entry = l.one();
        assert!(start.elapsed() >= delay(entry.user_data()));
        assert_eq!(entry.raw_os_error(), Some(kit::code::ETIME));
    }
}

fn a_shorter_wait_leaves_them(cx: &mut Cx) {
    let mut l = cx.ledger();
    let start = Instant::now();
    l.start(Timeout::after(Duration::from_millis(20)), 1);
    let mut entry = None;
    while entry.is_none() {
        l.submit(Some(Duration::from_millis(1)), &mut entry)
            .unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(20));
}

/// The entry says `ETIME`; `finish` says that it is what was asked for.
fn time_is_the_outcome(cx: &mut Cx) {
    let mut l = cx.ledger();
    l.run(Timeout::after(Duration::from_micros(1))).unwrap();
    let op = l.start(Timeout::after(Duration::MAX), 1);
    l.try_cancel(1).unwrap();
    let entry = l.one();
    let error = l.finish(op, entry).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(kit::code::ECANCELED));
}
