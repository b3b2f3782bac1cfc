//! Medians, and how runs are paired.

use crate::subject::Subject;
use bench::child::Outcome;

/// All runs of one subject in one case.
pub(crate) struct Series {
    pub(crate) subject: Subject,
    /// It is the reference once more: the noise.
    pub(crate) again: bool,
    pub(crate) runs: Vec<Outcome>,
    /// The main figure of each run by those of the reference just before and just after.
    pub(crate) ratios: Vec<f64>,
    /// Why it is not here, or not as often as the others.
    pub(crate) failed: Option<String>,
}

impl Series {
    fn new(subject: Subject, again: bool) -> Self {
        Self {
            subject,
            again,
            runs: Vec::new(),
            ratios: Vec::new(),
            failed: None,
        }
    }

    /// A figure of all runs that have it.
    pub(crate) fn spread(&self, metric: &str) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.get(metric).copied()))
    }

    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::of(self.ratios.iter().copied())
    }
}

/// Runs the reference and the others in turn, `main` being their main figure: reference, reference,
/// reference, A, reference, B, reference … The first of the series is the reference.
pub(crate) fn alternate(
    rounds: usize,
    main: &str,
    reference: Subject,
    others: &[Subject],
    mut run: impl FnMut(Subject) -> Result<Outcome, String>,
) -> Vec<Series> {
    let mut first = Series::new(reference, false);
    let mut rest = vec![Series::new(reference, true)];
    rest.extend(others.iter().map(|other| Series::new(*other, false)));
    let mut before = keep(&mut first, run(reference));
    if first.failed.is_some() {
        rest.remove(0);
    }
    for _ in 0..rounds {
        for series in &mut rest {
            if series.failed.is_some() {
                continue;
            }
            let this = keep(series, run(series.subject));
            if first.failed.is_some() || this.is_none() {
                continue;
            }
            let after = keep(&mut first, run(reference));
            let figure = |run: &Option<Outcome>| run.as_ref()?.get(main).copied();
            if let (Some(before), Some(this), Some(after)) =
                (figure(&before), figure(&this), figure(&after))
            {
                series.ratios.push(this * 2.0 / (before + after));
            }
            before = after;
        }
    }
    std::iter::once(first).chain(rest).collect()
}

/// Runs each of them so many times, for counts, which no noise changes. The first is the reference.
pub(crate) fn each(
    times: usize,
    subjects: impl IntoIterator<Item = Subject>,
    mut run: impl FnMut(Subject) -> Result<Outcome, String>,
) -> Vec<Series> {
    let run_each = |subject| {
        let mut series = Series::new(subject, false);
        for _ in 0..times {
            if series.failed.is_none() {
                keep(&mut series, run(subject));
            }
        }
        series
    };
    subjects.into_iter().map(run_each).collect()
}

/// Keeps a run, or why there is none.
fn keep(series: &mut Series, result: Result<Outcome, String>) -> Option<Outcome> {
    match result {
        Ok(run) => {
            series.runs.push(run.clone());
            Some(run)
        }
        Err(reason) => {
            series.failed = Some(reason);
            None
        }
    }
}

/// What the runs of the reference differ by among themselves.
pub(crate) fn noise(series: &[Series]) -> Option<Spread> {
    let again = series.iter().find(|series| series.again)?;
    Spread::trimmed(again.ratios.clone())
}

/// A ratio, and that of the reference against itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Less,
    Tie,
    More,
}

impl Verdict {
    /// `None` where there is nothing to compare, or too little.
    pub(crate) fn of(ratios: &[f64], noise: Option<Spread>) -> Option<Self> {
        const ENOUGH: usize = 3;
        if ratios.len() < ENOUGH {
            return None;
        }
        let (ratio, noise) = (Spread::trimmed(ratios.to_vec())?, noise?);
        Some(if noise.contains(ratio.median) || ratio.contains(1.0) {
            Self::Tie
        } else if ratio.median > 1.0 {
            Self::More
        } else {
            Self::Less
        })
    }
}

