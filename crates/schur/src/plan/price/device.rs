//! Prices of the eliminations on a device, which keeps features densely.

use super::{BEGIN, Bill, Price, TRAVEL, UPLOAD, sizes, structured_sizes};
use crate::device::{FUSED, Keep, PIECE, StructuredMethod, is_small_core, pass_chunks};
use crate::plan::{Ceilings, Workload};
use crate::{ArrowShape, EliminationKind, StructuredShape};
use broadhead_device::ExecutionPath;

/// How much more slowly one block of threads reads and writes than all of a device: measured.
const ONE_BLOCK: f64 = 43.0;

/// Seconds in which the host goes through one row for the way to a device: measured, of rows of three
/// features.
const GATHER: f64 = 12e-9;

/// Bytes a second at which features reach a device, scattered into zeros by every thread: measured.
const SCATTER: f64 = 1e10;

/// Serial steps of a pivot of a factor in the shared memory of one block, which waits three times for all
/// threads, once for a root and once for a reciprocal.
const PIVOT: f64 = 8.0;

/// Columns left at which an update by a tile of 64 columns takes as long as the tile's own pivots.
const BARE: f64 = 2000.0;

/// Entries of a line that are read at once, whether it has as many or not.
const WARP: f64 = 32.0;

impl Bill {
    /// A Cholesky factorization of order `n` by tiles. The pivots of a tile take three steps each where no
    /// update of what is left runs beside them for longer: of the last columns.
    fn tiled_factor(self, n: f64, c: &Ceilings) -> Self {
        let mut bill = self.cholesky(n, c);
        bill.seconds += 2.0 * n.min(BARE) * c.serial_step;
        bill
    }

    /// The factor of $`G`$, by one block.
    fn gram(mut self, m: f64, c: &Ceilings) -> Self {
        self.operations += m * m * m / 3.0;
        self.seconds += PIVOT * m * c.serial_step;
        self
    }

    /// `count` lines of `m` features that are read, multiplied by a small matrix and written. Of few, a
    /// warp's lanes or a tile of the library stay empty, which makes of them lines of [`WARP`].
    fn lines(self, count: f64, m: f64, c: &Ceilings) -> Self {
        let bytes = 16.0 * count * m;
        self.slowly(bytes, m.max(WARP) / m.max(1.0), c)
    }

    /// Bytes that travel so many times more slowly than at the device's rate.
    fn slowly(mut self, bytes: f64, times: f64, c: &Ceilings) -> Self {
        self.operations += bytes / 4.0;
        self.seconds += times * bytes / c.bandwidth;
        self
    }
}

/// Rows first on a device, with a frame that keeps `keep`.
pub(in crate::plan) fn on_device(
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
        .tiled_factor(k, ceilings)
        .launches(5.0, ceilings);
    let pass = Bill::default().traffic(16.0 * n * k, ceilings);
    let bills = kept(keep, (factor, pass.launches(2.0, ceilings)), k, ceilings);
    // Of the border the lower triangle travels.
    let operands = 8.0 * (n * d + n * k + k * (k + 1.0) / 2.0);
    let refresh_seconds = 3.0 * BEGIN + operands / UPLOAD;
    resident(
        (EliminationKind::Rows, Some(keep), bytes),
        refresh_seconds,
        bills,
        n + k,
        workload,
    )
}

