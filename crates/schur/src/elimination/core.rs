//! The core of a structured system.
//!
//! With $`\tilde\phi_i = L_G^{-1} \phi_i`$, $`X_i = L_i^{-1} \Psi_i R`$, $`F = L_G^{-T} \otimes R`$ and
//! $`Q = \sum_i (\phi_i \phi_i') \otimes (V_i' V_i)`$ the eliminated border is
//! $`S = G \otimes I_p - (I \otimes W') Q (I \otimes W)`$, and Woodbury's identity leaves
//!
//! ```math
//! Z = I - F' Q F = I - \sum_i (\tilde\phi_i \tilde\phi_i') \otimes (X_i' X_i),
//! ```
//!
//! of order $`M r`$ with $`r = \min(M, p)`$, whatever $`p`$ is: one circle is a 9 x 9 matrix. $`Q`$ itself
//! is never formed: $`Z`$ is the product of two tall matrices, one row a data row,
//!
//! ```text
//!   P: n x M(M+1)/2, the products of pairs of phi~_i       Z[(m,s),(m',s')] =
//!   K: n x r(r+1)/2, the entries of X_i' X_i                   delta - (P' K)[(m,m'),(s,s')]
//! ```
//!
//! ```math
//! \log|H| = 2 \sum \log \mathrm{diag} L_i + p \log|G| + \log|Z|,
//! ```
//! ```math
//! S^{-1} b:\ y = G^{-1} b,\ z = \mathrm{vec}(y W'),\ w = Q z,\ v = w + Q F Z^{-1} F' w,\
//! S^{-1} b = y + G^{-1}(\mathrm{mat}(v) W) .
//! ```

use super::row_blocks::RowFactors;
use super::structured_parts::{
    DecoderRoot, add_outer_times_decoder, apply_q, decoder_rank, factor_gram, row_times_root,
    solve_gram, subtract_push, times_decoder_transpose, whiten_features, whitened_bytes,
    whitened_phi,
};
use super::{Elimination, EliminationKind, Factored, Pivot, SolveStats, structured_only};
use crate::bump::least_rung;
use crate::cholesky::{Cholesky, FailedPivot};
use crate::{
    ArrowShape, Error, Failure, LogDeterminant, NotPositiveDefinite, PivotSite, RhsMut, Ridge,
    StructuredShape, StructuredSystem, System, SystemShape,
};
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use pulp::Arch;
use rayon::prelude::*;

/// Rows of data whose products are formed at once.
const CHUNK: usize = 512;

/// The core elimination.
#[derive(Debug)]
pub struct Core {
    shape: StructuredShape,
    rows: RowFactors,
    /// $`V_i`$, in the layout of $`\Psi_i`$.
    features: Vec<f64>,
    gram: Cholesky,
    root: DecoderRoot,
    /// `M x CHUNK`, one row of data a column.
    phi: Vec<f64>,
    /// `CHUNK x M(M+1)/2` and `CHUNK x r(r+1)/2`, row-major.
    phi_pairs: Vec<f64>,
    jacobian_pairs: Vec<f64>,
    /// $`P' K`$.
    products: Mat<f64>,
    core: Cholesky,
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

impl Core {
    const KIND: EliminationKind = EliminationKind::Core;

    /// Bytes that it holds once it has factored; the part of $`V`$ follows from the mean share of
    /// features that are on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a dense system, [`Error::ClosureOperand`] for an operator.
    pub fn bytes_needed(shape: &SystemShape) -> Result<u64, Error> {
        let structured = shape.structured(Self::KIND)?;
        let density = match shape {
            SystemShape::Structured { density, .. } => *density,
            SystemShape::Dense(_) | SystemShape::Operator(_) => 0.0,
        };
        Ok(Self::fixed_bytes(structured).saturating_add(whitened_bytes(structured, density)))
    }

    /// Bytes that [`Core::new`] allocates: all but $`V`$.
    fn fixed_bytes(shape: &StructuredShape) -> u64 {
        let (m, r) = (shape.features(), decoder_rank(shape));
        let arrow = shape.arrow();
        let chunk = ArrowShape::array_bytes(CHUNK, m + pairs(m) + pairs(r));
        RowFactors::bytes(arrow.rows())
            .saturating_add(Cholesky::bytes(m))
            .saturating_add(DecoderRoot::bytes(shape))
            .saturating_add(chunk)
            .saturating_add(ArrowShape::array_bytes(pairs(m), pairs(r)))
            .saturating_add(Cholesky::bytes(m.saturating_mul(r)))
    }

