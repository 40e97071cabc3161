//! Structured systems on a CUDA device: the core, border first and conjugate gradients, on resident
//! operands.
//!
//! ```text
//!   refresh  D, phi, Psi, G, W        once a linearisation
//!   factor   D + rho = L L', V = L^-1 Psi    G + rho = L_G L_G', R R' = W W'    Z = L_Z L_Z'
//!   solve    rows -> E -> y = G^-1 (E W - g) -> w = Q z -> u = F Z^-1 F' w -> q = Q u
//!                 -> x = y + G^-1 ((w + q) W) -> rows
//! ```
//!
//! So the core; the algebra is that of [`crate::Core`]: of order $`M r`$ whatever the rows and outputs
//! are. Border first, as [`crate::BorderFirst`], factors a matrix of order $`N`$: right where the rows have
//! fewer unknowns than the core. Conjugate gradients do the core's solve without its matrix. Nothing of
//! order $`n M p`$ is formed and $`p`$ enters as $`M^2 p`$. Features are kept densely, one line of $`M`$ a
//! row, whichever are on: a feature that is off is a zero.
//!
//! # Invariants
//! As of [`super`]: the bits depend on operands and shape alone; refreshing, factoring and solving
//! allocate nothing; a factorization reads back one record of 168 bytes and a resident solve nothing, or
//! by conjugate gradients a record of 72 bytes at its end; a measurement of a step one of 40 bytes.

pub(crate) mod factors;
pub(crate) mod kernels;
pub(crate) mod layout;
pub(crate) mod operands;
pub(crate) mod residual;
pub(crate) mod row_products;

pub use layout::{MOST_FEATURES, MOST_FEATURES_ITERATIVE};
pub(crate) use layout::{PIECE, pass_chunks};

use super::Keep;
use super::factors::DeviceElimination;
use super::kernels::RowIndex;
use super::layout::DeviceBytes;
use crate::elimination::border_first::device::BorderFactors;
use crate::elimination::conjugate_gradients::device::IterativeFactors;
use crate::elimination::core::device::CoreFactors;
use crate::elimination::{border_first, conjugate_gradients, core};
use crate::work::Counts;
use crate::{EliminationKind, Error, IterativeOptions, StructuredShape, Workload};
use broadhead_device::Stream;
use factors::StructuredElimination;
use std::sync::Arc;

/// That a device has no such elimination of structured systems.
fn none(elimination: EliminationKind) -> Error {
    Error::Unsupported {
        elimination,
        system: "structured",
        why: "a device has no such elimination of it",
    }
}

/// Device bytes of a linearisation of `shape` by `elimination`, the library's workspace apart.
///
/// # Errors
/// [`Error::Unsupported`] where it does not serve the shape.
pub(crate) fn bytes_needed(
    shape: &StructuredShape,
    elimination: EliminationKind,
    keep: Keep,
) -> Result<DeviceBytes, Error> {
    match elimination {
        core::KIND => core::device::bytes_needed(shape),
        border_first::KIND => border_first::device::bytes_needed(shape, keep),
        conjugate_gradients::KIND => conjugate_gradients::device::bytes_needed(shape),
        other => Err(none(other)),
    }
}

/// The work that it does, in the iterations that a [`Workload`] expects by default.
pub(crate) fn work(
    shape: &StructuredShape,
    elimination: EliminationKind,
    keep: Keep,
) -> Result<Counts, Error> {
    Ok(match elimination {
        core::KIND => core::work::on_device(shape),
        border_first::KIND => border_first::work::on_device(shape, keep),
        conjugate_gradients::KIND => {
            conjugate_gradients::work::on_device(shape, Workload::default().iterations)
        }
        other => return Err(none(other)),
    })
}

/// Room for its factors, of which border first keeps what is said, and conjugate gradients go as far as
/// is said; and where the rows lie.
pub(crate) fn factors(
    stream: &Stream,
    shape: &StructuredShape,
    elimination: EliminationKind,
    (keep, iterative): (Keep, IterativeOptions),
) -> Result<(Box<dyn DeviceElimination>, Arc<RowIndex>), Error> {
    Ok(match elimination {
        core::KIND => with_index(CoreFactors::new(stream, shape)?),
        border_first::KIND => with_index(BorderFactors::new(stream, shape, keep)?),
        conjugate_gradients::KIND => with_index(IterativeFactors::new(stream, shape, iterative)?),
        other => return Err(none(other)),
    })
}

fn with_index<E>(factors: E) -> (Box<dyn DeviceElimination>, Arc<RowIndex>)
where
    E: StructuredElimination + 'static,
{
    let index = Arc::clone(&factors.common().rows.index);
    (Box::new(factors), index)
}
