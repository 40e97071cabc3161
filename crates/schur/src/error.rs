//! What can go wrong, in two kinds that no loop can mix up: *not positive definite*, which more
//! ridge can cure, and everything else, which ends the work at once.

use crate::{EliminationKind, MeanDiagonals, Ridge, ShapeError};
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
/// a ridge: [`NotPositiveDefinite::next`] says to which.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("not positive definite: {site}, {value:e}{}", self.remedy())]
pub struct NotPositiveDefinite {
    /// Where it showed.
    pub site: PivotSite,
    /// The pivot, or the curvature $`p' S p / p' p`$, that was not positive. Of a pivot that is zero to
    /// rounding, where the factorization that refused it and the sum that is told here round to
    /// different signs, the sum.
    pub value: f64,
    /// What to add to the ridge of [`PivotSite::side`] so that what failed here factors; what comes after
    /// it may still fail. Found by factoring: at most four times the least such (or $`2^{-256}`$ of the
    /// side's diagonal), but of what is eliminated first never below [`crate::LEAST_BUMP`] of the diagonal
    /// of the blocks that failed, so that the Schur complement keeps its digits. Absent where no ridge
    /// below the largest finite number serves, and for a curvature met by conjugate gradients, which is a
    /// lower bound and stands in `value`.
    pub bump: Option<f64>,
    /// What to add to the ridges of both sides so that all of the operator factors: on one side alone
    /// where that does it, else what makes both the same multiple $`r`$ of their mean diagonals (a ridge
    /// that is larger already stays). The ridges reached are at most 16 times those of the least $`r`$ that
    /// makes the whole matrix positive definite, but for the floor under `bump`, which $`r`$ has too.
    /// Found by factoring the whole at up to a few dozen ridges, six as a rule. Of conjugate gradients
    /// it is known that the right-hand sides at hand are solved there. Absent where no ridge serves, and
    /// where nobody looked: the bases of [`crate::device`] look when asked to.
    pub whole: Option<Ridge>,
}

impl NotPositiveDefinite {
    /// The ridge to try after `ridge`, at which it failed; `None` where nothing is known to serve.
    #[must_use]
    pub fn next(&self, ridge: Ridge) -> Option<Ridge> {
        match (self.whole, self.bump) {
            (Some(more), _) => Some(Ridge {
                row: ridge.row + more.row,
                border: ridge.border + more.border,
            }),
            (None, Some(bump)) => Some(ridge.bumped(self.site.side(), bump)),
            (None, None) => None,
        }
    }

    /// How much more *relative* ridge that is, the same on both sides: the larger of the two, each by the
    /// mean diagonal of its side. Infinite where a side without scale needs a ridge; 0 where nothing is
    /// known to serve.
    pub fn relative_bump(&self, means: MeanDiagonals) -> f64 {
        let Some(more) = self.next(Ridge::ZERO) else {
            return 0.0;
        };
        let of = |more: f64, mean: f64| match (more > 0.0, mean > 0.0) {
            (true, true) => more / mean,
            (true, false) => f64::INFINITY,
            (false, _) => 0.0,
        };
        let (row, border) = (of(more.row, means.row), of(more.border, means.border));
        if row > border { row } else { border }
    }

    /// What is so of its bumps.
    fn remedy(&self) -> String {
        let side = self.site.side();
        let what = match self.site {
            PivotSite::Row { .. } => "block",
            PivotSite::EliminatedRow { .. } | PivotSite::Border { .. } => "side",
            PivotSite::Curvature { .. } => "direction",
        };
        let one = |side: Side, more: f64, what: &str| {
            format!("; a {side} ridge larger by {more:e} makes {what} factor")
        };
        let whole = self.whole.map(|more| match (more.row, more.border) {
            (row, 0.0) => one(Side::Row, row, "the whole"),
            (0.0, border) => one(Side::Border, border, "the whole"),
            (row, border) => format!(
                "; a row ridge larger by {row:e} and a border ridge larger by {border:e} make the \
                 whole factor"
            ),
        });
        let alone = |bump: f64| self.whole == Some(Ridge::ZERO.bumped(side, bump));
        let own = self.bump.filter(|bump| !alone(*bump));
        let own = own.map(|bump| one(side, bump, &format!("this {what}")));
        own.into_iter().chain(whole).collect()
    }
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
    /// The side whose ridge makes what failed here factor.
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
    /// The elimination does not serve this kind of system, or was made for another kind.
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
