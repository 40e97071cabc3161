//! The API documentation and the book.
//!
//! `target/doc` holds rustdoc's pages and `target/book` the book. Both come out with their equations
//! rendered to HTML by the vendored KaTeX, in the program `docs/tool`, which also checks the book's
//! links and fails on any warning. That program is not in the workspace: it takes a minute to compile
//! and nothing else needs it.

use crate::shell::{self, Failure, Outcome};
use std::path::Path;
use xshell::cmd;

/// Builds both, warnings denied.
///
/// # Errors
/// A warning, a broken link, or an equation that KaTeX refuses.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    let (sh, cargo) = shell::at(root)?;
    cmd!(
        sh,
        "{cargo} doc --workspace --no-deps --locked --exclude xtask"
    )
    .env("RUSTDOCFLAGS", flags)
    .run()?;
    let tool = ["--manifest-path", "docs/tool/Cargo.toml"];
    let target = ["--target-dir", "target/docs-tool"];
    cmd!(sh, "{cargo} test --quiet --locked {tool...} {target...}").run()?;
    let book = ["--book", "docs", "--katex", "docs/katex"];
    let pages = ["--rustdoc", "target/doc", "--output", "target/book"];
    cmd!(
        sh,
        "{cargo} run --quiet --locked {tool...} {target...} -- {book...} {pages...}"
    )
    .run()?;
    Ok(Outcome::Passed)
}
