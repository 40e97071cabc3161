//! Rows first of dense systems, and the core, border first and conjugate gradients of structured ones, on a
//! CUDA device, with everything that a solve reads resident there.
//!
//! ```text
//!   DeviceSystem                     a system: numbers that lie there
//!     └ in a Linearisation           with room for factors by one elimination
//!         └ a Factorization          at one ridge, which solves
//!             └ for DeviceVectors    or for gradients of the host
//! ```
//! Dense and structured systems are alike but for how a linearisation of them is made.
//!
//! | residency | how | what travels |
//! |---|---|---|
//! | re-upload | [`Linearisation::reupload_and_solve`] | operands for every solve |
//! | frame | [`Linearisation::into_factorization`] | gradients in, steps out; operands were given back |
//! | base | [`Linearisation::factor`] | operands once a linearisation; a new ridge moves nothing |
//!
//! The algebra is that of [`crate::RowsFirst`]; sums are formed in other, fixed orders. A step that
//! stays on the device ([`Factorization::solve_resident`]) moves no byte. A linearisation is a
//! [`crate::Elimination`], so that a [`crate::Solver`] can use a device.
//!
//! # Invariants
//! - The bits of a result depend on the operands and the shape alone: no floating-point atomics,
//!   and no sum depends on what else the device does.
//! - Every buffer is made when a linearisation is made; refreshing, factoring and solving one gradient
//!   allocate nothing.
//! - Of symmetric blocks the lower triangle travels and is read.

pub(crate) mod dense_cholesky;
mod factorization;
pub(crate) mod factors;
pub(crate) mod finite;
pub(crate) mod kernels;
pub(crate) mod layout;
mod linearisation;
pub(crate) mod measured;
pub(crate) mod operands;
pub(crate) mod outcome;
pub(crate) mod packing;
pub(crate) mod pieces;
pub(crate) mod pivot;
pub(crate) mod product;
pub mod record;
pub(crate) mod residual;
pub(crate) mod ridge;
pub(crate) mod structured;
pub(crate) mod summary;
pub(crate) mod system;
pub(crate) mod tiles;
pub(crate) mod vector;
pub(crate) mod work;

pub use factorization::Factorization;
pub use layout::{WIDEST_BLOCK, WIDEST_ROW};
pub use linearisation::Linearisation;
pub use structured::{MOST_FEATURES, MOST_FEATURES_ITERATIVE};
pub(crate) use structured::{PIECE, pass_chunks};
pub use summary::{FrameSummary, Way};
pub use system::DeviceSystem;
pub use vector::DeviceVector;

use crate::Error;
use crate::elimination::border_first::device::kernels::BORDER_FIRST;
use crate::elimination::conjugate_gradients::device::descent::DESCENT;
use crate::elimination::rows_first::device::rows::ROWS;
use broadhead_device::kernels::KernelSource;
use broadhead_device::{Context, DevicePolicy, Dispatch, ExecutionPath, Ledger, Stream, probe};

/// What a factorization keeps of the border's factor.
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

/// A place on a device, and how systems are factored there where that is pinned.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The stream that the work runs on; its ledger counts the work.
    pub stream: Stream,
    /// What factorizations keep; `None` lets the planner choose by the solves expected, and is the default
    /// of [`Keep`] for a linearisation that is made without one.
    pub keep: Option<Keep>,
    /// How the row blocks of dense systems are factored, [`Way::Fused`] or [`Way::Library`]. The rule:
    /// fused, up to [`WIDEST_ROW`] unknowns a row.
    pub rows: Option<Way>,
    /// How the border of dense systems is factored, [`Way::Library`] or by tiles. The rule: tiles where
    /// the padded order is a multiple of 64 from 128 to 7168 and the device has the shared memory (from
    /// compute capability 9.0 on), which was measured to be the faster way; they sum over the rows
    /// themselves where these have at most a quarter as many unknowns as the border.
    pub border: Option<Way>,
}

impl Placement {
    /// On `stream`, with nothing pinned.
    pub fn on(stream: &Stream) -> Self {
        Self {
            stream: stream.clone(),
            keep: None,
            rows: None,
            border: None,
        }
    }

    /// The same place, where factorizations keep `keep`.
    #[must_use]
    pub fn keeping(self, keep: Keep) -> Self {
        Self {
            keep: Some(keep),
            ..self
        }
    }

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
        let place = Self {
            keep,
            ..Self::on(&stream)
        };
        Ok((Some(place), found))
    }

    /// The same device and pins with a stream of its own, whose work `ledger` counts: what one of
    /// many fits side by side runs on.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn apart(&self, ledger: &Ledger) -> Result<Self, Error> {
        Ok(Self {
            stream: self.stream.context().stream(ledger)?,
            ..self.clone()
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
        &finite::FINITE,
        &structured::kernels::STRUCTURED,
        &BORDER_FIRST,
        &DESCENT,
        &structured::row_products::ROW_PRODUCTS,
        &structured::residual::STRUCTURED_RESIDUAL,
    ]
}
