//! The kernels of the border's elimination as typed functions. See [`crate::device`]'s own for what a
//! launch promises: each function here takes whole buffers made for the [`Sizes`] it is given.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use crate::device::kernels::{PlaceRows, THREAD_COUNTS, THREADS};
use crate::device::record::{RowRecord, StructuredRecord};
use crate::device::structured::factors::StructuredFactors;
use crate::device::structured::kernels::{WhitenedRows, shared};
use crate::device::structured::layout::{MOST_FEATURES, Sizes};
use crate::device::structured::operands::StructuredOperands;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result, Stream, declares, field};

pub(crate) const BORDER_FIRST: KernelSource = KernelSource {
    name: "border_first.cu",
    text: concat!(
        include_str!("../../../device/place.cu"),
        include_str!("../border_first.cu")
    ),
    declares: declares![all THREAD_COUNTS, record RowRecord, int TILE],
    entries: &[
        "eliminate_prepare",
        "eliminated_rows",
        "eliminated_push",
        "eliminated_finish",
    ],
    options: &[],
};

/// Rows, or unknowns, that a block of threads takes.
const ROWS: usize = 32;
/// Order of a tile of `T`.
const TILE: usize = 64;
/// The share of its terms by which a row's equation may fail and still hold: a few roundings, and
/// well below the backward error that calls for refinement. As on the CPU.
const HOLDS: f64 = 16.0 * f64::EPSILON;

/// What `T` is made of.
pub(crate) struct RowFeatures {
    /// $`\tilde\phi_i`$, n x M row-major.
    pub(crate) phi: DeviceBuffer<f64>,
    /// $`X = \Psi R`$, N x r row-major.
    pub(crate) jacobian: DeviceBuffer<f64>,
    /// The row of each unknown.
    pub(crate) of_unknown: DeviceBuffer<i32>,
}

/// Loaded kernels.
pub(crate) struct BorderKernels {
    prepare: Kernel,
    rows: Kernel,
    push: Kernel,
    finish: Kernel,
}

impl BorderKernels {
    /// Compiles or takes from the cache, and loads.
    pub(crate) fn load(stream: &Stream) -> Result<Self> {
        let module = stream.context().module(&BORDER_FIRST)?;
        // Shared memory past 48 KiB is asked for once.
        let prepare = module.kernel("eliminate_prepare")?.clone();
        prepare.allow_shared(shared(MOST_FEATURES * (MOST_FEATURES + ROWS)))?;
        Ok(Self {
            prepare,
            rows: module.kernel("eliminated_rows")?.clone(),
            push: module.kernel("eliminated_push")?.clone(),
            finish: module.kernel("eliminated_finish")?.clone(),
        })
    }

    /// `phi~ = L_G^-1 phi` and `X = Psi R`, of every row.
    pub(crate) fn prepare(
        &self,
        common: &StructuredFactors,
        operands: &StructuredOperands,
        features: &mut RowFeatures,
    ) -> Result<()> {
        let StructuredFactors { stream, sizes, .. } = common;
        let (n, unknowns, m) = (sizes.rows.rows, sizes.rows.unknowns, sizes.features);
        if n == 0 {
            return Ok(());
        }
        let blocks = n.max(unknowns).div_ceil(ROWS);
        let geometry = Geometry::line(blocks as u32, THREADS).with_shared(shared(m * (m + ROWS)));
        let launch = self
            .prepare
            .launch(stream, geometry)
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(n as i64)
            .scalar(unknowns as i64)
            .read(common.border.gram.view())
            .read(common.border.root.view())
            .scalar(m as i32)
            .scalar(sizes.rank as i32)
            .write(features.phi.view_mut())
            .write(features.jacobian.view_mut());
        // SAFETY: the arguments are those of the source; phi~ is as long as phi, X is N x r.
        unsafe { launch.submit() }
    }

    /// `T` without ridge, its lower triangle, with columns `leading` apart.
    pub(crate) fn rows(
        &self,
        common: &StructuredFactors,
        operands: &StructuredOperands,
        features: &RowFeatures,
        (matrix, leading): (&mut DeviceBuffer<f64>, usize),
    ) -> Result<()> {
        let StructuredFactors {
            stream,
            sizes,
            rows,
            ..
        } = common;
        let unknowns = sizes.rows.unknowns;
        if unknowns == 0 {
            return Ok(());
        }
        let tiles = unknowns.div_ceil(TILE) as u32;
        let geometry = Geometry {
            grid: [tiles, tiles, 1],
            ..Geometry::line(1, THREADS)
        };
        let launch = self
            .rows
            .launch(stream, geometry)
            .rows(&rows.index, &sizes.rows)
            .read(features.of_unknown.view())
            .read(operands.row_hessian.view())
            .read(features.phi.view())
            .read(features.jacobian.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .write(matrix.view_mut())
            .scalar(leading as i64)
            .scalar(unknowns as i32);
        // SAFETY: the arguments are those of the source; the matrix has at least N columns,
        // `leading` apart, and every unknown's row is one of n.
        unsafe { launch.submit() }
    }

    fn by_rows(sizes: &Sizes, numbers: usize) -> Geometry {
        let blocks = sizes.rows.rows.div_ceil(ROWS) as u32;
        Geometry::line(blocks, THREADS).with_shared(shared(numbers))
    }

    /// `out = g + Psi Z' phi`, N numbers.
    pub(crate) fn push(
        &self,
        common: &StructuredFactors,
        operands: &StructuredOperands,
        kernel: &DeviceBuffer<f64>,
        gradient: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let StructuredFactors {
            stream,
            sizes,
            rows,
            ..
        } = common;
        if sizes.rows.rows == 0 {
            return Ok(());
        }
        let geometry = Self::by_rows(sizes, ROWS * sizes.features);
        let launch = self
            .push
            .launch(stream, geometry)
            .rows(&rows.index, &sizes.rows)
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(sizes.features as i32)
            .read(kernel.view())
            .read(gradient.view())
            .write(out.view_mut());
        // SAFETY: the arguments are those of the source; Z is M x M, g and out at least N numbers.
        unsafe { launch.submit() }
    }

    /// `out = -y`, of rows whose equation then holds; the others are solved by their own factor.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn finish(
        &self,
        common: &StructuredFactors,
        operands: &StructuredOperands,
        rho: f64,
        kernel: &DeviceBuffer<f64>,
        gradient: &DeviceBuffer<f64>,
        y: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let StructuredFactors {
            stream,
            sizes,
            rows: WhitenedRows { index, factors, .. },
            summary,
            ..
        } = common;
        if sizes.rows.rows == 0 {
            return Ok(());
        }
        let geometry = Self::by_rows(sizes, ROWS * (sizes.features + 32));
        let launch = self
            .finish
            .launch(stream, geometry)
            .rows(index, &sizes.rows)
            .read(operands.row_hessian.view())
            .scalar(rho)
            .read(factors.factors.view())
            .read(factors.reciprocals.view())
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(sizes.features as i32)
            .read(kernel.view())
            .read(gradient.view())
            .read(y.view())
            .read(summary.view().field(field!(StructuredRecord, rows))?)
            .scalar(HOLDS)
            .write(out.view_mut());
        // SAFETY: the arguments are those of the source; Z is M x M, g and y at least N numbers, out N;
        // the row factors and their record are as the row kernels left them.
        unsafe { launch.submit() }
    }
}
