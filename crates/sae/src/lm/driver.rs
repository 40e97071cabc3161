//! The loop around the decision, and what a problem has to offer it.
//!
//! Limits, the trace, the observer's stop, the ridge's ceiling and the report are here, once for all
//! problems. What differs is who decides a trial, and that is a value, [`Tried`]:
//!
//! | a problem answers | who decided | the driver |
//! |---|---|---|
//! | [`Tried::Offered`] | nobody yet | decides, then has the trial accepted or rejected |
//! | [`Tried::Decided`] | the problem, where its numbers lie | checks the decision against the rule |
//! | [`Tried::Ran`] | the problem, several trials at once | goes on from the state they led to |
//! | [`StepFailure::NotPositiveDefinite`] | nobody yet | decides |
//!
//! A problem on a device decides there, because a decision of the host could move the point only by a
//! second submission, after the record of the first had come back. The driver hands over the state
//! before every trial, so a problem that keeps a copy can tell when the host has decided in between.

use super::decision::{Decision, Outcome, Rule, State, Status, begin, decide, settle};
use broadhead_schur::{Failure, MeanDiagonals};
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

/// A trial that the problem decided itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decided {
    /// The reduction that the bare quadratic predicts.
    pub predicted: f64,
    /// The objective at the trial point; need not be finite.
    pub objective: f64,
    /// The decision, settled where the trial was accepted.
    pub decision: Decision,
}

/// What became of a trial for which there was a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tried {
    /// The driver decides; the problem keeps the trial point until it is told.
    Offered(Trial),
    /// The problem decided by [`decide`] and [`settle`], and moved its point where it accepted.
    Decided(Decided),
    /// The problem made any number of trials, decided likewise, and stopped in this state. They are in
    /// no trace. A state that is still [`Status::Running`] means that the host has to look; the next
    /// call says at what.
    Ran(State),
}

/// Why there is no step. A loop must not confuse the two.
#[derive(Debug, PartialEq)]
pub enum StepFailure<E> {
    /// Try again with more ridge.
    NotPositiveDefinite {
        /// How much *more* relative ridge the failed block needs to factor.
        relative_bump: f64,
        /// What failed, in words: side, row and pivot.
        what: String,
    },
    /// End the fit.
    Stop(E),
}

impl<E: std::error::Error> From<E> for StepFailure<E> {
    fn from(error: E) -> Self {
        Self::Stop(error)
    }
}

impl<E: From<broadhead_schur::Error>> StepFailure<E> {
    /// A failure of the linear algebra, its bump made relative to the mean diagonal of its side.
    pub(crate) fn of(failure: Failure, means: MeanDiagonals) -> Self {
        match failure {
            Failure::Stop(error) => Self::Stop(error.into()),
            Failure::NotPositiveDefinite(failure) => Self::NotPositiveDefinite {
                relative_bump: failure.relative_bump(means),
                what: failure.to_string(),
            },
        }
    }
}

/// A problem that the loop can minimise. It holds its current point and at most one trial point.
pub trait Problem {
    /// What ends a fit at once: an absent device, exhausted memory, a wrong shape.
    type Error: std::error::Error;

    /// The objective at the current point.
    fn objective(&self) -> Objective;

    /// Norms of the residual (the gradient) of the row block and of the border block at the current
    /// point, computed without overflow. A block that is projected out or empty has norm 0.
    fn residual_norms(&self) -> [f64; 2];

    /// Solves at the relative ridge of `state` and evaluates the trial point.
    ///
    /// # Errors
    /// [`StepFailure`].
    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Self::Error>>;

    /// Makes the trial point that was offered the current point, residual included.
    ///
    /// # Errors
    /// What ends the fit.
    fn accept(&mut self) -> Result<(), Self::Error>;

    /// Drops the trial point that was offered. Does nothing by default: the next trial takes its room.
    fn reject(&mut self) {}
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
    /// The gain was not positive, or the objective was not finite.
    Rejected,
    /// A block was not positive definite; the text says which.
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
    /// A problem that decides for itself took another decision than the rule does on its numbers.
    #[error("trial {trial} was decided as {found:?}, by the rule it is {expected:?}")]
    Decision {
        /// The trial.
        trial: u64,
        /// The problem's decision.
        found: Box<Decision>,
        /// The rule's.
        expected: Box<Decision>,
    },
    /// The problem's own error.
    #[error(transparent)]
    Problem(#[from] E),
}

/// An observer that never stops the loop.
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
    expect_in_range(rule)?;
    let state = start_at(rule, problem.objective(), problem.residual_norms())?;
    drive(problem, rule, state, observer)
}

/// Sees to it that the rule's numbers are in range.
///
/// # Errors
/// [`LmError::Rule`].
pub(super) fn expect_in_range<E: std::error::Error>(rule: &Rule) -> Result<(), LmError<E>> {
    match rule.out_of_range() {
        Some(field) => Err(LmError::Rule { field }),
        None => Ok(()),
    }
}

