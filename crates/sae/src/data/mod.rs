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
//! Work over rows runs in parallel over chunks whose bounds depend on the shapes alone, and results are
//! combined in the order of the chunks. So any number of threads gives the same bits.

pub(crate) mod variation;

use crate::data::variation::NoVariation;
use crate::error::FitError;
use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::LazyLock;

/// Centred and normalised rows.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    /// `n x p`, row-major.
    x: Vec<f64>,
    rows: usize,
    outputs: usize,
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
}

/// Rows in one parallel task of light work.
pub(crate) const ROW_CHUNK: usize = 64;

/// Entries in one parallel task that looks at each entry on its own.
const ENTRY_CHUNK: usize = 1 << 14;

/// Rows have no spread where the ratio of their root mean square about the mean to that about zero is at
/// most this: it is rounding.
pub(crate) const NO_SPREAD: f64 = 8.0 * f64::EPSILON;

impl Data {
    /// Copies, centres and normalises `raw`, which may have any strides. Rows that do not vary are accepted;
    /// [`Data::varying`] refuses them.
    ///
    /// # Errors
    /// [`FitError::Empty`], [`FitError::NotFinite`].
    pub(crate) fn normalised(raw: ArrayView2<'_, f64>) -> Result<Self, FitError> {
        let (rows, outputs) = raw.dim();
        if rows == 0 || outputs == 0 {
            return Err(FitError::Empty { rows, outputs });
        }
        let mut x: Vec<f64> = match raw.as_slice() {
            Some(slice) => slice.to_vec(),
            None => raw.iter().copied().collect(),
        };
        let unit = binary_unit(largest(&x, outputs)?);
        // A power of two divides exactly.
        each(&mut x, |v| *v /= unit);
        let square = |row: &[f64]| dot(row, row);
        let raw_squares: Vec<f64> = x.par_chunks_exact(outputs).map(square).collect();
        let first = subtract_mean(&mut x, outputs);
        let rest = subtract_mean(&mut x, outputs);
        let centred: Vec<f64> = x.par_chunks_exact(outputs).map(square).collect();
        let (about_zero, about_mean) = (ordered_sum(&raw_squares), ordered_sum(&centred));
        let relative = (about_mean / about_zero).sqrt();
        // Written so that 0 / 0 (all rows are zero) counts as no variation.
        let varies = relative > NO_SPREAD;
        let still = (!varies).then(|| NoVariation::new(rows, about_zero, relative));
        let rms = match varies {
            true => (about_mean / x.len() as f64).sqrt(),
            false => 1.0,
        };
        each(&mut x, |v| *v /= rms);
        let centre = first.iter().zip(&rest).map(|(a, b)| [a * unit, b * unit]);
        let base = Self {
            // Halving the smallest subnormal number gives 0.
            scale: (rms * unit).max(f64::from_bits(1)),
            centre: centre.collect(),
            lift: raw_squares.iter().map(|s| s / rms / rms).collect(),
            still,
            ..Self::default_of(rows, outputs)
        };
        Ok(base.with_rows(x))
    }

    /// [`Data::normalised`] of rows that vary.
    ///
    /// # Errors
    /// As there, and [`FitError::NoVariation`] where the spread of the rows is rounding.
    pub(crate) fn varying(raw: ArrayView2<'_, f64>) -> Result<Self, FitError> {
        let data = Self::normalised(raw)?;
        match data.still {
            Some(still) => Err(still.into()),
            None => Ok(data),
        }
    }

    fn default_of(rows: usize, outputs: usize) -> Self {
        Self {
            x: Vec::new(),
            rows,
            outputs,
            scale: 1.0,
            centre: Vec::new(),
            mean: Vec::new(),
            spread: Vec::new(),
            total: 0.0,
            lift: Vec::new(),
            still: None,
        }
    }

    /// Takes the rows `x` and computes their statistics.
    fn with_rows(self, x: Vec<f64>) -> Self {
        let (rows, outputs) = (x.len() / self.outputs, self.outputs);
        let mean = column_means(&x, outputs);
        let spread: Vec<f64> = x
            .par_chunks_exact(outputs)
            .map(|row| square_of_difference(row, &mean))
            .collect();
        let total = ordered_sum(&spread);
        Self {
            x,
            rows,
            mean,
            spread,
            total,
            ..self
        }
    }

