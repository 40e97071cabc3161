//! `.npz` archives: a ZIP of `.npy` members.

use super::error::InputError;
use super::npy::read_header;
use super::source::{Slot, label, open_file, read_elements};
use ndarray::ArrayD;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::read::ZipFile;

/// An open `.npz` whose members are listed.
#[derive(Debug)]
pub(super) struct NpzFile {
    archive: ZipArchive<BufReader<File>>,
    /// The ZIP index of each slot.
    members: Vec<usize>,
}

impl NpzFile {
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Slot>), InputError> {
        let name = path.display().to_string();
        let malformed = |error: zip::result::ZipError| InputError::Malformed {
            array: name.clone(),
            reason: format!("not a complete .npz archive: {error}"),
        };
        let (reader, _) = open_file(path)?;
        let mut archive = ZipArchive::new(reader).map_err(malformed)?;
        let mut slots = Vec::new();
        let mut members = Vec::new();
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).map_err(malformed)?;
            let Some(array) = member.name().strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            let label = label(path, &array);
            slots.push(read_header(&mut member, &label, array)?);
            members.push(index);
        }
        Ok((Self { archive, members }, slots))
    }

    pub(super) fn read(
        &mut self,
        name: &str,
        slot: &Slot,
        index: usize,
    ) -> Result<ArrayD<f64>, InputError> {
        let malformed = |reason: String| InputError::Malformed {
            array: name.to_owned(),
            reason,
        };
        let mut member = self
            .archive
            .by_index(self.members[index])
            .map_err(|error| malformed(error.to_string()))?;
        let size = member.size();
        let mut counted = Counted::new(&mut member);
        read_header(&mut counted, name, slot.name.clone())?;
        let available = size.saturating_sub(counted.count);
        let array = read_elements(&mut counted, name, slot, Some(available), true)?;
        // Reading on to the end lets the archive compare the member's checksum.
        match counted.read(&mut [0]) {
            Ok(0) => Ok(array),
            Ok(_) => Err(malformed("goes on after its array".to_owned())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// Counts the bytes that pass.
struct Counted<'a, 'z> {
    reader: &'a mut ZipFile<'z, BufReader<File>>,
    count: u64,
}

impl<'a, 'z> Counted<'a, 'z> {
    fn new(reader: &'a mut ZipFile<'z, BufReader<File>>) -> Self {
        Self { reader, count: 0 }
    }
}

impl Read for Counted<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}
