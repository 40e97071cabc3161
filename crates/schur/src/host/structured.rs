//! What the eliminations of a structured system share.
//!
//! ```math
//! D_i = L_i L_i', \quad V_i = L_i^{-1} \Psi_i, \quad G + \rho_\beta = L_G L_G', \quad
//! R R' = W W', \quad \tilde\phi_i = L_G^{-1} \phi_i .
//! ```

use super::row_blocks::RowFactors;
use crate::elimination::rows_first::host::whiten_block;
use crate::host::cholesky::{Cholesky, FailedPivot};
use crate::host::parallel::{gemm, par_each_init, par_ordered, par_rows, product_par};
use crate::host::registers::release_upper_parts;
use crate::{StructuredShape, StructuredSystem};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::qr::no_pivoting::factor as qr;
use faer::{Accum, Mat, MatMut, MatRef, Par, Spec};
use pulp::Arch;
use rayon::prelude::*;

/// The rank that $`W W'`$ can have, $`r = \min(M, p)`$.
pub(crate) fn decoder_rank(shape: &StructuredShape) -> usize {
    shape.features().min(shape.outputs())
}

/// $`R`$, `M x r`, with $`R R' = W W'`$: $`W`$ itself where $`p \le M`$, else the triangle of a QR
/// factorization of $`W'`$ (which, unlike a factor of $`W W'`$, does not square the condition).
pub(crate) struct DecoderRoot {
    root: Mat<f64>,
    copy: Mat<f64>,
    coefficients: Mat<f64>,
    scratch: MemBuffer,
}

impl std::fmt::Debug for DecoderRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecoderRoot")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl DecoderRoot {
    pub(crate) fn bytes(shape: &StructuredShape) -> u64 {
        let (m, p) = (shape.features() as u64, shape.outputs() as u64);
        let copy = if p > m { p.saturating_add(32) } else { 0 };
        m.saturating_mul(m.min(p).saturating_add(copy))
            .saturating_mul(8)
    }

    pub(crate) fn new(shape: &StructuredShape) -> Self {
        let (m, p) = (shape.features(), shape.outputs());
        let wide = p > m;
        let block = qr::recommended_block_size::<f64>(p, m);
        Self {
            root: Mat::zeros(m, decoder_rank(shape)),
            copy: if wide { Mat::zeros(p, m) } else { Mat::new() },
            coefficients: if wide {
                Mat::zeros(block, m)
            } else {
                Mat::new()
            },
            scratch: MemBuffer::new(if wide {
                qr::qr_in_place_scratch::<f64>(p, m, block, Par::Seq, Spec::default())
            } else {
                faer::dyn_stack::StackReq::EMPTY
            }),
        }
    }

    pub(crate) fn form(&mut self, decoder: MatRef<'_, f64>) {
        if self.root.nrows() == 0 {
            return;
        }
        if self.copy.ncols() == 0 {
            self.root.copy_from(decoder);
            return;
        }
        self.copy.copy_from(decoder.transpose());
        qr::qr_in_place(
            self.copy.as_mut(),
            self.coefficients.as_mut(),
            Par::Seq,
            MemStack::new(&mut self.scratch),
            Spec::default(),
        );
        release_upper_parts();
        for a in 0..self.root.nrows() {
            for s in 0..self.root.ncols() {
                self.root[(a, s)] = if s <= a { self.copy[(s, a)] } else { 0.0 };
            }
        }
    }

    pub(crate) fn as_mat(&self) -> MatRef<'_, f64> {
        self.root.as_ref()
    }
}

/// Bytes of $`V`$ where a share `density` of the features is on in every row.
pub(crate) fn whitened_bytes(shape: &StructuredShape, density: f64) -> u64 {
    let entries = shape.arrow().row_unknowns() as f64 * shape.features() as f64 * density;
    (entries.ceil() as u64).saturating_mul(8)
}

