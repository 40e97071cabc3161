//! The layout of one shape on the device: orders, paddings, grids, bytes.
//!
//! ```text
//!   border matrices   order x order, column-major; order = leaf 2^m >= k is a multiple of 16,
//!                     rows and columns past k are the identity
//!   Y                 N x order, row-major, zero past k
//!   B                 N x k, row-major
//!   D, L              packed, d_i x d_i row-major
//! ```
//! Everything depends on the shape alone, grids and chunks too: so do the orders of all sums.

use crate::device::Keep;
use crate::device::kernels::FEW_THREADS;
use crate::device::record::{DenseRecord, RowRecord};
use crate::device::residual::{DenseTerms, DeviceResidual};
use crate::elimination::rows_first;
use crate::{ArrowShape, Error};
use broadhead_device::{DeviceError, LARGEST_LEAF, Refusal};

/// The widest row block that the fused kernels hold in registers.
pub const WIDEST_ROW: usize = 32;
/// The widest row block that a device serves.
pub const WIDEST_BLOCK: usize = 128;

/// The largest border: the places of a border matrix, of the padded order squared, are then as many as
/// 32 bits count, which is what the library's Cholesky factorization is made for.
const LARGEST_BORDER: usize = 45_056;

/// Blocks of threads that a pass over Y is cut into: four on each of 132 multiprocessors.
const PASS_BLOCKS: usize = 528;
/// Columns of a strip of the pull.
pub(crate) const STRIP: usize = 128;
/// Most unknowns of a tile of the pull.
pub(crate) const PULL_UNKNOWNS: usize = 256;
/// Most unknowns of a block of threads of the push.
pub(crate) const PUSH_UNKNOWNS: usize = 128;
/// Rows of B that a block of threads of a product takes at once.
pub(crate) const PRODUCT_ROWS: usize = 64;
/// Threads of a block of the kernel for rows of two unknowns.
pub(crate) const PAIR_THREADS: usize = 256;
/// Those of the other kernels that factor rows.
const ROW_THREADS: usize = FEW_THREADS as usize;
/// Most blocks of threads of the row factorization; their records are combined by one. Measured: a
/// block that goes round several times hides the latency of its loads, and few records end sooner.
const RECORDS: usize = 704;
/// The same of the kernels for packed rows, which have more bytes in flight a block.
const PACKED_RECORDS: usize = 792;

/// How the row blocks are factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowLaunch {
    /// By the kernel for rows that all have 2, 4, 8 or 16 unknowns.
    pub(crate) packed: bool,
    pub(crate) threads: usize,
    /// Dynamic shared bytes of a block of threads.
    pub(crate) shared: u32,
}

impl RowLaunch {
    /// The launch, and how many blocks of threads it has at most, for `rows` rows.
    fn new(uniform: i32, width: usize, rows: usize) -> (Self, usize) {
        // Rows that a warp takes at once, and numbers that it stages for each.
        let (threads, at_once, staged, most) = match uniform {
            2 => (PAIR_THREADS, 32, 0, PACKED_RECORDS),
            4 => (ROW_THREADS, 32, 4 * 4 + 2, PACKED_RECORDS),
            8 => (ROW_THREADS, 32, 8 * 8 + 2, PACKED_RECORDS / 2),
            16 => (ROW_THREADS, 8, 16 * 16 + 4, PACKED_RECORDS),
            _ => (ROW_THREADS, 32 / lanes(width), 0, RECORDS),
        };
        let warps = threads / 32;
        let launch = Self {
            packed: matches!(uniform, 2 | 4 | 8 | 16),
            threads,
            shared: (8 * warps * at_once * staged) as u32,
        };
        (launch, rows.div_ceil(warps * at_once).clamp(1, most))
    }
}

/// Device bytes by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct DeviceBytes {
    /// Operands: row blocks, cross blocks, border, their diagonals, and partial sums of products with
    /// them.
    pub(crate) operands: u64,
    /// Factors: row factors, whitened cross blocks, the border's factor and what is kept beside it.
    pub(crate) factors: u64,
    /// Vectors of a solve and small records.
    pub(crate) vectors: u64,
}

