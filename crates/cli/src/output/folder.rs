//! A folder that belongs to one run.
//!
//! The lock is the system's, on the folder itself: it ends with its process, leaves nothing behind, and
//! is the same lock whatever path names the folder. Where a folder cannot be locked (Windows, network
//! file systems that lock only what is open for writing) a file in it is locked instead and removed at
//! the end; if a killed process leaves that file behind, it no longer locks anything. Where nothing can
//! be locked a warning says so and the work goes on.

use super::OutputError;
use super::staging::{self, SET_PREFIX, Staging};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The file that is locked where the folder cannot be.
const LOCK_FILE: &str = ".broadhead-lock";

/// How often making and locking a folder is tried again because the run that had it removed it
/// meanwhile.
const ATTEMPTS: usize = 100;

/// A folder for the files of this run and no other, until this value is dropped.
///
/// Folders that it made and that are still empty are removed then, so failed work leaves none.
#[derive(Debug)]
#[must_use = "dropped at once it gives the folder back"]
pub struct RunFolder {
    path: PathBuf,
    /// Every name that a run of this kind may write here.
    names: &'static [&'static str],
    /// The folders made, the outermost first.
    made: Vec<PathBuf>,
    /// Held open to keep the lock; absent if nothing can be locked.
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Lock {
    /// The locked file, if it is not the folder itself.
    file: Option<PathBuf>,
    _open: File,
}

