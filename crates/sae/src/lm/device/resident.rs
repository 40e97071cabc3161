//! The quadratic problem wholly on a device: iterate, residual, objective, gain and ridge live
//! there. An iterate is one submission and one record of 136 bytes. Two values of
//! [`crate::lm::Problem`] run it under the one driver: [`ResidentQuadratic::fit`], a graph an iterate,
//! and [`ResidentQuadratic::fit_in_one_graph`].
//!
//! ```text
//!   load(system, g0) | load_gradient(g0)     the numbers of a problem, or its gradient alone
//!     start(rule)                            z = 0
//!       graph:  solve -> t = z + delta, H delta, H t -> judge, decide, accept -> record out
//! ```
//! # Invariants
//! - Refusals and the errors that end a fit are those of the CPU's
//!   [`crate::lm::quadratic::QuadraticProblem::fit`].
//! - The graph of an iterate contains no number of a problem: every launch reads the rule and `|X|^2 /
//!   2` from device memory, where [`ResidentQuadratic::start`] puts them. So one graph serves every
//!   problem of its workspace, and none may run between a load and a start. The graph of a whole fit
//!   contains the mean diagonals of the operands, and a load drops it.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::DECISION_DECLARES;
use super::fit::{WholeFit, device_error};
use super::record::{FitRecord, IterateRecord, ProblemRecord, RuleRecord, StateRecord};
use crate::lm::driver::{expect_in_range, start_at};
use crate::lm::quadratic::{
    LogDeterminantAbsence, QuadraticError, at_zero_ridge, check_data_norm_squared, norm,
};
use crate::lm::{Decision, Objective, Rule, State, StepFailure};
use broadhead_device::kernels::{Declaration, Geometry, Kernel, KernelSource, Launch};
use broadhead_device::record::Record;
use broadhead_device::{
    ByteClass, DeviceBuffer, DeviceError, ExecutionPath, Graph, PinnedBuffer, Refusal, Stream,
    View, declares, field,
};
use broadhead_schur::device::record::{SquareSums, StepTerms};
use broadhead_schur::device::{DeviceVector, Factorization, Keep, Linearisation, Placement};
use broadhead_schur::{
    ArrowShape, ArrowVector, DenseSystem, Error, Failure, Gradient, LogDeterminant, MeanDiagonals,
    Ridge, System,
};
use std::sync::Arc;

/// The loop's kernels, with the decision's text before them.
pub const LOOP: KernelSource = KernelSource {
    name: "loop.cu",
    text: concat!(include_str!("decision.cu"), include_str!("loop.cu")),
    declares: LOOP_DECLARES,
    entries: &["lm_judge"],
    options: &["--fmad=false"],
};

/// What loop.cu needs, after decision.cu.
pub(super) const LOOP_DECLARES: &[Declaration] = declares![
    all DECISION_DECLARES,
    record ProblemRecord,
    record IterateRecord,
    record FitRecord,
    record StepTerms,
    int TERMS = StepTerms::TERMS,
    double SCALE_OF_SMALL = SquareSums::SCALE_OF_SMALL,
    double SCALE_OF_LARGE = SquareSums::SCALE_OF_LARGE,
    int JUDGE_THREADS,
];

/// Threads of a block of the judging kernel.
const JUDGE_THREADS: u32 = 256;
/// The most thread blocks of the judging kernel: each of them combines all terms.
const JUDGES: usize = 132;
/// Vectors of a problem.
const VECTORS: u64 = 6;

/// A quadratic problem on a device.
pub struct ResidentQuadratic {
    pub(super) linearisation: Linearisation,
    pub(super) means: MeanDiagonals,
    /// `|X|^2 / 2`.
    data: f64,
    stage: Stage,
    /// The ridge of the factors on the device, where there are some.
    pub(super) at_hand: Option<Ridge>,
    vectors: ResidentVectors,
    judge: Kernel,
    pub(super) whole: WholeFit,
    problem: DeviceBuffer<ProblemRecord>,
    /// The state, and what a whole fit keeps beside it.
    pub(super) fit: DeviceBuffer<FitRecord>,
    terms: DeviceBuffer<f64>,
    counter: DeviceBuffer<u32>,
    record: DeviceBuffer<IterateRecord>,
    record_out: PinnedBuffer<IterateRecord>,
    /// By which its graphs recognise it.
    identity: Arc<()>,
}

/// What a problem's numbers are ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Empty,
    Loaded,
    /// The point belongs to this problem.
    Reset,
    Started,
    /// So does the record.
    Judged,
}

