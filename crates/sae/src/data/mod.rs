//! The data of a fit: rows centred, then divided by the root mean square of the centred rows.
//!
//! ```text
//! raw -> / unit -> - first mean -> - mean of the rest -> / RMS        x = (raw - mean) / scale
//! ```
//!
//! `unit` is a power of two near the largest entry, so nothing overflows and no digit is lost. The
//! subtraction of two nearby numbers is exact, so the first mean removes a common offset of any size
//! without rounding. The second is the mean of numbers of the size of the spread, and is as accurate as
//! they are. A fit therefore sees the same numbers (up to the rounding that the raw rows carry) whatever
//! units and origin its caller uses. This is exact because the decoder has an intercept that is not
//! penalised. A fit reports in the caller's units: decoders are multiplied by `scale`, the mean is added
//! to the intercept, and objectives are multiplied by `scale^2`.
//!
//! Rows stay as they came, in their own type, in memory or where they are stored ([`rows`]); a tile of them is
//! widened and normalised as it is read. Few numbers are kept normalised instead ([`store`]).
//!
//! Work over rows runs in parallel over chunks whose bounds depend on the shapes alone, and results are
//! combined in the order of the chunks. So any number of threads gives the same bits, and so does any place of
//! the rows.

pub(crate) mod element;
pub(crate) mod rows;
pub(crate) mod store;
pub(crate) mod variation;
pub(crate) mod vectors;

use crate::data::rows::Rows;
use crate::data::store::{Store, Survey, TileMemory, survey};
use crate::data::variation::NoVariation;
use crate::error::FitError;
pub(crate) use vectors::{
    ARCH, axpy, carve, chunk_bounds, dot, dots, larger, largest_of, norm, ordered_sum, par_sum,
    square_of_difference, sum_into,
};

/// Centred and normalised rows.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    store: Store,
    /// What the centred numbers were divided by.
    scale: f64,
    /// What was subtracted: a mean in the units of the raw numbers, and the mean of the rest.
    centre: Vec<[f64; 2]>,
    /// The mean row of `x`: zero up to rounding where `x` has all rows; a subset has a mean of its own.
    mean: Vec<f64>,
    /// `|x_i - mean|^2`.
    spread: Vec<f64>,
    /// `sum |x_i - mean|^2`.
    total: f64,
    /// `|raw_i|^2 / scale^2`. A spread that is tiny beside it is rounding of the raw numbers.
    lift: Vec<f64>,
    /// Set where the spread is rounding, so that the rows do not vary.
    still: Option<NoVariation>,
    /// Whether every raw number is exact in single precision.
    is_single: bool,
}

/// Rows in one parallel task of light work.
pub(crate) const ROW_CHUNK: usize = 64;

/// Rows have no spread where the ratio of their root mean square about the mean to that about zero is at
/// most this: it is rounding.
pub(crate) const NO_SPREAD: f64 = 8.0 * f64::EPSILON;

impl Data {
    /// Centres and normalises `rows`. Rows that do not vary are accepted; [`Data::varying`] refuses them.
    ///
    /// # Errors
    /// [`FitError::Empty`], [`FitError::NotFinite`], [`FitError::Rows`].
    pub(crate) fn normalised(rows: impl Into<Rows>) -> Result<Self, FitError> {
        let raw = rows.into().afresh();
        let [rows, outputs] = raw.shape();
        if rows == 0 || outputs == 0 {
            return Err(FitError::Empty { rows, outputs });
        }
        let Survey { largest, is_single } = survey(&raw)?;
        // A power of two divides exactly.
        let unit = binary_unit(largest);
        let mut store = Store::scaled(raw, unit);
        let mut lift = vec![0.0; rows];
        let [first, rest] = store.centre(Some(&mut lift));
        let about_zero = ordered_sum(&lift);
        let about_mean = ordered_sum(&store.by_row(|row| dot(row, row)));
        let relative = (about_mean / about_zero).sqrt();
        // Written so that 0 / 0 (all rows are zero) counts as no variation.
        let varies = relative > NO_SPREAD;
        let still = (!varies).then(|| NoVariation::new(rows, about_zero, relative));
        let rms = match varies {
            true => (about_mean / (rows * outputs) as f64).sqrt(),
            false => 1.0,
        };
        store.divide(rms);
        lift.iter_mut().for_each(|s| *s = *s / rms / rms);
        let centre = first.iter().zip(&rest).map(|(a, b)| [a * unit, b * unit]);
        let data = Self {
            // Halving the smallest subnormal number gives 0.
            scale: (rms * unit).max(f64::from_bits(1)),
            centre: centre.collect(),
            lift,
            still,
            is_single,
            ..Self::of(store.settled())
        };
        data.intact()?;
        Ok(data)
    }

