//! Products with the rows that a library forms, for any number of features. See
//! `row_products.cu`.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::WhitenedRows;
use super::layout::Sizes;
use crate::device::kernels::{PlaceRows, THREAD_COUNTS, THREADS};
use crate::device::pieces::pieces;
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Matrix, MatrixMut, Result, Stream};

pub(crate) const ROW_PRODUCTS: KernelSource = KernelSource {
    name: "row_products.cu",
    text: concat!(include_str!("../place.cu"), include_str!("row_products.cu")),
    declares: THREAD_COUNTS,
    entries: &["row_gram", "row_add"],
    options: &[],
};

/// Numbers of the rows that a library takes at once: 2 GiB, well within what it counts, and work
/// enough to hide that there are pieces.
pub(crate) const PIECE: usize = 1 << 28;

/// Features and derivatives of the rows: `phi`, n x M, and `X`, N x `leading`, row-major.
#[derive(Clone, Copy)]
pub(crate) struct OfRows<'a> {
    pub(crate) phi: &'a DeviceBuffer<f64>,
    pub(crate) x: &'a DeviceBuffer<f64>,
    pub(crate) leading: usize,
}

/// Kernels, and n x M numbers.
pub(crate) struct RowProducts {
    gram: Kernel,
    add: Kernel,
    of_rows: DeviceBuffer<f64>,
    /// Of no length: the null pointer of an operand that is absent.
    none: DeviceBuffer<f64>,
}

impl RowProducts {
    /// Device bytes.
    pub(crate) fn bytes(sizes: &Sizes) -> u64 {
        8 * (sizes.rows.rows * sizes.features) as u64
    }

    pub(crate) fn new(stream: &Stream, sizes: &Sizes) -> Result<Self> {
        let module = stream.context().module(&ROW_PRODUCTS)?;
        let len = sizes.rows.rows * sizes.features;
        Ok(Self {
            gram: module.kernel("row_gram")?.clone(),
            add: module.kernel("row_add")?.clone(),
            of_rows: stream.zeros(len, "products of the rows")?,
            none: stream.zeros(0, "nothing")?,
        })
    }

    /// `E = sum phi_i (X_i' X_i K' phi_i)' + weight E`, `M x M` row-major as `K`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn outer(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        of: OfRows<'_>,
        kernel: &DeviceBuffer<f64>,
        weight: f64,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if sizes.rows.unknowns == 0 {
            return match weight == 0.0 {
                true => stream.zero(outer.view_mut()),
                false => Ok(()),
            };
        }
        self.features_times(stream, sizes, of.phi, kernel)?;
        self.submit_gram(stream, sizes, rows, of, None)?;
        self.sum(stream, sizes, of.phi, weight, outer)
    }

    /// `E = sum phi_i (X_i' s_i)'`.
    pub(crate) fn pull(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        of: OfRows<'_>,
        s: &DeviceBuffer<f64>,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if sizes.rows.unknowns == 0 {
            return stream.zero(outer.view_mut());
        }
        self.submit_gram(stream, sizes, rows, of, Some(s))?;
        self.sum(stream, sizes, of.phi, 0.0, outer)
    }

    /// `out_i = u_i + X_i K' phi_i`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) fn push(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        of: OfRows<'_>,
        u: &DeviceBuffer<f64>,
        kernel: &DeviceBuffer<f64>,
        out: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        if sizes.rows.unknowns == 0 {
            return Ok(());
        }
        self.features_times(stream, sizes, of.phi, kernel)?;
        let launch = self
            .add
            .launch(stream, Self::warp_each(sizes))
            .rows(&rows.index, &sizes.rows)
            .read(of.x.view())
            .scalar(of.leading as i64)
            .scalar(sizes.features as i32)
            .read(self.of_rows.view())
            .read(u.view())
            .write(out.view_mut());
        // SAFETY: the arguments are those of the source; X is N x leading, h is n x M, u and out are N
        // numbers.
        unsafe { launch.submit() }
    }

    fn warp_each(sizes: &Sizes) -> Geometry {
        Geometry::line(
            sizes.rows.rows.div_ceil(THREADS as usize / 32) as u32,
            THREADS,
        )
    }

    /// `h_i = K' phi_i`.
    fn features_times(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        phi: &DeviceBuffer<f64>,
        kernel: &DeviceBuffer<f64>,
    ) -> Result<()> {
        let m = sizes.features;
        // A line is a column to the library.
        let kernel = Matrix::packed(kernel.view(), m, m)?;
        for piece in pieces(sizes.rows.rows, m, PIECE) {
            let (places, count) = (piece.start * m..piece.end * m, piece.len());
            let phi = Matrix::packed(phi.slice(places.clone())?, m, count)?;
            let mut of_rows = MatrixMut::packed(self.of_rows.slice_mut(places)?, m, count)?;
            stream.gemm(1.0, kernel, phi, 0.0, &mut of_rows)?;
        }
        Ok(())
    }

    fn submit_gram(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        rows: &WhitenedRows,
        of: OfRows<'_>,
        given: Option<&DeviceBuffer<f64>>,
    ) -> Result<()> {
        let launch = self
            .gram
            .launch(stream, Self::warp_each(sizes))
            .rows(&rows.index, &sizes.rows)
            .read(of.x.view())
            .scalar(of.leading as i64)
            .scalar(sizes.features as i32)
            .read(given.unwrap_or(&self.none).view())
            .write(self.of_rows.view_mut());
        // SAFETY: the arguments are those of the source; X is N x leading, T is n x M, what is given has N
        // numbers; rows have at most 32 unknowns.
        unsafe { launch.submit() }
    }

    /// `E = sum phi_i T_i' + weight E`.
    fn sum(
        &self,
        stream: &Stream,
        sizes: &Sizes,
        phi: &DeviceBuffer<f64>,
        weight: f64,
        outer: &mut DeviceBuffer<f64>,
    ) -> Result<()> {
        let m = sizes.features;
        let mut outer = MatrixMut::packed(outer.view_mut(), m, m)?;
        for piece in pieces(sizes.rows.rows, m, PIECE) {
            let (places, count) = (piece.start * m..piece.end * m, piece.len());
            let of_rows = Matrix::packed(self.of_rows.slice(places.clone())?, m, count)?;
            let phi = Matrix::packed(phi.slice(places)?, m, count)?;
            let kept = if piece.start == 0 { weight } else { 1.0 };
            stream.gemm(1.0, of_rows, phi.transposed(), kept, &mut outer)?;
        }
        Ok(())
    }
}
