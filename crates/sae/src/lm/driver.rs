//! The host loop around the decision, and what a problem has to offer it.

use super::decision::{Outcome, Rule, State, Status, begin, decide, settle};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// An objective and its scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The value `f`.
    pub value: f64,
    /// `s`: the sum of the absolute values of its terms.
    pub scale: f64,
}

/// What a step offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The reduction that the bare quadratic (`H` without ridge) predicts.
    pub predicted: f64,
    /// The objective at the trial point; need not be finite.
    pub objective: Objective,
}

/// Why there is no step: the two kinds that a loop must not mix up.
#[derive(Debug, PartialEq)]
pub enum StepFailure<E> {
    /// Try again with more ridge.
    NotPositiveDefinite {
        /// How much *more* relative ridge makes the block that failed factor.
        relative_bump: f64,
        /// What failed, in words: side, row, pivot.
        what: String,
    },
    /// End the fit.
    Stop(E),
}

/// A problem that the loop can minimise. It holds its current point and at most one trial point.
pub trait Problem {
    /// What ends a fit at once: an absent device, exhausted memory, a wrong shape.
    type Error: std::error::Error;

    /// The objective at the current point.
    fn objective(&self) -> Objective;

    /// Norms of the residual (the gradient) in the row block and in the border block at the current
    /// point, computed without overflow. A block that is projected out or empty has norm 0.
    fn residual_norms(&self) -> [f64; 2];

    /// Solves at the relative ridge and evaluates the trial point.
    ///
    /// # Errors
    /// [`StepFailure`].
    fn try_step(&mut self, relative_ridge: f64) -> Result<Trial, StepFailure<Self::Error>>;

    /// Makes the trial point the current point, residual included.
    ///
    /// # Errors
    /// What ends the fit.
    fn accept(&mut self) -> Result<(), Self::Error>;

    /// Drops the trial point.
    fn reject(&mut self);
}

/// One trial, as it is written to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Accepted steps after this trial.
    pub iteration: u64,
    /// The number of this trial, from 1.
    pub trial: u64,
    /// The objective at the trial point; absent where there was no step or it is not finite.
    pub objective: Option<f64>,
    /// The predicted reduction; absent likewise.
    pub predicted: Option<f64>,
    /// Actual over predicted reduction (see [`decide`]).
    pub gain: f64,
    /// The relative ridge of the trial.
    pub ridge: f64,
    /// Whether the trial was accepted.
    pub accepted: bool,
}

/// How a loop ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LmReport {
    /// Why it ended.
    pub status: Status,
    /// Accepted steps.
    pub iterations: u64,
    /// Trials.
    pub trials: u64,
    /// The objective reached.
    pub objective: f64,
    /// The relative ridge that the next trial would have had.
    pub ridge: f64,
    /// Residual norms of the row and the border block at the end.
    pub residual_norms: [f64; 2],
}

impl LmReport {
    /// Whether the loop converged.
    pub fn converged(&self) -> bool {
        self.status.converged()
    }
}

/// What became of the last trial before a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LastTrial {
    /// The objective did not fall, or was not finite.
    Rejected,
    /// A block was not positive definite: which, in words.
    NotPositiveDefinite(String),
}

impl std::fmt::Display for LastTrial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected => f.write_str("the step was rejected"),
            Self::NotPositiveDefinite(what) => f.write_str(what),
        }
    }
}

/// Why a loop failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LmError<E: std::error::Error + 'static> {
    /// The ridge passed its ceiling.
    #[error(
        "the relative ridge grew to {ridge:e}, past {ceiling:e}, at iteration {iteration} \
         (trial {trial}): {last}"
    )]
    RidgeCeiling {
        /// Accepted steps before the failure.
        iteration: u64,
        /// The trial after which the ridge passed the ceiling.
        trial: u64,
        /// The ridge.
        ridge: f64,
        /// The ceiling.
        ceiling: f64,
        /// Why the ridge grew last.
        last: LastTrial,
    },
    /// The objective or the residual is not finite where the fit starts.
    #[error(
        "at the start the objective is {objective}, its scale {scale}, the residual norms {norms:?}"
    )]
    StartNotFinite {
        /// The objective.
        objective: f64,
        /// Its scale.
        scale: f64,
        /// Residual norms of the row and the border block.
        norms: [f64; 2],
    },
    /// The observer stopped it.
    #[error("stopped at iteration {iteration} (trial {trial})")]
    Cancelled {
        /// Accepted steps so far.
        iteration: u64,
        /// Trials so far.
        trial: u64,
    },
    /// A number of the rule is out of range.
    #[error("the rule's {field} is out of range")]
    Rule {
        /// The field.
        field: &'static str,
    },
    /// The problem's own error.
    #[error(transparent)]
    Problem(#[from] E),
}

