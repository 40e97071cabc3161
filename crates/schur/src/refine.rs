//! Residuals, backward errors and refinement: the same for every elimination.
//!
//! ```math
//! r = -g - (H + \rho) x, \quad
//! \omega = \max_i \frac{|r|_i}{(|H + \rho| |x| + |g|)_i}, \quad
//! \eta = \frac{\|r\|_\infty}{\| |H + \rho| |x| + |g| \|_\infty} .
//! ```
//!
//! $`\omega`$ is the componentwise backward error of Oettli and Prager (1964); $`\eta`$ bounds the
//! normwise one. One step of refinement at working precision makes a Cholesky solve componentwise
//! backward stable where the matrix is not too ill-conditioned (Skeel 1980).

use crate::host::blas1::{NORM_LANES, larger, norm, norms};
use crate::host::interleaved::{Interleaved, VECTORS};
use crate::system::ProductMut;
use crate::{DenseSystem, Error, Failure, Ridge, System};
use pulp::Arch;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What is done about the error of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Refinement {
    /// No residual is formed; the errors are absent from the report.
    Off,
    /// The errors are measured, no step is taken.
    Measure,
    /// The errors are measured; while the componentwise one exceeds `limit` (dimensionless), at
    /// most `max_steps` steps of refinement are taken. A step that does not help is taken back.
    /// Of conjugate gradients a relative residual is asked ([`crate::IterativeOptions`]), and
    /// `limit` serves where no step in FP64 has that.
    Steps {
        /// The componentwise backward error that is good enough.
        limit: f64,
        /// The most steps.
        max_steps: u32,
    },
}

impl Default for Refinement {
    fn default() -> Self {
        Self::Steps {
            limit: 1e-14,
            max_steps: 2,
        }
    }
}

/// Backward errors of one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackwardError {
    /// $`\eta`$.
    pub normwise: f64,
    /// $`\omega`$. Of an operator system, whose entries are not known, it and $`\eta`$ are upper
    /// bounds: the products $`D_i x_i`$, $`B x`$ and $`C x`$ stand for the sums of their absolute terms. Of
    /// a structured one $`|B| |x|`$ is the product of absolute factors, $`|\Psi_i| |W| |X|' |\phi_i|`$.
    pub componentwise: Option<f64>,
    /// $`\|r\|_2 / \|g\|_2`$; 0 where both are.
    pub relative_residual: f64,
}

impl BackwardError {
    /// The worse of two, entry by entry.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self {
            normwise: larger(self.normwise, other.normwise),
            componentwise: match (self.componentwise, other.componentwise) {
                (Some(a), Some(b)) => Some(larger(a, b)),
                (a, b) => a.or(b),
            },
            relative_residual: larger(self.relative_residual, other.relative_residual),
        }
    }
}

/// What a step is refined towards.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// A componentwise backward error.
    Backward { limit: f64 },
    /// A relative residual, as is asked of conjugate gradients. A step whose every equation holds
    /// to about `limit` of its own terms serves too: where those dwarf the gradient, rounding the
    /// exact step to FP64 leaves a larger residual than the one asked.
    Residual { target: f64, limit: f64 },
}

impl Aim {
    /// That of an elimination of which a relative residual is asked, or of one of which none is.
    pub(crate) fn new(asked: Option<f64>, limit: f64) -> Self {
        match asked {
            Some(target) => Self::Residual { target, limit },
            None => Self::Backward { limit },
        }
    }

    /// Whether refinement has nothing left to do.
    pub(crate) fn met(self, error: &BackwardError) -> bool {
        match self {
            Self::Backward { limit } => within(error, limit),
            Self::Residual { target, .. } => {
                error.relative_residual <= target || within(error, ROUNDED)
            }
        }
    }

    /// Whether `new` is an improvement on `old`, which does not meet the aim. Where either is NaN,
    /// it is not.
    pub(crate) fn closer(self, new: &BackwardError, old: &BackwardError) -> bool {
        let size = |error: &BackwardError| error.componentwise.unwrap_or(error.relative_residual);
        self.met(new) || size(new) < size(old)
    }

