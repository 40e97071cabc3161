//! Structured systems of circle atoms: harmonics at seeded angles, a seeded decoder.
//!
//! Row `i` has `on` of the atoms on, each at an angle `t`:
//!
//! ```text
//! phi_i = (1, cos t, sin t, cos 2t, ..)   at the intercept and the features of those atoms
//! Psi_i = its derivative by the angles    d_i = on
//! G     = sum phi phi' + 1e-5 mean diagonal off the intercept
//! D_i   = J_i J_i' + 1e-3 mean diagonal,   J_i = Psi_i W
//! ```

use super::arrow::dots;
use super::{Gradients, Product};
use crate::cell::Phase;
use crate::noise::uniform;
use broadhead_schur::{
    RowBlocks, RowDims, ShapeError, StructuredFeatures, StructuredShape, StructuredSystem,
    SymmetricView,
};
use faer::MatRef;

/// Operands of a structured system. Matrices are row-major.
#[derive(Debug)]
pub struct Circles {
    shape: StructuredShape,
    on: usize,
    offsets: Vec<usize>,
    indices: Vec<usize>,
    phi: Vec<f64>,
    psi: Vec<f64>,
    psi_offsets: Vec<usize>,
    row_hessian: Vec<f64>,
    gram: Vec<f64>,
    decoder: Vec<f64>,
    pub(super) gradients: Gradients,
}

impl Circles {
    /// `[rows, atoms, on, harmonics, outputs]`.
    ///
    /// # Errors
    /// Sizes that overflow.
    pub fn new(sizes: [usize; 5], seed: u64) -> Result<Self, ShapeError> {
        let [rows, atoms, on, harmonics, outputs] = sizes;
        let features = 1 + 2 * harmonics * atoms;
        let shape = StructuredShape::new(RowDims::uniform(rows, on)?, features, outputs)?;
        let k = shape.arrow().border();
        let mut circles = Self {
            shape,
            on,
            offsets: vec![0],
            indices: Vec::new(),
            phi: Vec::new(),
            psi: Vec::new(),
            psi_offsets: vec![0],
            row_hessian: Vec::new(),
            gram: vec![0.0; features * features],
            decoder: uniform(seed, 5, k)
                .map(|v| v / (outputs as f64).sqrt())
                .collect(),
            gradients: Gradients {
                row: uniform(seed, 3, rows * on * Phase::MANY).collect(),
                border: uniform(seed, 4, k * Phase::MANY).collect(),
            },
        };
        let angles: Vec<f64> = uniform(seed, 0, rows * on)
            .map(|v| v * std::f64::consts::PI)
            .collect();
        let firsts: Vec<f64> = uniform(seed, 1, rows).collect();
        for i in 0..rows {
            // A run of neighbouring atoms, from a random first: every atom is as often on.
            let first = ((firsts[i] + 1.0) * 0.5 * atoms as f64) as usize;
            let mut chosen: Vec<usize> = (0..on).map(|a| (first + a) % atoms).collect();
            chosen.sort_unstable();
            circles.push_row(&chosen, &angles[i * on..(i + 1) * on], harmonics);
        }
        circles.finish_gram();
        circles.finish_row_blocks();
        Ok(circles)
    }

    fn push_row(&mut self, chosen: &[usize], angles: &[f64], harmonics: usize) {
        let width = 2 * harmonics;
        let start = self.phi.len();
        self.indices.push(0);
        self.phi.push(1.0);
        for (&atom, &t) in chosen.iter().zip(angles) {
            for h in 1..=harmonics {
                let (sin, cos) = (h as f64 * t).sin_cos();
                let feature = 1 + atom * width + 2 * (h - 1);
                self.indices.extend([feature, feature + 1]);
                self.phi.extend([cos, sin]);
            }
        }
        let nnz = self.phi.len() - start;
        for (a, &t) in angles.iter().enumerate() {
            let mut line = vec![0.0; nnz];
            for h in 1..=harmonics {
                let (sin, cos) = (h as f64 * t).sin_cos();
                let at = 1 + a * width + 2 * (h - 1);
                line[at] = -(h as f64) * sin;
                line[at + 1] = h as f64 * cos;
            }
            self.psi.extend(line);
        }
        self.offsets.push(self.indices.len());
        self.psi_offsets.push(self.psi.len());
    }

    /// `sum phi phi'`, then the penalty off the intercept.
    fn finish_gram(&mut self) {
        let features = self.shape.features();
        for range in self.offsets.windows(2) {
            let (indices, phi) = (
                &self.indices[range[0]..range[1]],
                &self.phi[range[0]..range[1]],
            );
            for (&m, a) in indices.iter().zip(phi) {
                for (&f, b) in indices.iter().zip(phi) {
                    self.gram[m * features + f] += a * b;
                }
            }
        }
        let trace: f64 = (0..features).map(|m| self.gram[m * features + m]).sum();
        for m in 1..features {
            self.gram[m * features + m] += 1e-5 * trace / features as f64;
        }
    }

