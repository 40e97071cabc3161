//! The factors of a structured system's core on a device, and the solves that use them.

use crate::device::dense_cholesky::DenseCholesky;
use crate::device::layout::DeviceBytes;
use crate::device::layout::Layout;
use crate::device::outcome::{failure_with_bump, finite};
use crate::device::structured::factors::{
    PIVOT, SolveWorkspace, StructuredElimination, StructuredFactors,
};
use crate::device::structured::layout::Sizes;
use crate::device::structured::operands::StructuredOperands;
use crate::device::summary::BorderMethod;
use crate::device::{DeviceVector, Keep, pivot};
use crate::host::bump::LEAST_BUMP;
use crate::{EliminationKind, Error, Factored, Failure, Pivot, Ridge, StructuredShape};
use broadhead_device::{DeviceBuffer, Matrix, MatrixMut, Stream};

/// The most features, and the widest rows, of a core that the fused kernels form.
pub(crate) const SMALL: (usize, usize) = (9, 4);

/// Whether fused kernels form and factor the core of `shape`, and not a library.
pub(crate) fn is_small_core(shape: &StructuredShape) -> bool {
    shape.features() <= SMALL.0 && shape.arrow().rows().max_dim() <= SMALL.1
}

/// How the core is formed and factored, and what that takes.
#[derive(Clone, Debug)]
struct CoreSizes {
    sizes: Sizes,
    /// That of the core as a matrix of order $`M r`$, where a library forms its products.
    large: Option<Layout>,
}

impl CoreSizes {
    fn new(shape: &StructuredShape) -> Result<Self, Error> {
        let sizes = Sizes::new(shape, EliminationKind::Core)?;
        let large = match is_small_core(shape) {
            true => None,
            false => Some(DenseCholesky::layout(sizes.core_order())?),
        };
        Ok(Self { sizes, large })
    }

    /// Numbers of `V`.
    fn whitened(&self) -> usize {
        self.sizes.rows.unknowns * self.sizes.rows.order
    }

    /// Numbers that a chunk of rows sums for the core.
    fn products(&self) -> usize {
        match self.large {
            None => self.sizes.feature_pairs() * self.sizes.rank_pairs(),
            Some(_) => 0,
        }
    }

    fn bytes(&self) -> DeviceBytes {
        let of = |elements: usize| 8 * elements as u64;
        let sizes = &self.sizes;
        let (n, unknowns, m) = (sizes.rows.rows, sizes.rows.unknowns, sizes.features);
        let core = match &self.large {
            None => of(sizes.core_order() * (sizes.core_order() + 1) / 2),
            Some(core) => {
                DenseCholesky::bytes(core, Keep::Factor)
                    + of(DenseCholesky::vector_len(core) + n * m + unknowns * sizes.rank)
                    + of(sizes.piece() * (sizes.feature_pairs() + sizes.rank_pairs()))
                    + of(sizes.feature_pairs() * sizes.rank_pairs())
            }
        };
        let shared = sizes.bytes(self.whitened(), self.products());
        DeviceBytes {
            factors: shared.factors + core,
            vectors: shared.vectors + of(unknowns + 3 * m * m),
            ..shared
        }
    }
}

/// Device bytes of a linearisation that keeps these factors, the library's workspace apart.
///
/// # Errors
/// As [`Sizes::new`].
pub(crate) fn bytes_needed(shape: &StructuredShape) -> Result<DeviceBytes, Error> {
    Ok(CoreSizes::new(shape)?.bytes())
}

/// The factors of one shape.
pub(crate) struct CoreFactors {
    common: StructuredFactors,
    bytes: DeviceBytes,
    core: CoreBuffers,
    workspace: SolveWorkspace,
}

/// `L_Z` and what forms it.
enum CoreBuffers {
    /// The packed factor, of three fused kernels.
    Small(DeviceBuffer<f64>),
    Large(Box<LargeCore>),
}

