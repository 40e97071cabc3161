//! Why there is no measurement.

use broadhead_device::Absence;
use serde::{Deserialize, Serialize};

/// The reason of a measurement that was not made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Decline {
    /// A driver, library, symbol or device is missing.
    #[error("absent: {absence}")]
    Absent {
        /// What is missing, by name.
        absence: Absence,
    },
    /// The work does not fit.
    #[error("out of memory: {asked} bytes asked, {free} free")]
    OutOfMemory {
        /// Bytes asked.
        asked: u64,
        /// Bytes free.
        free: u64,
    },
    /// The work is too small to be worth a device.
    #[error("below the dispatch floor: {operations:e} operations, {floor:e} are needed")]
    BelowDispatchFloor {
        /// Operations of the work.
        operations: f64,
        /// The least that is dispatched.
        floor: f64,
    },
    /// The work did not converge: its time means nothing.
    #[error("not converged after {iterations} iterations")]
    NotConverged {
        /// Iterations done.
        iterations: u64,
    },
    /// The device was throttled while it ran.
    #[error("throttled: {reason}")]
    Throttled {
        /// The reasons the device gave.
        reason: String,
    },
    /// The result does not agree with the reference: its time means nothing.
    #[error("parity failed: error {error:e}, bound {bound:e}")]
    ParityFailed {
        /// The error found.
        error: f64,
        /// The bound it had to meet.
        bound: f64,
    },
    /// Two witnesses of the same work disagree, or one saw nothing.
    #[error("witnesses disagree on {what}: {first} and {second}")]
    WitnessesDisagree {
        /// What they counted.
        what: String,
        /// The first witness's count.
        first: u64,
        /// The second's.
        second: u64,
    },
    /// Nothing was timed.
    #[error("no sample was taken")]
    NoSample,
    /// A run was faster than its ceiling allows: the ceiling is wrong, and so is what is judged by it.
    #[error("a run of {run:e} s beats its ceiling of {ceiling:e} s: the ceiling is wrong")]
    CeilingBeaten {
        /// Seconds of the run.
        run: f64,
        /// Seconds that the ceiling allows at least.
        ceiling: f64,
    },
    /// There is no ceiling to judge by, or its windows differ.
    #[error("no ceiling of {what}")]
    NoCeiling {
        /// Of what.
        what: String,
    },
    /// The two sides of a ratio are of different runs.
    #[error("the two sides are of different runs")]
    OtherRun,
    /// The work ran elsewhere than it was to be measured.
    #[error("the work ran on path {path}, which is no device path")]
    NotOnDevice {
        /// Where it ran.
        path: String,
    },
    /// What was asked for does not serve this work.
    #[error("{why}")]
    Unsupported {
        /// What does not serve, and why.
        why: String,
    },
    /// The work itself failed.
    #[error("failed: {error}")]
    Failed {
        /// Its error.
        error: String,
    },
}

impl From<Absence> for Decline {
    fn from(absence: Absence) -> Self {
        Self::Absent { absence }
    }
}
