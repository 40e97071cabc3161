//! $`H x`$ over resident operands, for two vectors at once: what residuals and objectives on the
//! device are made of. Independent of any factor.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::base::ResidentVector;
use super::kernels::RowIndex;
use super::layout::{Layout, STRIP};
use super::operands::Operands;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result, Stream};

pub(super) const PRODUCT: KernelSource = KernelSource {
    name: "product.cu",
    text: include_str!("product.cu"),
    entries: &[
        "product_rows",
        "product_pull",
        "product_border",
        "product_finish",
    ],
    options: &[],
};

/// Order of a tile of the border.
const TILE: usize = 64;

/// Kernels and partial sums of a product.
pub(super) struct Product {
    rows: Kernel,
    pull: Kernel,
    border: Kernel,
    finish: Kernel,
    of_pull: DeviceBuffer<f64>,
    of_border: DeviceBuffer<f64>,
    tiles: usize,
}

impl Product {
    pub(super) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let module = stream.context().module(&PRODUCT)?;
        let tiles = layout.order.div_ceil(TILE);
        let of_pull = 2 * layout.chunks * layout.strips * STRIP;
        Ok(Self {
            rows: module.kernel("product_rows")?.clone(),
            pull: module.kernel("product_pull")?.clone(),
            border: module.kernel("product_border")?.clone(),
            finish: module.kernel("product_finish")?.clone(),
            of_pull: stream.zeros(of_pull, "partial sums of a product")?,
            of_border: stream.zeros(2 * tiles * tiles * TILE, "partial sums of a product")?,
            tiles,
        })
    }

    /// `y = H x` for both pairs.
    pub(super) fn apply(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        x: [&ResidentVector; 2],
        y: [&mut ResidentVector; 2],
    ) -> Result<()> {
        let [y0, y1] = y;
        let k = layout.k as i32;
        if layout.rows > 0 {
            let blocks = layout.rows.div_ceil(layout.rows_per_push) as u32;
            let launch = self
                .rows
                .launch(stream, Geometry::line(blocks, 256))
                .read(index.offsets.view())
                .read(index.blocks.view())
                .scalar(layout.rows as i64)
                .scalar(layout.uniform)
                .read(operands.row_hessian.view())
                .read(operands.cross.view())
                .scalar(k)
                .read(x[0].row.view())
                .read(x[0].border.view())
                .write(y0.row.view_mut())
                .read(x[1].row.view())
                .read(x[1].border.view())
                .write(y1.row.view_mut())
                .scalar(layout.rows_per_push as i32);
            // SAFETY: the arguments are those of the source; operands and vectors are of the
            // layout's lengths.
            unsafe { launch.submit()? };
        }
        let per_chunk = layout.unknowns.div_ceil(layout.chunks).max(1);
        let columns = layout.strips * STRIP;
        let geometry = Geometry {
            grid: [layout.strips as u32, layout.chunks as u32, 1],
            block: [64, 4, 1],
            ..Geometry::line(1, 1)
        };
        let launch = self
            .pull
            .launch(stream, geometry)
            .read(operands.cross.view())
            .scalar(k)
            .scalar(layout.unknowns as i64)
            .read(x[0].row.view())
            .read(x[1].row.view())
            .write(self.of_pull.view_mut())
            .scalar(columns as i64)
            .scalar(per_chunk as i64);
        // SAFETY: as above; partial sums are 2 x chunks x columns.
        unsafe { launch.submit()? };
        let (tiles, order) = (self.tiles, layout.order as i32);
        let launch = self
            .border
            .launch(
                stream,
                Geometry::line((tiles * (tiles + 1) / 2) as u32, 256),
            )
            .read(operands.border.view())
            .scalar(layout.order as i64)
            .scalar(order)
            .read(x[0].border.view())
            .read(x[1].border.view())
            .write(self.of_border.view_mut())
            .scalar((tiles * TILE) as i64);
        // SAFETY: as above; partial sums are 2 x tiles x tiles TILE.
        unsafe { launch.submit()? };
        let geometry = Geometry {
            grid: [layout.order.div_ceil(32) as u32, 1, 1],
            block: [32, 8, 1],
            ..Geometry::line(1, 1)
        };
        let launch = self
            .finish
            .launch(stream, geometry)
            .read(self.of_border.view())
            .scalar(tiles as i32)
            .read(self.of_pull.view())
            .scalar(layout.chunks as i32)
            .scalar((tiles * TILE) as i64)
            .scalar(columns as i64)
            .scalar(k)
            .scalar(order)
            .write(y0.border.view_mut())
            .write(y1.border.view_mut());
        // SAFETY: as above; `order` numbers of each border are written.
        unsafe { launch.submit() }
    }
}
