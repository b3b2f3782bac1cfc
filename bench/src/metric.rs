//! The figures: their titles, units and digits.

/// What a figure is called, and how it is written.
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// By what it is divided in a table.
    scale: f64,
    digits: usize,
}

const fn metric(
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    scale: f64,
    digits: usize,
) -> Metric {
    Metric {
        name,
        title,
        unit,
        scale,
        digits,
    }
}

const METRICS: [Metric; 20] = [
    metric("cpu_ns_per_op", "CPU ns per op", "ns", 1.0, 1),
    metric("ops_per_s", "k ops/s", "1/s", 1e3, 1),
    metric("busy", "busy %", "1", 0.01, 0),
    metric("latency_p50_ns", "p50 µs", "ns", 1e3, 1),
    metric("latency_p99_ns", "p99 µs", "ns", 1e3, 0),
    metric("late_p50_ns", "late by µs, p50", "ns", 1e3, 1),
    metric("late_p99_ns", "p99 µs", "ns", 1e3, 0),
    metric("wake_p50_ns", "woken after µs, p50", "ns", 1e3, 1),
    metric("wake_p99_ns", "p99 µs", "ns", 1e3, 0),
    metric("call_p50_ns", "the call µs, p50", "ns", 1e3, 2),
    metric("bytes_per_connection", "bytes per connection", "B", 1.0, 0),
    metric("allocations_per_op", "allocations per op", "1", 1.0, 2),
    metric("instructions_per_op", "instructions per op", "1", 1.0, 1),
    metric("calls_per_op", "all calls per op", "1", 1.0, 3),
    metric("io_uring_enter_per_op", "io_uring_enter", "1", 1.0, 3),
    metric("recvfrom_per_op", "recvfrom", "1", 1.0, 3),
    metric("sendto_per_op", "sendto", "1", 1.0, 3),
    metric("epoll_wait_per_op", "epoll_wait", "1", 1.0, 3),
    metric("epoll_pwait2_per_op", "epoll_pwait2", "1", 1.0, 3),
    metric("epoll_ctl_per_op", "epoll_ctl", "1", 1.0, 3),
];

impl Metric {
    pub(crate) fn named(name: &str) -> &'static Self {
        let found = METRICS.iter().find(|metric| metric.name == name);
        found.expect("the suite shows what is named here")
    }

    /// "12.3", as a table has it.
    pub(crate) fn show(&self, value: f64) -> String {
        let Self { scale, digits, .. } = self;
        // Large numbers need no fractions.
        let value = value / scale;
        let digits = if value.abs() >= 1000.0 { 0 } else { *digits };
        format!("{value:.digits$}")
    }
}
