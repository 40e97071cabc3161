//! `broadhead-benches run SUITE...` measures, `broadhead-benches report` turns records into tables.

#![allow(clippy::print_stdout, reason = "what a command prints is its result")]

use broadhead_benches::cell::Suite;
use broadhead_benches::error::Error;
use broadhead_benches::peer::Peer;
use broadhead_benches::receipt::Receipt;
use broadhead_benches::record::{self, Outcome};
use broadhead_benches::report;
use broadhead_benches::runner::{self, Options};
use broadhead_benches::summary::Summary;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(about, version)]
struct Arguments {
    /// The repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures suites and writes their records.
    Run {
        /// Suites: files of benches/cells, without their ending.
        #[arg(required = true)]
        suites: Vec<String>,
        /// Runs cells whose name contains this alone, and prints instead of writing records.
        #[arg(long, default_value = "")]
        filter: String,
        /// Threads; all processors by default.
        #[arg(long)]
        threads: Option<usize>,
        /// Seconds of samples of one contender in one phase, about.
        #[arg(long, default_value_t = 4.0)]
        seconds: f64,
        /// The most samples of one contender in one phase.
        #[arg(long, default_value_t = 21)]
        max_samples: usize,
        /// GiB that a solver may hold.
        #[arg(long, default_value_t = 4)]
        memory: u64,
        /// Seed of the operands.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// An interpreter with the peers' libraries; without it peers do not run.
        #[arg(long)]
        python: Option<PathBuf>,
    },
    /// Turns all records into the book's tables and charts.
    Report {
        /// Fails where the committed ones differ, and writes nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let benches = arguments.root.join("benches");
    let Command::Run {
        suites,
        filter,
        threads,
        seconds,
        max_samples,
        memory,
        seed,
        python,
    } = &arguments.command
    else {
        let check = matches!(arguments.command, Command::Report { check: true });
        return report::write(&arguments.root, check).map(|verdicts| {
            for line in &verdicts {
                println!("{line}");
            }
            ExitCode::SUCCESS
        });
    };
    let mut receipt = Receipt::of_this_run(&arguments.root);
    let options = Options {
        threads: threads.unwrap_or(receipt.processors),
        seconds: *seconds,
        max_samples: (*max_samples).max(1),
        memory_limit: memory.saturating_mul(1 << 30),
        seed: *seed,
    };
    for name in suites {
        let suite = Suite::read(&benches.join("cells").join(format!("{name}.toml")))?;
        let mut peers = start_peers(&suite, &benches, python.as_deref());
        for peer in &peers {
            receipt.libraries.extend(peer.libraries().clone());
        }
        let records = runner::run(&suite, &options, filter, &mut peers, &receipt)?;
        for record in &records {
            println!("{}", line(record));
        }
        if filter.is_empty() {
            let folder = benches.join("records");
            std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
            record::write(&folder.join(format!("{}.jsonl", suite.suite)), &records)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The suite's peers. Where one cannot run, its cells are missing from the records and say nothing.
fn start_peers(suite: &Suite, benches: &Path, python: Option<&Path>) -> Vec<Peer> {
    let start = |name: &String| {
        let Some(python) = python else {
            eprintln!("the peer {name} does not run: no --python");
            return None;
        };
        match Peer::start(name, &benches.join("peers"), python) {
            Ok(peer) => Some(peer),
            Err(error) => {
                eprintln!("{error}");
                None
            }
        }
    };
    suite.peers.iter().filter_map(start).collect()
}

/// One record for a person.
fn line(record: &record::Record) -> String {
    let cell = &record.cell;
    let head = format!(
        "{:34} {:10} {} {:18}",
        cell.name,
        cell.elimination,
        cell.threads,
        cell.phase.as_str()
    );
    match &record.outcome {
        Outcome::Declined(reason) => format!("{head} declined: {reason}"),
        Outcome::Measured(measured) => {
            let ran = measured.elimination.clone().unwrap_or_default();
            match Summary::of(&measured.samples) {
                Some(s) => format!(
                    "{head} {:10.3} ms +- {:4.1} % of {:2}  {ran}",
                    1e3 * s.median,
                    100.0 * s.spread,
                    s.count
                ),
                None => format!("{head} no samples"),
            }
        }
    }
}
