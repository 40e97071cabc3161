//! Where records lie: a host's side by side, a device's in a folder of their device.
//!
//! ```text
//! records/SUITE.jsonl                      of a host
//! records/DEVICE/SUITE.jsonl               of a device: what it does now
//! records/DEVICE/at-COMMIT/SUITE.jsonl     of the same device at the code of COMMIT, kept so that two
//!                                          devices can be compared that ran the same code
//! ```
//! `DEVICE` is the device's name in small letters without its maker ([`slug`]), `COMMIT` the first
//! twelve digits of the commit. A folder's name says nothing that the receipts in it do not:
//! [`shelves`] compares them line by line, and a record in a folder that is not its own is refused.

use crate::cell::Place;
use crate::error::Error;
use crate::evidence;
use crate::holdout::{self, plan::Kept};
use crate::machine;
use crate::record::{self, sealed};
use crate::rounds;
use broadhead_device::probe;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of all records, under the repository.
pub const RECORDS: &str = "benches/records";

/// Begins the name of a folder that holds the records of one commit.
const AT: &str = "at-";

/// Digits of a commit in the name of its folder.
const DIGITS: usize = 12;

/// Makers that a folder's name goes without.
const MAKERS: [&str; 1] = ["nvidia-"];

/// One folder of a device's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// The device's name, as its driver says it.
    pub device: String,
    /// The commit's first digits, of a folder that holds one commit alone.
    pub commit: Option<String>,
    /// The folder.
    pub path: PathBuf,
}

impl Shelf {
    /// The file of a suite in it, where it is there.
    pub fn suite(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.join(format!("{name}.jsonl"))).filter(|path| path.is_file())
    }
}

/// What a line says of where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    device: Option<String>,
    commit: String,
    dirty: bool,
    /// Of a record of a cell; evidence belongs to none.
    suite: Option<String>,
}

impl Origin {
    /// Of a record or of evidence: both name their commit, and their device in one of two places.
    fn of(line: &str) -> Option<Self> {
        // A line that is no JSON has no receipt either, and is refused by that name.
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return None;
        };
        let receipt = value.get("receipt")?;
        let device = &receipt["device"];
        let named = device["info"]["name"].as_str().or(device["name"].as_str());
        Some(Self {
            device: named.map(str::to_owned),
            commit: receipt["commit"].as_str()?.to_owned(),
            dirty: receipt["dirty"].as_bool().unwrap_or(false),
            suite: value["cell"]["suite"].as_str().map(str::to_owned),
        })
    }

    /// The folder that it belongs in, under that of all records; `at` of its commit alone.
    fn folder(&self, at: bool) -> PathBuf {
        let mut folder = PathBuf::new();
        if let Some(device) = &self.device {
            folder.push(slug(device));
            if at {
                folder.push(format!("{AT}{}", digits(&self.commit)));
            }
        }
        folder
    }

    /// The name of the file that it belongs in, where it came in `file`.
    fn file(&self, file: &Path) -> PathBuf {
        match &self.suite {
            Some(suite) => PathBuf::from(format!("{suite}.jsonl")),
            None => file.file_name().map(PathBuf::from).unwrap_or_default(),
        }
    }
}

fn digits(commit: &str) -> &str {
    commit.get(..DIGITS).unwrap_or(commit)
}

/// A device's name as a folder's: small letters and digits, all else one hyphen, without the maker.
///
/// ```
/// assert_eq!(broadhead_benches::store::slug("NVIDIA H100 80GB HBM3"), "h100-80gb-hbm3");
/// ```
pub fn slug(device: &str) -> String {
    let words = device.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let name = words.join("-");
    let short = MAKERS.iter().find_map(|maker| name.strip_prefix(maker));
    short.unwrap_or(&name).to_owned()
}

/// The folder for records of the first device of this machine; where there is none, nothing is
/// measured, and that of all records stands in.
pub fn of_this_device(root: &Path) -> PathBuf {
    let records = root.join(RECORDS);
    match probe::report().devices.first() {
        Some(device) => records.join(slug(&device.name)),
        None => records,
    }
}

