//! Views of a caller's arrays, without a copy: ndarray and faer, any strides.
//!
//! ```text
//!            d_i            k
//!   row i  [ D_i ]   [     B_i      ]      RowBlocks: d_i x d_i, lower triangle read
//!                                          CrossView: d_i x k
//!   border           [ C            ]      SymmetricView: k x k, lower triangle read
//! ```
//!
//! Symmetric blocks are read where row >= column and nowhere else: what stands in an upper
//! triangle, NaN included, has no effect.

use crate::{RowDims, ShapeError};
use faer::ContiguousFwd;
use faer::MatRef;
use ndarray::{ArrayView2, ArrayView3};
use rayon::prelude::*;

/// The row blocks $`D_i`$.
#[derive(Clone, Copy, Debug)]
pub struct RowBlocks<'a>(Blocks<'a>);

#[derive(Clone, Copy, Debug)]
enum Blocks<'a> {
    /// Block after block, each row-major `d_i x d_i`.
    Packed(&'a [f64]),
    /// `(n, d, d)`, every `d_i <= d`: the leading corner of each block is read.
    Padded(ArrayView3<'a, f64>),
}

impl<'a> RowBlocks<'a> {
    /// Blocks one after another, each row-major `d_i x d_i`.
    pub fn packed(blocks: &'a [f64]) -> Self {
        Self(Blocks::Packed(blocks))
    }

    /// An `(n, d, d)` array of any strides, `d_i <= d`: of each block the leading corner is read. `d` may
    /// be larger than the widest row.
    pub fn padded(blocks: ArrayView3<'a, f64>) -> Self {
        Self(Blocks::Padded(blocks))
    }

    pub(crate) fn check(&self, rows: &RowDims) -> Result<(), ShapeError> {
        const ARRAY: &str = "row_hessian";
        match &self.0 {
            Blocks::Packed(blocks) if blocks.len() == rows.block_len() => Ok(()),
            Blocks::Packed(blocks) => Err(ShapeError::Mismatch {
                array: ARRAY,
                got: vec![blocks.len()],
                expected: vec![rows.block_len()],
            }),
            Blocks::Padded(blocks) => check_padded(ARRAY, blocks, rows, blocks.dim().1),
        }
    }

    /// Entry `(a, b)` of block `i`, `b <= a`.
    #[inline]
    pub(crate) fn get(&self, rows: &RowDims, i: usize, a: usize, b: usize) -> f64 {
        match &self.0 {
            Blocks::Packed(blocks) => blocks[rows.block_offset(i) + a * rows.dim(i) + b],
            Blocks::Padded(blocks) => blocks[(i, a, b)],
        }
    }

    /// The same view for a shorter time: an ndarray view is invariant in its lifetime.
    pub(crate) fn shorten<'b>(self) -> RowBlocks<'b>
    where
        'a: 'b,
    {
        RowBlocks(match self.0 {
            Blocks::Packed(blocks) => Blocks::Packed(blocks),
            Blocks::Padded(blocks) => Blocks::Padded(blocks.reborrow()),
        })
    }

    /// The packed blocks, where they are packed.
    pub(crate) fn as_packed(&self) -> Option<&'a [f64]> {
        match self.0 {
            Blocks::Packed(blocks) => Some(blocks),
            Blocks::Padded(_) => None,
        }
    }
}

/// Checks `(n, d, width)` storage of rows of at most `d` unknowns each, however many the widest has.
fn check_padded(
    array: &'static str,
    blocks: &ArrayView3<'_, f64>,
    rows: &RowDims,
    width: usize,
) -> Result<(), ShapeError> {
    let (n, d, w) = blocks.dim();
    if (n, w) != (rows.rows(), width) {
        return Err(ShapeError::Mismatch {
            array,
            got: vec![n, d, w],
            expected: vec![rows.rows(), d, width],
        });
    }
    match (0..n).find(|&i| rows.dim(i) > d) {
        Some(row) => Err(ShapeError::RowTooWide {
            array,
            row,
            dim: rows.dim(row),
            padded: d,
        }),
        None => Ok(()),
    }
}

/// The cross blocks $`B_i`$, stacked: $`N \times k`$.
#[derive(Clone, Copy, Debug)]
pub struct CrossView<'a>(Cross<'a>);

