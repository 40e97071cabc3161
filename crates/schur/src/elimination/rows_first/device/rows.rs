//! The row step by the library: batched Cholesky of blocks completed to one order, and, where rows are
//! equally wide, batched triangular solves. For rows wider than the fused kernels take, and their check.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use crate::device::kernels::{DeviceRowFactors, FEW_THREADS, PlaceRows, RowIndex, THREAD_COUNTS};
use crate::device::layout::{Layout, PAIR_THREADS};
use crate::device::record::RowRecord;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{
    Batch, BatchMut, DeviceBuffer, Matrix, MatrixMut, Result, Side, Stream, Triangle, ViewMut,
    declares,
};

pub(crate) const ROWS: KernelSource = KernelSource {
    name: "rows.cu",
    text: concat!(
        include_str!("../../../device/place.cu"),
        include_str!("../rows.cu")
    ),
    declares: declares![
        all THREAD_COUNTS,
        record RowRecord,
        long KEY = RowRecord::KEY,
        int PAIR_THREADS,
    ],
    entries: &[
        "factor_rows_1",
        "factor_rows_2",
        "factor_rows_4",
        "factor_rows_8",
        "factor_rows_16",
        "factor_rows_32",
        "factor_packed_2",
        "factor_packed_4",
        "factor_packed_8",
        "factor_packed_16",
        "whiten_1",
        "whiten_2",
        "whiten_4",
        "whiten_8",
        "whiten_16",
        "whiten_32",
        "rows_out",
        "rows_back",
        "whiten_wide",
    ],
    options: &[],
};

/// Blocks of threads of the kernels that take a row each, at most.
const BLOCKS: usize = 704;

/// Kernels and buffers of the library's way.
pub(crate) struct WideRows {
    out: Kernel,
    back: Kernel,
    whiten: Kernel,
    /// Blocks of order `layout.widest`, column-major.
    completed: DeviceBuffer<f64>,
    info: DeviceBuffer<i32>,
    pointers: DeviceBuffer<u64>,
}

impl WideRows {
    /// Device bytes of the buffers.
    pub(crate) fn bytes(layout: &Layout) -> u64 {
        let (rows, order) = (layout.rows as u64, layout.widest as u64);
        rows * (8 * order * order + 4 + 16)
    }

    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let module = stream.context().module(&ROWS)?;
        let (rows, order) = (layout.rows, layout.widest);
        Ok(Self {
            out: module.kernel("rows_out")?.clone(),
            back: module.kernel("rows_back")?.clone(),
            whiten: module.kernel("whiten_wide")?.clone(),
            completed: stream.zeros(rows * order * order, "completed row blocks")?,
            info: stream.zeros(rows, "info of the rows")?,
            pointers: stream.zeros(2 * rows, "addresses of the rows")?,
        })
    }

    fn begin<'a>(kernel: &'a Kernel, stream: &'a Stream, grid: [u32; 2]) -> Launch<'a> {
        let geometry = Geometry {
            grid: [grid[0], grid[1], 1],
            ..Geometry::line(1, FEW_THREADS)
        };
        kernel.launch(stream, geometry)
    }

    fn rows<'a>(launch: Launch<'a>, layout: &Layout, index: &'a RowIndex) -> Launch<'a> {
        launch.rows(index, layout)
    }

    /// What [`crate::device::kernels::Kernels::factor_rows`] does, with NaN for the value of a pivot that
    /// failed.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn factor(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        blocks: &DeviceBuffer<f64>,
        rho: f64,
        rows: &mut DeviceRowFactors,
        summary: ViewMut<'_, RowRecord>,
    ) -> Result<()> {
        let order = layout.widest;
        let grid = [layout.rows.clamp(1, BLOCKS) as u32, 1];
        let launch = Self::rows(Self::begin(&self.out, stream, grid), layout, index)
            .read(blocks.view())
            .scalar(rho)
            .write(self.completed.view_mut())
            .scalar(order as i32);
        // SAFETY: the arguments are those of the source; a completed block is order x order.
        unsafe { launch.submit()? };
        let first = MatrixMut::packed(self.completed.view_mut(), order, order)?;
        let mut batch = BatchMut::new(first, order * order, layout.rows)?;
        let (pointers, info) = (self.pointers.view_mut(), self.info.view_mut());
        stream.potrf_batch(&mut batch, pointers, info)?;
        let grid = [layout.records as u32, 1];
        let launch = Self::rows(Self::begin(&self.back, stream, grid), layout, index)
            .read(blocks.view())
            .read(self.completed.view())
            .scalar(order as i32)
            .read(self.info.view())
            .write(rows.factors.view_mut())
            .write(rows.reciprocals.view_mut())
            .write(rows.records.view_mut())
            .write(rows.counter.view_mut())
            .write(summary);
        // SAFETY: as above; a record for each block of threads, and one of all.
        unsafe { launch.submit() }
    }

    /// What [`crate::device::kernels::Kernels::whiten`] does.
    pub(crate) fn whiten(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        rows: &DeviceRowFactors,
        cross: &DeviceBuffer<f64>,
        whitened: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if layout.k == 0 || layout.unknowns == 0 {
            return Ok(());
        }
        let (k, order, d) = (layout.k, layout.order, layout.widest);
        let alike = layout.uniform >= 0;
        let grid = [
            k.div_ceil(FEW_THREADS as usize) as u32,
            layout.rows.min(65_535) as u32,
        ];
        let launch = Self::rows(Self::begin(&self.whiten, stream, grid), layout, index)
            .read(rows.factors.view())
            .read(rows.reciprocals.view())
            .read(cross.view())
            .scalar(k as i64)
            .write(whitened.view_mut())
            .scalar(order as i64)
            .scalar(k as i32)
            .scalar(i32::from(!alike));
        // SAFETY: the arguments are those of the source; B is N x k, Y is N x order.
        unsafe { launch.submit()? };
        if !alike {
            return Ok(());
        }
        // X L' = B' for every row, X = Y' of k x d.
        let factor = Matrix::packed(self.completed.view(), d, d)?.transposed();
        let factors = Batch::new(factor, d * d, layout.rows)?;
        let first = MatrixMut::new(whitened.view_mut(), k, d, order)?;
        let mut lines = BatchMut::new(first, d * order, layout.rows)?;
        let pointers = self.pointers.view_mut();
        stream.trsm_batch(
            Side::Right,
            Triangle::Lower,
            1.0,
            factors,
            &mut lines,
            pointers,
        )
    }
}