/// One iterate of a [`ResidentQuadratic`] as one submission: [`ResidentQuadratic::launch`].
///
/// It contains no number of a problem, so it also serves problems loaded later, with the factors at
/// hand at its launch.
pub struct IterateGraph {
    graph: Graph,
    of: Arc<()>,
}

struct ResidentVectors {
    g0: DeviceVector,
    point: DeviceVector,
    residual: DeviceVector,
    step: DeviceVector,
    trial: DeviceVector,
    trial_product: DeviceVector,
}

/// What an iterate reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iterate {
    /// The decision.
    pub decision: Decision,
    /// The reduction that the bare quadratic predicts.
    pub predicted: f64,
    /// The objective at the trial point.
    pub objective: f64,
    /// Norms of the residual at the trial point, rows and border.
    pub norms: [f64; 2],
}

impl ResidentQuadratic {
    /// Device bytes that [`ResidentQuadratic::new`] allocates, without the library's workspace: those
    /// of the linearisation, and of the loop's vectors.
    ///
    /// # Errors
    /// As [`ResidentQuadratic::new`], except that memory is not asked about.
    pub fn bytes_needed(shape: &ArrowShape, keep: Keep) -> Result<u64, Error> {
        let records = size_of::<ProblemRecord>() + size_of::<FitRecord>();
        let records = records + size_of::<IterateRecord>() + WholeFit::BYTES;
        let terms = Linearisation::step_terms_len(shape)?;
        let counter = size_of::<u32>() as u64;
        Ok(Linearisation::bytes_of_dense(shape, keep)?
            + VECTORS * DeviceVector::bytes_needed(shape)?
            + (records + 8 * terms) as u64
            + counter)
    }

