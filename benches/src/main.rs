//! `broadhead-benches run SUITE...` measures on processors and `broadhead-benches gpu SUITE...` on a
//! device; `broadhead-benches report` turns records into tables.

#![allow(clippy::print_stdout, reason = "what a command prints is its result")]

use broadhead_benches::cell::Suite;
use broadhead_benches::error::Error;
use broadhead_benches::gpu::{self, Sampling};
use broadhead_benches::holdout::{self, plan::Kept};
use broadhead_benches::machine;
use broadhead_benches::peer::Peer;
use broadhead_benches::receipt::Receipt;
use broadhead_benches::record::{self, Record, Window};
use broadhead_benches::report;
use broadhead_benches::rounds::{self, ours::Program, plan::Plan};
use broadhead_benches::runner::{self, Options};
use broadhead_benches::store::{self, Keep};
use broadhead_device::seal;
use broadhead_gate::ceilings::measure_cpu;
use broadhead_schur::{HostCeilings, Rates, RatesOrigin};
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        /// The folder that records go to, those of this machine in the place of its earlier ones;
        /// benches/records by default.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        processes: Processes,
    },
    /// Measures suites of a device, a process a cell. Exits 3 without one.
    Gpu(Gpu),
    /// Does one cell on a device and prints its records. What `gpu` calls.
    #[command(hide = true)]
    GpuCell(GpuCell),
    /// Times the peer of a device's suite and prints its records. What `gpu` calls.
    #[command(hide = true)]
    GpuPeer(GpuPeer),
    /// Checks records that a pack brought back and puts them among the repository's.
    Adopt {
        /// The folder that they came back in.
        from: PathBuf,
        /// Keeps them at their commit, beside what the device does now, instead of replacing that:
        /// devices that ran the same code are then compared.
        #[arg(long)]
        at_commit: bool,
    },
    /// Turns all records into the book's tables and charts.
    Report {
        /// Fails where the committed ones differ, and writes nothing.
        #[arg(long)]
        check: bool,
    },
}

/// Options of the suites that run the command itself: `rounds`, `streams`, `holdout` and `tokens`.
#[derive(Debug, Args)]
struct Processes {
    /// The rows of their cases, an .npy.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The command `broadhead`; by default the one beside this program.
    #[arg(long, value_name = "PROGRAM")]
    broadhead: Option<PathBuf>,
    /// Seconds of the rounds of the peer of `rounds`, where they are not the plan's.
    #[arg(long)]
    peer_seconds: Option<f64>,
    /// Made rows and parts of a second, to see that it works. Such records are for no report.
    #[arg(long, requires = "out")]
    quick: bool,
}

#[derive(Debug, Args)]
struct Sampled {
    /// Seconds of samples of one phase, about.
    #[arg(long, default_value_t = 0.6)]
    seconds: f64,
    /// The most samples of one phase.
    #[arg(long, default_value_t = 60)]
    max_samples: usize,
    /// Seed of the operands.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<&Sampled> for Sampling {
    fn from(sampled: &Sampled) -> Self {
        Self {
            seconds: sampled.seconds,
            max_samples: sampled.max_samples.max(1),
            seed: sampled.seed,
        }
    }
}

#[derive(Debug, Args)]
struct Gpu {
    /// Suites: files of cells, without their ending, or `topk`, the peer of the suite `holdout`.
    #[arg(default_values_t = ["gpu", "fit"].map(str::to_owned))]
    suites: Vec<String>,
    /// The folder that records go to; by default that of the device under benches/records.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs cells whose name, with the contender, contains this alone.
    #[arg(long, default_value = "")]
    filter: String,
    /// An interpreter with the peers' libraries: they run before and after.
    #[arg(long)]
    python: Option<PathBuf>,
    /// The rows of `topk`, an .npy; by default those that came in the pack.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Trains the autoencoders of `topk` on made rows for a second or two, to see that it works. Such records are
    /// for no report.
    #[arg(long, requires = "out")]
    quick: bool,
    /// Measures again what is in the folder already.
    #[arg(long)]
    fresh: bool,
    /// Seconds that one cell may take, at most.
    #[arg(long, default_value_t = 120)]
    limit: u64,
    #[command(flatten)]
    sampled: Sampled,
}

#[derive(Debug, Args)]
struct GpuCell {
    #[arg(long)]
    suite: String,
    #[arg(long)]
    case: String,
    #[arg(long)]
    contender: String,
    #[arg(long)]
    run: String,
    #[arg(long, allow_negative_numbers = true)]
    known: Option<f64>,
    #[command(flatten)]
    sampled: Sampled,
}

