//! Which of several ways does a step of the factorization: chosen by a rule, or pinned; the other way
//! is the check of the first.

use super::layout::{DeviceBytes, Layout, WIDEST_ROW};
use super::tiles::Tiles;
use crate::device::Keep;
use crate::elimination::rows_first;
use crate::{Error, FrameCost};
use broadhead_device::probe::DeviceInfo;
use serde::{Deserialize, Serialize};

/// How the row blocks are factored and whitened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowMethod {
    /// By kernels of ours that hold a block in registers: rows of up to [`WIDEST_ROW`] unknowns.
    Fused,
    /// By the library's batched Cholesky and, where rows are equally wide, its batched triangular
    /// solve: rows of up to [`super::WIDEST_BLOCK`] unknowns.
    Library,
}

/// How the border's sum is formed and factored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BorderMethod {
    /// By the library: SYRK and POTRF.
    Library,
    /// By tiles, in one launch that forms the sum too where the rows are few.
    Tiles,
    /// By tiles, the sum over the rows by the library's SYRK.
    SyrkAndTiles,
}

/// Ways that a caller pins; `None` leaves the choice to the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// Of the row blocks. The rule: fused, up to [`WIDEST_ROW`] unknowns a row.
    pub rows: Option<RowMethod>,
    /// Of the border. The rule: tiles where the padded order is a multiple of 64 from 128 to 7168
    /// and the device has the shared memory (from compute capability 9.0 on), which was measured to
    /// be the faster way; they sum over the rows themselves where these have at most a quarter as
    /// many unknowns as the border.
    pub border: Option<BorderMethod>,
}

/// What a frame keeps, how it was made, what it costs, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameSummary {
    /// What it keeps of the factor that a solve applies: the border's, of border first $`T`$'s, of
    /// a core its own. Conjugate gradients have none.
    pub keep: Option<Keep>,
    /// How its row blocks were factored.
    pub rows: RowMethod,
    /// How that factor was made, where there are two ways; a small core's is made by one kernel.
    pub border: Option<BorderMethod>,
    /// Device bytes.
    pub bytes: DeviceBytes,
    /// What a build and a solve cost.
    pub cost: FrameCost,
}

/// The ways in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) rows: RowMethod,
    pub(crate) border: BorderMethod,
}

impl Methods {
    /// # Errors
    /// [`Error::Unsupported`] where a pinned way does not serve the shape or the device.
    pub(crate) fn choose(self, device: &DeviceInfo, layout: &Layout) -> Result<Chosen, Error> {
        let unsupported = |why| Error::Unsupported {
            elimination: rows_first::KIND,
            system: "dense",
            why,
        };
        let rows = match (self.rows, layout.widest > WIDEST_ROW) {
            (Some(RowMethod::Fused), true) => {
                return Err(unsupported("the fused row kernels take up to 32 unknowns"));
            }
            (Some(way), _) => way,
            (None, true) => RowMethod::Library,
            (None, false) => RowMethod::Fused,
        };
        let served = Tiles::serves(device, layout);
        let border = match self.border {
            Some(BorderMethod::Tiles | BorderMethod::SyrkAndTiles) if !served => {
                return Err(unsupported(
                    "tiles need an order of whole tiles and the shared memory of compute capability 9.0",
                ));
            }
            Some(way) => way,
            None if !(served && Tiles::pays(layout)) => BorderMethod::Library,
            None if Tiles::take_rows(layout) => BorderMethod::Tiles,
            None => BorderMethod::SyrkAndTiles,
        };
        Ok(Chosen { rows, border })
    }
}
