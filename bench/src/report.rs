//! Tables for people, and objects for programs.

use crate::json::Object;
use crate::measure::{Series, Spread, Verdict, noise};
use crate::metric::Metric;
use crate::subject::Kind;
use crate::suite::Case;
use crate::table::Table;

/// A case that was run; the reference is its first series.
pub(crate) struct Found {
    pub(crate) case: Case,
    pub(crate) series: Vec<Series>,
}

impl Found {
    fn main(&self) -> &'static Metric {
        Metric::named(self.case.metrics[0])
    }

    /// The series of a subject.
    pub(crate) fn series_of(&self, name: &str) -> Option<&Series> {
        let named = |series: &&Series| series.subject.name == name && !series.again;
        self.series.iter().find(named)
    }

    /// What is compared of a series: by the reference beside it, where that was there.
    fn figure(&self, series: &Series) -> Option<f64> {
        let is_reference = series.subject == self.case.reference && !series.again;
        let ratio = series.ratio().map(|ratio| ratio.median);
        let beside = if is_reference { Some(1.0) } else { ratio };
        let median = |series: &Series| Some(series.spread(self.main().name)?.median);
        let figure = beside.or_else(|| Some(median(series)? / median(&self.series[0])?));
        // Of what costs nothing there is no ratio.
        figure.filter(|figure| figure.is_finite() && !series.runs.is_empty())
    }

    /// The best of the others' crates.
    pub(crate) fn best_peer(&self) -> Option<&Series> {
        let peers = self
            .series
            .iter()
            .filter(|series| series.subject.kind == Kind::Peer);
        let with_figures = peers.filter_map(|series| Some((self.figure(series)?, series)));
        let best = with_figures.min_by(|a, b| a.0.total_cmp(&b.0));
        best.map(|(_, series)| series)
    }

    /// One by the other: their ratios to the reference where both have them.
    pub(crate) fn by(&self, one: &Series, other: &Series) -> Option<f64> {
        Some(self.figure(one)? / self.figure(other)?).filter(|ratio| ratio.is_finite())
    }

    /// What the reference differs by from itself.
    pub(crate) fn noise(&self) -> Option<Spread> {
        noise(&self.series)
    }

    fn name(&self, series: &Series) -> String {
        let again = if series.again { ", again" } else { "" };
        format!("{}{again}", series.subject.name)
    }

    fn row(&self, series: &Series) -> Vec<String> {
        let params = self.case.params.iter().map(|(_, value)| value.clone());
        let mut row: Vec<String> = params.chain([self.name(series)]).collect();
        if series.runs.is_empty() {
            let reason = series.failed.as_deref().unwrap_or("no runs");
            row.push(format!("{SKIPPED}: {reason}"));
            return row;
        }
        let main = self.main();
        let numbers = series.spread(main.name);
        row.push(numbers.map_or(String::new(), |numbers| shown(main, &numbers)));
        row.push(match series.ratio() {
            Some(ratio) => range(&ratio),
            None => self
                .figure(series)
                .map_or(String::new(), |ratio| format!("{ratio:.2}")),
        });
        let best = self.best_peer().and_then(|best| self.by(series, best));
        row.push(best.map_or(String::new(), factor));
        for metric in &self.case.metrics[1..] {
            let metric = Metric::named(metric);
            let numbers = series.spread(metric.name);
            row.push(numbers.map_or(String::new(), |numbers| metric.show(numbers.median)));
        }
        row.push(self.verdict(series));
        row
    }

    fn verdict(&self, series: &Series) -> String {
        let noise = self.noise();
        let percent = series
            .ratio()
            .map_or(0.0, |ratio| (ratio.median - 1.0) * 100.0);
        let verdict = match (series.again, noise) {
            (true, Some(noise)) => format!("noise {:.2}–{:.2}", noise.min, noise.max),
            _ => match Verdict::of(&series.ratios, noise) {
                None => String::new(),
                Some(Verdict::Tie) => "a tie".to_owned(),
                Some(Verdict::More) => format!("costs {percent:.0} % more"),
                Some(Verdict::Less) => format!("costs {:.0} % less", -percent),
            },
        };
        match &series.failed {
            Some(reason) => format!("{verdict} (then: {reason})"),
            None => verdict,
        }
    }

    /// The objects of this case, one for each figure of each subject.
    pub(crate) fn objects(&self) -> Vec<String> {
        let params = self.case.params.iter();
        let params = params.fold(Object::default(), |object, (name, value)| {
            match value.parse::<u64>() {
                Ok(number) => object.raw(name, &number.to_string()),
                Err(_) => object.text(name, value),
            }
        });
        let params = params.end();
        let mut objects = Vec::new();
        for series in &self.series {
            for metric in self.case.metrics {
                let metric = Metric::named(metric);
                let Some(numbers) = series.spread(metric.name) else {
                    continue;
                };
                let reference = self.series[0].spread(metric.name);
                let is_main = metric.name == self.main().name;
                let ratio = match series.ratio() {
                    Some(ratio) if is_main => Some(ratio.median),
                    _ => reference.map(|reference| numbers.median / reference.median),
                };
                let by_raw = self.case.reference.name == "raw";
                let object = Object::default()
                    .text("workload", self.case.workload)
                    .raw("params", &params)
                    .text("peer", &self.name(series))
                    .text("metric", metric.name)
                    .text("unit", metric.unit)
                    .spread(&numbers)
                    .number("ratio_to_raw", ratio.filter(|_| by_raw))
                    .raw("runs", &series.runs.len().to_string());
                objects.push(object.end());
            }
        }
        objects
    }
}

/// Begins what stands in place of figures.
const SKIPPED: &str = "skipped";

/// The table of a workload's cases.
pub(crate) fn table(found: &[Found]) -> Table {
    let Some(first) = found.first() else {
        return Table::new(Vec::new(), SKIPPED);
    };
    let params = first.case.params.iter().map(|(name, _)| (*name).to_owned());
    let main = [
        "peer".to_owned(),
        first.main().title.to_owned(),
        format!("× {}", first.case.reference.name),
        "× best peer".to_owned(),
    ];
    let rest = first.case.metrics[1..].iter();
    let rest = rest.map(|metric| Metric::named(metric).title.to_owned());
    let head = params.chain(main).chain(rest).chain([String::new()]);
    let mut table = Table::new(head.collect(), SKIPPED);
    for found in found {
        for series in &found.series {
            table.push(found.row(series));
        }
    }
    table
}

/// "12.3 [12.0–13.1]", or one number when there is only one.
fn shown(metric: &Metric, numbers: &Spread) -> String {
    let [median, min, max] = [numbers.median, numbers.min, numbers.max].map(|n| metric.show(n));
    if min == max {
        median
    } else {
        format!("{median} [{min}–{max}]")
    }
}

fn range(ratio: &Spread) -> String {
    let [median, min, max] = [ratio.median, ratio.min, ratio.max].map(factor);
    format!("{median} [{min}–{max}]")
}

/// A ratio, with digits that tell something.
fn factor(ratio: f64) -> String {
    let digits = match ratio {
        ..0.1 => 3,
        0.1..10.0 => 2,
        _ => 1,
    };
    format!("{ratio:.digits$}")
}
