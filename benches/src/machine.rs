//! The machine of a host's record: its processor and how many there are of it.
//!
//! One file holds a suite's records of several machines, told apart by their receipts. A run replaces the
//! records of its own machine and leaves the others'.

use crate::error::Error;
use crate::receipt::Receipt;
use crate::record::{self, Record};
use std::path::Path;

/// What tells machines apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    processor: String,
    processors: usize,
}

impl Machine {
    /// The machine that a receipt names.
    pub fn of(receipt: &Receipt) -> Self {
        Self {
            processor: receipt.processor.clone(),
            processors: receipt.processors,
        }
    }

    /// In letters, digits and hyphens, for names of files.
    pub fn slug(&self) -> String {
        let lower = format!("{} {}", self.processor, self.processors).to_lowercase();
        let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("-")
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} processors", self.processor, self.processors)
    }
}

/// A record of a machine.
pub trait OfMachine: Clone {
    /// How it was made.
    fn receipt(&self) -> &Receipt;
}

impl OfMachine for Record {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }
}

/// The records of each machine, machines in the order of the file.
pub fn split<R: OfMachine>(records: &[R]) -> Vec<(Machine, Vec<R>)> {
    let mut machines: Vec<(Machine, Vec<R>)> = Vec::new();
    for record in records {
        let machine = Machine::of(record.receipt());
        match machines.iter_mut().find(|(known, _)| *known == machine) {
            Some((_, records)) => records.push(record.clone()),
            None => machines.push((machine, vec![record.clone()])),
        }
    }
    machines
}

/// Writes `new` in the place of what the file at `path` has of the same machines.
///
/// # Errors
/// The file is there and holds what is no record, or cannot be written.
pub fn put(path: &Path, new: &[Record]) -> Result<(), Error> {
    let known = match path.is_file() {
        true => record::read(path)?,
        false => Vec::new(),
    };
    record::write(path, &replaced(known, new))
}

/// `known` with `new` in the place of the same machines' records.
pub fn replaced<R: OfMachine>(known: Vec<R>, new: &[R]) -> Vec<R> {
    let machines: Vec<Machine> = split(new).into_iter().map(|(machine, _)| machine).collect();
    let mut all = known;
    all.retain(|record| !machines.contains(&Machine::of(record.receipt())));
    all.extend_from_slice(new);
    // Machines in an order of their own, so that a file does not depend on who measured last.
    all.sort_by_key(|record| Machine::of(record.receipt()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::host;

    fn on(processor: &str, processors: usize, started: u64) -> Record {
        let mut record = host();
        record.receipt.processor = processor.to_owned();
        record.receipt.processors = processors;
        record.receipt.started = started;
        record
    }

    #[test]
    fn a_run_replaces_its_own_machine_s_records_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        let started = || -> Vec<u64> {
            let records = record::read(&path).unwrap();
            records.iter().map(|r| r.receipt.started).collect()
        };
        put(&path, &[on("b", 2, 1), on("b", 2, 2)]).unwrap();
        put(&path, &[on("a", 16, 3)]).unwrap();
        assert_eq!(started(), [3, 1, 2]);
        put(&path, &[on("b", 2, 4)]).unwrap();
        assert_eq!(started(), [3, 4]);
        // As many processors make another machine.
        put(&path, &[on("b", 4, 5)]).unwrap();
        assert_eq!(started(), [3, 4, 5]);
        let machines = split(&record::read(&path).unwrap());
        assert_eq!(machines.len(), 3);
    }

    #[test]
    fn a_slug_is_a_name_of_a_file() {
        let record = on("AMD EPYC (family 25, model 1, stepping 1)", 2, 1);
        let slug = Machine::of(&record.receipt).slug();
        assert_eq!(slug, "amd-epyc-family-25-model-1-stepping-1-2");
    }
}
