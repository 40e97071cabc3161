//! `.npz` archives: a ZIP of `.npy` members.
//!
//! The length that a member's entry claims is checked against what its bytes can expand to, before
//! anything is reserved: deflate makes at most 1032 bytes of one.

use super::directory::{self, DEFLATED, Entry, Member, STORED};
use super::error::InputError;
use super::medium::{Opened, Reader};
use super::npy::{Counted, read_header};
use super::raw::{Place, read_raw};
use super::source::{Slot, checked, label, read_elements};
use ndarray::ArrayD;
use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that one byte of deflate expands to: 258 bytes in two bits.
const DEFLATE_MOST: u64 = 1032;

/// An open `.npz` whose members are listed.
#[derive(Debug)]
pub(super) struct NpzFile {
    reader: Reader,
    /// Whether the file's length is known, so that it can be read anywhere.
    is_regular: bool,
    /// The directory's entry of each slot.
    members: Vec<Entry>,
}

impl NpzFile {
    pub(super) fn open(path: &Path, opened: Opened) -> Result<(Self, Vec<Slot>), InputError> {
        let malformed = |array: String, reason: String| InputError::Malformed { array, reason };
        let Opened { mut reader, length } = opened;
        let entries = directory::entries(&mut reader).map_err(|reason| {
            let reason = format!("not a complete .npz archive: {reason}");
            malformed(path.display().to_string(), reason)
        })?;
        let mut slots = Vec::new();
        let mut members = Vec::new();
        let mut names = HashSet::new();
        for entry in entries {
            let Some(array) = entry.name.strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            let label = label(path, &array);
            check(&entry).map_err(|reason| malformed(label.clone(), reason))?;
            if !names.insert(array.clone()) {
                return Err(malformed(label, "is there twice".to_owned()));
            }
            let mut member = Member::open(&mut reader, &entry)
                .map_err(|reason| malformed(label.clone(), reason))?;
            slots.push(read_header(&mut member, &label, array)?);
            members.push(entry);
        }
        let file = Self {
            reader,
            is_regular: length.is_some(),
            members,
        };
        Ok((file, slots))
    }

    pub(super) fn read(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<ArrayD<f64>, InputError> {
        self.through(name, slot, index, |member, available| {
            read_elements(member, name, slot, Some(available))
        })
    }

    /// The elements as they are in the member, row-major.
    pub(super) fn read_raw(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<Vec<u8>, InputError> {
        self.through(name, slot, index, |member, available| {
            read_raw(member, name, slot, Some(available))
        })
    }

    /// Whether the bytes of a member stand in the file as they are.
    pub(super) fn is_stored(&self, index: usize) -> bool {
        self.is_regular && self.members[index].method == STORED
    }

    /// Where the elements are, in a file that can be read anywhere. Reads the member once, for its checksum.
    pub(super) fn place(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<Option<Place>, InputError> {
        if !self.is_stored(index) {
            return Ok(None);
        }
        let length = self.members[index].size;
        let header = self.through(name, slot, index, |member, available| {
            checked(name, slot, Some(available))?;
            match io::copy(member, &mut io::sink()) {
                Ok(_) => Ok(length - available),
                Err(error) => Err(InputError::Malformed {
                    array: name.to_owned(),
                    reason: error.to_string(),
                }),
            }
        })?;
        let member = Member::open(&mut self.reader, &self.members[index]);
        let start = member.map_err(|reason| InputError::Malformed {
            array: name.to_owned(),
            reason,
        })?;
        let start = start.start() + header;
        match self.reader.get_ref().file() {
            Some(file) => Ok(Some(Place::of(file, start, name)?)),
            None => Ok(None),
        }
    }

    /// Reads a member's elements through `read`, which is told how many bytes there are, and then to its end.
    fn through<T>(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
        read: impl FnOnce(&mut Counted<&mut Member<'_>>, u64) -> Result<T, InputError>,
    ) -> Result<T, InputError> {
        let malformed = |reason: String| InputError::Malformed {
            array: name.to_owned(),
            reason,
        };
        let entry = &self.members[index];
        let mut member = Member::open(&mut self.reader, entry).map_err(malformed)?;
        let mut counted = Counted {
            reader: &mut member,
            count: 0,
        };
        read_header(&mut counted, name, slot.name.clone())?;
        let available = entry.size.saturating_sub(counted.count);
        let read = read(&mut counted, available)?;
        // Reading to the end compares the member's length and checksum.
        match member.read(&mut [0]) {
            Ok(0) => Ok(read),
            Ok(_) => Err(malformed("goes on after its array".to_owned())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// Refuses a member with an unsupported compression, or one that claims more bytes than it can expand
/// to.
fn check(entry: &Entry) -> Result<(), String> {
    if entry.encrypted {
        return Err("is encrypted, which is not read".to_owned());
    }
    let Entry { size, held, .. } = *entry;
    let (word, most) = match entry.method {
        STORED => ("stored bytes", held),
        DEFLATED => ("deflate", held.saturating_mul(DEFLATE_MOST)),
        other => {
            return Err(format!(
                "is compressed by {}, which is not read: write it by numpy.savez or \
                 numpy.savez_compressed",
                method(other)
            ));
        }
    };
    if size > most {
        return Err(format!(
            "not a complete .npz archive: its directory claims {size} bytes in {held} of {word}, \
             which hold at most {most}"
        ));
    }
    Ok(())
}

/// The name of an unsupported method, by its number (APPNOTE 4.4.5).
fn method(number: u16) -> String {
    let name = match number {
        1 => "shrinking",
        2..=5 => "reducing",
        6 => "imploding",
        9 => "deflate64",
        12 => "bzip2",
        14 => "LZMA",
        20 | 93 => "Zstandard",
        95 => "XZ",
        98 => "PPMd",
        other => return format!("method {other}, which is not known"),
    };
    name.to_owned()
}
