//! Prices: operations, bytes and serial steps of each elimination, over the ceilings.

use super::{Ceilings, Workload};
use crate::elimination::{core_order, decoder_rank};
use crate::{ArrowShape, EliminationKind, StructuredShape, SystemShape};
use serde::{Deserialize, Serialize};

/// The price of one elimination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Which.
    pub elimination: EliminationKind,
    /// FP64 operations of one factorization and its solves.
    pub operations: f64,
    /// Bytes to hold.
    pub bytes: u64,
    /// Seconds expected of one factorization.
    pub factor_seconds: f64,
    /// Seconds expected of one solve.
    pub solve_seconds: f64,
    /// Seconds of one factorization and the solves expected of it.
    pub seconds: f64,
}

/// A running bill.
#[derive(Clone, Copy, Default)]
struct Bill {
    operations: f64,
    seconds: f64,
}

impl Bill {
    fn gemm(mut self, operations: f64, c: &Ceilings) -> Self {
        self.operations += operations;
        self.seconds += operations / c.gemm_flops;
        self
    }

    fn loops(mut self, operations: f64, c: &Ceilings) -> Self {
        self.operations += operations;
        self.seconds += operations / c.loop_flops;
        self
    }

    fn traffic(mut self, bytes: f64, c: &Ceilings) -> Self {
        self.operations += bytes / 4.0;
        self.seconds += bytes / c.bandwidth;
        self
    }

    fn launches(mut self, count: f64, c: &Ceilings) -> Self {
        self.seconds += count * c.launch;
        self
    }

    /// A Cholesky factorization of order `n`.
    fn cholesky(mut self, n: f64, c: &Ceilings) -> Self {
        let operations = n * n * n / 3.0;
        self.operations += operations;
        self.seconds += operations / (c.gemm_flops * c.cholesky_share)
            + n * c.serial_step
            + 4.0 * n * n / c.bandwidth;
        self
    }

    /// Both sweeps of a Cholesky solve of order `n`.
    fn sweeps(self, n: f64, c: &Ceilings) -> Self {
        let mut bill = self.traffic(8.0 * n * n, c);
        bill.seconds += 2.0 * n * c.serial_step;
        bill
    }
}

pub(super) fn price(
    kind: EliminationKind,
    shape: &SystemShape,
    bytes: u64,
    ceilings: &Ceilings,
    workload: &Workload,
) -> Price {
    let (factor, solve) = match (kind, shape) {
        (EliminationKind::Reference, shape) => reference(shape.arrow(), ceilings),
        (EliminationKind::Rows, shape) => rows(shape.arrow(), ceilings),
        (EliminationKind::Border, SystemShape::Structured { shape, density, .. }) => {
            structured_border(shape, *density, ceilings)
        }
        (EliminationKind::Border, shape) => dense_border(shape.arrow(), ceilings),
        (
            EliminationKind::Core,
            SystemShape::Structured {
                shape,
                density,
                pairs,
            },
        ) => core(shape, *density, *pairs, ceilings),
        (EliminationKind::Iterative, SystemShape::Structured { shape, density, .. }) => {
            structured_iterative(shape, *density, workload, ceilings)
        }
        (_, shape) => dense_iterative(shape.arrow(), workload, ceilings),
    };
    let solves = f64::from(workload.solves);
    Price {
        elimination: kind,
        operations: factor.operations + solves * solve.operations,
        bytes,
        factor_seconds: factor.seconds,
        solve_seconds: solve.seconds,
        seconds: factor.seconds + solves * solve.seconds,
    }
}

/// Orders of a shape as floats: `N`, `k`, and the operations of all row blocks.
fn sizes(shape: &ArrowShape) -> (f64, f64, f64) {
    let d = shape.rows().max_dim() as f64;
    let n = shape.row_unknowns() as f64;
    (n, shape.border() as f64, n * d * d / 3.0 + 8.0 * n)
}

fn reference(shape: &ArrowShape, c: &Ceilings) -> (Bill, Bill) {
    let order = shape.order() as f64;
    (
        Bill::default()
            .traffic(8.0 * order * order, c)
            .cholesky(order, c),
        Bill::default().sweeps(order, c),
    )
}

fn rows(shape: &ArrowShape, c: &Ceilings) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    let factor = Bill::default()
        .loops(blocks, c)
        .traffic(24.0 * n * k, c)
        .gemm(n * d * k, c)
        .gemm(n * k * k, c)
        .traffic(16.0 * k * k, c)
        .cholesky(k, c)
        .launches(4.0, c);
    let solve = Bill::default()
        .traffic(16.0 * n * k, c)
        .sweeps(k, c)
        .launches(6.0, c);
    (factor, solve)
}