impl DeviceBytes {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.operands
            .saturating_add(self.factors)
            .saturating_add(self.vectors)
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) unknowns: usize,
    pub(crate) blocks: usize,
    pub(crate) k: usize,
    /// The common width of the rows, or -1.
    pub(crate) uniform: i32,
    pub(crate) widest: usize,
    /// The power of two that the row kernels are made for.
    pub(crate) width: usize,
    pub(crate) leaf: usize,
    pub(crate) order: usize,
    pub(crate) row_launch: RowLaunch,
    pub(crate) records: usize,
    pub(crate) strips: usize,
    pub(crate) chunks: usize,
    pub(crate) rows_per_chunk: usize,
    pub(crate) rows_per_tile: usize,
    pub(crate) rows_per_push: usize,
    /// Chunks of unknowns of a product, and the unknowns of each.
    pub(crate) product_chunks: usize,
    pub(crate) product_per_chunk: usize,
}

impl Layout {
    /// # Errors
    /// [`Error::Unsupported`] for rows wider than [`WIDEST_BLOCK`]; a [`Refusal`] where a dimension
    /// is past the 32 bits of the libraries.
    pub(crate) fn new(shape: &ArrowShape) -> Result<Self, Error> {
        let (rows, k, widest) = (shape.row_count(), shape.border(), shape.rows().max_dim());
        if widest > WIDEST_BLOCK {
            return Err(Error::Unsupported {
                elimination: rows_first::KIND,
                system: "dense",
                why: "on the device rows have at most 128 unknowns",
            });
        }
        let within = |what: &str, n: usize, most: usize| match n <= most {
            true => Ok(()),
            false => Err(Error::Device(DeviceError::Refusal(Refusal::Shape {
                what: what.to_owned(),
                expected: format!("at most {most}"),
                found: n.to_string(),
            }))),
        };
        within("border", k, LARGEST_BORDER)?;
        within("row unknowns", shape.row_unknowns(), i32::MAX as usize)?;
        let (leaf, order) = padded_order(k);
        let width = widest.max(1).next_power_of_two();
        let strips = k.div_ceil(STRIP).max(1);
        // At least eight unknowns a chunk, so that partial sums stay few.
        let least = 8usize.div_ceil(widest.max(1));
        let chunks = (PASS_BLOCKS / strips).clamp(1, rows.div_ceil(least).max(1));
        let rows_per_chunk = rows.div_ceil(chunks).max(1);
        let uniform = shape.rows().uniform_dim().map_or(-1, |d| d as i32);
        let (row_launch, records) = RowLaunch::new(uniform, width, rows);
        let unknowns = shape.row_unknowns();
        let product_per_chunk = unknowns
            .div_ceil((PASS_BLOCKS / strips).max(1))
            .next_multiple_of(PRODUCT_ROWS)
            .max(PRODUCT_ROWS);
        Ok(Self {
            rows,
            unknowns,
            blocks: shape.rows().block_len(),
            k,
            uniform,
            widest,
            width,
            leaf,
            order,
            row_launch,
            records,
            strips,
            chunks: rows.div_ceil(rows_per_chunk).max(1),
            rows_per_chunk,
            rows_per_tile: PULL_UNKNOWNS / width,
            rows_per_push: (4 / width).max(1),
            product_chunks: unknowns.div_ceil(product_per_chunk).max(1),
            product_per_chunk,
        })
    }

    /// The padded length of a vector of the border.
    pub(crate) fn border_len(&self) -> usize {
        self.order.max(self.strips * STRIP)
    }

    /// Elements of a border matrix.
    pub(crate) fn square(&self) -> usize {
        self.order * self.order
    }

    /// Elements of the partial sums of a product: of its rows, of its pull, of its border.
    pub(crate) fn product_partials(&self) -> [usize; 3] {
        let tiles = self.order.div_ceil(TILE);
        [
            2 * self.strips * self.unknowns,
            2 * self.product_chunks * self.strips * STRIP,
            2 * tiles * tiles * TILE,
        ]
    }

