//! Peers: programs in other languages that do the same work, one line in, one line out.
//!
//! The protocol is in the script's own words (`benches/peers/scipy_arrow.py`). A peer makes the same
//! operands from the same seed, checks its own step, and answers with its log-determinant, which is
//! an independent check of ours.

use crate::cell::{Phase, Shape};
use crate::error::Error;
use crate::kernels;
use crate::receipt::Receipt;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A running peer. It ends when its input closes, which dropping it does.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    libraries: BTreeMap<String, String>,
}

/// What a peer says of its own step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prepared {
    /// Its log-determinant.
    pub log_determinant: f64,
    /// The componentwise backward error of its step.
    pub componentwise_error: f64,
}

/// A peer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer {name}: {why}")]
pub struct PeerError {
    /// The peer.
    pub name: String,
    /// What happened.
    pub why: String,
}

/// What the names of variables begin with that make a numerical library other than it is by itself: its
/// kernels, its blocks, its threads.
const SETTINGS: [&str; 9] = [
    "OPENBLAS_",
    "GOTO_",
    "BLIS_",
    "MKL_",
    "OMP_",
    "KMP_",
    "NPY_",
    "ATEN_",
    "CUBLAS_",
];

/// Those that are known to slow a peer down.
const HANDICAPS: [&str; 2] = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/// A command of the interpreter `python` without [`SETTINGS`]: a peer is as fast as its libraries make
/// it by themselves. `OPENBLAS_CORETYPE=Haswell` costs OpenBLAS up to two thirds of its rate.
pub(crate) fn untouched(python: &Path) -> Command {
    let mut command = Command::new(python);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if SETTINGS.iter().any(|setting| text.starts_with(setting)) {
            command.env_remove(&name);
        }
    }
    for name in HANDICAPS {
        command.env_remove(name);
    }
    command
}

/// A script that runs anew for every question, and the libraries that it starts with.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    python: PathBuf,
    path: PathBuf,
    libraries: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Libraries {
    pub(crate) libraries: BTreeMap<String, String>,
}

impl Script {
    /// Asks the interpreter `python` for the libraries of the script at `path`.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub(crate) fn start(path: PathBuf, python: &Path) -> Result<Self, Error> {
        let output = untouched(python)
            .arg(&path)
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(Error::file(python))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let Libraries { libraries } = serde_json::from_str(&text).map_err(|e| Error::Format {
            path: path.clone(),
            message: format!("{}; {e}", output.status),
        })?;
        Ok(Self {
            python: python.to_path_buf(),
            path,
            libraries,
        })
    }

    /// A script that starts with `libraries`, without asking it.
    #[cfg(test)]
    pub(crate) fn of(path: PathBuf, libraries: BTreeMap<String, String>) -> Self {
        Self {
            python: "python".into(),
            path,
            libraries,
        }
    }

    /// The script as a process, without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = untouched(&self.python);
        command.arg(&self.path);
        command
    }

    /// The libraries that it started with.
    pub(crate) fn libraries(&self) -> &BTreeMap<String, String> {
        &self.libraries
    }

    /// Adds its libraries to a receipt, which is then still one of the peer `name`.
    ///
    /// # Errors
    /// [`Error::Peer`] where its kernels are older than the processor's.
    pub(crate) fn sign(&self, name: &str, receipt: &mut Receipt) -> Result<(), Error> {
        receipt.libraries.extend(self.libraries.clone());
        kernels::check(receipt).map_err(|refused| Error::Peer {
            name: name.to_owned(),
            refused,
        })
    }
}

