//! What was measured about this machine, kept on disk.
//!
//! ```text
//! FOLDER/KIND.<32 digits of the key's SHA-256>.json
//! {"kind":..,"format":..,"key":{name: value, ..},"taken":..,"value":{..},"seal":".."}
//! ```
//! The key names everything that makes the value valid: the model of the hardware, versions, the number
//! of threads. A reader computes the key of *its* machine and takes the file of that name; a file that is
//! damaged, of another format or of another key than its name says is no record, and the answer says why
//! ([`NotKept`]). Where there is none, the key of the record most like it says what changed: a driver, a
//! library, a number of threads.
//!
//! # Invariants
//! - A file is written beside and renamed: it is whole or not there.
//! - What is read was sealed ([`seal`]) and is of the reader's own key.

use crate::{kernels, seal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Grows when the layout of a file changes.
const FORMAT: u32 = 1;

/// The most bytes that a record has.
const LARGEST: u64 = 4 << 20;

/// The most files of one kind that are looked through for one like the reader's.
const MOST: usize = 64;

/// What makes a value valid, by name.
pub type Key = BTreeMap<String, String>;

/// A value from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<T> {
    /// When it was measured, in seconds since 1970 UTC.
    pub taken: u64,
    /// SHA-256 of the record, in hexadecimal: its seal.
    pub digest: String,
    /// The value.
    pub value: T,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// No variable names a folder.
    #[error(
        "there is no cache folder: none of BROADHEAD_CACHE_DIR, XDG_CACHE_HOME and HOME is set"
    )]
    NoFolder,
    /// Nothing was ever kept there.
    #[error("none measured here")]
    Nothing,
    /// What is there was measured under other circumstances.
    #[error("those measured were for another {what}: {there:?}, here it is {here:?}")]
    Stale {
        /// The first name of the key that differs.
        what: String,
        /// Its value in the record.
        there: String,
        /// Its value here.
        here: String,
    },
    /// The system does not let the file be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what was written there.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        why: String,
    },
}

/// A record as it lies on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<T> {
    kind: String,
    format: u32,
    key: Key,
    taken: u64,
    value: T,
}

/// A folder of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(Option<PathBuf>);

impl Folder {
    /// The folder that the environment names: [`kernels::cache_folder`].
    pub fn of_environment() -> Self {
        Self(kernels::cache_folder())
    }

    /// `path`, which is made when something is kept there.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into()))
    }

    /// Where it is; absent where the environment names none.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// What is kept of `kind` under `key`.
    ///
    /// # Errors
    /// Why nothing is: [`NotKept`].
    pub fn read<T: DeserializeOwned>(&self, kind: &str, key: &Key) -> Result<Kept<T>, NotKept> {
        let folder = self.path().ok_or(NotKept::NoFolder)?;
        let path = folder.join(file_name(kind, key));
        let Some(text) = text_of(&path)? else {
            return Err(most_alike(folder, kind, key));
        };
        let (written, digest) = opened::<T>(&path, kind, &text)?;
        match difference(&written.key, key) {
            None => Ok(Kept {
                taken: written.taken,
                digest,
                value: written.value,
            }),
            Some(stale) => Err(stale),
        }
    }

    /// Keeps `value` of `kind` under `key`, in the place of what was there.
    ///
    /// # Errors
    /// What the system says, or that there is no folder.
    pub fn write<T: Serialize>(
        &self,
        kind: &str,
        key: &Key,
        value: T,
    ) -> Result<Kept<T>, std::io::Error> {
        let no_folder = || std::io::Error::other(NotKept::NoFolder);
        let path = self.path().ok_or_else(no_folder)?;
        let path = path.join(file_name(kind, key));
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let written = Written {
            kind: kind.to_owned(),
            format: FORMAT,
            key: key.clone(),
            taken: since.map_or(0, |since| since.as_secs()),
            value,
        };
        let text = serde_json::to_string(&written).map_err(std::io::Error::other)?;
        let line = seal::seal(&text);
        let digest = seal_of(&line);
        kernels::write_beside(&path, &[line.as_bytes(), b"\n"])?;
        Ok(Kept {
            taken: written.taken,
            digest,
            value: written.value,
        })
    }
}

fn file_name(kind: &str, key: &Key) -> String {
    let text: String = key.iter().map(|(k, v)| format!("{k:?}{v:?}")).collect();
    let digest = seal::digest(text.as_bytes());
    format!("{kind}.{}.json", &digest[..32])
}

