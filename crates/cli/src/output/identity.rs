//! Whether two names refer to one file.
//!
//! Names do not tell: there are links of both kinds, `./`, file systems that ignore case, two mounts of
//! one folder. The system's own number of the file does.

use super::OutputError;
use std::path::{Path, PathBuf};

/// Refuses an output that is one of the inputs, by whatever name. A file that does not exist is never
/// the same as another.
///
/// # Errors
/// [`OutputError::OverInput`] with both names.
pub fn refuse_inputs(inputs: &[PathBuf], outputs: &[PathBuf]) -> Result<(), OutputError> {
    for output in outputs {
        if let Some(input) = inputs.iter().find(|input| is_same(input, output)) {
            return Err(OutputError::OverInput {
                output: output.clone(),
                input: input.clone(),
            });
        }
    }
    Ok(())
}

/// Whether both exist and are one file or folder.
#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Does not open the files: that may be forbidden, or wait for a writer.
    let number = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.map(|metadata| (metadata.dev(), metadata.ino()))
    };
    match (number(one), number(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Whether both exist and are one file or folder.
#[cfg(not(unix))]
fn is_same(one: &Path, other: &Path) -> bool {
    same_file::is_same_file(one, other).unwrap_or(false)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_file_is_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for name in ["file", "other"] {
            fs::write(at(name), "same bytes").unwrap();
        }
        fs::hard_link(at("file"), at("hard")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("soft")).unwrap();
        std::os::unix::fs::symlink(folder.path(), at("sub/up")).unwrap();
        let same = [
            "file",
            "hard",
            "soft",
            "./file",
            "sub/../file",
            "sub/up/soft",
        ];
        for name in same {
            let error = refuse_inputs(&[at("other"), at("file")], &[at("new"), at(name)]);
            let message = error.expect_err(name).to_string();
            assert!(message.contains("file, which is read"), "{message}");
        }
        for name in ["other", "absent", "sub"] {
            refuse_inputs(&[at("file"), at("gone")], &[at(name)]).expect(name);
        }
    }
}
