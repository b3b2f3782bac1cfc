//! Batches of NOPs.

use super::Ring;
use bench::child::{Args, Outcome};
use bench::meter::Meter;
use io_uring::opcode;

/// Queues a batch, submits and waits in one call, and looks at each completion.
pub(super) fn run(ring: &mut Ring<'_>, args: &Args) -> Result<Outcome, String> {
    let batch: u32 = args.need("batch")?;
    let meter = Meter::new(args.goal()?);
    loop {
        for i in 0..batch {
            let entry = opcode::Nop::new().build().user_data(u64::from(i));
            // SAFETY: a NOP points nowhere.
            unsafe { ring.push(&entry) };
        }
        let mut left = batch;
        while left > 0 {
            ring.enter(left);
            for cqe in &mut ring.cq {
                assert_eq!(cqe.result(), 0);
                left -= 1;
            }
        }
        if !meter.step(u64::from(batch)) {
            return meter.outcome();
        }
    }
}
