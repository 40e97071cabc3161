//! Steps of the projected problem by conjugate gradients in the space of features.
//!
//! Where gates are chosen the border's core is large (64 circles, two on in a row: order 16,500), and no
//! elimination of it is cheap. With the border eliminated exactly the Hessian over the row unknowns is
//!
//! ```text
//! H = D - B (G (x) I_p)^-1 B'        (H v)_i = D_i v_i - Psi_i R' phi_i,  R = G^-1 S K
//!                                     S = sum_i phi_i (Psi_i' v_i)'        K = W W'
//! ```
//!
//! so that a product costs a pass over the sparse rows and three products of order `M`; the data's `p`
//! columns occur no more. The preconditioner is the row blocks with their ridge. The ridge of the border is
//! left out: the decoder is the exact minimiser at every trial.
//!
//! Sums over rows go by chunks whose bounds come from shapes alone, in order.

use crate::data::{axpy, carve, dot};
use crate::iterate::layout::Layout;
use crate::iterate::point::Point;
use broadhead_schur::release_upper_parts;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;

/// Partial sums at most.
const PARTS: usize = 8;

/// Memory of the method, made once for a layout.
pub(crate) struct Gradients {
    chunk: usize,
    parts: Vec<Mat<f64>>,
    sum: Mat<f64>,
    turned: Mat<f64>,
    /// Cholesky factors of the row blocks with their ridge, packed as the blocks are.
    factors: Vec<f64>,
    /// The residual, the preconditioned residual, the direction, its product.
    vectors: [Vec<f64>; 4],
}

/// The operator's parts at one point.
pub(crate) struct Linearised<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) point: &'a Point,
    pub(crate) psi: &'a [f64],
    /// `W W'`.
    pub(crate) decoder_gram: &'a Mat<f64>,
    /// `D_i`, packed.
    pub(crate) blocks: &'a [f64],
}

/// What a solve came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Solved {
    /// The reduction that the quadratic predicts, without ridge.
    pub(crate) predicted: f64,
    /// `|H v + ridge v + g| / |g|`.
    pub(crate) relative_residual: f64,
    /// Products with the operator.
    pub(crate) iterations: u64,
}

/// A row block that is not positive definite with its ridge, or a direction without curvature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NoCurvature {
    /// The row, where a block failed.
    pub(crate) row: Option<usize>,
}

impl Gradients {
    pub(crate) fn new(layout: &Layout) -> Self {
        let (n, m) = (layout.rows(), layout.features());
        let chunk = n.div_ceil(PARTS).max(512);
        let unknowns = layout.row_dims().unknowns();
        Self {
            chunk,
            parts: (0..n.div_ceil(chunk)).map(|_| Mat::zeros(m, m)).collect(),
            sum: Mat::zeros(m, m),
            turned: Mat::zeros(m, m),
            factors: vec![0.0; layout.row_dims().block_len()],
            vectors: std::array::from_fn(|_| vec![0.0; unknowns]),
        }
    }

    /// Solves `(H + ridge I) step = -gradient` to `tolerance` of `|gradient|`, by `most` products at most.
    ///
    /// # Errors
    /// [`NoCurvature`].
    pub(crate) fn solve(
        &mut self,
        at: &Linearised<'_>,
        gradient: &[f64],
        ridge: f64,
        tolerance: f64,
        most: u64,
        step: &mut [f64],
    ) -> Result<Solved, NoCurvature> {
        self.precondition(at, ridge)?;
        step.fill(0.0);
        let [mut r, mut z, mut p, mut q] = std::mem::take(&mut self.vectors);
        for (r, g) in r.iter_mut().zip(gradient) {
            *r = -g;
        }
        let whole = norm(&r);
        self.apply_inverse(at.layout, &r, &mut z);
        p.copy_from_slice(&z);
        let mut along = dot(&r, &z);
        let (mut iterations, mut left) = (0, whole);
        let mut curved = true;
        while left > tolerance * whole && iterations < most {
            self.product(at, &p, &mut q);
            axpy(ridge, &p, &mut q);
            iterations += 1;
            let curvature = dot(&p, &q);
            let is_curved = curvature > 0.0;
            if !is_curved {
                // What has been found so far is a descent; none at all is no step.
                curved = iterations > 1;
                break;
            }
            let length = along / curvature;
            axpy(length, &p, step);
            axpy(-length, &q, &mut r);
            left = norm(&r);
            self.apply_inverse(at.layout, &r, &mut z);
            let next = dot(&r, &z);
            let keep = next / along;
            along = next;
            for (p, z) in p.iter_mut().zip(&z) {
                *p = z + keep * *p;
            }
        }
        // g'v + v'H v / 2, with H v = -g - r - ridge v.
        let (fall, square) = (dot(gradient, step), dot(step, step));
        let bent = -fall - dot(&r, step) - ridge * square;
        self.vectors = [r, z, p, q];
        if !curved {
            return Err(NoCurvature { row: None });
        }
        Ok(Solved {
            predicted: -(fall + 0.5 * bent),
            relative_residual: if whole > 0.0 { left / whole } else { 0.0 },
            iterations,
        })
    }

