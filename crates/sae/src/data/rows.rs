//! Rows of numbers in their own type, in memory or read when they are needed.
//!
//! ```text
//! Rows     piece 0: rows 0..n0 | piece 1: rows n0..n1 | ...     all, or those picked, in their order
//! piece    FP64 or FP32 numbers | bytes in memory | a Stored thing and where its numbers lie
//! ```
//!
//! Rows are widened to FP64 a tile at a time, into memory of whoever asks. Nothing here is written to, so any
//! number of threads read at once.
//!
//! **A read that fails** (a disk that goes away, a file that is cut short meanwhile) is remembered, and what it
//! should have read is zeros. That keeps errors out of the innermost loops; in turn whoever works with rows asks
//! [`Rows::intact`] before it answers, and a fit also after every round and every trial, so that it ends early.

use super::element::{ByteOrder, ElementType};
use ndarray::{Array2, ArrayView2};
use std::fmt::{self, Debug};
use std::io;
use std::sync::{Arc, OnceLock};

/// Bytes that lie elsewhere and are read when they are needed: a file.
pub trait Stored: Debug + Send + Sync {
    /// Fills `bytes` with those from `offset` on. Called from many threads at once.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::UnexpectedEof`] where there are fewer.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Its name in errors.
    fn name(&self) -> String;
}

/// Which index of a matrix runs fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixOrder {
    /// The column's: C order.
    RowMajor,
    /// The row's: Fortran order. A tile of such rows takes one read a column.
    ColumnMajor,
}

/// Where the numbers of a matrix lie among the bytes of a [`Stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The type of a number.
    pub element: ElementType,
    /// The order of its bytes.
    pub bytes: ByteOrder,
    /// The order of the numbers.
    pub order: MatrixOrder,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The first byte of the first number.
    pub offset: u64,
}

/// A matrix of numbers, a row after another, in their own type: what a fit and an encoding read.
///
/// A clone shares the numbers. Numbers in memory may be FP64, FP32, FP16 or BF16; those of a [`Stored`] are read
/// when they are needed, so that a matrix may be larger than memory.
///
/// ```
/// use broadhead_sae::{ByteOrder, ElementType, Rows};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bytes: Vec<u8> = [0.5_f32, 1.5, 2.5, 3.5, 4.5, 5.5].iter().flat_map(|v| v.to_le_bytes()).collect();
/// let rows = Rows::from_bytes(bytes, ElementType::F32, ByteOrder::Little, [3, 2])?;
/// assert_eq!(rows.shape(), [3, 2]);
/// assert_eq!(rows.to_array()?, ndarray::array![[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Rows {
    pieces: Arc<[Piece]>,
    rows: usize,
    columns: usize,
    /// Rows of the pieces, where not all are meant.
    picked: Option<Arc<[usize]>>,
    failure: Arc<OnceLock<RowsError>>,
}