#[derive(Clone, Copy, Debug)]
enum Cross<'a> {
    /// Stacked, `N x k`.
    Stacked(MatRef<'a, f64>),
    /// `(n, d, k)`, every `d_i <= d`.
    Padded(ArrayView3<'a, f64>),
}

impl<'a> CrossView<'a> {
    /// The stacked `N x k` matrix, of any strides.
    pub fn stacked(matrix: MatRef<'a, f64>) -> Self {
        Self(Cross::Stacked(matrix))
    }

    /// The stacked `N x k` matrix as an ndarray view, of any strides.
    pub fn stacked_ndarray(matrix: ArrayView2<'a, f64>) -> Self {
        use faer_ext::IntoFaer;
        Self(Cross::Stacked(matrix.into_faer()))
    }

    /// The stacked matrix as a row-major slice of `N k` numbers.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] where the length is another.
    pub fn row_major(slice: &'a [f64], rows: usize, k: usize) -> Result<Self, ShapeError> {
        if Some(slice.len()) != rows.checked_mul(k) {
            return Err(ShapeError::Mismatch {
                array: "row_cross",
                got: vec![slice.len()],
                expected: vec![rows, k],
            });
        }
        Ok(Self(Cross::Stacked(MatRef::from_row_major_slice(
            slice, rows, k,
        ))))
    }

    /// An `(n, d, k)` array of any strides, `d_i <= d`: of each row the leading unknowns are read. `d` may
    /// be larger than the widest row.
    ///
    /// Where every row fills its place and the first two axes merge (C order), the view is the stacked
    /// matrix.
    pub fn padded(blocks: ArrayView3<'a, f64>) -> Self {
        Self(Cross::Padded(blocks))
    }

    pub(crate) fn check(self, rows: &RowDims, k: usize) -> Result<Self, ShapeError> {
        const ARRAY: &str = "row_cross";
        match self.0 {
            Cross::Stacked(matrix) => {
                let (got, expected) = ((matrix.nrows(), matrix.ncols()), (rows.unknowns(), k));
                if got != expected {
                    return Err(ShapeError::Mismatch {
                        array: ARRAY,
                        got: vec![got.0, got.1],
                        expected: vec![expected.0, expected.1],
                    });
                }
                Ok(self)
            }
            Cross::Padded(blocks) => {
                check_padded(ARRAY, &blocks, rows, k)?;
                let full = rows.uniform_dim() == Some(blocks.dim().1);
                let merged = full.then(|| blocks.to_slice()).flatten();
                Ok(match merged {
                    Some(slice) => Self(Cross::Stacked(MatRef::from_row_major_slice(
                        slice,
                        rows.unknowns(),
                        k,
                    ))),
                    None => self,
                })
            }
        }
    }

    /// The same view for a shorter time.
    pub(crate) fn shorten<'b>(self) -> CrossView<'b>
    where
        'a: 'b,
    {
        CrossView(match self.0 {
            Cross::Stacked(matrix) => Cross::Stacked(matrix),
            Cross::Padded(blocks) => Cross::Padded(blocks.reborrow()),
        })
    }

    /// Unknown `a` of row `i` as a slice of `k` numbers, where its entries are adjacent.
    #[inline]
    pub(crate) fn row_slice(&self, rows: &RowDims, i: usize, a: usize) -> Option<&'a [f64]> {
        match self.0 {
            Cross::Stacked(matrix) => matrix
                .row(rows.offset(i) + a)
                .transpose()
                .try_as_col_major()
                .map(|c| c.as_slice()),
            Cross::Padded(blocks) => {
                use ndarray::Axis;
                let row = blocks
                    .index_axis_move(Axis(0), i)
                    .index_axis_move(Axis(0), a);
                row.to_slice()
            }
        }
    }

    /// Entry `c` of unknown `a` of row `i`.
    #[inline]
    pub(crate) fn get(&self, rows: &RowDims, i: usize, a: usize, c: usize) -> f64 {
        match self.0 {
            Cross::Stacked(matrix) => matrix[(rows.offset(i) + a, c)],
            Cross::Padded(blocks) => blocks[(i, a, c)],
        }
    }

    /// Copies unknown `a` of row `i` into `out`, of length `k`.
    pub(crate) fn copy_row(&self, rows: &RowDims, i: usize, a: usize, out: &mut [f64]) {
        if let Some(slice) = self.row_slice(rows, i, a) {
            out.copy_from_slice(slice);
            return;
        }
        for (c, out) in out.iter_mut().enumerate() {
            *out = self.get(rows, i, a, c);
        }
    }
}