    /// The rows `indices`, in this order, in the same units.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let mut x = Vec::with_capacity(indices.len() * self.outputs);
        for &i in indices {
            x.extend_from_slice(self.row(i));
        }
        let base = Self {
            scale: self.scale,
            centre: self.centre.clone(),
            lift: indices.iter().map(|&i| self.lift[i]).collect(),
            ..Self::default_of(indices.len(), self.outputs)
        };
        base.with_rows(x)
    }

    /// The rows in single precision.
    pub(crate) fn single(&self) -> Vec<f32> {
        self.x.par_iter().map(|&v| v as f32).collect()
    }

    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// `p`.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
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
        column_sums(&self.x, self.outputs, |c, v| {
            (v - self.mean[c]) * (v - self.mean[c])
        })
    }

    /// `|x_i - mean|^2`, one a row.
    pub(crate) fn spreads(&self) -> &[f64] {
        &self.spread
    }

    /// `sum |x_i - mean|^2`.
    pub(crate) fn total(&self) -> f64 {
        self.total
    }

    /// Row `i`.
    #[inline]
    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.x[i * self.outputs..][..self.outputs]
    }

    /// All rows, `n x p` row-major.
    pub(crate) fn flat(&self) -> &[f64] {
        &self.x
    }
}

/// The largest magnitude among rows of `outputs` entries, all of them finite.
///
/// # Errors
/// [`FitError::NotFinite`] with the first entry that is not finite.
fn largest(x: &[f64], outputs: usize) -> Result<f64, FitError> {
    let chunks = x.par_chunks(ENTRY_CHUNK).enumerate();
    let found = chunks.map(|(c, chunk)| {
        // An entry that is not finite makes the sum of squares not finite.
        let bad = match dot(chunk, chunk).is_finite() {
            true => None,
            false => chunk.iter().position(|v| !v.is_finite()),
        };
        let largest = largest_of(chunk);
        (bad.map(|at| c * ENTRY_CHUNK + at), largest)
    });
    let found: Vec<(Option<usize>, f64)> = found.collect();
    if let Some(at) = found.iter().find_map(|(bad, _)| *bad) {
        return Err(FitError::NotFinite {
            array: "X",
            row: at / outputs,
            column: at % outputs,
            value: x[at],
        });
    }
    Ok(found.iter().fold(0.0, |m, (_, largest)| m.max(*largest)))
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

/// Applies `work` to every entry.
fn each(x: &mut [f64], work: impl Fn(&mut f64) + Sync) {
    x.par_chunks_mut(ENTRY_CHUNK)
        .for_each(|chunk| chunk.iter_mut().for_each(&work));
}

/// Subtracts the mean row and returns it.
pub(crate) fn subtract_mean(x: &mut [f64], outputs: usize) -> Vec<f64> {
    let mean = column_means(x, outputs);
    x.par_chunks_exact_mut(outputs)
        .for_each(|row| row.iter_mut().zip(&mean).for_each(|(v, m)| *v -= m));
    mean
}

/// The mean of every column.
fn column_means(x: &[f64], outputs: usize) -> Vec<f64> {
    let rows = (x.len() / outputs) as f64;
    let mut means = column_sums(x, outputs, |_, v| v);
    means.iter_mut().for_each(|m| *m /= rows);
    means
}

/// `sum_i term(c, x_ic)` for every column `c`, summed over at most 16 runs of rows whose sums are added in
/// order.
fn column_sums(x: &[f64], outputs: usize, term: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let rows = x.len() / outputs;
    let run = rows.div_ceil(16).max(256);
    let parts: Vec<Vec<f64>> = (x.par_chunks(run * outputs))
        .map(|part| {
            let mut sums = vec![0.0; outputs];
            for row in part.chunks_exact(outputs) {
                for (c, (sum, v)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(c, *v);
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; outputs];
    for part in &parts {
        axpy(1.0, part, &mut sums);
    }
    sums
}

/// Sums by pairs in a fixed order: the bits always repeat, and the error grows as `log n`.
pub(crate) fn ordered_sum(values: &[f64]) -> f64 {
    if values.len() <= 32 {
        return values.iter().sum();
    }
    let (left, right) = values.split_at(values.len() / 2);
    ordered_sum(left) + ordered_sum(right)
}

/// The sum of `term` over fixed chunks of `values`, in parallel.
pub(crate) fn par_sum(values: &[f64], term: impl Fn(f64) -> f64 + Sync) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(1 << 12)
        .map(|chunk| chunk.iter().map(|&v| term(v)).sum())
        .collect();
    ordered_sum(&parts)
}

/// The larger of two numbers; NaN if either is NaN, which `f64::max` would drop.
pub(crate) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The Euclidean norm, without overflow.
pub(crate) fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |m, v| larger(m, v.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * par_sum(values, |v| (v / largest) * (v / largest)).sqrt()
}

/// The widest instructions of the processor. They do not change the bits: sums run in a fixed number of
/// lanes whatever the register width, and no multiply-add is fused.
pub(crate) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Vectors shorter than this are summed in place: a call costs more than wide instructions save.
const SHORT: usize = 32;

/// `sum a_j b_j` in eight lanes.
#[inline]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    if a.len() < SHORT {
        return dot_body(a, b);
    }
    ARCH.dispatch(
        #[inline(always)]
        || dot_body(a, b),
    )
}

#[inline(always)]
fn dot_body(a: &[f64], b: &[f64]) -> f64 {
    let (chunks_a, rest_a) = a.as_chunks::<8>();
    let (chunks_b, rest_b) = b.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        add_products(&mut lanes, a, b);
    }
    added(&lanes, rest_a, rest_b)
}

