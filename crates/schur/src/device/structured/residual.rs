//! The residual of a structured system's step over the operands, and the sizes of its terms: see
//! `residual.cu`. How large they are is found as of dense systems, by
//! [`DeviceResidual`](crate::device::residual::DeviceResidual).
//!
//! ```text
//!   Z = X W'  ->  rows: q_i, w_i        E = sum phi_i (Psi_i' x_i)'  ->  border: q, w
//! ```
//! Both sums are partial sums by tiles and chunks, then added: an array of `n x M` numbers is
//! never formed. The rows' kernel forms `Z' phi_i` again instead, which no other kernel needs.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::kernels::shared;
use super::layout::{MOST_FEATURES_ITERATIVE, Sizes, TILE, tile_chunks};
use super::operands::StructuredOperands;
use crate::device::kernels::{PlaceRows, RowIndex, THREAD_COUNTS, THREADS};
use crate::device::residual::ResidualTerms;
use crate::device::{DeviceSystem, DeviceVector};
use crate::{Error, Ridge};
use broadhead_device::kernels::{Geometry, Kernel, KernelSource};
use broadhead_device::{DeviceBuffer, Result as Answer, Stream, declares};
use std::sync::Arc;

pub(crate) const STRUCTURED_RESIDUAL: KernelSource = KernelSource {
    name: "structured_residual.cu",
    text: concat!(include_str!("../place.cu"), include_str!("residual.cu")),
    declares: declares![all THREAD_COUNTS, int TILE, int ROWS],
    entries: &[
        "residual_kernel",
        "residual_outer",
        "residual_sum",
        "residual_rows",
        "residual_border",
    ],
    options: &[],
};

/// Rows that a block of threads takes at once.
const ROWS: usize = 16;
/// Bytes of a block's memory that are there unasked.
const UNASKED: u32 = 48 << 10;

/// How the two sums are cut: tiles along a side of the `M x M` matrices, and chunks of what is summed over
/// with the columns or rows of each.
#[derive(Clone, Copy, Debug)]
struct Cut {
    tiles: usize,
    columns: (usize, usize),
    rows: (usize, usize),
}

impl Cut {
    fn new(sizes: &Sizes) -> Self {
        let tiles = sizes.features.div_ceil(TILE);
        Self {
            tiles,
            columns: tile_chunks(sizes.outputs, tiles * tiles),
            rows: tile_chunks(sizes.rows.rows, tiles * tiles),
        }
    }

    fn geometry(self, chunks: usize) -> Geometry {
        Geometry {
            grid: [self.tiles as u32, self.tiles as u32, chunks as u32],
            ..Geometry::line(1, THREADS)
        }
    }

    /// Chunks of the sum that has more of them.
    fn most_chunks(self) -> usize {
        self.columns.0.max(self.rows.0)
    }
}

/// Kernels, sums and partial sums.
pub(crate) struct StructuredTerms {
    kernel: Kernel,
    outer: Kernel,
    sum: Kernel,
    rows: Kernel,
    border: Kernel,
    sizes: Sizes,
    cut: Cut,
    index: Arc<RowIndex>,
    partials: DeviceBuffer<f64>,
    /// `Z` and `|Z|`.
    of_border: DeviceBuffer<f64>,
    /// `E` and `|E|`.
    of_rows: DeviceBuffer<f64>,
}

/// Numbers of an `M x M` matrix with its sizes.
fn pair(sizes: &Sizes) -> usize {
    2 * sizes.features * sizes.features
}

impl StructuredTerms {
    /// Device bytes, the index of the rows apart.
    pub(crate) fn bytes(sizes: &Sizes) -> u64 {
        8 * (pair(sizes) * (2 + Cut::new(sizes).most_chunks())) as u64
    }

