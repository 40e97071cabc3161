//! Our side: `broadhead fit --holdout` as a process, its summary, and which atoms its held-out rows have on.

use super::plan::Amplitudes;
use super::record::{Explained, Fitted};
use super::rows::{HeldOut, read};
use crate::rounds::ours::Program;
use broadhead_gate::Decline;
use broadhead_sae::Dictionary;
use ndarray::Array2;
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// One fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) rows: &'a Path,
    pub(super) held_out: &'a HeldOut,
    pub(super) atoms: &'a str,
    pub(super) top: usize,
    pub(super) amplitudes: Amplitudes,
    pub(super) share: f64,
    pub(super) seed: u64,
    pub(super) seconds: f64,
}

/// What is read of `summary.json`.
#[derive(Debug, Deserialize)]
struct Summary {
    explained_variance: f64,
    converged: bool,
    dictionary: Dictionary,
    holdout: OfHeldOut,
}

#[derive(Debug, Deserialize)]
struct OfHeldOut {
    explained_variance: Option<f64>,
    explained_variance_reason: Option<String>,
}

/// The longest reason that a record has of a command's own words.
const LONGEST: usize = 200;

fn failed(error: impl Into<String>) -> Decline {
    let error = error.into();
    Decline::Failed { error }
}

/// Runs one fit with outputs in `folder`, which is empty.
///
/// # Errors
/// It failed, with what it said; it held out other rows; its files do not say what they should.
pub(super) fn run(program: &Program, asked: Asked<'_>, folder: &Path) -> Result<Fitted, Decline> {
    let mut command = program.command();
    command.arg("fit").arg(asked.rows);
    let words = [
        ("--atoms", asked.atoms.to_owned()),
        ("--gates", format!("top-k:{}", asked.top)),
        ("--holdout", asked.share.to_string()),
        ("--seed", asked.seed.to_string()),
        ("--max-seconds", asked.seconds.to_string()),
        ("--device", "off".to_owned()),
    ];
    for (name, value) in words {
        command.arg(name).arg(value);
    }
    // Amplitudes of 1 are the command's own.
    if asked.amplitudes == Amplitudes::Fitted {
        command.args(["--amplitudes", "fitted"]);
    }
    command.arg("-o").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    let wall = begin.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{said}");
        let reason = reason(&said, &[(asked.rows, "ROWS"), (folder, "OUT")]);
        return Err(failed(format!("broadhead fit: {}{reason}", output.status)));
    }
    let held_out = HeldOut::read(&folder.join("holdout.npy"))?;
    if held_out != *asked.held_out {
        return Err(failed("the command held out other rows"));
    }
    let text = std::fs::read_to_string(folder.join("summary.json"));
    let text = text.map_err(|e| failed(format!("summary.json: {e}")))?;
    let gates: Array2<f64> = read(&folder.join("gates.npy"))?;
    found(&text, &gates, &held_out, (asked.amplitudes, wall))
}

/// What a command says of its failure, its paths by other names: the line that begins with `error:`.
fn reason(said: &str, paths: &[(&Path, &str)]) -> String {
    let Some(line) = said.lines().find(|line| line.starts_with("error:")) else {
        return String::new();
    };
    let mut line = line.to_owned();
    for (path, name) in paths {
        line = line.replace(&*path.to_string_lossy(), name);
    }
    let line: String = line.chars().take(LONGEST).collect();
    format!(": {line}")
}

