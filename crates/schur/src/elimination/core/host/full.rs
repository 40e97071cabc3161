//! The core of a structured system with dense features, of order $`M r`$.
//!
//! The order of $`Z = I - F' Q F`$ does not depend on $`p`$ or on the number of rows; see
//! [`crate::elimination::core`] for the derivation. $`Z`$ is the product of two tall matrices, one row a data
//! row, formed some rows at a time:
//!
//! ```text
//!   P: n x M(M+1)/2, the products of pairs of phi~_i       Z[(m,s),(m',s')] =
//!   K: n x r(r+1)/2, the entries of X_i' X_i                   delta - (P' K)[(m,m'),(s,s')]
//! ```

use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::{gemm, par_each_init, product_par};
use crate::host::structured::{
    add_outer_times_decoder, apply_q, decoder_rank, row_times_root, solve_gram, times,
    times_decoder_transpose, whitened_phi,
};
use crate::host::trsm;
use crate::{ArrowShape, StructuredShape, StructuredSystem};
use faer::{Accum, Mat, MatMut, MatRef, Par};
use pulp::Arch;
use rayon::prelude::*;

/// Products that are formed at once, about.
const PRODUCTS: usize = 1 << 18;

/// Rows of data whose products are formed at once.
fn rows_at_once(m: usize, r: usize) -> usize {
    (PRODUCTS / (pairs(m) + pairs(r)).max(1)).clamp(512, 4096)
}

/// $`Z`$ of order $`M r`$, and what forms it.
#[derive(Debug)]
pub(crate) struct FullCore {
    shape: StructuredShape,
    /// `M x n`, `n` [`rows_at_once`]: one row of data a column.
    phi: Vec<f64>,
    /// `n x M(M+1)/2` and `n x r(r+1)/2`, row-major.
    phi_pairs: Vec<f64>,
    jacobian_pairs: Vec<f64>,
    /// $`P' K`$.
    products: Mat<f64>,
    core: Cholesky,
}

/// What the core's owner has factored before it.
#[derive(Clone, Copy)]
pub(crate) struct CoreOperands<'a> {
    /// $`L_G`$.
    pub(crate) gram: &'a Cholesky,
    /// $`R`$.
    pub(crate) root: MatRef<'a, f64>,
    /// $`V_i`$, in the layout of $`\Psi_i`$.
    pub(crate) features: &'a [f64],
}

fn pairs(order: usize) -> usize {
    order * (order + 1) / 2
}

/// The place of the pair `a >= b` among the pairs of a lower triangle, row by row.
#[inline]
fn pair(a: usize, b: usize) -> usize {
    let (a, b) = (a.max(b), a.min(b));
    a * (a + 1) / 2 + b
}

impl FullCore {
    pub(crate) fn bytes(shape: &StructuredShape) -> u64 {
        let (m, r) = (shape.features(), decoder_rank(shape));
        ArrowShape::array_bytes(rows_at_once(m, r), m + pairs(m) + pairs(r))
            .saturating_add(ArrowShape::array_bytes(pairs(m), pairs(r)))
            .saturating_add(Cholesky::bytes(m.saturating_mul(r)))
    }

    pub(crate) fn new(shape: &StructuredShape) -> Self {
        let (m, r) = (shape.features(), decoder_rank(shape));
        Self {
            shape: shape.clone(),
            phi: vec![0.0; rows_at_once(m, r) * m],
            phi_pairs: vec![0.0; rows_at_once(m, r) * pairs(m)],
            jacobian_pairs: vec![0.0; rows_at_once(m, r) * pairs(r)],
            products: Mat::zeros(pairs(m), pairs(r)),
            core: Cholesky::new(m * r),
        }
    }

    /// Forms and factors $`Z`$.
    pub(crate) fn factor(
        &mut self,
        system: &StructuredSystem<'_>,
        parts: CoreOperands<'_>,
    ) -> Result<(), FailedPivot> {
        self.multiply_pairs(system, parts);
        self.fill_core();
        self.core.factor(Par::rayon(0))
    }

    /// The factor of $`Z`$.
    pub(crate) fn core(&self) -> &Cholesky {
        &self.core
    }

    /// The feature that pivot `index` of $`Z`$ belongs to.
    pub(crate) fn feature_of(&self, index: usize) -> usize {
        index / decoder_rank(&self.shape)
    }

