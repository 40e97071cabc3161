//! How large the residual of a step is, found on the device: see `residual.cu`. The numbers are those
//! of the CPU's refinement; one record of 40 bytes comes back.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::{FEW_THREADS, MOST_THREADS, PlaceRows, RowIndex, THREAD_COUNTS, THREADS};
use super::layout::{Layout, STRIP};
use super::operands::Operands;
use super::record::ResidualRecord;
use super::vector::DeviceVector;
use crate::{BackwardError, Ridge};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{ByteClass, DeviceBuffer, Result, Stream, declares};

pub(crate) const RESIDUAL: KernelSource = KernelSource {
    name: "residual.cu",
    text: include_str!("residual.cu"),
    declares: declares![all THREAD_COUNTS, record ResidualRecord, int STRIP],
    entries: &[
        "residual_rows",
        "residual_columns",
        "residual_triangle",
        "residual_border",
        "gauge",
        "advance",
    ],
    options: &[],
};

/// Pieces that the rows of the border's triangle are summed in.
const PIECES: usize = 16;

/// Kernels and vectors of a measurement.
pub(crate) struct DeviceResidual {
    rows: Kernel,
    columns: Kernel,
    triangle: Kernel,
    border: Kernel,
    gauge: Kernel,
    advance: Kernel,
    of_columns: DeviceBuffer<f64>,
    of_triangle: DeviceBuffer<f64>,
    record: DeviceBuffer<ResidualRecord>,
    /// `(H + rho) x + g`: the gradient of the correction.
    pub(crate) residual: DeviceVector,
    weight: DeviceVector,
    /// A correction.
    pub(crate) correction: DeviceVector,
    /// The step before it.
    before: DeviceVector,
}

impl DeviceResidual {
    /// Device bytes of the vectors.
    pub(crate) fn bytes(layout: &Layout) -> u64 {
        let vectors = 4 * (layout.unknowns + layout.border_len());
        let partials = 2 * (layout.chunks + PIECES) * layout.strips * STRIP;
        (8 * (vectors + partials) + size_of::<ResidualRecord>()) as u64
    }

    pub(crate) fn new(
        stream: &Stream,
        layout: &Layout,
        [residual, weight, correction, before]: [DeviceVector; 4],
    ) -> Result<Self> {
        let module = stream.context().module(&RESIDUAL)?;
        let columns = layout.strips * STRIP;
        let partials = |pieces: usize| stream.zeros(2 * pieces * columns, "partial sums");
        Ok(Self {
            rows: module.kernel("residual_rows")?.clone(),
            columns: module.kernel("residual_columns")?.clone(),
            triangle: module.kernel("residual_triangle")?.clone(),
            border: module.kernel("residual_border")?.clone(),
            gauge: module.kernel("gauge")?.clone(),
            advance: module.kernel("advance")?.clone(),
            of_columns: partials(layout.chunks)?,
            of_triangle: partials(PIECES)?,
            record: stream.zeros(1, "record of a measurement")?,
            residual,
            weight,
            correction,
            before,
        })
    }

    /// Forms the residual of `x` and measures it; waits for the record.
    pub(crate) fn measure(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        ridge: Ridge,
        (gradient, x): (&DeviceVector, &DeviceVector),
    ) -> Result<BackwardError> {
        if layout.unknowns > 0 {
            self.submit_rows(stream, layout, index, operands, ridge.row, (gradient, x))?;
        }
        if layout.k > 0 {
            self.submit_border(stream, layout, operands, ridge.border, (gradient, x))?;
        }
        let launch = self
            .gauge
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(self.residual.row.view())
            .read(self.weight.row.view())
            .read(gradient.row.view())
            .scalar(layout.unknowns as i64)
            .read(self.residual.border.view())
            .read(self.weight.border.view())
            .read(gradient.border.view())
            .scalar(layout.k as i32)
            .write(self.record.view_mut());
        // SAFETY: the arguments are those of the source; vectors are of the layout's lengths.
        unsafe { launch.submit()? };
        let record = stream.download_record(self.record.view(), ByteClass::Record)?;
        let ratio = |a: f64, b: f64| if a == 0.0 { 0.0 } else { a / b };
        Ok(BackwardError {
            normwise: ratio(record.largest, record.weight),
            componentwise: Some(record.worst),
            relative_residual: ratio(record.residual, record.gradient),
        })
    }