/// The price of work whose operands stay on the device: a gradient of `order` numbers goes in and a step
/// comes out for every solve.
fn resident(
    (elimination, keep, bytes): (EliminationKind, Option<Keep>, u64),
    refresh_seconds: f64,
    (factor, solve): (Bill, Bill),
    order: f64,
    workload: &Workload,
) -> Price {
    let solves = f64::from(workload.solves);
    let solve_seconds = solve.seconds + BEGIN + 16.0 * order / TRAVEL;
    Price {
        elimination,
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
pub(in crate::plan) fn structured_on_device(
    shape: &StructuredShape,
    method: StructuredMethod,
    bytes: u64,
    ceilings: &Ceilings,
    workload: &Workload,
) -> Price {
    let m = shape.features();
    let (n, k, _) = sizes(shape.arrow());
    let (keep, (factor, solve)) = match method {
        StructuredMethod::Core => (None, core(shape, ceilings)),
        StructuredMethod::Iterative { .. } => {
            (None, iterative_on_device(shape, workload, ceilings))
        }
        StructuredMethod::Border { keep } => (
            Some(keep),
            kept(
                keep,
                structured_border_but_sweeps(shape, ceilings),
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
    let factor = factor.slowly(root, ONE_BLOCK, ceilings);
    let (rows, d) = (shape.arrow().row_count(), shape.arrow().rows().max_dim());
    let operands = 8.0 * (n * d as f64 + (rows as f64 + n + m as f64) * m as f64 + k);
    let refresh_seconds = 5.0 * BEGIN + rows as f64 * GATHER + operands / SCATTER;
    resident(
        (method.kind(), keep, bytes),
        refresh_seconds,
        (factor, solve),
        n + k,
        workload,
    )
}

/// All but the sweeps with the factor of order `N`.
fn structured_border_but_sweeps(shape: &StructuredShape, c: &Ceilings) -> (Bill, Bill) {
    let (n, _, blocks) = sizes(shape.arrow());
    let (_, m, p, r) = structured_sizes(shape, 1.0);
    let rows = shape.arrow().row_count() as f64;
    let factor = Bill::default()
        .loops(blocks + 2.0 * n * m * r, c)
        .gram(m, c)
        .gemm(rows * m * m + 2.0 * p * m * m, c)
        .gemm(n * n * r + rows * rows * m, c)
        .lines(n + rows, m, c)
        .traffic(24.0 * n * n, c)
        .tiled_factor(n, c)
        .launches(6.0, c);
    let solve = products(shape, 2.0, c)
        .and(passes(shape, 1.0, c))
        .gemm(4.0 * m * m * p, c)
        .launches(6.0, c);
    (factor, solve)
}

/// The sums of a small core over the rows, `numbers` of them, which a round's 32 rows are added to one
/// after another; the blocks' parts added by one; and its factor, a pivot after the other.
fn small_core(shape: &StructuredShape, numbers: f64, order: f64, c: &Ceilings) -> Bill {
    let (chunks, per_chunk) = pass_chunks(shape.arrow().row_count());
    let rounds = (per_chunk / 32) as f64;
    let mut bill = Bill::default().slowly(8.0 * numbers * chunks as f64, ONE_BLOCK, c);
    let steps = rounds * 32.0 * (numbers / 256.0).ceil() + PIVOT * order;
    bill.seconds += steps * c.serial_step;
    bill
}

/// `count` passes over the rows by fused kernels: blocks of threads that take 32 rows at a time and add
/// them one after another to their part of $`M^2`$ numbers, and the last of them that adds the parts.
fn passes(shape: &StructuredShape, count: f64, c: &Ceilings) -> Bill {
    let m = shape.features() as f64;
    let (chunks, per_chunk) = pass_chunks(shape.arrow().row_count());
    let rounds = (per_chunk / 32) as f64;
    let steps = 32.0 * (m * m / 256.0).ceil() + m * (32.0 * m / 256.0).ceil();
    let mut bill = Bill::default().slowly(count * 8.0 * m * m * chunks as f64, ONE_BLOCK, c);
    bill.seconds += count * rounds * steps * c.serial_step;
    bill
}

/// `count` applications of the rows' operators and of $`W`$ on both sides.
fn products(shape: &StructuredShape, count: f64, c: &Ceilings) -> Bill {
    let (n, _, _) = sizes(shape.arrow());
    let (_, m, p, _) = structured_sizes(shape, 1.0);
    let rows = shape.arrow().row_count() as f64;
    Bill::default()
        .loops(count * (4.0 * n * m + 4.0 * rows * m * m), c)
        .gemm(count * 4.0 * m * m * p, c)
        .traffic(count * 24.0 * m * p, c)
        .launches(4.0 * count, c)
}

fn core(shape: &StructuredShape, c: &Ceilings) -> (Bill, Bill) {
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
        true => (n, 2.0, small_core(shape, phi_pairs * root_pairs, order, c)),
        false => (
            2.0 * n + rows,
            5.0 + 2.0 * (rows / PIECE as f64).ceil(),
            Bill::default().tiled_factor(order, c),
        ),
    };
    let factor = own
        .loops(blocks + n * d * m, c)
        .gram(m, c)
        .gemm(2.0 * p * m * m, c)
        .lines(whitened, m, c)
        .loops(2.0 * n * m * r + n * root_pairs + rows * phi_pairs, c)
        .gemm(rows * m * m, c)
        .gemm(2.0 * rows * phi_pairs * root_pairs, c)
        .traffic(16.0 * order * order, c)
        .launches(3.0 + launches, c);
    let solve = products(shape, 2.5, c)
        .and(passes(shape, 4.0, c))
        .gemm(6.0 * m * m * p, c)
        .sweeps(order, c)
        .launches(10.0, c);
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
    // Lines of features are multiplied by L_i, by L_G and by R in turn.
    let factor = Bill::default()
        .loops(blocks + n * d * m, c)
        .gram(m, c)
        .gemm(rows * m * m + 2.0 * n * m * r + 2.0 * m * m * p, c)
        .lines(2.0 * n + rows, m, c)
        .launches(7.0, c);
    let iterations = f64::from(workload.iterations);
    // An iteration reads the rows' features twice, and the directions before it; one block of threads
    // takes the turn, of eight vectors.
    let fused = match shape.features() <= FUSED {
        true => passes(shape, iterations + 4.0, c),
        false => Bill::default(),
    };
    let solve = products(shape, 2.5, c)
        .and(fused)
        .gemm(6.0 * m * m * p, c)
        .gemm(iterations * 4.0 * rows * m * m, c)
        .traffic(
            iterations * (16.0 * m * (rows + n) + (16.0 + 8.0 * iterations) * m * m),
            c,
        )
        .slowly(iterations * 64.0 * m * m, ONE_BLOCK, c)
        .launches(9.0 + 6.0 * iterations, c);
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
    fn iterations_cost_their_number() {
        let rows = crate::RowDims::uniform(2000, 2).expect("rows");
        let shape = StructuredShape::new(rows, 65, 2048).expect("a shape");
        let method = StructuredMethod::Iterative {
            options: crate::IterativeOptions::default(),
        };
        let solve = |iterations| {
            let workload = Workload {
                iterations,
                ..Workload::default()
            };
            structured_on_device(&shape, method, 0, &Ceilings::DEVICE, &workload).solve_seconds
        };
        let first = solve(10) - solve(0);
        assert!(first > 0.0);
        assert!(solve(20) - solve(10) >= first);
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
