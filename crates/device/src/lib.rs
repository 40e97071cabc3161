//! Device runtime of Broadhead: probe, dispatch policy, buffers, ledger, evidence.
//!
//! This is the only crate that knows `cudarc`. It knows nothing of Schur complements, fits or
//! gates: it answers *where* work may run, *what* moved and *how* it went.

mod absence;
mod ledger;
mod path;
mod policy;

pub use absence::Absence;
pub use ledger::{ByteClass, Direction, LedgerSnapshot, Traffic};
pub use path::ExecutionPath;
pub use policy::{DevicePolicy, Dispatch, ParsePolicyError};
