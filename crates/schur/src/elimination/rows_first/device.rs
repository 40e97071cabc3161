//! Rows first on a device: factors, and the solves that use them.
//!
//! ```text
//!   factor   rows -> L, 1/L_aa      Y = L^-1 B      S = C + rho - Y'Y      S = L_S L_S'
//!            [ W = L_S^-1, V = W below and W' above the diagonal ]
//!   solve    pull -> (products with V | two TRSM with L_S) -> push
//! ```
//! A factorization reads back one [`DenseRecord`], a solve nothing.

pub(crate) mod rows;

use crate::device::dense_cholesky::{DenseCholesky, Summands};
use crate::device::factors::{DeviceElimination, Ways};
use crate::device::kernels::{DeviceRowFactors, Kernels, PullBuffers, RowIndex, RowSolve};
use crate::device::layout::{DeviceBytes, Layout, WIDEST_ROW};
use crate::device::operands::Operands;
use crate::device::outcome::{did_not_run, failure_with_bump, finite, least_row_bump, row_side};
use crate::device::pieces::{COUNTED, pieces};
use crate::device::record::{DenseRecord, RowRecord};
use crate::device::summary::{Chosen, RowMethod};
use crate::device::system::DenseNumbers;
use crate::device::{DeviceSystem, DeviceVector, Keep, pivot};
use crate::{ArrowShape, Error, Factored, Failure, Pivot, PivotSite, Ridge, RowDims, SolveStats};
use broadhead_device::{ByteClass, DeviceBuffer, Matrix, MatrixMut, Stream, View, ViewMut, field};
use rows::WideRows;
use std::ops::Range;
use std::sync::Arc;

/// Columns that are solved for at once: blocks of a grid's second dimension.
const MOST_COLUMNS: usize = 65_535;

/// The factors of one shape.
pub(crate) struct RowsFactors {
    stream: Stream,
    layout: Layout,
    kernels: Kernels,
    index: Arc<RowIndex>,
    rows: DeviceRowFactors,
    whitened: DeviceBuffer<f64>,
    /// `L_S`; between factorizations also where the border's lines land.
    border: DenseCholesky,
    chosen: Chosen,
    dims: RowDims,
    wide: Option<WideRows>,
    summary: DeviceBuffer<DenseRecord>,
    u: DeviceBuffer<f64>,
    pull: PullBuffers,
}

impl RowsFactors {
    /// Beside the operands of a system of `shape`.
    pub(crate) fn new(
        stream: &Stream,
        shape: &ArrowShape,
        operands: &DenseNumbers,
        keep: Keep,
        chosen: Chosen,
    ) -> Result<Self, Error> {
        tracing::debug!(?chosen, "methods");
        stream.prepare_handles()?;
        let (layout, kernels) = (operands.layout.clone(), operands.kernels.clone());
        let index = Arc::clone(&operands.index);
        let border_len = layout.border_len();
        let border = DenseCholesky::of_callers(stream, layout.clone(), kernels.clone(), keep)?;
        let wide = match chosen.rows {
            RowMethod::Fused => None,
            RowMethod::Library => Some(WideRows::new(stream, &layout)?),
        };
        Ok(Self {
            chosen,
            dims: shape.rows().clone(),
            wide,
            rows: DeviceRowFactors {
                factors: stream.zeros(layout.blocks, "row factors")?,
                reciprocals: stream.zeros(layout.unknowns, "row pivots")?,
                records: stream.zeros(layout.records, "row records")?,
                counter: stream.zeros(1, "a counter")?,
            },
            whitened: stream.zeros(layout.unknowns * layout.order, "whitened cross blocks")?,
            border,
            summary: stream.zeros(1, "record of a factorization")?,
            u: stream.zeros(layout.unknowns, "a solve's rows")?,
            pull: PullBuffers {
                partials: stream.zeros(layout.chunks * border_len, "partial sums")?,
                counters: stream.zeros(layout.strips, "counters")?,
                sum: stream.zeros(border_len, "a solve's border")?,
            },
            stream: stream.clone(),
            kernels,
            index,
            layout,
        })
    }

    fn submit_all(&mut self, operands: &Operands, ridge: Ridge) -> Result<(), Error> {
        self.factor_rows(operands, ridge.row)?;
        self.whiten(operands)?;
        self.factor_sum(operands, ridge.border)?;
        let to = self.summary.view_mut().field(field!(DenseRecord, border))?;
        self.border
            .summarise(&self.stream, Some(&operands.border), to)?;
        self.border.finish(&self.stream)
    }

    fn factor_rows(&mut self, operands: &Operands, rho: f64) -> Result<(), Error> {
        let (stream, layout, index) = (&self.stream, &self.layout, &self.index);
        let (blocks, rows) = (&operands.row_hessian, &mut self.rows);
        let summary = self.summary.view_mut().field(field!(DenseRecord, rows))?;
        match &mut self.wide {
            Some(wide) => wide.factor(stream, layout, index, blocks, rho, rows, summary)?,
            None => {
                let kernels = &self.kernels;
                kernels.factor_rows(stream, layout, index, blocks, rho, rows, summary)?;
            }
        }
        Ok(())
    }

