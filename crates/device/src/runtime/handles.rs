//! Handles of cuBLAS and cuSOLVER: one pair a stream, taken from a pool.
//!
//! A handle belongs to its stream while the stream lives, with a workspace of its own, so that
//! results do not depend on what other streams do (cuBLAS promises the same bits only then).
//! Making a pair costs milliseconds; a pair comes back to the pool when its stream ends, after all
//! its work is done.

use super::context::{Answer, Context};
use cudarc::cublas::sys as blas;
use cudarc::cusolver::sys as solver;
use cudarc::driver::sys;
use std::sync::{Mutex, PoisonError};

/// One cuBLAS and one cuSOLVER handle, set to no stream or to one.
pub(crate) struct HandlePair {
    pub(crate) blas: blas::cublasHandle_t,
    pub(crate) solver: solver::cusolverDnHandle_t,
    workspace: sys::CUdeviceptr,
}

// SAFETY: a handle may be used from any one thread at a time; pairs live behind a mutex.
unsafe impl Send for HandlePair {}

/// Idle pairs of one context. They live as long as the context: as long as the process.
#[derive(Default)]
pub(crate) struct HandlePool(Mutex<Vec<HandlePair>>);

impl HandlePool {
    /// An idle pair, or a new one.
    pub(crate) fn take(&self, context: &Context) -> crate::Result<HandlePair> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(pair) => Ok(pair),
            None => Ok(HandlePair::make(context)?),
        }
    }

    /// Takes a pair back, all of whose work is done.
    pub(crate) fn give_back(&self, pair: HandlePair) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(pair);
    }
}

/// Checks a cuBLAS status.
pub(crate) fn blas_answer(context: &Context, call: &str, status: blas::cublasStatus_t) -> Answer {
    context.check_library(call, status as u32, format!("{status:?}"))
}

/// Checks a cuSOLVER status.
pub(crate) fn solver_answer(
    context: &Context,
    call: &str,
    status: solver::cusolverStatus_t,
) -> Answer {
    context.check_library(call, status as u32, format!("{status:?}"))
}

/// Bytes of cuBLAS workspace, as its documentation asks: 32 MiB from Hopper on, 4 MiB before.
fn workspace_bytes(context: &Context) -> usize {
    if context.info().compute_capability.0 >= 9 {
        32 << 20
    } else {
        4 << 20
    }
}

impl HandlePair {
    fn make(context: &Context) -> Result<Self, crate::Fault> {
        let mut pair = Self {
            blas: std::ptr::null_mut(),
            solver: std::ptr::null_mut(),
            workspace: 0,
        };
        let bytes = workspace_bytes(context);
        // SAFETY: the caller entered the context; all results outlive the calls. A failure in the
        // middle leaks one handle, which the next call replaces.
        unsafe {
            let call = "cublasCreate_v2";
            blas_answer(context, call, blas::cublasCreate_v2(&mut pair.blas))?;
            let call = "cusolverDnCreate";
            solver_answer(context, call, solver::cusolverDnCreate(&mut pair.solver))?;
            let call = "cuMemAlloc_v2";
            match sys::cuMemAlloc_v2(&mut pair.workspace, bytes) {
                sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    return Err(crate::Fault::OutOfMemory {
                        asked: bytes as u64,
                        free: context.memory()?.free,
                        what_for: "the workspace of cuBLAS".to_owned(),
                    });
                }
                status => context.check(call, status)?,
            }
        }
        Ok(pair)
    }

    /// Sets both handles to a stream. Setting a stream drops the workspace, hence the order.
    pub(crate) fn attach(&self, context: &Context, stream: sys::CUstream) -> Answer {
        // SAFETY: both handles and the workspace live as long as the process; the stream outlives
        // the pair's stay with it.
        unsafe {
            let status = blas::cublasSetStream_v2(self.blas, stream.cast());
            blas_answer(context, "cublasSetStream_v2", status)?;
            let status = blas::cublasSetWorkspace_v2(
                self.blas,
                self.workspace as *mut _,
                workspace_bytes(context),
            );
            blas_answer(context, "cublasSetWorkspace_v2", status)?;
            let status = solver::cusolverDnSetStream(self.solver, stream.cast());
            solver_answer(context, "cusolverDnSetStream", status)
        }
    }
}
