//! Views of device memory as column-major matrices, and as batches of equally spaced ones.
//!
//! ```text
//!            columns
//!          +---------+
//!     rows | (i, j)  |   at  j leading + i,   leading >= rows
//!          +---------+
//! ```

use crate::fault::{Refusal, Result, expect_shape};
use crate::runtime::buffer::{View, ViewMut};
use crate::runtime::stream::{Kept, Stream};
use cudarc::cublas::sys as blas;

/// Rows, columns and the distance of columns, all within the libraries' 32-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: i32,
    pub(crate) columns: i32,
    pub(crate) leading: i32,
}

impl Layout {
    fn new(rows: usize, columns: usize, leading: usize, len: usize) -> Result<Self> {
        let number = |what: &str, n: usize| {
            i32::try_from(n).map_err(|_| Refusal::Shape {
                what: what.to_owned(),
                expected: format!("at most {}", i32::MAX),
                found: n.to_string(),
            })
        };
        let layout = Self {
            rows: number("rows", rows)?,
            columns: number("columns", columns)?,
            leading: number("leading dimension", leading.max(1))?,
        };
        expect_shape(
            leading >= rows,
            "leading dimension",
            format_args!(">= {rows}"),
            leading,
        )?;
        let needed = layout.span();
        expect_shape(
            len >= needed,
            "matrix",
            format_args!("{needed} elements"),
            len,
        )?;
        Ok(layout)
    }

    /// Elements from the first entry to the last.
    fn span(&self) -> usize {
        match (self.rows, self.columns) {
            (0, _) | (_, 0) => 0,
            (rows, columns) => (columns as usize - 1) * self.leading as usize + rows as usize,
        }
    }

    pub(crate) fn is_square(&self, order: i32) -> bool {
        self.rows == order && self.columns == order
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.rows, self.columns)
    }
}

/// A matrix to be read, possibly as its transpose.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub(crate) view: View<'a, f64>,
    pub(crate) layout: Layout,
    transposed: bool,
}

/// A matrix to be written.
pub struct MatrixMut<'a> {
    pub(crate) view: ViewMut<'a, f64>,
    pub(crate) layout: Layout,
}

impl<'a> Matrix<'a> {
    /// A matrix of `rows x columns` whose columns are `leading` elements apart.
    ///
    /// # Errors
    /// A [`Refusal`] where it does not fit the view.
    pub fn new(view: View<'a, f64>, rows: usize, columns: usize, leading: usize) -> Result<Self> {
        Ok(Self {
            layout: Layout::new(rows, columns, leading, view.len())?,
            view,
            transposed: false,
        })
    }

    /// A matrix without gaps between its columns.
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn packed(view: View<'a, f64>, rows: usize, columns: usize) -> Result<Self> {
        Self::new(view, rows, columns, rows)
    }

    /// Its transpose; nothing moves.
    pub fn transposed(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }

    /// Rows and columns as they stand, the transposition applied.
    pub(crate) fn shape(&self) -> (i32, i32) {
        match self.transposed {
            false => (self.layout.rows, self.layout.columns),
            true => (self.layout.columns, self.layout.rows),
        }
    }

    pub(crate) fn operation(&self) -> blas::cublasOperation_t {
        match self.transposed {
            false => blas::cublasOperation_t::CUBLAS_OP_N,
            true => blas::cublasOperation_t::CUBLAS_OP_T,
        }
    }

    pub(crate) fn pointer(&self) -> *const f64 {
        self.view.pointer() as *const f64
    }
}

impl<'a> MatrixMut<'a> {
    /// As [`Matrix::new`].
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn new(
        view: ViewMut<'a, f64>,
        rows: usize,
        columns: usize,
        leading: usize,
    ) -> Result<Self> {
        Ok(Self {
            layout: Layout::new(rows, columns, leading, view.len())?,
            view,
        })
    }

