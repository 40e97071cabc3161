//! Systems whose numbers lie on a device.
//!
//! ```text
//!   dense        D, B, C                  with what multiplies them: H x, and ridges that lie there too
//!   structured   D, phi, Psi, G, W
//! ```
//! The numbers come from the host, packed and sent, or are written there by kernels of the caller's, and
//! then looked at where they lie: nothing below knows where they came from.

mod written;

use super::kernels::{Kernels, RowIndex};
use super::layout::Layout;
use super::operands::{Operands, UploadTimes};
use super::product::{Product, StepProduct};
use super::record::RidgeRecord;
use super::ridge::ResidentRidge;
use super::structured::layout::Sizes;
use super::structured::operands::StructuredOperands;
use super::vector::DeviceVector;
use crate::elimination::{core, dense_only, rows_first, structured_only};
use crate::{ArrowShape, EliminationKind, Error, ShapeError, StructuredShape, System};
use broadhead_device::{DeviceBuffer, DeviceError, Refusal, Stream, View};
use std::sync::Arc;
use std::time::Duration;
use written::WrittenCheck;

/// A system on a device: numbers that lie there.
pub struct DeviceSystem {
    stream: Stream,
    shape: DeviceShape,
    numbers: Numbers,
    /// Whether the numbers are those of a system.
    there: bool,
    times: UploadTimes,
    /// What looks at numbers that were written here.
    written: Option<Box<WrittenCheck>>,
}

/// A shape of either kind.
#[derive(Debug)]
enum DeviceShape {
    Dense(ArrowShape),
    Structured(StructuredShape),
}

enum Numbers {
    Dense(Box<DenseNumbers>),
    Structured(Box<StructuredOperands>),
    /// They were given back to the device.
    GivenBack,
}

/// Dense operands, and what multiplies them.
pub(crate) struct DenseNumbers {
    pub(crate) layout: Layout,
    pub(crate) kernels: Kernels,
    pub(crate) index: Arc<RowIndex>,
    pub(crate) operands: Operands,
    product: Product,
    ridge: ResidentRidge,
}

