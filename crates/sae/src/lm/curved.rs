//! The curved inner problem: Gauss-Newton on coordinates and decoder for frozen gates.
//!
//! At the current point the Hessian is the structured arrow of [`broadhead_schur`]: `D_i`,
//! `B_i = phi_i' (x) J_i`, `C = G (x) I_p`. In the *projected* loop (the default) the decoder is, at
//! every trial, the exact minimiser for its coordinates, so the border's gradient vanishes and only
//! the coordinates' part of a step is used; in the *joint* loop decoder and coordinates take the
//! step together. Both predict by the same bare quadratic and are judged by the same decision, and
//! both keep coordinates on lines whitened (see [`crate::iterate::whitening`]).
//!
//! Invariants: a trial is evaluated from its own residual rows; nothing of the current point changes
//! before a trial is accepted; the penalties are fixed for the whole fit.

use crate::data::larger;
use crate::error::CurvedError;
use crate::iterate::features;
use crate::iterate::layout::Layout;
use crate::iterate::point::{Decoder, Frozen, Penalty, Point};
use crate::iterate::whitening::Flat;
use crate::lm::{Objective, Problem, StepFailure, Trial};
use broadhead_device::{DeviceError, ExecutionPath};
use broadhead_schur::cuda::Keep;
use broadhead_schur::{
    EliminationKind, Failure, Gradient, LogDeterminant, MeanDiagonals, Plan, Ridge, RowBlocks,
    Solver, SolverOptions, StepMut, StructuredFeatures, StructuredSystem, SymmetricView, System,
};
use faer::MatRef;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// How the border takes part in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BorderMode {
    /// The decoder is the exact minimiser at every trial.
    #[default]
    Projected,
    /// Decoder and coordinates take the step together.
    Joint,
}

/// What the solves of an inner loop cost and how well they did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SolveSummary {
    /// Operators factored, wherever that was.
    pub factorizations: u64,
    /// Those of them that were factored, and solved with, on a device.
    pub device_factorizations: u64,
    /// Why the device, which was the cheaper place, was not used the first time that it was not: it had
    /// not the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_declined: Option<DeviceError>,
    /// What they were factored by: as a rule one choice. More where a planner chose anew as gates moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<Chosen>,
    /// Refinement steps.
    pub refinements: u64,
    /// The worst `|H x + g| / |g|` of any solve; 0 before the first.
    pub relative_residual: f64,
    /// The worst componentwise backward error of any solve.
    pub componentwise_error: f64,
}

/// What an operator was factored by: what is pinned to repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The elimination.
    pub elimination: EliminationKind,
    /// Where it ran.
    pub path: ExecutionPath,
    /// What its frames keep, on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

impl Chosen {
    fn of(plan: &Plan) -> Self {
        Self {
            elimination: plan.chosen,
            path: plan.path,
            keep: plan.keep,
        }
    }

    /// Those of `all` that occur, each once, in the order in which they first do.
    pub(crate) fn distinct<'a>(all: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let mut found = Vec::new();
        for chosen in all {
            if !found.contains(chosen) {
                found.push(*chosen);
            }
        }
        found
    }
}

impl SolveSummary {
    /// One more operator, factored as `chosen`.
    fn factored(&mut self, chosen: Chosen) {
        self.factorizations += 1;
        self.device_factorizations += u64::from(chosen.path.is_device());
        if !self.chosen.contains(&chosen) {
            self.chosen.push(chosen);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.factorizations += other.factorizations;
        self.device_factorizations += other.device_factorizations;
        if self.device_declined.is_none() {
            self.device_declined.clone_from(&other.device_declined);
        }
        self.chosen = Chosen::distinct(self.chosen.iter().chain(&other.chosen));
        self.refinements += other.refinements;
        self.relative_residual = larger(self.relative_residual, other.relative_residual);
        self.componentwise_error = larger(self.componentwise_error, other.componentwise_error);
    }
}

/// The problem that the loop minimises.
pub(crate) struct Curved<'a> {
    model: Frozen<'a>,
    mode: BorderMode,
    pub(crate) current: Point,
    trial: Point,
    row_hessian: Vec<f64>,
    linearised: bool,
    solver: Solver,
    step_row: Vec<f64>,
    step_border: Vec<f64>,
    pub(crate) summary: SolveSummary,
    pub(crate) seconds: Seconds,
}