    /// Whether `error` may stand once refinement is over, after so many iterations.
    ///
    /// # Errors
    /// [`Error::NotConverged`], where a relative residual was asked.
    pub(crate) fn check(self, error: &BackwardError, iterations: u64) -> Result<(), Failure> {
        match self {
            Self::Residual { target, limit }
                if !(self.met(error) || within(error, STANDS * limit)) =>
            {
                Err(not_converged(iterations, error.relative_residual, target))
            }
            Self::Backward { .. } | Self::Residual { .. } => Ok(()),
        }
    }
}

/// How much above the limit of refinement a backward error may stand when refinement has done
/// what it can: 1e-13 by default, what is promised of every elimination.
const STANDS: f64 = 10.0;

/// Two roundings: a componentwise backward error that no step in FP64 is sure to be below.
const ROUNDED: f64 = 2.0 * f64::EPSILON;

fn within(error: &BackwardError, limit: f64) -> bool {
    error.componentwise.is_some_and(|omega| omega <= limit)
}

/// That conjugate gradients have not the relative residual asked.
pub(crate) fn not_converged(iterations: u64, residual: f64, target: f64) -> Failure {
    Error::NotConverged {
        iterations: usize::try_from(iterations).unwrap_or(usize::MAX),
        residual,
        target,
    }
    .into()
}

/// Buffers for one residual.
#[derive(Debug, Default)]
pub(crate) struct Residual {
    pub(crate) row: Vec<f64>,
    pub(crate) border: Vec<f64>,
    row_abs: Vec<f64>,
    border_abs: Vec<f64>,
}

impl Residual {
    pub(crate) fn new(n: usize, k: usize) -> Self {
        Self {
            row: vec![0.0; n],
            border: vec![0.0; k],
            row_abs: vec![0.0; n],
            border_abs: vec![0.0; k],
        }
    }

    pub(crate) fn bytes(n: usize, k: usize) -> u64 {
        (n as u64).saturating_add(k as u64).saturating_mul(16)
    }

    /// Forms `(H + rho) x` and its absolute twin.
    pub(crate) fn product(&mut self, system: &System<'_>, ridge: Ridge, x: (&[f64], &[f64])) {
        system.multiply(x.0, x.1, ridge, self.product_mut());
    }

    /// Forms `r = b - (H + rho) x` for `b = -g` and measures it.
    pub(crate) fn measure(
        &mut self,
        system: &System<'_>,
        ridge: Ridge,
        b: (&[f64], &[f64]),
        x: (&[f64], &[f64]),
    ) -> BackwardError {
        self.product(system, ridge, x);
        self.measure_product(b)
    }

    /// Where the products are formed, elsewhere.
    pub(crate) fn product_mut(&mut self) -> ProductMut<'_> {
        ProductMut {
            row: &mut self.row,
            border: &mut self.border,
            row_abs: &mut self.row_abs,
            border_abs: &mut self.border_abs,
        }
    }

    /// Forms `r = b - y` over the product `y` that is there, and measures it.
    pub(crate) fn measure_product(&mut self, b: (&[f64], &[f64])) -> BackwardError {
        let arch = Arch::new();
        let mut maxima = ErrorMaxima::default();
        let mut part = |r: &mut [f64], size: &[f64], b: &[f64]| {
            let (first, rest) = (r.len() / LANES * LANES, r.len() % LANES);
            let (r, r_rest) = r.split_at_mut(first);
            let pairs = r.as_chunks_mut().0.iter_mut().zip(size.as_chunks().0);
            let seen = maxima_of_lanes(arch, pairs.zip(b.as_chunks().0));
            maxima = maxima.and(seen);
            for o in 0..rest {
                r_rest[o] = b[first + o] - r_rest[o];
                maxima.see(r_rest[o], size[first + o] + b[first + o].abs());
            }
        };
        part(&mut self.row, &self.row_abs, b.0);
        part(&mut self.border, &self.border_abs, b.1);
        maxima.error((&self.row, &self.border), b)
    }
}

