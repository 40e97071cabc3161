//! Arrow systems: what a caller hands in, as views.
//!
//! ```math
//! H = \begin{pmatrix} D & B \\ B' & C \end{pmatrix}, \qquad
//! D = \mathrm{blockdiag}(D_i), \quad (H + \rho)(\delta t, \delta\beta) = -g .
//! ```
//!
//! Three kinds share one type: *dense* operands, the *structured* ones of a linear decoder, and
//! *operators* known only by their products. A system is a handful of views: it owns no numbers
//! and is passed by value.

mod dense;
mod dense_many;
mod lower_triangle;
mod operator;
mod shape;
mod structured;

pub use dense::DenseSystem;
pub(crate) use dense_many::{add_transposed, tiles};
pub(crate) use lower_triangle::LowerTriangle;
pub use operator::{BorderProduct, CrossProduct, OperatorSystem};
pub use shape::SystemShape;
pub use structured::{StructuredFeatures, StructuredShape, StructuredSystem};

use crate::host::parallel::{ROW_CHUNK, par_first, par_ordered, par_rows};
use crate::shape::check_length;
use crate::{ArrowShape, Error, MeanDiagonals, Ridge, RowBlocks, RowDims, ShapeError};

/// An arrow system of any kind.
#[derive(Clone, Copy, Debug)]
pub enum System<'a> {
    /// $`B_i`$ and $`C`$ as arrays.
    Dense(DenseSystem<'a>),
    /// $`B_i = \phi_i' \otimes \Psi_i W`$ and $`C = G \otimes I_p`$.
    Structured(StructuredSystem<'a>),
    /// $`B`$ and $`C`$ as closures.
    Operator(OperatorSystem<'a>),
}

impl<'a> From<DenseSystem<'a>> for System<'a> {
    fn from(system: DenseSystem<'a>) -> Self {
        Self::Dense(system)
    }
}

impl<'a> From<StructuredSystem<'a>> for System<'a> {
    fn from(system: StructuredSystem<'a>) -> Self {
        Self::Structured(system)
    }
}

impl<'a> From<OperatorSystem<'a>> for System<'a> {
    fn from(system: OperatorSystem<'a>) -> Self {
        Self::Operator(system)
    }
}

/// Where [`System::product`] writes: $`y = (H + \rho) x`$ and $`|H + \rho| |x|`$ (of an operator
/// system what is known of it).
#[derive(Debug)]
pub struct ProductMut<'p> {
    /// Row part of $`y`$, of length $`N`$.
    pub row: &'p mut [f64],
    /// Border part of $`y`$, of length $`k`$.
    pub border: &'p mut [f64],
    /// Row part of $`|H| |x|`$, of length $`N`$.
    pub row_abs: &'p mut [f64],
    /// Border part of $`|H| |x|`$, of length $`k`$.
    pub border_abs: &'p mut [f64],
}

impl ProductMut<'_> {
    /// Checks that these are places for products of `shape`.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] naming the first slice that has another length than the shape says.
    pub fn check(&self, shape: &ArrowShape) -> Result<(), ShapeError> {
        let (n, k) = (shape.row_unknowns(), shape.border());
        check_length("y.row", self.row.len(), n)?;
        check_length("y.border", self.border.len(), k)?;
        check_length("y.row_abs", self.row_abs.len(), n)?;
        check_length("y.border_abs", self.border_abs.len(), k)
    }

    /// The same places, for a shorter time.
    pub fn reborrow(&mut self) -> ProductMut<'_> {
        ProductMut {
            row: self.row,
            border: self.border,
            row_abs: self.row_abs,
            border_abs: self.border_abs,
        }
    }
}

