//! Running other programs, and how that can fail.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// A program could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        program: String,
        source: std::io::Error,
    },
    /// A program ended with another status than 0.
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

/// A `cargo` call in the root: the cargo that started this program.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs `command` with this program's output streams.
///
/// # Errors
/// It cannot be started, or its status is not 0.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(start(command))?;
    check(command, status)
}

/// Runs a command that measures: its status 3 says that something could not be measured.
///
/// # Errors
/// As [`run`], but for that status.
pub(crate) fn measured(command: &mut Command) -> Result<Outcome, Failure> {
    let status = command.status().map_err(start(command))?;
    match status.code() {
        Some(3) => Ok(Outcome::NotRun("a cell was not measured".to_owned())),
        _ => check(command, status).map(|()| Outcome::Passed),
    }
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`].
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(start(command))?;
    check(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn start(command: &Command) -> impl FnOnce(std::io::Error) -> Failure + use<> {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| Failure::Start { program, source }
}

fn check(command: &Command, status: std::process::ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let command = words.map(|w| w.to_string_lossy()).collect::<Vec<_>>();
    Err(Failure::Status {
        command: command.join(" "),
        status,
    })
}
