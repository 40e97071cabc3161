//! Rows first.
//!
//! ```math
//! D_i = L_i L_i', \quad Y_i = L_i^{-1} B_i, \quad S = C - \sum_i Y_i' Y_i = L_S L_S',
//! ```
//! ```math
//! u = L^{-1} b_t, \quad x_\beta = S^{-1}(b_\beta - Y' u), \quad x_t = L^{-T}(u - Y x_\beta).
//! ```
//!
//! Cost $`N k^2 + k^3 / 3`$, with $`Y`$ ($`N \times k`$) and $`L_S`$ kept.

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod work;

use crate::EliminationKind;

/// The name of rows first.
pub(crate) const KIND: EliminationKind = EliminationKind::Rows;