/// The middle of some numbers, and their range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of no numbers.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let half = numbers.len() / 2;
        let median = match numbers.len() % 2 {
            0 => (numbers[half - 1] + numbers[half]) / 2.0,
            _ => numbers[half],
        };
        Some(Self { median, min, max })
    }

    /// The same without the lowest and the highest, where there are enough for that.
    pub(crate) fn trimmed(mut numbers: Vec<f64>) -> Option<Self> {
        const ENOUGH: usize = 5;
        numbers.sort_by(f64::total_cmp);
        let odd_ones = usize::from(numbers.len() >= ENOUGH);
        Self::of(numbers[odd_ones..numbers.len() - odd_ones].iter().copied())
    }

    pub(crate) fn contains(&self, number: f64) -> bool {
        self.min <= number && number <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Kind;

    const RAW: Subject = Subject::new("raw", Kind::ByHand);
    const TWICE: Subject = Subject::new("twice", Kind::Ours);
    const ABSENT: Subject = Subject::new("absent", Kind::Peer);

    fn cost(ns: u32) -> Outcome {
        [("cpu".to_owned(), f64::from(ns))].into()
    }

    #[test]
    fn each_run_is_compared_to_the_references_around_it() {
        // The machine gets slower and slower; the peer costs twice as much at any time.
        let mut slowness = 9;
        let series = alternate(3, "cpu", RAW, &[TWICE, ABSENT], |subject| {
            slowness += 1;
            match subject.name {
                "raw" => Ok(cost(slowness * 100)),
                "twice" => Ok(cost(slowness * 200)),
                _ => Err("not here".to_owned()),
            }
        });
        let names: Vec<_> = series.iter().map(|series| series.subject.name).collect();
        assert_eq!(names, ["raw", "raw", "twice", "absent"]);
        assert!(series[1].again && !series[0].again);
        assert_eq!(series[0].runs.len(), 7);
        for (series, ratio) in series[1..3].iter().zip([1.0, 2.0]) {
            assert_eq!(series.ratios.len(), 3);
            for found in &series.ratios {
                assert!(
                    (found - ratio).abs() < 0.05,
                    "{}: {found}",
                    series.subject.name
                );
            }
        }
        assert_eq!(series[3].failed.as_deref(), Some("not here"));
    }

    #[test]
    fn without_the_reference_the_others_are_run() {
        let series = alternate(2, "cpu", ABSENT, &[TWICE], |subject| match subject.name {
            "twice" => Ok(cost(1)),
            _ => Err("not here".to_owned()),
        });
        assert_eq!(series.len(), 2);
        assert!(series[0].failed.is_some() && noise(&series).is_none());
        assert_eq!((series[1].runs.len(), series[1].ratios.len()), (2, 0));
    }

    #[test]
    fn counts_are_no_pairs() {
        let mut runs = 0;
        let series = each(3, [RAW, ABSENT], |subject| {
            runs += 1;
            match subject.name {
                "raw" => Ok(cost(runs)),
                _ => Err("not here".to_owned()),
            }
        });
        let found: Vec<_> = series
            .iter()
            .map(|s| (s.runs.len(), s.ratios.len()))
            .collect();
        assert_eq!((found, runs), (vec![(3, 0), (0, 0)], 4));
        assert_eq!(series[0].spread("cpu").map(|cpu| cpu.median), Some(2.0));
    }

    #[test]
    fn medians_and_ranges() {
        assert!(Spread::of([]).is_none());
        let spread = Spread::of([3.0, 1.0, 2.0, 8.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.5, 8.0));
        let trimmed = Spread::trimmed(vec![9.0, 1.0, 1.1, 0.2, 0.9]).unwrap();
        assert_eq!((trimmed.min, trimmed.max), (0.9, 1.1));
    }

    #[test]
    fn what_the_noise_covers_is_a_tie() {
        let noise = Spread::of([0.95, 1.0, 1.05]);
        assert_eq!(Verdict::of(&[1.04, 1.04, 1.06], noise), Some(Verdict::Tie));
        assert_eq!(Verdict::of(&[1.1, 1.2, 1.3], noise), Some(Verdict::More));
        assert_eq!(Verdict::of(&[0.9, 1.2, 1.3], noise), Some(Verdict::Tie));
        assert_eq!(Verdict::of(&[0.7, 0.8, 0.9], noise), Some(Verdict::Less));
        assert_eq!(Verdict::of(&[1.1, 1.2], noise), None);
        assert_eq!(Verdict::of(&[1.0; 3], None), None);
    }
}
