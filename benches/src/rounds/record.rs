//! Records of the suite: what one process came to, a sealed line each.
//!
//! ```text
//! {"schema":1,"run":{plan, case, shape, data, seed, what},"outcome":{...},"receipt":{...},"seal":"..."}
//! ```
//! The last line of a run holds the law of the sizes' rounds; it must be what their lines give.

use super::Part;
use super::curve::Curve;
use super::law::{Law, Shape};
use super::plan::Pulls;
use crate::error::Error;
use crate::machine::{self, Machine, OfMachine};
use crate::receipt::Receipt;
use crate::record::sealed::{self, Sealed};
use crate::record::{self, Refused};
use crate::summary::Summary;
use broadhead_gate::Decline;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The schema's number.
pub const SCHEMA: u32 = 1;

/// One process, and its receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was to be run.
    pub run: Run,
    /// What it came to.
    pub outcome: Outcome,
    /// How it was made.
    pub receipt: Receipt,
}

/// What was to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The plan's name.
    pub plan: String,
    /// The case's name, or the size in words.
    pub case: String,
    /// Sizes.
    pub shape: Shape,
    /// The rows: `tokens` or `made`, and the SHA-256 of their file; absent of a law.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// The seed.
    pub seed: u64,
    /// Which side, and why.
    pub what: What,
}

/// Rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `tokens` or `made`.
    pub name: String,
    /// The digest of the file.
    pub sha256: String,
}

/// Which side, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Our fit, as a user runs it, for its explained variance.
    Fit {
        /// Its limit.
        seconds: f64,
    },
    /// Our fit from one start, for its rounds.
    Rounds {
        /// The precision of the pulls.
        pulls: Pulls,
    },
    /// The same of one of the sizes.
    Size,
    /// Our fit with other options.
    Variant {
        /// The variant's name.
        name: String,
        /// Its limit.
        seconds: f64,
    },
    /// Our fit without a limit of time, in memory or with so much of it.
    Stream {
        /// The word of `--memory`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<String>,
    },
    /// The peer.
    Peer {
        /// Its precision.
        precision: Pulls,
        /// Seconds of its rounds.
        seconds: f64,
    },
    /// The law of the sizes' rounds.
    Law,
}

impl What {
    /// The part of the plan that it belongs to.
    pub fn part(&self) -> Part {
        match self {
            Self::Stream { .. } => Part::Streams,
            _ => Part::Rounds,
        }
    }
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Fitted(Fitted),
    /// The law, and each size's measured and fitted seconds.
    Law(Fit),
    /// It did not run, or failed.
    Declined(Decline),
}

/// A process that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// Seconds of the process, from before its start to after its end.
    pub wall: f64,
    /// Of the final model; the best of the peer's.
    pub explained_variance: f64,
    /// Whether it converged; the peer does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged: Option<bool>,
    /// Explained variance by seconds, thinned: of the peer from its first round on, of ours from the
    /// start of the process, by the objective after each round.
    pub curve: Curve,
    /// Seconds of every round, in order: the peer's, and of ours those that explore all rows.
    pub rounds: Vec<f64>,
    /// The most bytes that our process had resident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// The digest of all files that a fit writes but its summary, where they are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
}

impl Fitted {
    /// The median of a round, in seconds.
    pub fn round(&self) -> Option<f64> {
        Summary::of(&self.rounds).map(|summary| summary.median)
    }
}

/// The law with what it was fitted to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// The rates.
    pub law: Law,
    /// Each size.
    pub sizes: Vec<SizeFound>,
}

/// A size's round beside the law's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeFound {
    /// The size.
    pub shape: Shape,
    /// Seconds, the median.
    pub measured: f64,
    /// Seconds by the law.
    pub fitted: f64,
    /// Measured over fitted.
    pub ratio: f64,
}

impl Fit {
    /// Of the sizes among these records.
    ///
    /// # Errors
    /// A size without a round, or [`super::law::NoLaw`].
    pub fn of(records: &[Record]) -> Result<Self, Decline> {
        let failed = |error: String| Decline::Failed { error };
        let mut measured = Vec::new();
        for record in records.iter().filter(|r| r.run.what == What::Size) {
            let Outcome::Fitted(fitted) = &record.outcome else {
                return Err(failed(format!("{} was not measured", record.run.case)));
            };
            let round = fitted.round();
            let round = round.ok_or_else(|| failed(format!("{} has no round", record.run.case)))?;
            measured.push((record.run.shape, round));
        }
        let law = Law::fit(&measured).map_err(|e| failed(e.to_string()))?;
        let size = |(shape, measured): (Shape, f64)| {
            let fitted = law.seconds(&shape);
            SizeFound {
                shape,
                measured,
                fitted,
                ratio: measured / fitted,
            }
        };
        Ok(Self {
            law,
            sizes: measured.into_iter().map(size).collect(),
        })
    }
}

