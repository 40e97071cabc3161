//! Private Python environments under `target/`.

use crate::shell::{self, Failure};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// An environment `target/NAME` that holds exactly `requirements` (pinned), made or completed now.
/// Returns its interpreter.
///
/// # Errors
/// No `python3`, or pip fails.
pub(crate) fn environment(
    root: &Path,
    name: &str,
    requirements: &[&str],
) -> Result<PathBuf, Failure> {
    let folder = root.join("target").join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.installed");
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) && python.exists() {
        return Ok(python);
    }
    let (sh, _) = shell::at(root)?;
    cmd!(sh, "python3 -m venv {folder}").run()?;
    let quietly = ["--quiet", "--disable-pip-version-check"];
    cmd!(sh, "{python} -m pip install {quietly...} {requirements...}").run()?;
    std::fs::write(&stamp, wanted).map_err(Failure::file(&stamp))?;
    Ok(python)
}
