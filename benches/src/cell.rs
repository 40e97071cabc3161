//! Cells: what is measured, as data.
//!
//! A suite is one TOML file. A cell of the file stands for one case of one shape; with the suite's
//! eliminations and phases it expands to the cells of the records.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One file of `benches/cells`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name, and that of its file of records.
    pub suite: String,
    /// Peers that take turns with us, by the names of their scripts; ratios are to the first.
    #[serde(default)]
    pub peers: Vec<String>,
    /// Eliminations by name; `auto` is the planner's choice.
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
    pub shape: ShapeFields,
    /// Phases, where they are not the suite's.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// Whether a log-determinant is asked for; without, the iterative elimination is admitted.
    #[serde(default = "yes")]
    pub log_determinant: bool,
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
}

/// Sizes, as they stand in a file and in a record. Which ones there are depends on the case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeFields {
    /// Rows `n`.
    pub rows: usize,
    /// Unknowns a row `d`, of an arrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dim: Option<usize>,
    /// Unknowns of the border `k`, of an arrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub border: Option<usize>,
    /// Circle atoms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atoms: Option<usize>,
    /// Atoms that are on in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<usize>,
    /// Harmonics of an atom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub harmonics: Option<usize>,
    /// Outputs `p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<usize>,
}

/// Sizes, checked: all that a case needs and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `(n, d, k)`.
    Arrow {
        /// Rows `n`.
        rows: usize,
        /// Unknowns a row `d`.
        dim: usize,
        /// Unknowns of the border `k`.
        border: usize,
    },
    /// Circle atoms.
    Circles {
        /// Rows `n`.
        rows: usize,
        /// Atoms.
        atoms: usize,
        /// Atoms that are on in a row: its unknowns.
        on: usize,
        /// Harmonics of an atom.
        harmonics: usize,
        /// Outputs `p`.
        outputs: usize,
    },
}

impl Shape {
    /// Sizes of a case.
    ///
    /// # Errors
    /// A message that names the size that is missing, too much or out of range.
    pub fn new(case: CaseKind, fields: ShapeFields) -> Result<Self, String> {
        let need =
            |name: &str, value: Option<usize>| value.ok_or(format!("{case:?} needs `{name}`"));
        match case {
            CaseKind::Arrow => {
                let rest = [fields.atoms, fields.on, fields.harmonics, fields.outputs];
                if rest.iter().any(Option::is_some) {
                    return Err("an arrow has rows, dim and border alone".to_owned());
                }
                Ok(Self::Arrow {
                    rows: fields.rows,
                    dim: need("dim", fields.dim)?,
                    border: need("border", fields.border)?,
                })
            }
            CaseKind::Circles => {
                if fields.dim.is_some() || fields.border.is_some() {
                    return Err("circles have rows, atoms, on, harmonics and outputs".to_owned());
                }
                let atoms = need("atoms", fields.atoms)?;
                let on = need("on", fields.on)?;
                if on > atoms {
                    return Err(format!("{on} atoms on of {atoms}"));
                }
                Ok(Self::Circles {
                    rows: fields.rows,
                    atoms,
                    on,
                    harmonics: need("harmonics", fields.harmonics)?,
                    outputs: need("outputs", fields.outputs)?,
                })
            }
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Arrow { rows, dim, border } => write!(f, "n={rows} d={dim} k={border}"),
            Self::Circles {
                rows,
                atoms,
                on,
                harmonics,
                outputs,
            } => {
                let features = 1 + 2 * harmonics * atoms;
                write!(f, "n={rows} d={on} M={features} p={outputs}")
            }
        }
    }
}

/// What of the work is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// New numbers of the same shape.
    Refresh,
    /// One factorization, of numbers that are there.
    Factor,
    /// One gradient, with a factor that is there; refinement as by default.
    Solve,
    /// 24 gradients in one call.
    #[serde(rename = "solve-24-together")]
    SolveTogether,
    /// 24 gradients in 24 calls.
    #[serde(rename = "solve-24-apart")]
    SolveApart,
    /// Refresh, factor, solve: one linearisation of a loop.
    Step,
}

impl Phase {
    /// The right-hand sides of the phases with many.
    pub const MANY: usize = 24;

    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Factor => "factor",
            Self::Solve => "solve",
            Self::SolveTogether => "solve-24-together",
            Self::SolveApart => "solve-24-apart",
            Self::Step => "step",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ratio of medians that must not be exceeded, at every shape where both sides are measured.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// In words.
    pub name: String,
    /// Above the line.
    pub numerator: Side,
    /// Below it.
    pub denominator: Side,
    /// The largest ratio.
    pub at_most: f64,
}

/// One side of a ratio.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// An elimination, a peer (its fastest setting), or `best`, the fastest forced elimination.
    pub elimination: String,
    /// The phase.
    pub phase: Phase,
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
            if case.phases.is_empty() && suite.phases.is_empty() {
                return Err(format(format!("{}: no phases", case.name)));
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
        names.sort();
        assert_eq!(names, ["core", "planner", "scipy"]);
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
    fn phases_are_named_the_same_everywhere() {
        for phase in [
            Phase::Refresh,
            Phase::Factor,
            Phase::Solve,
            Phase::SolveTogether,
            Phase::SolveApart,
            Phase::Step,
        ] {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}
