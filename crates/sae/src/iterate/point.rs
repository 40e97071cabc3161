//! A point of the curved problem: coordinates, a decoder, and everything that follows from them.
//!
//! The objective is
//!
//! ```text
//! f(t, W) = sum |x_i - W' phi_i|^2 / 2 + lambda tr(W' P W) / 2 + kappa sum |t_flat|^2 / 2 .
//! ```
//!
//! Its terms are sums of squares, each formed from the residual rows, decoder entries and
//! coordinates themselves; their sum of absolute values, the scale `s`, is therefore `f` itself.

use crate::data::{Data, axpy, ordered_sum, par_sum};
use crate::error::CurvedError;
use crate::iterate::coordinates::Coordinates;
use crate::iterate::features::{self, ResidualsMut};
use crate::iterate::layout::Layout;
use crate::lm::Objective;
use crate::model::dictionary::Dictionary;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::{Mat, MatMut, MatRef, Par};

/// What stays fixed in an inner loop.
#[derive(Clone, Copy)]
pub(crate) struct Frozen<'a> {
    pub(crate) data: &'a Data,
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) layout: &'a Layout,
    pub(crate) penalty: Penalty,
}

/// The two penalties, in the units of the normalised data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Penalty {
    /// On the decoder, the intercept excepted.
    pub(crate) lambda: f64,
    /// On flat coordinates: those of lines.
    pub(crate) kappa: f64,
}

/// Whether a decoder follows its coordinates or moves on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// The exact minimiser for the coordinates: `W = G^-1 Phi' X`.
    Projected,
    /// The decoder stored in the point.
    Given,
}

/// See the [module](self). All storage is made once for a layout.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) coordinates: Coordinates,
    /// `M x p`, row-major.
    pub(crate) decoder: Vec<f64>,
    pub(crate) phi: Vec<f64>,
    pub(crate) psi: Vec<f64>,
    /// `G`, lower triangle.
    pub(crate) gram: Mat<f64>,
    pub(crate) squares: Vec<f64>,
    pub(crate) pull: Vec<f64>,
    pub(crate) row_gradient: Vec<f64>,
    /// Zero where the decoder is projected.
    pub(crate) border_gradient: Vec<f64>,
    /// `sum |r_i|^2`.
    pub(crate) sse: f64,
    pub(crate) objective: Objective,
    factor: Mat<f64>,
}

impl Point {
    /// Allocates storage for `layout` around `coordinates`; nothing is evaluated.
    pub(crate) fn new(layout: &Layout, coordinates: Coordinates) -> Self {
        let (m, k) = (layout.features(), layout.features() * layout.outputs());
        let n = layout.rows();
        Self {
            coordinates,
            decoder: vec![0.0; k],
            phi: vec![0.0; layout.indices.len()],
            psi: vec![0.0; layout.psi_offsets[n]],
            gram: Mat::zeros(m, m),
            squares: vec![0.0; n],
            pull: vec![0.0; layout.indices.len()],
            row_gradient: vec![0.0; layout.row_dims().unknowns()],
            border_gradient: vec![0.0; k],
            sse: f64::NAN,
            objective: Objective {
                value: f64::NAN,
                scale: f64::NAN,
            },
            factor: Mat::zeros(m, m),
        }
    }

    /// Updates everything for the coordinates (and the decoder, where it is given).
    ///
    /// # Errors
    /// [`CurvedError::Decoder`] where the decoder is not determined.
    pub(crate) fn evaluate(
        &mut self,
        model: &Frozen<'_>,
        decoder: Decoder,
    ) -> Result<(), CurvedError> {
        self.refresh_features(model);
        if decoder == Decoder::Projected {
            self.project(model)?;
        }
        self.refresh_residuals(model, decoder);
        Ok(())
    }

    /// `phi`, `psi` and `G`.
    pub(crate) fn refresh_features(&mut self, model: &Frozen<'_>) {
        let Frozen {
            dictionary,
            layout,
            penalty,
            ..
        } = *model;
        features::fill(
            dictionary,
            layout,
            &self.coordinates,
            &mut self.phi,
            &mut self.psi,
        );
        features::gram(layout, &self.phi, &mut self.gram);
        features::add_penalty(penalty.lambda, &mut self.gram);
    }

    /// `W = G^-1 Phi' X` by a Cholesky factor of order `M`.
    ///
    /// # Errors
    /// [`CurvedError::Decoder`].
    pub(crate) fn project(&mut self, model: &Frozen<'_>) -> Result<(), CurvedError> {
        let (m, p) = (model.layout.features(), model.layout.outputs());
        features::project_data(model.layout, &self.phi, model.data, &mut self.decoder);
        self.factor.copy_from(&self.gram);
        features::factor_gram(&mut self.factor)?;
        let w = MatMut::from_row_major_slice_mut(&mut self.decoder, m, p);
        llt::solve::solve_in_place(
            self.factor.as_ref(),
            w,
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(
                llt::solve::solve_in_place_scratch::<f64>(m, p, Par::Seq),
            )),
        );
        Ok(())
    }

    /// Residuals, gradients and the objective, given features and decoder.
    fn refresh_residuals(&mut self, model: &Frozen<'_>, decoder: Decoder) {
        let Frozen {
            data,
            dictionary,
            layout,
            penalty,
        } = *model;
        let border = match decoder {
            Decoder::Projected => {
                self.border_gradient.fill(0.0);
                None
            }
            Decoder::Given => Some(&mut self.border_gradient[..]),
        };
        let out = ResidualsMut {
            squares: &mut self.squares,
            pull: &mut self.pull,
            border,
        };
        features::residuals(layout, &self.phi, &self.decoder, data, out);
        let p = layout.outputs();
        if decoder == Decoder::Given {
            axpy(
                penalty.lambda,
                &self.decoder[p..],
                &mut self.border_gradient[p..],
            );
        }
        features::row_gradient(
            dictionary,
            layout,
            &self.coordinates,
            &self.psi,
            &self.pull,
            penalty.kappa,
            &mut self.row_gradient,
        );
        self.sse = ordered_sum(&self.squares);
        let weight = par_sum(&self.decoder[p..], |w| w * w);
        let spread = features::flat_squares(dictionary, layout, &self.coordinates);
        let value = 0.5 * (self.sse + penalty.lambda * weight + penalty.kappa * spread);
        self.objective = Objective {
            value,
            scale: value,
        };
    }

    /// The Cholesky factor of `G`, where the decoder has been projected here.
    pub(crate) fn factor(&self) -> MatRef<'_, f64> {
        self.factor.as_ref()
    }

    /// The mean diagonal of `Phi' Phi` (taken from `G` before any penalty was added).
    pub(crate) fn mean_gram_diagonal(&self) -> f64 {
        let m = self.gram.nrows();
        (0..m).map(|j| self.gram[(j, j)]).sum::<f64>() / m as f64
    }
}

#[cfg(test)]
mod tests;
