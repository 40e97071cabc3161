//! Tables in Markdown.

use super::OnMachine;
use super::group::{self, BEST, Group};
use super::verdict::{Judged, Outcome as Verdict, short};
use crate::cell::{AUTO_SHIPPED, Phase, Suite, is_auto};
use crate::receipt::Receipt;
use crate::record::Refused;
use crate::summary::Summary;
use broadhead_gate::Decline;
use std::fmt::Write;

/// The page of a suite whose records are refused: why, and the requirements.
pub(super) fn refused(refused: &Refused, verdicts: &[Judged]) -> String {
    let mut page = String::from("<!-- Made by `cargo xtask report` from benches/records. -->\n\n");
    let _ = writeln!(
        page,
        "*The records are refused and must be taken again: {refused}.*\n"
    );
    push_verdicts(&mut page, verdicts);
    page
}

/// The page of one suite: of each machine one table a phase, the requirements, its receipt.
pub(super) fn markdown(suite: &Suite, machines: &[OnMachine]) -> String {
    let mut page = String::from("<!-- Made by `cargo xtask report` from benches/records. -->\n\n");
    if machines.is_empty() {
        page.push_str("*Not measured yet: there is no record.*\n");
    }
    for (at, on) in machines.iter().enumerate() {
        if machines.len() > 1 {
            let between = if at > 0 { "\n" } else { "" };
            let _ = writeln!(page, "{between}**{}**\n", on.machine);
        }
        push_machine(&mut page, suite, on);
    }
    page
}

fn push_machine(page: &mut String, suite: &Suite, on: &OnMachine) {
    let names = group::contenders(&on.groups);
    for phase in group::phases(&on.groups) {
        push_table(page, suite, &on.groups, &names, phase);
        // From the folder of any chapter that includes this page: those are one folder down.
        let _ = writeln!(
            page,
            "\n![Times of {phase} by case](../generated/{})\n",
            on.chart(suite, phase)
        );
    }
    push_verdicts(page, &on.verdicts);
    push_shipped(page, &on.groups);
    if let Some(record) = on.records.first() {
        push_receipt(page, &record.receipt);
    }
}

fn push_verdicts(page: &mut String, verdicts: &[Judged]) {
    for judged in verdicts {
        let word = match &judged.outcome {
            Verdict::Met { .. } => "**Met**",
            Verdict::Unmet { .. } => "**Unmet**",
            Verdict::Undetermined { .. } => "**Undetermined**",
        };
        let detail = match &judged.outcome {
            Verdict::Met { worst, shape } | Verdict::Unmet { worst, shape } => format!(
                "at most {} asked, {worst} at the worst shape ({shape})",
                judged.at_most,
            ),
            Verdict::Undetermined { reason, shape } => format!("{shape}: {reason}"),
        };
        let _ = writeln!(page, "- {word}: {}: {detail}.", judged.name);
    }
}

/// How the choice by the shipped rates does, which is no requirement.
fn push_shipped(page: &mut String, groups: &[Group]) {
    for phase in group::phases(groups) {
        let ratios = groups.iter().filter_map(|group| {
            let ratio = ratio(group, phase, AUTO_SHIPPED, BEST)?;
            Some((ratio, &group.shape))
        });
        if let Some((worst, shape)) = ratios.max_by(|a, b| a.0.total_cmp(&b.0)) {
            let worst = short(worst);
            let _ = writeln!(
                page,
                "- Beside it, by the shipped rates: {worst} times the best at the worst shape ({shape})."
            );
        }
    }
}

/// The ratio of two contenders' medians, where both were measured.
fn ratio(group: &Group, phase: Phase, above: &str, below: &str) -> Option<f64> {
    let median = |name| group.outcome(name, phase).ok().map(|(s, _)| s.median);
    Some(median(above)? / median(below)?)
}

