//! Files and folders of a site.

use crate::error::Error;
use std::path::{Path, PathBuf};

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { path, source }
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(file(path))
}

/// Replaces the text of a file.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(file(path))
}

/// Every HTML page under `folder`, in order.
///
/// # Errors
/// A folder that cannot be read, or that holds none.
pub(crate) fn html(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    visit(folder, &mut |path| {
        if path.extension().is_some_and(|e| e == "html") {
            found.push(path.to_path_buf());
        }
        Ok(())
    })?;
    if found.is_empty() {
        return Err(Error::Nothing {
            site: folder.to_path_buf(),
            what: "page",
        });
    }
    found.sort();
    Ok(found)
}

/// Copies the files of `from` to the same places under `to`.
///
/// # Errors
/// A file that cannot be copied.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    visit(from, &mut |path| {
        let relative = path.strip_prefix(from).unwrap_or(path);
        let target = to.join(relative);
        let folder = target.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).map_err(file(folder))?;
        std::fs::copy(path, &target).map_err(file(&target))?;
        Ok(())
    })
}

fn visit(folder: &Path, each: &mut dyn FnMut(&Path) -> Result<(), Error>) -> Result<(), Error> {
    for entry in std::fs::read_dir(folder).map_err(file(folder))? {
        let path = entry.map_err(file(folder))?.path();
        if path.is_dir() {
            visit(&path, each)?;
        } else {
            each(&path)?;
        }
    }
    Ok(())
}
