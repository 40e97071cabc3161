//! The work of conjugate gradients, counted for the iterations that a workload expects of a solve.

use super::device::FUSED;
use super::host::BLOCK as PRECONDITIONER_BLOCK;
use super::host::directions::kept_directions;
use crate::device::work as device;
use crate::host::work::{self as host, StructuredSizes};
use crate::work::{Counts, Unit, Work, sizes, structured_sizes};
use crate::{ArrowShape, StructuredShape, SystemShape};

/// Order of a diagonal block of the preconditioner of dense systems.
const BLOCK: f64 = PRECONDITIONER_BLOCK as f64;

/// On the CPU; products alone are counted as those of a dense system.
pub(crate) fn on_host(shape: &SystemShape, iterations: u32) -> Counts {
    match shape {
        SystemShape::Structured { shape, density, .. } => {
            structured_on_host(shape, *density, iterations)
        }
        SystemShape::Dense(shape) | SystemShape::Operator(shape) => {
            dense_on_host(shape, iterations)
        }
    }
}

fn dense_on_host(shape: &ArrowShape, iterations: u32) -> Counts {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    // S once an iteration and once for the true residual; B four times around them, C once more.
    let iterations = f64::from(iterations);
    let products = iterations + 1.0;
    Counts {
        refresh: host::refresh(shape),
        // Strips of B copied and whitened for every block, their product, the block's factor.
        factor: Work::default()
            .loops(blocks)
            .traffic(24.0 * n * k)
            .gemm(n * d * k)
            .triangle(n * k * BLOCK)
            .loops(k * k.min(BLOCK).powi(2) / 8.0)
            .launches(4.0),
        solve: conjugations(k, iterations)
            .traffic(products * (16.0 * n * k + 4.0 * k * k + 80.0 * k))
            .traffic(24.0 * n * k + 4.0 * k * k)
            .launches(products * 4.0 + 6.0),
    }
}

fn structured_on_host(shape: &StructuredShape, density: f64, iterations: u32) -> Counts {
    let sizes = StructuredSizes::of(shape, density);
    let StructuredSizes {
        n,
        d,
        on,
        m,
        p,
        blocks,
        ..
    } = sizes;
    // S once an iteration and once for the true residual: X W', Q, G X and the decoder, with G written
    // out; then the preconditioner and the directions before.
    let iterations = f64::from(iterations);
    let products = iterations + 1.0;
    Counts {
        refresh: sizes.refresh(),
        factor: Work::default()
            .loops(blocks + n * d * on)
            .blocked_factor(m)
            .launches(3.0),
        solve: conjugations(m * p, iterations)
            .and(sizes.measure())
            .and(sizes.passes(products + 1.0))
            .and(sizes.pulls(products + 1.0))
            .decoder_products(3.0 * products + 2.0, sizes.decoder())
            .loops(products * 6.0 * m * m)
            .gram_solves(products, sizes.decoder())
            .traffic(products * 80.0 * m * p)
            .launches(4.0 * products),
    }
}

/// Directions of length `k` made conjugate to those before them: one thread reads two vectors each.
fn conjugations(k: f64, iterations: f64) -> Work {
    let most = kept_directions(k as usize) as f64;
    let ramp = iterations.min(most);
    let pairs = ramp * (ramp + 1.0) / 2.0 + (iterations - ramp) * most;
    Work::default().more(Unit::LoneByte, pairs * 16.0 * k)
}

/// On a device, of a structured system: on the core, of order $`M r`$, so that an iteration does not
/// know $`p`$.
pub(crate) fn on_device(shape: &StructuredShape, iterations: u32) -> Counts {
    let (n, _, blocks) = sizes(shape.arrow());
    let (_, m, p, r) = structured_sizes(shape, 1.0);
    let (rows, d) = (
        shape.arrow().row_count() as f64,
        shape.arrow().rows().max_dim() as f64,
    );
    // Lines of features are multiplied by L_i, by L_G and by R in turn.
    let factor = Work::default()
        .loops(blocks + n * d * m)
        .gram(m)
        .gemm(rows * m * m + 2.0 * n * m * r + 2.0 * m * m * p)
        .lines(2.0 * n + rows, m)
        .launches(7.0);
    let iterations = f64::from(iterations);
    // An iteration reads the rows' features twice, and the directions before it; one block of threads
    // takes the turn, of eight vectors.
    let fused = match shape.features() <= FUSED {
        true => device::passes(shape, iterations + 4.0),
        false => Work::default(),
    };
    let solve = device::products(shape, 2.5)
        .and(fused)
        .gemm(6.0 * m * m * p)
        .gemm(iterations * 4.0 * rows * m * m)
        .traffic(iterations * (16.0 * m * (rows + n) + (16.0 + 8.0 * iterations) * m * m))
        .by_one_block(iterations * 64.0 * m * m)
        .launches(9.0 + 6.0 * iterations);
    device::structured(shape, (factor, solve))
}
