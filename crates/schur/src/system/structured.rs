//! Structured arrow systems: a linear decoder shared by `p` outputs.
//!
//! ```math
//! \beta_{mp+c} = W_{mc}, \quad J_i = \Psi_i W, \quad B_i = \phi_i' \otimes J_i, \quad
//! C = G \otimes I_p .
//! ```
//!
//! $`\phi_i`$ and $`\Psi_i`$ are sparse in the features: a row names those that are on. $`D_i`$ is an
//! operand of its own ($`J_i J_i'`$ plus whatever the caller's model adds).

use super::{ProductMut, first_not_finite};
use crate::host::blas1::{axpy, larger};
use crate::host::parallel::{gemm, par_first, par_map, par_ordered, par_rows, product_par};
use crate::shape::{product, sum};
use crate::{ArrowShape, Error, Ridge, RowBlocks, RowDims, ShapeError, SymmetricView};
use faer::prelude::*;
use faer::{Accum, Mat, MatMut, MatRef};
use pulp::Arch;
use rayon::prelude::*;

/// Numbers that one thread looks through at once, before others have woken up.
const FINITE_CHUNK: usize = 1 << 16;

/// The sparse rows of $`\Phi`$ and $`\Psi`$.
///
/// ```text
///   row i names the features indices[offsets[i] .. offsets[i+1]]      (nnz_i of them, ascending)
///     phi:  nnz_i values, at the same places
///     psi:  d_i x nnz_i row-major, from psi_offsets[i] on
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StructuredFeatures<'a> {
    /// Where each row begins in `indices` and `phi`; `n + 1` entries, the first 0.
    pub offsets: &'a [usize],
    /// Feature ids below `M`, strictly ascending within a row.
    pub indices: &'a [usize],
    /// $`\phi_i`$ at those features.
    pub phi: &'a [f64],
    /// $`\Psi_i`$ at those features: `d_i x nnz_i` row-major, concatenated.
    pub psi: &'a [f64],
    /// Where each row begins in `psi`: the sum of `d_j nnz_j` over `j < i`; `n + 1` entries.
    pub psi_offsets: &'a [usize],
}

/// A structured system.
#[derive(Clone, Copy, Debug)]
pub struct StructuredSystem<'a> {
    shape: &'a StructuredShape,
    row_hessian: RowBlocks<'a>,
    features: StructuredFeatures<'a>,
    gram: SymmetricView<'a>,
    decoder: MatRef<'a, f64>,
}

/// The shape of a structured system: rows, `M` features, `p` outputs, `k = M p`, and where each
/// row's $`\Psi_i`$ begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructuredShape {
    arrow: ArrowShape,
    features: usize,
    outputs: usize,
}

impl StructuredShape {
    /// Rows, `M` features, `p` outputs.
    ///
    /// # Errors
    /// [`ShapeError::Overflow`] where $`M p`$ and what follows from it does not fit.
    pub fn new(rows: RowDims, features: usize, outputs: usize) -> Result<Self, ShapeError> {
        let k = product(features as u64, outputs as u64, "M p")?;
        let square = product(features as u64, features as u64, "M^2")?;
        product(square, square, "M^4")?;
        Ok(Self {
            arrow: ArrowShape::new(rows, k as usize)?,
            features,
            outputs,
        })
    }

    /// As an arrow shape.
    pub fn arrow(&self) -> &ArrowShape {
        &self.arrow
    }

    /// $`M`$.
    pub fn features(&self) -> usize {
        self.features
    }

    /// $`p`$.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// One row of [`StructuredFeatures`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeatureRow<'a> {
    pub(crate) indices: &'a [usize],
    pub(crate) phi: &'a [f64],
    /// `d_i x nnz_i` row-major.
    pub(crate) psi: &'a [f64],
}

