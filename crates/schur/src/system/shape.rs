//! The shape of a system together with its kind: all that a plan and an allocation depend on.

use super::System;
use crate::{ArrowShape, EliminationKind, Error, ShapeError, StructuredShape};

/// The shape and kind of a system.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SystemShape {
    /// Dense operands.
    Dense(ArrowShape),
    /// Structured operands; `density` is the mean share of the features that are on in a row.
    Structured {
        /// Rows, features, outputs.
        shape: StructuredShape,
        /// The mean share of features on in a row, in `[0, 1]`.
        density: f64,
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
        let other = Self::of(system);
        let same = match (self, &other) {
            (Self::Structured { shape: a, .. }, Self::Structured { shape: b, .. }) => a == b,
            (a, b) => a == b,
        };
        if same {
            return Ok(());
        }
        let sizes = |shape: &Self| {
            let arrow = shape.arrow();
            vec![arrow.row_count(), arrow.row_unknowns(), arrow.border()]
        };
        Err(ShapeError::Mismatch {
            array: "system (rows, row unknowns, border)",
            got: sizes(&other),
            expected: sizes(self),
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
