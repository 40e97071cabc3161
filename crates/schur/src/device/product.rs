//! $`H x`$ over resident operands, for two vectors at once: what residuals and objectives on the
//! device are made of. Independent of any factor.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::{PlaceRows, RowIndex, THREAD_COUNTS, THREADS};
use super::layout::{Layout, PRODUCT_ROWS, STRIP, TILE};
use super::operands::Operands;
use super::record::{SquareSums, StepTerms};
use super::vector::DeviceVector;
use crate::{Error, ShapeError};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{DeviceBuffer, Result, Stream, declares};
use std::mem::offset_of;

pub(crate) const PRODUCT: KernelSource = KernelSource {
    name: "product.cu",
    text: include_str!("product.cu"),
    declares: declares![
        all THREAD_COUNTS,
        int STRIP,
        int TILE,
        int PRODUCT_ROWS,
        record StepTerms,
        int TERMS = StepTerms::TERMS,
        int OF_TRIAL = offset_of!(StepTerms, trial_slope) / size_of::<f64>(),
        int OF_ROWS = offset_of!(StepTerms, row_squares) / size_of::<f64>(),
        int OF_BORDER = offset_of!(StepTerms, border_squares) / size_of::<f64>(),
        double SMALL = SquareSums::SMALL,
        double LARGE = SquareSums::LARGE,
        double SCALE_OF_SMALL = SquareSums::SCALE_OF_SMALL,
        double SCALE_OF_LARGE = SquareSums::SCALE_OF_LARGE,
    ],
    entries: &[
        "product_partials",
        "product_partials_of_step",
        "product_reduce",
        "product_reduce_of_step",
    ],
    options: &[],
};

/// Numbers of the terms of a step: those of each block of threads that ends the products.
pub(crate) fn step_terms(layout: &Layout) -> usize {
    StepTerms::TERMS * end_blocks(layout)
}

/// A step whose products are asked for, and what they are written to.
pub(crate) struct StepProduct<'v> {
    /// `z`.
    pub(crate) point: &'v DeviceVector,
    /// `d`.
    pub(crate) step: &'v DeviceVector,
    /// `r`, the residual at the point.
    pub(crate) residual: &'v DeviceVector,
    /// `g`.
    pub(crate) gradient: &'v DeviceVector,
    /// Becomes `t = z + d`.
    pub(crate) trial: &'v mut DeviceVector,
    /// Becomes `H t`.
    pub(crate) product: &'v mut DeviceVector,
    /// Become what judges the step.
    pub(crate) terms: &'v mut DeviceBuffer<f64>,
}

impl StepProduct<'_> {
    /// # Errors
    /// [`Error::Shape`] where the terms are of another layout.
    pub(crate) fn check_terms(&self, layout: &Layout) -> std::result::Result<(), Error> {
        let (got, expected) = (vec![self.terms.len()], vec![step_terms(layout)]);
        match got == expected {
            true => Ok(()),
            false => Err(Error::Shape(ShapeError::Mismatch {
                array: "terms",
                got,
                expected,
            })),
        }
    }
}

/// Kernels and partial sums of a product.
pub(crate) struct Product {
    partials: Kernel,
    partials_of_step: Kernel,
    reduce: Kernel,
    reduce_of_step: Kernel,
    of_rows: DeviceBuffer<f64>,
    of_pull: DeviceBuffer<f64>,
    of_border: DeviceBuffer<f64>,
    tiles: usize,
    /// Of no length: the null pointer of a point that is absent.
    none: DeviceBuffer<f64>,
}

