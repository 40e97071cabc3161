//! Hands the versions of the libraries under the ceilings to the program: those of the lock file that it
//! is built with.

use std::path::{Path, PathBuf};

/// What the rates of processors rest on.
const LIBRARIES: [&str; 4] = ["faer", "private-gemm-x86", "pulp", "rayon"];

fn main() {
    let folders = ["OUT_DIR", "CARGO_MANIFEST_DIR"].map(std::env::var_os);
    let lock = folders
        .iter()
        .flatten()
        .find_map(|f| lock_above(f.as_ref()));
    if let Some(path) = &lock {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    let text = lock.map(std::fs::read_to_string);
    let text = text.and_then(Result::ok).unwrap_or_default();
    let versions = LIBRARIES.map(|name| {
        let version = version(&text, name).unwrap_or("of unknown version");
        format!("{name} {version}")
    });
    println!(
        "cargo::rustc-env=BROADHEAD_LIBRARIES={}",
        versions.join(", ")
    );
}

/// The lock file of the build that `folder` lies in.
fn lock_above(folder: &Path) -> Option<PathBuf> {
    let mut locks = folder.ancestors().map(|above| above.join("Cargo.lock"));
    locks.find(|path| path.is_file())
}

/// The version of a package in the text of a lock file.
fn version<'t>(lock: &'t str, name: &str) -> Option<&'t str> {
    let head = format!("\nname = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&head)?;
    rest.split_once('"').map(|(version, _)| version)
}
