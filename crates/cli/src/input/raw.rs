//! Elements as they are in a file, for rows that stay in their own type: read into memory, or left where they are.

use super::element::Order;
use super::error::InputError;
use super::source::{Checked, Slot, checked, ended, too_large};
use crate::{memory, message};
use broadhead_sae::Stored;
use std::fs::File;
use std::io::{self, Read};
use std::time::SystemTime;

/// Bytes that are read at once where elements are put into another order.
const CHUNK: usize = 1 << 16;

/// From this many bytes on, memory is checked before allocating.
const LARGE: u64 = 1 << 20;

/// Reads the elements of a matrix from the current position of `reader`, as they are but row-major.
pub(super) fn read_raw(
    reader: &mut impl Read,
    name: &str,
    slot: &Slot,
    available: Option<u64>,
) -> Result<Vec<u8>, InputError> {
    let checked = checked(name, slot, available)?;
    let Checked {
        element, needed, ..
    } = checked;
    if needed >= LARGE {
        memory::require(name, needed)?;
    }
    let length = usize::try_from(needed).map_err(|_| too_large(name, slot))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(length)
        .map_err(|_| too_large(name, slot))?;
    let read = match (slot.order, &slot.shape[..]) {
        (Order::Fortran, &[rows, columns]) => {
            bytes.resize(length, 0);
            turned(reader, element.size(), [rows, columns], &mut bytes)
        }
        // Of one axis both orders are the same.
        _ => match reader.take(needed).read_to_end(&mut bytes) {
            Ok(found) if found < length => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other.map(drop),
        },
    };
    read.map_err(|error| ended(name, slot, checked, available, error))?;
    Ok(bytes)
}

/// Reads a column-major matrix of elements of `size` bytes into row-major order.
fn turned(
    reader: &mut impl Read,
    size: usize,
    [rows, columns]: [usize; 2],
    out: &mut [u8],
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(rows.max(1) * size)];
    for column in 0..columns {
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(buffer.len() / size);
            let chunk = &mut buffer[..count * size];
            reader.read_exact(chunk)?;
            for (i, element) in chunk.chunks_exact(size).enumerate() {
                let to = ((row + i) * columns + column) * size;
                out[to..][..size].copy_from_slice(element);
            }
            row += count;
        }
    }
    Ok(())
}

/// Elements in a file, with nothing between them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: FileBytes,
    /// The first byte of the first element.
    pub(super) offset: u64,
}

impl Place {
    pub(super) fn of(file: &File, offset: u64, name: &str) -> Result<Self, InputError> {
        match FileBytes::of(file, name) {
            Ok(file) => Ok(Self { file, offset }),
            Err(error) => Err(InputError::Malformed {
                array: name.to_owned(),
                reason: error.to_string(),
            }),
        }
    }
}

/// The bytes of an open file, read where they are wanted: what is read is not kept, so that only a tile of rows for
/// every worker is in memory. (Pages of a mapped file would count as the process's own.)
#[derive(Debug)]
pub(super) struct FileBytes {
    name: String,
    file: File,
    /// When its bytes were last changed before the first was read, where the system knows.
    modified: Option<SystemTime>,
    #[cfg(not(unix))]
    turn: std::sync::Mutex<()>,
}

impl FileBytes {
    fn of(file: &File, name: &str) -> io::Result<Self> {
        let file = file.try_clone()?;
        Ok(Self {
            name: message::ends(name),
            modified: modified(&file),
            file,
            #[cfg(not(unix))]
            turn: std::sync::Mutex::new(()),
        })
    }

    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn read_exact_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        // The place in the file is shared, so one reads at a time.
        let _turn = self.turn.lock();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}

/// When the bytes of a file were last changed, where the system knows.
fn modified(file: &File) -> Option<SystemTime> {
    let metadata = file.metadata();
    metadata.and_then(|metadata| metadata.modified()).ok()
}

impl Stored for FileBytes {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let other = |what| Err(io::Error::other(what));
        match self.read_exact_at(offset, bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                other("the file has become shorter since it was opened")
            }
            Ok(()) if modified(&self.file) != self.modified => {
                other("the file has changed since it was opened")
            }
            read => read,
        }
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_is_cut_short_or_changed_after_it_was_opened_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, [7; 64]).unwrap();
        let open = |options: &mut std::fs::OpenOptions| options.write(true).open(&path).unwrap();
        let file = FileBytes::of(&File::open(&path).unwrap(), "x").unwrap();
        let mut bytes = [0; 16];
        file.read_at(48, &mut bytes).unwrap();
        assert_eq!((bytes, file.name()), ([7; 16], "x".to_owned()));
        let said = |offset| file.read_at(offset, &mut [0; 16]).unwrap_err().to_string();
        assert!(said(56).contains("shorter"));
        let mut writer = open(File::options().append(true));
        writer.write_all(&[1]).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        writer.set_modified(later).unwrap();
        assert!(said(0).contains("changed"));
        writer.set_len(20).unwrap();
        assert!(said(16).contains("shorter"));
    }
}
