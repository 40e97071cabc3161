//! The suite with a command that is a shell script: what is run, what is recorded, what is declined.
#![cfg(unix)]

use super::*;
use crate::record::sealed;
use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use std::os::unix::fs::PermissionsExt;

/// Answers as `broadhead` does, with the files that lie beside it; it knows no amplitudes.
const BROADHEAD: &str = r#"#!/bin/sh
here=$(dirname "$0")
if [ "$1" = --version ]; then echo "broadhead 9.9"; exit 0; fi
if [ "$2" = --help ]; then echo "--acceptance --amplitudes --max-seconds --memory --no-relocation --no-swaps --pulls"; exit 0; fi
echo "$@" >> "$here/arguments"
case "$*" in *--amplitudes*) echo "error: unexpected argument '--amplitudes' found" >&2; exit 2;; esac
for last; do :; done
seed=$(echo "$*" | sed 's/.*--seed \([0-9]*\).*/\1/')
atoms=$(echo "$*" | sed 's/.*--atoms \([^ ]*\).*/\1/')
cp "$here/holdout-$seed.npy" "$last/holdout.npy"
cp "$here/$atoms.gates.npy" "$last/gates.npy"
cp "$here/$atoms.summary.json" "$last/summary.json"
"#;

struct Here {
    folder: tempfile::TempDir,
    plan: Plan,
}

impl Here {
    /// A command whose fits have the first atom on in every row.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::of(true).unwrap();
        let path = folder.path();
        for &seed in &plan.seeds {
            let held_out = HeldOut::of(400, plan.share, seed).unwrap();
            held_out
                .write(&path.join(format!("holdout-{seed}.npy")))
                .unwrap();
        }
        for fits in &plan.fits {
            let dictionary: broadhead_sae::Dictionary = fits.atoms.parse().unwrap();
            let first = |(_, atom)| f64::from(u8::from(atom == 0));
            let gates = Array2::from_shape_fn((400, dictionary.len()), first);
            let file = std::fs::File::create(path.join(format!("{}.gates.npy", fits.atoms)));
            gates.write_npy(file.unwrap()).unwrap();
            let summary = serde_json::json!({
                "explained_variance": 0.6, "converged": true, "dictionary": dictionary,
                "holdout": {"explained_variance": 0.5, "explained_variance_reason": null},
            });
            let summary = summary.to_string();
            std::fs::write(path.join(format!("{}.summary.json", fits.atoms)), summary).unwrap();
        }
        let script = path.join("broadhead");
        std::fs::write(&script, BROADHEAD).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, plan }
    }

    fn run(&self, filter: &str) -> Vec<Record> {
        let options = Options {
            plan: self.plan.clone(),
            program: Program::find(Some(&self.folder.path().join("broadhead"))).unwrap(),
            tokens: None,
            filter: filter.to_owned(),
        };
        let mut told = 0;
        let records = run(&options, &Receipt::sample(), &mut |_| told += 1).unwrap();
        assert_eq!(told, records.len());
        for record in &records {
            record.check().unwrap();
            let line = sealed::line(record).unwrap();
            let folder = self.folder.path().to_str().unwrap();
            assert!(!line.contains(folder), "{line}");
        }
        records
    }
}

#[test]
fn every_cell_and_seed_is_a_record_and_what_the_command_refuses_is_declined_in_its_words() {
    let here = Here::new();
    let records = here.run("");
    // Two active atoms by two amplitudes, and one more dictionary, by two seeds.
    assert_eq!(records.len(), 2 * (4 + 1));
    for record in &records {
        let What::Fit {
            amplitudes, top, ..
        } = record.run.what
        else {
            panic!("{record:?}");
        };
        match (&record.outcome, amplitudes) {
            (Outcome::Fitted(fitted), Amplitudes::One) => {
                assert_eq!(fitted.explained.held_out, 0.5);
                assert_eq!(fitted.explained.active_atoms, 1.0);
                assert_eq!(fitted.decoder_rows, 8);
            }
            (Outcome::Declined(reason), Amplitudes::Fitted) => {
                let said = reason.to_string();
                assert!(
                    said.contains("exit status: 2: error: unexpected argument"),
                    "{said}"
                );
                assert!(line(record).contains(&format!("fitted amplitudes, top-{top}")));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    let arguments = std::fs::read_to_string(here.folder.path().join("arguments")).unwrap();
    let first = arguments.lines().next().unwrap();
    let words =
        "--atoms 4*circle --gates top-k:1 --holdout 0.1 --seed 0 --max-seconds 0.3 --device off -o";
    assert!(first.contains(words), "{first}");
    // Seeds hold out rows of their own, all cells of a seed the same.
    let of = |seed| {
        let own = records.iter().filter(move |r| r.run.seed == seed);
        let mut held_out: Vec<&String> = own.map(|r| &r.run.held_out).collect();
        held_out.dedup();
        held_out
    };
    assert_eq!((of(0).len(), of(1).len()), (1, 1));
    assert_ne!(of(0), of(1));
    assert_eq!(here.run("2 circles").len(), 2);
}

#[test]
fn a_command_that_held_out_other_rows_or_wrote_nothing_is_declined() {
    let here = Here::new();
    let path = here.folder.path();
    std::fs::copy(path.join("holdout-0.npy"), path.join("holdout-1.npy")).unwrap();
    std::fs::remove_file(path.join("4*circle.gates.npy")).unwrap();
    let reasons: Vec<String> = here.run("4 circles").iter().map(line).collect();
    let of = |seed: u64, said: &str| {
        let seed = format!("seed {seed}");
        let mut own = reasons.iter().filter(|line| line.contains(&seed));
        own.any(|line| line.contains(said))
    };
    assert!(of(0, "gates.npy"), "{reasons:?}");
    assert!(of(1, "held out other rows"), "{reasons:?}");
    assert!(reasons.iter().all(|line| line.contains("declined")));
}
