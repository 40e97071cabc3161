//! Curved dictionaries fitted to activations by Levenberg-Marquardt.
//!
//! A row of data is modelled as $`x_i \approx W' \phi_i(t_i)`$: a shared linear decoder $`W`$ applied to
//! functions of a few coordinates. Each atom of the dictionary that is on in the row has one coordinate, on a
//! circle, torus, cylinder, sphere or Euclidean space. The fit minimises
//!
//! ```math
//! f(t, W) = \tfrac12 \sum_i |x_i - W' \phi_i(t_i)|^2 + \tfrac\lambda2 \operatorname{tr}(W' P W)
//!           + \tfrac\kappa2 \sum_{\text{lines}} |t|^2
//! ```
//!
//! by Gauss-Newton with a Levenberg-Marquardt ridge; every step is the solution of a structured
//! arrow system ([`broadhead_schur`]).
//!
//! ```
//! use broadhead_sae::{Basis, Dictionary, FitOptions, Topology, fit, go_on};
//! use ndarray::Array2;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rows = Array2::from_shape_fn((60, 4), |(i, j)| {
//!     let (sin, cos) = (i as f64 * 0.7).sin_cos();
//!     [3.0 + 2.0 * cos, sin - cos, 0.5 * sin, 1.0][j]
//! });
//! let dictionary = Dictionary::uniform(1, Topology::Circle, Basis::Harmonics { highest: 1 })?;
//! let fit = fit(rows.view(), &dictionary, &FitOptions::default(), &go_on)?;
//! assert!(fit.converged && fit.explained_variance > 0.999_999);
//! # Ok(()) }
//! ```
//!
//! [`fit`] fits; a [`Model`] places new rows and is saved to a file; [`fit_many`] runs many fits in parallel.
//! [`fit_on`] and [`fit_many_on`] do the same on a [`Place`]: with a device, or with measured rates.
//!
//! ```text
//!   data      rows in their own type, centred and scaled; how they vary
//!   model     topologies, bases, dictionaries
//!   iterate   what follows from coordinates and a decoder: features, residuals, objective
//!   lm        the decision, the host loop and the device loop; the problems they run: curved, quadratic
//!   starts    where a fit begins, and which starts are worth finishing
//!   rounds    gates and coordinates chosen anew between inner fits
//!   encode    one row under a fixed decoder; new rows
//!   holdout   fits that leave rows out and encode them afterwards
//! ```

mod data;
mod encode;
mod error;
mod fit;
mod holdout;
mod iterate;
pub mod lm;
mod many;
pub mod memory;
pub mod model;
mod options;
mod place;
mod progress;
mod report;
mod rounds;
mod starts;

pub use data::element::{ByteOrder, ElementType};
pub use data::rows::{MatrixOrder, Placement, Rows, RowsError, Stored};
pub use data::variation::{NoVariation, Share, Variation};
pub use encode::{EncodeOptions, EncodedRows, Encoding, Explanation, NoExplanation};
pub use error::{CurvedError, FitError};
pub use fit::{fit, fit_on};
pub use holdout::{HeldOut, fit_holding_out};
pub use iterate::coordinates::Gates;
pub use lm::curved::{BorderMode, Chosen, SolveSummary};
pub use lm::go_on;
pub use many::{FitJob, fit_many, fit_many_on};
pub use model::basis::Basis;
pub use model::dictionary::{Amplitudes, Atom, Dictionary, DictionaryError};
pub use model::file::ModelError;
pub use model::fitted::Model;
pub use model::gates::GatePolicy;
pub use model::places::{ActiveAtom, RowPlaces};
pub use model::topology::Topology;
pub use options::{Acceptance, FitOptions, Pulls, Screening, SolveOptions};
pub use place::Place;
pub use progress::{Progress, Watch};
pub use report::{Fit, StartReport, StartStage};
#[doc(hidden)]
pub use rounds::device::check::{BothRounds, indefinite_round, rounds_on_both};
pub use rounds::{GateRound, RoundStage};
pub use starts::StartKind;
