//! Prices of the eliminations on processors, term by term as their code goes.
//!
//! Operands that are read once a solve come from memory; a triangular solve with many columns is no
//! product and does not reach its rate; a solve ends with its residual, which is two more products.
//! What all threads do together is priced by [`HostCeilings::together`], and what one does alone by its own
//! rates: with more threads the two move apart.

use super::{Bill, sizes, structured_sizes};
use crate::elimination::{PRECONDITIONER_BLOCK, core_order, kept_directions};
use crate::host::substitution;
use crate::plan::{HostCeilings, Workload};
use crate::{ArrowShape, StructuredShape};

/// Bytes that a solve reads and writes an unknown of the border, apart from its products: the right-hand
/// side, its copies and those of the absolute values, the residual and its measures.
const VECTORS: f64 = 200.0;

/// Order of a diagonal block of the preconditioner of dense systems.
const BLOCK: f64 = PRECONDITIONER_BLOCK as f64;

impl Bill {
    /// The lower triangle of a product.
    fn triangle(mut self, operations: f64, c: &HostCeilings) -> Self {
        self.operations += operations;
        self.seconds += operations / (c.triangle_share * c.together.gemm_flops);
        self
    }

    /// Triangular solves of `order` with `columns` in all. Each task reads the triangle.
    fn many_columns(self, order: f64, columns: f64, c: &HostCeilings) -> Self {
        let mut bill = self
            .gemm(order * order * columns, c)
            .traffic(substitution::tasks(columns) * 4.0 * order * order, c);
        bill.seconds += order * columns * c.substitution;
        bill
    }

    /// Loops that one thread goes through alone.
    fn alone(mut self, operations: f64, c: &HostCeilings) -> Self {
        self.operations += operations;
        self.seconds += operations / c.thread_loop_flops;
        self
    }

    /// A Cholesky factorization of order `n`. Its diagonal blocks of 128 are one thread's, at about
    /// twice the rate of loops.
    fn blocked_factor(self, n: f64, c: &HostCeilings) -> Self {
        self.cholesky(n, c).alone(n * n.min(128.0).powi(2) / 8.0, c)
    }

    /// A product of `M x M` with `M x p`, or of `M x p` with its transposed.
    fn decoder_products(self, count: f64, (m, p): (f64, f64), c: &HostCeilings) -> Self {
        self.gemm(count * 2.0 * m * m * p, c)
            .traffic(count * 16.0 * m * p, c)
            .launches(count, c)
    }

    /// Both triangular solves with $`L_G`$ of `M x p`.
    fn gram_solves(self, count: f64, (m, p): (f64, f64), c: &HostCeilings) -> Self {
        self.many_columns(m, count * 2.0 * p, c)
            .traffic(count * 16.0 * m * p, c)
            .launches(count * 6.0, c)
    }
}

pub(super) fn reference(shape: &ArrowShape, c: &HostCeilings) -> (Bill, Bill) {
    let order = shape.order() as f64;
    (
        Bill::default()
            .traffic(8.0 * order * order, c)
            .blocked_factor(order, c),
        Bill::default().sweeps(order, c),
    )
}

/// New numbers are checked to be finite.
pub(super) fn refresh(shape: &ArrowShape, c: &HostCeilings) -> Bill {
    let (n, k, _) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    Bill::default().traffic(8.0 * (n * (d + k) + k * k / 2.0), c)
}

pub(super) fn rows(shape: &ArrowShape, c: &HostCeilings) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    let factor = Bill::default()
        .loops(blocks, c)
        .traffic(24.0 * n * k, c)
        .gemm(n * d * k, c)
        .triangle(n * k * k, c)
        .traffic(16.0 * k * k, c)
        .blocked_factor(k, c)
        .launches(4.0, c);
    // Y, and B and C for the residual.
    let solve = Bill::default()
        .traffic(16.0 * n * k + 4.0 * k * k, c)
        .loops(8.0 * n * d, c)
        .sweeps(k, c)
        .launches(6.0, c);
    (factor, solve)
}

pub(super) fn dense_border(shape: &ArrowShape, c: &HostCeilings) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape);
    let factor = Bill::default()
        .traffic(16.0 * k * k, c)
        .blocked_factor(k, c)
        .traffic(24.0 * n * k, c)
        .many_columns(k, n, c)
        .triangle(n * n * k, c)
        .traffic(16.0 * n * n, c)
        .blocked_factor(n, c)
        .loops(blocks, c)
        .launches(8.0, c);
    // The pulled B twice, B for the sweep over rows and again with C for the residual.
    let solve = Bill::default()
        .traffic(32.0 * n * k + 4.0 * k * k, c)
        .sweeps(k, c)
        .sweeps(n, c)
        .launches(10.0, c);
    (factor, solve)
}

