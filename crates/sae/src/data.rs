//! The data of a fit: rows divided once by their root mean square.
//!
//! `x = raw / scale` with `scale = sqrt(mean of squares)` over all entries, found without overflow,
//! so that a fit sees the same numbers (to rounding) whatever units its caller uses. What a fit
//! reports is put back: decoders times `scale`, objectives times `scale^2`.
//!
//! Work over rows runs in parallel over chunks whose boundaries depend on the shapes alone, and
//! results are combined in the order of the chunks: any number of threads gives the same bits.

use crate::error::FitError;
use ndarray::ArrayView2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::LazyLock;

/// Normalised rows.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    /// `n x p`, row-major.
    x: Vec<f64>,
    rows: usize,
    outputs: usize,
    /// What the raw numbers were divided by.
    scale: f64,
    /// The mean row.
    mean: Vec<f64>,
    /// `sum |x_i - mean|^2`.
    total: f64,
}

/// Rows in one parallel task of light work.
pub(crate) const ROW_CHUNK: usize = 64;

impl Data {
    /// Copies and normalises `raw`, of any strides.
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
        let chunks = x.par_chunks(1 << 14);
        if let Some(at) = (chunks.enumerate())
            .filter_map(|(c, chunk)| Some((c << 14) + chunk.iter().position(|v| !v.is_finite())?))
            .min()
        {
            return Err(FitError::NotFinite {
                array: "X",
                row: at / outputs,
                column: at % outputs,
                value: x[at],
            });
        }
        let largest = (x.par_chunks(1 << 14))
            .map(|chunk| chunk.iter().fold(0.0_f64, |m, v| m.max(v.abs())))
            .reduce(|| 0.0, f64::max);
        let scale = if largest == 0.0 {
            1.0
        } else {
            let squares = par_sum(&x, |v| (v / largest) * (v / largest));
            largest * (squares / x.len() as f64).sqrt()
        };
        x.par_chunks_mut(1 << 14)
            .for_each(|chunk| chunk.iter_mut().for_each(|v| *v /= scale));
        Ok(Self::with_statistics(x, rows, outputs, scale))
    }

    fn with_statistics(x: Vec<f64>, rows: usize, outputs: usize, scale: f64) -> Self {
        let mut mean = vec![0.0; outputs];
        // Each column's sum runs over the rows in order, whatever its neighbours are.
        let few = 64;
        mean.par_chunks_mut(few).enumerate().for_each(|(c, mean)| {
            for row in x.chunks_exact(outputs) {
                for (m, v) in mean.iter_mut().zip(&row[c * few..]) {
                    *m += v;
                }
            }
            mean.iter_mut().for_each(|m| *m /= rows as f64);
        });
        let spread: Vec<f64> = x
            .par_chunks_exact(outputs)
            .map(|row| row.iter().zip(&mean).map(|(v, m)| (v - m) * (v - m)).sum())
            .collect();
        let total = ordered_sum(&spread);
        Self {
            x,
            rows,
            outputs,
            scale,
            mean,
            total,
        }
    }

    /// The rows `indices`, in this order, in the same units.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        let mut x = Vec::with_capacity(indices.len() * self.outputs);
        for &i in indices {
            x.extend_from_slice(self.row(i));
        }
        Self::with_statistics(x, indices.len(), self.outputs, self.scale)
    }

    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// `p`.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// What the raw numbers were divided by.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The mean row.
    pub(crate) fn mean(&self) -> &[f64] {
        &self.mean
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

/// Sums in order, by pairs: same bits always, error of `log n`.
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

/// The Euclidean norm, without overflow.
pub(crate) fn norm(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0_f64, |m, v| {
        // `max` would drop what is not a number.
        if v.is_nan() { f64::NAN } else { m.max(v.abs()) }
    });
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    largest * par_sum(values, |v| (v / largest) * (v / largest)).sqrt()
}

/// The widest instructions of the processor. They change no bit: sums run in lanes of their own,
/// whatever width a register has, and nothing is contracted.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Below it a call costs more than wide instructions save.
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

/// The lanes, and the products of what is left over.
#[inline(always)]
fn added(lanes: &[f64; 8], rest_a: &[f64], rest_b: &[f64]) -> f64 {
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    (lanes[0] + lanes[4])
        + (lanes[1] + lanes[5])
        + (lanes[2] + lanes[6])
        + (lanes[3] + lanes[7])
        + rest
}

/// Writes `sum a_j b_j` for each of the rows `a`, as long as `b`, with the bits of [`dot`]: four at
/// once, since the additions of one wait for each other.
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

/// Splits `slice` at ascending `bounds` (the first 0, the last its length) into one part a chunk.
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
    fn data_are_divided_by_their_root_mean_square_at_any_scale() {
        for a in [1e-150, 1e-6, 1.0, 1e6, 1e150] {
            let raw = Array2::from_shape_fn((7, 3), |(i, j)| a * ((i * 3 + j) as f64 - 4.5));
            let data = Data::normalised(raw.view()).unwrap();
            let squares: f64 = data.flat().iter().map(|v| v * v).sum();
            assert!((squares / 21.0 - 1.0).abs() < 1e-14);
            assert!((data.row(2)[1] * data.scale() / raw[(2, 1)] - 1.0).abs() < 1e-15);
        }
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
