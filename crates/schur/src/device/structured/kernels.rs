//! The kernels of structured systems as typed functions. See [`crate::device`]'s own for what a launch
//! promises: each function here takes whole buffers made for the [`Sizes`] it is given.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::layout::{MOST_FEATURES, Sizes};
use super::operands::StructuredOperands;
use crate::device::kernels::{
    DeviceRowFactors, FEW_THREADS, MOST_THREADS, PlaceRows, RowIndex, THREAD_COUNTS, THREADS,
};
use crate::device::record::{PivotRecord, StructuredRecord};
use crate::elimination::core::device::SMALL;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource, Launch};
use broadhead_device::{DeviceBuffer, Result, Stream, declares, field};
use std::sync::Arc;

/// All of them in one source.
pub(crate) const STRUCTURED: KernelSource = KernelSource {
    name: "structured.cu",
    text: concat!(
        include_str!("../place.cu"),
        include_str!("shared.cu"),
        include_str!("../../elimination/core/core.cu")
    ),
    declares: declares![
        all THREAD_COUNTS,
        record PivotRecord,
        int FEATURES = SMALL.0,
        int WIDTH = SMALL.1,
    ],
    entries: &[
        "border_prepare",
        "rows_outer",
        "border_outer",
        "rows_finish",
        "core_products",
        "core_finish",
        "core_apply",
        "core_pairs",
        "core_fill",
        "core_summary",
        "core_pull",
        "core_push",
    ],
    options: &[],
};

/// `L_G`, `R`, and what both are made with.
pub(crate) struct GramFactors {
    pub(crate) gram: DeviceBuffer<f64>,
    pub(crate) root: DeviceBuffer<f64>,
    pub(crate) copy: DeviceBuffer<f64>,
}

/// Partial sums and the counter of a pass. The counter is zero between launches.
pub(crate) struct PartialSums {
    pub(crate) partials: DeviceBuffer<f64>,
    pub(crate) counter: DeviceBuffer<u32>,
    /// Of no length: the null pointer of an operand that is absent.
    pub(crate) none: DeviceBuffer<f64>,
}

/// What is pulled through the border: outer products of the rows are `M x M`, gradients `M x p`.
#[derive(Clone, Copy)]
pub(crate) enum Pulled<'a> {
    /// `X = G^-1 (E W - g)`.
    Less {
        outer: &'a DeviceBuffer<f64>,
        gradient: &'a DeviceBuffer<f64>,
    },
    /// `X = X + G^-1 ((E + F) W)`.
    More(&'a DeviceBuffer<f64>, &'a DeviceBuffer<f64>),
}

/// The row factors and what was whitened with them.
pub(crate) struct WhitenedRows {
    pub(crate) index: Arc<RowIndex>,
    pub(crate) factors: DeviceRowFactors,
    /// $`V_i = L_i^{-1} \Psi_i`$.
    pub(crate) whitened: DeviceBuffer<f64>,
}

/// Loaded kernels.
pub(crate) struct StructuredKernels {
    border_prepare: Kernel,
    rows_outer: Kernel,
    border_outer: Kernel,
    rows_finish: Kernel,
    core_products: Kernel,
    core_finish: Kernel,
    core_apply: Kernel,
    core_pairs: Kernel,
    core_fill: Kernel,
    core_summary: Kernel,
    core_pull: Kernel,
    core_push: Kernel,
}

pub(crate) fn shared(numbers: usize) -> u32 {
    8 * numbers as u32
}

impl StructuredKernels {
    /// Compiles or takes from the cache, and loads.
    pub(crate) fn load(stream: &Stream) -> Result<Self> {
        let module = stream.context().module(&STRUCTURED)?;
        let kernel = |name| -> Result<Kernel> { Ok(module.kernel(name)?.clone()) };
        // Shared memory past 48 KiB is asked for once.
        let most = MOST_FEATURES;
        let large = |name, numbers| -> Result<Kernel> {
            let kernel = kernel(name)?;
            kernel.allow_shared(shared(numbers))?;
            Ok(kernel)
        };
        Ok(Self {
            border_prepare: kernel("border_prepare")?,
            rows_outer: large("rows_outer", 32 * (2 * most + 32))?,
            border_outer: large("border_outer", most * (most + 32))?,
            rows_finish: kernel("rows_finish")?,
            core_products: kernel("core_products")?,
            core_finish: kernel("core_finish")?,
            core_apply: kernel("core_apply")?,
            core_pairs: kernel("core_pairs")?,
            core_fill: kernel("core_fill")?,
            core_summary: kernel("core_summary")?,
            core_pull: large("core_pull", most * most)?,
            core_push: large("core_push", most * most)?,
        })
    }

