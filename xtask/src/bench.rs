//! Benchmarks on processors, here or as a pack for a machine without Rust, and the report made of records.
//!
//! The program is `broadhead-benches`; the peers' libraries live in a private environment under
//! `target/`, made by the command.

use crate::examples;
use crate::pack::Pack;
use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};
use xshell::cmd;

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
    /// Makes a folder that runs on a machine without Rust, instead of running here.
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// Checks records that such a folder brought back, and puts them into benches/records, in the place
    /// of the same machine's.
    #[arg(long, value_name = "OUT", conflicts_with = "pack")]
    adopt: Option<PathBuf>,
    /// Further arguments of `broadhead-benches run`.
    #[arg(last = true)]
    rest: Vec<String>,
}

const PROGRAM: &str = "broadhead-benches";

/// The command that some suites run.
const COMMAND: &str = "broadhead";

/// Those suites.
const OF_COMMAND: [&str; 4] = ["rounds", "streams", "holdout", "tokens"];

/// The script of a pack. Its first argument is the folder that records go to.
const SCRIPT: &str = r#"#!/bin/bash
# Measures suites of this pack on the processors of this machine, which should be at rest.
#
#   ./run.sh OUT [--peers] [SUITE...] [ARGUMENTS of `broadhead-benches run`, as --seconds 1.2]
#
# Without a suite it is `planner`, whose choice is priced by rates that are measured first and by those that
# ship. OUT/SUITE.jsonl holds the records and OUT/table.txt what was printed. --peers runs the peers of
# the other suites, with python3 (or the interpreter in $PYTHON). Exit: 0 all ran, 1 a run failed.
set -o pipefail
here=$(cd "$(dirname "$0")" && pwd) || exit 1
out=${1:?usage: run.sh OUT [--peers] [suites] [arguments]}
shift
mkdir -p "$out" || exit 1
peers=()
if [ "${1:-}" = --peers ]; then
    shift
    peers=(--python "${PYTHON:-python3}")
fi
case "${1:-}" in
    "" | -*) set -- planner "$@" ;;
esac
"$here/broadhead-benches" --root "$here" run --out "$out" "${peers[@]}" "$@" \
    2> >(tee -a "$out/log.txt" >&2) | tee "$out/table.txt"
"#;

/// Measures suites and writes their records, packs or adopts.
///
/// # Errors
/// The build, the environment or the run fails.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    if let Some(from) = &options.adopt {
        return crate::bench_gpu::adopt(root, from, false);
    }
    if let Some(folder) = &options.pack {
        return pack(root, folder);
    }
    let mut python = Vec::new();
    if !options.no_peers {
        let interpreter = crate::python::environment(root, "peers", PEERS)?;
        python = vec!["--python".into(), interpreter];
    }
    let (cells, rest) = (&options.cells, &options.rest);
    let (sh, cargo) = shell::at(root)?;
    if cells
        .iter()
        .any(|suite| OF_COMMAND.contains(&suite.as_str()))
    {
        // They run the command, which lies beside their own program.
        cmd!(sh, "{cargo} build --release --locked --package {COMMAND}").run()?;
    }
    let build = ["--quiet", "--release", "--locked", "--package", PROGRAM];
    cmd!(
        sh,
        "{cargo} run {build...} -- run {cells...} {python...} {rest...}"
    )
    .run()?;
    Ok(Outcome::Passed)
}

/// Makes a folder with the programs, the cells and the peers.
fn pack(root: &Path, folder: &Path) -> Result<Outcome, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let packages = ["--package", PROGRAM, "--package", COMMAND];
    cmd!(sh, "{cargo} build --locked --release {packages...}").run()?;
    let mut pack = Pack::begin(root, folder)?;
    for program in [PROGRAM, COMMAND] {
        pack.program(&root.join("target/release").join(program), program)?;
    }
    pack.files(&root.join("benches/cells"), "toml", "cells")?;
    pack.files(&root.join("benches/peers"), "py", "peers")?;
    pack.finish(SCRIPT)?;
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
    let program = examples::program(&built, &root.join("benches/src/main.rs"))?;
    let check = check.then_some("--check");
    let (sh, _) = shell::at(root)?;
    cmd!(sh, "{program} report {check...}").run()?;
    Ok(Outcome::Passed)
}
