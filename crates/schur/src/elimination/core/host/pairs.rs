//! The core of a structured system with sparse features.
//!
//! $`Q = \sum_i (\phi_i \phi_i') \otimes (V_i' V_i)`$ lives on the pairs $`(m, a)`$ of a feature of
//! $`\phi`$ and a feature of $`\Psi`$ that are on in the same row: of 64 circles of which one is on
//! in each row there are some 400, where $`M^2`$ is 16,641. With $`Q`$ restricted to them and
//! $`Q = P P'`$ (a pivoted Cholesky factor: $`Q`$ may be singular),
//!
//! ```math
//! S^{-1} = C^{-1} + C^{-1} U P\, Z^{-1} P' U' C^{-1}, \quad
//! Z = I - P' K P, \quad K_{(m,a),(m',a')} = (G^{-1})_{m m'} (W W')_{a a'},
//! ```
//!
//! and $`\log|S| = p \log|G| + \log|Z|`$. The order of $`Z`$ is the rank of $`Q`$.
//!
//! Neither factor is taken as it stands. Where lines of $`W`$ are nearly dependent $`V_i`$ is large and
//! $`V_i W`$ what remains where it cancels, so $`V`$ and $`W`$ here are $`\tilde V`$ and $`\tilde W`$ of
//! [`super::local_decoder`]. And where few rows have a feature on, $`G`$ is singular but for its ridge,
//! $`K`$ as large as the ridge is small, and $`P' K P \le I`$ what remains: an error of
//! $`\epsilon \|K\|`$ in $`Z`$, whose least eigenvalue may be the reciprocal of the condition number
//! too. So the pairs of each feature $`a`$ of $`\Psi`$ are turned to the directions $`N_a`$ in which
//! $`Q_{aa} = \sum_i v_{ia}^2 \phi_i \phi_i'`$ is diagonal (equilibrated),
//!
//! ```math
//! P = N \bar P, \quad Y = L_G^{-1} N, \quad
//! Z = I - \bar P' \bar K \bar P, \quad \bar K_{ij} = (Y'Y)_{ij} (W W')_{a_i a_j} .
//! ```
//!
//! With $`c_a = \max_i |v_{ia}|`$ there is $`Q_{aa} \le c_a^2 \sum \phi_i \phi_i' \le c_a^2 G`$, so a direction
//! in which $`Y`$ is large has a line of $`\bar P`$ that is as small: no term of the product exceeds
//! $`\omega = \max_a c_a^2 (W W')_{aa}`$. Directions of $`G`$ that no row has do not occur in $`\bar P`$.

use super::local_decoder::LocalDecoder;
use super::pair_basis::PairBasis;
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::{par_ordered, product_par};
use crate::host::row_blocks::RowFactors;
use crate::host::structured::{
    add_outer_times_decoder, solve_gram, times, times_decoder_transpose, whiten_mixed,
};
use crate::host::trsm;
use crate::{ArrowShape, StructuredShape, StructuredSystem};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt_pivoting::factor as pivoted;
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatMut, MatRef, Par, Spec};
use pulp::Arch;

/// A pair that no row has on.
const OFF: u32 = u32::MAX;

/// The pairs of features that are on together, and the core over them.
#[derive(Debug)]
pub(crate) struct PairCore {
    features: usize,
    /// The place of `(m, a)`, at `a M + m`, among the pairs, or [`OFF`].
    place: Vec<u32>,
    marks: Vec<u32>,
    pairs: Vec<(usize, usize)>,
    /// $`\tilde W`$.
    decoder: LocalDecoder,
    /// $`N`$, its diagonal blocks.
    basis: PairBasis,
    /// $`\bar P`$, directions by rank.
    root: Mat<f64>,
    core: Cholesky,
}

/// The number of pairs that are on together in some row; all $`M^2`$ where features are dense.
pub(crate) fn count_pairs(system: &StructuredSystem<'_>, density: f64) -> usize {
    let features = system.structured_shape().features();
    if density >= 0.5 {
        return features * features;
    }
    let mut marks = vec![OFF; features * features];
    mark(system, &mut marks)
}