    /// Allows [`Self::border_prepare`] of as many features: past 110, more of a block's memory than is
    /// there unasked.
    pub(crate) fn allow_features(&self, features: usize) -> Result<()> {
        self.border_prepare
            .allow_shared(shared(features * (features + 1) / 2))
    }

    /// `G + rho = L_G L_G'` with its record, and `R R' = W W'`.
    pub(crate) fn border_prepare(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        operands: &StructuredOperands,
        rho: f64,
        border: &mut GramFactors,
        summary: &mut DeviceBuffer<StructuredRecord>,
    ) -> Result<()> {
        let m = sizes.features;
        let geometry =
            Geometry::line(2, MOST_THREADS).with_shared(shared((m * (m + 1) / 2).max(32)));
        let launch = self
            .border_prepare
            .launch(stream, geometry)
            .read(operands.gram.view())
            .scalar(rho)
            .scalar(m as i32)
            .scalar(sizes.outputs as i32)
            .read(operands.decoder.view())
            .write(border.copy.view_mut())
            .write(border.gram.view_mut())
            .write(border.root.view_mut())
            .write(summary.view_mut().field(field!(StructuredRecord, gram))?);
        // SAFETY: the arguments are those of the source; G and L_G are M x M, W and its copy M x p,
        // R is M x r, and one record is written.
        unsafe { launch.submit() }
    }