    /// Factors the row blocks with their ridge.
    fn precondition(&mut self, at: &Linearised<'_>, ridge: f64) -> Result<(), NoCurvature> {
        self.factors.copy_from_slice(at.blocks);
        let dims = at.layout.row_dims();
        let bounds = at.layout.block_bounds(self.chunk);
        let chunk = self.chunk;
        let failed = carve(&mut self.factors, bounds)
            .into_par_iter()
            .enumerate()
            .filter_map(|(c, mut part)| {
                let first = c * chunk;
                for i in first..(first + chunk).min(at.layout.rows()) {
                    let d = dims.dim(i);
                    let (block, rest) = std::mem::take(&mut part).split_at_mut(d * d);
                    part = rest;
                    for j in 0..d {
                        block[j * d + j] += ridge;
                    }
                    if !factor(block, d) {
                        return Some(i);
                    }
                }
                None
            })
            .min();
        match failed {
            Some(row) => Err(NoCurvature { row: Some(row) }),
            None => Ok(()),
        }
    }

    /// `z = (D + ridge)^-1 r`.
    fn apply_inverse(&self, layout: &Layout, r: &[f64], z: &mut [f64]) {
        z.copy_from_slice(r);
        let dims = layout.row_dims();
        let parts = carve(z, layout.unknown_bounds(self.chunk));
        parts.into_par_iter().enumerate().for_each(|(c, mut part)| {
            let first = c * self.chunk;
            for i in first..(first + self.chunk).min(layout.rows()) {
                let d = dims.dim(i);
                let (x, rest) = std::mem::take(&mut part).split_at_mut(d);
                part = rest;
                substitute(&self.factors[dims.block_offset(i)..][..d * d], x);
            }
        });
    }