/// Wall time by phase.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seconds {
    pub(crate) assemble: Duration,
    pub(crate) factor: Duration,
    pub(crate) solve: Duration,
    pub(crate) evaluate: Duration,
}

impl Seconds {
    pub(crate) fn merge(&mut self, other: &Self) {
        self.assemble += other.assemble;
        self.factor += other.factor;
        self.solve += other.solve;
        self.evaluate += other.evaluate;
    }
}

impl<'a> Curved<'a> {
    /// The problem at `start`, which has been evaluated with a projected decoder.
    ///
    /// # Errors
    /// [`CurvedError::Solver`]: too little memory, an elimination that does not serve.
    pub(crate) fn new(
        model: Frozen<'a>,
        mode: BorderMode,
        start: Point,
        options: SolverOptions,
    ) -> Result<Self, CurvedError> {
        let layout = model.layout;
        let row_hessian = vec![0.0; layout.row_dims().block_len()];
        let system = system_of(&model, &start, &row_hessian)?;
        let solver = Solver::new(&system, options)?;
        let declined = solver.plan().declined.clone();
        let mut start = start;
        tangent(layout, &mut start);
        let trial = start.clone();
        Ok(Self {
            model,
            mode,
            row_hessian,
            linearised: false,
            solver,
            step_row: vec![0.0; layout.row_dims().unknowns()],
            step_border: vec![0.0; start.decoder.len()],
            current: start,
            trial,
            summary: SolveSummary {
                device_declined: declined,
                ..SolveSummary::default()
            },
            seconds: Seconds::default(),
        })
    }

    /// The elimination that the planner chose, or that was pinned.
    pub(crate) fn elimination(&self) -> EliminationKind {
        self.solver.plan().chosen
    }

    /// Where its linear solves run.
    pub(crate) fn path(&self) -> ExecutionPath {
        self.solver.plan().path
    }

    /// The penalties of its objective.
    pub(crate) fn penalty(&self) -> Penalty {
        self.model.penalty
    }

    /// `log|H|` at zero ridge at the current point, or why it is absent.
    ///
    /// # Errors
    /// What ends the work.
    pub(crate) fn log_determinant(
        &mut self,
    ) -> Result<Result<LogDeterminant, String>, CurvedError> {
        // H is that of `f`, the penalty on flat coordinates included.
        self.assemble(self.model.penalty.kappa);
        self.linearised = false;
        let system = system_of(&self.model, &self.current, &self.row_hessian)?;
        let chosen = Chosen::of(self.solver.plan());
        let mut base = self.solver.refresh(system)?;
        self.summary.factored(chosen);
        match base.factor(Ridge::ZERO) {
            Ok(frame) => Ok(frame.log_determinant().map_err(|reason| reason.to_string())),
            Err(Failure::NotPositiveDefinite(npd)) => {
                Ok(Err(format!("singular at zero ridge: {npd}")))
            }
            Err(Failure::Stop(error)) => Err(error.into()),
        }
    }

    /// Brings the row blocks up to date with the current point. Whether they changed.
    fn linearise(&mut self) -> bool {
        if self.linearised {
            return false;
        }
        // Whitened coordinates keep their squares: the penalty on them is a constant, and its
        // second derivative would only hold steps back.
        self.assemble(0.0);
        let (layout, kappa) = (self.model.layout, self.model.penalty.kappa);
        let still = |flat: &&Flat| flat.is_still(&self.current.coordinates);
        for flat in layout.flat().iter().filter(still) {
            // Nothing else may hold them: a decoder need not have any use for them.
            flat.add_to_diagonals(layout.row_dims(), kappa, &mut self.row_hessian);
        }
        self.linearised = true;
        true
    }

