//! `.npz` archives: a ZIP of `.npy` members.
//!
//! What a member's directory entry claims is held against what its bytes can hold before anything is
//! reserved for it: deflate makes at most 1032 bytes of one.

use super::error::InputError;
use super::medium::{Opened, Reader};
use super::npy::{Counted, read_header};
use super::source::{Slot, label, read_elements};
use ndarray::ArrayD;
use std::io::Read;
use std::path::Path;
use zip::read::ZipFile;
use zip::{CompressionMethod, ZipArchive};

/// The most that a byte of deflate stands for: 258 bytes in two bits.
const DEFLATE_MOST: u64 = 1032;

/// An open `.npz` whose members are listed.
#[derive(Debug)]
pub(super) struct NpzFile {
    archive: ZipArchive<Reader>,
    /// The ZIP index of each slot.
    members: Vec<usize>,
}

impl NpzFile {
    pub(super) fn open(path: &Path, opened: Opened) -> Result<(Self, Vec<Slot>), InputError> {
        let malformed = |array: String, error: zip::result::ZipError| InputError::Malformed {
            array,
            reason: format!("not a complete .npz archive: {error}"),
        };
        let Opened { reader, length } = opened;
        let mut archive = ZipArchive::new(reader)
            .map_err(|error| malformed(path.display().to_string(), error))?;
        let mut slots = Vec::new();
        let mut members = Vec::new();
        for index in 0..archive.len() {
            let Some(file) = archive.name_for_index(index) else {
                continue;
            };
            let Some(array) = file.strip_suffix(".npy").map(str::to_owned) else {
                continue;
            };
            let label = label(path, &array);
            {
                let member = archive
                    .by_index_raw(index)
                    .map_err(|error| malformed(label.clone(), error))?;
                check(&member, length).map_err(|reason| InputError::Malformed {
                    array: label.clone(),
                    reason,
                })?;
            }
            let mut member = archive
                .by_index(index)
                .map_err(|error| malformed(label.clone(), error))?;
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
        let mut counted = Counted {
            reader: &mut member,
            count: 0,
        };
        read_header(&mut counted, name, slot.name.clone())?;
        let available = size.saturating_sub(counted.count);
        let array = read_elements(&mut counted, name, slot, Some(available))?;
        // Reading on to the end lets the archive compare the member's checksum.
        match counted.read(&mut [0]) {
            Ok(0) => Ok(array),
            Ok(_) => Err(malformed("goes on after its array".to_owned())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// Refuses a member that is not read, or that claims more bytes than it, or the file of `length`
/// bytes, can hold.
fn check<R: Read>(member: &ZipFile<'_, R>, length: Option<u64>) -> Result<(), String> {
    let method = member.compression();
    if member.encrypted() {
        return Err("is encrypted, which is not read".to_owned());
    }
    let (size, claimed) = (member.size(), member.compressed_size());
    let held = claimed.min(length.unwrap_or(u64::MAX));
    let most = match method {
        CompressionMethod::Stored => held,
        CompressionMethod::Deflated => held.saturating_mul(DEFLATE_MOST),
        other => {
            return Err(format!(
                "is compressed by {}, which is not read: write it by numpy.savez or \
                 numpy.savez_compressed",
                word(other)
            ));
        }
    };
    if size > most {
        return Err(format!(
            "not a complete .npz archive: its directory claims {size} bytes in {held} of {method}, \
             which hold at most {most}"
        ));
    }
    Ok(())
}

/// The name of a method that is not read, by its number in the ZIP specification (4.4.5).
fn word(method: CompressionMethod) -> String {
    let known = [
        (CompressionMethod::SHRINK, "shrinking"),
        (CompressionMethod::IMPLODE, "imploding"),
        (CompressionMethod::DEFLATE64, "deflate64"),
        (CompressionMethod::BZIP2, "bzip2"),
        (CompressionMethod::LZMA, "LZMA"),
        (CompressionMethod::ZSTD, "Zstandard"),
        (CompressionMethod::XZ, "XZ"),
        (CompressionMethod::PPMD, "PPMd"),
    ];
    match known.iter().find(|(known, _)| *known == method) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("a method that is not known ({method:?})"),
    }
}