    /// `J J'` of every row, then a thousandth of the mean diagonal.
    fn finish_row_blocks(&mut self) {
        let (rows, d, p) = (self.offsets.len() - 1, self.on, self.shape.outputs());
        self.row_hessian = vec![0.0; rows * d * d];
        let mut jacobian = vec![0.0; d * p];
        for i in 0..rows {
            self.jacobian(i, &mut jacobian);
            for a in 0..d {
                for b in 0..d {
                    let (a_line, b_line) =
                        (&jacobian[a * p..(a + 1) * p], &jacobian[b * p..(b + 1) * p]);
                    self.row_hessian[(i * d + a) * d + b] = dots(a_line, b_line).0;
                }
            }
        }
        let diagonal = |i: usize, a: usize| (i * d + a) * d + a;
        let unknowns = (rows * d).max(1) as f64;
        let trace: f64 = (0..rows)
            .flat_map(|i| (0..d).map(move |a| (i, a)))
            .map(|(i, a)| self.row_hessian[diagonal(i, a)])
            .sum();
        for i in 0..rows {
            for a in 0..d {
                self.row_hessian[diagonal(i, a)] += 1e-3 * trace / unknowns;
            }
        }
    }

    /// `J_i = Psi_i W`, `d x p`.
    fn jacobian(&self, i: usize, jacobian: &mut [f64]) {
        let p = self.shape.outputs();
        let indices = &self.indices[self.offsets[i]..self.offsets[i + 1]];
        let psi = &self.psi[self.psi_offsets[i]..self.psi_offsets[i + 1]];
        jacobian.fill(0.0);
        for (psi, line) in psi
            .chunks_exact(indices.len().max(1))
            .zip(jacobian.chunks_exact_mut(p.max(1)))
        {
            for (&m, &weight) in indices
                .iter()
                .zip(psi)
                .filter(|(_, weight)| **weight != 0.0)
            {
                let decoder = &self.decoder[m * p..(m + 1) * p];
                line.iter_mut()
                    .zip(decoder)
                    .for_each(|(j, w)| *j += weight * w);
            }
        }
    }

    /// As a system.
    ///
    /// # Errors
    /// None for what [`Circles::new`] makes.
    pub fn system(&self) -> Result<StructuredSystem<'_>, ShapeError> {
        let (features, outputs) = (self.shape.features(), self.shape.outputs());
        StructuredSystem::new(
            &self.shape,
            RowBlocks::packed(&self.row_hessian),
            StructuredFeatures {
                offsets: &self.offsets,
                indices: &self.indices,
                phi: &self.phi,
                psi: &self.psi,
                psi_offsets: &self.psi_offsets,
            },
            SymmetricView::row_major(&self.gram, features)?,
            MatRef::from_row_major_slice(&self.decoder, features, outputs),
        )
    }

    /// `B_i x = J_i X' phi_i` and its transpose, row by row; `C x = vec(G X)`.
    pub(super) fn product(&self, x_row: &[f64], x_border: &[f64]) -> Product {
        let (d, p, features) = (self.on, self.shape.outputs(), self.shape.features());
        let mut y = Product {
            row: vec![0.0; x_row.len()],
            border: vec![0.0; x_border.len()],
            row_abs: vec![0.0; x_row.len()],
            border_abs: vec![0.0; x_border.len()],
        };
        let (mut jacobian, mut pulled, mut pulled_abs) =
            (vec![0.0; d * p], vec![0.0; p], vec![0.0; p]);
        for i in 0..self.offsets.len() - 1 {
            self.jacobian(i, &mut jacobian);
            let range = self.offsets[i]..self.offsets[i + 1];
            let (indices, phi) = (&self.indices[range.clone()], &self.phi[range]);
            pulled.fill(0.0);
            pulled_abs.fill(0.0);
            for (&m, &phi) in indices.iter().zip(phi) {
                let line = &x_border[m * p..(m + 1) * p];
                for ((s, s_abs), x) in pulled.iter_mut().zip(&mut pulled_abs).zip(line) {
                    *s += phi * x;
                    *s_abs += (phi * x).abs();
                }
            }
            let x = &x_row[i * d..(i + 1) * d];
            for a in 0..d {
                let line = &jacobian[a * p..(a + 1) * p];
                let own = dots(&self.row_hessian[(i * d + a) * d..(i * d + a + 1) * d], x);
                let sizes = line
                    .iter()
                    .zip(&pulled_abs)
                    .map(|(j, s)| j.abs() * s)
                    .sum::<f64>();
                y.row[i * d + a] = own.0 + dots(line, &pulled).0;
                y.row_abs[i * d + a] = own.1 + sizes;
            }
            for (&m, &phi) in indices.iter().zip(phi) {
                for c in 0..p {
                    for a in 0..d {
                        let term = phi * jacobian[a * p + c] * x[a];
                        y.border[m * p + c] += term;
                        y.border_abs[m * p + c] += term.abs();
                    }
                }
            }
        }
        for m in 0..features {
            for f in 0..features {
                let g = self.gram[m * features + f];
                for c in 0..p {
                    let term = g * x_border[f * p + c];
                    y.border[m * p + c] += term;
                    y.border_abs[m * p + c] += term.abs();
                }
            }
        }
        y
    }
}