impl Peer {
    /// Starts the script `NAME_arrow.py` of `folder` with the interpreter `python`.
    ///
    /// # Errors
    /// It does not start, or does not answer.
    pub fn start(name: &str, folder: &Path, python: &Path) -> Result<Self, PeerError> {
        let fail = |why: String| PeerError {
            name: name.to_owned(),
            why,
        };
        let mut child = untouched(python)
            .arg(folder.join(format!("{name}_arrow.py")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| fail(e.to_string()))?;
        let input = child.stdin.take();
        let output = child
            .stdout
            .take()
            .ok_or_else(|| fail("no output".to_owned()))?;
        let mut peer = Self {
            name: name.to_owned(),
            child,
            input,
            output: BufReader::new(output),
            libraries: BTreeMap::new(),
        };
        let hello = peer.ask(&json!({"hello": true}))?;
        peer.libraries =
            serde_json::from_value(hello["libraries"].clone()).map_err(|e| fail(e.to_string()))?;
        Ok(peer)
    }

    /// Adds its libraries to a receipt, which is then still one.
    ///
    /// # Errors
    /// [`Error::Peer`] where its kernels are older than the processor's.
    pub fn sign(&self, receipt: &mut Receipt) -> Result<(), Error> {
        receipt.libraries.extend(self.libraries.clone());
        kernels::check(receipt).map_err(|refused| Error::Peer {
            name: self.name.clone(),
            refused,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its libraries with versions.
    pub fn libraries(&self) -> &BTreeMap<String, String> {
        &self.libraries
    }

    /// Makes the operands of `shape`, factors and solves them once.
    ///
    /// # Errors
    /// It serves dense arrows alone, or failed.
    pub fn prepare(&mut self, shape: Shape, seed: u64) -> Result<Prepared, PeerError> {
        let Shape::Arrow { rows, dim, border } = shape else {
            return Err(self.fail("it serves dense arrows alone".to_owned()));
        };
        let sizes = json!({"rows": rows, "dim": dim, "border": border, "seed": seed});
        let answer = self.ask(&json!({"prepare": sizes}))?;
        Ok(Prepared {
            log_determinant: self.number(&answer, "log_determinant")?,
            componentwise_error: self.number(&answer, "componentwise_error")?,
        })
    }

    /// One sample of `phase` with `threads` threads, in seconds.
    ///
    /// # Errors
    /// It failed.
    pub fn sample(&mut self, phase: Phase, threads: usize) -> Result<f64, PeerError> {
        let answer = self.ask(&json!({"sample": phase, "threads": threads}))?;
        self.number(&answer, "seconds")
    }

    /// Samples of `phase` by its own clock, in seconds: at most `most`, for about `seconds`, with a
    /// rest before each.
    ///
    /// # Errors
    /// It failed, or answered none.
    pub fn samples(
        &mut self,
        phase: Phase,
        seconds: f64,
        most: usize,
        rest: Duration,
    ) -> Result<Vec<f64>, PeerError> {
        let rest = rest.as_secs_f64();
        let request = json!({"samples": phase, "seconds": seconds, "most": most, "rest": rest});
        let answer = self.ask(&request)?;
        let found: Result<Vec<f64>, _> = serde_json::from_value(answer["samples"].clone());
        match found {
            Ok(samples) if !samples.is_empty() => Ok(samples),
            _ => Err(self.fail(format!("no samples in {answer}"))),
        }
    }

    /// Drops its operands.
    ///
    /// # Errors
    /// It failed.
    pub fn release(&mut self) -> Result<(), PeerError> {
        self.ask(&json!({"release": true})).map(drop)
    }

    fn ask(&mut self, request: &Value) -> Result<Value, PeerError> {
        let mut line = String::new();
        let exchange = match &mut self.input {
            Some(input) => writeln!(input, "{request}")
                .and_then(|()| input.flush())
                .and_then(|()| self.output.read_line(&mut line)),
            None => return Err(self.fail("it ended".to_owned())),
        };
        match exchange {
            Ok(0) => Err(self.fail("it ended without an answer".to_owned())),
            Ok(_) => serde_json::from_str(&line).map_err(|e| self.fail(e.to_string())),
            Err(error) => Err(self.fail(error.to_string())),
        }
    }

    fn number(&self, answer: &Value, key: &str) -> Result<f64, PeerError> {
        answer[key]
            .as_f64()
            .ok_or_else(|| self.fail(format!("no {key} in {answer}")))
    }

    fn fail(&self, why: String) -> PeerError {
        PeerError {
            name: self.name.clone(),
            why,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Closing its input ends it; what it still says is of no use.
        self.input = None;
        if let Err(error) = self.child.wait() {
            eprintln!("the peer {}: {error}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_multiply_matrices_of_our_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let script = std::fs::read_to_string(folder.join("scipy_arrow.py")).unwrap();
        let order = format!("\nPRODUCT_ORDER = {}\n", Phase::PRODUCT_ORDER);
        assert!(script.contains(&order), "{order}");
    }

    #[test]
    fn an_absent_interpreter_and_a_silent_script_are_errors_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no-python");
        let error = Peer::start("scipy", folder.path(), &missing).unwrap_err();
        assert_eq!(error.name, "scipy");
        // `true` ends at once and says nothing.
        let error = Peer::start("scipy", folder.path(), Path::new("true")).unwrap_err();
        assert!(
            error.why.contains("ended") || error.why.contains("pipe"),
            "{error}"
        );
    }
}
