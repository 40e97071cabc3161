//! Cells on a device: one process a cell, peers before and after, every sample kept.
//!
//! ```text
//!   parent  probe -> peers "before" -> cell, cell, cell, ... -> peers "after" -> table, verdicts
//!   child   operands -> check against the CPU -> samples of each phase -> a pass with the witness
//! ```
//! A process of the parent's own program does one cell (a case and a contender) and writes a record
//! a line; one that dies or outlasts its time leaves declined cells and the next begins on a clean
//! device. The file of records is written anew after every cell, so that a run that was cut short
//! goes on where it ended, on the same machine.
//!
//! Without a device every cell is listed as not measured, with the reason, and nothing is written.

mod arrow;
mod ceilings;
mod cell;
mod clock;
mod job;
mod peer;
mod structured;
mod topk;

pub use cell::{Wanted, run_cell};
pub use peer::run_window;
pub use topk::TopK;

use crate::cell::Suite;
use crate::error::Error;
use crate::receipt::{DeviceReceipt, Receipt, this_program};
use crate::record::{self, Against, CellId, Outcome, Record, SCHEMA, Window};
use crate::report;
use broadhead_device::{probe, seal};
use broadhead_gate::Decline;
use job::{Child, Job};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The repository or the pack.
    pub root: PathBuf,
    /// Where records go: `SUITE.jsonl` in this folder.
    pub out: PathBuf,
    /// Runs jobs whose name contains this alone; all where it is empty.
    pub filter: String,
    /// An interpreter with the peers' libraries; without it peers do not run.
    pub python: Option<PathBuf>,
    /// Sampling.
    pub sampling: Sampling,
    /// Keeps records that are in `out` already, of this program on this machine since it started.
    pub resume: bool,
    /// The longest that one cell may take.
    pub limit: Duration,
}

/// How many samples.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Seconds of one phase, about.
    pub seconds: f64,
    /// The most samples of a phase.
    pub max_samples: usize,
    /// Seed of the operands.
    pub seed: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cells measured.
    pub measured: usize,
    /// Cells that failed or whose check failed.
    pub failed: usize,
    /// Cells declined for any other reason.
    pub declined: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.measured += other.measured;
        self.failed += other.failed;
        self.declined += other.declined;
    }
}

impl Tally {
    /// 0 where every cell was measured, 1 where one failed, 3 where one is undetermined.
    pub fn exit_code(self) -> u8 {
        match (self.failed, self.declined, self.measured) {
            (1.., ..) => 1,
            (0, 0, 1..) => 0,
            _ => 3,
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Measured(_) => self.measured += 1,
            Outcome::Ceiling(found) if found.ceiling.value().is_some() => self.measured += 1,
            Outcome::Declined(Decline::Failed { .. } | Decline::ParityFailed { .. }) => {
                self.failed += 1;
            }
            Outcome::Ceiling(_) | Outcome::Declined(_) => self.declined += 1,
        }
    }
}

/// Runs `suites` and prints a line for every cell and for every requirement to standard output.
///
/// # Errors
/// A suite or a file cannot be read or written. What goes wrong in a cell is in its record.
#[expect(clippy::print_stdout, reason = "what a command prints is its result")]
pub fn run(suites: &[Suite], options: &Options) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    if let Err(absence) = probe::cuda() {
        let reason = Decline::from(absence).to_string();
        // Without the list of names tried.
        let reason = reason.split(" (tried").next().unwrap_or(&reason);
        for job in suites
            .iter()
            .flat_map(job::all)
            .filter(|j| options.wants(j))
        {
            println!("not measured: {}: {job}: {reason}", job.suite);
            tally.declined += 1;
        }
        return Ok(tally);
    }
    let begin = Instant::now();
    std::fs::create_dir_all(&options.out).map_err(Error::file(&options.out))?;
    let run = run_id(&options.out, options.resume)?;
    for suite in suites {
        let records = Suited::new(suite, options, &run)?.run()?;
        for record in &records {
            println!("{}", report::line(record));
            tally.add(&record.outcome);
        }
        for line in report::judge(suite, &records) {
            println!("{line}");
        }
    }
    if !suites.is_empty() {
        println!("{:.0} s in all", begin.elapsed().as_secs_f64());
    }
    Ok(tally)
}

impl Options {
    fn wants(&self, job: &Job<'_>) -> bool {
        job.to_string().contains(&self.filter)
    }
}

/// The run's identity: kept in `out` with `resume`, and new where the machine or the program is another.
fn run_id(out: &Path, resume: bool) -> Result<String, Error> {
    let path = out.join("run.txt");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stands_on = format!("{} {}", boot.trim(), this_program()?);
    if resume
        && let Ok(text) = std::fs::read_to_string(&path)
        && let Some((id, there)) = text.trim().split_once('\n')
        && there == stands_on
    {
        return Ok(id.to_owned());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |elapsed| elapsed.as_nanos());
    let id = seal::digest(format!("{now} {stands_on}").as_bytes())[..16].to_owned();
    std::fs::write(&path, format!("{id}\n{stands_on}\n")).map_err(Error::file(&path))?;
    Ok(id)
}

