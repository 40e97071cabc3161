//! The text files of the repository, read once.

use super::lexer::{self, Lexed};
use crate::shell::Failure;
use std::path::Path;

/// Folders that hold nothing written here: builds, environments, vendored files, records.
const SKIPPED: &[&str] = &[
    ".git",
    ".pack",
    ".tools",
    ".venv",
    "docs/book",
    "docs/katex",
    "benches/records",
    "out",
];

/// Names that end so are text.
const TEXT: &[&str] = &[
    ".rs",
    ".toml",
    ".md",
    ".cu",
    ".py",
    ".sh",
    ".css",
    ".js",
    ".html",
    ".yml",
    ".yaml",
    ".hbs",
    ".ci/run",
    ".cargo/rustdoc",
];

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
    /// Rust and CUDA: the text with comments and literals blanked, and with all but comments blanked.
    pub(crate) lexed: Option<Lexed>,
}

impl Source {
    /// The crate's folder name, for a file under `crates/`.
    pub(crate) fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Whether the name ends in `.EXTENSION`.
    pub(crate) fn is(&self, extension: &str) -> bool {
        self.path
            .rsplit_once('.')
            .is_some_and(|(_, end)| end == extension)
    }
}

/// All text files, by path.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The files.
    pub(crate) sources: Vec<Source>,
}

impl Tree {
    /// Reads every text file under `root`.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub(crate) fn read(root: &Path) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        walk(root, "", &mut sources)?;
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { sources })
    }

    /// The crates under `crates/`: folder names, in order.
    pub(crate) fn crates(&self) -> Vec<&str> {
        let manifest = |s: &'_ &Source| s.path.ends_with("/Cargo.toml");
        let mut names: Vec<_> = self
            .sources
            .iter()
            .filter(manifest)
            .filter_map(Source::crate_name)
            .collect();
        names.dedup();
        names
    }
}

fn walk(root: &Path, folder: &str, sources: &mut Vec<Source>) -> Result<(), Failure> {
    let path = root.join(folder);
    for entry in std::fs::read_dir(&path).map_err(Failure::file(&path))? {
        let entry = entry.map_err(Failure::file(&path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type().map_err(Failure::file(entry.path()))?;
        if kind.is_dir() {
            let build = name.starts_with("target");
            if !build && !SKIPPED.contains(&relative.as_str()) {
                walk(root, &relative, sources)?;
            }
        } else if kind.is_file() && TEXT.iter().any(|end| relative.ends_with(end)) {
            let text =
                std::fs::read_to_string(entry.path()).map_err(Failure::file(entry.path()))?;
            let code = relative.ends_with(".rs") || relative.ends_with(".cu");
            sources.push(Source {
                lexed: code.then(|| lexer::split(&text)),
                path: relative,
                text,
            });
        }
    }
    Ok(())
}