#[inline(always)]
fn add_products(lanes: &mut [f64; 8], a: &[f64; 8], b: &[f64; 8]) {
    for l in 0..8 {
        lanes[l] += a[l] * b[l];
    }
}

/// The lanes, and the products of the remaining entries.
#[inline(always)]
fn added(lanes: &[f64; 8], rest_a: &[f64], rest_b: &[f64]) -> f64 {
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    (lanes[0] + lanes[4])
        + (lanes[1] + lanes[5])
        + (lanes[2] + lanes[6])
        + (lanes[3] + lanes[7])
        + rest
}

/// `sum (a_j - b_j)^2` in eight lanes.
pub(crate) fn square_of_difference(a: &[f64], b: &[f64]) -> f64 {
    ARCH.dispatch(
        #[inline(always)]
        || {
            let (chunks_a, rest_a) = a.as_chunks::<8>();
            let (chunks_b, rest_b) = b.as_chunks::<8>();
            let mut lanes = [0.0; 8];
            for (a, b) in chunks_a.iter().zip(chunks_b) {
                for l in 0..8 {
                    lanes[l] += (a[l] - b[l]) * (a[l] - b[l]);
                }
            }
            let rest = rest_a.iter().zip(rest_b);
            ordered_sum(&lanes) + rest.map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        },
    )
}

/// The largest magnitude, in eight lanes; NaNs are skipped.
pub(crate) fn largest_of(values: &[f64]) -> f64 {
    ARCH.dispatch(
        #[inline(always)]
        || {
            let (chunks, rest) = values.as_chunks::<8>();
            let mut lanes = [0.0_f64; 8];
            for chunk in chunks {
                for l in 0..8 {
                    lanes[l] = lanes[l].max(chunk[l].abs());
                }
            }
            (lanes.iter().chain(rest)).fold(0.0, |m, v| f64::max(m, v.abs()))
        },
    )
}

/// Writes `sum a_j b_j` for each of the rows `a`, as long as `b`, with the bits of [`dot`]. Four rows are
/// summed at once, since the additions of one row wait for each other.
pub(crate) fn dots<'a>(a: impl Fn(usize) -> &'a [f64], b: &[f64], out: &mut [f64]) {
    let (fours, rest) = out.as_chunks_mut::<4>();
    let first = 4 * fours.len();
    for (j, out) in fours.iter_mut().enumerate() {
        let rows = [a(4 * j), a(4 * j + 1), a(4 * j + 2), a(4 * j + 3)];
        *out = ARCH.dispatch(Four { rows, b });
    }
    for (j, out) in rest.iter_mut().enumerate() {
        *out = dot(a(first + j), b);
    }
}

