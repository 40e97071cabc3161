//! The slabs of one linearisation: `Phi`, `Psi`, `G`, `D` and the gradients.
//!
//! ```text
//! phi_i   = (1, gate_ia phi_a(t_ia) ...)          Psi_i = d phi_i / d t_i   (block diagonal by atom)
//! G       = Phi' Phi + lambda P                    P = identity but 0 at the intercept
//! r_i     = x_i - W' phi_i                         from the residual rows, never by cancellation
//! D_i     = Psi_i (W W') Psi_i' + kappa I_E        I_E marks flat coordinates
//! g_t,i   = -Psi_i (W r_i) + kappa t_i             g_b = -Phi' R + lambda P W
//! ```
//!
//! All functions write into storage that is allocated once for a [`Layout`]; an update allocates only what
//! its parallel tasks need. Sums over rows are taken over fixed chunks in order.

use crate::data::store::{TileMemory, product_rows};
use crate::data::{Data, ROW_CHUNK, axpy, carve, dot, dots, sum_into};
use crate::error::CurvedError;
use crate::iterate::coordinates::Coordinates;
use crate::iterate::layout::Layout;
use crate::model::dictionary::Dictionary;
use broadhead_schur::release_upper_parts;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Writes `phi` and `psi` at `coordinates`. The off-diagonal blocks of `psi` are not touched: they
/// are initialised to zero.
pub(crate) fn fill(
    dictionary: &Dictionary,
    layout: &Layout,
    coordinates: &Coordinates,
    phi: &mut [f64],
    psi: &mut [f64],
) {
    let phi = carve(phi, layout.feature_bounds(ROW_CHUNK));
    let psi = carve(psi, layout.psi_bounds(ROW_CHUNK));
    phi.into_par_iter()
        .zip(psi)
        .enumerate()
        .for_each(|(chunk, (mut phi, mut psi))| {
            release_upper_parts();
            let first = chunk * ROW_CHUNK;
            for i in first..(first + ROW_CHUNK).min(layout.rows()) {
                let width = layout.row_indices(i).len();
                let (row_phi, rest) = phi.split_at_mut(width);
                phi = rest;
                let (row_psi, rest) = psi.split_at_mut(layout.row_dims().dim(i) * width);
                psi = rest;
                fill_row(dictionary, layout, i, coordinates, row_phi, row_psi);
            }
        });
}

fn fill_row(
    dictionary: &Dictionary,
    layout: &Layout,
    i: usize,
    coordinates: &Coordinates,
    phi: &mut [f64],
    psi: &mut [f64],
) {
    let stride = phi.len();
    phi[0] = 1.0;
    for on in layout.active(i) {
        let atom = dictionary.atoms()[on.atom];
        let values = &mut phi[on.feature..][..atom.width()];
        let slopes = &mut psi[on.unknown * stride + on.feature..];
        let t = coordinates.place(i, dictionary.atom_place(on.atom));
        atom.values_and_slopes(t, values, slopes, stride);
        if on.gate != 1.0 {
            values.iter_mut().for_each(|v| *v *= on.gate);
            for a in 0..atom.local_dim() {
                slopes[a * stride..][..atom.width()]
                    .iter_mut()
                    .for_each(|v| *v *= on.gate);
            }
        }
    }
}

/// Writes the lower triangle of `Phi' Phi` into `gram`.
pub(crate) fn gram(layout: &Layout, phi: &[f64], gram: &mut Mat<f64>) {
    let (n, m) = (layout.rows(), layout.features());
    if layout.full {
        let phi = MatRef::from_row_major_slice(phi, n, m);
        matmul(
            gram.as_mut(),
            Accum::Replace,
            phi.transpose(),
            phi,
            1.0,
            Par::Seq,
        );
        release_upper_parts();
        return;
    }
    // At most eight partial sums for any n.
    let chunk = n.div_ceil(8).max(512);
    let parts: Vec<Mat<f64>> = (0..n.div_ceil(chunk))
        .into_par_iter()
        .map(|c| {
            let mut part = Mat::zeros(m, m);
            for i in c * chunk..((c + 1) * chunk).min(n) {
                let indices = layout.row_indices(i);
                let values = &phi[layout.offsets[i]..layout.offsets[i + 1]];
                for (b, &column) in indices.iter().enumerate() {
                    let into = part.col_as_slice_mut(column);
                    for (a, &row) in indices.iter().enumerate().skip(b) {
                        into[row] += values[a] * values[b];
                    }
                }
            }
            part
        })
        .collect();
    gram.fill(0.0);
    for part in parts {
        *gram += part;
    }
}

