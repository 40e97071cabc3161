//! The units in which rows are encoded.

use crate::data::{ARCH, binary_unit, largest_of, norm};
use crate::model::dictionary::Dictionary;
use ndarray::ArrayView2;

/// The units in which rows are encoded: those of the decoder. The intercept is subtracted from each row and
/// the rest is scaled, so that neither a common offset nor the size of the rows costs digits.
pub(super) struct Frame {
    /// `M x p` row-major, divided by `scale`; the intercept is 0, since rows come without it.
    pub(super) decoder: Vec<f64>,
    /// A power of two near the largest entry of the decoder outside the intercept.
    pub(super) scale: f64,
    /// The penalty on flat coordinates in these units.
    pub(super) kappa: f64,
    intercept: Vec<f64>,
}

/// Rows farther than this from the intercept, in units of the decoder, are moved in to this distance, so
/// that their squares do not overflow. Angles and directions keep all their digits.
const FURTHEST: f64 = 1e100;

/// The squares of pulls do not overflow single precision for rows within this distance.
const NEAR: f64 = 1e12;

/// How far from the intercept a row lies, in units of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Within [`NEAR`].
    Near,
    /// Within [`FURTHEST`].
    Far,
    /// Moved in to [`FURTHEST`].
    Beyond,
}

impl Frame {
    pub(super) fn of(decoder: ArrayView2<'_, f64>, dictionary: &Dictionary, kappa: f64) -> Self {
        let p = decoder.ncols();
        let atoms = decoder.iter().skip(p);
        let scale = binary_unit(atoms.fold(0.0_f64, |m, w| m.max(w.abs())));
        let mut scaled = vec![0.0; dictionary.features() * p];
        for (to, w) in scaled.iter_mut().zip(decoder.iter()).skip(p) {
            *to = w / scale;
        }
        Self {
            decoder: scaled,
            scale,
            // A larger penalty holds the coordinates at zero in any case.
            kappa: (kappa / scale / scale).min(FURTHEST),
            intercept: decoder.row(0).to_vec(),
        }
    }

    /// Writes a row minus the intercept, in units of the decoder, into `rest`; returns how far out it lies.
    pub(super) fn rest(&self, x: &[f64], rest: &mut [f64]) -> Reach {
        subtract(x, &self.intercept, self.scale, rest);
        let largest = largest_of(rest);
        if largest <= NEAR {
            return Reach::Near;
        }
        if largest <= FURTHEST {
            return Reach::Far;
        }
        let quarters = self.quarters(x);
        let most = quarters.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
        for (rest, quarter) in rest.iter_mut().zip(&quarters) {
            *rest = quarter / most * FURTHEST;
        }
        Reach::Beyond
    }

    /// A quarter of a row minus the intercept: the difference cannot overflow.
    fn quarters(&self, x: &[f64]) -> Vec<f64> {
        let both = x.iter().zip(&self.intercept);
        both.map(|(x, w)| 0.25 * x - 0.25 * w).collect()
    }

    /// The norm of a row less the intercept.
    pub(super) fn distance(&self, x: &[f64]) -> f64 {
        4.0 * norm(&self.quarters(x))
    }
}

/// `rest = (x - intercept) / scale`.
fn subtract(x: &[f64], intercept: &[f64], scale: f64, rest: &mut [f64]) {
    ARCH.dispatch(
        #[inline(always)]
        || {
            for ((rest, x), w) in rest.iter_mut().zip(x).zip(intercept) {
                *rest = (x - w) / scale;
            }
        },
    );
}
