//! Vectors of an arrow system: a row part of length $`N`$ and a border part of length $`k`$, one or
//! many at once.

use crate::{ArrowShape, ShapeError};
use faer::{MatMut, MatRef};
use rayon::prelude::*;

/// Gradients $`g = (g_t, g_\beta)`$: $`N \times m`$ and $`k \times m`$, any strides.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    /// $`g_t`$, `N x m`; row `i` owns the unknowns from [`crate::RowDims::offset`].
    pub row: MatRef<'a, f64>,
    /// $`g_\beta`$, `k x m`.
    pub border: MatRef<'a, f64>,
}

impl<'a> Gradient<'a> {
    /// One gradient.
    pub fn new(row: &'a [f64], border: &'a [f64]) -> Self {
        Self {
            row: MatRef::from_column_major_slice(row, row.len(), 1),
            border: MatRef::from_column_major_slice(border, border.len(), 1),
        }
    }

    /// Many gradients, one a column.
    pub fn many(row: MatRef<'a, f64>, border: MatRef<'a, f64>) -> Self {
        Self { row, border }
    }

    /// Number of gradients.
    pub fn count(&self) -> usize {
        self.row.ncols()
    }

    /// Checks that this is one gradient of `shape`, and finite.
    ///
    /// # Errors
    /// [`crate::Error::Shape`], [`crate::Error::NotFinite`].
    pub fn check_one(&self, shape: &ArrowShape) -> Result<(), crate::Error> {
        self.check(shape, 1)?;
        self.check_finite()
    }

    pub(crate) fn check_finite(&self) -> Result<(), crate::Error> {
        for (array, part) in [("row_gradient", self.row), ("border_gradient", self.border)] {
            let find = |j: usize| {
                let column = part.col(j);
                let found = match column.try_as_col_major() {
                    Some(column) => crate::system::first_not_finite(column.as_slice()),
                    None => column.iter().position(|value| !value.is_finite()),
                };
                found.map(|i| (i, j))
            };
            let found = match part.ncols() {
                // To wake a thread for one column takes longer than to look through it.
                1 => find(0),
                columns => (0..columns).into_par_iter().find_map_first(find),
            };
            if let Some((i, j)) = found {
                let index = if part.ncols() == 1 {
                    vec![i]
                } else {
                    vec![i, j]
                };
                return Err(crate::Error::NotFinite {
                    array,
                    index,
                    value: part[(i, j)],
                });
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self, shape: &ArrowShape, count: usize) -> Result<(), ShapeError> {
        self.check_sizes(shape.row_unknowns(), shape.border(), count)
    }

    pub(crate) fn check_sizes(&self, n: usize, k: usize, count: usize) -> Result<(), ShapeError> {
        check(self.row, "row_gradient", n, count)?;
        check(self.border, "border_gradient", k, count)
    }
}

fn check(
    part: MatRef<'_, f64>,
    array: &'static str,
    length: usize,
    count: usize,
) -> Result<(), ShapeError> {
    if (part.nrows(), part.ncols()) == (length, count) {
        return Ok(());
    }
    Err(ShapeError::Mismatch {
        array,
        got: vec![part.nrows(), part.ncols()],
        expected: vec![length, count],
    })
}

/// Steps $`(\delta t, \delta\beta)`$, written by a solve: $`N \times m`$ and $`k \times m`$.
#[derive(Debug)]
pub struct StepMut<'a> {
    /// $`\delta t`$, `N x m`.
    pub row: MatMut<'a, f64>,
    /// $`\delta\beta`$, `k x m`.
    pub border: MatMut<'a, f64>,
}

impl<'a> StepMut<'a> {
    /// One step.
    pub fn new(row: &'a mut [f64], border: &'a mut [f64]) -> Self {
        let (n, k) = (row.len(), border.len());
        Self {
            row: MatMut::from_column_major_slice_mut(row, n, 1),
            border: MatMut::from_column_major_slice_mut(border, k, 1),
        }
    }

    /// Many steps, one a column.
    pub fn many(row: MatMut<'a, f64>, border: MatMut<'a, f64>) -> Self {
        Self { row, border }
    }

    pub(crate) fn check(&self, shape: &ArrowShape, count: usize) -> Result<(), ShapeError> {
        self.check_sizes(shape.row_unknowns(), shape.border(), count)
    }

    pub(crate) fn check_sizes(&self, n: usize, k: usize, count: usize) -> Result<(), ShapeError> {
        check(self.row.as_ref(), "delta_t", n, count)?;
        check(self.border.as_ref(), "delta_beta", k, count)
    }
}

/// One vector of an arrow system, owned: the two parts, stacked rows first.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrowVector {
    /// The row part, of length $`N`$.
    pub row: Vec<f64>,
    /// The border part, of length $`k`$.
    pub border: Vec<f64>,
}

impl ArrowVector {
    /// Zeros of this shape.
    pub fn zeros(shape: &ArrowShape) -> Self {
        Self {
            row: vec![0.0; shape.row_unknowns()],
            border: vec![0.0; shape.border()],
        }
    }

    /// This vector as one gradient.
    pub fn as_gradient(&self) -> Gradient<'_> {
        Gradient::new(&self.row, &self.border)
    }

    /// This vector as the place of one step.
    pub fn as_step(&mut self) -> StepMut<'_> {
        StepMut::new(&mut self.row, &mut self.border)
    }
}

/// Column-major right-hand sides inside an elimination: overwritten by solutions.
///
/// `row` holds `N` numbers a column, `border` holds `k`; `count` columns.
#[derive(Debug)]
pub struct RhsMut<'a> {
    /// Row parts, one column after another.
    pub row: &'a mut [f64],
    /// Border parts, one column after another.
    pub border: &'a mut [f64],
    /// Number of columns.
    pub count: usize,
}

impl RhsMut<'_> {
    /// Checks that these are columns for `shape`.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`], [`ShapeError::Overflow`].
    pub fn check(&self, shape: &ArrowShape) -> Result<(), ShapeError> {
        let parts = [
            ("rhs.row", self.row.len(), shape.row_unknowns()),
            ("rhs.border", self.border.len(), shape.border()),
        ];
        for (array, got, length) in parts {
            let all = crate::shape::product(length as u64, self.count as u64, "right-hand sides")?;
            crate::shape::check_length(array, got, all as usize)?;
        }
        Ok(())
    }

    /// Column `j`, of those that there are.
    pub fn column(&mut self, j: usize) -> RhsMut<'_> {
        let (n, k) = (self.row.len() / self.count, self.border.len() / self.count);
        RhsMut {
            row: &mut self.row[j * n..(j + 1) * n],
            border: &mut self.border[j * k..(j + 1) * k],
            count: 1,
        }
    }
}
