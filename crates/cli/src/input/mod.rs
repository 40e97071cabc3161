//! Arrays, matrices and labels from files.
//!
//! ```text
//! FILE[:NAME] -> Source -> Slot (name, element, order, shape, bytes) -> ArrayD<f64>
//!    .npy          one slot
//!    .npz          one slot a member
//!    .safetensors  one slot a tensor
//! ```
//!
//! Elements are widened to FP64 as they are read, through a small buffer, so a file costs no memory
//! beyond its FP64 copy. Sizes are checked against the file before anything is allocated. Every error
//! names the file, the array where a file holds several, the index if one element is at fault, and what
//! was expected.

mod directory;
mod element;
mod error;
mod header;
mod labels;
mod medium;
mod npy;
mod npz;
mod safetensor;
mod several;
mod source;

pub use element::{Element, Order};
pub use error::{Extents, InputError};
pub use labels::{parse_labels, read_labels};
pub use several::{OpenRows, open_rows};
pub use source::{Archive, Slot, Source};

use ndarray::{Array2, ArrayD, Ix2};

/// An array with its name in errors.
#[derive(Clone, Debug)]
pub struct Named<A> {
    /// `FILE` or `FILE:NAME`.
    pub name: String,
    /// The elements, FP64.
    pub array: A,
}

/// An open file with the rows of a fit, not yet read.
#[derive(Debug)]
pub struct OpenMatrix {
    archive: Archive,
}

/// Opens the rows of a fit and reads the header.
///
/// # Errors
/// As [`Source::open`].
pub fn open_matrix(source: &Source) -> Result<OpenMatrix, InputError> {
    let archive = source.open()?;
    Ok(OpenMatrix { archive })
}

impl OpenMatrix {
    /// Rows and columns, if the header tells them and [`OpenMatrix::read`] could get as far as
    /// allocating them.
    pub fn shape(&self) -> Option<[usize; 2]> {
        self.archive.only_shape()?.try_into().ok()
    }

    /// Reads a 2-D array with at least one row and one column, all finite.
    ///
    /// # Errors
    /// [`InputError`] if the file does not contain such an array.
    pub fn read(mut self) -> Result<Named<Array2<f64>>, InputError> {
        let matrix = matrix_of(&mut self.archive)?;
        self.archive.say_remarks();
        Ok(matrix)
    }
}

/// Reads the rows of a fit: [`open_matrix`] and [`OpenMatrix::read`].
///
/// # Errors
/// As those.
pub fn read_matrix(source: &Source) -> Result<Named<Array2<f64>>, InputError> {
    open_matrix(source)?.read()
}

/// The rows of a fit from an open file.
///
/// # Errors
/// As [`OpenMatrix::read`].
pub fn matrix_of(archive: &mut Archive) -> Result<Named<Array2<f64>>, InputError> {
    let Named { name, array } = archive.read_only()?;
    let array = with_rank_two(&name, array)?;
    if array.is_empty() {
        return Err(InputError::Empty {
            shape: Extents(array.shape().to_vec()),
            array: name,
            expected: "at least one row and one column",
        });
    }
    check_finite(&name, &array.view().into_dyn())?;
    Ok(Named { name, array })
}

/// Reads the gates of a fit, `rows x atoms`: amplitudes, or a mask of truth values or whole numbers.
///
/// # Errors
/// Another shape; an element that is not finite; a negative element of an integer type.
pub fn read_gates(source: &Source, rows: usize, atoms: usize) -> Result<Array2<f64>, InputError> {
    let mut archive = source.open()?;
    let gates = gates_of(&mut archive, rows, atoms)?;
    archive.say_remarks();
    Ok(gates)
}

/// The gates of a fit from an open file.
///
/// # Errors
/// As [`read_gates`].
pub fn gates_of(
    archive: &mut Archive,
    rows: usize,
    atoms: usize,
) -> Result<Array2<f64>, InputError> {
    let Named { name, array } = archive.read_gates()?;
    let found = Extents(array.shape().to_vec());
    check_finite(&name, &array.view())?;
    match array.into_dimensionality::<Ix2>() {
        Ok(gates) if gates.dim() == (rows, atoms) => Ok(gates),
        _ => Err(InputError::Shape {
            array: name,
            found,
            expected: Extents(vec![rows, atoms]),
            because: "rows of X by atoms".to_owned(),
        }),
    }
}

fn with_rank_two(name: &str, array: ArrayD<f64>) -> Result<Array2<f64>, InputError> {
    let shape = Extents(array.shape().to_vec());
    array
        .into_dimensionality::<Ix2>()
        .map_err(|_| InputError::Rank {
            array: name.to_owned(),
            found: shape,
            expected: "2-D (rows, columns)".to_owned(),
        })
}

/// Refuses the first element, in row-major order, that is NaN or infinite.
///
/// # Errors
/// [`InputError::NotFinite`] with the index and the value.
pub fn check_finite(name: &str, array: &ndarray::ArrayViewD<'_, f64>) -> Result<(), InputError> {
    // Iterating with indices is slow, so it is done only if there is something to find.
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    if array.as_slice_memory_order().is_some_and(finite) {
        return Ok(());
    }
    match array.indexed_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((index, &value)) => Err(InputError::NotFinite {
            array: name.to_owned(),
            index: ndarray::Dimension::slice(&index).to_vec(),
            value,
        }),
    }
}
