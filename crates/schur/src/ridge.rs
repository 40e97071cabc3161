//! The ridge: what is added to the diagonals of the row blocks and of the border.

use serde::{Deserialize, Serialize};

/// Absolute ridges $`(\rho_t, \rho_\beta)`$, in the units of the Hessian's diagonal.
///
/// $`\rho_t`$ is added to the diagonal of every $`D_i`$, $`\rho_\beta`$ to that of $`C`$ (of $`G`$, in a
/// structured system).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    /// $`\rho_t`$, on the rows.
    pub row: f64,
    /// $`\rho_\beta`$, on the border.
    pub border: f64,
}

impl Ridge {
    /// No ridge: the bare operator.
    pub const ZERO: Self = Self {
        row: 0.0,
        border: 0.0,
    };

    /// The ridges of both sides.
    pub fn new(row: f64, border: f64) -> Self {
        Self { row, border }
    }

    /// The same relative ridge `r` on both sides: `r` times the mean diagonal of each.
    pub fn relative(r: f64, means: MeanDiagonals) -> Self {
        Self {
            row: r * means.row,
            border: r * means.border,
        }
    }

    /// This ridge with `bump` more on `side`.
    #[must_use]
    pub fn bumped(self, side: crate::Side, bump: f64) -> Self {
        match side {
            crate::Side::Row => Self {
                row: self.row + bump,
                ..self
            },
            crate::Side::Border => Self {
                border: self.border + bump,
                ..self
            },
        }
    }

    /// Declines a ridge that is negative or not finite.
    pub(crate) fn check(self) -> Result<(), crate::Error> {
        use crate::Side;
        for (side, value) in [(Side::Row, self.row), (Side::Border, self.border)] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(crate::Error::Ridge { side, value });
            }
        }
        Ok(())
    }

    /// Whether both are finite and at least zero.
    pub fn is_valid(self) -> bool {
        self.row >= 0.0 && self.border >= 0.0 && self.row.is_finite() && self.border.is_finite()
    }
}

/// Mean diagonals of the two sides of an operator without ridge; the scale of a relative ridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanDiagonals {
    /// Mean diagonal entry over all $`D_i`$; 0 where there is none.
    pub row: f64,
    /// Mean diagonal entry of $`C`$; 0 where there is none.
    pub border: f64,
}
