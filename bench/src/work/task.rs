//! Tasks.

use crate::child::{Args, Outcome};
use crate::meter::Meter;
use crate::peer::Peer;
use std::rc::Rc;

/// Starts a task and waits for it, again and again.
pub(super) fn spawn<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let goal = args.goal()?;
    let meter = P::block_on(args, async move {
        let meter = Meter::new(goal);
        loop {
            P::spawn(async {}).await;
            if !meter.step(1) {
                return meter;
            }
        }
    })?;
    meter.outcome()
}

/// `tasks=N` that let others run, again and again.
pub(super) fn yield_now<P: Peer>(args: &Args) -> Result<Outcome, String> {
    let (tasks, goal) = (args.need::<usize>("tasks")?, args.goal()?);
    let meter = P::block_on(args, async move {
        let meter = Rc::new(Meter::new(goal));
        let go_on = |meter: Rc<Meter>| async move {
            while meter.step(1) {
                P::yield_now().await;
            }
        };
        let tasks: Vec<_> = (0..tasks).map(|_| P::spawn(go_on(meter.clone()))).collect();
        for task in tasks {
            task.await;
        }
        meter
    })?;
    meter.outcome()
}