/// All folders of devices under `records`, by name, those of one commit after that of their device.
///
/// # Errors
/// A record lies in a folder, or in a file, that is not its own, or a folder holds none.
pub fn shelves(records: &Path) -> Result<Vec<Shelf>, Error> {
    let mut found = Vec::new();
    if !records.is_dir() {
        return Ok(found);
    }
    let (files, folders) = entries(records)?;
    for file in &files {
        origins(records, file)?;
    }
    for folder in folders {
        let (files, inner) = entries(&folder)?;
        let mut devices = BTreeSet::new();
        for file in &files {
            devices.extend(origins(records, file)?.into_iter().filter_map(|o| o.device));
        }
        let mut of_commits = Vec::new();
        for path in inner {
            let mut commits = BTreeSet::new();
            for file in &entries(&path)?.0 {
                for origin in origins(records, file)? {
                    devices.extend(origin.device);
                    commits.insert(digits(&origin.commit).to_owned());
                }
            }
            let commit = commits.into_iter().next();
            if commit.is_none() {
                return Err(empty(&path));
            }
            of_commits.push((path, commit));
        }
        let mut devices = devices.into_iter();
        let (Some(device), None) = (devices.next(), devices.next()) else {
            return Err(empty(&folder));
        };
        found.push(Shelf {
            device: device.clone(),
            commit: None,
            path: folder,
        });
        found.extend(of_commits.into_iter().map(|(path, commit)| Shelf {
            device: device.clone(),
            commit,
            path,
        }));
    }
    Ok(found)
}

fn empty(folder: &Path) -> Error {
    Error::Format {
        path: folder.to_path_buf(),
        message: "expected the records of one device in this folder".to_owned(),
    }
}

/// The files of records and the folders of a folder, by name.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::file(folder))? {
        paths.push(entry.map_err(Error::file(folder))?.path());
    }
    paths.sort();
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    Ok((files, folders))
}

/// Where the lines of a file come from; all of them belong where the file lies.
fn origins(records: &Path, file: &Path) -> Result<BTreeSet<Origin>, Error> {
    let folder = file.parent().unwrap_or(records);
    let at = folder.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with(AT) && folder.parent() != Some(records)
    });
    let found = read_origins(file)?;
    for (origin, line) in &found {
        let belongs = records.join(origin.folder(at)).join(origin.file(file));
        if belongs != file || (at && origin.dirty) {
            let dirty = if origin.dirty { ", modified" } else { "" };
            return Err(Error::Misplaced {
                path: file.to_path_buf(),
                line: *line,
                origin: match &origin.device {
                    Some(device) => format!("{device}, commit {}{dirty}", digits(&origin.commit)),
                    None => "no device".to_owned(),
                },
                belongs,
            });
        }
    }
    Ok(found.into_iter().map(|(origin, _)| origin).collect())
}

fn read_origins(file: &Path) -> Result<Vec<(Origin, usize)>, Error> {
    let text = std::fs::read_to_string(file).map_err(Error::file(file))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| match Origin::of(line) {
            Some(origin) => Ok((origin, index + 1)),
            None => Err(Error::Refused {
                path: file.to_path_buf(),
                line: index + 1,
                refused: record::Refused::NoReceipt,
            }),
        })
        .collect()
}

/// Which folder of a device records are put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// That of what the device does now; what lay there is replaced.
    Current,
    /// That of their commit, beside what the device does now.
    AtCommit,
}