    pub(crate) fn bytes(&self, keep: Keep) -> DeviceBytes {
        let of = |elements: usize| 8 * elements as u64;
        let index = match self.uniform {
            -1 => 16 * (self.rows as u64 + 1),
            _ => 0,
        };
        let square = of(self.square());
        let inverse = match keep {
            Keep::Factor => 0,
            Keep::InverseFactor => square,
        };
        let wide = match self.widest > WIDEST_ROW {
            true => crate::elimination::rows_first::device::rows::WideRows::bytes(self),
            false => 0,
        };
        DeviceBytes {
            operands: of(self.blocks)
                + of(self.unknowns * self.k)
                + square
                + of(self.product_partials().iter().sum::<usize>() + self.unknowns + self.k)
                + DeviceResidual::bytes([self.unknowns, self.border_len()])
                + DenseTerms::bytes(self),
            factors: of(self.blocks)
                + of(self.unknowns)
                + of(self.unknowns * self.order)
                + square
                + inverse
                + self.tiles_bytes()
                + wide,
            vectors: index
                + (self.records * size_of::<RowRecord>() + size_of::<DenseRecord>()) as u64
                + of(1)
                + of(3 * self.unknowns + (4 + self.chunks) * self.border_len())
                + 4 * (self.strips as u64 + 2),
        }
    }
}

impl Layout {
    /// Bytes that factoring by tiles keeps: held wherever the order is one of whole tiles.
    pub(crate) fn tiles_bytes(&self) -> u64 {
        match self.whole_tiles() {
            true => 8 * (self.order * TILE) as u64 + 4 * control_len(self.order) as u64,
            false => 0,
        }
    }

    /// Whether the padded order is one of whole tiles.
    pub(crate) fn whole_tiles(&self) -> bool {
        self.k > 0 && self.order.is_multiple_of(TILE)
    }
}

/// Order of a tile of the border's factorization by tiles.
pub(crate) const TILE: usize = 64;

/// Numbers of its control: ticket, ends, and two counts a row of tiles.
pub(crate) fn control_len(order: usize) -> usize {
    2 + 2 * (order / TILE)
}

/// Lanes that factor one row block, as rows.cu has them.
fn lanes(width: usize) -> usize {
    match width {
        1 => 1,
        2 | 4 => 2,
        8 | 16 => 4,
        _ => 32,
    }
}

/// The tile and the order of a border of `k`: `order = leaf 2^m`, a multiple of 16.
fn padded_order(k: usize) -> (usize, usize) {
    let mut doublings = 0;
    while k > LARGEST_LEAF << doublings {
        doublings += 1;
    }
    let tiles = 1 << doublings;
    let multiple = (16 / tiles).max(4);
    let leaf = k.div_ceil(tiles).max(1).next_multiple_of(multiple);
    (leaf, leaf * tiles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_order_is_a_doubled_tile_and_little_larger() {
        for k in 0..6000 {
            let (leaf, order) = padded_order(k);
            assert!(leaf <= LARGEST_LEAF && order >= k && order % 16 == 0, "{k}");
            assert!((order / leaf).is_power_of_two());
            assert!(order <= k + k / 8 + 16, "{k} became {order}");
        }
        // The next larger border is padded past what 32 bits count.
        let places = |k| padded_order(k).1.pow(2) as u64;
        assert!(places(LARGEST_BORDER) <= i32::MAX as u64);
        assert!(places(LARGEST_BORDER + 1) > i32::MAX as u64);
        assert_eq!(padded_order(5120), (40, 5120));
        assert_eq!(padded_order(2048), (64, 2048));
    }

    #[test]
    fn chunks_cover_the_rows_and_tiles_fit_their_memory() {
        for (n, d, k) in [
            (180, 2, 5120),
            (100_000, 2, 2000),
            (1, 32, 1),
            (0, 1, 5),
            (7, 0, 3),
        ] {
            let shape = ArrowShape::uniform(n, d, k).unwrap();
            let layout = Layout::new(&shape).unwrap();
            assert!(layout.chunks * layout.rows_per_chunk >= n);
            assert!(
                layout.rows_per_tile * d <= PULL_UNKNOWNS && layout.rows_per_tile <= PULL_UNKNOWNS
            );
            assert!(layout.rows_per_push * d <= PUSH_UNKNOWNS);
        }
        let large = Layout::new(&ArrowShape::uniform(2, 1, LARGEST_BORDER + 1).unwrap());
        let named = matches!(
            large,
            Err(Error::Device(DeviceError::Refusal(Refusal::Shape { found, .. })))
                if found == "45057"
        );
        assert!(named);
        let wide = ArrowShape::uniform(2, 129, 4).unwrap();
        assert!(matches!(Layout::new(&wide), Err(Error::Unsupported { .. })));
    }
}
