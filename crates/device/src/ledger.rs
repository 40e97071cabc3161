//! What really moved: bytes by direction and class, submissions, synchronisations, allocations,
//! factorizations.

use serde::{Deserialize, Serialize};

/// Which way bytes crossed the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From host memory to device memory.
    HostToDevice,
    /// From device memory to host memory.
    DeviceToHost,
}

/// What the bytes of a transfer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ByteClass {
    /// Blocks of the operator.
    Operand,
    /// Gradients and steps.
    Gradient,
    /// Small fixed records of a loop.
    Record,
    /// Anything else.
    Other,
}

/// Bytes moved in one direction, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes of operands.
    pub operand: u64,
    /// Bytes of gradients and steps.
    pub gradient: u64,
    /// Bytes of records.
    pub record: u64,
    /// Other bytes.
    pub other: u64,
}

impl Traffic {
    /// All bytes of this direction.
    pub fn total(&self) -> u64 {
        self.operand + self.gradient + self.record + self.other
    }

    /// Adds `bytes` to `class`.
    pub fn add(&mut self, class: ByteClass, bytes: u64) {
        *match class {
            ByteClass::Operand => &mut self.operand,
            ByteClass::Gradient => &mut self.gradient,
            ByteClass::Record => &mut self.record,
            ByteClass::Other => &mut self.other,
        } += bytes;
    }
}

/// The counts of one piece of work. All zero on the CPU but for the factorizations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// Bytes from host to device.
    pub host_to_device: Traffic,
    /// Bytes from device to host.
    pub device_to_host: Traffic,
    /// Launches, library calls and graph launches that the host submitted.
    pub submissions: u64,
    /// Times that the host waited for the device.
    pub synchronisations: u64,
    /// Device allocations.
    pub allocations: u64,
    /// Operators factored, on any path.
    pub factorizations: u64,
    /// The most device bytes held at once.
    pub peak_bytes: u64,
}