fn dense_border(shape: &ArrowShape, c: &Ceilings) -> (Bill, Bill) {
    let (n, k, _) = sizes(shape);
    let factor = Bill::default()
        .traffic(16.0 * k * k, c)
        .cholesky(k, c)
        .traffic(24.0 * n * k, c)
        .gemm(n * k * k, c)
        .gemm(n * n * k, c)
        .traffic(16.0 * n * n, c)
        .cholesky(n, c)
        .launches(4.0, c);
    let solve = Bill::default()
        .traffic(16.0 * n * k, c)
        .sweeps(k, c)
        .sweeps(n, c)
        .launches(6.0, c);
    (factor, solve)
}

/// Features that are on in a row, `M`, `p` and `r`.
fn structured_sizes(shape: &StructuredShape, density: f64) -> (f64, f64, f64, f64) {
    let m = shape.features() as f64;
    (
        density * m,
        m,
        shape.outputs() as f64,
        decoder_rank(shape) as f64,
    )
}

fn structured_border(shape: &StructuredShape, density: f64, c: &Ceilings) -> (Bill, Bill) {
    let (n, _, blocks) = sizes(shape.arrow());
    let (on, m, p, r) = structured_sizes(shape, density);
    let rows = shape.arrow().row_count() as f64;
    let factor = Bill::default()
        .loops(blocks + 2.0 * n * on * r, c)
        .cholesky(m, c)
        .gemm(rows * m * m + 2.0 * p * m * m, c)
        .gemm(n * n * r + rows * rows * m, c)
        .traffic(24.0 * n * n, c)
        .cholesky(n, c)
        .launches(6.0, c);
    let solve = products(shape, density, 2.0, c)
        .gemm(4.0 * m * m * p, c)
        .sweeps(n, c)
        .launches(6.0, c);
    (factor, solve)
}

/// `count` applications of the rows' operators and of $`W`$ on both sides.
fn products(shape: &StructuredShape, density: f64, count: f64, c: &Ceilings) -> Bill {
    let (n, _, _) = sizes(shape.arrow());
    let (on, m, p, _) = structured_sizes(shape, density);
    let rows = shape.arrow().row_count() as f64;
    Bill::default()
        .loops(count * (4.0 * n * on + 4.0 * rows * on * on), c)
        .gemm(count * 4.0 * m * m * p, c)
        .traffic(count * 24.0 * m * p, c)
        .launches(4.0 * count, c)
}

fn core(shape: &StructuredShape, density: f64, pairs: usize, c: &Ceilings) -> (Bill, Bill) {
    let (n, _, blocks) = sizes(shape.arrow());
    let (on, m, p, r) = structured_sizes(shape, density);
    let rows = shape.arrow().row_count() as f64;
    let d = shape.arrow().rows().max_dim() as f64;
    let (order, sparse) = core_order(shape, pairs);
    let order = order as f64;
    let common = Bill::default()
        .loops(blocks + n * d * on, c)
        .cholesky(m, c)
        .gemm(2.0 * p * m * m, c)
        .launches(6.0, c);
    let factor = if sparse {
        // Q over pairs, its pivoted factor, and two products with K.
        common
            .loops(rows * on.powi(4) * d + 2.0 * order * order, c)
            .gemm(order * order * order * (1.0 + 2.0 + 2.0), c)
    } else {
        let (phi_pairs, root_pairs) = (m * (m + 1.0) / 2.0, r * (r + 1.0) / 2.0);
        common
            .loops(2.0 * n * on * r + n * root_pairs + rows * phi_pairs, c)
            .gemm(rows * m * m, c)
            .gemm(2.0 * rows * phi_pairs * root_pairs, c)
            .traffic(16.0 * order * order, c)
            .launches(3.0 * rows / 512.0, c)
    };
    let applications = if sparse { 1.0 } else { 2.5 };
    let solve = products(shape, density, applications, c)
        .gemm(6.0 * m * m * p, c)
        .sweeps(order, c)
        .launches(10.0, c);
    (factor.cholesky(order, c), solve)
}

fn structured_iterative(
    shape: &StructuredShape,
    density: f64,
    workload: &Workload,
    c: &Ceilings,
) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape.arrow());
    let (on, m, p, _) = structured_sizes(shape, density);
    let d = shape.arrow().rows().max_dim() as f64;
    let factor = Bill::default()
        .loops(blocks + n * d * on, c)
        .cholesky(m, c)
        .launches(3.0, c);
    let solve = products(shape, density, f64::from(workload.iterations), c)
        .gemm(f64::from(workload.iterations) * 4.0 * m * m * p, c)
        .traffic(f64::from(workload.iterations) * 80.0 * k, c);
    (factor, solve)
}

fn dense_iterative(shape: &ArrowShape, workload: &Workload, c: &Ceilings) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape);
    let factor = Bill::default()
        .loops(blocks, c)
        .traffic(16.0 * n * k, c)
        .gemm(4.0 * n * k * 64.0, c)
        .launches(4.0, c);
    let solve = Bill::default()
        .traffic(
            f64::from(workload.iterations) * (16.0 * n * k + 4.0 * k * k + 80.0 * k),
            c,
        )
        .launches(f64::from(workload.iterations) * 4.0, c);
    (factor, solve)
}