impl OfMachine for Record {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

impl Sealed for Record {
    const SCHEMA: u32 = SCHEMA;

    fn plan(&self) -> &str {
        &self.run.plan
    }

    fn check(&self) -> Result<(), Refused> {
        Self::check(self)
    }

    fn refused(what: String) -> Refused {
        Refused::Rounds { what }
    }
}

impl Record {
    /// Whether it contradicts itself.
    ///
    /// # Errors
    /// How.
    pub fn check(&self) -> Result<(), Refused> {
        self.receipt.check()?;
        let wrong = |what: String| Err(Refused::Rounds { what });
        match (&self.outcome, &self.run.what) {
            (Outcome::Declined(_), _) => Ok(()),
            (Outcome::Law(_), What::Law) => Ok(()),
            (Outcome::Law(_), _) | (Outcome::Fitted(_), What::Law) => {
                wrong("has the outcome of another".to_owned())
            }
            (Outcome::Fitted(fitted), what) => {
                let times = fitted.rounds.iter().chain([&fitted.wall]);
                if let Some(&sample) = times.clone().find(|s| !(s.is_finite() && **s > 0.0)) {
                    return Err(Refused::Sample { sample });
                }
                let explained = fitted.explained_variance;
                if !explained.is_finite() || explained > 1.0 {
                    return wrong(format!("explains {explained}"));
                }
                if let (What::Peer { .. }, Some((_, best))) = (what, fitted.curve.best())
                    && best != explained
                {
                    return wrong(format!("explains {explained} and at its best {best}"));
                }
                match self.run.data {
                    Some(_) => Ok(()),
                    None => wrong("does not say what its rows were".to_owned()),
                }
            }
        }
    }
}

/// Reads records, refusing what is not one, and a law that its sizes do not give.
///
/// # Errors
/// The file cannot be read, or a line is refused.
pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
    let records: Vec<Record> = sealed::read_lines(path, sealed::parse)?;
    for (number, record) in records.iter().enumerate() {
        let Outcome::Law(law) = &record.outcome else {
            continue;
        };
        let machine = Machine::of(&record.receipt);
        let own = records
            .iter()
            .filter(|r| Machine::of(&r.receipt) == machine);
        let own: Vec<Record> = own.cloned().collect();
        if Fit::of(&own).as_ref().is_ok_and(|found| found.is_near(law)) {
            continue;
        }
        let what = "is a law that its sizes do not give".to_owned();
        return Err(Error::Refused {
            path: path.to_path_buf(),
            line: number + 1,
            refused: Refused::Rounds { what },
        });
    }
    Ok(records)
}

impl Fit {
    /// Whether another is the same to what compilers may round differently.
    fn is_near(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
        let (own, others) = (self.sizes.iter(), other.sizes.iter());
        self.sizes.len() == other.sizes.len()
            && own.zip(others).all(|(a, b)| {
                a.shape == b.shape
                    && near(a.measured, b.measured)
                    && near(a.fitted, b.fitted)
                    && near(a.ratio, b.ratio)
            })
    }
}

/// Writes `new` in the place of what the file at `path` has of the same machines and of the same part of the plan.
///
/// # Errors
/// The file is there and holds what is no record, or cannot be written.
pub fn put(path: &Path, new: &[Record]) -> Result<(), Error> {
    let known = match path.is_file() {
        true => read(path)?,
        false => Vec::new(),
    };
    let (same, other): (Vec<Record>, Vec<Record>) = (known.into_iter()).partition(|record| {
        new.iter()
            .any(|new| new.run.what.part() == record.run.what.part())
    });
    let mut records = machine::replaced(same, new);
    records.extend(other);
    records.sort_by_key(|record| (Machine::of(&record.receipt), record.run.what.part()));
    record::write_lines(path, records.iter().map(sealed::line))
}
