//! Cholesky: `A = L L'` (lower, which is twice as fast here as the other triangle).

use super::Triangle;
use super::matrix::{BatchMut, MatrixMut, touched};
use crate::fault::{Refusal, Result, expect_shape};
use crate::kernels::pointers::strided_pointers;
use crate::runtime::buffer::ViewMut;
use crate::runtime::handles::solver_answer;
use crate::runtime::stream::Stream;
use cudarc::cusolver::sys as solver;

impl Stream {
    /// Elements of workspace that [`Stream::potrf`] needs for a matrix of this layout.
    ///
    /// # Errors
    /// A [`Refusal`] where the library cannot count them; a [`Fault`](crate::Fault).
    pub fn potrf_workspace(&self, a: &mut MatrixMut<'_>) -> Result<usize> {
        let mut elements = 0;
        self.with_handles(|handles| {
            // SAFETY: the call reads the layout alone and writes the number.
            let status = unsafe {
                solver::cusolverDnDpotrf_bufferSize(
                    handles.solver,
                    Triangle::Lower.solver(),
                    a.layout.rows,
                    a.pointer(),
                    a.layout.leading,
                    &mut elements,
                )
            };
            solver_answer(self.context(), "cusolverDnDpotrf_bufferSize", status)
        })?;
        // The library answers in 32 bits: what is past them shows as a negative number.
        Ok(usize::try_from(elements).map_err(|_| Refusal::Shape {
            what: "potrf_workspace".to_owned(),
            expected: format!("a workspace of at most {} elements", i32::MAX),
            found: format!("one for a matrix of {}", a.layout),
        })?)
    }

    /// The lower triangle of `A` becomes its Cholesky factor; the upper is left alone. `info` (one
    /// number) becomes the first pivot that is not positive, counted from 1, or 0. One
    /// factorization of something: the caller, who knows of what, counts it.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where shapes or streams differ; a [`Fault`](crate::Fault).
    pub fn potrf(
        &self,
        a: &mut MatrixMut<'_>,
        workspace: ViewMut<'_, f64>,
        info: ViewMut<'_, i32>,
    ) -> Result<()> {
        let n = a.layout.rows;
        expect_shape(a.layout.is_square(n), "potrf", "a square matrix", a.layout)?;
        expect_shape(info.len() == 1, "potrf", "one number for info", info.len())?;
        let least = self.potrf_workspace(a)?;
        let expected = format_args!("{least} elements of workspace").to_string();
        expect_shape(workspace.len() >= least, "potrf", expected, workspace.len())?;
        let kept = touched(
            self,
            "potrf",
            [
                a.operand(),
                (workspace.home(), workspace.kept()),
                (info.home(), info.kept()),
            ],
        )?;
        let length = i32::try_from(workspace.len()).unwrap_or(i32::MAX);
        self.with_handles(|handles| {
            // SAFETY: the matrix fits its view and the workspace is as long as the library asks;
            // all memory lives until the call has ended by the order of frees.
            let status = unsafe {
                solver::cusolverDnDpotrf(
                    handles.solver,
                    Triangle::Lower.solver(),
                    n,
                    a.pointer(),
                    a.layout.leading,
                    workspace.pointer() as *mut f64,
                    length,
                    info.pointer() as *mut i32,
                )
            };
            solver_answer(self.context(), "cusolverDnDpotrf", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// [`Stream::potrf`] for every matrix of a batch, lower. `pointers` is scratch for one address
    /// a matrix (made on the device: one more submission); `info` holds one number a matrix.
    ///
    /// # Errors
    /// As [`Stream::potrf`].
    pub fn potrf_batch(
        &self,
        a: &mut BatchMut<'_>,
        pointers: ViewMut<'_, u64>,
        info: ViewMut<'_, i32>,
    ) -> Result<()> {
        let what = "potrf_batch";
        let (layout, count) = (a.first.layout, a.count);
        let each = count as usize;
        expect_shape(
            layout.is_square(layout.rows),
            what,
            "square matrices",
            layout,
        )?;
        let expected = format_args!("{each} numbers for info").to_string();
        expect_shape(info.len() == each, what, expected, info.len())?;
        let kept = touched(
            self,
            what,
            [
                a.first.operand(),
                (pointers.home(), pointers.kept()),
                (info.home(), info.kept()),
            ],
        )?;
        let list = pointers.slice(0..each)?;
        if count == 0 || layout.rows == 0 {
            return Ok(());
        }
        let addresses = list.pointer();
        strided_pointers(self, a.first.view.pointer(), a.stride as i64, list)?;
        self.with_handles(|handles| {
            // SAFETY: as in `potrf`, for every address that was just made.
            let status = unsafe {
                solver::cusolverDnDpotrfBatched(
                    handles.solver,
                    Triangle::Lower.solver(),
                    layout.rows,
                    addresses as *mut *mut f64,
                    layout.leading,
                    info.pointer() as *mut i32,
                    count,
                )
            };
            solver_answer(self.context(), "cusolverDnDpotrfBatched", status)
        })?;
        self.submitted(kept);
        Ok(())
    }
}
