//! The suite of held-out rows from the command line: a command that fails, records that are not for keeping, and a
//! machine without a device.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A command `broadhead` whose every fit fails.
const BROADHEAD: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo "broadhead 9.9"; exit 0; fi
if [ "$2" = --help ]; then echo "--acceptance --amplitudes --max-seconds --memory --no-relocation --no-swaps --pulls"; exit 0; fi
echo "error: $2: no rows today" >&2
exit 1
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let broadhead = folder.join("broadhead");
    std::fs::write(&broadhead, BROADHEAD).unwrap();
    std::fs::set_permissions(&broadhead, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_broadhead-benches"));
    command.arg("--root").arg(root());
    command
        .args(["run", "holdout", "--broadhead"])
        .arg(broadhead);
    command.arg("--out").arg(folder.join("out"));
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn fits_that_fail_are_records_with_the_reason_and_a_quick_run_is_not_adopted() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--quick"]);
    assert!(output.status.success(), "{}", said(&output));
    let out = folder.path().join("out");
    let text = std::fs::read_to_string(out.join("holdout.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 10);
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let reason = record["outcome"]["declined"].to_string();
        assert!(
            reason.contains("exit status: 1: error: ROWS: no rows today"),
            "{reason}"
        );
        let version = record["receipt"]["libraries"]["broadhead"].to_string();
        assert!(version.contains("9.9 (program "), "{version}");
    }
    let mut adopt = Command::new(env!("CARGO_BIN_EXE_broadhead-benches"));
    let adopted = adopt.arg("--root").arg(folder.path()).arg("adopt").arg(out);
    let adopted = adopted.output().unwrap();
    assert!(!adopted.status.success());
    assert!(said(&adopted).contains("quick"), "{}", said(&adopted));
}

#[test]
fn the_full_plan_without_rows_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("--tokens"), "{}", said(&output));
}

#[test]
fn without_a_device_every_autoencoder_is_not_measured_by_name_and_the_exit_is_3() {
    let folder = tempfile::tempdir().unwrap();
    let hidden = folder.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    for version in ["", ".1", ".9", ".10", ".11", ".12", ".13"] {
        std::fs::write(hidden.join(format!("libcuda.so{version}")), "no library").unwrap();
    }
    let out = folder.path().join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_broadhead-benches"))
        .arg("--root")
        .arg(root())
        .args(["gpu", "topk", "--quick", "--out"])
        .arg(&out)
        .env("LD_LIBRARY_PATH", &hidden)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text} {}", said(&output));
    for active in [1, 2] {
        let line = format!(
            "not measured: topk: TopK autoencoder, 8 latents, top-{active}: absent: driver"
        );
        assert!(text.contains(&line), "{text}");
    }
    assert!(!out.exists(), "nothing is written");
}
