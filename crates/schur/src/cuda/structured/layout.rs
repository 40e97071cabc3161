//! The layout of one structured shape on the device.

use super::Error;
use crate::cuda::DeviceBytes;
use crate::cuda::layout::{Layout, WIDEST_ROW};
use crate::{ArrowShape, EliminationKind, RowDims, StructuredShape};
use broadhead_device::{DeviceError, Refusal};

/// The most features that the device's kernels hold in a block's memory.
pub const MOST_FEATURES: usize = 96;

/// Blocks of threads that a pass over rows or columns is cut into: two on each of 132
/// multiprocessors.
const PASS_BLOCKS: usize = 264;
/// Rows, and columns, that a block of threads takes at once.
const TILE: usize = 32;
/// Rows whose pairs a large core forms at once.
const PIECE: usize = 4096;

/// How the core is formed and factored.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// In three fused kernels: at most 9 features and 4 unknowns a row.
    Small,
    /// By the libraries, as a border of order `M r`.
    Large(Box<Layout>),
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// That of the rows, with the features in place of a border.
    pub(super) rows: Layout,
    /// $`M`$, and 1 where there is none: of no effect on any row.
    pub(super) features: usize,
    /// $`p`$, and 1 where there is none: with a decoder of zeros.
    pub(super) outputs: usize,
    /// How often the factor of `G` stands in that of the border, $`p`$; 0 without features.
    pub(super) copies: usize,
    /// Whether there are features.
    pub(super) has_features: bool,
    /// Numbers of the border that are the caller's, $`M p`$.
    pub(super) unknowns: usize,
    /// $`r = \min(M, p)`$.
    pub(super) rank: usize,
    pub(super) form: Form,
    pub(super) chunks: usize,
    pub(super) per_chunk: usize,
    /// Blocks of a pass over the border.
    pub(super) columns: usize,
}

impl Sizes {
    /// # Errors
    /// [`Error::Unsupported`] for more than [`MOST_FEATURES`] features or rows wider than
    /// [`WIDEST_ROW`]; a [`Refusal`] where a dimension is past 32 bits.
    pub(super) fn new(shape: &StructuredShape) -> Result<Self, Error> {
        let (m, p) = (shape.features(), shape.outputs());
        let refuse = |why| {
            Err(Error::Unsupported {
                elimination: EliminationKind::Core,
                system: "structured",
                why,
            })
        };
        if m > MOST_FEATURES {
            return refuse("on the device it has at most 96 features");
        }
        let dims = shape.arrow().rows();
        if dims.max_dim() > WIDEST_ROW {
            return refuse("on the device rows have at most 32 unknowns");
        }
        if i32::try_from(p).is_err() {
            let what = "outputs".to_owned();
            return Err(Error::Device(DeviceError::Refusal(Refusal::Shape {
                what,
                expected: format!("at most {}", i32::MAX),
                found: p.to_string(),
            })));
        }
        let (unknowns, copies) = (m * p, if m == 0 { 0 } else { p });
        let has_features = m > 0;
        let (m, p) = (m.max(1), p.max(1));
        let rank = m.min(p);
        let form = match m <= 9 && dims.max_dim() <= 4 {
            true => Form::Small,
            false => {
                let none = RowDims::uniform(0, 1)?;
                Form::Large(Box::new(Layout::new(&ArrowShape::new(none, m * rank)?)?))
            }
        };
        let n = dims.rows();
        let per_chunk = n.div_ceil(PASS_BLOCKS).next_multiple_of(TILE).max(TILE);
        Ok(Self {
            rows: Layout::new(&ArrowShape::new(dims.clone(), m)?)?,
            features: m,
            outputs: p,
            copies,
            has_features,
            unknowns,
            rank,
            form,
            chunks: n.div_ceil(per_chunk).max(1),
            per_chunk,
            columns: p.div_ceil(TILE).min(PASS_BLOCKS),
        })
    }

    /// Numbers of a border's vector.
    pub(super) fn border(&self) -> usize {
        self.features * self.outputs
    }

    pub(super) fn core_order(&self) -> usize {
        self.features * self.rank
    }

    pub(super) fn feature_pairs(&self) -> usize {
        self.features * (self.features + 1) / 2
    }

    pub(super) fn rank_pairs(&self) -> usize {
        self.rank * (self.rank + 1) / 2
    }

    /// Rows whose pairs are formed at once.
    pub(super) fn piece(&self) -> usize {
        self.rows.rows.min(PIECE)
    }

    /// Numbers of the partial sums of any pass.
    pub(super) fn partials(&self) -> usize {
        let square = self.features * self.features;
        let products = match self.form {
            Form::Small => self.feature_pairs() * self.rank_pairs(),
            Form::Large(_) => 0,
        };
        (self.chunks * square.max(products)).max(self.columns * square)
    }

    pub(super) fn bytes(&self) -> DeviceBytes {
        let of = |elements: usize| 8 * elements as u64;
        let (n, unknowns, m) = (self.rows.rows, self.rows.unknowns, self.features);
        let index = match self.rows.uniform {
            -1 => 16 * (n as u64 + 1),
            _ => 0,
        };
        let core = match &self.form {
            Form::Small => of(self.core_order() * (self.core_order() + 1) / 2),
            Form::Large(core) => {
                of(core.square() + core.border_len() + self.core_order() + 1)
                    + of(n * m + unknowns * self.rank)
                    + of(self.piece() * (self.feature_pairs() + self.rank_pairs()))
                    + of(self.feature_pairs() * self.rank_pairs())
                    + 4
            }
        };
        DeviceBytes {
            operands: of(self.rows.blocks + n * m + unknowns * m + m * m + self.border()),
            factors: of(self.rows.blocks + unknowns + unknowns * self.rows.order)
                + of(m * m + m * self.rank + self.border())
                + core,
            vectors: index
                + of(7 * self.rows.records + super::core::SUMMARY)
                + of(self.partials() + 3 * m * m)
                + of(3 * unknowns + 2 * self.border())
                + 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_past_the_kernels_limits_are_refused() {
        let of = |n, d, m, p| {
            let rows = RowDims::uniform(n, d).unwrap();
            Sizes::new(&StructuredShape::new(rows, m, p).unwrap())
        };
        for (d, m, p) in [(1, 97, 3), (33, 3, 3)] {
            let refused = matches!(of(5, d, m, p), Err(Error::Unsupported { .. }));
            assert!(refused, "{d} {m} {p}");
        }
        let circle = of(2000, 1, 3, 2048).unwrap();
        assert!(matches!(circle.form, Form::Small));
        assert_eq!(
            (circle.core_order(), circle.chunks, circle.columns),
            (9, 63, 64)
        );
        assert!(matches!(of(5, 5, 3, 3).unwrap().form, Form::Large(_)));
        let empty = of(0, 1, 0, 9).unwrap();
        assert_eq!(
            (empty.unknowns, empty.copies, empty.border(), empty.chunks),
            (0, 0, 9, 1)
        );
    }
}
