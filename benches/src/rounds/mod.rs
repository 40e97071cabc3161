//! The suite `rounds`: fits in which rows choose their atoms, as whole processes, beside a peer.
//!
//! ```text
//! plans/rounds*.toml    the plan: cases, limits, seeds, sizes, what is asked          [plan]
//!      | ours           `broadhead fit` with a limit, start-up included               [ours]
//!      | numpy          what a researcher writes in an afternoon, after each of ours  [peer]
//! records/rounds.jsonl  explained variance by seconds, rounds by time, a line a process [record]
//!      | report         the time to equal explained variance [curve], one law of sizes [law]
//! docs/src/generated/rounds.md
//! ```
//! A cell of the other suites is work that both sides do alike, and is timed. Here the two sides do
//! different work towards one end, so what is recorded is how far each has come after how long.

pub mod curve;
pub mod law;
pub mod ours;
pub mod peer;
pub mod plan;
pub mod record;
pub(crate) mod rows;

use crate::error::Error;
use crate::receipt::Receipt;
use law::Shape;
use ours::{Asked, Program};
use peer::Peer;
use plan::{Case, Plan, Pulls, Source};
use record::{Fit, Fitted, Outcome, Record, Run, SCHEMA, What};
use rows::Rows;
use std::path::{Path, PathBuf};

/// The suite's name, and that of its file of records.
pub const SUITE: &str = "rounds";

/// The name of its file of records.
pub const FILE: &str = "rounds.jsonl";

/// What a run of the plan is about. Either is recorded without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Cases, rounds, variants and sizes.
    Rounds,
    /// Rows that are larger than the memory given.
    Streams,
}

impl Part {
    /// That of a suite's name.
    pub fn of(suite: &str) -> Option<Self> {
        match suite {
            SUITE => Some(Self::Rounds),
            "streams" => Some(Self::Streams),
            _ => None,
        }
    }
}

/// What runs.
#[derive(Debug)]
pub struct Options {
    /// What is asked.
    pub plan: Plan,
    /// Which part of it.
    pub part: Part,
    /// The command.
    pub program: Program,
    /// The peer, where there is one.
    pub peer: Option<Peer>,
    /// The rows of the cases that are given theirs.
    pub tokens: Option<PathBuf>,
    /// Runs the cases and sizes whose name contains this alone.
    pub filter: String,
}

/// Runs a plan; `tell` hears of every record as it is there.
///
/// # Errors
/// Rows are missing or cannot be written. A process that fails is a record.
pub fn run(
    options: &Options,
    receipt: &Receipt,
    tell: &mut dyn FnMut(&Record),
) -> Result<Vec<Record>, Error> {
    let folder = tempfile::tempdir().map_err(Error::file("a temporary folder"))?;
    let mut suite = Running {
        options,
        receipt,
        folder: folder.path(),
        records: Vec::new(),
        tell,
    };
    match options.part {
        Part::Rounds => {
            suite.fits()?;
            suite.rounds()?;
            suite.variants()?;
            suite.sizes()?;
        }
        Part::Streams => suite.streams()?,
    }
    Ok(suite.records)
}

struct Running<'a> {
    options: &'a Options,
    receipt: &'a Receipt,
    folder: &'a Path,
    records: Vec<Record>,
    tell: &'a mut dyn FnMut(&Record),
}

