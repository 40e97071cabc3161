//! Structured bases and frames on a device.

use super::factors::StructuredElimination;
use super::method::StructuredMethod;
use super::operands::StructuredOperands;
use crate::device::vector::{columns, put_columns};
use crate::device::{DeviceBytes, FrameSummary, ResidentVector, RowMethod};
use crate::{
    Error, Factored, Failure, FrameCost, Gradient, LogDeterminant, NoLogDeterminant, Pivot, Ridge,
    ShapeError, SolveStats, StepMut, StructuredShape, StructuredSystem, System,
};
use broadhead_device::{ByteClass, DeviceError, ExecutionPath, LedgerSnapshot, Refusal, Stream};

/// The operands of one structured linearisation on a device, with room for its factors.
pub struct StructuredBase {
    shape: StructuredShape,
    method: StructuredMethod,
    operands: StructuredOperands,
    factors: Box<dyn StructuredElimination>,
    gradient: ResidentVector,
    step: ResidentVector,
    refreshed: bool,
}

impl std::fmt::Debug for StructuredBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StructuredBase")
            .field("shape", &self.shape)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl StructuredBase {
    /// Device bytes that [`StructuredBase::with_method`] allocates, the library's workspace apart.
    ///
    /// # Errors
    /// As [`StructuredBase::with_method`], but for the memory.
    pub fn bytes_needed(
        shape: &StructuredShape,
        method: StructuredMethod,
    ) -> Result<DeviceBytes, Error> {
        method.bytes_needed(shape)
    }

    /// [`StructuredBase::with_method`] by the core.
    ///
    /// # Errors
    /// As [`StructuredBase::with_method`].
    pub fn new(stream: &Stream, shape: &StructuredShape) -> Result<Self, Error> {
        Self::with_method(stream, shape, StructuredMethod::default())
    }

    /// Room for systems of `shape` on the device of `stream`, whose ledger counts what follows, and for
    /// their factors by `method`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for more than [`crate::device::MOST_FEATURES`] features, of conjugate gradients
    /// [`crate::device::MOST_FEATURES_ITERATIVE`], or for rows wider than [`crate::device::WIDEST_ROW`]; [`Error::Device`] with [`Refusal::Memory`] where less
    /// is free than is needed, before anything is allocated, with [`Refusal::Shape`] where a
    /// dimension is past the libraries', or with what the device answered.
    pub fn with_method(
        stream: &Stream,
        shape: &StructuredShape,
        method: StructuredMethod,
    ) -> Result<Self, Error> {
        let needed = Self::bytes_needed(shape, method)?.total();
        let free = stream.context().memory().map_err(DeviceError::from)?.free;
        if needed > free {
            let what_for = format!("the {} elimination on the device", method.kind());
            let refusal = Refusal::Memory {
                needed,
                free,
                what_for,
            };
            return Err(DeviceError::from(refusal).into());
        }
        let factors = method.factors(stream, shape)?;
        Ok(Self {
            operands: StructuredOperands::new(stream, &factors.common().sizes)?,
            gradient: factors.common().vector()?,
            step: factors.common().vector()?,
            shape: shape.clone(),
            method,
            factors,
            refreshed: false,
        })
    }

    /// By which elimination it factors.
    pub fn method(&self) -> StructuredMethod {
        self.method
    }

    /// What its frames keep, how they are made, what they cost, and what is held.
    pub fn summary(&self) -> FrameSummary {
        let (keep, border) = self.factors.kept();
        FrameSummary {
            keep,
            rows: RowMethod::Fused,
            border,
            bytes: self.bytes(),
            cost: FrameCost::of(&self.method.work(&self.shape)),
        }
    }

    /// The shape it serves.
    pub fn shape(&self) -> &StructuredShape {
        &self.shape
    }

    /// Device bytes held, the library's workspace apart.
    pub fn bytes(&self) -> DeviceBytes {
        self.factors.bytes()
    }

    /// The stream that it works on.
    pub fn stream(&self) -> &Stream {
        &self.factors.common().stream
    }

    /// What the stream's work cost so far.
    pub fn ledger(&self) -> LedgerSnapshot {
        self.stream().ledger().snapshot()
    }

    /// Sends the numbers of `system`. Allocates nothing on the device.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the array and the index; [`Error::Shape`] where the shape is
    /// another; [`Error::Device`].
    pub fn refresh(&mut self, system: &StructuredSystem<'_>) -> Result<(), Error> {
        System::Structured(*system).check_finite()?;
        self.refresh_checked(system)
    }

    /// [`StructuredBase::refresh`] of numbers that are known to be finite.
    pub(crate) fn refresh_checked(&mut self, system: &StructuredSystem<'_>) -> Result<(), Error> {
        let (got, expected) = (system.structured_shape(), &self.shape);
        if got != expected {
            let sizes = |s: &StructuredShape| {
                let arrow = s.arrow();
                vec![
                    arrow.row_count(),
                    arrow.row_unknowns(),
                    s.features(),
                    s.outputs(),
                ]
            };
            return Err(Error::Shape(ShapeError::Mismatch {
                array: "system (rows, row unknowns, features, outputs)",
                got: sizes(got),
                expected: sizes(expected),
            }));
        }
        self.refreshed = false;
        self.operands.refresh(system)?;
        self.refreshed = true;
        Ok(())
    }

    /// A vector of zeros on the device, of this base's shape.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn vector(&self) -> Result<ResidentVector, Error> {
        self.factors.common().vector()
    }

    /// Factors at `ridge`, on the device: nothing is sent, one record of 168 bytes comes back.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] with a bump that makes what failed factor, and nothing of the
    /// whole; [`Failure::Stop`] otherwise.
    pub fn factor(&mut self, ridge: Ridge) -> Result<StructuredFrame<'_>, Failure> {
        let factored = self.factor_in_place(ridge)?;
        Ok(StructuredFrame {
            base: self,
            factored,
            ridge,
        })
    }

    /// Submits a factorization at `ridge` and a solve with its factors, without waiting and without
    /// reading whether they succeeded: what a graph holds. [`StructuredBase::factored`] and
    /// [`StructuredBase::solved`] read that.
    ///
    /// # Errors
    /// [`Error::Ridge`], [`Error::Shape`], [`Error::Device`].
    pub fn factor_and_solve_resident(
        &mut self,
        ridge: Ridge,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        ridge.check()?;
        self.check_refreshed()?;
        self.check_vectors(gradient, step)?;
        self.factors.submit(&self.operands, ridge)?;
        self.factors.solve(&self.operands, gradient, step)
    }

    /// What the last factorization that ran, at `ridge`, found.
    ///
    /// # Errors
    /// As [`StructuredBase::factor`]; [`Error::Device`] with [`Refusal::Shape`] where none ran: nothing
    /// was submitted, or it went into a graph that was not launched.
    pub fn factored(&mut self, ridge: Ridge) -> Result<Factored, Failure> {
        self.factors.read(&self.operands, ridge)
    }

    /// What the last solve found: of conjugate gradients their iterations, for which it waits; nothing
    /// else can fail.
    ///
    /// # Errors
    /// [`Failure::NotPositiveDefinite`] where a curvature was not positive; [`Error::Overflow`];
    /// [`Error::Device`], of conjugate gradients with [`Refusal::Shape`] where the last solve has not
    /// run: none was submitted, or it went into a graph that was not launched.
    pub fn solved(&mut self) -> Result<SolveStats, Failure> {
        self.factors.solved()
    }

    /// Whether all of it factors at `ridge`; of conjugate gradients, whether there is what they need.
    pub(crate) fn factors_at(&mut self, ridge: Ridge) -> Result<bool, Error> {
        ridge.check()?;
        self.check_refreshed()?;
        self.factors.submit(&self.operands, ridge)?;
        self.factors.common().holds()
    }

    pub(crate) fn factor_in_place(&mut self, ridge: Ridge) -> Result<Factored, Failure> {
        ridge.check()?;
        self.check_refreshed()?;
        self.factors.submit(&self.operands, ridge)?;
        self.factors.read(&self.operands, ridge)
    }

    fn check_refreshed(&self) -> Result<(), Error> {
        if self.refreshed {
            return Ok(());
        }
        let what = "factor".to_owned();
        let refusal = Refusal::Shape {
            what,
            expected: "operands sent by refresh".to_owned(),
            found: "none".to_owned(),
        };
        Err(DeviceError::from(refusal).into())
    }

    fn check_vectors(&self, gradient: &ResidentVector, step: &ResidentVector) -> Result<(), Error> {
        let sizes = &self.factors.common().sizes;
        let expected = vec![sizes.rows.unknowns, sizes.border()];
        for (array, vector) in [("gradient", gradient), ("step", step)] {
            let got = vec![vector.row.len(), vector.border.len()];
            if got != expected {
                return Err(Error::Shape(ShapeError::Mismatch {
                    array,
                    got,
                    expected,
                }));
            }
        }
        Ok(())
    }

    /// Solves for gradients of the host, one after another; however many they are, they and their
    /// steps travel once.
    pub(crate) fn solve_host(
        &mut self,
        gradient: Gradient<'_>,
        step: &mut StepMut<'_>,
    ) -> Result<SolveStats, Failure> {
        let arrow = self.shape.arrow();
        let (n, k, count) = (arrow.row_unknowns(), arrow.border(), gradient.count());
        gradient.check_sizes(n, k, count)?;
        step.check_sizes(n, k, count)?;
        let (stream, class) = (self.stream().clone(), ByteClass::Gradient);
        let (row, border) = (columns(gradient.row), columns(gradient.border));
        let (row, border, stats) = match count {
            0 => return Ok(SolveStats::default()),
            1 => {
                stream.upload_into(&row, self.gradient.row_mut(), class)?;
                stream.upload_into(&border, self.gradient.border_mut()?, class)?;
                let stats = self.solve_staged()?;
                let row = stream.download(self.step.row(), class)?;
                (row, stream.download(self.step.border()?, class)?, stats)
            }
            _ => {
                let mut rows = stream.upload(&row, class, "row gradients")?;
                let mut borders = stream.upload(&border, class, "border gradients")?;
                let mut stats = SolveStats::default();
                for j in 0..count {
                    let (of_row, of_border) = (j * n..(j + 1) * n, j * k..(j + 1) * k);
                    stream.copy(rows.slice(of_row.clone())?, self.gradient.row_mut())?;
                    let from = borders.slice(of_border.clone())?;
                    stream.copy(from, self.gradient.border_mut()?)?;
                    stats = stats.and(self.solve_staged()?);
                    stream.copy(self.step.row(), rows.slice_mut(of_row)?)?;
                    stream.copy(self.step.border()?, borders.slice_mut(of_border)?)?;
                }
                let row = stream.download(rows.view(), class)?;
                (row, stream.download(borders.view(), class)?, stats)
            }
        };
        put_columns(step, &row, &border);
        Ok(stats)
    }

    /// Solves for the gradient that is staged; what the solve found.
    fn solve_staged(&mut self) -> Result<SolveStats, Failure> {
        let (from, to) = (&self.gradient, &mut self.step);
        self.factors.solve(&self.operands, from, to)?;
        self.factors.solved()
    }
}

