//! What can go wrong.

use std::path::PathBuf;

/// Why the documentation was not built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument is missing.
    #[error("{0} PATH is missing")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// mdBook failed.
    #[error("the book: {0}")]
    Book(String),
    /// mdBook warned.
    #[error("the book: {0} warnings")]
    Warnings(usize),
    /// The JavaScript engine or KaTeX itself did not load.
    #[error("KaTeX: {0}")]
    Engine(String),
    /// KaTeX refuses an equation.
    #[error("{}: {message}\n    {tex}", page.display())]
    Equation {
        page: PathBuf,
        tex: String,
        message: String,
    },
    /// A site in which there is nothing to check.
    #[error("{}: no {what} was found: nothing would be checked", site.display())]
    Nothing { site: PathBuf, what: &'static str },
    /// Links that lead nowhere, printed already.
    #[error("{0} broken links")]
    Links(usize),
}