/// The state at the start, where all of it is finite.
///
/// # Errors
/// [`LmError::StartNotFinite`].
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

/// The loop: from `state`, that of the problem's current point, until it ends.
///
/// # Errors
/// As [`minimise`].
pub(super) fn drive<P: Problem>(
    problem: &mut P,
    rule: &Rule,
    mut state: State,
    observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
) -> Result<LmReport, LmError<P::Error>>
where
    P::Error: 'static,
{
    while state.status == Status::Running {
        let mut last = LastTrial::Rejected;
        let mut show = |outcome: &Outcome, decision: &Decision| {
            let entry = entry(state.ridge, outcome, decision);
            match observer(&entry) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(LmError::Cancelled {
                    iteration: entry.iteration,
                    trial: entry.trial,
                }),
            }
        };
        state = match problem.try_step(&state) {
            Ok(Tried::Offered(trial)) => {
                let outcome = trial.outcome();
                let decision = decide(rule, &state, &outcome);
                show(&outcome, &decision)?;
                take(problem, rule, &decision)?
            }
            Ok(Tried::Decided(decided)) => {
                expect_by_rule(rule, &state, &decided, problem.residual_norms())?;
                show(&decided.outcome(), &decided.decision)?;
                decided.decision.state
            }
            Ok(Tried::Ran(after)) => after,
            Err(StepFailure::NotPositiveDefinite {
                relative_bump: bump,
                what,
            }) => {
                let outcome = Outcome::NotPositiveDefinite { bump };
                let decision = decide(rule, &state, &outcome);
                show(&outcome, &decision)?;
                last = LastTrial::NotPositiveDefinite(what);
                decision.state
            }
            Err(StepFailure::Stop(error)) => return Err(LmError::Problem(error)),
        };
        if state.status == Status::RidgeCeiling {
            return Err(past_ceiling(rule, &state, last));
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

/// Has the trial that was offered accepted or rejected; the state after it.
fn take<P: Problem>(
    problem: &mut P,
    rule: &Rule,
    decision: &Decision,
) -> Result<State, LmError<P::Error>>
where
    P::Error: 'static,
{
    if decision.accepted {
        problem.accept()?;
        Ok(settle(rule, &decision.state, problem.residual_norms()))
    } else {
        problem.reject();
        Ok(decision.state)
    }
}

/// Sees to it that a problem's own decision is the rule's, bit for bit; `norms` are those of the
/// residual at its point after it. A few dozen operations.
///
/// A rejected trial is followed by one state, whatever its numbers, so its scale is not asked for.
fn expect_by_rule<E: std::error::Error>(
    rule: &Rule,
    state: &State,
    decided: &Decided,
    norms: [f64; 2],
) -> Result<(), LmError<E>> {
    let found = decided.decision;
    let expected = if found.accepted {
        let decision = decide(rule, state, &decided.outcome());
        let state = settle(rule, &decision.state, norms);
        Decision { state, ..decision }
    } else {
        let rejected = decide(rule, state, &Outcome::NotPositiveDefinite { bump: 0.0 });
        let gain = found.gain.min(0.0);
        Decision { gain, ..rejected }
    };
    if found == expected {
        return Ok(());
    }
    Err(LmError::Decision {
        trial: found.state.trials,
        found: Box::new(found),
        expected: Box::new(expected),
    })
}

/// The failure of a loop whose ridge passed its ceiling after the trial that `last` says.
fn past_ceiling<E: std::error::Error>(rule: &Rule, state: &State, last: LastTrial) -> LmError<E> {
    LmError::RidgeCeiling {
        iteration: state.iterations,
        trial: state.trials,
        ridge: state.ridge,
        ceiling: rule.ridge_ceiling,
        last,
    }
}

impl State {
    /// The objective at the current point.
    pub(super) fn reached(&self) -> Objective {
        Objective {
            value: self.objective,
            scale: self.scale,
        }
    }
}

impl Trial {
    fn outcome(&self) -> Outcome {
        Outcome::Step {
            predicted: self.predicted,
            objective: self.objective.value,
            scale: self.objective.scale,
        }
    }
}

impl Decided {
    /// What gave the decision. The scale is that of the state after it, which is the trial's where it
    /// was accepted.
    fn outcome(&self) -> Outcome {
        Outcome::Step {
            predicted: self.predicted,
            objective: self.objective,
            scale: self.decision.state.scale,
        }
    }
}

/// A trial at `ridge` as a trace has it.
fn entry(ridge: f64, outcome: &Outcome, decision: &Decision) -> TraceEntry {
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
        iteration: decision.state.iterations,
        trial: decision.state.trials,
        objective,
        predicted,
        gain: decision.gain,
        ridge,
        accepted: decision.accepted,
    }
}

#[cfg(test)]
mod tests;