    fn whiten(&mut self, operands: &Operands) -> Result<(), Error> {
        let (stream, layout, index) = (&self.stream, &self.layout, &self.index);
        let (rows, cross, to) = (&self.rows, &operands.cross, &mut self.whitened);
        match &mut self.wide {
            Some(wide) => wide.whiten(stream, layout, index, rows, cross, to)?,
            None => self
                .kernels
                .whiten(stream, layout, index, rows, cross, to)?,
        }
        Ok(())
    }

    /// `L_S` of `C + rho - Y'Y`, by the way that was chosen.
    fn factor_sum(&mut self, operands: &Operands, rho: f64) -> Result<(), Error> {
        let sum = Summands {
            matrix: &operands.border,
            rho,
            whitened: &self.whitened,
        };
        self.border
            .factor_sum(&self.stream, sum, self.chosen.border)
    }

    fn read_summary(&self) -> Result<DenseRecord, Error> {
        let record = self.summary.view();
        Ok(self.stream.download_record(record, ByteClass::Record)?)
    }

    fn row_failure(
        &mut self,
        operands: &Operands,
        rho: f64,
        mut failed: Pivot,
        scale: f64,
    ) -> Failure {
        if self.wide.is_some() {
            match self.row_pivot(operands, rho, failed.site) {
                Ok(found) => failed = found,
                Err(error) => return error.into(),
            }
        }
        let floor =
            match least_row_bump(&self.stream, &self.dims, &operands.row_hessian, failed.site) {
                Ok(floor) => floor,
                Err(error) => return error.into(),
            };
        failure_with_bump("a pivot of a row", failed, (scale, floor), |bump| {
            self.factor_rows(operands, rho + bump)?;
            Ok(row_side(&self.read_summary()?.rows).failed.is_none())
        })
    }

    /// A row's pivot that failed, from its block: the library says only its place.
    fn row_pivot(&self, operands: &Operands, rho: f64, site: PivotSite) -> Result<Pivot, Error> {
        let PivotSite::Row { row, pivot } = site else {
            unreachable!("a failure of a row");
        };
        let (d, at) = (self.dims.dim(row), self.dims.block_offset(row));
        let block = operands.row_hessian.slice(at..at + d * d)?;
        let mut block = self.stream.download(block, ByteClass::Record)?;
        let (pivot, value) = pivot::of_block(&mut block, d, rho, pivot);
        let site = PivotSite::Row { row, pivot };
        Ok(Pivot { site, value })
    }

    fn border_failure(
        &mut self,
        operands: &Operands,
        rho: f64,
        mut failed: Pivot,
        scale: f64,
    ) -> Failure {
        let PivotSite::Border { pivot } = failed.site else {
            unreachable!("a failure of the border");
        };
        let found = pivot::find(pivot, |j| {
            let sum = Summands {
                matrix: &operands.border,
                rho,
                whitened: &self.whitened,
            };
            self.border.look_at_sum(&self.stream, sum, j)
        });
        match found {
            Ok((pivot, value)) => {
                failed.site = PivotSite::Border { pivot };
                failed.value = value;
            }
            Err(error) => return error.into(),
        }
        failure_with_bump("a pivot of the border", failed, (scale, 0.0), |bump| {
            self.factor_sum(operands, rho + bump)?;
            self.border.factored(&self.stream)
        })
    }

    /// Gradients of which all places are counted, `N x count` and `k x count`, overwritten by their steps. Y is
    /// taken in pieces.
    fn solve_columns(
        &self,
        mut row: ViewMut<'_, f64>,
        mut border: ViewMut<'_, f64>,
        count: usize,
    ) -> Result<(), Error> {
        let (stream, layout) = (&self.stream, &self.layout);
        let (n, k, order) = (layout.unknowns, layout.k, layout.order);
        let rows_solve = |row: ViewMut<'_, f64>, scale, which| {
            let (index, rows) = (&self.index, &self.rows);
            self.kernels
                .rows_solve(stream, layout, index, rows, row, count, scale, which)
        };
        rows_solve(row.reborrow(), 1.0, RowSolve::Lower)?;
        if k > 0 && count > 0 {
            let lines = |piece: &Range<usize>| -> Result<_, Error> {
                let y = self
                    .whitened
                    .slice(piece.start * order..piece.end * order)?;
                Ok(Matrix::new(y, k, piece.len(), order)?)
            };
            for piece in pieces(n, order, COUNTED) {
                let u = row.as_view().slice(piece.start..n * count)?;
                let u = Matrix::new(u, piece.len(), count, n)?;
                let mut b = MatrixMut::packed(border.reborrow(), k, count)?;
                let kept = if piece.start == 0 { -1.0 } else { 1.0 };
                stream.gemm(1.0, lines(&piece)?, u, kept, &mut b)?;
            }
            self.border
                .solve_columns(stream, border.reborrow(), count)?;
            let x = Matrix::packed(border.as_view(), k, count)?;
            for piece in pieces(n, order, COUNTED) {
                let z = row.reborrow().slice(piece.start..n * count)?;
                let mut z = MatrixMut::new(z, piece.len(), count, n)?;
                stream.gemm(1.0, lines(&piece)?.transposed(), x, 1.0, &mut z)?;
            }
        }
        Ok(rows_solve(row, -1.0, RowSolve::Transposed)?)
    }
}

