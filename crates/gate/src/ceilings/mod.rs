//! Ceilings, measured: what the planner of `broadhead-schur` prices by.
//!
//! | | measured by | in |
//! |---|---|---|
//! | [`measure_cpu`] | loops and the libraries' products here | a few seconds |
//! | [`Store::measure_device`] | `broadhead-device`, two windows of each | up to a minute |
//!
//! A [`Store`] keeps both on disk and hands them to a solver's options: nothing is measured without being
//! asked.
//!
//! ```no_run
//! use broadhead_gate::ceilings::Store;
//! use broadhead_schur::SolverOptions;
//!
//! let store = Store::of_environment();
//! store.measure_host()?; // Once a machine: `broadhead doctor --measure` does it too.
//! let mut options = SolverOptions::default();
//! store.hand_to(&mut options);
//! # Ok::<(), broadhead_gate::ceilings::MeasureError>(())
//! ```

mod cpu;
mod device;
mod store;

pub use broadhead_device::kept::Folder;
pub use cpu::measure_cpu;
use device::declined;
pub use device::of_device;
pub use store::{MeasureError, Store};
