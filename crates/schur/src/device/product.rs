//! $`H x`$ over resident operands, for two vectors at once: what residuals and objectives on the
//! device are made of. Independent of any factor.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::{PlaceRows, RowIndex};
use super::layout::{Layout, STRIP};
use super::operands::Operands;
use super::vector::ResidentVector;
use crate::{ArrowShape, Error, ShapeError};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{DeviceBuffer, Result, Stream, View};

pub(crate) const PRODUCT: KernelSource = KernelSource {
    name: "product.cu",
    text: include_str!("product.cu"),
    entries: &[
        "product_pass",
        "product_pass_of_step",
        "product_finish",
        "product_finish_of_step",
    ],
    options: &[],
};

/// What judges a step `d` from a point `z`: for each of ten terms its part from every block of threads
/// that ended the products, the parts of a term one after another.
///
/// ```text
/// 0  r' d    1  d' H d    2  t' H t    3  g' t                  t = z + d
/// 4, 5, 6    squares of the rows' entries of H t - g: those below 2^-511, scaled by 2^537 each;
///            those between; those above 2^486, scaled by 2^-538 each
/// 7, 8, 9    the same of the border's
/// ```
/// The parts of a norm are apart so that none overflows or underflows (Blue, *A portable Fortran
/// program to find the Euclidean norm of a vector*, 1978). They are made without any factor, and
/// summed in an order that depends on the shape alone.
#[derive(Debug)]
pub struct StepTerms(DeviceBuffer<f64>);

impl StepTerms {
    /// Terms that judge a step.
    pub const TERMS: usize = 10;

    /// Device bytes of the terms of steps of `shape`.
    ///
    /// # Errors
    /// As [`super::Base::bytes_needed`].
    pub fn bytes_needed(shape: &ArrowShape) -> std::result::Result<u64, Error> {
        let layout = Layout::new(shape)?;
        Ok(8 * (Self::TERMS * end_blocks(&layout)) as u64)
    }

    pub(crate) fn new(stream: &Stream, layout: &Layout) -> Result<Self> {
        let len = Self::TERMS * end_blocks(layout);
        Ok(Self(stream.zeros(len, "terms of a step")?))
    }

    /// The numbers on the device.
    pub fn view(&self) -> View<'_, f64> {
        self.0.view()
    }

    /// # Errors
    /// [`Error::Shape`] where these are of another layout.
    pub(crate) fn check(&self, layout: &Layout) -> std::result::Result<(), Error> {
        let (got, expected) = (vec![self.parts()], vec![end_blocks(layout)]);
        match got == expected {
            true => Ok(()),
            false => Err(Error::Shape(ShapeError::Mismatch {
                array: "terms",
                got,
                expected,
            })),
        }
    }

    /// Parts of each term.
    pub fn parts(&self) -> usize {
        self.0.len() / Self::TERMS
    }
}

/// A step whose products are asked for, and what they are written to.
pub struct StepProduct<'v> {
    /// `z`.
    pub point: &'v ResidentVector,
    /// `d`.
    pub step: &'v ResidentVector,
    /// `r`, the residual at the point.
    pub residual: &'v ResidentVector,
    /// `g`.
    pub gradient: &'v ResidentVector,
    /// Becomes `t = z + d`.
    pub trial: &'v mut ResidentVector,
    /// Becomes `H t`.
    pub product: &'v mut ResidentVector,
    /// Becomes what judges the step.
    pub terms: &'v mut StepTerms,
}

/// Order of a tile of the border.
const TILE: usize = 64;

/// Kernels and partial sums of a product.
pub(crate) struct Product {
    pass: Kernel,
    pass_of_step: Kernel,
    finish: Kernel,
    finish_of_step: Kernel,
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
            pass: module.kernel("product_pass")?.clone(),
            pass_of_step: module.kernel("product_pass_of_step")?.clone(),
            finish: module.kernel("product_finish")?.clone(),
            finish_of_step: module.kernel("product_finish_of_step")?.clone(),
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
        x: [&ResidentVector; 2],
        y: [&mut ResidentVector; 2],
    ) -> Result<()> {
        let [y0, y1] = y;
        self.pass(stream, layout, operands, x, None)?;
        let launch = self
            .ends(&self.finish, stream, layout, index, operands)
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
        self.pass(stream, layout, operands, [step, trial], Some(point))?;
        let launch = self
            .ends(&self.finish_of_step, stream, layout, index, operands)
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
            .write(terms.0.view_mut());
        // SAFETY: as above; ten terms for each block of threads.
        unsafe { launch.submit() }
    }

    /// The partial sums of both products, the second of `point` plus the first vector where one is
    /// given.
    fn pass(
        &mut self,
        stream: &Stream,
        layout: &Layout,
        operands: &Operands,
        x: [&ResidentVector; 2],
        point: Option<&ResidentVector>,
    ) -> Result<()> {
        let tiles = self.tiles;
        let none = self.none.view();
        let (point_row, point_border) =
            point.map_or((none, none), |z| (z.row.view(), z.border.view()));
        let pass = match point {
            Some(_) => &self.pass_of_step,
            None => &self.pass,
        };
        let blocks = layout.strips * layout.product_chunks + tiles * (tiles + 1) / 2;
        let launch = pass
            .launch(stream, Geometry::line(blocks as u32, 256))
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
            .launch(stream, Geometry::line(end_blocks(layout) as u32, 256))
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
    layout.order.div_ceil(32) + layout.unknowns.div_ceil(128)
}
