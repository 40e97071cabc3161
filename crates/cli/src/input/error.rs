//! What can be wrong with an input file.

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

/// Why a file does not hold what a command needs. Exit code 2, but for want of memory: 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's name ends in nothing that is read.
    #[error("{}: expected a file that ends in .npy, .npz or .safetensors", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// A system's file is no archive.
    #[error("{}: expected a file that ends in .npz", path.display())]
    SystemExtension {
        /// The file.
        path: PathBuf,
    },
    /// The file does not follow its own format.
    #[error("{array}: {reason}")]
    Malformed {
        /// The file or array.
        array: String,
        /// What is wrong.
        reason: String,
    },
    /// The file ends before its array does.
    #[error(
        "{array}: truncated: shape {shape} of {element} needs {needed} bytes, {found} are there"
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
    #[error("{array}: {extra} bytes follow the array of shape {shape}: expected the file to end")]
    Trailing {
        /// The array.
        array: String,
        /// The shape that the header declares.
        shape: Extents,
        /// Bytes too many.
        extra: u64,
    },
    /// The elements are of a type that is not read.
    #[error("{array}: element type {found} is not read: expected {expected}")]
    ElementType {
        /// The array.
        array: String,
        /// The type found, in the format's own word.
        found: String,
        /// The types that are read.
        expected: &'static str,
    },
    /// The array has another number of axes.
    #[error("{array}: shape {found}: expected {expected}")]
    Rank {
        /// The array.
        array: String,
        /// The shape found.
        found: Extents,
        /// What was expected.
        expected: String,
    },
    /// The array has an extent that contradicts another one.
    #[error("{array}: shape {found}: expected {expected} ({because})")]
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
    #[error("{array}: shape {shape}: expected {expected}")]
    Empty {
        /// The array.
        array: String,
        /// The shape found.
        shape: Extents,
        /// What was expected.
        expected: &'static str,
    },
    /// An element is NaN or infinite.
    #[error("{array}: element {index:?} is {value}: expected a finite number")]
    NotFinite {
        /// The array.
        array: String,
        /// The index, one number an axis, counted from 0.
        index: Vec<usize>,
        /// The value.
        value: f64,
    },
    /// An element lies outside of what it may be.
    #[error("{array}: element {index:?} is {value}: expected {expected}")]
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
    /// The file holds several arrays and none was named.
    #[error("{}: holds several arrays, name one as FILE:NAME: {listing}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Names, element types and shapes.
        listing: String,
    },
    /// The file holds no array of that name.
    #[error("{}: holds no array {name:?}: it holds {listing}", path.display())]
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
        "{array}: shape {shape} needs {bytes} bytes of memory as FP64, which are not to be had"
    )]
    TooLarge {
        /// The array.
        array: String,
        /// The shape.
        shape: Extents,
        /// Bytes asked for.
        bytes: u128,
    },
    /// There is not one label a row.
    #[error("{}: {labels} labels for the {rows} rows of {array}: expected one a line, one a row", path.display())]
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
    #[error("{}: line {line} is empty: expected a label", path.display())]
    EmptyLabel {
        /// The labels' file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
}
