//! The report: records in, tables and charts out.
//!
//! Every number of the book's tables is computed here from `benches/records`; nothing is typed in. A
//! table says which receipt it stands on, and a requirement whose records are missing or declined is
//! undetermined, never met. Every device has its own columns and verdicts.

mod chart;
mod device;
mod floor;
mod group;
mod holdout;
mod line;
mod rounds;
mod same_code;
mod table;
mod tested;
mod verdict;

pub use line::line;

use crate::cell::{Phase, Place, Suite};
use crate::error::Error;
use crate::machine::{self, Machine};
use crate::record::{self, Record, Refused};
use crate::store::{self, RECORDS, Shelf};
use group::Group;
use std::collections::BTreeSet;
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
    let records = root.join(RECORDS);
    let shelves = store::shelves(&records)?;
    for path in suites(&root.join("benches/cells"))? {
        let suite = Suite::read(&path)?;
        match suite.place {
            Place::Host => lines.extend(of_host(root, &suite, check)?),
            Place::Device => lines.extend(of_devices(root, &suite, &shelves, check)?),
        }
    }
    lines.extend(rounds::write(root, check)?);
    holdout::write(root, &shelves, check)?;
    let page = tested::markdown(&shelves)?;
    let name = format!("{}.md", tested::NAME);
    put(&root.join(GENERATED).join(name), &page, check)?;
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

/// The tables and the charts of a host's suite, of each machine.
fn of_host(root: &Path, suite: &Suite, check: bool) -> Result<Vec<String>, Error> {
    let path = root.join(RECORDS).join(format!("{}.jsonl", suite.suite));
    let (records, refused) = match path.is_file() {
        true => unfair_apart(record::read(&path))?,
        false => (Vec::new(), None),
    };
    let machines = OnMachine::all(suite, &records);
    let folder = root.join(GENERATED);
    let (mut lines, mut charts) = (Vec::new(), BTreeSet::new());
    for on in &machines {
        let said = on.verdicts.iter();
        lines.extend(said.map(|v| format!("{} on {}: {v}", suite.suite, on.machine)));
        for phase in group::phases(&on.groups) {
            let name = on.chart(suite, phase);
            put(&folder.join(&name), &chart::svg(&on.groups, phase)?, check)?;
            charts.insert(name);
        }
    }
    let table = match refused {
        Some(refused) => {
            let verdicts = verdict::undetermined(suite, &refused.clone().into());
            lines.extend(verdicts.iter().map(|v| format!("{}: {v}", suite.suite)));
            table::refused(&refused, &verdicts)
        }
        None if machines.is_empty() => {
            let said = verdict::of_records(suite, &[]);
            lines.extend(said.iter().map(|v| format!("{}: {v}", suite.suite)));
            table::markdown(suite, &machines)
        }
        None => table::markdown(suite, &machines),
    };
    put(&folder.join(format!("{}.md", suite.suite)), &table, check)?;
    remove_stale_charts(&folder, suite, &charts, check)?;
    Ok(lines)
}

/// Removes the charts of a suite that no record gives any more.
fn remove_stale_charts(
    folder: &Path,
    suite: &Suite,
    charts: &BTreeSet<String>,
    check: bool,
) -> Result<(), Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let of_suite = Phase::ALL.iter().any(|phase| {
            let stem = format!("{}-{phase}", suite.suite);
            let rest = name.strip_prefix(&stem);
            rest.is_some_and(|rest| rest == ".svg" || is_machine(rest))
        });
        if !of_suite || charts.contains(&*name) {
            continue;
        }
        match check {
            true => return Err(Error::Stale(path)),
            false => std::fs::remove_file(&path).map_err(Error::file(&path))?,
        }
    }
    Ok(())
}

/// Whether the end of a chart's name is a machine's: it ends with a count of processors, no phase does.
fn is_machine(rest: &str) -> bool {
    rest.strip_suffix(".svg").is_some_and(|rest| {
        let last = rest.rsplit('-').next().unwrap_or_default();
        rest.starts_with('-') && rest.len() > 12 && last.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Records, or why none of them is fair: those of a peer with old kernels are whole, and say nothing.
/// They give no number, the page says why, and every requirement is undetermined. Any other refusal
/// ends the report.
fn unfair_apart<R>(read: Result<Vec<R>, Error>) -> Result<(Vec<R>, Option<Refused>), Error> {
    match read {
        Ok(records) => Ok((records, None)),
        Err(Error::Refused {
            refused: refused @ (Refused::Kernels { .. } | Refused::UnknownKernels { .. }),
            ..
        }) => Ok((Vec::new(), Some(refused))),
        Err(other) => Err(other),
    }
}

/// The page of a device's suite: every device beside the others, and what ran the same code.
fn of_devices(
    root: &Path,
    suite: &Suite,
    shelves: &[Shelf],
    check: bool,
) -> Result<Vec<String>, Error> {
    let measured: Result<Vec<OnDevice>, Error> =
        shelves.iter().map(|s| OnDevice::read(suite, s)).collect();
    let measured = measured?;
    let mut page = device::markdown(suite, &measured);
    page.push_str(&same_code::markdown(suite, &measured));
    let path = root.join(GENERATED).join(format!("{}.md", suite.suite));
    put(&path, &page, check)?;
    let current = measured.iter().filter(|m| m.shelf.commit.is_none());
    let lines = current.flat_map(|m| {
        let (suite, device) = (&suite.suite, &m.shelf.device);
        let lines = m.verdicts.iter();
        lines.map(move |v| format!("{suite}, {device}: {v}"))
    });
    let lines: Vec<String> = lines.collect();
    Ok(match shelves.is_empty() {
        // No device at all: every requirement is undetermined.
        true => judge(suite, &[])
            .iter()
            .map(|v| format!("{}: {v}", suite.suite))
            .collect(),
        false => lines,
    })
}

/// What one folder holds of a suite.
#[derive(Debug)]
struct OnDevice {
    shelf: Shelf,
    records: Vec<Record>,
    groups: Vec<Group>,
    verdicts: Vec<Judged>,
}

impl OnDevice {
    fn read(suite: &Suite, shelf: &Shelf) -> Result<Self, Error> {
        let records = match shelf.suite(&suite.suite) {
            Some(path) => record::read(&path)?,
            None => Vec::new(),
        };
        let groups = group::group(&records);
        let verdicts = verdict::judge(suite, &records, &groups);
        Ok(Self {
            shelf: shelf.clone(),
            records,
            groups,
            verdicts,
        })
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
mod on_hosts;
#[cfg(test)]
mod tests;
