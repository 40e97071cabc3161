//! An iterate of the curved problem: everything that follows from coordinates and a decoder.
//!
//! ```text
//!   coordinates   where each row sits on each atom, and how strongly the atom is on
//!   layout        which features and unknowns each row has under given gates
//!   features      phi, Psi, their sums over rows, residuals and gradients
//!   whitening     coordinates on lines kept at unit variance
//!   point         all of it together, with the objective
//! ```

pub(crate) mod cones;
pub(crate) mod coordinates;
pub(crate) mod features;
pub(crate) mod layout;
pub(crate) mod point;
pub(crate) mod whitening;
