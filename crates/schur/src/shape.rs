//! Shapes: how many rows, how many unknowns in each, how wide the border is.
//!
//! A shape is checked once, here, in 64-bit arithmetic that cannot wrap; below it nobody checks
//! again. Products such as $`N k`$ and $`k^2`$ are asked of the shape, never formed in place.

use std::sync::Arc;

/// A shape that cannot be, or does not match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A size does not fit in 64 bits.
    #[error("{what} overflows 64 bits")]
    Overflow {
        /// The size that was asked for, as a formula.
        what: &'static str,
    },
    /// An array has other dimensions than the shape says.
    #[error("{array} has shape {got:?}, expected {expected:?}")]
    Mismatch {
        /// The array.
        array: &'static str,
        /// Its dimensions.
        got: Vec<usize>,
        /// The dimensions that the shape asks for.
        expected: Vec<usize>,
    },
    /// Row `row` is wider than its padded storage.
    #[error("{array}: row {row} has {dim} unknowns, more than the {padded} that its place holds")]
    RowTooWide {
        /// The array.
        array: &'static str,
        /// The row.
        row: usize,
        /// Its number of unknowns.
        dim: usize,
        /// The width of the padded block.
        padded: usize,
    },
    /// Offsets or indices of sparse features are out of order or out of range.
    #[error("{array}[{index}] is {value}: {expected}")]
    Index {
        /// The array.
        array: &'static str,
        /// Where in it.
        index: usize,
        /// The value found.
        value: usize,
        /// What was expected.
        expected: String,
    },
}

/// `a * b`, or the overflow named `what`.
pub(crate) fn product(a: u64, b: u64, what: &'static str) -> Result<u64, ShapeError> {
    a.checked_mul(b).ok_or(ShapeError::Overflow { what })
}

/// `a + b`, or the overflow named `what`.
pub(crate) fn sum(a: u64, b: u64, what: &'static str) -> Result<u64, ShapeError> {
    a.checked_add(b).ok_or(ShapeError::Overflow { what })
}

/// Refuses an array of `got` numbers where `expected` are.
pub(crate) fn check_length(
    array: &'static str,
    got: usize,
    expected: usize,
) -> Result<(), ShapeError> {
    if got == expected {
        return Ok(());
    }
    Err(ShapeError::Mismatch {
        array,
        got: vec![got],
        expected: vec![expected],
    })
}

/// The numbers of unknowns $`d_i`$ of the rows. Cheap to clone.
///
/// Row `i` owns the unknowns `offset(i) .. offset(i + 1)` of the stacked row vector of length
/// $`N = \sum_i d_i`$. A row may have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDims(Dims);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Dims {
    Uniform {
        n: usize,
        d: usize,
    },
    Ragged {
        offsets: Arc<[usize]>,
        blocks: Arc<[usize]>,
        max: usize,
    },
}

impl RowDims {
    /// `n` rows of `d` unknowns each.
    ///
    /// # Errors
    /// [`ShapeError::Overflow`] where `n d` or `n d^2` does not fit.
    pub fn uniform(n: usize, d: usize) -> Result<Self, ShapeError> {
        let unknowns = product(n as u64, d as u64, "n d")?;
        product(unknowns, d as u64, "n d^2")?;
        Ok(Self(Dims::Uniform { n, d }))
    }

    /// Rows with `dims[i]` unknowns. Equal widths are recognised as uniform.
    ///
    /// # Errors
    /// [`ShapeError::Overflow`] where a sum does not fit.
    pub fn ragged(dims: &[usize]) -> Result<Self, ShapeError> {
        if let Some(&d) = dims.first()
            && dims.iter().all(|&other| other == d)
        {
            return Self::uniform(dims.len(), d);
        }
        let (mut offsets, mut blocks) = (vec![0], vec![0]);
        let (mut unknowns, mut entries) = (0u64, 0u64);
        for &d in dims {
            unknowns = sum(unknowns, d as u64, "sum of d_i")?;
            entries = sum(
                entries,
                product(d as u64, d as u64, "d_i^2")?,
                "sum of d_i^2",
            )?;
            offsets.push(unknowns as usize);
            blocks.push(entries as usize);
        }
        let max = dims.iter().copied().max().unwrap_or(0);
        Ok(Self(Dims::Ragged {
            offsets: offsets.into(),
            blocks: blocks.into(),
            max,
        }))
    }