#[derive(Debug, Args)]
struct GpuPeer {
    #[arg(long)]
    suite: String,
    #[arg(long)]
    run: String,
    #[arg(long)]
    python: PathBuf,
    #[arg(long, default_value = "")]
    filter: String,
    #[arg(long)]
    after: bool,
    #[command(flatten)]
    sampled: Sampled,
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
    let root = &arguments.root;
    match &arguments.command {
        Command::Report { check } => {
            for line in report::write(root, *check)? {
                println!("{line}");
            }
        }
        Command::Adopt { from, at_commit } => {
            let keep = match at_commit {
                true => Keep::AtCommit,
                false => Keep::Current,
            };
            for path in store::adopt(from, root, keep)? {
                println!("{}", path.display());
            }
        }
        Command::Gpu(wanted) => return run_gpu(root, wanted),
        Command::GpuCell(wanted) => {
            let found = gpu::Wanted {
                case: &wanted.case,
                contender: &wanted.contender,
                run: &wanted.run,
                known: wanted.known,
            };
            let suite = Suite::read(&cells(root, &wanted.suite))?;
            gpu::run_cell(root, &suite, found, (&wanted.sampled).into(), &mut emit)?;
        }
        Command::GpuPeer(wanted) => {
            let suite = Suite::read(&cells(root, &wanted.suite))?;
            let window = match wanted.after {
                true => Window::After,
                false => Window::Before,
            };
            gpu::run_window(
                root,
                &suite,
                (window, &wanted.run),
                (&wanted.python, &wanted.filter),
                (&wanted.sampled).into(),
                &mut emit,
            )?;
        }
        Command::Run { .. } => return run_cpu(arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one sealed line.
fn emit(record: &Record) {
    match record::line(record) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("error: {error}"),
    }
}

/// A suite's file, in a repository or in a pack.
fn cells(root: &Path, suite: &str) -> PathBuf {
    let file = format!("{suite}.toml");
    match root.join("benches/cells").join(&file) {
        path if path.is_file() => path,
        _ => root.join("cells").join(file),
    }
}

fn run_gpu(root: &Path, wanted: &Gpu) -> Result<ExitCode, Error> {
    let of_cells = wanted
        .suites
        .iter()
        .filter(|name| *name != holdout::PEER_SUITE);
    let suites: Result<Vec<_>, _> = of_cells
        .map(|name| Suite::read(&cells(root, name)))
        .collect();
    let suites = suites?;
    let out = wanted.out.clone();
    let out = out.unwrap_or_else(|| store::of_this_device(root));
    let options = gpu::Options {
        root: root.to_path_buf(),
        out: out.clone(),
        filter: wanted.filter.clone(),
        python: wanted.python.clone(),
        sampling: (&wanted.sampled).into(),
        resume: !wanted.fresh,
        limit: Duration::from_secs(wanted.limit),
    };
    let mut tally = gpu::run(&suites, &options)?;
    if suites.len() < wanted.suites.len() {
        let topk = gpu::TopK {
            root: root.to_path_buf(),
            out,
            plan: holdout_plan(wanted.quick)?,
            peers: peers_folder(root),
            python: wanted.python.clone(),
            tokens: wanted.tokens.clone().or_else(|| packed_rows(root)),
        };
        tally += topk.run()?;
    }
    println!(
        "{} measured, {} failed, {} not measured",
        tally.measured, tally.failed, tally.declined
    );
    Ok(ExitCode::from(tally.exit_code()))
}

/// The plan of the suite of held-out rows.
fn holdout_plan(quick: bool) -> Result<holdout::plan::Plan, Error> {
    holdout::plan::Plan::of(quick).map_err(bad_plan)
}

fn bad_plan(error: holdout::plan::BadPlan) -> Error {
    Error::Format {
        path: holdout::SUITE.into(),
        message: error.to_string(),
    }
}

/// The rows that came in a pack.
fn packed_rows(root: &Path) -> Option<PathBuf> {
    Some(root.join("tokens.npy")).filter(|path| path.is_file())
}

fn run_cpu(arguments: &Arguments) -> Result<ExitCode, Error> {
    let root = &arguments.root;
    let Command::Run {
        suites,
        filter,
        threads,
        seconds,
        max_samples,
        memory,
        seed,
        python,
        out,
        processes: wanted,
    } = &arguments.command
    else {
        return Ok(ExitCode::FAILURE);
    };
    let mut receipt = Receipt::of_this_run(&arguments.root)?;
    let mut options = Options {
        threads: threads.unwrap_or(receipt.processors),
        seconds: *seconds,
        max_samples: (*max_samples).max(1),
        memory_limit: memory.saturating_mul(1 << 30),
        seed: *seed,
        rates: Rates::default(),
    };
    for name in suites {
        if let Some(part) = rounds::Part::of(name) {
            let folder = out.clone().unwrap_or_else(|| root.join(store::RECORDS));
            let python = python.as_deref().filter(|_| part == rounds::Part::Rounds);
            run_rounds(root, wanted, (filter, part, python), &folder)?;
            continue;
        }
        if let Some(kept) = Kept::of(name) {
            let folder = out.clone().unwrap_or_else(|| root.join(store::RECORDS));
            run_holdout(root, wanted, (filter, kept), &folder)?;
            continue;
        }
        let suite = Suite::read(&cells(root, name))?;
        if suite.is_planned() && receipt.rates.is_none() {
            options.rates = measure_rates(options.threads)?;
            receipt.rates = Some(options.rates.clone());
        }
        let mut peers = start_peers(&suite, &peers_folder(root), python.as_deref());
        for peer in &peers {
            peer.sign(&mut receipt)?;
        }
        let records = runner::run(&suite, &options, filter, &mut peers, &receipt)?;
        for record in &records {
            println!("{}", report::line(record));
        }
        if filter.is_empty() {
            let folder = (out.clone()).unwrap_or_else(|| root.join("benches/records"));
            std::fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
            machine::put(&folder.join(format!("{}.jsonl", suite.suite)), &records)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the suite of rounds and writes its records into `out`, with a filter prints them alone.
fn run_rounds(
    root: &Path,
    wanted: &Processes,
    (filter, part, python): (&str, rounds::Part, Option<&Path>),
    out: &Path,
) -> Result<(), Error> {
    let mut plan = Plan::of(wanted.quick).map_err(|e| Error::Format {
        path: rounds::SUITE.into(),
        message: e.to_string(),
    })?;
    plan.peer_seconds = wanted.peer_seconds.unwrap_or(plan.peer_seconds);
    let (program, mut receipt) = program_and_receipt(root, wanted)?;
    let peer = match python {
        Some(python) => Some(rounds::peer::Peer::start(&peers_folder(root), python)?),
        None if part == rounds::Part::Rounds => {
            eprintln!("the peer {} does not run: no --python", rounds::peer::NAME);
            None
        }
        None => None,
    };
    if let Some(peer) = &peer {
        peer.sign(&mut receipt)?;
    }
    let options = rounds::Options {
        plan,
        part,
        program,
        peer,
        tokens: wanted.tokens.clone(),
        filter: filter.to_owned(),
    };
    let mut tell = |record: &_| println!("{}", rounds::line(record));
    let records = rounds::run(&options, &receipt, &mut tell)?;
    if filter.is_empty() {
        std::fs::create_dir_all(out).map_err(Error::file(out))?;
        rounds::record::put(&out.join(rounds::FILE), &records)?;
    }
    Ok(())
}

/// The command, and the receipt of a run of it.
fn program_and_receipt(root: &Path, wanted: &Processes) -> Result<(Program, Receipt), Error> {
    let program = Program::find(wanted.broadhead.as_deref())?;
    let mut receipt = Receipt::of_this_run(root)?;
    let version = program.version.clone();
    receipt.libraries.insert("broadhead".to_owned(), version);
    Ok((program, receipt))
}

/// Runs our side of the suite of held-out rows and writes its records into `out`, with a filter prints them
/// alone.
fn run_holdout(
    root: &Path,
    wanted: &Processes,
    (filter, kept): (&str, Kept),
    out: &Path,
) -> Result<(), Error> {
    let (program, receipt) = program_and_receipt(root, wanted)?;
    let plan = match wanted.quick {
        true => holdout::plan::Plan::of(true),
        false => kept.read(),
    };
    let options = holdout::Options {
        plan: plan.map_err(bad_plan)?,
        program,
        tokens: wanted.tokens.clone(),
        filter: filter.to_owned(),
    };
    let mut tell = |record: &_| println!("{}", holdout::line(record));
    let records = holdout::run(&options, &receipt, &mut tell)?;
    if filter.is_empty() {
        std::fs::create_dir_all(out).map_err(Error::file(out))?;
        holdout::record::put(&out.join(kept.file()), &records)?;
    }
    Ok(())
}

/// The rates of this machine with so many threads, measured now.
fn measure_rates(threads: usize) -> Result<Rates<HostCeilings>, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    let found = pool.install(measure_cpu)?;
    let text = serde_json::to_string(&found).map_err(|e| Error::Format {
        path: "the rates of this machine".into(),
        message: e.to_string(),
    })?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Rates {
        origin: RatesOrigin::Measured {
            taken: since.map_or(0, |since| since.as_secs()),
            digest: seal::digest(text.as_bytes()),
        },
        ceilings: found,
    })
}

/// The folder of the peers' scripts, in a repository or in a pack.
fn peers_folder(root: &Path) -> PathBuf {
    match root.join("benches/peers") {
        path if path.is_dir() => path,
        _ => root.join("peers"),
    }
}

/// The suite's peers. Where one cannot run, its cells are missing from the records and say nothing.
fn start_peers(suite: &Suite, folder: &Path, python: Option<&Path>) -> Vec<Peer> {
    let start = |name: &String| {
        let Some(python) = python else {
            eprintln!("the peer {name} does not run: no --python");
            return None;
        };
        match Peer::start(name, folder, python) {
            Ok(peer) => Some(peer),
            Err(error) => {
                eprintln!("{error}");
                None
            }
        }
    };
    suite.peers.iter().filter_map(start).collect()
}
