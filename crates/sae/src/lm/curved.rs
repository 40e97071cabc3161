//! The curved inner problem: Gauss-Newton on coordinates and decoder for frozen gates.
//!
//! At the current point the Hessian is the structured arrow of [`broadhead_schur`]: `D_i`, `B_i =
//! phi_i' (x) J_i`, `C = G (x) I_p`. In the *projected* loop (the default) the decoder is, at every
//! trial, the exact minimiser for its coordinates, so the border's gradient vanishes and only the
//! coordinates' part of a step is used; in the *joint* loop decoder and coordinates take the step
//! together. Both take their prediction from the same bare quadratic and go through the same decision.
//! Both keep coordinates on lines whitened (see [`crate::iterate::whitening`]).
//!
//! Invariants: a trial is evaluated from its own residual rows; nothing of the current point changes
//! before a trial is accepted; the penalties are fixed for the whole fit.

use crate::data::larger;
use crate::error::CurvedError;
use crate::iterate::features;
use crate::iterate::layout::Layout;
use crate::iterate::point::{Decoder, Frozen, Point};
use crate::iterate::whitening::Flat;
use crate::lm::ended::{Ended, Factorable};
use crate::lm::gradients::{Gradients, Linearised};
use crate::lm::{LmReport, Objective, Problem, Rule, State, Status, StepFailure, Trial, Tried};
use broadhead_device::{DeviceError, DevicePolicy, ExecutionPath};
use broadhead_schur::device::Keep;
use broadhead_schur::{
    EliminationKind, Gradient, Plan, Ridge, RowBlocks, Solver, SolverOptions, StepMut,
    StructuredFeatures, StructuredSystem, SymmetricView, System,
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
    /// Factorizations, on the host and on a device.
    pub factorizations: u64,
    /// Factorizations on a device, where the solves ran too.
    pub device_factorizations: u64,
    /// Why the device was not used although it was cheaper, the first time that happened: it had too
    /// little memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_declined: Option<DeviceError>,
    /// What the planner chose, or what was pinned. Usually one choice; more where the planner chose
    /// again after gates moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<Chosen>,
    /// Refinement steps.
    pub refinements: u64,
    /// Products of conjugate gradients.
    #[serde(default)]
    pub products: u64,
    /// The worst `|H x + g| / |g|` of any solve; 0 before the first.
    pub relative_residual: f64,
    /// The worst componentwise backward error of any solve.
    pub componentwise_error: f64,
}

/// How an operator was factored. Pinning these values repeats it.
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
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            elimination: plan.chosen,
            path: plan.path,
            keep: plan.keep,
        }
    }

    /// The different choices in `all`, in the order in which they first occur.
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
    /// Counts one factorization, made as `chosen`.
    pub(crate) fn factored(&mut self, chosen: Chosen) {
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
        self.products += other.products;
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
    /// The slopes at the point that was evaluated last.
    psi: Vec<f64>,
    /// Whether that is the current one.
    psi_is_current: bool,
    row_hessian: Vec<f64>,
    linearised: bool,
    way: StepMethod,
    step_row: Vec<f64>,
    step_border: Vec<f64>,
    pub(crate) summary: SolveSummary,
    pub(crate) seconds: Seconds,
    largest_gradient: f64,
}

/// How steps are found.
enum StepMethod {
    /// By an elimination.
    Factored(Box<Solver>),
    /// By conjugate gradients in the space of features.
    Gradients(Box<Gradients>),
}

/// The order of a border's core (or the number of unknowns) from which on it is not factored.
const LARGE: usize = 768;

/// Nor is it where there are so many rows: passes over them are what a step costs, and conjugate gradients need
/// fewer.
pub(crate) const MANY: usize = 8192;

/// A gradient of this share of the largest seen, and a fall of this share of the objective, are none where a
/// fit goes by conjugate gradients.
const SMALL_GRADIENT: f64 = 1e-5;
const SMALL_DECREASE: f64 = 1e-7;

/// A gradient of this share of `sum |x_i|^2` is rounding: some thousand units of it.
const ROUNDING: f64 = 1e-12;

