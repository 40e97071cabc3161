//! Border first.
//!
//! ```math
//! C = L_C L_C', \quad T = D - B C^{-1} B', \quad x_t = T^{-1}(b_t - B C^{-1} b_\beta), \quad
//! x_\beta = C^{-1}(b_\beta - B' x_t) .
//! ```
//!
//! $`T`$ has order $`N`$: right where $`N < k`$ and $`C`$'s factor is cheap. Of a structured system
//! $`C^{-1} = G^{-1} \otimes I_p`$ needs a factor of order $`M`$ alone, and
//! $`T = D - (\tilde\Phi \tilde\Phi') \circ (J J')`$ is a Hadamard product of Gram matrices,
//! $`J_i J_j' = \Psi_i R R' \Psi_j'`$.
//!
//! One right-hand side ends with a sweep: a row whose own equation does not hold to a few
//! roundings of its terms is solved again from its own factor,
//! $`x_i = D_i^{-1}(b_i - B_i x_\beta)`$. In FP64 $`x_\beta`$ carries the rounding of the largest row,
//! which a $`D_j`$ within $`\delta`$ of singular makes as large as $`\epsilon / \delta`$, into the equations
//! of rows of modest size; $`T`$ couples all rows, and refinement by $`T`$ brings the same error back
//! each time, because the residual of row $`j`$ is itself rounded at that size. Solving the rows
//! again is half a step of block Gauss-Seidel, which never raises the error in the energy norm.
//! Rows that hold are left alone: a new $`x_i`$ moves the border's residual by $`B_i'`$ of the change.

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod work;

use crate::EliminationKind;

/// The name of border first.
pub(crate) const KIND: EliminationKind = EliminationKind::Border;
