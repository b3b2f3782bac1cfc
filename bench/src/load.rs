//! The load of servers: a process of its own on another CPU.

mod buffers;
mod connect;
mod exchange;

use bench::child::{Args, Outcome};
use bench::machine::{self, ProcessClock, cpus, now_ns};
use bench::meter::outcome;
use bench::work::unknown_workload;
use std::time::Duration;

/// The peer of a command line that makes a load.
pub(crate) const PEER: &str = "load";

/// Makes the load that is said.
pub(crate) fn run(args: &Args) -> Result<Outcome, String> {
    machine::pin(cpus().1);
    match args.workload.as_str() {
        "echo" | "udp" => exchange::run(args),
        "accept" => connect::come_and_go(args),
        "memory" => connect::hold(args),
        unknown => Err(unknown_workload(unknown)),
    }
}

/// Measures a server from outside: its CPU time, while the load counts.
struct Window {
    server: ProcessClock,
    warm_up: Duration,
    window: Duration,
    made_ns: u64,
    /// Requests, wall time and CPU time when it was warm.
    begun: Option<(u64, u64, u64)>,
    found: Option<Outcome>,
}

impl Window {
    fn new(server: ProcessClock, warm_up: Duration, window: Duration) -> Self {
        Self {
            server,
            warm_up,
            window,
            made_ns: now_ns(),
            begun: None,
            found: None,
        }
    }

    fn is_warm(&self) -> bool {
        self.begun.is_some()
    }

    /// Looks at the clocks if the time has come; `false` when it is over.
    fn goes_on(&mut self, now_ns: u64, requests: u64) -> Result<bool, String> {
        let since = |ns| Duration::from_nanos(now_ns - ns);
        let cpu_ns = || self.server.now_ns().ok_or("the server is gone");
        match self.begun {
            None if since(self.made_ns) >= self.warm_up => {
                self.begun = Some((requests, now_ns, cpu_ns()?));
            }
            Some((first, begin_ns, begin_cpu_ns)) if since(begin_ns) >= self.window => {
                let (wall_ns, cpu_ns) = (now_ns - begin_ns, cpu_ns()? - begin_cpu_ns);
                let mut found = outcome(requests - first, wall_ns, cpu_ns, 0)?;
                // The server's own are not known here.
                found.remove("allocations_per_op");
                found.insert("busy".to_owned(), cpu_ns as f64 / wall_ns as f64);
                self.found = Some(found);
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }
}
