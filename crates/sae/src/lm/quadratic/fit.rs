//! The Levenberg-Marquardt loop of a quadratic problem.

use super::{QuadraticProblem, Vectors, Which};
use crate::data::larger;
use crate::lm::{
    LmError, LmReport, Objective, Problem, Rule, State, StepFailure, TraceEntry, Trial, Tried,
    minimise,
};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_schur::{
    ArrowVector, BackwardError, EliminationKind, Error, Failure, LogDeterminant, NoLogDeterminant,
    Ridge,
};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Why a quadratic fit failed.
pub type QuadraticError = LmError<Error>;

/// Why a fit has no log-determinant at zero ridge.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LogDeterminantAbsence {
    /// The elimination gives none.
    #[error(transparent)]
    Elimination(NoLogDeterminant),
    /// The bare operator is not positive definite.
    #[error("the operator without ridge is {0}")]
    Singular(String),
}

/// A finished quadratic fit.
#[derive(Clone, Debug)]
pub struct QuadraticFit {
    /// The point reached.
    pub point: ArrowVector,
    /// How the loop ended.
    pub report: LmReport,
    /// One entry a trial.
    pub trace: Vec<TraceEntry>,
    /// $`\log|H|`$ at zero ridge, or why it is absent.
    pub log_determinant: Result<LogDeterminant, LogDeterminantAbsence>,
    /// Frames built, including one built for the log-determinant alone.
    pub frame_builds: u64,
    /// The worst backward errors of any solve; absent where refinement is off.
    pub error: Option<BackwardError>,
    /// Refinement steps, over all solves.
    pub refinements: u64,
    /// The elimination.
    pub elimination: EliminationKind,
    /// Where it ran.
    pub path: ExecutionPath,
    /// What it cost.
    pub ledger: LedgerSnapshot,
}

/// A problem under way, as the loop sees it.
struct Run<'p, 'w> {
    problem: &'p mut QuadraticProblem<'w>,
    error: Option<BackwardError>,
    refinements: u64,
}

impl QuadraticProblem<'_> {
    /// Minimises from $`z = 0`$ under `rule`; every trial is shown to `observer`, which may stop
    /// it.
    ///
    /// # Errors
    /// [`LmError`]: the ridge past its ceiling, or what ends a fit at once.
    pub fn fit(
        &mut self,
        rule: &Rule,
        observer: &mut dyn FnMut(&TraceEntry) -> ControlFlow<()>,
    ) -> Result<QuadraticFit, QuadraticError> {
        self.vectors.reset();
        let (before, mut trace) = (self.base.ledger().factorizations, Vec::new());
        let mut run = Run {
            problem: self,
            error: None,
            refinements: 0,
        };
        let report = minimise(&mut run, rule, &mut |entry| {
            trace.push(*entry);
            observer(entry)
        })?;
        let Run {
            error, refinements, ..
        } = run;
        let frame = self.base.frame(Ridge::ZERO);
        let log_determinant = at_zero_ridge(frame.map(|frame| frame.log_determinant()))?;
        let ledger = self.base.ledger();
        let builds = ledger.factorizations - before;
        self.builds += builds;
        Ok(QuadraticFit {
            point: self.vectors.point.clone(),
            report,
            trace,
            log_determinant,
            frame_builds: builds,
            error,
            refinements,
            elimination: self.base.elimination(),
            path: self.base.execution_path(),
            ledger,
        })
    }
}

impl Run<'_, '_> {
    fn step_at(&mut self, ridge: Ridge) -> Result<(), Failure> {
        let Vectors { residual, step, .. } = &mut *self.problem.vectors;
        let mut frame = self.problem.base.frame(ridge)?;
        let solve = frame.solve(residual.as_gradient(), step.as_step())?;
        self.refinements += u64::from(solve.refinements);
        if let Some(error) = solve.error {
            self.error = Some(self.error.map_or(error, |worst| worst.worst(error)));
        }
        Ok(())
    }
}

/// The log-determinant of a fit, from the attempt to make a frame at zero ridge.
pub(crate) fn at_zero_ridge(
    frame: Result<Result<LogDeterminant, NoLogDeterminant>, Failure>,
) -> Result<Result<LogDeterminant, LogDeterminantAbsence>, Error> {
    match frame {
        Ok(found) => Ok(found.map_err(LogDeterminantAbsence::Elimination)),
        Err(Failure::NotPositiveDefinite(failure)) => {
            Ok(Err(LogDeterminantAbsence::Singular(failure.to_string())))
        }
        Err(Failure::Stop(error)) => Err(error),
    }
}

impl Problem for Run<'_, '_> {
    type Error = Error;

    fn objective(&self) -> Objective {
        self.problem
            .vectors
            .objective(self.problem.data_norm_squared, Which::Current)
    }

    fn residual_norms(&self) -> [f64; 2] {
        let residual = &self.problem.vectors.residual;
        [norm(&residual.row), norm(&residual.border)]
    }

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Error>> {
        let means = self.problem.vectors.means;
        self.step_at(Ridge::relative(state.ridge, means))
            .map_err(|failure| StepFailure::of(failure, means))?;
        Ok(Tried::Offered(Trial {
            predicted: self.problem.predicted_reduction()?,
            objective: self.problem.evaluate_trial()?,
        }))
    }

    fn accept(&mut self) -> Result<(), Error> {
        self.problem.vectors.accept();
        Ok(())
    }
}

/// The Euclidean norm without overflow or underflow; NaN if an entry is NaN.
pub(crate) fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0, |m, x| larger(m, x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    x.iter()
        .map(|x| (x / largest) * (x / largest))
        .sum::<f64>()
        .sqrt()
        * largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_residual_that_is_not_a_number_has_a_norm_that_is_none() {
        for x in [
            [f64::NAN, 1.0, 2.0],
            [1.0, f64::NAN, 2.0],
            [1.0, 2.0, f64::NAN],
            [f64::NAN; 3],
        ] {
            assert!(norm(&x).is_nan(), "{x:?}");
        }
        assert!((norm(&[3e200, 4e200]) / 5e200 - 1.0).abs() < 4.0 * f64::EPSILON);
        assert_eq!(
            (norm(&[]), norm(&[0.0]), norm(&[f64::NEG_INFINITY])),
            (0.0, 0.0, f64::INFINITY)
        );
    }
}