const LANES: usize = 8;

/// Replaces `y` by `b - y`, and sees it, [`LANES`] entries at a time.
fn maxima_of_lanes<'r>(
    arch: Arch,
    entries: impl Iterator<Item = ((&'r mut [f64; LANES], &'r [f64; LANES]), &'r [f64; LANES])>,
) -> ErrorMaxima {
    let zero = [0.0_f64; LANES];
    let (mut largest, mut scale, mut worst, mut poison) = (zero, zero, zero, zero);
    arch.dispatch(
        #[inline(always)]
        || {
            for ((y, size), b) in entries {
                for l in 0..LANES {
                    let r = b[l] - y[l];
                    let weight = size[l] + b[l].abs();
                    y[l] = r;
                    largest[l] = largest[l].max(r.abs());
                    scale[l] = scale[l].max(weight);
                    let ratio = if r == 0.0 { 0.0 } else { r.abs() / weight };
                    worst[l] = worst[l].max(ratio);
                    // NaN for a NaN or an infinite ratio, and from then on.
                    poison[l] += ratio * 0.0;
                }
            }
        },
    );
    // What is not a number is told by `poison`; these maxima pass over it.
    let most = |lanes: [f64; LANES]| lanes.into_iter().fold(0.0, f64::max);
    ErrorMaxima {
        largest: most(largest),
        scale: most(scale),
        worst: if poison.iter().all(|p| *p == 0.0) {
            most(worst)
        } else {
            f64::INFINITY
        },
    }
}

/// The maxima over the entries of a residual, of which backward errors are made.
#[derive(Clone, Copy, Debug, Default)]
struct ErrorMaxima {
    largest: f64,
    scale: f64,
    worst: f64,
}

impl ErrorMaxima {
    #[inline]
    fn see(&mut self, r: f64, weight: f64) {
        self.largest = self.largest.max(r.abs());
        self.scale = self.scale.max(weight);
        // 0 / 0 is an exact entry; a NaN anywhere must not pass for a small error.
        let ratio = if r == 0.0 { 0.0 } else { r.abs() / weight };
        self.worst = if ratio.is_nan() {
            f64::INFINITY
        } else {
            self.worst.max(ratio)
        };
    }

    fn and(self, other: Self) -> Self {
        Self {
            largest: self.largest.max(other.largest),
            scale: self.scale.max(other.scale),
            worst: self.worst.max(other.worst),
        }
    }

    fn error(self, r: (&[f64], &[f64]), b: (&[f64], &[f64])) -> BackwardError {
        let size = |(row, border): (&[f64], &[f64])| norm(row).hypot(norm(border));
        self.error_of(size(r), size(b))
    }

    /// Of a residual and a right-hand side of these norms.
    fn error_of(self, residual: f64, gradient: f64) -> BackwardError {
        // A residual that is not a number is as large as can be, by every measure.
        let ratio = |a: f64, b: f64| match (residual.is_nan(), a == 0.0) {
            (true, _) => f64::INFINITY,
            (false, true) => 0.0,
            (false, false) => a / b,
        };
        BackwardError {
            normwise: ratio(self.largest, self.scale),
            componentwise: Some(self.worst),
            relative_residual: ratio(residual, gradient),
        }
    }
}

