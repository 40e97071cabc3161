//! One ceiling: the best window that a second one reproduced, or a refusal.

use super::Samples;
use serde::{Deserialize, Serialize};

/// How far two windows may be apart, relative to the smaller.
pub const TOLERANCE: f64 = 0.05;

/// What a ceiling counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes a second: the most is the ceiling.
    BytesPerSecond,
    /// Floating-point operations a second: the most is the ceiling.
    OperationsPerSecond,
    /// Seconds: the least is the ceiling.
    Seconds,
}

/// The samples of all windows, and what follows from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Ceiling {
    /// The two best windows agree.
    Measured {
        /// What is counted.
        unit: Unit,
        /// The best of the medians.
        value: f64,
        /// The median of each window.
        medians: Vec<f64>,
        /// Every sample of each window.
        samples: Vec<Vec<f64>>,
    },
    /// The two best windows do not agree, or there are none: there is no ceiling.
    Refused {
        /// What is counted.
        unit: Unit,
        /// The median of each window that holds a sample.
        medians: Vec<f64>,
        /// Every sample of each window.
        samples: Vec<Vec<f64>>,
    },
}

/// A run that was faster than its ceiling: the ceiling is wrong.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a run of {run:e} beats its ceiling of {ceiling:e} by {:.1} %: the ceiling is wrong", 100.0 * (fraction - 1.0))]
pub struct Beaten {
    /// What the run reached.
    pub run: f64,
    /// The ceiling's value.
    pub ceiling: f64,
    /// Their ratio, above 1.
    pub fraction: f64,
}

impl Ceiling {
    /// The ceiling that follows from the windows, all of one unit.
    pub(super) fn of_windows(windows: Vec<Samples>) -> Self {
        let unit = windows.first().map_or(Unit::Seconds, |w| w.unit);
        let medians: Vec<f64> = windows.iter().filter_map(|w| median(&w.values)).collect();
        let samples = windows.into_iter().map(|w| w.values).collect();
        let mut best = medians.clone();
        best.sort_by(|a, b| unit.order(*a, *b));
        match best[..] {
            [a, b, ..] if (a - b).abs() <= TOLERANCE * a.min(b) => Self::Measured {
                unit,
                value: a,
                medians,
                samples,
            },
            _ => Self::Refused {
                unit,
                medians,
                samples,
            },
        }
    }

    /// The value; absent where it was refused.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Measured { value, .. } => Some(*value),
            Self::Refused { .. } => None,
        }
    }

    /// The unit, and the median of each window that holds a sample.
    pub fn windows(&self) -> (Unit, &[f64]) {
        match self {
            Self::Measured { unit, medians, .. } | Self::Refused { unit, medians, .. } => {
                (*unit, medians)
            }
        }
    }

    /// Which part of the ceiling a run reached, at most 1; absent where the ceiling was refused.
    /// Up to [`TOLERANCE`] above 1 is the ceiling's own uncertainty and counts as 1.
    ///
    /// # Errors
    /// [`Beaten`] where the run is faster than the ceiling by more than that.
    pub fn fraction(&self, run: f64) -> Option<Result<f64, Beaten>> {
        let Self::Measured { unit, value, .. } = *self else {
            return None;
        };
        let fraction = match unit {
            Unit::Seconds => value / run,
            Unit::BytesPerSecond | Unit::OperationsPerSecond => run / value,
        };
        Some(match fraction > 1.0 + TOLERANCE {
            true => Err(Beaten {
                run,
                ceiling: value,
                fraction,
            }),
            false => Ok(fraction.min(1.0)),
        })
    }
}

impl Unit {
    /// The better first.
    fn order(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::Seconds => a.total_cmp(&b),
            Self::BytesPerSecond | Self::OperationsPerSecond => b.total_cmp(&a),
        }
    }
}

/// The middle sample, or the mean of the middle two.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some(0.5 * (sorted[half - 1] + sorted[half])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(values: &[f64]) -> Samples {
        Samples {
            unit: Unit::BytesPerSecond,
            values: values.to_vec(),
        }
    }

    fn of(windows: &[&[f64]]) -> Ceiling {
        Ceiling::of_windows(windows.iter().map(|w| rate(w)).collect())
    }

    #[test]
    fn windows_that_agree_give_the_better_median() {
        assert_eq!(of(&[&[99.0, 100.0, 500.0], &[103.0]]).value(), Some(103.0));
        let seconds = |v| Samples {
            unit: Unit::Seconds,
            values: vec![v],
        };
        let ceiling = Ceiling::of_windows(vec![seconds(1.0), seconds(1.04)]);
        assert_eq!(ceiling.value(), Some(1.0));
    }

    #[test]
    fn windows_more_than_five_percent_apart_give_none() {
        for (a, b) in [(100.0, 105.1), (105.1, 100.0)] {
            assert_eq!(of(&[&[a], &[b]]).value(), None);
        }
        assert_eq!(of(&[]).value(), None);
        assert_eq!(of(&[&[1.0]]).value(), None);
        assert_eq!(of(&[&[], &[1.0]]).value(), None);
        assert_eq!(of(&[&[f64::NAN], &[1.0]]).value(), None);
    }

    #[test]
    fn the_best_window_counts_only_where_it_was_reproduced() {
        assert_eq!(of(&[&[80.0], &[100.0], &[99.0]]).value(), Some(100.0));
        assert_eq!(of(&[&[80.0], &[81.0], &[100.0]]).value(), None);
    }

    #[test]
    fn a_run_that_beats_its_ceiling_is_a_fault_of_the_ceiling() {
        let ceiling = of(&[&[100.0], &[100.0]]);
        assert_eq!(ceiling.fraction(50.0), Some(Ok(0.5)));
        assert_eq!(ceiling.fraction(104.0), Some(Ok(1.0)));
        assert!(ceiling.fraction(106.0).unwrap().is_err());
    }

    #[test]
    fn a_median_of_an_even_number_is_the_mean_of_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
