//! Our side: `broadhead fit` as a process, and what its summary says.
//!
//! The command writes when a round ended by the clock of its start, and the objective then. Both are
//! brought to the user's terms:
//!
//! ```text
//! seconds             (wall - total) + read + load + starts + the round's      from the start of the process
//! explained variance  1 - (1 - final) * objective / final objective            the final model's at the end
//! ```
//! `wall - total` is what the process took before and after its own clock; all of it counts as before.
//! An objective holds the ridge's penalty, about a hundred-thousandth of it, which the second line neglects.

use super::curve::Curve;
use super::law::Shape;
use super::plan::Pulls;
use super::record::Fitted;
use crate::error::Error;
use broadhead_device::seal;
use broadhead_gate::Decline;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The command.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// Version and digest, for the receipt.
    pub version: String,
}

/// Rises below this are left out of a record's curve.
pub(super) const THIN: f64 = 2e-5;

/// Options of the command that a run needs.
const NEEDED: [&str; 7] = [
    "--acceptance",
    "--amplitudes",
    "--max-seconds",
    "--memory",
    "--no-relocation",
    "--no-swaps",
    "--pulls",
];

/// One fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) rows: &'a Path,
    pub(super) shape: Shape,
    pub(super) seed: u64,
    /// The limit, if there is one.
    pub(super) seconds: Option<f64>,
    pub(super) pulls: Pulls,
    /// Other words of the command line.
    pub(super) options: &'a [String],
    /// Whether the files that it writes are compared with another's.
    pub(super) compared: bool,
}

impl Program {
    /// The command at `path`, or the one beside the program that runs.
    ///
    /// # Errors
    /// It is not there, or does not answer.
    pub fn find(path: Option<&Path>) -> Result<Self, Error> {
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => {
                let own = std::env::current_exe().map_err(Error::file("this program"))?;
                own.with_file_name(format!("broadhead{}", std::env::consts::EXE_SUFFIX))
            }
        };
        let bytes = std::fs::read(&path).map_err(Error::file(&path))?;
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(Error::file(&path))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = said.trim().strip_prefix("broadhead ");
        let version = version.ok_or_else(|| Error::Format {
            path: path.clone(),
            message: format!(
                "expected the command `broadhead`, it says {:?}",
                said.trim()
            ),
        })?;
        // An older build may lie there, of which every fit would fail.
        let help = Command::new(&path).args(["fit", "--help"]).output();
        let help = help.map_err(Error::file(&path))?;
        let help = String::from_utf8_lossy(&help.stdout);
        if let Some(lacks) = NEEDED.iter().find(|option| !help.contains(**option)) {
            return Err(Error::Format {
                message: format!("its `fit` has no {lacks}: build it anew"),
                path,
            });
        }
        let digest = seal::digest(&bytes);
        Ok(Self {
            version: format!("{version} (program {})", &digest[..12]),
            path,
        })
    }

    /// A command line of it, without a word yet.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Runs one fit with outputs in `folder`.
    ///
    /// # Errors
    /// It failed, or its summary does not say what it should.
    pub(super) fn run(&self, asked: Asked<'_>, folder: &Path) -> Result<Fitted, Decline> {
        let failed = |error: String| Decline::Failed { error };
        let mut command = self.command();
        command.arg("fit").arg(asked.rows);
        let words = [
            ("--atoms", asked.shape.atoms.to_string()),
            ("--gates", format!("top-k:{}", asked.shape.top)),
            ("--amplitudes", asked.shape.amplitudes().to_owned()),
            ("--seed", asked.seed.to_string()),
            ("--pulls", asked.pulls.word().to_owned()),
            ("--device", "off".to_owned()),
        ];
        for (name, value) in words {
            command.arg(name).arg(value);
        }
        if let Some(seconds) = asked.seconds {
            command.arg("--max-seconds").arg(seconds.to_string());
        }
        command.args(asked.options);
        command.arg("-o").arg(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let begin = Instant::now();
        let output = command.output().map_err(|e| failed(e.to_string()))?;
        let wall = begin.elapsed().as_secs_f64();
        if !output.status.success() {
            // What it says may hold paths, which no record does.
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            return Err(failed(format!("broadhead fit: {}", output.status)));
        }
        let summary = folder.join("summary.json");
        let text = std::fs::read_to_string(summary).map_err(|e| failed(e.to_string()))?;
        let mut fitted = parse(&text, wall).map_err(|e| failed(e.to_string()))?;
        if asked.compared {
            fitted.outputs = Some(outputs(folder).map_err(|e| failed(e.kind().to_string()))?);
        }
        Ok(fitted)
    }
}

/// The digest of all files in a folder but the summary, which has times.
fn outputs(folder: &Path) -> std::io::Result<String> {
    let mut digests = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "summary.json") {
            let digest = seal::digest(&std::fs::read(&path)?);
            digests.insert(path, digest);
        }
    }
    let all: Vec<String> = (digests.iter())
        .map(|(path, digest)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{name} {digest}")
        })
        .collect();
    Ok(seal::digest(all.join("\n").as_bytes()))
}

/// A summary that does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("the summary of a fit: {0}")]
pub struct BadSummary(String);

/// What is read of `summary.json`.
#[derive(Debug, Deserialize)]
struct Summary {
    explained_variance: f64,
    converged: bool,
    objective: Option<f64>,
    gate_rounds: Vec<Round>,
    #[serde(default)]
    peak_memory: Option<u64>,
    seconds: BTreeMap<String, f64>,
}

