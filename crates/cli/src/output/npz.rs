//! An `.npz` whose arrays grow side by side.
//!
//! ```text
//! [local header, .npy header, room for the numbers]...  directory, end      (ZIP, PKWARE's APPNOTE 4.3)
//!  ^ checksum at last       ^ appended to in any order
//! ```
//!
//! Rows of several arrays come together, block by block, and are not kept. Members are stored uncompressed and
//! shapes are known before the first number, so every number has its place in the file. What is beyond 4 GiB is
//! written in the fields of 64 bits.

use std::io::{self, Seek, SeekFrom, Write};

/// An array to be written, row-major.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// The type of its numbers.
    pub element: NpyElement,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The type of an array's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NpyElement {
    /// FP64.
    F64,
    /// A truth value in one byte.
    Bool,
}

impl Column {
    /// A matrix of FP64 numbers.
    pub fn matrix(name: &'static str, shape: [usize; 2]) -> Self {
        Self {
            name,
            element: NpyElement::F64,
            shape: shape.to_vec(),
        }
    }
}

impl NpyElement {
    fn size(self) -> u64 {
        match self {
            Self::F64 => 8,
            Self::Bool => 1,
        }
    }

    fn descriptor(self) -> &'static str {
        match self {
            Self::F64 => "<f8",
            Self::Bool => "|b1",
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct SideBySide<W> {
    sink: W,
    members: Vec<Member>,
    /// Where the directory begins.
    end: u64,
}

#[derive(Debug)]
struct Member {
    name: String,
    element: NpyElement,
    /// Where its local header begins.
    place: u64,
    /// Its length with the `.npy` header.
    size: u64,
    /// Where its next number goes.
    at: u64,
    /// Bytes of numbers that are still to come.
    left: u64,
    checksum: crc32fast::Hasher,
}

/// Numbers of 32 bits from this one on are written in 64.
const WIDE: u64 = u32::MAX as u64;
const LOCAL: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR: u32 = 0x0706_4b50;
const END: u32 = 0x0605_4b50;
/// The version of the format that knows the fields of 64 bits, and the one before.
const VERSIONS: [u16; 2] = [45, 20];
/// The first day that the format can name, so that files repeat to the byte.
const DAY: u16 = 0x21;
/// Where the checksum is in a local header.
const CHECKSUM: u64 = 14;

impl<W: Write + Seek> SideBySide<W> {
    /// Begins a file of `columns` at the start of `sink`.
    ///
    /// # Errors
    /// The error of `sink`; sizes beyond 64 bits.
    pub fn begin(mut sink: W, columns: &[Column]) -> io::Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        let mut place = 0;
        for column in columns {
            let header = npy_header(column);
            let bytes = (column.shape.iter()).try_fold(column.element.size(), |bytes, &extent| {
                bytes.checked_mul(extent as u64)
            });
            let size = bytes.and_then(|bytes| bytes.checked_add(header.len() as u64));
            let (Some(bytes), Some(size)) = (bytes, size) else {
                return Err(io::Error::other(
                    "an array of more bytes than 64 bits count",
                ));
            };
            let mut checksum = crc32fast::Hasher::new();
            checksum.update(&header);
            let mut member = Member {
                name: format!("{}.npy", column.name),
                element: column.element,
                place,
                size,
                at: 0,
                left: bytes,
                checksum,
            };
            let local = member.local(0);
            member.at = place + local.len() as u64 + header.len() as u64;
            sink.seek(SeekFrom::Start(place))?;
            sink.write_all(&local)?;
            sink.write_all(&header)?;
            place = member.at + bytes;
            members.push(member);
        }
        Ok(Self {
            sink,
            members,
            end: place,
        })
    }

    /// Appends FP64 numbers to array `index`.
    ///
    /// # Errors
    /// The error of the sink; more numbers than the shape has, or numbers of another type.
    pub fn append<'n>(
        &mut self,
        index: usize,
        numbers: impl IntoIterator<Item = &'n f64>,
    ) -> io::Result<()> {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put(index, NpyElement::F64, &bytes)
    }

