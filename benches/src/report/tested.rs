//! The page of the device tests' evidence.

use crate::error::Error;
use crate::evidence::{self, Evidence};
use crate::store::Shelf;
use std::fmt::Write;

/// The page, and the name of its file without the ending.
pub(super) const NAME: &str = "device-tests";

/// Precedes the name of tests that are skipped.
const SKIP: &str = "--skip";

/// What the test programs have a tool exit with where it found something.
const FOUND: i64 = 86;

/// Of every device: counts of every test program, findings of every tool, the other kinds by name, the
/// receipts.
///
/// # Errors
/// A line is refused.
pub(super) fn markdown(shelves: &[Shelf]) -> Result<String, Error> {
    let mut page = String::from("<!-- Made by `cargo xtask report` from benches/records. -->\n\n");
    let mut sections = Vec::new();
    for shelf in shelves {
        let mut found = Vec::new();
        for file in evidence::FILES {
            let path = shelf.path.join(file);
            if path.is_file() {
                found.extend(evidence::read(&path)?.into_iter().map(|(e, _)| e));
            }
        }
        let at = match &shelf.commit {
            Some(commit) => format!(", at {commit}"),
            None => String::new(),
        };
        // A device's own section says that nothing ran there; that of a commit is then left out.
        if !found.is_empty() || shelf.commit.is_none() {
            let mut section = format!("### The tests on an {}{at}\n\n", shelf.device);
            push_device(&mut section, &found);
            sections.push(section);
        }
    }
    match sections.is_empty() {
        true => page.push_str(NOTHING),
        false => page.push_str(&sections.join("\n")),
    }
    Ok(page)
}

/// Said where there is no evidence.
const NOTHING: &str = "*Not run on a device yet: there is no record.*\n";

/// What one device's evidence says.
fn push_device(page: &mut String, found: &[Evidence]) {
    if found.is_empty() {
        page.push_str(NOTHING);
        return;
    }
    page.push_str("| program | under | tests | passed | failed | ignored |\n");
    page.push_str("|---|---|---|--:|--:|--:|\n");
    for evidence in of_kind(found, "tests") {
        let what = &evidence.what;
        // Those tests are for the tools, below.
        if what["filter"]
            .as_str()
            .is_some_and(|filter| filter.starts_with("planted::"))
        {
            continue;
        }
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            program(evidence),
            what["under"].as_str().unwrap_or(""),
            match (what["filter"].as_str(), what["filtered_out"].as_u64()) {
                (Some(filter), _) => filter.to_owned(),
                (None, Some(0)) => "all".to_owned(),
                (None, out) => format!("all but {}", out.unwrap_or_default()),
            },
            what["passed"],
            what["failed"],
            what["ignored"],
        );
    }
    if of_kind(found, "sanitizer").next().is_some() {
        page.push_str("\n| program | tool | kernels | tests | found | |\n");
        page.push_str("|---|---|---|---|---|---|\n");
    }
    for evidence in of_kind(found, "sanitizer") {
        let what = &evidence.what;
        let arguments = what["arguments"].as_array().into_iter().flatten();
        let arguments: Vec<&str> = arguments.filter_map(|a| a.as_str()).collect();
        let first = arguments.iter().position(|a| *a == SKIP);
        let (only, rest) = arguments.split_at(first.unwrap_or(arguments.len()));
        let skipped: Vec<&str> = rest.iter().copied().filter(|a| *a != SKIP).collect();
        let tests = match (only, skipped.as_slice()) {
            ([], []) => "all".to_owned(),
            ([], skipped) => format!("all but {}", skipped.join(", ")),
            (only, []) => only.join(" "),
            (only, skipped) => format!("{}, but not {}", only.join(" "), skipped.join(", ")),
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            program(evidence),
            what["tool"].as_str().unwrap_or(""),
            what["kernels"].as_str().unwrap_or("all"),
            tests,
            what["summary"].as_str().unwrap_or("nothing said"),
            match (what["planted"] == true, what["clean"] == true) {
                _ if what["in_time"] == false => "**did not end in its time**",
                (true, false) if what["exit"] == FOUND => "finds what was planted",
                (true, _) => "**misses what was planted**",
                (false, true) => "clean",
                (false, false) if what["passed"] == 0 => "**ran no test**",
                (false, false) => "**not clean**",
            },
        );
    }
    let mut kinds: Vec<&str> = found.iter().map(|e| e.record.as_str()).collect();
    kinds.retain(|kind| !["tests", "sanitizer"].contains(kind));
    kinds.sort_unstable();
    kinds.dedup();
    let _ = writeln!(page, "\nWith what they saw recorded: {}.", kinds.join(", "));
    let mut said = Vec::new();
    for evidence in found {
        let text = receipt(evidence);
        if !said.contains(&text) {
            let _ = writeln!(page, "\n{text}");
            said.push(text);
        }
    }
}

/// The program's name and the beginning of its digest.
fn program(evidence: &Evidence) -> String {
    let name = evidence.what["program"].as_str().unwrap_or("");
    let digest = short(&evidence.receipt.program_sha256);
    format!("{name} {digest}").trim_start().to_owned()
}

fn of_kind<'e>(found: &'e [Evidence], kind: &'e str) -> impl Iterator<Item = &'e Evidence> {
    found.iter().filter(move |e| e.record == kind)
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn receipt(evidence: &Evidence) -> String {
    let receipt = &evidence.receipt;
    let device = receipt.device.as_ref().map_or("no device", |d| &d.name);
    format!(
        "<small>Commit {}{}; {device}; {} build, program {}; {}.</small>",
        short(&receipt.commit),
        if receipt.dirty { " (modified)" } else { "" },
        receipt.profile,
        short(&receipt.program_sha256),
        receipt.libraries.join(", "),
    )
}
