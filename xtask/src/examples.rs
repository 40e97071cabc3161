//! Runs the examples: each crate has at least one, and each runs on the CPU without arguments.

use crate::shell::{self, Failure, Outcome};
use std::path::Path;
use std::time::Instant;

/// Runs every `examples/*.rs` of every crate under `crates/`.
///
/// # Errors
/// An example fails; those after it are not run.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let crates = root.join("crates");
    for manifest in children(&crates)?.iter().map(|dir| dir.join("Cargo.toml")) {
        let package = package_name(&manifest)?;
        let folder = manifest.with_file_name("examples");
        if !folder.is_dir() {
            continue;
        }
        for example in children(&folder)? {
            if example.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let name = example
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let begin = Instant::now();
            shell::run(shell::cargo(root).args([
                "run",
                "--quiet",
                "--locked",
                "--package",
                &package,
                "--example",
                &name,
            ]))?;
            eprintln!(
                "   {package} {name}: {:.1} s",
                begin.elapsed().as_secs_f64()
            );
        }
    }
    Ok(Outcome::Passed)
}

/// The entries of a folder, by name.
fn children(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|e| e.map(|e| e.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(Failure::file(folder))?;
    entries.sort();
    Ok(entries)
}

fn package_name(manifest: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(manifest).map_err(Failure::file(manifest))?;
    let format = |message: String| Failure::Format {
        path: manifest.to_path_buf(),
        message,
    };
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| format(e.to_string()))?;
    table
        .get("package")
        .and_then(|package| package.get("name")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| format("no package.name".to_owned()))
}
