//! Prices: operations, bytes and serial steps of each elimination, over the ceilings.

use super::{Ceilings, Workload};
use crate::cuda::{Keep, StructuredMethod};
use crate::elimination::{core_order, decoder_rank};
use crate::{ArrowShape, EliminationKind, StructuredShape, SystemShape};
use broadhead_device::ExecutionPath;
use serde::{Deserialize, Serialize};

/// The price of one elimination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Which.
    pub elimination: EliminationKind,
    /// Where it would run.
    pub path: ExecutionPath,
    /// What a frame would keep, on a device.
    pub keep: Option<Keep>,
    /// FP64 operations of one factorization and its solves.
    pub operations: f64,
    /// Bytes to hold, where it would run.
    pub bytes: u64,
    /// Seconds expected of bringing new numbers there: 0 on the CPU, which reads them where they are.
    pub refresh_seconds: f64,
    /// Seconds expected of one factorization.
    pub factor_seconds: f64,
    /// Seconds expected of one solve.
    pub solve_seconds: f64,
    /// Seconds of one refresh, one factorization and the solves expected of it.
    pub seconds: f64,
}

/// Bytes a second at which operands of the host reach a device, packed and sent in pieces: measured
/// from pageable memory, an eighth of what the link could do.
const UPLOAD: f64 = 7e9;

/// How much more slowly one block of threads reads and writes than all of a device: measured.
const ONE_BLOCK: f64 = 43.0;

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
        path: ExecutionPath::Cpu,
        keep: None,
        operations: factor.operations + solves * solve.operations,
        bytes,
        refresh_seconds: 0.0,
        factor_seconds: factor.seconds,
        solve_seconds: solve.seconds,
        seconds: factor.seconds + solves * solve.seconds,
    }
}

/// Rows first on a device, with a frame that keeps `keep`.
pub(super) fn on_device(
    shape: &ArrowShape,
    keep: Keep,
    bytes: u64,
    ceilings: &Ceilings,
    workload: &Workload,
) -> Price {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    let factor = Bill::default()
        .traffic(24.0 * n * d, ceilings)
        .loops(blocks, ceilings)
        .traffic(16.0 * n * k, ceilings)
        .gemm(n * k * k, ceilings)
        .traffic(16.0 * k * k, ceilings)
        .cholesky(k, ceilings)
        .launches(5.0, ceilings);
    let pass = Bill::default().traffic(16.0 * n * k, ceilings);
    let (factor, solve) = kept(keep, (factor, pass.launches(2.0, ceilings)), k, ceilings);
    let solves = f64::from(workload.solves);
    // Of the border the lower triangle travels; a gradient in and a step out for every solve.
    let operands = 8.0 * (n * d + n * k + k * (k + 1.0) / 2.0);
    let refresh_seconds = operands / UPLOAD;
    let solve_seconds = solve.seconds + 16.0 * (n + k) / UPLOAD;
    Price {
        elimination: EliminationKind::Rows,
        path: ExecutionPath::GpuResidentLinearization,
        keep: Some(keep),
        operations: factor.operations + solves * solve.operations,
        bytes,
        refresh_seconds,
        factor_seconds: factor.seconds,
        solve_seconds,
        seconds: refresh_seconds + factor.seconds + solves * solve_seconds,
    }
}

/// What a frame of a factor of order `n` keeps is made, and solved with, beside the rest of both.
fn kept(keep: Keep, (factor, solve): (Bill, Bill), n: f64, c: &Ceilings) -> (Bill, Bill) {
    match keep {
        Keep::Factor => (factor, solve.sweeps(n, c).launches(3.0, c)),
        // Half the rate of a large product: the joins begin small.
        Keep::InverseFactor => (
            factor
                .gemm(2.0 * n * n * n / 3.0, c)
                .launches(3.0 * n.max(2.0).log2(), c),
            solve.traffic(8.0 * n * n, c).launches(2.0, c),
        ),
    }
}

