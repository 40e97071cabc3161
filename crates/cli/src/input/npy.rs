//! `.npy` files, and the headers that `.npz` members share.

use super::element::{Element, Order};
use super::error::InputError;
use super::header::{self, Descriptor};
use super::medium::{Opened, Reader};
use super::raw::{Place, read_raw};
use super::source::{Slot, checked, read_elements};
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
        self.rewind(name)?;
        read_elements(&mut self.reader, name, slot, self.available)
    }

    /// The elements as they are in the file, row-major.
    pub(super) fn read_raw(&mut self, name: &str, slot: &Slot) -> Result<Vec<u8>, InputError> {
        self.rewind(name)?;
        read_raw(&mut self.reader, name, slot, self.available)
    }

    /// Whether the file's length is known, so that it can be read anywhere.
    pub(super) fn is_regular(&self) -> bool {
        self.available.is_some() && self.reader.get_ref().file().is_some()
    }

    /// Where the elements are, in a file that can be read anywhere.
    pub(super) fn place(&self, name: &str, slot: &Slot) -> Result<Option<Place>, InputError> {
        let (Some(file), Some(_)) = (self.reader.get_ref().file(), self.available) else {
            return Ok(None);
        };
        checked(name, slot, self.available)?;
        Ok(Some(Place::of(file, self.start, name)?))
    }

    /// A second read begins where the first one did.
    fn rewind(&mut self, name: &str) -> Result<(), InputError> {
        if self.available.is_none() {
            return Ok(());
        }
        let begin = std::io::SeekFrom::Start(self.start);
        match self.reader.seek(begin) {
            Ok(_) => Ok(()),
            Err(error) => Err(InputError::Malformed {
                array: name.to_owned(),
                reason: error.to_string(),
            }),
        }
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
