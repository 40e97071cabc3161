//! Border first, of a structured system on a device.
//!
//! ```text
//!   factor   G + rho = L_G L_G', R R' = W W'    phi~ = L_G^-1 phi, X = Psi R
//!            T = D - (phi~ phi~') o (X X')      T + rho = L_T L_T'    [ W = L_T^-1 ]
//!   solve    x = -G^-1 g_b -> r = g_t + B x -> y = T^-1 r -> x = G^-1 (B' y - g_b)
//!            -> step = (-y, x), rows of which the equation does not hold by their own factor
//! ```
//!
//! The algebra is that of [`crate::BorderFirst`], the last sweep over the rows too. `T` depends on the
//! border's ridge, so every factorization forms it again from operands that are there; where it is put
//! and what becomes of it, see [`crate::device::dense_cholesky`].

pub(crate) mod kernels;

use crate::device::dense_cholesky::DenseCholesky;
use crate::device::layout::DeviceBytes;
use crate::device::layout::Layout;
use crate::device::outcome::{failure_with_bump, finite};
use crate::device::record::{PivotRecord, StructuredRecord};
use crate::device::structured::factors::{PIVOT, StructuredElimination, StructuredFactors};
use crate::device::structured::kernels::Pulled;
use crate::device::structured::layout::Sizes;
use crate::device::structured::operands::StructuredOperands;
use crate::device::summary::BorderMethod;
use crate::device::{DeviceVector, Keep, pivot};
use crate::{
    EliminationKind, Error, Factored, Failure, Pivot, PivotSite, Ridge, RowDims, StructuredShape,
};
use broadhead_device::{ByteClass, DeviceBuffer, DeviceError, Refusal, Stream, field};
use kernels::{BorderKernels, RowFeatures};

/// The layout of `T` beside that of the rest.
struct BorderSizes {
    sizes: Sizes,
    cholesky: Layout,
    keep: Keep,
}

impl BorderSizes {
    fn new(shape: &StructuredShape, keep: Keep) -> Result<Self, Error> {
        let square = DenseCholesky::layout(shape.arrow().row_unknowns());
        Ok(Self {
            sizes: Sizes::new(shape, EliminationKind::Border)?,
            keep,
            cholesky: square.map_err(|error| match error {
                Error::Device(DeviceError::Refusal(Refusal::Shape {
                    expected, found, ..
                })) => {
                    let what = "order of the rows after the border's elimination".to_owned();
                    let refusal = Refusal::Shape {
                        what,
                        expected,
                        found,
                    };
                    Error::Device(refusal.into())
                }
                other => other,
            })?,
        })
    }

    fn bytes(&self) -> DeviceBytes {
        let of = |elements: usize| 8 * elements as u64;
        let Sizes {
            rows,
            features,
            rank,
            ..
        } = &self.sizes;
        let shared = self.sizes.bytes(0, 0);
        let vectors = 2 * DenseCholesky::vector_len(&self.cholesky) + 3 * features * features;
        DeviceBytes {
            factors: shared.factors
                + of(rows.rows * features + rows.unknowns * rank)
                + DenseCholesky::bytes(&self.cholesky, self.keep),
            vectors: shared.vectors + of(vectors) + 4 * rows.unknowns as u64,
            ..shared
        }
    }
}

/// Device bytes of a linearisation that keeps these factors, the library's workspace apart.
///
/// # Errors
/// As [`Sizes::new`] and [`DenseCholesky::layout`].
pub(crate) fn bytes_needed(shape: &StructuredShape, keep: Keep) -> Result<DeviceBytes, Error> {
    Ok(BorderSizes::new(shape, keep)?.bytes())
}

/// The factors of one shape.
pub(crate) struct BorderFactors {
    common: StructuredFactors,
    bytes: DeviceBytes,
    kernels: BorderKernels,
    dims: RowDims,
    features: RowFeatures,
    cholesky: DenseCholesky,
    /// The rows' ridge of the factors.
    rho: f64,
    /// What `T` is solved for, and the solution.
    vectors: [DeviceBuffer<f64>; 2],
    /// `M x M`: zero, `E` and `Z`.
    zero: DeviceBuffer<f64>,
    outer: DeviceBuffer<f64>,
    kernel: DeviceBuffer<f64>,
}

impl BorderFactors {
    pub(crate) fn new(stream: &Stream, shape: &StructuredShape, keep: Keep) -> Result<Self, Error> {
        let how = BorderSizes::new(shape, keep)?;
        let bytes = how.bytes();
        let common = StructuredFactors::new(stream, how.sizes, shape, 0, 0)?;
        let Sizes {
            rows,
            features: m,
            rank,
            ..
        } = &common.sizes;
        let dims = shape.arrow().rows().clone();
        // Within 32 bits, as the layout of the rows has it.
        let of_unknown: Vec<i32> = (0..dims.rows())
            .flat_map(|i| std::iter::repeat_n(i as i32, dims.dim(i)))
            .collect();
        let length = DenseCholesky::vector_len(&how.cholesky);
        let vector = || stream.zeros(length, "a solve's rows");
        let square = || stream.zeros(m * m, "a square of features");
        Ok(Self {
            kernels: BorderKernels::load(stream)?,
            features: RowFeatures {
                phi: stream.zeros(rows.rows * m, "whitened features")?,
                jacobian: stream.zeros(rows.unknowns * rank, "derivatives of the rows")?,
                of_unknown: stream.upload(&of_unknown, ByteClass::Operand, "rows of unknowns")?,
            },
            cholesky: DenseCholesky::new(stream, how.cholesky, keep)?,
            vectors: [vector()?, vector()?],
            zero: square()?,
            outer: square()?,
            kernel: square()?,
            rho: 0.0,
            dims,
            common,
            bytes,
        })
    }

