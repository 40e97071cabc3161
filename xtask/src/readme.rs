//! The README's commands, run as they stand there.

use crate::shell::{self, Failure, Outcome};
use std::path::Path;
use xshell::cmd;

/// Opens the block whose commands the gate runs.
const MARKER: &str = "<!-- test-command -->";

/// Runs the commands of the code block that follows the marker, in a shell that stops at the first
/// failure.
///
/// # Errors
/// The README has no such block, or a command fails.
pub(crate) fn run_test_command(root: &Path) -> Result<Outcome, Failure> {
    let path = root.join("README.md");
    let text = std::fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let commands = block_after(&text, MARKER).ok_or_else(|| Failure::Format {
        path,
        message: format!("no code block follows {MARKER}"),
    })?;
    let (sh, _) = shell::at(root)?;
    cmd!(sh, "bash -euc {commands}").run()?;
    Ok(Outcome::Passed)
}

/// The inside of the first fenced block after `marker`.
fn block_after<'t>(text: &'t str, marker: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(marker)?;
    let (_, rest) = rest.split_once("```")?;
    let (_language, rest) = rest.split_once('\n')?;
    let (block, _) = rest.split_once("```")?;
    (!block.trim().is_empty()).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_after_the_marker_is_taken_as_it_stands() {
        let text = "```sh\nother\n```\n<!-- m -->\n\n```sh\na b\nc\n```\n";
        assert_eq!(block_after(text, "<!-- m -->"), Some("a b\nc\n"));
        assert_eq!(block_after(text, "<!-- n -->"), None);
        assert_eq!(block_after("<!-- m -->\n```sh\n```", "<!-- m -->"), None);
    }
}