    /// $`P' K`$, summed over chunks of rows in order.
    fn multiply_pairs(&mut self, system: &StructuredSystem<'_>, parts: CoreOperands<'_>) {
        let (m, r) = (self.shape.features(), decoder_rank(&self.shape));
        let dims = self.shape.arrow().rows().clone();
        let Self {
            phi,
            phi_pairs,
            jacobian_pairs,
            products,
            ..
        } = self;
        let CoreOperands {
            gram,
            root,
            features,
        } = parts;
        products.fill(0.0);
        if m == 0 || r == 0 {
            return;
        }
        let at_once = rows_at_once(m, r);
        for first in (0..dims.rows()).step_by(at_once) {
            let len = at_once.min(dims.rows() - first);
            let phi = &mut phi[..len * m];
            // 64 columns a task: enough to share the factor, little enough to spread.
            phi.par_chunks_mut(64 * m).enumerate().for_each(|(c, out)| {
                let start = first + c * 64;
                whitened_phi(system, gram, start..start + out.len() / m, out);
            });
            let phi = &*phi;
            let rows = phi_pairs[..len * pairs(m)]
                .par_chunks_mut(pairs(m))
                .zip(jacobian_pairs[..len * pairs(r)].par_chunks_mut(pairs(r)));
            par_each_init(
                rows.with_min_len(16).enumerate(),
                Vec::new,
                |x: &mut Vec<f64>, (o, (p, k))| {
                    let (i, phi) = (first + o, &phi[o * m..(o + 1) * m]);
                    for a in 0..m {
                        for b in 0..=a {
                            p[pair(a, b)] = phi[a] * phi[b];
                        }
                    }
                    let d = dims.dim(i);
                    x.resize(d * r, 0.0);
                    let row = system.features().row(i);
                    let start = system.features().psi_offsets[i];
                    let v = &features[start..start + row.psi.len()];
                    row_times_root(row.indices, v, root, d, x);
                    k.fill(0.0);
                    for x in x.chunks_exact(r) {
                        for a in 0..r {
                            for b in 0..=a {
                                k[pair(a, b)] += x[a] * x[b];
                            }
                        }
                    }
                },
            );
            gemm(
                products.as_mut(),
                Accum::Add,
                MatRef::from_row_major_slice(&phi_pairs[..len * pairs(m)], len, pairs(m))
                    .transpose(),
                MatRef::from_row_major_slice(&jacobian_pairs[..len * pairs(r)], len, pairs(r)),
                1.0,
                product_par(pairs(m), len, pairs(r)),
            );
        }
    }

    /// $`Z`$, lower triangle.
    fn fill_core(&mut self) {
        let (m, r) = (self.shape.features(), decoder_rank(&self.shape));
        let order = m * r;
        if order == 0 {
            return;
        }
        let products = self.products.as_ref();
        self.core
            .data_mut()
            .par_chunks_mut(order)
            .enumerate()
            .for_each(|(j, column)| {
                let (mj, sj) = (j / r, j % r);
                for i in j..order {
                    let (mi, si) = (i / r, i % r);
                    let delta = if i == j { 1.0 } else { 0.0 };
                    column[i] = delta - products[(pair(mi, mj), pair(si, sj))];
                }
            });
    }

    /// $`b \leftarrow S^{-1} b`$ for `b` of shape `M x p`, row-major.
    pub(crate) fn solve_border(
        &self,
        system: &StructuredSystem<'_>,
        parts: CoreOperands<'_>,
        b: &mut [f64],
    ) {
        let (m, r) = (self.shape.features(), decoder_rank(&self.shape));
        let (p, order) = (self.shape.outputs(), m * r);
        solve_gram(parts.gram, b, p);
        let z = times_decoder_transpose(b, system.decoder());
        let w = apply_q(system, parts.features, z.as_ref());
        let mut c = pull(parts, w.as_ref());
        // Vectorised (m, s) -> m r + s: the row-major `M x r` matrix.
        let mut flat = vec![0.0; order];
        MatMut::from_row_major_slice_mut(&mut flat, m, r).copy_from(&c);
        let column = MatMut::from_column_major_slice_mut(&mut flat, order, 1);
        self.core.solve(Arch::new(), column);
        c.copy_from(MatRef::from_row_major_slice(&flat, m, r));
        let mut v = apply_q(system, parts.features, push(parts, c).as_ref());
        v += w;
        let mut correction = vec![0.0; m * p];
        add_outer_times_decoder(v.as_ref(), system.decoder(), 1.0, &mut correction);
        solve_gram(parts.gram, &mut correction, p);
        b.iter_mut().zip(&correction).for_each(|(b, c)| *b += c);
    }
}

/// $`F' \mathrm{vec}\,A = \mathrm{vec}(L_G^{-1} A R)`$.
fn pull(parts: CoreOperands<'_>, a: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = times(a, parts.root);
    let l = parts.gram.as_mat();
    trsm::solve_lower(l, out.as_mut());
    out
}

/// $`F \mathrm{vec}\,C = \mathrm{vec}(L_G^{-T} C R')`$.
fn push(parts: CoreOperands<'_>, mut c: Mat<f64>) -> Mat<f64> {
    let l = parts.gram.as_mat();
    trsm::solve_upper(l.transpose(), c.as_mut());
    times(c.as_ref(), parts.root.transpose())
}
