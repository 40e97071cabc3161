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
//! beyond its FP64 copy. Rows of a fit and of an encoding stay as they are, in memory or in their file, and are
//! widened a tile at a time. Sizes are checked against the file before anything is allocated. Every error
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
mod raw;
mod safetensor;
mod several;
mod source;

pub use element::{Element, Order};
pub use error::{Extents, InputError};
pub use labels::{parse_labels, read_labels};
pub use several::{FileRows, Keep, OpenRows, choose, open_rows};
pub use source::{Archive, Slot, Source};

use broadhead_sae::Rows;
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
    /// Rows and columns, if the header tells them and [`OpenMatrix::rows`] could get as far as
    /// allocating them.
    pub fn shape(&self) -> Option<[usize; 2]> {
        self.archive.only_shape()?.try_into().ok()
    }

    /// The bytes of its elements, if the header tells them.
    pub fn bytes(&self) -> Option<u64> {
        self.archive.only_bytes()
    }

    /// The bytes of one of its elements, if the header tells.
    pub fn element_size(&self) -> Option<usize> {
        self.archive.only_element_size()
    }

    /// Whether its elements stand in a file as they are, which can be read anywhere.
    pub fn can_stay(&self) -> bool {
        self.archive.can_stay()
    }

    /// The rows of a 2-D array with at least one row and one column, in memory or left where they are. Whether they
    /// are finite is not looked at: whoever reads them all does.
    ///
    /// # Errors
    /// [`InputError`] if the file does not contain such an array.
    pub fn rows(mut self, keep: Keep) -> Result<Named<Rows>, InputError> {
        let rows = self.archive.rows(keep)?;
        self.archive.say_remarks();
        Ok(rows)
    }
}

/// The rows of a fit from an open file, widened and finite.
///
/// # Errors
/// [`InputError`] if it does not contain a 2-D array with at least one row and one column, all finite.
pub fn matrix_of(archive: &mut Archive) -> Result<Named<Array2<f64>>, InputError> {
    let Named { name, array } = archive.read_only()?;
    let array = with_rank_two(&name, array)?;
    expect_rows(&name, array.shape())?;
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

/// Refuses a shape without rows or without columns.
fn expect_rows(name: &str, shape: &[usize]) -> Result<(), InputError> {
    match shape.contains(&0) {
        false => Ok(()),
        true => Err(InputError::Empty {
            shape: Extents(shape.to_vec()),
            array: name.to_owned(),
            expected: "at least one row and one column",
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