pub(super) fn dense_iterative(
    shape: &ArrowShape,
    workload: &Workload,
    c: &HostCeilings,
) -> (Bill, Bill) {
    let (n, k, blocks) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    // Strips of B copied and whitened for every block, their product, the block's factor.
    let factor = Bill::default()
        .loops(blocks, c)
        .traffic(24.0 * n * k, c)
        .gemm(n * d * k, c)
        .triangle(n * k * BLOCK, c)
        .loops(k * k.min(BLOCK).powi(2) / 8.0, c)
        .launches(4.0, c);
    // S once an iteration and once for the true residual; B four times around them, C once more.
    let iterations = f64::from(workload.iterations);
    let products = iterations + 1.0;
    let solve = Bill::default()
        .traffic(products * (16.0 * n * k + 4.0 * k * k + 80.0 * k), c)
        .traffic(24.0 * n * k + 4.0 * k * k, c)
        .conjugations(k, iterations, c)
        .launches(products * 4.0 + 6.0, c);
    (factor, solve)
}

impl Bill {
    /// Directions of length `k` made conjugate to those before them: one thread reads two vectors each.
    fn conjugations(mut self, k: f64, iterations: f64, c: &HostCeilings) -> Self {
        let most = kept_directions(k as usize) as f64;
        let ramp = iterations.min(most);
        let pairs = ramp * (ramp + 1.0) / 2.0 + (iterations - ramp) * most;
        self.operations += pairs * 4.0 * k;
        self.seconds += pairs * 16.0 * k / c.thread_bandwidth;
        self
    }
}

/// The sizes that the work on a structured system is priced by.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// $`N`$, rows, the widest row.
    n: f64,
    rows: f64,
    d: f64,
    /// Features that are on in a row, $`M`$, $`p`$, $`r`$.
    on: f64,
    m: f64,
    p: f64,
    r: f64,
    blocks: f64,
}

impl Sizes {
    pub(super) fn of(shape: &StructuredShape, density: f64) -> Self {
        let (n, _, blocks) = sizes(shape.arrow());
        let (on, m, p, r) = structured_sizes(shape, density);
        Self {
            n,
            rows: shape.arrow().row_count() as f64,
            d: shape.arrow().rows().max_dim() as f64,
            on,
            m,
            p,
            r,
            blocks,
        }
    }

    /// New numbers are checked to be finite, those of the decoder one by one.
    pub(super) fn refresh(self, c: &HostCeilings) -> Bill {
        let features = self.n * (self.d + self.on) + self.rows * self.on;
        Bill::default()
            .traffic(8.0 * features, c)
            .loops(self.m * (self.m / 2.0 + self.p), c)
    }

    fn decoder(self) -> (f64, f64) {
        (self.m, self.p)
    }

    /// `count` passes over the rows' features: of `M x M` to the rows' unknowns or back.
    fn passes(self, count: f64, c: &HostCeilings) -> Bill {
        let pass = 2.0 * self.n * self.on + 2.0 * self.rows * self.on * self.on;
        Bill::default().loops(count * pass, c).launches(count, c)
    }

    /// `count` passes back, which end with the sum of up to 16 parts of `M x M`.
    fn pulls(self, count: f64, c: &HostCeilings) -> Bill {
        let parts = (self.rows / 64.0).ceil().clamp(1.0, 16.0);
        self.passes(count, c)
            .traffic(count * parts * 32.0 * self.m * self.m, c)
    }

    /// The residual and its scale: $`H x`$ and $`|H| |x|`$.
    fn measure(self, c: &HostCeilings) -> Bill {
        self.passes(2.0, c)
            .and(self.pulls(2.0, c))
            .decoder_products(6.0, self.decoder(), c)
            .loops(6.0 * self.m * self.m, c)
            .traffic(VECTORS * self.m * self.p, c)
    }

    /// $`R`$ with $`R R' = W W'`$.
    fn root(self, c: &HostCeilings) -> Bill {
        let Self { m, p, .. } = self;
        let operations = match p > m {
            true => 2.0 * m * m * p - 2.0 * m * m * m / 3.0,
            false => 0.0,
        };
        Bill {
            operations,
            seconds: operations / c.qr_flops,
        }
        .traffic(24.0 * m * p, c)
    }

    /// The lines of the decoder that are on together made orthonormal, and their products.
    fn local_decoder(self, c: &HostCeilings) -> Bill {
        let Self { m, p, on, .. } = self;
        Bill::default()
            .alone(8.0 * m * p * on, c)
            .gemm(2.0 * m * m * p, c)
            .traffic(24.0 * m * p, c)
    }
}

