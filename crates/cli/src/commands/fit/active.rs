//! Rows that chose their atoms, sparsely: `active.npz`.
//!
//! ```text
//! indptr             int64, n + 1        row i has the entries indptr[i]..indptr[i + 1]
//! atom               int32, an entry     which atom is on, ascending in a row
//! amplitude          f64, an entry       how strongly
//! coordinate_indptr  int64, entries + 1  entry e has the coordinates coordinate_indptr[e]..[e + 1]
//! coordinates        f64                 stored coordinates, one entry after another
//! ```
//!
//! One array is made at a time, so that no more is held than the longest of them.

use broadhead_sae::RowPlaces;
use ndarray::Array1;
use ndarray_npy::{NpzWriter, WriteNpzError};
use std::io::{self, Seek, Write};

/// The file's name.
pub(super) const FILE: &str = "active.npz";

/// Dense coordinates of rows that choose are written up to this many numbers.
const DENSE: usize = 1 << 25;

/// Whether `rows x columns` coordinates are few enough to be written densely beside.
pub(super) fn is_dense(rows: usize, columns: usize) -> bool {
    rows.checked_mul(columns)
        .is_some_and(|numbers| numbers <= DENSE)
}

/// Writes the atoms that are on with their places.
pub(super) fn write(sink: &mut (impl Write + Seek), places: &RowPlaces) -> io::Result<()> {
    let on = || (0..places.rows()).flat_map(|i| places.row(i));
    let mut npz = NpzWriter::new(sink);
    let other = |error: WriteNpzError| io::Error::other(error);
    let counts = (0..places.rows()).map(|i| places.row(i).count());
    npz.add_array("indptr", &pointers(counts)).map_err(other)?;
    // A dictionary has far fewer atoms than 2^31.
    let atoms: Array1<i32> = on().map(|on| on.atom as i32).collect();
    npz.add_array("atom", &atoms).map_err(other)?;
    drop(atoms);
    let amplitudes: Array1<f64> = on().map(|on| on.amplitude).collect();
    npz.add_array("amplitude", &amplitudes).map_err(other)?;
    drop(amplitudes);
    let lengths = on().map(|on| on.coordinates.len());
    npz.add_array("coordinate_indptr", &pointers(lengths))
        .map_err(other)?;
    let numbers: Array1<f64> = on().flat_map(|on| on.coordinates).copied().collect();
    npz.add_array("coordinates", &numbers).map_err(other)?;
    npz.finish().map_err(other)?;
    Ok(())
}

/// Where each of the parts of these lengths begins, and the end of the last.
fn pointers(lengths: impl Iterator<Item = usize>) -> Array1<i64> {
    let ends = lengths.scan(0, |end, length| {
        *end += length as i64;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_sae::Dictionary;
    use ndarray::array;
    use ndarray_npy::NpzReader;
    use std::io::Cursor;

    #[test]
    fn dense_arrays_are_written_up_to_their_limit() {
        assert!(is_dense(1 << 20, 32) && !is_dense((1 << 20) + 1, 32));
        assert!(!is_dense(usize::MAX, 2) && is_dense(usize::MAX, 0));
    }

    #[test]
    fn rows_without_any_atom_and_atoms_of_any_width_are_written() {
        let dictionary: Dictionary = "circle,sphere,euclidean:2".parse().unwrap();
        let gates = array![[0.0, 1.0, 0.5], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        let coordinates = ndarray::Array2::from_shape_fn((3, 6), |(i, c)| (10 * i + c) as f64);
        let mut file = Cursor::new(Vec::new());
        let places = RowPlaces::from_arrays(&dictionary, coordinates.view(), gates.view()).unwrap();
        write(&mut file, &places).unwrap();
        let mut npz = NpzReader::new(file).unwrap();
        let pointers: Array1<i64> = npz.by_name("indptr").unwrap();
        assert_eq!(pointers, array![0, 2, 2, 3]);
        let atoms: Array1<i32> = npz.by_name("atom").unwrap();
        assert_eq!(atoms, array![1, 2, 0]);
        let amplitudes: Array1<f64> = npz.by_name("amplitude").unwrap();
        assert_eq!(amplitudes, array![1.0, 0.5, 2.0]);
        let pointers: Array1<i64> = npz.by_name("coordinate_indptr").unwrap();
        assert_eq!(pointers, array![0, 3, 5, 6]);
        let numbers: Array1<f64> = npz.by_name("coordinates").unwrap();
        assert_eq!(numbers, array![1.0, 2.0, 3.0, 4.0, 5.0, 20.0]);
    }
}
