//! Median and spread of samples.

/// What a table says of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The median; of an even number the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// Half the distance between the quartiles, relative to the median: the spread of the middle half.
    pub spread: f64,
    /// How many.
    pub count: usize,
}

impl Summary {
    /// Of one unit of work, where a sample is `units` of them.
    pub fn of_one(self, units: u32) -> Self {
        let units = f64::from(units.max(1));
        Self {
            median: self.median / units,
            min: self.min / units,
            ..self
        }
    }

    /// Of at least one finite sample; `None` of none, or where one is not finite.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|s| !s.is_finite()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let half = 0.5 * (quantile(&sorted, 0.75) - quantile(&sorted, 0.25));
        Some(Self {
            median,
            min: sorted[0],
            spread: if half == 0.0 { 0.0 } else { half / median },
            count: sorted.len(),
        })
    }
}

/// Linear interpolation between the order statistics of sorted, non-empty samples.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quartiles_interpolate() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.median, summary.min, summary.count), (2.5, 1.0, 4));
        assert_eq!(summary.spread, 0.75 / 2.5);
        assert_eq!(Summary::of(&[7.0]).unwrap().spread, 0.0);
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn an_outlier_moves_neither_median_nor_spread_far() {
        let calm = Summary::of(&[1.0, 1.0, 1.0, 1.0, 1.0]).unwrap();
        let hit = Summary::of(&[1.0, 1.0, 100.0, 1.0, 1.0]).unwrap();
        assert_eq!((calm.median, calm.spread), (hit.median, hit.spread));
    }
}
