//! The suite of rounds with a command and a peer that are shell scripts: what is run, what is written, and
//! what is refused.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Answers as `broadhead` does: its arguments go beside the folder that it is given, a summary into it.
const BROADHEAD: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo "broadhead 9.9"; exit 0; fi
for last; do :; done
if [ "$2" = --help ]; then echo "--acceptance --amplitudes --max-seconds --memory --no-relocation --no-swaps --pulls"; exit 0; fi
mkdir -p "$last"
echo "$@" >> "$(dirname "$0")/arguments"
case "$*" in *--FAILS*) exit 1;; esac
cat > "$last/summary.json" <<'END'
{"explained_variance":0.5,"converged":true,"objective":1.0,"peak_memory":7,
 "seconds":{"read":0,"total":0.001,"fit.load":0,"fit.starts":0},
 "gate_rounds":[{"stage":"exploring","objective":2.0,"accepted":true,"seconds":0.0001},
                {"stage":"exploring","objective":1.5,"accepted":true,"seconds":0.0002}]}
END
"#;

/// Answers as the peer's script does, with the kernels that it is given.
fn python(kernels: &str) -> String {
    format!(
        "#!/bin/sh\necho '{{\"libraries\":{{\"numpy\":\"'2\"$OPENBLAS_CORETYPE$OMP_NUM_THREADS\"'\",\
         \"openblas of numpy\":\"0.3 ({kernels})\"}},\"log\":[[0.1,0.3],[0.2,0.4]]}}'\n"
    )
}

struct Here {
    folder: tempfile::TempDir,
}

impl Here {
    fn new(kernels: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("broadhead", BROADHEAD), ("python", &python(kernels))] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_broadhead-benches"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        command.arg("--root").arg(root);
        command.envs([("OPENBLAS_CORETYPE", "Haswell"), ("OMP_NUM_THREADS", "1")]);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_suite("rounds", arguments)
    }

    fn run_suite(&self, suite: &str, arguments: &[&str]) -> Output {
        let mut command = self.program();
        command
            .args(["run", suite, "--broadhead"])
            .arg(self.path("broadhead"));
        command.arg("--python").arg(self.path("python"));
        command.arg("--out").arg(self.path("out"));
        command.args(arguments).output().unwrap()
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("out/rounds.jsonl")).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_quick_run_writes_a_record_of_every_process_and_is_not_adopted() {
    let here = Here::new("SkylakeX");
    let output = here.run(&["--quick"]);
    assert!(output.status.success(), "{}", said(&output));
    let records = here.records();
    // Two limits and two precisions of the peer, two of our rounds, two variants, three sizes and their law.
    assert_eq!(records.len(), 4 + 2 + 2 + 3 + 1);
    for record in &records {
        assert_eq!(record["run"]["plan"], "quick");
        // No setting of a library comes through, and no path into a record.
        assert_eq!(record["receipt"]["libraries"]["numpy"], "2");
        let text = record.to_string();
        assert!(
            !text.contains(here.folder.path().to_str().unwrap()),
            "{text}"
        );
        let version = record["receipt"]["libraries"]["broadhead"]
            .as_str()
            .unwrap();
        assert!(version.starts_with("9.9 (program "), "{version}");
    }
    assert_eq!(records[0]["outcome"]["fitted"]["explained_variance"], 0.5);
    assert_eq!(records[2]["outcome"]["fitted"]["explained_variance"], 0.4);
    let law = &records[11]["outcome"]["law"]["sizes"];
    assert_eq!(law.as_array().unwrap().len(), 3);
    assert!(law[0]["ratio"].as_f64().unwrap() > 0.0);
    let arguments = std::fs::read_to_string(here.path("arguments")).unwrap();
    let first = arguments.lines().next().unwrap();
    let words = "--atoms 4 --gates top-k:2 --amplitudes one --seed 0 --pulls auto --device off --max-seconds 0.2 -o";
    assert!(first.contains(words), "{first}");
    assert!(
        arguments.contains("--pulls fp64 --device off --max-seconds 0.3 --starts 1"),
        "{arguments}"
    );
    assert!(
        arguments.contains("--max-seconds 0.2 --no-relocation -o"),
        "{arguments}"
    );
    assert!(
        arguments.contains("--max-seconds 0.2 --acceptance never --no-swaps -o"),
        "{arguments}"
    );
    let adopted = here
        .program()
        .arg("adopt")
        .arg(here.path("out"))
        .output()
        .unwrap();
    assert!(!adopted.status.success());
    assert!(said(&adopted).contains("quick"), "{}", said(&adopted));
}