    /// Appends truth values to array `index`.
    ///
    /// # Errors
    /// As [`SideBySide::append`].
    pub fn append_truths<'n>(
        &mut self,
        index: usize,
        truths: impl IntoIterator<Item = &'n bool>,
    ) -> io::Result<()> {
        let bytes: Vec<u8> = truths.into_iter().map(|&truth| truth.into()).collect();
        self.put(index, NpyElement::Bool, &bytes)
    }

    fn put(&mut self, index: usize, element: NpyElement, bytes: &[u8]) -> io::Result<()> {
        let member = &mut self.members[index];
        if member.element != element || member.left < bytes.len() as u64 {
            return Err(io::Error::other("numbers that do not belong to the array"));
        }
        self.sink.seek(SeekFrom::Start(member.at))?;
        self.sink.write_all(bytes)?;
        member.checksum.update(bytes);
        member.at += bytes.len() as u64;
        member.left -= bytes.len() as u64;
        Ok(())
    }

    /// Writes checksums and the directory.
    ///
    /// # Errors
    /// The error of the sink; an array that is not whole.
    pub fn finish(mut self) -> io::Result<()> {
        let mut directory = Vec::new();
        for member in &self.members {
            if member.left > 0 {
                return Err(io::Error::other("an array that is not whole"));
            }
            let checksum = member.checksum.clone().finalize();
            self.sink.seek(SeekFrom::Start(member.place + CHECKSUM))?;
            self.sink.write_all(&checksum.to_le_bytes())?;
            directory.extend(member.entry(checksum));
        }
        self.sink.seek(SeekFrom::Start(self.end))?;
        self.sink.write_all(&directory)?;
        let count = self.members.len() as u64;
        let length = directory.len() as u64;
        let after = self.end + length;
        if self.end >= WIDE {
            let mut end = Fields::default();
            end.u32(END_64).u64(44).u16(VERSIONS[0]).u16(VERSIONS[0]);
            end.u32(0).u32(0).u64(count).u64(count);
            end.u64(length).u64(self.end);
            end.u32(LOCATOR).u32(0).u64(after).u32(1);
            self.sink.write_all(&end.0)?;
        }
        let mut end = Fields::default();
        end.u32(END).u16(0).u16(0);
        end.u16(count as u16).u16(count as u16);
        end.narrow(length).narrow(self.end).u16(0);
        self.sink.write_all(&end.0)?;
        self.sink.flush()
    }
}

impl Member {
    fn is_wide(&self) -> bool {
        self.size >= WIDE || self.place >= WIDE
    }

    /// What local header and entry share, up to the length of the name.
    fn shared(&self, fields: &mut Fields, checksum: u32) {
        let version = VERSIONS[usize::from(!self.is_wide())];
        fields.u16(version).u16(0).u16(0).u16(0).u16(DAY);
        fields.u32(checksum);
        let size = match self.is_wide() {
            true => WIDE,
            false => self.size,
        };
        fields.narrow(size).narrow(size);
        fields.u16(self.name.len() as u16);
    }

    fn local(&self, checksum: u32) -> Vec<u8> {
        let mut fields = Fields::default();
        fields.u32(LOCAL);
        self.shared(&mut fields, checksum);
        let extra = match self.is_wide() {
            true => 20,
            false => 0,
        };
        fields.u16(extra);
        fields.0.extend(self.name.as_bytes());
        if self.is_wide() {
            fields.u16(1).u16(16).u64(self.size).u64(self.size);
        }
        fields.0
    }

    fn entry(&self, checksum: u32) -> Vec<u8> {
        let mut fields = Fields::default();
        fields
            .u32(ENTRY)
            .u16(VERSIONS[usize::from(!self.is_wide())]);
        self.shared(&mut fields, checksum);
        let extra = match self.is_wide() {
            true => 28,
            false => 0,
        };
        fields.u16(extra).u16(0).u16(0).u16(0).u32(0);
        fields.narrow(match self.is_wide() {
            true => WIDE,
            false => self.place,
        });
        fields.0.extend(self.name.as_bytes());
        if self.is_wide() {
            fields.u16(1).u16(24);
            fields.u64(self.size).u64(self.size).u64(self.place);
        }
        fields.0
    }
}