    /// [`Data::normalised`] of rows that vary.
    ///
    /// # Errors
    /// As there, and [`FitError::NoVariation`] where the spread of the rows is rounding.
    pub(crate) fn varying(rows: impl Into<Rows>) -> Result<Self, FitError> {
        let data = Self::normalised(rows)?;
        match data.still {
            Some(still) => Err(still.into()),
            None => Ok(data),
        }
    }

    /// Statistics of normalised rows; the rest is left to the caller.
    fn of(store: Store) -> Self {
        let mean = store.means(None);
        let spread = store.by_row(|row| square_of_difference(row, &mean));
        let total = ordered_sum(&spread);
        Self {
            store,
            scale: 1.0,
            centre: Vec::new(),
            mean,
            spread,
            total,
            lift: Vec::new(),
            still: None,
            is_single: false,
        }
    }

    /// The rows `indices`, in this order, in the same units.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        Self {
            scale: self.scale,
            centre: self.centre.clone(),
            lift: indices.iter().map(|&i| self.lift[i]).collect(),
            is_single: self.is_single,
            ..Self::of(self.store.subset(indices))
        }
    }

    /// Keeps the rows in single precision too, where they are few.
    pub(crate) fn keep_single(&mut self) {
        self.store.keep_single();
    }

    /// Whether every raw number is exact in single precision.
    pub(crate) fn is_single(&self) -> bool {
        self.is_single
    }

    /// Asked before any answer: rows that cannot be read are zeros.
    ///
    /// # Errors
    /// [`FitError::Rows`] where a read has failed.
    pub(crate) fn intact(&self) -> Result<(), FitError> {
        self.store.intact()
    }

    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.store.rows()
    }

    /// `p`.
    pub(crate) fn outputs(&self) -> usize {
        self.store.outputs()
    }

    /// What the centred numbers were divided by.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The mean row of what is stored.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The raw number that `value` in column `c` stands for: scaled, with the centre added.
    pub(crate) fn raw(&self, c: usize, value: f64) -> f64 {
        let [mean, rest] = self.centre[c];
        mean + (rest + value * self.scale)
    }

    /// The inverse of [`Data::raw`]: normalises a number of column `c` given in the units of the raw rows.
    pub(crate) fn normal(&self, c: usize, value: f64) -> f64 {
        let [mean, rest] = self.centre[c];
        ((value - mean) - rest) / self.scale
    }

    /// The reason why the rows do not vary, if they do not.
    pub(crate) fn still(&self) -> Option<NoVariation> {
        self.still
    }

    /// `|x_i - mean|^2` of every row; `None` where that is rounding.
    pub(crate) fn row_spread(&self, i: usize) -> Option<f64> {
        let spread = self.spread[i];
        (spread > NO_SPREAD * NO_SPREAD * self.lift[i]).then_some(spread)
    }

    /// `sum_i (x_ic - mean_c)^2` of every column.
    pub(crate) fn column_spreads(&self) -> Vec<f64> {
        (self.store).sums(None, |c, v| (v - self.mean[c]) * (v - self.mean[c]))
    }

    /// `|x_i - mean|^2`, one a row.
    pub(crate) fn spreads(&self) -> &[f64] {
        &self.spread
    }

    /// `sum |x_i - mean|^2`.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }

    /// Row `i`, of rows that are asked for in order: a few more are read into `memory` with it.
    #[inline]
    pub(crate) fn row<'t>(&'t self, i: usize, memory: &'t mut TileMemory) -> &'t [f64] {
        self.store.row(i, memory)
    }

    /// The rows from `first` on, as many as `count`; through `memory` where they are not kept normalised.
    pub(crate) fn tile<'t>(
        &'t self,
        first: usize,
        count: usize,
        memory: &'t mut TileMemory,
    ) -> &'t [f64] {
        self.store.tile(first, count, memory)
    }

    /// The same in both precisions.
    pub(crate) fn tile_in_both<'t>(
        &'t self,
        first: usize,
        count: usize,
        memory: &'t mut TileMemory,
    ) -> (&'t [f64], &'t [f32]) {
        self.store.tile_in_both(first, count, memory)
    }

    /// Writes the rows from `first` on into `out`, as many as it holds, in parallel.
    pub(crate) fn fill(&self, first: usize, out: &mut [f64]) {
        self.store.fill(first, out);
    }

    /// All rows, `n x p` row-major, where they are kept normalised.
    pub(crate) fn wide(&self) -> Option<&[f64]> {
        self.store.wide()
    }

    /// All rows of a test, `n x p` row-major.
    #[cfg(test)]
    pub(crate) fn flat(&self) -> &[f64] {
        self.wide().expect("the rows of a test are few")
    }
}

/// The power of two at or below `largest`, a finite number; 1 for 0.
pub(crate) fn binary_unit(largest: f64) -> f64 {
    if largest == 0.0 {
        return 1.0;
    }
    // Dividing 1 by half the largest power of two would overflow for subnormal numbers.
    let (normal, shift) = match largest < f64::MIN_POSITIVE {
        true => (largest * SUBNORMAL, 1.0 / SUBNORMAL),
        false => (largest, 1.0),
    };
    f64::from_bits(normal.to_bits() & EXPONENT) * shift
}

