//! The quadratic problem wholly on a device: iterate, residual, objective, gain and ridge live
//! there. The host submits one graph an iterate and reads one record of 136 bytes; what it does
//! with the record is to stop, and to factor where the ridge changed. A whole fit as one graph is
//! [`ResidentQuadratic::fit_in_one_graph`].
//!
//! ```text
//!   graph:  solve -> t = z + delta, H delta, H t -> judge, decide, accept -> record out
//! ```
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::fit::WholeFit;
use super::{RULE, STATE, decision_of, rule_numbers, state_numbers};
use crate::lm::{Decision, LmReport, Outcome, Rule, State, Status, begin, decide};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{ByteClass, DeviceBuffer, ExecutionPath, Graph, PinnedBuffer, Stream, View};
use broadhead_schur::cuda::{Base, Keep, ResidentVector, StepProduct, StepTerms};
use broadhead_schur::{
    ArrowShape, ArrowVector, DenseSystem, Error, Failure, Gradient, MeanDiagonals,
    NotPositiveDefinite, Ridge, Side, System,
};

/// The loop's kernels, with the decision's text before them.
pub const LOOP: KernelSource = KernelSource {
    name: "loop.cu",
    text: concat!(include_str!("decision.cu"), include_str!("loop.cu")),
    entries: &["lm_judge"],
    options: &["--fmad=false"],
};

/// Most blocks of threads that judge: each combines all terms for itself.
const JUDGES: usize = 132;
/// Numbers of an iterate's record.
const RECORD: usize = 17;

/// A quadratic problem on a device.
pub struct ResidentQuadratic {
    pub(super) base: Base,
    pub(super) means: MeanDiagonals,
    data: f64,
    vectors: Vectors,
    judge: Kernel,
    pub(super) whole: WholeFit,
    rule: DeviceBuffer<f64>,
    /// The state, and what a whole fit keeps beside it.
    pub(super) state: DeviceBuffer<f64>,
    terms: StepTerms,
    counter: DeviceBuffer<u32>,
    record: DeviceBuffer<f64>,
    record_out: PinnedBuffer<f64>,
}

struct Vectors {
    g0: ResidentVector,
    point: ResidentVector,
    residual: ResidentVector,
    step: ResidentVector,
    trial: ResidentVector,
    trial_product: ResidentVector,
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
    /// Room for problems of `shape` on the device of `stream`.
    ///
    /// # Errors
    /// As [`Base::new`].
    pub fn new(stream: &Stream, shape: &ArrowShape, keep: Keep) -> Result<Self, Error> {
        let base = Base::new(stream, shape, keep)?;
        let module = stream.context().module(&LOOP)?;
        let kernel = |name| -> Result<Kernel, Error> { Ok(module.kernel(name)?.clone()) };
        Ok(Self {
            means: MeanDiagonals::default(),
            data: 0.0,
            vectors: Vectors {
                g0: base.vector()?,
                point: base.vector()?,
                residual: base.vector()?,
                step: base.vector()?,
                trial: base.vector()?,
                trial_product: base.vector()?,
            },
            judge: kernel("lm_judge")?,
            whole: WholeFit::new(stream)?,
            rule: stream.zeros(RULE, "the rule")?,
            state: stream.zeros(STATE + WholeFit::TAIL, "the state")?,
            terms: base.step_terms()?,
            counter: stream.zeros(1, "a counter")?,
            record: stream.zeros(RECORD, "an iterate's record")?,
            record_out: stream.pinned(RECORD, "an iterate's record")?,
            base,
        })
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentFull
    }

