//! What can go wrong in a fit or an encoding.

use crate::data::rows::RowsError;
use crate::data::variation::NoVariation;
use crate::lm::LmError;
use crate::model::dictionary::DictionaryError;
use ndarray::ArrayView2;

/// Why a fit or an encoding ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// No rows or no columns.
    #[error("X has {rows} rows and {outputs} columns: expected at least one of each")]
    Empty {
        /// Rows.
        rows: usize,
        /// Columns.
        outputs: usize,
    },
    /// Rows that cannot be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// NaN or an infinity in an array.
    #[error("{array}[{row}, {column}] is {value}: expected a finite number")]
    NotFinite {
        /// The array.
        array: &'static str,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The value.
        value: f64,
    },
    /// Rows whose spread about their mean is rounding: there is nothing to fit.
    #[error(transparent)]
    NoVariation(#[from] NoVariation),
    /// The gates do not have the shape rows by atoms.
    #[error("gates have shape {got:?}, expected {expected:?} (rows by atoms)")]
    GatesShape {
        /// What was given.
        got: [usize; 2],
        /// Rows and atoms.
        expected: [usize; 2],
    },
    /// The coordinates do not have the shape rows by the dictionary's columns.
    #[error("coordinates have shape {got:?}, expected {expected:?} (rows by columns)")]
    CoordinatesShape {
        /// What was given.
        got: [usize; 2],
        /// Rows and columns.
        expected: [usize; 2],
    },
    /// The decoder does not have the shape features by columns.
    #[error("the decoder has shape {got:?}, expected {expected:?} (features by columns)")]
    DecoderShape {
        /// What was given.
        got: [usize; 2],
        /// Features of the dictionary and columns of the data.
        expected: [usize; 2],
    },
    /// An option is out of range.
    #[error("{option} is {value}: expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// No start reached the inner loop. Validated options always have at least one start.
    #[error("no start was finished: expected at least one")]
    NoStart,
    /// The dictionary is not valid.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The linear algebra ended the fit.
    #[error(transparent)]
    Solver(#[from] broadhead_schur::Error),
    /// The time was up before this start was reached.
    #[error("the time was up before this start was reached")]
    OutOfTime,
    /// The caller stopped the fit.
    #[error("the fit was stopped")]
    Cancelled,
    /// The inner loop failed from every start; this is the failure of the best of them.
    #[error("the inner loop failed: {0}")]
    Loop(#[from] LmError<CurvedError>),
}

impl FitError {
    /// Whether the failure is that the features determine no decoder.
    pub(crate) fn is_of_the_decoder(&self) -> bool {
        matches!(
            self,
            Self::Loop(LmError::Problem(CurvedError::Decoder { .. }))
        )
    }

    /// # Errors
    /// [`FitError::NotFinite`] for the first element of `values` that is not finite, named as part of `array`.
    pub(crate) fn expect_finite(
        array: &'static str,
        values: ArrayView2<'_, f64>,
    ) -> Result<(), Self> {
        match values.indexed_iter().find(|(_, v)| !v.is_finite()) {
            None => Ok(()),
            Some(((row, column), value)) => Err(Self::NotFinite {
                array,
                row,
                column,
                value: *value,
            }),
        }
    }
}

impl From<broadhead_schur::ShapeError> for FitError {
    fn from(error: broadhead_schur::ShapeError) -> Self {
        Self::Solver(error.into())
    }
}

/// An error that ends a curved inner loop at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CurvedError {
    /// The linear algebra failed.
    #[error(transparent)]
    Solver(#[from] broadhead_schur::Error),
    /// `G = Phi' Phi + lambda P` has no Cholesky factor where the fit starts: with `lambda = 0`
    /// the features do not determine a decoder.
    #[error(
        "the features do not determine a decoder (pivot {pivot} of their Gram matrix is not \
         positive): a lambda above 0 would"
    )]
    Decoder {
        /// The feature at which the factorization failed.
        pivot: usize,
    },
}

impl From<CurvedError> for FitError {
    fn from(error: CurvedError) -> Self {
        Self::Loop(LmError::Problem(error))
    }
}
