//! The API documentation and the book.
//!
//! `target/doc` holds rustdoc's pages and `target/book` the book. Both come out with their equations
//! rendered to HTML by the vendored KaTeX, in the program `docs/tool`, which also checks the book's
//! links and fails on any warning. That program is not in the workspace: it takes a minute to compile
//! and nothing else needs it.

use crate::shell::{self, Failure, Outcome};
use std::path::Path;

/// Builds both, warnings denied.
///
/// # Errors
/// A warning, a broken link, or an equation that KaTeX refuses.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        "--exclude",
        "xtask",
    ];
    shell::run(shell::cargo(root).args(doc).env("RUSTDOCFLAGS", flags))?;
    let tool = |verb| {
        let mut command = shell::cargo(root);
        command
            .args([verb, "--quiet", "--locked"])
            .args(["--manifest-path", "docs/tool/Cargo.toml"])
            .args(["--target-dir", "target/docs-tool"]);
        command
    };
    shell::run(&mut tool("test"))?;
    shell::run(
        tool("run")
            .args(["--", "--book", "docs", "--katex", "docs/katex"])
            .args(["--rustdoc", "target/doc", "--output", "target/book"]),
    )?;
    Ok(Outcome::Passed)
}