/// Adds `lambda P` to the diagonal of `gram`.
pub(crate) fn add_penalty(lambda: f64, gram: &mut Mat<f64>) {
    for m in 1..gram.nrows() {
        gram[(m, m)] += lambda;
    }
}

/// Overwrites the lower triangle of `G` by its Cholesky factor. A function that is on in no row has no line of
/// the decoder where nothing is penalised: 1 stands for its diagonal.
///
/// # Errors
/// [`CurvedError::Decoder`] with the first pivot that is not positive.
pub(crate) fn factor_gram(gram: &mut Mat<f64>) -> Result<(), CurvedError> {
    let m = gram.nrows();
    for j in 0..m {
        if gram[(j, j)] == 0.0 {
            gram[(j, j)] = 1.0;
        }
    }
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(m, Par::Seq, Default::default());
    let factored = llt::factor::cholesky_in_place(
        gram.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    release_upper_parts();
    match factored {
        Ok(_) => Ok(()),
        Err(llt::factor::LltError::NonPositivePivot { index }) => {
            Err(CurvedError::Decoder { pivot: index })
        }
    }
}

/// Writes `Phi' X` into `out`, `M x p` row-major: sums over at most eight chunks of rows, added in order.
pub(crate) fn project_data(layout: &Layout, phi: &[f64], data: &Data, out: &mut [f64]) {
    let (n, p) = (layout.rows(), layout.outputs());
    let chunk = n.div_ceil(8).max(1024);
    let chunks = n.div_ceil(chunk);
    let tile = match (data.wide(), layout.full) {
        (Some(_), _) | (None, true) => TILE,
        // Every task reads whole rows: there are as many as workers need.
        (None, false) => p.div_ceil(rayon::current_num_threads().div_ceil(chunks)),
    };
    let tiles = p.div_ceil(tile);
    let rows = |c: usize| c * chunk..((c + 1) * chunk).min(n);
    let columns = |t: usize| t * tile..((t + 1) * tile).min(p);
    let parts: Vec<Vec<f64>> = match (layout.full, data.wide()) {
        (true, None) => (0..chunks)
            .into_par_iter()
            .flat_map(|c| project_blocks(layout, phi, data, rows(c)))
            .collect(),
        (full, wide) => (0..chunks * tiles)
            .into_par_iter()
            .map(|task| {
                release_upper_parts();
                let (rows, columns) = (rows(task / tiles), columns(task % tiles));
                match wide {
                    Some(x) if full => {
                        let x = MatRef::from_row_major_slice(x, n, p);
                        let x = x.subrows(rows.start, rows.len());
                        let mut part = vec![0.0; layout.features() * columns.len()];
                        project_dense(layout, phi, x, (rows, columns), Accum::Replace, &mut part);
                        part
                    }
                    _ => project_sparse(layout, phi, data, rows, columns),
                }
            })
            .collect(),
    };
    out.fill(0.0);
    for (task, part) in parts.iter().enumerate() {
        let columns = columns(task % tiles);
        for (f, values) in part.chunks_exact(columns.len()).enumerate() {
            axpy(1.0, values, &mut out[f * p..][columns.clone()]);
        }
    }
}

/// Columns of `X` in one product.
const TILE: usize = 128;

/// `Phi' X` of some rows, by tiles of columns, where `phi` is dense and rows are read. Many rows are multiplied block
/// by block.
fn project_blocks(
    layout: &Layout,
    phi: &[f64],
    data: &Data,
    rows: std::ops::Range<usize>,
) -> Vec<Vec<f64>> {
    let (m, p) = (layout.features(), layout.outputs());
    let mut parts: Vec<Vec<f64>> = (0..p.div_ceil(TILE))
        .map(|t| vec![0.0; m * TILE.min(p - t * TILE)])
        .collect();
    let block = product_rows(layout.rows(), p).min(rows.len());
    let mut x = vec![0.0; block * p];
    for first in rows.clone().step_by(block) {
        let count = block.min(rows.end - first);
        let x = &mut x[..count * p];
        data.fill(first, x);
        let x = MatRef::from_row_major_slice(x, count, p);
        let accum = match first == rows.start {
            true => Accum::Replace,
            false => Accum::Add,
        };
        parts.par_iter_mut().enumerate().for_each(|(t, part)| {
            release_upper_parts();
            let columns = t * TILE..((t + 1) * TILE).min(p);
            project_dense(layout, phi, x, (first..first + count, columns), accum, part);
        });
    }
    parts
}

/// Columns of `Phi' x`, where `x` has the given rows.
fn project_dense(
    layout: &Layout,
    phi: &[f64],
    x: MatRef<'_, f64>,
    (rows, columns): (std::ops::Range<usize>, std::ops::Range<usize>),
    accum: Accum,
    part: &mut [f64],
) {
    let (n, m) = (layout.rows(), layout.features());
    let phi = MatRef::from_row_major_slice(phi, n, m);
    matmul(
        MatMut::from_row_major_slice_mut(part, m, columns.len()),
        accum,
        phi.subrows(rows.start, rows.len()).transpose(),
        x.subcols(columns.start, columns.len()),
        1.0,
        Par::Seq,
    );
}

/// Columns of `Phi' X` over some rows, where `phi` is sparse.
fn project_sparse(
    layout: &Layout,
    phi: &[f64],
    data: &Data,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Vec<f64> {
    let width = columns.len();
    let mut part = vec![0.0; layout.features() * width];
    let mut tile = TileMemory::default();
    for i in rows {
        let x = &data.row(i, &mut tile)[columns.clone()];
        for (&f, &v) in layout.row_indices(i).iter().zip(&phi[layout.offsets[i]..]) {
            axpy(v, x, &mut part[f * width..][..width]);
        }
    }
    part
}

/// Where [`residuals`] writes.
pub(crate) struct ResidualsMut<'a> {
    /// `|r_i|^2`, one a row.
    pub(crate) squares: &'a mut [f64],
    /// `g_t,i = -Psi_i (W r_i) + kappa t_i`.
    pub(crate) row_gradient: &'a mut [f64],
    /// `-Phi' R`, `M x p` row-major, if requested.
    pub(crate) border: Option<&'a mut [f64]>,
}

/// Where [`residuals`] are taken.
pub(crate) struct ResidualsAt<'a> {
    pub(crate) dictionary: &'a Dictionary,
    pub(crate) layout: &'a Layout,
    pub(crate) data: &'a Data,
    pub(crate) coordinates: &'a Coordinates,
    pub(crate) phi: &'a [f64],
    pub(crate) psi: &'a [f64],
    pub(crate) decoder: &'a [f64],
    pub(crate) kappa: f64,
}

