//! Timeouts, and how late they fire.
//!
//! ```text
//! cargo run --release --example timer
//! ```
//!
//! Shows timeouts on three clocks, a wait with a deadline, a cancellation, and a closure as the
//! sink. Each operation is pushed once, so they are lent to the driver by plain references, and
//! finished when it is gone. Exit status 1 if one fired early.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use completeio::clock::{Clock, Instant};
use completeio::driver::{CompleteIo, Driver, Entry, Wait};
use completeio::op::{Op, Timeout};
use completeio::sink;
use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

const HELP: &str = "\
usage: timer
Sets timeouts of completeio and tells how late they fire, in about a second.";

/// Timeouts of each kind, and the time from one to the next.
const EACH: u32 = 16;
const STEP: Duration = Duration::from_millis(40);
/// After which something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relative,
    Absolute,
    Realtime,
}

/// When an operation is to fire.
#[derive(Debug, Clone, Copy)]
struct Due {
    kind: Kind,
    instant: Instant,
    since_1970: Duration,
}

impl Due {
    /// How much later it is now; `None` if it is earlier.
    fn late(&self) -> Option<Duration> {
        match self.kind {
            Kind::Realtime => since_1970().checked_sub(self.since_1970),
            _ => Instant::now().checked_duration_since(self.instant),
        }
    }
}

fn main() -> ExitCode {
    common::Args::new(HELP).end();
    match wait_and_cancel().and_then(|()| fire()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("timer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a timeout that is far away, and then has enough of it.
fn wait_and_cancel() -> io::Result<()> {
    const KEY: usize = 7;
    let mut op = Timeout::after(Duration::from_secs(3600));
    let mut entry = None::<Entry>;
    {
        // Declared after what it borrows, and so dropped before.
        let mut driver = Driver::new()?;
        println!("backend: {}", driver.backend());
        driver
            .try_push(&mut op, KEY)
            .expect("there is room for one operation");

        let start = Instant::now();
        let deadline = start + Duration::from_millis(100);
        // SAFETY: `op` outlives the driver, and is not touched while that lives.
        unsafe { driver.submit_until(Wait::new().until(deadline), &mut entry)? };
        assert!(entry.is_none(), "an hour has passed");
        println!(
            "a wait until 100 ms from now: no entry, after {:.2?}",
            start.elapsed()
        );

        driver
            .try_cancel(KEY)
            .expect("there is room for one cancellation");
        let deadline = Instant::now() + PATIENCE;
        // SAFETY: as above.
        unsafe { driver.submit_until(Wait::new().until(deadline), &mut entry)? };
    }
    let entry = entry.ok_or(io::ErrorKind::TimedOut)?;
    // SAFETY: this is the last entry of the only operation.
    let result = unsafe { op.finish(entry) };
    println!("a timeout of an hour, cancelled: {result:?}");
    Ok(())
}

/// Lets timeouts of all kinds fire, and prints how late they were; `false` if one was early.
fn fire() -> io::Result<bool> {
    const ALL: usize = 3 * EACH as usize;
    let mut dues = Vec::with_capacity(ALL);
    let mut ops = Vec::with_capacity(ALL);
    let mut fired = Vec::with_capacity(ALL);
    {
        // Declared after what it borrows, and so dropped before.
        let mut driver = Driver::builder().entries(ALL).build()?;
        for n in 1..=EACH {
            for kind in [Kind::Relative, Kind::Absolute, Kind::Realtime] {
                let (due, op) = timeout(kind, STEP * n);
                dues.push(due);
                ops.push(op);
            }
        }
        for (i, op) in ops.iter_mut().enumerate() {
            driver
                .try_push(op, i)
                .expect("there is room for all of them");
        }
        let deadline = Instant::now() + PATIENCE;
        while fired.len() < ALL {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut sink = sink::bounded(ALL, |entry: Entry| {
                let late = dues[entry.user_data()].late();
                fired.push((entry, late));
            });
            // SAFETY: `ops` outlive the driver, and are not touched while that lives.
            unsafe { driver.submit_until(Wait::new().until(deadline), &mut sink)? };
        }
    }
    let mut late = Vec::with_capacity(ALL);
    for (entry, lateness) in fired {
        let i = entry.user_data();
        // SAFETY: this is the last entry of this operation, which was pushed once.
        unsafe { ops[i].finish(entry)? };
        late.push((dues[i].kind, lateness));
    }
    Ok(report(&late))
}

/// An operation that fires in so much time, and when that is.
fn timeout(kind: Kind, after: Duration) -> (Due, Timeout) {
    let due = Due {
        kind,
        instant: Instant::now() + after,
        since_1970: since_1970() + after,
    };
    let op = match kind {
        Kind::Relative => Timeout::after(after),
        Kind::Absolute => Timeout::at(due.instant),
        Kind::Realtime => Timeout::at_on(Clock::Realtime, due.since_1970),
    };
    (due, op)
}

/// Prints how late they were, a line for each kind; `false` if one was early.
fn report(fired: &[(Kind, Option<Duration>)]) -> bool {
    let mut early = 0;
    println!("kind       timeouts   late: min     median        max");
    for kind in [Kind::Relative, Kind::Absolute, Kind::Realtime] {
        let of_kind = fired.iter().filter(|(of, _)| *of == kind);
        let mut late: Vec<Duration> = of_kind.filter_map(|(_, late)| *late).collect();
        early += EACH as usize - late.len();
        late.sort();
        let [min, median, max] = [0, late.len() / 2, late.len().saturating_sub(1)].map(|i| {
            late.get(i)
                .map_or("-".to_owned(), |late| format!("{late:.1?}"))
        });
        let kind = format!("{kind:?}").to_lowercase();
        println!(
            "{kind:<12} {:>6} {min:>11} {median:>10} {max:>10}",
            late.len()
        );
    }
    println!("{early} early");
    early == 0
}

/// What the realtime clock shows.
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the clock is set")
}
