//! Device runtime of Broadhead: probe, dispatch policy, buffers, ledger, evidence.
//!
//! This is the only crate that knows `cudarc`. It knows nothing of Schur complements, fits or
//! gates: it answers *where* work may run, *what* moved and *how* it went.
// Calling a C library is unsafe, and this crate is where the project does it. Every block says who
// guarantees pointer, length, stream and lifetime.
#![allow(unsafe_code)]

mod absence;
mod ledger;
mod path;
mod policy;
pub mod probe;
mod text;

pub use absence::Absence;
pub use ledger::{ByteClass, Direction, LedgerSnapshot, Traffic};
pub use path::ExecutionPath;
pub use policy::{DevicePolicy, Dispatch, ParsePolicyError};