impl Product {
    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let module = stream.context().module(&PRODUCT)?;
        let tiles = layout.order.div_ceil(TILE);
        let [of_rows, of_pull, of_border] = layout.product_partials();
        let what_for = "partial sums of a product";
        Ok(Self {
            partials: module.kernel("product_partials")?.clone(),
            partials_of_step: module.kernel("product_partials_of_step")?.clone(),
            reduce: module.kernel("product_reduce")?.clone(),
            reduce_of_step: module.kernel("product_reduce_of_step")?.clone(),
            of_rows: stream.zeros(of_rows, what_for)?,
            of_pull: stream.zeros(of_pull, what_for)?,
            of_border: stream.zeros(of_border, what_for)?,
            tiles,
            none: stream.zeros(0, "nothing")?,
        })
    }

    /// `y = H x` for both pairs.
    pub(crate) fn apply(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        x: [&DeviceVector; 2],
        y: [&mut DeviceVector; 2],
    ) -> Result<()> {
        let [y0, y1] = y;
        self.partials(stream, layout, operands, x, None)?;
        let launch = self
            .ends(&self.reduce, stream, layout, index, operands)
            .read(x[0].row.view())
            .read(x[1].row.view())
            .write(y0.row.view_mut())
            .write(y0.border.view_mut())
            .write(y1.row.view_mut())
            .write(y1.border.view_mut());
        // SAFETY: the arguments are those of the source; N and `order` numbers of each vector are
        // written.
        unsafe { launch.submit() }
    }

    /// `t = z + d`, `H t` and the terms of a judgement of the step `d`.
    pub(crate) fn apply_to_step(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        index: &RowIndex,
        operands: &Operands,
        of: StepProduct<'_>,
    ) -> Result<()> {
        let StepProduct {
            point,
            step,
            residual,
            gradient,
            trial,
            product,
            terms,
        } = of;
        self.partials(stream, layout, operands, [step, trial], Some(point))?;
        let launch = self
            .ends(&self.reduce_of_step, stream, layout, index, operands)
            .read(step.row.view())
            .read(step.border.view())
            .read(point.row.view())
            .read(point.border.view())
            .read(residual.row.view())
            .read(residual.border.view())
            .read(gradient.row.view())
            .read(gradient.border.view())
            .write(trial.row.view_mut())
            .write(trial.border.view_mut())
            .write(product.row.view_mut())
            .write(product.border.view_mut())
            .write(terms.view_mut());
        // SAFETY: as above; every term for each block of threads.
        unsafe { launch.submit() }
    }

    /// The partial sums of both products, the second of `point` plus the first vector where one is
    /// given.
    fn partials(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        operands: &Operands,
        x: [&DeviceVector; 2],
        point: Option<&DeviceVector>,
    ) -> Result<()> {
        let tiles = self.tiles;
        let none = self.none.view();
        let (point_row, point_border) =
            point.map_or((none, none), |z| (z.row.view(), z.border.view()));
        let kernel = match point {
            Some(_) => &self.partials_of_step,
            None => &self.partials,
        };
        let blocks = layout.strips * layout.product_chunks + tiles * (tiles + 1) / 2;
        let launch = kernel
            .launch(stream, Geometry::line(blocks as u32, THREADS))
            .early()
            .read(operands.cross.view())
            .scalar(layout.k as i32)
            .scalar(layout.unknowns as i64)
            .read(operands.border.view())
            .scalar(layout.order as i64)
            .scalar(layout.order as i32)
            .read(x[0].row.view())
            .read(x[0].border.view())
            .read(x[1].row.view())
            .read(x[1].border.view())
            .read(point_row)
            .read(point_border)
            .write(self.of_rows.view_mut())
            .write(self.of_pull.view_mut())
            .write(self.of_border.view_mut())
            .scalar((layout.strips * STRIP) as i64)
            .scalar((tiles * TILE) as i64)
            .scalar(layout.strips as i32)
            .scalar(layout.product_chunks as i32)
            .scalar(layout.product_per_chunk as i64);
        // SAFETY: the arguments are those of the source; operands and vectors are of the layout's
        // lengths, border vectors padded to whole strips, and partial sums are as the layout says.
        unsafe { launch.submit() }
    }

    /// The launch of a kernel that ends a product: its arguments up to the vectors.
    fn ends<'s>(
        &'s self,
        kernel: &'s Kernel,
        stream: &'s Stream,
        layout: &Layout,
        index: &'s RowIndex,
        operands: &'s Operands,
    ) -> Launch<'s> {
        kernel
            .launch(stream, Geometry::line(end_blocks(layout) as u32, THREADS))
            .early()
            .rows(index, layout)
            .read(operands.row_hessian.view())
            .read(self.of_rows.view())
            .scalar(layout.strips as i32)
            .scalar(layout.unknowns as i64)
            .read(self.of_border.view())
            .scalar(self.tiles as i32)
            .read(self.of_pull.view())
            .scalar(layout.product_chunks as i32)
            .scalar((self.tiles * TILE) as i64)
            .scalar((layout.strips * STRIP) as i64)
            .scalar(layout.k as i32)
            .scalar(layout.order as i32)
    }
}

/// Blocks of threads that end a product.
fn end_blocks(layout: &Layout) -> usize {
    layout.order.div_ceil(32) + layout.unknowns.div_ceil(THREADS as usize / 2)
}