impl DeviceElimination for RowsFactors {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn bytes(&self) -> DeviceBytes {
        let mut bytes = self.layout.bytes(self.border.keep());
        // What the shape does not ask for, but the caller.
        if self.wide.is_some() && self.layout.widest <= WIDEST_ROW {
            bytes.factors += WideRows::bytes(&self.layout);
        }
        bytes
    }

    fn ways(&self) -> Ways {
        Ways {
            keep: Some(self.border.keep()),
            rows: self.chosen.rows,
            border: Some(self.chosen.border),
        }
    }

    fn vector(&self) -> Result<DeviceVector, Error> {
        DeviceVector::new(&self.stream, self.lengths(), self.layout.k)
    }

    fn lengths(&self) -> [usize; 2] {
        [self.layout.unknowns, self.layout.border_len()]
    }

    fn landing(&mut self) -> Option<&mut DeviceBuffer<f64>> {
        Some(self.border.landing())
    }

    fn submit_rows(&mut self, system: &DeviceSystem, rho: f64) -> Result<(), Error> {
        self.factor_rows(&system.dense_numbers()?.operands, rho)
    }

    fn submit(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<(), Error> {
        self.submit_all(&system.dense_numbers()?.operands, ridge)
    }

    fn record(&self) -> Option<View<'_, DenseRecord>> {
        Some(self.summary.view())
    }

    fn read(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<Factored, Failure> {
        let operands = &system.dense_numbers()?.operands;
        let summary = self.read_summary()?;
        if !ran(&summary) {
            return Err(did_not_run("factored", "a factorization that ran").into());
        }
        self.stream.ledger().factored(1);
        let rows = row_side(&summary.rows);
        if let Some(failed) = rows.failed {
            return Err(self.row_failure(operands, ridge.row, failed, rows.scale));
        }
        pivot::refused(summary.border.info)?;
        let border = DenseCholesky::side(&summary.border, |pivot| PivotSite::Border { pivot });
        if let Some(failed) = border.failed {
            return Err(self.border_failure(operands, ridge.border, failed, border.scale));
        }
        let log_determinant = finite(rows.log + border.log)?;
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot: rows.least,
            border_pivot: border.least,
        })
    }

    fn holds(&self) -> Result<bool, Error> {
        let DenseRecord { rows, border } = self.read_summary()?;
        let refused = pivot::refused(border.info)?;
        let finite = rows.log.is_finite() && border.log.is_finite();
        Ok(row_side(&rows).failed.is_none() && refused.is_none() && finite)
    }

    fn reads_operands(&self) -> bool {
        false
    }

    fn solve(
        &mut self,
        _system: &DeviceSystem,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        self.kernels.pull(
            &self.stream,
            &self.layout,
            &self.index,
            &self.rows,
            &self.whitened,
            (&gradient.row, &gradient.border),
            &mut self.u,
            &mut self.pull,
        )?;
        self.border
            .solve(&self.stream, &self.pull.sum, &mut step.border)?;
        self.kernels.push(
            &self.stream,
            &self.layout,
            &self.index,
            &self.rows,
            &self.whitened,
            &self.u,
            &step.border,
            &mut step.row,
        )?;
        Ok(())
    }

    fn solved(&mut self) -> Result<SolveStats, Failure> {
        Ok(SolveStats::default())
    }

    /// All at once, `N x count` and `k x count`.
    fn solve_many(
        &mut self,
        _system: &DeviceSystem,
        [row, border]: [&mut DeviceBuffer<f64>; 2],
        count: usize,
        _staged: [&mut DeviceVector; 2],
    ) -> Result<SolveStats, Failure> {
        let (n, k) = (self.layout.unknowns, self.layout.k);
        // As many columns as places are counted, and as a grid has.
        let longest = n.max(k).max(COUNTED / MOST_COLUMNS);
        for columns in pieces(count, longest, COUNTED) {
            let of = |len: usize| columns.start * len..columns.end * len;
            let (row, border) = (row.slice_mut(of(n))?, border.slice_mut(of(k))?);
            self.solve_columns(row, border, columns.len())?;
        }
        Ok(SolveStats::default())
    }
}

/// Whether a factorization wrote the record: where no row's pivot failed, and where none held, the key of
/// what is not there is not zero; and the first pivot of all does not both fail and hold.
fn ran(summary: &DenseRecord) -> bool {
    let RowRecord {
        least_key,
        failed_key,
        ..
    } = summary.rows;
    least_key != 0 || failed_key != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use broadhead_device::record::Record;

    #[test]
    fn a_record_that_nobody_wrote_is_no_factorization() {
        let mut record = DenseRecord::ZERO;
        assert!(!ran(&record));
        // D = [1]; D = [0]; no rows.
        for (least, failed) in [(0, -1), (-1, 0), (-1, -1)] {
            (record.rows.least_key, record.rows.failed_key) = (least, failed);
            assert!(ran(&record));
        }
    }
}