    fn rows<'a>(
        launch: Launch<'a>,
        sizes: &Sizes,
        rows: &'a WhitenedRows,
        phi: &'a DeviceBuffer<f64>,
    ) -> Launch<'a> {
        launch
            .rows(&rows.index, &sizes.rows)
            .read(rows.factors.factors.view())
            .read(rows.factors.reciprocals.view())
            .read(phi.view())
            .read(rows.whitened.view())
            .scalar(sizes.rows.order as i64)
            .scalar(sizes.features as i32)
    }

    /// `u = L^-1 g` and `E = sum phi_i (V_i' u_i)'`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn pull_rows(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        phi: &DeviceBuffer<f64>,
        gradient: &DeviceBuffer<f64>,
        u: &mut DeviceBuffer<f64>,
        sums: &mut PartialSums,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = Self::rows(self.outer_launch(stream, sizes), sizes, rows, phi)
            .read(gradient.view())
            .read(sums.none.view())
            .write(u.view_mut())
            .write(sums.partials.view_mut())
            .write(sums.counter.view_mut())
            .write(outer.view_mut())
            .scalar(sizes.per_chunk as i32);
        // SAFETY: the arguments are those of the source; u and g are N numbers, E is M x M, the
        // partial sums hold chunks x M x M, the counter is zero.
        unsafe { launch.submit() }
    }

    /// `E = Q vec K`: the sum of `phi_i (V_i' V_i K' phi_i)'`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn apply_q(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        phi: &DeviceBuffer<f64>,
        kernel: &DeviceBuffer<f64>,
        sums: &mut PartialSums,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let features = (phi, &rows.whitened, sizes.rows.order);
        self.product(stream, sizes, rows, features, kernel, sums, outer)
    }

    /// `E = sum phi_i (X_i' X_i K' phi_i)'` for `phi` (n x M) and `X` (N x M).
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn product_of(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        (phi, x): (&DeviceBuffer<f64>, &DeviceBuffer<f64>),
        kernel: &DeviceBuffer<f64>,
        sums: &mut PartialSums,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let features = (phi, x, sizes.features);
        self.product(stream, sizes, rows, features, kernel, sums, outer)
    }

    /// `E = sum phi_i (X_i' X_i K' phi_i)'` for lines of `X` that are `leading` apart.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    fn product(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        (phi, x, leading): (&DeviceBuffer<f64>, &DeviceBuffer<f64>, usize),
        kernel: &DeviceBuffer<f64>,
        sums: &mut PartialSums,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .outer_launch(stream, sizes)
            .rows(&rows.index, &sizes.rows)
            .read(rows.factors.factors.view())
            .read(rows.factors.reciprocals.view())
            .read(phi.view())
            .read(x.view())
            .scalar(leading as i64)
            .scalar(sizes.features as i32)
            .read(sums.none.view())
            .read(kernel.view())
            .read(sums.none.view())
            .write(sums.partials.view_mut())
            .write(sums.counter.view_mut())
            .write(outer.view_mut())
            .scalar(sizes.per_chunk as i32);
        // SAFETY: as above, with X in the place of V; where K is there, neither g nor u is touched.
        unsafe { launch.submit() }
    }

    /// `E = sum phi_i (Psi_i' y_i)'`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn rows_pull(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        operands: &StructuredOperands,
        y: &DeviceBuffer<f64>,
        sums: &mut PartialSums,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .outer_launch(stream, sizes)
            .rows(&rows.index, &sizes.rows)
            .read(sums.none.view())
            .read(sums.none.view())
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(sizes.features as i64)
            .scalar(sizes.features as i32)
            .read(y.view())
            .read(sums.none.view())
            .read(sums.none.view())
            .write(sums.partials.view_mut())
            .write(sums.counter.view_mut())
            .write(outer.view_mut())
            .scalar(sizes.per_chunk as i32);
        // SAFETY: as above; without L, y is at least N numbers, and neither reciprocals nor u are
        // touched.
        unsafe { launch.submit() }
    }

    fn outer_launch<'a>(&'a self, stream: &'a Stream, sizes: &Sizes) -> Launch<'a> {
        let geometry = Geometry::line(sizes.chunks as u32, THREADS)
            .with_shared(shared(32 * (2 * sizes.features + 32)));
        self.rows_outer.launch(stream, geometry)
    }

    /// `X` by what is pulled through the border, then `Z = X W'`. `X` is `M x p`.
    pub(crate) fn border_outer(
        &self,
        (stream, sizes): (&Stream, &Sizes),
        border: &GramFactors,
        decoder: &DeviceBuffer<f64>,
        pulled: Pulled<'_>,
        (x, kernel): (&mut DeviceBuffer<f64>, &mut DeviceBuffer<f64>),
        sums: &mut PartialSums,
    ) -> Result<()> {
        let m = sizes.features;
        let (first, second, gradient) = match pulled {
            Pulled::Less { outer, gradient } => (outer, &sums.none, gradient),
            Pulled::More(first, second) => (first, second, &sums.none),
        };
        let geometry =
            Geometry::line(sizes.columns as u32, THREADS).with_shared(shared(m * (m + 32)));
        let launch = self
            .border_outer
            .launch(stream, geometry)
            .read(border.gram.view())
            .read(decoder.view())
            .scalar(m as i32)
            .scalar(sizes.outputs as i32)
            .read(first.view())
            .read(second.view())
            .read(gradient.view())
            .write(x.view_mut())
            .write(sums.partials.view_mut())
            .write(sums.counter.view_mut())
            .write(kernel.view_mut());
        // SAFETY: the arguments are those of the source; without a second outer product there is a
        // gradient; partial sums hold columns x M x M.
        unsafe { launch.submit() }
    }

    /// `out = -L^-T (u + V Z' phi)`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn rows_finish(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        phi: &DeviceBuffer<f64>,
        u: &DeviceBuffer<f64>,
        kernel: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if sizes.rows.rows == 0 {
            return Ok(());
        }
        let geometry = Geometry::line(sizes.rows.rows.div_ceil(32) as u32, THREADS)
            .with_shared(shared(32 * (sizes.features + 32)));
        let launch = Self::rows(self.rows_finish.launch(stream, geometry), sizes, rows, phi)
            .read(u.view())
            .read(kernel.view())
            .write(out.view_mut());
        // SAFETY: the arguments are those of the source; u and out are N numbers.
        unsafe { launch.submit() }
    }

    /// `Z` and its factor, of a small core, with its record.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn small_core(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        phi: &DeviceBuffer<f64>,
        border: &GramFactors,
        sums: &mut PartialSums,
        core: &mut DeviceBuffer<f64>,
        summary: &mut DeviceBuffer<StructuredRecord>,
    ) -> Result<()> {
        let (m, r) = (sizes.features as i32, sizes.rank as i32);
        let launch = self
            .core_products
            .launch(stream, Geometry::line(sizes.chunks as u32, THREADS))
            .rows(&rows.index, &sizes.rows)
            .read(phi.view())
            .read(rows.whitened.view())
            .scalar(sizes.rows.order as i64)
            .read(border.gram.view())
            .read(border.root.view())
            .scalar(m)
            .scalar(r)
            .write(sums.partials.view_mut())
            .scalar(sizes.per_chunk as i32);
        // SAFETY: the arguments are those of the source; M is at most 9 and no row is wider than 4;
        // partial sums hold a number for each chunk and pair of pairs.
        unsafe { launch.submit()? };
        let launch = self
            .core_finish
            .launch(stream, Geometry::line(1, MOST_THREADS))
            .read(sums.partials.view())
            .scalar(sizes.chunks as i32)
            .scalar(m)
            .scalar(r)
            .read(border.gram.view())
            .write(core.view_mut())
            .write(summary.view_mut().field(field!(StructuredRecord, own))?);
        // SAFETY: as above; the core is packed, M r (M r + 1) / 2 numbers.
        unsafe { launch.submit() }
    }

    /// `U = mat(F Z^-1 F' vec E)` by a small core.
    pub(crate) fn apply_small(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        border: &GramFactors,
        core: &DeviceBuffer<f64>,
        from: &DeviceBuffer<f64>,
        to: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let launch = self
            .core_apply
            .launch(stream, Geometry::line(1, FEW_THREADS))
            .read(from.view())
            .read(border.gram.view())
            .read(border.root.view())
            .read(core.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .write(to.view_mut());
        // SAFETY: the arguments are those of the source; both matrices are M x M.
        unsafe { launch.submit() }
    }

    /// The pairs of `count` rows from `first` on.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn core_pairs(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        index: &RowIndex,
        phi: &DeviceBuffer<f64>,
        jacobian: &DeviceBuffer<f64>,
        (first, count): (usize, usize),
        feature_pairs: &mut DeviceBuffer<f64>,
        rank_pairs: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let geometry = Geometry {
            block: [32, 8, 1],
            ..Geometry::line(count as u32, 1)
        };
        let launch = self
            .core_pairs
            .launch(stream, geometry)
            .rows(index, &sizes.rows)
            .read(phi.view())
            .read(jacobian.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .scalar(first as i64)
            .write(feature_pairs.view_mut())
            .write(rank_pairs.view_mut());
        // SAFETY: the arguments are those of the source; whitened phi is n x M, X is N x r, and a
        // piece holds at least `count` lines.
        unsafe { launch.submit() }
    }

    /// `Z` of a large core from its products, with columns `leading` apart.
    pub(crate) fn core_fill(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        products: &DeviceBuffer<f64>,
        core: &mut DeviceBuffer<f64>,
        leading: usize,
    ) -> Result<()> {
        let order = sizes.core_order();
        let geometry = Geometry {
            grid: [order.div_ceil(THREADS as usize) as u32, order as u32, 1],
            ..Geometry::line(1, THREADS)
        };
        let launch = self
            .core_fill
            .launch(stream, geometry)
            .read(products.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .write(core.view_mut())
            .scalar(leading as i64);
        // SAFETY: the arguments are those of the source; the core has M r columns.
        unsafe { launch.submit() }
    }

    /// What the factor of a large core says of itself, in its record.
    pub(crate) fn core_summary(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        (core, leading, info): (&DeviceBuffer<f64>, usize, &DeviceBuffer<i32>),
        border: &GramFactors,
        summary: &mut DeviceBuffer<StructuredRecord>,
    ) -> Result<()> {
        let launch = self
            .core_summary
            .launch(stream, Geometry::line(1, THREADS))
            .read(core.view())
            .scalar(leading as i64)
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .read(info.view())
            .read(border.gram.view())
            .write(summary.view_mut().field(field!(StructuredRecord, own))?);
        // SAFETY: the arguments are those of the source; one record is written.
        unsafe { launch.submit() }
    }

    /// `c = F' vec E`, `M r` numbers.
    pub(crate) fn core_pull(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        border: &GramFactors,
        from: &DeviceBuffer<f64>,
        to: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        Self::ends(&self.core_pull, stream, sizes, border, from, to)
    }

    /// `U = mat(F c)`, `M x M`.
    pub(crate) fn core_push(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        border: &GramFactors,
        from: &DeviceBuffer<f64>,
        to: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        Self::ends(&self.core_push, stream, sizes, border, from, to)
    }

    fn ends(
        kernel: &Kernel,
        stream: &Stream,
        sizes: &Sizes,
        border: &GramFactors,
        from: &DeviceBuffer<f64>,
        to: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let geometry = Geometry::line(1, THREADS).with_shared(shared(sizes.core_order()));
        let launch = kernel
            .launch(stream, geometry)
            .read(from.view())
            .read(border.gram.view())
            .read(border.root.view())
            .scalar(sizes.features as i32)
            .scalar(sizes.rank as i32)
            .write(to.view_mut());
        // SAFETY: the arguments are those of both sources; E and U are M x M, c at least M r.
        unsafe { launch.submit() }
    }
}
