//! Products: `C <- alpha A B + beta C` and its special cases.

use super::Triangle;
use super::matrix::{Batch, BatchMut, Matrix, MatrixMut, touched};
use crate::fault::{Result, expect_shape};
use crate::runtime::buffer::{View, ViewMut};
use crate::runtime::handles::blas_answer;
use crate::runtime::stream::Stream;
use cudarc::cublas::sys as blas;

impl Stream {
    /// `C <- alpha A B + beta C`.
    ///
    /// # Errors
    /// A [`Refusal`](crate::Refusal) where shapes or streams differ; a [`Fault`](crate::Fault).
    pub fn gemm(
        &self,
        alpha: f64,
        a: Matrix<'_>,
        b: Matrix<'_>,
        beta: f64,
        c: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let (m, n, k) = product_shape("gemm", &a, &b, c)?;
        let kept = touched(self, "gemm", [a.operand(), b.operand(), c.operand()])?;
        if m == 0 || n == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: the shapes fit the views, which live until the call has ended by the order
            // of frees; alpha and beta are read before the call returns (host pointer mode).
            let status = unsafe {
                blas::cublasDgemm_v2(
                    handles.blas,
                    a.operation(),
                    b.operation(),
                    m,
                    n,
                    k,
                    &alpha,
                    a.pointer(),
                    a.layout.leading,
                    b.pointer(),
                    b.layout.leading,
                    &beta,
                    c.pointer(),
                    c.layout.leading,
                )
            };
            blas_answer(self.context(), "cublasDgemm_v2", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// `C_i <- alpha A_i B_i + beta C_i` for every i of a batch.
    ///
    /// # Errors
    /// As [`Stream::gemm`]; also where the counts differ.
    pub fn gemm_batch(
        &self,
        alpha: f64,
        a: Batch<'_>,
        b: Batch<'_>,
        beta: f64,
        c: &mut BatchMut<'_>,
    ) -> Result<()> {
        let what = "gemm_batch";
        let (m, n, k) = product_shape(what, &a.first, &b.first, &c.first)?;
        let counts = (a.count, b.count);
        let count = c.count;
        expect_shape(
            counts == (count, count),
            what,
            format_args!("batches of {count}"),
            format_args!("{counts:?}"),
        )?;
        let operands = [a.first.operand(), b.first.operand(), c.first.operand()];
        let kept = touched(self, what, operands)?;
        if m == 0 || n == 0 || count == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: as in `gemm`, for the last of the batch as for the first.
            let status = unsafe {
                blas::cublasDgemmStridedBatched(
                    handles.blas,
                    a.first.operation(),
                    b.first.operation(),
                    m,
                    n,
                    k,
                    &alpha,
                    a.first.pointer(),
                    a.first.layout.leading,
                    a.stride as i64,
                    b.first.pointer(),
                    b.first.layout.leading,
                    b.stride as i64,
                    &beta,
                    c.first.pointer(),
                    c.first.layout.leading,
                    c.stride as i64,
                    count,
                )
            };
            blas_answer(self.context(), "cublasDgemmStridedBatched", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// `y <- alpha A x + beta y`.
    ///
    /// # Errors
    /// As [`Stream::gemm`].
    pub fn gemv(
        &self,
        alpha: f64,
        a: Matrix<'_>,
        x: View<'_, f64>,
        beta: f64,
        y: &mut ViewMut<'_, f64>,
    ) -> Result<()> {
        let (rows, columns) = a.shape();
        let fits = (y.len(), x.len()) == (rows as usize, columns as usize);
        let found = format!("y of {}, x of {}", y.len(), x.len());
        expect_shape(
            fits,
            "gemv",
            format_args!("y of {rows}, x of {columns}"),
            found,
        )?;
        let operands = [a.operand(), (x.home(), x.kept()), (y.home(), y.kept())];
        let kept = touched(self, "gemv", operands)?;
        if rows == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: as in `gemm`.
            let status = unsafe {
                blas::cublasDgemv_v2(
                    handles.blas,
                    a.operation(),
                    a.layout.rows,
                    a.layout.columns,
                    &alpha,
                    a.pointer(),
                    a.layout.leading,
                    x.pointer() as *const f64,
                    1,
                    &beta,
                    y.pointer() as *mut f64,
                    1,
                )
            };
            blas_answer(self.context(), "cublasDgemv_v2", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// `y <- alpha A x + beta y` for a symmetric `A`, of which one triangle as stored is read.
    ///
    /// # Errors
    /// As [`Stream::gemm`].
    pub fn symv(
        &self,
        triangle: Triangle,
        alpha: f64,
        a: Matrix<'_>,
        x: View<'_, f64>,
        beta: f64,
        y: &mut ViewMut<'_, f64>,
    ) -> Result<()> {
        let n = a.layout.rows;
        expect_shape(a.layout.is_square(n), "symv", "a square matrix", a.layout)?;
        let fits = (y.len(), x.len()) == (n as usize, n as usize);
        let found = format!("y of {}, x of {}", y.len(), x.len());
        expect_shape(fits, "symv", format_args!("y and x of {n}"), found)?;
        let operands = [a.operand(), (x.home(), x.kept()), (y.home(), y.kept())];
        let kept = touched(self, "symv", operands)?;
        if n == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: as in `gemm`.
            let status = unsafe {
                blas::cublasDsymv_v2(
                    handles.blas,
                    triangle.blas(),
                    n,
                    &alpha,
                    a.pointer(),
                    a.layout.leading,
                    x.pointer() as *const f64,
                    1,
                    &beta,
                    y.pointer() as *mut f64,
                    1,
                )
            };
            blas_answer(self.context(), "cublasDsymv_v2", status)
        })?;
        self.submitted(kept);
        Ok(())
    }

    /// `C <- alpha A A' + beta C`, one triangle of it; the other is left alone.
    ///
    /// # Errors
    /// As [`Stream::gemm`].
    pub fn syrk(
        &self,
        triangle: Triangle,
        alpha: f64,
        a: Matrix<'_>,
        beta: f64,
        c: &mut MatrixMut<'_>,
    ) -> Result<()> {
        let (n, k) = a.shape();
        expect_shape(
            c.layout.is_square(n),
            "syrk",
            format_args!("{n} x {n}"),
            c.layout,
        )?;
        let kept = touched(self, "syrk", [a.operand(), c.operand()])?;
        if n == 0 {
            return Ok(());
        }
        self.with_handles(|handles| {
            // SAFETY: as in `gemm`.
            let status = unsafe {
                blas::cublasDsyrk_v2(
                    handles.blas,
                    triangle.blas(),
                    a.operation(),
                    n,
                    k,
                    &alpha,
                    a.pointer(),
                    a.layout.leading,
                    &beta,
                    c.pointer(),
                    c.layout.leading,
                )
            };
            blas_answer(self.context(), "cublasDsyrk_v2", status)
        })?;
        self.submitted(kept);
        Ok(())
    }
}

/// `(m, n, k)` of `C (m x n) = A (m x k) B (k x n)`.
fn product_shape(
    what: &str,
    a: &Matrix<'_>,
    b: &Matrix<'_>,
    c: &MatrixMut<'_>,
) -> Result<(i32, i32, i32)> {
    let ((m, k), (inner, n)) = (a.shape(), b.shape());
    expect_shape(
        inner == k && (c.layout.rows, c.layout.columns) == (m, n),
        what,
        format_args!("({m} x {k}) ({k} x {n}) into {m} x {n}"),
        format_args!("({m} x {k}) ({inner} x {n}) into {}", c.layout),
    )?;
    Ok((m, n, k))
}
