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
mod options;
mod point;
mod principal;
pub mod quadratic;
mod report;
mod row;
mod screen;
mod sequence;
mod starts;
pub mod topology;

pub use basis::Basis;
pub use coordinates::Gates;
pub use curved::{BorderMode, SolveSummary};
pub use dictionary::{Atom, Dictionary, DictionaryError};
pub use encode::{EncodeOptions, Encoding, encode};
pub use error::{CurvedError, FitError};
pub use fit::{FitJob, Progress, fit, fit_many};
pub use gates::GatePolicy;
pub use options::{FitOptions, Screening};
pub use report::{Fit, StartReport, StartStage};
pub use sequence::GateRound;
pub use starts::StartKind;
pub use topology::Topology;
