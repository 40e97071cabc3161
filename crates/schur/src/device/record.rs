//! The records that this crate's kernels write, as both languages have them.
//!
//! ```text
//!   DenseRecord        rows: RowRecord                     border: FactorRecord
//!   StructuredRecord   rows: RowRecord   gram, own: PivotRecord (a FactorRecord, and a pivot's value)
//!   GradientsState     next, now: GradientsRecord          conjugate gradients
//!   StepTerms          what a step is judged by, its norms as SquareSums
//! ```
//! Kernels of other crates that read one declare it too: [`broadhead_device::declares!`]. Nobody reads a
//! record by position.

broadhead_device::record! {
    /// What a factorization of row blocks says, of all rows or of those of a block of threads. A key is a row
    /// times [`RowRecord::KEY`] and a pivot's place in it, or negative where there is none.
    pub struct RowRecord {
        /// The sum of the logarithms of the pivots.
        pub log: f64,
        /// The sum of their absolute values.
        pub absolute: f64,
        /// The smallest pivot of the rows that factor.
        pub least: f64,
        /// The key of the smallest pivot.
        pub least_key: i64,
        /// The key of the first pivot that failed.
        pub failed_key: i64,
        /// The value of that pivot; NaN where it is not known.
        pub failed: f64,
        /// The largest absolute value on the blocks' diagonals, without ridge.
        pub diagonal: f64,
    }

    /// What a Cholesky factor of one matrix says. Where `info` is not 0, the first four mean nothing.
    pub struct FactorRecord {
        /// The sum of the logarithms of the pivots.
        pub log: f64,
        /// The sum of their absolute values.
        pub absolute: f64,
        /// The smallest pivot.
        pub least: f64,
        /// Its place, or -1 where there is no pivot.
        pub least_at: i64,
        /// The first pivot that failed, counted from 1, or 0; negative where a library declined.
        pub info: i64,
        /// The largest absolute value on the matrix's diagonal, or 0 where nobody asks.
        pub diagonal: f64,
    }

    /// What a factorization of a dense system says.
    pub struct DenseRecord {
        /// Of the row blocks.
        pub rows: RowRecord,
        /// Of the border's Schur complement.
        pub border: FactorRecord,
    }

    /// What a Cholesky factor says of which kernels know the value of a pivot that failed.
    pub(crate) struct PivotRecord {
        /// The factor.
        pub factor: FactorRecord,
        /// The value of the pivot that failed.
        pub failed: f64,
    }

    /// What a factorization of a structured system says.
    pub(crate) struct StructuredRecord {
        /// Of the row blocks.
        pub rows: RowRecord,
        /// Of the features' Gram matrix `G`.
        pub gram: PivotRecord,
        /// Of what is the elimination's own, where it factors something: the core, or the rows after the
        /// border's elimination, whose failed pivot has no value here.
        pub own: PivotRecord,
    }

    /// A ridge that lies on the device.
    pub struct RidgeRecord {
        /// What is added to the diagonals of the row blocks.
        pub row: f64,
        /// What is added to the border's diagonal.
        pub border: f64,
    }

    /// The size of a step's residual.
    pub(crate) struct ResidualRecord {
        /// The largest absolute value of an entry of the residual `q`.
        pub largest: f64,
        /// The largest of the weights `w`.
        pub weight: f64,
        /// The largest ratio of the two at one entry; infinite where one is not a number.
        pub worst: f64,
        /// The norm of `q`.
        pub residual: f64,
        /// The norm of the gradient.
        pub gradient: f64,
    }

    /// The place of the first number of an array that is not finite: zero where there is none, else the
    /// complement of its bits, so that the largest of several is the first place.
    pub(crate) struct NotFinite {
        /// The complement of the place, or 0.
        pub complement: u64,
    }

    /// Sums of squares apart by size, so that none overflows or underflows (Blue, *A portable Fortran program
    /// to find the Euclidean norm of a vector*, 1978).
    pub struct SquareSums {
        /// Of entries below [`SquareSums::SMALL`] in size, scaled by [`SquareSums::SCALE_OF_SMALL`] each.
        pub small: f64,
        /// Of those between.
        pub middle: f64,
        /// Of those above [`SquareSums::LARGE`], scaled by [`SquareSums::SCALE_OF_LARGE`] each.
        pub large: f64,
    }

    /// What a step `d` to `t = z + d` is judged by, with the residual `r` at `z` and the gradient `g`.
    /// Where several blocks of threads have a term each, they lie one field after another: of every field
    /// the terms of all blocks.
    pub struct StepTerms {
        /// `r' d`.
        pub slope: f64,
        /// `d' H d`.
        pub curvature: f64,
        /// `g' t`.
        pub trial_slope: f64,
        /// `t' H t`.
        pub trial_curvature: f64,
        /// Of the entries of `H t - g` on the rows.
        pub row_squares: SquareSums,
        /// Of those on the border.
        pub border_squares: SquareSums,
    }

    /// The norm `scale sqrt(sum)`, formed without overflow.
    pub struct NormRecord {
        /// The largest absolute value.
        pub scale: f64,
        /// The sum of squares of the ratios to it.
        pub sum: f64,
    }

    /// What conjugate gradients go by, and what they say when a solve has ended.
    pub struct GradientsRecord {
        /// Whether it runs, or how it ended: [`GradientsRecord::RUNS`] and those after it.
        pub status: i64,
        /// Whose product is asked next: [`GradientsRecord::OF_DIRECTION`] or
        /// [`GradientsRecord::OF_SOLUTION`].
        pub phase: i64,
        /// Directions that are kept.
        pub kept: i64,
        /// Iterations.
        pub done: f64,
        /// Iterations when this descent began.
        pub first: f64,
        /// `|L_G (f - Z x)| / |b|` when it was last formed.
        pub reached: f64,
        /// The curvature that ended it.
        pub curvature: f64,
        /// The power of two that the right-hand side was divided by.
        pub unit: f64,
        /// `|b|` in that unit.
        pub size: f64,
    }

    /// The record of conjugate gradients for the kernels that come next, and as the present ones read it: no
    /// kernel reads what another block of it writes.
    pub struct GradientsState {
        /// The record.
        pub next: GradientsRecord,
        /// What the present iteration reads of it.
        pub now: GradientsRecord,
    }
}

