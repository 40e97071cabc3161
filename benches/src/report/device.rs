//! The page of a device's suite.

use super::OnDevice;
use super::group::{BEST, Entry, Group};
use super::verdict::{Contender, Judged, Outcome as Verdict, short};
use crate::cell::{Phase, Suite};
use crate::receipt::Receipt;
use crate::record::{L2, Outcome, Record, Timer, Window};
use broadhead_device::measure::Unit;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Requirements of all devices side by side; of each device its times, ceilings, what was not
/// measured, and its receipts.
pub(super) fn markdown(suite: &Suite, measured: &[OnDevice]) -> String {
    let mut page = String::from("<!-- Made by `cargo xtask report` from benches/records. -->\n\n");
    let current = measured.iter().filter(|m| m.shelf.commit.is_none());
    let devices: Vec<&OnDevice> = current.collect();
    if devices.iter().all(|m| m.records.is_empty()) {
        page.push_str("*Not measured yet: there is no record.*\n");
        return page;
    }
    push_requirements(&mut page, suite, &devices);
    for device in devices {
        let _ = writeln!(page, "\n### {} on an {}", suite.suite, device.shelf.device);
        if device.records.is_empty() {
            page.push_str("\n*Not measured yet: there is no record.*\n");
            continue;
        }
        push_times(&mut page, suite, &device.groups);
        push_ceilings(&mut page, &device.records);
        push_declined(&mut page, &device.records);
        push_receipts(&mut page, &device.records);
    }
    page
}

/// One row a requirement, one column a device.
fn push_requirements(page: &mut String, suite: &Suite, devices: &[&OnDevice]) {
    let mut head = "| required | at most |".to_owned();
    let mut rule = "|---|--:|".to_owned();
    for device in devices {
        let _ = write!(head, " {} |", device.shelf.device);
        rule.push_str("---|");
    }
    let _ = writeln!(page, "{head}\n{rule}");
    for index in 0..suite.requirements.len() {
        let of_devices = || devices.iter().filter_map(|d| d.verdicts.get(index));
        let Some(first) = of_devices().next() else {
            continue;
        };
        let mut row = format!("| {} | {} |", first.name, first.at_most);
        for judged in of_devices() {
            let _ = write!(row, " {} |", found(judged));
        }
        let _ = writeln!(page, "{row}");
    }
}

/// The verdict, the value at the worst shape, and whose it is.
fn found(judged: &Judged) -> String {
    let (word, value, shape) = match &judged.outcome {
        Verdict::Met { worst, shape } => ("met", worst.clone(), shape),
        Verdict::Unmet { worst, shape } => ("**missed**", worst.clone(), shape),
        Verdict::Undetermined { reason, shape } => ("*undetermined*", reason.to_string(), shape),
    };
    let by = match &judged.by {
        Some(Contender { name, build: None }) => format!(", {name}"),
        Some(Contender {
            name,
            build: Some(build),
        }) => format!(", {name} (built in {} ms)", short(1e3 * build)),
        None => String::new(),
    };
    format!("{word}: {value}; {shape}{by}")
}

/// One row a phase, one table a case: microseconds of one unit of work, spread of the middle half.
fn push_times(page: &mut String, suite: &Suite, groups: &[Group]) {
    for group in groups {
        let phases: BTreeSet<Phase> = group.entries.iter().map(|e| e.phase).collect();
        let mut names: Vec<&str> = Vec::new();
        for entry in &group.entries {
            if entry.window.is_none() && !names.contains(&entry.elimination.as_str()) {
                names.push(&entry.elimination);
            }
        }
        let peer = suite.peers.first().filter(|peer| {
            let of_peer = |e: &Entry| e.elimination == **peer;
            group.entries.iter().any(of_peer)
        });
        let _ = writeln!(page, "\n*{}*, {}: microseconds\n", group.name, group.shape);
        let mut head = "| |".to_owned();
        let mut rule = "|---|".to_owned();
        for name in &names {
            let _ = write!(head, " {name} |");
            rule.push_str("--:|");
        }
        if let Some(peer) = peer {
            let _ = write!(head, " {peer} before | {peer} after | {peer} / best |");
            rule.push_str("--:|--:|--:|");
        }
        let _ = writeln!(page, "{head}\n{rule}");
        for phase in phases {
            let mut row = format!("| {phase} |");
            for name in &names {
                let _ = write!(row, " {} |", time(group, name, phase, None));
            }
            if let Some(peer) = peer {
                for window in [Window::Before, Window::After] {
                    let _ = write!(row, " {} |", time(group, peer, phase, Some(window)));
                }
                let _ = write!(row, " {} |", ratio(group, peer, phase));
            }
            let _ = writeln!(page, "{row}");
        }
    }
}

fn time(group: &Group, name: &str, phase: Phase, window: Option<Window>) -> String {
    let mut entries = group.entries.iter();
    let of = |e: &&Entry| e.elimination == name && e.phase == phase && e.window == window;
    match entries.find(of).map(|e| &e.outcome) {
        Some(Ok(summary)) => {
            let us = 1e6 * summary.median;
            let text = match us {
                us if us >= 100.0 => format!("{us:.0}"),
                us => format!("{us:.1}"),
            };
            format!("{text} &plusmn; {:.0} %", 100.0 * summary.spread)
        }
        Some(Err(_)) => "declined".to_owned(),
        None => String::new(),
    }
}

