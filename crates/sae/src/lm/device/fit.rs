//! A whole fit as one graph: the loop, the ridge and the factorizations are decided on the device, and
//! the host reads one record of 144 bytes a fit.
//!
//! ```text
//!   while (running) { ridge; if (other) factor; if (factored) { solve, products, settle } }
//! ```
//! Steps, decisions and bits are those of a fit by iterates, and the driver is the same: here a step is
//! as many trials as the graph makes ([`Tried::Ran`]). The graph ends early where a block does not
//! factor: the bump that cures it takes several factorizations, which the host makes before it launches
//! the graph anew. It also ends where a prediction is not finite: the host looks whether the step is.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::record::{FitRecord, ProgressRecord};
use super::resident::{LOOP_DECLARES, ResidentQuadratic};
use crate::lm::driver::drive;
use crate::lm::quadratic::QuadraticError;
use crate::lm::{LmReport, Objective, Problem, Rule, State, StepFailure, Tried, go_on};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::record::Record;
use broadhead_device::{
    ByteClass, DeviceBuffer, DeviceError, Fault, Graph, PinnedBuffer, Refusal, Stream, declares,
    field,
};
use broadhead_schur::device::record::{DenseRecord, RidgeRecord};
use broadhead_schur::{Error, Ridge};

/// The kernels of a whole fit, with the decision's text and the loop's before them.
pub const FIT: KernelSource = KernelSource {
    name: "fit.cu",
    text: concat!(
        include_str!("decision.cu"),
        include_str!("loop.cu"),
        include_str!("fit.cu")
    ),
    declares: declares![all LOOP_DECLARES, record DenseRecord],
    entries: &["lm_ridge", "lm_factored", "lm_ready", "lm_settle"],
    options: &["--fmad=false"],
};

/// Kernels and buffers of whole fits, and the graph once it has been made.
pub(super) struct WholeFit {
    ridge: Kernel,
    factored: Kernel,
    ready: Kernel,
    settle: Kernel,
    at: DeviceBuffer<RidgeRecord>,
    out: PinnedBuffer<FitRecord>,
    graph: Option<Graph>,
}

/// What the device says when a fit's graph has ended.
struct Ended {
    state: State,
    norms: [f64; 2],
    failed: bool,
    at_hand: Option<Ridge>,
    builds: u64,
}

impl WholeFit {
    /// Bytes that it keeps on the device beside the state.
    pub(super) const BYTES: usize = size_of::<RidgeRecord>();

    pub(super) fn new(stream: &Stream) -> Result<Self, Error> {
        let module = stream.context().module(&FIT)?;
        let kernel = |name| -> Result<Kernel, Error> { Ok(module.kernel(name)?.clone()) };
        Ok(Self {
            ridge: kernel("lm_ridge")?,
            factored: kernel("lm_factored")?,
            ready: kernel("lm_ready")?,
            settle: kernel("lm_settle")?,
            at: stream.zeros(1, "a ridge")?,
            out: stream.pinned(1, "a fit's record")?,
            graph: None,
        })
    }

    /// Drops the graph: it contains the mean diagonals of the old operands.
    pub(super) fn forget(&mut self) {
        self.graph = None;
    }
}

/// A fit under way whose trials the device makes without the host.
struct InOneGraph<'r> {
    resident: &'r mut ResidentQuadratic,
    /// The state on the device.
    there: State,
    /// Norms of the residual at the point.
    norms: [f64; 2],
    /// Whether the graph found no factors at the ridge of that state.
    failed: bool,
}

impl ResidentQuadratic {
    /// Minimises from `z = 0` under `rule` by one graph, with the same bits as
    /// [`ResidentQuadratic::fit`]. After the start the host submits once and reads once, and again for
    /// every ridge at which a block does not factor. The first fit of a problem makes the graph.
    ///
    /// Factors at hand at the first ridge are used, so the fits of an outer sequence share one frame
    /// ([`ResidentQuadratic::load_gradient`]).
    ///
    /// # Errors
    /// As [`ResidentQuadratic::fit`].
    pub fn fit_in_one_graph(&mut self, rule: &Rule) -> Result<LmReport, QuadraticError> {
        let state = self.start(rule)?;
        let mut fit = InOneGraph {
            resident: self,
            there: state,
            norms: state.largest,
            failed: false,
        };
        drive(&mut fit, rule, state, &mut go_on)
    }

    /// Launches the graph of a fit, made first if there is none, and waits for its end. The graph is
    /// kept if that succeeds.
    fn launch_fit(&mut self, norms: [f64; 2]) -> Result<Ended, Error> {
        let stream = self.linearisation.stream().clone();
        let mut graph = match self.whole.graph.take() {
            Some(graph) => graph,
            None => self.capture_fit(&stream)?,
        };
        let ended = self.run(&mut graph, &stream, norms)?;
        self.whole.graph = Some(graph);
        Ok(ended)
    }

    /// Launches the graph of a fit with the factors at hand, and waits for its end.
    fn run(&mut self, graph: &mut Graph, stream: &Stream, norms: [f64; 2]) -> Result<Ended, Error> {
        let at_hand = self.at_hand.take();
        self.send_progress(stream, norms, at_hand)?;
        // A graph that failed may have changed the factors too.
        let launched = graph.launch();
        let ended = launched.map_err(Error::from).and_then(|()| self.read_fit());
        if !matches!(&ended, Ok(ended) if ended.builds == 0) {
            self.linearisation.forget();
        }
        let ended = ended?;
        stream.ledger().factored(ended.builds);
        self.at_hand = ended.at_hand;
        Ok(ended)
    }

