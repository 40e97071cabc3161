//! `.npy` files, and the headers that `.npz` members share.

use super::element::{Element, Order};
use super::error::InputError;
use super::header::{self, Descriptor};
use super::medium::{Opened, Reader};
use super::source::{Slot, read_elements};
use ndarray::ArrayD;
use std::io::{Read, Seek};
use std::path::Path;

/// An open `.npy`, positioned after its header.
#[derive(Debug)]
pub(super) struct NpyFile {
    reader: Reader,
    /// Where the elements begin.
    start: u64,
    /// Bytes after the header, if the file's length is known.
    available: Option<u64>,
}

impl NpyFile {
    pub(super) fn open(path: &Path, opened: Opened) -> Result<(Self, Slot), InputError> {
        let name = path.display().to_string();
        let Opened { reader, length } = opened;
        let mut counted = Counted { reader, count: 0 };
        let slot = read_header(&mut counted, &name, String::new())?;
        let Counted { reader, count } = counted;
        let file = Self {
            reader,
            start: count,
            available: length.map(|length| length.saturating_sub(count)),
        };
        Ok((file, slot))
    }

    pub(super) fn read(&mut self, name: &str, slot: &Slot) -> Result<ArrayD<f64>, InputError> {
        if self.available.is_some() {
            // A second read begins where the first one did.
            let begin = std::io::SeekFrom::Start(self.start);
            self.reader
                .seek(begin)
                .map_err(|error| InputError::Malformed {
                    array: name.to_owned(),
                    reason: error.to_string(),
                })?;
        }
        read_elements(&mut self.reader, name, slot, self.available)
    }
}

/// Counts the bytes that pass.
pub(super) struct Counted<R> {
    pub(super) reader: R,
    pub(super) count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Reads a header: magic string, version, element type, order, shape.
pub(super) fn read_header(
    reader: &mut impl Read,
    label: &str,
    slot_name: String,
) -> Result<Slot, InputError> {
    let header = header::read(reader).map_err(|reason| InputError::Malformed {
        array: label.to_owned(),
        reason,
    })?;
    let element = match &header.descriptor {
        Descriptor::Word(word) => Element::from_numpy(word),
        Descriptor::Structured(fields) => Err(format!("structured, {fields},")),
    };
    let raw = matches!(&header.descriptor, Descriptor::Word(word) if word.ends_with("V2"));
    Ok(Slot {
        name: slot_name,
        remark: (raw && element == Ok(Element::Bf16))
            .then_some("elements of two raw bytes (V2) are read as BF16, which NumPy writes so"),
        element,
        // With one axis or none both orders are the same, and C order is read faster.
        order: match header.shape.len() {
            0 | 1 => Order::C,
            _ => header.order,
        },
        shape: header.shape,
    })
}
