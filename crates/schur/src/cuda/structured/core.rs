//! The factors of a structured system's core on a device, and the solves that use them.

use super::kernels::{BorderFactors, Kernels, Pass, RowParts};
use super::layout::{Form, Sizes};
use super::operands::Operands;
use super::{Error, Failure, ResidentVector};
use crate::bump::least_rung;
use crate::cuda::factors::row_side;
use crate::cuda::kernels::{Kernels as DenseKernels, RowFactors, RowIndex};
use crate::cuda::layout::Layout;
use crate::{
    Factored, LogDeterminant, NotPositiveDefinite, Pivot, PivotSite, Ridge, RowDims,
    StructuredShape,
};
use broadhead_device::{ByteClass, DeviceBuffer, Matrix, MatrixMut, Side, Stream, Triangle};

/// Numbers of a factorization's record: 7 of the rows, 7 of `G`, 7 of the core.
pub(super) const SUMMARY: usize = 21;

/// The factors of one shape.
pub(super) struct CoreFactors {
    pub(super) stream: Stream,
    pub(super) sizes: Sizes,
    kernels: Kernels,
    dense: DenseKernels,
    rows: RowParts,
    border: BorderFactors,
    core: CoreBuffers,
    pass: Pass,
    summary: DeviceBuffer<f64>,
    u: DeviceBuffer<f64>,
    /// `M x M` each: `w`, what is added to it, and a kernel `X W'`.
    squares: [DeviceBuffer<f64>; 3],
}

/// `L_Z` and what forms it.
enum CoreBuffers {
    /// The packed factor.
    Small(DeviceBuffer<f64>),
    Large(Box<LargeCore>),
}

/// A core of which the libraries form the products and the factor.
struct LargeCore {
    layout: Layout,
    kernels: DenseKernels,
    factor: DeviceBuffer<f64>,
    workspace: DeviceBuffer<f64>,
    info: DeviceBuffer<i32>,
    phi: DeviceBuffer<f64>,
    jacobian: DeviceBuffer<f64>,
    feature_pairs: DeviceBuffer<f64>,
    rank_pairs: DeviceBuffer<f64>,
    products: DeviceBuffer<f64>,
    vector: DeviceBuffer<f64>,
    line: DeviceBuffer<f64>,
    number: DeviceBuffer<f64>,
}

/// What a record says of `G` or of the core.
struct Part {
    log: LogDeterminant,
    least: Option<(usize, f64)>,
    failed: Option<(usize, f64)>,
    scale: f64,
}

impl Part {
    fn of(numbers: &[f64]) -> Self {
        Self {
            log: LogDeterminant {
                value: numbers[0],
                absolute: numbers[1],
            },
            least: (numbers[3] >= 0.0).then(|| (numbers[3] as usize, numbers[2])),
            failed: (numbers[4] != 0.0).then(|| (numbers[4] as usize - 1, numbers[5])),
            scale: numbers[6],
        }
    }
}

impl CoreFactors {
    pub(super) fn new(stream: &Stream, shape: &StructuredShape) -> Result<Self, Error> {
        let sizes = Sizes::new(shape)?;
        let layout = &sizes.rows;
        stream.prepare_handles()?;
        let (offsets, blocks) = match layout.uniform {
            -1 => {
                let places = 0..=layout.rows;
                let of = |f: fn(&RowDims, usize) -> usize| -> Vec<i64> {
                    let rows = shape.arrow().rows();
                    places.clone().map(|i| f(rows, i) as i64).collect()
                };
                (of(RowDims::offset), of(RowDims::block_offset))
            }
            _ => Default::default(),
        };
        let (m, r) = (sizes.features, sizes.rank);
        let square = || stream.zeros(m * m, "a square of features");
        Ok(Self {
            kernels: Kernels::load(stream)?,
            dense: DenseKernels::load(stream, layout)?,
            rows: RowParts {
                index: RowIndex {
                    offsets: stream.upload(&offsets, ByteClass::Operand, "row offsets")?,
                    blocks: stream.upload(&blocks, ByteClass::Operand, "block offsets")?,
                },
                factors: RowFactors {
                    factors: stream.zeros(layout.blocks, "row factors")?,
                    reciprocals: stream.zeros(layout.unknowns, "row pivots")?,
                    records: stream.zeros(7 * layout.records, "row records")?,
                    counter: stream.zeros(1, "a counter")?,
                },
                whitened: stream.zeros(layout.unknowns * layout.order, "whitened features")?,
            },
            border: BorderFactors {
                gram: stream.zeros(m * m, "the factor of G")?,
                root: stream.zeros(m * r, "the decoder's root")?,
                copy: stream.zeros(sizes.border(), "the decoder's root")?,
            },
            core: CoreBuffers::new(stream, &sizes)?,
            pass: Pass {
                partials: stream.zeros(sizes.partials(), "partial sums")?,
                counter: stream.zeros(1, "a counter")?,
                none: stream.zeros(0, "nothing")?,
            },
            summary: stream.zeros(SUMMARY, "record of a factorization")?,
            u: stream.zeros(layout.unknowns, "a solve's rows")?,
            squares: [square()?, square()?, square()?],
            stream: stream.clone(),
            sizes,
        })
    }

