//! `.npy` files written row by row.

use super::npz::{Column, npy_header};
use std::io::{self, Write};

/// Writes a matrix of FP64 numbers: `row` fills each of its rows.
///
/// # Errors
/// The error of `sink`.
pub fn write_rows(
    sink: &mut impl Write,
    column: &Column,
    [rows, columns]: [usize; 2],
    row: impl Fn(usize, &mut [f64]),
) -> io::Result<()> {
    sink.write_all(&npy_header(column))?;
    let mut numbers = vec![0.0; columns];
    let mut bytes = Vec::new();
    for i in 0..rows {
        row(i, &mut numbers);
        bytes.clear();
        bytes.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
        sink.write_all(&bytes)?;
    }
    Ok(())
}
