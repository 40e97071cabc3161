//! A whole fit as one graph: the loop, the ridge and the factorizations are decided on the device, and
//! the host reads one record of 144 bytes a fit.
//!
//! ```text
//!   while (running) { ridge; if (other) factor; if (factored) { solve, products, settle } }
//! ```
//! Steps, decisions and bits are those of the loop that the host drives. Where a block does not factor
//! the graph ends early: which bump cures it is found by factoring again and again, which the host
//! does, and then launches the graph anew.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::resident::{ResidentQuadratic, report};
use super::{STATE, state_of};
use crate::lm::{LmReport, Rule, State, Status};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{
    ByteClass, DeviceBuffer, DeviceError, Fault, Graph, PinnedBuffer, Refusal, Stream,
};
use broadhead_schur::{Error, Failure, Ridge};

/// The kernels of a whole fit, with the decision's text and the loop's before them.
pub const FIT: KernelSource = KernelSource {
    name: "fit.cu",
    text: concat!(
        include_str!("decision.cu"),
        include_str!("loop.cu"),
        include_str!("fit.cu")
    ),
    entries: &["lm_ridge", "lm_factored", "lm_ready", "lm_settle"],
    options: &["--fmad=false"],
};

/// Kernels and buffers of whole fits, and the graph once it was made.
pub(super) struct WholeFit {
    ridge: Kernel,
    factored: Kernel,
    ready: Kernel,
    settle: Kernel,
    at: DeviceBuffer<f64>,
    out: PinnedBuffer<f64>,
    graph: Option<Graph>,
}

/// What the device says when a fit's graph has ended.
struct Ended {
    state: State,
    norms: [f64; 2],
    failed: bool,
    builds: u64,
}

impl WholeFit {
    /// Numbers after the state, as fit.cu has them.
    pub(super) const TAIL: usize = 7;

    pub(super) fn new(stream: &Stream) -> Result<Self, Error> {
        let module = stream.context().module(&FIT)?;
        let kernel = |name| -> Result<Kernel, Error> { Ok(module.kernel(name)?.clone()) };
        Ok(Self {
            ridge: kernel("lm_ridge")?,
            factored: kernel("lm_factored")?,
            ready: kernel("lm_ready")?,
            settle: kernel("lm_settle")?,
            at: stream.zeros(2, "a ridge")?,
            out: stream.pinned(STATE + Self::TAIL, "a fit's record")?,
            graph: None,
        })
    }

    /// Drops the graph: a new problem's numbers are others.
    pub(super) fn forget(&mut self) {
        self.graph = None;
    }
}

impl ResidentQuadratic {
    /// Minimises from `z = 0` under `rule` by one graph: as [`ResidentQuadratic::fit`], with the same
    /// bits, but the host submits and reads once a fit (and once more for every ridge at which there
    /// is no factor). The first fit of a problem makes the graph.
    ///
    /// # Errors
    /// As [`ResidentQuadratic::fit`].
    pub fn fit_in_one_graph(&mut self, rule: &Rule) -> Result<LmReport, Failure> {
        let mut state = self.start(rule)?;
        let mut norms = state.largest;
        let stream = self.base.stream().clone();
        let mut graph = match self.whole.graph.take() {
            Some(graph) if state.status == Status::Running => graph,
            _ if state.status == Status::Running => self.capture_fit(&stream)?,
            _ => return Ok(report(&state, norms)),
        };
        self.send_tail(&stream, norms)?;
        while state.status == Status::Running {
            graph.launch()?;
            self.base.forget_frame();
            let ended = self.read_fit()?;
            stream.ledger().factored(ended.builds);
            (state, norms) = (ended.state, ended.norms);
            if !ended.failed {
                continue;
            }
            let ridge = Ridge::relative(state.ridge, self.means);
            match self.base.frame(ridge) {
                // The same kernels on the same numbers: going on would go round for ever.
                Ok(_) => return Err(Failure::Stop(of_two_minds())),
                Err(Failure::NotPositiveDefinite(failure)) => {
                    state = self.refused(rule, &state, &failure)?;
                }
                Err(stop) => return Err(stop),
            }
            self.send_tail(&stream, norms)?;
        }
        self.whole.graph = Some(graph);
        Ok(report(&state, norms))
    }

    /// Norms at the point, and that there are no factors yet.
    fn send_tail(&mut self, stream: &Stream, norms: [f64; 2]) -> Result<(), Error> {
        let mut tail = [0.0; WholeFit::TAIL];
        tail[..2].copy_from_slice(&norms);
        let to = self.state.slice_mut(STATE..STATE + WholeFit::TAIL)?;
        Ok(stream.upload_into(&tail, to, ByteClass::Record)?)
    }

    fn read_fit(&self) -> Result<Ended, Error> {
        let mut record = [0.0; STATE + WholeFit::TAIL];
        self.whole.out.read(&mut record)?;
        let tail = &record[STATE..];
        Ok(Ended {
            state: state_of(&record),
            norms: [tail[0], tail[1]],
            failed: tail[2] != 0.0,
            builds: tail[6] as u64,
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
                    .write(self.state.view_mut())
                    .scalar(self.means.row)
                    .scalar(self.means.border)
                    .write(self.whole.at.view_mut())
                    .scalar(other);
                // SAFETY: the arguments are those of the source; state and tail, two numbers.
                unsafe { launch.submit()? };
                stream.if_then(other, |stream| self.factor_at(stream))?;
                let ready = stream.branch()?;
                let launch = self
                    .whole
                    .ready
                    .launch(stream, Geometry::line(1, 1))
                    .read(self.state.view())
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
            let record = self.state.view();
            stream.download_pinned(record, &mut self.whole.out, ByteClass::Record)
        })?)
    }

    /// Factors at the ridge on the device and notes what became of it.
    fn factor_at(&mut self, stream: &Stream) -> broadhead_device::Result<()> {
        self.base
            .submit_factor_at(self.whole.at.view())
            .map_err(device_error)?;
        let launch = self
            .whole
            .factored
            .launch(stream, Geometry::line(1, 1))
            .read(self.base.factor_record())
            .read(self.whole.at.view())
            .write(self.state.view_mut());
        // SAFETY: the arguments are those of the source; 13 numbers, two, state and tail.
        unsafe { launch.submit() }
    }
}

/// The device's error; any other is that of a vector that is not of the base.
fn device_error(error: Error) -> DeviceError {
    match error {
        Error::Device(error) => error,
        other => DeviceError::from(Refusal::Shape {
            what: "a fit's graph".to_owned(),
            expected: "vectors of its base".to_owned(),
            found: other.to_string(),
        }),
    }
}

/// A graph that found no factors where there are some.
fn of_two_minds() -> Error {
    let fault = Fault::Library {
        call: "the graph of a fit".to_owned(),
        status: "no factors at a ridge at which there are some".to_owned(),
    };
    DeviceError::from(fault).into()
}
