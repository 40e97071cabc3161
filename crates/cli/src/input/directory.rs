//! The directory of a ZIP archive (PKWARE's APPNOTE, 4.3), and the members that it lists.
//!
//! ```text
//! [local header, bytes]...  [entry]...  [end of 64 bits, its locator]  end, comment
//!          ^---------------- place        ^------------ start, length, count
//! ```
//!
//! The reader looks for one end, where the format puts it, and checks the directory against it before
//! it reads an entry: the entries fit in the directory, the directory lies in the file, and the members
//! lie before it. General readers are more tolerant of damaged archives: they try every end that a file
//! might have, which takes time quadratic in the length of a hostile file, and reserve room for as many
//! entries as the file claims.

use super::medium::Reader;
use flate2::bufread::DeflateDecoder;
use std::io::{self, Read, Seek, SeekFrom, Take};

const LOCAL: u32 = 0x0403_4b50;
const ENTRY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const LOCATOR: u32 = 0x0706_4b50;
const END_64: u32 = 0x0606_4b50;
/// Bytes of the fixed part of each record.
const LOCAL_BYTES: u64 = 30;
const ENTRY_BYTES: u64 = 46;
const END_BYTES: usize = 22;
const LOCATOR_BYTES: u64 = 20;
const END_64_BYTES: usize = 56;
/// The longest comment.
const COMMENT: u64 = 0xffff;

/// How a member is compressed: the number of its method.
pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;

/// A member, as the directory describes it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) encrypted: bool,
    pub(super) method: u16,
    checksum: u32,
    /// Its compressed length in bytes.
    pub(super) held: u64,
    /// Its length in bytes.
    pub(super) size: u64,
    /// Where its local header is.
    place: u64,
    /// Before which it must end: the directory's start.
    end: u64,
}

/// The entries of the archive in `reader`.
///
/// # Errors
/// A description of what is wrong.
pub(super) fn entries(reader: &mut Reader) -> Result<Vec<Entry>, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "its directory does not end".to_owned(),
        _ => error.to_string(),
    };
    let file = reader.seek(SeekFrom::End(0)).map_err(failed)?;
    let (start, length, count) = end_of(reader, file).map_err(failed)??;
    if length > file || count > length / ENTRY_BYTES {
        return Err(format!(
            "its end claims {count} members in a directory of {length} bytes"
        ));
    }
    reader.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut directory = Vec::new();
    reader
        .take(length)
        .read_to_end(&mut directory)
        .map_err(failed)?;
    let mut rest = directory.as_slice();
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = entry(&mut rest, start);
        entries.push(entry.ok_or("an entry of its directory is not understood")?);
    }
    Ok(entries)
}

/// Start, length and number of entries of the directory, from its end.
fn end_of(reader: &mut Reader, file: u64) -> io::Result<Result<(u64, u64, u64), String>> {
    let tail_start = file.saturating_sub(END_BYTES as u64 + COMMENT);
    reader.seek(SeekFrom::Start(tail_start))?;
    let mut tail = Vec::new();
    reader
        .take(END_BYTES as u64 + COMMENT)
        .read_to_end(&mut tail)?;
    let is_end = |at: &usize| {
        let end = &tail[*at..];
        let comment = u16::from_le_bytes([end[20], end[21]]);
        end.starts_with(&END.to_le_bytes()) && end.len() == END_BYTES + usize::from(comment)
    };
    let last = (tail.len() + 1).saturating_sub(END_BYTES);
    let Some(at) = (0..last).rev().find(is_end) else {
        return Ok(Err("it has no directory at its end".to_owned()));
    };
    let mut end = Fields(&tail[at + 4..]);
    let [disk, of_directory, here, all] = [end.u16(), end.u16(), end.u16(), end.u16()];
    let (length, start) = (end.u32(), end.u32());
    let at = tail_start + at as u64;
    let wide = here == u16::MAX || all == u16::MAX || length == u32::MAX || start == u32::MAX;
    let numbers = if wide && at >= LOCATOR_BYTES {
        match end_64(reader, at - LOCATOR_BYTES)? {
            Some(numbers) => numbers,
            None => (at, start.into(), length.into(), all.into()),
        }
    } else {
        (at, start.into(), length.into(), all.into())
    };
    let (at, start, length, all) = numbers;
    if disk != of_directory {
        return Ok(Err("it is one part of several".to_owned()));
    }
    // Only the end may follow the directory, and nothing may precede the archive.
    Ok(if u64::checked_add(start, length) == Some(at) {
        Ok((start, length, all))
    } else {
        Err("its directory is not where its end says".to_owned())
    })
}