/// A symmetric matrix, of which the lower triangle is read.
#[derive(Clone, Copy, Debug)]
pub struct SymmetricView<'a>(MatRef<'a, f64>);

impl<'a> SymmetricView<'a> {
    /// A `k x k` matrix of any strides.
    pub fn new(matrix: MatRef<'a, f64>) -> Self {
        Self(matrix)
    }

    /// A `k x k` ndarray view of any strides.
    pub fn ndarray(matrix: ArrayView2<'a, f64>) -> Self {
        use faer_ext::IntoFaer;
        Self(matrix.into_faer())
    }

    /// A row-major slice of `k^2` numbers.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] where the length is another.
    pub fn row_major(slice: &'a [f64], k: usize) -> Result<Self, ShapeError> {
        if Some(slice.len()) != k.checked_mul(k) {
            return Err(ShapeError::Mismatch {
                array: "border_hessian",
                got: vec![slice.len()],
                expected: vec![k, k],
            });
        }
        Ok(Self(MatRef::from_row_major_slice(slice, k, k)))
    }

    pub(crate) fn check(&self, array: &'static str, k: usize) -> Result<(), ShapeError> {
        if (self.0.nrows(), self.0.ncols()) == (k, k) {
            return Ok(());
        }
        Err(ShapeError::Mismatch {
            array,
            got: vec![self.0.nrows(), self.0.ncols()],
            expected: vec![k, k],
        })
    }

    /// The matrix; only `row >= column` may be read.
    pub(crate) fn matrix(&self) -> MatRef<'a, f64> {
        self.0
    }

    /// Copies the lower triangle into the column-major `out` and adds `ridge` to its diagonal.
    /// The strict upper triangle of `out` is left as it is.
    pub(crate) fn copy_lower_to(&self, out: &mut [f64], ridge: f64) {
        const TILE: usize = 64;
        let (source, k) = (self.0, self.0.nrows());
        if k == 0 {
            return;
        }
        let columns_adjacent = source.try_as_col_major();
        let rows_adjacent = source.try_as_row_major();
        out.par_chunks_mut(k * TILE)
            .enumerate()
            .for_each(|(chunk, out)| {
                let first = chunk * TILE;
                for (c, out) in out.chunks_exact_mut(k).enumerate() {
                    let column = first + c;
                    if let Some(source) = columns_adjacent {
                        out[column..].copy_from_slice(&source.col(column).as_slice()[column..]);
                    }
                }
                if let Some(source) = rows_adjacent {
                    transpose_lower(source, first, k, out);
                } else if columns_adjacent.is_none() {
                    for (c, out) in out.chunks_exact_mut(k).enumerate() {
                        let column = first + c;
                        for (r, out) in out.iter_mut().enumerate().skip(column) {
                            *out = source[(r, column)];
                        }
                    }
                }
                for (c, out) in out.chunks_exact_mut(k).enumerate() {
                    out[first + c] += ridge;
                }
            });
    }
}

/// Copies the columns from `first`, from the diagonal down, of a matrix whose rows are adjacent into
/// the columns `out` of `k` numbers: eight rows at once, which fill a line of the cache.
fn transpose_lower(
    source: MatRef<'_, f64, usize, usize, isize, ContiguousFwd>,
    first: usize,
    k: usize,
    out: &mut [f64],
) {
    const ROWS: usize = 8;
    let width = out.len() / k;
    let line = |r: usize| &source.row(r).transpose().as_slice()[first..];
    let mut r = first;
    while r < k {
        if r >= first + width && r + ROWS <= k {
            let lines: [&[f64]; ROWS] = std::array::from_fn(|o| &line(r + o)[..width]);
            for (c, out) in out.chunks_exact_mut(k).enumerate() {
                for (out, line) in out[r..r + ROWS].iter_mut().zip(lines) {
                    *out = line[c];
                }
            }
            r += ROWS;
        } else {
            let line = &line(r)[..width.min(r + 1 - first)];
            for (out, x) in out[r..].iter_mut().step_by(k).zip(line) {
                *out = *x;
            }
            r += 1;
        }
    }
}