/// An observer that never stops what it is shown.
pub fn go_on<T: ?Sized>(_: &T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Minimises `problem` under `rule`; every trial is shown to `observer`, which may stop the loop.
///
/// # Errors
/// [`LmError`]. Running out of iterations or trials is no error: the report says so.
pub fn minimise<P: Problem>(
    problem: &mut P,
    rule: &Rule,
    observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
) -> Result<LmReport, LmError<P::Error>>
where
    P::Error: 'static,
{
    if let Some(field) = rule.out_of_range() {
        return Err(LmError::Rule { field });
    }
    let mut state = start(problem, rule)?;
    while state.status == Status::Running {
        let ridge = state.ridge;
        let (outcome, last) = match problem.try_step(ridge) {
            Ok(trial) => (outcome_of(&trial), LastTrial::Rejected),
            Err(StepFailure::NotPositiveDefinite {
                relative_bump,
                what,
            }) => (
                Outcome::NotPositiveDefinite {
                    bump: relative_bump,
                },
                LastTrial::NotPositiveDefinite(what),
            ),
            Err(StepFailure::Stop(error)) => return Err(LmError::Problem(error)),
        };
        let decision = decide(rule, &state, &outcome);
        state = decision.state;
        if observer(&entry(&state, &outcome, ridge, &decision)).is_break() {
            return Err(cancelled(&state));
        }
        if decision.accepted {
            problem.accept()?;
            state = settle(rule, &state, problem.residual_norms());
        } else {
            if matches!(outcome, Outcome::Step { .. }) {
                problem.reject();
            }
            if state.status == Status::RidgeCeiling {
                return Err(past_ceiling(rule, &state, last));
            }
        }
    }
    Ok(LmReport {
        status: state.status,
        iterations: state.iterations,
        trials: state.trials,
        objective: state.objective,
        ridge: state.ridge,
        residual_norms: problem.residual_norms(),
    })
}

fn start<P: Problem>(problem: &P, rule: &Rule) -> Result<State, LmError<P::Error>>
where
    P::Error: 'static,
{
    start_at(rule, problem.objective(), problem.residual_norms())
}

/// The state at the start, where all of it is finite.
pub(super) fn start_at<E: std::error::Error>(
    rule: &Rule,
    objective: Objective,
    norms: [f64; 2],
) -> Result<State, LmError<E>> {
    let Objective { value, scale } = objective;
    if !(value.is_finite() && scale.is_finite() && norms.iter().all(|n| n.is_finite())) {
        return Err(LmError::StartNotFinite {
            objective: value,
            scale,
            norms,
        });
    }
    Ok(begin(rule, value, scale, norms))
}

/// The failure of a loop whose ridge passed its ceiling after the trial that `last` says.
pub(super) fn past_ceiling<E: std::error::Error>(
    rule: &Rule,
    state: &State,
    last: LastTrial,
) -> LmError<E> {
    LmError::RidgeCeiling {
        iteration: state.iterations,
        trial: state.trials,
        ridge: state.ridge,
        ceiling: rule.ridge_ceiling,
        last,
    }
}

/// The end of a loop that was stopped.
pub(super) fn cancelled<E: std::error::Error>(state: &State) -> LmError<E> {
    LmError::Cancelled {
        iteration: state.iterations,
        trial: state.trials,
    }
}

fn outcome_of(trial: &Trial) -> Outcome {
    Outcome::Step {
        predicted: trial.predicted,
        objective: trial.objective.value,
        scale: trial.objective.scale,
    }
}

/// A trial at `ridge` as a trace has it.
pub(super) fn entry(
    state: &State,
    outcome: &Outcome,
    ridge: f64,
    decision: &super::decision::Decision,
) -> TraceEntry {
    let finite = |x: f64| x.is_finite().then_some(x);
    let (objective, predicted) = match *outcome {
        Outcome::Step {
            objective,
            predicted,
            ..
        } => (finite(objective), finite(predicted)),
        Outcome::NotPositiveDefinite { .. } => (None, None),
    };
    TraceEntry {
        iteration: state.iterations,
        trial: state.trials,
        objective,
        predicted,
        gain: decision.gain,
        ridge,
        accepted: decision.accepted,
    }
}

#[cfg(test)]
mod tests;
