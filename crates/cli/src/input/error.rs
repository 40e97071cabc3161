//! What can be wrong with an input file.

use crate::message::{REASON, ends, name, path as file, text};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A shape, printed as `140 x 384`; a 0-D shape prints as `scalar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents(pub Vec<usize>);

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("scalar");
        }
        for (axis, length) in self.0.iter().enumerate() {
            if axis > 0 {
                f.write_str(" x ")?;
            }
            write!(f, "{length}")?;
        }
        Ok(())
    }
}

/// Why a file does not contain what a command needs. Exit code 2; for too little memory, 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", file(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's extension is not supported.
    #[error(
        "{}: expected a file that ends in .npy, .npz or .safetensors",
        file(path)
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The name of a system's file does not end in .npz.
    #[error("{}: expected a file that ends in .npz", file(path))]
    SystemExtension {
        /// The file.
        path: PathBuf,
    },
    /// The file does not follow its own format.
    #[error("{}: {}", ends(array), text(reason, REASON))]
    Malformed {
        /// The file or array.
        array: String,
        /// What is wrong.
        reason: String,
    },
    /// The file ends before its array does.
    #[error(
        "{}: truncated: shape {shape} of {element} needs {needed} bytes, {found} are there",
        ends(array)
    )]
    Truncated {
        /// The array.
        array: String,
        /// The shape that the header declares.
        shape: Extents,
        /// The element type that the header declares.
        element: &'static str,
        /// Bytes that the shape needs.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The file goes on after its array.
    #[error(
        "{}: {extra} bytes follow the array of shape {shape}: expected the file to end",
        ends(array)
    )]
    Trailing {
        /// The array.
        array: String,
        /// The shape that the header declares.
        shape: Extents,
        /// Bytes too many.
        extra: u64,
    },
    /// The element type is not supported.
    #[error(
        "{}: element type {} is not read: expected {expected}",
        ends(array),
        name(found)
    )]
    ElementType {
        /// The array.
        array: String,
        /// The type found, in the format's own word.
        found: String,
        /// The supported types.
        expected: &'static str,
    },
    /// The array has another number of axes.
    #[error("{}: shape {found}: expected {expected}", ends(array))]
    Rank {
        /// The array.
        array: String,
        /// The shape found.
        found: Extents,
        /// What was expected.
        expected: String,
    },
    /// An extent of the array contradicts another array.
    #[error("{}: shape {found}: expected {expected} ({because})", ends(array))]
    Shape {
        /// The array.
        array: String,
        /// The shape found.
        found: Extents,
        /// The shape expected.
        expected: Extents,
        /// Which other array settles the expected shape.
        because: String,
    },
    /// The array is empty.
    #[error("{}: shape {shape}: expected {expected}", ends(array))]
    Empty {
        /// The array.
        array: String,
        /// The shape found.
        shape: Extents,
        /// What was expected.
        expected: &'static str,
    },
    /// An element is NaN or infinite.
    #[error(
        "{}: element {index:?} is {value}: expected a finite number",
        ends(array)
    )]
    NotFinite {
        /// The array.
        array: String,
        /// The index, one number an axis, counted from 0.
        index: Vec<usize>,
        /// The value.
        value: f64,
    },
    /// An element is outside its range.
    #[error("{}: element {index:?} is {value}: expected {expected}", ends(array))]
    Value {
        /// The array.
        array: String,
        /// The index, one number an axis, counted from 0.
        index: Vec<usize>,
        /// The value.
        value: f64,
        /// What was expected.
        expected: String,
    },
    /// The file contains no array.
    #[error("{}: holds no array", file(path))]
    NoArray {
        /// The file.
        path: PathBuf,
    },
    /// The file holds several arrays and none was named.
    #[error(
        "{}: holds several arrays, name one as FILE:NAME: {listing}",
        file(path)
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Names, element types and shapes.
        listing: String,
    },
    /// The file holds no array of that name.
    #[error(
        "{}: holds no array \"{}\": it holds {listing}",
        file(path),
        self::name(name)
    )]
    NoSuchArray {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// Names, element types and shapes.
        listing: String,
    },
    /// The array needs more memory than is allowed.
    #[error(transparent)]
    Memory(#[from] crate::memory::Shortage),
    /// The array does not fit in memory.
    #[error(
        "{}: shape {shape} needs up to {bytes} bytes of memory, which are not to be had",
        ends(array)
    )]
    TooLarge {
        /// The array.
        array: String,
        /// The shape.
        shape: Extents,
        /// Bytes as FP64.
        bytes: u128,
    },
    /// The number of labels is not the number of rows.
    #[error(
        "{}: {labels} labels for the {rows} rows of {}: expected one a line, one a row",
        file(path),
        ends(array)
    )]
    LabelCount {
        /// The labels' file.
        path: PathBuf,
        /// Labels found.
        labels: usize,
        /// The array whose rows are labelled.
        array: String,
        /// Its rows.
        rows: usize,
    },
    /// A label is empty.
    #[error("{}: line {line} is empty: expected a label", file(path))]
    EmptyLabel {
        /// The labels' file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// The labels are text in another encoding.
    #[error("{}: {found}: expected UTF-8", file(path))]
    Encoding {
        /// The labels' file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// There is no model where one is expected.
    #[error(
        "{}: {found}: expected the folder that `broadhead fit` wrote, or the model.safetensors in it",
        file(path)
    )]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
}