impl Running<'_> {
    /// Every seed of every case: ours by limit, then the peer by precision, so that both sides meet the
    /// same hours of the machine.
    fn fits(&mut self) -> Result<(), Error> {
        let plan = &self.options.plan;
        for &seed in &plan.seeds {
            for case in &plan.cases {
                if !self.wants(&case.name) {
                    continue;
                }
                let (rows, shape) = self.rows_of(case)?;
                let run = |what| rows.run(plan, (&case.name, shape), seed, what);
                for &seconds in &case.seconds {
                    let fitted = self.ours(&rows, shape, (seed, seconds), (Pulls::Auto, &[]));
                    self.push(run(What::Fit { seconds }), fitted);
                }
                let Some(peer) = &self.options.peer else {
                    continue;
                };
                let seconds = plan.peer_seconds;
                for precision in [Pulls::Fp32, Pulls::Fp64] {
                    let fitted = peer.run(&rows.path, shape, seed, (precision, seconds));
                    self.push(
                        run(What::Peer { precision, seconds }),
                        fitted.map(Outcome::Fitted),
                    );
                }
            }
        }
        Ok(())
    }

    /// Rounds of every case by precision, of one start: several starts would be finished side by side.
    fn rounds(&mut self) -> Result<(), Error> {
        let plan = &self.options.plan;
        for &seed in &plan.round_seeds {
            for case in &plan.cases {
                if !self.wants(&case.name) {
                    continue;
                }
                let (rows, shape) = self.rows_of(case)?;
                for pulls in [Pulls::Fp32, Pulls::Fp64] {
                    let limit = (seed, plan.round_seconds);
                    let fitted = self.ours(&rows, shape, limit, (pulls, &one_start()));
                    let what = What::Rounds { pulls };
                    self.push(rows.run(plan, (&case.name, shape), seed, what), fitted);
                }
            }
        }
        Ok(())
    }

    /// Fits that leave a part out.
    fn variants(&mut self) -> Result<(), Error> {
        let plan = &self.options.plan;
        for &seed in &plan.round_seeds {
            for variant in &plan.variants {
                let case = plan.case(&variant.case);
                let Some(case) = case.filter(|case| self.wants(&case.name)) else {
                    continue;
                };
                let (rows, shape) = self.rows_of(case)?;
                let (name, seconds) = (variant.name.clone(), variant.seconds);
                let more = (Pulls::Auto, &variant.options[..]);
                let fitted = self.ours(&rows, shape, (seed, seconds), more);
                let what = What::Variant { name, seconds };
                self.push(rows.run(plan, (&case.name, shape), seed, what), fitted);
            }
        }
        Ok(())
    }

    /// Rows in memory, and with less memory than they take.
    fn streams(&mut self) -> Result<(), Error> {
        let plan = &self.options.plan;
        for stream in &plan.streams {
            let rows = self.rows(stream.data, stream.atoms, stream.top)?;
            let shape = rows.shape(stream.atoms, stream.top);
            if !self.wants(&shape.to_string()) {
                continue;
            }
            for memory in [None, Some(stream.memory.clone())] {
                let mut options = stream.options.clone();
                if let Some(memory) = &memory {
                    options.extend(["--memory".to_owned(), memory.clone()]);
                }
                let asked = Asked {
                    rows: &rows.path,
                    shape,
                    seed: 0,
                    seconds: None,
                    pulls: Pulls::Auto,
                    options: &options,
                    compared: true,
                };
                // A folder of its own: what the other fit wrote is not this one's.
                let own = tempfile::tempdir_in(self.folder).map_err(Error::file(self.folder))?;
                let fitted = self.options.program.run(asked, own.path());
                let what = What::Stream { memory };
                let run = rows.run(plan, (&shape.to_string(), shape), 0, what);
                self.push(run, fitted.map(Outcome::Fitted));
            }
        }
        Ok(())
    }

    /// Rounds of every size, and the law of them all.
    fn sizes(&mut self) -> Result<(), Error> {
        let plan = &self.options.plan;
        let mut last = None;
        for size in &plan.sizes {
            let rows = self.rows(size.data, size.atoms, size.top)?;
            let shape = rows.shape(size.atoms, size.top);
            if !self.wants(&shape.to_string()) {
                continue;
            }
            let run = |what| rows.run(plan, (&shape.to_string(), shape), 0, what);
            let more = (Pulls::Auto, &one_start()[..]);
            let fitted = self.ours(&rows, shape, (0, size.seconds), more);
            self.push(run(What::Size), fitted);
            last = Some(run(What::Law));
        }
        if let Some(mut run) = last {
            (run.case, run.data) = ("all sizes".to_owned(), None);
            let law = Fit::of(&self.records).map(Outcome::Law);
            self.push(run, law);
        }
        Ok(())
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.options.filter)
    }

    /// A case's rows and sizes.
    fn rows_of(&self, case: &Case) -> Result<(Rows, Shape), Error> {
        let rows = self.rows(case.data, case.atoms, case.top)?;
        let shape = rows.shape(case.atoms, case.top);
        Ok((rows, shape.with_amplitudes(case.fitted)))
    }

    fn rows(&self, data: Source, atoms: usize, top: usize) -> Result<Rows, Error> {
        Rows::of(
            (data, atoms, top),
            self.options.tokens.as_deref(),
            self.folder,
        )
    }

    fn ours(
        &self,
        rows: &Rows,
        shape: Shape,
        (seed, seconds): (u64, f64),
        (pulls, options): (Pulls, &[String]),
    ) -> Result<Outcome, broadhead_gate::Decline> {
        let asked = Asked {
            rows: &rows.path,
            shape,
            seed,
            seconds: Some(seconds),
            pulls,
            options,
            compared: false,
        };
        let fitted = self.options.program.run(asked, &self.folder.join("fit"));
        fitted.map(Outcome::Fitted)
    }

    fn push(&mut self, run: Run, outcome: Result<Outcome, broadhead_gate::Decline>) {
        let record = Record {
            schema: SCHEMA,
            run,
            outcome: outcome.unwrap_or_else(Outcome::Declined),
            receipt: self.receipt.clone(),
        };
        (self.tell)(&record);
        self.records.push(record);
    }
}

