//! Compiles the device kernels to machine code for each supported architecture, without a GPU.
//!
//! The compiler is NVRTC out of a pinned wheel in a private environment under `target/`; what is
//! compiled the example `NAME_kernels` of each crate `NAME` with kernels knows: it takes the registered
//! sources and options that run time uses.

use crate::examples;
use crate::shell::{self, Failure, Outcome};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// The compiler, pinned: the oldest release that every supported driver branch accepts.
const COMPILER: &str = "nvidia-cuda-nvrtc==13.0.88";

/// What the kernels must compile for.
const ARCHITECTURES: &[&str] = &["sm_80", "sm_90", "sm_100"];

/// Compiles every kernel.
///
/// # Errors
/// A kernel that does not compile, or kernels without the program that compiles them.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let kernels = kernels(&root.join("crates"))?;
    shell::some(&kernels, "kernel file (*.cu)", root)?;
    // The example that compiles them, by its crate's name.
    let mut crates = BTreeMap::new();
    for kernel in &kernels {
        // crates/NAME/...
        let inside = kernel.strip_prefix(root).unwrap_or(kernel);
        let name = inside.components().nth(1).map(|name| name.as_os_str());
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let entry = format!("crates/{name}/examples/{name}_kernels.rs");
        if !root.join(&entry).is_file() {
            return Err(Failure::Format {
                path: kernel.clone(),
                message: format!("no {entry} to compile it"),
            });
        }
        crates.insert(format!("{name}_kernels"), root.join(entry));
    }
    let python = crate::python::environment(root, "nvrtc", &[COMPILER])?;
    let folder = python.ancestors().nth(2).unwrap_or(root);
    let library = libraries(&folder.join("lib"))?;
    let which: Vec<&str> = crates.keys().flat_map(|name| ["--example", name]).collect();
    let built = examples::built(root, examples::Kind::Example, &which)?;
    let (sh, _) = shell::at(root)?;
    sh.set_var("LD_LIBRARY_PATH", &library);
    for entry in crates.values() {
        let compile = examples::program(&built, entry)?;
        cmd!(sh, "{compile} {ARCHITECTURES...}").run()?;
    }
    Ok(Outcome::Passed)
}

/// Every `.cu` file under `folder`.
fn kernels(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    find(folder, &|path| path.extension().is_some_and(|e| e == "cu"))
}

/// The folder under `folder` that holds the compiler's shared library.
fn libraries(folder: &Path) -> Result<PathBuf, Failure> {
    let nvrtc = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libnvrtc.so")
    };
    find(folder, &nvrtc)?
        .first()
        .and_then(|path| path.parent())
        .map(Path::to_path_buf)
        .ok_or_else(|| Failure::Format {
            path: folder.to_path_buf(),
            message: format!("{COMPILER} brought no libnvrtc.so"),
        })
}

/// Files under `folder` that `wanted` accepts, in order.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Failure::file(folder))? {
        let entry = entry.map_err(Failure::file(folder))?;
        let kind = entry.file_type().map_err(Failure::file(entry.path()))?;
        if kind.is_dir() {
            found.extend(find(&entry.path(), wanted)?);
        } else if wanted(&entry.path()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
