//! `.safetensors` files: an 8-byte length, a JSON header, then the tensors, little-endian, C order.

use super::element::{Element, Order};
use super::error::InputError;
use super::medium::{Opened, Reader};
use super::raw::{Place, read_raw};
use super::source::{Slot, checked, read_elements};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, Metadata};
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The longest header accepted, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// An open `.safetensors` whose tensors are listed in the order of their data.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    reader: Reader,
    /// Whether its length is known, so that it can be read anywhere.
    is_regular: bool,
    /// Where the tensors' data begin.
    start: u64,
    /// First byte and length of each tensor, counted from `start`.
    spans: Vec<(u64, u64)>,
    metadata: Option<HashMap<String, String>>,
}

impl SafetensorsFile {
    pub(super) fn open(path: &Path, opened: Opened) -> Result<(Self, Vec<Slot>), InputError> {
        let malformed = |reason: String| InputError::Malformed {
            array: path.display().to_string(),
            reason,
        };
        let in_header = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => malformed("truncated inside its header".to_owned()),
            _ => InputError::Io {
                path: path.to_owned(),
                source: error,
            },
        };
        let Opened { mut reader, length } = opened;
        let mut prefix = [0; 8];
        reader.read_exact(&mut prefix).map_err(in_header)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER {
            return Err(malformed(format!(
                "not a .safetensors file: its header would have {header_length} bytes"
            )));
        }
        if length.is_some_and(|length| length < 8 + header_length) {
            return Err(malformed("truncated inside its header".to_owned()));
        }
        // Reads what is there instead of reserving what is declared.
        let mut header = Vec::new();
        let mut bounded = (&mut reader).take(header_length);
        bounded.read_to_end(&mut header).map_err(in_header)?;
        if (header.len() as u64) < header_length {
            return Err(in_header(io::ErrorKind::UnexpectedEof.into()));
        }
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| malformed(format!("its header is not understood: {error}")))?;

        let mut tensors: Vec<_> = header.tensors().into_iter().collect();
        tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
        let start = 8 + header_length;
        let end = start + header.data_len() as u64;
        if let Some(length) = length
            && length != end
        {
            let what = if length < end {
                "truncated"
            } else {
                "too long"
            };
            return Err(malformed(format!(
                "{what}: {length} bytes where its header declares {end}"
            )));
        }
        let spans = tensors
            .iter()
            .map(|(_, info)| {
                let (first, past) = info.data_offsets;
                (first as u64, (past - first) as u64)
            })
            .collect();
        let slots = tensors
            .into_iter()
            .map(|(name, info)| Slot {
                name,
                remark: None,
                element: element(info.dtype),
                order: Order::C,
                shape: info.shape.clone(),
            })
            .collect();
        let file = Self {
            reader,
            is_regular: length.is_some(),
            start,
            spans,
            metadata: header.metadata().clone(),
        };
        Ok((file, slots))
    }

    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn read(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<ArrayD<f64>, InputError> {
        let length = self.begin(name, index)?;
        read_elements(&mut self.reader, name, slot, Some(length))
    }

    /// The elements as they are in the file.
    pub(super) fn read_raw(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<Vec<u8>, InputError> {
        let length = self.begin(name, index)?;
        read_raw(&mut self.reader, name, slot, Some(length))
    }

    /// Whether the file's length is known, so that it can be read anywhere.
    pub(super) fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Where the elements are, in a file that can be read anywhere.
    pub(super) fn place(
        &self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<Option<Place>, InputError> {
        let (Some(file), true) = (self.reader.get_ref().file(), self.is_regular) else {
            return Ok(None);
        };
        let (first, length) = self.spans[index];
        checked(name, slot, Some(length))?;
        Ok(Some(Place::of(file, self.start + first, name)?))
    }

    /// Goes to where a tensor begins, and returns its length.
    fn begin(&mut self, name: &str, index: usize) -> Result<u64, InputError> {
        let (first, length) = self.spans[index];
        match self.reader.seek(SeekFrom::Start(self.start + first)) {
            Ok(_) => Ok(length),
            Err(error) => Err(InputError::Malformed {
                array: name.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

fn element(dtype: Dtype) -> Result<Element, String> {
    let big_endian = false;
    let integer = |bytes, signed| {
        Ok(Element::Integer {
            bytes,
            signed,
            big_endian,
        })
    };
    match dtype {
        Dtype::BOOL => Ok(Element::Bool),
        Dtype::I8 => integer(1, true),
        Dtype::I16 => integer(2, true),
        Dtype::I32 => integer(4, true),
        Dtype::I64 => integer(8, true),
        Dtype::U8 => integer(1, false),
        Dtype::U16 => integer(2, false),
        Dtype::U32 => integer(4, false),
        Dtype::U64 => integer(8, false),
        Dtype::F16 => Ok(Element::F16 { big_endian }),
        Dtype::BF16 => Ok(Element::Bf16),
        Dtype::F32 => Ok(Element::F32 { big_endian }),
        Dtype::F64 => Ok(Element::F64 { big_endian }),
        other => Err(other.to_string()),
    }
}