    pub(crate) fn new(stream: &Stream, sizes: Sizes, index: Arc<RowIndex>) -> Answer<Self> {
        let module = stream.context().module(&STRUCTURED_RESIDUAL)?;
        let kernel = |name| -> Answer<Kernel> { Ok(module.kernel(name)?.clone()) };
        let rows = kernel("residual_rows")?;
        if rows_shared(sizes.features) > UNASKED {
            rows.allow_shared(rows_shared(MOST_FEATURES_ITERATIVE))?;
        }
        let (cut, pair) = (Cut::new(&sizes), pair(&sizes));
        Ok(Self {
            kernel: kernel("residual_kernel")?,
            outer: kernel("residual_outer")?,
            sum: kernel("residual_sum")?,
            border: kernel("residual_border")?,
            rows,
            partials: stream.zeros(pair * cut.most_chunks(), "partial sums")?,
            of_border: stream.zeros(pair, "sums of a measurement")?,
            of_rows: stream.zeros(pair, "sums of a measurement")?,
            sizes,
            cut,
            index,
        })
    }

    /// `Z = X W'` and `|X| |W|'`.
    fn submit_kernel(
        &mut self,
        stream: &Stream,
        operands: &StructuredOperands,
        x: &DeviceVector,
    ) -> Answer<()> {
        let (chunks, per_chunk) = self.cut.columns;
        let launch = self
            .kernel
            .launch(stream, self.cut.geometry(chunks))
            .read(x.border.view())
            .read(operands.decoder.view())
            .scalar(self.sizes.features as i32)
            .scalar(self.sizes.outputs as i32)
            .write(self.partials.view_mut())
            .scalar(per_chunk as i64);
        // SAFETY: the arguments are those of the source; X and W are M x p, partial sums hold 2 M^2
        // numbers a chunk.
        unsafe { launch.submit()? };
        let (partials, to) = (&self.partials, &mut self.of_border);
        submit_sum(&self.sum, stream, (partials, chunks), to)
    }

    /// `E = sum phi_i (Psi_i' x_i)'` and its sizes.
    fn submit_outer(
        &mut self,
        stream: &Stream,
        operands: &StructuredOperands,
        x: &DeviceVector,
    ) -> Answer<()> {
        let (chunks, per_chunk) = self.cut.rows;
        let launch = self
            .outer
            .launch(stream, self.cut.geometry(chunks))
            .rows(&self.index, &self.sizes.rows)
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(self.sizes.features as i32)
            .read(x.row.view())
            .write(self.partials.view_mut())
            .scalar(per_chunk as i64);
        // SAFETY: the arguments are those of the source; phi is n x M, Psi N x M, x N numbers, and
        // partial sums as above.
        unsafe { launch.submit()? };
        let (partials, to) = (&self.partials, &mut self.of_rows);
        submit_sum(&self.sum, stream, (partials, chunks), to)
    }

    fn submit_rows(
        &self,
        stream: &Stream,
        operands: &StructuredOperands,
        rho: f64,
        (gradient, x): (&DeviceVector, &DeviceVector),
        (residual, weight): (&mut DeviceVector, &mut DeviceVector),
    ) -> Answer<()> {
        let m = self.sizes.features;
        let blocks = self.sizes.rows.rows.div_ceil(ROWS) as u32;
        let geometry = Geometry::line(blocks, THREADS).with_shared(rows_shared(m));
        let launch = self
            .rows
            .launch(stream, geometry)
            .rows(&self.index, &self.sizes.rows)
            .read(operands.row_hessian.view())
            .read(operands.phi.view())
            .read(operands.psi.view())
            .scalar(m as i32)
            .read(self.of_border.view())
            .scalar(rho)
            .read(x.row.view())
            .read(gradient.row.view())
            .write(residual.row.view_mut())
            .write(weight.row.view_mut());
        // SAFETY: the arguments are those of the source; operands and vectors are of the sizes', rows
        // have at most 32 unknowns.
        unsafe { launch.submit() }
    }

