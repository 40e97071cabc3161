//! Packs: one folder with programs, their data and a script, for a machine without Rust.
//!
//! ```text
//! DIR/run.sh          what to call there, with the folder that records go to
//! DIR/pack.json       commit, dirty, digests of the programs as they were built
//! DIR/PROGRAM...      stripped
//! ```
//! A program of a pack says in its receipts what `pack.json` says, after it compared its own digest
//! with the one there.

use crate::shell::{self, Failure};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// A pack in the making.
#[derive(Debug)]
pub(crate) struct Pack {
    folder: PathBuf,
    commit: String,
    dirty: bool,
    programs: BTreeMap<String, String>,
}

impl Pack {
    /// An empty folder; what an earlier pack put there is gone.
    ///
    /// # Errors
    /// The folder holds something that is no pack, or git does not answer.
    pub(crate) fn begin(root: &Path, folder: &Path) -> Result<Self, Failure> {
        let folder = root.join(folder);
        if folder.exists() {
            let entries = std::fs::read_dir(&folder).map_err(Failure::file(&folder))?;
            if entries.count() > 0 && !folder.join("pack.json").is_file() {
                return Err(Failure::Format {
                    path: folder,
                    message: "it is there, and is no pack".to_owned(),
                });
            }
            std::fs::remove_dir_all(&folder).map_err(Failure::file(&folder))?;
        }
        std::fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let (sh, _) = shell::at(root)?;
        // As a receipt has it: records and what is made of them are no part of the programs.
        let programs = ["--untracked-files=no", "--", ":!benches/records", ":!docs"];
        let changed = cmd!(sh, "git status --porcelain {programs...}").read()?;
        Ok(Self {
            folder,
            commit: cmd!(sh, "git rev-parse HEAD").read()?,
            dirty: !changed.is_empty(),
            programs: BTreeMap::new(),
        })
    }

    /// The commit that the programs are built from.
    pub(crate) fn commit(&self) -> &str {
        &self.commit
    }

    /// Whether tracked files differed from it.
    pub(crate) fn dirty(&self) -> bool {
        self.dirty
    }

    /// Adds a program as `name`, without its symbols.
    ///
    /// # Errors
    /// It cannot be copied, stripped or read.
    pub(crate) fn program(&mut self, from: &Path, name: &str) -> Result<(), Failure> {
        let to = self.folder.join(name);
        std::fs::copy(from, &to).map_err(Failure::file(from))?;
        let (sh, _) = shell::at(&self.folder)?;
        cmd!(sh, "strip {to}").run()?;
        let bytes = std::fs::read(&to).map_err(Failure::file(&to))?;
        let digest: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.programs.insert(name.to_owned(), digest);
        Ok(())
    }

    /// Adds a file as `DIR/name`.
    ///
    /// # Errors
    /// It cannot be copied.
    pub(crate) fn file(&self, from: &Path, name: &str) -> Result<(), Failure> {
        std::fs::copy(from, self.folder.join(name)).map_err(Failure::file(from))?;
        Ok(())
    }

    /// Adds the files of `from` with this ending, as `DIR/under/...`.
    ///
    /// # Errors
    /// They cannot be copied.
    pub(crate) fn files(&self, from: &Path, ending: &str, under: &str) -> Result<(), Failure> {
        let folder = self.folder.join(under);
        std::fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let mut copied = Vec::new();
        for entry in std::fs::read_dir(from).map_err(Failure::file(from))? {
            let path = entry.map_err(Failure::file(from))?.path();
            if let Some(name) = path.file_name()
                && path.extension().is_some_and(|e| e == ending)
            {
                std::fs::copy(&path, folder.join(name)).map_err(Failure::file(&path))?;
                copied.push(path);
            }
        }
        shell::some(&copied, &format!("file that ends in .{ending}"), from)
    }

    /// Adds the script and the manifest, and says what there is.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn finish(self, script: &str) -> Result<(), Failure> {
        let manifest = serde_json::json!({
            "source": { "commit": self.commit, "dirty": self.dirty },
            "programs": self.programs,
        });
        let path = self.folder.join("pack.json");
        std::fs::write(&path, format!("{manifest}\n")).map_err(Failure::file(&path))?;
        let path = self.folder.join("run.sh");
        std::fs::write(&path, script).map_err(Failure::file(&path))?;
        executable(&path)?;
        for name in self.programs.keys() {
            let file = self.folder.join(name);
            let length = std::fs::metadata(&file)
                .map_err(Failure::file(&file))?
                .len();
            println!("{name}: {:.1} MiB", length as f64 / f64::from(1 << 20));
        }
        println!("{}", path.display());
        Ok(())
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, all).map_err(Failure::file(path))
}

#[cfg(not(unix))]
fn executable(_path: &Path) -> Result<(), Failure> {
    Ok(())
}