/// One row a case; milliseconds, the fastest forced elimination of ours in bold.
fn push_table(page: &mut String, suite: &Suite, groups: &[Group], names: &[String], phase: Phase) {
    let ours = |name: &String| !suite.peers.contains(name);
    let autos: Vec<&String> = names.iter().filter(|name| is_auto(name)).collect();
    let _ = writeln!(page, "*{phase}*, median in milliseconds\n");
    let mut head = "| case | shape |".to_owned();
    let mut rule = "|---|---|".to_owned();
    for name in names {
        let _ = write!(head, " {name} |");
        rule.push_str("--:|");
    }
    for auto in &autos {
        let _ = write!(head, " {auto} chose | {auto} / best |");
        rule.push_str("---|--:|");
    }
    if autos.is_empty() && !suite.peers.is_empty() {
        let peers = match suite.peers.as_slice() {
            [only] => only.as_str(),
            _ => "fastest peer",
        };
        let _ = write!(head, " {} / {peers} |", suite.eliminations.join(", "));
        rule.push_str("--:|");
    }
    let _ = writeln!(page, "{head}\n{rule}");
    for group in groups
        .iter()
        .filter(|g| g.entries.iter().any(|e| e.phase == phase))
    {
        let best = group
            .outcome("best", phase)
            .map(|(_, entry)| entry.elimination.clone());
        let mut row = format!("| {} | {} |", group.name, group.shape);
        for name in names {
            let text = match group.outcome(name, phase) {
                Ok((summary, _)) => milliseconds(&summary),
                Err(reason) => declined(&reason).to_owned(),
            };
            let bold = ours(name) && names.len() > 2 && best.as_ref() == Ok(name);
            let _ = if bold {
                write!(row, " **{text}** |")
            } else {
                write!(row, " {text} |")
            };
        }
        let ratio = |above: &str, below: &str| {
            let found = ratio(group, phase, above, below);
            found.map_or_else(|| "undetermined".to_owned(), short)
        };
        for auto in &autos {
            let ran = group
                .outcome(auto, phase)
                .map(|(_, entry)| entry.ran.clone());
            let _ = write!(
                row,
                " {} | {} |",
                ran.unwrap_or_default().unwrap_or_default(),
                ratio(auto, BEST)
            );
        }
        if let (true, Some(first), false) = (
            autos.is_empty(),
            suite.eliminations.first(),
            suite.peers.is_empty(),
        ) {
            let _ = write!(row, " {} |", to_fastest(suite, group, first, phase));
        }
        let _ = writeln!(page, "{row}");
    }
}

/// The ratio of a contender to the fastest of the peers; undetermined where one was not measured, which
/// may have been that.
fn to_fastest(suite: &Suite, group: &Group, ours: &str, phase: Phase) -> String {
    let median = |name: &str| group.outcome(name, phase).map(|(s, _)| s.median);
    let peers = suite.peers.iter().map(|peer| median(peer));
    let fastest = peers.reduce(|a, b| Ok(a?.min(b?)));
    match (median(ours), fastest) {
        (Ok(ours), Some(Ok(fastest))) => short(ours / fastest),
        _ => "undetermined".to_owned(),
    }
}

fn milliseconds(summary: &Summary) -> String {
    let ms = 1e3 * summary.median;
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

/// A word for a cell that has no number.
fn declined(reason: &Decline) -> &'static str {
    match reason {
        Decline::Unsupported { .. } => "not served",
        Decline::OutOfMemory { .. } => "too large",
        Decline::NoSample => "no record",
        Decline::ParityFailed { .. } => "wrong",
        _ => "declined",
    }
}

pub(super) fn push_receipt(page: &mut String, receipt: &Receipt) {
    let libraries: Vec<String> = receipt
        .libraries
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let _ = writeln!(
        page,
        "\n<small>Commit {}{}; {}, {} processors, {}; {} build; {}; `{}`.</small>",
        &receipt.commit[..12.min(receipt.commit.len())],
        if receipt.dirty { " (modified)" } else { "" },
        receipt.processor,
        receipt.processors,
        receipt.features.join(" "),
        receipt.profile,
        libraries.join(", "),
        receipt.command,
    );
}