impl RunFolder {
    /// Makes `folder` if absent, locks it, removes what a killed run left half written, and checks that
    /// a file can be written there, all before long work begins. `names` lists every file that a run of
    /// this kind may write.
    ///
    /// # Errors
    /// [`OutputError::Busy`] if another run has it; otherwise the system's error.
    pub fn take(folder: &Path, names: &'static [&'static str]) -> Result<Self, OutputError> {
        let failed = |source| OutputError::Io {
            path: folder.to_owned(),
            source,
        };
        let mut taken = Self {
            path: folder.to_owned(),
            names,
            made: Vec::new(),
            lock: None,
        };
        taken.lock = taken.locked()?;
        taken.clear().map_err(failed)?;
        let probe = staging::create_beside(&folder.join("probe"), SET_PREFIX).map_err(failed)?;
        probe.close().map_err(failed)?;
        Ok(taken)
    }

    /// Every file that may be written here.
    pub fn targets(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(|name| folder.join(name)).collect()
    }

    /// The set of files of this run. Publishing it removes the files among [`RunFolder::take`]'s names
    /// that this run did not write: they are an earlier run's.
    pub fn stage(&self) -> Staging {
        Staging::set(Self::targets(&self.path, self.names))
    }

    /// Makes the folder and locks it; tries again if it vanished in between.
    fn locked(&mut self) -> Result<Option<Lock>, OutputError> {
        let failed = |source| OutputError::Io {
            path: self.path.clone(),
            source,
        };
        for _ in 0..ATTEMPTS {
            let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
            let made: Vec<PathBuf> = (self.path.ancestors())
                .take_while(missing)
                .map(Path::to_owned)
                .collect();
            match fs::create_dir_all(&self.path) {
                Ok(()) => {}
                // A folder above was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            }
            // Also counts folders that an earlier attempt made and no other run has removed since.
            self.made.extend(made.into_iter().rev());
            self.made.dedup();
            match lock(&self.path) {
                Ok(Locked::Taken(lock)) => return Ok(Some(lock)),
                Ok(Locked::Vanished) => {}
                Err(TryLockError::WouldBlock) => {
                    // Whichever run made it, the other one has it now, and it may still be empty.
                    self.made.clear();
                    return Err(OutputError::Busy {
                        path: self.path.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => match error.kind() {
                    // It was removed in between: try again.
                    io::ErrorKind::NotFound => {}
                    // If the lock file cannot be made, no other file could be either.
                    io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StorageFull
                    | io::ErrorKind::NotADirectory => return Err(failed(error)),
                    _ => {
                        tracing::warn!(
                            folder = %self.path.display(), %error,
                            "cannot be locked: no other run may write there at the same time"
                        );
                        return Ok(None);
                    }
                },
            }
        }
        Err(failed(io::Error::other(
            "the folder is removed again and again",
        )))
    }

    /// Removes what killed runs left of the sets that they were writing.
    fn clear(&self) -> io::Result<()> {
        if self.lock.is_none() {
            // It may belong to another run that is still at work.
            return Ok(());
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let is_left = entry.file_name().to_string_lossy().starts_with(SET_PREFIX);
            if is_left && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Done while the lock holds: a run that then locks a removed folder sees that it has vanished.
        if let Some(file) = self.lock.as_ref().and_then(|lock| lock.file.as_ref())
            && let Err(error) = fs::remove_file(file)
        {
            tracing::warn!(path = %file.display(), %error, "cannot be removed");
        }
        for folder in self.made.iter().rev() {
            // The system refuses if the folder is not empty, which is what is wanted.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

enum Locked {
    Taken(Lock),
    /// The file was locked after its previous owner had removed it.
    Vanished,
}

/// Locks `folder`, or a file in it where folders cannot be locked here.
fn lock(folder: &Path) -> Result<Locked, TryLockError> {
    let of_folder = File::open(folder).map_err(TryLockError::Error);
    match of_folder.and_then(|open| try_lock(open, folder, None)) {
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "the folder itself cannot be locked");
            let path = folder.join(LOCK_FILE);
            let options = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path);
            try_lock(options.map_err(TryLockError::Error)?, &path, Some(&path))
        }
        done => done,
    }
}

fn try_lock(open: File, path: &Path, file: Option<&Path>) -> Result<Locked, TryLockError> {
    open.try_lock()?;
    let lock = Lock {
        file: file.map(Path::to_owned),
        _open: open,
    };
    Ok(if still_there(&lock._open, path) {
        Locked::Taken(lock)
    } else {
        Locked::Vanished
    })
}

/// Whether `path` still names what is open.
#[cfg(unix)]
fn still_there(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Whether `path` still names the open file: on this system an open file keeps its name.
#[cfg(not(unix))]
fn still_there(_open: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Barrier;
    use std::thread;

    const NAMES: &[&str] = &["a", "b", "mark"];

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn folders_that_stay_empty_are_removed_and_those_that_were_there_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a").join("b");
        let taken = RunFolder::take(&target, NAMES).unwrap();
        assert!(target.is_dir());
        drop(taken);
        assert!(names(folder.path()).is_empty());
        let taken = RunFolder::take(&target, NAMES).unwrap();
        fs::write(target.join("kept"), "x").unwrap();
        drop(taken);
        assert_eq!(names(&target), ["kept"]);
        fs::remove_file(target.join("kept")).unwrap();
        drop(RunFolder::take(&target, NAMES).unwrap());
        assert!(target.is_dir());
    }

    #[test]
    fn a_taken_folder_is_refused_by_every_path_and_free_again_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let taken = RunFolder::take(&out, NAMES).unwrap();
        let mut paths = vec![out.clone(), folder.path().join("./out/../out")];
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&out, &link).unwrap();
            paths.push(link);
        }
        for path in &paths {
            let error = RunFolder::take(path, NAMES).unwrap_err();
            assert!(matches!(error, OutputError::Busy { .. }), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()));
        }
        assert!(names(&out).is_empty(), "a lock is no file");
        drop(taken);
        drop(RunFolder::take(&out, NAMES).unwrap());
    }

    /// If two runs make one folder, the one that is refused may be the one that made it.
    #[test]
    fn who_is_refused_leaves_the_folder_to_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out").join("inner");
        let ready = Barrier::new(2);
        // Neither thread may leave the other waiting, so failures are reported at the end.
        let run = || {
            let (mut refused, mut faults) = (0, Vec::new());
            for _ in 0..300 {
                ready.wait();
                let taken = RunFolder::take(&out, NAMES);
                ready.wait();
                match &taken {
                    Ok(_) if out.is_dir() => {}
                    Ok(_) => faults.push("removed from under the run that has it".to_owned()),
                    Err(OutputError::Busy { .. }) => refused += 1,
                    Err(error) => faults.push(error.to_string()),
                }
                ready.wait();
                drop(taken);
                if ready.wait().is_leader() {
                    // The refused run may have made it; the next two make it again.
                    let _ = fs::remove_dir_all(folder.path().join("out"));
                }
            }
            (refused, faults)
        };
        let both = thread::scope(|scope| {
            let runs = [scope.spawn(run), scope.spawn(run)];
            runs.map(|run| run.join().unwrap())
        });
        for (_, faults) in &both {
            assert!(faults.is_empty(), "{faults:?}");
        }
        assert_eq!(both[0].0 + both[1].0, 300);
    }

    #[test]
    fn what_a_killed_run_left_is_cleared_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left = format!("{SET_PREFIX}abc");
        for name in [&left[..], LOCK_FILE, ".broadhead-lone-x", "notes"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        drop(RunFolder::take(folder.path(), NAMES).unwrap());
        let expected = [LOCK_FILE, ".broadhead-lone-x", "notes"];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn files_of_an_earlier_run_that_this_one_does_not_write_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "mark", "notes"] {
            fs::write(folder.path().join(name), "old").unwrap();
        }
        let taken = RunFolder::take(folder.path(), NAMES).unwrap();
        let mut staging = taken.stage();
        for name in ["a", "mark"] {
            let target = folder.path().join(name);
            (staging.write(&target, |sink| sink.write_all(b"new"))).unwrap();
        }
        staging.publish().unwrap();
        drop(taken);
        assert_eq!(names(folder.path()), ["a", "mark", "notes"]);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_on_a_file_that_was_removed_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone");
        let open = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another of the same name").unwrap();
        let locked = try_lock(open, &path, Some(&path)).ok().unwrap();
        assert!(matches!(locked, Locked::Vanished));
    }
}
