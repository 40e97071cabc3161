//! Triangular systems and inverses.

use super::matrix::{Batch, BatchMut, Matrix, MatrixMut, touched};
use super::{Side, Triangle};
use crate::fault::{Result, expect_shape};
use crate::kernels::pointers::strided_pointers;
use crate::runtime::buffer::ViewMut;
use crate::runtime::handles::{blas_answer, solver_answer};
use crate::runtime::stream::Stream;
use cudarc::cublas::sys as blas;
use cudarc::cusolver::sys as solver;

const NOT_UNIT: blas::cublasDiagType_t = blas::cublasDiagType_t::CUBLAS_DIAG_NON_UNIT;

/// What [`Stream::trtri`] needs beside its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InverseWorkspace {
    /// Bytes on the device.
    pub device_bytes: usize,
    /// Bytes on the host, which the call takes itself.
    pub host_bytes: usize,
}

impl Stream {
    /// Solves `A X = alpha B` or `X A = alpha B` for a triangular `A` (or its transpose), in place
    /// of `B`. `triangle` says which half of `A` as stored is read.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where shapes or streams differ; a [`Fault`](crate::Fault).
    pub fn trsm(
        &self,
        side: Side,
        triangle: Triangle,
        alpha: f64,
        a: Matrix<'_>,
        b: &mut MatrixMut<'_>,
    ) -> Result<()> {
        expect_triangular("trsm", side, &a, b)?;
        let kept = touched(self, "trsm", [a.operand(), b.operand()])?;
        if b.layout.rows == 0 || b.layout.columns == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: the shapes fit the views, which live until the call has ended by the order
            // of frees; alpha is read before the call returns (host pointer mode).
            let status = unsafe {
                blas::cublasDtrsm_v2(
                    handles.blas,
                    side.blas(),
                    triangle.blas(),
                    a.operation(),
                    NOT_UNIT,
                    b.layout.rows,
                    b.layout.columns,
                    &alpha,
                    a.pointer(),
                    a.layout.leading,
                    b.pointer(),
                    b.layout.leading,
                )
            };
            blas_answer(self.context(), "cublasDtrsm_v2", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// [`Stream::trsm`] for every pair of two batches. `pointers` is scratch for two addresses a
    /// pair; the addresses are made on the device (two more submissions).
    ///
    /// # Errors
    /// As [`Stream::trsm`]; also where counts differ or the scratch is too short.
    pub fn trsm_batch(
        &self,
        side: Side,
        triangle: Triangle,
        alpha: f64,
        a: Batch<'_>,
        b: &mut BatchMut<'_>,
        pointers: ViewMut<'_, u64>,
    ) -> Result<()> {
        let what = "trsm_batch";
        expect_triangular(what, side, &a.first, &b.first)?;
        let count = b.count;
        expect_shape(
            a.count == count,
            what,
            format_args!("a batch of {count}"),
            a.count,
        )?;
        let kept = touched(
            self,
            what,
            [
                a.first.operand(),
                b.first.operand(),
                (pointers.home(), pointers.kept()),
            ],
        )?;
        let each = count as usize;
        let of_pairs = pointers.slice(0..2 * each)?;
        if count == 0 || b.first.layout.rows == 0 || b.first.layout.columns == 0 {
            return Ok(());
        }
        let (of_a, of_b) = of_pairs.split_at(each)?;
        let (a_list, b_list) = (of_a.pointer(), of_b.pointer());
        strided_pointers(self, a.first.view.pointer(), a.stride as i64, of_a)?;
        strided_pointers(self, b.first.view.pointer(), b.stride as i64, of_b)?;
        self.with_handles(|handles| {
            // SAFETY: as in `trsm`, for every address that was just made.
            let status = unsafe {
                blas::cublasDtrsmBatched(
                    handles.blas,
                    side.blas(),
                    triangle.blas(),
                    a.first.operation(),
                    NOT_UNIT,
                    b.first.layout.rows,
                    b.first.layout.columns,
                    &alpha,
                    a_list as *const *const f64,
                    a.first.layout.leading,
                    b_list as *const *mut f64,
                    b.first.layout.leading,
                    count,
                )
            };
            blas_answer(self.context(), "cublasDtrsmBatched", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// What [`Stream::trtri`] needs for a matrix of this layout.
    ///
    /// # Errors
    /// A [`Fault`](crate::Fault).
    pub fn trtri_workspace(
        &self,
        triangle: Triangle,
        a: &mut MatrixMut<'_>,
    ) -> Result<InverseWorkspace> {
        let (mut device_bytes, mut host_bytes) = (0, 0);
        self.with_handles(|handles| {
            // SAFETY: the call reads the layout alone and writes the two numbers.
            let status = unsafe {
                solver::cusolverDnXtrtri_bufferSize(
                    handles.solver,
                    triangle.solver(),
                    solver::cublasDiagType_t::CUBLAS_DIAG_NON_UNIT,
                    a.layout.rows.into(),
                    solver::cudaDataType_t::CUDA_R_64F,
                    a.pointer().cast(),
                    a.layout.leading.into(),
                    &mut device_bytes,
                    &mut host_bytes,
                )
            };
            solver_answer(self.context(), "cusolverDnXtrtri_bufferSize", status)
        })?;
        Ok(InverseWorkspace {
            device_bytes,
            host_bytes,
        })
    }

    /// `A <- A^-1` for a triangular `A`; the other triangle is left alone. `info` (one number)
    /// becomes the first zero pivot, counted from 1, or 0.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where shapes or streams differ, or in a capture where the
    /// library wants host memory; a [`Fault`](crate::Fault).
    pub fn trtri(
        &self,
        triangle: Triangle,
        a: &mut MatrixMut<'_>,
        workspace: ViewMut<'_, u8>,
        info: ViewMut<'_, i32>,
    ) -> Result<()> {
        let n = a.layout.rows;
        expect_shape(a.layout.is_square(n), "trtri", "a square matrix", a.layout)?;
        expect_shape(info.len() == 1, "trtri", "one number for info", info.len())?;
        let needed = self.trtri_workspace(triangle, a)?;
        let (least, found) = (needed.device_bytes, workspace.len());
        let expected = format_args!("{least} bytes of workspace").to_string();
        expect_shape(found >= least, "trtri", expected, found)?;
        if needed.host_bytes > 0 {
            self.not_capturing("trtri", "the library wants host memory for it")?;
        }
        let kept = touched(
            self,
            "trtri",
            [
                a.operand(),
                (workspace.home(), workspace.kept()),
                (info.home(), info.kept()),
            ],
        )?;
        let mut host = vec![0u8; needed.host_bytes];
        self.with_handles(|handles| {
            // SAFETY: the matrix fits its view; both workspaces are as long as the library asked,
            // and the host's outlives the work because it is awaited below.
            let status = unsafe {
                solver::cusolverDnXtrtri(
                    handles.solver,
                    triangle.solver(),
                    solver::cublasDiagType_t::CUBLAS_DIAG_NON_UNIT,
                    n.into(),
                    solver::cudaDataType_t::CUDA_R_64F,
                    a.pointer().cast(),
                    a.layout.leading.into(),
                    workspace.pointer() as *mut _,
                    workspace.bytes(),
                    host.as_mut_ptr().cast(),
                    host.len(),
                    info.pointer() as *mut i32,
                )
            };
            solver_answer(self.context(), "cusolverDnXtrtri", status)
        })?;
        self.submitted(kept);
        if !host.is_empty() {
            self.synchronize()?;
        }
        Ok(())
    }
}

fn expect_triangular(what: &str, side: Side, a: &Matrix<'_>, b: &MatrixMut<'_>) -> Result<()> {
    let order = match side {
        Side::Left => b.layout.rows,
        Side::Right => b.layout.columns,
    };
    expect_shape(
        a.layout.is_square(order),
        what,
        format_args!("a triangle of order {order} for B of {}", b.layout),
        a.layout,
    )?;
    Ok(())
}
