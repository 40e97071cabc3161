//! By which elimination a structured base factors.

use super::factors::StructuredElimination;
use crate::device::{DeviceBytes, Keep};
use crate::elimination::border_first::device::BorderFactors;
use crate::elimination::conjugate_gradients::device::IterativeFactors;
use crate::elimination::core::device::CoreFactors;
use crate::elimination::{border_first, conjugate_gradients, core};
use crate::work::Counts;
use crate::{EliminationKind, Error, IterativeOptions, StructuredShape, Workload};
use broadhead_device::Stream;
use serde::{Deserialize, Serialize};

/// The eliminations of structured systems that a device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StructuredMethod {
    /// The core, of order $`M r`$ whatever the rows are.
    #[default]
    Core,
    /// Border first: $`T`$ of order $`N`$, a Hadamard product of Gram matrices.
    Border {
        /// What frames keep of $`T`$'s factor.
        keep: Keep,
    },
    /// Conjugate gradients on the core, never formed; no log-determinant.
    Iterative {
        /// How far they go.
        options: IterativeOptions,
    },
}

impl StructuredMethod {
    /// The elimination.
    pub fn kind(self) -> EliminationKind {
        match self {
            Self::Core => core::KIND,
            Self::Border { .. } => border_first::KIND,
            Self::Iterative { .. } => conjugate_gradients::KIND,
        }
    }

    pub(crate) fn bytes_needed(self, shape: &StructuredShape) -> Result<DeviceBytes, Error> {
        match self {
            Self::Core => core::device::bytes_needed(shape),
            Self::Border { keep } => border_first::device::bytes_needed(shape, keep),
            Self::Iterative { .. } => conjugate_gradients::device::bytes_needed(shape),
        }
    }

    /// The work that it does, in the iterations that a [`Workload`] expects by default.
    pub(crate) fn work(self, shape: &StructuredShape) -> Counts {
        match self {
            Self::Core => core::work::on_device(shape),
            Self::Border { keep } => border_first::work::on_device(shape, keep),
            Self::Iterative { .. } => {
                conjugate_gradients::work::on_device(shape, Workload::default().iterations)
            }
        }
    }

    pub(crate) fn factors(
        self,
        stream: &Stream,
        shape: &StructuredShape,
    ) -> Result<Box<dyn StructuredElimination>, Error> {
        Ok(match self {
            Self::Core => Box::new(CoreFactors::new(stream, shape)?),
            Self::Border { keep } => Box::new(BorderFactors::new(stream, shape, keep)?),
            Self::Iterative { options } => Box::new(IterativeFactors::new(stream, shape, options)?),
        })
    }
}
