//! Files written beside their targets and put in place together.

use super::OutputError;
#[cfg(unix)]
use std::fs::Permissions;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// The prefix of a single file that is still being written.
const LONE_PREFIX: &str = ".broadhead-lone-";
/// The prefix of a file of a set that is not yet in place, or no longer in place.
pub(super) const SET_PREFIX: &str = ".broadhead-set-";

/// Where one staged file is written.
pub type Sink = BufWriter<File>;

/// Files written beside their targets, none of them visible yet.
#[derive(Debug, Default)]
pub struct Staging {
    files: Vec<Staged>,
    /// For a set, every name that belongs to it.
    set: Option<Vec<PathBuf>>,
}

#[derive(Debug)]
struct Staged {
    beside: TempPath,
    /// The file to be replaced; if the name is a link, what it points to.
    target: PathBuf,
    /// The target as it was named.
    name: PathBuf,
}

impl Staging {
    /// Nothing staged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing staged yet of a set that may contain only `names`.
    pub(super) fn set(names: Vec<PathBuf>) -> Self {
        Self {
            files: Vec::new(),
            set: Some(names),
        }
    }

    /// Writes one file beside `target` through `write`.
    ///
    /// # Errors
    /// An unwritable folder, a full disk, a target that is not a regular file; nothing is left behind
    /// then.
    pub fn write(
        &mut self,
        target: &Path,
        write: impl FnOnce(&mut Sink) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        self.write_with(target, |sink| {
            write(sink).map_err(|source| OutputError::Io {
                path: target.to_owned(),
                source,
            })
        })
    }

    /// As [`Staging::write`], where writing may fail for other reasons too, or has a result.
    ///
    /// # Errors
    /// As there, and those of `write`.
    pub fn write_with<T, E: From<OutputError>>(
        &mut self,
        target: &Path,
        write: impl FnOnce(&mut Sink) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = |source| OutputError::Io {
            path: target.to_owned(),
            source,
        };
        let target_file = resolve(target)?;
        let prefix = match self.set {
            Some(_) => SET_PREFIX,
            None => LONE_PREFIX,
        };
        let beside = create_beside(&target_file, prefix).map_err(failed)?;
        let (file, beside) = beside.into_parts();
        let mut sink = BufWriter::with_capacity(1 << 16, file);
        let result = write(&mut sink)?;
        let file = sink
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        // A full disk may only be noticed here.
        file.sync_all().map_err(failed)?;
        self.files.push(Staged {
            beside,
            target: target_file,
            name: target.to_owned(),
        });
        Ok(result)
    }

    /// Puts every staged file in place and returns the targets.
    ///
    /// A single file is renamed over the old one. For a set, the old files are first moved away,
    /// beginning with the one that was staged last; then the new ones are put in place, ending with
    /// that one. So files of two runs never stand side by side, and if the last file (a summary) is
    /// there, the set is whole, however the run ended.
    ///
    /// # Errors
    /// The first rename that fails; everything is then as it was before.
    pub fn publish(mut self) -> Result<Vec<PathBuf>, OutputError> {
        match (self.set.take(), self.files.len()) {
            (Some(names), _) => publish_set(self.files, &names),
            (None, 1) => {
                let mut published = Vec::new();
                for file in self.files {
                    put(file.beside, &file.target)?;
                    published.push(file.target);
                }
                Ok(published)
            }
            (None, _) => publish_set(self.files, &[]),
        }
    }
}

/// The replacement of a set, which can be undone.
#[derive(Debug, Default)]
struct Exchange {
    /// Old files under temporary names, with their original places.
    old: Vec<(TempPath, PathBuf)>,
    /// New files that have been put in place.
    new: Vec<PathBuf>,
}

fn publish_set(files: Vec<Staged>, names: &[PathBuf]) -> Result<Vec<PathBuf>, OutputError> {
    let mut exchange = Exchange::default();
    match exchange.run(files, names) {
        Ok(()) => Ok(exchange.new),
        Err(error) => {
            exchange.take_back();
            Err(error)
        }
    }
}

impl Exchange {
    fn run(&mut self, files: Vec<Staged>, names: &[PathBuf]) -> Result<(), OutputError> {
        let stale = (names.iter()).filter(|name| files.iter().all(|file| file.name != **name));
        for target in files.iter().rev().map(|file| &file.target).chain(stale) {
            self.out_of_the_way(target)?;
        }
        let folders = folders(&files);
        folders.iter().for_each(|folder| settle(folder));
        for file in files {
            put(file.beside, &file.target)?;
            self.new.push(file.target);
        }
        folders.iter().for_each(|folder| settle(folder));
        Ok(())
    }

    /// Renames the file at `target`, if there is one.
    fn out_of_the_way(&mut self, target: &Path) -> Result<(), OutputError> {
        let failed = |source| OutputError::Io {
            path: target.to_owned(),
            source,
        };
        if fs::symlink_metadata(target).is_err() {
            return Ok(());
        }
        let place = create_beside(target, SET_PREFIX).map_err(failed)?;
        let place = place.into_temp_path();
        fs::rename(target, &place).map_err(failed)?;
        self.old.push((place, target.to_owned()));
        Ok(())
    }

