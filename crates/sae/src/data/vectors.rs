//! Vectors: sums in a fixed order, products, norms.
//!
//! Sums run in a fixed number of lanes, or over chunks whose bounds depend on lengths alone, so bits depend
//! neither on the width of the processor's registers nor on the number of threads.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::sync::LazyLock;

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