impl<'a> StructuredFeatures<'a> {
    #[inline]
    pub(crate) fn row(&self, i: usize) -> FeatureRow<'a> {
        let range = self.offsets[i]..self.offsets[i + 1];
        FeatureRow {
            indices: &self.indices[range.clone()],
            phi: &self.phi[range],
            psi: &self.psi[self.psi_offsets[i]..self.psi_offsets[i + 1]],
        }
    }

    fn check(&self, rows: &RowDims, features: usize) -> Result<(), ShapeError> {
        let n = rows.rows();
        check_len("feature_offsets", self.offsets.len(), n + 1)?;
        check_len("psi_offsets", self.psi_offsets.len(), n + 1)?;
        check_len("feature_phi", self.phi.len(), self.indices.len())?;
        let (mut at, mut psi_at) = (0, 0);
        for i in 0..n {
            let (start, end) = (self.offsets[i], self.offsets[i + 1]);
            if start != at || end < start || end > self.indices.len() {
                return Err(ShapeError::Index {
                    array: "feature_offsets",
                    index: if start == at { i + 1 } else { i },
                    value: if start == at { end } else { start },
                    expected: format!("ascending from 0 to {}", self.indices.len()),
                });
            }
            for (j, &feature) in self.indices[start..end].iter().enumerate() {
                let above = j == 0 || self.indices[start + j - 1] < feature;
                if feature >= features || !above {
                    return Err(ShapeError::Index {
                        array: "feature_indices",
                        index: start + j,
                        value: feature,
                        expected: format!("below {features} and ascending within row {i}"),
                    });
                }
            }
            if self.psi_offsets[i] != psi_at {
                return Err(ShapeError::Index {
                    array: "psi_offsets",
                    index: i,
                    value: self.psi_offsets[i],
                    expected: format!("{psi_at}, the sum of d nnz before row {i}"),
                });
            }
            let block = product(rows.dim(i) as u64, (end - start) as u64, "d_i nnz_i")?;
            psi_at = sum(psi_at as u64, block, "sum of d_i nnz_i")? as usize;
            at = end;
        }
        check_len("feature_indices", self.indices.len(), at)?;
        check_len("feature_psi", self.psi.len(), psi_at)?;
        if self.psi_offsets[n] != psi_at {
            return Err(ShapeError::Index {
                array: "psi_offsets",
                index: n,
                value: self.psi_offsets[n],
                expected: format!("{psi_at}"),
            });
        }
        Ok(())
    }
}

fn check_len(array: &'static str, got: usize, expected: usize) -> Result<(), ShapeError> {
    if got == expected {
        return Ok(());
    }
    Err(ShapeError::Mismatch {
        array,
        got: vec![got],
        expected: vec![expected],
    })
}

impl<'a> StructuredSystem<'a> {
    /// A system of `shape`: blocks $`D_i`$, features, $`G`$ (`M x M`, with whatever penalty, without
    /// ridge) and decoder $`W`$ (`M x p`).
    ///
    /// # Errors
    /// [`ShapeError`] where an operand has other dimensions, or indices are out of order or range.
    pub fn new(
        shape: &'a StructuredShape,
        row_hessian: RowBlocks<'a>,
        features: StructuredFeatures<'a>,
        gram: SymmetricView<'a>,
        decoder: MatRef<'a, f64>,
    ) -> Result<Self, ShapeError> {
        row_hessian.check(shape.arrow.rows())?;
        features.check(shape.arrow.rows(), shape.features)?;
        gram.check("gram", shape.features)?;
        let got = (decoder.nrows(), decoder.ncols());
        if got != (shape.features, shape.outputs) {
            return Err(ShapeError::Mismatch {
                array: "decoder",
                got: vec![got.0, got.1],
                expected: vec![shape.features, shape.outputs],
            });
        }
        Ok(Self {
            shape,
            row_hessian,
            features,
            gram,
            decoder,
        })
    }

