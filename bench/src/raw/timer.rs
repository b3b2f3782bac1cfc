//! The kernel's timers.

use super::Ring;
use bench::child::{Args, Outcome};
use bench::histogram::Histogram;
use bench::machine::now_ns;
use bench::meter::Meter;
use bench::work::{LATENESS_TASKS, add_lateness};
use io_uring::squeue::Flags;
use io_uring::{opcode, types};

/// Timeouts of a millisecond, each armed again when it fires.
pub(super) fn fire(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    let lateness = args.workload == "lateness";
    let timers = if lateness {
        LATENESS_TASKS
    } else {
        args.need("tasks")?
    };
    let millisecond = types::Timespec::new().nsec(1_000_000);
    let arm = |ring: &mut Ring<'_>, i: u64| {
        ring.make_room();
        let entry = opcode::Timeout::new(&raw const millisecond).build();
        // SAFETY: the time is there until all have fired.
        unsafe { ring.push(&entry.user_data(i)) };
    };
    let mut late = Histogram::default();
    let mut begun: Vec<u64> = (0..timers).map(|_| now_ns()).collect();
    for i in 0..timers {
        arm(ring, i);
    }
    let meter = Meter::new(args.goal()?);
    let mut live = timers;
    while live > 0 {
        ring.enter(1);
        while let Some(cqe) = ring.cq.next() {
            assert_eq!(cqe.result(), -libc::ETIME);
            let goes_on = if lateness {
                let begun = &mut begun[usize::try_from(cqe.user_data()).expect("one of them")];
                let now = now_ns();
                if meter.has_begun() {
                    late.add((now - *begun).saturating_sub(1_000_000));
                }
                *begun = now;
                meter.long_step(1)
            } else {
                meter.step(1)
            };
            if goes_on {
                arm(ring, cqe.user_data());
            } else {
                live -= 1;
            }
        }
    }
    let mut outcome = meter.outcome()?;
    if lateness {
        add_lateness(&mut outcome, &late);
    }
    Ok(outcome)
}

/// Timeouts of ten seconds, each removed when `live=N` younger ones are there.
pub(super) fn cancel(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    const TURN: u64 = 512;
    let live: u64 = args.need("live")?;
    let long = types::Timespec::new().sec(10);
    let meter = Meter::new(args.goal()?);
    let mut i = 0;
    loop {
        let arm = opcode::Timeout::new(&raw const long).build().user_data(i);
        // SAFETY: the time is there until the entry is handed over, which copies it.
        unsafe { ring.push(&arm) };
        if let Some(old) = i.checked_sub(live) {
            let remove = opcode::TimeoutRemove::new(old).build().user_data(u64::MAX);
            // SAFETY: it points nowhere.
            unsafe { ring.push(&remove.flags(Flags::SKIP_SUCCESS)) };
        }
        i += 1;
        let goes_on = meter.step(1);
        if i % TURN == 0 || !goes_on {
            ring.enter(0);
            for cqe in &mut ring.cq {
                assert_eq!(cqe.result(), -libc::ECANCELED);
            }
        }
        if !goes_on {
            return meter.outcome();
        }
    }
}