    /// The base: its ledger and bytes.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Sends one problem: `system`, `g0` and `|X|^2`. Allocates nothing.
    ///
    /// # Errors
    /// As [`Base::refresh`].
    pub fn load(
        &mut self,
        system: &DenseSystem<'_>,
        g0: Gradient<'_>,
        data_norm_squared: f64,
    ) -> Result<(), Error> {
        // The graph holds numbers of the problem before.
        self.whole.forget();
        self.base.refresh(system)?;
        g0.check_one(self.base.shape())?;
        self.means = System::Dense(*system).mean_diagonals();
        self.data = 0.5 * data_norm_squared;
        let column = |part: faer::MatRef<'_, f64>| -> Vec<f64> {
            (0..part.nrows()).map(|i| part[(i, 0)]).collect()
        };
        let (row, border) = (column(g0.row), column(g0.border));
        let stream = self.base.stream().clone();
        let class = ByteClass::Gradient;
        stream.upload_into(&row, self.vectors.g0.row_mut(), class)?;
        stream.upload_into(&border, self.vectors.g0.border_mut()?, class)?;
        Ok(())
    }

    /// Back to `z = 0`, where `r = -g0`, under `rule`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn start(&mut self, rule: &Rule) -> Result<State, Error> {
        let stream = self.base.stream().clone();
        let class = ByteClass::Gradient;
        let row = stream.download(self.vectors.g0.row(), class)?;
        let border = stream.download(self.vectors.g0.border()?, class)?;
        let negated = |x: &[f64]| x.iter().map(|x| -x).collect::<Vec<_>>();
        let residual = &mut self.vectors.residual;
        stream.upload_into(&negated(&row), residual.row_mut(), class)?;
        stream.upload_into(&negated(&border), residual.border_mut()?, class)?;
        stream.zero(self.vectors.point.row_mut())?;
        stream.zero(self.vectors.point.border_mut()?)?;
        let norms = [norm(&row), norm(&border)];
        let state = begin(rule, self.data, self.data, norms);
        stream.upload_into(&rule_numbers(rule), self.rule.view_mut(), ByteClass::Record)?;
        self.send(&state)?;
        Ok(state)
    }

    pub(super) fn send(&mut self, state: &State) -> Result<(), Error> {
        let stream = self.base.stream().clone();
        let (numbers, to) = (state_numbers(state), self.state.slice_mut(0..STATE)?);
        Ok(stream.upload_into(&numbers, to, ByteClass::Record)?)
    }

    /// One iterate as a graph, for frames at `ridge` and any later ones.
    ///
    /// # Errors
    /// As [`Base::factor`].
    pub fn graph(&mut self, ridge: Ridge) -> Result<Graph, Failure> {
        self.base.frame(ridge)?;
        let stream = self.base.stream().clone();
        let mut broken = None;
        let graph = stream.capture(|_| {
            match self.submit(ridge) {
                Err(Failure::Stop(Error::Device(error))) => return Err(error),
                Err(other) => broken = Some(other),
                Ok(()) => {}
            }
            Ok(())
        })?;
        match broken {
            Some(failure) => Err(failure),
            None => Ok(graph),
        }
    }

    /// Submits one iterate with the present frame, that at `ridge`.
    ///
    /// # Errors
    /// As [`Base::factor`] where the present frame is another.
    pub fn submit(&mut self, ridge: Ridge) -> Result<(), Failure> {
        self.base.frame(ridge)?;
        let (stream, judge) = (self.base.stream().clone(), self.judge.clone());
        let launch = self.submit_step(&stream, &judge)?;
        // SAFETY: the arguments are those of the source; all vectors are of N and k numbers, the
        // terms ten times the parts; 17 numbers of the iterate.
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
        let Vectors {
            g0,
            point,
            residual,
            step,
            trial,
            trial_product,
        } = &mut self.vectors;
        self.base.submit_solve(residual, step)?;
        self.base.product_of_step(StepProduct {
            point,
            step,
            residual,
            gradient: g0,
            trial,
            product: trial_product,
            terms: &mut self.terms,
        })?;
        let (n, k) = (self.base.shape().row_unknowns(), self.base.shape().border());
        let blocks = (n + k).div_ceil(256).clamp(1, JUDGES);
        let [point_row, point_border] = point.parts_mut()?;
        let [residual_row, residual_border] = residual.parts_mut()?;
        Ok(kernel
            .launch(stream, Geometry::line(blocks as u32, 256))
            .early()
            .scalar(n as i64)
            .scalar(k as i32)
            .read(self.terms.view())
            .scalar(self.terms.parts() as i32)
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
            .scalar(self.data)
            .read(self.rule.view())
            .write(self.state.view_mut())
            .write(self.counter.view_mut())
            .write(self.record.view_mut()))
    }

    /// The last iterate's record, after waiting for it.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self) -> Result<Iterate, Error> {
        let mut record = [0.0; RECORD];
        self.record_out.read(&mut record)?;
        Ok(Iterate {
            decision: decision_of(&record),
            predicted: record[13],
            objective: record[14],
            norms: [record[15], record[16]],
        })
    }

    /// Minimises from `z = 0` under `rule`.
    ///
    /// # Errors
    /// [`Failure::Stop`] with what ends a fit at once. A ridge past its ceiling is a status of the
    /// report.
    pub fn fit(&mut self, rule: &Rule) -> Result<LmReport, Failure> {
        let mut state = self.start(rule)?;
        let mut norms = state.largest;
        let mut graph = None;
        while state.status == Status::Running {
            let ridge = Ridge::relative(state.ridge, self.means);
            match self.base.frame(ridge) {
                Ok(_) => {}
                Err(Failure::NotPositiveDefinite(failure)) => {
                    state = self.refused(rule, &state, &failure)?;
                    continue;
                }
                Err(stop) => return Err(stop),
            }
            if graph.is_none() {
                graph = Some(self.graph(ridge)?);
            }
            if let Some(graph) = &mut graph {
                graph.launch()?;
            }
            let iterate = self.read()?;
            state = iterate.decision.state;
            if iterate.decision.accepted {
                norms = iterate.norms;
            }
        }
        Ok(report(&state, norms))
    }

    /// The state after a ridge at which there is no factor, sent to the device.
    pub(super) fn refused(
        &mut self,
        rule: &Rule,
        state: &State,
        failure: &NotPositiveDefinite,
    ) -> Result<State, Error> {
        let mean = match failure.site.side() {
            Side::Row => self.means.row,
            Side::Border => self.means.border,
        };
        let bump = failure.bump.map_or(0.0, |bump| match mean > 0.0 {
            true => bump / mean,
            false => f64::INFINITY,
        });
        let state = decide(rule, state, &Outcome::NotPositiveDefinite { bump }).state;
        self.send(&state)?;
        Ok(state)
    }

    /// The row part of the point reached, on the device.
    pub fn point_row(&self) -> View<'_, f64> {
        self.vectors.point.row()
    }

    /// The point reached.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn point(&self) -> Result<ArrowVector, Error> {
        let stream = self.base.stream();
        let class = ByteClass::Gradient;
        Ok(ArrowVector {
            row: stream.download(self.vectors.point.row(), class)?,
            border: stream.download(self.vectors.point.border()?, class)?,
        })
    }
}

/// How a loop ended.
pub(super) fn report(state: &State, norms: [f64; 2]) -> LmReport {
    LmReport {
        status: state.status,
        iterations: state.iterations,
        trials: state.trials,
        objective: state.objective,
        ridge: state.ridge,
        residual_norms: norms,
    }
}

/// The Euclidean norm without overflow or underflow.
fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let sum: f64 = x.iter().map(|x| (x / largest) * (x / largest)).sum();
    sum.sqrt() * largest
}