    fn submit_border(
        &self,
        stream: &Stream,
        operands: &StructuredOperands,
        rho: f64,
        (gradient, x): (&DeviceVector, &DeviceVector),
        (residual, weight): (&mut DeviceVector, &mut DeviceVector),
    ) -> Answer<()> {
        let (m, p) = (self.sizes.features, self.sizes.outputs);
        let geometry = Geometry {
            grid: [p.div_ceil(TILE) as u32, self.cut.tiles as u32, 1],
            ..Geometry::line(1, THREADS)
        };
        let launch = self
            .border
            .launch(stream, geometry)
            .read(operands.gram.view())
            .scalar(rho)
            .read(operands.decoder.view())
            .scalar(m as i32)
            .scalar(p as i32)
            .read(self.of_rows.view())
            .read(x.border.view())
            .read(gradient.border.view())
            .write(residual.border.view_mut())
            .write(weight.border.view_mut());
        // SAFETY: the arguments are those of the source; G is M x M, W and the border's vectors are M x p.
        unsafe { launch.submit() }
    }
}

/// Bytes of a block's memory that the rows' kernel works in.
fn rows_shared(features: usize) -> u32 {
    shared(3 * ROWS * features)
}

/// The sums over `chunks` partial sums.
fn submit_sum(
    kernel: &Kernel,
    stream: &Stream,
    (partials, chunks): (&DeviceBuffer<f64>, usize),
    to: &mut DeviceBuffer<f64>,
) -> Answer<()> {
    let count = to.len();
    let blocks = count.div_ceil(THREADS as usize / 32) as u32;
    let launch = kernel
        .launch(stream, Geometry::line(blocks, THREADS))
        .read(partials.view())
        .scalar(count as i32)
        .scalar(chunks as i32)
        .write(to.view_mut());
    // SAFETY: the arguments are those of the source; partial sums hold at least chunks times count numbers.
    unsafe { launch.submit() }
}

impl ResidualTerms for StructuredTerms {
    fn submit(
        &mut self,
        stream: &Stream,
        system: &DeviceSystem,
        ridge: Ridge,
        (gradient, x): (&DeviceVector, &DeviceVector),
        (residual, weight): (&mut DeviceVector, &mut DeviceVector),
    ) -> Result<(), Error> {
        let operands = system.structured_numbers()?;
        if self.sizes.rows.unknowns > 0 {
            self.submit_kernel(stream, operands, x)?;
            let to = (&mut *residual, &mut *weight);
            self.submit_rows(stream, operands, ridge.row, (gradient, x), to)?;
        }
        if self.sizes.unknowns > 0 {
            self.submit_outer(stream, operands, x)?;
            let to = (residual, weight);
            self.submit_border(stream, operands, ridge.border, (gradient, x), to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EliminationKind, RowDims, StructuredShape};

    #[test]
    fn chunks_cover_rows_and_columns_and_are_few_where_tiles_are_many() {
        let kind = EliminationKind::Iterative;
        for (n, m, p) in [
            (0, 0, 0),
            (1, 1, 1),
            (2000, 3, 2048),
            (33, 32, 33),
            (100_000, 33, 5),
            (20_001, 65, 2048),
            (9, MOST_FEATURES_ITERATIVE, 1 << 20),
        ] {
            let rows = RowDims::uniform(n, 1).unwrap();
            let shape = StructuredShape::new(rows, m, p).unwrap();
            let sizes = Sizes::new(&shape, kind).unwrap();
            let cut = Cut::new(&sizes);
            assert!(cut.tiles * TILE >= sizes.features);
            for (items, (chunks, each)) in [(n, cut.rows), (sizes.outputs, cut.columns)] {
                assert!(chunks >= 1 && chunks * each >= items && each % TILE == 0);
                // None is empty, but for the one of nothing.
                assert!(items == 0 || (chunks - 1) * each < items);
                assert!(chunks * cut.tiles.pow(2) <= 264.max(cut.tiles.pow(2)));
            }
        }
        assert!(rows_shared(128) == UNASKED && rows_shared(MOST_FEATURES_ITERATIVE) < 99 << 10);
    }
}
