//! What can go wrong, in two kinds that no loop can mix up: *not positive definite*, which more
//! ridge can cure, and everything else, which ends the work at once.

use crate::{EliminationKind, ShapeError};
use broadhead_device::{Absence, DeviceError};
use serde::{Deserialize, Serialize};

/// A side of the arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The row blocks.
    Row,
    /// The border.
    Border,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Row => "row",
            Self::Border => "border",
        })
    }
}

/// An operator without a Cholesky factor at the ridge it was given. The only failure that may grow
/// a ridge.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("not positive definite: {site}, {value:e}{}", match bump {
    Some(bump) => format!("; a {} ridge larger by {bump:e} cures it", site.side()),
    None => String::new(),
})]
pub struct NotPositiveDefinite {
    /// Where it showed.
    pub site: PivotSite,
    /// The pivot, or the curvature $`p' S p / p' p`$, that was not positive. Of a pivot that is zero to
    /// rounding, where the factorization that refused it and the sum that is told here round to
    /// different signs, the sum.
    pub value: f64,
    /// What to add to the ridge of [`PivotSite::side`] so that it factors: found by factoring,
    /// and at most four times the least such (or $`2^{-256}`$ of the side's diagonal). Absent where no ridge below the largest finite
    /// number serves, or for a curvature met by conjugate gradients, where it is a lower bound
    /// that is reported in `value`.
    pub bump: Option<f64>,
}

/// Where a pivot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "side", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PivotSite {
    /// Pivot `pivot` of $`D_i`$, `i = row`.
    Row {
        /// The row.
        row: usize,
        /// The pivot's place in its block.
        pivot: usize,
    },
    /// Pivot `pivot` of the eliminated border.
    Border {
        /// The pivot's place.
        pivot: usize,
    },
    /// Pivot `pivot` of the eliminated rows $`T`$, of order $`N`$, which belongs to row `row`.
    EliminatedRow {
        /// The row.
        row: usize,
        /// The pivot's place in that row.
        pivot: usize,
    },
    /// A direction of the border met by conjugate gradients at iteration `iteration`.
    Curvature {
        /// The iteration.
        iteration: usize,
    },
}

impl PivotSite {
    /// The side whose ridge cures a failure here.
    pub fn side(self) -> Side {
        match self {
            Self::Row { .. } | Self::EliminatedRow { .. } => Side::Row,
            Self::Border { .. } | Self::Curvature { .. } => Side::Border,
        }
    }
}

impl std::fmt::Display for PivotSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Row { row, pivot } => write!(f, "row {row}, pivot {pivot}"),
            Self::Border { pivot } => write!(f, "border, pivot {pivot}"),
            Self::EliminatedRow { row, pivot } => {
                write!(f, "row {row} after the border's elimination, pivot {pivot}")
            }
            Self::Curvature { iteration } => {
                write!(
                    f,
                    "border, curvature at conjugate-gradient iteration {iteration}"
                )
            }
        }
    }
}

/// Anything that ends the work: no ridge cures it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shape cannot be or does not match.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// An array holds NaN or an infinity.
    #[error("{array}{index:?} is {value}: expected a finite number")]
    NotFinite {
        /// The array.
        array: &'static str,
        /// The index in it. An entry of a row's blocks is named by row, unknown and column,
        /// however the array stores it.
        index: Vec<usize>,
        /// The value.
        value: f64,
    },
    /// A ridge is negative or not finite.
    #[error("the {side} ridge is {value}: expected a finite number of at least 0")]
    Ridge {
        /// Its side.
        side: Side,
        /// Its value.
        value: f64,
    },
    /// The elimination does not serve this kind of system.
    #[error("{elimination} does not serve a {system} system: {why}")]
    Unsupported {
        /// The elimination.
        elimination: EliminationKind,
        /// The kind of system.
        system: &'static str,
        /// What it would need.
        why: &'static str,
    },
    /// A direct elimination was asked of operands that are known only by their products.
    #[error("{elimination} needs the entries of {array}, which is given as a closure")]
    ClosureOperand {
        /// The elimination.
        elimination: EliminationKind,
        /// The operand.
        array: &'static str,
    },
    /// More memory than allowed.
    #[error("{what} needs {needed} bytes, {limit} are allowed")]
    Memory {
        /// What asked for it.
        what: EliminationKind,
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Conjugate gradients ran out of iterations.
    #[error(
        "conjugate gradients reached a relative residual of {residual:e} in {iterations} \
         iterations, {target:e} was asked"
    )]
    NotConverged {
        /// Iterations done.
        iterations: usize,
        /// Relative residual reached.
        residual: f64,
        /// Relative residual asked.
        target: f64,
    },
    /// The arithmetic overflowed: the operands are finite, the result is not.
    #[error("{what} overflowed: the operands are too large for FP64")]
    Overflow {
        /// The quantity.
        what: &'static str,
    },
    /// A device was required and is absent.
    #[error(transparent)]
    Absent(#[from] Absence),
    /// A device declined, or failed at work that had begun.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why a frame was not built, or did not solve.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// More ridge may cure it.
    #[error(transparent)]
    NotPositiveDefinite(#[from] NotPositiveDefinite),
    /// Nothing cures it.
    #[error(transparent)]
    Stop(#[from] Error),
}

impl From<ShapeError> for Failure {
    fn from(error: ShapeError) -> Self {
        Self::Stop(error.into())
    }
}