    /// Number of rows, `n`.
    pub fn rows(&self) -> usize {
        match &self.0 {
            Dims::Uniform { n, .. } => *n,
            Dims::Ragged { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Number of unknowns of row `i`, $`d_i`$.
    #[inline]
    pub fn dim(&self, i: usize) -> usize {
        match &self.0 {
            Dims::Uniform { d, .. } => *d,
            Dims::Ragged { offsets, .. } => offsets[i + 1] - offsets[i],
        }
    }

    /// Where row `i` begins in the stacked row vector; `offset(n)` is $`N`$.
    #[inline]
    pub fn offset(&self, i: usize) -> usize {
        match &self.0 {
            Dims::Uniform { d, .. } => i * d,
            Dims::Ragged { offsets, .. } => offsets[i],
        }
    }

    /// Where the packed block of row `i` begins: the sum of $`d_j^2`$ over `j < i`.
    #[inline]
    pub fn block_offset(&self, i: usize) -> usize {
        match &self.0 {
            Dims::Uniform { d, .. } => i * d * d,
            Dims::Ragged { blocks, .. } => blocks[i],
        }
    }

    /// $`N`$, the number of row unknowns.
    pub fn unknowns(&self) -> usize {
        self.offset(self.rows())
    }

    /// $`\sum_i d_i^2`$, the length of packed row blocks.
    pub fn block_len(&self) -> usize {
        self.block_offset(self.rows())
    }

    /// The widest row.
    pub fn max_dim(&self) -> usize {
        match &self.0 {
            Dims::Uniform { n, d } => {
                if *n == 0 {
                    0
                } else {
                    *d
                }
            }
            Dims::Ragged { max, .. } => *max,
        }
    }

    /// The common width of all rows, where they have one.
    pub fn uniform_dim(&self) -> Option<usize> {
        match &self.0 {
            Dims::Uniform { d, .. } => Some(*d),
            Dims::Ragged { .. } => None,
        }
    }

    /// The row that owns unknown `u` of the stacked vector, and its place in that row.
    pub fn locate(&self, u: usize) -> (usize, usize) {
        match &self.0 {
            Dims::Uniform { d, .. } => (u / d, u % d),
            Dims::Ragged { offsets, .. } => {
                let row = offsets.partition_point(|&start| start <= u) - 1;
                (row, u - offsets[row])
            }
        }
    }
}

/// The shape of an arrow system: its rows and the width `k` of its border.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrowShape {
    rows: RowDims,
    border: usize,
}

impl ArrowShape {
    /// Rows `rows` and a border of `k` unknowns.
    ///
    /// # Errors
    /// [`ShapeError::Overflow`] where $`N k`$, $`N + k`$ or $`k^2`$ does not fit in 64 bits. The square of
    /// $`N + k`$ may not: the reference alone needs it, and says that it has not the memory.
    pub fn new(rows: RowDims, k: usize) -> Result<Self, ShapeError> {
        let n = rows.unknowns() as u64;
        product(n, k as u64, "N k")?;
        sum(n, k as u64, "N + k")?;
        product(k as u64, k as u64, "k^2")?;
        Ok(Self { rows, border: k })
    }

    /// `n` rows of `d` unknowns and a border of `k`.
    ///
    /// # Errors
    /// As [`RowDims::uniform`] and [`ArrowShape::new`].
    pub fn uniform(n: usize, d: usize, k: usize) -> Result<Self, ShapeError> {
        Self::new(RowDims::uniform(n, d)?, k)
    }

    /// The rows.
    pub fn rows(&self) -> &RowDims {
        &self.rows
    }

    /// Width of the border, `k`.
    pub fn border(&self) -> usize {
        self.border
    }

    /// Number of rows, `n`.
    pub fn row_count(&self) -> usize {
        self.rows.rows()
    }

    /// $`N`$, the number of row unknowns.
    pub fn row_unknowns(&self) -> usize {
        self.rows.unknowns()
    }

    /// $`N + k`$.
    pub fn order(&self) -> usize {
        self.row_unknowns() + self.border
    }

    /// Bytes of an FP64 `rows x cols` array; saturates, so that a comparison with any real
    /// memory refuses it.
    pub(crate) fn array_bytes(rows: usize, cols: usize) -> u64 {
        (rows as u64).saturating_mul(cols as u64).saturating_mul(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_offsets_locate_every_unknown() {
        let rows = RowDims::ragged(&[2, 0, 3, 1]).unwrap();
        assert_eq!(
            (
                rows.rows(),
                rows.unknowns(),
                rows.block_len(),
                rows.max_dim()
            ),
            (4, 6, 14, 3)
        );
        let found: Vec<_> = (0..6).map(|u| rows.locate(u)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (3, 0)]);
        assert_eq!(rows.uniform_dim(), None);
        assert_eq!(
            RowDims::ragged(&[2, 2]).unwrap(),
            RowDims::uniform(2, 2).unwrap()
        );
    }

    #[test]
    fn products_past_two_to_the_31_are_exact_and_past_64_bits_refused() {
        let shape = ArrowShape::uniform(250_000, 2, 5120).unwrap();
        assert_eq!(
            ArrowShape::array_bytes(shape.row_unknowns(), shape.border()),
            20_480_000_000
        );
        let rows = RowDims::uniform(1 << 40, 2).unwrap();
        assert_eq!(rows.block_offset((1 << 40) - 1), ((1usize << 40) - 1) * 4);
        assert_eq!(rows.locate((1 << 41) - 1), ((1 << 40) - 1, 1));
        assert_eq!(
            RowDims::uniform(usize::MAX, 2),
            Err(ShapeError::Overflow { what: "n d" })
        );
        let overflows = |n: usize, k: usize| {
            let Err(ShapeError::Overflow { what }) = ArrowShape::uniform(n, 1, k) else {
                panic!("{n} rows and a border of {k} are no shape");
            };
            what
        };
        assert_eq!(overflows(1 << 40, 1 << 40), "N k");
        assert_eq!(overflows(usize::MAX, 1), "N + k");
        assert_eq!(overflows(0, 1 << 32), "k^2");
        // The whole matrix of a tall system may have more entries than 64 bits count.
        let tall = ArrowShape::uniform(1 << 40, 1, 2).unwrap();
        assert_eq!(
            ArrowShape::array_bytes(tall.order(), tall.order()),
            u64::MAX
        );
        assert!(RowDims::ragged(&[usize::MAX, 1]).is_err());
    }
}