/// Reads the 64-bit end whose locator is at `locator`, if there is one: its place, and the directory's
/// start, length and number of entries.
fn end_64(reader: &mut Reader, locator: u64) -> io::Result<Option<(u64, u64, u64, u64)>> {
    reader.seek(SeekFrom::Start(locator))?;
    let mut bytes = [0; LOCATOR_BYTES as usize];
    reader.read_exact(&mut bytes)?;
    let mut fields = Fields(&bytes);
    let (signature, _, at) = (fields.u32(), fields.u32(), fields.u64());
    if signature != LOCATOR || at >= locator {
        return Ok(None);
    }
    reader.seek(SeekFrom::Start(at))?;
    let mut bytes = [0; END_64_BYTES];
    reader.read_exact(&mut bytes)?;
    let mut fields = Fields(&bytes);
    if fields.u32() != END_64 {
        return Ok(None);
    }
    // Skips its own length, versions, disks, and the entries on this disk.
    fields.skip(8 + 4 + 8 + 8);
    let (all, length, start) = (fields.u64(), fields.u64(), fields.u64());
    Ok(Some((at, start, length, all)))
}

/// Takes the next entry from `rest`, in a directory that starts at `end`.
fn entry(rest: &mut &[u8], end: u64) -> Option<Entry> {
    let (fixed, behind) = rest.split_at_checked(ENTRY_BYTES as usize)?;
    let mut fields = Fields(fixed);
    if fields.u32() != ENTRY {
        return None;
    }
    fields.skip(4);
    let (flags, method) = (fields.u16(), fields.u16());
    fields.skip(4);
    let checksum = fields.u32();
    let mut held = u64::from(fields.u32());
    let mut size = u64::from(fields.u32());
    let [name, extra, comment] = [fields.u16(), fields.u16(), fields.u16()].map(usize::from);
    fields.skip(8);
    let mut place = u64::from(fields.u32());
    let (name, behind) = behind.split_at_checked(name)?;
    let (mut extra, behind) = behind.split_at_checked(extra)?;
    *rest = behind.get(comment..)?;
    // The field of 64-bit numbers has those whose 32-bit field is all ones, in this order.
    while let Some((head, behind)) = extra.split_at_checked(4) {
        let mut head = Fields(head);
        let (kind, length) = (head.u16(), usize::from(head.u16()));
        let (field, behind) = behind.split_at_checked(length)?;
        extra = behind;
        if kind == 1 {
            let mut numbers = Fields(field);
            for number in [&mut size, &mut held, &mut place] {
                if *number == u64::from(u32::MAX) && numbers.0.len() >= 8 {
                    *number = numbers.u64();
                }
            }
        }
    }
    Some(Entry {
        name: String::from_utf8_lossy(name).into_owned(),
        encrypted: flags & 1 != 0,
        method,
        checksum,
        held,
        size,
        place,
        end,
    })
}

/// Reads little-endian numbers one after another, and 0 past the end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn skip(&mut self, count: usize) {
        self.0 = self.0.get(count..).unwrap_or_default();
    }

    fn take<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        let bytes = self.0.first_chunk().copied().unwrap_or([0; SIZE]);
        self.skip(SIZE);
        bytes
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// The bytes of a member. Length and checksum are compared at the end.
pub(super) struct Member<'a> {
    bytes: Bytes<'a>,
    /// Where its bytes begin in the file.
    start: u64,
    /// Bytes left to read.
    left: u64,
    hasher: crc32fast::Hasher,
    checksum: u32,
}

enum Bytes<'a> {
    Stored(Take<&'a mut Reader>),
    Deflated(Box<DeflateDecoder<Take<&'a mut Reader>>>),
}

impl<'a> Member<'a> {
    /// Begins to read the member of `entry`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn open(reader: &'a mut Reader, entry: &Entry) -> Result<Self, String> {
        let failed = |_: io::Error| "its local header is not there".to_owned();
        reader
            .seek(SeekFrom::Start(entry.place))
            .map_err(|error| error.to_string())?;
        let mut local = [0; LOCAL_BYTES as usize];
        reader.read_exact(&mut local).map_err(failed)?;
        let mut fields = Fields(&local);
        let signature = fields.u32();
        fields.skip(22);
        let (name, extra) = (u64::from(fields.u16()), u64::from(fields.u16()));
        let start = (entry.place).saturating_add(LOCAL_BYTES + name + extra);
        if signature != LOCAL || start.saturating_add(entry.held) > entry.end {
            return Err("its bytes are not where its directory says".to_owned());
        }
        reader
            .seek(SeekFrom::Start(start))
            .map_err(|error| error.to_string())?;
        let bytes = reader.take(entry.held);
        Ok(Self {
            start,
            bytes: match entry.method {
                DEFLATED => Bytes::Deflated(Box::new(DeflateDecoder::new(bytes))),
                _ => Bytes::Stored(bytes),
            },
            left: entry.size,
            hasher: crc32fast::Hasher::new(),
            checksum: entry.checksum,
        })
    }

    /// Where its bytes begin in the file.
    pub(super) fn start(&self) -> u64 {
        self.start
    }
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let bytes: &mut dyn Read = match &mut self.bytes {
            Bytes::Stored(bytes) => bytes,
            Bytes::Deflated(bytes) => bytes,
        };
        if self.left == 0 {
            if bytes.read(&mut [0])? > 0 {
                return wrong("it goes on beyond the length that its directory declares");
            }
            if self.hasher.clone().finalize() != self.checksum {
                return wrong("its bytes do not have the checksum that its directory declares");
            }
            return Ok(0);
        }
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = bytes.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return wrong("it ends before the length that its directory declares");
        }
        self.hasher.update(&buffer[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}