/// The residual of a step beside its gradient, where that is as large as at first.
const FORCING: f64 = 0.1;

/// Products of one step at most.
const MOST_PRODUCTS: u64 = 200;

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
    /// The problem at `start`, which has been evaluated with a projected decoder; `psi` are the slopes there.
    ///
    /// # Errors
    /// [`CurvedError::Solver`]: too little memory, an elimination that does not serve.
    pub(crate) fn new(
        model: Frozen<'a>,
        mode: BorderMode,
        (start, psi): (Point, Vec<f64>),
        options: SolverOptions,
    ) -> Result<Self, CurvedError> {
        let row_hessian = vec![0.0; model.layout.row_dims().block_len()];
        let system = system_of(&model, &start, &psi, &row_hessian)?;
        let solver = Solver::new(&system, options)?;
        Ok(Self::by(
            model,
            mode,
            (start, psi),
            StepMethod::Factored(Box::new(solver)),
        ))
    }

    /// [`Curved::new`] where rows choose their atoms: by conjugate gradients where the border's core would be
    /// large and nothing else is asked for.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn chosen(
        model: Frozen<'a>,
        mode: BorderMode,
        (start, psi): (Point, Vec<f64>),
        options: SolverOptions,
    ) -> Result<Self, CurvedError> {
        let (m, unknowns) = (model.layout.features(), model.layout.row_dims().unknowns());
        let order = unknowns.min(m * m);
        let pinned =
            options.elimination.is_some() || options.device_policy == DevicePolicy::Required;
        let few = order < LARGE && model.layout.rows() < MANY;
        if few || pinned || mode == BorderMode::Joint {
            return Self::new(model, mode, (start, psi), options);
        }
        let way = StepMethod::Gradients(Box::new(Gradients::new(model.layout)));
        Ok(Self::by(model, mode, (start, psi), way))
    }

    fn by(
        model: Frozen<'a>,
        mode: BorderMode,
        (mut start, psi): (Point, Vec<f64>),
        way: StepMethod,
    ) -> Self {
        let layout = model.layout;
        let row_hessian = vec![0.0; layout.row_dims().block_len()];
        let declined = match &way {
            StepMethod::Factored(solver) => solver.plan().declined.clone(),
            StepMethod::Gradients(_) => None,
        };
        tangent(layout, &mut start);
        let trial = start.clone();
        Self {
            model,
            mode,
            psi,
            psi_is_current: true,
            row_hessian,
            linearised: false,
            way,
            step_row: vec![0.0; layout.row_dims().unknowns()],
            step_border: vec![0.0; start.decoder.len()],
            current: start,
            trial,
            summary: SolveSummary {
                device_declined: declined,
                ..SolveSummary::default()
            },
            seconds: Seconds::default(),
            largest_gradient: 0.0,
        }
    }

    /// The rule that it converges by: where a fit goes by conjugate gradients half of the variance is left
    /// over as a rule, and Gauss-Newton has a linear tail.
    pub(crate) fn rule(&self, rule: &Rule) -> Rule {
        match self.way {
            StepMethod::Factored(_) => *rule,
            StepMethod::Gradients(_) => Rule {
                residual_tolerance: larger(rule.residual_tolerance, SMALL_GRADIENT),
                decrease_tolerance: larger(rule.decrease_tolerance, SMALL_DECREASE),
                ..*rule
            },
        }
    }

    /// Whether the gradient is the rounding of the sums of squares that it is formed from.
    pub(crate) fn is_at_rounding(&self) -> bool {
        let square = crate::data::ordered_sum(self.model.data.spreads());
        crate::data::norm(&self.current.row_gradient) <= ROUNDING * square
    }

    /// The report of a loop that was stopped here, after so many iterations and trials.
    pub(crate) fn where_it_is(&self, rule: &Rule, [iterations, trials]: [u64; 2]) -> LmReport {
        LmReport {
            status: Status::TimeLimit,
            iterations,
            trials,
            objective: self.current.objective.value,
            ridge: rule.initial_ridge,
            residual_norms: self.residual_norms(),
        }
    }

    /// Ends the loop here.
    pub(crate) fn end(self) -> Ended<'a> {
        let factored = match self.way {
            StepMethod::Factored(solver) => Some(Factorable {
                solver,
                psi: self.psi,
                row_hessian: self.row_hessian,
            }),
            StepMethod::Gradients(_) => None,
        };
        Ended {
            model: self.model,
            point: self.current,
            factored,
        }
    }

    /// Brings slopes and row blocks up to date with the current point and says whether the blocks changed.
    fn linearise(&mut self) -> bool {
        let Frozen {
            dictionary,
            layout,
            penalty,
            ..
        } = self.model;
        let Point {
            coordinates,
            phi,
            decoder,
            ..
        } = &mut self.current;
        if !self.psi_is_current {
            features::fill(dictionary, layout, coordinates, phi, &mut self.psi);
            self.psi_is_current = true;
        }
        if self.linearised {
            return false;
        }
        // Whitened coordinates keep their squares: the penalty on them is a constant, and its
        // second derivative would only hold steps back.
        (self.model).row_hessian(decoder, &self.psi, 0.0, &mut self.row_hessian);
        let still = |flat: &&Flat| flat.is_still(coordinates);
        for flat in layout.flat().iter().filter(still) {
            // Nothing else may hold them: a decoder need not have any use for them.
            flat.add_to_diagonals(layout.row_dims(), penalty.kappa, &mut self.row_hessian);
        }
        self.linearised = true;
        true
    }

    /// Solves at the relative ridge and returns the predicted reduction.
    fn step(&mut self, relative_ridge: f64) -> Result<f64, StepFailure<CurvedError>> {
        let started = Instant::now();
        let changed = self.linearise();
        let StepMethod::Factored(solver) = &mut self.way else {
            return self.step_by_gradients(relative_ridge);
        };
        let chosen = Chosen::of(solver.plan());
        let stop = |error: broadhead_schur::Error| StepFailure::Stop(error.into());
        let system = system_of(&self.model, &self.current, &self.psi, &self.row_hessian)?;
        let base = match changed {
            true => solver.refresh(system),
            // After a rejected trial only the ridge differs.
            false => solver.resume(system),
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
        let mut frame = frame.map_err(|failure| StepFailure::of(failure, means))?;
        let report = frame
            .solve(
                gradient,
                StepMut::new(&mut self.step_row, &mut self.step_border),
            )
            .map_err(|failure| StepFailure::of(failure, means))?;
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

    /// [`Curved::step`] by conjugate gradients. The better the last step did, the further the next is solved.
    fn step_by_gradients(&mut self, relative_ridge: f64) -> Result<f64, StepFailure<CurvedError>> {
        let started = Instant::now();
        let layout = self.model.layout;
        let (m, p) = (layout.features(), layout.outputs());
        let decoder_gram = features::decoder_gram(&self.current.decoder, m, p);
        let at = Linearised {
            layout,
            point: &self.current,
            psi: &self.psi,
            decoder_gram: &decoder_gram,
            blocks: &self.row_hessian,
        };
        let mean = at.mean_diagonal();
        self.seconds.assemble += started.elapsed();
        let StepMethod::Gradients(gradients) = &mut self.way else {
            return Ok(f64::NAN);
        };
        let started = Instant::now();
        let gradient = &self.current.row_gradient;
        self.largest_gradient = larger(self.largest_gradient, crate::data::norm(gradient));
        let share = crate::data::norm(gradient) / self.largest_gradient;
        let tolerance = FORCING * share.sqrt().min(1.0);
        let solved = gradients.solve(
            &at,
            gradient,
            relative_ridge * mean,
            tolerance,
            MOST_PRODUCTS,
            &mut self.step_row,
        );
        self.seconds.solve += started.elapsed();
        let solved = solved.map_err(|none| StepFailure::NotPositiveDefinite {
            relative_bump: larger(relative_ridge, 1e-6),
            what: none.to_string(),
        })?;
        let summary = &mut self.summary;
        summary.products += solved.iterations;
        summary.relative_residual = larger(summary.relative_residual, solved.relative_residual);
        Ok(solved.predicted)
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
                let t = to.place_mut(i, dictionary.atom_place(on.atom));
                atom.retract(t, step);
            }
        }
        let (maps, scales) = to.whiten(layout);
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
                for (cone, back) in layout.cones().iter().zip(&scales) {
                    cone.follow(back, &mut self.trial.decoder, layout.outputs());
                }
                Decoder::Given
            }
        };
        self.psi_is_current = false;
        let evaluated = (self.trial).evaluate(&self.model, decoder, &mut self.psi);
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

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<CurvedError>> {
        let predicted = self.step(state.ridge)?;
        self.advance()?;
        Ok(Tried::Offered(Trial {
            predicted,
            objective: self.trial.objective,
        }))
    }

    fn accept(&mut self) -> Result<(), CurvedError> {
        std::mem::swap(&mut self.current, &mut self.trial);
        (self.psi_is_current, self.linearised) = (true, false);
        Ok(())
    }
}

