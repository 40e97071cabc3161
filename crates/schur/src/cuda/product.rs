//! $`H x`$ over resident operands, for two vectors at once: what residuals and objectives on the
//! device are made of. Independent of any factor.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::base::ResidentVector;
use super::kernels::{PlaceRows, RowIndex};
use super::layout::{Layout, STRIP};
use super::operands::Operands;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result, Stream};

pub(super) const PRODUCT: KernelSource = KernelSource {
    name: "product.cu",
    text: include_str!("product.cu"),
    entries: &["product_pass", "product_pass_of_step", "product_finish"],
    options: &[],
};

/// Order of a tile of the border.
const TILE: usize = 64;

/// Kernels and partial sums of a product.
pub(super) struct Product {
    pass: Kernel,
    pass_of_step: Kernel,
    finish: Kernel,
    of_rows: DeviceBuffer<f64>,
    of_pull: DeviceBuffer<f64>,
    of_border: DeviceBuffer<f64>,
    tiles: usize,
    /// Of no length: the null pointer of a point that is absent.
    none: DeviceBuffer<f64>,
}

impl Product {
    pub(super) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let module = stream.context().module(&PRODUCT)?;
        let tiles = layout.order.div_ceil(TILE);
        let [of_rows, of_pull, of_border] = layout.product_partials();
        let what_for = "partial sums of a product";
        Ok(Self {
            pass: module.kernel("product_pass")?.clone(),
            pass_of_step: module.kernel("product_pass_of_step")?.clone(),
            finish: module.kernel("product_finish")?.clone(),
            of_rows: stream.zeros(of_rows, what_for)?,
            of_pull: stream.zeros(of_pull, what_for)?,
            of_border: stream.zeros(of_border, what_for)?,
            tiles,
            none: stream.zeros(0, "nothing")?,
        })
    }

    /// `y = H x` for both pairs, where the second vector becomes the sum of `point` and the first
    /// before, if one is given.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(super) fn apply(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        x: (&ResidentVector, &mut ResidentVector),
        point: Option<&ResidentVector>,
        y: [&mut ResidentVector; 2],
    ) -> Result<()> {
        let [y0, y1] = y;
        let (tiles, k, order) = (self.tiles, layout.k as i32, layout.order);
        let (strips, chunks) = (layout.strips, layout.product_chunks);
        let (ldp, ldb) = (strips * STRIP, tiles * TILE);
        let none = self.none.view();
        let (point_row, point_border) =
            point.map_or((none, none), |z| (z.row.view(), z.border.view()));
        let blocks = strips * chunks + tiles * (tiles + 1) / 2;
        let pass = match point {
            Some(_) => &self.pass_of_step,
            None => &self.pass,
        };
        let launch = pass
            .launch(stream, Geometry::line(blocks as u32, 256))
            .early()
            .read(operands.cross.view())
            .scalar(k)
            .scalar(layout.unknowns as i64)
            .read(operands.border.view())
            .scalar(order as i64)
            .scalar(order as i32)
            .read(x.0.row.view())
            .read(x.0.border.view())
            .read(x.1.row.view())
            .read(x.1.border.view())
            .read(point_row)
            .read(point_border)
            .write(self.of_rows.view_mut())
            .write(self.of_pull.view_mut())
            .write(self.of_border.view_mut())
            .scalar(ldp as i64)
            .scalar(ldb as i64)
            .scalar(strips as i32)
            .scalar(chunks as i32)
            .scalar(layout.product_per_chunk as i64);
        // SAFETY: the arguments are those of the source; operands and vectors are of the layout's
        // lengths, border vectors padded to whole strips, and partial sums are as the layout says.
        unsafe { launch.submit()? };
        let blocks = order.div_ceil(32) + layout.unknowns.div_ceil(128);
        let launch = self
            .finish
            .launch(stream, Geometry::line(blocks as u32, 256))
            .early()
            .rows(index, layout)
            .read(operands.row_hessian.view())
            .read(x.0.row.view())
            .read(x.0.border.view())
            .write(x.1.row.view_mut())
            .write(x.1.border.view_mut())
            .read(point_row)
            .read(point_border)
            .read(self.of_rows.view())
            .scalar(strips as i32)
            .scalar(layout.unknowns as i64)
            .read(self.of_border.view())
            .scalar(tiles as i32)
            .read(self.of_pull.view())
            .scalar(chunks as i32)
            .scalar(ldb as i64)
            .scalar(ldp as i64)
            .scalar(k)
            .scalar(order as i32)
            .write(y0.row.view_mut())
            .write(y0.border.view_mut())
            .write(y1.row.view_mut())
            .write(y1.border.view_mut());
        // SAFETY: as above; N and `order` numbers of each vector are written, of the second factor
        // only where a point is given.
        unsafe { launch.submit() }
    }
}