impl<'a> System<'a> {
    /// The shape.
    pub fn shape(&self) -> &'a ArrowShape {
        match self {
            Self::Dense(system) => system.shape(),
            Self::Structured(system) => system.shape(),
            Self::Operator(system) => system.shape(),
        }
    }

    /// The row blocks $`D_i`$.
    pub fn row_hessian(&self) -> RowBlocks<'a> {
        match self {
            Self::Dense(system) => system.row_hessian(),
            Self::Structured(system) => system.row_hessian(),
            Self::Operator(system) => system.row_hessian(),
        }
    }

    /// The same system for a shorter time.
    #[must_use]
    pub fn shorten<'b>(self) -> System<'b>
    where
        'a: 'b,
    {
        match self {
            Self::Dense(system) => System::Dense(system.shorten()),
            Self::Structured(system) => System::Structured(system.shorten()),
            Self::Operator(system) => System::Operator(system.shorten()),
        }
    }

    /// The word for this kind of system: dense, structured or operator.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Structured(_) => "structured",
            Self::Operator(_) => "operator",
        }
    }

    /// Means of the absolute diagonals of both sides, without ridge: the scale of relative ridges.
    ///
    /// An operator system whose border's diagonal is not known has 0 there.
    pub fn mean_diagonals(&self) -> MeanDiagonals {
        let rows = self.shape().rows();
        let blocks = self.row_hessian();
        let sums = par_ordered(rows.rows(), ROW_CHUNK, |range| {
            let trace = |i| {
                (0..rows.dim(i))
                    .map(|a| blocks.get(rows, i, a, a).abs())
                    .sum::<f64>()
            };
            range.map(trace).sum::<f64>()
        });
        let total: f64 = sums.into_iter().sum();
        let border = match self {
            Self::Dense(system) => {
                let c = system.border_hessian().matrix();
                mean((0..c.nrows()).map(|j| c[(j, j)].abs()))
            }
            Self::Structured(system) => {
                let g = system.gram().matrix();
                mean((0..g.nrows()).map(|m| g[(m, m)].abs()))
            }
            Self::Operator(system) => system
                .border_diagonal()
                .map_or(0.0, |d| mean(d.iter().map(|c| c.abs()))),
        };
        let unknowns = rows.unknowns();
        MeanDiagonals {
            row: if unknowns == 0 {
                0.0
            } else {
                total / unknowns as f64
            },
            border,
        }
    }

    /// Refuses NaN and infinities in every operand, naming the array and the index.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn check_finite(&self) -> Result<(), Error> {
        check_rows_finite(self.shape().rows(), self.row_hessian())?;
        match self {
            Self::Dense(system) => system.check_finite(),
            Self::Structured(system) => system.check_finite(),
            Self::Operator(system) => system.check_finite(),
        }
    }

    /// $`y = (H + \rho) x`$ over the operands, independent of any factor.
    ///
    /// The answer says whether the absolute products are those of the entries; of an operator system,
    /// whose entries are not known, they are sums of $`|D_i| |x_i|`$, $`|B x|`$ and $`|C x|`$, and it is
    /// `false`. Same bits for any number of threads.
    ///
    /// # Errors
    /// [`ShapeError::Mismatch`] naming the first slice that has another length than the shape says.
    pub fn product(
        &self,
        x_row: &[f64],
        x_border: &[f64],
        ridge: Ridge,
        y: ProductMut<'_>,
    ) -> Result<bool, ShapeError> {
        let (n, k) = (self.shape().row_unknowns(), self.shape().border());
        check_length("x_row", x_row.len(), n)?;
        check_length("x_border", x_border.len(), k)?;
        y.check(self.shape())?;
        Ok(self.multiply(x_row, x_border, ridge, y))
    }

    /// As [`System::product`], of slices that are known to fit.
    pub(crate) fn multiply(
        &self,
        x_row: &[f64],
        x_border: &[f64],
        ridge: Ridge,
        y: ProductMut<'_>,
    ) -> bool {
        let shape = self.shape();
        row_block_product(
            shape.rows(),
            self.row_hessian(),
            ridge.row,
            x_row,
            y.row,
            y.row_abs,
        );
        for ((y, y_abs), x) in y.border.iter_mut().zip(&mut *y.border_abs).zip(x_border) {
            *y = ridge.border * x;
            *y_abs = ridge.border * x.abs();
        }
        match self {
            Self::Dense(system) => {
                system.add_product(x_row, x_border, y);
                true
            }
            Self::Structured(system) => {
                system.add_product(x_row, x_border, y);
                true
            }
            Self::Operator(system) => {
                system.add_product(x_row, x_border, y);
                false
            }
        }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    if count == 0 {
        0.0
    } else {
        values.sum::<f64>() / count as f64
    }
}

/// $`y_i = (D_i + \rho I) x_i`$ and the same of absolute values, lower triangles read.
fn row_block_product(
    rows: &RowDims,
    blocks: RowBlocks<'_>,
    ridge: f64,
    x: &[f64],
    y: &mut [f64],
    y_abs: &mut [f64],
) {
    let entry = |i: usize, a: usize, b: usize| {
        let value = blocks.get(rows, i, a.max(b), a.min(b));
        if a == b { value + ridge } else { value }
    };
    par_rows(rows, 1, y, ROW_CHUNK, |i, y| {
        let x = &x[rows.offset(i)..rows.offset(i + 1)];
        for (a, y) in y.iter_mut().enumerate() {
            *y = x.iter().enumerate().map(|(b, x)| entry(i, a, b) * x).sum();
        }
    });
    par_rows(rows, 1, y_abs, ROW_CHUNK, |i, y| {
        let x = &x[rows.offset(i)..rows.offset(i + 1)];
        for (a, y) in y.iter_mut().enumerate() {
            *y = x
                .iter()
                .enumerate()
                .map(|(b, x)| (entry(i, a, b) * x).abs())
                .sum();
        }
    });
}

fn check_rows_finite(rows: &RowDims, blocks: RowBlocks<'_>) -> Result<(), Error> {
    let found = par_first(rows.rows(), ROW_CHUNK, &|range| {
        for i in range {
            for a in 0..rows.dim(i) {
                for b in 0..=a {
                    let value = blocks.get(rows, i, a, b);
                    if !value.is_finite() {
                        let index = vec![i, a, b];
                        return Some(Error::NotFinite {
                            array: "row_hessian",
                            index,
                            value,
                        });
                    }
                }
            }
        }
        None
    });
    found.map_or(Ok(()), Err)
}

/// The first number of `slice` that is not finite. Sums first: a finite sum of absolute values
/// proves every term finite, and only a failing slice is searched.
pub(crate) fn first_not_finite(slice: &[f64]) -> Option<usize> {
    let mut lanes = [0.0_f64; 16];
    let (chunks, rest) = slice.as_chunks::<16>();
    for chunk in chunks {
        for l in 0..16 {
            // x * 0 is 0 for finite x and NaN otherwise.
            lanes[l] += chunk[l] * 0.0;
        }
    }
    let clean = lanes.iter().sum::<f64>() == 0.0 && rest.iter().all(|x| x.is_finite());
    if clean {
        None
    } else {
        slice.iter().position(|x| !x.is_finite())
    }
}
