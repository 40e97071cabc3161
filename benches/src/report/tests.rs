//! The report on records made by hand.

use super::*;
use crate::cell::{CaseKind, Phase, ShapeFields};
use crate::receipt::Receipt;
use crate::record::{CellId, Measured, Outcome, Parity, Record, SCHEMA};
use broadhead_device::ExecutionPath;
use broadhead_gate::Decline;
use broadhead_schur::Rates;

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

pub(super) fn record(
    name: &str,
    rows: usize,
    elimination: &str,
    outcome: Result<&[f64], Decline>,
) -> Record {
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
                rest: 0.0,
                l2: None,
                floor_bytes: None,
                frame: None,
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
        receipt: Receipt {
            rates: Some(Rates::default()),
            ..Receipt::sample()
        },
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
fn each_machine_has_its_table_and_its_verdict_and_shipped_rates_stand_beside() {
    let mut records = both(&[0.0021], Ok(&[0.004]));
    for (name, rows) in [("one", 3), ("two", 4)] {
        records.push(record(name, rows, "auto/shipped", Ok(&[0.005])));
    }
    let mut others = both(&[0.0060], Ok(&[0.004]));
    for record in &mut others {
        record.receipt.processor = "another".into();
        // Its choice was priced by the shipped rates: it says nothing of measured ones.
        record.receipt.rates = None;
    }
    let (lines, page) = report(&[records, others].concat());
    assert_eq!(lines.len(), 2, "{lines:?}");
    let of = |machine: &str| lines.iter().find(|line| line.contains(machine)).unwrap();
    assert!(of("a processor").contains(": met;"), "{lines:?}");
    assert!(of("another").contains(": undetermined;"), "{lines:?}");
    let (_, first) = page.split_once("**a processor, 2 processors**").unwrap();
    let (first, second) = first.split_once("**another, 2 processors**").unwrap();
    let beside = |part: &str, ratio: &str| {
        let line = format!("by the shipped rates: {ratio} times the best");
        assert!(part.contains(&line), "no {line:?} in {part}");
    };
    beside(first, "2.50");
    beside(second, "3.00");
    assert!(first.contains("| rows | 1.05 |") && second.contains("s-step-another-2.svg"));
}

#[test]
fn a_chart_has_a_mark_for_every_measurement() {
    let groups = group::group(&both(&[0.0021], Ok(&[0.004])));
    let svg = chart::svg(&groups, Phase::Step).unwrap();
    // Two cases of three contenders, and three marks of the legend.
    assert_eq!(svg.matches("<circle").count(), 9, "{svg}");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
}

mod on_a_device {
    use super::*;
    use crate::cell::Place;
    use crate::receipt::DeviceReceipt;
    use crate::record::{CeilingFound, Timer, Window};
    use broadhead_device::LedgerSnapshot;
    use broadhead_device::measure::{Ceiling, Unit};

    const SUITE: &str = "
suite = 's'
place = 'device'
peers = ['torch']
eliminations = ['rows/factor', 'rows/inverse-factor']
phases = ['solve']
[[cells]]
name = 'one'
case = 'arrow'
shape = { rows = 3, dim = 2, border = 5 }
[[requirements]]
name = 'fast'
numerator = { elimination = 'best', phase = 'solve' }
at_most = 0.12e-3
[[requirements]]
name = 'faster than the peer'
numerator = { elimination = 'best', phase = 'solve' }
denominator = { elimination = 'torch', phase = 'solve' }
at_most = 0.125
[[requirements]]
name = 'near the floor'
numerator = { elimination = 'best', phase = 'solve' }
denominator = { elimination = 'best', phase = 'solve', of = 'floor' }
at_most = 1.2
[[requirements]]
name = 'faster than the baseline'
numerator = { elimination = 'best', phase = 'solve' }
denominator = { elimination = 'best', phase = 're-upload' }
at_most = 0.1
[[requirements]]
name = 'moves nothing in'
numerator = { elimination = 'best', phase = 'solve', of = 'bytes-in' }
at_most = 0
";

    fn ours(name: &str, seconds: f64) -> Record {
        let mut record = record("one", 3, name, Ok(&[seconds, seconds]));
        record.cell.place = Place::Device;
        record.cell.phase = Phase::Solve;
        record.receipt.device = Some(DeviceReceipt::sample());
        if let Outcome::Measured(measured) = &mut record.outcome {
            measured.timer = Timer::DeviceEvents;
            measured.execution_path = Some(ExecutionPath::GpuResidentLinearization);
            measured.floor_bytes = Some(300_000_000);
            measured.ledger = Some(LedgerSnapshot {
                submissions: 4,
                ..LedgerSnapshot::default()
            });
        }
        record
    }

    fn peer(window: Window, seconds: f64) -> Record {
        let mut record = ours("torch", seconds);
        record.cell.window = Some(window);
        if let Outcome::Measured(measured) = &mut record.outcome {
            measured.execution_path = None;
            measured.elimination = None;
            measured.ledger = None;
            measured.floor_bytes = None;
        }
        record
    }

    /// Reading at 3 TB/s whatever the working set.
    fn ceiling() -> Record {
        let mut record = ours("device", 1.0);
        let value = 3e12;
        record.outcome = Outcome::Ceiling(CeilingFound {
            what: "read".into(),
            working_set_bytes: Some(1 << 30),
            ceiling: Ceiling::Measured {
                unit: Unit::BytesPerSecond,
                value,
                medians: vec![value, value],
                samples: vec![vec![value], vec![value]],
            },
        });
        record
    }

    fn all() -> Vec<Record> {
        vec![
            peer(Window::Before, 1.05e-3),
            ceiling(),
            ours("rows/factor", 0.8e-3),
            ours("rows/inverse-factor", 0.11e-3),
            peer(Window::After, 1.0e-3),
        ]
    }

    /// A folder with the suite and these records, its report written.
    fn reported(records: &[Record]) -> (tempfile::TempDir, Vec<String>, String) {
        let root = tempfile::tempdir().unwrap();
        let (cells, folder) = ("benches/cells", "benches/records/a-device");
        for folder in [cells, folder] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::write(root.path().join(cells).join("s.toml"), SUITE).unwrap();
        record::write(&root.path().join(folder).join("s.jsonl"), records).unwrap();
        let lines = write(root.path(), false).unwrap();
        let page = std::fs::read_to_string(root.path().join(GENERATED).join("s.md")).unwrap();
        (root, lines, page)
    }

    fn verdict<'l>(lines: &'l [String], name: &str) -> &'l str {
        let wanted = format!("s, a device: {name}: ");
        let line = lines.iter().find_map(|line| line.strip_prefix(&wanted));
        line.unwrap()
    }

    #[test]
    fn the_fastest_frame_is_held_against_the_peer_s_faster_window_and_the_floor() {
        let (_, lines, page) = reported(&all());
        assert!(
            verdict(&lines, "fast").starts_with("met; at most 0.120 ms"),
            "{lines:?}"
        );
        let ratio = verdict(&lines, "faster than the peer");
        assert!(
            ratio.starts_with("met; at most 0.125, the largest is 0.110"),
            "{ratio}"
        );
        // 300 MB at 3 TB/s are 0.1 ms.
        assert!(verdict(&lines, "near the floor").contains("the largest is 1.10"));
        assert!(verdict(&lines, "moves nothing in").starts_with("met; at most 0 bytes"));
        assert!(
            page.contains("| 1050 &plusmn; 0 % | 1000 &plusmn; 0 % | 9.09 |"),
            "{page}"
        );
    }

    #[test]
    fn a_requirement_names_whose_it_is_and_what_the_build_took() {
        let mut build = ours("rows/inverse-factor", 4e-3);
        build.cell.phase = Phase::Factor;
        let mut records = all();
        records.insert(4, build);
        let (_, _, page) = reported(&records);
        let row = page.lines().find(|line| line.starts_with("| fast |"));
        let row = row.expect("the requirement has a row");
        assert!(
            row.ends_with("k=5, rows/inverse-factor (built in 4.00 ms) |")
                && row.contains("| met: "),
            "{row}"
        );
    }

    #[test]
    fn a_baseline_without_one_of_its_contenders_is_none() {
        let baseline = |name: &str, outcome: Result<f64, Decline>| {
            let mut record = ours(name, 0.02);
            record.cell.phase = Phase::ReUpload;
            match (outcome, &mut record.outcome) {
                (Ok(seconds), Outcome::Measured(measured)) => {
                    measured.samples = vec![seconds; 2];
                    measured.execution_path = Some(ExecutionPath::GpuReupload);
                }
                (Ok(_), _) => unreachable!("it was measured"),
                (Err(reason), outcome) => *outcome = Outcome::Declined(reason),
            }
            record
        };
        let with = |other: Result<f64, Decline>| {
            let mut records = all();
            records.push(baseline("rows/factor", Ok(0.02)));
            records.push(baseline("rows/inverse-factor", other));
            let (_, lines, _) = reported(&records);
            verdict(&lines, "faster than the baseline").to_owned()
        };
        let met = with(Ok(0.03));
        assert!(
            met.starts_with("met; at most 0.100, the largest is 0.005"),
            "{met}"
        );
        let declined = with(Err(Decline::NoSample));
        assert!(declined.starts_with("undetermined"), "{declined}");
        // One that cannot do the work at all is no contender.
        let why = "it cannot".to_owned();
        assert!(with(Err(Decline::Unsupported { why })).starts_with("met"));
    }

    #[test]
    fn an_edited_ratio_in_the_page_is_stale() {
        let (root, _, page) = reported(&all());
        let path = root.path().join(GENERATED).join("s.md");
        assert!(write(root.path(), true).is_ok());
        std::fs::write(&path, page.replace("| 9.09 |", "| 9.90 |")).unwrap();
        assert!(matches!(write(root.path(), true), Err(Error::Stale(stale)) if stale == path));
    }

    #[test]
    fn an_edited_record_ends_the_report_by_name() {
        let (root, ..) = reported(&all());
        let path = root.path().join("benches/records/a-device/s.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("0.00011", "0.00001")).unwrap();
        let refused = write(root.path(), true);
        assert!(
            matches!(
                &refused,
                Err(Error::Refused {
                    line: 4,
                    refused: record::Refused::Seal,
                    ..
                })
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn a_time_below_its_floor_is_a_fault_of_the_ceiling() {
        let mut records = all();
        records[3] = ours("rows/inverse-factor", 0.09e-3);
        let (_, lines, _) = reported(&records);
        let floor = verdict(&lines, "near the floor");
        assert!(floor.starts_with("undetermined") && floor.contains("the ceiling is wrong"));
        // Within the ceiling's own uncertainty it is no fault.
        records[3] = ours("rows/inverse-factor", 0.096e-3);
        assert!(verdict(&reported(&records).1, "near the floor").starts_with("met"));
    }

    #[test]
    fn sides_of_different_runs_and_single_windows_are_undetermined() {
        let mut records = all();
        for record in &mut records[2..4] {
            if let Some(device) = &mut record.receipt.device {
                device.run = "another".into();
            }
        }
        let (_, lines, page) = reported(&records);
        let ratio = verdict(&lines, "faster than the peer");
        assert!(
            ratio.starts_with("undetermined") && ratio.contains("different runs"),
            "{ratio}"
        );
        assert!(verdict(&lines, "near the floor").starts_with("undetermined"));
        assert!(!page.contains("9.09"), "{page}");
        let one_window = &all()[..4];
        let (_, lines, _) = reported(one_window);
        assert!(verdict(&lines, "faster than the peer").starts_with("undetermined"));
        assert!(verdict(&lines, "fast").starts_with("met"));
    }

    /// The records of another device, every time of ours by a factor.
    fn on(name: &str, commit: &str, factor: f64) -> Vec<Record> {
        let mut records = all();
        for record in &mut records {
            record.receipt.commit = commit.into();
            if let Some(device) = &mut record.receipt.device {
                device.info.name = name.into();
                device.run = format!("{name} {commit}");
            }
            match &mut record.outcome {
                Outcome::Measured(measured) if measured.execution_path.is_some() => {
                    measured.samples.iter_mut().for_each(|s| *s *= factor);
                }
                _ => {}
            }
        }
        records
    }

    /// The verdicts and the page of a repository with these folders of records.
    fn with_folders(folders: &[(&str, Vec<Record>)]) -> (Vec<String>, String) {
        let root = tempfile::tempdir().unwrap();
        let cells = root.path().join("benches/cells");
        std::fs::create_dir_all(&cells).unwrap();
        std::fs::write(cells.join("s.toml"), SUITE).unwrap();
        for (folder, records) in folders {
            let folder = root.path().join("benches/records").join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            record::write(&folder.join("s.jsonl"), records).unwrap();
        }
        let lines = write(root.path(), false).unwrap();
        let page = std::fs::read_to_string(root.path().join(GENERATED).join("s.md")).unwrap();
        (lines, page)
    }

    const OLD: &str = "1f387bd0000000000000000000000000000000aa";
    const NEW: &str = "c8c582e0000000000000000000000000000000bb";

    #[test]
    fn every_device_has_its_own_column_and_verdicts() {
        let folders = [
            ("h100", on("NVIDIA H100", OLD, 1.0)),
            ("h200", on("NVIDIA H200", NEW, 2.0)),
        ];
        let (lines, page) = with_folders(&folders);
        let of = |device: &str, name: &str| {
            let head = format!("s, {device}: {name}: ");
            let line = lines.iter().find_map(|line| line.strip_prefix(&head));
            line.unwrap().to_owned()
        };
        assert!(of("NVIDIA H100", "fast").starts_with("met; at most 0.120 ms"));
        assert!(of("NVIDIA H200", "fast").starts_with("unmet; at most 0.120 ms"));
        assert!(
            page.contains("| required | at most | NVIDIA H100 | NVIDIA H200 |"),
            "{page}"
        );
        let row = page
            .lines()
            .find(|line| line.starts_with("| fast |"))
            .unwrap();
        assert!(row.contains("| met: 0.110 ms;") && row.contains("| **missed**: 0.220 ms;"));
        assert!(page.contains("### s on an NVIDIA H200"), "{page}");
        // Two devices at two commits are two things that differ.
        assert!(!page.contains("the same code"), "{page}");
    }

    #[test]
    fn devices_are_compared_where_they_ran_the_same_code_and_only_there() {
        let folders = [
            ("h100", on("NVIDIA H100", OLD, 1.0)),
            ("h200", on("NVIDIA H200", NEW, 3.0)),
            ("h200/at-1f387bd00000", on("NVIDIA H200", OLD, 0.5)),
        ];
        let (lines, page) = with_folders(&folders);
        let (_, compared) = page.split_once("the same code on 2 devices").unwrap();
        let row = "| rows/inverse-factor | solve | 110 | 55.00 | 0.500 |";
        assert!(compared.contains(row), "{page}");
        assert!(compared.contains("Commit 1f387bd00000"), "{page}");
        assert!(compared.contains("| torch before | solve |"), "{page}");
        assert!(
            compared.contains("| read | 1024.0 MiB | 3000 GB/s | 3000 GB/s | 1.00 |"),
            "{page}"
        );
        // What a device does now has a verdict; what it did at another commit has none.
        assert_eq!(lines.len(), 2 * 5, "{lines:?}");
        // Of a third device the ratio is to the first as well; modified code is of no commit.
        let mut third = on("NVIDIA X", OLD, 4.0);
        let mut folders = folders.to_vec();
        folders.push(("x", third.clone()));
        let (_, page) = with_folders(&folders);
        let row = "| rows/inverse-factor | solve | 110 | 55.00 | 440 | 0.500 | 4.00 |";
        assert!(page.contains(row), "{page}");
        third.iter_mut().for_each(|r| r.receipt.dirty = true);
        folders[3].1 = third;
        let (_, page) = with_folders(&folders);
        assert!(page.contains("the same code on 2 devices"), "{page}");
    }

    #[test]
    fn a_device_without_a_cell_is_undetermined_there() {
        let folders = [
            ("h100", on("NVIDIA H100", OLD, 1.0)),
            ("h200", on("NVIDIA H200", OLD, 1.0)[..1].to_vec()),
        ];
        let (lines, page) = with_folders(&folders);
        let line = lines
            .iter()
            .find(|l| l.starts_with("s, NVIDIA H200: fast: "));
        assert!(line.unwrap().contains("undetermined"), "{lines:?}");
        assert!(
            page.contains("| rows/inverse-factor | solve | 110 | no record |  |"),
            "{page}"
        );
    }
}
