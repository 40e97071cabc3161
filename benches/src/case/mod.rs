//! Cases: seeded operands of a shape, as a system and as plain arrays.
//!
//! A case owns its operands and lends them to the solver. Its own products (plain loops over those
//! arrays, no code of the solver) are what a step is checked with.

mod arrow;
mod circles;

pub use arrow::Arrow;
pub use circles::Circles;

use crate::cell::{Phase, Shape};
use broadhead_schur::{ShapeError, System};

/// Operands of one shape.
#[derive(Debug)]
pub enum Operands {
    /// A dense arrow.
    Arrow(Arrow),
    /// Circle atoms.
    Circles(Circles),
}

/// Gradients, one after another: [`Phase::MANY`] of them.
#[derive(Debug)]
pub struct Gradients {
    /// `N` numbers each.
    pub row: Vec<f64>,
    /// `k` numbers each.
    pub border: Vec<f64>,
}

/// `H x` and `|H| |x|`, rows and border.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) row: Vec<f64>,
    pub(crate) border: Vec<f64>,
    pub(crate) row_abs: Vec<f64>,
    pub(crate) border_abs: Vec<f64>,
}

impl Operands {
    /// The operands of `shape`, made from `seed`.
    ///
    /// # Errors
    /// A shape whose sizes overflow.
    pub fn new(shape: Shape, seed: u64) -> Result<Self, ShapeError> {
        Ok(match shape {
            Shape::Arrow { rows, dim, border } => Self::Arrow(Arrow::new(rows, dim, border, seed)?),
            // Nothing is computed: an empty system.
            Shape::Ceilings => Self::Arrow(Arrow::new(0, 0, 0, seed)?),
            Shape::Circles {
                rows,
                atoms,
                on,
                harmonics,
                outputs,
            } => Self::Circles(Circles::new([rows, atoms, on, harmonics, outputs], seed)?),
        })
    }

    /// As a system.
    ///
    /// # Errors
    /// None for operands made by [`Operands::new`].
    pub fn system(&self) -> Result<System<'_>, ShapeError> {
        match self {
            Self::Arrow(arrow) => arrow.system().map(System::from),
            Self::Circles(circles) => circles.system().map(System::from),
        }
    }

    /// Gradients for it.
    pub fn gradients(&self) -> &Gradients {
        match self {
            Self::Arrow(arrow) => &arrow.gradients,
            Self::Circles(circles) => &circles.gradients,
        }
    }

    /// `N` and `k`.
    pub fn sizes(&self) -> (usize, usize) {
        let gradients = self.gradients();
        (
            gradients.row.len() / Phase::MANY,
            gradients.border.len() / Phase::MANY,
        )
    }

    /// The product with `x`, by plain loops over the arrays.
    pub(crate) fn product(&self, row: &[f64], border: &[f64]) -> Product {
        match self {
            Self::Arrow(arrow) => arrow.product(row, border),
            Self::Circles(circles) => circles.product(row, border),
        }
    }
}
