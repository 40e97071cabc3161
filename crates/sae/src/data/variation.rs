//! How rows vary about their mean, and how much of that a model explains.
//!
//! ```math
//! 1 - \mathrm{EV} = \frac{\sum_i |r_i|^2}{\sum_i |x_i - \bar x|^2}, \qquad
//! \mathrm{EV}_i = 1 - \frac{|r_i|^2}{|x_i - \bar x|^2}
//! ```
//!
//! The first is dominated by large rows: one row of a thousand times the norm of the others holds nearly
//! all of the sum. So the row and the column that hold the largest shares are reported, and the median
//! explained variance of a row. Everything is a ratio of sums over the centred rows, never a difference of
//! large numbers.

use crate::data::{Data, ordered_sum};
use serde::{Deserialize, Serialize};

/// The row or column that holds most of a sum, and its share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The index of the row or the column.
    pub index: usize,
    /// Its share of the sum, from 0 to 1.
    pub share: f64,
}

impl Share {
    /// The largest of `parts`; the first where several are equal.
    fn largest(parts: &[f64], total: f64) -> Self {
        let first = (0, f64::NEG_INFINITY);
        let (index, part) =
            (parts.iter().enumerate()).fold(
                first,
                |best, (i, &part)| if part > best.1 { (i, part) } else { best },
            );
        Self {
            index,
            share: part / total,
        }
    }

    /// Whether it holds more than all others together.
    pub fn is_most(&self) -> bool {
        self.share > 0.5
    }
}

/// How rows vary about their mean, and how much of that a model explains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// `SSE / sum |x_i - mean|^2`: one minus the explained variance, without cancellation.
    pub unexplained: f64,
    /// The median over rows of `1 - |r_i|^2 / |x_i - mean|^2`. Rows that equal the mean up to rounding have
    /// no such value and are left out.
    pub median_row: f64,
    /// The row that holds most of `sum |x_i - mean|^2`.
    pub largest_row: Share,
    /// The column that holds most of it.
    pub largest_column: Share,
}

/// The spread of the rows is rounding, so there is nothing to explain.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoVariation {
    /// There is one row, which is its own mean.
    #[error("the rows do not vary: there is one row only")]
    OneRow,
    /// Every entry is 0.
    #[error("the rows do not vary: all {rows} are zero")]
    Zeros {
        /// The number of rows.
        rows: usize,
    },
    /// All rows equal their mean, up to rounding.
    #[error(
        "the rows do not vary: about their mean the {rows} rows have {relative:.1e} of their root \
         mean square, which is rounding"
    )]
    Rounding {
        /// The number of rows.
        rows: usize,
        /// The root mean square about the mean over that about zero.
        relative: f64,
    },
}

impl NoVariation {
    pub(crate) fn new(rows: usize, squares: f64, relative: f64) -> Self {
        match rows {
            1 => Self::OneRow,
            _ if squares == 0.0 => Self::Zeros { rows },
            _ => Self::Rounding { rows, relative },
        }
    }
}

impl Variation {
    /// The variation of `data`, given a model's `errors`: `|r_i|^2` in the units of the normalised rows.
    ///
    /// # Errors
    /// [`NoVariation`].
    pub(crate) fn of(data: &Data, errors: &[f64]) -> Result<Self, NoVariation> {
        if let Some(still) = data.still() {
            return Err(still);
        }
        let total = data.total();
        let rows = (0..data.rows()).filter_map(|i| Some(1.0 - errors[i] / data.row_spread(i)?));
        Ok(Self {
            unexplained: ordered_sum(errors) / total,
            median_row: median(rows.collect()),
            largest_row: Share::largest(data.spreads(), total),
            largest_column: Share::largest(&data.column_spreads(), total),
        })
    }

    /// `1 - SSE / sum |x_i - mean|^2`.
    pub fn explained(&self) -> f64 {
        1.0 - self.unexplained
    }
}

/// The median of `values`: the middle one, or the mean of the two in the middle. NaN for no values, or if
/// one of them is NaN.
fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() || values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    values.sort_unstable_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    if low == high {
        values[low]
    } else {
        0.5 * values[low] + 0.5 * values[high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_row_and_the_column_with_most_of_the_squares_are_named() {
        // The mean is (0, 0).
        let raw = array![[3.0, 0.0], [-3.0, 0.0], [0.0, 9.0], [0.0, -9.0], [0.0, 0.0]];
        let data = Data::normalised(raw.view()).unwrap();
        let unit = data.scale() * data.scale();
        let errors = [1.0, 2.0, 3.0, 9.0, 5.0].map(|e| e / unit);
        let variation = Variation::of(&data, &errors).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-14;
        assert_eq!(
            (variation.largest_row.index, variation.largest_column.index),
            (2, 1)
        );
        assert!(
            near(variation.largest_row.share, 81.0 / 180.0) && !variation.largest_row.is_most()
        );
        assert!(near(variation.largest_column.share, 162.0 / 180.0));
        assert!(variation.largest_column.is_most());
        assert!(near(variation.unexplained, 20.0 / 180.0));
        // The row that equals the mean is left out: the median of 8/9, 7/9, 26/27 and 8/9.
        assert!(
            near(variation.median_row, 8.0 / 9.0),
            "{}",
            variation.median_row
        );
    }

    #[test]
    fn a_median_takes_the_middle_and_hides_nothing_that_is_not_a_number() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
        assert!(median(vec![1.0, f64::NAN, 2.0]).is_nan());
    }
}