#[derive(Debug, Deserialize)]
struct Round {
    stage: String,
    objective: f64,
    accepted: bool,
    seconds: f64,
}

/// Rounds of this stage are of starts, on a sample of rows by clocks of their own.
const START: &str = "start";

/// Rounds of this stage follow one another over all rows, every row choosing anew.
const EXPLORING: &str = "exploring";

/// A fit that took `wall` seconds as a process, from the text of its summary.
///
/// # Errors
/// A field that is missing or no number, or rounds that go back in time.
pub fn parse(text: &str, wall: f64) -> Result<Fitted, BadSummary> {
    let bad = |what: String| BadSummary(what);
    let summary: Summary = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let phase = |name: &str| {
        let found = summary.seconds.get(name).copied();
        found.ok_or_else(|| bad(format!("no seconds of {name:?}")))
    };
    let phases = phase("read")? + phase("fit.load")? + phase("fit.starts")?;
    let before = (wall - phase("total")?).max(0.0) + phases;
    let explained = summary.explained_variance;
    let last = summary.objective.filter(|f| *f > 0.0);
    let mut points = vec![(wall, explained)];
    for round in &summary.gate_rounds {
        if !round.accepted || round.stage == START {
            continue;
        }
        let last = last.ok_or_else(|| bad("no objective to compare rounds with".to_owned()))?;
        let then = 1.0 - (1.0 - explained) * round.objective / last;
        // A fit hands over no more than its final model has.
        points.push(((before + round.seconds).min(wall), then.min(explained)));
    }
    let curve = Curve::of(&points).map_err(|e| bad(e.to_string()))?;
    let pairs = summary.gate_rounds.windows(2);
    let pairs = pairs.filter(|pair| pair.iter().all(|round| round.stage == EXPLORING));
    let rounds: Vec<f64> = pairs
        .map(|pair| pair[1].seconds - pair[0].seconds)
        .collect();
    if let Some(seconds) = rounds.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(bad(format!("a round of {seconds} s")));
    }
    Ok(Fitted {
        wall,
        explained_variance: explained,
        converged: Some(summary.converged),
        curve: curve.thinned(THIN),
        rounds,
        resident: summary.peak_memory,
        outputs: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn summary() -> Value {
        let round = |stage: &str, objective: f64, accepted: bool, seconds: f64| {
            json!({
                "stage": stage, "objective": objective, "accepted": accepted, "seconds": seconds,
                "changed": 1,
            })
        };
        json!({
            "explained_variance": 0.5, "converged": true, "objective": 10.0, "rows": 7,
            "seconds": {"read": 0.1, "fit": 1.0, "total": 1.2, "fit.load": 0.05, "fit.starts": 0.25},
            "gate_rounds": [
                round("start", 1.0, true, 0.2),
                round("exploring", 14.0, true, 0.01),
                round("exploring", 12.0, true, 0.03),
                round("exploring", 13.0, false, 0.06),
                round("relocation", 11.0, true, 0.2),
                round("exploring", 9.9, true, 0.3),
                round("finishing", 10.5, true, 0.4),
            ],
        })
    }

    #[test]
    fn rounds_are_brought_to_the_seconds_of_the_process_and_to_explained_variance() {
        let fitted = parse(&summary().to_string(), 1.5).unwrap();
        assert_eq!(
            (fitted.explained_variance, fitted.converged),
            (0.5, Some(true))
        );
        // Those before and after an exploring round of another stage do not follow one another.
        let rounds: Vec<f64> = fitted.rounds.iter().map(|s| (1e3 * s).round()).collect();
        assert_eq!(rounds, [20.0, 30.0]);
        // 0.3 around the clock, 0.1 reading, 0.05 loading, 0.25 of starts.
        let first = fitted.curve.reaches(0.29).unwrap();
        assert!((first - 0.71).abs() < 1e-6, "{first}");
        assert!((fitted.curve.at(0.72).unwrap() - 0.3).abs() < 1e-12);
        // What was not kept is not there, and nothing is better than the end.
        assert!((fitted.curve.at(0.80).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(fitted.curve.best().unwrap().1, 0.5);
        assert!((fitted.curve.reaches(0.5).unwrap() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_summary_that_lacks_something_is_refused_by_its_name() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut value = summary();
            change(&mut value);
            parse(&value.to_string(), 1.5).unwrap_err().to_string()
        };
        assert!(
            with(&|v| drop(v.as_object_mut().unwrap().remove("converged"))).contains("converged")
        );
        assert!(with(&|v| v["explained_variance"] = Value::Null).contains("null"));
        assert!(with(&|v| v["explained_variance"] = json!(1.5)).contains("1.5"));
        assert!(with(&|v| v["objective"] = Value::Null).contains("objective"));
        assert!(with(&|v| v["objective"] = json!(0.0)).contains("objective"));
        let without = with(&|v| drop(v["seconds"].as_object_mut().unwrap().remove("fit.starts")));
        assert!(without.contains("fit.starts"), "{without}");
        assert!(with(&|v| v["gate_rounds"][2]["seconds"] = json!(0.001)).contains("a round of"));
        assert!(parse("{", 1.0).is_err());
        assert!(parse("", 1.0).is_err());
    }
}
