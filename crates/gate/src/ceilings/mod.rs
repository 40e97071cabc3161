//! Ceilings, measured: what the planner of `broadhead-schur` prices by.
//!
//! | | measured by | kept |
//! |---|---|---|
//! | [`measure_cpu`] | loops and products here | no: it takes a second |
//! | [`measure_device`] | `broadhead-device`, two windows of each | on disk, by device, driver and libraries |
//!
//! ```no_run
//! use broadhead_gate::ceilings;
//! use broadhead_schur::SolverOptions;
//!
//! let context = broadhead_device::Context::open(0)?;
//! let options = SolverOptions {
//!     ceilings: ceilings::measure_cpu(),
//!     device_ceilings: Some(ceilings::measure_device(&context)?),
//!     ..SolverOptions::default()
//! };
//! # drop(options);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cpu;
mod device;

pub use cpu::measure_cpu;
pub use device::{measure_device, of_device};
