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
use crate::iterate::features::{self, ResidualsAt, ResidualsMut};
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

impl Frozen<'_> {
    /// Writes the packed row blocks `D_i` under `decoder`, where slopes are `psi`.
    pub(crate) fn row_hessian(&self, decoder: &[f64], psi: &[f64], kappa: f64, out: &mut [f64]) {
        let layout = self.layout;
        let gram = features::decoder_gram(decoder, layout.features(), layout.outputs());
        features::row_hessian(self.dictionary, layout, psi, &gram, kappa, out);
    }
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
    /// `G`, lower triangle.
    pub(crate) gram: Mat<f64>,
    pub(crate) squares: Vec<f64>,
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
            gram: Mat::zeros(m, m),
            squares: vec![0.0; n],
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

    /// The point at `coordinates` with its projected decoder, and the slopes there.
    ///
    /// # Errors
    /// [`CurvedError::Decoder`] where the decoder is not determined.
    pub(crate) fn projected(
        model: &Frozen<'_>,
        coordinates: Coordinates,
    ) -> Result<(Self, Vec<f64>), CurvedError> {
        let mut point = Self::new(model.layout, coordinates);
        let mut psi = model.layout.slopes();
        point.evaluate(model, Decoder::Projected, &mut psi)?;
        Ok((point, psi))
    }

    /// Updates everything for the coordinates (and the decoder, where it is given); `psi` receives the slopes
    /// there, which no point keeps.
    ///
    /// # Errors
    /// [`CurvedError::Decoder`] where the decoder is not determined.
    pub(crate) fn evaluate(
        &mut self,
        model: &Frozen<'_>,
        decoder: Decoder,
        psi: &mut [f64],
    ) -> Result<(), CurvedError> {
        self.refresh_features(model, psi);
        if decoder == Decoder::Projected {
            self.project(model)?;
        }
        self.refresh_residuals(model, decoder, psi);
        Ok(())
    }

    /// `phi`, `G`, and the slopes.
    pub(crate) fn refresh_features(&mut self, model: &Frozen<'_>, psi: &mut [f64]) {
        let Frozen {
            dictionary,
            layout,
            penalty,
            ..
        } = *model;
        features::fill(dictionary, layout, &self.coordinates, &mut self.phi, psi);
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
    fn refresh_residuals(&mut self, model: &Frozen<'_>, decoder: Decoder, psi: &[f64]) {
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
        let at = ResidualsAt {
            dictionary,
            layout,
            data,
            coordinates: &self.coordinates,
            phi: &self.phi,
            psi,
            decoder: &self.decoder,
            kappa: penalty.kappa,
        };
        let out = ResidualsMut {
            squares: &mut self.squares,
            row_gradient: &mut self.row_gradient,
            border,
        };
        features::residuals(&at, out);
        let p = layout.outputs();
        if decoder == Decoder::Given {
            axpy(
                penalty.lambda,
                &self.decoder[p..],
                &mut self.border_gradient[p..],
            );
        }
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