    /// A vector that solves take.
    pub(super) fn vector(&self) -> Result<ResidentVector, Error> {
        Ok(ResidentVector {
            row: self.stream.zeros(self.sizes.rows.unknowns, "row part")?,
            border: self.stream.zeros(self.sizes.border(), "border part")?,
            border_len: self.sizes.unknowns,
        })
    }

    /// Submits a factorization; nothing is read back.
    pub(super) fn submit(&mut self, operands: &Operands, ridge: Ridge) -> Result<(), Error> {
        self.factor_rows(operands, ridge.row)?;
        self.dense.whiten(
            &self.stream,
            &self.sizes.rows,
            &self.rows.index,
            &self.rows.factors,
            &operands.psi,
            &mut self.rows.whitened,
        )?;
        self.factor_border(operands, ridge.border)
    }

    /// Reads what the last submission found.
    pub(super) fn read(&mut self, operands: &Operands, ridge: Ridge) -> Result<Factored, Failure> {
        let summary = self.read_summary()?;
        self.stream.ledger().factored(1);
        let rows = row_side(&summary);
        if let Some(failed) = rows.failed {
            return Err(self.row_failure(operands, ridge.row, failed, rows.scale));
        }
        let (gram, core) = (Part::of(&summary[7..14]), Part::of(&summary[14..21]));
        let p = self.sizes.copies;
        if let Some((feature, value)) = gram.failed {
            return Err(self.border_failure(operands, ridge.border, feature, value, gram.scale));
        }
        if let Some((index, value)) = core.failed {
            let value = match &mut self.core {
                CoreBuffers::Small(_) => value,
                CoreBuffers::Large(large) => {
                    large.pivot(&self.stream, &self.sizes, &self.kernels, index)?
                }
            };
            let feature = index / self.sizes.rank;
            return Err(self.border_failure(operands, ridge.border, feature, value, gram.scale));
        }
        let log_determinant = LogDeterminant {
            value: rows.log.value + p as f64 * gram.log.value + core.log.value,
            absolute: rows.log.absolute + p as f64 * gram.log.absolute + core.log.absolute,
        };
        if !log_determinant.value.is_finite() {
            let what = "the log-determinant";
            return Err(Error::Overflow { what }.into());
        }
        let pivot = |(feature, value): (usize, f64)| Pivot {
            site: PivotSite::Border { pivot: feature * p },
            value,
        };
        // What stands in for features or outputs that are not there has no pivot.
        let gram_least = gram.least.filter(|_| self.sizes.has_features);
        let core_least = core.least.filter(|_| self.sizes.unknowns > 0);
        let least = Pivot::least(gram_least.map(pivot), core_least.map(pivot));
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot: rows.least,
            border_pivot: least,
        })
    }

    fn factor_rows(&mut self, operands: &Operands, rho: f64) -> Result<(), Error> {
        Ok(self.dense.factor_rows(
            &self.stream,
            &self.sizes.rows,
            &self.rows.index,
            &operands.row_hessian,
            rho,
            &mut self.rows.factors,
            &mut self.summary,
        )?)
    }

    /// `L_G`, `R` and `L_Z`.
    fn factor_border(&mut self, operands: &Operands, rho: f64) -> Result<(), Error> {
        let Self {
            stream,
            sizes,
            kernels,
            rows,
            border,
            pass,
            summary,
            ..
        } = self;
        kernels.border_prepare(stream, sizes, operands, rho, border, summary)?;
        match &mut self.core {
            CoreBuffers::Small(core) => kernels.small_core(
                stream,
                sizes,
                rows,
                &operands.phi,
                border,
                pass,
                core,
                summary,
            )?,
            CoreBuffers::Large(large) => {
                large.form(stream, sizes, kernels, rows, &operands.phi, border)?;
                large.factor(stream, sizes.core_order())?;
                kernels.core_summary(
                    stream,
                    sizes,
                    &large.factor,
                    large.layout.order,
                    &large.info,
                    border,
                    summary,
                )?;
            }
        }
        Ok(())
    }

    fn read_summary(&self) -> Result<Vec<f64>, Error> {
        let record = self.summary.view();
        Ok(self.stream.download(record, ByteClass::Record)?)
    }

    fn row_failure(&mut self, operands: &Operands, rho: f64, failed: Pivot, scale: f64) -> Failure {
        if !failed.value.is_finite() {
            let what = "a pivot of a row";
            return Error::Overflow { what }.into();
        }
        self.with_bump(failed, scale, |factors, bump| {
            factors.factor_rows(operands, rho + bump)?;
            Ok(row_side(&factors.read_summary()?).failed.is_none())
        })
    }

    /// The core's pivots stand for directions of the border, not for its unknowns: the first
    /// unknown of their feature is named.
    fn border_failure(
        &mut self,
        operands: &Operands,
        rho: f64,
        feature: usize,
        value: f64,
        scale: f64,
    ) -> Failure {
        if !value.is_finite() {
            return Error::Overflow { what: "a pivot" }.into();
        }
        let site = PivotSite::Border {
            pivot: feature * self.sizes.copies,
        };
        self.with_bump(Pivot { site, value }, scale, |factors, bump| {
            factors.factor_border(operands, rho + bump)?;
            let summary = factors.read_summary()?;
            Ok(summary[11] == 0.0 && summary[18] == 0.0)
        })
    }

    /// The failure with the bump that cures it, found by factoring.
    fn with_bump(
        &mut self,
        failed: Pivot,
        scale: f64,
        mut factors: impl FnMut(&mut Self, f64) -> Result<bool, Error>,
    ) -> Failure {
        let mut broken = None;
        let bump = least_rung(scale, |bump| match factors(self, bump) {
            Ok(cured) => cured,
            Err(error) => {
                broken.get_or_insert(error);
                true
            }
        });
        match broken {
            Some(error) => error.into(),
            None => NotPositiveDefinite {
                site: failed.site,
                value: failed.value,
                bump,
            }
            .into(),
        }
    }

    /// `step = -(H + rho)^-1 gradient`, on the device.
    pub(super) fn solve(
        &mut self,
        operands: &Operands,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        let Self {
            stream,
            sizes,
            kernels,
            rows,
            border,
            core,
            pass,
            u,
            squares: [a, b, kernel],
            ..
        } = self;
        let (phi, decoder) = (&operands.phi, &operands.decoder);
        kernels.pull_rows(stream, sizes, rows, phi, &gradient.row, u, pass, a)?;
        kernels.border_outer(
            stream,
            sizes,
            border,
            decoder,
            a,
            None,
            Some(&gradient.border),
            &mut step.border,
            pass,
            kernel,
        )?;
        kernels.apply_q(stream, sizes, rows, phi, kernel, pass, a)?;
        match core {
            CoreBuffers::Small(core) => {
                kernels.apply_small(stream, sizes, border, core, a, kernel)?;
            }
            CoreBuffers::Large(large) => {
                kernels.core_pull(stream, sizes, border, a, &mut large.vector)?;
                large.solve(stream, sizes.core_order())?;
                kernels.core_push(stream, sizes, border, &large.vector, kernel)?;
            }
        }
        kernels.apply_q(stream, sizes, rows, phi, kernel, pass, b)?;
        kernels.border_outer(
            stream,
            sizes,
            border,
            decoder,
            a,
            Some(b),
            None,
            &mut step.border,
            pass,
            kernel,
        )?;
        kernels.rows_finish(stream, sizes, rows, phi, u, kernel, &mut step.row)?;
        Ok(())
    }
}

