//! The rules about the source tree that no compiler checks.
//!
//! A rule is a function from the [`Tree`] to its findings. Rules look at text and nothing else: they
//! run in milliseconds and never build anything. A pattern that a rule looks for is written in
//! pieces here, so that this folder passes its own check.

mod layers;
mod lexer;
mod schur;
mod text;
mod tree;

use crate::shell::{self, Failure, Outcome};
use std::path::Path;
pub(crate) use tree::{Source, Tree};

/// One breach of one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the root.
    path: String,
    /// Line from 1; 0 where it is about the file.
    line: usize,
    /// The rule's name.
    rule: &'static str,
    /// What is wrong.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            line,
            rule,
            message,
        } = self;
        write!(f, "{path}:{line}: {rule}: {message}")
    }
}

/// Checks the tree under `root` and prints what it finds.
///
/// # Errors
/// A file that cannot be read, or any finding.
pub(crate) fn run(root: &Path) -> Result<Outcome, Failure> {
    let tree = Tree::read(root)?;
    shell::some(&tree.sources, "Rust source", root)?;
    let findings = findings(&tree);
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(Outcome::Passed),
        count => Err(Failure::Findings {
            count,
            what: "findings",
        }),
    }
}

/// What all rules find, in the order of the files.
fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(layers::check(tree));
    findings.extend(schur::check(tree));
    findings.extend(text::check(tree));
    findings.sort();
    findings
}

#[cfg(test)]
mod tests;
