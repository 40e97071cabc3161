//! The work of border first, counted.

use crate::device::{Keep, work as device};
use crate::host::work::{self as host, StructuredSizes};
use crate::work::{Counts, Work, sizes, structured_sizes};
use crate::{ArrowShape, StructuredShape, SystemShape};

/// On the CPU.
pub(crate) fn on_host(shape: &SystemShape) -> Counts {
    match shape {
        SystemShape::Structured { shape, density, .. } => structured_on_host(shape, *density),
        SystemShape::Dense(shape) | SystemShape::Operator(shape) => dense_on_host(shape),
    }
}

fn dense_on_host(shape: &ArrowShape) -> Counts {
    let (n, k, blocks) = sizes(shape);
    Counts {
        refresh: host::refresh(shape),
        factor: Work::default()
            .traffic(16.0 * k * k)
            .blocked_factor(k)
            .traffic(24.0 * n * k)
            .many_columns(k, n)
            .triangle(n * n * k)
            .traffic(16.0 * n * n)
            .blocked_factor(n)
            .loops(blocks)
            .launches(8.0),
        // The pulled B twice, B for the sweep over rows and again with C for the residual.
        solve: Work::default()
            .traffic(32.0 * n * k + 4.0 * k * k)
            .triangular_solves(k)
            .triangular_solves(n)
            .launches(10.0),
    }
}

fn structured_on_host(shape: &StructuredShape, density: f64) -> Counts {
    let sizes = StructuredSizes::of(shape, density);
    let StructuredSizes {
        n,
        rows,
        on,
        m,
        r,
        blocks,
        ..
    } = sizes;
    Counts {
        refresh: sizes.refresh(),
        factor: sizes
            .root()
            .loops(blocks + 2.0 * n * on * r)
            .blocked_factor(m)
            .many_columns(m, rows)
            .triangle(n * n * r + rows * rows * m)
            .traffic(24.0 * n * n)
            .blocked_factor(n)
            .launches(6.0),
        // B x twice, the second for the sweep over rows, and B' x once.
        solve: sizes
            .measure()
            .and(sizes.passes(2.0))
            .and(sizes.pulls(1.0))
            .decoder_products(3.0, sizes.decoder())
            .gram_solves(2.0, sizes.decoder())
            .triangular_solves(n)
            .launches(6.0),
    }
}

/// On a device, of a structured system, with a frame that keeps `keep` of $`T`$'s factor.
pub(crate) fn on_device(shape: &StructuredShape, keep: Keep) -> Counts {
    let (n, _, blocks) = sizes(shape.arrow());
    let (_, m, p, r) = structured_sizes(shape, 1.0);
    let rows = shape.arrow().row_count() as f64;
    let factor = Work::default()
        .loops(blocks + 2.0 * n * m * r)
        .gram(m)
        .gemm(rows * m * m + 2.0 * p * m * m)
        .gemm(n * n * r + rows * rows * m)
        .lines(n + rows, m)
        .traffic(24.0 * n * n)
        .tiled_factor(n)
        .launches(6.0);
    let solve = device::products(shape, 2.0)
        .and(device::passes(shape, 1.0))
        .gemm(4.0 * m * m * p)
        .launches(6.0);
    device::structured(shape, device::kept(keep, (factor, solve), n))
}