/// Numbers the pairs that are on, in the order of `a M + m`.
fn mark(system: &StructuredSystem<'_>, marks: &mut [u32]) -> usize {
    let features = system.structured_shape().features();
    marks.fill(OFF);
    let dims = system.shape().rows();
    for i in 0..dims.rows() {
        let row = system.features().row(i);
        let nnz = row.indices.len();
        for (j, &a) in row.indices.iter().enumerate() {
            // The intercept, and every feature that does not move with the row's unknowns, is no
            // feature of Psi.
            if (0..dims.dim(i)).all(|d| row.psi[d * nnz + j] == 0.0) {
                continue;
            }
            for &m in row.indices {
                marks[a * features + m] = 0;
            }
        }
    }
    let mut count = 0;
    for mark in marks.iter_mut().filter(|mark| **mark != OFF) {
        *mark = count;
        count += 1;
    }
    count as usize
}

impl PairCore {
    /// Bytes for `pairs` pairs, were $`Q`$ of full rank.
    pub(crate) fn bytes(shape: &StructuredShape, pairs: usize) -> u64 {
        let features = shape.features();
        LocalDecoder::bytes(shape)
            .saturating_add(Cholesky::bytes(pairs))
            .saturating_add(ArrowShape::array_bytes(pairs, pairs).saturating_mul(4))
            .saturating_add(ArrowShape::array_bytes(features, pairs).saturating_mul(2))
            .saturating_add(ArrowShape::array_bytes(features, features))
    }

    pub(crate) fn new(shape: &StructuredShape) -> Self {
        let features = shape.features();
        Self {
            features,
            decoder: LocalDecoder::new(shape),
            place: vec![OFF; features * features],
            marks: vec![OFF; features * features],
            pairs: Vec::new(),
            basis: PairBasis::default(),
            root: Mat::new(),
            core: Cholesky::new(0),
        }
    }

    pub(crate) fn held_bytes(&self, shape: &StructuredShape) -> u64 {
        LocalDecoder::bytes(shape)
            + Cholesky::bytes(self.core.order())
            + ArrowShape::array_bytes(self.root.nrows(), self.root.ncols())
            + 8 * self.basis.blocks_len() as u64
            + 8 * (self.place.len() + 2 * self.pairs.len()) as u64
    }

    /// Takes note of which pairs are on; allocates only where that has changed.
    pub(crate) fn refresh(&mut self, system: &StructuredSystem<'_>) {
        let count = mark(system, &mut self.marks);
        if self.marks != self.place || count != self.pairs.len() {
            self.renumber();
        }
        let Self {
            features, place, ..
        } = self;
        let with = |a: usize| &place[a * *features..(a + 1) * *features];
        let moves = |a: usize| with(a).iter().any(|place| *place != OFF);
        self.decoder.refresh(system, |a| {
            let mut both = with(a).iter().zip(with(a - 1));
            moves(a) && both.all(|(x, y)| (*x == OFF) == (*y == OFF))
        });
    }

    /// Takes the pairs from the marks.
    fn renumber(&mut self) {
        std::mem::swap(&mut self.marks, &mut self.place);
        self.pairs.clear();
        self.pairs.extend(
            (0..self.place.len())
                .filter(|&at| self.place[at] != OFF)
                .map(|at| (at % self.features, at / self.features)),
        );
        self.basis.set_runs(&self.pairs);
    }

    /// $`\tilde W`$ and $`\tilde V`$, the latter in the layout of $`\Psi`$.
    pub(crate) fn whiten(
        &mut self,
        system: &StructuredSystem<'_>,
        rows: &RowFactors,
        v: &mut Vec<f64>,
    ) {
        self.decoder.form(system.decoder());
        let decoder = &self.decoder;
        whiten_mixed(system, rows, v, |on, line| decoder.mix_line(on, line));
    }

