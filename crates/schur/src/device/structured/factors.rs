//! The factors and steps that all eliminations of structured systems share on a device.

use super::kernels::{GramFactors, PartialSums, Pulled, StructuredKernels, WhitenedRows};
use super::layout::Sizes;
use super::operands::StructuredOperands;
use super::row_products::PIECE;
use crate::device::factors::{DeviceElimination, Ways};
use crate::device::kernels::{DeviceRowFactors, Kernels, RowIndex};
use crate::device::layout::DeviceBytes;
use crate::device::outcome::{
    SideSummary, did_not_run, factor_side, failure_with_bump, least_row_bump, row_side,
};
use crate::device::pieces::pieces;
use crate::device::record::{DenseRecord, PivotRecord, StructuredRecord};
use crate::device::summary::{BorderMethod, RowMethod};
use crate::device::{DeviceSystem, DeviceVector, Keep};
use crate::host::bump::LEAST_BUMP;
use crate::{
    Error, Factored, Failure, LogDeterminant, Pivot, PivotSite, Ridge, RowDims, SolveStats,
    StructuredShape,
};
use broadhead_device::record::Record;
use broadhead_device::{
    ByteClass, DeviceBuffer, Matrix, MatrixMut, Result as Answer, Side, Stream, Triangle, View,
    field,
};
use std::sync::Arc;

/// What overflows where a pivot of the border is not finite.
pub(crate) const PIVOT: &str = "a pivot";

/// What is an elimination's own among those of structured systems; the rest is [`DeviceElimination`]'s, for all
/// alike.
pub(crate) trait StructuredElimination: Send {
    /// What it has in common with the others.
    fn common(&self) -> &StructuredFactors;

    /// The same.
    fn common_mut(&mut self) -> &mut StructuredFactors;

    /// Device bytes, of the operands and vectors of a linearisation too.
    fn bytes(&self) -> DeviceBytes;

    /// What is kept of the factor that a solve applies, and how that is made, where there are two ways.
    fn kept(&self) -> (Option<Keep>, Option<BorderMethod>);