/// What a fit came to, from the text of its summary and its gates of all rows.
fn found(
    text: &str,
    gates: &Array2<f64>,
    held_out: &HeldOut,
    (amplitudes, wall): (Amplitudes, f64),
) -> Result<Fitted, Decline> {
    let summary: Summary =
        serde_json::from_str(text).map_err(|e| failed(format!("summary.json: {e}")))?;
    let OfHeldOut {
        explained_variance,
        explained_variance_reason,
    } = summary.holdout;
    let explained = explained_variance.ok_or_else(|| {
        let reason = explained_variance_reason.unwrap_or_else(|| "it is null".to_owned());
        failed(format!("explained variance of the held-out rows: {reason}"))
    })?;
    if summary.dictionary.amplitudes() != amplitudes {
        return Err(failed("summary.json: other amplitudes than were asked for"));
    }
    let atoms = summary.dictionary.atoms();
    if gates.ncols() != atoms.len() || held_out.indices().any(|row| row >= gates.nrows()) {
        return Err(failed("gates.npy: of other rows or atoms than the summary"));
    }
    let (mut on, mut numbers) = (0, 0);
    for row in held_out.indices() {
        for (atom, _) in atoms.iter().zip(gates.row(row)).filter(|(_, z)| **z != 0.0) {
            on += 1;
            // Its coordinates, and its amplitude if that is fitted.
            numbers += atom.local_dim();
        }
    }
    let mean = |count: usize| count as f64 / held_out.len() as f64;
    Ok(Fitted {
        wall,
        converged: summary.converged,
        // Less the intercept, which an autoencoder has as well.
        decoder_rows: summary.dictionary.features() - 1,
        explained: Explained {
            training: summary.explained_variance,
            held_out: explained,
            active_atoms: mean(on),
            active_numbers: mean(numbers),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use serde_json::{Value, json};

    fn summary(amplitudes: Amplitudes) -> Value {
        let dictionary: Dictionary = "circle,euclidean:1,sphere".parse().unwrap();
        let dictionary = dictionary.with_amplitudes(amplitudes);
        json!({
            "explained_variance": 0.5, "converged": false, "rows": 4, "dictionary": dictionary,
            "holdout": {"rows": 2, "explained_variance": 0.4, "explained_variance_reason": null},
        })
    }

    /// Of the four rows the first and the last are held out: here of a file, as the command writes one.
    fn first_and_last() -> HeldOut {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdout.npy");
        let file = std::fs::File::create(&path).unwrap();
        ndarray_npy::WriteNpyExt::write_npy(&array![0_i64, 3], file).unwrap();
        HeldOut::read(&path).unwrap()
    }

    #[test]
    fn atoms_and_numbers_are_counted_in_the_rows_held_out_alone() {
        let gates = array![
            [1.0, 0.5, 0.0],
            [1.0, 1.0, 1.0],
            [0.0, 0.0, 0.0],
            [2.0, 0.0, 1.0]
        ];
        let of = |amplitudes| {
            let text = summary(amplitudes).to_string();
            found(&text, &gates, &first_and_last(), (amplitudes, 1.5)).unwrap()
        };
        let one = of(Amplitudes::One);
        assert_eq!((one.wall, one.converged), (1.5, false));
        // A circle has two decoder rows, a line one, a sphere three.
        assert_eq!(one.decoder_rows, 6);
        let explained = one.explained;
        assert_eq!((explained.training, explained.held_out), (0.5, 0.4));
        assert_eq!(explained.active_atoms, 2.0);
        // A circle and a line, then a circle and a sphere.
        assert_eq!(explained.active_numbers, 0.5 * (2.0 + 3.0));
        let fitted = of(Amplitudes::Fitted).explained;
        assert_eq!(fitted.active_atoms, 2.0);
        // The circles and the sphere have an amplitude each, the line has none.
        assert_eq!(fitted.active_numbers, 0.5 * (3.0 + 5.0));
    }

    #[test]
    fn what_does_not_say_how_much_is_explained_is_a_reason() {
        let with = |change: &dyn Fn(&mut Value), gates: Array2<f64>| {
            let mut value = summary(Amplitudes::One);
            change(&mut value);
            let held_out = first_and_last();
            found(
                &value.to_string(),
                &gates,
                &held_out,
                (Amplitudes::One, 1.0),
            )
            .unwrap_err()
            .to_string()
        };
        let gates = || Array2::<f64>::ones((4, 3));
        let null = with(
            &|v| {
                v["holdout"]["explained_variance"] = Value::Null;
                v["holdout"]["explained_variance_reason"] = json!("all rows are alike");
            },
            gates(),
        );
        assert!(null.contains("all rows are alike"), "{null}");
        let without = with(
            &|v| drop(v.as_object_mut().unwrap().remove("holdout")),
            gates(),
        );
        assert!(without.contains("holdout"), "{without}");
        for other in [Array2::ones((4, 2)), Array2::ones((3, 3))] {
            let found = with(&|_| (), other);
            assert!(found.contains("gates.npy"), "{found}");
        }
    }

    #[test]
    fn a_reason_is_the_command_s_own_without_its_paths() {
        let rows = Path::new("/a/folder/x.npy");
        let said = "warning: slow\nerror: /a/folder/x.npy: expected more rows\n\nUsage: ...\n";
        assert_eq!(
            reason(said, &[(rows, "ROWS")]),
            ": error: ROWS: expected more rows"
        );
        assert_eq!(reason("killed", &[(rows, "ROWS")]), "");
        assert!(reason(&format!("error: {}", "x".repeat(900)), &[]).len() < 2 * LONGEST);
    }
}
