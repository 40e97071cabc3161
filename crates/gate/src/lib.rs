//! The throughput gate: what was measured or declined, and the verdict on it.
//!
//! ```text
//!   device run ── evidence (path, ledger) ──> Samples<OnDevice> ──> Measurement<OnDevice> ──> Verdict
//!   CPU run ─────────────────────────────────> Samples<OnCpu>  ──> Measurement<OnCpu>
//! ```
//!
//! # Invariants
//! - No type lets a CPU time become a device rate: samples carry the place they were taken as a
//!   type, and those of a device are made from evidence alone.
//! - A measurement is measured, with every sample, or declined, with its reason.
//! - A verdict is met, unmet or undetermined; undetermined never exits 0.
//! - Verdicts read no clock and do no IO. [`ceilings`] is the one module that reads a clock, and it and
//!   [`processor`] the ones that read files.
//!
//! ```compile_fail,E0308
//! use broadhead_gate::{Measurement, OnCpu, Requirement, Samples};
//! let cpu = Samples::<OnCpu>::new(vec![1e-3]).unwrap();
//! // A CPU time is no device measurement: this does not compile.
//! Requirement::at_least(1e3, 1.0).verdict(&Measurement::Measured(cpu));
//! ```
//! Nor can samples of a device be made without evidence, or evidence without a ledger:
//! ```compile_fail,E0061
//! use broadhead_gate::{OnDevice, Samples};
//! let rate = Samples::<OnDevice>::new(vec![1e-3]);
//! ```
//! ```compile_fail,E0451
//! use broadhead_device::{ExecutionPath, LedgerSnapshot};
//! use broadhead_gate::DeviceEvidence;
//! let made_up = DeviceEvidence {
//!     path: ExecutionPath::GpuResidentFull,
//!     ledger: LedgerSnapshot::default(),
//! };
//! ```

pub mod ceilings;
mod decline;
mod measurement;
pub mod processor;
mod verdict;

pub use decline::Decline;
pub use measurement::{DeviceEvidence, EmptySamples, Measurement, OnCpu, OnDevice, Place, Samples};
pub use verdict::{Requirement, Verdict};
