//! What a fit says while it runs.

use crate::lm::{Status, TraceEntry};
use crate::rounds::GateRound;
use std::ops::ControlFlow;

/// What a fit reports while it runs. Calls come from worker threads, in no order between starts.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress {
    /// A start has been screened.
    Screened {
        /// The start.
        start: usize,
        /// The number of starts.
        of: usize,
    },
    /// A round of a start, on a sample of rows or on all.
    Round {
        /// The start; absent while starts are ranked together.
        start: Option<usize>,
        /// The round; its objective is in the units of the normalised data.
        round: GateRound,
    },
    /// A trial of a start that is being finished.
    Trial {
        /// The start.
        start: usize,
        /// The trial; objectives are in the units of the normalised data.
        entry: TraceEntry,
    },
    /// A start has been finished.
    Finished {
        /// The start.
        start: usize,
        /// The number of starts that are finished altogether.
        of: usize,
        /// How it ended; absent where it failed.
        status: Option<Status>,
    },
}

/// A callback that receives the progress of a fit, and may stop it.
pub type Watch<'a> = dyn Fn(&Progress) -> ControlFlow<()> + Sync + 'a;