    fn assemble(&mut self, kappa: f64) {
        let Frozen {
            dictionary, layout, ..
        } = self.model;
        let gram =
            features::decoder_gram(&self.current.decoder, layout.features(), layout.outputs());
        features::row_hessian(
            dictionary,
            layout,
            &self.current.psi,
            &gram,
            kappa,
            &mut self.row_hessian,
        );
    }

    /// Solves at the relative ridge; the predicted reduction.
    fn step(&mut self, relative_ridge: f64) -> Result<f64, StepFailure<CurvedError>> {
        let started = Instant::now();
        let (changed, chosen) = (self.linearise(), Chosen::of(self.solver.plan()));
        let stop = |error: broadhead_schur::Error| StepFailure::Stop(error.into());
        let system =
            system_of(&self.model, &self.current, &self.row_hessian).map_err(StepFailure::Stop)?;
        let base = match changed {
            true => self.solver.refresh(system),
            // After a rejected trial only the ridge is another.
            false => self.solver.resume(system),
        };
        let mut base = base.map_err(stop)?;
        let means = base.mean_diagonals();
        self.seconds.assemble += started.elapsed();
        let gradient = Gradient::new(&self.current.row_gradient, &self.current.border_gradient);
        let started = Instant::now();
        self.summary.factored(chosen);
        let frame = base.factor(Ridge::relative(relative_ridge, means));
        self.seconds.factor += started.elapsed();
        let started = Instant::now();
        let mut frame = frame.map_err(|failure| step_failure(failure, means))?;
        let report = frame
            .solve(
                gradient,
                StepMut::new(&mut self.step_row, &mut self.step_border),
            )
            .map_err(|failure| step_failure(failure, means))?;
        self.summary.refinements += u64::from(report.refinements);
        if let Some(error) = report.error {
            let summary = &mut self.summary;
            summary.relative_residual = larger(summary.relative_residual, error.relative_residual);
            let componentwise = error.componentwise.unwrap_or(0.0);
            summary.componentwise_error = larger(summary.componentwise_error, componentwise);
        }
        let step = StepMut::new(&mut self.step_row, &mut self.step_border);
        let predicted = base.quadratic_model(gradient, step).map_err(stop)?;
        self.seconds.solve += started.elapsed();
        Ok(predicted.predicted_reduction())
    }

    /// Moves the trial point by the step and evaluates it.
    ///
    /// # Errors
    /// What ends the fit.
    fn advance(&mut self) -> Result<(), StepFailure<CurvedError>> {
        let started = Instant::now();
        let Frozen {
            dictionary, layout, ..
        } = self.model;
        let (from, to) = (&self.current.coordinates, &mut self.trial.coordinates);
        to.flat_mut().copy_from_slice(from.flat());
        for i in 0..layout.rows() {
            let first = layout.row_dims().offset(i);
            for on in layout.active(i) {
                let atom = dictionary.atoms()[on.atom];
                let step = &self.step_row[first + on.unknown..][..atom.local_dim()];
                let t = &mut to.row_mut(i)[dictionary.atom_columns(on.atom)];
                atom.topology().retract(t, step);
            }
        }
        let maps = to.whiten(layout);
        let decoder = match self.mode {
            BorderMode::Projected => Decoder::Projected,
            BorderMode::Joint => {
                let from = self.current.decoder.iter().zip(&self.step_border);
                for (to, (w, d)) in self.trial.decoder.iter_mut().zip(from) {
                    *to = w + d;
                }
                for (flat, map) in layout.flat().iter().zip(&maps) {
                    flat.follow(map, &mut self.trial.decoder, layout.outputs());
                }
                Decoder::Given
            }
        };
        let evaluated = self.trial.evaluate(&self.model, decoder);
        if let Err(error) = evaluated {
            self.trial.objective = where_it_failed(error)?;
        }
        tangent(layout, &mut self.trial);
        self.seconds.evaluate += started.elapsed();
        Ok(())
    }
}

