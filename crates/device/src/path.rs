//! Where work really ran.

use serde::{Deserialize, Serialize};

/// Where the work of a result really ran. Carried by every result; set by the code that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExecutionPath {
    /// On the host's processors.
    Cpu,
    /// On a device that was sent its operands for every solve.
    GpuReupload,
    /// On a device that keeps the factors of one linearisation.
    GpuResidentLinearization,
    /// On a device that also keeps iterate, residual, objective, gain and ridge.
    GpuResidentFull,
}

impl ExecutionPath {
    /// The word used on the command line and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::GpuReupload => "gpu-reupload",
            Self::GpuResidentLinearization => "gpu-resident-linearization",
            Self::GpuResidentFull => "gpu-resident-full",
        }
    }

    /// Whether the work ran on a device.
    pub fn is_device(self) -> bool {
        self != Self::Cpu
    }
}

impl std::fmt::Display for ExecutionPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