impl std::fmt::Debug for DeviceSystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceSystem")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl DeviceSystem {
    /// Room for the numbers of dense systems.
    pub(crate) fn dense(stream: &Stream, shape: &ArrowShape) -> Result<Self, Error> {
        let layout = Layout::new(shape)?;
        let numbers = DenseNumbers {
            kernels: Kernels::load(stream, &layout)?,
            index: Arc::new(RowIndex::new(stream, &layout, shape.rows())?),
            operands: Operands::new(stream, &layout)?,
            product: Product::new(stream, &layout)?,
            ridge: ResidentRidge::new(stream, &layout)?,
            layout,
        };
        let shape = DeviceShape::Dense(shape.clone());
        Ok(Self::of(stream, shape, Numbers::Dense(Box::new(numbers))))
    }

    /// Room for the numbers of structured systems.
    pub(crate) fn structured(
        stream: &Stream,
        shape: &StructuredShape,
        sizes: &Sizes,
    ) -> Result<Self, Error> {
        let operands = StructuredOperands::new(stream, sizes)?;
        let shape = DeviceShape::Structured(shape.clone());
        let numbers = Numbers::Structured(Box::new(operands));
        Ok(Self::of(stream, shape, numbers))
    }

    fn of(stream: &Stream, shape: DeviceShape, numbers: Numbers) -> Self {
        Self {
            stream: stream.clone(),
            shape,
            numbers,
            there: false,
            times: UploadTimes::default(),
            written: None,
        }
    }

    /// The shape, of a structured system as an arrow.
    pub fn shape(&self) -> &ArrowShape {
        match &self.shape {
            DeviceShape::Dense(shape) => shape,
            DeviceShape::Structured(shape) => shape.arrow(),
        }
    }

    /// The stream that numbers are sent on.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// How long the host took to gather the caller's arrays into the layout that travels, the last time
    /// that numbers were sent.
    pub fn packing(&self) -> Duration {
        self.times.packing
    }

    /// How long the packed pieces were on their way then, by the device's clock. It overlaps with
    /// packing. `None` where no operand is larger than 1 MiB: such are not waited for.
    pub fn sending(&self) -> Option<Duration> {
        self.times.on_device_clock.then_some(self.times.sending)
    }

    /// Sends numbers that are known to be finite. Lines of a dense border land in `landing`, a border
    /// matrix that is free until the next factorization.
    pub(crate) fn send(
        &mut self,
        system: &System<'_>,
        kind: EliminationKind,
        landing: Option<&mut DeviceBuffer<f64>>,
    ) -> Result<(), Error> {
        match (&mut self.numbers, &self.shape) {
            (Numbers::Dense(numbers), DeviceShape::Dense(expected)) => {
                let system = dense_only(kind, system)?;
                let sizes = |s: &ArrowShape| vec![s.row_count(), s.row_unknowns(), s.border()];
                if system.shape() != expected {
                    return Err(Error::Shape(ShapeError::Mismatch {
                        array: "system (rows, row unknowns, border)",
                        got: sizes(system.shape()),
                        expected: sizes(expected),
                    }));
                }
                let landing = landing.ok_or_else(none_there)?;
                self.there = false;
                let DenseNumbers {
                    layout,
                    kernels,
                    operands,
                    ..
                } = &mut **numbers;
                self.times = operands.refresh(&self.stream, kernels, layout, &system, landing)?;
            }
            (Numbers::Structured(operands), DeviceShape::Structured(expected)) => {
                let system = structured_only(kind, system)?;
                let got = system.structured_shape();
                if got != expected {
                    let sizes = |s: &StructuredShape| {
                        let arrow = s.arrow();
                        vec![
                            arrow.row_count(),
                            arrow.row_unknowns(),
                            s.features(),
                            s.outputs(),
                        ]
                    };
                    return Err(Error::Shape(ShapeError::Mismatch {
                        array: "system (rows, row unknowns, features, outputs)",
                        got: sizes(got),
                        expected: sizes(expected),
                    }));
                }
                self.there = false;
                self.times = operands.refresh(&system)?;
            }
            _ => return Err(none_there()),
        }
        self.there = true;
        Ok(())
    }

    /// # Errors
    /// A [`Refusal`] where the numbers are not those of a system.
    pub(crate) fn check_there(&self) -> Result<(), Error> {
        match self.there {
            true => Ok(()),
            false => Err(none_there()),
        }
    }

    /// The numbers of a dense system.
    pub(crate) fn dense_numbers(&self) -> Result<&DenseNumbers, Error> {
        match &self.numbers {
            Numbers::Dense(numbers) => Ok(numbers),
            Numbers::Structured(_) => Err(dense_alone()),
            Numbers::GivenBack => Err(none_there()),
        }
    }

    fn dense_numbers_mut(&mut self) -> Result<(&Stream, &mut DenseNumbers), Error> {
        match &mut self.numbers {
            Numbers::Dense(numbers) => Ok((&self.stream, numbers)),
            Numbers::Structured(_) => Err(dense_alone()),
            Numbers::GivenBack => Err(none_there()),
        }
    }

    /// The numbers of a structured system.
    pub(crate) fn structured_numbers(&self) -> Result<&StructuredOperands, Error> {
        match &self.numbers {
            Numbers::Structured(numbers) => Ok(numbers),
            Numbers::Dense(_) => Err(Error::Unsupported {
                elimination: core::KIND,
                system: "dense",
                why: "the core is that of a structured border",
            }),
            Numbers::GivenBack => Err(none_there()),
        }
    }

    /// Gives the numbers back to the device.
    pub(crate) fn give_back(&mut self) {
        (self.numbers, self.there) = (Numbers::GivenBack, false);
    }

    /// Whether the numbers have a place.
    pub(crate) fn is_given_back(&self) -> bool {
        matches!(self.numbers, Numbers::GivenBack)
    }

    /// `y = H x` for two vectors, of the layout's lengths.
    pub(crate) fn products(
        &mut self,
        x: [&DeviceVector; 2],
        y: [&mut DeviceVector; 2],
    ) -> Result<(), Error> {
        let (stream, numbers) = self.dense_numbers_mut()?;
        let DenseNumbers {
            layout,
            index,
            operands,
            product,
            ..
        } = numbers;
        Ok(product.apply(stream, layout, index, operands, x, y)?)
    }

    /// A step's products and what judges it, of vectors of the layout's lengths.
    pub(crate) fn product_of_step(&mut self, of: StepProduct<'_>) -> Result<(), Error> {
        let (stream, numbers) = self.dense_numbers_mut()?;
        let DenseNumbers {
            layout,
            index,
            operands,
            product,
            ..
        } = numbers;
        of.check_terms(layout)?;
        Ok(product.apply_to_step(stream, layout, index, operands, of)?)
    }

    /// Puts a ridge that lies on the device onto the diagonals, until [`Self::take_back_ridge`].
    pub(crate) fn add_ridge(&mut self, ridge: View<'_, RidgeRecord>) -> Result<(), Error> {
        let (stream, numbers) = self.dense_numbers_mut()?;
        let (layout, index, operands) = (&numbers.layout, &numbers.index, &mut numbers.operands);
        Ok(numbers.ridge.add(stream, layout, index, operands, ridge)?)
    }

    /// The operands as they were.
    pub(crate) fn take_back_ridge(&mut self) -> Result<(), Error> {
        let (stream, numbers) = self.dense_numbers_mut()?;
        let (layout, index, operands) = (&numbers.layout, &numbers.index, &mut numbers.operands);
        Ok(numbers.ridge.back(stream, layout, index, operands)?)
    }
}

/// That there are no numbers: none were sent, or they were given back.
fn none_there() -> Error {
    DeviceError::from(Refusal::Shape {
        what: "factor".to_owned(),
        expected: "operands sent by refresh".to_owned(),
        found: "none".to_owned(),
    })
    .into()
}

/// That a structured system was asked for what dense ones have.
pub(super) fn dense_alone() -> Error {
    Error::Unsupported {
        elimination: rows_first::KIND,
        system: "structured",
        why: "a device does this for dense systems alone",
    }
}
