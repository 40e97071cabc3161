//! Dense arrow systems: $`B_i`$ and $`C`$ are arrays.

use super::{ProductMut, first_not_finite, par_first, par_ordered};
use crate::blas1::{axpy, dot, line};
use crate::{ArrowShape, CrossView, Error, RowBlocks, ShapeError, SymmetricView};
use faer::MatRef;
use pulp::Arch;
use rayon::prelude::*;

/// Row blocks, cross blocks and border as arrays.
///
/// ```
/// use broadhead_schur::{ArrowShape, CrossView, DenseSystem, RowBlocks, SymmetricView};
/// let shape = ArrowShape::uniform(2, 1, 1)?;
/// let (d, b, c) = ([2.0, 3.0], [1.0, 1.0], [4.0]);
/// let system = DenseSystem::new(
///     &shape,
///     RowBlocks::packed(&d),
///     CrossView::row_major(&b, 2, 1)?,
///     SymmetricView::row_major(&c, 1)?,
/// )?;
/// assert_eq!(system.shape().order(), 3);
/// # Ok::<(), broadhead_schur::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DenseSystem<'a> {
    shape: &'a ArrowShape,
    row_hessian: RowBlocks<'a>,
    row_cross: CrossView<'a>,
    border_hessian: SymmetricView<'a>,
}

impl<'a> DenseSystem<'a> {
    /// A system of `shape` over these operands.
    ///
    /// # Errors
    /// [`ShapeError`] where an operand has other dimensions.
    pub fn new(
        shape: &'a ArrowShape,
        row_hessian: RowBlocks<'a>,
        row_cross: CrossView<'a>,
        border_hessian: SymmetricView<'a>,
    ) -> Result<Self, ShapeError> {
        row_hessian.check(shape.rows())?;
        let row_cross = row_cross.check(shape.rows(), shape.border())?;
        border_hessian.check("border_hessian", shape.border())?;
        Ok(Self {
            shape,
            row_hessian,
            row_cross,
            border_hessian,
        })
    }