impl CoreBuffers {
    fn new(stream: &Stream, sizes: &Sizes) -> Result<Self, Error> {
        let order = sizes.core_order();
        let layout = match &sizes.form {
            Form::Small => {
                let packed = order * (order + 1) / 2;
                return Ok(Self::Small(stream.zeros(packed, "the core's factor")?));
            }
            Form::Large(layout) => (**layout).clone(),
        };
        let mut factor = stream.zeros(layout.square(), "the core's factor")?;
        let mut matrix = MatrixMut::new(factor.view_mut(), order, order, layout.order)?;
        let workspace = stream.potrf_workspace(&mut matrix)?;
        let (n, unknowns) = (sizes.rows.rows, sizes.rows.unknowns);
        let (of_m, of_r) = (sizes.feature_pairs(), sizes.rank_pairs());
        Ok(Self::Large(Box::new(LargeCore {
            kernels: DenseKernels::load(stream, &layout)?,
            factor,
            workspace: stream.zeros(workspace, "workspace of the Cholesky factorization")?,
            info: stream.zeros(1, "info")?,
            phi: stream.zeros(n * sizes.features, "whitened features")?,
            jacobian: stream.zeros(unknowns * sizes.rank, "derivatives of the rows")?,
            feature_pairs: stream.zeros(sizes.piece() * of_m, "pairs of features")?,
            rank_pairs: stream.zeros(sizes.piece() * of_r, "pairs of derivatives")?,
            products: stream.zeros(of_m * of_r, "the core's products")?,
            vector: stream.zeros(order, "a solve's core")?,
            line: stream.zeros(layout.border_len(), "a line of the core")?,
            number: stream.zeros(1, "a number")?,
            layout,
        })))
    }
}

