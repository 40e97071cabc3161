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

use crate::blas1::norm;
use crate::system::ProductMut;
use crate::system::dense_group::{GROUP, Lanes, interleave};
use crate::{DenseSystem, Ridge, System};
use serde::{Deserialize, Serialize};

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
    /// bounds: the products $`D_i x_i`$, $`B x`$ and $`C x`$ stand for the sums of their absolute terms.
    pub componentwise: Option<f64>,
    /// $`\|r\|_2 / \|g\|_2`$; 0 where both are.
    pub relative_residual: f64,
}

impl BackwardError {
    /// The worse of two, entry by entry.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self {
            normwise: self.normwise.max(other.normwise),
            componentwise: match (self.componentwise, other.componentwise) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            },
            relative_residual: self.relative_residual.max(other.relative_residual),
        }
    }
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
        let mut gauge = Gauge::default();
        let mut part = |r: &mut [f64], size: &[f64], b: &[f64]| {
            for ((r, size), b) in r.iter_mut().zip(size).zip(b) {
                *r = b - *r;
                gauge.see(*r, size + b.abs());
            }
        };
        part(&mut self.row, &self.row_abs, b.0);
        part(&mut self.border, &self.border_abs, b.1);
        gauge.error((&self.row, &self.border), b)
    }
}

/// Residuals entry by entry, as they become backward errors.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    largest: f64,
    scale: f64,
    worst: f64,
}

impl Gauge {
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

    fn error(self, r: (&[f64], &[f64]), b: (&[f64], &[f64])) -> BackwardError {
        let size = |(row, border): (&[f64], &[f64])| norm(row).hypot(norm(border));
        let (residual, gradient) = (size(r), size(b));
        let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a / b };
        BackwardError {
            normwise: ratio(self.largest, self.scale),
            componentwise: Some(self.worst),
            relative_residual: ratio(residual, gradient),
        }
    }
}

/// The backward errors of many steps of a dense system, eight at a time: one pass over the
/// operands serves a group.
pub(crate) fn measure_many(
    system: &DenseSystem<'_>,
    ridge: Ridge,
    b: (&[f64], &[f64]),
    x: (&[f64], &[f64]),
    count: usize,
) -> Vec<BackwardError> {
    let (n, k) = (system.shape().row_unknowns(), system.shape().border());
    let mut errors = Vec::with_capacity(count);
    for first in (0..count).step_by(GROUP) {
        let row = interleave(x.0, n, first, count);
        let border = interleave(x.1, k, first, count);
        let y = system.product_group(&row, &border, ridge);
        for l in 0..GROUP.min(count - first) {
            let j = first + l;
            let b = (&b.0[j * n..(j + 1) * n], &b.1[j * k..(j + 1) * k]);
            let mut gauge = Gauge::default();
            let mut part = |y: &[Lanes], size: &[Lanes], b: &[f64]| -> Vec<f64> {
                let entries = y.iter().zip(size).zip(b);
                let residual = entries.map(|((y, size), b)| {
                    let r = b - y[l];
                    gauge.see(r, size[l] + b.abs());
                    r
                });
                residual.collect()
            };
            let row = part(&y.row, &y.row_abs, b.0);
            let border = part(&y.border, &y.border_abs, b.1);
            errors.push(gauge.error((&row, &border), b));
        }
    }
    errors
}
