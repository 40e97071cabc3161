//! Device runtime of Broadhead: probe, dispatch policy, buffers, ledger, evidence.
//!
//! This is the only crate that knows `cudarc`. It knows nothing of Schur complements, fits or
//! gates: it answers *where* work may run, *what* moved and *how* it went.
// Calling a C library is unsafe, and this crate is where the project does it. Every block says who
// guarantees pointer, length, stream and lifetime.
#![allow(unsafe_code)]

mod absence;
mod fault;
pub mod kernels;
mod ledger;
mod linalg;
pub mod measure;
pub mod nvml;
mod path;
mod policy;
pub mod probe;
mod runtime;
mod text;
pub mod witness;

pub use absence::Absence;
pub use fault::{DeviceError, Fault, Refusal, Result};
pub use ledger::{ByteClass, Direction, Ledger, LedgerSnapshot, Traffic};
pub use linalg::matrix::{Batch, BatchMut, Matrix, MatrixMut};
pub use linalg::triangular::InverseWorkspace;
pub use linalg::{Side, Triangle};
pub use path::ExecutionPath;
pub use policy::{DevicePolicy, Dispatch, ParsePolicyError};
pub use runtime::buffer::{DeviceBuffer, Element, View, ViewMut};
pub use runtime::context::{Context, Memory};
pub use runtime::event::{Mark, Phases};
pub use runtime::graph::{Condition, Graph, Updated};
pub use runtime::pinned::PinnedBuffer;
pub use runtime::stream::Stream;
