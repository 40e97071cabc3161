//! Device runtime of Broadhead: probe, dispatch policy, streams, buffers, ledger, evidence.
//!
//! This is the only crate that knows `cudarc`. It knows nothing of Schur complements, fits or
//! gates: it answers *where* work may run, *what* moved and *how* it went.
//!
//! | chapter | question |
//! |---|---|
//! | [`probe`] | what is here, by name and version, before anything is called |
//! | [`DevicePolicy`], [`Dispatch`], [`Absence`] | may, must or must not a device be used; why not |
//! | [`Context`], [`Stream`], [`DeviceBuffer`], [`PinnedBuffer`], [`Graph`] | work in order, and its memory |
//! | [`Matrix`] and [`Stream`]'s `gemm`, `potrf`, `trsm`, ... | the vendor's dense linear algebra |
//! | [`kernels`] | CUDA text to launches |
//! | [`mod@record`] | what kernels write and hosts read, declared once for both |
//! | [`Ledger`], [`LedgerSnapshot`] | what moved, counted inside the calls that move it |
//! | [`witness`], [`nvml`] | what the device itself says of that |
//! | [`seal`] | whether a line of evidence is the one that was written |
//! | [`measure`] | what the device can do at most |
//! | [`Fault`], [`Refusal`] | what went wrong, and what was declined |
//!
//! Libraries are opened by name at run time, so one program serves machines with and without a
//! device:
//!
//! ```
//! use broadhead_device::{DevicePolicy, ExecutionPath, probe};
//!
//! let dispatch = DevicePolicy::Auto
//!     .dispatch(|| probe::cuda().map(|_| ExecutionPath::GpuResidentLinearization))?;
//! if let Some(absence) = &dispatch.absence {
//!     assert_eq!(dispatch.path, ExecutionPath::Cpu);
//!     println!("on the CPU: {absence}");
//! }
//! # Ok::<(), broadhead_device::Absence>(())
//! ```
//!
//! With a device, work is a stream and its account:
//!
//! ```no_run
//! use broadhead_device::{ByteClass, Context, Ledger, Matrix, MatrixMut};
//!
//! let context = Context::open(0)?;
//! let ledger = Ledger::new();
//! let stream = context.stream(&ledger)?;
//! let a = stream.upload(&[1.0, 2.0, 3.0, 4.0], ByteClass::Operand, "A")?;
//! let mut c = stream.zeros::<f64>(4, "C")?;
//! let a = Matrix::packed(a.view(), 2, 2)?;
//! stream.gemm(1.0, a, a.transposed(), 0.0, &mut MatrixMut::packed(c.view_mut(), 2, 2)?)?;
//! let product = stream.download(c.view(), ByteClass::Other)?;
//! assert_eq!(product, [10.0, 14.0, 14.0, 20.0]);
//! assert_eq!(ledger.snapshot().host_to_device.operand, 32);
//! # Ok::<(), broadhead_device::DeviceError>(())
//! ```
// Calling a C library is unsafe, and this crate is where the project does it. Every block says who
// guarantees pointer, length, stream and lifetime.
#![allow(unsafe_code)]

mod absence;
mod fault;
pub mod kept;
pub mod kernels;
mod ledger;
mod linalg;
pub mod measure;
pub mod nvml;
mod path;
mod policy;
pub mod probe;
pub mod record;
mod runtime;
pub mod seal;
mod text;
pub mod witness;

pub use absence::Absence;
pub use fault::{DeviceError, Fault, Refusal, Result};
pub use ledger::{ByteClass, Direction, Ledger, LedgerSnapshot, Traffic};
pub use linalg::inverse::LARGEST_LEAF;
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
pub use runtime::uploader::Uploader;
