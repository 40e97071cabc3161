//! Files of sealed lines: what suites with a schema of their own share.

use super::{Refused, write_lines};
use crate::error::Error;
use crate::machine::{self, OfMachine};
use broadhead_device::seal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// A record that is a sealed line.
pub trait Sealed: Clone + Serialize + DeserializeOwned + OfMachine {
    /// The schema's number; another is refused.
    const SCHEMA: u32;

    /// The plan that it was made by.
    fn plan(&self) -> &str;

    /// Whether the record contradicts itself.
    ///
    /// # Errors
    /// How.
    fn check(&self) -> Result<(), Refused>;

    /// The suite's word for a record that is not to be kept.
    fn refused(what: String) -> Refused;
}

/// One record as its sealed line.
///
/// # Errors
/// A number that JSON cannot hold.
pub fn line<R: Sealed>(record: &R) -> Result<String, serde_json::Error> {
    Ok(seal::seal(&serde_json::to_string(record)?))
}

/// One line as a record.
///
/// # Errors
/// Why it is none.
pub fn parse<R: Sealed>(line: &str) -> Result<R, Refused> {
    let format = |e: serde_json::Error| Refused::Format {
        message: e.to_string(),
    };
    let value: serde_json::Value = serde_json::from_str(line).map_err(format)?;
    if value.get("receipt").is_none_or(serde_json::Value::is_null) {
        return Err(Refused::NoReceipt);
    }
    let found = value.get("schema").and_then(serde_json::Value::as_u64);
    if found != Some(u64::from(R::SCHEMA)) {
        return Err(Refused::Schema { found });
    }
    let text = seal::open(line).map_err(|_| Refused::Seal)?;
    let record: R = serde_json::from_str(&text).map_err(format)?;
    record.check()?;
    Ok(record)
}

/// Reads the lines of a file, refusing what `parse` refuses, by its line.
///
/// # Errors
/// The file cannot be read, or a line is refused.
pub(crate) fn read_lines<R>(
    path: &Path,
    parse: impl Fn(&str) -> Result<R, Refused>,
) -> Result<Vec<R>, Error> {
    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut records = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(Error::file(path))?;
        records.push(parse(&line).map_err(|refused| Error::Refused {
            path: path.to_path_buf(),
            line: number + 1,
            refused,
        })?);
    }
    Ok(records)
}

/// Whether all are of the plan `name`, whose records stand in the repository.
///
/// # Errors
/// [`Error::Refused`] with the first that is not.
pub fn expect_plan<R: Sealed>(path: &Path, records: &[R], name: &str) -> Result<(), Error> {
    let other = |record: &R| record.plan() != name;
    let Some(index) = records.iter().position(other) else {
        return Ok(());
    };
    let plan = records[index].plan();
    Err(Error::Refused {
        path: path.to_path_buf(),
        line: index + 1,
        refused: R::refused(format!(
            "is of the plan {plan:?}, which is not for keeping there"
        )),
    })
}

/// Writes `new` in the place of what `known` has of the same machines.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn put<R: Sealed>(path: &Path, known: Vec<R>, new: &[R]) -> Result<(), Error> {
    let records = machine::replaced(known, new);
    write_lines(path, records.iter().map(line))
}
