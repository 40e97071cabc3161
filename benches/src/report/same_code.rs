//! The comparison of devices that ran the same code: records of several devices whose commit is one.
//!
//! ```text
//! ratio = median on the other device / median on the first        below 1 where the other is faster
//! ```
//! What differs between the two is then the device alone, with its host, its driver and its libraries,
//! which the receipts name.

use super::OnDevice;
use super::device::{push_receipts, united};
use super::group::{Entry, Group, group};
use super::verdict::short;
use crate::cell::Suite;
use crate::record::{Outcome, Record, Window};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What one device measured with the code of one commit.
struct Side {
    device: String,
    records: Vec<Record>,
    groups: Vec<Group>,
}

/// One section a commit that several devices ran; nothing where there is none.
pub(super) fn markdown(suite: &Suite, measured: &[OnDevice]) -> String {
    let mut page = String::new();
    for (commit, sides) in by_commit(measured) {
        if sides.len() > 1 {
            push_commit(&mut page, suite, &commit, &sides);
        }
    }
    page
}

/// By commit, the devices that have records of it. A record of modified code is of no commit.
fn by_commit(measured: &[OnDevice]) -> BTreeMap<String, Vec<Side>> {
    let mut found: BTreeMap<String, Vec<Side>> = BTreeMap::new();
    for of_folder in measured {
        let clean = of_folder.records.iter().filter(|r| !r.receipt.dirty);
        let mut commits: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
        for record in clean {
            let of_commit = commits.entry(&record.receipt.commit).or_default();
            of_commit.push(record.clone());
        }
        for (commit, records) in commits {
            let sides = found.entry(commit.to_owned()).or_default();
            // What a device does now comes before what is kept of it.
            if sides.iter().all(|s| s.device != of_folder.shelf.device) {
                let groups = group(&records);
                sides.push(Side {
                    device: of_folder.shelf.device.clone(),
                    records,
                    groups,
                });
            }
        }
    }
    found
}

fn push_commit(page: &mut String, suite: &Suite, commit: &str, sides: &[Side]) {
    let commit = commit.get(..12).unwrap_or(commit);
    let _ = writeln!(
        page,
        "\n### {}: the same code on {} devices\n\nCommit {commit}. A ratio is a time over that of the \
         {}, below 1 where it is the shorter; of ceilings it is the rate's.",
        suite.suite,
        sides.len(),
        sides[0].device
    );
    for group in &sides[0].groups {
        push_group(page, group, sides);
    }
    push_ceilings(page, sides);
    for side in sides {
        let _ = writeln!(page, "\n*{}*", side.device);
        push_receipts(page, &side.records);
    }
}

/// The heads of a table: what identifies a row, the devices, the ratios of all but the first to it.
fn push_heads(page: &mut String, of_row: &[&str], sides: &[Side]) {
    let mut head = String::from("|");
    let mut rule = String::from("|");
    for word in of_row {
        let _ = write!(head, " {word} |");
        rule.push_str("---|");
    }
    for side in sides {
        let _ = write!(head, " {} |", side.device);
        rule.push_str("--:|");
    }
    for side in &sides[1..] {
        let ratio = match sides.len() {
            2 => "ratio".to_owned(),
            _ => format!("ratio, {}", side.device),
        };
        let _ = write!(head, " {ratio} |");
        rule.push_str("--:|");
    }
    let _ = writeln!(page, "{head}\n{rule}");
}

/// One row a contender and phase, in microseconds.
fn push_group(page: &mut String, first: &Group, sides: &[Side]) {
    let _ = writeln!(page, "\n*{}*, {}: microseconds\n", first.name, first.shape);
    push_heads(page, &["", ""], sides);
    for entry in &first.entries {
        let window = match entry.window {
            None => "",
            Some(Window::Before) => " before",
            Some(Window::After) => " after",
        };
        let mut row = format!("| {}{window} | {} |", entry.elimination, entry.phase);
        let medians = sides.iter().map(|side| median(side, first, entry));
        let medians: Vec<Result<f64, &str>> = medians.collect();
        for median in &medians {
            let text = median.map_or_else(str::to_owned, |seconds| short(1e6 * seconds));
            let _ = write!(row, " {text} |");
        }
        for other in &medians[1..] {
            let ratio = match (&medians[0], other) {
                (Ok(first), Ok(other)) => short(other / first),
                _ => String::new(),
            };
            let _ = write!(row, " {ratio} |");
        }
        let _ = writeln!(page, "{row}");
    }
}

/// The median of the same cell on one side, or a word for why there is none.
fn median(side: &Side, group: &Group, entry: &Entry) -> Result<f64, &'static str> {
    let of_case = side.groups.iter().find(|g| g.is_case_of(group));
    let mut entries = of_case.into_iter().flat_map(|g| &g.entries);
    let same = entries.find(|e| {
        (&e.elimination, e.phase, e.window) == (&entry.elimination, entry.phase, entry.window)
    });
    match same.map(|e| &e.outcome) {
        Some(Ok(summary)) => Ok(summary.median),
        Some(Err(_)) => Err("declined"),
        None => Err("no record"),
    }
}

/// The ceilings that all sides have.
fn push_ceilings(page: &mut String, sides: &[Side]) {
    let mut any = false;
    for record in &sides[0].records {
        let Outcome::Ceiling(first) = &record.outcome else {
            continue;
        };
        let of = |side: &Side| {
            side.records.iter().find_map(|r| match &r.outcome {
                Outcome::Ceiling(c)
                    if (&c.what, c.working_set_bytes) == (&first.what, first.working_set_bytes) =>
                {
                    c.ceiling.value()
                }
                _ => None,
            })
        };
        let values: Option<Vec<f64>> = sides.iter().map(of).collect();
        let Some(values) = values else {
            continue;
        };
        if !any {
            page.push('\n');
            push_heads(page, &["ceiling", "working set"], sides);
            any = true;
        }
        let set = match first.working_set_bytes {
            Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            None => String::new(),
        };
        let mut row = format!("| {} | {set} |", first.what);
        let (unit, _) = first.ceiling.windows();
        for value in &values {
            let _ = write!(row, " {} |", united(unit, *value));
        }
        for value in &values[1..] {
            let _ = write!(row, " {} |", short(value / values[0]));
        }
        let _ = writeln!(page, "{row}");
    }
}
