//! Factors on the device, and the solves that use them.
//!
//! ```text
//!   factor   rows -> L, 1/L_aa      Y = L^-1 B      S = C + rho - Y'Y      S = L_S L_S'
//!            [ W = L_S^-1, V = W below and W' above the diagonal ]
//!   solve    pull -> (products with V | two TRSM with L_S) -> push
//! ```
//! A factorization reads back one record of 13 numbers, a solve nothing.

use super::rows::WideRows;
use crate::device::dense_cholesky::{DenseCholesky, Summands};
use crate::device::kernels::{DeviceRowFactors, Kernels, PullBuffers, RowIndex, RowSolve};
use crate::device::layout::{DeviceBytes, Layout, WIDEST_ROW};
use crate::device::methods::{Chosen, FrameSummary, Methods, RowMethod};
use crate::device::operands::Operands;
use crate::device::pieces::{COUNTED, pieces};
use crate::device::pivot;
use crate::device::record::{failure_with_bump, finite, least_row_bump, row_side};
use crate::device::{Keep, ResidentVector};
use crate::elimination::rows_first::work::on_device;
use crate::{ArrowShape, Error, Factored, Failure, FrameCost, Pivot, PivotSite, Ridge, RowDims};
use broadhead_device::{ByteClass, DeviceBuffer, Matrix, MatrixMut, Stream, View, ViewMut};
use std::ops::Range;

/// Columns that are solved for at once: blocks of a grid's second dimension.
const MOST_COLUMNS: usize = 65_535;
/// Numbers of a factorization's record: 7 of the rows, 6 of the border.
const SUMMARY: usize = 13;

pub(crate) struct Factors {
    pub(crate) stream: Stream,
    pub(crate) layout: Layout,
    pub(crate) kernels: Kernels,
    pub(crate) index: RowIndex,
    rows: DeviceRowFactors,
    whitened: DeviceBuffer<f64>,
    /// `L_S`; between factorizations also where the border's lines land.
    pub(crate) border: DenseCholesky,
    chosen: Chosen,
    cost: FrameCost,
    dims: RowDims,
    wide: Option<WideRows>,
    summary: DeviceBuffer<f64>,
    u: DeviceBuffer<f64>,
    pull: PullBuffers,
}