/// The words for one start: several would be finished side by side.
fn one_start() -> [String; 2] {
    ["--starts".to_owned(), "1".to_owned()]
}

impl Rows {
    /// What is to be run on them.
    fn run(&self, plan: &Plan, (case, shape): (&str, Shape), seed: u64, what: What) -> Run {
        Run {
            plan: plan.name.clone(),
            case: case.to_owned(),
            shape,
            data: Some(self.data.clone()),
            seed,
            what,
        }
    }

    fn shape(&self, atoms: usize, top: usize) -> Shape {
        Shape {
            rows: self.rows,
            columns: self.columns,
            atoms,
            top,
            fitted: false,
        }
    }
}

/// One record for a person.
pub fn line(record: &Record) -> String {
    let Run {
        case, seed, what, ..
    } = &record.run;
    let side = match what {
        What::Fit { seconds } => format!("fit in {seconds} s"),
        What::Rounds { pulls } => format!("rounds, {}", pulls.word()),
        What::Size => "rounds".to_owned(),
        What::Variant { name, seconds } => format!("{name} in {seconds} s"),
        What::Stream { memory: None } => "in memory".to_owned(),
        What::Stream { memory: Some(word) } => format!("with {word}"),
        What::Peer { precision, .. } => format!("{}, {}", peer::NAME, precision.word()),
        What::Law => "law".to_owned(),
    };
    let head = format!("{case:36} {side:16} seed {seed}");
    match &record.outcome {
        Outcome::Declined(reason) => format!("{head} declined: {reason}"),
        Outcome::Law(fit) => {
            let far = |ratio: f64| ratio.max(1.0 / ratio);
            let worst = fit.sizes.iter().map(|size| far(size.ratio));
            let worst = worst.fold(1.0, f64::max);
            format!("{head} {:?}, {worst:.2} off at most", fit.law)
        }
        Outcome::Fitted(fitted) => format!("{head} {}", words(fitted)),
    }
}

fn words(fitted: &Fitted) -> String {
    let round = fitted.round().map(|seconds| {
        format!(
            "{:8.2} ms a round of {}",
            1e3 * seconds,
            fitted.rounds.len()
        )
    });
    let converged = match fitted.converged {
        Some(true) => ", converged",
        Some(false) => ", not converged",
        None => "",
    };
    format!(
        "{:8.3} s, explained variance {:.5}, {}{converged}",
        fitted.wall,
        fitted.explained_variance,
        round.unwrap_or_else(|| "no exploring round".to_owned()),
    )
}