/// The backward errors of many steps of a dense system: one pass over the operands serves
/// [`VECTORS`] of them. `b` and `x` hold `count` columns.
pub(crate) fn measure_many(
    system: &DenseSystem<'_>,
    ridge: Ridge,
    b: (&[f64], &[f64]),
    x: (&[f64], &[f64]),
    count: usize,
) -> Vec<BackwardError> {
    let (n, k) = (system.shape().row_unknowns(), system.shape().border());
    let arch = Arch::new();
    let mut errors = Vec::with_capacity(count);
    for first in (0..count).step_by(VECTORS) {
        let m = VECTORS.min(count - first);
        let (row, border) = (first * n..(first + m) * n, first * k..(first + m) * k);
        let interleave = |numbers: &[f64]| Interleaved::new(arch, numbers, m);
        let mut x_row = interleave(&x.0[row.clone()]);
        let x = (&mut x_row, &interleave(&x.1[border.clone()]));
        let b = (interleave(&b.0[row]), interleave(&b.1[border]));
        let rows = |rows: Range<usize>, _, _: &mut [f64], _: &[f64], right: &mut [f64]| {
            let stride = b.0.stride();
            right.copy_from_slice(&b.0.numbers()[rows.start * stride..rows.end * stride]);
        };
        errors.extend(system.errors_many(arch, x, &b.1, m, ridge, rows));
    }
    errors
}

/// Numbers of one unknown of the vectors that one [`LaneMaxima`] sees.
type Lanes = [f64; NORM_LANES];

/// The maxima of adjacent interleaved vectors.
#[derive(Clone, Copy, Debug, Default)]
struct LaneMaxima {
    largest: Lanes,
    scale: Lanes,
    worst: Lanes,
    poison: Lanes,
}

/// One number for each of the vectors of a pass.
type OfVectors = [Lanes; VECTORS / NORM_LANES];

/// The maxima of interleaved vectors, with the norms of the chunks that they have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorsOfMany {
    maxima: [LaneMaxima; VECTORS / NORM_LANES],
    residual: Vec<OfVectors>,
    gradient: Vec<OfVectors>,
}

impl ErrorsOfMany {
    /// Replaces `y` by `b - y` and sees it; `abs` holds the sizes of the terms of `y`.
    pub(crate) fn see(&mut self, arch: Arch, b: &[f64], y: &mut [f64], abs: &[f64], stride: usize) {
        arch.dispatch(
            #[inline(always)]
            || {
                let unknowns = y.chunks_exact_mut(stride).zip(b.chunks_exact(stride));
                for ((y, b), abs) in unknowns.zip(abs.chunks_exact(stride)) {
                    let pieces = y.chunks_mut(NORM_LANES).zip(b.chunks(NORM_LANES));
                    let pieces = pieces.zip(abs.chunks(NORM_LANES));
                    for (((y, b), abs), maxima) in pieces.zip(&mut self.maxima) {
                        // The usual width has no loop of unknown length.
                        match (y.first_chunk_mut(), b.first_chunk(), abs.first_chunk()) {
                            (Some(y), Some(b), Some(abs)) => {
                                let (y, b, abs): (&mut Lanes, &Lanes, &Lanes) = (y, b, abs);
                                maxima.see(y, b, abs);
                            }
                            _ => maxima.see(y, b, abs),
                        }
                    }
                }
                self.residual.push(norms(y, stride));
                self.gradient.push(norms(b, stride));
            },
        );
    }

    /// Both, this one first.
    pub(crate) fn and(&mut self, mut other: Self) {
        for (maxima, seen) in self.maxima.iter_mut().zip(&other.maxima) {
            for l in 0..NORM_LANES {
                maxima.largest[l] = maxima.largest[l].max(seen.largest[l]);
                maxima.scale[l] = maxima.scale[l].max(seen.scale[l]);
                maxima.worst[l] = maxima.worst[l].max(seen.worst[l]);
                maxima.poison[l] += seen.poison[l];
            }
        }
        self.residual.append(&mut other.residual);
        self.gradient.append(&mut other.gradient);
    }

    /// The errors of the first `count` vectors.
    pub(crate) fn errors(&self, count: usize) -> impl Iterator<Item = BackwardError> + '_ {
        (0..count).map(|j| {
            let (g, l) = (j / NORM_LANES, j % NORM_LANES);
            let maxima = &self.maxima[g];
            let worst = if maxima.poison[l] == 0.0 {
                maxima.worst[l]
            } else {
                f64::INFINITY
            };
            // The norm of the norms of chunks is that of the whole.
            let whole = |chunks: &[OfVectors]| {
                norm(&chunks.iter().map(|norms| norms[g][l]).collect::<Vec<_>>())
            };
            let maxima = ErrorMaxima {
                largest: maxima.largest[l],
                scale: maxima.scale[l],
                worst,
            };
            maxima.error_of(whole(&self.residual), whole(&self.gradient))
        })
    }
}