    /// Submits a factorization; nothing is read back.
    fn submit(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<(), Error>;

    /// Reads what the last submission, at `ridge`, found.
    fn read(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<Factored, Failure>;

    /// `step = -(H + rho)^-1 gradient` by the last factors, on the device.
    fn solve(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error>;

    /// What the last solve that ran found. Of what iterates it waits for a record; nothing else can
    /// fail.
    fn solved(&mut self) -> Result<SolveStats, Failure> {
        Ok(SolveStats::default())
    }

    /// The relative residual that is asked of what iterates.
    fn residual_asked(&self) -> Option<f64> {
        None
    }
}

/// What a solve over the whitened rows works in: that of the core, and of conjugate gradients on it.
pub(crate) struct SolveWorkspace {
    /// `u_i = L_i^-1 g_i`, of length N.
    pub(crate) u: DeviceBuffer<f64>,
    /// `M x M` each: `E` and then `w`, what is added to it, and a kernel `X W'` or `U`.
    pub(crate) w: DeviceBuffer<f64>,
    pub(crate) added: DeviceBuffer<f64>,
    pub(crate) kernel: DeviceBuffer<f64>,
}

impl SolveWorkspace {
    pub(crate) fn new(common: &StructuredFactors) -> Result<Self, Error> {
        let (stream, m) = (&common.stream, common.sizes.features);
        let square = || stream.zeros(m * m, "a square of features");
        Ok(Self {
            u: stream.zeros(common.sizes.rows.unknowns, "a solve's rows")?,
            w: square()?,
            added: square()?,
            kernel: square()?,
        })
    }
}

/// See the [module](self).
pub(crate) struct StructuredFactors {
    pub(crate) stream: Stream,
    pub(crate) sizes: Sizes,
    pub(crate) kernels: StructuredKernels,
    pub(crate) dense: Kernels,
    pub(crate) dims: RowDims,
    pub(crate) rows: WhitenedRows,
    pub(crate) border: GramFactors,
    pub(crate) sums: PartialSums,
    pub(crate) summary: DeviceBuffer<StructuredRecord>,
}

impl StructuredFactors {
    /// With room for `whitened` numbers of whitened features, and for partial sums of `products`
    /// numbers over the rows.
    pub(crate) fn new(
        stream: &Stream,
        sizes: Sizes,
        shape: &StructuredShape,
        whitened: usize,
        products: usize,
    ) -> Result<Self, Error> {
        let layout = &sizes.rows;
        stream.prepare_handles()?;
        let (m, r) = (sizes.features, sizes.rank);
        Ok(Self {
            dims: shape.arrow().rows().clone(),
            kernels: StructuredKernels::load(stream)?,
            dense: Kernels::load(stream, layout)?,
            rows: WhitenedRows {
                index: Arc::new(RowIndex::new(stream, layout, shape.arrow().rows())?),
                factors: DeviceRowFactors {
                    factors: stream.zeros(layout.blocks, "row factors")?,
                    reciprocals: stream.zeros(layout.unknowns, "row pivots")?,
                    records: stream.zeros(layout.records, "row records")?,
                    counter: stream.zeros(1, "a counter")?,
                },
                whitened: stream.zeros(whitened, "whitened features")?,
            },
            border: GramFactors {
                gram: stream.zeros(m * m, "the factor of G")?,
                root: stream.zeros(m * r, "the decoder's root")?,
                copy: stream.zeros(sizes.border(), "the decoder's root")?,
            },
            sums: PartialSums {
                partials: stream.zeros(sizes.partials(products), "partial sums")?,
                counter: stream.zeros(1, "a counter")?,
                none: stream.zeros(0, "nothing")?,
            },
            summary: stream.zeros(1, "record of a factorization")?,
            stream: stream.clone(),
            sizes,
        })
    }

    /// A vector that solves take.
    pub(crate) fn vector(&self) -> Result<DeviceVector, Error> {
        DeviceVector::new(&self.stream, self.lengths(), self.sizes.unknowns)
    }

    fn lengths(&self) -> [usize; 2] {
        [self.sizes.rows.unknowns, self.sizes.border()]
    }

    /// `D + rho = L L'`.
    pub(crate) fn factor_rows(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
    ) -> Result<(), Error> {
        Ok(self.dense.factor_rows(
            &self.stream,
            &self.sizes.rows,
            &self.rows.index,
            &operands.row_hessian,
            rho,
            &mut self.rows.factors,
            self.summary
                .view_mut()
                .field(field!(StructuredRecord, rows))?,
        )?)
    }

    /// `V = L^-1 Psi`.
    pub(crate) fn whiten(&mut self, operands: &StructuredOperands) -> Result<(), Error> {
        Ok(self.dense.whiten(
            &self.stream,
            &self.sizes.rows,
            &self.rows.index,
            &self.rows.factors,
            &operands.psi,
            &mut self.rows.whitened,
        )?)
    }

    /// `phi~ = L_G^-1 phi` and `X = V R`, of which the lines are `leading` apart, for every row.
    pub(crate) fn transform(
        &self,
        operands: &StructuredOperands,
        phi: &mut DeviceBuffer<f64>,
        (x, leading): (&mut DeviceBuffer<f64>, usize),
    ) -> Result<(), Error> {
        let (stream, sizes) = (&self.stream, &self.sizes);
        let (n, unknowns, order) = (sizes.rows.rows, sizes.rows.unknowns, sizes.rows.order);
        let (m, r) = (sizes.features, sizes.rank);
        if n == 0 || unknowns == 0 {
            return Ok(());
        }
        // Lines of one row each are columns here; so L_G is an upper triangle.
        stream.copy(operands.phi.view(), phi.view_mut())?;
        let gram = Matrix::packed(self.border.gram.view(), m, m)?.transposed();
        for piece in pieces(n, m, PIECE) {
            let places = piece.start * m..piece.end * m;
            let mut phi = MatrixMut::packed(phi.slice_mut(places)?, m, piece.len())?;
            stream.trsm(Side::Left, Triangle::Upper, 1.0, gram, &mut phi)?;
        }
        let root = Matrix::packed(self.border.root.view(), r, m)?;
        for piece in pieces(unknowns, order.max(leading), PIECE) {
            let of = |line: usize| piece.start * line..piece.end * line;
            let v = self.rows.whitened.slice(of(order))?;
            let v = Matrix::new(v, m, piece.len(), order)?;
            let x = x.slice_mut(of(leading))?;
            let mut x = MatrixMut::new(x, r, piece.len(), leading)?;
            stream.gemm(1.0, root, v, 0.0, &mut x)?;
        }
        Ok(())
    }

    /// `G + rho = L_G L_G'` and `R R' = W W'`.
    pub(crate) fn prepare_border(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
    ) -> Result<(), Error> {
        let (stream, sizes, kernels) = (&self.stream, &self.sizes, &self.kernels);
        let (border, summary) = (&mut self.border, &mut self.summary);
        Ok(kernels.border_prepare(stream, sizes, operands, rho, border, summary)?)
    }

    /// `X` by what is pulled through the border, and `kernel = X W'`.
    pub(crate) fn pull_border(
        &mut self,
        operands: &StructuredOperands,
        pulled: Pulled<'_>,
        x: &mut DeviceBuffer<f64>,
        kernel: &mut DeviceBuffer<f64>,
    ) -> Answer<()> {
        let on = (&self.stream, &self.sizes);
        let (border, sums) = (&self.border, &mut self.sums);
        let decoder = &operands.decoder;
        self.kernels
            .border_outer(on, border, decoder, pulled, (x, kernel), sums)
    }

    /// Where a solve begins: `u = L^-1 g` and `E = sum phi_i (V_i' u_i)'`.
    pub(crate) fn begin_solve(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        workspace: &mut SolveWorkspace,
    ) -> Answer<()> {
        let (stream, sizes, rows) = (&self.stream, &self.sizes, &self.rows);
        let (g, sums) = (&gradient.row, &mut self.sums);
        let (phi, u, outer) = (&operands.phi, &mut workspace.u, &mut workspace.w);
        self.kernels
            .pull_rows(stream, sizes, rows, phi, g, u, sums, outer)
    }

    /// `X = G^-1 (E W - g)`, then `w = Q vec(X W')` in the place of `E`.
    pub(crate) fn enter_core(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        workspace: &mut SolveWorkspace,
        step: &mut DeviceVector,
    ) -> Answer<()> {
        let pulled = Pulled::Less {
            outer: &workspace.w,
            gradient: &gradient.border,
        };
        self.pull_border(operands, pulled, &mut step.border, &mut workspace.kernel)?;
        self.apply_q(operands, &workspace.kernel, &mut workspace.w)
    }

    /// Where a solve ends, with `U = mat(F Z^-1 F' w)` as the kernel: `q = Q vec U`,
    /// `X = X + G^-1 ((w + q) W)`, and the rows' `-L^-T (u + V W X' phi)`.
    pub(crate) fn leave_core(
        &mut self,
        operands: &StructuredOperands,
        workspace: &mut SolveWorkspace,
        step: &mut DeviceVector,
    ) -> Answer<()> {
        self.apply_q(operands, &workspace.kernel, &mut workspace.added)?;
        let pulled = Pulled::More(&workspace.w, &workspace.added);
        self.pull_border(operands, pulled, &mut step.border, &mut workspace.kernel)?;
        let (stream, sizes, rows) = (&self.stream, &self.sizes, &self.rows);
        let (phi, u, kernel) = (&operands.phi, &workspace.u, &workspace.kernel);
        self.kernels
            .rows_finish(stream, sizes, rows, phi, u, kernel, &mut step.row)
    }

    fn apply_q(
        &mut self,
        operands: &StructuredOperands,
        kernel: &DeviceBuffer<f64>,
        outer: &mut DeviceBuffer<f64>,
    ) -> Answer<()> {
        let (stream, sizes, rows) = (&self.stream, &self.sizes, &self.rows);
        let (phi, sums) = (&operands.phi, &mut self.sums);
        self.kernels
            .apply_q(stream, sizes, rows, phi, kernel, sums, outer)
    }

    /// The record of the last factorization.
    pub(crate) fn read_summary(&self) -> Result<StructuredRecord, Error> {
        let record = self.summary.view();
        Ok(self.stream.download_record(record, ByteClass::Record)?)
    }

    /// Whether the factorization that was submitted last found all of it positive definite.
    pub(crate) fn holds(&self) -> Result<bool, Error> {
        let summary = self.read_summary()?;
        if !ran(&summary) {
            return Err(did_not_run("factored", "a factorization that ran"));
        }
        let StructuredRecord { rows, gram, own } = &summary;
        let logs = [rows.log, gram.factor.log, own.factor.log];
        let finite = logs.iter().all(|log| log.is_finite());
        Ok(row_side(rows).failed.is_none() && summary.border_holds() && finite)
    }

    /// The record of a factorization that was submitted, which counts as one.
    pub(crate) fn read_factored(&self) -> Result<StructuredRecord, Error> {
        let summary = self.read_summary()?;
        if !ran(&summary) {
            return Err(did_not_run("factored", "a factorization that ran"));
        }
        self.stream.ledger().factored(1);
        Ok(summary)
    }

    /// What a record says of the rows, factored at `rho`, or how they failed.
    pub(crate) fn rows_factored(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
        summary: &StructuredRecord,
    ) -> Result<SideSummary, Failure> {
        let rows = row_side(&summary.rows);
        let Some(failed) = rows.failed else {
            return Ok(rows);
        };
        let what = "a pivot of a row";
        let blocks = &operands.row_hessian;
        let floor = least_row_bump(&self.stream, &self.dims, blocks, failed.site)?;
        Err(failure_with_bump(
            what,
            failed,
            (rows.scale, floor),
            |bump| {
                self.factor_rows(operands, rho + bump)?;
                Ok(row_side(&self.read_summary()?.rows).failed.is_none())
            },
        ))
    }

    /// What a record says of `G`, factored at `rho`, or how it failed.
    pub(crate) fn gram_factored(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
        summary: &StructuredRecord,
    ) -> Result<SideSummary, Failure> {
        let gram = self.gram_side(summary);
        let Some(failed) = gram.failed else {
            return Ok(gram);
        };
        let scales = (gram.scale, LEAST_BUMP * gram.scale);
        Err(failure_with_bump(PIVOT, failed, scales, |bump| {
            self.prepare_border(operands, rho + bump)?;
            let summary = self.read_summary()?;
            Ok(self.gram_side(&summary).failed.is_none())
        }))
    }

    /// The log-determinant of the border, of which `G` is a factor once for every output.
    pub(crate) fn of_border(&self, gram: &SideSummary) -> LogDeterminant {
        let copies = self.sizes.copies as f64;
        LogDeterminant {
            value: copies * gram.log.value,
            absolute: copies * gram.log.absolute,
        }
    }

    /// The pivot of a feature, at the first of its unknowns.
    pub(crate) fn border_pivot(&self, feature: usize, value: f64) -> Pivot {
        Pivot {
            site: PivotSite::Border {
                pivot: feature * self.sizes.copies,
            },
            value,
        }
    }

    /// What a record says of `G`.
    pub(crate) fn gram_side(&self, summary: &StructuredRecord) -> SideSummary {
        let mut side = self.side(&summary.gram, 1);
        // What stands in for features that are not there has no pivot.
        side.least = side.least.filter(|_| self.sizes.has_features);
        side
    }

    /// What a record says of a factor of which `per_feature` unknowns stand for a feature.
    pub(crate) fn side(&self, record: &PivotRecord, per_feature: usize) -> SideSummary {
        let site = |feature| self.border_pivot(feature, record.failed).site;
        factor_side(&record.factor, record.failed, site, |unknown| {
            site(unknown / per_feature)
        })
    }
}

impl<E: StructuredElimination> DeviceElimination for E {
    fn stream(&self) -> &Stream {
        &self.common().stream
    }

    fn bytes(&self) -> DeviceBytes {
        StructuredElimination::bytes(self)
    }

    fn ways(&self) -> Ways {
        let (keep, border) = self.kept();
        Ways {
            keep,
            rows: RowMethod::Fused,
            border,
        }
    }

    fn vector(&self) -> Result<DeviceVector, Error> {
        self.common().vector()
    }

    fn lengths(&self) -> [usize; 2] {
        self.common().lengths()
    }

    fn landing(&mut self) -> Option<&mut DeviceBuffer<f64>> {
        None
    }

    fn submit_rows(&mut self, system: &DeviceSystem, rho: f64) -> Result<(), Error> {
        let operands = system.structured_numbers()?;
        self.common_mut().factor_rows(operands, rho)
    }

    fn submit(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<(), Error> {
        StructuredElimination::submit(self, system.structured_numbers()?, ridge)
    }

    fn record(&self) -> Option<View<'_, DenseRecord>> {
        None
    }

    fn read(&mut self, system: &DeviceSystem, ridge: Ridge) -> Result<Factored, Failure> {
        StructuredElimination::read(self, system.structured_numbers()?, ridge)
    }

    fn holds(&self) -> Result<bool, Error> {
        self.common().holds()
    }

    fn reads_operands(&self) -> bool {
        true
    }

    fn solve(
        &mut self,
        system: &DeviceSystem,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        StructuredElimination::solve(self, system.structured_numbers()?, gradient, step)
    }

    fn solved(&mut self) -> Result<SolveStats, Failure> {
        StructuredElimination::solved(self)
    }

    fn residual_asked(&self) -> Option<f64> {
        StructuredElimination::residual_asked(self)
    }

    /// One by one, by way of the staged vectors.
    fn solve_many(
        &mut self,
        system: &DeviceSystem,
        [rows, borders]: [&mut DeviceBuffer<f64>; 2],
        count: usize,
        [gradient, step]: [&mut DeviceVector; 2],
    ) -> Result<SolveStats, Failure> {
        let operands = system.structured_numbers()?;
        let stream = self.common().stream.clone();
        let (n, k) = (gradient.row.len(), gradient.border_len);
        let mut stats = SolveStats::default();
        for j in 0..count {
            let (of_row, of_border) = (j * n..(j + 1) * n, j * k..(j + 1) * k);
            stream.copy(rows.slice(of_row.clone())?, gradient.row_mut())?;
            let from = borders.slice(of_border.clone())?;
            stream.copy(from, gradient.border_mut()?)?;
            StructuredElimination::solve(self, operands, gradient, step)?;
            stats = stats.and(StructuredElimination::solved(self)?);
            stream.copy(step.row(), rows.slice_mut(of_row)?)?;
            stream.copy(step.border()?, borders.slice_mut(of_border)?)?;
        }
        Ok(stats)
    }
}

/// Whether a factorization wrote the record: `G` has a pivot, the least or the first that failed, and
/// neither's numbers are zero.
fn ran(summary: &StructuredRecord) -> bool {
    summary.gram != PivotRecord::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_nobody_wrote_is_no_factorization() {
        let mut record = StructuredRecord::ZERO;
        assert!(!ran(&record));
        // G = [1]: its logarithm is zero, its pivot is not.
        record.gram.factor.least = 1.0;
        assert!(ran(&record));
        // G = [0]: nothing but the place of the pivot that failed, from 1.
        record.gram.factor.least = 0.0;
        record.gram.factor.info = 1;
        assert!(ran(&record));
    }
}
