//! Records: what a cell came to.
//!
//! One JSON object a line, sealed: the last field is a digest of the bytes before it ([`seal`]). The
//! schema serves the host and devices alike: a host's record has no `device` in its receipt, and no
//! field changes its meaning between the two. Why a cell was declined is said in the gate's words
//! ([`Decline`]); why a line is no record, in [`Refused`].
//!
//! Lines of schema 1 are read where they are a host's: those have no seal, their clock was the
//! host's and a sample was one unit of work. Whoever reads them can see it ([`Record::schema`]).

mod refused;
pub mod sealed;

pub use refused::Refused;

use crate::cell::{CaseKind, Phase, Place, ShapeFields};
use crate::error::Error;
use crate::receipt::Receipt;
use broadhead_device::measure::Ceiling;
use broadhead_device::witness::{Activity, Agreement};
use broadhead_device::{ExecutionPath, LedgerSnapshot, seal};
use broadhead_gate::{Decline, DeviceEvidence};
use broadhead_schur::device::FrameSummary;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The schema's number; readers refuse others, but for [`UNSEALED_SCHEMA`].
pub const SCHEMA: u32 = 2;

/// The schema of records of the host that have no seal.
pub const UNSEALED_SCHEMA: u32 = 1;

/// One cell's outcome and its receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What was to be measured.
    pub cell: CellId,
    /// What it came to.
    pub outcome: Outcome,
    /// How it was made.
    pub receipt: Receipt,
}

/// A cell, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellId {
    /// The suite.
    pub suite: String,
    /// Where its work was to run.
    #[serde(default)]
    pub place: Place,
    /// A few words.
    pub name: String,
    /// The generator.
    pub case: CaseKind,
    /// Its sizes.
    pub shape: ShapeFields,
    /// Seed of the operands.
    pub seed: u64,
    /// Whether a log-determinant was asked for.
    pub log_determinant: bool,
    /// The contender: an elimination (`auto`, or by name; on a device with what its frames keep), or
    /// the peer.
    pub elimination: String,
    /// The phase.
    pub phase: Phase,
    /// Threads of this cell's work on the host.
    pub threads: usize,
    /// Of a peer that ran apart from us: before or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// When a peer ran that does not take turns with us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Before all of our cells.
    Before,
    /// After all of them.
    After,
}

/// Measured with every sample, or declined with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "most are measured")]
pub enum Outcome {
    /// It ran, after its check.
    Measured(Measured),
    /// A ceiling of the device, with both windows; refused where they differ.
    Ceiling(CeilingFound),
    /// It did not run, or its check failed: nothing is known of its speed.
    Declined(Decline),
}

/// A ceiling by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CeilingFound {
    /// Its name, as [`broadhead_device::measure::DeviceCeilings::named`] has it.
    pub what: String,
    /// Bytes touched over and over; absent where the ceiling does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set_bytes: Option<u64>,
    /// Value, medians and every sample of each window.
    pub ceiling: Ceiling,
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Every sample, in seconds, in the order taken.
    pub samples: Vec<f64>,
    /// Whose clock.
    #[serde(default)]
    pub timer: Timer,
    /// Units of work in one sample.
    #[serde(default = "one")]
    pub units: u32,
    /// Seconds of rest before each sample: what the device needed to stay below its power cap.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rest: f64,
    /// What the device's L2 held when a sample began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<L2>,
    /// Bytes of device memory that one unit must read, each counted as often as the algorithm must
    /// read it; absent where no floor is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor_bytes: Option<u64>,
    /// Where the work ran. Absent for a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_path: Option<ExecutionPath>,
    /// What a device's frames kept, how they were made and what they held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameSummary>,
    /// The elimination that ran. Absent for a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elimination: Option<String>,
    /// What one sample's work moved and did. Absent for a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerSnapshot>,
    /// What the device itself says that the work of one sample did, in a pass apart from the timing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witnessed>,
    /// The check that came before the first sample.
    pub parity: Parity,
}

fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

fn one() -> u32 {
    1
}

/// Whose clock timed the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timer {
    /// The host's, from before the call to after its result is there.
    #[default]
    HostWallClock,
    /// Events of the device around the work, in its stream.
    DeviceEvents,
}

/// What the device's L2 held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum L2 {
    /// What the sample before left there.
    Warm,
    /// Other bytes, written between the samples.
    Cold,
}

/// A ledger and a witness of the same work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witnessed {
    /// The ledger of the pass.
    pub account: LedgerSnapshot,
    /// What the witness saw.
    pub activity: Activity,
}

/// How the result was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// Largest componentwise backward error of a step, from the operands.
    pub componentwise_error: f64,
    /// What it had to be at most.
    pub componentwise_bound: f64,
    /// The log-determinant, where the elimination gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_determinant: Option<f64>,
    /// The same from elsewhere: `reference`, `cpu`, a peer, or another elimination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// A log-determinant from elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Against {
    /// Whose.
    pub source: String,
    /// Its value.
    pub log_determinant: f64,
    /// How far apart the two may be.
    pub bound: f64,
}

