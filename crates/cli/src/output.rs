//! Output files: written beside and renamed, whole or not at all.
//!
//! A [`Staging`] collects every file of a command under temporary names in the folder of its
//! target. [`Staging::publish`] flushes them to the disk and only then renames them, one after
//! another; whatever fails before leaves no trace, and a rename that fails takes back the files
//! that it newly made.

use crate::message;
use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// The ending of a file that is still being written.
const SUFFIX: &str = ".broadhead-tmp";

/// Why an output could not be written. Exit code 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system refused.
    #[error("cannot write {}: {source}", message::path(path))]
    Io {
        /// The output that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The target is there and is no regular file: a rename would replace it.
    #[error("cannot write {}: it is not a regular file", message::path(path))]
    NotRegular {
        /// The output that was to be written.
        path: PathBuf,
    },
    /// The folder that is to hold the target is not there.
    #[error(
        "cannot write {}: there is no folder {}",
        message::path(path),
        message::path(folder)
    )]
    NoFolder {
        /// The output that was to be written.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Standard output could not be written.
    #[error("cannot write the summary to standard output: {source}")]
    Stdout {
        /// What the system said.
        source: io::Error,
    },
}

/// A sink of one staged file.
pub type Sink = BufWriter<File>;

/// Files written beside their targets, none of them visible yet.
#[derive(Debug, Default)]
pub struct Staging {
    files: Vec<(TempPath, PathBuf)>,
}

impl Staging {
    /// Nothing staged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one file beside `target` through `write`.
    ///
    /// # Errors
    /// An unwritable folder, a full disk, a target that is no regular file; then nothing is left
    /// of it.
    pub fn write(
        &mut self,
        target: &Path,
        write: impl FnOnce(&mut Sink) -> io::Result<()>,
    ) -> Result<(), OutputError> {
        let failed = |source| OutputError::Io {
            path: target.to_owned(),
            source,
        };
        let target_file = resolve(target)?;
        let (file, beside) = create_beside(&target_file).map_err(failed)?.into_parts();
        let mut sink = BufWriter::with_capacity(1 << 16, file);
        write(&mut sink).map_err(failed)?;
        let file = sink
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        // A full disk may show only here.
        file.sync_all().map_err(failed)?;
        self.files.push((beside, target_file));
        Ok(())
    }

    /// Renames every staged file to its target and returns the targets.
    ///
    /// # Errors
    /// The first rename that fails; targets that this call newly made are removed again.
    pub fn publish(self) -> Result<Vec<PathBuf>, OutputError> {
        let mut published: Vec<(PathBuf, bool)> = Vec::new();
        for (beside, target) in self.files {
            let is_new = !target.exists();
            if let Err(error) = beside.persist(&target) {
                for (made, _) in published.iter().filter(|(_, is_new)| *is_new) {
                    if let Err(error) = fs::remove_file(made) {
                        tracing::warn!(path = %made.display(), %error, "cannot be taken back");
                    }
                }
                return Err(OutputError::Io {
                    path: target,
                    source: error.error,
                });
            }
            published.push((target, is_new));
        }
        Ok(published.into_iter().map(|(path, _)| path).collect())
    }
}

/// Folders that a command made for its outputs; those that are still empty when this is dropped
/// are removed, so that work which fails leaves none.
#[derive(Debug)]
#[must_use = "dropped at once it removes the folder again"]
pub struct NewFolders {
    /// The outermost first.
    made: Vec<PathBuf>,
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // Refused where something is in it, which is what is wanted.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

/// Makes `folder` and checks that a file can be written there, before long work begins.
///
/// # Errors
/// What the system says of the folder.
pub fn prepare_folder(folder: &Path) -> Result<NewFolders, OutputError> {
    let failed = |source| OutputError::Io {
        path: folder.to_owned(),
        source,
    };
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let mut made: Vec<PathBuf> = folder
        .ancestors()
        .take_while(missing)
        .map(Path::to_owned)
        .collect();
    made.reverse();
    let made = NewFolders { made };
    fs::create_dir_all(folder).map_err(failed)?;
    create_beside(&folder.join("probe")).map_err(failed)?;
    Ok(made)
}

/// Checks that `target` can be written, before long work begins.
///
/// # Errors
/// What the system says, or that the target is no regular file.
pub fn prepare_file(target: &Path) -> Result<(), OutputError> {
    let target_file = resolve(target)?;
    create_beside(&target_file).map_err(|source| match source.kind() {
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

/// The outermost folder above `target` that is not there.
fn missing_folder(target: &Path) -> PathBuf {
    let above = target.ancestors().skip(1);
    let missing = above.take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    missing.last().unwrap_or(target).to_owned()
}

/// Writes `text` to standard output. A reader that has gone away is no error.
///
/// # Errors
/// [`OutputError::Stdout`], for one where the output is a file on a full disk.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(message::for_terminal(text).as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(OutputError::Stdout { source }),
        Ok(()) => Ok(()),
    }
}

/// The file that a target names: through a symbolic link where it is one, so that a rename
/// replaces what the link points to; refused where it is a folder or a device.
fn resolve(target: &Path) -> Result<PathBuf, OutputError> {
    match fs::metadata(target) {
        Ok(metadata) if !metadata.is_file() => Err(OutputError::NotRegular {
            path: target.to_owned(),
        }),
        Ok(_) => fs::canonicalize(target).map_err(|source| OutputError::Io {
            path: target.to_owned(),
            source,
        }),
        // Absent, or not to be asked about: creating the file beside it will say so.
        Err(_) => Ok(target.to_owned()),
    }
}

fn create_beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Readable as any new file is: the process's mask applies.
        builder.permissions(Permissions::from_mode(0o666));
    }
    // `tempfile` puts its own name into the message; the caller names the target.
    builder
        .tempfile_in(folder)
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
        // The target turns into a folder that is not empty between staging and publishing.
        fs::create_dir_all(second.join("in the way")).unwrap();
        assert!(staging.publish().is_err());
        assert_eq!(names(folder.path()), ["b"]);
    }

    #[test]
    fn folders_that_stay_empty_are_removed_and_those_that_were_there_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a").join("b");
        let made = prepare_folder(&target).unwrap();
        assert!(target.is_dir());
        drop(made);
        assert!(names(folder.path()).is_empty());
        let made = prepare_folder(&target).unwrap();
        fs::write(target.join("kept"), "x").unwrap();
        drop(made);
        assert_eq!(names(&target), ["kept"]);
        fs::remove_file(target.join("kept")).unwrap();
        drop(prepare_folder(&target).unwrap());
        assert!(target.is_dir());
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
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut staging = Staging::new();
        staging.write(&link, |sink| sink.write_all(b"new")).unwrap();
        staging.publish().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