    /// `q = H v`.
    fn product(&mut self, at: &Linearised<'_>, v: &[f64], q: &mut [f64]) {
        let Linearised { layout, point, .. } = *at;
        let (chunk, m) = (self.chunk, layout.features());
        let dims = layout.row_dims();
        self.parts.par_iter_mut().enumerate().for_each(|(c, part)| {
            part.fill(0.0);
            let mut moved = Vec::new();
            for i in c * chunk..((c + 1) * chunk).min(layout.rows()) {
                let indices = layout.row_indices(i);
                let phi = &point.phi[layout.offsets[i]..][..indices.len()];
                at.moved(i, &v[dims.offset(i)..][..dims.dim(i)], &mut moved);
                // The intercept's function does not move.
                for (&column, &u) in indices.iter().zip(&moved).skip(1) {
                    let into = part.col_as_slice_mut(column);
                    for (&row, &f) in indices.iter().zip(phi) {
                        into[row] += f * u;
                    }
                }
            }
        });
        self.sum.fill(0.0);
        for part in &self.parts {
            for j in 0..m {
                axpy(1.0, part.col_as_slice(j), self.sum.col_as_slice_mut(j));
            }
        }
        let mut memory = MemBuffer::new(llt::solve::solve_in_place_scratch::<f64>(m, m, Par::Seq));
        llt::solve::solve_in_place(
            point.factor(),
            self.sum.as_mut(),
            Par::Seq,
            MemStack::new(&mut memory),
        );
        matmul(
            self.turned.as_mut(),
            Accum::Replace,
            self.sum.as_ref(),
            at.decoder_gram.as_ref(),
            1.0,
            Par::Seq,
        );
        release_upper_parts();
        let turned = &self.turned;
        let parts = carve(q, layout.unknown_bounds(chunk));
        parts.into_par_iter().enumerate().for_each(|(c, mut part)| {
            let mut back = Vec::new();
            for i in c * chunk..((c + 1) * chunk).min(layout.rows()) {
                let d = dims.dim(i);
                let (out, rest) = std::mem::take(&mut part).split_at_mut(d);
                part = rest;
                let indices = layout.row_indices(i);
                let phi = &point.phi[layout.offsets[i]..][..indices.len()];
                back.clear();
                back.extend(indices.iter().map(|&column| {
                    let column = turned.col_as_slice(column);
                    let terms = indices.iter().zip(phi);
                    terms.map(|(&row, f)| f * column[row]).sum::<f64>()
                }));
                let block = &at.blocks[dims.block_offset(i)..][..d * d];
                let v = &v[dims.offset(i)..][..d];
                let psi = &at.psi[layout.psi_offsets[i]..];
                for (a, out) in out.iter_mut().enumerate() {
                    let slope = &psi[a * indices.len()..][..indices.len()];
                    let own: f64 = block[a * d..][..d].iter().zip(v).map(|(h, v)| h * v).sum();
                    let taken: f64 = slope.iter().zip(&back).map(|(s, b)| s * b).sum();
                    *out = own - taken;
                }
            }
        });
    }
}

impl std::fmt::Display for NoCurvature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row {
            Some(row) => write!(f, "the block of row {row} is not positive definite"),
            None => f.write_str("a direction of conjugate gradients has no curvature"),
        }
    }
}

impl Linearised<'_> {
    /// The mean diagonal entry of the row blocks.
    pub(crate) fn mean_diagonal(&self) -> f64 {
        let dims = self.layout.row_dims();
        let mut sum = 0.0;
        for i in 0..self.layout.rows() {
            let d = dims.dim(i);
            let block = &self.blocks[dims.block_offset(i)..][..d * d];
            sum += block.iter().step_by(d + 1).sum::<f64>();
        }
        sum / dims.unknowns().max(1) as f64
    }

    /// `Psi_i' v_i`, over the row's features.
    fn moved(&self, i: usize, v: &[f64], out: &mut Vec<f64>) {
        let width = self.layout.row_indices(i).len();
        out.clear();
        out.resize(width, 0.0);
        let psi = &self.psi[self.layout.psi_offsets[i]..];
        for (a, v) in v.iter().enumerate() {
            for (out, slope) in out.iter_mut().zip(&psi[a * width..][..width]) {
                *out += v * slope;
            }
        }
    }
}

/// The Cholesky factor of a small symmetric block, row-major, into its lower triangle; whether there is one.
fn factor(block: &mut [f64], d: usize) -> bool {
    for j in 0..d {
        for i in j..d {
            let mut sum = block[i * d + j];
            for k in 0..j {
                sum -= block[i * d + k] * block[j * d + k];
            }
            if i > j {
                block[i * d + j] = sum / block[j * d + j];
            } else if sum > 0.0 {
                block[j * d + j] = sum.sqrt();
            } else {
                return false;
            }
        }
    }
    true
}

/// `x <- (L L')^-1 x`.
fn substitute(factor: &[f64], x: &mut [f64]) {
    let d = x.len();
    for i in 0..d {
        for k in 0..i {
            x[i] -= factor[i * d + k] * x[k];
        }
        x[i] /= factor[i * d + i];
    }
    for i in (0..d).rev() {
        for k in i + 1..d {
            x[i] -= factor[k * d + i] * x[k];
        }
        x[i] /= factor[i * d + i];
    }
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

#[cfg(test)]
mod tests;
