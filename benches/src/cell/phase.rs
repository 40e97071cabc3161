//! What of the work is timed.

use serde::{Deserialize, Serialize};

/// What of the work is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// New numbers of the same shape, packed and sent.
    Refresh,
    /// Of a refresh on a device, the host's gathering of arrays into the layout that travels.
    Pack,
    /// Of a refresh on a device, the packed bytes on the link, by the device's clock: it overlaps with
    /// packing.
    Upload,
    /// One factorization, of numbers that are there.
    Factor,
    /// The row blocks' factorization alone.
    RowBlocks,
    /// A copy on the device of as many bytes as the row blocks have.
    Copy,
    /// One gradient, with a factor that is there. On a device the gradient is there too and is
    /// the step before; nothing moves. On the host refinement as by default.
    Solve,
    /// The same on the host without a measurement of the step's errors. A peer's solve measures none.
    SolveUnmeasured,
    /// The same after a fill that drives everything out of the device's L2.
    SolveCold,
    /// 24 gradients, each the step before, as one graph; a unit is one of them.
    #[serde(rename = "solve-24-graph")]
    SolveGraph,
    /// One gradient of the host in, its step out.
    SolveHost,
    /// One step from the device to the host.
    Download,
    /// 24 gradients in one call.
    #[serde(rename = "solve-24-together")]
    SolveTogether,
    /// The same on the host without a measurement of the steps' errors.
    #[serde(rename = "solve-24-together-unmeasured")]
    SolveTogetherUnmeasured,
    /// 24 gradients in 24 calls.
    #[serde(rename = "solve-24-apart")]
    SolveApart,
    /// One factorization, then 24 gradients, each the step before.
    #[serde(rename = "build-24")]
    Build,
    /// The same, the 24 gradients as one graph made beforehand.
    #[serde(rename = "build-24-graph")]
    BuildGraph,
    /// Refresh, factor, solve: one linearisation of a loop.
    Step,
    /// The same where operands travel for every solve: the baseline of residency.
    ReUpload,
    /// Factor and solve on operands that are there.
    #[serde(rename = "factor-solve")]
    Core,
    /// One iterate of the loop on the device at an unchanged ridge, by the device's clock.
    Iterate,
    /// The same until the host has the iterate's record, by the host's clock.
    IterateWall,
    /// One iterate at a new ridge that the host submits, its factorization included, by the host's
    /// clock.
    IterateChanging,
    /// A whole fit as one graph at an unchanged ridge; a unit is an iterate, the start's copies and the
    /// fit's record shared out.
    FitGraph,
    /// The same at a ridge that the device changes with every iterate, and factors at.
    FitGraphChanging,
    /// The product of two matrices of order [`Phase::PRODUCT_ORDER`] by all threads, on the host: what
    /// arithmetic can reach there.
    Product,
    /// What the device can do at most.
    Ceiling,
}

impl Phase {
    /// The right-hand sides of the phases with many.
    pub const MANY: usize = 24;

    /// The order of the matrices of [`Phase::Product`]; the peers' scripts have the same.
    pub const PRODUCT_ORDER: usize = 2048;

    /// All of them, in order.
    pub const ALL: [Self; 27] = [
        Self::Refresh,
        Self::Pack,
        Self::Upload,
        Self::Factor,
        Self::RowBlocks,
        Self::Copy,
        Self::Solve,
        Self::SolveUnmeasured,
        Self::SolveCold,
        Self::SolveGraph,
        Self::SolveHost,
        Self::Download,
        Self::SolveTogether,
        Self::SolveTogetherUnmeasured,
        Self::SolveApart,
        Self::Build,
        Self::BuildGraph,
        Self::Step,
        Self::ReUpload,
        Self::Core,
        Self::Iterate,
        Self::IterateWall,
        Self::IterateChanging,
        Self::FitGraph,
        Self::FitGraphChanging,
        Self::Product,
        Self::Ceiling,
    ];

    /// Its name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Pack => "pack",
            Self::Upload => "upload",
            Self::Factor => "factor",
            Self::RowBlocks => "row-blocks",
            Self::Copy => "copy",
            Self::Solve => "solve",
            Self::SolveUnmeasured => "solve-unmeasured",
            Self::SolveCold => "solve-cold",
            Self::SolveGraph => "solve-24-graph",
            Self::SolveHost => "solve-host",
            Self::Download => "download",
            Self::SolveTogether => "solve-24-together",
            Self::SolveTogetherUnmeasured => "solve-24-together-unmeasured",
            Self::SolveApart => "solve-24-apart",
            Self::Build => "build-24",
            Self::BuildGraph => "build-24-graph",
            Self::Step => "step",
            Self::ReUpload => "re-upload",
            Self::Core => "factor-solve",
            Self::Iterate => "iterate",
            Self::IterateWall => "iterate-wall",
            Self::IterateChanging => "iterate-changing",
            Self::FitGraph => "fit-graph",
            Self::FitGraphChanging => "fit-graph-changing",
            Self::Product => "product",
            Self::Ceiling => "ceiling",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