/// One pass over the residual rows `r_i = x_i - W' phi_i`.
pub(crate) fn residuals(at: &ResidualsAt<'_>, out: ResidualsMut<'_>) {
    let (n, k) = (at.layout.rows(), at.decoder.len());
    // With a border gradient every chunk has its own partial sum, so there are few chunks.
    let chunk = match out.border {
        Some(_) => n.div_ceil(8).max(64),
        None => n.div_ceil(64).max(32),
    };
    let bounds = || crate::data::chunk_bounds(n, chunk);
    let squares = carve(out.squares, bounds());
    let gradient = carve(out.row_gradient, at.layout.unknown_bounds(chunk));
    let wanted = out.border.is_some();
    let parts: Vec<Vec<f64>> = squares
        .into_par_iter()
        .zip(gradient)
        .enumerate()
        .map(|(c, (squares, gradient))| {
            release_upper_parts();
            let mut border = vec![0.0; if wanted { k } else { 0 }];
            let first = c * chunk;
            let rows = first..(first + chunk).min(n);
            if at.layout.full {
                at.full(rows, squares, gradient, &mut border);
            } else {
                at.sparse(rows, squares, gradient, &mut border);
            }
            border
        })
        .collect();
    if let Some(border) = out.border {
        border.fill(0.0);
        for part in parts {
            axpy(-1.0, &part, border);
        }
    }
}

