//! Running other programs, and how that can fail.
//!
//! `xshell` runs them: each is one line as a person would type it, echoed to the standard error where its
//! output is shown, and a status other than 0 is an error. [`measured`] says what `xshell` does not serve.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use xshell::{Cmd, Shell};

/// What a step came to when nothing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran and all of it holds.
    Passed,
    /// It could not run; nothing is known. Never counted as passed.
    NotRun(String),
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program could not be started, or ended with another status than 0.
    #[error(transparent)]
    Command(#[from] xshell::Error),
    /// A program that measures could not be started.
    #[error("cannot start `{command}`: {source}")]
    Start {
        command: String,
        source: std::io::Error,
    },
    /// A program that measures failed.
    #[error("`{command}` failed: {status}")]
    Status {
        command: String,
        status: std::process::ExitStatus,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Text that is not of its format.
    #[error("{}: {message}", path.display())]
    Format { path: PathBuf, message: String },
    /// Findings of a check, printed already.
    #[error("{count} {what}")]
    Findings { count: usize, what: &'static str },
    /// Steps of the gate that failed, by name.
    #[error("failed: {}", .0.join(", "))]
    Steps(Vec<&'static str>),
}

impl Failure {
    /// A failure to read or write `path`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// Sees to it that a check has something to look at: over nothing every check passes.
///
/// # Errors
/// Nothing was found of `what` under `root`.
pub(crate) fn some<T>(found: &[T], what: &str, root: &Path) -> Result<(), Failure> {
    if found.is_empty() {
        return Err(Failure::Format {
            path: root.to_path_buf(),
            message: format!("no {what} was found: nothing would be checked"),
        });
    }
    Ok(())
}

/// The root of the repository: the folder above this package's.
pub(crate) fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

/// A shell in the root, and the cargo that started this program.
///
/// # Errors
/// This program's own folder is gone.
pub(crate) fn at(root: &Path) -> Result<(Shell, OsString), Failure> {
    let sh = Shell::new()?;
    sh.change_dir(root);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Ok((sh, cargo))
}

/// Runs a command that measures: its status 3 says that something could not be measured.
///
/// The only process that `xshell` does not run: it either lets the output through as it comes or
/// answers the status, and a measurement of minutes needs both.
///
/// # Errors
/// It cannot be started, or its status is neither 0 nor 3.
pub(crate) fn measured(command: Cmd<'_>) -> Result<Outcome, Failure> {
    let words = command.to_string();
    eprintln!("$ {words}");
    match Command::from(command).status() {
        Ok(status) if status.success() => Ok(Outcome::Passed),
        Ok(status) if status.code() == Some(3) => {
            Ok(Outcome::NotRun("a cell was not measured".to_owned()))
        }
        Ok(status) => Err(Failure::Status {
            command: words,
            status,
        }),
        Err(source) => Err(Failure::Start {
            command: words,
            source,
        }),
    }
}