impl LaneMaxima {
    /// Replaces at most [`NORM_LANES`] numbers `y` by `b - y` and sees them.
    #[inline(always)]
    fn see(&mut self, y: &mut [f64], b: &[f64], abs: &[f64]) {
        for l in 0..y.len().min(NORM_LANES) {
            let r = b[l] - y[l];
            let weight = abs[l] + b[l].abs();
            y[l] = r;
            self.largest[l] = self.largest[l].max(r.abs());
            self.scale[l] = self.scale[l].max(weight);
            let ratio = if r == 0.0 { 0.0 } else { r.abs() / weight };
            self.worst[l] = self.worst[l].max(ratio);
            // NaN for a NaN or an infinite ratio, and from then on.
            self.poison[l] += ratio * 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_measure_of_a_residual_that_is_not_a_number_is_small() {
        for (r, b) in [
            ([f64::NAN, 0.0], [1.0, 0.0]),
            ([0.0, f64::NAN], [3.0, 2.0]),
            ([f64::NAN, 1e-20], [1.0, 1.0]),
        ] {
            let mut residual = Residual::new(2, 0);
            residual.row.copy_from_slice(&[b[0] - r[0], b[1] - r[1]]);
            residual.row_abs.copy_from_slice(&[1.0, 1.0]);
            let error = residual.measure_product((&b, &[]));
            let all = [error.normwise, error.relative_residual];
            let infinite = all
                .iter()
                .chain(&error.componentwise)
                .all(|e| *e == f64::INFINITY);
            assert!(infinite, "{error:?}");
            let small = BackwardError {
                normwise: 1e-16,
                componentwise: Some(1e-16),
                relative_residual: 1e-16,
            };
            let unknown = BackwardError {
                normwise: f64::NAN,
                componentwise: Some(f64::NAN),
                relative_residual: f64::NAN,
            };
            for worst in [small.worst(unknown), unknown.worst(small)] {
                let all = [worst.normwise, worst.relative_residual];
                let kept = all.iter().chain(&worst.componentwise).all(|e| e.is_nan());
                assert!(kept, "{worst:?}");
            }
        }
        assert!(norm(&[0.0, f64::NAN]).is_nan());
        assert_eq!(norm(&[0.0, -0.0]), 0.0);
    }

    #[test]
    fn lanes_see_what_one_entry_at_a_time_sees() {
        let arch = Arch::new();
        for odd in [0.0, 3.0, f64::NAN, f64::INFINITY] {
            let y: Vec<f64> = (0..32).map(|i| (i as f64).sin()).collect();
            let mut size: Vec<f64> = (0..32).map(|i| 1.0 + (i % 5) as f64).collect();
            let mut b: Vec<f64> = (0..32).map(|i| 0.5 * (i as f64).cos()).collect();
            (b[9], b[17], size[17]) = (odd, y[17], 0.0);
            let mut plain = ErrorMaxima::default();
            for i in 0..32 {
                plain.see(b[i] - y[i], size[i] + b[i].abs());
            }
            let mut r = y.clone();
            let pairs = r.as_chunks_mut().0.iter_mut().zip(size.as_chunks().0);
            let lanes = maxima_of_lanes(arch, pairs.zip(b.as_chunks().0));
            assert_eq!(lanes.worst, plain.worst, "{odd}");
            assert_eq!((lanes.largest, lanes.scale), (plain.largest, plain.scale));
            assert!(
                r.iter()
                    .zip(&b)
                    .zip(&y)
                    .all(|((r, b), y)| r.to_bits() == (b - y).to_bits())
            );
        }
    }
}
