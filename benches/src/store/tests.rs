//! Records find the folder of their device, and lie in no other.

use super::*;
use crate::record::tests::device;
use crate::record::{Record, Refused, write};
use serde_json::json;

const H100: &str = "NVIDIA H100 80GB HBM3";
const H200: &str = "NVIDIA H200";
const OLD: &str = "1f387bd0000000000000000000000000000000aa";
const NEW: &str = "c8c582e0000000000000000000000000000000bb";

/// A device's record of a suite.
fn record(name: &str, commit: &str) -> Record {
    let mut record = device();
    record.cell.suite = "gpu".into();
    record.receipt.commit = commit.into();
    if let Some(device) = &mut record.receipt.device {
        device.info.name = name.into();
    }
    record
}

/// A folder as a pack brings it back: records of cells and evidence of tests.
fn brought(name: &str, commit: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("gpu.jsonl"), &[record(name, commit)]).unwrap();
    let info = record(name, commit).receipt.device.unwrap().info;
    let evidence = json!({
        "record": "tests",
        "receipt": {
            "commit": commit, "dirty": false, "profile": "dev",
            "program_sha256": "cd".repeat(32), "device": info, "libraries": ["driver 1.0"],
        },
        "what": { "passed": 3, "failed": 0 },
    });
    let line = broadhead_device::seal::seal(&evidence.to_string());
    std::fs::write(folder.path().join("device-tests.jsonl"), line + "\n").unwrap();
    std::fs::write(folder.path().join("table.txt"), "no record").unwrap();
    folder
}

/// The names of the files that were adopted, under the folder of records.
fn adopted(root: &Path, from: &Path, keep: Keep) -> Vec<String> {
    let paths = adopt(from, root, keep).unwrap();
    let under = |path: &PathBuf| {
        let path = path.strip_prefix(root.join(RECORDS)).unwrap();
        path.display().to_string()
    };
    paths.iter().map(under).collect()
}

#[test]
fn a_device_s_records_go_to_its_own_folder_and_leave_another_device_s() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let first = adopted(root, brought(H100, OLD).path(), Keep::Current);
    let folder = "h100-80gb-hbm3";
    let both = ["device-tests", "gpu"].map(|name| format!("{folder}/{name}.jsonl"));
    assert_eq!(first, both);
    let before = std::fs::read(root.join(RECORDS).join(&first[1])).unwrap();
    let second = adopted(root, brought(H200, NEW).path(), Keep::Current);
    assert_eq!(second, ["h200/device-tests.jsonl", "h200/gpu.jsonl"]);
    // The same device at the other's commit, beside what it does now.
    let third = adopted(root, brought(H200, OLD).path(), Keep::AtCommit);
    let at = "h200/at-1f387bd00000";
    assert_eq!(
        third,
        ["device-tests", "gpu"].map(|n| format!("{at}/{n}.jsonl"))
    );
    let after = std::fs::read(root.join(RECORDS).join(&first[1])).unwrap();
    assert_eq!(before, after);
    let found = shelves(&root.join(RECORDS)).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|s| (s.device.as_str(), s.commit.as_deref()))
        .collect();
    let wanted = [(H100, None), (H200, None), (H200, Some("1f387bd00000"))];
    assert_eq!(found, wanted);
}

#[test]
fn a_record_in_a_folder_that_is_not_its_own_is_refused_by_name() {
    let misplaced = |to: &str, record: Record| {
        let root = tempfile::tempdir().unwrap();
        let records = root.path().join(RECORDS);
        let path = records.join(to);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, &[record]).unwrap();
        match shelves(&records) {
            Err(Error::Misplaced { belongs, .. }) => {
                let under = belongs.strip_prefix(&records).unwrap();
                Some(under.display().to_string())
            }
            Ok(_) => None,
            Err(other) => panic!("{other}"),
        }
    };
    let belongs = |to: &str| misplaced(to, record(H200, OLD));
    assert_eq!(belongs("h200/gpu.jsonl"), None);
    assert_eq!(belongs("h200/at-1f387bd00000/gpu.jsonl"), None);
    let own = Some("h200/gpu.jsonl".to_owned());
    // Another device's folder, no device's, that of another suite.
    assert_eq!(belongs("h100-80gb-hbm3/gpu.jsonl"), own);
    assert_eq!(belongs("gpu.jsonl"), own);
    assert_eq!(belongs("h200/fit.jsonl"), own);
    // That of another commit.
    let at = Some("h200/at-1f387bd00000/gpu.jsonl".to_owned());
    assert_eq!(belongs("h200/at-c8c582e00000/gpu.jsonl"), at);
    assert_eq!(belongs("h200/later/gpu.jsonl"), own);
    // Modified code is of no commit.
    let mut modified = record(H200, OLD);
    modified.receipt.dirty = true;
    assert_eq!(misplaced("h200/at-1f387bd00000/gpu.jsonl", modified), at);
    // A host's belong to no device.
    let mut host = record(H200, OLD);
    host.receipt.device = None;
    host.cell.place = crate::cell::Place::Host;
    assert_eq!(
        misplaced("h200/gpu.jsonl", host),
        Some("gpu.jsonl".to_owned())
    );
}

#[test]
fn nothing_is_adopted_where_one_file_is_in_fault() {
    let root = tempfile::tempdir().unwrap();
    let refused = |from: &tempfile::TempDir, keep| {
        let error = adopt(from.path(), root.path(), keep).unwrap_err();
        assert!(!root.path().join(RECORDS).exists(), "{error}");
        error
    };
    // Two devices in one file.
    let from = brought(H200, OLD);
    let path = from.path().join("gpu.jsonl");
    write(&path, &[record(H200, OLD), record(H100, OLD)]).unwrap();
    let error = refused(&from, Keep::Current).to_string();
    assert!(
        error.contains("h200") && error.contains("h100-80gb-hbm3"),
        "{error}"
    );
    // Two commits, to be kept at one.
    write(&path, &[record(H200, OLD), record(H200, NEW)]).unwrap();
    assert!(matches!(
        refused(&from, Keep::AtCommit),
        Error::Format { .. }
    ));
    // Modified code has no commit to be kept at.
    let mut modified = record(H200, OLD);
    modified.receipt.dirty = true;
    write(&path, &[modified]).unwrap();
    assert!(matches!(
        refused(&from, Keep::AtCommit),
        Error::Format { .. }
    ));
    // An edited line, an empty file, no file at all.
    write(&path, &[record(H200, OLD)]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("0.25", "0.24")).unwrap();
    assert!(matches!(
        refused(&from, Keep::Current),
        Error::Refused {
            refused: Refused::Seal,
            ..
        }
    ));
    std::fs::write(&path, "").unwrap();
    assert!(matches!(
        refused(&from, Keep::Current),
        Error::Format { .. }
    ));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(
        refused(&nothing, Keep::Current),
        Error::Format { .. }
    ));
}

#[test]
fn the_repository_s_records_lie_where_they_belong() {
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("records");
    let found = shelves(&records).unwrap();
    assert!(found.iter().any(|shelf| shelf.device == H100), "{found:?}");
    let with_cells = found.iter().filter(|shelf| shelf.suite("gpu").is_some());
    assert!(with_cells.count() > 0, "{found:?}");
}