    /// $`N`$ and $`\bar P`$ of $`Q = P P'`$, from $`\tilde V`$.
    pub(crate) fn form_root(&mut self, system: &StructuredSystem<'_>, v: &[f64]) {
        let mut q = self.form_q(system, v);
        let order = self.pairs.len();
        // Equilibrated, so that no pair is lost for its units; a pair without entries has scale 0.
        let scale: Vec<f64> = (0..order).map(|j| q[(j, j)].sqrt()).collect();
        for j in 0..order {
            for i in j..order {
                let size = scale[i] * scale[j];
                q[(i, j)] = if size == 0.0 { 0.0 } else { q[(i, j)] / size };
            }
        }
        self.basis.diagonalize(q.as_ref());
        let (rank, order_of) = factor_pivoted(q.as_mut());
        if self.root.nrows() != order || self.root.ncols() != rank {
            self.root = Mat::zeros(order, rank);
        }
        if self.core.order() != rank {
            self.core = Cholesky::new(rank);
        }
        for (i, &to) in order_of.iter().enumerate() {
            for j in 0..rank {
                self.root[(to, j)] = if j <= i { q[(i, j)] } else { 0.0 };
            }
        }
        self.basis.transpose_times(&mut self.root);
        self.basis.scale_lines(&scale);
    }

    /// $`Q`$ over the pairs, lower triangle.
    fn form_q(&self, system: &StructuredSystem<'_>, v: &[f64]) -> Mat<f64> {
        let (dims, order) = (system.shape().rows(), self.pairs.len());
        // At most 8 partial sums, whatever the shape.
        let chunk = dims.rows().div_ceil(8).max(256);
        let parts = par_ordered(dims.rows(), chunk, |range| {
            let mut part = Mat::<f64>::zeros(order, order);
            let mut local = Vec::new();
            for i in range {
                let row = system.features().row(i);
                let (nnz, d) = (row.indices.len(), dims.dim(i));
                let start = system.features().psi_offsets[i];
                let v = &v[start..start + row.psi.len()];
                local.clear();
                for (y, &a) in row.indices.iter().enumerate() {
                    if (0..d).all(|s| v[s * nnz + y] == 0.0) {
                        continue;
                    }
                    for (x, &m) in row.indices.iter().enumerate() {
                        let place = self.place[a * self.features + m];
                        if place != OFF {
                            local.push((place as usize, row.phi[x], y));
                        }
                    }
                }
                // Places ascend with (a, m), so the first of two is the column.
                for (j, &(column, phi_j, y_j)) in local.iter().enumerate() {
                    let out = part.col_as_slice_mut(column);
                    for &(place, phi_i, y_i) in &local[j..] {
                        let dot: f64 = (0..d).map(|s| v[s * nnz + y_i] * v[s * nnz + y_j]).sum();
                        out[place] += phi_i * phi_j * dot;
                    }
                }
            }
            part
        });
        let mut total = Mat::zeros(order, order);
        for part in parts {
            total += part;
        }
        total
    }

    /// Forms and factors $`Z`$ from the factor of $`G + \rho_\beta`$.
    pub(crate) fn factor(&mut self, gram: &Cholesky) -> Result<(), FailedPivot> {
        let (order, rank) = (self.pairs.len(), self.root.ncols());
        let par = Par::rayon(0);
        let kernel = self.kernel(gram);
        let mut product = Mat::zeros(order, rank);
        matmul(
            product.as_mut(),
            Accum::Replace,
            &kernel,
            &self.root,
            1.0,
            // Of rank 1 this is a vector.
            product_par(order, order, rank),
        );
        let mut z = self.core.as_mat_mut();
        triangular::matmul(
            z.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            self.root.transpose(),
            BlockStructure::Rectangular,
            &product,
            BlockStructure::Rectangular,
            -1.0,
            par,
        );
        for j in 0..rank {
            z[(j, j)] += 1.0;
        }
        self.core.factor(par)
    }

