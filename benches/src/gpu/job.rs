//! Jobs: what one process does, and the process.

use super::Options;
use crate::cell::{Case, Phase, Place, Suite};
use crate::error::Error;
use crate::record::{CellId, Outcome, Record, Window};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One case by one contender: the work of one process.
#[derive(Clone, Debug)]
pub(super) struct Job<'s> {
    pub(super) suite: &'s str,
    pub(super) case: &'s Case,
    pub(super) contender: &'s str,
    pub(super) phases: &'s [Phase],
}

/// Every job of a suite, in order.
pub(super) fn all(suite: &Suite) -> impl Iterator<Item = Job<'_>> {
    suite.cells.iter().flat_map(move |case| {
        suite.contenders(case).iter().map(move |contender| Job {
            suite: &suite.suite,
            case,
            contender,
            phases: suite.phases(case),
        })
    })
}

impl std::fmt::Display for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", self.case.name, self.contender)
    }
}

impl Job<'_> {
    /// Whether a record's cell is of this job.
    pub(super) fn has(&self, cell: &CellId) -> bool {
        cell.window.is_none()
            && (cell.name == self.case.name
                || cell.name.starts_with(&format!("{}: ", self.case.name)))
            && cell.shape == self.case.shape
            && cell.elimination == self.contender
    }

    /// The cell of one phase.
    pub(super) fn cell(&self, phase: Phase, seed: u64) -> CellId {
        CellId {
            suite: self.suite.to_owned(),
            place: Place::Device,
            name: self.case.name.clone(),
            case: self.case.case,
            shape: self.case.shape,
            seed,
            log_determinant: self.case.log_determinant,
            elimination: self.contender.to_owned(),
            phase,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            window: None,
        }
    }

    /// Whether every phase has an outcome that another run would not change.
    pub(super) fn is_done(&self, records: &[Record]) -> bool {
        let settled = |phase: &Phase| {
            let mut of_phase = records
                .iter()
                .filter(|r| self.has(&r.cell) && r.cell.phase == *phase)
                .peekable();
            of_phase.peek().is_some()
                && of_phase.all(|r| !matches!(r.outcome, Outcome::Declined(_)))
        };
        self.phases.iter().all(settled)
    }

    /// The cells of the phases that `found` lacks.
    pub(super) fn missing(&self, found: &[Record]) -> Vec<CellId> {
        let lacks = |phase: &&Phase| !found.iter().any(|r| r.cell.phase == **phase);
        let seed = found.first().map_or(0, |r| r.cell.seed);
        let phases = self.phases.iter().filter(lacks);
        phases.map(|phase| self.cell(*phase, seed)).collect()
    }

    /// The log-determinant that another contender's check found on the CPU.
    pub(super) fn known_log_determinant(&self, records: &[Record]) -> Option<f64> {
        let same = records
            .iter()
            .filter(|r| r.cell.name == self.case.name && r.cell.shape == self.case.shape);
        same.filter_map(|r| match &r.outcome {
            Outcome::Measured(measured) => measured.parity.against.as_ref(),
            _ => None,
        })
        .find(|against| against.source == super::cell::CPU)
        .map(|against| against.log_determinant)
    }
}

/// A process of this program that writes records, a line each.
#[derive(Debug)]
pub(super) struct Child(Command);

impl Child {
    /// One that does `job`.
    pub(super) fn cell(options: &Options, job: &Job<'_>, run: &str) -> Result<Self, Error> {
        let mut child = Self::new(options, "gpu-cell", job.suite, run)?;
        child
            .0
            .args(["--case", &job.case.name])
            .args(["--contender", job.contender]);
        Ok(child)
    }

    /// One that times the peer.
    pub(super) fn peer(
        options: &Options,
        suite: &Suite,
        window: Window,
        run: &str,
    ) -> Result<Self, Error> {
        let mut child = Self::new(options, "gpu-peer", &suite.suite, run)?;
        if window == Window::After {
            child.0.arg("--after");
        }
        if let Some(python) = &options.python {
            child.0.arg("--python").arg(python);
        }
        if !options.filter.is_empty() {
            child.0.args(["--filter", &options.filter]);
        }
        Ok(child)
    }

    fn new(options: &Options, verb: &str, suite: &str, run: &str) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::file("this program"))?;
        let mut command = Command::new(program);
        let sampling = options.sampling;
        command
            .arg("--root")
            .arg(&options.root)
            .arg(verb)
            .args(["--suite", suite, "--run", run])
            .args(["--seconds", &sampling.seconds.to_string()])
            .args(["--max-samples", &sampling.max_samples.to_string()])
            .args(["--seed", &sampling.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Ok(Self(command))
    }

    /// A process whose output is piped and whose input is none.
    pub(super) fn of(command: Command) -> Self {
        Self(command)
    }

    /// Gives it the CPU's log-determinant, so that it need not factor there again.
    pub(super) fn against(&mut self, log_determinant: f64) {
        self.0.arg(format!("--known={log_determinant:e}"));
    }

    /// Its lines, and how it ended, in words.
    pub(super) fn run(mut self, limit: Duration) -> Result<(Vec<String>, String), Error> {
        let mut child = self.0.spawn().map_err(Error::file("a cell's process"))?;
        let output = child.stdout.take();
        let reader = std::thread::spawn(move || {
            let lines = output.map(|output| BufReader::new(output).lines());
            lines.into_iter().flatten().map_while(Result::ok).collect()
        });
        let begin = Instant::now();
        let end = loop {
            match child.try_wait().map_err(Error::file("a cell's process"))? {
                Some(status) => break format!("the cell's process ended with {status}"),
                None if begin.elapsed() > limit => {
                    child.kill().map_err(Error::file("a cell's process"))?;
                    child.wait().map_err(Error::file("a cell's process"))?;
                    break format!("the cell took more than {} s", limit.as_secs());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        // A reader that panicked has read nothing.
        Ok((reader.join().unwrap_or_default(), end))
    }
}