    /// Sends the norms at the point, and which factors are at hand. The state, which is sent where the host
    /// changed it, stays as it is.
    fn send_progress(
        &mut self,
        stream: &Stream,
        norms: [f64; 2],
        at_hand: Option<Ridge>,
    ) -> Result<(), Error> {
        let Ridge { row, border } = at_hand.unwrap_or(Ridge::ZERO);
        let progress = ProgressRecord {
            norms,
            failed: 0,
            ridge: RidgeRecord { row, border },
            at_hand: at_hand.is_some().into(),
            builds: 0,
        };
        let to = self.fit.view_mut().field(field!(FitRecord, progress))?;
        Ok(stream.upload_into(&[progress], to, ByteClass::Record)?)
    }

    fn read_fit(&self) -> Result<Ended, Error> {
        let mut record = [FitRecord::ZERO];
        self.whole.out.read(&mut record)?;
        let [FitRecord { state, progress }] = record;
        let RidgeRecord { row, border } = progress.ridge;
        Ok(Ended {
            state: state.state(),
            norms: progress.norms,
            failed: progress.failed != 0,
            at_hand: (progress.at_hand != 0).then(|| Ridge::new(row, border)),
            builds: progress.builds,
        })
    }

    fn capture_fit(&mut self, stream: &Stream) -> Result<Graph, Error> {
        Ok(stream.capture(|stream| {
            stream.while_loop(|stream, again| {
                let other = stream.branch()?;
                let launch = self
                    .whole
                    .ridge
                    .launch(stream, Geometry::line(1, 1))
                    .write(self.fit.view_mut())
                    .scalar(self.means.row)
                    .scalar(self.means.border)
                    .write(self.whole.at.view_mut())
                    .scalar(other);
                // SAFETY: the arguments are those of the source, one record each.
                unsafe { launch.submit()? };
                stream.if_then(other, |stream| self.factor_at(stream))?;
                let ready = stream.branch()?;
                let launch = self
                    .whole
                    .ready
                    .launch(stream, Geometry::line(1, 1))
                    .read(self.fit.view())
                    .scalar(ready)
                    .scalar(again);
                // SAFETY: as above.
                unsafe { launch.submit()? };
                stream.if_then(ready, |stream| {
                    let kernel = self.whole.settle.clone();
                    let launch = self.submit_step(stream, &kernel).map_err(device_error)?;
                    let launch = launch.scalar(again);
                    // SAFETY: as above, and as of an iterate alone.
                    unsafe { launch.submit() }
                })
            })?;
            let record = self.fit.view();
            stream.download_pinned(record, &mut self.whole.out, ByteClass::Record)
        })?)
    }

    /// Factors at the ridge on the device and records the outcome.
    fn factor_at(&mut self, stream: &Stream) -> broadhead_device::Result<()> {
        self.linearisation
            .submit_factor_at(self.whole.at.view())
            .map_err(device_error)?;
        let record = self.linearisation.factor_record().map_err(device_error)?;
        let launch = self
            .whole
            .factored
            .launch(stream, Geometry::line(1, 1))
            .read(record)
            .read(self.whole.at.view())
            .write(self.fit.view_mut());
        // SAFETY: as above.
        unsafe { launch.submit() }
    }
}

impl Problem for InOneGraph<'_> {
    type Error = Error;

    fn objective(&self) -> Objective {
        self.there.reached()
    }

    fn residual_norms(&self) -> [f64; 2] {
        self.norms
    }

    fn try_step(&mut self, state: &State) -> Result<Tried, StepFailure<Error>> {
        if std::mem::take(&mut self.failed) {
            return Err(self.look(state));
        }
        self.resident.send_if_other(&mut self.there, state)?;
        let ended = self.resident.launch_fit(self.norms)?;
        (self.there, self.norms) = (ended.state, ended.norms);
        self.failed = ended.failed;
        // The graph also ends at a trial whose prediction is not finite.
        if !ended.failed && ended.state.last_accepted == 0 {
            self.resident.expect_finite_step()?;
        }
        Ok(Tried::Ran(ended.state))
    }

    /// The device has accepted what it accepts.
    fn accept(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl InOneGraph<'_> {
    /// Factors again at the ridge at which the graph could not, to learn why.
    fn look(&mut self, state: &State) -> StepFailure<Error> {
        let ridge = Ridge::relative(state.ridge, self.resident.means);
        match self.resident.frame(ridge).map(drop) {
            Err(failure) => self.resident.step_failure(ridge, failure),
            // The same kernels on the same numbers: launching again would never end.
            Ok(()) => {
                self.resident.whole.forget();
                let why = "no factors at a ridge at which there are some";
                StepFailure::Stop(of_two_minds(why))
            }
        }
    }
}

/// The device's error. Any other can only mean a vector that does not belong to the linearisation.
pub(super) fn device_error(error: Error) -> DeviceError {
    match error {
        Error::Device(error) => error,
        other => DeviceError::from(Refusal::Shape {
            what: "a fit's graph".to_owned(),
            expected: "vectors of its linearisation".to_owned(),
            found: other.to_string(),
        }),
    }
}

/// The error of a factorization that fails once and succeeds once on the same numbers.
pub(super) fn of_two_minds(status: &str) -> Error {
    let fault = Fault::Library {
        call: "the graph of a fit".to_owned(),
        status: status.to_owned(),
    };
    DeviceError::from(fault).into()
}