    /// $`\bar K`$, both triangles.
    fn kernel(&self, gram: &Cholesky) -> Mat<f64> {
        let (order, par) = (self.pairs.len(), Par::rayon(0));
        let mut whitened = Mat::zeros(self.features, order);
        self.basis.write(&self.pairs, whitened.as_mut());
        trsm::solve_lower(gram.as_mat(), whitened.as_mut());
        let mut kernel = Mat::zeros(order, order);
        triangular::matmul(
            kernel.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Replace,
            whitened.transpose(),
            BlockStructure::Rectangular,
            &whitened,
            BlockStructure::Rectangular,
            1.0,
            par,
        );
        let lines = self.decoder.lines();
        let outer = times(lines, lines.transpose());
        for j in 0..order {
            let outer = outer.col(self.pairs[j].1);
            for i in j..order {
                let entry = kernel[(i, j)] * outer[self.pairs[i].1];
                (kernel[(i, j)], kernel[(j, i)]) = (entry, entry);
            }
        }
        kernel
    }

    /// The factor of $`Z`$.
    pub(crate) fn core(&self) -> &Cholesky {
        &self.core
    }

    /// The feature of the border that pivot `index` of $`Z`$ weighs most on.
    pub(crate) fn feature_of(&self, index: usize) -> usize {
        let mut heaviest = (0, -1.0);
        let column = self.basis.times(self.root.col(index).as_mat());
        for (pair, &(m, _)) in self.pairs.iter().enumerate() {
            let weight = column[(pair, 0)].abs();
            if weight > heaviest.1 {
                heaviest = (m, weight);
            }
        }
        heaviest.0
    }

    /// $`b \leftarrow S^{-1} b`$ for `b` of shape `M x p`, row-major.
    pub(crate) fn solve_border(&self, gram: &Cholesky, b: &mut [f64]) {
        let (features, p) = (self.features, self.decoder.lines().ncols());
        solve_gram(gram, b, p);
        let y = times_decoder_transpose(b, self.decoder.lines());
        let mut restricted = Mat::from_fn(self.pairs.len(), 1, |i, _| {
            let (m, a) = self.pairs[i];
            y[(m, a)]
        });
        self.basis.transpose_times(&mut restricted);
        let mut c = times(self.root.transpose(), restricted.as_ref());
        let rank = c.nrows();
        let mut column: Vec<f64> = (0..rank).map(|i| c[(i, 0)]).collect();
        let solution = MatMut::from_column_major_slice_mut(&mut column, rank, 1);
        self.core.solve(Arch::new(), solution);
        c.copy_from(MatRef::from_column_major_slice(&column, rank, 1));
        let v = times(self.root.as_ref(), c.as_ref());
        let v = self.basis.times(v.as_ref());
        let mut outer = Mat::zeros(features, features);
        for (i, &(m, a)) in self.pairs.iter().enumerate() {
            outer[(m, a)] = v[(i, 0)];
        }
        let mut correction = vec![0.0; features * p];
        add_outer_times_decoder(outer.as_ref(), self.decoder.lines(), 1.0, &mut correction);
        solve_gram(gram, &mut correction, p);
        b.iter_mut().zip(&correction).for_each(|(b, c)| *b += c);
    }
}

/// Factors a positive semidefinite matrix with unit diagonal (or zero, where a pair is empty) in
/// place; its numerical rank, and which row of the matrix each row of the factor belongs to.
fn factor_pivoted(q: MatMut<'_, f64>) -> (usize, Vec<usize>) {
    let order = q.nrows();
    if (0..order).all(|j| q[(j, j)] == 0.0) {
        return (0, (0..order).collect());
    }
    let (mut perm, mut inverse) = (vec![0_usize; order], vec![0_usize; order]);
    let scratch =
        pivoted::cholesky_in_place_scratch::<usize, f64>(order, Par::Seq, Spec::default());
    let mut memory = MemBuffer::new(scratch);
    let info = pivoted::cholesky_in_place(
        q,
        &mut perm,
        &mut inverse,
        Par::rayon(0),
        MemStack::new(&mut memory),
        Spec::default(),
    )
    .map(|(info, _)| info.rank);
    // A Gram matrix has no negative diagonal; NaN means that it overflowed, and a rank of the
    // whole order lets the factor of Z find that.
    (info.unwrap_or(order), perm)
}