/// Four dot products with the same vector, each in the eight lanes of [`dot`].
struct Four<'a> {
    rows: [&'a [f64]; 4],
    b: &'a [f64],
}

impl WithSimd for Four<'_> {
    type Output = [f64; 4];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; 4] {
        // Registers of the eight lanes.
        let wide = 8 / S::F64_LANES;
        let whole = self.b.len() / 8 * 8;
        let b = S::as_simd_f64s(&self.b[..whole]).0;
        let rows = self
            .rows
            .map(|row| &S::as_simd_f64s(&row[..whole]).0[..b.len()]);
        let mut sums = [[simd.splat_f64s(0.0); 8]; 4];
        for c in 0..whole / 8 {
            for l in 0..wide {
                let at = c * wide + l;
                for j in 0..4 {
                    let product = simd.mul_f64s(rows[j][at], b[at]);
                    sums[j][l] = simd.add_f64s(sums[j][l], product);
                }
            }
        }
        std::array::from_fn(|j| {
            let mut lanes = [0.0; 8];
            let registers = S::as_mut_simd_f64s(&mut lanes).0;
            registers.copy_from_slice(&sums[j][..wide]);
            added(&lanes, &self.rows[j][whole..], &self.b[whole..])
        })
    }
}

/// `y += a x`.
#[inline]
pub(crate) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    if y.len() < SHORT {
        return axpy_body(a, x, y);
    }
    ARCH.dispatch(
        #[inline(always)]
        || axpy_body(a, x, y),
    );
}

#[inline(always)]
fn axpy_body(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `y = x + a z`.
pub(crate) fn sum_into(x: &[f64], a: f64, z: &[f64], y: &mut [f64]) {
    ARCH.dispatch(
        #[inline(always)]
        || {
            for ((y, x), z) in y.iter_mut().zip(x).zip(z) {
                *y = x + a * z;
            }
        },
    );
}

/// Splits `slice` at ascending `bounds` (the first is 0, the last its length) into one part per chunk.
pub(crate) fn carve<T>(mut slice: &mut [T], bounds: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut parts = Vec::new();
    let mut at = 0;
    for bound in bounds.skip(1) {
        let (part, rest) = slice.split_at_mut(bound - at);
        parts.push(part);
        slice = rest;
        at = bound;
    }
    parts
}

/// The first row of every chunk of `chunk` rows, and `n`.
pub(crate) fn chunk_bounds(n: usize, chunk: usize) -> impl Iterator<Item = usize> + Clone {
    (0..n).step_by(chunk.max(1)).chain(std::iter::once(n))
}

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
                let column: f64 = (0..7).map(|i| data.row(i)[c]).sum();
                assert!(column.abs() < 1e-14, "{a:e}: {column}");
                let back = data.raw(c, data.row(2)[c]) / raw[(2, c)];
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
                let back = data.raw(c, data.row(5)[c]) - moved[(5, c)];
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

    #[test]
    fn dots_have_the_bits_of_each_dot() {
        let numbers = |n: usize, from: f64| -> Vec<f64> {
            (0..n).map(|i| (from + 0.7 * i as f64).sin()).collect()
        };
        for (rows, n) in [(0, 5), (1, 40), (3, 8), (4, 31), (6, 384), (9, 77)] {
            let (a, b) = (numbers(rows * n, 0.3), numbers(n, 2.0));
            let mut out = vec![f64::NAN; rows];
            dots(|j| &a[j * n..][..n], &b, &mut out);
            let each = a.chunks_exact(n).map(|a| dot(a, &b).to_bits());
            assert!(out.iter().map(|d| d.to_bits()).eq(each), "{rows} {n}");
        }
    }

    #[test]
    fn norms_do_not_overflow_and_keep_what_is_not_a_number() {
        assert!((norm(&[3e200, 4e200]) / 5e200 - 1.0).abs() < 4.0 * f64::EPSILON);
        assert_eq!(norm(&[]), 0.0);
        assert!(norm(&[1.0, f64::NAN, 2.0]).is_nan());
    }
}
