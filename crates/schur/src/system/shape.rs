//! The shape of a system together with its kind: all that a plan and an allocation depend on.

use super::System;
use crate::elimination::count_pairs;
use crate::{ArrowShape, EliminationKind, Error, ShapeError, StructuredShape};

/// The shape and kind of a system.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SystemShape {
    /// Dense operands.
    Dense(ArrowShape),
    /// Structured operands, and how sparse their features are.
    Structured {
        /// Rows, features, outputs.
        shape: StructuredShape,
        /// The mean share of features on in a row, in `[0, 1]`.
        density: f64,
        /// Pairs of a feature of $`\phi`$ and one of $`\Psi`$ that are on in the same row; $`M^2`$
        /// where features are dense. The order of the core where they are sparse.
        pairs: usize,
    },
    /// Operands known by their products.
    Operator(ArrowShape),
}

impl SystemShape {
    /// The shape of `system`.
    pub fn of(system: &System<'_>) -> Self {
        match system {
            System::Dense(system) => Self::Dense(system.shape().clone()),
            System::Structured(system) => {
                let shape = system.structured_shape();
                let cells = shape.arrow().row_count() as f64 * shape.features() as f64;
                let on = system.features().indices.len() as f64;
                let density = if cells > 0.0 { on / cells } else { 0.0 };
                Self::Structured {
                    shape: shape.clone(),
                    density,
                    pairs: count_pairs(system, density),
                }
            }
            System::Operator(system) => Self::Operator(system.shape().clone()),
        }
    }

    /// As an arrow shape.
    pub fn arrow(&self) -> &ArrowShape {
        match self {
            Self::Dense(shape) | Self::Operator(shape) => shape,
            Self::Structured { shape, .. } => shape.arrow(),
        }
    }

    /// The word for the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Structured { .. } => "structured",
            Self::Operator(_) => "operator",
        }
    }

    /// Checks that `system` has this shape and kind; how dense its features are may differ.
    pub(crate) fn check(&self, system: &System<'_>) -> Result<(), Error> {
        let same = match (self, system) {
            (Self::Dense(shape), System::Dense(system)) => shape == system.shape(),
            (Self::Structured { shape, .. }, System::Structured(system)) => {
                shape == system.structured_shape()
            }
            (Self::Operator(shape), System::Operator(system)) => shape == system.shape(),
            _ => false,
        };
        if same {
            return Ok(());
        }
        let sizes =
            |arrow: &ArrowShape| vec![arrow.row_count(), arrow.row_unknowns(), arrow.border()];
        Err(ShapeError::Mismatch {
            array: "system (rows, row unknowns, border)",
            got: sizes(system.shape()),
            expected: sizes(self.arrow()),
        }
        .into())
    }

    pub(crate) fn dense(&self, elimination: EliminationKind) -> Result<&ArrowShape, Error> {
        match self {
            Self::Dense(shape) => Ok(shape),
            Self::Structured { .. } => Err(Error::Unsupported {
                elimination,
                system: self.kind(),
                why: "it would form the structured border densely",
            }),
            Self::Operator(_) => Err(Error::ClosureOperand {
                elimination,
                array: "row_cross",
            }),
        }
    }

    /// Shape, density and pairs of a structured system.
    pub(crate) fn structured_with_pairs(
        &self,
        elimination: EliminationKind,
    ) -> Result<(&StructuredShape, f64, usize), Error> {
        let shape = self.structured(elimination)?;
        let (density, pairs) = match self {
            Self::Structured { density, pairs, .. } => (*density, *pairs),
            Self::Dense(_) | Self::Operator(_) => (0.0, 0),
        };
        Ok((shape, density, pairs))
    }

    pub(crate) fn structured(
        &self,
        elimination: EliminationKind,
    ) -> Result<&StructuredShape, Error> {
        match self {
            Self::Structured { shape, .. } => Ok(shape),
            Self::Dense(_) => Err(Error::Unsupported {
                elimination,
                system: self.kind(),
                why: "the core is that of a structured border",
            }),
            Self::Operator(_) => Err(Error::ClosureOperand {
                elimination,
                array: "row_cross",
            }),
        }
    }
}
