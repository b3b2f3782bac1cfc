//! How long things took, in steps of 1.6 %.

const STEPS: u64 = 64;

/// Counts nanoseconds, 64 steps for each power of two.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * 64],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, ns: u64) {
        let step = if ns < STEPS {
            ns
        } else {
            let power = ns.ilog2() - STEPS.ilog2();
            u64::from(power) * STEPS + (ns >> power)
        };
        self.counts[usize::try_from(step).expect("at most 64 × 64")] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The least step that is no less than this part of all.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut left = (self.total as f64 * part).ceil().max(1.0);
        for (step, &count) in (0u64..).zip(&self.counts) {
            left -= count as f64;
            if left <= 0.0 {
                let power = (step / STEPS).saturating_sub(1);
                return ((step - power * STEPS) << power) as f64;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_step() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0.0);
        for ns in [1, 63, 64, 127, 128, 1_000_003, u64::MAX] {
            histogram.add(ns);
        }
        assert_eq!(histogram.total(), 7);
        for (part, ns) in [
            (0.1, 1.0),
            (0.28, 63.0),
            (0.42, 64.0),
            (0.57, 127.0),
            (0.7, 128.0),
        ] {
            assert_eq!(histogram.quantile(part), ns);
        }
        let million = histogram.quantile(0.8);
        assert!(million <= 1_000_003.0 && million > 1_000_003.0 * (1.0 - 1.0 / 64.0));
        assert!(histogram.quantile(1.0) > 1.8e19);
    }
}
