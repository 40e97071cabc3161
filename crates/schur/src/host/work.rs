//! What the eliminations' counts of work on the CPU share, term by term as the code goes.
//!
//! Operands that are read once a solve come from memory; a triangular solve with many columns is no
//! product and does not reach its rate; a solve ends with its residual, which is two more products.
//! What all threads do together is counted apart from what one does alone: with more threads their rates
//! move apart.

use super::trsm;
use crate::work::{Unit, Work, sizes, structured_sizes};
use crate::{ArrowShape, StructuredShape};

/// Bytes that a solve reads and writes an unknown of the border, apart from its products: the right-hand
/// side, its copies and those of the absolute values, the residual and its measures.
const VECTORS: f64 = 200.0;

impl Work {
    /// The lower triangle of a product.
    pub(crate) fn triangle(self, operations: f64) -> Self {
        self.more(Unit::Triangle, operations)
    }

    /// Triangular solves of `order` with `columns` in all. Each task reads the triangle.
    pub(crate) fn many_columns(self, order: f64, columns: f64) -> Self {
        self.gemm(order * order * columns)
            .traffic(trsm::tasks(columns) * 4.0 * order * order)
            .more(Unit::Substituted, order * columns)
    }

    /// Loops that one thread goes through alone.
    pub(crate) fn alone(self, operations: f64) -> Self {
        self.more(Unit::LoneLoop, operations)
    }

    /// A Cholesky factorization of order `n`. Its diagonal blocks of 128 are one thread's, at about
    /// twice the rate of loops.
    pub(crate) fn blocked_factor(self, n: f64) -> Self {
        self.cholesky(n).alone(n * n.min(128.0).powi(2) / 8.0)
    }

    /// A product of `M x M` with `M x p`, or of `M x p` with its transposed.
    pub(crate) fn decoder_products(self, count: f64, (m, p): (f64, f64)) -> Self {
        self.gemm(count * 2.0 * m * m * p)
            .traffic(count * 16.0 * m * p)
            .launches(count)
    }

    /// Both triangular solves with $`L_G`$ of `M x p`.
    pub(crate) fn gram_solves(self, count: f64, (m, p): (f64, f64)) -> Self {
        self.many_columns(m, count * 2.0 * p)
            .traffic(count * 16.0 * m * p)
            .launches(count * 6.0)
    }
}

/// New numbers of dense systems are checked to be finite.
pub(crate) fn refresh(shape: &ArrowShape) -> Work {
    let (n, k, _) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    Work::default().traffic(8.0 * (n * (d + k) + k * k / 2.0))
}

/// The sizes by which the work on a structured system is counted.
#[derive(Clone, Copy)]
pub(crate) struct StructuredSizes {
    /// $`N`$, rows, the widest row.
    pub(crate) n: f64,
    pub(crate) rows: f64,
    pub(crate) d: f64,
    /// Features that are on in a row, $`M`$, $`p`$, $`r`$.
    pub(crate) on: f64,
    pub(crate) m: f64,
    pub(crate) p: f64,
    pub(crate) r: f64,
    /// Operations of all row blocks.
    pub(crate) blocks: f64,
}

impl StructuredSizes {
    pub(crate) fn of(shape: &StructuredShape, density: f64) -> Self {
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
    pub(crate) fn refresh(self) -> Work {
        let features = self.n * (self.d + self.on) + self.rows * self.on;
        Work::default()
            .traffic(8.0 * features)
            .loops(self.m * (self.m / 2.0 + self.p))
    }

    pub(crate) fn decoder(self) -> (f64, f64) {
        (self.m, self.p)
    }

    /// `count` passes over the rows' features: of `M x M` to the rows' unknowns or back.
    pub(crate) fn passes(self, count: f64) -> Work {
        let pass = 2.0 * self.n * self.on + 2.0 * self.rows * self.on * self.on;
        Work::default().loops(count * pass).launches(count)
    }

    /// `count` passes back, which end with the sum of up to 16 parts of `M x M`.
    pub(crate) fn pulls(self, count: f64) -> Work {
        let parts = (self.rows / 64.0).ceil().clamp(1.0, 16.0);
        self.passes(count)
            .traffic(count * parts * 32.0 * self.m * self.m)
    }

    /// The residual and its scale: $`H x`$ and $`|H| |x|`$.
    pub(crate) fn measure(self) -> Work {
        self.passes(2.0)
            .and(self.pulls(2.0))
            .decoder_products(6.0, self.decoder())
            .loops(6.0 * self.m * self.m)
            .traffic(VECTORS * self.m * self.p)
    }

    /// $`R`$ with $`R R' = W W'`$.
    pub(crate) fn root(self) -> Work {
        let Self { m, p, .. } = self;
        let operations = match p > m {
            true => 2.0 * m * m * p - 2.0 * m * m * m / 3.0,
            false => 0.0,
        };
        Work::default()
            .more(Unit::Qr, operations)
            .traffic(24.0 * m * p)
    }
}
