//! Machine code on disk: compiled once a machine, shared by all processes.
//!
//! A file is named by the SHA-256 of source, options, architecture and compiler version, and holds
//!
//! ```text
//! | machine code ... | SHA-256 of the machine code, 32 bytes |
//! ```
//! It is written beside and renamed, so a reader sees all of it or none, whatever number of
//! processes write it at once: they write the same. A file whose digest is wrong is compiled again.
//! A folder that cannot be written costs time, nothing else.

use super::KernelSource;
use super::compile::{compile, compiler_version, options};
use crate::fault::Result;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DIGEST: usize = 32;

/// Where machine code is kept: `BROADHEAD_CACHE_DIR`, else `XDG_CACHE_HOME/broadhead`, else
/// `HOME/.cache/broadhead`; nowhere if none of the three is set.
pub fn cache_folder() -> Option<PathBuf> {
    folder_of(|name| std::env::var_os(name))
}

fn folder_of(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("BROADHEAD_CACHE_DIR")
        .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("broadhead")))
        .or_else(|| set("HOME").map(|p| p.join(".cache").join("broadhead")))
}

/// Machine code of `source`, from disk or from the compiler.
pub(super) fn cubin(source: &KernelSource, architecture: &str) -> Result<Vec<u8>> {
    let Some(folder) = cache_folder() else {
        return compile(source, architecture);
    };
    let path = folder.join(file_name(source, architecture, &compiler_version()?));
    kept_or(&path, || compile(source, architecture))
}

/// What the file at `path` holds, or what `make` makes, which is kept there.
fn kept_or(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    if let Some(code) = read(path) {
        return Ok(code);
    }
    let code = make()?;
    if let Err(error) = write(path, &code) {
        tracing::warn!(%error, path = %path.display(), "machine code was not kept");
    }
    Ok(code)
}

fn file_name(source: &KernelSource, architecture: &str, compiler: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(source.digest());
    for part in options(source, architecture)
        .iter()
        .chain([&compiler.to_owned()])
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex}.{architecture}.cubin")
}

/// The code in a whole and unharmed file.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "kept machine code is unreadable");
            }
            return None;
        }
    };
    let at = bytes.len().checked_sub(DIGEST)?;
    let whole = Sha256::digest(&bytes[..at])[..] == bytes[at..];
    bytes.truncate(at);
    whole.then_some(bytes)
}

fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    write_beside(path, &[code, &Sha256::digest(code)])
}

/// Writes the parts one after another to a file of their own and renames it to `path`.
pub(crate) fn write_beside(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let unique = WRITTEN.fetch_add(1, Relaxed);
    let beside = path.with_extension(format!("{}.{unique}.part", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    if renamed.is_err() {
        // The error that matters is the one above.
        drop(std::fs::remove_file(&beside));
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: KernelSource = KernelSource {
        name: "a.cu",
        text: "extern \"C\" __global__ void a() {}",
        declares: &[],
        entries: &["a"],
        options: &[],
    };

    #[test]
    fn the_first_variable_that_is_set_names_the_folder() {
        let with = |set: &'static [(&'static str, &'static str)]| {
            let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
            folder_of(value).map(|p| p.to_string_lossy().into_owned())
        };
        assert_eq!(with(&[]), None);
        assert_eq!(folder_of(|_| Some(OsString::new())), None);
        assert_eq!(with(&[("HOME", "/h")]).unwrap(), "/h/.cache/broadhead");
        let both = with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]);
        assert_eq!(both.unwrap(), "/x/broadhead");
        let all = with(&[
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("BROADHEAD_CACHE_DIR", "/b"),
        ]);
        assert_eq!(all.unwrap(), "/b");
    }

    #[test]
    fn what_was_kept_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("code.cubin");
        let made = kept_or(&path, || Ok(vec![1, 2, 3])).unwrap();
        let kept = kept_or(&path, || panic!("made again")).unwrap();
        assert_eq!((made, kept), (vec![1, 2, 3], vec![1, 2, 3]));
    }

    #[test]
    fn a_harmed_or_cut_file_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.cubin");
        write(&path, b"some machine code").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for harm in 0..whole.len() {
            let mut harmed = whole.clone();
            harmed[harm] ^= 1;
            std::fs::write(&path, harmed).unwrap();
            assert_eq!(read(&path), None, "byte {harm}");
            std::fs::write(&path, &whole[..harm]).unwrap();
            assert_eq!(read(&path), None, "cut at {harm}");
        }
        assert_eq!(kept_or(&path, || Ok(vec![7])).unwrap(), [7]);
        assert_eq!(read(&path), Some(vec![7]));
    }

    #[test]
    fn many_writers_at_once_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.cubin");
        let code = vec![5u8; 100_000];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        write(&path, &code).unwrap();
                        assert_eq!(read(&path).as_ref(), Some(&code));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn source_options_architecture_and_compiler_all_tell_files_apart() {
        let other_text = KernelSource {
            text: "extern \"C\" __global__ void a() { }",
            ..SOURCE
        };
        let other_options = KernelSource {
            options: &["--fmad=false"],
            ..SOURCE
        };
        let names = [
            file_name(&SOURCE, "sm_90", "13.0"),
            file_name(&SOURCE, "sm_80", "13.0"),
            file_name(&SOURCE, "sm_90", "12.9"),
            file_name(&other_text, "sm_90", "13.0"),
            file_name(&other_options, "sm_90", "13.0"),
        ];
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{i}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let path = file.join("code.cubin");
        assert_eq!(kept_or(&path, || Ok(vec![9])).unwrap(), [9]);
    }
}
