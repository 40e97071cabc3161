//! The decision: from the state and the numbers of a trial to the next state.
//!
//! With `f` the objective, `s` the sum of the absolute values of its terms, `q` the reduction that
//! the bare quadratic predicts:
//!
//! ```text
//! gain  = (f - f_trial) / q                           where q >= 1e-14 s
//!       = 1 if f_trial - f <= 1e-14 s else -1         where q <  1e-14 s
//! accept iff gain > 0 and f_trial, q are finite
//! ridge: accepted  r / 2, and 0 below 1e-12
//!        else      4 r (1e-6 from 0), at least r + the bump that the failure reported
//! ```
//!
//! The loop has converged when each block's residual is small beside the largest seen in it, or when an
//! accepted step at a ridge no larger than the first hardly lowers `f`, or when the ridge has turned
//! upwards several times while `f` hardly fell. The last test is needed because Gauss-Newton steps
//! overshoot where the true curvature is more than twice the model's: then no ridge as small as the
//! first is ever accepted, although larger and smaller ones were tried and neither lowers `f`. A
//! rejected step never converges.
//!
//! Everything here is a pure function of its arguments, made of `+ - * /` and comparisons in the order
//! written, so the device's transcription gives the same bits.

use serde::{Deserialize, Serialize};

/// The numbers of the rule. All are dimensionless; see [`Rule::quadratic`] and [`Rule::curved`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The first relative ridge.
    pub initial_ridge: f64,
    /// What the ridge is multiplied by after an acceptance.
    pub ridge_decrease: f64,
    /// What the ridge is multiplied by after a rejection or a failed factorization.
    pub ridge_increase: f64,
    /// A ridge that falls below this becomes 0.
    pub ridge_floor: f64,
    /// What a ridge of 0 grows to.
    pub ridge_from_zero: f64,
    /// A ridge above this ends the fit with an error.
    pub ridge_ceiling: f64,
    /// Noise of the objective, relative to `s`.
    pub noise: f64,
    /// Converged when each block's residual is at most this times the largest seen in the block.
    pub residual_tolerance: f64,
    /// Converged when an accepted step, at a ridge no larger than the first, lowers `f` by less than
    /// this times `s`. 0 turns the test off.
    pub decrease_tolerance: f64,
    /// Converged when, at an accepted step, the ridge has turned from falling to rising this often
    /// since `f` last fell by `decrease_tolerance` times `s` in total. 0 turns the test off.
    pub stall_turns: u64,
    /// The most accepted steps.
    pub max_iterations: u64,
    /// The most trials.
    pub max_trials: u64,
}

impl Rule {
    /// The rule of a quadratic problem: the first ridge is 0, 16 iterations, residuals alone decide.
    pub fn quadratic() -> Self {
        Self {
            initial_ridge: 0.0,
            decrease_tolerance: 0.0,
            stall_turns: 0,
            ..Self::curved()
        }
        .with_max_iterations(16)
    }

    /// The rule of a curved problem: the first ridge is 1e-3, 200 iterations.
    pub fn curved() -> Self {
        Self {
            initial_ridge: 1e-3,
            ridge_decrease: 0.5,
            ridge_increase: 4.0,
            ridge_floor: 1e-12,
            ridge_from_zero: 1e-6,
            ridge_ceiling: 1e9,
            noise: 1e-14,
            residual_tolerance: 1e-9,
            decrease_tolerance: 1e-11,
            stall_turns: 3,
            max_iterations: 200,
            max_trials: 2000,
        }
    }

    /// The same rule with another iteration limit, and ten times as many trials.
    pub fn with_max_iterations(self, max_iterations: u64) -> Self {
        Self {
            max_iterations,
            max_trials: max_iterations.saturating_mul(10),
            ..self
        }
    }

    /// The name of the first field that is out of range, if any.
    pub fn out_of_range(&self) -> Option<&'static str> {
        let at_least_zero = |v: f64| v.is_finite() && v >= 0.0;
        let checks = [
            ("initial_ridge", at_least_zero(self.initial_ridge)),
            (
                "ridge_decrease",
                self.ridge_decrease > 0.0 && self.ridge_decrease <= 1.0,
            ),
            (
                "ridge_increase",
                self.ridge_increase.is_finite() && self.ridge_increase > 1.0,
            ),
            ("ridge_floor", at_least_zero(self.ridge_floor)),
            (
                "ridge_from_zero",
                self.ridge_from_zero.is_finite() && self.ridge_from_zero > 0.0,
            ),
            (
                "ridge_ceiling",
                self.ridge_ceiling.is_finite() && self.ridge_ceiling >= self.initial_ridge,
            ),
            ("noise", at_least_zero(self.noise)),
            ("residual_tolerance", at_least_zero(self.residual_tolerance)),
            ("decrease_tolerance", at_least_zero(self.decrease_tolerance)),
        ];
        checks.iter().find(|(_, ok)| !ok).map(|(name, _)| *name)
    }
}

/// Where the loop stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum Status {
    /// Another trial is due.
    Running = 0,
    /// Converged: the residual of each block is small.
    ConvergedResidual = 1,
    /// Converged: an accepted step hardly lowered the objective.
    ConvergedDecrease = 2,
    /// Converged: the ridge rises and falls while the objective stays the same.
    ConvergedStall = 3,
    /// Out of iterations.
    IterationLimit = 4,
    /// Out of trials.
    TrialLimit = 5,
    /// The ridge passed its ceiling: the fit failed.
    RidgeCeiling = 6,
    /// The time was up. No decision says so: who drives the loop does.
    TimeLimit = 7,
}

impl Status {
    /// Whether the loop converged.
    pub fn converged(self) -> bool {
        matches!(
            self,
            Self::ConvergedResidual | Self::ConvergedDecrease | Self::ConvergedStall
        )
    }
}

