//! Records: what a cell came to.
//!
//! One JSON object a line. The schema serves the host and devices alike: a host's record has no
//! `device` in its receipt, and no field changes its meaning between the two.
//! Why a cell was declined is said in the gate's words ([`Decline`]).

use crate::cell::{CaseKind, Phase, ShapeFields};
use crate::error::Error;
use crate::receipt::Receipt;
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_gate::{Decline, DeviceEvidence};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;

/// The schema's number; a report refuses others.
pub const SCHEMA: u32 = 1;

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
    /// The elimination asked for (`auto`, or by name), or the peer.
    pub elimination: String,
    /// The phase.
    pub phase: Phase,
    /// Threads of this cell's work on the host.
    pub threads: usize,
}

/// Measured with every sample, or declined with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran, after its check.
    Measured(Measured),
    /// It did not run, or its check failed: nothing is known of its speed.
    Declined(Decline),
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Every sample, in seconds of the wall clock, in the order taken.
    pub samples: Vec<f64>,
    /// Where the work ran. Absent for a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_path: Option<ExecutionPath>,
    /// The elimination that ran. Absent for a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elimination: Option<String>,
    /// What one sample's work moved and did. Absent for a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerSnapshot>,
    /// The check that came before the first sample.
    pub parity: Parity,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_determinant: Option<f64>,
    /// The same from elsewhere: `reference`, a peer, or another elimination.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// Writes records, one a line, beside `path`, and renames.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, records: &[Record]) -> Result<(), Error> {
    let beside = path.with_extension("jsonl.broadhead-tmp");
    let mut file = std::fs::File::create(&beside).map_err(Error::file(&beside))?;
    for record in records {
        let line = serde_json::to_string(record).map_err(|e| Error::Format {
            path: path.to_path_buf(),
            message: e.to_string(),
        })?;
        writeln!(file, "{line}").map_err(Error::file(&beside))?;
    }
    file.sync_all().map_err(Error::file(&beside))?;
    std::fs::rename(&beside, path).map_err(Error::file(path))
}

/// Reads records, refusing what is not one.
///
/// # Errors
/// The file cannot be read, or a line is no record of this schema with its receipt in order.
pub fn read(path: &Path) -> Result<Vec<Record>, Error> {
    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut records = Vec::new();
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let line = line.map_err(Error::file(path))?;
        let format = |message: String| Error::Format {
            path: path.to_path_buf(),
            message: format!("line {}: {message}", number + 1),
        };
        let record: Record = serde_json::from_str(&line).map_err(|e| format(e.to_string()))?;
        record.check().map_err(format)?;
        records.push(record);
    }
    Ok(records)
}

impl Record {
    /// Whether the record contradicts itself.
    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {}, expected {SCHEMA}", self.schema));
        }
        self.receipt.check()?;
        let Outcome::Measured(measured) = &self.outcome else {
            return Ok(());
        };
        if measured.samples.is_empty() {
            return Err("measured without a sample".to_owned());
        }
        if let Some(bad) = measured
            .samples
            .iter()
            .find(|s| !(s.is_finite() && **s > 0.0))
        {
            return Err(format!("a sample of {bad} s"));
        }
        let parity = &measured.parity;
        let right = parity.componentwise_error <= parity.componentwise_bound;
        if !right {
            return Err("measured although its check failed".to_owned());
        }
        if let (Some(own), Some(other)) = (parity.log_determinant, &parity.against)
            && (own - other.log_determinant).abs() > other.bound
        {
            return Err(format!(
                "log-determinant {own} against {}",
                other.log_determinant
            ));
        }
        // A time of the host is no rate of a device, whoever wrote the record.
        if let Some(path) = measured.execution_path.filter(|path| path.is_device()) {
            let ledger = measured.ledger.ok_or("a device's path without a ledger")?;
            DeviceEvidence::new(path, ledger).map_err(|e| e.to_string())?;
            if self.receipt.device.is_none() {
                return Err("a device's path without a device's receipt".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::{DeviceReceipt, Receipt};

    fn record() -> Record {
        Record {
            schema: SCHEMA,
            cell: CellId {
                suite: "s".into(),
                name: "n".into(),
                case: CaseKind::Arrow,
                shape: ShapeFields {
                    rows: 3,
                    dim: Some(2),
                    border: Some(5),
                    ..Default::default()
                },
                seed: 1,
                log_determinant: true,
                elimination: "rows".into(),
                phase: Phase::Factor,
                threads: 2,
            },
            outcome: Outcome::Measured(Measured {
                samples: vec![0.5, 0.25],
                execution_path: Some(ExecutionPath::Cpu),
                elimination: Some("rows".into()),
                ledger: Some(LedgerSnapshot::default()),
                parity: Parity {
                    componentwise_error: 1e-16,
                    componentwise_bound: 1e-13,
                    log_determinant: Some(2.0),
                    against: Some(Against {
                        source: "reference".into(),
                        log_determinant: 2.0,
                        bound: 1e-10,
                    }),
                },
            }),
            receipt: Receipt::sample(),
        }
    }

    fn measured(record: &mut Record) -> &mut Measured {
        match &mut record.outcome {
            Outcome::Measured(measured) => measured,
            Outcome::Declined(_) => unreachable!("the sample is measured"),
        }
    }

    fn submitted() -> LedgerSnapshot {
        LedgerSnapshot {
            submissions: 3,
            ..LedgerSnapshot::default()
        }
    }

    fn round_trip(text: &str) -> Result<Vec<Record>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        let mut other = record();
        other.outcome = Outcome::Declined(broadhead_device::Absence::NoDevice.into());
        let records = [record(), other];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.jsonl");
        write(&path, &records).unwrap();
        assert_eq!(read(&path).unwrap(), records);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        type Lie = (&'static str, fn(&mut Record));
        let lies: [Lie; 8] = [
            ("schema", |r| r.schema = 0),
            ("without a sample", |r| measured(r).samples.clear()),
            ("a sample of", |r| measured(r).samples[0] = -1.0),
            ("check failed", |r| {
                measured(r).parity.componentwise_error = 1e-12
            }),
            ("log-determinant", |r| {
                measured(r).parity.log_determinant = Some(2.1)
            }),
            ("submissions", |r| {
                measured(r).execution_path = Some(ExecutionPath::GpuResidentFull);
            }),
            ("device's receipt", |r| {
                measured(r).execution_path = Some(ExecutionPath::GpuResidentFull);
                measured(r).ledger = Some(submitted());
            }),
            ("commit", |r| r.receipt.commit = "unknown".into()),
        ];
        for (word, lie) in lies {
            let mut record = record();
            lie(&mut record);
            let error = round_trip(&serde_json::to_string(&record).unwrap()).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_device_path_stands_with_a_device_receipt() {
        let mut record = record();
        measured(&mut record).execution_path = Some(ExecutionPath::GpuResidentFull);
        measured(&mut record).ledger = Some(submitted());
        record.receipt.device = Some(DeviceReceipt::sample());
        assert!(round_trip(&serde_json::to_string(&record).unwrap()).is_ok());
    }

    #[test]
    fn a_record_without_its_receipt_or_with_more_fields_is_refused() {
        let mut value = serde_json::to_value(record()).unwrap();
        value["extra"] = 1.into();
        assert!(round_trip(&value.to_string()).is_err());
        let mut value = serde_json::to_value(record()).unwrap();
        value.as_object_mut().unwrap().remove("receipt");
        assert!(
            round_trip(&value.to_string())
                .unwrap_err()
                .to_string()
                .contains("receipt")
        );
    }
}