    /// As [`Matrix::packed`].
    ///
    /// # Errors
    /// As [`Matrix::new`].
    pub fn packed(view: ViewMut<'a, f64>, rows: usize, columns: usize) -> Result<Self> {
        Self::new(view, rows, columns, rows)
    }

    pub(crate) fn pointer(&self) -> *mut f64 {
        self.view.pointer() as *mut f64
    }
}

/// Equally spaced matrices of one layout, to be read.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub(crate) first: Matrix<'a>,
    pub(crate) stride: usize,
    pub(crate) count: i32,
}

/// Equally spaced matrices of one layout, to be written.
pub struct BatchMut<'a> {
    pub(crate) first: MatrixMut<'a>,
    pub(crate) stride: usize,
    pub(crate) count: i32,
}

fn batch(layout: Layout, stride: usize, count: usize, len: usize) -> Result<i32> {
    let last = count.saturating_sub(1).saturating_mul(stride);
    let needed = last.saturating_add(if count == 0 { 0 } else { layout.span() });
    let what = format!("batch of {count}");
    expect_shape(len >= needed, &what, format_args!("{needed} elements"), len)?;
    let count = i32::try_from(count).map_err(|_| Refusal::Shape {
        what,
        expected: format!("at most {} matrices", i32::MAX),
        found: count.to_string(),
    })?;
    Ok(count)
}

impl<'a> Batch<'a> {
    /// `count` matrices like `first`, `stride` elements apart; 0 repeats one.
    ///
    /// # Errors
    /// A [`Refusal`] where the last does not fit the view.
    pub fn new(first: Matrix<'a>, stride: usize, count: usize) -> Result<Self> {
        Ok(Self {
            count: batch(first.layout, stride, count, first.view.len())?,
            first,
            stride,
        })
    }
}

impl<'a> BatchMut<'a> {
    /// `count` matrices like `first`, `stride` elements apart, none of which overlap.
    ///
    /// # Errors
    /// A [`Refusal`] where the last does not fit the view, or where they overlap.
    pub fn new(first: MatrixMut<'a>, stride: usize, count: usize) -> Result<Self> {
        let span = first.layout.span();
        expect_shape(
            count < 2 || stride >= span,
            "stride",
            format_args!(">= {span}"),
            stride,
        )?;
        Ok(Self {
            count: batch(first.layout, stride, count, first.view.len())?,
            first,
            stride,
        })
    }
}

/// What a call touches: each must be of the call's stream, and is kept by a graph.
pub(crate) fn touched<const N: usize>(
    stream: &Stream,
    what: &str,
    operands: [(&Stream, Kept); N],
) -> Result<[Kept; N]> {
    for (home, _) in &operands {
        stream.owns(what, home)?;
    }
    Ok(operands.map(|(_, kept)| kept))
}

impl Matrix<'_> {
    pub(crate) fn operand(&self) -> (&Stream, Kept) {
        (self.view.home(), self.view.kept())
    }
}

impl MatrixMut<'_> {
    pub(crate) fn operand(&self) -> (&Stream, Kept) {
        (self.view.home(), self.view.kept())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_fits_when_its_last_entry_does() {
        assert_eq!(Layout::new(3, 2, 5, 8).unwrap().span(), 8);
        assert!(Layout::new(3, 2, 5, 7).is_err());
        assert!(Layout::new(3, 2, 2, 100).is_err());
        assert_eq!(Layout::new(0, 4, 0, 0).unwrap().span(), 0);
        assert!(Layout::new(1 << 40, 1, 1 << 40, usize::MAX).is_err());
    }

    #[test]
    fn a_batch_fits_when_its_last_matrix_does() {
        let layout = Layout::new(2, 2, 2, 4).unwrap();
        assert_eq!(batch(layout, 4, 3, 12).unwrap(), 3);
        assert!(batch(layout, 4, 3, 11).is_err());
        assert_eq!(batch(layout, 4, 0, 0).unwrap(), 0);
        assert!(batch(layout, usize::MAX, 3, 12).is_err());
    }
}
