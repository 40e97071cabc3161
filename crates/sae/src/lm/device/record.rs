//! The records of a fit's loop, as both languages have them, and what they are to the driver.
//!
//! All numbers that decide are doubles: counts and the status are whole ones, exact below 2^53, and the
//! kernels' arithmetic is that of `decision.rs`.

use crate::lm::{Decision, Outcome, Rule, State, Status};
use broadhead_schur::device::record::RidgeRecord;

broadhead_device::record! {
    /// A [`Rule`].
    pub(super) struct RuleRecord {
        pub(super) initial_ridge: f64,
        pub(super) ridge_decrease: f64,
        pub(super) ridge_increase: f64,
        pub(super) ridge_floor: f64,
        pub(super) ridge_from_zero: f64,
        pub(super) ridge_ceiling: f64,
        pub(super) noise: f64,
        pub(super) residual_tolerance: f64,
        pub(super) decrease_tolerance: f64,
        pub(super) stall_turns: f64,
        pub(super) max_iterations: f64,
        pub(super) max_trials: f64,
    }

    /// A [`State`].
    pub(super) struct StateRecord {
        pub(super) ridge: f64,
        pub(super) objective: f64,
        pub(super) scale: f64,
        pub(super) largest: [f64; 2],
        pub(super) anchor: f64,
        pub(super) turns: f64,
        pub(super) iterations: f64,
        pub(super) trials: f64,
        pub(super) last_accepted: f64,
        /// The discriminant of a [`Status`].
        pub(super) status: f64,
    }

    /// An [`Outcome`], and the norms of the residual at the trial.
    pub(super) struct TrialRecord {
        /// [`STEP`] or [`NOT_POSITIVE_DEFINITE`].
        pub(super) kind: f64,
        pub(super) predicted: f64,
        pub(super) objective: f64,
        pub(super) scale: f64,
        pub(super) bump: f64,
        /// Rows, border.
        pub(super) norms: [f64; 2],
    }

    /// A [`Decision`].
    pub(super) struct DecisionRecord {
        pub(super) state: StateRecord,
        pub(super) gain: f64,
        /// 1 or 0.
        pub(super) accepted: f64,
    }

    /// What a problem gives the loop: read at every launch, so that no graph keeps a number of it.
    pub(super) struct ProblemRecord {
        pub(super) rule: RuleRecord,
        /// `|X|^2 / 2`.
        pub(super) data: f64,
    }

    /// What an iterate reports.
    pub(super) struct IterateRecord {
        pub(super) decision: DecisionRecord,
        pub(super) predicted: f64,
        pub(super) objective: f64,
        /// Of the residual at the trial: rows, border.
        pub(super) norms: [f64; 2],
    }

    /// What a fit in one graph keeps beside its state.
    pub(super) struct ProgressRecord {
        /// Of the residual at the point: rows, border.
        pub(super) norms: [f64; 2],
        /// 1 where a factorization failed.
        pub(super) failed: u64,
        /// The ridge of the factors at hand, where there are such.
        pub(super) ridge: RidgeRecord,
        /// 1 where there are factors at hand.
        pub(super) at_hand: u64,
        /// How often was factored.
        pub(super) builds: u64,
    }

    /// A fit under way, and what the device says when its graph has ended.
    pub(super) struct FitRecord {
        pub(super) state: StateRecord,
        pub(super) progress: ProgressRecord,
    }
}

/// Kind of a trial: a step.
pub(super) const STEP: f64 = 0.0;
/// Kind of a trial: a block that is not positive definite.
pub(super) const NOT_POSITIVE_DEFINITE: f64 = 1.0;

/// A status as records have it.
pub(super) const fn code(status: Status) -> f64 {
    status as u32 as f64
}

impl RuleRecord {
    pub(super) fn of(rule: &Rule) -> Self {
        Self {
            initial_ridge: rule.initial_ridge,
            ridge_decrease: rule.ridge_decrease,
            ridge_increase: rule.ridge_increase,
            ridge_floor: rule.ridge_floor,
            ridge_from_zero: rule.ridge_from_zero,
            ridge_ceiling: rule.ridge_ceiling,
            noise: rule.noise,
            residual_tolerance: rule.residual_tolerance,
            decrease_tolerance: rule.decrease_tolerance,
            stall_turns: rule.stall_turns as f64,
            max_iterations: rule.max_iterations as f64,
            max_trials: rule.max_trials as f64,
        }
    }
}

impl StateRecord {
    pub(super) fn of(state: &State) -> Self {
        Self {
            ridge: state.ridge,
            objective: state.objective,
            scale: state.scale,
            largest: state.largest,
            anchor: state.anchor,
            turns: state.turns as f64,
            iterations: state.iterations as f64,
            trials: state.trials as f64,
            last_accepted: f64::from(state.last_accepted),
            status: code(state.status),
        }
    }

    pub(super) fn state(&self) -> State {
        const STATUSES: [Status; 7] = [
            Status::Running,
            Status::ConvergedResidual,
            Status::ConvergedDecrease,
            Status::ConvergedStall,
            Status::IterationLimit,
            Status::TrialLimit,
            Status::RidgeCeiling,
        ];
        State {
            ridge: self.ridge,
            objective: self.objective,
            scale: self.scale,
            largest: self.largest,
            anchor: self.anchor,
            turns: self.turns as u64,
            iterations: self.iterations as u64,
            trials: self.trials as u64,
            last_accepted: self.last_accepted as u32,
            status: STATUSES[self.status as usize],
        }
    }
}

impl TrialRecord {
    pub(super) fn of(outcome: &Outcome, norms: [f64; 2]) -> Self {
        let none = Self {
            kind: STEP,
            norms,
            ..Self::default()
        };
        match *outcome {
            Outcome::Step {
                predicted,
                objective,
                scale,
            } => Self {
                predicted,
                objective,
                scale,
                ..none
            },
            Outcome::NotPositiveDefinite { bump } => Self {
                kind: NOT_POSITIVE_DEFINITE,
                bump,
                ..none
            },
        }
    }
}

impl DecisionRecord {
    pub(super) fn decision(&self) -> Decision {
        Decision {
            state: self.state.state(),
            gain: self.gain,
            accepted: self.accepted != 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was_sent() {
        let state = State {
            ridge: 1e-3,
            objective: 2.0,
            scale: 3.0,
            largest: [4.0, 5.0],
            anchor: 6.0,
            turns: 7,
            iterations: 8,
            trials: 9,
            last_accepted: 1,
            status: Status::RidgeCeiling,
        };
        assert_eq!(StateRecord::of(&state).state(), state);
    }
}
