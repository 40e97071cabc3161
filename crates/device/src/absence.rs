//! Why a device cannot be used: a value with its reason, never `false`, `None` or zero.

use serde::{Deserialize, Serialize};

/// Why device work did not begin. Every variant says what was looked for.
///
/// An absence is decided *before* any device work; a refusal (too little memory, work below the
/// dispatch floor) and a fault (a call that failed) are other types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Absence {
    /// The policy is `off`: nothing was probed.
    #[error("the device policy is off")]
    PolicyOff,
    /// A library that could not be loaded under any of its names.
    #[error("{library} is missing (tried {})", tried.join(", "))]
    Library {
        /// The library's common name: driver, cuBLAS, cuSOLVER, NVRTC, NVML, NCCL, CUPTI.
        library: String,
        /// File names that the loader was asked for.
        tried: Vec<String>,
    },
    /// A file of the right name that the loader refuses: no shared library, or one whose own
    /// dependencies are missing.
    #[error("{library} does not load from {file}: {reason}")]
    Broken {
        /// The library's common name.
        library: String,
        /// The file name that was found.
        file: String,
        /// What the loader said.
        reason: String,
    },
    /// A library that loads but lacks a symbol this program calls.
    #[error("{library} lacks the symbol {symbol}")]
    Symbol {
        /// The library's common name.
        library: String,
        /// The first symbol that is missing.
        symbol: String,
    },
    /// A library older than the oldest that is supported.
    #[error("{library} is version {found}, at least {needed} is needed")]
    Version {
        /// The library's common name.
        library: String,
        /// The version found.
        found: String,
        /// The oldest version that serves.
        needed: String,
    },
    /// A library that is there and does not start.
    #[error("{library} does not start: {call} answered {status}")]
    Start {
        /// The library's common name.
        library: String,
        /// The call that failed.
        call: String,
        /// Its status, by number.
        status: i64,
    },
    /// The driver is there and lists no device.
    #[error("the CUDA driver lists no device")]
    NoDevice,
    /// The driver lists fewer devices.
    #[error("there is no device {asked}: the CUDA driver lists {listed}")]
    Ordinal {
        /// The number asked for, from 0.
        asked: usize,
        /// How many the driver lists.
        listed: usize,
    },
    /// No device backend exists for what was asked.
    #[error("no device backend for {what}")]
    NoBackend {
        /// What was asked for.
        what: String,
    },
}