    /// Storage for systems of this shape.
    ///
    /// # Errors
    /// [`Error::Memory`] beyond `limit` bytes; otherwise as [`Core::bytes_needed`].
    pub fn new(shape: &SystemShape, limit: u64) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape)?;
        if needed > limit {
            return Err(Error::Memory {
                what: Self::KIND,
                needed,
                limit,
            });
        }
        let shape = shape.structured(Self::KIND)?;
        let (m, r) = (shape.features(), decoder_rank(shape));
        Ok(Self {
            shape: shape.clone(),
            rows: RowFactors::new(shape.arrow().rows()),
            features: Vec::new(),
            gram: Cholesky::new(m),
            root: DecoderRoot::new(shape),
            phi: vec![0.0; CHUNK * m],
            phi_pairs: vec![0.0; CHUNK * pairs(m)],
            jacobian_pairs: vec![0.0; CHUNK * pairs(r)],
            products: Mat::zeros(pairs(m), pairs(r)),
            core: Cholesky::new(m * r),
        })
    }

    /// Factors $`G + \rho_\beta`$ and $`Z`$; a failed pivot says which.
    fn factor_core(
        &mut self,
        system: &StructuredSystem<'_>,
        rho: f64,
    ) -> Result<(), (CorePart, FailedPivot)> {
        factor_gram(system, rho, &mut self.gram).map_err(|failed| (CorePart::Gram, failed))?;
        self.multiply_pairs(system);
        self.fill_core();
        self.core
            .factor(Par::rayon(0))
            .map_err(|failed| (CorePart::Core, failed))
    }

    /// $`P' K`$, summed over chunks of rows in order.
    fn multiply_pairs(&mut self, system: &StructuredSystem<'_>) {
        let (m, r) = (self.shape.features(), decoder_rank(&self.shape));
        let dims = self.shape.arrow().rows().clone();
        let Self {
            phi,
            phi_pairs,
            jacobian_pairs,
            gram,
            root,
            features,
            products,
            ..
        } = self;
        products.fill(0.0);
        if m == 0 || r == 0 {
            return;
        }
        for first in (0..dims.rows()).step_by(CHUNK) {
            let len = CHUNK.min(dims.rows() - first);
            let phi = &mut phi[..len * m];
            // 64 columns a task: enough to share the factor, little enough to spread.
            phi.par_chunks_mut(64 * m).enumerate().for_each(|(c, out)| {
                let start = first + c * 64;
                whitened_phi(system, gram, start..start + out.len() / m, out);
            });
            let (phi, root) = (&*phi, root.as_mat());
            let rows = phi_pairs[..len * pairs(m)]
                .par_chunks_mut(pairs(m))
                .zip(jacobian_pairs[..len * pairs(r)].par_chunks_mut(pairs(r)));
            rows.with_min_len(16)
                .enumerate()
                .for_each_init(Vec::new, |x, (o, (p, k))| {
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
                });
            matmul(
                products.as_mut(),
                Accum::Add,
                MatRef::from_row_major_slice(&phi_pairs[..len * pairs(m)], len, pairs(m))
                    .transpose(),
                MatRef::from_row_major_slice(&jacobian_pairs[..len * pairs(r)], len, pairs(r)),
                1.0,
                Par::rayon(0),
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

    fn failure(
        &mut self,
        system: &StructuredSystem<'_>,
        rho: f64,
        part: CorePart,
        failed: FailedPivot,
    ) -> Failure {
        if !failed.value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let gram = system.gram().matrix();
        let scale = (0..gram.nrows())
            .map(|m| gram[(m, m)].abs())
            .fold(0.0, f64::max);
        let bump = least_rung(scale, |bump| self.factor_core(system, rho + bump).is_ok());
        let (r, p) = (decoder_rank(&self.shape), self.shape.outputs());
        let feature = match part {
            CorePart::Gram => failed.index,
            CorePart::Core => failed.index / r,
        };
        // The core's pivots stand for directions of the border, not for its unknowns: the first
        // unknown of their feature is named.
        let site = PivotSite::Border { pivot: feature * p };
        NotPositiveDefinite {
            site,
            value: failed.value,
            bump,
        }
        .into()
    }

    /// $`b \leftarrow S^{-1} b`$.
    fn solve_border(&self, system: &StructuredSystem<'_>, b: &mut [f64]) {
        let (m, r, p) = (
            self.shape.features(),
            decoder_rank(&self.shape),
            self.shape.outputs(),
        );
        if m == 0 || p == 0 {
            return;
        }
        solve_gram(&self.gram, b, p);
        let z = times_decoder_transpose(b, system);
        let w = apply_q(system, &self.features, z.as_ref());
        let mut c = self.pull(w.as_ref());
        // Vectorised (m, s) -> m r + s: the row-major `M x r` matrix.
        let mut flat = vec![0.0; m * r];
        MatMut::from_row_major_slice_mut(&mut flat, m, r).copy_from(&c);
        let order = m * r;
        let column = MatMut::from_column_major_slice_mut(&mut flat, order, 1);
        self.core.solve(Arch::new(), column, Par::rayon(0));
        c.copy_from(MatRef::from_row_major_slice(&flat, m, r));
        let mut v = apply_q(system, &self.features, self.push(c).as_ref());
        v += w;
        let mut correction = vec![0.0; m * p];
        add_outer_times_decoder(v.as_ref(), system, 1.0, &mut correction);
        solve_gram(&self.gram, &mut correction, p);
        b.iter_mut().zip(&correction).for_each(|(b, c)| *b += c);
    }

    /// $`F' \mathrm{vec}\,A = \mathrm{vec}(L_G^{-1} A R)`$.
    fn pull(&self, a: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = a * self.root.as_mat();
        let l = self.gram.as_mat();
        triangular_solve::solve_lower_triangular_in_place(l, out.as_mut(), Par::Seq);
        out
    }

    /// $`F \mathrm{vec}\,C = \mathrm{vec}(L_G^{-T} C R')`$.
    fn push(&self, mut c: Mat<f64>) -> Mat<f64> {
        let l = self.gram.as_mat();
        triangular_solve::solve_upper_triangular_in_place(l.transpose(), c.as_mut(), Par::Seq);
        &c * self.root.as_mat().transpose()
    }
}

/// Which factor of the core failed.
#[derive(Clone, Copy, Debug)]
enum CorePart {
    Gram,
    Core,
}

impl Elimination for Core {
    fn kind(&self) -> EliminationKind {
        Self::KIND
    }

    fn bytes(&self) -> u64 {
        Self::fixed_bytes(&self.shape) + 8 * self.features.len() as u64
    }

    fn refresh(&mut self, system: &System<'_>) -> Result<(), Error> {
        structured_only(Self::KIND, system).map(|_| ())
    }

    fn factor(&mut self, system: &System<'_>, ridge: Ridge) -> Result<Factored, Failure> {
        let system = structured_only(Self::KIND, system)?;
        let (row_log, row_pivot) = self.rows.factor(system.row_hessian(), ridge.row)?;
        whiten_features(&system, &self.rows, &mut self.features);
        self.root.form(system.decoder());
        if let Err((part, failed)) = self.factor_core(&system, ridge.border) {
            return Err(self.failure(&system, ridge.border, part, failed));
        }
        let (p, r) = (self.shape.outputs(), decoder_rank(&self.shape));
        let mut log_determinant = row_log;
        let mut border_log = LogDeterminant::default();
        self.gram
            .diagonal()
            .for_each(|l| border_log.add_cholesky(l, p as f64));
        self.core
            .diagonal()
            .for_each(|l| border_log.add_cholesky(l, 1.0));
        log_determinant = log_determinant + border_log;
        let gram_pivot = self.gram.min_pivot().map(|(feature, value)| Pivot {
            site: PivotSite::Border { pivot: feature * p },
            value,
        });
        // Relative to the pivot of G that it corrects: a dimensionless one in (0, 1].
        let core_pivot = self.core.min_pivot().map(|(index, value)| {
            let feature = index / r;
            let l = self.gram.as_mat()[(feature, feature)];
            Pivot {
                site: PivotSite::Border { pivot: feature * p },
                value: value * l * l,
            }
        });
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot,
            border_pivot: Pivot::least(gram_pivot, core_pivot),
        })
    }

    fn solve(&mut self, system: &System<'_>, mut rhs: RhsMut<'_>) -> Result<SolveStats, Failure> {
        let system = structured_only(Self::KIND, system)?;
        for j in 0..rhs.count {
            let RhsMut { row, border, .. } = rhs.column(j);
            let mut t = row.to_vec();
            self.rows.solve_lower(&mut t);
            self.rows.solve_upper(&mut t);
            let outer = system.feature_outer(&t, false);
            add_outer_times_decoder(outer.as_ref(), &system, -1.0, border);
            self.solve_border(&system, border);
            subtract_push(&system, border, row);
            self.rows.solve_lower(row);
            self.rows.solve_upper(row);
        }
        Ok(SolveStats::default())
    }
}