/// One suite under way.
struct Suited<'s> {
    suite: &'s Suite,
    options: &'s Options,
    receipt: Receipt,
    run: String,
    path: PathBuf,
    records: Vec<Record>,
}

impl<'s> Suited<'s> {
    fn new(suite: &'s Suite, options: &'s Options, run: &str) -> Result<Self, Error> {
        let mut receipt = Receipt::of_this_run(&options.root)?;
        receipt.read_device_libraries();
        receipt.device = probe::report().devices.first().map(|info| DeviceReceipt {
            info: info.clone(),
            run: run.to_owned(),
            binary: String::new(),
            before: None,
            after: None,
        });
        if let Some(device) = &mut receipt.device {
            device.binary = this_program()?;
        }
        let path = options.out.join(format!("{}.jsonl", suite.suite));
        let mut suited = Self {
            suite,
            options,
            receipt,
            run: run.to_owned(),
            records: Vec::new(),
            path,
        };
        if options.resume && suited.path.is_file() {
            suited.records = record::read(&suited.path)?;
            suited
                .records
                .retain(|r| suited.receipt.is_of_run(&r.receipt));
        }
        Ok(suited)
    }

    fn run(mut self) -> Result<Vec<Record>, Error> {
        self.window(Window::Before)?;
        for job in job::all(self.suite).filter(|job| self.options.wants(job)) {
            if job.is_done(&self.records) {
                eprintln!("{job}: there already");
                continue;
            }
            eprintln!("{job}");
            let mut child = Child::cell(self.options, &job, &self.run)?;
            if let Some(value) = job.known_log_determinant(&self.records) {
                child.against(value);
            }
            let (lines, end) = child.run(self.options.limit)?;
            let found = self.found(&lines);
            let missing = job.missing(&found);
            self.records.retain(|r| !job.has(&r.cell));
            self.records.extend(found);
            let reason = Decline::Failed { error: end };
            for cell in missing {
                self.decline(cell, reason.clone());
            }
            record::write(&self.path, &self.records)?;
        }
        self.window(Window::After)?;
        self.compare_peer();
        record::write(&self.path, &self.records)?;
        Ok(self.records)
    }

    /// The peer's column, before or after our cells.
    fn window(&mut self, window: Window) -> Result<(), Error> {
        let (Some(name), Some(_)) = (self.suite.peers.first(), &self.options.python) else {
            return Ok(());
        };
        let there = |r: &Record| r.cell.window == Some(window);
        if self.records.iter().any(there) {
            return Ok(());
        }
        eprintln!("{name}, {window:?}");
        let (lines, end) =
            Child::peer(self.options, self.suite, window, &self.run)?.run(self.options.limit)?;
        let found = self.found(&lines);
        if found.is_empty() {
            eprintln!("{name}: {end}");
        }
        self.records.extend(found);
        record::write(&self.path, &self.records)
    }

    /// A peer whose log-determinant is not that of the CPU had other operands, or was wrong.
    fn compare_peer(&mut self) {
        let cpu: Vec<(String, Against)> = self
            .records
            .iter()
            .filter_map(|r| match &r.outcome {
                Outcome::Measured(m) => Some((r.cell.name.clone(), m.parity.against.clone()?)),
                _ => None,
            })
            .collect();
        for record in self.records.iter_mut().filter(|r| r.cell.window.is_some()) {
            let Outcome::Measured(measured) = &mut record.outcome else {
                continue;
            };
            let of_case = cpu.iter().find(|(name, _)| *name == record.cell.name);
            let (Some((_, against)), Some(own)) = (of_case, measured.parity.log_determinant) else {
                continue;
            };
            let error = (own - against.log_determinant).abs();
            if error <= against.bound {
                measured.parity.against = Some(against.clone());
            } else {
                let bound = against.bound;
                record.outcome = Outcome::Declined(Decline::ParityFailed { error, bound });
            }
        }
    }

    /// The child's lines as records; a line that is none is the child's fault, and is said.
    fn found(&self, lines: &[String]) -> Vec<Record> {
        let parsed = lines.iter().filter_map(|line| match record::parse(line) {
            Ok(record) => Some(record),
            Err(refused) => {
                eprintln!("{refused}: {line}");
                None
            }
        });
        parsed.collect()
    }

    fn decline(&mut self, cell: CellId, reason: Decline) {
        eprintln!("{}: {reason}", cell.phase);
        self.records.push(Record {
            schema: SCHEMA,
            cell,
            outcome: Outcome::Declined(reason),
            receipt: self.receipt.clone(),
        });
    }
}
