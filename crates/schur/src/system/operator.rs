//! Arrow systems whose cross block and border are known by their products alone.

use super::{ProductMut, first_not_finite};
use crate::{ArrowShape, Error, RowBlocks, ShapeError};

/// A cross block $`B`$ given as two products.
pub trait CrossProduct: Sync {
    /// $`y \leftarrow B x`$; `x` of length $`k`$, `y` of length $`N`$.
    fn apply(&self, x: &[f64], y: &mut [f64]);
    /// $`y \leftarrow B' x`$; `x` of length $`N`$, `y` of length $`k`$.
    fn apply_transpose(&self, x: &[f64], y: &mut [f64]);
}

/// A pair of closures is a cross block: $`B x`$ and $`B' x`$.
impl<F, T> CrossProduct for (F, T)
where
    F: Fn(&[f64], &mut [f64]) + Sync,
    T: Fn(&[f64], &mut [f64]) + Sync,
{
    fn apply(&self, x: &[f64], y: &mut [f64]) {
        self.0(x, y);
    }
    fn apply_transpose(&self, x: &[f64], y: &mut [f64]) {
        self.1(x, y);
    }
}

/// A border $`C`$ given as its product. A closure is one.
pub trait BorderProduct: Sync {
    /// $`y \leftarrow C x`$, both of length $`k`$. $`C`$ is symmetric.
    fn apply(&self, x: &[f64], y: &mut [f64]);
}

impl<F: Fn(&[f64], &mut [f64]) + Sync> BorderProduct for F {
    fn apply(&self, x: &[f64], y: &mut [f64]) {
        self(x, y);
    }
}

/// Row blocks as arrays, the rest as closures. Served by the iterative elimination; the direct
/// ones refuse it with [`crate::Error::ClosureOperand`].
#[derive(Clone, Copy)]
pub struct OperatorSystem<'a> {
    shape: &'a ArrowShape,
    row_hessian: RowBlocks<'a>,
    cross: &'a dyn CrossProduct,
    border: &'a dyn BorderProduct,
    border_diagonal: Option<&'a [f64]>,
}

impl std::fmt::Debug for OperatorSystem<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorSystem")
            .field("shape", self.shape)
            .finish_non_exhaustive()
    }
}

impl<'a> OperatorSystem<'a> {
    /// A system of `shape`. `border_diagonal`, of length $`k`$, preconditions where it is known.
    ///
    /// # Errors
    /// [`ShapeError`] where an array has other dimensions.
    pub fn new(
        shape: &'a ArrowShape,
        row_hessian: RowBlocks<'a>,
        cross: &'a dyn CrossProduct,
        border: &'a dyn BorderProduct,
        border_diagonal: Option<&'a [f64]>,
    ) -> Result<Self, ShapeError> {
        row_hessian.check(shape.rows())?;
        match border_diagonal {
            Some(diagonal) if diagonal.len() != shape.border() => Err(ShapeError::Mismatch {
                array: "border_diagonal",
                got: vec![diagonal.len()],
                expected: vec![shape.border()],
            }),
            _ => Ok(Self {
                shape,
                row_hessian,
                cross,
                border,
                border_diagonal,
            }),
        }
    }

    /// The shape.
    pub fn shape(&self) -> &'a ArrowShape {
        self.shape
    }

    /// $`D_i`$.
    pub fn row_hessian(&self) -> RowBlocks<'a> {
        self.row_hessian
    }

    /// $`B`$.
    pub fn cross(&self) -> &'a dyn CrossProduct {
        self.cross
    }

    /// $`C`$.
    pub fn border(&self) -> &'a dyn BorderProduct {
        self.border
    }

    /// The diagonal of $`C`$, where it is known.
    pub fn border_diagonal(&self) -> Option<&'a [f64]> {
        self.border_diagonal
    }

    pub(super) fn shorten<'b>(self) -> OperatorSystem<'b>
    where
        'a: 'b,
    {
        OperatorSystem {
            shape: self.shape,
            row_hessian: self.row_hessian.shorten(),
            cross: self.cross,
            border: self.border,
            border_diagonal: self.border_diagonal,
        }
    }

    pub(super) fn check_finite(&self) -> Result<(), Error> {
        let diagonal = self.border_diagonal.unwrap_or(&[]);
        match first_not_finite(diagonal) {
            Some(at) => Err(Error::NotFinite {
                array: "border_diagonal",
                index: vec![at],
                value: diagonal[at],
            }),
            None => Ok(()),
        }
    }

    /// Adds the parts of $`B`$ and $`C`$ to `y`, and the absolute values of those products, whose
    /// terms are not known, to its twin.
    pub(super) fn add_product(&self, x_row: &[f64], x_border: &[f64], y: ProductMut<'_>) {
        fn add(part: &[f64], y: &mut [f64], y_abs: &mut [f64]) {
            for ((y, y_abs), part) in y.iter_mut().zip(y_abs).zip(part) {
                *y += part;
                *y_abs += part.abs();
            }
        }
        let mut part = vec![0.0; x_row.len()];
        self.cross.apply(x_border, &mut part);
        add(&part, y.row, y.row_abs);
        part.resize(x_border.len(), 0.0);
        part.fill(0.0);
        self.cross.apply_transpose(x_row, &mut part);
        add(&part, y.border, y.border_abs);
        self.border.apply(x_border, &mut part);
        add(&part, y.border, y.border_abs);
    }
}