/// Writes $`V_i = L_i^{-1} \Psi_i`$ in the layout of `psi`.
pub(crate) fn whiten_features(system: &StructuredSystem<'_>, rows: &RowFactors, v: &mut Vec<f64>) {
    whiten_mixed(system, rows, v, |_, _| ());
}

/// As [`whiten_features`], after `mix` has changed each line of $`\Psi_i`$, beside whose numbers it
/// finds the features that are on.
pub(crate) fn whiten_mixed(
    system: &StructuredSystem<'_>,
    rows: &RowFactors,
    v: &mut Vec<f64>,
    mix: impl Fn(&[usize], &mut [f64]) + Sync,
) {
    let (arch, dims, features) = (Arch::new(), system.shape().rows(), system.features());
    // The number of features that are on may change from one linearisation to the next.
    v.resize(features.psi.len(), 0.0);
    let mut rest = v.as_mut_slice();
    let mut parts = Vec::with_capacity(dims.rows());
    for i in 0..dims.rows() {
        let (part, after) =
            rest.split_at_mut(features.psi_offsets[i + 1] - features.psi_offsets[i]);
        parts.push(part);
        rest = after;
    }
    let parts = parts.into_par_iter().with_min_len(64).enumerate();
    par_each_init(
        parts,
        || (),
        |(), (i, part)| {
            let row = features.row(i);
            part.copy_from_slice(row.psi);
            let lines = part.chunks_exact_mut(row.indices.len().max(1));
            lines.for_each(|line| mix(row.indices, line));
            whiten_block(
                arch,
                rows.factor_of(i),
                dims.dim(i),
                row.indices.len(),
                part,
            );
        },
    );
}

/// Factors $`G + \rho_\beta`$.
pub(crate) fn factor_gram(
    system: &StructuredSystem<'_>,
    rho: f64,
    gram: &mut Cholesky,
) -> Result<(), FailedPivot> {
    system.gram().copy_lower_to(gram.data_mut(), rho);
    gram.factor(Par::rayon(0))
}

/// Writes $`\tilde\phi_i`$ for rows `range`, `M x len` column-major: one row of data a column.
pub(crate) fn whitened_phi(
    system: &StructuredSystem<'_>,
    gram: &Cholesky,
    range: std::ops::Range<usize>,
    out: &mut [f64],
) {
    let features = gram.order();
    out.fill(0.0);
    for (i, column) in range.clone().zip(out.chunks_exact_mut(features.max(1))) {
        let row = system.features().row(i);
        for (&m, &phi) in row.indices.iter().zip(row.phi) {
            column[m] = phi;
        }
    }
    let columns = MatMut::from_column_major_slice_mut(out, features, range.len());
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        gram.as_mat(),
        columns,
        Par::Seq,
    );
    release_upper_parts();
}

/// $`X_i = V_i R`$ (or $`\Psi_i R`$), `d_i x r` row-major, for one row.
pub(crate) fn row_times_root(
    indices: &[usize],
    v: &[f64],
    root: MatRef<'_, f64>,
    d: usize,
    out: &mut [f64],
) {
    let (nnz, r) = (indices.len(), root.ncols());
    out.fill(0.0);
    for a in 0..d {
        for (j, &f) in indices.iter().enumerate() {
            let weight = v[a * nnz + j];
            if weight != 0.0 {
                for s in 0..r {
                    out[a * r + s] += weight * root[(f, s)];
                }
            }
        }
    }
}