/// The bits of an exponent.
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;

/// `2^60`: multiplying by it makes a subnormal number normal.
const SUBNORMAL: f64 = (1_u64 << 60) as f64;

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn data_are_centred_and_divided_by_their_root_mean_square_at_any_scale() {
        for a in [f64::MIN_POSITIVE, 1e-150, 1e-6, 1.0, 1e6, 1e150, 1e307] {
            let raw = Array2::from_shape_fn((7, 3), |(i, j)| a * ((i * 3 + j) as f64 - 4.5));
            let data = Data::normalised(raw.view()).unwrap();
            let squares: f64 = data.flat().iter().map(|v| v * v).sum();
            assert!((squares / 21.0 - 1.0).abs() < 1e-14, "{a:e}");
            for c in 0..3 {
                let column: f64 = (0..7).map(|i| data.flat()[3 * i + c]).sum();
                assert!(column.abs() < 1e-14, "{a:e}: {column}");
                let back = data.raw(c, data.flat()[6 + c]) / raw[(2, c)];
                assert!((back - 1.0).abs() < 1e-14, "{a:e}: {back}");
            }
        }
    }

    #[test]
    fn an_offset_of_any_size_leaves_the_bits_of_numbers_that_bear_it_exactly() {
        // Multiples of 1/64 below 1e12: their sums with the offsets are exact.
        let small = Array2::from_shape_fn((64, 3), |(i, j)| ((i * 7 + j * 5) % 64) as f64 / 64.0);
        let base = Data::normalised(small.view()).unwrap();
        for offset in [1.0, 1e4, 1e8, 1.7e9, 1e12] {
            let moved = Array2::from_shape_fn((64, 3), |(i, j)| {
                small[(i, j)] + offset * (j as f64 - 1.0) + offset
            });
            let data = Data::normalised(moved.view()).unwrap();
            for (a, b) in data.flat().iter().zip(base.flat()) {
                assert!((a - b).abs() < 16.0 * f64::EPSILON, "{offset:e}: {a} {b}");
            }
            assert!((data.scale() / base.scale() - 1.0).abs() < 4.0 * f64::EPSILON);
            for c in 0..3 {
                let back = data.raw(c, data.flat()[15 + c]) - moved[(5, c)];
                assert!(back.abs() <= 4.0 * f64::EPSILON * (1.0 + offset), "{back}");
            }
        }
    }

    #[test]
    fn units_are_powers_of_two_down_to_the_last_number() {
        for (largest, unit) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.99, 1.0),
            (2.0, 2.0),
            (f64::MAX, 2.0_f64.powi(1023)),
            (5e-324, 5e-324),
            (3.0 * 5e-324, 2.0 * 5e-324),
        ] {
            assert_eq!(binary_unit(largest), unit, "{largest:e}");
        }
    }

    #[test]
    fn rows_whose_spread_is_rounding_do_not_vary() {
        let refused = |raw: &Array2<f64>| Data::varying(raw.view()).unwrap_err();
        for raw in [
            Array2::zeros((5, 3)),
            Array2::from_elem((5, 3), 3.7),
            Array2::from_elem((1, 3), 2.0),
            Array2::from_shape_fn((50, 2), |(i, _)| 1.7e9 + 1e-6 * (i % 3) as f64),
            Array2::from_elem((5, 3), f64::MAX),
        ] {
            assert!(matches!(refused(&raw), FitError::NoVariation(_)));
        }
        let raw = Array2::from_shape_fn((50, 2), |(i, _)| 1.7e9 + 1e-4 * (i % 3) as f64);
        assert!(Data::varying(raw.view()).is_ok());
    }

    #[test]
    fn bad_numbers_are_located_and_empty_data_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut raw = Array2::zeros((3, 2));
            raw[(1, 1)] = bad;
            let error = Data::normalised(raw.view()).unwrap_err();
            assert!(
                matches!(
                    error,
                    FitError::NotFinite {
                        row: 1,
                        column: 1,
                        ..
                    }
                ),
                "{error}"
            );
        }
        assert!(Data::normalised(Array2::zeros((0, 4)).view()).is_err());
        assert!(Data::normalised(Array2::zeros((4, 0)).view()).is_err());
        assert_eq!(
            Data::normalised(Array2::zeros((4, 1)).view())
                .unwrap()
                .scale(),
            1.0
        );
    }

    #[test]
    fn views_of_any_strides_are_read_in_order() {
        let raw = Array2::from_shape_fn((4, 3), |(i, j)| (i * 3 + j) as f64);
        let turned = raw.t().as_standard_layout().into_owned().reversed_axes();
        let (a, b) = (
            Data::normalised(raw.view()).unwrap(),
            Data::normalised(turned.view()).unwrap(),
        );
        assert_eq!(a.flat(), b.flat());
    }
}
