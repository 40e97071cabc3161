//! Output files: written beside their targets and renamed, whole or not at all, and all from one run.
//!
//! ```text
//!   refuse_inputs   no output is a file that the command reads, by whatever name
//!   RunFolder       a folder that belongs to this run until it ends; others are refused
//!   Staging         files written under names of their own, then put in place together
//!   npy, npz        an array row by row, arrays of one file side by side
//! ```
//!
//! A single file is renamed over the old one, so a reader sees one or the other. A set of files is
//! replaced as a set: see [`Staging::publish`].

mod folder;
mod identity;
pub mod npy;
pub mod npz;
mod staging;

pub use folder::RunFolder;
pub use identity::refuse_inputs;
pub use staging::{Sink, Staging, prepare_file};

use crate::message;
use std::io::{self, Write};
use std::path::PathBuf;

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The system returned an error. Exit code 1.
    #[error("cannot write {}: {source}", message::path(path))]
    Io {
        /// The output that was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The target exists and is not a regular file; a rename would replace it. Exit code 1.
    #[error("cannot write {}: it is not a regular file", message::path(path))]
    NotRegular {
        /// The output that was to be written.
        path: PathBuf,
    },
    /// The folder of the target does not exist. Exit code 1.
    #[error(
        "cannot write {}: there is no folder {}",
        message::path(path),
        message::path(folder)
    )]
    NoFolder {
        /// The output that was to be written.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Another run writes into the folder. Exit code 1.
    #[error(
        "cannot write into {}: another run is writing there; wait for its end, or name another folder",
        message::path(path)
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The output is a file that the command reads. Exit code 2.
    #[error(
        "{} would be written over {}, which is read: expected another output",
        message::path(output),
        message::path(input)
    )]
    OverInput {
        /// The output as it was named.
        output: PathBuf,
        /// The input as it was named: the same file.
        input: PathBuf,
    },
    /// Standard output could not be written. Exit code 1.
    #[error("cannot write the summary to standard output: {source}")]
    Stdout {
        /// What the system said.
        source: io::Error,
    },
}

/// Writes `text` to standard output. A reader that has gone away is no error.
///
/// # Errors
/// [`OutputError::Stdout`], for example if the output is a file on a full disk.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(message::for_terminal(text).as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(OutputError::Stdout { source }),
        Ok(()) => Ok(()),
    }
}