/// An elimination of structured systems on a device, which keeps features densely.
pub(super) fn structured_on_device(
    shape: &StructuredShape,
    method: StructuredMethod,
    bytes: u64,
    ceilings: &Ceilings,
    workload: &Workload,
) -> Price {
    let m = shape.features();
    let (n, k, _) = sizes(shape.arrow());
    let (keep, (factor, solve)) = match method {
        StructuredMethod::Core => (None, core(shape, 1.0, m.saturating_mul(m), ceilings)),
        StructuredMethod::Iterative { .. } => {
            (None, iterative_on_device(shape, workload, ceilings))
        }
        StructuredMethod::Border { keep } => (
            Some(keep),
            kept(
                keep,
                structured_border_but_sweeps(shape, 1.0, ceilings),
                n,
                ceilings,
            ),
        ),
    };
    // One block of threads makes the decoder's root: for every line it goes through those that are left.
    let root = match shape.outputs() > m {
        true => 12.0 * m as f64 * k,
        false => 0.0,
    };
    let factor = factor.traffic(ONE_BLOCK * root, ceilings);
    let solves = f64::from(workload.solves);
    let (rows, d) = (shape.arrow().row_count(), shape.arrow().rows().max_dim());
    let operands = 8.0 * (n * d as f64 + (rows as f64 + n + m as f64) * m as f64 + k);
    let refresh_seconds = operands / UPLOAD;
    let solve_seconds = solve.seconds + 16.0 * (n + k) / UPLOAD;
    Price {
        elimination: method.kind(),
        path: ExecutionPath::GpuResidentLinearization,
        keep,
        operations: factor.operations + solves * solve.operations,
        bytes,
        refresh_seconds,
        factor_seconds: factor.seconds,
        solve_seconds,
        seconds: refresh_seconds + factor.seconds + solves * solve_seconds,
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
    let (factor, solve) = structured_border_but_sweeps(shape, density, c);
    let (n, _, _) = sizes(shape.arrow());
    (factor, solve.sweeps(n, c))
}

/// All but the sweeps with the factor of order `N`.
fn structured_border_but_sweeps(
    shape: &StructuredShape,
    density: f64,
    c: &Ceilings,
) -> (Bill, Bill) {
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

/// Conjugate gradients on the core, of order $`M r`$: an iteration does not know $`p`$.
fn iterative_on_device(shape: &StructuredShape, workload: &Workload, c: &Ceilings) -> (Bill, Bill) {
    let (n, _, blocks) = sizes(shape.arrow());
    let (_, m, p, r) = structured_sizes(shape, 1.0);
    let (rows, d) = (
        shape.arrow().row_count() as f64,
        shape.arrow().rows().max_dim() as f64,
    );
    let factor = Bill::default()
        .loops(blocks + n * d * m, c)
        .cholesky(m, c)
        .gemm(rows * m * m + 2.0 * n * m * r + 2.0 * m * m * p, c)
        .launches(7.0, c);
    let iterations = f64::from(workload.iterations);
    let solve = products(shape, 1.0, 2.5, c)
        .gemm(6.0 * m * m * p, c)
        .gemm(iterations * 4.0 * rows * m * m, c)
        .traffic(
            iterations * (8.0 * m * (2.0 * rows + 2.0 * n) + 80.0 * m * m),
            c,
        )
        .launches(9.0 + 6.0 * iterations, c);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(k: usize, solves: u32) -> [Price; 2] {
        let shape = ArrowShape::uniform(180, 2, k).expect("a shape");
        let workload = Workload {
            solves,
            ..Workload::default()
        };
        [Keep::Factor, Keep::InverseFactor]
            .map(|keep| on_device(&shape, keep, 0, &Ceilings::DEVICE, &workload))
    }

    #[test]
    fn an_inverse_pays_once_enough_solves_follow() {
        let [factor, inverse] = prices(5120, 1);
        assert!(factor.seconds < inverse.seconds);
        for k in [512, 2048, 5120] {
            let [factor, inverse] = prices(k, 24);
            assert!(factor.factor_seconds < inverse.factor_seconds, "{k}");
            assert!(factor.solve_seconds > inverse.solve_seconds, "{k}");
            assert!(factor.seconds > inverse.seconds, "{k}");
        }
    }

    #[test]
    fn device_prices_are_within_a_factor_of_three_of_what_was_measured() {
        // Seconds on an H100: factor and solve of (180, 2, k), in either kind of frame.
        for (k, at, factor, solve) in [
            (5120, 0, 2.6e-3, 7.7e-4),
            (5120, 1, 4.2e-3, 9.0e-5),
            (2048, 0, 9.5e-4, 3.2e-4),
            (2048, 1, 1.2e-3, 6.9e-5),
        ] {
            let price = prices(k, 1)[at];
            for (got, want) in [(price.factor_seconds, factor), (price.solve_seconds, solve)] {
                assert!(
                    (want / 3.0..want * 3.0).contains(&got),
                    "{k}, {at}: {got:e}, {want:e}"
                );
            }
        }
    }

    #[test]
    fn structured_prices_are_within_a_factor_of_three_of_what_was_measured() {
        let (keep, kept) = (Keep::Factor, Keep::InverseFactor);
        let border = StructuredMethod::Border { keep };
        let inverse = StructuredMethod::Border { keep: kept };
        let core = StructuredMethod::Core;
        // Microseconds on an H100: factor and solve of (n, d, M, p).
        for ((n, d, m, p), method, factor, solve) in [
            ((2000, 1, 3, 2048), core, 51.2, 52.4),
            ((2000, 1, 3, 2048), border, 633.8, 305.3),
            ((2000, 1, 3, 2048), inverse, 888.1, 47.4),
            ((180, 1, 3, 5120), core, 64.5, 51.2),
            ((180, 1, 3, 5120), border, 118.6, 76.3),
            ((180, 1, 3, 5120), inverse, 184.2, 42.4),
            ((2000, 2, 9, 2048), core, 174.6, 121.0),
            ((2000, 2, 9, 2048), border, 1494.4, 641.5),
            ((2000, 2, 9, 2048), inverse, 2342.5, 109.9),
            ((2000, 8, 17, 2048), core, 311.6, 220.4),
            ((2000, 8, 17, 2048), border, 38_535.7, 2576.2),
            ((2000, 8, 17, 2048), inverse, 80_008.8, 830.4),
        ] {
            let rows = crate::RowDims::uniform(n, d).expect("rows");
            let shape = StructuredShape::new(rows, m, p).expect("a shape");
            let workload = Workload::default();
            let price = structured_on_device(&shape, method, 0, &Ceilings::DEVICE, &workload);
            // The gradient and the step were there.
            let moved = 16.0 * (shape.arrow().row_unknowns() + m * p) as f64 / UPLOAD;
            for (got, want) in [
                (price.factor_seconds, factor * 1e-6),
                (price.solve_seconds - moved, solve * 1e-6),
            ] {
                assert!(
                    (want / 3.0..want * 3.0).contains(&got),
                    "{n} {d} {m} {p}, {method:?}: {got:e}, {want:e}"
                );
            }
        }
    }

    #[test]
    fn conjugate_gradients_are_priced_within_a_factor_of_three_of_what_was_measured() {
        let method = StructuredMethod::Iterative {
            options: crate::IterativeOptions::default(),
        };
        // Microseconds on an H100: factor and solve of (n, d, M, p) in so many iterations.
        for ((n, d, m, p), iterations, factor, solve) in [
            ((2000, 1, 3, 2048), 6, 43.8, 219.2),
            ((180, 1, 3, 5120), 8, 57.9, 253.2),
            ((2000, 2, 9, 2048), 7, 84.6, 331.4),
            ((2000, 8, 17, 2048), 10, 189.1, 710.9),
            ((2000, 4, 65, 2048), 7, 1775.5, 663.2),
            ((2000, 4, 129, 2048), 7, 6408.9, 1097.3),
            ((20_000, 4, 17, 2048), 6, 225.0, 636.4),
        ] {
            let rows = crate::RowDims::uniform(n, d).expect("rows");
            let shape = StructuredShape::new(rows, m, p).expect("a shape");
            let workload = Workload {
                iterations,
                ..Workload::default()
            };
            let price = structured_on_device(&shape, method, 0, &Ceilings::DEVICE, &workload);
            let moved = 16.0 * (shape.arrow().row_unknowns() + m * p) as f64 / UPLOAD;
            for (got, want) in [
                (price.factor_seconds, factor * 1e-6),
                (price.solve_seconds - moved, solve * 1e-6),
            ] {
                assert!(
                    (want / 3.0..want * 3.0).contains(&got),
                    "{n} {d} {m} {p}: {got:e}, {want:e}"
                );
            }
        }
    }

    #[test]
    fn few_rows_are_eliminated_last_and_few_features_through_their_core() {
        let seconds = |rows, features, method| {
            let rows = crate::RowDims::uniform(rows, 1).expect("rows");
            let shape = StructuredShape::new(rows, features, 2048).expect("a shape");
            let workload = Workload::default();
            structured_on_device(&shape, method, 0, &Ceilings::DEVICE, &workload).seconds
        };
        let keep = Keep::Factor;
        let border = StructuredMethod::Border { keep };
        assert!(seconds(2000, 3, StructuredMethod::Core) < seconds(2000, 3, border));
        assert!(seconds(200, 80, StructuredMethod::Core) > seconds(200, 80, border));
    }
}