#[test]
fn rows_on_disk_are_a_run_of_their_own_and_their_files_are_compared() {
    let here = Here::new("SkylakeX");
    // A file that is another where memory is limited, and one that is the same.
    let other = "case \"$*\" in *--memory*) echo 1;; *) echo 2;; esac > \"$last/other\"";
    for (more, same) in [("echo 3 > \"$last/same\"", true), (other, false)] {
        std::fs::write(here.path("broadhead"), format!("{BROADHEAD}{more}\n")).unwrap();
        let output = here.run_suite("streams", &["--quick"]);
        assert!(output.status.success(), "{}", said(&output));
        let records = here.records();
        assert_eq!(records.len(), 2);
        let [whole, tiled] = [0, 1].map(|i| &records[i]["outcome"]["fitted"]);
        assert!(whole["outputs"].is_string());
        assert_eq!(whole["outputs"] == tiled["outputs"], same);
        assert_eq!(tiled["resident"], 7);
    }
    let arguments = std::fs::read_to_string(here.path("arguments")).unwrap();
    let limited = arguments
        .lines()
        .filter(|line| line.contains("--memory 1G"));
    assert_eq!(limited.count(), 2, "{arguments}");
    assert!(!arguments.contains("--max-seconds"), "{arguments}");
}

#[test]
fn what_the_full_plan_lacks_and_a_quick_one_without_a_folder_are_said_by_name() {
    let here = Here::new("SkylakeX");
    let output = here.run(&[]);
    assert!(!output.status.success());
    assert!(said(&output).contains("--tokens"), "{}", said(&output));
    let mut command = here.program();
    command.args(["run", "rounds", "--quick"]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
    let mut command = here.program();
    command
        .args(["run", "rounds", "--broadhead"])
        .arg(here.path("python"));
    let other = command.output().unwrap();
    assert!(
        said(&other).contains("expected the command"),
        "{}",
        said(&other)
    );
    let old = BROADHEAD.replace("--max-seconds ", "");
    std::fs::write(here.path("broadhead"), old).unwrap();
    let output = here.run(&["--quick"]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("has no --max-seconds"),
        "{}",
        said(&output)
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_peer_with_old_kernels_ends_the_run_by_name_and_writes_nothing() {
    if !std::is_x86_feature_detected!("avx") {
        return;
    }
    let here = Here::new("Nehalem");
    let output = here.run(&["--quick"]);
    assert!(!output.status.success());
    for word in ["the peer numpy", "Nehalem"] {
        assert!(said(&output).contains(word), "{}", said(&output));
    }
    assert!(!here.path("out").exists() && !here.path("arguments").exists());
}

#[test]
fn a_process_that_fails_is_a_declined_record() {
    let here = Here::new("SkylakeX");
    let script = BROADHEAD.replace("*--FAILS*", "*top-k:2*fp64*");
    std::fs::write(here.path("broadhead"), script).unwrap();
    let output = here.run(&["--quick"]);
    assert!(output.status.success(), "{}", said(&output));
    let records = here.records();
    let declined = records
        .iter()
        .filter(|r| r["outcome"].get("declined").is_some());
    let declined: Vec<_> = declined
        .map(|r| r["run"]["what"]["rounds"]["pulls"].clone())
        .collect();
    assert_eq!(declined, ["fp64"]);
}
