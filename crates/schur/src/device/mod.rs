//! Rows first, and the core, border first and conjugate gradients of structured systems, on a CUDA
//! device, with everything that a solve reads resident there.
//!
//! | residency | type | what travels |
//! |---|---|---|
//! | re-upload | [`ReUpload`] | operands for every solve |
//! | frame | [`ResidentFrame`] | gradients in, steps out; operands were given back |
//! | base | [`Base`], [`Frame`]; [`StructuredBase`], [`StructuredFrame`] | operands once a linearisation; a new ridge moves nothing |
//!
//! The algebra is that of [`crate::RowsFirst`]; sums are formed in other, fixed orders. A step that
//! stays on the device ([`Frame::solve_resident`]) moves no byte. [`Engine`] and [`StructuredEngine`]
//! put a base behind the trait that every elimination has, so that a [`crate::Solver`] can use a device.
//!
//! # Invariants
//! - The bits of a result depend on the operands and the shape alone: no floating-point atomics,
//!   and no sum depends on what else the device does.
//! - Every buffer is made when a base is made; refreshing, factoring and solving one gradient
//!   allocate nothing.
//! - Of symmetric blocks the lower triangle travels and is read.

pub(crate) mod dense_cholesky;
pub(crate) mod kernels;
pub(crate) mod layout;
pub(crate) mod methods;
pub(crate) mod operands;
pub(crate) mod packing;
pub(crate) mod pieces;
pub(crate) mod pivot;
pub(crate) mod product;
pub(crate) mod record;
pub(crate) mod residual;
pub(crate) mod ridge;
pub(crate) mod structured;
pub(crate) mod tiles;
pub(crate) mod vector;
pub(crate) mod work;

pub use crate::elimination::rows_first::device::engine::Engine;
pub use crate::elimination::rows_first::device::{Base, Frame, ReUpload, ResidentFrame};
pub use layout::{DeviceBytes, WIDEST_BLOCK, WIDEST_ROW};
pub use methods::{BorderMethod, FrameSummary, Methods, RowMethod};
pub use operands::UploadTimes;
pub use product::{StepProduct, StepTerms};
pub use structured::{
    MOST_FEATURES, MOST_FEATURES_ITERATIVE, StructuredBase, StructuredEngine, StructuredFrame,
    StructuredMethod,
};
pub(crate) use structured::{PIECE, pass_chunks};
pub use vector::ResidentVector;

use crate::Error;
use crate::elimination::border_first::device::kernels::BORDER_FIRST;
use crate::elimination::conjugate_gradients::device::descent::DESCENT;
use crate::elimination::rows_first::device::rows::ROWS;
use broadhead_device::kernels::KernelSource;
use broadhead_device::{Context, DevicePolicy, Dispatch, ExecutionPath, Ledger, Stream, probe};

/// What a frame keeps of the border's factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// $`L_S`$ alone. A solve has the serial chain of two triangular solves.
    Factor,
    /// $`L_S`$, and $`W = L_S^{-1}`$ with its transpose beside it. A solve is two products with half
    /// a matrix each: $`\delta\beta = W'(W b)`$. Costs about half a factorization more to build.
    /// Componentwise backward errors grow with the condition of $`L_S`$, not of $`S`$.
    #[default]
    InverseFactor,
}

/// A place on a device, and what frames keep there.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The stream that the work runs on; its ledger counts the work.
    pub stream: Stream,
    /// What frames keep; `None` lets the planner choose by the solves expected.
    pub keep: Option<Keep>,
}

impl Placement {
    /// Device 0 where `policy` allows it and it is there, with a stream and a ledger of its own.
    /// The [`Dispatch`] says where work will run, and why not on a device.
    ///
    /// # Errors
    /// [`Error::Absent`] where a device is required and absent; [`Error::Device`] where it is there
    /// and fails.
    pub fn open(
        policy: DevicePolicy,
        keep: Option<Keep>,
    ) -> Result<(Option<Self>, Dispatch), Error> {
        let found = policy.dispatch(|| {
            probe::cuda()?;
            Ok(ExecutionPath::GpuResidentLinearization)
        })?;
        if !found.path.is_device() {
            return Ok((None, found));
        }
        let stream = Context::open(0)?.stream(&Ledger::new())?;
        Ok((Some(Self { stream, keep }), found))
    }

    /// The same device and frames with a stream of its own, whose work `ledger` counts: what one of
    /// many fits side by side runs on.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn apart(&self, ledger: &Ledger) -> Result<Self, Error> {
        Ok(Self {
            stream: self.stream.context().stream(ledger)?,
            keep: self.keep,
        })
    }
}

/// The kernels of this crate.
pub fn kernel_sources() -> &'static [&'static KernelSource] {
    &[
        &ROWS,
        &kernels::BORDER,
        &kernels::SOLVE,
        &tiles::TILES,
        &residual::RESIDUAL,
        &product::PRODUCT,
        &ridge::RIDGE,
        &structured::kernels::STRUCTURED,
        &BORDER_FIRST,
        &DESCENT,
        &structured::row_products::ROW_PRODUCTS,
    ]
}