/// The file's text; nothing where there is no file.
fn text_of(path: &Path) -> Result<Option<String>, NotKept> {
    let unreadable = |source| NotKept::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    (file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    let damaged = |why: &str| NotKept::Damaged {
        path: path.to_path_buf(),
        why: why.to_owned(),
    };
    if bytes.len() as u64 > LARGEST {
        return Err(damaged("it is larger than any record"));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| damaged("it is no text"))
}

/// The record in a file's text, with its seal.
fn opened<T: DeserializeOwned>(
    path: &Path,
    kind: &str,
    text: &str,
) -> Result<(Written<T>, String), NotKept> {
    let damaged = |why: String| NotKept::Damaged {
        path: path.to_path_buf(),
        why,
    };
    let line = text.trim_end();
    let body = seal::open(line).map_err(|broken| damaged(broken.to_string()))?;
    let written: Written<T> =
        serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
    if written.kind != kind || written.format != FORMAT {
        let Written { kind, format, .. } = written;
        return Err(damaged(format!("it holds {kind:?} in format {format}")));
    }
    Ok((written, seal_of(line)))
}

fn seal_of(line: &str) -> String {
    let end = line.len().saturating_sub(2);
    let digits = line.get(end.saturating_sub(64)..end);
    digits.unwrap_or_default().to_owned()
}

/// What the first difference of two keys says.
fn difference(there: &Key, here: &Key) -> Option<NotKept> {
    let names = there.keys().chain(here.keys());
    let name = names.into_iter().find(|k| there.get(*k) != here.get(*k))?;
    let of = |key: &Key| key.get(name).cloned().unwrap_or_default();
    Some(NotKept::Stale {
        what: name.clone(),
        there: of(there),
        here: of(here),
    })
}

/// Why none of the other records serves: in what the one most like it differs.
fn most_alike(folder: &Path, kind: &str, key: &Key) -> NotKept {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return NotKept::Nothing;
    };
    let of_kind = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{kind}.")) && name.ends_with(".json")
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(of_kind)
        .collect();
    paths.sort();
    let keys = paths.iter().take(MOST).filter_map(|path| {
        // One that cannot be read says nothing of what changed.
        let text = text_of(path).ok().flatten()?;
        let opened = opened::<serde_json::Value>(path, kind, &text);
        opened.ok().map(|(written, _)| written.key)
    });
    let unlike = |there: &Key| {
        let names: std::collections::BTreeSet<_> = there.keys().chain(key.keys()).collect();
        names
            .iter()
            .filter(|name| there.get(**name) != key.get(**name))
            .count()
    };
    let nearest = keys.min_by_key(unlike);
    nearest
        .and_then(|there| difference(&there, key))
        .unwrap_or(NotKept::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(threads: &str) -> Key {
        [("processor", "a model"), ("threads", threads)]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn what_was_kept_is_read_to_the_bit_with_its_digest() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path().join("below"));
        let value = vec![0.1 + 0.2, f64::MIN_POSITIVE];
        let kept = folder.write("rates", &key("2"), value.clone()).unwrap();
        let read = folder.read::<Vec<f64>>("rates", &key("2")).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.value, value);
        assert_eq!(read.digest.len(), 64);
        assert!(read.taken > 1_600_000_000);
    }

    #[test]
    fn nothing_kept_says_so_and_another_s_record_says_what_differs() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        let read = || folder.read::<f64>("rates", &key("2"));
        assert!(matches!(read(), Err(NotKept::Nothing)));
        folder.write("rates", &key("16"), 1.0).unwrap();
        folder.write("others", &key("2"), 1.0).unwrap();
        let reason = read().unwrap_err().to_string();
        for part in ["another threads", "\"16\"", "\"2\""] {
            assert!(reason.contains(part), "no {part:?} in {reason:?}");
        }
        let none = Folder(None).read::<f64>("rates", &key("2"));
        assert!(matches!(none, Err(NotKept::NoFolder)));
        assert!(Folder(None).write("rates", &key("2"), 1.0).is_err());
    }

    #[test]
    fn a_harmed_cut_or_foreign_file_is_no_record() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        folder.write("rates", &key("2"), vec![1.5, 2.5]).unwrap();
        let path = temporary.path().join(file_name("rates", &key("2")));
        let whole = std::fs::read(&path).unwrap();
        let read = || folder.read::<Vec<f64>>("rates", &key("2"));
        for at in 0..whole.len() - 1 {
            let mut harmed = whole.clone();
            harmed[at] ^= 1;
            std::fs::write(&path, harmed).unwrap();
            assert!(matches!(read(), Err(NotKept::Damaged { .. })), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(matches!(read(), Err(NotKept::Damaged { .. })), "cut {at}");
        }
        // A whole record of another machine under this one's name.
        folder.write("rates", &key("16"), vec![9.0]).unwrap();
        let other = temporary.path().join(file_name("rates", &key("16")));
        std::fs::copy(other, &path).unwrap();
        assert!(matches!(read(), Err(NotKept::Stale { .. })));
        // A value of another shape.
        folder.write("rates", &key("2"), "words").unwrap();
        assert!(matches!(read(), Err(NotKept::Damaged { .. })));
        std::fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert!(matches!(read(), Err(NotKept::Damaged { .. })));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(read(), Err(NotKept::Unreadable { .. })));
    }
}