/// Little-endian numbers one after another.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// 32 bits, all ones for what needs more.
    fn narrow(&mut self, value: u64) -> &mut Self {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

/// The header of an `.npy` of `column`, padded to a multiple of 64 bytes.
pub(super) fn npy_header(column: &Column) -> Vec<u8> {
    let extents: String = column
        .shape
        .iter()
        .map(|extent| format!("{extent}, "))
        .collect();
    let shape = match &column.shape[..] {
        [_] => extents.trim_end(),
        _ => extents.trim_end_matches(", "),
    };
    let mut text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}",
        column.element.descriptor()
    );
    let before = 10;
    let length = (before + text.len() + 1).next_multiple_of(64) - before;
    text.extend(std::iter::repeat_n(' ', length - text.len() - 1));
    text.push('\n');
    let mut header = b"\x93NUMPY\x01\0".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array2, array};
    use ndarray_npy::NpzReader;
    use std::io::Cursor;

    fn column(name: &'static str, element: NpyElement, shape: &[usize]) -> Column {
        Column {
            name,
            element,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn arrays_that_grow_side_by_side_are_read_back() {
        let columns = [
            column("x", NpyElement::F64, &[3, 2]),
            column("done", NpyElement::Bool, &[3]),
            column("none", NpyElement::F64, &[0]),
        ];
        let mut file = Cursor::new(Vec::new());
        let mut npz = SideBySide::begin(&mut file, &columns).unwrap();
        npz.append(0, &[0.5, -1.0]).unwrap();
        npz.append_truths(1, &[true, false]).unwrap();
        npz.append(0, &[f64::NAN, 2.0, 3.0, 1e300]).unwrap();
        npz.append_truths(1, &[true]).unwrap();
        npz.finish().unwrap();
        let mut read = NpzReader::new(file).unwrap();
        let x: Array2<f64> = read.by_name("x").unwrap();
        assert_eq!(x.row(0).to_vec(), [0.5, -1.0]);
        assert!(x[(1, 0)].is_nan() && x[(2, 1)] == 1e300);
        let done: Array1<bool> = read.by_name("done").unwrap();
        assert_eq!(done, array![true, false, true]);
        let none: Array1<f64> = read.by_name("none").unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn numbers_that_do_not_belong_and_arrays_that_are_not_whole_are_errors() {
        let columns = [column("x", NpyElement::F64, &[2])];
        let begin = || SideBySide::begin(Cursor::new(Vec::new()), &columns).unwrap();
        assert!(begin().append(0, &[1.0, 2.0, 3.0]).is_err());
        assert!(begin().append_truths(0, &[true]).is_err());
        let mut npz = begin();
        npz.append(0, &[1.0]).unwrap();
        assert!(npz.finish().is_err());
        let huge = [column("x", NpyElement::F64, &[usize::MAX, 2])];
        assert!(SideBySide::begin(Cursor::new(Vec::new()), &huge).is_err());
    }

    /// A sparse file: nothing of the large array is written but its ends.
    #[test]
    fn arrays_beyond_4_gibibytes_have_fields_of_64_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.npz");
        let columns = [
            column("wide", NpyElement::Bool, &[5 << 30]),
            column("after", NpyElement::Bool, &[1]),
        ];
        let file = std::fs::File::create(&path).unwrap();
        let mut npz = SideBySide::begin(&file, &columns).unwrap();
        npz.members[0].left = 0;
        npz.append_truths(1, &[true]).unwrap();
        npz.finish().unwrap();
        let archive = crate::input::Source::file(&path).open().unwrap();
        let shapes = archive.slots().iter().map(|slot| slot.shape.clone());
        assert_eq!(shapes.collect::<Vec<_>>(), [vec![5 << 30], vec![1]]);
        let mut read = NpzReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let after: Array1<bool> = read.by_name("after").unwrap();
        assert_eq!(after, array![true]);
    }
}
