//! The Levenberg-Marquardt inner loop: one decision, one driver, any problem.
//!
//! At a relative ridge `r` a [`Problem`] solves `(H + ridge) delta = -residual` and offers the trial
//! point. [`decide`] settles acceptance, ridge and status from numbers alone, and [`settle`] tests the
//! residual after an acceptance; both are pure and use only `+ - * /` and comparisons, so that a
//! device can run the same text and give the same bits. [`minimise`] is the host loop around them.
//!
//! ```text
//! begin -> [ try_step(r) -> decide -> accept -> settle ]*  -> converged | limit
//!               |              `----> reject ----'
//!               `-> not positive definite -> decide (r grows)
//!               `-> stop (the problem's own error)
//! ```
//!
//! Invariants: only a step that is accepted can converge; only "not positive definite" and a
//! rejection grow the ridge; an error that is neither ends the loop at once.

pub(crate) mod curved;
mod decision;
pub mod device;
mod driver;
pub(crate) mod gradients;
pub mod quadratic;

pub use decision::{Decision, Outcome, Rule, State, Status, begin, decide, settle};
pub use driver::{
    LastTrial, LmError, LmReport, Objective, Problem, StepFailure, TraceEntry, Trial, go_on,
    minimise,
};