/// All that the loop remembers between trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[repr(C)]
pub struct State {
    /// The relative ridge of the next trial.
    pub ridge: f64,
    /// The objective at the current point.
    pub objective: f64,
    /// The sum of the absolute values of the objective's terms there.
    pub scale: f64,
    /// The largest residual norm seen in the row block and in the border block.
    pub largest: [f64; 2],
    /// The objective when it last fell by `decrease_tolerance` times `s`.
    pub anchor: f64,
    /// Turns of the ridge from falling to rising since then.
    pub turns: u64,
    /// Steps accepted so far.
    pub iterations: u64,
    /// Trials so far.
    pub trials: u64,
    /// 1 where the last trial was accepted, else 0.
    pub last_accepted: u32,
    /// Where the loop stands.
    pub status: Status,
}

/// What a trial gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// A step was found.
    Step {
        /// The reduction that the bare quadratic predicts.
        predicted: f64,
        /// The objective at the trial point.
        objective: f64,
        /// The sum of the absolute values of its terms.
        scale: f64,
    },
    /// A block or the border was not positive definite.
    NotPositiveDefinite {
        /// How much more relative ridge the failed block needs to factor.
        bump: f64,
    },
}

/// The answer of [`decide`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The next state.
    pub state: State,
    /// Actual over predicted reduction; 1 or -1 below the noise floor; -1 where a number is not finite.
    pub gain: f64,
    /// Whether the trial becomes the current point.
    pub accepted: bool,
}

/// The state before the first trial, already settled by `norms`, the residual norms of the row and
/// the border block at the start.
pub fn begin(rule: &Rule, objective: f64, scale: f64, norms: [f64; 2]) -> State {
    let state = State {
        ridge: rule.initial_ridge,
        objective,
        scale,
        largest: [0.0, 0.0],
        anchor: objective,
        turns: 0,
        iterations: 0,
        trials: 0,
        last_accepted: 0,
        status: Status::Running,
    };
    settle(rule, &state, norms)
}

/// Judges one trial made at `state.ridge`.
pub fn decide(rule: &Rule, state: &State, outcome: &Outcome) -> Decision {
    let mut next = *state;
    next.trials = state.trials + 1;
    let (gain, bump) = match *outcome {
        Outcome::NotPositiveDefinite { bump } => (-1.0, bump),
        Outcome::Step {
            predicted,
            objective,
            scale,
        } => {
            let gain = if finite(predicted) && finite(objective) && finite(scale) {
                gain(rule, state, predicted, objective)
            } else {
                -1.0
            };
            if gain > 0.0 {
                let lowered = state.objective - objective;
                next.objective = objective;
                next.scale = scale;
                next.iterations = state.iterations + 1;
                next.last_accepted = 1;
                let halved = state.ridge * rule.ridge_decrease;
                next.ridge = if halved < rule.ridge_floor {
                    0.0
                } else {
                    halved
                };
                let least = rule.decrease_tolerance * state.scale;
                if state.anchor - objective >= least {
                    next.anchor = objective;
                    next.turns = 0;
                }
                // A tiny step at a large ridge is tiny because of the ridge.
                if rule.decrease_tolerance > 0.0
                    && lowered < least
                    && state.ridge <= rule.initial_ridge
                {
                    next.status = Status::ConvergedDecrease;
                } else if rule.stall_turns > 0 && next.turns >= rule.stall_turns {
                    next.status = Status::ConvergedStall;
                }
                return Decision {
                    state: next,
                    gain,
                    accepted: true,
                };
            }
            (gain, 0.0)
        }
    };
    let mut grown = if state.ridge > 0.0 {
        state.ridge * rule.ridge_increase
    } else {
        rule.ridge_from_zero
    };
    let bumped = state.ridge + bump;
    if bumped > grown {
        grown = bumped;
    }
    next.ridge = grown;
    next.turns = state.turns + u64::from(state.last_accepted);
    next.last_accepted = 0;
    if grown > rule.ridge_ceiling {
        next.status = Status::RidgeCeiling;
    } else if next.trials >= rule.max_trials {
        next.status = Status::TrialLimit;
    }
    Decision {
        state: next,
        gain,
        accepted: false,
    }
}

/// Tests convergence by the residual norms of the current point, after the start or an acceptance.
pub fn settle(rule: &Rule, state: &State, norms: [f64; 2]) -> State {
    let mut next = *state;
    let mut small = true;
    for b in 0..2 {
        if norms[b] > next.largest[b] {
            next.largest[b] = norms[b];
        }
        // Written so that a norm that is not a number is not small.
        small = small && norms[b] <= rule.residual_tolerance * next.largest[b];
    }
    if next.status != Status::Running {
        return next;
    }
    if small {
        next.status = Status::ConvergedResidual;
    } else if next.iterations >= rule.max_iterations {
        next.status = Status::IterationLimit;
    } else if next.trials >= rule.max_trials {
        next.status = Status::TrialLimit;
    }
    next
}

/// Actual over predicted reduction of finite numbers; -1 where it overflows.
fn gain(rule: &Rule, state: &State, predicted: f64, objective: f64) -> f64 {
    let floor = rule.noise * state.scale;
    if predicted < floor {
        return if objective - state.objective <= floor {
            1.0
        } else {
            -1.0
        };
    }
    let gain = (state.objective - objective) / predicted;
    if finite(gain) { gain } else { -1.0 }
}

/// `x - x` is 0 only for a finite number.
#[expect(
    clippy::eq_op,
    reason = "written with the operations that a device has"
)]
fn finite(x: f64) -> bool {
    x - x == 0.0
}

#[cfg(test)]
mod tests;
