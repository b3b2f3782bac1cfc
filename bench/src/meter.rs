//! Counts operations, and looks at the clocks when the time has come.

use crate::alloc::allocations;
use crate::child::{Goal, Outcome};
use crate::machine::{cpu_ns, now_ns};
use std::cell::Cell;
use std::time::Duration;

/// Counts operations until the goal is reached.
///
/// It looks at the clock once for 64 calls of [`step`](Self::step) at most, so that they cost next
/// to nothing.
#[derive(Debug)]
pub struct Meter {
    ops: Cell<u64>,
    /// The number of operations at which the clock is looked at.
    next_look: Cell<u64>,
    goal: Goal,
    made_ns: u64,
    begin: Cell<Option<Moment>>,
    end: Cell<Option<Moment>>,
}

/// Where the counts were.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall_ns: u64,
    cpu_ns: u64,
    allocations: u64,
    ops: u64,
}

const STEPS_PER_LOOK: u64 = 64;

impl Meter {
    /// Begins to count.
    pub fn new(goal: Goal) -> Self {
        let meter = Self {
            ops: Cell::new(0),
            next_look: Cell::new(0),
            goal,
            made_ns: now_ns(),
            begin: Cell::new(None),
            end: Cell::new(None),
        };
        meter.look(1);
        meter
    }

    /// Counts so many more operations; `false` when it is over, for whoever asks.
    #[inline]
    pub fn step(&self, ops: u64) -> bool {
        let done = self.ops.get() + ops;
        self.ops.set(done);
        done < self.next_look.get() || self.look(ops)
    }

    /// As [`step`](Self::step), where steps take so long that the clock is looked at for each.
    pub fn long_step(&self, ops: u64) -> bool {
        self.next_look.set(0);
        self.step(ops)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.end.get().is_some()
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begin.get().is_some()
    }

    /// The window begins at the first look after the warm-up, and ends at one of the next: however
    /// long nobody had a CPU meanwhile, something is done in it.
    #[cold]
    fn look(&self, ops_per_step: u64) -> bool {
        let done = self.ops.get();
        match self.goal {
            Goal::Ops(_) if self.begin.get().is_none() => self.begin.set(Some(self.moment())),
            Goal::Ops(goal) => {
                self.next_look.set(goal);
                self.end_if(done >= goal);
            }
            Goal::Time { warm_up, window } => {
                self.next_look.set(done + STEPS_PER_LOOK * ops_per_step);
                let since = |ns| Duration::from_nanos(now_ns() - ns);
                match self.begin.get() {
                    None if since(self.made_ns) >= warm_up => self.begin.set(Some(self.moment())),
                    None => {}
                    Some(begin) => self.end_if(since(begin.wall_ns) >= window && done > begin.ops),
                }
            }
        }
        !self.is_over()
    }

    fn end_if(&self, over: bool) {
        if over && !self.is_over() {
            self.end.set(Some(self.moment()));
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            wall_ns: now_ns(),
            cpu_ns: cpu_ns(),
            allocations: allocations(),
            ops: self.ops.get(),
        }
    }

    /// What was measured.
    ///
    /// # Errors
    /// Nothing was done.
    pub fn outcome(&self) -> Result<Outcome, String> {
        let begin = self.begin.get().ok_or("it ended before it was warm")?;
        let end = self.end.get().unwrap_or_else(|| self.moment());
        outcome(
            end.ops - begin.ops,
            end.wall_ns - begin.wall_ns,
            end.cpu_ns - begin.cpu_ns,
            end.allocations - begin.allocations,
        )
    }
}

/// An outcome of so many operations.
///
/// # Errors
/// There were none.
pub fn outcome(ops: u64, wall_ns: u64, cpu_ns: u64, allocations: u64) -> Result<Outcome, String> {
    if ops == 0 {
        return Err("nothing was done in the time that was measured".to_owned());
    }
    let each = |total: u64| total as f64 / ops as f64;
    let outcome = [
        ("ops", ops as f64),
        ("cpu_ns_per_op", each(cpu_ns)),
        ("ops_per_s", ops as f64 * 1e9 / wall_ns as f64),
        ("allocations_per_op", each(allocations)),
    ];
    Ok(outcome.map(|(name, value)| (name.to_owned(), value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_number_ends_exactly() {
        let meter = Meter::new(Goal::Ops(10));
        assert!(meter.has_begun() && !meter.is_over());
        assert!((0..9).all(|_| meter.step(1)));
        assert!(!meter.step(1));
        assert!(!meter.step(1));
        assert_eq!(meter.outcome().map(|outcome| outcome["ops"]), Ok(10.0));
    }

    #[test]
    fn what_comes_before_it_is_warm_is_not_counted() {
        let ever = Duration::from_secs(1 << 30);
        let cold = Meter::new(Goal::Time {
            warm_up: ever,
            window: ever,
        });
        assert!((0..1000).all(|_| cold.step(1)));
        assert!(!cold.has_begun() && cold.outcome().is_err());
        let none = Duration::ZERO;
        let over = Meter::new(Goal::Time {
            warm_up: none,
            window: none,
        });
        assert!(over.has_begun() && !over.is_over());
        assert!(over.outcome().is_err(), "nothing was done in no time");
        assert!(!over.long_step(1) && over.is_over());
        assert_eq!(over.outcome().map(|outcome| outcome["ops"]), Ok(1.0));
    }
}
