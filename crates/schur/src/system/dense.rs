//! Dense arrow systems: $`B_i`$ and $`C`$ are arrays.

use super::lower_triangle::LowerTriangle;
use super::{ProductMut, first_not_finite};
use crate::host::blas1::{axpy, dot, dots_abs, symv_lines};
use crate::host::parallel::{par_first, par_ordered, par_rows};
use crate::{ArrowShape, CrossView, Error, RowBlocks, ShapeError, SymmetricView};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Lines of $`B`$ read at once.
const STREAMS: usize = 4;

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
        let lines = LowerTriangle::new(self.border_hessian.matrix());
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
            let mut own = Vec::with_capacity(unknowns);
            let (mut places, mut copy) = (self.unknowns(range.clone()), Vec::new());
            for first in (rows.offset(range.start)..rows.offset(range.end)).step_by(STREAMS) {
                let slices = self.lines(places.clone().take(STREAMS), &mut copy);
                places.by_ref().take(STREAMS).for_each(drop);
                let x = |o: usize| x_row[first + o];
                if let Ok(slices) = slices.as_slice().try_into() {
                    let sums = symv_lines::<STREAMS>(
                        arch,
                        std::array::from_fn(x),
                        slices,
                        x_border,
                        &mut part,
                        &mut part_abs,
                    );
                    own.extend(sums);
                    continue;
                }
                for (o, slice) in slices.into_iter().enumerate() {
                    let [sums] =
                        symv_lines(arch, [x(o)], [slice], x_border, &mut part, &mut part_abs);
                    own.push(sums);
                }
            }
            (part, part_abs, own)
        });
        let mut u = 0;
        for (part, part_abs, own) in parts {
            axpy(arch, 1.0, &part, y_border);
            axpy(arch, 1.0, &part_abs, y_border_abs);
            for [sum, sum_abs] in own {
                y_row[u] += sum;
                y_row_abs[u] += sum_abs;
                u += 1;
            }
        }
    }

    /// The unknowns of some rows, each as its row and its place there.
    pub(crate) fn unknowns(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (usize, usize)> + Clone + 'a {
        let dims = self.shape.rows();
        rows.flat_map(|i| (0..dims.dim(i)).map(move |a| (i, a)))
    }

    /// The lines of $`B`$ at some unknowns, where the entries of each are adjacent.
    pub(crate) fn adjacent_lines(
        &self,
        mut places: impl Iterator<Item = (usize, usize)>,
    ) -> Option<Vec<&'a [f64]>> {
        let mut lines = Vec::with_capacity(STREAMS);
        places.try_for_each(|(i, a)| {
            lines.push(self.row_cross.row_slice(self.shape.rows(), i, a)?);
            Some(())
        })?;
        Some(lines)
    }

    /// The lines of $`B`$ at some unknowns; copied where their entries are not adjacent.
    pub(crate) fn lines<'b>(
        &'b self,
        places: impl Iterator<Item = (usize, usize)> + Clone,
        copy: &'b mut Vec<f64>,
    ) -> Vec<&'b [f64]> {
        let (rows, k) = (self.shape.rows(), self.shape.border());
        if let Some(lines) = self.adjacent_lines(places.clone()) {
            return lines;
        }
        let mut count = 0;
        for (i, a) in places {
            copy.resize(copy.len().max((count + 1) * k), 0.0);
            let line = &mut copy[count * k..(count + 1) * k];
            self.row_cross.copy_row(rows, i, a, line);
            count += 1;
        }
        copy.chunks_exact(k.max(1)).take(count).collect()
    }

    /// $`y_\beta \mathrel{+}= C x_\beta`$, each entry of the lower triangle read once.
    pub(crate) fn add_border_product(
        &self,
        arch: Arch,
        x: &[f64],
        y: &mut [f64],
        y_abs: &mut [f64],
    ) {
        let k = self.shape.border();
        let lines = LowerTriangle::new(self.border_hessian.matrix());
        let parts: Vec<_> = lines
            .balanced_groups(k, 16)
            .into_par_iter()
            .map(|group| {
                let (mut part, mut part_abs) = (vec![0.0; k], vec![0.0; k]);
                lines.add_product(arch, group, x, &mut part, &mut part_abs);
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
            dots_abs(arch, &[line], x_border, y.as_chunks_mut().0);
        });
        for ((y, y_abs), pair) in y.iter_mut().zip(y_abs).zip(pairs.as_chunks::<2>().0) {
            (*y, *y_abs) = (pair[0], pair[1]);
        }
    }

    /// Visits the lines of $`B`$ in parallel, each with its `width` numbers of `out`.
    fn map_cross(&self, width: usize, out: &mut [f64], visit: impl Fn(&[f64], &mut [f64]) + Sync) {
        let (rows, k) = (self.shape.rows(), self.shape.border());
        let chunk = (1 << 14) / (k * rows.max_dim()).max(1);
        par_rows(rows, width, out, chunk, |i, out| {
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
