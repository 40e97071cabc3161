//! Files that hold arrays, and the arrays in them.

use super::element::{Element, Order};
use super::error::{Extents, InputError};
use super::{Named, npy, npz, safetensor};
use crate::memory;
use ndarray::{ArrayD, IxDyn};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A file, and the name of one array in it where one was given: `FILE` or `FILE:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The array's name.
    pub array: Option<String>,
}

impl FromStr for Source {
    type Err = Infallible;

    /// A colon parts file and name only behind `.npz` or `.safetensors`, so that other names may
    /// hold colons.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let split = text.match_indices(':').find(|&(at, _)| {
            let file = &text[..at];
            file.ends_with(".npz") || file.ends_with(".safetensors")
        });
        Ok(match split {
            Some((at, _)) => Self {
                path: PathBuf::from(&text[..at]),
                array: Some(text[at + 1..].to_owned()),
            },
            None => Self::file(text),
        })
    }
}

/// The shape and layout of one array, known before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The array's name in its file; empty in a `.npy`.
    pub name: String,
    /// Its element type, or the word of one that is not read.
    pub element: Result<Element, String>,
    /// Its order in the file.
    pub order: Order,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Slot {
    fn describe(&self) -> String {
        let element = match &self.element {
            Ok(element) => element.as_str(),
            Err(word) => word,
        };
        format!("{} ({element}, {})", self.name, Extents(self.shape.clone()))
    }
}

/// An open file whose arrays are listed.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    wanted: Option<String>,
    kind: Kind,
    slots: Vec<Slot>,
}

#[derive(Debug)]
enum Kind {
    Npy(npy::NpyFile),
    Npz(npz::NpzFile),
    Safetensors(safetensor::SafetensorsFile),
}

impl Source {
    /// The whole of a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            array: None,
        }
    }

    /// Opens the file and lists its arrays, reading headers only.
    ///
    /// # Errors
    /// An unreadable file, an unknown extension or a malformed header.
    pub fn open(&self) -> Result<Archive, InputError> {
        let path = &self.path;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let (kind, slots) = match extension {
            "npy" => {
                let (file, slot) = npy::NpyFile::open(path)?;
                (Kind::Npy(file), vec![slot])
            }
            "npz" => {
                let (file, slots) = npz::NpzFile::open(path)?;
                (Kind::Npz(file), slots)
            }
            "safetensors" => {
                let (file, slots) = safetensor::SafetensorsFile::open(path)?;
                (Kind::Safetensors(file), slots)
            }
            _ => return Err(InputError::Extension { path: path.clone() }),
        };
        Ok(Archive {
            path: path.clone(),
            wanted: self.array.clone(),
            kind,
            slots,
        })
    }
}

impl Archive {
    /// The arrays of the file.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Reads the array that was named, or the only one.
    ///
    /// # Errors
    /// [`InputError::Ambiguous`] with a listing, and what [`Archive::read`] answers.
    pub fn read_only(&mut self) -> Result<Named<ArrayD<f64>>, InputError> {
        match (self.wanted.clone(), self.slots.len()) {
            (Some(name), _) => self.read(&name),
            (None, 1) => self.read_slot(0, Wanted::Numbers),
            (None, _) => Err(InputError::Ambiguous {
                path: self.path.clone(),
                listing: self.listing(),
            }),
        }
    }

    /// The shape of the array that [`Archive::read_only`] reads, where the file is long enough for
    /// such an array to be in it: what is not, reading refuses before it allocates.
    pub fn only_shape(&self) -> Option<&[usize]> {
        let index = match (&self.wanted, self.slots.len()) {
            (Some(name), _) => self.slots.iter().position(|slot| slot.name == *name)?,
            (None, 1) => 0,
            (None, _) => return None,
        };
        self.shape_in_file(index)
    }

    /// The shape of the array called `name`, as [`Archive::only_shape`].
    pub fn shape_of(&self, name: &str) -> Option<&[usize]> {
        self.shape_in_file(self.slots.iter().position(|slot| slot.name == name)?)
    }

    fn shape_in_file(&self, index: usize) -> Option<&[usize]> {
        let slot = &self.slots[index];
        // Deflated zeros take a thousandth of their bytes and no less.
        let most = match self.kind {
            Kind::Npz(_) => 1032,
            Kind::Npy(_) | Kind::Safetensors(_) => 1,
        };
        let size = slot.element.as_ref().map_or(1, |element| element.size());
        let bytes = (slot.shape.iter()).fold(size as u64, |product, &length| {
            product.saturating_mul(length as u64)
        });
        match std::fs::metadata(&self.path) {
            Ok(file) if file.is_file() && file.len().saturating_mul(most) < bytes => None,
            _ => Some(&slot.shape),
        }
    }

    /// Reads an array of counts, which may be of integers, if there is one.
    ///
    /// # Errors
    /// [`InputError::Value`] naming the first element that is no whole number from 0 to `most`,
    /// and those of [`Archive::read`] but for the absence.
    pub fn read_counts_if_there(
        &mut self,
        name: &str,
        most: usize,
    ) -> Result<Option<Named<ArrayD<f64>>>, InputError> {
        let Some(index) = self.slots.iter().position(|slot| slot.name == name) else {
            return Ok(None);
        };
        let counts = self.read_slot(index, Wanted::Counts)?;
        let fault = counts
            .array
            .indexed_iter()
            .find(|(_, count)| !(count.fract() == 0.0 && (0.0..=most as f64).contains(*count)));
        match fault {
            None => Ok(Some(counts)),
            Some((index, &value)) => Err(InputError::Value {
                index: ndarray::Dimension::slice(&index).to_vec(),
                value,
                expected: format!("a whole number from 0 to {most}"),
                array: counts.name,
            }),
        }
    }

    /// Reads the array called `name`.
    ///
    /// # Errors
    /// [`InputError::NoSuchArray`] with a listing; a wrong element type; a truncated array.
    pub fn read(&mut self, name: &str) -> Result<Named<ArrayD<f64>>, InputError> {
        match self.slots.iter().position(|slot| slot.name == name) {
            Some(index) => self.read_slot(index, Wanted::Numbers),
            None => Err(InputError::NoSuchArray {
                path: self.path.clone(),
                name: name.to_owned(),
                listing: self.listing(),
            }),
        }
    }

    /// The metadata strings of a `.safetensors` file; none elsewhere.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        match &self.kind {
            Kind::Safetensors(file) => file.metadata(key),
            Kind::Npy(_) | Kind::Npz(_) => None,
        }
    }

    fn listing(&self) -> String {
        if self.slots.is_empty() {
            return "no array".to_owned();
        }
        let names: Vec<String> = self.slots.iter().map(Slot::describe).collect();
        names.join(", ")
    }

    fn read_slot(
        &mut self,
        index: usize,
        wanted: Wanted,
    ) -> Result<Named<ArrayD<f64>>, InputError> {
        let slot = &self.slots[index];
        let name = label(&self.path, &slot.name);
        if let (Ok(element @ Element::Integer { .. }), Wanted::Numbers) = (&slot.element, wanted) {
            return Err(InputError::ElementType {
                array: name,
                found: element.as_str().to_owned(),
                expected: READ,
            });
        }
        let array = match &mut self.kind {
            Kind::Npy(file) => file.read(&name, slot)?,
            Kind::Npz(file) => file.read(&name, slot, index)?,
            Kind::Safetensors(file) => file.read(&name, slot, index)?,
        };
        Ok(Named { name, array })
    }
}

/// What an array is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Floating-point numbers.
    Numbers,
    /// Whole numbers, of any type.
    Counts,
}

/// The element types of numbers.
const READ: &str = "FP64, FP32, FP16 or BF16";

/// Elements from which on it is asked whether they may be allocated.
const LARGE: usize = 1 << 17;

/// The name that errors about an array carry.
pub(super) fn label(path: &Path, array: &str) -> String {
    if array.is_empty() {
        path.display().to_string()
    } else {
        format!("{}:{array}", path.display())
    }
}

/// Opens a file for buffered reading; `None` for the length of what is no regular file.
pub(super) fn open_file(path: &Path) -> Result<(BufReader<File>, Option<u64>), InputError> {
    let failed = |source| InputError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((BufReader::with_capacity(1 << 16, file), length))
}

/// Reads the elements of `slot` from where `reader` stands into row-major FP64.
///
/// `available` is the number of bytes left for the array, where that is known; `exact` says that
/// the array must use all of them.
pub(super) fn read_elements(
    reader: &mut impl Read,
    name: &str,
    slot: &Slot,
    available: Option<u64>,
    exact: bool,
) -> Result<ArrayD<f64>, InputError> {
    let element = slot
        .element
        .clone()
        .map_err(|found| InputError::ElementType {
            array: name.to_owned(),
            found,
            expected: READ,
        })?;
    let extents = || Extents(slot.shape.clone());
    let too_large = || InputError::TooLarge {
        array: name.to_owned(),
        shape: extents(),
        bytes: slot.shape.iter().fold(8u128, |product, &length| {
            product.saturating_mul(length as u128)
        }),
    };
    let count = slot
        .shape
        .iter()
        .try_fold(1usize, |product, &length| product.checked_mul(length))
        .ok_or_else(too_large)?;
    let needed = (count as u64)
        .checked_mul(element.size() as u64)
        .ok_or_else(too_large)?;
    let truncated = |found| InputError::Truncated {
        array: name.to_owned(),
        shape: extents(),
        element: element.as_str(),
        needed,
        found,
    };
    match available {
        Some(found) if found < needed => return Err(truncated(found)),
        Some(found) if exact && found > needed => {
            return Err(InputError::Trailing {
                array: name.to_owned(),
                shape: extents(),
                extra: found - needed,
            });
        }
        _ => {}
    }

    if count >= LARGE {
        memory::require(name, memory::numbers(&slot.shape))?;
    }
    let mut values: Vec<f64> = Vec::new();
    values.try_reserve_exact(count).map_err(|_| too_large())?;
    values.resize(count, 0.0);
    let mut array = ArrayD::from_shape_vec(IxDyn(&slot.shape), values).map_err(|_| too_large())?;
    let filled = match slot.order {
        Order::C => element.fill(reader, array.iter_mut()),
        // In row-major order the transposed view runs through the array as the file does.
        Order::Fortran => element.fill(reader, array.view_mut().reversed_axes().iter_mut()),
    };
    filled.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => match available {
            Some(found) => truncated(found),
            None => InputError::Malformed {
                array: name.to_owned(),
                reason: format!("ends before the {needed} bytes of its shape {}", extents()),
            },
        },
        _ => InputError::Malformed {
            array: name.to_owned(),
            reason: error.to_string(),
        },
    })?;
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_parts_the_name_only_behind_an_archive() {
        let parse = |text: &str| text.parse::<Source>().unwrap();
        assert_eq!(parse("a.npy"), Source::file("a.npy"));
        assert_eq!(parse("odd:name.npy"), Source::file("odd:name.npy"));
        assert_eq!(
            parse("a:b.npz:x:y"),
            Source {
                path: "a:b.npz".into(),
                array: Some("x:y".into())
            }
        );
        assert_eq!(
            parse("m.safetensors:layer.1"),
            Source {
                path: "m.safetensors".into(),
                array: Some("layer.1".into())
            }
        );
    }
}
