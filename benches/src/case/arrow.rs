//! Dense arrow systems of random blocks, well conditioned at every shape.
//!
//! ```text
//! D_i = 3 I + symmetric noise of size 1 / (2 d)
//! B   = noise of size 3 / (2 (sqrt N + sqrt k))      so that |Y'Y| stays below 1
//! C   = 4 I + symmetric noise of size 1 / (2 sqrt k) so that its spectrum is 4 +- 0.6
//! ```
//!
//! `benches/peers/scipy_arrow.py` makes the same numbers, bit for bit.

use super::{Gradients, Product};
use crate::cell::Phase;
use crate::noise::uniform;
use broadhead_schur::{ArrowShape, CrossView, DenseSystem, RowBlocks, ShapeError, SymmetricView};

/// Operands of a dense arrow. All arrays are row-major.
#[derive(Debug)]
pub struct Arrow {
    shape: ArrowShape,
    dim: usize,
    row_hessian: Vec<f64>,
    row_cross: Vec<f64>,
    border_hessian: Vec<f64>,
    pub(super) gradients: Gradients,
}

impl Arrow {
    /// `rows` blocks of order `dim`, a border of `border` unknowns.
    ///
    /// # Errors
    /// Sizes that overflow.
    pub fn new(rows: usize, dim: usize, border: usize, seed: u64) -> Result<Self, ShapeError> {
        let shape = ArrowShape::uniform(rows, dim, border)?;
        let (n, d, k) = (rows * dim, dim, border);
        let half = 0.5 / d as f64;
        let mut row_hessian: Vec<f64> = uniform(seed, 0, n * d).map(|v| v * half).collect();
        row_hessian
            .chunks_exact_mut((d * d).max(1))
            .for_each(|block| symmetric(block, d, 3.0));
        let scale = 1.5 / ((n as f64).sqrt() + (k as f64).sqrt());
        let size = 0.5 / (k as f64).sqrt();
        let mut border_hessian: Vec<f64> = uniform(seed, 2, k * k).map(|v| v * size).collect();
        symmetric(&mut border_hessian, k, 4.0);
        Ok(Self {
            shape,
            dim,
            row_hessian,
            row_cross: uniform(seed, 1, n * k).map(|v| v * scale).collect(),
            border_hessian,
            gradients: Gradients {
                row: uniform(seed, 3, n * Phase::MANY).collect(),
                border: uniform(seed, 4, k * Phase::MANY).collect(),
            },
        })
    }

    /// As a system.
    ///
    /// # Errors
    /// None for what [`Arrow::new`] makes.
    pub fn system(&self) -> Result<DenseSystem<'_>, ShapeError> {
        let (n, k) = (self.shape.row_unknowns(), self.shape.border());
        DenseSystem::new(
            &self.shape,
            RowBlocks::packed(&self.row_hessian),
            CrossView::row_major(&self.row_cross, n, k)?,
            SymmetricView::row_major(&self.border_hessian, k)?,
        )
    }

    /// Numbers of one row block.
    pub(crate) fn block_len(&self) -> usize {
        self.dim * self.dim
    }

    pub(super) fn product(&self, x_row: &[f64], x_border: &[f64]) -> Product {
        let (d, k) = (self.dim, self.shape.border());
        let mut y = Product {
            row: vec![0.0; x_row.len()],
            border: vec![0.0; k],
            row_abs: vec![0.0; x_row.len()],
            border_abs: vec![0.0; k],
        };
        for (u, line) in self.row_hessian.chunks_exact(d.max(1)).enumerate() {
            let x = &x_row[u / d * d..u / d * d + d];
            (y.row[u], y.row_abs[u]) = dots(line, x);
        }
        for (u, line) in self.row_cross.chunks_exact(k.max(1)).enumerate() {
            let (dot, dot_abs) = dots(line, x_border);
            y.row[u] += dot;
            y.row_abs[u] += dot_abs;
            let x = x_row[u];
            for ((y, y_abs), b) in y.border.iter_mut().zip(&mut y.border_abs).zip(line) {
                *y += x * b;
                *y_abs += (x * b).abs();
            }
        }
        for (j, line) in self.border_hessian.chunks_exact(k.max(1)).enumerate() {
            let (dot, dot_abs) = dots(line, x_border);
            y.border[j] += dot;
            y.border_abs[j] += dot_abs;
        }
        y
    }
}

/// `a' b` and `|a|' |b|`.
pub(super) fn dots(a: &[f64], b: &[f64]) -> (f64, f64) {
    a.iter()
        .zip(b)
        .fold((0.0, 0.0), |(s, t), (a, b)| (s + a * b, t + (a * b).abs()))
}

/// Mirrors the lower triangle of an order-`k` block and adds `shift` to its diagonal.
fn symmetric(block: &mut [f64], k: usize, shift: f64) {
    for i in 0..k {
        for j in 0..i {
            block[j * k + i] = block[i * k + j];
        }
        block[i * k + i] += shift;
    }
}

#[cfg(test)]
impl Arrow {
    /// Makes `-(row, border)` the first gradient.
    pub(crate) fn set_first_gradient(&mut self, row: &[f64], border: &[f64]) {
        let set = |to: &mut [f64], from: &[f64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = -from)
        };
        set(&mut self.gradients.row, row);
        set(&mut self.gradients.border, border);
    }
}
