//! The one tolerance: $`c\, n\, \epsilon\, \kappa`$.
//!
//! A backward stable solve of order $`n`$ answers a neighbouring system whose distance is a modest
//! multiple of $`n \epsilon`$; its solution then differs by at most $`\kappa`$ times as much (Higham,
//! *Accuracy and Stability of Numerical Algorithms*, 2002, sections 7.1 and 10.1). So the bound
//! follows from order and condition and is never tuned to pass.

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

    /// Compares log-determinants: to `max(1e-10, 100 eps kappa)` of the sum of absolute log
    /// pivots, and what the pivots' own rounding leaves where that sum is nothing.
    ///
    /// # Panics
    /// Beyond the bound.
    pub fn assert_log_determinant(self, what: &str, got: LogDeterminant, want: LogDeterminant) {
        let share = (100.0 * f64::EPSILON * self.kappa).max(1e-10);
        let floor = FACTOR * self.order as f64 * f64::EPSILON;
        let bound = share * want.absolute + floor;
        assert_within(what, "log-determinant", &[got.value], &[want.value], bound);
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
