//! Sizes of a case.

use super::{CaseKind, Phase};
use serde::{Deserialize, Serialize};

/// Sizes, as they stand in a file and in a record. Which ones there are depends on the case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeFields {
    /// Rows `n`.
    #[serde(default)]
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
    /// None: a device's ceilings.
    Ceilings,
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
            CaseKind::Ceilings => {
                if fields != ShapeFields::default() {
                    return Err("ceilings have no shape".to_owned());
                }
                Ok(Self::Ceilings)
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

impl Shape {
    /// Operations of `phase` in FP64, a multiply-add counted as two: of a dense arrow's factorization by
    /// rows `N k^2` for `Y'Y`, of which half is formed, and `k^3 / 3` for the border's factor. What
    /// the row blocks take, of the order `N d k`, is left out. Absent where nothing is counted.
    pub fn operations(self, phase: Phase) -> Option<f64> {
        let cube = |m: usize| (m as f64).powi(3);
        match (self, phase) {
            (_, Phase::Product) => Some(2.0 * cube(Phase::PRODUCT_ORDER)),
            (Self::Arrow { rows, dim, border }, Phase::Factor) => {
                let unknowns = rows as f64 * dim as f64;
                Some(unknowns * (border as f64).powi(2) + cube(border) / 3.0)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Arrow { rows, dim, border } => write!(f, "n={rows} d={dim} k={border}"),
            Self::Ceilings => f.write_str("-"),
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
