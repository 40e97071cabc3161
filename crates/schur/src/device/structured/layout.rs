//! The layout of one structured shape on the device.

use super::residual::StructuredTerms;
use crate::device::layout::{DeviceBytes, Layout, WIDEST_ROW};
use crate::device::record::{RowRecord, StructuredRecord};
use crate::device::residual::DeviceResidual;
use crate::elimination::conjugate_gradients;
use crate::{ArrowShape, EliminationKind, Error, StructuredShape};
use broadhead_device::{DeviceError, Refusal};

/// The most features of the core and of border first, whose kernels hold squares of them in a block's
/// memory.
pub const MOST_FEATURES: usize = 96;

/// The most features of conjugate gradients, which hold the triangle of `G` alone there.
pub const MOST_FEATURES_ITERATIVE: usize = 200;

/// Blocks of threads that a pass over rows or columns is cut into: two on each of 132
/// multiprocessors.
const PASS_BLOCKS: usize = 264;
/// Rows, and columns, that a block of threads takes at once; lines and columns of a tile of a residual's
/// sums.
pub(crate) const TILE: usize = 32;
/// Rows whose pairs a large core forms at once.
pub(crate) const PIECE: usize = 4096;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// That of the rows, with the features in place of a border.
    pub(crate) rows: Layout,
    /// $`M`$, and 1 where there is none: of no effect on any row.
    pub(crate) features: usize,
    /// $`p`$, and 1 where there is none: with a decoder of zeros.
    pub(crate) outputs: usize,
    /// How often the factor of `G` stands in that of the border, $`p`$; 0 without features.
    pub(crate) copies: usize,
    /// Whether there are features.
    pub(crate) has_features: bool,
    /// Numbers of the border that are the caller's, $`M p`$.
    pub(crate) unknowns: usize,
    /// $`r = \min(M, p)`$.
    pub(crate) rank: usize,
    pub(crate) chunks: usize,
    pub(crate) per_chunk: usize,
    /// Blocks of a pass over the border.
    pub(crate) columns: usize,
}

/// How many blocks of threads a pass over `rows` has, and the rows of each.
pub(crate) fn pass_chunks(rows: usize) -> (usize, usize) {
    tile_chunks(rows, 1)
}

/// How many chunks a pass over `lines` has of which each makes `tiles` blocks of threads, and the lines of
/// each.
pub(crate) fn tile_chunks(lines: usize, tiles: usize) -> (usize, usize) {
    let most = (PASS_BLOCKS / tiles).max(1);
    let per_chunk = lines.div_ceil(most).next_multiple_of(TILE).max(TILE);
    (lines.div_ceil(per_chunk).max(1), per_chunk)
}

impl Sizes {
    /// # Errors
    /// [`Error::Unsupported`] for more than [`MOST_FEATURES`] features, of conjugate gradients
    /// [`MOST_FEATURES_ITERATIVE`], or rows wider than [`WIDEST_ROW`]; a [`Refusal`] where a dimension is past 32 bits.
    pub(crate) fn new(
        shape: &StructuredShape,
        elimination: EliminationKind,
    ) -> Result<Self, Error> {
        let (m, p) = (shape.features(), shape.outputs());
        let refuse = |why| {
            Err(Error::Unsupported {
                elimination,
                system: "structured",
                why,
            })
        };
        let (most, why) = match elimination == conjugate_gradients::KIND {
            true => (
                MOST_FEATURES_ITERATIVE,
                "on the device there are at most 200 features",
            ),
            false => (MOST_FEATURES, "on the device there are at most 96 features"),
        };
        if m > most {
            return refuse(why);
        }
        let dims = shape.arrow().rows();
        if dims.max_dim() > WIDEST_ROW {
            return refuse("on the device rows have at most 32 unknowns");
        }
        // The kernels count the features' numbers, and a stride past them, in 32 bits.
        let most = i32::MAX as usize - (1 << 20);
        if m.max(1).checked_mul(p).is_none_or(|numbers| numbers > most) {
            let what = "features times outputs".to_owned();
            return Err(Error::Device(DeviceError::Refusal(Refusal::Shape {
                what,
                expected: format!("at most {most}"),
                found: format!("{m} times {p}"),
            })));
        }
        let (unknowns, copies) = (m * p, if m == 0 { 0 } else { p });
        let has_features = m > 0;
        let (m, p) = (m.max(1), p.max(1));
        let rank = m.min(p);
        let n = dims.rows();
        let (chunks, per_chunk) = pass_chunks(n);
        Ok(Self {
            rows: Layout::new(&ArrowShape::new(dims.clone(), m)?)?,
            features: m,
            outputs: p,
            copies,
            has_features,
            unknowns,
            rank,
            chunks,
            per_chunk,
            columns: p.div_ceil(TILE).min(PASS_BLOCKS),
        })
    }

