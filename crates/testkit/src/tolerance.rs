//! The one tolerance of steps, $`c\, n\, \epsilon\, \kappa`$, and that of log-determinants ([`LogTolerance`]).
//!
//! A backward stable solve of order $`n`$ answers a neighbouring system whose distance is a modest
//! multiple of $`n \epsilon`$; its solution then differs by at most $`\kappa`$ times as much (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2002, sections 7.1 and 10.1). So the bound
//! follows from order and condition and is never tuned to pass.

use crate::random::Random;
use broadhead_schur::{ArrowVector, LogDeterminant};

/// $`c`$: the factor in front, for every comparison there is.
pub const FACTOR: f64 = 8.0;

/// The bound for systems of one order and condition.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Order of the system.
    pub order: usize,
    /// Its condition number.
    pub kappa: f64,
    /// The backward error of the method: $`\epsilon`$ for direct ones, the residual asked of
    /// conjugate gradients for those.
    pub backward: f64,
}

impl Tolerance {
    /// For a direct method.
    pub fn new(order: usize, kappa: f64) -> Self {
        Self {
            order,
            kappa: kappa.max(1.0),
            backward: f64::EPSILON,
        }
    }

    /// For a method that stops at this relative residual.
    #[must_use]
    pub fn stopping_at(self, residual: f64) -> Self {
        Self {
            backward: residual.max(f64::EPSILON),
            ..self
        }
    }

    /// $`c\, n\, \epsilon\, \kappa`$.
    pub fn relative(self) -> f64 {
        FACTOR * self.order.max(1) as f64 * self.backward * self.kappa
    }

    /// Compares steps: each entry to within the bound times the largest entry wanted.
    ///
    /// # Panics
    /// At the first entry beyond the bound: block, index, got, want, bound.
    pub fn assert_step(self, what: &str, got: &ArrowVector, want: &ArrowVector) {
        let scale = (want.row.iter().chain(&want.border)).fold(0.0_f64, |m, x| m.max(x.abs()));
        let bound = self.relative() * scale;
        assert_within(what, "row", &got.row, &want.row, bound);
        assert_within(what, "border", &got.border, &want.border, bound);
    }

    /// Compares numbers to within the bound times `scale`.
    ///
    /// # Panics
    /// Beyond the bound: what, got, want, bound.
    pub fn assert_number(self, what: &str, got: f64, want: f64, scale: f64) {
        assert_within(what, "number", &[got], &[want], self.relative() * scale);
    }
}

/// How many standard deviations of independent roundings a log-determinant may be off:
/// with $`\lambda = 4`$ a sum of $`n`$ of them exceeds $`\lambda \sqrt n\, u`$ once in thousands of times
/// (Higham and Mary, *A new approach to probabilistic rounding error analysis*, SISC 41, 2019).
pub const DEVIATIONS: f64 = 4.0;

/// The bound for log-determinants.
///
/// ```math
/// L L' = H + E, \quad |e_{ij}| \le \lambda \sqrt{m_{ij}}\, u\, \sqrt{h_{ii} h_{jj}}, \qquad
/// \log|H + E| - \log|H| \approx \mathrm{tr}(H^{-1} E)
/// ```
///
/// with $`m_{ij}`$ the length of the sum that makes entry `(i, j)` of $`L`$ and $`u = \epsilon / 2`$. Errors
/// of independent sign add as squares, so that the trace is at most
/// $`\lambda u (\sum m_{ij} \hat x_{ij}^2)^{1/2}`$, the *spread*, $`\hat X`$ the inverse of $`H`$ scaled to a
/// unit diagonal: no scaling of unknowns changes it, unlike the condition number, which may be any
/// number of times larger. To that come the roundings of the logarithms and of their sum.
///
/// A sum in another order, in tiles, by fused operations, rounds no more often. Errors that a sum of
/// $`n`$ terms makes are a few tenths of $`\sqrt n\, u`$, so a good elimination is between a tenth and a
/// hundredth of the bound, and one that has lost two digits is past it.
#[derive(Clone, Copy, Debug)]
pub struct LogTolerance {
    /// Order of the system.
    pub order: usize,
    /// $`(\sum m_{ij} \hat x_{ij}^2)^{1/2}`$.
    pub spread: f64,
}

impl LogTolerance {
    /// How far a log-determinant of this sum of absolute logarithms may be from the exact one.
    pub fn bound(self, absolute: f64) -> f64 {
        let roundings = self.spread + (self.order as f64).sqrt() * absolute;
        DEVIATIONS * 0.5 * f64::EPSILON * roundings
    }

    /// For a system too large for an oracle: the norm of $`\hat X`$ from `solve`, which answers $`x`$ by
    /// $`H^{-1} x`$, of random signs, whose mean square it is. `roots` are those of the diagonal; every
    /// sum is taken to be of the order's length.
    pub fn of_solves(roots: &[f64], mut solve: impl FnMut(&[f64]) -> Vec<f64>) -> Self {
        const PROBES: u64 = 16;
        let mut squares = 0.0;
        for seed in 0..PROBES {
            let signs = Random::new(900 + seed).normals(roots.len());
            let scaled: Vec<f64> = (signs.iter().zip(roots))
                .map(|(sign, root)| root.copysign(*sign))
                .collect();
            let scaled_back = solve(&scaled);
            let parts = scaled_back.iter().zip(roots);
            squares += parts.map(|(x, root)| (x * root).powi(2)).sum::<f64>();
        }
        Self {
            order: roots.len(),
            spread: (roots.len() as f64 * squares / PROBES as f64).sqrt(),
        }
    }

    /// Compares a log-determinant with the exact one.
    ///
    /// # Panics
    /// Beyond the bound: what, got, want, bound.
    pub fn assert(self, what: &str, got: LogDeterminant, exact: LogDeterminant) {
        let bound = self.bound(exact.absolute);
        assert_within(what, "log-determinant", &[got.value], &[exact.value], bound);
    }

    /// Compares two that both round, `other` by its own tolerance.
    ///
    /// # Panics
    /// Beyond the sum of both bounds.
    pub fn assert_both(
        self,
        what: &str,
        got: LogDeterminant,
        (other, its): (LogDeterminant, Self),
    ) {
        let bound = self.bound(got.absolute) + its.bound(other.absolute);
        assert_within(what, "log-determinant", &[got.value], &[other.value], bound);
    }
}

/// Compares `got` and `want` entry by entry.
///
/// # Panics
/// At the first entry beyond `bound` (NaN is): block, index, got, want, bound.
pub fn assert_within(what: &str, block: &str, got: &[f64], want: &[f64], bound: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths of block {block}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        assert!(
            error <= bound,
            "{what}: block {block}, index {index}: got {got:e}, want {want:e}, \
             error {error:e}, bound {bound:e}"
        );
    }
}
