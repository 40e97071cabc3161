//! `.npy` files, and the headers that `.npz` members share.

use super::element::{Element, Order};
use super::error::InputError;
use super::source::{Slot, open_file, read_elements};
use ndarray::ArrayD;
use ndarray_npy::npy::header::{Header, Layout, ReadHeaderError};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// An open `.npy` that stands behind its header.
#[derive(Debug)]
pub(super) struct NpyFile {
    reader: BufReader<File>,
    /// Bytes behind the header, where the file's length is known.
    available: Option<u64>,
}

impl NpyFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Slot), InputError> {
        let name = path.display().to_string();
        let (mut reader, length) = open_file(path)?;
        let slot = read_header(&mut reader, &name, String::new())?;
        let available = match length {
            None => None,
            Some(length) => {
                let position = reader.stream_position().map_err(|source| InputError::Io {
                    path: path.to_owned(),
                    source,
                })?;
                Some(length.saturating_sub(position))
            }
        };
        Ok((Self { reader, available }, slot))
    }

    pub(super) fn read(&mut self, name: &str, slot: &Slot) -> Result<ArrayD<f64>, InputError> {
        read_elements(&mut self.reader, name, slot, self.available, true)
    }
}

/// Reads a header: magic string, version, element type, order, shape.
pub(super) fn read_header(
    reader: &mut impl Read,
    label: &str,
    slot_name: String,
) -> Result<Slot, InputError> {
    let header = Header::from_reader(reader).map_err(|error| InputError::Malformed {
        array: label.to_owned(),
        reason: match error {
            ReadHeaderError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                "truncated inside its header".to_owned()
            }
            other => format!("not an .npy array: {other}"),
        },
    })?;
    let descriptor = header.type_descriptor.to_string();
    let descriptor = descriptor.trim_matches(|c| c == '\'' || c == '"');
    Ok(Slot {
        name: slot_name,
        element: Element::from_numpy(descriptor).ok_or_else(|| descriptor.to_owned()),
        order: match header.layout {
            Layout::Fortran => Order::Fortran,
            Layout::Standard => Order::C,
        },
        shape: header.shape,
    })
}