    fn take_back(self) {
        let warn = |path: &Path, error: &io::Error| {
            tracing::warn!(path = %path.display(), %error, "cannot be taken back");
        };
        for path in self.new {
            if let Err(error) = fs::remove_file(&path) {
                warn(&path, &error);
            }
        }
        for (old, target) in self.old {
            if let Err(error) = old.persist(&target) {
                warn(&target, &error.error);
                // A file under a strange name is better than a lost one.
                if let Err(error) = error.path.keep() {
                    warn(&target, &error.error);
                }
            }
        }
    }
}

fn put(beside: TempPath, target: &Path) -> Result<(), OutputError> {
    beside.persist(target).map_err(|error| OutputError::Io {
        path: target.to_owned(),
        source: error.error,
    })
}

/// The folders of the targets, each once.
fn folders(files: &[Staged]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = (files.iter())
        .map(|file| folder_of(&file.target).to_owned())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Makes sure that the renames so far reach the disk before later ones, if the file system can do that
/// for a folder. It matters only after a loss of power.
fn settle(folder: &Path) {
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!(folder = %folder.display(), %error, "a folder cannot be flushed");
    }
}

/// Checks that `target` can be written, before long work begins.
///
/// # Errors
/// The system's error, or that the target is not a regular file.
pub fn prepare_file(target: &Path) -> Result<(), OutputError> {
    let target_file = resolve(target)?;
    create_beside(&target_file, LONE_PREFIX).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OutputError::NoFolder {
            path: target.to_owned(),
            folder: missing_folder(&target_file),
        },
        _ => OutputError::Io {
            path: target.to_owned(),
            source,
        },
    })?;
    Ok(())
}

/// The outermost folder above `target` that does not exist.
fn missing_folder(target: &Path) -> PathBuf {
    let above = target.ancestors().skip(1);
    let missing = above.take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    missing.last().unwrap_or(target).to_owned()
}

/// The file that a target names. A symbolic link is followed, so that a rename replaces what it points
/// to; a folder or a device is refused.
fn resolve(target: &Path) -> Result<PathBuf, OutputError> {
    match fs::metadata(target) {
        Ok(metadata) if !metadata.is_file() => Err(OutputError::NotRegular {
            path: target.to_owned(),
        }),
        Ok(_) => fs::canonicalize(target).map_err(|source| OutputError::Io {
            path: target.to_owned(),
            source,
        }),
        // Absent or unreadable; creating the file beside it will report that.
        Err(_) => Ok(target.to_owned()),
    }
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// An empty file with a unique name in the folder of `target`.
pub(super) fn create_beside(target: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The permissions of any new file, under the process's mask.
        builder.permissions(Permissions::from_mode(0o666));
    }
    // `tempfile` puts its own name into the message; the caller names the target.
    builder
        .tempfile_in(folder_of(target))
        .map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(
                error.kind(),
                match std::error::Error::source(&error) {
                    Some(inner) => inner.to_string(),
                    None => error.kind().to_string(),
                },
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_seen_before_publishing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        let mut staging = Staging::new();
        staging
            .write(&target, |sink| sink.write_all(b"whole"))
            .unwrap();
        assert!(!target.exists());
        staging.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_writer_that_fails_leaves_nothing_and_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&second, "old").unwrap();
        let mut staging = Staging::new();
        staging
            .write(&first, |sink| sink.write_all(b"new"))
            .unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = staging.write(&second, |sink| {
            sink.write_all(b"ne")?;
            Err(full())
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains("b: "), "{message}");
        drop(staging);
        assert_eq!(names(folder.path()), ["b"]);
        assert_eq!(fs::read(&second).unwrap(), b"old");
    }

    #[test]
    fn a_rename_that_fails_takes_back_what_was_new() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        let mut staging = Staging::new();
        staging.write(&first, |sink| sink.write_all(b"1")).unwrap();
        staging.write(&second, |sink| sink.write_all(b"2")).unwrap();
        // Between staging and publishing the target becomes a folder that is not empty.
        fs::create_dir_all(second.join("in the way")).unwrap();
        assert!(staging.publish().is_err());
        assert_eq!(names(folder.path()), ["b"]);
    }

    #[test]
    fn a_set_that_cannot_be_put_in_place_leaves_the_old_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b", "stale"] {
            fs::write(at(name), "old").unwrap();
        }
        let mut staging = Staging::set(vec![at("a"), at("b"), at("stale"), at("mark")]);
        for name in ["a", "b", "mark"] {
            (staging.write(&at(name), |sink| sink.write_all(b"new"))).unwrap();
        }
        // The staged last file has vanished when it is to be put in place.
        fs::remove_file(&staging.files[2].beside).unwrap();
        staging.publish().unwrap_err();
        assert_eq!(names(folder.path()), ["a", "b", "stale"]);
        for name in ["a", "b", "stale"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"old", "{name}");
        }
    }

    #[test]
    fn folders_and_devices_are_no_targets() {
        let folder = tempfile::tempdir().unwrap();
        let error = prepare_file(folder.path()).unwrap_err();
        assert!(matches!(error, OutputError::NotRegular { .. }), "{error}");
        #[cfg(unix)]
        assert!(matches!(
            prepare_file(Path::new("/dev/null")),
            Err(OutputError::NotRegular { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        for set in [None, Some(vec![link.clone()])] {
            fs::write(&file, "old").unwrap();
            if set.is_none() {
                std::os::unix::fs::symlink(&file, &link).unwrap();
            }
            let mut staging = Staging {
                files: Vec::new(),
                set,
            };
            staging.write(&link, |sink| sink.write_all(b"new")).unwrap();
            staging.publish().unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"new");
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        }
    }
}