/// A factored structured operator on a device.
pub struct StructuredFrame<'b> {
    base: &'b mut StructuredBase,
    factored: Factored,
    ridge: Ridge,
}

impl StructuredFrame<'_> {
    /// The ridge of its factors.
    pub fn ridge(&self) -> Ridge {
        self.ridge
    }

    /// Where its work runs.
    pub fn execution_path(&self) -> ExecutionPath {
        ExecutionPath::GpuResidentLinearization
    }

    /// $`\log|H + \rho|`$ with the scale of its rounding error.
    ///
    /// # Errors
    /// The reason, where it is absent: of conjugate gradients.
    pub fn log_determinant(&self) -> Result<LogDeterminant, NoLogDeterminant> {
        self.factored.log_determinant
    }

    /// The smallest pivot of any row block, or of the rows after the border's elimination.
    pub fn row_pivot(&self) -> Option<Pivot> {
        self.factored.row_pivot
    }

    /// The smallest pivot of $`G`$, or of the core times that of $`G`$ which it corrects.
    pub fn border_pivot(&self) -> Option<Pivot> {
        self.factored.border_pivot
    }

    /// `step` becomes $`-(H + \rho)^{-1} g`$ for a gradient on the device. Nothing moves and nothing
    /// waits; numbers that are not finite are not looked for. Conjugate gradients bring a record of 72
    /// bytes, which [`Self::solved`] reads.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Device`].
    pub fn solve_resident(
        &mut self,
        gradient: &ResidentVector,
        step: &mut ResidentVector,
    ) -> Result<(), Error> {
        self.base.check_vectors(gradient, step)?;
        let base = &mut *self.base;
        base.factors.solve(&base.operands, gradient, step)
    }

    /// What the last solve found: see [`StructuredBase::solved`].
    ///
    /// # Errors
    /// As [`StructuredBase::solved`].
    pub fn solved(&mut self) -> Result<SolveStats, Failure> {
        self.base.solved()
    }

    /// Solves for one or many gradients of the host: `8 (N + M p)` bytes in and as many out for
    /// each. Conjugate gradients that stood still above the residual asked say so in the answer.
    ///
    /// # Errors
    /// [`Error::Shape`]; [`Error::NotFinite`] where a gradient is not finite; [`Error::Overflow`]
    /// where a step is not; [`Error::Device`]; of conjugate gradients those of
    /// [`StructuredBase::solved`].
    pub fn solve(
        &mut self,
        gradient: Gradient<'_>,
        mut step: StepMut<'_>,
    ) -> Result<SolveStats, Failure> {
        gradient.check_finite()?;
        let stats = self.base.solve_host(gradient, &mut step)?;
        let parts = [step.row.as_ref(), step.border.as_ref()];
        let finite = |part: &faer::MatRef<'_, f64>| {
            (0..part.ncols()).all(|j| part.col(j).iter().all(|x| x.is_finite()))
        };
        match parts.iter().all(finite) {
            true => Ok(stats),
            false => Err(Error::Overflow { what: "the step" }.into()),
        }
    }
}