/// A core of which a library forms the products.
struct LargeCore {
    /// `Z` and its factor.
    cholesky: DenseCholesky,
    phi: DeviceBuffer<f64>,
    jacobian: DeviceBuffer<f64>,
    feature_pairs: DeviceBuffer<f64>,
    rank_pairs: DeviceBuffer<f64>,
    products: DeviceBuffer<f64>,
    vector: DeviceBuffer<f64>,
}

impl CoreFactors {
    pub(crate) fn new(stream: &Stream, shape: &StructuredShape) -> Result<Self, Error> {
        let how = CoreSizes::new(shape)?;
        let bytes = how.bytes();
        let (whitened, products) = (how.whitened(), how.products());
        let common = StructuredFactors::new(stream, how.sizes, shape, whitened, products)?;
        Ok(Self {
            core: CoreBuffers::new(stream, &common.sizes, how.large)?,
            workspace: SolveWorkspace::new(&common)?,
            common,
            bytes,
        })
    }

    /// `L_G`, `R` and `L_Z`.
    fn factor_border(&mut self, operands: &StructuredOperands, rho: f64) -> Result<(), Error> {
        self.common.prepare_border(operands, rho)?;
        if let CoreBuffers::Large(large) = &mut self.core {
            large.form(&self.common, operands)?;
        }
        let StructuredFactors {
            stream,
            sizes,
            kernels,
            rows,
            border,
            sums,
            summary,
            ..
        } = &mut self.common;
        match &mut self.core {
            CoreBuffers::Small(core) => {
                let phi = &operands.phi;
                kernels.small_core(stream, sizes, rows, phi, border, sums, core, summary)?;
            }
            CoreBuffers::Large(large) => {
                large.cholesky.factor(stream, 0.0)?;
                kernels.core_summary(stream, sizes, large.cholesky.found(), border, summary)?;
            }
        }
        Ok(())
    }

    /// The core's pivots stand for directions of the border, not for its unknowns: the first
    /// unknown of their feature is named.
    fn border_failure(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
        failed: Pivot,
        scales: (f64, f64),
    ) -> Failure {
        failure_with_bump(PIVOT, failed, scales, |bump| {
            self.factor_border(operands, rho + bump)?;
            Ok(self.common.read_summary()?.border_holds())
        })
    }
}

impl StructuredElimination for CoreFactors {
    fn common(&self) -> &StructuredFactors {
        &self.common
    }

    fn common_mut(&mut self) -> &mut StructuredFactors {
        &mut self.common
    }

    fn bytes(&self) -> DeviceBytes {
        self.bytes
    }

    fn kept(&self) -> (Option<Keep>, Option<BorderMethod>) {
        let method = match &self.core {
            CoreBuffers::Small(_) => None,
            CoreBuffers::Large(core) => Some(core.cholesky.method(&self.common.stream)),
        };
        (Some(Keep::Factor), method)
    }

    fn submit(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<(), Error> {
        self.common.factor_rows(operands, ridge.row)?;
        self.common.whiten(operands)?;
        self.factor_border(operands, ridge.border)
    }

    fn read(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<Factored, Failure> {
        let summary = self.common.read_factored()?;
        let rows = self.common.rows_factored(operands, ridge.row, &summary)?;
        let gram = self.common.gram_side(&summary);
        if let Some(failed) = gram.failed {
            let scales = (gram.scale, LEAST_BUMP * gram.scale);
            return Err(self.border_failure(operands, ridge.border, failed, scales));
        }
        let refused = pivot::refused(summary.own.factor.info)?;
        let core = self.common.side(&summary.own, self.common.sizes.rank);
        if let (Some(mut failed), Some(refused)) = (core.failed, refused) {
            if let CoreBuffers::Large(large) = &mut self.core {
                let common = &self.common;
                let (index, value) = pivot::find(refused, |j| {
                    large.form(common, operands)?;
                    large.cholesky.look(&common.stream, 0.0, j)
                })?;
                failed = common.border_pivot(index / common.sizes.rank, value);
            }
            let scales = (gram.scale, 0.0);
            return Err(self.border_failure(operands, ridge.border, failed, scales));
        }
        let log_determinant = finite(rows.log + self.common.of_border(&gram) + core.log)?;
        // What stands in for outputs that are not there has no pivot.
        let of_core = core.least.filter(|_| self.common.sizes.unknowns > 0);
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot: rows.least,
            border_pivot: Pivot::least(gram.least, of_core),
        })
    }

