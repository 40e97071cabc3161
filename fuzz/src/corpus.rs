//! The seeds: files of the folder `corpus`, by target.

use crate::target::Target;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a target's seeds.
pub(crate) fn folder(target: Target) -> PathBuf {
    // Cargo sets it; the built program knows where it was built.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.join("corpus").join(target.name())
}

/// The seeds of `target`, in the order of their names, which is the same everywhere.
///
/// # Errors
/// A folder or file that cannot be read, or a folder without a file.
pub(crate) fn seeds(target: Target) -> io::Result<Vec<Vec<u8>>> {
    let folder = folder(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    if files.is_empty() {
        return Err(nothing(&folder));
    }
    files.iter().map(std::fs::read).collect()
}

fn nothing(folder: &Path) -> io::Error {
    io::Error::other(format!("{}: holds no seed", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Outcome;

    #[test]
    fn seeds_that_libraries_wrote_are_read_or_refused_by_name() {
        let _alone = crate::run::alone();
        let refused = [
            (
                "npy/structured.npy",
                "element type structured, [('a', '<f4', (2,)), ",
            ),
            (
                "npy/objects.npy",
                "element type |O (Python objects in a pickle",
            ),
            (
                "npy/long-double.npy",
                "element type <f16 (long double, wider than FP64)",
            ),
            ("npy/complex.npy", "element type <c16 (complex numbers)"),
            ("npy/text.npy", "element type <U2 (text)"),
            (
                "npz/bzip2.npz",
                "is compressed by bzip2, which is not read: write it by numpy.savez",
            ),
            ("npz/lzma.npz", "is compressed by LZMA, which is not read"),
            ("npz/empty.npz", "holds no array"),
            ("npz/no-array.npz", "holds no array"),
            ("safetensors/metadata.safetensors", "holds no array"),
            ("labels/utf-16.txt", "is UTF-16"),
            ("labels/utf-16-bare.txt", "looks like UTF-16"),
            (
                "labels/latin-1.txt",
                "line 1 holds the byte 0xe4, which is not UTF-8",
            ),
        ];
        let read = [
            "npy/le-f8.npy",
            "npy/be-f4.npy",
            "npy/bf16.npy",
            "npy/fortran.npy",
            "npy/version-3.npy",
            "npz/one.npz",
            "npz/zeros.npz",
            "npz/zip64.npz",
            "npz/streamed.npz",
            "safetensors/one.safetensors",
            "labels/mark-crlf.txt",
            "model/circle.safetensors",
            "model/mixed.safetensors",
            "masks/b1.npy",
            "masks/le-i8.npy",
            "masks/bool.safetensors",
        ];
        let outcome = |seed: &str| {
            let (target, name) = seed.split_once('/').unwrap();
            let target = Target::ALL
                .into_iter()
                .find(|t| t.name() == target)
                .unwrap();
            target.read(std::fs::read(folder(target).join(name)).unwrap())
        };
        for (seed, part) in refused {
            match outcome(seed) {
                Outcome::Refused(said) => assert!(said.contains(part), "{seed}: {said}"),
                Outcome::Read => panic!("{seed} is read"),
            }
        }
        for seed in read {
            assert_eq!(outcome(seed), Outcome::Read, "{seed}");
        }
    }
}
