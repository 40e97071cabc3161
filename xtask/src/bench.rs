//! Benchmarks on this machine's processors, and the report made of records.
//!
//! The program is `broadhead-benches`; the peers' libraries live in a private environment under
//! `target/`, made by the command.

use crate::examples;
use crate::shell::{self, Failure, Outcome};
use std::path::Path;

/// The peers' libraries, pinned: NumPy and SciPy bring OpenBLAS.
const PEERS: &[&str] = &["numpy==2.4.6", "scipy==1.17.1", "threadpoolctl==3.8.0"];

/// What `bench-cpu` runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Suites: files of benches/cells without their ending.
    #[arg(long, default_values_t = ["scipy", "core", "planner"].map(str::to_owned))]
    cells: Vec<String>,
    /// Goes without the peers, and without Python.
    #[arg(long)]
    no_peers: bool,
    /// Further arguments of `broadhead-benches run`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Measures suites and writes their records.
///
/// # Errors
/// The build, the environment or the run fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    let python = if options.no_peers {
        None
    } else {
        Some(crate::python::environment(root, "peers", PEERS)?)
    };
    let mut command = shell::cargo(root);
    command
        .args(["run", "--quiet", "--release", "--locked"])
        .args(["--package", "broadhead-benches", "--", "run"])
        .args(&options.cells);
    if let Some(python) = python {
        command.arg("--python").arg(python);
    }
    shell::run(command.args(&options.rest))?;
    Ok(Outcome::Passed)
}

/// Turns all records into the book's tables and charts, or with `check` compares them.
///
/// # Errors
/// A record that is none, or with `check` a table that is not what the records give.
pub(crate) fn report(root: &Path, check: bool) -> Result<Outcome, Failure> {
    // With the examples, and so with the features that the tests have built already.
    let which = ["--examples", "--bin", "broadhead-benches"];
    let built = examples::built(root, examples::Kind::Binary, &which)?;
    let mut command = examples::program(root, &built, &root.join("benches/src/main.rs"))?;
    command.arg("report");
    if check {
        command.arg("--check");
    }
    shell::run(&mut command)?;
    Ok(Outcome::Passed)
}