    /// The shape.
    pub fn shape(&self) -> &'a ArrowShape {
        self.shape
    }

    /// $`D_i`$.
    pub fn row_hessian(&self) -> RowBlocks<'a> {
        self.row_hessian
    }

    /// $`B_i`$.
    pub fn row_cross(&self) -> CrossView<'a> {
        self.row_cross
    }

    /// $`C`$.
    pub fn border_hessian(&self) -> SymmetricView<'a> {
        self.border_hessian
    }

    pub(super) fn shorten<'b>(self) -> DenseSystem<'b>
    where
        'a: 'b,
    {
        DenseSystem {
            row_hessian: self.row_hessian.shorten(),
            row_cross: self.row_cross.shorten(),
            shape: self.shape,
            border_hessian: self.border_hessian,
        }
    }

    pub(super) fn check_finite(&self) -> Result<(), Error> {
        self.check_cross_finite()?;
        self.check_border_finite()
    }

    fn check_cross_finite(&self) -> Result<(), Error> {
        let (rows, k) = (self.shape.rows(), self.shape.border());
        let chunk = (1 << 16) / (k * rows.max_dim()).max(1);
        let found = par_first(rows.rows(), chunk, &|range| {
            for i in range {
                for a in 0..rows.dim(i) {
                    let entry = |c| self.row_cross.get(rows, i, a, c);
                    let bad = match self.row_cross.row_slice(rows, i, a) {
                        Some(slice) => first_not_finite(slice),
                        None => (0..k).find(|&c| !entry(c).is_finite()),
                    };
                    if let Some(c) = bad {
                        return Some((vec![i, a, c], entry(c)));
                    }
                }
            }
            None
        });
        not_finite("row_cross", found)
    }

    fn check_border_finite(&self) -> Result<(), Error> {
        let lines = BorderLines::new(self.border_hessian.matrix());
        let found = par_first(self.shape.border(), 64, &|range| {
            for l in range {
                if let Some((a, b)) = lines.first_not_finite(l) {
                    return Some((vec![a, b], lines.matrix[(a, b)]));
                }
            }
            None
        });
        not_finite("border_hessian", found)
    }

    /// Adds the parts of $`B`$ and $`C`$ to `y`, which holds those of $`D`$ and the ridge.
    pub(super) fn add_product(&self, x_row: &[f64], x_border: &[f64], y: ProductMut<'_>) {
        let arch = Arch::new();
        self.add_cross_product(
            arch,
            x_row,
            x_border,
            y.row,
            y.row_abs,
            y.border,
            y.border_abs,
        );
        self.add_border_product(arch, x_border, y.border, y.border_abs);
    }

    /// $`y_t \mathrel{+}= B x_\beta`$, $`y_\beta \mathrel{+}= B' x_t`$ in one pass over $`B`$.
    #[expect(
        clippy::too_many_arguments,
        reason = "two vectors and their absolute twins"
    )]
    fn add_cross_product(
        &self,
        arch: Arch,
        x_row: &[f64],
        x_border: &[f64],
        y_row: &mut [f64],
        y_row_abs: &mut [f64],
        y_border: &mut [f64],
        y_border_abs: &mut [f64],
    ) {
        let (rows, k) = (self.shape.rows(), self.shape.border());
        if k == 0 {
            return;
        }
        // At most 32 partial sums, whatever the shape.
        let chunk = rows.rows().div_ceil(32).max(1);
        let parts = par_ordered(rows.rows(), chunk, |range| {
            let (mut part, mut part_abs) = (vec![0.0; k], vec![0.0; k]);
            let unknowns = rows.offset(range.end) - rows.offset(range.start);
            let mut own = Vec::with_capacity(2 * unknowns);
            let mut copy = Vec::new();
            for i in range {
                for a in 0..rows.dim(i) {
                    let slice = match self.row_cross.row_slice(rows, i, a) {
                        Some(slice) => slice,
                        None => {
                            copy.resize(k, 0.0);
                            self.row_cross.copy_row(rows, i, a, &mut copy);
                            &copy
                        }
                    };
                    let x = x_row[rows.offset(i) + a];
                    let (sum, sum_abs) = line(arch, x, slice, x_border, &mut part, &mut part_abs);
                    own.extend([sum, sum_abs]);
                }
            }
            (part, part_abs, own)
        });
        let mut u = 0;
        for (part, part_abs, own) in parts {
            axpy(arch, 1.0, &part, y_border);
            axpy(arch, 1.0, &part_abs, y_border_abs);
            for pair in own.as_chunks::<2>().0 {
                y_row[u] += pair[0];
                y_row_abs[u] += pair[1];
                u += 1;
            }
        }
    }

    /// $`y_\beta \mathrel{+}= C x_\beta`$, each entry of the lower triangle read once.
    fn add_border_product(&self, arch: Arch, x: &[f64], y: &mut [f64], y_abs: &mut [f64]) {
        let k = self.shape.border();
        let lines = BorderLines::new(self.border_hessian.matrix());
        let parts: Vec<_> = lines
            .balanced_groups(k)
            .into_par_iter()
            .map(|group| {
                let (mut part, mut part_abs) = (vec![0.0; k], vec![0.0; k]);
                let mut copy = Vec::new();
                for l in group {
                    let (diagonal, start, others) = lines.split(l, &mut copy);
                    let range = start..start + others.len();
                    let (sum, sum_abs) = line(
                        arch,
                        x[l],
                        others,
                        &x[range.clone()],
                        &mut part[range.clone()],
                        &mut part_abs[range],
                    );
                    part[l] += sum + diagonal * x[l];
                    part_abs[l] += sum_abs + (diagonal * x[l]).abs();
                }
                (part, part_abs)
            })
            .collect();
        for (part, part_abs) in parts {
            axpy(arch, 1.0, &part, y);
            axpy(arch, 1.0, &part_abs, y_abs);
        }
    }

    /// $`y_\beta \leftarrow y_\beta - B' t`$.
    pub(crate) fn subtract_cross_transpose(&self, t: &[f64], y: &mut [f64]) {
        let (arch, rows, k) = (Arch::new(), self.shape.rows(), self.shape.border());
        if k == 0 {
            return;
        }
        // At most 32 partial sums, whatever the shape.
        let parts = par_ordered(rows.rows(), rows.rows().div_ceil(32).max(1), |range| {
            let (mut part, mut copy) = (vec![0.0; k], Vec::new());
            for i in range {
                for a in 0..rows.dim(i) {
                    let weight = -t[rows.offset(i) + a];
                    match self.row_cross.row_slice(rows, i, a) {
                        Some(slice) => axpy(arch, weight, slice, &mut part),
                        None => {
                            copy.resize(k, 0.0);
                            self.row_cross.copy_row(rows, i, a, &mut copy);
                            axpy(arch, weight, &copy, &mut part);
                        }
                    }
                }
            }
            part
        });
        for part in parts {
            axpy(arch, 1.0, &part, y);
        }
    }

    /// $`y_t \leftarrow B x_\beta`$, without absolute values.
    pub(crate) fn cross_times(&self, x_border: &[f64], y_row: &mut [f64]) {
        let arch = Arch::new();
        self.map_cross(1, y_row, |line, y| y[0] = dot(arch, line, x_border));
    }

    /// $`y_t \leftarrow B x_\beta`$ and $`|y_t| \leftarrow |B| |x_\beta|`$.
    pub(crate) fn cross_times_abs(&self, x_border: &[f64], y: &mut [f64], y_abs: &mut [f64]) {
        let arch = Arch::new();
        let mut pairs = vec![0.0; 2 * y.len()];
        self.map_cross(2, &mut pairs, |line, y| {
            (y[0], y[1]) = dot_abs(arch, line, x_border);
        });
        for ((y, y_abs), pair) in y.iter_mut().zip(y_abs).zip(pairs.as_chunks::<2>().0) {
            (*y, *y_abs) = (pair[0], pair[1]);
        }
    }

    /// Visits the lines of $`B`$ in parallel, each with its `width` numbers of `out`.
    fn map_cross(&self, width: usize, out: &mut [f64], visit: impl Fn(&[f64], &mut [f64]) + Sync) {
        let (rows, k) = (self.shape.rows(), self.shape.border());
        let chunk = (1 << 14) / (k * rows.max_dim()).max(1);
        super::par_rows(rows, width, out, chunk, |i, out| {
            let mut copy = Vec::new();
            for (a, out) in out.chunks_exact_mut(width).enumerate() {
                match self.row_cross.row_slice(rows, i, a) {
                    Some(line) => visit(line, out),
                    None => {
                        copy.resize(k, 0.0);
                        self.row_cross.copy_row(rows, i, a, &mut copy);
                        visit(&copy, out);
                    }
                }
            }
        });
    }
}

