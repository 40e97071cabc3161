//! What ends a run of benchmarks.

use std::path::PathBuf;

/// Why a run or a report ended. What concerns one cell is a [`broadhead_gate::Decline`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not of its format.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        message: String,
    },
    /// A line of a file of records is none.
    #[error("{}: line {line}: {refused}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        refused: crate::record::Refused,
    },
    /// The machine's rates could not be measured.
    #[error("the rates of this machine: {0}")]
    Rates(#[from] broadhead_schur::Failure),
    /// A record lies in a file that is not its own.
    #[error("{}: line {line}: a record of {origin} belongs in {}", path.display(), belongs.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The device and the commit that its receipt names.
        origin: String,
        /// The file that it belongs in.
        belongs: PathBuf,
    },
    /// A peer whose records would be refused.
    #[error("the peer {name}: {refused}")]
    Peer {
        /// The peer.
        name: String,
        /// Why.
        refused: crate::record::Refused,
    },
    /// A pool of threads could not be made.
    #[error("threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A chart could not be drawn.
    #[error("chart: {0}")]
    Chart(String),
    /// A committed report differs from what its records give.
    #[error("{} is not what the records give: run `cargo xtask report`", .0.display())]
    Stale(PathBuf),
}

impl Error {
    /// A failure to read or write `path`.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
