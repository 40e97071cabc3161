//! Structured systems on a CUDA device: the core, border first and conjugate gradients, on resident
//! operands.
//!
//! ```text
//!   refresh  D, phi, Psi, G, W        once a linearisation
//!   factor   D + rho = L L', V = L^-1 Psi    G + rho = L_G L_G', R R' = W W'    Z = L_Z L_Z'
//!   solve    rows -> E -> y = G^-1 (E W - g) -> w = Q z -> u = F Z^-1 F' w -> q = Q u
//!                 -> x = y + G^-1 ((w + q) W) -> rows
//! ```
//!
//! So the core; the algebra is that of [`crate::Core`]: of order $`M r`$ whatever the rows and outputs
//! are. Border first, as [`crate::BorderFirst`], factors a matrix of order $`N`$: right where the rows have
//! fewer unknowns than the core. Conjugate gradients do the core's solve without its matrix. Nothing of
//! order $`n M p`$ is formed and $`p`$ enters as $`M^2 p`$. Features are kept densely, one line of $`M`$ a
//! row, whichever are on: a feature that is off is a zero.
//!
//! # Invariants
//! As of [`super`]: the bits depend on operands and shape alone; refreshing, factoring and solving
//! allocate nothing; a factorization reads back one record of 168 bytes and a resident solve nothing, or
//! by conjugate gradients a record of 72 bytes at its end.

mod base;
mod engine;
pub(crate) mod factors;
pub(crate) mod kernels;
pub(crate) mod layout;
mod method;
pub(crate) mod operands;
pub(crate) mod row_products;

pub use base::{StructuredBase, StructuredFrame};
pub use engine::StructuredEngine;
pub use layout::{MOST_FEATURES, MOST_FEATURES_ITERATIVE};
pub(crate) use layout::{PIECE, pass_chunks};
pub use method::StructuredMethod;
