//! Rules about the text of files.

use super::{Finding, Source, Tree};

/// The longest a file may be, in lines.
const LONGEST: usize = 700;

/// Code that a crate may not hold: what, and what to do instead. In pieces, so that this list is not
/// its own finding where it is quoted.
const FORBIDDEN_CODE: &[(&str, &str)] = &[
    (concat!("to", "do!"), "finish it or leave it out"),
    (concat!("unimple", "mented!"), "finish it or leave it out"),
    (
        concat!(".ok", "()?"),
        "keep the error: an absence has a reason",
    ),
    (concat!("#[ign", "ore"), "a test runs or is not there"),
];

/// Words that mark unfinished work.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// First folders of paths that are one machine's own.
const MACHINE_FOLDERS: &[&str] = &["home", "root", "tmp", "work", "workspace", "Users", "mnt"];

/// Applies every rule to every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        length(source, &mut findings);
        opening(source, &mut findings);
        code(source, &mut findings);
        prose(source, &mut findings);
        paths(source, &mut findings);
    }
    findings
}

fn length(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.text.lines().count();
    if ["rs", "cu", "py"].iter().any(|e| source.is(e)) && lines > LONGEST {
        let message = format!("{lines} lines, at most {LONGEST}: split it by concept");
        findings.push(Finding::new(&source.path, 0, "length", message));
    }
}

/// A module opens with what it is; a kernel file with its equation and layouts.
fn opening(source: &Source, findings: &mut Vec<Finding>) {
    let first = source
        .text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let module =
        source.is("rs") && source.path.contains("/src/") && !source.path.ends_with("/tests.rs");
    if module && !first.starts_with("//!") {
        let message = "a module opens with `//!`: what it is, the equation, the invariants";
        findings.push(Finding::new(&source.path, 1, "opening", message));
    }
    if source.is("cu") && !(first.starts_with("//") || first.starts_with("/*")) {
        let message = "a kernel file opens with a comment: equation, launch geometry, layouts";
        findings.push(Finding::new(&source.path, 1, "opening", message));
    }
}

fn code(source: &Source, findings: &mut Vec<Finding>) {
    let Some(lexed) = source.lexed.as_ref().filter(|_| source.is("rs")) else {
        return;
    };
    // A kernel's typed launch stands beside the kernel, which it includes.
    let launches = source.text.contains("include_str!(") && source.text.contains(".cu\"");
    let outside_device = source.crate_name() != Some("device") && !launches;
    for (line, text) in numbered(&lexed.code) {
        for (pattern, instead) in FORBIDDEN_CODE {
            if words(text, pattern).next().is_some() {
                let message = format!("`{pattern}`: {instead}");
                findings.push(Finding::new(&source.path, line, "code", message));
            }
        }
        if outside_device && words(text, "unsafe").next().is_some() {
            let message = "unsafe code belongs to crates/device, or beside a kernel's typed launch";
            findings.push(Finding::new(&source.path, line, "unsafe", message));
        }
    }
}

/// Comments, and whole files where nearly everything is prose.
fn prose(source: &Source, findings: &mut Vec<Finding>) {
    let text = source
        .lexed
        .as_ref()
        .map_or(source.text.as_str(), |lexed| &lexed.comments);
    for (line, text) in numbered(text) {
        if let Some(marker) = MARKERS
            .iter()
            .find(|marker| words(text, marker).next().is_some())
        {
            let message = format!("{marker}: finish it, or write it into docs");
            findings.push(Finding::new(&source.path, line, "marker", message));
        }
        if issue_number(text) && !source.is("css") && !source.is("html") {
            let message = "an issue's number: say the reason, cite the paper";
            findings.push(Finding::new(&source.path, line, "issue", message));
        }
        if source.is("rs") && text.contains("$$") {
            let message = "equations are `math` blocks and dollar-backtick spans (CONTRIBUTING.md)";
            findings.push(Finding::new(&source.path, line, "equation", message));
        }
    }
}

fn paths(source: &Source, findings: &mut Vec<Finding>) {
    for (line, text) in numbered(&source.text) {
        let found = MACHINE_FOLDERS.iter().find(|folder| {
            let pattern = format!("/{folder}/");
            text.match_indices(&pattern).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "._-~/*)}>".contains(c)))
            })
        });
        if let Some(folder) = found {
            let message = format!("a path under /{folder}: of one machine only");
            findings.push(Finding::new(&source.path, line, "path", message));
        }
    }
}

/// Lines with their numbers from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

/// Where `pattern` stands in `text`, not as a part of a longer word.
pub(super) fn words<'t>(text: &'t str, pattern: &str) -> impl Iterator<Item = usize> + use<'t> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let opens = pattern.starts_with(word);
    let closes = pattern.ends_with(word);
    let length = pattern.len();
    let starts: Vec<usize> = text.match_indices(pattern).map(|(at, _)| at).collect();
    starts.into_iter().filter(move |&at| {
        let before = text[..at].chars().next_back().is_some_and(word);
        let after = text[at + length..].chars().next().is_some_and(word);
        !(opens && before || closes && after)
    })
}

/// `#12` alone, or the word issue with a number.
fn issue_number(text: &str) -> bool {
    let hash = text.match_indices('#').any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let digits = text[at + 1..]
            .chars()
            .take_while(char::is_ascii_digit)
            .count();
        let after = text[at + 1 + digits..].chars().next();
        before.is_none_or(|c| c.is_whitespace() || c == '(')
            && (1..=5).contains(&digits)
            && after.is_none_or(|c| !c.is_alphanumeric())
    });
    let lower = text.to_ascii_lowercase();
    let named = ["issue", "issues"].iter().any(|noun| {
        words(&lower, noun).any(|at| {
            let rest = lower[at + noun.len()..].trim_start_matches([' ', '#']);
            rest.len() < lower.len() - at - noun.len()
                && rest.starts_with(|c: char| c.is_ascii_digit())
        })
    });
    hash || named
}