    /// `T` without ridge.
    fn form(&mut self, operands: &StructuredOperands) -> Result<(), Error> {
        let to = self.cholesky.matrix_mut();
        self.kernels
            .rows(&self.common, operands, &self.features, to)?;
        Ok(())
    }

    /// The failure of `T + rho`, which refused pivot `index`.
    fn row_failure(
        &mut self,
        operands: &StructuredOperands,
        rho: f64,
        index: usize,
        scale: f64,
    ) -> Result<Failure, Error> {
        let stream = self.common.stream.clone();
        let (index, value) = pivot::find(index, |j| {
            self.form(operands)?;
            self.cholesky.look(&stream, rho, j)
        })?;
        let site = eliminated(&self.dims, index);
        let failed = Pivot { site, value };
        Ok(failure_with_bump(PIVOT, failed, (scale, 0.0), |bump| {
            self.form(operands)?;
            self.cholesky.factor(&stream, rho + bump)?;
            self.cholesky.factored(&stream)
        }))
    }
}

/// The place of a pivot of `T`.
fn eliminated(dims: &RowDims, index: usize) -> PivotSite {
    let (row, pivot) = dims.locate(index);
    PivotSite::EliminatedRow { row, pivot }
}

impl StructuredElimination for BorderFactors {
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
        let method = self.cholesky.method(&self.common.stream);
        (Some(self.cholesky.keep()), Some(method))
    }

    fn submit(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<(), Error> {
        self.rho = ridge.row;
        // For the last sweep of a solve; where a block does not factor, neither does T.
        self.common.factor_rows(operands, ridge.row)?;
        self.common.prepare_border(operands, ridge.border)?;
        self.kernels
            .prepare(&self.common, operands, &mut self.features)?;
        self.form(operands)?;
        let StructuredFactors {
            stream, summary, ..
        } = &mut self.common;
        self.cholesky.factor(stream, ridge.row)?;
        let own = summary.view_mut().field(field!(StructuredRecord, own))?;
        let to = own.field(field!(PivotRecord, factor))?;
        self.cholesky.summarise(stream, None, to)?;
        self.cholesky.finish(stream)
    }

    fn read(&mut self, operands: &StructuredOperands, ridge: Ridge) -> Result<Factored, Failure> {
        let summary = self.common.read_factored()?;
        let gram = self
            .common
            .gram_factored(operands, ridge.border, &summary)?;
        if let Some(index) = pivot::refused(summary.own.factor.info)? {
            let scale = summary.rows.diagonal;
            return Err(self.row_failure(operands, ridge.row, index, scale)?);
        }
        let rows = DenseCholesky::side(&summary.own.factor, |index| eliminated(&self.dims, index));
        let log_determinant = finite(rows.log + self.common.of_border(&gram))?;
        Ok(Factored {
            log_determinant: Ok(log_determinant),
            row_pivot: rows.least,
            border_pivot: gram.least,
        })
    }

    fn solve(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
    ) -> Result<(), Error> {
        self.pull_border(operands, gradient, step, false)?;
        let [r, y] = &mut self.vectors;
        self.kernels
            .push(&self.common, operands, &self.kernel, &gradient.row, r)?;
        self.cholesky.solve(&self.common.stream, r, y)?;
        let StructuredFactors {
            stream,
            sizes,
            kernels,
            rows,
            sums,
            ..
        } = &mut self.common;
        kernels.rows_pull(stream, sizes, rows, operands, y, sums, &mut self.outer)?;
        self.pull_border(operands, gradient, step, true)?;
        let (common, kernel, y) = (&self.common, &self.kernel, &self.vectors[1]);
        let (g, to) = (&gradient.row, &mut step.row);
        self.kernels
            .finish(common, operands, self.rho, kernel, g, y, to)?;
        Ok(())
    }
}

impl BorderFactors {
    /// The border's step is `x = G^-1 (E W - g_b)`, with `E` of the rows or zero; `Z = X W'`.
    fn pull_border(
        &mut self,
        operands: &StructuredOperands,
        gradient: &DeviceVector,
        step: &mut DeviceVector,
        of_rows: bool,
    ) -> Result<(), Error> {
        let outer = if of_rows { &self.outer } else { &self.zero };
        let pulled = Pulled::Less {
            outer,
            gradient: &gradient.border,
        };
        let (x, kernel) = (&mut step.border, &mut self.kernel);
        Ok(self.common.pull_border(operands, pulled, x, kernel)?)
    }
}
