//! Curved dictionaries fitted to activations by Levenberg-Marquardt.
//!
//! A row of data is modelled as $`x_i \approx W' \phi_i(t_i)`$: a shared linear decoder $`W`$ over
//! functions of a few coordinates on a circle, torus, sphere or Euclidean space, one coordinate for
//! each atom of the dictionary that is on in the row. The fit minimises
//!
//! ```math
//! f(t, W) = \tfrac12 \sum_i |x_i - W' \phi_i(t_i)|^2 + \tfrac\lambda2 \operatorname{tr}(W' P W)
//!           + \tfrac\kappa2 \sum_{\text{Euclidean}} |t|^2
//! ```
//!
//! by Gauss-Newton with a Levenberg-Marquardt ridge; every step is the solution of a structured
//! arrow system ([`broadhead_schur`]).
//!
//! ```
//! use broadhead_sae::{Basis, Dictionary, FitOptions, Topology, fit};
//! use ndarray::Array2;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rows = Array2::from_shape_fn((60, 4), |(i, j)| {
//!     let (sin, cos) = (i as f64 * 0.7).sin_cos();
//!     [3.0 + 2.0 * cos, sin - cos, 0.5 * sin, 1.0][j]
//! });
//! let dictionary = Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 })?;
//! let fit = fit(rows.view(), &dictionary, &FitOptions::default(), &|_| {})?;
//! assert!(fit.converged && fit.explained_variance > 0.999_999);
//! # Ok(()) }
//! ```
//!
//! [`fit`] fits, [`encode`] places new rows, [`fit_many`] runs many fits side by side.

pub mod basis;
mod cluster;
mod coordinates;
mod curved;
mod data;
pub mod dictionary;
mod encode;
mod error;
mod features;
mod fit;
mod gates;
mod grid;
mod layout;
pub mod lm;
pub mod memory;
mod options;
mod planes;
mod point;
mod principal;
pub mod quadratic;
mod report;
mod reseed;
mod row;
mod screen;
mod sequence;
mod starts;
pub mod topology;
mod variation;
mod whitening;

pub use basis::Basis;
pub use coordinates::Gates;
pub use curved::{BorderMode, Chosen, SolveSummary};
pub use dictionary::{Atom, Dictionary, DictionaryError};
pub use encode::{EncodeOptions, Encoding, NoExplanation, encode};
pub use error::{CurvedError, FitError};
pub use fit::{FitJob, Progress, fit, fit_many};
pub use gates::GatePolicy;
pub use options::{FitOptions, Screening};
pub use report::{Fit, StartReport, StartStage};
pub use sequence::GateRound;
pub use starts::StartKind;
pub use topology::Topology;
pub use variation::{NoVariation, Share, Variation};
