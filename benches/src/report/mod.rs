//! The report: records in, tables and charts out.
//!
//! Every number of the book's tables is computed here from `benches/records`; nothing is typed in. A
//! table says which receipt it stands on, and a requirement whose records are missing or declined is
//! undetermined, never met.

mod chart;
mod device;
mod floor;
mod group;
mod line;
mod table;
mod tested;
mod verdict;

pub use line::line;

use crate::cell::{Phase, Place, Suite};
use crate::error::Error;
use crate::machine::{self, Machine};
use crate::record::{self, Record};
use group::Group;
use std::path::{Path, PathBuf};
use verdict::Judged;

/// The folder of what is made, under the root.
const GENERATED: &str = "docs/src/generated";

/// Turns all records under `root` into tables and charts; returns a line for every requirement. With
/// `check`, writes nothing and compares with what is there.
///
/// # Errors
/// A record that is none, a file that cannot be written, or [`Error::Stale`].
pub fn write(root: &Path, check: bool) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for path in suites(&root.join("benches/cells"))? {
        let suite = Suite::read(&path)?;
        let records = root
            .join("benches/records")
            .join(format!("{}.jsonl", suite.suite));
        let records = if records.is_file() {
            record::read(&records)?
        } else {
            Vec::new()
        };
        let folder = root.join(GENERATED);
        if suite.place == Place::Device {
            let groups = group::group(&records);
            let verdicts = verdict::judge(&suite, &records, &groups);
            lines.extend(verdicts.iter().map(|v| format!("{}: {v}", suite.suite)));
            let page = device::markdown(&suite, &records, &groups, &verdicts);
            put(&folder.join(format!("{}.md", suite.suite)), &page, check)?;
            continue;
        }
        let machines = OnMachine::all(&suite, &records);
        if machines.is_empty() {
            let said = verdict::of_records(&suite, &[]);
            lines.extend(said.iter().map(|v| format!("{}: {v}", suite.suite)));
        }
        for on in &machines {
            let said = on.verdicts.iter();
            lines.extend(said.map(|v| format!("{} on {}: {v}", suite.suite, on.machine)));
            for phase in group::phases(&on.groups) {
                let chart = chart::svg(&on.groups, phase)?;
                put(&folder.join(on.chart(&suite, phase)), &chart, check)?;
            }
        }
        let table = table::markdown(&suite, &machines);
        put(&folder.join(format!("{}.md", suite.suite)), &table, check)?;
    }
    let page = tested::markdown(&root.join("benches/records"))?;
    put(
        &root.join(GENERATED).join(format!("{}.md", tested::NAME)),
        &page,
        check,
    )?;
    Ok(lines)
}

/// What one machine's records of a host's suite come to.
#[derive(Debug)]
struct OnMachine {
    machine: Machine,
    /// Whether it is the only one.
    alone: bool,
    records: Vec<Record>,
    groups: Vec<Group>,
    verdicts: Vec<Judged>,
}

impl OnMachine {
    /// One for each machine, in the order of the file.
    fn all(suite: &Suite, records: &[Record]) -> Vec<Self> {
        let machines = machine::split(records);
        let alone = machines.len() == 1;
        let of = |(machine, records): (Machine, Vec<Record>)| {
            let groups = group::group(&records);
            let verdicts = verdict::judge(suite, &records, &groups);
            Self {
                machine,
                alone,
                records,
                groups,
                verdicts,
            }
        };
        machines.into_iter().map(of).collect()
    }

    /// The file of a chart.
    fn chart(&self, suite: &Suite, phase: Phase) -> String {
        match self.alone {
            true => format!("{}-{phase}.svg", suite.suite),
            false => format!("{}-{phase}-{}.svg", suite.suite, self.machine.slug()),
        }
    }
}

/// A line for every requirement of `suite`.
pub fn judge(suite: &Suite, records: &[Record]) -> Vec<String> {
    verdict::of_records(suite, records)
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The suites' files, by name.
fn suites(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::file(folder))? {
        paths.push(entry.map_err(Error::file(folder))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    if paths.is_empty() {
        return Err(Error::Format {
            path: folder.to_path_buf(),
            message: "no suite (*.toml) was found: nothing would be checked".to_owned(),
        });
    }
    Ok(paths)
}

fn put(path: &Path, text: &str, check: bool) -> Result<(), Error> {
    if check {
        return match std::fs::read_to_string(path) {
            Ok(there) if there == text => Ok(()),
            _ => Err(Error::Stale(path.to_path_buf())),
        };
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    let beside = path.with_extension("broadhead-tmp");
    std::fs::write(&beside, text).map_err(Error::file(&beside))?;
    std::fs::rename(&beside, path).map_err(Error::file(path))
}

#[cfg(test)]
mod tests;