impl ResidualsAt<'_> {
    fn sparse(
        &self,
        rows: std::ops::Range<usize>,
        squares: &mut [f64],
        mut gradient: &mut [f64],
        border: &mut [f64],
    ) {
        let p = self.layout.outputs();
        let (mut r, mut tile) = (vec![0.0; p], TileMemory::default());
        let mut found = Vec::new();
        for (square, i) in squares.iter_mut().zip(rows) {
            let indices = self.layout.row_indices(i);
            let phi = &self.phi[self.layout.offsets[i]..];
            // Every row has the intercept, its first feature.
            let x = self.data.row(i, &mut tile);
            sum_into(x, -phi[0], &self.decoder[..p], &mut r);
            for (&f, &v) in indices.iter().zip(phi).skip(1) {
                axpy(-v, &self.decoder[f * p..][..p], &mut r);
            }
            found.resize(indices.len() + 1, 0.0);
            let line = |j: usize| match indices.get(j) {
                Some(f) => &self.decoder[f * p..][..p],
                None => &r[..],
            };
            dots(line, &r, &mut found);
            gradient = self.row_gradient(i, &found[..indices.len()], gradient);
            *square = found[indices.len()];
            if !border.is_empty() {
                for (&f, &v) in indices.iter().zip(phi) {
                    axpy(v, &r, &mut border[f * p..][..p]);
                }
            }
        }
    }

    /// The same where `phi` is a dense `n x M` matrix: matrix products over a few rows at a time, so that the
    /// residuals stay in cache.
    fn full(
        &self,
        rows: std::ops::Range<usize>,
        squares: &mut [f64],
        mut gradient: &mut [f64],
        border: &mut [f64],
    ) {
        let (m, p) = (self.layout.features(), self.layout.outputs());
        let few = ((1 << 16) / p).clamp(8, 128);
        let decoder = MatRef::from_row_major_slice(self.decoder, m, p);
        let mut scratch = vec![0.0; few.min(rows.len()) * p];
        let mut pulls = vec![0.0; few.min(rows.len()) * m];
        let mut tile = TileMemory::default();
        for (c, squares) in squares.chunks_mut(few).enumerate() {
            let (first, count) = (rows.start + c * few, squares.len());
            let phi = MatRef::from_row_major_slice(&self.phi[first * m..][..count * m], count, m);
            let r = &mut scratch[..count * p];
            r.copy_from_slice(self.data.tile(first, count, &mut tile));
            let into = MatMut::from_row_major_slice_mut(r, count, p);
            matmul(into, Accum::Add, phi, decoder, -1.0, Par::Seq);
            for (square, r) in squares.iter_mut().zip(r.chunks_exact(p)) {
                *square = dot(r, r);
            }
            let r = MatRef::from_row_major_slice(r, count, p);
            let pulls = &mut pulls[..count * m];
            let into = MatMut::from_row_major_slice_mut(pulls, count, m);
            matmul(into, Accum::Replace, r, decoder.transpose(), 1.0, Par::Seq);
            if !border.is_empty() {
                let into = MatMut::from_row_major_slice_mut(border, m, p);
                matmul(into, Accum::Add, phi.transpose(), r, 1.0, Par::Seq);
            }
            release_upper_parts();
            for (i, pull) in pulls.chunks_exact(m).enumerate() {
                gradient = self.row_gradient(first + i, pull, gradient);
            }
        }
    }

    /// Writes the gradient of row `i`, where `pull` is `W r_i` at its features, to the front of `out`; returns the
    /// rest of it.
    fn row_gradient<'o>(&self, i: usize, pull: &[f64], out: &'o mut [f64]) -> &'o mut [f64] {
        let layout = self.layout;
        let (gradient, rest) = out.split_at_mut(layout.row_dims().dim(i));
        let psi = &self.psi[layout.psi_offsets[i]..layout.psi_offsets[i + 1]];
        for on in layout.active(i) {
            let atom = self.dictionary.atoms()[on.atom];
            for u in on.unknown..on.unknown + atom.local_dim() {
                let features = on.feature..on.feature + atom.width();
                let slope = &psi[u * pull.len()..][features.clone()];
                gradient[u] = -dot(slope, &pull[features]);
            }
            let place = self.dictionary.atom_place(on.atom);
            let t = self.coordinates.place(i, place);
            for part in atom.topology().flat() {
                let into = &mut gradient[on.unknown..][part.local];
                for (g, t) in into.iter_mut().zip(&t[part.stored]) {
                    *g += self.kappa * t;
                }
            }
        }
        rest
    }
}

