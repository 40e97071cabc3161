//! What the eliminations' counts of work on a device share. It keeps features densely, and the operands of
//! every elimination: a gradient goes in and a step comes out for every solve.

use super::{Keep, pass_chunks};
use crate::work::{Counts, Unit, Work, sizes, structured_sizes};
use crate::{ArrowShape, StructuredShape};

/// Serial steps of a pivot of a factor in the shared memory of one block, which waits three times for all
/// threads, once for a root and once for a reciprocal.
pub(crate) const PIVOT: f64 = 8.0;

/// Columns left at which an update by a tile of 64 columns takes as long as the tile's own pivots.
const BARE: f64 = 2000.0;

/// Entries of a line that are read at once, whether it has as many or not.
const WARP: f64 = 32.0;

impl Work {
    /// A Cholesky factorization of order `n` by tiles. The pivots of a tile take three steps each where no
    /// update of what is left runs beside them for longer: of the last columns.
    pub(crate) fn tiled_factor(self, n: f64) -> Self {
        self.cholesky(n).more(Unit::Step, 2.0 * n.min(BARE))
    }

    /// The factor of $`G`$, by one block.
    pub(crate) fn gram(self, m: f64) -> Self {
        self.more(Unit::Hidden, m * m * m / 3.0)
            .more(Unit::Step, PIVOT * m)
    }

    /// `count` lines of `m` features that are read, multiplied by a small matrix and written. Of few, a
    /// warp's lanes or a tile of the library stay empty, which makes of them lines of [`WARP`].
    pub(crate) fn lines(self, count: f64, m: f64) -> Self {
        let empty = m.max(WARP) / m.max(1.0) - 1.0;
        let bytes = 16.0 * count * m;
        self.traffic(bytes).more(Unit::Idle, empty * bytes)
    }

    /// Bytes that one block of threads reads and writes.
    pub(crate) fn by_one_block(self, bytes: f64) -> Self {
        self.more(Unit::BlockByte, bytes)
    }

    /// A gradient of `order` numbers in, and a step out.
    fn way(self, order: f64) -> Self {
        self.more(Unit::Begin, 1.0)
            .more(Unit::Carried, 16.0 * order)
    }
}

/// Rows first's work of a dense system with that of its operands' way; `factor` and `solve` are the rest.
pub(crate) fn dense(shape: &ArrowShape, (factor, solve): (Work, Work)) -> Counts {
    let (n, k, _) = sizes(shape);
    let d = shape.rows().max_dim() as f64;
    // Of the border the lower triangle travels.
    let operands = 8.0 * (n * d + n * k + k * (k + 1.0) / 2.0);
    Counts {
        refresh: Work::default()
            .more(Unit::Begin, 3.0)
            .more(Unit::Sent, operands),
        factor,
        solve: solve.way(n + k),
    }
}

/// The same of a structured system, with the decoder's root.
pub(crate) fn structured(shape: &StructuredShape, (factor, solve): (Work, Work)) -> Counts {
    let m = shape.features();
    let (n, k, _) = sizes(shape.arrow());
    // One block of threads makes the decoder's root: for every line it goes through those that are left.
    let root = match shape.outputs() > m {
        true => 12.0 * m as f64 * k,
        false => 0.0,
    };
    let (rows, d) = (shape.arrow().row_count(), shape.arrow().rows().max_dim());
    let operands = 8.0 * (n * d as f64 + (rows as f64 + n + m as f64) * m as f64 + k);
    Counts {
        refresh: Work::default()
            .more(Unit::Begin, 5.0)
            .more(Unit::Gathered, rows as f64)
            .more(Unit::Scattered, operands),
        factor: factor.by_one_block(root),
        solve: solve.way(n + k),
    }
}

/// What a frame of a factor of order `n` keeps is made, and solved with, beside the rest of both.
pub(crate) fn kept(keep: Keep, (factor, solve): (Work, Work), n: f64) -> (Work, Work) {
    match keep {
        Keep::Factor => (factor, solve.triangular_solves(n).launches(3.0)),
        // Half the rate of a large product: the joins begin small.
        Keep::InverseFactor => (
            factor
                .gemm(2.0 * n * n * n / 3.0)
                .launches(3.0 * n.max(2.0).log2()),
            solve.traffic(8.0 * n * n).launches(2.0),
        ),
    }
}

/// `count` passes over the rows by fused kernels: blocks of threads that take 32 rows at a time and add
/// them one after another to their part of $`M^2`$ numbers, and the last of them that adds the parts.
pub(crate) fn passes(shape: &StructuredShape, count: f64) -> Work {
    let m = shape.features() as f64;
    let (chunks, per_chunk) = pass_chunks(shape.arrow().row_count());
    let rounds = (per_chunk / 32) as f64;
    let steps = 32.0 * (m * m / 256.0).ceil() + m * (32.0 * m / 256.0).ceil();
    Work::default()
        .by_one_block(count * 8.0 * m * m * chunks as f64)
        .more(Unit::Step, count * rounds * steps)
}

/// `count` applications of the rows' operators and of $`W`$ on both sides.
pub(crate) fn products(shape: &StructuredShape, count: f64) -> Work {
    let (n, _, _) = sizes(shape.arrow());
    let (_, m, p, _) = structured_sizes(shape, 1.0);
    let rows = shape.arrow().row_count() as f64;
    Work::default()
        .loops(count * (4.0 * n * m + 4.0 * rows * m * m))
        .gemm(count * 4.0 * m * m * p)
        .traffic(count * 24.0 * m * p)
        .launches(4.0 * count)
}