    fn submit_rows(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        rho: f64,
        (gradient, x): (&DeviceVector, &DeviceVector),
    ) -> Result<()> {
        let blocks = layout.unknowns.div_ceil(4) as u32;
        let launch = self
            .rows
            .launch(stream, Geometry::line(blocks, FEW_THREADS))
            .rows(index, layout)
            .scalar(layout.unknowns as i64)
            .read(operands.row_hessian.view())
            .read(operands.cross.view())
            .scalar(layout.k as i32)
            .scalar(rho)
            .read(x.row.view())
            .read(x.border.view())
            .read(gradient.row.view())
            .write(self.residual.row.view_mut())
            .write(self.weight.row.view_mut());
        // SAFETY: the arguments are those of the source; operands and vectors are of the layout's
        // lengths.
        unsafe { launch.submit() }
    }

    fn submit_border(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        operands: &Operands,
        rho: f64,
        (gradient, x): (&DeviceVector, &DeviceVector),
    ) -> Result<()> {
        let (k, order, columns) = (layout.k as i32, layout.order as i64, layout.strips * STRIP);
        let grid = |pieces: usize| Geometry {
            grid: [layout.strips as u32, pieces as u32, 1],
            ..Geometry::line(1, STRIP as u32)
        };
        let launch = self
            .columns
            .launch(stream, grid(layout.chunks))
            .read(operands.cross.view())
            .scalar(k)
            .scalar(layout.unknowns as i64)
            .read(x.row.view())
            .write(self.of_columns.view_mut())
            .scalar(columns as i64)
            .scalar(layout.unknowns.div_ceil(layout.chunks).max(1) as i64);
        // SAFETY: the arguments are those of the source; partial sums are
        // 2 x chunks x columns.
        unsafe { launch.submit()? };
        let launch = self
            .triangle
            .launch(stream, grid(PIECES))
            .read(operands.border.view())
            .scalar(order)
            .scalar(k)
            .read(x.border.view())
            .write(self.of_triangle.view_mut())
            .scalar(columns as i64)
            .scalar(layout.k.div_ceil(PIECES) as i32);
        // SAFETY: as above, with 2 x pieces x columns.
        unsafe { launch.submit()? };
        let launch = self
            .border
            .launch(
                stream,
                Geometry::line(layout.k.div_ceil(4) as u32, FEW_THREADS),
            )
            .read(operands.border.view())
            .scalar(order)
            .scalar(k)
            .scalar(rho)
            .read(x.border.view())
            .read(gradient.border.view())
            .read(self.of_columns.view())
            .scalar(layout.chunks as i32)
            .read(self.of_triangle.view())
            .scalar(PIECES as i32)
            .scalar(columns as i64)
            .write(self.residual.border.view_mut())
            .write(self.weight.border.view_mut());
        // SAFETY: as above; k numbers of each border are written.
        unsafe { launch.submit() }
    }

    /// Adds the correction to `x`, and keeps what `x` was.
    pub(crate) fn advance(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        x: &mut DeviceVector,
    ) -> Result<()> {
        stream.copy(x.row.view(), self.before.row.view_mut())?;
        stream.copy(x.border.view(), self.before.border.view_mut())?;
        let blocks = (layout.unknowns + layout.k)
            .div_ceil(THREADS as usize)
            .max(1) as u32;
        let launch = self
            .advance
            .launch(stream, Geometry::line(blocks, THREADS))
            .write(x.row.view_mut())
            .read(self.correction.row.view())
            .scalar(layout.unknowns as i64)
            .write(x.border.view_mut())
            .read(self.correction.border.view())
            .scalar(layout.k as i32);
        // SAFETY: the arguments are those of the source; vectors are of the layout's lengths.
        unsafe { launch.submit() }
    }

    /// Takes the last correction back.
    pub(crate) fn take_back(&self, stream: &Stream, x: &mut DeviceVector) -> Result<()> {
        stream.copy(self.before.row.view(), x.row.view_mut())?;
        stream.copy(self.before.border.view(), x.border.view_mut())
    }
}
