//! The work of a structured system's core, counted.

use super::device::is_small_core;
use super::host::core_order;
use crate::StructuredShape;
use crate::device::{PIECE, pass_chunks, work as device};
use crate::host::work::StructuredSizes;
use crate::work::{Counts, Unit, Work, sizes, structured_sizes};

/// On the CPU; `pairs` of features are on together in some row.
pub(crate) fn on_host(shape: &StructuredShape, density: f64, pairs: usize) -> Counts {
    let sizes = StructuredSizes::of(shape, density);
    let StructuredSizes {
        n,
        d,
        on,
        m,
        blocks,
        ..
    } = sizes;
    let (order, sparse) = core_order(shape, pairs);
    let order = order as f64;
    let common = Work::default()
        .loops(blocks + n * d * on)
        .blocked_factor(m)
        .launches(6.0);
    let around = sizes
        .measure()
        .and(sizes.passes(1.0))
        .and(sizes.pulls(1.0))
        .loops(8.0 * n * d)
        .decoder_products(4.0, sizes.decoder())
        .gram_solves(2.0, sizes.decoder())
        .launches(10.0);
    let (factor, solve) = match sparse {
        true => over_pairs(sizes, order),
        false => full(sizes, order),
    };
    Counts {
        refresh: sizes.refresh(),
        factor: common.and(factor),
        solve: around.and(solve),
    }
}

/// The core over pairs of features, apart from what both forms do.
fn over_pairs(sizes: StructuredSizes, order: f64) -> (Work, Work) {
    let StructuredSizes {
        n, rows, d, on, m, ..
    } = sizes;
    // A row adds d directions to Q at most.
    let rank = order.min(n);
    // Pairs of one feature of Psi, whose directions are turned together.
    let run = order / m.max(1.0);
    // Q over pairs, its pivoted factor, K of the turned directions, two products with it, and what
    // is between them entry by entry: scaling, the root in the order of the pairs, the kernel.
    let factor = local_decoder(sizes)
        .loops(n * on * on + rows * on.powi(4) * (d + 1.0))
        .alone(12.0 * order * order)
        .alone(20.0 * order * run * run)
        .gemm(2.0 * order * order * rank + 2.0 * order * run * rank)
        .triangle(order * rank * rank + m * order * order)
        .many_columns(m, order)
        .blocked_factor(rank)
        .more(
            Unit::Pivoted,
            order * rank * rank - 2.0 * rank.powi(3) / 3.0,
        );
    let solve = Work::default()
        .traffic(16.0 * order * rank)
        .triangular_solves(rank);
    (factor, solve)
}

/// The lines of the decoder that are on together made orthonormal, and their products.
fn local_decoder(sizes: StructuredSizes) -> Work {
    let StructuredSizes { m, p, on, .. } = sizes;
    Work::default()
        .alone(8.0 * m * p * on)
        .gemm(2.0 * m * m * p)
        .traffic(24.0 * m * p)
}

/// The core of order `M r`, apart from what both forms do.
fn full(sizes: StructuredSizes, order: f64) -> (Work, Work) {
    let StructuredSizes {
        n, rows, on, m, r, ..
    } = sizes;
    let (phi_pairs, root_pairs) = (m * (m + 1.0) / 2.0, r * (r + 1.0) / 2.0);
    let factor = sizes
        .root()
        .loops(2.0 * n * on * r + n * root_pairs + rows * phi_pairs)
        .many_columns(m, rows)
        .gemm(2.0 * rows * phi_pairs * root_pairs)
        .traffic(16.0 * order * order)
        .launches(3.0 * rows / 512.0)
        .blocked_factor(order);
    // Q twice, and F and F' between.
    let solve = sizes
        .passes(2.0)
        .and(sizes.pulls(2.0))
        .gemm(4.0 * m * m * r)
        .many_columns(m, 2.0 * r)
        .triangular_solves(order);
    (factor, solve)
}

/// On a device.
pub(crate) fn on_device(shape: &StructuredShape) -> Counts {
    let (n, _, blocks) = sizes(shape.arrow());
    let (_, m, p, r) = structured_sizes(shape, 1.0);
    let rows = shape.arrow().row_count() as f64;
    let d = shape.arrow().rows().max_dim() as f64;
    let order = m * r;
    let (phi_pairs, root_pairs) = (m * (m + 1.0) / 2.0, r * (r + 1.0) / 2.0);
    // A small core has two kernels of its own, which whiten phi and multiply V by R on their way, and the
    // second of which is one block; of a large one the pairs are formed and multiplied for so many rows
    // at a time.
    let (whitened, launches, own) = match is_small_core(shape) {
        true => (n, 2.0, small_core(shape, phi_pairs * root_pairs, order)),
        false => (
            2.0 * n + rows,
            5.0 + 2.0 * (rows / PIECE as f64).ceil(),
            Work::default().tiled_factor(order),
        ),
    };
    let factor = own
        .loops(blocks + n * d * m)
        .gram(m)
        .gemm(2.0 * p * m * m)
        .lines(whitened, m)
        .loops(2.0 * n * m * r + n * root_pairs + rows * phi_pairs)
        .gemm(rows * m * m)
        .gemm(2.0 * rows * phi_pairs * root_pairs)
        .traffic(16.0 * order * order)
        .launches(3.0 + launches);
    let solve = device::products(shape, 2.5)
        .and(device::passes(shape, 4.0))
        .gemm(6.0 * m * m * p)
        .triangular_solves(order)
        .launches(10.0);
    device::structured(shape, (factor, solve))
}

/// The sums of a small core over the rows, `numbers` of them, which a round's 32 rows are added to one
/// after another; the blocks' parts added by one; and its factor, a pivot after the other.
fn small_core(shape: &StructuredShape, numbers: f64, order: f64) -> Work {
    let (chunks, per_chunk) = pass_chunks(shape.arrow().row_count());
    let rounds = (per_chunk / 32) as f64;
    let steps = rounds * 32.0 * (numbers / 256.0).ceil() + device::PIVOT * order;
    Work::default()
        .by_one_block(8.0 * numbers * chunks as f64)
        .more(Unit::Step, steps)
}