impl LargeCore {
    /// `Z`, lower triangle.
    fn form(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        kernels: &Kernels,
        rows: &RowParts,
        phi: &DeviceBuffer<f64>,
        border: &BorderFactors,
    ) -> Result<(), Error> {
        let (m, r, n) = (sizes.features, sizes.rank, sizes.rows.rows);
        let unknowns = sizes.rows.unknowns;
        stream.zero(self.products.view_mut())?;
        if n > 0 && unknowns > 0 {
            // Lines of one row each are columns here; so L_G is an upper triangle.
            stream.copy(phi.view(), self.phi.view_mut())?;
            let gram = Matrix::packed(border.gram.view(), m, m)?.transposed();
            let mut whitened = MatrixMut::packed(self.phi.view_mut(), m, n)?;
            stream.trsm(Side::Left, Triangle::Upper, 1.0, gram, &mut whitened)?;
            let root = Matrix::packed(border.root.view(), r, m)?;
            let v = Matrix::new(rows.whitened.view(), m, unknowns, sizes.rows.order)?;
            let mut jacobian = MatrixMut::packed(self.jacobian.view_mut(), r, unknowns)?;
            stream.gemm(1.0, root, v, 0.0, &mut jacobian)?;
        }
        let (of_m, of_r) = (sizes.feature_pairs(), sizes.rank_pairs());
        let at_once = sizes.piece().max(1);
        for first in (0..n).step_by(at_once) {
            let count = at_once.min(n - first);
            kernels.core_pairs(
                stream,
                sizes,
                &rows.index,
                &self.phi,
                &self.jacobian,
                (first, count),
                &mut self.feature_pairs,
                &mut self.rank_pairs,
            )?;
            let p = Matrix::packed(self.feature_pairs.slice(0..count * of_m)?, of_m, count)?;
            let k = Matrix::packed(self.rank_pairs.slice(0..count * of_r)?, of_r, count)?;
            let mut sum = MatrixMut::packed(self.products.view_mut(), of_m, of_r)?;
            stream.gemm(1.0, p, k.transposed(), 1.0, &mut sum)?;
        }
        self.fill(stream, sizes, kernels)
    }

    fn fill(&mut self, stream: &Stream, sizes: &Sizes, kernels: &Kernels) -> Result<(), Error> {
        let leading = self.layout.order;
        Ok(kernels.core_fill(stream, sizes, &self.products, &mut self.factor, leading)?)
    }

    /// The leading `order` rows and columns become their factor.
    fn factor(&mut self, stream: &Stream, order: usize) -> Result<(), Error> {
        if order == 0 {
            return Ok(stream.zero(self.info.view_mut())?);
        }
        let leading = self.layout.order;
        let mut matrix = MatrixMut::new(self.factor.view_mut(), order, order, leading)?;
        let (workspace, info) = (self.workspace.view_mut(), self.info.view_mut());
        Ok(stream.potrf(&mut matrix, workspace, info)?)
    }

    /// The vector becomes `Z^-1` times itself.
    fn solve(&mut self, stream: &Stream, order: usize) -> Result<(), Error> {
        let factor = Matrix::new(self.factor.view(), order, order, self.layout.order)?;
        let mut x = MatrixMut::packed(self.vector.view_mut(), order, 1)?;
        stream.trsm(Side::Left, Triangle::Lower, 1.0, factor, &mut x)?;
        let transposed = factor.transposed();
        Ok(stream.trsm(Side::Left, Triangle::Lower, 1.0, transposed, &mut x)?)
    }

    /// The value of the pivot that failed, `z_jj - |L^-1 z_j|^2`: the library says only its place.
    fn pivot(
        &mut self,
        stream: &Stream,
        sizes: &Sizes,
        kernels: &Kernels,
        j: usize,
    ) -> Result<f64, Error> {
        self.fill(stream, sizes, kernels)?;
        let dense = &self.kernels;
        dense.border_line(stream, &self.layout, &self.factor, j, &mut self.line)?;
        self.factor(stream, j)?;
        if j > 0 {
            let factor = Matrix::new(self.factor.view(), j, j, self.layout.order)?;
            let mut line = MatrixMut::packed(self.line.slice_mut(0..j)?, j, 1)?;
            stream.trsm(Side::Left, Triangle::Lower, 1.0, factor, &mut line)?;
        }
        self.kernels
            .border_pivot(stream, &self.line, j, &mut self.number)?;
        Ok(stream.download(self.number.view(), ByteClass::Record)?[0])
    }
}
