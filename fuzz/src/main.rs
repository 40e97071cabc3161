//! Mutated files for the readers of the command line, deterministic and on a stable toolchain.
//!
//! ```text
//! corpus/TARGET/* -+
//!                  +-> mutations -> a reader, from memory -> limits (panic, bytes, seconds, words)
//! parts of a file -+
//! ```
//!
//! `cargo run -p broadhead-fuzz -- --inputs 1000000 --seed 7` runs every target; a finding is named
//! by seed, target and index, and `--target npz --seed 7 --index 1234 --write FILE` makes its input
//! again. The program exits 0 where nothing was found and 1 where something was.

#![allow(clippy::print_stdout, reason = "what the program prints is its result")]

mod archive;
mod corpus;
mod mutate;
mod npy;
mod random;
mod run;
mod target;
mod tensors;
mod text;

use clap::Parser;
use run::{Plan, Tally};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use target::Target;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
#[command(about = "Runs mutated files through the readers of files", version)]
struct Arguments {
    /// Runs this target only: npy, npz, safetensors, labels, model, masks.
    #[arg(long, value_parser = target)]
    target: Option<Target>,
    /// Runs so many inputs of each target.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    inputs: u64,
    /// Runs for so many seconds altogether; 60 where no number of inputs is given.
    #[arg(long)]
    seconds: Option<u64>,
    /// What the inputs are made from: the same seed makes the same inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The first index.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The longest that one input may take, in seconds.
    #[arg(long, default_value_t = 10)]
    hang: u64,
    /// Appends a line a target to this file.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Runs the input of this index alone.
    #[arg(long, requires = "target")]
    index: Option<u64>,
    /// Writes the input of `--index` here.
    #[arg(long, value_name = "FILE", requires = "index")]
    write: Option<PathBuf>,
}

fn target(name: &str) -> Result<Target, String> {
    let found = Target::ALL.into_iter().find(|target| target.name() == name);
    found.ok_or_else(|| "expected npy, npz, safetensors, labels, model or masks".to_owned())
}

/// A line of the record.
#[derive(Debug, Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    tally: &'a Tally,
    version: &'static str,
    revision: String,
    rustc: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; whether nothing was found.
fn run(arguments: &Arguments) -> std::io::Result<bool> {
    let targets = match &arguments.target {
        Some(target) => vec![*target],
        None => Target::ALL.to_vec(),
    };
    let seconds = match (arguments.seconds, arguments.inputs) {
        (None, u64::MAX) => Some(60),
        (seconds, _) => seconds,
    };
    let mut clean = true;
    for &target in &targets {
        let seeds = corpus::seeds(target)?;
        let plan = Plan {
            target,
            seed: arguments.seed,
            first: arguments.index.unwrap_or(arguments.first),
            inputs: if arguments.index.is_some() {
                1
            } else {
                arguments.inputs
            },
            time: seconds.map(|all| Duration::from_secs(all) / targets.len() as u32),
            hang: Duration::from_secs(arguments.hang),
        };
        if let Some(file) = &arguments.write {
            std::fs::write(file, plan.input(plan.first, &seeds))?;
        }
        let tally = plan.run(&seeds, |index| {
            let name = target.name();
            let seed = plan.seed;
            eprintln!(
                "{name}: input {index} of seed {seed} takes more than {:?}",
                plan.hang
            );
            std::process::exit(1);
        });
        clean &= tally.findings.is_empty();
        say(&tally);
        if let Some(file) = &arguments.record {
            let record = Record {
                tally: &tally,
                version: env!("CARGO_PKG_VERSION"),
                revision: said("git", &["rev-parse", "HEAD"])?,
                rustc: said("rustc", &["--version"])?,
            };
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(file)?;
            writeln!(file, "{}", serde_json::to_string(&record)?)?;
        }
    }
    Ok(clean)
}

fn say(tally: &Tally) {
    let refused: u64 = tally.refused.values().sum();
    println!(
        "{:12} seed {}, {} inputs in {:.1} s ({:.0} a second): {} read, {refused} refused in {} \
         ways, at most {:.1} ms and {:.0} % of the bytes allowed, {} findings",
        tally.target,
        tally.seed,
        tally.inputs,
        tally.seconds,
        tally.inputs as f64 / tally.seconds.max(1e-9),
        tally.read,
        tally.refused.len(),
        tally.longest_milliseconds,
        100.0 * tally.largest_share_of_bytes,
        tally.findings.len(),
    );
    for finding in &tally.findings {
        println!(
            "  --target {} --seed {} --index {}: {}",
            tally.target, tally.seed, finding.index, finding.what
        );
    }
}

/// What another program says.
fn said(program: &str, words: &[&str]) -> std::io::Result<String> {
    let output = Command::new(program).args(words).output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(format!("`{program}` failed")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