    fn solve(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        let (common, workspace) = (&mut self.common, &mut self.workspace);
        common.begin_solve(operands, gradient, workspace)?;
        common.enter_core(operands, gradient, workspace, step)?;
        let StructuredFactors {
            stream,
            sizes,
            kernels,
            border,
            ..
        } = &*common;
        let (w, kernel) = (&workspace.w, &mut workspace.kernel);
        match &mut self.core {
            CoreBuffers::Small(core) => {
                kernels.apply_small(stream, sizes, border, core, w, kernel)?;
            }
            CoreBuffers::Large(large) => {
                kernels.core_pull(stream, sizes, border, w, &mut large.vector)?;
                large.cholesky.solve_in_place(stream, &mut large.vector)?;
                kernels.core_push(stream, sizes, border, &large.vector, kernel)?;
            }
        }
        common.leave_core(operands, workspace, step)?;
        Ok(())
    }
}

impl CoreBuffers {
    fn new(stream: &Stream, sizes: &Sizes, large: Option<Layout>) -> Result<Self, Error> {
        let order = sizes.core_order();
        let Some(layout) = large else {
            let packed = order * (order + 1) / 2;
            return Ok(Self::Small(stream.zeros(packed, "the core's factor")?));
        };
        let (n, unknowns) = (sizes.rows.rows, sizes.rows.unknowns);
        let (of_m, of_r) = (sizes.feature_pairs(), sizes.rank_pairs());
        Ok(Self::Large(Box::new(LargeCore {
            phi: stream.zeros(n * sizes.features, "whitened features")?,
            jacobian: stream.zeros(unknowns * sizes.rank, "derivatives of the rows")?,
            feature_pairs: stream.zeros(sizes.piece() * of_m, "pairs of features")?,
            rank_pairs: stream.zeros(sizes.piece() * of_r, "pairs of derivatives")?,
            products: stream.zeros(of_m * of_r, "the core's products")?,
            vector: stream.zeros(DenseCholesky::vector_len(&layout), "a solve's core")?,
            cholesky: DenseCholesky::new(stream, layout, Keep::Factor)?,
        })))
    }
}

impl LargeCore {
    /// `Z`, lower triangle.
    fn form(
        &mut self,
        common: &StructuredFactors,
        operands: &StructuredOperands,
    ) -> Result<(), Error> {
        let x = (&mut self.jacobian, common.sizes.rank);
        common.transform(operands, &mut self.phi, x)?;
        let StructuredFactors {
            stream,
            sizes,
            kernels,
            rows,
            ..
        } = common;
        let n = sizes.rows.rows;
        stream.zero(self.products.view_mut())?;
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
        let (matrix, leading) = self.cholesky.matrix_mut();
        Ok(kernels.core_fill(stream, sizes, &self.products, matrix, leading)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowDims;

    #[test]
    fn small_cores_are_those_of_few_features_and_narrow_rows() {
        let of = |d, m| {
            let rows = RowDims::uniform(5, d).unwrap();
            CoreSizes::new(&StructuredShape::new(rows, m, 3).unwrap()).unwrap()
        };
        assert!(of(4, 9).large.is_none());
        assert!(of(5, 3).large.is_some());
        let large = of(1, 10).large.map(|layout| layout.k);
        assert_eq!(large, Some(30));
    }
}