    /// Allocates room for problems of `shape` on the device of `stream`.
    ///
    /// # Errors
    /// As [`Linearisation::dense`], with the bytes of [`ResidentQuadratic::bytes_needed`] where less is free.
    pub fn new(stream: &Stream, shape: &ArrowShape, keep: Keep) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape, keep)?;
        (stream.context()).expect_free(needed, "the quadratic fit on the device")?;
        let linearisation = Linearisation::dense(&Placement::on(stream).keeping(keep), shape)?;
        let module = stream.context().module(&LOOP)?;
        let kernel = |name| -> Result<Kernel, Error> { Ok(module.kernel(name)?.clone()) };
        Ok(Self {
            means: MeanDiagonals::default(),
            data: 0.0,
            stage: Stage::Empty,
            at_hand: None,
            vectors: ResidentVectors {
                g0: linearisation.vector()?,
                point: linearisation.vector()?,
                residual: linearisation.vector()?,
                step: linearisation.vector()?,
                trial: linearisation.vector()?,
                trial_product: linearisation.vector()?,
            },
            judge: kernel("lm_judge")?,
            whole: WholeFit::new(stream)?,
            problem: stream.zeros(1, "the rule")?,
            fit: stream.zeros(1, "the state")?,
            terms: linearisation.step_terms()?,
            counter: stream.zeros(1, "a counter")?,
            record: stream.zeros(1, "an iterate's record")?,
            record_out: stream.pinned(1, "an iterate's record")?,
            identity: Arc::new(()),
            linearisation,
        })
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentFull
    }

    /// Device bytes held, without the library's workspace.
    pub fn bytes(&self) -> u64 {
        let (held, shape) = (self.linearisation.bytes(), self.linearisation.shape());
        let keep = self.linearisation.keep().unwrap_or_default();
        // Of this shape there is a linearisation, so there is an answer.
        Self::bytes_needed(shape, keep).unwrap_or(held)
    }

    /// The linearisation: its ledger, and what its factorizations keep.
    pub fn linearisation(&self) -> &Linearisation {
        &self.linearisation
    }

    /// Sends one problem: `system`, `g0` and `|X|^2`. Allocates nothing. If it fails, no problem is
    /// loaded, and the previous one is gone.
    ///
    /// # Errors
    /// As [`crate::lm::quadratic::QuadraticWorkspace::load`], and [`Error::Device`].
    pub fn load(
        &mut self,
        system: &DenseSystem<'_>,
        g0: Gradient<'_>,
        data_norm_squared: f64,
    ) -> Result<(), Error> {
        // The graph of a whole fit holds the mean diagonals of the operands before.
        self.whole.forget();
        (self.stage, self.at_hand) = (Stage::Empty, None);
        check_data_norm_squared(data_norm_squared)?;
        self.linearisation.refresh(*system)?;
        g0.check_one(self.linearisation.shape())?;
        self.means = System::Dense(*system).mean_diagonals();
        self.send_gradient(g0, data_norm_squared)
    }

    /// Sends a new gradient and `|X|^2` for the operands already there: the next problem of an outer
    /// sequence. Operands, factors and graphs stay, so fits at the same ridge share one frame.
    /// Allocates nothing. If the gradient is refused, the previous problem stays as it was.
    ///
    /// # Errors
    /// As [`ResidentQuadratic::load`]; a [`Refusal`] where no problem was loaded.
    pub fn load_gradient(&mut self, g0: Gradient<'_>, data_norm_squared: f64) -> Result<(), Error> {
        self.expect(Stage::Loaded, "a new gradient")?;
        check_data_norm_squared(data_norm_squared)?;
        g0.check_one(self.linearisation.shape())?;
        self.send_gradient(g0, data_norm_squared)
    }

    /// Sends numbers that have been checked.
    fn send_gradient(&mut self, g0: Gradient<'_>, data_norm_squared: f64) -> Result<(), Error> {
        self.stage = Stage::Empty;
        self.data = 0.5 * data_norm_squared;
        let column = |part: faer::MatRef<'_, f64>| -> Vec<f64> {
            (0..part.nrows()).map(|i| part[(i, 0)]).collect()
        };
        let (row, border) = (column(g0.row), column(g0.border));
        let stream = self.linearisation.stream().clone();
        let class = ByteClass::Gradient;
        stream.upload_into(&row, self.vectors.g0.row_mut(), class)?;
        stream.upload_into(&border, self.vectors.g0.border_mut()?, class)?;
        self.stage = Stage::Loaded;
        Ok(())
    }

    /// Back to `z = 0`, where `r = -g0`, under `rule`.
    ///
    /// # Errors
    /// [`LmError::Rule`](crate::lm::LmError::Rule),
    /// [`LmError::StartNotFinite`](crate::lm::LmError::StartNotFinite); [`Error::Device`], with a
    /// [`Refusal`] where no problem was loaded.
    pub fn start(&mut self, rule: &Rule) -> Result<State, QuadraticError> {
        expect_in_range(rule)?;
        self.expect(Stage::Loaded, "the start of a fit")?;
        self.stage = Stage::Loaded;
        let norms = self.reset()?;
        self.stage = Stage::Reset;
        let objective = Objective {
            value: self.data,
            scale: self.data,
        };
        let state = start_at(rule, objective, norms)?;
        self.send_rule(rule)?;
        self.send(&state)?;
        self.stage = Stage::Started;
        Ok(state)
    }

    /// Sets `z = 0` and `r = -g0`, and returns the norms of `r`.
    fn reset(&mut self) -> Result<[f64; 2], Error> {
        let stream = self.linearisation.stream().clone();
        let class = ByteClass::Gradient;
        let row = stream.download(self.vectors.g0.row(), class)?;
        let border = stream.download(self.vectors.g0.border()?, class)?;
        let negated = |x: &[f64]| x.iter().map(|x| -x).collect::<Vec<_>>();
        let residual = &mut self.vectors.residual;
        stream.upload_into(&negated(&row), residual.row_mut(), class)?;
        stream.upload_into(&negated(&border), residual.border_mut()?, class)?;
        stream.zero(self.vectors.point.row_mut())?;
        stream.zero(self.vectors.point.border_mut()?)?;
        Ok([norm(&row), norm(&border)])
    }

    fn send_rule(&mut self, rule: &Rule) -> Result<(), Error> {
        let problem = ProblemRecord {
            rule: RuleRecord::of(rule),
            data: self.data,
        };
        let (stream, class) = (self.linearisation.stream().clone(), ByteClass::Record);
        Ok(stream.upload_into(&[problem], self.problem.view_mut(), class)?)
    }

    fn send(&mut self, state: &State) -> Result<(), Error> {
        let stream = self.linearisation.stream().clone();
        let to = self.fit.view_mut().field(field!(FitRecord, state))?;
        Ok(stream.upload_into(&[StateRecord::of(state)], to, ByteClass::Record)?)
    }

    /// Sends `state` if the one on the device, `there`, differs: the host has decided in between.
    pub(super) fn send_if_other(&mut self, there: &mut State, state: &State) -> Result<(), Error> {
        if there != state {
            self.send(state)?;
            *there = *state;
        }
        Ok(())
    }

    /// Declines `what` where the problem's numbers are not ready for it.
    fn expect(&self, stage: Stage, what: &str) -> Result<(), Error> {
        if self.stage >= stage {
            return Ok(());
        }
        let (expected, found) = match self.stage {
            Stage::Empty => ("a problem sent by load", "none"),
            Stage::Loaded | Stage::Reset => ("a fit begun by start", "a problem that was loaded"),
            Stage::Started | Stage::Judged => ("an iterate", "a fit that was begun"),
        };
        Err(refused(what, expected, found))
    }

    /// The factorization at `ridge`; the present one is used if it is at that ridge.
    pub(super) fn frame(&mut self, ridge: Ridge) -> Result<Factorization<'_>, Failure> {
        self.at_hand = None;
        let frame = self.linearisation.factorization(ridge)?;
        self.at_hand = Some(ridge);
        Ok(frame)
    }

    /// `log|H|` of the problem's operator at zero ridge, or why it has none: as a fit on the CPU
    /// reports it ([`crate::lm::quadratic::QuadraticFit::log_determinant`]). It costs nothing after
    /// [`ResidentQuadratic::fit`] ended at zero ridge, else one factorization, whose factors are then
    /// at hand. Nothing is sent, and no fit or iterate pays for it.
    ///
    /// # Errors
    /// [`Error::Device`], with a [`Refusal`] where no problem was loaded; [`Error::Overflow`].
    pub fn log_determinant(
        &mut self,
    ) -> Result<Result<LogDeterminant, LogDeterminantAbsence>, Error> {
        self.expect(Stage::Loaded, "the log-determinant of a fit")?;
        at_zero_ridge(self.frame(Ridge::ZERO).map(|frame| frame.log_determinant()))
    }

    /// Captures one iterate as a graph. It serves frames at any ridge, and this problem and all later
    /// ones.
    ///
    /// # Errors
    /// As [`Linearisation::factor`]; a [`Refusal`] where no problem was loaded.
    pub fn graph(&mut self, ridge: Ridge) -> Result<IterateGraph, Failure> {
        self.expect(Stage::Loaded, "the graph of an iterate")?;
        self.frame(ridge)?;
        let stream = self.linearisation.stream().clone();
        let graph = stream
            .capture(|_| self.submit_iterate().map_err(device_error))
            .map_err(Error::from)?;
        Ok(IterateGraph {
            graph,
            of: Arc::clone(&self.identity),
        })
    }

    /// Submits one iterate with the factors at hand, as one graph; [`ResidentQuadratic::read`] returns
    /// the result.
    ///
    /// # Errors
    /// [`Error::Device`], with a [`Refusal`] where the graph is another workspace's, where no fit was
    /// started since the last load, or where there are no factors since then.
    pub fn launch(&mut self, graph: &mut IterateGraph) -> Result<(), Error> {
        let what = "the graph of an iterate";
        if !Arc::ptr_eq(&graph.of, &self.identity) {
            return Err(refused(what, "this workspace's", "another's"));
        }
        self.expect(Stage::Started, what)?;
        if self.at_hand.is_none() {
            return Err(refused(what, "factors of this problem", "none"));
        }
        graph.graph.launch()?;
        self.stage = Stage::Judged;
        Ok(())
    }

    /// Submits one iterate with the frame at `ridge`, factoring first if the present frame is at
    /// another ridge.
    ///
    /// # Errors
    /// As [`Linearisation::factor`] if it factors; a [`Refusal`] where no fit was started since the last load.
    pub fn submit(&mut self, ridge: Ridge) -> Result<(), Failure> {
        self.expect(Stage::Started, "an iterate")?;
        self.frame(ridge)?;
        self.submit_iterate()?;
        self.stage = Stage::Judged;
        Ok(())
    }

    /// Submits one iterate with the factors at hand.
    fn submit_iterate(&mut self) -> Result<(), Error> {
        let (stream, judge) = (self.linearisation.stream().clone(), self.judge.clone());
        let launch = self.submit_step(&stream, &judge)?;
        // SAFETY: the arguments are those of the source; all vectors are of N and k numbers, the
        // terms all of every block's; one record of the problem, the fit and the iterate.
        unsafe { launch.submit()? };
        stream.download_pinned(self.record.view(), &mut self.record_out, ByteClass::Record)?;
        Ok(())
    }

    /// Submits the step from the present factors, its products, and a kernel that judges it.
    pub(super) fn submit_step<'s>(
        &'s mut self,
        stream: &'s Stream,
        kernel: &'s Kernel,
    ) -> Result<Launch<'s>, Error> {
        let ResidentVectors {
            g0,
            point,
            residual,
            step,
            trial,
            trial_product,
        } = &mut self.vectors;
        self.linearisation.submit_solve(residual, step)?;
        self.linearisation.product_of_step(
            (&*point, &*step),
            (&*residual, &*g0),
            (&mut *trial, &mut *trial_product),
            &mut self.terms,
        )?;
        let (n, k) = (
            self.linearisation.shape().row_unknowns(),
            self.linearisation.shape().border(),
        );
        let blocks = (n + k).div_ceil(JUDGE_THREADS as usize).clamp(1, JUDGES);
        let [point_row, point_border] = point.parts_mut()?;
        let [residual_row, residual_border] = residual.parts_mut()?;
        Ok(kernel
            .launch(stream, Geometry::line(blocks as u32, JUDGE_THREADS))
            .early()
            .scalar(n as i64)
            .scalar(k as i32)
            .read(self.terms.view())
            .scalar((self.terms.len() / StepTerms::TERMS) as i32)
            .read(trial.row())
            .read(trial.border()?)
            .read(trial_product.row())
            .read(trial_product.border()?)
            .read(g0.row())
            .read(g0.border()?)
            .write(point_row)
            .write(point_border)
            .write(residual_row)
            .write(residual_border)
            .read(self.problem.view())
            .write(self.fit.view_mut())
            .write(self.counter.view_mut())
            .write(self.record.view_mut()))
    }

    /// Waits for the last iterate and returns its record.
    ///
    /// # Errors
    /// [`Error::Device`], with a [`Refusal`] where there was no iterate since the fit was started.
    pub fn read(&self) -> Result<Iterate, Error> {
        self.expect(Stage::Judged, "the record of an iterate")?;
        let mut record = [IterateRecord::ZERO];
        self.record_out.read(&mut record)?;
        let [record] = record;
        Ok(Iterate {
            decision: record.decision.decision(),
            predicted: record.predicted,
            objective: record.objective,
            norms: record.norms,
        })
    }

    /// What the driver is told of a factorization that failed at `ridge`: more ridge, with the bump, or
    /// a stop.
    pub(super) fn step_failure(&mut self, ridge: Ridge, failure: Failure) -> StepFailure<Error> {
        let advised = match failure {
            Failure::NotPositiveDefinite(failed) => {
                self.linearisation.advise(ridge, self.means, failed)
            }
            Failure::Stop(error) => Err(error),
        };
        match advised {
            Ok(failed) => StepFailure::of(Failure::NotPositiveDefinite(failed), self.means),
            Err(error) => StepFailure::Stop(error),
        }
    }

    /// Called after a trial whose prediction is not finite. Returns the error of a CPU solve if the
    /// gradient or the step is not finite; if both are finite, the trial was an ordinary one to reject.
    pub(super) fn expect_finite_step(&self) -> Result<(), Error> {
        let residual = self.download(&self.vectors.residual)?;
        residual
            .as_gradient()
            .check_one(self.linearisation.shape())?;
        let step = self.download(&self.vectors.step)?;
        match step.row.iter().chain(&step.border).all(|x| x.is_finite()) {
            true => Ok(()),
            false => Err(Error::Overflow { what: "the step" }),
        }
    }

    fn download(&self, vector: &DeviceVector) -> Result<ArrowVector, Error> {
        let stream = self.linearisation.stream();
        let class = ByteClass::Gradient;
        Ok(ArrowVector {
            row: stream.download(vector.row(), class)?,
            border: stream.download(vector.border()?, class)?,
        })
    }

    /// A view of the row part of the point on the device, whatever is there.
    pub fn point_row(&self) -> View<'_, f64> {
        self.vectors.point.row()
    }

    /// The point reached.
    ///
    /// # Errors
    /// [`Error::Device`], with a [`Refusal`] where no fit was begun since the last load.
    pub fn point(&self) -> Result<ArrowVector, Error> {
        self.expect(Stage::Reset, "the point of a fit")?;
        self.download(&self.vectors.point)
    }
}

/// A call that was declined.
fn refused(what: &str, expected: &str, found: &str) -> Error {
    let refusal = Refusal::Shape {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    DeviceError::from(refusal).into()
}
