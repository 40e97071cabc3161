//! Cells: what is measured, as data.
//!
//! A suite is one TOML file. A cell of the file stands for one case of one shape; with the
//! contenders (eliminations, frames, peers) and phases it expands to the cells of the records.

mod phase;
mod requirement;
mod shape;

pub use phase::Phase;
pub use requirement::{Alternative, Quantity, Requirement, Side};
pub use shape::{Shape, ShapeFields};

use crate::error::Error;
use broadhead_schur::Workload;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What the planner chose by the rates of the machine, measured when the run began.
pub const AUTO: &str = "auto";

/// What it chose by the rates that ship.
pub const AUTO_SHIPPED: &str = "auto/shipped";

/// Whether a contender is the planner's choice, beside what it chose from.
pub fn is_auto(contender: &str) -> bool {
    contender == AUTO || contender == AUTO_SHIPPED
}

/// One file of `benches/cells`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name, and that of its file of records.
    pub suite: String,
    /// Where its work runs.
    #[serde(default)]
    pub place: Place,
    /// Peers by the names of their scripts; ratios are to the first. On the host they take turns with
    /// us, on a device the first runs before and after us.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Contenders by name: an elimination, [`AUTO`] or [`AUTO_SHIPPED`] for the planner's choice; on a device what its
    /// frames keep after a slash, as `rows/inverse-factor`.
    #[serde(default)]
    pub eliminations: Vec<String>,
    /// Phases of every cell that names none.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// The cells.
    pub cells: Vec<Case>,
    /// What the records must show.
    #[serde(default)]
    pub requirements: Vec<Requirement>,
}

/// A case of one shape.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A few words for the tables.
    pub name: String,
    /// The generator.
    pub case: CaseKind,
    /// Its sizes.
    #[serde(default)]
    pub shape: ShapeFields,
    /// Phases, where they are not the suite's.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// Contenders, where they are not the suite's.
    #[serde(default)]
    pub eliminations: Vec<String>,
    /// The peer's phases of this case.
    #[serde(default)]
    pub peer_phases: Vec<Phase>,
    /// Whether a log-determinant is asked for; without, the iterative elimination is admitted.
    #[serde(default = "yes")]
    pub log_determinant: bool,
    /// Conjugate-gradient iterations of a solve that the planner is told to expect, as a caller does
    /// who has counted them; otherwise what it expects by itself.
    #[serde(default)]
    pub iterations: Option<u32>,
}

impl Case {
    /// What the planner is told of the work.
    pub fn workload(&self) -> Workload {
        let default = Workload::default();
        Workload {
            log_determinant: self.log_determinant,
            iterations: self.iterations.unwrap_or(default.iterations),
            ..default
        }
    }
}

fn yes() -> bool {
    true
}

/// Which generator makes the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseKind {
    /// A dense arrow system of random blocks.
    Arrow,
    /// A structured system: circle atoms, their harmonics, a random decoder.
    Circles,
    /// No system: what the device can do at most.
    Ceilings,
}

/// Where the work of a suite runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The host's processors.
    #[default]
    Host,
    /// A device.
    Device,
}

impl Suite {
    /// Reads a suite.
    ///
    /// # Errors
    /// The file cannot be read, or is not a suite.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        let format = |message: String| Error::Format {
            path: path.to_path_buf(),
            message,
        };
        let suite: Self = toml::from_str(&text).map_err(|e| format(e.to_string()))?;
        for case in &suite.cells {
            let found = Shape::new(case.case, case.shape);
            found.map_err(|message| format(format!("{}: {message}", case.name)))?;
            if suite.phases(case).is_empty() {
                return Err(format(format!("{}: no phases", case.name)));
            }
            if suite.contenders(case).is_empty() {
                return Err(format(format!("{}: no contenders", case.name)));
            }
        }
        // A bound that names a cell which is not there would be asked of fewer than it says.
        for requirement in &suite.requirements {
            let other = requirement.or.iter().flat_map(|or| &or.cells);
            for name in requirement.cells.iter().chain(other) {
                if !suite.cells.iter().any(|case| case.name == *name) {
                    let of = &requirement.name;
                    return Err(format(format!(
                        "{of}: expected a cell's name, found {name:?}"
                    )));
                }
            }
        }
        Ok(suite)
    }

    /// The phases of a case.
    pub fn phases<'s>(&'s self, case: &'s Case) -> &'s [Phase] {
        if case.phases.is_empty() {
            &self.phases
        } else {
            &case.phases
        }
    }

    /// Whether a contender of any case is the planner's choice by rates that are measured first.
    pub fn is_planned(&self) -> bool {
        let mut cases = self.cells.iter().map(|case| self.contenders(case));
        cases.any(|names| names.iter().any(|name| name == AUTO))
    }

    /// The contenders of a case, peers apart.
    pub fn contenders<'s>(&'s self, case: &'s Case) -> &'s [String] {
        if case.eliminations.is_empty() {
            &self.eliminations
        } else {
            &case.eliminations
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> ShapeFields {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn sizes_belong_to_their_case() {
        let arrow = fields("rows = 3\ndim = 2\nborder = 5");
        let expected = Shape::Arrow {
            rows: 3,
            dim: 2,
            border: 5,
        };
        assert_eq!(Shape::new(CaseKind::Arrow, arrow), Ok(expected));
        assert!(Shape::new(CaseKind::Circles, arrow).is_err());
        assert!(Shape::new(CaseKind::Arrow, fields("rows = 3\ndim = 2")).is_err());
        let circles = fields("rows = 3\natoms = 2\non = 3\nharmonics = 1\noutputs = 4");
        assert!(
            Shape::new(CaseKind::Circles, circles)
                .unwrap_err()
                .contains("3 atoms on of 2")
        );
    }

    #[test]
    fn every_suite_of_the_repository_reads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let suite = Suite::read(&path).unwrap();
            assert_eq!(
                path.file_stem().unwrap().to_str(),
                Some(suite.suite.as_str())
            );
            names.push(suite.suite);
        }
        for name in ["core", "gpu", "planner", "scipy"] {
            assert!(names.iter().any(|n| n == name), "{name} of {names:?}");
        }
    }

    #[test]
    fn the_planner_is_judged_on_twenty_shapes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells/planner.toml");
        let suite = Suite::read(&path).unwrap();
        assert!(suite.cells.len() >= 20);
        for kind in [CaseKind::Arrow, CaseKind::Circles] {
            assert!(suite.cells.iter().filter(|c| c.case == kind).count() >= 8);
        }
    }

    #[test]
    fn a_requirement_of_a_cell_that_is_not_there_is_an_error_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        let read = |cell: &str, or: &str| {
            let text = format!(
                "suite = 's'\neliminations = ['rows']\nphases = ['factor']\n[[cells]]\nname = 'one'\n\
                 case = 'arrow'\nshape = {{ rows = 3, dim = 2, border = 5 }}\n[[requirements]]\n\
                 name = 'r'\ncells = ['{cell}']\nnumerator = {{ elimination = 'rows', phase = 'factor' }}\n\
                 at_most = 1.0\n[requirements.or]\nname = 'o'\ncells = ['{or}']\n\
                 denominator = {{ elimination = 'rows', phase = 'factor', of = 'arithmetic' }}\nat_most = 1.0\n"
            );
            std::fs::write(&path, text).unwrap();
            Suite::read(&path)
        };
        assert!(read("one", "one").is_ok());
        for error in [read("two", "one"), read("one", "two")] {
            assert!(error.unwrap_err().to_string().contains("found \"two\""));
        }
    }

    #[test]
    fn phases_are_named_the_same_everywhere() {
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}