pub(super) fn structured_border(sizes: Sizes, c: &HostCeilings) -> (Bill, Bill) {
    let Sizes {
        n,
        rows,
        on,
        m,
        r,
        blocks,
        ..
    } = sizes;
    let factor = sizes
        .root(c)
        .loops(blocks + 2.0 * n * on * r, c)
        .blocked_factor(m, c)
        .many_columns(m, rows, c)
        .triangle(n * n * r + rows * rows * m, c)
        .traffic(24.0 * n * n, c)
        .blocked_factor(n, c)
        .launches(6.0, c);
    // B x twice, the second for the sweep over rows, and B' x once.
    let solve = sizes
        .measure(c)
        .and(sizes.passes(2.0, c))
        .and(sizes.pulls(1.0, c))
        .decoder_products(3.0, sizes.decoder(), c)
        .gram_solves(2.0, sizes.decoder(), c)
        .sweeps(n, c)
        .launches(6.0, c);
    (factor, solve)
}

pub(super) fn core(
    shape: &StructuredShape,
    sizes: Sizes,
    pairs: usize,
    c: &HostCeilings,
) -> (Bill, Bill) {
    let Sizes {
        n,
        rows,
        d,
        on,
        m,
        r,
        blocks,
        ..
    } = sizes;
    let (order, sparse) = core_order(shape, pairs);
    let order = order as f64;
    let common = Bill::default()
        .loops(blocks + n * d * on, c)
        .blocked_factor(m, c)
        .launches(6.0, c);
    let around = sizes
        .measure(c)
        .and(sizes.passes(1.0, c))
        .and(sizes.pulls(1.0, c))
        .loops(8.0 * n * d, c)
        .decoder_products(4.0, sizes.decoder(), c)
        .gram_solves(2.0, sizes.decoder(), c)
        .launches(10.0, c);
    if sparse {
        // A row adds d directions to Q at most.
        let rank = order.min(n);
        // Pairs of one feature of Psi, whose directions are turned together.
        let run = order / m.max(1.0);
        // Q over pairs, its pivoted factor, K of the turned directions, two products with it, and what
        // is between them entry by entry: scaling, the root in the order of the pairs, the kernel.
        let mut factor = common
            .and(sizes.local_decoder(c))
            .loops(n * on * on + rows * on.powi(4) * (d + 1.0), c)
            .alone(12.0 * order * order, c)
            .alone(20.0 * order * run * run, c)
            .gemm(2.0 * order * order * rank + 2.0 * order * run * rank, c)
            .triangle(order * rank * rank + m * order * order, c)
            .many_columns(m, order, c)
            .blocked_factor(rank, c);
        let pivoted = order * rank * rank - 2.0 * rank.powi(3) / 3.0;
        factor.operations += pivoted;
        factor.seconds += pivoted / c.pivoted_flops;
        let solve = around.traffic(16.0 * order * rank, c).sweeps(rank, c);
        return (factor, solve);
    }
    let (phi_pairs, root_pairs) = (m * (m + 1.0) / 2.0, r * (r + 1.0) / 2.0);
    let factor = common
        .and(sizes.root(c))
        .loops(2.0 * n * on * r + n * root_pairs + rows * phi_pairs, c)
        .many_columns(m, rows, c)
        .gemm(2.0 * rows * phi_pairs * root_pairs, c)
        .traffic(16.0 * order * order, c)
        .launches(3.0 * rows / 512.0, c)
        .blocked_factor(order, c);
    // Q twice, and F and F' between.
    let solve = around
        .and(sizes.passes(2.0, c))
        .and(sizes.pulls(2.0, c))
        .gemm(4.0 * m * m * r, c)
        .many_columns(m, 2.0 * r, c)
        .sweeps(order, c);
    (factor, solve)
}

pub(super) fn structured_iterative(
    sizes: Sizes,
    workload: &Workload,
    c: &HostCeilings,
) -> (Bill, Bill) {
    let Sizes {
        n,
        d,
        on,
        m,
        p,
        blocks,
        ..
    } = sizes;
    let factor = Bill::default()
        .loops(blocks + n * d * on, c)
        .blocked_factor(m, c)
        .launches(3.0, c);
    // S once an iteration and once for the true residual: X W', Q, G X and the decoder, with G written
    // out; then the preconditioner and the directions before.
    let iterations = f64::from(workload.iterations);
    let products = iterations + 1.0;
    let solve = sizes
        .measure(c)
        .and(sizes.passes(products + 1.0, c))
        .and(sizes.pulls(products + 1.0, c))
        .decoder_products(3.0 * products + 2.0, sizes.decoder(), c)
        .loops(products * 6.0 * m * m, c)
        .gram_solves(products, sizes.decoder(), c)
        .traffic(products * 80.0 * m * p, c)
        .conjugations(m * p, iterations, c)
        .launches(4.0 * products, c);
    (factor, solve)
}