/// Why rows are not to be had.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// The bytes are not those of the shape.
    #[error("{rows} rows of {columns} columns need {needed} bytes: {found} are given")]
    Length {
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
        /// Bytes that they need.
        needed: u128,
        /// Bytes that are given.
        found: usize,
    },
    /// Parts of one matrix have different numbers of columns.
    #[error("part {part} of the rows has {found} columns: expected {expected}, as part 0 has")]
    Columns {
        /// The part, counted from 0.
        part: usize,
        /// Its columns.
        found: usize,
        /// Those of the first part.
        expected: usize,
    },
    /// Rows that cannot be read any more.
    #[error("{name}: row {row} cannot be read: {source}")]
    Read {
        /// The name of the [`Stored`].
        name: String,
        /// The first row there of those that were to be read.
        row: usize,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

#[derive(Clone)]
struct Piece {
    /// The first of its rows in the whole.
    first: usize,
    rows: usize,
    numbers: Arc<Numbers>,
}

enum Numbers {
    Double(Vec<f64>),
    Single(Vec<f32>),
    Bytes(Vec<u8>, ElementType, ByteOrder),
    Stored(Box<dyn Stored>, Placement),
}

impl Rows {
    /// Rows whose numbers are `bytes`, row-major.
    ///
    /// # Errors
    /// [`RowsError::Length`].
    pub fn from_bytes(
        bytes: Vec<u8>,
        element: ElementType,
        order: ByteOrder,
        [rows, columns]: [usize; 2],
    ) -> Result<Self, RowsError> {
        let numbers = (rows as u128).saturating_mul(columns as u128);
        let needed = numbers.saturating_mul(element.size() as u128);
        if needed != bytes.len() as u128 {
            return Err(RowsError::Length {
                rows,
                columns,
                needed,
                found: bytes.len(),
            });
        }
        let numbers = Numbers::Bytes(bytes, element, order);
        Ok(Self::of(numbers, [rows, columns]))
    }

    /// Rows of single precision, copied.
    pub fn from_single(view: ArrayView2<'_, f32>) -> Self {
        let numbers = match view.as_slice() {
            Some(slice) => slice.to_vec(),
            None => view.iter().copied().collect(),
        };
        Self::of(Numbers::Single(numbers), view.dim().into())
    }

    /// Rows that are read when they are needed.
    pub fn stored(stored: Box<dyn Stored>, placement: Placement) -> Self {
        Self::of(Numbers::Stored(stored, placement), placement.shape)
    }

    /// The rows of all `parts`, one after another.
    ///
    /// # Errors
    /// [`RowsError::Columns`].
    pub fn concatenated(parts: &[Self]) -> Result<Self, RowsError> {
        let expected = parts.first().map_or(0, |part| part.columns);
        if let Some(part) = parts.iter().position(|part| part.columns != expected) {
            return Err(RowsError::Columns {
                part,
                found: parts[part].columns,
                expected,
            });
        }
        let (mut pieces, mut rows) = (Vec::new(), 0);
        for part in parts {
            let part = match part.picked {
                Some(_) => part.loaded(),
                None => part.clone(),
            };
            part.intact()?;
            pieces.extend(part.pieces.iter().map(|piece| Piece {
                first: rows + piece.first,
                ..piece.clone()
            }));
            rows += part.rows;
        }
        Ok(Self {
            pieces: pieces.into(),
            rows,
            columns: expected,
            picked: None,
            failure: Arc::default(),
        })
    }

    fn of(numbers: Numbers, [rows, columns]: [usize; 2]) -> Self {
        let piece = Piece {
            first: 0,
            rows,
            numbers: Arc::new(numbers),
        };
        Self {
            pieces: Arc::new([piece]),
            rows,
            columns,
            picked: None,
            failure: Arc::default(),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// The rows from `first` on, as many as `count`, widened; fewer where there are not as many.
    ///
    /// # Errors
    /// [`RowsError::Read`].
    pub fn read(&self, first: usize, count: usize) -> Result<Array2<f64>, RowsError> {
        let first = first.min(self.rows);
        let count = count.min(self.rows - first);
        let mut array = Array2::zeros((count, self.columns));
        let fresh = self.afresh();
        if let Some(out) = array.as_slice_mut() {
            fresh.fill(first, out, &mut Vec::new(), &|_| ());
        }
        fresh.intact()?;
        Ok(array)
    }

    /// All rows, widened.
    ///
    /// # Errors
    /// [`RowsError::Read`].
    pub fn to_array(&self) -> Result<Array2<f64>, RowsError> {
        self.read(0, self.rows)
    }

    /// Whether all numbers are in memory.
    pub fn is_in_memory(&self) -> bool {
        let stored = |piece: &Piece| matches!(*piece.numbers, Numbers::Stored(..));
        !self.pieces.iter().any(stored)
    }

    /// The failure of the first read that failed.
    ///
    /// # Errors
    /// [`RowsError::Read`].
    pub(crate) fn intact(&self) -> Result<(), RowsError> {
        match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// The same rows, of which no read has failed.
    pub(crate) fn afresh(&self) -> Self {
        Self {
            failure: Arc::default(),
            ..self.clone()
        }
    }

    /// Whether the types alone say that every number is exact in single precision.
    pub(crate) fn is_single(&self) -> bool {
        self.pieces.iter().all(|piece| match &*piece.numbers {
            Numbers::Double(_) => false,
            Numbers::Single(_) => true,
            Numbers::Bytes(_, element, _) => element.is_single(),
            Numbers::Stored(_, placement) => placement.element.is_single(),
        })
    }

    /// The rows `indices`, in this order. Nothing is copied.
    pub(crate) fn selected(&self, indices: &[usize]) -> Self {
        let picked = match &self.picked {
            None => indices.into(),
            Some(picked) => indices.iter().map(|&i| picked[i]).collect(),
        };
        Self {
            rows: indices.len(),
            picked: Some(picked),
            ..self.clone()
        }
    }

    /// The same rows with all numbers in memory: where they are, or read now, in single precision where that is
    /// exact.
    pub(crate) fn loaded(&self) -> Self {
        if self.is_in_memory() && self.picked.is_none() {
            return self.clone();
        }
        let p = self.columns;
        let numbers = match self.is_single() {
            true => {
                let mut numbers = vec![0.0; self.rows * p];
                let (mut wide, mut bytes) = (vec![0.0; p], Vec::new());
                for (i, to) in numbers.chunks_exact_mut(p.max(1)).enumerate() {
                    self.fill(i, &mut wide, &mut bytes, &|_| ());
                    to.iter_mut().zip(&wide).for_each(|(to, &v)| *to = v as f32);
                }
                Numbers::Single(numbers)
            }
            false => {
                let mut numbers = vec![0.0; self.rows * p];
                self.fill(0, &mut numbers, &mut Vec::new(), &|_| ());
                Numbers::Double(numbers)
            }
        };
        Self {
            failure: self.failure.clone(),
            ..Self::of(numbers, [self.rows, p])
        }
    }

    /// Writes the rows from `first` on into `out`, as many as it holds, and calls `finish` with each. `bytes` is
    /// workspace. Where a read fails, now or before, rows are zeros: see the [module](self).
    pub(crate) fn fill(
        &self,
        first: usize,
        out: &mut [f64],
        bytes: &mut Vec<u8>,
        finish: &impl Fn(&mut [f64]),
    ) {
        let p = self.columns.max(1);
        let Some(picked) = &self.picked else {
            return self.fill_run(first, out, bytes, finish);
        };
        let mut rest = out;
        let picked = &picked[first..][..rest.len() / p];
        for run in picked.chunk_by(|a, b| a + 1 == *b) {
            let (part, behind) = rest.split_at_mut(run.len() * p);
            rest = behind;
            self.fill_run(run[0], part, bytes, finish);
        }
    }

    /// The same of rows of the pieces that follow each other.
    fn fill_run(
        &self,
        mut first: usize,
        mut out: &mut [f64],
        bytes: &mut Vec<u8>,
        finish: &impl Fn(&mut [f64]),
    ) {
        let p = self.columns.max(1);
        let behind = |piece: &Piece| piece.first + piece.rows <= first;
        for piece in &self.pieces[self.pieces.partition_point(behind)..] {
            let count = (piece.first + piece.rows - first).min(out.len() / p);
            let (part, rest) = out.split_at_mut(count * p);
            out = rest;
            if count > 0 {
                self.fill_part(piece, first - piece.first, part, bytes, finish);
            }
            first += count;
        }
    }

    fn fill_part(
        &self,
        piece: &Piece,
        first: usize,
        out: &mut [f64],
        bytes: &mut Vec<u8>,
        finish: &impl Fn(&mut [f64]),
    ) {
        let p = self.columns;
        let wide = |element: ElementType, order, bytes: &[u8], out: &mut [f64]| {
            let rows = bytes.chunks_exact(p * element.size());
            for (to, from) in out.chunks_exact_mut(p).zip(rows) {
                element.widen(order, from, to);
                finish(to);
            }
        };
        let at = first * p;
        match &*piece.numbers {
            Numbers::Double(numbers) => {
                for (to, from) in out.chunks_exact_mut(p).zip(numbers[at..].chunks_exact(p)) {
                    to.copy_from_slice(from);
                    finish(to);
                }
            }
            Numbers::Single(numbers) => {
                for (to, from) in out.chunks_exact_mut(p).zip(numbers[at..].chunks_exact(p)) {
                    to.iter_mut().zip(from).for_each(|(to, &v)| *to = v.into());
                    finish(to);
                }
            }
            Numbers::Bytes(numbers, element, order) => {
                wide(*element, *order, &numbers[at * element.size()..], out);
            }
            Numbers::Stored(stored, placement) => {
                let Placement { element, order, .. } = *placement;
                let read = match (self.failure.get(), order) {
                    (Some(_), _) => None,
                    (None, MatrixOrder::RowMajor) => {
                        bytes.resize(out.len() * element.size(), 0);
                        let offset = placement.offset + (at * element.size()) as u64;
                        let read = stored.read_at(offset, bytes);
                        if read.is_ok() {
                            wide(element, placement.bytes, bytes, out);
                        }
                        Some(read)
                    }
                    (None, MatrixOrder::ColumnMajor) => {
                        let read = columns(&**stored, placement, first, out, bytes);
                        if read.is_ok() {
                            out.chunks_exact_mut(p).for_each(finish);
                        }
                        Some(read)
                    }
                };
                match read {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        self.failure.get_or_init(|| RowsError::Read {
                            name: stored.name(),
                            row: first,
                            source: Arc::new(error),
                        });
                        out.fill(0.0);
                    }
                    None => out.fill(0.0),
                }
            }
        }
    }
}

/// Reads rows of a column-major matrix, a column at a time.
fn columns(
    stored: &dyn Stored,
    placement: &Placement,
    first: usize,
    out: &mut [f64],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let ([rows, p], size) = (placement.shape, placement.element.size());
    let count = out.len() / p;
    bytes.resize(count * size, 0);
    let mut column = vec![0.0; count];
    for c in 0..p {
        let offset = placement.offset + ((c * rows + first) * size) as u64;
        stored.read_at(offset, bytes)?;
        (placement.element).widen(placement.bytes, bytes, &mut column);
        for (row, &v) in out.chunks_exact_mut(p).zip(&column) {
            row[c] = v;
        }
    }
    Ok(())
}

impl fmt::Debug for Rows {
    /// Without the numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("shape", &self.shape())
            .field("is_in_memory", &self.is_in_memory())
            .finish_non_exhaustive()
    }
}

impl From<Array2<f64>> for Rows {
    fn from(array: Array2<f64>) -> Self {
        let (shape, count) = (array.dim().into(), array.len());
        if !array.is_standard_layout() {
            return array.view().into();
        }
        let (mut numbers, first) = array.into_raw_vec_and_offset();
        // What is left of a larger array may begin and end anywhere in it.
        numbers.drain(..first.unwrap_or(0));
        numbers.truncate(count);
        Self::of(Numbers::Double(numbers), shape)
    }
}

impl From<ArrayView2<'_, f64>> for Rows {
    /// Copies the numbers.
    fn from(view: ArrayView2<'_, f64>) -> Self {
        let numbers = match view.as_slice() {
            Some(slice) => slice.to_vec(),
            None => view.iter().copied().collect(),
        };
        Self::of(Numbers::Double(numbers), view.dim().into())
    }
}

impl From<&Rows> for Rows {
    fn from(rows: &Rows) -> Self {
        rows.clone()
    }
}

#[cfg(test)]
mod tests;
