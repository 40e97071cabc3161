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

use crate::cell::{Place, Suite};
use crate::error::Error;
use crate::record::{self, Record};
use std::path::{Path, PathBuf};

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
        let groups = group::group(&records);
        let verdicts = verdict::judge(&suite, &records, &groups);
        lines.extend(verdicts.iter().map(|v| format!("{}: {v}", suite.suite)));
        let folder = root.join(GENERATED);
        if suite.place == Place::Device {
            let page = device::markdown(&suite, &records, &groups, &verdicts);
            put(&folder.join(format!("{}.md", suite.suite)), &page, check)?;
            continue;
        }
        let table = table::markdown(&suite, &records, &groups, &verdicts);
        put(&folder.join(format!("{}.md", suite.suite)), &table, check)?;
        for phase in group::phases(&groups) {
            let chart = chart::svg(&groups, phase)?;
            put(
                &folder.join(format!("{}-{phase}.svg", suite.suite)),
                &chart,
                check,
            )?;
        }
    }
    let page = tested::markdown(&root.join("benches/records"))?;
    put(
        &root.join(GENERATED).join(format!("{}.md", tested::NAME)),
        &page,
        check,
    )?;
    Ok(lines)
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
