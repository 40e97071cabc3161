//! Benchmarks of a device: here, or as a pack for a machine with one.

use crate::pack::Pack;
use crate::shell::{self, Failure, Outcome};
use std::path::{Path, PathBuf};
use xshell::cmd;

/// What `bench-gpu` runs or packs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Makes a folder that runs on a machine without Rust, instead of running here.
    #[arg(long, value_name = "DIR")]
    pack: Option<PathBuf>,
    /// With --pack, puts these rows (.npy) into it, on which the suite `topk` trains its autoencoders.
    #[arg(long, value_name = "FILE", requires = "pack")]
    tokens: Option<PathBuf>,
    /// Checks records that such a folder brought back, and puts them into the folder of their device
    /// under benches/records.
    #[arg(long, value_name = "OUT", conflicts_with = "pack")]
    adopt: Option<PathBuf>,
    /// With --adopt, keeps them at their commit, beside what the device does now: the report compares
    /// devices that ran the same code.
    #[arg(long, requires = "adopt")]
    at_commit: bool,
    /// Runs the peers before and after, with this machine's python3.
    #[arg(long)]
    peers: bool,
    /// Builds without optimising across crates: quick to build, and marked `dev` in every receipt.
    #[arg(long)]
    dev: bool,
    /// Further arguments of `broadhead-benches gpu`.
    #[arg(last = true)]
    rest: Vec<String>,
}

const PROGRAM: &str = "broadhead-benches";

/// The name that rows have in a pack, as the program looks for them.
const ROWS: &str = "tokens.npy";

/// The script of a pack. Its first argument is the folder that records go to.
const SCRIPT: &str = r#"#!/bin/bash
# Measures the cells of this pack on the device of this machine.
#
#   ./run.sh OUT [--peers] [ARGUMENTS of `broadhead-benches gpu`, as --filter 'rows/factor']
#   ./run.sh OUT --peers topk        TopK autoencoders alone, on the rows in this pack or --tokens FILE.npy
#
# OUT/SUITE.jsonl holds the records and OUT/table.txt what was printed. A run that was cut short goes
# on where it ended if it is called again with the same OUT on the same machine. --peers runs the
# peers before and after, with python3 (or the interpreter in $PYTHON).
# Exit: 0 all measured, 1 a cell failed, 3 a cell is undetermined.
set -o pipefail
here=$(cd "$(dirname "$0")" && pwd) || exit 1
out=${1:?usage: run.sh OUT [--peers] [arguments]}
shift
mkdir -p "$out" || exit 1
peers=()
if [ "${1:-}" = --peers ]; then
    shift
    peers=(--python "${PYTHON:-python3}")
fi
"$here/broadhead-benches" --root "$here" gpu --out "$out" "${peers[@]}" "$@" \
    2> >(tee -a "$out/log.txt" >&2) | tee "$out/table.txt"
"#;

/// Measures, packs or adopts.
///
/// # Errors
/// The build, a cell or a record is in fault.
pub(crate) fn run(root: &Path, options: &Options) -> Result<Outcome, Failure> {
    if let Some(from) = &options.adopt {
        return adopt(root, from, options.at_commit);
    }
    let (sh, cargo) = shell::at(root)?;
    if let Some(folder) = &options.pack {
        let release = (!options.dev).then_some("--release");
        cmd!(
            sh,
            "{cargo} build --locked --package {PROGRAM} {release...}"
        )
        .run()?;
        let mut pack = Pack::begin(root, folder)?;
        let profile = if options.dev { "debug" } else { "release" };
        pack.program(&root.join("target").join(profile).join(PROGRAM), PROGRAM)?;
        pack.files(&root.join("benches/cells"), "toml", "cells")?;
        pack.files(&root.join("benches/peers"), "py", "peers")?;
        if let Some(tokens) = &options.tokens {
            pack.file(tokens, ROWS)?;
        }
        pack.finish(SCRIPT)?;
        return Ok(Outcome::Passed);
    }
    let run = run_arguments(options.dev);
    let peers: &[_] = match options.peers {
        true => &["--python", "python3"],
        false => &[],
    };
    let rest = &options.rest;
    shell::measured(cmd!(sh, "{cargo} {run...} gpu {peers...} {rest...}"))
}

/// Checks what a pack brought back and puts it among the records of its device; with `at_commit`
/// beside what the device does now.
///
/// # Errors
/// A line is refused.
pub(crate) fn adopt(root: &Path, from: &Path, at_commit: bool) -> Result<Outcome, Failure> {
    let (sh, cargo) = shell::at(root)?;
    let run = run_arguments(true);
    let at_commit = at_commit.then_some("--at-commit");
    cmd!(sh, "{cargo} {run...} adopt {from} {at_commit...}").run()?;
    Ok(Outcome::Passed)
}

/// Cargo's arguments that run the program, up to its own.
fn run_arguments(dev: bool) -> Vec<&'static str> {
    let mut arguments = vec!["run", "--quiet", "--locked"];
    if !dev {
        arguments.push("--release");
    }
    arguments.extend(["--package", PROGRAM, "--"]);
    arguments
}
