//! The bytes of a file, on a disk or in memory.

use super::error::InputError;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// The bytes of a file.
#[derive(Debug)]
pub(super) enum Medium {
    Disk(File),
    Memory(Cursor<Vec<u8>>),
}

impl Medium {
    /// The file, if the bytes are in one.
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::Disk(file) => Some(file),
            Self::Memory(_) => None,
        }
    }
}

/// A buffered [`Medium`].
pub(super) type Reader = BufReader<Medium>;

/// An open file, with its length if it is a regular file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) reader: Reader,
    pub(super) length: Option<u64>,
}

impl Opened {
    /// Opens the file at `path`.
    pub(super) fn file(path: &Path) -> Result<Self, InputError> {
        let failed = |source| InputError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER, Medium::Disk(file)),
            length: metadata.is_file().then_some(metadata.len()),
        })
    }

    /// A file whose bytes are in memory.
    pub(super) fn memory(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        let medium = Medium::Memory(Cursor::new(bytes));
        Self {
            reader: BufReader::with_capacity(length.clamp(64, BUFFER), medium),
            length: Some(length as u64),
        }
    }
}

impl Read for Medium {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Medium {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Disk(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}
