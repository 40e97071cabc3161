//! The peer's side: `rounds_numpy.py` as a process, and its log of rounds.
//!
//! Its seconds begin when its rows are loaded and its first decoder is made; what its process took
//! besides is in `wall` alone. So the comparison favours it by a second or so.

use super::law::Shape;
use super::ours::THIN;
use super::plan::Pulls;
use super::record::Fitted;
use crate::error::Error;
use crate::peer::Script;
use crate::receipt::Receipt;
use broadhead_gate::Decline;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// The peer's name.
pub const NAME: &str = "numpy";

/// The peer, and the libraries that it starts with.
#[derive(Clone, Debug)]
pub struct Peer {
    script: Script,
}

#[derive(Debug, Deserialize)]
struct Answer {
    libraries: BTreeMap<String, String>,
    #[serde(default)]
    log: Vec<(f64, f64)>,
}

/// An answer that is none.
#[derive(Debug, thiserror::Error)]
#[error("the peer's answer: {0}")]
pub struct BadAnswer(String);

impl Peer {
    /// Asks the interpreter `python` for the libraries of the script in `folder`.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub fn start(folder: &Path, python: &Path) -> Result<Self, Error> {
        let script = Script::start(folder.join("rounds_numpy.py"), python)?;
        Ok(Self { script })
    }

    /// Adds its libraries to a receipt, which is then still one.
    ///
    /// # Errors
    /// [`Error::Peer`] where its kernels are older than the processor's.
    pub fn sign(&self, receipt: &mut Receipt) -> Result<(), Error> {
        self.script.sign(NAME, receipt)
    }

    /// Runs its rounds for so many seconds.
    ///
    /// # Errors
    /// It failed, said no rounds, or ran with other libraries than at first.
    pub(super) fn run(
        &self,
        rows: &Path,
        shape: Shape,
        seed: u64,
        (precision, seconds): (Pulls, f64),
    ) -> Result<Fitted, Decline> {
        let failed = |error: String| Decline::Failed { error };
        let mut command = self.script.command();
        command.arg(rows);
        command.args([shape.atoms, shape.top].map(|n| n.to_string()));
        let amplitudes = if shape.fitted { "fitted" } else { "unit" };
        command.args([amplitudes, precision.dtype(), &seconds.to_string()]);
        command.args(["--seed", &seed.to_string()]);
        command.stderr(Stdio::inherit());
        let begin = Instant::now();
        let output = command.output().map_err(|e| failed(e.to_string()))?;
        let wall = begin.elapsed().as_secs_f64();
        if !output.status.success() {
            return Err(failed(format!("the peer: {}", output.status)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let (fitted, libraries) = parse(&text, wall).map_err(|e| failed(e.to_string()))?;
        match libraries == *self.script.libraries() {
            true => Ok(fitted),
            false => Err(failed(
                "the peer ran with other libraries than at first".to_owned(),
            )),
        }
    }
}

/// What the peer came to in `wall` seconds, from its answer, with its libraries.
///
/// # Errors
/// No JSON, no rounds, or times that do not rise.
pub fn parse(text: &str, wall: f64) -> Result<(Fitted, BTreeMap<String, String>), BadAnswer> {
    let bad = |what: String| BadAnswer(what);
    let answer: Answer = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let curve = super::curve::Curve::of(&answer.log).map_err(|e| bad(e.to_string()))?;
    let (_, best) = curve.best().ok_or_else(|| bad("no round".to_owned()))?;
    let ends = answer.log.iter().map(|(seconds, _)| *seconds);
    let begins = std::iter::once(0.0).chain(ends.clone());
    let rounds: Vec<f64> = ends.zip(begins).map(|(end, begin)| end - begin).collect();
    if let Some(seconds) = rounds.iter().find(|s| **s <= 0.0) {
        return Err(bad(format!("a round of {seconds} s")));
    }
    let fitted = Fitted {
        wall,
        explained_variance: best,
        converged: None,
        curve: curve.thinned(THIN),
        // To the microsecond: there are thousands.
        rounds: rounds
            .into_iter()
            .map(|s| 1e-6 * (1e6 * s).ceil())
            .collect(),
        resident: None,
        outputs: None,
    };
    Ok((fitted, answer.libraries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_a_curve_and_its_rounds() {
        let text = r#"{"libraries":{"numpy":"2"},"log":[[0.5,0.1],[0.75,0.3],[1.0,0.2]]}"#;
        let (fitted, libraries) = parse(text, 2.0).unwrap();
        assert_eq!(fitted.rounds, [0.5, 0.25, 0.25]);
        assert_eq!(fitted.curve.best(), Some((0.75, 0.3)));
        assert_eq!((fitted.wall, fitted.explained_variance), (2.0, 0.3));
        assert_eq!((fitted.converged, fitted.round()), (None, Some(0.25)));
        assert_eq!(libraries["numpy"], "2");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"libraries":{}}"#,
            r#"{"libraries":{},"log":[]}"#,
            r#"{"libraries":{},"log":[[1.0,0.1],[1.0,0.2]]}"#,
            r#"{"libraries":{},"log":[[1.0,0.1],[0.5,0.2]]}"#,
            r#"{"libraries":{},"log":[[1.0,NaN]]}"#,
            r#"{"libraries":{},"log":[[1.0,2.0]]}"#,
            r#"{"libraries":{},"log":[[1.0]]}"#,
        ] {
            assert!(parse(text, 1.0).is_err(), "{text}");
        }
    }
}