    /// As an arrow shape.
    pub fn shape(&self) -> &'a ArrowShape {
        &self.shape.arrow
    }

    /// The full shape.
    pub fn structured_shape(&self) -> &'a StructuredShape {
        self.shape
    }

    /// $`D_i`$.
    pub fn row_hessian(&self) -> RowBlocks<'a> {
        self.row_hessian
    }

    /// $`\phi_i`$ and $`\Psi_i`$.
    pub fn features(&self) -> StructuredFeatures<'a> {
        self.features
    }

    /// $`G`$.
    pub fn gram(&self) -> SymmetricView<'a> {
        self.gram
    }

    /// $`W`$.
    pub fn decoder(&self) -> MatRef<'a, f64> {
        self.decoder
    }

    pub(super) fn shorten<'b>(self) -> StructuredSystem<'b>
    where
        'a: 'b,
    {
        StructuredSystem {
            shape: self.shape,
            row_hessian: self.row_hessian.shorten(),
            features: self.features,
            gram: self.gram,
            decoder: self.decoder,
        }
    }

    pub(super) fn check_finite(&self) -> Result<(), Error> {
        let bad = |array, index, value| {
            Err(Error::NotFinite {
                array,
                index,
                value,
            })
        };
        for (array, slice) in [
            ("feature_phi", self.features.phi),
            ("feature_psi", self.features.psi),
        ] {
            let found = par_first(slice.len(), FINITE_CHUNK, &|range| {
                let at = first_not_finite(&slice[range.clone()])?;
                Some(range.start + at)
            });
            if let Some(at) = found {
                return bad(array, vec![at], slice[at]);
            }
        }
        let gram = self.gram.matrix();
        for a in 0..gram.nrows() {
            for b in 0..=a {
                if !gram[(a, b)].is_finite() {
                    return bad("gram", vec![a, b], gram[(a, b)]);
                }
            }
        }
        let decoder = self.decoder;
        let lines = FINITE_CHUNK / decoder.ncols().max(1);
        let found = par_first(decoder.nrows(), lines, &|mut range| {
            range.find_map(|m| {
                let c = (0..decoder.ncols()).find(|&c| !decoder[(m, c)].is_finite())?;
                Some((m, c))
            })
        });
        match found {
            Some((m, c)) => bad("decoder", vec![m, c], decoder[(m, c)]),
            None => Ok(()),
        }
    }

    /// $`G`$ as a full symmetric matrix, with `ridge` on its diagonal.
    pub(crate) fn full_gram(&self, ridge: f64) -> Mat<f64> {
        let gram = self.gram.matrix();
        Mat::from_fn(gram.nrows(), gram.nrows(), |a, b| {
            gram[(a.max(b), a.min(b))] + if a == b { ridge } else { 0.0 }
        })
    }

    /// $`y_{ia} = \sum_{mf} \phi_{im} K_{mf} \Psi_{iaf}`$, added to `y` (length $`N`$).
    ///
    /// With $`K = X W'`$ this is $`B x`$ for $`x = \mathrm{vec}\,X`$.
    pub(crate) fn add_row_product(&self, kernel: MatRef<'_, f64>, y: &mut [f64]) {
        let rows = self.shape.arrow.rows();
        par_rows(rows, 1, y, 64, |i, y| {
            if y.is_empty() {
                return;
            }
            let row = self.features.row(i);
            let nnz = row.indices.len();
            for (j, &f) in row.indices.iter().enumerate() {
                let mut sum = 0.0;
                for (&m, &phi) in row.indices.iter().zip(row.phi) {
                    sum += phi * kernel[(m, f)];
                }
                for (a, y) in y.iter_mut().enumerate() {
                    *y += row.psi[a * nnz + j] * sum;
                }
            }
        });
    }

    /// $`E = \sum_i \phi_i (\Psi_i' x_i)'`$, `M x M`; $`B' x = \mathrm{vec}(E W)`$.
    pub(crate) fn feature_outer(&self, x: &[f64]) -> Mat<f64> {
        let (rows, features) = (self.shape.arrow.rows(), self.shape.features);
        let parts = par_ordered(rows.rows(), outer_chunk(rows.rows()), |range| {
            let mut part = Mat::<f64>::zeros(features, features);
            let mut pull = Vec::new();
            for i in range {
                let row = self.features.row(i);
                let nnz = row.indices.len();
                let x = &x[rows.offset(i)..rows.offset(i + 1)];
                pull.clear();
                pull.extend((0..nnz).map(|j| {
                    x.iter()
                        .enumerate()
                        .map(|(a, &x)| row.psi[a * nnz + j] * x)
                        .sum::<f64>()
                }));
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

    /// $`\|H + \rho\|_1`$, exactly: the entries of $`J_i`$ are formed row by row and forgotten.
    pub(crate) fn one_norm(&self, ridge: Ridge) -> f64 {
        let (arch, rows) = (Arch::new(), self.shape.arrow.rows());
        let (features, outputs) = (self.shape.features, self.shape.outputs);
        let mut decoder = vec![0.0; features * outputs];
        MatMut::from_row_major_slice_mut(&mut decoder, features, outputs).copy_from(self.decoder);
        // At most 16 partial sums of M p, whatever the shape.
        let chunk = rows.rows().div_ceil(16).max(64);
        let parts = par_ordered(rows.rows(), chunk, |range| {
            let mut columns = vec![0.0; features * outputs];
            let (mut jacobian, mut sizes) = (vec![0.0; outputs], vec![0.0; outputs]);
            let mut largest = 0.0_f64;
            for i in range {
                let (row, d) = (self.features.row(i), rows.dim(i));
                let phi_sum: f64 = row.phi.iter().map(|phi| phi.abs()).sum();
                sizes.fill(0.0);
                for a in 0..d {
                    jacobian.fill(0.0);
                    let psi = &row.psi[a * row.indices.len()..][..row.indices.len()];
                    for (&f, &psi) in row.indices.iter().zip(psi) {
                        axpy(arch, psi, &decoder[f * outputs..][..outputs], &mut jacobian);
                    }
                    let own: f64 = (0..d)
                        .map(|b| {
                            let value = self.row_hessian.get(rows, i, a.max(b), a.min(b));
                            (if a == b { value + ridge.row } else { value }).abs()
                        })
                        .sum();
                    let sum: f64 = jacobian.iter().map(|j| j.abs()).sum();
                    largest = larger(largest, own + phi_sum * sum);
                    sizes
                        .iter_mut()
                        .zip(&jacobian)
                        .for_each(|(s, j)| *s += j.abs());
                }
                for (&m, &phi) in row.indices.iter().zip(row.phi) {
                    axpy(
                        arch,
                        phi.abs(),
                        &sizes,
                        &mut columns[m * outputs..][..outputs],
                    );
                }
            }
            (largest, columns)
        });
        let gram = self.full_gram(ridge.border);
        let mut total = vec![0.0; features * outputs];
        for (m, line) in total.chunks_exact_mut(outputs.max(1)).enumerate() {
            line.fill((0..features).map(|b| gram[(m, b)].abs()).sum());
        }
        let mut largest = 0.0_f64;
        for (part, columns) in parts {
            largest = larger(largest, part);
            axpy(arch, 1.0, &columns, &mut total);
        }
        total.into_iter().fold(largest, larger)
    }

    /// Adds the parts of $`B`$ and $`C`$ to `y`, which holds those of $`D`$ and the ridge.
    ///
    /// The absolute products are those of the factors as they are stored: $`|\Psi| |W| |X|' |\phi|`$.
    pub(super) fn add_product(&self, x_row: &[f64], x_border: &[f64], y: ProductMut<'_>) {
        let (features, outputs) = (self.shape.features, self.shape.outputs);
        let x = MatRef::from_row_major_slice(x_border, features, outputs);
        let (gram, decoder) = (self.full_gram(0.0), self.decoder);
        let size = |m: MatRef<'_, f64>| faer::zip!(m).map(|faer::unzip!(v)| v.abs());
        let (x_size, gram_size, decoder_size) = (size(x), size(gram.as_ref()), size(decoder));
        let kernel = |x: MatRef<'_, f64>, decoder: MatRef<'_, f64>| {
            let mut kernel = Mat::zeros(features, features);
            let par = product_par(features, outputs, features);
            let replace = Accum::Replace;
            gemm(kernel.as_mut(), replace, x, decoder.transpose(), 1.0, par);
            kernel
        };
        let kernels = [
            kernel(x, decoder),
            kernel(x_size.as_ref(), decoder_size.as_ref()),
        ];
        let [outer, outer_size] = self.rows_both_ways(&kernels, x_row, y.row, y.row_abs);
        let par = product_par(features, features, outputs);
        let end = |y: &mut [f64], outer: Mat<f64>, by: [MatRef<'_, f64>; 3]| {
            let [decoder, gram, x] = by;
            let mut y = MatMut::from_row_major_slice_mut(y, features, outputs);
            gemm(y.rb_mut(), Accum::Add, outer.as_ref(), decoder, 1.0, par);
            gemm(y, Accum::Add, gram, x, 1.0, par);
        };
        end(y.border, outer, [decoder, gram.as_ref(), x]);
        let sizes = [&decoder_size, &gram_size, &x_size].map(|m| m.as_ref());
        end(y.border_abs, outer_size, sizes);
    }

    /// What [`Self::add_row_product`] adds and what [`Self::feature_outer`] answers, each as it is and
    /// of absolute values, in one pass over the rows.
    fn rows_both_ways(
        &self,
        kernels: &[Mat<f64>; 2],
        x: &[f64],
        y: &mut [f64],
        y_size: &mut [f64],
    ) -> [Mat<f64>; 2] {
        let (rows, features) = (self.shape.arrow.rows(), self.shape.features);
        let chunk = outer_chunk(rows.rows());
        let mut parts = Vec::new();
        let (mut rest, mut rest_size) = (y, y_size);
        for first in (0..rows.rows()).step_by(chunk) {
            let range = first..(first + chunk).min(rows.rows());
            let len = rows.offset(range.end) - rows.offset(range.start);
            let (part, part_size);
            (part, rest) = rest.split_at_mut(len);
            (part_size, rest_size) = rest_size.split_at_mut(len);
            parts.push((range, part, part_size));
        }
        let parts = par_map(parts.into_par_iter(), |(range, y, y_size)| {
            let mut outers = [(); 2].map(|()| Mat::<f64>::zeros(features, features));
            let start = rows.offset(range.start);
            for i in range {
                let place = rows.offset(i) - start..rows.offset(i + 1) - start;
                let x = &x[rows.offset(i)..rows.offset(i + 1)];
                let (y, y_size) = (&mut y[place.clone()], &mut y_size[place]);
                let row = self.features.row(i);
                let nnz = row.indices.len();
                for (j, &f) in row.indices.iter().enumerate() {
                    let [mut push, mut push_size, mut pull, mut pull_size] = [0.0; 4];
                    for (&m, &phi) in row.indices.iter().zip(row.phi) {
                        push += phi * kernels[0][(m, f)];
                        push_size += phi.abs() * kernels[1][(m, f)];
                    }
                    for (a, &x) in x.iter().enumerate() {
                        let psi = row.psi[a * nnz + j];
                        y[a] += psi * push;
                        y_size[a] += psi.abs() * push_size;
                        pull += psi * x;
                        pull_size += (psi * x).abs();
                    }
                    let [outer, outer_size] = &mut outers;
                    let (column, column_size) =
                        (outer.col_as_slice_mut(f), outer_size.col_as_slice_mut(f));
                    for (&m, &phi) in row.indices.iter().zip(row.phi) {
                        column[m] += phi * pull;
                        column_size[m] += phi.abs() * pull_size;
                    }
                }
            }
            outers
        });
        let mut totals = [(); 2].map(|()| Mat::zeros(features, features));
        for part in parts {
            totals
                .iter_mut()
                .zip(part)
                .for_each(|(total, part)| *total += part);
        }
        totals
    }
}

/// Rows in one partial sum of an outer product: at most 16 of `M x M`, whatever the shape.
fn outer_chunk(rows: usize) -> usize {
    rows.div_ceil(16).max(64)
}
