//! The report on records made by hand.

use super::*;
use crate::cell::{CaseKind, Phase, ShapeFields};
use crate::receipt::Receipt;
use crate::record::{CellId, Measured, Outcome, Parity, Record, SCHEMA};
use broadhead_device::ExecutionPath;
use broadhead_gate::Decline;

const SUITE: &str = "
suite = 's'
eliminations = ['auto', 'rows', 'border']
phases = ['step']
[[cells]]
name = 'one'
case = 'arrow'
shape = { rows = 3, dim = 2, border = 5 }
[[cells]]
name = 'two'
case = 'arrow'
shape = { rows = 4, dim = 2, border = 5 }
[[requirements]]
name = 'near the best'
numerator = { elimination = 'auto', phase = 'step' }
denominator = { elimination = 'best', phase = 'step' }
at_most = 1.2
";

fn record(name: &str, rows: usize, elimination: &str, outcome: Result<&[f64], Decline>) -> Record {
    Record {
        schema: SCHEMA,
        cell: CellId {
            suite: "s".into(),
            place: crate::cell::Place::Host,
            name: name.into(),
            case: CaseKind::Arrow,
            shape: ShapeFields {
                rows,
                dim: Some(2),
                border: Some(5),
                ..Default::default()
            },
            seed: 1,
            log_determinant: true,
            elimination: elimination.into(),
            phase: Phase::Step,
            threads: 2,
            window: None,
        },
        outcome: match outcome {
            Err(reason) => Outcome::Declined(reason),
            Ok(samples) => Outcome::Measured(Measured {
                samples: samples.to_vec(),
                timer: crate::record::Timer::HostWallClock,
                units: 1,
                l2: None,
                floor_bytes: None,
                execution_path: Some(ExecutionPath::Cpu),
                elimination: Some(
                    if elimination == "auto" {
                        "rows"
                    } else {
                        elimination
                    }
                    .into(),
                ),
                ledger: None,
                witness: None,
                parity: Parity {
                    componentwise_error: 0.0,
                    componentwise_bound: 1e-13,
                    log_determinant: None,
                    against: None,
                },
            }),
        },
        receipt: Receipt::sample(),
    }
}

/// A repository with the suite and these records; its verdict lines and its page.
fn report(records: &[Record]) -> (Vec<String>, String) {
    let root = tempfile::tempdir().unwrap();
    let cells = root.path().join("benches/cells");
    std::fs::create_dir_all(&cells).unwrap();
    std::fs::write(cells.join("s.toml"), SUITE).unwrap();
    let folder = root.path().join("benches/records");
    std::fs::create_dir_all(&folder).unwrap();
    if !records.is_empty() {
        record::write(&folder.join("s.jsonl"), records).unwrap();
    }
    let lines = write(root.path(), false).unwrap();
    let page = root.path().join(GENERATED).join("s.md");
    // What was just written is not stale; what was edited is.
    write(root.path(), true).unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    std::fs::write(&page, format!("{text}edited")).unwrap();
    assert!(matches!(write(root.path(), true), Err(Error::Stale(_))));
    (lines, text)
}

fn both(auto: &[f64], border: Result<&[f64], Decline>) -> Vec<Record> {
    let mut records = Vec::new();
    for (name, rows) in [("one", 3), ("two", 4)] {
        records.push(record(name, rows, "auto", Ok(auto)));
        records.push(record(name, rows, "rows", Ok(&[0.002, 0.002, 0.3])));
        records.push(record(name, rows, "border", border.clone()));
    }
    records
}

#[test]
fn medians_and_the_choice_stand_in_the_table() {
    let (lines, page) = report(&both(&[0.0021], Ok(&[0.004])));
    assert!(
        page.contains("| one | n=3 d=2 k=5 | 2.10 | **2.00** | 4.00 | rows | 1.05 |"),
        "{page}"
    );
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(": met;"), "{lines:?}");
    assert!(page.contains("**Met**: near the best"), "{page}");
}

#[test]
fn a_bad_choice_is_unmet() {
    let (lines, page) = report(&both(&[0.0021], Ok(&[0.001])));
    assert!(
        lines[0].contains(": unmet;") && lines[0].contains("2.10"),
        "{lines:?}"
    );
    assert!(page.contains("| **1.00** | rows | 2.10 |"), "{page}");
}

#[test]
fn a_missing_or_declined_side_is_undetermined() {
    let (lines, page) = report(&[]);
    assert!(lines[0].contains(": undetermined;"), "{lines:?}");
    assert!(page.contains("Not measured yet"), "{page}");
    let mut records = both(&[0.0021], Err(Decline::Unsupported { why: "it".into() }));
    records[0].outcome = Outcome::Declined(Decline::ParityFailed {
        error: 1.0,
        bound: 0.1,
    });
    let (lines, page) = report(&records);
    assert!(lines[0].contains(": undetermined;"), "{lines:?}");
    assert!(page.contains("| wrong | **2.00** | not served |"), "{page}");
    let without = &both(&[0.0021], Ok(&[0.004]))[..3];
    assert!(report(without).0[0].contains(": undetermined; two"));
}

#[test]
fn a_chart_has_a_mark_for_every_measurement() {
    let groups = group::group(&both(&[0.0021], Ok(&[0.004])));
    let svg = chart::svg(&groups, Phase::Step).unwrap();
    // Two cases of three contenders, and three marks of the legend.
    assert_eq!(svg.matches("<circle").count(), 9, "{svg}");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}