impl RowRecord {
    /// What a row is times in a key; the place of a pivot in its row is below it.
    pub const KEY: i64 = 128;
}

impl StructuredRecord {
    /// Whether neither `G` nor what is the elimination's own has a pivot that failed.
    pub(crate) fn border_holds(&self) -> bool {
        self.gram.factor.info == 0 && self.own.factor.info == 0
    }
}

impl NotFinite {
    /// The place, where there is one.
    pub(crate) fn place(self) -> Option<usize> {
        (self.complement != 0).then_some(!self.complement as usize)
    }
}

impl SquareSums {
    /// Entries below this in size are small.
    pub const SMALL: f64 = power_of_two(-511);
    /// Entries above this are large.
    pub const LARGE: f64 = power_of_two(486);
    /// What small entries are scaled by.
    pub const SCALE_OF_SMALL: f64 = power_of_two(537);
    /// What large entries are scaled by.
    pub const SCALE_OF_LARGE: f64 = power_of_two(-538);
}

impl StepTerms {
    /// How many there are.
    pub const TERMS: usize = size_of::<Self>() / size_of::<f64>();
}

impl GradientsRecord {
    /// Status: another iteration is due.
    pub const RUNS: i64 = 0;
    /// Status: at the residual asked.
    pub const ARRIVED: i64 = 1;
    /// Status: where rounding, or the number of iterations allowed, lets it come no closer.
    pub const STALLED: i64 = 2;
    /// Status: at a curvature that is not positive.
    pub const NOT_POSITIVE: i64 = 3;
    /// Status: at a curvature that is not finite.
    pub const CURVATURE_OVERFLOW: i64 = 4;
    /// Status: at a right-hand side that is not finite.
    pub const RIGHT_HAND_SIDE_OVERFLOW: i64 = 5;
    /// Phase: the product of a direction is asked next.
    pub const OF_DIRECTION: i64 = 0;
    /// Phase: that of the solution, for its true residual.
    pub const OF_SOLUTION: i64 = 1;
}

/// $`2^e`$, a normal number.
const fn power_of_two(e: i64) -> f64 {
    assert!(-1023 < e && e < 1024);
    f64::from_bits(((e + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_of_scaled_entries_neither_overflow_nor_vanish() {
        assert_eq!(SquareSums::SMALL, 2f64.powi(-511));
        assert_eq!(SquareSums::LARGE, 2f64.powi(486));
        assert_eq!(SquareSums::SCALE_OF_SMALL, 2f64.powi(537));
        assert_eq!(SquareSums::SCALE_OF_LARGE, 2f64.powi(-538));
        for (entry, scale) in [
            (f64::from_bits(1), SquareSums::SCALE_OF_SMALL),
            (f64::MAX, SquareSums::SCALE_OF_LARGE),
        ] {
            let square = (entry * scale) * (entry * scale);
            assert!(square > 0.0 && square.is_finite(), "{entry:e}");
        }
    }
}