/// The peer's faster window over our fastest contender, of one run.
fn ratio(group: &Group, peer: &str, phase: Phase) -> String {
    match (group.outcome(peer, phase), group.outcome(BEST, phase)) {
        (Ok((peer, theirs)), Ok((best, ours))) if theirs.run == ours.run => {
            short(peer.median / best.median)
        }
        _ => String::new(),
    }
}

fn push_ceilings(page: &mut String, records: &[Record]) {
    let mut any = false;
    for record in records {
        let Outcome::Ceiling(found) = &record.outcome else {
            continue;
        };
        if !any {
            page.push_str("\n| ceiling | working set | value | windows |\n|---|--:|--:|---|\n");
            any = true;
        }
        let set = match found.working_set_bytes {
            Some(bytes) => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
            None => String::new(),
        };
        let (unit, medians) = found.ceiling.windows();
        let value = match found.ceiling.value() {
            Some(value) => united(unit, value),
            None => "refused".to_owned(),
        };
        let windows: Vec<String> = medians.iter().map(|m| united(unit, *m)).collect();
        let _ = writeln!(
            page,
            "| {} | {set} | {value} | {} |",
            found.what,
            windows.join(", ")
        );
    }
}

pub(super) fn united(unit: Unit, value: f64) -> String {
    match unit {
        Unit::BytesPerSecond => format!("{} GB/s", short(1e-9 * value)),
        Unit::OperationsPerSecond => format!("{} TFLOP/s", short(1e-12 * value)),
        Unit::Seconds => format!("{} us", short(1e6 * value)),
    }
}

fn push_declined(page: &mut String, records: &[Record]) {
    let declined = records.iter().filter_map(|record| match &record.outcome {
        Outcome::Declined(reason) => Some((&record.cell, reason)),
        _ => None,
    });
    let lines: Vec<String> = declined
        .map(|(cell, why)| {
            format!(
                "- {}, {}, {}: {why}",
                cell.name, cell.elimination, cell.phase
            )
        })
        .collect();
    if !lines.is_empty() {
        let _ = writeln!(page, "\nNot measured:\n\n{}", lines.join("\n"));
    }
}

/// What all records share, once; the clocks over all of them.
pub(super) fn push_receipts(page: &mut String, records: &[Record]) {
    let events: BTreeSet<Phase> = records
        .iter()
        .filter(|r| matches!(&r.outcome, Outcome::Measured(m) if m.timer == Timer::DeviceEvents))
        .map(|r| r.cell.phase)
        .collect();
    let events: Vec<&str> = events.into_iter().map(Phase::as_str).collect();
    let clocks = match events.as_slice() {
        [] => "By the host's clock.".to_owned(),
        some => format!(
            "By the device's events: {}; all else by the host's clock.",
            some.join(", ")
        ),
    };
    let _ = writeln!(page, "\n{clocks}");
    for (l2, what) in [
        (L2::Warm, "as the work before left it"),
        (L2::Cold, "driven out"),
    ] {
        let phases: BTreeSet<Phase> = records
            .iter()
            .filter(|r| matches!(&r.outcome, Outcome::Measured(m) if m.l2 == Some(l2)))
            .map(|r| r.cell.phase)
            .collect();
        if !phases.is_empty() {
            let phases: Vec<&str> = phases.into_iter().map(Phase::as_str).collect();
            let _ = writeln!(page, "\nL2 {what}: {}.", phases.join(", "));
        }
    }
    let mut said: Vec<String> = Vec::new();
    for record in records {
        let text = receipt(&record.receipt, records);
        if !said.contains(&text) {
            let _ = writeln!(page, "\n{text}");
            said.push(text);
        }
    }
}

fn receipt(receipt: &Receipt, records: &[Record]) -> String {
    let Some(device) = &receipt.device else {
        return "<small>No device.</small>".to_owned();
    };
    let of_run = || {
        records
            .iter()
            .filter_map(|r| r.receipt.device.as_ref())
            .filter(|d| d.run == device.run)
    };
    let clocks: BTreeSet<u32> = of_run()
        .flat_map(|d| [&d.before, &d.after])
        .flatten()
        .filter_map(|reading| reading.sm_clock_mhz)
        .collect();
    let clocks = match (clocks.first(), clocks.last()) {
        (Some(low), Some(high)) => format!("clocks {low} to {high} MHz"),
        _ => "clocks not read".to_owned(),
    };
    let of_this_run = |r: &&Record| {
        let run = r.receipt.device.as_ref().map(|d| &d.run);
        run == Some(&device.run)
    };
    let libraries: BTreeSet<String> = records
        .iter()
        .filter(of_this_run)
        .flat_map(|r| &r.receipt.libraries)
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let libraries: Vec<String> = libraries.into_iter().collect();
    format!(
        "<small>Run {}: commit {}{}; {}, {clocks}; {}, {} processors; {} build, program {}; {}.</small>",
        device.run,
        &receipt.commit[..12.min(receipt.commit.len())],
        if receipt.dirty { " (modified)" } else { "" },
        device.info.name,
        receipt.processor,
        receipt.processors,
        receipt.profile,
        &device.binary[..12.min(device.binary.len())],
        libraries.join(", "),
    )
}