/// The objective of a trial point that could not be evaluated: NaN where its features determine no
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

/// Projects a point's gradient so that it is the gradient of the objective after whitening and scaling.
fn tangent(layout: &Layout, point: &mut Point) {
    for flat in layout.flat() {
        flat.tangent(&point.coordinates, &mut point.row_gradient);
    }
    for cone in layout.cones() {
        cone.tangent(&point.coordinates, &mut point.row_gradient);
    }
}

/// The system at a point, with its slopes and row blocks.
pub(crate) fn system_of<'s>(
    model: &Frozen<'s>,
    point: &'s Point,
    psi: &'s [f64],
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
            psi,
            psi_offsets: &layout.psi_offsets,
        },
        SymmetricView::new(point.gram.as_ref()),
        MatRef::from_row_major_slice(&point.decoder, layout.features(), layout.outputs()),
    )
    .map_err(broadhead_schur::Error::from)?;
    Ok(system.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Data;
    use crate::iterate::coordinates::{Coordinates, Gates};
    use broadhead_schur::Error;
    use ndarray::Array2;

    /// The slopes are kept once, and a trial overwrites them.
    #[test]
    fn after_a_rejected_trial_a_step_is_what_it_was() {
        let dictionary = "2*circle,euclidean:1".parse().unwrap();
        let x = Array2::from_shape_fn((60, 7), |(i, c)| ((1 + i) as f64 * (0.3 + c as f64)).sin());
        let data = Data::normalised(x.view()).unwrap();
        let gates = Gates::all_on(60, 3);
        let layout = Layout::new(&dictionary, &gates, 7).unwrap();
        let mut coordinates = Coordinates::origin(&dictionary, 60);
        for (at, t) in coordinates.flat_mut().iter_mut().enumerate() {
            *t = (1.7 * at as f64).sin();
        }
        coordinates.whiten(&layout);
        let penalty = crate::iterate::point::Penalty {
            lambda: 0.1,
            kappa: 0.1,
        };
        let model = Frozen {
            data: &data,
            dictionary: &dictionary,
            layout: &layout,
            penalty,
        };
        let start = || Point::projected(&model, coordinates.clone()).unwrap();
        let mode = BorderMode::Projected;
        let factored = Curved::new(model, mode, start(), SolverOptions::default()).unwrap();
        let way = StepMethod::Gradients(Box::new(Gradients::new(&layout)));
        let by_gradients = Curved::by(model, mode, start(), way);
        for mut curved in [factored, by_gradients] {
            let step = |curved: &mut Curved<'_>| {
                let predicted = curved.step(1e-3).map_err(|_| "no step").unwrap();
                (predicted.to_bits(), curved.step_row.clone())
            };
            let first = step(&mut curved);
            assert!(first.1.iter().any(|t| *t != 0.0));
            curved.advance().map_err(|_| "no trial").unwrap();
            assert_eq!(step(&mut curved), first);
            // And where it is accepted the next is another.
            curved.advance().map_err(|_| "no trial").unwrap();
            curved.accept().unwrap();
            assert_ne!(step(&mut curved), first);
        }
    }

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