impl Problem for Curved<'_> {
    type Error = CurvedError;

    fn objective(&self) -> Objective {
        self.current.objective
    }

    fn residual_norms(&self) -> [f64; 2] {
        let border = match self.mode {
            BorderMode::Projected => 0.0,
            BorderMode::Joint => crate::data::norm(&self.current.border_gradient),
        };
        [crate::data::norm(&self.current.row_gradient), border]
    }

    fn try_step(&mut self, relative_ridge: f64) -> Result<Trial, StepFailure<CurvedError>> {
        let predicted = self.step(relative_ridge)?;
        self.advance()?;
        Ok(Trial {
            predicted,
            objective: self.trial.objective,
        })
    }

    fn accept(&mut self) -> Result<(), CurvedError> {
        std::mem::swap(&mut self.current, &mut self.trial);
        self.linearised = false;
        Ok(())
    }

    fn reject(&mut self) {}
}

/// The objective of a trial point that could not be evaluated: none where its features determine no
/// decoder, so that the loop rejects the step.
///
/// # Errors
/// Every other failure ends the fit.
fn where_it_failed(error: CurvedError) -> Result<Objective, StepFailure<CurvedError>> {
    match error {
        CurvedError::Decoder { .. } => Ok(Objective {
            value: f64::NAN,
            scale: f64::NAN,
        }),
        other => Err(StepFailure::Stop(other)),
    }
}

/// Makes a point's gradient that of the objective after whitening.
fn tangent(layout: &Layout, point: &mut Point) {
    for flat in layout.flat() {
        flat.tangent(&point.coordinates, &mut point.row_gradient);
    }
}

fn system_of<'s>(
    model: &Frozen<'s>,
    point: &'s Point,
    row_hessian: &'s [f64],
) -> Result<System<'s>, CurvedError> {
    let layout = model.layout;
    let system = StructuredSystem::new(
        &layout.shape,
        RowBlocks::packed(row_hessian),
        StructuredFeatures {
            offsets: &layout.offsets,
            indices: &layout.indices,
            phi: &point.phi,
            psi: &point.psi,
            psi_offsets: &layout.psi_offsets,
        },
        SymmetricView::new(point.gram.as_ref()),
        MatRef::from_row_major_slice(&point.decoder, layout.features(), layout.outputs()),
    )
    .map_err(broadhead_schur::Error::from)?;
    Ok(system.into())
}

/// Makes an absolute bump relative to the mean diagonal of its side.
fn step_failure(failure: Failure, means: MeanDiagonals) -> StepFailure<CurvedError> {
    match failure {
        Failure::Stop(error) => StepFailure::Stop(error.into()),
        Failure::NotPositiveDefinite(npd) => StepFailure::NotPositiveDefinite {
            relative_bump: npd.relative_bump(means),
            what: npd.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_schur::Error;

    #[test]
    fn an_evaluation_that_fails_ends_the_fit_unless_its_features_determine_no_decoder() {
        let rejected = where_it_failed(CurvedError::Decoder { pivot: 3 }).unwrap();
        assert!(rejected.value.is_nan() && rejected.scale.is_nan());
        let array = "X";
        let error = Error::NotFinite {
            array,
            index: vec![2],
            value: f64::NAN,
        };
        let ended = where_it_failed(error.into());
        assert!(
            matches!(ended, Err(StepFailure::Stop(CurvedError::Solver(_)))),
            "{ended:?}"
        );
    }

    #[test]
    fn a_worst_error_that_is_not_a_number_is_kept() {
        let one = |relative_residual, componentwise_error| SolveSummary {
            relative_residual,
            componentwise_error,
            ..SolveSummary::default()
        };
        let mut summary = one(f64::NAN, 1e-16);
        summary.merge(&one(1e-12, f64::NAN));
        summary.merge(&one(1e-3, 1e-3));
        assert!(summary.relative_residual.is_nan() && summary.componentwise_error.is_nan());
        let mut summary = one(1e-12, 1e-16);
        summary.merge(&one(1e-14, 1e-13));
        assert_eq!(
            (summary.relative_residual, summary.componentwise_error),
            (1e-12, 1e-13)
        );
    }
}
