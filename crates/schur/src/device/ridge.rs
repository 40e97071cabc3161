//! A ridge that lies on the device, for loops that choose it there.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::{PlaceRows, RowIndex, THREAD_COUNTS, THREADS};
use super::layout::Layout;
use super::operands::Operands;
use super::record::RidgeRecord;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{DeviceBuffer, Result, Stream, View, declares};

pub(crate) const RIDGE: KernelSource = KernelSource {
    name: "ridge.cu",
    text: include_str!("ridge.cu"),
    declares: declares![all THREAD_COUNTS, record RidgeRecord],
    entries: &["ridge_add", "ridge_back"],
    options: &[],
};

/// Kernels, and the diagonals that they put back.
pub(crate) struct ResidentRidge {
    add: Kernel,
    back: Kernel,
    saved: DeviceBuffer<f64>,
}

impl ResidentRidge {
    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let module = stream.context().module(&RIDGE)?;
        Ok(Self {
            add: module.kernel("ridge_add")?.clone(),
            back: module.kernel("ridge_back")?.clone(),
            saved: stream.zeros(layout.unknowns + layout.k, "diagonals")?,
        })
    }

    /// `D` and `C` with `ridge`, one record, on their diagonals, until [`Self::back`].
    pub(crate) fn add(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &mut Operands,
        ridge: View<'_, RidgeRecord>,
    ) -> Result<()> {
        let launch = Self::begin(&self.add, stream, layout, index, operands)
            .read(ridge.slice(0..1)?)
            .write(self.saved.view_mut());
        // SAFETY: the arguments are those of the source; the operands are of the layout, and N + k
        // numbers are kept.
        unsafe { launch.submit() }
    }

    /// The operands as they were.
    pub(crate) fn back(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &mut Operands,
    ) -> Result<()> {
        let launch =
            Self::begin(&self.back, stream, layout, index, operands).read(self.saved.view());
        // SAFETY: as above.
        unsafe { launch.submit() }
    }

    fn begin<'a>(
        kernel: &'a Kernel,
        stream: &'a Stream,
        layout: &Layout,
        index: &'a RowIndex,
        operands: &'a mut Operands,
    ) -> Launch<'a> {
        let geometry = Geometry::one_thread_each(layout.rows + layout.k, THREADS);
        kernel
            .launch(stream, geometry)
            .rows(index, layout)
            .scalar(layout.unknowns as i64)
            .write(operands.row_hessian.view_mut())
            .write(operands.border.view_mut())
            .scalar(layout.order as i64)
            .scalar(layout.k as i32)
    }
}
