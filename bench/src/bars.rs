//! What the numbers should be, and whether they are.

use crate::measure::Spread;
use crate::report::Found;
use crate::table::Table;

/// A figure that is to be no more than a limit.
struct Bar {
    what: String,
    limit: f64,
    value: f64,
    noise: Option<Spread>,
}

impl Bar {
    fn verdict(&self) -> &'static str {
        // A ratio that the reference could have to itself is no loss.
        let blurred = self
            .noise
            .map_or(self.limit, |noise| self.limit * noise.max.max(1.0));
        if self.value <= self.limit {
            "met"
        } else if self.value <= blurred {
            "within noise"
        } else {
            "not met"
        }
    }
}

/// The bars of what was measured.
pub(crate) fn table(found: &[Found]) -> Table {
    let head = ["bar", "at most", "measured", ""].map(str::to_owned);
    let mut table = Table::new(head.into(), "\0");
    for bar in Bars(found).all() {
        let Bar {
            what, limit, value, ..
        } = &bar;
        let digits = match *limit {
            ..0.1 => 3,
            0.1..10.0 => 2,
            _ => 0,
        };
        table.push(vec![
            what.clone(),
            format!("{limit}"),
            format!("{value:.digits$}"),
            bar.verdict().to_owned(),
        ]);
    }
    table
}

struct Bars<'a>(&'a [Found]);

impl Bars<'_> {
    fn all(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for (batch, limit) in [("1", 1.1), ("32", 1.05), ("256", 1.05)] {
            bars.extend(self.ratio("nop", &[("batch", batch)], "driver", "raw", limit));
            bars.extend(self.ratio("nop", &[("batch", batch)], "scope", "driver", 1.15));
        }
        bars.extend(self.number("instructions", "NOPs, batch 32", "driver", 80.0));
        for connections in ["1", "50", "1000"] {
            let small = [
                ("connections", connections),
                ("bytes", "64"),
                ("depth", "1"),
            ];
            bars.extend(self.best("echo", &small));
        }
        bars.extend(self.number("instructions", "echo, 50 connections", "runtime", 400.0));
        bars.extend(self.number("instructions", "echo, 50 connections", "driver", 250.0));
        for (connections, limit) in [("1", 1.0), ("50", 0.04)] {
            for who in ["driver", "runtime"] {
                bars.extend(self.number("syscalls", connections, who, limit));
            }
        }
        for cache in ["buffered", "O_DIRECT"] {
            for depth in ["1", "32", "128"] {
                let access = format!("random reads, {cache}");
                let reads = [("access", &*access), ("depth", depth)];
                bars.extend(self.best("file", &reads));
                bars.extend(self.ratio("file", &reads, "driver/fixed", "raw/fixed", 1.1));
            }
        }
        for workload in ["fire", "lateness", "spawn"] {
            bars.extend(self.best(workload, &[]));
        }
        for live in ["1", "10000"] {
            bars.extend(self.best("cancel", &[("live", live)]));
        }
        for tasks in ["1", "1000"] {
            bars.extend(self.best("yield", &[("tasks", tasks)]));
        }
        if let Some(awake) = self.find("awake", &[]) {
            bars.extend(self.number_of(awake, "runtime", 0.0));
        }
        for of in ["echo, 50 connections", "read, depth 32", "sleep, dropped"] {
            bars.extend(self.number("allocs", of, "runtime", 0.0));
        }
        bars.extend(self.number("allocs", "spawn and join", "runtime", 1.0));
        if let Some(memory) = self.find("memory", &[]) {
            let buffer = memory
                .case
                .params
                .iter()
                .find(|(name, _)| *name == "buffer");
            let buffer: f64 = buffer
                .and_then(|(_, bytes)| bytes.parse().ok())
                .unwrap_or(0.0);
            // 0.3 KiB beside it.
            bars.extend(self.number_of(memory, "runtime", buffer + 307.0));
        }
        bars
    }

    fn find(&self, workload: &str, params: &[(&str, &str)]) -> Option<&Found> {
        self.0.iter().find(|found| {
            let case = &found.case;
            case.workload == workload && params.iter().all(|(name, value)| case.is(name, value))
        })
    }

    /// One of ours by another.
    fn ratio(
        &self,
        workload: &str,
        params: &[(&str, &str)],
        one: &str,
        other: &str,
        limit: f64,
    ) -> Option<Bar> {
        let found = self.find(workload, params)?;
        let value = found.by(found.series_of(one)?, found.series_of(other)?)?;
        let what = format!("{}: {one} by {other}", found.case.title());
        Some(Bar {
            what,
            limit,
            value,
            noise: found.noise(),
        })
    }

    /// The runtime by the best of the others.
    fn best(&self, workload: &str, params: &[(&str, &str)]) -> Option<Bar> {
        let found = self.find(workload, params)?;
        let best = found.best_peer()?;
        self.ratio(workload, params, "runtime", best.subject.name, 1.0)
    }

    /// A figure that is told apart by its only parameter.
    fn number(&self, workload: &str, value: &str, who: &str, limit: f64) -> Option<Bar> {
        let found = self.0.iter().find(|found| {
            let case = &found.case;
            case.workload == workload && case.params.iter().any(|param| param.1 == value)
        });
        self.number_of(found?, who, limit)
    }

    fn number_of(&self, found: &Found, who: &str, limit: f64) -> Option<Bar> {
        let numbers = found.series_of(who)?.spread(found.case.metrics[0])?;
        Some(Bar {
            what: format!("{}: {who}", found.case.title()),
            limit,
            value: numbers.median,
            noise: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let bar = |value, noise: Option<f64>| Bar {
            what: String::new(),
            limit: 1.05,
            value,
            noise: noise.and_then(|max| Spread::of([0.9, max])),
        };
        assert_eq!(bar(1.05, None).verdict(), "met");
        assert_eq!(bar(1.06, None).verdict(), "not met");
        assert_eq!(bar(1.06, Some(1.02)).verdict(), "within noise");
        assert_eq!(bar(1.08, Some(1.02)).verdict(), "not met");
        assert_eq!(bar(1.06, Some(0.95)).verdict(), "not met");
    }
}