/// $`Q z`$ for $`z = \mathrm{vec}\,Z`$: $`\sum_i \phi_i (V_i' V_i Z' \phi_i)'`$, `M x M`.
pub(crate) fn apply_q(system: &StructuredSystem<'_>, v: &[f64], z: MatRef<'_, f64>) -> Mat<f64> {
    let dims = system.shape().rows();
    let (n, features) = (dims.rows(), z.nrows());
    // At most 16 partial sums of M^2, whatever the shape.
    let chunk = n.div_ceil(16).max(64);
    let parts = par_ordered(n, chunk, |range| {
        let mut part = Mat::<f64>::zeros(features, features);
        let (mut push, mut pull) = (Vec::new(), Vec::new());
        for i in range {
            let row = system.features().row(i);
            let nnz = row.indices.len();
            let start = system.features().psi_offsets[i];
            let v = &v[start..start + row.psi.len()];
            push.clear();
            push.extend(row.indices.iter().map(|&f| {
                let column = z.col(f);
                row.indices
                    .iter()
                    .zip(row.phi)
                    .map(|(&m, phi)| phi * column[m])
                    .sum::<f64>()
            }));
            pull.clear();
            pull.resize(nnz, 0.0);
            for a in 0..dims.dim(i) {
                let line = &v[a * nnz..(a + 1) * nnz];
                let h: f64 = line.iter().zip(&push).map(|(v, q)| v * q).sum();
                pull.iter_mut()
                    .zip(line)
                    .for_each(|(pull, v)| *pull += h * v);
            }
            for (&f, &pull) in row.indices.iter().zip(&pull) {
                let column = part.col_as_slice_mut(f);
                for (&m, &phi) in row.indices.iter().zip(row.phi) {
                    column[m] += phi * pull;
                }
            }
        }
        part
    });
    let mut total = Mat::zeros(features, features);
    for part in parts {
        total += part;
    }
    total
}

/// A product of two matrices, with the same bits for any number of threads.
pub(crate) fn times(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    let par = product_par(out.nrows(), a.ncols(), out.ncols());
    gemm(out.as_mut(), Accum::Replace, a, b, 1.0, par);
    out
}

/// $`b_\beta \leftarrow b_\beta - B' t`$ and the like: `border += weight * vec(E W)`.
pub(crate) fn add_outer_times_decoder(
    outer: MatRef<'_, f64>,
    decoder: MatRef<'_, f64>,
    weight: f64,
    border: &mut [f64],
) {
    let (m, p) = (decoder.nrows(), decoder.ncols());
    let border = MatMut::from_row_major_slice_mut(border, m, p);
    gemm(
        border,
        Accum::Add,
        outer,
        decoder,
        weight,
        product_par(m, m, p),
    );
}

/// $`X W'`$ for $`X`$ `M x p` row-major in `border`.
pub(crate) fn times_decoder_transpose(border: &[f64], decoder: MatRef<'_, f64>) -> Mat<f64> {
    let (m, p) = (decoder.nrows(), decoder.ncols());
    let mut out = Mat::zeros(m, m);
    let x = MatRef::from_row_major_slice(border, m, p);
    gemm(
        out.as_mut(),
        Accum::Replace,
        x,
        decoder.transpose(),
        1.0,
        product_par(m, p, m),
    );
    out
}

/// $`X \leftarrow (G + \rho)^{-1} X`$ for $`X`$ `M x p` row-major in `border`.
pub(crate) fn solve_gram(gram: &Cholesky, border: &mut [f64], p: usize) {
    let m = gram.order();
    let x = MatMut::from_row_major_slice_mut(border, m, p);
    gram.solve(Arch::new(), x);
}

/// $`t \leftarrow t - B x`$ for $`x = \mathrm{vec}\,X`$ in `border`.
pub(crate) fn subtract_push(system: &StructuredSystem<'_>, border: &[f64], t: &mut [f64]) {
    let kernel = times_decoder_transpose(border, system.decoder());
    t.iter_mut().for_each(|t| *t = -*t);
    system.add_row_product(kernel.as_ref(), t);
    t.iter_mut().for_each(|t| *t = -*t);
}

/// Visits rows in parallel with their part of `data`, `width` numbers an unknown.
pub(crate) fn for_rows(
    system: &StructuredSystem<'_>,
    width: usize,
    data: &mut [f64],
    visit: impl Fn(usize, &mut [f64]) + Sync,
) {
    par_rows(system.shape().rows(), width, data, 64, visit);
}