impl Factors {
    pub(crate) fn new(
        stream: &Stream,
        shape: &ArrowShape,
        keep: Keep,
        methods: Methods,
    ) -> Result<Self, Error> {
        let layout = Layout::new(shape)?;
        let chosen = methods.choose(stream.context().info(), &layout)?;
        tracing::debug!(?chosen, "methods");
        let kernels = Kernels::load(stream, &layout)?;
        stream.prepare_handles()?;
        let index = RowIndex::new(stream, &layout, shape.rows())?;
        let border_len = layout.border_len();
        let border = DenseCholesky::of_callers(stream, layout.clone(), kernels.clone(), keep)?;
        let wide = match chosen.rows {
            RowMethod::Fused => None,
            RowMethod::Library => Some(WideRows::new(stream, &layout)?),
        };
        Ok(Self {
            chosen,
            cost: FrameCost::of(&on_device(shape, keep)),
            dims: shape.rows().clone(),
            wide,
            rows: DeviceRowFactors {
                factors: stream.zeros(layout.blocks, "row factors")?,
                reciprocals: stream.zeros(layout.unknowns, "row pivots")?,
                records: stream.zeros(7 * layout.records, "row records")?,
                counter: stream.zeros(1, "a counter")?,
            },
            whitened: stream.zeros(layout.unknowns * layout.order, "whitened cross blocks")?,
            border,
            summary: stream.zeros(SUMMARY, "record of a factorization")?,
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

    pub(crate) fn keep(&self) -> Keep {
        self.border.keep()
    }

    /// A vector that solves take.
    pub(crate) fn vector(&self) -> Result<ResidentVector, Error> {
        Ok(ResidentVector {
            row: self.stream.zeros(self.layout.unknowns, "row part")?,
            border: self.stream.zeros(self.layout.border_len(), "border part")?,
            border_len: self.layout.k,
        })
    }

    /// Factors `operands` at `ridge`.
    pub(crate) fn factor(
        &mut self,
        operands: &Operands,
        ridge: Ridge,
    ) -> Result<Factored, Failure> {
        self.submit(operands, ridge)?;
        let summary = self.read_summary()?;
        self.stream.ledger().factored(1);
        let rows = row_side(&summary);
        if let Some(failed) = rows.failed {
            return Err(self.row_failure(operands, ridge.row, failed, rows.scale));
        }
        // A record is of numbers; its info is one of 32 bits.
        pivot::refused(summary[11] as i32)?;
        let border = DenseCholesky::side(&summary[7..13], |pivot| PivotSite::Border { pivot });
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

    /// What a frame of these factors keeps, how it is made, and what is held.
    pub(crate) fn summary(&self) -> FrameSummary {
        FrameSummary {
            keep: Some(self.keep()),
            rows: self.chosen.rows,
            border: Some(self.chosen.border),
            bytes: self.bytes(),
            cost: self.cost,
        }
    }

    /// Device bytes held, of operands too.
    pub(crate) fn bytes(&self) -> DeviceBytes {
        let mut bytes = self.layout.bytes(self.keep());
        // What the shape does not ask for, but the caller.
        if self.wide.is_some() && self.layout.widest <= WIDEST_ROW {
            bytes.factors += WideRows::bytes(&self.layout);
        }
        bytes
    }

    /// Everything that a factorization submits; nothing is read back.
    pub(crate) fn submit(&mut self, operands: &Operands, ridge: Ridge) -> Result<(), Error> {
        self.factor_rows(operands, ridge.row)?;
        self.whiten(operands)?;
        self.factor_sum(operands, ridge.border)?;
        let to = self.summary.slice_mut(7..13)?;
        self.border
            .summarise(&self.stream, Some(&operands.border), to)?;
        self.border.finish(&self.stream)
    }

    pub(crate) fn factor_rows(&mut self, operands: &Operands, rho: f64) -> Result<(), Error> {
        let (stream, layout, index) = (&self.stream, &self.layout, &self.index);
        let (blocks, rows, summary) = (&operands.row_hessian, &mut self.rows, &mut self.summary);
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

    /// The record of the last factorization, on the device.
    pub(crate) fn record(&self) -> View<'_, f64> {
        self.summary.view()
    }

    fn read_summary(&self) -> Result<Vec<f64>, Error> {
        let record = self.summary.view();
        Ok(self.stream.download(record, ByteClass::Record)?)
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
            Ok(row_side(&self.read_summary()?).failed.is_none())
        })
    }

    /// Whether all of it factors at `ridge`, without a look for a bump.
    pub(crate) fn holds(&mut self, operands: &Operands, ridge: Ridge) -> Result<bool, Error> {
        self.submit(operands, ridge)?;
        let summary = self.read_summary()?;
        let (rows, refused) = (row_side(&summary), pivot::refused(summary[11] as i32)?);
        let finite = summary[0].is_finite() && summary[7].is_finite();
        Ok(rows.failed.is_none() && refused.is_none() && finite)
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

    /// `step = -(H + rho)^-1 gradient`, on the device.
    pub(crate) fn solve(
        &mut self,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
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

    /// `count` gradients at once, `N x count` and `k x count`, overwritten by their steps.
    pub(crate) fn solve_many(
        &mut self,
        row: &mut DeviceBuffer<f64>,
        border: &mut DeviceBuffer<f64>,
        count: usize,
    ) -> Result<(), Error> {
        let (n, k) = (self.layout.unknowns, self.layout.k);
        // As many columns as places are counted, and as a grid has.
        let longest = n.max(k).max(COUNTED / MOST_COLUMNS);
        for columns in pieces(count, longest, COUNTED) {
            let of = |len: usize| columns.start * len..columns.end * len;
            let (row, border) = (row.slice_mut(of(n))?, border.slice_mut(of(k))?);
            self.solve_columns(row, border, columns.len())?;
        }
        Ok(())
    }

    /// [`Self::solve_many`] of columns whose places are counted. Y is taken in pieces.
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
