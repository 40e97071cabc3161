//! Which of several ways does a step of the factorization: chosen by a rule, or pinned; the other way
//! is the check of the first. And what a factorization says of itself in a record.

use super::layout::{DeviceBytes, Layout, WIDEST_ROW};
use super::tiles::Tiles;
use super::{Keep, Placement};
use crate::elimination::rows_first;
use crate::{Error, FrameCost};
use serde::{Deserialize, Serialize};

/// How a step of a factorization is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Row blocks by kernels of ours that hold a block in registers: rows of up to
    /// [`super::WIDEST_ROW`] unknowns.
    Fused,
    /// By the library. Row blocks: its batched Cholesky and, where rows are equally wide, its batched
    /// triangular solve, for rows of up to [`super::WIDEST_BLOCK`] unknowns. The border: SYRK and POTRF.
    Library,
    /// The border by tiles, in one launch that forms the sum too where the rows are few.
    Tiles,
    /// The border by tiles, the sum over the rows by the library's SYRK.
    SyrkAndTiles,
}

/// What a factorization keeps, how it was made, what it costs, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "SummaryRecord", into = "SummaryRecord")]
pub struct FrameSummary {
    /// What it keeps of the factor that a solve applies: the border's, of border first $`T`$'s, of
    /// a core its own. Conjugate gradients have none.
    pub keep: Option<Keep>,
    /// How its row blocks were factored.
    pub rows: Way,
    /// How that factor was made, where there are two ways; a small core's is made by one kernel.
    pub border: Option<Way>,
    /// Device bytes of operands: row blocks, cross blocks, border, their diagonals, and partial sums of
    /// products with them. None where they were given back.
    pub operand_bytes: u64,
    /// Device bytes of factors: row factors, whitened cross blocks, the border's factor and what is
    /// kept beside it.
    pub factor_bytes: u64,
    /// Device bytes of vectors of a solve and of small records.
    pub vector_bytes: u64,
    /// What a build and a solve cost.
    pub cost: FrameCost,
}

impl FrameSummary {
    /// All device bytes, the library's workspace apart.
    pub fn bytes(&self) -> u64 {
        DeviceBytes::from(*self).total()
    }
}

/// A [`FrameSummary`] as records have it.
#[derive(Serialize, Deserialize)]
struct SummaryRecord {
    keep: Option<Keep>,
    rows: Way,
    border: Option<Way>,
    bytes: DeviceBytes,
    cost: FrameCost,
}

impl From<FrameSummary> for DeviceBytes {
    fn from(of: FrameSummary) -> Self {
        Self {
            operands: of.operand_bytes,
            factors: of.factor_bytes,
            vectors: of.vector_bytes,
        }
    }
}

impl From<FrameSummary> for SummaryRecord {
    fn from(of: FrameSummary) -> Self {
        Self {
            keep: of.keep,
            rows: of.rows,
            border: of.border,
            bytes: of.into(),
            cost: of.cost,
        }
    }
}

impl From<SummaryRecord> for FrameSummary {
    fn from(of: SummaryRecord) -> Self {
        let DeviceBytes {
            operands,
            factors,
            vectors,
        } = of.bytes;
        Self {
            keep: of.keep,
            rows: of.rows,
            border: of.border,
            operand_bytes: operands,
            factor_bytes: factors,
            vector_bytes: vectors,
            cost: of.cost,
        }
    }
}

/// How the row blocks are factored and whitened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowMethod {
    Fused,
    Library,
}

/// How the border's sum is formed and factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BorderMethod {
    Library,
    Tiles,
    SyrkAndTiles,
}

impl From<RowMethod> for Way {
    fn from(rows: RowMethod) -> Self {
        match rows {
            RowMethod::Fused => Self::Fused,
            RowMethod::Library => Self::Library,
        }
    }
}

impl From<BorderMethod> for Way {
    fn from(border: BorderMethod) -> Self {
        match border {
            BorderMethod::Library => Self::Library,
            BorderMethod::Tiles => Self::Tiles,
            BorderMethod::SyrkAndTiles => Self::SyrkAndTiles,
        }
    }
}

/// The ways in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) rows: RowMethod,
    pub(crate) border: BorderMethod,
}

impl Chosen {
    /// Those that `place` pins, else those of the rules.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a pinned way does not serve the shape or the device.
    pub(crate) fn of(place: &Placement, layout: &Layout) -> Result<Self, Error> {
        let unsupported = |why| Error::Unsupported {
            elimination: rows_first::KIND,
            system: "dense",
            why,
        };
        let rows = match (place.rows, layout.widest > WIDEST_ROW) {
            (Some(Way::Fused), true) => {
                return Err(unsupported("the fused row kernels take up to 32 unknowns"));
            }
            (Some(Way::Fused), false) | (None, false) => RowMethod::Fused,
            (Some(Way::Library), _) | (None, true) => RowMethod::Library,
            (Some(Way::Tiles | Way::SyrkAndTiles), _) => {
                return Err(unsupported("row blocks are not factored by tiles"));
            }
        };
        let served = Tiles::serves(place.stream.context().info(), layout);
        let border = match place.border {
            Some(Way::Tiles | Way::SyrkAndTiles) if !served => {
                return Err(unsupported(
                    "tiles need an order of whole tiles and the shared memory of compute capability 9.0",
                ));
            }
            Some(Way::Tiles) => BorderMethod::Tiles,
            Some(Way::SyrkAndTiles) => BorderMethod::SyrkAndTiles,
            Some(Way::Library) => BorderMethod::Library,
            Some(Way::Fused) => {
                return Err(unsupported("a border is not factored in registers"));
            }
            None if !(served && Tiles::pays(layout)) => BorderMethod::Library,
            None if Tiles::take_rows(layout) => BorderMethod::Tiles,
            None => BorderMethod::SyrkAndTiles,
        };
        Ok(Self { rows, border })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that were written go on to be read.
    #[test]
    fn a_summary_s_record_has_the_bytes_by_what_they_hold() {
        let record = r#"{"keep":"inverse-factor","rows":"fused","border":"syrk-and-tiles","bytes":{"operands":1,"factors":2,"vectors":4},"cost":{"build_operations":8.0,"solve_operations":16.0}}"#;
        let read: FrameSummary = serde_json::from_str(record).unwrap();
        assert_eq!(
            (read.rows, read.border),
            (Way::Fused, Some(Way::SyrkAndTiles))
        );
        let bytes = (read.operand_bytes, read.factor_bytes, read.vector_bytes);
        assert_eq!((bytes, read.bytes()), ((1, 2, 4), 7));
        assert_eq!(serde_json::to_string(&read).unwrap(), record);
    }
}