    /// Numbers of a border's vector.
    pub(crate) fn border(&self) -> usize {
        self.features * self.outputs
    }

    pub(crate) fn core_order(&self) -> usize {
        self.features * self.rank
    }

    pub(crate) fn feature_pairs(&self) -> usize {
        self.features * (self.features + 1) / 2
    }

    pub(crate) fn rank_pairs(&self) -> usize {
        self.rank * (self.rank + 1) / 2
    }

    /// Rows whose pairs are formed at once.
    pub(crate) fn piece(&self) -> usize {
        self.rows.rows.min(PIECE)
    }

    /// Numbers of the partial sums of a pass that sums `products` numbers over the rows, or of any
    /// pass that all eliminations make.
    pub(crate) fn partials(&self, products: usize) -> usize {
        let square = self.features * self.features;
        (self.chunks * square.max(products)).max(self.columns * square)
    }

    /// Bytes of the operands, of what measures steps over them, and of what every elimination keeps:
    /// [`super::factors::StructuredFactors`] with `whitened` numbers of whitened features and partial sums
    /// of `products`, and a linearisation's two vectors.
    pub(crate) fn bytes(&self, whitened: usize, products: usize) -> DeviceBytes {
        let of = |elements: usize| 8 * elements as u64;
        let (n, unknowns, m) = (self.rows.rows, self.rows.unknowns, self.features);
        let index = match self.rows.uniform {
            -1 => 16 * (n as u64 + 1),
            _ => 0,
        };
        DeviceBytes {
            operands: of(self.rows.blocks + n * m + unknowns * m + m * m + self.border())
                + DeviceResidual::bytes([unknowns, self.border()])
                + StructuredTerms::bytes(self),
            factors: of(self.rows.blocks + unknowns + whitened)
                + of(m * m + m * self.rank + self.border()),
            vectors: index
                + (self.rows.records * size_of::<RowRecord>()) as u64
                + size_of::<StructuredRecord>() as u64
                + of(self.partials(products))
                + of(2 * unknowns + 2 * self.border())
                + 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowDims;

    #[test]
    fn shapes_past_the_kernels_limits_are_refused() {
        let of = |n, d, m, p| {
            let rows = RowDims::uniform(n, d).unwrap();
            let shape = StructuredShape::new(rows, m, p).unwrap();
            Sizes::new(&shape, EliminationKind::Core)
        };
        for (d, m, p) in [(1, 97, 3), (33, 3, 3)] {
            let refused = matches!(of(5, d, m, p), Err(Error::Unsupported { .. }));
            assert!(refused, "{d} {m} {p}");
        }
        let circle = of(2000, 1, 3, 2048).unwrap();
        assert_eq!(
            (circle.core_order(), circle.chunks, circle.columns),
            (9, 63, 64)
        );
        let empty = of(0, 1, 0, 9).unwrap();
        assert_eq!(
            (empty.unknowns, empty.copies, empty.border(), empty.chunks),
            (0, 0, 9, 1)
        );
    }
}