/// `W W'`, of order `M`.
pub(crate) fn decoder_gram(decoder: &[f64], features: usize, outputs: usize) -> Mat<f64> {
    let w = MatRef::from_row_major_slice(decoder, features, outputs);
    let mut gram = Mat::zeros(features, features);
    matmul(
        gram.as_mut(),
        Accum::Replace,
        w,
        w.transpose(),
        1.0,
        Par::Seq,
    );
    release_upper_parts();
    gram
}

/// Writes the packed row blocks `D_i` given `W W'`.
pub(crate) fn row_hessian(
    dictionary: &Dictionary,
    layout: &Layout,
    psi: &[f64],
    decoder_gram: &Mat<f64>,
    kappa: f64,
    out: &mut [f64],
) {
    let parts = carve(out, layout.block_bounds(ROW_CHUNK));
    parts
        .into_par_iter()
        .enumerate()
        .for_each(|(chunk, mut part)| {
            release_upper_parts();
            let first = chunk * ROW_CHUNK;
            let mut scratch = Vec::new();
            for i in first..(first + ROW_CHUNK).min(layout.rows()) {
                let d = layout.row_dims().dim(i);
                let (block, rest) = std::mem::take(&mut part).split_at_mut(d * d);
                part = rest;
                let psi = &psi[layout.psi_offsets[i]..layout.psi_offsets[i + 1]];
                block_of(
                    layout,
                    dictionary,
                    i,
                    psi,
                    decoder_gram,
                    &mut scratch,
                    block,
                );
                for on in layout.active(i) {
                    for part in dictionary.atoms()[on.atom].topology().flat() {
                        for u in part.local.map(|a| on.unknown + a) {
                            block[u * d + u] += kappa;
                        }
                    }
                }
            }
        });
}

/// `Psi_i K Psi_i'`, atom block by atom block, both triangles.
fn block_of(
    layout: &Layout,
    dictionary: &Dictionary,
    i: usize,
    psi: &[f64],
    k: &Mat<f64>,
    scratch: &mut Vec<f64>,
    block: &mut [f64],
) {
    let stride = layout.row_indices(i).len();
    let d = layout.row_dims().dim(i);
    let extent = |on: crate::iterate::layout::Active| {
        let atom = dictionary.atoms()[on.atom];
        (
            atom.local_dim(),
            atom.width(),
            dictionary.atom_features(on.atom).start,
        )
    };
    for right in layout.active(i) {
        let (dr, wr, fr) = extent(right);
        for left in layout.active(i).filter(|left| left.atom >= right.atom) {
            let (dl, wl, fl) = extent(left);
            for b in 0..dr {
                // K psi_b, over the left atom's features.
                let slope = &psi[(right.unknown + b) * stride + right.feature..][..wr];
                scratch.clear();
                scratch.resize(wl, 0.0);
                for (c, &v) in slope.iter().enumerate() {
                    axpy(v, &k.col_as_slice(fr + c)[fl..][..wl], scratch);
                }
                for a in 0..dl {
                    let slope = &psi[(left.unknown + a) * stride + left.feature..][..wl];
                    let value = dot(slope, scratch);
                    let (a, b) = (left.unknown + a, right.unknown + b);
                    block[a * d + b] = value;
                    block[b * d + a] = value;
                }
            }
        }
    }
}

/// `sum |t|^2` over the flat coordinates that are on.
pub(crate) fn flat_squares(
    dictionary: &Dictionary,
    layout: &Layout,
    coordinates: &Coordinates,
) -> f64 {
    let mut sum = 0.0;
    for i in 0..layout.rows() {
        for on in layout.active(i) {
            let t = coordinates.place(i, dictionary.atom_place(on.atom));
            for part in dictionary.atoms()[on.atom].topology().flat() {
                sum += t[part.stored].iter().map(|t| t * t).sum::<f64>();
            }
        }
    }
    sum
}
