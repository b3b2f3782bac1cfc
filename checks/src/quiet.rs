//! What a loop costs in system calls: each case runs between two markers in a trace.

use crate::session::{Lent, Session};
use crate::{Options, marker};
use completeio_driver::driver::{CompleteIo, Entry, PreparedWait};
use completeio_driver::op::{Nop, Recv, Send};
use completeio_driver::sink;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// So many turns, or wake-ups, between the markers.
const TURNS: usize = 100;

pub(crate) fn run(options: &Options) {
    let mut session = Session::new(options);
    match options.case.as_str() {
        "awake" => notify_awake(&mut session),
        "asleep" => notify_asleep(&mut session),
        "batch" => batches(&mut session),
        "backlog" => backlog(&mut session),
        "echo" => echo(&mut session),
        "expiry" => expiry(&mut session),
        _ => crate::usage(),
    }
    session.settle();
    println!("ok {TURNS}");
}

/// Wake-ups of a driver that runs.
fn notify_awake(session: &mut Session) {
    let notifier = session.driver.notifier();
    session.turn(Some(Duration::ZERO));
    marker();
    for _ in 0..TURNS {
        notifier.notify();
    }
    marker();
    // They are not lost: this wait ends.
    session.turn(None);
    ensure!(
        session.driver.stats().wake_ups == 1,
        "{:?}",
        session.driver.stats()
    );
}

/// Wake-ups of a driver that a foreign loop has armed as if it slept.
fn notify_asleep(session: &mut Session) {
    let notifier = session.driver.notifier();
    session.turn(Some(Duration::ZERO));
    // SAFETY: nothing is in flight.
    let prepared = unsafe { session.driver.prepare_wait() };
    ensure!(
        matches!(prepared, Ok(PreparedWait::Until(None))),
        "{prepared:?}"
    );
    marker();
    for _ in 0..TURNS {
        notifier.notify();
    }
    marker();
    session.turn(None);
    ensure!(
        session.driver.stats().wake_ups == 1,
        "{:?}",
        session.driver.stats()
    );
}

/// Turns of a batch each, which complete at once.
fn batches(session: &mut Session) {
    let mut ops: Vec<_> = (0..8).map(|_| Lent::new(Nop::new())).collect();
    let mut ids = [0; 8];
    marker();
    for _ in 0..TURNS {
        for (op, id) in ops.iter_mut().zip(&mut ids) {
            *id = session.start(op);
        }
        session.turn(None);
        for id in ids {
            ensure!(session.take(id).is_some(), "a nop does not wait");
        }
    }
    marker();
}

/// Entries that wait in the queue are taken out without a system call.
fn backlog(session: &mut Session) {
    let mut ops: Vec<_> = (0..8).map(|_| Lent::new(Nop::new())).collect();
    for op in &mut ops {
        session.start(op);
    }
    take_one(session);
    marker();
    for _ in 1..ops.len() {
        take_one(session);
    }
    marker();
    session.forget();
}

fn take_one(session: &mut Session) {
    let mut taken = 0;
    let mut sink = sink::bounded(1, |_: Entry| taken += 1);
    // SAFETY: the operations outlive the driver's use of them: all complete here.
    let submitted = unsafe { session.driver.submit(None, &mut sink) };
    ensure!(submitted.is_ok(), "submit: {submitted:?}");
    ensure!(taken == 1, "{taken} entries");
}

/// A receive that waits in each turn, and is answered.
fn echo(session: &mut Session) {
    let (near, far) = UnixStream::pair().unwrap();
    let (near_fd, far_fd) = (session.attach(&near), session.attach(&far));
    let mut recv = Lent::new(Recv::new(near_fd, [0; 8]));
    let mut send = Lent::new(Send::new(far_fd, *b"12345678"));
    let mut turn = |session: &mut Session| {
        let receiving = session.start(&mut recv);
        session.turn(Some(Duration::ZERO));
        let sending = session.start(&mut send);
        let (mut left, mut turns) = (2, 0);
        while left > 0 {
            session.turn(None);
            left -= usize::from(session.take(sending).is_some());
            left -= usize::from(session.take(receiving).is_some());
            turns += 1;
        }
        ensure!(turns <= 2, "{turns} turns for one exchange");
    };
    turn(session);
    marker();
    for _ in 0..TURNS {
        turn(session);
    }
    marker();
}

/// Waits that end by their time.
fn expiry(session: &mut Session) {
    marker();
    for _ in 0..TURNS {
        let entries = session.turn(Some(Duration::from_millis(1)));
        ensure!(entries == 0, "{entries} entries out of nothing");
    }
    marker();
}
