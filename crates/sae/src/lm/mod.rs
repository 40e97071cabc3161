//! The Levenberg-Marquardt inner loop: one decision, one driver, any problem.
//!
//! At a relative ridge `r` a [`Problem`] solves `(H + ridge) delta = -residual` and evaluates the trial
//! point. [`decide`] settles acceptance, ridge and status from numbers alone, and [`settle`] tests the
//! residual after an acceptance; both are pure and use only `+ - * /` and comparisons, so that a
//! device can run the same text and give the same bits. [`minimise`] is the loop around them.
//!
//! ```text
//! begin -> [ try_step -> decide -> accept -> settle ]*  -> converged | limit
//!              |             `---> reject ---'
//!              |-> decided already: checked against the rule
//!              |-> not positive definite -> decide (r grows)
//!              `-> stop (the problem's own error)
//! ```
//!
//! | problem | where | who decides |
//! |---|---|---|
//! | curved, `curved.rs` | host; its linear solves where the planner sends them | the driver |
//! | quadratic, `quadratic/fit.rs` | the same | the driver |
//! | quadratic, `device/iterates.rs` | device, one graph a trial | the device, by the same text |
//! | quadratic, `device/fit.rs` | device, one graph for many trials | the device, by the same text |
//!
//! Invariants: only a step that is accepted can converge; only "not positive definite" and a
//! rejection grow the ridge; an error that is neither ends the loop at once.

pub(crate) mod curved;
mod decision;
pub mod device;
mod driver;
pub(crate) mod ended;
pub(crate) mod gradients;
pub mod quadratic;

pub use decision::{Decision, Outcome, Rule, State, Status, begin, decide, settle};
pub use driver::{
    Decided, LastTrial, LmError, LmReport, Objective, Problem, StepFailure, TraceEntry, Trial,
    Tried, go_on, minimise,
};
