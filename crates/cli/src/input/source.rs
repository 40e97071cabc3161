//! Files that hold arrays, and the arrays in them.

use super::element::{Element, Order};
use super::error::{Extents, InputError};
use super::medium::Opened;
use super::raw::Place;
use super::{Keep, Named, npy, npz, safetensor};
use crate::{memory, message};
use broadhead_sae::{ByteOrder, ElementType, MatrixOrder, Placement, Rows};
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use std::convert::Infallible;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A file, and the name of one array in it if one was given: `FILE` or `FILE:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The array's name.
    pub array: Option<String>,
}

impl FromStr for Source {
    type Err = Infallible;

    /// A colon separates file and name only after `.npz` or `.safetensors`, so other names may contain
    /// colons.
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
    /// Its element type, or the word for an unsupported one.
    pub element: Result<Element, String>,
    /// A note for the user on how it is read, if any.
    pub remark: Option<&'static str>,
    /// Its order in the file.
    pub order: Order,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Slot {
    fn describe(&self) -> String {
        let element = match &self.element {
            Ok(element) => (*element).as_str().to_owned(),
            Err(word) => message::name(word),
        };
        let name = message::name(&self.name);
        format!("{name} ({element}, {})", Extents(self.shape.clone()))
    }
}

/// An open file whose arrays are listed.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    wanted: Option<String>,
    kind: Kind,
    slots: Vec<Slot>,
    remarks: Vec<String>,
}

#[derive(Debug)]
enum Kind {
    Npy(npy::NpyFile),
    Npz(npz::NpzFile),
    Safetensors(safetensor::SafetensorsFile),
}

impl Source {
    /// The whole file, with no array named.
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
        let format = self.format()?;
        self.list(format, Opened::file(&self.path)?)
    }

    /// Lists the arrays of a file whose bytes are in memory. The path only tells the format and appears
    /// in messages.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_bytes(&self, bytes: Vec<u8>) -> Result<Archive, InputError> {
        let format = self.format()?;
        self.list(format, Opened::memory(bytes))
    }

    fn format(&self) -> Result<Format, InputError> {
        match self.path.extension().and_then(|e| e.to_str()) {
            Some("npy") => Ok(Format::Npy),
            Some("npz") => Ok(Format::Npz),
            Some("safetensors") => Ok(Format::Safetensors),
            _ => Err(InputError::Extension {
                path: self.path.clone(),
            }),
        }
    }

    fn list(&self, format: Format, opened: Opened) -> Result<Archive, InputError> {
        let path = &self.path;
        let (kind, slots) = match format {
            Format::Npy => {
                let (file, slot) = npy::NpyFile::open(path, opened)?;
                (Kind::Npy(file), vec![slot])
            }
            Format::Npz => {
                let (file, slots) = npz::NpzFile::open(path, opened)?;
                (Kind::Npz(file), slots)
            }
            Format::Safetensors => {
                let (file, slots) = safetensor::SafetensorsFile::open(path, opened)?;
                (Kind::Safetensors(file), slots)
            }
        };
        Ok(Archive {
            path: path.clone(),
            wanted: self.array.clone(),
            kind,
            slots,
            remarks: Vec::new(),
        })
    }
}

/// The supported formats, by extension.
#[derive(Clone, Copy, Debug)]
enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Archive {
    /// The arrays of the file.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Reads the array that was named, or the only one.
    ///
    /// # Errors
    /// [`InputError::Ambiguous`] with a listing, and the errors of [`Archive::read`].
    pub fn read_only(&mut self) -> Result<Named<ArrayD<f64>>, InputError> {
        let index = self.only()?;
        self.read_slot(index, Wanted::Numbers)
    }

    /// Reads the array of gates that was named, or the only one. Any type but text will do, so masks
    /// work.
    ///
    /// # Errors
    /// [`InputError::Value`] naming the first element of an integer type that is negative or beyond
    /// 2^53, and the errors of [`Archive::read_only`].
    pub fn read_gates(&mut self) -> Result<Named<ArrayD<f64>>, InputError> {
        let index = self.only()?;
        let gates = self.read_slot(index, Wanted::Any)?;
        if matches!(self.slots[index].element, Ok(Element::Integer { .. })) {
            check_whole(&gates, EXACT)?;
        }
        Ok(gates)
    }

    /// The array that was named, or the only one.
    fn only(&self) -> Result<usize, InputError> {
        match (&self.wanted, self.slots.len()) {
            (Some(name), _) => self.find(name),
            (None, 1) => Ok(0),
            (None, 0) => Err(InputError::NoArray {
                path: self.path.clone(),
            }),
            (None, _) => Err(InputError::Ambiguous {
                path: self.path.clone(),
                listing: self.listing(),
            }),
        }
    }

    /// The shape of the array that [`Archive::read_only`] reads, if the file is long enough for it;
    /// otherwise reading refuses it before it allocates.
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

    /// The bytes of the elements of the array that [`Archive::read_only`] reads, if they are known.
    pub(super) fn only_bytes(&self) -> Option<u64> {
        let (shape, size) = (self.only_shape()?, self.only_element_size()?);
        Some((shape.iter()).fold(size as u64, |product, &length| {
            product.saturating_mul(length as u64)
        }))
    }

    /// The bytes of one element of that array, if its type is known.
    pub(super) fn only_element_size(&self) -> Option<usize> {
        match self.only().map(|index| &self.slots[index].element) {
            Ok(Ok(element)) => Some(element.size()),
            // Reading says what is wrong.
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Whether the elements of the array that [`Archive::read_only`] reads stand in the file as they are.
    pub(super) fn can_stay(&self) -> bool {
        match (self.only(), &self.kind) {
            (Err(_), _) => false,
            (Ok(_), Kind::Npy(file)) => file.is_regular(),
            (Ok(index), Kind::Npz(file)) => file.is_stored(index),
            (Ok(_), Kind::Safetensors(file)) => file.is_regular(),
        }
    }

    /// The rows of the array that was named, or of the only one.
    ///
    /// # Errors
    /// As [`Archive::read_only`]; an array that is not 2-D, or has no row or no column.
    pub(super) fn rows(&mut self, keep: Keep) -> Result<Named<Rows>, InputError> {
        let index = self.only()?;
        let slot = &self.slots[index];
        let name = label(&self.path, &slot.name);
        let (element, bytes) = element_of(&name, slot)?;
        let &[rows, columns] = &slot.shape[..] else {
            return Err(InputError::Rank {
                array: name,
                found: Extents(slot.shape.clone()),
                expected: "2-D (rows, columns)".to_owned(),
            });
        };
        let shape = [rows, columns];
        let place = match (keep, &mut self.kind) {
            (Keep::InMemory, _) => None,
            (Keep::OnDisk, Kind::Npy(file)) => file.place(&name, slot)?,
            (Keep::OnDisk, Kind::Npz(file)) => file.place(&name, slot, index)?,
            (Keep::OnDisk, Kind::Safetensors(file)) => file.place(&name, slot, index)?,
        };
        let read = match place {
            Some(Place { file, offset }) => {
                let order = match slot.order {
                    Order::C => MatrixOrder::RowMajor,
                    Order::Fortran => MatrixOrder::ColumnMajor,
                };
                let placement = Placement {
                    element,
                    bytes,
                    order,
                    shape,
                    offset,
                };
                Rows::stored(Box::new(file), placement)
            }
            None => {
                let read = match &mut self.kind {
                    Kind::Npy(file) => file.read_raw(&name, slot)?,
                    Kind::Npz(file) => file.read_raw(&name, slot, index)?,
                    Kind::Safetensors(file) => file.read_raw(&name, slot, index)?,
                };
                match Rows::from_bytes(read, element, bytes, shape) {
                    Ok(rows) => rows,
                    Err(error) => {
                        return Err(InputError::Malformed {
                            array: name,
                            reason: error.to_string(),
                        });
                    }
                }
            }
        };
        super::expect_rows(&name, &shape)?;
        if let Some(remark) = slot.remark {
            self.remarks
                .push(format!("{}: {remark}", message::ends(&name)));
        }
        Ok(Named { name, array: read })
    }

    fn shape_in_file(&self, index: usize) -> Option<&[usize]> {
        let slot = &self.slots[index];
        // Deflate compresses zeros about a thousandfold and no further.
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

    fn find(&self, name: &str) -> Result<usize, InputError> {
        let found = self.slots.iter().position(|slot| slot.name == name);
        found.ok_or_else(|| InputError::NoSuchArray {
            path: self.path.clone(),
            name: name.to_owned(),
            listing: self.listing(),
        })
    }

    /// Prints the notes on the arrays that were read to standard error.
    pub fn say_remarks(&self) {
        for remark in &self.remarks {
            message::say(format_args!("note: {remark}"));
        }
    }

    /// Reads an array of counts, integers or not, if there is one.
    ///
    /// # Errors
    /// [`InputError::Value`] naming the first element that is not a whole number from 0 to `most`, and
    /// the errors of [`Archive::read`] except for a missing array.
    pub fn read_counts_if_there(
        &mut self,
        name: &str,
        most: usize,
    ) -> Result<Option<Named<ArrayD<f64>>>, InputError> {
        let Some(index) = self.slots.iter().position(|slot| slot.name == name) else {
            return Ok(None);
        };
        let counts = self.read_slot(index, Wanted::Any)?;
        check_whole(&counts, most as f64)?;
        Ok(Some(counts))
    }

    /// Reads the array called `name`.
    ///
    /// # Errors
    /// [`InputError::NoSuchArray`] with a listing; a wrong element type; a truncated array.
    pub fn read(&mut self, name: &str) -> Result<Named<ArrayD<f64>>, InputError> {
        let index = self.find(name)?;
        self.read_slot(index, Wanted::Numbers)
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
            return "none".to_owned();
        }
        let shown = self.slots.iter().take(message::LISTED);
        let names: Vec<String> = shown.map(Slot::describe).collect();
        match self.slots.len() - names.len() {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    fn read_slot(
        &mut self,
        index: usize,
        wanted: Wanted,
    ) -> Result<Named<ArrayD<f64>>, InputError> {
        let slot = &self.slots[index];
        let name = label(&self.path, &slot.name);
        if let (Ok(element @ (Element::Integer { .. } | Element::Bool)), Wanted::Numbers) =
            (&slot.element, wanted)
        {
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
        if let Some(remark) = slot.remark {
            self.remarks
                .push(format!("{}: {remark}", message::ends(&name)));
        }
        let array = Named { name, array };
        if slot.element == Ok(Element::Bool) {
            let other = |value: f64| value > 1.0;
            refuse(&array, other, || "a truth value, 0 or 1".to_owned())?;
        }
        Ok(array)
    }
}

/// The type of the numbers of `slot`, and the order of their bytes.
fn element_of(name: &str, slot: &Slot) -> Result<(ElementType, ByteOrder), InputError> {
    let order = |big_endian: bool| match big_endian {
        true => ByteOrder::Big,
        false => ByteOrder::Little,
    };
    let found = match &slot.element {
        Ok(Element::F64 { big_endian }) => return Ok((ElementType::F64, order(*big_endian))),
        Ok(Element::F32 { big_endian }) => return Ok((ElementType::F32, order(*big_endian))),
        Ok(Element::F16 { big_endian }) => return Ok((ElementType::F16, order(*big_endian))),
        Ok(Element::Bf16) => return Ok((ElementType::Bf16, ByteOrder::Little)),
        Ok(other) => other.as_str().to_owned(),
        Err(found) => found.clone(),
    };
    Err(InputError::ElementType {
        array: name.to_owned(),
        found,
        expected: READ,
    })
}

/// Whole numbers up to here are exact in FP64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Refuses the first element that is not a whole number from 0 to `most`.
fn check_whole(array: &Named<ArrayD<f64>>, most: f64) -> Result<(), InputError> {
    let other = |value: f64| !(value.fract() == 0.0 && (0.0..=most).contains(&value));
    refuse(array, other, || format!("a whole number from 0 to {most}"))
}

/// Refuses the first element, in row-major order, of which `fault` is true.
fn refuse(
    array: &Named<ArrayD<f64>>,
    fault: impl Fn(f64) -> bool,
    expected: impl Fn() -> String,
) -> Result<(), InputError> {
    let found = array.array.indexed_iter().find(|(_, value)| fault(**value));
    match found {
        None => Ok(()),
        Some((index, &value)) => Err(InputError::Value {
            index: ndarray::Dimension::slice(&index).to_vec(),
            value,
            expected: expected(),
            array: array.name.clone(),
        }),
    }
}

/// What kind of numbers an array is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Floating-point numbers.
    Numbers,
    /// Numbers of any type, truth values too.
    Any,
}

/// The element types of numbers.
const READ: &str = "FP64, FP32, FP16 or BF16";

/// From this many elements on, memory is checked before allocating.
const LARGE: usize = 1 << 17;

/// The name of an array in errors.
pub(super) fn label(path: &Path, array: &str) -> String {
    if array.is_empty() {
        path.display().to_string()
    } else {
        format!("{}:{}", path.display(), message::name(array))
    }
}

/// The most axes of an array in Fortran order that is converted to row-major order. No command takes
/// more.
const MOST_TURNED: usize = 4;

/// Reads the elements of `slot` from the current position of `reader` into FP64, row-major up to
/// [`MOST_TURNED`] axes.
///
/// `available` is the number of bytes left for the array, if that is known; the array must use all of
/// them.
pub(super) fn read_elements(
    reader: &mut impl Read,
    name: &str,
    slot: &Slot,
    available: Option<u64>,
) -> Result<ArrayD<f64>, InputError> {
    let checked = checked(name, slot, available)?;
    let Checked { element, count, .. } = checked;
    let too_large = || too_large(name, slot);
    if count >= LARGE {
        memory::require(name, memory::numbers(&slot.shape))?;
    }
    let mut values: Vec<f64> = Vec::new();
    values.try_reserve_exact(count).map_err(|_| too_large())?;
    values.resize(count, 0.0);
    let shape = IxDyn(&slot.shape);
    let (filled, array) = match slot.order {
        Order::C => {
            let filled = element.fill(reader, values.iter_mut());
            (filled, ArrayD::from_shape_vec(shape, values))
        }
        // Iterating over more axes allocates an index for every element, so such an array keeps the
        // order of the file.
        Order::Fortran if slot.shape.len() > MOST_TURNED => {
            let filled = element.fill(reader, values.iter_mut());
            (filled, ArrayD::from_shape_vec(shape.f(), values))
        }
        // The transposed view, in row-major order, visits the elements in the order of the file.
        Order::Fortran => {
            let mut array = ArrayD::from_shape_vec(shape, values).map_err(|_| too_large())?;
            let filled = element.fill(reader, array.view_mut().reversed_axes().iter_mut());
            (filled, Ok(array))
        }
    };
    let array = array.map_err(|_| too_large())?;
    filled.map_err(|error| ended(name, slot, checked, available, error))?;
    Ok(array)
}

/// What is known of an array before its elements are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    pub(super) element: Element,
    pub(super) count: usize,
    /// Bytes of its elements.
    pub(super) needed: u64,
}

/// Checks that an array can be read, and that the `available` bytes, if that is known, are those that it needs.
pub(super) fn checked(
    name: &str,
    slot: &Slot,
    available: Option<u64>,
) -> Result<Checked, InputError> {
    let element = slot
        .element
        .clone()
        .map_err(|found| InputError::ElementType {
            array: name.to_owned(),
            found,
            expected: READ,
        })?;
    let too_large = || too_large(name, slot);
    let count = slot
        .shape
        .iter()
        .try_fold(1usize, |product, &length| product.checked_mul(length))
        .ok_or_else(too_large)?;
    let needed = (count as u64)
        .checked_mul(element.size() as u64)
        .ok_or_else(too_large)?;
    match available {
        Some(found) if found < needed => Err(InputError::Truncated {
            array: name.to_owned(),
            shape: Extents(slot.shape.clone()),
            element: element.as_str(),
            needed,
            found,
        }),
        Some(found) if found > needed => Err(InputError::Trailing {
            array: name.to_owned(),
            shape: Extents(slot.shape.clone()),
            extra: found - needed,
        }),
        _ => Ok(Checked {
            element,
            count,
            needed,
        }),
    }
}

/// The array does not fit in memory.
pub(super) fn too_large(name: &str, slot: &Slot) -> InputError {
    InputError::TooLarge {
        array: name.to_owned(),
        shape: Extents(slot.shape.clone()),
        // An extent of 0 makes the array empty, whatever the other extents claim.
        bytes: slot.shape.iter().fold(8u128, |product, &length| {
            product.saturating_mul(length.max(1) as u128)
        }),
    }
}

/// The failure of a read of `slot`, of which `available` bytes were to be there.
pub(super) fn ended(
    name: &str,
    slot: &Slot,
    Checked {
        element, needed, ..
    }: Checked,
    available: Option<u64>,
    error: io::Error,
) -> InputError {
    match (error.kind(), available) {
        (io::ErrorKind::UnexpectedEof, Some(found)) => InputError::Truncated {
            array: name.to_owned(),
            shape: Extents(slot.shape.clone()),
            element: element.as_str(),
            needed,
            found,
        },
        (io::ErrorKind::UnexpectedEof, None) => InputError::Malformed {
            array: name.to_owned(),
            reason: format!(
                "ends before the {needed} bytes of its shape {}",
                Extents(slot.shape.clone())
            ),
        },
        _ => InputError::Malformed {
            array: name.to_owned(),
            reason: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With more axes than an index stores inline, every element took an allocation.
    #[test]
    fn arrays_in_fortran_order_of_any_number_of_axes_are_read() {
        for axes in [2, 3, 4, 5, 9] {
            let mut shape = vec![1; axes];
            (shape[0], shape[axes - 1]) = (2, 3);
            let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
            let text = format!("{{'descr':'<f8','fortran_order':True,'shape':({extents})}}");
            let mut bytes = b"\x93NUMPY\x01\0".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            bytes.extend((0..6).flat_map(|number| f64::from(number).to_le_bytes()));
            let read = Source::file("x.npy").open_bytes(bytes).unwrap().read_only();
            let array = read.unwrap().array;
            let mut index = vec![0; axes];
            for row in 0..2 {
                for column in 0..3 {
                    (index[0], index[axes - 1]) = (row, column);
                    assert_eq!(array[&index[..]], (row + 2 * column) as f64, "{axes}");
                }
            }
        }
    }

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