/// $`(s' x, |s|' |x|)`$.
fn dot_abs(arch: Arch, s: &[f64], x: &[f64]) -> (f64, f64) {
    let sizes = arch.dispatch(
        #[inline(always)]
        || {
            let mut lanes = [0.0_f64; 8];
            let ((s, s_tail), (x, x_tail)) = (s.as_chunks::<8>(), x.as_chunks::<8>());
            for (s, x) in s.iter().zip(x) {
                for l in 0..8 {
                    lanes[l] += (s[l] * x[l]).abs();
                }
            }
            let tail = s_tail.iter().zip(x_tail).map(|(s, x)| (s * x).abs());
            lanes.into_iter().chain(tail).sum::<f64>()
        },
    );
    (dot(arch, s, x), sizes)
}

fn not_finite(array: &'static str, found: Option<(Vec<usize>, f64)>) -> Result<(), Error> {
    match found {
        Some((index, value)) => Err(Error::NotFinite {
            array,
            index,
            value,
        }),
        None => Ok(()),
    }
}

/// The lower triangle of a symmetric matrix as lines of adjacent numbers: columns from the
/// diagonal down where columns are adjacent, else rows up to the diagonal.
#[derive(Clone, Copy)]
pub(crate) struct BorderLines<'a> {
    matrix: MatRef<'a, f64>,
    by_column: bool,
}

impl<'a> BorderLines<'a> {
    pub(crate) fn new(matrix: MatRef<'a, f64>) -> Self {
        Self {
            matrix,
            by_column: matrix.row_stride().unsigned_abs() == 1,
        }
    }

    /// Line `l` where its entries are adjacent.
    fn adjacent(&self, l: usize) -> Option<&'a [f64]> {
        let k = self.matrix.nrows();
        let line = if self.by_column {
            self.matrix.subrows(l, k - l).col(l)
        } else {
            self.matrix.subcols(0, l + 1).row(l).transpose()
        };
        line.try_as_col_major().map(|line| line.as_slice())
    }

    /// Whether lines are columns.
    pub(crate) fn by_column(&self) -> bool {
        self.by_column
    }

    /// Line `l`: its first index and its entries. Copied where they are not adjacent.
    pub(crate) fn get<'b>(&self, l: usize, copy: &'b mut Vec<f64>) -> (usize, &'b [f64])
    where
        'a: 'b,
    {
        let first = if self.by_column { l } else { 0 };
        if let Some(line) = self.adjacent(l) {
            return (first, line);
        }
        copy.clear();
        if self.by_column {
            copy.extend((l..self.matrix.nrows()).map(|r| self.matrix[(r, l)]));
        } else {
            copy.extend((0..=l).map(|c| self.matrix[(l, c)]));
        }
        (first, copy)
    }

    /// The index, row >= column, of the first entry of line `l` that is not finite.
    fn first_not_finite(&self, l: usize) -> Option<(usize, usize)> {
        let index = |at: usize| if self.by_column { (l + at, l) } else { (l, at) };
        let length = if self.by_column {
            self.matrix.nrows() - l
        } else {
            l + 1
        };
        match self.adjacent(l) {
            Some(line) => first_not_finite(line).map(index),
            None => (0..length)
                .map(index)
                .find(|&at| !self.matrix[at].is_finite()),
        }
    }

    /// Line `l` as its diagonal entry, and the first index and the entries of the others.
    pub(super) fn split<'b>(&self, l: usize, copy: &'b mut Vec<f64>) -> (f64, usize, &'b [f64])
    where
        'a: 'b,
    {
        let (first, entries) = self.get(l, copy);
        if first == l {
            (entries[0], l + 1, &entries[1..])
        } else {
            (entries[l - first], first, &entries[..l - first])
        }
    }

    /// Ranges of lines with about equal numbers of entries: at most 16, by the order alone.
    pub(super) fn balanced_groups(&self, k: usize) -> Vec<std::ops::Range<usize>> {
        let groups = k.div_ceil(64).clamp(1, 16);
        // Lines 0..x of a triangle hold a share (x / k)^2 of the rows, 1 - (1 - x / k)^2 of the
        // columns.
        let edge = |g: usize| {
            let share = g as f64 / groups as f64;
            let x = if self.by_column {
                1.0 - (1.0 - share).sqrt()
            } else {
                share.sqrt()
            };
            ((x * k as f64).round() as usize).min(k)
        };
        (0..groups).map(|g| edge(g)..edge(g + 1)).collect()
    }
}
