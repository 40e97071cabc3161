//! Curved dictionaries fitted to activations by Levenberg-Marquardt.
//!
//! A row of data is modelled as `x_i ~ W' phi_i(t_i)`: a shared linear decoder `W` over functions of
//! a few coordinates on a circle, torus, sphere or Euclidean space, one coordinate for each atom of
//! the dictionary that is on in the row. The fit minimises
//!
//! ```text
//! f(t, W) = sum |x_i - W' phi_i(t_i)|^2 / 2 + lambda tr(W' P W) / 2 + kappa sum |t_Euclidean|^2 / 2
//! ```
//!
//! by Gauss-Newton with a Levenberg-Marquardt ridge; every step is the solution of a structured
//! arrow system (`broadhead_schur`).

pub mod basis;
pub mod dictionary;
pub mod lm;
pub mod quadratic;
pub mod topology;