/// Writes records, one sealed line each, beside `path`, and renames.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, records: &[Record]) -> Result<(), Error> {
    write_lines(path, records.iter().map(line))
}

/// Writes `lines` beside `path` and renames.
///
/// # Errors
/// The file cannot be written; a line that could not be made.
pub fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = Result<String, serde_json::Error>>,
) -> Result<(), Error> {
    let beside = path.with_extension("jsonl.broadhead-tmp");
    let mut file = std::fs::File::create(&beside).map_err(Error::file(&beside))?;
    for line in lines {
        let line = line.map_err(|e| Error::Format {
            path: path.to_path_buf(),
            message: e.to_string(),
        })?;
        writeln!(file, "{line}").map_err(Error::file(&beside))?;
    }
    file.sync_all().map_err(Error::file(&beside))?;
    std::fs::rename(&beside, path).map_err(Error::file(path))
}

/// A record as its sealed line; one of schema 1 as it was, without.
///
/// # Errors
/// A number that JSON cannot hold.
pub fn line(record: &Record) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(record)?;
    Ok(match record.schema {
        UNSEALED_SCHEMA => text,
        _ => seal::seal(&text),
    })
}

/// Reads records, refusing what is not one.
///
/// # Errors
/// The file cannot be read, or a line is refused.
pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
    sealed::read_lines(path, parse)
}

/// One line as a record.
///
/// # Errors
/// Why it is none.
pub fn parse(line: &str) -> Result<Record, Refused> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|e| Refused::Format {
        message: e.to_string(),
    })?;
    if value.get("receipt").is_none_or(serde_json::Value::is_null) {
        return Err(Refused::NoReceipt);
    }
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    let text = match schema {
        Some(schema) if schema == u64::from(UNSEALED_SCHEMA) => line.to_owned(),
        Some(schema) if schema == u64::from(SCHEMA) => {
            seal::open(line).map_err(|_| Refused::Seal)?
        }
        found => return Err(Refused::Schema { found }),
    };
    let record: Record = serde_json::from_str(&text).map_err(|e| Refused::Format {
        message: e.to_string(),
    })?;
    record.check()?;
    Ok(record)
}

impl Record {
    /// Whether the record contradicts itself.
    ///
    /// # Errors
    /// How.
    pub fn check(&self) -> Result<(), Refused> {
        self.receipt.check()?;
        let on_device = self.cell.place == Place::Device;
        if on_device && self.schema == UNSEALED_SCHEMA {
            return Err(Refused::Seal);
        }
        match &self.outcome {
            Outcome::Declined(_) => Ok(()),
            Outcome::Ceiling(_) => self.check_device(),
            Outcome::Measured(measured) => {
                check_samples(&measured.samples)?;
                if measured.units == 0 {
                    return Err(Refused::NoUnit);
                }
                check_parity(&measured.parity)?;
                self.check_path(measured)?;
                match on_device {
                    true => self.check_device(),
                    false => Ok(()),
                }
            }
        }
    }

    /// A time of the host is no time of a device, whoever wrote the record.
    fn check_path(&self, measured: &Measured) -> Result<(), Refused> {
        let of_device = self.cell.place == Place::Device || measured.timer == Timer::DeviceEvents;
        let Some(path) = measured.execution_path else {
            return Ok(());
        };
        if !of_device && !path.is_device() {
            return Ok(());
        }
        let ledger = measured.ledger.ok_or(Refused::NoLedger)?;
        DeviceEvidence::new(path, ledger).map_err(|why| Refused::NotOnDevice { why })?;
        if self.receipt.device.is_none() {
            return Err(Refused::NoDevice);
        }
        // Both the account of the pass and that of a timed sample are held against the witness.
        let accounts = measured.witness.iter().flat_map(|witness| {
            [&witness.account, &ledger].map(|account| witness.activity.compare(account))
        });
        for agreement in accounts {
            if !matches!(agreement, Agreement::Equal { .. }) {
                return Err(Refused::Witness { agreement });
            }
        }
        Ok(())
    }

    /// A device's record names the device, and one that ran at its own speed.
    fn check_device(&self) -> Result<(), Refused> {
        let device = self.receipt.device.as_ref().ok_or(Refused::NoDevice)?;
        match device.throttled() {
            Some(reason) => Err(Refused::Throttled { reason }),
            None => Ok(()),
        }
    }
}

fn check_samples(samples: &[f64]) -> Result<(), Refused> {
    if samples.is_empty() {
        return Err(Refused::NoSample);
    }
    match samples.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        Some(&sample) => Err(Refused::Sample { sample }),
        None => Ok(()),
    }
}

fn check_parity(parity: &Parity) -> Result<(), Refused> {
    let (error, bound) = (parity.componentwise_error, parity.componentwise_bound);
    let right = error <= bound;
    if !right {
        return Err(Refused::Parity { error, bound });
    }
    let (Some(own), Some(other)) = (parity.log_determinant, &parity.against) else {
        return Ok(());
    };
    // A distance that is not a number is not within the bound.
    let within = (own - other.log_determinant).abs() <= other.bound;
    match within {
        true => Ok(()),
        false => Err(Refused::LogDeterminant {
            own,
            other: other.log_determinant,
        }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
