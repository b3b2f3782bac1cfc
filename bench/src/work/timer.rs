//! Timers.

use crate::child::{Args, Outcome};
use crate::histogram::Histogram;
use crate::machine::now_ns;
use crate::meter::Meter;
use crate::peer::Peer;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Tasks that sleep beside each other while their lateness is measured.
pub const LATENESS_TASKS: u64 = 10;

const MILLISECOND: Duration = Duration::from_millis(1);

/// `tasks=N` that sleep a millisecond again and again.
pub(super) fn fire<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (tasks, goal) = (args.need::<usize>("tasks")?, args.goal()?);
    let meter = P::block_on(args, async move {
        let meter = Rc::new(Meter::new(goal));
        let sleep = |meter: Rc<Meter>| async move {
            loop {
                P::sleep(MILLISECOND).await;
                if !meter.step(1) {
                    return;
                }
            }
        };
        let tasks: Vec<_> = (0..tasks).map(|_| P::spawn(sleep(meter.clone()))).collect();
        for task in tasks {
            task.await;
        }
        meter
    })?;
    meter.outcome()
}

/// Sleeps that are dropped long before their time, `live=N` of which are there at a time.
pub(super) fn cancel<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (live, goal) = (args.need::<usize>("live")?, args.goal()?);
    let meter = P::block_on(args, async move {
        let meter = Meter::new(goal);
        let sleeps = (0..live).map(|_| Box::pin(None)).collect();
        let sleep = |i: u64| P::sleep(Duration::from_millis(10_000 + i % 1000));
        arm_and_drop::<P, _>(&meter, sleeps, sleep).await;
        meter
    })?;
    meter.outcome()
}

async fn arm_and_drop<P: Peer, F: Future>(
    meter: &Meter,
    mut sleeps: Vec<Pin<Box<Option<F>>>>,
    sleep: impl Fn(u64) -> F,
) {
    const TURN: u64 = 512;
    let mut i = 0;
    loop {
        for place in &mut sleeps {
            // The one before is dropped here.
            place.set(Some(sleep(i)));
            poll_fn(|context| {
                let sleep = place.as_mut().as_pin_mut().expect("made just now");
                assert!(sleep.poll(context).is_pending(), "it fires in ten seconds");
                Poll::Ready(())
            })
            .await;
            if !meter.step(1) {
                return;
            }
            i += 1;
            if i % TURN == 0 {
                P::turn().await;
            }
        }
    }
}

/// How much later than asked for a sleep of a millisecond ends.
pub(super) fn lateness<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let goal = args.goal()?;
    let (meter, late) = P::block_on(args, async move {
        let meter = Rc::new(Meter::new(goal));
        let late = Rc::new(RefCell::new(Histogram::default()));
        let tasks: Vec<_> = (0..LATENESS_TASKS)
            .map(|i| P::spawn(sleep::<P>(i, meter.clone(), late.clone())))
            .collect();
        for task in tasks {
            task.await;
        }
        (meter, late)
    })?;
    let mut outcome = meter.outcome()?;
    add_lateness(&mut outcome, &late.borrow());
    Ok(outcome)
}

async fn sleep<P: Peer>(i: u64, meter: Rc<Meter>, late: Rc<RefCell<Histogram>>) {
    // Not all at the same moment.
    P::sleep(Duration::from_micros(97 * i)).await;
    loop {
        let begin = now_ns();
        P::sleep(MILLISECOND).await;
        if meter.has_begun() {
            // A clock of whole milliseconds may have begun a little before this one.
            let ns = (now_ns() - begin).saturating_sub(1_000_000);
            late.borrow_mut().add(ns);
        }
        if !meter.long_step(1) {
            return;
        }
    }
}

/// The figures of lateness.
pub fn add_lateness(outcome: &mut Outcome, late: &Histogram) {
    outcome.insert("late_p50_ns".to_owned(), late.quantile(0.5));
    outcome.insert("late_p99_ns".to_owned(), late.quantile(0.99));
}