/// Copies the records of `from` that are in order to the folder of their device under `root`.
/// All files are checked before one is copied.
///
/// # Errors
/// A record is refused, a file holds none or those of several origins, or a file cannot be read or
/// written.
pub fn adopt(from: &Path, root: &Path, keep: Keep) -> Result<Vec<PathBuf>, Error> {
    let records = root.join(RECORDS);
    let mut checked = Vec::new();
    for path in entries(from)?.0 {
        let evident = |file: &&str| path.file_name().is_some_and(|name| name == *file);
        let of_host = if evidence::FILES.iter().any(evident) {
            evidence::read(&path)?;
            None
        } else if is_rounds(&path) {
            let name = rounds::plan::Plan::RECORDED;
            sealed::expect_plan(&path, &rounds::record::read(&path)?, name)?;
            None
        } else if let Some(name) = held_out_plan(&path) {
            sealed::expect_plan(&path, &holdout::record::read(&path)?, name)?;
            None
        } else {
            let found = record::read(&path)?;
            let host = found.iter().all(|r| r.cell.place == Place::Host);
            host.then_some(found)
        };
        let to = records.join(destination(&path, keep)?);
        checked.push((path, to, of_host));
    }
    if checked.is_empty() {
        return Err(Error::Format {
            path: from.to_path_buf(),
            message: "expected files of records (.jsonl) in this folder".to_owned(),
        });
    }
    let mut adopted = Vec::new();
    for (path, to, of_host) in checked {
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        }
        if is_rounds(&path) {
            rounds::record::put(&to, &rounds::record::read(&path)?)?;
            adopted.push(to);
            continue;
        }
        if held_out_plan(&path).is_some() && !is_named(&path, holdout::PEER_FILE) {
            holdout::record::put(&to, &holdout::record::read(&path)?)?;
            adopted.push(to);
            continue;
        }
        if let Some(found) = of_host {
            // One file holds several machines' records.
            machine::put(&to, &found)?;
            adopted.push(to);
            continue;
        }
        // The bytes as they came, each line sealed where it was measured; whole, or not there.
        let beside = to.with_extension("jsonl.broadhead-tmp");
        std::fs::copy(&path, &beside).map_err(Error::file(&beside))?;
        std::fs::rename(&beside, &to).map_err(Error::file(&to))?;
        adopted.push(to);
    }
    adopted.sort();
    Ok(adopted)
}

/// Whether a file holds records of the suite of rounds, which have a format of their own.
fn is_rounds(file: &Path) -> bool {
    is_named(file, rounds::FILE)
}

/// The plan whose records a file is for, if they are of rows held out, ours or the peer's.
fn held_out_plan(file: &Path) -> Option<&'static str> {
    let [comparison, _] = Kept::ALL;
    let is = |kept: &Kept| is_named(file, &kept.file());
    let ours = Kept::ALL.iter().find(|kept| is(kept));
    let peer = is_named(file, holdout::PEER_FILE).then_some(comparison.name);
    ours.map(|kept| kept.name).or(peer)
}

fn is_named(file: &Path, wanted: &str) -> bool {
    file.file_name().is_some_and(|name| name == wanted)
}

/// The file that the lines of `file` belong in, under the folder of all records.
fn destination(file: &Path, keep: Keep) -> Result<PathBuf, Error> {
    let format = |message: String| Error::Format {
        path: file.to_path_buf(),
        message,
    };
    let origins: BTreeSet<Origin> = read_origins(file)?.into_iter().map(|(o, _)| o).collect();
    let at = keep == Keep::AtCommit;
    let belong = origins.iter().map(|o| o.folder(at).join(o.file(file)));
    let mut belong = belong.collect::<BTreeSet<PathBuf>>().into_iter();
    match (belong.next(), belong.next()) {
        (None, _) => Err(format("expected records, found no line".to_owned())),
        (Some(first), Some(second)) => Err(format(format!(
            "expected lines of one origin, found some that belong in {} and some in {}",
            first.display(),
            second.display()
        ))),
        (Some(_), None) if at && origins.iter().any(|o| o.dirty || o.device.is_none()) => {
            Err(format(
                "only a device's records of an unmodified commit are kept at their commit"
                    .to_owned(),
            ))
        }
        (Some(to), None) => Ok(to),
    }
}

#[cfg(test)]
mod tests;
