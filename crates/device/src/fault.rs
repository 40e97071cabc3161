//! What can go wrong once device work has begun, and what is declined before it.
//!
//! | type | meaning | what a caller may do |
//! |---|---|---|
//! | [`Absence`] | no device work is possible | run on the CPU, before any device work began |
//! | [`Refusal`] | the call was declined and nothing was submitted | ask differently |
//! | [`Fault`] | a call failed | end the work and report |

use crate::Absence;
use serde::{Deserialize, Serialize};

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Device memory is exhausted. The next smaller allocation may work.
    #[error("out of memory: {asked} bytes for {what_for}, {free} bytes free")]
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes free then, those that the pool held unused included.
        free: u64,
        /// What the memory was for.
        what_for: String,
    },
    /// The host cannot lock that many pages.
    #[error("cannot pin {asked} bytes of host memory for {what_for}")]
    PinnedMemory {
        /// Bytes asked for.
        asked: u64,
        /// What the memory was for.
        what_for: String,
    },
    /// A device older than the oldest that is supported, or unknown to the compiler.
    #[error("architecture {found} is not supported: {why}")]
    UnsupportedArchitecture {
        /// The architecture, as `sm_75`.
        found: String,
        /// Which side does not support it.
        why: String,
    },
    /// A library too old for what was asked of it.
    #[error("{library} is too old: {call} answered {status}")]
    TooOld {
        /// The library's common name.
        library: String,
        /// The call.
        call: String,
        /// Its status by name.
        status: String,
    },
    /// The device's context is gone: an earlier kernel or the hardware failed. Every handle of
    /// that context answers this, with the first failure, for as long as the process lives.
    #[error("device {ordinal} is lost: {call} answered {status}")]
    DeviceLost {
        /// The device's number.
        ordinal: usize,
        /// The call that found it.
        call: String,
        /// Its status by name.
        status: String,
    },
    /// Any other call that failed.
    #[error("{call} answered {status}")]
    Library {
        /// The call.
        call: String,
        /// Its status by name.
        status: String,
    },
    /// A kernel source that does not compile.
    #[error("kernel source {source_name} does not compile for {architecture}:\n{log}")]
    Compile {
        /// The source's name.
        source_name: String,
        /// The architecture, as `sm_90`.
        architecture: String,
        /// What the compiler said.
        log: String,
    },
}

impl Fault {
    /// Whether memory is what was missing, in whatever words the call said it.
    pub fn is_out_of_memory(&self) -> bool {
        const WORDS: [&str; 3] = [
            "CUDA_ERROR_OUT_OF_MEMORY",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "CUSOLVER_STATUS_ALLOC_FAILED",
        ];
        match self {
            Self::OutOfMemory { .. } | Self::PinnedMemory { .. } => true,
            Self::Library { status, .. } => WORDS.contains(&status.as_str()),
            _ => false,
        }
    }
}

/// A call that was declined before anything was submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// A length or shape that does not fit.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which operand of which call.
        what: String,
        /// What fits.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A buffer used on a stream that is not its own: nothing would order the two.
    #[error("{what}: a buffer of stream {home} was used on stream {used}; move it first")]
    ForeignStream {
        /// Which call.
        what: String,
        /// The buffer's stream.
        home: u64,
        /// The stream it was used on.
        used: u64,
    },
    /// A call that a stream capture cannot hold.
    #[error("{what} cannot be captured: {why}")]
    Capturing {
        /// Which call.
        what: String,
        /// Why not.
        why: String,
    },
    /// More memory than is free, known before anything was allocated.
    #[error("{what_for} needs {needed} bytes, {free} are free")]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// What for.
        what_for: String,
    },
}

/// Any reason for which device work did not happen or did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceError {
    /// No device work is possible.
    #[error(transparent)]
    Absence(#[from] Absence),
    /// The call was declined.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The call failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl DeviceError {
    /// Whether memory is what was missing, known before or found by a call that failed.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Absence(_) => false,
            Self::Refusal(refusal) => matches!(refusal, Refusal::Memory { .. }),
            Self::Fault(fault) => fault.is_out_of_memory(),
        }
    }
}

/// What every call on a device answers.
pub type Result<T> = std::result::Result<T, DeviceError>;

/// Declines unless `fits`.
pub(crate) fn expect_shape(
    fits: bool,
    what: &str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> std::result::Result<(), Refusal> {
    if fits {
        return Ok(());
    }
    Err(Refusal::Shape {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    })
}
