//! The work of rows first, counted.

use crate::ArrowShape;
use crate::device::{Keep, work as device};
use crate::host::work as host;
use crate::work::{Counts, Work, sizes};

/// On the CPU.
pub(crate) fn on_host(shape: &ArrowShape) -> Counts {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    Counts {
        refresh: host::refresh(shape),
        factor: Work::default()
            .loops(blocks)
            .traffic(24.0 * n * k)
            .gemm(n * d * k)
            .triangle(n * k * k)
            .traffic(16.0 * k * k)
            .blocked_factor(k)
            .launches(4.0),
        // Y, and B and C for the residual.
        solve: Work::default()
            .traffic(16.0 * n * k + 4.0 * k * k)
            .loops(8.0 * n * d)
            .triangular_solves(k)
            .launches(6.0),
    }
}

/// On a device, with a frame that keeps `keep`.
pub(crate) fn on_device(shape: &ArrowShape, keep: Keep) -> Counts {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    let factor = Work::default()
        .traffic(24.0 * n * d)
        .loops(blocks)
        .traffic(16.0 * n * k)
        .gemm(n * k * k)
        .traffic(16.0 * k * k)
        .tiled_factor(k)
        .launches(5.0);
    let solve = Work::default().traffic(16.0 * n * k).launches(2.0);
    device::dense(shape, device::kept(keep, (factor, solve), k))
}
